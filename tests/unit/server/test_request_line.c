/* SPDX-License-Identifier: BSD-3-Clause */
#include "server/http/request_line.h"

#include "tests/support/unit.h"

#include <stdlib.h>
#include <string.h>

/* Parses @line from a block of exactly its size; the slices must be compared before it is freed. */
struct parsed {
    struct request_line line;
    const char *reason;
    unsigned status;
    uint8_t *block;
};

static struct parsed parse(struct slice text)
{
    struct parsed p = {.block = malloc(text.len > 0 ? text.len : 1)};
    assert_non_null(p.block);
    if (text.len > 0)
        memcpy(p.block, text.ptr, text.len);
    p.status = request_line_parse(&p.line, &p.reason, slice_make(p.block, text.len));
    return p;
}

static void assert_part(const char *why, const char *part, struct slice got, const char *want)
{
    if (!slice_eq_str(got, want))
        fail_msg("%s: %s is \"%.*s\", want \"%s\"", why, part, (int)got.len,
                 got.len == 0 ? "" : (const char *)got.ptr, want);
}

static void a_request_line_is_cut_into_its_parts(void **state)
{
    (void)state;
    static const struct {
        const char *why;
        const char *in;
        const char *method;
        const char *target;
        const char *path;
        const char *query;
        const char *authority;
        unsigned minor;
    } rows[] = {
        {"RFC 9112 section 3", "GET /hello.txt HTTP/1.1", "GET", "/hello.txt", "/hello.txt", "", "",
         1},
        {"HTTP/1.0", "GET / HTTP/1.0", "GET", "/", "/", "", "", 0},
        {"a query", "GET /where?q=now HTTP/1.1", "GET", "/where?q=now", "/where", "q=now", "", 1},
        {"an empty query", "GET /where? HTTP/1.1", "GET", "/where?", "/where", "", "", 1},
        {"a question mark in the query", "GET /a?b?c HTTP/1.1", "GET", "/a?b?c", "/a", "b?c", "",
         1},
        {"an escape stays", "GET /a%20b HTTP/1.1", "GET", "/a%20b", "/a%20b", "", "", 1},
        {"a double slash is no authority", "GET //evil/x HTTP/1.1", "GET", "//evil/x", "//evil/x",
         "", "", 1},
        {"a URI in the path", "GET /http://b/ HTTP/1.1", "GET", "/http://b/", "/http://b/", "", "",
         1},
        {"any token is a method", "M-SEARCH /x HTTP/1.1", "M-SEARCH", "/x", "/x", "", "", 1},
        {"methods have their case", "get / HTTP/1.1", "get", "/", "/", "", "", 1},
        {"every token character", "!#$%&'*+-.^_`|~09azAZ / HTTP/1.1", "!#$%&'*+-.^_`|~09azAZ", "/",
         "/", "", "", 1},
        {"asterisk-form", "OPTIONS * HTTP/1.1", "OPTIONS", "*", "*", "", "", 1},
        {"authority-form", "CONNECT www.example.com:80 HTTP/1.1", "CONNECT", "www.example.com:80",
         "www.example.com:80", "", "", 1},
        {"absolute-form", "GET http://www.example.org/pub/a.html HTTP/1.1", "GET",
         "http://www.example.org/pub/a.html", "/pub/a.html", "", "www.example.org", 1},
        {"absolute-form with port and query", "GET https://h:8443/p?q HTTP/1.1", "GET",
         "https://h:8443/p?q", "/p", "q", "h:8443", 1},
        {"absolute-form without a path", "GET http://h HTTP/1.1", "GET", "http://h", "/", "", "h",
         1},
        {"absolute-form with a query only", "GET http://h?q HTTP/1.1", "GET", "http://h?q", "/",
         "q", "h", 1},
        {"the scheme has no case", "GET HTTP://h/ HTTP/1.1", "GET", "HTTP://h/", "/", "", "h", 1},
        {"absolute-form of a WebSocket", "GET wss://h/chat HTTP/1.1", "GET", "wss://h/chat",
         "/chat", "", "h", 1},
        {"absolute-form with an IPv6 address", "GET ws://[::1]:80/ HTTP/1.1", "GET",
         "ws://[::1]:80/", "/", "", "[::1]:80", 1},
    };
    for (size_t i = 0; i < UNIT_ROWS(rows); i++) {
        const struct parsed p = parse(slice_str(rows[i].in));
        if (p.status != 0)
            fail_msg("%s: %u %s", rows[i].why, p.status, p.reason);
        assert_part(rows[i].why, "method", p.line.method, rows[i].method);
        assert_part(rows[i].why, "target", p.line.target, rows[i].target);
        assert_part(rows[i].why, "path", p.line.path, rows[i].path);
        assert_part(rows[i].why, "query", p.line.query, rows[i].query);
        assert_part(rows[i].why, "authority", p.line.authority, rows[i].authority);
        assert_int_equal(p.line.minor, rows[i].minor);
        free(p.block);
    }
}

#define TEXT(literal)                                   \
    {                                                   \
        (const uint8_t *)(literal), sizeof(literal) - 1 \
    }

