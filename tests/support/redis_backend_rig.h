/* SPDX-License-Identifier: BSD-3-Clause
 *
 * redis_backend_rig: a backend on a real Redis, with what stands for its layer.
 *
 * Why: the backend's own promises are told apart from the layer's when there is no layer. The
 * functions that a backend calls (backend.h) are defined here and note what they are told.
 */
#ifndef TESTS_SUPPORT_REDIS_BACKEND_RIG_H
#define TESTS_SUPPORT_REDIS_BACKEND_RIG_H

#include "channel_layer/backend.h"
#include "core/mem.h"
#include "tests/support/redis_daemon.h"
#include "tests/support/unit.h"

#include <hiredis/hiredis.h>
#include <string.h>
#include <time.h>

#define NODE "0123456789ab4def8123456789abcdef"
#define OTHER "fedcba98765443218fedcba987654321"
#define BASE "specific." NODE "!"
#define KEY "asgi" BASE
#define THEIRS "specific." OTHER "!"
#define LIVING "00000000000040008000000000000001"

enum { RIG_SEEN_MAX = 20000, RIG_TEXT = 200 };

/* A message {"n": <number>} that arrived. */
struct layer {
    struct layer_stats stats;
    unsigned arrived;
    unsigned times[RIG_SEEN_MAX]; /* by number */
    char names[RIG_TEXT];         /* of the last, one after the other with a blank */
    unsigned normal;
    uint64_t handles[RIG_SEEN_MAX];
    unsigned refuse_normal; /* so many are not wanted */
    unsigned failed;        /* layer_normal_failed() */
    enum err failed_err;
    char failed_why[ERR_TEXT_MAX];
    const char *groups[8]; /* that are joined */
    unsigned found;
    char found_name[RIG_TEXT];
};

/* A server, and a connection to look into it. */
struct rig_redis {
    struct redis_daemon daemon;
    redisContext *client;
};

struct rig {
    uv_loop_t uv;
    uv_timer_t guard;
    struct layer layer;
    struct layer_config *config;
    struct backend *b;
    unsigned closed;
};

/* A call, and how it ended. */
struct rig_call {
    struct layer_call call;
    unsigned ended;
    enum err err;
    char why[ERR_TEXT_MAX];
};

/* ---- the layer ---- */

static inline int body_number(struct slice body)
{
    /* 81 a1 'n' cd hh ll */
    if (body.len != 6 || body.ptr[0] != 0x81 || body.ptr[2] != 'n' || body.ptr[3] != 0xcd)
        return -1;
    return body.ptr[4] << 8 | body.ptr[5];
}

static inline void note_body(struct layer *layer, struct slice body)
{
    const int number = body_number(body);
    assert_true(number >= 0 && number < RIG_SEEN_MAX);
    layer->times[number]++;
}

void layer_arrived(struct layer *layer, struct backend_names *names, struct slice body)
{
    struct slice name;
    layer->names[0] = '\0';
    while (names->next(names, &name)) {
        const size_t len = strlen(layer->names);
        snprintf(layer->names + len, sizeof(layer->names) - len, "%.*s ", (int)name.len,
                 (const char *)name.ptr);
    }
    layer->arrived++;
    note_body(layer, body);
}

bool layer_normal_arrived(struct layer *layer, struct slice channel, uint64_t handle,
                          struct slice body)
{
    (void)channel;
    if (layer->refuse_normal > 0) {
        layer->refuse_normal--;
        return false;
    }
    note_body(layer, body);
    layer->handles[layer->normal++] = handle;
    return true;
}

void layer_normal_failed(struct layer *layer, struct slice channel, enum err err, const char *why)
{
    (void)channel;
    layer->failed++;
    layer->failed_err = err;
    snprintf(layer->failed_why, sizeof(layer->failed_why), "%s", why);
}

void layer_each_group(struct layer *layer, void (*visit)(void *ctx, struct slice group), void *ctx)
{
    for (unsigned i = 0; i < 8 && layer->groups[i] != NULL; i++)
        visit(ctx, slice_str(layer->groups[i]));
}

struct layer_stats *layer_stats(struct layer *layer)
{
    return &layer->stats;
}

/* ---- the rig ---- */

static inline void on_guard(uv_timer_t *timer)
{
    (void)timer; /* it only ends the wait of uv_run() */
}

/* Runs the loop until @is_so() or 5 s are over; whether it is. */
static inline bool rig_until(struct rig *rig, bool (*is_so)(void *ctx), void *ctx)
{
    uv_update_time(&rig->uv);
    const uint64_t end_ms = uv_now(&rig->uv) + 5000;
    uv_timer_start(&rig->guard, on_guard, 20, 20);
    bool is_done = is_so(ctx);
    while (!is_done && uv_now(&rig->uv) < end_ms) {
        uv_run(&rig->uv, UV_RUN_ONCE);
        is_done = is_so(ctx);
    }
    uv_timer_stop(&rig->guard);
    return is_done;
}

