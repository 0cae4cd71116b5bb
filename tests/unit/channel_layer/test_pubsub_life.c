/* SPDX-License-Identifier: BSD-3-Clause
 * The backend for channels_redis.pubsub on a real Redis: normal channels, and a Redis that is away.
 */
#include "tests/support/pubsub_rig.h"

/* ---- normal channels ---- */

static void messages_wait_for_who_receives_again(void **state)
{
    struct servers *servers = *state;
    struct rig rig;
    struct client *c = &rig.clients[0];
    open_layer(&rig, servers, 1, "");
    receive(&rig, 0, "jobs");
    RUN_UNTIL_SEEN(&rig, is_received(servers, "jobs"));
    for (unsigned n = 0; n < 3; n++)
        TELL(servers->look[0], "PUBLISH jobs %b", (char[]){'\x81', '\xa1', 'n', (char)n},
             (size_t)4);
    RUN_UNTIL(&rig, c->count == 1);
    layer_taken(client(&rig, 0), c->tokens[0]);
    receive(&rig, 0, "jobs");
    RUN_UNTIL(&rig, c->count == 2);
    layer_put_back(client(&rig, 0), c->tokens[1]); /* goes to its place, before the third */
    receive(&rig, 0, "jobs");
    receive(&rig, 0, "jobs");
    RUN_UNTIL(&rig, c->count == 4);
    assert_memory_equal(c->numbers, ((const uint16_t[]){0, 1, 1, 2}), 8);
    layer_taken(client(&rig, 0), c->tokens[2]); /* the last is given back when the client goes */
    close_layer(&rig);
}

static void every_node_gets_what_is_sent_to_a_normal_channel(void **state)
{
    struct servers *servers = *state;
    struct rig rigs[2];
    struct call call;
    for (unsigned i = 0; i < 2; i++)
        open_layer(&rigs[i], servers, 1, "");
    for (unsigned i = 0; i < 2; i++) {
        receive(&rigs[i], 0, "jobs");
        RUN_UNTIL_SEEN(&rigs[i], NUMBER(servers->look[0], "PUBSUB NUMSUB jobs") == i + 1);
    }
    layer_send(client(&rigs[0], 1), slice_str("jobs"), body_of(4), new_call(&call));
    assert_int_equal(end(&rigs[0], &call), ERR_OK);
    for (unsigned i = 0; i < 2; i++) {
        RUN_UNTIL(&rigs[i], rigs[i].clients[0].count == 1);
        assert_string_equal(rigs[i].clients[0].last, "jobs");
        close_layer(&rigs[i]);
    }
}

static void publish_numbers(redisContext *look, const char *channel, unsigned count)
{
    for (unsigned n = 0; n < count; n++) {
        const char body[] = {'\x81', '\xa1', 'n', '\xcd', (char)(n >> 8), (char)n};
        redisAppendCommand(look, "PUBLISH %s %b", channel, body, sizeof(body));
    }
    for (unsigned n = 0; n < count; n++) {
        redisReply *reply = NULL;
        assert_int_equal(redisGetReply(look, (void **)&reply), REDIS_OK);
        freeReplyObject(reply);
    }
}

static void what_exceeds_the_capacity_is_dropped_and_counted(void **state)
{
    enum { EXTRA = 20, CAPACITY = 10000 };
    struct servers *servers = *state;
    struct rig *rig = malloc(sizeof(*rig));
    assert_non_null(rig);
    struct client *c = &rig->clients[0];
    open_layer(rig, servers, 1, "");
    receive(rig, 0, "jobs");
    RUN_UNTIL_SEEN(rig, is_received(servers, "jobs"));
    publish_numbers(servers->look[0], "jobs", 1 + CAPACITY + EXTRA);
    RUN_UNTIL(rig, layer_stats(rig->layer)->dropped_full == EXTRA);
    for (unsigned n = 0; n < CAPACITY; n++)
        receive(rig, 0, "jobs");
    RUN_UNTIL(rig, c->count == 1 + CAPACITY);
    for (unsigned n = 0; n < c->count; n++)
        assert_int_equal(c->numbers[n], n); /* the newest were dropped */
    close_layer(rig);
    free(rig);
}

