/* SPDX-License-Identifier: BSD-3-Clause
 *
 * edge: one event loop that accepts and serves connections, with its links to the workers.
 *
 * Why: a connection is accepted, lives and dies on one edge; nothing on the way of a message is
 * shared with another thread. Everybody else talks to an edge by mail.
 *
 * Life: edge_open() -> edge_run() on its own thread -> SERVING -> DRAINING (no listeners,
 * connections finish) -> STOPPED (edge_run() returns) -> edge_deinit().
 *
 * Thread: the edge's own, but for open, the edge_post_*() functions and deinit.
 */
#ifndef SERVER_TRANSPORT_EDGE_H
#define SERVER_TRANSPORT_EDGE_H

#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

#include "consumers/hosted/hosted.h"
#include "core/dlist.h"
#include "core/err.h"
#include "core/loop.h"
#include "routing/table.h"
#include "server/http/http_reader.h"
#include "server/http/http_reply.h"
#include "server/http/proxy_headers.h"
#include "server/options.h"
#include "server/process/access_log.h"
#include "server/websocket/ws_reader.h"

struct admission;
struct listener;

struct conn;

/* How a connection begins; given by whoever builds the edges, so that this folder knows no
 * protocol. */
struct edge_entry {
    /* Sets the connection's protocol and state. */
    void (*begin)(struct conn *c);
    /* The connection, which has begun, is one too many: answer so, and end it. */
    void (*refuse)(struct conn *c);
};

/* Somebody who cannot go on before a worker is ready. Its retry() is called once, taken off the
 * list. */
struct edge_waiter {
    struct dlist link;
    void (*retry)(struct edge_waiter *waiter);
};

/* What all edges share; immutable while they run. */
struct edge_config {
    const struct options *options;
    const struct edge_entry *entry;
    struct http_limits http;
    struct ws_limits websocket;
    struct proxy_headers_names proxy;
    struct admission *admission; /* the one thing here that changes */
};

enum edge_state { EDGE_SERVING, EDGE_DRAINING, EDGE_STOPPED };

/* What an edge tells its owner; called on the edge's thread. */
struct edge_ops {
    void (*worker_ready)(void *owner, unsigned edge, unsigned worker);
    void (*worker_lost)(void *owner, unsigned edge, unsigned worker, const char *why);
    void (*worker_hung)(void *owner, unsigned edge, unsigned worker);
    void (*worker_worn)(void *owner, unsigned edge, unsigned worker);
    /* An edge_post_listen() was carried out. */
    void (*listening)(void *owner, unsigned edge, enum err err);
    /* DRAINING, and the last connection is gone. */
    void (*drained)(void *owner, unsigned edge);
};

struct edge {
    struct loop loop;
    const struct edge_config *config;
    enum edge_state state;
    struct hosted hosted;
    struct route_table routes;
    struct dlist conns;   /* every connection */
    struct dlist todo;    /* connections that go on with what they hold, in the next turn */
    struct dlist waiting; /* struct edge_waiter: whoever waits for a worker */
    uint32_t conn_count;
    struct access_log access_log; /* its clock */
    /* private */
    const struct edge_ops *ops;
    void *owner;
    uv_idle_t go_on;
    struct dlist listeners;
    struct http_head *spare_heads;
    unsigned spare_head_count;
    struct http_stamp stamp;
    int64_t stamp_second;
    bool told_drained;
    struct wheel_entry give_back;
    uint32_t farewells; /* DRAINING: WebSockets that were told to leave */
    uint64_t farewell_window_ms;
};

/* Errors: ERR_NOMEM, ERR_IO, ERR_NO_FILES; nothing is left open then. */
enum err edge_open(struct edge *e, unsigned index, const struct edge_config *config,
                   const struct edge_ops *ops, void *owner) MUST_CHECK;
void edge_run(struct edge *e);
void edge_deinit(struct edge *e);

/* ---- mail ---- */

/* Starts to accept on @fd, a bound stream socket. Takes @fd. */
void edge_post_listen(struct edge *e, int fd, bool is_unix);
/* A link to a worker. Takes @fd and a reference to @load. */
void edge_post_attach(struct edge *e, int fd, unsigned worker, struct worker_load *load);
/* New clients go to other workers; those of this one end within the graceful timeout, then it does.
 */
void edge_post_retire(struct edge *e, unsigned worker);
/* The worker's process is gone. */
void edge_post_detach(struct edge *e, unsigned worker);
/* Stop accepting, let requests finish, close WebSockets with 1001: a handful at once, a crowd one
 * after the other within half of the graceful timeout. */
void edge_post_drain(struct edge *e);
/* Drop what is still connected and tell the workers to finish, their applications within @grace_ms.
 */
void edge_post_finish_workers(struct edge *e, uint64_t grace_ms);
/* End edge_run(). */
void edge_post_stop(struct edge *e);

/* ---- for the connections of this edge ---- */

/* A connection came or went. */
void edge_conn_added(struct edge *e);
void edge_conn_removed(struct edge *e);

/* DRAINING: after what delay the next WebSocket should leave. */
uint64_t edge_farewell_ms(struct edge *e);

/* Has the todo list handled in the next turn. */
void edge_go_on(struct edge *e);

/* Server and Date lines of this second. */
const struct http_stamp *edge_stamp(struct edge *e);

/* An empty head to read a request into; to be given back. Never NULL. */
struct http_head *edge_lend_head(struct edge *e);
void edge_return_head(struct edge *e, struct http_head *head);

#endif
