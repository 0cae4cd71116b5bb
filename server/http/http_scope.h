/* SPDX-License-Identifier: BSD-3-Clause
 *
 * http_scope: the scope of a request as its consumer is told it (ASGI 3.0), proxy headers applied.
 *
 * Thread: the exchange's edge.
 */
#ifndef SERVER_HTTP_HTTP_SCOPE_H
#define SERVER_HTTP_HTTP_SCOPE_H

#include <stddef.h>

#include "consumers/scope.h"
#include "core/slice.h"
#include "server/http/http_exchange.h"

enum { HTTP_SCOPE_SUBPROTOCOLS_MAX = 64 };

/* Storage that a scope's slices may point into. */
struct http_scope_room {
    char peer_host[INET6_ADDRSTRLEN];
    struct slice subprotocols[HTTP_SCOPE_SUBPROTOCOLS_MAX];
    size_t subprotocol_count;
    uint8_t *decoded; /* path, root path, subprotocols */
};

/* Fills @scope from the present request of @x. Everything is borrowed from @x, its head and @room.
 *
 * Ownership: http_scope_deinit() frees what @room holds, also after an error.
 * Errors:    ERR_NOMEM; ERR_TOO_BIG for too many subprotocols. */
enum err http_scope_make(struct scope *scope, struct http_scope_room *room,
                         struct http_exchange *x) MUST_CHECK;
void http_scope_deinit(struct http_scope_room *room);

/* The name as it is on the wire that the client offered and the application chose, which was told
 * it decoded; empty when there is none such. Borrowed from the head. */
struct slice http_scope_offered(const struct http_exchange *x, struct slice chosen);

/* The client's address alone, for the access log. @host_room has INET6_ADDRSTRLEN bytes. */
void http_scope_client(struct scope *scope, char *host_room, const struct http_exchange *x);

#endif
