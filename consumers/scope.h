/* SPDX-License-Identifier: BSD-3-Clause
 *
 * scope: what a consumer is told about a connection when it begins (ASGI 3.0, "HTTP & WebSocket").
 *
 * Why: the server reads a request once; hosted applications, native consumers and the routes all
 * look at the same description of it. Everything in it is borrowed for the call it is given to.
 */
#ifndef CONSUMERS_SCOPE_H
#define CONSUMERS_SCOPE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/header.h"
#include "core/slice.h"

enum scope_type { SCOPE_HTTP, SCOPE_WEBSOCKET };

/* An address as ASGI gives it. */
struct scope_addr {
    struct slice host; /* len 0: unknown (nil in ASGI) */
    uint16_t port;
    bool has_port; /* false: [host, None] */
};

struct scope {
    enum scope_type type;
    struct slice http_version; /* "1.0" or "1.1" */
    struct slice method;       /* SCOPE_HTTP only */
    struct slice scheme;       /* "http", "https", "ws", "wss" */
    struct slice path;         /* percent-decoded bytes; may be invalid UTF-8 */
    struct slice raw_path;     /* as received, without the query */
    struct slice query;        /* without the question mark */
    struct slice root_path;
    const struct header *headers; /* names in lower case */
    size_t header_count;
    struct scope_addr client;
    struct scope_addr server;
};

#endif
