/* SPDX-License-Identifier: BSD-3-Clause */
#include "channel_layer/config/config_digest.h"

#include "channel_layer/config/config.h"
#include "core/base64.h"
#include "core/buf.h"
#include "core/digest.h"

#include <openssl/crypto.h>
#include <string.h>

enum { SETTINGS_MAX = 64 << 20 }; /* the text that they came from is smaller by far */

static enum err add_bytes(struct buf *all, const void *data, size_t len)
{
    const uint64_t prefix = len;
    const enum err err = buf_append(all, &prefix, sizeof(prefix));
    return err == ERR_OK ? buf_append(all, data, len) : err;
}

static enum err add_number(struct buf *all, uint64_t number)
{
    return buf_append(all, &number, sizeof(number));
}

/* NULL is not "". */
static enum err add_text(struct buf *all, const char *text)
{
    return text != NULL ? add_bytes(all, text, strlen(text)) : add_number(all, UINT64_MAX);
}

static enum err add_hosts(struct buf *all, const struct redis_host *hosts, size_t count)
{
    enum err err = add_number(all, count);
    for (size_t i = 0; i < count && err == ERR_OK; i++) {
        const struct redis_host *host = &hosts[i];
        const char *const texts[] = {host->host,        host->unix_path, host->username,
                                     host->password,    host->ca_file,   host->ca_folder,
                                     host->cert_file,   host->key_file,  host->key_password,
                                     host->ciphers,     host->min_tls,   host->client_name,
                                     host->master_name, host->ca_data};
        const uint64_t numbers[] = {host->port,           host->db,
                                    host->is_tls,         (uint64_t)host->verify,
                                    host->check_hostname, host->connect_timeout_ms};
        for (size_t j = 0; j < sizeof(texts) / sizeof(texts[0]) && err == ERR_OK; j++)
            err = add_text(all, texts[j]);
        for (size_t j = 0; j < sizeof(numbers) / sizeof(numbers[0]) && err == ERR_OK; j++)
            err = add_number(all, numbers[j]);
        if (err == ERR_OK)
            err = add_hosts(all, host->sentinels, host->sentinel_count); /* which have none */
    }
    return err;
}

static enum err add_capacities(struct buf *all, const struct pattern_table *table)
{
    enum err err = add_number(all, table->count);
    for (size_t i = 0; i < table->count && err == ERR_OK; i++) {
        err = add_text(all, table->entries[i].pattern);
        if (err == ERR_OK)
            err = add_number(all, table->entries[i].number);
    }
    return err;
}

static enum err add_settings(struct buf *all, const struct layer_config *config)
{
    const uint64_t numbers[] = {(uint64_t)config->backend, (uint64_t)config->serializer,
                                config->expiry_s,          config->group_expiry_s,
                                config->capacity,          config->timeout_ms};
    enum err err = add_text(all, config->prefix);
    for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]) && err == ERR_OK; i++)
        err = add_number(all, numbers[i]);
    if (err == ERR_OK)
        err = add_capacities(all, &config->capacities);
    if (err != ERR_OK || config->backend == LAYER_MEMORY) /* nothing is stored anywhere */
        return err;
    err = add_number(all, config->random_prefix_length);
    for (size_t i = 0; i < config->key_count && err == ERR_OK; i++)
        err = add_bytes(all, &config->keys[i], sizeof(config->keys[i]));
    return err == ERR_OK ? add_hosts(all, config->hosts, config->host_count) : err;
}

enum err config_digest(struct layer_config *config)
{
    uint8_t hash[DIGEST_SHA256_BYTES];
    struct buf all;
    buf_init(&all, SETTINGS_MAX);
    const enum err err = add_settings(&all, config);
    if (err == ERR_OK) {
        digest_sha256(hash, buf_slice(&all));
        hex_encode(config->digest, hash, sizeof(hash));
        config->digest[2 * sizeof(hash)] = '\0';
    }
    if (all.len > 0)
        OPENSSL_cleanse(all.ptr, all.len); /* passwords and keys are in it */
    buf_deinit(&all);
    return err;
}
