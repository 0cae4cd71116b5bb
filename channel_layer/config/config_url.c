/* SPDX-License-Identifier: BSD-3-Clause */
#include "channel_layer/config/config_url.h"

#include "core/mem.h"
#include "core/text.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <openssl/crypto.h>
#include <string.h>

static struct slice part(struct slice text, size_t begin, size_t end)
{
    return slice_make(text.ptr + begin, end - begin);
}

/* Where the first byte of @text is that is in @set; its length when there is none. */
static size_t find_any(struct slice text, const char *set)
{
    size_t i = 0;
    while (i < text.len && (text.ptr[i] == '\0' || strchr(set, text.ptr[i]) == NULL))
        i++;
    return i;
}

/* Cuts @text at the first @mark: what is before it is returned, what is behind it is in *@rest. */
static struct slice cut(struct slice text, char mark, struct slice *rest)
{
    const char set[] = {mark, '\0'};
    const size_t at = find_any(text, set);
    *rest = at < text.len ? part(text, at + 1, text.len) : (struct slice){0};
    return part(text, 0, at);
}

/* The parts are decoded where they stand: the memory is ours and decoding never makes longer. */
static void decode(struct config_url *url, struct slice *text)
{
    if (text->len == 0)
        return;
    uint8_t *at = url->memory + (text->ptr - url->memory);
    text->len = text_percent_decode(at, at, text->len);
}

static void copy_without_blanks(struct config_url *url, struct slice text)
{
    size_t begin = 0;
    while (begin < text.len && text.ptr[begin] <= ' ')
        begin++;
    for (size_t i = begin; i < text.len; i++) {
        const uint8_t byte = text.ptr[i];
        if (byte != '\t' && byte != '\r' && byte != '\n')
            url->memory[url->memory_len++] = byte;
    }
}

static enum err read_scheme(struct config_url *url, struct slice *rest, const char *where,
                            struct err_text *why)
{
    static const char *const schemes[] = {
        [CONFIG_REDIS] = "redis", [CONFIG_REDISS] = "rediss", [CONFIG_UNIX] = "unix"};
    struct slice behind = {0};
    const struct slice scheme = cut(*rest, ':', &behind);
    for (size_t i = 0; i < sizeof(schemes) / sizeof(schemes[0]); i++) {
        if (!text_eq_nocase(scheme, schemes[i]) || behind.len < 2 || behind.ptr[0] != '/' ||
            behind.ptr[1] != '/')
            continue;
        url->scheme = (enum config_scheme)i;
        *rest = part(behind, 2, behind.len);
        return ERR_OK;
    }
    return err_fail(why, ERR_INVALID,
                    "%s: the address of a Redis server is a URL that begins with redis://, "
                    "rediss:// or unix://",
                    where);
}

static enum err read_port(struct config_url *url, struct slice digits, const char *where,
                          struct err_text *why)
{
    unsigned port = 0;
    for (size_t i = 0; i < digits.len; i++) {
        if (digits.ptr[i] >= '0' && digits.ptr[i] <= '9' && port <= UINT16_MAX)
            port = port * 10 + (unsigned)(digits.ptr[i] - '0');
        else
            return err_fail(why, ERR_INVALID,
                            "%s: what follows the host's colon is no port (if it is a part of the "
                            "password, write / ? # in it as %%2F %%3F %%23)",
                            where);
    }
    if (port > UINT16_MAX)
        return err_fail(why, ERR_INVALID, "%s: the port is over 65535", where);
    url->port = (uint16_t)port;
    return ERR_OK;
}

/* An IPv6 address may have a zone: fe80::1%eth0, in a URL also written %25eth0. */
static bool is_ipv6(struct slice text)
{
    struct in6_addr address;
    char plain[INET6_ADDRSTRLEN] = {0};
    struct slice zone;
    const struct slice host = cut(text, '%', &zone);
    if (host.len == 0 || host.len >= sizeof(plain))
        return false;
    memcpy(plain, host.ptr, host.len);
    return inet_pton(AF_INET6, plain, &address) == 1;
}

