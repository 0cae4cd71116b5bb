/* SPDX-License-Identifier: BSD-3-Clause
 *
 * redis_registry: the node's own set of the groups in which it has a member.
 *
 * Why: whoever sweeps the node after its end (redis_sweep.h) reads there what is to be taken out.
 * What one turn of the loop changes is written at its end.
 *
 * Thread: the loop's.
 */
#ifndef CHANNEL_LAYER_REDIS_REDIS_REGISTRY_H
#define CHANNEL_LAYER_REDIS_REDIS_REGISTRY_H

#include <stdbool.h>

#include "core/buf.h"
#include "core/slice.h"

struct redis_shard;

/* Of a shard: what this turn is to tell. */
struct redis_registry {
    /* private: names, a length (uint8_t) before each */
    struct buf registered;
    struct buf unregistered;
};

void redis_registry_init(struct redis_registry *registry);
void redis_registry_deinit(struct redis_registry *registry);

/* The node's member comes into @group, or goes. A name that finds no room is not swept after a
 * crash; its membership expires. */
void redis_registry_note(struct redis_registry *registry, struct slice group, bool is_member);

/* Writes what was noted. */
void redis_registry_tell(struct redis_shard *shard);

#endif
