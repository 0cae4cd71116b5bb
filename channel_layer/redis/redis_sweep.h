/* SPDX-License-Identifier: BSD-3-Clause
 *
 * redis_sweep: what a node does for one that is gone.
 *
 * Why: a node that was killed leaves members in groups and messages that it had taken. Whose beat
 * has claimed it (redis_upkeep.h) takes the first out and gives the second back.
 *
 * How: one node of a shard at a time, its groups before its messages. Each step asks in Redis
 * whether the claim still holds, so that a node that comes back in the middle loses nothing that it
 * has made again. A sweep that fails is begun anew by the next beat that finds the node.
 *
 * Thread: the loop's.
 */
#ifndef CHANNEL_LAYER_REDIS_REDIS_SWEEP_H
#define CHANNEL_LAYER_REDIS_REDIS_SWEEP_H

#include <stdbool.h>

#include "channel_layer/names.h"

struct redisReply;
struct redis_shard;

/* Of a shard. */
struct redis_sweep {
    /* private */
    bool is_active;
    char gone[NODE_ID_CHARS + 1]; /* the node that is swept */
    char cursor[24];              /* in its set of groups */
};

bool redis_sweep_is_active(const struct redis_shard *shard);

/* Begins with the node @name that the beat has claimed, while no sweep is active. One that is no
 * node's name is taken out. */
void redis_sweep_begin(struct redis_shard *shard, const struct redisReply *name);

#endif
