/* SPDX-License-Identifier: BSD-3-Clause
 *
 * fanout: one WebSocket publishes, --connections others receive each message. A unit is one
 * delivery.
 *
 * With --rate messages are published by the clock, whatever comes back, and the latency counts from
 * the moment that the clock told: a server that falls behind is not waited for. Without, --window
 * messages are on the way, and the next one is published when a message reached everybody.
 */
#include "bench/load/clock.h"
#include "bench/load/crowd.h"
#include "bench/load/load.h"
#include "core/mem.h"

#include <assert.h>
#include <string.h>

/* A message that has not reached everybody; used without --rate. */
struct flight {
    uint32_t number;
    uint32_t missing; /* deliveries; 0: the place is free */
};

enum publisher_state {
    PUBLISHER_NEW,     /* is opened when all members are open */
    PUBLISHER_OPENING, /* the handshake is on its way */
    PUBLISHER_OPEN,
    PUBLISHER_GONE, /* refused or closed, and counted */
};

struct fanout {
    struct crowd crowd;
    struct load *load;
    struct ws publisher;
    enum publisher_state publisher_state;
    struct upgrade publisher_upgrade;
    uint32_t next_number;
    uint32_t flying;      /* places in use */
    uint64_t next_due_ns; /* with --rate */
    struct flight flights[PLAN_MAX_WINDOW];
};

static struct fanout *fanout_of(const struct ws *publisher)
{
    const size_t offset = offsetof(struct fanout, publisher);

    return (struct fanout *)((uintptr_t)publisher - offset);
}

static void on_publisher_opened(struct ws *ws)
{
    fanout_of(ws)->publisher_state = PUBLISHER_OPEN;
}

static void on_publisher_message(struct ws *ws, struct slice text)
{
    struct load *load = fanout_of(ws)->load;

    (void)text;
    load->tally.mismatched++;
    tally_explain(&load->tally, "the publisher received a message");
}

static void on_publisher_ended(struct ws *ws, enum ws_end end, const char *why)
{
    struct fanout *f = fanout_of(ws);

    f->publisher_state = PUBLISHER_GONE;
    if (end == WS_END_REFUSED)
        load_count_refused(f->load, why);
    else
        load_count_closed(f->load, why);
}

static const struct ws_ops publisher_ops = {
    .opened = on_publisher_opened,
    .message = on_publisher_message,
    .ended = on_publisher_ended,
};

static void publish(struct fanout *f, uint64_t due_ns)
{
    struct load *load = f->load;
    const struct stamp stamp = {.number = f->next_number, .sent_ns = due_ns};
    const size_t size = payload_write(&load->payload, load->text, &stamp);

    if (ws_send(&f->publisher, slice_make(load->text, size)) != ERR_OK) {
        tally_explain(&load->tally, "the server takes no more messages");
        return;
    }
    f->next_number++;
    load_begin_units(load, f->crowd.open);
    stream_flush(&f->publisher.stream);
}

static void land(struct fanout *f, uint32_t number)
{
    struct flight *flight = &f->flights[number % PLAN_MAX_WINDOW];

    if (flight->number != number || flight->missing == 0)
        return;
    flight->missing--;
    if (flight->missing == 0)
        f->flying--;
}

static void on_message(struct member *m, struct slice text)
{
    struct load *load = m->crowd->load;
    struct fanout *f = load->state;
    const uint64_t now_ns = clock_now_ns();
    struct stamp stamp;

    if (!payload_read(&load->payload, &stamp, text) || stamp.number >= f->next_number ||
        stamp.sent_ns > now_ns) {
        load->tally.mismatched++;
        tally_explain(&load->tally, "a message came changed");
        return;
    }
    switch (sequence_check(&m->sequence, stamp.number)) {
    case SEQUENCE_REPEATED:
        load->tally.repeated++;
        return;
    case SEQUENCE_LATE:
        load->tally.reordered++;
        break;
    case SEQUENCE_NEXT:
        break;
    }
    if (load->in_flight == 0) { /* given up as lost while it was on its way */
        load->tally.repeated++;
        return;
    }
    load_end_unit(load, now_ns, now_ns - stamp.sent_ns);
    land(f, stamp.number);
}

static void on_member_opened(struct member *m)
{
    (void)m; /* work begins when all are open */
}

