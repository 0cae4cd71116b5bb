/* SPDX-License-Identifier: BSD-3-Clause */
#include "server/http/http_exchange.h"

#include <assert.h>

#include "core/log.h"
#include "core/mem.h"
#include "server/http/http_deadline.h"
#include "server/http/http_response.h"
#include "server/http/http_scope.h"

enum {
    QUEUED_READ_MAX = 256 * 1024, /* bytes of answers that wait for a client, over which its next
                                     request is not read */
};

#define TO(state) (1U << (state))
static const unsigned exchange_next[EXCHANGE_STATES] = {
    [EXCHANGE_READING] = TO(EXCHANGE_WAITING) | TO(EXCHANGE_ACTIVE) | TO(EXCHANGE_ENDED),
    [EXCHANGE_WAITING] = TO(EXCHANGE_ACTIVE) | TO(EXCHANGE_ENDED),
    [EXCHANGE_ACTIVE] = TO(EXCHANGE_READING) | TO(EXCHANGE_ENDED),
    [EXCHANGE_ENDED] = 0,
};

static void exchange_move(struct http_exchange *x, enum exchange_state next)
{
    assert((exchange_next[x->state] & TO(next)) != 0);
    x->state = next;
}

static uint64_t now_ms(const struct http_exchange *x)
{
    return loop_now_ms(&x->conn->edge->loop);
}

static const struct options *options_of(const struct http_exchange *x)
{
    return x->conn->edge->config->options;
}

bool http_exchange_is_window_full(const struct http_exchange *x)
{
    return x->unread_bytes >= EXCHANGE_WINDOW_BYTES;
}

bool http_exchange_has_begun_head(const struct http_exchange *x)
{
    return x->head != NULL && http_reader_has_begun(&x->reader);
}

/* The client takes its answers more slowly than it asks. */
static bool is_choked(const struct http_exchange *x)
{
    return conn_queued(x->conn) > QUEUED_READ_MAX;
}

bool http_exchange_is_delivering(const struct http_exchange *x)
{
    return is_choked(x) || (conn_queued(x->conn) > 0 && !http_exchange_has_begun_head(x));
}

/* Takes the consumer away: it hears that its client is gone. */
static void leave_consumer(struct http_exchange *x)
{
    struct client *client = &x->conn->client;
    if (client->kind == NULL)
        return;
    client->kind->gone(client, x->is_upgrade ? WS_CLOSE_ABNORMAL : 0, slice_make(NULL, 0));
    client->kind = NULL;
}

void http_exchange_give_up(struct http_exchange *x, unsigned status, const char *sentence)
{
    leave_consumer(x);
    http_response_page(x, status, sentence);
}

/* ---- request ---- */

static void end_of_body(struct http_exchange *x)
{
    x->body_done = true;
    x->phase_ms = now_ms(x);
    http_deadline_set(x);
}

/* Passes a piece on. The application may be through already: then nobody wants it. */
static void pass_body(struct http_exchange *x, struct slice piece, bool more)
{
    struct client *client = &x->conn->client;
    x->body_bytes += piece.len;
    if (client->kind == NULL)
        return;
    x->unread_bytes += piece.len;
    client->kind->body(client, piece, more);
}

static bool is_body_too_big(const struct http_exchange *x, uint64_t bytes)
{
    const uint64_t max = options_of(x)->max_body_bytes;
    return max != 0 && bytes > max;
}

static bool is_last_piece(const struct http_exchange *x, struct slice piece)
{
    return x->head->has_length && x->body_bytes + piece.len == x->head->content_length;
}

static void handle_end(struct http_exchange *x)
{
    if (!x->head->has_length)
        pass_body(x, slice_make(NULL, 0), false); /* chunked: only now is the last piece known */
    end_of_body(x);
}

/* No byte follows a body of known length, and none may come before the answer: its end is asked
 * for. */
static void read_end(struct http_exchange *x)
{
    struct http_event event;
    const uint8_t *none = (const uint8_t *)"";
    size_t len = 0;
    http_reader_next(&x->reader, &event, &none, &len);
    assert(event.kind == HTTP_EVENT_END);
    handle_end(x);
}

