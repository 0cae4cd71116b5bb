/* SPDX-License-Identifier: BSD-3-Clause
 *
 * strmap: finds an object by the bytes of its name.
 *
 * Why: names of groups, channels and requests come from peers. The hash is seeded (SipHash), so
 * that nobody can choose names that all fall together; entries are parts of the objects that they
 * find, so that nothing is allocated for each.
 *
 * One that never had an entry holds no memory.
 *
 * Thread: owner only.
 */
#ifndef CORE_STRMAP_H
#define CORE_STRMAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/slice.h"

struct strmap_entry {
    struct strmap_entry *next; /* private */
    uint64_t hash;             /* private */
    struct slice key;          /* stays as it is while the entry is in a map */
};

struct strmap {
    size_t count;
    /* private */
    struct strmap_entry **slots;
    size_t slot_count; /* a power of two, or 0 */
    uint64_t seed[2];
};

/* Makes @map empty and draws its seed. */
void strmap_init(struct strmap *map);

/* Frees the map's own memory; the entries are the caller's. @map stays usable and empty. */
void strmap_deinit(struct strmap *map);

/* NULL when there is none. */
struct strmap_entry *strmap_find(const struct strmap *map, struct slice key);

/* Puts @entry, which is in no map, under @key, which no other entry has. @key is borrowed: usually
 * a part of the same object. */
void strmap_add(struct strmap *map, struct strmap_entry *entry, struct slice key);

/* Takes out @entry, which is in @map. */
void strmap_remove(struct strmap *map, struct strmap_entry *entry);

/* Any entry behind @entry (NULL: the first), in no order; NULL at the end. Between the calls
 * nothing is added, and @entry itself may go once the next one is known. */
struct strmap_entry *strmap_next(const struct strmap *map, const struct strmap_entry *entry);

/* SipHash-1-3 of @bytes. */
uint64_t strmap_hash(const uint64_t seed[2], struct slice bytes);

#endif
