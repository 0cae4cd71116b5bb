/* SPDX-License-Identifier: BSD-3-Clause */
#include "core/log_escape.h"

enum { ESCAPED_MAX = 4 };

static size_t hex(char out[ESCAPED_MAX], uint8_t byte)
{
    static const char digits[] = "0123456789abcdef";
    out[0] = '\\';
    out[1] = 'x';
    out[2] = digits[byte >> 4];
    out[3] = digits[byte & 0x0fU];
    return ESCAPED_MAX;
}

/* Escapes the character at the start of @text. Returns the bytes written (0: it needs nothing);
 * *@used is how many it is made of. */
static size_t escape_one(char out[ESCAPED_MAX], size_t *used, struct slice text, bool keep_lines)
{
    const uint8_t first = text.ptr[0];
    *used = 1;
    if (first == 0xc2 && text.len > 1 && text.ptr[1] >= 0x80 && text.ptr[1] <= 0x9f) {
        *used = 2; /* U+0080 to U+009F: some terminals obey them as they obey ESC */
        return hex(out, text.ptr[1]);
    }
    if (first >= 0x20 && first != 0x7f)
        return 0;
    if (keep_lines && (first == '\n' || first == '\t'))
        return 0;
    if (first == '\n' || first == '\r' || first == '\t') {
        out[0] = '\\';
        out[1] = first == '\n' ? 'n' : 't';
        if (first == '\r')
            out[1] = 'r';
        return 2;
    }
    return hex(out, first);
}

size_t log_escape(char *out, size_t cap, struct slice text, bool keep_lines, bool *cut)
{
    size_t len = 0;
    size_t used = 0;
    for (size_t at = 0; at < text.len; at += used) {
        char escaped[ESCAPED_MAX];
        const struct slice rest = slice_make(text.ptr + at, text.len - at);
        const size_t count = escape_one(escaped, &used, rest, keep_lines);
        if (cap - len < (count > 0 ? count : 1)) { /* an escape is written whole or not at all */
            *cut = true;
            break;
        }
        memcpy(out + len, count > 0 ? (const void *)escaped : rest.ptr, count > 0 ? count : 1);
        len += count > 0 ? count : 1;
    }
    return len;
}
