/* SPDX-License-Identifier: BSD-3-Clause */
#include "server/options.h"

#include "tests/support/options_run.h"
#include "tests/support/unit.h"

#include <stdlib.h>
#include <string.h>

enum { ENV_MAX = 6, LONG_TEXT = 8000 };

static void run_argv(struct run *run, int argc, char **argv)
{
    run_argv_by(run, options_parse, argc, argv);
}

static void run_line(struct run *run, const char *line)
{
    run_line_by(run, options_parse, line);
}

static void run_good(struct run *run, const char *line)
{
    run_good_by(run, options_parse, line);
}

static void assert_refused(const char *why, const char *line, const char *named)
{
    assert_refused_by(options_parse, why, line, named);
}

static bool is_same_text(const char *a, const char *b)
{
    return a == NULL || b == NULL ? a == b : strcmp(a, b) == 0;
}

static int clear_environment(void **state)
{
    (void)state;
    return clearenv();
}

static void without_options_daphne_s_defaults_hold(void **state)
{
    (void)state;
    struct run run;
    run_good(&run, "config.asgi:application");
    const struct options *o = &run.options;
    assert_string_equal(o->application, "config.asgi:application");
    assert_true(o->has_tcp);
    assert_string_equal(o->host, "127.0.0.1");
    assert_int_equal(o->port, 8000);
    assert_null(o->unix_path);
    assert_int_equal(o->verbosity, 1);
    assert_string_equal(o->access_log, "-");
    assert_string_equal(o->log_format, "%(asctime)-15s %(levelname)-8s %(message)s");
    assert_int_equal(o->http_timeout_ms, -1);
    assert_int_equal(o->ping_interval_ms, 20000);
    assert_int_equal(o->ping_timeout_ms, 30000);
    assert_int_equal(o->websocket_timeout_ms, 86400000);
    assert_int_equal(o->websocket_connect_timeout_ms, 5000);
    assert_int_equal(o->websocket_max_message_bytes, 1048576);
    assert_int_equal(o->websocket_max_frame_bytes, 1048576);
    assert_int_equal(o->application_close_timeout_ms, 10000);
    assert_string_equal(o->root_path, "");
    assert_false(o->has_proxy_headers);
    assert_string_equal(o->proxy_headers_host, "x-forwarded-for");
    assert_string_equal(o->proxy_headers_port, "x-forwarded-port");
    end_run(&run);
}

static void without_options_our_own_defaults_hold(void **state)
{
    (void)state;
    struct run run;
    run_good(&run, "m:a");
    const struct options *o = &run.options;
    assert_string_equal(o->server_name, "channelsd");
    assert_true(o->has_date_header);
    assert_int_equal(o->workers, 1);
    assert_in_range(o->edge_loops, 1, 256);
    assert_null(o->python);
    assert_string_equal(o->loop, "auto");
    assert_string_equal(o->accelerate, "exact");
    assert_int_equal(o->threads, 64);
    assert_int_equal(o->max_requests, 0);
    assert_int_equal(o->worker_memory_limit_bytes, 0);
    assert_string_equal(o->forwarded_allow_ips, "127.0.0.1,::1,unix");
    assert_int_equal(o->forwarded.count, 2);
    assert_true(o->forwarded.has_unix_sockets);
    assert_false(o->forwarded.has_everyone);
    assert_int_equal(o->graceful_timeout_ms, 7000);
    assert_int_equal(o->worker_timeout_ms, 30000);
    assert_int_equal(o->header_timeout_ms, 10000);
    assert_int_equal(o->keep_alive_timeout_ms, 60000);
    assert_int_equal(o->body_timeout_ms, 60000);
    assert_int_equal(o->send_timeout_ms, 60000);
    assert_int_equal(o->max_body_bytes, 0);
    assert_int_equal(o->max_request_line_bytes, 16384);
    assert_int_equal(o->max_header_bytes, 65536);
    assert_int_equal(o->max_header_count, 500);
    assert_int_equal(o->backlog, 2048);
    assert_int_equal(o->max_connections, 0);
    end_run(&run);
}

