/* SPDX-License-Identifier: BSD-3-Clause
 *
 * link_peer: a test that plays the Python worker at the other end of a link, and clients that write
 * down what they are told:
 *
 *   respond(200 a=b [hi] more) body([x] last) accept(chat) send(text [x] first last) fail(2)
 *
 * Why: the link and the hosted consumer are tested over a real loop and a real socket pair, against
 * the bytes of docs/link-protocol.md.
 */
#ifndef TESTS_SUPPORT_LINK_PEER_H
#define TESTS_SUPPORT_LINK_PEER_H

#include "consumers/client.h"
#include "core/loop.h"

#include "tests/support/unit.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* ---- clients ---- */

enum { PEER_TRACE_BYTES = 8192 };

struct peer_client {
    struct client client;
    char trace[PEER_TRACE_BYTES];
    size_t len;
    unsigned ends; /* how often it was told that its consumer ended it */
};

static inline struct peer_client *peer_client_of(struct client *c)
{
    return CONTAINER_OF(c, struct peer_client, client);
}

static inline void peer_put(struct client *c, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
static inline void peer_put(struct client *c, const char *format, ...)
{
    struct peer_client *p = peer_client_of(c);
    va_list args;
    va_start(args, format);
    const int len = vsnprintf(p->trace + p->len, sizeof(p->trace) - p->len, format, args);
    va_end(args);
    assert_true(len >= 0 && (size_t)len < sizeof(p->trace) - p->len);
    p->len += (size_t)len;
}

static inline void peer_put_slice(struct client *c, struct slice bytes)
{
    if (bytes.len > 64)
        peer_put(c, " [%zu bytes]", bytes.len);
    else
        peer_put(c, " [%.*s]", (int)bytes.len, bytes.len == 0 ? "" : (const char *)bytes.ptr);
}

static inline void peer_put_headers(struct client *c, const struct header *headers, size_t count)
{
    for (size_t i = 0; i < count; i++)
        peer_put(c, " %.*s=%.*s", (int)headers[i].name.len, (const char *)headers[i].name.ptr,
                 headers[i].value.len > 64 ? 0 : (int)headers[i].value.len,
                 (const char *)headers[i].value.ptr);
}

static inline void peer_on_end(struct client *c)
{
    peer_client_of(c)->ends++;
    c->kind = NULL;
}

static inline void peer_on_respond(struct client *c, unsigned status, const struct header *headers,
                                   size_t count, struct slice body, bool more)
{
    peer_put(c, "respond(%u", status);
    peer_put_headers(c, headers, count);
    peer_put_slice(c, body);
    peer_put(c, more ? " more)" : " last)");
    if (!more && !c->is_websocket)
        peer_on_end(c);
}

static inline void peer_on_body(struct client *c, struct slice piece, bool more)
{
    peer_put(c, "body(");
    peer_put_slice(c, piece);
    peer_put(c, more ? " more)" : " last)");
    if (!more && !c->is_websocket)
        peer_on_end(c);
}

static inline void peer_on_accept(struct client *c, struct slice subprotocol,
                                  const struct header *headers, size_t count)
{
    peer_put(c, "accept(");
    peer_put_slice(c, subprotocol);
    peer_put_headers(c, headers, count);
    peer_put(c, ")");
}

static inline void peer_on_send(struct client *c, enum message_kind kind, struct slice data,
                                bool first, bool last)
{
    peer_put(c, "send(%s", kind == MESSAGE_TEXT ? "text" : "binary");
    peer_put_slice(c, data);
    peer_put(c, "%s%s)", first ? " first" : "", last ? " last" : "");
}

static inline void peer_on_close(struct client *c, uint16_t code, struct slice reason)
{
    peer_put(c, "close(%u", code);
    peer_put_slice(c, reason);
    peer_put(c, ")");
}

static inline void peer_on_consumed(struct client *c, size_t bytes, size_t messages)
{
    peer_put(c, "consumed(%zu %zu)", bytes, messages);
}

static inline void peer_on_retire(struct client *c, uint64_t delay_ms)
{
    peer_put(c, "retire(%lu)", (unsigned long)delay_ms);
}

static inline void peer_on_fail(struct client *c, enum client_failure why)
{
    static const char *const names[] = {"raised", "returned", "lost", "bad event"};
    peer_put(c, "fail(%s)", names[why]);
    peer_on_end(c);
}

static const struct client_ops peer_client_ops = {
    .respond = peer_on_respond,
    .body = peer_on_body,
    .accept = peer_on_accept,
    .send = peer_on_send,
    .close = peer_on_close,
    .consumed = peer_on_consumed,
    .retire = peer_on_retire,
    .fail = peer_on_fail,
};

static inline void peer_client_init(struct peer_client *p, bool is_websocket)
{
    memset(p, 0, sizeof(*p));
    p->client.ops = &peer_client_ops;
    p->client.is_websocket = is_websocket;
}

/* What the client was told since the last look. */
static inline void peer_assert_told(struct peer_client *p, const char *want)
{
    p->trace[p->len] = '\0';
    assert_string_equal(p->trace, want);
    p->len = 0;
}

/* ---- the worker ---- */

/* @ours is for the link; the result is the worker's end. */
static inline int peer_socket(int *ours)
{
    int fds[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds), 0);
    *ours = fds[0];
    return fds[1];
}

static inline void peer_turn(struct loop *loop)
{
    uv_run(&loop->uv, UV_RUN_NOWAIT);
}

static inline void peer_send(struct loop *loop, int worker, struct slice bytes)
{
    assert_int_equal(send(worker, bytes.ptr, bytes.len, MSG_NOSIGNAL), bytes.len);
    peer_turn(loop);
}

#define PEER_TEXT(literal) slice_make((literal), sizeof(literal) - 1)

/* Reads exactly @len bytes that the link sent, turning the loop until they are there. */
static inline void peer_receive(struct loop *loop, int worker, uint8_t *out, size_t len)
{
    size_t got = 0;
    for (unsigned turns = 0; got < len && turns < 10000; turns++) {
        const ssize_t count = recv(worker, out + got, len - got, 0);
        assert_true(count > 0 || (count < 0 && errno == EAGAIN));
        if (count > 0)
            got += (size_t)count;
        else
            peer_turn(loop);
    }
    assert_int_equal(got, len);
}

/* The link sent these bytes and no more. */
static inline void peer_expect(struct loop *loop, int worker, struct slice want)
{
    uint8_t *got = malloc(want.len + 1);
    assert_non_null(got);
    peer_turn(loop);
    peer_receive(loop, worker, got, want.len);
    if (want.len > 0)
        assert_memory_equal(got, want.ptr, want.len);
    assert_true(recv(worker, got, 1, 0) < 0 && errno == EAGAIN);
    free(got);
}

/* Writes the msgpack form of an id that is used in the records of a test: always nine bytes. */
static inline void peer_put_id(uint8_t *at, uint64_t id)
{
    *at++ = 0xcf;
    for (unsigned i = 0; i < 8; i++)
        *at++ = (uint8_t)(id >> (56 - 8 * i));
}

/* Sends @record with each run of nine '#' in it replaced by @id. */
static inline void peer_send_for(struct loop *loop, int worker, uint64_t id, struct slice record)
{
    uint8_t *copy = malloc(record.len);
    assert_non_null(copy);
    memcpy(copy, record.ptr, record.len);
    for (size_t i = 0; i + 9 <= record.len; i++)
        if (memcmp(copy + i, "#########", 9) == 0)
            peer_put_id(copy + i, id);
    peer_send(loop, worker, slice_make(copy, record.len));
    free(copy);
}

#endif
