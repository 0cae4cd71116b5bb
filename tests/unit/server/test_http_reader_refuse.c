/* SPDX-License-Identifier: BSD-3-Clause
 *
 * What http_reader refuses, its ceilings, and what it does without memory.
 */
#include "server/http/http_reader.h"

#include "core/mem.h"

#include "tests/support/http_trace.h"
#include "tests/support/unit.h"

static const struct http_limits usual = {
    .max_line_bytes = 8190, .max_header_bytes = 16384, .max_headers = 100};

#define TEXT(literal)                                   \
    {                                                   \
        (const uint8_t *)(literal), sizeof(literal) - 1 \
    }
#define HOST "Host: h\r\n"
#define GET "GET / HTTP/1.1\r\n"
#define POST "POST / HTTP/1.1\r\n"
#define CHUNKED POST HOST "Transfer-Encoding: chunked\r\n\r\n"

/* @told: whether the head was told before. */
struct row {
    const char *why;
    struct slice in;
    unsigned want; /* status */
    bool told;
};

static struct http_trace trace;
static char whole_text[HTTP_TRACE_SIZE];

static void assert_same(struct slice in, size_t first, size_t rest, const char *why)
{
    http_trace_read(&trace, &usual, in, first, rest);
    if (strcmp(trace.text, whole_text) != 0)
        fail_msg("%s, cut at %zu, then every %zu:\ngot\n%swhole\n%s", why, first, rest, trace.text,
                 whole_text);
}

/* The status, and the same events however the input is cut. */
static void assert_refused(const struct row *rows, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        const size_t len = rows[i].in.len;
        http_trace_read(&trace, &usual, rows[i].in, len, len);
        const bool told = strncmp(trace.text, "HEAD ", 5) == 0;
        if (!trace.is_bad || trace.status != rows[i].want || told != rows[i].told ||
            trace.requests > 0)
            fail_msg("%s: want %u, got %s", rows[i].why, rows[i].want, trace.text);
        memcpy(whole_text, trace.text, trace.len + 1);
        for (size_t cut = 0; cut <= len; cut++)
            assert_same(rows[i].in, cut, len, rows[i].why);
        assert_same(rows[i].in, 1, 1, rows[i].why);
        assert_same(rows[i].in, 3, 3, rows[i].why);
    }
}

