/* SPDX-License-Identifier: BSD-3-Clause
 *
 * ws_trace: what a WebSocket reader tells, written down as text that does not depend on where the
 * input was split: text{Hello} ping(abc) binary{..} close(1000 bye) violation(1002 not masked).
 *
 * Why: tests compare one string, whatever the chunks. Pieces of a message are joined; of a message
 * that a violation cuts off nothing is kept.
 */
#ifndef TESTS_SUPPORT_WS_TRACE_H
#define TESTS_SUPPORT_WS_TRACE_H

#include "server/websocket/ws_reader.h"

#include "tests/support/unit.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { WS_TRACE_SIZE = 512 * 1024 };

struct ws_trace {
    char text[WS_TRACE_SIZE];
    size_t len;
    size_t message_at; /* where the message being read begins */
    bool inside;       /* a message */
    size_t events;
};

static inline void ws_trace_put(struct ws_trace *t, struct slice bytes)
{
    assert_true(bytes.len < sizeof(t->text) - t->len);
    if (bytes.len > 0)
        memcpy(t->text + t->len, bytes.ptr, bytes.len);
    t->len += bytes.len;
    t->text[t->len] = '\0';
}

static inline void ws_trace_put_str(struct ws_trace *t, const char *str)
{
    ws_trace_put(t, slice_str(str));
}

static inline void ws_trace_put_control(struct ws_trace *t, const char *name, struct slice payload)
{
    ws_trace_put_str(t, name);
    ws_trace_put_str(t, "(");
    ws_trace_put(t, payload);
    ws_trace_put_str(t, ")");
}

static inline void ws_trace_put_code(struct ws_trace *t, const char *name, unsigned code,
                                     struct slice text)
{
    char line[32];
    snprintf(line, sizeof(line), "%s(%u ", name, code);
    ws_trace_put_str(t, line);
    ws_trace_put(t, text);
    ws_trace_put_str(t, ")");
}

static inline void ws_trace_put_data(struct ws_trace *t, const struct ws_event *ev)
{
    assert_int_equal(ev->first, !t->inside);
    assert_true(ev->fin || ev->data.len > 0);
    if (ev->first) {
        t->message_at = t->len;
        ws_trace_put_str(t, ev->deflated ? "deflated " : "");
        ws_trace_put_str(t, ev->opcode == WS_TEXT ? "text{" : "binary{");
    }
    ws_trace_put(t, ev->data);
    ws_trace_put_str(t, ev->fin ? "}" : "");
    t->inside = !ev->fin;
}

static inline void ws_trace_put_event(struct ws_trace *t, const struct ws_event *ev)
{
    t->events++;
    switch (ev->kind) {
    case WS_EVENT_MORE:
        break;
    case WS_EVENT_DATA:
        ws_trace_put_data(t, ev);
        break;
    case WS_EVENT_PING:
        ws_trace_put_control(t, "ping", ev->data);
        break;
    case WS_EVENT_PONG:
        ws_trace_put_control(t, "pong", ev->data);
        break;
    case WS_EVENT_CLOSE:
        ws_trace_put_code(t, "close", ev->close_code, ev->data);
        break;
    case WS_EVENT_VIOLATION:
        if (t->inside)
            t->len = t->message_at;
        ws_trace_put_code(t, "violation", ev->close_code, slice_str(ev->violation));
        break;
    }
}

/* Reads @len bytes from a block of exactly that size, which the sanitizer watches. */
static inline void ws_trace_feed(struct ws_reader *r, struct ws_trace *t, const uint8_t *in,
                                 size_t len)
{
    uint8_t *block = malloc(len > 0 ? len : 1);
    assert_non_null(block);
    memcpy(block, in, len);
    uint8_t *next = block;
    size_t left = len;
    struct ws_event ev;
    do {
        const size_t before = left;
        ws_reader_next(r, &ev, &next, &left);
        assert_true(left <= before && next == block + len - left);
        ws_trace_put_event(t, &ev);
    } while (ev.kind != WS_EVENT_MORE);
    assert_int_equal(left, 0);
    free(block);
}

static inline void ws_trace_init(struct ws_trace *t)
{
    t->len = 0;
    t->text[0] = '\0';
    t->inside = false;
    t->events = 0;
}

/* How the input is cut: @first bytes, then @rest bytes at a time, or at random from @seed. */
struct ws_trace_cut {
    size_t first;
    size_t rest;
    uint64_t *seed;
};

static inline void ws_trace_read(struct ws_trace *t, const struct ws_limits *limits,
                                 struct slice wire, struct ws_trace_cut cut)
{
    struct ws_reader r;
    ws_reader_init(&r, limits);
    ws_trace_init(t);
    size_t chunk = cut.first;
    for (size_t at = 0; at < wire.len; at += chunk, chunk = cut.rest) {
        if (cut.seed != NULL)
            chunk = 1 + unit_random(cut.seed) % (unit_random(cut.seed) % 8 == 0 ? 500 : 9);
        if (chunk > wire.len - at)
            chunk = wire.len - at;
        if (chunk == 0) /* a split before the first byte */
            ws_trace_feed(&r, t, wire.ptr, 0);
        else
            ws_trace_feed(&r, t, wire.ptr + at, chunk);
    }
    ws_reader_deinit(&r);
}

static inline void ws_trace_assert(const struct ws_trace *got, const char *want, size_t want_len,
                                   const char *why)
{
    if (got->len != want_len || memcmp(got->text, want, want_len) != 0)
        fail_msg("%s: got %s, want %s", why, got->text, want);
}

#endif
