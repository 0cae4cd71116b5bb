/* SPDX-License-Identifier: BSD-3-Clause */
#include "channel_layer/shard.h"

#include "tests/support/golden.h"

static void every_name_belongs_to_the_host_of_channels_redis(void **state)
{
    json_t *file = golden_load("tests/golden/channels_redis/consistent_hash.json");
    size_t compared = 0;
    size_t i = 0;
    const json_t *row = NULL;

    (void)state;
    json_array_foreach(json_object_get(file, "vectors"), i, row)
    {
        struct golden_bytes name = golden_hex(golden_text(row, "utf8_hex"));
        json_t *indexes = json_object_get(row, "index");
        const char *count = NULL;
        json_t *index = NULL;
        json_object_foreach(indexes, count, index)
        {
            const unsigned want = (unsigned)json_integer_value(index);
            const unsigned got = shard_of(golden_of(name), (unsigned)strtoul(count, NULL, 10));
            if (got != want)
                fail_msg("%s of %s: %u, not %u", golden_text(row, "name"), count, got, want);
            compared++;
        }
        free(name.ptr);
    }
    assert_int_equal(compared, 114 * 11);
    json_decref(file);
}

/* CRC-32 of "123456789" is 0xcbf43926, of which the low 12 bits are 0x926 (2342): a number that
 * every implementation of this CRC publishes. */
static void the_check_value_of_the_crc_is_right(void **state)
{
    (void)state;
    assert_int_equal(shard_of(slice_str("123456789"), 4096), 0x926);
    assert_int_equal(shard_of((struct slice){0}, 4096), 0);
}

static void no_count_of_hosts_gives_one_that_is_not_there(void **state)
{
    (void)state;
    for (unsigned count = 1; count <= 5000; count++) {
        for (unsigned i = 0; i < 40; i++) {
            const char name[] = {'n', (char)('0' + i), (char)('0' + count % 64)};
            assert_true(shard_of(slice_make(name, sizeof(name)), count) < count);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_name_belongs_to_the_host_of_channels_redis),
        cmocka_unit_test(the_check_value_of_the_crc_is_right),
        cmocka_unit_test(no_count_of_hosts_gives_one_that_is_not_there),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
