/* SPDX-License-Identifier: BSD-3-Clause
 *
 * sequence: whether the messages of one connection come complete, once and in order.
 *
 * Why: a server that drops, repeats or reorders messages would look fast; each number is checked
 * as it comes, in 16 bytes per connection.
 *
 * Thread: owner only.
 */
#ifndef BENCH_LOAD_SEQUENCE_H
#define BENCH_LOAD_SEQUENCE_H

#include <stdint.h>

enum { SEQUENCE_WINDOW = 64 };

enum sequence_verdict {
    SEQUENCE_NEXT,     /* as it should be, or behind a gap */
    SEQUENCE_LATE,     /* fills a gap: came out of order */
    SEQUENCE_REPEATED, /* was there before, or is over 64 behind */
};

struct sequence {
    /* private */
    uint64_t missing; /* bit i: the number i + 1 before next has not come */
    uint32_t next;    /* the number that should come */
};

/* From now on @first is the next number; what is before it counts as repeated. */
void sequence_init(struct sequence *s, uint32_t first);

/* The number @number came. */
enum sequence_verdict sequence_check(struct sequence *s, uint32_t number);

#endif
