/* SPDX-License-Identifier: BSD-3-Clause
 *
 * loop: one thread's event loop and what everything on it shares.
 *
 * Why: a shared read buffer, a pool of output blocks, one timer wheel and one "end of turn"
 * step per loop are what make a connection cheap: no buffer, timer or system call of its own.
 *
 * Thread: everything but loop_post() belongs to the thread that runs the loop.
 */
#ifndef CORE_LOOP_H
#define CORE_LOOP_H

#include <stdint.h>
#include <uv.h>

#include "core/chain.h"
#include "core/dlist.h"
#include "core/err.h"
#include "core/mailbox.h"
#include "core/wheel.h"

enum { LOOP_READ_BYTES = 64 * 1024 };

struct loop {
    uv_loop_t uv;
    struct wheel wheel;
    struct chain_pool pool;
    struct dlist dirty; /* writers with something to flush at the end of the turn */
    uint8_t *read_buf;  /* LOOP_READ_BYTES, lent to each read in turn */
    unsigned index;     /* for the log */
    /* private */
    uv_prepare_t turn_end;
    uv_timer_t tick;
    uv_idle_t busy; /* active while writers wait for the next turn, so that the poll returns */
    struct mailbox mailbox;
    void *ctx;
};

/* Errors: ERR_NOMEM, ERR_IO, ERR_NO_FILES. Nothing is left open then. @ctx is given to every mail's
 * deliver(). */
enum err loop_open(struct loop *loop, unsigned index, void *ctx) MUST_CHECK;

/* Runs until loop_close_handles() was called and every handle on the loop is closed. Output is
 * flushed and deadlines fire until then. */
void loop_run(struct loop *loop);

/* Closes the mailbox, which is what keeps the loop running; the loop then ends when the last other
 * handle is closed. Calling it twice is harmless. */
void loop_close_handles(struct loop *loop);

/* After loop_run() returned: frees everything. */
void loop_deinit(struct loop *loop);

/* Thread: any. Ownership: takes @mail. */
void loop_post(struct loop *loop, struct mail *mail);

/* Milliseconds of the loop's monotonic clock, taken at the start of the turn. */
uint64_t loop_now_ms(const struct loop *loop);

/* libuv's alloc_cb for streams whose handle->loop is a struct loop: lends the shared buffer. */
void loop_lend_read_buf(uv_handle_t *handle, size_t suggested, uv_buf_t *out);

#endif
