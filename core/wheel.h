/* SPDX-License-Identifier: BSD-3-Clause
 *
 * wheel: many deadlines behind one timer.
 *
 * Why: each connection has a deadline that moves with every message; a timer each would cost a
 * heap operation per message. Setting and clearing here is O(1), precision is WHEEL_TICK_MS.
 * It only computes: the loop's one timer calls wheel_advance().
 *
 * Thread: owner loop only.
 */
#ifndef CORE_WHEEL_H
#define CORE_WHEEL_H

#include <stdbool.h>
#include <stdint.h>

#include "core/dlist.h"

enum { WHEEL_SLOTS = 512, WHEEL_TICK_MS = 100 };

struct wheel_entry {
    struct dlist link;    /* private */
    uint64_t deadline_ms; /* private */
    void (*expired)(struct wheel_entry *entry);
};

struct wheel {
    struct dlist slots[WHEEL_SLOTS];
    uint64_t tick;  /* last tick that was handled */
    uint64_t count; /* entries set */
};

void wheel_init(struct wheel *wheel, uint64_t now_ms);

/* Makes @entry unset; @expired is called once each time a deadline passes. */
void wheel_entry_init(struct wheel_entry *entry, void (*expired)(struct wheel_entry *entry));

/* Sets or moves the deadline. One in the past fires at the next wheel_advance(), never inside
 * this call. */
void wheel_set(struct wheel *wheel, struct wheel_entry *entry, uint64_t deadline_ms);

/* Unsets; nothing happens when it was not set. */
void wheel_clear(struct wheel *wheel, struct wheel_entry *entry);

bool wheel_entry_is_set(const struct wheel_entry *entry);

/* Calls expired() of every entry whose deadline is at or before @now_ms; the entry is unset
 * first. The callback may set, clear and free any entry. A large jump of @now_ms is handled in
 * one pass. */
void wheel_advance(struct wheel *wheel, uint64_t now_ms);

#endif
