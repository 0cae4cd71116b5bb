/* SPDX-License-Identifier: BSD-3-Clause */
#include "channel_layer/wire/wire_body.h"
#include "core/pack.h"
#include "core/text.h"

#include <assert.h>
#include <string.h>

enum {
    KEY_LEN = sizeof(WIRE_KEY) - 1,
    EXT_TIMESTAMP = 0xff, /* the type -1 */
    NANOSECONDS_MAX = 999999999,
};

/* A position in a body. */
struct walk {
    const uint8_t *begin;
    const uint8_t *at;
    const uint8_t *end;
    struct err_text *why;
};

static enum err refuse(const struct walk *w, const char *reason)
{
    return err_fail(w->why, ERR_INVALID, "msgpack at byte %zu: %s", (size_t)(w->at - w->begin),
                    reason);
}

static uint32_t read_u32(const uint8_t *in)
{
    return (uint32_t)in[0] << 24 | (uint32_t)in[1] << 16 | (uint32_t)in[2] << 8 | in[3];
}

/* What Python takes: types of an application (0 to 127) and timestamps of 32, 64 and 96 bits. */
static bool is_good_ext(const uint8_t *content, uint64_t len)
{
    const uint8_t type = content[-1];
    if (type < 0x80)
        return true;
    if (type != EXT_TIMESTAMP)
        return false;
    if (len == 4)
        return true;
    return (len == 8 && read_u32(content) >> 2 <= NANOSECONDS_MAX) ||
           (len == 12 && read_u32(content) <= NANOSECONDS_MAX);
}

/* Reads the item at the position, goes behind its header and content. */
static enum err take_item(struct walk *w, struct pack_item *item)
{
    const size_t left = (size_t)(w->end - w->at);
    const enum pack_scan found = pack_scan_item(item, w->at, left);
    if (found == PACK_BROKEN)
        return refuse(w, "0xc1, which msgpack never uses");
    /* Items are at least a byte each: a count that the bytes cannot hold is refused at once. */
    if (found == PACK_MORE || item->header > left || item->content > left - item->header ||
        item->items > left - item->header)
        return refuse(w, "cut short");
    const uint8_t *content = w->at + item->header;
    if (item->kind == PACK_STR && !utf8_is_valid(content, (size_t)item->content))
        return refuse(w, "a str that is no valid UTF-8");
    if (item->kind == PACK_EXT && !is_good_ext(content, item->content))
        return refuse(w, "an ext type that Python refuses");
    w->at = content + item->content;
    return ERR_OK;
}

static enum err take_key(struct walk *w, struct pack_item *item)
{
    const struct walk before = *w;
    const enum err err = take_item(w, item);
    if (err == ERR_OK && item->kind != PACK_STR && item->kind != PACK_BIN)
        return refuse(&before, "a map key that is neither str nor bin");
    return err;
}

/* Goes behind one value. @max_depth: containers that it may consist of, one in the other. */
static enum err take_value(struct walk *w, unsigned max_depth)
{
    /* Items that each open container lacks, and whether it is a map: then even numbers mean a key.
     * Their counts fit: a body has fewer than 2^25 bytes. */
    enum { IN_MAP = 1 << 30 };
    uint32_t left[WIRE_READ_DEPTH_MAX];
    unsigned depth = 0;

    assert(max_depth <= WIRE_READ_DEPTH_MAX);
    do {
        struct pack_item item;
        const bool is_key = depth > 0 && (left[depth - 1] & (IN_MAP | 1U)) == IN_MAP;
        const struct walk before = *w;
        const enum err err = is_key ? take_key(w, &item) : take_item(w, &item);
        if (err != ERR_OK)
            return err;
        if (depth > 0)
            left[depth - 1]--;
        if (item.kind >= PACK_ARRAY) {
            if (depth == max_depth)
                return refuse(&before, "nested too deeply");
            left[depth++] = (uint32_t)item.items | (item.kind == PACK_MAP ? (uint32_t)IN_MAP : 0);
        }
        while (depth > 0 && (left[depth - 1] & ~(uint32_t)IN_MAP) == 0)
            depth--;
    } while (depth > 0);
    return ERR_OK;
}

