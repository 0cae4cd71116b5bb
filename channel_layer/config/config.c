/* SPDX-License-Identifier: BSD-3-Clause */
#include "channel_layer/config/config.h"

#include "channel_layer/config/config_digest.h"
#include "channel_layer/config/config_hosts.h"
#include "channel_layer/config/config_keys.h"
#include "core/json.h"
#include "core/mem.h"
#include "core/text.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>

enum {
    TEXT_MAX = 1 << 20,
    DEPTH_MAX = 8,
    CAPACITY = 100,
    PUBSUB_CAPACITY = 10000, /* channels_redis.pubsub has no limit, and no setting for one */
    PREFIX_MAX = 256,        /* names of the pubsub backend begin with it */
    PATTERNS_MAX = 10000,
    PATTERN_LEN_MAX = 1000,
    RANDOM_PREFIX_MAX = 255,
    SHOWN_MAX = 40,
};

static const double NUMBER_MAX = 9e15; /* every whole number up to it is one of a double */
static const double TIMEOUT_LEAST = 0.05;
static const double TIMEOUT_MOST = 60;

struct reading {
    struct layer_config *config;
    struct err_text *why;
};

struct setting {
    const char *name;
    enum err (*read)(const struct reading *r, const struct setting *setting,
                     const struct json_node *node);
    size_t offset;             /* of the field in struct layer_config */
    bool is_ignored_by_pubsub; /* its layer in channels_redis takes any keyword and heeds five */
};

static enum err fail(const struct reading *r, const char *name, const char *reason)
{
    return err_fail(r->why, ERR_INVALID, "%s: %s", name, reason);
}

static enum err fail_memory(const struct reading *r)
{
    return err_fail(r->why, ERR_NOMEM, "no memory for the settings of a layer");
}

static enum err fail_kind(const struct reading *r, const char *name, const struct json_node *node,
                          const char *expected)
{
    return err_fail(r->why, ERR_INVALID, "%s: %s where %s belongs", name,
                    json_kind_str(json_kind(node)), expected);
}

static bool is_number(const struct json_node *node)
{
    return json_kind(node) == JSON_KIND_INT || json_kind(node) == JSON_KIND_REAL;
}

static bool is_quotable(struct slice text)
{
    bool is_plain = text.len > 0 && text.len <= SHOWN_MAX && utf8_is_valid(text.ptr, text.len);
    for (size_t i = 0; i < text.len && is_plain; i++)
        is_plain = text.ptr[i] > ' ' && text.ptr[i] != 0x7f;
    return is_plain;
}

/* Copies @text, which may have no NUL in it. */
static enum err copy_text(const struct reading *r, const char *name, char **out, struct slice text)
{
    if (text.len > 0 && memchr(text.ptr, 0, text.len) != NULL)
        return fail(r, name, "there is a NUL character in it");
    char *copy = mem_try(text.len + 1);
    if (copy == NULL)
        return fail_memory(r);
    if (text.len > 0)
        memcpy(copy, text.ptr, text.len);
    copy[text.len] = '\0';
    mem_free(*out);
    *out = copy;
    return ERR_OK;
}

/* ---- backend, serializer, prefix ---- */

static enum err read_backend(const struct reading *r, const struct setting *setting,
                             const struct json_node *node)
{
    static const struct {
        const char *name;
        enum layer_backend backend;
    } names[] = {
        {"memory", LAYER_MEMORY},
        {"redis", LAYER_REDIS},
        {"pubsub", LAYER_PUBSUB},
        {"channels.layers.InMemoryChannelLayer", LAYER_MEMORY},
        {"channels_redis.core.RedisChannelLayer", LAYER_REDIS},
        {"channels_redis.pubsub.RedisPubSubChannelLayer", LAYER_PUBSUB},
    };
    if (json_kind(node) != JSON_KIND_STR)
        return fail_kind(r, setting->name, node, "a string");
    const struct slice name = json_str(node);
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        if (!slice_eq_str(name, names[i].name))
            continue;
        r->config->backend = names[i].backend;
        return ERR_OK;
    }
    return err_fail(r->why, ERR_INVALID, "%s: '%.*s' is none of memory, redis, pubsub",
                    setting->name, is_quotable(name) ? (int)name.len : 0, (const char *)name.ptr);
}

