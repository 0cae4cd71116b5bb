/* SPDX-License-Identifier: BSD-3-Clause */
#include "server/options_value.h"

#include "tests/support/unit.h"

#include <string.h>

static const struct option_row *row_of(const char *name)
{
    size_t count = 0;
    const struct option_row *rows = options_table_rows(&count);
    for (size_t i = 0; i < count; i++) {
        if (strcmp(rows[i].name, name) == 0)
            return &rows[i];
    }
    fail_msg("no option %s", name);
    return rows;
}

static void set(struct options *out, const char *name, const char *value)
{
    struct err_text why = {0};
    if (options_value_set(out, row_of(name), value, name, &why) != ERR_OK)
        fail_msg("%s", why.text);
}

static void seconds_are_kept_in_milliseconds(void **state)
{
    (void)state;
    static const struct {
        const char *value;
        int64_t zero_never;
        int64_t negative_never;
    } rows[] = {
        {"1", 1000, 1000},
        {"0", -1, 0},
        {"-1", -1, -1},
        {"-0.001", -1, -1},
        {"+5", 5000, 5000},
        {"0.5", 500, 500},
        {"1.25", 1250, 1250},
        {"2.001", 2001, 2001},
        {"3.", 3000, 3000},
        {"007", 7000, 7000},
        {"1000000000", 1000000000000, 1000000000000},
    };
    for (size_t i = 0; i < UNIT_ROWS(rows); i++) {
        struct options options = {0};
        set(&options, "ping-interval", rows[i].value);
        set(&options, "websocket_timeout", rows[i].value);
        if (options.ping_interval_ms != rows[i].zero_never ||
            options.websocket_timeout_ms != rows[i].negative_never)
            fail_msg("%s: %lld %lld", rows[i].value, (long long)options.ping_interval_ms,
                     (long long)options.websocket_timeout_ms);
    }
}

static void numbers_are_taken_up_to_their_limits(void **state)
{
    (void)state;
    struct options options = {0};
    set(&options, "port", "65535");
    set(&options, "workers", "64");
    set(&options, "max-body-size", "9223372036854775807");
    set(&options, "backlog", "1");
    assert_int_equal(options.port, 65535);
    assert_int_equal(options.workers, 64);
    assert_true(options.max_body_bytes == INT64_MAX);
    assert_int_equal(options.backlog, 1);
}

static void a_bad_value_is_named_with_what_was_expected(void **state)
{
    (void)state;
    static const struct {
        const char *why;
        const char *name;
        const char *value;
        const char *named;
    } rows[] = {
        {"a word", "port", "http", "port: \"http\" is not a whole number from 0 to 65535"},
        {"trailing garbage", "port", "80x", "\"80x\""},
        {"a blank", "port", "80 ", "\"80 \""},
        {"empty", "port", "", "\"\" is not a whole number"},
        {"too large", "port", "65536", "\"65536\""},
        {"negative", "port", "-1", "\"-1\""},
        {"a sign alone", "port", "+", "\"+\""},
        {"two signs", "port", "+-1", "\"+-1\""},
        {"decimals", "port", "80.0", "\"80.0\""},
        {"hexadecimal", "port", "0x50", "\"0x50\""},
        {"over 64 bits", "max-body-size", "9223372036854775808", "from 0 on"},
        {"no worker", "workers", "0", "from 1 to 64"},
        {"too many workers", "workers", "65", "from 1 to 64"},
        {"verbosity", "verbosity", "4", "from 0 to 3"},
        {"seconds in words", "ping-timeout", "soon", "\"soon\" is not a number of seconds"},
        {"no digit before the point", "ping-timeout", ".5", "\".5\""},
        {"four decimals", "ping-timeout", "0.0001", "\"0.0001\""},
        {"two points", "ping-timeout", "1.2.3", "\"1.2.3\""},
        {"over 64 bits in ms", "ping-timeout", "9223372036854775807", "up to 1000000000"},
        {"too many seconds", "ping-timeout", "1000000000.001", "up to 1000000000 (0: never)"},
        {"negative where it means nothing", "graceful-timeout", "-1", "from 0 to 1000000000"},
        {"a port in the address", "bind", "127.0.0.1:80", "(a port goes to --port)"},
        {"a port behind brackets", "bind", "[::1]:80", "\"[::1]:80\""},
        {"brackets alone", "bind", "[]", "\"[]\""},
        {"an endpoint as address", "bind", "unix:/x", "\"unix:/x\""},
        {"a socket whose name is no text", "unix-socket", "/tmp/\xff", "UTF-8"},
        {"an empty zone", "bind", "fe80::1%", "\"fe80::1%\""},
        {"an unknown mode", "accelerate", "Full", "\"Full\" is not off, exact or full"},
        {"no mode", "accelerate", "", "off, exact or full"},
        {"no thread", "threads", "0", "from 1 to 1024"},
        {"too many threads", "threads", "1025", "from 1 to 1024"},
        {"a suffix", "worker-memory-limit", "512M", "\"512M\" is not a whole number from 0 on"},
        {"too many requests", "max-requests", "1000000001", "from 0 to 1000000000"},
        {"an unknown loop", "loop", "trio", "auto, asyncio or uvloop"},
        {"a newline in a header", "server-name", "a\r\nX", "printable ASCII"},
        {"no ASCII in a header", "server-name", "\xc3\xb6", "printable ASCII"},
        {"no field name", "proxy-headers-host", "X:Y", "\"X:Y\""},
        {"a bad network", "forwarded-allow-ips", "10.0.0.1/8", "\"10.0.0.1/8\""},
        {"bytes that are no text", "root-path", "/\xff", "is not UTF-8"},
        {"a flag", "proxy-headers", "2", "is not 1 or 0"},
    };
    for (size_t i = 0; i < UNIT_ROWS(rows); i++) {
        struct options options;
        struct options before;
        struct err_text why = {0};
        memset(&options, 0, sizeof(options)); /* padding, too */
        memset(&before, 0, sizeof(before));
        if (options_value_set(&options, row_of(rows[i].name), rows[i].value, rows[i].name, &why) !=
            ERR_INVALID)
            fail_msg("accepted: %s", rows[i].why);
        if (strstr(why.text, rows[i].named) == NULL)
            fail_msg("%s: \"%s\" is not in: %s", rows[i].why, rows[i].named, why.text);
        assert_memory_equal(&options, &before, sizeof(options));
    }
}

