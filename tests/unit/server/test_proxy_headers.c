/* SPDX-License-Identifier: BSD-3-Clause */
#include "server/http/proxy_headers.h"

#include "tests/support/unit.h"

#include <string.h>

enum { HEADERS_MAX = 4, ROOM = 64 };

static const struct proxy_headers_names usual = {"x-forwarded-for", "x-forwarded-port"};

struct pair {
    const char *name;
    const char *value;
};

static size_t make_headers(struct header *out, const struct pair *pairs)
{
    size_t count = 0;
    while (count < HEADERS_MAX && pairs[count].name != NULL) {
        out[count] = (struct header){slice_str(pairs[count].name), slice_str(pairs[count].value)};
        count++;
    }
    return count;
}

/* What the server knows by itself: the proxy is the peer, and it speaks plain text. */
static struct scope scope_of(enum scope_type type, const struct header *headers, size_t count)
{
    return (struct scope){
        .type = type,
        .scheme = slice_str(type == SCOPE_HTTP ? "http" : "ws"),
        .headers = headers,
        .header_count = count,
        .client = {.host = slice_str("10.0.0.1"), .port = 555, .has_port = true},
    };
}

static void assert_slice(struct slice got, const char *want, const char *why)
{
    if (!slice_eq_str(got, want))
        fail_msg("%s: \"%.*s\" is not \"%s\"", why, (int)got.len, (const char *)got.ptr, want);
}

static void the_client_is_the_first_element_of_the_first_field(void **state)
{
    (void)state;
    static const struct {
        const char *why;
        struct pair in[HEADERS_MAX];
        const char *host;
        uint16_t port;
    } rows[] = {
        {"nothing said", {{"host", "a"}}, "10.0.0.1", 555},
        {"one address", {{"x-forwarded-for", "1.2.3.4"}}, "1.2.3.4", 0},
        {"several", {{"x-forwarded-for", "1.2.3.4, 5.6.7.8"}}, "1.2.3.4", 0},
        {"blanks", {{"x-forwarded-for", " \t1.2.3.4 , 5.6.7.8"}}, "1.2.3.4", 0},
        {"two fields",
         {{"x-forwarded-for", "1.2.3.4"}, {"x-forwarded-for", "5.6.7.8"}},
         "1.2.3.4",
         0},
        {"IPv6", {{"x-forwarded-for", "2001:db8::1"}}, "2001:db8::1", 0},
        {"brackets stay", {{"x-forwarded-for", "[2001:db8::1]"}}, "[2001:db8::1]", 0},
        {"a port in the element stays", {{"x-forwarded-for", "1.2.3.4:99"}}, "1.2.3.4:99", 0},
        {"a word", {{"x-forwarded-for", "unknown"}}, "unknown", 0},
        {"empty", {{"x-forwarded-for", ""}}, "10.0.0.1", 555},
        {"empty first element", {{"x-forwarded-for", ", 5.6.7.8"}}, "10.0.0.1", 555},
        {"not UTF-8", {{"x-forwarded-for", "1.2.3.4\xff"}}, "10.0.0.1", 555},
        {"UTF-8", {{"x-forwarded-for", "h\xc3\xb6st"}}, "h\xc3\xb6st", 0},
    };
    for (size_t i = 0; i < UNIT_ROWS(rows); i++) {
        struct header headers[HEADERS_MAX];
        struct scope scope = scope_of(SCOPE_HTTP, headers, make_headers(headers, rows[i].in));
        proxy_headers_apply(&scope, &usual);
        assert_slice(scope.client.host, rows[i].host, rows[i].why);
        assert_int_equal(scope.client.port, rows[i].port);
        assert_true(scope.client.has_port);
        assert_slice(scope.scheme, "http", rows[i].why);
    }
}

