/* SPDX-License-Identifier: BSD-3-Clause
 *
 * chain: bytes that wait to be written, in blocks lent by a pool.
 *
 * Why: what one loop turn produces for a connection is gathered and goes out in one writev().
 * Blocks come from the loop's pool and return to it when written, so an idle connection holds
 * none and a busy loop allocates nothing per message. Block sizes are ours, so appending cannot
 * fail; how much may wait is the caller's rule (chain.bytes tells).
 *
 * Thread: pool and chains belong to one loop.
 */
#ifndef CORE_CHAIN_H
#define CORE_CHAIN_H

#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "core/slice.h"

enum {
    CHAIN_SMALL_BYTES = 1000,      /* payload of a small block */
    CHAIN_LARGE_BYTES = 16 * 1024, /* payload of a large block; ceiling of chain_reserve() */
    CHAIN_KEEP_SMALL = 512,        /* spare blocks that a pool keeps */
    CHAIN_KEEP_LARGE = 32,
};

struct chain_block; /* opaque */

struct chain_pool {
    struct chain_block *small; /* private: spare blocks */
    struct chain_block *large;
    unsigned small_count;
    unsigned large_count;
};

struct chain {
    size_t bytes; /* waiting in all blocks */
    /* private */
    struct chain_block *head;
    struct chain_block *tail;
};

/* A zeroed pool is a valid empty one. Frees the spare blocks (chains must be cleared before). */
void chain_pool_deinit(struct chain_pool *pool);

/* Appends a copy of @data. */
void chain_append(struct chain *chain, struct chain_pool *pool, struct slice data);

/* Gives @len (<= CHAIN_LARGE_BYTES) contiguous bytes at the end, to be filled by the caller and
 * then committed with chain_commit(). Valid until the next call on @chain. */
uint8_t *chain_reserve(struct chain *chain, struct chain_pool *pool, size_t len);

/* Counts the first @len bytes of the last chain_reserve() as appended. */
void chain_commit(struct chain *chain, size_t len);

/* Describes the first bytes of @chain in at most @max entries and at most @max_bytes bytes
 * (0: no limit). Returns how many entries were filled; blocks stay where they are while more is
 * appended. */
size_t chain_gather(const struct chain *chain, struct iovec *out, size_t max, size_t max_bytes);

/* Drops the first @count (<= bytes) bytes and returns their blocks to @pool. */
void chain_consume(struct chain *chain, struct chain_pool *pool, size_t count);

/* Drops everything. */
void chain_clear(struct chain *chain, struct chain_pool *pool);

#endif
