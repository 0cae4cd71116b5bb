/* SPDX-License-Identifier: BSD-3-Clause
 *
 * log_sink: one output of the log: a bounded queue and a thread that writes it.
 *
 * Why a thread each: whether a write() blocks cannot be known for terminals and files, and the
 * descriptors 1 and 2 are shared with other processes, so they are not ours to make non-blocking.
 * A sink that is stuck holds up nobody but itself.
 *
 * When lines are lost (queue full, disk full, reader gone) they are counted, and the next one that
 * gets through has a line before it that says how many.
 *
 * Thread: each function but log_sink_new() is called with the mutex held that was given there.
 */
#ifndef CORE_LOG_SINK_H
#define CORE_LOG_SINK_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <time.h>

#include "core/err.h"
#include "core/slice.h"

struct log_sink; /* opaque */

/* Makes the line that reports @lost lines, newline included, in the @cap bytes at @out, and returns
 * its length. Called with the mutex held. */
typedef size_t (*log_sink_notice_cb)(char *out, size_t cap, unsigned long lost);

/* Tells that @name cannot be written for the reason @errnum: once, until it could be again. Called
 * with the mutex held. */
typedef void (*log_sink_failed_cb)(const char *name, int errnum);

struct log_sink_config {
    const char *name; /* static text */
    int fd;
    bool owns_fd;          /* close it at the end */
    pthread_mutex_t *lock; /* outlives the sink and its thread */
    log_sink_notice_cb notice;
    log_sink_failed_cb failed;
};

/* Starts the thread. Errors: ERR_AGAIN, ERR_IO (no more threads); the descriptor stays the
 * caller's. */
enum err log_sink_new(struct log_sink **out, const struct log_sink_config *config) MUST_CHECK;

/* Queues a copy of @line (at most LOG_LINE_MAX bytes, newline included), or counts it as lost. */
void log_sink_add(struct log_sink *sink, struct slice line);

/* Waits until everything is written or @deadline (CLOCK_MONOTONIC) has come, then ends the thread.
 * Gives the mutex up while waiting; the caller has seen to it that nobody else uses @sink. Adds to
 * *@lost how many lines were lost since log_sink_new().
 *
 * Ownership: takes @sink; a stuck thread frees it when its write() returns.
 * Errors:    ERR_TIMEOUT when the thread is stuck. */
enum err log_sink_free(struct log_sink *sink, const struct timespec *deadline,
                       unsigned long *lost) MUST_CHECK;

#endif