static inline void on_call_done(struct layer_call *call, enum err err, const char *why)
{
    struct rig_call *c = (struct rig_call *)call;
    c->ended++;
    c->err = err;
    snprintf(c->why, sizeof(c->why), "%s", why);
}

static inline void call_init(struct rig_call *c)
{
    *c = (struct rig_call){.call = {on_call_done}};
}

static inline bool has_ended(void *ctx)
{
    return ((const struct rig_call *)ctx)->ended > 0;
}

static inline enum err rig_end(struct rig *rig, struct rig_call *c)
{
    assert_true(rig_until(rig, has_ended, c));
    assert_int_equal(c->ended, 1);
    if (c->err == ERR_OK)
        assert_string_equal(c->why, "");
    else
        assert_true(c->why[0] != '\0');
    return c->err;
}

/* A backend on @count servers. */
static inline void rig_open_hosts(struct rig *rig, const struct rig_redis *redis, size_t count,
                                  const char *settings)
{
    char hosts[256] = "";
    char json[512];
    struct err_text why = {.text = ""};
    memset(rig, 0, sizeof(*rig));
    assert_int_equal(uv_loop_init(&rig->uv), 0);
    uv_timer_init(&rig->uv, &rig->guard);
    for (size_t i = 0; i < count; i++) {
        const size_t len = strlen(hosts);
        snprintf(hosts + len, sizeof(hosts) - len, "%s\"redis://127.0.0.1:%u\"", i > 0 ? ", " : "",
                 redis[i].daemon.port);
    }
    snprintf(json, sizeof(json), "{\"hosts\": [%s]%s%s}", hosts, settings[0] != '\0' ? ", " : "",
             settings);
    if (layer_config_parse(&rig->config, slice_str(json), &why) != ERR_OK)
        fail_msg("%s", why.text);
    if (redis_backend_open(&rig->b, &rig->layer, &rig->uv, rig->config, NODE, &why) != ERR_OK)
        fail_msg("%s", why.text);
}

static inline void rig_open(struct rig *rig, const struct rig_redis *redis, const char *settings)
{
    rig_open_hosts(rig, redis, 1, settings);
}

static inline void on_backend_closed(void *ctx)
{
    ((struct rig *)ctx)->closed++;
}

static inline bool is_closed(void *ctx)
{
    return ((const struct rig *)ctx)->closed > 0;
}

static inline void rig_close(struct rig *rig)
{
    rig->b->ops->close(rig->b, on_backend_closed, rig);
    assert_true(rig_until(rig, is_closed, rig));
    assert_int_equal(rig->closed, 1);
    uv_close((uv_handle_t *)&rig->guard, NULL);
    uv_run(&rig->uv, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&rig->uv), 0);
    layer_config_free(rig->config);
}

/* ---- looking into Redis ---- */

static inline void rig_look(struct rig_redis *redis)
{
    redisFree(redis->client);
    redis->client = redisConnect("127.0.0.1", (int)redis->daemon.port);
    assert_true(redis->client != NULL && redis->client->err == 0);
}

static inline redisReply *ask_redis(struct rig_redis *redis, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    redisReply *reply = redisvCommand(redis->client, format, args);
    va_end(args);
    assert_non_null(reply);
    if (reply->type == REDIS_REPLY_ERROR)
        fail_msg("%s", reply->str);
    return reply;
}

#define TELL_REDIS(redis, ...) freeReplyObject(ask_redis(redis, __VA_ARGS__))

static inline long long number_in(redisReply *reply)
{
    assert_int_equal(reply->type, REDIS_REPLY_INTEGER);
    const long long number = reply->integer;
    freeReplyObject(reply);
    return number;
}

#define NUMBER(redis, ...) number_in(ask_redis(redis, __VA_ARGS__))

/* How often a command was done since CONFIG RESETSTAT. */
static inline unsigned long calls_of(struct rig_redis *redis, const char *command)
{
    char line[64];
    redisReply *reply = ask_redis(redis, "INFO commandstats");
    snprintf(line, sizeof(line), "cmdstat_%s:calls=", command);
    const char *at = strstr(reply->str, line);
    const unsigned long calls = at == NULL ? 0 : strtoul(at + strlen(line), NULL, 10);
    freeReplyObject(reply);
    return calls;
}

/* A body {"n": @number}. */
struct rig_body {
    uint8_t bytes[6];
};

