/* SPDX-License-Identifier: BSD-3-Clause
 *
 * redis_pop: one normal channel on one shard: what lies there is counted and popped.
 *
 * Why: an answer may be lost, be a refusal, or come late, and the same message may not be counted
 * twice; which channel asks which shard, and when, is decided elsewhere (redis_normal.c).
 *
 * Thread: the loop's.
 */
#ifndef CHANNEL_LAYER_REDIS_REDIS_POP_H
#define CHANNEL_LAYER_REDIS_REDIS_POP_H

#include <stdbool.h>
#include <stdint.h>

#include "channel_layer/redis/redis.h"
#include "core/dlist.h"
#include "core/strmap.h"

enum {
    REDIS_POP_MAX = 32,      /* messages of one pop */
    REDIS_POP_POLL_MS = 100, /* where Redis does not tell */
};

/* What is known of a channel on one shard. */
enum place_state {
    PLACE_UNKNOWN,
    PLACE_ASKED, /* a count, or a pop and a count, are under way */
    PLACE_READY, /* something is there */
    PLACE_EMPTY, /* Redis tells of the next write */
    PLACE_WRONG, /* tried again at next_ms */
};

struct normal_place {
    enum place_state state;
    bool is_dirty;    /* written to since it was asked */
    bool is_restored; /* what a dead worker of channels_redis left went back */
    uint64_t next_ms;
};

struct normal_channel {
    struct strmap_entry entry;
    struct dlist link; /* normal->order */
    struct redis_backend *b;
    unsigned wanted;
    unsigned coming; /* asked for by pops under way */
    unsigned asked;  /* calls of redis_want() so far */
    unsigned places_asked;
    unsigned turn; /* with which shard it begins */
    struct slice name;
    char name_bytes[NAME_MAX_BYTES + 1];
    struct normal_place places[];
};

/* Asks what is there; pops up to @count (at most REDIS_POP_MAX) before. When that is answered,
 * redis_normal_step() is called. */
void redis_pop_ask(struct normal_channel *c, struct redis_shard *shard, unsigned count);

/* Asks where it may bring something. */
void redis_normal_step(struct normal_channel *c);

#endif
