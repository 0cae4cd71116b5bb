/* SPDX-License-Identifier: BSD-3-Clause */
#include "channel_layer/redis/redis.h"

#include "channel_layer/redis/redis_flush.h"
#include "channel_layer/shard.h"
#include "core/digest.h"
#include "core/log.h"
#include "core/mem.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>

enum {
    TICK_MS = 500,
    SEALED_MAX = 64 * 1024 * 1024,
    SEALED_KEEP = 1024 * 1024, /* bytes of a scratch buffer that are kept from turn to turn */
    ARGV_MAX = 16 * 1024,      /* words of a command: more than any has */
};

/* ---- the way of a call ---- */

struct redis_shard *redis_shard_of(struct redis_backend *b, struct slice name)
{
    return &b->shards[shard_of(name, b->shard_count)];
}

enum err redis_run(struct redis_shard *shard, const struct script_args *args, script_done *done,
                   void *ctx)
{
    return redis_script_run(&shard->backend->scripts, shard->link, args, done, ctx);
}

void redis_tell(struct redis_shard *shard, size_t count, const struct slice *args)
{
    if (redis_link_command(shard->link, NULL, NULL, 0, count, args) != ERR_OK)
        log_event(LOG_DEBUG, "layer.redis.untold", "host=%s", shard->host->text);
}

void redis_end_later(struct redis_backend *b, struct layer_call *call, enum err err,
                     const char *format, ...)
{
    va_list args;
    va_start(args, format);
    endings_add(&b->endings, call, err, format, args);
    va_end(args);
    redis_wake_turn(b);
}

void redis_end_refused(struct redis_shard *shard, struct layer_call *call, enum err err)
{
    const char *why = redis_link_why(shard->link);
    if (err == ERR_NOMEM)
        redis_end_later(shard->backend, call, ERR_UNAVAILABLE, "out of memory");
    else if (err == ERR_CLOSED)
        redis_end_later(shard->backend, call, ERR_CLOSED, "%s: closed", shard->host->text);
    else if (why[0] != '\0')
        redis_end_later(shard->backend, call, ERR_UNAVAILABLE, "%s", why);
    else
        redis_end_later(shard->backend, call, ERR_UNAVAILABLE,
                        "%s: too much waits for this Redis already", shard->host->text);
}

void redis_count_reconnect(struct redis_backend *b, bool is_first)
{
    if (!is_first)
        layer_stats(b->base.layer)->reconnects++;
}

static void shrink(struct buf *buf)
{
    if (buf->cap > SEALED_KEEP)
        buf_deinit(buf);
}

static void on_turn(uv_idle_t *handle)
{
    struct redis_backend *b = handle->data;
    uv_idle_stop(handle);
    redis_batches_flush(b);
    for (unsigned i = 0; i < b->shard_count; i++)
        redis_taken_flush(&b->shards[i]);
    shrink(&b->sealed);
    shrink(&b->body);
    endings_run(&b->endings);
}

void redis_wake_turn(struct redis_backend *b)
{
    if (b->state != REDIS_CLOSING)
        uv_idle_start(&b->turn, on_turn);
}

/* ---- the end ---- */

static void free_backend(struct redis_backend *b)
{
    for (unsigned i = 0; i < b->shard_count; i++) {
        redis_members_deinit(&b->shards[i].members);
        redis_settle_deinit(&b->shards[i]);
        redis_reader_deinit(&b->shards[i]);
    }
    redis_normal_deinit(b);
    redis_batches_deinit(&b->batches);
    redis_scripts_deinit(&b->scripts);
    wire_deinit(&b->wire);
    buf_deinit(&b->sealed);
    buf_deinit(&b->body);
    buf_deinit(&b->scratch);
    redis_argv_deinit(&b->argv);
    mem_free(b->shards);
    mem_free(b);
}

static void on_part_closed(struct redis_backend *b)
{
    assert(b->open_handles > 0);
    if (--b->open_handles > 0)
        return;
    endings_run(&b->endings);
    void (*const closed)(void *ctx) = b->closed;
    void *const ctx = b->closed_ctx;
    free_backend(b);
    closed(ctx);
}

