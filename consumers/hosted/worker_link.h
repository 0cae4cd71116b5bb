/* SPDX-License-Identifier: BSD-3-Clause
 *
 * worker_link: one edge loop's end of the socket pair to one Python worker.
 *
 * Why: records of all clients of a loop share one stream; this is where they are numbered, batched
 * into one write per turn, and given back to the client they belong to.
 *
 * Life: STARTING (records may be queued, no client yet) -> READY -> RETIRING (no new clients; those
 * that are there end, within a time) -> DRAINING (the worker was told to end) -> LOST. The link
 * ends when the worker closes its end, breaks the protocol, or worker_link_close() is called.
 *
 * Thread: the loop that it was opened on.
 */
#ifndef CONSUMERS_HOSTED_WORKER_LINK_H
#define CONSUMERS_HOSTED_WORKER_LINK_H

#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

#include "consumers/client.h"
#include "consumers/hosted/link_proto.h"
#include "consumers/hosted/worker_load.h"
#include "core/buf.h"
#include "core/dlist.h"
#include "core/err.h"
#include "core/loop.h"
#include "core/wheel.h"
#include "core/writer.h"

enum worker_link_state {
    WORKER_LINK_STARTING,
    WORKER_LINK_READY,
    WORKER_LINK_RETIRING,
    WORKER_LINK_DRAINING,
    WORKER_LINK_LOST
};

struct worker_link;

struct worker_link_ops {
    void (*ready)(struct worker_link *link);
    /* worker_link_takes_clients() said no because of what waited; it says yes again. */
    void (*room)(struct worker_link *link);
    /* The link is LOST: clients were told; it frees itself. @why is static text. */
    void (*lost)(struct worker_link *link, const char *why);
};

struct link_slot {
    struct client *client; /* NULL: free */
    uint64_t generation;   /* how often the slot was used */
    uint32_t next_free;
    bool in_message; /* the worker is in the middle of a message in pieces */
};

struct worker_link {
    struct dlist link; /* in the owner's list */
    void *ctx;         /* the owner's */
    unsigned worker;   /* number of the worker, as the supervisor counts them */
    enum worker_link_state state;
    struct worker_load *load; /* a reference: the worker's clients on all loops */
    uint32_t clients;         /* engaged now, on this link */
    uint64_t beat_sent;
    uint64_t beat_answered;
    uint64_t beats_missed; /* in a row: passes that found the last beat unanswered */
    bool is_full;          /* a client was refused because of what waits */
    bool is_hung;          /* already reported */
    /* private */
    uv_pipe_t pipe;
    struct loop *loop;
    struct writer writer;
    const struct worker_link_ops *ops;
    struct buf rest; /* the start of a record whose end has not come yet */
    struct wheel_entry retire_deadline;
    uint64_t retire_window_ms; /* WebSockets are closed over that time */
    uint64_t shutdown_ms;      /* what SHUTDOWN will say when the last client is gone */
    uint32_t farewells;        /* WebSockets that were told to leave */
    struct link_slot *slots;
    uint32_t slot_count;
    uint32_t free_first;
    uint32_t free_last;
};

/* Makes a link on @loop over the connected socket @fd and sends HELLO.
 *
 * Ownership: takes @fd and a reference to @load, also on error. The link frees itself after lost()
 *            was called.
 * Errors:    ERR_IO, ERR_NO_FILES. */
enum err worker_link_open(struct worker_link **out, struct loop *loop, int fd, unsigned worker,
                          struct worker_load *load, const struct worker_link_ops *ops) MUST_CHECK;

/* Whether new clients may be engaged: the worker is READY and does not have too much waiting for
 * it. Clients that come and go while it is busy would otherwise fill the memory with what they
 * asked. */
bool worker_link_takes_clients(struct worker_link *link);

/* Gives the client a number on this link. *@worn_out is set when it is the last that the worker
 * should take. Errors: ERR_TOO_BIG when 2^24 clients are engaged. */
enum err worker_link_engage(struct worker_link *link, struct client *c, bool *worn_out) MUST_CHECK;

/* Forgets the client; later records for its number are dropped. When it is the last of a RETIRING
 * link, the worker is told to finish. */
void worker_link_release(struct worker_link *link, struct client *c);

/* Records towards the worker, for an engaged client. */
enum err worker_link_open_client(struct worker_link *link, const struct client *c,
                                 const struct scope *scope, const struct slice *subprotocols,
                                 size_t subprotocol_count, struct slice body, bool more) MUST_CHECK;
void worker_link_body(struct worker_link *link, const struct client *c, struct slice piece,
                      bool more);
void worker_link_receive(struct worker_link *link, const struct client *c, bool is_text,
                         struct slice data);
void worker_link_part(struct worker_link *link, const struct client *c, bool is_text,
                      struct slice data, bool last);
void worker_link_credit(struct worker_link *link, const struct client *c, size_t bytes);
void worker_link_disconnect(struct worker_link *link, const struct client *c, bool has_code,
                            uint16_t code, struct slice reason);

void worker_link_beat(struct worker_link *link);

/* Lets a READY worker end without haste: its requests go on, its WebSockets are closed one after
 * the other. When the last client is gone the worker is told to finish, its applications within
 * @shutdown_ms; clients that are left after @grace_ms get CLIENT_WORKER_LOST, and the worker
 * DISCONNECT for each. One that is not READY is told to finish at once. */
void worker_link_retire(struct worker_link *link, uint64_t grace_ms, uint64_t shutdown_ms);

/* Tells the worker that no new clients follow and how long its applications have to end; the state
 * becomes DRAINING. */
void worker_link_shutdown(struct worker_link *link, uint64_t grace_ms);

/* Ends the link now: its clients get CLIENT_WORKER_LOST, then lost() is called. */
void worker_link_close(struct worker_link *link, const char *why);

#endif
