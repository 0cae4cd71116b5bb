/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Normal channels: who gets which message, in which order, and what becomes of those that nobody
 * takes.
 */
#include "channel_layer/queues.h"

#include "channel_layer/backend.h"

#include "tests/support/layer_fixture.h"

static struct layer_fixture *open_with(const char *settings, bool has_backend)
{
    struct layer_fixture *f = fixture_open(settings, has_backend);
    for (unsigned i = 0; i < 3; i++)
        fixture_attach(f, i);
    return f;
}

static int setup(void **state)
{
    *state = open_with("{\"capacity\": 3, \"channel_capacity\": {\"big*\": 5}}", false);
    return 0;
}

static int setup_backend(void **state)
{
    *state = open_with("{}", true);
    return 0;
}

static int teardown(void **state)
{
    fixture_free(*state);
    return 0;
}

static uint64_t receive(struct layer_fixture *f, unsigned i)
{
    struct err_text why;
    const uint64_t token = layer_receive(fixture_client(f, i), slice_str("jobs"), &why);
    assert_true(token != 0);
    return token;
}

static enum err put_to(struct layer_fixture *f, const char *channel, const char *body)
{
    struct fixture_call call;
    const size_t len = f->len;
    layer_send(fixture_client(f, 0), slice_str(channel), fixture_body(f, body),
               fixture_call(f, &call, "send"));
    const size_t told = f->len; /* a message that was handed over */
    fixture_turn(f);
    assert_int_equal(call.ends, 1);
    f->len = told > len ? told : len; /* without the end of the call */
    return call.err;
}

static enum err put(struct layer_fixture *f, const char *body)
{
    return put_to(f, "jobs", body);
}

/* Receives and takes. */
static void take(struct layer_fixture *f, unsigned i, const char *want)
{
    receive(f, i);
    fixture_turn(f);
    fixture_told(f, want);
    layer_taken(fixture_client(f, i), f->clients[i].token);
}

static void messages_come_in_the_order_in_which_they_were_sent(void **state)
{
    struct layer_fixture *f = *state;
    assert_int_equal(put(f, "a"), ERR_OK);
    assert_int_equal(put(f, "b"), ERR_OK);
    take(f, 1, "message(1 jobs [a]) ");
    take(f, 2, "message(2 jobs [b]) ");
    assert_int_equal(f->layer->queues.bytes, 0);
    assert_int_equal(f->layer->queues.by_name.count, 0);
}

static void receives_are_served_in_their_order_over_all_clients(void **state)
{
    struct layer_fixture *f = *state;
    receive(f, 2);
    receive(f, 1);
    receive(f, 2);
    fixture_turn(f);
    assert_int_equal(put(f, "a"), ERR_OK);
    assert_int_equal(put(f, "b"), ERR_OK);
    assert_int_equal(put(f, "c"), ERR_OK);
    fixture_told(f, "message(2 jobs [a]) message(1 jobs [b]) message(2 jobs [c]) ");
}

static void a_message_is_never_told_before_its_token_is_known(void **state)
{
    struct layer_fixture *f = *state;
    assert_int_equal(put(f, "a"), ERR_OK);
    const uint64_t token = receive(f, 1);
    fixture_told(f, "");
    fixture_turn(f);
    fixture_told(f, "message(1 jobs [a]) ");
    assert_int_equal(f->clients[1].token, token);
}

static void a_channel_has_its_capacity_and_no_more(void **state)
{
    struct layer_fixture *f = *state;
    for (unsigned i = 0; i < 3; i++)
        assert_int_equal(put(f, "x"), ERR_OK);
    assert_int_equal(put(f, "x"), ERR_FULL);
    assert_int_equal(put_to(f, "other", "x"), ERR_OK);
    for (unsigned i = 0; i < 5; i++)
        assert_int_equal(put_to(f, "bigger", "x"), ERR_OK);
    assert_int_equal(put_to(f, "bigger", "x"), ERR_FULL);
    take(f, 1, "message(1 jobs [x]) ");
    assert_int_equal(put(f, "x"), ERR_OK);
    assert_int_equal(layer_stats(f->layer)->full, 2);
}