static void on_member_ended(struct member *m, bool was_open)
{
    (void)m; /* what it did not get is lost when nothing else comes */
    (void)was_open;
}

static const struct crowd_ops crowd_ops = {
    .opened = on_member_opened,
    .message = on_message,
    .ended = on_member_ended,
};

static void init(struct load *load)
{
    struct fanout *f = mem_alloc(sizeof(*f));
    const struct plan *plan = load->plan;

    f->load = load;
    crowd_init(&f->crowd, load, &crowd_ops, plan->connections, plan->connections);
    if (upgrade_init(&f->publisher_upgrade, plan->host, plan->port, plan->publish_path) != ERR_OK) {
        f->publisher_state = PUBLISHER_GONE;
        load_count_refused(load, "cannot make the publisher's request");
    }
    load->state = f;
}

static bool is_ready(const struct load *load)
{
    const struct fanout *f = load->state;

    return crowd_is_ready(&f->crowd) &&
           (f->publisher_state == PUBLISHER_OPEN || f->publisher_state == PUBLISHER_GONE);
}

static void start(struct load *load)
{
    struct fanout *f = load->state;

    memset(f->flights, 0, sizeof(f->flights));
    f->flying = 0;
    f->next_due_ns = clock_now_ns();
    for (unsigned i = 0; i < f->crowd.count; i++)
        sequence_init(&f->crowd.members[i].sequence, f->next_number);
}

static void open_publisher(struct fanout *f)
{
    struct load *load = f->load;
    const enum err err = ws_open(&f->publisher, &load->loop, &publisher_ops, &f->publisher_upgrade,
                                 &load->plan->server, load->plan->connections);

    f->publisher_state = err == ERR_OK ? PUBLISHER_OPENING : PUBLISHER_GONE;
    if (err != ERR_OK)
        load_count_refused(load, err_str(err));
}

static uint64_t publish_by_rate(struct fanout *f, uint64_t now_ns)
{
    const uint64_t period_ns = NS_PER_SECOND / f->load->plan->rate;

    while (f->next_due_ns <= now_ns && f->publisher_state == PUBLISHER_OPEN) {
        publish(f, f->next_due_ns);
        f->next_due_ns += period_ns;
    }
    return f->next_due_ns;
}

static uint64_t publish_by_window(struct fanout *f, uint64_t now_ns)
{
    struct load *load = f->load;
    const uint64_t stalled_ns = load->last_unit_ns + load->quiet_ns;

    if (f->flying > 0 && now_ns >= stalled_ns) {
        load_lose_units(load, load->in_flight);
        start(load);
        load->last_unit_ns = now_ns;
    }
    while (f->flying < load->plan->window && f->publisher_state == PUBLISHER_OPEN) {
        struct flight *flight = &f->flights[f->next_number % PLAN_MAX_WINDOW];
        if (flight->missing > 0)
            break; /* a message 32 before it is not complete */
        *flight = (struct flight){.number = f->next_number, .missing = f->crowd.open};
        f->flying++;
        publish(f, now_ns);
    }
    return stalled_ns > now_ns ? stalled_ns : now_ns + load->quiet_ns;
}

static uint64_t tick(struct load *load, uint64_t now_ns)
{
    struct fanout *f = load->state;

    crowd_tick(&f->crowd);
    if (f->publisher_state == PUBLISHER_NEW && crowd_is_ready(&f->crowd))
        open_publisher(f);
    if (!load->is_running || f->crowd.open == 0 || f->publisher_state != PUBLISHER_OPEN)
        return LOAD_NEVER;
    return load->plan->rate > 0 ? publish_by_rate(f, now_ns) : publish_by_window(f, now_ns);
}

static unsigned count_open(const struct load *load)
{
    const struct fanout *f = load->state;

    return f->crowd.open;
}

static void deinit(struct load *load)
{
    struct fanout *f = load->state;

    crowd_deinit(&f->crowd);
    ws_deinit(&f->publisher);
    mem_free(f);
    load->state = NULL;
}

const struct scenario scenario_fanout = {
    .name = "fanout",
    .init = init,
    .is_ready = is_ready,
    .start = start,
    .tick = tick,
    .count_open = count_open,
    .deinit = deinit,
};
