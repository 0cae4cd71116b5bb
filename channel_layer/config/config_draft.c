/* SPDX-License-Identifier: BSD-3-Clause */
#include "channel_layer/config/config_draft.h"

#include "channel_layer/config/config.h"
#include "core/json.h"
#include "core/mem.h"
#include "core/text.h"

#include <inttypes.h>
#include <limits.h>
#include <openssl/crypto.h>
#include <stdio.h>
#include <string.h>

enum { SHOWN_MAX = 40, WORD_MAX = 255, CONNECT_SECONDS_MAX = 3600 };

enum value_kind {
    VALUE_TEXT, /* a string, kept in the field */
    VALUE_HOST, /* as above, and can be the name of a host */
    VALUE_WORD, /* as above, and of letters, digits and punctuation only: it goes into a command */
    VALUE_PORT,
    VALUE_DB,
    VALUE_BOOL, /* kept in the field */
    VALUE_SSL,
    VALUE_VERIFY,
    VALUE_MIN_TLS,
    VALUE_TIMEOUT, /* seconds above 0, kept in the field as milliseconds */
    VALUE_ADDRESS,
    VALUE_SENTINELS,
    VALUE_SENTINEL_SETTINGS,
    VALUE_UNUSED,        /* anything, without effect */
    VALUE_UNUSED_NUMBER, /* a number, without effect */
    VALUE_UNUSED_TRUE,   /* true, without effect */
    VALUE_OBJECT,        /* null only: an object of Python that cannot be told here */
    VALUE_UNKNOWN_CHECK, /* null or false only: a check of TLS that is not made */
};

/* Where a setting may stand. */
enum {
    IN_URL = 1,
    IN_SERVER = 2,
    IN_SENTINEL = 4,
    IN_BOTH = IN_SERVER | IN_SENTINEL,
    ANYWHERE = IN_URL | IN_BOTH
};

struct setting {
    const char *name;
    enum value_kind kind;
    unsigned places;
    size_t offset; /* of the field in struct redis_host */
};

#define FIELD(name) offsetof(struct redis_host, name)

