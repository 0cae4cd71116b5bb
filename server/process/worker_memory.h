/* SPDX-License-Identifier: BSD-3-Clause
 *
 * worker_memory: how much memory a process has.
 *
 * Thread: any.
 */
#ifndef SERVER_PROCESS_WORKER_MEMORY_H
#define SERVER_PROCESS_WORKER_MEMORY_H

#include <stdint.h>
#include <sys/types.h>

#include "core/err.h"
#include "core/slice.h"

/* The resident memory of the process, in bytes: what it shares with others counts, its children do
 * not. Errors: ERR_IO and others when it cannot be read, ERR_INVALID when it is not understood. */
enum err worker_memory_read(uint64_t *out, pid_t pid) MUST_CHECK;

/* The second number, in pages, of the kernel's "statm". Errors: ERR_INVALID. */
enum err worker_memory_scan(uint64_t *pages, struct slice text) MUST_CHECK;

#endif
