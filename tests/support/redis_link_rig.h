/* SPDX-License-Identifier: BSD-3-Clause
 *
 * redis_link_rig: a redis_link on a loop of its own, what it told, and scripted peers on that loop.
 *
 * Why: the tests of the link itself and those of the ways to a host share it.
 */
#ifndef TESTS_SUPPORT_REDIS_LINK_RIG_H
#define TESTS_SUPPORT_REDIS_LINK_RIG_H

#include "channel_layer/redis/redis_link.h"

#include "tests/support/redis_daemon.h"

#include <hiredis/hiredis.h>

/* A password, which no text may have. */
#define SECRET "s3cret-pass"

enum { RIG_TEXT = 700, RIG_GUARD_MS = 15 * 1000 };

struct rig {
    uv_loop_t loop;
    uv_timer_t guard; /* a test that waits for what never happens fails */
    struct redis_link *link;
    struct redis_host host;
    unsigned ups;
    unsigned firsts;
    unsigned downs;
    unsigned pushes;
    unsigned closed;
    uint64_t up_ms;
    char why[RIG_TEXT];  /* of the last down */
    char push[RIG_TEXT]; /* the last, items joined by blanks */
    void (*on_up)(struct rig *rig);
    void *extra;
};

struct ask {
    bool is_answered;
    enum err err;
    int type;
    long long integer;
    char text[RIG_TEXT];
    char why[RIG_TEXT];
    uint64_t asked_ms;
    uint64_t took_ms;
    uv_loop_t *loop;
};

static inline void rig_on_guard(uv_timer_t *timer)
{
    (void)timer;
    fail_msg("waited too long");
}

/* Runs the loop until @condition holds. */
#define RUN_UNTIL(rig, condition)                                     \
    do {                                                              \
        uv_update_time(&(rig)->loop);                                 \
        uv_timer_start(&(rig)->guard, rig_on_guard, RIG_GUARD_MS, 0); \
        while (!(condition))                                          \
            uv_run(&(rig)->loop, UV_RUN_ONCE);                        \
        uv_timer_stop(&(rig)->guard);                                 \
    } while (false)

static inline void rig_on_up(void *ctx, bool is_first)
{
    struct rig *rig = ctx;
    rig->ups++;
    rig->firsts += is_first;
    rig->up_ms = uv_now(&rig->loop);
    if (rig->on_up != NULL)
        rig->on_up(rig);
}

static inline void rig_on_down(void *ctx, const char *why)
{
    struct rig *rig = ctx;
    rig->downs++;
    snprintf(rig->why, sizeof(rig->why), "%s", why);
}

static inline void rig_join(char *out, size_t size, const struct redisReply *reply)
{
    const size_t len = strlen(out);
    if (reply->str != NULL)
        snprintf(out + len, size - len, "%s%s", len > 0 ? " " : "", reply->str);
    else if (reply->type == REDIS_REPLY_INTEGER)
        snprintf(out + len, size - len, "%s%lld", len > 0 ? " " : "", reply->integer);
    for (size_t i = 0; i < reply->elements; i++)
        rig_join(out, size, reply->element[i]);
}

static inline void rig_on_push(void *ctx, const struct redisReply *reply)
{
    struct rig *rig = ctx;
    rig->pushes++;
    rig->push[0] = '\0';
    rig_join(rig->push, sizeof(rig->push), reply);
}

static const struct redis_link_ops rig_ops = {
    .up = rig_on_up, .down = rig_on_down, .push = rig_on_push};

static inline void rig_init(struct rig *rig)
{
    memset(rig, 0, sizeof(*rig));
    signal(SIGPIPE, SIG_IGN); /* as the program does */
    assert_int_equal(uv_loop_init(&rig->loop), 0);
    uv_timer_init(&rig->loop, &rig->guard);
}

static inline void rig_open(struct rig *rig, unsigned timeout_ms)
{
    redis_link_open(&rig->link, &rig->loop, &rig->host, timeout_ms, &rig_ops, rig);
}

/* To a port of 127.0.0.1. */
static inline void rig_open_port(struct rig *rig, unsigned port, unsigned timeout_ms)
{
    char text[32];
    rig_init(rig);
    snprintf(text, sizeof(text), "127.0.0.1:%u", port);
    rig->host.text = strdup(text);
    rig->host.host = (char *)(uintptr_t) "127.0.0.1";
    rig->host.port = (uint16_t)port;
    rig_open(rig, timeout_ms);
}

