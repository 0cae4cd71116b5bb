/* SPDX-License-Identifier: BSD-3-Clause
 * A layer on the backend for channels_redis.pubsub and a real Redis: what goes out, what comes in.
 * All of it with RESP3, and again with a server that knows no HELLO.
 */
#include "channel_layer/backend.h"
#include "channel_layer/shard.h"
#include "core/mem.h"
#include "tests/support/redis_daemon.h"
#include "tests/support/unit.h"

#include <hiredis/hiredis.h>
#include <uv.h>

enum { SERVERS = 2, CLIENTS = 3, SEEN = 256, WAIT_MS = 10000 };

#define REST "0123456789abcdef012"

struct servers {
    struct redis_daemon daemon[SERVERS];
    redisContext *look[SERVERS];
};

struct rig;

struct client {
    struct layer_client client;
    struct rig *rig;
    unsigned count;        /* messages that arrived */
    uint8_t numbers[SEEN]; /* they are {"n": <number>} */
    char last[120];        /* the group or channel that the last was for */
    uint64_t tokens[SEEN]; /* of normal channels */
    unsigned flushed;
};

struct rig {
    uv_loop_t uv;
    uv_timer_t guard;
    struct layer *layer;
    struct client clients[CLIENTS];
    bool is_closed;
};

struct call {
    struct layer_call call;
    unsigned ended;
    enum err err;
    char why[ERR_TEXT_MAX];
};

/* ---- servers ---- */

static redisReply *ask_server(redisContext *look, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    redisReply *reply = redisvCommand(look, format, args);
    va_end(args);
    assert_non_null(reply);
    if (reply->type == REDIS_REPLY_ERROR)
        fail_msg("%s", reply->str);
    return reply;
}

#define TELL(look, ...) freeReplyObject(ask_server(look, __VA_ARGS__))

static long long number_in(redisReply *reply)
{
    const redisReply *at = reply;
    if (reply->type == REDIS_REPLY_ARRAY) { /* NUMSUB of one name */
        assert_int_equal(reply->elements, 2);
        at = reply->element[1];
    }
    assert_int_equal(at->type, REDIS_REPLY_INTEGER);
    const long long number = at->integer;
    freeReplyObject(reply);
    return number;
}

#define NUMBER(look, ...) number_in(ask_server(look, __VA_ARGS__))

/* How often a command was done since CONFIG RESETSTAT. */
static unsigned long calls_of(redisContext *look, const char *command)
{
    char line[64];
    redisReply *reply = ask_server(look, "INFO commandstats");
    snprintf(line, sizeof(line), "cmdstat_%s:calls=", command);
    const char *at = strstr(reply->str, line);
    const unsigned long calls = at == NULL ? 0 : strtoul(at + strlen(line), NULL, 10);
    freeReplyObject(reply);
    return calls;
}

static redisContext *look_at(unsigned port)
{
    redisContext *look = redisConnect("127.0.0.1", (int)port);
    assert_true(look != NULL && look->err == 0);
    assert_int_equal(redisSetTimeout(look, (struct timeval){.tv_sec = 10}), REDIS_OK);
    return look;
}

static int start(void **state, const char *const *more)
{
    struct servers *servers = calloc(1, sizeof(*servers));
    assert_non_null(servers);
    signal(SIGPIPE, SIG_IGN); /* as the program does */
    for (unsigned i = 0; i < SERVERS; i++) {
        daemon_start(&servers->daemon[i], more);
        servers->look[i] = look_at(servers->daemon[i].port);
    }
    *state = servers;
    return 0;
}

static int start_new(void **state)
{
    return start(state, NULL);
}

static int start_old(void **state)
{
    static const char *const no_hello[] = {"--rename-command", "HELLO", "", NULL};
    return start(state, no_hello);
}

static int stop(void **state)
{
    struct servers *servers = *state;
    for (unsigned i = 0; i < SERVERS; i++) {
        redisFree(servers->look[i]);
        daemon_remove(&servers->daemon[i]);
    }
    free(servers);
    return 0;
}

/* ---- clients ---- */

static struct client *client_of(const struct layer_client *client)
{
    return (struct client *)(uintptr_t)client; /* its first member */
}

static void note(struct client *c, struct slice body, struct slice name)
{
    assert_true(body.len == 4 && body.ptr[2] == 'n'); /* 81 a1 'n' <number> */
    assert_true(c->count < SEEN);
    c->numbers[c->count++] = body.ptr[3];
    snprintf(c->last, sizeof(c->last), "%.*s", (int)name.len, (const char *)name.ptr);
}

static void on_deliver(struct layer_client *client, const struct layer_delivery *delivery)
{
    assert_int_equal(delivery->group_count + delivery->channel_count, 1);
    note(client_of(client), delivery->body,
         delivery->group_count > 0 ? delivery->groups[0] : delivery->channels[0]);
}

static void on_message(struct layer_client *client, uint64_t token, struct slice channel,
                       struct slice body)
{
    struct client *c = client_of(client);
    c->tokens[c->count] = token;
    note(c, body, channel);
}

