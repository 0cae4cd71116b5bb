/* SPDX-License-Identifier: BSD-3-Clause */
#include "bench/load/load.h"
#include "core/mem.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>

enum { EXIT_FAILED = 1, EXIT_USAGE = 2 };

/* As many descriptors as the system allows: one for each connection. */
static void raise_file_limit(void)
{
    struct rlimit limit = {0};

    if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
        return;
    limit.rlim_cur = limit.rlim_max;
    if (setrlimit(RLIMIT_NOFILE, &limit) != 0)
        fprintf(stderr, "channelsd-load: cannot raise the file limit: %s\n", strerror(errno));
}

int main(int argc, char **argv)
{
    struct plan plan;
    struct err_text why = {.code = ERR_OK};

    if (argc == 2 && strcmp(argv[1], "--help") == 0) {
        fputs(plan_usage(), stdout);
        return 0;
    }
    if (plan_parse(&plan, &why, argc, argv) != ERR_OK) {
        fprintf(stderr, "channelsd-load: %s\n%s", why.text, plan_usage());
        return EXIT_USAGE;
    }
    signal(SIGPIPE, SIG_IGN);
    raise_file_limit();
    struct load *load = mem_alloc(sizeof(*load));
    const enum err err = load_run(load, &plan, &why);
    mem_free(load);
    if (err != ERR_OK) {
        fprintf(stderr, "channelsd-load: %s\n", why.text);
        return err == ERR_NOT_FOUND ? EXIT_USAGE : EXIT_FAILED;
    }
    return 0;
}
