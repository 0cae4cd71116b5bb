/* SPDX-License-Identifier: BSD-3-Clause */
#include "tests/support/hosted_fixture.h"

#include <signal.h>

/* ---- which worker ---- */

static void without_a_ready_worker_nothing_opens(void **state)
{
    struct fixture *f = *state;
    assert_false(hosted_kind.can_open(&f->h));
    assert_int_equal(open_client(f, 0, &http_scope, slice_make(NULL, 0), false), ERR_CLOSED);
    attach(f, 0);
    assert_false(hosted_kind.can_open(&f->h)); /* it has not said READY */
    assert_int_equal(open_client(f, 0, &http_scope, slice_make(NULL, 0), false), ERR_CLOSED);
    assert_null(client_of(f, 0)->kind);
    peer_send(&f->loop, f->worker[0], PEER_TEXT(READY));
    assert_true(hosted_kind.can_open(&f->h));
    assert_int_equal(open_client(f, 0, &http_scope, slice_make(NULL, 0), false), ERR_OK);
}

static void a_client_goes_to_the_worker_with_the_fewest(void **state)
{
    struct fixture *f = *state;
    unsigned count[WORKERS] = {0};
    void *links[WORKERS] = {NULL};
    for (unsigned i = 0; i < WORKERS; i++)
        make_ready(f, i);
    for (unsigned i = 0; i < CLIENTS; i++) {
        open_ws(f, i);
        const unsigned turn = i % WORKERS;
        if (i < WORKERS)
            links[turn] = client_of(f, i)->consumer;
        assert_ptr_equal(client_of(f, i)->consumer, links[turn]); /* equal ones take turns */
        count[turn]++;
    }
    assert_ptr_not_equal(links[0], links[1]);
    assert_ptr_not_equal(links[1], links[2]);
    for (unsigned i = 0; i < WORKERS; i++)
        assert_int_equal(count[i], CLIENTS / WORKERS);
    hosted_kind.gone(client_of(f, 4), 1000, slice_make(NULL, 0)); /* of worker 1 */
    assert_null(client_of(f, 4)->kind);
    open_ws(f, 4);
    assert_ptr_equal(client_of(f, 4)->consumer, links[1]);
}

static void a_worker_with_too_much_waiting_gets_no_new_clients_until_it_has_read(void **state)
{
    struct fixture *f = *state;
    static const uint8_t much[60000];
    size_t opened = 0;
    make_ready(f, 0);
    while (hosted_kind.can_open(&f->h)) {
        assert_int_equal(open_client(f, 0, &http_scope, slice_make(much, sizeof(much)), true),
                         ERR_OK);
        hosted_kind.gone(client_of(f, 0), 0, slice_make(NULL, 0));
        peer_turn(&f->loop);
        opened += sizeof(much);
        assert_in_range(opened, 1, 8 * 1024 * 1024);
    }
    assert_in_range(opened, 4 * 1024 * 1024, 8 * 1024 * 1024);
    assert_int_equal(open_client(f, 0, &http_scope, slice_make(NULL, 0), false), ERR_CLOSED);
    assert_int_equal(f->has_room[0], 0);
    for (unsigned i = 0; i < 10000 && f->has_room[0] == 0; i++)
        drain(f, 0);
    assert_int_equal(f->has_room[0], 1);
    assert_true(hosted_kind.can_open(&f->h));
    open_ws(f, 0);
}

static void shutdown_is_said_to_every_worker(void **state)
{
    struct fixture *f = *state;
    make_ready(f, 0);
    attach(f, 1);
    hosted_shutdown(&f->h, 7);
    hosted_shutdown(&f->h, 7);
    peer_expect(&f->loop, f->worker[0], PEER_TEXT("\x92\x09\x07"));
    peer_expect(&f->loop, f->worker[1], PEER_TEXT("\x92\x09\x07"));
    assert_false(hosted_kind.can_open(&f->h));
    assert_int_equal(open_client(f, 0, &http_scope, slice_make(NULL, 0), false), ERR_CLOSED);
}

