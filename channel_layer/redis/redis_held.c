/* SPDX-License-Identifier: BSD-3-Clause */
#include "channel_layer/redis/redis_held.h"

#include <assert.h>

static struct redis_held *held_of(struct dlist *node)
{
    return CONTAINER_OF(node, struct redis_held, link);
}

void redis_held_init(struct redis_held_list *l)
{
    *l = (struct redis_held_list){.bytes = 0};
    dlist_init(&l->list);
}

void redis_held_deinit(const struct redis_held_list *l)
{
    assert(dlist_is_empty(&l->list) && l->bytes == 0);
    (void)l;
}

bool redis_held_is_empty(const struct redis_held_list *l)
{
    return dlist_is_empty(&l->list);
}

/* Those that come before what is held already are few and come together: they are counted from the
 * front. */
static void insert(struct redis_held_list *l, struct redis_held *held)
{
    struct dlist *at = &l->list;
    if (!dlist_is_empty(at) && held_of(l->list.prev)->number > held->number)
        for (at = l->list.next; held_of(at)->number < held->number;)
            at = at->next;
    dlist_append(at, &held->link); /* before @at */
}

enum err redis_held_add(struct redis_held_list *l, struct redis_held *held, uint64_t number)
{
    if (l->bytes > 0 && l->bytes + held->bytes > REDIS_HELD_BYTES) {
        l->failed++;
        return ERR_TOO_BIG;
    }
    held->number = number;
    insert(l, held);
    l->bytes += held->bytes;
    l->held++;
    return ERR_OK;
}

uint64_t redis_held_due_ms(const struct redis_held_list *l)
{
    return dlist_is_empty(&l->list) ? UINT64_MAX : held_of(l->list.next)->deadline_ms;
}

static void release_first(struct redis_held_list *l, struct dlist *from, enum err err,
                          const char *why)
{
    struct redis_held *held = held_of(dlist_take_first(from));
    l->bytes -= held->bytes;
    held->released(held, err, why);
}

void redis_held_expire(struct redis_held_list *l, uint64_t now_ms, const char *why)
{
    while (!dlist_is_empty(&l->list) && redis_held_due_ms(l) <= now_ms) {
        l->failed++;
        release_first(l, &l->list, ERR_UNAVAILABLE, why);
    }
}

void redis_held_release(struct redis_held_list *l, enum err err, const char *why)
{
    struct dlist those;
    dlist_init(&those);
    dlist_splice(&those, &l->list);
    while (!dlist_is_empty(&those))
        release_first(l, &those, err, why);
}
