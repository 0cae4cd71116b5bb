/* SPDX-License-Identifier: BSD-3-Clause
 * The backend for channels_redis.core on a real Redis: what it leaves there.
 */
#include "tests/support/redis_backend_rig.h"

/* ---- send ---- */

static void a_message_is_stored_as_channels_redis_stores_it(void **state)
{
    struct rig rig;
    struct rig_call call;
    open_settled(&rig, *state, "");
    TELL_REDIS(*state, "CONFIG RESETSTAT");
    assert_int_equal(send_to(&rig, &call, THEIRS "abc"), ERR_OK);
    assert_int_equal(calls_of(*state, "evalsha") + calls_of(*state, "eval"), 1);

    redisReply *reply = ask_redis(*state, "ZRANGE asgi" THEIRS " 0 -1 WITHSCORES");
    assert_int_equal(reply->elements, 2);
    const redisReply *member = reply->element[0];
    const char *const front = "\x82\xa1n\xcd\0\x07\xb0__asgi_channel__\xd9\x2d" THEIRS "abc";
    const size_t len = 7 + 16 + 2 + strlen(THEIRS "abc");
    assert_int_equal(member->len, 12 + len);
    assert_memory_equal(member->str + 12, front, len);
    const double score = strtod(reply->element[1]->str, NULL); /* Valkey 9 prints an exponent */
    assert_true(llabs((long long)score - (long long)time(NULL)) <= 1);
    assert_true(score != (double)(long long)score);
    freeReplyObject(reply);
    assert_in_range(NUMBER(*state, "TTL asgi" THEIRS), 59, 60);
    rig_close(&rig);
}

static void messages_keep_their_order(void **state)
{
    enum { COUNT = 50 };
    struct rig rig;
    struct rig_call calls[COUNT];
    struct rig_body body;
    open_settled(&rig, *state, "");
    for (unsigned i = 0; i < COUNT; i++) {
        call_init(&calls[i]);
        rig.b->ops->send(rig.b, slice_str("jobs"), body_of(&body, i), &calls[i].call);
    }
    for (unsigned i = 0; i < COUNT; i++)
        assert_int_equal(rig_end(&rig, &calls[i]), ERR_OK);
    redisReply *reply = ask_redis(*state, "ZRANGE asgijobs 0 -1");
    assert_int_equal(reply->elements, COUNT);
    for (unsigned i = 0; i < COUNT; i++) /* without a name: 12 bytes and the body */
        assert_int_equal((uint8_t)reply->element[i]->str[17], i);
    freeReplyObject(reply);
    rig_close(&rig);
}

static void a_full_channel_is_refused_by_name(void **state)
{
    struct rig rig;
    struct rig_call call;
    open_settled(&rig, *state, "\"capacity\": 2, \"channel_capacity\": {\"wide*\": 3}");
    assert_int_equal(send_to(&rig, &call, "narrow"), ERR_OK);
    assert_int_equal(send_to(&rig, &call, "narrow"), ERR_OK);
    assert_int_equal(send_to(&rig, &call, "narrow"), ERR_FULL);
    assert_non_null(strstr(call.why, "narrow"));
    for (unsigned i = 0; i < 3; i++)
        assert_int_equal(send_to(&rig, &call, "wider"), ERR_OK);
    assert_int_equal(send_to(&rig, &call, "wider"), ERR_FULL);
    /* What has expired makes room. */
    redisReply *reply = ask_redis(*state, "ZRANGE asginarrow 0 0");
    TELL_REDIS(*state, "ZADD asginarrow 1000 %b", reply->element[0]->str, reply->element[0]->len);
    freeReplyObject(reply);
    assert_int_equal(send_to(&rig, &call, "narrow"), ERR_OK);
    rig_close(&rig);
}

