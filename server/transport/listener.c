/* SPDX-License-Identifier: BSD-3-Clause */
#include "server/transport/listener.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "core/log.h"
#include "core/mem.h"
#include "server/transport/admission.h"
#include "server/transport/conn.h"

enum {
    FULL_LOG_MS = 10 * 1000,
    UNSENT_MAX = 256 * 1024, /* bytes that the kernel takes before they can go out */
};

/* ---- TCP ---- */

/* Otherwise the kernel takes megabytes for each client that does not read. Accepted sockets inherit
 * it. */
static void limit_unsent(int fd)
{
#ifdef TCP_NOTSENT_LOWAT
    const int bytes = UNSENT_MAX;
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT, &bytes, sizeof(bytes));
#else
    (void)fd;
#endif
}

static enum err bind_one(int *out, const struct addrinfo *addr, struct err_text *why,
                         const char *host, int port)
{
    const int on = 1;
    const int fd = socket(addr->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd >= 0)
        limit_unsent(fd);
    if (fd >= 0 && setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) == 0 &&
        setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof(on)) == 0 &&
        bind(fd, addr->ai_addr, addr->ai_addrlen) == 0) {
        *out = fd;
        return ERR_OK;
    }
    const int errnum = errno;
    if (fd >= 0)
        close(fd);
    return err_fail(why, err_from_errno(errnum), "Couldn't listen on %s:%d: %s", host, port,
                    strerror(errnum));
}

/* SO_REUSEPORT lets a second server of the same user share the port without a word. A socket
 * without it finds out; it is closed again at once. */
static enum err check_unused(const struct addrinfo *addr, struct err_text *why, const char *host,
                             int port)
{
    const int on = 1;
    const int fd = socket(addr->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    enum err err = ERR_OK;
    if (fd < 0)
        return ERR_OK; /* bind_one() will say it better */
    if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) == 0 &&
        bind(fd, addr->ai_addr, addr->ai_addrlen) != 0)
        err = err_fail(why, err_from_errno(errno), "Couldn't listen on %s:%d: %s", host, port,
                       strerror(errno));
    close(fd);
    return err;
}

static void set_port(struct sockaddr *addr, uint16_t port)
{
    if (addr->sa_family == AF_INET6)
        ((struct sockaddr_in6 *)(void *)addr)->sin6_port = htons(port);
    else
        ((struct sockaddr_in *)(void *)addr)->sin_port = htons(port);
}

static enum err tell_bound(int fd, char *host, size_t size, uint16_t *port)
{
    struct sockaddr_storage addr;
    socklen_t len = sizeof(addr);
    char service[8];
    if (getsockname(fd, (struct sockaddr *)&addr, &len) != 0 ||
        getnameinfo((struct sockaddr *)&addr, len, host, (socklen_t)size, service, sizeof(service),
                    NI_NUMERICHOST | NI_NUMERICSERV) != 0)
        return ERR_IO;
    const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)(const void *)&addr;
    const struct sockaddr_in *in = (const struct sockaddr_in *)(const void *)&addr;
    *port = ntohs(addr.ss_family == AF_INET6 ? in6->sin6_port : in->sin_port);
    return ERR_OK;
}

static void close_all(const int *fds, unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        close(fds[i]);
}

static enum err bind_all(int *fds, unsigned count, const struct addrinfo *addr, const char *host,
                         int port, struct err_text *why)
{
    char bound[INET6_ADDRSTRLEN];
    uint16_t bound_port = 0;
    enum err err = check_unused(addr, why, host, port);
    for (unsigned i = 0; err == ERR_OK && i < count; i++) {
        err = bind_one(&fds[i], addr, why, host, port);
        if (err == ERR_OK && i == 0 &&
            port == 0) { /* the others take the port that the first one got */
            err = tell_bound(fds[0], bound, sizeof(bound), &bound_port);
            set_port(addr->ai_addr, bound_port);
        }
        if (err != ERR_OK)
            close_all(fds, i);
    }
    return err;
}

enum err listener_bind_tcp(int *fds, unsigned count, const char *host, int port, char *bound_host,
                           size_t host_size, uint16_t *bound_port, struct err_text *why)
{
    /* IPv4 first: "localhost" is both, and what people try then is 127.0.0.1. */
    static const int families[] = {AF_INET, AF_INET6};
    char service[8];
    enum err err = ERR_INVALID;
    int rc = EAI_NONAME;
    snprintf(service, sizeof(service), "%d", port);
    for (size_t i = 0; i < 2 && err == ERR_INVALID; i++) {
        const struct addrinfo hints = {.ai_family = families[i],
                                       .ai_socktype = SOCK_STREAM,
                                       .ai_flags = AI_PASSIVE | AI_NUMERICSERV};
        struct addrinfo *list = NULL;
        rc = getaddrinfo(host, service, &hints, &list);
        if (rc != 0)
            continue;
        err = ERR_IO;
        for (const struct addrinfo *a = list; a != NULL && err != ERR_OK; a = a->ai_next)
            err = bind_all(fds, count, a, host, port, why);
        freeaddrinfo(list);
    }
    if (rc != 0)
        return err_fail(why, ERR_INVALID, "Couldn't listen on %s:%d: %s", host, port,
                        gai_strerror(rc));
    if (err == ERR_OK)
        err = tell_bound(fds[0], bound_host, host_size, bound_port);
    return err;
}

/* ---- unix ---- */