static void a_unix_path_may_be_as_long_as_the_kernel_takes(void **state)
{
    (void)state;
    char path[109];
    struct options options = {0};
    struct err_text why = {0};
    memset(path, 'x', sizeof(path) - 1);
    path[108] = '\0';
    const struct option_row *row = row_of("unix-socket");
    assert_int_equal(options_value_set(&options, row, path, "-u", &why), ERR_INVALID);
    path[107] = '\0';
    set(&options, "unix-socket", path);
    assert_string_equal(options.unix_path, path);
    options_deinit(&options);
}

static void a_list_of_proxies_is_kept_as_text_and_parsed(void **state)
{
    (void)state;
    struct options options = {0};
    set(&options, "forwarded-allow-ips", "10.0.0.0/8, unix");
    assert_string_equal(options.forwarded_allow_ips, "10.0.0.0/8, unix");
    assert_int_equal(options.forwarded.count, 1);
    assert_true(options.forwarded.has_unix_sockets);
    set(&options, "forwarded-allow-ips", "");
    assert_int_equal(options.forwarded.count, 0);
    assert_false(options.forwarded.has_unix_sockets);
    options_deinit(&options);
}

static void a_flag_turns_its_preset_over(void **state)
{
    (void)state;
    struct options options = {0};
    set(&options, "no-date-header", "off");
    assert_true(options.has_date_header);
    set(&options, "no-date-header", "YES");
    assert_false(options.has_date_header);
    set(&options, "proxy-headers", "true");
    assert_true(options.has_proxy_headers);
}

static void every_default_is_a_good_value(void **state)
{
    (void)state;
    struct options options = {0};
    size_t count = 0;
    const struct option_row *rows = options_table_rows(&count);
    for (size_t i = 0; i < count; i++) {
        if (options_table_has_field(&rows[i]))
            options_value_set_default(&options, &rows[i]);
    }
    assert_string_equal(options.proxy_headers_host, "x-forwarded-for");
    options_deinit(&options);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(seconds_are_kept_in_milliseconds),
        cmocka_unit_test(numbers_are_taken_up_to_their_limits),
        cmocka_unit_test(a_bad_value_is_named_with_what_was_expected),
        cmocka_unit_test(a_unix_path_may_be_as_long_as_the_kernel_takes),
        cmocka_unit_test(a_list_of_proxies_is_kept_as_text_and_parsed),
        cmocka_unit_test(a_flag_turns_its_preset_over),
        cmocka_unit_test(every_default_is_a_good_value),
    };
    return cmocka_run_group_tests_name("options_value", tests, NULL, NULL);
}
