/* SPDX-License-Identifier: BSD-3-Clause */
#include "consumers/hosted/worker_link.h"

#include <assert.h>
#include <unistd.h>

#include "core/log.h"
#include "core/mem.h"
#include "core/spread.h"

enum {
    SLOT_BITS = 24,
    SLOTS_MAX = 1 << SLOT_BITS,
    SLOTS_FIRST = 64,
    QUEUED_MAX =
        4 * 1024 * 1024, /* bytes that wait for a worker, over which it gets no new clients */
    QUEUED_LOW = QUEUED_MAX / 2,  /* at which it gets them again */
    CLOSE_SERVICE_RESTART = 1012, /* what applications hear of a WebSocket that has to leave */
};
static const uint32_t no_slot = UINT32_MAX;

/* ---- numbers ---- */

static uint32_t slot_of(uint64_t id)
{
    return (uint32_t)(id & (SLOTS_MAX - 1));
}

static struct link_slot *find_slot(struct worker_link *link, uint64_t id)
{
    const uint32_t index = slot_of(id);
    if (index >= link->slot_count)
        return NULL;
    struct link_slot *slot = &link->slots[index];
    if (slot->client == NULL || slot->client->consumer_id != id)
        return NULL; /* the record crossed the client's end */
    return slot;
}

static void free_slot(struct worker_link *link, uint32_t index)
{
    link->slots[index].client = NULL;
    link->slots[index].in_message = false;
    link->slots[index].next_free = no_slot;
    if (link->free_first == no_slot)
        link->free_first = index;
    else
        link->slots[link->free_last].next_free = index;
    link->free_last = index;
}

static enum err grow_slots(struct worker_link *link)
{
    const uint32_t old = link->slot_count;
    const uint32_t count = old == 0 ? SLOTS_FIRST : old * 2;
    if (count > SLOTS_MAX)
        return ERR_TOO_BIG;
    struct link_slot *slots = mem_try_resize(link->slots, count * sizeof(*slots));
    if (slots == NULL)
        return ERR_NOMEM;
    link->slots = slots;
    link->slot_count = count;
    for (uint32_t i = old; i < count; i++) {
        slots[i] = (struct link_slot){.generation = 0};
        free_slot(link, i);
    }
    return ERR_OK;
}

bool worker_link_takes_clients(struct worker_link *link)
{
    if (link->state != WORKER_LINK_READY)
        return false;
    if (link->writer.out.bytes > QUEUED_MAX)
        link->is_full = true;
    return !link->is_full;
}

enum err worker_link_engage(struct worker_link *link, struct client *c, bool *worn_out)
{
    if (link->free_first == no_slot) {
        const enum err err = grow_slots(link);
        if (err != ERR_OK)
            return err;
    }
    const uint32_t index = link->free_first;
    struct link_slot *slot = &link->slots[index];
    link->free_first = slot->next_free;
    slot->client = c;
    slot->generation++;
    c->consumer = link;
    c->consumer_id = (slot->generation << SLOT_BITS) | index;
    link->clients++;
    *worn_out = worker_load_enter(link->load);
    return ERR_OK;
}

void worker_link_release(struct worker_link *link, struct client *c)
{
    const uint32_t index = slot_of(c->consumer_id);
    assert(index < link->slot_count && link->slots[index].client == c);
    free_slot(link, index);
    link->clients--;
    worker_load_leave(link->load);
    c->consumer = NULL;
    if (link->state == WORKER_LINK_RETIRING && link->clients == 0)
        worker_link_shutdown(link, link->shutdown_ms);
}

/* ---- towards the worker ---- */

static uint8_t *begin(struct worker_link *link)
{
    return writer_reserve(&link->writer, LINK_SMALL_MAX);
}

/* Commits what was written between @start, the result of begin(), and @end. */
static void commit(struct worker_link *link, const uint8_t *start, const uint8_t *end)
{
    writer_commit(&link->writer, (size_t)(end - start));
}

static void write_tail(struct worker_link *link, uint8_t *(*write)(uint8_t *, bool), bool flag)
{
    uint8_t *start = begin(link);
    commit(link, start, write(start, flag));
}

