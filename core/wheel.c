/* SPDX-License-Identifier: BSD-3-Clause */
#include "core/wheel.h"

/* An entry lies in the slot of its deadline's tick, modulo the rotation. Each pass looks at every
 * slot from the last handled tick to now: that one again, because a deadline later in the same
 * tick may have come since. An entry of a later rotation is looked at and left where it is. */

static struct dlist *slot_of(struct wheel *wheel, uint64_t tick)
{
    return &wheel->slots[tick % WHEEL_SLOTS];
}

void wheel_init(struct wheel *wheel, uint64_t now_ms)
{
    for (unsigned i = 0; i < WHEEL_SLOTS; i++)
        dlist_init(&wheel->slots[i]);
    wheel->tick = now_ms / WHEEL_TICK_MS;
    wheel->count = 0;
}

void wheel_entry_init(struct wheel_entry *entry, void (*expired)(struct wheel_entry *entry))
{
    dlist_init(&entry->link);
    entry->deadline_ms = 0;
    entry->expired = expired;
}

void wheel_set(struct wheel *wheel, struct wheel_entry *entry, uint64_t deadline_ms)
{
    wheel_clear(wheel, entry);
    uint64_t tick = deadline_ms / WHEEL_TICK_MS;
    if (tick < wheel->tick) /* the past: the slot that the next pass begins with */
        tick = wheel->tick;
    entry->deadline_ms = deadline_ms;
    dlist_append(slot_of(wheel, tick), &entry->link);
    wheel->count++;
}

void wheel_clear(struct wheel *wheel, struct wheel_entry *entry)
{
    if (!wheel_entry_is_set(entry))
        return;
    dlist_remove(&entry->link);
    wheel->count--;
}

bool wheel_entry_is_set(const struct wheel_entry *entry)
{
    return !dlist_is_empty(&entry->link);
}

static void collect_due(struct dlist *due, struct dlist *slot, uint64_t now_ms)
{
    struct dlist *next = NULL;
    for (struct dlist *node = slot->next; node != slot; node = next) {
        next = node->next;
        if (CONTAINER_OF(node, struct wheel_entry, link)->deadline_ms > now_ms)
            continue;
        dlist_remove(node);
        dlist_append(due, node);
    }
}

void wheel_advance(struct wheel *wheel, uint64_t now_ms)
{
    const uint64_t now_tick = now_ms / WHEEL_TICK_MS;
    if (now_tick < wheel->tick)
        return;
    uint64_t passes = now_tick - wheel->tick + 1;
    if (passes > WHEEL_SLOTS)
        passes = WHEEL_SLOTS;

    /* All that is due leaves its slot before the first callback: what callbacks set waits for the
     * next pass, and what they clear or free simply leaves this list. */
    struct dlist due;
    dlist_init(&due);
    for (uint64_t i = 0; i < passes && wheel->count > 0; i++)
        collect_due(&due, slot_of(wheel, wheel->tick + i), now_ms);
    wheel->tick = now_tick;

    struct dlist *node = NULL;
    while ((node = dlist_take_first(&due)) != NULL) {
        struct wheel_entry *entry = CONTAINER_OF(node, struct wheel_entry, link);
        wheel->count--;
        entry->expired(entry);
    }
}
