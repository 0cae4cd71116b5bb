/* SPDX-License-Identifier: BSD-3-Clause */
#include "bench/load/ws.h"

#include <assert.h>

static const uint8_t normal_closure[] = {0x03, 0xe8}; /* 1000 */

static void move(struct ws *ws, enum ws_state next)
{
    assert(next == WS_NONE || next == ws->state + 1);
    ws->state = next;
}

static void end(struct ws *ws, const char *why)
{
    enum ws_end how = WS_END_LOST;

    if (ws->state == WS_UPGRADING)
        how = WS_END_REFUSED;
    else if (ws->state == WS_CLOSING && ws->is_close_answered)
        how = WS_END_CLOSED;
    stream_close(&ws->stream);
    move(ws, WS_NONE);
    ws->ops->ended(ws, how, why);
}

static enum err append(struct ws *ws, enum frame_opcode opcode, struct slice payload)
{
    ws->mask = ws->mask * 1664525U + 1013904223U;
    return frame_append(&ws->stream.out, opcode, payload, ws->mask);
}

static void on_connected(struct stream *s)
{
    struct ws *ws = (struct ws *)s;
    const struct slice request = upgrade_request(ws->upgrade);

    if (buf_append(&s->out, request.ptr, request.len) != ERR_OK)
        end(ws, "out of memory");
}

static void on_close_frame(struct ws *ws)
{
    if (ws->state != WS_CLOSING) {
        end(ws, "the server closed the WebSocket");
        return;
    }
    ws->is_close_answered = true; /* the server ends the stream: RFC 6455 section 7.1.1 */
}

/* A data frame: a whole message is handed out from where it was read. */
static void on_data(struct ws *ws, const struct frame *frame)
{
    const bool continues = frame->opcode == FRAME_CONTINUATION;

    if (continues != ws->is_in_pieces) {
        end(ws, "a fragment that does not belong there");
        return;
    }
    if (frame->is_final && !continues) {
        ws->ops->message(ws, frame->payload);
        return;
    }
    if (buf_append(&ws->pieces, frame->payload.ptr, frame->payload.len) != ERR_OK) {
        end(ws, "a message of over 1 MiB");
        return;
    }
    ws->is_in_pieces = !frame->is_final;
    if (frame->is_final) {
        const struct slice text = buf_slice(&ws->pieces);
        ws->pieces.len = 0;
        ws->ops->message(ws, text);
    }
}

static void on_frame(struct ws *ws, const struct frame *frame)
{
    switch (frame->opcode) {
    case FRAME_CONTINUATION:
    case FRAME_TEXT:
        on_data(ws, frame);
        break;
    case FRAME_CLOSE:
        on_close_frame(ws);
        break;
    case FRAME_PING:
        if (append(ws, FRAME_PONG, frame->payload) != ERR_OK)
            end(ws, "out of memory");
        break;
    case FRAME_PONG:
        break;
    default:
        end(ws, "a frame of a kind that was not asked for");
    }
}

static size_t on_bytes(struct stream *s, struct slice in)
{
    struct ws *ws = (struct ws *)s;
    size_t at = 0;

    if (ws->state == WS_UPGRADING) {
        const enum upgrade_scan scan = upgrade_scan(ws->upgrade, &at, in);
        if (scan == UPGRADE_MORE)
            return 0;
        if (scan == UPGRADE_REFUSED) {
            end(ws, "the server did not answer the upgrade with a valid 101");
            return 0;
        }
        move(ws, WS_OPEN);
        ws->ops->opened(ws);
    }
    while (ws->state != WS_NONE && at < in.len) {
        struct frame frame;
        size_t used = 0;
        const enum frame_scan scan =
            frame_scan(&frame, &used, slice_make(in.ptr + at, in.len - at));
        if (scan == FRAME_SCAN_MORE)
            break;
        if (scan == FRAME_SCAN_BROKEN) {
            end(ws, "a broken frame");
            break;
        }
        at += used;
        on_frame(ws, &frame);
    }
    return at;
}

static void on_ended(struct stream *s, const char *why)
{
    end((struct ws *)s, why != NULL ? why : "the server ended the connection");
}

static const struct stream_ops stream_ops = {
    .connected = on_connected,
    .bytes = on_bytes,
    .ended = on_ended,
};

enum err ws_open(struct ws *ws, struct loop *loop, const struct ws_ops *ops,
                 const struct upgrade *upgrade, const struct sockaddr_in *server, unsigned number)
{
    assert(ws->state == WS_NONE);
    const enum err err = stream_open(&ws->stream, loop, &stream_ops, server, number);
    if (err != ERR_OK)
        return err;
    ws->ops = ops;
    ws->upgrade = upgrade;
    ws->mask = number;
    ws->is_close_answered = false;
    if (ws->pieces.max_bytes == 0)
        buf_init(&ws->pieces, FRAME_MAX_PAYLOAD_BYTES);
    ws->pieces.len = 0;
    ws->is_in_pieces = false;
    move(ws, WS_UPGRADING);
    return ERR_OK;
}

enum err ws_send(struct ws *ws, struct slice text)
{
    assert(ws->state == WS_OPEN);
    return append(ws, FRAME_TEXT, text);
}

void ws_close(struct ws *ws)
{
    assert(ws->state == WS_OPEN);
    move(ws, WS_CLOSING);
    if (append(ws, FRAME_CLOSE, slice_make(normal_closure, sizeof(normal_closure))) != ERR_OK)
        end(ws, "out of memory");
}

void ws_deinit(struct ws *ws)
{
    stream_deinit(&ws->stream);
    buf_deinit(&ws->pieces);
    ws->state = WS_NONE;
}
