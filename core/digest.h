/* SPDX-License-Identifier: BSD-3-Clause
 *
 * digest: hashes, message authentication, AES in CBC and random bytes.
 *
 * Why: OpenSSL is called here and in the files of TLS, and nowhere else; what is made per key is
 * made once.
 *
 * Thread: any; one struct at a time by one thread.
 */
#ifndef CORE_DIGEST_H
#define CORE_DIGEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/err.h"
#include "core/slice.h"

enum {
    DIGEST_SHA1_BYTES = 20,
    DIGEST_SHA256_BYTES = 32,
    DIGEST_AES_KEY_BYTES = 16,
    DIGEST_AES_BLOCK_BYTES = 16,
    DIGEST_HMAC_KEY_MAX = 64,
};

/* A build of OpenSSL that lacks these ends the process with a line on stderr: there is nothing that
 * could be done in their place. */
void digest_sha1(uint8_t out[DIGEST_SHA1_BYTES], struct slice bytes);
void digest_sha256(uint8_t out[DIGEST_SHA256_BYTES], struct slice bytes);

/* Bytes that nobody can guess. Ends the process when the system has none. */
void digest_random(uint8_t *out, size_t len);

/* Whether both are the same, in a time that does not tell where they differ. */
bool digest_equal(const uint8_t *a, const uint8_t *b, size_t len);

/* HMAC-SHA-256 with one key. A zeroed one may be deinitialised. */
struct digest_hmac {
    /* private */
    struct evp_mac_ctx_st *ctx;
    uint8_t key[DIGEST_HMAC_KEY_MAX];
    size_t key_len;
};

/* Errors: ERR_NOMEM, ERR_UNSUPPORTED (this OpenSSL has no such algorithm). @hmac is zeroed then. */
enum err digest_hmac_init(struct digest_hmac *hmac, struct slice key) MUST_CHECK;
void digest_hmac_deinit(struct digest_hmac *hmac);
/* Errors: ERR_NOMEM. */
enum err digest_hmac_run(struct digest_hmac *hmac, uint8_t out[DIGEST_SHA256_BYTES],
                         struct slice bytes) MUST_CHECK;

/* AES-128-CBC without padding, with one key in one direction. A zeroed one may be deinitialised. */
struct digest_aes {
    /* private */
    struct evp_cipher_ctx_st *ctx;
};

/* Errors: ERR_NOMEM, ERR_UNSUPPORTED (this OpenSSL has no such algorithm). @aes is zeroed then. */
enum err digest_aes_init(struct digest_aes *aes, const uint8_t key[DIGEST_AES_KEY_BYTES],
                         bool encrypts) MUST_CHECK;
void digest_aes_deinit(struct digest_aes *aes);
/* Replaces the @len bytes (whole blocks, at most 1 GiB) at @bytes. Errors: ERR_NOMEM. */
enum err digest_aes_run(struct digest_aes *aes, const uint8_t iv[DIGEST_AES_BLOCK_BYTES],
                        uint8_t *bytes, size_t len) MUST_CHECK;

#endif
