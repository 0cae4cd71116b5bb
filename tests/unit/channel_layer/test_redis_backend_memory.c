/* SPDX-License-Identifier: BSD-3-Clause
 * The backend when memory is refused: each allocation whose size others choose fails once, one
 * after the other. Nothing is lost, doubled, leaked or left without an answer.
 */
#include "tests/support/redis_backend_rig.h"

enum { ALLOCATIONS = 16, MESSAGES = 30 };

/* Whether a call is made once more, with one allocation further on failing: until the failure
 * comes after all that the call asks for, which depends on how Redis' answers are cut. */
static bool fails_further(long after, bool ended_well)
{
    if (after >= 10L * ALLOCATIONS)
        fail_msg("a call that fails with its allocation %ld", after - 1);
    return after < ALLOCATIONS || !ended_well;
}

/* A call ends once, and what it says is true. */
static void a_send_is_stored_or_says_that_it_was_not(void **state)
{
    unsigned failures = 0;
    bool ended_well = false;
    for (long after = 0; fails_further(after, ended_well); after++) {
        struct rig rig;
        struct rig_call call;
        empty_server(state);
        open_settled(&rig, *state, "\"timeout\": 0.5");
        mem_fail_after(after);
        const enum err err = send_to(&rig, &call, THEIRS "abc");
        mem_fail_after(-1);
        assert_true(err == ERR_OK || err == ERR_UNAVAILABLE || err == ERR_TIMEOUT);
        if (err != ERR_TIMEOUT)
            assert_int_equal(NUMBER(*state, "ZCARD asgi" THEIRS), err == ERR_OK ? 1 : 0);
        ended_well = err == ERR_OK;
        failures += !ended_well;
        assert_true(rig_until(&rig, is_beating, *state));
        assert_int_equal(send_to(&rig, &call, "jobs"), ERR_OK);
        rig_close(&rig);
    }
    assert_true(failures > 0);
}

static void a_group_send_reaches_all_or_says_that_it_did_not(void **state)
{
    unsigned failures = 0;
    bool ended_well = false;
    for (long after = 0; fails_further(after, ended_well); after++) {
        struct rig rig;
        struct rig_call call;
        empty_server(state);
        TELL_REDIS(*state, "ZADD asgi:group:room 4000000000 " THEIRS "a 4000000001 " THEIRS
                           "b 4000000002 jobs 4000000003 " BASE "single");
        open_settled(&rig, *state, "\"timeout\": 0.5");
        mem_fail_after(after);
        const enum err err = send_to_group(&rig, &call, "room");
        mem_fail_after(-1);
        assert_true(err == ERR_OK || err == ERR_UNAVAILABLE || err == ERR_TIMEOUT);
        if (err == ERR_OK) {
            assert_int_equal(NUMBER(*state, "ZCARD asgi" THEIRS), 1);
            assert_int_equal(NUMBER(*state, "ZCARD asgijobs"), 1);
            assert_int_equal(rig.layer.found, 1);
        } else if (err == ERR_UNAVAILABLE) {
            assert_int_equal(NUMBER(*state, "EXISTS asgi" THEIRS " asgijobs"), 0);
        }
        ended_well = err == ERR_OK;
        failures += !ended_well;
        assert_int_equal(send_to_group(&rig, &call, "room"), ERR_OK);
        rig_close(&rig);
    }
    assert_true(failures > 0);
}

static bool has_messages(void *ctx)
{
    return ((const struct rig *)ctx)->layer.arrived >= MESSAGES;
}

static bool is_empty(void *ctx)
{
    return NUMBER(ctx, "EXISTS " KEY) == 0;
}

static void what_arrives_arrives_once(void **state)
{
    for (long after = 0; after < ALLOCATIONS; after++) {
        struct rig rig;
        empty_server(state);
        put_messages(*state, KEY, BASE "x", 0, MESSAGES);
        open_settled(&rig, *state, "\"timeout\": 0.5");
        mem_fail_after(after);
        watch(&rig, BASE);
        const bool has_come = rig_until(&rig, has_messages, &rig);
        mem_fail_after(-1);
        if (!has_come)
            fail_msg("%u came after allocation %ld had failed", rig.layer.arrived, after);
        for (unsigned i = 0; i < MESSAGES; i++)
            assert_int_equal(rig.layer.times[i], 1);
        assert_true(rig_until(&rig, is_empty, *state));
        rig_close(&rig);
    }
}

static bool has_normal(void *ctx)
{
    return ((const struct rig *)ctx)->layer.normal >= MESSAGES;
}

static void what_is_taken_is_taken_once(void **state)
{
    for (long after = 0; after < ALLOCATIONS; after++) {
        struct rig rig;
        empty_server(state);
        put_messages(*state, "asgijobs", "jobs", 0, MESSAGES);
        open_settled(&rig, *state, "\"timeout\": 0.5");
        mem_fail_after(after);
        rig.b->ops->want(rig.b, slice_str("jobs"), MESSAGES);
        bool has_come = rig_until(&rig, has_normal, &rig);
        mem_fail_after(-1);
        if (!has_come) /* one whose note found no room comes back with the next comparison */
            has_come = rig_until(&rig, has_normal, &rig);
        if (!has_come)
            fail_msg("%u came after allocation %ld had failed", rig.layer.normal, after);
        for (unsigned i = 0; i < MESSAGES; i++) {
            assert_int_equal(rig.layer.times[i], 1);
            rig.b->ops->taken(rig.b, slice_str("jobs"), rig.layer.handles[i]);
        }
        rig_close(&rig);
        assert_int_equal(NUMBER(*state, "DBSIZE"), 0);
    }
}

static void memberships_are_made_or_said_not_to_be(void **state)
{
    unsigned failures = 0;
    bool ended_well = false;
    for (long after = 0; fails_further(after, ended_well); after++) {
        struct rig rig;
        empty_server(state);
        open_settled(&rig, *state, "\"timeout\": 0.5");
        mem_fail_after(after);
        const enum err err = join(&rig, "room");
        mem_fail_after(-1);
        if (err == ERR_OK)
            assert_int_equal(NUMBER(*state, "ZCARD asgi:group:room"), 1);
        ended_well = err == ERR_OK;
        failures += !ended_well;
        assert_int_equal(join(&rig, "room"), ERR_OK);
        rig_close(&rig);
        assert_int_equal(NUMBER(*state, "DBSIZE"), 0);
    }
    assert_true(failures > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_send_is_stored_or_says_that_it_was_not),
        TEST(a_group_send_reaches_all_or_says_that_it_did_not),
        TEST(what_arrives_arrives_once),
        TEST(what_is_taken_is_taken_once),
        TEST(memberships_are_made_or_said_not_to_be),
    };
    return cmocka_run_group_tests_name("redis_backend_memory", tests, start_server, stop_server);
}