static void on_member(struct layer_client *client, struct slice group, struct slice channel)
{
    (void)client;
    fail_msg("%.*s %.*s: nobody else adds to a group", (int)group.len, (const char *)group.ptr,
             (int)channel.len, (const char *)channel.ptr);
}

static void on_flushed(struct layer_client *client)
{
    client_of(client)->flushed++;
}

static bool has_room(const struct layer_client *client, size_t bytes)
{
    (void)client;
    (void)bytes;
    return true;
}

static const struct layer_client_ops client_ops = {.deliver = on_deliver,
                                                   .message = on_message,
                                                   .add = on_member,
                                                   .discard = on_member,
                                                   .flushed = on_flushed,
                                                   .has_room = has_room};

/* ---- the rig ---- */

static void on_guard(uv_timer_t *timer)
{
    (void)timer;
    fail_msg("waited too long");
}

#define RUN_UNTIL(rig, condition)                            \
    do {                                                     \
        uv_update_time(&(rig)->uv);                          \
        uv_timer_start(&(rig)->guard, on_guard, WAIT_MS, 0); \
        while (!(condition))                                 \
            uv_run(&(rig)->uv, UV_RUN_ONCE);                 \
        uv_timer_stop(&(rig)->guard);                        \
    } while (false)

static void on_nudge(uv_timer_t *timer)
{
    (void)timer; /* it only ends the wait of uv_run() */
}

/* The same, for what another process says. */
#define RUN_UNTIL_SEEN(rig, condition)          \
    do {                                        \
        uv_timer_t nudge;                       \
        uv_timer_init(&(rig)->uv, &nudge);      \
        uv_timer_start(&nudge, on_nudge, 5, 5); \
        RUN_UNTIL(rig, condition);              \
        uv_close((uv_handle_t *)&nudge, NULL);  \
        uv_run(&(rig)->uv, UV_RUN_NOWAIT);      \
    } while (false)

static void open_layer(struct rig *rig, const struct servers *servers, unsigned count,
                       const char *more)
{
    char json[512];
    struct err_text why = {.text = ""};
    struct layer_config *config = NULL;
    memset(rig, 0, sizeof(*rig));
    assert_int_equal(uv_loop_init(&rig->uv), 0);
    uv_timer_init(&rig->uv, &rig->guard);
    int len = snprintf(json, sizeof(json), "{\"backend\": \"pubsub\"%s, \"hosts\": [", more);
    for (unsigned i = 0; i < count; i++)
        len += snprintf(json + len, sizeof(json) - (size_t)len, "%s\"redis://127.0.0.1:%u\"",
                        i > 0 ? ", " : "", servers->daemon[i].port);
    snprintf(json + len, sizeof(json) - (size_t)len, "]}");
    if (layer_config_parse(&config, slice_str(json), &why) != ERR_OK ||
        layer_open(&rig->layer, &rig->uv, config, &why) != ERR_OK)
        fail_msg("%s", why.text);
    for (unsigned i = 0; i < CLIENTS; i++) {
        rig->clients[i].client.ops = &client_ops;
        rig->clients[i].rig = rig;
        assert_int_equal(layer_attach(rig->layer, &rig->clients[i].client, NULL, 0, &why), ERR_OK);
    }
}

static void on_closed(void *ctx)
{
    ((struct rig *)ctx)->is_closed = true;
}

static void close_layer(struct rig *rig)
{
    for (unsigned i = 0; i < CLIENTS; i++)
        layer_detach(&rig->clients[i].client);
    layer_close(rig->layer, on_closed, rig);
    RUN_UNTIL(rig, rig->is_closed);
    uv_close((uv_handle_t *)&rig->guard, NULL);
    uv_run(&rig->uv, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&rig->uv), 0);
}

static struct layer_client *client(struct rig *rig, unsigned i)
{
    return &rig->clients[i].client;
}

static void on_done(struct layer_call *call, enum err err, const char *why)
{
    struct call *c = (struct call *)call;
    c->ended++;
    c->err = err;
    snprintf(c->why, sizeof(c->why), "%s", why);
}

static struct layer_call *new_call(struct call *call)
{
    *call = (struct call){.call = {on_done}};
    return &call->call;
}

static enum err end(struct rig *rig, struct call *call)
{
    RUN_UNTIL(rig, call->ended > 0);
    assert_int_equal(call->ended, 1);
    return call->err;
}

static struct slice body_of(uint8_t number)
{
    static uint8_t bytes[4];
    memcpy(bytes, (const uint8_t[]){0x81, 0xa1, 'n', number}, sizeof(bytes));
    return slice_make(bytes, sizeof(bytes));
}

#define PAYLOAD(number) "\x81\xa1n" number

static void join(struct rig *rig, unsigned i, const char *group)
{
    struct call call;
    layer_join(client(rig, i), slice_str(group), new_call(&call));
    assert_int_equal(call.ended, 0);
    assert_int_equal(end(rig, &call), ERR_OK);
}

