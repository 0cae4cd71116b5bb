/* SPDX-License-Identifier: BSD-3-Clause */
#include "server/command/layer_tool.h"

#include <assert.h>
#include <errno.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <time.h>
#include <unistd.h>

#include "channel_layer/layer_proto.h"
#include "channel_layer/names.h"
#include "core/log.h"
#include "core/mem.h"
#include "core/transcode.h"
#include "server/command/layer_reach.h"
#include "server/command/layer_tool_options.h"
#include "server/command/node_client.h"

enum { EXIT_OK = 0, EXIT_FAILED = 1, EXIT_WRONG = 2, EXIT_FULL = 3 };
enum { MESSAGE_MAX = 16 * 1024 * 1024, LOG_CLOSE_MS = 1000 };

struct tool {
    struct tool_options options;
    struct node_client client;
    struct buf message; /* a body or a line, made anew for each */
    struct err_text why;
    int signal_fd;
};

struct tool_kind {
    const char *name;
    int least, most; /* arguments; -1: any number */
    bool listens;    /* until a signal, which ends it orderly */
    enum err (*run)(struct tool *t);
};

static int exit_status_of(enum err err)
{
    if (err == ERR_OK)
        return EXIT_OK;
    if (err == ERR_FULL)
        return EXIT_FULL;
    return err == ERR_INVALID || err == ERR_TOO_BIG || err == ERR_UNSUPPORTED ? EXIT_WRONG
                                                                              : EXIT_FAILED;
}

/* ---- messages as lines ---- */

/* A layer that writes JSON takes the text as it is; the node checks it. */
static enum err body_of_json(struct tool *t, struct slice json)
{
    t->message.len = 0;
    if (t->client.serializer == LAYER_MSGPACK)
        return transcode_to_pack(&t->message, json, &t->why);
    const enum err err = buf_append(&t->message, json.ptr, json.len);
    return err == ERR_OK ? err : err_fail(&t->why, err, "the message: %s", err_str(err));
}

/* One line of JSON. Line ends in a JSON text stand between its values: a string has none. */
static enum err json_of_body(struct tool *t, struct slice body)
{
    t->message.len = 0;
    if (t->client.serializer == LAYER_MSGPACK)
        return transcode_to_json(&t->message, body, &t->why);
    const enum err err = buf_append(&t->message, body.ptr, body.len);
    if (err != ERR_OK)
        return err_fail(&t->why, err, "a message: %s", err_str(err));
    for (uint32_t i = 0; i < t->message.len; i++)
        if (t->message.ptr[i] == '\n' || t->message.ptr[i] == '\r')
            t->message.ptr[i] = ' ';
    return ERR_OK;
}

/* A line that cannot be written (a closed pipe) ends the tool: nobody reads any more. */
static enum err print_body(struct tool *t, const char *kind, struct slice name, struct slice body)
{
    const enum err err = json_of_body(t, body);
    if (err != ERR_OK)
        return err;
    if (t->options.has_names)
        printf("{\"%s\": \"%.*s\", \"message\": %.*s}\n", kind, (int)name.len,
               (const char *)name.ptr, (int)t->message.len, (const char *)t->message.ptr);
    else
        printf("%.*s\n", (int)t->message.len, (const char *)t->message.ptr);
    if (fflush(stdout) != 0)
        return err_fail(&t->why, ERR_IO, "standard output: %s", strerror(errno));
    return ERR_OK;
}

/* ---- send, group-send ---- */

static enum err send_one(struct tool *t, unsigned op, struct slice json)
{
    struct node_event event;
    const enum err err = body_of_json(t, json);
    if (err != ERR_OK)
        return err;
    const uint64_t request = node_client_ask(&t->client, op, slice_str(t->options.names[0]),
                                             buf_slice(&t->message), true);
    return node_client_answer(&t->client, request, &event, t->options.timeout_ms, &t->why);
}

