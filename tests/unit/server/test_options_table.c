/* SPDX-License-Identifier: BSD-3-Clause */
#include "server/options_table.h"

#include "tests/support/unit.h"

#include <stdlib.h>
#include <string.h>

/* What @print writes; the caller frees it. */
static char *printed(void (*print)(FILE *out))
{
    char *text = NULL;
    size_t len = 0;
    FILE *out = open_memstream(&text, &len);
    assert_non_null(out);
    print(out);
    fclose(out);
    return text;
}

static void help_fits_into_80_columns(void **state)
{
    (void)state;
    char *text = printed(options_table_print_help);
    size_t column = 0;
    for (const char *c = text; *c != '\0'; c++) {
        column = *c == '\n' ? 0 : column + 1;
        assert_in_range(column, 0, 80);
    }
    free(text);
}

static void every_row_of_the_markdown_has_four_cells(void **state)
{
    (void)state;
    char *text = printed(options_table_print_markdown);
    unsigned bars = 0;
    for (const char *c = text; *c != '\0'; c++) {
        if (*c == '|')
            bars++;
        if (*c != '\n')
            continue;
        assert_int_equal(bars, 5);
        bars = 0;
    }
    free(text);
}

static void every_option_is_in_both_texts(void **state)
{
    (void)state;
    char *help = printed(options_table_print_help);
    char *markdown = printed(options_table_print_markdown);
    size_t count = 0;
    const struct option_row *rows = options_table_rows(&count);
    for (size_t i = 0; i < count; i++) {
        char env[OPTIONS_TABLE_ENV_MAX];
        if (!options_table_has_field(&rows[i]))
            continue;
        options_table_env_name(env, &rows[i]);
        if (strstr(help, rows[i].name) == NULL || strstr(markdown, env) == NULL)
            fail_msg("%s is missing", rows[i].name);
    }
    free(help);
    free(markdown);
}

static void names_and_letters_are_used_once(void **state)
{
    (void)state;
    size_t count = 0;
    const struct option_row *rows = options_table_rows(&count);
    for (size_t i = 0; i < count; i++) {
        for (size_t k = i + 1; k < count; k++) {
            if (strcmp(rows[i].name, rows[k].name) == 0 ||
                (rows[i].letter != '\0' && rows[i].letter == rows[k].letter))
                fail_msg("%s and %s", rows[i].name, rows[k].name);
        }
    }
}

static void a_variable_is_named_after_its_option(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        const char *want;
    } rows[] = {
        {"port", "CHANNELSD_PORT"},
        {"websocket_connect_timeout", "CHANNELSD_WEBSOCKET_CONNECT_TIMEOUT"},
        {"proxy-headers-host", "CHANNELSD_PROXY_HEADERS_HOST"},
    };
    for (size_t i = 0; i < UNIT_ROWS(rows); i++) {
        char env[OPTIONS_TABLE_ENV_MAX];
        const struct option_row row = {.name = rows[i].name};
        options_table_env_name(env, &row);
        assert_string_equal(env, rows[i].want);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(help_fits_into_80_columns),
        cmocka_unit_test(every_row_of_the_markdown_has_four_cells),
        cmocka_unit_test(every_option_is_in_both_texts),
        cmocka_unit_test(names_and_letters_are_used_once),
        cmocka_unit_test(a_variable_is_named_after_its_option),
    };
    return cmocka_run_group_tests_name("options_table", tests, NULL, NULL);
}
