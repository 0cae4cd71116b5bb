/* SPDX-License-Identifier: BSD-3-Clause */
#include "server/command/node_client.h"

#include <assert.h>
#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "channel_layer/node/layer_proto.h"
#include "core/mem.h"

/* A node reads nothing of a peer that has 32 MiB to read, until half of that is gone: it fits in
 * beside a record that has not been looked at. */
enum {
    READ_BYTES = 64 * 1024,
    OUT_MAX = LAYER_RECORD_MAX,
    IN_MAX = 4 * LAYER_RECORD_MAX,
    CONNECT_PAUSE_MS = 20,
};

/* The node's ERR_CLOSED is its own end; ours is that of waiting. */
static const enum err reply_errs[] = {
    ERR_OK,      ERR_FULL,        ERR_INVALID,     ERR_UNAVAILABLE,
    ERR_TIMEOUT, ERR_UNAVAILABLE, ERR_UNSUPPORTED, ERR_IO,
};

void node_client_init(struct node_client *c, int timeout_ms, int wake_fd, int reader_fd)
{
    *c = (struct node_client){.fd = -1, .timeout_ms = timeout_ms, .next_request = 1};
    node_client_wake_by(c, wake_fd, reader_fd);
    buf_init(&c->in, IN_MAX);
    buf_init(&c->out, OUT_MAX);
}

void node_client_use(struct node_client *c, int fd)
{
    assert(c->fd < 0);
    c->fd = fd;
}

void node_client_deinit(struct node_client *c)
{
    if (c->fd >= 0)
        close(c->fd);
    c->fd = -1;
    buf_deinit(&c->in);
    buf_deinit(&c->out);
}

void node_client_wake_by(struct node_client *c, int wake_fd, int reader_fd)
{
    c->wake_fd = wake_fd;
    c->reader_fd = reader_fd;
}

/* ---- waiting ---- */

static int64_t now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static int64_t deadline_of(const struct node_client *c)
{
    return now_ms() + c->timeout_ms;
}

/* @deadline_ms: -1 waits for ever. */
static enum err wait_any(struct pollfd *fds, unsigned count, int64_t deadline_ms,
                         struct err_text *why)
{
    for (;;) {
        int64_t rest = deadline_ms < 0 ? -1 : deadline_ms - now_ms();
        if (deadline_ms >= 0 && rest < 0)
            rest = 0;
        const int ready = poll(fds, count, rest > INT_MAX ? INT_MAX : (int)rest);
        if (ready > 0)
            return ERR_OK;
        if (ready < 0 && errno != EINTR)
            return err_fail(why, err_from_errno(errno), "poll: %s", strerror(errno));
        if (ready == 0 && rest == 0)
            return err_fail(why, ERR_TIMEOUT, "the node did not answer in time");
    }
}

static enum err wait_readable(const struct node_client *c, int64_t deadline_ms,
                              struct err_text *why)
{
    struct pollfd fds[] = {
        {.fd = c->fd, .events = POLLIN},
        {.fd = c->wake_fd, .events = POLLIN},
        {.fd = c->reader_fd}, /* only that it is gone */
    };
    const enum err err = wait_any(fds, 3, deadline_ms, why);
    if (err == ERR_OK && (fds[1].revents != 0 || fds[2].revents != 0))
        return err_fail(why, ERR_CLOSED, "stopped");
    return err;
}

/* What is there; the caller knows that something is. */
static enum err read_some(struct node_client *c, struct err_text *why)
{
    const enum err err = buf_reserve(&c->in, READ_BYTES);
    if (err != ERR_OK)
        return err_fail(why, err, "%s", err_str(err));
    const ssize_t count = recv(c->fd, c->in.ptr + c->in.len, READ_BYTES, MSG_DONTWAIT);
    if (count > 0) {
        c->in.len += (uint32_t)count;
        return ERR_OK;
    }
    if (count < 0 && (errno == EINTR || errno == EAGAIN))
        return ERR_OK;
    return err_fail(why, ERR_UNAVAILABLE, "the node closed the connection%s%s",
                    count < 0 ? ": " : "", count < 0 ? strerror(errno) : "");
}

/* ---- out ---- */

