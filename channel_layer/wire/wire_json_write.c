/* SPDX-License-Identifier: BSD-3-Clause */
#include "channel_layer/wire/wire_body.h"

#include <assert.h>
#include <string.h>

/* As json.dumps() escapes: all but the printable characters of ASCII, in lower case. Returns how
 * many characters; with @out NULL they are only counted. */
static size_t escape(uint8_t *out, uint32_t c)
{
    static const char letters[] = "\"\\bfnrt";
    static const char meanings[] = "\"\\\b\f\n\r\t";
    static const char digits[] = "0123456789abcdef";
    const char *known = c != 0 && c < 0x80 ? strchr(meanings, (int)c) : NULL;
    if (known != NULL) {
        if (out != NULL) {
            out[0] = '\\';
            out[1] = (uint8_t)letters[known - meanings];
        }
        return 2;
    }
    if (c >= 0x10000) {
        c -= 0x10000;
        const size_t first = escape(out, 0xd800 + (c >> 10));
        return first + escape(out != NULL ? out + first : NULL, 0xdc00 + (c & 0x3ff));
    }
    if (out != NULL) {
        out[0] = '\\';
        out[1] = 'u';
        for (unsigned i = 0; i < 4; i++)
            out[2 + i] = (uint8_t)digits[c >> (12 - 4 * i) & 0xf];
    }
    return 6;
}

static bool is_printable(uint8_t byte)
{
    return byte >= ' ' && byte <= '~' && byte != '"' && byte != '\\';
}

/* The character at @in, in valid UTF-8. */
static uint32_t read_utf8(const uint8_t *in, size_t *len)
{
    const size_t more = in[0] < 0x80 ? 0 : in[0] < 0xe0 ? 1 : in[0] < 0xf0 ? 2 : 3;
    uint32_t c = more == 0 ? in[0] : in[0] & (0x3fU >> more);
    for (size_t i = 1; i <= more; i++)
        c = c << 6 | (in[i] & 0x3fU);
    *len = more + 1;
    return c;
}

/* Writes @text in quotes; with @out NULL it is only counted. */
static size_t quote(uint8_t *out, struct slice text)
{
    size_t count = 1;
    for (size_t i = 0; i < text.len;) {
        size_t len = 1;
        if (is_printable(text.ptr[i])) {
            if (out != NULL)
                out[count] = text.ptr[i];
            count++;
        } else {
            const uint32_t c = read_utf8(text.ptr + i, &len);
            count += escape(out != NULL ? out + count : NULL, c);
        }
        i += len;
    }
    if (out != NULL) {
        out[0] = '"';
        out[count] = '"';
    }
    return count + 1;
}

static const char key_first[] = "\"" WIRE_KEY "\": ";
static const char key_next[] = ", \"" WIRE_KEY "\": ";

static bool is_blank(uint8_t byte)
{
    return byte == ' ' || byte == '\n' || byte == '\r' || byte == '\t';
}

/* Where the } of a body stands that was checked, and what comes before the value that is put there.
 * NULL when it is no object. */
static const char *find_end(struct slice body, size_t *at)
{
    size_t end = body.len;
    while (end > 0 && is_blank(body.ptr[end - 1]))
        end--;
    if (end == 0 || body.ptr[end - 1] != '}')
        return NULL;
    *at = --end;
    while (end > 0 && is_blank(body.ptr[end - 1]))
        end--;
    if (end == 0)
        return NULL;
    return body.ptr[end - 1] == '{' ? key_first : key_next;
}

enum err wire_json_size(size_t *size, const struct wire_splice *splice)
{
    const struct wire_to *to = splice->to;
    size_t at = 0;
    const char *key = find_end(splice->body, &at);

    if (key == NULL)
        return ERR_INVALID;
    if (to->count > WIRE_MEMBER_MAX)
        return ERR_TOO_BIG;
    size_t sum = splice->body.len + strlen(key);
    if (to->kind == WIRE_NAME_LIST) /* [] and ", " between them */
        sum += 2 + (to->count > 0 ? 2 * (to->count - 1) : 0);
    for (size_t i = 0; i < to->count; i++) {
        if (sum > WIRE_MEMBER_MAX || to->names[i].len > WIRE_MEMBER_MAX)
            return ERR_TOO_BIG;
        sum += quote(NULL, to->names[i]);
    }
    *size = sum;
    return sum > WIRE_MEMBER_MAX ? ERR_TOO_BIG : ERR_OK;
}

static uint8_t *put(uint8_t *out, const void *bytes, size_t len)
{
    memcpy(out, bytes, len);
    return out + len;
}

uint8_t *wire_json_write(uint8_t *out, const struct wire_splice *splice)
{
    const struct wire_to *to = splice->to;
    const struct slice body = splice->body;
    size_t at = 0;
    const char *key = find_end(body, &at);

    assert(key != NULL); /* wire_json_size() has seen it */
    out = put(out, body.ptr, at);
    out = put(out, key, strlen(key));
    if (to->kind == WIRE_NAME_LIST)
        *out++ = '[';
    for (size_t i = 0; i < to->count; i++) {
        if (i > 0)
            out = put(out, ", ", 2);
        out += quote(out, to->names[i]);
    }
    if (to->kind == WIRE_NAME_LIST)
        *out++ = ']';
    return put(out, body.ptr + at, body.len - at);
}
