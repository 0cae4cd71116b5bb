/* SPDX-License-Identifier: BSD-3-Clause
 *
 * JSON to msgpack: the tree of the text, written from the top down.
 */
#include "core/transcode.h"

#include "core/base64.h"
#include "core/json.h"
#include "core/mem.h"
#include "core/pack.h"
#include "core/transcode_marks.h"

#include <limits.h>
#include <math.h>
#include <string.h>

enum {
    TEXT_MAX = 64 << 20,                        /* of JSON: a body of 16 MiB as base64 fits */
    JSON_DEPTH_MAX = 3 * TRANSCODE_DEPTH_WRITE, /* a __map__ takes three levels for one */
};

struct writer {
    struct buf *out;
    struct err_text *why;
    unsigned depth;
};

static enum err put(struct writer *w, const void *data, size_t len)
{
    const enum err err = buf_append(w->out, data, len);
    if (err != ERR_OK)
        return err_fail(w->why, err, "the message does not fit: %s", err_str(err));
    return ERR_OK;
}

/* @first, and the lowest @bytes bytes of @value behind it. */
static enum err put_headed(struct writer *w, unsigned first, uint64_t value, size_t bytes)
{
    uint8_t head[1 + sizeof(value)] = {(uint8_t)first};
    for (size_t i = 0; i < bytes; i++)
        head[bytes - i] = (uint8_t)(value >> (8 * i));
    return put(w, head, 1 + bytes);
}

static enum err put_uint(struct writer *w, uint64_t value)
{
    uint8_t head[PACK_UINT_MAX];
    return put(w, head, (size_t)(pack_uint(head, value) - head));
}

static enum err put_int(struct writer *w, int64_t value)
{
    const uint64_t bits = (uint64_t)value;
    if (value >= 0)
        return put_uint(w, bits);
    if (value >= -32)
        return put_headed(w, (unsigned)(bits & 0xff), 0, 0);
    if (value >= INT8_MIN)
        return put_headed(w, 0xd0, bits, 1);
    if (value >= INT16_MIN)
        return put_headed(w, 0xd1, bits, 2);
    if (value >= INT32_MIN)
        return put_headed(w, 0xd2, bits, 4);
    return put_headed(w, 0xd3, bits, 8);
}

static enum err put_double(struct writer *w, double real)
{
    uint64_t bits = 0;
    memcpy(&bits, &real, sizeof(bits));
    return put_headed(w, 0xcb, bits, sizeof(bits));
}

static enum err put_str(struct writer *w, struct slice text)
{
    uint8_t head[PACK_HEADER_MAX];
    const enum err err = put(w, head, (size_t)(pack_str_header(head, (uint32_t)text.len) - head));
    return err == ERR_OK ? put(w, text.ptr, text.len) : err;
}

static enum err put_array_header(struct writer *w, size_t count)
{
    uint8_t head[PACK_HEADER_MAX];
    return put(w, head, (size_t)(pack_array(head, (uint32_t)count) - head));
}

static enum err put_map_header(struct writer *w, size_t count)
{
    uint8_t head[PACK_HEADER_MAX];
    return put(w, head, (size_t)(pack_map(head, (uint32_t)count) - head));
}

static enum err put_ext_header(struct writer *w, size_t len, int type)
{
    enum err err = ERR_OK;
    if (len == 1 || len == 2 || len == 4 || len == 8 || len == 16)
        err = put_headed(w, 0xd4U + (unsigned)__builtin_ctzl(len), 0, 0);
    else if (len <= UINT8_MAX)
        err = put_headed(w, 0xc7, len, 1);
    else
        err = len <= UINT16_MAX ? put_headed(w, 0xc8, len, 2) : put_headed(w, 0xc9, len, 4);
    const uint8_t byte = (uint8_t)type;
    return err == ERR_OK ? put(w, &byte, 1) : err;
}

/* ---- the marked forms ---- */

static enum err bad_mark(struct writer *w, const char *mark, const char *expected)
{
    return err_fail(w->why, ERR_INVALID, "%s is not %s", mark, expected);
}

