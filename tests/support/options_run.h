/* SPDX-License-Identifier: BSD-3-Clause
 *
 * options_run: one start of the program with a command line, and what it said.
 *
 * Why: the server and runworker read their command lines by one parser, which the tests of both
 * call alike.
 *
 * Thread: owner only.
 */
#ifndef TESTS_SUPPORT_OPTIONS_RUN_H
#define TESTS_SUPPORT_OPTIONS_RUN_H

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "server/options.h"
#include "tests/support/unit.h"

enum { WORDS_MAX = 12 };

/* options_parse() or options_parse_runworker(). */
typedef __typeof__(options_parse) options_parser;

struct run {
    struct options options;
    enum options_result result;
    char *out;
    char *err;
};

static inline void run_argv_by(struct run *run, options_parser *parse, int argc, char **argv)
{
    size_t out_len = 0;
    size_t err_len = 0;
    *run = (struct run){0};
    FILE *out = open_memstream(&run->out, &out_len);
    FILE *err = open_memstream(&run->err, &err_len);
    assert_non_null(out);
    assert_non_null(err);
    run->result = parse(&run->options, argc, argv, out, err);
    fclose(out);
    fclose(err);
}

/* @line is split at blanks; '' is an empty word. */
static inline void run_line_by(struct run *run, options_parser *parse, const char *line)
{
    static char program[] = "channelsd";
    char *words[WORDS_MAX + 2] = {program};
    int count = 1;
    char *copy = strdup(line);
    char *rest = copy;
    assert_non_null(copy);
    for (char *word = strsep(&rest, " "); word != NULL; word = strsep(&rest, " ")) {
        if (word[0] == '\0')
            continue;
        assert_in_range(count, 1, WORDS_MAX);
        words[count++] = strcmp(word, "''") == 0 ? word + 2 : word;
    }
    run_argv_by(run, parse, count, words);
    free(copy);
}

static inline void end_run(struct run *run)
{
    options_deinit(&run->options);
    free(run->out);
    free(run->err);
}

static inline void run_good_by(struct run *run, options_parser *parse, const char *line)
{
    run_line_by(run, parse, line);
    if (run->result != OPTIONS_RUN)
        fail_msg("%s: %s", line, run->err);
    assert_string_equal(run->out, "");
    assert_string_equal(run->err, "");
}

/* Refused, with one line that has @named in it and one of usage. */
static inline void assert_refused_by(options_parser *parse, const char *why, const char *line,
                                     const char *named)
{
    struct run run;
    run_line_by(&run, parse, line);
    if (run.result != OPTIONS_BAD)
        fail_msg("accepted: %s", why);
    assert_string_equal(run.out, "");
    const char *end = strchr(run.err, '\n');
    assert_non_null(end);
    const char *found = strstr(run.err, named);
    if (strncmp(run.err, "channelsd: ", 11) != 0 || found == NULL || found > end)
        fail_msg("%s: \"%s\" is not in: %s", why, named, run.err);
    assert_int_equal(strncmp(end + 1, "usage: channelsd ", 17), 0);
    assert_string_equal(strchr(end + 1, '\n'), "\n");
    assert_null(run.options.application);
    assert_null(run.options.channels);
    end_run(&run);
}

#endif
