/* SPDX-License-Identifier: BSD-3-Clause */
#include "server/options_table.h"

#include "server/options.h"

#include <assert.h>
#include <string.h>

enum {
    HELP_COLUMN = 30, /* where explanations begin */
    HELP_WIDTH = 80,
};

/* The offset of @name; does not compile when the field is not of type @of. */
/* NOLINTNEXTLINE(bugprone-macro-parentheses): a type takes none */
#define FIELD(name, of) _Generic(((struct options *)0)->name, of : offsetof(struct options, name))
#define TYPE_OPTION_INT int
#define TYPE_OPTION_COUNT unsigned
#define TYPE_OPTION_BYTES uint64_t

#define GROUP(title) {.kind = OPTION_GROUP, .name = (title)},
#define TEXT(field, kind_, name_, letter_, fallback_, metavar_, help_) \
    {.kind = (kind_),                                                  \
     .name = (name_),                                                  \
     .letter = (letter_),                                              \
     .fallback = (fallback_),                                          \
     .metavar = (metavar_),                                            \
     .help = (help_),                                                  \
     .offset = FIELD(field, char *)},
#define NUMBER(field, kind_, name_, letter_, fallback_, least_, most_, metavar_, help_) \
    {.kind = (kind_),                                                                   \
     .name = (name_),                                                                   \
     .letter = (letter_),                                                               \
     .fallback = (fallback_),                                                           \
     .least = (least_),                                                                 \
     .most = (most_),                                                                   \
     .metavar = (metavar_),                                                             \
     .help = (help_),                                                                   \
     .offset = FIELD(field, TYPE_##kind_)},
#define SECONDS(field, name_, letter_, fallback_, never_, help_) \
    {.kind = OPTION_SECONDS,                                     \
     .name = (name_),                                            \
     .letter = (letter_),                                        \
     .fallback = (fallback_),                                    \
     .never = (never_),                                          \
     .metavar = "SECONDS",                                       \
     .help = (help_),                                            \
     .offset = FIELD(field, int64_t)},
#define FLAG(field, name_, preset_, help_) \
    {.kind = OPTION_FLAG,                  \
     .name = (name_),                      \
     .preset = (preset_),                  \
     .help = (help_),                      \
     .offset = FIELD(field, bool)},
#define EMPTY(field, name_, help_) \
    {.kind = OPTION_EMPTY, .name = (name_), .help = (help_), .offset = FIELD(field, char *)},
#define ACTION(kind_, name_, letter_, help_) \
    {.kind = (kind_), .name = (name_), .letter = (letter_), .help = (help_)},
#define REFUSED(name_, letter_, metavar_, instead) \
    {.kind = OPTION_REFUSED,                       \
     .name = (name_),                              \
     .letter = (letter_),                          \
     .metavar = (metavar_),                        \
     .help = (instead)},

static const struct option_row rows[] = {
#include "server/options.def"
};

static const size_t row_count = sizeof(rows) / sizeof(rows[0]);
_Static_assert(sizeof(rows) / sizeof(rows[0]) <= OPTIONS_TABLE_MAX, "raise OPTIONS_TABLE_MAX");

const struct option_row *options_table_rows(size_t *count)
{
    *count = row_count;
    return rows;
}

bool options_table_has_field(const struct option_row *row)
{
    return row->kind >= OPTION_HOST && row->kind <= OPTION_FLAG;
}

void options_table_env_name(char out[OPTIONS_TABLE_ENV_MAX], const struct option_row *row)
{
    static const char prefix[] = "CHANNELSD_";
    size_t len = sizeof(prefix) - 1;
    assert(len + strlen(row->name) < OPTIONS_TABLE_ENV_MAX);
    memcpy(out, prefix, len);
    for (const char *c = row->name; *c != '\0'; c++) {
        const int upper = *c >= 'a' && *c <= 'z' ? *c - 'a' + 'A' : *c;
        out[len++] = (char)(upper == '-' ? '_' : upper);
    }
    out[len] = '\0';
}

void options_table_print_usage(FILE *out)
{
    fputs("usage: channelsd [options] module:attribute    (--help lists the options)\n", out);
}

static const char *never_text(const struct option_row *row)
{
    if (row->kind != OPTION_SECONDS || row->never == OPTION_NEVER_NOT)
        return "";
    return row->never == OPTION_NEVER_ZERO ? "0: never" : "negative: never";
}

/* Prints @text from column @column on, broken at blanks, and returns the column behind it. */
static int print_wrapped(FILE *out, int column, const char *text)
{
    while (*text != '\0') {
        const int len = (int)strcspn(text, " ");
        if (column > HELP_COLUMN && column + 1 + len > HELP_WIDTH) {
            fprintf(out, "\n%*s", HELP_COLUMN, "");
            column = HELP_COLUMN;
        }
        const char *space = column > HELP_COLUMN ? " " : "";
        fprintf(out, "%s%.*s", space, len, text);
        column += (int)strlen(space) + len;
        text += len;
        text += strspn(text, " ");
    }
    return column;
}

static void print_help_row(FILE *out, const struct option_row *row)
{
    char remark[128];
    int column =
        row->letter != '\0' ? fprintf(out, "  -%c, ", row->letter) : fprintf(out, "      ");
    column += fprintf(out, "--%s", row->name);
    if (row->metavar != NULL)
        column += fprintf(out, " %s", row->metavar);
    if (column > HELP_COLUMN - 2) {
        fputc('\n', out);
        column = 0;
    }
    fprintf(out, "%*s", HELP_COLUMN - column, "");
    column = print_wrapped(out, HELP_COLUMN, row->help);

    const char *never = never_text(row);
    if (row->fallback != NULL) {
        const char *shown = row->fallback[0] == '\0' ? "empty" : row->fallback;
        const char *joint = never[0] == '\0' ? "" : "; ";
        (void)snprintf(remark, sizeof(remark), "(default: %s%s%s)", shown, joint, never);
        print_wrapped(out, column, remark);
    } else if (never[0] != '\0') {
        (void)snprintf(remark, sizeof(remark), "(%s)", never);
        print_wrapped(out, column, remark);
    }
    fputc('\n', out);
}

static bool is_shown(const struct option_row *row)
{
    return row->help != NULL && row->kind != OPTION_REFUSED;
}

void options_table_print_help(FILE *out)
{
    fputs("usage: channelsd [options] module:attribute\n"
          "       channelsd runworker [options] [module:attribute] CHANNEL...\n"
          "       channelsd layer COMMAND [...]\n"
          "\n"
          "Serves the ASGI application that is the attribute of a Python module, over HTTP\n"
          "and WebSocket. The command line is that of daphne.\n",
          out);
    for (size_t i = 0; i < row_count; i++) {
        if (rows[i].kind == OPTION_GROUP)
            fprintf(out, "\n%s:\n", rows[i].name);
        else if (is_shown(&rows[i]))
            print_help_row(out, &rows[i]);
    }
    fputs("\n"
          "Times are in seconds and may have decimals. Without --bind, --port and\n"
          "--unix-socket the server listens on 127.0.0.1:8000.\n"
          "\n"
          "Each option is also read from the environment, --ping-interval for example from\n"
          "CHANNELSD_PING_INTERVAL; options without a value take 1 or 0 there. The command\n"
          "line wins, and an empty variable counts as not set.\n",
          out);
}

static void print_markdown_row(FILE *out, const struct option_row *row)
{
    char env[OPTIONS_TABLE_ENV_MAX];
    const char *never = never_text(row);
    fputs("| ", out);
    if (row->letter != '\0')
        fprintf(out, "`-%c`, ", row->letter);
    fprintf(out, "`--%s%s%s` | ", row->name, row->metavar != NULL ? " " : "",
            row->metavar != NULL ? row->metavar : "");
    if (options_table_has_field(row)) {
        options_table_env_name(env, row);
        fprintf(out, "`%s` | ", env);
    } else {
        fputs("| ", out);
    }
    if (row->fallback != NULL && row->fallback[0] == '\0')
        fputs("empty ", out);
    else if (row->fallback != NULL)
        fprintf(out, "`%s` ", row->fallback);
    fprintf(out, "| %s%s%s |\n", row->help, never[0] == '\0' ? "" : "; ", never);
}

void options_table_print_markdown(FILE *out)
{
    fputs("| Option | Variable | Default | Meaning |\n"
          "|---|---|---|---|\n",
          out);
    for (size_t i = 0; i < row_count; i++) {
        if (rows[i].kind == OPTION_GROUP)
            fprintf(out, "| **%s** | | | |\n", rows[i].name);
        else if (is_shown(&rows[i]))
            print_markdown_row(out, &rows[i]);
    }
}
