/* SPDX-License-Identifier: BSD-3-Clause */
#include "server/options.h"

#include "channel_layer/names.h"
#include "core/log_escape.h"
#include "core/mem.h"
#include "server/options_table.h"
#include "server/options_value.h"

#include <assert.h>
#include <getopt.h>
#include <sched.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#ifndef CHANNELSD_VERSION /* set by CMakeLists.txt */
#define CHANNELSD_VERSION "unknown"
#endif

enum {
    POSITIONAL = 1,       /* what getopt_long() returns for an argument that is no option */
    LONG_BASE = 256,      /* + index of the row, so that it is no letter */
    SOURCE_MAX = 80,      /* bytes of "-p/--port" with its NUL */
    VALUE_SHOWN = 120,    /* bytes of an argument that an error shows */
    EDGE_LOOPS_MAX = 256, /* when counted, not given */
};

struct parser {
    struct options *out;
    FILE *out_stream;
    bool is_runworker;
    const struct option_row *rows;
    size_t row_count;
    bool is_seen[OPTIONS_TABLE_MAX];  /* on the command line: the environment is not asked */
    bool is_given[OPTIONS_TABLE_MAX]; /* with a value that counts */
    struct err_text why;
};

/* What getopt_long() wants. */
struct getopt_tables {
    struct option longs[OPTIONS_TABLE_MAX + 1];
    char letters[2 * OPTIONS_TABLE_MAX + 3];
};

static void fill_getopt_tables(struct getopt_tables *tables, const struct parser *p)
{
    char *letter = tables->letters;
    size_t count = 0;
    *letter++ = '-'; /* positional arguments come in order, whatever POSIXLY_CORRECT says */
    *letter++ = ':'; /* a missing value is told apart; no messages but ours */
    for (size_t i = 0; i < p->row_count; i++) {
        const struct option_row *row = &p->rows[i];
        if (row->kind == OPTION_GROUP)
            continue;
        tables->longs[count++] = (struct option){
            .name = row->name,
            .has_arg = row->metavar != NULL ? required_argument : no_argument,
            .val = LONG_BASE + (int)i,
        };
        if (row->letter == '\0')
            continue;
        *letter++ = row->letter;
        if (row->metavar != NULL)
            *letter++ = ':';
    }
    *letter = '\0';
    tables->longs[count] = (struct option){0};
}

/* The row that getopt_long() means by @code, or NULL. */
static const struct option_row *row_of_code(const struct parser *p, int code)
{
    if (code >= LONG_BASE)
        return &p->rows[code - LONG_BASE];
    for (size_t i = 0; i < p->row_count; i++) {
        if (p->rows[i].letter != '\0' && p->rows[i].letter == code)
            return &p->rows[i];
    }
    return NULL;
}

static void source_name(char out[SOURCE_MAX], const struct option_row *row)
{
    if (row->letter != '\0')
        (void)snprintf(out, SOURCE_MAX, "-%c/--%s", row->letter, row->name);
    else
        (void)snprintf(out, SOURCE_MAX, "--%s", row->name);
}

/* Whether an empty value of @kind is as if the option were not there, as it is for Daphne. */
static bool is_unset_by_empty(enum option_kind kind)
{
    return kind == OPTION_HOST || kind == OPTION_UNIX_PATH || kind == OPTION_PATH ||
           kind == OPTION_FIELD_NAME || kind == OPTION_LAYER_CONFIG;
}

static enum err set_row(struct parser *p, const struct option_row *row, const char *value,
                        const char *source)
{
    const bool is_given = value[0] != '\0' || !is_unset_by_empty(row->kind);
    if (is_given) {
        const enum err err = options_value_set(p->out, row, value, source, &p->why);
        if (err != ERR_OK)
            return err;
    } else {
        options_value_set_default(p->out, row);
    }
    for (size_t i = 0; i < p->row_count; i++) { /* --no-server-name sets server_name, too */
        if (options_table_has_field(&p->rows[i]) && p->rows[i].offset == row->offset) {
            p->is_seen[i] = true;
            p->is_given[i] = is_given;
        }
    }
    return ERR_OK;
}

