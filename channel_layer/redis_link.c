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
 * Callbacks of users are only called from callbacks of libuv (through tell(), on_reply() and
 * expire()), so never inside a function of this header. Each of them may close the link: what
 * follows such a call looks at the state again.
 */
#include "channel_layer/redis_link.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#include <hiredis/hiredis.h>

#include "channel_layer/redis_conn.h"
#include "channel_layer/redis_pause.h"
#include "channel_layer/redis_request.h"
#include "channel_layer/redis_words.h"
#include "core/buf.h"
#include "core/mem.h"

enum {
    SETTLED_MS = 1000, /* a connection that lasted so long did not fail at once */
    LEAVING_MS = 500,
    SILENCE_MS = 10 * 1000,
    TIMEOUTS_IN_ROW = 5,
    HELLO_TRIES = 3, /* each third attempt does without, when it is never answered */
    WRITE_BYTES = 256 * 1024,
    UNANSWERED_BYTES = 32 * 1024 * 1024,
    WHERE_BYTES = 320,
};

enum link_state {
    LINK_WAITING,    /* for the next attempt */
    LINK_CONNECTING, /* until the greeting is over */
    LINK_UP,
    LINK_LEAVING, /* this server is the wrong one */
    LINK_CLOSED,  /* handles close */
};
#define TO(s) (1U << (s))
static const uint32_t link_next[LINK_CLOSED + 1] = {
    [LINK_WAITING] = TO(LINK_CONNECTING) | TO(LINK_CLOSED) | TO(LINK_WAITING),
    [LINK_CONNECTING] = TO(LINK_UP) | TO(LINK_WAITING) | TO(LINK_CLOSED),
    [LINK_UP] = TO(LINK_LEAVING) | TO(LINK_WAITING) | TO(LINK_CLOSED),
    [LINK_LEAVING] = TO(LINK_WAITING) | TO(LINK_CLOSED),
    [LINK_CLOSED] = 0,
};

struct redis_link {
    uv_loop_t *uv;
    const struct redis_host *host;
    const struct redis_link_ops *ops;
    void *ctx;
    enum link_state state;
    unsigned timeout_ms;
    uv_timer_t timer;      /* the one for all that waits for a time */
    uint64_t armed_ms;     /* when it fires; UINT64_MAX: not */
    uint64_t state_due_ms; /* when this state has lasted too long; UINT64_MAX: never */
    uv_idle_t turn;        /* runs once, before the loop polls again */
    unsigned parts;        /* connections and handles that are not closed */
    struct redis_requests requests;
    struct buf batch;
    struct redis_conn *conn;
    size_t sentinel;      /* which answered last */
    bool is_adding_first; /* inside up(), or as long as it is (ops->ends_unsent) */
    bool was_up;
    bool is_down_told;
    bool is_down_to_tell;
    bool is_probing;
    bool is_subscriber; /* SUBSCRIBE was sent on this connection */
    bool is_broken;     /* a write failed: lost at the end of the turn */
    unsigned attempts;
    struct redis_pause pause;
    unsigned hello_losses;
    unsigned timeouts_in_row;
    uint64_t up_ms;
    uint64_t heard_ms; /* when the last bytes came */
    unsigned version;
    void (*closed)(void *ctx);
    void *closed_ctx;
    char why[ERR_TEXT_MAX]; /* "": it is up */
};

/* The only function that writes link->state. */
static void link_move(struct redis_link *link, enum link_state next, uint64_t due_ms)
{
    assert((link_next[link->state] & TO(next)) != 0);
    link->state = next;
    link->state_due_ms = due_ms;
    link->is_probing = false;
}

static const char *where(const struct redis_link *link)
{
    return link->conn != NULL ? redis_conn_where(link->conn) : redis_host_text(link->host);
}

static uint64_t later(const struct redis_link *link, uint64_t ms)
{
    return uv_now(link->uv) + ms;
}

/* ---- time ---- */

static void on_timer(uv_timer_t *timer);
static void close_handles(struct redis_link *link);