static void a_name_may_be_both_a_channel_and_a_group(void **state)
{
    struct servers *servers = *state;
    struct rig rig;
    struct call call;
    open_layer(&rig, servers, 1, "");
    receive(&rig, 1, "asgi__group__room");
    RUN_UNTIL_SEEN(&rig, is_received(servers, "asgi__group__room"));
    join(&rig, 0, "room");
    send_to_group(&rig, "room", 1);
    RUN_UNTIL(&rig, rig.clients[0].count == 1 && rig.clients[1].count == 1);
    layer_leave(client(&rig, 0), slice_str("room"), new_call(&call));
    assert_int_equal(end(&rig, &call), ERR_OK);
    receive(&rig, 1, "asgi__group__room");
    send_to_group(&rig, "room", 2);
    RUN_UNTIL(&rig, rig.clients[1].count == 2);
    assert_int_equal(rig.clients[0].count, 1);
    close_layer(&rig);
}

/* ---- when Redis is not there ---- */

static void a_join_waits_for_the_connection(void **state)
{
    struct servers *servers = *state;
    struct rig rig;
    struct call call;
    daemon_kill(&servers->daemon[1]);
    open_layer(&rig, servers, SERVERS, ", \"timeout\": 8");
    const char *group = shard_of(slice_str("asgi__group__room"), 2) == 1 ? "room" : "lobby";
    layer_join(client(&rig, 0), slice_str(group), new_call(&call));
    settle(&rig, servers, 1);
    assert_int_equal(call.ended, 0);
    daemon_restart(&servers->daemon[1]);
    assert_int_equal(end(&rig, &call), ERR_OK);
    send_to_group(&rig, group, 1);
    assert_int_equal(rig.clients[0].count, 1);
    close_layer(&rig);
    redisFree(servers->look[1]);
    servers->look[1] = look_at(servers->daemon[1].port);
}

static void without_redis_calls_end_as_unavailable(void **state)
{
    struct servers *servers = *state;
    struct servers nowhere = {0};
    struct rig rig;
    struct call calls[3];
    char where[32];
    (void)servers;
    nowhere.daemon[0].port = daemon_free_port();
    snprintf(where, sizeof(where), "127.0.0.1:%u", nowhere.daemon[0].port);
    open_layer(&rig, &nowhere, 1, ", \"timeout\": 0.3");
    layer_join(client(&rig, 0), slice_str("room"), new_call(&calls[0]));
    layer_group_send(client(&rig, 0), slice_str("room"), body_of(1), new_call(&calls[1]));
    layer_send(client(&rig, 0), slice_str("jobs"), body_of(1), new_call(&calls[2]));
    for (unsigned i = 0; i < 3; i++) {
        assert_int_equal(end(&rig, &calls[i]), ERR_UNAVAILABLE);
        assert_non_null(strstr(calls[i].why, where));
    }
    close_layer(&rig);
}

static void on_no_group(void *ctx, struct slice group, uint64_t members)
{
    (void)ctx;
    fail_msg("%.*s %lu", (int)group.len, (const char *)group.ptr, (unsigned long)members);
}

static void calls_under_way_end_when_the_layer_does(void **state)
{
    struct servers nowhere = {0};
    struct rig rig;
    struct call calls[4];
    (void)state;
    nowhere.daemon[0].port = daemon_free_port();
    open_layer(&rig, &nowhere, 1, "");
    layer_join(client(&rig, 0), slice_str("room"), new_call(&calls[0]));
    layer_group_send(client(&rig, 0), slice_str("room"), body_of(1), new_call(&calls[1]));
    layer_send(client(&rig, 0), slice_str("jobs"), body_of(1), new_call(&calls[2]));
    layer_groups(rig.layer, on_no_group, NULL, new_call(&calls[3]));
    receive(&rig, 0, "jobs");
    close_layer(&rig);
    for (unsigned i = 0; i < 4; i++) {
        assert_int_equal(calls[i].ended, 1);
        assert_int_equal(calls[i].err, ERR_CLOSED);
    }
}

static void subscriptions_come_back_with_the_connection(void **state)
{
    struct servers *servers = *state;
    struct rig rig;
    char group[16];
    char name[120];
    open_layer(&rig, servers, 1, "");
    settle(&rig, servers, 1);
    for (unsigned i = 0; i < 300; i++) {
        snprintf(group, sizeof(group), "room%u", i);
        join(&rig, 0, group);
    }
    receive(&rig, 1, "jobs");
    RUN_UNTIL_SEEN(&rig, is_received(servers, "jobs"));
    assert_true(NUMBER(servers->look[0], "CLIENT KILL TYPE pubsub") >= 1);
    send_to_group(&rig, "room299", 1);
    assert_int_equal(rig.clients[0].count, 1); /* whether or not the loss was known yet */
    RUN_UNTIL_SEEN(&rig, is_received(servers, "asgi__group__room299") &&
                             is_received(servers, "jobs") &&
                             NUMBER(servers->look[0], "PUBSUB NUMPAT") == CLIENTS);
    assert_int_equal(layer_stats(rig.layer)->reconnects, 1);
    send_to_group(&rig, "room0", 2);
    assert_int_equal(rig.clients[0].count, 2);
    TELL(servers->look[0], "PUBLISH %s %b", channel_name(&rig, 2, name, sizeof(name)).ptr,
         PAYLOAD("\x05"), (size_t)4);
    TELL(servers->look[0], "PUBLISH jobs %b", PAYLOAD("\x06"), (size_t)4);
    RUN_UNTIL(&rig, rig.clients[1].count == 1 && rig.clients[2].count == 1);
    close_layer(&rig);
}