static void bad_request_lines_are_refused(void **state)
{
    (void)state;
    static const struct row rows[] = {
        {"TLS on this port", TEXT("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"), 400, false},
        {"TLS with a line end in it", TEXT("\x16\x03\x01\x02\n\x01\x00\x01\xfc\x03\x03"), 400,
         false},
        {"two empty lines before", TEXT("\r\n\r\n" GET HOST "\r\n"), 400, false},
        {"an empty line without CR", TEXT("\n" GET HOST "\r\n"), 400, false},
        {"a blank before the method", TEXT(" GET / HTTP/1.1\r\n" HOST "\r\n"), 400, false},
        {"CR in front", TEXT("\rGET / HTTP/1.1\r\n" HOST "\r\n"), 400, false},
        {"a line that ends with LF only", TEXT("GET / HTTP/1.1\n" HOST "\r\n"), 400, false},
        {"a line with CR CR LF", TEXT("GET / HTTP/1.1\r\r\n" HOST "\r\n"), 400, false},
        {"NUL", TEXT("GET /\0 HTTP/1.1\r\n" HOST "\r\n"), 400, false},
        {"HTTP/0.9", TEXT("GET /\r\n"), 400, false},
        {"HTTP/1.2", TEXT("GET / HTTP/1.2\r\n" HOST "\r\n"), 505, false},
        {"HTTP/2.0", TEXT("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), 505, false},
        {"no target", TEXT("GET HTTP/1.1\r\n" HOST "\r\n"), 400, false},
        {"a relative target", TEXT("GET x HTTP/1.1\r\n" HOST "\r\n"), 400, false},
    };
    assert_refused(rows, UNIT_ROWS(rows));
}

static void bad_headers_are_refused(void **state)
{
    (void)state;
    static const struct row rows[] = {
        {"LF only behind a value", TEXT(GET "Host: h\nA: b\r\n\r\n"), 400, false},
        {"LF only behind the head", TEXT(GET "Host: h\r\n\n"), 400, false},
        {"CR only behind a value", TEXT(GET "Host: h\rA: b\r\n\r\n"), 400, false},
        {"CR CR LF behind a value", TEXT(GET "Host: h\r\r\n\r\n"), 400, false},
        {"CR only behind the head", TEXT(GET "Host: h\r\n\rX"), 400, false},
        {"obs-fold with a blank", TEXT(GET HOST "A: b\r\n c\r\n\r\n"), 400, false},
        {"obs-fold with a tab", TEXT(GET HOST "A: b\r\n\tc\r\n\r\n"), 400, false},
        {"obs-fold of an empty value", TEXT(GET HOST "A:\r\n b\r\n\r\n"), 400, false},
        {"a blank before the first name", TEXT(GET " Host: h\r\n\r\n"), 400, false},
        {"a blank before the colon", TEXT(GET "Host : h\r\n\r\n"), 400, false},
        {"a tab before the colon", TEXT(GET "Host\t: h\r\n\r\n"), 400, false},
        {"a blank in a name", TEXT(GET HOST "A b: c\r\n\r\n"), 400, false},
        {"no colon", TEXT(GET HOST "A\r\n\r\n"), 400, false},
        {"no name", TEXT(GET HOST ": x\r\n\r\n"), 400, false},
        {"NUL in a name", TEXT(GET HOST "A\0: x\r\n\r\n"), 400, false},
        {"a name that is not ASCII", TEXT(GET HOST "\xc3\xa9: x\r\n\r\n"), 400, false},
        {"a bracket in a name", TEXT(GET HOST "A[b]: x\r\n\r\n"), 400, false},
        {"NUL in a value", TEXT(GET HOST "A: x\0y\r\n\r\n"), 400, false},
        {"BEL in a value", TEXT(GET HOST "A: x\ay\r\n\r\n"), 400, false},
        {"a vertical tab in a value", TEXT(GET HOST "A: \vx\r\n\r\n"), 400, false},
        {"ESC in a value", TEXT(GET HOST "A: \x1b[1m\r\n\r\n"), 400, false},
        {"DEL in a value", TEXT(GET HOST "A: x\x7f\r\n\r\n"), 400, false},
        {"NEL in a value", TEXT(GET HOST "A: x\x85y\r\n\r\n"), 400, false},
        {"a control byte in a header that is left out", TEXT(GET HOST "A_b: x\x01\r\n\r\n"), 400,
         false},
        {"Host twice", TEXT(GET HOST HOST "\r\n"), 400, false},
        {"Host twice in other case", TEXT(GET HOST "hOST: other\r\n\r\n"), 400, false},
    };
    assert_refused(rows, UNIT_ROWS(rows));
}

static void ambiguous_framing_is_refused(void **state)
{
    (void)state;
    static const struct row rows[] = {
        {"a length, then chunked",
         TEXT(POST "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"), 400, false},
        {"chunked, then a length",
         TEXT(POST "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n"), 400, false},
        {"two lengths", TEXT(POST "Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello"), 400,
         false},
        {"the same length twice", TEXT(POST "Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello"),
         400, false},
        {"a list of lengths", TEXT(POST "Content-Length: 5, 5\r\n\r\nhello"), 400, false},
        {"a length with a sign", TEXT(POST "Content-Length: +5\r\n\r\nhello"), 400, false},
        {"a length below zero", TEXT(POST "Content-Length: -1\r\n\r\nhello"), 400, false},
        {"a hexadecimal length", TEXT(POST "Content-Length: 0x5\r\n\r\nhello"), 400, false},
        {"an empty length", TEXT(POST "Content-Length:\r\n\r\nhello"), 400, false},
        {"a blank length", TEXT(POST "Content-Length: \t\r\n\r\nhello"), 400, false},
        {"a blank in a length", TEXT(POST "Content-Length: 1 2\r\n\r\nhello"), 400, false},
        {"a length over 2^64", TEXT(POST "Content-Length: 18446744073709551616\r\n\r\nhello"), 400,
         false},
        {"Transfer-Encoding in HTTP/1.0",
         TEXT("POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"), 400, false},
        {"another coding", TEXT(POST "Transfer-Encoding: gzip\r\n\r\nx"), 400, false},
        {"identity", TEXT(POST "Transfer-Encoding: identity\r\n\r\nx"), 400, false},
        {"another coding below chunked",
         TEXT(POST "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n"), 400, false},
        {"another coding over chunked",
         TEXT(POST "Transfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n"), 400, false},
        {"chunked twice in a list",
         TEXT(POST "Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n"), 400, false},
        {"chunked in two fields",
         TEXT(POST "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
         400, false},
        {"chunked and identity in two fields",
         TEXT(POST "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n"),
         400, false},
        {"an empty Transfer-Encoding", TEXT(POST "Transfer-Encoding:\r\n\r\n0\r\n\r\n"), 400,
         false},
        {"half the word", TEXT(POST "Transfer-Encoding: chunke\r\n\r\n0\r\n\r\n"), 400, false},
        {"a word that begins so", TEXT(POST "Transfer-Encoding: chunkedx\r\n\r\n0\r\n\r\n"), 400,
         false},
        {"a quoted word", TEXT(POST "Transfer-Encoding: \"chunked\"\r\n\r\n0\r\n\r\n"), 400, false},
        {"a parameter", TEXT(POST "Transfer-Encoding: chunked;q=1\r\n\r\n0\r\n\r\n"), 400, false},
        {"a vertical tab before it", TEXT(POST "Transfer-Encoding: \vchunked\r\n\r\n0\r\n\r\n"),
         400, false},
        {"a blank before the colon", TEXT(POST "Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n"), 400,
         false},
    };
    assert_refused(rows, UNIT_ROWS(rows));
}

static void bad_chunks_are_refused(void **state)
{
    (void)state;
    static const struct row rows[] = {
        {"no size", TEXT(CHUNKED "\r\nabc\r\n0\r\n\r\n"), 400, true},
        {"a size that is no number", TEXT(CHUNKED "g\r\nabc\r\n0\r\n\r\n"), 400, true},
        {"a size with a sign", TEXT(CHUNKED "+3\r\nabc\r\n0\r\n\r\n"), 400, true},
        {"a size below zero", TEXT(CHUNKED "-3\r\nabc\r\n0\r\n\r\n"), 400, true},
        {"a size with 0x", TEXT(CHUNKED "0x3\r\nabc\r\n0\r\n\r\n"), 400, true},
        {"a size over 2^64", TEXT(CHUNKED "10000000000000003\r\nabc\r\n0\r\n\r\n"), 400, true},
        {"a blank before the size", TEXT(CHUNKED " 3\r\nabc\r\n0\r\n\r\n"), 400, true},
        {"a blank behind the size", TEXT(CHUNKED "3 \r\nabc\r\n0\r\n\r\n"), 400, true},
        {"LF only behind the size", TEXT(CHUNKED "3\nabc\r\n0\r\n\r\n"), 400, true},
        {"CR only behind the size", TEXT(CHUNKED "3\rabc\r\n0\r\n\r\n"), 400, true},
        {"LF only behind the data", TEXT(CHUNKED "3\r\nabc\n0\r\n\r\n"), 400, true},
        {"nothing behind the data", TEXT(CHUNKED "3\r\nabc0\r\n\r\n"), 400, true},
        {"more data than the size", TEXT(CHUNKED "3\r\nabcd\r\n0\r\n\r\n"), 400, true},
        {"LF only behind an extension", TEXT(CHUNKED "3;a\nabc\r\n0\r\n\r\n"), 400, true},
        {"a line end in a quoted extension", TEXT(CHUNKED "3;a=\"\r\n\"\r\nabc\r\n0\r\n\r\n"), 400,
         true},
        {"NUL in an extension", TEXT(CHUNKED "3;a\0\r\nabc\r\n0\r\n\r\n"), 400, true},
        {"LF only behind the last chunk", TEXT(CHUNKED "0\n\r\n"), 400, true},
        {"LF only at the end", TEXT(CHUNKED "0\r\n\n"), 400, true},
        {"LF only behind a trailer", TEXT(CHUNKED "0\r\nA: b\n\r\n"), 400, true},
        {"a folded trailer", TEXT(CHUNKED "0\r\nA: b\r\n c\r\n\r\n"), 400, true},
        {"a control byte in a trailer", TEXT(CHUNKED "0\r\nA: b\x01\r\n\r\n"), 400, true},
        {"a length as trailer", TEXT(CHUNKED "0\r\nContent-Length: 3\r\n\r\nabc"), 400, true},
    };
    assert_refused(rows, UNIT_ROWS(rows));
}

/* ---- ceilings ---- */

static char made[64 * 1024];

static void make(const char *before, char filler, size_t count, const char *behind)
{
    assert_true(strlen(before) + count + strlen(behind) < sizeof(made));
    char *at = made + strlen(before);
    memcpy(made, before, strlen(before));
    memset(at, filler, count);
    memcpy(at + count, behind, strlen(behind) + 1);
}

static unsigned status_of(const struct http_limits *limits, size_t chunk)
{
    http_trace_read(&trace, limits, slice_str(made), chunk, chunk);
    if (!trace.is_bad)
        assert_int_equal(trace.requests, 1);
    return trace.is_bad ? trace.status : 0;
}

static void the_ceilings_hold_at_n_and_n_plus_1(void **state)
{
    (void)state;
    static const struct http_limits small = {
        .max_line_bytes = 40, .max_header_bytes = 30, .max_headers = 4};
    static const struct {
        const char *why;
        const char *before;
        const char *behind;
        size_t most; /* filler bytes that still fit */
        unsigned want;
    } rows[] = {
        {"request line", "GET /", " HTTP/1.1\r\n\r\n", 40 - 14, 414},
        {"query", "GET /?", " HTTP/1.1\r\n\r\n", 40 - 15, 414},
        {"method", "M", " / HTTP/1.1\r\n\r\n", 40 - 12, 414},
        {"a value", GET "A: ", "\r\n\r\n", 29, 431},
        {"a name", GET "A", ": b\r\n\r\n", 28, 431},
        {"names and values of all headers", GET "A: b\r\nCd: ef\r\nG: ", "\r\n\r\n", 30 - 7, 431},
        {"the value of a header that is left out", GET "A_: ", "\r\n\r\n", 28, 431},
        {"a trailer's value", CHUNKED "0\r\nA: ", "\r\n\r\n", 29, 431},
        {"a trailer's name", CHUNKED "0\r\nA", ": b\r\n\r\n", 28, 431},
        {"several trailers", CHUNKED "0\r\nA: b\r\nCd: ef\r\nG: ", "\r\n\r\n", 30 - 7, 431},
        {"the name of a chunk's extension", CHUNKED "1;", "\r\na\r\n0\r\n\r\n", 30, 431},
        {"the value of a chunk's extension", CHUNKED "1;a=", "\r\na\r\n0\r\n\r\n", 29, 431},
        {"a quoted extension", CHUNKED "1;a=\"", "\"\r\na\r\n0\r\n\r\n", 27, 431},
        {"an extension of the last chunk", CHUNKED "1;ab\r\na\r\n0;", "\r\n\r\n", 30, 431},
    };
    for (size_t i = 0; i < UNIT_ROWS(rows); i++) {
        struct http_limits limits = small;
        if (strncmp(rows[i].before, "POST", 4) == 0)
            limits.max_header_bytes =
                30 + 30; /* "host", "h", "transfer-encoding" and "chunked" are 29 */
        const size_t most = rows[i].most + limits.max_header_bytes - small.max_header_bytes;
        for (size_t chunk = 1; chunk <= sizeof(made); chunk = chunk * 4 + 3) {
            make(rows[i].before, 'x', most, rows[i].behind);
            unsigned status = status_of(&limits, chunk);
            if (status != 0)
                fail_msg("%s: %zu bytes are refused with %u", rows[i].why, most, status);
            make(rows[i].before, 'x', most + 1, rows[i].behind);
            status = status_of(&limits, chunk);
            if (status != rows[i].want)
                fail_msg("%s: %zu bytes give %u, want %u", rows[i].why, most + 1, status,
                         rows[i].want);
        }
    }
}

static void a_line_without_end_is_refused_at_the_ceiling(void **state)
{
    (void)state;
    static const struct http_limits small = {
        .max_line_bytes = 40, .max_header_bytes = 30, .max_headers = 4};
    make("GET /", 'x', 100, "");
    http_trace_read(&trace, &small, slice_str(made), 1, 1);
    assert_int_equal(trace.status, 414);
    http_trace_read(&trace, &small, slice_make(made, 42), 1, 1);
    assert_false(trace.is_bad); /* the last two could be CR LF */
    http_trace_read(&trace, &small, slice_make(made, 43), 1, 1);
    assert_true(trace.is_bad);
}

static void the_number_of_headers_has_a_ceiling_that_left_out_ones_count_for(void **state)
{
    (void)state;
    static const struct http_limits limits = {
        .max_line_bytes = 40, .max_header_bytes = 300, .max_headers = 4};
    make(GET "A: 1\r\nB: 2\r\nC_: 3\r\nD: 4\r\n", ' ', 0, "\r\n");
    assert_int_equal(status_of(&limits, 1), 0);
    make(GET "A: 1\r\nB: 2\r\nC_: 3\r\nD: 4\r\nE: 5\r\n", ' ', 0, "\r\n");
    assert_int_equal(status_of(&limits, 1), 431);
    assert_int_equal(status_of(&limits, sizeof(made)), 431);
}

static void every_request_has_the_whole_ceilings(void **state)
{
    (void)state;
    static const struct http_limits limits = {
        .max_line_bytes = 20, .max_header_bytes = 12, .max_headers = 1};
    static const char two[] = "\r\nGET /12345 HTTP/1.1\r\nA: 12345678901\r\n\r\n"
                              "\r\nGET /12345 HTTP/1.1\r\nA: 12345678901\r\n\r\n";
    http_trace_read(&trace, &limits, slice_str(two), sizeof(two), sizeof(two));
    assert_false(trace.is_bad);
    assert_int_equal(trace.requests, 2);
}

static void each_chunk_may_have_extensions_up_to_the_ceiling(void **state)
{
    (void)state;
    static const struct http_limits limits = {
        .max_line_bytes = 20, .max_header_bytes = 30, .max_headers = 3};
    make(
        POST
        "Transfer-Encoding: "
        "chunked\r\n\r\n1;sum=0123456789\r\na\r\n1;sum=0123456789\r\nb\r\n1;sum=0123456789\r\nc\r\n"
        "0\r\nA: ",
        'x', 29, "\r\n\r\n");
    assert_int_equal(status_of(&limits, 1), 0);
    assert_int_equal(status_of(&limits, sizeof(made)), 0);
}

/* ---- memory, and what stays true between the events ---- */

static void every_failing_allocation_ends_in_500(void **state)
{
    (void)state;
    char many[4096] = "GET http://a/ HTTP/1.1\r\n";
    size_t len = strlen(many);
    for (unsigned i = 0; i < 70; i++)
        len +=
            (size_t)snprintf(many + len, sizeof(many) - len, "X-Header-%u: the value %u\r\n", i, i);
    memcpy(many + len, "\r\n", 2);
    for (size_t chunk = 1; chunk < 5000; chunk *= 17) {
        unsigned failed = 0;
        for (long after = 0;; after++) {
            mem_fail_after(after);
            http_trace_read(&trace, &usual, slice_make(many, len + 2), chunk, chunk);
            mem_fail_after(-1);
            if (!trace.is_bad)
                break;
            assert_int_equal(trace.status, 500);
            failed++;
        }
        assert_true(failed >= 3);
        assert_int_equal(trace.requests, 1);
    }
}

static void the_line_can_be_read_while_the_headers_come(void **state)
{
    (void)state;
    struct http_reader r;
    struct http_head head;
    struct http_event event;
    http_head_init(&head, &usual);
    http_reader_init(&r, &usual);
    http_reader_begin(&r, &head);
    make("GET /path?query HTTP/1.1\r\nA: ", 'x', 10000, "\x01");
    const uint8_t *in = (const uint8_t *)made;
    for (size_t left = strlen(made), step = 0; left > 0; left -= step) {
        step = left < 50 ? left : 50;
        size_t piece = step;
        http_reader_next(&r, &event, &in, &piece);
        if (event.kind == HTTP_EVENT_BAD)
            break;
        assert_int_equal(event.kind, HTTP_EVENT_MORE);
    }
    assert_int_equal(event.kind, HTTP_EVENT_BAD);
    assert_true(slice_eq_str(head.line.method, "GET"));
    assert_true(slice_eq_str(head.line.target, "/path?query"));
    http_head_reset(&head);
    assert_int_equal(head.line.method.len,
                     0); /* a head that is lent again knows no older request */
    http_head_deinit(&head);
}

static void a_request_has_begun_with_its_first_byte_but_not_with_the_empty_line(void **state)
{
    (void)state;
    struct http_reader r;
    struct http_head head;
    struct http_event event;
    http_head_init(&head, &usual);
    http_reader_init(&r, &usual);
    http_reader_begin(&r, &head);
    assert_false(http_reader_has_begun(&r));
    const uint8_t *in = (const uint8_t *)"\r\nGET / HTTP/1.1\r\n\r\n";
    size_t len = 2;
    http_reader_next(&r, &event, &in, &len);
    assert_int_equal(event.kind, HTTP_EVENT_MORE);
    assert_false(http_reader_has_begun(&r));
    len = 1;
    http_reader_next(&r, &event, &in, &len);
    assert_true(http_reader_has_begun(&r));
    len = 17;
    http_reader_next(&r, &event, &in, &len);
    assert_int_equal(event.kind, HTTP_EVENT_HEAD);
    http_reader_next(&r, &event, &in, &len);
    assert_int_equal(event.kind, HTTP_EVENT_END);
    assert_true(http_reader_has_begun(&r));
    http_reader_next(&r, &event, &in, &len); /* nothing is read until the next request begins */
    assert_int_equal(event.kind, HTTP_EVENT_MORE);
    http_head_deinit(&head);
}

static void headers_are_not_to_be_seen_before_the_head_is_complete(void **state)
{
    (void)state;
    struct http_reader r;
    struct http_head head;
    struct http_event event;
    http_head_init(&head, &usual);
    http_reader_init(&r, &usual);
    http_reader_begin(&r, &head);
    static const char text[] = "GET / HTTP/1.1\r\nHost: h\r\nX-A: 1\r\n: bad\r\n\r\n";
    const uint8_t *in = (const uint8_t *)text;
    for (size_t at = 0; at < sizeof(text) - 1; at++) {
        size_t left = 1;
        http_reader_next(&r, &event, &in, &left);
        assert_int_equal(head.header_count, 0);
        if (event.kind == HTTP_EVENT_BAD)
            break;
    }
    assert_int_equal(event.kind, HTTP_EVENT_BAD);
    http_head_deinit(&head);
}

static void nothing_is_read_behind_an_end_or_a_violation(void **state)
{
    (void)state;
    struct http_reader r;
    struct http_head head;
    struct http_event event;
    http_head_init(&head, &usual);
    http_reader_init(&r, &usual);
    http_reader_begin(&r, &head);
    static const char text[] = POST "Content-Length: 2\r\n\r\nabcd";
    const uint8_t *in = (const uint8_t *)text;
    size_t left = sizeof(text) - 1;
    http_reader_next(&r, &event, &in, &left);
    assert_int_equal(event.kind, HTTP_EVENT_HEAD);
    assert_int_equal(left, 4); /* the body waits for the caller */
    http_reader_next(&r, &event, &in, &left);
    assert_int_equal(event.kind, HTTP_EVENT_BODY);
    assert_true(slice_eq_str(event.data, "ab"));
    http_reader_next(&r, &event, &in, &left);
    assert_int_equal(event.kind, HTTP_EVENT_END);
    assert_int_equal(left, 2);
    http_reader_next(&r, &event, &in, &left);
    assert_int_equal(event.kind, HTTP_EVENT_MORE);
    assert_int_equal(left, 2);
    http_head_reset(&head);
    http_reader_begin(&r, &head);
    in = (const uint8_t *)" \r\n\r\n";
    left = 5;
    http_reader_next(&r, &event, &in, &left);
    assert_int_equal(event.kind, HTTP_EVENT_BAD);
    const size_t then = left;
    http_reader_next(&r, &event, &in, &left);
    assert_int_equal(event.kind, HTTP_EVENT_MORE);
    assert_int_equal(left, then);
    http_head_deinit(&head);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bad_request_lines_are_refused),
        cmocka_unit_test(bad_headers_are_refused),
        cmocka_unit_test(ambiguous_framing_is_refused),
        cmocka_unit_test(bad_chunks_are_refused),
        cmocka_unit_test(the_ceilings_hold_at_n_and_n_plus_1),
        cmocka_unit_test(a_line_without_end_is_refused_at_the_ceiling),
        cmocka_unit_test(the_number_of_headers_has_a_ceiling_that_left_out_ones_count_for),
        cmocka_unit_test(every_request_has_the_whole_ceilings),
        cmocka_unit_test(each_chunk_may_have_extensions_up_to_the_ceiling),
        cmocka_unit_test(every_failing_allocation_ends_in_500),
        cmocka_unit_test(the_line_can_be_read_while_the_headers_come),
        cmocka_unit_test(a_request_has_begun_with_its_first_byte_but_not_with_the_empty_line),
        cmocka_unit_test(headers_are_not_to_be_seen_before_the_head_is_complete),
        cmocka_unit_test(nothing_is_read_behind_an_end_or_a_violation),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
