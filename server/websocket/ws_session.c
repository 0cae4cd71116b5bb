/* SPDX-License-Identifier: BSD-3-Clause */
#include "server/websocket/ws_session.h"

#include <assert.h>
#include <time.h>

#include "core/log.h"
#include "core/mem.h"
#include "server/http/http_scope.h"
#include "server/websocket/ws_frame.h"
#include "server/websocket/ws_reader.h"

enum {
    WINDOW_BYTES = 64 * 1024, /* towards the application (docs/link-protocol.md) */
    WINDOW_MESSAGES = 128,    /* likewise */
    QUEUED_MAX = 1024 * 1024, /* bytes that may wait for a client; over it 1013 */
    QUEUED_READ_MAX =
        256 * 1024,  /* over it the client is not read: its pings would only add pongs */
    CLOSE_MS = 5000, /* how long the peer's close frame is awaited */
    REASON_MAX = WS_CONTROL_MAX - 2,
};

enum session_state { SESSION_OPEN, SESSION_CLOSING, SESSION_ENDED, SESSION_STATES };

struct ws_session {
    struct conn *conn;
    char *log_name; /* "host\0path" for the access log; NULL without one */
    uint64_t opened_ms;
    uint64_t heard_ms;   /* last input */
    uint64_t ping_ms;    /* when the unanswered ping was sent; 0: none */
    uint64_t ping_end;   /* where it ends in the stream to the client, 0: not known */
    uint64_t taken;      /* how far the client had come in that at the last look */
    uint64_t closing_ms; /* when our close frame was queued */
    uint64_t leave_ms;   /* when the client is sent away; 0: nobody wants that */
    uint32_t unread_bytes;
    uint32_t unread_messages;
    size_t unacked_bytes; /* sent by the application, no credit given yet */
    uint16_t log_port;
    uint16_t leave_code; /* with what */
    uint16_t end_code;   /* what the consumer hears when the peer does not answer our close */
    uint8_t state;
    bool in_message; /* the application is in the middle of a message in pieces */
    bool is_paused;  /* input is held */
    struct ws_reader reader;
};

static const unsigned session_next[SESSION_STATES] = {
    [SESSION_OPEN] = (1U << SESSION_CLOSING) | (1U << SESSION_ENDED),
    [SESSION_CLOSING] = 1U << SESSION_ENDED,
    [SESSION_ENDED] = 0,
};

static void session_move(struct ws_session *s, enum session_state next)
{
    assert((session_next[s->state] & (1U << next)) != 0);
    s->state = (uint8_t)next;
}

static const struct options *options_of(const struct ws_session *s)
{
    return s->conn->edge->config->options;
}

static uint64_t now_ms(const struct ws_session *s)
{
    return loop_now_ms(&s->conn->edge->loop);
}

/* ---- deadlines ---- */

static bool has_passed(const struct ws_session *s, uint64_t since_ms, int64_t limit_ms)
{
    return limit_ms >= 0 && now_ms(s) >= since_ms + (uint64_t)limit_ms;
}

static void wake_after(struct ws_session *s, uint64_t since_ms, int64_t limit_ms)
{
    if (limit_ms >= 0)
        conn_wake_at(s->conn, since_ms + (uint64_t)limit_ms);
}

static void arm(struct ws_session *s)
{
    const struct options *o = options_of(s);
    if (s->state == SESSION_CLOSING) {
        wake_after(s, s->closing_ms, CLOSE_MS);
        return;
    }
    if (conn_queued(s->conn) > 0)
        wake_after(s, s->conn->progress_ms, o->send_timeout_ms);
    wake_after(s, s->opened_ms, o->websocket_timeout_ms);
    if (s->leave_ms != 0)
        conn_wake_at(s->conn, s->leave_ms);
    if (s->ping_ms != 0)
        wake_after(s, s->ping_ms, o->ping_timeout_ms);
    else
        wake_after(s, s->heard_ms, o->ping_interval_ms);
}

/* ---- access log ---- */