static void on_handle_closed(uv_handle_t *handle)
{
    on_part_closed(handle->data);
}

static void on_link_closed(void *ctx)
{
    on_part_closed(ctx);
}

static void close_link(struct redis_backend *b, struct redis_link *link)
{
    b->open_handles++;
    redis_link_close(link, on_link_closed, b);
}

static void close_all(struct redis_backend *b)
{
    assert(b->state != REDIS_CLOSING);
    redis_batches_flush(b); /* whose calls end with those of their links */
    b->state = REDIS_CLOSING;
    b->open_handles += 2;
    uv_close((uv_handle_t *)&b->turn, on_handle_closed);
    uv_close((uv_handle_t *)&b->tick, on_handle_closed);
    for (unsigned i = 0; i < b->shard_count; i++) {
        close_link(b, b->shards[i].link);
        close_link(b, b->shards[i].reader.link);
        if (b->shards[i].normal.link != NULL)
            close_link(b, b->shards[i].normal.link);
    }
}

static void close_when_left(struct redis_backend *b)
{
    for (unsigned i = 0; i < b->shard_count; i++)
        if (!b->shards[i].is_left)
            return;
    close_all(b);
}

void redis_shard_left(struct redis_shard *shard)
{
    shard->is_left = true;
}

/* Goes on with leaving where a shard has done a step; @shard's steps follow one another. */
static void leave_step(struct redis_shard *shard, uint64_t now_ms)
{
    struct redis_backend *b = shard->backend;
    if (!redis_link_is_up(shard->link) || now_ms >= b->leave_until_ms)
        shard->is_left = true;
    if (shard->is_left || shard->members.is_running || !redis_normal_is_told(shard))
        return;
    redis_upkeep_leave(shard);
}

static void redis_close(struct backend *base, void (*closed)(void *ctx), void *ctx)
{
    enum { LEAVE_TICK_MS = 10 };
    struct redis_backend *b = redis_of(base);
    assert(b->state == REDIS_OPEN);
    b->state = REDIS_LEAVING;
    b->closed = closed;
    b->closed_ctx = ctx;
    b->leave_until_ms = uv_now(b->uv) + b->config->timeout_ms;
    redis_flush_leave(b);
    redis_normal_leave(b);
    for (unsigned i = 0; i < b->shard_count; i++) {
        struct redis_shard *shard = &b->shards[i];
        redis_reader_leave(shard);
        redis_settle_leave(shard);
        redis_members_forget(shard);
        if (redis_link_is_up(shard->link))
            redis_members_run(shard);
    }
    redis_wake_turn(b);
    redis_set_tick(b, LEAVE_TICK_MS);
}

/* ---- the beginning ---- */

static void on_tick(uv_timer_t *handle)
{
    struct redis_backend *b = handle->data;
    const uint64_t now_ms = uv_now(b->uv);
    for (unsigned i = 0; i < b->shard_count; i++) {
        struct redis_shard *shard = &b->shards[i];
        if (b->state == REDIS_LEAVING) {
            leave_step(shard, now_ms);
            continue;
        }
        redis_upkeep_tick(shard, now_ms);
        redis_reader_tick(shard, now_ms);
    }
    if (b->state == REDIS_LEAVING)
        close_when_left(b);
    if (b->state != REDIS_OPEN)
        return;
    redis_normal_tick(b, now_ms);
    redis_flush_tick(b);
    for (unsigned i = 0; i < b->shard_count; i++)
        redis_settle_tick(&b->shards[i], now_ms);
}

void redis_set_tick(struct redis_backend *b, unsigned tick_ms)
{
    if (b->tick_ms == tick_ms)
        return;
    b->tick_ms = tick_ms;
    uv_timer_start(&b->tick, on_tick, tick_ms, tick_ms);
}

