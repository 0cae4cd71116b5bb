/* SPDX-License-Identifier: BSD-3-Clause */
#include "channel_layer/redis/redis_reader.h"

#include "channel_layer/names.h"
#include "channel_layer/redis/redis.h"
#include "channel_layer/redis/redis_source.h"
#include "channel_layer/redis/redis_tracking.h"
#include "channel_layer/redis/redis_words.h"
#include "core/log.h"
#include "core/mem.h"

#include <hiredis/hiredis.h>

#include <assert.h>

enum {
    REST_MS = 1000, /* after a failure */
    BLOCK_S = 1,    /* a new base waits so long at most */
};

/* ---- waiting without being told ---- */

static struct redis_source *find_source(const struct redis_reader *r, struct slice key)
{
    struct strmap_entry *entry = strmap_find(&r->by_key, key);
    return entry != NULL ? CONTAINER_OF(entry, struct redis_source, by_key) : NULL;
}

static void on_popped(void *ctx, enum err err, const redisReply *reply, const char *why)
{
    struct redis_shard *shard = ctx;
    struct redis_reader *r = &shard->reader;
    (void)why; /* the read that follows has the same to say, of its key alone */
    r->is_blocked = false;
    if (err != ERR_OK || shard->backend->state != REDIS_OPEN)
        return;
    struct redis_pair pair;
    size_t at = 1; /* behind the key */
    if (reply->type == REDIS_REPLY_ARRAY && reply->elements == 3 &&
        reply->element[0]->type == REDIS_REPLY_STRING && redis_next_pair(reply, &at, &pair)) {
        const redisReply *key = reply->element[0];
        struct redis_source *s = find_source(r, slice_make(key->str, key->len));
        if (s != NULL && !redis_source_arrived(s, &pair)) /* it is out of Redis already */
            redis_report_undecodable(s->shard, "key", redis_source_key(s), "out of memory");
        if (s != NULL && s->state == SOURCE_WAITING)
            redis_source_ask(s);
    } else if (reply->type == REDIS_REPLY_ERROR) {
        r->retry_ms = uv_now(shard->backend->uv) + REST_MS;
        for (size_t i = 0; i < r->source_count; i++)
            if (r->sources[i]->state == SOURCE_WAITING)
                redis_source_ask(r->sources[i]);
    }
    redis_reader_block(shard);
}

void redis_reader_block(struct redis_shard *shard)
{
    struct redis_reader *r = &shard->reader;
    struct redis_backend *b = shard->backend;
    if (r->can_track || r->is_blocked || !r->is_up || b->state != REDIS_OPEN ||
        uv_now(b->uv) < r->retry_ms)
        return;
    size_t keys = 0;
    struct redis_number seconds;
    redis_argv_begin(&b->argv);
    redis_argv_add(&b->argv, slice_str("BZPOPMIN"));
    for (size_t i = 0; i < r->source_count; i++) {
        if (r->sources[i]->state == SOURCE_ASKING)
            return; /* called again when it is answered */
        if (r->sources[i]->state != SOURCE_WAITING)
            continue;
        redis_argv_add(&b->argv, redis_source_key(r->sources[i]));
        keys++;
    }
    if (keys == 0)
        return;
    redis_argv_add(&b->argv, redis_number(&seconds, BLOCK_S));
    const unsigned timeout_ms = BLOCK_S * 1000 + b->config->timeout_ms;
    r->is_blocked = redis_argv_give(&b->argv, r->link, timeout_ms, on_popped, shard) == ERR_OK;
}

/* ---- being told ---- */

static void wake(struct redis_source *s)
{
    if (s->state == SOURCE_WAITING)
        redis_source_ask(s);
    else
        s->is_dirty = true;
}

static void on_push(void *ctx, const redisReply *push)
{
    struct redis_shard *shard = ctx;
    struct redis_reader *r = &shard->reader;
    const redisReply *keys = NULL;
    if (!redis_tracking_read(push, &keys))
        return;
    if (keys == NULL) { /* all keys: Redis was emptied, the groups are gone */
        for (size_t i = 0; i < r->source_count; i++)
            wake(r->sources[i]);
        redis_upkeep_beat_soon(shard);
        return;
    }
    for (size_t i = 0; i < keys->elements; i++) {
        const redisReply *key = keys->element[i];
        struct redis_source *s =
            key->type == REDIS_REPLY_STRING ? find_source(r, slice_make(key->str, key->len)) : NULL;
        if (s != NULL)
            wake(s);
    }
}

/* ---- the connection ---- */