/* Decodes the base64 that @node holds into memory of its own. */
static enum err decode(struct writer *w, uint8_t **out, size_t *len, const struct json_node *node)
{
    const struct slice text = json_str(node);
    uint8_t *bytes = mem_try(base64_bytes_max(text.len));
    if (bytes == NULL)
        return err_fail(w->why, ERR_NOMEM, "no memory for %zu bytes of base64", text.len);
    if (!base64_decode(bytes, len, text, BASE64_STANDARD)) {
        mem_free(bytes);
        return err_fail(w->why, ERR_INVALID, "%s",
                        "__bytes__ or __ext__ with what is not base64 with its padding");
    }
    *out = bytes;
    return ERR_OK;
}

static enum err put_bytes(struct writer *w, const struct json_node *node)
{
    uint8_t *bytes = NULL;
    size_t len = 0;
    uint8_t head[PACK_HEADER_MAX];
    if (json_kind(node) != JSON_KIND_STR)
        return bad_mark(w, "__bytes__", "a string of base64");
    enum err err = decode(w, &bytes, &len, node);
    if (err != ERR_OK)
        return err;
    err = put(w, head, (size_t)(pack_bin_header(head, (uint32_t)len) - head));
    if (err == ERR_OK)
        err = put(w, bytes, len);
    mem_free(bytes);
    return err;
}

static enum err put_ext(struct writer *w, const struct json_node *node)
{
    static const char expected[] = "[a number from -128 to 127, a string of base64]";
    if (json_kind(node) != JSON_KIND_ARRAY || json_count(node) != 2)
        return bad_mark(w, "__ext__", expected);
    const struct json_node *type = json_item(node, 0);
    if (json_kind(type) != JSON_KIND_INT || json_int(type) < INT8_MIN ||
        json_int(type) > INT8_MAX || json_kind(json_item(node, 1)) != JSON_KIND_STR)
        return bad_mark(w, "__ext__", expected);
    uint8_t *bytes = NULL;
    size_t len = 0;
    enum err err = decode(w, &bytes, &len, json_item(node, 1));
    if (err != ERR_OK)
        return err;
    err = put_ext_header(w, len, (int)json_int(type));
    if (err == ERR_OK)
        err = put(w, bytes, len);
    mem_free(bytes);
    return err;
}

static enum err put_special(struct writer *w, const struct json_node *node)
{
    if (json_kind(node) == JSON_KIND_STR) {
        const struct slice name = json_str(node);
        if (slice_eq_str(name, "NaN"))
            return put_double(w, (double)NAN);
        if (slice_eq_str(name, "Infinity"))
            return put_double(w, (double)INFINITY);
        if (slice_eq_str(name, "-Infinity"))
            return put_double(w, (double)-INFINITY);
    }
    return bad_mark(w, "__float__", "\"NaN\", \"Infinity\" or \"-Infinity\"");
}

static bool parse_decimal(uint64_t *out, struct slice text)
{
    uint64_t value = 0;
    for (size_t i = 0; i < text.len; i++) {
        if (text.ptr[i] < '0' || text.ptr[i] > '9' || __builtin_mul_overflow(value, 10U, &value) ||
            __builtin_add_overflow(value, (uint64_t)(text.ptr[i] - '0'), &value))
            return false;
    }
    *out = value;
    return text.len > 0;
}

static enum err put_large(struct writer *w, const struct json_node *node)
{
    uint64_t value = 0;
    if (json_kind(node) != JSON_KIND_STR || !parse_decimal(&value, json_str(node)))
        return bad_mark(w, "__int__", "a string of digits up to \"18446744073709551615\"");
    return put_uint(w, value);
}

static enum err put_value(struct writer *w, const struct json_node *node);

/* Keys are str or bin: Python's readers refuse a message with any other. */
static bool is_pair(const struct json_node *node)
{
    if (json_kind(node) != JSON_KIND_ARRAY || json_count(node) != 2)
        return false;
    const struct json_node *key = json_item(node, 0);
    return json_kind(key) == JSON_KIND_STR ||
           (json_kind(key) == JSON_KIND_OBJECT && json_count(key) == 1 &&
            json_member(key, "__bytes__") != NULL);
}

