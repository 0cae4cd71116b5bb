/* SPDX-License-Identifier: BSD-3-Clause */
#include "server/http/http_reply.h"

#include "tests/support/unit.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A writer that is never flushed: what was written is read out of its chain. */
struct fixture {
    struct loop loop;
    uv_pipe_t pipe;
    struct writer w;
    struct http_stamp stamp;
    char text[128 * 1024];
};

static void on_drained(struct writer *w)
{
    (void)w;
}

static void on_failed(struct writer *w, enum err err)
{
    (void)w;
    fail_msg("%s", err_str(err));
}

static const struct writer_ops ops = {.drained = on_drained, .failed = on_failed};

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    assert_non_null(f);
    assert_int_equal(loop_open(&f->loop, 0, f), ERR_OK);
    assert_int_equal(uv_pipe_init(&f->loop.uv, &f->pipe, 0), 0);
    writer_init(&f->w, &f->loop, (uv_stream_t *)&f->pipe, &ops);
    http_stamp_make(&f->stamp, 784111777, "channelsd", true);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    writer_stop(&f->w);
    uv_close((uv_handle_t *)&f->pipe, NULL);
    loop_close_handles(&f->loop);
    loop_run(&f->loop);
    writer_deinit(&f->w);
    loop_deinit(&f->loop);
    free(f);
    return 0;
}

#define STAMP "Server: channelsd\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\n"

/* Takes everything that was written, as text. */
static const char *written(struct fixture *f)
{
    size_t len = 0;
    while (f->w.out.bytes > 0) {
        struct iovec parts[8];
        const size_t count = chain_gather(&f->w.out, parts, UNIT_ROWS(parts), 0);
        for (size_t i = 0; i < count; i++) {
            assert_true(parts[i].iov_len < sizeof(f->text) - len);
            memcpy(f->text + len, parts[i].iov_base, parts[i].iov_len);
            len += parts[i].iov_len;
            chain_consume(&f->w.out, &f->loop.pool, parts[i].iov_len);
        }
    }
    f->text[len] = '\0';
    return f->text;
}

static void assert_written(struct fixture *f, const char *want, const char *why)
{
    const char *got = written(f);
    if (strcmp(got, want) != 0)
        fail_msg("%s: got\n%s\nwant\n%s", why, got, want);
}

/* "Name: value\n" lines as an array of headers; what stands behind the first ": " is the value. */
static size_t split(struct header *out, size_t most, const char *lines)
{
    size_t count = 0;
    while (*lines != '\0') {
        const char *colon = strstr(lines, ": ");
        const char *end = strchr(lines, '\n');
        assert_true(colon != NULL && end != NULL && count < most);
        out[count].name = slice_make(lines, (size_t)(colon - lines));
        out[count++].value = slice_make(colon + 2, (size_t)(end - colon - 2));
        lines = end + 1;
    }
    return count;
}

/* ---- plan ---- */

