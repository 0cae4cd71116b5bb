/* SPDX-License-Identifier: BSD-3-Clause
 *
 * supervisor: keeps the wanted number of workers running.
 *
 * Why: an application may crash, hang or exit; whoever is connected through another worker must not
 * notice, and the next client must be served.
 *
 * What it does: start -> all ready: told once. A worker that ends is replaced, at once if it had
 * lived for a while, with growing pauses if it dies young. One that does not react or whose link
 * breaks is killed, then replaced. One that cannot start the application at first ends the program;
 * later it is tried again.
 *
 * Thread: the main loop's; what edges tell arrives there by mail.
 */
#ifndef SERVER_PROCESS_SUPERVISOR_H
#define SERVER_PROCESS_SUPERVISOR_H

#include <stdbool.h>
#include <stdint.h>

#include "core/dlist.h"
#include "core/err.h"
#include "core/loop.h"
#include "core/wheel.h"
#include "server/options.h"
#include "server/process/python.h"
#include "server/process/worker_process.h"

struct supervisor;

struct supervisor_ops {
    /* The link of @worker for the edge @edge. Takes @fd. */
    void (*attach)(void *ctx, unsigned edge, int fd, unsigned worker);
    /* The process of @worker has ended: its clients must hear of it. */
    void (*detach)(void *ctx, unsigned worker);
    /* All workers are ready for the first time. */
    void (*ready)(void *ctx);
    /* The application cannot be started; nothing was served yet. @code is an exit code for this
     * program. */
    void (*failed)(void *ctx, int code);
    /* supervisor_finish() is through: no worker is left. */
    void (*finished)(void *ctx);
};

struct supervisor_seat {
    struct supervisor *supervisor;
    struct worker_process *process; /* NULL: empty */
    struct wheel_entry restart;
    unsigned early_deaths; /* in a row */
    unsigned number;       /* which of the --workers */
};

struct supervisor {
    /* private */
    struct loop *loop;
    const struct options *options;
    const struct supervisor_ops *ops;
    void *ctx;
    struct python python;
    unsigned edge_count;
    unsigned next_number;
    struct supervisor_seat *seats;
    struct dlist processes; /* every process that has not ended */
    struct dlist ended;     /* those that have, while their output is open */
    struct wheel_entry finish_deadline;
    bool was_ready;
    bool is_finishing;
    bool is_killing; /* what still runs was killed by us */
};

/* Finds the interpreter. Errors: ERR_NOT_FOUND, @why says what was looked for. */
enum err supervisor_init(struct supervisor *s, struct loop *loop, const struct options *options,
                         unsigned edge_count, struct err_text *why) MUST_CHECK;
void supervisor_deinit(struct supervisor *s);

void supervisor_start(struct supervisor *s, const struct supervisor_ops *ops, void *ctx);

/* From the edges. */
void supervisor_link_ready(struct supervisor *s, unsigned worker);
void supervisor_link_lost(struct supervisor *s, unsigned worker, const char *why);
void supervisor_hung(struct supervisor *s, unsigned worker);

/* The workers were told to finish: waits for them, for @timeout_ms at most, then kills. */
void supervisor_finish(struct supervisor *s, uint64_t timeout_ms);

/* Kills what is left at once. */
void supervisor_kill_all(struct supervisor *s);

#endif
