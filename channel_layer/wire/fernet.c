/* SPDX-License-Identifier: BSD-3-Clause */
#include "channel_layer/wire/fernet.h"

#include "core/base64.h"
#include "core/digest.h"
#include "core/mem.h"

#include <assert.h>
#include <inttypes.h>
#include <string.h>

/* What stands where in the bytes of a token. */
enum {
    VERSION = 0x80,
    TIME_AT = 1,
    IV_AT = 9,
    TEXT_AT = IV_AT + FERNET_IV_BYTES,
    BLOCK = DIGEST_AES_BLOCK_BYTES,
    MAC = DIGEST_SHA256_BYTES,
    LEAST_BYTES = TEXT_AT + BLOCK + MAC,
};

struct fernet_key {
    struct digest_hmac hmac;
    struct digest_aes opener;
};

struct fernet {
    struct digest_aes sealer; /* of the first key */
    size_t count;
    struct fernet_key keys[];
};

enum err fernet_new(struct fernet **out, const struct layer_key *keys, size_t count)
{
    assert(count > 0);
    if (count > SIZE_MAX / 2 / sizeof(struct fernet_key))
        return ERR_NOMEM;
    const size_t size = sizeof(struct fernet) + count * sizeof(struct fernet_key);
    struct fernet *f = mem_try(size);
    if (f == NULL)
        return ERR_NOMEM;
    memset(f, 0, size);
    f->count = count;
    enum err err = digest_aes_init(&f->sealer, keys[0].encrypt, true);
    for (size_t i = 0; i < count && err == ERR_OK; i++) {
        err = digest_hmac_init(&f->keys[i].hmac, slice_make(keys[i].sign, sizeof(keys[i].sign)));
        if (err == ERR_OK)
            err = digest_aes_init(&f->keys[i].opener, keys[i].encrypt, false);
    }
    if (err != ERR_OK) {
        fernet_free(f);
        return err;
    }
    *out = f;
    return ERR_OK;
}

void fernet_free(struct fernet *f)
{
    if (f == NULL)
        return;
    for (size_t i = 0; i < f->count; i++) {
        digest_hmac_deinit(&f->keys[i].hmac);
        digest_aes_deinit(&f->keys[i].opener);
    }
    digest_aes_deinit(&f->sealer);
    mem_free(f);
}

/* PKCS #7: one to sixteen bytes more, each of which says how many. */
static size_t padded_size(size_t len)
{
    return len / BLOCK * BLOCK + BLOCK;
}

static size_t bytes_size(size_t len)
{
    return TEXT_AT + padded_size(len) + MAC;
}

size_t fernet_token_size(size_t len)
{
    return base64_text_len(bytes_size(len));
}

/* The bytes are made at the end of the token's memory, where base64_encode() wants them. */
static uint8_t *bytes_place(uint8_t *token, size_t len)
{
    return token + (fernet_token_size(len) - bytes_size(len));
}

uint8_t *fernet_text_place(uint8_t *token, size_t len)
{
    return bytes_place(token, len) + TEXT_AT;
}

enum err fernet_seal(struct fernet *f, uint8_t *token, size_t len, uint64_t now_s,
                     const uint8_t iv[FERNET_IV_BYTES])
{
    uint8_t *bytes = bytes_place(token, len);
    const size_t padded = padded_size(len);
    const size_t signed_len = TEXT_AT + padded;

    bytes[0] = VERSION;
    for (size_t i = 0; i < IV_AT - TIME_AT; i++)
        bytes[TIME_AT + i] = (uint8_t)(now_s >> (56 - 8 * i));
    memcpy(bytes + IV_AT, iv, FERNET_IV_BYTES);
    memset(bytes + TEXT_AT + len, (int)(padded - len), padded - len);
    enum err err = digest_aes_run(&f->sealer, iv, bytes + TEXT_AT, padded);
    if (err == ERR_OK)
        err = digest_hmac_run(&f->keys[0].hmac, bytes + signed_len, slice_make(bytes, signed_len));
    if (err == ERR_OK)
        base64_encode(token, slice_make(bytes, signed_len + MAC), BASE64_URL);
    return err;
}