static void specific_channels_of_one_mailbox_share_a_queue(void **state)
{
    struct layer_fixture *f = *state;
    assert_int_equal(put_to(f, "specific.other!a", "x"), ERR_OK);
    assert_int_equal(put_to(f, "specific.other!b", "x"), ERR_OK);
    assert_int_equal(put_to(f, "specific.other!c", "x"), ERR_OK);
    assert_int_equal(put_to(f, "specific.other!d", "x"), ERR_FULL);
}

static void what_is_not_taken_goes_back_to_the_front_in_its_order(void **state)
{
    struct layer_fixture *f = *state;
    assert_int_equal(put(f, "a"), ERR_OK);
    assert_int_equal(put(f, "b"), ERR_OK);
    assert_int_equal(put(f, "c"), ERR_OK);
    uint64_t tokens[2];
    for (unsigned i = 0; i < 2; i++) {
        receive(f, 1);
        fixture_turn(f);
        tokens[i] = f->clients[1].token;
    }
    fixture_told(f, "message(1 jobs [a]) message(1 jobs [b]) ");
    layer_put_back(fixture_client(f, 1), tokens[1]);
    layer_put_back(fixture_client(f, 1), tokens[0]);
    layer_put_back(fixture_client(f, 1), tokens[0]); /* is nothing */
    fixture_turn(f);
    take(f, 2, "message(2 jobs [a]) ");
    take(f, 2, "message(2 jobs [b]) ");
    take(f, 2, "message(2 jobs [c]) ");
    assert_int_equal(layer_stats(f->layer)->put_back, 2);
}

static void what_a_client_had_not_taken_when_it_went_goes_to_the_next(void **state)
{
    struct layer_fixture *f = *state;
    for (unsigned i = 0; i < 3; i++)
        receive(f, 1);
    assert_int_equal(put(f, "a"), ERR_OK);
    assert_int_equal(put(f, "b"), ERR_OK);
    fixture_told(f, "message(1 jobs [a]) message(1 jobs [b]) ");
    receive(f, 2);
    receive(f, 2);
    fixture_detach(f, 1);
    fixture_turn(f);
    fixture_told(f, "message(2 jobs [a]) message(2 jobs [b]) ");
    assert_int_equal(put(f, "c"), ERR_OK); /* its third receive is gone, too */
    take(f, 0, "message(0 jobs [c]) ");
}

/* It gets @count messages, and is gone. */
static void die(struct layer_fixture *f, unsigned i, unsigned count, const char *want)
{
    for (unsigned n = 0; n < count; n++)
        receive(f, i);
    fixture_turn(f);
    fixture_told(f, want);
    fixture_detach(f, i);
    fixture_attach(f, i);
}

static void a_message_with_which_three_clients_died_is_dropped(void **state)
{
    struct layer_fixture *f = *state;
    assert_int_equal(put(f, "a"), ERR_OK);
    assert_int_equal(put(f, "b"), ERR_OK);
    for (int n = 0; n < STRIKES_OUT; n++)
        die(f, 1, 1, "message(1 jobs [a]) ");
    take(f, 2, "message(2 jobs [b]) ");
    assert_int_equal(layer_stats(f->layer)->dropped_deadly, 1);
    assert_int_equal(layer_stats(f->layer)->put_back, STRIKES_OUT - 1);
    assert_int_equal(f->layer->queues.bytes, 0);
}

static void a_message_that_was_handled_is_no_suspect(void **state)
{
    struct layer_fixture *f = *state;
    for (int round = 0; round < 3; round++) {
        assert_int_equal(put(f, "a"), ERR_OK);
        for (int n = 1; n < STRIKES_OUT; n++)
            die(f, 1, 1, "message(1 jobs [a]) ");
        take(f, 2, "message(2 jobs [a]) ");
    }
    assert_int_equal(layer_stats(f->layer)->dropped_deadly, 0);
}

static void of_several_messages_the_last_is_the_suspect(void **state)
{
    struct layer_fixture *f = *state;
    assert_int_equal(put(f, "a"), ERR_OK);
    assert_int_equal(put(f, "b"), ERR_OK);
    for (int n = 0; n < STRIKES_OUT; n++)
        die(f, 1, 2, "message(1 jobs [a]) message(1 jobs [b]) ");
    take(f, 2, "message(2 jobs [a]) ");
    receive(f, 2);
    fixture_turn(f);
    fixture_told(f, "");
    assert_int_equal(layer_stats(f->layer)->dropped_deadly, 1);
}

