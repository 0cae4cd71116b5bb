/* SPDX-License-Identifier: BSD-3-Clause
 *
 * python: which interpreter runs the workers, and where the Python half of this program lies.
 *
 * Thread: start-up.
 */
#ifndef SERVER_PROCESS_PYTHON_H
#define SERVER_PROCESS_PYTHON_H

#include "core/err.h"

struct python {
    char *interpreter;  /* a path that can be executed */
    const char *origin; /* static text: how it was found */
    char *package_dir;  /* folder to import "channelsd" from, or "" for the interpreter's own
                           packages */
};

/* Finds the interpreter: @wanted (--python) if given, else that of $VIRTUAL_ENV, else python3
 * beside this program, else python3 on PATH.
 *
 * Ownership: python_deinit() frees what @out holds.
 * Errors:    ERR_NOT_FOUND; @why says what was looked for. */
enum err python_find(struct python *out, const char *wanted, struct err_text *why) MUST_CHECK;
void python_deinit(struct python *python);

#endif
