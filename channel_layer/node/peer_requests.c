/* SPDX-License-Identifier: BSD-3-Clause
 *
 * What a peer asks for: every record, and what is done about it.
 */
#include "channel_layer/node/peer.h"

#include <inttypes.h>
#include <unistd.h>

#include "channel_layer/node/peer_answers.h"
#include "channel_layer/node/peer_layer.h"
#include "core/log.h"
#include "core/mem.h"

enum { PAIRS_MAX = LAYER_BODY_MAX }; /* bytes of the groups in one answer */

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
    peer_commit(peer, start, layer_write_hello(start, (uint64_t)getpid()));
    return true;
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
        err = peer_layer_open(peer, layer, r, &why);
    if (err != ERR_OK) {
        peer_reply_error(peer, r->req, err, why.text);
        return true;
    }
    if (layer_config(layer)->backend != LAYER_PUBSUB)
        return tell_opened(peer, r->layer, r->req);
    /* There, what is sent to a name before Redis knows who listens is lost. */
    struct peer_open_call *c = mem_alloc(sizeof(*c));
    peer_call_start(&c->base, peer, r->req);
    c->base.call.done = on_watched;
    c->number = r->layer;
    layer_mailbox(&peer->layers[r->layer]->client, slice_str("specific."), c->name, &c->base.call);
    return true;
}

/* ---- for people ---- */

/* The answer to GROUPS, while it is gathered. */
struct peer_groups_call {
    struct peer_call base;
    struct buf pairs;
    uint32_t count;
    bool has_failed;
};

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
        peer_reply_error(peer, base->req, err != ERR_OK ? err : ERR_NOMEM,
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
    peer_call_start(&c->base, l->peer, r->req);
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
    peer_commit(peer, start, end);
}

/* One without a channel was for a name that nobody listens to any more. */
static void handle_dropped(struct peer_layer *l, const struct layer_record *r)
{
    struct layer_stats *stats = layer_stats(l->client.layer);
    uint64_t reports = 0; /* held back; the log is told of messages, of which each has some */
    if (!r->has_name) {
        stats->dropped_unknown += r->number;
        log_event(LOG_DEBUG, "layer.dropped", "peer=%s count=%" PRIu64 " text=\"no such channel\"",
                  l->peer->name, r->number);
        return;
    }
    stats->dropped_full += r->number;
    l->full_untold += r->number;
    if (!notice_is_due(&l->full_notice, loop_now_ms(node_loop(l->peer->node)), &reports))
        return;
    log_event(LOG_WARN, "layer.dropped",
              "peer=%s count=%" PRIu64 " channel=\"%.*s\""
              " text=\"messages come faster than they are received: those above the capacity are "
              "dropped\"",
              l->peer->name, l->full_untold, (int)r->name.len, (const char *)r->name.ptr);
    l->full_untold = 0;
}

/* ---- every record ---- */

static void handle_mailbox(struct peer_layer *l, const struct layer_record *r)
{
    struct peer_call *c = peer_call_new(l->peer, r->req);
    layer_mailbox(&l->client, r->name, c->base, &c->call);
}

static void handle_discard(struct peer_layer *l, const struct layer_record *r)
{
    struct peer_call *c = r->has_req ? peer_call_new(l->peer, r->req) : NULL;
    layer_group_discard(&l->client, r->name, r->channel, c != NULL ? &c->call : NULL);
}

/* What the layer answers by a call and nothing else. */
static void handle_request(struct peer_layer *l, const struct layer_record *r)
{
    struct layer_client *client = &l->client;
    struct layer_call *call = &peer_call_new(l->peer, r->req)->call;
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
        return peer_layer_receive(l, r);
    case LAYER_CANCEL:
        peer_layer_cancel(l, r);
        return true;
    case LAYER_TAKEN:
    case LAYER_RETURN:
        return peer_layer_receipt(l, r);
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
        peer_reply_done(peer, record->req);
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
    peer_calls_forget(peer);
    for (size_t i = 0; i < LAYER_NUMBER_MAX; i++) {
        if (peer->layers[i] == NULL)
            continue;
        peer_layer_close(peer->layers[i]);
        peer->layers[i] = NULL;
    }
}
