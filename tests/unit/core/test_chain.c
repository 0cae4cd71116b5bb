/* SPDX-License-Identifier: BSD-3-Clause */
#include "core/chain.h"

#include "tests/support/unit.h"

#include <stdlib.h>
#include <string.h>

enum { IOV_MAX_HERE = 64, PATTERN_BYTES = 100 * 1024 };

static uint8_t pattern[PATTERN_BYTES];

static int make_pattern(void **state)
{
    (void)state;
    uint64_t seed = 42;
    for (size_t i = 0; i < sizeof(pattern); i++)
        pattern[i] = (uint8_t)unit_random(&seed);
    return 0;
}

/* The bytes of @chain must be @len of the pattern from @at on. */
static void assert_holds(const struct chain *chain, size_t at, size_t len)
{
    struct iovec iov[IOV_MAX_HERE];
    const size_t count = chain_gather(chain, iov, IOV_MAX_HERE, 0);
    assert_int_equal(chain->bytes, len);
    for (size_t i = 0; i < count; i++) {
        assert_true(iov[i].iov_len > 0 && iov[i].iov_len <= len);
        assert_memory_equal(iov[i].iov_base, pattern + at, iov[i].iov_len);
        at += iov[i].iov_len;
        len -= iov[i].iov_len;
    }
    assert_int_equal(len, 0);
}

static void appended_bytes_come_out_in_order(void **state)
{
    (void)state;
    struct chain_pool pool = {0};
    struct chain chain = {0};
    uint64_t seed = 7;
    size_t head = 0;
    size_t tail = 0;
    while (tail < PATTERN_BYTES) {
        size_t len = unit_random(&seed) % (unit_random(&seed) % 4 == 0 ? 20000 : 300);
        len = len < PATTERN_BYTES - tail ? len : PATTERN_BYTES - tail;
        chain_append(&chain, &pool, slice_make(pattern + tail, len));
        tail += len;
        assert_holds(&chain, head, tail - head);
        const size_t count = unit_random(&seed) % (tail - head + 1);
        chain_consume(&chain, &pool, count);
        head += count;
        assert_holds(&chain, head, tail - head);
    }
    chain_clear(&chain, &pool);
    chain_pool_deinit(&pool);
}

static void little_data_takes_a_small_block_and_much_takes_large_ones(void **state)
{
    (void)state;
    struct chain_pool pool = {0};
    struct chain chain = {0};
    struct iovec iov[4];
    chain_append(&chain, &pool, slice_make(pattern, 10));
    /* The tail is filled first; what is left after it is more than a small block holds. */
    chain_append(&chain, &pool, slice_make(pattern + 10, 2000));
    assert_int_equal(chain_gather(&chain, iov, 4, 0), 2);
    assert_int_equal(iov[0].iov_len, CHAIN_SMALL_BYTES);
    assert_int_equal(iov[1].iov_len, 2010 - CHAIN_SMALL_BYTES);
    chain_append(&chain, &pool, slice_make(pattern + 2010, CHAIN_LARGE_BYTES));
    assert_int_equal(chain_gather(&chain, iov, 4, 0), 3);
    assert_int_equal(iov[1].iov_len, CHAIN_LARGE_BYTES);
    chain_clear(&chain, &pool);
    chain_pool_deinit(&pool);
}

static void an_append_leaves_gathered_bytes_where_they_are(void **state)
{
    (void)state;
    struct chain_pool pool = {0};
    struct chain chain = {0};
    struct iovec iov[2];
    chain_append(&chain, &pool, slice_make(pattern, 100));
    assert_int_equal(chain_gather(&chain, iov, 2, 0), 1);
    chain_append(&chain, &pool, slice_make(pattern + 100, 5000));
    assert_int_equal(iov[0].iov_len, 100);
    assert_memory_equal(iov[0].iov_base, pattern, 100);
    chain_consume(&chain, &pool, 100);
    assert_holds(&chain, 100, 5000);
    chain_clear(&chain, &pool);
    chain_pool_deinit(&pool);
}