static void remember_name(struct ws_session *s, const struct http_exchange *x)
{
    char host[INET6_ADDRSTRLEN];
    struct scope scope = {0};
    if (!log_has_access())
        return;
    http_scope_client(&scope, host, x);
    const struct slice path = x->head->line.path;
    s->log_name = mem_alloc(scope.client.host.len + path.len + 2);
    if (scope.client.host.len > 0)
        memcpy(s->log_name, scope.client.host.ptr, scope.client.host.len);
    memcpy(s->log_name + scope.client.host.len + 1, path.ptr, path.len);
    s->log_port = scope.client.port;
}

static void log_disconnect(struct ws_session *s)
{
    uint8_t room[ACCESS_LOG_LINE_MAX];
    if (s->log_name == NULL)
        return;
    const struct slice host = slice_str(s->log_name);
    const struct access_entry entry = {
        .event = ACCESS_WS_DISCONNECT,
        .now = time(NULL),
        .client = {.host = host, .port = s->log_port, .has_port = true},
        .target = slice_str(s->log_name + host.len + 1),
    };
    log_access(access_log_format(&s->conn->edge->access_log, room, sizeof(room), &entry));
}

/* ---- frames out ---- */

static void write_frame(struct ws_session *s, uint8_t opcode, bool fin, struct slice payload)
{
    struct writer *w = &s->conn->writer;
    if (w->out.bytes == 0)
        s->conn->progress_ms = now_ms(s);
    if (payload.len + WS_HEADER_MAX <= CHAIN_SMALL_BYTES) {
        uint8_t *out = writer_reserve(w, payload.len + WS_HEADER_MAX);
        const size_t head = ws_header_write(out, opcode, fin, payload.len);
        if (payload.len > 0)
            memcpy(out + head, payload.ptr, payload.len);
        writer_commit(w, head + payload.len);
        return;
    }
    uint8_t *out = writer_reserve(w, WS_HEADER_MAX);
    writer_commit(w, ws_header_write(out, opcode, fin, payload.len));
    writer_append(w, payload);
}

/* A reason longer than a control frame holds is cut, at the end of a character. */
static struct slice cut_reason(struct slice reason)
{
    if (reason.len <= REASON_MAX)
        return reason;
    size_t len = REASON_MAX;
    while (len > 0 && (reason.ptr[len] & 0xc0U) == 0x80U)
        len--;
    return slice_make(reason.ptr, len);
}

static void write_close(struct ws_session *s, uint16_t code, struct slice reason)
{
    uint8_t payload[WS_CONTROL_MAX] = {(uint8_t)(code >> 8), (uint8_t)code};
    if (code == WS_CLOSE_NO_CODE) {
        write_frame(s, WS_CLOSE, true, slice_make(NULL, 0));
        return;
    }
    reason = cut_reason(reason);
    if (reason.len > 0)
        memcpy(payload + 2, reason.ptr, reason.len);
    write_frame(s, WS_CLOSE, true, slice_make(payload, 2 + reason.len));
}

/* ---- end ---- */

/* The consumer hears of the end and the connection finishes. Not from client_ops. */
static void end(struct ws_session *s, uint16_t code, struct slice reason)
{
    struct client *client = &s->conn->client;
    session_move(s, SESSION_ENDED);
    log_disconnect(s);
    if (client->kind != NULL) {
        client->kind->gone(client, code, reason);
        client->kind = NULL;
    }
    conn_finish(s->conn);
}

/* Our close frame goes out and the peer's is awaited. */
static void begin_close(struct ws_session *s, uint16_t code, struct slice reason, uint16_t end_code)
{
    if (s->state != SESSION_OPEN)
        return;
    write_close(s, code, reason);
    session_move(s, SESSION_CLOSING);
    s->closing_ms = now_ms(s);
    s->end_code = end_code;
    arm(s);
    conn_go_on(s->conn); /* the peer's answer stands behind what is held */
}

