/* SPDX-License-Identifier: BSD-3-Clause
 *
 * What a peer asks for, and what it is told.
 *
 * A request that a layer answers later is a peer_call in peer->calls; when the peer goes first, the
 * call stays until the layer ends it, and the answer goes nowhere.
 */
#include "channel_layer/peer.h"

#include <assert.h>
#include <unistd.h>

#include "core/log.h"
#include "core/mem.h"
#include "core/text.h"

enum {
    SMALL_MAX = 2 * (NAME_MAX_BYTES + PACK_HEADER_MAX) + LAYER_HEAD_MAX,
    PAIRS_MAX = LAYER_BODY_MAX, /* bytes of the groups in one answer */
};

struct peer_call {
    struct layer_call call;
    struct dlist link;
    struct peer *peer; /* NULL: it is gone */
    uint64_t req;
    char base[NAME_MAX_BYTES + 1]; /* the answer to MAILBOX; else "" */
};

/* The answer to GROUPS, while it is gathered. */
struct peer_groups_call {
    struct peer_call base;
    struct buf pairs;
    uint32_t count;
    bool has_failed;
};

/* One RECEIVE. */
struct peer_receive {
    struct strmap_entry by_req;
    struct strmap_entry by_token;
    uint64_t req;
    uint64_t token;
    bool is_handed; /* answered: TAKEN or RETURN follows */
};

static struct slice number_key(const uint64_t *number)
{
    return slice_make(number, sizeof(*number));
}

/* ---- answers ---- */

static void commit(struct peer *peer, const uint8_t *start, const uint8_t *end)
{
    writer_commit(&peer->writer, (size_t)(end - start));
    peer_note_room(peer);
}

static void reply_done(struct peer *peer, uint64_t req)
{
    uint8_t *start = writer_reserve(&peer->writer, LAYER_HEAD_MAX);
    commit(peer, start, pack_nil(layer_write_reply_head(start, req, ERR_OK)));
}

/* A text of at most SMALL_MAX. */
static void reply_text(struct peer *peer, uint64_t req, enum err err, struct slice text)
{
    uint8_t *start = writer_reserve(&peer->writer, LAYER_HEAD_MAX + ERR_TEXT_MAX);
    commit(peer, start, pack_str(layer_write_reply_head(start, req, err), text));
}

/* Errors quote names, which may be cut inside a character. */
static struct slice whole_characters(struct slice text)
{
    while (text.len > 0 && !utf8_is_valid(text.ptr, text.len))
        text.len--;
    return text;
}

static void reply_error(struct peer *peer, uint64_t req, enum err err, const char *why)
{
    struct slice text = slice_str(why[0] != '\0' ? why : err_str(err));
    if (text.len > ERR_TEXT_MAX)
        text.len = ERR_TEXT_MAX;
    reply_text(peer, req, err, whole_characters(text));
}

static void on_call_done(struct layer_call *call, enum err err, const char *why)
{
    struct peer_call *c = CONTAINER_OF(call, struct peer_call, call);
    struct peer *peer = c->peer;
    dlist_remove(&c->link);
    if (peer != NULL && err != ERR_OK)
        reply_error(peer, c->req, err, why);
    else if (peer != NULL && c->base[0] != '\0')
        reply_text(peer, c->req, ERR_OK, slice_str(c->base));
    else if (peer != NULL)
        reply_done(peer, c->req);
    mem_free(c);
}

static void start_call(struct peer_call *c, struct peer *peer, uint64_t req)
{
    c->call.done = on_call_done;
    c->peer = peer;
    c->req = req;
    dlist_append(&peer->calls, &c->link);
}

static struct peer_call *new_call(struct peer *peer, uint64_t req)
{
    struct peer_call *c = mem_alloc(sizeof(*c));
    start_call(c, peer, req);
    return c;
}

/* ---- what the layer tells ---- */

static struct peer_layer *layer_of(struct layer_client *client)
{
    return CONTAINER_OF(client, struct peer_layer, client);
}

static bool has_room(struct layer_client *client, size_t bytes)
{
    (void)bytes;
    return !layer_of(client)->peer->is_full;
}

