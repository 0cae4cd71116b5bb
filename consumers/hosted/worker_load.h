/* SPDX-License-Identifier: BSD-3-Clause
 *
 * worker_load: how many clients a worker serves and has served, over all edge loops together.
 *
 * Why: each loop sees only its own clients. Loops that each looked for the worker with the fewest
 * of these would all begin with the same one. Relaxed counters are enough: two loops that choose in
 * the same instant may be wrong by one.
 *
 * Shared by the supervisor and by the worker's link on each loop; the last reference frees it.
 *
 * Thread: any.
 */
#ifndef CONSUMERS_HOSTED_WORKER_LOAD_H
#define CONSUMERS_HOSTED_WORKER_LOAD_H

#include <stdbool.h>
#include <stdint.h>

struct worker_load;

/* A worker that is worn out after @most clients; 0: never. Ownership: the caller owns the first
 * reference. */
struct worker_load *worker_load_new(uint64_t most);

/* Adds a reference and returns @load. */
struct worker_load *worker_load_ref(struct worker_load *load);
void worker_load_unref(struct worker_load *load);

/* One more client. True for exactly one caller: its client was the last that the worker should
 * take. */
bool worker_load_enter(struct worker_load *load);
void worker_load_leave(struct worker_load *load);

/* How many are being served. */
unsigned worker_load_clients(const struct worker_load *load);

#endif
