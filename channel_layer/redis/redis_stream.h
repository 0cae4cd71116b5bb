/* SPDX-License-Identifier: BSD-3-Clause
 *
 * redis_stream: one attempt to reach one address, and the bytes that flow once it is reached.
 *
 * Why: looking a name up, TCP or a unix socket, and TLS are below what redis_link thinks about; a
 * stream is made for each attempt and never used again.
 *
 * Life: RESOLVING -> DIALING -> SECURING (TLS) -> OPEN; CLOSING ends each of them. A name with
 * several addresses is tried at each, beginning at another with every attempt, so that one that
 * swallows packets holds up one attempt only. What the TLS settings name is read once the server is
 * reached, which costs far more than finding nobody there. Time limits are the owner's.
 *
 * Thread: the loop's.
 */
#ifndef CHANNEL_LAYER_REDIS_REDIS_STREAM_H
#define CHANNEL_LAYER_REDIS_REDIS_STREAM_H

#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

#include "channel_layer/config/config.h"
#include "core/err.h"
#include "core/slice.h"

struct redis_stream;

/* None is called inside a function below, nor after redis_stream_close(), but for closed(). */
struct redis_stream_ops {
    void (*opened)(void *ctx);
    void (*got)(void *ctx, struct slice bytes); /* borrowed; may close the stream */
    void (*drained)(void *ctx);                 /* not busy any more */
    void (*lost)(void *ctx, const char *why);   /* once; the owner closes then */
    void (*closed)(void *ctx);                  /* it is gone */
};

struct redis_address {
    const struct redis_host *host; /* whether there is TLS, and how; it outlives the stream */
    const char *name;              /* host name or address; copied */
    uint16_t port;
    const char *unix_path; /* not NULL: instead of name and port */
    unsigned attempt;      /* which of several addresses comes first */
};

/* Errors: ERR_INVALID, ERR_NOMEM, ERR_NO_FILES, ERR_IO with a text; nothing is left open then. */
enum err redis_stream_open(struct redis_stream **out, uv_loop_t *uv,
                           const struct redis_address *address, const struct redis_stream_ops *ops,
                           void *ctx, struct err_text *why) MUST_CHECK;

/* Whether it was lost because TLS failed: a certificate was refused, or there is no TLS. */
bool redis_stream_has_tls_failed(const struct redis_stream *stream);

/* What it waits for, in words: "looking up the name". */
const char *redis_stream_phase(const struct redis_stream *stream);

/* Writes @bytes (copied as far as the socket does not take them at once) to an open stream that is
 * not busy. Errors: ERR_NOMEM, ERR_CLOSED, ERR_IO: the stream is of no use any more. */
enum err redis_stream_send(struct redis_stream *stream, struct slice bytes) MUST_CHECK;

/* Earlier bytes still wait for the socket: drained() will tell. */
bool redis_stream_is_busy(const struct redis_stream *stream);

/* A lookup that the system's resolver has begun ends in its own time; closed() waits for it. */
void redis_stream_close(struct redis_stream *stream);

#endif