static void the_framing_follows_from_method_status_version_and_length(void **state)
{
    (void)state;
    enum { STREAMED = 0, WHOLE = 1, HEAD = 2 };
    static const struct {
        const char *why;
        unsigned status;
        unsigned minor;
        unsigned how;
        const char *headers;
        enum http_framing want;
        uint64_t length;
    } rows[] = {
        {"whole", 200, 1, WHOLE, "", HTTP_FRAMING_LENGTH, 5},
        {"whole, 1.0", 200, 0, WHOLE, "", HTTP_FRAMING_LENGTH, 5},
        {"whole, with its length", 200, 1, WHOLE, "Content-Length: 5\n", HTTP_FRAMING_LENGTH, 5},
        {"whole, with another length", 200, 1, WHOLE, "content-length: 7\n", HTTP_FRAMING_LENGTH,
         7},
        {"streamed", 200, 1, STREAMED, "", HTTP_FRAMING_CHUNKED, 0},
        {"streamed, 1.0", 200, 0, STREAMED, "", HTTP_FRAMING_CLOSE, 0},
        {"streamed, with length", 200, 1, STREAMED, "CONTENT-LENGTH: 9\n", HTTP_FRAMING_LENGTH, 9},
        {"streamed, with length, 1.0", 200, 0, STREAMED, "Content-Length: 9\n", HTTP_FRAMING_LENGTH,
         9},
        {"the application's own chunked is not its business", 200, 1, STREAMED,
         "Transfer-Encoding: chunked\n", HTTP_FRAMING_CHUNKED, 0},
        {"HEAD, whole", 200, 1, HEAD | WHOLE, "", HTTP_FRAMING_NONE, 0},
        {"HEAD, with length", 200, 1, HEAD, "Content-Length: 9\n", HTTP_FRAMING_NONE, 9},
        {"HEAD, streamed, 1.0", 200, 0, HEAD, "", HTTP_FRAMING_NONE, 0},
        {"204", 204, 1, WHOLE, "", HTTP_FRAMING_NONE, 0},
        {"204 streamed", 204, 1, STREAMED, "", HTTP_FRAMING_NONE, 0},
        {"304 with the length of what was not sent", 304, 1, WHOLE, "Content-Length: 9\n",
         HTTP_FRAMING_NONE, 9},
        {"304, 1.0", 304, 0, STREAMED, "", HTTP_FRAMING_NONE, 0},
        {"205 has a body like any other", 205, 1, WHOLE, "", HTTP_FRAMING_LENGTH, 5},
        {"an error", 500, 1, STREAMED, "", HTTP_FRAMING_CHUNKED, 0},
        {"the last status", 999, 1, WHOLE, "", HTTP_FRAMING_LENGTH, 5},
        {"the same length twice", 200, 1, WHOLE, "Content-Length: 5\nContent-Length: 5\n",
         HTTP_FRAMING_LENGTH, 5},
        {"blanks around the length", 200, 1, WHOLE, "Content-Length:  5 \n", HTTP_FRAMING_LENGTH,
         5},
        {"the longest length", 200, 1, STREAMED, "Content-Length: 999999999999999999\n",
         HTTP_FRAMING_LENGTH, UINT64_C(999999999999999999)},
    };
    for (size_t i = 0; i < UNIT_ROWS(rows); i++) {
        struct header headers[4];
        struct slice culprit;
        struct http_reply reply = {
            .status = rows[i].status,
            .minor = rows[i].minor,
            .headers = headers,
            .header_count = split(headers, UNIT_ROWS(headers), rows[i].headers),
            .is_head = (rows[i].how & HEAD) != 0,
            .is_whole = (rows[i].how & WHOLE) != 0,
            .whole_bytes = 5,
        };
        const char *wrong = http_reply_plan(&reply, &culprit);
        if (wrong != NULL)
            fail_msg("%s: %s", rows[i].why, wrong);
        if (reply.framing != rows[i].want || reply.length != rows[i].length)
            fail_msg("%s: framing %d length %llu", rows[i].why, (int)reply.framing,
                     (unsigned long long)reply.length);
    }
}

#define TEXT(literal)                                   \
    {                                                   \
        (const uint8_t *)(literal), sizeof(literal) - 1 \
    }

