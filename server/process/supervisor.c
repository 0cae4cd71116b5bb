/* SPDX-License-Identifier: BSD-3-Clause */
#include "server/process/supervisor.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <uv.h>

#include "consumers/hosted/worker_load.h"
#include "core/log.h"
#include "core/mem.h"
#include "server/process/replacement.h"
#include "server/process/worker_memory.h"

enum {
    EARLY_MS = 10 * 1000, /* a worker that ends before that, or was never ready, died young */
    PAUSE_FIRST_MS = 250, /* before the second attempt; doubled for each further one */
    PAUSE_MAX_MS = 30 * 1000,
    CUT_OFF_MS = 1000,     /* for the end of a worker that has lost a link */
    ENDING_MS = 10 * 1000, /* for the end of one that was told to, behind its last link */
    FIRST_MS = 30 * 1000,  /* after which a first start is called slow, without --worker-timeout */
    START_FACTOR = 3,      /* a start may take so many times what the slowest one took */
    MEMORY_CHECK_MS = 1000,
    REQUESTS_JITTER = 10, /* --max-requests is less by up to that part of it */
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

/* For orphans. */
static bool has_pid(void *ctx, int pid)
{
    struct supervisor *s = ctx;
    for (struct dlist *n = s->processes.next; n != &s->processes; n = n->next)
        if (process_of(n)->process.pid == pid)
            return true;
    return false;
}

/* ---- start of one worker ---- */

static void close_all(const int *fds, unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        close(fds[i]);
}

/* A pair for each edge and one for the channel layer, the last: @ours and @theirs have room for
 * edge_count + 1 descriptors. */
static enum err make_links(const struct supervisor *s, int *ours, int *theirs, struct err_text *why)
{
    for (unsigned i = 0; i <= s->edge_count; i++) {
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
static void on_deadline(struct wheel_entry *entry);

/* How many clients the next worker should take; 0: any number. Less than asked by chance, so that
 * workers that began together do not end together. */
static uint64_t choose_max_clients(const struct supervisor *s)
{
    const uint64_t most = s->options->max_requests;
    const uint64_t jitter = most / REQUESTS_JITTER;
    uint32_t chance = 0;
    if (jitter > 0)
        (void)uv_random(NULL, NULL, &chance, sizeof(chance), 0, NULL); /* else none: no harm */
    return most - ((uint64_t)chance * (jitter + 1) >> 32);
}

/* How long a replacement may take to become ready; 0: for ever. */
static uint64_t start_limit_ms(const struct supervisor *s)
{
    const int64_t least_ms = s->options->worker_timeout_ms;
    const uint64_t usual_ms = s->slowest_start_ms * START_FACTOR;
    if (least_ms <= 0)
        return s->was_ready ? 0 : FIRST_MS;
    return usual_ms > (uint64_t)least_ms ? usual_ms : (uint64_t)least_ms;
}

static void set_start_deadline(struct supervisor *s, struct worker_process *p)
{
    const uint64_t limit_ms = start_limit_ms(s);
    if (limit_ms > 0)
        wheel_set(&s->loop->wheel, &p->deadline, loop_now_ms(s->loop) + limit_ms);
}

enum err supervisor_spawn(struct supervisor_seat *seat, struct worker_process **out,
                          struct err_text *why)
{
    struct supervisor *s = seat->supervisor;
    int ours[256 + 1];
    int theirs[256 + 1];
    enum err err = make_links(s, ours, theirs, why);
    if (err != ERR_OK)
        return err;
    struct worker_process *p = NULL;
    const struct worker_process_spec spec = {
        .options = s->options,
        .python = &s->python,
        .number = s->next_number++,
        .seat = seat->number,
        .max_clients = choose_max_clients(s),
        .link_count = s->edge_count,
        .child_fds = theirs,
        .layer_fd = theirs[s->edge_count],
    };
    err = worker_process_spawn(&p, s->loop, &spec, &process_ops, why);
    close_all(theirs, s->edge_count + 1);
    if (err != ERR_OK) {
        close_all(ours, s->edge_count + 1);
        return err;
    }
    p->ctx = seat;
    wheel_entry_init(&p->deadline, on_deadline);
    set_start_deadline(s, p);
    dlist_append(&s->processes, &p->link);
    for (unsigned i = 0; i < s->edge_count; i++)
        s->ops->attach(s->ctx, i, ours[i], spec.number, worker_load_ref(p->load));
    s->ops->attach_layer(s->ctx, ours[s->edge_count], spec.number);
    log_event(LOG_DEBUG, "worker.start", "worker=%u pid=%d", seat->number, p->process.pid);
    *out = p;
    return ERR_OK;
}

void supervisor_start_later(struct supervisor_seat *seat)
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
    if (s->is_finishing || supervisor_spawn(seat, &seat->process, &why) == ERR_OK)
        return;
    log_event(LOG_ERROR, "worker.spawn", "worker=%u reason=\"%s\"", seat->number, why.text);
    if (!s->was_ready) {
        s->ops->failed(s->ctx, EXIT_FAILED);
        return;
    }
    seat->early_deaths +=
        seat->early_deaths == 0 ? 2 : 1; /* not at once again: it would fail likewise */
    supervisor_start_later(seat);
}

static void on_restart(struct wheel_entry *entry)
{
    struct supervisor_seat *seat = CONTAINER_OF(entry, struct supervisor_seat, restart);
    if (seat->process == NULL)
        start(seat);
    else
        replacement_next(seat->supervisor);
}

/* ---- end of one worker ---- */

static void tell_finished(struct supervisor *s)
{
    if (!s->is_finishing || !dlist_is_empty(&s->processes))
        return;
    wheel_clear(&s->loop->wheel, &s->finish_deadline);
    orphans_close(&s->orphans);
    for (struct dlist *n = s->ended.next; n != &s->ended; n = n->next)
        worker_process_close_output(process_of(n));
    s->ops->finished(s->ctx);
}

void supervisor_log_end(enum log_level level, const struct worker_process *p, int code, int signum)
{
    if (signum != 0)
        log_event(level, "worker.exit", "worker=%u pid=%d signal=%d (%s)", p->seat, p->process.pid,
                  signum, strsignal(signum));
    else
        log_event(level, "worker.exit", "worker=%u pid=%d code=%d", p->seat, p->process.pid, code);
}

/* The process of a seat has ended by itself. */
static void handle_death(struct supervisor_seat *seat, const struct worker_process *p)
{
    struct supervisor *s = seat->supervisor;
    const bool young = p->ready_ms == 0 || loop_now_ms(s->loop) - p->started_ms < EARLY_MS;
    seat->early_deaths = young ? seat->early_deaths + 1 : 0;
    if (!replacement_inherit(seat))
        supervisor_start_later(seat);
    replacement_next(s);
}

static void on_exited(struct worker_process *p, int code, int signum)
{
    struct supervisor_seat *seat = p->ctx;
    struct supervisor *s = seat->supervisor;
    if (seat->process == p)
        seat->process = NULL;
    dlist_append(&s->ended, &p->link);
    s->ops->detach(s->ctx, p->number);
    if (s->is_finishing) {
        const bool is_ours = p->is_killed && signum == SIGKILL;
        if (!is_ours && (code != 0 || signum != 0))
            supervisor_log_end(LOG_ERROR, p, code, signum);
        tell_finished(s);
        return;
    }
    if (replacement_ended(s, p, code, signum))
        return;
    supervisor_log_end(LOG_ERROR, p, code, signum);
    if (s->was_ready)
        handle_death(seat, p);
    else
        s->ops->failed(s->ctx, EXIT_FAILED);
}

static const struct worker_process_ops process_ops = {on_exited};

/* ---- from the edges ---- */

static void check_all_ready(struct supervisor *s)
{
    for (unsigned i = 0; i < s->options->workers; i++)
        if (s->seats[i].process == NULL || s->seats[i].process->ready_ms == 0)
            return;
    if (s->was_ready)
        return;
    s->was_ready = true;
    s->ops->ready(s->ctx);
}

void supervisor_link_ready(struct supervisor *s, unsigned worker)
{
    struct worker_process *p = find(s, worker);
    if (p == NULL || p->phase != WORKER_STARTING || ++p->ready_links < s->edge_count)
        return;
    worker_process_move(p, WORKER_SERVING);
    wheel_clear(&s->loop->wheel, &p->deadline);
    p->ready_ms = loop_now_ms(s->loop);
    const uint64_t start_ms = p->ready_ms - p->started_ms;
    if (start_ms > s->slowest_start_ms)
        s->slowest_start_ms = start_ms;
    log_event(LOG_INFO, "worker.ready", "worker=%u pid=%d start_ms=%lu", p->seat, p->process.pid,
              (unsigned long)start_ms);
    if (replacement_ready(s, p))
        return;
    check_all_ready(s);
    replacement_next(s);
}

void supervisor_link_lost(struct supervisor *s, unsigned worker, const char *why)
{
    struct worker_process *p = find(s, worker);
    if (p == NULL || s->is_finishing || p->phase == WORKER_CUT_OFF || p->phase == WORKER_ENDING)
        return;
    log_event(LOG_DEBUG, "link.lost", "worker=%u reason=\"%s\"", p->seat, why);
    /* Usually its end is on the way, with an exit code and last words. With one link gone it is of
     * no use on the others either: its clients there hear of it now, and it sees the end of its
     * links. */
    const bool is_retired = p->phase == WORKER_RETIRING;
    worker_process_move(p, is_retired ? WORKER_ENDING : WORKER_CUT_OFF);
    s->ops->detach(s->ctx, worker);
    wheel_set(&s->loop->wheel, &p->deadline,
              loop_now_ms(s->loop) + (is_retired ? ENDING_MS : CUT_OFF_MS));
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

void supervisor_worn(struct supervisor *s, unsigned worker)
{
    struct worker_process *p = find(s, worker);
    struct supervisor_seat *seat = p != NULL ? p->ctx : NULL;
    if (seat != NULL && seat->process == p)
        replacement_want(seat, WISH_WORN);
}

/* ---- what takes too long ---- */

static void kill_for(struct worker_process *p, const char *reason)
{
    log_event(LOG_WARN, "worker.kill", "worker=%u pid=%d reason=\"%s\"", p->seat, p->process.pid,
              reason);
    worker_process_kill(p, SIGKILL);
}

/* A first start is the operator's to judge; a replacement is tried again. */
static void handle_slow_start(struct supervisor *s, struct worker_process *p)
{
    if (s->was_ready) {
        kill_for(p, "it did not become ready: the import or the lifespan startup hangs");
        return;
    }
    log_event(
        LOG_WARN, "worker.slow_start",
        "worker=%u pid=%d waited_ms=%lu reason=\"still in the import of the application or in "
        "its lifespan startup\"",
        p->seat, p->process.pid, (unsigned long)(loop_now_ms(s->loop) - p->started_ms));
    set_start_deadline(s, p);
}

static void on_deadline(struct wheel_entry *entry)
{
    struct worker_process *p = CONTAINER_OF(entry, struct worker_process, deadline);
    const struct supervisor_seat *seat = p->ctx;
    switch (p->phase) {
    case WORKER_STARTING:
        handle_slow_start(seat->supervisor, p);
        return;
    case WORKER_RETIRING:
    case WORKER_ENDING:
        kill_for(p, "it was replaced and did not end in time");
        return;
    case WORKER_CUT_OFF:
        kill_for(p, "its link is lost");
        return;
    case WORKER_SERVING:
    case WORKER_PHASES:
        return; /* no deadline */
    }
}

/* ---- memory ---- */

static void check_memory(struct supervisor *s, struct worker_process *p)
{
    struct supervisor_seat *seat = p->ctx;
    const uint64_t limit_bytes = s->options->worker_memory_limit_bytes;
    uint64_t bytes = 0;
    if (worker_memory_read(&bytes, p->process.pid) != ERR_OK || bytes <= limit_bytes)
        return; /* one that cannot be read has just ended */
    const bool is_wished = (seat->wishes & WISH_MEMORY) != 0;
    const bool is_far_over = bytes / 2 > limit_bytes;
    if (!is_far_over && (seat->process != p || p->phase != WORKER_SERVING || is_wished))
        return;
    log_event(LOG_WARN, "worker.memory", "worker=%u pid=%d resident_bytes=%lu limit_bytes=%lu",
              p->seat, p->process.pid, (unsigned long)bytes, (unsigned long)limit_bytes);
    if (is_far_over) {
        kill_for(p, "it has more than twice the memory that it may have");
        return;
    }
    /* One that is too large soon after its start would be replaced for ever. */
    seat->early_deaths = loop_now_ms(s->loop) - p->ready_ms < EARLY_MS ? seat->early_deaths + 1 : 0;
    seat->wishes |= WISH_MEMORY;
    supervisor_start_later(seat);
}

static void on_memory_check(struct wheel_entry *entry)
{
    struct supervisor *s = CONTAINER_OF(entry, struct supervisor, memory_check);
    for (struct dlist *n = s->processes.next; n != &s->processes; n = n->next)
        check_memory(s, process_of(n));
    wheel_set(&s->loop->wheel, &s->memory_check, loop_now_ms(s->loop) + MEMORY_CHECK_MS);
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
    wheel_entry_init(&s->memory_check, on_memory_check);
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
    orphans_open(&s->orphans, s->loop, has_pid, s);
    log_event(LOG_INFO, "worker.python", "path=%s found=\"%s\"", s->python.interpreter,
              s->python.origin);
    for (unsigned i = 0; i < s->options->workers; i++) {
        struct supervisor_seat *seat = &s->seats[i];
        seat->supervisor = s;
        seat->number = i;
        wheel_entry_init(&seat->restart, on_restart);
    }
    if (s->options->worker_memory_limit_bytes > 0)
        wheel_set(&s->loop->wheel, &s->memory_check, loop_now_ms(s->loop) + MEMORY_CHECK_MS);
    for (unsigned i = 0; i < s->options->workers; i++)
        start(&s->seats[i]); /* the first that cannot ends it for all */
}

void supervisor_kill_all(struct supervisor *s)
{
    for (struct dlist *n = s->processes.next; n != &s->processes; n = n->next)
        worker_process_kill(process_of(n), SIGKILL);
}

void supervisor_finish(struct supervisor *s, uint64_t timeout_ms)
{
    s->is_finishing = s->is_ending = true;
    wheel_clear(&s->loop->wheel, &s->memory_check);
    for (unsigned i = 0; s->seats != NULL && i < s->options->workers; i++)
        wheel_clear(&s->loop->wheel, &s->seats[i].restart);
    wheel_set(&s->loop->wheel, &s->finish_deadline, loop_now_ms(s->loop) + timeout_ms);
    tell_finished(s);
}
