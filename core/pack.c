/* SPDX-License-Identifier: BSD-3-Clause */
#include "core/pack.h"

#include <assert.h>
#include <string.h>

/* First bytes; "fix" forms carry a value or length in their low bits. */
enum {
    FIXINT_LAST = 0x7f,
    FIXMAP = 0x80,
    FIXARRAY = 0x90,
    FIXSTR = 0xa0,
    NIL = 0xc0,
    NEVER_USED = 0xc1,
    FALSE_BYTE = 0xc2,
    TRUE_BYTE = 0xc3,
    BIN8 = 0xc4,
    BIN16 = 0xc5,
    BIN32 = 0xc6,
    EXT8 = 0xc7,
    EXT32 = 0xc9,
    FLOAT32 = 0xca,
    FLOAT64 = 0xcb,
    UINT8 = 0xcc,
    UINT16 = 0xcd,
    UINT32 = 0xce,
    UINT64 = 0xcf,
    INT8 = 0xd0,
    INT64 = 0xd3,
    FIXEXT1 = 0xd4,
    FIXEXT16 = 0xd8,
    STR8 = 0xd9,
    STR16 = 0xda,
    STR32 = 0xdb,
    ARRAY16 = 0xdc,
    ARRAY32 = 0xdd,
    MAP16 = 0xde,
    MAP32 = 0xdf,
    NEGATIVE_FIXINT = 0xe0,
};

static uint64_t read_be(const uint8_t *in, size_t count)
{
    uint64_t value = 0;
    for (size_t i = 0; i < count; i++)
        value = (value << 8) | in[i];
    return value;
}

static uint8_t *write_be(uint8_t *out, uint64_t value, size_t count)
{
    for (size_t i = count; i > 0; i--)
        *out++ = (uint8_t)(value >> (8 * (i - 1)));
    return out;
}

static uint8_t *write_headed(uint8_t *out, uint8_t first, uint64_t value, size_t count)
{
    *out++ = first;
    return write_be(out, value, count);
}

uint8_t *pack_nil(uint8_t *out)
{
    *out++ = NIL;
    return out;
}

uint8_t *pack_bool(uint8_t *out, bool value)
{
    *out++ = value ? TRUE_BYTE : FALSE_BYTE;
    return out;
}

uint8_t *pack_uint(uint8_t *out, uint64_t value)
{
    if (value <= FIXINT_LAST)
        return write_be(out, value, 1);
    if (value <= UINT8_MAX)
        return write_headed(out, UINT8, value, 1);
    if (value <= UINT16_MAX)
        return write_headed(out, UINT16, value, 2);
    if (value <= UINT32_MAX)
        return write_headed(out, UINT32, value, 4);
    return write_headed(out, UINT64, value, 8);
}

uint8_t *pack_array(uint8_t *out, uint32_t count)
{
    if (count <= 15)
        return write_be(out, FIXARRAY | count, 1);
    if (count <= UINT16_MAX)
        return write_headed(out, ARRAY16, count, 2);
    return write_headed(out, ARRAY32, count, 4);
}

uint8_t *pack_map(uint8_t *out, uint32_t count)
{
    if (count <= 15)
        return write_be(out, FIXMAP | count, 1);
    if (count <= UINT16_MAX)
        return write_headed(out, MAP16, count, 2);
    return write_headed(out, MAP32, count, 4);
}

uint8_t *pack_str_header(uint8_t *out, uint32_t len)
{
    if (len <= 31)
        return write_be(out, FIXSTR | len, 1);
    if (len <= UINT8_MAX)
        return write_headed(out, STR8, len, 1);
    if (len <= UINT16_MAX)
        return write_headed(out, STR16, len, 2);
    return write_headed(out, STR32, len, 4);
}

uint8_t *pack_bin_header(uint8_t *out, uint32_t len)
{
    if (len <= UINT8_MAX)
        return write_headed(out, BIN8, len, 1);
    if (len <= UINT16_MAX)
        return write_headed(out, BIN16, len, 2);
    return write_headed(out, BIN32, len, 4);
}

