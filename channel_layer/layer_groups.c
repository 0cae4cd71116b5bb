/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Who is in which group here. Redis hears of the first client of a group and of the last one.
 *
 * Happy path: layer_join() -> JOINING -> IN, all joins that came meanwhile end; …; the last
 * layer_leave() -> LEAVING -> OUT, and the group is gone.
 *
 * What can come between, and what is done about it: the last client leaves while JOINING (the leave
 * is sent when the join is through); one joins while LEAVING (the join is sent when the leave is
 * through); the join fails (everybody in the group was waiting for it: all are taken out and told;
 * after a timeout nobody knows what Redis has done, so a leave follows); the leave fails (its
 * callers are told; Redis forgets the member when its time is over); the layer closes (what is
 * under way ends by the backend, nothing new begins).
 */
#include "channel_layer/layer.h"

#include <assert.h>

#include "channel_layer/control.h"
#include "channel_layer/hub.h"
#include "channel_layer/layer_groups.h"
#include "core/mem.h"

enum { MEMBERS_FIRST = 4 };

/* A call that waits for JOINING, or for LEAVING, to end. */
struct group_wait {
    struct dlist link;
    struct layer_call *call;
    struct slice channel; /* of a client of ours, that somebody else added: it is told then */
    uint8_t bytes[];
};

/* ---- the table ---- */

struct layer_group *layer_find_group(const struct layer *layer, struct slice name)
{
    struct strmap_entry *entry = strmap_find(&layer->groups, name);
    return entry != NULL ? CONTAINER_OF(entry, struct layer_group, by_name) : NULL;
}

static void note_digest(struct layer_group *group)
{
    struct slice rest = {0};
    const size_t len = name_aggregate(group->digest, group->name);
    if (name_local_kind(slice_make(group->digest, len), &rest) == NAME_GROUP_DIGEST)
        strmap_add(&group->layer->digests, &group->by_digest, rest);
    else
        group->digest[0] = '\0';
}

static struct layer_group *make_group(struct layer *layer, struct slice name)
{
    struct layer_group *group = layer_find_group(layer, name);
    if (group != NULL)
        return group;
    group = mem_alloc(sizeof(*group) + name.len);
    group->layer = layer;
    memcpy(group->name_bytes, name.ptr, name.len);
    group->name = slice_make(group->name_bytes, name.len);
    strmap_init(&group->singles);
    dlist_init(&group->single_list);
    dlist_init(&group->joins);
    dlist_init(&group->leaves);
    dlist_append(&layer->group_list, &group->link);
    strmap_add(&layer->groups, &group->by_name, group->name);
    note_digest(group);
    return group;
}

void layer_group_drop_if_empty(struct layer_group *group)
{
    struct layer *layer = group->layer;
    if (group->count > 0 || group->state != GROUP_OUT || !dlist_is_empty(&group->single_list) ||
        !dlist_is_empty(&group->joins) || !dlist_is_empty(&group->leaves))
        return;
    strmap_remove(&layer->groups, &group->by_name);
    if (group->digest[0] != '\0')
        strmap_remove(&layer->digests, &group->by_digest);
    dlist_remove(&group->link);
    strmap_deinit(&group->singles);
    mem_free(group->members);
    mem_free(group);
}

/* ---- members ---- */

static struct group_member *find_member(const struct layer_group *group,
                                        const struct layer_client *client)
{
    for (size_t i = 0; i < group->count; i++)
        if (group->members[i]->client == client)
            return group->members[i];
    return NULL;
}

static enum err add_member(struct layer_group *group, struct layer_client *client)
{
    if (find_member(group, client) != NULL)
        return ERR_OK;
    if (group->count == group->room) {
        const size_t room = group->room == 0 ? MEMBERS_FIRST : group->room * 2;
        struct group_member **members =
            mem_try_resize(group->members, room * sizeof(struct group_member *));
        if (members == NULL)
            return ERR_NOMEM;
        group->members = members;
        group->room = room;
    }
    struct group_member *member = mem_alloc(sizeof(*member));
    member->group = group;
    member->client = client;
    member->index = group->count;
    group->members[group->count++] = member;
    dlist_append(&client->members, &member->link);
    return ERR_OK;
}

