/* SPDX-License-Identifier: BSD-3-Clause
 *
 * stream: one TCP connection to the server.
 *
 * Why: HTTP and WebSocket clients need the same: connect, keep what is half read, write what the
 * kernel takes and the rest later.
 *
 * Life: zeroed -> stream_open() -> connected() -> bytes()* -> ended() or stream_close(). The memory
 * belongs to the caller and may be opened again, from the next turn of the loop on.
 *
 * Thread: owner only.
 */
#ifndef BENCH_LOAD_STREAM_H
#define BENCH_LOAD_STREAM_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/buf.h"
#include "core/slice.h"

struct loop;
struct stream;

struct stream_ops {
    void (*connected)(struct stream *s);
    /* Bytes of the server, from the first that was not used before; returns how many are used. It
     * may close @s. */
    size_t (*bytes)(struct stream *s, struct slice in);
    /* @s is closed, because the server ended it (@why is NULL) or for the reason @why. */
    void (*ended)(struct stream *s, const char *why);
};

enum { STREAM_MAX_BYTES = 4 * 1024 * 1024 }; /* that may wait, in each direction */

struct stream {
    int fd; /* valid while is_open */
    bool is_open;
    bool is_connecting;
    bool is_writing; /* the loop tells when there is room */
    struct loop *loop;
    const struct stream_ops *ops;
    struct buf in;
    struct buf out;
};

/* Starts to connect to @server, which is on a loopback address. @number spreads the connections
 * over source addresses, so that their ports suffice.
 * Errors: ERR_NO_FILES, ERR_IO; @s is not open then. */
enum err stream_open(struct stream *s, struct loop *loop, const struct stream_ops *ops,
                     const struct sockaddr_in *server, unsigned number) MUST_CHECK;

/* Sends what stands in s->out. A failure is told by ended(), before this returns. */
void stream_flush(struct stream *s);

/* Closes at once; ended() is not called. Nothing happens when @s is not open. */
void stream_close(struct stream *s);

/* Gives the memory of the buffers back; @s is closed. */
void stream_deinit(struct stream *s);

/* For the loop. */
void stream_on_event(struct stream *s, uint32_t events);

#endif
