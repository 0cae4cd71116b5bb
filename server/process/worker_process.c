/* SPDX-License-Identifier: BSD-3-Clause */
#include "server/process/worker_process.h"

#include <assert.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "consumers/hosted/worker_load.h"
#include "core/log.h"
#include "core/mem.h"

enum {
    ARGS_MAX = 40,
    FIRST_LINK_FD = 3,
    LINKS_MAX = 256, /* as --edge-loops */
    NUMBER_MAX = 32,
};

/* argv[1] is the folder of the package, or empty. The working folder, which -c puts first on the
 * path, is taken off: the worker adds it when the package has been imported. */
static const char bootstrap[] =
    "import sys\n"
    "sys.path.pop(0)\n"
    "folder = sys.argv.pop(1)\n"
    "if folder:\n"
    "    sys.path.insert(0, folder)\n"
    "try:\n"
    "    from channelsd.worker import main\n"
    "except ImportError as error:\n"
    "    sys.exit(f\"channelsd: the Python package 'channelsd' cannot be imported by "
    "{sys.executable} ({error}): \"\n"
    "             \"install it there with pip, or name another interpreter with --python\")\n"
    "if folder:\n"
    "    sys.path.remove(folder)\n"
    "sys.exit(main())\n";

#define TO(phase) (1U << (phase))
static const unsigned worker_next[WORKER_PHASES] = {
    [WORKER_STARTING] = TO(WORKER_SERVING) | TO(WORKER_CUT_OFF),
    [WORKER_SERVING] = TO(WORKER_RETIRING) | TO(WORKER_CUT_OFF),
    [WORKER_RETIRING] = TO(WORKER_ENDING),
    [WORKER_ENDING] = 0,
    [WORKER_CUT_OFF] = 0,
};

void worker_process_move(struct worker_process *p, enum worker_phase next)
{
    assert((worker_next[p->phase] & TO(next)) != 0);
    p->phase = next;
}

/* ---- output ---- */

static void release(struct worker_process *p)
{
    if (--p->open_handles > 0)
        return;
    dlist_remove(&p->link);
    worker_load_unref(p->load);
    mem_free(p);
}

static void on_process_closed(uv_handle_t *handle)
{
    release(handle->data);
}

static void on_output_closed(struct worker_output *out)
{
    release(out->ctx);
}

void worker_process_close_output(struct worker_process *p)
{
    for (int i = 0; i < 2; i++)
        if (p->has_output[i])
            worker_output_close(&p->output[i]);
}

/* ---- start ---- */

struct command {
    char links[LINKS_MAX * 4];
    char close_timeout[NUMBER_MAX];
    char seat[NUMBER_MAX];
    char layer[NUMBER_MAX];
    char threads[NUMBER_MAX];
    char workers[NUMBER_MAX];
    char parent[NUMBER_MAX];
    char *args[ARGS_MAX];
};

static const char *level_name(int verbosity)
{
    return verbosity == 0 ? "WARNING" : verbosity == 1 ? "INFO" : "DEBUG";
}

/* argv of execvp() is not const; it does not write either. */
static char *arg(const char *text)
{
    union {
        const char *in;
        char *out;
    } cast = {.in = text};
    return cast.out;
}

static void make_command(struct command *out, const struct worker_process_spec *spec)
{
    const struct options *o = spec->options;
    size_t len = 0;
    for (unsigned i = 0; i < spec->link_count; i++)
        len += (size_t)snprintf(out->links + len, sizeof(out->links) - len, i == 0 ? "%u" : ",%u",
                                FIRST_LINK_FD + i);
    snprintf(out->close_timeout, sizeof(out->close_timeout), "%.3f",
             (double)o->application_close_timeout_ms / 1000.0);
    snprintf(out->seat, sizeof(out->seat), "%u", spec->seat);
    snprintf(out->layer, sizeof(out->layer), "%u", FIRST_LINK_FD + spec->link_count);
    snprintf(out->threads, sizeof(out->threads), "%u", o->threads);
    snprintf(out->workers, sizeof(out->workers), "%u", o->workers);
    snprintf(out->parent, sizeof(out->parent), "%d", (int)getpid());
    const char *const args[] = {
        spec->python->interpreter,
        "-c",
        bootstrap,
        spec->python->package_dir,
        "--links",
        out->links,
        "--layer",
        out->layer,
        "--application",
        o->application != NULL ? o->application : "",
        "--application-close-timeout",
        out->close_timeout,
        "--log-fmt",
        o->log_format,
        "--log-level",
        level_name(o->verbosity),
        "--loop",
        o->loop,
        "--accelerate",
        o->accelerate,
        "--threads",
        out->threads,
        "--workers",
        out->workers,
        "--index",
        out->seat,
        "--parent",
        out->parent,
        NULL,
    };
    size_t count = 0;
    for (; args[count] != NULL; count++)
        out->args[count] = arg(args[count]);
    if (o->adopts_layer)
        out->args[count++] = arg("--adopt-layer");
    if (o->channels != NULL) {
        out->args[count++] = arg("--channels");
        out->args[count++] = arg(o->channels);
        out->args[count++] = arg("--layer-alias");
        out->args[count++] = arg(o->layer_alias);
    }
    if (o->verbosity >= 3)
        out->args[count++] = arg("--debug");
    out->args[count] = NULL;
}