static void what_would_break_the_head_is_refused_by_name(void **state)
{
    (void)state;
    static const struct {
        const char *why;
        unsigned status;
        struct header header;
        bool is_refused;
    } rows[] = {
        {"a good header", 200, {TEXT("X-A"), TEXT("b")}, false},
        {"every token character", 200, {TEXT("!#$%&'*+-.^_`|~09azAZ"), TEXT("b")}, false},
        {"an empty value", 200, {TEXT("X-A"), TEXT("")}, false},
        {"a tab and text that is not ASCII", 200, {TEXT("X-A"), TEXT("a\t\xc3\xa9\xff")}, false},
        {"status 0", 0, {TEXT("X-A"), TEXT("b")}, true},
        {"status 101", 101, {TEXT("X-A"), TEXT("b")}, true},
        {"status 199", 199, {TEXT("X-A"), TEXT("b")}, true},
        {"status 1000", 1000, {TEXT("X-A"), TEXT("b")}, true},
        {"CR LF in a value", 200, {TEXT("X-A"), TEXT("b\r\nSet-Cookie: a=b")}, true},
        {"LF in a value", 200, {TEXT("X-A"), TEXT("b\nSet-Cookie: a=b")}, true},
        {"CR in a value", 200, {TEXT("X-A"), TEXT("b\rc")}, true},
        {"CR LF at the end of a value", 200, {TEXT("X-A"), TEXT("b\r\n")}, true},
        {"a line end alone", 200, {TEXT("X-A"), TEXT("\n")}, true},
        {"NUL in a value", 200, {TEXT("X-A"), TEXT("b\0c")}, true},
        {"a vertical tab in a value", 200, {TEXT("X-A"), TEXT("b\vc")}, true},
        {"DEL in a value", 200, {TEXT("X-A"), TEXT("\x7f")}, true},
        {"CR LF in a name", 200, {TEXT("X-A\r\nX-B"), TEXT("b")}, true},
        {"a colon in a name", 200, {TEXT("X-A:"), TEXT("b")}, true},
        {"a blank in a name", 200, {TEXT("X A"), TEXT("b")}, true},
        {"NUL in a name", 200, {TEXT("X\0A"), TEXT("b")}, true},
        {"a name that is not ASCII", 200, {TEXT("X-\xc3\xa9"), TEXT("b")}, true},
        {"no name", 200, {TEXT(""), TEXT("b")}, true},
        {"a header that is never written is checked too",
         200,
         {TEXT("Connection"), TEXT("a\r\nb")},
         true},
        {"an empty length", 200, {TEXT("Content-Length"), TEXT("")}, true},
        {"a length below zero", 200, {TEXT("Content-Length"), TEXT("-1")}, true},
        {"a length with a sign", 200, {TEXT("Content-Length"), TEXT("+1")}, true},
        {"a hexadecimal length", 200, {TEXT("Content-Length"), TEXT("0x1")}, true},
        {"a list of lengths", 200, {TEXT("Content-Length"), TEXT("1,1")}, true},
        {"a length of 19 digits", 200, {TEXT("Content-Length"), TEXT("1000000000000000000")}, true},
        {"another length than before", 200, {TEXT("Content-Length"), TEXT("43")}, true},
        {"the same length as before", 200, {TEXT("Content-Length"), TEXT("42")}, false},
    };
    for (size_t i = 0; i < UNIT_ROWS(rows); i++) {
        const struct header headers[] = {{slice_str("Content-Length"), slice_str("42")},
                                         rows[i].header};
        struct http_reply reply = {.status = rows[i].status, .headers = headers, .header_count = 2};
        struct slice culprit;
        const char *wrong = http_reply_plan(&reply, &culprit);
        if ((wrong != NULL) != rows[i].is_refused)
            fail_msg("%s: %s", rows[i].why, wrong == NULL ? "was taken" : wrong);
        if (wrong != NULL && rows[i].status == 200)
            assert_true(slice_eq(culprit, rows[i].header.name));
        if (wrong != NULL && rows[i].status != 200)
            assert_int_equal(culprit.len, 0);
    }
}

/* ---- bytes ---- */

