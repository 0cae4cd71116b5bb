/* SPDX-License-Identifier: BSD-3-Clause */
#include "server/transport/conn.h"

#include <arpa/inet.h>
#include <assert.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "core/log.h"
#include "core/mem.h"

enum {
    HELD_READ_MAX =
        16 * 1024,        /* bytes held unread while the socket is still read, to see its end */
    HALF_CLOSED_MS = 500, /* how long an answer may pause for a peer that has ended its side */
    LINGER_MS = 2000,     /* how long the peer's end is awaited after ours */
};

#define TO(state) (1U << (state))
static const unsigned conn_next[CONN_STATES] = {
    [CONN_OPEN] = TO(CONN_FINISHING) | TO(CONN_CLOSED),
    [CONN_FINISHING] = TO(CONN_CLOSED),
    [CONN_CLOSED] = 0,
};

static void conn_move(struct conn *c, enum conn_state next)
{
    assert((conn_next[c->state] & TO(next)) != 0);
    c->state = (uint8_t)next;
}

bool conn_is_open(const struct conn *c)
{
    return c->state == CONN_OPEN;
}

/* ---- end ---- */

static void on_closed(uv_handle_t *handle)
{
    struct conn *c = handle->data;
    struct edge *e = c->edge;
    c->protocol->release(c);
    writer_deinit(&c->writer);
    buf_deinit(&c->held);
    mem_free(c);
    edge_conn_removed(e);
}

static void dismiss(struct conn *c)
{
    struct client *client = &c->client;
    c->must_dismiss = false;
    if (client->kind == NULL)
        return;
    client->kind->gone(client, c->dismiss_code, slice_make(NULL, 0));
    client->kind = NULL;
}

/* What close() sends is then a reset, and the kernel does not keep what a peer does not take. A
 * unix socket has none: its peer sees the end. */
static void ask_for_reset(const struct conn *c)
{
    const struct linger none = {.l_onoff = 1, .l_linger = 0};
    uv_os_fd_t fd = -1;
    if (uv_fileno((const uv_handle_t *)&c->handle.stream, &fd) == 0)
        (void)setsockopt(fd, SOL_SOCKET, SO_LINGER, &none, sizeof(none));
}

static void close_now(struct conn *c)
{
    if (c->must_dismiss)
        dismiss(c);
    if (c->must_reset || conn_queued(c) > 0)
        ask_for_reset(c);
    conn_move(c, CONN_CLOSED);
    wheel_clear(&c->edge->loop.wheel, &c->timer);
    dlist_remove(&c->link);
    dlist_remove(&c->todo);
    writer_stop(&c->writer);
    uv_close((uv_handle_t *)&c->handle.stream, on_closed);
}

void conn_abort(struct conn *c)
{
    if (c->state == CONN_CLOSED)
        return;
    if (c->state == CONN_OPEN)
        c->protocol->lost(c);
    close_now(c);
}

void conn_abort_later(struct conn *c)
{
    if (c->state == CONN_CLOSED)
        return;
    c->must_abort = true;
    conn_go_on(c);
}

void conn_reset_later(struct conn *c)
{
    c->must_reset = true;
    conn_abort_later(c);
}

/* Ours is written: the peer sees the end of the stream and may still be sending. */
static void shut_our_side(struct conn *c)
{
    uv_os_fd_t fd = -1;
    if (uv_fileno((const uv_handle_t *)&c->handle.stream, &fd) != 0 || shutdown(fd, SHUT_WR) != 0) {
        conn_abort_later(c); /* not now: this may be inside client_ops */
        return;
    }
    c->timer_at_ms = 0;
    conn_wake_at(c, loop_now_ms(&c->edge->loop) + LINGER_MS);
}

static void start_reading(struct conn *c);

void conn_finish(struct conn *c)
{
    if (c->state != CONN_OPEN)
        return;
    conn_move(c, CONN_FINISHING);
    buf_deinit(&c->held);
    c->progress_ms = loop_now_ms(&c->edge->loop);
    start_reading(c); /* to throw it away until the peer ends */
    if (c->writer.out.bytes == 0)
        shut_our_side(c);
    else
        conn_wake_at(c, c->progress_ms + LINGER_MS);
}

/* ---- deadline ---- */

void conn_wake_at(struct conn *c, uint64_t deadline_ms)
{
    if (c->timer_at_ms != 0 && c->timer_at_ms <= deadline_ms)
        return; /* wakes before that anyhow, and then asks again */
    c->timer_at_ms = deadline_ms;
    wheel_set(&c->edge->loop.wheel, &c->timer, deadline_ms);
}

