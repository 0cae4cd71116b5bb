/* SPDX-License-Identifier: BSD-3-Clause */
#include "core/strmap.h"

#include "core/mem.h"

#include "tests/support/unit.h"

#include <stdio.h>
#include <stdlib.h>

enum { MANY = 5000 };

struct item {
    struct strmap_entry entry;
    char name[16];
    bool is_in;
};

/* The first vectors of SipHash-1-3 with the key 00 01 … 0f, as the reference implementation gives
 * them for the inputs "", 00, 00 01, … */
static void the_hash_is_siphash(void **state)
{
    (void)state;
    static const uint64_t want[] = {
        UINT64_C(0xabac0158050fc4dc), UINT64_C(0xc9f49bf37d57ca93), UINT64_C(0x82cb9b024dc7d44d),
        UINT64_C(0x8bf80ab8e7ddf7fb), UINT64_C(0xcf75576088d38328), UINT64_C(0xdef9d52f49533b67),
        UINT64_C(0xc50d2b50c59f22a7), UINT64_C(0xd3927d989bb11140), UINT64_C(0x369095118d299a8e),
    };
    static const uint64_t key[2] = {UINT64_C(0x0706050403020100), UINT64_C(0x0f0e0d0c0b0a0908)};
    static const uint8_t in[] = {0, 1, 2, 3, 4, 5, 6, 7, 8};
    for (size_t i = 0; i < UNIT_ROWS(want); i++)
        assert_int_equal(strmap_hash(key, slice_make(in, i)), want[i]);
}

static void maps_have_seeds_of_their_own(void **state)
{
    (void)state;
    struct strmap a;
    struct strmap b;
    strmap_init(&a);
    strmap_init(&b);
    assert_int_not_equal(strmap_hash(a.seed, slice_str("room")),
                         strmap_hash(b.seed, slice_str("room")));
}

static void what_was_added_is_found_until_it_is_removed(void **state)
{
    (void)state;
    static struct item items[MANY];
    struct strmap map;
    uint64_t seed = 42;
    size_t count = 0;
    strmap_init(&map);
    for (unsigned step = 0; step < 20 * MANY; step++) {
        struct item *item = &items[unit_random(&seed) % MANY];
        snprintf(item->name, sizeof(item->name), "%zu", (size_t)(item - items));
        struct strmap_entry *found = strmap_find(&map, slice_str(item->name));
        assert_ptr_equal(found, item->is_in ? &item->entry : NULL);
        if (item->is_in)
            strmap_remove(&map, &item->entry);
        else
            strmap_add(&map, &item->entry, slice_str(item->name));
        item->is_in = !item->is_in;
        count += item->is_in ? 1 : (size_t)-1;
        assert_int_equal(map.count, count);
    }
    size_t seen = 0;
    struct strmap_entry *next = NULL;
    for (struct strmap_entry *e = strmap_next(&map, NULL); e != NULL; e = next) {
        next = strmap_next(&map, e);
        strmap_remove(&map, e);
        seen++;
    }
    assert_int_equal(seen, count);
    assert_int_equal(map.count, 0);
    assert_null(strmap_next(&map, NULL));
    strmap_deinit(&map);
}

static void keys_may_hold_anything(void **state)
{
    (void)state;
    struct item items[3] = {0};
    const struct slice keys[] = {slice_make("a\0b", 3), slice_make("a\0c", 3), slice_make("", 0)};
    struct strmap map;
    strmap_init(&map);
    for (size_t i = 0; i < 3; i++)
        strmap_add(&map, &items[i].entry, keys[i]);
    for (size_t i = 0; i < 3; i++)
        assert_ptr_equal(strmap_find(&map, keys[i]), &items[i].entry);
    assert_null(strmap_find(&map, slice_make("a", 1)));
    strmap_deinit(&map);
}

static void without_memory_it_only_gets_slower(void **state)
{
    (void)state;
    static struct item items[100];
    struct strmap map;
    strmap_init(&map);
    for (size_t i = 0; i < 100; i++) {
        snprintf(items[i].name, sizeof(items[i].name), "%zu", i);
        mem_fail_after(0);
        strmap_add(&map, &items[i].entry, slice_str(items[i].name));
    }
    mem_fail_after(-1);
    for (size_t i = 0; i < 100; i++)
        assert_ptr_equal(strmap_find(&map, slice_str(items[i].name)), &items[i].entry);
    strmap_deinit(&map);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_hash_is_siphash),
        cmocka_unit_test(maps_have_seeds_of_their_own),
        cmocka_unit_test(what_was_added_is_found_until_it_is_removed),
        cmocka_unit_test(keys_may_hold_anything),
        cmocka_unit_test(without_memory_it_only_gets_slower),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
