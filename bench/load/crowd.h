/* SPDX-License-Identifier: BSD-3-Clause
 *
 * crowd: the WebSockets of a scenario, opened a few at a time and kept.
 *
 * Why: echo, fan-out and idle differ in what they do with open WebSockets, not in how they get
 * them.
 *
 * Thread: owner only.
 */
#ifndef BENCH_LOAD_CROWD_H
#define BENCH_LOAD_CROWD_H

#include <stdbool.h>
#include <stdint.h>

#include "bench/load/sequence.h"
#include "bench/load/ws.h"

struct load;
struct crowd;

struct member {
    struct ws ws; /* first: a WebSocket of ours is its member */
    struct crowd *crowd;
    uint32_t id;
    uint32_t next_number; /* echo: of the message that it sends next */
    uint32_t in_flight;   /* echo: messages that have not come back */
    uint64_t begun_ns;    /* when it began to connect */
    struct sequence sequence;
};

struct crowd_ops {
    void (*opened)(struct member *m);
    void (*message)(struct member *m, struct slice text);
    /* It never opened, or @was_open and ended too early; that was counted. */
    void (*ended)(struct member *m, bool was_open);
};

struct crowd {
    struct load *load;
    const struct crowd_ops *ops;
    struct member *members;
    unsigned count;   /* of members */
    unsigned wanted;  /* so many of them are to be opened */
    unsigned begun;   /* began to open */
    unsigned pending; /* of these, still opening */
    unsigned open;
};

/* @wanted of @count members open as crowd_tick() is called. */
void crowd_init(struct crowd *c, struct load *load, const struct crowd_ops *ops, unsigned count,
                unsigned wanted);

/* Begins to open some more. */
void crowd_tick(struct crowd *c);

/* Whether all that are wanted are open or have failed. */
bool crowd_is_ready(const struct crowd *c);

void crowd_deinit(struct crowd *c);

#endif
