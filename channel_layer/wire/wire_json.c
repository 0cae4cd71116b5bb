/* SPDX-License-Identifier: BSD-3-Clause */
#include "channel_layer/wire/json_walk.h"
#include "channel_layer/wire/wire_body.h"
#include "core/text.h"

#include <string.h>

enum { KEY_LEN = sizeof(WIRE_KEY) - 1 };
_Static_assert((int)WIRE_READ_DEPTH_MAX <= (int)JSON_WALK_DEPTH_MAX, "raise JSON_WALK_DEPTH_MAX");

/* ---- the outermost object ---- */

static bool means_names(struct slice key)
{
    struct json_walk w = {.at = key.ptr, .end = key.ptr + key.len};
    size_t matched = 0;
    while (w.at < w.end) {
        uint8_t space[4] = {0};
        const struct slice piece = json_walk_piece(&w, space);
        if (piece.len > KEY_LEN - matched || memcmp(piece.ptr, &WIRE_KEY[matched], piece.len) != 0)
            return false;
        matched += piece.len;
    }
    return matched == KEY_LEN;
}

/* An entry of it. */
struct entry {
    size_t number;        /* 1 for the first; 0 before it */
    const uint8_t *comma; /* before it; the key itself for the first one */
    const uint8_t *key;
    const uint8_t *value;
    bool is_names; /* the key is __asgi_channel__ */
};

static enum err begin(struct json_walk *w, struct slice body, struct err_text *why)
{
    *w = (struct json_walk){
        .begin = body.ptr,
        .at = body.ptr,
        .end = body.len > 0 ? body.ptr + body.len : body.ptr,
        .why = why,
    };
    if (!utf8_is_valid(body.ptr, body.len))
        return json_walk_refuse(w, "no valid UTF-8");
    json_walk_blanks(w);
    if (w->at == w->end)
        return json_walk_refuse(w, "empty");
    return json_walk_byte(w, '{') ? ERR_OK : json_walk_refuse(w, "no object");
}

/* Goes to the entry behind @entry (zeroed at the beginning); false behind the end of the object,
 * and with *@err set when it is broken. */
static bool next_entry(struct json_walk *w, struct entry *entry, unsigned max_depth, enum err *err)
{
    struct slice key = {0};

    *err = ERR_OK;
    json_walk_blanks(w);
    entry->comma = w->at;
    if (json_walk_byte(w, '}'))
        return false;
    if (entry->number++ > 0) {
        if (!json_walk_byte(w, ','))
            *err = json_walk_refuse(w, "neither , nor }");
        json_walk_blanks(w);
    }
    entry->key = w->at;
    if (*err == ERR_OK)
        *err = json_walk_key(w, &key);
    if (*err != ERR_OK)
        return false;
    entry->value = w->at;
    entry->is_names = means_names(key);
    *err = json_walk_value(w, max_depth);
    return *err == ERR_OK;
}

static enum err end(struct json_walk *w)
{
    json_walk_blanks(w);
    return w->at == w->end ? ERR_OK : json_walk_refuse(w, "something follows the message");
}

enum err wire_json_check(struct slice body, struct err_text *why)
{
    struct json_walk w;
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
static enum err cut(struct buf *body, struct slice *names, struct json_walk *w)
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
static enum err read_names(struct wire_message *out, const struct json_walk *w, struct slice names)
{
    struct json_walk at = {
        .begin = w->begin, .at = names.ptr, .end = names.ptr + names.len, .why = w->why};
    struct slice name;

    out->names = names;
    out->name_count = 1;
    out->kind = WIRE_ONE_NAME;
    if (json_walk_peek(&at) == '"')
        return ERR_OK;
    if (!json_walk_byte(&at, '['))
        return json_walk_refuse(&at, WIRE_KEY " is neither string nor array");
    out->kind = WIRE_NAME_LIST;
    out->name_count = 0;
    for (json_walk_blanks(&at); json_walk_peek(&at) != ']'; json_walk_blanks(&at)) {
        if (out->name_count++ > 0) {
            (void)json_walk_byte(&at, ',');
            json_walk_blanks(&at);
        }
        if (json_walk_peek(&at) != '"')
            return json_walk_refuse(&at, WIRE_KEY " holds something that is no string");
        const enum err err = json_walk_string(&at, &name);
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
    struct json_walk w;

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
    struct json_walk w = {.at = text->ptr, .end = text->ptr + text->len};
    scratch->len = 0;
    while (w.at < w.end) {
        uint8_t space[4] = {0};
        const struct slice piece = json_walk_piece(&w, space);
        const enum err err = buf_append(scratch, piece.ptr, piece.len);
        if (err != ERR_OK)
            return err;
    }
    *text = buf_slice(scratch);
    return ERR_OK;
}

bool wire_json_next_name(struct slice names, size_t *at, struct buf *scratch, struct slice *name)
{
    struct json_walk w = {.at = names.ptr + *at, .end = names.ptr + names.len};
    struct err_text why;
    bool is_found = false;

    w.begin = w.at;
    w.why = &why;
    while (!is_found) {
        const uint8_t *open = memchr(w.at, '"', (size_t)(w.end - w.at));
        if (open == NULL)
            break;
        w.at = open;
        if (json_walk_string(&w, name) != ERR_OK)
            break;
        is_found = name->len == 0 || memchr(name->ptr, '\\', name->len) == NULL ||
                   write_meaning(scratch, name) == ERR_OK;
    }
    *at = (size_t)(w.at - names.ptr);
    return is_found;
}
