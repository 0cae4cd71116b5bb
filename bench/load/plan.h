/* SPDX-License-Identifier: BSD-3-Clause
 *
 * plan: what one run of the load generator is asked to do.
 *
 * Why: one record, read from the command line and never changed after, that every part can look at.
 * All counts and times have ceilings, so that a run ends by itself, and the server must be on a
 * loopback address: this program is no weapon.
 *
 * Thread: any, once plan_parse() returned.
 */
#ifndef BENCH_LOAD_PLAN_H
#define BENCH_LOAD_PLAN_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/err.h"

enum {
    PLAN_MAX_CONNECTIONS = 20000,
    PLAN_MAX_WINDOW = 32, /* half of SEQUENCE_WINDOW: what is in order is never too far behind */
    PLAN_MAX_RATE = 100000,
    PLAN_MAX_MEASURE_MS = 600000,
    PLAN_MAX_WARMUP_MS = 60000,
    PLAN_MAX_QUIET_MS = 60000,
    PLAN_MAX_LIMIT_MS = 1200000,
};

struct plan {
    const char *scenario; /* echo, fanout, http, connect or idle */
    struct sockaddr_in server;
    char host[INET_ADDRSTRLEN];
    unsigned port;
    const char *path;         /* of the requests, or of the members of a fan-out */
    const char *publish_path; /* fanout: where the publisher connects */
    const char *expect;       /* http: the body that each answer must have */
    unsigned connections;
    unsigned window;      /* echo: messages on the way per connection; fanout: in all */
    unsigned rate;        /* fanout: messages published per second; 0: as fast as they arrive */
    size_t payload_bytes; /* of one message */
    bool is_json;         /* the message is {"message": "..."} */
    bool is_lockstep;     /* waits at each mark for a line on stdin */
    unsigned measure_ms;
    unsigned warmup_ms;
    unsigned quiet_ms; /* what has not come when nothing came for so long is lost */
    unsigned limit_ms; /* for opening all connections, and for the answers that are still missing */
};

/* Reads the command line; the strings of @plan point into @argv.
 * Errors: ERR_INVALID, with @why. */
enum err plan_parse(struct plan *plan, struct err_text *why, int argc, char **argv) MUST_CHECK;

/* The options, for people. Static storage. */
const char *plan_usage(void);

#endif
