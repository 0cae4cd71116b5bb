/* SPDX-License-Identifier: BSD-3-Clause */
#include "channel_layer/pending.h"

#include <string.h>

#include "core/log.h"
#include "core/mem.h"

enum { PENDING_MAX = 32 * 1024 * 1024 }; /* bytes that wait for a program's callbacks */

struct pending_body {
    size_t users;
    size_t len;
    uint8_t bytes[];
};

void pending_init(struct pending_list *list)
{
    *list = (struct pending_list){.count = 0};
    dlist_init(&list->items);
}

static void note_full(struct pending_list *list)
{
    if (!list->is_full)
        log_event(LOG_WARN, "layer.full",
                  "messages=%zu bytes=%zu reason=\"more came at once than the program can be told; "
                  "what does not fit is dropped\"",
                  list->count, list->bytes);
    list->is_full = true;
}

bool pending_has_room(struct pending_list *list, size_t bytes)
{
    if (list->count == 0 || list->bytes + bytes <= PENDING_MAX)
        return true;
    note_full(list);
    return false;
}

static size_t size_of(const struct pending_body *body)
{
    return sizeof(*body) + body->len;
}

/* What @bytes may share: the body of the newest one. */
static struct pending_body *same_body(const struct pending_list *list, struct slice bytes)
{
    if (list->count == 0)
        return NULL;
    struct pending_body *body = CONTAINER_OF(list->items.prev, struct pending, link)->body;
    return slice_eq(slice_make(body->bytes, body->len), bytes) ? body : NULL;
}

static struct pending_body *new_body(struct pending_list *list, struct slice bytes)
{
    struct pending_body *body = mem_try(sizeof(*body) + bytes.len);
    if (body == NULL) {
        note_full(list);
        return NULL;
    }
    *body = (struct pending_body){.len = bytes.len};
    if (bytes.len > 0)
        memcpy(body->bytes, bytes.ptr, bytes.len);
    list->bytes += size_of(body);
    return body;
}

struct pending *pending_add(struct pending_list *list, struct slice body)
{
    struct pending_body *kept = same_body(list, body);
    if (kept == NULL)
        kept = new_body(list, body);
    if (kept == NULL)
        return NULL;
    kept->users++;
    struct pending *p = mem_alloc(sizeof(*p));
    p->body = kept;
    list->bytes += sizeof(*p);
    list->count++;
    dlist_append(&list->items, &p->link);
    return p;
}

struct pending *pending_first(const struct pending_list *list)
{
    return list->count == 0 ? NULL : CONTAINER_OF(list->items.next, struct pending, link);
}

struct slice pending_text(const struct pending *p)
{
    return slice_make(p->body->bytes, p->body->len);
}

void pending_take(struct pending_list *list, struct pending *p)
{
    dlist_remove(&p->link);
    if (--list->count == 0)
        list->is_full = false;
}

void pending_free(struct pending_list *list, struct pending *p)
{
    list->bytes -= sizeof(*p);
    if (--p->body->users == 0) {
        list->bytes -= size_of(p->body);
        mem_free(p->body);
    }
    mem_free(p);
}

void pending_forget(struct pending_list *list, const struct channellayer_channel *channel)
{
    struct dlist *next = NULL;
    for (struct dlist *at = list->items.next; at != &list->items; at = next) {
        struct pending *p = CONTAINER_OF(at, struct pending, link);
        next = at->next;
        if (channel != NULL && p->channel != channel)
            continue;
        pending_take(list, p);
        pending_free(list, p);
    }
}