static const struct setting settings[] = {
    {"address", VALUE_ADDRESS, IN_SERVER, 0},
    {"host", VALUE_HOST, IN_URL | IN_SERVER, FIELD(host)},
    {"port", VALUE_PORT, IN_URL | IN_SERVER, FIELD(port)},
    {"path", VALUE_TEXT, IN_URL | IN_SERVER, FIELD(unix_path)},
    {"db", VALUE_DB, ANYWHERE, FIELD(db)},
    {"username", VALUE_TEXT, ANYWHERE, FIELD(username)},
    {"password", VALUE_TEXT, ANYWHERE, FIELD(password)},
    {"client_name", VALUE_WORD, ANYWHERE, FIELD(client_name)},
    {"socket_connect_timeout", VALUE_TIMEOUT, ANYWHERE, FIELD(connect_timeout_ms)},
    {"master_name", VALUE_WORD, IN_SERVER, FIELD(master_name)},
    {"sentinels", VALUE_SENTINELS, IN_SERVER, 0},
    {"sentinel_kwargs", VALUE_SENTINEL_SETTINGS, IN_SERVER, 0},

    {"ssl", VALUE_SSL, ANYWHERE, 0},
    {"ssl_cert_reqs", VALUE_VERIFY, ANYWHERE, FIELD(verify)},
    {"ssl_check_hostname", VALUE_BOOL, ANYWHERE, FIELD(check_hostname)},
    {"ssl_ca_certs", VALUE_TEXT, ANYWHERE, FIELD(ca_file)},
    {"ssl_ca_path", VALUE_TEXT, ANYWHERE, FIELD(ca_folder)},
    {"ssl_ca_data", VALUE_TEXT, ANYWHERE, FIELD(ca_data)},
    {"ssl_certfile", VALUE_TEXT, ANYWHERE, FIELD(cert_file)},
    {"ssl_keyfile", VALUE_TEXT, ANYWHERE, FIELD(key_file)},
    {"ssl_password", VALUE_TEXT, ANYWHERE, FIELD(key_password)},
    {"ssl_ciphers", VALUE_TEXT, ANYWHERE, FIELD(ciphers)},
    {"ssl_min_version", VALUE_MIN_TLS, ANYWHERE, FIELD(min_tls)},

    {"socket_timeout", VALUE_UNUSED_NUMBER, ANYWHERE, 0},
    {"timeout", VALUE_UNUSED_NUMBER, ANYWHERE, 0},
    {"socket_keepalive", VALUE_UNUSED, ANYWHERE, 0},
    {"socket_keepalive_options", VALUE_UNUSED, ANYWHERE, 0},
    {"socket_type", VALUE_UNUSED, ANYWHERE, 0},
    {"socket_read_size", VALUE_UNUSED_NUMBER, ANYWHERE, 0},
    {"health_check_interval", VALUE_UNUSED_NUMBER, ANYWHERE, 0},
    {"max_connections", VALUE_UNUSED_NUMBER, ANYWHERE, 0},
    {"retry", VALUE_UNUSED, ANYWHERE, 0},
    {"retry_on_timeout", VALUE_UNUSED, ANYWHERE, 0},
    {"retry_on_error", VALUE_UNUSED, ANYWHERE, 0},
    {"single_connection_client", VALUE_UNUSED, IN_SENTINEL, 0},
    {"auto_close_connection_pool", VALUE_UNUSED, IN_SENTINEL, 0},
    {"encoding", VALUE_UNUSED, ANYWHERE, 0},
    {"encoding_errors", VALUE_UNUSED, ANYWHERE, 0},
    {"decode_responses", VALUE_UNUSED, ANYWHERE, 0},
    {"protocol", VALUE_UNUSED_NUMBER, ANYWHERE, 0},
    {"legacy_responses", VALUE_UNUSED, ANYWHERE, 0},
    {"lib_name", VALUE_UNUSED, ANYWHERE, 0},
    {"lib_version", VALUE_UNUSED, ANYWHERE, 0},
    {"driver_info", VALUE_UNUSED, ANYWHERE, 0},
    {"check_connection", VALUE_UNUSED, IN_SERVER, 0},
    {"event_dispatcher", VALUE_UNUSED, IN_BOTH, 0},
    {"maint_notifications_config", VALUE_UNUSED, IN_BOTH, 0},
    {"is_master", VALUE_UNUSED_TRUE, IN_SERVER, 0},

    {"connection_class", VALUE_OBJECT, IN_BOTH, 0},
    {"credential_provider", VALUE_OBJECT, IN_BOTH, 0},
    {"redis_connect_func", VALUE_OBJECT, IN_BOTH, 0},
    {"parser_class", VALUE_OBJECT, IN_BOTH, 0},
    {"encoder_class", VALUE_OBJECT, IN_BOTH, 0},
    {"ssl_include_verify_flags", VALUE_UNKNOWN_CHECK, ANYWHERE, 0},
    {"ssl_exclude_verify_flags", VALUE_UNKNOWN_CHECK, ANYWHERE, 0},
    {"ssl_validate_ocsp", VALUE_UNKNOWN_CHECK, ANYWHERE, 0},
    {"ssl_validate_ocsp_stapled", VALUE_UNKNOWN_CHECK, ANYWHERE, 0},
    {"ssl_ocsp_context", VALUE_UNKNOWN_CHECK, ANYWHERE, 0},
    {"ssl_ocsp_expected_cert", VALUE_UNKNOWN_CHECK, ANYWHERE, 0},
};

static enum err fail(const struct config_draft *d, const struct setting *setting,
                     const char *reason)
{
    return err_fail(d->why, ERR_INVALID, "%s.%s: %s", d->where, setting->name, reason);
}

static bool has_byte_below(struct slice text, uint8_t least)
{
    for (size_t i = 0; i < text.len; i++) {
        if (text.ptr[i] < least || text.ptr[i] == 0x7f)
            return true;
    }
    return false;
}

/* Whether a message may quote @text: it is short, one word, and text. */
static bool is_shown(struct slice text)
{
    return text.len > 0 && text.len <= SHOWN_MAX && !has_byte_below(text, '!') &&
           utf8_is_valid(text.ptr, text.len);
}

/* For a value that is no secret. */
static enum err fail_value(const struct config_draft *d, const struct setting *setting,
                           struct config_value value, const char *reason)
{
    const enum json_kind kind = value.node == NULL ? JSON_KIND_STR : json_kind(value.node);
    if (kind == JSON_KIND_INT || kind == JSON_KIND_REAL)
        return err_fail(d->why, ERR_INVALID, "%s.%s: %.15g %s", d->where, setting->name,
                        json_double(value.node), reason);
    if (kind != JSON_KIND_STR)
        return err_fail(d->why, ERR_INVALID, "%s.%s: %s %s", d->where, setting->name,
                        json_kind_str(kind), reason);
    const struct slice text = value.node == NULL ? value.text : json_str(value.node);
    if (d->hides_values || !is_shown(text))
        return err_fail(d->why, ERR_INVALID, "%s.%s: the value %s", d->where, setting->name,
                        reason);
    return err_fail(d->why, ERR_INVALID, "%s.%s: '%.*s' %s", d->where, setting->name, (int)text.len,
                    (const char *)text.ptr, reason);
}

