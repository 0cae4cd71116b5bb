/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Each channel is a client of the layer of its own; one more client, the layer's own, sends and
 * receives from normal channels. Messages that a client is told are kept until the loop's next
 * turn, because clients may not call the layer back, and the program's callbacks may.
 */
#include "channel_layer/channellayer.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "channel_layer/config/config.h"
#include "channel_layer/layer.h"
#include "channel_layer/names.h"
#include "channel_layer/node/layer_proto.h"
#include "channel_layer/pending.h"
#include "core/mem.h"
#include "core/strmap.h"

struct channellayer {
    struct layer *layer; /* NULL: it is closed */
    struct layer_client client;
    struct strmap channels; /* struct channellayer_channel, by name */
    struct dlist waits;     /* struct channellayer_receive */
    struct pending_list pending;
    struct dlist late; /* struct call: asked for when the layer was being closed */
    uv_idle_t turn;    /* active while something is pending or late */
    bool is_closing;
    void (*closed)(void *ctx);
    void *ctx;
};

struct channellayer_channel {
    struct strmap_entry by_name;
    struct channellayer *owner;
    struct layer_client client;
    channellayer_received *received;
    void *ctx;
    char name[NAME_MAX_BYTES + 1];
};

/* A receive() from a normal channel. */
struct channellayer_receive {
    struct dlist link;
    uint64_t token;
    channellayer_received *received;
    void *ctx;
};

struct call {
    struct layer_call call;
    struct dlist link;
    channellayer_done *done;
    void *ctx;
};

/* The codes are those of the layer protocol. */
static enum channellayer_code code_of(enum err err)
{
    return (enum channellayer_code)layer_reply_code(err);
}

static enum channellayer_code tell(struct channellayer_error *out, enum err err, const char *text)
{
    const enum channellayer_code code = code_of(err);
    if (out != NULL) {
        out->code = code;
        (void)snprintf(out->text, sizeof(out->text), "%s", text);
    }
    return code;
}

/* ---- calls ---- */

static void on_done(struct layer_call *base, enum err err, const char *why)
{
    struct call *call = CONTAINER_OF(base, struct call, call);
    if (call->done != NULL)
        call->done(call->ctx, code_of(err), why);
    mem_free(call);
}

static struct layer_call *call_new(channellayer_done *done, void *ctx)
{
    struct call *call = mem_alloc(sizeof(*call));
    *call = (struct call){.call = {.done = on_done}, .done = done, .ctx = ctx};
    return &call->call;
}

static void on_turn(uv_idle_t *turn);

static void wake(struct channellayer *layer)
{
    if (!uv_is_closing((uv_handle_t *)&layer->turn))
        uv_idle_start(&layer->turn, on_turn);
}

/* NULL: the layer is being closed, and the program will be told so. */
static struct layer_call *call_begin(struct channellayer *layer, channellayer_done *done, void *ctx)
{
    struct layer_call *base = call_new(done, ctx);
    if (!layer->is_closing)
        return base;
    dlist_append(&layer->late, &CONTAINER_OF(base, struct call, call)->link);
    wake(layer);
    return NULL;
}

static const char is_closing[] = "the layer is being closed";

static void end_late(struct channellayer *layer)
{
    struct dlist batch;
    dlist_init(&batch);
    dlist_splice(&batch, &layer->late); /* what is asked for now waits for the next turn */
    for (struct dlist *at; (at = dlist_take_first(&batch)) != NULL;)
        on_done(&CONTAINER_OF(at, struct call, link)->call, ERR_CLOSED, is_closing);
}

/* ---- what clients are told ---- */

/* NULL: there was no memory for it, which is logged. */
static struct pending *pending_new(struct channellayer *layer, struct slice body)
{
    struct pending *p = pending_add(&layer->pending, body);
    if (p != NULL)
        wake(layer);
    return p;
}

static struct channellayer_channel *channel_of(struct layer_client *client)
{
    return CONTAINER_OF(client, struct channellayer_channel, client);
}

