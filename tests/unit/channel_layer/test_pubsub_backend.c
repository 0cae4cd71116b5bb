/* SPDX-License-Identifier: BSD-3-Clause
 * The backend for channels_redis.pubsub on a real Redis: what goes out, what comes in, groups.
 */
#include "tests/support/pubsub_rig.h"

/* ---- going out ---- */

/* What a subscriber of ours gets. */
static void expect_published(redisContext *look, const char *name, const char *payload)
{
    redisReply *reply = NULL;
    assert_int_equal(redisGetReply(look, (void **)&reply), REDIS_OK);
    assert_int_equal(reply->elements, 3);
    assert_string_equal(reply->element[0]->str, "message");
    assert_string_equal(reply->element[1]->str, name);
    assert_int_equal(reply->element[2]->len, strlen(payload));
    assert_memory_equal(reply->element[2]->str, payload, strlen(payload));
    freeReplyObject(reply);
}

static void messages_are_published_as_channels_redis_publishes_them(void **state)
{
    struct servers *servers = *state;
    struct rig rig;
    struct call call;
    redisContext *look = look_at(servers->daemon[0].port);
    TELL(look, "SUBSCRIBE my-own:__group__room asgispecific.0123456789abcdef0123456789abcdef");
    redisReply *second = NULL;
    assert_int_equal(redisGetReply(look, (void **)&second), REDIS_OK);
    freeReplyObject(second);
    open_layer(&rig, servers, 1, ", \"prefix\": \"my-own:\"");
    layer_send(client(&rig, 0), slice_str("asgispecific.0123456789abcdef0123456789abcdef"),
               body_of(7), new_call(&call));
    assert_int_equal(end(&rig, &call), ERR_OK);
    expect_published(look, "asgispecific.0123456789abcdef0123456789abcdef", PAYLOAD("\x07"));
    send_to_group(&rig, "room", 9);
    expect_published(look, "my-own:__group__room", PAYLOAD("\x09"));
    assert_int_equal(NUMBER(servers->look[0], "DBSIZE"), 0);
    redisFree(look);
    close_layer(&rig);
}

static void each_member_here_gets_a_message_once_before_the_call_ends(void **state)
{
    enum { COUNT = 100 };
    struct servers *servers = *state;
    struct rig rig;
    open_layer(&rig, servers, 2, "");
    for (unsigned i = 0; i < CLIENTS; i++)
        join(&rig, i, "room");
    TELL(servers->look[shard_of(slice_str("asgi__group__room"), 2)], "CONFIG RESETSTAT");
    for (unsigned n = 0; n < COUNT; n++) {
        send_to_group(&rig, "room", (uint8_t)n);
        for (unsigned i = 0; i < CLIENTS; i++) {
            assert_int_equal(rig.clients[i].count, n + 1);
            assert_int_equal(rig.clients[i].numbers[n], n);
            assert_string_equal(rig.clients[i].last, "room");
        }
    }
    assert_int_equal(
        calls_of(servers->look[shard_of(slice_str("asgi__group__room"), 2)], "publish"), COUNT);
    assert_int_equal(layer_stats(rig.layer)->group_sent, COUNT);
    assert_int_equal(layer_stats(rig.layer)->delivered, COUNT * CLIENTS);
    close_layer(&rig);
}

static void equal_messages_at_a_time_are_not_taken_for_one(void **state)
{
    enum { COUNT = 50 };
    struct rig rig;
    struct call calls[COUNT];
    open_layer(&rig, *state, 1, "");
    join(&rig, 1, "room");
    for (unsigned i = 0; i < COUNT; i++)
        layer_group_send(client(&rig, 0), slice_str("room"), body_of(1), new_call(&calls[i]));
    for (unsigned i = 0; i < COUNT; i++)
        assert_int_equal(end(&rig, &calls[i]), ERR_OK);
    assert_int_equal(rig.clients[1].count, COUNT);
    close_layer(&rig);
}

static void only_the_one_who_made_a_channel_can_add_it(void **state)
{
    struct rig rig;
    struct call call;
    const struct slice theirs = slice_str("asgispecific.0123456789abcdef0123456789abcdef");
    open_layer(&rig, *state, 1, "");
    layer_group_add(client(&rig, 0), slice_str("room"), theirs, new_call(&call));
    assert_int_equal(end(&rig, &call), ERR_UNSUPPORTED);
    assert_non_null(strstr(call.why, "asgispecific.0123456789abcdef0123456789abcdef"));
    layer_group_discard(client(&rig, 0), slice_str("room"), theirs, new_call(&call));
    assert_int_equal(end(&rig, &call), ERR_OK); /* it is not in it: nothing to do */
    layer_group_discard(client(&rig, 0), slice_str("room"), theirs, NULL);
    close_layer(&rig);
}

