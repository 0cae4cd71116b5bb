/* SPDX-License-Identifier: BSD-3-Clause */
#include "channel_layer/wire/json_walk.h"

#include <assert.h>
#include <string.h>

enum {
    DIGITS_MAX = 4300, /* of an integer: more are refused by Python's int() */
    REPLACEMENT = 0xfffd,
};

enum err json_walk_refuse(const struct json_walk *w, const char *reason)
{
    return err_fail(w->why, ERR_INVALID, "JSON at byte %zu: %s", (size_t)(w->at - w->begin),
                    reason);
}

static bool is_digit(uint8_t byte)
{
    return byte >= '0' && byte <= '9';
}

static size_t take_digits(struct json_walk *w)
{
    const uint8_t *from = w->at;
    while (w->at < w->end && is_digit(*w->at))
        w->at++;
    return (size_t)(w->at - from);
}

static bool take_word(struct json_walk *w, const char *word)
{
    const size_t len = strlen(word);
    if ((size_t)(w->end - w->at) < len || memcmp(w->at, word, len) != 0)
        return false;
    w->at += len;
    return true;
}

static enum err take_number(struct json_walk *w)
{
    bool is_integer = true;
    (void)json_walk_byte(w, '-');
    const bool is_zero = json_walk_peek(w) == '0';
    const struct json_walk first = *w;
    const size_t digits = take_digits(w);
    if (digits == 0)
        return json_walk_refuse(w, "no value");
    if (is_zero && digits > 1)
        return json_walk_refuse(&first, "a number that begins with 0");
    if (json_walk_byte(w, '.')) {
        is_integer = false;
        if (take_digits(w) == 0)
            return json_walk_refuse(w, "no digit behind the point");
    }
    if (json_walk_peek(w) == 'e' || json_walk_peek(w) == 'E') {
        is_integer = false;
        w->at++;
        if (!json_walk_byte(w, '+'))
            (void)json_walk_byte(w, '-');
        if (take_digits(w) == 0)
            return json_walk_refuse(w, "no digit in the exponent");
    }
    if (is_integer && digits > DIGITS_MAX)
        return json_walk_refuse(&first, "an integer of more than 4300 digits");
    return ERR_OK;
}

/* The value of a hexadecimal digit, or 16. */
static unsigned hex_value(uint8_t digit)
{
    if (is_digit(digit))
        return digit - (unsigned)'0';
    if (digit >= 'a' && digit <= 'f')
        return digit - (unsigned)'a' + 10;
    return digit >= 'A' && digit <= 'F' ? digit - (unsigned)'A' + 10 : 16;
}

/* Goes behind the escape whose backslash is at the position. */
static enum err take_escape(struct json_walk *w)
{
    const struct json_walk before = *w;
    w->at++;
    const uint8_t letter = json_walk_peek(w);
    w->at += w->at < w->end;
    if (letter != 'u')
        return letter != '\0' && strchr("\"\\/bfnrt", letter) != NULL
                   ? ERR_OK
                   : json_walk_refuse(&before, "an escape that JSON has not");
    for (unsigned i = 0; i < 4; i++) {
        if (hex_value(json_walk_peek(w)) == 16)
            return json_walk_refuse(&before, "an escape \\u without four hexadecimal digits");
        w->at++;
    }
    return ERR_OK;
}

enum err json_walk_string(struct json_walk *w, struct slice *text)
{
    if (!json_walk_byte(w, '"'))
        return json_walk_refuse(w, "no string");
    const uint8_t *from = w->at;
    while (w->at < w->end && *w->at != '"') {
        if (*w->at < 0x20)
            return json_walk_refuse(w, "a control character in a string");
        if (*w->at != '\\') {
            w->at++;
            continue;
        }
        const enum err err = take_escape(w);
        if (err != ERR_OK)
            return err;
    }
    *text = slice_make(from, (size_t)(w->at - from));
    return json_walk_byte(w, '"') ? ERR_OK : json_walk_refuse(w, "cut short in a string");
}

enum err json_walk_key(struct json_walk *w, struct slice *key)
{
    if (json_walk_peek(w) != '"')
        return json_walk_refuse(w, "no key in double quotes");
    const enum err err = json_walk_string(w, key);
    if (err != ERR_OK)
        return err;
    json_walk_blanks(w);
    if (!json_walk_byte(w, ':'))
        return json_walk_refuse(w, "no colon behind a key");
    json_walk_blanks(w);
    return ERR_OK;
}

static enum err take_scalar(struct json_walk *w)
{
    static const char *const words[] = {"null", "true", "false", "NaN", "Infinity", "-Infinity"};
    struct slice text;
    if (json_walk_peek(w) == '"')
        return json_walk_string(w, &text);
    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
        if (take_word(w, words[i]))
            return ERR_OK;
    }
    return take_number(w);
}

