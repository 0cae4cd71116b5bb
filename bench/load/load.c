/* SPDX-License-Identifier: BSD-3-Clause */
#include "bench/load/load.h"

#include "bench/load/clock.h"
#include "bench/load/marks.h"

#include <assert.h>
#include <string.h>

static const struct scenario *const scenarios[] = {
    &scenario_connect, &scenario_echo, &scenario_fanout, &scenario_http, &scenario_idle,
};

static uint64_t ms_to_ns(unsigned ms)
{
    return ms * NS_PER_MS;
}

static uint64_t earlier(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static void turn(struct load *load, uint64_t until_ns)
{
    const uint64_t wake_ns = load->scenario->tick(load, clock_now_ns());

    loop_turn(&load->loop, earlier(wake_ns, until_ns));
}

static void wait_until_ready(struct load *load)
{
    const uint64_t end_ns = clock_now_ns() + ms_to_ns(load->plan->limit_ms);

    while (!load->scenario->is_ready(load) && !load_has_given_up(load)) {
        if (clock_now_ns() >= end_ns) {
            tally_explain(&load->tally, "not all connections opened in time");
            return;
        }
        turn(load, end_ns);
    }
}

/* Lets work flow for @duration_ms, then waits for what is on the way. */
static void work(struct load *load, unsigned duration_ms)
{
    const uint64_t start_ns = clock_now_ns();
    const uint64_t end_ns = start_ns + ms_to_ns(duration_ms);

    load->is_running = true;
    load->last_unit_ns = start_ns;
    load->scenario->start(load);
    while (clock_now_ns() < end_ns && !load_has_given_up(load))
        turn(load, end_ns);

    load->is_running = false;
    const uint64_t limit_ns = clock_now_ns() + ms_to_ns(load->plan->limit_ms);
    while (load->in_flight > 0 || !load->scenario->is_ready(load)) {
        const uint64_t quiet_end_ns = load->last_unit_ns + load->quiet_ns;
        const uint64_t wait_ns = earlier(quiet_end_ns, limit_ns);
        if (clock_now_ns() >= wait_ns)
            break;
        turn(load, wait_ns);
    }
    load_lose_units(load, load->in_flight);
}

static enum err measure(struct load *load, struct err_text *why)
{
    const bool waits = load->plan->is_lockstep;
    enum err err = marks_set("begin", waits);

    if (err != ERR_OK)
        return err_fail(why, err, "at the mark 'begin': %s", err_str(err));
    const uint64_t begin_ns = clock_now_ns();
    const uint64_t begin_cpu_ns = clock_cpu_ns();
    work(load, load->plan->measure_ms);
    load->tally.cpu_ns = clock_cpu_ns() - begin_cpu_ns;
    /* Waiting for what never came is no work. */
    const bool has_lost = load->tally.lost > 0 && load->tally.units > 0;
    load->tally.wall_ns = (has_lost ? load->last_unit_ns : clock_now_ns()) - begin_ns;
    err = marks_set("end", waits);
    if (err != ERR_OK)
        return err_fail(why, err, "at the mark 'end': %s", err_str(err));
    return ERR_OK;
}

/* What failed before the counts begin still spoils the figure. */
static void forget_units(struct tally *t)
{
    const struct tally before = *t;

    *t = (struct tally){
        .refused = before.refused, .closed = before.closed, .mismatched = before.mismatched};
    tally_explain(t, before.first_error);
}

static enum err run_opened(struct load *load, struct err_text *why)
{
    load->scenario->init(load);
    wait_until_ready(load);
    if (load->plan->warmup_ms > 0)
        work(load, load->plan->warmup_ms);
    forget_units(&load->tally);
    load->is_warm = true;
    const enum err err = measure(load, why);
    if (err == ERR_OK)
        tally_print(&load->tally, load->plan->scenario, load->scenario->count_open(load), stdout);
    load->scenario->deinit(load);
    return err;
}

enum err load_run(struct load *load, const struct plan *plan, struct err_text *why)
{
    load->plan = plan;
    load->quiet_ns = ms_to_ns(plan->quiet_ms);
    for (size_t i = 0; i < sizeof(scenarios) / sizeof(scenarios[0]); i++) {
        if (strcmp(scenarios[i]->name, plan->scenario) == 0)
            load->scenario = scenarios[i];
    }
    if (load->scenario == NULL)
        return err_fail(why, ERR_NOT_FOUND, "%s: no such scenario", plan->scenario);
    payload_init(&load->payload, plan->payload_bytes, plan->is_json);
    enum err err = upgrade_init(&load->upgrade, plan->host, plan->port, plan->path);
    if (err != ERR_OK)
        return err_fail(why, err, "cannot make a request for %s: %s", plan->path, err_str(err));
    err = loop_init(&load->loop);
    if (err != ERR_OK)
        return err_fail(why, err, "cannot make an event loop: %s", err_str(err));
    err = run_opened(load, why);
    loop_deinit(&load->loop);
    return err;
}

void load_begin_units(struct load *load, uint64_t count)
{
    load->in_flight += count;
    load->tally.expected += count;
}

void load_end_unit(struct load *load, uint64_t now_ns, uint64_t latency_ns)
{
    assert(load->in_flight > 0);
    load->in_flight--;
    load->last_unit_ns = now_ns;
    load->tally.units++;
    histogram_add(&load->tally.latency, latency_ns);
}

void load_spoil_unit(struct load *load, uint64_t now_ns, const char *why)
{
    assert(load->in_flight > 0);
    load->in_flight--;
    load->last_unit_ns = now_ns;
    load->tally.mismatched++;
    tally_explain(&load->tally, why);
}

void load_lose_units(struct load *load, uint64_t count)
{
    assert(load->in_flight >= count);
    load->in_flight -= count;
    load->tally.lost += count;
    if (count > 0)
        tally_explain(&load->tally, "messages did not arrive");
}

void load_count_refused(struct load *load, const char *why)
{
    load->tally.refused++;
    tally_explain(&load->tally, why);
}

void load_count_closed(struct load *load, const char *why)
{
    load->tally.closed++;
    tally_explain(&load->tally, why);
}

bool load_has_given_up(const struct load *load)
{
    const struct tally *t = &load->tally;

    return t->refused + t->closed + t->mismatched + t->repeated >= LOAD_MAX_FAILURES;
}
