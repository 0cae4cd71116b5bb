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
#ifndef CHANNEL_LAYER_REDIS_H
#define CHANNEL_LAYER_REDIS_H

#include "channel_layer/backend.h"
#include "channel_layer/endings.h"
#include "channel_layer/redis_link.h"
#include "channel_layer/redis_members.h"
#include "channel_layer/redis_normal.h"
#include "channel_layer/redis_reader.h"
#include "channel_layer/redis_scripts.h"
#include "channel_layer/redis_settle.h"
#include "channel_layer/redis_upkeep.h"
#include "channel_layer/wire.h"

enum {
    REDIS_PREFIX_MAX = 256,
    REDIS_MEMBER_MAX = 600, /* bytes of a name in a group: more than any name has */
    REDIS_KEY_MAX = REDIS_PREFIX_MAX + REDIS_MEMBER_MAX + 64,
    REDIS_NOTICE_MS = 10000, /* between two log lines of one kind */
    REDIS_LATE_S = 10,       /* that a message may be older than the expiry: clocks differ */
};

/* What would be logged too often. */
struct redis_notice {
    uint64_t next_ms;
    uint64_t held_back;
};

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
    struct buf sealed;  /* members on their way out */
    struct buf body;    /* of the message that arrives */
    struct buf scratch; /* a name of it */
    struct buf argv;    /* struct slice, of a long command; see redis_arg() */
    uint64_t seed[2];   /* for hashes of names */
    int64_t last_score_us;
    unsigned rotation;
    uint64_t group_sends; /* so far: their order */
    uv_idle_t turn;       /* active: something is to be done before the loop waits again */
    uv_timer_t tick;
    unsigned tick_ms;
    struct endings endings;
    struct dlist flushes; /* struct scan: those whose other nodes are given time */
    struct redis_notice full_notice;
    struct redis_notice key_notice;
    struct redis_notice member_notice;
    struct redis_notice decode_notice;
    struct redis_notice late_notice;
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

/* ---- keys, scores, numbers as text ---- */

struct redis_key {
    size_t len;
    char text[REDIS_KEY_MAX];
};
/* The prefix, then @a and @b, which fit (REDIS_MEMBER_MAX and 64 bytes). */
struct slice redis_key(const struct redis_backend *b, struct redis_key *out, const char *a,
                       struct slice name);

struct redis_number {
    char text[32];
};
struct slice redis_number(struct redis_number *out, int64_t number);

/* A new score: the time as Python prints it, to the microsecond, later than every one before. */
struct slice redis_score(struct redis_backend *b, struct redis_number *out);
/* Unix time in seconds. */
double redis_now(void);

/* The time (@ago_s before now) up to which a trim takes out. */
struct slice redis_oldest(struct redis_number *out, unsigned ago_s);

/* Whether @nonlocal begins the names of this node's channels. */
bool redis_is_own(const struct redis_backend *b, struct slice nonlocal);

/* The name "specific.<node>!<aggregate of @group>" for any @node. */
struct redis_aggregate {
    size_t len;
    char text[9 + NODE_ID_CHARS + 1 + AGGREGATE_MAX + 1];
};
struct slice redis_aggregate(struct redis_aggregate *out, const char *node, struct slice group);

/* ---- the way of a call ---- */

struct redis_shard *redis_shard_of(struct redis_backend *b, struct slice name);
/* redis_script_run() on the shard's command link. */
enum err redis_run(struct redis_shard *shard, const struct script_args *args, script_done *done,
                   void *ctx) MUST_CHECK;
/* A plain command whose answer is of no interest. When too much waits it is not given: what calls
 * this is done again by the upkeep. */
void redis_tell(struct redis_shard *shard, size_t count, const struct slice *args);
/* Adds a word to the long command in b->argv, which its maker has emptied first. There is always
 * room: nobody's batches come near ARGV_MAX. @arg's bytes are borrowed until it is given. */
void redis_arg(struct redis_backend *b, struct slice arg);
/* Gives that command to @link: see redis_link_command(). */
enum err redis_give_argv(const struct redis_backend *b, struct redis_link *link,
                         unsigned timeout_ms, redis_link_done *done, void *ctx) MUST_CHECK;
/* Ends @call in the next turn. */
void redis_end_later(struct redis_backend *b, struct layer_call *call, enum err err,
                     const char *format, ...) __attribute__((format(printf, 4, 5)));
/* The same for what could not be given to @shard. */
void redis_end_refused(struct redis_shard *shard, struct layer_call *call, enum err err);
/* The first command on a connection was not answered, which leaves it half made: a new one, unless
 * it is lost anyway. */
void redis_begin_again(struct redis_link *link, const char *why);
/* Something is to be done in the next turn. */
void redis_wake_turn(struct redis_backend *b);
/* Makes the tick as quick as what waits needs it. */
void redis_set_tick(struct redis_backend *b, unsigned tick_ms);

/* Whether this one may be logged; then @held_back is how many were not since the last. */
bool redis_notice(struct redis_backend *b, struct redis_notice *notice, uint64_t *held_back);

/* A shard has nothing of this node any more, or cannot be told: the end may go on. */
void redis_shard_left(struct redis_shard *shard);

/* Whether the message with @score, of the key @key, is older than the layer's expiry: it was there
 * all the time, and no sender has trimmed the key. Counted and logged then. Its age is what the
 * clocks of its sender and of this host make it; they may differ as much as encryption allows. */
bool redis_is_late(const struct redis_shard *shard, struct slice key, struct slice score);

/* The next member and score of an answer WITHSCORES, in either form (RESP3: pairs); begin with
 * *@at = 0. */
struct redis_pair {
    struct slice member;
    struct slice score;
};
bool redis_next_pair(const struct redisReply *reply, size_t *at, struct redis_pair *pair);

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
/* Asks for those flushes; the end: nobody is given time any more. */
void redis_flush_tick(struct redis_backend *b);
void redis_flush_leave(struct redis_backend *b);

#endif
