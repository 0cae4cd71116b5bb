/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Without a backend, channels of nobody here can be in a group, too: singles. Each is in its group
 * for group_expiry, as it would be in Redis, unless it is added again.
 */
#include "channel_layer/layer_groups.h"

#include "core/mem.h"

enum {
    EXPIRE_MAX = 1000, /* singles at once; others have their turn then */
    EXPIRE_PAUSE_MS = 1,
};

void layer_single_free(struct layer_group *group, struct group_single *single)
{
    strmap_remove(&group->singles, &single->by_name);
    dlist_remove(&single->link);
    dlist_remove(&single->by_age);
    mem_free(single);
}

struct group_single *layer_single_find(const struct layer_group *group, struct slice channel)
{
    struct strmap_entry *entry = strmap_find(&group->singles, channel);
    return entry != NULL ? CONTAINER_OF(entry, struct group_single, by_name) : NULL;
}

void layer_group_expire(struct layer_group *group)
{
    const uint64_t now_ms = layer_now_ms(group->layer);
    while (!dlist_is_empty(&group->single_list)) {
        struct group_single *single =
            CONTAINER_OF(group->single_list.next, struct group_single, link);
        if (single->expires_ms > now_ms)
            return;
        layer_single_free(group, single);
    }
}

static struct group_single *oldest_single(const struct layer *layer)
{
    return CONTAINER_OF(layer->singles.next, struct group_single, by_age);
}

static void on_timer(uv_timer_t *timer);

/* It may come too early, since who was the oldest may have gone or begun anew: it looks then. */
static void set_timer(struct layer *layer, uint64_t least_ms)
{
    if (dlist_is_empty(&layer->singles) || uv_is_closing((uv_handle_t *)&layer->singles_timer))
        return;
    const uint64_t now_ms = layer_now_ms(layer);
    const uint64_t due_ms = oldest_single(layer)->expires_ms;
    const uint64_t in_ms = due_ms > now_ms + least_ms ? due_ms - now_ms : least_ms;
    uv_timer_start(&layer->singles_timer, on_timer, in_ms, 0);
}

static void on_timer(uv_timer_t *timer)
{
    struct layer *layer = timer->data;
    const uint64_t now_ms = layer_now_ms(layer);
    for (unsigned i = 0; i < EXPIRE_MAX && !dlist_is_empty(&layer->singles); i++) {
        struct group_single *single = oldest_single(layer);
        struct layer_group *group = single->group;
        if (single->expires_ms > now_ms)
            break;
        layer_single_free(group, single);
        layer_group_drop_if_empty(group);
    }
    set_timer(layer, EXPIRE_PAUSE_MS);
}

void layer_single_add(struct layer_group *group, struct slice channel)
{
    struct layer *layer = group->layer;
    layer_group_expire(group);
    struct group_single *single = layer_single_find(group, channel);
    if (single == NULL) {
        single = mem_alloc(sizeof(*single) + channel.len);
        memcpy(single->name_bytes, channel.ptr, channel.len);
        single->name = slice_make(single->name_bytes, channel.len);
        single->group = group;
        dlist_init(&single->link);
        dlist_init(&single->by_age);
        strmap_add(&group->singles, &single->by_name, single->name);
    }
    dlist_remove(&single->link);
    dlist_append(&group->single_list, &single->link);
    dlist_remove(&single->by_age);
    dlist_append(&layer->singles, &single->by_age); /* all live equally long */
    single->expires_ms = layer_now_ms(layer) + (uint64_t)layer->config->group_expiry_s * 1000;
    if (!uv_is_active((uv_handle_t *)&layer->singles_timer))
        set_timer(layer, 0);
}