enum err worker_link_open_client(struct worker_link *link, const struct client *c,
                                 const struct scope *scope, const struct slice *subprotocols,
                                 size_t subprotocol_count, struct slice body, bool more)
{
    const size_t bound = link_open_bound(scope, subprotocols, subprotocol_count);
    if (bound > LINK_RECORD_MAX)
        return ERR_TOO_BIG;
    /* How much of the body came with the head is chance, and must not decide. */
    const struct slice first = body.len <= LINK_RECORD_MAX - bound ? body : slice_make(body.ptr, 0);
    if (bound <= CHAIN_LARGE_BYTES) {
        uint8_t *start = writer_reserve(&link->writer, bound);
        commit(link, start,
               link_write_open(start, c->consumer_id, scope, subprotocols, subprotocol_count,
                               first.len));
    } else {
        uint8_t *start = mem_try(bound);
        if (start == NULL)
            return ERR_NOMEM;
        const uint8_t *end = link_write_open(start, c->consumer_id, scope, subprotocols,
                                             subprotocol_count, first.len);
        writer_append(&link->writer, slice_make(start, (size_t)(end - start)));
        mem_free(start);
    }
    if (scope->type == SCOPE_HTTP) {
        writer_append(&link->writer, first);
        write_tail(link, link_write_body_tail, more || first.len < body.len);
    }
    if (first.len < body.len)
        worker_link_body(link, c, body, more);
    return ERR_OK;
}

void worker_link_body(struct worker_link *link, const struct client *c, struct slice piece,
                      bool more)
{
    do {
        const size_t len = piece.len < LINK_PAYLOAD_MAX ? piece.len : LINK_PAYLOAD_MAX;
        uint8_t *start = begin(link);
        commit(link, start, link_write_body_head(start, c->consumer_id, len));
        writer_append(&link->writer, slice_make(piece.ptr, len));
        piece = slice_make(piece.ptr + len, piece.len - len);
        write_tail(link, link_write_body_tail, more || piece.len > 0);
    } while (piece.len > 0);
}

void worker_link_receive(struct worker_link *link, const struct client *c, bool is_text,
                         struct slice data)
{
    uint8_t *start = begin(link);
    commit(link, start, link_write_receive_head(start, c->consumer_id, is_text, data.len));
    writer_append(&link->writer, data);
}

void worker_link_part(struct worker_link *link, const struct client *c, bool is_text,
                      struct slice data, bool last)
{
    uint8_t *start = begin(link);
    commit(link, start, link_write_part_head(start, c->consumer_id, data.len));
    writer_append(&link->writer, data);
    start = begin(link);
    commit(link, start, link_write_part_tail(start, is_text, last));
}

void worker_link_credit(struct worker_link *link, const struct client *c, size_t bytes)
{
    uint8_t *start = begin(link);
    commit(link, start, link_write_credit(start, c->consumer_id, bytes));
}

void worker_link_disconnect(struct worker_link *link, const struct client *c, bool has_code,
                            uint16_t code, struct slice reason)
{
    uint8_t *start = begin(link);
    commit(link, start,
           link_write_disconnect_head(start, c->consumer_id, has_code, code, reason.len));
    writer_append(&link->writer, reason);
}

void worker_link_beat(struct worker_link *link)
{
    link->beat_sent++;
    link->beats_missed = 0;
    uint8_t *start = begin(link);
    commit(link, start, link_write_beat(start, link->beat_sent));
}

void worker_link_shutdown(struct worker_link *link, uint64_t grace_ms)
{
    if (link->state == WORKER_LINK_LOST || link->state == WORKER_LINK_DRAINING)
        return;
    link->state = WORKER_LINK_DRAINING;
    wheel_clear(&link->loop->wheel, &link->retire_deadline);
    uint8_t *start = begin(link);
    commit(link, start, link_write_shutdown(start, grace_ms));
}

/* ---- from the worker ---- */

/* Takes the client out and tells it that its application failed. */
static void end_client(struct worker_link *link, struct client *c, enum client_failure why)
{
    worker_link_release(link, c);
    c->ops->fail(c, why);
}

/* A status or close code as it came, or one that is none: never another one by cutting off bits. */
static uint16_t narrow(uint64_t number)
{
    return number < UINT16_MAX ? (uint16_t)number : UINT16_MAX;
}

static void handle_response(struct worker_link *link, struct client *c, const struct link_answer *a,
                            const struct header *headers)
{
    /* A refused WebSocket stays engaged until the server says gone(). */
    if (!a->flag && !c->is_websocket)
        worker_link_release(link, c);
    if (a->op == LINK_START)
        c->ops->respond(c, narrow(a->number), headers, a->header_count, a->data, a->flag);
    else
        c->ops->body(c, a->data, a->flag);
}

static void bid_farewell(struct worker_link *link, struct client *c)
{
    c->ops->retire(c, spread_delay_ms(link->farewells++, link->retire_window_ms));
}