static void on_command_up(void *ctx, bool is_first)
{
    struct redis_shard *shard = ctx;
    struct redis_backend *b = shard->backend;
    if (b->state != REDIS_OPEN)
        return;
    log_event(LOG_INFO, "layer.redis.up", "host=%s version=%u", shard->host->text,
              redis_link_version(shard->link));
    redis_count_reconnect(b, is_first);
    redis_settle_up(shard, is_first);
    redis_scripts_load(shard->link);
    redis_upkeep_up(shard);
    redis_members_recall(b);
    redis_members_run(shard);
    redis_taken_flush(shard);
}

static void on_command_down(void *ctx, const char *why)
{
    struct redis_shard *shard = ctx;
    if (shard->backend->state != REDIS_OPEN)
        return;
    log_event(LOG_WARN, "layer.redis.down", "host=%s why=\"%s\"", shard->host->text, why);
    redis_settle_down(shard);
}

static void on_command_push(void *ctx, const struct redisReply *reply)
{
    (void)ctx; /* this link asked for none */
    (void)reply;
}

static const struct redis_link_ops command_ops = {
    .up = on_command_up,
    .down = on_command_down,
    .push = on_command_push,
};

static const struct backend_ops redis_ops = {
    .send = redis_send,
    .group_send = redis_group_send,
    .join = redis_join,
    .leave = redis_leave,
    .add = redis_add,
    .discard = redis_discard,
    .watch = redis_watch,
    .want = redis_want,
    .taken = redis_taken,
    .put_back = redis_put_back,
    .groups = redis_groups,
    .flush = redis_flush,
    .flushed = redis_flushed,
    .close = redis_close,
};

static void open_shard(struct redis_shard *shard, struct redis_backend *b, unsigned index)
{
    shard->backend = b;
    shard->index = index;
    shard->host = &b->config->hosts[index];
    redis_members_init(&shard->members);
    redis_normal_shard_init(&shard->normal);
    redis_upkeep_init(shard);
    redis_settle_init(shard);
    b->shard_count = index + 1;
    redis_link_open(&shard->link, b->uv, shard->host, b->config->timeout_ms, &command_ops, shard);
    redis_reader_open(shard);
}

enum err redis_backend_open(struct backend **out, struct layer *layer, uv_loop_t *uv,
                            const struct layer_config *config, const char *node,
                            struct err_text *why)
{
    if (strlen(config->prefix) > REDIS_PREFIX_MAX)
        return err_fail(why, ERR_INVALID, "prefix is longer than %d bytes", REDIS_PREFIX_MAX);
    assert(config->host_count > 0 && strlen(node) == NODE_ID_CHARS);
    struct redis_backend *b = mem_alloc(sizeof(*b));
    redis_argv_init(&b->argv, ARGV_MAX);
    if (redis_argv_reserve(&b->argv, ARGV_MAX) != ERR_OK) { /* then there is room */
        mem_free(b);
        return err_fail(why, ERR_NOMEM, "no memory for a layer");
    }
    b->base.ops = &redis_ops;
    b->base.layer = layer;
    b->uv = uv;
    b->config = config;
    memcpy(b->node, node, NODE_ID_CHARS);
    snprintf(b->own_tail, sizeof(b->own_tail), ".%s!", b->node);
    redis_scripts_init(&b->scripts, uv);
    redis_batches_init(&b->batches);
    redis_normal_init(&b->normal);
    wire_init(&b->wire, config);
    buf_init(&b->sealed, SEALED_MAX);
    buf_init(&b->body, WIRE_MEMBER_MAX);
    buf_init(&b->scratch, NAME_MAX_BYTES);
    digest_random((uint8_t *)b->seed, sizeof(b->seed));
    endings_init(&b->endings);
    dlist_init(&b->flushes);
    uv_idle_init(uv, &b->turn);
    b->turn.data = b;
    uv_timer_init(uv, &b->tick);
    b->tick.data = b;
    redis_set_tick(b, TICK_MS);

    b->shards = mem_alloc(config->host_count * sizeof(*b->shards));
    for (unsigned i = 0; i < config->host_count; i++)
        open_shard(&b->shards[i], b, i);
    *out = &b->base;
    return ERR_OK;
}
