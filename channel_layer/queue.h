/* SPDX-License-Identifier: BSD-3-Clause
 *
 * queue: one normal channel here, as the parts of queues.h see it.
 *
 * Why: a queue is messages that wait (queue_messages.c: their order, age and memory) and those who
 * wait for one (queue_waits.c: tokens, and what becomes of a message that was handed over);
 * queues.c brings them together.
 *
 * Thread: the loop's.
 */
#ifndef CHANNEL_LAYER_QUEUE_H
#define CHANNEL_LAYER_QUEUE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "channel_layer/hub.h"
#include "channel_layer/queues.h"
#include "core/dlist.h"
#include "core/err.h"
#include "core/slice.h"
#include "core/strmap.h"

enum { QUEUE_BLOCK_EXTRA = 16 }; /* bytes of the allocator, of each block */

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

/* ---- the queue (queues.c) ---- */

struct layer_queue *queue_find(const struct queues *q, struct slice channel);
/* The same, made when there is none. */
struct layer_queue *queue_make(struct queues *q, struct slice channel);
void queue_drop_if_empty(struct queues *q, struct layer_queue *queue);
/* Has it served in the next turn: a receive is not answered before its token is known. */
void queue_serve_later(struct queues *q, struct layer_queue *queue);
/* Tells the backend how many are waited for now. */
void queue_tell_wanted(const struct queues *q, const struct layer_queue *queue);

/* ---- its messages (queue_messages.c) ---- */

static inline struct queue_message *queue_message_of(struct dlist *node)
{
    return CONTAINER_OF(node, struct queue_message, link);
}

/* A message in no queue. @more: bytes that come with it. Errors: ERR_FULL, ERR_NOMEM. */
enum err queue_make_message(struct queue_message **out, struct queues *q, struct slice body,
                            size_t more) MUST_CHECK;
/* Into a queue, at the place of its number. */
void queue_insert(struct queues *q, struct layer_queue *queue, struct queue_message *message);
void queue_take_out(struct layer_queue *queue, struct queue_message *message);
/* One that is in no queue; NULL is allowed. */
void queue_free_message(struct queues *q, struct queue_message *message);
/* Drops what is too old; in a queue the messages are in the order of their age. */
void queue_expire(struct queues *q, struct layer_queue *queue);

/* ---- who waits (queue_waits.c) ---- */

/* What was handed over is no message any more: neither taking it nor putting it back means
 * anything. */
void queue_forget_untaken(struct queues *q);

#endif