static void send_to_group(struct rig *rig, const char *group, uint8_t number)
{
    struct call call;
    layer_group_send(client(rig, 0), slice_str(group), body_of(number), new_call(&call));
    assert_int_equal(call.ended, 0);
    assert_int_equal(end(rig, &call), ERR_OK);
    assert_string_equal(call.why, "");
}

static void receive(struct rig *rig, unsigned i, const char *channel)
{
    struct err_text why;
    assert_true(layer_receive(client(rig, i), slice_str(channel), &why) != 0);
}

static bool is_received(struct servers *servers, const char *channel)
{
    return NUMBER(servers->look[0], "PUBSUB NUMSUB %s", channel) > 0;
}

/* All names of the clients are subscribed to. */
static void settle(struct rig *rig, struct servers *servers, unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        RUN_UNTIL_SEEN(rig, NUMBER(servers->look[i], "PUBSUB NUMPAT") == CLIENTS);
}

static struct slice channel_name(struct rig *rig, unsigned i, char *out, size_t size)
{
    snprintf(out, size, "%s" REST, client(rig, i)->base);
    return slice_str(out);
}

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
    assert_memory_equal(c->numbers, ((const uint8_t[]){0, 1, 1, 2}), 4);
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

static void what_exceeds_the_capacity_is_dropped_and_counted(void **state)
{
    enum { EXTRA = 20, CAPACITY = 100 };
    struct servers *servers = *state;
    struct rig rig;
    struct client *c = &rig.clients[0];
    open_layer(&rig, servers, 1, "");
    receive(&rig, 0, "jobs");
    RUN_UNTIL_SEEN(&rig, is_received(servers, "jobs"));
    for (unsigned n = 0; n < 1 + CAPACITY + EXTRA; n++)
        TELL(servers->look[0], "PUBLISH jobs %b", (char[]){'\x81', '\xa1', 'n', (char)n},
             (size_t)4);
    RUN_UNTIL(&rig, layer_stats(rig.layer)->dropped_full == EXTRA);
    for (unsigned n = 0; n < CAPACITY; n++)
        receive(&rig, 0, "jobs");
    RUN_UNTIL(&rig, c->count == 1 + CAPACITY);
    for (unsigned n = 0; n < c->count; n++)
        assert_int_equal(c->numbers[n], n); /* the newest were dropped */
    close_layer(&rig);
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
    layer_groups(rig.layer, on_group, NULL, new_call(&calls[3]));
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
    /* What was lost is not waited for: the call ends. */
    send_to_group(&rig, "room299", 1);
    RUN_UNTIL_SEEN(&rig, is_received(servers, "asgi__group__room299") &&
                             is_received(servers, "jobs") &&
                             NUMBER(servers->look[0], "PUBSUB NUMPAT") == CLIENTS);
    assert_int_equal(layer_stats(rig.layer)->reconnects, 1);
    const unsigned before = rig.clients[0].count;
    assert_in_range(before, 0, 1);
    send_to_group(&rig, "room0", 2);
    assert_int_equal(rig.clients[0].count, before + 1);
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

#define TESTS                                                                        \
    cmocka_unit_test(messages_are_published_as_channels_redis_publishes_them),       \
        cmocka_unit_test(each_member_here_gets_a_message_once_before_the_call_ends), \
        cmocka_unit_test(equal_messages_at_a_time_are_not_taken_for_one),            \
        cmocka_unit_test(only_the_one_who_made_a_channel_can_add_it),                \
        cmocka_unit_test(a_channel_is_reached_on_every_shard),                       \
        cmocka_unit_test(names_of_a_client_end_with_it),                             \
        cmocka_unit_test(a_prefix_of_ones_own_is_there_when_the_call_ends),          \
        cmocka_unit_test(what_does_not_decode_is_counted_and_passed_over),           \
        cmocka_unit_test(a_group_is_subscribed_to_while_it_has_members_here),        \
        cmocka_unit_test(joins_and_leaves_in_one_turn_end_where_the_last_said),      \
        cmocka_unit_test(many_joins_are_few_commands),                               \
        cmocka_unit_test(groups_are_listed_with_their_subscribers),                  \
        cmocka_unit_test(flush_forgets_what_is_here),                                \
        cmocka_unit_test(messages_wait_for_who_receives_again),                      \
        cmocka_unit_test(every_node_gets_what_is_sent_to_a_normal_channel),          \
        cmocka_unit_test(what_exceeds_the_capacity_is_dropped_and_counted),          \
        cmocka_unit_test(a_name_may_be_both_a_channel_and_a_group),                  \
        cmocka_unit_test(a_join_waits_for_the_connection),                           \
        cmocka_unit_test(without_redis_calls_end_as_unavailable),                    \
        cmocka_unit_test(calls_under_way_end_when_the_layer_does),                   \
        cmocka_unit_test(subscriptions_come_back_with_the_connection),               \
        cmocka_unit_test(a_name_that_redis_refuses_keeps_no_other_from_its_messages)

int main(void)
{
    const struct CMUnitTest tests[] = {TESTS};
    return cmocka_run_group_tests_name("pubsub_backend", tests, start_new, stop) +
           cmocka_run_group_tests_name("pubsub_backend_resp2", tests, start_old, stop);
}
