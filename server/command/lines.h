/* SPDX-License-Identifier: BSD-3-Clause
 *
 * lines: lines of text from one descriptor, and to another, for the command line tools.
 *
 * Why: with stdio a line has no ceiling, and a tool that writes to a pipe nobody empties cannot be
 * ended by a signal that it wants to end orderly by.
 *
 * Thread: owner only.
 */
#ifndef SERVER_COMMAND_LINES_H
#define SERVER_COMMAND_LINES_H

#include <stdbool.h>
#include <stddef.h>

#include "core/buf.h"
#include "core/err.h"
#include "core/slice.h"

struct line_reader {
    unsigned long number; /* of the line that was given last, from 1 */
    /* private */
    int fd;
    struct buf in; /* begins with the line that was given last */
    size_t used;   /* bytes of it, with its end */
    bool is_at_end;
};

/* @fd is borrowed; a line has at most @line_max bytes. */
void line_reader_init(struct line_reader *r, int fd, size_t line_max);
void line_reader_deinit(struct line_reader *r);

/* The next line without its "\n" or "\r\n", borrowed until the next call. The last one may lack it.
 * Errors: ERR_CLOSED (there is none), ERR_TOO_BIG, ERR_IO and others, text in @why. */
enum err line_reader_next(struct line_reader *r, struct slice *line,
                          struct err_text *why) MUST_CHECK;

/* Writes all of @text. @wake_fd: gives up when it becomes readable; -1: none.
 * Errors: ERR_CLOSED (woken, or nobody reads any more), ERR_IO and others, text in @why. */
enum err lines_write(int fd, struct slice text, int wake_fd, struct err_text *why) MUST_CHECK;

#endif