static void a_server_that_forgot_the_scripts_is_given_them_again(void **state)
{
    struct rig rig;
    struct rig_call call;
    open_settled(&rig, *state, "");
    TELL_REDIS(*state, "SCRIPT FLUSH");
    TELL_REDIS(*state, "CONFIG RESETSTAT");
    assert_int_equal(send_to(&rig, &call, "jobs"), ERR_OK);
    assert_int_equal(send_to(&rig, &call, "jobs"), ERR_OK);
    assert_int_equal(calls_of(*state, "eval"), 1);
    assert_int_equal(NUMBER(*state, "ZCARD asgijobs"), 2);
    rig_close(&rig);
}

static void a_refusal_names_the_key_and_the_remedy(void **state)
{
    struct rig rig;
    struct rig_call call;
    open_settled(&rig, *state, "");
    TELL_REDIS(*state, "SET asgijobs something");
    assert_int_equal(send_to(&rig, &call, "jobs"), ERR_UNAVAILABLE);
    assert_non_null(strstr(call.why, "WRONGTYPE"));
    assert_non_null(strstr(call.why, "asgijobs"));
    assert_non_null(strstr(call.why, "choose another prefix"));
    TELL_REDIS(*state, "CONFIG SET maxmemory 1");
    assert_int_equal(send_to(&rig, &call, "other"), ERR_UNAVAILABLE);
    TELL_REDIS(*state, "CONFIG SET maxmemory 0");
    assert_non_null(strstr(call.why, "maxmemory"));
    rig_close(&rig);
}

/* ---- group_send ---- */

static void a_group_send_reaches_each_key_once_in_two_round_trips(void **state)
{
    struct rig rig;
    struct rig_call call;
    open_settled(&rig, *state, "");
    TELL_REDIS(*state, "ZADD asgi:group:room 4000000000 " THEIRS "a 4000000001 " THEIRS
                       "b 4000000002 specific.third!x 4000000003 jobs");
    TELL_REDIS(*state, "ZADD asgi:group:room 4000000004 " BASE "g.room 4000000005 " BASE "single");
    TELL_REDIS(*state, "ZADD asgi:group:room 1000 specific.expired!x");
    TELL_REDIS(*state, "CONFIG RESETSTAT");
    assert_int_equal(send_to_group(&rig, &call, "room"), ERR_OK);
    assert_int_equal(calls_of(*state, "evalsha"), 2);
    assert_int_equal(NUMBER(*state, "ZCARD asgi" THEIRS), 1);
    assert_int_equal(NUMBER(*state, "ZCARD asgispecific.third!"), 1);
    assert_int_equal(NUMBER(*state, "ZCARD asgijobs"), 1);
    assert_int_equal(NUMBER(*state, "EXISTS asgispecific.expired! " KEY), 0);
    redisReply *reply = ask_redis(*state, "ZRANGE asgi" THEIRS " 0 -1");
    const redisReply *member = reply->element[0];
    const char *const names = "\x92\xd9\x2b" THEIRS "a\xd9\x2b" THEIRS "b";
    assert_memory_equal(member->str + member->len - strlen(names), names, strlen(names));
    freeReplyObject(reply);
    assert_int_equal(rig.layer.found, 1);
    assert_string_equal(rig.layer.found_name, BASE "single");
    rig_close(&rig);
}

static void a_group_of_this_node_alone_takes_one_round_trip(void **state)
{
    struct rig rig;
    struct rig_call call;
    open_settled(&rig, *state, "");
    assert_int_equal(join(&rig, "room"), ERR_OK);
    TELL_REDIS(*state, "CONFIG RESETSTAT");
    assert_int_equal(send_to_group(&rig, &call, "room"), ERR_OK);
    assert_int_equal(calls_of(*state, "evalsha"), 1);
    assert_int_equal(rig.layer.found, 0);
    assert_int_equal(send_to_group(&rig, &call, "nobody"), ERR_OK);
    rig_close(&rig);
}