static void on_deliver(struct layer_client *client, const struct layer_delivery *delivery)
{
    struct channellayer_channel *channel = channel_of(client);
    bool is_mine = delivery->group_count > 0;
    for (size_t i = 0; i < delivery->channel_count; i++)
        is_mine = is_mine || slice_eq_str(delivery->channels[i], channel->name);
    if (!is_mine)
        return; /* a name that begins as ours does */
    struct pending *p = pending_new(channel->owner, delivery->body);
    if (p == NULL) {
        layer_stats(client->layer)->dropped_full++;
        return;
    }
    p->channel = channel;
    p->ticket = delivery->ticket;
}

static void on_own_deliver(struct layer_client *client, const struct layer_delivery *delivery)
{
    (void)client; /* nobody is told the name of the layer's own client */
    (void)delivery;
}

static struct channellayer_receive *receive_of(struct channellayer *layer, uint64_t token)
{
    for (struct dlist *at = layer->waits.next; at != &layer->waits; at = at->next) {
        struct channellayer_receive *receive = CONTAINER_OF(at, struct channellayer_receive, link);
        if (receive->token == token)
            return receive;
    }
    return NULL;
}

static void on_message(struct layer_client *client, uint64_t token, struct slice name,
                       struct slice body)
{
    (void)name;
    struct channellayer *layer = CONTAINER_OF(client, struct channellayer, client);
    struct channellayer_receive *receive = receive_of(layer, token);
    struct pending *p = receive != NULL ? pending_new(layer, body) : NULL;
    /* Without memory it stays untaken: it goes back when the layer is closed. */
    if (p != NULL)
        p->receive = receive;
}

static void on_failed(struct layer_client *client, uint64_t token, enum err err, const char *why)
{
    (void)err; /* told by the log, too */
    (void)why;
    struct channellayer *layer = CONTAINER_OF(client, struct channellayer, client);
    struct channellayer_receive *receive = receive_of(layer, token);
    struct pending *p = receive != NULL ? pending_new(layer, slice_make(NULL, 0)) : NULL;
    if (p == NULL)
        return;
    p->receive = receive;
    p->is_failed = true;
}

static void on_add(struct layer_client *client, struct slice group, struct slice channel)
{
    (void)client; /* counted in by the layer, and it has one channel only */
    (void)group;
    (void)channel;
}

/* Somebody took our channel out: its client, which has no other, leaves. */
static void on_discard(struct layer_client *client, struct slice group, struct slice channel)
{
    struct channellayer_channel *self = channel_of(client);
    if (!slice_eq_str(channel, self->name))
        return;
    struct pending *p = pending_new(self->owner, group);
    if (p == NULL)
        return; /* it stays in, as if the discard had come before the add */
    p->channel = self;
    p->is_leave = true;
}

static void on_flushed(struct layer_client *client)
{
    (void)client;
}

static bool has_room(struct layer_client *client, size_t bytes)
{
    return pending_has_room(&channel_of(client)->owner->pending, bytes);
}

static bool own_has_room(struct layer_client *client, size_t bytes)
{
    (void)client; /* it has as many messages as were asked for */
    (void)bytes;
    return true;
}

static const struct layer_client_ops channel_ops = {
    .deliver = on_deliver,
    .message = on_message,
    .failed = on_failed,
    .add = on_add,
    .discard = on_discard,
    .flushed = on_flushed,
    .has_room = has_room,
};

static const struct layer_client_ops own_ops = {
    .deliver = on_own_deliver,
    .message = on_message,
    .failed = on_failed,
    .add = on_add,
    .discard = on_add, /* nobody knows a name of its own */
    .flushed = on_flushed,
    .has_room = own_has_room,
};

static void give_message(struct channellayer *layer, const struct pending *p)
{
    struct channellayer_receive *receive = p->receive;
    const uint64_t token = receive->token;
    dlist_remove(&receive->link);
    const struct slice body = pending_text(p);
    receive->received(receive->ctx, p->is_failed ? NULL : body.ptr, body.len);
    mem_free(receive);
    if (!p->is_failed &&
        !layer->is_closing) /* else it goes back: whether it was handled is not known */
        layer_taken(&layer->client, token);
}

