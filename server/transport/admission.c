/* SPDX-License-Identifier: BSD-3-Clause */
#include "server/transport/admission.h"

void admission_init(struct admission *a, unsigned max)
{
    atomic_init(&a->count, 0);
    atomic_init(&a->peak, 0);
    atomic_init(&a->next_ms, 0);
    a->max = max;
}

static void note_peak(struct admission *a, unsigned count)
{
    unsigned peak = atomic_load_explicit(&a->peak, memory_order_relaxed);
    while (count > peak && !atomic_compare_exchange_weak_explicit(
                               &a->peak, &peak, count, memory_order_relaxed, memory_order_relaxed))
        continue;
}

enum admission_verdict admission_enter(struct admission *a)
{
    const unsigned before = atomic_fetch_add_explicit(&a->count, 1, memory_order_relaxed);
    note_peak(a, before + 1);
    if (before < a->max)
        return ADMISSION_SERVE;
    if (before - a->max < ADMISSION_SPARE)
        return ADMISSION_REFUSE;
    (void)admission_leave(a);
    return ADMISSION_DROP;
}

static bool has_crowd_left(struct admission *a, unsigned count)
{
    const unsigned peak = atomic_load_explicit(&a->peak, memory_order_relaxed);
    return count <= peak / 2 && peak - count >= ADMISSION_CROWD_MIN;
}

bool admission_leave(struct admission *a)
{
    return has_crowd_left(a, atomic_fetch_sub_explicit(&a->count, 1, memory_order_relaxed) - 1);
}

bool admission_crowd_is_gone(struct admission *a, uint64_t now_ms, uint64_t *again_ms)
{
    const unsigned count = atomic_load_explicit(&a->count, memory_order_relaxed);
    uint64_t next_ms = atomic_load_explicit(&a->next_ms, memory_order_relaxed);
    *again_ms = 0;
    if (!has_crowd_left(a, count))
        return false;
    if (now_ms < next_ms) {
        *again_ms = next_ms;
        return false;
    }
    if (!atomic_compare_exchange_strong_explicit(&a->next_ms, &next_ms,
                                                 now_ms + ADMISSION_GIVE_BACK_MS,
                                                 memory_order_relaxed, memory_order_relaxed))
        return false; /* another edge does it */
    atomic_store_explicit(&a->peak, count, memory_order_relaxed);
    return true;
}
