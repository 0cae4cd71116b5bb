/* SPDX-License-Identifier: BSD-3-Clause
 *
 * backend: what a layer needs from whatever carries messages between nodes, and what that tells it.
 *
 * Why: layer.c knows clients, groups of this node and queues; a backend knows commands and
 * connections. The memory layer has none (layer->backend is NULL).
 *
 * Every call ends exactly once, never before the function returned (struct layer_call), within the
 * config's timeout_ms. What it must copy to keep, it copies. What the outcome of a call says is
 * counted by the layer (sent, group_sent, full, failed_*), and so is what layer_arrived() brings
 * (received, delivered, dropped_full, dropped_unknown); the other counters are the backend's.
 *
 * Thread: the loop's.
 */
#ifndef CHANNEL_LAYER_BACKEND_H
#define CHANNEL_LAYER_BACKEND_H

#include "channel_layer/layer.h"

struct backend;
struct backend_own;

enum { BACKEND_WATCHES_MAX = 1024 }; /* names that a layer has watched, and not unwatched */

struct backend_ops {
    /* What is sent to a group comes back to the members of this node, too (layer_group_arrived()):
     * the layer delivers nothing by itself. The call ends when it came. */
    bool carries_back;
    /* A message to a channel that is no client's of this node. */
    void (*send)(struct backend *b, struct slice channel, struct slice body,
                 struct layer_call *call);
    /* To everybody else's members of @group, which stays valid with @body until the call ends. For
     * members of this node that it finds singly, or that the backend itself carries back, it calls
     * @own->found() before the call ends; the layer delivers to clients that joined by itself. */
    void (*group_send)(struct backend *b, struct slice group, struct slice body,
                       struct layer_call *call, struct backend_own *own);
    /* The first client of this node joined, the last one left. */
    void (*join)(struct backend *b, struct slice group, struct layer_call *call);
    void (*leave)(struct backend *b, struct slice group, struct layer_call *call);
    /* Single members. @call may be NULL for discard. */
    void (*add)(struct backend *b, struct slice group, struct slice channel,
                struct layer_call *call);
    void (*discard)(struct backend *b, struct slice group, struct slice channel,
                    struct layer_call *call);
    /* Messages for names that begin with @base shall arrive here: a mailbox, up to and with its
     * '!', or the base of one client where names have none (pubsub). May come again for the same.
     */
    void (*watch)(struct backend *b, struct slice base, struct layer_call *call);
    /* They need not any more (pubsub: the client is gone). NULL: not needed. */
    void (*unwatch)(struct backend *b, struct slice base);
    /* @wanted messages of the normal channel are waited for (0: none). Called when it changes. */
    void (*want)(struct backend *b, struct slice channel, unsigned wanted);
    /* A message given by layer_normal_arrived() was handled, or was not and shall go back. */
    void (*taken)(struct backend *b, struct slice channel, uint64_t handle);
    void (*put_back)(struct backend *b, struct slice channel, uint64_t handle);
    void (*groups)(struct backend *b,
                   void (*visit)(void *ctx, struct slice group, uint64_t members), void *ctx,
                   struct layer_call *call);
    /* Deletes all, and tells the other nodes. */
    void (*flush)(struct backend *b, struct layer_call *call);
    /* The layer has forgotten its groups, after a flush here or by another node; those for which a
     * join is under way are still its (layer_each_group()). NULL: nothing is to be done. */
    void (*flushed)(struct backend *b);
    /* Leaves all groups and ends; b is gone when @closed is called. */
    void (*close)(struct backend *b, void (*closed)(void *ctx), void *ctx);
};

struct backend {
    const struct backend_ops *ops;
    struct layer *layer;
};

/* Where a backend puts the members of this node that a group_send found singly: full names. */
struct backend_own {
    void (*found)(struct backend_own *own, struct slice channel);
};

/* ---- what a backend tells its layer ---- */

/* A message for members of this node. @names gives one name after the other (false: no more), as
 * they stood in __asgi_channel__: full names of channels, aggregate names of groups. */
struct backend_names {
    bool (*next)(struct backend_names *names, struct slice *name);
};
void layer_arrived(struct layer *layer, struct backend_names *names, struct slice body);

/* A message for the clients that joined @group (pubsub). */
void layer_group_arrived(struct layer *layer, struct slice group, struct slice body);

/* A message of a normal channel, popped because it was wanted. @handle names it in taken() and
 * put_back(). False: nobody wants it any more (put it back). */
bool layer_normal_arrived(struct layer *layer, struct slice channel, uint64_t handle,
                          struct slice body);

/* The backend cannot receive from the normal channel, and will not without a change of settings:
 * who waits is told @err and @why. */
void layer_normal_failed(struct layer *layer, struct slice channel, enum err err, const char *why);

/* Groups that clients of this node have joined: for memberships that must be made again. @visit may
 * not change them. */
void layer_each_group(struct layer *layer, void (*visit)(void *ctx, struct slice group), void *ctx);

/* Opens the backend of @config, which stays the layer's. */
enum err redis_backend_open(struct backend **out, struct layer *layer, uv_loop_t *uv,
                            const struct layer_config *config, const char *node,
                            struct err_text *why) MUST_CHECK;
enum err pubsub_backend_open(struct backend **out, struct layer *layer, uv_loop_t *uv,
                             const struct layer_config *config, struct err_text *why) MUST_CHECK;

#endif