/* ---- the end of a worker ---- */

static void the_clients_of_a_lost_worker_are_told_and_no_others(void **state)
{
    struct fixture *f = *state;
    make_ready(f, 0);
    make_ready(f, 1);
    open_ws(f, 0);
    open_ws(f, 1);
    close(f->worker[0]);
    f->worker[0] = -1;
    for (unsigned turns = 0; turns < 3; turns++)
        peer_turn(&f->loop);
    assert_int_equal(f->lost[0], 1);
    peer_assert_told(&f->clients[0], "fail(lost)");
    peer_assert_told(&f->clients[1], "");
    open_ws(f, 2);
    assert_ptr_equal(client_of(f, 2)->consumer, client_of(f, 1)->consumer);
}

static void a_detached_worker_is_lost_for_the_reason_given(void **state)
{
    struct fixture *f = *state;
    make_ready(f, 0);
    open_ws(f, 0);
    hosted_detach(&f->h, 1, "there is none");
    assert_int_equal(f->lost[0] + f->lost[1], 0);
    hosted_detach(&f->h, 0, "it was killed");
    hosted_detach(&f->h, 0, "twice");
    assert_int_equal(f->lost[0], 1);
    assert_string_equal(f->why, "it was killed");
    peer_assert_told(&f->clients[0], "fail(lost)");
    assert_false(hosted_kind.can_open(&f->h));
}

static void closing_tells_the_clients_and_not_the_owner(void **state)
{
    struct fixture *f = *state;
    make_ready(f, 0);
    make_ready(f, 1);
    open_ws(f, 0);
    open_ws(f, 1);
    hosted_close(&f->h);
    hosted_close(&f->h);
    peer_assert_told(&f->clients[0], "fail(lost)");
    peer_assert_told(&f->clients[1], "fail(lost)");
    assert_int_equal(f->lost[0] + f->lost[1], 0);
    assert_false(hosted_kind.can_open(&f->h));
}

static void an_attached_worker_may_be_closed_at_once(void **state)
{
    struct fixture *f = *state;
    int ours = -1;
    f->worker[0] = peer_socket(&ours);
    assert_int_equal(hosted_attach(&f->h, ours, 0, worker_load_new(0)), ERR_OK);
    hosted_close(&f->h);
    assert_int_equal(hosted_attach(&f->h, -1, 1, worker_load_new(0)) == ERR_OK, false);
}

static void the_owner_may_close_when_it_is_told_of_a_loss(void **state)
{
    struct fixture *f = *state;
    make_ready(f, 0);
    make_ready(f, 1);
    f->reaction = DO_CLOSE;
    hosted_detach(&f->h, 0, "it was killed");
    assert_int_equal(f->lost[0], 1);
    assert_int_equal(f->lost[1], 0);
}

static void the_owner_may_detach_a_worker_that_became_ready(void **state)
{
    struct fixture *f = *state;
    attach(f, 0);
    f->reaction = DO_DETACH;
    peer_send(&f->loop, f->worker[0], PEER_TEXT(READY "\x92\x08\x01"));
    assert_int_equal(f->ready[0], 1);
    assert_int_equal(f->lost[0], 1);
}

/* ---- beats ---- */

/* One pass over the links, without waiting for it. */
static void pass(struct fixture *f)
{
    f->wheel_ms += 2000;
    wheel_advance(&f->loop.wheel, f->wheel_ms);
}

static void a_worker_that_answers_is_asked_again(void **state)
{
    struct fixture *f = *state;
    for (unsigned i = 1; i <= 20; i++) {
        const uint8_t beat[] = {0x92, 0x08, (uint8_t)i};
        pass(f);
        peer_expect(&f->loop, f->worker[0], slice_make(beat, sizeof(beat)));
        if (i % 3 == 0)
            pass(f); /* late, but in time */
        peer_send(&f->loop, f->worker[0], slice_make(beat, sizeof(beat)));
    }
    assert_int_equal(f->hung[0], 0);
}

