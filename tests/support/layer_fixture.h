/* SPDX-License-Identifier: BSD-3-Clause
 *
 * layer_fixture: a layer with clients that write down what they are told, and a backend that writes
 * down what it is asked and answers when the test says so:
 *
 *   deliver(0 groups=room channels=#0 [x]) message(1 jobs [y]) add(1 room #1) | send(other [x])
 *   join(room) leave(room)
 *
 * #N is the channel of client N. Bodies are shown without the frame that makes them a msgpack map.
 */
#ifndef TESTS_SUPPORT_LAYER_FIXTURE_H
#define TESTS_SUPPORT_LAYER_FIXTURE_H

#include "channel_layer/hub.h"
#include "core/mem.h"

#include "tests/support/unit.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { FIXTURE_CLIENTS = 4, FIXTURE_TRACE = 8192, FIXTURE_CALLS = 64, FIXTURE_BODIES = 16 };

#define FIXTURE_REST "0123456789abcdef012"

struct fixture_client {
    struct layer_client client;
    struct layer_fixture *fixture;
    unsigned index;
    bool is_full;
    bool is_attached;
    uint64_t ticket; /* of the last delivery */
    uint64_t token;  /* of the last message */
};

struct fixture_call {
    struct layer_call call;
    struct layer_fixture *fixture;
    const char *name;
    unsigned ends;
    enum err err;
    char why[ERR_TEXT_MAX];
};

struct fixture_backend {
    struct backend backend;
    struct layer_fixture *fixture;
    struct layer_call *pending[FIXTURE_CALLS]; /* in the order of the questions */
    size_t pending_count;
    const char *found[4]; /* channels that a group_send finds singly */
    char watched[1024];   /* the names that were asked for */
    void (*closed)(void *ctx);
    void *closed_ctx;
};

struct layer_fixture {
    uv_loop_t uv;
    struct layer *layer;
    struct fixture_client clients[FIXTURE_CLIENTS];
    struct fixture_backend backend;
    bool has_backend;
    char trace[FIXTURE_TRACE];
    size_t len;
    unsigned closed;
    uint8_t bodies[FIXTURE_BODIES][64];
    unsigned next_body;
};

/* ---- the trace ---- */

static inline void fixture_put(struct layer_fixture *f, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
static inline void fixture_put(struct layer_fixture *f, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    const int len = vsnprintf(f->trace + f->len, sizeof(f->trace) - f->len, format, args);
    va_end(args);
    assert_true(len >= 0 && (size_t)len < sizeof(f->trace) - f->len);
    f->len += (size_t)len;
}

static inline void fixture_put_name(struct layer_fixture *f, struct slice name)
{
    char own[NAME_MAX_BYTES + sizeof(FIXTURE_REST)];
    for (unsigned i = 0; i < FIXTURE_CLIENTS; i++) {
        snprintf(own, sizeof(own), "%s" FIXTURE_REST, f->clients[i].client.base);
        if (slice_eq_str(name, own)) {
            fixture_put(f, "#%u", i);
            return;
        }
    }
    fixture_put(f, "%.*s", (int)name.len, name.len == 0 ? "" : (const char *)name.ptr);
}

/* {"k": text}: five bytes and the text. */
static inline void fixture_put_body(struct layer_fixture *f, struct slice body)
{
    assert_true(body.len >= 4);
    if (body.len > 40)
        fixture_put(f, " [%zu bytes]", body.len);
    else
        fixture_put(f, " [%.*s]", (int)body.len - 4, (const char *)body.ptr + 4);
}

/* What was written down since the last look. */
#define fixture_told(f, want)                  \
    do {                                       \
        (f)->trace[(f)->len] = '\0';           \
        assert_string_equal((f)->trace, want); \
        (f)->len = 0;                          \
    } while (0)

/* The body {"k": text}, valid until FIXTURE_BODIES more were made. */
static inline struct slice fixture_body(struct layer_fixture *f, const char *text)
{
    uint8_t *at = f->bodies[f->next_body++ % FIXTURE_BODIES];
    const size_t len = strlen(text);
    assert_true(len < 32);
    memcpy(at, "\x81\xa1k", 3);
    at[3] = (uint8_t)(0xa0 + len);
    memcpy(at + 4, text, len);
    return slice_make(at, 4 + len);
}

/* ---- clients ---- */

static inline struct fixture_client *fixture_client_of(const struct layer_client *client)
{
    return (struct fixture_client *)(uintptr_t)client; /* its first member */
}

static inline void fixture_put_names(struct layer_fixture *f, const char *title,
                                     const struct slice *names, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        fixture_put(f, "%s", i == 0 ? title : ",");
        fixture_put_name(f, names[i]);
    }
}

