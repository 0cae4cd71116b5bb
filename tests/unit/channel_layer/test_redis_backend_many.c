/* SPDX-License-Identifier: BSD-3-Clause
 * Many of what a backend has few of: mailboxes, and messages that it has taken.
 */
#include "tests/support/redis_backend_rig.h"

#include "channel_layer/redis/redis.h"

/* ---- mailboxes ---- */

static bool has_one(void *ctx)
{
    return ((const struct rig *)ctx)->layer.arrived == 1;
}

static void as_many_mailboxes_are_read_as_a_layer_may_have(void **state)
{
    struct rig rig;
    char base[64];
    char key[80];
    open_settled(&rig, *state, "");
    for (unsigned i = 0; i < BACKEND_WATCHES_MAX; i++) {
        snprintf(base, sizeof(base), "p%u." NODE "!", i);
        watch(&rig, base);
    }
    watch(&rig, base); /* again */
    snprintf(key, sizeof(key), "asgi%s", base);
    put_messages(*state, key, "abc", 1, 2);
    assert_true(rig_until(&rig, has_one, &rig));
    rig_close(&rig);
}

/* ---- messages that were taken ---- */

enum { HELD = 1500 };

static bool has_taken(void *ctx)
{
    return ((const struct rig *)ctx)->layer.normal >= HELD;
}

struct look {
    struct rig_redis *redis;
    long long count; /* of the messages in the channel, that is waited for */
};

static bool has_count(void *ctx)
{
    const struct look *look = ctx;
    return NUMBER(look->redis, "ZCARD asgijobs") >= look->count;
}

/* As if the answer of a pop had been lost with its connection, which is cut then. */
static void lose_one(struct rig_redis *redis, const char *score)
{
    TELL_REDIS(redis, "ZADD asgi:channelsd:taken:" NODE " %s jobs:lost", score);
    TELL_REDIS(redis, "CLIENT KILL TYPE normal SKIPME yes");
}

static void a_lost_message_is_found_behind_any_number_of_others(void **state)
{
    struct rig rig;
    struct look look = {*state, 1};
    open_settled(&rig, *state, "");
    put_messages(*state, "asgijobs", "jobs", 0, HELD);
    rig.b->ops->want(rig.b, slice_str("jobs"), HELD);
    assert_true(rig_until(&rig, has_taken, &rig));
    rig.b->ops->want(rig.b, slice_str("jobs"), 0);
    lose_one(*state, "4000000000.25");
    assert_true(rig_until(&rig, has_count, &look));
    assert_int_equal(NUMBER(*state, "ZCARD asgijobs"), 1);
    assert_int_equal(NUMBER(*state, "ZCOUNT asgijobs 4000000000.25 4000000000.25"), 1);
    assert_int_equal(NUMBER(*state, "ZCARD asgi:channelsd:taken:" NODE), HELD);
    rig_close(&rig);
    assert_int_equal(NUMBER(*state, "ZCARD asgijobs"), HELD + 1);
}

static bool has_both(void *ctx)
{
    return ((const struct rig *)ctx)->layer.normal == 2;
}

static bool is_told(void *ctx)
{
    const struct rig *rig = ctx;
    return redis_taken_is_told(&redis_of(rig->b)->shards[0]);
}

static void a_message_that_came_twice_is_known_as_long_as_one_of_them_is_held(void **state)
{
    for (unsigned handled = 0; handled < 2; handled++) {
        struct rig rig;
        struct look look = {*state, 1};
        empty_server(state);
        open_settled(&rig, *state, "");
        rig.b->ops->want(rig.b, slice_str("jobs"), 2);
        put_messages(*state, "asgijobs", "jobs", 7, 8);
        const struct rig *const seen = &rig;
        while (seen->layer.normal == 0)
            uv_run(&rig.uv, UV_RUN_ONCE);
        put_messages(*state, "asgijobs", "jobs", 7, 8);
        assert_true(rig_until(&rig, has_both, &rig));
        redisReply *reply = ask_redis(*state, "ZRANGE asgi:channelsd:taken:" NODE " 0 0");
        assert_int_equal(reply->elements, 1); /* the very same bytes */
        rig.b->ops->taken(rig.b, slice_str("jobs"), rig.layer.handles[handled]);
        assert_true(rig_until(&rig, is_told, &rig));
        assert_int_equal(NUMBER(*state, "EXISTS asgi:channelsd:taken:" NODE), 0);
        TELL_REDIS(*state, "ZADD asgi:channelsd:taken:" NODE " 5 %b", reply->element[0]->str,
                   reply->element[0]->len);
        freeReplyObject(reply);
        lose_one(*state, "6");
        assert_true(rig_until(&rig, has_count, &look));
        assert_int_equal(NUMBER(*state, "ZCARD asgi:channelsd:taken:" NODE), 1);
        rig_close(&rig);
        assert_int_equal(NUMBER(*state, "ZCARD asgijobs"), 2);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(as_many_mailboxes_are_read_as_a_layer_may_have),
        TEST(a_lost_message_is_found_behind_any_number_of_others),
        TEST(a_message_that_came_twice_is_known_as_long_as_one_of_them_is_held),
    };
    return cmocka_run_group_tests_name("redis_backend_many", tests, start_server, stop_server);
}
