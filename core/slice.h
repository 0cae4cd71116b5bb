/* SPDX-License-Identifier: BSD-3-Clause
 *
 * slice: bytes that somebody else owns, passed by value.
 *
 * Why: parsers hand out parts of a buffer without copying; a pointer and its length travel
 * together. A zeroed slice is a valid empty one.
 */
#ifndef CORE_SLICE_H
#define CORE_SLICE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct slice {
    const uint8_t *ptr; /* may be NULL when len is 0 */
    size_t len;         /* bytes */
};

static inline struct slice slice_make(const void *ptr, size_t len)
{
    return (struct slice){.ptr = ptr, .len = len};
}

/* The bytes of a NUL-terminated string, without the NUL. */
static inline struct slice slice_str(const char *str)
{
    return (struct slice){.ptr = (const uint8_t *)str, .len = strlen(str)};
}

static inline bool slice_eq(struct slice a, struct slice b)
{
    return a.len == b.len && (a.len == 0 || memcmp(a.ptr, b.ptr, a.len) == 0);
}

static inline bool slice_eq_str(struct slice a, const char *str)
{
    return slice_eq(a, slice_str(str));
}

#endif
