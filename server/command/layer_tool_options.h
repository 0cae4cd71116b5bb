/* SPDX-License-Identifier: BSD-3-Clause
 *
 * layer_tool_options: the command line of the layer tools, checked.
 *
 * Where the layer is, the first that is given: --layer-socket, --layer-config or --redis; the
 * variables CHANNELSD_LAYER_SOCKET, CHANNELSD_LAYER_CONFIG, REDIS_URL; else the default socket.
 *
 * Thread: start-up.
 */
#ifndef SERVER_COMMAND_LAYER_TOOL_OPTIONS_H
#define SERVER_COMMAND_LAYER_TOOL_OPTIONS_H

#include <stdbool.h>
#include <stdint.h>

#include "core/err.h"

struct tool_options {
    const char *socket; /* NULL: none named */
    const char *config; /* JSON or the path of a file; NULL: none named */
    const char *redis;  /* a URL; NULL: none named */
    int timeout_ms;
    uint64_t count; /* of messages to listen for; 0: until a signal */
    bool has_names; /* each line tells its channel or group */
    const char **names;
    unsigned name_count;
};

/* How many arguments a tool takes. */
struct tool_arity {
    int least, most; /* -1: any number */
    int names;       /* so many of them at most are names, from the first; -1: all */
};

/* Errors: ERR_INVALID with a text. Ownership: tool_options_deinit() in any case; the texts are
 * @argv's or the environment's. */
enum err tool_options_parse(struct tool_options *out, int argc, char **argv,
                            const struct tool_arity *arity, bool *wants_help,
                            struct err_text *why) MUST_CHECK;
void tool_options_deinit(struct tool_options *options);

#endif
