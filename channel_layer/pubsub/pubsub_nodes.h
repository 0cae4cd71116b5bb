/* SPDX-License-Identifier: BSD-3-Clause
 *
 * pubsub_nodes: holds what is published on a shard while not all nodes are there to receive it.
 *
 * Why: with Redis, or with its connections, the subscriptions are gone. Every node makes its own
 * anew, but one is back before the other: what the first publishes then would reach a part of those
 * whom it is for, and nobody would be told.
 *
 * How: the connection of a node that subscribes is subscribed to <prefix>channelsd:nodes as well,
 * after everything that it was subscribed to before; no group or channel can have that name, for
 * the ':'. So PUBSUB NUMSUB of it says how many nodes are back. It goes with the connection, needs
 * no upkeep, and costs the same for any number of groups. While all is well the others are counted
 * every second. After a loss of either link a shard is whole again when Redis can be told
 * something, this node has announced itself (if it ever could), and as many others have as there
 * were; or REDIS_SETTLE_MS after the return: who is not back then may be gone for good. What was
 * given to a link that was lost before it was sent is held again. Where Redis refuses to count
 * (ACL), only this node is waited for.
 *
 * What it cannot see: a connection of which Redis has not found out that it is dead counts as a
 * node, and one that ends while this node's links stay is not missed. What is published then is
 * lost for that node, as ever with pub/sub.
 *
 * Life: LOST (no link for commands yet, or no more) -> BACK -> WHOLE -> LOST or BACK …
 *
 * Thread: the loop's.
 */
#ifndef CHANNEL_LAYER_PUBSUB_PUBSUB_NODES_H
#define CHANNEL_LAYER_PUBSUB_PUBSUB_NODES_H

#include <stdbool.h>
#include <stdint.h>

#include "channel_layer/redis/redis_held.h"
#include "core/err.h"

struct pubsub_shard;

enum pubsub_nodes_state { NODES_LOST, NODES_BACK, NODES_WHOLE };

/* This node, as the others see it. REFUSED: Redis does not let it announce itself. */
enum pubsub_own_state { OWN_OUT, OWN_ENTERING, OWN_IN, OWN_REFUSED };

/* Of a shard. */
struct pubsub_nodes {
    /* private */
    enum pubsub_nodes_state state;
    enum pubsub_own_state own;
    bool was_subscribed; /* the link that subscribes was up once */
    bool is_asking;
    bool is_uncounted;           /* this connection may not count */
    bool is_refusal_told;        /* in the log */
    uint32_t losses;             /* so far: tells an answer from before one */
    uint32_t asked_at;           /* losses when the count was asked for */
    uint64_t since_ms;           /* since when BACK */
    uint64_t poll_ms;            /* when the count is asked for next, while BACK */
    unsigned others;             /* nodes, as counted last, */
    unsigned before;             /* and the time before: one that was away for a moment counts */
    unsigned wanted;             /* others that are to come back */
    unsigned returned;           /* that have */
    struct redis_held_list held; /* its numbers: since the loss */
};

void pubsub_nodes_init(struct pubsub_shard *shard);
/* Nothing is held any more. */
void pubsub_nodes_deinit(const struct pubsub_shard *shard);

/* Whether what is published now reaches everybody; if not it is to be held. */
bool pubsub_nodes_are_whole(const struct pubsub_shard *shard);
/* @number: smaller for what came before. Errors: ERR_TOO_BIG: too much is held already;
 * ERR_CLOSED. */
enum err pubsub_nodes_hold(struct pubsub_shard *shard, struct redis_held *held,
                           uint64_t number) MUST_CHECK;

/* The link for commands is up; it was up, and is lost. */
void pubsub_nodes_command_up(struct pubsub_shard *shard);
void pubsub_nodes_command_down(struct pubsub_shard *shard);
/* The same of the link that subscribes. */
void pubsub_nodes_subscriber_up(struct pubsub_shard *shard);
void pubsub_nodes_subscriber_down(struct pubsub_shard *shard);
/* All that this node was subscribed to is confirmed or refused: it announces itself, unless it has.
 */
void pubsub_nodes_announce(struct pubsub_shard *shard);

/* When something is to be done, if nothing happens before; UINT64_MAX: never. */
uint64_t pubsub_nodes_due_ms(const struct pubsub_shard *shard);
void pubsub_nodes_run(struct pubsub_shard *shard, uint64_t now_ms);
/* Every second. */
void pubsub_nodes_tick(struct pubsub_shard *shard);
/* The layer ends, and with it what is held. */
void pubsub_nodes_end(struct pubsub_shard *shard);

#endif