static void bad_members_and_keys_do_not_keep_the_others_from_their_message(void **state)
{
    struct rig rig;
    struct rig_call call;
    open_settled(&rig, *state, "\"capacity\": 1");
    TELL_REDIS(*state, "ZADD asgi:group:room 4000000000 %b 4000000001 %s 4000000002 string!x",
               "\xff\xfe!x", (size_t)4, "");
    TELL_REDIS(*state, "ZADD asgi:group:room 4000000003 full!x 4000000004 good!x");
    TELL_REDIS(*state, "SET asgistring! something");
    TELL_REDIS(*state, "ZADD asgifull! 4000000000 something");
    assert_int_equal(send_to_group(&rig, &call, "room"), ERR_OK);
    assert_int_equal(NUMBER(*state, "ZCARD asgigood!"), 1);
    assert_int_equal(NUMBER(*state, "ZCARD asgifull!"), 1);
    assert_int_equal(rig.layer.stats.group_skipped, 3);
    assert_int_equal(rig.layer.stats.group_full, 1);
    rig_close(&rig);
}

static void a_full_redis_is_told_behind_a_key_of_another_type_too(void **state)
{
    struct rig rig;
    struct rig_call call;
    open_settled(&rig, *state, "");
    TELL_REDIS(*state, "ZADD asgi:group:room 4000000000 string!x 4000000001 good!x 4000000002 b!x");
    TELL_REDIS(*state, "SET asgistring! something");
    TELL_REDIS(*state, "CONFIG SET maxmemory 1");
    assert_int_equal(send_to_group(&rig, &call, "room"), ERR_UNAVAILABLE);
    TELL_REDIS(*state, "CONFIG SET maxmemory 0");
    assert_non_null(strstr(call.why, "maxmemory"));
    assert_non_null(strstr(call.why, "asgigood!"));
    assert_int_equal(NUMBER(*state, "EXISTS asgigood! asgib!"), 0);
    assert_int_equal(rig.layer.stats.group_skipped, 1);
    rig_close(&rig);
}

static void a_group_with_many_keys_is_sent_in_several_scripts(void **state)
{
    enum { KEYS = 700 };
    struct rig rig;
    struct rig_call call;
    open_settled(&rig, *state, "");
    for (unsigned i = 0; i < KEYS; i++)
        TELL_REDIS(*state, "ZADD asgi:group:room 4000000000 node%u!x", i);
    TELL_REDIS(*state, "CONFIG RESETSTAT");
    assert_int_equal(send_to_group(&rig, &call, "room"), ERR_OK);
    assert_int_equal(calls_of(*state, "evalsha"), 4);
    for (unsigned i = 0; i < KEYS; i++)
        assert_int_equal(NUMBER(*state, "ZCARD asginode%u!", i), 1);
    rig_close(&rig);
}

/* The server looks at its slots a few times a second. */
static bool is_cluster_up(struct rig_redis *redis)
{
    redisReply *reply = ask_redis(redis, "CLUSTER INFO");
    const bool is_up = strstr(reply->str, "cluster_state:ok") != NULL;
    freeReplyObject(reply);
    return is_up;
}

static bool has_failed(void *ctx)
{
    return ((const struct rig *)ctx)->layer.failed == 1;
}

