/* SPDX-License-Identifier: BSD-3-Clause
 *
 * layer_thread: the thread that carries the channel layer: a loop with a node on it.
 *
 * Why: workers and other processes meet there; what Redis takes its time for never holds up an
 * edge.
 *
 * Thread: the main loop's, but for what runs on the thread itself.
 */
#ifndef SERVER_PROCESS_LAYER_THREAD_H
#define SERVER_PROCESS_LAYER_THREAD_H

#include <stdbool.h>
#include <uv.h>

#include "channel_layer/node/node.h"
#include "core/err.h"
#include "core/loop.h"

struct layer_thread {
    /* private */
    struct loop loop;
    struct node *node; /* NULL once it is closed */
    uv_thread_t thread;
    bool is_running;
};

/* @settings: JSON of --layer-config, or NULL. @fd: a bound socket to accept peers on, or -1; taken,
 * also on error. @index: of the loop, for the log. Errors: those of node_open(), ERR_IO; nothing is
 * left open then. */
enum err layer_thread_start(struct layer_thread *t, unsigned index, const char *settings, int fd,
                            struct err_text *why) MUST_CHECK;

/* A worker at the other end of @fd. Takes @fd. */
void layer_thread_post_attach(struct layer_thread *t, int fd, unsigned worker);

/* Closes the node and waits for that: memberships leave Redis, within the timeouts of the layers.
 * Does nothing when it does not run. */
void layer_thread_stop(struct layer_thread *t);

#endif
