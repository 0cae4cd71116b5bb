/* SPDX-License-Identifier: BSD-3-Clause
 *
 * marks: the moments at which somebody else reads the server's CPU time.
 *
 * Why: both programs must mean the same interval. A mark is printed while nothing is on the way;
 * in lock-step the generator goes on when it gets a line on stdin.
 *
 * Thread: owner only.
 */
#ifndef BENCH_LOAD_MARKS_H
#define BENCH_LOAD_MARKS_H

#include <stdbool.h>

#include "core/err.h"

/* Prints "mark @name" on stdout and, if @waits, reads a line from stdin.
 * Errors: ERR_CLOSED (nobody is there any more), ERR_TIMEOUT (no line within a minute), ERR_IO. */
enum err marks_set(const char *name, bool waits) MUST_CHECK;

#endif
