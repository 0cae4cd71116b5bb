/* SPDX-License-Identifier: BSD-3-Clause */
#include "server/process/file_limit.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/resource.h>

#include "channel_layer/node/node.h"
#include "core/log.h"
#include "server/transport/admission.h"

enum {
    FILES_MAX =
        10 * 1000 * 1000,  /* no more connections than that, whatever the limit on files says */
    INHERITED_MAX = 256,   /* descriptors that are looked for when the program starts */
    FEW_CONNECTIONS = 256, /* a server that can have no more than that is told */
};

unsigned file_limit_raise(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
        return FILES_MAX;
    const struct rlimit raised = {.rlim_cur = limit.rlim_max, .rlim_max = limit.rlim_max};
    if (setrlimit(RLIMIT_NOFILE, &raised) == 0)
        limit = raised;
    else
        log_event(LOG_WARN, "app.file_limit", "reason=\"%s\"", strerror(errno));
    return limit.rlim_cur < FILES_MAX ? (unsigned)limit.rlim_cur : FILES_MAX;
}

static unsigned count_open_files(void)
{
    unsigned count = 0;
    for (int fd = 0; fd < INHERITED_MAX; fd++)
        count += fcntl(fd, F_GETFD) >= 0 ? 1 : 0;
    return count;
}

/* What the channel layer takes whatever clients do: its loop, its listeners and its peers. */
static unsigned layer_files(void)
{
    const unsigned loop = 3;      /* poll, wake-up, reserve of libuv */
    const unsigned listeners = 2; /* --layer-socket, the project's path */
    return loop + listeners + node_peers_max();
}

/* Descriptors that must stay free of clients, so that a worker can be started whatever happens. */
static unsigned own_files(const struct options *o)
{
    const unsigned loop = 5; /* poll, wake-up, reserve of libuv, two listeners */
    const unsigned worker = o->edge_loops + 1 + 2; /* links, the layer's, output */
    const unsigned start =
        o->edge_loops + 1 + 2 + 2 + 2;   /* the worker's ends of them, and uv_spawn()'s pipe */
    const unsigned main_loop = loop + 2; /* signals */
    return count_open_files() + main_loop + o->edge_loops * loop + (o->workers + 1) * worker +
           start + ADMISSION_SPARE + layer_files();
}

unsigned file_limit_connections(const struct options *options)
{
    const unsigned files = file_limit_raise();
    const unsigned own = own_files(options);
    const unsigned room = files > own ? files - own : 1;
    const unsigned wanted = options->max_connections;
    const unsigned connections = wanted != 0 && wanted < room ? wanted : room;
    if (wanted > room || (wanted == 0 && room < FEW_CONNECTIONS))
        log_event(LOG_WARN, "app.file_limit",
                  "files=%u connections=%u reason=\"raise it with ulimit -n or LimitNOFILE=\"",
                  files, connections);
    return connections;
}
