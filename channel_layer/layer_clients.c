/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Whose a name is. A client appends CHANNEL_REST_CHARS hexadecimal digits to one of its bases, so a
 * name without them is looked up as it stands: one search, whatever the backend's form of names.
 *
 * A mailbox is what the backend reads: specific.<node>!, shared by all clients of the node, where
 * names have a '!'; in pubsub the base of each client, which ends with it.
 */
#include "channel_layer/layer.h"

#include <stdio.h>

#include "channel_layer/hub.h"
#include "channel_layer/layer_groups.h"
#include "core/mem.h"

struct layer_base {
    struct strmap_entry by_name;
    struct dlist link; /* client->bases */
    struct layer_client *client;
    char name[NAME_MAX_BYTES + 1];
};

struct layer_mailbox_watch {
    struct strmap_entry by_name;
    struct dlist link; /* layer->mailbox_list */
    char name[NAME_MAX_BYTES + 1];
};

static const char some_rest[] = "0000000000000000000";
static const char first_prefix[] = "specific";

static bool is_hex(const uint8_t *at, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (!((at[i] >= '0' && at[i] <= '9') || (at[i] >= 'a' && at[i] <= 'f')))
            return false;
    return true;
}

static struct layer_base *find_base(const struct layer *layer, struct slice name)
{
    struct strmap_entry *entry = strmap_find(&layer->bases, name);
    return entry != NULL ? CONTAINER_OF(entry, struct layer_base, by_name) : NULL;
}

struct layer_client *layer_client_of(const struct layer *layer, struct slice channel)
{
    if (channel.len <= CHANNEL_REST_CHARS || channel.len > NAME_MAX_BYTES)
        return NULL;
    const size_t len = channel.len - CHANNEL_REST_CHARS;
    const struct layer_base *base = find_base(layer, slice_make(channel.ptr, len));
    return base != NULL && is_hex(channel.ptr + len, CHANNEL_REST_CHARS) ? base->client : NULL;
}

bool layer_is_mailbox_here(const struct layer *layer, struct slice channel)
{
    return name_is_specific(channel) &&
           strmap_find(&layer->mailboxes, name_nonlocal(channel)) != NULL;
}

/* ---- mailboxes ---- */

static void free_mailbox(struct layer *layer, struct layer_mailbox_watch *watch)
{
    strmap_remove(&layer->mailboxes, &watch->by_name);
    dlist_remove(&watch->link);
    mem_free(watch);
}

/* What the backend has to read for names that begin with @base. */
static struct slice mailbox_of(struct slice base)
{
    return name_is_specific(base) ? name_nonlocal(base) : base;
}

static enum err add_mailbox(struct layer *layer, struct slice name, struct err_text *why)
{
    if (strmap_find(&layer->mailboxes, name) != NULL)
        return ERR_OK;
    if (layer->mailboxes.count >= LAYER_MAILBOXES_MAX)
        return err_fail(why, ERR_INVALID,
                        "%.*s: this layer has %d prefixes of new_channel() already", (int)name.len,
                        (const char *)name.ptr, LAYER_MAILBOXES_MAX);
    struct layer_mailbox_watch *watch = mem_alloc(sizeof(*watch));
    memcpy(watch->name, name.ptr, name.len);
    dlist_append(&layer->mailbox_list, &watch->link);
    strmap_add(&layer->mailboxes, &watch->by_name, slice_make(watch->name, name.len));
    return ERR_OK;
}

/* @call may be NULL. */
static void watch_mailbox(struct layer *layer, struct slice name, struct layer_call *call)
{
    if (layer->backend != NULL)
        layer->backend->ops->watch(layer->backend, name, &layer_op_new(layer, call, NULL)->call);
    else
        layer_end_ok(layer, call);
}

/* The mailbox that the aggregate names of this node's groups are in; empty in pubsub, where groups
 * have channels of their own. @out has NAME_MAX_BYTES + 1. */
static struct slice own_mailbox(const struct layer *layer, char *out)
{
    if (layer->config->backend == LAYER_PUBSUB)
        return (struct slice){0};
    const int len = snprintf(out, NAME_MAX_BYTES + 1, "%s.%s!", first_prefix, layer->node);
    return slice_make(out, (size_t)len);
}

/* A mailbox of one client goes with it; one of the node may be given to the next. */
static void drop_mailbox(struct layer *layer, struct slice base)
{
    struct strmap_entry *entry =
        name_is_specific(base) ? NULL : strmap_find(&layer->mailboxes, base);
    if (entry == NULL)
        return;
    if (layer->backend != NULL && layer->backend->ops->unwatch != NULL)
        layer->backend->ops->unwatch(layer->backend, base);
    free_mailbox(layer, CONTAINER_OF(entry, struct layer_mailbox_watch, by_name));
}

