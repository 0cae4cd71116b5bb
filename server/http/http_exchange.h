/* SPDX-License-Identifier: BSD-3-Clause
 *
 * http_exchange: the HTTP life of a connection: one request after the other, each with its answer.
 *
 * Why: this is where reading (http_reader), the consumer (client.h) and writing (http_response)
 * meet. A request is dispatched when its head is complete; its body is passed on as it comes,
 * within a window; the next request is not read before the answer of this one is complete, nor
 * while much of the answers waits for the client.
 *
 * Life of a request: READING (idle, or in the head) -> WAITING (no worker is ready) -> ACTIVE (a
 * consumer has it) -> READING again, or ENDED when the connection will not carry another. A
 * WebSocket handshake is a request whose answer is accept(): then ws_session takes the connection
 * over.
 *
 * Thread: its edge's.
 */
#ifndef SERVER_HTTP_HTTP_EXCHANGE_H
#define SERVER_HTTP_HTTP_EXCHANGE_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>

#include "core/dlist.h"
#include "server/http/http_reader.h"
#include "server/http/http_reply.h"
#include "server/transport/conn.h"
#include "server/websocket/ws_handshake.h"

enum {
    /* What may be on its way to an application that does not read it (docs/link-protocol.md). */
    EXCHANGE_WINDOW_BYTES = 64 * 1024,
    /* How long a request waits for a worker to become ready. */
    EXCHANGE_WAIT_MS = 30 * 1000,
};

enum exchange_state {
    EXCHANGE_READING,
    EXCHANGE_WAITING,
    EXCHANGE_ACTIVE,
    EXCHANGE_ENDED,
    EXCHANGE_STATES
};

struct http_exchange {
    struct conn *conn;
    enum exchange_state state;
    struct http_head *head; /* of the present request; NULL between requests */
    struct http_reader reader;
    struct edge_waiter waiting; /* in edge->waiting */
    struct ws_handshake handshake;
    bool is_upgrade;
    bool is_head;   /* method HEAD: no body in the answer */
    bool body_done; /* the whole request has been passed on */
    bool keep_alive;
    bool reply_started;
    enum http_framing framing;
    bool reply_has_length;
    unsigned status;
    uint64_t reply_length; /* promised bytes of body */
    uint64_t reply_bytes;  /* bytes of body written */
    uint64_t body_bytes;   /* bytes of request body passed on */
    size_t unread_bytes;   /* of them, not yet taken by the application */
    size_t unacked_bytes;  /* of the answer, for which no credit was given back yet */
    uint64_t
        phase_ms; /* READING: since when idle or in the head; ACTIVE: since the whole request */
    uint64_t input_ms; /* last input of the body */
    bool is_first;     /* no request was served on this connection yet */
    bool is_held_back; /* READING: input is held, because answers wait for the client */
    bool has_local;
    uint16_t local_port;
    uint16_t local_len;
    char local_host[INET6_ADDRSTRLEN]; /* our address of this connection */
};

/* How a connection begins: it waits for its first request. */
extern const struct edge_entry http_exchange_entry;

/* ---- for http_response ---- */

/* The answer is complete: the next request, or the end of the connection. */
void http_exchange_finish(struct http_exchange *x, bool close);

/* There is half an answer and no more will follow. The client gets that half and finds from its
 * framing that it is not whole; an answer that is whole when the connection ends is made to break
 * by a reset. */
void http_exchange_cut(struct http_exchange *x);

/* The application took some of the body. */
void http_exchange_consumed(struct http_exchange *x);

/* ---- for http_deadline ---- */

/* The application has not taken what was passed on: the client waits for it, not we for the
 * client. */
bool http_exchange_is_window_full(const struct http_exchange *x);

/* Whether any byte of a request's head has come. */
bool http_exchange_has_begun_head(const struct http_exchange *x);

/* READING: the next request is not awaited yet, because the client has answers to take. */
bool http_exchange_is_delivering(const struct http_exchange *x);

/* Takes the consumer away and answers in its place. */
void http_exchange_give_up(struct http_exchange *x, unsigned status, const char *sentence);

/* ---- for ws_session ---- */

/* Frees the exchange after the connection was switched to another protocol. */
void http_exchange_free(struct http_exchange *x);

#endif