static void gather_stops_at_the_number_of_bytes(void **state)
{
    (void)state;
    struct chain_pool pool = {0};
    struct chain chain = {0};
    struct iovec iov[4];
    assert_int_equal(chain_gather(&chain, iov, 4, 0), 0);
    chain_append(&chain, &pool, slice_make(pattern, 40000));
    assert_int_equal(chain_gather(&chain, iov, 4, CHAIN_LARGE_BYTES), 1);
    assert_int_equal(chain_gather(&chain, iov, 4, CHAIN_LARGE_BYTES + 1), 2);
    assert_int_equal(iov[1].iov_len, 1);
    assert_int_equal(chain_gather(&chain, iov, 2, 0), 2);
    chain_clear(&chain, &pool);
    chain_pool_deinit(&pool);
}

static void reserved_bytes_are_contiguous_and_count_when_committed(void **state)
{
    (void)state;
    struct chain_pool pool = {0};
    struct chain chain = {0};
    size_t at = 0;
    static const size_t lens[] = {990, 20, CHAIN_LARGE_BYTES, 0, 1, 5000, CHAIN_LARGE_BYTES};
    for (size_t i = 0; i < UNIT_ROWS(lens); i++) {
        uint8_t *out = chain_reserve(&chain, &pool, lens[i]);
        assert_int_equal(chain.bytes, at);
        memcpy(out, pattern + at, lens[i]);
        chain_commit(&chain, lens[i]);
        at += lens[i];
        assert_holds(&chain, 0, at);
    }
    chain_clear(&chain, &pool);
    chain_pool_deinit(&pool);
}

static void a_reservation_that_is_not_committed_leaves_no_trace(void **state)
{
    (void)state;
    struct chain_pool pool = {0};
    struct chain chain = {0};
    (void)chain_reserve(&chain, &pool, 10);
    assert_holds(&chain, 0, 0);
    (void)chain_reserve(&chain, &pool, 5000); /* leaves the small block empty in front */
    chain_append(&chain, &pool, slice_make(pattern, 3000));
    assert_holds(&chain, 0, 3000);
    chain_consume(&chain, &pool, 3000);
    assert_null(chain.head);
    chain_pool_deinit(&pool);
}

static void a_chain_that_was_written_holds_no_block(void **state)
{
    (void)state;
    struct chain_pool pool = {0};
    struct chain chain = {0};
    chain_append(&chain, &pool, slice_make(pattern, 50000));
    chain_consume(&chain, &pool, 49999);
    assert_non_null(chain.head);
    chain_consume(&chain, &pool, 1);
    assert_null(chain.head);
    assert_null(chain.tail);
    chain_pool_deinit(&pool);
}

static void the_pool_keeps_no_more_than_its_ceilings(void **state)
{
    (void)state;
    struct chain_pool pool = {0};
    struct chain *chains = calloc(CHAIN_KEEP_SMALL + 1, sizeof(*chains));
    assert_non_null(chains);
    for (unsigned i = 0; i <= CHAIN_KEEP_SMALL; i++)
        chain_append(&chains[i], &pool, slice_make(pattern, 1));
    for (unsigned i = 0; i <= CHAIN_KEEP_LARGE; i++)
        chain_append(&chains[0], &pool, slice_make(pattern, CHAIN_LARGE_BYTES));
    for (unsigned i = 0; i <= CHAIN_KEEP_SMALL; i++)
        chain_clear(&chains[i], &pool);
    assert_true(pool.small_count <= CHAIN_KEEP_SMALL);
    assert_true(pool.large_count <= CHAIN_KEEP_LARGE);
    chain_pool_deinit(&pool);
    assert_null(pool.small);
    assert_null(pool.large);
    free(chains);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(appended_bytes_come_out_in_order),
        cmocka_unit_test(little_data_takes_a_small_block_and_much_takes_large_ones),
        cmocka_unit_test(an_append_leaves_gathered_bytes_where_they_are),
        cmocka_unit_test(gather_stops_at_the_number_of_bytes),
        cmocka_unit_test(reserved_bytes_are_contiguous_and_count_when_committed),
        cmocka_unit_test(a_reservation_that_is_not_committed_leaves_no_trace),
        cmocka_unit_test(a_chain_that_was_written_holds_no_block),
        cmocka_unit_test(the_pool_keeps_no_more_than_its_ceilings),
    };
    return cmocka_run_group_tests_name("chain", tests, make_pattern, NULL);
}
