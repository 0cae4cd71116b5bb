/* SPDX-License-Identifier: BSD-3-Clause */
#include "channel_layer/redis/redis_groups.h"

#include "core/log.h"
#include "core/mem.h"
#include "core/text.h"

#include <hiredis/hiredis.h>

#include <inttypes.h>

static const uint32_t no_index = UINT32_MAX;

static void skip_member(struct redis_group_call *g, struct slice name)
{
    struct redis_backend *b = g->b;
    uint64_t held_back = 0;
    layer_stats(b->base.layer)->group_skipped++;
    if (notice_is_due(&b->member_notice, uv_now(b->uv), &held_back))
        log_event(LOG_WARN, "layer.group.member",
                  "group=%.*s bytes=%zu held_back=%" PRIu64
                  " text=\"a member is no channel name; it is skipped\"",
                  (int)g->group_len, (const char *)g->bytes.ptr, name.len, held_back);
}

/* Puts the member behind those of its key; @slots is a table of targets by key. */
static void sort_member(struct redis_group_call *g, uint32_t *slots, size_t mask, uint32_t index)
{
    struct redis_backend *b = g->b;
    struct redis_group_member *member = &g->members[index];
    const struct slice nonlocal = slice_make(g->bytes.ptr + member->at, member->nonlocal_len);
    size_t slot = strmap_hash(b->seed, nonlocal) & mask;
    for (; slots[slot] != no_index; slot = (slot + 1) & mask) {
        struct redis_group_target *target = &g->targets[slots[slot]];
        const struct redis_group_member *first = &g->members[target->first];
        if (!slice_eq(nonlocal, slice_make(g->bytes.ptr + first->at, first->nonlocal_len)))
            continue;
        g->members[target->last].next = index;
        target->last = index;
        target->count++;
        return;
    }
    slots[slot] = g->target_count;
    g->targets[g->target_count++] = (struct redis_group_target){
        .first = index,
        .last = index,
        .count = 1,
        .shard = redis_shard_of(b, nonlocal)->index,
    };
}

static enum err sort_members(struct redis_group_call *g)
{
    size_t size = 4;
    while (size < 2 * (size_t)g->member_count)
        size *= 2;
    uint32_t *slots = mem_try(size * sizeof(*slots));
    g->targets = mem_try(g->member_count * sizeof(*g->targets));
    if (slots == NULL || g->targets == NULL) {
        mem_free(slots);
        return ERR_NOMEM;
    }
    for (size_t i = 0; i < size; i++)
        slots[i] = no_index;
    for (uint32_t i = 0; i < g->member_count; i++)
        sort_member(g, slots, size - 1, i);
    mem_free(slots);
    return ERR_OK;
}

/* Whether it is the aggregate of another node, of which ours is @aggregate: all but the node. */
static bool is_aggregate(struct slice name, struct slice aggregate)
{
    static const char front[] = "specific.";
    const size_t at = sizeof(front) - 1;
    const size_t rest = at + NODE_ID_CHARS;
    return name.len == aggregate.len && memcmp(name.ptr, front, at) == 0 &&
           memcmp(name.ptr + rest, aggregate.ptr + rest, name.len - rest) == 0;
}

/* A member of this node: the aggregate is the layer's own business, others are told. */
static void own_member(struct redis_group_call *g, struct slice name, struct slice aggregate)
{
    if (!slice_eq(name, aggregate))
        g->own->found(g->own, name);
}

static enum err take_member(struct redis_group_call *g, struct slice name, struct slice aggregate)
{
    if (name.len == 0 || name.len > REDIS_MEMBER_MAX || !utf8_is_valid(name.ptr, name.len)) {
        skip_member(g, name);
        return ERR_OK;
    }
    const struct slice nonlocal = name_nonlocal(name);
    if (redis_is_own(g->b, nonlocal)) {
        own_member(g, name, aggregate);
        return ERR_OK;
    }
    g->nodes += is_aggregate(name, aggregate);
    const uint32_t at = g->bytes.len;
    const enum err err = buf_append(&g->bytes, name.ptr, name.len);
    if (err != ERR_OK)
        return err;
    g->members[g->member_count++] = (struct redis_group_member){
        .at = at,
        .len = (uint16_t)name.len,
        .nonlocal_len = (uint16_t)nonlocal.len,
        .next = no_index,
    };
    return ERR_OK;
}

enum err redis_group_take_members(struct redis_group_call *g, const redisReply *reply)
{
    struct redis_aggregate text;
    if (reply->type != REDIS_REPLY_ARRAY || reply->elements > UINT32_MAX / 4)
        return ERR_PROTO;
    if (reply->elements == 0)
        return ERR_OK;
    const struct slice aggregate = redis_aggregate(&text, g->b->node, redis_group_name(g));
    g->all_count = (uint32_t)reply->elements;
    g->members = mem_try(reply->elements * sizeof(*g->members));
    enum err err = g->members == NULL ? ERR_NOMEM : ERR_OK;
    for (size_t i = 0; i < reply->elements && err == ERR_OK; i++) {
        const redisReply *member = reply->element[i];
        err = member->type != REDIS_REPLY_STRING
                  ? ERR_PROTO
                  : take_member(g, slice_make(member->str, member->len), aggregate);
    }
    redis_settle_seen(g->home, g->nodes + 1);
    return err == ERR_OK && g->member_count > 0 ? sort_members(g) : err;
}
