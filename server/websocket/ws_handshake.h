/* SPDX-License-Identifier: BSD-3-Clause
 *
 * ws_handshake: decides whether an HTTP request opens a WebSocket (RFC 6455 section 4.2).
 *
 * Why: one place knows the rules of the opening handshake; it sees the parsed head and no socket,
 * and writes no answer. Whether the path, the origin or the application want the client is asked
 * elsewhere.
 *
 * Thread: any.
 */
#ifndef SERVER_WEBSOCKET_WS_HANDSHAKE_H
#define SERVER_WEBSOCKET_WS_HANDSHAKE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/err.h"
#include "core/header.h"
#include "core/slice.h"

enum { WS_HANDSHAKE_ACCEPT_SIZE = 29 }; /* base64 of 20 bytes, and a NUL */

enum ws_handshake_verdict {
    WS_HANDSHAKE_NONE,    /* no upgrade to WebSocket: plain HTTP */
    WS_HANDSHAKE_OK,      /* accept and version are set */
    WS_HANDSHAKE_REFUSED, /* status, reason and answer_headers are set; culprit may be */
};

struct ws_handshake_request {
    struct slice method;
    const struct header *headers;
    size_t header_count;
};

struct ws_handshake {
    char accept[WS_HANDSHAKE_ACCEPT_SIZE]; /* value of Sec-WebSocket-Accept */
    uint8_t version;            /* 13, or 8 (whose clients send Sec-WebSocket-Origin for Origin) */
    uint16_t status;            /* 400, 405, 426; 500 when the digest cannot be computed */
    const char *reason;         /* static text naming what is wrong with the request */
    struct slice culprit;       /* the value that is wrong, borrowed from the request; or empty */
    const char *answer_headers; /* whole lines that the answer must have, or "" */
};

/* Judges @request and fills @out. Whatever asks for the upgrade to websocket is one, so that a
 * broken one gets an answer that says why; other upgrades (h2c) are none. */
enum ws_handshake_verdict ws_handshake_check(struct ws_handshake *out,
                                             const struct ws_handshake_request *request) MUST_CHECK;

/* Walks the subprotocols that the client offers, in its order of preference. */
struct ws_handshake_offers {
    /* private */
    const struct header *next;
    const struct header *end;
    struct slice rest;
};

void ws_handshake_offers_init(struct ws_handshake_offers *offers, const struct header *headers,
                              size_t count);

/* The next name as it is on the wire (percent escapes and all); printable ASCII if
 * ws_handshake_check() was content. False when there are no more. */
bool ws_handshake_offers_next(struct slice *name, struct ws_handshake_offers *offers) MUST_CHECK;

#endif
