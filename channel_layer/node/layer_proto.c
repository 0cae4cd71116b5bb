/* SPDX-License-Identifier: BSD-3-Clause
 *
 * A record is read by the list of its items: each op has a text with a letter for each of them. A
 * record that is not whole yet is read again from its beginning when more has come; that costs its
 * few items, never its bytes, because the content of a str or bin is skipped by its length and
 * checked once it is there.
 */
#include "channel_layer/node/layer_proto.h"

#include <string.h>

#include "core/text.h"

/* l layer, r req, R req or nil, u number, p pid, n name, N name or nil, c channel, b body, f flag,
 * a bases. */
static const char *const items_of[LAYER_OPS] = {
    [LAYER_HELLO] = "upn",      [LAYER_OPEN] = "lrna",
    [LAYER_SEND] = "lrnb",      [LAYER_GROUP_SEND] = "lrnb",
    [LAYER_JOIN] = "lrn",       [LAYER_LEAVE] = "lrn",
    [LAYER_GROUP_ADD] = "lrnc", [LAYER_GROUP_DISCARD] = "lRnc",
    [LAYER_RECEIVE] = "lrn",    [LAYER_CANCEL] = "lr",
    [LAYER_TAKEN] = "lr",       [LAYER_RETURN] = "lr",
    [LAYER_MAILBOX] = "lrn",    [LAYER_ACCEPTED] = "luf",
    [LAYER_DROPPED] = "luN",    [LAYER_FLUSH] = "lr",
    [LAYER_PING] = "r",         [LAYER_GROUPS] = "lr",
    [LAYER_STATS] = "lr",       [LAYER_LISTEN] = "n",
};

/* First bytes. */
enum {
    FIXINT_LAST = 0x7f,
    FIXARRAY = 0x90,
    FIXARRAY_LAST = 0x9f,
    FIXSTR = 0xa0,
    FIXSTR_LAST = 0xbf,
    NIL = 0xc0,
    FALSE_BYTE = 0xc2,
    TRUE_BYTE = 0xc3,
    BIN8 = 0xc4,
    BIN32 = 0xc6,
    UINT8 = 0xcc,
    UINT64 = 0xcf,
    STR8 = 0xd9,
    STR32 = 0xdb,
    ARRAY16 = 0xdc,
};

struct scan {
    const uint8_t *at;
    const uint8_t *end;
};

static size_t left(const struct scan *s)
{
    return (size_t)(s->end - s->at);
}

/* The big-endian number of @count bytes behind the first byte. */
static enum pack_scan scan_be(struct scan *s, size_t count, uint64_t *out)
{
    uint64_t value = 0;
    if (left(s) < 1 + count)
        return PACK_MORE;
    for (size_t i = 1; i <= count; i++)
        value = value << 8 | s->at[i];
    s->at += 1 + count;
    *out = value;
    return PACK_DONE;
}

static enum pack_scan scan_uint(struct scan *s, uint64_t *out)
{
    if (left(s) == 0)
        return PACK_MORE;
    const uint8_t first = *s->at;
    if (first <= FIXINT_LAST) {
        *out = first;
        s->at++;
        return PACK_DONE;
    }
    if (first < UINT8 || first > UINT64)
        return PACK_BROKEN;
    return scan_be(s, (size_t)1 << (first - UINT8), out);
}

static enum pack_scan scan_bool(struct scan *s, bool *out)
{
    if (left(s) == 0)
        return PACK_MORE;
    if (*s->at != FALSE_BYTE && *s->at != TRUE_BYTE)
        return PACK_BROKEN;
    *out = *s->at++ == TRUE_BYTE;
    return PACK_DONE;
}

/* @bytes of content, at most @most. */
static enum pack_scan scan_content(struct scan *s, uint64_t bytes, size_t most, struct slice *out)
{
    if (bytes > most)
        return PACK_BROKEN;
    if (left(s) < bytes)
        return PACK_MORE;
    *out = slice_make(s->at, (size_t)bytes);
    s->at += bytes;
    return PACK_DONE;
}

static enum pack_scan scan_str(struct scan *s, struct slice *out)
{
    uint64_t bytes = 0;
    if (left(s) == 0)
        return PACK_MORE;
    const uint8_t first = *s->at;
    if (first >= FIXSTR && first <= FIXSTR_LAST) {
        bytes = first - FIXSTR;
        s->at++;
    } else if (first >= STR8 && first <= STR32) {
        const enum pack_scan scan = scan_be(s, (size_t)1 << (first - STR8), &bytes);
        if (scan != PACK_DONE)
            return scan;
    } else {
        return PACK_BROKEN;
    }
    const enum pack_scan scan = scan_content(s, bytes, LAYER_TEXT_MAX, out);
    if (scan != PACK_DONE)
        return scan;
    return utf8_is_valid(out->ptr, out->len) ? PACK_DONE : PACK_BROKEN;
}