/* One message for each line of stdin; the first that fails ends it, and its number is told. */
static enum err send_lines(struct tool *t, unsigned op)
{
    char *line = NULL;
    size_t size = 0;
    ssize_t len;
    enum err err = ERR_OK;
    unsigned long number = 0;
    while (err == ERR_OK && (len = getline(&line, &size, stdin)) >= 0) {
        number++;
        while (len > 0 && (line[len - 1] == '\n' || line[len - 1] == '\r'))
            len--;
        if (len == 0)
            continue;
        err = (size_t)len > MESSAGE_MAX
                  ? err_fail(&t->why, ERR_TOO_BIG, "longer than %d bytes", (int)MESSAGE_MAX)
                  : send_one(t, op, slice_make(line, (size_t)len));
    }
    free(line);
    if (err != ERR_OK) {
        struct err_text why = t->why;
        err_fail(&t->why, err, "line %lu: %.400s", number, why.text);
    }
    return err;
}

static enum err send_by(struct tool *t, unsigned op)
{
    const char *json = t->options.names[1];
    if (strcmp(json, "-") == 0)
        return send_lines(t, op);
    return send_one(t, op, slice_str(json));
}

static enum err run_send(struct tool *t)
{
    return send_by(t, LAYER_SEND);
}

static enum err run_group_send(struct tool *t)
{
    return send_by(t, LAYER_GROUP_SEND);
}

/* ---- listen, group-listen ---- */

/* Before there is another thread, which would be ended by them. */
static enum err open_signals(struct tool *t)
{
    sigset_t ends;
    sigemptyset(&ends);
    sigaddset(&ends, SIGINT);
    sigaddset(&ends, SIGTERM);
    sigprocmask(SIG_BLOCK, &ends, NULL);
    t->signal_fd = signalfd(-1, &ends, SFD_CLOEXEC);
    if (t->signal_fd < 0)
        return err_fail(&t->why, err_from_errno(errno), "signalfd: %s", strerror(errno));
    return ERR_OK;
}

static bool is_last(const struct tool *t, uint64_t received)
{
    return t->options.count != 0 && received >= t->options.count;
}

/* What was asked for comes; SIGINT and SIGTERM end it orderly. */
static enum err end_of_listening(enum err err)
{
    return err == ERR_CLOSED ? ERR_OK : err;
}

static enum err run_listen(struct tool *t)
{
    const unsigned count = t->options.name_count;
    uint64_t *requests = mem_alloc(count * sizeof(*requests));
    enum err err = ERR_OK;
    for (unsigned i = 0; err == ERR_OK && i < count; i++) {
        requests[i] = node_client_ask(&t->client, LAYER_RECEIVE, slice_str(t->options.names[i]),
                                      slice_make(NULL, 0), false);
        if (requests[i] == 0)
            err = err_fail(&t->why, ERR_UNAVAILABLE, "the node closed the connection");
    }
    for (uint64_t received = 0; err == ERR_OK && !is_last(t, received);) {
        struct node_event event;
        err = node_client_next(&t->client, &event, -1, &t->why);
        if (err == ERR_OK && event.kind == NODE_REPLY && event.err != ERR_OK)
            err = err_fail(&t->why, event.err, "%.*s", (int)event.text.len,
                           (const char *)event.text.ptr);
        if (err != ERR_OK || event.kind != NODE_MESSAGE)
            continue;
        unsigned i = 0;
        while (i < count && requests[i] != event.request)
            i++;
        if (i == count)
            continue;
        err = print_body(t, "channel", slice_str(t->options.names[i]), event.body);
        if (err != ERR_OK)
            continue; /* untaken: it goes back when we are gone */
        node_client_tell(&t->client, LAYER_TAKEN, event.request);
        received++;
        if (!is_last(t, received))
            requests[i] = node_client_ask(&t->client, LAYER_RECEIVE, slice_str(t->options.names[i]),
                                          slice_make(NULL, 0), false);
    }
    mem_free(requests);
    return end_of_listening(err);
}

