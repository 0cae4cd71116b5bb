/* SPDX-License-Identifier: BSD-3-Clause
 *
 * layer_socket: the path by which other processes of this host reach the channel layer, as the
 * command line names it or by default.
 *
 * Thread: any.
 */
#ifndef SERVER_PROCESS_LAYER_SOCKET_H
#define SERVER_PROCESS_LAYER_SOCKET_H

#include "channel_layer/node/node_socket.h"
#include "core/err.h"

/* Listens at @path, the value of --layer-socket, with mode 0600; NULL: at the general default path
 * of docs/layer.md, whose folder is made where it is missing. A socket at which nobody answers any
 * more is replaced.
 *
 * Ownership: the caller owns *@fd, and calls node_socket_unlink(@out) before it closes it.
 * Errors:    those of node_socket_listen() and node_socket_listen_by_default(); @why names the
 *            option, the path and the reason. */
enum err layer_socket_listen(struct node_socket *out, int *fd, const char *path,
                             struct err_text *why) MUST_CHECK;

#endif
