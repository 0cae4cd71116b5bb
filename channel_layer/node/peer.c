/* SPDX-License-Identifier: BSD-3-Clause */
#include "channel_layer/node/peer.h"

#include <stdio.h>
#include <unistd.h>

#include "channel_layer/node/peer_layer.h"
#include "core/log.h"
#include "core/mem.h"

/* ---- reading ---- */

static void on_read(uv_stream_t *stream, ssize_t nread, const uv_buf_t *buf);

static void pause_reading(struct peer *peer)
{
    (void)uv_read_stop((uv_stream_t *)&peer->pipe);
}

void peer_resume(struct peer *peer)
{
    peer->full_reads = 0;
    if (peer->state == PEER_CLOSED || peer->is_full)
        return;
    const int rc = uv_read_start((uv_stream_t *)&peer->pipe, loop_lend_read_buf, on_read);
    if (rc < 0 && rc != UV_EALREADY)
        peer_close(peer, err_str(err_from_uv(rc)));
}

void peer_note_room(struct peer *peer)
{
    if (peer->is_full || peer->writer.out.bytes <= PEER_UNREAD_MAX)
        return;
    peer->is_full = true;
    pause_reading(peer);
    log_event(LOG_WARN, "layer.full",
              "peer=%s pid=%lu unread_bytes=%zu reason=\"it does not read what it is sent\"",
              peer->name, (unsigned long)peer->pid, peer->writer.out.bytes);
}

/* Handles the whole records at @in; returns how many bytes they were, or SIZE_MAX when the peer was
 * closed. */
static size_t handle_records(struct peer *peer, const uint8_t *in, size_t len)
{
    struct layer_record record;
    size_t done = 0;
    while (done < len) {
        const char *what = "";
        size_t used = 0;
        const enum pack_scan scan = layer_record_scan(&record, &used, &what, in + done, len - done);
        if (scan == PACK_MORE)
            break;
        if (scan == PACK_BROKEN) {
            peer_refuse(peer, what);
            return SIZE_MAX;
        }
        done += used;
        if (!peer_handle(peer, &record))
            return SIZE_MAX;
    }
    return done;
}

static void handle_bytes(struct peer *peer, const uint8_t *in, size_t len)
{
    const bool from_rest = peer->rest.len > 0;
    if (from_rest) {
        if (buf_append(&peer->rest, in, len) != ERR_OK) {
            peer_close(peer, "no memory for its record");
            return;
        }
        in = peer->rest.ptr;
        len = peer->rest.len;
    }
    const size_t done = handle_records(peer, in, len);
    if (done == SIZE_MAX)
        return;
    if (from_rest) {
        if (done == len)
            buf_deinit(&peer->rest);
        else
            buf_drop_front(&peer->rest, done);
    } else if (done < len && buf_append(&peer->rest, in + done, len - done) != ERR_OK) {
        peer_close(peer, "no memory for its record");
    }
}

/* A read that fills the buffer is followed by another one in the same turn. */
static void note_turn(struct peer *peer, size_t bytes)
{
    peer->full_reads = bytes == LOOP_READ_BYTES ? peer->full_reads + bytes : 0;
    if (peer->full_reads < PEER_TURN_BYTES || !dlist_is_empty(&peer->paused))
        return;
    pause_reading(peer);
    dlist_append(&node_peers(peer->node)->paused, &peer->paused);
    node_resume_later(peer->node);
}

static void on_read(uv_stream_t *stream, ssize_t nread, const uv_buf_t *buf)
{
    struct peer *peer = stream->data;
    if (nread == 0)
        return;
    if (nread < 0) {
        const enum err err = err_from_uv((int)nread);
        peer_close(peer, err == ERR_CLOSED ? "" : err_str(err));
        return;
    }
    note_turn(peer, (size_t)nread);
    handle_bytes(peer, (const uint8_t *)buf->base, (size_t)nread);
}

/* ---- writing ---- */

static void on_writer_drained(struct writer *w)
{
    struct peer *peer = CONTAINER_OF(w, struct peer, writer);
    if (!peer->is_full || w->out.bytes > PEER_UNREAD_MAX / 2)
        return;
    peer->is_full = false;
    for (size_t i = 0; i < LAYER_NUMBER_MAX; i++)
        if (peer->layers[i] != NULL)
            layer_room(&peer->layers[i]->client);
    if (dlist_is_empty(&peer->paused))
        peer_resume(peer);
}

static void on_writer_failed(struct writer *w, enum err err)
{
    peer_close(CONTAINER_OF(w, struct peer, writer), err == ERR_CLOSED ? "" : err_str(err));
}

static const struct writer_ops peer_writer_ops = {on_writer_drained, on_writer_failed};

/* ---- life ---- */

static void on_closed(uv_handle_t *handle)
{
    struct peer *peer = handle->data;
    struct node *node = peer->node;
    writer_deinit(&peer->writer);
    buf_deinit(&peer->rest);
    mem_free(peer);
    node_peer_gone(node);
}