static enum err change_membership(struct tool *t, unsigned op)
{
    struct node_event event;
    const uint64_t request =
        node_client_ask(&t->client, op, slice_str(t->options.names[0]), slice_make(NULL, 0), false);
    return node_client_answer(&t->client, request, &event, t->options.timeout_ms, &t->why);
}

static enum err run_group_listen(struct tool *t)
{
    enum err err = change_membership(t, LAYER_JOIN);
    if (err != ERR_OK)
        return err;
    fprintf(stderr, "channelsd: listening to the group %s\n", t->options.names[0]);
    for (uint64_t received = 0; err == ERR_OK && !is_last(t, received);) {
        struct node_event event;
        err = node_client_next(&t->client, &event, -1, &t->why);
        if (err != ERR_OK || event.kind != NODE_DELIVER)
            continue;
        err = print_body(t, "group", slice_str(t->options.names[0]), event.body);
        received++;
    }
    err = end_of_listening(err);
    struct err_text why = t->why;
    node_client_wake_by(&t->client, -1);
    if (err != ERR_OK) {
        /* The first error is the one to tell; the node takes us out when we are gone. */
        (void)change_membership(t, LAYER_LEAVE);
        t->why = why;
        return err;
    }
    return change_membership(t, LAYER_LEAVE);
}

/* ---- groups, ping ---- */

static enum err run_groups(struct tool *t)
{
    struct node_event event;
    const uint64_t request =
        node_client_ask(&t->client, LAYER_GROUPS, slice_make(NULL, 0), slice_make(NULL, 0), false);
    const enum err err =
        node_client_answer(&t->client, request, &event, t->options.timeout_ms, &t->why);
    if (err != ERR_OK)
        return err;
    struct pack_reader r = event.value;
    for (uint32_t left = pack_read_array(&r); left > 0 && !r.failed; left--) {
        (void)pack_read_array(&r);
        const struct slice group = pack_read_bytes(&r);
        const uint64_t members = pack_read_uint(&r);
        if (!r.failed)
            printf("{\"group\": \"%.*s\", \"members\": %llu}\n", (int)group.len,
                   (const char *)group.ptr, (unsigned long long)members);
    }
    return ERR_OK;
}

static double now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec * 1e3 + (double)now.tv_nsec / 1e6;
}

/* A group of our own is joined and left: as far as groups go, and so to Redis where there is one.
 */
static enum err run_ping(struct tool *t)
{
    struct node_event event;
    char group[64];
    snprintf(group, sizeof(group), "channelsd.ping.%ld", (long)getpid());
    t->options.names[0] = group;
    const double begin = now_ms();
    enum err err = change_membership(t, LAYER_JOIN);
    const double took = now_ms() - begin;
    if (err == ERR_OK)
        err = change_membership(t, LAYER_LEAVE);
    if (err != ERR_OK)
        return err;
    const uint64_t request =
        node_client_ask(&t->client, LAYER_STATS, slice_make(NULL, 0), slice_make(NULL, 0), false);
    err = node_client_answer(&t->client, request, &event, t->options.timeout_ms, &t->why);
    if (err != ERR_OK)
        return err;
    printf("{\"backend\": \"%s\", \"milliseconds\": %.3f", t->client.backend, took);
    struct pack_reader r = event.value;
    for (uint32_t left = pack_read_array(&r); left > 0 && !r.failed; left--) {
        (void)pack_read_array(&r);
        const struct slice name = pack_read_bytes(&r);
        const uint64_t number = pack_read_uint(&r);
        if (!r.failed)
            printf(", \"%.*s\": %llu", (int)name.len, (const char *)name.ptr,
                   (unsigned long long)number);
    }
    printf("}\n");
    return ERR_OK;
}

/* ---- which one ---- */

