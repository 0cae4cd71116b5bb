/* SPDX-License-Identifier: BSD-3-Clause
 *
 * connect: --connections at a time open a WebSocket and close it as soon as it is open. A unit is
 * one whole life, up to the server's close frame and the end of its stream; its latency is that of
 * the opening.
 */
#include "bench/load/clock.h"
#include "bench/load/load.h"
#include "bench/load/slots.h"
#include "bench/load/ws.h"

struct visit {
    struct ws ws; /* first: a WebSocket of ours is its visit */
    struct load *load;
    unsigned slot;
    uint64_t begun_ns;
    uint64_t latency_ns;
};

struct visits {
    struct visit *all;
    struct slots slots;
    unsigned made; /* visits so far; spreads the source addresses */
};

static void on_opened(struct ws *ws)
{
    struct visit *v = (struct visit *)ws;

    v->latency_ns = clock_now_ns() - v->begun_ns;
    ws_close(ws);
}

static void on_message(struct ws *ws, struct slice text)
{
    struct visit *v = (struct visit *)ws;

    (void)text;
    v->load->tally.mismatched++;
    tally_explain(&v->load->tally, "a message that nobody asked for");
}

static void on_ended(struct ws *ws, enum ws_end end, const char *why)
{
    struct visit *v = (struct visit *)ws;
    struct visits *visits = v->load->state;

    switch (end) {
    case WS_END_CLOSED:
        load_end_unit(v->load, clock_now_ns(), v->latency_ns);
        break;
    case WS_END_REFUSED:
        load_count_refused(v->load, why);
        load_lose_units(v->load, 1);
        break;
    case WS_END_LOST:
        load_count_closed(v->load, why);
        load_lose_units(v->load, 1);
        break;
    }
    slots_put(&visits->slots, v->slot);
}

static const struct ws_ops ws_ops = {
    .opened = on_opened,
    .message = on_message,
    .ended = on_ended,
};

static void init(struct load *load)
{
    struct visits *visits = mem_alloc(sizeof(*visits));
    const unsigned total = load->plan->connections;

    slots_init(&visits->slots, total);
    visits->all = mem_alloc(total * sizeof(visits->all[0]));
    for (unsigned i = 0; i < total; i++) {
        visits->all[i].load = load;
        visits->all[i].slot = i;
    }
    load->state = visits;
}

static bool is_ready(const struct load *load)
{
    (void)load; /* nothing is open beforehand */
    return true;
}

/* Visits that never ended in the warm-up are given up, so that their end is not counted twice. */
static void start(struct load *load)
{
    struct visits *visits = load->state;

    for (unsigned i = 0; i < load->plan->connections; i++) {
        struct visit *v = &visits->all[i];
        if (v->ws.state != WS_NONE) {
            ws_deinit(&v->ws);
            slots_put(&visits->slots, i);
        }
    }
}

static uint64_t tick(struct load *load, uint64_t now_ns)
{
    struct visits *visits = load->state;

    while (load->is_running && slots_has_closed(&visits->slots) && !load_has_given_up(load)) {
        struct visit *v = &visits->all[slots_take(&visits->slots)];
        load_begin_units(load, 1);
        v->begun_ns = now_ns;
        const enum err err = ws_open(&v->ws, &load->loop, &ws_ops, &load->upgrade,
                                     &load->plan->server, visits->made++);
        if (err != ERR_OK) {
            load_count_refused(load, err_str(err));
            load_lose_units(load, 1);
            slots_put(&visits->slots, v->slot);
        }
    }
    return LOAD_NEVER;
}

static unsigned count_open(const struct load *load)
{
    (void)load;
    return 0;
}

static void deinit(struct load *load)
{
    struct visits *visits = load->state;

    for (unsigned i = 0; i < load->plan->connections; i++)
        ws_deinit(&visits->all[i].ws);
    slots_deinit(&visits->slots);
    mem_free(visits->all);
    mem_free(visits);
}

const struct scenario scenario_connect = {
    .name = "connect",
    .init = init,
    .is_ready = is_ready,
    .start = start,
    .tick = tick,
    .count_open = count_open,
    .deinit = deinit,
};
