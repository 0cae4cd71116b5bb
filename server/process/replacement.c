/* SPDX-License-Identifier: BSD-3-Clause */
#include "server/process/replacement.h"

#include <signal.h>

#include "core/log.h"

enum {
    /* For the end of a retired worker, beyond the time that its clients and applications have: its
     * lifespan's shutdown and the threads of the application. */
    RETIRED_MS = 15 * 1000,
};

static const char *reason_of(unsigned wishes)
{
    if (wishes & WISH_RELOAD)
        return "SIGHUP";
    return wishes & WISH_MEMORY ? "--worker-memory-limit" : "--max-requests";
}

static bool has_wish(const struct supervisor *s, unsigned wish)
{
    for (unsigned i = 0; i < s->options->workers; i++)
        if (s->seats[i].wishes & wish)
            return true;
    return false;
}

/* ---- rounds ---- */

static void begin_round(struct supervisor *s)
{
    s->replacement.is_round = true;
    s->replacement.is_round_wanted = false;
    s->replacement.replaced = 0;
    for (unsigned i = 0; i < s->options->workers; i++) {
        struct supervisor_seat *seat = &s->seats[i];
        if (seat->process != NULL)
            seat->wishes |= WISH_RELOAD;
        else /* the next one there is fresh anyway, and may be mended: no pause any more */
            wheel_set(&s->loop->wheel, &seat->restart, loop_now_ms(s->loop));
    }
}

static void end_round_when_done(struct supervisor *s)
{
    if (!s->replacement.is_round || s->replacement.seat != NULL || has_wish(s, WISH_RELOAD))
        return;
    s->replacement.is_round = false;
    log_event(LOG_INFO, "worker.reload", "workers=%u replaced=%u", s->options->workers,
              s->replacement.replaced);
}

static void stop_round(struct supervisor *s)
{
    s->replacement.is_round = false;
    for (unsigned i = 0; i < s->options->workers; i++)
        s->seats[i].wishes &= ~(unsigned)WISH_RELOAD;
    log_event(LOG_ERROR, "worker.reload",
              "reason=\"a new worker could not be started: those that serve go on\"");
}

void replacement_reload(struct supervisor *s)
{
    s->replacement.is_round_wanted = true;
    replacement_next(s);
}

/* ---- one seat ---- */

void replacement_want(struct supervisor_seat *seat, enum seat_wish wish)
{
    seat->wishes |= wish;
    replacement_next(seat->supervisor);
}

/* The fresh worker could not be started, or ended before it was ready. */
static void handle_failure(struct supervisor_seat *seat)
{
    struct supervisor *s = seat->supervisor;
    s->replacement.seat = NULL;
    if (seat->wishes & WISH_RELOAD)
        stop_round(s);
    if (seat->wishes != 0) {
        seat->early_deaths += seat->early_deaths == 0 ? 2 : 1; /* never again at once */
        supervisor_start_later(seat);
    }
    replacement_next(s);
}

static struct supervisor_seat *find_seat(struct supervisor *s)
{
    for (unsigned i = 0; i < s->options->workers; i++) {
        struct supervisor_seat *seat = &s->seats[i];
        if (seat->wishes != 0 && seat->process != NULL && seat->process->phase == WORKER_SERVING &&
            !wheel_entry_is_set(&seat->restart))
            return seat;
    }
    return NULL;
}

void replacement_next(struct supervisor *s)
{
    struct err_text why;
    if (!s->was_ready || s->is_ending || s->replacement.seat != NULL)
        return;
    end_round_when_done(s);
    if (s->replacement.is_round_wanted && !s->replacement.is_round)
        begin_round(s);
    struct supervisor_seat *seat = find_seat(s);
    if (seat == NULL)
        return;
    log_event(LOG_INFO, "worker.replace", "worker=%u pid=%d reason=\"%s\"", seat->number,
              seat->process->process.pid, reason_of(seat->wishes));
    s->replacement.seat = seat;
    if (supervisor_spawn(seat, &s->replacement.fresh, &why) == ERR_OK)
        return;
    log_event(LOG_ERROR, "worker.spawn", "worker=%u reason=\"%s\"", seat->number, why.text);
    handle_failure(seat);
}

bool replacement_ready(struct supervisor *s, struct worker_process *p)
{
    struct supervisor_seat *seat = s->replacement.seat;
    if (seat == NULL || p != s->replacement.fresh)
        return false;
    if (s->is_ending)
        return true; /* it was killed a moment ago */
    struct worker_process *old = seat->process;
    const uint64_t now_ms = loop_now_ms(s->loop);
    seat->process = p;
    seat->wishes = 0;
    s->replacement.replaced++;
    s->replacement.fresh = NULL;
    s->replacement.old = old;
    worker_process_move(old, WORKER_RETIRING);
    wheel_set(&s->loop->wheel, &old->deadline,
              now_ms + (uint64_t)s->options->graceful_timeout_ms +
                  2 * (uint64_t)s->options->application_close_timeout_ms + RETIRED_MS);
    s->ops->retire(s->ctx, old->number);
    return true;
}

bool replacement_ended(struct supervisor *s, const struct worker_process *p, int code, int signum)
{
    struct supervisor_seat *seat = s->replacement.seat;
    if (seat == NULL || (p != s->replacement.fresh && p != s->replacement.old))
        return false;
    const bool is_fresh = p == s->replacement.fresh;
    s->replacement.fresh = s->replacement.old = NULL;
    if (is_fresh && s->is_ending) { /* replacement_stop() killed it */
        s->replacement.seat = NULL;
        return true;
    }
    supervisor_log_end(is_fresh || code != 0 || signum != 0 ? LOG_ERROR : LOG_INFO, p, code,
                       signum);
    if (is_fresh) {
        handle_failure(seat);
        return true;
    }
    s->replacement.seat = NULL;
    replacement_next(s);
    return true;
}

bool replacement_inherit(struct supervisor_seat *seat)
{
    struct supervisor *s = seat->supervisor;
    seat->wishes = 0; /* whoever comes next is fresh */
    if (s->replacement.seat != seat || s->replacement.fresh == NULL)
        return false;
    seat->process = s->replacement.fresh;
    s->replacement.fresh = NULL;
    s->replacement.seat = NULL;
    return true;
}

void replacement_stop(struct supervisor *s)
{
    s->is_ending = true;
    if (s->replacement.fresh != NULL)
        worker_process_kill(s->replacement.fresh, SIGKILL);
}
