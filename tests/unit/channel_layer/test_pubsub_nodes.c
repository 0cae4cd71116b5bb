/* SPDX-License-Identifier: BSD-3-Clause
 * What is published after a loss of Redis, until the nodes that were there before are back.
 */
#include "channel_layer/redis/redis_held.h"
#include "tests/support/pubsub_rig.h"

enum { CALLS = 6, SOON_MS = REDIS_SETTLE_MS / 2 };

#define NODES "asgichannelsd:nodes"
#define ROOM "asgi__group__room"

/* ---- another node, as Redis sees it ---- */

static redisContext *other_node(struct servers *servers)
{
    redisContext *other = look_at(servers->daemon[0].port);
    TELL(other, "SUBSCRIBE " ROOM);
    TELL(other, "SUBSCRIBE jobs");
    TELL(other, "SUBSCRIBE " NODES);
    return other;
}

/* The number in the next message that it gets. */
static unsigned next_number(redisContext *other)
{
    redisReply *reply = NULL;
    if (redisGetReply(other, (void **)&reply) != REDIS_OK)
        fail_msg("%s", other->errstr);
    assert_int_equal(reply->elements, 3);
    assert_string_equal(reply->element[0]->str, "message");
    assert_int_equal(reply->element[2]->len, 4);
    const unsigned number = (uint8_t)reply->element[2]->str[3];
    freeReplyObject(reply);
    return number;
}

/* ---- steps ---- */

static void look_again(struct servers *servers)
{
    redisFree(servers->look[0]);
    servers->look[0] = look_at(servers->daemon[0].port);
}

/* The name of the statistics is another in Redis 7. */
static bool was_counted(struct servers *servers)
{
    return calls_of(servers->look[0], "pubsub|numsub") + calls_of(servers->look[0], "pubsub") > 0;
}

static void open_counted(struct rig *rig, struct servers *servers, const char *more)
{
    TELL(servers->look[0], "CONFIG RESETSTAT");
    open_layer(rig, servers, 1, more);
    RUN_UNTIL_SEEN(rig, was_counted(servers));
    join(rig, 0, "room"); /* the count was answered before this */
    send_to_group(rig, "room", 0);
}

/* The layer with a member in the group, and another node with one. */
static redisContext *open_both(struct rig *rig, struct servers *servers, const char *more)
{
    redisContext *other = other_node(servers);
    open_counted(rig, servers, more);
    assert_int_equal(next_number(other), 0);
    return other;
}

static void lose(struct servers *servers)
{
    daemon_kill(&servers->daemon[0]);
    daemon_restart(&servers->daemon[0]);
    look_again(servers);
}

/* Until the layer knows that it is gone: the ends of both connections are there to be read. */
static void kill_and_see(struct rig *rig, struct servers *servers)
{
    daemon_kill(&servers->daemon[0]);
    for (unsigned i = 0; i < 3; i++)
        uv_run(&rig->uv, UV_RUN_NOWAIT);
}

static bool is_back(struct servers *servers)
{
    return NUMBER(servers->look[0], "PUBSUB NUMSUB " NODES) > 0;
}

static void give(struct rig *rig, struct call *call, uint8_t number)
{
    if (number % 2 == 0)
        layer_group_send(client(rig, 1), slice_str("room"), body_of(number), new_call(call));
    else
        layer_send(client(rig, 1), slice_str("jobs"), body_of(number), new_call(call));
    assert_int_equal(call->ended, 0);
}

static void run_for(struct rig *rig, unsigned ms)
{
    uv_update_time(&rig->uv);
    const uint64_t end_ms = uv_now(&rig->uv) + ms;
    RUN_UNTIL_SEEN(rig, uv_now(&rig->uv) >= end_ms);
}

static unsigned ended_of(const struct call *calls, unsigned count)
{
    unsigned ended = 0;
    for (unsigned i = 0; i < count; i++)
        ended += calls[i].ended;
    return ended;
}