static void arm(struct redis_link *link, uint64_t at_ms)
{
    if (at_ms >= link->armed_ms || link->state == LINK_CLOSED)
        return;
    const uint64_t now_ms = uv_now(link->uv);
    link->armed_ms = at_ms;
    uv_timer_start(&link->timer, on_timer, at_ms > now_ms ? at_ms - now_ms : 0, 0);
}

/* When the silence of a server with something to answer has lasted too long. A command without a
 * deadline may block, and those behind it wait for it: that is no silence. */
static uint64_t silence_due_ms(const struct redis_link *link)
{
    const struct redis_request *head = redis_requests_head(&link->requests);
    if (link->state != LINK_UP || link->is_probing || head == NULL ||
        head->deadline_ms == UINT64_MAX)
        return UINT64_MAX;
    if (link->timeouts_in_row >= TIMEOUTS_IN_ROW)
        return 0;
    return (head->sent_ms > link->heard_ms ? head->sent_ms : link->heard_ms) + SILENCE_MS;
}

static void arm_all(struct redis_link *link)
{
    const struct redis_request *due = redis_requests_due(&link->requests);
    arm(link, link->state_due_ms);
    arm(link, silence_due_ms(link));
    if (due != NULL)
        arm(link, due->deadline_ms);
}

/* ---- telling ---- */

static void on_turn(uv_idle_t *idle);

static void next_turn(struct redis_link *link)
{
    if (!uv_is_closing((uv_handle_t *)&link->turn))
        uv_idle_start(&link->turn, on_turn);
}

static void finish(struct redis_request *req, enum err err, const struct redisReply *reply,
                   const char *why)
{
    redis_link_done *done = req->done;
    void *ctx = req->ctx;
    mem_free(req);
    if (done != NULL)
        done(ctx, err, reply, why);
}

