/* SPDX-License-Identifier: BSD-3-Clause
 *
 * signals: those that a program hears while it runs, and that do nothing while it ends.
 *
 * Why: a signal that comes once more behind the last word would, by default, take the exit code
 * and the last lines of the log away.
 *
 * Thread: main.
 */
#ifndef SERVER_PROCESS_SIGNALS_H
#define SERVER_PROCESS_SIGNALS_H

#include <uv.h>

enum { SIGNALS_MAX = 3 };

struct signals {
    /* private */
    uv_signal_t handles[SIGNALS_MAX];
    int numbers[SIGNALS_MAX];
    int count;
};

/* Hears @count (at most SIGNALS_MAX) signals on @loop; the handle that @heard gets has @ctx as its
 * data. */
void signals_open(struct signals *s, uv_loop_t *loop, const int *numbers, int count,
                  uv_signal_cb heard, void *ctx);

/* From now on they are ignored, until the program ends. Nothing when none were opened. */
void signals_close(struct signals *s);

#endif