static void binding_options_add_up_as_with_daphne(void **state)
{
    (void)state;
    static const struct {
        const char *line;
        const char *host;
        const char *unix_path;
        int port;
        bool has_tcp;
    } rows[] = {
        {"m:a", "127.0.0.1", NULL, 8000, true},
        {"-b 0.0.0.0 m:a", "0.0.0.0", NULL, 8000, true},
        {"-p 9000 m:a", "127.0.0.1", NULL, 9000, true},
        {"-b 10.0.0.1 -p 9000 m:a", "10.0.0.1", NULL, 9000, true},
        {"-u /run/x.sock m:a", "127.0.0.1", "/run/x.sock", 8000, false},
        {"-u /run/x.sock -p 0 m:a", "127.0.0.1", "/run/x.sock", 0, true},
        {"-u /run/x.sock -b ::1 m:a", "::1", "/run/x.sock", 8000, true},
        {"-u /run/x.sock -b '' m:a", "127.0.0.1", "/run/x.sock", 8000, false},
        {"-u /run/x.sock -u '' m:a", "127.0.0.1", NULL, 8000, true},
        {"-b 10.0.0.1 -b '' m:a", "127.0.0.1", NULL, 8000, true},
        {"-b [::1] m:a", "::1", NULL, 8000, true},
        {"-b :: m:a", "::", NULL, 8000, true},
        {"-b fe80::1%eth0 m:a", "fe80::1%eth0", NULL, 8000, true},
        {"-b ::ffff:10.0.0.1 m:a", "::ffff:10.0.0.1", NULL, 8000, true},
        {"-b localhost m:a", "localhost", NULL, 8000, true},
        {"-b my-host.example_1 m:a", "my-host.example_1", NULL, 8000, true},
    };
    for (size_t i = 0; i < UNIT_ROWS(rows); i++) {
        struct run run;
        run_good(&run, rows[i].line);
        const struct options *o = &run.options;
        if (o->has_tcp != rows[i].has_tcp || !is_same_text(o->host, rows[i].host) ||
            o->port != rows[i].port || !is_same_text(o->unix_path, rows[i].unix_path))
            fail_msg("%s: %d %s %d %s", rows[i].line, o->has_tcp, o->host, o->port,
                     o->unix_path != NULL ? o->unix_path : "none");
        end_run(&run);
    }
}

static void the_access_log_follows_verbosity_unless_given(void **state)
{
    (void)state;
    static const struct {
        const char *line;
        const char *want;
    } rows[] = {
        {"-v 0 m:a", NULL},
        {"-v 1 m:a", "-"},
        {"-v 3 m:a", "-"},
        {"-v 0 --access-log - m:a", "-"},
        {"-v 0 --access-log /tmp/a m:a", "/tmp/a"},
        {"-v 1 --access-log /tmp/a m:a", "/tmp/a"},
        {"-v 0 --access-log '' m:a", NULL},
        {"-v 1 --access-log '' m:a", "-"},
    };
    for (size_t i = 0; i < UNIT_ROWS(rows); i++) {
        struct run run;
        run_good(&run, rows[i].line);
        if (!is_same_text(run.options.access_log, rows[i].want))
            fail_msg("%s", rows[i].line);
        end_run(&run);
    }
}

