/* SPDX-License-Identifier: BSD-3-Clause
 *
 * writer: the output half of a stream: what a turn appended goes out in one writev().
 *
 * Why: client connections and worker links need the same thing: gather, try at the end of the
 * turn, wait for the peer when the socket is full, tell how much has gone.
 *
 * Thread: owner loop only.
 */
#ifndef CORE_WRITER_H
#define CORE_WRITER_H

#include <stdbool.h>
#include <uv.h>

#include "core/chain.h"
#include "core/dlist.h"
#include "core/err.h"
#include "core/loop.h"
#include "core/slice.h"

struct writer;

struct writer_ops {
    /* Bytes left the chain (w->out.bytes is what still waits). May append, close or mark. */
    void (*drained)(struct writer *w);
    /* The stream failed; nothing will be written any more. Called once, from the end of a turn. */
    void (*failed)(struct writer *w, enum err err);
};

struct writer {
    struct chain out; /* read out.bytes freely; append only through writer_*() */
    /* private */
    struct dlist dirty;
    uv_stream_t *stream;
    struct loop *loop;
    const struct writer_ops *ops;
    uv_write_t *pending; /* set while the socket is full; made on demand */
    size_t pending_bytes;
    uint64_t taken;   /* bytes of writes that are done */
    enum err failure; /* why nothing can be written any more */
    bool failed;      /* and failed() was told so */
};

/* @stream is open on @loop and stays so until writer_stop(). */
void writer_init(struct writer *w, struct loop *loop, uv_stream_t *stream,
                 const struct writer_ops *ops);

/* Appends a copy of @data; it goes out at the end of this turn. What comes after the stream failed
 * or the writer was stopped is dropped. */
void writer_append(struct writer *w, struct slice data);

/* chain_reserve() and chain_commit() on the output; the commit marks it for the end of the turn. */
uint8_t *writer_reserve(struct writer *w, size_t len);
void writer_commit(struct writer *w, size_t len);

/* Writes what the socket takes now. Calls drained() or failed() as due. */
void writer_flush(struct writer *w);

/* Bytes of the write under way that a full socket has not taken yet: while it is full, and only
 * then, this tells whether anything still leaves. */
size_t writer_stuck(const struct writer *w);

/* Bytes since the beginning: that were appended, and of them those that the stream has taken. */
uint64_t writer_appended(const struct writer *w);
uint64_t writer_taken(const struct writer *w);

/* Before the stream is closed with uv_close(): no callback comes after this one. */
void writer_stop(struct writer *w);

/* In the stream's close callback: gives all memory back. */
void writer_deinit(struct writer *w);

#endif
