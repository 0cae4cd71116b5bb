/* SPDX-License-Identifier: BSD-3-Clause */
#include "server/websocket/ws_handshake.h"

#include "tests/support/unit.h"

#include <stdio.h>
#include <string.h>

enum { FIELDS_MAX = 12 };

/* A request as a test row writes it: fields end at the first one without a name. */
struct row {
    const char *why;
    const char *method;
    const char *fields[FIELDS_MAX][2];
};

struct refusal {
    struct row request;
    uint16_t status;
    const char *reason;
    const char *culprit;
};

#define UPGRADE                \
    {                          \
        "upgrade", "websocket" \
    }
#define CONNECTION              \
    {                           \
        "connection", "Upgrade" \
    }
#define VERSION                       \
    {                                 \
        "sec-websocket-version", "13" \
    }
#define KEY                                             \
    {                                                   \
        "sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==" \
    } /* of RFC 6455 section 1.3 */
#define ACCEPT "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="

static size_t to_headers(struct header out[FIELDS_MAX], const char *const fields[FIELDS_MAX][2])
{
    size_t count = 0;
    for (; count < FIELDS_MAX && fields[count][0] != NULL; count++) {
        out[count].name = slice_str(fields[count][0]);
        out[count].value = slice_str(fields[count][1]);
    }
    return count;
}

static enum ws_handshake_verdict check(struct ws_handshake *out, const struct row *row)
{
    struct header headers[FIELDS_MAX];
    const struct ws_handshake_request request = {
        .method = slice_str(row->method),
        .headers = headers,
        .header_count = to_headers(headers, row->fields),
    };
    return ws_handshake_check(out, &request);
}

static void upgrade_is_accepted(void **state)
{
    (void)state;
    static const struct row rows[] = {
        {"as in the rfc", "GET", {{"host", "x"}, UPGRADE, CONNECTION, KEY, VERSION}},
        {"any case", "GET", {{"upgrade", "WebSocket"}, {"connection", "UPGRADE"}, KEY, VERSION}},
        {"firefox", "GET", {UPGRADE, {"connection", "keep-alive, Upgrade"}, KEY, VERSION}},
        {"connection on two lines",
         "GET",
         {UPGRADE, {"connection", "keep-alive"}, CONNECTION, KEY, VERSION}},
        {"one of several upgrades",
         "GET",
         {{"upgrade", "h2c, websocket"}, CONNECTION, KEY, VERSION}},
        {"blanks that the http parser left",
         "GET",
         {{"upgrade", " websocket "},
          {"connection", "Upgrade\t"},
          {"sec-websocket-key", " dGhlIHNhbXBsZSBub25jZQ== "},
          {"sec-websocket-version", "13 "}}},
        {"offers",
         "GET",
         {UPGRADE, CONNECTION, KEY, VERSION, {"sec-websocket-protocol", "a, b%20c"}}},
        {"empty offer", "GET", {UPGRADE, CONNECTION, KEY, VERSION, {"sec-websocket-protocol", ""}}},
        {"offer of base64, no token",
         "GET",
         {UPGRADE, CONNECTION, KEY, VERSION, {"sec-websocket-protocol", "bearer, Zm9v/YmFy+=="}}},
        {"offer with a blank inside, no token",
         "GET",
         {UPGRADE, CONNECTION, KEY, VERSION, {"sec-websocket-protocol", "a b~"}}},
    };
    for (size_t i = 0; i < UNIT_ROWS(rows); i++) {
        struct ws_handshake got;
        if (check(&got, &rows[i]) != WS_HANDSHAKE_OK)
            fail_msg("%s: %s", rows[i].why, got.reason);
        assert_string_equal(got.accept, ACCEPT);
        assert_int_equal(got.version, 13);
    }
}

static void version_8_is_accepted_and_told(void **state)
{
    (void)state;
    static const struct row row = {
        "draft", "GET", {UPGRADE, CONNECTION, KEY, {"sec-websocket-version", "8"}}};
    struct ws_handshake got;
    assert_int_equal(check(&got, &row), WS_HANDSHAKE_OK);
    assert_int_equal(got.version, 8);
    assert_string_equal(got.accept, ACCEPT);
}

