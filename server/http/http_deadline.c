/* SPDX-License-Identifier: BSD-3-Clause */
#include "server/http/http_deadline.h"

#include "server/http/http_response.h"

enum {
    DRAIN_FIRST_MS = 1000, /* how long a new connection's first request is awaited when the server
                              ends */
};

static uint64_t now_ms(const struct http_exchange *x)
{
    return loop_now_ms(&x->conn->edge->loop);
}

static const struct options *options_of(const struct http_exchange *x)
{
    return x->conn->edge->config->options;
}

static void wake_after(struct http_exchange *x, uint64_t since_ms, int64_t limit_ms)
{
    if (limit_ms >= 0)
        conn_wake_at(x->conn, since_ms + (uint64_t)limit_ms);
}

/* How long the head of a request, or the first sign of one, may take from phase_ms on. */
static int64_t reading_limit_ms(const struct http_exchange *x)
{
    const struct options *o = options_of(x);
    const bool has_begun = http_exchange_has_begun_head(x);
    if (!has_begun && x->conn->edge->state != EDGE_SERVING)
        return DRAIN_FIRST_MS;
    return has_begun || x->is_first ? o->header_timeout_ms : o->keep_alive_timeout_ms;
}

/* A handshake that is being refused by a response is decided: what remains is the response. */
static int64_t answer_limit_ms(const struct http_exchange *x)
{
    const struct options *o = options_of(x);
    return x->is_upgrade && !x->reply_started ? o->websocket_connect_timeout_ms
                                              : o->http_timeout_ms;
}

void http_deadline_set(struct http_exchange *x)
{
    const struct options *o = options_of(x);
    switch (x->state) {
    case EXCHANGE_READING:
        if (http_exchange_is_delivering(x))
            wake_after(x, x->conn->progress_ms, o->send_timeout_ms);
        else
            wake_after(x, x->phase_ms, reading_limit_ms(x));
        break;
    case EXCHANGE_WAITING:
        wake_after(x, x->phase_ms, EXCHANGE_WAIT_MS);
        break;
    case EXCHANGE_ACTIVE:
        if (x->body_done || x->is_upgrade)
            wake_after(x, x->phase_ms, answer_limit_ms(x));
        else
            wake_after(x, x->input_ms,
                       http_exchange_is_window_full(x) ? o->http_timeout_ms : o->body_timeout_ms);
        if (conn_queued(x->conn) > 0)
            wake_after(x, x->conn->progress_ms, o->send_timeout_ms);
        break;
    case EXCHANGE_ENDED:
    case EXCHANGE_STATES:
        break;
    }
}

static bool has_passed(const struct http_exchange *x, uint64_t since_ms, int64_t limit_ms)
{
    return limit_ms >= 0 && now_ms(x) >= since_ms + (uint64_t)limit_ms;
}

static void reading_expired(struct http_exchange *x)
{
    const bool is_late =
        !http_exchange_is_delivering(x) && has_passed(x, x->phase_ms, reading_limit_ms(x));
    if (is_late && http_exchange_has_begun_head(x))
        http_response_page(x, 408, "The head of the request took too long.");
    else if (is_late || conn_is_stuck(x->conn, options_of(x)->send_timeout_ms))
        conn_abort(x->conn); /* nobody asked anything, or takes what was asked for */
    else
        http_deadline_set(x);
}

static void active_expired(struct http_exchange *x)
{
    const struct options *o = options_of(x);
    if (conn_is_stuck(x->conn, o->send_timeout_ms))
        conn_abort(x->conn);
    else if ((x->body_done || x->is_upgrade) && has_passed(x, x->phase_ms, answer_limit_ms(x)))
        http_exchange_give_up(x, 503, "Application failed to respond within time limit.");
    else if (!x->body_done && !x->is_upgrade && http_exchange_is_window_full(x) &&
             has_passed(x, x->input_ms, o->http_timeout_ms))
        http_exchange_give_up(x, 503,
                              "Application failed to respond within time limit."); /* nor takes the
                                                                        rest of the request */
    else if (!x->body_done && !x->is_upgrade && !http_exchange_is_window_full(x) &&
             has_passed(x, x->input_ms, o->body_timeout_ms))
        http_exchange_give_up(x, 408, "The body of the request took too long.");
    else
        http_deadline_set(x);
}

void http_deadline_passed(struct http_exchange *x)
{
    switch (x->state) {
    case EXCHANGE_READING:
        reading_expired(x);
        return;
    case EXCHANGE_WAITING:
        if (has_passed(x, x->phase_ms, EXCHANGE_WAIT_MS))
            http_response_page(x, 503, "No worker process became ready in time.");
        else
            http_deadline_set(x);
        return;
    case EXCHANGE_ACTIVE:
        active_expired(x);
        return;
    case EXCHANGE_ENDED:
    case EXCHANGE_STATES:
        return;
    }
}