static void a_name_that_redis_refuses_keeps_no_other_from_its_messages(void **state)
{
    struct servers *servers = *state;
    struct rig rig;
    struct call good;
    struct call bad;
    daemon_need_version(602, "rights for channels");
    TELL(servers->look[0], "ACL SETUSER default resetchannels &asgi__group__good*");
    open_layer(&rig, servers, 1, "");
    layer_join(client(&rig, 0), slice_str("bad"), new_call(&bad));
    layer_join(client(&rig, 0), slice_str("good"), new_call(&good));
    assert_int_equal(end(&rig, &good), ERR_OK);
    assert_int_equal(end(&rig, &bad), ERR_UNAVAILABLE);
    assert_non_null(strstr(bad.why, "NOPERM"));
    send_to_group(&rig, "good", 1);
    assert_int_equal(rig.clients[0].count, 1);
    layer_group_send(client(&rig, 0), slice_str("bad"), body_of(1), new_call(&bad));
    assert_int_equal(end(&rig, &bad), ERR_UNAVAILABLE);
    TELL(servers->look[0], "ACL SETUSER default allchannels");
    settle(&rig, servers, 1); /* the names of clients, too, were refused until now */
    join(&rig, 0, "bad");
    close_layer(&rig);
}

static void what_was_not_answered_in_time_is_put_right_later(void **state)
{
    struct servers *servers = *state;
    struct rig rig;
    struct call joining;
    struct call leaving;
    struct call sending;
    open_layer(&rig, servers, 1, ", \"timeout\": 0.3");
    settle(&rig, servers, 1);
    join(&rig, 1, "lobby");
    send_to_group(&rig, "lobby", 9); /* the other connection, too, is there */
    kill(servers->daemon[0].pid, SIGSTOP);
    layer_join(client(&rig, 0), slice_str("room"), new_call(&joining));
    layer_leave(client(&rig, 1), slice_str("lobby"), new_call(&leaving));
    layer_group_send(client(&rig, 0), slice_str("room"), body_of(1), new_call(&sending));
    assert_int_equal(end(&rig, &joining), ERR_TIMEOUT);
    assert_int_equal(end(&rig, &sending), ERR_TIMEOUT);
    assert_int_equal(end(&rig, &leaving), ERR_OK);
    kill(servers->daemon[0].pid, SIGCONT);
    RUN_UNTIL_SEEN(&rig, !is_received(servers, "asgi__group__room") &&
                             !is_received(servers, "asgi__group__lobby"));
    assert_int_equal(rig.clients[0].count, 0); /* it was not in the group, as far as it was told */
    join(&rig, 0, "room");
    send_to_group(&rig, "room", 2);
    assert_int_equal(rig.clients[0].count, 1);
    close_layer(&rig);
}

/* ---- what is sent to a group while its subscription is away ---- */

enum { KILLS = 25, SENDS_EACH = 8, SENDS = KILLS * SENDS_EACH };

static struct slice numbered(uint16_t n)
{
    static uint8_t bytes[6];
    memcpy(bytes, (const uint8_t[]){0x81, 0xa1, 'n', 0xcd, (uint8_t)(n >> 8), (uint8_t)n},
           sizeof(bytes));
    return slice_make(bytes, sizeof(bytes));
}

static unsigned times_seen(const struct client *c, unsigned number)
{
    unsigned times = 0;
    for (unsigned i = 0; i < c->count; i++)
        times += c->numbers[i] == number;
    return times;
}

static void send_numbered(struct rig *rig, struct call *calls, unsigned from, unsigned count)
{
    for (unsigned n = from; n < from + count; n++)
        layer_group_send(client(rig, 0), slice_str("room"), numbered((uint16_t)n),
                         new_call(&calls[n]));
}

