/* SPDX-License-Identifier: BSD-3-Clause
 *
 * hosted: the consumer kind that is an ASGI application in Python workers.
 *
 * Why: one edge loop has one link to each worker; a new client goes to the worker that serves the
 * fewest clients of all loops. While no worker is ready, or each has too much waiting for it,
 * opening fails with ERR_CLOSED and the owner hears of it when that is over.
 *
 * Thread: the loop that it was opened on.
 */
#ifndef CONSUMERS_HOSTED_HOSTED_H
#define CONSUMERS_HOSTED_HOSTED_H

#include <stdbool.h>
#include <stdint.h>

#include "consumers/client.h"
#include "consumers/hosted/worker_load.h"
#include "core/dlist.h"
#include "core/err.h"
#include "core/loop.h"
#include "core/wheel.h"

struct hosted;

struct hosted_ops {
    /* A worker became ready for new clients. */
    void (*worker_ready)(struct hosted *h, unsigned worker);
    /* A worker that had too much waiting takes new clients again. */
    void (*worker_has_room)(struct hosted *h, unsigned worker);
    /* The link to @worker ended; its clients were told. @why is static text. */
    void (*worker_lost)(struct hosted *h, unsigned worker, const char *why);
    /* @worker did not answer for the configured time; it should be killed. Called once per worker.
     */
    void (*worker_hung)(struct hosted *h, unsigned worker);
    /* @worker has taken as many clients as it should; it goes on until it is retired. Called on one
     * of the loops, once, from inside open(): not the moment to end links. */
    void (*worker_worn)(struct hosted *h, unsigned worker);
};

struct hosted {
    void *ctx; /* the owner's */
    /* private */
    struct loop *loop;
    const struct hosted_ops *ops;
    struct dlist links;
    struct wheel_entry beat;
    int64_t hang_ms;
    bool is_closing;
};

extern const struct consumer_kind hosted_kind; /* ctx of open(): struct hosted */

/* @hang_ms: a worker that answers no beat for so long is reported as hung; <= 0: never. */
void hosted_init(struct hosted *h, struct loop *loop, int64_t hang_ms,
                 const struct hosted_ops *ops);

/* Adds the link to a worker. Ownership: takes @fd and a reference to @load, also on error.
 * Errors: ERR_IO, ERR_NO_FILES. */
enum err hosted_attach(struct hosted *h, int fd, unsigned worker,
                       struct worker_load *load) MUST_CHECK;

/* New clients go elsewhere; those of @worker end within @grace_ms, and then it does, its
 * applications within @shutdown_ms (worker_link_retire()). Nothing when there is none. */
void hosted_retire(struct hosted *h, unsigned worker, uint64_t grace_ms, uint64_t shutdown_ms);

/* Tells every worker that no new clients follow, and that its applications have @grace_ms to end.
 */
void hosted_shutdown(struct hosted *h, uint64_t grace_ms);

/* Ends the link to @worker (its process is gone or to be killed); nothing when there is none. */
void hosted_detach(struct hosted *h, unsigned worker, const char *why);

/* Ends all links; no callback comes afterwards. */
void hosted_close(struct hosted *h);

#endif
