/* SPDX-License-Identifier: BSD-3-Clause
 *
 * pubsub_subs: what one shard is subscribed to, and is to be.
 *
 * Why: names are wanted and not wanted any more at any time, the link comes and goes, and an answer
 * takes its time. So what is wanted is noted down; the rest is one step from what is to what is
 * wanted, taken whenever nothing is under way for a name.
 *
 * How: what was changed in a turn goes out at its end in few commands. A command that Redis refuses
 * is repeated name by name, so that one name that an ACL forbids keeps no other from its messages.
 * With the connection every subscription is gone; when it is up again all of them are made anew
 * before anything else, and then the node announces itself (pubsub_nodes.h).
 *
 * Thread: the loop's.
 */
#ifndef CHANNEL_LAYER_PUBSUB_PUBSUB_SUBS_H
#define CHANNEL_LAYER_PUBSUB_PUBSUB_SUBS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "channel_layer/layer.h"
#include "core/dlist.h"
#include "core/slice.h"
#include "core/strmap.h"

struct backend;
struct pubsub_backend;
struct pubsub_normal;
struct pubsub_shard;
struct redis_link;

/* Of a shard. */
struct pubsub_subscriber {
    struct redis_link *link;
    /* private */
    struct strmap channels; /* struct pubsub_sub */
    struct strmap patterns;
    struct dlist changed;  /* those to be settled in the next turn */
    struct dlist deferred; /* and those at the next tick */
    size_t held_bytes;     /* of what waits in struct pubsub_sub.held */
    size_t missed;         /* names that are not back yet since the connection is */
};

/* DOUBT: the answer did not come in time. */
enum pubsub_state { SUB_OUT, SUB_ENTERING, SUB_IN, SUB_LEAVING, SUB_DOUBT };

/* One name, or pattern. */
struct pubsub_sub {
    struct strmap_entry by_name;
    struct dlist link; /* changed, deferred, or of the command that is under way for it */
    struct pubsub_shard *shard;
    enum pubsub_state state;
    bool is_pattern;
    bool is_group;                /* wanted by clients in the group, */
    bool is_joined;               /* to whom a join was confirmed; */
    bool is_base;                 /* by the client whose names begin so, */
    struct pubsub_normal *normal; /* by those who receive; NULL: nobody does */
    bool is_kept;                 /* while groups are dropped */
    bool is_alone;                /* was refused together with others */
    bool is_missed;               /* is one of subscriber->missed */
    struct dlist waits;           /* struct pubsub_wait: until it is IN */
    struct dlist held;            /* struct pubsub_group_send: while it is away */
    struct dlist returns;         /* the same: until they come back */
    struct slice name;
    char name_bytes[];
};

void pubsub_subscriber_open(struct pubsub_shard *shard);
/* After the link is closed. */
void pubsub_subscriber_deinit(struct pubsub_subscriber *s);

struct pubsub_sub *pubsub_find_sub(const struct pubsub_shard *shard, struct slice name);
/* The same, made when there is none. Whoever asks for it sets what it is wanted for and calls
 * pubsub_sub_changed(), after which it may be gone. */
struct pubsub_sub *pubsub_make_sub(struct pubsub_shard *shard, struct slice name, bool is_pattern);
void pubsub_sub_changed(struct pubsub_sub *sub);
/* Clients of this node are in the group, and what is published now would not reach them. */
bool pubsub_sub_is_away(const struct pubsub_sub *sub);

/* Gives the commands for what was changed in this turn. */
void pubsub_settle(struct pubsub_shard *shard);
/* What could not be settled is tried again. */
void pubsub_subs_tick(struct pubsub_shard *shard);

/* ---- operations (struct backend_ops) ---- */

void pubsub_join(struct backend *base, struct slice group, struct layer_call *call);
void pubsub_leave(struct backend *base, struct slice group, struct layer_call *call);
void pubsub_watch(struct backend *base, struct slice name, struct layer_call *call);
void pubsub_unwatch(struct backend *base, struct slice name);
/* The layer has forgotten its groups, but for those that somebody joins just now. */
void pubsub_drop_groups(struct pubsub_backend *b);

#endif
