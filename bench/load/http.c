/* SPDX-License-Identifier: BSD-3-Clause
 *
 * http: each of --connections sends GET requests, the next one when the answer to the last one is
 * complete, on a connection that is kept. An answer counts when it says 200 and has the body that
 * was expected.
 */
#include "bench/load/clock.h"
#include "bench/load/http_reply.h"
#include "bench/load/load.h"
#include "bench/load/slots.h"
#include "bench/load/stream.h"

enum { REQUEST_MAX = 1024 };

enum visitor_state {
    VISITOR_CLOSED,
    VISITOR_CONNECTING,
    VISITOR_IDLE,    /* connected, no request on its way */
    VISITOR_WAITING, /* for an answer */
};

struct visitor {
    struct stream stream; /* first: a stream of ours is its visitor */
    enum visitor_state state;
    struct load *load;
    unsigned slot;
    uint64_t asked_ns;
};

struct visitors {
    struct visitor *all;
    struct slots slots;
    unsigned connecting;
    unsigned open;
    struct slice request;
    struct slice expected;
    char text[REQUEST_MAX];
};

static void move(struct visitor *v, enum visitor_state next)
{
    struct visitors *all = v->load->state;

    all->connecting +=
        (unsigned)(next == VISITOR_CONNECTING) - (unsigned)(v->state == VISITOR_CONNECTING);
    all->open += (unsigned)(next >= VISITOR_IDLE) - (unsigned)(v->state >= VISITOR_IDLE);
    v->state = next;
    if (next == VISITOR_CLOSED)
        slots_put(&all->slots, v->slot);
}

static void ask(struct visitor *v)
{
    struct visitors *all = v->load->state;

    load_begin_units(v->load, 1);
    v->asked_ns = clock_now_ns();
    move(v, VISITOR_WAITING);
    if (buf_append(&v->stream.out, all->request.ptr, all->request.len) != ERR_OK) {
        load_lose_units(v->load, 1);
        move(v, VISITOR_IDLE);
    }
}

static void on_connected(struct stream *s)
{
    struct visitor *v = (struct visitor *)s;

    move(v, VISITOR_IDLE);
    if (v->load->is_running)
        ask(v);
}

static void on_ended(struct stream *s, const char *why)
{
    struct visitor *v = (struct visitor *)s;

    if (v->state == VISITOR_CONNECTING) {
        load_count_refused(v->load, why != NULL ? why : "the server ended the connection");
    } else if (v->state == VISITOR_WAITING) {
        load_count_closed(v->load, why != NULL ? why : "the server ended the connection");
        load_lose_units(v->load, 1);
    } /* an idle connection may end: it is opened again */
    move(v, VISITOR_CLOSED);
}

/* The answer is no answer: the connection is given up. */
static void refuse(struct visitor *v, const char *why)
{
    stream_close(&v->stream);
    on_ended(&v->stream, why);
}

static size_t on_bytes(struct stream *s, struct slice in)
{
    struct visitor *v = (struct visitor *)s;
    struct load *load = v->load;
    const struct visitors *all = load->state;
    struct http_reply reply = {0};
    size_t used = 0;

    if (v->state != VISITOR_WAITING) {
        load->tally.mismatched++;
        tally_explain(&load->tally, "bytes without a request");
        return in.len;
    }
    switch (http_reply_scan(&reply, &used, in, all->expected)) {
    case HTTP_REPLY_MORE:
        return 0;
    case HTTP_REPLY_BROKEN:
        refuse(v, "an answer that is not HTTP/1.1, or too long");
        return 0;
    case HTTP_REPLY_DONE:
        break;
    }
    const uint64_t now_ns = clock_now_ns();
    if (reply.status == 200 && reply.has_body) {
        load_end_unit(load, now_ns, now_ns - v->asked_ns);
    } else {
        load_spoil_unit(load, now_ns,
                        reply.status == 200 ? "an answer with another body"
                                            : "an answer other than 200");
    }
    move(v, VISITOR_IDLE);
    if (!reply.keeps_open) {
        stream_close(s);
        move(v, VISITOR_CLOSED);
    } else if (load->is_running && !load_has_given_up(load)) {
        ask(v);
    }
    return used;
}

static const struct stream_ops stream_ops = {
    .connected = on_connected,
    .bytes = on_bytes,
    .ended = on_ended,
};

static void init(struct load *load)
{
    struct visitors *all = mem_alloc(sizeof(*all));
    const struct plan *plan = load->plan;
    const int size = snprintf(all->text, sizeof(all->text),
                              "GET %s HTTP/1.1\r\nHost: %s:%u\r\nAccept: */*\r\n\r\n", plan->path,
                              plan->host, plan->port);

    /* upgrade_init() has refused a path that would not fit here. */
    all->request = slice_make(all->text, size > 0 ? (size_t)size : 0);
    all->expected = slice_str(plan->expect);
    slots_init(&all->slots, plan->connections);
    all->all = mem_alloc(plan->connections * sizeof(all->all[0]));
    for (unsigned i = 0; i < plan->connections; i++) {
        all->all[i].load = load;
        all->all[i].slot = i;
    }
    load->state = all;
}

static bool is_ready(const struct load *load)
{
    const struct visitors *all = load->state;

    return all->connecting == 0 && !slots_has_closed(&all->slots);
}

static void start(struct load *load)
{
    struct visitors *all = load->state;

    for (unsigned i = 0; i < load->plan->connections; i++) {
        struct visitor *v = &all->all[i];
        if (v->state == VISITOR_WAITING) { /* since the warm-up: its answer is lost already */
            stream_close(&v->stream);
            move(v, VISITOR_CLOSED);
        }
        if (v->state == VISITOR_IDLE) {
            ask(v);
            stream_flush(&v->stream);
        }
    }
}

static uint64_t tick(struct load *load, uint64_t now_ns)
{
    struct visitors *all = load->state;

    (void)now_ns;
    while (slots_has_closed(&all->slots) && !load_has_given_up(load)) {
        struct visitor *v = &all->all[slots_take(&all->slots)];
        const enum err err =
            stream_open(&v->stream, &load->loop, &stream_ops, &load->plan->server, v->slot);
        move(v, VISITOR_CONNECTING);
        if (err != ERR_OK)
            on_ended(&v->stream, err_str(err));
    }
    return LOAD_NEVER;
}

static unsigned count_open(const struct load *load)
{
    const struct visitors *all = load->state;

    return all->open;
}

static void deinit(struct load *load)
{
    struct visitors *all = load->state;

    for (unsigned i = 0; i < load->plan->connections; i++)
        stream_deinit(&all->all[i].stream);
    slots_deinit(&all->slots);
    mem_free(all->all);
    mem_free(all);
}

const struct scenario scenario_http = {
    .name = "http",
    .init = init,
    .is_ready = is_ready,
    .start = start,
    .tick = tick,
    .count_open = count_open,
    .deinit = deinit,
};
