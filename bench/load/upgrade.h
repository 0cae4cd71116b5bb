/* SPDX-License-Identifier: BSD-3-Clause
 *
 * upgrade: the opening handshake of a WebSocket, seen from the client (RFC 6455 section 4).
 *
 * Why: a server that does not compute Sec-WebSocket-Accept has not done its work. The key is new
 * for each run and shared by its connections, which no server can make use of.
 *
 * Thread: any, once upgrade_init() returned.
 */
#ifndef BENCH_LOAD_UPGRADE_H
#define BENCH_LOAD_UPGRADE_H

#include <stddef.h>

#include "core/err.h"
#include "core/slice.h"

enum { UPGRADE_REQUEST_MAX = 1024, UPGRADE_REPLY_MAX = 16384 };

struct upgrade {
    /* private */
    char request[UPGRADE_REQUEST_MAX];
    char accept[32]; /* what Sec-WebSocket-Accept must be */
};

enum upgrade_scan {
    UPGRADE_MORE,    /* the head is not complete */
    UPGRADE_DONE,    /* the WebSocket is open; *used bytes belong to the head */
    UPGRADE_REFUSED, /* any other answer */
};

/* Makes the request for @path of the server at @host:@port. Errors: ERR_TOO_BIG, ERR_IO (no random
 * bytes). */
enum err upgrade_init(struct upgrade *u, const char *host, unsigned port,
                      const char *path) MUST_CHECK;

/* The bytes of the request, borrowed from @u. */
struct slice upgrade_request(const struct upgrade *u);

/* Reads the answer at the front of @in. */
enum upgrade_scan upgrade_scan(const struct upgrade *u, size_t *used, struct slice in);

#endif