/* Sends the client away because of us: the server or the worker ends. */
static void leave(struct ws_session *s)
{
    const bool is_server = s->leave_code == WS_CLOSE_GOING_AWAY;
    begin_close(s, s->leave_code, slice_str(is_server ? "server shutdown" : "worker restart"),
                s->leave_code);
}

/* The earliest wish holds, with the last code. */
static void leave_after(struct ws_session *s, uint64_t delay_ms, uint16_t code)
{
    const uint64_t at_ms = now_ms(s) + delay_ms;
    if (s->state != SESSION_OPEN)
        return;
    s->leave_code = code;
    if (s->leave_ms == 0 || at_ms < s->leave_ms)
        s->leave_ms = at_ms;
    if (delay_ms == 0)
        leave(s);
    else
        arm(s);
}

/* ---- frames in ---- */

static bool must_hold(const struct ws_session *s)
{
    if (s->state != SESSION_OPEN)
        return false; /* only the peer's close frame still matters */
    return s->unread_bytes >= WINDOW_BYTES || s->unread_messages >= WINDOW_MESSAGES ||
           conn_queued(s->conn) > QUEUED_READ_MAX;
}

static void handle_data(struct ws_session *s, const struct ws_event *event)
{
    struct client *client = &s->conn->client;
    if (s->state != SESSION_OPEN || client->kind == NULL)
        return; /* the application has closed: nobody reads it */
    s->unread_bytes += (uint32_t)event->data.len;
    s->unread_messages += event->fin ? 1 : 0;
    client->kind->receive(client, event->opcode == WS_TEXT ? MESSAGE_TEXT : MESSAGE_BINARY,
                          event->data, event->first, event->fin);
}

static void handle_close(struct ws_session *s, const struct ws_event *event)
{
    if (s->state == SESSION_OPEN)
        write_close(s, event->close_code, event->data);
    end(s, event->close_code, event->data);
}

static void handle_violation(struct ws_session *s, const struct ws_event *event)
{
    if (s->state == SESSION_OPEN)
        write_close(s, event->close_code, slice_str(event->violation));
    end(s, WS_CLOSE_ABNORMAL, slice_make(NULL, 0));
}

/* False: the session ended. */
static bool handle_event(struct ws_session *s, const struct ws_event *event)
{
    switch (event->kind) {
    case WS_EVENT_DATA:
        handle_data(s, event);
        return true;
    case WS_EVENT_PING:
        if (s->state == SESSION_OPEN)
            write_frame(s, WS_PONG, true, event->data);
        return true;
    case WS_EVENT_PONG:
    case WS_EVENT_MORE:
        return true;
    case WS_EVENT_CLOSE:
        handle_close(s, event);
        return false;
    case WS_EVENT_VIOLATION:
        handle_violation(s, event);
        return false;
    }
    return true;
}

static size_t on_feed(struct conn *c, uint8_t *in, size_t len)
{
    struct ws_session *s = c->protocol_state;
    size_t left = len;
    s->heard_ms = now_ms(s);
    s->ping_ms = 0; /* any traffic shows that the peer lives */
    while (left > 0 && !must_hold(s)) {
        struct ws_event event;
        ws_reader_next(&s->reader, &event, &in, &left);
        if (!handle_event(s, &event))
            return len;
    }
    s->is_paused = left > 0;
    return len - left;
}

/* ---- the connection's callbacks ---- */

static void on_drained(struct conn *c)
{
    struct ws_session *s = c->protocol_state;
    struct client *client = &c->client;
    if (conn_queued(c) > 0)
        arm(s);
    if (s->is_paused && !must_hold(s))
        conn_go_on(c);
    const size_t credit = conn_take_credit(c, &s->unacked_bytes);
    if (credit > 0 && client->kind != NULL)
        client->kind->drained(client, credit);
}

static void send_ping(struct ws_session *s)
{
    struct conn_delivery delivery = {0};
    s->ping_ms = now_ms(s);
    if (s->is_paused)
        return;
    write_frame(s, WS_PING, true, slice_make(NULL, 0));
    const bool is_known = conn_look_at_delivery(s->conn, &delivery);
    s->ping_end = is_known ? delivery.end : 0;
    s->taken = delivery.taken;
}

