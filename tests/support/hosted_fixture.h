/* SPDX-License-Identifier: BSD-3-Clause
 *
 * hosted_fixture: a struct hosted on a real loop, whose workers the test plays (link_peer.h), and
 * an owner that counts what it is told and can detach or close in the middle of it.
 *
 * Why: the tests of the links and those of the records that clients cause share it.
 */
#ifndef TESTS_SUPPORT_HOSTED_FIXTURE_H
#define TESTS_SUPPORT_HOSTED_FIXTURE_H

#include "consumers/hosted/hosted.h"
#include "core/mem.h"

#include "tests/support/link_peer.h"

enum { WORKERS = 3, CLIENTS = 9, HANG_MS = 3000 };

enum reaction { DO_NOTHING, DO_DETACH, DO_CLOSE };

struct fixture {
    struct loop loop;
    struct hosted h;
    int worker[WORKERS]; /* the other ends */
    struct worker_load *load[WORKERS];
    uint64_t max_clients; /* of each worker that is attached from now on */
    unsigned ready[WORKERS];
    unsigned has_room[WORKERS];
    unsigned lost[WORKERS];
    unsigned hung[WORKERS];
    unsigned worn[WORKERS];
    const char *why;
    enum reaction reaction; /* to anything that is told */
    uint64_t wheel_ms;
    struct peer_client clients[CLIENTS];
};

static inline void react(struct fixture *f, unsigned worker)
{
    if (f->reaction == DO_DETACH)
        hosted_detach(&f->h, worker, "the owner does not want it");
    if (f->reaction == DO_CLOSE)
        hosted_close(&f->h);
}

static inline void on_ready(struct hosted *h, unsigned worker)
{
    struct fixture *f = h->ctx;
    f->ready[worker]++;
    react(f, worker);
}

static inline void on_has_room(struct hosted *h, unsigned worker)
{
    struct fixture *f = h->ctx;
    f->has_room[worker]++;
    react(f, worker);
}

static inline void on_lost(struct hosted *h, unsigned worker, const char *why)
{
    struct fixture *f = h->ctx;
    f->lost[worker]++;
    f->why = why;
    react(f, worker);
}

static inline void on_hung(struct hosted *h, unsigned worker)
{
    struct fixture *f = h->ctx;
    f->hung[worker]++;
    react(f, worker);
}

static inline void on_worn(struct hosted *h, unsigned worker)
{
    struct fixture *f = h->ctx;
    f->worn[worker]++;
}

static const struct hosted_ops ops = {on_ready, on_has_room, on_lost, on_hung, on_worn};

#define HELLO "\x93\x00\x01\x03"
#define READY "\x93\x00\x01\x07"
#define ID "#########"

static inline void attach(struct fixture *f, unsigned worker)
{
    int ours = -1;
    f->worker[worker] = peer_socket(&ours);
    f->load[worker] = worker_load_new(f->max_clients);
    assert_int_equal(hosted_attach(&f->h, ours, worker, worker_load_ref(f->load[worker])), ERR_OK);
    peer_expect(&f->loop, f->worker[worker], PEER_TEXT(HELLO));
}

static inline void make_ready(struct fixture *f, unsigned worker)
{
    attach(f, worker);
    peer_send(&f->loop, f->worker[worker], PEER_TEXT(READY));
    assert_int_equal(f->ready[worker], 1);
}

/* @hang_ms 0: without beats, so that the wheel is the test's alone. */
static inline void setup_hanging(void **state, int64_t hang_ms)
{
    struct fixture *f = calloc(1, sizeof(*f));
    assert_non_null(f);
    for (unsigned i = 0; i < WORKERS; i++)
        f->worker[i] = -1;
    assert_int_equal(loop_open(&f->loop, 3, f), ERR_OK);
    hosted_init(&f->h, &f->loop, hang_ms, &ops);
    f->h.ctx = f;
    f->wheel_ms = loop_now_ms(&f->loop);
    *state = f;
}

static inline int setup(void **state)
{
    setup_hanging(state, HANG_MS);
    return 0;
}

static inline int setup_ready(void **state)
{
    (void)setup(state);
    make_ready(*state, 0);
    return 0;
}

static inline int teardown(void **state)
{
    struct fixture *f = *state;
    mem_fail_after(-1);
    hosted_close(&f->h);
    loop_close_handles(&f->loop);
    loop_run(&f->loop);
    loop_deinit(&f->loop);
    for (unsigned i = 0; i < WORKERS; i++) {
        if (f->worker[i] >= 0)
            close(f->worker[i]);
        if (f->load[i] != NULL) {
            assert_int_equal(worker_load_clients(f->load[i]), 0);
            worker_load_unref(f->load[i]);
        }
    }
    free(f);
    return 0;
}

static inline struct client *client_of(struct fixture *f, unsigned i)
{
    return &f->clients[i].client;
}

static const struct scope http_scope = {
    .type = SCOPE_HTTP,
    .http_version = {(const uint8_t *)"1.1", 3},
    .method = {(const uint8_t *)"GET", 3},
    .scheme = {(const uint8_t *)"http", 4},
    .path = {(const uint8_t *)"/", 1},
    .raw_path = {(const uint8_t *)"/", 1},
};
static const struct scope ws_scope = {
    .type = SCOPE_WEBSOCKET,
    .http_version = {(const uint8_t *)"1.1", 3},
    .scheme = {(const uint8_t *)"ws", 2},
    .path = {(const uint8_t *)"/", 1},
    .raw_path = {(const uint8_t *)"/", 1},
};

static inline enum err open_client(struct fixture *f, unsigned i, const struct scope *scope,
                                   struct slice body, bool more)
{
    peer_client_init(&f->clients[i], scope->type == SCOPE_WEBSOCKET);
    return hosted_kind.open(client_of(f, i), &f->h, scope, NULL, 0, body, more);
}

static inline void open_ws(struct fixture *f, unsigned i)
{
    assert_int_equal(open_client(f, i, &ws_scope, slice_make(NULL, 0), false), ERR_OK);
    assert_ptr_equal(client_of(f, i)->kind, &hosted_kind);
}

/* Throws away what a worker has been sent. */
static inline void drain(struct fixture *f, unsigned worker)
{
    uint8_t got[4096];
    peer_turn(&f->loop);
    while (recv(f->worker[worker], got, sizeof(got), 0) > 0)
        continue;
}

#endif