static void handle_client_answer(struct worker_link *link, struct link_slot *slot,
                                 const struct link_answer *a, const struct header *headers)
{
    struct client *c = slot->client;
    const enum message_kind kind = a->is_text ? MESSAGE_TEXT : MESSAGE_BINARY;
    switch (a->op) {
    case LINK_START:
    case LINK_ANSWER_BODY:
        handle_response(link, c, a, headers);
        return;
    case LINK_ACCEPT:
        c->ops->accept(c, a->data, headers, a->header_count);
        if (link->state == WORKER_LINK_RETIRING)
            bid_farewell(link, c);
        return;
    case LINK_SEND:
        c->ops->send(c, kind, a->data, true, true);
        return;
    case LINK_ANSWER_PART: {
        const bool first = !slot->in_message;
        slot->in_message = !a->flag;
        c->ops->send(c, kind, a->data, first, a->flag);
        return;
    }
    case LINK_CLOSE:
        c->ops->close(c, narrow(a->number), a->data);
        return;
    case LINK_CONSUMED:
        c->ops->consumed(c, a->number, a->count);
        return;
    case LINK_END:
        end_client(link, c, a->flag ? CLIENT_APP_RAISED : CLIENT_APP_RETURNED);
        return;
    case LINK_READY:
    case LINK_BEAT_ANSWER:
    case LINK_SEND_MANY:
    case LINK_ANSWER_OPS:
        break; /* not about one client; handled by the caller */
    }
}

/* As a SEND for each of the ids. No slot comes or goes meanwhile: send() calls nobody back. */
static void handle_send_many(struct worker_link *link, const struct link_answer *a)
{
    const enum message_kind kind = a->is_text ? MESSAGE_TEXT : MESSAGE_BINARY;
    struct pack_reader ids = a->ids;
    for (uint32_t i = 0; i < a->id_count; i++) {
        const struct link_slot *slot = find_slot(link, pack_read_uint(&ids));
        if (slot != NULL)
            slot->client->ops->send(slot->client, kind, a->data, true, true);
    }
}

/* ---- retirement ---- */

static void on_retire_deadline(struct wheel_entry *entry)
{
    struct worker_link *link = CONTAINER_OF(entry, struct worker_link, retire_deadline);
    log_event(LOG_WARN, "link.cut",
              "process=%u loop=%u clients=%u reason=\"left after the graceful timeout\"",
              link->worker, link->loop->index, link->clients);
    /* With the last of them SHUTDOWN goes out, behind their DISCONNECT. */
    for (uint32_t i = 0; i < link->slot_count; i++) {
        struct client *c = link->slots[i].client;
        if (c == NULL)
            continue;
        worker_link_disconnect(link, c, c->is_websocket,
                               c->is_websocket ? CLOSE_SERVICE_RESTART : 0, slice_make(NULL, 0));
        end_client(link, c, CLIENT_WORKER_LOST);
    }
}

void worker_link_retire(struct worker_link *link, uint64_t grace_ms, uint64_t shutdown_ms)
{
    if (link->state == WORKER_LINK_RETIRING)
        return;
    if (link->state != WORKER_LINK_READY || link->clients == 0) {
        worker_link_shutdown(link, shutdown_ms);
        return;
    }
    link->state = WORKER_LINK_RETIRING;
    link->shutdown_ms = shutdown_ms;
    link->retire_window_ms = grace_ms - grace_ms / 4; /* the rest is for the closing handshakes */
    wheel_set(&link->loop->wheel, &link->retire_deadline, loop_now_ms(link->loop) + grace_ms);
    for (uint32_t i = 0; i < link->slot_count; i++)
        if (link->slots[i].client != NULL && link->slots[i].client->is_websocket)
            bid_farewell(link, link->slots[i].client);
}

/* False: the link was closed. */
static bool handle_answer(struct worker_link *link, const struct link_answer *a,
                          const struct header *headers)
{
    if (a->op == LINK_READY) {
        if (a->number != LINK_VERSION) {
            log_event(LOG_ERROR, "link.version",
                      "theirs=%lu ours=%d reason=\"install the Python package of this version\"",
                      (unsigned long)a->number, LINK_VERSION);
            worker_link_close(link, "the worker speaks another version of the link protocol");
            return false;
        }
        if (link->state == WORKER_LINK_STARTING) {
            link->state = WORKER_LINK_READY;
            link->ops->ready(link);
        }
        return true;
    }
    if (a->op == LINK_BEAT_ANSWER) {
        link->beat_answered = a->id;
        return true;
    }
    if (a->op == LINK_SEND_MANY) {
        handle_send_many(link, a);
        return true;
    }
    struct link_slot *slot = find_slot(link, a->id);
    if (slot != NULL)
        handle_client_answer(link, slot, a, headers);
    return true;
}

/* Handles the whole records at @in; returns how many bytes they were, or SIZE_MAX when the link was
 * closed. */
