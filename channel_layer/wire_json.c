/* SPDX-License-Identifier: BSD-3-Clause
 *
 * What Python's json takes is taken: RFC 8259, with NaN, Infinity and -Infinity, integers of any
 * value (up to the digits of WIRE_DIGITS_MAX) and half surrogate pairs in escapes.
 */
#include "channel_layer/wire_body.h"
#include "core/text.h"

#include <assert.h>
#include <string.h>

enum { KEY_LEN = sizeof(WIRE_KEY) - 1, REPLACEMENT = 0xfffd };

/* A position in a body, which is valid UTF-8. */
struct walk {
    const uint8_t *begin;
    const uint8_t *at;
    const uint8_t *end;
    struct err_text *why;
};

static enum err refuse(const struct walk *w, const char *reason)
{
    return err_fail(w->why, ERR_INVALID, "JSON at byte %zu: %s", (size_t)(w->at - w->begin),
                    reason);
}

static void skip_blanks(struct walk *w)
{
    while (w->at < w->end && (*w->at == ' ' || *w->at == '\n' || *w->at == '\r' || *w->at == '\t'))
        w->at++;
}

/* The byte at the position; NUL, which no JSON has outside a string, at the end. */
static uint8_t peek(const struct walk *w)
{
    return w->at < w->end ? *w->at : '\0';
}

static bool take_byte(struct walk *w, uint8_t byte)
{
    if (peek(w) != byte)
        return false;
    w->at++;
    return true;
}

static bool is_digit(uint8_t byte)
{
    return byte >= '0' && byte <= '9';
}

static size_t take_digits(struct walk *w)
{
    const uint8_t *from = w->at;
    while (w->at < w->end && is_digit(*w->at))
        w->at++;
    return (size_t)(w->at - from);
}

static bool take_word(struct walk *w, const char *word)
{
    const size_t len = strlen(word);
    if ((size_t)(w->end - w->at) < len || memcmp(w->at, word, len) != 0)
        return false;
    w->at += len;
    return true;
}

