/* SPDX-License-Identifier: BSD-3-Clause */
#include "channel_layer/redis/redis_pause.h"

#include <stddef.h>
#include <uv.h>

uint64_t redis_pause_eager_ms(const struct redis_pause *pause)
{
    return pause->tls_failed ? REDIS_PAUSE_TLS_MS : REDIS_PAUSE_EAGER_MS;
}

uint64_t redis_pause_next_ms(struct redis_pause *pause, bool is_eager)
{
    const uint64_t max_ms =
        is_eager || pause->tls_failed ? redis_pause_eager_ms(pause) : REDIS_PAUSE_MAX_MS;
    uint64_t pause_ms = REDIS_PAUSE_FIRST_MS;
    uint32_t random = 0;
    for (unsigned i = 0; i < pause->failures && pause_ms < max_ms; i++)
        pause_ms *= 2;
    if (pause_ms > max_ms)
        pause_ms = max_ms;
    pause->failures++;
    if (uv_random(NULL, NULL, &random, sizeof(random), 0, NULL) != 0)
        random = (uint32_t)uv_hrtime(); /* nobody gains by guessing it */
    return pause_ms / 2 + random % (pause_ms / 2 + 1);
}