static void the_port_counts_only_beside_an_address(void **state)
{
    (void)state;
    static const struct {
        const char *why;
        struct pair in[HEADERS_MAX];
        uint16_t want;
    } rows[] = {
        {"alone", {{"x-forwarded-port", "443"}}, 555},
        {"beside", {{"x-forwarded-port", "443"}, {"x-forwarded-for", "1.2.3.4"}}, 443},
        {"blanks", {{"x-forwarded-for", "1.2.3.4"}, {"x-forwarded-port", " 80 "}}, 80},
        {"the largest", {{"x-forwarded-for", "1.2.3.4"}, {"x-forwarded-port", "65535"}}, 65535},
        {"one more", {{"x-forwarded-for", "1.2.3.4"}, {"x-forwarded-port", "65536"}}, 0},
        {"over 32 bits", {{"x-forwarded-for", "a"}, {"x-forwarded-port", "4294967376"}}, 0},
        {"a word", {{"x-forwarded-for", "1.2.3.4"}, {"x-forwarded-port", "https"}}, 0},
        {"digits and more", {{"x-forwarded-for", "1.2.3.4"}, {"x-forwarded-port", "80x"}}, 0},
        {"negative", {{"x-forwarded-for", "1.2.3.4"}, {"x-forwarded-port", "-1"}}, 0},
        {"empty", {{"x-forwarded-for", "1.2.3.4"}, {"x-forwarded-port", ""}}, 0},
        {"the first of two",
         {{"x-forwarded-for", "a"}, {"x-forwarded-port", "1"}, {"x-forwarded-port", "2"}},
         1},
    };
    for (size_t i = 0; i < UNIT_ROWS(rows); i++) {
        struct header headers[HEADERS_MAX];
        struct scope scope = scope_of(SCOPE_HTTP, headers, make_headers(headers, rows[i].in));
        proxy_headers_apply(&scope, &usual);
        if (scope.client.port != rows[i].want)
            fail_msg("%s: %u", rows[i].why, scope.client.port);
    }
}

static void the_scheme_follows_x_forwarded_proto(void **state)
{
    (void)state;
    static const struct {
        const char *why;
        const char *proto;
        const char *http;
        const char *websocket;
    } rows[] = {
        {"https", "https", "https", "wss"},
        {"http", "http", "http", "ws"},
        {"capitals", "HTTPS", "https", "wss"},
        {"wss", "wss", "wss", "wss"},
        {"ws", "ws", "ws", "ws"},
        {"a list", "https, http", "https", "wss"},
        {"another word", "gopher", "gopher", "gopher"},
        {"empty", "", "http", "ws"},
        {"not a token", "ht tp", "http", "ws"},
        {"bytes that are no text", "\xff", "http", "ws"},
    };
    for (size_t i = 0; i < UNIT_ROWS(rows); i++) {
        const struct pair pairs[HEADERS_MAX] = {{"x-forwarded-for", "1.2.3.4"},
                                                {"x-forwarded-proto", rows[i].proto}};
        struct header headers[HEADERS_MAX];
        const size_t count = make_headers(headers, pairs);
        struct scope http = scope_of(SCOPE_HTTP, headers, count);
        proxy_headers_apply(&http, &usual);
        assert_slice(http.scheme, rows[i].http, rows[i].why);
        struct scope websocket = scope_of(SCOPE_WEBSOCKET, headers, count);
        proxy_headers_apply(&websocket, &usual);
        assert_slice(websocket.scheme, rows[i].websocket, rows[i].why);
    }
}

static void the_scheme_stays_without_an_address(void **state)
{
    (void)state;
    const struct header headers[] = {{slice_str("x-forwarded-proto"), slice_str("https")}};
    struct scope scope = scope_of(SCOPE_HTTP, headers, 1);
    proxy_headers_apply(&scope, &usual);
    assert_slice(scope.scheme, "http", "scheme");
}

static void a_client_behind_a_unix_socket_gets_a_port(void **state)
{
    (void)state;
    const struct header headers[] = {{slice_str("x-forwarded-for"), slice_str("1.2.3.4")}};
    struct scope scope = scope_of(SCOPE_HTTP, headers, 1);
    scope.client = (struct scope_addr){0};
    proxy_headers_apply(&scope, &usual);
    assert_slice(scope.client.host, "1.2.3.4", "host");
    assert_true(scope.client.has_port);
    assert_int_equal(scope.client.port, 0);
}

