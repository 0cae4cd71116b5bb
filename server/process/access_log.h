/* SPDX-License-Identifier: BSD-3-Clause
 *
 * access_log: one line for each finished request and each step of a WebSocket, as Daphne writes it.
 *
 * Why: people's log parsers know Daphne's line, so it is the same byte for byte:
 *   127.0.0.1:33848 - - [21/Nov/2026:01:40:30] "GET /x?y=1" 200 2
 *   127.0.0.1:33850 - - [21/Nov/2026:01:40:31] "WSCONNECT /ws/" - -
 * Only what would end the line or hide in it is written otherwise: control bytes and bytes over
 * 0x7e become \xHH. It only formats; log_access() writes.
 *
 * Thread: one struct access_log per loop.
 */
#ifndef SERVER_PROCESS_ACCESS_LOG_H
#define SERVER_PROCESS_ACCESS_LOG_H

#include <stddef.h>
#include <stdint.h>
#include <time.h>

#include "consumers/scope.h"
#include "core/slice.h"

enum {
    ACCESS_LOG_LINE_MIN = 512,  /* room that access_log_format() needs at least */
    ACCESS_LOG_LINE_MAX = 8192, /* room that shows all but extreme requests whole */
};

/* The local time as text; it is made anew once a second. A zeroed one is valid. */
struct access_log {
    /* private */
    time_t now;
    char stamp[32];
};

enum access_event {
    ACCESS_HTTP,
    ACCESS_WS_CONNECTING,
    ACCESS_WS_CONNECT,
    ACCESS_WS_REJECT,
    ACCESS_WS_DISCONNECT,
};

struct access_entry {
    enum access_event event;
    time_t now;
    struct scope_addr client; /* an empty host (a unix socket) is shown as None */
    struct slice method;      /* ACCESS_HTTP only, as are status and body_bytes */
    struct slice target;      /* HTTP: as received, with the query; WebSocket: without it */
    unsigned status;
    uint64_t body_bytes; /* written; 0 is shown as - */
};

/* Writes the line, newline included, into the @room (>= ACCESS_LOG_LINE_MIN) bytes at @out and
 * returns it. A client or a request that is too long is cut and ends in "..."; the rest of the
 * line is always there. */
struct slice access_log_format(struct access_log *log, uint8_t *out, size_t room,
                               const struct access_entry *entry);

#endif