static bool is_field_given(const struct parser *p, size_t offset)
{
    for (size_t i = 0; i < p->row_count; i++) {
        if (options_table_has_field(&p->rows[i]) && p->rows[i].offset == offset && p->is_given[i])
            return true;
    }
    return false;
}

static enum options_result read_option(struct parser *p, const struct option_row *row,
                                       const char *value)
{
    char source[SOURCE_MAX];
    assert(row != NULL); /* getopt_long() returns what its tables hold */
    source_name(source, row);
    if (row->kind == OPTION_REFUSED) {
        err_fail(&p->why, ERR_INVALID, "%s is not supported: %s", source, row->help);
        return OPTIONS_BAD;
    }
    if (options_table_has_field(row)) {
        const enum err err = set_row(p, row, value != NULL ? value : "1", source);
        return err == ERR_OK ? OPTIONS_RUN : OPTIONS_BAD;
    }
    if (row->kind == OPTION_HELP)
        options_table_print_help(p->out_stream);
    else if (row->kind == OPTION_VERSION)
        fprintf(p->out_stream, "channelsd %s\n", CHANNELSD_VERSION);
    else if (row->kind == OPTION_PRINT_TABLE)
        options_table_print_markdown(p->out_stream);
    return OPTIONS_EXIT_OK;
}

static enum options_result add_channel(struct parser *p, const char *text)
{
    const struct slice name = slice_str(text);
    if (!name_is_channel(name) || name_is_specific(name)) {
        err_fail(
            &p->why, ERR_INVALID,
            "\"%.*s\" is no channel to receive from: expected up to %d letters, digits, \"-\", "
            "\"_\" and \".\"",
            VALUE_SHOWN, text, (int)NAME_MAX_CHARS);
        return OPTIONS_BAD;
    }
    const char *before = p->out->channels != NULL ? p->out->channels : "";
    const size_t len = strlen(before);
    const size_t size = len + name.len + 2;
    char *joined = mem_alloc(size);
    (void)snprintf(joined, size, "%s%s%s", before, len > 0 ? "," : "", text);
    mem_free(p->out->channels);
    p->out->channels = joined;
    return OPTIONS_RUN;
}

static enum options_result read_positional(struct parser *p, const char *text)
{
    if (p->is_runworker && strchr(text, ':') == NULL)
        return add_channel(p, text);
    if (p->out->application != NULL) {
        err_fail(&p->why, ERR_INVALID,
                 "extra argument \"%.*s\": the application is already \"%.*s\"", VALUE_SHOWN, text,
                 VALUE_SHOWN, p->out->application);
        return OPTIONS_BAD;
    }
    p->out->application = mem_copy_str(text, strlen(text));
    return OPTIONS_RUN;
}

/* Whether @a and the first @len bytes of @b are the same but for "-" and "_". */
static bool is_same_spelling(const char *a, const char *b, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        const int x = a[i] == '_' ? '-' : a[i];
        const int y = b[i] == '_' ? '-' : b[i];
        if (x != y)
            return false;
    }
    return a[len] == '\0';
}

/* @word is the argument that getopt_long() could not use. Daphne spells some options with "_" and
 * most with "-", so the other spelling is the likeliest mistake. */
static void explain_unknown(struct parser *p, const char *word)
{
    const char *name = word + strspn(word, "-");
    const size_t len = strcspn(name, "=");
    char matches[256] = "";
    size_t used = 0;
    size_t count = 0;
    for (size_t i = 0; i < p->row_count; i++) {
        const struct option_row *row = &p->rows[i];
        if (row->kind == OPTION_GROUP)
            continue;
        if (is_same_spelling(row->name, name, len) && strncmp(row->name, name, len) != 0) {
            err_fail(&p->why, ERR_INVALID, "unknown option \"%.*s\": it is spelled --%s",
                     VALUE_SHOWN, word, row->name);
            return;
        }
        if (row->help == NULL || strncmp(row->name, name, len) != 0)
            continue;
        if (used < sizeof(matches))
            used += (size_t)snprintf(matches + used, sizeof(matches) - used, "%s--%s",
                                     count == 0 ? "" : ", ", row->name);
        count++;
    }
    if (count > 1 && len > 0)
        err_fail(&p->why, ERR_INVALID, "ambiguous option \"%.*s\": %s", VALUE_SHOWN, word, matches);
    else
        err_fail(&p->why, ERR_INVALID, "unknown option \"%.*s\"", VALUE_SHOWN, word);
}

