/* SPDX-License-Identifier: BSD-3-Clause
 *
 * What is expected was printed by Python 3's logging for a record with the same values.
 */
#include "core/log_escape.h"
#include "core/log_format.h"

#include "tests/support/unit.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

/* level WARNING, 2026-11-21 01:30:46.120 UTC */
static struct log_record make_record(const char *message)
{
    return (struct log_record){
        .level = LOG_WARN,
        .message = slice_str(message),
        .asctime = "2026-11-21 01:30:46,120",
        .time_ms = INT64_C(1795224646120),
        .uptime_ms = 1500,
        .process = 77,
        .thread = 99,
    };
}

static void assert_line(const char *format, const char *message, const char *want)
{
    struct log_format compiled;
    struct err_text why;
    char out[512];
    const struct log_record record = make_record(message);
    if (log_format_compile(&compiled, format, &why) != ERR_OK)
        fail_msg("%s: %s", format, why.text);
    const size_t len = log_format_write(&compiled, &record, out, sizeof(out) - 1);
    assert_true(len < sizeof(out));
    out[len] = '\0';
    if (strcmp(out, want) != 0)
        fail_msg("%s: got \"%s\", want \"%s\"", format, out, want);
}

static void fields_are_laid_out_as_python_does(void **state)
{
    (void)state;
    static const struct {
        const char *format;
        const char *want;
    } rows[] = {
        {LOG_FORMAT_DEFAULT, "2026-11-21 01:30:46,120 WARNING  naïve msg"},
        {"%(levelname)-8s|", "WARNING |"},
        {"%(levelname)10s|", "   WARNING|"},
        {"%(levelname).3s|", "WAR|"},
        {"%(message)7.5s|", "  naïve|"},
        {"%(message)-7.5s|", "naïve  |"},
        {"%(message)05s|", "naïve msg|"},
        {"%(message).s|", "|"},
        {"%(levelno)d", "30"},
        {"%(levelno)05d", "00030"},
        {"%(levelno)-6d|", "30    |"},
        {"%(levelno)+d", "+30"},
        {"%(levelno) 5d|", "   30|"},
        {"%(levelno).4d", "0030"},
        {"%(levelno)8.4d|", "    0030|"},
        {"%(levelno)08.4d|", "00000030|"},
        {"%(levelno)+06d", "+00030"},
        {"%(levelno)-06d|", "30    |"},
        {"%(levelno)#d", "30"},
        {"%(levelno)ld", "30"},
        {"%(levelno)i%(levelno)u", "3030"},
        {"%(levelno)s", "30"},
        {"%(levelno)5s|", "   30|"},
        {"%(levelno).1s|", "3|"},
        {"%(levelno)f", "30.000000"},
        {"%(levelno).1f", "30.0"},
        {"%(msecs)03d", "120"},
        {"%(msecs)s", "120.0"},
        {"%(msecs)08.2f", "00120.00"},
        {"%(created)f", "1795224646.120000"},
        {"%(created)d", "1795224646"},
        {"%(created).0f", "1795224646"},
        {"%(relativeCreated)d", "1500"},
        {"%(process)d/%(thread)d", "77/99"},
        {"%(name)s", "channelsd"},
        {"%(processName)s %(threadName)s", "MainProcess MainThread"},
        {"%(module)s %(lineno)d", "channelsd 0"},
        {"100%% of %(message)s", "100% of naïve msg"},
        {"%(message)s%%", "naïve msg%"},
    };
    for (size_t i = 0; i < UNIT_ROWS(rows); i++)
        assert_line(rows[i].format, "naïve msg", rows[i].want);
}

static void every_level_has_pythons_name_and_number(void **state)
{
    (void)state;
    static const char *const want[] = {"DEBUG 10", "INFO 20", "WARNING 30", "ERROR 40",
                                       "CRITICAL 50"};
    struct log_format format;
    struct err_text why;
    assert_int_equal(log_format_compile(&format, "%(levelname)s %(levelno)d", &why), ERR_OK);
    for (int level = LOG_DEBUG; level <= LOG_CRITICAL; level++) {
        char out[64];
        struct log_record record = make_record("");
        record.level = (enum log_level)level;
        const size_t len = log_format_write(&format, &record, out, sizeof(out));
        assert_int_equal(len, strlen(want[level]));
        assert_memory_equal(out, want[level], len);
    }
}

static void what_python_refuses_is_refused_with_the_part_named(void **state)
{
    (void)state;
    static const struct {
        const char *format;
        const char *named;
    } rows[] = {
        {"no field at all", "no field at all"},
        {"", "no %(name)s field"},
        {"%", "single %"},
        {"%(message)s %", "single %"},
        {"%s", "%s"},
        {"%(message", "%(message"},
        {"%(message)", "%(message)"},
        {"%(message)5", "%(message)5"},
        {"%(nope)s", "%(nope)"},
        {"%()s", "%()"},
        {"%(Message)s", "%(Message)"},
        {"%(message)q", "%(message)q"},
        {"%(message)d", "%(message)d"},
        {"%(asctime)f", "%(asctime)f"},
        {"%(message)*s", "*"},
        {"%(message).*s", "*"},
        {"%(message)1000s", "%(message)1000s"},
        {"%(message)99999999999999999999s", "width"},
        {"%(message).1000s", "%(message).1000s"},
        {"%(levelno)x", "%(levelno)x"},
    };
    for (size_t i = 0; i < UNIT_ROWS(rows); i++) {
        struct log_format format;
        struct err_text why = {.code = ERR_OK};
        if (log_format_compile(&format, rows[i].format, &why) != ERR_INVALID)
            fail_msg("accepted: %s", rows[i].format);
        assert_int_equal(why.code, ERR_INVALID);
        if (strstr(why.text, rows[i].named) == NULL)
            fail_msg("%s: \"%s\" does not name it", rows[i].format, why.text);
    }
}

