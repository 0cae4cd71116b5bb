/* SPDX-License-Identifier: BSD-3-Clause
 *
 * shard: which of several Redis hosts a name belongs to, as channels_redis computes it: CRC-32 of
 * the bytes, its low 12 bits divided by 4096.0/n. Sans-I/O.
 */
#ifndef CHANNEL_LAYER_SHARD_H
#define CHANNEL_LAYER_SHARD_H

#include "core/slice.h"

/* @count is at least 1. Returns 0..count-1. */
unsigned shard_of(struct slice name, unsigned count);

#endif
