/* SPDX-License-Identifier: BSD-3-Clause
 *
 * msgpack to JSON, in two walks over the body: the first refuses what is broken and notes for each
 * map whether a JSON object can stand for it; the second writes. Both are linear in the bytes that
 * are there, whatever counts the body declares.
 */
#include "core/transcode.h"

#include "core/base64.h"
#include "core/pack.h"
#include "core/text.h"
#include "core/transcode_marks.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct item {
    enum pack_kind kind;
    const uint8_t *first;
    struct slice content; /* all that follows the header */
    uint64_t count;       /* of an array's items, of a map's entries */
};

struct walk {
    const uint8_t *at;
    const uint8_t *end;
    struct buf *forms; /* a byte for each map, in the order of their first bytes */
    size_t map;        /* the next one's number */
    unsigned depth;
    struct buf *out;
    struct err_text *why;
};

/* What a form says of a map. */
enum { FORM_OBJECT, FORM_PAIRS };

enum { NUMBER_CHARS = 32, FORMS_MAX = 1 << 30, TRUE_BYTE = 0xc3 };

static enum err broken(struct walk *w, const char *what)
{
    return err_fail(w->why, ERR_INVALID, "the body is not msgpack: %s", what);
}

/* Reads one value, of a container the header only. */
static enum err item_read(struct walk *w, struct item *out)
{
    struct pack_item item = {0};
    const size_t left = (size_t)(w->end - w->at);
    const enum pack_scan found = pack_scan_item(&item, w->at, left);
    if (found == PACK_BROKEN)
        return broken(w, "a byte that begins no value");
    if (found == PACK_MORE || item.header > left || item.content > left - item.header)
        return broken(w, "it is cut off");
    *out = (struct item){
        .kind = item.kind,
        .first = w->at,
        .content = slice_make(w->at + item.header, (size_t)item.content),
        .count = item.kind == PACK_MAP ? item.items / 2 : item.items,
    };
    w->at += item.header + (size_t)item.content;
    return ERR_OK;
}

/* ---- the first walk ---- */

/* A key with a NUL is one that JSON can hold and this program's reader of JSON cannot. */
static bool can_be_key(const struct item *item)
{
    return item->kind == PACK_STR &&
           (item->content.len == 0 || memchr(item->content.ptr, 0, item->content.len) == NULL);
}

static enum err check_value(struct walk *w);

static enum err check_map(struct walk *w, uint64_t count)
{
    const uint8_t unknown = FORM_OBJECT;
    const size_t map = w->map++;
    const enum err err = buf_append(w->forms, &unknown, 1);
    if (err != ERR_OK)
        return err_fail(w->why, err, "no memory for a body with %zu maps", w->map);
    for (uint64_t i = 0; i < count; i++) {
        struct walk ahead = *w;
        struct item key = {.count = 0};
        enum err checked = item_read(&ahead, &key);
        if (checked == ERR_OK &&
            (!can_be_key(&key) || (count == 1 && mark_of(key.content) != MARK_NONE)))
            w->forms->ptr[map] = FORM_PAIRS;
        if (checked == ERR_OK)
            checked = check_value(w);
        if (checked == ERR_OK)
            checked = check_value(w);
        if (checked != ERR_OK)
            return checked;
    }
    return ERR_OK;
}

static enum err check_value(struct walk *w)
{
    struct item item = {.count = 0};
    enum err err = item_read(w, &item);
    if (err != ERR_OK)
        return err;
    if (item.kind == PACK_STR && !utf8_is_valid(item.content.ptr, item.content.len))
        return broken(w, "a str is not UTF-8");
    if (item.kind != PACK_ARRAY && item.kind != PACK_MAP)
        return ERR_OK;
    if (++w->depth > TRANSCODE_DEPTH_READ)
        return err_fail(w->why, ERR_TOO_BIG, "the body nests deeper than %d", TRANSCODE_DEPTH_READ);
    if (item.kind == PACK_MAP)
        err = check_map(w, item.count);
    for (uint64_t i = 0; item.kind == PACK_ARRAY && i < item.count && err == ERR_OK; i++)
        err = check_value(w);
    w->depth--;
    return err;
}