static void heads_are_written_as_planned(void **state)
{
    struct fixture *f = *state;
    static const struct {
        const char *why;
        struct http_reply reply;
        const char *headers;
        const char *want;
        bool close;
    } rows[] = {
        {"whole",
         {.status = 200, .minor = 1, .is_whole = true, .whole_bytes = 5},
         "Content-Type: text/plain\n",
         "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n" STAMP "Content-Length: 5\r\n\r\n",
         false},
        {"an empty body",
         {.status = 404, .minor = 1, .is_whole = true},
         "",
         "HTTP/1.1 404 Not Found\r\n" STAMP "Content-Length: 0\r\n\r\n",
         false},
        {"1.0",
         {.status = 200, .minor = 0, .is_whole = true, .whole_bytes = 1},
         "",
         "HTTP/1.0 200 OK\r\n" STAMP "Content-Length: 1\r\n\r\n",
         false},
        {"a length is written once, as it came",
         {.status = 200, .minor = 1, .is_whole = true, .whole_bytes = 5},
         "content-length: 5\nContent-Length: 5\n",
         "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n" STAMP "\r\n",
         false},
        {"streamed",
         {.status = 200, .minor = 1},
         "",
         "HTTP/1.1 200 OK\r\n" STAMP "Transfer-Encoding: chunked\r\n\r\n",
         false},
        {"streamed, 1.0: ends with the connection",
         {.status = 200, .minor = 0},
         "",
         "HTTP/1.0 200 OK\r\n" STAMP "Connection: close\r\n\r\n",
         true},
        {"HEAD of a whole answer tells its length",
         {.status = 200, .minor = 1, .is_head = true, .is_whole = true, .whole_bytes = 5},
         "",
         "HTTP/1.1 200 OK\r\n" STAMP "Content-Length: 5\r\n\r\n",
         false},
        {"HEAD of an answer without body",
         {.status = 200, .minor = 1, .is_head = true, .is_whole = true},
         "",
         "HTTP/1.1 200 OK\r\n" STAMP "\r\n",
         false},
        {"HEAD with the application's length",
         {.status = 200, .minor = 1, .is_head = true, .is_whole = true, .whole_bytes = 0},
         "Content-Length: 7\n",
         "HTTP/1.1 200 OK\r\nContent-Length: 7\r\n" STAMP "\r\n",
         false},
        {"HEAD streamed",
         {.status = 200, .minor = 1, .is_head = true},
         "",
         "HTTP/1.1 200 OK\r\n" STAMP "\r\n",
         false},
        {"204 has no Content-Length (RFC 9110 section 8.6)",
         {.status = 204, .minor = 1, .is_whole = true},
         "Content-Length: 0\nX: y\n",
         "HTTP/1.1 204 No Content\r\nX: y\r\n" STAMP "\r\n",
         false},
        {"204 to HEAD",
         {.status = 204, .minor = 1, .is_head = true, .is_whole = true, .whole_bytes = 5},
         "",
         "HTTP/1.1 204 No Content\r\n" STAMP "\r\n",
         false},
        {"304 keeps the length of what it stands for",
         {.status = 304, .minor = 1, .is_whole = true},
         "Content-Length: 9\n",
         "HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n" STAMP "\r\n",
         false},
        {"304 makes up no length",
         {.status = 304, .minor = 1, .is_head = true, .is_whole = true, .whole_bytes = 5},
         "",
         "HTTP/1.1 304 Not Modified\r\n" STAMP "\r\n",
         false},
        {"a status without a phrase",
         {.status = 799, .minor = 1, .is_whole = true},
         "",
         "HTTP/1.1 799 Unknown Status\r\n" STAMP "Content-Length: 0\r\n\r\n",
         false},
        {"the application's own Server",
         {.status = 200, .minor = 1, .is_whole = true},
         "SERVER: mine\n",
         "HTTP/1.1 200 OK\r\nSERVER: mine\r\nDate: Sun, 06 Nov 1994 08:49:37 "
         "GMT\r\nContent-Length: 0\r\n\r\n",
         false},
        {"the application's own Date",
         {.status = 200, .minor = 1, .is_whole = true},
         "date: today\n",
         "HTTP/1.1 200 OK\r\ndate: today\r\nServer: channelsd\r\nContent-Length: 0\r\n\r\n",
         false},
        {"both its own",
         {.status = 200, .minor = 1, .is_whole = true},
         "Server: a\nDate: b\n",
         "HTTP/1.1 200 OK\r\nServer: a\r\nDate: b\r\nContent-Length: 0\r\n\r\n",
         false},
        {"the server closes",
         {.status = 200, .minor = 1, .is_whole = true, .close = true},
         "",
         "HTTP/1.1 200 OK\r\n" STAMP "Content-Length: 0\r\nConnection: close\r\n\r\n",
         true},
        {"the application closes",
         {.status = 200, .minor = 1, .is_whole = true},
         "Connection: x, Close\n",
         "HTTP/1.1 200 OK\r\n" STAMP "Content-Length: 0\r\nConnection: close\r\n\r\n",
         true},
        {"the application's keep-alive is not its business",
         {.status = 200, .minor = 1, .is_whole = true},
         "Connection: keep-alive\nKeep-Alive: timeout=5\n",
         "HTTP/1.1 200 OK\r\n" STAMP "Content-Length: 0\r\n\r\n",
         false},
        {"nor is the coding of the transfer",
         {.status = 200, .minor = 1},
         "Transfer-Encoding: gzip, chunked\n",
         "HTTP/1.1 200 OK\r\n" STAMP "Transfer-Encoding: chunked\r\n\r\n",
         false},
        {"headers keep their order and case",
         {.status = 200, .minor = 1, .is_whole = true},
         "Set-Cookie: a=1\nX-b: \nSet-Cookie: c=2\n",
         "HTTP/1.1 200 OK\r\nSet-Cookie: a=1\r\nX-b: \r\nSet-Cookie: c=2\r\n" STAMP
         "Content-Length: 0\r\n\r\n",
         false},
    };
    for (size_t i = 0; i < UNIT_ROWS(rows); i++) {
        struct header headers[4];
        struct slice culprit;
        struct http_reply reply = rows[i].reply;
        reply.headers = headers;
        reply.header_count = split(headers, UNIT_ROWS(headers), rows[i].headers);
        const char *wrong = http_reply_plan(&reply, &culprit);
        if (wrong != NULL)
            fail_msg("%s: %s", rows[i].why, wrong);
        http_reply_write_head(&reply, &f->stamp, &f->w);
        assert_written(f, rows[i].want, rows[i].why);
        if (reply.close != rows[i].close)
            fail_msg("%s: close is %d", rows[i].why, reply.close);
    }
}