static void remove_member(struct group_member *member)
{
    struct layer_group *group = member->group;
    struct group_member *last = group->members[--group->count];
    group->members[member->index] = last;
    last->index = member->index;
    dlist_remove(&member->link);
    mem_free(member);
}

static void remove_all_members(struct layer_group *group)
{
    while (group->count > 0)
        remove_member(group->members[group->count - 1]);
}

/* ---- calls that wait ---- */

static void wait_for(struct dlist *list, struct layer_call *call, struct slice channel)
{
    struct group_wait *wait = mem_alloc(sizeof(*wait) + channel.len);
    wait->call = call;
    if (channel.len > 0)
        memcpy(wait->bytes, channel.ptr, channel.len);
    wait->channel = slice_make(wait->bytes, channel.len);
    dlist_append(list, &wait->link);
}

/* Tells the client that its channel is in the group; it may have left, or gone, meanwhile. */
static void tell_added(struct layer_group *group, struct slice channel)
{
    struct layer_client *client = layer_client_of(group->layer, channel);
    if (client != NULL && add_member(group, client) == ERR_OK)
        client->ops->add(client, group->name, channel);
}

static void end_waits(struct layer_group *group, struct dlist *list, enum err err, const char *why)
{
    struct dlist *node = NULL;
    while ((node = dlist_take_first(list)) != NULL) {
        struct group_wait *wait = CONTAINER_OF(node, struct group_wait, link);
        if (err == ERR_OK && wait->channel.len > 0)
            tell_added(group, wait->channel);
        if (err == ERR_OK)
            layer_end_ok(group->layer, wait->call);
        else
            layer_end(group->layer, wait->call, err, "%s", why);
        mem_free(wait);
    }
}

/* ---- the state ---- */

static void start_join(struct layer_group *group);
static void start_leave(struct layer_group *group);

/* Clients that were added by others and left before the group knew us: they have a channel in it
 * all the same. */
static void enter_again(struct layer_group *group)
{
    for (struct dlist *n = group->joins.next; n != &group->joins; n = n->next) {
        const struct group_wait *wait = CONTAINER_OF(n, struct group_wait, link);
        struct layer_client *client =
            wait->channel.len > 0 ? layer_client_of(group->layer, wait->channel) : NULL;
        if (client != NULL)
            (void)add_member(group, client); /* without memory it is not told either */
    }
}

/* No command is under way: begins the one that the number of members asks for. */
static void go_on(struct layer_group *group)
{
    if (group->state == GROUP_OUT)
        enter_again(group);
    if (group->layer->is_closing) {
        remove_all_members(group);
        group->state = GROUP_OUT;
        end_waits(group, &group->joins, ERR_CLOSED, "the layer ends");
        end_waits(group, &group->leaves, ERR_OK, "");
    } else if (group->state == GROUP_OUT && group->count > 0) {
        start_join(group);
    } else if (group->state == GROUP_IN && group->count == 0) {
        start_leave(group);
    } else {
        end_waits(group, &group->joins, ERR_OK, "");  /* those who joined and left already */
        end_waits(group, &group->leaves, ERR_OK, ""); /* others are in it */
    }
    layer_group_drop_if_empty(group);
}

static void on_joined(struct layer_op *op, enum err err, const char *why)
{
    struct layer_group *group = op->ctx;
    group->state = err == ERR_OK || err == ERR_TIMEOUT ? GROUP_IN : GROUP_OUT;
    if (err != ERR_OK)
        remove_all_members(group);
    end_waits(group, &group->joins, err, why);
    if (group->state == GROUP_OUT)
        end_waits(group, &group->leaves, ERR_OK, "");
    go_on(group);
}

static void on_left(struct layer_op *op, enum err err, const char *why)
{
    struct layer_group *group = op->ctx;
    group->state = GROUP_OUT;
    end_waits(group, &group->leaves, err, why);
    go_on(group);
}

static void start_join(struct layer_group *group)
{
    struct backend *backend = group->layer->backend;
    struct layer_op *op = layer_op_new(group->layer, NULL, on_joined);
    op->ctx = group;
    group->state = GROUP_JOINING;
    backend->ops->join(backend, group->name, &op->call);
}

