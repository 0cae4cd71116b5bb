/* SPDX-License-Identifier: BSD-3-Clause */
#include "channel_layer/redis/redis_source.h"

#include "core/mem.h"

#include <hiredis/hiredis.h>

#include <assert.h>

enum {
    BATCH_FIRST = 16,
    BATCH_MAX = 500,
    BATCH_BYTES = 2 * 1024 * 1024, /* that a batch should not exceed */
    PENDING_MAX = 1024 * 1024 * 1024,
    POLL_MS = 5000, /* beside being told */
    REST_MS = 1000, /* after a failure */
    STAY_COUNT = 4, /* so few messages that were handed over */
    STAY_BYTES = 64 * 1024,
    STAY_MS = 250,                   /* may stay so long in Redis */
    STAY_CAPACITY = 20 * STAY_COUNT, /* of the channels: nobody finds one full for them */
    STAY_PREFIX = 8,                 /* random bytes that make messages differ */
};

static uint64_t now_of(const struct redis_source *s)
{
    return uv_now(s->shard->backend->uv);
}

static void rest(struct redis_source *s, uint64_t ms)
{
    const bool is_up = s->shard->reader.is_up;
    s->state = is_up ? SOURCE_RESTING : SOURCE_DOWN;
    s->next_ms = now_of(s) + ms;
}

/* Senders count what stays, and one that is sent again with the very same bytes would be taken for
 * it: neither may matter. */
static bool can_stay(const struct layer_config *config)
{
    uint32_t capacity = config->capacity;
    for (size_t i = 0; i < config->capacities.count; i++)
        if (config->capacities.entries[i].number < capacity)
            capacity = config->capacities.entries[i].number;
    return capacity >= STAY_CAPACITY && config->random_prefix_length >= STAY_PREFIX;
}

struct redis_source *redis_source_new(struct redis_shard *shard, struct slice base)
{
    struct redis_source *s = mem_alloc(sizeof(*s));
    s->shard = shard;
    s->batch = 1;
    s->can_stay = can_stay(shard->backend->config);
    buf_init(&s->pending, PENDING_MAX);
    (void)redis_key(shard->backend, &s->key, "", base);
    return s;
}

void redis_source_free(struct redis_source *s)
{
    buf_deinit(&s->pending);
    mem_free(s);
}

/* ---- a message ---- */

struct source_names {
    struct backend_names names;
    struct redis_source *source;
    struct wire_message message;
    size_t at;
};

static bool next_name(struct backend_names *names, struct slice *name)
{
    struct source_names *n = CONTAINER_OF(names, struct source_names, names);
    struct redis_source *s = n->source;
    if (!wire_next_name(&n->message, &n->at, &s->shard->backend->scratch, name))
        return false;
    const size_t front = name_nonlocal(*name).len;
    const struct slice local = slice_make(name->ptr + front, name->len - front);
    s->is_awaited = s->is_awaited || slice_eq_str(local, NAME_CONTROL_LOCAL);
    return true;
}

bool redis_source_arrived(struct redis_source *s, const struct redis_pair *pair)
{
    struct redis_backend *b = s->shard->backend;
    struct source_names names = {.names = {next_name}, .source = s};
    struct err_text why;
    if (redis_is_late(s->shard, redis_source_key(s), pair->score))
        return true;
    b->body.len = 0;
    const enum err err =
        wire_open(&b->wire, &names.message, &b->body, pair->member, (uint64_t)redis_now(), &why);
    if (err == ERR_NOMEM)
        return false;
    if (err == ERR_OK)
        layer_arrived(b->base.layer, &names.names, buf_slice(&b->body));
    else
        redis_report_undecodable(s->shard, "key", redis_source_key(s), why.text);
    return true;
}

/* Remembers what was handed over. Without memory for that it is not handed over: false. */
static bool note_pending(struct redis_source *s, struct slice member)
{
    const uint32_t len = (uint32_t)member.len;
    if (member.len > PENDING_MAX / 2 || buf_reserve(&s->pending, sizeof(len) + len) != ERR_OK)
        return false;
    memcpy(s->pending.ptr + s->pending.len, &len, sizeof(len));
    if (len > 0)
        memcpy(s->pending.ptr + s->pending.len + sizeof(len), member.ptr, len);
    s->pending.len += (uint32_t)sizeof(len) + len;
    s->pending_count++;
    return true;
}

/* The last one was not handed over, after all. */
static void forget_last(struct redis_source *s, size_t len)
{
    s->pending.len -= (uint32_t)(sizeof(uint32_t) + len);
    s->pending_count--;
}

/* ---- reading ---- */

static void report_refused(const struct redis_source *s, const redisReply *reply, const char *said)
{
    struct err_text why;
    (void)redis_refusal(reply, said, redis_source_key(s), &why);
    redis_report_refused(s->shard->backend, why.text);
}