/* The containers that are open around a position, outermost first: one bit says which kind. */
struct nest {
    unsigned depth;
    unsigned max_depth;
    uint8_t objects[JSON_WALK_DEPTH_MAX / 8 + 1];
};

static bool in_object(const struct nest *n)
{
    return (n->objects[(n->depth - 1) / 8] >> (n->depth - 1) % 8 & 1U) != 0;
}

/* Goes into the container that begins here, up to its first value or its end. */
static enum err enter(struct json_walk *w, struct nest *n, bool *is_empty)
{
    const bool is_object = json_walk_peek(w) == '{';
    struct slice key;
    if (n->depth == n->max_depth)
        return json_walk_refuse(w, "nested too deeply");
    const uint8_t bit = (uint8_t)(1U << n->depth % 8);
    uint8_t *bits = &n->objects[n->depth / 8];
    *bits = (uint8_t)(is_object ? *bits | bit : *bits & ~bit);
    n->depth++;
    w->at++;
    json_walk_blanks(w);
    *is_empty = json_walk_peek(w) == (is_object ? '}' : ']');
    if (*is_empty)
        return ERR_OK;
    return is_object ? json_walk_key(w, &key) : ERR_OK;
}

/* Behind a value, or at the start of an empty container: leaves the containers that end here. What
 * follows is the next value, unless all are left. */
static enum err leave(struct json_walk *w, struct nest *n)
{
    struct slice key;
    while (n->depth > 0) {
        json_walk_blanks(w);
        if (json_walk_byte(w, in_object(n) ? '}' : ']')) {
            n->depth--;
            continue;
        }
        if (!json_walk_byte(w, ','))
            return json_walk_refuse(w, in_object(n) ? "neither , nor }" : "neither , nor ]");
        json_walk_blanks(w);
        return in_object(n) ? json_walk_key(w, &key) : ERR_OK;
    }
    return ERR_OK;
}

enum err json_walk_value(struct json_walk *w, unsigned max_depth)
{
    struct nest n = {.max_depth = max_depth};
    assert(max_depth <= JSON_WALK_DEPTH_MAX);
    do {
        const bool enters = json_walk_peek(w) == '{' || json_walk_peek(w) == '[';
        bool is_empty = true;
        enum err err = enters ? enter(w, &n, &is_empty) : take_scalar(w);
        if (err == ERR_OK && is_empty)
            err = leave(w, &n);
        if (err != ERR_OK)
            return err;
    } while (n.depth > 0);
    return ERR_OK;
}

/* ---- text in quotes ---- */

static uint32_t read_hex4(const uint8_t *in)
{
    uint32_t value = 0;
    for (unsigned i = 0; i < 4; i++)
        value = value << 4 | hex_value(in[i]);
    return value;
}

/* The character of the escape at the position, with the second half of its pair if it has one. */
static uint32_t unescape(struct json_walk *w)
{
    static const char letters[] = "bfnrt";
    static const char meanings[] = "\b\f\n\r\t";
    const uint8_t letter = w->at[1];
    w->at += 2;
    if (letter != 'u') {
        const char *known = strchr(letters, letter);
        return known == NULL ? letter : (uint8_t)meanings[known - letters];
    }
    const uint32_t first = read_hex4(w->at);
    w->at += 4;
    if (first < 0xd800 || first > 0xdfff)
        return first;
    if (first <= 0xdbff && w->end - w->at >= 6 && w->at[0] == '\\' && w->at[1] == 'u') {
        const uint32_t second = read_hex4(w->at + 2);
        if (second >= 0xdc00 && second <= 0xdfff) {
            w->at += 6;
            return 0x10000 + ((first - 0xd800) << 10) + (second - 0xdc00);
        }
    }
    return REPLACEMENT;
}

static size_t write_utf8(uint8_t out[4], uint32_t c)
{
    if (c < 0x80) {
        out[0] = (uint8_t)c;
        return 1;
    }
    const size_t more = c < 0x800 ? 1 : c < 0x10000 ? 2 : 3;
    out[0] = (uint8_t)(0xff00U >> (more + 1) | c >> 6 * more);
    for (size_t i = 1; i <= more; i++)
        out[i] = (uint8_t)(0x80 | (c >> 6 * (more - i) & 0x3f));
    return more + 1;
}

struct slice json_walk_piece(struct json_walk *w, uint8_t space[4])
{
    if (*w->at == '\\')
        return slice_make(space, write_utf8(space, unescape(w)));
    const uint8_t *from = w->at;
    const size_t left = (size_t)(w->end - from);
    const uint8_t *escape = memchr(from, '\\', left);
    w->at = escape != NULL ? escape : w->end;
    return slice_make(from, (size_t)(w->at - from));
}