static enum err put_pairs(struct writer *w, const struct json_node *node)
{
    static const char expected[] = "a list of [key, value], where a key is a string or __bytes__";
    if (json_kind(node) != JSON_KIND_ARRAY)
        return bad_mark(w, "__map__", expected);
    enum err err = put_map_header(w, json_count(node));
    for (size_t i = 0; i < json_count(node) && err == ERR_OK; i++) {
        const struct json_node *pair = json_item(node, i);
        if (!is_pair(pair))
            return bad_mark(w, "__map__", expected);
        err = put_value(w, json_item(pair, 0));
        if (err == ERR_OK)
            err = put_value(w, json_item(pair, 1));
    }
    return err;
}

/* ---- containers ---- */

static enum err put_members(struct writer *w, const struct json_node *object)
{
    struct json_cursor cursor = json_members(object);
    struct slice key;
    const struct json_node *value = NULL;
    enum err err = put_map_header(w, json_count(object));
    while (err == ERR_OK && json_next(&cursor, &key, &value)) {
        err = put_str(w, key);
        if (err == ERR_OK)
            err = put_value(w, value);
    }
    return err;
}

static enum err put_object(struct writer *w, const struct json_node *object)
{
    struct json_cursor cursor = json_members(object);
    struct slice key = {0};
    const struct json_node *value = NULL;
    const enum mark mark =
        json_count(object) == 1 && json_next(&cursor, &key, &value) ? mark_of(key) : MARK_NONE;
    switch (mark) {
    case MARK_BYTES:
        return put_bytes(w, value);
    case MARK_FLOAT:
        return put_special(w, value);
    case MARK_INT:
        return put_large(w, value);
    case MARK_EXT:
        return put_ext(w, value);
    case MARK_MAP:
        return put_pairs(w, value);
    case MARK_NONE:
        break;
    }
    return put_members(w, object);
}

static enum err put_items(struct writer *w, const struct json_node *array)
{
    enum err err = put_array_header(w, json_count(array));
    for (size_t i = 0; i < json_count(array) && err == ERR_OK; i++)
        err = put_value(w, json_item(array, i));
    return err;
}

static enum err put_container(struct writer *w, const struct json_node *node)
{
    if (++w->depth > TRANSCODE_DEPTH_WRITE)
        return err_fail(w->why, ERR_TOO_BIG, "the message nests deeper than %d",
                        TRANSCODE_DEPTH_WRITE);
    const enum err err =
        json_kind(node) == JSON_KIND_ARRAY ? put_items(w, node) : put_object(w, node);
    w->depth--;
    return err;
}

static enum err put_value(struct writer *w, const struct json_node *node)
{
    uint8_t byte = 0;
    switch (json_kind(node)) {
    case JSON_KIND_NULL:
        return put(w, &byte, (size_t)(pack_nil(&byte) - &byte));
    case JSON_KIND_BOOL:
        return put(w, &byte, (size_t)(pack_bool(&byte, json_bool(node)) - &byte));
    case JSON_KIND_INT:
        return put_int(w, json_int(node));
    case JSON_KIND_REAL:
        return put_double(w, json_double(node));
    case JSON_KIND_STR:
        return put_str(w, json_str(node));
    case JSON_KIND_ARRAY:
    case JSON_KIND_OBJECT:
        break;
    }
    return put_container(w, node);
}

/* Whether @root describes a map: of the marked forms only __map__ does. */
static bool is_map(const struct json_node *root)
{
    if (json_kind(root) != JSON_KIND_OBJECT)
        return false;
    struct json_cursor cursor = json_members(root);
    struct slice key = {0};
    const struct json_node *value = NULL;
    if (json_count(root) != 1 || !json_next(&cursor, &key, &value))
        return true;
    return mark_of(key) == MARK_NONE || mark_of(key) == MARK_MAP;
}

enum err transcode_to_pack(struct buf *out, struct slice text, struct err_text *why)
{
    static const struct json_limits limits = {.max_bytes = TEXT_MAX, .max_depth = JSON_DEPTH_MAX};
    struct json_node *root = NULL;
    enum err err = json_parse(&root, text, &limits, why);
    if (err != ERR_OK)
        return err;
    struct writer w = {.out = out, .why = why};
    if (is_map(root))
        err = put_value(&w, root);
    else
        err = err_fail(why, ERR_INVALID, "a message is a JSON object");
    json_discard(root);
    return err;
}
