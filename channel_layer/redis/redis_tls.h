/* SPDX-License-Identifier: BSD-3-Clause
 *
 * redis_tls: the TLS side of a connection to Redis: bytes in, bytes out.
 *
 * Why: OpenSSL between two memory buffers leaves all input and output to libuv, and what a setting
 * or a certificate did wrong is told in words that name it.
 *
 * Verification is redis-py's: the system's authorities and those given are trusted; "optional" is
 * "required" for a client, because a server always shows its certificate.
 *
 * Thread: owner only.
 */
#ifndef CHANNEL_LAYER_REDIS_REDIS_TLS_H
#define CHANNEL_LAYER_REDIS_REDIS_TLS_H

#include <stddef.h>

#include "channel_layer/config/config.h"
#include "core/buf.h"
#include "core/err.h"
#include "core/slice.h"

struct ssl_ctx_st; /* OpenSSL's SSL_CTX: settings, authorities and our certificate */
struct redis_tls;

/* Reads the files that @host names, and the system's authorities: some 20 ms. Errors: ERR_INVALID
 * with the setting and the reason. */
enum err redis_tls_context_new(struct ssl_ctx_st **out, const struct redis_host *host,
                               struct err_text *why) MUST_CHECK;
void redis_tls_context_free(struct ssl_ctx_st *context); /* accepts NULL */

/* @server_name: what the certificate must be for, when @host asks for that, and what the server is
 * told (SNI). Errors: ERR_NOMEM, ERR_INVALID. */
enum err redis_tls_new(struct redis_tls **out, struct ssl_ctx_st *context,
                       const struct redis_host *host, const char *server_name,
                       struct err_text *why) MUST_CHECK;
void redis_tls_free(struct redis_tls *tls); /* accepts NULL */

/* Takes @len bytes from the network. Errors: ERR_NOMEM. */
enum err redis_tls_feed(struct redis_tls *tls, const void *bytes, size_t len) MUST_CHECK;

enum redis_tls_step {
    REDIS_TLS_MORE,   /* needs bytes from the network */
    REDIS_TLS_DONE,   /* the handshake is over, or *got bytes were read */
    REDIS_TLS_FAILED, /* over; the reason is in why */
};
enum redis_tls_step redis_tls_handshake(struct redis_tls *tls, struct err_text *why) MUST_CHECK;
enum redis_tls_step redis_tls_read(struct redis_tls *tls, void *out, size_t size, size_t *got,
                                   struct err_text *why) MUST_CHECK;

/* Errors: ERR_IO with the reason. */
enum err redis_tls_write(struct redis_tls *tls, struct slice plain,
                         struct err_text *why) MUST_CHECK;

/* Appends what is to go to the network. Errors: ERR_NOMEM, ERR_TOO_BIG. */
enum err redis_tls_take_output(struct redis_tls *tls, struct buf *out) MUST_CHECK;

#endif
