/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The way of a message out: to a client of this node, to a queue of it, or to the backend.
 *
 * A send to a client is delivered with a ticket; the call ends when the client says whether the
 * channel had room, or LAYER_TICKET_MS later. All tickets live equally long, so that the list of
 * them is in the order of their ends and one timer serves it.
 */
#include "channel_layer/layer.h"

#include "channel_layer/deliveries.h"
#include "channel_layer/hub.h"
#include "channel_layer/layer_groups.h"
#include "core/mem.h"

enum { NAME_SHOWN = 120 }; /* bytes of a refused name that an error shows */

/* ---- what a client may say ---- */

static int shown(struct slice name)
{
    return name.len < NAME_SHOWN ? (int)name.len : NAME_SHOWN;
}

bool layer_is_channel_name(const struct layer *layer, struct slice name)
{
    if (name_is_channel(name))
        return true;
    const struct slice prefix = slice_str(layer->config->prefix);
    return layer->config->backend == LAYER_PUBSUB && name.len > prefix.len &&
           name.len <= NAME_MAX_BYTES && slice_eq(slice_make(name.ptr, prefix.len), prefix) &&
           name_is_channel(slice_make(name.ptr + prefix.len, name.len - prefix.len));
}

bool layer_check_group(struct layer *layer, struct slice group, struct layer_call *call)
{
    if (name_is_group(group))
        return true;
    layer_end(layer, call, ERR_INVALID,
              "group \"%.*s\": a name of less than 100 letters, digits, '-', '_' and '.' of ASCII "
              "was expected",
              shown(group), (const char *)group.ptr);
    return false;
}

bool layer_check_channel(struct layer *layer, struct slice channel, struct layer_call *call)
{
    if (!layer_is_channel_name(layer, channel)) {
        layer_end(layer, call, ERR_INVALID,
                  "channel \"%.*s\": a name of less than 100 letters, digits, '-', '_' and '.' of "
                  "ASCII was expected, with at most one '!' for a specific channel",
                  shown(channel), (const char *)channel.ptr);
        return false;
    }
    if (!name_is_reserved(channel))
        return true;
    layer_end(layer, call, ERR_INVALID, "channel \"%.*s\": this name is reserved for the layer",
              shown(channel), (const char *)channel.ptr);
    return false;
}

static bool check_body(struct layer *layer, struct slice body, struct layer_call *call)
{
    struct err_text why;
    const enum err err = wire_check(&layer->wire, body, &why);
    if (err == ERR_OK)
        return true;
    layer_end(layer, call, err, "message: %s", why.text);
    return false;
}

/* ---- tickets ---- */

struct layer_ticket {
    struct strmap_entry by_id;
    struct dlist link; /* layer->ticket_list */
    uint64_t id;
    uint64_t deadline_ms;
    const struct layer_client *client; /* NULL: it is gone */
    struct layer_call *call;
};

static struct slice id_key(const uint64_t *id)
{
    return slice_make(id, sizeof(*id));
}

static void on_ticket_timer(uv_timer_t *timer);

static struct layer_ticket *make_ticket(struct layer *layer, const struct layer_client *client,
                                        struct layer_call *call)
{
    struct layer_ticket *ticket = mem_alloc(sizeof(*ticket));
    ticket->id = ++layer->next_ticket;
    ticket->deadline_ms = layer_now_ms(layer) + LAYER_TICKET_MS;
    ticket->client = client;
    ticket->call = call;
    if (dlist_is_empty(&layer->ticket_list))
        uv_timer_start(&layer->ticket_timer, on_ticket_timer, LAYER_TICKET_MS, 0);
    dlist_append(&layer->ticket_list, &ticket->link);
    strmap_add(&layer->tickets, &ticket->by_id, id_key(&ticket->id));
    return ticket;
}

static void end_ticket(struct layer *layer, struct layer_ticket *ticket, enum err err)
{
    dlist_remove(&ticket->link);
    strmap_remove(&layer->tickets, &ticket->by_id);
    if (err == ERR_OK) {
        layer->stats.sent++;
        layer_end_ok(layer, ticket->call);
    } else if (err == ERR_FULL) {
        layer->stats.full++;
        layer_end(layer, ticket->call, err, "the channel is over capacity");
    } else {
        layer_end(layer, ticket->call, err, "the layer ends");
    }
    mem_free(ticket);
}