static void on_deliver(struct layer_client *client, const struct layer_delivery *delivery)
{
    struct peer_layer *l = layer_of(client);
    struct peer *peer = l->peer;
    const size_t bound = layer_deliver_bound(delivery);
    if (bound + delivery->body.len > LAYER_RECORD_MAX) {
        layer_stats(client->layer)->dropped_full++;
        return;
    }
    if (bound <= CHAIN_LARGE_BYTES) {
        uint8_t *start = writer_reserve(&peer->writer, bound);
        writer_commit(&peer->writer,
                      (size_t)(layer_write_deliver_head(start, l->number, delivery) - start));
    } else {
        uint8_t *start = mem_try(bound);
        if (start == NULL) {
            layer_stats(client->layer)->dropped_full++;
            return;
        }
        const uint8_t *end = layer_write_deliver_head(start, l->number, delivery);
        writer_append(&peer->writer, slice_make(start, (size_t)(end - start)));
        mem_free(start);
    }
    writer_append(&peer->writer, delivery->body);
    peer_note_room(peer);
}

static void on_message(struct layer_client *client, uint64_t token, struct slice channel,
                       struct slice body)
{
    struct peer_layer *l = layer_of(client);
    struct strmap_entry *entry = strmap_find(&l->by_token, number_key(&token));
    (void)channel;
    assert(entry != NULL); /* it was returned by layer_receive() and is not cancelled */
    struct peer_receive *receive = CONTAINER_OF(entry, struct peer_receive, by_token);
    receive->is_handed = true;
    uint8_t *start = writer_reserve(&l->peer->writer, LAYER_HEAD_MAX);
    const uint8_t *end = layer_write_message_head(start, l->number, receive->req, body.len);
    writer_commit(&l->peer->writer, (size_t)(end - start));
    writer_append(&l->peer->writer, body);
    peer_note_room(l->peer);
}

static void free_receive(struct peer_layer *l, struct peer_receive *receive)
{
    strmap_remove(&l->by_req, &receive->by_req);
    strmap_remove(&l->by_token, &receive->by_token);
    mem_free(receive);
}

static void on_failed(struct layer_client *client, uint64_t token, enum err err, const char *why)
{
    struct peer_layer *l = layer_of(client);
    struct strmap_entry *entry = strmap_find(&l->by_token, number_key(&token));
    assert(entry != NULL); /* as in on_message() */
    struct peer_receive *receive = CONTAINER_OF(entry, struct peer_receive, by_token);
    reply_error(l->peer, receive->req, err, why);
    free_receive(l, receive);
}

static void tell_member(struct layer_client *client, enum layer_told_op op, struct slice group,
                        struct slice channel)
{
    struct peer_layer *l = layer_of(client);
    uint8_t *start = writer_reserve(&l->peer->writer, SMALL_MAX);
    commit(l->peer, start, layer_write_member(start, op, l->number, group, channel));
}

static void on_add(struct layer_client *client, struct slice group, struct slice channel)
{
    tell_member(client, LAYER_TOLD_ADD, group, channel);
}

static void on_discard(struct layer_client *client, struct slice group, struct slice channel)
{
    tell_member(client, LAYER_TOLD_DISCARD, group, channel);
}

static void on_flushed(struct layer_client *client)
{
    struct peer_layer *l = layer_of(client);
    uint8_t *start = writer_reserve(&l->peer->writer, LAYER_HEAD_MAX);
    commit(l->peer, start, layer_write_flushed(start, l->number));
}

static const struct layer_client_ops client_ops = {
    .deliver = on_deliver,
    .message = on_message,
    .failed = on_failed,
    .add = on_add,
    .discard = on_discard,
    .flushed = on_flushed,
    .has_room = has_room,
};

/* ---- HELLO, OPEN ---- */

static bool handle_hello(struct peer *peer, const struct layer_record *r)
{
    if (peer->state != PEER_GREETING || r->number != LAYER_VERSION) {
        peer_refuse(peer, peer->state == PEER_GREETING
                              ? "another version of it: use the Python package of this server"
                              : "a second HELLO");
        return false;
    }
    peer_greeted(peer, r->pid);
    log_event(LOG_DEBUG, "layer.peer", "peer=%s pid=%lu", peer->name, (unsigned long)r->pid);
    uint8_t *start = writer_reserve(&peer->writer, LAYER_HEAD_MAX);
    commit(peer, start, layer_write_hello(start, (uint64_t)getpid()));
    return true;
}