static void ceilings_of_a_format_are_kept(void **state)
{
    (void)state;
    struct log_format format;
    struct err_text why;
    char text[LOG_FORMAT_MAX + 1];
    memset(text, 'x', sizeof(text));
    memcpy(text, "%(message)s", strlen("%(message)s"));
    text[LOG_FORMAT_MAX] = '\0';
    assert_int_equal(log_format_compile(&format, text, &why), ERR_INVALID);
    text[LOG_FORMAT_MAX - 1] = '\0';
    assert_int_equal(log_format_compile(&format, text, &why), ERR_OK);

    char *at = text;
    for (int i = 0; i < LOG_FORMAT_PARTS_MAX; i++, at += strlen("%(name)s"))
        memcpy(at, "%(name)s", strlen("%(name)s"));
    *at = '\0';
    assert_int_equal(log_format_compile(&format, text, &why), ERR_OK);
    at[0] = 'x';
    at[1] = '\0';
    assert_int_equal(log_format_compile(&format, text, &why), ERR_INVALID);
}

static void a_line_that_does_not_fit_is_cut_and_its_length_told(void **state)
{
    (void)state;
    struct log_format format;
    struct err_text why;
    const struct log_record record = make_record("0123456789");
    assert_int_equal(log_format_compile(&format, "<%(message)s>%(message)12s", &why), ERR_OK);
    for (size_t cap = 0; cap <= 24; cap++) {
        char *out = malloc(cap > 0 ? cap : 1);
        assert_non_null(out);
        assert_int_equal(log_format_write(&format, &record, out, cap), 24);
        assert_memory_equal(out, "<0123456789>  0123456789", cap);
        free(out);
    }
}

static void asctime_is_local_time_with_milliseconds(void **state)
{
    (void)state;
    char out[LOG_ASCTIME_MAX];
    setenv("TZ", "UTC0", 1);
    tzset();
    assert_string_equal(log_format_asctime(out, INT64_C(1795224646007)), "2026-11-21 01:30:46,007");
    setenv("TZ", "XXX-2", 1); /* two hours east */
    tzset();
    assert_string_equal(log_format_asctime(out, INT64_C(1795224646999)), "2026-11-21 03:30:46,999");
}

static void control_bytes_become_visible(void **state)
{
    (void)state;
    static const struct {
        const char *in;
        const char *line;
        const char *text; /* of several lines */
    } rows[] = {
        {"plain \xc3\xa9 \\n", "plain \xc3\xa9 \\n", "plain \xc3\xa9 \\n"},
        {"a\nb\tc\rd", "a\\nb\\tc\\rd", "a\nb\tc\\rd"},
        {"\x1b[31m\x07\x7f", "\\x1b[31m\\x07\\x7f", "\\x1b[31m\\x07\\x7f"},
        {"\xc2\x9b"
         "1m \xc2\xa0 \xc2",
         "\\x9b"
         "1m \xc2\xa0 \xc2",
         "\\x9b"
         "1m \xc2\xa0 \xc2"},
    };
    for (size_t i = 0; i < UNIT_ROWS(rows); i++) {
        char out[64];
        bool cut = false;
        size_t len = log_escape(out, sizeof(out), slice_str(rows[i].in), false, &cut);
        assert_true(slice_eq_str(slice_make(out, len), rows[i].line));
        len = log_escape(out, sizeof(out), slice_str(rows[i].in), true, &cut);
        assert_true(slice_eq_str(slice_make(out, len), rows[i].text));
        assert_false(cut);
    }
}

static void an_escape_is_never_cut_in_two(void **state)
{
    (void)state;
    char out[8];
    bool cut = false;
    assert_int_equal(log_escape(out, 5, slice_str("a\x01"), false, &cut), 5);
    assert_false(cut);
    assert_int_equal(log_escape(out, 4, slice_str("a\x01"), false, &cut), 1);
    assert_true(cut);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(fields_are_laid_out_as_python_does),
        cmocka_unit_test(every_level_has_pythons_name_and_number),
        cmocka_unit_test(what_python_refuses_is_refused_with_the_part_named),
        cmocka_unit_test(ceilings_of_a_format_are_kept),
        cmocka_unit_test(a_line_that_does_not_fit_is_cut_and_its_length_told),
        cmocka_unit_test(asctime_is_local_time_with_milliseconds),
        cmocka_unit_test(control_bytes_become_visible),
        cmocka_unit_test(an_escape_is_never_cut_in_two),
    };
    return cmocka_run_group_tests_name("log_format", tests, NULL, NULL);
}
