/* SPDX-License-Identifier: BSD-3-Clause */
#include "channel_layer/redis/redis_conn.h"

#include <assert.h>
#include <locale.h>
#include <stdio.h>

#include <hiredis/hiredis.h>

#include "channel_layer/redis/redis_greeting.h"
#include "channel_layer/redis/redis_sentinel.h"
#include "channel_layer/redis/redis_stream.h"
#include "core/buf.h"
#include "core/mem.h"

enum {
    GREETING_BYTES = 64 * 1024,
    ANSWER_BYTES = 512 * 1024 * 1024, /* a single one; Redis' own limit of a string */
    ANSWER_ELEMENTS = 4 * 1024 * 1024,
    READER_KEPT_BYTES = 256 * 1024,
    WHERE_BYTES = 320,
};

enum conn_state {
    CONN_ASKING,   /* Sentinel */
    CONN_DIALING,  /* address, TLS */
    CONN_GREETING, /* HELLO and the like */
    CONN_READY,    /* answers are the owner's */
    CONN_LOST,     /* told; waits for redis_conn_close() */
    CONN_CLOSING,
};

struct redis_conn {
    uv_loop_t *uv;
    const struct redis_conn_ops *ops;
    void *ctx;
    struct redis_conn_how how;
    enum conn_state state;
    unsigned parts; /* that are not closed */
    struct redis_sentinel *sentinel;
    struct redis_stream *stream;
    redisReader *reader;
    locale_t numbers;
    struct redis_greeting greeting;
    struct buf out; /* of the greeting */
    char where[WHERE_BYTES];
};

const char *redis_host_text(const struct redis_host *host)
{
    if (host->text != NULL)
        return host->text;
    if (host->unix_path != NULL)
        return host->unix_path;
    return host->host != NULL ? host->host : "redis";
}

static void conn_lost(struct redis_conn *c, const char *why)
{
    if (c->state == CONN_LOST || c->state == CONN_CLOSING)
        return;
    c->state = CONN_LOST;
    c->ops->lost(c->ctx, why);
}

static void conn_free(struct redis_conn *c)
{
    void (*closed)(void *) = c->ops->closed;
    void *ctx = c->ctx;
    if (c->reader != NULL)
        redisReaderFree(c->reader);
    if (c->numbers != NULL)
        freelocale(c->numbers);
    buf_deinit(&c->out);
    mem_free(c);
    closed(ctx);
}

static void on_part_closed(void *ctx)
{
    struct redis_conn *c = ctx;
    c->parts--;
    if (c->parts == 0 && c->state == CONN_CLOSING)
        conn_free(c);
}

/* ---- answers ---- */

static void on_greeting(struct redis_conn *c, const struct redisReply *reply)
{
    struct err_text why;
    c->out.len = 0;
    switch (redis_greeting_reply(&c->greeting, reply, &c->out, &why)) {
    case REDIS_GREETING_FAILED:
        conn_lost(c, why.text);
        return;
    case REDIS_GREETING_DONE:
        c->state = CONN_READY;
        c->ops->ready(c->ctx);
        return;
    case REDIS_GREETING_MORE:
        break;
    }
    if (c->out.len > 0 && redis_stream_send(c->stream, buf_slice(&c->out)) != ERR_OK)
        conn_lost(c, "the connection takes no more bytes");
}

/* Whether there was an answer. */
static bool read_reply(struct redis_conn *c)
{
    void *reply = NULL;
    /* Versions of hiredis read a double as the locale of the program has it. */
    const locale_t its_own = uselocale(c->numbers);
    const int status = redisReaderGetReply(c->reader, &reply);
    uselocale(its_own);
    if (status != REDIS_OK) {
        char why[ERR_TEXT_MAX];
        snprintf(why, sizeof(why), "does not speak as Redis does: %s", c->reader->errstr);
        conn_lost(c, why);
        return false;
    }
    if (reply == NULL) {
        if (c->reader->len - c->reader->pos > ANSWER_BYTES)
            conn_lost(c, "an answer is too long");
        return false;
    }
    if (c->state == CONN_GREETING)
        on_greeting(c, reply);
    else
        c->ops->reply(c->ctx, reply);
    freeReplyObject(reply);
    return true;
}

static void on_got(void *ctx, struct slice bytes)
{
    struct redis_conn *c = ctx;
    if (redisReaderFeed(c->reader, (const char *)bytes.ptr, bytes.len) != REDIS_OK) {
        conn_lost(c, "out of memory");
        return;
    }
    c->ops->heard(c->ctx);
    while ((c->state == CONN_GREETING || c->state == CONN_READY) && read_reply(c))
        continue;
}

/* ---- the way there ---- */

static void on_opened(void *ctx)
{
    struct redis_conn *c = ctx;
    c->reader = redisReaderCreate();
    c->numbers = newlocale(LC_NUMERIC_MASK, "C", NULL);
    if (c->reader == NULL || c->numbers == NULL) {
        conn_lost(c, "out of memory");
        return;
    }
    c->reader->maxelements = ANSWER_ELEMENTS;
    c->reader->maxbuf = READER_KEPT_BYTES;
    c->state = CONN_GREETING;
    if (redis_greeting_start(&c->greeting, c->how.host, c->how.with_hello, &c->out) != ERR_OK) {
        conn_lost(c, "user name or password is too long");
        return;
    }
    if (redis_stream_send(c->stream, buf_slice(&c->out)) != ERR_OK)
        conn_lost(c, "the connection takes no more bytes");
}

