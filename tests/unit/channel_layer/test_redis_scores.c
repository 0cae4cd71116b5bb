/* SPDX-License-Identifier: BSD-3-Clause
 * The scores of what is stored: times, as Python prints them, in any locale.
 */
#include "channel_layer/redis/redis.h"

#include "tests/support/comma_locale.h"
#include "tests/support/redis_backend_rig.h"

static const int64_t PER_S = 1000000;

static int64_t now_us(void)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (int64_t)now.tv_sec * PER_S + now.tv_nsec / 1000;
}

/* The shortest text that reads back as the same double: Python's repr(). */
static void assert_is_pythons(const char *text)
{
    char shortest[40];
    const double value = strtod(text, NULL);
    int len = 0;
    for (int digits = 1; digits <= 17; digits++) {
        len = snprintf(shortest, sizeof(shortest), "%.*g", digits, value);
        if (strchr(shortest, 'e') == NULL && strtod(shortest, NULL) == value)
            break;
    }
    if (strchr(shortest, '.') == NULL)
        snprintf(shortest + len, sizeof(shortest) - (size_t)len, ".0");
    assert_string_equal(text, shortest);
}

static void a_score_is_the_time_as_python_prints_it(void **state)
{
    struct redis_backend b = {.last_score_us = 0};
    struct redis_number score;
    (void)state;
    const int64_t before = now_us();
    const struct slice text = redis_score(&b, &score);
    assert_ptr_equal(text.ptr, score.text);
    assert_int_equal(text.len, strlen(score.text));
    assert_in_range(b.last_score_us, before, now_us());
    for (unsigned i = 0; i < 100000; i++) {
        (void)redis_score(&b, &score);
        assert_is_pythons(score.text);
    }
}

static void scores_that_end_in_zeros_keep_one_digit(void **state)
{
    static const struct {
        int64_t last_us;
        const char *want; /* behind the point */
    } rows[] = {
        {249999, ".25"}, {0, ".000001"}, {999999, ".0"}, {99999, ".1"}, {123455, ".123456"},
    };
    struct redis_backend b = {.last_score_us = 0};
    struct redis_number score;
    (void)state;
    const int64_t soon_us = (now_us() / PER_S + 30) * PER_S;
    for (size_t i = 0; i < UNIT_ROWS(rows); i++) {
        b.last_score_us = soon_us + rows[i].last_us;
        (void)redis_score(&b, &score);
        assert_string_equal(strchr(score.text, '.'), rows[i].want);
        assert_int_equal(b.last_score_us, soon_us + rows[i].last_us + 1);
    }
}

static void a_clock_that_was_set_back_far_is_believed(void **state)
{
    struct redis_backend b = {.last_score_us = now_us() + 61 * PER_S};
    struct redis_number score;
    (void)state;
    (void)redis_score(&b, &score);
    assert_true(b.last_score_us <= now_us());
}

static void scores_are_the_same_where_the_decimal_point_is_a_comma(void **state)
{
    struct redis_backend b = {.last_score_us = 0};
    struct redis_number score;
    locale_t before = (locale_t)0;
    (void)state;
    const locale_t comma = comma_locale_begin(&before);
    for (unsigned i = 0; i < 1000; i++) {
        (void)redis_score(&b, &score);
        assert_int_equal(strspn(score.text, "0123456789."), strlen(score.text));
        assert_non_null(strchr(score.text, '.'));
    }
    comma_locale_end(comma, before);
}

static void everything_works_where_the_decimal_point_is_a_comma(void **state)
{
    struct rig rig;
    struct rig_call call;
    locale_t before = (locale_t)0;
    const locale_t comma = comma_locale_begin(&before);
    open_settled(&rig, *state, "\"expiry\": 60");
    assert_int_equal(send_to(&rig, &call, THEIRS "abc"), ERR_OK);
    assert_int_equal(join(&rig, "room"), ERR_OK);
    assert_int_equal(send_to_group(&rig, &call, "room"), ERR_OK);
    assert_int_equal(NUMBER(*state, "ZCARD asgi:group:room"), 1);
    const long long now = (long long)time(NULL);
    assert_int_equal(NUMBER(*state, "ZCOUNT asgi" THEIRS " (%lld %lld", now - 2, now + 2), 1);
    comma_locale_end(comma, before);
    rig_close(&rig);
}

static void an_old_message_is_late_in_whatever_form_its_score_is(void **state)
{
    static const struct {
        const char *score;
        bool is_late;
    } rows[] = {
        {"1000.5", true}, {"1.0005E3", true}, {"1.7e+09", true}, {"-5", true},    {"inf", false},
        {"9.9e9", false}, {"", false},        {"nan", false},    {"-inf", false},
    };
    struct rig rig;
    locale_t before = (locale_t)0;
    unsigned late = 0;
    const locale_t comma = comma_locale_begin(&before);
    rig_open(&rig, *state, "");
    const struct redis_shard *shard = &redis_of(rig.b)->shards[0];
    for (size_t i = 0; i < UNIT_ROWS(rows); i++) {
        assert_int_equal(redis_is_late(shard, slice_str("key"), slice_str(rows[i].score)),
                         rows[i].is_late);
        late += rows[i].is_late ? 1 : 0;
    }
    assert_int_equal(rig.layer.stats.dropped_expired, late);
    comma_locale_end(comma, before);
    rig_close(&rig);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_score_is_the_time_as_python_prints_it),
        cmocka_unit_test(scores_that_end_in_zeros_keep_one_digit),
        cmocka_unit_test(a_clock_that_was_set_back_far_is_believed),
        cmocka_unit_test(scores_are_the_same_where_the_decimal_point_is_a_comma),
        TEST(everything_works_where_the_decimal_point_is_a_comma),
        TEST(an_old_message_is_late_in_whatever_form_its_score_is),
    };
    return cmocka_run_group_tests_name("redis_scores", tests, start_server, stop_server);
}
