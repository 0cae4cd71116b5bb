/* SPDX-License-Identifier: BSD-3-Clause
 *
 * conn: one client connection: bytes in, bytes out, and who reads them.
 *
 * Why: HTTP and WebSocket share everything below the bytes: the socket, the writer, the deadline,
 * input that cannot be taken yet, and the ways a connection ends.
 *
 * Life: OPEN -> FINISHING (what is queued goes out, then our side is shut, then the peer's end or a
 * short deadline is awaited, so that a close followed by unread input does not reset the connection
 * and take the last bytes with it) -> CLOSED. Or OPEN -> CLOSED at once: conn_abort(), or the peer
 * is gone; but input that is held goes to its consumer first, which has the application close
 * timeout to take some of it. The memory goes in the handle's close callback.
 *
 * Thread: its edge's.
 */
#ifndef SERVER_TRANSPORT_CONN_H
#define SERVER_TRANSPORT_CONN_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

#include "consumers/client.h"
#include "core/buf.h"
#include "core/dlist.h"
#include "core/err.h"
#include "core/wheel.h"
#include "core/writer.h"
#include "server/transport/edge.h"

enum conn_state { CONN_OPEN, CONN_FINISHING, CONN_CLOSED, CONN_STATES };

struct conn;

/* Who reads a connection: http_exchange or ws_session. */
struct conn_protocol {
    /* Takes bytes (it may change them in place) and returns how many it took. What it leaves is
     * held and given again, with what came behind it, after conn_go_on(). */
    size_t (*feed)(struct conn *c, uint8_t *in, size_t len);
    /* Output left. */
    void (*drained)(struct conn *c);
    /* The deadline passed. */
    void (*expired)(struct conn *c);
    /* The connection ends without conn_finish(): the consumer must hear of it now. */
    void (*lost)(struct conn *c);
    /* Whether no consumer is engaged, so that only queued output is left to do. */
    bool (*is_idle)(const struct conn *c);
    /* Whether a whole request is being answered: a peer that shuts its side may still want that. */
    bool (*is_answering)(const struct conn *c);
    /* Whether a peer that can be sent nothing any more is still to be heard to its end. */
    bool (*takes_the_rest)(const struct conn *c);
    /* The edge drains: end when it is polite to. */
    void (*drain)(struct conn *c);
    /* The connection's memory goes. */
    void (*release)(struct conn *c);
};

struct conn {
    struct dlist link; /* in edge->conns */
    struct dlist todo; /* in edge->todo */
    struct edge *edge;
    struct writer writer;
    struct client client;
    const struct conn_protocol *protocol;
    void *protocol_state;
    uint64_t progress_ms; /* when output last left, or began to wait; see conn_is_stuck() */
    union {
        struct sockaddr any;
        struct sockaddr_in in;
        struct sockaddr_in6 in6;
    } peer;
    bool is_unix;
    /* private */
    uint8_t state;
    bool reading;
    bool must_abort;
    bool must_reset;
    bool must_dismiss;
    bool must_drain;
    uint16_t dismiss_code;
    struct wheel_entry timer;
    uint64_t timer_at_ms;   /* deadline that is set, 0: none */
    uint64_t peer_ended_ms; /* when its end was seen, or what is held was taken after that; 0: not
                               seen, or acted upon */
    size_t stuck_bytes;     /* what waited in full sockets at the last look */
    struct buf held;
    union {
        uv_stream_t stream;
        uv_tcp_t tcp;
        uv_pipe_t pipe;
    } handle;
};

/* Accepts the connection that waits at @server, which admission_enter() let in, and begins to read
 * it as HTTP; or answers it 503 (@refuse). Errors: ERR_IO and others when it went away meanwhile;
 * nothing is left then. */
enum err conn_accept(struct edge *e, uv_stream_t *server, bool is_unix, bool refuse) MUST_CHECK;

/* The same for @fd, a connection that was accepted already. Takes @fd, also on error. */
enum err conn_adopt(struct edge *e, int fd, bool is_unix, bool refuse) MUST_CHECK;

bool conn_is_open(const struct conn *c);

/* Makes sure that expired() is called at @deadline_ms or before (it may come early: look at the
 * time). */
void conn_wake_at(struct conn *c, uint64_t deadline_ms);

/* The protocol can take held input again. Nothing is fed inside this call. */
void conn_go_on(struct conn *c);

/* From the edge: what conn_go_on() put off. */
void conn_resume(struct conn *c);

/* Hands the connection to another protocol; held input goes to it in the next turn. */
void conn_switch(struct conn *c, const struct conn_protocol *protocol, void *state);

/* Credit is given back to a consumer in steps of so much (docs/link-protocol.md). */
enum { CONN_CREDIT_BYTES = 32 * 1024 };

/* How many of the *@unacked bytes that a consumer sent have left, taken off them; 0 while it is
 * less than a step. What frames and heads add counts as if it were still the consumer's: that only
 * delays. */
size_t conn_take_credit(const struct conn *c, size_t *unacked);

/* Bytes that wait to be written. */
size_t conn_queued(const struct conn *c);

/* Whether the peer has taken nothing of what waits for it for @limit_ms (never, if negative). It
 * may take a second look after that time to be sure. */
bool conn_is_stuck(struct conn *c, int64_t limit_ms);

/* Positions in the stream to the peer. */
struct conn_delivery {
    uint64_t taken; /* so far the peer's kernel has come */
    uint64_t end;   /* of what was appended */
};

/* False where the kernel does not tell, on a unix socket. */
bool conn_look_at_delivery(const struct conn *c, struct conn_delivery *out);

/* The protocol is through (its consumer knows): write what is queued, then end. */
void conn_finish(struct conn *c);

/* Ends now; lost() is called first. Not to be called from client_ops. */
void conn_abort(struct conn *c);

/* Ends in the next turn; safe anywhere. */
void conn_abort_later(struct conn *c);

/* Likewise, so that a peer on TCP sees an error, not the end of the stream. */
void conn_reset_later(struct conn *c);

/* Tells the consumer gone(@code) in the next turn; for what is decided inside client_ops. */
void conn_dismiss_later(struct conn *c, uint16_t code);

/* Has the protocol's drained() called in the next turn. */
void conn_drained_later(struct conn *c);

/* The peer as text ("1.2.3.4"); "" on a unix socket. Returns the length. */
size_t conn_peer_host(const struct conn *c, char *out, size_t size);
uint16_t conn_peer_port(const struct conn *c);

/* Our address of this connection, likewise. */
size_t conn_local_host(const struct conn *c, char *out, size_t size, uint16_t *port);

#endif