static enum err read_serializer(const struct reading *r, const struct setting *setting,
                                const struct json_node *node)
{
    if (json_kind(node) != JSON_KIND_STR)
        return fail_kind(r, setting->name, node, "a string");
    const struct slice name = json_str(node);
    if (!slice_eq_str(name, "msgpack") && !slice_eq_str(name, "json"))
        return err_fail(r->why, ERR_INVALID,
                        "%s: '%.*s' is a serializer of the project's own, written in Python; only "
                        "msgpack and json are understood",
                        setting->name, is_quotable(name) ? (int)name.len : 0,
                        (const char *)name.ptr);
    r->config->serializer = slice_eq_str(name, "json") ? LAYER_JSON : LAYER_MSGPACK;
    return ERR_OK;
}

static enum err read_prefix(const struct reading *r, const struct setting *setting,
                            const struct json_node *node)
{
    if (json_kind(node) != JSON_KIND_STR)
        return fail_kind(r, setting->name, node, "a string");
    if (json_str(node).len > PREFIX_MAX)
        return err_fail(r->why, ERR_INVALID, "%s: it is longer than %d bytes", setting->name,
                        PREFIX_MAX);
    return copy_text(r, setting->name, &r->config->prefix, json_str(node));
}

/* ---- numbers ---- */

/* A whole number; one that is written 100.0 is whole, too. */
static bool read_whole(double *out, const struct json_node *node)
{
    if (!is_number(node))
        return false;
    *out = json_double(node);
    return *out >= -NUMBER_MAX && *out <= NUMBER_MAX && (double)(int64_t)*out == *out;
}

static enum err read_seconds(const struct reading *r, const struct setting *setting,
                             const struct json_node *node)
{
    if (!is_number(node))
        return fail_kind(r, setting->name, node, "a number of seconds");
    const double seconds = json_double(node);
    if (seconds < 1 || seconds > INT_MAX)
        return err_fail(r->why, ERR_INVALID, "%s: %.15g is no number of seconds from 1 to %d",
                        setting->name, seconds, INT_MAX);
    *(unsigned *)((char *)r->config + setting->offset) = (unsigned)seconds; /* as Python's int() */
    return ERR_OK;
}

static enum err read_count(const struct reading *r, const char *name, uint32_t *out,
                           const struct json_node *node)
{
    double count = 0;
    if (!is_number(node))
        return fail_kind(r, name, node, "a number of messages");
    if (!read_whole(&count, node) || count < 1 || count > INT_MAX)
        return err_fail(r->why, ERR_INVALID, "%s: %.15g is no whole number from 1 to %d", name,
                        json_double(node), INT_MAX);
    *out = (uint32_t)count;
    return ERR_OK;
}

static enum err read_capacity(const struct reading *r, const struct setting *setting,
                              const struct json_node *node)
{
    return read_count(r, setting->name, &r->config->capacity, node);
}

static enum err read_random_prefix(const struct reading *r, const struct setting *setting,
                                   const struct json_node *node)
{
    double length = 0;
    if (!is_number(node))
        return fail_kind(r, setting->name, node, "a number of bytes");
    if (!read_whole(&length, node) || length < 0 || length > RANDOM_PREFIX_MAX)
        return err_fail(r->why, ERR_INVALID, "%s: %.15g is no whole number from 0 to %d",
                        setting->name, json_double(node), RANDOM_PREFIX_MAX);
    r->config->random_prefix_length = (unsigned)length;
    return ERR_OK;
}

static enum err read_timeout(const struct reading *r, const struct setting *setting,
                             const struct json_node *node)
{
    if (!is_number(node))
        return fail_kind(r, setting->name, node, "a number of seconds");
    const double seconds = json_double(node);
    if (seconds < TIMEOUT_LEAST || seconds > TIMEOUT_MOST)
        return err_fail(r->why, ERR_INVALID, "%s: %.15g is no number of seconds from %g to %g",
                        setting->name, seconds, TIMEOUT_LEAST, TIMEOUT_MOST);
    r->config->timeout_ms = (unsigned)(seconds * 1000 + 0.5);
    return ERR_OK;
}

/* ---- channel_capacity ---- */

