/* SPDX-License-Identifier: BSD-3-Clause
 *
 * redis_pause: how long to wait before the next attempt to connect.
 *
 * Why: pauses that grow spare a Redis that is starting; a random part keeps nodes that lost it
 * together from coming back together.
 *
 * Thread: owner only.
 */
#ifndef CHANNEL_LAYER_REDIS_PAUSE_H
#define CHANNEL_LAYER_REDIS_PAUSE_H

#include <stdbool.h>
#include <stdint.h>

enum {
    REDIS_PAUSE_FIRST_MS = 50,
    REDIS_PAUSE_MAX_MS = 500,   /* what others send before we are back does not reach our groups */
    REDIS_PAUSE_EAGER_MS = 200, /* at most, while a command waits */
};

/* The pause after @failures attempts in a row that failed: 50 ms, doubled for each up to 0.5 s, of
 * which the second half is random. */
uint64_t redis_pause_ms(unsigned failures, bool is_eager);

#endif
