/* SPDX-License-Identifier: BSD-3-Clause
 *
 * An entry is read into a draft: its keywords, then what its URL says, both by the table of
 * config_draft.c; then finish() looks whether it all fits together.
 */
#include "channel_layer/config/config_hosts.h"

#include "channel_layer/config/config.h"
#include "channel_layer/config/config_draft.h"
#include "channel_layer/config/config_url.h"
#include "core/json.h"
#include "core/mem.h"

#include <inttypes.h>
#include <openssl/crypto.h>
#include <stdio.h>
#include <string.h>

enum {
    PORT_DEFAULT = 6379,
    UNIX_PATH_MAX_BYTES = 107, /* sun_path and its NUL */
};

static void wipe(char *secret)
{
    if (secret != NULL)
        OPENSSL_cleanse(secret, strlen(secret));
    mem_free(secret);
}

void config_hosts_free(struct redis_host *hosts, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        struct redis_host *host = &hosts[i];
        char *const texts[] = {host->text,    host->host,        host->unix_path, host->username,
                               host->ca_file, host->ca_folder,   host->cert_file, host->key_file,
                               host->ciphers, host->client_name, host->min_tls,   host->master_name,
                               host->ca_data};
        for (size_t j = 0; j < sizeof(texts) / sizeof(texts[0]); j++)
            mem_free(texts[j]);
        wipe(host->password);
        wipe(host->key_password);
        config_hosts_free(host->sentinels, host->sentinel_count); /* have none themselves */
    }
    mem_free(hosts);
}

static struct redis_host *hosts_new(size_t count)
{
    struct redis_host *hosts = mem_try(count * sizeof(*hosts)); /* count: at most CONFIG_*_MAX */
    for (size_t i = 0; hosts != NULL && i < count; i++)
        hosts[i] = (struct redis_host){.verify = REDIS_VERIFY_REQUIRED, .check_hostname = true};
    return hosts;
}

/* ---- the parts of an entry ---- */

static enum err read_keywords(struct config_draft *d, const struct json_node *object)
{
    struct json_cursor cursor = json_members(object);
    struct slice name;
    const struct json_node *node = NULL;
    enum err err = ERR_OK;
    while (err == ERR_OK && json_next(&cursor, &name, &node))
        err = config_draft_set(d, name, (struct config_value){.node = node});
    return err;
}

static enum err set_from_url(struct config_draft *d, const char *name, struct slice text)
{
    if (text.len == 0)
        return ERR_OK;
    return config_draft_set(d, slice_str(name), (struct config_value){.text = text});
}

/* The database that a path names: its digits, the slashes left out; whatever else is there names
 * none, and redis-py does not mind. */
static enum err set_path_db(struct config_draft *d, const struct config_url *url)
{
    char digits[CONFIG_DIGITS_MAX + 1];
    size_t len = 0;
    if (url->has_stray_at)
        return err_fail(d->why, ERR_INVALID,
                        "%s: there is an @ behind the host: a / in the password is written %%2F",
                        d->where);
    for (size_t i = 0; i < url->path.len; i++) {
        const uint8_t byte = url->path.ptr[i];
        if (byte == '/' || byte == ' ')
            continue;
        if (byte < '0' || byte > '9' || len == CONFIG_DIGITS_MAX)
            return ERR_OK;
        digits[len++] = (char)byte;
    }
    return set_from_url(d, "db", slice_make(digits, len));
}

static enum err set_url_parts(struct config_draft *d, const struct config_url *url)
{
    char port[CONFIG_DIGITS_MAX + 1] = "";
    bool has_db = false;
    enum err err = ERR_OK;
    d->is_from_url = true;
    for (size_t i = 0; i < url->argument_count && err == ERR_OK; i++) {
        const struct config_argument *argument = &url->arguments[i];
        has_db = has_db || slice_eq_str(argument->name, "db");
        d->hides_values = url->has_stray_at;
        err = config_draft_set(d, argument->name, (struct config_value){.text = argument->value});
    }
    if (url->port != 0)
        (void)snprintf(port, sizeof(port), "%" PRIu16, url->port);
    if (err == ERR_OK)
        err = set_from_url(d, "username", url->username);
    if (err == ERR_OK)
        err = set_from_url(d, "password", url->password);
    if (err == ERR_OK)
        err = set_from_url(d, "host", url->host);
    if (err == ERR_OK)
        err = set_from_url(d, "port", slice_str(port));
    if (err == ERR_OK && url->scheme == CONFIG_UNIX)
        err = set_from_url(d, "path", url->path);
    else if (err == ERR_OK && !has_db)
        err = set_path_db(d, url);
    return err;
}

static enum err read_url(struct config_draft *d, struct slice text)
{
    struct config_url url;
    enum err err = config_url_parse(&url, text, d->where, d->why);
    if (err != ERR_OK)
        return err;
    d->has_scheme = true;
    d->scheme = url.scheme;
    err = set_url_parts(d, &url);
    config_url_deinit(&url);
    return err;
}

