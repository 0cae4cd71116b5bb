/* SPDX-License-Identifier: BSD-3-Clause */
#include "server/process/supervisor.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "core/log.h"
#include "core/mem.h"

enum {
    EARLY_MS = 10 * 1000, /* a worker that ends before that, or was never ready, died young */
    PAUSE_FIRST_MS = 250, /* before the second attempt; doubled for each further one */
    PAUSE_MAX_MS = 30 * 1000,
    CUT_OFF_MS = 1000, /* for the end of a worker that has lost a link */
    EXIT_FAILED = 1,
};

static struct worker_process *process_of(struct dlist *node)
{
    return CONTAINER_OF(node, struct worker_process, link);
}

static struct worker_process *find(struct supervisor *s, unsigned worker)
{
    for (struct dlist *n = s->processes.next; n != &s->processes; n = n->next)
        if (process_of(n)->number == worker)
            return process_of(n);
    return NULL;
}

/* ---- start of one worker ---- */

static void close_all(const int *fds, unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        close(fds[i]);
}

/* A pair for each edge: @ours and @theirs have room for edge_count descriptors. */
static enum err make_links(const struct supervisor *s, int *ours, int *theirs, struct err_text *why)
{
    for (unsigned i = 0; i < s->edge_count; i++) {
        int pair[2];
        if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) != 0) {
            const int errnum = errno;
            close_all(ours, i);
            close_all(theirs, i);
            return err_fail(why, err_from_errno(errnum), "socket pair for a worker: %s",
                            strerror(errnum));
        }
        ours[i] = pair[0];
        theirs[i] = pair[1];
    }
    return ERR_OK;
}

static const struct worker_process_ops process_ops;
static void on_cut_off_deadline(struct wheel_entry *entry);

static enum err spawn(struct supervisor_seat *seat, struct err_text *why)
{
    struct supervisor *s = seat->supervisor;
    int ours[256];
    int theirs[256];
    enum err err = make_links(s, ours, theirs, why);
    if (err != ERR_OK)
        return err;
    const struct worker_process_spec spec = {
        .options = s->options,
        .python = &s->python,
        .number = s->next_number++,
        .seat = seat->number,
        .link_count = s->edge_count,
        .child_fds = theirs,
    };
    err = worker_process_spawn(&seat->process, s->loop, &spec, &process_ops, why);
    close_all(theirs, s->edge_count);
    if (err != ERR_OK) {
        close_all(ours, s->edge_count);
        return err;
    }
    seat->process->ctx = seat;
    wheel_entry_init(&seat->process->cut_off_deadline, on_cut_off_deadline);
    dlist_append(&s->processes, &seat->process->link);
    for (unsigned i = 0; i < s->edge_count; i++)
        s->ops->attach(s->ctx, i, ours[i], spec.number);
    log_event(LOG_DEBUG, "worker.start", "worker=%u pid=%d", seat->number,
              seat->process->process.pid);
    return ERR_OK;
}

static void start_later(struct supervisor_seat *seat)
{
    struct supervisor *s = seat->supervisor;
    uint64_t pause_ms = 0;
    if (seat->early_deaths > 1) {
        const unsigned doublings = seat->early_deaths - 2 < 8 ? seat->early_deaths - 2 : 8;
        pause_ms = (uint64_t)PAUSE_FIRST_MS << doublings;
        pause_ms = pause_ms < PAUSE_MAX_MS ? pause_ms : PAUSE_MAX_MS;
        log_event(LOG_WARN, "worker.restart", "worker=%u wait_ms=%lu deaths=%u", seat->number,
                  (unsigned long)pause_ms, seat->early_deaths);
    }
    wheel_set(&s->loop->wheel, &seat->restart, loop_now_ms(s->loop) + pause_ms);
}

static void start(struct supervisor_seat *seat)
{
    struct supervisor *s = seat->supervisor;
    struct err_text why;
    if (s->is_finishing || spawn(seat, &why) == ERR_OK)
        return;
    log_event(LOG_ERROR, "worker.spawn", "worker=%u reason=\"%s\"", seat->number, why.text);
    if (!s->was_ready) {
        s->ops->failed(s->ctx, EXIT_FAILED);
        return;
    }
    seat->early_deaths +=
        seat->early_deaths == 0 ? 2 : 1; /* not at once again: it would fail likewise */
    start_later(seat);
}

static void on_restart(struct wheel_entry *entry)
{
    start(CONTAINER_OF(entry, struct supervisor_seat, restart));
}

/* ---- end of one worker ---- */

static void tell_finished(struct supervisor *s)
{
    if (!s->is_finishing || !dlist_is_empty(&s->processes))
        return;
    wheel_clear(&s->loop->wheel, &s->finish_deadline);
    for (struct dlist *n = s->ended.next; n != &s->ended; n = n->next)
        worker_process_close_output(process_of(n));
    s->ops->finished(s->ctx);
}

static void log_end(const struct worker_process *p, int code, int signum)
{
    if (signum != 0)
        log_event(LOG_ERROR, "worker.exit", "worker=%u pid=%d signal=%d (%s)", p->seat,
                  p->process.pid, signum, strsignal(signum));
    else
        log_event(LOG_ERROR, "worker.exit", "worker=%u pid=%d code=%d", p->seat, p->process.pid,
                  code);
}

