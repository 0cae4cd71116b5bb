/* SPDX-License-Identifier: BSD-3-Clause */
#include "server/websocket/ws_reader.h"

#include <assert.h>
#include <string.h>

#include "core/mem.h"

enum ws_reader_state {
    WS_READER_HEADER,  /* between frames, or inside a header */
    WS_READER_PAYLOAD, /* inside the payload of a data frame */
    WS_READER_CONTROL, /* inside the payload of a control frame; r->control is allocated */
    WS_READER_ENDED,   /* close frame or violation told: input is swallowed */
    WS_READER_STATES
};

#define TO(state) (1U << (state))

static const uint8_t next_states[WS_READER_STATES] = {
    [WS_READER_HEADER] = TO(WS_READER_PAYLOAD) | TO(WS_READER_CONTROL) | TO(WS_READER_ENDED),
    [WS_READER_PAYLOAD] = TO(WS_READER_HEADER) | TO(WS_READER_ENDED),
    [WS_READER_CONTROL] = TO(WS_READER_HEADER),
    [WS_READER_ENDED] = 0,
};

_Static_assert(sizeof(struct ws_reader) <= 64, "an idle connection pays for every byte");

/* The only function that writes r->state. */
static void reader_move(struct ws_reader *r, enum ws_reader_state next)
{
    assert((next_states[r->state] & TO(next)) != 0);
    r->state = (uint8_t)next;
}

void ws_reader_init(struct ws_reader *r, const struct ws_limits *limits)
{
    *r = (struct ws_reader){.limits = limits};
}

void ws_reader_allow_deflate(struct ws_reader *r)
{
    r->rsv_allowed = WS_RSV1;
}

void ws_reader_deinit(struct ws_reader *r)
{
    mem_free(r->control);
    r->control = NULL;
}

/* The functions below that return bool: true when they have filled @ev. */

static bool tell_more(struct ws_event *ev)
{
    *ev = (struct ws_event){.kind = WS_EVENT_MORE};
    return true;
}

static bool tell_violation(struct ws_reader *r, struct ws_event *ev, uint16_t code,
                           const char *what)
{
    reader_move(r, WS_READER_ENDED);
    *ev = (struct ws_event){.kind = WS_EVENT_VIOLATION, .close_code = code, .violation = what};
    return true;
}

/* Cuts the first @count bytes off the input. */
static uint8_t *take(uint8_t **in, size_t *len, size_t count)
{
    uint8_t *taken = *in;
    *in += count;
    *len -= count;
    return taken;
}

/* As much of the frame's payload as the input holds. */
static size_t piece_len(const struct ws_reader *r, size_t len)
{
    return len < r->frame_left ? len : (size_t)r->frame_left;
}

static bool tell_close(struct ws_reader *r, struct ws_event *ev, struct slice payload)
{
    uint16_t code = WS_CLOSE_NO_CODE;
    struct slice reason = payload;
    if (payload.len == 1)
        return tell_violation(r, ev, WS_CLOSE_PROTOCOL_ERROR, "close frame with half a code");
    if (payload.len >= 2) {
        code = (uint16_t)(payload.ptr[0] << 8 | payload.ptr[1]);
        reason = slice_make(payload.ptr + 2, payload.len - 2);
        if (!ws_close_code_is_valid(code))
            return tell_violation(r, ev, WS_CLOSE_PROTOCOL_ERROR, "invalid close code");
    }
    if (!utf8_is_valid(reason.ptr, reason.len))
        return tell_violation(r, ev, WS_CLOSE_INVALID_DATA, "close reason is not UTF-8");
    reader_move(r, WS_READER_ENDED);
    *ev = (struct ws_event){.kind = WS_EVENT_CLOSE, .close_code = code, .data = reason};
    return true;
}

