/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Happy path: WAITING (pause) -> CONNECTING (Sentinel, address, TLS, greeting) -> UP.
 *
 * What goes wrong, and what is done:
 * - an attempt fails: WAITING, with a longer pause; down() unless it was told already
 * - the connection is lost, or somebody talks nonsense: as above; commands under way end with
 *   ERR_TIMEOUT, those that wait go on waiting
 * - LOADING, READONLY: the command ends with ERR_UNAVAILABLE (it was not done), and the state is
 *   LEAVING; nothing more is sent, what is under way may end, then as above
 * - no answer: commands end at their deadlines and keep their places; after some of them, or a long
 *   silence, a PING decides
 *
 * Callbacks of users are only called from callbacks of libuv (through redis_link_tell(),
 * redis_link_on_reply() and redis_link_expire()), so never inside a function of redis_link.h. Each
 * of them may close the link: what follows such a call looks at the state again.
 */
#include "channel_layer/redis/redis_link_parts.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "core/mem.h"

enum {
    SETTLED_MS = 1000, /* a connection that lasted so long did not fail at once */
    LEAVING_MS = 500,
    HELLO_TRIES = 3, /* each third attempt does without, when it is never answered */
};

#define TO(s) (1U << (s))
static const uint32_t link_next[LINK_CLOSED + 1] = {
    [LINK_WAITING] = TO(LINK_CONNECTING) | TO(LINK_CLOSED) | TO(LINK_WAITING),
    [LINK_CONNECTING] = TO(LINK_UP) | TO(LINK_WAITING) | TO(LINK_CLOSED),
    [LINK_UP] = TO(LINK_LEAVING) | TO(LINK_WAITING) | TO(LINK_CLOSED),
    [LINK_LEAVING] = TO(LINK_WAITING) | TO(LINK_CLOSED),
    [LINK_CLOSED] = 0,
};

/* The only function that writes link->state. */
static void link_move(struct redis_link *link, enum link_state next, uint64_t due_ms)
{
    assert((link_next[link->state] & TO(next)) != 0);
    link->state = next;
    link->state_due_ms = due_ms;
    link->is_probing = false;
}

const char *redis_link_where(const struct redis_link *link)
{
    return link->conn != NULL ? redis_conn_where(link->conn) : redis_host_text(link->host);
}

/* ---- time ---- */

static void on_timer(uv_timer_t *timer);
static void on_turn(uv_idle_t *idle);
static void close_handles(struct redis_link *link);

void redis_link_arm(struct redis_link *link, uint64_t at_ms)
{
    if (at_ms >= link->armed_ms || link->state == LINK_CLOSED)
        return;
    const uint64_t now_ms = uv_now(link->uv);
    link->armed_ms = at_ms;
    uv_timer_start(&link->timer, on_timer, at_ms > now_ms ? at_ms - now_ms : 0, 0);
}

static void arm_all(struct redis_link *link)
{
    const struct redis_request *due = redis_requests_due(&link->requests);
    redis_link_arm(link, link->state_due_ms);
    redis_link_arm(link, redis_link_silence_due_ms(link));
    if (due != NULL)
        redis_link_arm(link, due->deadline_ms);
}

void redis_link_next_turn(struct redis_link *link)
{
    if (!uv_is_closing((uv_handle_t *)&link->turn))
        uv_idle_start(&link->turn, on_turn);
}

/* ---- losing a connection ---- */

static void drop(struct redis_link *link)
{
    struct redis_conn *conn = link->conn;
    link->conn = NULL;
    link->is_broken = link->is_subscriber = link->is_adding_first = false;
    link->timeouts_in_row = 0;
    if (conn != NULL)
        redis_conn_close(conn);
}

/* Ends this attempt or connection; the rest is up to redis_link_tell(). */
static void lose(struct redis_link *link, const char *reason, uint64_t pause)
{
    char why[sizeof(link->why)]; /* the reason may stand in link->why */
    snprintf(why, sizeof(why), "%s: %s", redis_link_where(link), reason);
    memcpy(link->why, why, sizeof(why));
    if (link->conn != NULL)
        link->sentinel = redis_conn_sentinel(link->conn);
    if (link->conn != NULL && redis_conn_is_hello(link->conn))
        link->hello_losses++;
    drop(link);
    link->is_down_to_tell = !link->is_down_told;
    redis_requests_end_connection(&link->requests);
    link_move(link, LINK_WAITING, redis_link_later_ms(link, pause));
}

