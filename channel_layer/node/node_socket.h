/* SPDX-License-Identifier: BSD-3-Clause
 *
 * node_socket: the paths by which other processes of this host reach a node.
 *
 * Why: such a path is open to its own user only, from the first moment on, and a node that was
 * killed must not keep the next one from using it; nor may one that ends take away what is somebody
 * else's by then.
 *
 * Thread: any (the mask for new files, which is the whole process', is not touched).
 */
#ifndef CHANNEL_LAYER_NODE_NODE_SOCKET_H
#define CHANNEL_LAYER_NODE_NODE_SOCKET_H

#include <stdbool.h>
#include <sys/types.h>

#include "core/err.h"

enum { NODE_SOCKET_PATH_MAX = 107 }; /* bytes, by the kernel */

struct node_socket {
    char path[NODE_SOCKET_PATH_MAX + 1];
    dev_t dev;
    ino_t ino;
    pid_t holder; /* after ERR_ADDR_IN_USE: who listens there; 0: not known */
};

/* Listens at @path with mode 0600 (or less, by the mask for new files). A socket at which nobody
 * answers is replaced; anything else that is there stays.
 *
 * Ownership: the caller owns *@fd, and calls node_socket_unlink(@out) before it closes it.
 * Errors:    ERR_ADDR_IN_USE when somebody listens there or it is no socket, ERR_INVALID (too
 *            long), ERR_ACCESS, ERR_NOT_FOUND, ERR_IO; @why names the path and the reason. */
enum err node_socket_listen(struct node_socket *out, int *fd, const char *path,
                            struct err_text *why) MUST_CHECK;

/* The same at a path that nobody has chosen: its folder is made (0700) where it is missing, must be
 * ours or root's, and nobody else may write to it. Several nodes that come at once agree on who
 * has it. Errors: ERR_INVALID (not absolute) and ERR_AGAIN (another process holds the folder's
 * lock), too. */
enum err node_socket_listen_by_default(struct node_socket *out, int *fd, const char *path,
                                       struct err_text *why) MUST_CHECK;

/* Whether nothing or something else is at the path by now. Only while the socket is open: another
 * one may look the same later. */
bool node_socket_is_gone(const struct node_socket *socket);

/* Takes the path away, if it still is this socket. */
void node_socket_unlink(const struct node_socket *socket);

#endif
