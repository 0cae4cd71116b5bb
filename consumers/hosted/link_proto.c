/* SPDX-License-Identifier: BSD-3-Clause */
#include "consumers/hosted/link_proto.h"

#include "core/text.h"

uint8_t *link_write_hello(uint8_t *out, uint32_t loop_index)
{
    out = pack_array(out, 3);
    out = pack_uint(out, LINK_HELLO);
    out = pack_uint(out, LINK_VERSION);
    return pack_uint(out, loop_index);
}

static uint8_t *write_head(uint8_t *out, uint32_t items, enum link_op op, uint64_t id)
{
    out = pack_array(out, items);
    out = pack_uint(out, op);
    return pack_uint(out, id);
}

uint8_t *link_write_disconnect_head(uint8_t *out, uint64_t id, bool has_code, uint16_t code,
                                    size_t reason_len)
{
    out = write_head(out, 4, LINK_DISCONNECT, id);
    out = has_code ? pack_uint(out, code) : pack_nil(out);
    return pack_str_header(out, (uint32_t)reason_len);
}

uint8_t *link_write_credit(uint8_t *out, uint64_t id, uint64_t bytes)
{
    return pack_uint(write_head(out, 3, LINK_CREDIT, id), bytes);
}

uint8_t *link_write_beat(uint8_t *out, uint64_t number)
{
    return write_head(out, 2, LINK_BEAT, number);
}

uint8_t *link_write_shutdown(uint8_t *out, uint64_t grace_ms)
{
    return write_head(out, 2, LINK_SHUTDOWN, grace_ms);
}

uint8_t *link_write_body_head(uint8_t *out, uint64_t id, size_t len)
{
    return pack_bin_header(write_head(out, 4, LINK_BODY, id), (uint32_t)len);
}

uint8_t *link_write_body_tail(uint8_t *out, bool more)
{
    return pack_bool(out, more);
}

uint8_t *link_write_receive_head(uint8_t *out, uint64_t id, bool is_text, size_t len)
{
    out = write_head(out, 3, LINK_RECEIVE, id);
    return is_text ? pack_str_header(out, (uint32_t)len) : pack_bin_header(out, (uint32_t)len);
}

uint8_t *link_write_part_head(uint8_t *out, uint64_t id, size_t len)
{
    return pack_bin_header(write_head(out, 5, LINK_PART, id), (uint32_t)len);
}

uint8_t *link_write_part_tail(uint8_t *out, bool is_text, bool last)
{
    return pack_bool(pack_bool(out, is_text), last);
}

size_t link_open_bound(const struct scope *scope, const struct slice *subprotocols,
                       size_t subprotocol_count)
{
    size_t bound = 128 + scope->method.len + scope->scheme.len + scope->path.len +
                   scope->raw_path.len + scope->query.len + scope->root_path.len +
                   scope->client.host.len + scope->server.host.len;
    for (size_t i = 0; i < scope->header_count; i++)
        bound += scope->headers[i].name.len + scope->headers[i].value.len + PACK_HEADER_MAX +
                 PACK_HEADER_MAX + 1;
    for (size_t i = 0; i < subprotocol_count; i++)
        bound += subprotocols[i].len + PACK_HEADER_MAX;
    return bound;
}

static uint8_t *write_addr(uint8_t *out, const struct scope_addr *addr)
{
    if (addr->host.len == 0)
        return pack_nil(out);
    out = pack_array(out, 2);
    out = pack_str(out, addr->host);
    return addr->has_port ? pack_uint(out, addr->port) : pack_nil(out);
}

uint8_t *link_write_open(uint8_t *out, uint64_t id, const struct scope *scope,
                         const struct slice *subprotocols, size_t subprotocol_count,
                         size_t body_len)
{
    const bool http = scope->type == SCOPE_HTTP;
    out = http ? write_head(out, 14, LINK_HTTP, id) : write_head(out, 12, LINK_WEBSOCKET, id);
    out = pack_str(out, scope->http_version);
    if (http)
        out = pack_str(out, scope->method);
    out = pack_str(out, scope->scheme);
    /* A str must be UTF-8; the worker decodes anything else with replacement, as Python's unquote()
     * does. */
    if (utf8_is_valid(scope->path.ptr, scope->path.len))
        out = pack_str(out, scope->path);
    else
        out = pack_bin(out, scope->path);
    out = pack_bin(out, scope->raw_path);
    out = pack_bin(out, scope->query);
    out = pack_str(out, scope->root_path);
    out = pack_array(out, (uint32_t)scope->header_count);
    for (size_t i = 0; i < scope->header_count; i++) {
        out = pack_array(out, 2);
        out = pack_bin(out, scope->headers[i].name);
        out = pack_bin(out, scope->headers[i].value);
    }
    out = write_addr(out, &scope->client);
    out = write_addr(out, &scope->server);
    if (http)
        return pack_bin_header(out, (uint32_t)body_len);
    out = pack_array(out, (uint32_t)subprotocol_count);
    for (size_t i = 0; i < subprotocol_count; i++)
        out = pack_str(out, subprotocols[i]);
    return out;
}

