/* SPDX-License-Identifier: BSD-3-Clause
 * What arrives through the backend, and what it does in trouble, on a real Redis.
 */
#include "tests/support/redis_backend_rig.h"

#include "channel_layer/redis/redis.h"
#include "channel_layer/shard.h"

/* ---- what arrives ---- */

static bool has_all(void *ctx)
{
    const struct rig *rig = ctx;
    return rig->layer.arrived >= 3000;
}

static void messages_arrive_once_and_leave_the_key(void **state)
{
    struct rig rig;
    open_settled(&rig, *state, "");
    put_messages(*state, KEY, BASE "g.room", 0, 1500);
    watch(&rig, BASE);
    watch(&rig, BASE "abc");
    put_messages(*state, KEY, BASE "g.room", 1500, 3000);
    assert_true(rig_until(&rig, has_all, &rig));
    for (unsigned i = 0; i < 3000; i++)
        assert_int_equal(rig.layer.times[i], 1);
    assert_string_equal(rig.layer.names, BASE "g.room ");
    rig_close(&rig);
    assert_int_equal(NUMBER(*state, "EXISTS " KEY), 0);
}

static void a_cut_connection_neither_loses_nor_doubles(void **state)
{
    struct rig rig;
    daemon_need_version(600, "CLIENT TRACKING: what BZPOPMIN gives is lost with the connection");
    open_settled(&rig, *state, "");
    watch(&rig, BASE);
    for (unsigned n = 0; n < 3000; n += 100) {
        put_messages(*state, KEY, BASE "g.room", n, n + 100);
        for (unsigned i = 0; i < n % 7; i++)
            uv_run(&rig.uv, UV_RUN_NOWAIT);
        TELL_REDIS(*state, "CLIENT KILL TYPE normal SKIPME yes");
    }
    assert_true(rig_until(&rig, has_all, &rig));
    for (unsigned i = 0; i < 3000; i++)
        assert_int_equal(rig.layer.times[i], 1);
    rig_close(&rig);
}

static bool has_one(void *ctx)
{
    return ((const struct rig *)ctx)->layer.arrived == 1;
}

static void a_message_wakes_the_reader_at_once(void **state)
{
    struct rig rig;
    open_settled(&rig, *state, "");
    watch(&rig, BASE);
    put_messages(*state, KEY, BASE "x", 0, 1);
    assert_true(rig_until(&rig, has_one, &rig));
    rig.layer.arrived = 0;
    uv_update_time(&rig.uv);
    const uint64_t start_ms = uv_now(&rig.uv);
    put_messages(*state, KEY, BASE "x", 1, 2);
    assert_true(rig_until(&rig, has_one, &rig));
    assert_true(uv_now(&rig.uv) - start_ms < 1000);
    rig_close(&rig);
}

static bool has_none_left(void *ctx)
{
    struct rig_redis *redis = ctx;
    return NUMBER(redis, "EXISTS " KEY) == 0;
}

/* Puts message @n, of which @at says who it is for: a name, or an array of names. With @prefix
 * random bytes, which @n stands for. */
static void put_one(struct rig_redis *redis, unsigned n, size_t prefix, const char *at)
{
    uint8_t member[128] = {0};
    const uint8_t front[] = {0x82, 0xa1, 'n', 0xcd, (uint8_t)(n >> 8), (uint8_t)(n & 255), 0xb0};
    size_t len = prefix;
    if (prefix > 0)
        member[0] = (uint8_t)n;
    memcpy(member + len, front, sizeof(front));
    len += sizeof(front);
    memcpy(member + len, "__asgi_channel__", 16);
    len += 16;
    memcpy(member + len, at, strlen(at));
    len += strlen(at);
    TELL_REDIS(redis, "ZADD " KEY " %ld %b", (long)time(NULL), (const char *)member, len);
}

/* 43 and 45 characters. */
#define TO_GROUP "\x91\xd9\x2b" BASE "x"
#define TO_CONTROL "\xd9\x2d" BASE "ctl"

