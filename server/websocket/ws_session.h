/* SPDX-License-Identifier: BSD-3-Clause
 *
 * ws_session: the WebSocket life of a connection, from the accepted handshake to the close.
 *
 * Why: this is where frames (ws_reader, ws_frame), the consumer (client.h) and the clocks of a
 * WebSocket meet.
 *
 * Life: OPEN -> CLOSING (our close frame is out; the peer's is awaited for a while) -> the
 * connection finishes. A peer that closes first is answered at once. What ends each: the peer
 * closes            its code is echoed; the consumer hears its code and reason the application
 * closes     its code goes out; the consumer hears the code the peer answered with, or 1006 a
 * broken frame             1002, 1007 or 1009 goes out; the consumer hears 1006 no pong in time
 * cut; 1006 the client takes nothing   over the ceiling 1013, then cut; 1013 the application fails
 * 1011; its worker is lost: 1012 the server stops           1001
 *
 * Thread: its edge's.
 */
#ifndef SERVER_WEBSOCKET_WS_SESSION_H
#define SERVER_WEBSOCKET_WS_SESSION_H

#include "server/http/http_exchange.h"

/* Takes the connection of @x, whose handshake was just accepted, over; @x is freed. */
void ws_session_begin(struct http_exchange *x);

#endif
