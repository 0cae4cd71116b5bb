/* SPDX-License-Identifier: BSD-3-Clause
 *
 * supervisor: keeps the wanted number of workers running.
 *
 * Why: an application may crash, hang or exit; whoever is connected through another worker must not
 * notice, and the next client must be served.
 *
 * What it does: start -> all ready: told once. A worker that ends is replaced, at once if it had
 * lived for a while, with growing pauses if it dies young. One that does not react, does not become
 * ready, is far too large, or whose link breaks is killed, then replaced. One that cannot start the
 * application at first ends the program; later it is tried again. How one that still serves is
 * replaced: replacement.h.
 *
 * Thread: the main loop's; what edges tell arrives there by mail.
 */
#ifndef SERVER_PROCESS_SUPERVISOR_H
#define SERVER_PROCESS_SUPERVISOR_H

#include <stdbool.h>
#include <stdint.h>

#include "core/dlist.h"
#include "core/err.h"
#include "core/log.h"
#include "core/loop.h"
#include "core/wheel.h"
#include "server/options.h"
#include "server/process/orphans.h"
#include "server/process/python.h"
#include "server/process/worker_process.h"

struct supervisor;

struct supervisor_ops {
    /* The link of @worker for the edge @edge. Takes @fd and a reference to @load. */
    void (*attach)(void *ctx, unsigned edge, int fd, unsigned worker, struct worker_load *load);
    /* The channel layer's end of what @worker speaks to it by. Takes @fd. */
    void (*attach_layer)(void *ctx, int fd, unsigned worker);
    /* Other workers take what comes; the clients of @worker should end, and then it. */
    void (*retire)(void *ctx, unsigned worker);
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

/* Why a worker should be replaced. */
enum seat_wish {
    WISH_RELOAD = 1, /* SIGHUP */
    WISH_WORN = 2,   /* it has taken --max-requests clients */
    WISH_MEMORY = 4, /* it is over --worker-memory-limit */
};

/* One of the --workers. */
struct supervisor_seat {
    struct supervisor *supervisor;
    struct worker_process *process; /* who serves, or will; NULL: empty */
    struct wheel_entry restart;     /* the next attempt to fill or to refresh it */
    unsigned early_deaths;          /* in a row */
    unsigned number;
    unsigned wishes; /* of enum seat_wish */
};

/* What is under way; replacement.c's. The processes are those of the list below. */
struct replacement {
    struct supervisor_seat *seat; /* NULL: nothing */
    struct worker_process *fresh; /* until it is ready */
    struct worker_process *old;   /* from then on, until it has ended */
    bool is_round;                /* for SIGHUP */
    bool is_round_wanted;         /* the next one */
    unsigned replaced;            /* since the round began */
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
    struct replacement replacement;
    struct orphans orphans;
    struct wheel_entry finish_deadline;
    struct wheel_entry memory_check;
    uint64_t slowest_start_ms;
    bool was_ready;
    bool is_ending;    /* nobody is replaced any more */
    bool is_finishing; /* the workers were told to end */
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
void supervisor_worn(struct supervisor *s, unsigned worker);

/* The workers were told to finish: waits for them, for @timeout_ms at most, then kills. */
void supervisor_finish(struct supervisor *s, uint64_t timeout_ms);

/* Kills what is left at once. */
void supervisor_kill_all(struct supervisor *s);

/* ---- for replacement ---- */

/* Starts a process for @seat; the list of processes owns *@out. Errors: those of
 * worker_process_spawn() and of the links. */
enum err supervisor_spawn(struct supervisor_seat *seat, struct worker_process **out,
                          struct err_text *why) MUST_CHECK;

/* Tries again after a pause that grows with the seat's early deaths. */
void supervisor_start_later(struct supervisor_seat *seat);

void supervisor_log_end(enum log_level level, const struct worker_process *p, int code, int signum);

#endif
