/* SPDX-License-Identifier: BSD-3-Clause
 *
 * load: one run, from the first connection to the report.
 *
 * Why: every scenario goes through the same phases, so that its figures mean the same:
 *
 *   open      connect what the scenario needs
 *   warm up   work flows for a while, then what is on the way arrives
 *   measure   "mark begin", the counts start at zero, work flows, what is on the way arrives,
 *             "mark end"
 *   report
 *
 * Nothing is on the way at a mark: the server's CPU time between the marks is that of exactly the
 * counted units. What does not come is waited for until nothing came for quiet_ms, and is lost.
 *
 * Thread: owner only.
 */
#ifndef BENCH_LOAD_LOAD_H
#define BENCH_LOAD_LOAD_H

#include <stdbool.h>
#include <stdint.h>

#include "bench/load/loop.h"
#include "bench/load/payload.h"
#include "bench/load/plan.h"
#include "bench/load/report.h"
#include "bench/load/upgrade.h"

struct load;

/* A kind of work. Opening connections, also again, happens in init() and tick() only: between the
 * batches of events, as the loop asks for. */
struct scenario {
    const char *name;
    /* Makes load->state. */
    void (*init)(struct load *load);
    /* Whether all connections are open or have failed. */
    bool (*is_ready)(const struct load *load);
    /* Work begins: load->is_running is true from now on. */
    void (*start)(struct load *load);
    /* After each batch of events. Returns when it wants to be called again at the latest. */
    uint64_t (*tick)(struct load *load, uint64_t now_ns);
    /* How many connections are open; for the report. */
    unsigned (*count_open)(const struct load *load);
    /* Closes what is open and frees load->state. */
    void (*deinit)(struct load *load);
};

extern const struct scenario scenario_connect;
extern const struct scenario scenario_echo;
extern const struct scenario scenario_fanout;
extern const struct scenario scenario_http;
extern const struct scenario scenario_idle;

/* After so many failures a run gives up: the server is broken, or not there. */
enum { LOAD_MAX_FAILURES = 100 };

#define LOAD_NEVER UINT64_MAX /* of tick() */

struct load {
    const struct plan *plan;
    const struct scenario *scenario;
    struct loop loop;
    struct tally tally;
    struct upgrade upgrade;          /* to plan->path */
    uint64_t quiet_ns;               /* plan->quiet_ms */
    uint64_t in_flight;              /* units that were begun and have not come */
    uint64_t last_unit_ns;           /* when something came last */
    bool is_running;                 /* new work may begin */
    bool is_warm;                    /* the warm-up is over */
    uint8_t text[PAYLOAD_MAX_BYTES]; /* the message that is being sent */
    struct payload payload;
    void *state; /* the scenario's own */
};

/* Runs @plan and fills load->tally. @load is zeroed.
 * Errors: ERR_NOT_FOUND (no such scenario), ERR_NO_FILES, ERR_TIMEOUT or ERR_CLOSED at a mark; @why
 * says what. A server that fails is no error: it is counted. */
enum err load_run(struct load *load, const struct plan *plan, struct err_text *why) MUST_CHECK;

/* A unit was begun: it is expected to come. */
void load_begin_units(struct load *load, uint64_t count);

/* A unit came, @latency_ns after it was begun. */
void load_end_unit(struct load *load, uint64_t now_ns, uint64_t latency_ns);

/* Something came in place of a unit that is not what was sent; @why is kept if it is the first. */
void load_spoil_unit(struct load *load, uint64_t now_ns, const char *why);

/* @count units will not come any more. */
void load_lose_units(struct load *load, uint64_t count);

/* A connection never opened, or ended too early; @why is kept if it is the first. */
void load_count_refused(struct load *load, const char *why);
void load_count_closed(struct load *load, const char *why);

/* Whether so much failed that there is no use in going on. */
bool load_has_given_up(const struct load *load);

#endif
