/* SPDX-License-Identifier: BSD-3-Clause
 *
 * echo: each connection has --window messages on the way and sends the next one for each that
 * comes back.
 */
#include "bench/load/clock.h"
#include "bench/load/crowd.h"
#include "bench/load/load.h"
#include "core/mem.h"

static void send_next(struct member *m)
{
    struct load *load = m->crowd->load;
    const struct stamp stamp = {
        .sender = m->id,
        .number = m->next_number,
        .sent_ns = clock_now_ns(),
    };
    const size_t size = payload_write(&load->payload, load->text, &stamp);

    if (ws_send(&m->ws, slice_make(load->text, size)) != ERR_OK) {
        tally_explain(&load->tally, "the server takes no more messages");
        return; /* this connection goes on with one message less */
    }
    m->next_number++;
    m->in_flight++;
    load_begin_units(load, 1);
}

static void on_opened(struct member *m)
{
    (void)m; /* work begins when all are open */
}

static void on_message(struct member *m, struct slice text)
{
    struct load *load = m->crowd->load;
    const uint64_t now_ns = clock_now_ns();
    struct stamp stamp;

    if (!payload_read(&load->payload, &stamp, text) || stamp.sender != m->id ||
        stamp.number >= m->next_number || stamp.sent_ns > now_ns) {
        load->tally.mismatched++;
        tally_explain(&load->tally, "a message came back changed");
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
    m->in_flight--;
    load_end_unit(load, now_ns, now_ns - stamp.sent_ns);
    if (load->is_running)
        send_next(m);
}

static void on_ended(struct member *m, bool was_open)
{
    (void)was_open;
    load_lose_units(m->crowd->load, m->in_flight);
    m->in_flight = 0;
}

static const struct crowd_ops crowd_ops = {
    .opened = on_opened,
    .message = on_message,
    .ended = on_ended,
};

static void init(struct load *load)
{
    struct crowd *c = mem_alloc(sizeof(*c));
    const unsigned count = load->plan->connections;

    crowd_init(c, load, &crowd_ops, count, count);
    load->state = c;
}

static bool is_ready(const struct load *load)
{
    return crowd_is_ready(load->state);
}

static void start(struct load *load)
{
    struct crowd *c = load->state;

    for (unsigned i = 0; i < c->count; i++) {
        struct member *m = &c->members[i];
        /* What was lost in the warm-up is not waited for any more. */
        m->in_flight = 0;
        sequence_init(&m->sequence, m->next_number);
        for (unsigned n = 0; n < load->plan->window && m->ws.state == WS_OPEN; n++)
            send_next(m);
        stream_flush(&m->ws.stream);
    }
}

static uint64_t tick(struct load *load, uint64_t now_ns)
{
    (void)now_ns;
    crowd_tick(load->state);
    return LOAD_NEVER;
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

const struct scenario scenario_echo = {
    .name = "echo",
    .init = init,
    .is_ready = is_ready,
    .start = start,
    .tick = tick,
    .count_open = count_open,
    .deinit = deinit,
};