static const struct tool_kind kinds[] = {
    {"send", 2, 2, false, run_send},     {"group-send", 2, 2, false, run_group_send},
    {"listen", 1, -1, true, run_listen}, {"group-listen", 1, 1, true, run_group_listen},
    {"groups", 0, 0, false, run_groups}, {"ping", 0, 0, false, run_ping},
};

static const struct tool_kind *kind_of(const char *name)
{
    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++)
        if (strcmp(kinds[i].name, name) == 0)
            return &kinds[i];
    return NULL;
}

bool layer_tool_knows(const char *name)
{
    return kind_of(name) != NULL;
}

static int complain(const struct tool *t, const char *name, enum err err)
{
    fprintf(stderr, "channelsd layer %s: %s\n", name, t->why.text);
    return exit_status_of(err);
}

/* The log is open. */
static enum err run_logged(struct tool *t, const struct tool_kind *kind)
{
    struct layer_reach reach = {.thread_is_running = false};
    enum err err = kind->listens ? open_signals(t) : ERR_OK;
    if (err == ERR_OK)
        err = layer_reach_open(&reach, &t->client, &t->options, &t->why);
    if (err == ERR_OK) {
        node_client_wake_by(&t->client, t->signal_fd);
        err = kind->run(t);
        if (fflush(stdout) != 0 && err == ERR_OK)
            err = err_fail(&t->why, ERR_IO, "standard output: %s", strerror(errno));
        layer_reach_close(&reach, &t->client);
    }
    if (t->signal_fd >= 0)
        close(t->signal_fd);
    return err;
}

int layer_tool_run(int argc, char **argv)
{
    const struct log_config log = {.level = LOG_WARN}; /* of a node of our own */
    const struct tool_kind *kind = kind_of(argv[0]);
    assert(kind != NULL); /* layer_tool_knows() it */
    struct tool t = {.signal_fd = -1};
    bool wants_help = false;
    enum err err =
        tool_options_parse(&t.options, argc, argv, kind->least, kind->most, &wants_help, &t.why);
    if (err == ERR_OK && wants_help)
        fputs(layer_tool_help(), stdout);
    if (err == ERR_OK && !wants_help)
        err = log_open(&log, &t.why);
    if (err == ERR_OK && !wants_help) {
        buf_init(&t.message, MESSAGE_MAX);
        err = run_logged(&t, kind);
        buf_deinit(&t.message);
        log_close(LOG_CLOSE_MS);
    }
    tool_options_deinit(&t.options);
    return err == ERR_OK ? EXIT_OK : complain(&t, argv[0], err);
}

const char *layer_tool_help(void)
{
    return "  send CHANNEL JSON            send a message; JSON \"-\": one from each line of "
           "stdin\n"
           "  group-send GROUP JSON        send a message to a group\n"
           "  listen CHANNEL...            print what arrives on channels, one JSON a line;\n"
           "                               a message that was printed is taken\n"
           "  group-listen GROUP           print what is sent to a group\n"
           "  groups                       print the groups and how many members each has\n"
           "  ping                         join and leave a group, and print counters\n"
           "\n"
           "Options of these:\n"
           "      --layer-socket PATH      socket of a node (CHANNELSD_LAYER_SOCKET); the one "
           "that\n"
           "                               channelsd makes by default is found\n"
           "      --layer-config SETTINGS  JSON with the CONFIG keys of channels_redis, or the\n"
           "                               path of a file with it (CHANNELSD_LAYER_CONFIG)\n"
           "      --redis URL              short for a --layer-config with one host (REDIS_URL)\n"
           "      --timeout SECONDS        to wait for an answer; default 5\n"
           "      --count N                listen: end after N messages; default 0, never\n"
           "      --names                  listen: {\"channel\" or \"group\": ..., \"message\": "
           "...}\n"
           "\n"
           "In JSON, bytes are {\"__bytes__\": \"<base64>\"}. Exit status: 0 done, 1 the layer "
           "cannot\n"
           "be reached, 2 wrong arguments, names or messages, 3 the channel is full.\n";
}
