/* SPDX-License-Identifier: BSD-3-Clause */
#include "channel_layer/redis/redis_stream.h"

#include <assert.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "channel_layer/redis/redis_tls.h"
#include "core/buf.h"
#include "core/dlist.h"
#include "core/mem.h"

enum {
    UNIX_PATH_BYTES = sizeof(((struct sockaddr_un *)NULL)->sun_path), /* libuv would cut it */
    READ_BYTES = 64 * 1024,
    PLAIN_BYTES = 16 * 1024,       /* what one TLS record holds */
    OUT_MAX = 128 * 1024 * 1024,   /* over one command of the largest size, encrypted */
    KEPT_BYTES = 1024 * 1024,      /* a larger output buffer is given back */
    KEEPALIVE_IDLE_S = 15,         /* a peer that is gone is noticed after these, */
    KEEPALIVE_INTERVAL_S = 5,      /* and three such pauses, */
    KEEPALIVE_COUNT = 3,           /* even when only a blocking command is under way; */
    UNACKNOWLEDGED_MS = 30 * 1000, /* or when it acknowledges nothing for so long */
};

enum stream_state {
    STREAM_RESOLVING, /* the name is looked up */
    STREAM_DIALING,   /* connect() is under way, or the handle of the last try closes */
    STREAM_SECURING,  /* TLS handshake */
    STREAM_OPEN,      /* bytes flow */
    STREAM_LOST,      /* told; waits for redis_stream_close() */
    STREAM_CLOSING,
};

struct redis_stream {
    uv_loop_t *uv;
    const struct redis_stream_ops *ops;
    void *ctx;
    const struct redis_host *host;
    enum stream_state state;
    bool is_resolving; /* the request is libuv's */
    bool has_handle;   /* from the start, but for the moment between two addresses */
    bool is_writing;   /* out is libuv's */
    bool tls_failed;
    uint16_t port;
    unsigned attempt;
    char *name;
    uv_getaddrinfo_t lookup;
    struct addrinfo *addresses;
    struct addrinfo *next; /* to be tried */
    size_t left;           /* addresses that were not tried */
    union {
        uv_handle_t handle;
        uv_stream_t stream;
        uv_tcp_t tcp;
        uv_pipe_t pipe;
    } socket;
    uv_connect_t connect;
    uv_write_t write;
    struct redis_tls *tls;
    struct buf out;   /* with the write under way */
    struct buf later; /* behind it */
    uint8_t plain[PLAIN_BYTES];
    char in[READ_BYTES];
};

static void dial_next(struct redis_stream *s);

static void stream_lost(struct redis_stream *s, const char *why)
{
    if (s->state == STREAM_LOST || s->state == STREAM_CLOSING)
        return;
    s->state = STREAM_LOST;
    if (!uv_is_closing(&s->socket.handle))
        uv_read_stop(&s->socket.stream);
    s->ops->lost(s->ctx, why);
}

/* ---- output ---- */

static void on_written(uv_write_t *req, int status);

static enum err write_rest(struct redis_stream *s)
{
    const uv_buf_t rest = uv_buf_init((char *)s->out.ptr, s->out.len);
    const int rc = uv_write(&s->write, &s->socket.stream, &rest, 1, on_written);
    if (rc < 0)
        return err_from_uv(rc);
    s->is_writing = true;
    return ERR_OK;
}

/* Puts what the socket does not take at once behind what waits. */
static enum err put(struct redis_stream *s, struct slice bytes)
{
    if (s->is_writing)
        return buf_append(&s->later, bytes.ptr, bytes.len);
    while (bytes.len > 0) {
        const uv_buf_t now = uv_buf_init((char *)(uintptr_t)bytes.ptr, (unsigned)bytes.len);
        const int rc = uv_try_write(&s->socket.stream, &now, 1);
        if (rc <= 0)
            break; /* full, or an error that the write below tells */
        bytes.ptr += rc;
        bytes.len -= (size_t)rc;
    }
    if (bytes.len == 0)
        return ERR_OK;
    const enum err err = buf_append(&s->out, bytes.ptr, bytes.len);
    return err == ERR_OK ? write_rest(s) : err;
}

