/* SPDX-License-Identifier: BSD-3-Clause
 *
 * log_escape: makes control bytes visible.
 *
 * Why: parts of a line come from peers. A newline in one would forge a line of its own, and an
 * escape sequence would act on the terminal that shows the log.
 *
 * Thread: any.
 */
#ifndef CORE_LOG_ESCAPE_H
#define CORE_LOG_ESCAPE_H

#include <stdbool.h>
#include <stddef.h>

#include "core/slice.h"

/* Copies @text to the @cap bytes at @out with each control byte (below 0x20, 0x7f, and C1 controls
 * in UTF-8) as \n, \r, \t or \xNN; @keep_lines leaves \n and \t as they are. Returns the bytes
 * written; *@cut becomes true when there was more, and is left alone otherwise. */
size_t log_escape(char *out, size_t cap, struct slice text, bool keep_lines, bool *cut);

#endif