static void on_drained(void *ctx)
{
    struct redis_conn *c = ctx;
    if (c->state == CONN_READY)
        c->ops->drained(c->ctx);
}

static void on_stream_lost(void *ctx, const char *why)
{
    conn_lost(ctx, why);
}

static const struct redis_stream_ops stream_ops = {
    .opened = on_opened,
    .got = on_got,
    .drained = on_drained,
    .lost = on_stream_lost,
    .closed = on_part_closed,
};

static enum err dial(struct redis_conn *c, const char *name, uint16_t port, const char *unix_path,
                     struct err_text *why)
{
    const struct redis_host *host = c->how.host;
    c->state = CONN_DIALING;
    const struct redis_address address = {.host = host,
                                          .name = name,
                                          .port = port,
                                          .unix_path = unix_path,
                                          .attempt = c->how.attempt};
    const enum err err = redis_stream_open(&c->stream, c->uv, &address, &stream_ops, c, why);
    if (err == ERR_OK)
        c->parts++;
    return err;
}

static void on_found(void *ctx, const char *name, uint16_t port, size_t index, const char *said)
{
    struct redis_conn *c = ctx;
    struct err_text why;
    struct redis_sentinel *sentinel = c->sentinel;
    if (name == NULL) {
        conn_lost(c, said); /* the owner closes, which closes the sentinel too */
        return;
    }
    c->how.sentinel = index;
    snprintf(c->where, sizeof(c->where), "%s at %s:%u", c->how.host->master_name, name, port);
    const enum err err = dial(c, name, port, NULL, &why);
    c->sentinel = NULL;
    redis_sentinel_close(sentinel);
    if (err != ERR_OK)
        conn_lost(c, why.text);
}

static const struct redis_sentinel_ops sentinel_ops = {.found = on_found, .closed = on_part_closed};

static enum err start(struct redis_conn *c, struct err_text *why)
{
    const struct redis_host *host = c->how.host;
    if (host->master_name == NULL)
        return dial(c, host->host, host->port, host->unix_path, why);
    const struct redis_sentinel_how how = {
        .host = host, .timeout_ms = c->how.timeout_ms, .first = c->how.sentinel};
    redis_sentinel_ask(&c->sentinel, c->uv, &how, &sentinel_ops, c);
    c->parts++;
    return ERR_OK;
}

enum err redis_conn_open(struct redis_conn **out, uv_loop_t *uv, const struct redis_conn_how *how,
                         const struct redis_conn_ops *ops, void *ctx, struct err_text *why)
{
    struct redis_conn *c = mem_alloc(sizeof(*c));
    c->uv = uv;
    c->ops = ops;
    c->ctx = ctx;
    c->how = *how;
    c->state = CONN_ASKING;
    buf_init(&c->out, GREETING_BYTES);
    snprintf(c->where, sizeof(c->where), "%s", redis_host_text(how->host));
    const enum err err = start(c, why);
    if (err != ERR_OK) {
        mem_free(c);
        return err;
    }
    *out = c;
    return ERR_OK;
}

enum err redis_conn_send(struct redis_conn *c, struct slice bytes)
{
    return c->state == CONN_READY ? redis_stream_send(c->stream, bytes) : ERR_CLOSED;
}

bool redis_conn_is_busy(const struct redis_conn *c)
{
    return c->stream == NULL || redis_stream_is_busy(c->stream);
}

const char *redis_conn_where(const struct redis_conn *c)
{
    return c->where;
}

const char *redis_conn_phase(const struct redis_conn *c)
{
    return c->stream == NULL ? "asking Sentinel" : redis_stream_phase(c->stream);
}

bool redis_conn_has_tls_failed(const struct redis_conn *c)
{
    return c != NULL && c->stream != NULL && redis_stream_has_tls_failed(c->stream);
}

bool redis_conn_is_hello(const struct redis_conn *c)
{
    return c->reader != NULL && redis_greeting_is_hello(&c->greeting);
}

bool redis_conn_is_resp3(const struct redis_conn *c)
{
    return c->greeting.is_resp3;
}

unsigned redis_conn_version(const struct redis_conn *c)
{
    return c->greeting.version;
}

size_t redis_conn_sentinel(const struct redis_conn *c)
{
    return c->how.sentinel;
}

void redis_conn_close(struct redis_conn *c)
{
    assert(c->state != CONN_CLOSING);
    struct redis_stream *stream = c->stream;
    struct redis_sentinel *sentinel = c->sentinel;
    c->state = CONN_CLOSING;
    c->parts++; /* ours, while they close */
    if (stream != NULL)
        redis_stream_close(stream);
    if (sentinel != NULL)
        redis_sentinel_close(sentinel);
    on_part_closed(c);
}