static void on_written(uv_write_t *req, int status)
{
    struct redis_stream *s = CONTAINER_OF(req, struct redis_stream, write);
    s->is_writing = false;
    if (s->state == STREAM_CLOSING || s->state == STREAM_LOST)
        return;
    if (status == UV_EPIPE || status == UV_ECONNRESET) {
        s->is_writing = true; /* for good; what the peer said before it left is still to be read */
        return;
    }
    if (status < 0) {
        stream_lost(s, uv_strerror(status));
        return;
    }
    s->out.len = 0;
    if (s->out.cap > KEPT_BYTES)
        buf_deinit(&s->out);
    if (s->later.len > 0) {
        const struct buf written = s->out;
        s->out = s->later;
        s->later = written;
        if (write_rest(s) != ERR_OK)
            stream_lost(s, "the connection takes no more bytes");
        return;
    }
    if (s->state == STREAM_OPEN)
        s->ops->drained(s->ctx);
}

static enum err put_encrypted(struct redis_stream *s)
{
    struct buf encrypted;
    buf_init(&encrypted, OUT_MAX);
    enum err err = redis_tls_take_output(s->tls, &encrypted);
    if (err == ERR_OK && encrypted.len > 0)
        err = put(s, buf_slice(&encrypted));
    buf_deinit(&encrypted);
    return err;
}

enum err redis_stream_send(struct redis_stream *s, struct slice bytes)
{
    if (s->state != STREAM_OPEN)
        return ERR_CLOSED;
    if (s->tls == NULL)
        return put(s, bytes);
    struct err_text why;
    const enum err err = redis_tls_write(s->tls, bytes, &why);
    return err == ERR_OK ? put_encrypted(s) : err;
}

bool redis_stream_is_busy(const struct redis_stream *s)
{
    return s->is_writing;
}

/* ---- input ---- */

static void stream_opened(struct redis_stream *s)
{
    s->state = STREAM_OPEN;
    s->ops->opened(s->ctx);
}

static void give_plain(struct redis_stream *s)
{
    struct err_text why;
    while (s->state == STREAM_OPEN) {
        size_t got = 0;
        const enum redis_tls_step step =
            redis_tls_read(s->tls, s->plain, sizeof(s->plain), &got, &why);
        if (step == REDIS_TLS_FAILED) {
            (void)put_encrypted(s); /* the alert, as far as it goes */
            s->tls_failed = true;
            stream_lost(s, why.text);
            return;
        }
        if (step == REDIS_TLS_MORE)
            break;
        s->ops->got(s->ctx, slice_make(s->plain, got));
    }
    if (s->state == STREAM_OPEN && put_encrypted(s) != ERR_OK) /* key updates */
        stream_lost(s, "out of memory");
}

static void secure(struct redis_stream *s)
{
    struct err_text why;
    const enum redis_tls_step step = redis_tls_handshake(s->tls, &why);
    const enum err err = put_encrypted(s); /* also the alert that tells the server why */
    if (step == REDIS_TLS_FAILED) {
        s->tls_failed = true;
        stream_lost(s, why.text);
        return;
    }
    if (err != ERR_OK) {
        stream_lost(s, err_str(err));
        return;
    }
    if (step == REDIS_TLS_MORE)
        return;
    stream_opened(s);
    if (s->state == STREAM_OPEN)
        give_plain(s);
}

static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *out)
{
    struct redis_stream *s = handle->data;
    (void)suggested;
    *out = uv_buf_init(s->in, sizeof(s->in));
}

static void on_read(uv_stream_t *stream, ssize_t nread, const uv_buf_t *buf)
{
    struct redis_stream *s = stream->data;
    if (nread == 0 || s->state == STREAM_CLOSING || s->state == STREAM_LOST)
        return;
    if (nread == UV_EOF) {
        stream_lost(s, s->state == STREAM_SECURING
                           ? "connection closed by the server in the TLS handshake"
                           : "connection closed by the server");
        return;
    }
    if (nread < 0) {
        stream_lost(s, uv_strerror((int)nread));
        return;
    }
    if (s->tls == NULL) {
        s->ops->got(s->ctx, slice_make(buf->base, (size_t)nread));
        return;
    }
    if (redis_tls_feed(s->tls, buf->base, (size_t)nread) != ERR_OK) {
        stream_lost(s, "out of memory");
        return;
    }
    if (s->state == STREAM_SECURING)
        secure(s);
    else
        give_plain(s);
}

