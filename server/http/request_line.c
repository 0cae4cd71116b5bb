/* SPDX-License-Identifier: BSD-3-Clause */
#include "server/http/request_line.h"

#include "core/text.h"

static unsigned refuse(const char **reason, unsigned status, const char *text)
{
    *reason = text;
    return status;
}

/* Cuts what stands before the first @separator off *@rest; the whole rest when there is none. */
static struct slice cut(struct slice *rest, uint8_t separator)
{
    const uint8_t *at = rest->len == 0 ? NULL : memchr(rest->ptr, separator, rest->len);
    const size_t len = at == NULL ? rest->len : (size_t)(at - rest->ptr);
    const struct slice part = slice_make(rest->ptr, len);
    const size_t skip = at == NULL ? len : len + 1;
    *rest = slice_make(rest->ptr + skip, rest->len - skip);
    return part;
}

static unsigned parse_version(unsigned *minor, const char **reason, struct slice version)
{
    if (slice_eq_str(version, "HTTP/1.1")) {
        *minor = 1;
        return 0;
    }
    if (slice_eq_str(version, "HTTP/1.0")) {
        *minor = 0;
        return 0;
    }
    const uint8_t *v = version.ptr;
    if (version.len == 8 && memcmp(v, "HTTP/", 5) == 0 && v[5] >= '0' && v[5] <= '9' &&
        v[6] == '.' && v[7] >= '0' && v[7] <= '9')
        return refuse(reason, 505, "This server speaks HTTP/1.1 and HTTP/1.0.");
    return refuse(reason, 400, "The request line does not end with an HTTP version.");
}

/* "scheme://authority/path": the path begins at the first slash (or question mark) behind the
 * authority. */
static bool split_absolute(struct request_line *out, struct slice target)
{
    static const char *const schemes[] = {"http://", "https://", "ws://", "wss://"};
    for (size_t i = 0; i < sizeof(schemes) / sizeof(schemes[0]); i++) {
        const size_t len = strlen(schemes[i]);
        if (target.len < len || !text_eq_nocase(slice_make(target.ptr, len), schemes[i]))
            continue;
        size_t end = len;
        while (end < target.len && target.ptr[end] != '/' && target.ptr[end] != '?')
            end++;
        out->authority = slice_make(target.ptr + len, end - len);
        out->path = slice_make(target.ptr + end, target.len - end);
        return out->authority.len > 0;
    }
    return false;
}

static unsigned parse_target(struct request_line *out, const char **reason, struct slice target)
{
    if (target.len == 0)
        return refuse(reason, 400, "The request line has no target.");
    for (size_t i = 0; i < target.len; i++)
        if (target.ptr[i] <= 0x20 || target.ptr[i] >= 0x7f)
            return refuse(reason, 400,
                          "The request target has a byte that must be percent-encoded.");
    out->target = target;
    struct slice rest = target;
    if (target.ptr[0] != '/' && split_absolute(out, target)) {
        rest = out->path;
    } else if (target.ptr[0] != '/' && !slice_eq_str(target, "*") &&
               !slice_eq_str(out->method, "CONNECT")) {
        return refuse(reason, 400, "The request target is neither a path nor an absolute URI.");
    }
    out->path = cut(&rest, '?');
    out->query = rest;
    if (out->path.len == 0)
        out->path = slice_str("/");
    return 0;
}

unsigned request_line_parse(struct request_line *out, const char **reason, struct slice line)
{
    struct slice rest = line;
    *out = (struct request_line){.minor = 1};
    out->method = cut(&rest, ' ');
    if (!text_is_token(out->method)) {
        out->method = slice_make(NULL, 0);
        return refuse(reason, 400, "The request line does not begin with a method.");
    }
    const struct slice target = cut(&rest, ' ');
    const unsigned status = parse_version(&out->minor, reason, rest);
    if (status != 0)
        return status;
    return parse_target(out, reason, target);
}
