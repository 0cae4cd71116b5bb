/* SPDX-License-Identifier: BSD-3-Clause */
#include "server/command/json_body.h"

#include <stdbool.h>
#include <string.h>

#include "core/transcode.h"
#include "core/transcode_marks.h"

static const char *const specials[] = {"NaN", "Infinity", "-Infinity"};

enum { SPECIALS = sizeof(specials) / sizeof(specials[0]) };

/* An array or object that is open at the place that is looked at. */
struct open {
    size_t begin;   /* of its bracket */
    size_t value;   /* of its first member: behind the colon */
    enum mark mark; /* what the key of its first member says */
    bool is_begun;  /* something of it was seen */
    bool has_more;  /* members behind the first */
};

struct scan {
    struct slice text;
    size_t at;
    size_t copied; /* bytes of the text that are in out */
    struct buf *out;
    struct err_text *why;
    unsigned depth;
    struct open opens[TRANSCODE_DEPTH_WRITE];
};

static enum err put(struct buf *out, const void *data, size_t len, struct err_text *why)
{
    const enum err err = len > 0 ? buf_append(out, data, len) : ERR_OK;
    return err == ERR_OK ? err : err_fail(why, err, "the message does not fit: %s", err_str(err));
}

/* Where the string that begins at @at ends: behind its last quote, or the end of the text. */
static size_t end_of_string(struct slice text, size_t at)
{
    for (at++; at < text.len && text.ptr[at] != '"'; at++)
        if (text.ptr[at] == '\\')
            at++;
    return at < text.len ? at + 1 : text.len;
}

static bool is_blank(uint8_t byte)
{
    return byte == ' ' || byte == '\t' || byte == '\n' || byte == '\r';
}

/* What is between the quotes; with a NULL pointer when @value is no string. */
static struct slice content_of(struct slice value)
{
    while (value.len > 0 && is_blank(value.ptr[value.len - 1]))
        value.len--;
    while (value.len > 0 && is_blank(value.ptr[0]))
        value = slice_make(value.ptr + 1, value.len - 1);
    if (value.len < 2 || value.ptr[0] != '"' || end_of_string(value, 0) != value.len)
        return (struct slice){0};
    return slice_make(value.ptr + 1, value.len - 2);
}

static bool is_special(struct slice word)
{
    for (unsigned i = 0; i < SPECIALS; i++)
        if (slice_eq_str(word, specials[i]))
            return true;
    return false;
}

static bool is_decimal(struct slice word)
{
    for (size_t i = 0; i < word.len; i++)
        if (word.ptr[i] < '0' || word.ptr[i] > '9')
            return false;
    return word.len > 0;
}

/* Puts @number in the place of the object that ends here. */
static enum err replace(struct scan *s, const struct open *open, struct slice number)
{
    enum err err = put(s->out, s->text.ptr + s->copied, open->begin - s->copied, s->why);
    if (err == ERR_OK)
        err = put(s->out, number.ptr, number.len, s->why);
    s->copied = s->at + 1;
    return err;
}

/* An object whose only member has a key that marks. */
static enum err take_marked(struct scan *s, const struct open *open)
{
    const struct slice word =
        content_of(slice_make(s->text.ptr + open->value, s->at - open->value));
    switch (open->mark) {
    case MARK_FLOAT:
        if (word.ptr != NULL && is_special(word))
            return replace(s, open, word);
        return err_fail(s->why, ERR_INVALID,
                        "__float__ is not \"NaN\", \"Infinity\" or \"-Infinity\"");
    case MARK_INT:
        if (word.ptr != NULL && is_decimal(word))
            return replace(s, open, word);
        return err_fail(s->why, ERR_INVALID, "__int__ is not a string of digits");
    case MARK_BYTES:
        return err_fail(
            s->why, ERR_INVALID,
            "__bytes__: this layer writes JSON (serializer_format), which has no bytes");
    case MARK_EXT:
        return err_fail(s->why, ERR_INVALID,
                        "__ext__: this layer writes JSON (serializer_format), which has none");
    case MARK_MAP:
        return err_fail(s->why, ERR_INVALID,
                        "__map__: this layer writes JSON (serializer_format), which has objects");
    case MARK_NONE:
        break;
    }
    return ERR_OK;
}

