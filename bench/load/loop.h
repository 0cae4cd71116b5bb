/* SPDX-License-Identifier: BSD-3-Clause
 *
 * loop: waits for sockets and hands out what happens.
 *
 * Why: one thread and epoll without a library, so that what the generator itself costs is small and
 * plain to see.
 *
 * Thread: owner only.
 */
#ifndef BENCH_LOAD_LOOP_H
#define BENCH_LOAD_LOOP_H

#include <stdbool.h>
#include <stdint.h>

#include "core/err.h"

enum { LOOP_READ_BYTES = 256 * 1024 };

struct stream;

struct loop {
    /* private */
    int epoll_fd;
    uint8_t *read_buf; /* lent to the stream that reads */
};

/* Errors: ERR_NO_FILES, ERR_IO. Nothing is left open then. */
enum err loop_init(struct loop *loop) MUST_CHECK;

/* Every stream must be closed before. */
void loop_deinit(struct loop *loop);

/* Tells @s what happens to its descriptor, for reading and, if @writes, for writing. */
enum err loop_watch(struct loop *loop, struct stream *s, bool writes) MUST_CHECK;

/* The same for a stream that is watched already. */
void loop_rewatch(struct loop *loop, struct stream *s, bool writes);

/* Handles one batch of events; waits for the first one until @until_ns at most. */
void loop_turn(struct loop *loop, uint64_t until_ns);

#endif