static enum err attach(struct peer *peer, struct layer *layer, const struct layer_record *r,
                       struct err_text *why)
{
    struct peer_layer *l = mem_alloc(sizeof(*l));
    l->peer = peer;
    l->number = r->layer;
    l->client.ops = &client_ops;
    strmap_init(&l->by_req);
    strmap_init(&l->by_token);
    const enum err err = layer_attach(layer, &l->client, r->bases, r->base_count, why);
    if (err != ERR_OK) {
        mem_free(l);
        return err;
    }
    peer->layers[r->layer] = l;
    return ERR_OK;
}

/* False: the peer was closed. */
static bool tell_opened(struct peer *peer, uint32_t number, uint64_t req)
{
    const struct layer_client *client = &peer->layers[number]->client;
    struct buf opened;
    buf_init(&opened, LAYER_RECORD_MAX);
    if (layer_append_opened(&opened, number, req, client->base, layer_config(client->layer)) !=
        ERR_OK) {
        buf_deinit(&opened);
        peer_close(peer, "no memory for the settings of its layer");
        return false;
    }
    writer_append(&peer->writer, buf_slice(&opened));
    buf_deinit(&opened);
    return true;
}

/* OPENED, when messages for the peer's names would arrive. */
struct peer_open_call {
    struct peer_call base;
    uint32_t number;
    char name[NAME_MAX_BYTES + 1];
};

static void on_watched(struct layer_call *call, enum err err, const char *why)
{
    struct peer_call *base = CONTAINER_OF(call, struct peer_call, call);
    struct peer_open_call *c = CONTAINER_OF(base, struct peer_open_call, base);
    struct peer *peer = base->peer;
    (void)err; /* a Redis that is away is no reason not to open */
    (void)why;
    dlist_remove(&base->link);
    if (peer != NULL)
        (void)tell_opened(peer, c->number, base->req);
    mem_free(c);
}

static bool handle_open(struct peer *peer, const struct layer_record *r)
{
    struct err_text why = {.code = ERR_OK};
    struct layer *layer = NULL;
    if (peer->layers[r->layer] != NULL) {
        peer_refuse(peer, "a layer that is open already");
        return false;
    }
    enum err err = node_find_layer(peer->node, &layer, r->name, &why);
    if (err == ERR_OK)
        err = attach(peer, layer, r, &why);
    if (err != ERR_OK) {
        reply_error(peer, r->req, err, why.text);
        return true;
    }
    if (layer_config(layer)->backend != LAYER_PUBSUB)
        return tell_opened(peer, r->layer, r->req);
    /* There, what is sent to a name before Redis knows who listens is lost. */
    struct peer_open_call *c = mem_alloc(sizeof(*c));
    start_call(&c->base, peer, r->req);
    c->base.call.done = on_watched;
    c->number = r->layer;
    layer_mailbox(&peer->layers[r->layer]->client, slice_str("specific."), c->name, &c->base.call);
    return true;
}

/* ---- RECEIVE and what follows it ---- */

static struct peer_receive *find_receive(const struct peer_layer *l, uint64_t req)
{
    struct strmap_entry *entry = strmap_find(&l->by_req, number_key(&req));
    return entry != NULL ? CONTAINER_OF(entry, struct peer_receive, by_req) : NULL;
}

static bool handle_receive(struct peer_layer *l, const struct layer_record *r)
{
    struct err_text why = {.code = ERR_OK};
    if (find_receive(l, r->req) != NULL || l->by_req.count >= PEER_RECEIVES_MAX) {
        peer_refuse(l->peer, "RECEIVE with a number in use, or too many of them");
        return false;
    }
    const uint64_t token = layer_receive(&l->client, r->name, &why);
    if (token == 0) {
        reply_error(l->peer, r->req, ERR_INVALID, why.text);
        return true;
    }
    struct peer_receive *receive = mem_alloc(sizeof(*receive));
    receive->req = r->req;
    receive->token = token;
    strmap_add(&l->by_req, &receive->by_req, number_key(&receive->req));
    strmap_add(&l->by_token, &receive->by_token, number_key(&receive->token));
    return true;
}

