/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Life of a layer and of the calls to it.
 *
 * A call that needs no backend is over when its function returns; so that done() never comes before
 * that, it waits in layer->endings for the next turn, which begins at once. An idle handle does
 * that: libuv runs it before the poll and before the writers are flushed, so that an answer leaves
 * with the output of the turn in which the question came.
 *
 * End: clients are detached, then layer_close(): the backend ends its calls and leaves the groups,
 * tickets end, what waits in endings is told, the handles close, the object goes.
 */
#include "channel_layer/layer.h"

#include <assert.h>
#include <stdarg.h>

#include "channel_layer/hub.h"
#include "channel_layer/layer_groups.h"
#include "core/mem.h"

uint64_t layer_now_ms(const struct layer *layer)
{
    return uv_now(layer->uv);
}

/* ---- ends of calls ---- */

static void on_turn(uv_idle_t *turn)
{
    struct layer *layer = turn->data;
    endings_run(&layer->endings);
    queues_serve(&layer->queues);
    if (endings_is_empty(&layer->endings) && dlist_is_empty(&layer->queues.ready))
        uv_idle_stop(turn);
}

void layer_wake(struct layer *layer)
{
    if (layer->open_handles > 0 && !uv_is_closing((uv_handle_t *)&layer->turn))
        uv_idle_start(&layer->turn, on_turn);
}

void layer_end(struct layer *layer, struct layer_call *call, enum err err, const char *format, ...)
{
    va_list args;
    if (call == NULL)
        return;
    va_start(args, format);
    /* NOLINTNEXTLINE(clang-analyzer-valist.Uninitialized): false when several files are analysed */
    endings_add(&layer->endings, call, err, format, args);
    va_end(args);
    layer_wake(layer);
}

void layer_end_ok(struct layer *layer, struct layer_call *call)
{
    if (call == NULL)
        return;
    endings_add_ok(&layer->endings, call);
    layer_wake(layer);
}

/* ---- calls to the backend ---- */

static void count_failure(struct layer *layer, enum err err)
{
    if (err == ERR_UNAVAILABLE)
        layer->stats.failed_unavailable++;
    else if (err == ERR_TIMEOUT)
        layer->stats.failed_timeout++;
}

static void on_op_done(struct layer_call *call, enum err err, const char *why)
{
    struct layer_op *op = CONTAINER_OF(call, struct layer_op, call);
    count_failure(op->layer, err);
    if (op->after != NULL)
        op->after(op, err, why);
    if (op->outer != NULL)
        op->outer->done(op->outer, err, why);
    mem_free(op);
}

void layer_op_init(struct layer_op *op, struct layer *layer, struct layer_call *outer,
                   void (*after)(struct layer_op *op, enum err err, const char *why))
{
    op->call.done = on_op_done;
    op->layer = layer;
    op->outer = outer;
    op->after = after;
}

struct layer_op *layer_op_new(struct layer *layer, struct layer_call *outer,
                              void (*after)(struct layer_op *op, enum err err, const char *why))
{
    struct layer_op *op = mem_alloc(sizeof(*op));
    layer_op_init(op, layer, outer, after);
    return op;
}

/* ---- life ---- */

static enum err open_backend(struct backend **out, struct layer *layer, void *ctx,
                             struct err_text *why)
{
    (void)ctx;
    switch (layer->config->backend) {
    case LAYER_MEMORY:
        *out = NULL;
        return ERR_OK;
    case LAYER_REDIS:
        return redis_backend_open(out, layer, layer->uv, layer->config, layer->node, why);
    case LAYER_PUBSUB:
        return pubsub_backend_open(out, layer, layer->uv, layer->config, why);
    }
    return err_fail(why, ERR_INVALID, "no such backend: %d", (int)layer->config->backend);
}

static void free_layer(struct layer *layer)
{
    layer_groups_deinit(layer);
    queues_deinit(&layer->queues);
    layer_clients_deinit(layer);
    layer_tickets_deinit(layer);
    wire_deinit(&layer->wire);
    layer_config_free(layer->config);
    mem_free(layer);
}

static void on_handle_closed(uv_handle_t *handle)
{
    struct layer *layer = handle->data;
    if (--layer->open_handles > 0)
        return;
    endings_run(&layer->endings);
    assert(endings_is_empty(&layer->endings)); /* nobody may ask a layer that ends */
    void (*closed)(void *ctx) = layer->closed;
    void *ctx = layer->closed_ctx;
    free_layer(layer);
    if (closed != NULL)
        closed(ctx);
}

