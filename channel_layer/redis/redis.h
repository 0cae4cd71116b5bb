/* SPDX-License-Identifier: BSD-3-Clause
 *
 * redis: the backend that speaks channels_redis.core's format, seen by its own parts.
 *
 * Why: what a send, a group, a reader and the upkeep do in Redis are different files; the object
 * that they share, its shards and its keys are here. Everybody else sees backend.h.
 *
 * Each shard (entry of hosts) has a link for commands, one for the messages of this node and, as
 * soon as somebody waits for a normal channel, one for those. A shard that stalls holds up what
 * needs it and nothing else.
 *
 * Keys, all behind the prefix P: P<channel or node's base>, P:group:<group>, P<channel>$inflight
 * are channels_redis'. Ours: P:channelsd:nodes (zset: node, its last beat),
 * P:channelsd:groups:<node> (set: groups in which the node has a member), P:channelsd:taken:<node>
 * (zset: messages of normal channels that it popped and that are not handled yet),
 * P:channelsd:back:<run_id> (set: nodes that have joined their groups again, redis_settle.h). Each
 * has a time to live.
 *
 * Life: OPEN -> LEAVING (memberships are taken out, for at most the timeout) -> CLOSING (links and
 * handles end) -> gone.
 *
 * Thread: the loop's.
 */
#ifndef CHANNEL_LAYER_REDIS_REDIS_H
#define CHANNEL_LAYER_REDIS_REDIS_H

#include "channel_layer/backend.h"
#include "channel_layer/endings.h"
#include "channel_layer/notice.h"
#include "channel_layer/redis/redis_argv.h"
#include "channel_layer/redis/redis_keys.h"
#include "channel_layer/redis/redis_link.h"
#include "channel_layer/redis/redis_members.h"
#include "channel_layer/redis/redis_normal.h"
#include "channel_layer/redis/redis_reader.h"
#include "channel_layer/redis/redis_report.h"
#include "channel_layer/redis/redis_scripts.h"
#include "channel_layer/redis/redis_settle.h"
#include "channel_layer/redis/redis_sweep.h"
#include "channel_layer/redis/redis_upkeep.h"
#include "channel_layer/wire/wire.h"

enum redis_state { REDIS_OPEN, REDIS_LEAVING, REDIS_CLOSING };

struct redis_shard {
    struct redis_backend *backend;
    const struct redis_host *host;
    unsigned index;
    struct redis_link *link; /* for commands */
    bool is_cluster;         /* one key for each script */
    bool is_left;            /* nothing of this node is on it any more, as far as can be */
    struct redis_members members;
    struct redis_reader reader;
    struct redis_normal_shard normal;
    struct redis_upkeep upkeep;
    struct redis_sweep sweep;
    struct redis_settle settle;
};

struct redis_backend {
    struct backend base;
    enum redis_state state;
    uv_loop_t *uv;
    const struct layer_config *config;
    char node[NODE_ID_CHARS + 1];
    char own_tail[NODE_ID_CHARS + 3]; /* how the base of every channel made here ends: .<node>! */
    struct redis_scripts scripts;
    struct redis_batches batches;
    struct redis_normal normal;
    struct wire wire;
    struct buf sealed;      /* members on their way out */
    struct buf body;        /* of the message that arrives */
    struct buf scratch;     /* a name of it */
    struct redis_argv argv; /* the long command that is being made: there is room for any */
    uint64_t seed[2];       /* for hashes of names */
    int64_t last_score_us;
    unsigned rotation;
    uint64_t group_sends; /* so far: their order */
    uv_idle_t turn;       /* active: something is to be done before the loop waits again */
    uv_timer_t tick;
    unsigned tick_ms;
    struct endings endings;
    struct dlist flushes; /* struct redis_flush: those whose other nodes are given time */
    struct notice full_notice;
    struct notice key_notice;
    struct notice member_notice;
    struct notice decode_notice;
    struct notice late_notice;
    unsigned shard_count;
    struct redis_shard *shards;
    unsigned open_handles; /* links and handles of which the end was not told yet */
    uint64_t leave_until_ms;
    void (*closed)(void *ctx);
    void *closed_ctx;
};

static inline struct redis_backend *redis_of(struct backend *b)
{
    return (struct redis_backend *)b;
}

/* ---- the way of a call ---- */

struct redis_shard *redis_shard_of(struct redis_backend *b, struct slice name);
/* redis_script_run() on the shard's command link. */
enum err redis_run(struct redis_shard *shard, const struct script_args *args, script_done *done,
                   void *ctx) MUST_CHECK;
/* A plain command whose answer is of no interest. When too much waits it is not given: what calls
 * this is done again by the upkeep. */
void redis_tell(struct redis_shard *shard, size_t count, const struct slice *args);
/* Ends @call in the next turn. */
void redis_end_later(struct redis_backend *b, struct layer_call *call, enum err err,
                     const char *format, ...) __attribute__((format(printf, 4, 5)));
/* The same for what could not be given to @shard. */
void redis_end_refused(struct redis_shard *shard, struct layer_call *call, enum err err);
/* Something is to be done in the next turn. */
void redis_wake_turn(struct redis_backend *b);
/* Makes the tick as quick as what waits needs it. */
void redis_set_tick(struct redis_backend *b, unsigned tick_ms);

/* A shard has nothing of this node any more, or cannot be told: the end may go on. */
void redis_shard_left(struct redis_shard *shard);

void redis_count_reconnect(struct redis_backend *b, bool is_first);

/* ---- operations (struct backend_ops) ---- */

void redis_send(struct backend *base, struct slice channel, struct slice body,
                struct layer_call *call);
void redis_group_send(struct backend *base, struct slice group, struct slice body,
                      struct layer_call *call, struct backend_own *own);
void redis_groups(struct backend *base,
                  void (*visit)(void *ctx, struct slice group, uint64_t members), void *ctx,
                  struct layer_call *call);
void redis_flush(struct backend *base, struct layer_call *call);

#endif
