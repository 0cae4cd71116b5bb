/* SPDX-License-Identifier: BSD-3-Clause */
#include "consumers/hosted/worker_link.h"

#include "tests/support/hosted_fixture.h"

#include <signal.h>

enum { GRACE_MS = 4000, SHUTDOWN_MS = 9 };

#define SHUTDOWN "\x92\x09\x09"

static int setup_quiet(void **state)
{
    setup_hanging(state, 0);
    make_ready(*state, 0);
    return 0;
}

static void retire(struct fixture *f, unsigned worker)
{
    hosted_retire(&f->h, worker, GRACE_MS, SHUTDOWN_MS);
}

static void pass_time(struct fixture *f, uint64_t ms)
{
    f->wheel_ms += ms;
    wheel_advance(&f->loop.wheel, f->wheel_ms);
}

static void open_http(struct fixture *f, unsigned i)
{
    assert_int_equal(open_client(f, i, &http_scope, slice_make(NULL, 0), false), ERR_OK);
}

/* The worker was sent so many DISCONNECT, and SHUTDOWN behind them. */
static void expect_end(struct fixture *f, unsigned worker, unsigned disconnects)
{
    uint8_t got[512];
    unsigned seen = 0;
    peer_turn(&f->loop);
    const ssize_t len = recv(f->worker[worker], got, sizeof(got), 0);
    assert_true(len > 3);
    for (ssize_t i = 0; i + 1 < len; i++)
        seen += got[i] == 0x94 && got[i + 1] == 0x06 ? 1 : 0;
    assert_int_equal(seen, disconnects);
    assert_memory_equal(got + len - 3, SHUTDOWN, 3);
}

static void a_worker_without_clients_is_told_to_finish_at_once(void **state)
{
    struct fixture *f = *state;
    retire(f, 0);
    retire(f, 0);
    retire(f, 2); /* there is none */
    peer_expect(&f->loop, f->worker[0], PEER_TEXT(SHUTDOWN));
    assert_false(hosted_kind.can_open(&f->h));
    assert_int_equal(f->loop.wheel.count, 0);
}

static void a_retired_worker_keeps_its_clients_and_gets_no_new_ones(void **state)
{
    struct fixture *f = *state;
    open_ws(f, 0);
    void *retired = client_of(f, 0)->consumer;
    const uint64_t id = client_of(f, 0)->consumer_id;
    make_ready(f, 1);
    drain(f, 0);
    retire(f, 0);
    retire(f, 0);
    peer_expect(&f->loop, f->worker[0], PEER_TEXT(""));
    for (unsigned i = 1; i < 4; i++) {
        open_ws(f, i);
        assert_ptr_not_equal(client_of(f, i)->consumer, retired);
    }
    peer_assert_told(&f->clients[0], "retire(0)");
    peer_send_for(&f->loop, f->worker[0], id, PEER_TEXT("\x93\x04" ID "\xa1x"));
    peer_assert_told(&f->clients[0], "send(text [x] first last)");
    hosted_kind.gone(client_of(f, 0), 1000, slice_make(NULL, 0));
    expect_end(f, 0, 1);
    assert_int_equal(f->loop.wheel.count, 0);
}

static void requests_of_a_retired_worker_are_answered_before_it_is_told(void **state)
{
    struct fixture *f = *state;
    open_http(f, 0);
    open_http(f, 1);
    const uint64_t first = client_of(f, 0)->consumer_id;
    const uint64_t second = client_of(f, 1)->consumer_id;
    drain(f, 0);
    retire(f, 0);
    peer_send_for(&f->loop, f->worker[0], first,
                  PEER_TEXT("\x96\x01" ID "\xcc\xc8\x90\xc4\x02hi\xc2"));
    peer_assert_told(&f->clients[0], "respond(200 [hi] last)");
    peer_expect(&f->loop, f->worker[0], PEER_TEXT(""));
    pass_time(f, GRACE_MS / 2);
    peer_send_for(&f->loop, f->worker[0], second,
                  PEER_TEXT("\x96\x01" ID "\xcc\xc8\x90\xc4\x02hi\xc2"));
    peer_assert_told(&f->clients[1], "respond(200 [hi] last)");
    peer_expect(&f->loop, f->worker[0], PEER_TEXT(SHUTDOWN));
    pass_time(f, GRACE_MS);
    peer_expect(&f->loop, f->worker[0], PEER_TEXT(""));
}