void redis_link_lost(struct redis_link *link, const char *why)
{
    const bool had_settled = (link->state == LINK_UP || link->state == LINK_LEAVING) &&
                             uv_now(link->uv) - link->up_ms >= SETTLED_MS;
    if (had_settled)
        link->pause.failures = 0;
    const bool is_eager = redis_requests_next(&link->requests) != NULL;
    link->pause.tls_failed = redis_conn_has_tls_failed(link->conn);
    lose(link, why, redis_pause_next_ms(&link->pause, is_eager));
    redis_link_tell(link);
    arm_all(link);
}

static void on_turn(uv_idle_t *idle)
{
    struct redis_link *link = idle->data;
    uv_idle_stop(idle);
    if (link->is_broken)
        redis_link_lost(link, "the connection takes no more bytes");
    redis_link_tell(link);
    redis_link_flush(link);
    arm_all(link);
    if (link->state == LINK_CLOSED)
        close_handles(link);
}

void redis_link_leave(struct redis_link *link, const char *why)
{
    if (link->state != LINK_UP)
        return;
    snprintf(link->why, sizeof(link->why), "%s", why);
    link_move(link, LINK_LEAVING, redis_link_later_ms(link, LEAVING_MS));
}

/* ---- connecting ---- */

static void on_ready(void *ctx)
{
    struct redis_link *link = ctx;
    const bool is_first = !link->was_up;
    link_move(link, LINK_UP, UINT64_MAX);
    link->was_up = true;
    link->is_down_told = false;
    link->is_down_to_tell = false;
    link->hello_losses = 0;
    link->version = redis_conn_version(link->conn);
    link->why[0] = '\0';
    link->up_ms = uv_now(link->uv);
    link->is_adding_first = true;
    link->ops->up(link->ctx, is_first);
    link->is_adding_first = link->ops->ends_unsent && link->state == LINK_UP;
    redis_link_next_turn(link);
}

static void on_heard(void *ctx)
{
    struct redis_link *link = ctx;
    link->heard_ms = uv_now(link->uv);
    link->timeouts_in_row = 0;
    if (link->is_probing) {
        link->is_probing = false;
        link->state_due_ms = UINT64_MAX;
    }
    if (redis_requests_next(&link->requests) != NULL)
        redis_link_next_turn(link); /* what waits for answers to come */
}

static void on_drained(void *ctx)
{
    redis_link_flush(ctx);
}

static void on_lost(void *ctx, const char *why)
{
    redis_link_lost(ctx, why);
}

static void on_part_closed(void *ctx)
{
    struct redis_link *link = ctx;
    if (--link->parts > 0)
        return;
    void (*closed)(void *) = link->closed;
    void *closed_ctx = link->closed_ctx;
    buf_deinit(&link->batch);
    mem_free(link);
    closed(closed_ctx);
}

static const struct redis_conn_ops conn_ops = {
    .ready = on_ready,
    .heard = on_heard,
    .reply = redis_link_on_reply,
    .drained = on_drained,
    .lost = on_lost,
    .closed = on_part_closed,
};

static void connect_now(struct redis_link *link)
{
    struct err_text why;
    const unsigned own_ms = link->host->connect_timeout_ms;
    const unsigned limit_ms = own_ms != 0 ? own_ms : link->timeout_ms;
    const struct redis_conn_how how = {
        .host = link->host,
        .timeout_ms = limit_ms,
        .attempt = link->attempts++,
        .sentinel = link->sentinel,
        .with_hello = link->hello_losses % HELLO_TRIES != HELLO_TRIES - 1,
    };
    /* The sentinels have their time, then the master has its own. */
    link_move(link, LINK_CONNECTING,
              redis_link_later_ms(link, link->host->master_name != NULL ? 2 * (uint64_t)limit_ms
                                                                        : limit_ms));
    if (redis_conn_open(&link->conn, link->uv, &how, &conn_ops, link, &why) == ERR_OK)
        link->parts++;
    else
        redis_link_lost(link, why.text);
}