/* Appends to the table, which has room. */
static enum err add_pattern(const struct reading *r, struct slice pattern,
                            const struct json_node *number)
{
    char name[PATTERN_LEN_MAX];
    struct pattern_table *table = &r->config->capacities;
    struct pattern_entry *entry = &table->entries[table->count];
    if (pattern.len > PATTERN_LEN_MAX)
        return err_fail(r->why, ERR_INVALID, "channel_capacity: a pattern is longer than %d bytes",
                        PATTERN_LEN_MAX);
    (void)snprintf(name, sizeof(name), "channel_capacity['%.*s']",
                   is_quotable(pattern) ? (int)pattern.len : 0, (const char *)pattern.ptr);
    *entry = (struct pattern_entry){0};
    enum err err = read_count(r, name, &entry->number, number);
    if (err == ERR_OK)
        err = copy_text(r, name, &entry->pattern, pattern);
    if (err == ERR_OK)
        table->count++;
    return err;
}

static enum err read_pattern_pairs(const struct reading *r, const struct json_node *pairs)
{
    enum err err = ERR_OK;
    for (size_t i = 0; i < json_count(pairs) && err == ERR_OK; i++) {
        const struct json_node *pair = json_item(pairs, i);
        if (json_kind(pair) != JSON_KIND_ARRAY || json_count(pair) != 2 ||
            json_kind(json_item(pair, 0)) != JSON_KIND_STR)
            return err_fail(r->why, ERR_INVALID,
                            "channel_capacity[%zu]: [pattern, number] belongs here", i);
        err = add_pattern(r, json_str(json_item(pair, 0)), json_item(pair, 1));
    }
    return err;
}

static enum err read_capacities(const struct reading *r, const struct setting *setting,
                                const struct json_node *node)
{
    if (json_kind(node) != JSON_KIND_OBJECT && json_kind(node) != JSON_KIND_ARRAY)
        return fail_kind(r, setting->name, node, "an object, or a list of [pattern, number],");
    const size_t count = json_count(node);
    if (count > PATTERNS_MAX)
        return err_fail(r->why, ERR_INVALID, "%s: %zu patterns; at most %d", setting->name, count,
                        PATTERNS_MAX);
    r->config->capacities.entries = mem_try(count * sizeof(struct pattern_entry));
    if (r->config->capacities.entries == NULL)
        return fail_memory(r);
    if (json_kind(node) == JSON_KIND_ARRAY)
        return read_pattern_pairs(r, node);
    struct json_cursor cursor = json_members(node);
    struct slice pattern;
    const struct json_node *number = NULL;
    enum err err = ERR_OK;
    while (err == ERR_OK && json_next(&cursor, &pattern, &number))
        err = add_pattern(r, pattern, number);
    return err;
}

/* ---- all of them ---- */

static enum err read_keys(const struct reading *r, const struct setting *setting,
                          const struct json_node *node)
{
    (void)setting;
    return config_keys_read(&r->config->keys, &r->config->key_count, node, r->why);
}

static enum err read_nothing(const struct reading *r, const struct setting *setting,
                             const struct json_node *node)
{
    (void)r;
    (void)setting;
    (void)node;
    return ERR_OK;
}

static enum err refuse_function(const struct reading *r, const struct setting *setting,
                                const struct json_node *node)
{
    (void)node;
    return fail(r, setting->name,
                "a function of Python cannot be called from here; leave it out (the node itself "
                "connects again)");
}

static const struct setting settings[] = {
    {"backend", read_nothing, 0, false}, /* these two are read before */
    {"hosts", read_nothing, 0, false},
    {"prefix", read_prefix, 0, false},
    {"expiry", read_seconds, offsetof(struct layer_config, expiry_s), true},
    {"group_expiry", read_seconds, offsetof(struct layer_config, group_expiry_s), true},
    {"capacity", read_capacity, 0, true},
    {"channel_capacity", read_capacities, 0, true},
    {"symmetric_encryption_keys", read_keys, 0, false},
    {"random_prefix_length", read_random_prefix, 0, true},
    {"serializer_format", read_serializer, 0, false},
    {"on_disconnect", refuse_function, 0, false},
    {"on_reconnect", refuse_function, 0, false},
    {"timeout", read_timeout, 0, false},
    {"socket", read_nothing, 0, false},
};