static void on_removed(void *ctx, enum err err, const redisReply *reply, const char *why)
{
    struct redis_source *s = ctx;
    s->is_kept = err != ERR_OK || reply->type == REDIS_REPLY_ERROR;
    if (err == ERR_OK && s->is_kept)
        report_refused(s, reply, why);
    if (s->is_kept)
        return;
    s->pending.len = 0;
    s->pending_count = 0;
    if (s->pending.cap > BATCH_BYTES)
        buf_deinit(&s->pending);
}

static unsigned smallest(size_t a, size_t b, size_t c)
{
    const size_t least = a < b ? a : b;
    return (unsigned)(least < c ? least : c);
}

/* Sets how many messages the next read takes: more while they are many and small, few when they
 * have been large of late, one when nothing is known of them. */
static void set_batch(struct redis_source *s, size_t count, size_t bytes)
{
    const size_t mean = count > 0 ? bytes / count + 1 : 0;
    s->typical = mean > s->typical - s->typical / 4 ? mean : s->typical - s->typical / 4;
    const size_t fit = s->typical > 0 ? BATCH_BYTES / s->typical + 1 : 1;
    if (count == 0)
        s->batch = smallest(fit, BATCH_FIRST, BATCH_MAX);
    else
        s->batch = smallest(fit, count < s->batch ? s->batch : 2 * (size_t)s->batch, BATCH_MAX);
}

/* Whether all of @reply was handed over, or as much of it as was asked for: pending has an end. */
static bool hand_over_all(struct redis_source *s, const redisReply *reply)
{
    const struct redis_backend *b = s->shard->backend;
    size_t bytes = 0;
    size_t count = 0;
    struct redis_pair pair;
    for (size_t at = 0; count < s->asked && redis_next_pair(reply, &at, &pair); count++) {
        if (b->state != REDIS_OPEN || !note_pending(s, pair.member))
            return false;
        bytes += pair.member.len;
        if (!redis_source_arrived(s, &pair)) {
            forget_last(s, pair.member.len);
            return false;
        }
    }
    set_batch(s, count, bytes);
    return true;
}

/* Whether a read of @count messages was all, and they can be taken out with the next read, so that
 * single messages that follow each other cost one turn less. */
static bool may_stay(const struct redis_source *s, size_t count)
{
    return s->can_stay && !s->is_awaited && s->shard->reader.can_track && count < s->asked &&
           s->pending_count <= STAY_COUNT && s->pending.len <= STAY_BYTES;
}

static void on_read(void *ctx, enum err err, const redisReply *reply, const char *why)
{
    struct redis_source *s = ctx;
    const bool was_kept = s->is_kept;
    assert(s->state == SOURCE_ASKING);
    s->is_kept = false;
    s->state = SOURCE_WAITING;
    s->next_ms = now_of(s) + POLL_MS;
    if (err != ERR_OK || was_kept) {
        rest(s, err == ERR_OK ? REST_MS : 0);
    } else if (reply->type != REDIS_REPLY_ARRAY) {
        if (reply->type == REDIS_REPLY_ERROR)
            report_refused(s, reply, why);
        rest(s, POLL_MS);
    } else if (!hand_over_all(s, reply)) {
        rest(s, REST_MS);
    } else if (s->is_dirty || (reply->elements > 0 && !may_stay(s, reply->elements))) {
        redis_source_ask(s);
    } else if (s->pending_count > 0) {
        s->next_ms = now_of(s) + STAY_MS;
    }
    redis_reader_block(s->shard);
}

enum err redis_source_remove(struct redis_source *s)
{
    struct redis_backend *b = s->shard->backend;
    /* What is pending is of one read, for it is taken out before the next is heeded. */
    redis_argv_begin(&b->argv);
    redis_argv_add(&b->argv, slice_str("ZREM"));
    redis_argv_add(&b->argv, redis_source_key(s));
    for (uint32_t at = 0; at < s->pending.len;) {
        uint32_t len = 0;
        memcpy(&len, s->pending.ptr + at, sizeof(len));
        at += (uint32_t)sizeof(len);
        redis_argv_add(&b->argv, slice_make(s->pending.ptr + at, len));
        at += len;
    }
    return redis_argv_give(&b->argv, s->shard->reader.link, 0, on_removed, s);
}

void redis_source_ask(struct redis_source *s)
{
    struct redis_number last;
    if (!s->shard->reader.is_up || s->shard->backend->state != REDIS_OPEN) {
        rest(s, 0);
        return;
    }
    s->is_dirty = false;
    s->is_kept = false;
    s->is_awaited = false;
    s->asked = s->batch;
    enum err err = s->pending_count > 0 ? redis_source_remove(s) : ERR_OK;
    const struct slice args[] = {slice_str("ZRANGE"), redis_source_key(s), slice_str("0"),
                                 redis_number(&last, (int64_t)s->batch - 1),
                                 slice_str("WITHSCORES")};
    if (err == ERR_OK)
        err = redis_link_command(s->shard->reader.link, on_read, s, 0, 5, args);
    if (err == ERR_OK)
        s->state = SOURCE_ASKING;
    else
        rest(s, REST_MS);
}