/* Reads one message, so that the reader knows how large they are, and then another. */
static void read_two(struct rig *rig, struct rig_redis *redis, size_t prefix, const char *at)
{
    assert_int_equal(strlen(BASE "x"), 0x2b);
    for (unsigned n = 0; n < 2; n++) {
        rig->layer.arrived = 0;
        put_one(redis, n, prefix, at);
        assert_true(rig_until(rig, has_one, rig));
        if (n == 0)
            assert_true(rig_until(rig, has_none_left, redis));
    }
}

static void single_messages_are_taken_out_with_the_next_read(void **state)
{
    struct rig rig;
    open_settled(&rig, *state, "");
    watch(&rig, BASE);
    read_two(&rig, *state, 12, TO_GROUP);
    const unsigned long reads = calls_of(*state, "zrange");
    for (unsigned n = 2; n < 22; n++) {
        rig.layer.arrived = 0;
        put_one(*state, n, 12, TO_GROUP);
        assert_true(rig_until(&rig, has_one, &rig));
    }
    assert_in_range(calls_of(*state, "zrange") - reads, 20, 22); /* a tick may come between */
    assert_true(rig_until(&rig, has_none_left, *state));         /* the last, by itself */
    for (unsigned n = 0; n < 22; n++)
        assert_int_equal(rig.layer.times[n], 1);
    rig_close(&rig);
}

static void what_is_handed_over_but_not_out_is_not_read_again_after_a_cut(void **state)
{
    struct rig rig;
    open_settled(&rig, *state, "");
    watch(&rig, BASE);
    for (unsigned n = 0; n < 20; n++) {
        rig.layer.arrived = 0;
        put_one(*state, n, 12, TO_GROUP);
        assert_true(rig_until(&rig, has_one, &rig));
        if (n % 2 == 0)
            TELL_REDIS(*state, "CLIENT KILL TYPE normal SKIPME yes");
    }
    for (unsigned n = 0; n < 20; n++)
        assert_int_equal(rig.layer.times[n], 1);
    rig_close(&rig);
    assert_int_equal(NUMBER(*state, "EXISTS " KEY), 0);
}

/* Whether what was handed over is taken out without waiting for more. */
static bool is_out_at_once(struct rig_redis *redis, const char *settings, size_t prefix,
                           const char *at)
{
    enum { SOON_MS = 100 };
    struct rig rig;
    open_settled(&rig, redis, settings);
    watch(&rig, BASE);
    read_two(&rig, redis, prefix, at);
    uv_update_time(&rig.uv);
    const uint64_t start_ms = uv_now(&rig.uv);
    assert_true(rig_until(&rig, has_none_left, redis));
    const bool is_soon = uv_now(&rig.uv) - start_ms < SOON_MS;
    rig_close(&rig);
    return is_soon;
}

static void where_a_message_left_for_a_moment_would_matter_it_is_not(void **state)
{
    const struct rig_redis *redis = *state;
    /* What BZPOPMIN gives is out: one before 6 cannot be told to keep it. */
    assert_int_equal(is_out_at_once(*state, "", 12, TO_GROUP), redis->daemon.version < 600);
    assert_true(is_out_at_once(*state, "", 12, TO_CONTROL)); /* another node waits for that */
    assert_true(is_out_at_once(*state, "\"capacity\": 10", 12, TO_GROUP));
    assert_true(
        is_out_at_once(*state, "\"channel_capacity\": [[\"specific.*\", 10]]", 12, TO_GROUP));
    /* The same bytes again would be the same member. */
    assert_true(is_out_at_once(*state, "\"random_prefix_length\": 0", 0, TO_GROUP));
}

static void a_message_that_does_not_decode_is_dropped_and_counted(void **state)
{
    struct rig rig;
    open_settled(&rig, *state, "");
    TELL_REDIS(*state, "ZADD " KEY " %ld garbage %ld a", (long)time(NULL) - 2,
               (long)time(NULL) - 1);
    put_messages(*state, KEY, BASE "x", 5, 6);
    watch(&rig, BASE);
    assert_true(rig_until(&rig, has_one, &rig));
    assert_int_equal(rig.layer.stats.dropped_undecodable, 2);
    rig_close(&rig);
    assert_int_equal(NUMBER(*state, "EXISTS " KEY), 0);
}