/* ---- the second walk: only memory can fail ---- */

static enum err put(struct walk *w, const void *data, size_t len)
{
    return buf_append(w->out, data, len);
}

static enum err put_str(struct walk *w, const char *text)
{
    return put(w, text, strlen(text));
}

static enum err put_escape(struct walk *w, uint8_t byte)
{
    static const char named[] = {['\b'] = 'b', ['\t'] = 't', ['\n'] = 'n', ['\f'] = 'f',
                                 ['\r'] = 'r', ['"'] = '"',  ['\\'] = '\\'};
    char escape[NUMBER_CHARS];
    if (byte < sizeof(named) && named[byte] != '\0')
        (void)snprintf(escape, sizeof(escape), "\\%c", named[byte]);
    else
        (void)snprintf(escape, sizeof(escape), "\\u%04x", byte);
    return put_str(w, escape);
}

static enum err put_text(struct walk *w, struct slice text)
{
    enum err err = put(w, "\"", 1);
    size_t begin = 0;
    for (size_t i = 0; i < text.len && err == ERR_OK; i++) {
        const uint8_t byte = text.ptr[i];
        if (byte >= 0x20 && byte != '"' && byte != '\\' && byte != 0x7f)
            continue;
        err = put(w, text.ptr + begin, i - begin);
        if (err == ERR_OK)
            err = put_escape(w, byte);
        begin = i + 1;
    }
    if (err == ERR_OK && begin < text.len)
        err = put(w, text.ptr + begin, text.len - begin);
    return err == ERR_OK ? put(w, "\"", 1) : err;
}

static enum err put_base64(struct walk *w, struct slice bytes)
{
    const size_t len = base64_text_len(bytes.len);
    enum err err = put(w, "\"", 1);
    if (err == ERR_OK)
        err = buf_reserve(w->out, len);
    if (err != ERR_OK)
        return err;
    base64_encode(w->out->ptr + w->out->len, bytes, BASE64_STANDARD);
    w->out->len += (uint32_t)len;
    return put(w, "\"", 1);
}

/* The shortest of the forms with 15 to 17 digits that reads back as the same double. */
static void format_real(char out[NUMBER_CHARS], double real)
{
    for (int digits = 15; digits <= 17; digits++) {
        (void)snprintf(out, NUMBER_CHARS - 2, "%.*g", digits, real);
        if (strtod(out, NULL) == real) /* both follow the locale */
            break;
    }
    bool is_float = false;
    for (char *c = out; *c != '\0'; c++) {
        if (strchr("0123456789+-e", *c) == NULL)
            *c = '.'; /* the locale's point */
        is_float = is_float || *c == '.' || *c == 'e';
    }
    if (!is_float)
        memcpy(out + strlen(out), ".0", sizeof(".0"));
}

static enum err put_int(struct walk *w, const struct item *item)
{
    char text[NUMBER_CHARS + sizeof("{\"__int__\": \"\"}")];
    const size_t len = (size_t)(w->end - item->first);
    struct pack_reader r;
    pack_reader_init(&r, item->first, len);
    const int64_t value = pack_read_int(&r);
    if (!r.failed) {
        (void)snprintf(text, sizeof(text), "%" PRId64, value);
    } else { /* from 2^63 on */
        pack_reader_init(&r, item->first, len);
        (void)snprintf(text, sizeof(text), "{\"__int__\": \"%" PRIu64 "\"}", pack_read_uint(&r));
    }
    return put_str(w, text);
}

static double real_of(struct slice content)
{
    uint64_t bits = 0;
    for (size_t i = 0; i < content.len; i++)
        bits = bits << 8 | content.ptr[i];
    if (content.len == sizeof(double)) {
        double real = 0;
        memcpy(&real, &bits, sizeof(real));
        return real;
    }
    const uint32_t half = (uint32_t)bits;
    float real = 0;
    memcpy(&real, &half, sizeof(real));
    return (double)real;
}

