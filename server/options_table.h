/* SPDX-License-Identifier: BSD-3-Clause
 *
 * options_table: options.def as data, and its two printed forms.
 *
 * Why: whoever reads an option, explains it or lists it walks the same rows.
 *
 * Thread: any (constant data).
 */
#ifndef SERVER_OPTIONS_TABLE_H
#define SERVER_OPTIONS_TABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

enum {
    OPTIONS_TABLE_MAX = 64,     /* rows */
    OPTIONS_TABLE_ENV_MAX = 64, /* bytes of a variable's name with its NUL */
};

enum option_kind {
    OPTION_GROUP, /* a heading */
    /* char *; in the first four an empty value is as if the option were not given. */
    OPTION_HOST,
    OPTION_UNIX_PATH,
    OPTION_PATH,
    OPTION_FIELD_NAME, /* kept in lower case */
    OPTION_FIELD_VALUE,
    OPTION_UTF8,
    OPTION_LOG_FORMAT,
    OPTION_LOOP,
    OPTION_ACCELERATE,
    OPTION_LAYER_CONFIG, /* kept as JSON */
    OPTION_TRUST,        /* options.forwarded, too */
    OPTION_EMPTY,        /* a flag that empties a text */
    OPTION_INT,          /* int */
    OPTION_COUNT,        /* unsigned */
    OPTION_BYTES,        /* uint64_t */
    OPTION_SECONDS,      /* int64_t in milliseconds */
    OPTION_FLAG,         /* bool */
    OPTION_HELP,
    OPTION_VERSION,
    OPTION_PRINT_TABLE,
    OPTION_REFUSED,
};

/* Which values of OPTION_SECONDS are kept as -1. */
enum option_never {
    OPTION_NEVER_NOT,
    OPTION_NEVER_ZERO,     /* 0 and negative */
    OPTION_NEVER_NEGATIVE, /* 0 is no time at all */
};

struct option_row {
    enum option_kind kind;
    char letter;          /* '\0': none */
    const char *name;     /* without dashes; the title of a group */
    const char *fallback; /* default as text; NULL: not set */
    const char *metavar;  /* NULL: takes no value */
    const char *help;     /* NULL: not shown; for OPTION_REFUSED what to use instead */
    size_t offset;        /* of the field in struct options, where the kind has one */
    int64_t least;
    int64_t most;
    enum option_never never;
    bool preset; /* OPTION_FLAG: the field without the flag */
};

/* All rows in the order of --help. Static storage. */
const struct option_row *options_table_rows(size_t *count);

/* Whether the row stands for a field of struct options (and so has a variable). */
bool options_table_has_field(const struct option_row *row);

/* Writes the name of the row's variable, CHANNELSD_..., with its NUL. */
void options_table_env_name(char out[OPTIONS_TABLE_ENV_MAX], const struct option_row *row);

void options_table_print_usage(FILE *out);
void options_table_print_help(FILE *out);
void options_table_print_markdown(FILE *out);

#endif
