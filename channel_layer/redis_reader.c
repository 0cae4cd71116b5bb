/* SPDX-License-Identifier: BSD-3-Clause */
#include "channel_layer/redis_reader.h"

#include "channel_layer/names.h"
#include "channel_layer/redis.h"
#include "core/log.h"
#include "core/mem.h"

#include <hiredis/hiredis.h>

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>

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
    BLOCK_S = 1,                     /* a new base waits so long at most */
    TRACKING_SINCE = 6,
};

enum source_state {
    SOURCE_DOWN,    /* no connection */
    SOURCE_ASKING,  /* a read is under way */
    SOURCE_WAITING, /* nothing is there; Redis tells, or BZPOPMIN does */
    SOURCE_RESTING, /* something is wrong; tried again at next_ms */
};

/* One key. */
struct redis_source {
    struct strmap_entry by_key;
    struct redis_shard *shard;
    enum source_state state;
    bool is_dirty;      /* written to since the read that is under way began */
    bool is_kept;       /* Redis refused to take out what was handed over */
    bool can_stay;      /* what was handed over may stay in Redis for a moment */
    bool is_awaited;    /* but another node waits until this is out */
    unsigned batch;     /* messages of the next read */
    unsigned asked;     /* of the read that is under way */
    size_t typical;     /* bytes of a message, as of late; 0: none was seen yet */
    uint64_t next_ms;   /* when it is read without being told */
    struct buf pending; /* handed over, not known to be out: a length (uint32_t) and the bytes */
    unsigned pending_count;
    struct redis_key key;
};

static struct slice key_of(const struct redis_source *s)
{
    return slice_make(s->key.text, s->key.len);
}

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

static void report_undecodable(struct redis_source *s, const char *why)
{
    struct redis_backend *b = s->shard->backend;
    uint64_t held_back = 0;
    layer_stats(b->base.layer)->dropped_undecodable++;
    if (redis_notice(b, &b->decode_notice, &held_back))
        log_event(LOG_WARN, "layer.message",
                  "host=%s key=%s held_back=%" PRIu64 " text=\"a message was dropped: %s\"",
                  s->shard->host->text, s->key.text, held_back, why);
}

/* False: there was no memory to open it. */
static bool hand_over(struct redis_source *s, const struct redis_pair *pair)
{
    struct redis_backend *b = s->shard->backend;
    struct source_names names = {.names = {next_name}, .source = s};
    struct err_text why;
    if (redis_is_late(s->shard, key_of(s), pair->score))
        return true;
    b->body.len = 0;
    const enum err err =
        wire_open(&b->wire, &names.message, &b->body, pair->member, (uint64_t)redis_now(), &why);
    if (err == ERR_NOMEM)
        return false;
    if (err == ERR_OK)
        layer_arrived(b->base.layer, &names.names, buf_slice(&b->body));
    else
        report_undecodable(s, why.text);
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

static void ask(struct redis_source *s);
static void block(struct redis_shard *shard);

static void report_refused(struct redis_source *s, const redisReply *reply, const char *said)
{
    struct redis_backend *b = s->shard->backend;
    uint64_t held_back = 0;
    struct err_text why;
    (void)redis_refusal(reply, said, key_of(s), &why);
    if (redis_notice(b, &b->key_notice, &held_back))
        log_event(LOG_ERROR, "layer.redis.key", "held_back=%" PRIu64 " text=\"%s\"", held_back,
                  why.text);
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
        if (!hand_over(s, &pair)) {
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
        ask(s);
    } else if (s->pending_count > 0) {
        s->next_ms = now_of(s) + STAY_MS;
    }
    block(s->shard);
}

static enum err remove_pending(struct redis_source *s)
{
    struct redis_backend *b = s->shard->backend;
    /* What is pending is of one read, for it is taken out before the next is heeded. */
    b->argv.len = 0;
    redis_arg(b, slice_str("ZREM"));
    redis_arg(b, key_of(s));
    for (uint32_t at = 0; at < s->pending.len;) {
        uint32_t len = 0;
        memcpy(&len, s->pending.ptr + at, sizeof(len));
        at += (uint32_t)sizeof(len);
        redis_arg(b, slice_make(s->pending.ptr + at, len));
        at += len;
    }
    return redis_give_argv(b, s->shard->reader.link, 0, on_removed, s);
}

/* Takes out what was handed over and reads on. */
static void ask(struct redis_source *s)
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
    enum err err = s->pending_count > 0 ? remove_pending(s) : ERR_OK;
    const struct slice args[] = {slice_str("ZRANGE"), key_of(s), slice_str("0"),
                                 redis_number(&last, (int64_t)s->batch - 1),
                                 slice_str("WITHSCORES")};
    if (err == ERR_OK)
        err = redis_link_command(s->shard->reader.link, on_read, s, 0, 5, args);
    if (err == ERR_OK)
        s->state = SOURCE_ASKING;
    else
        rest(s, REST_MS);
}

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
        if (s != NULL && !hand_over(s, &pair)) /* it is out of Redis already */
            report_undecodable(s, "out of memory");
        if (s != NULL && s->state == SOURCE_WAITING)
            ask(s);
    } else if (reply->type == REDIS_REPLY_ERROR) {
        r->retry_ms = uv_now(shard->backend->uv) + REST_MS;
        for (size_t i = 0; i < r->source_count; i++)
            if (r->sources[i]->state == SOURCE_WAITING)
                ask(r->sources[i]);
    }
    block(shard);
}

