/* SPDX-License-Identifier: BSD-3-Clause */
#include "server/transport/admission.h"

void admission_init(struct admission *a, unsigned max)
{
    atomic_init(&a->count, 0);
    a->max = max;
}

enum admission_verdict admission_enter(struct admission *a)
{
    const unsigned before = atomic_fetch_add_explicit(&a->count, 1, memory_order_relaxed);
    if (before < a->max)
        return ADMISSION_SERVE;
    if (before - a->max < ADMISSION_SPARE)
        return ADMISSION_REFUSE;
    admission_leave(a);
    return ADMISSION_DROP;
}

void admission_leave(struct admission *a)
{
    atomic_fetch_sub_explicit(&a->count, 1, memory_order_relaxed);
}
