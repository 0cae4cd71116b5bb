/* SPDX-License-Identifier: BSD-3-Clause */
#include "server/app.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include <uv.h>

#include "core/log.h"
#include "core/loop.h"
#include "core/mem.h"
#include "server/http/http_exchange.h"
#include "server/process/file_limit.h"
#include "server/process/layer_socket.h"
#include "server/process/layer_thread.h"
#include "server/process/replacement.h"
#include "server/process/signals.h"
#include "server/process/start_log.h"
#include "server/process/supervisor.h"
#include "server/process/terminal.h"
#include "server/transport/admission.h"
#include "server/transport/edge.h"
#include "server/transport/listener.h"

enum {
    EXIT_OK = 0,
    EXIT_FAILED = 1,
    HOST_MAX = 64,
    WORKER_GRACE_MS = 5 * 1000, /* for the workers' own end, when their applications have ended */
    APPLICATION_GRACE_MS =
        500, /* applications have that at least, to see that their clients left */
    SAME_SIGNAL_MS = 300,
    CUT_MS = 1000, /* for a worker's end when somebody is in a hurry */
};

enum app_state {
    APP_STARTING,  /* workers import the application */
    APP_SERVING,   /* listening */
    APP_DRAINING,  /* no listeners; connections end */
    APP_FINISHING, /* workers end */
    APP_STOPPING,  /* edges end */
    APP_STATES
};

struct app_edge {
    struct edge edge;
    uv_thread_t thread;
    struct app *app;
    int tcp_fd;
    int unix_fd;
    bool is_running;
    bool is_drained;
};

struct app {
    const struct options *options;
    enum app_state state;
    int exit_code;
    struct loop loop;
    struct supervisor supervisor;
    struct edge_config config;
    struct admission admission;
    struct app_edge *edges;
    unsigned edge_count;
    struct terminal terminal;
    struct signals signals;
    struct wheel_entry drain_deadline;
    uint64_t drain_until_ms;
    uint64_t signal_ms; /* when the last signal came, 0: none yet */
    char tcp_host[HOST_MAX];
    uint16_t tcp_port;
    int unix_fd; /* keeps unix_socket from being taken for another one */
    struct node_socket unix_socket;
    unsigned listening; /* listeners that are open */
    struct layer_thread layer;
    int layer_fd; /* bound; -1: none, or the thread has it */
    struct node_socket layer_socket;
    bool has_layer_socket; /* and its path is to be taken away */
};

#define TO(state) (1U << (state))
static const unsigned app_next[APP_STATES] = {
    [APP_STARTING] = TO(APP_SERVING) | TO(APP_FINISHING),
    [APP_SERVING] = TO(APP_DRAINING),
    [APP_DRAINING] = TO(APP_FINISHING),
    [APP_FINISHING] = TO(APP_STOPPING),
    [APP_STOPPING] = 0,
};

static void stop_edges(struct app *a)
{
    for (unsigned i = 0; i < a->edge_count; i++)
        if (a->edges[i].is_running)
            edge_post_stop(&a->edges[i].edge);
    for (unsigned i = 0; i < a->edge_count; i++)
        if (a->edges[i].is_running)
            uv_thread_join(&a->edges[i].thread);
}

/* False when the program is past that already. */
static bool app_move(struct app *a, enum app_state next)
{
    if ((app_next[a->state] & TO(next)) == 0)
        return false;
    a->state = next;
    return true;
}

/* ---- end, step by step ---- */

/* Before the socket closes: by its number alone another one could be taken for it later. */
static void unlink_layer(struct app *a)
{
    if (a->has_layer_socket)
        node_socket_unlink(&a->layer_socket);
    a->has_layer_socket = false;
}

static void on_supervisor_finished(void *ctx)
{
    struct app *a = ctx;
    if (!app_move(a, APP_STOPPING))
        return;
    stop_edges(a); /* before our mailbox closes: they report to it */
    unlink_layer(a);
    layer_thread_stop(&a->layer); /* behind the workers: what they were in is left in Redis, too */
    signals_close(&a->signals);
    wheel_clear(&a->loop.wheel, &a->drain_deadline);
    loop_close_handles(&a->loop);
}

