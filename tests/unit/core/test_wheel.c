/* SPDX-License-Identifier: BSD-3-Clause */
#include "core/wheel.h"

#include "tests/support/unit.h"

#include <stdlib.h>

enum { ROTATION_MS = WHEEL_SLOTS * WHEEL_TICK_MS, START_MS = 123456 };

/* An entry that counts, and does to other entries what the test wants. */
struct probe {
    struct wheel_entry entry;
    struct wheel *wheel;
    unsigned fired;
    struct probe *set;   /* gets the deadline set_at_ms */
    struct probe *clear; /* is unset */
    struct probe *freed; /* is unset and freed */
    uint64_t set_at_ms;
};

static void on_expired(struct wheel_entry *entry)
{
    struct probe *p = CONTAINER_OF(entry, struct probe, entry);
    assert_false(wheel_entry_is_set(entry));
    p->fired++;
    if (p->clear != NULL)
        wheel_clear(p->wheel, &p->clear->entry);
    if (p->freed != NULL) {
        wheel_clear(p->wheel, &p->freed->entry);
        free(p->freed);
        p->freed = NULL;
    }
    if (p->set != NULL)
        wheel_set(p->wheel, &p->set->entry, p->set_at_ms);
}

static void probe_init(struct probe *p, struct wheel *wheel)
{
    *p = (struct probe){.wheel = wheel};
    wheel_entry_init(&p->entry, on_expired);
}

static void an_entry_fires_once_at_its_deadline(void **state)
{
    (void)state;
    struct wheel wheel;
    struct probe p;
    wheel_init(&wheel, START_MS);
    probe_init(&p, &wheel);
    wheel_set(&wheel, &p.entry, START_MS + 250);
    wheel_advance(&wheel, START_MS + 249);
    assert_int_equal(p.fired, 0);
    assert_true(wheel_entry_is_set(&p.entry));
    wheel_advance(&wheel, START_MS + 250);
    assert_int_equal(p.fired, 1);
    assert_int_equal(wheel.count, 0);
    wheel_advance(&wheel, START_MS + 10 * ROTATION_MS);
    assert_int_equal(p.fired, 1);
}

static void a_deadline_later_in_a_tick_that_was_handled_is_not_forgotten(void **state)
{
    (void)state;
    struct wheel wheel;
    struct probe p;
    wheel_init(&wheel, 1000);
    probe_init(&p, &wheel);
    wheel_set(&wheel, &p.entry, 1090);
    wheel_advance(&wheel, 1050);
    assert_int_equal(p.fired, 0);
    wheel_advance(&wheel, 1090);
    assert_int_equal(p.fired, 1);
}

static void a_deadline_in_the_past_fires_at_the_next_advance(void **state)
{
    (void)state;
    struct wheel wheel;
    struct probe p;
    wheel_init(&wheel, START_MS);
    probe_init(&p, &wheel);
    wheel_set(&wheel, &p.entry, 0);
    assert_int_equal(p.fired, 0);
    wheel_advance(&wheel, START_MS);
    assert_int_equal(p.fired, 1);
}

static void entries_of_later_rotations_stay(void **state)
{
    (void)state;
    struct wheel wheel;
    struct probe p[4];
    wheel_init(&wheel, START_MS);
    for (unsigned i = 0; i < 4; i++) {
        probe_init(&p[i], &wheel);
        wheel_set(&wheel, &p[i].entry, START_MS + 500 + i * (uint64_t)ROTATION_MS);
    }
    for (unsigned i = 0; i < 4; i++) {
        wheel_advance(&wheel, START_MS + 500 + i * (uint64_t)ROTATION_MS);
        assert_int_equal(wheel.count, 3 - i);
        assert_int_equal(p[i].fired, 1);
    }
}

static void a_large_jump_fires_everything_once(void **state)
{
    (void)state;
    struct wheel wheel;
    struct probe *p = calloc(5000, sizeof(*p));
    assert_non_null(p);
    wheel_init(&wheel, START_MS);
    for (unsigned i = 0; i < 5000; i++) {
        probe_init(&p[i], &wheel);
        wheel_set(&wheel, &p[i].entry, START_MS + i * 37);
    }
    wheel_advance(&wheel, UINT64_MAX / 2);
    for (unsigned i = 0; i < 5000; i++)
        assert_int_equal(p[i].fired, 1);
    assert_int_equal(wheel.count, 0);
    free(p);
}

static void a_clock_that_goes_back_does_nothing(void **state)
{
    (void)state;
    struct wheel wheel;
    struct probe p;
    wheel_init(&wheel, START_MS);
    probe_init(&p, &wheel);
    wheel_set(&wheel, &p.entry, START_MS + 1000);
    wheel_advance(&wheel, 0);
    assert_int_equal(p.fired, 0);
    wheel_advance(&wheel, START_MS + 1000);
    assert_int_equal(p.fired, 1);
}

