/* SPDX-License-Identifier: BSD-3-Clause
 *
 * fernet: Fernet tokens (0x80, time, IV, AES-128-CBC, HMAC-SHA-256, in base64url) with keys that
 * rotate: the first seals, each may open. Sans-I/O: the time and the IV are given.
 *
 * Thread: owner only.
 */
#ifndef CHANNEL_LAYER_WIRE_FERNET_H
#define CHANNEL_LAYER_WIRE_FERNET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "channel_layer/config/config.h"
#include "core/buf.h"
#include "core/err.h"
#include "core/slice.h"

enum {
    FERNET_IV_BYTES = 16,
    FERNET_FUTURE_S = 60, /* how far a sender's clock may be ahead */
};

struct fernet;

/* Errors: ERR_NOMEM, ERR_UNSUPPORTED (OpenSSL lacks an algorithm). */
enum err fernet_new(struct fernet **out, const struct layer_key *keys, size_t count) MUST_CHECK;
void fernet_free(struct fernet *f);

/* Characters of the token of @len bytes (at most 512 MiB). */
size_t fernet_token_size(size_t len);

/* Where in the memory of a token its @len bytes of text must stand when it is sealed. */
uint8_t *fernet_text_place(uint8_t *token, size_t len);

/* Makes the token of the @len bytes at fernet_text_place(), in their place: fernet_token_size()
 * characters from @token on. Errors: ERR_NOMEM; @token then holds anything. */
enum err fernet_seal(struct fernet *f, uint8_t *token, size_t len, uint64_t now_s,
                     const uint8_t iv[FERNET_IV_BYTES]) MUST_CHECK;

/* When a token is accepted. Of two clocks: not older than max_age_s, not more than FERNET_FUTURE_S
 * ahead. */
struct fernet_rule {
    bool has_limits;
    uint64_t now_s;
    uint64_t max_age_s;
};

/* Opens @token; *@text is in @space, which is overwritten. Errors: ERR_INVALID with the reason,
 * ERR_TOO_BIG (the ceiling of @space), ERR_NOMEM. */
enum err fernet_open(struct fernet *f, struct slice *text, struct buf *space, struct slice token,
                     const struct fernet_rule *rule, struct err_text *why) MUST_CHECK;

#endif
