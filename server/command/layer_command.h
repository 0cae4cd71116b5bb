/* SPDX-License-Identifier: BSD-3-Clause
 *
 * layer_command: `channelsd layer …`: which of its commands is meant.
 *
 * Thread: the process's own.
 */
#ifndef SERVER_COMMAND_LAYER_COMMAND_H
#define SERVER_COMMAND_LAYER_COMMAND_H

/* @argv[0] is "layer". Returns the exit status. */
int layer_command_run(int argc, char **argv);

#endif
