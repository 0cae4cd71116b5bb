/* SPDX-License-Identifier: BSD-3-Clause */
#include "channel_layer/pubsub/pubsub.h"

#include "core/log.h"
#include "core/mem.h"

#include <assert.h>
#include <inttypes.h>

/* A channel that somebody receives from, or did a short while ago. */
struct pubsub_normal {
    struct strmap_entry by_name;
    struct dlist ready;    /* normals->ready */
    struct dlist messages; /* struct pubsub_message that wait, in the order of their handles */
    uint32_t count;        /* of these */
    uint32_t handed;       /* messages that were handed over and are not taken */
    unsigned wanted;
    uint64_t idle_ms; /* since when nobody waits */
    struct slice name;
    char name_bytes[];
};

struct pubsub_message {
    struct dlist link; /* normal->messages; alone while it is handed over */
    struct strmap_entry by_handle;
    struct pubsub_normal *normal;
    uint64_t handle;
    size_t len;
    uint8_t body[];
};

static struct slice handle_key(const uint64_t *handle)
{
    return slice_make(handle, sizeof(*handle));
}

static struct pubsub_normal *find_normal(const struct pubsub_backend *b, struct slice channel)
{
    struct strmap_entry *entry = strmap_find(&b->normals.by_name, channel);
    return entry == NULL ? NULL : CONTAINER_OF(entry, struct pubsub_normal, by_name);
}

static void serve_later(struct pubsub_backend *b, struct pubsub_normal *normal)
{
    dlist_remove(&normal->ready);
    dlist_append(&b->normals.ready, &normal->ready);
    pubsub_wake_turn(b);
}

static struct pubsub_message *first_of(const struct pubsub_normal *normal)
{
    return CONTAINER_OF(normal->messages.next, struct pubsub_message, link);
}

static void free_message(struct pubsub_backend *b, struct pubsub_message *message)
{
    b->normals.bytes -= sizeof(*message) + message->len;
    dlist_remove(&message->link);
    mem_free(message);
}

static uint32_t forget_waiting(struct pubsub_backend *b, struct pubsub_normal *normal)
{
    const uint32_t count = normal->count;
    while (!dlist_is_empty(&normal->messages))
        free_message(b, first_of(normal));
    normal->count = 0;
    return count;
}

/* ---- messages ---- */

/* False: there is no room. */
static bool put(struct pubsub_backend *b, struct pubsub_normal *normal, struct slice body)
{
    struct pubsub_normals *normals = &b->normals;
    struct pubsub_message *message = NULL;
    const size_t size = sizeof(*message) + body.len;
    if (normal->count >= layer_config_capacity(b->config, normal->name) ||
        size > PUBSUB_NORMAL_BYTES - normals->bytes)
        return false;
    message = mem_try(size);
    if (message == NULL)
        return false;
    *message = (struct pubsub_message){
        .normal = normal, .handle = ++normals->next_handle, .len = body.len};
    memcpy(message->body, body.ptr, body.len);
    normals->bytes += size;
    dlist_append(&normal->messages, &message->link);
    normal->count++;
    return true;
}

/* Hands messages over as long as somebody takes them. */
static void serve(struct pubsub_backend *b, struct pubsub_normal *normal)
{
    while (normal->wanted > 0 && !dlist_is_empty(&normal->messages)) {
        struct pubsub_message *message = first_of(normal);
        dlist_remove(&message->link);
        normal->count--;
        normal->handed++;
        strmap_add(&b->normals.handed, &message->by_handle, handle_key(&message->handle));
        if (layer_normal_arrived(b->base.layer, normal->name, message->handle,
                                 slice_make(message->body, message->len)))
            continue;
        normal->wanted = 0; /* until want() says otherwise */
        pubsub_put_back(&b->base, normal->name, message->handle);
    }
}

void pubsub_normal_arrived(struct pubsub_backend *b, struct pubsub_normal *normal,
                           struct slice body)
{
    uint64_t held_back = 0;
    if (put(b, normal, body)) {
        serve(b, normal);
        return;
    }
    layer_stats(b->base.layer)->dropped_full++;
    if (notice_is_due(&b->full_notice, uv_now(b->uv), &held_back))
        log_event(LOG_WARN, "layer.pubsub.full",
                  "channel=\"%.*s\" waiting=%u text=\"messages come faster than they are received: "
                  "the newest are dropped\" held_back=%" PRIu64,
                  (int)normal->name.len, (const char *)normal->name.ptr, (unsigned)normal->count,
                  held_back);
}

void pubsub_normals_serve(struct pubsub_backend *b)
{
    struct dlist now;
    struct dlist *node = NULL;
    dlist_init(&now);
    dlist_splice(&now, &b->normals.ready);
    while ((node = dlist_take_first(&now)) != NULL)
        serve(b, CONTAINER_OF(node, struct pubsub_normal, ready));
}

