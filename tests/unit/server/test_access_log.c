/* SPDX-License-Identifier: BSD-3-Clause */
#include "server/process/access_log.h"

#include "tests/support/unit.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LONG_TEXT = 20000 };

static const time_t moment = 1795225230; /* 2026-11-21 01:40:30 UTC */

static int use_utc(void **state)
{
    (void)state;
    setenv("TZ", "UTC", 1);
    tzset();
    return 0;
}

static struct access_entry request(const char *method, const char *target, unsigned status,
                                   uint64_t body_bytes)
{
    return (struct access_entry){
        .event = ACCESS_HTTP,
        .now = moment,
        .client = {.host = slice_str("127.0.0.1"), .port = 33848, .has_port = true},
        .method = slice_str(method),
        .target = slice_str(target),
        .status = status,
        .body_bytes = body_bytes,
    };
}

static void assert_line(const struct access_entry *entry, const char *want)
{
    struct access_log log = {0};
    uint8_t room[ACCESS_LOG_LINE_MAX];
    const struct slice line = access_log_format(&log, room, sizeof(room), entry);
    if (!slice_eq_str(line, want))
        fail_msg("%.*s is not %s", (int)line.len, (const char *)line.ptr, want);
}

static void a_request_is_written_as_daphne_does(void **state)
{
    (void)state;
    static const struct {
        const char *why;
        const char *target;
        unsigned status;
        uint64_t body_bytes;
        const char *want;
    } rows[] = {
        {"with a query", "/x?y=1", 200, 2,
         "127.0.0.1:33848 - - [21/Nov/2026:01:40:30] \"GET /x?y=1\" 200 2\n"},
        {"no body", "/", 204, 0, "127.0.0.1:33848 - - [21/Nov/2026:01:40:30] \"GET /\" 204 -\n"},
        {"no status", "/", 0, 0, "127.0.0.1:33848 - - [21/Nov/2026:01:40:30] \"GET /\" - -\n"},
        {"large", "/", 200, UINT64_MAX,
         "127.0.0.1:33848 - - [21/Nov/2026:01:40:30] \"GET /\" 200 18446744073709551615\n"},
    };
    for (size_t i = 0; i < UNIT_ROWS(rows); i++) {
        const struct access_entry entry =
            request("GET", rows[i].target, rows[i].status, rows[i].body_bytes);
        assert_line(&entry, rows[i].want);
    }
}

static void websocket_events_have_neither_status_nor_size(void **state)
{
    (void)state;
    static const struct {
        enum access_event event;
        const char *want;
    } rows[] = {
        {ACCESS_WS_CONNECTING,
         "127.0.0.1:33848 - - [21/Nov/2026:01:40:30] \"WSCONNECTING /ws/\" - -\n"},
        {ACCESS_WS_CONNECT, "127.0.0.1:33848 - - [21/Nov/2026:01:40:30] \"WSCONNECT /ws/\" - -\n"},
        {ACCESS_WS_REJECT, "127.0.0.1:33848 - - [21/Nov/2026:01:40:30] \"WSREJECT /ws/\" - -\n"},
        {ACCESS_WS_DISCONNECT,
         "127.0.0.1:33848 - - [21/Nov/2026:01:40:30] \"WSDISCONNECT /ws/\" - -\n"},
    };
    for (size_t i = 0; i < UNIT_ROWS(rows); i++) {
        struct access_entry entry = request("GET", "/ws/", 101, 5);
        entry.event = rows[i].event;
        assert_line(&entry, rows[i].want);
    }
}

static void the_client_is_shown_as_daphne_does(void **state)
{
    (void)state;
    static const struct {
        const char *why;
        const char *host;
        uint16_t port;
        const char *want;
    } rows[] = {
        {"unix socket", "", 0, "None - - [21/Nov/2026:01:40:30] \"GET /\" 200 1\n"},
        {"behind a proxy", "1.2.3.4", 0, "1.2.3.4:0 - - [21/Nov/2026:01:40:30] \"GET /\" 200 1\n"},
        {"IPv6", "::1", 65535, "::1:65535 - - [21/Nov/2026:01:40:30] \"GET /\" 200 1\n"},
        {"a forged line", "x\n1", 9, "x\\x0a1:9 - - [21/Nov/2026:01:40:30] \"GET /\" 200 1\n"},
    };
    for (size_t i = 0; i < UNIT_ROWS(rows); i++) {
        struct access_entry entry = request("GET", "/", 200, 1);
        entry.client.host = slice_str(rows[i].host);
        entry.client.port = rows[i].port;
        entry.client.has_port = rows[i].host[0] != '\0';
        assert_line(&entry, rows[i].want);
    }
}

