/* SPDX-License-Identifier: BSD-3-Clause */
#include "core/buf.h"
#include "core/mem.h"

#include "tests/support/unit.h"

#include <string.h>

static void append_keeps_bytes_over_many_growths(void **state)
{
    (void)state;
    struct buf buf;
    buf_init(&buf, 100000);
    for (unsigned i = 0; i < 100000; i++) {
        const uint8_t byte = (uint8_t)(i * 7);
        assert_int_equal(buf_append(&buf, &byte, 1), ERR_OK);
    }
    for (unsigned i = 0; i < 100000; i++)
        assert_int_equal(buf.ptr[i], (uint8_t)(i * 7));
    buf_deinit(&buf);
}

static void ceiling_is_reached_exactly_and_not_passed(void **state)
{
    (void)state;
    struct buf buf;
    uint8_t bytes[101] = {1, 2, 3};
    buf_init(&buf, 100);
    assert_int_equal(buf_append(&buf, bytes, 101), ERR_TOO_BIG);
    assert_int_equal(buf.len, 0);
    assert_int_equal(buf_append(&buf, bytes, 99), ERR_OK);
    assert_int_equal(buf_append(&buf, bytes, 2), ERR_TOO_BIG);
    assert_int_equal(buf_append(&buf, bytes, 1), ERR_OK);
    assert_int_equal(buf.len, 100);
    assert_true(buf.cap <= 100);
    assert_int_equal(buf_append(&buf, bytes, 1), ERR_TOO_BIG);
    assert_int_equal(buf_append(&buf, NULL, 0), ERR_OK);
    buf_deinit(&buf);
}

static void sizes_near_the_end_of_size_t_are_too_big(void **state)
{
    (void)state;
    struct buf buf;
    buf_init(&buf, 1000);
    assert_int_equal(buf_append(&buf, "abc", 3), ERR_OK);
    assert_int_equal(buf_reserve(&buf, SIZE_MAX), ERR_TOO_BIG);
    assert_int_equal(buf_reserve(&buf, SIZE_MAX - 2), ERR_TOO_BIG);
    assert_int_equal(buf_reserve(&buf, (size_t)UINT32_MAX + 1), ERR_TOO_BIG);
    assert_true(slice_eq_str(buf_slice(&buf), "abc"));
    buf_deinit(&buf);
}

static void a_failed_allocation_leaves_the_bytes(void **state)
{
    (void)state;
    struct buf buf;
    uint8_t bytes[500] = {0};
    buf_init(&buf, 1000);
    assert_int_equal(buf_append(&buf, "abc", 3), ERR_OK);
    mem_fail_after(0);
    assert_int_equal(buf_append(&buf, bytes, sizeof(bytes)), ERR_NOMEM);
    mem_fail_after(-1);
    assert_true(slice_eq_str(buf_slice(&buf), "abc"));
    assert_int_equal(buf_append(&buf, bytes, sizeof(bytes)), ERR_OK);
    buf_deinit(&buf);
}

static void drop_front_moves_the_rest(void **state)
{
    (void)state;
    struct buf buf;
    buf_init(&buf, 100);
    buf_drop_front(&buf, 0);
    assert_int_equal(buf_append(&buf, "abcdef", 6), ERR_OK);
    buf_drop_front(&buf, 2);
    assert_true(slice_eq_str(buf_slice(&buf), "cdef"));
    buf_drop_front(&buf, 4);
    assert_int_equal(buf.len, 0);
    buf_deinit(&buf);
}

static void deinit_leaves_an_empty_buf_with_its_ceiling(void **state)
{
    (void)state;
    struct buf buf;
    buf_init(&buf, 10);
    assert_int_equal(buf_append(&buf, "abc", 3), ERR_OK);
    buf_deinit(&buf);
    assert_null(buf.ptr);
    assert_int_equal(buf_append(&buf, "0123456789", 10), ERR_OK);
    assert_int_equal(buf_append(&buf, "x", 1), ERR_TOO_BIG);
    buf_deinit(&buf);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(append_keeps_bytes_over_many_growths),
        cmocka_unit_test(ceiling_is_reached_exactly_and_not_passed),
        cmocka_unit_test(sizes_near_the_end_of_size_t_are_too_big),
        cmocka_unit_test(a_failed_allocation_leaves_the_bytes),
        cmocka_unit_test(drop_front_moves_the_rest),
        cmocka_unit_test(deinit_leaves_an_empty_buf_with_its_ceiling),
    };
    return cmocka_run_group_tests_name("buf", tests, NULL, NULL);
}
