/* SPDX-License-Identifier: BSD-3-Clause */
#include "bench/load/histogram.h"

/* The first 32 values have a slot each; then the leading bit chooses the octave and the five bits
 * behind it the step. */
static unsigned slot_of(uint64_t ns)
{
    if (ns < HISTOGRAM_STEPS)
        return (unsigned)ns;
    const unsigned octave = 63U - (unsigned)__builtin_clzll(ns) - HISTOGRAM_STEP_BITS;
    if (octave >= HISTOGRAM_OCTAVES)
        return HISTOGRAM_SLOTS - 1;
    const unsigned step = (unsigned)(ns >> octave) - HISTOGRAM_STEPS;
    return (octave + 1) * HISTOGRAM_STEPS + step;
}

static uint64_t value_of(unsigned slot)
{
    if (slot < HISTOGRAM_STEPS)
        return slot;
    const unsigned octave = slot / HISTOGRAM_STEPS - 1;
    return (uint64_t)(HISTOGRAM_STEPS + slot % HISTOGRAM_STEPS) << octave;
}

void histogram_add(struct histogram *h, uint64_t ns)
{
    h->slots[slot_of(ns)]++;
    h->count++;
    if (ns > h->most_ns)
        h->most_ns = ns;
}

uint64_t histogram_quantile_ns(const struct histogram *h, unsigned per_mille)
{
    const uint64_t rank = (h->count * per_mille + 999) / 1000;
    uint64_t seen = 0;

    for (unsigned i = 0; i < HISTOGRAM_SLOTS && h->count > 0; i++) {
        seen += h->slots[i];
        if (seen >= rank && seen > 0)
            return value_of(i);
    }
    return 0;
}

uint64_t histogram_most_ns(const struct histogram *h)
{
    return h->most_ns;
}
