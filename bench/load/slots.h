/* SPDX-License-Identifier: BSD-3-Clause
 *
 * slots: numbers of connections that are to be opened, again and again.
 *
 * Why: a connection that ended is opened anew after the batch of events, in constant time.
 *
 * Thread: owner only.
 */
#ifndef BENCH_LOAD_SLOTS_H
#define BENCH_LOAD_SLOTS_H

#include <assert.h>
#include <stdbool.h>

#include "core/mem.h"

struct slots {
    /* private */
    unsigned *closed; /* numbers of those that are closed; the last one is next */
    unsigned count;   /* of them */
    unsigned total;
};

/* @total slots, all closed. */
static inline void slots_init(struct slots *s, unsigned total)
{
    *s = (struct slots){.count = total, .total = total};
    s->closed = mem_alloc(total * sizeof(s->closed[0]));
    for (unsigned i = 0; i < total; i++)
        s->closed[i] = total - 1 - i;
}

static inline void slots_deinit(struct slots *s)
{
    mem_free(s->closed);
}

static inline bool slots_has_closed(const struct slots *s)
{
    return s->count > 0;
}

/* The number of one that is closed, which is taken out. */
static inline unsigned slots_take(struct slots *s)
{
    assert(s->count > 0);
    return s->closed[--s->count];
}

static inline void slots_put(struct slots *s, unsigned slot)
{
    assert(s->count < s->total);
    s->closed[s->count++] = slot;
}

#endif
