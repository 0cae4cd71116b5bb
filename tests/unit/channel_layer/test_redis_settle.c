/* SPDX-License-Identifier: BSD-3-Clause
 * What is sent to groups after a Redis was lost, until those who were there before are back.
 */
#include "channel_layer/redis/redis_settle.h"
#include "tests/support/redis_backend_rig.h"

enum { CALLS = 5 };

#define BEATS "asgi:channelsd:nodes"

/* A group_send that is under way. */
struct group_call {
    struct rig_call call; /* first */
    struct rig_own own;
};

static void give(struct rig *rig, struct group_call *g, unsigned number)
{
    struct rig_body body;
    call_init(&g->call);
    g->own = (struct rig_own){.own = {on_found}, .layer = &rig->layer};
    rig->b->ops->group_send(rig->b, slice_str("room"), body_of(&body, number), &g->call.call,
                            &g->own.own);
    assert_int_equal(g->call.ended, 0);
}

/* The text of the run of this Redis, under which nodes note that they are back. */
static void note_of(struct rig_redis *redis, char *key, size_t size)
{
    redisReply *reply = ask_redis(redis, "INFO server");
    const char *at = strstr(reply->str, "run_id:");
    assert_non_null(at);
    snprintf(key, size, "asgi:channelsd:back:%.40s", at + strlen("run_id:"));
    freeReplyObject(reply);
}

static void note_back(struct rig_redis *redis, const char *node)
{
    char key[128];
    note_of(redis, key, sizeof(key));
    TELL_REDIS(redis, "SADD %s %s", key, node);
}

static bool is_noted(void *ctx)
{
    char key[128];
    note_of(ctx, key, sizeof(key));
    return NUMBER(ctx, "SISMEMBER %s " NODE, key) == 1;
}

/* Joins a group with a member of another node in it, of which a beat has told, too. */
static void open_with_other(struct rig *rig, struct rig_redis *redis, const char *settings)
{
    struct rig_call call;
    TELL_REDIS(redis, "ZADD " BEATS " %ld " OTHER, (long)time(NULL));
    rig_open(rig, redis, settings);
    rig->layer.groups[0] = "room";
    assert_int_equal(join(rig, "room"), ERR_OK);
    assert_int_equal(send_to_group(rig, &call, "room"), ERR_OK);
}

static void lose(struct rig_redis *redis)
{
    daemon_kill(&redis->daemon);
    daemon_restart(&redis->daemon);
    rig_look(redis);
}

/* Something else than a group_send is done; one that was under way at the loss fails. */
static bool is_up_again(void *ctx)
{
    struct rig_call call;
    return send_to(ctx, &call, "jobs") == ERR_OK;
}

/* Until the loop has run for so long. */
struct span {
    uv_loop_t *uv;
    uint64_t end_ms;
};

static bool is_over(void *ctx)
{
    const struct span *span = ctx;
    return uv_now(span->uv) >= span->end_ms;
}

static void run_for(struct rig *rig, unsigned ms)
{
    uv_update_time(&rig->uv);
    struct span span = {.uv = &rig->uv, .end_ms = uv_now(&rig->uv) + ms};
    assert_true(rig_until(rig, is_over, &span));
}

static void held_until_the_others_are_back(void **state)
{
    struct rig_redis *redis = *state;
    struct rig rig;
    struct group_call calls[CALLS];
    open_with_other(&rig, redis, "");
    daemon_kill(&redis->daemon);
    for (unsigned i = 0; i < CALLS - 1; i++)
        give(&rig, &calls[i], i);
    daemon_restart(&redis->daemon);
    rig_look(redis);
    assert_true(rig_until(&rig, is_noted, redis));
    give(&rig, &calls[CALLS - 1], CALLS - 1);
    run_for(&rig, 200);
    for (unsigned i = 0; i < CALLS; i++)
        assert_int_equal(calls[i].call.ended, 0);
    TELL_REDIS(redis, "ZADD asgi:group:room %ld " THEIRS "g.room", (long)time(NULL));
    note_back(redis, OTHER);
    for (unsigned i = 0; i < CALLS; i++)
        assert_int_equal(rig_end(&rig, &calls[i].call), ERR_OK);
    redisReply *reply = ask_redis(redis, "ZRANGE asgi" THEIRS " 0 -1");
    assert_int_equal(reply->elements, CALLS);
    for (unsigned i = 0; i < CALLS; i++) /* in the order in which they were given */
        assert_int_equal((uint8_t)reply->element[i]->str[17], i);
    freeReplyObject(reply);
    rig_close(&rig);
    assert_int_equal(NUMBER(redis, "EXISTS asgi:group:room"), 1); /* the other's */
}

