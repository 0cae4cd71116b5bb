/* SPDX-License-Identifier: BSD-3-Clause
 *
 * deliveries: one message, the names that it is for, and each client that has some of them once.
 *
 * Why: a message may name groups and single channels of the same client, in any order and hundreds
 * of them. The names are noted down (a hit for each), chained by client, and then every client is
 * told once, with all of its own.
 *
 * A name of a group is a hit for each of its members: who can write to Redis would have a message
 * of some megabytes become memory without end. So a group counts once, and hits have a ceiling.
 *
 * Thread: the loop's.
 */
#ifndef CHANNEL_LAYER_DELIVERIES_H
#define CHANNEL_LAYER_DELIVERIES_H

#include "channel_layer/hub.h"
#include "core/buf.h"

struct layer_group;

enum { DELIVERY_HITS_MAX = 1024 * 1024 }; /* of one message */

struct delivery_hit {
    const struct layer_group *group; /* NULL: a channel, whose name is in names */
    size_t at;
    size_t len;
    size_t next; /* of the same client; 0: none (hits[0] is never used) */
};

struct deliveries {
    struct layer *layer;
    uint64_t number; /* no other has it: how its groups are told from those not added yet */
    struct delivery_hit *hits;
    size_t count; /* with hits[0], once there is one */
    size_t room;
    struct buf names;
    struct dlist touched; /* clients with hits */
};

void deliveries_init(struct deliveries *d, struct layer *layer);
/* Nothing is allocated any more and no client is touched; @d is usable again. */
void deliveries_deinit(struct deliveries *d);

/* Without memory for it, or with DELIVERY_HITS_MAX, the client misses it, which is counted. */
void deliveries_add(struct deliveries *d, struct layer_client *client, struct slice channel);
/* Everybody that joined, unless the group was added already; it stays until deliveries_send(). */
void deliveries_add_group(struct deliveries *d, struct layer_group *group);

/* Tells every client, and forgets them. */
void deliveries_send(struct deliveries *d, struct slice body);

/* Gives @body at once to all that joined and have room, without noting anything down; who has none
 * misses it, which is counted. */
void deliveries_give_group(const struct layer_group *group, struct slice body);

#endif
