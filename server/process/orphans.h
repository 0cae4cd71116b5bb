/* SPDX-License-Identifier: BSD-3-Clause
 *
 * orphans: children that this program got without having started them, and that have ended.
 *
 * Why: whoever is process 1 of a container, or a subreaper, is given what a dead worker, or a
 * program that an application had started, leaves behind. Nobody else can wait for it: unwaited it
 * stays a zombie until the container has no process number left.
 *
 * Thread: main.
 */
#ifndef SERVER_PROCESS_ORPHANS_H
#define SERVER_PROCESS_ORPHANS_H

#include <stdbool.h>
#include <uv.h>

#include "core/loop.h"
#include "core/wheel.h"

/* Whether libuv waits for @pid, which is a child of ours that has ended. */
typedef bool (*orphans_is_ours)(void *ctx, int pid);

struct orphans {
    /* private */
    struct loop *loop;
    uv_signal_t child;
    struct wheel_entry again;
    orphans_is_ours is_ours;
    void *ctx;
    bool is_open;
};

/* From now on they are waited for. Where SIGCHLD cannot be heard they stay as they are. */
void orphans_open(struct orphans *o, struct loop *loop, orphans_is_ours is_ours, void *ctx);

/* Before the loop's handles are closed. Nothing when it is not open. */
void orphans_close(struct orphans *o);

#endif