/* Takes a message that was handed over out of the table; NULL when there is none. */
static struct pubsub_message *take_handed(struct pubsub_backend *b, uint64_t handle)
{
    struct strmap_entry *entry = strmap_find(&b->normals.handed, handle_key(&handle));
    if (entry == NULL)
        return NULL;
    struct pubsub_message *message = CONTAINER_OF(entry, struct pubsub_message, by_handle);
    strmap_remove(&b->normals.handed, entry);
    message->normal->handed--;
    message->normal->idle_ms = uv_now(b->uv);
    return message;
}

void pubsub_taken(struct backend *base, struct slice channel, uint64_t handle)
{
    struct pubsub_backend *b = pubsub_of(base);
    struct pubsub_message *message = take_handed(b, handle);
    (void)channel;
    if (message != NULL)
        free_message(b, message);
}

void pubsub_put_back(struct backend *base, struct slice channel, uint64_t handle)
{
    struct pubsub_backend *b = pubsub_of(base);
    struct pubsub_message *message = take_handed(b, handle);
    (void)channel;
    if (message == NULL)
        return;
    struct pubsub_normal *normal = message->normal;
    struct dlist *at = normal->messages.next;
    while (at != &normal->messages &&
           CONTAINER_OF(at, struct pubsub_message, link)->handle < handle)
        at = at->next;
    dlist_append(at, &message->link); /* in front of it */
    normal->count++;
    if (normal->wanted > 0)
        serve_later(b, normal);
}

/* ---- channels ---- */

static struct pubsub_normal *make_normal(struct pubsub_backend *b, struct slice channel)
{
    struct pubsub_normal *normal = mem_alloc(sizeof(*normal) + channel.len);
    memcpy(normal->name_bytes, channel.ptr, channel.len);
    normal->name = slice_make(normal->name_bytes, channel.len);
    dlist_init(&normal->ready);
    dlist_init(&normal->messages);
    strmap_add(&b->normals.by_name, &normal->by_name, normal->name);
    struct pubsub_sub *sub = pubsub_make_sub(pubsub_shard_of(b, channel), channel, false);
    sub->normal = normal;
    pubsub_sub_changed(sub);
    return normal;
}

static void free_normal(struct pubsub_backend *b, struct pubsub_normal *normal)
{
    strmap_remove(&b->normals.by_name, &normal->by_name);
    dlist_remove(&normal->ready);
    mem_free(normal);
}

void pubsub_want(struct backend *base, struct slice channel, unsigned wanted)
{
    struct pubsub_backend *b = pubsub_of(base);
    struct pubsub_normal *normal = find_normal(b, channel);
    if (normal == NULL && (wanted == 0 || b->is_closing))
        return;
    if (normal == NULL)
        normal = make_normal(b, channel);
    normal->wanted = wanted;
    normal->idle_ms = uv_now(b->uv);
    if (wanted > 0 && !dlist_is_empty(&normal->messages))
        serve_later(b, normal);
}

void pubsub_normals_tick(struct pubsub_backend *b, uint64_t now_ms)
{
    struct strmap *map = &b->normals.by_name;
    const uint64_t linger_ms = (uint64_t)b->config->expiry_s * 1000;
    struct strmap_entry *next = NULL;
    for (struct strmap_entry *e = strmap_next(map, NULL); e != NULL; e = next) {
        struct pubsub_normal *normal = CONTAINER_OF(e, struct pubsub_normal, by_name);
        next = strmap_next(map, e);
        if (normal->wanted > 0 || normal->handed > 0 || now_ms - normal->idle_ms < linger_ms)
            continue;
        struct pubsub_sub *sub = pubsub_find_sub(pubsub_shard_of(b, normal->name), normal->name);
        assert(sub != NULL && sub->normal == normal);
        sub->normal = NULL;
        pubsub_sub_changed(sub);
        layer_stats(b->base.layer)->dropped_expired += forget_waiting(b, normal);
        free_normal(b, normal);
    }
}

void pubsub_normals_forget(struct pubsub_backend *b)
{
    for (struct strmap_entry *e = strmap_next(&b->normals.by_name, NULL); e != NULL;
         e = strmap_next(&b->normals.by_name, e))
        (void)forget_waiting(b, CONTAINER_OF(e, struct pubsub_normal, by_name));
}

/* ---- life ---- */

void pubsub_normals_init(struct pubsub_normals *normals)
{
    *normals = (struct pubsub_normals){0};
    strmap_init(&normals->by_name);
    strmap_init(&normals->handed);
    dlist_init(&normals->ready);
}

void pubsub_normals_deinit(struct pubsub_backend *b)
{
    struct strmap_entry *entry = NULL;
    while ((entry = strmap_next(&b->normals.handed, NULL)) != NULL)
        free_message(b,
                     take_handed(b, CONTAINER_OF(entry, struct pubsub_message, by_handle)->handle));
    pubsub_normals_forget(b);
    while ((entry = strmap_next(&b->normals.by_name, NULL)) != NULL)
        free_normal(b, CONTAINER_OF(entry, struct pubsub_normal, by_name));
    assert(b->normals.bytes == 0);
    strmap_deinit(&b->normals.handed);
    strmap_deinit(&b->normals.by_name);
}