/* down() and the ends of commands. */
static void tell(struct redis_link *link)
{
    char why[sizeof(link->why) + 64];
    if (link->is_down_to_tell) {
        link->is_down_to_tell = false;
        link->is_down_told = true;
        link->ops->down(link->ctx, link->why);
    }
    for (struct dlist *node; (node = dlist_take_first(&link->requests.ended)) != NULL;) {
        struct redis_request *req = CONTAINER_OF(node, struct redis_request, link);
        if (req->outcome == ERR_CLOSED)
            snprintf(why, sizeof(why), "%s: closed", where(link));
        else if (req->outcome == ERR_UNAVAILABLE)
            snprintf(why, sizeof(why), "%s", link->why);
        else
            snprintf(why, sizeof(why), "%s (connection lost before the answer)", link->why);
        finish(req, req->outcome, NULL, why);
    }
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

/* Ends this attempt or connection; the rest is up to tell(). */
static void lose(struct redis_link *link, const char *reason, uint64_t pause)
{
    char why[sizeof(link->why)]; /* the reason may stand in link->why */
    snprintf(why, sizeof(why), "%s: %s", where(link), reason);
    memcpy(link->why, why, sizeof(why));
    if (link->conn != NULL)
        link->sentinel = redis_conn_sentinel(link->conn);
    if (link->conn != NULL && redis_conn_is_hello(link->conn))
        link->hello_losses++;
    drop(link);
    link->is_down_to_tell = !link->is_down_told;
    redis_requests_end_connection(&link->requests);
    link_move(link, LINK_WAITING, later(link, pause));
}

static void link_lost(struct redis_link *link, const char *why)
{
    const bool had_settled = (link->state == LINK_UP || link->state == LINK_LEAVING) &&
                             uv_now(link->uv) - link->up_ms >= SETTLED_MS;
    if (had_settled)
        link->pause.failures = 0;
    const bool is_eager = redis_requests_next(&link->requests) != NULL;
    link->pause.tls_failed = redis_conn_has_tls_failed(link->conn);
    lose(link, why, redis_pause_next_ms(&link->pause, is_eager));
    tell(link);
    arm_all(link);
}

/* ---- sending ---- */

/* Fills one batch and writes it, and the next as long as the socket takes them. */
static void flush(struct redis_link *link)
{
    const struct redis_room room = {.batch_bytes = WRITE_BYTES,
                                    .unanswered_bytes = UNANSWERED_BYTES,
                                    .now_ms = uv_now(link->uv)};
    while (link->state == LINK_UP && !link->is_broken && !redis_conn_is_busy(link->conn)) {
        link->batch.len = 0;
        if (redis_requests_fill(&link->requests, &link->batch, &room))
            link->is_subscriber = true;
        if (link->batch.len == 0)
            break; /* nothing waits; or no memory for one: its deadline ends it */
        if (redis_conn_send(link->conn, buf_slice(&link->batch)) != ERR_OK) {
            link->is_broken = true;
            next_turn(link);
        }
    }
    if (link->batch.cap > 4 * WRITE_BYTES)
        buf_deinit(&link->batch);
}

static void on_turn(uv_idle_t *idle)
{
    struct redis_link *link = idle->data;
    uv_idle_stop(idle);
    if (link->is_broken)
        link_lost(link, "the connection takes no more bytes");
    tell(link);
    flush(link);
    arm_all(link);
    if (link->state == LINK_CLOSED)
        close_handles(link);
}

enum err redis_link_command(struct redis_link *link, redis_link_done *done, void *ctx,
                            unsigned timeout_ms, size_t count, const struct slice *args)
{
    struct redis_requests *r = &link->requests;
    struct redis_request *req = NULL;
    if (link->state == LINK_CLOSED)
        return ERR_CLOSED;
    const enum err err = redis_request_new(&req, count, args);
    if (err != ERR_OK)
        return err;
    if (r->waiting_bytes > 0 && r->waiting_bytes + req->len > REDIS_LINK_QUEUE_BYTES) {
        mem_free(req);
        return ERR_TOO_BIG;
    }
    req->done = done;
    req->ctx = ctx;
    if (timeout_ms != UINT32_MAX)
        req->deadline_ms = later(link, timeout_ms != 0 ? timeout_ms : link->timeout_ms);
    redis_requests_add(r, link->is_adding_first ? &r->first : &r->waiting, req);
    arm(link, req->deadline_ms);
    const uint64_t soon_ms = later(link, redis_pause_eager_ms(&link->pause));
    if (link->state == LINK_WAITING && link->state_due_ms > soon_ms) {
        link->state_due_ms = soon_ms;
        arm(link, soon_ms);
    }
    if (link->state == LINK_UP) {
        next_turn(link);
        if (r->waiting_bytes >= WRITE_BYTES)
            flush(link);
    }
    return ERR_OK;
}

/* ---- answers ---- */

/* The server cannot do what it is there for, and has said so: nothing was done. */
static void link_leave(struct redis_link *link, const char *why)
{
    if (link->state != LINK_UP)
        return;
    snprintf(link->why, sizeof(link->why), "%s", why);
    link_move(link, LINK_LEAVING, later(link, LEAVING_MS));
}

static void answer(struct redis_link *link, struct redis_request *req,
                   const struct redisReply *reply)
{
    char words[ERR_TEXT_MAX];
    char why[ERR_TEXT_MAX + WHERE_BYTES] = "";
    redis_requests_take(&link->requests, req);
    if (reply->type == REDIS_REPLY_ERROR) {
        redis_error_words(words, sizeof(words), reply);
        snprintf(why, sizeof(why), "%s: %s", where(link), words);
    }
    if (redis_trouble_of(reply) == REDIS_TROUBLE_NONE) {
        finish(req, ERR_OK, reply, why);
        return;
    }
    link_leave(link, words);
    finish(req, ERR_UNAVAILABLE, NULL, why);
}

static void on_reply(void *ctx, const struct redisReply *reply)
{
    struct redis_link *link = ctx;
    struct redis_request *head = redis_requests_head(&link->requests);
    if (reply->type == REDIS_REPLY_ATTR)
        return; /* says something about the answer behind it */
    if (head != NULL && redis_request_is_confirmed(head, reply)) {
        if (--head->replies == 0)
            answer(link, head, reply);
        return;
    }
    if (reply->type == REDIS_REPLY_PUSH ||
        (!redis_conn_is_resp3(link->conn) && link->is_subscriber && redis_is_message(reply))) {
        link->ops->push(link->ctx, reply);
        return;
    }
    if (head == NULL || (head->confirms != NULL && reply->type != REDIS_REPLY_ERROR)) {
        link_lost(link, "answers what it was not asked");
        return;
    }
    answer(link, head, reply);
    if (link->state != LINK_LEAVING)
        return;
    head = redis_requests_head(&link->requests);
    if (head == NULL || head->deadline_ms == UINT64_MAX)
        link_lost(link, link->why);
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
    next_turn(link);
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
        next_turn(link); /* what waits for answers to come */
}

static void on_drained(void *ctx)
{
    flush(ctx);
}

static void on_lost(void *ctx, const char *why)
{
    link_lost(ctx, why);
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
    .reply = on_reply,
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
              later(link, link->host->master_name != NULL ? 2 * (uint64_t)limit_ms : limit_ms));
    if (redis_conn_open(&link->conn, link->uv, &how, &conn_ops, link, &why) == ERR_OK)
        link->parts++;
    else
        link_lost(link, why.text);
}

