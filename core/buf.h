/* SPDX-License-Identifier: BSD-3-Clause
 *
 * buf: a growable run of bytes with a ceiling that is given when it is made.
 *
 * Why: growth that a peer causes must end somewhere; a buffer without a ceiling cannot be
 * written with this type. A zeroed buf with a ceiling set by buf_init() holds no memory.
 *
 * Thread: owner only.
 */
#ifndef CORE_BUF_H
#define CORE_BUF_H

#include <stddef.h>
#include <stdint.h>

#include "core/err.h"
#include "core/slice.h"

struct buf {
    uint8_t *ptr;
    uint32_t len;       /* bytes in use */
    uint32_t cap;       /* bytes allocated */
    uint32_t max_bytes; /* ceiling of len */
};

/* Makes @buf empty; it never grows over @max_bytes (at most 1 GiB). */
void buf_init(struct buf *buf, size_t max_bytes);

/* Frees the memory; @buf stays usable and empty. */
void buf_deinit(struct buf *buf);

/* Makes room for @extra bytes behind len.
 * Errors: ERR_TOO_BIG over the ceiling, ERR_NOMEM. @buf is unchanged then. */
enum err buf_reserve(struct buf *buf, size_t extra) MUST_CHECK;

/* Appends a copy of @len bytes. Errors: as buf_reserve(). */
enum err buf_append(struct buf *buf, const void *data, size_t len) MUST_CHECK;

/* Drops the first @count bytes (count <= len). */
void buf_drop_front(struct buf *buf, size_t count);

static inline struct slice buf_slice(const struct buf *buf)
{
    return slice_make(buf->ptr, buf->len);
}

#endif