static void *field_of(const struct config_draft *d, const struct setting *setting)
{
    return (char *)d->host + setting->offset;
}

static void drop(char **field)
{
    if (*field != NULL)
        OPENSSL_cleanse(*field, strlen(*field)); /* it may be a password */
    mem_free(*field);
    *field = NULL;
}

enum err config_draft_copy(const struct config_draft *d, char **field, struct slice text)
{
    char *copy = mem_try(text.len + 1);
    if (copy == NULL)
        return err_fail(d->why, ERR_NOMEM, "%s: no memory", d->where);
    if (text.len > 0)
        memcpy(copy, text.ptr, text.len);
    copy[text.len] = '\0';
    drop(field);
    *field = copy;
    return ERR_OK;
}

/* ---- texts ---- */

static bool can_be_host(struct slice text)
{
    if (text.len == 0 || text.len > WORD_MAX || has_byte_below(text, '!'))
        return false;
    for (size_t i = 0; i < text.len; i++) {
        if (strchr("/@?#[]\"'", text.ptr[i]) != NULL)
            return false;
    }
    return true;
}

static enum err set_text(struct config_draft *d, const struct setting *setting,
                         struct config_value value)
{
    if (value.node != NULL && json_kind(value.node) != JSON_KIND_STR)
        return err_fail(d->why, ERR_INVALID, "%s.%s: %s where a string belongs", d->where,
                        setting->name, json_kind_str(json_kind(value.node)));
    const struct slice text = value.node != NULL ? json_str(value.node) : value.text;
    if (text.len > 0 && memchr(text.ptr, 0, text.len) != NULL)
        return fail(d, setting, "there is a NUL character in it");
    if (!utf8_is_valid(text.ptr, text.len))
        return fail(d, setting, "it is not UTF-8");
    if (setting->kind == VALUE_HOST && !can_be_host(text))
        return fail(d, setting, "this is no host (a URL belongs into \"address\")");
    if (setting->kind == VALUE_WORD && (text.len > WORD_MAX || has_byte_below(text, '!')))
        return fail(d, setting, "it has a blank or a control character, or over 255 bytes");
    if (text.len == 0) { /* for redis-py, too, that is none */
        drop(field_of(d, setting));
        return ERR_OK;
    }
    return config_draft_copy(d, field_of(d, setting), text);
}

/* ---- numbers ---- */

/* A whole number that is not negative: written as such, or as text with blanks and a sign around
 * it, as Python's int() reads it. */
static bool read_number(uint64_t *out, struct config_value value)
{
    if (value.node != NULL && json_kind(value.node) == JSON_KIND_INT) {
        *out = (uint64_t)json_int(value.node);
        return json_int(value.node) >= 0;
    }
    if (value.node != NULL && json_kind(value.node) != JSON_KIND_STR)
        return false;
    struct slice text = text_trim(value.node != NULL ? json_str(value.node) : value.text);
    if (text.len > 0 && text.ptr[0] == '+')
        text = slice_make(text.ptr + 1, text.len - 1);
    if (text.len == 0 || text.len > CONFIG_DIGITS_MAX)
        return false;
    *out = 0;
    for (size_t i = 0; i < text.len; i++) {
        if (text.ptr[i] < '0' || text.ptr[i] > '9')
            return false;
        *out = *out * 10 + (uint64_t)(text.ptr[i] - '0');
    }
    return true;
}

static enum err set_port(struct config_draft *d, const struct setting *setting,
                         struct config_value value)
{
    uint64_t port = 0;
    if (!read_number(&port, value) || port == 0 || port > UINT16_MAX)
        return fail_value(d, setting, value, "is no port from 1 to 65535");
    d->host->port = (uint16_t)port;
    return ERR_OK;
}

static enum err set_db(struct config_draft *d, const struct setting *setting,
                       struct config_value value)
{
    uint64_t db = 0;
    if (!read_number(&db, value) || db > INT_MAX)
        return fail_value(d, setting, value, "is no number of a database");
    d->host->db = (unsigned)db;
    return ERR_OK;
}