/* How long a call took that ended as it should. */
static uint64_t sent_in(struct rig *rig, uint8_t number)
{
    struct call call;
    uv_update_time(&rig->uv);
    const uint64_t start_ms = uv_now(&rig->uv);
    give(rig, &call, number);
    if (end(rig, &call) != ERR_OK)
        fail_msg("%s", call.why);
    return uv_now(&rig->uv) - start_ms;
}

/* ---- tests ---- */

static void all_is_held_until_the_others_are_back(void **state)
{
    struct servers *servers = *state;
    struct rig rig;
    struct call calls[CALLS];
    redisFree(open_both(&rig, servers, ""));
    kill_and_see(&rig, servers);
    for (unsigned i = 0; i < CALLS - 2; i++)
        give(&rig, &calls[i], (uint8_t)i);
    daemon_restart(&servers->daemon[0]);
    look_again(servers);
    RUN_UNTIL_SEEN(&rig, is_back(servers));
    for (unsigned i = CALLS - 2; i < CALLS; i++)
        give(&rig, &calls[i], (uint8_t)i);
    run_for(&rig, 200);
    assert_int_equal(ended_of(calls, CALLS), 0);
    redisContext *other = other_node(servers);
    for (unsigned i = 0; i < CALLS; i++) {
        assert_int_equal(end(&rig, &calls[i]), ERR_OK);
        assert_int_equal(next_number(other), i); /* in the order in which they were given */
    }
    redisFree(other);
    assert_int_equal(rig.clients[0].count, 1 + CALLS / 2);
    close_layer(&rig);
}

static void a_node_that_is_alone_waits_for_itself_only(void **state)
{
    struct servers *servers = *state;
    struct rig rig;
    open_counted(&rig, servers, "");
    for (unsigned i = 0; i < 3; i++) {
        lose(servers);
        RUN_UNTIL_SEEN(&rig, is_back(servers));
        assert_true(sent_in(&rig, 2) < SOON_MS);
        assert_true(sent_in(&rig, 3) < SOON_MS);
    }
    assert_int_equal(rig.clients[0].count, 4);
    close_layer(&rig);
}

/* "id=7 addr=…" of each line of CLIENT LIST. */
static void kill_subscribers_but(struct servers *servers, long long kept)
{
    redisReply *list = ask_server(servers->look[0], "CLIENT LIST TYPE pubsub");
    unsigned killed = 0;
    for (const char *at = list->str; (at = strstr(at, "id=")) != NULL; at = strchr(at, '\n')) {
        const long long id = strtoll(at + strlen("id="), NULL, 10);
        if (id != kept)
            killed += NUMBER(servers->look[0], "CLIENT KILL ID %lld", id) == 1;
    }
    freeReplyObject(list);
    assert_int_equal(killed, 1);
}

static void who_stayed_is_there_at_once(void **state)
{
    struct servers *servers = *state;
    struct rig rig;
    redisContext *other = look_at(servers->daemon[0].port);
    const long long id = NUMBER(other, "CLIENT ID");
    TELL(other, "SUBSCRIBE " ROOM);
    TELL(other, "SUBSCRIBE jobs");
    TELL(other, "SUBSCRIBE " NODES);
    open_counted(&rig, servers, "");
    assert_int_equal(next_number(other), 0);
    for (uint8_t i = 1; i < 7; i++) {
        const uint64_t before = layer_stats(rig.layer)->reconnects;
        if (i % 2 == 0)
            TELL(servers->look[0], "CLIENT KILL TYPE normal SKIPME yes");
        else
            kill_subscribers_but(servers, id);
        RUN_UNTIL(&rig, layer_stats(rig.layer)->reconnects > before);
        assert_true(sent_in(&rig, i) < SOON_MS);
        assert_int_equal(next_number(other), i);
    }
    redisFree(other);
    close_layer(&rig);
}

