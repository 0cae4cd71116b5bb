/* SPDX-License-Identifier: BSD-3-Clause */
#include "channel_layer/node/peer_layer.h"

#include <assert.h>

#include "channel_layer/node/peer_answers.h"
#include "core/mem.h"

enum { SMALL_MAX = 2 * (NAME_MAX_BYTES + PACK_HEADER_MAX) + LAYER_HEAD_MAX };

static struct slice number_key(const uint64_t *number)
{
    return slice_make(number, sizeof(*number));
}

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

/* ---- receives ---- */

/* One RECEIVE. */
struct peer_receive {
    struct strmap_entry by_req;
    struct strmap_entry by_token;
    uint64_t req;
    uint64_t token;
    bool is_handed; /* answered: TAKEN or RETURN follows */
};

static void free_receive(struct peer_layer *l, struct peer_receive *receive)
{
    strmap_remove(&l->by_req, &receive->by_req);
    strmap_remove(&l->by_token, &receive->by_token);
    mem_free(receive);
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

static void on_failed(struct layer_client *client, uint64_t token, enum err err, const char *why)
{
    struct peer_layer *l = layer_of(client);
    struct strmap_entry *entry = strmap_find(&l->by_token, number_key(&token));
    assert(entry != NULL); /* as in on_message() */
    struct peer_receive *receive = CONTAINER_OF(entry, struct peer_receive, by_token);
    peer_reply_error(l->peer, receive->req, err, why);
    free_receive(l, receive);
}

static struct peer_receive *find_receive(const struct peer_layer *l, uint64_t req)
{
    struct strmap_entry *entry = strmap_find(&l->by_req, number_key(&req));
    return entry != NULL ? CONTAINER_OF(entry, struct peer_receive, by_req) : NULL;
}

bool peer_layer_receive(struct peer_layer *l, const struct layer_record *r)
{
    struct err_text why = {.code = ERR_OK};
    if (find_receive(l, r->req) != NULL || l->by_req.count >= PEER_RECEIVES_MAX) {
        peer_refuse(l->peer, "RECEIVE with a number in use, or too many of them");
        return false;
    }
    const uint64_t token = layer_receive(&l->client, r->name, &why);
    if (token == 0) {
        peer_reply_error(l->peer, r->req, ERR_INVALID, why.text);
        return true;
    }
    struct peer_receive *receive = mem_alloc(sizeof(*receive));
    receive->req = r->req;
    receive->token = token;
    strmap_add(&l->by_req, &receive->by_req, number_key(&receive->req));
    strmap_add(&l->by_token, &receive->by_token, number_key(&receive->token));
    return true;
}

void peer_layer_cancel(struct peer_layer *l, const struct layer_record *r)
{
    struct peer_receive *receive = find_receive(l, r->req);
    if (receive == NULL || receive->is_handed)
        return;
    layer_cancel(&l->client, receive->token);
    free_receive(l, receive);
}

bool peer_layer_receipt(struct peer_layer *l, const struct layer_record *r)
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

/* ---- groups ---- */

static void tell_member(struct layer_client *client, enum layer_told_op op, struct slice group,
                        struct slice channel)
{
    struct peer_layer *l = layer_of(client);
    uint8_t *start = writer_reserve(&l->peer->writer, SMALL_MAX);
    peer_commit(l->peer, start, layer_write_member(start, op, l->number, group, channel));
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
    peer_commit(l->peer, start, layer_write_flushed(start, l->number));
}

/* ---- life ---- */

static const struct layer_client_ops client_ops = {
    .deliver = on_deliver,
    .message = on_message,
    .failed = on_failed,
    .add = on_add,
    .discard = on_discard,
    .flushed = on_flushed,
    .has_room = has_room,
};

enum err peer_layer_open(struct peer *peer, struct layer *layer, const struct layer_record *r,
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

void peer_layer_close(struct peer_layer *l)
{
    struct strmap_entry *next = NULL;
    layer_detach(&l->client);
    for (struct strmap_entry *e = strmap_next(&l->by_req, NULL); e != NULL; e = next) {
        next = strmap_next(&l->by_req, e);
        free_receive(l, CONTAINER_OF(e, struct peer_receive, by_req));
    }
    strmap_deinit(&l->by_req);
    strmap_deinit(&l->by_token);
    mem_free(l);
}