static void suspects_beyond_number_forget_the_oldest(void **state)
{
    struct layer_fixture *f = *state;
    struct strikes *s = &f->layer->queues.strikes;
    const uint64_t first = strikes_id(s, slice_str("jobs"), slice_str("x"));
    for (int n = 1; n < STRIKES_OUT; n++)
        assert_false(strikes_add(s, first));
    for (unsigned i = 0; i < STRIKES_KEPT; i++)
        assert_false(strikes_add(s, 1000 + i));
    assert_int_equal(s->used, STRIKES_KEPT);
    for (int n = 1; n < STRIKES_OUT; n++)
        assert_false(strikes_add(s, first));
    assert_true(strikes_add(s, first));
}

static void a_cancelled_receive_gets_nothing(void **state)
{
    struct layer_fixture *f = *state;
    const uint64_t first = receive(f, 1);
    receive(f, 2);
    layer_cancel(fixture_client(f, 2), first); /* not its own */
    layer_cancel(fixture_client(f, 1), first);
    layer_cancel(fixture_client(f, 1), first);
    assert_int_equal(put(f, "a"), ERR_OK);
    fixture_told(f, "message(2 jobs [a]) ");
    layer_cancel(fixture_client(f, 2), f->clients[2].token); /* too late */
    layer_put_back(fixture_client(f, 2), f->clients[2].token);
    take(f, 1, "message(1 jobs [a]) ");
}

static void taken_messages_stay_taken(void **state)
{
    struct layer_fixture *f = *state;
    receive(f, 1);
    assert_int_equal(put(f, "a"), ERR_OK);
    f->len = 0;
    layer_taken(fixture_client(f, 2), f->clients[1].token); /* not its own */
    layer_taken(fixture_client(f, 1), f->clients[1].token);
    layer_put_back(fixture_client(f, 1), f->clients[1].token);
    receive(f, 2);
    fixture_turn(f);
    fixture_told(f, "");
}

static void a_client_without_room_is_passed_over_until_it_has_some(void **state)
{
    struct layer_fixture *f = *state;
    receive(f, 1);
    receive(f, 2);
    f->clients[1].is_full = true;
    assert_int_equal(put(f, "a"), ERR_OK);
    fixture_told(f, "message(2 jobs [a]) ");
    assert_int_equal(put(f, "b"), ERR_OK);
    fixture_told(f, "");
    f->clients[1].is_full = false;
    layer_room(fixture_client(f, 1));
    fixture_turn(f);
    fixture_told(f, "message(1 jobs [b]) ");
}

static void messages_expire_and_are_counted(void **state)
{
    (void)state;
    struct layer_fixture *f = open_with("{\"expiry\": 1, \"capacity\": 2}", false);
    assert_int_equal(put(f, "a"), ERR_OK);
    assert_int_equal(put_to(f, "other", "b"), ERR_OK);
    while (layer_stats(f->layer)->dropped_expired < 2)
        uv_run(&f->uv, UV_RUN_ONCE); /* the timer of the layer is all that can wake it */
    assert_int_equal(f->layer->queues.by_name.count, 0);
    receive(f, 1);
    fixture_turn(f);
    fixture_told(f, "");
    fixture_free(f);
}

static void a_flush_forgets_what_is_in_hands(void **state)
{
    struct layer_fixture *f = *state;
    struct fixture_call call;
    receive(f, 1);
    assert_int_equal(put(f, "a"), ERR_OK);
    assert_int_equal(put(f, "b"), ERR_OK);
    const uint64_t token = f->clients[1].token;
    layer_flush(fixture_client(f, 0), fixture_call(f, &call, "flush"));
    fixture_turn(f);
    f->len = 0;
    layer_put_back(fixture_client(f, 1), token);
    const uint64_t waiting = receive(f, 2);
    fixture_turn(f);
    fixture_told(f, "");
    layer_cancel(fixture_client(f, 2), waiting);
    assert_int_equal(f->layer->queues.bytes, 0);
}