static void close_handles(struct layer *layer)
{
    uv_close((uv_handle_t *)&layer->turn, on_handle_closed);
    uv_close((uv_handle_t *)&layer->ticket_timer, on_handle_closed);
    uv_close((uv_handle_t *)&layer->singles_timer, on_handle_closed);
    uv_close((uv_handle_t *)&layer->queues.timer, on_handle_closed);
}

/* None of these can fail, by libuv's documentation. */
static void open_handles(struct layer *layer)
{
    uv_idle_init(layer->uv, &layer->turn);
    uv_timer_init(layer->uv, &layer->ticket_timer);
    uv_timer_init(layer->uv, &layer->singles_timer);
    uv_timer_init(layer->uv, &layer->queues.timer);
    layer->turn.data = layer->ticket_timer.data = layer;
    layer->singles_timer.data = layer->queues.timer.data = layer;
    layer->open_handles = LAYER_HANDLES;
}

enum err layer_open_with(struct layer **out, uv_loop_t *uv, struct layer_config *config,
                         enum err (*make_backend)(struct backend **out, struct layer *layer,
                                                  void *ctx, struct err_text *why),
                         void *ctx, struct err_text *why)
{
    struct layer *layer = mem_alloc(sizeof(*layer));
    layer->uv = uv;
    layer->config = config;
    wire_init(&layer->wire, config);
    name_make_node(layer->node);
    dlist_init(&layer->clients);
    dlist_init(&layer->mailbox_list);
    dlist_init(&layer->group_list);
    dlist_init(&layer->singles);
    dlist_init(&layer->ticket_list);
    endings_init(&layer->endings);
    strmap_init(&layer->bases);
    strmap_init(&layer->mailboxes);
    strmap_init(&layer->groups);
    strmap_init(&layer->digests);
    strmap_init(&layer->tickets);
    queues_init(&layer->queues, layer);
    const enum err err = make_backend(&layer->backend, layer, ctx, why);
    if (err != ERR_OK) {
        free_layer(layer);
        return err;
    }
    open_handles(layer);
    *out = layer;
    return ERR_OK;
}

enum err layer_open(struct layer **out, uv_loop_t *uv, struct layer_config *config,
                    struct err_text *why)
{
    return layer_open_with(out, uv, config, open_backend, NULL, why);
}

static void on_backend_closed(void *ctx)
{
    struct layer *layer = ctx;
    layer->backend = NULL;
    close_handles(layer);
}

void layer_close(struct layer *layer, void (*closed)(void *ctx), void *ctx)
{
    assert(dlist_is_empty(&layer->clients) && !layer->is_closing);
    layer->is_closing = true;
    layer->closed = closed;
    layer->closed_ctx = ctx;
    layer_drop_tickets(layer, NULL);
    if (layer->backend != NULL)
        layer->backend->ops->close(layer->backend, on_backend_closed, layer);
    else
        close_handles(layer);
}

bool layer_is_idle(struct layer *layer)
{
    return dlist_is_empty(&layer->clients) && dlist_is_empty(&layer->queues.by_age) &&
           dlist_is_empty(&layer->group_list);
}

const struct layer_config *layer_config(const struct layer *layer)
{
    return layer->config;
}

struct layer_stats *layer_stats(struct layer *layer)
{
    return &layer->stats;
}

/* ---- flush ---- */

void layer_forget_all(struct layer *layer)
{
    layer_forget_groups(layer);
    queues_forget(&layer->queues);
    for (struct dlist *n = layer->clients.next; n != &layer->clients; n = n->next) {
        struct layer_client *client = CONTAINER_OF(n, struct layer_client, link);
        client->ops->flushed(client);
    }
    if (layer->backend != NULL && layer->backend->ops->flushed != NULL)
        layer->backend->ops->flushed(layer->backend);
}

static void after_flush(struct layer_op *op, enum err err, const char *why)
{
    (void)why;
    if (err == ERR_OK)
        layer_forget_all(op->layer);
}

void layer_flush(struct layer_client *client, struct layer_call *call)
{
    struct layer *layer = client->layer;
    if (layer->backend != NULL) {
        layer->backend->ops->flush(layer->backend, &layer_op_new(layer, call, after_flush)->call);
        return;
    }
    layer_forget_all(layer);
    layer_end_ok(layer, call);
}