static void websockets_of_a_retired_worker_leave_one_after_the_other(void **state)
{
    struct fixture *f = *state;
    unsigned long last = 0;
    for (unsigned i = 0; i < 6; i++)
        open_ws(f, i);
    open_http(f, 6);
    retire(f, 0);
    peer_assert_told(&f->clients[6], "");
    for (unsigned i = 0; i < 6; i++) {
        unsigned long delay_ms = 0;
        struct peer_client *p = &f->clients[i];
        p->trace[p->len] = '\0';
        assert_int_equal(sscanf(p->trace, "retire(%lu)", &delay_ms), 1);
        assert_true(delay_ms < GRACE_MS * 3 / 4); /* the rest is for their answers */
        assert_true(i == 0 ? delay_ms == 0 : delay_ms != last);
        last = delay_ms;
        p->len = 0;
    }
}

static void a_handshake_that_is_accepted_late_leaves_too(void **state)
{
    struct fixture *f = *state;
    open_ws(f, 0);
    const uint64_t id = client_of(f, 0)->consumer_id;
    retire(f, 0);
    peer_assert_told(&f->clients[0], "retire(0)"); /* nothing to the server while not accepted */
    peer_send_for(&f->loop, f->worker[0], id, PEER_TEXT("\x94\x03" ID "\xc0\x90"));
    peer_client_of(client_of(f, 0))->trace[peer_client_of(client_of(f, 0))->len] = '\0';
    assert_non_null(strstr(f->clients[0].trace, "accept( [])retire("));
}

static void who_is_left_after_the_grace_is_told_and_then_the_worker(void **state)
{
    struct fixture *f = *state;
    open_ws(f, 0);
    open_http(f, 1);
    open_ws(f, 2);
    retire(f, 0);
    drain(f, 0);
    f->clients[0].len = f->clients[2].len = 0;
    pass_time(f, GRACE_MS - 200);
    peer_assert_told(&f->clients[1], "");
    pass_time(f, 400);
    for (unsigned i = 0; i < 3; i++) {
        peer_assert_told(&f->clients[i], "fail(lost)");
        assert_int_equal(f->clients[i].ends, 1);
    }
    expect_end(f, 0, 3);
    assert_int_equal(f->lost[0], 0);
}

static void a_retired_worker_that_ends_early_tells_its_clients(void **state)
{
    struct fixture *f = *state;
    open_http(f, 0);
    retire(f, 0);
    close(f->worker[0]);
    f->worker[0] = -1;
    for (unsigned turns = 0; turns < 3; turns++)
        peer_turn(&f->loop);
    peer_assert_told(&f->clients[0], "fail(lost)");
    assert_int_equal(f->lost[0], 1);
    assert_int_equal(f->loop.wheel.count, 0);
}

static void shutdown_overtakes_retirement(void **state)
{
    struct fixture *f = *state;
    open_http(f, 0);
    drain(f, 0);
    retire(f, 0);
    hosted_shutdown(&f->h, 3);
    peer_expect(&f->loop, f->worker[0], PEER_TEXT("\x92\x09\x03"));
    hosted_kind.gone(client_of(f, 0), 0, slice_make(NULL, 0));
    drain(f, 0);
    pass_time(f, 2 * GRACE_MS);
    peer_expect(&f->loop, f->worker[0], PEER_TEXT(""));
}

static void a_retired_worker_still_has_to_react(void **state)
{
    struct fixture *f = *state;
    open_http(f, 0);
    retire(f, 0);
    for (unsigned i = 0; i <= HANG_MS / 1000; i++)
        pass_time(f, 1000);
    assert_int_equal(f->hung[0], 1);
}

