/* SPDX-License-Identifier: BSD-3-Clause */
#include "core/mailbox.h"

#include <stdbool.h>

static void deliver_all(struct mailbox *box)
{
    uv_mutex_lock(&box->lock); /* held for three assignments, never while delivering */
    struct mail *mail = box->head;
    box->head = NULL;
    box->tail = &box->head;
    uv_mutex_unlock(&box->lock);
    while (mail != NULL) {
        struct mail *next = mail->next; /* deliver() owns the mail and may free it */
        mail->deliver(mail, box->ctx);
        mail = next;
    }
}

static void on_wakeup(uv_async_t *wakeup)
{
    deliver_all(wakeup->data);
}

/* What is left is delivered here and not in mailbox_close(): that one may be called by a deliver()
 * in the middle of a batch, and mail must not overtake mail. */
static void on_closed(uv_handle_t *wakeup)
{
    deliver_all(wakeup->data);
}

enum err mailbox_open(struct mailbox *box, uv_loop_t *loop, void *ctx)
{
    box->head = NULL;
    box->tail = &box->head;
    box->ctx = ctx;
    int rc = uv_mutex_init(&box->lock);
    if (rc < 0)
        return err_from_uv(rc);
    rc = uv_async_init(loop, &box->wakeup, on_wakeup);
    if (rc < 0) {
        uv_mutex_destroy(&box->lock);
        return err_from_uv(rc);
    }
    box->wakeup.data = box;
    return ERR_OK;
}

void mailbox_post(struct mailbox *box, struct mail *mail)
{
    mail->next = NULL;
    uv_mutex_lock(&box->lock);
    const bool was_empty = box->head == NULL;
    *box->tail = mail;
    box->tail = &mail->next;
    uv_mutex_unlock(&box->lock);
    if (was_empty) /* one wake-up per batch */
        (void)uv_async_send(&box->wakeup);
}

void mailbox_close(struct mailbox *box)
{
    if (!uv_is_closing((uv_handle_t *)&box->wakeup))
        uv_close((uv_handle_t *)&box->wakeup, on_closed);
}

void mailbox_deinit(struct mailbox *box)
{
    uv_mutex_destroy(&box->lock);
}