/* Gives the messages that lie under @key the score of @ago_s seconds ago. */
static void make_older(struct rig_redis *redis, const char *key, long ago_s)
{
    redisReply *reply = ask_redis(redis, "ZRANGE %s 0 -1", key);
    for (size_t i = 0; i < reply->elements; i++)
        TELL_REDIS(redis, "ZADD %s %ld %b", key, (long)time(NULL) - ago_s, reply->element[i]->str,
                   reply->element[i]->len);
    freeReplyObject(reply);
}

static bool has_one_of_each(void *ctx)
{
    const struct rig *rig = ctx;
    return rig->layer.arrived == 2 && rig->layer.normal == 1;
}

static void what_is_too_old_is_dropped_and_counted_but_clocks_may_differ(void **state)
{
    struct rig rig;
    open_settled(&rig, *state, "\"expiry\": 20");
    put_messages(*state, KEY, BASE "x", 0, 2);
    put_messages(*state, "asgijobs", "jobs", 10, 11);
    make_older(*state, KEY, 20 + REDIS_LATE_S + 5);
    make_older(*state, "asgijobs", 20 + REDIS_LATE_S + 5);
    put_messages(*state, "asgimore", BASE "x", 2, 3);
    make_older(*state, "asgimore", 20 + REDIS_LATE_S - 5);
    TELL_REDIS(*state, "ZUNIONSTORE " KEY " 2 " KEY " asgimore");
    TELL_REDIS(*state, "DEL asgimore");
    put_messages(*state, KEY, BASE "x", 3, 4);
    put_messages(*state, "asgijobs", "jobs", 11, 12);
    watch(&rig, BASE);
    rig.b->ops->want(rig.b, slice_str("jobs"), 1);
    assert_true(rig_until(&rig, has_one_of_each, &rig));
    assert_int_equal(rig.layer.times[0] + rig.layer.times[1] + rig.layer.times[10], 0);
    assert_int_equal(rig.layer.times[2] + rig.layer.times[3] + rig.layer.times[11], 3);
    assert_int_equal(rig.layer.stats.dropped_expired, 3);
    rig.b->ops->taken(rig.b, slice_str("jobs"), rig.layer.handles[0]);
    rig_close(&rig);
    assert_int_equal(NUMBER(*state, "DBSIZE"), 0);
}

static bool has_seen_wrong_key(void *ctx)
{
    return calls_of(ctx, "zrange") > 0;
}

static void a_key_of_another_type_is_tried_again_slowly(void **state)
{
    struct rig rig;
    open_settled(&rig, *state, "");
    TELL_REDIS(*state, "SET " KEY " something");
    TELL_REDIS(*state, "CONFIG RESETSTAT");
    watch(&rig, BASE);
    assert_true(rig_until(&rig, has_seen_wrong_key, *state));
    for (unsigned i = 0; i < 20; i++)
        uv_run(&rig.uv, UV_RUN_NOWAIT);
    assert_int_equal(calls_of(*state, "zrange"), 1);
    TELL_REDIS(*state, "DEL " KEY);
    put_messages(*state, KEY, BASE "x", 0, 1);
    for (unsigned i = 0; i < 2 && !rig_until(&rig, has_one, &rig); i++)
        continue;
    assert_true(has_one(&rig));
    rig_close(&rig);
}

static void without_being_told_messages_are_waited_for(void **state)
{
    const struct rig_redis *redis = *state;
    struct rig rig;
    if (redis->daemon.version >= 600) /* one before never tells */
        TELL_REDIS(*state, "ACL SETUSER default %s",
                   redis->daemon.version >= 700 ? "-client|tracking" : "-client");
    open_settled(&rig, *state, "");
    put_messages(*state, KEY, BASE "g.room", 0, 1000);
    watch(&rig, BASE);
    watch(&rig, "other." NODE "!");
    put_messages(*state, KEY, BASE "g.room", 1000, 2900);
    put_messages(*state, "asgiother." NODE "!", "other." NODE "!x", 2900, 3000);
    assert_true(rig_until(&rig, has_all, &rig));
    for (unsigned i = 0; i < 3000; i++)
        assert_int_equal(rig.layer.times[i], 1);
    rig_close(&rig);
}