static uint8_t *write_content(uint8_t *out, struct slice content)
{
    if (content.len > 0)
        memcpy(out, content.ptr, content.len);
    return out + content.len;
}

uint8_t *pack_str(uint8_t *out, struct slice text)
{
    assert(text.len <= UINT32_MAX);
    return write_content(pack_str_header(out, (uint32_t)text.len), text);
}

uint8_t *pack_bin(uint8_t *out, struct slice bytes)
{
    assert(bytes.len <= UINT32_MAX);
    return write_content(pack_bin_header(out, (uint32_t)bytes.len), bytes);
}

/* What the first byte says about an item: its length field of @len_bytes bytes follows (0: the
 * length is @fixed), which counts content bytes or, in a container, items. */
struct shape {
    uint8_t len_bytes;
    uint8_t fixed;
    uint8_t type_bytes;     /* between length and content: the type of an ext */
    uint8_t items_per_unit; /* 0: no container; array 1; map 2 */
    uint8_t kind;           /* enum pack_kind */
};

/* Every first byte from nil to the last map form. */
static const struct shape shapes[NEGATIVE_FIXINT - NIL] = {
    [0] = {.kind = PACK_NIL},
    [FALSE_BYTE - NIL] = {.kind = PACK_BOOL},
    [TRUE_BYTE - NIL] = {.kind = PACK_BOOL},
    [BIN8 - NIL] = {.kind = PACK_BIN, .len_bytes = 1},
    [BIN16 - NIL] = {.kind = PACK_BIN, .len_bytes = 2},
    [BIN32 - NIL] = {.kind = PACK_BIN, .len_bytes = 4},
    [EXT8 - NIL] = {.kind = PACK_EXT, .len_bytes = 1, .type_bytes = 1},
    [EXT8 + 1 - NIL] = {.kind = PACK_EXT, .len_bytes = 2, .type_bytes = 1},
    [EXT32 - NIL] = {.kind = PACK_EXT, .len_bytes = 4, .type_bytes = 1},
    [FLOAT32 - NIL] = {.kind = PACK_FLOAT, .fixed = 4},
    [FLOAT64 - NIL] = {.kind = PACK_FLOAT, .fixed = 8},
    [UINT8 - NIL] = {.kind = PACK_INT, .fixed = 1},
    [UINT16 - NIL] = {.kind = PACK_INT, .fixed = 2},
    [UINT32 - NIL] = {.kind = PACK_INT, .fixed = 4},
    [UINT64 - NIL] = {.kind = PACK_INT, .fixed = 8},
    [INT8 - NIL] = {.kind = PACK_INT, .fixed = 1},
    [INT8 + 1 - NIL] = {.kind = PACK_INT, .fixed = 2},
    [INT8 + 2 - NIL] = {.kind = PACK_INT, .fixed = 4},
    [INT64 - NIL] = {.kind = PACK_INT, .fixed = 8},
    [FIXEXT1 - NIL] = {.kind = PACK_EXT, .fixed = 1, .type_bytes = 1},
    [FIXEXT1 + 1 - NIL] = {.kind = PACK_EXT, .fixed = 2, .type_bytes = 1},
    [FIXEXT1 + 2 - NIL] = {.kind = PACK_EXT, .fixed = 4, .type_bytes = 1},
    [FIXEXT1 + 3 - NIL] = {.kind = PACK_EXT, .fixed = 8, .type_bytes = 1},
    [FIXEXT16 - NIL] = {.kind = PACK_EXT, .fixed = 16, .type_bytes = 1},
    [STR8 - NIL] = {.kind = PACK_STR, .len_bytes = 1},
    [STR16 - NIL] = {.kind = PACK_STR, .len_bytes = 2},
    [STR32 - NIL] = {.kind = PACK_STR, .len_bytes = 4},
    [ARRAY16 - NIL] = {.kind = PACK_ARRAY, .len_bytes = 2, .items_per_unit = 1},
    [ARRAY32 - NIL] = {.kind = PACK_ARRAY, .len_bytes = 4, .items_per_unit = 1},
    [MAP16 - NIL] = {.kind = PACK_MAP, .len_bytes = 2, .items_per_unit = 2},
    [MAP32 - NIL] = {.kind = PACK_MAP, .len_bytes = 4, .items_per_unit = 2},
};