static void a_cluster_of_one_node_takes_single_keys(void **state)
{
    /* The port of the bus is by default 10,000 above the other, which may be none. */
    char bus[8];
    const char *const cluster[] = {"--cluster-enabled", "yes", "--cluster-port", bus, NULL};
    struct rig rig;
    struct rig_call call;
    struct rig_redis redis = {0};
    (void)state;
    daemon_need_version(700, "a port for the bus of a cluster");
    snprintf(bus, sizeof(bus), "%u", daemon_free_port());
    daemon_start(&redis.daemon, cluster);
    rig_look(&redis);
    TELL_REDIS(&redis, "CLUSTER ADDSLOTSRANGE 0 16383");
    for (unsigned i = 0; i < 1000 && !is_cluster_up(&redis); i++)
        usleep(5000);
    assert_true(is_cluster_up(&redis));
    open_settled(&rig, &redis, "");
    assert_int_equal(join(&rig, "room"), ERR_OK);
    TELL_REDIS(&redis, "ZADD asgi:group:room 4000000000 one!x 4000000001 two!x 4000000002 three!x");
    assert_int_equal(send_to_group(&rig, &call, "room"), ERR_OK);
    assert_int_equal(NUMBER(&redis, "ZCARD asgione!"), 1);
    assert_int_equal(NUMBER(&redis, "ZCARD asgitwo!"), 1);
    assert_int_equal(NUMBER(&redis, "ZCARD asgithree!"), 1);
    /* Popping takes two keys: who waits is told. */
    rig.b->ops->want(rig.b, slice_str("jobs"), 1);
    assert_true(rig_until(&rig, has_failed, &rig));
    assert_int_equal(rig.layer.failed_err, ERR_UNSUPPORTED);
    assert_non_null(strstr(rig.layer.failed_why, "CROSSSLOT"));
    assert_non_null(strstr(rig.layer.failed_why, "{asgi}"));
    rig.b->ops->want(rig.b, slice_str("jobs"), 0);
    call_init(&call);
    rig.b->ops->flush(rig.b, &call.call);
    assert_int_equal(rig_end(&rig, &call), ERR_OK);
    assert_int_equal(NUMBER(&redis, "EXISTS asgione!"), 0);
    rig_close(&rig);
    assert_int_equal(NUMBER(&redis, "EXISTS asgi:channelsd:nodes"), 0);
    redisFree(redis.client);
    daemon_remove(&redis.daemon);
}

/* ---- memberships ---- */

static void a_join_is_one_member_with_a_time_to_live(void **state)
{
    struct rig rig;
    struct rig_call call;
    open_settled(&rig, *state, "\"group_expiry\": 1000");
    TELL_REDIS(*state, "CONFIG RESETSTAT");
    assert_int_equal(join(&rig, "room"), ERR_OK);
    assert_int_equal(calls_of(*state, "zadd"), 1);
    TELL_REDIS(*state, "ZSCORE asgi:group:room " BASE "g.room");
    assert_int_equal(NUMBER(*state, "ZCARD asgi:group:room"), 1);
    assert_in_range(NUMBER(*state, "TTL asgi:group:room"), 999, 1000);
    assert_int_equal(NUMBER(*state, "SISMEMBER asgi:channelsd:groups:" NODE " room"), 1);
    assert_true(NUMBER(*state, "TTL asgi:channelsd:groups:" NODE) > 1000);
    assert_true(NUMBER(*state, "TTL asgi:channelsd:nodes") > 1000);
    call_init(&call);
    rig.b->ops->leave(rig.b, slice_str("room"), &call.call);
    assert_int_equal(rig_end(&rig, &call), ERR_OK);
    assert_int_equal(NUMBER(*state, "EXISTS asgi:group:room"), 0);
    rig_close(&rig);
}

static void many_discards_of_one_turn_are_few_commands(void **state)
{
    enum { COUNT = 2500 };
    struct rig rig;
    struct rig_call call;
    char name[64];
    open_settled(&rig, *state, "");
    for (unsigned i = 0; i < COUNT; i++)
        TELL_REDIS(*state, "ZADD asgi:group:room 4000000000 node!%u", i);
    TELL_REDIS(*state, "CONFIG RESETSTAT");
    for (unsigned i = 0; i < COUNT; i++) {
        snprintf(name, sizeof(name), "node!%u", i);
        rig.b->ops->discard(rig.b, slice_str("room"), slice_str(name), NULL);
    }
    /* What comes after them is told after them. */
    call_init(&call);
    rig.b->ops->add(rig.b, slice_str("room"), slice_str("node!7"), &call.call);
    assert_int_equal(rig_end(&rig, &call), ERR_OK);
    assert_int_equal(calls_of(*state, "zrem"), 3);
    assert_int_equal(NUMBER(*state, "ZCARD asgi:group:room"), 1);
    rig_close(&rig);
}

static bool has_room(void *ctx)
{
    return NUMBER(ctx, "EXISTS asgi:group:room") == 1;
}

