/* SPDX-License-Identifier: BSD-3-Clause
 *
 * terminal: what a SIGHUP means: somebody's wish, or the end of the terminal that we run in.
 *
 * Why: SIGHUP asks a server to replace its workers, and tells a program in a terminal that its
 * window was closed. Whoever closes the window of a server that runs in it wants it to end, unless
 * it was started with nohup.
 *
 * Thread: main.
 */
#ifndef SERVER_PROCESS_TERMINAL_H
#define SERVER_PROCESS_TERMINAL_H

#include <stdbool.h>

struct terminal {
    bool ends_us; /* we run in one, and its end would be ours */
};

/* To be called before a handler for SIGHUP is set. */
void terminal_look(struct terminal *terminal);

/* Whether the terminal in which we ran is gone, so that a SIGHUP is its end. */
bool terminal_is_gone(const struct terminal *terminal);

#endif
