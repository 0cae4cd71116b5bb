/* SPDX-License-Identifier: BSD-3-Clause */
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
#define CHUNKED_HEAD "HEAD POST / HTTP/1.1 host=h transfer-encoding=chunked | chunked keep\n"

struct row {
    const char *why;
    struct slice in;
    const char *want;
};

static struct http_trace trace; /* too large for a stack */

static void assert_trace(const struct http_limits *limits, struct slice in, size_t first,
                         size_t rest, const char *want, const char *why)
{
    http_trace_read(&trace, limits, in, first, rest);
    if (strcmp(trace.text, want) != 0)
        fail_msg("%s, cut at %zu, then every %zu:\ngot\n%swant\n%s", why, first, rest, trace.text,
                 want);
}

/* Whole, cut at every byte, one byte and three bytes at a time. */
static void assert_rows(const struct http_limits *limits, const struct row *rows, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        const size_t len = rows[i].in.len;
        assert_trace(limits, rows[i].in, len, len, rows[i].want, rows[i].why);
        for (size_t cut = 0; cut <= len; cut++)
            assert_trace(limits, rows[i].in, cut, len, rows[i].want, rows[i].why);
        assert_trace(limits, rows[i].in, 1, 1, rows[i].want, rows[i].why);
        assert_trace(limits, rows[i].in, 3, 3, rows[i].want, rows[i].why);
    }
}

