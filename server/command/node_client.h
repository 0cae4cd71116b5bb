/* SPDX-License-Identifier: BSD-3-Clause
 *
 * node_client: a peer of a node that waits for each answer (docs/layer-protocol.md).
 *
 * Why: a command line tool does one thing at a time; a blocking socket is all that it needs.
 *
 * Thread: owner only.
 */
#ifndef SERVER_COMMAND_NODE_CLIENT_H
#define SERVER_COMMAND_NODE_CLIENT_H

#include <stdbool.h>
#include <stdint.h>

#include "channel_layer/config.h"
#include "core/buf.h"
#include "core/err.h"
#include "core/pack.h"
#include "core/slice.h"

struct node_client {
    enum layer_serializer serializer; /* of bodies, known once it is open */
    char backend[16];
    char base[400]; /* of the names of our channels */
    /* private */
    int fd;
    int wake_fd; /* readable: stop waiting; -1: none */
    uint64_t next_request;
    struct buf in; /* begins with the record that was given last, or with an incomplete one */
    struct buf out;
    size_t used; /* bytes of the record at the front that has been given */
};

enum node_event_kind { NODE_REPLY, NODE_DELIVER, NODE_MESSAGE };

/* Borrowed until the next call on the same client. */
struct node_event {
    enum node_event_kind kind;
    uint64_t request;         /* REPLY, MESSAGE */
    enum err err;             /* REPLY */
    struct slice text;        /* REPLY: why, with an error */
    struct pack_reader value; /* REPLY: what follows the code */
    struct slice body;        /* DELIVER, MESSAGE */
};

/* Connects to the socket at @path. Errors: ERR_UNAVAILABLE, text in @why. */
enum err node_client_connect(struct node_client *c, const char *path,
                             struct err_text *why) MUST_CHECK;

/* The same over a connected socket. Ownership: takes @fd. */
void node_client_init(struct node_client *c, int fd);
void node_client_deinit(struct node_client *c);

/* Waiting ends with ERR_CLOSED when @fd (borrowed) becomes readable. */
void node_client_wake_by(struct node_client *c, int fd);

/* HELLO and OPEN with the settings @config (JSON; "": the node's own).
 * Errors: ERR_INVALID (settings), ERR_PROTO, ERR_UNAVAILABLE, ERR_TIMEOUT. */
enum err node_client_open(struct node_client *c, struct slice config, int timeout_ms,
                          struct err_text *why) MUST_CHECK;

/* Sends [op, 0, req, first, second], of which slices with a NULL pointer are left out; @is_body:
 * the second goes as bin. Returns req, 0 when it could not be sent. */
uint64_t node_client_ask(struct node_client *c, unsigned op, struct slice first,
                         struct slice second, bool is_body);

/* Sends [op, 0, req]. */
void node_client_tell(struct node_client *c, unsigned op, uint64_t request);

/* The next record that is for the caller. @timeout_ms: -1 waits for ever.
 * Errors: ERR_TIMEOUT, ERR_CLOSED (woken), ERR_UNAVAILABLE (the node is gone), ERR_PROTO. */
enum err node_client_next(struct node_client *c, struct node_event *out, int timeout_ms,
                          struct err_text *why) MUST_CHECK;

/* The answer to @request; deliveries that come before it are dropped. */
enum err node_client_answer(struct node_client *c, uint64_t request, struct node_event *out,
                            int timeout_ms, struct err_text *why) MUST_CHECK;

#endif