static enum err read_pair(struct config_draft *d, const struct json_node *pair)
{
    if (json_count(pair) < 2) /* redis-py overlooks what follows */
        return err_fail(d->why, ERR_INVALID, "%s: a list here is [host, port]", d->where);
    enum err err =
        config_draft_set(d, slice_str("host"), (struct config_value){.node = json_item(pair, 0)});
    if (err == ERR_OK)
        err = config_draft_set(d, slice_str("port"),
                               (struct config_value){.node = json_item(pair, 1)});
    return err;
}

/* ---- whether it fits together ---- */

static enum err fail(const struct config_draft *d, const char *name, const char *reason)
{
    return err_fail(d->why, ERR_INVALID, "%s.%s: %s", d->where, name, reason);
}

static enum err settle_tls(struct config_draft *d, bool is_unix)
{
    struct redis_host *host = d->host;
    if (d->has_scheme && d->scheme == CONFIG_REDISS && d->has_ssl && !d->is_ssl)
        return fail(d, "ssl", "false, but the URL begins with rediss://");
    if (is_unix && d->is_ssl)
        return fail(d, "ssl", "there is no TLS on a unix socket");
    if (d->has_scheme && d->scheme == CONFIG_REDIS && d->is_ssl)
        return fail(d, "ssl", "true, but the URL begins with redis://: write rediss://");
    host->is_tls = d->is_ssl || (d->has_scheme && d->scheme == CONFIG_REDISS);
    if (!host->is_tls && d->tls_setting != NULL)
        return fail(d, d->tls_setting, "only with TLS: rediss:// or \"ssl\": true");
    if (host->key_file != NULL && host->cert_file == NULL)
        return fail(d, "ssl_keyfile", "ssl_certfile is missing");
    if (!host->is_tls || host->verify == REDIS_VERIFY_NONE)
        host->check_hostname = false;
    return ERR_OK;
}

static enum err settle_unix(const struct config_draft *d)
{
    struct redis_host *host = d->host;
    if (host->unix_path == NULL)
        return err_fail(d->why, ERR_INVALID, "%s: a unix:// URL has the path of a socket",
                        d->where);
    if (strlen(host->unix_path) > UNIX_PATH_MAX_BYTES)
        return err_fail(d->why, ERR_INVALID, "%s: the path of a unix socket has at most %d bytes",
                        d->where, UNIX_PATH_MAX_BYTES);
    if (host->host != NULL || host->port != 0)
        return fail(d, host->host != NULL ? "host" : "port", "not together with a unix socket");
    return ERR_OK;
}

static enum err settle_sentinel(const struct config_draft *d, bool is_unix)
{
    struct redis_host *host = d->host;
    if (host->sentinel_count == 0)
        return fail(d, "sentinels", "master_name has to come with a list of [host, port]");
    if (host->master_name == NULL)
        return fail(d, "master_name", "sentinels have to come with the name of a master");
    if (d->has_scheme || is_unix)
        return fail(d, "master_name", "not together with the address of a server");
    mem_free(host->host); /* redis-py takes one and does not use it */
    host->host = NULL;
    host->port = 0;
    return ERR_OK;
}

/* The sentinels themselves are too many for a line. */
static enum err set_description(const struct config_draft *d)
{
    char text[2 * ERR_TEXT_MAX];
    struct redis_host *host = d->host;
    if (host->unix_path != NULL)
        (void)snprintf(text, sizeof(text), "%s", host->unix_path);
    else if (host->master_name != NULL)
        (void)snprintf(text, sizeof(text), "%s by %s", host->master_name, host->sentinels[0].text);
    else
        (void)snprintf(text, sizeof(text), strchr(host->host, ':') != NULL ? "[%s]:%u" : "%s:%u",
                       host->host, host->port);
    return config_draft_copy(d, &host->text, slice_str(text));
}

static enum err finish(struct config_draft *d)
{
    struct redis_host *host = d->host;
    const bool is_unix = d->has_scheme ? d->scheme == CONFIG_UNIX : host->unix_path != NULL;
    enum err err = settle_tls(d, is_unix);
    if (err != ERR_OK)
        return err;
    if (!is_unix && host->unix_path != NULL)
        return fail(d, "path", "only with unix://, or without a URL");
    if (is_unix)
        err = settle_unix(d);
    if (err == ERR_OK && (host->master_name != NULL || host->sentinels != NULL)) {
        err = settle_sentinel(d, is_unix);
    } else if (err == ERR_OK && !is_unix) {
        if (host->host == NULL)
            err = config_draft_copy(d, &host->host, slice_str("localhost"));
        if (host->port == 0)
            host->port = PORT_DEFAULT;
    }
    return err == ERR_OK ? set_description(d) : err;
}

/* ---- entries ---- */

