/* SPDX-License-Identifier: BSD-3-Clause
 *
 * A wait is WAITING in its queue's list, then UNTAKEN in its client's, then gone. A queue exists
 * while it has waits of either kind or messages.
 *
 * A client that has no room is passed over. When nobody else waits, the queue is blocked: its
 * messages stay (with a backend: none are asked for) until layer_room().
 */
#include "channel_layer/queues.h"

#include <assert.h>

#include "channel_layer/hub.h"
#include "core/log.h"
#include "core/mem.h"

enum {
    BLOCK_EXTRA = 16, /* bytes of the allocator, of each block */
    SLOT_EXTRA = 16,  /* of the table of the queues, of each of them */
};

struct layer_queue {
    struct strmap_entry by_name;
    struct dlist link;     /* queues->list */
    struct dlist ready;    /* queues->ready */
    struct dlist messages; /* struct queue_message, in the order of their numbers */
    struct dlist waits;    /* struct layer_wait */
    uint32_t message_count;
    uint32_t wait_count;
    uint32_t untaken_count;
    bool is_blocked; /* all who wait are full */
    struct slice name;
    char name_bytes[];
};

struct queue_message {
    struct dlist link;   /* queue->messages; alone while it is handed over */
    struct dlist by_age; /* queues->by_age; alone while it is handed over */
    struct layer_queue *queue;
    uint64_t number;
    uint64_t expires_ms;
    size_t len;
    uint8_t body[];
};

/* One receive. */
struct layer_wait {
    struct strmap_entry by_token;
    struct dlist of_client; /* client->waiting, then client->untaken */
    struct dlist of_queue;  /* queue->waits; alone from then on */
    uint64_t token;
    struct layer_client *client;
    struct layer_queue *queue;
    struct queue_message *message; /* handed over; NULL: the backend's, or flushed */
    uint64_t handle;               /* the backend's name for it */
    uint64_t strikes_id;           /* 0: not handed over, or flushed */
    bool is_backends;
};

/* ---- what counts against the ceiling ---- */

static size_t message_cost(size_t len)
{
    return sizeof(struct queue_message) + len + BLOCK_EXTRA;
}

static size_t queue_cost(struct slice name)
{
    return sizeof(struct layer_queue) + name.len + BLOCK_EXTRA + SLOT_EXTRA;
}

/* ---- queues ---- */

static struct layer_queue *find_queue(const struct queues *q, struct slice channel)
{
    struct strmap_entry *entry = strmap_find(&q->by_name, name_nonlocal(channel));
    return entry != NULL ? CONTAINER_OF(entry, struct layer_queue, by_name) : NULL;
}

