/* SPDX-License-Identifier: BSD-3-Clause */
#include "channel_layer/strikes.h"

#include <stddef.h>

#include "core/digest.h"
#include "core/strmap.h"

/* Of a body; two that are the same so far, and equally long, are one to us. */
enum { LOOKED_AT = 4096 };

void strikes_init(struct strikes *s)
{
    *s = (struct strikes){.used = 0};
    digest_random((uint8_t *)s->seed, sizeof(s->seed));
}

uint64_t strikes_id(const struct strikes *s, struct slice channel, struct slice body)
{
    const size_t len = body.len < LOOKED_AT ? body.len : LOOKED_AT;
    const uint64_t parts[] = {
        strmap_hash(s->seed, channel),
        strmap_hash(s->seed, slice_make(body.ptr, len)),
        body.len,
    };
    const uint64_t id = strmap_hash(s->seed, slice_make(parts, sizeof(parts)));
    return id != 0 ? id : 1;
}

static unsigned find(const struct strikes *s, uint64_t id)
{
    unsigned i = 0;
    while (i < STRIKES_KEPT && s->kept[i].id != id)
        i++;
    return i;
}

static void forget(struct strikes *s, unsigned i)
{
    s->kept[i].id = 0;
    s->used--;
}

/* A free one, else that of the oldest. */
static unsigned make_place(struct strikes *s)
{
    unsigned oldest = 0;
    for (unsigned i = 0; i < STRIKES_KEPT; i++) {
        if (s->kept[i].id == 0)
            return i;
        if (s->kept[i].since < s->kept[oldest].since)
            oldest = i;
    }
    forget(s, oldest);
    return oldest;
}

bool strikes_add(struct strikes *s, uint64_t id)
{
    unsigned i = find(s, id);
    if (i == STRIKES_KEPT) {
        i = make_place(s);
        s->kept[i].id = id;
        s->kept[i].since = s->next_since++;
        s->kept[i].count = 0;
        s->used++;
    }
    if (++s->kept[i].count < STRIKES_OUT)
        return false;
    forget(s, i);
    return true;
}

void strikes_clear(struct strikes *s, uint64_t id)
{
    if (s->used == 0)
        return;
    const unsigned i = find(s, id);
    if (i < STRIKES_KEPT)
        forget(s, i);
}