static void what_is_no_websocket_upgrade_is_plain_http(void **state)
{
    (void)state;
    static const struct row rows[] = {
        {"nothing", "GET", {{"host", "x"}}},
        {"no fields", "GET", {{NULL, NULL}}},
        {"h2c", "GET", {{"upgrade", "h2c"}, {"connection", "Upgrade, HTTP2-Settings"}}},
        {"longer word", "GET", {{"upgrade", "websockets"}, CONNECTION, KEY, VERSION}},
        {"two words", "GET", {{"upgrade", "web socket"}, CONNECTION, KEY, VERSION}},
        {"empty", "GET", {{"upgrade", ""}, CONNECTION, KEY, VERSION}},
        {"connection alone", "POST", {CONNECTION, KEY, VERSION}},
    };
    for (size_t i = 0; i < UNIT_ROWS(rows); i++) {
        struct ws_handshake got;
        if (check(&got, &rows[i]) != WS_HANDSHAKE_NONE)
            fail_msg("%s", rows[i].why);
    }
}

#define BAD_KEY "Sec-WebSocket-Key is not 16 bytes in base64"
#define BAD_NAME "name in Sec-WebSocket-Protocol is not ASCII text"

static const struct refusal refused[] = {
    {{"post", "POST", {UPGRADE, CONNECTION, KEY, VERSION}},
     405,
     "a WebSocket is opened with GET",
     "POST"},
    {{"lower-case get", "get", {UPGRADE, CONNECTION, KEY, VERSION}},
     405,
     "a WebSocket is opened with GET",
     "get"},
    {{"no connection", "GET", {UPGRADE, KEY, VERSION}},
     400,
     "Connection does not have upgrade",
     ""},
    {{"other connection", "GET", {UPGRADE, {"connection", "keep-alive"}, KEY, VERSION}},
     400,
     "Connection does not have upgrade",
     ""},
    {{"no version", "GET", {UPGRADE, CONNECTION, KEY}},
     400,
     "Sec-WebSocket-Version is missing",
     ""},
    {{"two versions", "GET", {UPGRADE, CONNECTION, KEY, VERSION, VERSION}},
     400,
     "more than one Sec-WebSocket-Version",
     ""},
    {{"version 7", "GET", {UPGRADE, CONNECTION, KEY, {"sec-websocket-version", "7"}}},
     426,
     "unsupported Sec-WebSocket-Version",
     "7"},
    {{"version 130", "GET", {UPGRADE, CONNECTION, KEY, {"sec-websocket-version", "130"}}},
     426,
     "unsupported Sec-WebSocket-Version",
     "130"},
    {{"list of versions", "GET", {UPGRADE, CONNECTION, KEY, {"sec-websocket-version", "13, 8"}}},
     426,
     "unsupported Sec-WebSocket-Version",
     "13, 8"},
    {{"empty version", "GET", {UPGRADE, CONNECTION, KEY, {"sec-websocket-version", ""}}},
     426,
     "unsupported Sec-WebSocket-Version",
     ""},
    {{"no key", "GET", {UPGRADE, CONNECTION, VERSION}}, 400, "Sec-WebSocket-Key is missing", ""},
    {{"two keys", "GET", {UPGRADE, CONNECTION, VERSION, KEY, KEY}},
     400,
     "more than one Sec-WebSocket-Key",
     ""},
    {{"empty key", "GET", {UPGRADE, CONNECTION, VERSION, {"sec-websocket-key", ""}}},
     400,
     BAD_KEY,
     ""},
    {{"key of 15 bytes",
      "GET",
      {UPGRADE, CONNECTION, VERSION, {"sec-websocket-key", "dGhlIHNhbXBsZSBub25j"}}},
     400,
     BAD_KEY,
     "dGhlIHNhbXBsZSBub25j"},
    {{"key of 17 bytes",
      "GET",
      {UPGRADE, CONNECTION, VERSION, {"sec-websocket-key", "dGhlIHNhbXBsZSBub25jZWE="}}},
     400,
     BAD_KEY,
     "dGhlIHNhbXBsZSBub25jZWE="},
    {{"key of 18 bytes",
      "GET",
      {UPGRADE, CONNECTION, VERSION, {"sec-websocket-key", "dGhlIHNhbXBsZSBub25jZWFh"}}},
     400,
     BAD_KEY,
     "dGhlIHNhbXBsZSBub25jZWFh"},
    {{"key in url alphabet",
      "GET",
      {UPGRADE, CONNECTION, VERSION, {"sec-websocket-key", "dGhlIHNhbXBsZSBub25j_-=="}}},
     400,
     BAD_KEY,
     "dGhlIHNhbXBsZSBub25j_-=="},
    {{"key with a blank inside",
      "GET",
      {UPGRADE, CONNECTION, VERSION, {"sec-websocket-key", "dGhlIHNhbXBs SBub25jZQ=="}}},
     400,
     BAD_KEY,
     "dGhlIHNhbXBs SBub25jZQ=="},
    {{"key without padding",
      "GET",
      {UPGRADE, CONNECTION, VERSION, {"sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ"}}},
     400,
     BAD_KEY,
     "dGhlIHNhbXBsZSBub25jZQ"},
    {{"name with a tab inside",
      "GET",
      {UPGRADE, CONNECTION, VERSION, KEY, {"sec-websocket-protocol", "chat, a\tb, c"}}},
     400,
     BAD_NAME,
     "a\tb"},
    {{"name with a delete, second line",
      "GET",
      {UPGRADE,
       CONNECTION,
       VERSION,
       KEY,
       {"sec-websocket-protocol", "chat"},
       {"sec-websocket-protocol", "a\x7f"}}},
     400,
     BAD_NAME,
     "a\x7f"},
    {{"name that is not ascii",
      "GET",
      {UPGRADE, CONNECTION, VERSION, KEY, {"sec-websocket-protocol", "\xc3\xa9"}}},
     400,
     BAD_NAME,
     "\xc3\xa9"},
};

