/* SPDX-License-Identifier: BSD-3-Clause */
#include "core/chain.h"

#include "core/mem.h"

#include <assert.h>
#include <stdbool.h>

/* Bytes [start, end) wait; [end, cap) is free. A block never moves and bytes in [start, end) never
 * change, so an append to the tail is safe while the kernel or libuv reads what was gathered. */
struct chain_block {
    struct chain_block *next;
    uint32_t start;
    uint32_t end;
    uint32_t cap;
    uint8_t data[];
};

/* A spare block is memory that ASan believes to be in use: no spares when it watches. */
#if defined(__SANITIZE_ADDRESS__)
#define POOL_KEEPS false
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define POOL_KEEPS false
#endif
#endif
#ifndef POOL_KEEPS
#define POOL_KEEPS true
#endif

static struct chain_block *block_take(struct chain_pool *pool, size_t len)
{
    const bool small = len <= CHAIN_SMALL_BYTES;
    struct chain_block **spare = small ? &pool->small : &pool->large;
    struct chain_block *block = *spare;
    if (block != NULL) {
        *spare = block->next;
        *(small ? &pool->small_count : &pool->large_count) -= 1;
    } else {
        const uint32_t cap = small ? CHAIN_SMALL_BYTES : CHAIN_LARGE_BYTES;
        block = mem_alloc(sizeof(*block) + cap);
        block->cap = cap;
    }
    block->next = NULL;
    block->start = 0;
    block->end = 0;
    return block;
}

static void block_give_back(struct chain_pool *pool, struct chain_block *block)
{
    if (!POOL_KEEPS) {
        mem_free(block);
        return;
    }
    const bool small = block->cap == CHAIN_SMALL_BYTES;
    struct chain_block **spare = small ? &pool->small : &pool->large;
    unsigned *count = small ? &pool->small_count : &pool->large_count;
    const unsigned keep = small ? CHAIN_KEEP_SMALL : CHAIN_KEEP_LARGE;
    if (*count >= keep) {
        mem_free(block);
        return;
    }
    block->next = *spare;
    *spare = block;
    *count += 1;
}

static void free_list(struct chain_block *block)
{
    while (block != NULL) {
        struct chain_block *next = block->next;
        mem_free(block);
        block = next;
    }
}

void chain_pool_deinit(struct chain_pool *pool)
{
    free_list(pool->small);
    free_list(pool->large);
    *pool = (struct chain_pool){0};
}

static size_t tail_room(const struct chain *chain)
{
    return chain->tail == NULL ? 0 : chain->tail->cap - chain->tail->end;
}

/* Adds a block of the class that suits @len at the end. */
static void add_block(struct chain *chain, struct chain_pool *pool, size_t len)
{
    struct chain_block *block = block_take(pool, len);
    if (chain->tail == NULL)
        chain->head = block;
    else
        chain->tail->next = block;
    chain->tail = block;
}

void chain_append(struct chain *chain, struct chain_pool *pool, struct slice data)
{
    while (data.len > 0) {
        size_t room = tail_room(chain);
        if (room == 0) {
            add_block(chain, pool, data.len);
            room = tail_room(chain);
        }
        const size_t len = data.len < room ? data.len : room;
        memcpy(chain->tail->data + chain->tail->end, data.ptr, len);
        chain_commit(chain, len);
        data = slice_make(data.ptr + len, data.len - len);
    }
}

uint8_t *chain_reserve(struct chain *chain, struct chain_pool *pool, size_t len)
{
    assert(len <= CHAIN_LARGE_BYTES);
    if (chain->tail == NULL || tail_room(chain) < len)
        add_block(chain, pool, len);
    return chain->tail->data + chain->tail->end;
}

void chain_commit(struct chain *chain, size_t len)
{
    assert(len <= tail_room(chain));
    if (len == 0)
        return;
    chain->tail->end += (uint32_t)len;
    chain->bytes += len;
}

size_t chain_gather(const struct chain *chain, struct iovec *out, size_t max, size_t max_bytes)
{
    size_t left = max_bytes > 0 ? max_bytes : SIZE_MAX;
    size_t count = 0;
    for (struct chain_block *block = chain->head; block != NULL && count < max && left > 0;
         block = block->next) {
        size_t len = block->end - block->start;
        if (len == 0) /* reserved, but nothing was committed */
            continue;
        if (len > left)
            len = left;
        out[count++] = (struct iovec){.iov_base = block->data + block->start, .iov_len = len};
        left -= len;
    }
    return count;
}

void chain_consume(struct chain *chain, struct chain_pool *pool, size_t count)
{
    assert(count <= chain->bytes);
    chain->bytes -= count;
    while (chain->head != NULL) {
        struct chain_block *block = chain->head;
        const size_t waiting = block->end - block->start;
        if (count < waiting) {
            block->start += (uint32_t)count;
            return;
        }
        count -= waiting;
        chain->head = block->next;
        if (chain->head == NULL)
            chain->tail = NULL;
        block_give_back(pool, block);
    }
}

void chain_clear(struct chain *chain, struct chain_pool *pool)
{
    chain_consume(chain, pool, chain->bytes);
}