/* @grace_ms for the applications, @rest_ms on top for the end of the workers themselves. */
static void finish_workers(struct app *a, uint64_t grace_ms, uint64_t rest_ms)
{
    if (!app_move(a, APP_FINISHING))
        return;
    wheel_clear(&a->loop.wheel, &a->drain_deadline);
    for (unsigned i = 0; i < a->edge_count; i++)
        edge_post_finish_workers(&a->edges[i].edge, grace_ms);
    supervisor_finish(&a->supervisor, grace_ms + rest_ms);
}

/* What is left of the graceful timeout is the applications'. */
static void finish_orderly(struct app *a)
{
    const uint64_t now_ms = loop_now_ms(&a->loop);
    const uint64_t most_ms = (uint64_t)a->options->application_close_timeout_ms;
    uint64_t grace_ms = a->drain_until_ms > now_ms ? a->drain_until_ms - now_ms : 0;
    if (grace_ms < APPLICATION_GRACE_MS)
        grace_ms = APPLICATION_GRACE_MS;
    finish_workers(a, grace_ms < most_ms ? grace_ms : most_ms, WORKER_GRACE_MS);
}

static void on_drain_deadline(struct wheel_entry *entry)
{
    struct app *a = CONTAINER_OF(entry, struct app, drain_deadline);
    log_event(LOG_WARN, "app.drain",
              "reason=\"connections left after the graceful timeout were cut\"");
    finish_orderly(a);
}

static void close_fd(int *fd)
{
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}

/* The path goes first, so that the next server can have it while this one ends. */
static void close_unix(struct app *a)
{
    if (a->unix_fd >= 0)
        node_socket_unlink(&a->unix_socket);
    close_fd(&a->unix_fd);
}

static void drain(struct app *a)
{
    if (!app_move(a, APP_DRAINING))
        return;
    log_line(LOG_INFO,
             "Shutting down: no new connections, waiting up to %ld s for those that are open",
             (long)(a->options->graceful_timeout_ms / 1000));
    close_unix(a);
    replacement_stop(&a->supervisor);
    for (unsigned i = 0; i < a->edge_count; i++)
        edge_post_drain(&a->edges[i].edge);
    a->drain_until_ms = loop_now_ms(&a->loop) + (uint64_t)a->options->graceful_timeout_ms;
    wheel_set(&a->loop.wheel, &a->drain_deadline, a->drain_until_ms);
}

static void end_by_signal(struct app *a, const char *name)
{
    const uint64_t now_ms = loop_now_ms(&a->loop);
    /* timeout(1) and process groups deliver the same wish twice; only a later one is a new wish. */
    if (a->signal_ms != 0 && now_ms - a->signal_ms < SAME_SIGNAL_MS)
        return;
    a->signal_ms = now_ms;
    log_event(LOG_INFO, "app.signal", "signal=%s", name);
    switch (a->state) {
    case APP_STARTING: /* nobody is connected; the workers may be busy importing */
        finish_workers(a, 0, 0);
        supervisor_kill_all(&a->supervisor);
        return;
    case APP_SERVING:
        drain(a);
        return;
    case APP_DRAINING:
        finish_workers(a, 0, CUT_MS);
        return;
    case APP_FINISHING:
        supervisor_kill_all(&a->supervisor);
        return;
    case APP_STOPPING:
    case APP_STATES:
        return;
    }
}

static void reload_by_signal(struct app *a)
{
    const bool is_serving = a->state == APP_STARTING || a->state == APP_SERVING;
    log_event(LOG_INFO, "app.signal", "signal=SIGHUP%s",
              is_serving ? "" : " reason=\"the server ends\"");
    if (is_serving)
        replacement_reload(&a->supervisor);
}