static void state_is_over(struct redis_link *link)
{
    char why[128];
    switch (link->state) {
    case LINK_WAITING:
        connect_now(link);
        break;
    case LINK_CONNECTING:
        snprintf(why, sizeof(why), "timed out (%s)", redis_conn_phase(link->conn));
        redis_link_lost(link, why);
        break;
    case LINK_UP: /* the probe */
        redis_link_lost(link, "gives no answer, not even to PING");
        break;
    case LINK_LEAVING:
        redis_link_lost(link, link->why);
        break;
    case LINK_CLOSED:
        break;
    }
}

static void on_timer(uv_timer_t *timer)
{
    struct redis_link *link = timer->data;
    link->armed_ms = UINT64_MAX;
    redis_link_tell(link);
    redis_link_expire(link);
    if (link->state_due_ms <= uv_now(link->uv))
        state_is_over(link);
    if (redis_link_silence_due_ms(link) <= uv_now(link->uv))
        redis_link_probe(link);
    arm_all(link);
}

/* ---- open and close ---- */

void redis_link_open(struct redis_link **out, uv_loop_t *uv, const struct redis_host *host,
                     unsigned timeout_ms, const struct redis_link_ops *ops, void *ctx)
{
    struct redis_link *link = mem_alloc(sizeof(*link));
    uv_update_time(uv); /* a loop that has not run for a while is behind */
    link->uv = uv;
    link->host = host;
    link->ops = ops;
    link->ctx = ctx;
    link->timeout_ms = timeout_ms;
    link->state = LINK_WAITING;
    link->state_due_ms = uv_now(uv);
    link->armed_ms = UINT64_MAX;
    redis_requests_init(&link->requests);
    buf_init(&link->batch, REDIS_COMMAND_MAX + 2 * REDIS_LINK_WRITE_BYTES);
    uv_timer_init(uv, &link->timer); /* this and the next cannot fail */
    uv_idle_init(uv, &link->turn);
    link->timer.data = link;
    link->turn.data = link;
    link->parts = 2;
    snprintf(link->why, sizeof(link->why), "%s: not connected yet", redis_link_where(link));
    arm_all(link);
    *out = link;
}

bool redis_link_is_up(const struct redis_link *link)
{
    return link->state == LINK_UP;
}

bool redis_link_has_push(const struct redis_link *link)
{
    return link->state == LINK_UP && redis_conn_is_resp3(link->conn);
}

unsigned redis_link_version(const struct redis_link *link)
{
    return link->version;
}

const char *redis_link_why(const struct redis_link *link)
{
    return link->why;
}

void redis_link_reconnect(struct redis_link *link, const char *why)
{
    if (link->state == LINK_CLOSED)
        return;
    lose(link, why, 0);
    arm_all(link);
    redis_link_next_turn(link); /* there it is told */
}

static void on_handle_closed(uv_handle_t *handle)
{
    on_part_closed(handle->data);
}

static void close_handles(struct redis_link *link)
{
    if (uv_is_closing((uv_handle_t *)&link->timer))
        return;
    uv_close((uv_handle_t *)&link->timer, on_handle_closed);
    uv_close((uv_handle_t *)&link->turn, on_handle_closed);
}

void redis_link_close(struct redis_link *link, void (*closed)(void *ctx), void *ctx)
{
    assert(link->state != LINK_CLOSED);
    link->closed = closed;
    link->closed_ctx = ctx;
    snprintf(link->why, sizeof(link->why), "%s: closed", redis_link_where(link));
    drop(link);
    link_move(link, LINK_CLOSED, UINT64_MAX);
    link->is_down_to_tell = false;
    redis_requests_end_all(&link->requests, ERR_CLOSED);
    uv_timer_stop(&link->timer);
    redis_link_next_turn(link);
}
