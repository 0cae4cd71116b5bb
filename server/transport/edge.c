/* SPDX-License-Identifier: BSD-3-Clause */
#include "server/transport/edge.h"

#include <time.h>
#include <unistd.h>

#include "core/log.h"
#include "core/mem.h"
#include "core/spread.h"
#include "server/transport/admission.h"
#include "server/transport/conn.h"
#include "server/transport/listener.h"

enum {
    SPARE_HEADS_MAX = 64,
    LEAVING_MS = 2000,  /* for the rest of a crowd to leave, too */
    FAREWELL_SHARE = 2, /* of the graceful timeout: the other part is for the closing handshakes */
};

/* ---- what connections share ---- */

const struct http_stamp *edge_stamp(struct edge *e)
{
    const int64_t now = (int64_t)time(NULL);
    if (now != e->stamp_second || e->stamp_second == 0) {
        const struct options *o = e->config->options;
        http_stamp_make(&e->stamp, now, o->server_name, o->has_date_header);
        e->stamp_second = now;
    }
    return &e->stamp;
}

struct http_head *edge_lend_head(struct edge *e)
{
    struct http_head *head = e->spare_heads;
    if (head == NULL) {
        head = mem_alloc(sizeof(*head));
        http_head_init(head, &e->config->http);
        return head;
    }
    e->spare_heads = head->next;
    e->spare_head_count--;
    head->next = NULL;
    return head;
}

static void free_head(struct http_head *head)
{
    http_head_deinit(head);
    mem_free(head);
}

void edge_return_head(struct edge *e, struct http_head *head)
{
    if (e->spare_head_count >= SPARE_HEADS_MAX) {
        free_head(head);
        return;
    }
    http_head_reset(head);
    head->next = e->spare_heads;
    e->spare_heads = head;
    e->spare_head_count++;
}

static void check_drained(struct edge *e)
{
    if (e->state != EDGE_DRAINING || e->conn_count > 0 || e->told_drained)
        return;
    e->told_drained = true;
    e->ops->drained(e->owner, e->loop.index);
}

/* ---- connections that come and go ---- */

static void on_give_back(struct wheel_entry *entry)
{
    struct edge *e = CONTAINER_OF(entry, struct edge, give_back);
    uint64_t again_ms = 0;
    if (admission_crowd_is_gone(e->config->admission, loop_now_ms(&e->loop), &again_ms))
        mem_give_back();
    else if (again_ms > 0)
        wheel_set(&e->loop.wheel, &e->give_back, again_ms);
}

void edge_conn_added(struct edge *e)
{
    e->conn_count++;
}

void edge_conn_removed(struct edge *e)
{
    e->conn_count--;
    const bool has_crowd_left = admission_leave(e->config->admission);
    if (has_crowd_left && e->state == EDGE_SERVING && !wheel_entry_is_set(&e->give_back))
        wheel_set(&e->loop.wheel, &e->give_back, loop_now_ms(&e->loop) + LEAVING_MS);
    check_drained(e);
}

static void on_go_on(uv_idle_t *idle)
{
    struct edge *e = idle->data;
    struct dlist batch;
    struct dlist *node = NULL;
    uv_idle_stop(idle);
    dlist_init(&batch);
    dlist_splice(&batch, &e->todo);
    while ((node = dlist_take_first(&batch)) != NULL)
        conn_resume(CONTAINER_OF(node, struct conn, todo));
}

void edge_go_on(struct edge *e)
{
    uv_idle_start(&e->go_on, on_go_on);
}

/* ---- workers ---- */

static void retry_waiting(struct edge *e)
{
    struct dlist batch;
    struct dlist *node = NULL;
    dlist_init(&batch);
    dlist_splice(&batch, &e->waiting);
    while ((node = dlist_take_first(&batch)) != NULL) {
        struct edge_waiter *waiter = CONTAINER_OF(node, struct edge_waiter, link);
        waiter->retry(waiter);
    }
}

