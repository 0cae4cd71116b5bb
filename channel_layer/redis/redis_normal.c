/* SPDX-License-Identifier: BSD-3-Clause */
#include "channel_layer/redis/redis_normal.h"

#include "channel_layer/redis/redis.h"
#include "channel_layer/redis/redis_pop.h"
#include "channel_layer/redis/redis_tracking.h"
#include "core/mem.h"

#include <hiredis/hiredis.h>

#include <assert.h>

enum {
    CHANNELS_MAX = 4096, /* over which those that nobody wants are forgotten */
    TICK_MS = 500,
};

void redis_normal_init(struct redis_normal *normal)
{
    strmap_init(&normal->channels);
    dlist_init(&normal->order);
    redis_taken_init(&normal->table);
}

void redis_normal_shard_init(struct redis_normal_shard *s)
{
    *s = (struct redis_normal_shard){0};
    redis_taken_lists_init(&s->taken);
}

static struct normal_channel *channel_of(struct dlist *node)
{
    return CONTAINER_OF(node, struct normal_channel, link);
}

static void drop_channel(struct normal_channel *c)
{
    strmap_remove(&c->b->normal.channels, &c->entry);
    dlist_remove(&c->link);
    mem_free(c);
}

void redis_normal_deinit(struct redis_backend *b)
{
    while (!dlist_is_empty(&b->normal.order))
        drop_channel(channel_of(b->normal.order.next));
    strmap_deinit(&b->normal.channels);
    redis_taken_deinit(&b->normal.table);
    for (unsigned i = 0; i < b->shard_count; i++)
        redis_taken_lists_deinit(&b->shards[i].normal.taken);
}

/* ---- where to ask ---- */

void redis_normal_step(struct normal_channel *c)
{
    struct redis_backend *b = c->b;
    const unsigned start = c->turn++ % b->shard_count;
    for (unsigned i = 0; i < b->shard_count && b->state == REDIS_OPEN; i++) {
        struct redis_shard *shard = &b->shards[(start + i) % b->shard_count];
        struct normal_place *place = &c->places[shard->index];
        if (c->wanted <= c->coming)
            return;
        if (!shard->normal.is_up)
            continue;
        /* With one shard a pop is the question; with several, who asks takes nothing yet: the
         * wanted one may come from any of them. */
        const bool pops =
            place->state == PLACE_READY || (place->state == PLACE_UNKNOWN && b->shard_count == 1);
        const unsigned need = c->wanted - c->coming;
        if (pops)
            redis_pop_ask(c, shard, need < REDIS_POP_MAX ? need : REDIS_POP_MAX);
        else if (place->state == PLACE_UNKNOWN)
            redis_pop_ask(c, shard, 0);
    }
}

/* ---- the connection ---- */

static void forget_places(struct redis_shard *shard)
{
    struct redis_normal *normal = &shard->backend->normal;
    for (struct dlist *n = normal->order.next; n != &normal->order; n = n->next) {
        struct normal_place *place = &channel_of(n)->places[shard->index];
        if (place->state != PLACE_ASKED)
            place->state = PLACE_UNKNOWN;
    }
}

static void step_all(struct redis_backend *b)
{
    for (struct dlist *n = b->normal.order.next; n != &b->normal.order; n = n->next)
        redis_normal_step(channel_of(n));
}

static void ready(struct redis_shard *shard)
{
    shard->normal.is_up = true;
    forget_places(shard);
    step_all(shard->backend);
}

static void on_tracking(void *ctx, enum err err, const redisReply *reply, const char *why)
{
    struct redis_shard *shard = ctx;
    if (err != ERR_OK) {
        redis_tracking_again(shard->normal.link, why);
        return;
    }
    shard->normal.can_track = reply->type != REDIS_REPLY_ERROR;
    ready(shard);
}

static void on_up(void *ctx, bool is_first)
{
    struct redis_shard *shard = ctx;
    struct redis_normal_shard *s = &shard->normal;
    redis_count_reconnect(shard->backend, is_first);
    if (!is_first)
        redis_taken_doubt(shard);
    s->can_track = false;
    if (redis_tracking_ask(s->link, on_tracking, shard))
        return;
    ready(shard);
}

static void on_down(void *ctx, const char *why)
{
    struct redis_shard *shard = ctx;
    (void)why; /* the command link says it */
    shard->normal.is_up = false;
}

/* The channel's name in one of its keys. */
static struct normal_channel *find_by_key(struct redis_backend *b, const redisReply *key)
{
    const size_t front = strlen(b->config->prefix);
    if (key->type != REDIS_REPLY_STRING || key->len <= front)
        return NULL;
    struct strmap_entry *entry =
        strmap_find(&b->normal.channels, slice_make(key->str + front, key->len - front));
    return entry == NULL ? NULL : CONTAINER_OF(entry, struct normal_channel, entry);
}

