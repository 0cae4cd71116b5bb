/* SPDX-License-Identifier: BSD-3-Clause */
#include "consumers/hosted/worker_load.h"

#include "tests/support/unit.h"

#include <uv.h>

static void clients_come_and_go(void **state)
{
    (void)state;
    struct worker_load *load = worker_load_new(0);
    assert_int_equal(worker_load_clients(load), 0);
    for (unsigned i = 1; i <= 5; i++) {
        assert_false(worker_load_enter(load));
        assert_int_equal(worker_load_clients(load), i);
    }
    worker_load_leave(load);
    assert_int_equal(worker_load_clients(load), 4);
    worker_load_unref(load);
}

static void the_last_that_it_should_take_wears_it_out_once(void **state)
{
    (void)state;
    struct worker_load *load = worker_load_new(3);
    for (unsigned i = 1; i <= 9; i++) {
        assert_int_equal(worker_load_enter(load), i == 3);
        worker_load_leave(load); /* who left was taken, too */
    }
    worker_load_unref(load);
}

enum { THREADS = 4, ROUNDS = 20000 };

struct crowd {
    struct worker_load *load; /* a reference */
    unsigned worn;
};

static void come_and_go(void *arg)
{
    struct crowd *crowd = arg;
    for (unsigned i = 0; i < ROUNDS; i++) {
        if (worker_load_enter(crowd->load))
            crowd->worn++;
        if (i % 4 != 0)
            worker_load_leave(crowd->load);
    }
    worker_load_unref(crowd->load);
}

static void loops_count_together(void **state)
{
    (void)state;
    struct worker_load *load = worker_load_new((uint64_t)THREADS * ROUNDS / 2);
    struct crowd crowds[THREADS];
    uv_thread_t threads[THREADS];
    unsigned worn = 0;
    for (unsigned i = 0; i < THREADS; i++) {
        crowds[i] = (struct crowd){.load = worker_load_ref(load)};
        assert_int_equal(uv_thread_create(&threads[i], come_and_go, &crowds[i]), 0);
    }
    for (unsigned i = 0; i < THREADS; i++) {
        uv_thread_join(&threads[i]);
        worn += crowds[i].worn;
    }
    assert_int_equal(worn, 1);
    assert_int_equal(worker_load_clients(load), THREADS * ROUNDS / 4);
    worker_load_unref(load);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(clients_come_and_go),
        cmocka_unit_test(the_last_that_it_should_take_wears_it_out_once),
        cmocka_unit_test(loops_count_together),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