static void on_turn_closed(uv_handle_t *handle)
{
    struct channellayer *layer = handle->data;
    while (!dlist_is_empty(&layer->late))
        end_late(layer);
    if (layer->closed != NULL)
        layer->closed(layer->ctx);
    mem_free(layer);
}

/* Gives the program what was pending when the turn began; what its callbacks bring about waits. */
static void on_turn(uv_idle_t *turn)
{
    struct channellayer *layer = turn->data;
    struct pending *p = NULL;
    for (size_t left = layer->pending.count;
         left > 0 && (p = pending_first(&layer->pending)) != NULL; left--) {
        const struct slice body = pending_text(p);
        pending_take(&layer->pending, p);
        if (p->is_leave) {
            layer_leave(&p->channel->client, body, call_new(NULL, NULL));
        } else if (p->channel != NULL) {
            if (p->ticket != 0)
                layer_accepted(&p->channel->client, p->ticket, false);
            p->channel->received(p->channel->ctx, body.ptr, body.len);
        } else {
            give_message(layer, p);
        }
        pending_free(&layer->pending, p);
    }
    end_late(layer);
    if (layer->pending.count > 0 || !dlist_is_empty(&layer->late))
        return;
    uv_idle_stop(&layer->turn);
    if (layer->layer == NULL)
        uv_close((uv_handle_t *)&layer->turn, on_turn_closed);
}

/* ---- open and close ---- */

enum channellayer_code channellayer_open(struct channellayer **out, uv_loop_t *loop,
                                         const char *config, struct channellayer_error *why)
{
    struct layer_config *settings = NULL;
    struct err_text text = {.code = ERR_OK};
    enum err err = layer_config_parse(&settings, slice_str(config), &text);
    if (err != ERR_OK)
        return tell(why, err, text.text);
    struct channellayer *layer = mem_alloc(sizeof(*layer));
    err = layer_open(&layer->layer, loop, settings, &text);
    if (err == ERR_OK) {
        layer->client.ops = &own_ops;
        err = layer_attach(layer->layer, &layer->client, NULL, 0, &text);
        if (err != ERR_OK)
            layer_close(layer->layer, NULL, NULL);
    }
    if (err != ERR_OK) {
        mem_free(layer);
        return tell(why, err, text.text);
    }
    strmap_init(&layer->channels);
    dlist_init(&layer->waits);
    pending_init(&layer->pending);
    dlist_init(&layer->late);
    uv_idle_init(loop, &layer->turn);
    layer->turn.data = layer;
    *out = layer;
    return tell(why, ERR_OK, "");
}

static void on_layer_closed(void *ctx)
{
    struct channellayer *layer = ctx;
    layer->layer = NULL;
    if (dlist_is_empty(&layer->late))
        uv_close((uv_handle_t *)&layer->turn, on_turn_closed);
}

void channellayer_close(struct channellayer *layer, void (*closed)(void *ctx), void *ctx)
{
    assert(!layer->is_closing);
    layer->is_closing = true;
    layer->closed = closed;
    layer->ctx = ctx;
    pending_forget(&layer->pending, NULL);
    struct strmap_entry *next = NULL;
    for (struct strmap_entry *at = strmap_next(&layer->channels, NULL); at != NULL; at = next) {
        next = strmap_next(&layer->channels, at);
        channellayer_channel_close(CONTAINER_OF(at, struct channellayer_channel, by_name));
    }
    strmap_deinit(&layer->channels);
    for (struct dlist *at; (at = dlist_take_first(&layer->waits)) != NULL;)
        mem_free(CONTAINER_OF(at, struct channellayer_receive, link));
    uv_idle_stop(&layer->turn);
    layer_detach(&layer->client);
    layer_close(layer->layer, on_layer_closed, layer);
}

/* ---- channels ---- */