static void on_ticket_timer(uv_timer_t *timer)
{
    struct layer *layer = timer->data;
    const uint64_t now_ms = layer_now_ms(layer);
    while (!dlist_is_empty(&layer->ticket_list)) {
        struct layer_ticket *ticket =
            CONTAINER_OF(layer->ticket_list.next, struct layer_ticket, link);
        if (ticket->deadline_ms > now_ms) {
            uv_timer_start(timer, on_ticket_timer, ticket->deadline_ms - now_ms, 0);
            return;
        }
        end_ticket(layer, ticket, ERR_OK);
    }
}

void layer_accepted(struct layer_client *client, uint64_t id, bool is_full)
{
    struct layer *layer = client->layer;
    struct strmap_entry *entry = strmap_find(&layer->tickets, id_key(&id));
    if (entry == NULL)
        return; /* its time was over */
    struct layer_ticket *ticket = CONTAINER_OF(entry, struct layer_ticket, by_id);
    if (ticket->client == client)
        end_ticket(layer, ticket, is_full ? ERR_FULL : ERR_OK);
}

void layer_drop_tickets(struct layer *layer, const struct layer_client *client)
{
    struct dlist *next = NULL;
    for (struct dlist *n = layer->ticket_list.next; n != &layer->ticket_list; n = next) {
        struct layer_ticket *ticket = CONTAINER_OF(n, struct layer_ticket, link);
        next = n->next;
        if (client == NULL)
            end_ticket(layer, ticket, ERR_CLOSED);
        else if (ticket->client == client)
            end_ticket(layer, ticket, ERR_OK);
    }
}

void layer_tickets_deinit(struct layer *layer)
{
    strmap_deinit(&layer->tickets);
}

/* ---- send ---- */

static void end_full(struct layer *layer, struct slice channel, struct layer_call *call)
{
    layer->stats.full++;
    layer_end(layer, call, ERR_FULL, "channel \"%.*s\" is over capacity", shown(channel),
              (const char *)channel.ptr);
}

static void send_to_client(struct layer_client *client, struct slice channel, struct slice body,
                           struct layer_call *call)
{
    struct layer *layer = client->layer;
    if (!client->ops->has_room(client, body.len)) {
        end_full(layer, channel, call);
        return;
    }
    const struct layer_delivery delivery = {
        .ticket = make_ticket(layer, client, call)->id,
        .channels = &channel,
        .channel_count = 1,
        .body = body,
    };
    layer->stats.delivered++;
    client->ops->deliver(client, &delivery);
}

static void send_to_queue(struct layer *layer, struct slice channel, struct slice body,
                          struct layer_call *call)
{
    const enum err err = queues_put(&layer->queues, channel, body);
    if (err == ERR_FULL) {
        end_full(layer, channel, call);
    } else if (err != ERR_OK) {
        layer_end(layer, call, err, "no memory for a message of %zu bytes", body.len);
    } else {
        layer->stats.sent++;
        layer_end_ok(layer, call);
    }
}

static void after_send(struct layer_op *op, enum err err, const char *why)
{
    (void)why;
    if (err == ERR_OK)
        op->layer->stats.sent++;
    else if (err == ERR_FULL)
        op->layer->stats.full++;
}

void layer_send(struct layer_client *from, struct slice channel, struct slice body,
                struct layer_call *call)
{
    struct layer *layer = from->layer;
    if (!layer_check_channel(layer, channel, call) || !check_body(layer, body, call))
        return;
    struct layer_client *client = layer_client_of(layer, channel);
    if (client != NULL) {
        send_to_client(client, channel, body, call);
    } else if (layer_is_mailbox_here(layer, channel)) { /* of a client that is gone */
        layer->stats.sent++;
        layer->stats.dropped_unknown++;
        layer_end_ok(layer, call);
    } else if (layer->backend != NULL) {
        layer->backend->ops->send(layer->backend, channel, body,
                                  &layer_op_new(layer, call, after_send)->call);
    } else {
        send_to_queue(layer, channel, body, call);
    }
}

/* ---- group_send ---- */