static void a_worker_that_does_not_answer_is_reported_once(void **state)
{
    struct fixture *f = *state;
    pass(f);
    for (unsigned i = 0; i < HANG_MS / 1000 - 1; i++)
        pass(f);
    assert_int_equal(f->hung[0], 0);
    pass(f);
    assert_int_equal(f->hung[0], 1);
    for (unsigned i = 0; i < 10; i++)
        pass(f);
    assert_int_equal(f->hung[0], 1);
    peer_expect(&f->loop, f->worker[0], PEER_TEXT("\x92\x08\x01")); /* one beat at a time */
}

static void an_answer_with_another_number_is_none(void **state)
{
    struct fixture *f = *state;
    pass(f);
    peer_send(&f->loop, f->worker[0], PEER_TEXT("\x92\x08\x63"));
    for (unsigned i = 0; i < HANG_MS / 1000; i++)
        pass(f);
    assert_int_equal(f->hung[0], 1);
}

static void a_worker_that_still_starts_is_not_asked(void **state)
{
    struct fixture *f = *state;
    attach(f, 0);
    for (unsigned i = 0; i < 10; i++)
        pass(f);
    assert_int_equal(f->hung[0], 0);
    peer_expect(&f->loop, f->worker[0], PEER_TEXT(""));
}

static void the_owner_may_detach_hung_workers_when_it_is_told(void **state)
{
    struct fixture *f = *state;
    for (unsigned i = 0; i < WORKERS; i++)
        make_ready(f, i);
    f->reaction = DO_DETACH;
    for (unsigned i = 0; i < HANG_MS / 1000 + 1; i++)
        pass(f);
    for (unsigned i = 0; i < WORKERS; i++) {
        assert_int_equal(f->hung[i], 1);
        assert_int_equal(f->lost[i], 1);
    }
}

static void the_owner_may_close_when_it_is_told_of_a_hung_worker(void **state)
{
    struct fixture *f = *state;
    for (unsigned i = 0; i < WORKERS; i++)
        make_ready(f, i);
    f->reaction = DO_CLOSE;
    for (unsigned i = 0; i < 10; i++)
        pass(f);
    assert_int_equal(f->hung[0] + f->hung[1] + f->hung[2], 1);
    assert_int_equal(f->loop.wheel.count, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(without_a_ready_worker_nothing_opens, setup, teardown),
        cmocka_unit_test_setup_teardown(a_client_goes_to_the_worker_with_the_fewest, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(
            a_worker_with_too_much_waiting_gets_no_new_clients_until_it_has_read, setup, teardown),
        cmocka_unit_test_setup_teardown(shutdown_is_said_to_every_worker, setup, teardown),
        cmocka_unit_test_setup_teardown(the_clients_of_a_lost_worker_are_told_and_no_others, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_detached_worker_is_lost_for_the_reason_given, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(closing_tells_the_clients_and_not_the_owner, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(an_attached_worker_may_be_closed_at_once, setup, teardown),
        cmocka_unit_test_setup_teardown(the_owner_may_close_when_it_is_told_of_a_loss, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(the_owner_may_detach_a_worker_that_became_ready, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_worker_that_answers_is_asked_again, setup_ready,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_worker_that_does_not_answer_is_reported_once, setup_ready,
                                        teardown),
        cmocka_unit_test_setup_teardown(an_answer_with_another_number_is_none, setup_ready,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_worker_that_still_starts_is_not_asked, setup, teardown),
        cmocka_unit_test_setup_teardown(the_owner_may_detach_hung_workers_when_it_is_told, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(the_owner_may_close_when_it_is_told_of_a_hung_worker, setup,
                                        teardown),
    };
    signal(SIGPIPE, SIG_IGN); /* as the program does */
    return cmocka_run_group_tests(tests, NULL, NULL);
}
