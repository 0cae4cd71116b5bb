/* SPDX-License-Identifier: BSD-3-Clause */
#include "server/options_value.h"

#include "core/log_format.h"
#include "core/mem.h"
#include "core/slice.h"
#include "core/text.h"
#include "server/layer_settings.h"

#include <arpa/inet.h>
#include <assert.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/un.h>

enum {
    MS_DECIMALS = 3,
    SECONDS_MAX = 1000000000, /* over 31 years, far from the end of an int64_t in milliseconds */
    VALUE_SHOWN = 120,        /* bytes of a value that an error shows */
    HOST_NAME_MAX_LEN = 253,  /* RFC 1035 section 2.3.4, as text */
    EXPECTED_MAX = 128,
};

static void *field_of(struct options *out, const struct option_row *row)
{
    return (char *)out + row->offset;
}

static enum err fail_value(struct err_text *why, const char *source, const char *value,
                           const char *expected)
{
    return err_fail(why, ERR_INVALID, "%s: \"%.*s\" is not %s", source, VALUE_SHOWN, value,
                    expected);
}

static void set_text(struct options *out, const struct option_row *row, const char *data,
                     size_t len)
{
    char **field = field_of(out, row);
    mem_free(*field);
    *field = mem_copy_str(data, len);
}

/* Reads a decimal number with at most @decimals digits behind a point, in units of the last of
 * them: with three, "1.5" is 1500. */
static bool parse_scaled(int64_t *out, const char *text, unsigned decimals)
{
    int64_t value = 0;
    const bool is_negative = *text == '-';
    if (*text == '-' || *text == '+')
        text++;
    if (*text < '0' || *text > '9')
        return false;
    bool in_fraction = false;
    for (; *text != '\0'; text++) {
        if (*text == '.' && !in_fraction && decimals > 0) {
            in_fraction = true;
            continue;
        }
        if (*text < '0' || *text > '9' || (in_fraction && decimals == 0))
            return false;
        if (__builtin_mul_overflow(value, 10, &value) ||
            __builtin_add_overflow(value, *text - '0', &value))
            return false;
        if (in_fraction)
            decimals--;
    }
    for (; decimals > 0; decimals--) {
        if (__builtin_mul_overflow(value, 10, &value))
            return false;
    }
    *out = is_negative ? -value : value;
    return true;
}

static enum err set_number(struct options *out, const struct option_row *row, const char *value,
                           const char *source, struct err_text *why)
{
    char expected[EXPECTED_MAX];
    int64_t number = 0;
    if (!parse_scaled(&number, value, 0) || number < row->least || number > row->most) {
        if (row->most == INT64_MAX)
            (void)snprintf(expected, sizeof(expected), "a whole number from %" PRId64 " on",
                           row->least);
        else
            (void)snprintf(expected, sizeof(expected),
                           "a whole number from %" PRId64 " to %" PRId64, row->least, row->most);
        return fail_value(why, source, value, expected);
    }
    if (row->kind == OPTION_INT)
        *(int *)field_of(out, row) = (int)number;
    else if (row->kind == OPTION_COUNT)
        *(unsigned *)field_of(out, row) = (unsigned)number;
    else
        *(uint64_t *)field_of(out, row) = (uint64_t)number;
    return ERR_OK;
}

static enum err set_seconds(struct options *out, const struct option_row *row, const char *value,
                            const char *source, struct err_text *why)
{
    static const char *const expected[] = {
        [OPTION_NEVER_NOT] = "a number of seconds from 0 to 1000000000",
        [OPTION_NEVER_ZERO] = "a number of seconds up to 1000000000 (0: never)",
        [OPTION_NEVER_NEGATIVE] = "a number of seconds up to 1000000000 (negative: never)",
    };
    int64_t ms = 0;
    if (!parse_scaled(&ms, value, MS_DECIMALS) || ms > SECONDS_MAX * INT64_C(1000) ||
        (ms < 0 && row->never == OPTION_NEVER_NOT))
        return fail_value(why, source, value, expected[row->never]);
    const bool is_never = ms < 0 || (ms == 0 && row->never == OPTION_NEVER_ZERO);
    *(int64_t *)field_of(out, row) = is_never ? -1 : ms;
    return ERR_OK;
}