static void heads_are_told_with_names_in_lower_case_and_values_trimmed(void **state)
{
    (void)state;
    static const struct row rows[] = {
        {"RFC 9112 section 2.1",
         TEXT("GET /hello.txt HTTP/1.1\r\nUser-Agent: curl/7.64.1\r\nHost: www.example.com\r\n"
              "Accept-Language: en, mi\r\n\r\n"),
         "HEAD GET /hello.txt HTTP/1.1 user-agent=curl/7.64.1 host=www.example.com "
         "accept-language=en, mi | keep\nEND\n"},
        {"a query", TEXT("GET /a?b=c HTTP/1.1\r\n" HOST "\r\n"),
         "HEAD GET /a ?b=c HTTP/1.1 host=h | keep\nEND\n"},
        {"no header at all", TEXT("GET / HTTP/1.0\r\n\r\n"), "HEAD GET / HTTP/1.0 |\nEND\n"},
        {"blanks around a value", TEXT(GET HOST "A: \t x y \t \r\nB:z\r\n\r\n"),
         "HEAD GET / HTTP/1.1 host=h a=x y b=z | keep\nEND\n"},
        {"empty values", TEXT(GET HOST "A:\r\nB: \r\nC:\t \r\nD: d\r\n\r\n"),
         "HEAD GET / HTTP/1.1 host=h a= b= c= d=d | keep\nEND\n"},
        {"a name twice", TEXT(GET HOST "A: 1\r\na: 2\r\n\r\n"),
         "HEAD GET / HTTP/1.1 host=h a=1 a=2 | keep\nEND\n"},
        {"every token character in a name", TEXT(GET HOST "!#$%&'*+-.^`|~09aZ: x\r\n\r\n"),
         "HEAD GET / HTTP/1.1 host=h !#$%&'*+-.^`|~09az=x | keep\nEND\n"},
        {"a name with an underscore is left out",
         TEXT(GET "X_User: root\r\n" HOST "_: a\r\nB_: b\r\nC: c\r\n\r\n"),
         "HEAD GET / HTTP/1.1 host=h c=c | keep\nEND\n"},
        {"an underscore in a value stays", TEXT(GET HOST "A: b_c\r\n\r\n"),
         "HEAD GET / HTTP/1.1 host=h a=b_c | keep\nEND\n"},
        {"text that is not ASCII in a value", TEXT(GET HOST "A: \xc3\xa9\xff\r\n\r\n"),
         "HEAD GET / HTTP/1.1 host=h a=\xc3\xa9\xff | keep\nEND\n"},
        {"one empty line before the request", TEXT("\r\n" GET HOST "\r\n"),
         "HEAD GET / HTTP/1.1 host=h | keep\nEND\n"},
        {"a method that no list knows", TEXT("BREW /pot HTTP/1.1\r\n" HOST "\r\n"),
         "HEAD BREW /pot HTTP/1.1 host=h | keep\nEND\n"},
        {"HTTP/2's preface is another version", TEXT("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
         "BAD 505 This server speaks HTTP/1.1 and HTTP/1.0.\n"},
    };
    assert_rows(&usual, rows, UNIT_ROWS(rows));
}

static void an_absolute_target_takes_the_place_of_host(void **state)
{
    (void)state;
    static const struct row rows[] = {
        {"another Host", TEXT("GET http://good/p HTTP/1.1\r\nA: 1\r\nHost: evil\r\nB: 2\r\n\r\n"),
         "HEAD GET /p HTTP/1.1 a=1 host=good b=2 | keep\nEND\n"},
        {"no Host", TEXT("GET http://good:81 HTTP/1.1\r\nA: 1\r\n\r\n"),
         "HEAD GET / HTTP/1.1 a=1 host=good:81 | keep\nEND\n"},
        {"two Hosts all the same", TEXT("GET http://good/ HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n"),
         "BAD 400 The request has more than one Host header.\n"},
    };
    assert_rows(&usual, rows, UNIT_ROWS(rows));
}

static void the_connection_is_kept_as_the_version_and_connection_say(void **state)
{
    (void)state;
    static const struct row rows[] = {
        {"1.1", TEXT(GET HOST "\r\n"), "HEAD GET / HTTP/1.1 host=h | keep\nEND\n"},
        {"1.1 close", TEXT(GET "Connection: close\r\n\r\n"),
         "HEAD GET / HTTP/1.1 connection=close |\nEND\n"},
        {"1.1 close among others", TEXT(GET "Connection: x, CLOSE\r\n\r\n"),
         "HEAD GET / HTTP/1.1 connection=x, CLOSE |\nEND\n"},
        {"1.1 close in a second field",
         TEXT(GET "Connection: keep-alive\r\nConnection: close\r\n\r\n"),
         "HEAD GET / HTTP/1.1 connection=keep-alive connection=close |\nEND\n"},
        {"1.1 a word with close in it", TEXT(GET "Connection: closed\r\n\r\n"),
         "HEAD GET / HTTP/1.1 connection=closed | keep\nEND\n"},
        {"1.0", TEXT("GET / HTTP/1.0\r\n" HOST "\r\n"), "HEAD GET / HTTP/1.0 host=h |\nEND\n"},
        {"1.0 keep-alive, which this server does not do",
         TEXT("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n"),
         "HEAD GET / HTTP/1.0 connection=keep-alive |\nEND\n"},
    };
    assert_rows(&usual, rows, UNIT_ROWS(rows));
}

static void only_a_client_of_1_1_expects_continue(void **state)
{
    (void)state;
    static const struct row rows[] = {
        {"1.1", TEXT(POST "Expect: 100-Continue\r\nContent-Length: 1\r\n\r\nx"),
         "HEAD POST / HTTP/1.1 expect=100-Continue content-length=1 | length=1 keep expect\n[x] "
         "END\n"},
        {"1.0", TEXT("POST / HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\nx"),
         "HEAD POST / HTTP/1.0 expect=100-continue content-length=1 | length=1\n[x] END\n"},
        {"another expectation", TEXT(GET "Expect: tea\r\n\r\n"),
         "HEAD GET / HTTP/1.1 expect=tea | keep\nEND\n"},
    };
    assert_rows(&usual, rows, UNIT_ROWS(rows));
}

static void an_upgrade_is_told_and_does_not_change_the_framing(void **state)
{
    (void)state;
    static const struct row rows[] = {
        {"WebSocket", TEXT(GET HOST "Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n"),
         "HEAD GET / HTTP/1.1 host=h connection=Upgrade upgrade=websocket | keep upgrade\nEND\n"},
        {"with a body",
         TEXT(POST "Connection: upgrade\r\nUpgrade: h2c\r\nContent-Length: 2\r\n\r\nhiGET / "
                   "HTTP/1.1\r\n\r\n"),
         "HEAD POST / HTTP/1.1 connection=upgrade upgrade=h2c content-length=2 | length=2 keep "
         "upgrade\n[hi] END\n"
         "HEAD GET / HTTP/1.1 | keep\nEND\n"},
        {"without Connection", TEXT(GET "Upgrade: websocket\r\n\r\n" GET "\r\n"),
         "HEAD GET / HTTP/1.1 upgrade=websocket | keep\nEND\nHEAD GET / HTTP/1.1 | keep\nEND\n"},
        {"CONNECT is read as any other", TEXT("CONNECT h:80 HTTP/1.1\r\n\r\n" GET "\r\n"),
         "HEAD CONNECT h:80 HTTP/1.1 | keep\nEND\nHEAD GET / HTTP/1.1 | keep\nEND\n"},
    };
    assert_rows(&usual, rows, UNIT_ROWS(rows));
}

static void bodies_end_where_their_length_says(void **state)
{
    (void)state;
    static const struct row rows[] = {
        {"5", TEXT(POST "Content-Length: 5\r\n\r\nhello"),
         "HEAD POST / HTTP/1.1 content-length=5 | length=5 keep\n[hello] END\n"},
        {"0", TEXT(POST "Content-Length: 0\r\n\r\n"),
         "HEAD POST / HTTP/1.1 content-length=0 | length=0 keep\nEND\n"},
        {"leading zeros", TEXT(POST "Content-Length: 003\r\n\r\nabc"),
         "HEAD POST / HTTP/1.1 content-length=003 | length=3 keep\n[abc] END\n"},
        {"a body of GET", TEXT(GET "Content-Length: 3\r\n\r\nabc"),
         "HEAD GET / HTTP/1.1 content-length=3 | length=3 keep\n[abc] END\n"},
        {"no length: no body", TEXT(POST HOST "\r\n"), "HEAD POST / HTTP/1.1 host=h | keep\nEND\n"},
        {"not all there yet", TEXT(POST "Content-Length: 6\r\n\r\nhello"),
         "HEAD POST / HTTP/1.1 content-length=6 | length=6 keep\n[hello"},
        {"any bytes", TEXT(POST "Content-Length: 4\r\n\r\n\r\n\n "),
         "HEAD POST / HTTP/1.1 content-length=4 | length=4 keep\n[\r\n\n ] END\n"},
        {"the largest length", TEXT(POST "Content-Length: 18446744073709551615\r\n\r\nx"),
         "HEAD POST / HTTP/1.1 content-length=18446744073709551615 | length=18446744073709551615 "
         "keep\n[x"},
    };
    assert_rows(&usual, rows, UNIT_ROWS(rows));
}

static void chunked_bodies_are_joined_and_trailers_left_out(void **state)
{
    (void)state;
    static const struct row rows[] = {
        {"two chunks", TEXT(CHUNKED "5\r\nhello\r\n1\r\n!\r\n0\r\n\r\n"),
         CHUNKED_HEAD "[hello!] END\n"},
        {"an empty body", TEXT(CHUNKED "0\r\n\r\n"), CHUNKED_HEAD "END\n"},
        {"hexadecimal of both cases",
         TEXT(CHUNKED "a\r\n0123456789\r\nB\r\n0123456789a\r\n0\r\n\r\n"),
         CHUNKED_HEAD "[01234567890123456789a] END\n"},
        {"leading zeros", TEXT(CHUNKED "0003\r\nabc\r\n000\r\n\r\n"), CHUNKED_HEAD "[abc] END\n"},
        {"extensions", TEXT(CHUNKED "3;a\r\nabc\r\n2;b=c;d=\"e\"\r\nde\r\n0;f\r\n\r\n"),
         CHUNKED_HEAD "[abcde] END\n"},
        {"line ends in a chunk", TEXT(CHUNKED "4\r\n\r\n0\r\r\n0\r\n\r\n"),
         CHUNKED_HEAD "[\r\n0\r] END\n"},
        {"trailers",
         TEXT(CHUNKED "1\r\na\r\n0\r\nX-Sum: 1\r\nHost: evil\r\nHost: b\r\n\r\n" GET "\r\n"),
         CHUNKED_HEAD "[a] END\nHEAD GET / HTTP/1.1 | keep\nEND\n"},
        {"a trailer that ends the connection",
         TEXT(CHUNKED "0\r\nConnection: close\r\n\r\n" GET "\r\n"),
         CHUNKED_HEAD "END\nHEAD GET / HTTP/1.1 | keep\nEND\n"},
        {"chunked in capitals", TEXT(POST "Transfer-Encoding: \t CHUNKED \r\n\r\n0\r\n\r\n"),
         "HEAD POST / HTTP/1.1 transfer-encoding=CHUNKED | chunked keep\nEND\n"},
    };
    assert_rows(&usual, rows, UNIT_ROWS(rows));
}

static void pipelined_requests_stop_at_each_end(void **state)
{
    (void)state;
    static const struct row rows[] = {
        {"three without body",
         TEXT("GET /1 HTTP/1.1\r\n\r\nGET /2 HTTP/1.1\r\n\r\nGET /3 HTTP/1.0\r\n\r\n"),
         "HEAD GET /1 HTTP/1.1 | keep\nEND\nHEAD GET /2 HTTP/1.1 | keep\nEND\nHEAD GET /3 HTTP/1.0 "
         "|\nEND\n"},
        {"a body between",
         TEXT("PUT /1 HTTP/1.1\r\nContent-Length: 2\r\n\r\nabGET /2 HTTP/1.1\r\n\r\n"),
         "HEAD PUT /1 HTTP/1.1 content-length=2 | length=2 keep\n[ab] END\nHEAD GET /2 HTTP/1.1 | "
         "keep\nEND\n"},
        {"an empty line before each", TEXT("\r\n" GET "\r\n\r\n" GET "\r\n"),
         "HEAD GET / HTTP/1.1 | keep\nEND\nHEAD GET / HTTP/1.1 | keep\nEND\n"},
        {"chunked, then another", TEXT(CHUNKED "1\r\na\r\n0\r\n\r\n" GET "\r\n"),
         CHUNKED_HEAD "[a] END\nHEAD GET / HTTP/1.1 | keep\nEND\n"},
        {"headers do not stay", TEXT(GET "A: 1\r\nX_y: 1\r\n\r\n" GET "B: 2\r\n\r\n"),
         "HEAD GET / HTTP/1.1 a=1 | keep\nEND\nHEAD GET / HTTP/1.1 b=2 | keep\nEND\n"},
        {"a second that is bad",
         TEXT(GET "\r\n"
                  "BAD\r\n\r\n"),
         "HEAD GET / HTTP/1.1 | keep\nEND\nBAD 400 The request line does not end with an HTTP "
         "version.\n"},
        {"behind a close", TEXT(GET "Connection: close\r\n\r\n" GET "\r\n"),
         "HEAD GET / HTTP/1.1 connection=close |\nEND\nHEAD GET / HTTP/1.1 | keep\nEND\n"},
    };
    assert_rows(&usual, rows, UNIT_ROWS(rows));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(heads_are_told_with_names_in_lower_case_and_values_trimmed),
        cmocka_unit_test(an_absolute_target_takes_the_place_of_host),
        cmocka_unit_test(the_connection_is_kept_as_the_version_and_connection_say),
        cmocka_unit_test(only_a_client_of_1_1_expects_continue),
        cmocka_unit_test(an_upgrade_is_told_and_does_not_change_the_framing),
        cmocka_unit_test(bodies_end_where_their_length_says),
        cmocka_unit_test(chunked_bodies_are_joined_and_trailers_left_out),
        cmocka_unit_test(pipelined_requests_stop_at_each_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