/* ---- making the connection ---- */

static void maybe_free(struct redis_stream *s)
{
    if (s->is_resolving || s->has_handle)
        return;
    redis_tls_free(s->tls);
    uv_freeaddrinfo(s->addresses);
    buf_deinit(&s->out);
    buf_deinit(&s->later);
    mem_free(s->name);
    void (*closed)(void *) = s->ops->closed;
    void *ctx = s->ctx;
    mem_free(s);
    closed(ctx);
}

/* Without flags these make no socket yet, so that they cannot fail. */
static void make_handle(struct redis_stream *s)
{
    const int rc = s->name == NULL ? uv_pipe_init(s->uv, &s->socket.pipe, 0)
                                   : uv_tcp_init(s->uv, &s->socket.tcp);
    assert(rc == 0);
    (void)rc;
    s->socket.handle.data = s;
    s->has_handle = true;
}

static void on_closed(uv_handle_t *handle)
{
    struct redis_stream *s = handle->data;
    s->has_handle = false;
    if (s->state == STREAM_CLOSING) {
        maybe_free(s);
        return;
    }
    make_handle(s);
    dial_next(s);
}

static void keep_alive(struct redis_stream *s)
{
    const int interval_s = KEEPALIVE_INTERVAL_S;
    const int count = KEEPALIVE_COUNT;
    const unsigned unacknowledged_ms = UNACKNOWLEDGED_MS;
    uv_os_fd_t fd = -1;
    /* Each of them only shortens waiting: a kernel that refuses one is no reason to fail. */
    (void)uv_tcp_nodelay(&s->socket.tcp, 1);
    (void)uv_tcp_keepalive(&s->socket.tcp, 1, KEEPALIVE_IDLE_S);
    if (uv_fileno(&s->socket.handle, &fd) != 0)
        return;
    (void)setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &interval_s, sizeof(interval_s));
    (void)setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &count, sizeof(count));
    (void)setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &unacknowledged_ms,
                     sizeof(unacknowledged_ms));
}

/* The files are read for each connection, so that those that were replaced are heeded. */
static enum err make_tls(struct redis_stream *s, struct err_text *why)
{
    struct ssl_ctx_st *context = NULL;
    enum err err = redis_tls_context_new(&context, s->host, why);
    if (err == ERR_OK)
        err =
            redis_tls_new(&s->tls, context, s->host, s->name != NULL ? s->name : "localhost", why);
    redis_tls_context_free(context); /* the connection keeps it as long as it needs it */
    return err;
}

static void on_connected(uv_connect_t *req, int status)
{
    struct redis_stream *s = CONTAINER_OF(req, struct redis_stream, connect);
    if (s->state == STREAM_CLOSING || s->state == STREAM_LOST)
        return;
    if (status < 0 && s->left > 0) {
        uv_close(&s->socket.handle, on_closed); /* then the next address */
        return;
    }
    if (status == 0 && s->socket.handle.type == UV_TCP)
        keep_alive(s);
    if (status == 0)
        status = uv_read_start(&s->socket.stream, on_alloc, on_read);
    if (status < 0) {
        stream_lost(s, uv_strerror(status));
        return;
    }
    if (!s->host->is_tls) {
        stream_opened(s);
        return;
    }
    struct err_text why;
    if (make_tls(s, &why) != ERR_OK) {
        stream_lost(s, why.text);
        return;
    }
    s->state = STREAM_SECURING;
    secure(s);
}

static void dial_next(struct redis_stream *s)
{
    assert(s->next != NULL); /* there is one at least, and behind the last comes the first */
    const struct sockaddr *address = s->next->ai_addr;
    s->next = s->next->ai_next != NULL ? s->next->ai_next : s->addresses;
    s->left--;
    const int rc = uv_tcp_connect(&s->connect, &s->socket.tcp, address, on_connected);
    if (rc < 0 && s->left > 0)
        uv_close(&s->socket.handle, on_closed);
    else if (rc < 0)
        stream_lost(s, uv_strerror(rc));
}

