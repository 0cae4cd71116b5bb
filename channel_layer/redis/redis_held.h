/* SPDX-License-Identifier: BSD-3-Clause
 *
 * redis_held: what is to be sent by a shard when those whom it is for are back.
 *
 * Why: after a loss of Redis one node is back before the other, and what the first sends then would
 * reach a part of those whom it is for. Who is back is seen in different ways by the backends
 * (redis_settle.h, pubsub_nodes.h); how what is sent waits meanwhile is the same.
 *
 * Thread: the loop's.
 */
#ifndef CHANNEL_LAYER_REDIS_REDIS_HELD_H
#define CHANNEL_LAYER_REDIS_REDIS_HELD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/dlist.h"
#include "core/err.h"

enum {
    /* From the return of Redis; more than the longest pause between two attempts to connect
     * (redis_pause.h) and the time that it takes to be whole again. */
    REDIS_SETTLE_MS = 1000,
    REDIS_SETTLE_POLL_MS = 50,
    REDIS_HELD_BYTES = 8 * 1024 * 1024, /* of a shard, as much as waits in a link */
};

/* A part of its owner's object. All of a list have the same time, so that the oldest ends first. */
struct redis_held {
    uint64_t deadline_ms;
    size_t bytes; /* that it takes */
    /* ERR_OK: it may be sent. ERR_UNAVAILABLE: that was not so when its time was over; ERR_CLOSED.
     * Not called inside the function that took it. @why is borrowed. */
    void (*released)(struct redis_held *held, enum err err, const char *why);
    /* private */
    struct dlist link;
    uint64_t number;
};

struct redis_held_list {
    /* private */
    struct dlist list; /* struct redis_held, by their numbers */
    size_t bytes;
    /* since they were set to 0 */
    uint64_t held;
    uint64_t failed;
};

void redis_held_init(struct redis_held_list *l);
/* Nothing is held any more. */
void redis_held_deinit(const struct redis_held_list *l);

bool redis_held_is_empty(const struct redis_held_list *l);
/* @number: smaller for what came before. Errors: ERR_TOO_BIG: too much is held already. */
enum err redis_held_add(struct redis_held_list *l, struct redis_held *held,
                        uint64_t number) MUST_CHECK;
/* When the oldest's time is over; UINT64_MAX: there is none. */
uint64_t redis_held_due_ms(const struct redis_held_list *l);

/* Releases those whose time is over at @now_ms, none of which may be added again inside. */
void redis_held_expire(struct redis_held_list *l, uint64_t now_ms, const char *why);
/* Releases all; what is added inside stays. */
void redis_held_release(struct redis_held_list *l, enum err err, const char *why);

#endif
