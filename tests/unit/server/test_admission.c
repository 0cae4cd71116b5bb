/* SPDX-License-Identifier: BSD-3-Clause */
#include "server/transport/admission.h"

#include "tests/support/unit.h"

enum { MAX = 1000, START_MS = 5000 };

static void enter(struct admission *a, unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        assert_int_equal(admission_enter(a), ADMISSION_SERVE);
}

/* Whether the last one was told that a crowd has left. */
static bool leave(struct admission *a, unsigned count)
{
    bool has_crowd_left = false;
    for (unsigned i = 0; i < count; i++)
        has_crowd_left = admission_leave(a);
    return has_crowd_left;
}

static bool is_gone(struct admission *a, uint64_t now_ms, uint64_t expected_again_ms)
{
    uint64_t again_ms = UINT64_MAX;
    const bool is_gone = admission_crowd_is_gone(a, now_ms, &again_ms);
    assert_int_equal(again_ms, expected_again_ms);
    return is_gone;
}

static void over_the_ceiling_some_are_refused_and_the_rest_dropped(void **state)
{
    struct admission a;
    (void)state;
    admission_init(&a, 2);
    enter(&a, 2);
    for (unsigned i = 0; i < ADMISSION_SPARE; i++)
        assert_int_equal(admission_enter(&a), ADMISSION_REFUSE);
    assert_int_equal(admission_enter(&a), ADMISSION_DROP);
    (void)leave(&a, ADMISSION_SPARE + 1);
    enter(&a, 1);
}

static void a_few_are_no_crowd(void **state)
{
    struct admission a;
    (void)state;
    admission_init(&a, MAX);
    enter(&a, ADMISSION_CROWD_MIN - 1);
    assert_false(leave(&a, ADMISSION_CROWD_MIN - 1));
    assert_false(is_gone(&a, START_MS, 0));
}

static void half_of_a_crowd_is_one(void **state)
{
    struct admission a;
    (void)state;
    admission_init(&a, MAX);
    enter(&a, 2 * ADMISSION_CROWD_MIN);
    assert_false(leave(&a, ADMISSION_CROWD_MIN - 1));
    assert_true(leave(&a, 1));
    assert_true(is_gone(&a, START_MS, 0));
    assert_false(is_gone(&a, START_MS, 0)); /* it was told once */
}

static void a_crowd_that_is_back_is_not_gone(void **state)
{
    struct admission a;
    (void)state;
    admission_init(&a, MAX);
    enter(&a, 300);
    assert_true(leave(&a, 200));
    enter(&a, 150);
    assert_false(is_gone(&a, START_MS, 0));
}

static void those_who_come_and_go_cost_one_walk_a_minute(void **state)
{
    struct admission a;
    unsigned walks = 0;
    (void)state;
    admission_init(&a, MAX);
    for (uint64_t now_ms = START_MS; now_ms < START_MS + 10 * ADMISSION_GIVE_BACK_MS;
         now_ms += 1000) {
        uint64_t again_ms = 0;
        enter(&a, 500);
        assert_true(leave(&a, 500));
        walks += admission_crowd_is_gone(&a, now_ms, &again_ms) ? 1 : 0;
        assert_true(again_ms == 0 || again_ms > now_ms);
    }
    assert_int_equal(walks, 10);
    enter(&a, 500);
    assert_true(leave(&a, 500));
    assert_false(is_gone(&a, START_MS + 9 * ADMISSION_GIVE_BACK_MS + 1,
                         START_MS + 10 * ADMISSION_GIVE_BACK_MS));
    assert_true(is_gone(&a, START_MS + 10 * ADMISSION_GIVE_BACK_MS, 0));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(over_the_ceiling_some_are_refused_and_the_rest_dropped),
        cmocka_unit_test(a_few_are_no_crowd),
        cmocka_unit_test(half_of_a_crowd_is_one),
        cmocka_unit_test(a_crowd_that_is_back_is_not_gone),
        cmocka_unit_test(those_who_come_and_go_cost_one_walk_a_minute),
    };
    return cmocka_run_group_tests_name("admission", tests, NULL, NULL);
}
