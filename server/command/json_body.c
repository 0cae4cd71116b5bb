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

/* The bytes of @text from @begin to @end, which may be none. */
static struct slice part_of(struct slice text, size_t begin, size_t end)
{
    return begin < end ? slice_make(text.ptr + begin, end - begin) : (struct slice){0};
}

static enum err put(struct buf *out, struct slice bytes, struct err_text *why)
{
    const enum err err = bytes.len > 0 ? buf_append(out, bytes.ptr, bytes.len) : ERR_OK;
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

/* Whether a value may stand beside this byte. */
static bool is_apart(uint8_t byte)
{
    return is_blank(byte) || (byte != '\0' && strchr(":,[]{}", byte) != NULL);
}

/* Puts @number in the place of the object that ends here. What is no JSON does not become any: the
 * number stays apart from what it was apart from. */
static enum err replace(struct scan *s, const struct open *open, struct slice number)
{
    const struct slice blank = slice_str(" ");
    const size_t end = s->at + 1;
    enum err err = put(s->out, part_of(s->text, s->copied, open->begin), s->why);
    if (err == ERR_OK && open->begin > 0 && !is_apart(s->text.ptr[open->begin - 1]))
        err = put(s->out, blank, s->why);
    if (err == ERR_OK)
        err = put(s->out, number, s->why);
    if (err == ERR_OK && end < s->text.len && !is_apart(s->text.ptr[end]))
        err = put(s->out, blank, s->why);
    s->copied = end;
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

/* Something that is neither a key nor its colon. Between the two it is no JSON. */
static void see(struct open *open)
{
    if (open->value == 0)
        open->mark = MARK_NONE;
    open->is_begun = true;
}

static enum err enter(struct scan *s)
{
    if (s->depth == TRANSCODE_DEPTH_WRITE)
        return err_fail(s->why, ERR_TOO_BIG, "the message nests deeper than %d",
                        TRANSCODE_DEPTH_WRITE);
    if (s->depth > 0)
        see(&s->opens[s->depth - 1]);
    s->opens[s->depth++] = (struct open){.begin = s->at};
    return ERR_OK;
}

/* What a string, a colon or a comma says of the object that it is in. */
static void note(struct scan *s, uint8_t byte, size_t end)
{
    struct open *open = s->depth > 0 ? &s->opens[s->depth - 1] : NULL;
    if (open == NULL)
        return;
    if (byte == '"' && !open->is_begun && s->text.ptr[open->begin] == '{') {
        open->mark = mark_of(content_of(slice_make(s->text.ptr + s->at, end - s->at)));
        open->is_begun = true;
    } else if (byte == ':' && open->value == 0) {
        open->value = end;
    } else {
        open->has_more = open->has_more || byte == ',';
        see(open);
    }
}

static enum err leave(struct scan *s)
{
    if (s->depth == 0)
        return ERR_OK; /* no JSON, which the node refuses */
    const struct open *open = &s->opens[--s->depth];
    const bool is_marked =
        open->mark != MARK_NONE && !open->has_more && open->value != 0 && s->text.ptr[s->at] == '}';
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
    return err == ERR_OK ? put(out, part_of(text, s.copied, text.len), why) : err;
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
    enum err err = put(out, slice_str("{\"__float__\": \""), why);
    if (err == ERR_OK)
        err = put(out, slice_str(word), why);
    return err == ERR_OK ? put(out, slice_str("\"}"), why) : err;
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
        err = put(out, part_of(body, copied, at), why);
        if (err == ERR_OK)
            err = is_end ? put(out, slice_str(" "), why) : put_special(out, word, why);
        at += is_end ? 1 : strlen(word);
        copied = at;
    }
    return err == ERR_OK ? put(out, part_of(body, copied, body.len), why) : err;
}
