/* SPDX-License-Identifier: BSD-3-Clause */
#include "channel_layer/pubsub/pubsub.h"

#include "channel_layer/shard.h"
#include "core/digest.h"
#include "core/log.h"
#include "core/mem.h"

#include <hiredis/hiredis.h>

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>

enum {
    TICK_MS = 1000,
    PING_TICKS = 5,
    SEALED_MAX = 64 * 1024 * 1024,
    BUFFER_KEEP = 1024 * 1024, /* bytes of a scratch buffer that are kept from turn to turn */
};

/* A flush: groups are forgotten behind its end. */
struct pubsub_flush {
    struct layer_call call;
    struct layer_call *outer;
    struct pubsub_backend *backend;
};

/* ---- names ---- */

struct pubsub_shard *pubsub_shard_of(struct pubsub_backend *b, struct slice name)
{
    return &b->shards[shard_of(name, b->shard_count)];
}

struct slice pubsub_group_name(const struct pubsub_backend *b, struct pubsub_name *out,
                               struct slice group)
{
    const int len =
        snprintf(out->text, sizeof(out->text), "%s" PUBSUB_GROUP_MARK "%.*s", b->config->prefix,
                 (int)group.len, group.len == 0 ? "" : (const char *)group.ptr);
    assert(len > 0 && (size_t)len < sizeof(out->text));
    return slice_make(out->text, (size_t)len);
}

struct slice pubsub_glob(struct pubsub_glob *out, struct slice name)
{
    size_t len = 0;
    assert(name.len <= PUBSUB_NAME_MAX);
    for (size_t i = 0; i < name.len; i++) {
        const char c = (char)name.ptr[i];
        if (c != '\0' && strchr("*?[]^\\", c) != NULL)
            out->text[len++] = '\\';
        out->text[len++] = c;
    }
    out->text[len++] = '*';
    return slice_make(out->text, len);
}

/* ---- later ---- */

void pubsub_end_later(struct pubsub_backend *b, struct layer_call *call, enum err err,
                      const char *format, ...)
{
    if (call == NULL)
        return;
    va_list args;
    va_start(args, format);
    endings_add(&b->endings, call, err, format, args);
    va_end(args);
    pubsub_wake_turn(b);
}

static void shrink(struct buf *buf)
{
    if (buf->cap > BUFFER_KEEP)
        buf_deinit(buf);
}

static void on_turn(uv_idle_t *turn)
{
    struct pubsub_backend *b = turn->data;
    uv_idle_stop(turn);
    for (unsigned i = 0; i < b->shard_count; i++)
        pubsub_settle(&b->shards[i]);
    pubsub_normals_serve(b);
    shrink(&b->sealed);
    shrink(&b->body);
    endings_run(&b->endings);
}

void pubsub_wake_turn(struct pubsub_backend *b)
{
    if (!b->is_closing)
        uv_idle_start(&b->turn, on_turn);
}

static void on_deadline(uv_timer_t *timer)
{
    struct pubsub_backend *b = timer->data;
    const uint64_t now_ms = uv_now(b->uv);
    pubsub_expire_returns(b, now_ms);
    pubsub_expire_promises(b, now_ms);
    for (unsigned i = 0; i < b->shard_count; i++)
        pubsub_nodes_run(&b->shards[i], now_ms);
    pubsub_set_deadline(b);
}

void pubsub_set_deadline(struct pubsub_backend *b)
{
    uint64_t due_ms = UINT64_MAX;
    if (!dlist_is_empty(&b->returning))
        due_ms =
            CONTAINER_OF(b->returning.next, struct pubsub_group_send, by_age)->wait.deadline_ms;
    if (!dlist_is_empty(&b->promises)) {
        const uint64_t other_ms =
            CONTAINER_OF(b->promises.next, struct pubsub_promise, by_age)->deadline_ms;
        due_ms = other_ms < due_ms ? other_ms : due_ms;
    }
    for (unsigned i = 0; i < b->shard_count; i++) {
        const uint64_t other_ms = pubsub_nodes_due_ms(&b->shards[i]);
        due_ms = other_ms < due_ms ? other_ms : due_ms;
    }
    if (b->is_closing || due_ms == UINT64_MAX)
        return; /* a timer that finds nothing due does no harm */
    const uint64_t now_ms = uv_now(b->uv);
    uv_timer_start(&b->deadline, on_deadline, due_ms > now_ms ? due_ms - now_ms : 0, 0);
}

