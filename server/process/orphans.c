/* SPDX-License-Identifier: BSD-3-Clause */
#include "server/process/orphans.h"

#include <errno.h>
#include <signal.h>
#include <stddef.h>
#include <sys/wait.h>

#include "core/dlist.h"

enum { AGAIN_MS = 50 };

/* The first child that has ended and was not waited for, which it stays; 0: none. */
static pid_t peek(void)
{
    siginfo_t info = {.si_pid = 0};
    int rc = 0;
    do
        rc = waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT);
    while (rc != 0 && errno == EINTR);
    return rc == 0 ? info.si_pid : 0;
}

static void reap(struct orphans *o)
{
    for (pid_t pid = peek(); pid > 0; pid = peek()) {
        if (o->is_ours(o->ctx, (int)pid)) {
            /* It hides those behind it until libuv has waited for it. */
            wheel_set(&o->loop->wheel, &o->again, loop_now_ms(o->loop) + AGAIN_MS);
            return;
        }
        if (waitpid(pid, NULL, WNOHANG) <= 0)
            return;
    }
}

static void on_child(uv_signal_t *signal, int number)
{
    (void)number;
    reap(signal->data);
}

static void on_again(struct wheel_entry *entry)
{
    reap(CONTAINER_OF(entry, struct orphans, again));
}

void orphans_open(struct orphans *o, struct loop *loop, orphans_is_ours is_ours, void *ctx)
{
    *o = (struct orphans){.loop = loop, .is_ours = is_ours, .ctx = ctx, .is_open = true};
    wheel_entry_init(&o->again, on_again);
    uv_signal_init(&loop->uv, &o->child);
    o->child.data = o;
    uv_signal_start(&o->child, on_child, SIGCHLD);
}

void orphans_close(struct orphans *o)
{
    if (!o->is_open)
        return;
    o->is_open = false;
    wheel_clear(&o->loop->wheel, &o->again);
    uv_close((uv_handle_t *)&o->child, NULL);
}