static void bytes_that_could_hide_or_end_a_line_are_escaped(void **state)
{
    (void)state;
    static const struct {
        const char *why;
        const char *in;
        const char *want;
    } rows[] = {
        {"newline", "/a\nb", "/a\\x0ab"},
        {"carriage return and escape", "/\r\x1b", "/\\x0d\\x1b"},
        {"delete", "/\x7f", "/\\x7f"},
        {"UTF-8", "/\xc3\xb6", "/\\xc3\\xb6"},
        {"the last printable", "/~", "/~"},
        {"a quote stays, as with Daphne", "/\"", "/\""},
        {"a backslash stays, as with Daphne", "/\\", "/\\"},
    };
    for (size_t i = 0; i < UNIT_ROWS(rows); i++) {
        char want[128];
        const struct access_entry entry = request("GET", rows[i].in, 200, 1);
        (void)snprintf(want, sizeof(want),
                       "127.0.0.1:33848 - - [21/Nov/2026:01:40:30] \"GET %s\" 200 1\n",
                       rows[i].want);
        assert_line(&entry, want);
    }
}

static bool ends_with(struct slice line, const char *end)
{
    const size_t len = strlen(end);
    return line.len >= len && memcmp(line.ptr + line.len - len, end, len) == 0;
}

static void a_line_that_is_too_long_is_cut_but_complete(void **state)
{
    (void)state;
    static const char fills[] = {'a', '\n'};
    char *text = malloc(LONG_TEXT);
    assert_non_null(text);
    for (size_t i = 0; i < sizeof(fills); i++) {
        memset(text, fills[i], LONG_TEXT);
        for (size_t room = ACCESS_LOG_LINE_MIN; room < ACCESS_LOG_LINE_MIN + 9; room++) {
            struct access_log log = {0};
            uint8_t *out = malloc(room); /* exactly, so that ASan sees the byte behind */
            struct access_entry entry = request("", "", 200, UINT64_MAX);
            assert_non_null(out);
            entry.client.host = slice_make(text, LONG_TEXT);
            entry.method = slice_make(text, LONG_TEXT);
            entry.target = slice_make(text, LONG_TEXT);
            const struct slice line = access_log_format(&log, out, room, &entry);
            assert_true(ends_with(line, "...\" 200 18446744073709551615\n"));
            assert_ptr_equal(memchr(line.ptr, '\n', line.len), line.ptr + line.len - 1);
            free(out);
        }
    }
    free(text);
}

static void a_target_that_just_fits_is_whole(void **state)
{
    (void)state;
    char text[ACCESS_LOG_LINE_MIN];
    memset(text, 'a', sizeof(text));
    bool was_cut = false;
    for (size_t len = 1; len < sizeof(text); len++) {
        struct access_log log = {0};
        uint8_t room[ACCESS_LOG_LINE_MIN];
        struct access_entry entry = request("GET", "", 200, 1);
        entry.target = slice_make(text, len);
        const struct slice line = access_log_format(&log, room, sizeof(room), &entry);
        const bool is_cut = ends_with(line, "...\" 200 1\n");
        assert_true(is_cut || ends_with(line, "a\" 200 1\n"));
        assert_true(is_cut || !was_cut); /* once too long, always too long */
        was_cut = is_cut;
    }
    assert_true(was_cut);
}

static void the_time_moves_on_and_back(void **state)
{
    (void)state;
    static const struct {
        time_t now;
        const char *want;
    } rows[] = {
        {1795225230, "[21/Nov/2026:01:40:30]"}, {1795225231, "[21/Nov/2026:01:40:31]"},
        {1795225230, "[21/Nov/2026:01:40:30]"}, {0, "[01/Jan/1970:00:00:00]"},
        {951782400, "[29/Feb/2000:00:00:00]"},
    };
    struct access_log log = {0};
    for (size_t i = 0; i < UNIT_ROWS(rows); i++) {
        uint8_t room[ACCESS_LOG_LINE_MIN + 1];
        struct access_entry entry = request("GET", "/", 200, 1);
        entry.now = rows[i].now;
        const struct slice line = access_log_format(&log, room, ACCESS_LOG_LINE_MIN, &entry);
        room[line.len] = '\0';
        if (strstr((const char *)room, rows[i].want) == NULL)
            fail_msg("%s is not in %s", rows[i].want, (const char *)room);
    }
}

static void the_time_is_local(void **state)
{
    (void)state;
    setenv("TZ", "IST-05:30", 1);
    tzset();
    const struct access_entry entry = request("GET", "/", 200, 1);
    assert_line(&entry, "127.0.0.1:33848 - - [21/Nov/2026:07:10:30] \"GET /\" 200 1\n");
    assert_int_equal(use_utc(NULL), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_request_is_written_as_daphne_does),
        cmocka_unit_test(websocket_events_have_neither_status_nor_size),
        cmocka_unit_test(the_client_is_shown_as_daphne_does),
        cmocka_unit_test(bytes_that_could_hide_or_end_a_line_are_escaped),
        cmocka_unit_test(a_line_that_is_too_long_is_cut_but_complete),
        cmocka_unit_test(a_target_that_just_fits_is_whole),
        cmocka_unit_test(the_time_moves_on_and_back),
        cmocka_unit_test(the_time_is_local),
    };
    return cmocka_run_group_tests_name("access_log", tests, use_utc, NULL);
}