void layer_clients_deinit(struct layer *layer)
{
    struct dlist *node = NULL;
    while ((node = dlist_take_first(&layer->mailbox_list)) != NULL)
        free_mailbox(layer, CONTAINER_OF(node, struct layer_mailbox_watch, link));
    strmap_deinit(&layer->mailboxes);
    strmap_deinit(&layer->bases);
}

/* ---- bases ---- */

static size_t count_bases(const struct layer_client *client)
{
    size_t count = 0;
    for (const struct dlist *n = client->bases.next; n != &client->bases; n = n->next)
        count++;
    return count;
}

static void free_base(struct layer *layer, struct layer_base *base)
{
    strmap_remove(&layer->bases, &base->by_name);
    dlist_remove(&base->link);
    mem_free(base);
}

/* A base that an older connection of the same peer still has is taken over: the newest is the one
 * that lives. */
static enum err add_base(struct layer_client *client, struct slice name, struct err_text *why)
{
    struct layer *layer = client->layer;
    struct layer_base *base = find_base(layer, name);
    if (base == NULL && count_bases(client) >= LAYER_CLIENT_BASES_MAX)
        return err_fail(why, ERR_INVALID,
                        "%.*s: this process has %d prefixes of new_channel() already",
                        (int)name.len, (const char *)name.ptr, LAYER_CLIENT_BASES_MAX);
    const enum err err = add_mailbox(layer, mailbox_of(name), why);
    if (err != ERR_OK)
        return err;
    if (base == NULL) {
        base = mem_alloc(sizeof(*base));
        dlist_init(&base->link);
        memcpy(base->name, name.ptr, name.len);
        strmap_add(&layer->bases, &base->by_name, slice_make(base->name, name.len));
    }
    dlist_remove(&base->link);
    dlist_append(&client->bases, &base->link);
    base->client = client;
    return ERR_OK;
}

/* The peer id of a base; empty when it is none. */
static struct slice peer_of_base(const struct layer *layer, struct slice base)
{
    const struct slice none = {0};
    char name[NAME_MAX_BYTES + sizeof(some_rest)];
    if (base.len < PEER_ID_CHARS || base.len > NAME_MAX_BYTES - CHANNEL_REST_CHARS)
        return none;
    memcpy(name, base.ptr, base.len);
    memcpy(name + base.len, some_rest, sizeof(some_rest));
    const struct slice peer = slice_make(base.ptr + base.len - PEER_ID_CHARS, PEER_ID_CHARS);
    if (!layer_is_channel_name(layer, slice_make(name, base.len + CHANNEL_REST_CHARS)) ||
        !is_hex(peer.ptr, PEER_ID_CHARS) || peer.ptr[PEER_ID_CHARS - 1] != 'd')
        return none;
    if (layer->config->backend == LAYER_PUBSUB) {
        const struct slice prefix = slice_str(layer->config->prefix);
        const bool is_one = !name_is_specific(base) && base.len >= prefix.len + PEER_ID_CHARS &&
                            slice_eq(slice_make(base.ptr, prefix.len), prefix);
        return is_one ? peer : none;
    }
    const struct slice mailbox = name_nonlocal(base);
    const bool is_one = name_is_specific(base) && name_local(base).len == PEER_ID_CHARS &&
                        mailbox.len > NODE_ID_CHARS + 2 &&
                        mailbox.ptr[mailbox.len - NODE_ID_CHARS - 2] == '.' &&
                        is_hex(mailbox.ptr + mailbox.len - NODE_ID_CHARS - 1, NODE_ID_CHARS);
    return is_one ? peer : none;
}

/* False: the name would be too long. */
static bool make_base(const struct layer *layer, char *out, struct slice prefix, const char *peer)
{
    int len = 0;
    const size_t size = NAME_MAX_BYTES + 1;
    if (prefix.len > NAME_MAX_BYTES)
        return false;
    if (layer->config->backend == LAYER_PUBSUB)
        len = snprintf(out, size, "%s%.*s%s", layer->config->prefix, (int)prefix.len,
                       (const char *)prefix.ptr, peer);
    else
        len = snprintf(out, size, "%.*s.%s!%s", (int)prefix.len, (const char *)prefix.ptr,
                       layer->node, peer);
    return len > 0 && (size_t)len < size;
}

/* ---- what clients call ---- */

