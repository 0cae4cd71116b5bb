/* SPDX-License-Identifier: BSD-3-Clause */
#include "server/http/http_response.h"

#include <time.h>

#include "core/log.h"
#include "server/http/http_scope.h"
#include "server/websocket/ws_session.h"

static struct conn *conn_of(struct client *client)
{
    return CONTAINER_OF(client, struct conn, client);
}

static struct http_exchange *exchange_of(struct client *client)
{
    return conn_of(client)->protocol_state;
}

/* ---- access log ---- */

void http_response_log(struct http_exchange *x, enum access_event event)
{
    uint8_t room[ACCESS_LOG_LINE_MAX];
    char host[INET6_ADDRSTRLEN];
    struct scope scope = {0};
    if (!log_has_access() || x->head == NULL)
        return;
    http_scope_client(&scope, host, x);
    const struct access_entry entry = {
        .event = event,
        .now = time(NULL),
        .client = scope.client,
        .method = x->head->line.method,
        .target = event == ACCESS_HTTP ? x->head->line.target : x->head->line.path,
        .status = x->status,
        .body_bytes = x->reply_bytes,
    };
    log_access(access_log_format(&x->conn->edge->access_log, room, sizeof(room), &entry));
}

/* ---- the server's own answers ---- */

void http_response_page(struct http_exchange *x, unsigned status, const char *sentence)
{
    struct conn *c = x->conn;
    if (c->client.kind != NULL)
        conn_dismiss_later(c, x->is_upgrade ? WS_CLOSE_ABNORMAL : 0);
    if (x->reply_started) {
        /* The client has half an answer: only the connection's end can tell it. */
        http_exchange_cut(x);
        return;
    }
    const struct request_line *line = x->head != NULL ? &x->head->line : NULL;
    const struct http_page page = {
        .status = status,
        .minor = line != NULL ? line->minor : 1,
        .is_head = line != NULL && slice_eq_str(line->method, "HEAD"),
        .sentence = sentence,
        .extra = status == x->handshake.status && x->handshake.answer_headers != NULL
                     ? x->handshake.answer_headers
                     : "",
    };
    x->reply_started = true;
    x->status = status;
    x->reply_bytes = http_reply_write_page(&c->writer, edge_stamp(c->edge), &page);
    if (x->is_upgrade)
        http_response_log(x, ACCESS_WS_REJECT);
    else if (line != NULL && line->target.len > 0)
        http_response_log(x, ACCESS_HTTP);
    http_exchange_finish(x, true);
}

/* ---- the consumer's answer ---- */

static void end_reply(struct http_exchange *x, bool close)
{
    if (x->is_upgrade)
        http_response_log(x, ACCESS_WS_REJECT);
    else
        http_response_log(x, ACCESS_HTTP);
    if (x->conn->client.kind != NULL)
        conn_dismiss_later(x->conn, WS_CLOSE_ABNORMAL); /* a handshake that was answered is over */
    http_exchange_finish(x, close || x->is_upgrade);
}

static void log_bad_reply(const struct http_exchange *x, const char *wrong, struct slice culprit)
{
    log_event(LOG_ERROR, "application.bad_response", "path=%.*s problem=\"%s\" header=%.*s",
              (int)x->head->line.path.len, (const char *)x->head->line.path.ptr, wrong,
              (int)culprit.len, culprit.len == 0 ? "" : (const char *)culprit.ptr);
}

/* What the application promised and what it gave do not fit: the client must not take the rest of
 * the connection for the rest of this answer. */
static bool is_short(const struct http_exchange *x)
{
    return x->framing == HTTP_FRAMING_LENGTH && x->reply_bytes != x->reply_length;
}

static void write_piece(struct http_exchange *x, struct slice piece)
{
    struct writer *w = &x->conn->writer;
    x->unacked_bytes += piece.len;
    if (conn_queued(x->conn) == 0)
        x->conn->progress_ms = loop_now_ms(&x->conn->edge->loop);
    if (x->framing == HTTP_FRAMING_NONE) {
        conn_drained_later(x->conn); /* counts as sent */
        return;
    }
    if (x->framing == HTTP_FRAMING_LENGTH && piece.len > x->reply_length - x->reply_bytes) {
        log_bad_reply(x, "the body is longer than Content-Length; the rest was dropped",
                      slice_make(NULL, 0));
        piece.len = (size_t)(x->reply_length - x->reply_bytes);
        conn_drained_later(x->conn); /* what is dropped counts as sent, too */
    }
    x->reply_bytes += piece.len;
    if (x->framing == HTTP_FRAMING_CHUNKED)
        http_reply_write_chunk(w, piece);
    else
        writer_append(w, piece);
}

static void finish_body(struct http_exchange *x)
{
    if (x->framing == HTTP_FRAMING_CHUNKED)
        http_reply_write_last_chunk(&x->conn->writer);
    const bool too_short = is_short(x);
    if (too_short)
        log_bad_reply(x, "the body is shorter than Content-Length", slice_make(NULL, 0));
    end_reply(x, too_short);
}

