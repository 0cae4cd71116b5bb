/* SPDX-License-Identifier: BSD-3-Clause
 *
 * redis_groups: one group_send on its way, as its parts see it.
 *
 * Why: redis_groups.c asks who is in the group and ends the call, redis_group_members.c sorts the
 * answer by the keys under which the members are told, redis_group_chunks.c gives these what is
 * theirs.
 *
 * Thread: the loop's.
 */
#ifndef CHANNEL_LAYER_REDIS_REDIS_GROUPS_H
#define CHANNEL_LAYER_REDIS_REDIS_GROUPS_H

#include <stdint.h>

#include "channel_layer/redis/redis.h"

struct redis_group_member {
    uint32_t at;  /* in the call's bytes */
    uint16_t len; /* of the name */
    uint16_t nonlocal_len;
    uint32_t next; /* of the same key */
};

/* What one key gets. */
struct redis_group_target {
    uint32_t first; /* member */
    uint32_t last;
    uint32_t count;
    uint32_t shard;
    uint32_t chunk; /* in which it was given; 0: in none yet */
};

struct redis_group_call {
    struct redis_backend *b;
    struct layer_call *call;
    struct backend_own *own;
    struct redis_shard *home; /* the group's */
    struct redis_held held;
    uint64_t number;
    uint64_t deadline_ms;
    uint32_t losses; /* of the shard when the members were asked for */
    uint64_t now_s;
    struct redis_number score;
    struct buf bytes; /* the group, the body, the names of members */
    uint32_t group_len;
    uint32_t body_len;
    struct redis_group_member *members;
    struct redis_group_target *targets;
    uint32_t member_count; /* foreign ones */
    uint32_t all_count;
    uint32_t nodes; /* others of channelsd */
    uint32_t target_count;
    uint32_t shard;  /* where the next chunk goes */
    uint32_t target; /* the first that it may take */
    uint32_t chunks; /* so far */
    unsigned chunks_under_way;
    uint32_t full;
    uint32_t sent;
    enum err err;
    char why[ERR_TEXT_MAX];
};

static inline struct slice redis_group_name(const struct redis_group_call *g)
{
    return slice_make(g->bytes.ptr, g->group_len);
}

static inline struct slice redis_group_member_name(const struct redis_group_call *g,
                                                   const struct redis_group_member *member)
{
    return slice_make(g->bytes.ptr + member->at, member->len);
}

/* The call will end so; nothing more is given. */
void redis_group_fail(struct redis_group_call *g, enum err err, const char *why);
/* Tells how it went and frees @g. */
void redis_group_end(struct redis_group_call *g);

/* Takes the members that Redis listed: tells the layer of its own, sorts the others into targets.
 * Errors: ERR_NOMEM, ERR_TOO_BIG, ERR_PROTO. */
enum err redis_group_take_members(struct redis_group_call *g,
                                  const struct redisReply *reply) MUST_CHECK;

/* Gives as many chunks as may be under way; ends the call when nothing is left. */
void redis_group_give(struct redis_group_call *g);

#endif