struct channellayer_channel *channellayer_channel_open(struct channellayer *layer,
                                                       channellayer_received *received, void *ctx,
                                                       struct channellayer_error *why)
{
    struct err_text text = {.code = ERR_OK};
    if (layer->is_closing) {
        tell(why, ERR_CLOSED, is_closing);
        return NULL;
    }
    struct channellayer_channel *channel = mem_alloc(sizeof(*channel));
    channel->owner = layer;
    channel->received = received;
    channel->ctx = ctx;
    channel->client.ops = &channel_ops;
    const enum err err = layer_attach(layer->layer, &channel->client, NULL, 0, &text);
    if (err != ERR_OK) {
        tell(why, err, text.text);
        mem_free(channel);
        return NULL;
    }
    /* The base is this client's alone, so one name is enough. */
    (void)snprintf(channel->name, sizeof(channel->name), "%.*s%0*d",
                   (int)(NAME_MAX_CHARS - CHANNEL_REST_CHARS), channel->client.base,
                   CHANNEL_REST_CHARS, 0);
    strmap_add(&layer->channels, &channel->by_name, slice_str(channel->name));
    tell(why, ERR_OK, "");
    return channel;
}

const char *channellayer_channel_name(const struct channellayer_channel *channel)
{
    return channel->name;
}

void channellayer_channel_close(struct channellayer_channel *channel)
{
    pending_forget(&channel->owner->pending, channel);
    layer_detach(&channel->client);
    strmap_remove(&channel->owner->channels, &channel->by_name);
    mem_free(channel);
}

static struct layer_client *client_named(struct channellayer *layer, const char *name)
{
    struct strmap_entry *found = strmap_find(&layer->channels, slice_str(name));
    return found == NULL ? NULL
                         : &CONTAINER_OF(found, struct channellayer_channel, by_name)->client;
}

/* ---- messages and groups ---- */

void channellayer_send(struct channellayer *layer, const char *channel, const void *body,
                       size_t len, channellayer_done *done, void *ctx)
{
    struct layer_call *call = call_begin(layer, done, ctx);
    if (call != NULL)
        layer_send(&layer->client, slice_str(channel), slice_make(body, len), call);
}

void channellayer_group_send(struct channellayer *layer, const char *group, const void *body,
                             size_t len, channellayer_done *done, void *ctx)
{
    struct layer_call *call = call_begin(layer, done, ctx);
    if (call != NULL)
        layer_group_send(&layer->client, slice_str(group), slice_make(body, len), call);
}

void channellayer_group_add(struct channellayer *layer, const char *group, const char *channel,
                            channellayer_done *done, void *ctx)
{
    struct layer_client *own = client_named(layer, channel);
    struct layer_call *call = call_begin(layer, done, ctx);
    if (call == NULL)
        return;
    if (own != NULL)
        layer_join(own, slice_str(group), call);
    else
        layer_group_add(&layer->client, slice_str(group), slice_str(channel), call);
}

void channellayer_group_discard(struct channellayer *layer, const char *group, const char *channel,
                                channellayer_done *done, void *ctx)
{
    struct layer_client *own = client_named(layer, channel);
    struct layer_call *call = call_begin(layer, done, ctx);
    if (call == NULL)
        return;
    if (own == NULL) {
        layer_group_discard(&layer->client, slice_str(group), slice_str(channel), call);
        return;
    }
    /* Somebody else may have added it singly, too. */
    layer_group_discard(own, slice_str(group), slice_str(channel), NULL);
    layer_leave(own, slice_str(group), call);
}

enum channellayer_code channellayer_receive(struct channellayer *layer, const char *channel,
                                            channellayer_received *received, void *ctx,
                                            struct channellayer_error *why)
{
    struct err_text text = {.code = ERR_OK};
    if (layer->is_closing)
        return tell(why, ERR_CLOSED, is_closing);
    const uint64_t token = layer_receive(&layer->client, slice_str(channel), &text);
    if (token == 0)
        return tell(why, text.code, text.text);
    struct channellayer_receive *receive = mem_alloc(sizeof(*receive));
    *receive = (struct channellayer_receive){.token = token, .received = received, .ctx = ctx};
    dlist_append(&layer->waits, &receive->link);
    return tell(why, ERR_OK, "");
}

void channellayer_flush(struct channellayer *layer, channellayer_done *done, void *ctx)
{
    struct layer_call *call = call_begin(layer, done, ctx);
    if (call != NULL)
        layer_flush(&layer->client, call);
}
