/* SPDX-License-Identifier: BSD-3-Clause */
#include "channel_layer/node/node_listeners.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "channel_layer/node/node.h"
#include "channel_layer/node/node_socket.h"
#include "channel_layer/node/peer.h"
#include "core/log.h"
#include "core/mem.h"

enum { BACKLOG = 1024, REFUSED_LOG_MS = 10 * 1000, SHOWN = 200 };

struct node_listener {
    struct dlist link;
    struct node_listeners *owner;
    uv_pipe_t pipe;
    bool is_open;    /* the handle is */
    bool has_made;   /* the path, and is to take it away */
    bool is_settled; /* it is not tried again while it is not open */
    bool has_warned;
    struct node_socket socket; /* the path alone, unless has_made */
};

/* ---- accepting ---- */

static void log_refused(struct node_listeners *l, const char *reason)
{
    const uint64_t now_ms = loop_now_ms(node_loop(l->node));
    if (l->refused_ms != 0 && now_ms - l->refused_ms < REFUSED_LOG_MS)
        return;
    l->refused_ms = now_ms;
    log_event(LOG_WARN, "layer.refused", "reason=\"%s\"", reason);
}

/* The path's permissions keep others out, as long as nobody changes them. */
static bool is_allowed(int fd)
{
    struct ucred peer = {.uid = (uid_t)-1};
    socklen_t len = sizeof(peer);
    return getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) == 0 &&
           (peer.uid == geteuid() || peer.uid == 0);
}

static void log_full(struct node_listeners *l)
{
    char reason[SHOWN];
    snprintf(reason, sizeof(reason),
             "%u connections of processes are as many as this node takes: raise ulimit -n",
             node_peers(l->node)->max_accepted);
    log_refused(l, reason);
}

static void on_connection(uv_stream_t *server, int status)
{
    struct node_listener *listener = server->data;
    struct node_listeners *l = listener->owner;
    char name[PEER_NAME_MAX];
    if (status < 0) {
        log_refused(l, err_str(err_from_uv(status)));
        return;
    }
    snprintf(name, sizeof(name), "client-%u", l->next_client++);
    const enum err err = peer_accept(l->node, server, name, is_allowed);
    if (err == ERR_ACCESS)
        log_refused(l, "a process of another user");
    else if (err == ERR_FULL)
        log_full(l);
    else if (err != ERR_OK)
        log_refused(l, err_str(err));
}

/* ---- handles ---- */

static void on_pipe_closed(uv_handle_t *handle)
{
    struct node_listener *listener = handle->data;
    struct node_listeners *l = listener->owner;
    mem_free(listener);
    l->open--;
    node_listener_gone(l->node);
}

static void on_retry_closed(uv_handle_t *handle)
{
    struct node_listeners *l = handle->data;
    l->open--;
    node_listener_gone(l->node);
}

/* Takes the listener out of the list, too. */
static void close_listener(struct node_listener *listener)
{
    dlist_remove(&listener->link);
    if (listener->is_open)
        uv_close((uv_handle_t *)&listener->pipe, on_pipe_closed);
    else
        mem_free(listener);
}

static struct node_listener *add_listener(struct node_listeners *l)
{
    struct node_listener *listener = mem_alloc(sizeof(*listener));
    listener->owner = l;
    dlist_append(&l->list, &listener->link);
    return listener;
}

/* Takes @fd. */
static enum err start(struct node_listener *listener, int fd)
{
    struct node_listeners *l = listener->owner;
    int rc = uv_pipe_init(&node_loop(l->node)->uv, &listener->pipe, 0);
    if (rc < 0) {
        close(fd);
        return err_from_uv(rc);
    }
    listener->pipe.data = listener;
    listener->is_open = true;
    l->open++;
    rc = uv_pipe_open(&listener->pipe, fd);
    if (rc < 0)
        close(fd);
    else
        rc = uv_listen((uv_stream_t *)&listener->pipe, BACKLOG, on_connection);
    return err_from_uv(rc);
}

enum err node_listeners_add(struct node_listeners *l, int fd)
{
    struct node_listener *listener = add_listener(l);
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    socklen_t len = sizeof(addr);
    if (getsockname(fd, (struct sockaddr *)&addr, &len) == 0)
        snprintf(listener->socket.path, sizeof(listener->socket.path), "%.107s", addr.sun_path);
    const enum err err = start(listener, fd);
    if (err != ERR_OK)
        close_listener(listener);
    return err;
}

/* ---- paths of workers ---- */

