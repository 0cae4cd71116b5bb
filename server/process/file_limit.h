/* SPDX-License-Identifier: BSD-3-Clause
 *
 * file_limit: how many connections the limit on descriptors leaves room for.
 *
 * Why: workers must be able to start whatever clients do, so what the program itself needs is set
 * aside first, and what the peers of the channel layer may take with it.
 *
 * Thread: main, at start-up.
 */
#ifndef SERVER_PROCESS_FILE_LIMIT_H
#define SERVER_PROCESS_FILE_LIMIT_H

#include "server/options.h"

/* Raises the limit of the process as far as it may: one that serves connections needs all the
 * descriptors that it may have. Returns how many these are. */
unsigned file_limit_raise(void);

/* Raises it, and returns how many connections can be served: what --max-connections says, or what
 * there is room for. Says so in the log when that is few. */
unsigned file_limit_connections(const struct options *options);

#endif