static bool are_all_ended(const struct call *calls, unsigned count)
{
    for (unsigned n = 0; n < count; n++)
        if (calls[n].ended == 0)
            return false;
    return true;
}

/* By both members, when the calls have ended. */
static void assert_each_seen_once(struct rig *rig, const struct call *calls, unsigned count)
{
    for (unsigned n = 0; n < count; n++) {
        if (calls[n].ended != 1 || calls[n].err != ERR_OK)
            fail_msg("%u: %u %s: %s", n, calls[n].ended, err_str(calls[n].err), calls[n].why);
        for (unsigned i = 0; i < 2; i++)
            if (times_seen(&rig->clients[i], n) != 1)
                fail_msg("client %u saw %u %u times", i, n, times_seen(&rig->clients[i], n));
    }
}

static void what_is_sent_to_a_group_survives_the_loss_of_its_subscription(void **state)
{
    struct servers *servers = *state;
    struct rig rig;
    struct call calls[SENDS];
    unsigned n = 0;
    open_layer(&rig, servers, 1, "");
    settle(&rig, servers, 1);
    join(&rig, 0, "room");
    join(&rig, 1, "room");
    for (unsigned kill = 0; kill < KILLS; kill++) {
        RUN_UNTIL_SEEN(&rig, is_received(servers, "asgi__group__room"));
        send_numbered(&rig, calls, n, SENDS_EACH / 4); /* before the loss, or published behind it */
        if (kill % 2 == 0)
            uv_run(&rig.uv, UV_RUN_NOWAIT);
        assert_true(NUMBER(servers->look[0], "CLIENT KILL TYPE pubsub") >= 1);
        send_numbered(&rig, calls, n + SENDS_EACH / 4, SENDS_EACH / 4); /* while it is not known */
        RUN_UNTIL(&rig, are_all_ended(calls, n + SENDS_EACH / 2));
        send_numbered(&rig, calls, n + SENDS_EACH / 2, SENDS_EACH / 2); /* while it is away */
        n += SENDS_EACH;
    }
    RUN_UNTIL(&rig, are_all_ended(calls, SENDS));
    assert_each_seen_once(&rig, calls, SENDS);
    close_layer(&rig);
}

static void what_is_sent_while_redis_is_away_arrives_when_it_is_back(void **state)
{
    enum { ROUNDS = 5, EACH = 20 };
    struct servers *servers = *state;
    struct rig rig;
    struct call first;
    struct call calls[ROUNDS * EACH];
    open_layer(&rig, servers, 1, ", \"timeout\": 8");
    settle(&rig, servers, 1);
    join(&rig, 0, "room");
    join(&rig, 1, "room");
    layer_send(client(&rig, 0), slice_str("nobody"), body_of(1), new_call(&first));
    assert_int_equal(end(&rig, &first), ERR_OK); /* that connection, too, is there to be lost */
    for (unsigned round = 0; round < ROUNDS; round++) {
        daemon_kill(&servers->daemon[0]);
        redisFree(servers->look[0]);
        for (unsigned i = 0; i < 3; i++)
            uv_run(&rig.uv, UV_RUN_NOWAIT); /* the ends of both connections are there to be read */
        send_numbered(&rig, calls, round * EACH, EACH);
        daemon_restart(&servers->daemon[0]);
        servers->look[0] = look_at(servers->daemon[0].port);
        RUN_UNTIL(&rig, are_all_ended(calls, (round + 1) * EACH));
        assert_each_seen_once(&rig, calls, (round + 1) * EACH);
        RUN_UNTIL(&rig, layer_stats(rig.layer)->reconnects == 2 * (round + 1));
    }
    close_layer(&rig);
}

static void nothing_is_held_for_longer_than_its_call_lasts(void **state)
{
    struct servers *servers = *state;
    struct rig rig;
    struct call call;
    daemon_need_version(602, "rights for channels");
    open_layer(&rig, servers, 1, ", \"timeout\": 0.4");
    settle(&rig, servers, 1);
    join(&rig, 0, "room");
    TELL(servers->look[0], "ACL SETUSER default resetchannels &nothing"); /* ends the connection */
    RUN_UNTIL_SEEN(&rig, layer_stats(rig.layer)->reconnects == 1);
    layer_group_send(client(&rig, 1), slice_str("room"), body_of(1), new_call(&call));
    assert_int_equal(end(&rig, &call), ERR_UNAVAILABLE);
    assert_non_null(strstr(call.why, "subscriptions are not back yet: "));
    assert_non_null(strstr(call.why, "127.0.0.1"));
    TELL(servers->look[0], "ACL SETUSER default allchannels");
    RUN_UNTIL_SEEN(&rig, is_received(servers, "asgi__group__room"));
    send_to_group(&rig, "room", 2);
    assert_int_equal(rig.clients[0].count, 1); /* the first was never published */
    close_layer(&rig);
}