/* A terminal is handed on, so that colours and breakpoints work; anything else is relayed. */
static void plan_output(struct worker_process *p, uv_stdio_container_t *stdio)
{
    stdio[0] = (uv_stdio_container_t){.flags = UV_INHERIT_FD, .data.fd = 0};
    for (int i = 0; i < 2; i++) {
        if (isatty(i + 1)) {
            stdio[i + 1] = (uv_stdio_container_t){.flags = UV_INHERIT_FD, .data.fd = i + 1};
            continue;
        }
        worker_output_init(&p->output[i], p->loop, i + 1, on_output_closed);
        p->output[i].ctx = p;
        p->has_output[i] = true;
        p->open_handles++;
        stdio[i + 1] = (uv_stdio_container_t){.flags = UV_CREATE_PIPE | UV_WRITABLE_PIPE,
                                              .data.stream = (uv_stream_t *)&p->output[i].pipe};
    }
}

static void on_exit_status(uv_process_t *process, int64_t code, int signum)
{
    struct worker_process *p = process->data;
    dlist_remove(&p->link);
    for (int i = 0; i < 2; i++)
        if (p->has_output[i])
            worker_output_catch_up(&p->output[i]);
    uv_close((uv_handle_t *)process, on_process_closed);
    wheel_clear(&p->loop->wheel, &p->deadline);
    p->ops->exited(p, (int)code, signum);
}

enum err worker_process_spawn(struct worker_process **out, struct loop *loop,
                              const struct worker_process_spec *spec,
                              const struct worker_process_ops *ops, struct err_text *why)
{
    uv_stdio_container_t stdio[FIRST_LINK_FD + LINKS_MAX + 1];
    struct command command;
    struct worker_process *p = mem_alloc(sizeof(*p));
    p->loop = loop;
    p->ops = ops;
    p->number = spec->number;
    p->seat = spec->seat;
    p->load = worker_load_new(spec->max_clients);
    p->started_ms = loop_now_ms(loop);
    p->open_handles = 1;
    dlist_init(&p->link);
    make_command(&command, spec);
    plan_output(p, stdio);
    for (unsigned i = 0; i < spec->link_count; i++)
        stdio[FIRST_LINK_FD + i] =
            (uv_stdio_container_t){.flags = UV_INHERIT_FD, .data.fd = spec->child_fds[i]};
    stdio[FIRST_LINK_FD + spec->link_count] =
        (uv_stdio_container_t){.flags = UV_INHERIT_FD, .data.fd = spec->layer_fd};
    const uv_process_options_t options = {
        .exit_cb = on_exit_status,
        .file = spec->python->interpreter,
        .args = command.args,
        .stdio = stdio,
        .stdio_count = (int)(FIRST_LINK_FD + spec->link_count + 1),
    };
    p->process.data = p;
    const int rc = uv_spawn(&loop->uv, &p->process, &options);
    p->process.data = p;
    if (rc < 0) {
        worker_process_close_output(p);
        uv_close((uv_handle_t *)&p->process, on_process_closed);
        return err_fail(why, err_from_uv(rc), "%s: %s", spec->python->interpreter, uv_strerror(rc));
    }
    for (int i = 0; i < 2; i++)
        if (p->has_output[i])
            worker_output_start(&p->output[i]);
    *out = p;
    return ERR_OK;
}

void worker_process_kill(struct worker_process *p, int signum)
{
    p->is_killed = p->is_killed || signum == SIGKILL;
    (void)uv_process_kill(&p->process, signum); /* ESRCH: it has just ended; exited() follows */
}