/* Begins a walk over a body; *@count: entries of its map. */
static enum err begin(struct walk *w, struct slice body, uint32_t *count, struct err_text *why)
{
    struct pack_item item;
    *w = (struct walk){
        .begin = body.ptr,
        .at = body.ptr,
        .end = body.len > 0 ? body.ptr + body.len : body.ptr,
        .why = why,
    };
    const struct walk before = *w;
    if (body.len == 0)
        return refuse(w, "empty");
    const enum err err = take_item(w, &item);
    if (err == ERR_OK && item.kind != PACK_MAP)
        return refuse(&before, "no map");
    if (err == ERR_OK)
        *count = (uint32_t)(item.items / 2);
    return err;
}

/* An entry of the outermost map. */
struct entry {
    const uint8_t *key;
    const uint8_t *value;
    bool is_names; /* the key is __asgi_channel__ */
};

static enum err take_entry(struct walk *w, struct entry *entry, unsigned max_depth)
{
    struct pack_item key;
    entry->key = w->at;
    const enum err err = take_key(w, &key);
    if (err != ERR_OK)
        return err;
    entry->value = w->at;
    entry->is_names = key.kind == PACK_STR && key.content == KEY_LEN &&
                      memcmp(w->at - KEY_LEN, WIRE_KEY, KEY_LEN) == 0;
    return take_value(w, max_depth);
}

static enum err end(const struct walk *w)
{
    return w->at == w->end ? ERR_OK : refuse(w, "something follows the message");
}

enum err wire_msgpack_check(struct slice body, struct err_text *why)
{
    struct walk w;
    uint32_t count = 0;
    enum err err = begin(&w, body, &count, why);
    for (uint32_t i = 0; i < count && err == ERR_OK; i++) {
        struct entry entry;
        err = take_entry(&w, &entry, WIRE_DEPTH_MAX);
        if (err == ERR_OK && entry.is_names)
            return err_fail(why, ERR_INVALID, "a message may not have the key " WIRE_KEY);
    }
    return err == ERR_OK ? end(&w) : err;
}

/* ---- writing ---- */

static size_t str_size(struct slice text)
{
    const size_t header = text.len <= 31           ? 1U
                          : text.len <= UINT8_MAX  ? 2U
                          : text.len <= UINT16_MAX ? 3U
                                                   : 5U;
    return header + text.len;
}

static size_t count_size(size_t count)
{
    return count <= 15 ? 1U : count <= UINT16_MAX ? 3U : 5U;
}

/* The map of a body: how many entries, and the bytes of its header. */
static bool read_map(struct slice body, uint32_t *count, size_t *header)
{
    struct pack_item item;
    if (pack_scan_item(&item, body.ptr, body.len) != PACK_DONE || item.kind != PACK_MAP ||
        item.items > body.len - item.header)
        return false;
    *count = (uint32_t)(item.items / 2);
    *header = item.header;
    return true;
}

enum err wire_msgpack_size(size_t *size, const struct wire_splice *splice)
{
    const struct wire_to *to = splice->to;
    uint32_t entries = 0;
    size_t header = 0;

    if (!read_map(splice->body, &entries, &header))
        return ERR_INVALID;
    if (to->count > WIRE_MEMBER_MAX)
        return ERR_TOO_BIG;
    size_t sum = splice->body.len - header + count_size((size_t)entries + 1) + 1 + KEY_LEN;
    if (to->kind == WIRE_NAME_LIST)
        sum += count_size(to->count);
    for (size_t i = 0; i < to->count; i++) {
        if (sum > WIRE_MEMBER_MAX || to->names[i].len > WIRE_MEMBER_MAX)
            return ERR_TOO_BIG;
        sum += str_size(to->names[i]);
    }
    *size = sum;
    return sum > WIRE_MEMBER_MAX ? ERR_TOO_BIG : ERR_OK;
}

uint8_t *wire_msgpack_write(uint8_t *out, const struct wire_splice *splice)
{
    const struct wire_to *to = splice->to;
    uint32_t entries = 0;
    size_t header = 0;

    const bool is_map = read_map(splice->body, &entries, &header);
    assert(is_map); /* wire_msgpack_size() has seen it */
    out = pack_map(out, entries + 1);
    memcpy(out, splice->body.ptr + header, splice->body.len - header);
    out = pack_str(out + (splice->body.len - header), slice_str(WIRE_KEY));
    if (to->kind == WIRE_NAME_LIST)
        out = pack_array(out, (uint32_t)to->count);
    for (size_t i = 0; i < to->count; i++)
        out = pack_str(out, to->names[i]);
    return out;
}