static enum err read_sentinel(struct redis_host *host, const struct config_draft *of, size_t i)
{
    struct config_draft d = {.host = host, .role = CONFIG_SENTINEL, .why = of->why};
    const struct json_node *pair = json_item(of->sentinels, i);
    (void)snprintf(d.where, sizeof(d.where), "%.40s.sentinels[%zu]", of->where, i);
    if (json_kind(pair) != JSON_KIND_ARRAY || json_count(pair) != 2)
        return err_fail(d.why, ERR_INVALID, "%s: a sentinel is [host, port]", d.where);
    enum err err = read_pair(&d, pair);
    if (err == ERR_OK && host->host == NULL)
        err = fail(&d, "host", "null is none");
    if (err == ERR_OK && of->sentinel_settings != NULL) {
        d.role = CONFIG_SENTINEL_SETTINGS;
        (void)snprintf(d.where, sizeof(d.where), "%.40s.sentinel_kwargs", of->where);
        err = read_keywords(&d, of->sentinel_settings);
    }
    return err == ERR_OK ? finish(&d) : err;
}

static enum err read_sentinels(const struct config_draft *d)
{
    const size_t count = json_count(d->sentinels);
    if (count == 0 || count > CONFIG_SENTINELS_MAX)
        return err_fail(d->why, ERR_INVALID, "%s.sentinels: from one to %d of them", d->where,
                        CONFIG_SENTINELS_MAX);
    d->host->sentinels = hosts_new(count);
    if (d->host->sentinels == NULL)
        return err_fail(d->why, ERR_NOMEM, "%s.sentinels: no memory", d->where);
    d->host->sentinel_count = count;
    enum err err = ERR_OK;
    for (size_t i = 0; i < count && err == ERR_OK; i++)
        err = read_sentinel(&d->host->sentinels[i], d, i);
    return err;
}

static enum err read_object(struct config_draft *d, const struct json_node *object)
{
    enum err err = read_keywords(d, object);
    if (err == ERR_OK && d->sentinels != NULL)
        err = read_sentinels(d);
    else if (err == ERR_OK && d->sentinel_settings != NULL)
        err = fail(d, "sentinel_kwargs", "only together with sentinels");
    if (err == ERR_OK && d->address != NULL)
        err = read_url(d, json_str(d->address));
    return err;
}

static enum err read_entry(struct redis_host *host, const struct json_node *entry, size_t i,
                           struct err_text *why)
{
    struct config_draft d = {.host = host, .role = CONFIG_SERVER, .why = why};
    enum err err = ERR_OK;
    (void)snprintf(d.where, sizeof(d.where), "hosts[%zu]", i);
    switch (json_kind(entry)) {
    case JSON_KIND_STR:
        err = read_url(&d, json_str(entry));
        break;
    case JSON_KIND_ARRAY:
        err = read_pair(&d, entry);
        break;
    case JSON_KIND_OBJECT:
        err = read_object(&d, entry);
        break;
    case JSON_KIND_NULL:
    case JSON_KIND_BOOL:
    case JSON_KIND_INT:
    case JSON_KIND_REAL:
        err = err_fail(why, ERR_INVALID,
                       "%s: %s is no Redis server: a URL, [host, port] or an object is one",
                       d.where, json_kind_str(json_kind(entry)));
        break;
    }
    return err == ERR_OK ? finish(&d) : err;
}

static enum err read_default(struct redis_host *host, struct err_text *why)
{
    struct config_draft d = {.host = host, .role = CONFIG_SERVER, .why = why, .where = "hosts"};
    return finish(&d);
}

static bool is_empty(const struct json_node *hosts)
{
    if (hosts == NULL || json_kind(hosts) == JSON_KIND_NULL)
        return true;
    if (json_kind(hosts) == JSON_KIND_STR)
        return json_str(hosts).len == 0;
    return json_kind(hosts) == JSON_KIND_ARRAY && json_count(hosts) == 0;
}

enum err config_hosts_read(struct redis_host **out, size_t *count, const struct json_node *hosts,
                           struct err_text *why)
{
    const bool is_default = is_empty(hosts);
    if (!is_default && json_kind(hosts) != JSON_KIND_ARRAY)
        return err_fail(why, ERR_INVALID,
                        "hosts: %s: it is a list of Redis servers, also when there is only one",
                        json_kind_str(json_kind(hosts)));
    const size_t wanted = is_default ? 1 : json_count(hosts);
    if (wanted > CONFIG_HOSTS_MAX)
        return err_fail(why, ERR_INVALID, "hosts: %zu servers; at most %d", wanted,
                        CONFIG_HOSTS_MAX);
    struct redis_host *list = hosts_new(wanted);
    if (list == NULL)
        return err_fail(why, ERR_NOMEM, "hosts: no memory");
    enum err err = is_default ? read_default(&list[0], why) : ERR_OK;
    for (size_t i = 0; !is_default && i < wanted && err == ERR_OK; i++)
        err = read_entry(&list[i], json_item(hosts, i), i, why);
    if (err != ERR_OK) {
        config_hosts_free(list, wanted);
        return err;
    }
    *out = list;
    *count = wanted;
    return ERR_OK;
}
