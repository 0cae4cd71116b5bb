/* SPDX-License-Identifier: BSD-3-Clause */
#include "server/command/node_client.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "channel_layer/layer_proto.h"
#include "core/mem.h"

enum { READ_BYTES = 64 * 1024, OUT_MAX = LAYER_RECORD_MAX };

static const enum err reply_errs[] = {
    ERR_OK,      ERR_FULL,   ERR_INVALID,     ERR_UNAVAILABLE,
    ERR_TIMEOUT, ERR_CLOSED, ERR_UNSUPPORTED, ERR_IO,
};

void node_client_init(struct node_client *c, int fd)
{
    *c = (struct node_client){.fd = fd, .wake_fd = -1, .next_request = 1};
    buf_init(&c->in, LAYER_RECORD_MAX + READ_BYTES);
    buf_init(&c->out, OUT_MAX);
}

void node_client_deinit(struct node_client *c)
{
    if (c->fd >= 0)
        close(c->fd);
    c->fd = -1;
    buf_deinit(&c->in);
    buf_deinit(&c->out);
}

void node_client_wake_by(struct node_client *c, int fd)
{
    c->wake_fd = fd;
}

enum err node_client_connect(struct node_client *c, const char *path, struct err_text *why)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    const size_t len = strlen(path);
    if (len == 0 || len >= sizeof(address.sun_path))
        return err_fail(why, ERR_INVALID, "%s: a socket's path has 1 to %zu bytes", path,
                        sizeof(address.sun_path) - 1);
    memcpy(address.sun_path, path, len);
    const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return err_fail(why, err_from_errno(errno), "socket: %s", strerror(errno));
    if (connect(fd, (struct sockaddr *)&address, sizeof(address)) != 0) {
        const int errnum = errno;
        close(fd);
        return err_fail(why, ERR_UNAVAILABLE,
                        "no node at %s (%s): start channelsd or `channelsd layer serve`, or name "
                        "another by --layer-socket or Redis by --redis",
                        path, strerror(errnum));
    }
    node_client_init(c, fd);
    return ERR_OK;
}

/* ---- out ---- */

static enum err send_all(struct node_client *c)
{
    size_t sent = 0;
    while (sent < c->out.len) {
        const ssize_t count = send(c->fd, c->out.ptr + sent, c->out.len - sent, MSG_NOSIGNAL);
        if (count < 0 && errno == EINTR)
            continue;
        if (count < 0)
            return err_from_errno(errno);
        sent += (size_t)count;
    }
    c->out.len = 0;
    return ERR_OK;
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

uint64_t node_client_ask(struct node_client *c, unsigned op, struct slice first,
                         struct slice second, bool is_body)
{
    const uint64_t request = c->next_request++;
    const uint64_t count = 3U + (first.ptr != NULL ? 1U : 0U) + (second.ptr != NULL ? 1U : 0U);
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
    if (err == ERR_OK && second.ptr != NULL)
        err = put_content(c, second, is_body);
    if (err == ERR_OK)
        err = send_all(c);
    return err == ERR_OK ? request : 0;
}

void node_client_tell(struct node_client *c, unsigned op, uint64_t request)
{
    uint8_t bytes[1 + 3 * PACK_UINT_MAX];
    uint8_t *at = pack_array(bytes, 3);
    at = pack_uint(at, op);
    at = pack_uint(at, 0);
    at = pack_uint(at, request);
    c->out.len = 0;
    /* A node that is gone is noticed by whoever waits for it. */
    if (buf_append(&c->out, bytes, (size_t)(at - bytes)) == ERR_OK && send_all(c) != ERR_OK)
        c->out.len = 0;
}

/* ---- in ---- */

static int64_t now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static enum err wait_readable(const struct node_client *c, int64_t deadline_ms,
                              struct err_text *why)
{
    struct pollfd fds[2] = {{.fd = c->fd, .events = POLLIN}, {.fd = c->wake_fd, .events = POLLIN}};
    for (;;) {
        int64_t rest = deadline_ms < 0 ? -1 : deadline_ms - now_ms();
        if (deadline_ms >= 0 && rest < 0)
            rest = 0;
        const int count = poll(fds, 2, rest > INT_MAX ? INT_MAX : (int)rest);
        if (count < 0 && errno == EINTR)
            continue;
        if (count < 0)
            return err_fail(why, err_from_errno(errno), "poll: %s", strerror(errno));
        if (fds[1].revents != 0)
            return err_fail(why, ERR_CLOSED, "stopped");
        if (count > 0)
            return ERR_OK;
        if (rest == 0)
            return err_fail(why, ERR_TIMEOUT, "the node did not answer in time");
    }
}

static enum err read_more(struct node_client *c, int64_t deadline_ms, struct err_text *why)
{
    enum err err = wait_readable(c, deadline_ms, why);
    if (err != ERR_OK)
        return err;
    err = buf_reserve(&c->in, READ_BYTES);
    if (err != ERR_OK)
        return err_fail(why, err, "%s", err_str(err));
    const ssize_t count = recv(c->fd, c->in.ptr + c->in.len, READ_BYTES, 0);
    if (count > 0) {
        c->in.len += (uint32_t)count;
        return ERR_OK;
    }
    if (count < 0 && errno == EINTR)
        return ERR_OK;
    return err_fail(why, ERR_UNAVAILABLE, "the node closed the connection%s%s",
                    count < 0 ? ": " : "", count < 0 ? strerror(errno) : "");
}

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
        const enum err err = read_more(c, deadline_ms, why);
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
    default:
        return false;
    }
}