static inline void fixture_deliver(struct layer_client *client,
                                   const struct layer_delivery *delivery)
{
    struct fixture_client *c = fixture_client_of(client);
    fixture_put(c->fixture, "deliver(%u", c->index);
    fixture_put_names(c->fixture, " groups=", delivery->groups, delivery->group_count);
    fixture_put_names(c->fixture, " channels=", delivery->channels, delivery->channel_count);
    fixture_put_body(c->fixture, delivery->body);
    fixture_put(c->fixture, ") ");
    c->ticket = delivery->ticket;
}

static inline void fixture_message(struct layer_client *client, uint64_t token,
                                   struct slice channel, struct slice body)
{
    struct fixture_client *c = fixture_client_of(client);
    fixture_put(c->fixture, "message(%u ", c->index);
    fixture_put_name(c->fixture, channel);
    fixture_put_body(c->fixture, body);
    fixture_put(c->fixture, ") ");
    c->token = token;
}

static inline void fixture_failed(struct layer_client *client, uint64_t token, enum err err,
                                  const char *why)
{
    struct fixture_client *c = fixture_client_of(client);
    assert_true(why[0] != '\0');
    fixture_put(c->fixture, "failed(%u %lu %s) ", c->index, (unsigned long)token, err_str(err));
}

static inline void fixture_member(struct layer_client *client, const char *what, struct slice group,
                                  struct slice channel)
{
    struct fixture_client *c = fixture_client_of(client);
    fixture_put(c->fixture, "%s(%u %.*s ", what, c->index, (int)group.len, (const char *)group.ptr);
    fixture_put_name(c->fixture, channel);
    fixture_put(c->fixture, ") ");
}

static inline void fixture_add(struct layer_client *client, struct slice group,
                               struct slice channel)
{
    fixture_member(client, "add", group, channel);
}

static inline void fixture_discard(struct layer_client *client, struct slice group,
                                   struct slice channel)
{
    fixture_member(client, "discard", group, channel);
}

static inline void fixture_flushed(struct layer_client *client)
{
    struct fixture_client *c = fixture_client_of(client);
    fixture_put(c->fixture, "flushed(%u) ", c->index);
}

static inline bool fixture_has_room(struct layer_client *client, size_t bytes)
{
    (void)bytes;
    return !fixture_client_of(client)->is_full;
}

static const struct layer_client_ops fixture_client_ops = {
    .deliver = fixture_deliver,
    .message = fixture_message,
    .failed = fixture_failed,
    .add = fixture_add,
    .discard = fixture_discard,
    .flushed = fixture_flushed,
    .has_room = fixture_has_room,
};

static inline struct layer_client *fixture_attach(struct layer_fixture *f, unsigned i)
{
    struct err_text why;
    struct fixture_client *c = &f->clients[i];
    memset(c, 0, sizeof(*c));
    c->fixture = f;
    c->index = i;
    c->client.ops = &fixture_client_ops;
    assert_int_equal(layer_attach(f->layer, &c->client, NULL, 0, &why), ERR_OK);
    c->is_attached = true;
    if (f->has_backend) { /* the watch for its mailbox, the newest question */
        struct layer_call *call = f->backend.pending[--f->backend.pending_count];
        call->done(call, ERR_OK, "");
    }
    return &c->client;
}

static inline void fixture_detach(struct layer_fixture *f, unsigned i)
{
    layer_detach(&f->clients[i].client);
    f->clients[i].is_attached = false;
}

static inline struct layer_client *fixture_client(struct layer_fixture *f, unsigned i)
{
    return &f->clients[i].client;
}

/* The one channel that client @i has made; valid until it is attached anew. */
static inline struct slice fixture_channel(struct layer_fixture *f, unsigned i)
{
    static char names[FIXTURE_CLIENTS][NAME_MAX_BYTES + sizeof(FIXTURE_REST)];
    snprintf(names[i], sizeof(names[i]), "%s" FIXTURE_REST, f->clients[i].client.base);
    return slice_str(names[i]);
}

/* ---- calls ---- */

static inline void fixture_done(struct layer_call *call, enum err err, const char *why)
{
    struct fixture_call *c = CONTAINER_OF(call, struct fixture_call, call);
    c->ends++;
    c->err = err;
    snprintf(c->why, sizeof(c->why), "%s", why);
    fixture_put(c->fixture, "%s:%s ", c->name, err == ERR_OK ? "ok" : err_str(err));
}