static bool is_host_name(const char *text, size_t len)
{
    static const char chars[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._";
    return len > 0 && len <= HOST_NAME_MAX_LEN && strspn(text, chars) == len;
}

static bool is_ipv6(const char *text)
{
    char addr[INET6_ADDRSTRLEN];
    struct in6_addr parsed;
    const size_t len = strcspn(text, "%"); /* "fe80::1%eth0" */
    if (len >= sizeof(addr) || (text[len] == '%' && text[len + 1] == '\0'))
        return false;
    memcpy(addr, text, len);
    addr[len] = '\0';
    return inet_pton(AF_INET6, addr, &parsed) == 1;
}

static enum err set_host(struct options *out, const struct option_row *row, const char *value,
                         const char *source, struct err_text *why)
{
    const char *first = value + strspn(value, "[]"); /* Daphne strips them the same way */
    size_t len = strlen(first);
    while (len > 0 && (first[len - 1] == '[' || first[len - 1] == ']'))
        len--;
    char *host = mem_copy_str(first, len);
    const bool is_good = is_host_name(host, len) || is_ipv6(host);
    if (is_good)
        set_text(out, row, host, len);
    mem_free(host);
    if (!is_good)
        return fail_value(why, source, value, "an address or a host name (a port goes to --port)");
    return ERR_OK;
}

static enum err set_field_name(struct options *out, const struct option_row *row, const char *value,
                               const char *source, struct err_text *why)
{
    if (!text_is_token(slice_str(value)))
        return fail_value(why, source, value, "the name of a header field");
    set_text(out, row, value, strlen(value));
    for (char *c = *(char **)field_of(out, row); *c != '\0'; c++) {
        if (*c >= 'A' && *c <= 'Z')
            *c = (char)(*c - 'A' + 'a');
    }
    return ERR_OK;
}

static bool is_printable(const char *text)
{
    for (; *text != '\0'; text++) {
        if (*text < 0x20 || *text > 0x7e)
            return false;
    }
    return true;
}

/* @words ends with NULL. */
static bool is_one_of(const char *value, const char *const *words)
{
    for (; *words != NULL; words++) {
        if (strcmp(value, *words) == 0)
            return true;
    }
    return false;
}

/* What a text of @kind should have been when @value is none, or NULL. */
static const char *text_expected(enum option_kind kind, const char *value)
{
    static const char *const loops[] = {"auto", "asyncio", "uvloop", NULL};
    static const char *const modes[] = {"off", "exact", "full", NULL};
    const struct slice bytes = slice_str(value);
    if (kind == OPTION_UNIX_PATH) {
        const size_t room = sizeof(((struct sockaddr_un *)0)->sun_path);
        if (!utf8_is_valid(bytes.ptr, bytes.len)) /* applications are told it, as text */
            return "a path in UTF-8";
        return bytes.len < room ? NULL : "a path short enough for a unix socket (107 bytes)";
    }
    if (kind == OPTION_FIELD_VALUE)
        return is_printable(value) ? NULL : "printable ASCII text";
    if (kind == OPTION_UTF8)
        return utf8_is_valid(bytes.ptr, bytes.len) ? NULL : "UTF-8";
    if (kind == OPTION_LOOP)
        return is_one_of(value, loops) ? NULL : "auto, asyncio or uvloop";
    if (kind == OPTION_ACCELERATE)
        return is_one_of(value, modes) ? NULL : "off, exact or full";
    return NULL;
}

static enum err set_trust(struct options *out, const struct option_row *row, const char *value,
                          const char *source, struct err_text *why)
{
    struct err_text inner = {0};
    if (trust_list_parse(&out->forwarded, slice_str(value), &inner) != ERR_OK)
        return err_fail(why, ERR_INVALID, "%s: %.300s", source, inner.text);
    set_text(out, row, value, strlen(value));
    return ERR_OK;
}

static enum err set_layer_config(struct options *out, const struct option_row *row,
                                 const char *value, const char *source, struct err_text *why)
{
    struct err_text inner = {0};
    char *json = NULL;
    if (layer_settings_load(&json, value, &inner) != ERR_OK)
        return err_fail(why, ERR_INVALID, "%s: %.400s", source, inner.text);
    set_text(out, row, json, strlen(json));
    mem_free(json);
    return ERR_OK;
}

static enum err set_log_format(struct options *out, const struct option_row *row, const char *value,
                               const char *source, struct err_text *why)
{
    struct log_format format;
    struct err_text inner = {0};
    if (log_format_compile(&format, value, &inner) != ERR_OK)
        return err_fail(why, ERR_INVALID, "%s: %.300s", source, inner.text);
    set_text(out, row, value, strlen(value));
    return ERR_OK;
}

/* For a flag: whether @value turns it on. */
static bool parse_switch(bool *out, const char *value)
{
    static const struct {
        const char *word;
        bool is_on;
    } words[] = {
        {"1", true},  {"true", true},   {"yes", true}, {"on", true},
        {"0", false}, {"false", false}, {"no", false}, {"off", false},
    };
    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
        if (text_eq_nocase(slice_str(value), words[i].word)) {
            *out = words[i].is_on;
            return true;
        }
    }
    return false;
}

