/* SPDX-License-Identifier: BSD-3-Clause */
#include "server/command/layer_serve.h"

#include <getopt.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <uv.h>

#include "channel_layer/node/node.h"
#include "core/log.h"
#include "core/loop.h"
#include "core/mem.h"
#include "server/layer_settings.h"
#include "server/process/file_limit.h"
#include "server/process/layer_socket.h"
#include "server/process/signals.h"

enum { EXIT_OK = 0, EXIT_FAILED = 1, EXIT_BAD = 2, LOG_CLOSE_MS = 1000 };

static const char usage[] =
    "usage: channelsd layer serve [--layer-socket PATH] [--layer-config SETTINGS]\n";
static const char help[] =
    "\n"
    "Carries the channel layer for the processes of this user, without a web server.\n"
    "\n"
    "      --layer-socket PATH      unix socket to listen on (CHANNELSD_LAYER_SOCKET); by\n"
    "                               default layer.sock in $XDG_RUNTIME_DIR/channelsd,\n"
    "                               /run/channelsd or /tmp/channelsd-<uid>, where others look\n"
    "                               for it\n"
    "      --layer-config SETTINGS  settings of the layer for processes that name none:\n"
    "                               JSON with the CONFIG keys of channels_redis, or the\n"
    "                               path of a file with it; a layer in memory by default\n"
    "                               (CHANNELSD_LAYER_CONFIG)\n"
    "  -v, --verbosity LEVEL        0 warnings only, 1 what happens, 2 details; default 1\n"
    "      --log-fmt FORMAT         format of the log on stderr, as Python's logging takes it\n"
    "  -h, --help                   print this help\n";

struct serve_options {
    const char *socket;
    const char *config;
    const char *log_format;
    enum log_level level;
    bool wants_help;
};

struct serve {
    struct loop loop;
    struct node *node;
    const struct node_socket *socket;
    struct signals signals;
    bool is_ending;
};

/* ---- the command line ---- */

static const char *from_env(const char *name)
{
    const char *value = getenv(name);
    return value != NULL && value[0] != '\0' ? value : NULL;
}

static enum err set_verbosity(struct serve_options *out, const char *value, struct err_text *why)
{
    static const enum log_level levels[] = {LOG_WARN, LOG_INFO, LOG_DEBUG, LOG_DEBUG};
    if (value[0] < '0' || value[0] > '3' || value[1] != '\0')
        return err_fail(why, ERR_INVALID, "--verbosity: \"%.100s\" is not 0, 1, 2 or 3", value);
    out->level = levels[value[0] - '0'];
    return ERR_OK;
}

static enum err parse(struct serve_options *out, int argc, char **argv, struct err_text *why)
{
    static const struct option longs[] = {
        {"layer-socket", required_argument, NULL, 's'},
        {"layer-config", required_argument, NULL, 'c'},
        {"log-fmt", required_argument, NULL, 'f'},
        {"verbosity", required_argument, NULL, 'v'},
        {"help", no_argument, NULL, 'h'},
        {NULL, 0, NULL, 0},
    };
    enum err err = ERR_OK;
    *out = (struct serve_options){
        .socket = from_env("CHANNELSD_LAYER_SOCKET"),
        .config = from_env("CHANNELSD_LAYER_CONFIG"),
        .level = LOG_INFO,
    };
    optind = 0; /* begins anew */
    for (int code = 0; err == ERR_OK && !out->wants_help && code != -1;) {
        code = getopt_long(argc, argv, ":hv:", longs, NULL);
        if (code == 's')
            out->socket = optarg;
        else if (code == 'c')
            out->config = optarg;
        else if (code == 'f')
            out->log_format = optarg;
        else if (code == 'v')
            err = set_verbosity(out, optarg, why);
        else if (code == 'h')
            out->wants_help = true;
        else if (code == ':')
            err = err_fail(why, ERR_INVALID, "%.100s: the value is missing", argv[optind - 1]);
        else if (code == '?')
            err = err_fail(why, ERR_INVALID, "unknown option \"%.100s\"", argv[optind - 1]);
    }
    if (err != ERR_OK || out->wants_help)
        return err;
    if (optind < argc)
        return err_fail(why, ERR_INVALID, "extra argument \"%.100s\"", argv[optind]);
    if (out->socket != NULL && out->socket[0] == '\0')
        return err_fail(why, ERR_INVALID, "--layer-socket: expected a path");
    return ERR_OK;
}

