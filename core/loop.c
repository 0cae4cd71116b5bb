/* SPDX-License-Identifier: BSD-3-Clause */
#include "core/loop.h"

#include "core/mem.h"
#include "core/writer.h"

#include <assert.h>

/* Writers that are marked by drained() of another go out in the same turn, but two that feed each
 * other must not keep the loop from its sockets. */
enum { FLUSH_PASSES_MAX = 4 };

static void flush_dirty(struct loop *loop)
{
    for (int pass = 0; pass < FLUSH_PASSES_MAX && !dlist_is_empty(&loop->dirty); pass++) {
        struct dlist batch;
        struct dlist *node = NULL;
        dlist_init(&batch);
        dlist_splice(&batch, &loop->dirty);
        while ((node = dlist_take_first(&batch)) != NULL)
            writer_flush(CONTAINER_OF(node, struct writer, dirty));
    }
}

static void on_busy(uv_idle_t *busy)
{
    (void)busy; /* an active idle handle makes the poll return at once; nothing else is wanted */
}

static void on_tick(uv_timer_t *tick)
{
    struct loop *loop = tick->data;
    wheel_advance(&loop->wheel, uv_now(&loop->uv));
}

/* Runs before each poll, so that neither a deadline nor a writer is ever set without this coming
 * between it and a long sleep. */
static void on_turn_end(uv_prepare_t *turn_end)
{
    struct loop *loop = turn_end->data;
    flush_dirty(loop);
    if (dlist_is_empty(&loop->dirty))
        uv_idle_stop(&loop->busy);
    else
        uv_idle_start(&loop->busy, on_busy);
    if (loop->wheel.count == 0)
        uv_timer_stop(&loop->tick);
    else if (!uv_is_active((uv_handle_t *)&loop->tick))
        uv_timer_start(&loop->tick, on_tick, WHEEL_TICK_MS, WHEEL_TICK_MS);
}

/* None of these can fail, by libuv's documentation. */
static void open_handles(struct loop *loop)
{
    uv_timer_init(&loop->uv, &loop->tick);
    uv_unref((uv_handle_t *)&loop->tick);
    loop->tick.data = loop;
    uv_idle_init(&loop->uv, &loop->busy);
    loop->busy.data = loop;
    uv_prepare_init(&loop->uv, &loop->turn_end);
    uv_prepare_start(&loop->turn_end, on_turn_end);
    uv_unref((uv_handle_t *)&loop->turn_end);
    loop->turn_end.data = loop;
}

enum err loop_open(struct loop *loop, unsigned index, void *ctx)
{
    *loop = (struct loop){.index = index, .ctx = ctx};
    dlist_init(&loop->dirty);
    loop->read_buf = mem_try(LOOP_READ_BYTES);
    if (loop->read_buf == NULL)
        return ERR_NOMEM;
    enum err err = err_from_uv(uv_loop_init(&loop->uv));
    if (err != ERR_OK)
        goto free_buf;
    loop->uv.data = loop;
    err = mailbox_open(&loop->mailbox, &loop->uv, ctx);
    if (err != ERR_OK)
        goto close_loop;
    wheel_init(&loop->wheel, uv_now(&loop->uv));
    open_handles(loop);
    return ERR_OK;

close_loop:
    (void)uv_loop_close(&loop->uv);
free_buf:
    mem_free(loop->read_buf);
    loop->read_buf = NULL;
    return err;
}

struct handle_count {
    struct loop *loop;
    unsigned others;
};

static void count_other(uv_handle_t *handle, void *arg)
{
    struct handle_count *count = arg;
    const struct loop *loop = count->loop;
    if (handle != (const uv_handle_t *)&loop->tick && handle != (const uv_handle_t *)&loop->busy &&
        handle != (const uv_handle_t *)&loop->turn_end && !uv_is_closing(handle))
        count->others++;
}

static bool has_other_handles(struct loop *loop)
{
    struct handle_count count = {.loop = loop};
    uv_walk(&loop->uv, count_other, &count);
    return count.others > 0;
}

void loop_run(struct loop *loop)
{
    uv_run(&loop->uv, UV_RUN_DEFAULT);
    /* To libuv a paused stream is not active. One that still has output or a deadline is ours to
     * serve: the deadlines now keep the loop running, and busy makes the first turn happen. */
    uv_ref((uv_handle_t *)&loop->tick);
    while (has_other_handles(loop) && (loop->wheel.count > 0 || !dlist_is_empty(&loop->dirty))) {
        uv_idle_start(&loop->busy, on_busy);
        uv_run(&loop->uv, UV_RUN_DEFAULT);
    }
    uv_close((uv_handle_t *)&loop->tick, NULL);
    uv_close((uv_handle_t *)&loop->busy, NULL);
    uv_close((uv_handle_t *)&loop->turn_end, NULL);
    uv_run(&loop->uv, UV_RUN_DEFAULT);
}

void loop_close_handles(struct loop *loop)
{
    mailbox_close(&loop->mailbox);
}

void loop_deinit(struct loop *loop)
{
    const int rc = uv_loop_close(&loop->uv);
    assert(rc == 0); /* somebody left a handle open */
    (void)rc;
    mailbox_deinit(&loop->mailbox);
    chain_pool_deinit(&loop->pool);
    mem_free(loop->read_buf);
    loop->read_buf = NULL;
}

void loop_post(struct loop *loop, struct mail *mail)
{
    mailbox_post(&loop->mailbox, mail);
}

uint64_t loop_now_ms(const struct loop *loop)
{
    return uv_now(&loop->uv);
}

void loop_lend_read_buf(uv_handle_t *handle, size_t suggested, uv_buf_t *out)
{
    (void)suggested;
    struct loop *loop = CONTAINER_OF(handle->loop, struct loop, uv);
    *out = uv_buf_init((char *)loop->read_buf, LOOP_READ_BYTES);
}