static void a_wrong_option_or_argument_is_named(void **state)
{
    (void)state;
    static const struct {
        const char *why;
        const char *line;
        const char *named;
    } rows[] = {
        {"no application", "-p 80", "the application is missing"},
        {"nothing at all", "", "the application is missing"},
        {"no attribute", "config.asgi", "\"config.asgi\" is not module:attribute"},
        {"an empty attribute", "config.asgi:", "\"config.asgi:\""},
        {"an empty module", ":application", "\":application\""},
        {"an empty application", "''", "\"\" is not module:attribute"},
        {"two applications", "m:a n:b",
         "extra argument \"n:b\": the application is already \"m:a\""},
        {"two behind --", "-- m:a n:b", "\"n:b\""},
        {"an option behind --", "m:a -- -p", "\"-p\""},
        {"unknown", "--bogus m:a", "unknown option \"--bogus\""},
        {"unknown with value", "--bogus=1 m:a", "unknown option \"--bogus=1\""},
        {"unknown letter", "-x m:a", "unknown option \"-x\""},
        {"unknown letter in a group", "-v1 -xh m:a", "unknown option \"-x\""},
        {"two that fit", "--ping 3 m:a", "ambiguous option \"--ping\": --ping-interval, --ping-t"},
        {"a dash for _", "--websocket-timeout 1 m:a", "it is spelled --websocket_timeout"},
        {"_ for a dash", "--ping_interval=1 m:a", "it is spelled --ping-interval"},
        {"no value", "m:a -p", "-p/--port: the value is missing: expected PORT"},
        {"no value for a long one", "m:a --root-path", "--root-path: the value is missing"},
        {"a value too many", "--no-date-header=1 m:a", "--no-date-header takes no value"},
        {"an endpoint", "-e tcp:80 m:a", "-e/--endpoint is not supported: use --bind"},
        {"a descriptor", "--fd 3 m:a", "--fd is not supported: use --bind"},
        {"a bad value", "-p 80x m:a", "-p/--port: \"80x\" is not a whole number from 0 to 65535"},
        {"what would act on a terminal", "-s a\r\n\x1b m:a", "\"a\\r\\n\\x1b\""},
        {"a log format with an unknown field", "--log-fmt %(nothing)s m:a",
         "--log-fmt: log format: unknown field %(nothing)"},
        {"a log format of another style", "--log-fmt {message} m:a",
         "--log-fmt: log format: no %("},
        {"a host field alone", "--proxy-headers-host X m:a",
         "--proxy-headers-host needs --proxy-headers"},
        {"a port field alone", "--proxy-headers-port X m:a",
         "--proxy-headers-port needs --proxy-headers"},
    };
    for (size_t i = 0; i < UNIT_ROWS(rows); i++)
        assert_refused(rows[i].why, rows[i].line, rows[i].named);
}

static void a_very_long_argument_is_refused_in_few_words(void **state)
{
    (void)state;
    static const char *const options[] = {"-p", "--bogus", "-b",
                                          "--forwarded-allow-ips=", "--loop="};
    char *line = malloc(LONG_TEXT);
    assert_non_null(line);
    for (size_t i = 0; i < UNIT_ROWS(options); i++) {
        struct run run;
        memset(line, '?', LONG_TEXT);
        line[LONG_TEXT - 1] = '\0';
        memcpy(line, "m:a ", 4);
        memcpy(line + 4, options[i], strlen(options[i]));
        run_line(&run, line);
        assert_int_equal(run.result, OPTIONS_BAD);
        assert_in_range(strlen(run.err), 1, 700);
        end_run(&run);
    }
    free(line);
}

static void options_may_be_shortened_and_stand_anywhere(void **state)
{
    (void)state;
    struct run run;
    run_good(&run, "m:a --ping-i=7 -p9 --websocket_c 3 -v 2 --proxy-headers -u/x");
    assert_int_equal(run.options.ping_interval_ms, 7000);
    assert_int_equal(run.options.port, 9);
    assert_int_equal(run.options.websocket_connect_timeout_ms, 3000);
    assert_int_equal(run.options.verbosity, 2);
    assert_true(run.options.has_proxy_headers);
    assert_string_equal(run.options.unix_path, "/x");
    end_run(&run);
}

static void a_value_may_stand_behind_letter_and_equals_sign(void **state)
{
    (void)state;
    struct run run;
    run_good(&run, "-p=9 -u=/x -v=0 m:a");
    assert_int_equal(run.options.port, 9);
    assert_string_equal(run.options.unix_path, "/x");
    assert_int_equal(run.options.verbosity, 0);
    end_run(&run);
    run_good(&run, "-u =/x --access-log==y m:a");
    assert_string_equal(run.options.unix_path, "=/x");
    assert_string_equal(run.options.access_log, "=y");
    end_run(&run);
}