static void moving_and_clearing_are_counted(void **state)
{
    (void)state;
    struct wheel wheel;
    struct probe p;
    wheel_init(&wheel, START_MS);
    probe_init(&p, &wheel);
    wheel_clear(&wheel, &p.entry);
    assert_int_equal(wheel.count, 0);
    wheel_set(&wheel, &p.entry, START_MS + 100);
    wheel_set(&wheel, &p.entry, START_MS + 900);
    assert_int_equal(wheel.count, 1);
    wheel_advance(&wheel, START_MS + 800);
    assert_int_equal(p.fired, 0);
    wheel_clear(&wheel, &p.entry);
    wheel_clear(&wheel, &p.entry);
    assert_int_equal(wheel.count, 0);
    wheel_advance(&wheel, START_MS + 2000);
    assert_int_equal(p.fired, 0);
}

static void a_callback_may_clear_and_free_others_that_are_due_too(void **state)
{
    (void)state;
    struct wheel wheel;
    struct probe first;
    struct probe cleared;
    struct probe *freed = malloc(sizeof(*freed));
    assert_non_null(freed);
    wheel_init(&wheel, START_MS);
    probe_init(&first, &wheel);
    probe_init(&cleared, &wheel);
    probe_init(freed, &wheel);
    wheel_set(&wheel, &first.entry, START_MS + 100);
    wheel_set(&wheel, &cleared.entry, START_MS + 100);
    wheel_set(&wheel, &freed->entry, START_MS + 100);
    first.clear = &cleared;
    first.freed = freed;
    wheel_advance(&wheel, START_MS + 100);
    assert_int_equal(first.fired, 1);
    assert_int_equal(cleared.fired, 0);
    assert_int_equal(wheel.count, 0);
}

static void a_callback_may_postpone_another_that_is_due_too(void **state)
{
    (void)state;
    struct wheel wheel;
    struct probe first;
    struct probe second;
    wheel_init(&wheel, START_MS);
    probe_init(&first, &wheel);
    probe_init(&second, &wheel);
    wheel_set(&wheel, &first.entry, START_MS + 100);
    wheel_set(&wheel, &second.entry, START_MS + 100);
    first.set = &second;
    first.set_at_ms = START_MS + 5000;
    wheel_advance(&wheel, START_MS + 100);
    assert_int_equal(second.fired, 0);
    assert_int_equal(wheel.count, 1);
    wheel_advance(&wheel, START_MS + 5000);
    assert_int_equal(second.fired, 1);
}

static void a_callback_that_sets_itself_in_the_past_fires_once_per_advance(void **state)
{
    (void)state;
    struct wheel wheel;
    struct probe p;
    wheel_init(&wheel, START_MS);
    probe_init(&p, &wheel);
    p.set = &p;
    p.set_at_ms = 0;
    wheel_set(&wheel, &p.entry, START_MS);
    for (unsigned i = 1; i <= 3; i++) {
        wheel_advance(&wheel, START_MS + i * 1000);
        assert_int_equal(p.fired, i);
    }
    wheel_advance(&wheel, START_MS + 3000); /* the same moment again */
    assert_int_equal(p.fired, 4);
}

/* The wheel against a plain list of deadlines. */
static void random_deadlines_fire_in_the_first_advance_that_reaches_them(void **state)
{
    (void)state;
    enum { PROBES = 200 };
    static struct probe p[PROBES];
    uint64_t deadline[PROBES];
    unsigned expected[PROBES] = {0};
    struct wheel wheel;
    uint64_t now = START_MS;
    uint64_t seed = 99;
    wheel_init(&wheel, now);
    for (unsigned i = 0; i < PROBES; i++) {
        probe_init(&p[i], &wheel);
        deadline[i] = UINT64_MAX;
    }
    for (unsigned turn = 0; turn < 2000; turn++) {
        const unsigned i = unit_random(&seed) % PROBES;
        deadline[i] = now + unit_random(&seed) % (3 * ROTATION_MS);
        wheel_set(&wheel, &p[i].entry, deadline[i]);
        now += unit_random(&seed) % 300;
        wheel_advance(&wheel, now);
        for (unsigned k = 0; k < PROBES; k++) {
            if (deadline[k] <= now) {
                expected[k]++;
                deadline[k] = UINT64_MAX;
            }
            assert_int_equal(p[k].fired, expected[k]);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_entry_fires_once_at_its_deadline),
        cmocka_unit_test(a_deadline_later_in_a_tick_that_was_handled_is_not_forgotten),
        cmocka_unit_test(a_deadline_in_the_past_fires_at_the_next_advance),
        cmocka_unit_test(entries_of_later_rotations_stay),
        cmocka_unit_test(a_large_jump_fires_everything_once),
        cmocka_unit_test(a_clock_that_goes_back_does_nothing),
        cmocka_unit_test(moving_and_clearing_are_counted),
        cmocka_unit_test(a_callback_may_clear_and_free_others_that_are_due_too),
        cmocka_unit_test(a_callback_may_postpone_another_that_is_due_too),
        cmocka_unit_test(a_callback_that_sets_itself_in_the_past_fires_once_per_advance),
        cmocka_unit_test(random_deadlines_fire_in_the_first_advance_that_reaches_them),
    };
    return cmocka_run_group_tests_name("wheel", tests, NULL, NULL);
}
