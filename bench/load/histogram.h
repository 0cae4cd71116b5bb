/* SPDX-License-Identifier: BSD-3-Clause
 *
 * histogram: how long things took, in a table of fixed size.
 *
 * Why: percentiles of millions of messages without keeping each of them. Every power of two has 32
 * equal steps, so a value read back is at most 3.2 % under the one put in.
 *
 * Thread: owner only.
 */
#ifndef BENCH_LOAD_HISTOGRAM_H
#define BENCH_LOAD_HISTOGRAM_H

#include <stdint.h>

enum {
    HISTOGRAM_STEP_BITS = 5,
    HISTOGRAM_STEPS = 1 << HISTOGRAM_STEP_BITS,
    HISTOGRAM_OCTAVES = 38, /* up to 2^42 ns, over an hour; longer counts as that */
    HISTOGRAM_SLOTS = (HISTOGRAM_OCTAVES + 1) * HISTOGRAM_STEPS,
};

/* Zeroed: empty. */
struct histogram {
    /* private */
    uint64_t slots[HISTOGRAM_SLOTS];
    uint64_t count;
    uint64_t most_ns;
};

void histogram_add(struct histogram *h, uint64_t ns);

/* The time that @per_mille of 1,000 values do not exceed, in ns; 0 when there is none. */
uint64_t histogram_quantile_ns(const struct histogram *h, unsigned per_mille);

/* The longest time, exactly. */
uint64_t histogram_most_ns(const struct histogram *h);

#endif