/* ---- several shards ---- */

static bool has_twenty(void *ctx)
{
    const struct rig *rig = ctx;
    return rig->layer.arrived == 20 && rig->layer.normal == 4;
}

static void both_shards_are_read_and_written(void **state)
{
    struct rig rig;
    struct rig_call call;
    struct rig_redis redis[2] = {0};
    (void)state;
    for (unsigned i = 0; i < 2; i++) {
        daemon_start(&redis[i].daemon, NULL);
        rig_look(&redis[i]);
        put_messages(&redis[i], KEY, BASE "x", 10 * i, 10 * i + 10);
    }
    rig_open_hosts(&rig, redis, 2, "");
    for (unsigned i = 0; i < 4; i++)
        assert_int_equal(send_to(&rig, &call, "jobs"), ERR_OK);
    assert_int_equal(NUMBER(&redis[0], "ZCARD asgijobs"), 2);
    assert_int_equal(NUMBER(&redis[1], "ZCARD asgijobs"), 2);
    watch(&rig, BASE);
    rig.b->ops->want(rig.b, slice_str("jobs"), 4);
    assert_true(rig_until(&rig, has_twenty, &rig));
    rig.b->ops->want(rig.b, slice_str("jobs"), 0);

    /* A specific channel and a group each have one shard, the one that channels_redis reads. */
    const unsigned of_channel = shard_of(slice_str(THEIRS), 2);
    assert_int_equal(send_to(&rig, &call, THEIRS "x"), ERR_OK);
    assert_int_equal(NUMBER(&redis[of_channel], "ZCARD asgi" THEIRS), 1);
    assert_int_equal(NUMBER(&redis[1 - of_channel], "EXISTS asgi" THEIRS), 0);
    const unsigned of_group = shard_of(slice_str("room"), 2);
    TELL_REDIS(&redis[of_group], "ZADD asgi:group:room 4000000000 " THEIRS "x");
    assert_int_equal(send_to_group(&rig, &call, "room"), ERR_OK);
    assert_int_equal(NUMBER(&redis[of_channel], "ZCARD asgi" THEIRS), 2);

    /* One that stands still holds up what needs it, and nothing else. */
    kill(redis[1 - of_channel].daemon.pid, SIGSTOP);
    assert_int_equal(send_to(&rig, &call, THEIRS "x"), ERR_OK);
    kill(redis[1 - of_channel].daemon.pid, SIGCONT);
    rig_close(&rig);
    for (unsigned i = 0; i < 2; i++) {
        redisFree(redis[i].client);
        daemon_remove(&redis[i].daemon);
    }
}

/* ---- normal channels ---- */

static bool has_two(void *ctx)
{
    return ((const struct rig *)ctx)->layer.normal == 2;
}

static bool is_untaken(void *ctx)
{
    return NUMBER(ctx, "EXISTS asgi:channelsd:taken:" NODE) == 0;
}

static void what_is_wanted_is_taken_and_what_is_not_handled_goes_back(void **state)
{
    struct rig rig;
    const struct slice channel = slice_str("jobs");
    open_settled(&rig, *state, "");
    put_messages(*state, "asgijobs", "jobs", 0, 3);
    redisReply *before = ask_redis(*state, "ZRANGE asgijobs 1 1 WITHSCORES");
    rig.b->ops->want(rig.b, channel, 2);
    assert_true(rig_until(&rig, has_two, &rig));
    assert_int_equal(NUMBER(*state, "ZCARD asgijobs"), 1);
    assert_int_equal(NUMBER(*state, "ZCARD asgi:channelsd:taken:" NODE), 2);
    assert_true(NUMBER(*state, "TTL asgi:channelsd:taken:" NODE) > 1000);
    rig.b->ops->taken(rig.b, channel, rig.layer.handles[0]);
    rig.b->ops->taken(rig.b, channel, rig.layer.handles[0]); /* an old handle is none */
    rig.b->ops->put_back(rig.b, channel, rig.layer.handles[1]);
    assert_true(rig_until(&rig, is_untaken, *state));
    assert_int_equal(NUMBER(*state, "ZCARD asgijobs"), 2);
    redisReply *after = ask_redis(*state, "ZRANGE asgijobs 0 0 WITHSCORES");
    assert_memory_equal(after->element[0]->str, before->element[0]->str, before->element[0]->len);
    assert_string_equal(after->element[1]->str, before->element[1]->str);
    freeReplyObject(before);
    freeReplyObject(after);
    rig_close(&rig);
}