static inline struct slice body_of(struct rig_body *out, unsigned number)
{
    *out =
        (struct rig_body){{0x81, 0xa1, 'n', 0xcd, (uint8_t)(number >> 8), (uint8_t)(number & 255)}};
    return slice_make(out->bytes, sizeof(out->bytes));
}

/* Puts messages @from..@to-1 for @name (below 32 characters: a fixstr) under @key, as
 * channels_redis would. */
static inline void put_messages(struct rig_redis *redis, const char *key, const char *name,
                                unsigned from, unsigned to)
{
    for (unsigned n = from; n < to; n++) {
        uint8_t member[128] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0};
        char score[32];
        size_t len = 12;
        member[10] = (uint8_t)(n >> 8);
        member[11] = (uint8_t)(n & 255);
        const uint8_t front[] = {0x82, 0xa1, 'n', 0xcd, (uint8_t)(n >> 8), (uint8_t)(n & 255),
                                 0xb0};
        memcpy(member + len, front, sizeof(front));
        len += sizeof(front);
        memcpy(member + len, "__asgi_channel__", 16);
        len += 16;
        member[len++] = 0xd9;
        member[len++] = (uint8_t)strlen(name);
        memcpy(member + len, name, strlen(name));
        len += strlen(name);
        snprintf(score, sizeof(score), "%ld.%06u", (long)time(NULL), n);
        redisAppendCommand(redis->client, "ZADD %s %s %b", key, score, member, len);
    }
    for (unsigned n = from; n < to; n++) {
        void *reply = NULL;
        assert_int_equal(redisGetReply(redis->client, &reply), REDIS_OK);
        freeReplyObject(reply);
    }
}

/* ---- steps of tests ---- */

static inline int start_server(void **state)
{
    struct rig_redis *redis = calloc(1, sizeof(*redis));
    assert_non_null(redis);
    daemon_start(&redis->daemon, NULL);
    rig_look(redis);
    *state = redis;
    return 0;
}

static inline int stop_server(void **state)
{
    struct rig_redis *redis = *state;
    redisFree(redis->client);
    daemon_remove(&redis->daemon);
    free(redis);
    return 0;
}

static inline int empty_server(void **state)
{
    struct rig_redis *redis = *state;
    if (redis->daemon.version >= 600)
        TELL_REDIS(redis, "ACL SETUSER default +@all");
    TELL_REDIS(*state, "CONFIG SET maxmemory 0");
    TELL_REDIS(*state, "FLUSHALL");
    return 0;
}

static inline bool is_beating(void *ctx)
{
    return NUMBER(ctx, "EXISTS asgi:channelsd:nodes") == 1;
}

/* Opens a backend and waits until it has given its first sign of life. */
static inline void open_settled(struct rig *rig, struct rig_redis *redis, const char *settings)
{
    rig_open(rig, redis, settings);
    assert_true(rig_until(rig, is_beating, redis));
}

static inline enum err send_to(struct rig *rig, struct rig_call *call, const char *channel)
{
    struct rig_body body;
    call_init(call);
    rig->b->ops->send(rig->b, slice_str(channel), body_of(&body, 7), &call->call);
    assert_int_equal(call->ended, 0);
    return rig_end(rig, call);
}

struct rig_own {
    struct backend_own own;
    struct layer *layer;
};

static inline void on_found(struct backend_own *own, struct slice channel)
{
    struct layer *layer = ((struct rig_own *)own)->layer;
    layer->found++;
    snprintf(layer->found_name, RIG_TEXT, "%.*s", (int)channel.len, (const char *)channel.ptr);
}

static inline enum err send_to_group(struct rig *rig, struct rig_call *call, const char *group)
{
    struct rig_body body;
    struct rig_own own = {.own = {on_found}, .layer = &rig->layer};
    call_init(call);
    rig->b->ops->group_send(rig->b, slice_str(group), body_of(&body, 9), &call->call, &own.own);
    assert_int_equal(call->ended, 0);
    return rig_end(rig, call);
}

static inline enum err join(struct rig *rig, const char *group)
{
    struct rig_call call;
    call_init(&call);
    rig->b->ops->join(rig->b, slice_str(group), &call.call);
    return rig_end(rig, &call);
}

static inline void watch(struct rig *rig, const char *base)
{
    struct rig_call call;
    call_init(&call);
    rig->b->ops->watch(rig->b, slice_str(base), &call.call);
    assert_int_equal(call.ended, 0);
    assert_int_equal(rig_end(rig, &call), ERR_OK);
}

#define TEST(name) cmocka_unit_test_setup(name, empty_server)

#endif