static void on_resolved(uv_getaddrinfo_t *req, int status, struct addrinfo *addresses)
{
    struct redis_stream *s = CONTAINER_OF(req, struct redis_stream, lookup);
    s->is_resolving = false;
    s->addresses = addresses;
    if (s->state == STREAM_CLOSING) {
        maybe_free(s);
        return;
    }
    if (status < 0 || addresses == NULL) {
        char why[ERR_TEXT_MAX];
        snprintf(why, sizeof(why), "the host's name cannot be looked up: %s",
                 status < 0 ? uv_strerror(status) : "no address");
        stream_lost(s, why);
        return;
    }
    for (const struct addrinfo *a = addresses; a != NULL; a = a->ai_next)
        s->left++;
    s->next = addresses;
    for (size_t skip = s->attempt % s->left; skip > 0; skip--) {
        s->next = s->next->ai_next;
        assert(s->next != NULL); /* fewer are skipped than there are */
    }
    s->state = STREAM_DIALING;
    dial_next(s);
}

static enum err resolve(struct redis_stream *s, struct err_text *why)
{
    char port[8];
    const struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM};
    snprintf(port, sizeof(port), "%u", s->port);
    const int rc = uv_getaddrinfo(s->uv, &s->lookup, on_resolved, s->name, port, &hints);
    if (rc < 0)
        return err_fail(why, err_from_uv(rc), "%s", uv_strerror(rc));
    s->is_resolving = true;
    return ERR_OK;
}

enum err redis_stream_open(struct redis_stream **out, uv_loop_t *uv,
                           const struct redis_address *address, const struct redis_stream_ops *ops,
                           void *ctx, struct err_text *why)
{
    if (address->unix_path == NULL && address->name == NULL)
        return err_fail(why, ERR_INVALID, "no host is given");
    if (address->unix_path != NULL && strlen(address->unix_path) >= UNIX_PATH_BYTES)
        return err_fail(why, ERR_INVALID, "the path of the unix socket is too long");
    struct redis_stream *s = mem_try(sizeof(*s));
    if (s == NULL)
        return err_fail(why, ERR_NOMEM, "out of memory");
    memset(s, 0, offsetof(struct redis_stream, plain));
    s->uv = uv;
    s->ops = ops;
    s->ctx = ctx;
    s->host = address->host;
    s->port = address->port;
    s->attempt = address->attempt;
    buf_init(&s->out, OUT_MAX);
    buf_init(&s->later, OUT_MAX);
    if (address->unix_path == NULL) {
        s->name = mem_copy_str(address->name, strlen(address->name));
        const enum err err = resolve(s, why);
        if (err != ERR_OK) {
            mem_free(s->name);
            mem_free(s);
            return err;
        }
    }
    make_handle(s);
    if (address->unix_path != NULL) {
        s->state = STREAM_DIALING;
        uv_pipe_connect(&s->connect, &s->socket.pipe, address->unix_path, on_connected);
    }
    *out = s;
    return ERR_OK;
}

bool redis_stream_has_tls_failed(const struct redis_stream *s)
{
    return s->tls_failed;
}

const char *redis_stream_phase(const struct redis_stream *s)
{
    switch (s->state) {
    case STREAM_RESOLVING:
        return "looking up the host's name";
    case STREAM_DIALING:
        return "connecting";
    case STREAM_SECURING:
        return "the TLS handshake";
    case STREAM_OPEN:
    case STREAM_LOST:
    case STREAM_CLOSING:
        break;
    }
    return "the greeting";
}

void redis_stream_close(struct redis_stream *s)
{
    assert(s->state != STREAM_CLOSING);
    s->state = STREAM_CLOSING;
    if (s->is_resolving)
        (void)uv_cancel((uv_req_t *)&s->lookup); /* one that has begun ends by itself */
    if (!uv_is_closing(&s->socket.handle))
        uv_close(&s->socket.handle, on_closed);
}