static void cut_connections_to_the_same_redis_are_a_loss_too(void **state)
{
    struct servers *servers = *state;
    struct rig rig;
    struct call calls[2];
    redisFree(open_both(&rig, servers, ""));
    assert_true(NUMBER(servers->look[0], "CLIENT KILL TYPE pubsub") >= 1);
    RUN_UNTIL_SEEN(&rig, is_back(servers));
    for (unsigned i = 0; i < 2; i++)
        give(&rig, &calls[i], (uint8_t)i);
    run_for(&rig, 100);
    assert_int_equal(ended_of(calls, 2), 0);
    redisContext *other = other_node(servers);
    for (unsigned i = 0; i < 2; i++) {
        assert_int_equal(end(&rig, &calls[i]), ERR_OK);
        assert_int_equal(next_number(other), i);
    }
    redisFree(other);
    close_layer(&rig);
}

static void who_does_not_come_back_is_not_waited_for_any_longer(void **state)
{
    struct servers *servers = *state;
    struct rig rig;
    redisFree(open_both(&rig, servers, ""));
    uv_update_time(&rig.uv);
    const uint64_t start_ms = uv_now(&rig.uv);
    lose(servers);
    RUN_UNTIL_SEEN(&rig, is_back(servers));
    assert_true(sent_in(&rig, 2) > SOON_MS / 2);
    assert_in_range(uv_now(&rig.uv) - start_ms, REDIS_SETTLE_MS, 2 * REDIS_SETTLE_MS);
    assert_true(sent_in(&rig, 3) < SOON_MS);
    assert_true(sent_in(&rig, 4) < SOON_MS);
    assert_int_equal(rig.clients[0].count, 3);
    close_layer(&rig);
}

static void held_for_too_long_was_not_sent(void **state)
{
    struct servers *servers = *state;
    struct rig rig;
    struct call calls[2];
    redisFree(open_both(&rig, servers, ", \"timeout\": 0.4"));
    lose(servers);
    RUN_UNTIL_SEEN(&rig, is_back(servers));
    uv_update_time(&rig.uv);
    const uint64_t start_ms = uv_now(&rig.uv);
    for (unsigned i = 0; i < 2; i++)
        give(&rig, &calls[i], (uint8_t)i);
    for (unsigned i = 0; i < 2; i++) {
        assert_int_equal(end(&rig, &calls[i]), ERR_UNAVAILABLE);
        assert_non_null(strstr(calls[i].why, "not all nodes"));
        assert_non_null(strstr(calls[i].why, "was not sent"));
    }
    assert_in_range(uv_now(&rig.uv) - start_ms, 390, REDIS_SETTLE_MS - 100);
    assert_int_equal(rig.clients[0].count, 1);
    close_layer(&rig);
}

static void while_redis_is_away_the_error_says_why(void **state)
{
    struct servers *servers = *state;
    struct rig rig;
    struct call calls[2];
    open_counted(&rig, servers, ", \"timeout\": 0.3");
    kill_and_see(&rig, servers);
    for (unsigned i = 0; i < 2; i++)
        give(&rig, &calls[i], (uint8_t)i);
    for (unsigned i = 0; i < 2; i++) {
        assert_int_equal(end(&rig, &calls[i]), ERR_UNAVAILABLE);
        assert_non_null(strstr(calls[i].why, servers->daemon[0].port_text));
        assert_non_null(strstr(calls[i].why, "was not sent"));
    }
    daemon_restart(&servers->daemon[0]);
    look_again(servers);
    close_layer(&rig);
}

static void where_counting_is_refused_nobody_is_waited_for(void **state)
{
    struct servers *servers = *state;
    struct rig rig;
    daemon_need_version(600, "rights");
    redisFree(open_both(&rig, servers, ""));
    TELL(servers->look[0], "ACL SETUSER default -pubsub");
    TELL(servers->look[0], "CLIENT KILL TYPE normal SKIPME yes");
    RUN_UNTIL(&rig, layer_stats(rig.layer)->reconnects == 1);
    TELL(servers->look[0], "CONFIG RESETSTAT");
    for (uint8_t i = 0; i < 2; i++) {
        assert_true(sent_in(&rig, i) < SOON_MS);
        run_for(&rig, 1100); /* it would be asked again by now */
    }
    assert_false(was_counted(servers));
    TELL(servers->look[0], "ACL SETUSER default +pubsub");
    close_layer(&rig);
}

