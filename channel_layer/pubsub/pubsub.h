/* SPDX-License-Identifier: BSD-3-Clause
 *
 * pubsub: the backend that speaks channels_redis.pubsub's format, seen by its own parts.
 *
 * Why: publications, subscriptions and the queues of normal channels are different files; the
 * object that they share, and its shards, are here. Everybody else sees backend.h.
 *
 * Nothing is stored in Redis. Each shard (entry of hosts) has a link for commands and one that
 * subscribes. A message to a channel is published under the channel's name, on the shard of that
 * name; one to a group under <prefix>__group__<group>. The channels of a client are subscribed to
 * by one pattern on every shard, a group by one subscription for all clients of the node.
 *
 * What a client of this node sends to a group reaches the node's own members by the publication
 * that comes back (backend_ops.carries_back), so that each gets it once and in order; the call ends
 * when it came.
 *
 * At most once: what channels_redis publishes while a link that subscribes is down is lost. What is
 * sent here after a loss waits until all nodes are subscribed again (pubsub_nodes.h), and to a
 * group that clients of this node are in until that very group is; what was published already and
 * can come back no more is delivered to them all the same.
 *
 * Life: OPEN -> CLOSING (links and handles end) -> gone. Connections that end take the
 * subscriptions with them.
 *
 * Thread: the loop's.
 */
#ifndef CHANNEL_LAYER_PUBSUB_PUBSUB_H
#define CHANNEL_LAYER_PUBSUB_PUBSUB_H

#include "channel_layer/backend.h"
#include "channel_layer/endings.h"
#include "channel_layer/notice.h"
#include "channel_layer/pubsub/pubsub_nodes.h"
#include "channel_layer/pubsub/pubsub_normal.h"
#include "channel_layer/pubsub/pubsub_promises.h"
#include "channel_layer/pubsub/pubsub_subs.h"
#include "channel_layer/redis/redis_link.h"
#include "channel_layer/wire/wire.h"
#include "core/buf.h"
#include "core/dlist.h"

#define PUBSUB_GROUP_MARK "__group__"

enum {
    PUBSUB_PREFIX_MAX = 256,
    PUBSUB_NAME_MAX = PUBSUB_PREFIX_MAX + NAME_MAX_BYTES + 16, /* bytes of a name in Redis */
};

struct pubsub_shard {
    struct pubsub_backend *backend;
    const struct redis_host *host;
    struct redis_link *link; /* for commands */
    struct pubsub_subscriber subscriber;
    struct pubsub_nodes nodes;
};

struct pubsub_backend {
    struct backend base;
    bool is_closing;
    uv_loop_t *uv;
    const struct layer_config *config;
    struct wire wire;
    struct buf sealed; /* a message on its way out */
    struct buf body;   /* of the message that arrives */
    uint64_t seed[2];  /* for hashes of bodies */
    struct endings endings;
    struct dlist returning; /* struct pubsub_group_send, the oldest first */
    struct dlist promises;  /* struct pubsub_promise, by their deadlines */
    uint64_t sends;         /* so far */
    struct pubsub_normals normals;
    uv_idle_t turn;      /* active: something is to be done before the loop waits again */
    uv_timer_t deadline; /* of the oldest that returns, was promised or is held */
    uv_timer_t tick;
    unsigned ticks;
    struct notice decode_notice;
    struct notice full_notice;
    struct notice refuse_notice;
    unsigned shard_count;
    struct pubsub_shard *shards;
    unsigned open_handles; /* links and handles of which the end was not told yet */
    void (*closed)(void *ctx);
    void *closed_ctx;
};

static inline struct pubsub_backend *pubsub_of(struct backend *b)
{
    return (struct pubsub_backend *)b;
}

struct pubsub_shard *pubsub_shard_of(struct pubsub_backend *b, struct slice name);

/* <prefix>__group__<group>; the group is a valid name, or empty. */
struct pubsub_name {
    char text[PUBSUB_NAME_MAX];
};
struct slice pubsub_group_name(const struct pubsub_backend *b, struct pubsub_name *out,
                               struct slice group);

/* @name as a glob that stands for itself, with a * behind it. */
struct pubsub_glob {
    char text[2 * PUBSUB_NAME_MAX + 2];
};
struct slice pubsub_glob(struct pubsub_glob *out, struct slice name);

/* Ends @call (NULL: nobody waits) in the next turn. */
void pubsub_end_later(struct pubsub_backend *b, struct layer_call *call, enum err err,
                      const char *format, ...) __attribute__((format(printf, 4, 5)));
/* A link that is between two attempts to connect makes the next one soon: there is reason to think
 * that it succeeds, or somebody waits for it. One that only seems to be up finds that out. */
void pubsub_hurry(struct pubsub_shard *shard, struct redis_link *link);
/* Something is to be done in the next turn, or at a deadline. */
void pubsub_wake_turn(struct pubsub_backend *b);
void pubsub_set_deadline(struct pubsub_backend *b);

/* ---- sending (pubsub_send.c, pubsub_group_send.c) ---- */

void pubsub_send(struct backend *base, struct slice channel, struct slice body,
                 struct layer_call *call);

/* A group_send on its way: held until all nodes are back, or until the group is subscribed to
 * again, or published and yet to come back. */
struct pubsub_group_send {
    struct dlist link;   /* sub->held or sub->returns; alone: does not have to come back, or has */
    struct dlist by_age; /* backend->returning; alone alike */
    struct redis_held wait; /* shard->nodes; @link and @by_age are alone then */
    uint64_t number;
    struct pubsub_shard *shard;
    struct pubsub_sub *sub; /* while @link is in one of its lists */
    struct layer_call *call;
    struct slice group; /* these two are the layer's, until the call ends */
    struct slice body;
    uint64_t body_hash;
    bool is_held;
    bool is_answered; /* Redis has published it */
    bool is_lost;     /* the connection by which it was to come back is lost, and it had not come */
};

void pubsub_group_send(struct backend *base, struct slice group, struct slice body,
                       struct layer_call *call, struct backend_own *own);
/* A publication arrived and was delivered. */
void pubsub_came_back(struct pubsub_sub *sub, struct slice payload);
/* Publishes what was held for @sub, unless it must be held still. */
void pubsub_release(struct pubsub_sub *sub);
/* Nothing comes by the old subscription any more: moves what this ends to @ended, for
 * pubsub_end_returns(). What Redis has not answered yet may still come by the next one. */
void pubsub_lose_returns(struct pubsub_sub *sub, struct dlist *ended);
void pubsub_end_returns(struct dlist *ended);
/* Nobody here wants these back any more: they end when Redis answers. */
void pubsub_forget_returns(struct pubsub_sub *sub);
/* Calls whose time is over, or all of them, end. */
void pubsub_expire_returns(struct pubsub_backend *b, uint64_t now_ms);
void pubsub_end_all_returns(struct pubsub_backend *b);

/* ---- receiving (pubsub_arrived.c) ---- */

struct redisReply;
void pubsub_arrived(struct pubsub_shard *shard, const struct redisReply *push);

/* ---- for people (pubsub_list.c) ---- */

void pubsub_groups(struct backend *base,
                   void (*visit)(void *ctx, struct slice group, uint64_t members), void *ctx,
                   struct layer_call *call);

#endif