/* The worker may name the socket we were given in other words, by a link for example. */
static bool is_ours(const struct node_socket *socket)
{
    return socket->holder == getpid();
}

static void warn_once(struct node_listener *listener, const char *reason)
{
    if (listener->has_warned)
        return;
    listener->has_warned = true;
    log_event(LOG_WARN, "layer.listen",
              "path=%s reason=\"%s\" effect=\"other processes of this project do not find this "
              "server's channel layer there\" retry_s=%d",
              listener->socket.path, reason, NODE_RETRY_MS / 1000);
}

/* Leaves it unsettled when it is to be tried again. */
static void try_path(struct node_listener *listener)
{
    struct node_socket made;
    struct err_text why = {.code = ERR_OK};
    int fd = -1;
    enum err err = node_socket_listen_by_default(&made, &fd, listener->socket.path, &why);
    listener->is_settled = err == ERR_OK || (err == ERR_ADDR_IN_USE && is_ours(&made));
    if (err != ERR_OK) {
        if (!listener->is_settled)
            warn_once(listener, why.text);
        return;
    }
    listener->socket = made;
    err = start(listener, fd);
    listener->has_made = err == ERR_OK;
    if (err != ERR_OK) {
        node_socket_unlink(&made);
        warn_once(listener, err_str(err)); /* libuv's refusal is no matter of time */
        return;
    }
    log_event(LOG_INFO, "layer.listen", "path=%s", made.path);
}

/* What is gone is made again: a logout takes the folder away, a cleaner what is old in /tmp. Peers
 * that have come by it stay. */
static void replace(struct node_listener *gone)
{
    struct node_listener *listener = add_listener(gone->owner);
    log_event(LOG_WARN, "layer.listen",
              "path=%s reason=\"somebody has taken the socket away\" effect=\"it is made again\"",
              gone->socket.path);
    memcpy(listener->socket.path, gone->socket.path, sizeof(listener->socket.path));
    close_listener(gone);
    try_path(listener);
}

static void on_retry(uv_timer_t *timer)
{
    struct node_listeners *l = timer->data;
    struct dlist *next = NULL;
    for (struct dlist *n = l->list.next; n != &l->list; n = next) {
        struct node_listener *listener = CONTAINER_OF(n, struct node_listener, link);
        next = n->next;
        if (listener->has_made && node_socket_is_gone(&listener->socket))
            replace(listener);
        else if (!listener->is_open && !listener->is_settled)
            try_path(listener);
    }
}

static bool is_known(const struct node_listeners *l, struct slice path)
{
    for (struct dlist *n = l->list.next; n != &l->list; n = n->next)
        if (slice_eq_str(path, CONTAINER_OF(n, struct node_listener, link)->socket.path))
            return true;
    return false;
}

void node_listeners_want(struct node_listeners *l, struct slice path)
{
    if (is_known(l, path))
        return;
    const bool is_wrong = path.len == 0 || path.len > NODE_SOCKET_PATH_MAX ||
                          memchr(path.ptr, '\0', path.len) != NULL;
    if (is_wrong || l->paths == NODE_PATHS_MAX) {
        if (!l->has_warned)
            log_event(LOG_WARN, "layer.listen", "path=%.*s reason=\"%s\"",
                      path.len < SHOWN ? (int)path.len : SHOWN, (const char *)path.ptr,
                      is_wrong ? "a unix socket's path has 1 to 107 bytes, none of them 0"
                               : "its workers have named too many paths already");
        l->has_warned = true;
        return;
    }
    struct node_listener *listener = add_listener(l);
    memcpy(listener->socket.path, path.ptr, path.len);
    l->paths++;
    try_path(listener);
    if (!uv_is_active((const uv_handle_t *)&l->retry))
        uv_timer_start(&l->retry, on_retry, NODE_RETRY_MS, NODE_RETRY_MS);
}

/* ---- life ---- */

void node_listeners_init(struct node_listeners *l, struct node *node)
{
    *l = (struct node_listeners){.node = node, .next_client = 1, .open = 1};
    dlist_init(&l->list);
    uv_timer_init(&node_loop(node)->uv, &l->retry);
    l->retry.data = l;
}

void node_listeners_close(struct node_listeners *l)
{
    while (!dlist_is_empty(&l->list)) {
        struct node_listener *listener = CONTAINER_OF(l->list.next, struct node_listener, link);
        if (listener->has_made)
            node_socket_unlink(&listener->socket);
        close_listener(listener);
    }
    uv_close((uv_handle_t *)&l->retry, on_retry_closed);
}
