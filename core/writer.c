/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Ordinary way: appends mark the writer; the end of the turn flushes it with one uv_try_write().
 *
 * Full socket: what is left goes to one uv_write() of at most PENDING_BYTES_MAX, whose bytes stay
 * in the chain until its callback; appends queue behind and do not mark. uv_try_write() would say
 * EAGAIN as long as it is pending, so it is not asked.
 *
 * What can go wrong: the stream breaks (the reason is kept and told at the end of a turn, never
 * inside an append); the owner stops the writer in drained() (which is therefore the last thing a
 * function does) or while a write is pending (its callback then only frees the request).
 */
#include "core/writer.h"

#include "core/mem.h"

#include <assert.h>

enum { GATHER_MAX = 64, PENDING_BYTES_MAX = 256 * 1024 };

static void mark(struct writer *w)
{
    if (dlist_is_empty(&w->dirty))
        dlist_append(&w->loop->dirty, &w->dirty);
}

static bool is_writable(const struct writer *w)
{
    return w->stream != NULL && w->failure == ERR_OK;
}

void writer_init(struct writer *w, struct loop *loop, uv_stream_t *stream,
                 const struct writer_ops *ops)
{
    *w = (struct writer){.loop = loop, .stream = stream, .ops = ops};
    dlist_init(&w->dirty);
}

void writer_append(struct writer *w, struct slice data)
{
    if (!is_writable(w) || data.len == 0)
        return;
    chain_append(&w->out, &w->loop->pool, data);
    if (w->pending == NULL)
        mark(w);
}

uint8_t *writer_reserve(struct writer *w, size_t len)
{
    return chain_reserve(&w->out, &w->loop->pool, len);
}

void writer_commit(struct writer *w, size_t len)
{
    if (!is_writable(w))
        return;
    chain_commit(&w->out, len);
    if (w->pending == NULL && w->out.bytes > 0)
        mark(w);
}

static unsigned gather(const struct writer *w, uv_buf_t *out, size_t max_bytes, size_t *bytes)
{
    struct iovec iov[GATHER_MAX];
    const size_t count = chain_gather(&w->out, iov, GATHER_MAX, max_bytes);
    *bytes = 0;
    for (size_t i = 0; i < count; i++) {
        out[i] = uv_buf_init(iov[i].iov_base, (unsigned)iov[i].iov_len);
        *bytes += iov[i].iov_len;
    }
    return (unsigned)count;
}

/* The stream has taken so much. */
static void consume(struct writer *w, size_t bytes)
{
    w->taken += bytes;
    chain_consume(&w->out, &w->loop->pool, bytes);
}

static bool send_more(struct writer *w);

static void on_written(uv_write_t *req, int status)
{
    struct writer *w = req->data;
    const size_t bytes = w->pending_bytes;
    mem_free(req);
    w->pending = NULL;
    w->pending_bytes = 0;
    if (w->stream == NULL) /* stopped; the status is ECANCELED or tells nobody anything */
        return;
    if (status < 0) {
        w->failure = err_from_uv(status);
        mark(w);
        return;
    }
    consume(w, bytes);
    (void)send_more(w);
    if (w->failure != ERR_OK)
        mark(w);
    w->ops->drained(w);
}

static void write_when_writable(struct writer *w)
{
    uv_buf_t bufs[GATHER_MAX];
    const unsigned count = gather(w, bufs, PENDING_BYTES_MAX, &w->pending_bytes);
    w->pending = mem_alloc(sizeof(*w->pending));
    w->pending->data = w;
    const int rc = uv_write(w->pending, w->stream, bufs, count, on_written);
    if (rc == 0)
        return;
    mem_free(w->pending);
    w->pending = NULL;
    w->pending_bytes = 0;
    w->failure = err_from_uv(rc);
}

/* Gives the stream what it takes now and arranges for the rest. Returns whether bytes left. */
static bool send_more(struct writer *w)
{
    bool moved = false;
    while (w->out.bytes > 0) {
        uv_buf_t bufs[GATHER_MAX];
        size_t bytes = 0;
        const unsigned count = gather(w, bufs, 0, &bytes);
        const int rc = uv_try_write(w->stream, bufs, count);
        const enum err err = err_from_uv(rc);
        if (err != ERR_OK && err != ERR_AGAIN) {
            w->failure = err;
            return moved;
        }
        const size_t sent = rc > 0 ? (size_t)rc : 0;
        consume(w, sent);
        moved = moved || sent > 0;
        if (sent < bytes) {
            write_when_writable(w);
            return moved;
        }
    }
    return moved;
}

void writer_flush(struct writer *w)
{
    dlist_remove(&w->dirty);
    if (w->stream == NULL || w->failed || w->pending != NULL)
        return;
    const bool moved = w->failure == ERR_OK && send_more(w);
    if (w->failure != ERR_OK) {
        w->failed = true;
        chain_clear(&w->out, &w->loop->pool);
        w->ops->failed(w, w->failure);
    } else if (moved) {
        w->ops->drained(w);
    }
}

size_t writer_stuck(const struct writer *w)
{
    return w->stream != NULL && w->pending != NULL ? uv_stream_get_write_queue_size(w->stream) : 0;
}

uint64_t writer_appended(const struct writer *w)
{
    return w->taken + w->out.bytes;
}

uint64_t writer_taken(const struct writer *w)
{
    const size_t left = writer_stuck(w);
    return w->taken + (left < w->pending_bytes ? w->pending_bytes - left : 0);
}

void writer_stop(struct writer *w)
{
    dlist_remove(&w->dirty);
    w->stream = NULL;
    if (w->pending == NULL) /* else libuv may still read the bytes */
        chain_clear(&w->out, &w->loop->pool);
}

void writer_deinit(struct writer *w)
{
    assert(w->stream == NULL && w->pending == NULL);
    if (w->loop != NULL) /* a zeroed writer has none */
        chain_clear(&w->out, &w->loop->pool);
}
