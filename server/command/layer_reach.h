/* SPDX-License-Identifier: BSD-3-Clause
 *
 * layer_reach: the way of a layer tool to its layer: the socket of a node, or a node of its own.
 *
 * Why: against Redis, too, a tool is a peer: a node in a thread of this process carries the layer,
 * so that there is one implementation of everything.
 *
 * Thread: owner only.
 */
#ifndef SERVER_COMMAND_LAYER_REACH_H
#define SERVER_COMMAND_LAYER_REACH_H

#include <stdbool.h>

#include "core/err.h"
#include "server/command/layer_tool_options.h"
#include "server/command/node_client.h"
#include "server/process/layer_thread.h"

struct layer_reach {
    int wake_fd, reader_fd; /* for the client from the start: node_client_wake_by() */
    /* private */
    struct layer_thread thread;
    bool thread_is_running;
};

/* Whether the node is one of our own: it serves nobody else. */
bool layer_reach_is_own(const struct tool_options *options);

/* Connects @client and opens the layer. Without a place in @options: the sockets that nodes make by
 * default (docs/layer.md), when there is no doubt which.
 * Errors: ERR_UNAVAILABLE, ERR_INVALID (settings) and others, text in @why; @client is closed then.
 */
enum err layer_reach_open(struct layer_reach *reach, struct node_client *client,
                          const struct tool_options *options, struct err_text *why) MUST_CHECK;

/* Ends the connection, and the thread with its memberships. */
void layer_reach_close(struct layer_reach *reach, struct node_client *client);

#endif