static void handle_body(struct http_exchange *x, struct slice piece)
{
    x->input_ms = now_ms(x);
    if (is_body_too_big(x, x->body_bytes + piece.len)) {
        http_exchange_give_up(x, 413, "The body of the request is larger than this server takes.");
        return;
    }
    const bool is_last = is_last_piece(x, piece);
    pass_body(x, piece, !is_last);
    if (is_last)
        read_end(x);
    else if (http_exchange_is_window_full(x))
        http_deadline_set(x); /* from now on it is the application's time */
}

static void refuse_open(struct http_exchange *x, enum err err)
{
    if (err == ERR_TOO_BIG)
        http_response_page(x, 431, "The request is larger than this server can pass on.");
    else
        http_response_page(x, 503, "The server cannot take this request now.");
}

/* The first piece of the body goes with the head when it is there already. */
static enum err open_consumer(struct http_exchange *x, const struct route *route,
                              struct slice piece, bool more)
{
    struct http_scope_room room;
    struct scope scope;
    struct client *client = &x->conn->client;
    enum err err = http_scope_make(&scope, &room, x);
    if (err == ERR_OK) {
        client->ops = &http_response_ops;
        client->is_websocket = x->is_upgrade;
        err = route->kind->open(client, route->ctx, &scope, room.subprotocols,
                                room.subprotocol_count, piece, more);
    }
    http_scope_deinit(&room);
    return err;
}

static bool has_body(const struct http_head *head)
{
    return head->is_chunked || (head->has_length && head->content_length > 0);
}

/* Gives the request to its consumer, with what is at hand of its body. */
static void dispatch(struct http_exchange *x, const struct route *route, const uint8_t **in,
                     size_t *len)
{
    struct http_event first = {.kind = HTTP_EVENT_MORE};
    struct http_event second = {.kind = HTTP_EVENT_MORE};
    if (!x->is_upgrade)
        http_reader_next(&x->reader, &first, in, len);
    if (first.kind == HTTP_EVENT_BODY)
        http_reader_next(&x->reader, &second, in, len);
    const struct http_event *last = first.kind == HTTP_EVENT_BODY ? &second : &first;
    if (last->kind == HTTP_EVENT_BAD) {
        http_response_page(x, last->status, last->reason);
        return;
    }
    exchange_move(x, EXCHANGE_ACTIVE);
    x->phase_ms = x->input_ms = now_ms(x);
    x->body_bytes = x->unread_bytes = first.data.len;
    if (is_body_too_big(x, x->body_bytes)) {
        http_response_page(x, 413, "The body of the request is larger than this server takes.");
        return;
    }
    const bool is_last = last->kind == HTTP_EVENT_END ||
                         (first.data.len > 0 && is_last_piece(x, slice_make(NULL, 0)));
    const enum err err = open_consumer(x, route, first.data, !is_last);
    if (err != ERR_OK) {
        refuse_open(x, err);
        return;
    }
    if (x->is_upgrade)
        http_response_log(x, ACCESS_WS_CONNECTING);
    if (second.kind == HTTP_EVENT_BODY)
        handle_body(x, second.data);
    if (last->kind == HTTP_EVENT_END)
        end_of_body(x);
    http_deadline_set(x);
}

static void find_consumer(struct http_exchange *x, const uint8_t **in, size_t *len)
{
    struct route route;
    struct edge *e = x->conn->edge;
    struct scope scope = {.type = x->is_upgrade ? SCOPE_WEBSOCKET : SCOPE_HTTP,
                          .raw_path = x->head->line.path};
    if (route_table_find(&route, &e->routes, &scope) != ERR_OK) {
        http_response_page(x, 404, "Nothing is served here.");
        return;
    }
    if (route.kind->can_open(route.ctx)) {
        dlist_remove(&x->waiting.link);
        dispatch(x, &route, in, len);
        return;
    }
    if (x->state == EXCHANGE_READING) {
        exchange_move(x, EXCHANGE_WAITING);
        x->phase_ms = now_ms(x);
    }
    dlist_append(&e->waiting, &x->waiting.link);
    http_deadline_set(x);
}

