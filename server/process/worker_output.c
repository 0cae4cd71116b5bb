/* SPDX-License-Identifier: BSD-3-Clause */
#include "server/process/worker_output.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "core/log.h"

enum {
    CATCH_UP_MAX = 1024 * 1024
}; /* more cannot have waited; a child of the worker may go on printing */

static void pass(const struct worker_output *out, struct slice bytes)
{
    if (bytes.len > 0)
        log_pass_through(out->fd, bytes);
}

static void pass_partial(struct worker_output *out)
{
    pass(out, buf_slice(&out->partial));
    buf_deinit(&out->partial);
}

/* Holds @bytes, or passes them on when they are more than a line may have. */
static void hold(struct worker_output *out, struct slice bytes)
{
    if (bytes.len == 0)
        return;
    if (out->partial.len + bytes.len < LOG_LINE_MAX &&
        buf_append(&out->partial, bytes.ptr, bytes.len) == ERR_OK)
        return;
    pass_partial(out);
    pass(out, bytes);
}

static void feed(struct worker_output *out, struct slice bytes)
{
    const uint8_t *newline = memrchr(bytes.ptr, '\n', bytes.len);
    if (newline == NULL) {
        hold(out, bytes);
        return;
    }
    const size_t whole = (size_t)(newline - bytes.ptr) + 1;
    const struct slice lines = slice_make(bytes.ptr, whole);
    if (out->partial.len > 0 && buf_append(&out->partial, lines.ptr, lines.len) == ERR_OK) {
        pass_partial(out);
    } else {
        pass_partial(out);
        pass(out, lines);
    }
    hold(out, slice_make(bytes.ptr + whole, bytes.len - whole));
}

static void on_closed(uv_handle_t *handle)
{
    struct worker_output *out = handle->data;
    out->closed(out);
}

void worker_output_close(struct worker_output *out)
{
    if (uv_is_closing((uv_handle_t *)&out->pipe))
        return;
    if (out->partial.len > 0)
        feed(out, slice_str("\n")); /* it will never have an end of its own */
    uv_close((uv_handle_t *)&out->pipe, on_closed);
}

static void on_read(uv_stream_t *stream, ssize_t nread, const uv_buf_t *buf)
{
    struct worker_output *out = stream->data;
    if (nread > 0)
        feed(out, slice_make(buf->base, (size_t)nread));
    else if (nread < 0)
        worker_output_close(out);
}

void worker_output_init(struct worker_output *out, struct loop *loop, int fd,
                        void (*closed)(struct worker_output *out))
{
    uv_pipe_init(&loop->uv, &out->pipe, 0); /* cannot fail */
    out->pipe.data = out;
    out->closed = closed;
    out->fd = fd;
    buf_init(&out->partial, LOG_LINE_MAX + LOOP_READ_BYTES);
}

void worker_output_start(struct worker_output *out)
{
    if (uv_read_start((uv_stream_t *)&out->pipe, loop_lend_read_buf, on_read) != 0)
        worker_output_close(out);
}

void worker_output_catch_up(struct worker_output *out)
{
    uint8_t bytes[4096];
    size_t total = 0;
    uv_os_fd_t fd = -1;
    if (uv_is_closing((uv_handle_t *)&out->pipe) ||
        uv_fileno((const uv_handle_t *)&out->pipe, &fd) != 0)
        return;
    while (total < CATCH_UP_MAX) {
        const ssize_t count = read(fd, bytes, sizeof(bytes)); /* libuv made it non-blocking */
        if (count > 0) {
            feed(out, slice_make(bytes, (size_t)count));
            total += (size_t)count;
        } else if (count == 0) {
            worker_output_close(out);
            return;
        } else if (errno != EINTR) {
            return;
        }
    }
}