static enum err check_old_bases(const struct layer *layer, const struct slice *bases, size_t count,
                                struct err_text *why)
{
    struct slice first = {0};
    for (size_t i = 0; i < count; i++) {
        const struct slice peer = peer_of_base(layer, bases[i]);
        if (i == 0)
            first = peer;
        if (peer.len == 0 || !slice_eq(peer, first))
            return err_fail(why, ERR_INVALID, "\"%.*s\" is no base of this layer's channels",
                            bases[i].len < 120 ? (int)bases[i].len : 120,
                            (const char *)bases[i].ptr);
    }
    return ERR_OK;
}

static enum err add_bases(struct layer_client *client, const struct slice *old, size_t count,
                          struct err_text *why)
{
    const struct layer *layer = client->layer;
    char peer[PEER_ID_CHARS + 1];
    enum err err = ERR_OK;
    if (count == 0) {
        const bool is_pubsub = layer->config->backend == LAYER_PUBSUB;
        name_make_peer(peer);
        if (!make_base(layer, client->base, slice_str(is_pubsub ? "specific." : first_prefix),
                       peer) ||
            peer_of_base(layer, slice_str(client->base)).len == 0)
            return err_fail(why, ERR_INVALID, "prefix \"%.100s\": no names of channels can be made",
                            layer->config->prefix);
        return add_base(client, slice_str(client->base), why);
    }
    memcpy(client->base, old[0].ptr, old[0].len);
    client->base[old[0].len] = '\0';
    for (size_t i = 0; err == ERR_OK && i < count; i++)
        err = add_base(client, old[i], why);
    return err;
}

/* What messages for the client come to: the mailboxes of its bases, and ours, to which those of its
 * groups are sent also when all its bases are an earlier node's. */
static void watch_for(struct layer_client *client)
{
    struct layer *layer = client->layer;
    char name[NAME_MAX_BYTES + 1];
    const struct slice own = own_mailbox(layer, name);
    bool has_own = own.len == 0;
    for (struct dlist *n = client->bases.next; n != &client->bases; n = n->next) {
        const struct layer_base *base = CONTAINER_OF(n, struct layer_base, link);
        const struct slice mailbox = mailbox_of(slice_str(base->name));
        has_own = has_own || slice_eq(mailbox, own);
        watch_mailbox(layer, mailbox, NULL);
    }
    if (!has_own)
        watch_mailbox(layer, own, NULL);
}

static void drop_bases(struct layer_client *client)
{
    struct layer *layer = client->layer;
    while (!dlist_is_empty(&client->bases)) {
        struct layer_base *base = CONTAINER_OF(client->bases.next, struct layer_base, link);
        drop_mailbox(layer, slice_str(base->name));
        free_base(layer, base);
    }
}

enum err layer_attach(struct layer *layer, struct layer_client *client,
                      const struct slice *old_bases, size_t count, struct err_text *why)
{
    char mailbox[NAME_MAX_BYTES + 1];
    enum err err = check_old_bases(layer, old_bases, count, why);
    if (err != ERR_OK)
        return err;
    client->layer = layer;
    dlist_init(&client->bases);
    dlist_init(&client->members);
    dlist_init(&client->waiting);
    dlist_init(&client->untaken);
    dlist_init(&client->touched);
    const struct slice own = own_mailbox(layer, mailbox);
    if (own.len > 0)
        err = add_mailbox(layer, own, why);
    if (err == ERR_OK)
        err = add_bases(client, old_bases, count, why);
    if (err != ERR_OK) {
        drop_bases(client);
        return err;
    }
    dlist_append(&layer->clients, &client->link);
    watch_for(client);
    return ERR_OK;
}

void layer_detach(struct layer_client *client)
{
    struct layer *layer = client->layer;
    dlist_remove(&client->link);
    layer_leave_all(client);
    queues_detach(&layer->queues, client);
    layer_drop_tickets(layer, client);
    drop_bases(client);
}

void layer_mailbox(struct layer_client *client, struct slice prefix, char *out,
                   struct layer_call *call)
{
    struct layer *layer = client->layer;
    struct err_text why;
    char peer[PEER_ID_CHARS + 1] = {0};
    const size_t len = strlen(client->base);
    memcpy(peer, client->base + len - PEER_ID_CHARS, PEER_ID_CHARS);
    if (!make_base(layer, out, prefix, peer) || peer_of_base(layer, slice_str(out)).len == 0) {
        out[0] = '\0';
        layer_end(layer, call, ERR_INVALID,
                  "prefix \"%.*s\": letters, digits, '-', '_' and '.' of ASCII, and short enough "
                  "for names of less than 100 characters",
                  prefix.len < 100 ? (int)prefix.len : 100, (const char *)prefix.ptr);
        return;
    }
    const enum err err = add_base(client, slice_str(out), &why);
    if (err != ERR_OK)
        layer_end(layer, call, err, "%s", why.text);
    else
        watch_mailbox(layer, mailbox_of(slice_str(out)), call);
}
