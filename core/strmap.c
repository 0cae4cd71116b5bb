/* SPDX-License-Identifier: BSD-3-Clause */
#include "core/strmap.h"

#include <assert.h>

#include "core/digest.h"
#include "core/mem.h"

enum { SLOTS_FIRST = 8 };

/* ---- SipHash-1-3 (Aumasson, Bernstein: "SipHash: a fast short-input PRF") ---- */

static uint64_t rotate(uint64_t x, unsigned bits)
{
    return (x << bits) | (x >> (64 - bits));
}

static void mix(uint64_t v[4])
{
    v[0] += v[1];
    v[1] = rotate(v[1], 13) ^ v[0];
    v[0] = rotate(v[0], 32);
    v[2] += v[3];
    v[3] = rotate(v[3], 16) ^ v[2];
    v[0] += v[3];
    v[3] = rotate(v[3], 21) ^ v[0];
    v[2] += v[1];
    v[1] = rotate(v[1], 17) ^ v[2];
    v[2] = rotate(v[2], 32);
}

/* At most eight bytes, the first one lowest, whatever the machine's order. */
static uint64_t read_le(const uint8_t *in, size_t len)
{
    uint64_t word = 0;
    for (size_t i = 0; i < len; i++)
        word |= (uint64_t)in[i] << (8 * i);
    return word;
}

static void take_word(uint64_t v[4], uint64_t word)
{
    v[3] ^= word;
    mix(v);
    v[0] ^= word;
}

uint64_t strmap_hash(const uint64_t seed[2], struct slice bytes)
{
    uint64_t v[4] = {
        seed[0] ^ UINT64_C(0x736f6d6570736575),
        seed[1] ^ UINT64_C(0x646f72616e646f6d),
        seed[0] ^ UINT64_C(0x6c7967656e657261),
        seed[1] ^ UINT64_C(0x7465646279746573),
    };
    size_t at = 0;
    for (; bytes.len - at >= 8; at += 8)
        take_word(v, read_le(bytes.ptr + at, 8));
    const uint64_t rest = bytes.len > at ? read_le(bytes.ptr + at, bytes.len - at) : 0;
    take_word(v, rest | (uint64_t)bytes.len << 56);
    v[2] ^= 0xff;
    for (int i = 0; i < 3; i++)
        mix(v);
    return v[0] ^ v[1] ^ v[2] ^ v[3];
}

/* ---- the map ---- */

void strmap_init(struct strmap *map)
{
    *map = (struct strmap){.count = 0};
    digest_random((uint8_t *)map->seed, sizeof(map->seed));
}

void strmap_deinit(struct strmap *map)
{
    mem_free(map->slots);
    map->slots = NULL;
    map->slot_count = map->count = 0;
}

static struct strmap_entry **slot_of(const struct strmap *map, uint64_t hash)
{
    return &map->slots[hash & (map->slot_count - 1)];
}

struct strmap_entry *strmap_find(const struct strmap *map, struct slice key)
{
    if (map->count == 0)
        return NULL;
    const uint64_t hash = strmap_hash(map->seed, key);
    struct strmap_entry *entry = *slot_of(map, hash);
    while (entry != NULL && (entry->hash != hash || !slice_eq(entry->key, key)))
        entry = entry->next;
    return entry;
}

/* Doubles the slots; without memory for that the chains get longer, which is only slower. */
static void grow(struct strmap *map)
{
    const size_t count = map->slot_count * 2;
    struct strmap_entry **slots = mem_try(count * sizeof(struct strmap_entry *));
    if (slots == NULL)
        return;
    for (size_t i = 0; i < count; i++)
        slots[i] = NULL;
    struct strmap_entry **old = map->slots;
    const size_t old_count = map->slot_count;
    map->slots = slots;
    map->slot_count = count;
    for (size_t i = 0; i < old_count; i++) {
        struct strmap_entry *entry = old[i];
        while (entry != NULL) {
            struct strmap_entry *next = entry->next;
            struct strmap_entry **slot = slot_of(map, entry->hash);
            entry->next = *slot;
            *slot = entry;
            entry = next;
        }
    }
    mem_free(old);
}

void strmap_add(struct strmap *map, struct strmap_entry *entry, struct slice key)
{
    if (map->slots == NULL) {
        map->slots = mem_alloc(SLOTS_FIRST * sizeof(struct strmap_entry *));
        map->slot_count = SLOTS_FIRST;
    } else if (map->count >= map->slot_count) {
        grow(map);
    }
    entry->key = key;
    entry->hash = strmap_hash(map->seed, key);
    struct strmap_entry **slot = slot_of(map, entry->hash);
    entry->next = *slot;
    *slot = entry;
    map->count++;
}

void strmap_remove(struct strmap *map, struct strmap_entry *entry)
{
    struct strmap_entry **at = slot_of(map, entry->hash);
    while (*at != entry) {
        assert(*at != NULL); /* it is in this map */
        at = &(*at)->next;
    }
    *at = entry->next;
    entry->next = NULL;
    if (--map->count == 0 && map->slot_count > SLOTS_FIRST)
        strmap_deinit(map); /* what a crowd needed goes with it */
}

struct strmap_entry *strmap_next(const struct strmap *map, const struct strmap_entry *entry)
{
    if (entry != NULL && entry->next != NULL)
        return entry->next;
    size_t i = entry == NULL ? 0 : (size_t)(entry->hash & (map->slot_count - 1)) + 1;
    for (; i < map->slot_count; i++)
        if (map->slots[i] != NULL)
            return map->slots[i];
    return NULL;
}
