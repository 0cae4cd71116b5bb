/* SPDX-License-Identifier: BSD-3-Clause */
#include "server/options.h"

#include "tests/support/options_run.h"
#include "tests/support/unit.h"

#include <stdlib.h>
#include <string.h>

static void run_good(struct run *run, const char *line)
{
    run_good_by(run, options_parse_runworker, line);
}

static int clear_environment(void **state)
{
    (void)state;
    return clearenv();
}

static void channels_are_names_without_a_colon(void **state)
{
    (void)state;
    static const struct {
        const char *line;
        const char *application;
        const char *channels;
    } rows[] = {
        {"jobs", NULL, "jobs"},
        {"jobs mails", NULL, "jobs,mails"},
        {"jobs jobs", NULL, "jobs,jobs"},
        {"config.asgi:application jobs", "config.asgi:application", "jobs"},
        {"jobs config.asgi:application a-b_c.1", "config.asgi:application", "jobs,a-b_c.1"},
        {"-- jobs mails", NULL, "jobs,mails"},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct run run;
        run_good(&run, rows[i].line);
        assert_string_equal(run.options.channels, rows[i].channels);
        if (rows[i].application == NULL)
            assert_null(run.options.application);
        else
            assert_string_equal(run.options.application, rows[i].application);
        end_run(&run);
    }
}

static void nothing_is_listened_on(void **state)
{
    (void)state;
    struct run run;
    run_good(&run, "--workers 3 --layer special -v2 jobs");
    assert_false(run.options.has_tcp);
    assert_null(run.options.unix_path);
    assert_null(run.options.access_log);
    assert_int_equal(run.options.edge_loops, 1);
    assert_int_equal(run.options.workers, 3);
    assert_int_equal(run.options.verbosity, 2);
    assert_string_equal(run.options.layer_alias, "special");
    end_run(&run);
}

static void without_options_the_default_layer_is_served(void **state)
{
    (void)state;
    struct run run;
    run_good(&run, "jobs");
    assert_string_equal(run.options.layer_alias, "default");
    assert_int_equal(run.options.verbosity, 1);
    end_run(&run);
}

static void where_to_listen_is_refused_on_the_command_line(void **state)
{
    (void)state;
    assert_refused_by(options_parse_runworker, "a port", "--port 8000 jobs", "--port");
    assert_refused_by(options_parse_runworker, "a host", "-b 127.0.0.1 jobs", "--bind");
    assert_refused_by(options_parse_runworker, "a path", "jobs -u /tmp/x.sock", "--unix-socket");
}

static void where_to_listen_is_passed_over_in_the_environment(void **state)
{
    (void)state;
    struct run run;
    assert_int_equal(setenv("CHANNELSD_PORT", "8001", 1), 0);
    assert_int_equal(setenv("CHANNELSD_UNIX_SOCKET", "/tmp/x.sock", 1), 0);
    assert_int_equal(setenv("CHANNELSD_ACCESS_LOG", "-", 1), 0);
    assert_int_equal(setenv("CHANNELSD_WORKERS", "4", 1), 0);
    run_good(&run, "jobs");
    assert_false(run.options.has_tcp);
    assert_null(run.options.unix_path);
    assert_null(run.options.access_log);
    assert_int_equal(run.options.workers, 4);
    end_run(&run);
}

static void what_is_no_channel_is_refused(void **state)
{
    (void)state;
    static const char *const rows[][3] = {
        {"no channel", "", "the channels are missing"},
        {"an application alone", "config.asgi:application", "the channels are missing"},
        {"a byte that names have not", "jobs/1", "\"jobs/1\""},
        {"an empty word", "''", "\"\""},
        {"a comma", "jobs,mails", "\"jobs,mails\""},
        {"a channel of one process", "specific.x!y", "specific.x!y"},
        {"two applications", "a:b c:d jobs", "\"a:b\""},
        {"no module", ":application jobs", ":application"},
        {"no attribute", "config.asgi: jobs", "config.asgi:"},
        {"an option that is none", "--nonsense jobs", "--nonsense"},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        assert_refused_by(options_parse_runworker, rows[i][0], rows[i][1], rows[i][2]);
}

static void a_name_may_have_99_characters(void **state)
{
    (void)state;
    struct run run;
    char name[101] = {0};
    memset(name, 'a', 99);
    run_good(&run, name);
    assert_string_equal(run.options.channels, name);
    end_run(&run);
    name[99] = 'a';
    assert_refused_by(options_parse_runworker, "100 characters", name, "up to 99");
}

static void help_and_version_end_well(void **state)
{
    (void)state;
    struct run run;
    run_line_by(&run, options_parse_runworker, "--help");
    assert_int_equal(run.result, OPTIONS_EXIT_OK);
    assert_non_null(strstr(run.out, "channelsd runworker"));
    end_run(&run);
    run_line_by(&run, options_parse_runworker, "jobs --version");
    assert_int_equal(run.result, OPTIONS_EXIT_OK);
    end_run(&run);
}

static void the_server_takes_no_channels(void **state)
{
    (void)state;
    assert_refused_by(options_parse, "a channel", "config.asgi:application jobs", "jobs");
    struct run run;
    run_good_by(&run, options_parse, "config.asgi:application");
    assert_null(run.options.channels);
    end_run(&run);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(channels_are_names_without_a_colon, clear_environment),
        cmocka_unit_test_setup(nothing_is_listened_on, clear_environment),
        cmocka_unit_test_setup(without_options_the_default_layer_is_served, clear_environment),
        cmocka_unit_test_setup(where_to_listen_is_refused_on_the_command_line, clear_environment),
        cmocka_unit_test_setup(where_to_listen_is_passed_over_in_the_environment,
                               clear_environment),
        cmocka_unit_test_setup(what_is_no_channel_is_refused, clear_environment),
        cmocka_unit_test_setup(a_name_may_have_99_characters, clear_environment),
        cmocka_unit_test_setup(help_and_version_end_well, clear_environment),
        cmocka_unit_test_setup(the_server_takes_no_channels, clear_environment),
    };
    return cmocka_run_group_tests_name("options_runworker", tests, NULL, NULL);
}