/* ---- coming in ---- */

static void a_channel_is_reached_on_every_shard(void **state)
{
    struct servers *servers = *state;
    struct rig rig;
    char name[120];
    open_layer(&rig, servers, SERVERS, "");
    settle(&rig, servers, SERVERS);
    channel_name(&rig, 1, name, sizeof(name));
    for (unsigned i = 0; i < SERVERS; i++) {
        assert_int_equal(NUMBER(servers->look[i], "PUBLISH %s %b", name, PAYLOAD("\x05"), 4), 1);
        RUN_UNTIL(&rig, rig.clients[1].count == i + 1);
        assert_string_equal(rig.clients[1].last, name);
    }
    assert_int_equal(rig.clients[0].count, 0);
    close_layer(&rig);
}

static void names_of_a_client_end_with_it(void **state)
{
    struct servers *servers = *state;
    struct rig rig;
    struct err_text why;
    open_layer(&rig, servers, SERVERS, "");
    settle(&rig, servers, SERVERS);
    layer_detach(client(&rig, 2));
    for (unsigned i = 0; i < SERVERS; i++)
        RUN_UNTIL_SEEN(&rig, NUMBER(servers->look[i], "PUBSUB NUMPAT") == CLIENTS - 1);
    assert_int_equal(layer_attach(rig.layer, client(&rig, 2), NULL, 0, &why), ERR_OK);
    settle(&rig, servers, SERVERS);
    close_layer(&rig);
}

static void a_prefix_of_ones_own_is_there_when_the_call_ends(void **state)
{
    struct servers *servers = *state;
    struct rig rig;
    struct call call;
    char base[NAME_MAX_BYTES + 1];
    open_layer(&rig, servers, SERVERS, "");
    layer_mailbox(client(&rig, 0), slice_str("chat."), base, new_call(&call));
    assert_int_equal(end(&rig, &call), ERR_OK);
    for (unsigned i = 0; i < SERVERS; i++)
        assert_int_equal(
            NUMBER(servers->look[i], "PUBLISH %s" REST " %b", base, PAYLOAD("\x05"), 4), 1);
    RUN_UNTIL(&rig, rig.clients[0].count == SERVERS);
    close_layer(&rig);
}

static void what_does_not_decode_is_counted_and_passed_over(void **state)
{
    static const char *const wrong[] = {"", "\xc1", "\x93\x01\x02\x03", "text", "\x81\xa1"};
    struct servers *servers = *state;
    struct rig rig;
    char name[120];
    open_layer(&rig, servers, 1, "");
    settle(&rig, servers, 1);
    join(&rig, 0, "room");
    channel_name(&rig, 0, name, sizeof(name));
    for (size_t i = 0; i < UNIT_ROWS(wrong); i++) {
        TELL(servers->look[0], "PUBLISH %s %b", name, wrong[i], strlen(wrong[i]));
        TELL(servers->look[0], "PUBLISH asgi__group__room %b", wrong[i], strlen(wrong[i]));
    }
    TELL(servers->look[0], "PUBLISH %s %b", name, PAYLOAD("\x05"), (size_t)4);
    RUN_UNTIL(&rig, rig.clients[0].count == 1);
    assert_int_equal(layer_stats(rig.layer)->dropped_undecodable, 2 * UNIT_ROWS(wrong));
    close_layer(&rig);
}

/* ---- groups ---- */

static void a_group_is_subscribed_to_while_it_has_members_here(void **state)
{
    struct servers *servers = *state;
    struct rig rig;
    struct call call;
    open_layer(&rig, servers, 1, "");
    join(&rig, 0, "room");
    assert_int_equal(NUMBER(servers->look[0], "PUBSUB NUMSUB asgi__group__room"), 1);
    join(&rig, 1, "room");
    layer_leave(client(&rig, 0), slice_str("room"), new_call(&call));
    assert_int_equal(end(&rig, &call), ERR_OK);
    assert_int_equal(NUMBER(servers->look[0], "PUBSUB NUMSUB asgi__group__room"), 1);
    layer_leave(client(&rig, 1), slice_str("room"), new_call(&call));
    assert_int_equal(end(&rig, &call), ERR_OK);
    RUN_UNTIL_SEEN(&rig, !is_received(servers, "asgi__group__room"));
    join(&rig, 0, "room");
    send_to_group(&rig, "room", 3);
    assert_int_equal(rig.clients[0].count, 1);
    close_layer(&rig);
    for (unsigned tries = 0; is_received(servers, "asgi__group__room"); tries++)
        assert_true(tries < 10000);
}

