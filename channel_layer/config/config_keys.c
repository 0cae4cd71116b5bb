/* SPDX-License-Identifier: BSD-3-Clause */
#include "channel_layer/config/config_keys.h"

#include "channel_layer/config/config.h"
#include "core/base64.h"
#include "core/digest.h"
#include "core/json.h"
#include "core/mem.h"

#include <openssl/crypto.h>
#include <string.h>

enum { KEYS_MAX = 64 };

static const char setting[] = "symmetric_encryption_keys";

static enum err fail_memory(struct err_text *why)
{
    return err_fail(why, ERR_NOMEM, "no memory for the settings of a layer");
}

static void derive(struct layer_key *key, struct slice secret)
{
    uint8_t hash[DIGEST_SHA256_BYTES];
    digest_sha256(hash, secret);
    memcpy(key->sign, hash, sizeof(key->sign));
    memcpy(key->encrypt, hash + sizeof(key->sign), sizeof(key->encrypt));
    OPENSSL_cleanse(hash, sizeof(hash));
}

static enum err derive_from_base64(struct layer_key *key, size_t i, struct slice text,
                                   struct err_text *why)
{
    uint8_t *secret = mem_try(base64_bytes_max(text.len));
    size_t len = 0;
    if (secret == NULL)
        return fail_memory(why);
    const bool is_base64 = base64_decode(secret, &len, text, BASE64_STANDARD);
    if (is_base64) {
        derive(key, slice_make(secret, len));
        OPENSSL_cleanse(secret, len);
    }
    mem_free(secret);
    if (is_base64)
        return ERR_OK;
    return err_fail(why, ERR_INVALID,
                    "symmetric_encryption_keys[%zu].base64: this is not base64 with its padding",
                    i);
}

static enum err read_key(struct layer_key *key, size_t i, const struct json_node *node,
                         struct err_text *why)
{
    if (json_kind(node) == JSON_KIND_STR) {
        derive(key, json_str(node));
        return ERR_OK;
    }
    const struct json_node *text = NULL;
    if (json_kind(node) == JSON_KIND_OBJECT && json_count(node) == 1)
        text = json_member(node, "base64");
    if (text == NULL || json_kind(text) != JSON_KIND_STR)
        return err_fail(why, ERR_INVALID,
                        "symmetric_encryption_keys[%zu]: a string, or bytes as {\"base64\": "
                        "\"...\"}, belongs here",
                        i);
    return derive_from_base64(key, i, json_str(text), why);
}

enum err config_keys_read(struct layer_key **out, size_t *count, const struct json_node *list,
                          struct err_text *why)
{
    if (json_kind(list) == JSON_KIND_STR || json_kind(list) == JSON_KIND_OBJECT)
        return err_fail(why, ERR_INVALID, "%s: it is a list of keys, also when there is only one",
                        setting);
    if (json_kind(list) != JSON_KIND_ARRAY)
        return err_fail(why, ERR_INVALID, "%s: %s where a list of keys belongs", setting,
                        json_kind_str(json_kind(list)));
    const size_t key_count = json_count(list);
    if (key_count > KEYS_MAX)
        return err_fail(why, ERR_INVALID, "%s: %zu keys; at most %d", setting, key_count, KEYS_MAX);
    if (key_count == 0)
        return ERR_OK;
    struct layer_key *keys = mem_try(key_count * sizeof(*keys));
    if (keys == NULL)
        return fail_memory(why);
    memset(keys, 0, key_count * sizeof(*keys));
    enum err err = ERR_OK;
    for (size_t i = 0; i < key_count && err == ERR_OK; i++)
        err = read_key(&keys[i], i, json_item(list, i), why);
    if (err != ERR_OK) {
        config_keys_free(keys, key_count);
        return err;
    }
    *out = keys;
    *count = key_count;
    return ERR_OK;
}

void config_keys_free(struct layer_key *keys, size_t count)
{
    if (keys != NULL)
        OPENSSL_cleanse(keys, count * sizeof(*keys));
    mem_free(keys);
}
