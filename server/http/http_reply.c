/* SPDX-License-Identifier: BSD-3-Clause */
#include "server/http/http_reply.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <time.h>

#include "core/text.h"

/* The registry of status codes (RFC 9110 section 16.2), in order. */
static const struct {
    unsigned status;
    const char *phrase;
} known_phrases[] = {
    {100, "Continue"},
    {101, "Switching Protocols"},
    {102, "Processing"},
    {103, "Early Hints"},
    {200, "OK"},
    {201, "Created"},
    {202, "Accepted"},
    {203, "Non-Authoritative Information"},
    {204, "No Content"},
    {205, "Reset Content"},
    {206, "Partial Content"},
    {207, "Multi-Status"},
    {208, "Already Reported"},
    {226, "IM Used"},
    {300, "Multiple Choices"},
    {301, "Moved Permanently"},
    {302, "Found"},
    {303, "See Other"},
    {304, "Not Modified"},
    {305, "Use Proxy"},
    {307, "Temporary Redirect"},
    {308, "Permanent Redirect"},
    {400, "Bad Request"},
    {401, "Unauthorized"},
    {402, "Payment Required"},
    {403, "Forbidden"},
    {404, "Not Found"},
    {405, "Method Not Allowed"},
    {406, "Not Acceptable"},
    {407, "Proxy Authentication Required"},
    {408, "Request Timeout"},
    {409, "Conflict"},
    {410, "Gone"},
    {411, "Length Required"},
    {412, "Precondition Failed"},
    {413, "Content Too Large"},
    {414, "URI Too Long"},
    {415, "Unsupported Media Type"},
    {416, "Range Not Satisfiable"},
    {417, "Expectation Failed"},
    {418, "I'm a Teapot"},
    {421, "Misdirected Request"},
    {422, "Unprocessable Content"},
    {423, "Locked"},
    {424, "Failed Dependency"},
    {425, "Too Early"},
    {426, "Upgrade Required"},
    {428, "Precondition Required"},
    {429, "Too Many Requests"},
    {431, "Request Header Fields Too Large"},
    {451, "Unavailable For Legal Reasons"},
    {500, "Internal Server Error"},
    {501, "Not Implemented"},
    {502, "Bad Gateway"},
    {503, "Service Unavailable"},
    {504, "Gateway Timeout"},
    {505, "HTTP Version Not Supported"},
    {506, "Variant Also Negotiates"},
    {507, "Insufficient Storage"},
    {508, "Loop Detected"},
    {510, "Not Extended"},
    {511, "Network Authentication Required"},
};

const char *http_reply_phrase(unsigned status)
{
    size_t from = 0;
    size_t to = sizeof(known_phrases) / sizeof(known_phrases[0]);
    while (from < to) {
        const size_t middle = (from + to) / 2;
        if (known_phrases[middle].status == status)
            return known_phrases[middle].phrase;
        if (known_phrases[middle].status < status)
            from = middle + 1;
        else
            to = middle;
    }
    return "Unknown Status";
}

void http_stamp_make(struct http_stamp *stamp, int64_t now, const char *server, bool with_date)
{
    static const char *const days[] = {"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"};
    static const char *const months[] = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                         "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
    const time_t seconds = (time_t)now;
    struct tm tm;
    stamp->has_server = server[0] != '\0';
    int len = 0;
    if (stamp->has_server)
        len = snprintf(stamp->bytes, sizeof(stamp->bytes), "Server: %.200s\r\n", server);
    stamp->server_len = (size_t)len;
    if (with_date && gmtime_r(&seconds, &tm) != NULL)
        len += snprintf(stamp->bytes + len, sizeof(stamp->bytes) - (size_t)len,
                        "Date: %s, %02d %s %d %02d:%02d:%02d GMT\r\n", days[tm.tm_wday], tm.tm_mday,
                        months[tm.tm_mon], tm.tm_year + 1900, tm.tm_hour, tm.tm_min, tm.tm_sec);
    stamp->len = (size_t)len;
}

/* ---- plan ---- */

static bool is_clean_value(struct slice value)
{
    for (size_t i = 0; i < value.len; i++)
        if ((value.ptr[i] < 0x20 && value.ptr[i] != '\t') || value.ptr[i] == 0x7f)
            return false;
    return true;
}