static struct shape shape_of(uint8_t first)
{
    if (first <= FIXINT_LAST || first >= NEGATIVE_FIXINT)
        return (struct shape){.kind = PACK_INT};
    if (first < FIXARRAY)
        return (struct shape){.fixed = first & 0x0fU, .items_per_unit = 2, .kind = PACK_MAP};
    if (first < FIXSTR)
        return (struct shape){.fixed = first & 0x0fU, .items_per_unit = 1, .kind = PACK_ARRAY};
    if (first < NIL)
        return (struct shape){.fixed = first & 0x1fU, .kind = PACK_STR};
    return shapes[first - NIL];
}

enum pack_scan pack_scan_item(struct pack_item *out, const uint8_t *in, size_t len)
{
    if (len == 0)
        return PACK_MORE;
    if (in[0] == NEVER_USED)
        return PACK_BROKEN;
    const struct shape shape = shape_of(in[0]);
    if (len - 1 < shape.len_bytes)
        return PACK_MORE;
    const uint64_t units = shape.len_bytes > 0 ? read_be(in + 1, shape.len_bytes) : shape.fixed;
    *out = (struct pack_item){
        .kind = (enum pack_kind)shape.kind,
        .header = (size_t)1 + shape.len_bytes + shape.type_bytes,
        .content = shape.items_per_unit > 0 ? 0 : units,
        .items = units * shape.items_per_unit, /* at most 2 * UINT32_MAX */
    };
    return PACK_DONE;
}

enum pack_scan pack_scan(size_t *used, const uint8_t *in, size_t len, size_t max_bytes)
{
    uint64_t remaining[PACK_DEPTH_MAX]; /* items that each open container still lacks */
    unsigned depth = 0;
    uint64_t owed = 1; /* items still to come in all: each is at least one byte */
    size_t at = 0;

    if (len == 0) /* @in may be NULL then */
        return PACK_MORE;
    while (owed > 0) {
        struct pack_item item = {0};
        /* Both differences fit: at <= len and at <= max_bytes at all times. */
        if (owed > max_bytes - at)
            return PACK_BROKEN;
        const enum pack_scan found = pack_scan_item(&item, in + at, len - at);
        if (found != PACK_DONE)
            return found;
        owed += item.items;
        owed--;
        const size_t room = max_bytes - at;
        if (item.header > room || item.content > room - item.header ||
            owed > room - item.header - item.content)
            return PACK_BROKEN;
        if (item.kind >= PACK_ARRAY && depth == PACK_DEPTH_MAX)
            return PACK_BROKEN;
        if (item.header > len - at || item.content > len - at - item.header)
            return PACK_MORE;
        at += item.header + (size_t)item.content;
        if (item.items > 0) {
            remaining[depth++] = item.items;
            continue;
        }
        while (depth > 0 && --remaining[depth - 1] == 0)
            depth--; /* the container is whole, and so one item of its own container */
    }
    *used = at;
    return PACK_DONE;
}

void pack_reader_init(struct pack_reader *r, const uint8_t *in, size_t len)
{
    *r = (struct pack_reader){.at = in, .end = len > 0 ? in + len : in};
}

/* Describes the item at the reading position; false unless it is there with all its content. */
static bool next_item(struct pack_reader *r, struct pack_item *out)
{
    const size_t left = (size_t)(r->end - r->at);
    return !r->failed && pack_scan_item(out, r->at, left) == PACK_DONE && out->header <= left &&
           out->content <= left - out->header && out->items <= left - out->header;
}