/* ---- single channels, flush ---- */

static void pubsub_add(struct backend *base, struct slice group, struct slice channel,
                       struct layer_call *call)
{
    (void)group;
    pubsub_end_later(pubsub_of(base), call, ERR_UNSUPPORTED,
                     "channel \"%.*s\" was made by another process: with backend \"pubsub\" only "
                     "the process that made a channel can add it to a group",
                     (int)channel.len, (const char *)channel.ptr);
}

/* As nobody could add it, it is not in the group. */
static void pubsub_discard(struct backend *base, struct slice group, struct slice channel,
                           struct layer_call *call)
{
    (void)group;
    (void)channel;
    pubsub_end_later(pubsub_of(base), call, ERR_OK, "%s", "");
}

static void on_flushed(struct layer_call *call, enum err err, const char *why)
{
    struct pubsub_flush *flush = CONTAINER_OF(call, struct pubsub_flush, call);
    flush->outer->done(flush->outer, err, why);
    if (!flush->backend->is_closing)
        pubsub_drop_groups(flush->backend);
    mem_free(flush);
}

/* Redis has nothing that could be forgotten. */
static void pubsub_flush(struct backend *base, struct layer_call *call)
{
    struct pubsub_backend *b = pubsub_of(base);
    struct pubsub_flush *flush = mem_alloc(sizeof(*flush));
    *flush = (struct pubsub_flush){.call = {.done = on_flushed}, .outer = call, .backend = b};
    pubsub_end_later(b, &flush->call, ERR_OK, "%s", "");
    pubsub_normals_forget(b);
}

/* ---- the end ---- */

static void free_backend(struct pubsub_backend *b)
{
    for (unsigned i = 0; i < b->shard_count; i++)
        pubsub_subscriber_deinit(&b->shards[i].subscriber);
    for (unsigned i = 0; i < b->shard_count; i++)
        pubsub_nodes_deinit(&b->shards[i]);
    pubsub_normals_deinit(b);
    wire_deinit(&b->wire);
    buf_deinit(&b->sealed);
    buf_deinit(&b->body);
    mem_free(b->shards);
    mem_free(b);
}

static void on_part_closed(void *ctx)
{
    struct pubsub_backend *b = ctx;
    assert(b->open_handles > 0);
    if (--b->open_handles > 0)
        return;
    endings_run(&b->endings);
    void (*const closed)(void *ctx) = b->closed;
    void *const closed_ctx = b->closed_ctx;
    free_backend(b);
    closed(closed_ctx);
}

static void on_handle_closed(uv_handle_t *handle)
{
    on_part_closed(handle->data);
}

static void close_link(struct pubsub_backend *b, struct redis_link *link)
{
    b->open_handles++;
    redis_link_close(link, on_part_closed, b);
}

static void close_all(struct pubsub_backend *b)
{
    assert(!b->is_closing);
    b->is_closing = true;
    b->open_handles += 3;
    uv_close((uv_handle_t *)&b->turn, on_handle_closed);
    uv_close((uv_handle_t *)&b->deadline, on_handle_closed);
    uv_close((uv_handle_t *)&b->tick, on_handle_closed);
    for (unsigned i = 0; i < b->shard_count; i++) {
        close_link(b, b->shards[i].link);
        close_link(b, b->shards[i].subscriber.link);
        pubsub_nodes_end(&b->shards[i]);
    }
    pubsub_end_promises(b);
    pubsub_end_all_returns(b);
}

static void pubsub_close(struct backend *base, void (*closed)(void *ctx), void *ctx)
{
    struct pubsub_backend *b = pubsub_of(base);
    b->closed = closed;
    b->closed_ctx = ctx;
    close_all(b);
}

/* ---- the beginning ---- */

/* A connection on which nothing happens is used now and then: what is between may think it dead,
 * and the link finds out when it is. */
static void ping(struct pubsub_shard *shard, struct redis_link *link)
{
    const struct slice word = slice_str("PING");
    if (redis_link_is_up(link) && redis_link_command(link, NULL, NULL, 0, 1, &word) != ERR_OK)
        log_event(LOG_DEBUG, "layer.pubsub.unasked", "host=%s", shard->host->text);
}

