/* SPDX-License-Identifier: BSD-3-Clause
 *
 * redis_pause: how long to wait before the next attempt to connect.
 *
 * Why: pauses that grow spare a Redis that is starting; a random part keeps nodes that lost it
 * together from coming back together.
 *
 * Thread: owner only.
 */
#ifndef CHANNEL_LAYER_REDIS_REDIS_PAUSE_H
#define CHANNEL_LAYER_REDIS_REDIS_PAUSE_H

#include <stdbool.h>
#include <stdint.h>

enum {
    REDIS_PAUSE_FIRST_MS = 50,
    REDIS_PAUSE_MAX_MS = 500,   /* what others send before we are back does not reach our groups */
    REDIS_PAUSE_EAGER_MS = 200, /* at most, while a command waits */
    REDIS_PAUSE_TLS_MS = 2000,  /* when TLS failed: what it needs is read anew for each attempt */
};

struct redis_pause {
    unsigned failures; /* in a row */
    bool tls_failed;   /* in the last one */
};

/* The pause after one more attempt that failed: 50 ms, doubled for each up to the maximum, of which
 * the second half is random. */
uint64_t redis_pause_next_ms(struct redis_pause *pause, bool is_eager);

/* The longest that a command which comes during the pause waits for an attempt. */
uint64_t redis_pause_eager_ms(const struct redis_pause *pause);

#endif
