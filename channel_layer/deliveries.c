/* SPDX-License-Identifier: BSD-3-Clause */
#include "channel_layer/deliveries.h"

#include "channel_layer/layer_groups.h"
#include "core/mem.h"

enum { HITS_FIRST = 64, NAMES_MAX = 64 * 1024 * 1024 };

/* False: it has no room, which was counted. */
static bool give(struct layer_client *client, const struct layer_delivery *delivery)
{
    struct layer_stats *stats = &client->layer->stats;
    if (!client->ops->has_room(client, delivery->body.len)) {
        stats->dropped_full++;
        return false;
    }
    stats->delivered++;
    client->ops->deliver(client, delivery);
    return true;
}

void deliveries_give_group(const struct layer_group *group, struct slice body)
{
    const struct layer_delivery delivery = {.groups = &group->name, .group_count = 1, .body = body};
    for (size_t i = 0; i < group->count; i++)
        (void)give(group->members[i]->client, &delivery);
}

void deliveries_init(struct deliveries *d, struct layer *layer)
{
    *d = (struct deliveries){.layer = layer, .number = ++layer->deliveries};
    buf_init(&d->names, NAMES_MAX);
    dlist_init(&d->touched);
}

static void forget(struct deliveries *d)
{
    struct dlist *node = NULL;
    while ((node = dlist_take_first(&d->touched)) != NULL) {
        struct layer_client *client = CONTAINER_OF(node, struct layer_client, touched);
        client->first_hit = client->last_hit = 0;
    }
    d->count = 0;
    d->names.len = 0;
    d->number = ++d->layer->deliveries;
}

void deliveries_deinit(struct deliveries *d)
{
    forget(d);
    buf_deinit(&d->names);
    mem_free(d->hits);
    d->hits = NULL;
    d->room = 0;
}

static bool make_room(struct deliveries *d)
{
    if (d->count < d->room)
        return true;
    if (d->count >= DELIVERY_HITS_MAX)
        return false;
    const size_t room = d->room == 0 ? HITS_FIRST : d->room * 2;
    struct delivery_hit *hits = mem_try_resize(d->hits, room * sizeof(*hits));
    if (hits == NULL)
        return false;
    d->hits = hits;
    d->room = room;
    return true;
}

static void miss(struct deliveries *d)
{
    d->layer->stats.dropped_full++;
}

/* @group: NULL for the channel whose name is the last @len bytes of names. */
static void add_hit(struct deliveries *d, struct layer_client *client,
                    const struct layer_group *group, size_t len)
{
    if (d->count == 0)
        d->count = 1; /* the hit that is none */
    if (!make_room(d)) {
        miss(d);
        return;
    }
    const size_t hit = d->count++;
    d->hits[hit] = (struct delivery_hit){.group = group, .at = d->names.len - len, .len = len};
    if (client->first_hit == 0) {
        client->first_hit = hit;
        dlist_append(&d->touched, &client->touched);
    } else {
        d->hits[client->last_hit].next = hit;
    }
    client->last_hit = hit;
}

void deliveries_add(struct deliveries *d, struct layer_client *client, struct slice channel)
{
    if (buf_append(&d->names, channel.ptr, channel.len) == ERR_OK)
        add_hit(d, client, NULL, channel.len);
    else
        miss(d);
}

void deliveries_add_group(struct deliveries *d, struct layer_group *group)
{
    if (group->delivery == d->number)
        return;
    group->delivery = d->number;
    for (size_t i = 0; i < group->count; i++)
        add_hit(d, group->members[i]->client, group, 0);
}

/* Collects the client's names of one kind at @out. */
static size_t collect(const struct deliveries *d, const struct layer_client *client, bool is_group,
                      struct slice *out)
{
    size_t count = 0;
    for (size_t hit = client->first_hit; hit != 0; hit = d->hits[hit].next)
        if ((d->hits[hit].group != NULL) == is_group)
            out[count++] = is_group ? d->hits[hit].group->name
                                    : slice_make(d->names.ptr + d->hits[hit].at, d->hits[hit].len);
    return count;
}

void deliveries_send(struct deliveries *d, struct slice body)
{
    struct slice *names = d->count > 1 ? mem_try(d->count * sizeof(*names)) : NULL;
    for (struct dlist *n = d->touched.next; n != &d->touched; n = n->next) {
        struct layer_client *client = CONTAINER_OF(n, struct layer_client, touched);
        if (names == NULL) {
            miss(d);
            continue;
        }
        struct layer_delivery delivery = {.groups = names, .body = body};
        delivery.group_count = collect(d, client, true, names);
        delivery.channels = names + delivery.group_count;
        delivery.channel_count = collect(d, client, false, names + delivery.group_count);
        (void)give(client, &delivery);
    }
    mem_free(names);
    forget(d);
}

/* ---- what the backend brings ---- */

/* Aggregates count in our own mailbox only: what was sent to that of a node before us was sent to
 * ours, too, once its groups were joined again. */
static struct layer_group *find_aggregate(const struct layer *layer, struct slice name,
                                          enum name_kind kind, struct slice rest)
{
    const struct slice mailbox = name_nonlocal(name);
    if (mailbox.len < NODE_ID_CHARS + 1 ||
        memcmp(mailbox.ptr + mailbox.len - NODE_ID_CHARS - 1, layer->node, NODE_ID_CHARS) != 0)
        return NULL;
    if (kind == NAME_GROUP)
        return layer_find_group(layer, rest);
    struct strmap_entry *entry = strmap_find(&layer->digests, rest);
    return entry != NULL ? CONTAINER_OF(entry, struct layer_group, by_digest) : NULL;
}

/* False: nobody here has that name. */
static bool add_name(struct deliveries *d, struct slice name, bool *is_control)
{
    struct slice rest = {0};
    struct layer_client *client = layer_client_of(d->layer, name);
    if (client != NULL) {
        deliveries_add(d, client, name);
        return true;
    }
    if (!name_is_specific(name))
        return false;
    const enum name_kind kind = name_local_kind(name_local(name), &rest);
    switch (kind) {
    case NAME_CHANNEL:
        return false;
    case NAME_CONTROL:
        *is_control = true;
        return true;
    case NAME_GROUP:
    case NAME_GROUP_DIGEST:
        break;
    }
    struct layer_group *group = find_aggregate(d->layer, name, kind, rest);
    if (group == NULL || group->count == 0)
        return false;
    deliveries_add_group(d, group);
    return true;
}

void layer_arrived(struct layer *layer, struct backend_names *names, struct slice body)
{
    struct deliveries d;
    struct slice name = {0};
    bool is_control = false;
    bool is_known = false;
    layer->stats.received++;
    deliveries_init(&d, layer);
    while (names->next(names, &name))
        is_known = add_name(&d, name, &is_control) || is_known;
    if (!is_known)
        layer->stats.dropped_unknown++;
    deliveries_send(&d, body);
    deliveries_deinit(&d);
    if (is_control) /* the last: groups may go with it */
        layer_control_arrived(layer, body);
}

void layer_group_arrived(struct layer *layer, struct slice group, struct slice body)
{
    const struct layer_group *g = layer_find_group(layer, group);
    layer->stats.received++;
    if (g != NULL && g->count > 0)
        deliveries_give_group(g, body);
    else
        layer->stats.dropped_unknown++;
}
