/* SPDX-License-Identifier: BSD-3-Clause
 *
 * app: the whole program: main loop, edges and their threads, supervisor, built and torn down in
 * one visible order.
 *
 * Life: bind -> edges -> supervisor -> all workers ready: listen -> (SIGTERM, SIGINT) drain ->
 * workers finish
 * -> edges stop -> exit code. A second signal, or the graceful timeout, cuts what is left.
 * SIGHUP replaces the workers, one after the other.
 *
 * Thread: main.
 */
#ifndef SERVER_APP_H
#define SERVER_APP_H

#include "server/options.h"

/* Runs the server until it is told to end; returns the program's exit code. */
int app_run(const struct options *options);

#endif