/* ---- deadlines ---- */

static void expire(struct redis_link *link)
{
    const uint64_t now_ms = uv_now(link->uv);
    struct redis_request *req = NULL;
    char why[sizeof(link->why) + 64];
    while ((req = redis_requests_due(&link->requests)) != NULL && req->deadline_ms <= now_ms) {
        const struct redis_request *head = redis_requests_head(&link->requests);
        if (!redis_requests_expire(&link->requests, req)) {
            const bool is_up = link->state == LINK_UP;
            snprintf(why, sizeof(why), "%s%s", is_up ? where(link) : link->why,
                     is_up ? ": takes no more commands" : "");
            finish(req, ERR_UNAVAILABLE, NULL, why);
            continue;
        }
        if (head->deadline_ms != UINT64_MAX)
            link->timeouts_in_row++;
        redis_link_done *done = req->done;
        req->done = NULL; /* keeps its place until its answer comes */
        snprintf(why, sizeof(why), "%s: no answer in time", where(link));
        if (done != NULL)
            done(req->ctx, ERR_TIMEOUT, NULL, why);
    }
}

/* Asks whether anybody is there; any byte within the time limit is answer enough. */
static void probe(struct redis_link *link)
{
    const struct slice ping = slice_str("PING");
    struct redis_request *req = NULL;
    link->is_probing = true;
    link->state_due_ms = later(link, link->timeout_ms);
    if (redis_request_new(&req, 1, &ping) != ERR_OK)
        return;
    req->deadline_ms = link->state_due_ms;
    redis_requests_add(&link->requests, &link->requests.first, req);
    next_turn(link);
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
        link_lost(link, why);
        break;
    case LINK_UP: /* the probe */
        link_lost(link, "gives no answer, not even to PING");
        break;
    case LINK_LEAVING:
        link_lost(link, link->why);
        break;
    case LINK_CLOSED:
        break;
    }
}

static void on_timer(uv_timer_t *timer)
{
    struct redis_link *link = timer->data;
    link->armed_ms = UINT64_MAX;
    tell(link);
    expire(link);
    if (link->state_due_ms <= uv_now(link->uv))
        state_is_over(link);
    if (silence_due_ms(link) <= uv_now(link->uv))
        probe(link);
    arm_all(link);
}

/* ---- open and close ---- */

enum err redis_link_open(struct redis_link **out, uv_loop_t *uv, const struct redis_host *host,
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
    buf_init(&link->batch, REDIS_COMMAND_MAX + 2 * WRITE_BYTES);
    uv_timer_init(uv, &link->timer); /* this and the next cannot fail */
    uv_idle_init(uv, &link->turn);
    link->timer.data = link;
    link->turn.data = link;
    link->parts = 2;
    snprintf(link->why, sizeof(link->why), "%s: not connected yet", where(link));
    arm_all(link);
    *out = link;
    return ERR_OK;
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
    next_turn(link); /* there it is told */
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
    snprintf(link->why, sizeof(link->why), "%s: closed", where(link));
    drop(link);
    link_move(link, LINK_CLOSED, UINT64_MAX);
    link->is_down_to_tell = false;
    redis_requests_end_all(&link->requests, ERR_CLOSED);
    uv_timer_stop(&link->timer);
    next_turn(link);
}
