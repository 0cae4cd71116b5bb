/* SPDX-License-Identifier: BSD-3-Clause */
#include "core/json.h"

#include "core/mem.h"

#include <assert.h>
#include <jansson.h>

/* The library overlooks that there was no memory for the next bytes of a token, and goes on without
 * them. Its allocator is told nothing but a size, hence this. */
static _Thread_local bool is_short_of_memory;

static void *allocate(size_t size)
{
    void *ptr = mem_try(size);
    is_short_of_memory = is_short_of_memory || ptr == NULL;
    return ptr;
}

/* The library wants mutable values even where it only reads. */
static json_t *raw(const struct json_node *node)
{
    return (json_t *)(uintptr_t)node;
}

static const struct json_node *node_of(const json_t *value)
{
    return (const struct json_node *)(const void *)value;
}

/* Whether brackets nest at most @max_depth deep. A text that is no JSON may count wrong in either
 * direction, but never recurses deeper than it counts: what opens an array outside of a string for
 * the parser does so here too. */
static bool depth_is_within(struct slice text, unsigned max_depth)
{
    unsigned depth = 0;
    bool in_string = false;
    for (size_t i = 0; i < text.len; i++) {
        const uint8_t byte = text.ptr[i];
        if (in_string) {
            if (byte == '\\')
                i++;
            else if (byte == '"')
                in_string = false;
        } else if (byte == '"') {
            in_string = true;
        } else if (byte == '[' || byte == '{') {
            if (++depth > max_depth)
                return false;
        } else if ((byte == ']' || byte == '}') && depth > 0) {
            depth--;
        }
    }
    return true;
}

static bool is_letter(uint8_t byte)
{
    return (byte >= 'a' && byte <= 'z') || (byte >= 'A' && byte <= 'Z');
}

/* The library's own words quote the text, in which there may be a password. */
static const char *reason_of(enum json_error_code code)
{
    switch (code) {
    case json_error_invalid_utf8:
        return "the text is not UTF-8";
    case json_error_premature_end_of_input:
        return "the text ends too early";
    case json_error_end_of_input_expected:
        return "something follows behind the value";
    case json_error_duplicate_key:
        return "a key that the object has already";
    case json_error_numeric_overflow:
        return "a number that is too large";
    case json_error_null_character:
    case json_error_null_byte_in_key:
        return "a NUL character in a key";
    case json_error_unknown:
    case json_error_out_of_memory:
    case json_error_stack_overflow:
    case json_error_cannot_open_file:
    case json_error_invalid_argument:
    case json_error_invalid_syntax:
    case json_error_invalid_format:
    case json_error_wrong_type:
    case json_error_null_value:
    case json_error_item_not_found:
    case json_error_index_out_of_range:
    default:
        return "no JSON from here on";
    }
}

/* The library counts up to the end of the word that it did not know (NaN); told is where it begins.
 */
static int column_of(const json_error_t *error, struct slice text)
{
    int before = 0;
    if (json_error_code(error) != json_error_invalid_syntax)
        return error->column;
    for (int at = error->position - 2; at >= 0 && (size_t)at + 1 < text.len; at--, before++)
        if (!is_letter(text.ptr[at]) || !is_letter(text.ptr[at + 1]))
            break;
    return error->column - before;
}

enum err json_parse(struct json_node **out, struct slice text, const struct json_limits *limits,
                    struct err_text *why)
{
    assert(limits->max_depth <= JSON_DEPTH_CEILING);
    if (text.len > limits->max_bytes)
        return err_fail(why, ERR_TOO_BIG, "the JSON text has %zu bytes; at most %zu", text.len,
                        limits->max_bytes);
    if (!depth_is_within(text, limits->max_depth))
        return err_fail(why, ERR_TOO_BIG, "the JSON text nests deeper than %u", limits->max_depth);
    if (text.len == 0)
        return err_fail(why, ERR_INVALID, "the JSON text is empty");

    json_error_t error;
    json_set_alloc_funcs(allocate, mem_free); /* always these: it does not matter who was first */
    is_short_of_memory = false;
    json_t *root = json_loadb((const char *)text.ptr, text.len,
                              JSON_REJECT_DUPLICATES | JSON_DECODE_ANY | JSON_ALLOW_NUL, &error);
    if (is_short_of_memory) {
        json_decref(root);
        return err_fail(why, ERR_NOMEM, "no memory for a JSON text of %zu bytes", text.len);
    }
    if (root == NULL)
        return err_fail(why, ERR_INVALID, "JSON: line %d, column %d: %s", error.line,
                        column_of(&error, text), reason_of(json_error_code(&error)));
    *out = (struct json_node *)(void *)root;
    return ERR_OK;
}

void json_discard(struct json_node *root)
{
    json_decref(raw(root));
}

enum json_kind json_kind(const struct json_node *node)
{
    switch (json_typeof(raw(node))) {
    case JSON_OBJECT:
        return JSON_KIND_OBJECT;
    case JSON_ARRAY:
        return JSON_KIND_ARRAY;
    case JSON_STRING:
        return JSON_KIND_STR;
    case JSON_INTEGER:
        return JSON_KIND_INT;
    case JSON_REAL:
        return JSON_KIND_REAL;
    case JSON_TRUE:
    case JSON_FALSE:
        return JSON_KIND_BOOL;
    case JSON_NULL:
        break;
    }
    return JSON_KIND_NULL;
}

const char *json_kind_str(enum json_kind kind)
{
    static const char *const words[] = {
        [JSON_KIND_NULL] = "null",        [JSON_KIND_BOOL] = "true or false",
        [JSON_KIND_INT] = "a number",     [JSON_KIND_REAL] = "a number",
        [JSON_KIND_STR] = "a string",     [JSON_KIND_ARRAY] = "a list",
        [JSON_KIND_OBJECT] = "an object",
    };
    return words[kind];
}

bool json_bool(const struct json_node *node)
{
    assert(json_kind(node) == JSON_KIND_BOOL);
    return json_is_true(raw(node));
}

int64_t json_int(const struct json_node *node)
{
    assert(json_kind(node) == JSON_KIND_INT);
    return json_integer_value(raw(node));
}

double json_double(const struct json_node *node)
{
    assert(json_kind(node) == JSON_KIND_INT || json_kind(node) == JSON_KIND_REAL);
    return json_number_value(raw(node));
}

struct slice json_str(const struct json_node *node)
{
    assert(json_kind(node) == JSON_KIND_STR);
    return slice_make(json_string_value(raw(node)), json_string_length(raw(node)));
}

size_t json_count(const struct json_node *node)
{
    if (json_kind(node) == JSON_KIND_ARRAY)
        return json_array_size(raw(node));
    assert(json_kind(node) == JSON_KIND_OBJECT);
    return json_object_size(raw(node));
}

const struct json_node *json_item(const struct json_node *array, size_t i)
{
    assert(i < json_count(array));
    return node_of(json_array_get(raw(array), i));
}

const struct json_node *json_member(const struct json_node *object, const char *key)
{
    return node_of(json_object_get(raw(object), key));
}

struct json_cursor json_members(const struct json_node *object)
{
    assert(json_kind(object) == JSON_KIND_OBJECT);
    return (struct json_cursor){.object = object, .at = json_object_iter(raw(object))};
}

bool json_next(struct json_cursor *cursor, struct slice *key, const struct json_node **value)
{
    if (cursor->at == NULL)
        return false;
    *key = slice_str(json_object_iter_key(cursor->at));
    *value = node_of(json_object_iter_value(cursor->at));
    cursor->at = json_object_iter_next(raw(cursor->object), cursor->at);
    return true;
}