static void finishing_expired(struct conn *c)
{
    if (c->writer.out.bytes == 0 || conn_is_stuck(c, c->edge->config->options->send_timeout_ms))
        close_now(c);
    else
        conn_wake_at(c, loop_now_ms(&c->edge->loop) + LINGER_MS);
}

/* Whether input is held that its consumer should still get: the peer sent it before it left. */
static bool owes_input(const struct conn *c)
{
    return c->state == CONN_OPEN && c->held.len > 0 && !c->protocol->is_answering(c);
}

/* When a peer that has ended its side is taken for one that has left. While output goes to it, it
 * has not: its kernel would refuse it. */
static uint64_t left_ms(const struct conn *c)
{
    const bool is_sent_to = conn_queued(c) > 0;
    const uint64_t heard_ms = is_sent_to ? loop_now_ms(&c->edge->loop) : c->progress_ms;
    const int64_t limit_ms =
        owes_input(c) ? c->edge->config->options->application_close_timeout_ms : HALF_CLOSED_MS;
    return (heard_ms > c->peer_ended_ms ? heard_ms : c->peer_ended_ms) + (uint64_t)limit_ms;
}

static void open_expired(struct conn *c)
{
    if (c->peer_ended_ms != 0 && loop_now_ms(&c->edge->loop) >= left_ms(c)) {
        conn_abort(c);
        return;
    }
    c->protocol->expired(c);
    if (c->state == CONN_OPEN && c->peer_ended_ms != 0)
        conn_wake_at(c, left_ms(c));
}

static void on_expired(struct wheel_entry *entry)
{
    struct conn *c = CONTAINER_OF(entry, struct conn, timer);
    c->timer_at_ms = 0;
    if (c->state == CONN_FINISHING)
        finishing_expired(c);
    else
        open_expired(c);
}

/* ---- input ---- */

static void stop_reading(struct conn *c)
{
    if (!c->reading)
        return;
    uv_read_stop(&c->handle.stream);
    c->reading = false;
}

/* Keeps what the protocol did not take; @in may be the held bytes themselves. */
static void hold(struct conn *c, const uint8_t *in, size_t len, size_t used)
{
    if (c->held.len > 0) {
        if (used > 0 && c->peer_ended_ms != 0)
            c->peer_ended_ms = loop_now_ms(&c->edge->loop); /* its consumer takes it: go on */
        if (used == c->held.len)
            buf_deinit(&c->held);
        else
            buf_drop_front(&c->held, used);
    } else if (used < len && buf_append(&c->held, in + used, len - used) != ERR_OK) {
        conn_abort(c);
        return;
    }
    if (c->held.len > HELD_READ_MAX)
        stop_reading(c);
}

static void feed(struct conn *c, uint8_t *in, size_t len)
{
    if (c->held.len > 0 && len > 0) {
        if (buf_append(&c->held, in, len) != ERR_OK) {
            conn_abort(c);
            return;
        }
    }
    if (c->held.len > 0) {
        in = c->held.ptr;
        len = c->held.len;
    }
    const size_t used = c->protocol->feed(c, in, len);
    if (c->state == CONN_OPEN)
        hold(c, in, len, used);
}

static void put_off_end(struct conn *c)
{
    stop_reading(c);
    if (c->peer_ended_ms == 0)
        c->peer_ended_ms = loop_now_ms(&c->edge->loop);
    conn_wake_at(c, left_ms(c));
}

/* The peer sends nothing more. That is how a client leaves, and also what one does that only shuts
 * its own side behind its request: an answer that comes soon still goes out, and what is queued
 * does. What it sent before goes to its consumer, at that one's pace; then the end is read again.
 */
static void handle_read_end(struct conn *c, enum err err)
{
    const bool is_owed = owes_input(c) || (c->state == CONN_OPEN && c->protocol->is_answering(c));
    if (err == ERR_CLOSED && is_owed) {
        put_off_end(c);
        return;
    }
    if (c->state == CONN_OPEN && err == ERR_CLOSED && conn_queued(c) > 0 && c->protocol->is_idle(c))
        conn_finish(c);
    if (c->state == CONN_FINISHING && err == ERR_CLOSED && conn_queued(c) > 0)
        stop_reading(c);
    else
        conn_abort(c);
}

static void on_read(uv_stream_t *stream, ssize_t nread, const uv_buf_t *buf)
{
    struct conn *c = stream->data;
    if (nread == 0)
        return;
    if (nread < 0)
        handle_read_end(c, err_from_uv((int)nread));
    else if (c->state == CONN_OPEN)
        feed(c, (uint8_t *)buf->base, (size_t)nread);
}

