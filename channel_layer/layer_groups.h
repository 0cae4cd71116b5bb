/* SPDX-License-Identifier: BSD-3-Clause
 *
 * layer_groups: who is in which group here, as the parts of a layer see it.
 *
 * Why: a group has clients of this node, who joined, and without a backend single channels of
 * nobody here. Messages are given to the first straight from its list (deliveries.h).
 *
 * Thread: the loop's.
 */
#ifndef CHANNEL_LAYER_LAYER_GROUPS_H
#define CHANNEL_LAYER_LAYER_GROUPS_H

#include <stddef.h>
#include <stdint.h>

#include "channel_layer/hub.h"
#include "channel_layer/names.h"
#include "core/dlist.h"
#include "core/slice.h"
#include "core/strmap.h"

/* Life with a backend: OUT -> JOINING (the first client came) -> IN -> LEAVING (the last one went)
 * -> OUT. What comes while a command is under way waits for its end, which then goes on to where
 * the number of members says. Without one, a group is IN while it has clients. */
enum group_state { GROUP_OUT, GROUP_JOINING, GROUP_IN, GROUP_LEAVING };

struct layer_group {
    struct strmap_entry by_name;
    struct strmap_entry by_digest;
    struct dlist link; /* layer->group_list */
    struct layer *layer;
    enum group_state state;
    uint64_t delivery; /* the last that it was added to (deliveries.h) */
    struct group_member **members;
    size_t count;
    size_t room;
    struct strmap singles;    /* struct group_single; without a backend only */
    struct dlist single_list; /* the oldest first */
    struct dlist joins;       /* struct group_wait */
    struct dlist leaves;
    char digest[AGGREGATE_MAX + 1]; /* "" when the aggregate carries the name */
    struct slice name;
    char name_bytes[];
};

struct group_member {
    struct dlist link; /* client->members */
    struct layer_group *group;
    struct layer_client *client;
    size_t index; /* in group->members */
};

struct group_single {
    struct strmap_entry by_name;
    struct dlist link;   /* group->single_list */
    struct dlist by_age; /* layer->singles */
    struct layer_group *group;
    uint64_t expires_ms;
    struct slice name;
    char name_bytes[];
};

/* ---- groups (layer_groups.c) ---- */

/* NULL: there is none. */
struct layer_group *layer_find_group(const struct layer *layer, struct slice name);
/* Nobody is in it, and nothing is under way: it goes. */
void layer_group_drop_if_empty(struct layer_group *group);
void layer_leave_all(struct layer_client *client);
void layer_forget_groups(struct layer *layer);
void layer_groups_deinit(struct layer *layer);

/* A control message of another node arrived (control.h). */
void layer_control_arrived(struct layer *layer, struct slice body);

/* ---- single channels in groups (layer_singles.c) ---- */

/* NULL: it is not in the group. */
struct group_single *layer_single_find(const struct layer_group *group, struct slice channel);
/* Adding it again begins its time anew. */
void layer_single_add(struct layer_group *group, struct slice channel);
void layer_single_free(struct layer_group *group, struct group_single *single);
/* Drops the singles whose time is over. */
void layer_group_expire(struct layer_group *group);

#endif
