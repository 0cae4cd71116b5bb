/* SPDX-License-Identifier: BSD-3-Clause */
#include "bench/load/plan.h"

#include "bench/load/payload.h"

#include <arpa/inet.h>
#include <errno.h>
#include <getopt.h>
#include <stdlib.h>
#include <string.h>

enum option_id {
    OPTION_HOST = 1,
    OPTION_PORT,
    OPTION_PATH,
    OPTION_PUBLISH_PATH,
    OPTION_EXPECT,
    OPTION_CONNECTIONS,
    OPTION_WINDOW,
    OPTION_RATE,
    OPTION_PAYLOAD,
    OPTION_JSON,
    OPTION_LOCKSTEP,
    OPTION_MEASURE,
    OPTION_WARMUP,
    OPTION_QUIET,
    OPTION_LIMIT,
};

static const struct option long_options[] = {
    {"host", required_argument, NULL, OPTION_HOST},
    {"port", required_argument, NULL, OPTION_PORT},
    {"path", required_argument, NULL, OPTION_PATH},
    {"publish-path", required_argument, NULL, OPTION_PUBLISH_PATH},
    {"expect", required_argument, NULL, OPTION_EXPECT},
    {"connections", required_argument, NULL, OPTION_CONNECTIONS},
    {"window", required_argument, NULL, OPTION_WINDOW},
    {"rate", required_argument, NULL, OPTION_RATE},
    {"payload", required_argument, NULL, OPTION_PAYLOAD},
    {"json", no_argument, NULL, OPTION_JSON},
    {"lockstep", no_argument, NULL, OPTION_LOCKSTEP},
    {"measure-ms", required_argument, NULL, OPTION_MEASURE},
    {"warmup-ms", required_argument, NULL, OPTION_WARMUP},
    {"quiet-ms", required_argument, NULL, OPTION_QUIET},
    {"limit-ms", required_argument, NULL, OPTION_LIMIT},
    {NULL, 0, NULL, 0},
};

const char *plan_usage(void)
{
    return "usage: channelsd-load echo|fanout|http|connect|idle --port PORT --path PATH [options]\n"
           "  --host ADDRESS       loopback address of the server (127.0.0.1)\n"
           "  --connections COUNT  (1)\n"
           "  --window COUNT       echo: messages on the way for each; fanout: in all (1)\n"
           "  --payload BYTES      size of a message (128)\n"
           "  --json               messages are {\"message\": \"...\"}\n"
           "  --publish-path PATH  fanout: where the publisher connects\n"
           "  --rate COUNT         fanout: messages a second, whatever comes back; 0: by --window\n"
           "  --expect TEXT        http: the body of each answer\n"
           "  --measure-ms MS      (3000)     --warmup-ms MS  (500)\n"
           "  --quiet-ms MS        silence after which what is missing is lost (2000)\n"
           "  --limit-ms MS        for opening, and for what is missing at the end (60000)\n"
           "  --lockstep           waits for a line on stdin after each 'mark'\n"
           "Prints 'mark begin', 'mark end' and 'result {...}'.\n";
}

static enum err get_count(unsigned *out, struct err_text *why, const char *name, unsigned least,
                          unsigned most)
{
    char *end = NULL;

    errno = 0;
    const unsigned long value = strtoul(optarg, &end, 10);
    if (optarg[0] < '0' || optarg[0] > '9' || *end != '\0' || errno != 0 || value < least ||
        value > most)
        return err_fail(why, ERR_INVALID, "--%s %s: expected a number from %u to %u", name, optarg,
                        least, most);
    *out = (unsigned)value;
    return ERR_OK;
}

static enum err get_host(struct plan *plan, struct err_text *why, const char *text)
{
    const unsigned loopback = 127; /* 127.0.0.0/8 */

    if (inet_pton(AF_INET, text, &plan->server.sin_addr) != 1 ||
        ntohl(plan->server.sin_addr.s_addr) >> 24 != loopback)
        return err_fail(why, ERR_INVALID, "--host %s: only an IPv4 loopback address is loaded",
                        text);
    inet_ntop(AF_INET, &plan->server.sin_addr, plan->host, sizeof(plan->host));
    return ERR_OK;
}

