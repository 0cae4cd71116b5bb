/* SPDX-License-Identifier: BSD-3-Clause
 *
 * report: what was counted, and how it is printed.
 *
 * Why: a figure is worth what its checks are worth, so each kind of failure has its own count, and
 * the generator says how busy it was itself.
 *
 * Thread: owner only.
 */
#ifndef BENCH_LOAD_REPORT_H
#define BENCH_LOAD_REPORT_H

#include <stdint.h>
#include <stdio.h>

#include "bench/load/histogram.h"

enum { TALLY_ERROR_MAX = 128 };

/* Zeroed: nothing happened. */
struct tally {
    uint64_t units;      /* answers, deliveries, requests, handshakes, sockets held */
    uint64_t expected;   /* units that should have come */
    uint64_t lost;       /* of them never came */
    uint64_t reordered;  /* came behind a later one of the same connection */
    uint64_t repeated;   /* came twice, or after they counted as lost */
    uint64_t mismatched; /* came with other contents than were sent */
    uint64_t refused;    /* connections that never opened */
    uint64_t closed;     /* connections that the server ended too early */
    uint64_t wall_ns;    /* between the marks */
    uint64_t cpu_ns;     /* of this process in that time */
    char first_error[TALLY_ERROR_MAX];
    struct histogram latency;
};

/* Keeps @text (fixed words, no user data) as the first error, if there is none yet. */
void tally_explain(struct tally *t, const char *text);

/* Prints "result {...}", one line of JSON, and flushes @out. */
void tally_print(const struct tally *t, const char *scenario, unsigned open_connections, FILE *out);

#endif
