/* SPDX-License-Identifier: BSD-3-Clause
 *
 * What a message with very many names costs.
 */
#include "channel_layer/deliveries.h"
#include "channel_layer/layer_groups.h"

#include "tests/support/layer_fixture.h"

static int setup(void **state)
{
    struct layer_fixture *f = fixture_open("{}", false);
    for (unsigned i = 0; i < 3; i++)
        fixture_attach(f, i);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    fixture_free(*state);
    return 0;
}

static struct layer_group *join(struct layer_fixture *f, unsigned i, const char *group)
{
    struct fixture_call call;
    layer_join(fixture_client(f, i), slice_str(group), fixture_call(f, &call, "join"));
    fixture_turn(f);
    f->len = 0;
    return layer_find_group(f->layer, slice_str(group));
}

static void a_group_that_is_named_often_counts_once(void **state)
{
    struct layer_fixture *f = *state;
    struct deliveries d;
    struct layer_group *room = join(f, 0, "room");
    struct layer_group *hall = join(f, 0, "hall");
    (void)join(f, 1, "room");
    deliveries_init(&d, f->layer);
    for (unsigned i = 0; i < 1000; i++) {
        deliveries_add_group(&d, room);
        deliveries_add_group(&d, hall);
    }
    assert_int_equal(d.count, 1 + 3);
    deliveries_send(&d, fixture_body(f, "x"));
    fixture_told(f, "deliver(0 groups=room,hall [x]) deliver(1 groups=room [x]) ");
    deliveries_add_group(&d, room); /* of the next message */
    deliveries_send(&d, fixture_body(f, "y"));
    fixture_told(f, "deliver(0 groups=room [y]) deliver(1 groups=room [y]) ");
    deliveries_deinit(&d);
}

static void names_have_a_ceiling_and_what_is_over_it_is_counted(void **state)
{
    enum { OVER = 10 };
    struct layer_fixture *f = *state;
    struct deliveries d;
    struct layer_group *room = join(f, 1, "room");
    deliveries_init(&d, f->layer);
    for (unsigned i = 1; i < DELIVERY_HITS_MAX + OVER; i++)
        deliveries_add(&d, fixture_client(f, 0), slice_str("x"));
    deliveries_add_group(&d, room);
    assert_int_equal(d.count, DELIVERY_HITS_MAX);
    assert_true(d.room <= DELIVERY_HITS_MAX);
    assert_int_equal(layer_stats(f->layer)->dropped_full, OVER + 1);
    f->clients[0].is_full = true; /* else it were told of a million channels */
    deliveries_send(&d, fixture_body(f, "x"));
    fixture_told(f, "");
    assert_int_equal(layer_stats(f->layer)->dropped_full, OVER + 2);
    f->clients[0].is_full = false;
    deliveries_add(&d, fixture_client(f, 0), slice_str("x")); /* there is room again */
    deliveries_send(&d, fixture_body(f, "y"));
    fixture_told(f, "deliver(0 channels=x [y]) ");
    deliveries_deinit(&d);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_group_that_is_named_often_counts_once),
        TEST(names_have_a_ceiling_and_what_is_over_it_is_counted),
    };
    return cmocka_run_group_tests_name("deliveries", tests, NULL, NULL);
}
