/* SPDX-License-Identifier: BSD-3-Clause
 *
 * mem: where this program's memory comes from.
 *
 * Why: two tiers keep error paths few and honest. mem_alloc() is for small sizes that we choose:
 * when even that fails the process logs and aborts. mem_try() is for sizes that a peer chooses:
 * the caller has checked a ceiling and handles NULL, which costs that connection only.
 *
 * Thread: any.
 */
#ifndef CORE_MEM_H
#define CORE_MEM_H

#include <stddef.h>

#include "core/err.h"

/* Tier 1: zeroed memory of @size bytes; never NULL (aborts with a line on stderr). */
void *mem_alloc(size_t size) __attribute__((returns_nonnull)) MUST_CHECK;

/* Tier 2: uninitialised memory of @size bytes, or NULL. */
void *mem_try(size_t size) MUST_CHECK;

/* Tier 2: like realloc(); NULL leaves @ptr as it was. */
void *mem_try_resize(void *ptr, size_t size) MUST_CHECK;

/* Tier 1: a copy of @len bytes followed by a NUL. */
char *mem_copy_str(const void *data, size_t len) __attribute__((returns_nonnull)) MUST_CHECK;

/* Frees what the functions above gave; NULL is allowed. */
void mem_free(void *ptr);

/* Gives what was freed back to the system, where the C library keeps it and can be asked to
 * (glibc). Takes some 20 ms for each 100 MiB, of which other threads wait for their part: for when
 * a crowd has left, not for each request. */
void mem_give_back(void);

/* For tests: the (@after + 1)th tier-2 allocation from now on fails, once; -1 turns it off. */
void mem_fail_after(long after);

#endif