/* One that was answered meanwhile is given back by the peer when it sees that. */
static void handle_cancel(struct peer_layer *l, const struct layer_record *r)
{
    struct peer_receive *receive = find_receive(l, r->req);
    if (receive == NULL || receive->is_handed)
        return;
    layer_cancel(&l->client, receive->token);
    free_receive(l, receive);
}

static bool handle_receipt(struct peer_layer *l, const struct layer_record *r)
{
    struct peer_receive *receive = find_receive(l, r->req);
    if (receive == NULL || !receive->is_handed) {
        peer_refuse(l->peer, "TAKEN or RETURN without a message");
        return false;
    }
    if (r->op == LAYER_TAKEN)
        layer_taken(&l->client, receive->token);
    else
        layer_put_back(&l->client, receive->token);
    free_receive(l, receive);
    return true;
}

/* ---- for people ---- */

static void visit_group(void *ctx, struct slice group, uint64_t members)
{
    struct peer_groups_call *c = ctx;
    if (c->has_failed || layer_append_pair(&c->pairs, group, members) != ERR_OK)
        c->has_failed = true;
    else
        c->count++;
}

static void on_groups_done(struct layer_call *call, enum err err, const char *why)
{
    struct peer_call *base = CONTAINER_OF(call, struct peer_call, call);
    struct peer_groups_call *c = CONTAINER_OF(base, struct peer_groups_call, base);
    struct peer *peer = base->peer;
    dlist_remove(&base->link);
    if (peer != NULL && (err != ERR_OK || c->has_failed)) {
        reply_error(peer, base->req, err != ERR_OK ? err : ERR_NOMEM,
                    err != ERR_OK ? why : "more groups than one answer has room for");
    } else if (peer != NULL) {
        uint8_t *start = writer_reserve(&peer->writer, LAYER_HEAD_MAX);
        uint8_t *end = layer_write_reply_head(start, base->req, ERR_OK);
        end = pack_array(end, c->count);
        writer_commit(&peer->writer, (size_t)(end - start));
        writer_append(&peer->writer, buf_slice(&c->pairs));
        peer_note_room(peer);
    }
    buf_deinit(&c->pairs);
    mem_free(c);
}

static void handle_groups(struct peer_layer *l, const struct layer_record *r)
{
    struct peer_groups_call *c = mem_alloc(sizeof(*c));
    start_call(&c->base, l->peer, r->req);
    c->base.call.done = on_groups_done;
    buf_init(&c->pairs, PAIRS_MAX);
    layer_groups(l->client.layer, visit_group, c, &c->base.call);
}

static void handle_stats(struct peer_layer *l, const struct layer_record *r)
{
    const struct layer_stats *stats = layer_stats(l->client.layer);
    const struct {
        const char *name;
        uint64_t number;
    } rows[] = {
#define STAT(name, help) {#name, stats->name},
#include "channel_layer/layer_stats.def"
#undef STAT
    };
    const size_t count = sizeof(rows) / sizeof(rows[0]);
    struct peer *peer = l->peer;
    uint8_t *start = writer_reserve(&peer->writer, CHAIN_LARGE_BYTES);
    uint8_t *end = layer_write_reply_head(start, r->req, ERR_OK);
    end = pack_array(end, (uint32_t)count);
    for (size_t i = 0; i < count; i++)
        end = pack_uint(pack_str(pack_array(end, 2), slice_str(rows[i].name)), rows[i].number);
    commit(peer, start, end);
}

static void handle_dropped(struct peer_layer *l, const struct layer_record *r)
{
    struct layer_stats *stats = layer_stats(l->client.layer);
    if (r->has_name)
        stats->dropped_full += r->number;
    else
        stats->dropped_unknown += r->number;
    log_event(LOG_DEBUG, "layer.dropped", "peer=%s count=%lu reason=\"%s\"", l->peer->name,
              (unsigned long)r->number,
              r->has_name ? "the queue of its channel is full" : "no such channel");
}

/* ---- every record ---- */

static void handle_mailbox(struct peer_layer *l, const struct layer_record *r)
{
    struct peer_call *c = new_call(l->peer, r->req);
    layer_mailbox(&l->client, r->name, c->base, &c->call);
}

