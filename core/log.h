/* SPDX-License-Identifier: BSD-3-Clause
 *
 * log: lines for people and for log collectors, written by threads of its own.
 *
 * Why: a full disk or a pipe that nobody reads must never block an event loop. Lines go into a
 * bounded queue for each descriptor, which a thread writes. A line that does not fit is dropped
 * and counted, and the next one that fits is preceded by one that says how many there were
 * ("log.dropped count=N").
 *
 * Thread: any, once log_open() returned; before that, and after log_close(), lines go straight to
 *         stderr.
 */
#ifndef CORE_LOG_H
#define CORE_LOG_H

#include <stdbool.h>

#include "core/err.h"
#include "core/slice.h"

enum log_level { LOG_DEBUG, LOG_INFO, LOG_WARN, LOG_ERROR, LOG_CRITICAL };

enum {
    LOG_LINE_MAX = 64 * 1024,    /* bytes; a longer line is cut and says so */
    LOG_QUEUE_MAX = 1024 * 1024, /* bytes that may wait for each sink */
};

struct log_config {
    enum log_level level;    /* lines below it are not made */
    const char *format;      /* Python logging %-format (log_format.h); NULL: Daphne's default */
    const char *access_path; /* access log: a path, "-" for stdout, NULL for none */
};

/* Starts the writing threads and opens the access log (append).
 * Errors: ERR_INVALID (format), ERR_ACCESS, ERR_NOT_FOUND, ERR_IO; @why names the path and the
 * reason. */
enum err log_open(const struct log_config *config, struct err_text *why) MUST_CHECK;

/* Writes what waits, for at most @timeout_ms, and ends the threads. A sink that is stuck is left
 * behind, and later lines are dropped then. Returns how many lines were lost in all. */
unsigned long log_close(unsigned timeout_ms);

bool log_is_on(enum log_level level);

/* One line: @event is a stable dotted name ("worker.exit"), the rest key=value pairs. */
void log_event(enum log_level level, const char *event, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* One line in plain words, for what people and scripts look for at start-up ("Listening on ...").
 */
void log_line(enum log_level level, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Text of several lines (a traceback) behind a first line; newlines are kept, other control bytes
 * are escaped. */
void log_text(enum log_level level, const char *event, struct slice text);

/* A finished access-log line, newline included. Nothing happens when there is no access log. */
void log_access(struct slice line);

bool log_has_access(void);

/* Bytes that a worker process wrote to its stdout (1) or stderr (2), passed on as they are. */
void log_pass_through(int fd, struct slice bytes);

#endif
