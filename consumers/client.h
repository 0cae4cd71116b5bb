/* SPDX-License-Identifier: BSD-3-Clause
 *
 * client: the port between a connection and the consumer that serves it.
 *
 * Why: consumers know nothing of sockets, HTTP or frames, and the server knows nothing of Python
 * or of what a consumer does. The server embeds a struct client for each request or WebSocket and
 * implements client_ops; a kind of consumer implements consumer_ops.
 *
 * Life: kind->open() -> any of receive/body/drained -> end. The consumer ends it by the last piece
 * of an HTTP response or by fail(); otherwise the server calls kind->gone(), exactly once: when an
 * HTTP client leaves, and for every WebSocket, also after close() or a refusal. After the end
 * neither side calls the other about this client again.
 *
 * Calls into client_ops never call back into the consumer before they return: what they cause is
 * told from a later turn of the loop. Calls into consumer_kind never call client_ops before they
 * return.
 *
 * Thread: the loop that owns the connection.
 */
#ifndef CONSUMERS_CLIENT_H
#define CONSUMERS_CLIENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "consumers/scope.h"
#include "core/err.h"

struct client;

enum message_kind { MESSAGE_TEXT, MESSAGE_BINARY };

/* Why a consumer could not go on; the server chooses what the client is told. */
enum client_failure {
    CLIENT_APP_RAISED,   /* 500, or 1011 once accepted */
    CLIENT_APP_RETURNED, /* ended without an answer: likewise */
    CLIENT_WORKER_LOST,  /* 502, or 1012 once accepted */
    CLIENT_BAD_EVENT,    /* it sent what cannot be put on the wire: 500, or 1011 */
};

/* What a consumer may do to its client. Data is borrowed for the call. */
struct client_ops {
    /* Begins an HTTP response (or the refusal of a WebSocket that is not accepted) with the first
     * piece of its body; @more tells whether body() follows. */
    void (*respond)(struct client *c, unsigned status, const struct header *headers, size_t count,
                    struct slice body, bool more);
    void (*body)(struct client *c, struct slice piece, bool more);
    /* Accepts a WebSocket; @subprotocol of length 0 chooses none. */
    void (*accept)(struct client *c, struct slice subprotocol, const struct header *headers,
                   size_t count);
    /* A message, whole (@first and @last) or in pieces. */
    void (*send)(struct client *c, enum message_kind kind, struct slice data, bool first,
                 bool last);
    /* Closes a WebSocket; before accept() it is refused with 403. */
    void (*close)(struct client *c, uint16_t code, struct slice reason);
    /* The application took that much of what was forwarded: more may be read from the socket. */
    void (*consumed)(struct client *c, size_t bytes, size_t messages);
    /* The consumer is to end: a WebSocket that is accepted is closed with 1012 in @delay_ms, which
     * the consumer hears of as of any other end. A request goes on, and so does a WebSocket that is
     * not accepted yet: the consumer says it again then. */
    void (*retire)(struct client *c, uint64_t delay_ms);
    void (*fail)(struct client *c, enum client_failure why);
};

struct consumer_kind;

/* The part of a connection that its consumer sees. A zeroed one has no consumer. */
struct client {
    const struct client_ops *ops;
    const struct consumer_kind *kind; /* the kind's open() sets it; NULL: no consumer is engaged */
    void *consumer;                   /* the kind's: which worker link, which instance */
    uint64_t consumer_id;             /* the kind's: the number on that link */
    bool is_websocket;                /* the server's: set before open() */
};

/* A kind of consumer: the hosted application, later each native one. Data is borrowed. */
struct consumer_kind {
    const char *name;
    /* Whether open() could engage a consumer right now. */
    bool (*can_open)(void *ctx);
    /* Engages a consumer. ERR_CLOSED: none can serve right now (the caller may try again when
     * told); on ERR_OK the client's kind, consumer and consumer_id are set.
     * @body is the first piece of an HTTP request body and @more whether body() follows;
     * @subprotocols what a WebSocket client offers. */
    enum err (*open)(struct client *c, void *ctx, const struct scope *scope,
                     const struct slice *subprotocols, size_t subprotocol_count, struct slice body,
                     bool more);
    void (*body)(struct client *c, struct slice piece, bool more);
    /* A piece of a WebSocket message; @first and @last together: a whole one. */
    void (*receive)(struct client *c, enum message_kind kind, struct slice data, bool first,
                    bool last);
    /* At least @bytes more of what was sent have left for the client. */
    void (*drained)(struct client *c, size_t bytes);
    /* The client is gone (or refused). @code is a WebSocket close code; 0 for HTTP. */
    void (*gone)(struct client *c, uint16_t code, struct slice reason);
};

#endif