/* Until the node takes more; what it says meanwhile is kept. */
static enum err wait_writable(struct node_client *c, int64_t deadline_ms, struct err_text *why)
{
    const bool has_room = c->in.len + READ_BYTES <= IN_MAX;
    struct pollfd fd = {.fd = c->fd, .events = has_room ? POLLIN | POLLOUT : POLLOUT};
    const enum err err = wait_any(&fd, 1, deadline_ms, why);
    return err == ERR_OK && (fd.revents & POLLIN) != 0 ? read_some(c, why) : err;
}

/* Half a record cannot be taken back, so an error ends the connection. */
static enum err send_all(struct node_client *c, struct err_text *why)
{
    const int64_t deadline_ms = deadline_of(c);
    enum err err = ERR_OK;
    size_t sent = 0;
    while (err == ERR_OK && sent < c->out.len) {
        const ssize_t count =
            send(c->fd, c->out.ptr + sent, c->out.len - sent, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (count >= 0)
            sent += (size_t)count;
        else if (errno == EAGAIN)
            err = wait_writable(c, deadline_ms, why);
        else if (errno != EINTR)
            err = err_fail(why, ERR_UNAVAILABLE, "the node closed the connection: %s",
                           strerror(errno));
    }
    c->out.len = 0;
    if (err != ERR_OK)
        (void)shutdown(c->fd, SHUT_RDWR); /* which fails when it is gone already */
    return err;
}

static enum err put_small(struct node_client *c, uint8_t *(*write)(uint8_t *, uint64_t),
                          uint64_t value)
{
    uint8_t bytes[PACK_UINT_MAX];
    return buf_append(&c->out, bytes, (size_t)(write(bytes, value) - bytes));
}

static uint8_t *write_array(uint8_t *out, uint64_t count)
{
    return pack_array(out, (uint32_t)count);
}

static enum err put_content(struct node_client *c, struct slice content, bool is_body)
{
    uint8_t head[PACK_HEADER_MAX];
    const uint8_t *end = is_body ? pack_bin_header(head, (uint32_t)content.len)
                                 : pack_str_header(head, (uint32_t)content.len);
    enum err err = content.len > LAYER_RECORD_MAX ? ERR_TOO_BIG : ERR_OK;
    if (err == ERR_OK)
        err = buf_append(&c->out, head, (size_t)(end - head));
    if (err == ERR_OK && content.len > 0)
        err = buf_append(&c->out, content.ptr, content.len);
    return err;
}

uint64_t node_client_ask(struct node_client *c, unsigned op, struct slice first, struct slice body,
                         struct err_text *why)
{
    const uint64_t request = c->next_request++;
    const uint64_t count = 3U + (first.ptr != NULL ? 1U : 0U) + (body.ptr != NULL ? 1U : 0U);
    c->out.len = 0;
    enum err err = put_small(c, write_array, count);
    if (err == ERR_OK)
        err = put_small(c, pack_uint, op);
    if (err == ERR_OK)
        err = put_small(c, pack_uint, 0);
    if (err == ERR_OK)
        err = put_small(c, pack_uint, request);
    if (err == ERR_OK && first.ptr != NULL)
        err = put_content(c, first, false);
    if (err == ERR_OK && body.ptr != NULL)
        err = put_content(c, body, true);
    if (err != ERR_OK)
        err_fail(why, err, "the request: %s", err_str(err));
    else
        err = send_all(c, why);
    return err == ERR_OK ? request : 0;
}

void node_client_tell(struct node_client *c, unsigned op, uint64_t request)
{
    uint8_t bytes[1 + 3 * PACK_UINT_MAX];
    struct err_text why;
    uint8_t *at = pack_array(bytes, 3);
    at = pack_uint(at, op);
    at = pack_uint(at, 0);
    at = pack_uint(at, request);
    c->out.len = 0;
    if (buf_append(&c->out, bytes, (size_t)(at - bytes)) != ERR_OK || send_all(c, &why) != ERR_OK)
        (void)shutdown(c->fd, SHUT_RDWR); /* a message would seem to be taken */
}

/* ---- in ---- */

/* The next whole record stands at the front of c->in, c->used bytes long. */
static enum err next_record(struct node_client *c, int64_t deadline_ms, struct err_text *why)
{
    buf_drop_front(&c->in, c->used);
    c->used = 0;
    for (;;) {
        switch (c->in.len == 0 ? PACK_MORE
                               : pack_scan(&c->used, c->in.ptr, c->in.len, LAYER_RECORD_MAX)) {
        case PACK_DONE:
            return ERR_OK;
        case PACK_BROKEN:
            return err_fail(why, ERR_PROTO, "what answers there is no node of channelsd");
        case PACK_MORE:
            c->used = 0;
            break;
        }
        enum err err = wait_readable(c, deadline_ms, why);
        if (err == ERR_OK)
            err = read_some(c, why);
        if (err != ERR_OK)
            return err;
    }
}

static void read_reply(struct node_event *out, struct pack_reader *r)
{
    out->kind = NODE_REPLY;
    out->request = pack_read_uint(r);
    const uint64_t code = pack_read_uint(r);
    const size_t known = sizeof(reply_errs) / sizeof(reply_errs[0]);
    out->err = code < known ? reply_errs[code] : ERR_IO;
    out->value = *r;
    if (code != 0)
        out->text = pack_read_bytes(r);
}

/* False: nothing for the caller. */
static bool read_event(struct node_event *out, struct pack_reader *r)
{
    *out = (struct node_event){.kind = NODE_REPLY};
    const uint32_t count = pack_read_array(r);
    const uint64_t op = pack_read_uint(r);
    switch (op) {
    case LAYER_TOLD_REPLY:
        read_reply(out, r);
        return true;
    case LAYER_TOLD_MESSAGE:
        out->kind = NODE_MESSAGE;
        (void)pack_read_uint(r);
        out->request = pack_read_uint(r);
        out->body = pack_read_bytes(r);
        return true;
    case LAYER_TOLD_DELIVER:
        out->kind = NODE_DELIVER;
        r->failed = r->failed || count < 6;
        for (unsigned i = 0; i < 4; i++)
            pack_skip(r); /* layer, ticket, groups, channels */
        out->body = pack_read_bytes(r);
        return true;
    case LAYER_TOLD_FLUSHED:
        out->kind = NODE_FLUSHED;
        return true;
    default:
        return false;
    }
}

static enum err next_event(struct node_client *c, struct node_event *out, int64_t deadline_ms,
                           struct err_text *why)
{
    for (;;) {
        const enum err err = next_record(c, deadline_ms, why);
        if (err != ERR_OK)
            return err;
        struct pack_reader reader;
        pack_reader_init(&reader, c->in.ptr, c->used);
        const bool is_for_caller = read_event(out, &reader);
        if (reader.failed)
            return err_fail(why, ERR_PROTO, "the node sent a record that this version cannot read");
        if (is_for_caller)
            return ERR_OK;
    }
}

enum err node_client_next(struct node_client *c, struct node_event *out, struct err_text *why)
{
    return next_event(c, out, -1, why);
}

enum err node_client_call(struct node_client *c, unsigned op, struct slice first, struct slice body,
                          struct node_event *out, struct err_text *why)
{
    const uint64_t request = node_client_ask(c, op, first, body, why);
    if (request == 0)
        return why->code;
    const int64_t deadline_ms = deadline_of(c);
    do {
        const enum err err = next_event(c, out, deadline_ms, why);
        if (err != ERR_OK)
            return err;
    } while (out->kind != NODE_REPLY || out->request != request);
    if (out->err != ERR_OK)
        err_fail(why, out->err, "%.*s", (int)out->text.len, (const char *)out->text.ptr);
    return out->err;
}

/* ---- connecting ---- */

/* The default sockets may be in a folder that anybody can write to. */
static bool is_listener_trusted(int fd)
{
    struct ucred peer = {.pid = 0};
    socklen_t len = sizeof(peer);
    return getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) == 0 &&
           (peer.uid == 0 || peer.uid == geteuid());
}

