/* SPDX-License-Identifier: BSD-3-Clause
 *
 * redis_settle: holds what is sent to groups while a shard may not know all of their members.
 *
 * Why: a Redis that was restarted comes back empty, or as it was when it last wrote its disk. Every
 * node joins its groups again, but one is back before the other: what the first sends then would
 * reach a part of the group, and nobody would be told.
 *
 * How: each node that joined its groups again after a loss notes that under the run of Redis that
 * it found (P:channelsd:back:<run_id>, a set; INFO tells the run). A shard has settled when as many
 * nodes have noted it as there were before the loss; or when it is the very run in which it had
 * settled before, which forgot nothing; or when no other node was there; or REDIS_SETTLE_MS after
 * its return: who is not back then may be gone for good. Where INFO is not allowed, all runs are
 * one without a name, and the notes decide alone.
 *
 * Life: WHOLE -> (link lost) LOST -> (up) BACK -> (own groups are joined) JOINED -> WHOLE. It
 * begins as WHOLE: what was there before this node is not known.
 *
 * The shard that counts is the group's. Those of its members' keys need not have settled: a key is
 * there for whoever reads it, and its reader comes back to it.
 *
 * Thread: the loop's.
 */
#ifndef CHANNEL_LAYER_REDIS_REDIS_SETTLE_H
#define CHANNEL_LAYER_REDIS_REDIS_SETTLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "channel_layer/redis/redis_held.h"
#include "core/err.h"

struct redis_backend;
struct redis_shard;

enum { REDIS_RUN_CHARS = 40 };

enum redis_settle_state { SETTLE_WHOLE, SETTLE_LOST, SETTLE_BACK, SETTLE_JOINED };

/* Of a shard. */
struct redis_settle {
    /* private */
    enum redis_settle_state state;
    bool was_up;
    bool is_asking;
    bool has_run;      /* it is known which run this is */
    bool has_joined;   /* this node's groups are joined again */
    bool is_noted;     /* and that stands in the set of the run */
    bool is_poking;    /* a command waits in the link, so that it hurries */
    uint32_t losses;   /* so far: tells an answer from before one */
    uint64_t up_ms;    /* when it came back */
    unsigned living;   /* nodes that the last beat saw */
    unsigned seen;     /* nodes that a group was seen to have since then */
    unsigned wanted;   /* that are to come back */
    unsigned returned; /* that have */
    char run[REDIS_RUN_CHARS + 1];
    char whole_run[REDIS_RUN_CHARS + 1]; /* in which it had settled */
    struct redis_held_list held;         /* its numbers: since the loss */
};

void redis_settle_init(struct redis_shard *shard);
/* Nothing is held any more. */
void redis_settle_deinit(struct redis_shard *shard);

bool redis_has_settled(const struct redis_shard *shard);
/* What was asked before the number changed was not answered by a shard that has settled since. */
uint32_t redis_settle_losses(const struct redis_shard *shard);

/* Keeps @held until the shard has settled or its deadline is near. @number: smaller for what came
 * before. Errors: ERR_TOO_BIG: too much is held already; ERR_CLOSED. */
enum err redis_settle_hold(struct redis_shard *shard, struct redis_held *held,
                           uint64_t number) MUST_CHECK;

/* The link for commands is up, is lost. */
void redis_settle_up(struct redis_shard *shard, bool is_first);
void redis_settle_down(struct redis_shard *shard);
/* Redis was emptied and no link was lost. Then the groups are to be joined again, as after up(). */
void redis_settle_emptied(struct redis_shard *shard);
/* The groups of this node are joined again, by a run that began when losses() was @losses. */
void redis_settle_joined(struct redis_shard *shard, uint32_t losses);
/* So many nodes live, says a beat; are in a group, says its list of members. Both with this one. */
void redis_settle_living(struct redis_shard *shard, unsigned nodes);
void redis_settle_seen(struct redis_shard *shard, unsigned nodes);

void redis_settle_tick(struct redis_shard *shard, uint64_t now_ms);
/* Nothing is sent any more: what is held ends. */
void redis_settle_leave(struct redis_shard *shard);
/* Takes this node's note out of Redis. */
void redis_settle_forget(struct redis_shard *shard);

#endif
