/* SPDX-License-Identifier: BSD-3-Clause
 *
 * redis_members: who is in which group, as Redis is told.
 *
 * Why: the node has one member in each group that its clients joined; that member must be there as
 * long as they are, whatever happens to Redis in between, and must go when they do. Single members
 * (of others, added through us) are told and forgotten.
 *
 * How: what one turn of the loop adds to or takes from a group is one command. Each shard has a
 * table of the node's own memberships; a run goes through it in chunks and makes Redis agree: after
 * each reconnect, when Redis was emptied, and before memberships would expire. A membership that
 * ended without an answer stays in the table, as one to be taken out, until it is known to be gone.
 *
 * Thread: the loop's.
 */
#ifndef CHANNEL_LAYER_REDIS_REDIS_MEMBERS_H
#define CHANNEL_LAYER_REDIS_REDIS_MEMBERS_H

#include <stdbool.h>
#include <stdint.h>

#include "channel_layer/redis/redis_registry.h"
#include "core/dlist.h"
#include "core/slice.h"
#include "core/strmap.h"

struct backend;
struct layer_call;
struct redis_backend;
struct redis_shard;
struct redis_membership;

/* Of a shard. */
struct redis_members {
    /* private */
    struct strmap groups; /* struct redis_membership */
    struct dlist order;   /* the same */
    struct dlist *cursor; /* of the run: the next one; &order at its end */
    unsigned left;        /* batches of the run that are not answered */
    bool is_running;
    bool is_asked_again; /* a run is to follow this one */
    bool has_failed;     /* a batch of the run did */
    uint32_t losses;     /* of the shard (redis_settle.h) when the run began */
    struct redis_registry registry;
};

/* Of the backend: what this turn is to tell. */
struct redis_batches {
    /* private */
    struct strmap pending; /* struct redis_batch, by group */
    struct dlist order;
    struct dlist refused; /* the same: not told, because too much waits already */
};

void redis_members_init(struct redis_members *m);
void redis_members_deinit(struct redis_members *m);
void redis_batches_init(struct redis_batches *batches);
void redis_batches_deinit(struct redis_batches *batches);

void redis_join(struct backend *base, struct slice group, struct layer_call *call);
void redis_leave(struct backend *base, struct slice group, struct layer_call *call);
void redis_add(struct backend *base, struct slice group, struct slice channel,
               struct layer_call *call);
void redis_discard(struct backend *base, struct slice group, struct slice channel,
                   struct layer_call *call);

/* Tells Redis what the turn has collected, and ends what could not be told. */
void redis_batches_flush(struct redis_backend *b);

/* Takes what the layer says is joined into the table. */
void redis_members_recall(struct redis_backend *b);
/* Makes @shard agree with the table; once more if it is under way. */
void redis_members_run(struct redis_shard *shard);
/* The layer has forgotten its groups (struct backend_ops): takes out of Redis what a join put there
 * while it was flushed, and makes sure of what is being joined. */
void redis_flushed(struct backend *base);
/* From now on nothing is joined: the next run takes everything out. */
void redis_members_forget(struct redis_shard *shard);
bool redis_members_has_any(const struct redis_shard *shard);

#endif