/* A call that writes "name:ok" or "name:<error>" when it ends. */
static inline struct layer_call *fixture_call(struct layer_fixture *f, struct fixture_call *call,
                                              const char *name)
{
    *call = (struct fixture_call){.call = {fixture_done}, .fixture = f, .name = name};
    return &call->call;
}

static inline void fixture_turn(struct layer_fixture *f)
{
    uv_run(&f->uv, UV_RUN_NOWAIT);
}

/* ---- the backend ---- */

static inline struct fixture_backend *fixture_backend_of(struct backend *b)
{
    return CONTAINER_OF(b, struct fixture_backend, backend);
}

static inline void fixture_ask(struct backend *b, struct layer_call *call)
{
    struct fixture_backend *fb = fixture_backend_of(b);
    assert_true(fb->pending_count < FIXTURE_CALLS);
    fb->pending[fb->pending_count++] = call;
}

/* Answers the oldest question. */
static inline void fixture_answer(struct layer_fixture *f, enum err err)
{
    struct fixture_backend *fb = &f->backend;
    assert_true(fb->pending_count > 0);
    struct layer_call *call = fb->pending[0];
    memmove(fb->pending, fb->pending + 1, --fb->pending_count * sizeof(fb->pending[0]));
    call->done(call, err, err == ERR_OK ? "" : "the backend says no");
    fixture_turn(f);
}

static inline void fixture_b_send(struct backend *b, struct slice channel, struct slice body,
                                  struct layer_call *call)
{
    struct layer_fixture *f = fixture_backend_of(b)->fixture;
    const struct slice mailbox = name_nonlocal(channel);
    if (slice_eq_str(name_local(channel), "ctl"))
        fixture_put(f, "control(%.*s) ", (int)mailbox.len, (const char *)mailbox.ptr);
    else {
        fixture_put(f, "send(");
        fixture_put_name(f, channel);
        fixture_put_body(f, body);
        fixture_put(f, ") ");
    }
    fixture_ask(b, call);
}

static inline void fixture_b_group_send(struct backend *b, struct slice group, struct slice body,
                                        struct layer_call *call, struct backend_own *own)
{
    struct fixture_backend *fb = fixture_backend_of(b);
    fixture_put(fb->fixture, "group_send(%.*s", (int)group.len, (const char *)group.ptr);
    fixture_put_body(fb->fixture, body);
    fixture_put(fb->fixture, ") ");
    for (size_t i = 0; i < UNIT_ROWS(fb->found) && fb->found[i] != NULL; i++)
        own->found(own, slice_str(fb->found[i]));
    fixture_ask(b, call);
}

static inline void fixture_b_group(struct backend *b, const char *what, struct slice group,
                                   struct layer_call *call)
{
    fixture_put(fixture_backend_of(b)->fixture, "%s(%.*s) ", what, (int)group.len,
                (const char *)group.ptr);
    fixture_ask(b, call);
}

static inline void fixture_b_join(struct backend *b, struct slice group, struct layer_call *call)
{
    fixture_b_group(b, "join", group, call);
}

static inline void fixture_b_leave(struct backend *b, struct slice group, struct layer_call *call)
{
    fixture_b_group(b, "leave", group, call);
}

static inline void fixture_b_single(struct backend *b, const char *what, struct slice group,
                                    struct slice channel, struct layer_call *call)
{
    struct layer_fixture *f = fixture_backend_of(b)->fixture;
    fixture_put(f, "%s(%.*s ", what, (int)group.len, (const char *)group.ptr);
    fixture_put_name(f, channel);
    fixture_put(f, ") ");
    if (call != NULL)
        fixture_ask(b, call);
}

static inline void fixture_b_add(struct backend *b, struct slice group, struct slice channel,
                                 struct layer_call *call)
{
    fixture_b_single(b, "add", group, channel, call);
}

static inline void fixture_b_discard(struct backend *b, struct slice group, struct slice channel,
                                     struct layer_call *call)
{
    fixture_b_single(b, "discard", group, channel, call);
}

static inline void fixture_b_watch(struct backend *b, struct slice base, struct layer_call *call)
{
    struct fixture_backend *fb = fixture_backend_of(b);
    const size_t used = strlen(fb->watched);
    const int len = snprintf(fb->watched + used, sizeof(fb->watched) - used, "%.*s ", (int)base.len,
                             (const char *)base.ptr);
    assert_true((size_t)len < sizeof(fb->watched) - used);
    fixture_ask(b, call);
}