static void a_node_that_a_group_showed_is_waited_for_too(void **state)
{
    struct rig_redis *redis = *state;
    struct rig rig;
    struct rig_call call;
    struct group_call g;
    open_settled(&rig, redis, ""); /* no beat has told of another */
    TELL_REDIS(redis, "ZADD asgi:group:room %ld " THEIRS "g.room", (long)time(NULL));
    assert_int_equal(send_to_group(&rig, &call, "room"), ERR_OK);
    lose(redis);
    assert_true(rig_until(&rig, is_noted, redis));
    give(&rig, &g, 1);
    run_for(&rig, 100);
    assert_int_equal(g.call.ended, 0);
    note_back(redis, OTHER);
    assert_int_equal(rig_end(&rig, &g.call), ERR_OK);
    rig_close(&rig);
}

static void a_node_that_is_alone_waits_for_nobody(void **state)
{
    struct rig_redis *redis = *state;
    struct rig rig;
    struct rig_call call;
    open_settled(&rig, redis, "\"timeout\": 5");
    rig.layer.groups[0] = "room";
    assert_int_equal(join(&rig, "room"), ERR_OK);
    assert_int_equal(send_to_group(&rig, &call, "room"), ERR_OK);
    for (unsigned i = 0; i < 3; i++) {
        lose(redis);
        assert_true(rig_until(&rig, is_up_again, &rig));
        uv_update_time(&rig.uv);
        const uint64_t start_ms = uv_now(&rig.uv);
        assert_int_equal(send_to_group(&rig, &call, "room"), ERR_OK);
        assert_true(uv_now(&rig.uv) - start_ms < REDIS_SETTLE_MS / 2);
    }
    rig_close(&rig);
    assert_int_equal(NUMBER(redis, "DBSIZE"), 1); /* jobs */
}

static void the_same_redis_has_settled_already(void **state)
{
    struct rig_redis *redis = *state;
    struct rig rig;
    struct rig_call call;
    open_with_other(&rig, redis, "\"timeout\": 5");
    for (unsigned i = 0; i < 3; i++) {
        TELL_REDIS(redis, "CLIENT KILL TYPE normal SKIPME yes");
        assert_true(rig_until(&rig, is_up_again, &rig));
        uv_update_time(&rig.uv);
        const uint64_t start_ms = uv_now(&rig.uv);
        assert_int_equal(send_to_group(&rig, &call, "room"), ERR_OK);
        assert_true(uv_now(&rig.uv) - start_ms < REDIS_SETTLE_MS / 2);
    }
    rig_close(&rig);
}

static void who_does_not_come_back_is_not_waited_for_any_longer(void **state)
{
    struct rig_redis *redis = *state;
    struct rig rig;
    struct rig_call call;
    open_with_other(&rig, redis, "\"timeout\": 5");
    lose(redis);
    uv_update_time(&rig.uv);
    const uint64_t start_ms = uv_now(&rig.uv);
    assert_int_equal(send_to_group(&rig, &call, "room"), ERR_OK);
    const uint64_t waited_ms = uv_now(&rig.uv) - start_ms;
    assert_in_range(waited_ms, REDIS_SETTLE_MS, 2000);
    assert_int_equal(send_to_group(&rig, &call, "room"), ERR_OK);
    assert_true(uv_now(&rig.uv) - start_ms - waited_ms < REDIS_SETTLE_MS / 2);
    rig_close(&rig);
}

static void where_the_run_is_not_told_the_notes_decide(void **state)
{
    struct rig_redis *redis = *state;
    struct rig rig;
    struct group_call g;
    open_with_other(&rig, redis, "\"timeout\": 5");
    daemon_kill(&redis->daemon);
    const char **args = redis->daemon.args;
    size_t count = 0;
    while (args[count] != NULL)
        count++;
    args[count] = "--rename-command";
    args[count + 1] = "INFO";
    args[count + 2] = "HIDDEN";
    daemon_restart(&redis->daemon);
    args[count] = NULL;
    rig_look(redis);
    give(&rig, &g, 1);
    run_for(&rig, REDIS_SETTLE_MS / 2);
    assert_int_equal(g.call.ended, 0);
    TELL_REDIS(redis, "SADD asgi:channelsd:back: " OTHER);
    uv_update_time(&rig.uv);
    const uint64_t start_ms = uv_now(&rig.uv);
    assert_int_equal(rig_end(&rig, &g.call), ERR_OK);
    assert_true(uv_now(&rig.uv) - start_ms < REDIS_SETTLE_MS / 2);
    rig_close(&rig);
    daemon_kill(&redis->daemon);
    daemon_restart(&redis->daemon);
    rig_look(redis);
}

static void emptied_by_hand_is_lost_too(void **state)
{
    struct rig_redis *redis = *state;
    struct rig rig;
    struct group_call g;
    open_with_other(&rig, redis, "\"timeout\": 5");
    TELL_REDIS(redis, "FLUSHALL");
    assert_true(rig_until(&rig, is_noted, redis));
    give(&rig, &g, 1);
    run_for(&rig, 100);
    assert_int_equal(g.call.ended, 0);
    note_back(redis, OTHER);
    assert_int_equal(rig_end(&rig, &g.call), ERR_OK);
    rig_close(&rig);
}