static void an_empty_proxy_field_is_as_if_not_given(void **state)
{
    (void)state;
    struct run run;
    run_good(&run, "--proxy-headers --proxy-headers-host X-Real-IP --proxy-headers-port '' m:a");
    assert_true(run.options.has_proxy_headers);
    assert_string_equal(run.options.proxy_headers_host, "x-real-ip");
    assert_string_equal(run.options.proxy_headers_port, "x-forwarded-port");
    end_run(&run);
    run_good(&run, "--proxy-headers-port '' m:a");
    end_run(&run);
}

static void the_last_of_two_counts(void **state)
{
    (void)state;
    static const struct {
        const char *line;
        const char *want;
    } rows[] = {
        {"-s a -s b m:a", "b"},
        {"-s a --no-server-name m:a", ""},
        {"--no-server-name -s a m:a", "a"},
        {"-s '' m:a", ""},
    };
    for (size_t i = 0; i < UNIT_ROWS(rows); i++) {
        struct run run;
        run_good(&run, rows[i].line);
        assert_string_equal(run.options.server_name, rows[i].want);
        end_run(&run);
    }
}

/* @env: names and values, ended by NULL. */
static void run_with(struct run *run, const char *const env[], const char *line)
{
    for (size_t i = 0; env[i] != NULL; i += 2)
        setenv(env[i], env[i + 1], 1);
    run_good(run, line);
    clearenv();
}

static void the_environment_is_read_and_the_command_line_wins(void **state)
{
    (void)state;
    static const struct {
        const char *why;
        const char *env[ENV_MAX];
        const char *line;
        const char *unix_path;
        int port;
    } rows[] = {
        {"a number", {"CHANNELSD_PORT", "9"}, "m:a", NULL, 9},
        {"argv wins", {"CHANNELSD_PORT", "9"}, "-p 7 m:a", NULL, 7},
        {"a bad one that is not used", {"CHANNELSD_PORT", "x"}, "-p 7 m:a", NULL, 7},
        {"empty is not set", {"CHANNELSD_PORT", ""}, "m:a", NULL, 8000},
        {"a text", {"CHANNELSD_UNIX_SOCKET", "/x"}, "m:a", "/x", 8000},
        {"argv takes it away", {"CHANNELSD_UNIX_SOCKET", "/x"}, "-u '' m:a", NULL, 8000},
        {"not ours", {"PORT", "1", "CHANNELSD_ENDPOINT", "x"}, "m:a", NULL, 8000},
    };
    for (size_t i = 0; i < UNIT_ROWS(rows); i++) {
        struct run run;
        run_with(&run, rows[i].env, rows[i].line);
        if (run.options.port != rows[i].port ||
            !is_same_text(run.options.unix_path, rows[i].unix_path))
            fail_msg("%s", rows[i].why);
        end_run(&run);
    }
}

static void flags_are_read_from_the_environment(void **state)
{
    (void)state;
    static const struct {
        const char *why;
        const char *env[ENV_MAX];
        const char *line;
        const char *server_name;
        bool has_date_header;
    } rows[] = {
        {"on", {"CHANNELSD_NO_DATE_HEADER", "1"}, "m:a", "channelsd", false},
        {"on in words", {"CHANNELSD_NO_DATE_HEADER", "True"}, "m:a", "channelsd", false},
        {"off", {"CHANNELSD_NO_DATE_HEADER", "0"}, "m:a", "channelsd", true},
        {"no name", {"CHANNELSD_NO_SERVER_NAME", "yes"}, "m:a", "", true},
        {"a name after all", {"CHANNELSD_NO_SERVER_NAME", "yes"}, "-s x m:a", "x", true},
        {"no name in argv", {"CHANNELSD_SERVER_NAME", "x"}, "--no-server-name m:a", "", true},
    };
    for (size_t i = 0; i < UNIT_ROWS(rows); i++) {
        struct run run;
        run_with(&run, rows[i].env, rows[i].line);
        if (!is_same_text(run.options.server_name, rows[i].server_name) ||
            run.options.has_date_header != rows[i].has_date_header)
            fail_msg("%s", rows[i].why);
        end_run(&run);
    }
}