/* ---- the loop ---- */

static void on_node_closed(void *ctx)
{
    struct serve *s = ctx;
    loop_close_handles(&s->loop);
}

static void end(struct serve *s)
{
    if (s->is_ending)
        return;
    s->is_ending = true;
    node_socket_unlink(s->socket);
    signals_close(&s->signals);
    node_close(s->node, on_node_closed, s);
}

static void on_signal(uv_signal_t *handle, int signum)
{
    log_event(LOG_INFO, "app.signal", "signal=%s", signum == SIGTERM ? "SIGTERM" : "SIGINT");
    end(handle->data);
}

/* Takes @fd. */
static enum err run_node(const char *settings, int fd, const struct node_socket *socket,
                         struct err_text *why)
{
    static const int numbers[] = {SIGTERM, SIGINT};
    struct serve s = {.socket = socket};
    enum err err = loop_open(&s.loop, 0, &s);
    if (err != ERR_OK) {
        node_socket_unlink(socket);
        close(fd);
        return err_fail(why, err, "event loop: %s", err_str(err));
    }
    const struct slice json = settings != NULL ? slice_str(settings) : (struct slice){0};
    err = node_open(&s.node, &s.loop, json, why);
    if (err != ERR_OK) {
        node_socket_unlink(socket);
        close(fd);
        loop_close_handles(&s.loop);
    } else {
        signals_open(&s.signals, &s.loop.uv, numbers, 2, on_signal, &s);
        err = node_listen(s.node, fd);
        if (err != ERR_OK) {
            err_fail(why, err, "%s: %s", socket->path, err_str(err));
            end(&s);
        } else {
            log_line(LOG_INFO, "Serving the channel layer on unix socket %s", socket->path);
        }
    }
    loop_run(&s.loop);
    loop_deinit(&s.loop);
    return err;
}

static enum err serve(const struct serve_options *options, const char *settings,
                      struct err_text *why)
{
    struct node_socket socket;
    int fd = -1;
    const enum err err = layer_socket_listen(&socket, &fd, options->socket, why);
    return err == ERR_OK ? run_node(settings, fd, &socket, why) : err;
}

/* The log is open. */
static int serve_logged(const struct serve_options *options, const char *settings)
{
    struct err_text why = {.code = ERR_OK};
    (void)file_limit_raise(); /* what it says of peers depends on it */
    signal(SIGPIPE, SIG_IGN); /* a peer that is gone is an error of write() */
    if (serve(options, settings, &why) == ERR_OK)
        return EXIT_OK;
    log_line(LOG_CRITICAL, "%s", why.text);
    return EXIT_FAILED;
}

int layer_serve_run(int argc, char **argv)
{
    struct serve_options options;
    struct err_text why = {.code = ERR_OK};
    struct err_text inner = {.code = ERR_OK};
    char *settings = NULL;
    enum err err = parse(&options, argc, argv, &why);
    if (err == ERR_OK && options.wants_help) {
        fputs(usage, stdout);
        fputs(help, stdout);
        return EXIT_OK;
    }
    if (err == ERR_OK && options.config != NULL) {
        err = layer_settings_load(&settings, options.config, &inner);
        if (err != ERR_OK)
            err_fail(&why, err, "--layer-config: %.400s", inner.text);
    }
    const struct log_config log = {.level = options.level, .format = options.log_format};
    if (err == ERR_OK)
        err = log_open(&log, &why);
    if (err != ERR_OK) {
        fprintf(stderr, "channelsd: %s\n%s", why.text, usage);
        return EXIT_BAD;
    }
    const int code = serve_logged(&options, settings);
    log_close(LOG_CLOSE_MS);
    mem_free(settings);
    return code;
}
