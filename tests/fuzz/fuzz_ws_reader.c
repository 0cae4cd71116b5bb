/* SPDX-License-Identifier: BSD-3-Clause
 *
 * fuzz_ws_reader: frames from a stranger, whole and in chunks.
 *
 * The first byte of the input is the plan: bits 0-5 the size of the chunks (0: as large as the
 * rest), bit 6 sets small ceilings, bit 7 allows deflate. The rest is what the socket reads. Both
 * ways of reading must tell the same, and no event may break the promises of ws_reader.h.
 */
#include "server/websocket/ws_reader.h"

#include "tests/support/fuzz.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

enum {
    PLAN_CHUNK = 0x3f,
    PLAN_CEILINGS = 0x40,
    PLAN_DEFLATE = 0x80,
    SMALL_FRAME = 300,
    SMALL_MESSAGE = 400,
};

/* What a reading told, in a form that does not depend on the chunks. */
struct outcome {
    uint64_t hash;    /* of all bytes and events */
    uint64_t settled; /* hash at the last event that is the same for all chunk sizes */
    uint64_t message_bytes;
    struct utf8 utf8;
    bool inside; /* a message */
    bool ended;
    uint16_t close_code;
    const char *violation;
};

static void require(bool promise)
{
    if (!promise)
        abort();
}

static void hash_bytes(struct outcome *o, struct slice bytes)
{
    for (size_t i = 0; i < bytes.len; i++)
        o->hash = (o->hash ^ bytes.ptr[i]) * UINT64_C(0x100000001b3);
}

static void hash_number(struct outcome *o, uint64_t number)
{
    hash_bytes(o, slice_make(&number, sizeof(number)));
}

static void settle(struct outcome *o, const struct ws_event *ev)
{
    hash_number(o, (uint64_t)ev->kind);
    o->settled = o->hash;
}

static void see_data(struct outcome *o, const struct ws_event *ev, const struct ws_limits *limits)
{
    require(ev->first == !o->inside);
    require(ev->fin || ev->data.len > 0);
    require(ev->opcode == WS_TEXT || ev->opcode == WS_BINARY);
    if (ev->first) {
        o->message_bytes = 0;
        o->utf8 = (struct utf8){0};
        hash_number(o, ev->opcode);
    }
    o->message_bytes += ev->data.len;
    require(limits->max_message_bytes == 0 || o->message_bytes <= limits->max_message_bytes);
    hash_bytes(o, ev->data);
    if (ev->opcode == WS_TEXT && !ev->deflated) {
        require(utf8_feed(&o->utf8, ev->data.ptr, ev->data.len));
        require(!ev->fin || utf8_is_complete(&o->utf8));
    }
    o->inside = !ev->fin;
    if (ev->fin)
        settle(o, ev);
}

static void see(struct outcome *o, const struct ws_event *ev, const struct ws_limits *limits)
{
    require(!o->ended || ev->kind == WS_EVENT_MORE);
    switch (ev->kind) {
    case WS_EVENT_MORE:
        break;
    case WS_EVENT_DATA:
        see_data(o, ev, limits);
        break;
    case WS_EVENT_PING:
    case WS_EVENT_PONG:
        require(ev->data.len <= WS_CONTROL_MAX);
        hash_bytes(o, ev->data);
        settle(o, ev);
        break;
    case WS_EVENT_CLOSE:
        require(ev->close_code == WS_CLOSE_NO_CODE || ws_close_code_is_valid(ev->close_code));
        require(utf8_is_valid(ev->data.ptr, ev->data.len));
        hash_bytes(o, ev->data);
        settle(o, ev);
        o->close_code = ev->close_code;
        o->ended = true;
        break;
    case WS_EVENT_VIOLATION:
        require(ev->violation != NULL);
        o->violation = ev->violation;
        o->close_code = ev->close_code;
        o->ended = true;
        break;
    }
}

static void feed(struct ws_reader *r, struct outcome *o, const uint8_t *in, size_t len)
{
    uint8_t *block = malloc(len > 0 ? len : 1); /* of exactly that size: overreads are seen */
    require(block != NULL);
    if (len > 0)
        memcpy(block, in, len);
    uint8_t *next = block;
    size_t left = len;
    struct ws_event ev;
    do {
        const size_t before = left;
        ws_reader_next(r, &ev, &next, &left);
        require(left < before || ev.kind == WS_EVENT_MORE || ev.kind == WS_EVENT_VIOLATION);
        see(o, &ev, r->limits);
    } while (ev.kind != WS_EVENT_MORE);
    require(left == 0);
    free(block);
}

static struct outcome read_all(const uint8_t *in, size_t len, size_t chunk, uint8_t plan)
{
    const struct ws_limits limits = {
        .max_message_bytes = (plan & PLAN_CEILINGS) != 0 ? SMALL_MESSAGE : 0,
        .max_frame_bytes = (plan & PLAN_CEILINGS) != 0 ? SMALL_FRAME : 0,
    };
    struct outcome o = {.hash = UINT64_C(0xcbf29ce484222325)};
    struct ws_reader r;
    ws_reader_init(&r, &limits);
    if ((plan & PLAN_DEFLATE) != 0)
        ws_reader_allow_deflate(&r);
    for (size_t at = 0; at < len; at += chunk)
        feed(&r, &o, in + at, len - at < chunk ? len - at : chunk);
    ws_reader_deinit(&r);
    return o;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2)
        return 0;
    const uint8_t plan = data[0];
    const size_t len = size - 1;
    const size_t chunk = (plan & PLAN_CHUNK) == 0 ? len : plan & PLAN_CHUNK;
    const struct outcome whole = read_all(data + 1, len, len, plan);
    const struct outcome parts = read_all(data + 1, len, chunk, plan);
    require(whole.settled == parts.settled);
    require(whole.close_code == parts.close_code && whole.ended == parts.ended);
    require(whole.violation == parts.violation);
    return 0;
}
