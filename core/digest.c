/* SPDX-License-Identifier: BSD-3-Clause */
#include "core/digest.h"

#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/params.h>
#include <openssl/rand.h>

#include <assert.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void require(bool promise, const char *what)
{
    if (promise)
        return;
    (void)fprintf(stderr, "channelsd: OpenSSL of this system: %s failed\n", what);
    abort();
}

static void hash(uint8_t *out, size_t size, struct slice bytes, const EVP_MD *type)
{
    unsigned len = 0;
    const void *in = bytes.len > 0 ? (const void *)bytes.ptr : "";
    const bool done = EVP_Digest(in, bytes.len, out, &len, type, NULL) == 1;
    require(done && len == size, EVP_MD_get0_name(type));
}

void digest_sha1(uint8_t out[DIGEST_SHA1_BYTES], struct slice bytes)
{
    hash(out, DIGEST_SHA1_BYTES, bytes, EVP_sha1());
}

void digest_sha256(uint8_t out[DIGEST_SHA256_BYTES], struct slice bytes)
{
    hash(out, DIGEST_SHA256_BYTES, bytes, EVP_sha256());
}

void digest_random(uint8_t *out, size_t len)
{
    assert(len <= INT_MAX);
    require(RAND_bytes(out, (int)len) == 1, "RAND_bytes");
}

bool digest_equal(const uint8_t *a, const uint8_t *b, size_t len)
{
    return CRYPTO_memcmp(a, b, len) == 0;
}

enum err digest_hmac_init(struct digest_hmac *hmac, struct slice key)
{
    char name[] = "SHA256"; /* OSSL_PARAM has no const */
    const OSSL_PARAM params[] = {
        OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, name, 0),
        OSSL_PARAM_construct_end(),
    };

    assert(key.len > 0 && key.len <= sizeof(hmac->key));
    *hmac = (struct digest_hmac){.key_len = key.len};
    memcpy(hmac->key, key.ptr, key.len);
    EVP_MAC *mac = EVP_MAC_fetch(NULL, "HMAC", NULL);
    if (mac != NULL)
        hmac->ctx = EVP_MAC_CTX_new(mac); /* keeps its own reference */
    const bool is_known = mac != NULL;
    EVP_MAC_free(mac);
    if (hmac->ctx != NULL && EVP_MAC_CTX_set_params(hmac->ctx, params) == 1)
        return ERR_OK;
    const enum err err = is_known && hmac->ctx == NULL ? ERR_NOMEM : ERR_UNSUPPORTED;
    digest_hmac_deinit(hmac);
    return err;
}

void digest_hmac_deinit(struct digest_hmac *hmac)
{
    EVP_MAC_CTX_free(hmac->ctx);
    OPENSSL_cleanse(hmac, sizeof(*hmac));
}

enum err digest_hmac_run(struct digest_hmac *hmac, uint8_t out[DIGEST_SHA256_BYTES],
                         struct slice bytes)
{
    size_t len = 0;
    /* The key again each time: the first releases of OpenSSL 3.0 do not start anew without it. */
    const bool done = EVP_MAC_init(hmac->ctx, hmac->key, hmac->key_len, NULL) == 1 &&
                      EVP_MAC_update(hmac->ctx, bytes.ptr, bytes.len) == 1 &&
                      EVP_MAC_final(hmac->ctx, out, &len, DIGEST_SHA256_BYTES) == 1;
    return done && len == DIGEST_SHA256_BYTES ? ERR_OK : ERR_NOMEM;
}

enum err digest_aes_init(struct digest_aes *aes, const uint8_t key[DIGEST_AES_KEY_BYTES],
                         bool encrypts)
{
    *aes = (struct digest_aes){.ctx = EVP_CIPHER_CTX_new()};
    if (aes->ctx == NULL)
        return ERR_NOMEM;
    if (EVP_CipherInit_ex(aes->ctx, EVP_aes_128_cbc(), NULL, key, NULL, encrypts ? 1 : 0) == 1 &&
        EVP_CIPHER_CTX_set_padding(aes->ctx, 0) == 1)
        return ERR_OK;
    digest_aes_deinit(aes);
    return ERR_UNSUPPORTED;
}

void digest_aes_deinit(struct digest_aes *aes)
{
    EVP_CIPHER_CTX_free(aes->ctx);
    *aes = (struct digest_aes){0};
}

enum err digest_aes_run(struct digest_aes *aes, const uint8_t iv[DIGEST_AES_BLOCK_BYTES],
                        uint8_t *bytes, size_t len)
{
    int done = 0;
    assert(len % DIGEST_AES_BLOCK_BYTES == 0 && len <= INT_MAX);
    if (len == 0)
        return ERR_OK;
    if (EVP_CipherInit_ex(aes->ctx, NULL, NULL, NULL, iv, -1) != 1 ||
        EVP_CipherUpdate(aes->ctx, bytes, &done, bytes, (int)len) != 1 || (size_t)done != len)
        return ERR_NOMEM;
    return ERR_OK;
}