static void on_signal(uv_signal_t *handle, int signum)
{
    struct app *a = handle->data;
    if (signum == SIGTERM)
        end_by_signal(a, "SIGTERM");
    else if (signum == SIGINT)
        end_by_signal(a, "SIGINT");
    else if (terminal_is_gone(&a->terminal))
        end_by_signal(a, "SIGHUP reason=\"the terminal is gone\"");
    else
        reload_by_signal(a);
}

/* ---- supervisor's callbacks ---- */

static void on_attach(void *ctx, unsigned edge, int fd, unsigned worker, struct worker_load *load)
{
    struct app *a = ctx;
    edge_post_attach(&a->edges[edge].edge, fd, worker, load);
}

static void on_attach_layer(void *ctx, int fd, unsigned worker)
{
    struct app *a = ctx;
    layer_thread_post_attach(&a->layer, fd, worker);
}

static void on_retire(void *ctx, unsigned worker)
{
    struct app *a = ctx;
    for (unsigned i = 0; i < a->edge_count; i++)
        edge_post_retire(&a->edges[i].edge, worker);
}

static void on_detach(void *ctx, unsigned worker)
{
    struct app *a = ctx;
    for (unsigned i = 0; i < a->edge_count; i++)
        edge_post_detach(&a->edges[i].edge, worker);
}

static void on_failed(void *ctx, int code)
{
    struct app *a = ctx;
    a->exit_code = code;
    finish_workers(a, 0, 0);
    supervisor_kill_all(&a->supervisor);
}

static void on_workers_ready(void *ctx)
{
    struct app *a = ctx;
    /* Bound and not listened on, it looks like what a dead server left. */
    if (a->unix_fd >= 0 && node_socket_is_gone(&a->unix_socket)) {
        log_line(LOG_CRITICAL, "Couldn't listen on %s: it was taken away or replaced meanwhile",
                 a->unix_socket.path);
        on_failed(a, EXIT_FAILED);
        return;
    }
    if (!app_move(a, APP_SERVING))
        return;
    for (unsigned i = 0; i < a->edge_count; i++) {
        struct app_edge *e = &a->edges[i];
        if (e->tcp_fd >= 0)
            edge_post_listen(&e->edge, e->tcp_fd, false);
        if (e->unix_fd >= 0)
            edge_post_listen(&e->edge, e->unix_fd, true);
        e->tcp_fd = e->unix_fd = -1;
    }
    if (a->options->channels != NULL) /* nothing is listened on */
        start_log_ready(a->options, "", 0);
}

static const struct supervisor_ops supervisor_ops = {
    .attach = on_attach,
    .attach_layer = on_attach_layer,
    .retire = on_retire,
    .detach = on_detach,
    .ready = on_workers_ready,
    .failed = on_failed,
    .finished = on_supervisor_finished,
};

/* ---- from the edges ---- */

enum report_kind {
    REPORT_READY,
    REPORT_LOST,
    REPORT_HUNG,
    REPORT_WORN,
    REPORT_DRAINED,
    REPORT_LISTENING,
    REPORT_BROKEN
};

struct report {
    struct mail mail;
    enum report_kind kind;
    unsigned edge;
    unsigned worker;
    const char *why; /* static text */
};

static void handle_drained(struct app *a, unsigned edge)
{
    a->edges[edge].is_drained = true;
    for (unsigned i = 0; i < a->edge_count; i++)
        if (!a->edges[i].is_drained)
            return;
    finish_orderly(a);
}

static void handle_listening(struct app *a)
{
    const unsigned kinds =
        (a->options->has_tcp ? 1U : 0U) + (a->options->unix_path != NULL ? 1U : 0U);
    if (++a->listening == a->edge_count * kinds)
        start_log_ready(a->options, a->tcp_host, a->tcp_port);
}