static void start_leave(struct layer_group *group)
{
    struct backend *backend = group->layer->backend;
    struct layer_op *op = layer_op_new(group->layer, NULL, on_left);
    op->ctx = group;
    group->state = GROUP_LEAVING;
    backend->ops->leave(backend, group->name, &op->call);
}

/* Adds the client; @call ends when the group knows this node, and then the client hears of @channel
 * if that is not empty. */
static void enter(struct layer_group *group, struct layer_client *client, struct slice channel,
                  struct layer_call *call)
{
    struct layer *layer = group->layer;
    if (add_member(group, client) != ERR_OK) {
        layer_end(layer, call, ERR_NOMEM, "no memory for another member of the group");
        go_on(group);
        return;
    }
    if (layer->backend == NULL)
        group->state = GROUP_IN;
    if (group->state == GROUP_IN) {
        if (channel.len > 0)
            client->ops->add(client, group->name, channel);
        layer_end_ok(layer, call);
        return;
    }
    wait_for(&group->joins, call, channel);
    if (group->state == GROUP_OUT)
        start_join(group);
}

static void leave(struct group_member *member, struct layer_call *call)
{
    struct layer_group *group = member->group;
    struct layer *layer = group->layer;
    remove_member(member);
    if (layer->backend == NULL) {
        group->state = group->count > 0 ? GROUP_IN : GROUP_OUT;
        layer_end_ok(layer, call);
        layer_group_drop_if_empty(group);
        return;
    }
    if (group->count > 0 && group->state != GROUP_LEAVING) {
        layer_end_ok(layer, call);
        return;
    }
    if (call != NULL)
        wait_for(&group->leaves, call, (struct slice){0});
    if (group->state == GROUP_IN)
        start_leave(group);
}

void layer_join(struct layer_client *client, struct slice group, struct layer_call *call)
{
    if (layer_check_group(client->layer, group, call))
        enter(make_group(client->layer, group), client, (struct slice){0}, call);
}

void layer_leave(struct layer_client *client, struct slice group, struct layer_call *call)
{
    struct layer *layer = client->layer;
    if (!layer_check_group(layer, group, call))
        return;
    struct layer_group *g = layer_find_group(layer, group);
    struct group_member *member = g != NULL ? find_member(g, client) : NULL;
    if (member != NULL)
        leave(member, call);
    else
        layer_end_ok(layer, call);
}

void layer_leave_all(struct layer_client *client)
{
    while (!dlist_is_empty(&client->members))
        leave(CONTAINER_OF(client->members.next, struct group_member, link), NULL);
}

/* ---- channels that anybody adds and takes out ---- */

void layer_group_add(struct layer_client *client, struct slice group, struct slice channel,
                     struct layer_call *call)
{
    struct layer *layer = client->layer;
    if (!layer_check_group(layer, group, call) || !layer_check_channel(layer, channel, call))
        return;
    struct layer_client *owner = layer_client_of(layer, channel);
    if (owner != NULL) {
        enter(make_group(layer, group), owner, channel, call);
    } else if (layer->backend != NULL) {
        layer->backend->ops->add(layer->backend, group, channel,
                                 &layer_op_new(layer, call, NULL)->call);
    } else {
        if (!layer_is_mailbox_here(layer, channel)) /* else of a client that is gone */
            layer_single_add(make_group(layer, group), channel);
        layer_end_ok(layer, call);
    }
}

/* ---- control messages: what a node asks another one to do ---- */

void layer_control_arrived(struct layer *layer, struct slice body)
{
    struct control control;
    if (!control_read(&control, layer->config->serializer, body) ||
        (control.kind == CONTROL_DISCARD && !name_is_group(control.group))) {
        layer->stats.dropped_undecodable++;
        return;
    }
    if (control.kind == CONTROL_FLUSH) {
        layer_forget_all(layer);
        return;
    }
    struct layer_client *client = layer_client_of(layer, control.channel);
    if (client != NULL)
        client->ops->discard(client, control.group, control.channel);
}

/* The node that made the channel has it in its aggregate perhaps, where Redis cannot take it out.
 */