static void a_wait_for_a_normal_channel_is_told_of_the_next_message(void **state)
{
    struct rig rig;
    open_settled(&rig, *state, "");
    rig.layer.refuse_normal = 1;
    rig.b->ops->want(rig.b, slice_str("jobs"), 3);
    put_messages(*state, "asgijobs", "jobs", 0, 1);
    put_messages(*state, "asgijobs", "jobs", 1, 2);
    assert_true(rig_until(&rig, has_two, &rig)); /* the refused one came again */
    assert_int_equal(rig.layer.times[0], 1);
    assert_int_equal(rig.layer.times[1], 1);
    rig_close(&rig);
    assert_int_equal(NUMBER(*state, "ZCARD asgijobs"), 2); /* neither was handled */
    assert_int_equal(NUMBER(*state, "DBSIZE"), 1);
}

static bool has_failed(void *ctx)
{
    return ((const struct rig *)ctx)->layer.failed > 0;
}

static void a_wait_that_redis_forbids_ends_with_what_to_do(void **state)
{
    struct rig rig;
    daemon_need_version(600, "ACL");
    open_settled(&rig, *state, "");
    TELL_REDIS(*state, "ACL SETUSER default -zrange");
    put_messages(*state, "asgijobs", "jobs", 0, 1);
    rig.b->ops->want(rig.b, slice_str("jobs"), 1);
    assert_true(rig_until(&rig, has_failed, &rig));
    assert_int_equal(rig.layer.failed_err, ERR_ACCESS);
    assert_non_null(strstr(rig.layer.failed_why, "the user's ACL must allow it"));
    TELL_REDIS(*state, "ACL SETUSER default +zrange");
    rig_close(&rig);
    assert_int_equal(NUMBER(*state, "ZCARD asgijobs"), 1);
}

static void what_a_dead_worker_of_channels_redis_left_comes_first(void **state)
{
    struct rig rig;
    open_settled(&rig, *state, "");
    put_messages(*state, "asgijobs$inflight", "jobs", 0, 2);
    rig.b->ops->want(rig.b, slice_str("jobs"), 2);
    assert_true(rig_until(&rig, has_two, &rig));
    assert_int_equal(NUMBER(*state, "EXISTS asgijobs$inflight"), 0);
    rig_close(&rig);
}

static void a_message_that_was_moved_unseen_goes_back(void **state)
{
    struct rig rig;
    open_settled(&rig, *state, "");
    rig.b->ops->want(rig.b, slice_str("jobs"), 1);
    put_messages(*state, "asgijobs", "jobs", 0, 1);
    struct rig *const ctx = &rig;
    while (rig.layer.normal == 0)
        uv_run(&ctx->uv, UV_RUN_ONCE);
    /* As if the answer of a pop had been lost with its connection. */
    redisReply *reply = ask_redis(*state, "ZRANGE asgi:channelsd:taken:" NODE " 0 0");
    reply->element[0]->str[reply->element[0]->len - 1] ^= 1;
    TELL_REDIS(*state, "ZADD asgi:channelsd:taken:" NODE " 5 %b", reply->element[0]->str,
               reply->element[0]->len);
    freeReplyObject(reply);
    rig.b->ops->want(rig.b, slice_str("jobs"), 0);
    TELL_REDIS(*state, "CLIENT KILL TYPE normal SKIPME yes");
    while (NUMBER(*state, "ZCARD asgijobs") == 0)
        uv_run(&ctx->uv, UV_RUN_ONCE);
    assert_int_equal(NUMBER(*state, "ZCARD asgi:channelsd:taken:" NODE), 1);
    rig_close(&rig);
}

