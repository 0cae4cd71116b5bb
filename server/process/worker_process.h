/* SPDX-License-Identifier: BSD-3-Clause
 *
 * worker_process: one Python worker as an operating system process: its start, its output, its end.
 *
 * Why: what a worker prints passes through channelsd when nobody looks at a terminal, so that a
 * pipe that is not drained blocks the log and not the application.
 *
 * Life: worker_process_spawn() -> STARTING (imports, lifespan startup) -> SERVING -> RETIRING (told
 * to let its clients end) -> ENDING (its links are closed as they should) -> exited() once the
 * process has ended -> the memory goes when its pipes have been read to their end. CUT_OFF is where
 * a worker goes that loses a link before its time: it is of no use any more. Each of STARTING,
 * RETIRING, ENDING and CUT_OFF has a deadline, after which the process is killed.
 *
 * Thread: the main loop's.
 */
#ifndef SERVER_PROCESS_WORKER_PROCESS_H
#define SERVER_PROCESS_WORKER_PROCESS_H

#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

#include "core/dlist.h"
#include "core/err.h"
#include "core/loop.h"
#include "core/wheel.h"
#include "server/options.h"
#include "server/process/python.h"
#include "server/process/worker_output.h"

enum { WORKER_EXIT_APPLICATION = 3 }; /* the application cannot be imported or started */

enum worker_phase {
    WORKER_STARTING,
    WORKER_SERVING,
    WORKER_RETIRING,
    WORKER_ENDING,
    WORKER_CUT_OFF,
    WORKER_PHASES
};

struct worker_process;
struct worker_load;

struct worker_process_ops {
    /* The process ended by exit(@code), or by the signal @signum when that is not 0; what it
     * printed has been passed on. */
    void (*exited)(struct worker_process *p, int code, int signum);
};

struct worker_process {
    struct dlist link; /* in a list of the supervisor's, to the last */
    void *ctx;         /* the supervisor's seat */
    unsigned number;   /* never used again */
    unsigned seat;     /* which of the --workers it is */
    enum worker_phase phase;
    unsigned ready_links;
    struct wheel_entry deadline; /* of the phase; unset when exited() is called */
    uint64_t started_ms;
    uint64_t ready_ms; /* 0: never was */
    bool is_killed;    /* SIGKILL was sent by us */
    /* private */
    struct worker_load *load; /* a reference */
    uv_process_t process;
    struct worker_output output[2]; /* stdout, stderr, when relayed */
    bool has_output[2];
    unsigned open_handles;
    const struct worker_process_ops *ops;
    struct loop *loop;
};

struct worker_process_spec {
    const struct options *options;
    const struct python *python;
    unsigned number;
    unsigned seat;
    uint64_t max_clients; /* how many it should take; 0: any number */
    unsigned link_count;
    const int *child_fds; /* link_count descriptors that the process inherits */
    int layer_fd;         /* another one: to the node of the channel layer */
};

/* Starts a worker. Ownership: @child_fds and @layer_fd stay the caller's (close them
 * afterwards).
 * Errors: ERR_IO and others; @why names the interpreter and the reason. */
enum err worker_process_spawn(struct worker_process **out, struct loop *loop,
                              const struct worker_process_spec *spec,
                              const struct worker_process_ops *ops,
                              struct err_text *why) MUST_CHECK;

/* The only function that changes the phase. */
void worker_process_move(struct worker_process *p, enum worker_phase next);

/* The process has ended; whoever holds its output open is not waited for any longer. */
void worker_process_close_output(struct worker_process *p);

/* Sends a signal; nothing happens when the process has ended. */
void worker_process_kill(struct worker_process *p, int signum);

#endif