static bool parse_length(uint64_t *out, struct slice value)
{
    if (value.len == 0 || value.len > 18)
        return false;
    uint64_t length = 0;
    for (size_t i = 0; i < value.len; i++) {
        if (value.ptr[i] < '0' || value.ptr[i] > '9')
            return false;
        length = length * 10 + (uint64_t)(value.ptr[i] - '0');
    }
    *out = length;
    return true;
}

static const char *check_headers(struct http_reply *reply, struct slice *culprit)
{
    for (size_t i = 0; i < reply->header_count; i++) {
        const struct header *h = &reply->headers[i];
        *culprit = h->name;
        if (!text_is_token(h->name))
            return "a header name that is not a token";
        if (!is_clean_value(h->value))
            return "a header value with a control byte";
        if (!text_eq_nocase(h->name, "content-length"))
            continue;
        uint64_t length = 0;
        if (!parse_length(&length, text_trim(h->value)))
            return "a Content-Length that is not a number";
        if (reply->has_length && reply->length != length)
            return "two different Content-Length headers";
        reply->has_length = true;
        reply->length = length;
    }
    return NULL;
}

static bool has_no_body(unsigned status)
{
    return status < 200 || status == 204 || status == 304;
}

const char *http_reply_plan(struct http_reply *reply, struct slice *culprit)
{
    *culprit = slice_make(NULL, 0);
    reply->has_length = false;
    reply->length = 0;
    if (reply->status < 200 || reply->status > 999)
        return "a status that is not between 200 and 999";
    const char *wrong = check_headers(reply, culprit);
    if (wrong != NULL)
        return wrong;
    if (has_no_body(reply->status) || reply->is_head)
        reply->framing = HTTP_FRAMING_NONE;
    else if (reply->has_length)
        reply->framing = HTTP_FRAMING_LENGTH;
    else if (reply->is_whole) {
        reply->framing = HTTP_FRAMING_LENGTH;
        reply->length = reply->whole_bytes;
    } else {
        reply->framing = reply->minor == 1 ? HTTP_FRAMING_CHUNKED : HTTP_FRAMING_CLOSE;
    }
    return NULL;
}

/* ---- bytes ---- */

