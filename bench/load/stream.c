/* SPDX-License-Identifier: BSD-3-Clause */
#include "bench/load/stream.h"

#include "bench/load/loop.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

/* 127.0.0.1 to 127.0.0.16: each has its own range of ports towards one server. */
enum { SOURCE_ADDRESSES = 16 };

static void fail(struct stream *s, const char *why)
{
    stream_close(s);
    s->ops->ended(s, why);
}

static enum err make_socket(struct stream *s, const struct sockaddr_in *server, unsigned number)
{
    const int on = 1;
    const struct sockaddr_in source = {
        .sin_family = AF_INET,
        .sin_addr = {htonl(INADDR_LOOPBACK + number % SOURCE_ADDRESSES)},
    };

    s->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (s->fd < 0)
        return err_from_errno(errno);
    if (setsockopt(s->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)) != 0 ||
        setsockopt(s->fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof(on)) != 0 ||
        bind(s->fd, (const struct sockaddr *)&source, sizeof(source)) != 0 ||
        (connect(s->fd, (const struct sockaddr *)server, sizeof(*server)) != 0 &&
         errno != EINPROGRESS)) {
        const enum err err = err_from_errno(errno);
        close(s->fd);
        return err;
    }
    return ERR_OK;
}

enum err stream_open(struct stream *s, struct loop *loop, const struct stream_ops *ops,
                     const struct sockaddr_in *server, unsigned number)
{
    enum err err = make_socket(s, server, number);

    if (err != ERR_OK)
        return err;
    s->loop = loop;
    s->ops = ops;
    s->is_open = s->is_connecting = s->is_writing = true;
    if (s->in.max_bytes == 0) {
        buf_init(&s->in, STREAM_MAX_BYTES);
        buf_init(&s->out, STREAM_MAX_BYTES);
    }
    s->in.len = s->out.len = 0;
    err = loop_watch(loop, s, true);
    if (err != ERR_OK)
        stream_close(s);
    return err;
}

void stream_close(struct stream *s)
{
    if (!s->is_open)
        return;
    close(s->fd); /* takes it out of epoll too: the descriptor has no duplicate */
    s->is_open = false;
}

void stream_deinit(struct stream *s)
{
    stream_close(s);
    buf_deinit(&s->in);
    buf_deinit(&s->out);
}

void stream_flush(struct stream *s)
{
    size_t sent = 0;

    if (!s->is_open || s->is_connecting)
        return;
    while (sent < s->out.len) {
        const ssize_t n = send(s->fd, s->out.ptr + sent, s->out.len - sent, MSG_NOSIGNAL);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno == EAGAIN)
            break;
        if (n < 0) {
            fail(s, "send failed");
            return;
        }
        sent += (size_t)n;
    }
    buf_drop_front(&s->out, sent);
    const bool waits = s->out.len > 0;
    if (waits != s->is_writing) {
        s->is_writing = waits;
        loop_rewatch(s->loop, s, waits);
    }
}

/* Hands @in out and keeps what is not used. */
static void deliver(struct stream *s, struct slice in)
{
    const bool has_rest = s->in.len > 0;

    if (has_rest) {
        if (buf_append(&s->in, in.ptr, in.len) != ERR_OK) {
            fail(s, "more than 4 MiB of an unfinished message");
            return;
        }
        in = buf_slice(&s->in);
    }
    const size_t used = s->ops->bytes(s, in);
    if (!s->is_open)
        return;
    if (has_rest)
        buf_drop_front(&s->in, used);
    else if (buf_append(&s->in, in.ptr + used, in.len - used) != ERR_OK)
        fail(s, "more than 4 MiB of an unfinished message");
}

static void on_readable(struct stream *s)
{
    const ssize_t n = recv(s->fd, s->loop->read_buf, LOOP_READ_BYTES, 0);

    if (n > 0)
        deliver(s, slice_make(s->loop->read_buf, (size_t)n));
    else if (n == 0)
        fail(s, NULL);
    else if (errno != EAGAIN && errno != EINTR)
        fail(s, errno == ECONNRESET ? "connection reset" : "recv failed");
}

static void on_connect_done(struct stream *s)
{
    int error = 0;
    socklen_t size = sizeof(error);

    s->is_connecting = false;
    if (getsockopt(s->fd, SOL_SOCKET, SO_ERROR, &error, &size) != 0 || error != 0) {
        fail(s, error == ECONNREFUSED ? "connection refused" : "connect failed");
        return;
    }
    s->ops->connected(s);
    stream_flush(s);
}

void stream_on_event(struct stream *s, uint32_t events)
{
    if (!s->is_open)
        return;
    if (s->is_connecting) {
        on_connect_done(s);
        return;
    }
    if ((events & ~(uint32_t)EPOLLOUT) != 0)
        on_readable(s);
    if (s->is_open && (s->out.len > 0 || s->is_writing))
        stream_flush(s);
}