/* The ping stands behind what a slow client still takes: it cannot have answered yet. */
static bool is_ping_under_way(struct ws_session *s)
{
    struct conn_delivery delivery;
    if (s->ping_end == 0 || !conn_look_at_delivery(s->conn, &delivery))
        return false;
    const bool moves = delivery.taken != s->taken;
    s->taken = delivery.taken;
    return moves && delivery.taken < s->ping_end;
}

/* A client that we do not read cannot show us its pong. */
static bool is_silent(const struct ws_session *s)
{
    return s->ping_ms != 0 && !s->is_paused &&
           has_passed(s, s->ping_ms, options_of(s)->ping_timeout_ms);
}

static void on_expired(struct conn *c)
{
    struct ws_session *s = c->protocol_state;
    const struct options *o = options_of(s);
    if (s->state == SESSION_CLOSING && has_passed(s, s->closing_ms, CLOSE_MS)) {
        end(s, s->end_code, slice_make(NULL, 0));
        return;
    }
    if (s->state == SESSION_OPEN && is_silent(s) && is_ping_under_way(s))
        s->ping_ms = now_ms(s); /* once more so long */
    if (s->state == SESSION_OPEN && (is_silent(s) || conn_is_stuck(c, o->send_timeout_ms))) {
        conn_abort(c);
        return;
    }
    if (s->state == SESSION_OPEN && s->leave_ms != 0 && now_ms(s) >= s->leave_ms) {
        leave(s);
    } else if (s->state == SESSION_OPEN && has_passed(s, s->opened_ms, o->websocket_timeout_ms)) {
        begin_close(s, WS_CLOSE_NORMAL, slice_make(NULL, 0), WS_CLOSE_ABNORMAL);
    } else if (s->state == SESSION_OPEN && s->ping_ms == 0 &&
               has_passed(s, s->heard_ms, o->ping_interval_ms)) {
        send_ping(s);
    } else if (s->is_paused && s->ping_ms != 0) {
        s->ping_ms = now_ms(s);
    }
    arm(s);
}

static void on_lost(struct conn *c)
{
    struct ws_session *s = c->protocol_state;
    struct client *client = &c->client;
    const uint16_t code = s->state == SESSION_CLOSING ? s->end_code : WS_CLOSE_ABNORMAL;
    session_move(s, SESSION_ENDED);
    log_disconnect(s);
    if (client->kind == NULL)
        return;
    client->kind->gone(client, code, slice_make(NULL, 0));
    client->kind = NULL;
}

static void on_drain(struct conn *c)
{
    leave_after(c->protocol_state, edge_farewell_ms(c->edge), WS_CLOSE_GOING_AWAY);
}

static void on_release(struct conn *c)
{
    struct ws_session *s = c->protocol_state;
    ws_reader_deinit(&s->reader);
    mem_free(s->log_name);
    mem_free(s);
}

/* Its consumer stays until the end. */
static bool is_never(const struct conn *c)
{
    (void)c;
    return false;
}

static bool takes_the_rest(const struct conn *c)
{
    const struct ws_session *s = c->protocol_state;
    return s->state == SESSION_OPEN;
}

static const struct conn_protocol ws_protocol = {
    .is_idle = is_never,
    .is_answering = is_never,
    .takes_the_rest = takes_the_rest,
    .feed = on_feed,
    .drained = on_drained,
    .expired = on_expired,
    .lost = on_lost,
    .drain = on_drain,
    .release = on_release,
};

/* ---- what the consumer does ---- */

static struct ws_session *session_of(struct client *client)
{
    return CONTAINER_OF(client, struct conn, client)->protocol_state;
}