/* Whether the connection that Redis tells of changes is there, where it tells. */
static bool is_told(void *ctx)
{
    const struct rig_redis *redis = ctx;
    redisReply *reply = ask_redis(ctx, "INFO clients");
    const bool is_none = strstr(reply->str, "tracking_clients:0") != NULL;
    freeReplyObject(reply);
    return redis->daemon.version < 600 || !is_none;
}

static void memberships_come_back_when_redis_was_emptied(void **state)
{
    const struct rig_redis *redis = *state;
    struct rig rig;
    open_settled(&rig, *state, "");
    rig.layer.groups[0] = "room";
    assert_int_equal(join(&rig, "room"), ERR_OK);
    assert_true(rig_until(&rig, is_told, *state));
    const uint64_t start_ms = uv_now(&rig.uv);
    TELL_REDIS(*state, "FLUSHALL");
    assert_true(rig_until(&rig, has_room, *state));
    /* One before 6 does not tell that it was emptied: the next beat finds out. */
    assert_true(uv_now(&rig.uv) - start_ms < (redis->daemon.version >= 600 ? 2000 : 3000));
    assert_int_equal(NUMBER(*state, "SISMEMBER asgi:channelsd:groups:" NODE " room"), 1);
    rig_close(&rig);
}

static bool has_coming(void *ctx)
{
    return NUMBER(ctx, "EXISTS asgi:group:coming") == 1;
}

static bool has_arrived(void *ctx)
{
    return ((const struct rig *)ctx)->layer.arrived == 1;
}

static void memberships_come_back_after_a_restart(void **state)
{
    struct rig_redis *redis = *state;
    struct rig rig;
    open_settled(&rig, redis, "");
    assert_int_equal(join(&rig, "room"), ERR_OK);
    daemon_kill(&redis->daemon);
    daemon_restart(&redis->daemon);
    rig_look(redis);
    const uint64_t start_ms = uv_now(&rig.uv);
    assert_true(rig_until(&rig, has_room, redis));
    assert_true(uv_now(&rig.uv) - start_ms < 2000);
    assert_true(rig.layer.stats.reconnects > 0);
    rig_close(&rig);
}

static void the_end_leaves_nothing_behind(void **state)
{
    struct rig rig;
    char group[32];
    open_settled(&rig, *state, "");
    for (unsigned i = 0; i < 20; i++) {
        snprintf(group, sizeof(group), "room%u", i);
        assert_int_equal(join(&rig, group), ERR_OK);
    }
    watch(&rig, BASE);
    rig_close(&rig);
    assert_int_equal(NUMBER(*state, "DBSIZE"), 0);
}

/* ---- what goes through all keys ---- */

static void flush_takes_the_layers_keys_and_no_others(void **state)
{
    struct rig rig;
    struct rig_call call;
    rig_open(&rig, *state, "\"prefix\": \"a*b\"");
    assert_int_equal(join(&rig, "room"), ERR_OK);
    TELL_REDIS(*state, "ZADD a*bjobs 1 x");
    TELL_REDIS(*state, "ZADD a*bjobs$inflight 1 x");
    TELL_REDIS(*state, "SET a*bspecific.x! wrong");
    TELL_REDIS(*state, "ZADD axbjobs 1 x");
    TELL_REDIS(*state, "SET a*bcache value");
    TELL_REDIS(*state, "ZADD a*b:else:where 1 x");
    call_init(&call);
    rig.b->ops->flush(rig.b, &call.call);
    assert_int_equal(rig_end(&rig, &call), ERR_OK);
    assert_int_equal(
        NUMBER(*state, "EXISTS a*bjobs a*bjobs$inflight a*bspecific.x! a*b:group:room"), 0);
    assert_int_equal(NUMBER(*state, "EXISTS axbjobs a*bcache a*b:else:where"), 3);
    rig_close(&rig);
}

/* ---- flush and the others ---- */