static enum err put_float(struct walk *w, const struct item *item)
{
    char text[NUMBER_CHARS];
    const double real = real_of(item->content);
    if (isnan(real))
        return put_str(w, "{\"__float__\": \"NaN\"}");
    if (isinf(real))
        return put_str(w, real < 0 ? "{\"__float__\": \"-Infinity\"}"
                                   : "{\"__float__\": \"Infinity\"}");
    format_real(text, real);
    return put_str(w, text);
}

static enum err put_ext(struct walk *w, const struct item *item)
{
    char head[NUMBER_CHARS];
    (void)snprintf(head, sizeof(head), "{\"__ext__\": [%d, ", (int8_t)item->content.ptr[-1]);
    enum err err = put_str(w, head);
    if (err == ERR_OK)
        err = put_base64(w, item->content);
    return err == ERR_OK ? put_str(w, "]}") : err;
}

static enum err put_bin(struct walk *w, struct slice bytes)
{
    enum err err = put_str(w, "{\"__bytes__\": ");
    if (err == ERR_OK)
        err = put_base64(w, bytes);
    return err == ERR_OK ? put_str(w, "}") : err;
}

static enum err put_value(struct walk *w);

static enum err put_array(struct walk *w, uint64_t count)
{
    enum err err = put_str(w, "[");
    for (uint64_t i = 0; i < count && err == ERR_OK; i++) {
        if (i > 0)
            err = put_str(w, ", ");
        if (err == ERR_OK)
            err = put_value(w);
    }
    return err == ERR_OK ? put_str(w, "]") : err;
}

static enum err put_map(struct walk *w, uint64_t count)
{
    const bool is_pairs = w->forms->ptr[w->map++] == FORM_PAIRS;
    enum err err = put_str(w, is_pairs ? "{\"__map__\": [" : "{");
    for (uint64_t i = 0; i < count && err == ERR_OK; i++) {
        if (i > 0)
            err = put_str(w, ", ");
        if (err == ERR_OK && is_pairs)
            err = put_str(w, "[");
        if (err == ERR_OK)
            err = put_value(w);
        if (err == ERR_OK)
            err = put_str(w, is_pairs ? ", " : ": ");
        if (err == ERR_OK)
            err = put_value(w);
        if (err == ERR_OK && is_pairs)
            err = put_str(w, "]");
    }
    return err == ERR_OK ? put_str(w, is_pairs ? "]}" : "}") : err;
}

static enum err put_value(struct walk *w)
{
    struct item item;
    const enum err err = item_read(w, &item);
    if (err != ERR_OK)
        return err;
    switch (item.kind) {
    case PACK_NIL:
        return put_str(w, "null");
    case PACK_BOOL:
        return put_str(w, *item.first == TRUE_BYTE ? "true" : "false");
    case PACK_INT:
        return put_int(w, &item);
    case PACK_FLOAT:
        return put_float(w, &item);
    case PACK_STR:
        return put_text(w, item.content);
    case PACK_BIN:
        return put_bin(w, item.content);
    case PACK_EXT:
        return put_ext(w, &item);
    case PACK_ARRAY:
        return put_array(w, item.count);
    case PACK_MAP:
        break;
    }
    return put_map(w, item.count);
}

enum err transcode_to_json(struct buf *out, struct slice body, struct err_text *why)
{
    struct buf forms;
    buf_init(&forms, FORMS_MAX);
    struct walk w = {.forms = &forms, .out = out, .why = why};
    w.at = body.ptr;
    w.end = body.len > 0 ? body.ptr + body.len : body.ptr;
    struct walk top = w;
    struct item item = {.count = 0};
    enum err err = item_read(&top, &item);
    if (err == ERR_OK && item.kind != PACK_MAP)
        err = err_fail(why, ERR_INVALID, "the body is no map");
    if (err == ERR_OK)
        err = check_value(&w);
    if (err == ERR_OK && w.at != w.end)
        err = broken(&w, "something follows behind the map");
    if (err == ERR_OK) {
        w.at = body.ptr;
        w.map = 0;
        err = put_value(&w);
        if (err != ERR_OK)
            (void)err_fail(why, err, "no room for the JSON of a body of %zu bytes", body.len);
    }
    buf_deinit(&forms);
    return err;
}