/* ---- several loops ---- */

/* A second loop with its own links to the same workers. */
static void attach_other(struct fixture *other, struct fixture *f, unsigned worker)
{
    int ours = -1;
    other->worker[worker] = peer_socket(&ours);
    assert_int_equal(hosted_attach(&other->h, ours, worker, worker_load_ref(f->load[worker])),
                     ERR_OK);
    peer_expect(&other->loop, other->worker[worker], PEER_TEXT(HELLO));
    peer_send(&other->loop, other->worker[worker], PEER_TEXT(READY));
}

static unsigned worker_of(struct fixture *f, unsigned i)
{
    return ((struct worker_link *)client_of(f, i)->consumer)->worker;
}

static void loops_choose_by_the_clients_of_all_of_them(void **state)
{
    struct fixture *f = *state;
    struct fixture *other = NULL;
    unsigned count[2] = {0};
    make_ready(f, 1);
    setup_hanging((void **)&other, 0);
    attach_other(other, f, 0);
    attach_other(other, f, 1);
    for (unsigned i = 0; i < 4; i++) { /* by turns: each loop would begin with the same worker */
        open_ws(f, i);
        open_ws(other, i);
        assert_int_not_equal(worker_of(f, i), worker_of(other, i));
        count[worker_of(f, i)]++;
        count[worker_of(other, i)]++;
    }
    assert_int_equal(count[0], 4);
    assert_int_equal(count[1], 4);
    for (unsigned i = 0; i < 4; i++)
        if (worker_of(other, i) == 0)
            hosted_kind.gone(client_of(other, i), 1000, slice_make(NULL, 0));
    const unsigned left = worker_load_clients(f->load[0]);
    assert_true(left < 4);
    for (unsigned i = 4; i < 4 + (4 - left); i++) {
        open_ws(f, i);
        assert_int_equal(worker_of(f, i), 0);
    }
    (void)teardown((void **)&other);
}

static void a_worker_that_has_taken_enough_is_reported_once(void **state)
{
    struct fixture *f = *state;
    f->max_clients = 3;
    retire(f, 0); /* which has no limit */
    make_ready(f, 1);
    for (unsigned i = 0; i < 6; i++) {
        open_http(f, i);
        assert_int_equal(f->worn[1], i >= 2 ? 1 : 0);
    }
    assert_true(hosted_kind.can_open(&f->h)); /* it goes on until it is retired */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_worker_without_clients_is_told_to_finish_at_once,
                                        setup_quiet, teardown),
        cmocka_unit_test_setup_teardown(a_retired_worker_keeps_its_clients_and_gets_no_new_ones,
                                        setup_quiet, teardown),
        cmocka_unit_test_setup_teardown(requests_of_a_retired_worker_are_answered_before_it_is_told,
                                        setup_quiet, teardown),
        cmocka_unit_test_setup_teardown(websockets_of_a_retired_worker_leave_one_after_the_other,
                                        setup_quiet, teardown),
        cmocka_unit_test_setup_teardown(a_handshake_that_is_accepted_late_leaves_too, setup_quiet,
                                        teardown),
        cmocka_unit_test_setup_teardown(who_is_left_after_the_grace_is_told_and_then_the_worker,
                                        setup_quiet, teardown),
        cmocka_unit_test_setup_teardown(a_retired_worker_that_ends_early_tells_its_clients,
                                        setup_quiet, teardown),
        cmocka_unit_test_setup_teardown(shutdown_overtakes_retirement, setup_quiet, teardown),
        cmocka_unit_test_setup_teardown(a_retired_worker_still_has_to_react, setup_ready, teardown),
        cmocka_unit_test_setup_teardown(loops_choose_by_the_clients_of_all_of_them, setup_quiet,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_worker_that_has_taken_enough_is_reported_once,
                                        setup_quiet, teardown),
    };
    signal(SIGPIPE, SIG_IGN); /* as the program does */
    return cmocka_run_group_tests(tests, NULL, NULL);
}