static void on_exited(struct worker_process *p, int code, int signum)
{
    struct supervisor_seat *seat = p->ctx;
    struct supervisor *s = seat->supervisor;
    seat->process = NULL;
    wheel_clear(&s->loop->wheel, &p->cut_off_deadline);
    dlist_append(&s->ended, &p->link);
    s->ops->detach(s->ctx, p->number);
    if (s->is_finishing) {
        const bool is_ours = s->is_killing && signum == SIGKILL;
        if (!is_ours && (code != 0 || signum != 0))
            log_end(p, code, signum);
        tell_finished(s);
        return;
    }
    log_end(p, code, signum);
    if (!s->was_ready) {
        s->ops->failed(s->ctx, EXIT_FAILED);
        return;
    }
    const bool young = !p->is_ready || loop_now_ms(s->loop) - p->started_ms < EARLY_MS;
    seat->early_deaths = young ? seat->early_deaths + 1 : 0;
    start_later(seat);
}

static const struct worker_process_ops process_ops = {on_exited};

/* ---- from the edges ---- */

static void check_all_ready(struct supervisor *s)
{
    for (unsigned i = 0; i < s->options->workers; i++)
        if (s->seats[i].process == NULL || !s->seats[i].process->is_ready)
            return;
    if (s->was_ready)
        return;
    s->was_ready = true;
    s->ops->ready(s->ctx);
}

void supervisor_link_ready(struct supervisor *s, unsigned worker)
{
    struct worker_process *p = find(s, worker);
    if (p == NULL || ++p->ready_links < s->edge_count)
        return;
    p->is_ready = true;
    log_event(LOG_INFO, "worker.ready", "worker=%u pid=%d start_ms=%lu", p->seat, p->process.pid,
              (unsigned long)(loop_now_ms(s->loop) - p->started_ms));
    check_all_ready(s);
}

void supervisor_link_lost(struct supervisor *s, unsigned worker, const char *why)
{
    struct worker_process *p = find(s, worker);
    if (p == NULL || s->is_finishing)
        return;
    log_event(LOG_DEBUG, "link.lost", "worker=%u reason=\"%s\"", p->seat, why);
    if (p->is_cut_off)
        return;
    /* Usually its end is on the way, with an exit code and last words. With one link gone it is of
     * no use on the others either: its clients there hear of it now, and it sees the end of its
     * links. */
    p->is_cut_off = true;
    s->ops->detach(s->ctx, worker);
    wheel_set(&s->loop->wheel, &p->cut_off_deadline, loop_now_ms(s->loop) + CUT_OFF_MS);
}

static void on_cut_off_deadline(struct wheel_entry *entry)
{
    struct worker_process *p = CONTAINER_OF(entry, struct worker_process, cut_off_deadline);
    log_event(LOG_WARN, "worker.kill", "worker=%u pid=%d reason=\"its link is lost\"", p->seat,
              p->process.pid);
    worker_process_kill(p, SIGKILL);
}

void supervisor_hung(struct supervisor *s, unsigned worker)
{
    struct worker_process *p = find(s, worker);
    if (p == NULL)
        return;
    log_event(LOG_ERROR, "worker.hung", "worker=%u pid=%d timeout_ms=%ld", p->seat, p->process.pid,
              (long)s->options->worker_timeout_ms);
    worker_process_kill(p, SIGKILL);
}

/* ---- life ---- */

static void on_finish_deadline(struct wheel_entry *entry)
{
    struct supervisor *s = CONTAINER_OF(entry, struct supervisor, finish_deadline);
    log_event(LOG_WARN, "worker.kill", "reason=\"did not end in time\"");
    supervisor_kill_all(s);
}

enum err supervisor_init(struct supervisor *s, struct loop *loop, const struct options *options,
                         unsigned edge_count, struct err_text *why)
{
    *s = (struct supervisor){
        .loop = loop, .options = options, .edge_count = edge_count, .next_number = 1};
    dlist_init(&s->processes);
    dlist_init(&s->ended);
    wheel_entry_init(&s->finish_deadline, on_finish_deadline);
    return python_find(&s->python, options->python, why);
}

void supervisor_deinit(struct supervisor *s)
{
    python_deinit(&s->python);
    mem_free(s->seats);
    s->seats = NULL;
}

void supervisor_start(struct supervisor *s, const struct supervisor_ops *ops, void *ctx)
{
    s->ops = ops;
    s->ctx = ctx;
    s->seats = mem_alloc(s->options->workers * sizeof(*s->seats));
    log_event(LOG_INFO, "worker.python", "path=%s found=\"%s\"", s->python.interpreter,
              s->python.origin);
    for (unsigned i = 0; i < s->options->workers; i++) {
        struct supervisor_seat *seat = &s->seats[i];
        seat->supervisor = s;
        seat->number = i;
        wheel_entry_init(&seat->restart, on_restart);
    }
    for (unsigned i = 0; i < s->options->workers; i++)
        start(&s->seats[i]); /* the first that cannot ends it for all */
}

void supervisor_kill_all(struct supervisor *s)
{
    s->is_killing = true;
    for (struct dlist *n = s->processes.next; n != &s->processes; n = n->next)
        worker_process_kill(process_of(n), SIGKILL);
}

void supervisor_finish(struct supervisor *s, uint64_t timeout_ms)
{
    s->is_finishing = true;
    for (unsigned i = 0; s->seats != NULL && i < s->options->workers; i++)
        wheel_clear(&s->loop->wheel, &s->seats[i].restart);
    wheel_set(&s->loop->wheel, &s->finish_deadline, loop_now_ms(s->loop) + timeout_ms);
    tell_finished(s);
}