/* Its descriptor goes at once, and its place with it. */
static void close_pipe(struct peer *peer)
{
    if (!peer->is_worker)
        node_peers(peer->node)->accepted--;
    uv_close((uv_handle_t *)&peer->pipe, on_closed);
}

void peer_close(struct peer *peer, const char *why)
{
    if (peer->state == PEER_CLOSED)
        return;
    log_event(LOG_DEBUG, "layer.gone", "peer=%s pid=%lu reason=\"%s\"", peer->name,
              (unsigned long)peer->pid, why[0] != '\0' ? why : "it has closed its end");
    peer->state = PEER_CLOSED;
    dlist_remove(&peer->link);
    dlist_remove(&peer->paused);
    wheel_clear(&node_loop(peer->node)->wheel, &peer->greeting);
    peer_drop_layers(peer);
    writer_stop(&peer->writer);
    close_pipe(peer);
}

void peer_refuse(struct peer *peer, const char *what)
{
    log_event(LOG_ERROR, "layer.broken", "peer=%s pid=%lu reason=\"not the layer protocol: %s\"",
              peer->name, (unsigned long)peer->pid, what);
    peer_close(peer, "it broke the layer protocol");
}

static void on_greeting_late(struct wheel_entry *greeting)
{
    struct peer *peer = CONTAINER_OF(greeting, struct peer, greeting);
    struct node_peers *peers = node_peers(peer->node);
    const uint64_t now_ms = loop_now_ms(node_loop(peer->node));
    if (peers->silent_ms == 0 || now_ms - peers->silent_ms >= PEER_GREETING_MS) {
        peers->silent_ms = now_ms;
        log_event(LOG_WARN, "layer.silent", "peer=%s reason=\"it has not said HELLO in %d s\"",
                  peer->name, PEER_GREETING_MS / 1000);
    }
    peer_close(peer, "it has not said HELLO");
}

void peer_greeted(struct peer *peer, uint64_t pid)
{
    peer->state = PEER_OPEN;
    peer->pid = pid;
    wheel_clear(&node_loop(peer->node)->wheel, &peer->greeting);
}

/* A closed peer with a handle, to be opened (a worker's) or accepted. NULL: there is no handle. */
static struct peer *make_peer(struct node *node, const char *name, bool is_worker, int *rc)
{
    struct peer *peer = mem_alloc(sizeof(*peer));
    *rc = uv_pipe_init(&node_loop(node)->uv, &peer->pipe, 0);
    if (*rc < 0) {
        mem_free(peer);
        return NULL;
    }
    peer->pipe.data = peer;
    peer->node = node;
    peer->state = PEER_CLOSED;
    peer->is_worker = is_worker;
    snprintf(peer->name, sizeof(peer->name), "%s", name);
    dlist_init(&peer->link);
    dlist_init(&peer->paused);
    dlist_init(&peer->calls);
    wheel_entry_init(&peer->greeting, on_greeting_late);
    buf_init(&peer->rest, LAYER_RECORD_MAX + LOOP_READ_BYTES);
    node_peers(node)->open++;
    if (!is_worker)
        node_peers(node)->accepted++;
    return peer;
}

static enum err start(struct peer *peer)
{
    const int rc = uv_read_start((uv_stream_t *)&peer->pipe, loop_lend_read_buf, on_read);
    if (rc < 0) {
        close_pipe(peer);
        return err_from_uv(rc);
    }
    writer_init(&peer->writer, node_loop(peer->node), (uv_stream_t *)&peer->pipe, &peer_writer_ops);
    peer->state = PEER_GREETING;
    dlist_append(&node_peers(peer->node)->list, &peer->link);
    return ERR_OK;
}

enum err peer_open(struct node *node, int fd, const char *name)
{
    int rc = 0;
    struct peer *peer = make_peer(node, name, true, &rc);
    if (peer != NULL)
        rc = uv_pipe_open(&peer->pipe, fd);
    if (rc < 0) {
        close(fd);
        if (peer != NULL)
            close_pipe(peer);
        return err_from_uv(rc);
    }
    return start(peer);
}

enum err peer_accept(struct node *node, uv_stream_t *server, const char *name,
                     bool (*is_allowed)(int fd))
{
    int rc = 0;
    uv_os_fd_t fd = -1;
    struct peer *peer = make_peer(node, name, false, &rc);
    if (peer == NULL)
        return err_from_uv(rc);
    rc = uv_accept(server, (uv_stream_t *)&peer->pipe);
    if (rc == 0)
        rc = uv_fileno((const uv_handle_t *)&peer->pipe, &fd);
    enum err err = err_from_uv(rc);
    if (err == ERR_OK && !is_allowed(fd))
        err = ERR_ACCESS;
    else if (err == ERR_OK && node_peers(node)->accepted > node_peers(node)->max_accepted)
        err = ERR_FULL;
    if (err != ERR_OK) {
        close_pipe(peer);
        return err;
    }
    err = start(peer);
    if (err != ERR_OK)
        return err;
    struct loop *loop = node_loop(node);
    wheel_set(&loop->wheel, &peer->greeting, loop_now_ms(loop) + PEER_GREETING_MS);
    return ERR_OK;
}