/* ---- nodes that are gone ---- */

static bool is_swept(void *ctx)
{
    return NUMBER(ctx, "ZCARD asgi:channelsd:nodes") == 2; /* this and the other that lives */
}

static void the_members_and_messages_of_a_dead_node_are_seen_to(void **state)
{
    struct rig rig;
    put_messages(*state, "asgi:channelsd:taken:" OTHER, "jobs", 0, 1);
    redisReply *reply = ask_redis(*state, "ZRANGE asgi:channelsd:taken:" OTHER " 0 0");
    TELL_REDIS(*state, "ZADD asgi:channelsd:taken:" OTHER " 4000000000.25 jobs:%b",
               reply->element[0]->str, reply->element[0]->len);
    TELL_REDIS(*state, "ZADD asgi:channelsd:nodes 1000 " OTHER " 1000 ~not-a-node");
    TELL_REDIS(*state, "ZADD asgi:channelsd:nodes %ld " LIVING, (long)time(NULL));
    for (unsigned i = 0; i < 300; i++) {
        TELL_REDIS(*state, "SADD asgi:channelsd:groups:" OTHER " room%u", i);
        TELL_REDIS(*state, "ZADD asgi:group:room%u 4000000000 specific." OTHER "!g.room%u", i, i);
    }
    TELL_REDIS(*state, "ZADD asgi:group:room7 4000000000 specific.python!x");
    open_settled(&rig, *state, "");
    for (unsigned i = 0; i < 3 && !rig_until(&rig, is_swept, *state); i++)
        continue;
    assert_true(is_swept(*state));
    assert_int_equal(rig.layer.stats.swept, 300);
    assert_int_equal(rig.layer.stats.restored, 1);
    assert_int_equal(NUMBER(*state, "ZCARD asgi:group:room7"), 1);
    redisReply *back = ask_redis(*state, "ZRANGE asgijobs 0 -1 WITHSCORES");
    assert_int_equal(back->elements, 2);
    assert_memory_equal(back->element[0]->str, reply->element[0]->str, reply->element[0]->len);
    assert_string_equal(back->element[1]->str, "4000000000.25");
    freeReplyObject(back);
    freeReplyObject(reply);
    assert_int_equal(NUMBER(*state, "DBSIZE"), 3); /* jobs, room7 and the list of nodes */
    rig_close(&rig);
}

static bool has_two_beats(void *ctx)
{
    redisReply *reply = ask_redis(ctx, "INFO commandstats");
    const char *at = strstr(reply->str, "cmdstat_zrevrange:calls=");
    const bool has = at != NULL && strtoul(at + strlen("cmdstat_zrevrange:calls="), NULL, 10) >= 2;
    freeReplyObject(reply);
    return has;
}

static void nobody_is_taken_for_gone_because_redis_was_away(void **state)
{
    struct rig rig;
    TELL_REDIS(*state, "ZADD asgi:channelsd:nodes %ld " OTHER, (long)time(NULL) - 100);
    TELL_REDIS(*state, "CONFIG RESETSTAT");
    open_settled(&rig, *state, "");
    assert_true(rig_until(&rig, has_two_beats, *state));
    assert_int_equal(NUMBER(*state, "ZCARD asgi:channelsd:nodes"), 3); /* with the mark */
    redisReply *reply = ask_redis(*state, "ZSCORE asgi:channelsd:nodes " OTHER);
    assert_int_equal(reply->type, REDIS_REPLY_STRING);
    freeReplyObject(reply);
    rig_close(&rig);
}

/* ---- troubles ---- */