static void broken_upgrade_is_refused_and_named(void **state)
{
    (void)state;
    for (size_t i = 0; i < UNIT_ROWS(refused); i++) {
        const char *why = refused[i].request.why;
        struct ws_handshake got;
        if (check(&got, &refused[i].request) != WS_HANDSHAKE_REFUSED)
            fail_msg("not refused: %s", why);
        if (got.status != refused[i].status || strcmp(got.reason, refused[i].reason) != 0)
            fail_msg("%s: got %u %s", why, got.status, got.reason);
        if (!slice_eq_str(got.culprit, refused[i].culprit))
            fail_msg("%s: culprit %.*s", why, (int)got.culprit.len, (const char *)got.culprit.ptr);
    }
}

static void refusal_has_the_headers_that_its_status_asks_for(void **state)
{
    (void)state;
    for (size_t i = 0; i < UNIT_ROWS(refused); i++) {
        struct ws_handshake got;
        assert_int_equal(check(&got, &refused[i].request), WS_HANDSHAKE_REFUSED);
        const char *want = "";
        if (got.status == 405)
            want = "Allow: GET\r\n";
        if (got.status == 426)
            want = "Upgrade: websocket\r\nSec-WebSocket-Version: 13, 8\r\n";
        assert_string_equal(got.answer_headers, want);
    }
}

static void offers_come_in_order_from_all_lines(void **state)
{
    (void)state;
    static const struct {
        const char *fields[FIELDS_MAX][2];
        const char *want; /* every name followed by '|' */
    } rows[] = {
        {{{NULL, NULL}}, ""},
        {{{"host", "a, b"}}, ""},
        {{{"sec-websocket-protocol", ""}}, ""},
        {{{"sec-websocket-protocol", "chat"}}, "chat|"},
        {{{"sec-websocket-protocol", " chat,superchat ,"}}, "chat|superchat|"},
        {{{"sec-websocket-protocol", "b, a"},
          {"host", "x"},
          {"sec-websocket-protocol", ","},
          {"sec-websocket-protocol", "c%20d"}},
         "b|a|c%20d|"},
    };
    for (size_t i = 0; i < UNIT_ROWS(rows); i++) {
        struct header headers[FIELDS_MAX];
        struct ws_handshake_offers offers;
        struct slice name = {0};
        char got[64] = "";
        size_t len = 0;
        ws_handshake_offers_init(&offers, headers, to_headers(headers, rows[i].fields));
        while (ws_handshake_offers_next(&name, &offers))
            len += (size_t)snprintf(got + len, sizeof(got) - len, "%.*s|", (int)name.len,
                                    (const char *)name.ptr);
        assert_string_equal(got, rows[i].want);
        assert_false(ws_handshake_offers_next(&name, &offers));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(upgrade_is_accepted),
        cmocka_unit_test(version_8_is_accepted_and_told),
        cmocka_unit_test(what_is_no_websocket_upgrade_is_plain_http),
        cmocka_unit_test(broken_upgrade_is_refused_and_named),
        cmocka_unit_test(refusal_has_the_headers_that_its_status_asks_for),
        cmocka_unit_test(offers_come_in_order_from_all_lines),
    };
    return cmocka_run_group_tests_name("ws_handshake", tests, NULL, NULL);
}