static void what_is_held_is_bounded_and_ends_with_the_layer(void **state)
{
    enum { BIG = 3 * 1024 * 1024, CALLS = 4 };
    struct servers *servers = *state;
    struct rig rig;
    struct call calls[CALLS];
    daemon_need_version(602, "rights for channels");
    uint8_t *body = calloc(1, BIG);
    assert_non_null(body);
    memcpy(body, (const uint8_t[]){0x81, 0xa1, 'n', 0xc6, 0, 0x2f, 0xff, 0xf8}, 8);
    open_layer(&rig, servers, 1, "");
    settle(&rig, servers, 1);
    join(&rig, 0, "room");
    TELL(servers->look[0], "ACL SETUSER default resetchannels &nothing");
    RUN_UNTIL_SEEN(&rig, layer_stats(rig.layer)->reconnects == 1);
    for (unsigned i = 0; i < CALLS; i++)
        layer_group_send(client(&rig, 0), slice_str("room"), slice_make(body, BIG),
                         new_call(&calls[i]));
    free(body);
    for (unsigned i = 2; i < CALLS; i++) { /* 8 MiB have room for two */
        assert_int_equal(end(&rig, &calls[i]), ERR_UNAVAILABLE);
        assert_non_null(strstr(calls[i].why, "too much waits"));
    }
    assert_int_equal(calls[0].ended + calls[1].ended, 0);
    close_layer(&rig);
    for (unsigned i = 0; i < 2; i++) {
        assert_int_equal(calls[i].ended, 1);
        assert_int_equal(calls[i].err, ERR_CLOSED);
    }
    TELL(servers->look[0], "ACL SETUSER default allchannels");
}

static void what_was_held_for_those_who_left_goes_to_all_others(void **state)
{
    struct servers *servers = *state;
    struct rig rig;
    struct call sending;
    struct call leaving;
    daemon_need_version(602, "rights for channels");
    open_layer(&rig, servers, 1, "");
    settle(&rig, servers, 1);
    join(&rig, 0, "room");
    TELL(servers->look[0], "ACL SETUSER default resetchannels &nothing");
    RUN_UNTIL_SEEN(&rig, layer_stats(rig.layer)->reconnects == 1);
    TELL(servers->look[0],
         "ACL SETUSER default allchannels"); /* asked for again at the next tick */
    TELL(servers->look[0], "CONFIG RESETSTAT");
    layer_group_send(client(&rig, 1), slice_str("room"), body_of(1), new_call(&sending));
    uv_run(&rig.uv, UV_RUN_NOWAIT);
    assert_int_equal(calls_of(servers->look[0], "publish"), 0);
    layer_leave(client(&rig, 0), slice_str("room"), new_call(&leaving));
    assert_int_equal(end(&rig, &leaving), ERR_OK);
    assert_int_equal(end(&rig, &sending), ERR_OK);
    assert_int_equal(calls_of(servers->look[0], "publish"), 1);
    assert_int_equal(rig.clients[0].count, 0);
    close_layer(&rig);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(messages_wait_for_who_receives_again),
        TEST(every_node_gets_what_is_sent_to_a_normal_channel),
        TEST(what_exceeds_the_capacity_is_dropped_and_counted),
        TEST(a_name_may_be_both_a_channel_and_a_group),
        TEST(a_join_waits_for_the_connection),
        TEST(without_redis_calls_end_as_unavailable),
        TEST(calls_under_way_end_when_the_layer_does),
        TEST(subscriptions_come_back_with_the_connection),
        TEST(a_name_that_redis_refuses_keeps_no_other_from_its_messages),
        TEST(what_was_not_answered_in_time_is_put_right_later),
        TEST(what_is_sent_to_a_group_survives_the_loss_of_its_subscription),
        TEST(what_is_sent_while_redis_is_away_arrives_when_it_is_back),
        TEST(nothing_is_held_for_longer_than_its_call_lasts),
        TEST(what_is_held_is_bounded_and_ends_with_the_layer),
        TEST(what_was_held_for_those_who_left_goes_to_all_others),
    };
    return RUN_BOTH_WAYS("pubsub_life", tests);
}