/* ---- reading ---- */

static void copy(struct buf *out, const uint8_t *from, const uint8_t *to)
{
    memcpy(out->ptr + out->len, from, (size_t)(to - from));
    out->len += (uint32_t)(to - from);
}

static void copy_header(struct buf *out, uint32_t entries)
{
    out->len = (uint32_t)(pack_map(out->ptr + out->len, entries) - out->ptr);
}

/* More than one entry was taken out of the body that begins at @from: its header, written for one
 * less, becomes that of @entries. */
static void mend_header(struct buf *body, uint32_t from, uint32_t written, uint32_t entries)
{
    const size_t was = count_size(written);
    const size_t is = count_size(entries);
    uint8_t *at = body->ptr + from;
    (void)pack_map(at, entries);
    memmove(at + is, at + was, body->len - from - was);
    body->len -= (uint32_t)(was - is);
}

/* Says in @out what the value at @value means. */
static enum err read_names(struct wire_message *out, const struct walk *w, struct slice value)
{
    struct pack_item item;
    struct walk at = {
        .begin = w->begin, .at = value.ptr, .end = value.ptr + value.len, .why = w->why};
    const struct walk before = at;
    enum err err = take_item(&at, &item);
    if (err != ERR_OK)
        return err;
    out->names = value;
    out->name_count = 1;
    out->kind = WIRE_ONE_NAME;
    if (item.kind == PACK_STR)
        return ERR_OK;
    if (item.kind != PACK_ARRAY)
        return refuse(&before, WIRE_KEY " is neither str nor array");
    out->kind = WIRE_NAME_LIST;
    out->name_count = (uint32_t)item.items;
    for (uint32_t i = 0; i < out->name_count; i++) {
        const struct walk name = at;
        err = take_item(&at, &item);
        if (err == ERR_OK && item.kind != PACK_STR)
            return refuse(&name, WIRE_KEY " holds something that is no str");
        if (err != ERR_OK)
            return err;
    }
    return ERR_OK;
}

/* Copies the entries but those of the key; @names becomes the value of the last of them, whose
 * pointer is NULL when there is none. */
static enum err cut(struct buf *body, struct slice *names, struct walk *w, uint32_t count)
{
    const uint32_t from = body->len;
    const uint8_t *copied = w->at;
    uint32_t taken = 0;

    for (uint32_t i = 0; i < count; i++) {
        struct entry entry;
        const enum err err = take_entry(w, &entry, WIRE_READ_DEPTH_MAX);
        if (err != ERR_OK)
            return err;
        if (!entry.is_names)
            continue;
        if (taken++ == 0)
            copy_header(body, count - 1);
        copy(body, copied, entry.key);
        copied = w->at;
        *names = slice_make(entry.value, (size_t)(w->at - entry.value));
    }
    copy(body, taken > 0 ? copied : w->begin, w->at);
    if (taken > 1)
        mend_header(body, from, count - 1, count - taken);
    return end(w);
}

enum err wire_msgpack_open(struct wire_message *out, struct buf *body, struct slice plain,
                           struct err_text *why)
{
    struct wire_message found = {.kind = WIRE_NO_NAMES, .serializer = LAYER_MSGPACK};
    const uint32_t from = body->len;
    struct slice names = {0};
    uint32_t count = 0;
    struct walk w;

    enum err err = begin(&w, plain, &count, why);
    if (err == ERR_OK)
        err = cut(body, &names, &w, count);
    if (err == ERR_OK && names.ptr != NULL)
        err = read_names(&found, &w, names);
    if (err != ERR_OK) {
        body->len = from;
        return err;
    }
    *out = found;
    return ERR_OK;
}

bool wire_msgpack_next_name(struct slice names, size_t *at, struct slice *name)
{
    struct pack_item item;
    if (*at >= names.len || pack_scan_item(&item, names.ptr + *at, names.len - *at) != PACK_DONE)
        return false;
    if (item.kind == PACK_ARRAY) { /* only ever the first: read_names() has seen them all */
        *at += item.header;
        return wire_msgpack_next_name(names, at, name);
    }
    *name = slice_make(names.ptr + *at + item.header, (size_t)item.content);
    *at += item.header + (size_t)item.content;
    return true;
}