static void a_header_of_any_length_is_written_whole(void **state)
{
    struct fixture *f = *state;
    static char value[40000];
    static char want[sizeof(value) + 64];
    static const size_t lengths[] = {0, 1, 990, 995, 996, 997, 1000, 1001, 16384, 40000};
    memset(value, 'v', sizeof(value));
    const struct http_stamp none = {0};
    for (size_t i = 0; i < UNIT_ROWS(lengths); i++) {
        const struct header header = {slice_str("X"), slice_make(value, lengths[i])};
        http_reply_write_fields(&f->w, &none, &header, 1);
        snprintf(want, sizeof(want), "X: %.*s\r\n", (int)lengths[i], value);
        assert_written(f, want, "a long header");
    }
}

static void the_fields_of_a_101_leave_out_what_is_the_servers(void **state)
{
    struct fixture *f = *state;
    struct header headers[8];
    const size_t count = split(
        headers, UNIT_ROWS(headers),
        "X: 1\nConnection: close\nTransfer-Encoding: chunked\nContent-Length: 0\nUpgrade: h2c\n"
        "Sec-WebSocket-Accept: a\nsec-websocket-extensions: permessage-deflate\nServer: s\n");
    http_reply_write_fields(&f->w, &f->stamp, headers, count);
    assert_written(f, "X: 1\r\nServer: s\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\n", "101");
}

static void the_date_is_an_imf_fixdate(void **state)
{
    (void)state;
    static const struct {
        int64_t now;
        const char *want;
    } rows[] = {
        {784111777, "Date: Sun, 06 Nov 1994 08:49:37 GMT\r\n"}, /* RFC 9110 section 5.6.7 */
        {0, "Date: Thu, 01 Jan 1970 00:00:00 GMT\r\n"},
        {951782400, "Date: Tue, 29 Feb 2000 00:00:00 GMT\r\n"},
        {1709251199, "Date: Thu, 29 Feb 2024 23:59:59 GMT\r\n"},
        {1735689599, "Date: Tue, 31 Dec 2024 23:59:59 GMT\r\n"},
        {1746873000, "Date: Sat, 10 May 2025 10:30:00 GMT\r\n"},
        {2147483648, "Date: Tue, 19 Jan 2038 03:14:08 GMT\r\n"},
        {253402300799, "Date: Fri, 31 Dec 9999 23:59:59 GMT\r\n"},
    };
    for (size_t i = 0; i < UNIT_ROWS(rows); i++) {
        struct http_stamp stamp;
        http_stamp_make(&stamp, rows[i].now, "", true);
        assert_false(stamp.has_server);
        assert_true(slice_eq_str(slice_make(stamp.bytes, stamp.len), rows[i].want));
    }
}

static void the_stamp_has_what_it_is_asked_for(void **state)
{
    (void)state;
    struct http_stamp stamp;
    char name[400];
    http_stamp_make(&stamp, 0, "", false);
    assert_int_equal(stamp.len, 0);
    http_stamp_make(&stamp, 0, "daphne", false);
    assert_true(slice_eq_str(slice_make(stamp.bytes, stamp.len), "Server: daphne\r\n"));
    assert_int_equal(stamp.server_len, stamp.len);
    memset(name, 'n', sizeof(name) - 1);
    name[sizeof(name) - 1] = '\0';
    http_stamp_make(&stamp, 0, name, true); /* cut, and still lines that end */
    assert_int_equal(stamp.len, 8 + 200 + 2 + 37);
    assert_memory_equal(stamp.bytes + stamp.server_len - 2,
                        "\r\nDate: Thu, 01 Jan 1970 00:00:00 GMT\r\n", 39);
}

