/* SPDX-License-Identifier: BSD-3-Clause
 * Memberships when Redis refuses, or too much waits for it, and what the end leaves in the list of
 * nodes.
 */
#include "channel_layer/redis/redis_link.h"
#include "tests/support/redis_backend_rig.h"

static bool has_room(void *ctx)
{
    return NUMBER(ctx, "EXISTS asgi:group:room") == 1;
}

static void add_to_room(struct rig *rig, const char *name, struct rig_call *call)
{
    call_init(call);
    rig->b->ops->add(rig->b, slice_str("room"), slice_str(name), &call->call);
}

/* ---- a run that fails ---- */

static void a_run_that_fails_with_a_call_of_somebody_else_is_made_up_for(void **state)
{
    struct rig rig;
    struct rig_call call;
    open_settled(&rig, *state, "");
    assert_int_equal(join(&rig, "room"), ERR_OK);
    rig.layer.groups[0] = "room";
    TELL_REDIS(*state, "CONFIG SET maxmemory 1");
    rig.b->ops->flushed(
        rig.b); /* a run, which has its command together with the one that follows */
    add_to_room(&rig, "x!y", &call);
    rig.layer.groups[0] = NULL; /* nobody reminds the backend of it */
    assert_int_equal(rig_end(&rig, &call), ERR_UNAVAILABLE);
    assert_non_null(strstr(call.why, "maxmemory"));
    TELL_REDIS(*state, "CONFIG SET maxmemory 0");
    TELL_REDIS(*state, "DEL asgi:group:room");
    assert_true(rig_until(&rig, has_room, *state));
    TELL_REDIS(*state, "ZSCORE asgi:group:room " BASE "g.room");
    rig_close(&rig);
    assert_int_equal(NUMBER(*state, "DBSIZE"), 0);
}

static bool has_no_room(void *ctx)
{
    return !has_room(ctx);
}

static void a_join_that_was_said_to_have_failed_is_taken_out(void **state)
{
    struct rig rig;
    struct rig_call call;
    struct rig_call joined;
    open_settled(&rig, *state, "\"group_expiry\": 2");
    TELL_REDIS(*state, "CONFIG SET maxmemory 1");
    add_to_room(&rig, "x!y", &call);
    call_init(&joined);
    rig.b->ops->join(rig.b, slice_str("room"), &joined.call);
    assert_int_equal(rig_end(&rig, &call), ERR_UNAVAILABLE);
    assert_int_equal(rig_end(&rig, &joined), ERR_UNAVAILABLE);
    TELL_REDIS(*state, "CONFIG SET maxmemory 0");
    TELL_REDIS(*state, "ZADD asgi:group:room 4000000000 " BASE "g.room"); /* for all one knows */
    assert_true(rig_until(&rig, has_no_room, *state));
    rig_close(&rig);
}

static void what_the_layer_says_is_joined_is_made_sure_of_from_time_to_time(void **state)
{
    struct rig rig;
    open_settled(&rig, *state, "\"group_expiry\": 2");
    rig.layer.groups[0] = "room";
    assert_true(rig_until(&rig, has_room, *state));
    rig_close(&rig);
}

/* ---- too much waits ---- */

/* After a message of which not more can wait. */
static void fill_link(struct rig *rig, struct rig_call *call)
{
    enum { LARGE = REDIS_LINK_QUEUE_BYTES + 1 };
    uint8_t *body = mem_alloc(LARGE);
    call_init(call);
    rig->b->ops->send(rig->b, slice_str("jobs"), slice_make(body, LARGE), &call->call);
    mem_free(body);
}

static void no_call_ends_inside_another_when_too_much_waits(void **state)
{
    struct rig_redis nowhere = {.daemon = {.port = daemon_free_port()}};
    struct rig rig;
    struct rig_call sent;
    struct rig_call added;
    struct rig_call discarded;
    (void)state;
    rig_open(&rig, &nowhere, "\"timeout\": 0.5");
    fill_link(&rig, &sent);
    add_to_room(&rig, "x!y", &added);
    call_init(&discarded);
    rig.b->ops->discard(rig.b, slice_str("room"), slice_str("x!y"), &discarded.call);
    assert_int_equal(added.ended, 0);
    assert_int_equal(rig_end(&rig, &added), ERR_UNAVAILABLE);
    assert_non_null(strstr(added.why, "too much waits"));
    assert_int_equal(rig_end(&rig, &discarded), ERR_UNAVAILABLE);
    assert_int_equal(sent.ended, 0); /* it waited all the time */
    assert_int_equal(rig_end(&rig, &sent), ERR_UNAVAILABLE);
    rig_close(&rig);
}