static void start_reading(struct conn *c)
{
    if (c->reading)
        return;
    c->reading = uv_read_start(&c->handle.stream, loop_lend_read_buf, on_read) == 0;
    if (!c->reading && !owes_input(c)) /* libuv refuses it behind a reset */
        conn_abort_later(c);
}

void conn_go_on(struct conn *c)
{
    if (c->state == CONN_CLOSED)
        return;
    if (c->held.len > 0 || c->must_abort || c->must_dismiss || c->must_drain) {
        if (dlist_is_empty(&c->todo))
            dlist_append(&c->edge->todo, &c->todo);
        edge_go_on(c->edge);
    } else if (!c->reading) {
        start_reading(c);
    }
}

void conn_dismiss_later(struct conn *c, uint16_t code)
{
    c->must_dismiss = true;
    c->dismiss_code = code;
    conn_go_on(c);
}

void conn_drained_later(struct conn *c)
{
    c->must_drain = true;
    conn_go_on(c);
}

void conn_resume(struct conn *c)
{
    if (c->must_dismiss)
        dismiss(c);
    if (c->must_abort) {
        conn_abort(c);
        return;
    }
    if (c->state != CONN_OPEN)
        return;
    if (c->must_drain) {
        c->must_drain = false;
        c->protocol->drained(c);
    }
    if (c->held.len > 0)
        feed(c, NULL, 0);
    if (c->state == CONN_OPEN && c->held.len <= HELD_READ_MAX)
        start_reading(c);
}

void conn_switch(struct conn *c, const struct conn_protocol *protocol, void *state)
{
    c->protocol = protocol;
    c->protocol_state = state;
    c->timer_at_ms = 0;
    wheel_clear(&c->edge->loop.wheel, &c->timer);
    conn_go_on(c);
}

/* ---- output ---- */

size_t conn_queued(const struct conn *c)
{
    return c->writer.out.bytes;
}

size_t conn_take_credit(const struct conn *c, size_t *unacked)
{
    const size_t waiting = conn_queued(c);
    const size_t still = *unacked < waiting ? *unacked : waiting;
    const size_t credit = *unacked - still;
    if (credit < CONN_CREDIT_BYTES)
        return 0;
    *unacked = still;
    return credit;
}

/* Bytes that the kernel holds for the peer: it may take long until it wants more of us. */
static size_t kernel_queue(const struct conn *c)
{
    uv_os_fd_t fd = -1;
    int bytes = 0;
    if (uv_fileno((const uv_handle_t *)&c->handle.stream, &fd) != 0 ||
        ioctl(fd, TIOCOUTQ, &bytes) != 0)
        return 0;
    return (size_t)bytes;
}

bool conn_look_at_delivery(const struct conn *c, struct conn_delivery *out)
{
    const uint64_t left = writer_taken(&c->writer);
    const size_t kept = kernel_queue(c);
    if (c->is_unix || kept > left)
        return false;
    out->taken = left - kept;
    out->end = writer_appended(&c->writer);
    return true;
}

bool conn_is_stuck(struct conn *c, int64_t limit_ms)
{
    const uint64_t now_ms = loop_now_ms(&c->edge->loop);
    const size_t stuck = writer_stuck(&c->writer);
    const size_t waiting = stuck + kernel_queue(c);
    if (stuck == 0 || waiting != c->stuck_bytes) {
        c->stuck_bytes = waiting;
        c->progress_ms = now_ms; /* not tried yet; or a slow peer, which is not a dead one */
    }
    return limit_ms >= 0 && c->writer.out.bytes > 0 &&
           now_ms - c->progress_ms >= (uint64_t)limit_ms;
}

static void on_drained(struct writer *w)
{
    struct conn *c = CONTAINER_OF(w, struct conn, writer);
    c->progress_ms = loop_now_ms(&c->edge->loop);
    if (c->state == CONN_OPEN)
        c->protocol->drained(c);
    else if (c->state == CONN_FINISHING && w->out.bytes == 0 && c->reading)
        shut_our_side(c);
    else if (c->state == CONN_FINISHING && w->out.bytes == 0)
        close_now(c); /* the peer has ended before us */
}

/* However it failed, the peer is gone; not so what it sent before. */
static void on_failed(struct writer *w, enum err err)
{
    struct conn *c = CONTAINER_OF(w, struct conn, writer);
    (void)err;
    if (!owes_input(c) || !c->protocol->takes_the_rest(c)) {
        conn_abort(c);
        return;
    }
    put_off_end(c);
    conn_go_on(c); /* what is queued does not hold it back any more */
}

static const struct writer_ops writer_ops = {on_drained, on_failed};