static void put(struct writer *w, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void put(struct writer *w, const char *format, ...)
{
    enum { LINE_MAX_BYTES = 256 };
    char *out = (char *)writer_reserve(w, LINE_MAX_BYTES);
    va_list args;
    va_start(args, format);
    const int len = vsnprintf(out, LINE_MAX_BYTES, format, args);
    va_end(args);
    writer_commit(w, len < LINE_MAX_BYTES ? (size_t)len : LINE_MAX_BYTES - 1);
}

static void put_str(struct writer *w, const char *text)
{
    writer_append(w, slice_str(text));
}

/* One header line in one go: the common case is short. */
static void put_header(struct writer *w, const struct header *h)
{
    const size_t len = h->name.len + h->value.len + 4;
    if (len > CHAIN_SMALL_BYTES) {
        writer_append(w, h->name);
        put_str(w, ": ");
        writer_append(w, h->value);
        put_str(w, "\r\n");
        return;
    }
    uint8_t *out = writer_reserve(w, len);
    memcpy(out, h->name.ptr, h->name.len);
    out += h->name.len;
    *out++ = ':';
    *out++ = ' ';
    if (h->value.len > 0)
        memcpy(out, h->value.ptr, h->value.len);
    out += h->value.len;
    *out++ = '\r';
    *out++ = '\n';
    writer_commit(w, len);
}

static void put_stamp(struct writer *w, const struct http_stamp *stamp, bool own_server,
                      bool own_date)
{
    if (!own_server)
        writer_append(w, slice_make(stamp->bytes, stamp->server_len));
    if (!own_date)
        writer_append(w,
                      slice_make(stamp->bytes + stamp->server_len, stamp->len - stamp->server_len));
}

static void put_status_line(struct writer *w, unsigned minor, unsigned status)
{
    if (minor == 1 && status == 200) {
        put_str(w, "HTTP/1.1 200 OK\r\n");
        return;
    }
    put(w, "HTTP/1.%u %u %s\r\n", minor, status, http_reply_phrase(status));
}

enum field_rule {
    FIELDS_ALL,
    FIELDS_WITHOUT_LENGTH,
    FIELDS_OF_101, /* nor what the handshake itself says: a client refuses it twice, or otherwise */
};

static bool is_of_server(struct slice name, enum field_rule rule)
{
    static const char *const names[] = {"transfer-encoding", "keep-alive", "upgrade",
                                        "sec-websocket-accept", "sec-websocket-extensions"};
    const size_t count = rule == FIELDS_OF_101 ? sizeof(names) / sizeof(names[0]) : 2;
    for (size_t i = 0; i < count; i++)
        if (text_eq_nocase(name, names[i]))
            return true;
    return false;
}

/* Writes the application's fields but for those that are the server's: framing and the connection.
 * Content-Length, where it may stand, is written once. Returns whether a Connection field asks to
 * close. */
static bool put_fields(struct writer *w, const struct http_stamp *stamp,
                       const struct header *headers, size_t count, enum field_rule rule)
{
    bool skip_length = rule != FIELDS_ALL;
    bool own_server = false;
    bool own_date = false;
    bool close = false;
    for (size_t i = 0; i < count; i++) {
        const struct header *h = &headers[i];
        if (is_of_server(h->name, rule))
            continue;
        if (text_eq_nocase(h->name, "connection")) {
            struct slice rest = h->value;
            struct slice item;
            while (text_list_next(&item, &rest))
                close = close || text_eq_nocase(item, "close");
            continue;
        }
        if (text_eq_nocase(h->name, "content-length")) {
            if (skip_length)
                continue;
            skip_length = true;
        }
        own_server = own_server || text_eq_nocase(h->name, "server");
        own_date = own_date || text_eq_nocase(h->name, "date");
        put_header(w, h);
    }
    put_stamp(w, stamp, own_server, own_date);
    return close;
}

void http_reply_write_fields(struct writer *w, const struct http_stamp *stamp,
                             const struct header *headers, size_t count)
{
    (void)put_fields(w, stamp, headers, count, FIELDS_OF_101);
}

void http_reply_write_head(struct http_reply *reply, const struct http_stamp *stamp,
                           struct writer *w)
{
    put_status_line(w, reply->minor, reply->status);
    /* RFC 9110 section 8.6: no Content-Length in a 204 (a 304 may have that of the answer it stands
     * for). */
    if (put_fields(w, stamp, reply->headers, reply->header_count,
                   reply->status == 204 ? FIELDS_WITHOUT_LENGTH : FIELDS_ALL) ||
        reply->framing == HTTP_FRAMING_CLOSE)
        reply->close = true;
    if (reply->framing == HTTP_FRAMING_LENGTH && !reply->has_length)
        put(w, "Content-Length: %" PRIu64 "\r\n", reply->length);
    else if (reply->framing == HTTP_FRAMING_CHUNKED)
        put_str(w, "Transfer-Encoding: chunked\r\n");
    else if (reply->is_head && !has_no_body(reply->status) && !reply->has_length &&
             reply->is_whole && reply->whole_bytes > 0)
        put(w, "Content-Length: %" PRIu64 "\r\n", reply->whole_bytes);
    put_str(w, reply->close ? "Connection: close\r\n\r\n" : "\r\n");
}

void http_reply_write_chunk(struct writer *w, struct slice piece)
{
    if (piece.len == 0)
        return;
    put(w, "%zx\r\n", piece.len);
    writer_append(w, piece);
    put_str(w, "\r\n");
}

void http_reply_write_last_chunk(struct writer *w)
{
    put_str(w, "0\r\n\r\n");
}

size_t http_reply_write_page(struct writer *w, const struct http_stamp *stamp,
                             const struct http_page *page)
{
    char body[1024];
    const char *phrase = http_reply_phrase(page->status);
    const int len =
        snprintf(body, sizeof(body),
                 "<!doctype html>\n<html lang=\"en\">\n<head><title>%u %s</title></head>\n"
                 "<body>\n<h1>%u %s</h1>\n<p>%.500s</p>\n</body>\n</html>\n",
                 page->status, phrase, page->status, phrase, page->sentence);
    put_status_line(w, page->minor, page->status);
    put_str(w, "Content-Type: text/html; charset=utf-8\r\n");
    put(w, "Content-Length: %d\r\n", len);
    put_str(w, page->extra);
    put_stamp(w, stamp, false, false);
    put_str(w, "Connection: close\r\n\r\n");
    if (page->is_head)
        return 0;
    writer_append(w, slice_make(body, (size_t)len));
    return (size_t)len;
}