static bool read_seconds(double *out, struct config_value value)
{
    if (value.node == NULL)
        return text_read_decimal(out, value.text);
    if (json_kind(value.node) != JSON_KIND_INT && json_kind(value.node) != JSON_KIND_REAL)
        return false;
    *out = json_double(value.node);
    return true;
}

static enum err set_timeout(struct config_draft *d, const struct setting *setting,
                            struct config_value value)
{
    double seconds = 0;
    if (!read_seconds(&seconds, value) || seconds <= 0 || seconds > CONNECT_SECONDS_MAX)
        return fail_value(d, setting, value, "is no number of seconds above 0 and up to 3600");
    *(unsigned *)field_of(d, setting) = (unsigned)(seconds * 1000) + (seconds < 0.001 ? 1 : 0);
    return ERR_OK;
}

static enum err check_number(struct config_draft *d, const struct setting *setting,
                             struct config_value value)
{
    double number = 0;
    if (!read_seconds(&number, value))
        return fail_value(d, setting, value, "is no number");
    return ERR_OK;
}

/* ---- yes and no, and words ---- */

/* Of an object: true, false, 1, 0. Of a URL: as redis-py reads it, five words are false. */
static bool read_bool(bool *out, struct config_value value)
{
    static const char *const no[] = {"0", "f", "false", "n", "no"};
    if (value.node == NULL) {
        *out = true;
        for (size_t i = 0; i < sizeof(no) / sizeof(no[0]); i++)
            *out = *out && !text_eq_nocase(value.text, no[i]);
        return true;
    }
    if (json_kind(value.node) == JSON_KIND_BOOL)
        *out = json_bool(value.node);
    else if (json_kind(value.node) == JSON_KIND_INT)
        *out = json_int(value.node) == 1;
    else
        return false;
    return json_kind(value.node) == JSON_KIND_BOOL || json_int(value.node) == 0 || *out;
}

static enum err set_bool(struct config_draft *d, const struct setting *setting,
                         struct config_value value, bool *out)
{
    if (!read_bool(out, value))
        return fail_value(d, setting, value, "is neither true nor false");
    return ERR_OK;
}

/* Which row of @words, whose last is {NULL}, @value is: by name, by the name with the enumeration
 * of Python's ssl before it, or by number. */
struct word {
    const char *names[3];
    int64_t number;
    int meaning;
};

static const struct word *find_word(const struct word *words, const char *enumeration,
                                    struct config_value value)
{
    uint64_t number = 0;
    const bool is_number = read_number(&number, value);
    struct slice text = {0};
    if (value.node == NULL)
        text = value.text;
    else if (json_kind(value.node) == JSON_KIND_STR)
        text = json_str(value.node);
    const size_t prefix = strlen(enumeration);
    if (text.len > prefix && memcmp(text.ptr, enumeration, prefix) == 0)
        text = slice_make(text.ptr + prefix, text.len - prefix);
    for (const struct word *word = words; word->names[0] != NULL; word++) {
        if (is_number && (uint64_t)word->number == number)
            return word;
        for (size_t i = 0; i < 3 && word->names[i] != NULL; i++) {
            if (slice_eq_str(text, word->names[i]))
                return word;
        }
    }
    return NULL;
}

static enum err set_verify(struct config_draft *d, const struct setting *setting,
                           struct config_value value)
{
    static const struct word words[] = {{{"none", "CERT_NONE"}, 0, REDIS_VERIFY_NONE},
                                        {{"optional", "CERT_OPTIONAL"}, 1, REDIS_VERIFY_OPTIONAL},
                                        {{"required", "CERT_REQUIRED"}, 2, REDIS_VERIFY_REQUIRED},
                                        {{NULL}, 0, 0}};
    const struct word *word = find_word(words, "VerifyMode.", value);
    if (word == NULL)
        return fail_value(d, setting, value, "is none of none, optional, required");
    d->host->verify = (enum redis_verify)word->meaning;
    return ERR_OK;
}

static enum err set_min_tls(struct config_draft *d, const struct setting *setting,
                            struct config_value value)
{
    static const struct word words[] = {
        {{"TLSv1.2", "TLSv1_2"}, 0x303, 0}, {{"TLSv1.3", "TLSv1_3"}, 0x304, 0}, {{NULL}, 0, 0}};
    const struct word *word = find_word(words, "TLSVersion.", value);
    if (word == NULL)
        return fail_value(d, setting, value, "is none of TLSv1.2 (771), TLSv1.3 (772)");
    return config_draft_copy(d, field_of(d, setting), slice_str(word->names[0]));
}