/* Nothing tells when a unix socket whose queue is full has room again: it is tried again. */
static enum err dial(const struct node_client *c, int fd, const struct sockaddr_un *address,
                     struct err_text *why)
{
    const int64_t deadline_ms = deadline_of(c);
    while (connect(fd, (const struct sockaddr *)address, sizeof(*address)) != 0) {
        if (errno == EINTR)
            continue;
        if (errno != EAGAIN)
            return err_fail(why, ERR_UNAVAILABLE,
                            "no node at %s (%s): start channelsd or `channelsd layer serve`, or "
                            "name another by --layer-socket or Redis by --redis",
                            address->sun_path, strerror(errno));
        if (now_ms() >= deadline_ms)
            return err_fail(why, ERR_TIMEOUT,
                            "%s: the node did not take the connection in time: too many wait",
                            address->sun_path);
        struct pollfd fds[] = {{.fd = c->wake_fd, .events = POLLIN}, {.fd = c->reader_fd}};
        if (poll(fds, 2, CONNECT_PAUSE_MS) > 0)
            return err_fail(why, ERR_CLOSED, "stopped");
    }
    return ERR_OK;
}

enum err node_client_connect(struct node_client *c, const char *path, bool is_default,
                             struct err_text *why)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    const size_t len = strlen(path);
    if (len == 0 || len >= sizeof(address.sun_path))
        return err_fail(why, ERR_INVALID, "%.200s: a socket's path has 1 to %zu bytes", path,
                        sizeof(address.sun_path) - 1);
    memcpy(address.sun_path, path, len);
    const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return err_fail(why, err_from_errno(errno), "socket: %s", strerror(errno));
    const enum err err = dial(c, fd, &address, why);
    if (err != ERR_OK) {
        close(fd);
        return err;
    }
    if (is_default && !is_listener_trusted(fd)) {
        close(fd);
        return err_fail(why, ERR_ACCESS,
                        "%s: another user listens there; name it by --layer-socket if you trust it",
                        path);
    }
    node_client_use(c, fd);
    return ERR_OK;
}