/* Adds to the same group from inside the end of a call, so many times. */
struct stubborn {
    struct layer_call call;
    struct rig *rig;
    unsigned tries;
    unsigned left;
};

static void on_refused(struct layer_call *call, enum err err, const char *why)
{
    struct stubborn *s = (struct stubborn *)call;
    (void)why;
    assert_int_equal(err, ERR_UNAVAILABLE);
    s->tries++;
    if (s->left > 0) {
        s->left--;
        s->rig->b->ops->add(s->rig->b, slice_str("room"), slice_str("x!again"), &s->call);
    }
}

static bool has_given_up(void *ctx)
{
    const struct stubborn *s = ctx;
    return s->left == 0 && s->tries == 4;
}

static void who_adds_again_when_refused_is_told_each_time(void **state)
{
    struct rig_redis nowhere = {.daemon = {.port = daemon_free_port()}};
    struct rig rig;
    struct rig_call sent;
    struct rig_call discarded;
    struct stubborn s = {.call = {on_refused}, .rig = &rig, .left = 3};
    (void)state;
    rig_open(&rig, &nowhere, "\"timeout\": 0.5");
    fill_link(&rig, &sent);
    rig.b->ops->add(rig.b, slice_str("room"), slice_str("x!y"), &s.call);
    call_init(&discarded);
    rig.b->ops->discard(rig.b, slice_str("room"), slice_str("x!y"), &discarded.call);
    assert_int_equal(s.tries, 0);
    assert_true(rig_until(&rig, has_given_up, &s));
    assert_int_equal(rig_end(&rig, &discarded), ERR_UNAVAILABLE);
    assert_int_equal(rig_end(&rig, &sent), ERR_UNAVAILABLE);
    rig_close(&rig);
}

/* ---- the end ---- */

static bool is_listed(struct rig_redis *redis)
{
    redisReply *reply = ask_redis(redis, "ZSCORE asgi:channelsd:nodes " NODE);
    const bool is_there = reply->type != REDIS_REPLY_NIL;
    freeReplyObject(reply);
    return is_there;
}

static void a_node_that_has_messages_at_its_end_stays_to_be_swept(void **state)
{
    struct rig rig;
    open_settled(&rig, *state, "");
    assert_int_equal(join(&rig, "room"), ERR_OK);
    /* A pop that was given up and that Redis has done all the same. */
    TELL_REDIS(*state, "ZADD asgi:channelsd:taken:" NODE " 1 jobs:late");
    rig_close(&rig);
    assert_true(is_listed(*state));
    assert_int_equal(NUMBER(*state, "ZCARD asgi:channelsd:taken:" NODE), 1);
    assert_int_equal(NUMBER(*state, "EXISTS asgi:group:room asgi:channelsd:groups:" NODE), 0);
}

static void a_node_of_which_a_key_has_another_type_ends_all_the_same(void **state)
{
    struct rig rig;
    open_settled(&rig, *state, "");
    TELL_REDIS(*state, "SET asgi:channelsd:taken:" NODE " something");
    rig_close(&rig);
    assert_false(is_listed(*state));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_run_that_fails_with_a_call_of_somebody_else_is_made_up_for),
        TEST(a_join_that_was_said_to_have_failed_is_taken_out),
        TEST(what_the_layer_says_is_joined_is_made_sure_of_from_time_to_time),
        TEST(no_call_ends_inside_another_when_too_much_waits),
        TEST(who_adds_again_when_refused_is_told_each_time),
        TEST(a_node_that_has_messages_at_its_end_stays_to_be_swept),
        TEST(a_node_of_which_a_key_has_another_type_ends_all_the_same),
    };
    return cmocka_run_group_tests_name("redis_members", tests, start_server, stop_server);
}