static void step_over(struct pack_reader *r, const struct pack_item *item)
{
    r->at += item->header + (size_t)item->content;
}

uint32_t pack_read_array(struct pack_reader *r)
{
    struct pack_item item = {0};
    const bool is_array = next_item(r, &item) && ((r->at[0] & 0xf0U) == FIXARRAY ||
                                                  r->at[0] == ARRAY16 || r->at[0] == ARRAY32);
    if (!is_array) {
        r->failed = true;
        return 0;
    }
    step_over(r, &item);
    return (uint32_t)item.items;
}

/* Reads any integer: the value in @out as two's complement, and whether it is below zero. */
static bool read_integer(struct pack_reader *r, uint64_t *out, bool *is_negative)
{
    struct pack_item item = {0};
    *is_negative = false;
    if (!next_item(r, &item))
        return false;
    const uint8_t first = r->at[0];
    if (first <= FIXINT_LAST) {
        *out = first;
    } else if (first >= UINT8 && first <= UINT64) {
        *out = read_be(r->at + 1, (size_t)item.content);
    } else if (first >= NEGATIVE_FIXINT) {
        *out = (uint64_t)(int8_t)first;
        *is_negative = true;
    } else if (first >= INT8 && first <= INT64) {
        const unsigned bits = (unsigned)item.content * 8;
        *out = read_be(r->at + 1, (size_t)item.content);
        *is_negative = ((*out >> (bits - 1)) & 1U) != 0;
        if (*is_negative && bits < 64)
            *out |= UINT64_MAX << bits;
    } else {
        return false;
    }
    step_over(r, &item);
    return true;
}

uint64_t pack_read_uint(struct pack_reader *r)
{
    uint64_t value = 0;
    bool is_negative = false;
    if (read_integer(r, &value, &is_negative) && !is_negative)
        return value;
    r->failed = true;
    return 0;
}

int64_t pack_read_int(struct pack_reader *r)
{
    uint64_t value = 0;
    bool is_negative = false;
    if (read_integer(r, &value, &is_negative) && (is_negative || value <= INT64_MAX))
        return (int64_t)value;
    r->failed = true;
    return 0;
}

bool pack_read_bool(struct pack_reader *r)
{
    struct pack_item item = {0};
    if (next_item(r, &item) && (r->at[0] == TRUE_BYTE || r->at[0] == FALSE_BYTE))
        return *r->at++ == TRUE_BYTE;
    r->failed = true;
    return false;
}

struct slice pack_read_bytes(struct pack_reader *r)
{
    bool is_nil = false;
    const struct slice bytes = pack_read_bytes_or_nil(r, &is_nil);
    if (is_nil)
        r->failed = true;
    return bytes;
}

struct slice pack_read_bytes_or_nil(struct pack_reader *r, bool *is_nil)
{
    struct pack_item item = {0};
    *is_nil = false;
    if (!next_item(r, &item)) {
        r->failed = true;
        return (struct slice){0};
    }
    const uint8_t first = r->at[0];
    if (first == NIL) {
        *is_nil = true;
        r->at++;
        return (struct slice){0};
    }
    if ((first & 0xe0U) != FIXSTR && !(first >= BIN8 && first <= BIN32) &&
        !(first >= STR8 && first <= STR32)) {
        r->failed = true;
        return (struct slice){0};
    }
    const struct slice bytes = slice_make(r->at + item.header, (size_t)item.content);
    step_over(r, &item);
    return bytes;
}

void pack_skip(struct pack_reader *r)
{
    const size_t left = (size_t)(r->end - r->at);
    size_t used = 0;
    if (!r->failed && pack_scan(&used, r->at, left, left) == PACK_DONE)
        r->at += used;
    else
        r->failed = true;
}