/* str or bin: the type byte tells which kind of message it is. */
static bool next_is_str(const struct pack_reader *r)
{
    if (r->at == r->end)
        return false;
    const uint8_t type = *r->at;
    return (type & 0xe0U) == 0xa0U || (type >= 0xd9U && type <= 0xdbU);
}

static enum err read_headers(struct link_answer *out, struct header *headers, struct pack_reader *r)
{
    const uint32_t count = pack_read_array(r);
    if (count > LINK_HEADERS_MAX)
        return ERR_PROTO;
    for (uint32_t i = 0; i < count; i++) {
        if (pack_read_array(r) != 2)
            return ERR_PROTO;
        headers[i].name = pack_read_bytes(r);
        headers[i].value = pack_read_bytes(r);
    }
    out->header_count = count;
    return ERR_OK;
}

/* Steps over the ids, so that whoever reads them later need not look for failures. */
static void read_ids(struct link_answer *out, struct pack_reader *r)
{
    out->id_count = pack_read_array(r);
    out->ids = *r;
    for (uint32_t i = 0; i < out->id_count && !r->failed; i++)
        (void)pack_read_uint(r);
}

static const uint32_t answer_items[LINK_ANSWER_OPS] = {
    [LINK_READY] = 3,       [LINK_START] = 6,       [LINK_ANSWER_BODY] = 4, [LINK_ACCEPT] = 4,
    [LINK_SEND] = 3,        [LINK_ANSWER_PART] = 5, [LINK_CLOSE] = 4,       [LINK_CONSUMED] = 4,
    [LINK_BEAT_ANSWER] = 2, [LINK_END] = 3,         [LINK_SEND_MANY] = 3,
};

static enum err read_items(struct link_answer *out, struct header *headers, struct pack_reader *r)
{
    bool is_nil = false;
    enum err err = ERR_OK;
    switch (out->op) {
    case LINK_READY:
        out->number = pack_read_uint(r);
        out->id = pack_read_uint(r);
        return ERR_OK;
    case LINK_BEAT_ANSWER:
        out->id = pack_read_uint(r);
        return ERR_OK;
    case LINK_START:
        out->id = pack_read_uint(r);
        out->number = pack_read_uint(r);
        err = read_headers(out, headers, r);
        out->data = pack_read_bytes(r);
        out->flag = pack_read_bool(r);
        return err;
    case LINK_ANSWER_BODY:
        out->id = pack_read_uint(r);
        out->data = pack_read_bytes(r);
        out->flag = pack_read_bool(r);
        return ERR_OK;
    case LINK_ACCEPT:
        out->id = pack_read_uint(r);
        out->data = pack_read_bytes_or_nil(r, &is_nil);
        return read_headers(out, headers, r);
    case LINK_SEND:
        out->id = pack_read_uint(r);
        out->is_text = next_is_str(r);
        out->data = pack_read_bytes(r);
        return ERR_OK;
    case LINK_ANSWER_PART:
        out->id = pack_read_uint(r);
        out->data = pack_read_bytes(r);
        out->is_text = pack_read_bool(r);
        out->flag = pack_read_bool(r);
        return ERR_OK;
    case LINK_CLOSE:
        out->id = pack_read_uint(r);
        out->number = pack_read_uint(r);
        out->data = pack_read_bytes(r);
        return ERR_OK;
    case LINK_CONSUMED:
        out->id = pack_read_uint(r);
        out->number = pack_read_uint(r);
        out->count = pack_read_uint(r);
        return ERR_OK;
    case LINK_END:
        out->id = pack_read_uint(r);
        out->flag = pack_read_bool(r);
        return ERR_OK;
    case LINK_SEND_MANY:
        read_ids(out, r);
        out->is_text = next_is_str(r);
        out->data = pack_read_bytes(r);
        return ERR_OK;
    case LINK_ANSWER_OPS:
        break;
    }
    return ERR_PROTO;
}

enum err link_read_answer(struct link_answer *out, struct header *headers, const uint8_t *in,
                          size_t len)
{
    struct pack_reader r;
    pack_reader_init(&r, in, len);
    const uint32_t items = pack_read_array(&r);
    const uint64_t op = pack_read_uint(&r);
    if (r.failed || op >= LINK_ANSWER_OPS || items != answer_items[op])
        return ERR_PROTO;
    *out = (struct link_answer){.op = (enum link_answer_op)op};
    const enum err err = read_items(out, headers, &r);
    if (err != ERR_OK || r.failed || r.at != r.end || out->data.len > LINK_PAYLOAD_MAX)
        return ERR_PROTO;
    return ERR_OK;
}
