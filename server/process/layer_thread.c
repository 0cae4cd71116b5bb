/* SPDX-License-Identifier: BSD-3-Clause */
#include "server/process/layer_thread.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "core/mem.h"

enum { NAME_MAX_LEN = 32 };

struct layer_order {
    struct mail mail;
    int fd; /* -1: the end */
    unsigned worker;
};

static void on_node_closed(void *ctx)
{
    struct layer_thread *t = ctx;
    loop_close_handles(&t->loop);
}

static void close_node(struct layer_thread *t)
{
    struct node *node = t->node;
    if (node == NULL)
        return;
    t->node = NULL;
    node_close(node, on_node_closed, t);
}

static void deliver_order(struct mail *mail, void *ctx)
{
    struct layer_order *order = CONTAINER_OF(mail, struct layer_order, mail);
    struct layer_thread *t = ctx;
    char name[NAME_MAX_LEN];
    snprintf(name, sizeof(name), "worker-%u", order->worker);
    if (order->fd < 0)
        close_node(t);
    else if (t->node != NULL)
        node_attach(t->node, order->fd, name);
    else
        close(order->fd);
    mem_free(order);
}

static void post(struct layer_thread *t, int fd, unsigned worker)
{
    struct layer_order *order = mem_alloc(sizeof(*order));
    order->mail.deliver = deliver_order;
    order->fd = fd;
    order->worker = worker;
    loop_post(&t->loop, &order->mail);
}

static void run(void *arg)
{
    struct layer_thread *t = arg;
    loop_run(&t->loop);
}

/* Without a thread: what was opened ends on this one. */
static void undo(struct layer_thread *t)
{
    close_node(t);
    loop_run(&t->loop);
    loop_deinit(&t->loop);
}

enum err layer_thread_start(struct layer_thread *t, unsigned index, const char *settings, int fd,
                            struct err_text *why)
{
    const struct slice json = settings != NULL ? slice_str(settings) : (struct slice){0};
    *t = (struct layer_thread){.node = NULL};
    enum err err = loop_open(&t->loop, index, t);
    if (err != ERR_OK) {
        if (fd >= 0)
            close(fd);
        return err_fail(why, err, "event loop of the channel layer: %s", err_str(err));
    }
    err = node_open(&t->node, &t->loop, json, why);
    if (err != ERR_OK) {
        if (fd >= 0)
            close(fd);
        loop_close_handles(&t->loop);
        undo(t);
        return err;
    }
    if (fd >= 0) {
        err = node_listen(t->node, fd);
        if (err != ERR_OK) {
            err_fail(why, err, "--layer-socket: %s", err_str(err));
            undo(t);
            return err;
        }
    }
    if (uv_thread_create(&t->thread, run, t) != 0) {
        undo(t);
        return err_fail(why, ERR_IO, "thread for the channel layer could not be started");
    }
    t->is_running = true;
    return ERR_OK;
}

void layer_thread_post_attach(struct layer_thread *t, int fd, unsigned worker)
{
    post(t, fd, worker);
}

void layer_thread_stop(struct layer_thread *t)
{
    if (!t->is_running)
        return;
    t->is_running = false;
    post(t, -1, 0);
    uv_thread_join(&t->thread);
    loop_deinit(&t->loop);
}
