/* SPDX-License-Identifier: BSD-3-Clause
 *
 * start_log: what start-up tells people, and scripts that wait for it.
 *
 * Thread: main.
 */
#ifndef SERVER_PROCESS_START_LOG_H
#define SERVER_PROCESS_START_LOG_H

#include <stdint.h>

#include "server/options.h"

/* Before the workers are started. */
void start_log_begin(const struct options *options);

/* Everybody can be served. @tcp_host and @tcp_port: what was bound, with TCP. */
void start_log_ready(const struct options *options, const char *tcp_host, uint16_t tcp_port);

#endif
