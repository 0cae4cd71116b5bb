/* SPDX-License-Identifier: BSD-3-Clause
 *
 * redis_source: one key under which messages for this node lie, and how they are read.
 *
 * Why: a key has its own pace: how many messages a read takes, what was handed over and is not
 * known to be out, when it is looked at again. The connection, and how Redis tells that something
 * came, are the reader's (redis_reader.h).
 *
 * Thread: the loop's.
 */
#ifndef CHANNEL_LAYER_REDIS_REDIS_SOURCE_H
#define CHANNEL_LAYER_REDIS_REDIS_SOURCE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "channel_layer/redis/redis.h"
#include "channel_layer/redis/redis_words.h"
#include "core/buf.h"
#include "core/strmap.h"

enum source_state {
    SOURCE_DOWN,    /* no connection */
    SOURCE_ASKING,  /* a read is under way */
    SOURCE_WAITING, /* nothing is there; Redis tells, or BZPOPMIN does */
    SOURCE_RESTING, /* something is wrong; tried again at next_ms */
};

/* One key. */
struct redis_source {
    struct strmap_entry by_key;
    struct redis_shard *shard;
    enum source_state state;
    bool is_dirty;      /* written to since the read that is under way began */
    bool is_kept;       /* Redis refused to take out what was handed over */
    bool can_stay;      /* what was handed over may stay in Redis for a moment */
    bool is_awaited;    /* but another node waits until this is out */
    unsigned batch;     /* messages of the next read */
    unsigned asked;     /* of the read that is under way */
    size_t typical;     /* bytes of a message, as of late; 0: none was seen yet */
    uint64_t next_ms;   /* when it is read without being told */
    struct buf pending; /* handed over, not known to be out: a length (uint32_t) and the bytes */
    unsigned pending_count;
    struct redis_key key;
};

static inline struct slice redis_source_key(const struct redis_source *s)
{
    return slice_make(s->key.text, s->key.len);
}

/* The key of @base, of which nothing is known yet. */
struct redis_source *redis_source_new(struct redis_shard *shard, struct slice base);
/* No command is under way for it any more. */
void redis_source_free(struct redis_source *s);

/* Takes out what was handed over and reads on. */
void redis_source_ask(struct redis_source *s);
/* Takes out what was handed over. Errors: as redis_link_command(). */
enum err redis_source_remove(struct redis_source *s) MUST_CHECK;
/* A message came by another way. False: there was no memory to open it. */
bool redis_source_arrived(struct redis_source *s, const struct redis_pair *pair);

#endif
