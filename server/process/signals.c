/* SPDX-License-Identifier: BSD-3-Clause */
#include "server/process/signals.h"

#include <assert.h>
#include <signal.h>
#include <stddef.h>

void signals_open(struct signals *s, uv_loop_t *loop, const int *numbers, int count,
                  uv_signal_cb heard, void *ctx)
{
    assert(count <= SIGNALS_MAX);
    s->count = count;
    for (int i = 0; i < count; i++) {
        s->numbers[i] = numbers[i];
        uv_signal_init(loop, &s->handles[i]);
        s->handles[i].data = ctx;
        uv_signal_start(&s->handles[i], heard, numbers[i]);
    }
}

void signals_close(struct signals *s)
{
    sigset_t ours;
    sigemptyset(&ours);
    for (int i = 0; i < s->count; i++)
        sigaddset(&ours, s->numbers[i]);
    (void)sigprocmask(SIG_BLOCK, &ours, NULL); /* between the two below nobody has them */
    for (int i = 0; i < s->count; i++) {
        uv_close((uv_handle_t *)&s->handles[i], NULL);
        (void)signal(s->numbers[i], SIG_IGN);
    }
    s->count = 0;
}
