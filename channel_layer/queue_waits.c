/* SPDX-License-Identifier: BSD-3-Clause
 *
 * A wait is WAITING in its queue's list, then UNTAKEN in its client's, then gone.
 */
#include "channel_layer/queue.h"

#include "core/log.h"
#include "core/mem.h"

static struct slice token_key(const uint64_t *token)
{
    return slice_make(token, sizeof(*token));
}

static struct layer_wait *find_wait(const struct layer_client *client, uint64_t token)
{
    const struct queues *q = &client->layer->queues;
    struct strmap_entry *entry = strmap_find(&q->tokens, token_key(&token));
    struct layer_wait *wait =
        entry != NULL ? CONTAINER_OF(entry, struct layer_wait, by_token) : NULL;
    return wait != NULL && wait->client == client ? wait : NULL;
}

static bool is_waiting(const struct layer_wait *wait)
{
    return !dlist_is_empty(&wait->of_queue);
}

static void free_wait(struct queues *q, struct layer_wait *wait)
{
    strmap_remove(&q->tokens, &wait->by_token);
    dlist_remove(&wait->of_client);
    dlist_remove(&wait->of_queue);
    mem_free(wait);
}

/* ---- what a client does ---- */

uint64_t layer_receive(struct layer_client *client, struct slice channel, struct err_text *why)
{
    struct queues *q = &client->layer->queues;
    if (!layer_is_channel_name(client->layer, channel) || name_is_specific(channel)) {
        err_fail(why, ERR_INVALID, "\"%.*s\" is not the name of a normal channel",
                 channel.len < 120 ? (int)channel.len : 120, (const char *)channel.ptr);
        return 0;
    }
    struct layer_wait *wait = mem_alloc(sizeof(*wait));
    struct layer_queue *queue = queue_make(q, channel);
    wait->token = ++q->next_token;
    wait->client = client;
    wait->queue = queue;
    dlist_append(&client->waiting, &wait->of_client);
    dlist_append(&queue->waits, &wait->of_queue);
    queue->wait_count++;
    strmap_add(&q->tokens, &wait->by_token, token_key(&wait->token));
    queue->is_blocked = false;
    queue_tell_wanted(q, queue);
    queue_serve_later(q, queue);
    return wait->token;
}

static void cancel(struct queues *q, struct layer_wait *wait)
{
    struct layer_queue *queue = wait->queue;
    queue->wait_count--;
    free_wait(q, wait);
    if (queue->wait_count == 0)
        queue->is_blocked = false;
    queue_tell_wanted(q, queue);
    queue_drop_if_empty(q, queue);
}

void layer_cancel(struct layer_client *client, uint64_t token)
{
    struct layer_wait *wait = find_wait(client, token);
    if (wait != NULL && is_waiting(wait))
        cancel(&client->layer->queues, wait);
}

static void take(struct queues *q, struct layer_wait *wait)
{
    struct backend *backend = q->layer->backend;
    struct layer_queue *queue = wait->queue;
    queue->untaken_count--;
    queue_free_message(q, wait->message);
    if (wait->is_backends && backend != NULL)
        backend->ops->taken(backend, queue->name, wait->handle);
    free_wait(q, wait);
    queue_drop_if_empty(q, queue);
}

void layer_taken(struct layer_client *client, uint64_t token)
{
    struct queues *q = &client->layer->queues;
    struct layer_wait *wait = find_wait(client, token);
    if (wait == NULL || is_waiting(wait))
        return;
    strikes_clear(&q->strikes, wait->strikes_id);
    take(q, wait);
}

static void put_back(struct queues *q, struct layer_wait *wait)
{
    struct layer_queue *queue = wait->queue;
    struct backend *backend = q->layer->backend;
    struct queue_message *message = wait->message;
    queue->untaken_count--;
    q->layer->stats.put_back++;
    if (wait->is_backends && backend != NULL && !q->layer->is_closing)
        backend->ops->put_back(backend, queue->name, wait->handle);
    free_wait(q, wait);
    if (message != NULL)
        queue_insert(q, queue, message);
    queue_serve_later(q, queue);
}

void layer_put_back(struct layer_client *client, uint64_t token)
{
    struct layer_wait *wait = find_wait(client, token);
    if (wait != NULL && !is_waiting(wait))
        put_back(&client->layer->queues, wait);
}

void layer_room(struct layer_client *client)
{
    struct queues *q = &client->layer->queues;
    for (struct dlist *n = client->waiting.next; n != &client->waiting; n = n->next) {
        struct layer_queue *queue = CONTAINER_OF(n, struct layer_wait, of_client)->queue;
        if (!queue->is_blocked)
            continue;
        queue->is_blocked = false;
        queue_tell_wanted(q, queue);
        queue_serve_later(q, queue);
    }
}

/* ---- what happens to its waits ---- */

void layer_normal_failed(struct layer *layer, struct slice channel, enum err err, const char *why)
{
    struct queues *q = &layer->queues;
    struct layer_queue *queue = queue_find(q, channel);
    struct dlist *next = NULL;
    if (queue == NULL)
        return;
    for (struct dlist *n = queue->waits.next; n != &queue->waits; n = next) {
        struct layer_wait *wait = CONTAINER_OF(n, struct layer_wait, of_queue);
        next = n->next;
        if (wait->client->ops->failed == NULL)
            continue;
        queue->wait_count--;
        wait->client->ops->failed(wait->client, wait->token, err, why);
        free_wait(q, wait);
    }
    queue->is_blocked = queue->is_blocked && queue->wait_count > 0;
    queue_tell_wanted(q, queue);
    queue_drop_if_empty(q, queue);
}

/* The client is gone, and this is what it got last. */
static bool is_out(struct queues *q, const struct layer_wait *wait)
{
    const struct slice channel = wait->queue->name;
    if (q->layer->is_closing || wait->strikes_id == 0 ||
        !strikes_add(&q->strikes, wait->strikes_id))
        return false;
    q->layer->stats.dropped_deadly++;
    log_event(LOG_ERROR, "layer.deadly",
              "channel=%.*s deaths=%d text=\"dropped a message: whoever "
              "handled it ended before it was handled\"",
              (int)channel.len, (const char *)channel.ptr, STRIKES_OUT);
    return true;
}

void queues_detach(struct queues *q, struct layer_client *client)
{
    while (!dlist_is_empty(&client->waiting))
        cancel(q, CONTAINER_OF(client->waiting.next, struct layer_wait, of_client));
    const struct dlist *last = client->untaken.prev;
    while (!dlist_is_empty(&client->untaken)) {
        struct layer_wait *wait = CONTAINER_OF(client->untaken.next, struct layer_wait, of_client);
        if (&wait->of_client == last && is_out(q, wait))
            take(q, wait);
        else
            put_back(q, wait);
    }
}

void queue_forget_untaken(struct queues *q)
{
    struct backend *backend = q->layer->backend;
    struct strmap_entry *entry = NULL;
    while ((entry = strmap_next(&q->tokens, entry)) != NULL) {
        struct layer_wait *wait = CONTAINER_OF(entry, struct layer_wait, by_token);
        queue_free_message(q, wait->message);
        wait->message = NULL;
        if (wait->is_backends && backend != NULL)
            backend->ops->taken(backend, wait->queue->name, wait->handle);
        wait->is_backends = false;
        wait->strikes_id = 0;
    }
}
