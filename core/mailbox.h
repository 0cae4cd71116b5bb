/* SPDX-License-Identifier: BSD-3-Clause
 *
 * mailbox: hands messages to another event loop. The only legal way for one loop to affect
 * objects that another owns.
 *
 * Why: one wake-up per batch, and a complete hand-over: the sender never touches the mail again.
 */
#ifndef CORE_MAILBOX_H
#define CORE_MAILBOX_H

#include <uv.h>

#include "core/err.h"

struct mail {
    struct mail *next;
    /* Runs on the receiving loop and owns @mail. @ctx is what mailbox_open() was given. */
    void (*deliver)(struct mail *mail, void *ctx);
};

struct mailbox {
    /* private */
    uv_async_t wakeup;
    uv_mutex_t lock;
    struct mail *head; /* guarded by lock */
    struct mail **tail;
    void *ctx;
};

/* Errors: ERR_NOMEM, ERR_IO. Nothing is left open then. */
enum err mailbox_open(struct mailbox *box, uv_loop_t *loop, void *ctx) MUST_CHECK;

/* Thread: any. Ownership: takes @mail. Must not be called after mailbox_close(). */
void mailbox_post(struct mailbox *box, struct mail *mail);

/* Stops the wake-up handle (asynchronous: the loop must turn once more); mail that is still in
 * the box is delivered first. */
void mailbox_close(struct mailbox *box);

/* After the loop ended: frees the lock. */
void mailbox_deinit(struct mailbox *box);

#endif
