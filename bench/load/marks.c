/* SPDX-License-Identifier: BSD-3-Clause */
#include "bench/load/marks.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <unistd.h>

enum { PATIENCE_MS = 60000 };

enum err marks_set(const char *name, bool waits)
{
    struct pollfd input = {.fd = STDIN_FILENO, .events = POLLIN};
    char byte = '\0';

    printf("mark %s\n", name);
    fflush(stdout);
    while (waits && byte != '\n') {
        const int ready = poll(&input, 1, PATIENCE_MS);
        if (ready == 0)
            return ERR_TIMEOUT;
        if (ready < 0 && errno == EINTR)
            continue;
        if (ready < 0)
            return ERR_IO;
        const ssize_t n = read(STDIN_FILENO, &byte, 1);
        if (n <= 0)
            return n == 0 ? ERR_CLOSED : ERR_IO;
    }
    return ERR_OK;
}