static void chunks_are_framed_and_empty_ones_left_out(void **state)
{
    struct fixture *f = *state;
    static char piece[70000];
    static char want[sizeof(piece) + 64];
    http_reply_write_chunk(&f->w, slice_str("hello"));
    http_reply_write_chunk(&f->w, slice_make(NULL, 0)); /* would end the body */
    http_reply_write_chunk(&f->w, slice_str("0123456789abcdef"));
    http_reply_write_last_chunk(&f->w);
    assert_written(f, "5\r\nhello\r\n10\r\n0123456789abcdef\r\n0\r\n\r\n", "chunks");
    memset(piece, 'p', sizeof(piece));
    http_reply_write_chunk(&f->w, slice_make(piece, sizeof(piece)));
    snprintf(want, sizeof(want), "11170\r\n%.*s\r\n", (int)sizeof(piece), piece);
    assert_written(f, want, "a large chunk");
}

#define PAGE                                                     \
    "<!doctype html>\n<html lang=\"en\">\n<head><title>404 Not " \
    "Found</title></head>\n<body>\n<h1>404 Not Found</h1>\n"     \
    "<p>Nothing here.</p>\n</body>\n</html>\n"

static void a_page_is_a_whole_answer_that_closes(void **state)
{
    struct fixture *f = *state;
    struct http_page page = {.status = 404, .minor = 1, .sentence = "Nothing here.", .extra = ""};
    assert_int_equal(http_reply_write_page(&f->w, &f->stamp, &page), sizeof(PAGE) - 1);
    assert_int_equal(sizeof(PAGE) - 1, 142);
    assert_written(f,
                   "HTTP/1.1 404 Not Found\r\nContent-Type: text/html; "
                   "charset=utf-8\r\nContent-Length: 142\r\n" STAMP
                   "Connection: close\r\n\r\n" PAGE,
                   "1.1");
    page.minor = 0;
    page.extra = "Allow: GET\r\n";
    (void)http_reply_write_page(&f->w, &f->stamp, &page);
    assert_written(f,
                   "HTTP/1.0 404 Not Found\r\nContent-Type: text/html; "
                   "charset=utf-8\r\nContent-Length: 142\r\nAllow: GET\r\n" STAMP
                   "Connection: close\r\n\r\n" PAGE,
                   "1.0 with more headers");
    page.is_head = true;
    assert_int_equal(http_reply_write_page(&f->w, &f->stamp, &page), 0);
    assert_written(f,
                   "HTTP/1.0 404 Not Found\r\nContent-Type: text/html; "
                   "charset=utf-8\r\nContent-Length: 142\r\nAllow: GET\r\n" STAMP
                   "Connection: close\r\n\r\n",
                   "HEAD");
}

static void phrases_are_those_of_the_registry(void **state)
{
    (void)state;
    static const struct {
        unsigned status;
        const char *want;
    } rows[] = {
        {100, "Continue"},
        {101, "Switching Protocols"},
        {200, "OK"},
        {413, "Content Too Large"},
        {414, "URI Too Long"},
        {511, "Network Authentication Required"},
        {431, "Request Header Fields Too Large"},
        {500, "Internal Server Error"},
        {502, "Bad Gateway"},
        {503, "Service Unavailable"},
        {505, "HTTP Version Not Supported"},
        {799, "Unknown Status"},
        {0, "Unknown Status"},
    };
    for (size_t i = 0; i < UNIT_ROWS(rows); i++)
        assert_string_equal(http_reply_phrase(rows[i].status), rows[i].want);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_framing_follows_from_method_status_version_and_length),
        cmocka_unit_test(what_would_break_the_head_is_refused_by_name),
        cmocka_unit_test_setup_teardown(heads_are_written_as_planned, setup, teardown),
        cmocka_unit_test_setup_teardown(a_header_of_any_length_is_written_whole, setup, teardown),
        cmocka_unit_test_setup_teardown(the_fields_of_a_101_leave_out_what_is_the_servers, setup,
                                        teardown),
        cmocka_unit_test(the_date_is_an_imf_fixdate),
        cmocka_unit_test(the_stamp_has_what_it_is_asked_for),
        cmocka_unit_test_setup_teardown(chunks_are_framed_and_empty_ones_left_out, setup, teardown),
        cmocka_unit_test_setup_teardown(a_page_is_a_whole_answer_that_closes, setup, teardown),
        cmocka_unit_test(phrases_are_those_of_the_registry),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
