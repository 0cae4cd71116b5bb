/* SPDX-License-Identifier: BSD-3-Clause
 *
 * fuzz_options: a command line and an environment from bytes. Words are separated by NUL; one that
 * begins with CHANNELSD_ and has a "=" becomes a variable.
 */
#include "server/options.h"
#include "tests/support/fuzz.h"

#include <stdlib.h>
#include <string.h>

enum { WORDS_MAX = 64 };

static const char variable_prefix[] = "CHANNELSD_";

static void require(bool is_so)
{
    if (!is_so)
        abort();
}

/* What whoever starts the server relies on. */
static void check_result(enum options_result result, const struct options *o)
{
    if (result != OPTIONS_RUN) {
        require(o->application == NULL && o->host == NULL && o->forwarded.count == 0);
        return;
    }
    require(strchr(o->application, ':') != NULL);
    require(o->has_tcp || o->unix_path != NULL);
    require(o->host[0] != '\0' && o->port >= 0 && o->port <= 65535);
    require(o->workers >= 1 && o->edge_loops >= 1);
    require(o->loop != NULL && o->root_path != NULL && o->log_format != NULL);
    require(o->server_name != NULL && o->forwarded_allow_ips != NULL);
    require(o->proxy_headers_host[0] != '\0' && o->proxy_headers_port[0] != '\0');
    require(o->ping_interval_ms >= -1 && o->websocket_timeout_ms >= -1);
    require(o->graceful_timeout_ms >= 0 && o->application_close_timeout_ms >= 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static char program[] = "channelsd";
    char *argv[WORDS_MAX + 2] = {program};
    int argc = 1;
    char *text = malloc(size + 1);
    FILE *sink = fopen("/dev/null", "w");
    require(text != NULL && sink != NULL);
    if (size > 0)
        memcpy(text, data, size);
    text[size] = '\0';

    clearenv();
    for (char *word = text; word < text + size && argc <= WORDS_MAX; word += strlen(word) + 1) {
        const bool is_variable = strncmp(word, variable_prefix, sizeof(variable_prefix) - 1) == 0;
        char *equals = is_variable ? strchr(word, '=') : NULL;
        if (equals != NULL)
            putenv(word); /* lives as long as text */
        else
            argv[argc++] = word;
    }

    struct options options;
    const enum options_result result = options_parse(&options, argc, argv, sink, sink);
    check_result(result, &options);
    options_deinit(&options);
    clearenv();
    fclose(sink);
    free(text);
    return 0;
}