static struct layer_queue *make_queue(struct queues *q, struct slice channel)
{
    struct layer_queue *queue = find_queue(q, channel);
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

static void drop_if_empty(struct queues *q, struct layer_queue *queue)
{
    if (queue->message_count > 0 || queue->wait_count > 0 || queue->untaken_count > 0)
        return;
    strmap_remove(&q->by_name, &queue->by_name);
    dlist_remove(&queue->link);
    dlist_remove(&queue->ready);
    q->bytes -= queue_cost(queue->name);
    mem_free(queue);
}

/* Has it served in the next turn: a receive is not answered before its token is known. */
static void serve_later(struct queues *q, struct layer_queue *queue)
{
    dlist_remove(&queue->ready);
    dlist_append(&q->ready, &queue->ready);
    layer_wake(q->layer);
}

/* Tells the backend how many are waited for now. */
static void tell_wanted(const struct queues *q, const struct layer_queue *queue)
{
    struct backend *backend = q->layer->backend;
    if (backend != NULL && !q->layer->is_closing)
        backend->ops->want(backend, queue->name, queue->is_blocked ? 0 : queue->wait_count);
}

/* ---- messages ---- */

static struct queue_message *message_of(struct dlist *node)
{
    return CONTAINER_OF(node, struct queue_message, link);
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

/* In a queue, at the place of its number. */
static void insert(struct queues *q, struct layer_queue *queue, struct queue_message *message)
{
    struct dlist *at = queue->messages.next;
    if (!dlist_is_empty(&queue->messages) &&
        message_of(queue->messages.prev)->number < message->number)
        at = &queue->messages; /* the ordinary way: the newest */
    while (at != &queue->messages && message_of(at)->number < message->number)
        at = at->next;
    dlist_append(at, &message->link);
    insert_by_age(q, message);
    message->queue = queue;
    queue->message_count++;
    if (q->by_age.next == &message->by_age)
        set_timer(q);
}

static void take_out(struct layer_queue *queue, struct queue_message *message)
{
    dlist_remove(&message->link);
    dlist_remove(&message->by_age);
    queue->message_count--;
}

static void free_message(struct queues *q, struct queue_message *message)
{
    if (message == NULL)
        return;
    q->bytes -= message_cost(message->len);
    mem_free(message);
}

/* Drops what is too old; in a queue the messages are in the order of their age. */
static void expire(struct queues *q, struct layer_queue *queue)
{
    const uint64_t now_ms = layer_now_ms(q->layer);
    while (!dlist_is_empty(&queue->messages)) {
        struct queue_message *message = message_of(queue->messages.next);
        if (message->expires_ms > now_ms)
            return;
        take_out(queue, message);
        free_message(q, message);
        q->layer->stats.dropped_expired++;
    }
}

static void on_timer(uv_timer_t *timer)
{
    struct queues *q = &((struct layer *)timer->data)->queues;
    const uint64_t now_ms = layer_now_ms(q->layer);
    while (!dlist_is_empty(&q->by_age) && aged(q->by_age.next)->expires_ms <= now_ms) {
        struct layer_queue *queue = aged(q->by_age.next)->queue;
        expire(q, queue);
        drop_if_empty(q, queue);
    }
    set_timer(q);
}

/* @more: bytes that come with it. */
static enum err make_message(struct queue_message **out, struct queues *q, struct slice body,
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
    expire(q, queue);
    while (!dlist_is_empty(&queue->messages) && !dlist_is_empty(&queue->waits)) {
        struct queue_message *message = message_of(queue->messages.next);
        struct layer_wait *wait = next_wait(queue, message->len);
        queue->is_blocked = wait == NULL;
        if (wait == NULL)
            return;
        take_out(queue, message);
        wait->message = message;
        hand_over(wait, slice_make(message->body, message->len));
    }
}

enum err queues_put(struct queues *q, struct slice channel, struct slice body)
{
    struct queue_message *message = NULL;
    struct layer_queue *queue = find_queue(q, channel);
    if (queue != NULL)
        expire(q, queue);
    if (queue != NULL && queue->message_count >= layer_config_capacity(q->layer->config, channel))
        return ERR_FULL;
    const size_t more = queue == NULL ? queue_cost(name_nonlocal(channel)) : 0;
    const enum err err = make_message(&message, q, body, more);
    if (err != ERR_OK)
        return err;
    queue = make_queue(q, channel);
    insert(q, queue, message);
    serve(q, queue);
    return ERR_OK;
}

bool layer_normal_arrived(struct layer *layer, struct slice channel, uint64_t handle,
                          struct slice body)
{
    struct queues *q = &layer->queues;
    struct layer_queue *queue = find_queue(q, channel);
    layer->stats.received++;
    if (queue == NULL)
        return false;
    struct layer_wait *wait = next_wait(queue, body.len);
    if (wait == NULL) {
        if (queue->wait_count > 0 && !queue->is_blocked) {
            queue->is_blocked = true;
            tell_wanted(q, queue);
        }
        return false;
    }
    wait->is_backends = true;
    wait->handle = handle;
    hand_over(wait, body);
    tell_wanted(q, queue);
    return true;
}

/* ---- waits ---- */

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

static void cancel(struct queues *q, struct layer_wait *wait)
{
    struct layer_queue *queue = wait->queue;
    queue->wait_count--;
    free_wait(q, wait);
    if (queue->wait_count == 0)
        queue->is_blocked = false;
    tell_wanted(q, queue);
    drop_if_empty(q, queue);
}

void layer_normal_failed(struct layer *layer, struct slice channel, enum err err, const char *why)
{
    struct queues *q = &layer->queues;
    struct layer_queue *queue = find_queue(q, channel);
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
    tell_wanted(q, queue);
    drop_if_empty(q, queue);
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
        insert(q, queue, message);
    serve_later(q, queue);
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
    free_message(q, wait->message);
    if (wait->is_backends && backend != NULL)
        backend->ops->taken(backend, queue->name, wait->handle);
    free_wait(q, wait);
    drop_if_empty(q, queue);
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

void layer_put_back(struct layer_client *client, uint64_t token)
{
    struct layer_wait *wait = find_wait(client, token);
    if (wait != NULL && !is_waiting(wait))
        put_back(&client->layer->queues, wait);
}

uint64_t layer_receive(struct layer_client *client, struct slice channel, struct err_text *why)
{
    struct queues *q = &client->layer->queues;
    if (!layer_is_channel_name(client->layer, channel) || name_is_specific(channel)) {
        err_fail(why, ERR_INVALID, "\"%.*s\" is not the name of a normal channel",
                 channel.len < 120 ? (int)channel.len : 120, (const char *)channel.ptr);
        return 0;
    }
    struct layer_wait *wait = mem_alloc(sizeof(*wait));
    struct layer_queue *queue = make_queue(q, channel);
    wait->token = ++q->next_token;
    wait->client = client;
    wait->queue = queue;
    dlist_append(&client->waiting, &wait->of_client);
    dlist_append(&queue->waits, &wait->of_queue);
    queue->wait_count++;
    strmap_add(&q->tokens, &wait->by_token, token_key(&wait->token));
    queue->is_blocked = false;
    tell_wanted(q, queue);
    serve_later(q, queue);
    return wait->token;
}

void layer_room(struct layer_client *client)
{
    struct queues *q = &client->layer->queues;
    for (struct dlist *n = client->waiting.next; n != &client->waiting; n = n->next) {
        struct layer_queue *queue = CONTAINER_OF(n, struct layer_wait, of_client)->queue;
        if (!queue->is_blocked)
            continue;
        queue->is_blocked = false;
        tell_wanted(q, queue);
        serve_later(q, queue);
    }
}

/* ---- life ---- */

void queues_serve(struct queues *q)
{
    struct dlist batch;
    struct dlist *node = NULL;
    dlist_init(&batch);
    dlist_splice(&batch, &q->ready);
    while ((node = dlist_take_first(&batch)) != NULL) {
        struct layer_queue *queue = CONTAINER_OF(node, struct layer_queue, ready);
        serve(q, queue);
        drop_if_empty(q, queue);
    }
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

/* What was handed over is no message any more: neither taking it nor putting it back means
 * anything. */
static void forget_untaken(struct queues *q)
{
    struct backend *backend = q->layer->backend;
    struct strmap_entry *entry = NULL;
    while ((entry = strmap_next(&q->tokens, entry)) != NULL) {
        struct layer_wait *wait = CONTAINER_OF(entry, struct layer_wait, by_token);
        free_message(q, wait->message);
        wait->message = NULL;
        if (wait->is_backends && backend != NULL)
            backend->ops->taken(backend, wait->queue->name, wait->handle);
        wait->is_backends = false;
        wait->strikes_id = 0;
    }
}

void queues_forget(struct queues *q)
{
    struct dlist *next = NULL;
    forget_untaken(q);
    for (struct dlist *n = q->list.next; n != &q->list; n = next) {
        struct layer_queue *queue = CONTAINER_OF(n, struct layer_queue, link);
        next = n->next;
        while (!dlist_is_empty(&queue->messages)) {
            struct queue_message *message = message_of(queue->messages.next);
            take_out(queue, message);
            free_message(q, message);
        }
        drop_if_empty(q, queue);
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
