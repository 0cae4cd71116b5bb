/* SPDX-License-Identifier: BSD-3-Clause
 *
 * config: the settings of a layer, from the JSON of channels_redis' CONFIG keys.
 *
 * Why: a Django project has these settings already; each of their forms is understood, and what is
 * not is refused by name.
 *
 * Keys: backend ("memory", "redis", "pubsub"; without it: redis where there are hosts, else
 * memory), hosts, prefix, expiry, group_expiry, capacity, channel_capacity (object, or array of
 * [pattern, number], in order), symmetric_encryption_keys (strings; bytes as {"base64": "…"}),
 * random_prefix_length, serializer_format; ours: timeout (seconds, 2 by default), socket (ignored
 * here: it says how to find the node). on_disconnect, on_reconnect of pubsub must be null.
 *
 * Thread: any; a config never changes.
 */
#ifndef CHANNEL_LAYER_CONFIG_CONFIG_H
#define CHANNEL_LAYER_CONFIG_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "channel_layer/pattern.h"
#include "core/err.h"
#include "core/slice.h"

enum layer_backend { LAYER_MEMORY, LAYER_REDIS, LAYER_PUBSUB };
enum layer_serializer { LAYER_MSGPACK, LAYER_JSON };
enum redis_verify { REDIS_VERIFY_REQUIRED, REDIS_VERIFY_OPTIONAL, REDIS_VERIFY_NONE };

/* One entry of hosts. Strings are NULL when they were not given. */
struct redis_host {
    char *text; /* for people: host:port or path, without a password */
    char *host;
    uint16_t port;
    char *unix_path;
    char *username;
    char *password;
    unsigned db;
    bool is_tls;
    enum redis_verify verify;
    bool check_hostname;
    char *ca_file;
    char *ca_folder;
    char *ca_data; /* certificates in PEM */
    char *cert_file;
    char *key_file;
    char *key_password;
    char *ciphers;
    char *min_tls; /* "TLSv1.2", "TLSv1.3"; NULL: OpenSSL's own */
    char *client_name;
    unsigned connect_timeout_ms; /* 0: the layer's timeout */
    char *master_name;           /* Sentinel: then host and port are what it answers */
    struct redis_host *sentinels;
    size_t sentinel_count;
};

struct layer_key {
    uint8_t sign[16];
    uint8_t encrypt[16];
};

struct layer_config {
    enum layer_backend backend;
    enum layer_serializer serializer;
    struct redis_host *hosts; /* one at least, when backend is not memory */
    size_t host_count;
    char *prefix;
    unsigned expiry_s;
    unsigned group_expiry_s;
    uint32_t capacity;
    struct pattern_table capacities;
    struct layer_key *keys;
    size_t key_count;
    unsigned random_prefix_length;
    unsigned timeout_ms;
    char digest[65]; /* SHA-256 of the settings in a canonical form: equal ones share a layer */
};

/* Reads @json; empty text means {}. Errors: ERR_INVALID with the key and the reason in @why (never
 * a password); ERR_TOO_BIG. */
enum err layer_config_parse(struct layer_config **out, struct slice json,
                            struct err_text *why) MUST_CHECK;
void layer_config_free(struct layer_config *config);

/* Capacity of a channel by its full name: the first pattern that matches, else the general one. */
uint32_t layer_config_capacity(const struct layer_config *config, struct slice channel);

#endif
