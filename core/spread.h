/* SPDX-License-Identifier: BSD-3-Clause
 *
 * spread: when each of many clients is sent away.
 *
 * Why: clients that are closed at the same moment come back at the same moment. The delays are
 * multiples of the golden ratio: they fill a window evenly however many there are, and neighbours
 * in the order of arrival leave far apart.
 *
 * Thread: any (computes only).
 */
#ifndef CORE_SPREAD_H
#define CORE_SPREAD_H

#include <stddef.h>
#include <stdint.h>

enum {
    SPREAD_HANDFUL = 16, /* so many leave at once */
    SPREAD_EACH_MS = 5,
};

/* The window that @count farewells in a hurry take: none for a handful, @most_ms for a crowd. */
static inline uint64_t spread_window_ms(size_t count, uint64_t most_ms)
{
    if (count <= SPREAD_HANDFUL)
        return 0;
    const uint64_t window_ms = (uint64_t)count * SPREAD_EACH_MS;
    return window_ms < most_ms ? window_ms : most_ms;
}

/* The delay of the @nth farewell, below @window_ms (and below 2^32); 0 for the first. */
static inline uint64_t spread_delay_ms(uint32_t nth, uint64_t window_ms)
{
    const uint32_t golden = 2654435769U; /* 2^32 divided by the golden ratio */
    if (window_ms > UINT32_MAX)
        window_ms = UINT32_MAX;
    return (uint64_t)(uint32_t)(nth * golden) * window_ms >> 32;
}

#endif
