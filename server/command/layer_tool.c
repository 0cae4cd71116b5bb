/* SPDX-License-Identifier: BSD-3-Clause */
#include "server/command/layer_tool.h"

#include <assert.h>
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <time.h>
#include <unistd.h>

#include "channel_layer/names.h"
#include "channel_layer/node/layer_proto.h"
#include "core/log.h"
#include "core/mem.h"
#include "core/transcode.h"
#include "server/command/json_body.h"
#include "server/command/layer_reach.h"
#include "server/command/layer_tool_options.h"
#include "server/command/lines.h"
#include "server/command/node_client.h"

enum { EXIT_OK = 0, EXIT_FAILED = 1, EXIT_WRONG = 2, EXIT_FULL = 3 };
enum { LOG_CLOSE_MS = 1000 };
enum {
    TEXT_MAX = 64 * 1024 * 1024, /* of JSON that comes in, where bytes are base64 */
    LINE_MAX_BYTES =
        256 * 1024 * 1024, /* of JSON that goes out: a body can become ten times as long */
};

struct tool {
    struct tool_options options;
    struct node_client client;
    struct buf body; /* made anew for each message */
    struct buf line;
    struct err_text why;
    uint64_t received; /* messages that were printed */
    int signal_fd;     /* listens: readable when it is to end; else -1 */
};

