/* SPDX-License-Identifier: BSD-3-Clause
 *
 * A message is in its queue's list, in the order of the numbers, and in that of all by age; or it
 * is handed over, and in neither. All live equally long, so that both orders are nearly the same.
 */
#include "channel_layer/queue.h"

#include "core/mem.h"

static size_t message_cost(size_t len)
{
    return sizeof(struct queue_message) + len + QUEUE_BLOCK_EXTRA;
}

static struct queue_message *aged(struct dlist *node)
{
    return CONTAINER_OF(node, struct queue_message, by_age);
}

static void on_timer(uv_timer_t *timer);

static void set_timer(struct queues *q)
{
    if (dlist_is_empty(&q->by_age) || uv_is_closing((uv_handle_t *)&q->timer)) {
        uv_timer_stop(&q->timer);
        return;
    }
    const uint64_t now_ms = layer_now_ms(q->layer);
    const uint64_t due_ms = aged(q->by_age.next)->expires_ms;
    uv_timer_start(&q->timer, on_timer, due_ms > now_ms ? due_ms - now_ms : 0, 0);
}

/* What goes back is among the oldest, what comes is the youngest: one end is always near. */
static void insert_by_age(struct queues *q, struct queue_message *message)
{
    struct dlist *at = &q->by_age;
    if (!dlist_is_empty(at) && aged(at->prev)->expires_ms > message->expires_ms)
        for (at = at->next; aged(at)->expires_ms <= message->expires_ms;)
            at = at->next;
    dlist_append(at, &message->by_age); /* in front of it */
}

void queue_insert(struct queues *q, struct layer_queue *queue, struct queue_message *message)
{
    struct dlist *at = queue->messages.next;
    if (!dlist_is_empty(&queue->messages) &&
        queue_message_of(queue->messages.prev)->number < message->number)
        at = &queue->messages; /* the ordinary way: the newest */
    while (at != &queue->messages && queue_message_of(at)->number < message->number)
        at = at->next;
    dlist_append(at, &message->link);
    insert_by_age(q, message);
    message->queue = queue;
    queue->message_count++;
    if (q->by_age.next == &message->by_age)
        set_timer(q);
}

void queue_take_out(struct layer_queue *queue, struct queue_message *message)
{
    dlist_remove(&message->link);
    dlist_remove(&message->by_age);
    queue->message_count--;
}

void queue_free_message(struct queues *q, struct queue_message *message)
{
    if (message == NULL)
        return;
    q->bytes -= message_cost(message->len);
    mem_free(message);
}

void queue_expire(struct queues *q, struct layer_queue *queue)
{
    const uint64_t now_ms = layer_now_ms(q->layer);
    while (!dlist_is_empty(&queue->messages)) {
        struct queue_message *message = queue_message_of(queue->messages.next);
        if (message->expires_ms > now_ms)
            return;
        queue_take_out(queue, message);
        queue_free_message(q, message);
        q->layer->stats.dropped_expired++;
    }
}

static void on_timer(uv_timer_t *timer)
{
    struct queues *q = &((struct layer *)timer->data)->queues;
    const uint64_t now_ms = layer_now_ms(q->layer);
    while (!dlist_is_empty(&q->by_age) && aged(q->by_age.next)->expires_ms <= now_ms) {
        struct layer_queue *queue = aged(q->by_age.next)->queue;
        queue_expire(q, queue);
        queue_drop_if_empty(q, queue);
    }
    set_timer(q);
}

enum err queue_make_message(struct queue_message **out, struct queues *q, struct slice body,
                            size_t more)
{
    if (q->bytes + message_cost(body.len) + more > QUEUES_BYTES_MAX)
        return ERR_FULL;
    struct queue_message *message = mem_try(sizeof(*message) + body.len);
    if (message == NULL)
        return ERR_NOMEM;
    *message = (struct queue_message){
        .number = q->next_number++,
        .expires_ms = layer_now_ms(q->layer) + (uint64_t)q->layer->config->expiry_s * 1000,
        .len = body.len,
    };
    memcpy(message->body, body.ptr, body.len);
    dlist_init(&message->link);
    dlist_init(&message->by_age);
    q->bytes += message_cost(body.len);
    *out = message;
    return ERR_OK;
}