static void ask_all(struct redis_reader *r)
{
    for (size_t i = 0; i < r->source_count; i++)
        if (r->sources[i]->state != SOURCE_ASKING)
            redis_source_ask(r->sources[i]);
}

static void on_tracking(void *ctx, enum err err, const redisReply *reply, const char *why)
{
    struct redis_shard *shard = ctx;
    struct redis_reader *r = &shard->reader;
    if (err != ERR_OK) {
        redis_tracking_again(r->link, why);
        return;
    }
    r->can_track = reply->type != REDIS_REPLY_ERROR;
    if (!r->can_track)
        log_event(LOG_WARN, "layer.redis.tracking",
                  "host=%s text=\"Redis does not tell of writes (%s): messages are waited for by "
                  "BZPOPMIN, and one may be lost when the connection is\"",
                  shard->host->text, why);
    r->is_up = true;
    ask_all(r);
}

static void on_up(void *ctx, bool is_first)
{
    struct redis_shard *shard = ctx;
    struct redis_reader *r = &shard->reader;
    if (shard->backend->state != REDIS_OPEN)
        return;
    redis_count_reconnect(shard->backend, is_first);
    r->can_track = false;
    if (redis_tracking_ask(r->link, on_tracking, shard))
        return;
    r->is_up = true;
    ask_all(r);
}

static void on_down(void *ctx, const char *why)
{
    struct redis_shard *shard = ctx;
    struct redis_reader *r = &shard->reader;
    (void)why; /* the command link says it */
    r->is_up = false;
    for (size_t i = 0; i < r->source_count; i++)
        if (r->sources[i]->state != SOURCE_ASKING)
            r->sources[i]->state = SOURCE_DOWN;
}

static const struct redis_link_ops reader_ops = {.up = on_up, .down = on_down, .push = on_push};

void redis_reader_open(struct redis_shard *shard)
{
    struct redis_backend *b = shard->backend;
    strmap_init(&shard->reader.by_key);
    redis_link_open(&shard->reader.link, b->uv, shard->host, b->config->timeout_ms, &reader_ops,
                    shard);
}

void redis_reader_deinit(struct redis_shard *shard)
{
    struct redis_reader *r = &shard->reader;
    for (size_t i = 0; i < r->source_count; i++) {
        redis_source_free(r->sources[i]);
    }
    mem_free(r->sources);
    strmap_deinit(&r->by_key);
    *r = (struct redis_reader){0};
}

static void add_source(struct redis_shard *shard, struct slice base)
{
    struct redis_reader *r = &shard->reader;
    struct redis_source *s = redis_source_new(shard, base);
    if (r->sources == NULL)
        r->sources = mem_alloc(BACKEND_WATCHES_MAX * sizeof(struct redis_source *));
    assert(r->source_count < BACKEND_WATCHES_MAX);
    r->sources[r->source_count++] = s;
    strmap_add(&r->by_key, &s->by_key, redis_source_key(s));
    redis_source_ask(s);
}

void redis_watch(struct backend *base, struct slice name, struct layer_call *call)
{
    struct redis_backend *b = redis_of(base);
    struct redis_key key;
    const struct slice nonlocal = name_nonlocal(name);
    const bool is_known =
        find_source(&b->shards[0].reader, redis_key(b, &key, "", nonlocal)) != NULL;
    for (unsigned i = 0; i < b->shard_count && !is_known; i++)
        add_source(&b->shards[i], nonlocal);
    /* Redis need not be there: what is sent before it is read waits under the key. */
    redis_end_later(b, call, ERR_OK, "%s", "");
}

void redis_reader_leave(struct redis_shard *shard)
{
    const struct redis_reader *r = &shard->reader;
    for (size_t i = 0; i < r->source_count && r->is_up; i++)
        if (r->sources[i]->state == SOURCE_WAITING && r->sources[i]->pending_count > 0 &&
            redis_source_remove(r->sources[i]) != ERR_OK)
            return; /* they expire */
}

void redis_reader_tick(struct redis_shard *shard, uint64_t now_ms)
{
    struct redis_reader *r = &shard->reader;
    if (!r->is_up)
        return;
    for (size_t i = 0; i < r->source_count; i++) {
        struct redis_source *s = r->sources[i];
        const bool is_due = now_ms >= s->next_ms;
        if (s->state == SOURCE_DOWN || (s->state == SOURCE_RESTING && is_due) ||
            (s->state == SOURCE_WAITING && is_due && r->can_track))
            redis_source_ask(s);
    }
    redis_reader_block(shard);
}
