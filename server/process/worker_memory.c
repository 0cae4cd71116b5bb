/* SPDX-License-Identifier: BSD-3-Clause */
#include "server/process/worker_memory.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

enum { STATM_MAX = 256, PATH_ROOM = 64 };

enum err worker_memory_scan(uint64_t *pages, struct slice text)
{
    size_t at = 0;
    uint64_t value = 0;
    while (at < text.len && text.ptr[at] != ' ')
        at++;
    const size_t first = ++at;
    for (; at < text.len && text.ptr[at] >= '0' && text.ptr[at] <= '9'; at++)
        if (__builtin_mul_overflow(value, 10, &value) ||
            __builtin_add_overflow(value, (uint64_t)(text.ptr[at] - '0'), &value))
            return ERR_INVALID;
    if (at <= first || at >= text.len || text.ptr[at] != ' ')
        return ERR_INVALID;
    *pages = value;
    return ERR_OK;
}

enum err worker_memory_read(uint64_t *out, pid_t pid)
{
    char path[PATH_ROOM];
    uint8_t text[STATM_MAX];
    uint64_t pages = 0;
    (void)snprintf(path, sizeof(path), "/proc/%d/statm", (int)pid);
    const int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return err_from_errno(errno);
    const ssize_t len = read(fd, text, sizeof(text));
    const int errnum = errno;
    close(fd);
    if (len < 0)
        return err_from_errno(errnum);
    const enum err err = worker_memory_scan(&pages, slice_make(text, (size_t)len));
    if (err == ERR_OK)
        *out = pages * (uint64_t)sysconf(_SC_PAGESIZE);
    return err;
}