static enum options_result explain_refusal(struct parser *p, int code, const char *word)
{
    char source[SOURCE_MAX];
    const struct option_row *row = optopt != 0 ? row_of_code(p, optopt) : NULL;
    if (row == NULL && optopt != 0) {
        err_fail(&p->why, ERR_INVALID, "unknown option \"-%c\"", optopt);
    } else if (row == NULL) {
        explain_unknown(p, word);
    } else {
        source_name(source, row);
        if (code == ':')
            err_fail(&p->why, ERR_INVALID, "%s: the value is missing: expected %s", source,
                     row->metavar);
        else
            err_fail(&p->why, ERR_INVALID, "%s takes no value", source);
    }
    return OPTIONS_BAD;
}

/* The value of @code in @word, the last argument read. "-p=80" is "-p 80", as for Daphne; a value
 * of its own argument may begin with "=". */
static const char *value_of(int code, const char *word)
{
    const bool is_at_letter = code < LONG_BASE && optarg == word + 2;
    return is_at_letter && optarg[0] == '=' ? optarg + 1 : optarg;
}

static enum options_result read_argv(struct parser *p, int argc, char **argv)
{
    struct getopt_tables tables;
    enum options_result result = OPTIONS_RUN;
    fill_getopt_tables(&tables, p);
    optind = 0; /* begins anew, also for a second call */
    while (result == OPTIONS_RUN) {
        const int code = getopt_long(argc, argv, tables.letters, tables.longs, NULL);
        if (code == -1)
            break;
        if (code == POSITIONAL)
            result = read_positional(p, optarg);
        else if (code == '?' || code == ':')
            result = explain_refusal(p, code, argv[optind - 1]);
        else
            result = read_option(p, row_of_code(p, code), value_of(code, argv[optind - 1]));
    }
    for (int i = optind; i < argc && result == OPTIONS_RUN; i++) /* behind "--" */
        result = read_positional(p, argv[i]);
    return result;
}

static enum err read_env(struct parser *p)
{
    char name[OPTIONS_TABLE_ENV_MAX];
    for (size_t i = 0; i < p->row_count; i++) {
        const struct option_row *row = &p->rows[i];
        if (!options_table_has_field(row) || p->is_seen[i])
            continue;
        options_table_env_name(name, row);
        const char *value = getenv(name);
        if (value == NULL || value[0] == '\0')
            continue;
        const enum err err = set_row(p, row, value, name);
        if (err != ERR_OK)
            return err;
    }
    return ERR_OK;
}

static enum err check_application(struct parser *p)
{
    const char *text = p->out->application;
    if (text == NULL && p->is_runworker)
        return ERR_OK;
    if (text == NULL)
        return err_fail(
            &p->why, ERR_INVALID,
            "the application is missing: expected module:attribute, as config.asgi:application");
    const char *colon = strchr(text, ':');
    if (colon == NULL || colon == text || colon[1] == '\0')
        return err_fail(&p->why, ERR_INVALID,
                        "application \"%.*s\" is not module:attribute, as config.asgi:application",
                        VALUE_SHOWN, text);
    return ERR_OK;
}

static enum err check_proxy_headers(struct parser *p)
{
    if (p->out->has_proxy_headers)
        return ERR_OK;
    if (is_field_given(p, offsetof(struct options, proxy_headers_host)))
        return err_fail(&p->why, ERR_INVALID, "--proxy-headers-host needs --proxy-headers");
    if (is_field_given(p, offsetof(struct options, proxy_headers_port)))
        return err_fail(&p->why, ERR_INVALID, "--proxy-headers-port needs --proxy-headers");
    return ERR_OK;
}

static unsigned count_usable_cores(void)
{
    cpu_set_t set;
    long cores = 0;
    CPU_ZERO(&set);
    if (sched_getaffinity(0, sizeof(set), &set) == 0)
        cores = CPU_COUNT(&set);
    else
        cores = sysconf(_SC_NPROCESSORS_ONLN); /* more cores than the set has room for */
    if (cores < 1)
        return 1;
    return cores > EDGE_LOOPS_MAX ? EDGE_LOOPS_MAX : (unsigned)cores;
}

