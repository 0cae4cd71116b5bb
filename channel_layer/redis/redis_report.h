/* SPDX-License-Identifier: BSD-3-Clause
 *
 * redis_report: what is wrong with keys and messages, for the log and the counters.
 *
 * Why: the same goes wrong where messages of clients' channels arrive, where those of normal
 * channels do and where their handling is told; users find it under one event (notice.h).
 *
 * Thread: the loop's.
 */
#ifndef CHANNEL_LAYER_REDIS_REDIS_REPORT_H
#define CHANNEL_LAYER_REDIS_REDIS_REPORT_H

#include <stdbool.h>

#include "core/slice.h"

enum { REDIS_LATE_S = 10 }; /* that a message may be older than the expiry: clocks differ */

struct redis_backend;
struct redis_shard;

/* Redis refused a command: @why says what, and the key. */
void redis_report_refused(struct redis_backend *b, const char *why);

/* A message was dropped for the reason @why. @field, "key" or "channel", is what @name names. */
void redis_report_undecodable(const struct redis_shard *shard, const char *field, struct slice name,
                              const char *why);

/* Whether the message with @score, of the key @key, is older than the layer's expiry: it was there
 * all the time, and no sender has trimmed the key. Counted and logged then. Its age is what the
 * clocks of its sender and of this host make it; they may differ as much as encryption allows. */
bool redis_is_late(const struct redis_shard *shard, struct slice key, struct slice score);

#endif