static enum err read_bracketed(struct config_url *url, struct slice text, const char *where,
                               struct err_text *why)
{
    struct slice behind = {0};
    url->host = cut(part(text, 1, text.len), ']', &behind);
    if (url->host.len + 1 == text.len || !is_ipv6(url->host))
        return err_fail(why, ERR_INVALID, "%s: what stands in brackets is no IPv6 address", where);
    if (behind.len == 0)
        return ERR_OK;
    if (behind.ptr[0] != ':')
        return err_fail(why, ERR_INVALID, "%s: only a port may follow the ]", where);
    return read_port(url, part(behind, 1, behind.len), where, why);
}

/* @text: [user[:password]@][host][:port] */
static enum err read_authority(struct config_url *url, struct slice text, const char *where,
                               struct err_text *why)
{
    size_t at = text.len;
    while (at > 0 && text.ptr[at - 1] != '@')
        at--;
    if (at > 0) {
        url->username = cut(part(text, 0, at - 1), ':', &url->password);
        decode(url, &url->username);
        decode(url, &url->password);
    }
    text = part(text, at, text.len);
    if (url->scheme == CONFIG_UNIX) /* has no host; redis-py overlooks one */
        return ERR_OK;
    enum err err = ERR_OK;
    if (text.len > 0 && text.ptr[0] == '[') {
        err = read_bracketed(url, text, where, why);
    } else {
        struct slice port = {0};
        url->host = cut(text, ':', &port);
        err = read_port(url, port, where, why);
    }
    for (size_t i = 0; i < url->host.len && url->host.ptr[i] != '%'; i++) {
        uint8_t *letter = url->memory + (url->host.ptr - url->memory) + i;
        if (*letter >= 'A' && *letter <= 'Z')
            *letter = (uint8_t)(*letter - 'A' + 'a');
    }
    decode(url, &url->host);
    return err;
}

static bool has_argument(const struct config_url *url, struct slice name)
{
    for (size_t i = 0; i < url->argument_count; i++) {
        if (slice_eq(url->arguments[i].name, name))
            return true;
    }
    return false;
}

static void decode_argument(struct config_url *url, struct slice *text)
{
    for (size_t i = 0; i < text->len; i++) {
        if (text->ptr[i] == '+')
            url->memory[(size_t)(text->ptr - url->memory) + i] = ' ';
    }
    decode(url, text);
}

static enum err read_arguments(struct config_url *url, struct slice query, const char *where,
                               struct err_text *why)
{
    while (query.len > 0) {
        struct slice value = {0};
        const struct slice pair = cut(query, '&', &query);
        struct slice name = cut(pair, '=', &value);
        if (value.len == 0)
            continue;
        decode_argument(url, &name);
        decode_argument(url, &value);
        if (has_argument(url, name))
            continue;
        if (url->argument_count == CONFIG_URL_ARGS_MAX)
            return err_fail(why, ERR_INVALID, "%s: the URL has more than %d arguments", where,
                            CONFIG_URL_ARGS_MAX);
        url->arguments[url->argument_count++] =
            (struct config_argument){.name = name, .value = value};
    }
    return ERR_OK;
}

enum err config_url_parse(struct config_url *out, struct slice text, const char *where,
                          struct err_text *why)
{
    if (text.len > CONFIG_URL_MAX)
        return err_fail(why, ERR_INVALID, "%s: the URL is longer than %d bytes", where,
                        CONFIG_URL_MAX);
    struct config_url url = {.memory = mem_try(text.len)};
    if (url.memory == NULL)
        return err_fail(why, ERR_NOMEM, "%s: no memory", where);
    copy_without_blanks(&url, text);
    struct slice rest = slice_make(url.memory, url.memory_len);
    enum err err = read_scheme(&url, &rest, where, why);
    if (err == ERR_OK) {
        const size_t end = find_any(rest, "/?#");
        const struct slice authority = part(rest, 0, end);
        struct slice ignored;
        struct slice query = {0};
        rest = part(rest, end, rest.len);
        url.has_stray_at = find_any(rest, "@") < rest.len;
        url.path = cut(cut(rest, '#', &ignored), '?', &query);
        decode(&url, &url.path);
        err = read_authority(&url, authority, where, why);
        if (err == ERR_OK)
            err = read_arguments(&url, query, where, why);
    }
    if (err != ERR_OK)
        config_url_deinit(&url);
    else
        *out = url;
    return err;
}

void config_url_deinit(struct config_url *url)
{
    if (url->memory != NULL)
        OPENSSL_cleanse(url->memory, url->memory_len);
    mem_free(url->memory);
    *url = (struct config_url){0};
}
