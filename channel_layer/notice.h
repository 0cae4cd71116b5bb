/* SPDX-License-Identifier: BSD-3-Clause
 *
 * notice: a line of the log that could come with every message.
 *
 * Why: what is wrong with one message is wrong with many. One line in ten seconds says it, and says
 * how many were held back.
 *
 * Thread: owner only; no clock.
 */
#ifndef CHANNEL_LAYER_NOTICE_H
#define CHANNEL_LAYER_NOTICE_H

#include <stdbool.h>
#include <stdint.h>

enum { NOTICE_MS = 10000 }; /* between two log lines of one kind */

/* One kind. Zeroed at the beginning. */
struct notice {
    /* private */
    uint64_t next_ms;
    uint64_t held_back;
};

/* Whether this one may be logged; then *@held_back is how many were not since the last. */
bool notice_is_due(struct notice *notice, uint64_t now_ms, uint64_t *held_back);

#endif