/* What is in the environment is for the server that is started beside. */
static enum err check_runworker(struct parser *p)
{
    if (p->out->channels == NULL)
        return err_fail(&p->why, ERR_INVALID,
                        "the channels are missing: expected channelsd runworker CHANNEL...");
    for (size_t i = 0; i < p->row_count; i++) {
        const size_t offset = p->rows[i].offset;
        const bool listens = offset == offsetof(struct options, host) ||
                             offset == offsetof(struct options, port) ||
                             offset == offsetof(struct options, unix_path);
        if (options_table_has_field(&p->rows[i]) && listens && p->is_seen[i])
            return err_fail(&p->why, ERR_INVALID,
                            "--%s is not for runworker, which serves no clients", p->rows[i].name);
    }
    return ERR_OK;
}

static enum err finish_runworker(struct parser *p)
{
    struct options *out = p->out;
    const enum err err = check_application(p);
    if (err != ERR_OK)
        return err;
    mem_free(out->unix_path);
    out->unix_path = NULL;
    out->has_tcp = false;
    mem_free(out->access_log);
    out->access_log = NULL;
    out->edge_loops = 1;
    return ERR_OK;
}

/* The rules that need more than one option. */
static enum err finish(struct parser *p)
{
    struct options *out = p->out;
    if (p->is_runworker)
        return finish_runworker(p);
    enum err err = check_application(p);
    if (err == ERR_OK)
        err = check_proxy_headers(p);
    if (err != ERR_OK)
        return err;

    out->has_tcp = out->unix_path == NULL || is_field_given(p, offsetof(struct options, host)) ||
                   is_field_given(p, offsetof(struct options, port));
    if (out->access_log == NULL && out->verbosity >= 1)
        out->access_log = mem_copy_str("-", 1);
    if (out->edge_loops == 0)
        out->edge_loops = count_usable_cores();
    return ERR_OK;
}

/* What was refused may hold anything, also what would act on the terminal. */
static void print_refusal(FILE *out, const struct err_text *why)
{
    char shown[4 * ERR_TEXT_MAX];
    bool cut = false;
    const size_t len = log_escape(shown, sizeof(shown), slice_str(why->text), false, &cut);
    fprintf(out, "channelsd: %.*s\n", (int)len, shown);
    options_table_print_usage(out);
}

static enum options_result parse(struct options *out, int argc, char **argv, FILE *out_stream,
                                 FILE *err_stream, bool is_runworker)
{
    struct parser p = {.out = out, .out_stream = out_stream, .is_runworker = is_runworker};
    p.rows = options_table_rows(&p.row_count);
    *out = (struct options){0};
    for (size_t i = 0; i < p.row_count; i++) {
        if (options_table_has_field(&p.rows[i]))
            options_value_set_default(out, &p.rows[i]);
    }

    enum options_result result = read_argv(&p, argc, argv);
    if (result == OPTIONS_RUN && is_runworker && check_runworker(&p) != ERR_OK)
        result = OPTIONS_BAD;
    if (result == OPTIONS_RUN && (read_env(&p) != ERR_OK || finish(&p) != ERR_OK))
        result = OPTIONS_BAD;
    if (result == OPTIONS_RUN)
        return result;

    if (result == OPTIONS_BAD)
        print_refusal(err_stream, &p.why);
    options_deinit(out);
    return result;
}

enum options_result options_parse(struct options *out, int argc, char **argv, FILE *out_stream,
                                  FILE *err_stream)
{
    return parse(out, argc, argv, out_stream, err_stream, false);
}

enum options_result options_parse_runworker(struct options *out, int argc, char **argv,
                                            FILE *out_stream, FILE *err_stream)
{
    return parse(out, argc, argv, out_stream, err_stream, true);
}

void options_deinit(struct options *options)
{
    size_t count = 0;
    const struct option_row *rows = options_table_rows(&count);
    for (size_t i = 0; i < count; i++) {
        if (rows[i].kind < OPTION_HOST || rows[i].kind > OPTION_TRUST)
            continue;
        mem_free(*(char **)(void *)((char *)options + rows[i].offset));
    }
    mem_free(options->application);
    mem_free(options->channels);
    *options = (struct options){0};
}