static void deliver_report(struct mail *mail, void *ctx)
{
    struct report *report = CONTAINER_OF(mail, struct report, mail);
    struct app *a = ctx;
    switch (report->kind) {
    case REPORT_READY:
        supervisor_link_ready(&a->supervisor, report->worker);
        break;
    case REPORT_LOST:
        supervisor_link_lost(&a->supervisor, report->worker, report->why);
        break;
    case REPORT_HUNG:
        supervisor_hung(&a->supervisor, report->worker);
        break;
    case REPORT_WORN:
        supervisor_worn(&a->supervisor, report->worker);
        break;
    case REPORT_DRAINED:
        handle_drained(a, report->edge);
        break;
    case REPORT_LISTENING:
        handle_listening(a);
        break;
    case REPORT_BROKEN:
        a->exit_code = EXIT_FAILED;
        drain(a);
        break;
    }
    mem_free(report);
}

static void post_report(void *owner, struct report report)
{
    struct app *a = owner;
    struct report *copy = mem_alloc(sizeof(*copy));
    *copy = report;
    copy->mail.deliver = deliver_report;
    loop_post(&a->loop, &copy->mail);
}

static void report_ready(void *owner, unsigned edge, unsigned worker)
{
    post_report(owner, (struct report){.kind = REPORT_READY, .edge = edge, .worker = worker});
}

static void report_lost(void *owner, unsigned edge, unsigned worker, const char *why)
{
    post_report(owner,
                (struct report){.kind = REPORT_LOST, .edge = edge, .worker = worker, .why = why});
}

static void report_hung(void *owner, unsigned edge, unsigned worker)
{
    post_report(owner, (struct report){.kind = REPORT_HUNG, .edge = edge, .worker = worker});
}

static void report_worn(void *owner, unsigned edge, unsigned worker)
{
    post_report(owner, (struct report){.kind = REPORT_WORN, .edge = edge, .worker = worker});
}

static void report_drained(void *owner, unsigned edge)
{
    post_report(owner, (struct report){.kind = REPORT_DRAINED, .edge = edge});
}

static void report_listening(void *owner, unsigned edge, enum err err)
{
    post_report(owner, (struct report){.kind = err == ERR_OK ? REPORT_LISTENING : REPORT_BROKEN,
                                       .edge = edge});
}

static const struct edge_ops edge_ops = {
    .worker_ready = report_ready,
    .worker_lost = report_lost,
    .worker_hung = report_hung,
    .worker_worn = report_worn,
    .listening = report_listening,
    .drained = report_drained,
};

/* ---- begin ---- */

static void edge_thread(void *arg)
{
    struct app_edge *e = arg;
    edge_run(&e->edge);
}

static void open_admission(struct app *a)
{
    admission_init(&a->admission, file_limit_connections(a->options));
}

static enum err bind_listeners(struct app *a, struct err_text *why)
{
    const struct options *o = a->options;
    int fds[256];
    enum err err = ERR_OK;
    for (unsigned i = 0; i < a->edge_count; i++)
        a->edges[i].tcp_fd = a->edges[i].unix_fd = -1;
    if (o->has_tcp) {
        err = listener_bind_tcp(fds, a->edge_count, o->host, o->port, a->tcp_host,
                                sizeof(a->tcp_host), &a->tcp_port, why);
        for (unsigned i = 0; err == ERR_OK && i < a->edge_count; i++)
            a->edges[i].tcp_fd = fds[i];
    }
    if (err != ERR_OK || o->unix_path == NULL)
        return err;
    err = listener_bind_unix(&a->unix_socket, &a->unix_fd, o->unix_path, why);
    for (unsigned i = 0; err == ERR_OK && i < a->edge_count; i++) {
        a->edges[i].unix_fd = fcntl(a->unix_fd, F_DUPFD_CLOEXEC, 0);
        if (a->edges[i].unix_fd < 0)
            err = err_fail(why, err_from_errno(errno), "Couldn't listen on %s: %s", o->unix_path,
                           strerror(errno));
    }
    return err;
}

static enum err bind_layer(struct app *a, struct err_text *why)
{
    if (a->options->layer_socket == NULL)
        return ERR_OK;
    const enum err err =
        layer_socket_listen(&a->layer_socket, &a->layer_fd, a->options->layer_socket, why);
    a->has_layer_socket = err == ERR_OK;
    return err;
}