static bool tell_control(struct ws_reader *r, struct ws_event *ev, struct slice payload)
{
    if (r->frame_opcode == WS_CLOSE)
        return tell_close(r, ev, payload);
    const bool ping = r->frame_opcode == WS_PING;
    *ev = (struct ws_event){.kind = ping ? WS_EVENT_PING : WS_EVENT_PONG, .data = payload};
    return true;
}

static bool begin_control(struct ws_reader *r, struct ws_event *ev, const struct ws_header *h,
                          uint8_t **in, size_t *len)
{
    r->frame_opcode = h->opcode;
    if (*len >= h->payload_len) {
        const size_t count = (size_t)h->payload_len;
        uint8_t *payload = take(in, len, count);
        ws_unmask(payload, count, r->mask_key);
        return tell_control(r, ev, slice_make(payload, count));
    }
    r->control = mem_alloc(WS_CONTROL_MAX);
    r->control_len = 0;
    reader_move(r, WS_READER_CONTROL);
    return false;
}

static bool read_control(struct ws_reader *r, struct ws_event *ev, uint8_t **in, size_t *len)
{
    assert(r->control != NULL);
    const size_t count = piece_len(r, *len);
    if (count == 0)
        return tell_more(ev);
    memcpy(r->control + r->control_len, take(in, len, count), count);
    r->control_len = (uint8_t)(r->control_len + count);
    r->frame_left -= count;
    if (r->frame_left > 0)
        return tell_more(ev);
    ws_unmask(r->control, r->control_len, r->mask_key);
    reader_move(r, WS_READER_HEADER);
    return tell_control(r, ev, slice_make(r->control, r->control_len));
}

/* NULL when @piece may stand here in the text; @fin when the message ends with it. */
static const char *text_fault(struct ws_reader *r, struct slice piece, bool ascii, bool fin)
{
    const bool skip = ascii && utf8_is_complete(&r->utf8);
    if (!skip && !utf8_feed(&r->utf8, piece.ptr, piece.len))
        return "text is not UTF-8";
    if (fin && !utf8_is_complete(&r->utf8))
        return "text ends inside a UTF-8 sequence";
    return NULL;
}

static bool read_payload(struct ws_reader *r, struct ws_event *ev, uint8_t **in, size_t *len)
{
    const size_t count = piece_len(r, *len);
    if (count == 0 && r->frame_left > 0)
        return tell_more(ev);
    uint8_t *data = take(in, len, count);
    const bool ascii = ws_unmask(data, count, r->mask_key);
    const struct slice piece = slice_make(data, count);
    r->frame_left -= count;
    const bool fin = r->frame_fin && r->frame_left == 0;
    if (r->message_opcode == WS_TEXT && !r->deflated) {
        const char *fault = text_fault(r, piece, ascii, fin);
        if (fault != NULL)
            return tell_violation(r, ev, WS_CLOSE_INVALID_DATA, fault);
    }
    *ev = (struct ws_event){
        .kind = WS_EVENT_DATA,
        .opcode = r->message_opcode,
        .first = !r->told,
        .fin = fin,
        .deflated = r->deflated,
        .data = piece,
    };
    r->told = true;
    if (fin)
        r->message_opcode = WS_CONTINUATION;
    if (r->frame_left == 0)
        reader_move(r, WS_READER_HEADER);
    return true;
}

/* NULL when a data frame with this opcode may come now. */
static const char *order_fault(const struct ws_reader *r, uint8_t opcode)
{
    const bool inside = r->message_opcode != WS_CONTINUATION;
    if (opcode == WS_CONTINUATION && !inside)
        return "continuation of no message";
    if (opcode != WS_CONTINUATION && inside)
        return "new message inside a fragmented one";
    return NULL;
}

static uint64_t ceiling(uint64_t limit_bytes)
{
    return limit_bytes == 0 ? UINT64_MAX : limit_bytes;
}