static inline void rig_on_closed(void *ctx)
{
    struct rig *rig = ctx;
    rig->closed++;
    rig->link = NULL;
}

/* Closes the link; nothing may be left on the loop. */
static inline void rig_close(struct rig *rig)
{
    if (rig->link != NULL)
        redis_link_close(rig->link, rig_on_closed, rig);
    RUN_UNTIL(rig, rig->closed == 1);
    uv_close((uv_handle_t *)&rig->guard, NULL);
    uv_run(&rig->loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&rig->loop), 0);
    free(rig->host.text);
    rig->host.text = NULL;
}

static inline void rig_on_answer(void *ctx, enum err err, const struct redisReply *reply,
                                 const char *why)
{
    struct ask *ask = ctx;
    assert_false(ask->is_answered);
    ask->is_answered = true;
    ask->err = err;
    ask->took_ms = uv_now(ask->loop) - ask->asked_ms;
    snprintf(ask->why, sizeof(ask->why), "%s", why);
    assert_int_equal(err == ERR_OK, reply != NULL);
    if (reply == NULL)
        return;
    ask->type = reply->type;
    ask->integer = reply->integer;
    ask->text[0] = '\0';
    rig_join(ask->text, sizeof(ask->text), reply);
}

/* Gives the command @line, whose words are separated by single blanks. */
static inline void rig_ask_within(struct rig *rig, struct ask *ask, unsigned timeout_ms,
                                  const char *line)
{
    struct slice args[16];
    size_t count = 0;
    for (const char *at = line; *at != '\0' && count < 16; count++) {
        const size_t len = strcspn(at, " ");
        args[count] = slice_make(at, len);
        at += len + (at[len] == ' ' ? 1 : 0);
    }
    memset(ask, 0, sizeof(*ask));
    uv_update_time(&rig->loop);
    ask->loop = &rig->loop;
    ask->asked_ms = uv_now(&rig->loop);
    assert_int_equal(redis_link_command(rig->link, rig_on_answer, ask, timeout_ms, count, args),
                     ERR_OK);
    assert_false(ask->is_answered); /* never before it returned */
}

static inline void rig_ask(struct rig *rig, struct ask *ask, const char *line)
{
    rig_ask_within(rig, ask, 0, line);
}

/* Asks and waits for the answer, which must be @text. */
static inline void rig_expect(struct rig *rig, const char *line, const char *text)
{
    struct ask ask;
    rig_ask(rig, &ask, line);
    RUN_UNTIL(rig, ask.is_answered);
    if (ask.err != ERR_OK)
        fail_msg("%s: %s: %s", line, err_str(ask.err), ask.why);
    assert_string_equal(ask.text, text);
}

static inline void rig_on_slept(uv_timer_t *timer)
{
    *(bool *)timer->data = true;
}

/* Runs the loop for @ms, for what must not happen meanwhile. */
static inline void rig_sleep(struct rig *rig, uint64_t ms)
{
    bool is_over = false;
    uv_update_time(&rig->loop);
    rig->guard.data = &is_over;
    uv_timer_start(&rig->guard, rig_on_slept, ms, 0);
    while (!is_over)
        uv_run(&rig->loop, UV_RUN_ONCE);
}

/* ---- a host with settings ---- */

static inline char *text_of(const char *text)
{
    return (char *)(uintptr_t)text;
}

/* Prepares a host on a port of 127.0.0.1; rig_open() follows. */
static inline void prepare(struct rig *rig, unsigned port)
{
    char text[32];
    rig_init(rig);
    snprintf(text, sizeof(text), "127.0.0.1:%u", port);
    rig->host.text = strdup(text);
    rig->host.host = text_of("127.0.0.1");
    rig->host.port = (uint16_t)port;
}

static inline void expect_up(struct rig *rig)
{
    rig_open(rig, 2000);
    RUN_UNTIL(rig, rig->ups + rig->downs > 0);
    if (rig->ups == 0)
        fail_msg("%s", rig->why);
    rig_expect(rig, "ECHO here", "here");
    rig_close(rig);
}