static void on_worker_ready(struct hosted *h, unsigned worker)
{
    struct edge *e = h->ctx;
    retry_waiting(e);
    e->ops->worker_ready(e->owner, e->loop.index, worker);
}

static void on_worker_has_room(struct hosted *h, unsigned worker)
{
    (void)worker; /* whoever waits asks for any */
    retry_waiting(h->ctx);
}

static void on_worker_lost(struct hosted *h, unsigned worker, const char *why)
{
    struct edge *e = h->ctx;
    e->ops->worker_lost(e->owner, e->loop.index, worker, why);
}

static void on_worker_hung(struct hosted *h, unsigned worker)
{
    struct edge *e = h->ctx;
    e->ops->worker_hung(e->owner, e->loop.index, worker);
}

static void on_worker_worn(struct hosted *h, unsigned worker)
{
    struct edge *e = h->ctx;
    e->ops->worker_worn(e->owner, e->loop.index, worker);
}

static const struct hosted_ops hosted_ops = {
    .worker_ready = on_worker_ready,
    .worker_has_room = on_worker_has_room,
    .worker_lost = on_worker_lost,
    .worker_hung = on_worker_hung,
    .worker_worn = on_worker_worn,
};

/* ---- mail ---- */

enum order_kind {
    ORDER_LISTEN,
    ORDER_ATTACH,
    ORDER_DETACH,
    ORDER_RETIRE,
    ORDER_DRAIN,
    ORDER_FINISH_WORKERS,
    ORDER_STOP,
};

struct order {
    struct mail mail;
    enum order_kind kind;
    int fd;
    bool is_unix;
    unsigned worker;
    struct worker_load *load;
    uint64_t grace_ms;
};

static void close_listeners(struct edge *e)
{
    while (!dlist_is_empty(&e->listeners))
        listener_close(CONTAINER_OF(e->listeners.next, struct listener, link));
}

static void drain(struct edge *e)
{
    if (e->state != EDGE_SERVING)
        return;
    e->state = EDGE_DRAINING;
    for (struct dlist *n = e->listeners.next; n != &e->listeners; n = n->next)
        listener_accept_rest(CONTAINER_OF(n, struct listener, link));
    close_listeners(e);
    e->farewell_window_ms = spread_window_ms(
        e->conn_count, (uint64_t)e->config->options->graceful_timeout_ms / FAREWELL_SHARE);
    for (struct dlist *n = e->conns.next; n != &e->conns;) {
        struct conn *c = CONTAINER_OF(n, struct conn, link);
        n = n->next;
        if (conn_is_open(c))
            c->protocol->drain(c);
    }
    check_drained(e);
}

uint64_t edge_farewell_ms(struct edge *e)
{
    return spread_delay_ms(e->farewells++, e->farewell_window_ms);
}

static void abort_conns(struct edge *e)
{
    while (!dlist_is_empty(&e->conns))
        conn_abort(CONTAINER_OF(e->conns.next, struct conn, link));
}

static void stop(struct edge *e)
{
    if (e->state == EDGE_STOPPED)
        return;
    e->state = EDGE_STOPPED;
    close_listeners(e);
    abort_conns(e);
    wheel_clear(&e->loop.wheel, &e->give_back);
    hosted_close(&e->hosted);
    uv_close((uv_handle_t *)&e->go_on, NULL);
    loop_close_handles(&e->loop);
}

static void attach(struct edge *e, int fd, unsigned worker, struct worker_load *load)
{
    const enum err err = hosted_attach(&e->hosted, fd, worker, load);
    if (err == ERR_OK)
        return;
    log_event(LOG_ERROR, "link.open", "loop=%u worker=%u reason=\"%s\"", e->loop.index, worker,
              err_str(err));
    e->ops->worker_lost(e->owner, e->loop.index, worker, "its link could not be opened");
}