static enum pack_scan scan_bin(struct scan *s, struct slice *out)
{
    uint64_t bytes = 0;
    if (left(s) == 0)
        return PACK_MORE;
    const uint8_t first = *s->at;
    if (first < BIN8 || first > BIN32)
        return PACK_BROKEN;
    const enum pack_scan scan = scan_be(s, (size_t)1 << (first - BIN8), &bytes);
    return scan == PACK_DONE ? scan_content(s, bytes, LAYER_BODY_MAX, out) : scan;
}

static enum pack_scan scan_bases(struct scan *s, struct layer_record *out)
{
    uint64_t count = 0;
    if (left(s) == 0)
        return PACK_MORE;
    if (*s->at >= FIXARRAY && *s->at <= FIXARRAY_LAST) {
        count = *s->at++ - FIXARRAY;
    } else if (*s->at == ARRAY16) {
        const enum pack_scan scan = scan_be(s, 2, &count);
        if (scan != PACK_DONE)
            return scan;
    } else {
        return PACK_BROKEN;
    }
    if (count > LAYER_BASES_MAX)
        return PACK_BROKEN;
    for (uint64_t i = 0; i < count; i++) {
        const enum pack_scan scan = scan_str(s, &out->bases[i]);
        if (scan != PACK_DONE)
            return scan;
    }
    out->base_count = (size_t)count;
    return PACK_DONE;
}

/* Steps over a nil. */
static bool take_nil(struct scan *s)
{
    if (left(s) == 0 || *s->at != NIL)
        return false;
    s->at++;
    return true;
}

static enum pack_scan scan_layer(struct scan *s, struct layer_record *out)
{
    uint64_t number = 0;
    const enum pack_scan scan = scan_uint(s, &number);
    if (scan == PACK_DONE && number >= LAYER_NUMBER_MAX)
        return PACK_BROKEN;
    out->layer = (uint32_t)number;
    return scan;
}

static enum pack_scan scan_item(struct scan *s, char item, struct layer_record *out,
                                const char **what)
{
    switch (item) {
    case 'l':
        *what = "layer";
        return scan_layer(s, out);
    case 'R':
        return take_nil(s) ? PACK_DONE : scan_item(s, 'r', out, what);
    case 'r':
        *what = "req";
        out->has_req = true;
        return scan_uint(s, &out->req);
    case 'u':
        *what = "number";
        return scan_uint(s, &out->number);
    case 'p':
        *what = "pid";
        return scan_uint(s, &out->pid);
    case 'N':
        return take_nil(s) ? PACK_DONE : scan_item(s, 'n', out, what);
    case 'n':
        *what = "text";
        out->has_name = true;
        return scan_str(s, &out->name);
    case 'c':
        *what = "channel";
        return scan_str(s, &out->channel);
    case 'b':
        *what = "body";
        return scan_bin(s, &out->body);
    case 'f':
        *what = "flag";
        return scan_bool(s, &out->flag);
    default: /* 'a' */
        *what = "bases";
        return scan_bases(s, out);
    }
}

enum pack_scan layer_record_scan(struct layer_record *out, size_t *used, const char **what,
                                 const uint8_t *in, size_t len)
{
    struct scan s = {.at = in, .end = in + len};
    uint64_t op = 0;
    *what = "array";
    if (len == 0)
        return PACK_MORE;
    if (*in < FIXARRAY || *in > FIXARRAY_LAST)
        return PACK_BROKEN;
    s.at++;
    *what = "operation";
    enum pack_scan scan = scan_uint(&s, &op);
    if (scan != PACK_DONE)
        return scan;
    if (op >= LAYER_OPS)
        return PACK_BROKEN;
    const char *items = items_of[op];
    *what = "number of items";
    if ((size_t)(*in - FIXARRAY) != 1 + strlen(items))
        return PACK_BROKEN;
    *out = (struct layer_record){.op = (enum layer_op)op};
    for (; *items != '\0'; items++) {
        scan = scan_item(&s, *items, out, what);
        if (scan != PACK_DONE)
            return scan;
    }
    *used = (size_t)(s.at - in);
    *what = "length";
    return *used <= LAYER_RECORD_MAX ? PACK_DONE : PACK_BROKEN;
}

/* ---- towards the peer ---- */

unsigned layer_reply_code(enum err err)
{
    switch ((int)err) {
    case ERR_OK:
        return 0;
    case ERR_FULL:
        return 1;
    case ERR_INVALID:
    case ERR_TOO_BIG:
        return 2;
    case ERR_UNAVAILABLE:
        return 3;
    case ERR_TIMEOUT:
        return 4;
    case ERR_CLOSED:
        return 5;
    case ERR_UNSUPPORTED:
        return 6;
    default:
        return 7;
    }
}

static uint8_t *write_head(uint8_t *out, uint32_t items, enum layer_told_op op)
{
    return pack_uint(pack_array(out, items), op);
}

uint8_t *layer_write_hello(uint8_t *out, uint64_t pid)
{
    return pack_uint(pack_uint(write_head(out, 3, LAYER_TOLD_HELLO), LAYER_VERSION), pid);
}

uint8_t *layer_write_reply_head(uint8_t *out, uint64_t req, enum err err)
{
    out = pack_uint(write_head(out, 4, LAYER_TOLD_REPLY), req);
    return pack_uint(out, layer_reply_code(err));
}

