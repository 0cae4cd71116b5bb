/* SPDX-License-Identifier: BSD-3-Clause
 *
 * node: what carries the layer for the processes of this host: its peers and the layers that they
 * opened.
 *
 * Why: every worker, and every other process that connects, opens layers by their settings; equal
 * settings are one layer, so that Redis sees one member for all of them.
 *
 * A layer stays when its peers go: what waits in it survives a peer that connects again. One that
 * nobody uses, and in which nothing waits, is closed after NODE_IDLE_MS, or when its place is
 * needed; that of the node's own settings never is, so that its counters stay.
 *
 * Thread: the loop's.
 */
#ifndef CHANNEL_LAYER_NODE_NODE_H
#define CHANNEL_LAYER_NODE_NODE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>

#include "channel_layer/layer.h"
#include "core/dlist.h"
#include "core/err.h"
#include "core/loop.h"
#include "core/slice.h"

enum {
    NODE_LAYERS_MAX = 64,
    NODE_IDLE_MS = 10 * 60 * 1000,
    /* Peers that are accepted: a quarter of the descriptors past the first ones, within these. */
    NODE_PEERS_MIN = 8,
    NODE_PEERS_MAX = 4096,
    NODE_FIRST_FILES = 32,
};

struct node;

/* @settings: JSON of the layer that peers open who name no settings (empty: a memory layer); it has
 * passed layer_config_parse(). Borrowed. Errors: those of layer_config_parse(). */
enum err node_open(struct node **out, struct loop *loop, struct slice settings,
                   struct err_text *why) MUST_CHECK;

/* How many peers a node of this process accepts, workers apart, by the limit on descriptors as it
 * is now; node_open() keeps to that. Over it they are closed, and the log tells.
 *
 * Why: whoever connects would take the descriptors that the server's clients, its workers and Redis
 * need. */
unsigned node_peers_max(void);

/* Accepts peers on @fd, a bound unix socket; those of another user than ours and root are closed.
 * Ownership: takes @fd, also on error. Errors: ERR_IO and others. */
enum err node_listen(struct node *node, int fd) MUST_CHECK;

/* A worker at the other end of @fd, a connected socket, which may name paths to listen at; @name is
 * for the log. Takes @fd. */
void node_attach(struct node *node, int fd, const char *name);

/* Closes the listeners and the peers, then the layers: they leave their groups within their
 * timeouts.
 * @closed is called then, and the node is gone. */
void node_close(struct node *node, void (*closed)(void *ctx), void *ctx);

/* ---- for its peers ---- */

struct node_peers {
    struct dlist list;   /* struct peer */
    struct dlist paused; /* those that go on reading in the next turn */
    unsigned open;       /* with those whose close callback has not come yet */
    unsigned accepted;   /* of those that are no workers: descriptors */
    unsigned max_accepted;
    uint64_t silent_ms; /* when one that says nothing was last logged; 0: never */
};

struct loop *node_loop(const struct node *node);
struct node_peers *node_peers(struct node *node);
/* Has the paused peers go on in the next turn. */
void node_resume_later(struct node *node);
/* A peer is gone for good. */
void node_peer_gone(struct node *node);
/* A worker's wish (LISTEN): accepts peers at @path, too, and takes it away at the end. What hinders
 * that is logged. */
void node_listen_at(struct node *node, struct slice path);
/* A handle of its listeners is gone. */
void node_listener_gone(struct node *node);

/* The layer of these settings; "" and {} are the node's own. Errors: those of layer_config_parse()
 * and layer_open(), ERR_UNSUPPORTED with NODE_LAYERS_MAX layers in use. */
enum err node_find_layer(struct node *node, struct layer **out, struct slice settings,
                         struct err_text *why) MUST_CHECK;

#endif