static enum err enter(struct scan *s)
{
    if (s->depth == TRANSCODE_DEPTH_WRITE)
        return err_fail(s->why, ERR_TOO_BIG, "the message nests deeper than %d",
                        TRANSCODE_DEPTH_WRITE);
    if (s->depth > 0)
        s->opens[s->depth - 1].is_begun = true;
    s->opens[s->depth++] = (struct open){.begin = s->at};
    return ERR_OK;
}

/* What a string, a colon or a comma says of the object that it is in. */
static void note(struct scan *s, uint8_t byte, size_t end)
{
    struct open *open = s->depth > 0 ? &s->opens[s->depth - 1] : NULL;
    if (open == NULL)
        return;
    if (byte == ',')
        open->has_more = true;
    else if (byte == ':' && open->value == 0)
        open->value = end;
    else if (byte == '"' && !open->is_begun && s->text.ptr[open->begin] == '{')
        open->mark = mark_of(content_of(slice_make(s->text.ptr + s->at, end - s->at)));
    open->is_begun = true;
}

static enum err leave(struct scan *s)
{
    if (s->depth == 0)
        return ERR_OK; /* no JSON, which the node refuses */
    const struct open *open = &s->opens[--s->depth];
    const bool is_marked = open->mark != MARK_NONE && !open->has_more && open->value != 0;
    return is_marked ? take_marked(s, open) : ERR_OK;
}

enum err json_body_read(struct buf *out, struct slice text, struct err_text *why)
{
    struct scan s;
    enum err err = ERR_OK;
    s.text = text;
    s.at = s.copied = 0;
    s.out = out;
    s.why = why;
    s.depth = 0;
    while (s.at < text.len && err == ERR_OK) {
        const uint8_t byte = text.ptr[s.at];
        const size_t end = byte == '"' ? end_of_string(text, s.at) : s.at + 1;
        if (byte == '{' || byte == '[')
            err = enter(&s);
        else if (byte == '}' || byte == ']')
            err = leave(&s);
        else if (!is_blank(byte))
            note(&s, byte, end);
        s.at = end;
    }
    return err == ERR_OK ? put(out, text.ptr + s.copied, text.len - s.copied, why) : err;
}

/* ---- as a line ---- */

/* Which of them stands at @at, or NULL. */
static const char *special_at(struct slice text, size_t at)
{
    for (unsigned i = 0; i < SPECIALS; i++) {
        const size_t len = strlen(specials[i]);
        if (len <= text.len - at && memcmp(text.ptr + at, specials[i], len) == 0)
            return specials[i];
    }
    return NULL;
}

static enum err put_special(struct buf *out, const char *word, struct err_text *why)
{
    static const char head[] = "{\"__float__\": \"", tail[] = "\"}";
    enum err err = put(out, head, sizeof(head) - 1, why);
    if (err == ERR_OK)
        err = put(out, word, strlen(word), why);
    return err == ERR_OK ? put(out, tail, sizeof(tail) - 1, why) : err;
}

/* Line ends stand between the values: a string has none. */
enum err json_body_print(struct buf *out, struct slice body, struct err_text *why)
{
    enum err err = ERR_OK;
    size_t copied = 0;
    size_t at = 0;
    while (at < body.len && err == ERR_OK) {
        const uint8_t byte = body.ptr[at];
        const bool is_end = byte == '\n' || byte == '\r';
        const char *word = byte == 'N' || byte == 'I' || byte == '-' ? special_at(body, at) : NULL;
        if (!is_end && word == NULL) {
            at = byte == '"' ? end_of_string(body, at) : at + 1;
            continue;
        }
        err = put(out, body.ptr + copied, at - copied, why);
        if (err == ERR_OK)
            err = is_end ? put(out, " ", 1, why) : put_special(out, word, why);
        at += is_end ? 1 : strlen(word);
        copied = at;
    }
    return err == ERR_OK ? put(out, body.ptr + copied, body.len - copied, why) : err;
}