/* ---- what has parts of its own ---- */

static enum err keep_node(struct config_draft *d, const struct setting *setting,
                          const struct json_node *node, enum json_kind kind,
                          const struct json_node **out)
{
    if (json_kind(node) != kind)
        return err_fail(d->why, ERR_INVALID, "%s.%s: %s where %s belongs", d->where, setting->name,
                        json_kind_str(json_kind(node)), json_kind_str(kind));
    *out = node;
    return ERR_OK;
}

static enum err set_ssl(struct config_draft *d, const struct setting *setting,
                        struct config_value value)
{
    d->has_ssl = true;
    return set_bool(d, setting, value, &d->is_ssl);
}

static enum err check_true(struct config_draft *d, const struct setting *setting,
                           struct config_value value)
{
    bool is_true = false;
    const enum err err = set_bool(d, setting, value, &is_true);
    return err != ERR_OK || is_true ? err : fail(d, setting, "a layer writes, so to the master");
}

static enum err set_value(struct config_draft *d, const struct setting *setting,
                          struct config_value value)
{
    switch (setting->kind) {
    case VALUE_TEXT:
    case VALUE_HOST:
    case VALUE_WORD:
        return set_text(d, setting, value);
    case VALUE_PORT:
        return set_port(d, setting, value);
    case VALUE_DB:
        return set_db(d, setting, value);
    case VALUE_BOOL:
        return set_bool(d, setting, value, field_of(d, setting));
    case VALUE_SSL:
        return set_ssl(d, setting, value);
    case VALUE_VERIFY:
        return set_verify(d, setting, value);
    case VALUE_MIN_TLS:
        return set_min_tls(d, setting, value);
    case VALUE_TIMEOUT:
        return set_timeout(d, setting, value);
    case VALUE_ADDRESS:
        return keep_node(d, setting, value.node, JSON_KIND_STR, &d->address);
    case VALUE_SENTINELS:
        return keep_node(d, setting, value.node, JSON_KIND_ARRAY, &d->sentinels);
    case VALUE_SENTINEL_SETTINGS:
        return keep_node(d, setting, value.node, JSON_KIND_OBJECT, &d->sentinel_settings);
    case VALUE_UNUSED:
        return ERR_OK;
    case VALUE_UNUSED_NUMBER:
        return check_number(d, setting, value);
    case VALUE_UNUSED_TRUE:
        return check_true(d, setting, value);
    case VALUE_OBJECT:
        return fail(d, setting, "an object of Python, which has no effect here; leave it out");
    case VALUE_UNKNOWN_CHECK:
        break;
    }
    if (value.node != NULL && json_kind(value.node) == JSON_KIND_BOOL && !json_bool(value.node))
        return ERR_OK;
    return fail(d, setting, "this is not supported; trust is told by ssl_ca_certs, ssl_ca_path");
}

static const struct setting *find_setting(struct slice name, unsigned place)
{
    for (size_t i = 0; i < sizeof(settings) / sizeof(settings[0]); i++) {
        if ((settings[i].places & place) != 0 && slice_eq_str(name, settings[i].name))
            return &settings[i];
    }
    return NULL;
}

enum err config_draft_set(struct config_draft *d, struct slice name, struct config_value value)
{
    const unsigned place = d->is_from_url                        ? IN_URL
                           : d->role == CONFIG_SENTINEL_SETTINGS ? IN_SENTINEL
                                                                 : IN_SERVER;
    const struct setting *setting = find_setting(name, place);
    if (setting == NULL && (d->hides_values || !is_shown(name)))
        return err_fail(d->why, ERR_INVALID,
                        "%s: there is a setting that is unknown (/ ? # in a password are written "
                        "%%2F %%3F %%23)",
                        d->where);
    if (setting == NULL)
        return err_fail(d->why, ERR_INVALID, "%s.%.*s: there is no such setting", d->where,
                        (int)name.len, (const char *)name.ptr);
    const bool is_null = value.node != NULL && json_kind(value.node) == JSON_KIND_NULL;
    if (is_null && setting->kind == VALUE_VERIFY) { /* redis-py: no verification */
        d->host->verify = REDIS_VERIFY_NONE;
        return ERR_OK;
    }
    if (is_null && setting->kind != VALUE_PORT)
        return ERR_OK;
    if (strncmp(setting->name, "ssl_", 4) == 0 && d->tls_setting == NULL)
        d->tls_setting = setting->name;
    return set_value(d, setting, value);
}
