/* SPDX-License-Identifier: BSD-3-Clause
 *
 * A queue exists while it has waits (queue_waits.c) or messages (queue_messages.c).
 *
 * A client that has no room is passed over. When nobody else waits, the queue is blocked: its
 * messages stay (with a backend: none are asked for) until layer_room().
 */
#include "channel_layer/queue.h"

#include <assert.h>

#include "core/mem.h"

enum { SLOT_EXTRA = 16 }; /* bytes of the table of the queues, of each of them */

static size_t queue_cost(struct slice name)
{
    return sizeof(struct layer_queue) + name.len + QUEUE_BLOCK_EXTRA + SLOT_EXTRA;
}

struct layer_queue *queue_find(const struct queues *q, struct slice channel)
{
    struct strmap_entry *entry = strmap_find(&q->by_name, name_nonlocal(channel));
    return entry != NULL ? CONTAINER_OF(entry, struct layer_queue, by_name) : NULL;
}

struct layer_queue *queue_make(struct queues *q, struct slice channel)
{
    struct layer_queue *queue = queue_find(q, channel);
    if (queue != NULL)
        return queue;
    const struct slice name = name_nonlocal(channel);
    queue = mem_alloc(sizeof(*queue) + name.len);
    memcpy(queue->name_bytes, name.ptr, name.len);
    queue->name = slice_make(queue->name_bytes, name.len);
    dlist_init(&queue->ready);
    dlist_init(&queue->messages);
    dlist_init(&queue->waits);
    q->bytes += queue_cost(name);
    dlist_append(&q->list, &queue->link);
    strmap_add(&q->by_name, &queue->by_name, queue->name);
    return queue;
}

void queue_drop_if_empty(struct queues *q, struct layer_queue *queue)
{
    if (queue->message_count > 0 || queue->wait_count > 0 || queue->untaken_count > 0)
        return;
    strmap_remove(&q->by_name, &queue->by_name);
    dlist_remove(&queue->link);
    dlist_remove(&queue->ready);
    q->bytes -= queue_cost(queue->name);
    mem_free(queue);
}

void queue_serve_later(struct queues *q, struct layer_queue *queue)
{
    dlist_remove(&queue->ready);
    dlist_append(&q->ready, &queue->ready);
    layer_wake(q->layer);
}

void queue_tell_wanted(const struct queues *q, const struct layer_queue *queue)
{
    struct backend *backend = q->layer->backend;
    if (backend != NULL && !q->layer->is_closing)
        backend->ops->want(backend, queue->name, queue->is_blocked ? 0 : queue->wait_count);
}

/* ---- handing over ---- */

/* The first who waits and has room; NULL: nobody, and then the queue is blocked if somebody waits.
 */
static struct layer_wait *next_wait(struct layer_queue *queue, size_t bytes)
{
    for (struct dlist *n = queue->waits.next; n != &queue->waits; n = n->next) {
        struct layer_wait *wait = CONTAINER_OF(n, struct layer_wait, of_queue);
        if (wait->client->ops->has_room(wait->client, bytes))
            return wait;
    }
    return NULL;
}

static void hand_over(struct layer_wait *wait, struct slice body)
{
    struct layer_client *client = wait->client;
    dlist_remove(&wait->of_queue);
    dlist_remove(&wait->of_client);
    dlist_append(&client->untaken, &wait->of_client);
    wait->queue->wait_count--;
    wait->queue->untaken_count++;
    wait->strikes_id = strikes_id(&client->layer->queues.strikes, wait->queue->name, body);
    client->layer->stats.delivered++;
    client->ops->message(client, wait->token, wait->queue->name, body);
}

/* Gives messages that wait to those who wait. */
static void serve(struct queues *q, struct layer_queue *queue)
{
    queue_expire(q, queue);
    while (!dlist_is_empty(&queue->messages) && !dlist_is_empty(&queue->waits)) {
        struct queue_message *message = queue_message_of(queue->messages.next);
        struct layer_wait *wait = next_wait(queue, message->len);
        queue->is_blocked = wait == NULL;
        if (wait == NULL)
            return;
        queue_take_out(queue, message);
        wait->message = message;
        hand_over(wait, slice_make(message->body, message->len));
    }
}

enum err queues_put(struct queues *q, struct slice channel, struct slice body)
{
    struct queue_message *message = NULL;
    struct layer_queue *queue = queue_find(q, channel);
    if (queue != NULL)
        queue_expire(q, queue);
    if (queue != NULL && queue->message_count >= layer_config_capacity(q->layer->config, channel))
        return ERR_FULL;
    const size_t more = queue == NULL ? queue_cost(name_nonlocal(channel)) : 0;
    const enum err err = queue_make_message(&message, q, body, more);
    if (err != ERR_OK)
        return err;
    queue = queue_make(q, channel);
    queue_insert(q, queue, message);
    serve(q, queue);
    return ERR_OK;
}

bool layer_normal_arrived(struct layer *layer, struct slice channel, uint64_t handle,
                          struct slice body)
{
    struct queues *q = &layer->queues;
    struct layer_queue *queue = queue_find(q, channel);
    layer->stats.received++;
    if (queue == NULL)
        return false;
    struct layer_wait *wait = next_wait(queue, body.len);
    if (wait == NULL) {
        if (queue->wait_count > 0 && !queue->is_blocked) {
            queue->is_blocked = true;
            queue_tell_wanted(q, queue);
        }
        return false;
    }
    wait->is_backends = true;
    wait->handle = handle;
    hand_over(wait, body);
    queue_tell_wanted(q, queue);
    return true;
}

void queues_serve(struct queues *q)
{
    struct dlist batch;
    struct dlist *node = NULL;
    dlist_init(&batch);
    dlist_splice(&batch, &q->ready);
    while ((node = dlist_take_first(&batch)) != NULL) {
        struct layer_queue *queue = CONTAINER_OF(node, struct layer_queue, ready);
        serve(q, queue);
        queue_drop_if_empty(q, queue);
    }
}

/* ---- life ---- */

void queues_forget(struct queues *q)
{
    struct dlist *next = NULL;
    queue_forget_untaken(q);
    for (struct dlist *n = q->list.next; n != &q->list; n = next) {
        struct layer_queue *queue = CONTAINER_OF(n, struct layer_queue, link);
        next = n->next;
        while (!dlist_is_empty(&queue->messages)) {
            struct queue_message *message = queue_message_of(queue->messages.next);
            queue_take_out(queue, message);
            queue_free_message(q, message);
        }
        queue_drop_if_empty(q, queue);
    }
}

void queues_init(struct queues *q, struct layer *layer)
{
    *q = (struct queues){.layer = layer};
    strmap_init(&q->by_name);
    strmap_init(&q->tokens);
    strikes_init(&q->strikes);
    dlist_init(&q->list);
    dlist_init(&q->by_age);
    dlist_init(&q->ready);
}

void queues_deinit(struct queues *q)
{
    queues_forget(q); /* nobody waits any more, so that this is the end of all queues */
    assert(dlist_is_empty(&q->list) && q->tokens.count == 0 && q->bytes == 0);
    strmap_deinit(&q->by_name);
    strmap_deinit(&q->tokens);
}