static inline void fixture_b_want(struct backend *b, struct slice channel, unsigned wanted)
{
    fixture_put(fixture_backend_of(b)->fixture, "want(%.*s %u) ", (int)channel.len,
                (const char *)channel.ptr, wanted);
}

static inline void fixture_b_taken(struct backend *b, struct slice channel, uint64_t handle)
{
    fixture_put(fixture_backend_of(b)->fixture, "taken(%.*s %lu) ", (int)channel.len,
                (const char *)channel.ptr, (unsigned long)handle);
}

static inline void fixture_b_put_back(struct backend *b, struct slice channel, uint64_t handle)
{
    fixture_put(fixture_backend_of(b)->fixture, "put_back(%.*s %lu) ", (int)channel.len,
                (const char *)channel.ptr, (unsigned long)handle);
}

static inline void fixture_b_groups(struct backend *b,
                                    void (*visit)(void *ctx, struct slice group, uint64_t members),
                                    void *ctx, struct layer_call *call)
{
    visit(ctx, slice_str("room"), 7);
    fixture_ask(b, call);
}

static inline void fixture_b_flush(struct backend *b, struct layer_call *call)
{
    fixture_put(fixture_backend_of(b)->fixture, "flush ");
    fixture_ask(b, call);
}

static inline void fixture_b_flushed(struct backend *b)
{
    fixture_put(fixture_backend_of(b)->fixture, "forgotten ");
}

static inline void fixture_b_close(struct backend *b, void (*closed)(void *ctx), void *ctx)
{
    struct fixture_backend *fb = fixture_backend_of(b);
    fb->closed = closed;
    fb->closed_ctx = ctx;
}

static const struct backend_ops fixture_backend_ops = {
    .send = fixture_b_send,
    .group_send = fixture_b_group_send,
    .join = fixture_b_join,
    .leave = fixture_b_leave,
    .add = fixture_b_add,
    .discard = fixture_b_discard,
    .watch = fixture_b_watch,
    .want = fixture_b_want,
    .taken = fixture_b_taken,
    .put_back = fixture_b_put_back,
    .groups = fixture_b_groups,
    .flush = fixture_b_flush,
    .flushed = fixture_b_flushed,
    .close = fixture_b_close,
};

/* ---- life ---- */

static inline enum err fixture_make_backend(struct backend **out, struct layer *layer, void *ctx,
                                            struct err_text *why)
{
    struct layer_fixture *f = ctx;
    (void)why;
    f->backend = (struct fixture_backend){.backend = {.ops = &fixture_backend_ops, .layer = layer},
                                          .fixture = f};
    *out = f->has_backend ? &f->backend.backend : NULL;
    return ERR_OK;
}

static inline struct layer_fixture *fixture_open(const char *settings, bool has_backend)
{
    struct err_text why;
    struct layer_config *config = NULL;
    struct layer_fixture *f = calloc(1, sizeof(*f));
    assert_non_null(f);
    f->has_backend = has_backend;
    assert_int_equal(uv_loop_init(&f->uv), 0);
    assert_int_equal(layer_config_parse(&config, slice_str(settings), &why), ERR_OK);
    assert_int_equal(layer_open_with(&f->layer, &f->uv, config, fixture_make_backend, f, &why),
                     ERR_OK);
    return f;
}

static inline void fixture_on_closed(void *ctx)
{
    struct layer_fixture *f = ctx;
    f->closed++;
    f->layer = NULL;
}

/* Detaches who is attached and closes the layer; what the backend was still asked ends CLOSED. */
static inline void fixture_close(struct layer_fixture *f)
{
    for (unsigned i = 0; i < FIXTURE_CLIENTS; i++)
        if (f->clients[i].is_attached)
            fixture_detach(f, i);
    layer_close(f->layer, fixture_on_closed, f);
    while (f->has_backend && f->backend.pending_count > 0)
        fixture_answer(f, ERR_CLOSED);
    if (f->has_backend)
        f->backend.closed(f->backend.closed_ctx);
    uv_run(&f->uv, UV_RUN_DEFAULT);
    assert_int_equal(f->closed, 1);
    assert_int_equal(uv_loop_close(&f->uv), 0);
}

static inline void fixture_free(struct layer_fixture *f)
{
    fixture_close(f);
    free(f);
}

#endif