static void on_body(struct client *client, struct slice piece, bool more)
{
    struct http_exchange *x = exchange_of(client);
    if (!more && !client->is_websocket)
        client->kind = NULL; /* the consumer ended it */
    if (x->state != EXCHANGE_ACTIVE || !x->reply_started)
        return;
    write_piece(x, piece);
    if (!more)
        finish_body(x);
}

static void on_respond(struct client *client, unsigned status, const struct header *headers,
                       size_t count, struct slice body, bool more)
{
    struct http_exchange *x = exchange_of(client);
    if (!more && !client->is_websocket)
        client->kind = NULL;
    if (x->state != EXCHANGE_ACTIVE || x->reply_started)
        return;
    struct http_reply reply = {
        .status = status,
        .headers = headers,
        .header_count = count,
        .minor = x->head->line.minor,
        .is_head = x->is_head,
        .is_whole = !more,
        .whole_bytes = body.len,
        .close = !x->keep_alive || x->is_upgrade || x->conn->edge->state != EDGE_SERVING ||
                 (!more && !x->body_done),
    };
    struct slice culprit;
    const char *wrong = http_reply_plan(&reply, &culprit);
    if (wrong != NULL) {
        log_bad_reply(x, wrong, culprit);
        http_response_page(x, 500, "The application's response cannot be sent.");
        return;
    }
    http_reply_write_head(&reply, edge_stamp(x->conn->edge), &x->conn->writer);
    x->reply_started = true;
    x->status = status;
    x->framing = reply.framing;
    x->reply_length = reply.length;
    x->keep_alive = x->keep_alive && !reply.close;
    write_piece(x, body);
    if (!more)
        finish_body(x);
}

static void on_accept(struct client *client, struct slice subprotocol, const struct header *headers,
                      size_t count)
{
    struct http_exchange *x = exchange_of(client);
    struct slice culprit;
    if (x->state != EXCHANGE_ACTIVE || !x->is_upgrade || x->reply_started)
        return;
    struct http_reply check = {.status = 200, .headers = headers, .header_count = count};
    const char *wrong = http_reply_plan(&check, &culprit);
    const struct slice offered = http_scope_offered(x, subprotocol);
    if (wrong == NULL && subprotocol.len > 0 && offered.len == 0)
        wrong = "a subprotocol that the client did not offer";
    if (wrong != NULL) {
        log_bad_reply(x, wrong, culprit);
        http_response_page(x, 500, "The application's answer to the handshake cannot be sent.");
        return;
    }
    struct writer *w = &x->conn->writer;
    writer_append(w, slice_str("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n"
                               "Connection: Upgrade\r\nSec-WebSocket-Accept: "));
    writer_append(w, slice_str(x->handshake.accept));
    if (offered.len > 0) {
        writer_append(w, slice_str("\r\nSec-WebSocket-Protocol: "));
        writer_append(w, offered);
    }
    writer_append(w, slice_str("\r\n"));
    http_reply_write_fields(w, edge_stamp(x->conn->edge), headers, count);
    writer_append(w, slice_str("\r\n"));
    http_response_log(x, ACCESS_WS_CONNECT);
    ws_session_begin(x);
}

static void on_send(struct client *client, enum message_kind kind, struct slice data, bool first,
                    bool last)
{
    struct http_exchange *x = exchange_of(client);
    (void)kind;
    (void)data;
    (void)first;
    (void)last;
    if (x->state == EXCHANGE_ACTIVE)
        http_response_page(x, 500,
                           "The application sent a message before it accepted the WebSocket.");
}

static void on_close(struct client *client, uint16_t code, struct slice reason)
{
    struct http_exchange *x = exchange_of(client);
    (void)code; /* nothing on the wire can carry them before the WebSocket exists */
    (void)reason;
    if (x->state == EXCHANGE_ACTIVE && x->is_upgrade)
        http_response_page(x, 403, "The application refused the WebSocket.");
}

static void on_consumed(struct client *client, size_t bytes, size_t messages)
{
    struct http_exchange *x = exchange_of(client);
    (void)messages;
    x->unread_bytes -= bytes < x->unread_bytes ? bytes : x->unread_bytes;
    if (x->state == EXCHANGE_ACTIVE)
        http_exchange_consumed(x);
}

static void on_retire(struct client *client, uint64_t delay_ms)
{
    (void)client; /* the answer is awaited */
    (void)delay_ms;
}

static void on_fail(struct client *client, enum client_failure why)
{
    struct http_exchange *x = exchange_of(client);
    client->kind = NULL;
    if (x->state != EXCHANGE_ACTIVE)
        return;
    switch (why) {
    case CLIENT_APP_RAISED:
        http_response_page(x, 500, "Exception inside application.");
        return;
    case CLIENT_APP_RETURNED:
        http_response_page(x, 500, "The application ended without an answer.");
        return;
    case CLIENT_BAD_EVENT:
        http_response_page(x, 500, "The application's response cannot be sent.");
        return;
    case CLIENT_WORKER_LOST:
        http_response_page(x, 502, "The worker process that served this request ended.");
        return;
    }
}

const struct client_ops http_response_ops = {
    .respond = on_respond,
    .body = on_body,
    .accept = on_accept,
    .send = on_send,
    .close = on_close,
    .consumed = on_consumed,
    .retire = on_retire,
    .fail = on_fail,
};
