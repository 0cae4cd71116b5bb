/* SPDX-License-Identifier: BSD-3-Clause */
#include "server/command/layer_command.h"

#include <stdio.h>
#include <string.h>

#include "server/command/layer_serve.h"
#include "server/command/layer_tool.h"

enum { EXIT_OK = 0, EXIT_BAD = 2 };

static const char usage[] =
    "usage: channelsd layer COMMAND [...]; channelsd layer COMMAND --help\n";

static void print_help(FILE *out)
{
    fputs(usage, out);
    fputs("\n"
          "  serve                        carry the layer for the processes of this host\n",
          out);
    fputs(layer_tool_help(), out);
}

int layer_command_run(int argc, char **argv)
{
    const char *name = argc > 1 ? argv[1] : "";
    if (strcmp(name, "serve") == 0)
        return layer_serve_run(argc - 1, argv + 1);
    if (layer_tool_knows(name))
        return layer_tool_run(argc - 1, argv + 1);
    if (strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0) {
        print_help(stdout);
        return EXIT_OK;
    }
    if (name[0] == '\0')
        fputs("channelsd: layer: the command is missing\n", stderr);
    else
        fprintf(stderr, "channelsd: layer: unknown command \"%.100s\"\n", name);
    fputs(usage, stderr);
    return EXIT_BAD;
}
