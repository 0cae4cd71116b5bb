/* SPDX-License-Identifier: BSD-3-Clause */
#include "core/mem.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#ifdef __GLIBC__
#include <malloc.h>
#endif

/* Tier-2 allocations until one fails; negative: never. Tests only. */
static atomic_long fail_after = -1;

static bool must_fail(void)
{
    if (atomic_load_explicit(&fail_after, memory_order_relaxed) < 0)
        return false;
    return atomic_fetch_sub_explicit(&fail_after, 1, memory_order_relaxed) == 0;
}

/* malloc(0) may give NULL, which here means failure. */
static size_t at_least_one(size_t size)
{
    return size > 0 ? size : 1;
}

void *mem_alloc(size_t size)
{
    void *ptr = calloc(1, at_least_one(size));
    if (ptr == NULL) {
        (void)fprintf(stderr, "channelsd: out of memory (%zu bytes)\n", size);
        abort();
    }
    return ptr;
}

void *mem_try(size_t size)
{
    return must_fail() ? NULL : malloc(at_least_one(size));
}

void *mem_try_resize(void *ptr, size_t size)
{
    return must_fail() ? NULL : realloc(ptr, at_least_one(size));
}

char *mem_copy_str(const void *data, size_t len)
{
    char *copy = mem_alloc(len + 1);
    if (len > 0)
        memcpy(copy, data, len);
    return copy;
}

void mem_free(void *ptr)
{
    free(ptr);
}

void mem_give_back(void)
{
#ifdef __GLIBC__
    (void)malloc_trim(0);
#endif
}

void mem_fail_after(long after)
{
    atomic_store_explicit(&fail_after, after, memory_order_relaxed);
}