uint8_t *layer_write_message_head(uint8_t *out, uint32_t layer, uint64_t req, size_t body_len)
{
    out = pack_uint(write_head(out, 4, LAYER_TOLD_MESSAGE), layer);
    return pack_bin_header(pack_uint(out, req), (uint32_t)body_len);
}

uint8_t *layer_write_member(uint8_t *out, enum layer_told_op op, uint32_t layer, struct slice group,
                            struct slice channel)
{
    out = pack_uint(write_head(out, 4, op), layer);
    return pack_str(pack_str(out, group), channel);
}

uint8_t *layer_write_flushed(uint8_t *out, uint32_t layer)
{
    return pack_uint(write_head(out, 2, LAYER_TOLD_FLUSHED), layer);
}

size_t layer_deliver_bound(const struct layer_delivery *delivery)
{
    size_t bound = LAYER_HEAD_MAX;
    for (size_t i = 0; i < delivery->group_count; i++)
        bound += PACK_HEADER_MAX + delivery->groups[i].len;
    for (size_t i = 0; i < delivery->channel_count; i++)
        bound += PACK_HEADER_MAX + delivery->channels[i].len;
    return bound;
}

static uint8_t *write_names(uint8_t *out, const struct slice *names, size_t count)
{
    out = pack_array(out, (uint32_t)count);
    for (size_t i = 0; i < count; i++)
        out = pack_str(out, names[i]);
    return out;
}

uint8_t *layer_write_deliver_head(uint8_t *out, uint32_t layer,
                                  const struct layer_delivery *delivery)
{
    out = pack_uint(write_head(out, 6, LAYER_TOLD_DELIVER), layer);
    out = delivery->ticket != 0 ? pack_uint(out, delivery->ticket) : pack_nil(out);
    out = write_names(out, delivery->groups, delivery->group_count);
    out = write_names(out, delivery->channels, delivery->channel_count);
    return pack_bin_header(out, (uint32_t)delivery->body.len);
}

/* ---- rare records, whose size nobody knows beforehand ---- */

static enum err append_packed(struct buf *out, const uint8_t *from, const uint8_t *end)
{
    return buf_append(out, from, (size_t)(end - from));
}

static enum err append_uint(struct buf *out, uint64_t value)
{
    uint8_t bytes[PACK_UINT_MAX];
    return append_packed(out, bytes, pack_uint(bytes, value));
}

static enum err append_str(struct buf *out, struct slice text)
{
    uint8_t bytes[PACK_HEADER_MAX];
    const enum err err = append_packed(out, bytes, pack_str_header(bytes, (uint32_t)text.len));
    return err == ERR_OK ? buf_append(out, text.ptr, text.len) : err;
}

static enum err append_array(struct buf *out, size_t count)
{
    uint8_t bytes[PACK_HEADER_MAX];
    return append_packed(out, bytes, pack_array(bytes, (uint32_t)count));
}

enum err layer_append_pair(struct buf *out, struct slice name, uint64_t number)
{
    enum err err = append_array(out, 2);
    if (err == ERR_OK)
        err = append_str(out, name);
    return err == ERR_OK ? append_uint(out, number) : err;
}

static enum err append_settings(struct buf *out, const struct layer_config *config)
{
    static const char *const backends[] = {
        [LAYER_MEMORY] = "memory", [LAYER_REDIS] = "redis", [LAYER_PUBSUB] = "pubsub"};
    static const char *const serializers[] = {[LAYER_MSGPACK] = "msgpack", [LAYER_JSON] = "json"};
    const struct pattern_table *capacities = &config->capacities;
    enum err err = append_array(out, 8);
    if (err == ERR_OK)
        err = append_str(out, slice_str(backends[config->backend]));
    if (err == ERR_OK)
        err = append_str(out, slice_str(serializers[config->serializer]));
    if (err == ERR_OK)
        err = append_str(out, slice_str(config->prefix));
    if (err == ERR_OK)
        err = append_uint(out, config->expiry_s);
    if (err == ERR_OK)
        err = append_uint(out, config->group_expiry_s);
    if (err == ERR_OK)
        err = append_uint(out, config->capacity);
    if (err == ERR_OK)
        err = append_array(out, capacities->count);
    for (size_t i = 0; err == ERR_OK && i < capacities->count; i++)
        err = layer_append_pair(out, slice_str(capacities->entries[i].pattern),
                                capacities->entries[i].number);
    return err == ERR_OK ? append_uint(out, config->timeout_ms) : err;
}

enum err layer_append_opened(struct buf *out, uint32_t layer, uint64_t req, const char *base,
                             const struct layer_config *config)
{
    uint8_t head[LAYER_HEAD_MAX];
    uint8_t *end = write_head(head, 5, LAYER_TOLD_OPENED);
    end = pack_uint(pack_uint(end, layer), req);
    enum err err = append_packed(out, head, end);
    if (err == ERR_OK)
        err = append_str(out, slice_str(base));
    return err == ERR_OK ? append_settings(out, config) : err;
}
