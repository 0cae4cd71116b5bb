/* SPDX-License-Identifier: BSD-3-Clause
 *
 * redis_flush: one flush of a layer on its way.
 *
 * Why: redis_flush.c takes out what is in Redis, redis_flush_nodes.c sees to it that the other
 * nodes forget what they know.
 *
 * Thread: the loop's.
 */
#ifndef CHANNEL_LAYER_REDIS_REDIS_FLUSH_H
#define CHANNEL_LAYER_REDIS_REDIS_FLUSH_H

#include <stdbool.h>
#include <stdint.h>

#include "channel_layer/redis/redis.h"
#include "channel_layer/redis/redis_scan.h"
#include "core/buf.h"
#include "core/dlist.h"

/* Another node. */
struct redis_flush_node {
    uint32_t at; /* of the name of its control channel, in names */
    uint32_t len;
    bool is_handled; /* or not waited for */
};

struct redis_flush {
    struct redis_scan scan;
    uint32_t done; /* keys of this batch */
    unsigned left; /* keys of this script; answers */
    /* redis_flush_nodes.c's */
    struct dlist link; /* backend->flushes: the nodes are given time */
    struct redis_flush_node *nodes;
    uint32_t node_count;
    struct buf names;
    struct redis_number score; /* of what tells them */
    uint64_t deadline_ms;      /* until when they are waited for; 0: they are being told */
};

/* Every key is gone: now the others are told, and get the time to hear of it; redis_flush_end()
 * follows. */
void redis_flush_tell(struct redis_flush *flush);
/* Ends the call and frees @flush. */
void redis_flush_end(struct redis_flush *flush);

/* Asks for those that wait in backend->flushes; the end: nobody is given time any more. */
void redis_flush_tick(struct redis_backend *b);
void redis_flush_leave(struct redis_backend *b);

#endif
