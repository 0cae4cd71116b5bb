/* SPDX-License-Identifier: BSD-3-Clause */
#include "server/command/layer_tool_options.h"

#include <ctype.h>
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/mem.h"
#include "core/text.h"

enum { TIMEOUT_MS = 5000, TIMEOUT_SECONDS_MAX = 3600, SHOWN_BYTES = 200 };
enum { OPT_SOCKET = 256, OPT_CONFIG, OPT_REDIS, OPT_TIMEOUT, OPT_COUNT, OPT_NAMES };

static const struct option longs[] = {
    {"layer-socket", required_argument, NULL, OPT_SOCKET},
    {"layer-config", required_argument, NULL, OPT_CONFIG},
    {"redis", required_argument, NULL, OPT_REDIS},
    {"timeout", required_argument, NULL, OPT_TIMEOUT},
    {"count", required_argument, NULL, OPT_COUNT},
    {"names", no_argument, NULL, OPT_NAMES},
    {"help", no_argument, NULL, 'h'},
    {NULL, 0, NULL, 0},
};

static enum err read_timeout(struct tool_options *out, const char *text, struct err_text *why)
{
    char *end = NULL;
    errno = 0;
    const double seconds = strtod(text, &end);
    if (end == text || *end != '\0' || errno != 0 || !(seconds > 0) ||
        seconds > TIMEOUT_SECONDS_MAX)
        return err_fail(why, ERR_INVALID, "--timeout %.40s: seconds, more than 0 and at most %d",
                        text, (int)TIMEOUT_SECONDS_MAX);
    out->timeout_ms = (int)(seconds * 1000);
    if (out->timeout_ms < 1)
        out->timeout_ms = 1;
    return ERR_OK;
}

static enum err read_count(struct tool_options *out, const char *text, struct err_text *why)
{
    char *end = NULL;
    errno = 0;
    const unsigned long long count = strtoull(text, &end, 10);
    if (!isdigit((unsigned char)text[0]) || *end != '\0' || errno != 0)
        return err_fail(why, ERR_INVALID, "--count %.40s: a number of messages, 0 for no end",
                        text);
    out->count = count;
    return ERR_OK;
}

static enum err read_option(struct tool_options *out, int code, const char *word, bool *wants_help,
                            struct err_text *why)
{
    switch (code) {
    case OPT_SOCKET:
        out->socket = optarg;
        return ERR_OK;
    case OPT_CONFIG:
        out->config = optarg;
        return ERR_OK;
    case OPT_REDIS:
        out->redis = optarg;
        return ERR_OK;
    case OPT_TIMEOUT:
        return read_timeout(out, optarg, why);
    case OPT_COUNT:
        return read_count(out, optarg, why);
    case OPT_NAMES:
        out->has_names = true;
        return ERR_OK;
    case 'h':
        *wants_help = true;
        return ERR_OK;
    case ':':
        return err_fail(why, ERR_INVALID, "%.80s needs a value", word);
    default:
        if (optopt != 0 && optopt < OPT_SOCKET) /* one letter, of several in a word, perhaps */
            return err_fail(why, ERR_INVALID, "unknown option -%c (see channelsd layer --help)",
                            optopt);
        return err_fail(why, ERR_INVALID, "unknown option %.80s (see channelsd layer --help)",
                        word);
    }
}

static const char *variable(const char *name)
{
    const char *value = getenv(name);
    return value != NULL && value[0] != '\0' ? value : NULL;
}

/* Named once, on the command line or else in the environment. */
static enum err choose_place(struct tool_options *out, struct err_text *why)
{
    const int given = (out->socket != NULL ? 1 : 0) + (out->config != NULL ? 1 : 0) +
                      (out->redis != NULL ? 1 : 0);
    if (given > 1 && !(given == 2 && out->redis == NULL))
        return err_fail(why, ERR_INVALID,
                        "--redis together with --layer-socket or --layer-config: give one of them");
    if (given > 0)
        return ERR_OK;
    out->socket = variable("CHANNELSD_LAYER_SOCKET");
    if (out->socket == NULL)
        out->config = variable("CHANNELSD_LAYER_CONFIG");
    if (out->socket == NULL && out->config == NULL)
        out->redis = variable("REDIS_URL");
    return ERR_OK;
}

static enum err count_names(const struct tool_options *out, const char *tool,
                            const struct tool_arity *arity, struct err_text *why)
{
    const int count = (int)out->name_count;
    if (count >= arity->least && (arity->most < 0 || count <= arity->most))
        return ERR_OK;
    return err_fail(why, ERR_INVALID,
                    "%s takes %s%d argument%s, not %d (see channelsd layer --help)", tool,
                    arity->least == arity->most ? "" : "at least ", arity->least,
                    arity->least == 1 ? "" : "s", count);
}

/* The bytes that are not printable ASCII as \xNN; cut where there is no room. */
static void show(char *out, size_t cap, const char *text)
{
    size_t used = 0;
    out[0] = '\0';
    for (; *text != '\0' && used + sizeof("\\xNN") <= cap; text++) {
        const unsigned char byte = (unsigned char)*text;
        const bool is_plain = byte >= ' ' && byte <= '~';
        used += (size_t)snprintf(out + used, cap - used, is_plain ? "%c" : "\\x%02x", byte);
    }
}

/* A node knows no text but UTF-8, and takes anything else for a breach. */
static enum err check_names(const struct tool_options *out, const struct tool_arity *arity,
                            struct err_text *why)
{
    char shown[SHOWN_BYTES];
    for (unsigned i = 0; i < out->name_count && (arity->names < 0 || i < (unsigned)arity->names);
         i++) {
        const char *name = out->names[i];
        if (utf8_is_valid((const uint8_t *)name, strlen(name)))
            continue;
        show(shown, sizeof(shown), name);
        return err_fail(why, ERR_INVALID, "the name \"%s\" is not UTF-8", shown);
    }
    return ERR_OK;
}

enum err tool_options_parse(struct tool_options *out, int argc, char **argv,
                            const struct tool_arity *arity, bool *wants_help, struct err_text *why)
{
    int code;
    *out = (struct tool_options){.timeout_ms = TIMEOUT_MS};
    out->names = mem_alloc(((size_t)argc + 1) * sizeof(*out->names));
    optind = 1;
    /* '-': arguments come in order, as options do; ':': a missing value is told apart. */
    while ((code = getopt_long(argc, argv, "-:h", longs, NULL)) != -1) {
        if (code == 1) {
            out->names[out->name_count++] = optarg;
            continue;
        }
        const char *word = optind > 0 && optind <= argc ? argv[optind - 1] : "";
        const enum err err = read_option(out, code, word, wants_help, why);
        if (err != ERR_OK)
            return err;
    }
    while (optind < argc) /* behind "--" */
        out->names[out->name_count++] = argv[optind++];
    if (*wants_help)
        return ERR_OK;
    enum err err = choose_place(out, why);
    if (err == ERR_OK)
        err = count_names(out, argv[0], arity, why);
    return err == ERR_OK ? check_names(out, arity, why) : err;
}

void tool_options_deinit(struct tool_options *options)
{
    mem_free(options->names);
    options->names = NULL;
}
