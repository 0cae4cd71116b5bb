/* SPDX-License-Identifier: BSD-3-Clause */
#include <signal.h>
#include <stdio.h>

#include "core/log.h"
#include "server/app.h"
#include "server/options.h"

enum { EXIT_OK = 0, EXIT_FAILED = 1, LOG_CLOSE_MS = 1000 };

static enum log_level level_of(int verbosity)
{
    return verbosity == 0 ? LOG_WARN : verbosity == 1 ? LOG_INFO : LOG_DEBUG;
}

int main(int argc, char **argv)
{
    struct options options;
    struct err_text why;
    switch (options_parse(&options, argc, argv, stdout, stderr)) {
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
        .level = level_of(options.verbosity),
        .format = options.log_format,
        .access_path = options.access_log,
    };
    if (log_open(&config, &why) != ERR_OK) {
        fprintf(stderr, "channelsd: %s\n", why.text);
        options_deinit(&options);
        return EXIT_FAILED;
    }
    const int code = app_run(&options);
    log_close(LOG_CLOSE_MS);
    options_deinit(&options);
    return code;
}
