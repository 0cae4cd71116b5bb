/* SPDX-License-Identifier: BSD-3-Clause */
#include "channel_layer/notice.h"

#include "tests/support/unit.h"

static void the_first_is_due_at_any_time(void **state)
{
    static const uint64_t times_ms[] = {0, 1, NOTICE_MS, UINT64_MAX - NOTICE_MS};
    (void)state;
    for (size_t i = 0; i < sizeof(times_ms) / sizeof(times_ms[0]); i++) {
        struct notice notice = {0};
        uint64_t held_back = 99;
        assert_true(notice_is_due(&notice, times_ms[i], &held_back));
        assert_int_equal(held_back, 0);
    }
}

static void those_held_back_are_counted_until_one_is_due(void **state)
{
    struct notice notice = {0};
    uint64_t held_back = 99;
    (void)state;
    assert_true(notice_is_due(&notice, 5, &held_back));
    held_back = 99;
    assert_false(notice_is_due(&notice, 5, &held_back));
    assert_false(notice_is_due(&notice, 5 + NOTICE_MS - 1, &held_back));
    assert_int_equal(held_back, 99); /* untouched */
    assert_true(notice_is_due(&notice, 5 + NOTICE_MS, &held_back));
    assert_int_equal(held_back, 2);
    assert_false(notice_is_due(&notice, 5 + 2 * NOTICE_MS - 1, &held_back));
    assert_true(notice_is_due(&notice, 5 + 2 * NOTICE_MS, &held_back));
    assert_int_equal(held_back, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_first_is_due_at_any_time),
        cmocka_unit_test(those_held_back_are_counted_until_one_is_due),
    };
    return cmocka_run_group_tests_name("notice", tests, NULL, NULL);
}