/* A request that asks for the upgrade to WebSocket. False: it was refused. */
static bool check_upgrade(struct http_exchange *x)
{
    const struct http_head *head = x->head;
    const struct ws_handshake_request request = {
        .method = head->line.method,
        .headers = head->headers,
        .header_count = head->header_count,
    };
    const enum ws_handshake_verdict verdict = ws_handshake_check(&x->handshake, &request);
    x->is_upgrade = verdict == WS_HANDSHAKE_OK;
    if (verdict == WS_HANDSHAKE_REFUSED) {
        http_response_page(x, x->handshake.status, x->handshake.reason);
        return false;
    }
    if (x->is_upgrade && has_body(head)) {
        http_response_page(x, 400, "A WebSocket handshake cannot have a body.");
        return false;
    }
    return true;
}

static void handle_head(struct http_exchange *x, const uint8_t **in, size_t *len)
{
    const struct http_head *head = x->head;
    x->is_head = slice_eq_str(head->line.method, "HEAD");
    x->keep_alive = head->keep_alive;
    if (!check_upgrade(x))
        return;
    if (head->has_length && is_body_too_big(x, head->content_length)) {
        http_response_page(x, 413, "The body of the request is larger than this server takes.");
        return;
    }
    if (head->expects_continue && has_body(head))
        writer_append(&x->conn->writer, slice_str("HTTP/1.1 100 Continue\r\n\r\n"));
    find_consumer(x, in, len);
}

static void begin_head(struct http_exchange *x)
{
    x->head = edge_lend_head(x->conn->edge);
    http_reader_begin(&x->reader, x->head);
    if (!x->is_first)
        x->phase_ms = now_ms(x); /* the head's own time begins with its first byte */
}

static bool can_read(const struct http_exchange *x)
{
    switch (x->state) {
    case EXCHANGE_READING:
        return !is_choked(x);
    case EXCHANGE_ACTIVE: /* the body; what comes behind it waits for the answer */
        return !x->body_done && !x->is_upgrade && !http_exchange_is_window_full(x);
    case EXCHANGE_WAITING:
    case EXCHANGE_ENDED:
    case EXCHANGE_STATES:
        break;
    }
    return false;
}

static void handle_event(struct http_exchange *x, const struct http_event *event,
                         const uint8_t **in, size_t *len)
{
    switch (event->kind) {
    case HTTP_EVENT_HEAD:
        handle_head(x, in, len);
        return;
    case HTTP_EVENT_BODY:
        handle_body(x, event->data);
        return;
    case HTTP_EVENT_END:
        handle_end(x);
        return;
    case HTTP_EVENT_BAD:
        http_exchange_give_up(x, event->status, event->reason);
        return;
    case HTTP_EVENT_MORE:
        return;
    }
}

static size_t on_feed(struct conn *c, uint8_t *bytes, size_t len)
{
    struct http_exchange *x = c->protocol_state;
    const uint8_t *in = bytes;
    size_t left = len;
    while (can_read(x) && left > 0) {
        struct http_event event;
        if (x->head == NULL)
            begin_head(x);
        http_reader_next(&x->reader, &event, &in, &left);
        handle_event(x, &event, &in, &left);
    }
    if (x->state == EXCHANGE_READING)
        http_deadline_set(x);
    x->is_held_back = x->state == EXCHANGE_READING && left > 0;
    return x->state == EXCHANGE_ENDED ? len : len - left;
}

/* ---- life ---- */

/* READING, and output left: what is held goes on, and the client has its time from now on. */
static void reading_drained(struct http_exchange *x)
{
    const bool was_held_back = x->is_held_back;
    if (is_choked(x))
        return;
    x->is_held_back = false;
    if (was_held_back)
        conn_go_on(x->conn);
    if (was_held_back || !http_exchange_has_begun_head(x)) {
        x->phase_ms = now_ms(x);
        http_deadline_set(x);
    }
}

static void on_drained(struct conn *c)
{
    struct http_exchange *x = c->protocol_state;
    struct client *client = &c->client;
    if (conn_queued(c) > 0)
        http_deadline_set(x);
    if (x->state == EXCHANGE_READING)
        reading_drained(x);
    const size_t credit = conn_take_credit(c, &x->unacked_bytes);
    if (credit > 0 && client->kind != NULL)
        client->kind->drained(client, credit);
}

static void on_lost(struct conn *c)
{
    struct http_exchange *x = c->protocol_state;
    if (x->is_upgrade && x->state == EXCHANGE_ACTIVE)
        http_response_log(x, ACCESS_WS_DISCONNECT);
    leave_consumer(x);
    dlist_remove(&x->waiting.link); /* a worker may become ready before the memory goes */
    if (x->state != EXCHANGE_ENDED)
        exchange_move(x, EXCHANGE_ENDED);
}