static void on_send(struct client *client, enum message_kind kind, struct slice data, bool first,
                    bool last)
{
    struct ws_session *s = session_of(client);
    if (s->state != SESSION_OPEN)
        return;
    s->unacked_bytes += data.len;
    const uint8_t opcode = kind == MESSAGE_TEXT ? WS_TEXT : WS_BINARY;
    write_frame(s, first ? opcode : WS_CONTINUATION, last, data);
    s->in_message = !last;
    if (conn_queued(s->conn) > QUEUED_MAX)
        begin_close(s, WS_CLOSE_TRY_AGAIN_LATER, slice_str("client too slow"),
                    WS_CLOSE_TRY_AGAIN_LATER);
}

/* Codes that may not stand in a close frame become 1011: the application must hear of its mistake.
 */
static void on_close(struct client *client, uint16_t code, struct slice reason)
{
    struct ws_session *s = session_of(client);
    if (!ws_close_code_is_valid(code)) {
        log_event(LOG_ERROR, "application.bad_close_code", "code=%u sent=1011", code);
        code = WS_CLOSE_INTERNAL_ERROR;
    }
    begin_close(s, code, reason, WS_CLOSE_ABNORMAL);
}

static void on_consumed(struct client *client, size_t bytes, size_t messages)
{
    struct ws_session *s = session_of(client);
    s->unread_bytes -= bytes < s->unread_bytes ? (uint32_t)bytes : s->unread_bytes;
    s->unread_messages -= messages < s->unread_messages ? (uint32_t)messages : s->unread_messages;
    if (s->is_paused && !must_hold(s))
        conn_go_on(s->conn);
}

static void on_fail(struct client *client, enum client_failure why)
{
    struct ws_session *s = session_of(client);
    client->kind = NULL;
    if (why == CLIENT_WORKER_LOST)
        begin_close(s, WS_CLOSE_SERVICE_RESTART, slice_str("worker restart"),
                    WS_CLOSE_SERVICE_RESTART);
    else
        begin_close(s, WS_CLOSE_INTERNAL_ERROR, slice_make(NULL, 0), WS_CLOSE_INTERNAL_ERROR);
}

static void on_retire(struct client *client, uint64_t delay_ms)
{
    struct ws_session *s = session_of(client);
    if (s->conn->edge->state == EDGE_SERVING) /* else the server's end has its own plan */
        leave_after(s, delay_ms, WS_CLOSE_SERVICE_RESTART);
}

/* The worker checks the order of events: these only come from one that does not. */
static void on_respond(struct client *client, unsigned status, const struct header *headers,
                       size_t count, struct slice body, bool more)
{
    (void)status;
    (void)headers;
    (void)count;
    (void)body;
    (void)more;
    on_close(client, WS_CLOSE_INTERNAL_ERROR, slice_make(NULL, 0));
}

static void on_body(struct client *client, struct slice piece, bool more)
{
    (void)piece;
    (void)more;
    on_close(client, WS_CLOSE_INTERNAL_ERROR, slice_make(NULL, 0));
}

static void on_accept(struct client *client, struct slice subprotocol, const struct header *headers,
                      size_t count)
{
    (void)subprotocol;
    (void)headers;
    (void)count;
    on_close(client, WS_CLOSE_INTERNAL_ERROR, slice_make(NULL, 0));
}

static const struct client_ops ws_ops = {
    .respond = on_respond,
    .body = on_body,
    .accept = on_accept,
    .send = on_send,
    .close = on_close,
    .consumed = on_consumed,
    .retire = on_retire,
    .fail = on_fail,
};

/* ---- begin ---- */

void ws_session_begin(struct http_exchange *x)
{
    struct conn *c = x->conn;
    struct ws_session *s = mem_alloc(sizeof(*s));
    s->conn = c;
    s->opened_ms = s->heard_ms = now_ms(s);
    c->progress_ms = s->opened_ms; /* the answer to the handshake was just queued */
    s->end_code = WS_CLOSE_ABNORMAL;
    ws_reader_init(&s->reader, &c->edge->config->websocket);
    remember_name(s, x);
    c->client.ops = &ws_ops;
    http_exchange_free(x);
    conn_switch(c, &ws_protocol, s);
    arm(s);
    if (c->edge->state != EDGE_SERVING)
        leave_after(s, 0, WS_CLOSE_GOING_AWAY);
}
