/* SPDX-License-Identifier: BSD-3-Clause
 *
 * node_client: a peer of a node that waits for each answer (docs/layer-protocol.md).
 *
 * Why: a command line tool does one thing at a time, and nothing here needs a loop. Only sending
 * looks both ways: a node that waits for us to read does not read either.
 *
 * Thread: owner only.
 */
#ifndef SERVER_COMMAND_NODE_CLIENT_H
#define SERVER_COMMAND_NODE_CLIENT_H

#include <stdbool.h>
#include <stdint.h>

#include "channel_layer/config/config.h"
#include "core/buf.h"
#include "core/err.h"
#include "core/pack.h"
#include "core/slice.h"

struct node_client {
    enum layer_serializer serializer; /* of bodies, known once it is open */
    char backend[16];
    /* private */
    int fd;
    int wake_fd;    /* readable: stop waiting; -1: none */
    int reader_fd;  /* its other end is gone: stop waiting; -1: none */
    int timeout_ms; /* for an answer, and for the node to take a connection or what is sent */
    uint64_t next_request;
    struct buf in; /* begins with the record that was given last, or with an incomplete one */
    struct buf out;
    size_t used; /* bytes of the record at the front that has been given */
};

enum node_event_kind { NODE_REPLY, NODE_DELIVER, NODE_MESSAGE, NODE_FLUSHED };

/* Borrowed until the next call on the same client. */
struct node_event {
    enum node_event_kind kind;
    uint64_t request;         /* REPLY, MESSAGE */
    enum err err;             /* REPLY */
    struct slice text;        /* REPLY: why, with an error */
    struct pack_reader value; /* REPLY: what follows the code */
    struct slice body;        /* DELIVER, MESSAGE */
};

/* One without a connection. @timeout_ms is for connecting, opening and all that is asked later;
 * waiting for @wake_fd and @reader_fd: see node_client_wake_by(). */
void node_client_init(struct node_client *c, int timeout_ms, int wake_fd, int reader_fd);
void node_client_deinit(struct node_client *c);

/* Connects to the socket at @path. @is_default: it was found, not named, so whoever listens there
 * must be of our user or root.
 * Errors: ERR_UNAVAILABLE, ERR_ACCESS, ERR_INVALID (the path), ERR_TIMEOUT (it takes no more
 * connections), ERR_CLOSED (woken), text in @why. */
enum err node_client_connect(struct node_client *c, const char *path, bool is_default,
                             struct err_text *why) MUST_CHECK;

/* Over a connected socket instead. Ownership: takes @fd. */
void node_client_use(struct node_client *c, int fd);

/* Waiting ends with ERR_CLOSED when @wake_fd becomes readable, or when nobody reads any more what
 * is written to @reader_fd. Both are borrowed; -1: none. */
void node_client_wake_by(struct node_client *c, int wake_fd, int reader_fd);

/* HELLO and OPEN with the settings @config (JSON; "": the node's own).
 * Errors: ERR_INVALID (settings), ERR_PROTO, ERR_UNAVAILABLE, ERR_TIMEOUT, ERR_CLOSED (woken). */
enum err node_client_open(struct node_client *c, struct slice config,
                          struct err_text *why) MUST_CHECK;

/* Sends [op, 0, req, first, body], of which slices with a NULL pointer are left out. Returns req; 0
 * with @why when it could not be sent, and then the connection is of no use any more. */
uint64_t node_client_ask(struct node_client *c, unsigned op, struct slice first, struct slice body,
                         struct err_text *why);

/* Sends [op, 0, req]. Whoever waits next learns that it could not be sent. */
void node_client_tell(struct node_client *c, unsigned op, uint64_t request);

/* The next record that is for the caller, whenever it comes.
 * Errors: ERR_CLOSED (woken), ERR_UNAVAILABLE (the node is gone), ERR_PROTO. */
enum err node_client_next(struct node_client *c, struct node_event *out,
                          struct err_text *why) MUST_CHECK;

/* node_client_ask(), and the answer to it; what else comes before is dropped.
 * Errors: as node_client_next(), ERR_TIMEOUT, and what the node answers. */
enum err node_client_call(struct node_client *c, unsigned op, struct slice first, struct slice body,
                          struct node_event *out, struct err_text *why) MUST_CHECK;

#endif