/* ---- beginning ---- */

static enum err send_hello(struct node_client *c, struct err_text *why)
{
    uint8_t bytes[64];
    uint8_t *at = pack_array(bytes, 4);
    at = pack_uint(at, LAYER_HELLO);
    at = pack_uint(at, LAYER_VERSION);
    at = pack_uint(at, (uint64_t)getpid());
    at = pack_str(at, slice_str("command"));
    c->out.len = 0;
    const enum err err = buf_append(&c->out, bytes, (size_t)(at - bytes));
    return err == ERR_OK ? send_all(c, why) : err_fail(why, err, "%s", err_str(err));
}

static enum err send_open(struct node_client *c, struct slice config, struct err_text *why)
{
    uint8_t head[2 + 3 * PACK_UINT_MAX];
    uint8_t *at = pack_array(head, 5);
    at = pack_uint(at, LAYER_OPEN);
    at = pack_uint(at, 0);
    at = pack_uint(at, c->next_request++);
    c->out.len = 0;
    enum err err = buf_append(&c->out, head, (size_t)(at - head));
    if (err == ERR_OK)
        err = put_content(c, config, false);
    if (err == ERR_OK)
        err = put_small(c, write_array, 0);
    return err == ERR_OK ? send_all(c, why) : err_fail(why, err, "the settings: %s", err_str(err));
}

/* OPENED: layer, req, base, [backend, serializer, …]. */
static enum err read_opened(struct node_client *c, struct pack_reader *r, struct err_text *why)
{
    (void)pack_read_uint(r);
    (void)pack_read_uint(r);
    (void)pack_read_bytes(r);
    (void)pack_read_array(r);
    const struct slice backend = pack_read_bytes(r);
    c->serializer = slice_eq_str(pack_read_bytes(r), "json") ? LAYER_JSON : LAYER_MSGPACK;
    if (r->failed)
        return err_fail(why, ERR_PROTO, "the node sent a record that this version cannot read");
    (void)snprintf(c->backend, sizeof(c->backend), "%.*s", (int)backend.len,
                   (const char *)backend.ptr);
    return ERR_OK;
}

enum err node_client_open(struct node_client *c, struct slice config, struct err_text *why)
{
    enum err err = send_hello(c, why);
    if (err == ERR_OK)
        err = send_open(c, config, why);
    if (err != ERR_OK)
        return err;
    const int64_t deadline_ms = deadline_of(c);
    for (;;) {
        err = next_record(c, deadline_ms, why);
        if (err != ERR_OK)
            return err;
        struct pack_reader reader;
        struct node_event event = {.kind = NODE_REPLY};
        pack_reader_init(&reader, c->in.ptr, c->used);
        (void)pack_read_array(&reader);
        const uint64_t op = pack_read_uint(&reader);
        if (op == LAYER_TOLD_OPENED)
            return read_opened(c, &reader, why);
        if (op != LAYER_TOLD_REPLY)
            continue;
        read_reply(&event, &reader);
        return err_fail(why, event.err == ERR_OK ? ERR_PROTO : event.err, "%.*s",
                        (int)event.text.len, (const char *)event.text.ptr);
    }
}