/* ---- begin ---- */

/* The connection that waits at @server, or @fd when @server is NULL. Takes @fd. */
static int take_socket(struct conn *c, uv_stream_t *server, int fd)
{
    if (server != NULL)
        return uv_accept(server, &c->handle.stream);
    const int rc = c->is_unix ? uv_pipe_open(&c->handle.pipe, fd) : uv_tcp_open(&c->handle.tcp, fd);
    if (rc < 0)
        close(fd);
    return rc;
}

static enum err open_handle(struct conn *c, uv_stream_t *server, int fd)
{
    struct loop *loop = &c->edge->loop;
    int rc = c->is_unix ? uv_pipe_init(&loop->uv, &c->handle.pipe, 0)
                        : uv_tcp_init(&loop->uv, &c->handle.tcp);
    if (rc < 0)
        return err_from_uv(rc);
    c->handle.stream.data = c;
    writer_init(&c->writer, loop, &c->handle.stream, &writer_ops);
    rc = take_socket(c, server, fd);
    if (rc == 0 && !c->is_unix) {
        int len = (int)sizeof(c->peer);
        uv_tcp_nodelay(&c->handle.tcp, 1);
        rc = uv_tcp_getpeername(&c->handle.tcp, &c->peer.any, &len);
    }
    return err_from_uv(rc);
}

static void release_nothing(struct conn *c)
{
    (void)c;
}

static enum err begin(struct edge *e, uv_stream_t *server, int fd, bool is_unix, bool refuse)
{
    static const struct conn_protocol unborn = {.release = release_nothing};
    struct conn *c = mem_alloc(sizeof(*c));
    c->edge = e;
    c->is_unix = is_unix;
    c->protocol = &unborn;
    c->peer.any.sa_family = AF_UNIX;
    dlist_init(&c->link);
    dlist_init(&c->todo);
    wheel_entry_init(&c->timer, on_expired);
    buf_init(&c->held, HELD_READ_MAX + LOOP_READ_BYTES);
    edge_conn_added(e);
    const enum err err = open_handle(c, server, fd);
    if (err != ERR_OK) {
        close_now(c);
        return err;
    }
    dlist_append(&e->conns, &c->link);
    e->config->entry->begin(c);
    start_reading(c);
    if (refuse)
        e->config->entry->refuse(c);
    return ERR_OK;
}

enum err conn_accept(struct edge *e, uv_stream_t *server, bool is_unix, bool refuse)
{
    return begin(e, server, -1, is_unix, refuse);
}

enum err conn_adopt(struct edge *e, int fd, bool is_unix, bool refuse)
{
    return begin(e, NULL, fd, is_unix, refuse);
}

/* ---- addresses ---- */

static size_t addr_text(const struct sockaddr *addr, char *out, size_t size)
{
    const void *bytes = NULL;
    int family = addr->sa_family;
    if (family == AF_INET) {
        bytes = &((const struct sockaddr_in *)(const void *)addr)->sin_addr;
    } else if (family == AF_INET6) {
        const struct in6_addr *in6 = &((const struct sockaddr_in6 *)(const void *)addr)->sin6_addr;
        bytes = in6;
        if (IN6_IS_ADDR_V4MAPPED(in6)) { /* an IPv4 client of a listener for both */
            family = AF_INET;
            bytes = in6->s6_addr + 12;
        }
    }
    if (bytes == NULL || inet_ntop(family, bytes, out, (socklen_t)size) == NULL)
        return 0;
    return strlen(out);
}

static uint16_t addr_port(const struct sockaddr *addr)
{
    if (addr->sa_family == AF_INET)
        return ntohs(((const struct sockaddr_in *)(const void *)addr)->sin_port);
    if (addr->sa_family == AF_INET6)
        return ntohs(((const struct sockaddr_in6 *)(const void *)addr)->sin6_port);
    return 0;
}

size_t conn_peer_host(const struct conn *c, char *out, size_t size)
{
    return addr_text(&c->peer.any, out, size);
}

uint16_t conn_peer_port(const struct conn *c)
{
    return addr_port(&c->peer.any);
}

size_t conn_local_host(const struct conn *c, char *out, size_t size, uint16_t *port)
{
    struct sockaddr_storage local = {0};
    int len = (int)sizeof(local);
    *port = 0;
    if (c->is_unix)
        return 0;
    if (uv_tcp_getsockname(&c->handle.tcp, (struct sockaddr *)&local, &len) != 0)
        return 0;
    *port = addr_port((const struct sockaddr *)&local);
    return addr_text((const struct sockaddr *)&local, out, size);
}