static void handle_discard(struct peer_layer *l, const struct layer_record *r)
{
    struct peer_call *c = r->has_req ? new_call(l->peer, r->req) : NULL;
    layer_group_discard(&l->client, r->name, r->channel, c != NULL ? &c->call : NULL);
}

/* What the layer answers by a call and nothing else. */
static void handle_request(struct peer_layer *l, const struct layer_record *r)
{
    struct layer_client *client = &l->client;
    struct layer_call *call = &new_call(l->peer, r->req)->call;
    switch ((int)r->op) {
    case LAYER_SEND:
        layer_send(client, r->name, r->body, call);
        break;
    case LAYER_GROUP_SEND:
        layer_group_send(client, r->name, r->body, call);
        break;
    case LAYER_JOIN:
        layer_join(client, r->name, call);
        break;
    case LAYER_LEAVE:
        layer_leave(client, r->name, call);
        break;
    case LAYER_GROUP_ADD:
        layer_group_add(client, r->name, r->channel, call);
        break;
    default: /* LAYER_FLUSH */
        layer_flush(client, call);
        break;
    }
}

static bool handle_for_layer(struct peer_layer *l, const struct layer_record *r)
{
    switch (r->op) {
    case LAYER_SEND:
    case LAYER_GROUP_SEND:
    case LAYER_JOIN:
    case LAYER_LEAVE:
    case LAYER_GROUP_ADD:
    case LAYER_FLUSH:
        handle_request(l, r);
        return true;
    case LAYER_GROUP_DISCARD:
        handle_discard(l, r);
        return true;
    case LAYER_MAILBOX:
        handle_mailbox(l, r);
        return true;
    case LAYER_RECEIVE:
        return handle_receive(l, r);
    case LAYER_CANCEL:
        handle_cancel(l, r);
        return true;
    case LAYER_TAKEN:
    case LAYER_RETURN:
        return handle_receipt(l, r);
    case LAYER_ACCEPTED:
        layer_accepted(&l->client, r->number, r->flag);
        return true;
    case LAYER_DROPPED:
        handle_dropped(l, r);
        return true;
    case LAYER_GROUPS:
        handle_groups(l, r);
        return true;
    case LAYER_STATS:
        handle_stats(l, r);
        return true;
    case LAYER_HELLO:
    case LAYER_OPEN:
    case LAYER_PING:
    case LAYER_LISTEN:
    case LAYER_OPS:
        break; /* not about a layer; handled by the caller */
    }
    return true;
}

static bool handle_listen(struct peer *peer, const struct layer_record *r)
{
    if (!peer->is_worker) {
        peer_refuse(peer, "LISTEN from a process that is no worker");
        return false;
    }
    node_listen_at(peer->node, r->name);
    return true;
}

bool peer_handle(struct peer *peer, const struct layer_record *record)
{
    if (record->op == LAYER_HELLO)
        return handle_hello(peer, record);
    if (peer->state != PEER_OPEN) {
        peer_refuse(peer, "it does not begin with HELLO");
        return false;
    }
    if (record->op == LAYER_OPEN)
        return handle_open(peer, record);
    if (record->op == LAYER_PING) {
        reply_done(peer, record->req);
        return true;
    }
    if (record->op == LAYER_LISTEN)
        return handle_listen(peer, record);
    struct peer_layer *l = peer->layers[record->layer];
    if (l == NULL) {
        peer_refuse(peer, "a layer that is not open");
        return false;
    }
    return handle_for_layer(l, record);
}

void peer_drop_layers(struct peer *peer)
{
    struct dlist *node = NULL;
    while ((node = dlist_take_first(&peer->calls)) != NULL)
        CONTAINER_OF(node, struct peer_call, link)->peer = NULL;
    for (size_t i = 0; i < LAYER_NUMBER_MAX; i++) {
        struct peer_layer *l = peer->layers[i];
        if (l == NULL)
            continue;
        layer_detach(&l->client);
        struct strmap_entry *next = NULL;
        for (struct strmap_entry *e = strmap_next(&l->by_req, NULL); e != NULL; e = next) {
            next = strmap_next(&l->by_req, e);
            free_receive(l, CONTAINER_OF(e, struct peer_receive, by_req));
        }
        strmap_deinit(&l->by_req);
        strmap_deinit(&l->by_token);
        mem_free(l);
        peer->layers[i] = NULL;
    }
}