enum err node_client_next(struct node_client *c, struct node_event *out, int timeout_ms,
                          struct err_text *why)
{
    const int64_t deadline_ms = timeout_ms < 0 ? -1 : now_ms() + timeout_ms;
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

enum err node_client_answer(struct node_client *c, uint64_t request, struct node_event *out,
                            int timeout_ms, struct err_text *why)
{
    if (request == 0)
        return err_fail(why, ERR_UNAVAILABLE, "the request could not be sent to the node");
    const int64_t deadline_ms = now_ms() + timeout_ms;
    for (;;) {
        const int64_t rest = deadline_ms - now_ms();
        const enum err err = node_client_next(c, out, rest < 0 ? 0 : (int)rest, why);
        if (err != ERR_OK)
            return err;
        if (out->kind == NODE_REPLY && out->request == request)
            break;
    }
    if (out->err != ERR_OK)
        err_fail(why, out->err, "%.*s", (int)out->text.len, (const char *)out->text.ptr);
    return out->err;
}

/* ---- beginning ---- */

static enum err send_hello(struct node_client *c)
{
    uint8_t bytes[64];
    uint8_t *at = pack_array(bytes, 4);
    at = pack_uint(at, LAYER_HELLO);
    at = pack_uint(at, LAYER_VERSION);
    at = pack_uint(at, (uint64_t)getpid());
    at = pack_str(at, slice_str("command"));
    c->out.len = 0;
    const enum err err = buf_append(&c->out, bytes, (size_t)(at - bytes));
    return err == ERR_OK ? send_all(c) : err;
}

static enum err send_open(struct node_client *c, struct slice config)
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
    return err == ERR_OK ? send_all(c) : err;
}

static void copy_text(char *out, size_t size, struct slice text)
{
    const size_t len = text.len < size - 1 ? text.len : size - 1;
    memcpy(out, text.ptr, len);
    out[len] = '\0';
}

/* OPENED: layer, req, base, [backend, serializer, …]. */
static enum err read_opened(struct node_client *c, struct pack_reader *r, struct err_text *why)
{
    (void)pack_read_uint(r);
    (void)pack_read_uint(r);
    copy_text(c->base, sizeof(c->base), pack_read_bytes(r));
    (void)pack_read_array(r);
    copy_text(c->backend, sizeof(c->backend), pack_read_bytes(r));
    c->serializer = slice_eq_str(pack_read_bytes(r), "json") ? LAYER_JSON : LAYER_MSGPACK;
    if (r->failed)
        return err_fail(why, ERR_PROTO, "the node sent a record that this version cannot read");
    return ERR_OK;
}

enum err node_client_open(struct node_client *c, struct slice config, int timeout_ms,
                          struct err_text *why)
{
    const int64_t deadline_ms = now_ms() + timeout_ms;
    enum err err = send_hello(c);
    if (err == ERR_OK)
        err = send_open(c, config);
    if (err != ERR_OK)
        return err_fail(why, ERR_UNAVAILABLE, "the node closed the connection");
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