static void a_malformed_request_line_is_refused(void **state)
{
    (void)state;
    static const struct {
        const char *why;
        struct slice in;
        unsigned want;
    } rows[] = {
        {"empty", TEXT(""), 400},
        {"a method only", TEXT("GET"), 400},
        {"HTTP/0.9", TEXT("GET /"), 400},
        {"no method", TEXT(" / HTTP/1.1"), 400},
        {"no target", TEXT("GET  HTTP/1.1"), 400},
        {"target left out", TEXT("GET HTTP/1.1"), 400},
        {"two blanks", TEXT("GET  / HTTP/1.1"), 400},
        {"a blank in the target", TEXT("GET /a b HTTP/1.1"), 400},
        {"two blanks before the version", TEXT("GET /  HTTP/1.1"), 400},
        {"a blank behind the version", TEXT("GET / HTTP/1.1 "), 400},
        {"a tab for a blank", TEXT("GET\t/\tHTTP/1.1"), 400},
        {"a method that is no token", TEXT("G@T / HTTP/1.1"), 400},
        {"a method with NUL", TEXT("GE\0T / HTTP/1.1"), 400},
        {"NUL in the target", TEXT("GET /a\0b HTTP/1.1"), 400},
        {"a tab in the target", TEXT("GET /a\tb HTTP/1.1"), 400},
        {"a carriage return in the target", TEXT("GET /a\rb HTTP/1.1"), 400},
        {"DEL in the target", TEXT("GET /a\x7f HTTP/1.1"), 400},
        {"UTF-8 that is not escaped", TEXT("GET /\xc3\xa9 HTTP/1.1"), 400},
        {"a byte over 0x7f in the query", TEXT("GET /?\xff HTTP/1.1"), 400},
        {"a relative path", TEXT("GET index.html HTTP/1.1"), 400},
        {"an authority without CONNECT", TEXT("GET www.example.com:80 HTTP/1.1"), 400},
        {"another scheme", TEXT("GET ftp://h/ HTTP/1.1"), 400},
        {"an absolute URI without authority", TEXT("GET http:///p HTTP/1.1"), 400},
        {"nothing behind the scheme", TEXT("GET http:// HTTP/1.1"), 400},
        {"half a scheme", TEXT("GET http:/h/ HTTP/1.1"), 400},
        {"a query only", TEXT("GET ?q HTTP/1.1"), 400},
        {"HTTP/1.2", TEXT("GET / HTTP/1.2"), 505},
        {"HTTP/2.0", TEXT("PRI * HTTP/2.0"), 505},
        {"HTTP/0.9 with a version", TEXT("GET / HTTP/0.9"), 505},
        {"a version of one digit", TEXT("GET / HTTP/2"), 400},
        {"a version with more digits", TEXT("GET / HTTP/1.10"), 400},
        {"a version in lower case", TEXT("GET / http/1.1"), 400},
        {"a comma in the version", TEXT("GET / HTTP/1,1"), 400},
        {"another protocol", TEXT("GET / ICAP/1.0"), 400},
        {"a version of letters", TEXT("GET / HTTP/a.b"), 400},
        {"a carriage return behind the version", TEXT("GET / HTTP/1.1\r"), 400},
    };
    for (size_t i = 0; i < UNIT_ROWS(rows); i++) {
        const struct parsed p = parse(rows[i].in);
        if (p.status != rows[i].want || p.reason == NULL)
            fail_msg("%s: status %u, want %u", rows[i].why, p.status, rows[i].want);
        free(p.block);
    }
}

static void what_is_no_method_is_not_given_as_one(void **state)
{
    (void)state;
    static const char hello[] = "\x16\x03\x01\x02 \x01 \x03";
    const struct parsed p = parse(slice_make(hello, sizeof(hello) - 1));
    assert_int_equal(p.status, 400);
    assert_int_equal(p.line.method.len, 0);
    free(p.block);
}

static void every_beginning_of_a_good_line_is_refused(void **state)
{
    (void)state;
    static const char whole[] = "GET http://h/p?q HTTP/1.1";
    for (size_t len = 0; len < sizeof(whole) - 1; len++) {
        const struct parsed p = parse(slice_make(whole, len));
        assert_int_equal(p.status, 400);
        assert_non_null(p.reason);
        free(p.block);
    }
}

static void a_line_of_random_bytes_is_refused_or_within_its_bounds(void **state)
{
    (void)state;
    uint64_t seed = 11;
    for (unsigned round = 0; round < 20000; round++) {
        char text[] = "GET http://h/p?q HTTP/1.1";
        for (unsigned n = unit_random(&seed) % 3; n > 0; n--)
            text[unit_random(&seed) % (sizeof(text) - 1)] = (char)unit_random(&seed);
        const struct parsed p = parse(slice_make(text, sizeof(text) - 1));
        assert_true(p.status == 0 || p.status == 400 || p.status == 505);
        if (p.status == 0)
            assert_true(p.line.path.len > 0 && p.line.query.len < sizeof(text) &&
                        p.line.minor <= 1);
        free(p.block);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_request_line_is_cut_into_its_parts),
        cmocka_unit_test(a_malformed_request_line_is_refused),
        cmocka_unit_test(what_is_no_method_is_not_given_as_one),
        cmocka_unit_test(every_beginning_of_a_good_line_is_refused),
        cmocka_unit_test(a_line_of_random_bytes_is_refused_or_within_its_bounds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