/* Without a backend. Full queues are skipped, as channels_redis does. */
static void send_to_group_here(struct layer *layer, struct layer_group *group, struct slice body)
{
    struct deliveries d;
    layer_group_expire(group);
    if (dlist_is_empty(&group->single_list)) {
        deliveries_give_group(group, body);
        return;
    }
    deliveries_init(&d, layer);
    deliveries_add_group(&d, group);
    for (struct dlist *n = group->single_list.next; n != &group->single_list; n = n->next) {
        const struct slice channel = CONTAINER_OF(n, struct group_single, link)->name;
        struct layer_client *client = layer_client_of(layer, channel);
        if (client != NULL)
            deliveries_add(&d, client, channel);
        else if (layer_is_mailbox_here(layer, channel))
            layer->stats.dropped_unknown++;
        else if (queues_put(&layer->queues, channel, body) != ERR_OK)
            layer->stats.group_full++;
    }
    deliveries_send(&d, body);
    deliveries_deinit(&d);
}

/* A group_send on its way through the backend, with what is delivered here when that is done. */
struct group_send {
    struct layer_op op;
    struct backend_own own;
    struct buf found; /* members of this node that the backend found singly: length, name, … */
    struct slice group;
    struct slice body;
    uint8_t bytes[];
};

enum { FOUND_MAX = 64 * 1024 * 1024 };

static void on_found(struct backend_own *own, struct slice channel)
{
    struct group_send *send = CONTAINER_OF(own, struct group_send, own);
    const uint16_t len = (uint16_t)channel.len;
    if (channel.len > NAME_MAX_BYTES)
        return; /* nobody's */
    if (buf_reserve(&send->found, sizeof(len) + channel.len) != ERR_OK ||
        buf_append(&send->found, &len, sizeof(len)) != ERR_OK ||
        buf_append(&send->found, channel.ptr, channel.len) != ERR_OK)
        send->op.layer->stats.dropped_full++;
}

static void add_found(struct deliveries *d, const struct buf *found)
{
    uint16_t len = 0;
    for (size_t at = 0; at < found->len; at += sizeof(len) + len) {
        memcpy(&len, found->ptr + at, sizeof(len));
        const struct slice channel = slice_make(found->ptr + at + sizeof(len), len);
        struct layer_client *client = layer_client_of(d->layer, channel);
        if (client != NULL)
            deliveries_add(d, client, channel);
        else
            d->layer->stats.dropped_unknown++;
    }
}

static void after_group_send(struct layer_op *op, enum err err, const char *why)
{
    struct group_send *send = CONTAINER_OF(op, struct group_send, op);
    struct layer *layer = op->layer;
    (void)why;
    if (err == ERR_OK)
        layer->stats.group_sent++;
    if (err == ERR_OK && !layer->backend->ops->carries_back) {
        struct layer_group *group = layer_find_group(layer, send->group);
        struct deliveries d;
        deliveries_init(&d, layer);
        add_found(&d, &send->found);
        if (group != NULL && dlist_is_empty(&d.touched))
            deliveries_give_group(group, send->body);
        else if (group != NULL)
            deliveries_add_group(&d, group);
        deliveries_send(&d, send->body);
        deliveries_deinit(&d);
    }
    buf_deinit(&send->found);
}

static void send_to_group(struct layer *layer, struct slice group, struct slice body,
                          struct layer_call *call)
{
    struct group_send *send = mem_try(sizeof(*send) + group.len + body.len);
    if (send == NULL) {
        layer_end(layer, call, ERR_NOMEM, "no memory for a message of %zu bytes", body.len);
        return;
    }
    *send = (struct group_send){.own = {on_found}};
    layer_op_init(&send->op, layer, call, after_group_send);
    buf_init(&send->found, FOUND_MAX);
    memcpy(send->bytes, group.ptr, group.len);
    memcpy(send->bytes + group.len, body.ptr, body.len);
    send->group = slice_make(send->bytes, group.len);
    send->body = slice_make(send->bytes + group.len, body.len);
    layer->backend->ops->group_send(layer->backend, send->group, send->body, &send->op.call,
                                    &send->own);
}

void layer_group_send(struct layer_client *from, struct slice group, struct slice body,
                      struct layer_call *call)
{
    struct layer *layer = from->layer;
    if (!layer_check_group(layer, group, call) || !check_body(layer, body, call))
        return;
    if (layer->backend != NULL) {
        send_to_group(layer, group, body, call);
        return;
    }
    struct layer_group *g = layer_find_group(layer, group);
    if (g != NULL)
        send_to_group_here(layer, g, body);
    layer->stats.group_sent++;
    layer_end_ok(layer, call);
}