static enum err set_flag(struct options *out, const struct option_row *row, const char *value,
                         const char *source, struct err_text *why)
{
    bool is_on = false;
    if (!parse_switch(&is_on, value))
        return fail_value(why, source, value, "1 or 0 (true, yes, on or false, no, off)");
    if (row->kind == OPTION_FLAG)
        *(bool *)field_of(out, row) = is_on != row->preset;
    else if (is_on)
        set_text(out, row, "", 0);
    return ERR_OK;
}

void options_value_set_default(struct options *out, const struct option_row *row)
{
    struct err_text why = {0};
    if (row->fallback != NULL) {
        const enum err err = options_value_set(out, row, row->fallback, row->name, &why);
        assert(err == ERR_OK);
        (void)err;
    } else if (row->kind == OPTION_SECONDS) {
        *(int64_t *)field_of(out, row) = -1;
    } else if (row->kind == OPTION_FLAG) {
        *(bool *)field_of(out, row) = row->preset;
    } else if (row->kind != OPTION_EMPTY) {
        char **field = field_of(out, row);
        mem_free(*field);
        *field = NULL;
    }
}

enum err options_value_set(struct options *out, const struct option_row *row, const char *value,
                           const char *source, struct err_text *why)
{
    const char *expected = NULL;
    switch (row->kind) {
    case OPTION_HOST:
        return set_host(out, row, value, source, why);
    case OPTION_FIELD_NAME:
        return set_field_name(out, row, value, source, why);
    case OPTION_TRUST:
        return set_trust(out, row, value, source, why);
    case OPTION_LOG_FORMAT:
        return set_log_format(out, row, value, source, why);
    case OPTION_LAYER_CONFIG:
        return set_layer_config(out, row, value, source, why);
    case OPTION_UNIX_PATH:
    case OPTION_PATH:
    case OPTION_FIELD_VALUE:
    case OPTION_UTF8:
    case OPTION_LOOP:
    case OPTION_ACCELERATE:
        expected = text_expected(row->kind, value);
        if (expected != NULL)
            return fail_value(why, source, value, expected);
        set_text(out, row, value, strlen(value));
        return ERR_OK;
    case OPTION_INT:
    case OPTION_COUNT:
    case OPTION_BYTES:
        return set_number(out, row, value, source, why);
    case OPTION_SECONDS:
        return set_seconds(out, row, value, source, why);
    case OPTION_FLAG:
    case OPTION_EMPTY:
        return set_flag(out, row, value, source, why);
    case OPTION_GROUP:
    case OPTION_HELP:
    case OPTION_VERSION:
    case OPTION_PRINT_TABLE:
    case OPTION_REFUSED:
        break; /* they have no field */
    }
    return err_fail(why, ERR_INVALID, "%s takes no value", source);
}