static void deliver_order(struct mail *mail, void *ctx)
{
    struct order *order = CONTAINER_OF(mail, struct order, mail);
    struct edge *e = ctx;
    switch (order->kind) {
    case ORDER_LISTEN: {
        const enum err err = listener_open(e, order->fd, order->is_unix);
        if (err != ERR_OK)
            log_event(LOG_CRITICAL, "listener.open", "loop=%u reason=\"%s\"", e->loop.index,
                      err_str(err));
        e->ops->listening(e->owner, e->loop.index, err);
        break;
    }
    case ORDER_ATTACH:
        attach(e, order->fd, order->worker, order->load);
        break;
    case ORDER_DETACH:
        hosted_detach(&e->hosted, order->worker, "its process ended");
        break;
    case ORDER_RETIRE:
        hosted_retire(&e->hosted, order->worker, (uint64_t)e->config->options->graceful_timeout_ms,
                      (uint64_t)e->config->options->application_close_timeout_ms);
        break;
    case ORDER_DRAIN:
        drain(e);
        break;
    case ORDER_FINISH_WORKERS:
        abort_conns(e);
        hosted_shutdown(&e->hosted, order->grace_ms);
        break;
    case ORDER_STOP:
        stop(e);
        break;
    }
    mem_free(order);
}

static void post(struct edge *e, struct order order)
{
    struct order *copy = mem_alloc(sizeof(*copy));
    *copy = order;
    copy->mail.deliver = deliver_order;
    loop_post(&e->loop, &copy->mail);
}

void edge_post_listen(struct edge *e, int fd, bool is_unix)
{
    post(e, (struct order){.kind = ORDER_LISTEN, .fd = fd, .is_unix = is_unix});
}

void edge_post_attach(struct edge *e, int fd, unsigned worker, struct worker_load *load)
{
    post(e, (struct order){.kind = ORDER_ATTACH, .fd = fd, .worker = worker, .load = load});
}

void edge_post_retire(struct edge *e, unsigned worker)
{
    post(e, (struct order){.kind = ORDER_RETIRE, .worker = worker});
}

void edge_post_detach(struct edge *e, unsigned worker)
{
    post(e, (struct order){.kind = ORDER_DETACH, .worker = worker});
}

void edge_post_drain(struct edge *e)
{
    post(e, (struct order){.kind = ORDER_DRAIN});
}

void edge_post_finish_workers(struct edge *e, uint64_t grace_ms)
{
    post(e, (struct order){.kind = ORDER_FINISH_WORKERS, .grace_ms = grace_ms});
}

void edge_post_stop(struct edge *e)
{
    post(e, (struct order){.kind = ORDER_STOP});
}

/* ---- life ---- */

enum err edge_open(struct edge *e, unsigned index, const struct edge_config *config,
                   const struct edge_ops *ops, void *owner)
{
    *e = (struct edge){.config = config, .ops = ops, .owner = owner};
    dlist_init(&e->conns);
    dlist_init(&e->todo);
    dlist_init(&e->waiting);
    dlist_init(&e->listeners);
    wheel_entry_init(&e->give_back, on_give_back);
    const enum err err = loop_open(&e->loop, index, e);
    if (err != ERR_OK)
        return err;
    uv_idle_init(&e->loop.uv, &e->go_on);
    e->go_on.data = e;
    /* One edge asks the workers whether they still react; the others would learn the same. */
    hosted_init(&e->hosted, &e->loop, index == 0 ? config->options->worker_timeout_ms : 0,
                &hosted_ops);
    e->hosted.ctx = e;
    e->routes.fallback = (struct route){.kind = &hosted_kind, .ctx = &e->hosted};
    return ERR_OK;
}

void edge_run(struct edge *e)
{
    loop_run(&e->loop);
}

void edge_deinit(struct edge *e)
{
    while (e->spare_heads != NULL) {
        struct http_head *head = e->spare_heads;
        e->spare_heads = head->next;
        free_head(head);
    }
    loop_deinit(&e->loop);
}
