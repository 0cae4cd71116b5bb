/* SPDX-License-Identifier: BSD-3-Clause
 *
 * queues: normal channels: who waits for a message, and, without a backend, the messages that wait.
 *
 * Why: a normal channel has many receivers, of whom each message goes to one; a receiver that goes
 * before it took its message must not take it along. So each receive is a wait with a token, served
 * in the order of arrival over all clients; a message that was handed over stays a message until it
 * is taken, and otherwise goes back to where it was.
 *
 * Without a backend the channels of nobody are queues, too: what is sent to them counts against
 * their capacity and expires, as it would in Redis. Of all channels together there is a ceiling on
 * the memory; a channel counts as well as its messages, since there may be as many.
 *
 * Thread: the loop's.
 */
#ifndef CHANNEL_LAYER_QUEUES_H
#define CHANNEL_LAYER_QUEUES_H

#include <stddef.h>
#include <stdint.h>
#include <uv.h>

#include "channel_layer/strikes.h"
#include "core/dlist.h"
#include "core/err.h"
#include "core/slice.h"
#include "core/strmap.h"

enum { QUEUES_BYTES_MAX = 256 * 1024 * 1024 }; /* of all queues and the messages in them */

struct layer;
struct layer_client;

struct queues {
    struct layer *layer;
    struct strmap by_name; /* struct layer_queue, by the name up to its '!' */
    struct dlist list;
    struct dlist by_age; /* struct queue_message, the oldest first */
    struct dlist ready;  /* struct layer_queue: those to be served in the next turn */
    size_t bytes;        /* against the ceiling */
    uint64_t next_number;
    struct strmap tokens; /* struct layer_wait */
    uint64_t next_token;
    struct strikes strikes;
    uv_timer_t timer; /* for the oldest message; opened and closed by the layer */
};

void queues_init(struct queues *q, struct layer *layer);
void queues_deinit(struct queues *q);

/* Puts a message into the queue of @channel, or hands it to who waits for it. Errors: ERR_FULL when
 * the channel, or all of them together, are at their ceiling; ERR_NOMEM. */
enum err queues_put(struct queues *q, struct slice channel, struct slice body) MUST_CHECK;

/* Once in each turn in which something is to be served (layer_wake()). */
void queues_serve(struct queues *q);

/* The client's receives end, its untaken messages go back, but for one of which too many died. */
void queues_detach(struct queues *q, struct layer_client *client);

/* Every message is gone, also those that were handed over. */
void queues_forget(struct queues *q);

#endif
