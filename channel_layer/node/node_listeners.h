/* SPDX-License-Identifier: BSD-3-Clause
 *
 * node_listeners: where a node accepts peers: sockets that were bound for it, and the paths that
 * workers name (LISTEN of docs/layer-protocol.md).
 *
 * Life of a path: WANTED -> OPEN. It stays WANTED while another node has it, or its folder is not
 * as it must be: that is logged once, and it is tried again every NODE_RETRY_MS, so that of two
 * servers of one project the second takes over when the first one ends. When the path of an OPEN
 * one is taken away, it is WANTED again within NODE_RETRY_MS: processes that look for it would find
 * no server otherwise.
 *
 * Thread: the loop's.
 */
#ifndef CHANNEL_LAYER_NODE_NODE_LISTENERS_H
#define CHANNEL_LAYER_NODE_NODE_LISTENERS_H

#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

#include "core/dlist.h"
#include "core/err.h"
#include "core/slice.h"

enum {
    NODE_PATHS_MAX = 8, /* that workers name */
    NODE_RETRY_MS = 5000,
};

struct node;

struct node_listeners {
    /* private */
    struct node *node;
    struct dlist list; /* struct node_listener */
    uv_timer_t retry;
    unsigned open;        /* handles, with those whose close callback has not come yet */
    unsigned paths;       /* that workers named */
    unsigned next_client; /* for the names of peers in the log */
    uint64_t refused_ms;  /* when refusing one was last logged; 0: never */
    bool has_warned;      /* of too many paths */
};

void node_listeners_init(struct node_listeners *l, struct node *node);

/* @fd: a bound socket; taken, also on error. Its path is the caller's to unlink. Errors: ERR_IO and
 * others. */
enum err node_listeners_add(struct node_listeners *l, int fd) MUST_CHECK;

/* A path that a worker named. */
void node_listeners_want(struct node_listeners *l, struct slice path);

/* Takes the paths away and closes all; node_listener_gone() tells of each handle's end. */
void node_listeners_close(struct node_listeners *l);

#endif
