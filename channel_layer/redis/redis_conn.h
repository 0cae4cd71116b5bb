/* SPDX-License-Identifier: BSD-3-Clause
 *
 * redis_conn: one connection to one Redis: made in the way that its host's settings say, then
 * answers.
 *
 * Why: Sentinel, TLS, greeting and parsing belong to a connection and end with it; redis_link,
 * which outlives many, thinks about commands.
 *
 * Life: ASKING (Sentinel) -> DIALING -> GREETING -> READY; then lost() or redis_conn_close(), in
 * any state. Time limits are the owner's.
 *
 * Thread: the loop's.
 */
#ifndef CHANNEL_LAYER_REDIS_REDIS_CONN_H
#define CHANNEL_LAYER_REDIS_REDIS_CONN_H

#include <stdbool.h>
#include <stddef.h>
#include <uv.h>

#include "channel_layer/config/config.h"
#include "core/err.h"
#include "core/slice.h"

struct redis_conn;
struct redisReply;

/* None but closed() is called after redis_conn_close(), and none inside redis_conn_open(). */
struct redis_conn_ops {
    void (*ready)(void *ctx);
    void (*heard)(void *ctx);                                 /* bytes came; before what they are */
    void (*reply)(void *ctx, const struct redisReply *reply); /* borrowed; may close */
    void (*drained)(void *ctx);                               /* not busy any more */
    void (*lost)(void *ctx, const char *why);                 /* once; the owner closes then */
    void (*closed)(void *ctx); /* it is gone; may come inside redis_conn_close() */
};

struct redis_conn_how {
    const struct redis_host *host; /* outlives the connection */
    unsigned timeout_ms;           /* for asking the sentinels, all of them */
    unsigned attempt;              /* counts up */
    size_t sentinel;               /* asked first */
    bool with_hello;
};

/* Errors: ERR_INVALID, ERR_NOMEM, ERR_NO_FILES, ERR_IO with the reason. */
enum err redis_conn_open(struct redis_conn **out, uv_loop_t *uv, const struct redis_conn_how *how,
                         const struct redis_conn_ops *ops, void *ctx,
                         struct err_text *why) MUST_CHECK;

/* Once it is ready. Errors: ERR_NOMEM, ERR_IO, ERR_CLOSED: it is of no use any more. */
enum err redis_conn_send(struct redis_conn *c, struct slice bytes) MUST_CHECK;
bool redis_conn_is_busy(const struct redis_conn *c);

const char *redis_conn_where(const struct redis_conn *c);   /* for people */
const char *redis_conn_phase(const struct redis_conn *c);   /* what it waits for, in words */
bool redis_conn_is_hello(const struct redis_conn *c);       /* waits for the answer to HELLO */
bool redis_conn_has_tls_failed(const struct redis_conn *c); /* lost so; NULL: no */
bool redis_conn_is_resp3(const struct redis_conn *c);
unsigned redis_conn_version(const struct redis_conn *c);
size_t redis_conn_sentinel(const struct redis_conn *c); /* which of them answered, or was first */

void redis_conn_close(struct redis_conn *c);

/* How people call @host. */
const char *redis_host_text(const struct redis_host *host);

#endif
