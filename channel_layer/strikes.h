/* SPDX-License-Identifier: BSD-3-Clause
 *
 * strikes: which messages were in the hands of clients that died.
 *
 * Why: a message of a normal channel that was not taken goes back, so that none is lost with a
 * process. One that kills whoever handles it would come back for ever, and nothing behind it would
 * be handled: it is out after its third death. Only the message that a client got last is
 * suspected, and one that was handled begins anew, so that a message is not out for its neighbour's
 * sake.
 *
 * Thread: the loop's.
 */
#ifndef CHANNEL_LAYER_STRIKES_H
#define CHANNEL_LAYER_STRIKES_H

#include <stdbool.h>
#include <stdint.h>

#include "core/slice.h"

enum {
    STRIKES_OUT = 3,
    STRIKES_KEPT = 64, /* the oldest make room: who has had none lately is no suspect */
};

struct strikes {
    /* private */
    uint64_t seed[2];
    struct {
        uint64_t id;    /* 0: free */
        uint64_t since; /* in the order in which they came */
        unsigned count;
    } kept[STRIKES_KEPT];
    uint64_t next_since;
    unsigned used;
};

void strikes_init(struct strikes *s);

/* What names the message: the same for one that comes again. Never 0. */
uint64_t strikes_id(const struct strikes *s, struct slice channel, struct slice body);

/* A client died with it. True: it is out, and forgotten here. */
bool strikes_add(struct strikes *s, uint64_t id);

/* It was handled. */
void strikes_clear(struct strikes *s, uint64_t id);

#endif