static void send_control(struct layer *layer, struct slice group, struct slice channel)
{
    struct slice peer = {0};
    uint8_t bytes[CONTROL_MAX];
    char to[NAME_MAX_BYTES + sizeof(NAME_CONTROL_LOCAL)];
    const struct slice mailbox = name_nonlocal(channel);
    if (!name_is_specific(channel) || !name_local_is_ours(name_local(channel), &peer) ||
        layer_is_mailbox_here(layer, channel))
        return;
    memcpy(to, mailbox.ptr, mailbox.len);
    memcpy(to + mailbox.len, NAME_CONTROL_LOCAL, sizeof(NAME_CONTROL_LOCAL));
    const struct control control = {.kind = CONTROL_DISCARD, .group = group, .channel = channel};
    const struct slice body = control_write(bytes, layer->config->serializer, &control);
    layer->backend->ops->send(layer->backend, slice_str(to), body,
                              &layer_op_new(layer, NULL, NULL)->call);
}

void layer_group_discard(struct layer_client *client, struct slice group, struct slice channel,
                         struct layer_call *call)
{
    struct layer *layer = client->layer;
    if (!layer_check_group(layer, group, call) || !layer_check_channel(layer, channel, call))
        return;
    struct layer_client *owner = layer_client_of(layer, channel);
    if (owner != NULL && owner != client)
        owner->ops->discard(owner, group, channel);
    if (layer->backend != NULL) {
        struct layer_op *op = call != NULL ? layer_op_new(layer, call, NULL) : NULL;
        layer->backend->ops->discard(layer->backend, group, channel, op != NULL ? &op->call : NULL);
        if (owner == NULL && layer->config->backend == LAYER_REDIS)
            send_control(layer, group, channel);
        return;
    }
    struct layer_group *g = layer_find_group(layer, group);
    struct group_single *single = g != NULL ? layer_single_find(g, channel) : NULL;
    if (single != NULL) {
        layer_single_free(g, single);
        layer_group_drop_if_empty(g);
    }
    layer_end_ok(layer, call);
}

/* ---- for people, and for the backend ---- */

void layer_groups(struct layer *layer,
                  void (*visit)(void *ctx, struct slice group, uint64_t members), void *ctx,
                  struct layer_call *call)
{
    if (layer->backend != NULL) {
        layer->backend->ops->groups(layer->backend, visit, ctx,
                                    &layer_op_new(layer, call, NULL)->call);
        return;
    }
    struct dlist *next = NULL;
    for (struct dlist *n = layer->group_list.next; n != &layer->group_list; n = next) {
        struct layer_group *group = CONTAINER_OF(n, struct layer_group, link);
        next = n->next;
        layer_group_expire(group);
        const uint64_t members = group->singles.count + (group->count > 0 ? 1 : 0);
        if (members > 0)
            visit(ctx, group->name, members);
        layer_group_drop_if_empty(group);
    }
    layer_end_ok(layer, call);
}

void layer_each_group(struct layer *layer, void (*visit)(void *ctx, struct slice group), void *ctx)
{
    for (struct dlist *n = layer->group_list.next; n != &layer->group_list; n = n->next) {
        const struct layer_group *group = CONTAINER_OF(n, struct layer_group, link);
        if (group->count > 0)
            visit(ctx, group->name);
    }
}

void layer_forget_groups(struct layer *layer)
{
    struct dlist *next = NULL;
    for (struct dlist *n = layer->group_list.next; n != &layer->group_list; n = next) {
        struct layer_group *group = CONTAINER_OF(n, struct layer_group, link);
        next = n->next;
        if (group->state == GROUP_JOINING || group->state == GROUP_LEAVING)
            continue; /* those joins came after the flush was asked for */
        remove_all_members(group);
        while (!dlist_is_empty(&group->single_list))
            layer_single_free(group,
                              CONTAINER_OF(group->single_list.next, struct group_single, link));
        if (group->state == GROUP_IN)
            group->state = GROUP_OUT; /* Redis has forgotten it, too */
        layer_group_drop_if_empty(group);
    }
}

void layer_groups_deinit(struct layer *layer)
{
    layer_forget_groups(layer);
    assert(dlist_is_empty(&layer->group_list));
    strmap_deinit(&layer->groups);
    strmap_deinit(&layer->digests);
}