static void other_field_names_are_used_when_configured(void **state)
{
    (void)state;
    static const struct pair pairs[HEADERS_MAX] = {{"x-forwarded-for", "6.6.6.6"},
                                                   {"x-forwarded-port", "66"},
                                                   {"x-real-ip", "1.2.3.4"},
                                                   {"x-real-port", "99"}};
    const struct proxy_headers_names names = {"x-real-ip", "x-real-port"};
    struct header headers[HEADERS_MAX];
    struct scope scope = scope_of(SCOPE_HTTP, headers, make_headers(headers, pairs));
    proxy_headers_apply(&scope, &names);
    assert_slice(scope.client.host, "1.2.3.4", "host");
    assert_int_equal(scope.client.port, 99);
}

static void the_root_path_is_taken_out_of_the_headers(void **state)
{
    (void)state;
    static const struct pair pairs[HEADERS_MAX] = {{"host", "a"},
                                                   {"daphne-root-path", "/first"},
                                                   {"accept", "b"},
                                                   {"daphne-root-path", "/last"}};
    struct header headers[HEADERS_MAX];
    struct slice raw = slice_str("junk");
    const size_t count = make_headers(headers, pairs);
    assert_int_equal(proxy_headers_take_root_path(headers, count, &raw), 2);
    assert_slice(headers[0].name, "host", "order");
    assert_slice(headers[1].name, "accept", "order");
    assert_slice(raw, "/last", "the last one counts");
}

static void headers_without_a_root_path_stay_as_they_are(void **state)
{
    (void)state;
    static const struct pair pairs[HEADERS_MAX] = {{"host", "a"}, {"x-daphne-root-path", "/x"}};
    struct header headers[HEADERS_MAX];
    struct slice raw = slice_str("junk");
    const size_t count = make_headers(headers, pairs);
    assert_int_equal(proxy_headers_take_root_path(headers, count, &raw), 2);
    assert_slice(headers[1].value, "/x", "kept");
    assert_int_equal(raw.len, 0);
    assert_int_equal(proxy_headers_take_root_path(headers, 0, &raw), 0);
}

static void a_root_path_is_percent_decoded(void **state)
{
    (void)state;
    static const struct {
        const char *why;
        const char *in;
        const char *want; /* NULL: refused */
    } rows[] = {
        {"plain", "/app", "/app"},
        {"a blank", "/my%20app", "/my app"},
        {"UTF-8", "/h%C3%B6", "/h\xc3\xb6"},
        {"a broken escape stays", "/%zz%2", "/%zz%2"},
        {"empty", "", ""},
        {"a byte over ASCII", "/h\xc3\xb6", NULL},
        {"decodes to what is not UTF-8", "/%ff", NULL},
        {"decodes to half a character", "/%c3", NULL},
    };
    for (size_t i = 0; i < UNIT_ROWS(rows); i++) {
        uint8_t room[ROOM];
        struct slice out = slice_str("untouched");
        const bool done = proxy_headers_decode_root_path(&out, room, slice_str(rows[i].in));
        if (done != (rows[i].want != NULL))
            fail_msg("%s", rows[i].why);
        assert_slice(out, done ? rows[i].want : "untouched", rows[i].why);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_client_is_the_first_element_of_the_first_field),
        cmocka_unit_test(the_port_counts_only_beside_an_address),
        cmocka_unit_test(the_scheme_follows_x_forwarded_proto),
        cmocka_unit_test(the_scheme_stays_without_an_address),
        cmocka_unit_test(a_client_behind_a_unix_socket_gets_a_port),
        cmocka_unit_test(other_field_names_are_used_when_configured),
        cmocka_unit_test(the_root_path_is_taken_out_of_the_headers),
        cmocka_unit_test(headers_without_a_root_path_stay_as_they_are),
        cmocka_unit_test(a_root_path_is_percent_decoded),
    };
    return cmocka_run_group_tests_name("proxy_headers", tests, NULL, NULL);
}