static enum err read_setting(const struct reading *r, struct slice name,
                             const struct json_node *node)
{
    const bool is_pubsub = r->config->backend == LAYER_PUBSUB;
    for (size_t i = 0; i < sizeof(settings) / sizeof(settings[0]); i++) {
        if (!slice_eq_str(name, settings[i].name))
            continue;
        if (json_kind(node) == JSON_KIND_NULL || (is_pubsub && settings[i].is_ignored_by_pubsub))
            return ERR_OK;
        return settings[i].read(r, &settings[i], node);
    }
    if (is_pubsub)
        return ERR_OK;
    return err_fail(r->why, ERR_INVALID, "%.*s: there is no such setting",
                    is_quotable(name) ? (int)name.len : 1,
                    is_quotable(name) ? (const char *)name.ptr : "?");
}

/* The key that names hosts, when it names any. */
static const struct json_node *hosts_of(const struct json_node *root)
{
    const struct json_node *hosts = json_member(root, "hosts");
    if (hosts == NULL || json_kind(hosts) == JSON_KIND_NULL ||
        (json_kind(hosts) == JSON_KIND_STR && json_str(hosts).len == 0) ||
        (json_kind(hosts) == JSON_KIND_ARRAY && json_count(hosts) == 0))
        return NULL;
    return hosts;
}

static enum err read_root(const struct reading *r, const struct json_node *root)
{
    struct json_cursor cursor = json_members(root);
    struct slice name;
    const struct json_node *node = json_member(root, "backend");
    const struct json_node *hosts = hosts_of(root);
    enum err err = ERR_OK;
    if (node != NULL && json_kind(node) != JSON_KIND_NULL)
        err = read_backend(r, &settings[0], node);
    else
        r->config->backend = hosts != NULL ? LAYER_REDIS : LAYER_MEMORY;
    r->config->capacity = r->config->backend == LAYER_PUBSUB ? PUBSUB_CAPACITY : CAPACITY;
    if (err == ERR_OK && r->config->backend != LAYER_MEMORY)
        err = config_hosts_read(&r->config->hosts, &r->config->host_count, hosts, r->why);
    else if (err == ERR_OK && hosts != NULL)
        err = fail(r, "hosts", "the backend memory has none");
    while (err == ERR_OK && json_next(&cursor, &name, &node))
        err = read_setting(r, name, node);
    if (err == ERR_OK && r->config->prefix == NULL)
        err = copy_text(r, "prefix", &r->config->prefix, slice_str("asgi"));
    if (err != ERR_OK)
        return err;
    err = config_digest(r->config);
    return err == ERR_OK ? ERR_OK : fail_memory(r);
}

static bool is_blank(struct slice text)
{
    size_t i = 0;
    while (i < text.len && (text.ptr[i] == ' ' || (text.ptr[i] >= '\t' && text.ptr[i] <= '\r')))
        i++;
    return i == text.len;
}

enum err layer_config_parse(struct layer_config **out, struct slice json, struct err_text *why)
{
    static const struct json_limits limits = {.max_bytes = TEXT_MAX, .max_depth = DEPTH_MAX};
    struct json_node *root = NULL;
    enum err err = json_parse(&root, is_blank(json) ? slice_str("{}") : json, &limits, why);
    if (err != ERR_OK)
        return err;
    struct layer_config *config = mem_alloc(sizeof(*config));
    config->expiry_s = 60;
    config->group_expiry_s = 86400;
    config->random_prefix_length = 12;
    config->timeout_ms = 2000;
    const struct reading r = {.config = config, .why = why};
    if (json_kind(root) == JSON_KIND_OBJECT)
        err = read_root(&r, root);
    else
        err = err_fail(why, ERR_INVALID, "the settings of a layer: %s where an object belongs",
                       json_kind_str(json_kind(root)));
    json_discard(root);
    if (err != ERR_OK)
        layer_config_free(config);
    else
        *out = config;
    return err;
}

void layer_config_free(struct layer_config *config)
{
    if (config == NULL)
        return;
    config_hosts_free(config->hosts, config->host_count);
    for (size_t i = 0; i < config->capacities.count; i++)
        mem_free(config->capacities.entries[i].pattern);
    mem_free(config->capacities.entries);
    config_keys_free(config->keys, config->key_count);
    mem_free(config->prefix);
    mem_free(config);
}

uint32_t layer_config_capacity(const struct layer_config *config, struct slice channel)
{
    return pattern_table_find(&config->capacities, channel, config->capacity);
}
