/* SPDX-License-Identifier: BSD-3-Clause
 *
 * http_trace: what an HTTP reader tells, written down as text that does not depend on where the
 * input was split:
 *
 *   HEAD POST /a ?q=1 HTTP/1.1 host=x content-length=5 | length=5 keep
 *   [hello] END
 *   BAD 400 The request has more than one Host header.
 *
 * Why: tests and fuzz targets compare one string, whatever the chunks. Pieces of a body are joined.
 * It knows nothing of cmocka, which a fuzz target does not link: what is wrong here aborts.
 */
#ifndef TESTS_SUPPORT_HTTP_TRACE_H
#define TESTS_SUPPORT_HTTP_TRACE_H

#include "server/http/http_reader.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { HTTP_TRACE_SIZE = 256 * 1024 };

struct http_trace {
    char text[HTTP_TRACE_SIZE];
    size_t len;
    size_t requests; /* complete ones */
    bool in_body;
    bool is_bad;
    unsigned status; /* of BAD */
    size_t bad_at;   /* where BAD stands in the text */
};

static inline void http_trace_require(bool promise)
{
    if (!promise)
        abort();
}

static inline void http_trace_put(struct http_trace *t, struct slice bytes)
{
    http_trace_require(bytes.len < sizeof(t->text) - t->len);
    if (bytes.len > 0)
        memcpy(t->text + t->len, bytes.ptr, bytes.len);
    t->len += bytes.len;
    t->text[t->len] = '\0';
}

static inline void http_trace_put_str(struct http_trace *t, const char *str)
{
    http_trace_put(t, slice_str(str));
}

static inline void http_trace_put_part(struct http_trace *t, const char *before, struct slice part)
{
    http_trace_put_str(t, before);
    http_trace_put(t, part);
}

static inline void http_trace_put_head(struct http_trace *t, const struct http_head *head)
{
    char number[48];
    http_trace_put_part(t, "HEAD ", head->line.method);
    http_trace_put_part(t, " ", head->line.path);
    if (head->line.query.len > 0)
        http_trace_put_part(t, " ?", head->line.query);
    http_trace_put_str(t, head->line.minor == 1 ? " HTTP/1.1" : " HTTP/1.0");
    for (size_t i = 0; i < head->header_count; i++) {
        http_trace_put_part(t, " ", head->headers[i].name);
        http_trace_put_part(t, "=", head->headers[i].value);
    }
    http_trace_put_str(t, " |");
    if (head->has_length) {
        snprintf(number, sizeof(number), " length=%llu", (unsigned long long)head->content_length);
        http_trace_put_str(t, number);
    }
    http_trace_put_str(t, head->is_chunked ? " chunked" : "");
    http_trace_put_str(t, head->keep_alive ? " keep" : "");
    http_trace_put_str(t, head->expects_continue ? " expect" : "");
    http_trace_put_str(t, head->has_upgrade ? " upgrade" : "");
    http_trace_put_str(t, "\n");
}

static inline void http_trace_put_event(struct http_trace *t, const struct http_event *event,
                                        const struct http_head *head)
{
    char status[32];
    http_trace_require(!t->is_bad || event->kind == HTTP_EVENT_MORE);
    if (t->in_body && event->kind != HTTP_EVENT_BODY && event->kind != HTTP_EVENT_MORE) {
        http_trace_put_str(t, "] ");
        t->in_body = false;
    }
    switch (event->kind) {
    case HTTP_EVENT_MORE:
        return;
    case HTTP_EVENT_HEAD:
        http_trace_put_head(t, head);
        return;
    case HTTP_EVENT_BODY:
        http_trace_require(event->data.len > 0);
        http_trace_put_part(t, t->in_body ? "" : "[", event->data);
        t->in_body = true;
        return;
    case HTTP_EVENT_END:
        t->requests++;
        http_trace_put_str(t, "END\n");
        return;
    case HTTP_EVENT_BAD:
        http_trace_require(event->reason != NULL && event->status >= 400 && event->status < 600);
        t->is_bad = true;
        t->status = event->status;
        t->bad_at = t->len;
        snprintf(status, sizeof(status), "BAD %u ", event->status);
        http_trace_put_str(t, status);
        http_trace_put_str(t, event->reason);
        http_trace_put_str(t, "\n");
        return;
    }
}

/* What is known of a head that is not complete must be bytes that exist: it goes to the access log.
 */
static inline void http_trace_look_at(const struct http_head *head)
{
    const struct slice parts[] = {head->line.method, head->line.target, head->line.path,
                                  head->line.query, head->line.authority};
    for (size_t n = 0; n < sizeof(parts) / sizeof(parts[0]); n++) {
        size_t sum = 0;
        for (size_t i = 0; i < parts[n].len; i++)
            sum += parts[n].ptr[i];
        http_trace_require(sum <= parts[n].len * UINT8_MAX);
    }
}

/* Reads @len bytes from a block of exactly that size, which the sanitizer watches. */
static inline void http_trace_feed(struct http_trace *t, struct http_reader *r,
                                   struct http_head *head, const uint8_t *in, size_t len)
{
    uint8_t *block = malloc(len > 0 ? len : 1);
    http_trace_require(block != NULL);
    if (len > 0)
        memcpy(block, in, len);
    const uint8_t *next = block;
    size_t left = len;
    struct http_event event;
    do {
        const size_t before = left;
        http_reader_next(r, &event, &next, &left);
        http_trace_require(left <= before && next == block + len - left);
        http_trace_put_event(t, &event, head);
        http_trace_look_at(head);
        if (event.kind == HTTP_EVENT_END) {
            http_head_reset(head);
            http_reader_begin(r, head);
        }
    } while (event.kind != HTTP_EVENT_MORE && event.kind != HTTP_EVENT_BAD);
    http_trace_require(event.kind == HTTP_EVENT_BAD || t->is_bad || left == 0);
    free(block);
}

/* Reads @wire: @first bytes, then @rest bytes at a time. */
static inline void http_trace_read(struct http_trace *t, const struct http_limits *limits,
                                   struct slice wire, size_t first, size_t rest)
{
    struct http_reader r;
    struct http_head head;
    t->len = t->requests = 0;
    t->text[0] = '\0';
    t->in_body = t->is_bad = false;
    t->status = 0;
    http_head_init(&head, limits);
    http_reader_init(&r, limits);
    http_reader_begin(&r, &head);
    size_t chunk = first;
    for (size_t at = 0; at < wire.len && !t->is_bad; at += chunk, chunk = rest) {
        if (chunk > wire.len - at)
            chunk = wire.len - at;
        http_trace_feed(t, &r, &head, wire.ptr + at, chunk);
    }
    http_head_deinit(&head);
}

#endif
