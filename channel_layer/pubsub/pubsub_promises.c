/* SPDX-License-Identifier: BSD-3-Clause */
#include "channel_layer/pubsub/pubsub.h"

#include "core/mem.h"

#include <assert.h>
#include <stdio.h>

/* Its call, which the caller ends; the promise is gone. */
static struct layer_call *dissolve(struct pubsub_promise *promise)
{
    struct layer_call *call = promise->call;
    for (size_t i = 0; i < promise->count; i++)
        dlist_remove(&promise->waits[i].link);
    dlist_remove(&promise->by_age);
    mem_free(promise);
    return call;
}

static void finish(struct pubsub_promise *promise, enum err err, const char *why)
{
    struct layer_call *call = dissolve(promise);
    call->done(call, err, why);
}

static void finish_later(struct pubsub_promise *promise, enum err err, const char *why)
{
    struct pubsub_backend *b = promise->backend;
    pubsub_end_later(b, dissolve(promise), err, "%s", why);
}

static struct pubsub_wait *first_of(const struct dlist *waits)
{
    return CONTAINER_OF(waits->next, struct pubsub_wait, link);
}

void pubsub_keep_promises(struct dlist *waits)
{
    while (!dlist_is_empty(waits)) {
        struct pubsub_wait *wait = first_of(waits);
        dlist_remove(&wait->link);
        if (--wait->promise->left == 0)
            finish(wait->promise, ERR_OK, "");
    }
}

void pubsub_break_promises(struct dlist *waits, enum err err, const char *why)
{
    while (!dlist_is_empty(waits))
        finish(first_of(waits)->promise, err, why);
}

void pubsub_break_promises_later(struct dlist *waits, enum err err, const char *why)
{
    while (!dlist_is_empty(waits))
        finish_later(first_of(waits)->promise, err, why);
}

static struct pubsub_promise *promise_of(struct dlist *node)
{
    return CONTAINER_OF(node, struct pubsub_promise, by_age);
}

/* Shorter limits are rare: nearly always the place is the end. */
static void append_by_age(struct pubsub_backend *b, struct pubsub_promise *promise)
{
    struct dlist *before = b->promises.prev;
    while (before != &b->promises && promise_of(before)->deadline_ms > promise->deadline_ms)
        before = before->prev;
    dlist_append(before->next, &promise->by_age);
}

void pubsub_promise(struct pubsub_backend *b, struct pubsub_sub **subs, size_t count,
                    uint64_t limit_ms, struct layer_call *call)
{
    struct pubsub_promise *promise =
        mem_alloc(sizeof(*promise) + count * sizeof(promise->waits[0]));
    promise->backend = b;
    promise->call = call;
    promise->count = count;
    promise->deadline_ms = uv_now(b->uv) + limit_ms;
    dlist_init(&promise->by_age);
    for (size_t i = 0; i < count; i++) {
        struct pubsub_wait *wait = &promise->waits[i];
        wait->promise = promise;
        wait->sub = subs[i];
        dlist_init(&wait->link);
        if (subs[i]->state == SUB_IN)
            continue;
        dlist_append(&subs[i]->waits, &wait->link);
        promise->left++;
    }
    if (promise->left == 0) {
        finish_later(promise, ERR_OK, "");
        return;
    }
    append_by_age(b, promise);
    if (b->promises.next == &promise->by_age)
        pubsub_set_deadline(b);
}

static void expire(struct pubsub_promise *promise)
{
    char why[ERR_TEXT_MAX];
    struct pubsub_sub *sub = NULL;
    for (size_t i = 0; i < promise->count && sub == NULL; i++)
        if (!dlist_is_empty(&promise->waits[i].link))
            sub = promise->waits[i].sub;
    assert(sub != NULL);
    const struct redis_link *link = sub->shard->subscriber.link;
    const bool is_up = redis_link_is_up(link);
    if (is_up)
        snprintf(why, sizeof(why), "%s: no answer to SUBSCRIBE in time", sub->shard->host->text);
    else
        snprintf(why, sizeof(why), "%s", redis_link_why(link));
    if (sub->is_group) { /* one that could not be joined is none that this node is in */
        sub->is_group = false;
        dlist_remove(&promise->waits[0].link);
        pubsub_sub_changed(sub);
    }
    finish(promise, is_up ? ERR_TIMEOUT : ERR_UNAVAILABLE, why);
}

void pubsub_expire_promises(struct pubsub_backend *b, uint64_t now_ms)
{
    while (!dlist_is_empty(&b->promises)) {
        struct pubsub_promise *oldest = promise_of(b->promises.next);
        if (oldest->deadline_ms > now_ms)
            return;
        expire(oldest);
    }
}

void pubsub_end_promises(struct pubsub_backend *b)
{
    while (!dlist_is_empty(&b->promises))
        finish_later(promise_of(b->promises.next), ERR_CLOSED, "the layer ends");
}