static void held_for_too_long_was_not_sent(void **state)
{
    struct rig_redis *redis = *state;
    struct rig rig;
    struct group_call g;
    open_with_other(&rig, redis, "\"timeout\": 0.4");
    lose(redis);
    assert_true(rig_until(&rig, is_noted, redis));
    uv_update_time(&rig.uv);
    const uint64_t start_ms = uv_now(&rig.uv);
    give(&rig, &g, 1);
    assert_int_equal(rig_end(&rig, &g.call), ERR_UNAVAILABLE);
    assert_in_range(uv_now(&rig.uv) - start_ms, 300, REDIS_SETTLE_MS - 100);
    assert_non_null(strstr(g.call.why, "not all nodes"));
    assert_non_null(strstr(g.call.why, "was not sent"));
    rig_close(&rig);
}

static void while_it_is_away_the_error_says_why(void **state)
{
    struct rig_redis *redis = *state;
    struct rig rig;
    struct group_call g;
    open_with_other(&rig, redis, "\"timeout\": 0.4");
    daemon_kill(&redis->daemon);
    give(&rig, &g, 1);
    assert_int_equal(rig_end(&rig, &g.call), ERR_UNAVAILABLE);
    assert_non_null(strstr(g.call.why, redis->daemon.port_text));
    assert_non_null(strstr(g.call.why, "refused"));
    assert_non_null(strstr(g.call.why, "was not sent"));
    daemon_restart(&redis->daemon);
    rig_look(redis);
    rig_close(&rig);
}

static bool is_down(void *ctx)
{
    struct rig *rig = ctx;
    struct group_call g;
    give(rig, &g, 0);
    return rig_end(rig, &g.call) != ERR_OK;
}

static void what_is_held_has_an_end(void **state)
{
    enum { BIG = 1024 * 1024, MANY = REDIS_HELD_BYTES / BIG + 3 };
    struct rig_redis *redis = *state;
    struct rig rig;
    struct group_call calls[MANY];
    unsigned refused = 0;
    open_with_other(&rig, redis, "\"timeout\": 0.4");
    daemon_kill(&redis->daemon);
    assert_true(rig_until(&rig, is_down, &rig));
    uint8_t *bytes = calloc(1, BIG);
    assert_non_null(bytes);
    bytes[0] = 0x80;
    for (unsigned i = 0; i < MANY; i++) {
        call_init(&calls[i].call);
        calls[i].own = (struct rig_own){.own = {on_found}, .layer = &rig.layer};
        rig.b->ops->group_send(rig.b, slice_str("room"), slice_make(bytes, BIG),
                               &calls[i].call.call, &calls[i].own.own);
    }
    free(bytes);
    uv_run(&rig.uv, UV_RUN_NOWAIT);
    for (unsigned i = 0; i < MANY; i++)
        refused += calls[i].call.ended;
    assert_int_equal(refused, MANY - (REDIS_HELD_BYTES / BIG - 1));
    for (unsigned i = 0; i < MANY; i++)
        assert_int_equal(rig_end(&rig, &calls[i].call), ERR_UNAVAILABLE);
    daemon_restart(&redis->daemon);
    rig_look(redis);
    rig_close(&rig);
}

static void closing_ends_what_is_held(void **state)
{
    struct rig_redis *redis = *state;
    for (unsigned is_away = 0; is_away < 2; is_away++) {
        struct rig rig;
        struct group_call calls[CALLS];
        empty_server(state);
        open_with_other(&rig, redis, "\"timeout\": 5");
        if (is_away) {
            daemon_kill(&redis->daemon);
        } else {
            lose(redis);
            assert_true(rig_until(&rig, is_noted, redis));
        }
        for (unsigned i = 0; i < CALLS; i++)
            give(&rig, &calls[i], i);
        run_for(&rig, 100);
        rig_close(&rig);
        for (unsigned i = 0; i < CALLS; i++) {
            assert_int_equal(calls[i].call.ended, 1);
            assert_int_equal(calls[i].call.err, ERR_CLOSED);
            assert_non_null(strstr(calls[i].call.why, "closed"));
        }
        if (is_away) {
            daemon_restart(&redis->daemon);
            rig_look(redis);
        } else {
            assert_int_equal(is_noted(redis), 0);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(held_until_the_others_are_back),
        TEST(a_node_that_a_group_showed_is_waited_for_too),
        TEST(a_node_that_is_alone_waits_for_nobody),
        TEST(the_same_redis_has_settled_already),
        TEST(who_does_not_come_back_is_not_waited_for_any_longer),
        TEST(where_the_run_is_not_told_the_notes_decide),
        TEST(emptied_by_hand_is_lost_too),
        TEST(held_for_too_long_was_not_sent),
        TEST(while_it_is_away_the_error_says_why),
        TEST(what_is_held_has_an_end),
        TEST(closing_ends_what_is_held),
    };
    return cmocka_run_group_tests_name("redis_settle", tests, start_server, stop_server);
}
