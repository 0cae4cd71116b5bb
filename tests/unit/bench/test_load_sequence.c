/* SPDX-License-Identifier: BSD-3-Clause */
#include "bench/load/sequence.h"
#include "tests/support/unit.h"

enum { MAX_NUMBERS = 8 };

struct row {
    const char *why;
    uint32_t numbers[MAX_NUMBERS];
    size_t count;
    enum sequence_verdict last; /* of the last number; those before it are next */
};

static const struct row rows[] = {
    {"the first one", {5}, 1, SEQUENCE_NEXT},
    {"one after the other", {5, 6, 7}, 3, SEQUENCE_NEXT},
    {"behind a gap", {5, 9}, 2, SEQUENCE_NEXT},
    {"a gap is filled", {5, 7, 6}, 3, SEQUENCE_LATE},
    {"the first one comes second", {6, 5}, 2, SEQUENCE_LATE},
    {"the last one again", {5, 5}, 2, SEQUENCE_REPEATED},
    {"an old one again", {5, 6, 7, 5}, 4, SEQUENCE_REPEATED},
    {"one from before the beginning", {5, 4}, 2, SEQUENCE_REPEATED},
    {"two gaps, the older one is filled", {6, 8, 5}, 3, SEQUENCE_LATE},
    {"63 behind is remembered", {68, 5}, 2, SEQUENCE_LATE},
    {"64 behind is forgotten", {69, 5}, 2, SEQUENCE_REPEATED},
    {"a leap over the window forgets what was there", {5, 1000, 5}, 3, SEQUENCE_REPEATED},
    {"and knows what is missing in it", {5, 1000, 998}, 3, SEQUENCE_LATE},
};

static void verdicts_are(void **state)
{
    (void)state;
    for (size_t i = 0; i < UNIT_ROWS(rows); i++) {
        struct sequence s;
        enum sequence_verdict verdict = SEQUENCE_NEXT;
        sequence_init(&s, 5);
        for (size_t n = 0; n < rows[i].count; n++) {
            if (verdict != SEQUENCE_NEXT)
                fail_msg("%s: number %zu", rows[i].why, n);
            verdict = sequence_check(&s, rows[i].numbers[n]);
        }
        if (verdict != rows[i].last)
            fail_msg("%s: %d instead of %d", rows[i].why, (int)verdict, (int)rows[i].last);
    }
}

static void a_late_number_counts_once(void **state)
{
    struct sequence s;

    (void)state;
    sequence_init(&s, 0);
    assert_int_equal(sequence_check(&s, 1), SEQUENCE_NEXT);
    assert_int_equal(sequence_check(&s, 0), SEQUENCE_LATE);
    assert_int_equal(sequence_check(&s, 0), SEQUENCE_REPEATED);
}

static void a_shuffled_window_comes_complete(void **state)
{
    enum { NUMBERS = 60 };
    uint64_t seed = 20260101;
    uint32_t order[NUMBERS];
    size_t good = 0;
    struct sequence s;

    (void)state;
    for (uint32_t i = 0; i < NUMBERS; i++) {
        const uint32_t at = unit_random(&seed) % (i + 1);
        order[i] = order[at];
        order[at] = i;
    }
    sequence_init(&s, 0);
    for (size_t i = 0; i < NUMBERS; i++)
        good += sequence_check(&s, order[i]) != SEQUENCE_REPEATED;
    assert_int_equal(good, NUMBERS);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(verdicts_are),
        cmocka_unit_test(a_late_number_counts_once),
        cmocka_unit_test(a_shuffled_window_comes_complete),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
