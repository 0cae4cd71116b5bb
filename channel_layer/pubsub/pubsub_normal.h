/* SPDX-License-Identifier: BSD-3-Clause
 *
 * pubsub_normal: normal channels of channels_redis.pubsub: published to everybody who receives.
 *
 * Why: a receiver asks for one message, handles it, and asks for the next. What is published in
 * between must find a queue, and the subscription must stay.
 *
 * How: the first receive subscribes; the subscription stays until nobody waited for a message, and
 * none was being handled, for the layer's expiry. Messages wait up to the channel's capacity; those
 * that come then are dropped and counted. A message that is handed over is kept until it is taken,
 * and goes back to its place when it was not.
 *
 * Thread: the loop's.
 */
#ifndef CHANNEL_LAYER_PUBSUB_PUBSUB_NORMAL_H
#define CHANNEL_LAYER_PUBSUB_PUBSUB_NORMAL_H

#include <stddef.h>
#include <stdint.h>

#include "core/dlist.h"
#include "core/slice.h"
#include "core/strmap.h"

enum { PUBSUB_NORMAL_BYTES = 64 * 1024 * 1024 }; /* of all messages that wait */

struct backend;
struct pubsub_backend;
struct pubsub_normal;

/* Of the backend. */
struct pubsub_normals {
    /* private */
    struct strmap by_name; /* struct pubsub_normal */
    struct dlist ready;    /* those to be served in the next turn */
    struct strmap handed;  /* struct pubsub_message, by its handle */
    uint64_t next_handle;
    size_t bytes;
};

void pubsub_normals_init(struct pubsub_normals *normals);
/* After all links are closed. */
void pubsub_normals_deinit(struct pubsub_backend *b);

/* A publication of a channel that is received here. */
void pubsub_normal_arrived(struct pubsub_backend *b, struct pubsub_normal *normal,
                           struct slice body);

/* Once in each turn in which something is to be served. */
void pubsub_normals_serve(struct pubsub_backend *b);
/* Ends what nobody asked for in a while. */
void pubsub_normals_tick(struct pubsub_backend *b, uint64_t now_ms);
/* Every message that waits is gone. */
void pubsub_normals_forget(struct pubsub_backend *b);

/* ---- operations (struct backend_ops) ---- */

void pubsub_want(struct backend *base, struct slice channel, unsigned wanted);
void pubsub_taken(struct backend *base, struct slice channel, uint64_t handle);
void pubsub_put_back(struct backend *base, struct slice channel, uint64_t handle);

#endif