static void a_bad_variable_is_named(void **state)
{
    (void)state;
    setenv("CHANNELSD_PORT", "80x", 1);
    assert_refused("a number", "m:a", "CHANNELSD_PORT: \"80x\" is not a whole number");
    clearenv();
    setenv("CHANNELSD_PROXY_HEADERS", "perhaps", 1);
    assert_refused("a flag", "m:a", "CHANNELSD_PROXY_HEADERS: \"perhaps\" is not 1 or 0");
    clearenv();
    setenv("CHANNELSD_WEBSOCKET_TIMEOUT", "x", 1);
    assert_refused("an underscore", "m:a", "CHANNELSD_WEBSOCKET_TIMEOUT");
    clearenv();
}

static void options_may_stand_behind_the_application_whatever_posix_says(void **state)
{
    (void)state;
    struct run run;
    setenv("POSIXLY_CORRECT", "1", 1);
    run_good(&run, "m:a -p 7");
    assert_int_equal(run.options.port, 7);
    end_run(&run);
    clearenv();
}

static void help_version_and_table_end_with_success(void **state)
{
    (void)state;
    static const struct {
        const char *line;
        const char *begin;
        const char *has;
    } rows[] = {
        {"--help", "usage: channelsd ", "  -b, --bind ADDRESS  "},
        {"-h", "usage: channelsd ", "--websocket_connect_timeout SECONDS\n"},
        {"-p 80 --help --bogus", "usage: channelsd ", "(default: 20; 0: never)"},
        {"--version", "channelsd ", "\n"},
        {"--print-options-table", "| Option |",
         "| `-t`, `--http-timeout SECONDS` | `CHANNELSD_HTTP_TIMEOUT` | | "},
    };
    setenv("CHANNELSD_PORT", "wrong", 1);
    for (size_t i = 0; i < UNIT_ROWS(rows); i++) {
        struct run run;
        run_line(&run, rows[i].line);
        assert_int_equal(run.result, OPTIONS_EXIT_OK);
        assert_string_equal(run.err, "");
        if (strncmp(run.out, rows[i].begin, strlen(rows[i].begin)) != 0 ||
            strstr(run.out, rows[i].has) == NULL)
            fail_msg("%s printed %s", rows[i].line, run.out);
        assert_null(strstr(run.out, "endpoint"));
        assert_null(strstr(run.out, "print-options-table"));
        end_run(&run);
    }
    clearenv();
}

static void an_empty_argv_is_refused(void **state)
{
    (void)state;
    char *argv[] = {NULL};
    struct run run;
    run_argv(&run, 0, argv);
    assert_int_equal(run.result, OPTIONS_BAD);
    end_run(&run);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(without_options_daphne_s_defaults_hold),
        cmocka_unit_test(without_options_our_own_defaults_hold),
        cmocka_unit_test(binding_options_add_up_as_with_daphne),
        cmocka_unit_test(the_access_log_follows_verbosity_unless_given),
        cmocka_unit_test(a_wrong_option_or_argument_is_named),
        cmocka_unit_test(a_very_long_argument_is_refused_in_few_words),
        cmocka_unit_test(options_may_be_shortened_and_stand_anywhere),
        cmocka_unit_test(a_value_may_stand_behind_letter_and_equals_sign),
        cmocka_unit_test(an_empty_proxy_field_is_as_if_not_given),
        cmocka_unit_test(the_last_of_two_counts),
        cmocka_unit_test(the_environment_is_read_and_the_command_line_wins),
        cmocka_unit_test(flags_are_read_from_the_environment),
        cmocka_unit_test(a_bad_variable_is_named),
        cmocka_unit_test(options_may_stand_behind_the_application_whatever_posix_says),
        cmocka_unit_test(help_version_and_table_end_with_success),
        cmocka_unit_test(an_empty_argv_is_refused),
    };
    return cmocka_run_group_tests_name("options", tests, clear_environment, NULL);
}
