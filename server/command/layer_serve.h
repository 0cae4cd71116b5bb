/* SPDX-License-Identifier: BSD-3-Clause
 *
 * layer_serve: `channelsd layer serve`: a node with the channel layer alone, for hosts whose
 * processes are not workers of channelsd.
 *
 * Exit status: 0 ended by SIGTERM or SIGINT; 1 it could not begin; 2 wrong arguments or settings.
 *
 * Thread: the process's own.
 */
#ifndef SERVER_COMMAND_LAYER_SERVE_H
#define SERVER_COMMAND_LAYER_SERVE_H

/* @argv[0] is its name. Returns the exit status. */
int layer_serve_run(int argc, char **argv);

#endif
