/* SPDX-License-Identifier: BSD-3-Clause
 *
 * worker_output: what a worker prints to one of its two output streams, passed on line by line.
 *
 * Why: what two workers print, and what this program logs, end up in the same stream; no line may
 * begin in the middle of another. The start of a line is therefore held until its end comes.
 *
 * The process is gone before its output always is: programs that it started may hold the stream
 * open.
 *
 * Thread: the main loop's.
 */
#ifndef SERVER_PROCESS_WORKER_OUTPUT_H
#define SERVER_PROCESS_WORKER_OUTPUT_H

#include <stdbool.h>
#include <uv.h>

#include "core/buf.h"
#include "core/loop.h"

struct worker_output {
    void *ctx; /* the owner's */
    /* private */
    uv_pipe_t pipe;
    struct buf partial; /* a line whose end has not come yet */
    void (*closed)(struct worker_output *out);
    int fd;
};

/* Makes the pipe, for uv_spawn() to open. @fd: 1 or 2; @closed is called when the memory may go. */
void worker_output_init(struct worker_output *out, struct loop *loop, int fd,
                        void (*closed)(struct worker_output *out));

/* Reads from now on, until the stream ends. */
void worker_output_start(struct worker_output *out);

/* The worker has ended: passes on what it printed last, now. */
void worker_output_catch_up(struct worker_output *out);

/* Ends it; what was not read is lost. Nothing happens when it has ended. */
void worker_output_close(struct worker_output *out);

#endif
