/* SPDX-License-Identifier: BSD-3-Clause
 *
 * redis_normal: takes messages of normal channels out of all shards, without losing one.
 *
 * Why: a normal channel has many readers on many hosts; whoever pops a message must handle it. One
 * that dies in between must not take it along.
 *
 * How: a script moves up to as many messages as are wanted from the channel into the node's zset of
 * taken ones; they leave that when they were handled, and go back to the channel, with their old
 * score, when they were not. What a node that is gone had taken is given back by its neighbours. A
 * message that Redis moved without our learning of it (the connection was cut) is found by
 * comparing that zset with the table of those that we know of. At least once, therefore.
 *
 * Where nothing lies, Redis tells of the next write (redis_tracking.h); where it cannot, a
 * channel that is wanted is looked at ten times a second.
 *
 * Thread: the loop's.
 */
#ifndef CHANNEL_LAYER_REDIS_REDIS_NORMAL_H
#define CHANNEL_LAYER_REDIS_REDIS_NORMAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "channel_layer/redis/redis_taken.h"
#include "core/slice.h"
#include "core/strmap.h"

struct backend;
struct redis_backend;
struct redis_link;
struct redis_shard;

/* Of the backend. */
struct redis_normal {
    /* private */
    struct strmap channels; /* struct normal_channel */
    struct dlist order;     /* the same */
    struct redis_taken_table table;
};

/* Of a shard. */
struct redis_normal_shard {
    /* private */
    struct redis_link *link; /* NULL until a channel is wanted */
    bool is_up;
    bool can_track;
    unsigned pops; /* under way */
    struct redis_taken_lists taken;
};

void redis_normal_init(struct redis_normal *normal);
void redis_normal_shard_init(struct redis_normal_shard *s);
/* After all links are closed. */
void redis_normal_deinit(struct redis_backend *b);

void redis_want(struct backend *base, struct slice channel, unsigned wanted);

/* Looks after what waits too long. */
void redis_normal_tick(struct redis_backend *b, uint64_t now_ms);
/* The end: nothing is wanted any more, and what was not handled goes back. */
void redis_normal_leave(struct redis_backend *b);
/* Whether Redis knows all that concerns @shard. */
bool redis_normal_is_told(const struct redis_shard *shard);

#endif
