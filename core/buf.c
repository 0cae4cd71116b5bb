/* SPDX-License-Identifier: BSD-3-Clause */
#include "core/buf.h"

#include "core/mem.h"

#include <assert.h>
#include <string.h>

enum { BUF_FIRST_BYTES = 64, BUF_CEILING = 1024 * 1024 * 1024 };

void buf_init(struct buf *buf, size_t max_bytes)
{
    assert(max_bytes <= BUF_CEILING);
    *buf = (struct buf){.max_bytes = (uint32_t)max_bytes};
}

void buf_deinit(struct buf *buf)
{
    mem_free(buf->ptr);
    *buf = (struct buf){.max_bytes = buf->max_bytes};
}

enum err buf_reserve(struct buf *buf, size_t extra)
{
    assert(buf->len <= buf->cap && buf->len <= buf->max_bytes);
    if (extra > buf->max_bytes - buf->len)
        return ERR_TOO_BIG;
    const uint32_t need = buf->len + (uint32_t)extra;
    if (need <= buf->cap)
        return ERR_OK;
    /* Doubling cannot overflow: cap is at most BUF_CEILING. */
    uint32_t cap = buf->cap > BUF_FIRST_BYTES / 2 ? buf->cap * 2 : BUF_FIRST_BYTES;
    if (cap < need)
        cap = need;
    if (cap > buf->max_bytes)
        cap = buf->max_bytes;
    uint8_t *ptr = mem_try_resize(buf->ptr, cap);
    if (ptr == NULL)
        return ERR_NOMEM;
    buf->ptr = ptr;
    buf->cap = cap;
    return ERR_OK;
}

enum err buf_append(struct buf *buf, const void *data, size_t len)
{
    const enum err err = buf_reserve(buf, len);
    if (err != ERR_OK)
        return err;
    if (len > 0)
        memcpy(buf->ptr + buf->len, data, len);
    buf->len += (uint32_t)len;
    return ERR_OK;
}

void buf_drop_front(struct buf *buf, size_t count)
{
    assert(count <= buf->len);
    if (count == 0)
        return;
    buf->len -= (uint32_t)count;
    memmove(buf->ptr, buf->ptr + count, buf->len);
}