static void flush_tells_every_other_node_whatever_waits_for_it(void **state)
{
    static const char want[] = "\x82\xa4type\xaf"
                               "channelsd.flush"
                               "\xb0__asgi_channel__\xd9\x2d" THEIRS "ctl";
    struct rig rig;
    struct rig_call call;
    open_settled(&rig, *state, "\"capacity\": 1");
    TELL_REDIS(*state, "ZADD asgi:channelsd:nodes %ld " OTHER " 5 ~" LIVING " 6 ! 7 junk",
               (long)time(NULL));
    assert_int_equal(send_to(&rig, &call, THEIRS "abc"), ERR_OK);
    call_init(&call);
    rig.b->ops->flush(rig.b, &call.call);
    assert_int_equal(rig_end(&rig, &call), ERR_OK);
    assert_int_equal(NUMBER(*state, "ZCARD asgispecific." LIVING "!"), 1);
    assert_int_equal(NUMBER(*state, "EXISTS " KEY), 0); /* it knows itself */
    assert_in_range(NUMBER(*state, "TTL asgi" THEIRS), 59, 60);
    redisReply *reply = ask_redis(*state, "ZRANGE asgi" THEIRS " 0 -1");
    assert_int_equal(reply->elements, 1);
    assert_int_equal(reply->element[0]->len, 12 + sizeof(want) - 1);
    assert_memory_equal(reply->element[0]->str + 12, want, sizeof(want) - 1);
    freeReplyObject(reply);
    assert_int_equal(NUMBER(*state, "ZCARD asgi:channelsd:nodes"), 5); /* the next one, too */
    rig_close(&rig);
}

static void what_was_joined_during_a_flush_is_taken_out_and_what_is_being_joined_stays(void **state)
{
    struct rig rig;
    struct rig_call calls[2];
    open_settled(&rig, *state, "");
    assert_int_equal(join(&rig, "room"), ERR_OK);
    call_init(&calls[0]);
    rig.b->ops->join(rig.b, slice_str("coming"), &calls[0].call);
    rig.layer.groups[0] = "coming"; /* room is forgotten */
    rig.b->ops->flushed(rig.b);
    assert_int_equal(rig_end(&rig, &calls[0]), ERR_OK);
    call_init(&calls[1]);
    rig.b->ops->add(rig.b, slice_str("last"), slice_str("x!y"), &calls[1].call);
    assert_int_equal(rig_end(&rig, &calls[1]), ERR_OK);
    assert_int_equal(NUMBER(*state, "EXISTS asgi:group:room"), 0);
    assert_int_equal(NUMBER(*state, "ZCARD asgi:group:coming"), 1);
    TELL_REDIS(*state, "FLUSHALL"); /* it stays in the table as well */
    assert_true(rig_until(&rig, has_coming, *state));
    assert_int_equal(NUMBER(*state, "EXISTS asgi:group:room"), 0);
    rig_close(&rig);
}

static void a_flush_that_fails_halfway_leaves_memberships_whole(void **state)
{
    const struct rig_redis *redis = *state;
    struct rig rig;
    struct rig_call call;
    daemon_need_version(600, "an ACL");
    open_settled(&rig, *state, "");
    rig.layer.groups[0] = "room";
    assert_int_equal(join(&rig, "room"), ERR_OK);
    TELL_REDIS(*state, "ACL SETUSER default -zrevrange");
    call_init(&call);
    rig.b->ops->flush(rig.b, &call.call);
    assert_int_equal(rig_end(&rig, &call), ERR_UNAVAILABLE);
    assert_non_null(strstr(call.why, "the user's ACL must allow it"));
    assert_true(redis->daemon.version < 700 || strstr(call.why, "zrevrange") != NULL);
    TELL_REDIS(*state, "ACL SETUSER default +@all");
    assert_true(rig_until(&rig, has_room, *state));
    rig_close(&rig);
}

/* ---- time ---- */

/* Seconds since the one member of the group was written; more than a lifetime without it. */
static double age_of_room(struct rig_redis *redis)
{
    struct timespec now;
    double age_s = 1e9;
    redisReply *reply = ask_redis(redis, "ZSCORE asgi:group:room " BASE "g.room");
    clock_gettime(CLOCK_REALTIME, &now);
    if (reply->type == REDIS_REPLY_STRING)
        age_s = (double)now.tv_sec + (double)now.tv_nsec / 1e9 - strtod(reply->str, NULL);
    freeReplyObject(reply);
    return age_s;
}

