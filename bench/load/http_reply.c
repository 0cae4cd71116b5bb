/* SPDX-License-Identifier: BSD-3-Clause */
#include "bench/load/http_reply.h"

#include "core/text.h"

/* What the head says about the body. */
struct framing {
    size_t length;
    bool has_length;
    bool is_chunked;
    bool closes;
};

/* Reads digits of @base at the front of @in. False when there is none or the number is too big. */
static bool get_number(size_t *out, size_t *digits, struct slice in, unsigned base)
{
    size_t value = 0;
    size_t i = 0;

    for (; i < in.len; i++) {
        const uint8_t c = in.ptr[i] | 0x20;
        unsigned digit = base;
        if (in.ptr[i] >= '0' && in.ptr[i] <= '9')
            digit = (unsigned)(in.ptr[i] - '0');
        else if (c >= 'a' && c <= 'f')
            digit = (unsigned)(c - 'a') + 10;
        if (digit >= base)
            break;
        value = value * base + digit;
        if (value > HTTP_REPLY_MAX_BYTES)
            return false;
    }
    *out = value;
    *digits = i;
    return i > 0;
}

static bool read_field(struct framing *f, struct slice name, struct slice value)
{
    size_t digits = 0;

    if (text_eq_nocase(name, "content-length")) {
        f->has_length = true;
        return get_number(&f->length, &digits, value, 10) && digits == value.len;
    }
    if (text_eq_nocase(name, "transfer-encoding"))
        f->is_chunked = text_eq_nocase(value, "chunked");
    if (text_eq_nocase(name, "connection"))
        f->closes = text_eq_nocase(value, "close");
    return true;
}

/* Reads the fields of a head that ends with an empty line. */
static bool read_fields(struct framing *f, struct slice head)
{
    const uint8_t *end = head.ptr + head.len;
    const uint8_t *line = memmem(head.ptr, head.len, "\r\n", 2);

    for (line += 2; line < end;) {
        const uint8_t *stop = memmem(line, (size_t)(end - line), "\r\n", 2);
        const uint8_t *colon = memchr(line, ':', (size_t)(stop - line));
        if (colon == NULL)
            return stop == line;
        const struct slice value = text_trim(slice_make(colon + 1, (size_t)(stop - colon - 1)));
        if (!read_field(f, slice_make(line, (size_t)(colon - line)), value))
            return false;
        line = stop + 2;
    }
    return true;
}

/* Walks the chunks at the front of @in and compares what they carry with @expected. */
static enum http_reply_scan read_chunks(bool *same, size_t *used, struct slice in,
                                        struct slice expected)
{
    size_t at = 0;
    size_t body = 0;

    *same = true;
    for (;;) {
        const struct slice rest = slice_make(in.ptr + at, in.len - at);
        const uint8_t *line_end = memmem(rest.ptr, rest.len, "\r\n", 2);
        if (line_end == NULL)
            return HTTP_REPLY_MORE;
        size_t size = 0;
        size_t digits = 0;
        if (!get_number(&size, &digits, rest, 16))
            return HTTP_REPLY_BROKEN;
        at += (size_t)(line_end - rest.ptr) + 2;
        if (in.len - at < size + 2)
            return HTTP_REPLY_MORE;
        if (memcmp(in.ptr + at + size, "\r\n", 2) != 0) /* no trailers are expected either */
            return HTTP_REPLY_BROKEN;
        if (size > expected.len - body || memcmp(expected.ptr + body, in.ptr + at, size) != 0)
            *same = false;
        else
            body += size;
        at += size + 2;
        if (size == 0)
            break;
    }
    *same = *same && body == expected.len;
    *used = at;
    return HTTP_REPLY_DONE;
}

enum http_reply_scan http_reply_scan(struct http_reply *out, size_t *used, struct slice in,
                                     struct slice expected)
{
    static const char version[] = "HTTP/1.1 ";
    const uint8_t *end = memmem(in.ptr, in.len, "\r\n\r\n", 4);
    struct framing f = {0};
    size_t status = 0;
    size_t digits = 0;

    if (end == NULL)
        return in.len > HTTP_REPLY_MAX_BYTES ? HTTP_REPLY_BROKEN : HTTP_REPLY_MORE;
    const size_t head = (size_t)(end - in.ptr) + 4;
    if (head < sizeof(version) + 3 || memcmp(in.ptr, version, sizeof(version) - 1) != 0)
        return HTTP_REPLY_BROKEN;
    if (!get_number(&status, &digits, slice_make(in.ptr + sizeof(version) - 1, 3), 10) ||
        digits != 3 || !read_fields(&f, slice_make(in.ptr, head)))
        return HTTP_REPLY_BROKEN;

    out->status = (unsigned)status;
    out->keeps_open = !f.closes;
    const struct slice rest = slice_make(in.ptr + head, in.len - head);
    if (f.is_chunked) {
        const enum http_reply_scan scan = read_chunks(&out->has_body, used, rest, expected);
        *used += head;
        return scan;
    }
    if (!f.has_length)
        return HTTP_REPLY_BROKEN;
    if (rest.len < f.length)
        return HTTP_REPLY_MORE;
    out->has_body = slice_eq(slice_make(rest.ptr, f.length), expected);
    *used = head + f.length;
    return HTTP_REPLY_DONE;
}
