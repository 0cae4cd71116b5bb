/* SPDX-License-Identifier: BSD-3-Clause */
#include "bench/load/histogram.h"
#include "core/mem.h"
#include "tests/support/unit.h"

static int make(void **state)
{
    *state = mem_alloc(sizeof(struct histogram));
    return 0;
}

static int release(void **state)
{
    mem_free(*state);
    return 0;
}

static void an_empty_one_has_no_quantiles(void **state)
{
    assert_int_equal(histogram_quantile_ns(*state, 500), 0);
    assert_int_equal(histogram_most_ns(*state), 0);
}

static void small_values_are_exact(void **state)
{
    struct histogram *h = *state;

    for (uint64_t ns = 1; ns <= 20; ns++)
        histogram_add(h, ns);
    assert_int_equal(histogram_quantile_ns(h, 500), 10);
    assert_int_equal(histogram_quantile_ns(h, 1000), 20);
    assert_int_equal(histogram_quantile_ns(h, 1), 1);
}

/* Each value alone is given back at most a step of its octave too low, never too high. */
static void every_value_is_given_back_within_a_step(void **state)
{
    (void)state;
    for (unsigned bit = 0; bit < 42; bit++) {
        for (uint64_t add = 0; add < 3; add++) {
            const uint64_t ns = (UINT64_C(1) << bit) + add * ((UINT64_C(1) << bit) / 3);
            struct histogram *h = mem_alloc(sizeof(*h));
            histogram_add(h, ns);
            const uint64_t got = histogram_quantile_ns(h, 990);
            assert_true(got <= ns);
            assert_true(ns - got <= ns / HISTOGRAM_STEPS);
            assert_int_equal(histogram_most_ns(h), ns);
            mem_free(h);
        }
    }
}

static void what_is_too_long_counts_as_the_longest(void **state)
{
    struct histogram *h = *state;

    histogram_add(h, UINT64_MAX);
    assert_true(histogram_quantile_ns(h, 500) >= UINT64_C(1) << 42);
    assert_true(histogram_most_ns(h) == UINT64_MAX);
}

static void one_of_a_hundred_is_the_99th_percentile_from_two_on(void **state)
{
    struct histogram *h = *state;

    for (unsigned i = 0; i < 98; i++)
        histogram_add(h, 16);
    histogram_add(h, 1024);
    histogram_add(h, 1024);
    assert_int_equal(histogram_quantile_ns(h, 980), 16);
    assert_int_equal(histogram_quantile_ns(h, 990), 1024);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(an_empty_one_has_no_quantiles, make, release),
        cmocka_unit_test_setup_teardown(small_values_are_exact, make, release),
        cmocka_unit_test_setup_teardown(every_value_is_given_back_within_a_step, make, release),
        cmocka_unit_test_setup_teardown(what_is_too_long_counts_as_the_longest, make, release),
        cmocka_unit_test_setup_teardown(one_of_a_hundred_is_the_99th_percentile_from_two_on, make,
                                        release),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
