/* SPDX-License-Identifier: BSD-3-Clause */
#include "bench/load/crowd.h"

#include "bench/load/clock.h"
#include "bench/load/load.h"
#include "core/mem.h"

#include <assert.h>

enum { OPENING_AT_ONCE = 64 };

static void on_opened(struct ws *ws)
{
    struct member *m = (struct member *)ws;

    m->crowd->pending--;
    m->crowd->open++;
    m->crowd->ops->opened(m);
}

static void on_message(struct ws *ws, struct slice text)
{
    struct member *m = (struct member *)ws;

    m->crowd->ops->message(m, text);
}

static void on_ended(struct ws *ws, enum ws_end end, const char *why)
{
    struct member *m = (struct member *)ws;

    if (end == WS_END_REFUSED) {
        m->crowd->pending--;
        load_count_refused(m->crowd->load, why);
    } else {
        m->crowd->open--;
        load_count_closed(m->crowd->load, why);
    }
    m->crowd->ops->ended(m, end != WS_END_REFUSED);
}

static const struct ws_ops ws_ops = {
    .opened = on_opened,
    .message = on_message,
    .ended = on_ended,
};

void crowd_init(struct crowd *c, struct load *load, const struct crowd_ops *ops, unsigned count,
                unsigned wanted)
{
    assert(wanted <= count);
    *c = (struct crowd){.load = load, .ops = ops, .count = count, .wanted = wanted};
    c->members = mem_alloc(count * sizeof(c->members[0]));
    for (unsigned i = 0; i < count; i++) {
        c->members[i].crowd = c;
        c->members[i].id = i;
    }
}

void crowd_tick(struct crowd *c)
{
    struct load *load = c->load;

    while (c->begun < c->wanted && c->pending < OPENING_AT_ONCE && !load_has_given_up(load)) {
        struct member *m = &c->members[c->begun];
        c->begun++;
        m->begun_ns = clock_now_ns();
        const enum err err =
            ws_open(&m->ws, &load->loop, &ws_ops, &load->upgrade, &load->plan->server, m->id);
        if (err == ERR_OK) {
            c->pending++;
        } else {
            load_count_refused(load, err_str(err));
            c->ops->ended(m, false);
        }
    }
}

bool crowd_is_ready(const struct crowd *c)
{
    return c->begun == c->wanted && c->pending == 0;
}

void crowd_deinit(struct crowd *c)
{
    for (unsigned i = 0; i < c->count; i++)
        ws_deinit(&c->members[i].ws);
    mem_free(c->members);
}
