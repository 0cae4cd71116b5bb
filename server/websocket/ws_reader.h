/* SPDX-License-Identifier: BSD-3-Clause
 *
 * ws_reader: the reading half of one WebSocket connection, server side (RFC 6455 section 5).
 *
 * Why: bytes from the socket go in, events come out; nothing is copied. Payload is unmasked and
 * checked where it lies, and a message that arrives in pieces is told in pieces, so no declared
 * length makes us allocate. What waits between two reads is a part of a header (kept inside) or a
 * part of a control frame (at most 125 bytes, allocated for that time): an idle connection holds
 * this struct and no more.
 *
 * Happy path: header, payload, header, ... until the peer's close frame.
 * Failures:   a violation is told once, with the code to close with; whatever comes after it, or
 *             after the close frame, is swallowed.
 *
 * Thread: owner only.
 */
#ifndef SERVER_WEBSOCKET_WS_READER_H
#define SERVER_WEBSOCKET_WS_READER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/slice.h"
#include "core/text.h"
#include "server/websocket/ws_frame.h"

/* Ceilings, 0: none. Shared by all connections. They count bytes on the wire: what a deflated
 * message grows to is limited where it is inflated. */
struct ws_limits {
    uint64_t max_message_bytes;
    uint64_t max_frame_bytes;
};

enum ws_event_kind {
    WS_EVENT_MORE,      /* the input is used up */
    WS_EVENT_DATA,      /* a piece of a message, maybe the whole */
    WS_EVENT_PING,      /* answer with a pong that carries data */
    WS_EVENT_PONG,      /* data is what our ping carried, if it answers one */
    WS_EVENT_CLOSE,     /* last event; data is the reason as UTF-8 */
    WS_EVENT_VIOLATION, /* last event; close with close_code */
};

struct ws_event {
    enum ws_event_kind kind;
    uint16_t close_code;   /* CLOSE: the peer's, WS_CLOSE_NO_CODE if absent; VIOLATION: ours */
    uint8_t opcode;        /* DATA: WS_TEXT or WS_BINARY, of the message */
    bool first;            /* DATA: the message begins here */
    bool fin;              /* DATA: the message is complete */
    bool deflated;         /* DATA: of a deflated message; its UTF-8 is not checked here */
    struct slice data;     /* unmasked; borrowed until the next call */
    const char *violation; /* VIOLATION: static text naming what is wrong */
};

struct ws_reader {
    /* private */
    const struct ws_limits *limits;
    uint8_t *control;       /* payload of the control frame being read or told, else NULL */
    uint64_t frame_left;    /* payload bytes of this frame still to come */
    uint64_t message_bytes; /* declared by the frames of this message so far */
    uint8_t header[WS_HEADER_MAX];
    uint8_t header_len; /* bytes of an incomplete header */
    uint8_t control_len;
    uint8_t mask_key[4]; /* turned: the first byte fits the next byte of payload */
    uint8_t state;
    uint8_t frame_opcode;   /* of a control frame */
    uint8_t message_opcode; /* WS_CONTINUATION between messages */
    uint8_t rsv_allowed;
    struct utf8 utf8;
    bool frame_fin;
    bool told; /* the message has had an event */
    bool deflated;
};

/* Makes @r ready for the first byte after the handshake. Ownership: borrows @limits for as long as
 * @r is used. */
void ws_reader_init(struct ws_reader *r, const struct ws_limits *limits);

/* From now on messages may be deflated (RFC 7692 was negotiated). */
void ws_reader_allow_deflate(struct ws_reader *r);

/* Frees what an unfinished control frame holds. */
void ws_reader_deinit(struct ws_reader *r);

/* Takes bytes from *@in, tells the next event in *@ev and moves *@in and *@len behind what it
 * took. To be called until WS_EVENT_MORE, which leaves *@len at 0.
 *
 * A message within one frame within the input is one event, both first and fin. Others come in
 * pieces, which may end inside a UTF-8 sequence; only the last piece of a message may be empty.
 * Control frames are told in their place between the pieces.
 *
 * Ownership: borrows the input and overwrites it (unmasking). */
void ws_reader_next(struct ws_reader *r, struct ws_event *ev, uint8_t **in, size_t *len);

#endif