static void on_drain(struct conn *c)
{
    struct http_exchange *x = c->protocol_state;
    if (x->state != EXCHANGE_READING || http_exchange_has_begun_head(x))
        return;
    /* A new one was made a moment ago, or else this ends it: its request may be on the way. */
    if (x->is_first)
        http_deadline_set(x);
    else
        conn_finish(c);
}

static void on_expired(struct conn *c)
{
    http_deadline_passed(c->protocol_state);
}

static void on_release(struct conn *c)
{
    http_exchange_free(c->protocol_state);
}

static bool is_idle(const struct conn *c)
{
    const struct http_exchange *x = c->protocol_state;
    return x->state == EXCHANGE_READING;
}

static bool is_answering(const struct conn *c)
{
    const struct http_exchange *x = c->protocol_state;
    return x->state == EXCHANGE_ACTIVE && x->body_done && !x->is_upgrade;
}

/* Without an answer nobody wants its request. */
static bool takes_the_rest(const struct conn *c)
{
    (void)c;
    return false;
}

static const struct conn_protocol http_protocol = {
    .is_idle = is_idle,
    .is_answering = is_answering,
    .takes_the_rest = takes_the_rest,
    .feed = on_feed,
    .drained = on_drained,
    .expired = on_expired,
    .lost = on_lost,
    .drain = on_drain,
    .release = on_release,
};

/* A worker is ready: the request that waited goes on. */
static void retry(struct edge_waiter *waiter)
{
    struct http_exchange *x = CONTAINER_OF(waiter, struct http_exchange, waiting);
    /* The body's first bytes are held by the connection and come by on_feed(). */
    const uint8_t *none = (const uint8_t *)"";
    size_t len = 0;
    find_consumer(x, &none, &len);
    if (x->state != EXCHANGE_WAITING)
        conn_go_on(x->conn);
}

static void begin(struct conn *c)
{
    struct http_exchange *x = mem_alloc(sizeof(*x));
    x->conn = c;
    x->is_first = true;
    x->phase_ms = now_ms(x);
    dlist_init(&x->waiting.link);
    x->waiting.retry = retry;
    http_reader_init(&x->reader, &c->edge->config->http);
    c->protocol = &http_protocol;
    c->protocol_state = x;
    http_deadline_set(x);
}

static void refuse(struct conn *c)
{
    struct http_exchange *x = c->protocol_state;
    http_response_page(x, 503, "The server has as many connections as it takes.");
}

const struct edge_entry http_exchange_entry = {.begin = begin, .refuse = refuse};

static void return_head(struct http_exchange *x)
{
    if (x->head != NULL)
        edge_return_head(x->conn->edge, x->head);
    x->head = NULL;
}

void http_exchange_finish(struct http_exchange *x, bool close)
{
    struct conn *c = x->conn;
    return_head(x);
    dlist_remove(&x->waiting.link);
    if (close || !x->keep_alive || !x->body_done || c->edge->state != EDGE_SERVING) {
        exchange_move(x, EXCHANGE_ENDED);
        conn_finish(c);
        return;
    }
    exchange_move(x, EXCHANGE_READING);
    x->is_first = false;
    x->is_upgrade = x->is_head = x->body_done = false;
    x->reply_started = false;
    x->status = 0;
    x->reply_bytes = x->reply_length = x->body_bytes = 0;
    x->unread_bytes = 0;
    x->unacked_bytes = 0;
    x->phase_ms = now_ms(x);
    http_deadline_set(x);
    conn_go_on(c);
}

void http_exchange_cut(struct http_exchange *x)
{
    return_head(x);
    exchange_move(x, EXCHANGE_ENDED);
    if (x->framing == HTTP_FRAMING_CLOSE)
        conn_reset_later(x->conn);
    else
        conn_finish(x->conn);
}

void http_exchange_consumed(struct http_exchange *x)
{
    if (http_exchange_is_window_full(x))
        return;
    x->input_ms = now_ms(x); /* the client could not send while the window was full */
    http_deadline_set(x);
    conn_go_on(x->conn);
}

void http_exchange_free(struct http_exchange *x)
{
    return_head(x);
    dlist_remove(&x->waiting.link);
    mem_free(x);
}
