/* SPDX-License-Identifier: BSD-3-Clause
 *
 * log_format: the line layout of Python's logging module ("%(asctime)-15s %(message)s").
 *
 * Why: --log-fmt is Daphne's, so deployments hand us a format that they wrote for Python. It is
 * compiled once at start-up, where a mistake can be told; laying out a line allocates nothing.
 *
 * Thread: any; a compiled format never changes.
 */
#ifndef CORE_LOG_FORMAT_H
#define CORE_LOG_FORMAT_H

#include <stdint.h>

#include "core/err.h"
#include "core/log.h"
#include "core/slice.h"

#define LOG_FORMAT_DEFAULT "%(asctime)-15s %(levelname)-8s %(message)s"

enum {
    LOG_FORMAT_MAX = 1024,      /* bytes of a format */
    LOG_FORMAT_PARTS_MAX = 64,  /* fields and the texts between them */
    LOG_FORMAT_WIDTH_MAX = 999, /* of one field */
    LOG_ASCTIME_MAX = 32,
};

struct log_format_part {
    uint16_t field; /* private: row of the field table, or a text */
    uint16_t at;    /* of a text, in the format */
    uint16_t len;
    uint16_t width;
    int16_t precision; /* -1: none */
    char flags[6];     /* those of "-+ 0#" that are given */
    char conversion;   /* 's', 'd' or 'f' */
};

struct log_format {
    /* private */
    char text[LOG_FORMAT_MAX];
    struct log_format_part parts[LOG_FORMAT_PARTS_MAX];
    unsigned count;
};

/* What a line is made of. */
struct log_record {
    enum log_level level;
    struct slice message; /* borrowed */
    const char *asctime;  /* "2026-11-21 01:30:46,120" */
    int64_t time_ms;      /* since 1970 */
    int64_t uptime_ms;    /* since the log was opened */
    int64_t process;
    int64_t thread;
};

/* Compiles @text.
 *
 * Errors: ERR_INVALID where Python's logging would refuse it or fail with each line, with the part
 *         in question in @why. @out is undefined then. */
enum err log_format_compile(struct log_format *out, const char *text,
                            struct err_text *why) MUST_CHECK;

/* Writes the line for @record, without a newline, to the @cap bytes at @out; what does not fit is
 * left out. Returns the length of the whole line, as snprintf() does. */
size_t log_format_write(const struct log_format *format, const struct log_record *record, char *out,
                        size_t cap);

/* Writes the local time of @time_ms in logging's form; returns @out, which has LOG_ASCTIME_MAX
 * bytes. */
const char *log_format_asctime(char *out, int64_t time_ms);

#endif
