/* SPDX-License-Identifier: BSD-3-Clause
 *
 * pubsub_rig: a layer on the backend for channels_redis.pubsub, its clients, and two real servers.
 *
 * Why: what is published and what comes back are seen best with nothing replaced. The clients note
 * what they are told.
 */
#ifndef TESTS_SUPPORT_PUBSUB_RIG_H
#define TESTS_SUPPORT_PUBSUB_RIG_H

#include "channel_layer/backend.h"
#include "channel_layer/shard.h"
#include "core/mem.h"
#include "tests/support/redis_daemon.h"
#include "tests/support/unit.h"

#include <hiredis/hiredis.h>
#include <uv.h>

enum { SERVERS = 2, CLIENTS = 3, SEEN = 12000, TOKENS = 64, WAIT_MS = 10000 };

#define REST "0123456789abcdef012"

struct servers {
    struct redis_daemon daemon[SERVERS];
    redisContext *look[SERVERS];
};

struct rig;

struct client {
    struct layer_client client;
    struct rig *rig;
    unsigned count;          /* messages that arrived */
    uint16_t numbers[SEEN];  /* they are {"n": <number>} */
    char last[120];          /* the group or channel that the last was for */
    uint64_t tokens[TOKENS]; /* of normal channels */
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

static inline redisReply *ask_server(redisContext *look, const char *format, ...)
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

static inline long long number_in(redisReply *reply)
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
static inline unsigned long calls_of(redisContext *look, const char *command)
{
    char line[64];
    redisReply *reply = ask_server(look, "INFO commandstats");
    snprintf(line, sizeof(line), "cmdstat_%s:calls=", command);
    const char *at = strstr(reply->str, line);
    const unsigned long calls = at == NULL ? 0 : strtoul(at + strlen(line), NULL, 10);
    freeReplyObject(reply);
    return calls;
}

static inline redisContext *look_at(unsigned port)
{
    redisContext *look = redisConnect("127.0.0.1", (int)port);
    assert_true(look != NULL && look->err == 0);
    assert_int_equal(redisSetTimeout(look, (struct timeval){.tv_sec = 10}), REDIS_OK);
    return look;
}

static inline int start(void **state, const char *const *more)
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

static inline int start_new(void **state)
{
    return start(state, NULL);
}

static inline int start_old(void **state)
{
    return start(state, daemon_without_hello());
}

/* Returns when the servers, too, know that the connections of the test before are gone: whose
 * subscriptions would be taken for those of the next. */
static inline int until_quiet(void **state)
{
    const struct servers *servers = *state;
    bool is_quiet = false;
    for (unsigned i = 0; i < SERVERS; i++, is_quiet = false)
        for (unsigned ms = 0; !is_quiet; ms++) {
            redisReply *reply = ask_server(servers->look[i], "CLIENT LIST TYPE pubsub");
            is_quiet = reply->len == 0;
            freeReplyObject(reply);
            assert_true(is_quiet || ms < WAIT_MS);
            usleep(is_quiet ? 0 : 1000);
        }
    return 0;
}

#define TEST(name) cmocka_unit_test_setup(name, until_quiet)

static inline int stop(void **state)
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

static inline struct client *client_of(const struct layer_client *client)
{
    return (struct client *)(uintptr_t)client; /* its first member */
}

static inline void note(struct client *c, struct slice body, struct slice name)
{
    /* 81 a1 'n' <number> or 81 a1 'n' cd <number> */
    assert_true((body.len == 4 || body.len == 6) && body.ptr[2] == 'n');
    assert_true(c->count < SEEN);
    c->numbers[c->count++] =
        (uint16_t)(body.len == 4 ? body.ptr[3] : body.ptr[4] << 8 | body.ptr[5]);
    snprintf(c->last, sizeof(c->last), "%.*s", (int)name.len, (const char *)name.ptr);
}

static inline void on_deliver(struct layer_client *client, const struct layer_delivery *delivery)
{
    assert_int_equal(delivery->group_count + delivery->channel_count, 1);
    note(client_of(client), delivery->body,
         delivery->group_count > 0 ? delivery->groups[0] : delivery->channels[0]);
}

static inline void on_message(struct layer_client *client, uint64_t token, struct slice channel,
                              struct slice body)
{
    struct client *c = client_of(client);
    if (c->count < TOKENS)
        c->tokens[c->count] = token;
    note(c, body, channel);
}

static inline void on_member(struct layer_client *client, struct slice group, struct slice channel)
{
    (void)client;
    fail_msg("%.*s %.*s: nobody else adds to a group", (int)group.len, (const char *)group.ptr,
             (int)channel.len, (const char *)channel.ptr);
}

static inline void on_flushed(struct layer_client *client)
{
    client_of(client)->flushed++;
}

static inline bool has_room(struct layer_client *client, size_t bytes)
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

static inline void on_guard(uv_timer_t *timer)
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

static inline void on_nudge(uv_timer_t *timer)
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

static inline void open_layer(struct rig *rig, const struct servers *servers, unsigned count,
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

static inline void on_closed(void *ctx)
{
    ((struct rig *)ctx)->is_closed = true;
}

static inline void close_layer(struct rig *rig)
{
    for (unsigned i = 0; i < CLIENTS; i++)
        layer_detach(&rig->clients[i].client);
    layer_close(rig->layer, on_closed, rig);
    RUN_UNTIL(rig, rig->is_closed);
    uv_close((uv_handle_t *)&rig->guard, NULL);
    uv_run(&rig->uv, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&rig->uv), 0);
}

static inline struct layer_client *client(struct rig *rig, unsigned i)
{
    return &rig->clients[i].client;
}

static inline void on_done(struct layer_call *call, enum err err, const char *why)
{
    struct call *c = (struct call *)call;
    c->ended++;
    c->err = err;
    snprintf(c->why, sizeof(c->why), "%s", why);
}

static inline struct layer_call *new_call(struct call *call)
{
    *call = (struct call){.call = {on_done}};
    return &call->call;
}

static inline enum err end(struct rig *rig, struct call *call)
{
    RUN_UNTIL(rig, call->ended > 0);
    assert_int_equal(call->ended, 1);
    return call->err;
}

static inline struct slice body_of(uint8_t number)
{
    static uint8_t bytes[4];
    memcpy(bytes, (const uint8_t[]){0x81, 0xa1, 'n', number}, sizeof(bytes));
    return slice_make(bytes, sizeof(bytes));
}

#define PAYLOAD(number) "\x81\xa1n" number

static inline void join(struct rig *rig, unsigned i, const char *group)
{
    struct call call;
    layer_join(client(rig, i), slice_str(group), new_call(&call));
    assert_int_equal(call.ended, 0);
    assert_int_equal(end(rig, &call), ERR_OK);
}

static inline void send_to_group(struct rig *rig, const char *group, uint8_t number)
{
    struct call call;
    layer_group_send(client(rig, 0), slice_str(group), body_of(number), new_call(&call));
    assert_int_equal(call.ended, 0);
    assert_int_equal(end(rig, &call), ERR_OK);
    assert_string_equal(call.why, "");
}

static inline void receive(struct rig *rig, unsigned i, const char *channel)
{
    struct err_text why;
    assert_true(layer_receive(client(rig, i), slice_str(channel), &why) != 0);
}

static inline bool is_received(struct servers *servers, const char *channel)
{
    return NUMBER(servers->look[0], "PUBSUB NUMSUB %s", channel) > 0;
}

/* All names of the clients are subscribed to. */
static inline void settle(struct rig *rig, struct servers *servers, unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        RUN_UNTIL_SEEN(rig, NUMBER(servers->look[i], "PUBSUB NUMPAT") == CLIENTS);
}

static inline struct slice channel_name(struct rig *rig, unsigned i, char *out, size_t size)
{
    const int len = snprintf(out, size, "%s" REST, client(rig, i)->base);
    assert_true(len > 0 && (size_t)len < size);
    return slice_str(out);
}

/* Runs @tests with RESP3, and again with servers that know no HELLO. */
#define RUN_BOTH_WAYS(name, tests)                               \
    (cmocka_run_group_tests_name(name, tests, start_new, stop) + \
     cmocka_run_group_tests_name(name "_resp2", tests, start_old, stop))

#endif
