/* SPDX-License-Identifier: BSD-3-Clause */
#include "core/spread.h"

#include "tests/support/unit.h"

static void a_handful_leaves_at_once(void **state)
{
    (void)state;
    assert_int_equal(spread_window_ms(0, 3500), 0);
    assert_int_equal(spread_window_ms(16, 3500), 0);
    for (uint32_t i = 0; i < 16; i++)
        assert_int_equal(spread_delay_ms(i, 0), 0);
}

static void a_crowd_takes_the_window_and_no_more(void **state)
{
    (void)state;
    assert_int_equal(spread_window_ms(17, 3500), 85);
    assert_int_equal(spread_window_ms(100, 3500), 500);
    assert_int_equal(spread_window_ms(100000, 3500), 3500);
    assert_int_equal(spread_window_ms(100000, 0), 0);
}

static void every_tenth_of_the_window_gets_its_share(void **state)
{
    (void)state;
    static const uint32_t crowds[] = {20, 100, 1000, 50000};
    for (size_t c = 0; c < UNIT_ROWS(crowds); c++) {
        unsigned share[10] = {0};
        for (uint32_t i = 0; i < crowds[c]; i++) {
            const uint64_t delay_ms = spread_delay_ms(i, 5000);
            assert_true(delay_ms < 5000);
            share[delay_ms / 500]++;
        }
        for (size_t i = 0; i < UNIT_ROWS(share); i++)
            assert_in_range(share[i], crowds[c] / 10 - 2, crowds[c] / 10 + 2);
    }
}

static void a_window_without_end_is_one_of_seven_weeks(void **state)
{
    (void)state;
    assert_int_equal(spread_delay_ms(0, UINT64_MAX), 0);
    for (uint32_t i = 1; i < 1000; i++) {
        assert_true(spread_delay_ms(i, UINT64_MAX) < UINT32_MAX);
        assert_true(spread_delay_ms(i, UINT64_MAX) == spread_delay_ms(i, UINT32_MAX));
    }
}

static void neighbours_leave_far_apart(void **state)
{
    (void)state;
    for (uint32_t i = 1; i < 1000; i++) {
        const int64_t step =
            (int64_t)spread_delay_ms(i, 10000) - (int64_t)spread_delay_ms(i - 1, 10000);
        assert_true(step > 3000 || step < -3000);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_handful_leaves_at_once),
        cmocka_unit_test(a_crowd_takes_the_window_and_no_more),
        cmocka_unit_test(every_tenth_of_the_window_gets_its_share),
        cmocka_unit_test(a_window_without_end_is_one_of_seven_weeks),
        cmocka_unit_test(neighbours_leave_far_apart),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