static void calls_end_in_time_when_redis_stands_still(void **state)
{
    struct rig_redis *redis = *state;
    struct rig rig;
    struct rig_call call;
    open_settled(&rig, redis, "\"timeout\": 0.2");
    kill(redis->daemon.pid, SIGSTOP);
    const uint64_t start_ms = uv_now(&rig.uv);
    const enum err sent = send_to(&rig, &call, "jobs");
    const enum err joined = join(&rig, "room");
    const enum err sent_to_group = send_to_group(&rig, &call, "room");
    kill(redis->daemon.pid, SIGCONT);
    assert_int_equal(sent, ERR_TIMEOUT);
    assert_int_equal(joined, ERR_TIMEOUT);
    assert_int_equal(sent_to_group, ERR_UNAVAILABLE); /* it only asked who is in it */
    assert_true(uv_now(&rig.uv) - start_ms < 1500);
    rig_close(&rig);
}

static void calls_say_why_redis_cannot_be_reached(void **state)
{
    struct rig_redis nowhere = {.daemon = {.port = daemon_free_port()}};
    struct rig rig;
    struct rig_call call;
    (void)state;
    rig_open(&rig, &nowhere, "\"timeout\": 0.2");
    watch(&rig, BASE);
    assert_int_equal(send_to(&rig, &call, "jobs"), ERR_UNAVAILABLE);
    assert_non_null(strstr(call.why, "127.0.0.1:"));
    assert_int_equal(send_to_group(&rig, &call, "room"), ERR_UNAVAILABLE);
    assert_int_equal(join(&rig, "room"), ERR_UNAVAILABLE);
    rig_close(&rig);
}

static void calls_under_way_end_with_the_backend(void **state)
{
    struct rig_redis *redis = *state;
    struct rig rig;
    struct rig_call calls[3];
    struct rig_body body;
    struct rig_own own = {.own = {on_found}, .layer = &rig.layer};
    open_settled(&rig, redis, "\"timeout\": 0.3");
    for (unsigned i = 0; i < 3; i++)
        call_init(&calls[i]);
    kill(redis->daemon.pid, SIGSTOP);
    rig.b->ops->send(rig.b, slice_str("jobs"), body_of(&body, 1), &calls[0].call);
    rig.b->ops->group_send(rig.b, slice_str("room"), body_of(&body, 1), &calls[1].call, &own.own);
    rig.b->ops->join(rig.b, slice_str("room"), &calls[2].call);
    rig_close(&rig);
    kill(redis->daemon.pid, SIGCONT);
    for (unsigned i = 0; i < 3; i++) {
        assert_int_equal(calls[i].ended, 1);
        assert_true(calls[i].err == ERR_CLOSED ||
                    calls[i].err == (i == 1 ? ERR_UNAVAILABLE : ERR_TIMEOUT));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(messages_arrive_once_and_leave_the_key),
        TEST(a_cut_connection_neither_loses_nor_doubles),
        TEST(a_message_wakes_the_reader_at_once),
        TEST(single_messages_are_taken_out_with_the_next_read),
        TEST(what_is_handed_over_but_not_out_is_not_read_again_after_a_cut),
        TEST(where_a_message_left_for_a_moment_would_matter_it_is_not),
        TEST(a_message_that_does_not_decode_is_dropped_and_counted),
        TEST(what_is_too_old_is_dropped_and_counted_but_clocks_may_differ),
        TEST(a_key_of_another_type_is_tried_again_slowly),
        TEST(without_being_told_messages_are_waited_for),
        TEST(what_is_wanted_is_taken_and_what_is_not_handled_goes_back),
        TEST(a_wait_for_a_normal_channel_is_told_of_the_next_message),
        TEST(a_wait_that_redis_forbids_ends_with_what_to_do),
        TEST(what_a_dead_worker_of_channels_redis_left_comes_first),
        TEST(a_message_that_was_moved_unseen_goes_back),
        TEST(the_members_and_messages_of_a_dead_node_are_seen_to),
        TEST(nobody_is_taken_for_gone_because_redis_was_away),
        TEST(calls_end_in_time_when_redis_stands_still),
        TEST(calls_say_why_redis_cannot_be_reached),
        TEST(calls_under_way_end_with_the_backend),
        TEST(both_shards_are_read_and_written),
    };
    return cmocka_run_group_tests_name("redis_backend_arrivals", tests, start_server, stop_server);
}