/* Whether a socket file is left over from a server that is gone. */
static bool is_stale(const struct sockaddr_un *addr)
{
    struct stat st;
    if (stat(addr->sun_path, &st) != 0 || !S_ISSOCK(st.st_mode))
        return false;
    const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return false;
    const bool refused = connect(fd, (const struct sockaddr *)addr, sizeof(*addr)) != 0 &&
                         (errno == ECONNREFUSED || errno == ENOENT);
    close(fd);
    return refused;
}

enum err listener_bind_unix(struct node_socket *out, int *fd, const char *path,
                            struct err_text *why)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    struct stat st;
    const size_t len = strlen(path);
    if (len >= sizeof(addr.sun_path))
        return err_fail(why, ERR_INVALID,
                        "Couldn't listen on %s: a unix socket's path has at most %zu bytes", path,
                        sizeof(addr.sun_path) - 1);
    memcpy(addr.sun_path, path, len + 1);
    if (is_stale(&addr))
        unlink(path);
    const int sock = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (sock >= 0 && bind(sock, (const struct sockaddr *)&addr, sizeof(addr)) == 0 &&
        chmod(path, 0666) == 0 && lstat(path, &st) == 0) {
        *out = (struct node_socket){.dev = st.st_dev, .ino = st.st_ino};
        memcpy(out->path, path, len + 1);
        *fd = sock;
        return ERR_OK;
    }
    const int errnum = errno;
    if (sock >= 0)
        close(sock);
    return err_fail(why, err_from_errno(errnum), "Couldn't listen on %s: %s", path,
                    strerror(errnum));
}

/* ---- accept ---- */

static void tell_refused(struct listener *l, const char *why)
{
    const uint64_t now_ms = loop_now_ms(&l->edge->loop);
    if (l->told_full_ms != 0 && now_ms - l->told_full_ms < FULL_LOG_MS)
        return;
    l->told_full_ms = now_ms;
    log_event(LOG_WARN, "listener.refused", "loop=%u connections=%u reason=\"%s\"",
              l->edge->loop.index, l->edge->conn_count, why);
}

static void on_closed(uv_handle_t *handle)
{
    mem_free(handle->data);
}

/* Accepts the connection and closes it, or it would wait for ever. */
static void drop(struct listener *l)
{
    struct dropped {
        union {
            uv_stream_t stream;
            uv_tcp_t tcp;
            uv_pipe_t pipe;
        } handle;
    } *dropped = mem_alloc(sizeof(*dropped));
    uv_loop_t *loop = &l->edge->loop.uv;
    if (l->is_unix)
        uv_pipe_init(loop, &dropped->handle.pipe, 0); /* neither can fail without flags */
    else
        uv_tcp_init(loop, &dropped->handle.tcp);
    dropped->handle.stream.data = dropped;
    (void)uv_accept(&l->handle.stream, &dropped->handle.stream);
    uv_close((uv_handle_t *)&dropped->handle.stream, on_closed);
}

static void on_connection(uv_stream_t *server, int status)
{
    struct listener *l = server->data;
    struct edge *e = l->edge;
    if (status <
        0) { /* libuv has dropped what waited, through a descriptor that it keeps in reserve */
        tell_refused(l, err_str(err_from_uv(status)));
        return;
    }
    const enum admission_verdict verdict = admission_enter(e->config->admission);
    if (verdict != ADMISSION_SERVE)
        tell_refused(l, "as many connections as this server takes (--max-connections, ulimit -n)");
    if (verdict == ADMISSION_DROP) {
        drop(l);
        return;
    }
    const enum err err = conn_accept(e, server, l->is_unix, verdict == ADMISSION_REFUSE);
    if (err != ERR_OK && err != ERR_CLOSED)
        tell_refused(l, err_str(err));
}

enum err listener_open(struct edge *e, int fd, bool is_unix)
{
    struct listener *l = mem_alloc(sizeof(*l));
    l->edge = e;
    l->is_unix = is_unix;
    dlist_init(&l->link);
    if (is_unix)
        uv_pipe_init(&e->loop.uv, &l->handle.pipe, 0); /* neither can fail without flags */
    else
        uv_tcp_init(&e->loop.uv, &l->handle.tcp);
    l->handle.stream.data = l;
    int rc = is_unix ? uv_pipe_open(&l->handle.pipe, fd) : uv_tcp_open(&l->handle.tcp, fd);
    if (rc < 0)
        close(fd);
    else
        rc = uv_listen(&l->handle.stream, e->config->options->backlog, on_connection);
    if (rc < 0) {
        uv_close((uv_handle_t *)&l->handle.stream, on_closed);
        return err_from_uv(rc);
    }
    dlist_append(&e->listeners, &l->link);
    return ERR_OK;
}

static void adopt(struct listener *l, int fd)
{
    const enum admission_verdict verdict = admission_enter(l->edge->config->admission);
    if (verdict == ADMISSION_DROP) {
        close(fd);
        return;
    }
    const enum err err = conn_adopt(l->edge, fd, l->is_unix, verdict == ADMISSION_REFUSE);
    if (err != ERR_OK && err != ERR_CLOSED)
        tell_refused(l, err_str(err));
}

void listener_accept_rest(struct listener *l)
{
    uv_os_fd_t server = -1;
    if (uv_fileno((const uv_handle_t *)&l->handle.stream, &server) != 0)
        return;
    for (int i = 0; i < l->edge->config->options->backlog; i++) {
        const int fd = accept4(server, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd >= 0)
            adopt(l, fd);
        else if (errno != EINTR && errno != ECONNABORTED)
            return;
    }
}

void listener_close(struct listener *l)
{
    dlist_remove(&l->link);
    uv_close((uv_handle_t *)&l->handle.stream, on_closed);
}
