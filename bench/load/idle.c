/* SPDX-License-Identifier: BSD-3-Clause
 *
 * idle: opens --connections WebSockets and holds them; nothing is sent. A few are opened in the
 * warm-up and stay: what the server makes once is made then. Counted are the others.
 */
#include "bench/load/clock.h"
#include "bench/load/crowd.h"
#include "bench/load/load.h"
#include "core/mem.h"

enum { WARM_CONNECTIONS = 32, SETTLE_MS = 1000 };

static void on_opened(struct member *m)
{
    const uint64_t now_ns = clock_now_ns();

    load_end_unit(m->crowd->load, now_ns, now_ns - m->begun_ns);
}

static void on_message(struct member *m, struct slice text)
{
    (void)text;
    m->crowd->load->tally.mismatched++;
    tally_explain(&m->crowd->load->tally, "a message that nobody asked for");
}

static void on_ended(struct member *m, bool was_open)
{
    if (!was_open)
        load_lose_units(m->crowd->load, 1);
}

static const struct crowd_ops crowd_ops = {
    .opened = on_opened,
    .message = on_message,
    .ended = on_ended,
};

static void init(struct load *load)
{
    struct crowd *c = mem_alloc(sizeof(*c));

    crowd_init(c, load, &crowd_ops, load->plan->connections, 0);
    load->state = c;
}

/* The last one open has had a second to settle: what the server does behind the answer is done. */
static bool is_ready(const struct load *load)
{
    const struct crowd *c = load->state;

    return crowd_is_ready(c) &&
           (c->wanted == 0 || clock_now_ns() >= load->last_unit_ns + SETTLE_MS * NS_PER_MS);
}

static void start(struct load *load)
{
    struct crowd *c = load->state;
    const unsigned before = c->wanted;

    c->wanted = !load->is_warm && c->count > WARM_CONNECTIONS ? WARM_CONNECTIONS : c->count;
    load_begin_units(load, c->wanted - before);
}

static uint64_t tick(struct load *load, uint64_t now_ns)
{
    const uint64_t settled_ns = load->last_unit_ns + SETTLE_MS * NS_PER_MS;

    crowd_tick(load->state);
    return settled_ns > now_ns ? settled_ns : LOAD_NEVER;
}

static unsigned count_open(const struct load *load)
{
    const struct crowd *c = load->state;

    return c->open;
}

static void deinit(struct load *load)
{
    crowd_deinit(load->state);
    mem_free(load->state);
}

const struct scenario scenario_idle = {
    .name = "idle",
    .init = init,
    .is_ready = is_ready,
    .start = start,
    .tick = tick,
    .count_open = count_open,
    .deinit = deinit,
};