static void memberships_live_as_long_as_their_node_and_no_longer(void **state)
{
    enum { EXPIRY_S = 2, LONG_MS = 5000 };
    struct rig rig;
    open_settled(&rig, *state, "\"group_expiry\": 2");
    assert_int_equal(join(&rig, "room"), ERR_OK);
    watch(&rig, BASE);
    const uint64_t end_ms = uv_now(&rig.uv) + LONG_MS;
    uv_timer_start(&rig.guard, on_guard, 20, 20);
    double oldest_s = 0;
    while (uv_now(&rig.uv) < end_ms) {
        uv_run(&rig.uv, UV_RUN_ONCE);
        const double age_s = age_of_room(*state);
        oldest_s = age_s > oldest_s ? age_s : oldest_s;
    }
    uv_timer_stop(&rig.guard);
    assert_true(oldest_s > 0.2 && oldest_s < EXPIRY_S);
    put_messages(*state, KEY, BASE "g.room", 1, 2);
    assert_true(rig_until(&rig, has_arrived, &rig));
    /* Nobody beats for it any more: Redis forgets it. */
    while (NUMBER(*state, "EXISTS asgi:group:room") == 1)
        usleep(20000);
    rig_close(&rig);
}

static uint64_t seen_members;
static unsigned seen_groups;

static void on_group(void *ctx, struct slice group, uint64_t members)
{
    (void)ctx;
    (void)group;
    seen_groups++;
    seen_members += members;
}

static void groups_are_listed_with_their_members(void **state)
{
    struct rig rig;
    struct rig_call call;
    open_settled(&rig, *state, "");
    for (unsigned i = 0; i < 1200; i++)
        TELL_REDIS(*state, "ZADD asgi:group:room%u 1 a 2 b 3 c", i);
    TELL_REDIS(*state, "SET asgi:group:wrong something");
    seen_groups = 0;
    seen_members = 0;
    call_init(&call);
    rig.b->ops->groups(rig.b, on_group, NULL, &call.call);
    assert_int_equal(rig_end(&rig, &call), ERR_OK);
    assert_int_equal(seen_groups, 1200);
    assert_int_equal(seen_members, 3600);
    rig_close(&rig);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_message_is_stored_as_channels_redis_stores_it),
        TEST(messages_keep_their_order),
        TEST(a_full_channel_is_refused_by_name),
        TEST(a_server_that_forgot_the_scripts_is_given_them_again),
        TEST(a_refusal_names_the_key_and_the_remedy),
        TEST(a_group_send_reaches_each_key_once_in_two_round_trips),
        TEST(a_group_of_this_node_alone_takes_one_round_trip),
        TEST(bad_members_and_keys_do_not_keep_the_others_from_their_message),
        TEST(a_full_redis_is_told_behind_a_key_of_another_type_too),
        TEST(a_group_with_many_keys_is_sent_in_several_scripts),
        TEST(a_cluster_of_one_node_takes_single_keys),
        TEST(a_join_is_one_member_with_a_time_to_live),
        TEST(many_discards_of_one_turn_are_few_commands),
        TEST(memberships_come_back_when_redis_was_emptied),
        TEST(memberships_come_back_after_a_restart),
        TEST(the_end_leaves_nothing_behind),
        TEST(flush_takes_the_layers_keys_and_no_others),
        TEST(groups_are_listed_with_their_members),
        TEST(flush_tells_every_other_node_whatever_waits_for_it),
        TEST(what_was_joined_during_a_flush_is_taken_out_and_what_is_being_joined_stays),
        TEST(a_flush_that_fails_halfway_leaves_memberships_whole),
        TEST(memberships_live_as_long_as_their_node_and_no_longer),
    };
    return cmocka_run_group_tests_name("redis_backend", tests, start_server, stop_server);
}