static bool begin_data(struct ws_reader *r, struct ws_event *ev, const struct ws_header *h)
{
    const char *fault = order_fault(r, h->opcode);
    if (fault != NULL)
        return tell_violation(r, ev, WS_CLOSE_PROTOCOL_ERROR, fault);
    if (h->opcode != WS_CONTINUATION) {
        r->message_opcode = h->opcode;
        r->message_bytes = 0;
        r->deflated = h->rsv1;
        r->told = false;
    }
    if (h->payload_len > ceiling(r->limits->max_frame_bytes))
        return tell_violation(r, ev, WS_CLOSE_TOO_BIG, "frame too big");
    const uint64_t most = ceiling(r->limits->max_message_bytes); /* a reload may have lowered it */
    if (r->message_bytes > most || h->payload_len > most - r->message_bytes)
        return tell_violation(r, ev, WS_CLOSE_TOO_BIG, "message too big");
    r->message_bytes += h->payload_len;
    r->frame_fin = h->fin;
    if (h->payload_len > 0 || h->fin) /* an empty frame in the middle is nothing to tell */
        reader_move(r, WS_READER_PAYLOAD);
    return false;
}

/* Scans where the header lies if it lies there whole; else puts its parts together. */
static enum ws_scan scan_header(struct ws_reader *r, struct ws_header *h, const char **fault,
                                uint8_t **in, size_t *len)
{
    const size_t had = r->header_len;
    if (*len == 0)
        return WS_SCAN_MORE;
    if (had == 0) {
        const enum ws_scan scan = ws_header_scan(h, fault, slice_make(*in, *len), r->rsv_allowed);
        if (scan == WS_SCAN_DONE)
            take(in, len, h->header_len);
        if (scan != WS_SCAN_MORE)
            return scan;
    }
    const size_t room = sizeof(r->header) - had;
    const size_t count = *len < room ? *len : room;
    memcpy(r->header + had, *in, count);
    const struct slice joined = slice_make(r->header, had + count);
    const enum ws_scan scan = ws_header_scan(h, fault, joined, r->rsv_allowed);
    if (scan == WS_SCAN_DONE)
        take(in, len, h->header_len - had);
    if (scan == WS_SCAN_MORE)
        take(in, len, count);
    r->header_len = scan == WS_SCAN_MORE ? (uint8_t)joined.len : 0;
    return scan;
}

static bool read_header(struct ws_reader *r, struct ws_event *ev, uint8_t **in, size_t *len)
{
    struct ws_header h = {0};
    const char *fault = NULL;
    switch (scan_header(r, &h, &fault, in, len)) {
    case WS_SCAN_MORE:
        return tell_more(ev);
    case WS_SCAN_VIOLATION:
        return tell_violation(r, ev, WS_CLOSE_PROTOCOL_ERROR, fault);
    case WS_SCAN_DONE:
        break;
    }
    if (!h.masked)
        return tell_violation(r, ev, WS_CLOSE_PROTOCOL_ERROR, "frame not masked");
    memcpy(r->mask_key, h.mask_key, sizeof(r->mask_key));
    r->frame_left = h.payload_len;
    return ws_opcode_is_control(h.opcode) ? begin_control(r, ev, &h, in, len)
                                          : begin_data(r, ev, &h);
}

void ws_reader_next(struct ws_reader *r, struct ws_event *ev, uint8_t **in, size_t *len)
{
    if (r->control != NULL && r->state != WS_READER_CONTROL)
        ws_reader_deinit(r); /* it was lent with the last event */
    bool filled = false;
    while (!filled) {
        switch ((enum ws_reader_state)r->state) {
        case WS_READER_HEADER:
            filled = read_header(r, ev, in, len);
            break;
        case WS_READER_PAYLOAD:
            filled = read_payload(r, ev, in, len);
            break;
        case WS_READER_CONTROL:
            filled = read_control(r, ev, in, len);
            break;
        case WS_READER_ENDED:
            if (*len > 0)
                take(in, len, *len);
            filled = tell_more(ev);
            break;
        case WS_READER_STATES:
            assert(false);
            return;
        }
    }
}
