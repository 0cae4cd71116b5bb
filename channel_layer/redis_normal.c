/* SPDX-License-Identifier: BSD-3-Clause */
#include "channel_layer/redis_normal.h"

#include "channel_layer/redis.h"
#include "channel_layer/redis_words.h"
#include "core/log.h"
#include "core/mem.h"

#include <hiredis/hiredis.h>

#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>

enum {
    POP_MAX = 32,        /* messages of one pop */
    CHANNELS_MAX = 4096, /* over which those that nobody wants are forgotten */
    POLL_MS = 5000,      /* beside being told */
    POLL_UNTOLD_MS = 100,
    REST_MS = 1000,
    WRONG_MS = 5000,
    TICK_MS = 500,
    TRACKING_SINCE = 6,
};

/* What is known of a channel on one shard. */
enum place_state {
    PLACE_UNKNOWN,
    PLACE_ASKED, /* a count, or a pop and a count, are under way */
    PLACE_READY, /* something is there */
    PLACE_EMPTY, /* Redis tells of the next write */
    PLACE_WRONG, /* tried again at next_ms */
};

struct normal_place {
    enum place_state state;
    bool is_dirty;    /* written to since it was asked */
    bool is_restored; /* what a dead worker of channels_redis left went back */
    uint64_t next_ms;
};

struct normal_channel {
    struct strmap_entry entry;
    struct dlist link; /* normal->order */
    struct redis_backend *b;
    unsigned wanted;
    unsigned coming; /* asked for by pops under way */
    unsigned asked;  /* calls of redis_want() so far */
    unsigned places_asked;
    unsigned turn; /* with which shard it begins */
    struct slice name;
    char name_bytes[NAME_MAX_BYTES + 1];
    struct normal_place places[];
};

static void step(struct normal_channel *c);

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

/* ---- one pop ---- */

/* What goes with a pop, or a count, until it is answered. */
struct pop_ticket {
    struct normal_channel *c;
    struct redis_shard *shard;
    unsigned count; /* 0: nothing is popped */
    unsigned left;  /* answers */
    bool has_failed;
    bool is_refused; /* Redis said no: it will again */
    bool is_counted;
    bool has_more; /* what was counted */
};

static void report(struct redis_shard *shard, const char *why)
{
    struct redis_backend *b = shard->backend;
    uint64_t held_back = 0;
    if (redis_notice(b, &b->key_notice, &held_back))
        log_event(LOG_ERROR, "layer.redis.key", "held_back=%" PRIu64 " text=\"%s\"", held_back,
                  why);
}

static void hand_over(struct normal_channel *c, struct redis_shard *shard,
                      const struct redis_pair *pair)
{
    struct redis_backend *b = c->b;
    struct wire_message message;
    struct err_text why;
    uint64_t handle = 0;
    if (redis_taken_add(shard, c->name, pair->member, pair->score, &handle) != ERR_OK) {
        redis_taken_doubt(shard); /* which gives it back */
        return;
    }
    if (redis_is_late(shard, c->name, pair->score)) {
        redis_taken(&b->base, c->name, handle);
        return;
    }
    b->body.len = 0;
    const enum err err =
        wire_open(&b->wire, &message, &b->body, pair->member, (uint64_t)redis_now(), &why);
    if (err == ERR_NOMEM) {
        redis_put_back(&b->base, c->name, handle);
        return;
    }
    if (err != ERR_OK) {
        uint64_t held_back = 0;
        layer_stats(b->base.layer)->dropped_undecodable++;
        if (redis_notice(b, &b->decode_notice, &held_back))
            log_event(LOG_WARN, "layer.message",
                      "host=%s channel=%.*s held_back=%" PRIu64
                      " text=\"a message was dropped: %s\"",
                      shard->host->text, (int)c->name.len, (const char *)c->name.ptr, held_back,
                      why.text);
        redis_taken(&b->base, c->name, handle);
        return;
    }
    const unsigned asked = c->asked;
    if (b->state != REDIS_OPEN ||
        !layer_normal_arrived(b->base.layer, c->name, handle, buf_slice(&b->body)))
        redis_put_back(&b->base, c->name, handle);
    else if (c->asked == asked && c->wanted > 0)
        c->wanted--;
}