/* Where Redis does not tell: blocks until something comes, once all keys are empty. */
static void block(struct redis_shard *shard)
{
    struct redis_reader *r = &shard->reader;
    struct redis_backend *b = shard->backend;
    if (r->can_track || r->is_blocked || !r->is_up || b->state != REDIS_OPEN ||
        uv_now(b->uv) < r->retry_ms)
        return;
    size_t keys = 0;
    struct redis_number seconds;
    b->argv.len = 0;
    redis_arg(b, slice_str("BZPOPMIN"));
    for (size_t i = 0; i < r->source_count; i++) {
        if (r->sources[i]->state == SOURCE_ASKING)
            return; /* called again when it is answered */
        if (r->sources[i]->state != SOURCE_WAITING)
            continue;
        redis_arg(b, key_of(r->sources[i]));
        keys++;
    }
    if (keys == 0)
        return;
    redis_arg(b, redis_number(&seconds, BLOCK_S));
    const unsigned timeout_ms = BLOCK_S * 1000 + b->config->timeout_ms;
    r->is_blocked = redis_give_argv(b, r->link, timeout_ms, on_popped, shard) == ERR_OK;
}

/* ---- being told ---- */

bool redis_is_invalidation(const struct redisReply *push, const struct redisReply **keys)
{
    if (push->elements != 2 || push->element[0]->type != REDIS_REPLY_STRING ||
        !slice_eq_str(slice_make(push->element[0]->str, push->element[0]->len), "invalidate"))
        return false;
    *keys = push->element[1]->type == REDIS_REPLY_ARRAY ? push->element[1] : NULL;
    return true;
}

static void wake(struct redis_source *s)
{
    if (s->state == SOURCE_WAITING)
        ask(s);
    else
        s->is_dirty = true;
}

static void on_push(void *ctx, const redisReply *push)
{
    struct redis_shard *shard = ctx;
    struct redis_reader *r = &shard->reader;
    const redisReply *keys = NULL;
    if (!redis_is_invalidation(push, &keys))
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
            ask(r->sources[i]);
}

static void on_tracking(void *ctx, enum err err, const redisReply *reply, const char *why)
{
    struct redis_shard *shard = ctx;
    struct redis_reader *r = &shard->reader;
    if (err != ERR_OK) {
        redis_begin_again(r->link, why);
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
    if (redis_link_has_push(r->link) && redis_link_version(r->link) >= TRACKING_SINCE) {
        /* NOLOOP: what is taken out by this connection is no news. */
        const struct slice args[] = {slice_str("CLIENT"), slice_str("TRACKING"), slice_str("ON"),
                                     slice_str("NOLOOP")};
        if (redis_link_command(r->link, on_tracking, shard, 0, 4, args) == ERR_OK)
            return;
    }
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

enum err redis_reader_open(struct redis_shard *shard)
{
    struct redis_backend *b = shard->backend;
    strmap_init(&shard->reader.by_key);
    return redis_link_open(&shard->reader.link, b->uv, shard->host, b->config->timeout_ms,
                           &reader_ops, shard);
}

void redis_reader_deinit(struct redis_shard *shard)
{
    struct redis_reader *r = &shard->reader;
    for (size_t i = 0; i < r->source_count; i++) {
        buf_deinit(&r->sources[i]->pending);
        mem_free(r->sources[i]);
    }
    mem_free(r->sources);
    strmap_deinit(&r->by_key);
    *r = (struct redis_reader){0};
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

static void add_source(struct redis_shard *shard, struct slice base)
{
    struct redis_reader *r = &shard->reader;
    struct redis_source *s = mem_alloc(sizeof(*s));
    s->shard = shard;
    s->batch = 1;
    s->can_stay = can_stay(shard->backend->config);
    buf_init(&s->pending, PENDING_MAX);
    (void)redis_key(shard->backend, &s->key, "", base);
    if (r->sources == NULL)
        r->sources = mem_alloc(BACKEND_WATCHES_MAX * sizeof(struct redis_source *));
    assert(r->source_count < BACKEND_WATCHES_MAX);
    r->sources[r->source_count++] = s;
    strmap_add(&r->by_key, &s->by_key, key_of(s));
    ask(s);
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
            remove_pending(r->sources[i]) != ERR_OK)
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
            ask(s);
    }
    block(shard);
}
