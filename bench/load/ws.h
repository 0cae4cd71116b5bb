/* SPDX-License-Identifier: BSD-3-Clause
 *
 * ws: a WebSocket client on a stream.
 *
 * Why: every scenario but one speaks WebSocket; here is what they share: handshake, messages in
 * pieces, pings, the closing handshake.
 *
 * Life: zeroed -> ws_open() -> opened() -> message()* -> ended(), once. After ended() it may be
 * opened again, from the next turn of the loop on.
 *
 * Thread: owner only.
 */
#ifndef BENCH_LOAD_WS_H
#define BENCH_LOAD_WS_H

#include "bench/load/frame.h"
#include "bench/load/stream.h"
#include "bench/load/upgrade.h"

struct ws;

enum ws_end {
    WS_END_REFUSED, /* it never opened */
    WS_END_LOST,    /* the server closed or broke it */
    WS_END_CLOSED,  /* closed by ws_close(), and the server agreed */
};

struct ws_ops {
    void (*opened)(struct ws *ws);
    void (*message)(struct ws *ws, struct slice text);
    /* The connection is gone; @why is for people. */
    void (*ended)(struct ws *ws, enum ws_end end, const char *why);
};

enum ws_state {
    WS_NONE,      /* no connection */
    WS_UPGRADING, /* from ws_open() to the answer of the server */
    WS_OPEN,
    WS_CLOSING, /* close frame sent; waiting for the server's, and for the end of the stream */
};

struct ws {
    struct stream stream; /* first: a stream of ours is its ws */
    enum ws_state state;
    bool is_close_answered;
    const struct ws_ops *ops;
    const struct upgrade *upgrade; /* borrowed */
    uint32_t mask;                 /* of the next frame; changes with each */
    bool is_in_pieces;             /* a message of several frames has begun */
    struct buf pieces;             /* what came of it */
};

/* Errors: of stream_open(); nothing is called then. */
enum err ws_open(struct ws *ws, struct loop *loop, const struct ws_ops *ops,
                 const struct upgrade *upgrade, const struct sockaddr_in *server,
                 unsigned number) MUST_CHECK;

/* Queues a text message of an open WebSocket. It goes out at the end of the event that is handled,
 * or by stream_flush(). Errors: ERR_TOO_BIG when STREAM_MAX_BYTES wait already, ERR_NOMEM. */
enum err ws_send(struct ws *ws, struct slice text) MUST_CHECK;

/* Starts the closing handshake of an open WebSocket with code 1000; it goes out as ws_send(). */
void ws_close(struct ws *ws);

/* Drops the connection, if there is one, without a word; ended() is not called. Frees buffers. */
void ws_deinit(struct ws *ws);

#endif