static inline void expect_down(struct rig *rig, const char *word)
{
    rig_open(rig, 2000);
    RUN_UNTIL(rig, rig->ups + rig->downs > 0);
    if (rig->ups > 0)
        fail_msg("it is up, without: %s", word);
    if (strstr(rig->why, word) == NULL)
        fail_msg("%s: not in: %s", word, rig->why);
    assert_true(strstr(rig->why, SECRET) == NULL);
    rig_close(rig);
}

/* ---- a peer that the test plays ---- */

struct peer {
    uv_tcp_t listener;
    uv_tcp_t conn;
    bool has_conn;
    unsigned port;
    unsigned conns; /* so far */
    unsigned reads; /* of this connection */
    size_t bytes;
    const char *const *answers; /* one for each read, the last for all further; NULL: silence */
    const char *closes_on;      /* a word that ends the connection; may be NULL */
    bool is_deaf;               /* reads nothing */
    char in[65536];
};

static inline void peer_on_written(uv_write_t *req, int status)
{
    (void)status;
    free(req);
}

static inline void peer_say(struct peer *p, const char *text)
{
    uv_write_t *req = malloc(sizeof(*req));
    const uv_buf_t buf = uv_buf_init((char *)(uintptr_t)text, (unsigned)strlen(text));
    assert_non_null(req);
    assert_int_equal(uv_write(req, (uv_stream_t *)&p->conn, &buf, 1, peer_on_written), 0);
}

static inline void peer_on_conn_closed(uv_handle_t *handle)
{
    ((struct peer *)handle->data)->has_conn = false;
}

static inline void peer_hang_up(struct peer *p)
{
    if (p->has_conn && !uv_is_closing((uv_handle_t *)&p->conn))
        uv_close((uv_handle_t *)&p->conn, peer_on_conn_closed);
}

static inline void peer_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *out)
{
    struct peer *p = handle->data;
    (void)suggested;
    *out = uv_buf_init(p->in, sizeof(p->in) - 1);
}

static inline void peer_on_read(uv_stream_t *stream, ssize_t nread, const uv_buf_t *buf)
{
    struct peer *p = stream->data;
    (void)buf;
    if (nread == 0)
        return;
    if (nread < 0) {
        peer_hang_up(p);
        return;
    }
    p->in[nread] = '\0';
    p->reads++;
    p->bytes += (size_t)nread;
    if (p->closes_on != NULL && strstr(p->in, p->closes_on) != NULL) {
        peer_hang_up(p);
        return;
    }
    if (p->answers == NULL || p->answers[0] == NULL)
        return;
    peer_say(p, p->answers[0]);
    if (p->answers[1] != NULL)
        p->answers++;
}

static inline void peer_on_connection(uv_stream_t *listener, int status)
{
    struct peer *p = listener->data;
    assert_int_equal(status, 0);
    assert_false(p->has_conn); /* one at a time */
    uv_tcp_init(listener->loop, &p->conn);
    p->conn.data = p;
    p->has_conn = true;
    p->conns++;
    p->reads = 0;
    assert_int_equal(uv_accept(listener, (uv_stream_t *)&p->conn), 0);
    if (!p->is_deaf)
        uv_read_start((uv_stream_t *)&p->conn, peer_alloc, peer_on_read);
}

/* Listens on the loop of @rig, which rig_init() made. */
static inline void peer_open(struct peer *p, struct rig *rig)
{
    struct sockaddr_in address;
    p->port = daemon_free_port();
    uv_tcp_init(&rig->loop, &p->listener);
    p->listener.data = p;
    uv_ip4_addr("127.0.0.1", (int)p->port, &address);
    assert_int_equal(uv_tcp_bind(&p->listener, (struct sockaddr *)&address, 0), 0);
    assert_int_equal(uv_listen((uv_stream_t *)&p->listener, 8, peer_on_connection), 0);
}

static inline void peer_close(struct peer *p)
{
    uv_close((uv_handle_t *)&p->listener, NULL);
    peer_hang_up(p);
}

/* A link to @p, with the rig's loop made here. */
static inline void rig_open_peer(struct rig *rig, struct peer *p, unsigned timeout_ms)
{
    char text[32];
    rig_init(rig);
    peer_open(p, rig);
    snprintf(text, sizeof(text), "127.0.0.1:%u", p->port);
    rig->host.text = strdup(text);
    rig->host.host = (char *)(uintptr_t) "127.0.0.1";
    rig->host.port = (uint16_t)p->port;
    rig_open(rig, timeout_ms);
}

#endif