static enum err take_number(struct walk *w)
{
    bool is_integer = true;
    (void)take_byte(w, '-');
    const bool is_zero = peek(w) == '0';
    const struct walk first = *w;
    const size_t digits = take_digits(w);
    if (digits == 0)
        return refuse(w, "no value");
    if (is_zero && digits > 1)
        return refuse(&first, "a number that begins with 0");
    if (take_byte(w, '.')) {
        is_integer = false;
        if (take_digits(w) == 0)
            return refuse(w, "no digit behind the point");
    }
    if (peek(w) == 'e' || peek(w) == 'E') {
        is_integer = false;
        w->at++;
        if (!take_byte(w, '+'))
            (void)take_byte(w, '-');
        if (take_digits(w) == 0)
            return refuse(w, "no digit in the exponent");
    }
    if (is_integer && digits > WIRE_DIGITS_MAX)
        return refuse(&first, "an integer of more than 4300 digits");
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
static enum err take_escape(struct walk *w)
{
    const struct walk before = *w;
    w->at++;
    const uint8_t letter = peek(w);
    w->at += w->at < w->end;
    if (letter != 'u')
        return letter != '\0' && strchr("\"\\/bfnrt", letter) != NULL
                   ? ERR_OK
                   : refuse(&before, "an escape that JSON has not");
    for (unsigned i = 0; i < 4; i++) {
        if (hex_value(peek(w)) == 16)
            return refuse(&before, "an escape \\u without four hexadecimal digits");
        w->at++;
    }
    return ERR_OK;
}

/* Goes behind a string. *@text: what is between its quotes, as written. */
static enum err take_string(struct walk *w, struct slice *text)
{
    if (!take_byte(w, '"'))
        return refuse(w, "no string");
    const uint8_t *from = w->at;
    while (w->at < w->end && *w->at != '"') {
        if (*w->at < 0x20)
            return refuse(w, "a control character in a string");
        if (*w->at != '\\') {
            w->at++;
            continue;
        }
        const enum err err = take_escape(w);
        if (err != ERR_OK)
            return err;
    }
    *text = slice_make(from, (size_t)(w->at - from));
    return take_byte(w, '"') ? ERR_OK : refuse(w, "cut short in a string");
}

/* Goes behind a key, its colon and the blanks that follow. */
static enum err take_key(struct walk *w, struct slice *key)
{
    if (peek(w) != '"')
        return refuse(w, "no key in double quotes");
    const enum err err = take_string(w, key);
    if (err != ERR_OK)
        return err;
    skip_blanks(w);
    if (!take_byte(w, ':'))
        return refuse(w, "no colon behind a key");
    skip_blanks(w);
    return ERR_OK;
}

static enum err take_scalar(struct walk *w)
{
    static const char *const words[] = {"null", "true", "false", "NaN", "Infinity", "-Infinity"};
    struct slice text;
    if (peek(w) == '"')
        return take_string(w, &text);
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
    uint8_t objects[WIRE_READ_DEPTH_MAX / 8 + 1];
};

static bool in_object(const struct nest *n)
{
    return (n->objects[(n->depth - 1) / 8] >> (n->depth - 1) % 8 & 1U) != 0;
}

/* Goes into the container that begins here, up to its first value or its end. */
static enum err enter(struct walk *w, struct nest *n, bool *is_empty)
{
    const bool is_object = peek(w) == '{';
    struct slice key;
    if (n->depth == n->max_depth)
        return refuse(w, "nested too deeply");
    const uint8_t bit = (uint8_t)(1U << n->depth % 8);
    uint8_t *bits = &n->objects[n->depth / 8];
    *bits = (uint8_t)(is_object ? *bits | bit : *bits & ~bit);
    n->depth++;
    w->at++;
    skip_blanks(w);
    *is_empty = peek(w) == (is_object ? '}' : ']');
    if (*is_empty)
        return ERR_OK;
    return is_object ? take_key(w, &key) : ERR_OK;
}

/* Behind a value, or at the start of an empty container: leaves the containers that end here. What
 * follows is the next value, unless all are left. */
static enum err leave(struct walk *w, struct nest *n)
{
    struct slice key;
    while (n->depth > 0) {
        skip_blanks(w);
        if (take_byte(w, in_object(n) ? '}' : ']')) {
            n->depth--;
            continue;
        }
        if (!take_byte(w, ','))
            return refuse(w, in_object(n) ? "neither , nor }" : "neither , nor ]");
        skip_blanks(w);
        return in_object(n) ? take_key(w, &key) : ERR_OK;
    }
    return ERR_OK;
}

/* Goes behind one value. @max_depth: containers that it may consist of, one in the other. */
static enum err take_value(struct walk *w, unsigned max_depth)
{
    struct nest n = {.max_depth = max_depth};
    assert(max_depth <= WIRE_READ_DEPTH_MAX);
    do {
        const bool enters = peek(w) == '{' || peek(w) == '[';
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
static uint32_t unescape(struct walk *w)
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

/* The next bytes that the text at the position means: as they stand, or one character that was
 * escaped, in @space. */
static struct slice next_piece(struct walk *w, uint8_t space[4])
{
    if (*w->at == '\\')
        return slice_make(space, write_utf8(space, unescape(w)));
    const uint8_t *from = w->at;
    const size_t left = (size_t)(w->end - from);
    const uint8_t *escape = memchr(from, '\\', left);
    w->at = escape != NULL ? escape : w->end;
    return slice_make(from, (size_t)(w->at - from));
}

static bool means_names(struct slice key)
{
    struct walk w = {.at = key.ptr, .end = key.ptr + key.len};
    size_t matched = 0;
    while (w.at < w.end) {
        uint8_t space[4] = {0};
        const struct slice piece = next_piece(&w, space);
        if (piece.len > KEY_LEN - matched || memcmp(piece.ptr, &WIRE_KEY[matched], piece.len) != 0)
            return false;
        matched += piece.len;
    }
    return matched == KEY_LEN;
}

/* ---- the outermost object ---- */

/* An entry of it. */
struct entry {
    size_t number;        /* 1 for the first; 0 before it */
    const uint8_t *comma; /* before it; the key itself for the first one */
    const uint8_t *key;
    const uint8_t *value;
    bool is_names; /* the key is __asgi_channel__ */
};

static enum err begin(struct walk *w, struct slice body, struct err_text *why)
{
    *w = (struct walk){
        .begin = body.ptr,
        .at = body.ptr,
        .end = body.len > 0 ? body.ptr + body.len : body.ptr,
        .why = why,
    };
    if (!utf8_is_valid(body.ptr, body.len))
        return refuse(w, "no valid UTF-8");
    skip_blanks(w);
    if (w->at == w->end)
        return refuse(w, "empty");
    return take_byte(w, '{') ? ERR_OK : refuse(w, "no object");
}

/* Goes to the entry behind @entry (zeroed at the beginning); false behind the end of the object,
 * and with *@err set when it is broken. */
static bool next_entry(struct walk *w, struct entry *entry, unsigned max_depth, enum err *err)
{
    struct slice key = {0};

    *err = ERR_OK;
    skip_blanks(w);
    entry->comma = w->at;
    if (take_byte(w, '}'))
        return false;
    if (entry->number++ > 0) {
        if (!take_byte(w, ','))
            *err = refuse(w, "neither , nor }");
        skip_blanks(w);
    }
    entry->key = w->at;
    if (*err == ERR_OK)
        *err = take_key(w, &key);
    if (*err != ERR_OK)
        return false;
    entry->value = w->at;
    entry->is_names = means_names(key);
    *err = take_value(w, max_depth);
    return *err == ERR_OK;
}

static enum err end(struct walk *w)
{
    skip_blanks(w);
    return w->at == w->end ? ERR_OK : refuse(w, "something follows the message");
}

enum err wire_json_check(struct slice body, struct err_text *why)
{
    struct walk w;
    struct entry entry = {0};
    enum err err = begin(&w, body, why);
    if (err != ERR_OK)
        return err;
    while (next_entry(&w, &entry, WIRE_DEPTH_MAX, &err)) {
        if (entry.is_names)
            return err_fail(why, ERR_INVALID, "a message may not have the key " WIRE_KEY);
    }
    return err == ERR_OK ? end(&w) : err;
}

/* ---- reading ---- */

static void copy(struct buf *out, const uint8_t *from, const uint8_t *to)
{
    memcpy(out->ptr + out->len, from, (size_t)(to - from));
    out->len += (uint32_t)(to - from);
}

/* Copies the object but for the entries of the key, each with the comma that is then too much;
 * @names becomes the value of the last of them, whose pointer is NULL when there is none. */
static enum err cut(struct buf *body, struct slice *names, struct walk *w)
{
    const uint8_t *copied = w->begin;
    const uint8_t *leading = NULL; /* begin of entries cut before any that stays */
    struct entry entry = {0};
    bool has_kept = false;
    enum err err = ERR_OK;

    while (next_entry(w, &entry, WIRE_READ_DEPTH_MAX, &err)) {
        if (leading != NULL && !entry.is_names) {
            copy(body, copied, leading);
            copied = entry.key;
            leading = NULL;
        }
        has_kept = has_kept || !entry.is_names;
        if (!entry.is_names)
            continue;
        *names = slice_make(entry.value, (size_t)(w->at - entry.value));
        if (!has_kept) {
            leading = leading != NULL ? leading : entry.key;
            continue;
        }
        copy(body, copied, entry.comma);
        copied = w->at;
    }
    if (err != ERR_OK)
        return err;
    if (leading != NULL) { /* and none stayed */
        copy(body, copied, leading);
        copied = names->ptr + names->len;
    }
    copy(body, copied, w->end);
    return end(w);
}

/* Says in @out what the value at @names means, which is whole. */
static enum err read_names(struct wire_message *out, const struct walk *w, struct slice names)
{
    struct walk at = {
        .begin = w->begin, .at = names.ptr, .end = names.ptr + names.len, .why = w->why};
    struct slice name;

    out->names = names;
    out->name_count = 1;
    out->kind = WIRE_ONE_NAME;
    if (peek(&at) == '"')
        return ERR_OK;
    if (!take_byte(&at, '['))
        return refuse(&at, WIRE_KEY " is neither string nor array");
    out->kind = WIRE_NAME_LIST;
    out->name_count = 0;
    for (skip_blanks(&at); peek(&at) != ']'; skip_blanks(&at)) {
        if (out->name_count++ > 0) {
            (void)take_byte(&at, ',');
            skip_blanks(&at);
        }
        if (peek(&at) != '"')
            return refuse(&at, WIRE_KEY " holds something that is no string");
        const enum err err = take_string(&at, &name);
        if (err != ERR_OK)
            return err;
    }
    return ERR_OK;
}

/* json.loads() takes a byte order mark in front of bytes. */
static struct slice without_mark(struct slice text)
{
    static const uint8_t mark[] = {0xef, 0xbb, 0xbf};
    if (text.len < sizeof(mark) || memcmp(text.ptr, mark, sizeof(mark)) != 0)
        return text;
    return slice_make(text.ptr + sizeof(mark), text.len - sizeof(mark));
}

enum err wire_json_open(struct wire_message *out, struct buf *body, struct slice plain,
                        struct err_text *why)
{
    struct wire_message found = {.kind = WIRE_NO_NAMES, .serializer = LAYER_JSON};
    const uint32_t from = body->len;
    struct slice names = {0};
    struct walk w;

    enum err err = begin(&w, without_mark(plain), why);
    if (err == ERR_OK)
        err = cut(body, &names, &w);
    if (err == ERR_OK && names.ptr != NULL)
        err = read_names(&found, &w, names);
    if (err != ERR_OK) {
        body->len = from;
        return err;
    }
    *out = found;
    return ERR_OK;
}

/* Replaces @text by what it means, in @scratch. */
static enum err write_meaning(struct buf *scratch, struct slice *text)
{
    struct walk w = {.at = text->ptr, .end = text->ptr + text->len};
    scratch->len = 0;
    while (w.at < w.end) {
        uint8_t space[4] = {0};
        const struct slice piece = next_piece(&w, space);
        const enum err err = buf_append(scratch, piece.ptr, piece.len);
        if (err != ERR_OK)
            return err;
    }
    *text = buf_slice(scratch);
    return ERR_OK;
}

bool wire_json_next_name(struct slice names, size_t *at, struct buf *scratch, struct slice *name)
{
    struct walk w = {.at = names.ptr + *at, .end = names.ptr + names.len};
    struct err_text why;
    bool is_found = false;

    w.begin = w.at;
    w.why = &why;
    while (!is_found) {
        const uint8_t *open = memchr(w.at, '"', (size_t)(w.end - w.at));
        if (open == NULL)
            break;
        w.at = open;
        if (take_string(&w, name) != ERR_OK)
            break;
        is_found = name->len == 0 || memchr(name->ptr, '\\', name->len) == NULL ||
                   write_meaning(scratch, name) == ERR_OK;
    }
    *at = (size_t)(w.at - names.ptr);
    return is_found;
}
