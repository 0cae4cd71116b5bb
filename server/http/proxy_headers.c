/* SPDX-License-Identifier: BSD-3-Clause */
#include "server/http/proxy_headers.h"

#include "core/text.h"

#include <string.h>

/* Unlike text_list_next(), an empty first element is an element: Daphne takes it, too. */
static struct slice first_element(struct slice value)
{
    const uint8_t *comma = value.len > 0 ? memchr(value.ptr, ',', value.len) : NULL;
    if (comma != NULL)
        value.len = (size_t)(comma - value.ptr);
    return text_trim(value);
}

static uint16_t port_parse(struct slice text)
{
    uint32_t port = 0;
    text = text_trim(text);
    for (size_t i = 0; i < text.len; i++) {
        if (text.ptr[i] < '0' || text.ptr[i] > '9')
            return 0;
        port = port * 10 + (text.ptr[i] - (uint32_t)'0');
        if (port > UINT16_MAX)
            return 0;
    }
    return (uint16_t)port;
}

/* What @proto means as the scheme of @type; empty when it can be none. */
static struct slice scheme_parse(struct slice proto, enum scope_type type)
{
    static const struct {
        const char *proto;
        const char *http;
        const char *websocket;
    } known[] = {
        {"http", "http", "ws"},
        {"https", "https", "wss"},
        {"ws", "ws", "ws"},
        {"wss", "wss", "wss"},
    };
    for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
        if (text_eq_nocase(proto, known[i].proto))
            return slice_str(type == SCOPE_WEBSOCKET ? known[i].websocket : known[i].http);
    }
    return text_is_token(proto) ? proto : (struct slice){0};
}

void proxy_headers_apply(struct scope *scope, const struct proxy_headers_names *names)
{
    const struct header *headers = scope->headers;
    const size_t count = scope->header_count;

    const struct slice *addr_field = header_find(headers, count, names->addr);
    if (addr_field == NULL)
        return;
    const struct slice addr = first_element(*addr_field);
    if (addr.len == 0 || !utf8_is_valid(addr.ptr, addr.len))
        return;
    scope->client = (struct scope_addr){.host = addr, .has_port = true};

    const struct slice *port = header_find(headers, count, names->port);
    if (port != NULL)
        scope->client.port = port_parse(*port);

    const struct slice *proto = header_find(headers, count, "x-forwarded-proto");
    if (proto == NULL)
        return;
    const struct slice scheme = scheme_parse(first_element(*proto), scope->type);
    if (scheme.len > 0)
        scope->scheme = scheme;
}

size_t proxy_headers_take_root_path(struct header *headers, size_t count, struct slice *raw)
{
    size_t kept = 0;
    *raw = (struct slice){0};
    for (size_t i = 0; i < count; i++) {
        if (slice_eq_str(headers[i].name, "daphne-root-path"))
            *raw = headers[i].value;
        else
            headers[kept++] = headers[i];
    }
    return kept;
}

bool proxy_headers_decode_root_path(struct slice *out, uint8_t *room, struct slice raw)
{
    for (size_t i = 0; i < raw.len; i++) {
        if (raw.ptr[i] >= 0x80)
            return false;
    }
    const size_t len = text_percent_decode(room, raw.ptr, raw.len);
    if (!utf8_is_valid(room, len))
        return false;
    *out = slice_make(room, len);
    return true;
}