/* All that was asked is answered. */
static void end_asking(struct pop_ticket *ticket)
{
    struct normal_channel *c = ticket->c;
    const struct redis_normal_shard *s = &ticket->shard->normal;
    struct normal_place *place = &c->places[ticket->shard->index];
    const uint64_t now_ms = uv_now(c->b->uv);
    c->places_asked--;
    if (ticket->has_failed || !ticket->is_counted) {
        place->state = PLACE_WRONG;
        place->next_ms = now_ms + (ticket->is_refused ? WRONG_MS : REST_MS);
    } else {
        place->state = ticket->has_more ? PLACE_READY : PLACE_EMPTY;
        if (!ticket->has_more && place->is_dirty)
            place->state = PLACE_UNKNOWN;
        place->next_ms = now_ms + (s->can_track ? POLL_MS : POLL_UNTOLD_MS);
    }
    mem_free(ticket);
    step(c);
}

static void on_counted(void *ctx, enum err err, const redisReply *reply, const char *why)
{
    struct pop_ticket *ticket = ctx;
    if (err == ERR_OK && reply->type == REDIS_REPLY_ERROR && !ticket->has_failed)
        report(ticket->shard, why);
    ticket->is_refused = ticket->is_refused || (err == ERR_OK && reply->type == REDIS_REPLY_ERROR);
    ticket->is_counted = err == ERR_OK && reply->type == REDIS_REPLY_INTEGER;
    ticket->has_more = ticket->is_counted && reply->integer > 0;
    if (--ticket->left == 0)
        end_asking(ticket);
}

/* Whether waiting is in vain, and what for: a pop needs the channel and what is taken in one slot.
 */
static enum err hopelessness(const struct script_result *result)
{
    static const char *const words[] = {"CROSSSLOT", "MOVED"};
    if (!result->is_refused)
        return ERR_OK;
    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
        if (redis_is_error(result->reply, words[i]))
            return ERR_UNSUPPORTED;
    return redis_is_denied(result->reply) ? ERR_ACCESS : ERR_OK;
}

static void on_popped(void *ctx, const struct script_result *result)
{
    struct pop_ticket *ticket = ctx;
    struct normal_channel *c = ticket->c;
    struct redis_shard *shard = ticket->shard;
    unsigned left = ticket->count;
    ticket->has_failed = result->err != ERR_OK || result->reply->type != REDIS_REPLY_ARRAY;
    ticket->is_refused = ticket->is_refused || result->is_refused;
    shard->normal.pops--;
    if (result->is_refused)
        report(shard, result->why);
    else if (ticket->has_failed)
        redis_taken_doubt(shard); /* it may have been done all the same */
    struct redis_pair pair;
    for (size_t at = 0; !ticket->has_failed && redis_next_pair(result->reply, &at, &pair);) {
        if (left > 0) {
            left--;
            c->coming--;
        }
        hand_over(c, shard, &pair);
    }
    c->coming -= left;
    /* Was counted before it was popped (the script had to be given again): counted again then. */
    if (ticket->is_counted)
        c->places[shard->index].is_dirty = true;
    const enum err hopeless = hopelessness(result);
    if (hopeless != ERR_OK)
        layer_normal_failed(c->b->base.layer, c->name, hopeless, result->why);
    if (--ticket->left == 0)
        end_asking(ticket);
}

static enum err give_pop(struct pop_ticket *ticket)
{
    struct redis_shard *shard = ticket->shard;
    struct redis_backend *b = shard->backend;
    struct redis_key key;
    struct redis_key own;
    struct redis_number count;
    struct redis_number keep;
    const struct slice args[] = {
        redis_key(b, &key, "", ticket->c->name),
        redis_key(b, &own, ":channelsd:taken:", slice_str(b->node)),
        redis_number(&count, ticket->count),
        ticket->c->name,
        redis_number(&keep, redis_upkeep_keep_s(shard)),
    };
    const struct script_args run = {
        .script = SCRIPT_POP,
        .timeout_ms = b->config->timeout_ms,
        .key_count = 2,
        .count = sizeof(args) / sizeof(args[0]),
        .args = args,
    };
    const enum err err = redis_script_run(&b->scripts, shard->normal.link, &run, on_popped, ticket);
    if (err == ERR_OK) {
        shard->normal.pops++;
        ticket->c->coming += ticket->count;
    }
    return err;
}