static enum err start_layer(struct app *a, struct err_text *why)
{
    const int fd = a->layer_fd;
    a->layer_fd = -1; /* the thread's now */
    return layer_thread_start(&a->layer, a->edge_count + 1, a->options->layer_config, fd, why);
}

static void make_config(struct app *a)
{
    const struct options *o = a->options;
    a->config = (struct edge_config){
        .options = o,
        .entry = &http_exchange_entry,
        .http = {.max_line_bytes = o->max_request_line_bytes,
                 .max_header_bytes = o->max_header_bytes,
                 .max_headers = o->max_header_count},
        .websocket = {.max_message_bytes = o->websocket_max_message_bytes,
                      .max_frame_bytes = o->websocket_max_frame_bytes},
        .proxy = {.addr = o->proxy_headers_host, .port = o->proxy_headers_port},
        .admission = &a->admission,
    };
}

static enum err open_edges(struct app *a, struct err_text *why)
{
    for (unsigned i = 0; i < a->edge_count; i++) {
        struct app_edge *e = &a->edges[i];
        enum err err = edge_open(&e->edge, i, &a->config, &edge_ops, a);
        if (err != ERR_OK)
            return err_fail(why, err, "event loop %u: %s", i, err_str(err));
        if (uv_thread_create(&e->thread, edge_thread, e) != 0)
            return err_fail(why, ERR_IO, "thread for event loop %u could not be started", i);
        e->is_running = true;
    }
    return ERR_OK;
}

static void close_listeners(struct app *a)
{
    for (unsigned i = 0; i < a->edge_count; i++) {
        close_fd(&a->edges[i].tcp_fd);
        close_fd(&a->edges[i].unix_fd);
    }
    close_unix(a);
    unlink_layer(a);
    close_fd(&a->layer_fd);
}

static void serve(struct app *a)
{
    static const int numbers[] = {SIGTERM, SIGINT, SIGHUP};
    wheel_entry_init(&a->drain_deadline, on_drain_deadline);
    terminal_look(&a->terminal);
    signals_open(&a->signals, &a->loop.uv, numbers, 3, on_signal, a);
    start_log_begin(a->options);
    supervisor_start(&a->supervisor, &supervisor_ops, a);
    loop_run(&a->loop);
}

static void deinit_edges(struct app *a)
{
    for (unsigned i = 0; i < a->edge_count; i++)
        if (a->edges[i].is_running)
            edge_deinit(&a->edges[i].edge);
}

int app_run(const struct options *options)
{
    struct app a = {
        .options = options, .edge_count = options->edge_loops, .unix_fd = -1, .layer_fd = -1};
    struct err_text why = {.code = ERR_OK};
    a.exit_code = EXIT_FAILED;
    a.edges = mem_alloc(a.edge_count * sizeof(*a.edges));
    open_admission(&a);
    make_config(&a);
    enum err err = bind_listeners(&a, &why);
    if (err == ERR_OK)
        err = bind_layer(&a, &why);
    if (err != ERR_OK)
        goto close_listeners;
    err = loop_open(&a.loop, a.edge_count, &a);
    if (err != ERR_OK) {
        err_fail(&why, err, "main event loop: %s", err_str(err));
        goto close_listeners;
    }
    err = supervisor_init(&a.supervisor, &a.loop, options, a.edge_count, &why);
    if (err == ERR_OK)
        err = start_layer(&a, &why);
    if (err == ERR_OK)
        err = open_edges(&a, &why);
    if (err == ERR_OK) {
        a.exit_code = EXIT_OK;
        serve(&a);
    } else {
        stop_edges(&a);
        unlink_layer(&a);
        layer_thread_stop(&a.layer);
        loop_close_handles(&a.loop);
        loop_run(&a.loop);
    }
    deinit_edges(&a);
    supervisor_deinit(&a.supervisor);
    loop_deinit(&a.loop);
close_listeners:
    if (err != ERR_OK)
        log_line(LOG_CRITICAL, "%s", why.text);
    close_listeners(&a);
    mem_free(a.edges);
    return a.exit_code;
}