static enum err get_count_option(struct plan *plan, struct err_text *why, enum option_id id,
                                 const char *name)
{
    unsigned payload = 0;
    enum err err = ERR_OK;

    switch ((int)id) {
    case OPTION_PORT:
        return get_count(&plan->port, why, name, 1, UINT16_MAX);
    case OPTION_CONNECTIONS:
        return get_count(&plan->connections, why, name, 1, PLAN_MAX_CONNECTIONS);
    case OPTION_WINDOW:
        return get_count(&plan->window, why, name, 1, PLAN_MAX_WINDOW);
    case OPTION_RATE:
        return get_count(&plan->rate, why, name, 0, PLAN_MAX_RATE);
    case OPTION_MEASURE:
        return get_count(&plan->measure_ms, why, name, 1, PLAN_MAX_MEASURE_MS);
    case OPTION_WARMUP:
        return get_count(&plan->warmup_ms, why, name, 0, PLAN_MAX_WARMUP_MS);
    case OPTION_QUIET:
        return get_count(&plan->quiet_ms, why, name, 1, PLAN_MAX_QUIET_MS);
    case OPTION_LIMIT:
        return get_count(&plan->limit_ms, why, name, 1, PLAN_MAX_LIMIT_MS);
    case OPTION_PAYLOAD:
        err = get_count(&payload, why, name, PAYLOAD_MIN_BYTES, PAYLOAD_MAX_BYTES);
        if (err == ERR_OK)
            plan->payload_bytes = payload;
        return err;
    default:
        return err_fail(why, ERR_INVALID, "--help prints the options");
    }
}

static enum err get_option(struct plan *plan, struct err_text *why, int id, const char *name)
{
    switch (id) {
    case OPTION_HOST:
        return get_host(plan, why, optarg);
    case OPTION_PATH:
        plan->path = optarg;
        return ERR_OK;
    case OPTION_PUBLISH_PATH:
        plan->publish_path = optarg;
        return ERR_OK;
    case OPTION_EXPECT:
        plan->expect = optarg;
        return ERR_OK;
    case OPTION_JSON:
        plan->is_json = true;
        return ERR_OK;
    case OPTION_LOCKSTEP:
        plan->is_lockstep = true;
        return ERR_OK;
    default:
        return get_count_option(plan, why, (enum option_id)id, name);
    }
}

enum err plan_parse(struct plan *plan, struct err_text *why, int argc, char **argv)
{
    int index = 0;
    int id = 0;

    *plan = (struct plan){
        .server = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}},
        .host = "127.0.0.1",
        .connections = 1,
        .window = 1,
        .payload_bytes = 128,
        .measure_ms = 3000,
        .warmup_ms = 500,
        .quiet_ms = 2000,
        .limit_ms = 60000,
    };
    opterr = 0;
    while ((id = getopt_long(argc, argv, "", long_options, &index)) != -1) {
        if (id == '?')
            return err_fail(why, ERR_INVALID, "%s: no such option, or its value is missing",
                            argv[optind - 1]);
        const enum err err = get_option(plan, why, id, long_options[index].name);
        if (err != ERR_OK)
            return err;
    }
    if (optind != argc - 1)
        return err_fail(why, ERR_INVALID, "one scenario is named: echo, fanout, http, ...");
    plan->scenario = argv[optind];
    plan->server.sin_port = htons((uint16_t)plan->port);
    if (plan->port == 0 || plan->path == NULL || plan->path[0] != '/')
        return err_fail(why, ERR_INVALID, "--port and --path (which begins with /) are needed");
    const bool publishes = strcmp(plan->scenario, "fanout") == 0;
    if (publishes != (plan->publish_path != NULL))
        return err_fail(why, ERR_INVALID, "--publish-path belongs to fanout, and fanout needs it");
    if ((strcmp(plan->scenario, "http") == 0) != (plan->expect != NULL))
        return err_fail(why, ERR_INVALID, "--expect belongs to http, and http needs it");
    return ERR_OK;
}
