/* SPDX-License-Identifier: BSD-3-Clause
 *
 * redis_request: commands that wait to be sent, wait for their answer, or wait to be told their
 * end.
 *
 * Why: Redis answers in order, so that a command that is given up must keep its place until its
 * answer has come; deadlines, the number of bytes and the confirmations of SUBSCRIBE are counted
 * here, and redis_link thinks about connections only.
 *
 * Thread: owner only; no input or output, no clock.
 */
#ifndef CHANNEL_LAYER_REDIS_REDIS_REQUEST_H
#define CHANNEL_LAYER_REDIS_REDIS_REQUEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "channel_layer/redis/redis_link.h"
#include "core/buf.h"
#include "core/dlist.h"
#include "core/err.h"
#include "core/slice.h"

enum { REDIS_COMMAND_MAX = 64 * 1024 * 1024 }; /* bytes of one command */

/* Bytes of a command as Redis reads it; SIZE_MAX when over REDIS_COMMAND_MAX. */
size_t redis_command_size(size_t count, const struct slice *args);

/* Errors: ERR_TOO_BIG, ERR_NOMEM. */
enum err redis_command_append(struct buf *out, size_t count, const struct slice *args) MUST_CHECK;

struct redis_request {
    struct dlist link; /* waiting, sent or ended */
    struct dlist due;  /* by deadline; in no list when there is none */
    redis_link_done *done;
    void *ctx;
    uint64_t deadline_ms; /* UINT64_MAX: none, Redis may block */
    uint64_t sent_ms;     /* 0: not sent */
    const char *confirms; /* NULL, or the name under which its answers come: "subscribe" */
    uint32_t replies;     /* that are to come */
    enum err outcome;     /* once it is in ended */
    uint32_t len;
    uint8_t bytes[];
};

/* Lists in order. A zeroed one is made usable by redis_requests_init(). */
struct redis_requests {
    struct dlist first;   /* go before those in waiting */
    struct dlist waiting; /* to be sent */
    struct dlist sent;    /* answers come in this order; those that were given up have no due */
    struct dlist due;
    struct dlist ended; /* their owners are to be told */
    size_t waiting_bytes;
    size_t sent_bytes;
};

void redis_requests_init(struct redis_requests *r);

/* A copy of the command, in no list. Errors: ERR_TOO_BIG, ERR_NOMEM, ERR_INVALID (UNSUBSCRIBE of
 * everything: how many answers would come is not known). */
enum err redis_request_new(struct redis_request **out, size_t count,
                           const struct slice *args) MUST_CHECK;

/* Puts it at the end of @list, which is first or waiting, and into due when it has a deadline. */
void redis_requests_add(struct redis_requests *r, struct dlist *list, struct redis_request *req);

/* The next to be sent, and those under way; NULL: none. */
struct redis_request *redis_requests_next(const struct redis_requests *r);
struct redis_request *redis_requests_head(const struct redis_requests *r);
struct redis_request *redis_requests_due(const struct redis_requests *r);

/* Appends to @batch what waits, as far as there is room (a command is never cut), and counts it as
 * sent. Whether a SUBSCRIBE or the like was among it. */
struct redis_room {
    size_t batch_bytes;
    size_t unanswered_bytes;
    uint64_t now_ms;
};
bool redis_requests_fill(struct redis_requests *r, struct buf *batch,
                         const struct redis_room *room);

/* Takes it, whose answer came, out of all lists; the caller tells and frees it. */
void redis_requests_take(struct redis_requests *r, struct redis_request *req);

/* Its deadline is over. True: it was sent; it keeps its place, and the caller tells its end. False:
 * it was not, and is the caller's to tell and to free. */
bool redis_requests_expire(struct redis_requests *r, struct redis_request *req);

/* The connection is lost: moves all that were sent to ended, with ERR_TIMEOUT, and those in first,
 * which were for this connection, with ERR_UNAVAILABLE. */
void redis_requests_end_connection(struct redis_requests *r);

/* Moves all to ended. */
void redis_requests_end_all(struct redis_requests *r, enum err outcome);

/* Whether @reply is an answer to @req, a SUBSCRIBE or the like. */
struct redisReply;
bool redis_request_is_confirmed(const struct redis_request *req, const struct redisReply *reply);

/* Whether an array of RESP2 is a message of pub/sub. */
bool redis_is_message(const struct redisReply *reply);

#endif