static void who_waits_in_vain_is_told_and_the_next_one_may_ask(void **state)
{
    (void)state;
    struct layer_fixture *f = open_with("{\"hosts\": [\"redis://localhost:6379/0\"]}", true);
    receive(f, 1);
    receive(f, 2);
    f->len = 0;
    layer_normal_failed(f->layer, slice_str("others"), ERR_UNSUPPORTED, "no such queue");
    fixture_told(f, "");
    layer_normal_failed(f->layer, slice_str("jobs"), ERR_UNSUPPORTED, "a cluster");
    fixture_told(f, "failed(1 1 not supported) failed(2 2 not supported) want(jobs 0) ");
    assert_int_equal(f->layer->queues.tokens.count, 0);
    layer_cancel(fixture_client(f, 1), 1); /* too late */
    receive(f, 1);
    fixture_told(f, "want(jobs 1) ");
    fixture_free(f);
}

static void all_messages_together_have_a_ceiling(void **state)
{
    (void)state;
    struct layer_fixture *f = open_with("{\"capacity\": 1000}", false);
    const size_t len = 8 * 1024 * 1024;
    uint8_t *bytes = malloc(len);
    assert_non_null(bytes);
    memset(bytes, 0, len);
    const size_t fit = QUEUES_BYTES_MAX / len - 1; /* with a little for each on top */
    for (size_t i = 0; i < fit; i++)
        assert_int_equal(queues_put(&f->layer->queues, slice_str("jobs"), slice_make(bytes, len)),
                         ERR_OK);
    assert_int_equal(queues_put(&f->layer->queues, slice_str("a"), slice_make(bytes, len)),
                     ERR_FULL);
    assert_int_equal(queues_put(&f->layer->queues, slice_str("a"), slice_make(bytes, 100)), ERR_OK);
    mem_fail_after(0);
    assert_int_equal(queues_put(&f->layer->queues, slice_str("a"), slice_make(bytes, 100)),
                     ERR_NOMEM);
    free(bytes);
    fixture_free(f);
}

static void a_channel_counts_against_the_ceiling_as_its_messages_do(void **state)
{
    struct layer_fixture *f = *state;
    struct queues *q = &f->layer->queues;
    assert_int_equal(put_to(f, "first", "x"), ERR_OK);
    const size_t of_first = q->bytes;
    assert_int_equal(put_to(f, "first", "x"), ERR_OK);
    const size_t of_message = q->bytes - of_first;
    const size_t of_channel = of_first - of_message;
    /* How it is found, and what it is in. */
    assert_true(of_channel >= sizeof(struct strmap_entry) + 4 * sizeof(struct dlist));

    const size_t aside = QUEUES_BYTES_MAX - q->bytes - of_message - of_channel + 1;
    q->bytes += aside;
    assert_int_equal(put_to(f, "other", "x"), ERR_FULL); /* a name as long */
    assert_int_equal(put_to(f, "first", "x"), ERR_OK);
    q->bytes -= aside;
    assert_int_equal(put_to(f, "other", "x"), ERR_OK);
    assert_int_equal(q->bytes, 2 * of_channel + 4 * of_message);
}

static void only_normal_channels_can_be_received_from(void **state)
{
    static const char *const rows[] = {"", "a b", "specific.x!", "specific.x!y", "\xff"};
    struct layer_fixture *f = *state;
    for (size_t i = 0; i < UNIT_ROWS(rows); i++) {
        struct err_text why = {.code = ERR_OK};
        if (layer_receive(fixture_client(f, 1), slice_str(rows[i]), &why) != 0)
            fail_msg("accepted: %s", rows[i]);
        assert_int_equal(why.code, ERR_INVALID);
    }
}

/* ---- with a backend ---- */

static bool arrive(struct layer_fixture *f, uint64_t handle, const char *body)
{
    return layer_normal_arrived(f->layer, slice_str("jobs"), handle, fixture_body(f, body));
}

static void the_backend_knows_how_many_are_waited_for(void **state)
{
    struct layer_fixture *f = *state;
    receive(f, 1);
    const uint64_t second = receive(f, 2);
    fixture_told(f, "want(jobs 1) want(jobs 2) ");
    layer_cancel(fixture_client(f, 2), second);
    fixture_told(f, "want(jobs 1) ");
    assert_true(arrive(f, 5, "a"));
    fixture_told(f, "message(1 jobs [a]) want(jobs 0) ");
    assert_false(arrive(f, 6, "b"));
    layer_taken(fixture_client(f, 1), f->clients[1].token);
    fixture_told(f, "taken(jobs 5) ");
    assert_int_equal(f->layer->queues.by_name.count, 0);
}