/* All of its groups, whenever it says that it is back. */
static bool is_back_with_all(struct servers *servers, unsigned groups)
{
    char words[8192] = "PUBSUB NUMSUB " NODES;
    size_t len = strlen(words);
    for (unsigned i = 0; i < groups; i++)
        len += (size_t)snprintf(words + len, sizeof(words) - len, " asgi__group__room%u", i);
    redisReply *reply = ask_server(servers->look[0], words);
    const bool is_there = reply->element[1]->integer > 0;
    for (unsigned i = 0; is_there && i < groups; i++)
        assert_int_equal(reply->element[3 + 2 * i]->integer, 1);
    freeReplyObject(reply);
    return is_there;
}

static void a_node_is_back_when_all_of_its_groups_are(void **state)
{
    enum { GROUPS = 300 };
    struct servers *servers = *state;
    struct rig rig;
    char group[16];
    open_counted(&rig, servers, "");
    for (unsigned i = 0; i < GROUPS; i++) {
        snprintf(group, sizeof(group), "room%u", i);
        join(&rig, 0, group);
    }
    for (unsigned i = 0; i < 5; i++) {
        if (i % 2 == 0)
            lose(servers);
        else
            assert_true(NUMBER(servers->look[0], "CLIENT KILL TYPE pubsub") >= 1);
        RUN_UNTIL_SEEN(&rig, is_back_with_all(servers, GROUPS));
    }
    close_layer(&rig);
}

static void names_that_are_refused_are_not_waited_for(void **state)
{
    struct servers *servers = *state;
    struct rig rig;
    daemon_need_version(602, "rights for channels");
    open_counted(&rig, servers, "");
    join(&rig, 0, "bad");
    join(&rig, 0, "room0");
    TELL(servers->look[0], "ACL SETUSER default resetchannels &" NODES " &asgi__group__room*");
    RUN_UNTIL_SEEN(&rig, layer_stats(rig.layer)->reconnects == 1);
    RUN_UNTIL_SEEN(&rig, is_back_with_all(servers, 1));
    assert_true(sent_in(&rig, 0) < SOON_MS);
    TELL(servers->look[0], "ACL SETUSER default allchannels");
    close_layer(&rig);
}

/* What is given to a link in the very turn in which its connection is lost. */
struct late {
    uv_async_t async;
    struct rig *rig;
    struct call calls[2];
};

static void on_late(uv_async_t *async)
{
    struct late *late = async->data;
    for (unsigned i = 0; i < 2; i++)
        give(late->rig, &late->calls[i], (uint8_t)(i + 1));
    uv_close((uv_handle_t *)async, NULL);
}

static void what_was_not_sent_before_the_loss_waits_too(void **state)
{
    struct servers *servers = *state;
    struct rig rig;
    struct late late = {.rig = &rig};
    redisFree(open_both(&rig, servers, ""));
    uv_async_init(&rig.uv, &late.async, on_late);
    late.async.data = &late;
    for (unsigned i = 0; i < 10; i++)
        uv_run(&rig.uv, UV_RUN_NOWAIT);
    uv_async_send(&late.async); /* is heard before the connections end */
    daemon_kill(&servers->daemon[0]);
    uv_run(&rig.uv, UV_RUN_ONCE);
    daemon_restart(&servers->daemon[0]);
    look_again(servers);
    RUN_UNTIL_SEEN(&rig, is_back(servers));
    run_for(&rig, 100);
    assert_int_equal(ended_of(late.calls, 2), 0);
    redisContext *other = other_node(servers);
    RUN_UNTIL(&rig, ended_of(late.calls, 2) == 2);
    bool is_other[3] = {false};
    for (unsigned i = 0; i < 2; i++) {
        assert_int_equal(late.calls[i].err, ERR_OK);
        is_other[next_number(other)] = true;
    }
    assert_true(is_other[1] && is_other[2]);
    redisFree(other);
    close_layer(&rig);
}

