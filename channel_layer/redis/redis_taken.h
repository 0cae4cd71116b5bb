/* SPDX-License-Identifier: BSD-3-Clause
 *
 * redis_taken: messages of normal channels that this node popped and that are not handled yet.
 *
 * Why: each of them is in the node's zset of taken ones until it was handled, or went back to its
 * channel; what is told to Redis about them must be told again when it was not answered, or a
 * message that was handled would come again after the node's end.
 *
 * Thread: the loop's.
 */
#ifndef CHANNEL_LAYER_REDIS_REDIS_TAKEN_H
#define CHANNEL_LAYER_REDIS_REDIS_TAKEN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/dlist.h"
#include "core/err.h"
#include "core/slice.h"
#include "core/strmap.h"

struct backend;
struct redis_backend;
struct redis_shard;
struct redis_taken;

/* Of the backend: finds them by handle. */
struct redis_taken_table {
    /* private */
    struct taken_slot *slots;
    uint32_t slot_count;
    uint32_t free_first;
};

/* Of a shard. */
struct redis_taken_lists {
    /* private */
    struct dlist held;      /* struct redis_taken: in the hands of a client */
    struct dlist handled;   /* to be taken out of the zset */
    struct dlist returning; /* to go back to their channels */
    struct dlist telling;   /* those of which Redis is being told */
    struct strmap by_name;  /* all of them, by how they stand in the zset */
    bool is_telling;
    uint64_t retry_ms;   /* nothing is told before */
    uint64_t compare_ms; /* when the zset is to be compared with the lists */
    unsigned compares;   /* that are to follow */
    bool is_comparing;
    char cursor[24]; /* where the next page of the zset begins */
};

void redis_taken_init(struct redis_taken_table *table);
void redis_taken_deinit(struct redis_taken_table *table);
void redis_taken_lists_init(struct redis_taken_lists *lists);
void redis_taken_lists_deinit(struct redis_taken_lists *lists);

/* A message that was popped from @channel with @score; *@handle names it. Errors: ERR_NOMEM: it is
 * in the zset only. */
enum err redis_taken_add(struct redis_shard *shard, struct slice channel, struct slice member,
                         struct slice score, uint64_t *handle) MUST_CHECK;

void redis_taken(struct backend *base, struct slice channel, uint64_t handle);
void redis_put_back(struct backend *base, struct slice channel, uint64_t handle);

/* Tells Redis what is to be told. */
void redis_taken_flush(struct redis_shard *shard);
void redis_taken_tick(struct redis_shard *shard, uint64_t now_ms);
/* A message may have been moved without our learning of it. */
void redis_taken_doubt(struct redis_shard *shard);
/* The end: all that is held goes back. */
void redis_taken_leave(struct redis_shard *shard);
bool redis_taken_is_told(const struct redis_shard *shard);

#endif