static void what_is_not_taken_goes_back_to_the_backend(void **state)
{
    struct layer_fixture *f = *state;
    receive(f, 1);
    receive(f, 2);
    f->len = 0;
    assert_true(arrive(f, 5, "a"));
    assert_true(arrive(f, 6, "b"));
    f->len = 0;
    layer_put_back(fixture_client(f, 1), f->clients[1].token);
    fixture_detach(f, 2);
    fixture_told(f, "put_back(jobs 5) put_back(jobs 6) ");
}

static void what_is_dropped_is_taken_at_the_backend(void **state)
{
    struct layer_fixture *f = *state;
    for (uint64_t n = 0; n < STRIKES_OUT; n++) {
        receive(f, 2);
        assert_true(arrive(f, 5 + n, "a"));
        f->len = 0;
        fixture_detach(f, 2);
        fixture_told(f,
                     n < 2 ? n < 1 ? "put_back(jobs 5) " : "put_back(jobs 6) " : "taken(jobs 7) ");
        fixture_attach(f, 2);
    }
    assert_int_equal(layer_stats(f->layer)->dropped_deadly, 1);
}

static void nothing_is_asked_for_while_all_who_wait_are_full(void **state)
{
    struct layer_fixture *f = *state;
    receive(f, 1);
    f->clients[1].is_full = true;
    assert_false(arrive(f, 5, "a"));
    assert_false(arrive(f, 6, "a"));
    fixture_told(f, "want(jobs 1) want(jobs 0) ");
    f->clients[1].is_full = false;
    layer_room(fixture_client(f, 1));
    layer_room(fixture_client(f, 1));
    fixture_told(f, "want(jobs 1) ");
    assert_true(arrive(f, 7, "b"));
    fixture_told(f, "message(1 jobs [b]) want(jobs 0) ");
}

static void sends_of_this_node_take_the_way_of_all(void **state)
{
    struct layer_fixture *f = *state;
    struct fixture_call call;
    receive(f, 1);
    f->len = 0;
    layer_send(fixture_client(f, 0), slice_str("jobs"), fixture_body(f, "x"),
               fixture_call(f, &call, "send"));
    fixture_answer(f, ERR_OK);
    fixture_told(f, "send(jobs [x]) send:ok ");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
#define TEST_BACKEND(name) cmocka_unit_test_setup_teardown(name, setup_backend, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(messages_come_in_the_order_in_which_they_were_sent),
        TEST(receives_are_served_in_their_order_over_all_clients),
        TEST(a_message_is_never_told_before_its_token_is_known),
        TEST(a_channel_has_its_capacity_and_no_more),
        TEST(specific_channels_of_one_mailbox_share_a_queue),
        TEST(what_is_not_taken_goes_back_to_the_front_in_its_order),
        TEST(what_a_client_had_not_taken_when_it_went_goes_to_the_next),
        TEST(a_message_with_which_three_clients_died_is_dropped),
        TEST(a_message_that_was_handled_is_no_suspect),
        TEST(of_several_messages_the_last_is_the_suspect),
        TEST(suspects_beyond_number_forget_the_oldest),
        TEST(a_cancelled_receive_gets_nothing),
        TEST(taken_messages_stay_taken),
        TEST(a_client_without_room_is_passed_over_until_it_has_some),
        cmocka_unit_test(messages_expire_and_are_counted),
        TEST(a_flush_forgets_what_is_in_hands),
        TEST(who_waits_in_vain_is_told_and_the_next_one_may_ask),
        cmocka_unit_test(all_messages_together_have_a_ceiling),
        TEST(a_channel_counts_against_the_ceiling_as_its_messages_do),
        TEST(only_normal_channels_can_be_received_from),
        TEST_BACKEND(the_backend_knows_how_many_are_waited_for),
        TEST_BACKEND(what_is_not_taken_goes_back_to_the_backend),
        TEST_BACKEND(what_is_dropped_is_taken_at_the_backend),
        TEST_BACKEND(nothing_is_asked_for_while_all_who_wait_are_full),
        TEST_BACKEND(sends_of_this_node_take_the_way_of_all),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