static void what_is_held_has_an_end(void **state)
{
    enum { BIG = 1024 * 1024, MANY = REDIS_HELD_BYTES / BIG + 3 };
    struct servers *servers = *state;
    struct rig rig;
    struct call calls[MANY];
    uint8_t *body = calloc(1, BIG);
    assert_non_null(body);
    memcpy(body, (const uint8_t[]){0x81, 0xa1, 'n', 0xc6, 0, 0x0f, 0xff, 0xf8}, 8);
    redisFree(open_both(&rig, servers, ", \"timeout\": 0.4"));
    lose(servers);
    RUN_UNTIL(&rig, layer_stats(rig.layer)->reconnects == 2); /* both links are up */
    for (unsigned i = 0; i < MANY; i++)
        if (i % 2 == 0)
            layer_group_send(client(&rig, 0), slice_str("room"), slice_make(body, BIG),
                             new_call(&calls[i]));
        else
            layer_send(client(&rig, 0), slice_str("jobs"), slice_make(body, BIG),
                       new_call(&calls[i]));
    free(body);
    for (unsigned i = 0; i < 3; i++)
        uv_run(&rig.uv, UV_RUN_NOWAIT);
    assert_int_equal(ended_of(calls, MANY), MANY - (REDIS_HELD_BYTES / BIG - 1));
    for (unsigned i = 0; i < MANY; i++)
        assert_int_equal(end(&rig, &calls[i]), ERR_UNAVAILABLE);
    assert_non_null(strstr(calls[MANY - 1].why, "too much waits"));
    close_layer(&rig);
}

static void closing_ends_what_is_held(void **state)
{
    struct servers *servers = *state;
    for (unsigned is_away = 0; is_away < 2; is_away++) {
        struct rig rig;
        struct call calls[CALLS];
        redisFree(open_both(&rig, servers, ""));
        kill_and_see(&rig, servers);
        if (!is_away) {
            daemon_restart(&servers->daemon[0]);
            look_again(servers);
            RUN_UNTIL_SEEN(&rig, is_back(servers));
        }
        for (unsigned i = 0; i < CALLS; i++)
            give(&rig, &calls[i], (uint8_t)i);
        run_for(&rig, 100);
        assert_int_equal(ended_of(calls, CALLS), 0);
        close_layer(&rig);
        for (unsigned i = 0; i < CALLS; i++) {
            assert_int_equal(calls[i].ended, 1);
            assert_int_equal(calls[i].err, ERR_CLOSED);
        }
        if (is_away) {
            daemon_restart(&servers->daemon[0]);
            look_again(servers);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_is_held_until_the_others_are_back),
        cmocka_unit_test(a_node_that_is_alone_waits_for_itself_only),
        cmocka_unit_test(who_stayed_is_there_at_once),
        cmocka_unit_test(cut_connections_to_the_same_redis_are_a_loss_too),
        cmocka_unit_test(who_does_not_come_back_is_not_waited_for_any_longer),
        cmocka_unit_test(held_for_too_long_was_not_sent),
        cmocka_unit_test(while_redis_is_away_the_error_says_why),
        cmocka_unit_test(where_counting_is_refused_nobody_is_waited_for),
        cmocka_unit_test(a_node_is_back_when_all_of_its_groups_are),
        cmocka_unit_test(names_that_are_refused_are_not_waited_for),
        cmocka_unit_test(what_was_not_sent_before_the_loss_waits_too),
        cmocka_unit_test(what_is_held_has_an_end),
        cmocka_unit_test(closing_ends_what_is_held),
    };
    return RUN_BOTH_WAYS("pubsub_nodes", tests);
}
