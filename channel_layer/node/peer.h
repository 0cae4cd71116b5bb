/* SPDX-License-Identifier: BSD-3-Clause
 *
 * peer: one process that uses the layers of a node, as its socket: records in, records out
 * (docs/layer-protocol.md).
 *
 * Life: peer_open() or peer_accept() -> GREETING (until HELLO) -> OPEN -> CLOSED. A record that the
 * protocol does not allow, the end of the stream and the node close it: its clients are detached at
 * once, the memory goes with the close callback. Answers that come later have nobody to go to.
 * PEER_GREETING_MS without HELLO close it, too, so that nobody keeps a place by connecting alone;
 * a worker, which took no place, may take its time.
 *
 * Reading stops for a turn when a peer has sent PEER_TURN_BYTES in one, so that the others are
 * served, and for as long as it leaves more than PEER_UNREAD_MAX of what was sent to it unread.
 *
 * Thread: the loop's.
 */
#ifndef CHANNEL_LAYER_NODE_PEER_H
#define CHANNEL_LAYER_NODE_PEER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>

#include "channel_layer/node/layer_proto.h"
#include "channel_layer/node/node.h"
#include "core/buf.h"
#include "core/dlist.h"
#include "core/err.h"
#include "core/wheel.h"
#include "core/writer.h"

enum {
    PEER_GREETING_MS = 10 * 1000,       /* for HELLO, of a peer that was accepted */
    PEER_UNREAD_MAX = 32 * 1024 * 1024, /* over which it gets no more messages */
    PEER_TURN_BYTES = 512 * 1024,
    PEER_RECEIVES_MAX = 65536, /* that wait at a time */
    PEER_NAME_MAX = 48,
};

enum peer_state { PEER_GREETING, PEER_OPEN, PEER_CLOSED };

struct peer_layer;

struct peer {
    struct dlist link;   /* node_peers.list */
    struct dlist paused; /* node_peers.paused */
    struct node *node;
    enum peer_state state;
    char name[PEER_NAME_MAX]; /* for the log */
    bool is_worker;           /* it inherited its socket */
    /* private */
    uv_pipe_t pipe;
    struct wheel_entry greeting; /* its deadline; never set for a worker */
    struct writer writer;
    struct buf rest; /* the beginning of a record */
    struct peer_layer *layers[LAYER_NUMBER_MAX];
    struct dlist calls; /* struct peer_call: under way */
    size_t full_reads;  /* bytes of reads that filled the buffer, one after the other */
    bool is_full;       /* it has too much unread */
    uint64_t pid;
};

/* A worker on @fd; it frees itself. Takes @fd, also on error. */
enum err peer_open(struct node *node, int fd, const char *name) MUST_CHECK;

/* The next connection of @server. Errors: ERR_ACCESS when @is_allowed says no, ERR_FULL when the
 * node has as many peers as it takes; others. The connection is closed then. */
enum err peer_accept(struct node *node, uv_stream_t *server, const char *name,
                     bool (*is_allowed)(int fd)) MUST_CHECK;

/* HELLO has come. */
void peer_greeted(struct peer *peer, uint64_t pid);

/* Goes on reading after a pause. */
void peer_resume(struct peer *peer);

/* Ends it now; @why is for the log. Does nothing when it is closed. */
void peer_close(struct peer *peer, const char *why);

/* ---- between its parts: peer_requests.c, peer_layer.h, peer_answers.h ---- */

/* Handles a record. False: the peer was closed. */
bool peer_handle(struct peer *peer, const struct layer_record *record);

/* Detaches what the peer opened, and forgets who waits for calls. */
void peer_drop_layers(struct peer *peer);

/* Closes it because of what it sent. */
void peer_refuse(struct peer *peer, const char *what);

/* After something was appended to the writer: whether that was too much. */
void peer_note_room(struct peer *peer);

#endif
