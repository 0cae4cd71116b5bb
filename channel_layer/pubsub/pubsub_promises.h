/* SPDX-License-Identifier: BSD-3-Clause
 *
 * pubsub_promises: calls that end when Redis has confirmed a subscription: one for a group, one on
 * every shard for the names of a client. The layer's timeout holds for them, wherever it is spent.
 *
 * Thread: the loop's.
 */
#ifndef CHANNEL_LAYER_PUBSUB_PUBSUB_PROMISES_H
#define CHANNEL_LAYER_PUBSUB_PUBSUB_PROMISES_H

#include <stddef.h>
#include <stdint.h>

#include "channel_layer/layer.h"
#include "core/dlist.h"

struct pubsub_backend;
struct pubsub_promise;
struct pubsub_sub;

struct pubsub_wait {
    struct dlist link; /* sub->waits; alone when it does not wait */
    struct pubsub_sub *sub;
    struct pubsub_promise *promise;
};

struct pubsub_promise {
    struct dlist by_age; /* backend->promises */
    struct pubsub_backend *backend;
    struct layer_call *call;
    uint64_t deadline_ms;
    size_t left; /* waits that are not over */
    size_t count;
    struct pubsub_wait waits[];
};

/* Ends @call when all of @subs are IN, or @limit_ms are over. */
void pubsub_promise(struct pubsub_backend *b, struct pubsub_sub **subs, size_t count,
                    uint64_t limit_ms, struct layer_call *call);

/* What these waited for has come, or will not. They are in a list of the caller's: what the ends of
 * calls bring about may be anything. */
void pubsub_keep_promises(struct dlist *waits);
void pubsub_break_promises(struct dlist *waits, enum err err, const char *why);
/* The same from inside of what the layer has called. */
void pubsub_break_promises_later(struct dlist *waits, enum err err, const char *why);

/* Calls whose time is over, or all of them, end. */
void pubsub_expire_promises(struct pubsub_backend *b, uint64_t now_ms);
void pubsub_end_promises(struct pubsub_backend *b);

#endif
