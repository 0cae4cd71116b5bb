/* SPDX-License-Identifier: BSD-3-Clause
 *
 * layer_tool: `channelsd layer send|group-send|listen|group-listen|groups|ping`.
 *
 * Why: people and scripts look at a channel layer and speak through it without writing Python.
 *
 * Exit status: 0 done; 1 the layer cannot be reached, or did not answer in time, or a signal came
 * before so many messages as were asked for; 2 wrong arguments, settings, names or messages; 3 the
 * channel is over capacity.
 *
 * Thread: the process's own.
 */
#ifndef SERVER_COMMAND_LAYER_TOOL_H
#define SERVER_COMMAND_LAYER_TOOL_H

#include <stdbool.h>

/* Whether @name is one of the tools. */
bool layer_tool_knows(const char *name);

/* Runs one; @argv[0] is its name. Returns the exit status. */
int layer_tool_run(int argc, char **argv);

/* The lines of `channelsd layer --help` about the tools. */
const char *layer_tool_help(void);

#endif