static void on_tick(uv_timer_t *tick)
{
    struct pubsub_backend *b = tick->data;
    const bool must_ping = ++b->ticks % PING_TICKS == 0;
    for (unsigned i = 0; i < b->shard_count; i++) {
        struct pubsub_shard *shard = &b->shards[i];
        pubsub_subs_tick(shard);
        pubsub_nodes_tick(shard);
        if (must_ping) {
            ping(shard, shard->link);
            ping(shard, shard->subscriber.link);
        }
    }
    pubsub_normals_tick(b, uv_now(b->uv));
}

void pubsub_hurry(struct pubsub_shard *shard, struct redis_link *link)
{
    const struct slice word = slice_str("PING"); /* a link for which something waits is eager */
    if (!shard->backend->is_closing && redis_link_command(link, NULL, NULL, 0, 1, &word) != ERR_OK)
        log_event(LOG_DEBUG, "layer.pubsub.unasked", "host=%s", shard->host->text);
}

static void on_command_up(void *ctx, bool is_first)
{
    struct pubsub_shard *shard = ctx;
    pubsub_hurry(shard, shard->subscriber.link);
    if (!is_first)
        layer_stats(shard->backend->base.layer)->reconnects++;
    log_event(LOG_INFO, "layer.redis.up", "host=%s version=%u", shard->host->text,
              redis_link_version(shard->link));
    pubsub_nodes_command_up(shard);
}

static void on_command_down(void *ctx, const char *why)
{
    struct pubsub_shard *shard = ctx;
    log_event(LOG_WARN, "layer.redis.down", "host=%s why=\"%s\"", shard->host->text, why);
    pubsub_nodes_command_down(shard);
}

static void on_command_push(void *ctx, const struct redisReply *reply)
{
    (void)ctx; /* this link asked for none */
    (void)reply;
}

static const struct redis_link_ops command_ops = {
    .ends_unsent = true, /* others may have to be waited for before it is published */
    .up = on_command_up,
    .down = on_command_down,
    .push = on_command_push,
};

static const struct backend_ops pubsub_ops = {
    .carries_back = true,
    .send = pubsub_send,
    .group_send = pubsub_group_send,
    .join = pubsub_join,
    .leave = pubsub_leave,
    .add = pubsub_add,
    .discard = pubsub_discard,
    .watch = pubsub_watch,
    .unwatch = pubsub_unwatch,
    .want = pubsub_want,
    .taken = pubsub_taken,
    .put_back = pubsub_put_back,
    .groups = pubsub_groups,
    .flush = pubsub_flush,
    .close = pubsub_close,
};

static void open_shard(struct pubsub_backend *b, unsigned index)
{
    struct pubsub_shard *shard = &b->shards[index];
    shard->backend = b;
    shard->host = &b->config->hosts[index];
    b->shard_count = index + 1;
    pubsub_nodes_init(shard);
    redis_link_open(&shard->link, b->uv, shard->host, b->config->timeout_ms, &command_ops, shard);
    pubsub_subscriber_open(shard);
}

static void init_backend(struct pubsub_backend *b)
{
    wire_init(&b->wire, b->config);
    buf_init(&b->sealed, SEALED_MAX);
    buf_init(&b->body, WIRE_MEMBER_MAX);
    digest_random((uint8_t *)b->seed, sizeof(b->seed));
    endings_init(&b->endings);
    dlist_init(&b->returning);
    dlist_init(&b->promises);
    pubsub_normals_init(&b->normals);
    uv_idle_init(b->uv, &b->turn); /* none of these can fail */
    uv_timer_init(b->uv, &b->deadline);
    uv_timer_init(b->uv, &b->tick);
    b->turn.data = b->deadline.data = b->tick.data = b;
    uv_timer_start(&b->tick, on_tick, TICK_MS, TICK_MS);
}

enum err pubsub_backend_open(struct backend **out, struct layer *layer, uv_loop_t *uv,
                             const struct layer_config *config, struct err_text *why)
{
    if (strlen(config->prefix) > PUBSUB_PREFIX_MAX)
        return err_fail(why, ERR_INVALID, "prefix is longer than %d bytes", PUBSUB_PREFIX_MAX);
    assert(config->host_count > 0);
    struct pubsub_backend *b = mem_alloc(sizeof(*b));
    b->base.ops = &pubsub_ops;
    b->base.layer = layer;
    b->uv = uv;
    b->config = config;
    init_backend(b);
    b->shards = mem_alloc(config->host_count * sizeof(*b->shards));
    for (unsigned i = 0; i < config->host_count; i++)
        open_shard(b, i);
    *out = &b->base;
    return ERR_OK;
}
