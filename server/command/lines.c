/* SPDX-License-Identifier: BSD-3-Clause */
#include "server/command/lines.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>

enum { READ_BYTES = 64 * 1024 };

void line_reader_init(struct line_reader *r, int fd, size_t line_max)
{
    *r = (struct line_reader){.fd = fd};
    buf_init(&r->in, line_max + 2 + READ_BYTES);
}

void line_reader_deinit(struct line_reader *r)
{
    buf_deinit(&r->in);
}

static enum err read_some(struct line_reader *r, struct err_text *why)
{
    const enum err err = buf_reserve(&r->in, READ_BYTES);
    if (err == ERR_TOO_BIG)
        return err_fail(why, err, "longer than %zu bytes",
                        (size_t)r->in.max_bytes - READ_BYTES - 2);
    if (err != ERR_OK)
        return err_fail(why, err, "%s", err_str(err));
    const ssize_t count = read(r->fd, r->in.ptr + r->in.len, READ_BYTES);
    if (count < 0 && errno != EINTR)
        return err_fail(why, ERR_IO, "standard input: %s", strerror(errno));
    r->is_at_end = count == 0;
    r->in.len += count > 0 ? (uint32_t)count : 0;
    return ERR_OK;
}

enum err line_reader_next(struct line_reader *r, struct slice *line, struct err_text *why)
{
    size_t looked_at = 0;
    const uint8_t *end = NULL;
    buf_drop_front(&r->in, r->used);
    r->used = 0;
    while (end == NULL && (!r->is_at_end || looked_at < r->in.len)) {
        if (looked_at < r->in.len)
            end = memchr(r->in.ptr + looked_at, '\n', r->in.len - looked_at);
        looked_at = r->in.len;
        const enum err err = end == NULL && !r->is_at_end ? read_some(r, why) : ERR_OK;
        if (err != ERR_OK) {
            r->number++;
            return err;
        }
    }
    if (r->in.len == 0)
        return ERR_CLOSED;
    r->number++;
    size_t len = end != NULL ? (size_t)(end - r->in.ptr) : r->in.len;
    r->used = end != NULL ? len + 1 : len;
    if (len > 0 && r->in.ptr[len - 1] == '\r')
        len--;
    *line = slice_make(r->in.ptr, len);
    return ERR_OK;
}

enum err lines_write(int fd, struct slice text, int wake_fd, struct err_text *why)
{
    struct pollfd fds[] = {{.fd = fd, .events = POLLOUT}, {.fd = wake_fd, .events = POLLIN}};
    for (size_t done = 0; done < text.len;) {
        const int ready = poll(fds, 2, -1);
        if (ready >= 0 && fds[1].revents != 0)
            return err_fail(why, ERR_CLOSED, "stopped");
        /* A pipe that poll() calls writable takes this much without blocking. */
        const size_t part = text.len - done < PIPE_BUF ? text.len - done : PIPE_BUF;
        const ssize_t count = ready < 0 ? -1 : write(fd, text.ptr + done, part);
        if (count >= 0)
            done += (size_t)count;
        else if (errno != EINTR && errno != EAGAIN)
            return err_fail(why, errno == EPIPE ? ERR_CLOSED : ERR_IO, "standard output: %s",
                            strerror(errno));
    }
    return ERR_OK;
}