static void joins_and_leaves_in_one_turn_end_where_the_last_said(void **state)
{
    struct servers *servers = *state;
    struct rig rig;
    struct call calls[6];
    open_layer(&rig, servers, 1, "");
    settle(&rig, servers, 1);
    for (unsigned i = 0; i < 6; i++)
        (i % 2 == 0 ? layer_join : layer_leave)(client(&rig, 0), slice_str("room"),
                                                new_call(&calls[i]));
    for (unsigned i = 0; i < 6; i++)
        assert_int_equal(end(&rig, &calls[i]), ERR_OK);
    RUN_UNTIL_SEEN(&rig, !is_received(servers, "asgi__group__room"));
    join(&rig, 0, "room");
    assert_true(is_received(servers, "asgi__group__room"));
    close_layer(&rig);
}

static void many_joins_are_few_commands(void **state)
{
    enum { COUNT = 500 };
    struct servers *servers = *state;
    struct rig rig;
    char group[16];
    struct call *calls = calloc(COUNT, sizeof(*calls));
    assert_non_null(calls);
    open_layer(&rig, servers, 1, "");
    settle(&rig, servers, 1);
    TELL(servers->look[0], "CONFIG RESETSTAT");
    for (unsigned i = 0; i < COUNT; i++) {
        snprintf(group, sizeof(group), "room%u", i);
        layer_join(client(&rig, 0), slice_str(group), new_call(&calls[i]));
    }
    for (unsigned i = 0; i < COUNT; i++)
        assert_int_equal(end(&rig, &calls[i]), ERR_OK);
    assert_in_range(calls_of(servers->look[0], "subscribe"), 1, 8);
    close_layer(&rig);
    free(calls);
}

static unsigned seen_groups;
static uint64_t seen_members;

static void on_group(void *ctx, struct slice group, uint64_t members)
{
    (void)ctx;
    assert_true(slice_eq_str(group, "lobby") || slice_eq_str(group, "room"));
    seen_groups++;
    seen_members += members;
}

static void groups_are_listed_with_their_subscribers(void **state)
{
    struct servers *servers = *state;
    struct rig rig;
    struct rig other;
    struct call call;
    open_layer(&rig, servers, SERVERS, ", \"prefix\": \"a*b\"");
    open_layer(&other, servers, SERVERS, ", \"prefix\": \"a*b\"");
    join(&rig, 0, "lobby");
    join(&rig, 0, "room");
    join(&other, 0, "room");
    redisContext *look = look_at(servers->daemon[0].port);
    TELL(look, "SUBSCRIBE axxb__group__theirs");
    seen_groups = 0;
    seen_members = 0;
    layer_groups(rig.layer, on_group, NULL, new_call(&call));
    assert_int_equal(end(&rig, &call), ERR_OK);
    assert_int_equal(seen_groups, 2);
    assert_int_equal(seen_members, 3);
    redisFree(look);
    close_layer(&other);
    close_layer(&rig);
}

static void flush_forgets_what_is_here(void **state)
{
    struct servers *servers = *state;
    struct rig rig;
    struct call call;
    open_layer(&rig, servers, 1, "");
    settle(&rig, servers, 1);
    join(&rig, 0, "room");
    layer_flush(client(&rig, 1), new_call(&call));
    assert_int_equal(end(&rig, &call), ERR_OK);
    assert_int_equal(rig.clients[0].flushed, 1);
    RUN_UNTIL_SEEN(&rig, !is_received(servers, "asgi__group__room"));
    send_to_group(&rig, "room", 1);
    join(&rig, 0, "room");
    send_to_group(&rig, "room", 2);
    assert_int_equal(rig.clients[0].count, 1);
    assert_int_equal(rig.clients[0].numbers[0], 2);
    assert_int_equal(NUMBER(servers->look[0], "PUBSUB NUMPAT"), CLIENTS);
    close_layer(&rig);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(messages_are_published_as_channels_redis_publishes_them),
        TEST(each_member_here_gets_a_message_once_before_the_call_ends),
        TEST(equal_messages_at_a_time_are_not_taken_for_one),
        TEST(only_the_one_who_made_a_channel_can_add_it),
        TEST(a_channel_is_reached_on_every_shard),
        TEST(names_of_a_client_end_with_it),
        TEST(a_prefix_of_ones_own_is_there_when_the_call_ends),
        TEST(what_does_not_decode_is_counted_and_passed_over),
        TEST(a_group_is_subscribed_to_while_it_has_members_here),
        TEST(joins_and_leaves_in_one_turn_end_where_the_last_said),
        TEST(many_joins_are_few_commands),
        TEST(groups_are_listed_with_their_subscribers),
        TEST(flush_forgets_what_is_here),
    };
    return RUN_BOTH_WAYS("pubsub_backend", tests);
}
