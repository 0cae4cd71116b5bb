/* SPDX-License-Identifier: BSD-3-Clause */
#include "server/process/terminal.h"

#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

/* The kernel takes the terminal away from its processes before it tells them. */
static bool has_terminal(void)
{
    const int fd = open("/dev/tty", O_RDWR | O_NOCTTY | O_CLOEXEC);
    if (fd < 0)
        return false;
    close(fd);
    return true;
}

void terminal_look(struct terminal *terminal)
{
    struct sigaction before;
    const bool is_nohup = sigaction(SIGHUP, NULL, &before) == 0 && before.sa_handler == SIG_IGN;
    terminal->ends_us = !is_nohup && has_terminal();
}

bool terminal_is_gone(const struct terminal *terminal)
{
    return terminal->ends_us && !has_terminal();
}