struct tool_kind {
    const char *name;
    struct tool_arity arity;
    bool listens; /* until a signal, or until nobody reads what it prints: both orderly ends */
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

static enum err call(struct tool *t, unsigned op, const char *name, struct node_event *out)
{
    const struct slice none = {0};
    return node_client_call(&t->client, op, name != NULL ? slice_str(name) : none, none, out,
                            &t->why);
}

/* ---- messages as lines ---- */

static enum err body_of_json(struct tool *t, struct slice json)
{
    t->body.len = 0;
    return t->client.serializer == LAYER_MSGPACK ? transcode_to_pack(&t->body, json, &t->why)
                                                 : json_body_read(&t->body, json, &t->why);
}

static enum err put(struct tool *t, struct slice text)
{
    const enum err err = buf_append(&t->line, text.ptr, text.len);
    return err == ERR_OK ? err : err_fail(&t->why, err, "a message: %s", err_str(err));
}

static enum err put_body(struct tool *t, struct slice body)
{
    return t->client.serializer == LAYER_MSGPACK ? transcode_to_json(&t->line, body, &t->why)
                                                 : json_body_print(&t->line, body, &t->why);
}

/* A line that cannot be written (a closed pipe) ends the tool: nobody reads any more. */
static enum err print_body(struct tool *t, const char *kind, const char *name, struct slice body)
{
    const bool has_names = t->options.has_names;
    char head[NAME_MAX_BYTES + 64];
    t->line.len = 0;
    (void)snprintf(head, sizeof(head), "{\"%s\": \"%s\", \"message\": ", kind, name);
    enum err err = has_names ? put(t, slice_str(head)) : ERR_OK;
    if (err == ERR_OK)
        err = put_body(t, body);
    if (err == ERR_OK)
        err = put(t, slice_str(has_names ? "}\n" : "\n"));
    return err == ERR_OK ? lines_write(STDOUT_FILENO, buf_slice(&t->line), t->signal_fd, &t->why)
                         : err;
}

/* ---- send, group-send ---- */

static enum err send_one(struct tool *t, unsigned op, struct slice json)
{
    struct node_event event;
    const enum err err = body_of_json(t, json);
    return err == ERR_OK ? node_client_call(&t->client, op, slice_str(t->options.names[0]),
                                            buf_slice(&t->body), &event, &t->why)
                         : err;
}

/* One message for each line of stdin; the first that fails ends it, and its number is told. */
static enum err send_lines(struct tool *t, unsigned op)
{
    struct line_reader lines;
    struct slice line;
    enum err err = ERR_OK;
    line_reader_init(&lines, STDIN_FILENO, TEXT_MAX);
    while (err == ERR_OK) {
        err = line_reader_next(&lines, &line, &t->why);
        if (err == ERR_CLOSED)
            break;
        if (err == ERR_OK && line.len > 0)
            err = send_one(t, op, line);
    }
    const unsigned long number = lines.number;
    line_reader_deinit(&lines);
    if (err == ERR_CLOSED)
        return ERR_OK;
    const struct err_text why = t->why;
    return err_fail(&t->why, err, "line %lu: %.400s", number, why.text);
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
    struct sigaction hangup;
    sigemptyset(&ends);
    sigaddset(&ends, SIGINT);
    sigaddset(&ends, SIGTERM);
    /* One that is blocked comes even where it is ignored (nohup). */
    if (sigaction(SIGHUP, NULL, &hangup) == 0 && hangup.sa_handler != SIG_IGN)
        sigaddset(&ends, SIGHUP);
    sigprocmask(SIG_BLOCK, &ends, NULL);
    t->signal_fd = signalfd(-1, &ends, SFD_CLOEXEC);
    if (t->signal_fd < 0)
        return err_fail(&t->why, err_from_errno(errno), "signalfd: %s", strerror(errno));
    return ERR_OK;
}

static bool is_last(const struct tool *t)
{
    return t->options.count != 0 && t->received >= t->options.count;
}

/* A signal is an orderly end, unless so many messages were to come. */
static enum err check_count(struct tool *t)
{
    struct pollfd fd = {.fd = t->signal_fd, .events = POLLIN};
    if (t->options.count == 0 || is_last(t) || poll(&fd, 1, 0) <= 0)
        return ERR_OK; /* nobody reads any more: who read was content */
    return err_fail(&t->why, ERR_AGAIN, "ended by a signal: %llu of %llu messages came",
                    (unsigned long long)t->received, (unsigned long long)t->options.count);
}

static enum err ask_next(struct tool *t, unsigned i, uint64_t *request)
{
    *request = node_client_ask(&t->client, LAYER_RECEIVE, slice_str(t->options.names[i]),
                               (struct slice){0}, &t->why);
    return *request != 0 ? ERR_OK : t->why.code;
}

/* Prints the message that answers one of the @requests, and asks for the next. Until it is printed
 * it is untaken: it goes back when we are gone. */
static enum err take_message(struct tool *t, uint64_t *requests, const struct node_event *event)
{
    unsigned i = 0;
    while (i < t->options.name_count && requests[i] != event->request)
        i++;
    if (i == t->options.name_count)
        return ERR_OK;
    const enum err err = print_body(t, "channel", t->options.names[i], event->body);
    if (err != ERR_OK)
        return err;
    node_client_tell(&t->client, LAYER_TAKEN, event->request);
    t->received++;
    return is_last(t) ? ERR_OK : ask_next(t, i, &requests[i]);
}

/* The counter @name in the answer to STATS; 0 where there is none. */
static uint64_t stat_of(const struct node_event *event, const char *name)
{
    struct pack_reader r = event->value;
    for (uint32_t left = pack_read_array(&r); left > 0 && !r.failed; left--) {
        (void)pack_read_array(&r);
        const bool is_meant = slice_eq_str(pack_read_bytes(&r), name);
        const uint64_t number = pack_read_uint(&r);
        if (is_meant && !r.failed)
            return number;
    }
    return 0;
}

/* A node that we leave at once may not have read yet which messages were taken. One of our own has
 * logged the first of those that nobody can read; another's counts what others lost, too. */
static enum err settle_taken(struct tool *t)
{
    struct node_event event;
    node_client_wake_by(&t->client, -1, -1);
    const enum err err = call(t, LAYER_STATS, NULL, &event);
    if (err != ERR_OK || !layer_reach_is_own(&t->options))
        return err;
    const uint64_t lost = stat_of(&event, "dropped_undecodable");
    if (lost > 0)
        fprintf(stderr, "channelsd: messages that were dropped, as they could not be read: %llu\n",
                (unsigned long long)lost);
    return ERR_OK;
}

/* A group of our own is joined and left: as far as groups go, and so to Redis where there is one.
 */
static enum err touch_layer(struct tool *t)
{
    struct node_event event;
    char group[64];
    snprintf(group, sizeof(group), "channelsd.ping.%ld", (long)getpid());
    const enum err err = call(t, LAYER_JOIN, group, &event);
    return err == ERR_OK ? call(t, LAYER_LEAVE, group, &event) : err;
}

static enum err run_listen(struct tool *t)
{
    const unsigned count = t->options.name_count;
    uint64_t *requests = NULL;
    /* What is asked for below waits for a Redis that is away, without a word. */
    enum err err = touch_layer(t);
    if (err != ERR_OK)
        return err;
    requests = mem_alloc(count * sizeof(*requests));
    for (unsigned i = 0; err == ERR_OK && i < count; i++)
        err = ask_next(t, i, &requests[i]);
    while (err == ERR_OK && !is_last(t)) {
        struct node_event event;
        err = node_client_next(&t->client, &event, &t->why);
        if (err == ERR_OK && event.kind == NODE_REPLY && event.err != ERR_OK)
            err = err_fail(&t->why, event.err, "%.*s", (int)event.text.len,
                           (const char *)event.text.ptr);
        else if (err == ERR_OK && event.kind == NODE_MESSAGE)
            err = take_message(t, requests, &event);
    }
    mem_free(requests);
    return err == ERR_OK || err == ERR_CLOSED ? settle_taken(t) : err;
}

/* One record of a group. A flush takes everybody out of their groups; who listens comes back. */
static enum err take_delivery(struct tool *t, const struct node_event *event)
{
    const char *group = t->options.names[0];
    enum err err = ERR_OK;
    switch (event->kind) {
    case NODE_DELIVER:
        err = print_body(t, "group", group, event->body);
        t->received += err == ERR_OK;
        return err;
    case NODE_FLUSHED:
        return node_client_ask(&t->client, LAYER_JOIN, slice_str(group), (struct slice){0},
                               &t->why) != 0
                   ? ERR_OK
                   : t->why.code;
    case NODE_REPLY:
        return event->err == ERR_OK ? ERR_OK
                                    : err_fail(&t->why, event->err, "%.*s", (int)event->text.len,
                                               (const char *)event->text.ptr);
    case NODE_MESSAGE:
        break;
    }
    return ERR_OK;
}

static enum err run_group_listen(struct tool *t)
{
    struct node_event event;
    const char *group = t->options.names[0];
    enum err err = call(t, LAYER_JOIN, group, &event);
    if (err != ERR_OK)
        return err;
    fprintf(stderr, "channelsd: listening to the group %s\n", group);
    while (err == ERR_OK && !is_last(t)) {
        err = node_client_next(&t->client, &event, &t->why);
        if (err == ERR_OK)
            err = take_delivery(t, &event);
    }
    if (err != ERR_OK && err != ERR_CLOSED)
        return err; /* the node takes us out when we are gone */
    node_client_wake_by(&t->client, -1, -1);
    err = call(t, LAYER_LEAVE, group, &event);
    return err == ERR_OK ? settle_taken(t) : err;
}

/* ---- groups, ping ---- */

static enum err run_groups(struct tool *t)
{
    struct node_event event;
    const enum err err = call(t, LAYER_GROUPS, NULL, &event);
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

static enum err run_ping(struct tool *t)
{
    struct node_event event;
    const double begin = now_ms();
    enum err err = touch_layer(t);
    const double took = now_ms() - begin;
    if (err == ERR_OK)
        err = call(t, LAYER_STATS, NULL, &event);
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
    {"send", {2, 2, 1}, false, run_send},      {"group-send", {2, 2, 1}, false, run_group_send},
    {"listen", {1, -1, -1}, true, run_listen}, {"group-listen", {1, 1, 1}, true, run_group_listen},
    {"groups", {0, 0, 0}, false, run_groups},  {"ping", {0, 0, 0}, false, run_ping},
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
    const int reader_fd = kind->listens ? STDOUT_FILENO : -1;
    enum err err = kind->listens ? open_signals(t) : ERR_OK;
    struct layer_reach reach = {.wake_fd = t->signal_fd, .reader_fd = reader_fd};
    if (err == ERR_OK)
        err = layer_reach_open(&reach, &t->client, &t->options, &t->why);
    if (err == ERR_OK) {
        err = kind->run(t);
        if (fflush(stdout) != 0 && err == ERR_OK)
            err = err_fail(&t->why, ERR_IO, "standard output: %s", strerror(errno));
        layer_reach_close(&reach, &t->client);
    }
    if (kind->listens && (err == ERR_OK || err == ERR_CLOSED))
        err = check_count(t);
    if (t->signal_fd >= 0)
        close(t->signal_fd);
    return err;
}

int layer_tool_run(int argc, char **argv)
{
    const struct tool_kind *kind = kind_of(argv[0]);
    assert(kind != NULL); /* layer_tool_knows() it */
    struct tool t = {.signal_fd = -1};
    /* Of a node of our own. What fails is told once; who listens has no call that could fail. */
    const struct log_config log = {.level = kind->listens ? LOG_WARN : LOG_ERROR};
    signal(SIGPIPE, SIG_IGN); /* a reader or a Redis that is gone is an error of write() */
    bool wants_help = false;
    enum err err = tool_options_parse(&t.options, argc, argv, &kind->arity, &wants_help, &t.why);
    if (err == ERR_OK && wants_help)
        fputs(layer_tool_help(), stdout);
    if (err == ERR_OK && !wants_help)
        err = log_open(&log, &t.why);
    if (err == ERR_OK && !wants_help) {
        buf_init(&t.body, LAYER_BODY_MAX);
        buf_init(&t.line, LINE_MAX_BYTES);
        err = run_logged(&t, kind);
        buf_deinit(&t.body);
        buf_deinit(&t.line);
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
           "                               path of a file with it (CHANNELSD_LAYER_CONFIG); it "
           "names\n"
           "                               Redis (hosts) where no socket is given\n"
           "      --redis URL              short for a --layer-config with one host (REDIS_URL)\n"
           "      --timeout SECONDS        to wait for an answer; default 5\n"
           "      --count N                listen: end after N messages; default 0, never\n"
           "      --names                  listen: {\"channel\" or \"group\": ..., \"message\": "
           "...}\n"
           "\n"
           "In JSON, bytes are {\"__bytes__\": \"<base64>\"}. Exit status: 0 done, 1 the layer "
           "cannot\n"
           "be reached, or a signal came before --count messages, 2 wrong arguments, names or\n"
           "messages, 3 the channel is full.\n";
}