static void on_push(void *ctx, const redisReply *push)
{
    struct redis_shard *shard = ctx;
    const redisReply *keys = NULL;
    if (!redis_tracking_read(push, &keys))
        return;
    if (keys == NULL) {
        forget_places(shard);
        step_all(shard->backend);
        return;
    }
    for (size_t i = 0; i < keys->elements; i++) {
        struct normal_channel *c = find_by_key(shard->backend, keys->element[i]);
        if (c == NULL)
            continue;
        struct normal_place *place = &c->places[shard->index];
        place->is_dirty = true;
        if (place->state == PLACE_EMPTY)
            place->state = PLACE_READY;
        redis_normal_step(c);
    }
}

static const struct redis_link_ops normal_ops = {.up = on_up, .down = on_down, .push = on_push};

static void open_links(struct redis_backend *b)
{
    for (unsigned i = 0; i < b->shard_count; i++) {
        struct redis_shard *shard = &b->shards[i];
        if (shard->normal.link == NULL)
            redis_link_open(&shard->normal.link, b->uv, shard->host, b->config->timeout_ms,
                            &normal_ops, shard);
    }
}

/* ---- what is wanted ---- */

/* Forgets a channel that nobody wants, so that names that came once do not stay for ever. */
static void make_room(struct redis_normal *normal)
{
    for (struct dlist *n = normal->order.next; n != &normal->order; n = n->next) {
        struct normal_channel *c = channel_of(n);
        if (c->wanted > 0 || c->coming > 0 || c->places_asked > 0)
            continue;
        drop_channel(c);
        return;
    }
}

static struct normal_channel *want_channel(struct redis_backend *b, struct slice name)
{
    struct redis_normal *normal = &b->normal;
    struct strmap_entry *entry = strmap_find(&normal->channels, name);
    if (entry != NULL)
        return CONTAINER_OF(entry, struct normal_channel, entry);
    assert(name.len > 0 && name.len <= NAME_MAX_BYTES);
    if (normal->channels.count >= CHANNELS_MAX)
        make_room(normal);
    struct normal_channel *c = mem_alloc(sizeof(*c) + b->shard_count * sizeof(struct normal_place));
    c->b = b;
    memcpy(c->name_bytes, name.ptr, name.len);
    c->name = slice_make(c->name_bytes, name.len);
    strmap_add(&normal->channels, &c->entry, c->name);
    dlist_append(&normal->order, &c->link);
    return c;
}

void redis_want(struct backend *base, struct slice channel, unsigned wanted)
{
    struct redis_backend *b = redis_of(base);
    if (b->state != REDIS_OPEN)
        return;
    struct normal_channel *c = want_channel(b, channel);
    c->wanted = wanted;
    c->asked++;
    if (wanted == 0)
        return;
    open_links(b);
    redis_normal_step(c);
}

static bool is_due(const struct normal_place *place, uint64_t now_ms)
{
    return (place->state == PLACE_EMPTY || place->state == PLACE_WRONG) && now_ms >= place->next_ms;
}

void redis_normal_tick(struct redis_backend *b, uint64_t now_ms)
{
    bool is_polled = false;
    bool is_wanted = false;
    for (struct dlist *n = b->normal.order.next; n != &b->normal.order; n = n->next) {
        struct normal_channel *c = channel_of(n);
        is_wanted = is_wanted || c->wanted > 0;
        for (unsigned i = 0; i < b->shard_count; i++) {
            if (is_due(&c->places[i], now_ms))
                c->places[i].state = PLACE_UNKNOWN;
            is_polled = is_polled || (c->wanted > 0 && !b->shards[i].normal.can_track);
        }
        redis_normal_step(c);
    }
    if (is_wanted)
        open_links(b);
    redis_set_tick(b, is_polled ? REDIS_POP_POLL_MS : TICK_MS);
    for (unsigned i = 0; i < b->shard_count; i++)
        redis_taken_tick(&b->shards[i], now_ms);
}

void redis_normal_leave(struct redis_backend *b)
{
    for (struct dlist *n = b->normal.order.next; n != &b->normal.order; n = n->next)
        channel_of(n)->wanted = 0;
    for (unsigned i = 0; i < b->shard_count; i++)
        redis_taken_leave(&b->shards[i]);
}

bool redis_normal_is_told(const struct redis_shard *shard)
{
    return shard->normal.pops == 0 && redis_taken_is_told(shard);
}