/* The key that signed these bytes; NULL with ERR_OK when none did. */
static enum err find_key(struct fernet *f, struct fernet_key **out, struct slice bytes)
{
    const size_t signed_len = bytes.len - MAC;
    *out = NULL;
    for (size_t i = 0; i < f->count && *out == NULL; i++) {
        uint8_t mac[MAC];
        const enum err err =
            digest_hmac_run(&f->keys[i].hmac, mac, slice_make(bytes.ptr, signed_len));
        if (err != ERR_OK)
            return err;
        if (digest_equal(mac, bytes.ptr + signed_len, MAC))
            *out = &f->keys[i];
    }
    return ERR_OK;
}

static enum err check_time(const uint8_t *bytes, const struct fernet_rule *rule,
                           struct err_text *why)
{
    uint64_t sealed_s = 0;
    for (size_t i = TIME_AT; i < IV_AT; i++)
        sealed_s = sealed_s << 8 | bytes[i];
    if (!rule->has_limits)
        return ERR_OK;
    if (sealed_s < rule->now_s && rule->now_s - sealed_s > rule->max_age_s)
        return err_fail(why, ERR_INVALID,
                        "encrypted %" PRIu64 " s ago, which is more than expiry and 10 s",
                        rule->now_s - sealed_s);
    if (sealed_s > rule->now_s && sealed_s - rule->now_s > FERNET_FUTURE_S)
        return err_fail(why, ERR_INVALID,
                        "encrypted %" PRIu64 " s in the future: the clock of the sender differs",
                        sealed_s - rule->now_s);
    return ERR_OK;
}

/* Length of the text without its padding; false when that is not whole. Who has come here knows the
 * key, so that the time this takes tells nobody anything. */
static bool unpad(size_t *len, const uint8_t *text, size_t padded)
{
    const size_t padding = text[padded - 1];
    if (padding == 0 || padding > BLOCK)
        return false;
    for (size_t i = padded - padding; i < padded; i++) {
        if (text[i] != padding)
            return false;
    }
    *len = padded - padding;
    return true;
}

enum err fernet_open(struct fernet *f, struct slice *text, struct buf *space, struct slice token,
                     const struct fernet_rule *rule, struct err_text *why)
{
    struct fernet_key *key = NULL;
    size_t len = 0;

    space->len = 0;
    enum err err = buf_reserve(space, base64_bytes_max(token.len));
    if (err != ERR_OK)
        return err_fail(why, err, "%zu bytes to decrypt: %s", token.len, err_str(err));
    if (!base64_decode(space->ptr, &len, token, BASE64_URL) || len < LEAST_BYTES ||
        (len - LEAST_BYTES) % BLOCK != 0 || space->ptr[0] != VERSION)
        return err_fail(why, ERR_INVALID, "not encrypted: no Fernet token (%zu bytes)", token.len);
    uint8_t *bytes = space->ptr;
    err = find_key(f, &key, slice_make(bytes, len));
    if (err != ERR_OK)
        return err_fail(why, err, "cannot check what was encrypted: %s", err_str(err));
    if (key == NULL)
        return err_fail(
            why, ERR_INVALID,
            "encrypted with a key that is not in symmetric_encryption_keys, or changed");
    err = check_time(bytes, rule, why);
    if (err != ERR_OK)
        return err;
    const size_t padded = len - TEXT_AT - MAC;
    err = digest_aes_run(&key->opener, bytes + IV_AT, bytes + TEXT_AT, padded);
    if (err != ERR_OK)
        return err_fail(why, err, "cannot decrypt: %s", err_str(err));
    if (!unpad(&len, bytes + TEXT_AT, padded))
        return err_fail(why, ERR_INVALID, "does not decrypt: wrong padding");
    *text = slice_make(bytes + TEXT_AT, len);
    return ERR_OK;
}
