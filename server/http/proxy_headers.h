/* SPDX-License-Identifier: BSD-3-Clause
 *
 * proxy_headers: what a reverse proxy tells about the client behind it, by Daphne's rule.
 *
 * Why: behind a proxy the peer of every connection is the proxy. The rule is Daphne's, so that
 * applications see the addresses that they saw before; whom to believe is decided by the caller
 * (trust_list.h), which Daphne leaves out.
 *
 * Thread: any. Nothing here copies; what is set points into the headers.
 */
#ifndef SERVER_HTTP_PROXY_HEADERS_H
#define SERVER_HTTP_PROXY_HEADERS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "consumers/scope.h"
#include "core/err.h"
#include "core/header.h"
#include "core/slice.h"

/* Which fields hold the client's address and port; lower-case. */
struct proxy_headers_names {
    const char *addr; /* "x-forwarded-for" */
    const char *port; /* "x-forwarded-port" */
};

/* Replaces client and scheme of @scope by what its headers say. Only for a trusted peer with
 * --proxy-headers on.
 *
 * The client is the first element of the first address field, as it stands there, with port 0. A
 * port field and X-Forwarded-Proto count only beside it; a port that is not 0 to 65535 is 0. For
 * a WebSocket "https" becomes "wss" and "http" becomes "ws". An address that is empty or not
 * UTF-8 is as if none were there, and so is a scheme that is not a token. */
void proxy_headers_apply(struct scope *scope, const struct proxy_headers_names *names);

/* Removes every Daphne-Root-Path field and returns how many headers are left, in their order.
 * @raw is the value of the last one, percent-encoded, or empty. To be called for every request:
 * a client must not be able to pass the field on to the application. */
size_t proxy_headers_take_root_path(struct header *headers, size_t count, struct slice *raw);

/* Decodes what proxy_headers_take_root_path() gave into @room of raw.len bytes. Only for a trusted
 * peer. False, with *@out untouched, when it is not ASCII or does not decode to UTF-8. */
bool proxy_headers_decode_root_path(struct slice *out, uint8_t *room, struct slice raw) MUST_CHECK;

#endif
