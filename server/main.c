/* SPDX-License-Identifier: BSD-3-Clause */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "core/log.h"
#include "server/app.h"
#include "server/command/layer_command.h"
#include "server/options.h"

enum { EXIT_OK = 0, EXIT_FAILED = 1, LOG_CLOSE_MS = 1000 };

static enum log_level level_of(int verbosity)
{
    return verbosity == 0 ? LOG_WARN : verbosity == 1 ? LOG_INFO : LOG_DEBUG;
}

static int serve(enum options_result result, struct options *options)
{
    struct err_text why;
    switch (result) {
    case OPTIONS_RUN:
        break;
    case OPTIONS_EXIT_OK:
        return EXIT_OK;
    case OPTIONS_BAD:
        return OPTIONS_EXIT_BAD;
    }
    signal(SIGPIPE,
           SIG_IGN); /* a peer that is gone is an error of write(), not the end of the process */
    const struct log_config config = {
        .level = level_of(options->verbosity),
        .format = options->log_format,
        .access_path = options->access_log,
    };
    if (log_open(&config, &why) != ERR_OK) {
        fprintf(stderr, "channelsd: %s\n", why.text);
        options_deinit(options);
        return EXIT_FAILED;
    }
    const int code = app_run(options);
    log_close(LOG_CLOSE_MS);
    options_deinit(options);
    return code;
}

static int runworker_run(int argc, char **argv)
{
    struct options options;
    return serve(options_parse_runworker(&options, argc, argv, stdout, stderr), &options);
}

/* Words that are commands and not an application, which has a ':'. */
static const struct {
    const char *name;
    int (*run)(int argc, char **argv); /* argv[0] is the name; returns the exit status */
} commands[] = {
    {"layer", layer_command_run},
    {"runworker", runworker_run},
};

/* Who is started with a closed one of them would have its first socket or file there, and what is
 * printed would go into that. Reading gives nothing; writing fails, so that nobody takes what was
 * written for printed. */
static bool fill_standard_fds(void)
{
    for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++)
        if (fcntl(fd, F_GETFD) < 0 && errno == EBADF && open("/dev/null", O_RDONLY) != fd)
            return false;
    return true;
}

/* Who is started with signals blocked could be ended by nothing but SIGKILL, and would not hear of
 * the end of a worker. */
static void unblock_signals(void)
{
    sigset_t none;
    sigemptyset(&none);
    (void)sigprocmask(SIG_SETMASK, &none, NULL);
}

int main(int argc, char **argv)
{
    struct options options;
    unblock_signals();
    if (!fill_standard_fds()) {
        fprintf(stderr, "channelsd: a standard descriptor is closed, and /dev/null: %s\n",
                strerror(errno));
        return EXIT_FAILED;
    }
    for (size_t i = 0; argc > 1 && i < sizeof(commands) / sizeof(commands[0]); i++)
        if (strcmp(argv[1], commands[i].name) == 0)
            return commands[i].run(argc - 1, argv + 1);
    return serve(options_parse(&options, argc, argv, stdout, stderr), &options);
}
