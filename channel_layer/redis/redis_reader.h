/* SPDX-License-Identifier: BSD-3-Clause
 *
 * redis_reader: takes the messages for this node out of one shard.
 *
 * Why: everything that is sent to a client of this node, or to a group of one, lies under one key
 * for each base; senders refuse when a hundred lie there, so they must leave it fast. Nothing may
 * be lost when the connection is cut, and nothing arrive twice.
 *
 * How: messages are read (ZRANGE), handed over, and then taken out together with the next read in
 * one round trip: at once when they are many, else when the next one comes, or within a second.
 * What was handed over and not confirmed to be out is remembered and taken out first by the next
 * connection, so that it is not read again. When nothing is there, Redis tells of the next write
 * (redis_tracking.h); beside that a read every few seconds. Where Redis cannot tell, BZPOPMIN
 * waits; what that popped at the moment of a cut is lost, as it is with channels_redis.
 *
 * Failures: a member that does not decode is taken out and counted. A key of another type is logged
 * and tried again slowly. A reply that does not come drops the connection.
 *
 * Thread: the loop's.
 */
#ifndef CHANNEL_LAYER_REDIS_REDIS_READER_H
#define CHANNEL_LAYER_REDIS_REDIS_READER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/slice.h"
#include "core/strmap.h"

struct backend;
struct layer_call;
struct redis_link;
struct redis_shard;
struct redis_source;

struct redis_reader {
    /* private */
    struct redis_link *link;
    struct redis_source **sources; /* one for each base */
    size_t source_count;
    struct strmap by_key; /* the same */
    bool is_up;
    bool can_track;    /* pushes come: no need to block */
    bool is_blocked;   /* a BZPOPMIN is under way */
    uint64_t retry_ms; /* no BZPOPMIN before */
};

/* Opens the shard's link. */
void redis_reader_open(struct redis_shard *shard);
/* After the link is closed. */
void redis_reader_deinit(struct redis_shard *shard);

/* Takes out what was handed over. No read follows. */
void redis_reader_leave(struct redis_shard *shard);

void redis_watch(struct backend *base, struct slice name, struct layer_call *call);

/* Where Redis does not tell: blocks until something comes, once all keys are empty. A source calls
 * it when its read is answered. */
void redis_reader_block(struct redis_shard *shard);

/* Looks after what waits too long. */
void redis_reader_tick(struct redis_shard *shard, uint64_t now_ms);

#endif