static void on_restored(void *ctx, const struct script_result *result)
{
    struct redis_shard *shard = ctx;
    if (result->err == ERR_OK && result->reply->type == REDIS_REPLY_INTEGER)
        layer_stats(shard->backend->base.layer)->restored += (uint64_t)result->reply->integer;
}

static void restore(struct normal_channel *c, struct redis_shard *shard)
{
    struct redis_backend *b = c->b;
    struct redis_key key;
    struct redis_key inflight;
    struct redis_number expiry;
    struct slice args[] = {
        redis_key(b, &key, "", c->name),
        redis_key(b, &inflight, "", c->name),
        redis_number(&expiry, b->config->expiry_s),
    };
    const struct slice tail = slice_str("$inflight");
    memcpy(inflight.text + inflight.len, tail.ptr, tail.len + 1);
    args[1].len += tail.len;
    const struct script_args run = {
        .script = SCRIPT_RESTORE,
        .timeout_ms = b->config->timeout_ms,
        .key_count = 2,
        .count = 3,
        .args = args,
    };
    if (redis_script_run(&b->scripts, shard->normal.link, &run, on_restored, shard) == ERR_OK)
        c->places[shard->index].is_restored = true;
}

/* Asks what is there; pops up to @count before. */
static void ask(struct normal_channel *c, struct redis_shard *shard, unsigned count)
{
    struct redis_key key;
    struct normal_place *place = &c->places[shard->index];
    struct pop_ticket *ticket = mem_alloc(sizeof(*ticket));
    *ticket = (struct pop_ticket){.c = c, .shard = shard, .count = count};
    place->is_dirty = false;
    if (!place->is_restored)
        restore(c, shard);
    place->state = PLACE_ASKED;
    c->places_asked++;
    ticket->left = 1; /* this function */
    enum err err = count > 0 ? give_pop(ticket) : ERR_OK;
    if (count > 0 && err == ERR_OK)
        ticket->left++;
    /* A plain read behind the script: it is this that Redis remembers for us. */
    const struct slice args[] = {slice_str("ZCARD"), redis_key(c->b, &key, "", c->name)};
    if (err == ERR_OK &&
        redis_link_command(shard->normal.link, on_counted, ticket, 0, 2, args) == ERR_OK)
        ticket->left++;
    if (--ticket->left == 0)
        end_asking(ticket);
}

/* Asks where it may bring something. */
static void step(struct normal_channel *c)
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
            ask(c, shard, need < POP_MAX ? need : POP_MAX);
        else if (place->state == PLACE_UNKNOWN)
            ask(c, shard, 0);
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
        step(channel_of(n));
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
        redis_begin_again(shard->normal.link, why);
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
    if (redis_link_has_push(s->link) && redis_link_version(s->link) >= TRACKING_SINCE) {
        const struct slice args[] = {slice_str("CLIENT"), slice_str("TRACKING"), slice_str("ON"),
                                     slice_str("NOLOOP")};
        if (redis_link_command(s->link, on_tracking, shard, 0, 4, args) == ERR_OK)
            return;
    }
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
    if (!redis_is_invalidation(push, &keys))
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
        step(c);
    }
}

static const struct redis_link_ops normal_ops = {.up = on_up, .down = on_down, .push = on_push};

static void open_links(struct redis_backend *b)
{
    for (unsigned i = 0; i < b->shard_count; i++) {
        struct redis_shard *shard = &b->shards[i];
        if (shard->normal.link != NULL)
            continue;
        const enum err err = redis_link_open(&shard->normal.link, b->uv, shard->host,
                                             b->config->timeout_ms, &normal_ops, shard);
        if (err != ERR_OK) /* tried again by the tick */
            log_event(LOG_ERROR, "layer.redis.link", "host=%s text=\"%s\"", shard->host->text,
                      err_str(err));
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
    step(c);
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
        step(c);
    }
    if (is_wanted)
        open_links(b);
    redis_set_tick(b, is_polled ? POLL_UNTOLD_MS : TICK_MS);
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