static size_t handle_records(struct worker_link *link, const uint8_t *in, size_t len)
{
    struct header headers[LINK_HEADERS_MAX];
    size_t done = 0;
    while (done < len) {
        struct link_answer answer;
        size_t used = 0;
        const enum pack_scan scan = pack_scan(&used, in + done, len - done, LINK_RECORD_MAX);
        if (scan == PACK_MORE)
            break;
        if (scan == PACK_BROKEN || link_read_answer(&answer, headers, in + done, used) != ERR_OK) {
            log_event(LOG_ERROR, "link.broken",
                      "process=%u loop=%u reason=\"not the link protocol\"", link->worker,
                      link->loop->index);
            worker_link_close(link, "the worker broke the link protocol");
            return SIZE_MAX;
        }
        done += used;
        if (!handle_answer(link, &answer, headers))
            return SIZE_MAX;
    }
    return done;
}

static void handle_bytes(struct worker_link *link, const uint8_t *in, size_t len)
{
    const bool from_rest = link->rest.len > 0;
    if (from_rest) {
        if (buf_append(&link->rest, in, len) != ERR_OK) {
            worker_link_close(link, "no memory for a record of the worker");
            return;
        }
        in = link->rest.ptr;
        len = link->rest.len;
    }
    const size_t done = handle_records(link, in, len);
    if (done == SIZE_MAX)
        return;
    if (from_rest) {
        if (done == len)
            buf_deinit(&link->rest);
        else
            buf_drop_front(&link->rest, done);
    } else if (done < len && buf_append(&link->rest, in + done, len - done) != ERR_OK) {
        worker_link_close(link, "no memory for a record of the worker");
    }
}

static void on_read(uv_stream_t *stream, ssize_t nread, const uv_buf_t *buf)
{
    struct worker_link *link = stream->data;
    if (nread == 0)
        return;
    if (nread < 0) {
        worker_link_close(link, "the worker is gone");
        return;
    }
    handle_bytes(link, (const uint8_t *)buf->base, (size_t)nread);
}

/* ---- life ---- */

static void on_writer_drained(struct writer *w)
{
    struct worker_link *link = CONTAINER_OF(w, struct worker_link, writer);
    if (!link->is_full || w->out.bytes > QUEUED_LOW)
        return;
    link->is_full = false;
    link->ops->room(link);
}

static void on_writer_failed(struct writer *w, enum err err)
{
    (void)err;
    worker_link_close(CONTAINER_OF(w, struct worker_link, writer), "the worker is gone");
}

static const struct writer_ops link_writer_ops = {on_writer_drained, on_writer_failed};

static void on_closed(uv_handle_t *handle)
{
    struct worker_link *link = handle->data;
    writer_deinit(&link->writer);
    buf_deinit(&link->rest);
    mem_free(link->slots);
    worker_load_unref(link->load);
    mem_free(link);
}

enum err worker_link_open(struct worker_link **out, struct loop *loop, int fd, unsigned worker,
                          struct worker_load *load, const struct worker_link_ops *ops)
{
    struct worker_link *link = mem_alloc(sizeof(*link));
    link->loop = loop;
    link->worker = worker;
    link->load = load;
    link->ops = ops;
    link->free_first = no_slot;
    link->free_last = no_slot;
    dlist_init(&link->link);
    wheel_entry_init(&link->retire_deadline, on_retire_deadline);
    buf_init(&link->rest, LINK_RECORD_MAX + LOOP_READ_BYTES);
    int rc = uv_pipe_init(&loop->uv, &link->pipe, 0);
    if (rc < 0) {
        close(fd);
        worker_load_unref(load);
        mem_free(link);
        return err_from_uv(rc);
    }
    link->pipe.data = link;
    writer_init(&link->writer, loop, (uv_stream_t *)&link->pipe, &link_writer_ops);
    rc = uv_pipe_open(&link->pipe, fd);
    if (rc < 0)
        close(fd);
    else
        rc = uv_read_start((uv_stream_t *)&link->pipe, loop_lend_read_buf, on_read);
    if (rc < 0) {
        writer_stop(&link->writer);
        uv_close((uv_handle_t *)&link->pipe, on_closed);
        return err_from_uv(rc);
    }
    uint8_t *start = begin(link);
    commit(link, start, link_write_hello(start, loop->index));
    *out = link;
    return ERR_OK;
}

void worker_link_close(struct worker_link *link, const char *why)
{
    if (link->state == WORKER_LINK_LOST)
        return;
    link->state = WORKER_LINK_LOST;
    wheel_clear(&link->loop->wheel, &link->retire_deadline);
    for (uint32_t i = 0; i < link->slot_count; i++)
        if (link->slots[i].client != NULL)
            end_client(link, link->slots[i].client, CLIENT_WORKER_LOST);
    writer_stop(&link->writer);
    link->ops->lost(link, why);
    uv_close((uv_handle_t *)&link->pipe, on_closed);
}
