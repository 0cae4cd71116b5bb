/* SPDX-License-Identifier: BSD-3-Clause
 *
 * listener: an edge's end of a listening socket, and the sockets themselves.
 *
 * Why: every edge listens on a socket of its own bound to the same address (SO_REUSEPORT), so the
 * kernel spreads connections; a unix socket is one that all edges accept from. Binding is done
 * before any worker starts, so that an address in use is known at once; listening when all are
 * ready.
 *
 * Thread: listener_bind_*() any; the rest its edge's.
 */
#ifndef SERVER_TRANSPORT_LISTENER_H
#define SERVER_TRANSPORT_LISTENER_H

#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

#include "channel_layer/node/node_socket.h"
#include "core/dlist.h"
#include "core/err.h"
#include "server/transport/edge.h"

struct listener {
    struct dlist link; /* in edge->listeners */
    struct edge *edge;
    bool is_unix;
    uint64_t told_full_ms; /* when running out of descriptors was last logged */
    union {
        uv_stream_t stream;
        uv_tcp_t tcp;
        uv_pipe_t pipe;
    } handle;
};

/* Binds @count sockets to @host (address or name) and @port; 0 takes a free one, the same for all.
 * With a name, its first address that can be bound is taken. @fds has room for @count; @bound_host
 * (of
 * @host_size bytes) and @bound_port tell what it became.
 *
 * Ownership: the caller owns the descriptors.
 * Errors:    ERR_ADDR_IN_USE, ERR_ACCESS, ERR_INVALID, ERR_IO; @why names the address and the
 * reason. */
enum err listener_bind_tcp(int *fds, unsigned count, const char *host, int port, char *bound_host,
                           size_t host_size, uint16_t *bound_port, struct err_text *why) MUST_CHECK;

/* Binds a unix socket with mode 0666, as Daphne's is; *@out tells it from another one that is at
 * @path later. A socket that nobody listens on is replaced. Errors: as above; a path that is
 * something else than a socket is left alone. */
enum err listener_bind_unix(struct node_socket *out, int *fd, const char *path,
                            struct err_text *why) MUST_CHECK;

/* Begins to accept. Takes @fd, also on error. */
enum err listener_open(struct edge *e, int fd, bool is_unix) MUST_CHECK;

/* Accepts what has been connected: closing the listener would reset it. */
void listener_accept_rest(struct listener *l);

/* Stops to accept; frees itself. */
void listener_close(struct listener *l);

#endif
