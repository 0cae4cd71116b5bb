/* SPDX-License-Identifier: BSD-3-Clause */
#include "channel_layer/layer.h"
#include "channel_layer/layer_groups.h"

#include "tests/support/layer_fixture.h"

#define CAPACITY_2 "{\"capacity\": 2, \"expiry\": 60}"

static int setup(void **state)
{
    struct layer_fixture *f = fixture_open(CAPACITY_2, false);
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

static struct slice text(const char *bytes)
{
    return slice_str(bytes);
}

/* ---- clients ---- */

static void bases_are_of_one_node_and_of_different_peers(void **state)
{
    const struct layer_fixture *f = *state;
    const char *a = f->clients[0].client.base;
    const char *b = f->clients[1].client.base;
    assert_memory_equal(a, "specific.", 9);
    assert_memory_equal(a, b, 9 + NODE_ID_CHARS + 1);
    assert_string_not_equal(a, b);
    assert_int_equal(strlen(a), 9 + NODE_ID_CHARS + 1 + PEER_ID_CHARS);
}

static void a_client_that_comes_again_has_its_old_bases(void **state)
{
    struct layer_fixture *f = *state;
    struct fixture_call call;
    struct err_text why;
    char old[NAME_MAX_BYTES + 1];
    char other[NAME_MAX_BYTES + 1];
    memcpy(old, f->clients[0].client.base, sizeof(old));
    layer_mailbox(fixture_client(f, 0), text("jobs"), other, fixture_call(f, &call, "mailbox"));
    fixture_turn(f);
    fixture_told(f, "mailbox:ok ");
    assert_memory_equal(other, "jobs.", 5);
    fixture_detach(f, 0);

    const struct slice bases[] = {slice_str(old), slice_str(other)};
    struct layer_client *client = fixture_client(f, 0);
    assert_int_equal(layer_attach(f->layer, client, bases, 2, &why), ERR_OK);
    f->clients[0].is_attached = true;
    assert_string_equal(client->base, old);
    char channel[NAME_MAX_BYTES + sizeof(FIXTURE_REST)];
    snprintf(channel, sizeof(channel), "%s" FIXTURE_REST, other);
    layer_send(fixture_client(f, 1), slice_str(channel), fixture_body(f, "x"),
               fixture_call(f, &call, "send"));
    assert_true(strncmp(f->trace, "deliver(0 channels=jobs.", 24) == 0);
    f->len = 0;
    layer_accepted(client, f->clients[0].ticket, false);
    fixture_turn(f);
    fixture_told(f, "send:ok ");
}

static void bases_of_a_node_that_is_gone_are_taken_over(void **state)
{
    struct layer_fixture *f = *state;
    struct fixture_call call;
    struct err_text why;
    const char *old = "specific.00112233445566778899aabbccddeeff!0123456789abd";
    const struct slice base = slice_str(old);
    fixture_detach(f, 0);
    assert_int_equal(layer_attach(f->layer, fixture_client(f, 0), &base, 1, &why), ERR_OK);
    f->clients[0].is_attached = true;
    layer_send(fixture_client(f, 1), fixture_channel(f, 0), fixture_body(f, "x"),
               fixture_call(f, &call, "send"));
    fixture_told(f, "deliver(0 channels=#0 [x]) ");
    layer_accepted(fixture_client(f, 0), f->clients[0].ticket, false);
    fixture_turn(f);
    fixture_told(f, "send:ok ");
}

static void what_is_no_base_is_refused(void **state)
{
    static const char *const rows[] = {
        "",
        "specific.00112233445566778899aabbccddeeff!",
        "specific.00112233445566778899aabbccddeeff!0123456789abc",  /* no d at the end */
        "specific.00112233445566778899aabbccddeeff!0123456789aBd",  /* upper case */
        "specific.00112233445566778899aabbccddeef!0123456789abd",   /* a digit too few */
        "specific.00112233445566778899aabbccddeeff!00123456789abd", /* one too many */
        "specific.0011223344556677 899aabbccddeef!0123456789abd",
        "specific-00112233445566778899aabbccddeeff!0123456789abd",
        "asgispecific.0123456789abd",
    };
    struct layer_fixture *f = *state;
    struct err_text why;
    fixture_detach(f, 0);
    for (size_t i = 0; i < UNIT_ROWS(rows); i++) {
        const struct slice base = slice_str(rows[i]);
        if (layer_attach(f->layer, fixture_client(f, 0), &base, 1, &why) != ERR_INVALID)
            fail_msg("accepted: %s", rows[i]);
        assert_non_null(strstr(why.text, "base"));
    }
    const struct slice two[] = {
        slice_str("specific.00112233445566778899aabbccddeeff!0123456789abd"),
        slice_str("jobs.00112233445566778899aabbccddeeff!1123456789abd"), /* another peer */
    };
    assert_int_equal(layer_attach(f->layer, fixture_client(f, 0), two, 2, &why), ERR_INVALID);
}

static void prefixes_that_make_no_names_are_refused(void **state)
{
    static const char *const rows[] = {"a!b", "a b", "\xc3\xa9",
                                       "0123456789012345678901234567890123456789"};
    struct layer_fixture *f = *state;
    char out[NAME_MAX_BYTES + 1];
    for (size_t i = 0; i < UNIT_ROWS(rows); i++) {
        struct fixture_call call;
        layer_mailbox(fixture_client(f, 0), text(rows[i]), out, fixture_call(f, &call, "mailbox"));
        fixture_turn(f);
        if (call.err != ERR_INVALID)
            fail_msg("accepted: %s", rows[i]);
        f->len = 0;
    }
}

/* ---- send ---- */

static void a_send_ends_when_the_client_has_accepted(void **state)
{
    struct layer_fixture *f = *state;
    struct fixture_call call;
    layer_send(fixture_client(f, 0), fixture_channel(f, 1), fixture_body(f, "x"),
               fixture_call(f, &call, "send"));
    fixture_turn(f);
    fixture_told(f, "deliver(1 channels=#1 [x]) ");
    assert_true(f->clients[1].ticket != 0);
    layer_accepted(fixture_client(f, 1), f->clients[1].ticket, false);
    assert_int_equal(call.ends, 0); /* never inside the call */
    fixture_turn(f);
    fixture_told(f, "send:ok ");
    assert_int_equal(layer_stats(f->layer)->sent, 1);
}

static void a_client_whose_channel_is_full_makes_the_send_fail(void **state)
{
    struct layer_fixture *f = *state;
    struct fixture_call call;
    layer_send(fixture_client(f, 0), fixture_channel(f, 1), fixture_body(f, "x"),
               fixture_call(f, &call, "send"));
    layer_accepted(fixture_client(f, 1), f->clients[1].ticket, true);
    fixture_turn(f);
    fixture_told(f, "deliver(1 channels=#1 [x]) send:over capacity ");
    assert_int_equal(layer_stats(f->layer)->full, 1);
    assert_int_equal(layer_stats(f->layer)->sent, 0);
}

static void a_client_that_says_nothing_has_accepted_after_a_while(void **state)
{
    struct layer_fixture *f = *state;
    struct fixture_call call;
    layer_send(fixture_client(f, 0), fixture_channel(f, 1), fixture_body(f, "x"),
               fixture_call(f, &call, "send"));
    const uint64_t began_ms = uv_now(&f->uv);
    while (call.ends == 0)
        uv_run(&f->uv, UV_RUN_ONCE);
    assert_true(uv_now(&f->uv) - began_ms >= LAYER_TICKET_MS);
    assert_int_equal(call.err, ERR_OK);
    layer_accepted(fixture_client(f, 1), f->clients[1].ticket, true); /* too late: is nothing */
    fixture_turn(f);
    assert_int_equal(call.ends, 1);
}

static void a_ticket_of_somebody_else_is_nothing(void **state)
{
    struct layer_fixture *f = *state;
    struct fixture_call call;
    layer_send(fixture_client(f, 0), fixture_channel(f, 1), fixture_body(f, "x"),
               fixture_call(f, &call, "send"));
    layer_accepted(fixture_client(f, 2), f->clients[1].ticket, true);
    layer_accepted(fixture_client(f, 1), f->clients[1].ticket + 1, true);
    fixture_turn(f);
    assert_int_equal(call.ends, 0);
    fixture_detach(f, 1); /* the answer is not waited for */
    fixture_turn(f);
    assert_int_equal(call.ends, 1);
    assert_int_equal(call.err, ERR_OK);
}

static void a_client_without_room_is_not_sent_to(void **state)
{
    struct layer_fixture *f = *state;
    struct fixture_call call;
    f->clients[1].is_full = true;
    layer_send(fixture_client(f, 0), fixture_channel(f, 1), fixture_body(f, "x"),
               fixture_call(f, &call, "send"));
    fixture_turn(f);
    fixture_told(f, "send:over capacity ");
    assert_non_null(strstr(call.why, "is over capacity"));
    assert_int_equal(layer_stats(f->layer)->full, 1);
}

static void a_channel_of_a_client_that_is_gone_takes_everything(void **state)
{
    struct layer_fixture *f = *state;
    struct fixture_call call;
    const struct slice channel = fixture_channel(f, 1);
    fixture_detach(f, 1);
    for (unsigned i = 0; i < 5; i++) {
        layer_send(fixture_client(f, 0), channel, fixture_body(f, "x"),
                   fixture_call(f, &call, "send"));
        fixture_turn(f);
        fixture_told(f, "send:ok ");
    }
    assert_int_equal(layer_stats(f->layer)->dropped_unknown, 5);
}

static void names_that_clients_may_not_use_are_refused(void **state)
{
    struct layer_fixture *f = *state;
    char reserved[3][NAME_MAX_BYTES + 64];
    const char *base = f->clients[1].client.base;
    const int node_len = 9 + NODE_ID_CHARS;
    snprintf(reserved[0], sizeof(reserved[0]), "%.*s!ctl", node_len, base);
    snprintf(reserved[1], sizeof(reserved[1]), "%.*s!g.room", node_len, base);
    snprintf(reserved[2], sizeof(reserved[2]), "%.*s!G.0123456789012345678901234567890123456789",
             node_len, base);
    const char *const rows[] = {"",          "a b",       "a!b!c",    "a\xff", "specific!\xc3",
                                reserved[0], reserved[1], reserved[2]};
    for (size_t i = 0; i < UNIT_ROWS(rows); i++) {
        struct fixture_call call;
        layer_send(fixture_client(f, 0), text(rows[i]), fixture_body(f, "x"),
                   fixture_call(f, &call, "send"));
        fixture_turn(f);
        if (call.err != ERR_INVALID)
            fail_msg("send: %s", rows[i]);
        assert_non_null(strstr(call.why, "channel \""));
        layer_group_add(fixture_client(f, 0), text("room"), text(rows[i]),
                        fixture_call(f, &call, "add"));
        fixture_turn(f);
        if (call.err != ERR_INVALID)
            fail_msg("group_add: %s", rows[i]);
    }
    f->len = 0;
}

static void bodies_that_not_everybody_can_read_are_refused(void **state)
{
    struct layer_fixture *f = *state;
    struct fixture_call call;
    layer_send(fixture_client(f, 0), text("jobs"), text("\x93\x01\x02\x03"),
               fixture_call(f, &call, "send"));
    fixture_turn(f);
    fixture_told(f, "send:invalid argument or setting ");
    assert_memory_equal(call.why, "message: ", 9);
    layer_group_send(fixture_client(f, 0), text("room"), text(""),
                     fixture_call(f, &call, "group_send"));
    fixture_turn(f);
    fixture_told(f, "group_send:invalid argument or setting ");
}

/* ---- groups ---- */

static void join(struct layer_fixture *f, unsigned i, const char *group)
{
    struct fixture_call call;
    layer_join(fixture_client(f, i), text(group), fixture_call(f, &call, "join"));
    fixture_turn(f);
    fixture_told(f, "join:ok ");
}

static void group_send(struct layer_fixture *f, const char *group, const char *want)
{
    struct fixture_call call;
    layer_group_send(fixture_client(f, 0), text(group), fixture_body(f, "x"),
                     fixture_call(f, &call, "group_send"));
    fixture_turn(f);
    fixture_told(f, want);
}

static void a_group_send_reaches_each_client_once_and_before_it_ends(void **state)
{
    struct layer_fixture *f = *state;
    group_send(f, "room", "group_send:ok ");
    join(f, 0, "room");
    join(f, 1, "room");
    join(f, 1, "room");
    join(f, 2, "hall");
    group_send(f, "room", "deliver(0 groups=room [x]) deliver(1 groups=room [x]) group_send:ok ");
}

static void clients_that_left_or_went_are_in_no_group(void **state)
{
    struct layer_fixture *f = *state;
    struct fixture_call call;
    for (unsigned i = 0; i < 3; i++)
        join(f, i, "room");
    layer_leave(fixture_client(f, 0), text("room"), fixture_call(f, &call, "leave"));
    layer_leave(fixture_client(f, 0), text("room"), fixture_call(f, &call, "leave"));
    layer_leave(fixture_client(f, 0), text("hall"), fixture_call(f, &call, "leave"));
    fixture_turn(f);
    f->len = 0;
    group_send(f, "room", "deliver(2 groups=room [x]) deliver(1 groups=room [x]) group_send:ok ");
    fixture_detach(f, 2);
    group_send(f, "room", "deliver(1 groups=room [x]) group_send:ok ");
    fixture_detach(f, 1);
    group_send(f, "room", "group_send:ok ");
    assert_int_equal(f->layer->groups.count, 0);
}

static void a_member_without_room_is_passed_over_and_counted(void **state)
{
    struct layer_fixture *f = *state;
    join(f, 0, "room");
    join(f, 1, "room");
    f->clients[0].is_full = true;
    group_send(f, "room", "deliver(1 groups=room [x]) group_send:ok ");
    assert_int_equal(layer_stats(f->layer)->dropped_full, 1);
}

static void a_channel_of_another_client_is_added_and_taken_out_by_telling_it(void **state)
{
    struct layer_fixture *f = *state;
    struct fixture_call call;
    layer_group_add(fixture_client(f, 0), text("room"), fixture_channel(f, 1),
                    fixture_call(f, &call, "group_add"));
    fixture_turn(f);
    fixture_told(f, "add(1 room #1) group_add:ok ");
    group_send(f, "room", "deliver(1 groups=room [x]) group_send:ok ");
    layer_group_discard(fixture_client(f, 0), text("room"), fixture_channel(f, 1),
                        fixture_call(f, &call, "discard"));
    fixture_turn(f);
    fixture_told(f, "discard(1 room #1) discard:ok ");
    group_send(f, "room", "deliver(1 groups=room [x]) group_send:ok "); /* until it leaves */
}

static void single_channels_of_nobody_here_have_queues(void **state)
{
    struct layer_fixture *f = *state;
    struct fixture_call call;
    const struct slice foreign = text("specific.0123!abc");
    join(f, 1, "room");
    layer_group_add(fixture_client(f, 0), text("room"), text("jobs"),
                    fixture_call(f, &call, "add"));
    layer_group_add(fixture_client(f, 0), text("room"), foreign, fixture_call(f, &call, "add"));
    layer_group_add(fixture_client(f, 0), text("room"), foreign, fixture_call(f, &call, "add"));
    fixture_turn(f);
    f->len = 0;
    for (unsigned i = 0; i < 3; i++)
        group_send(f, "room", "deliver(1 groups=room [x]) group_send:ok ");
    assert_int_equal(layer_stats(f->layer)->group_full, 2); /* both of capacity 2 */
    layer_send(fixture_client(f, 0), foreign, fixture_body(f, "y"), fixture_call(f, &call, "send"));
    fixture_turn(f);
    fixture_told(f, "send:over capacity ");
    layer_group_discard(fixture_client(f, 0), text("room"), text("jobs"),
                        fixture_call(f, &call, "discard"));
    layer_group_discard(fixture_client(f, 0), text("room"), foreign,
                        fixture_call(f, &call, "discard"));
    fixture_turn(f);
    f->len = 0;
    group_send(f, "room", "deliver(1 groups=room [x]) group_send:ok ");
    assert_int_equal(layer_stats(f->layer)->group_full, 2);
}

static void add_single(struct layer_fixture *f, const char *group, const char *channel)
{
    struct fixture_call call;
    layer_group_add(fixture_client(f, 0), text(group), text(channel),
                    fixture_call(f, &call, "add"));
    fixture_turn(f);
    assert_int_equal(call.err, ERR_OK);
    f->len = 0;
}

static void single_channels_are_forgotten_without_anybody_asking_for_them(void **state)
{
    enum { MANY = 2500 }; /* more than go at once */
    struct layer_fixture *f = fixture_open("{\"group_expiry\": 1}", false);
    char name[32];
    (void)state;
    fixture_attach(f, 0);
    for (unsigned i = 0; i < MANY; i++) {
        snprintf(name, sizeof(name), "%u", i);
        add_single(f, i % 2 == 0 ? "room" : name, name);
    }
    join(f, 0, "joined");
    add_single(f, "joined", "jobs");
    assert_int_equal(f->layer->groups.count, 1 + MANY / 2 + 1);
    uv_run(&f->uv, UV_RUN_DEFAULT); /* until no timer is left */
    assert_int_equal(f->layer->groups.count, 1);
    assert_true(dlist_is_empty(&f->layer->singles));
    group_send(f, "joined", "deliver(0 groups=joined [x]) group_send:ok ");
    fixture_free(f);
}

static void do_nothing(uv_timer_t *timer)
{
    uv_close((uv_handle_t *)timer, NULL);
}

static void adding_a_single_channel_again_begins_its_time_anew(void **state)
{
    enum { LATER_MS = 200 };
    struct layer_fixture *f = fixture_open("{\"group_expiry\": 1}", false);
    uv_timer_t later;
    (void)state;
    fixture_attach(f, 0);
    add_single(f, "room", "jobs");
    add_single(f, "hall", "jobs");
    uv_timer_init(&f->uv, &later);
    uv_timer_start(&later, do_nothing, LATER_MS, 0);
    while (!uv_is_closing((uv_handle_t *)&later))
        uv_run(&f->uv, UV_RUN_ONCE);
    add_single(f, "room", "jobs");
    const uint64_t begin_ms = uv_now(&f->uv);
    while (f->layer->groups.count == 2 && uv_run(&f->uv, UV_RUN_ONCE) != 0)
        continue;
    assert_null(layer_find_group(f->layer, text("hall")));
    assert_true(uv_now(&f->uv) - begin_ms < 1000);
    uv_run(&f->uv, UV_RUN_DEFAULT);
    assert_int_equal(f->layer->groups.count, 0);
    assert_true(uv_now(&f->uv) - begin_ms >= 1000);
    fixture_free(f);
}

static void groups_of_any_length_have_their_own_name(void **state)
{
    static const char long_name[] =
        "a.group.of.ninety-nine.characters.0123456789.0123456789.0123456789.0123456789.0123456789."
        "0123456789";
    struct layer_fixture *f = *state;
    struct fixture_call call;
    assert_int_equal(strlen(long_name), 99);
    join(f, 1, long_name);
    char want[256];
    snprintf(want, sizeof(want), "deliver(1 groups=%s [x]) group_send:ok ", long_name);
    group_send(f, long_name, want);
    char too_long[101];
    snprintf(too_long, sizeof(too_long), "%sx", long_name);
    layer_join(fixture_client(f, 1), text(too_long), fixture_call(f, &call, "join"));
    fixture_turn(f);
    fixture_told(f, "join:invalid argument or setting ");
}

static void collect(void *ctx, struct slice group, uint64_t members)
{
    fixture_put(ctx, "%.*s=%lu ", (int)group.len, (const char *)group.ptr, (unsigned long)members);
}

static void groups_are_listed_with_ours_as_one(void **state)
{
    struct layer_fixture *f = *state;
    struct fixture_call call;
    join(f, 0, "room");
    join(f, 1, "room");
    layer_group_add(fixture_client(f, 0), text("room"), text("jobs"),
                    fixture_call(f, &call, "add"));
    fixture_turn(f);
    f->len = 0;
    layer_groups(f->layer, collect, f, fixture_call(f, &call, "groups"));
    fixture_turn(f);
    fixture_told(f, "room=2 groups:ok ");
}

static void a_flush_forgets_groups_and_messages_and_tells_everybody(void **state)
{
    struct layer_fixture *f = *state;
    struct fixture_call call;
    join(f, 0, "room");
    layer_group_add(fixture_client(f, 0), text("room"), text("jobs"),
                    fixture_call(f, &call, "add"));
    layer_send(fixture_client(f, 0), text("jobs"), fixture_body(f, "y"),
               fixture_call(f, &call, "send"));
    fixture_turn(f);
    f->len = 0;
    layer_flush(fixture_client(f, 0), fixture_call(f, &call, "flush"));
    fixture_turn(f);
    fixture_told(f, "flushed(0) flushed(1) flushed(2) flush:ok ");
    group_send(f, "room", "group_send:ok ");
    assert_int_equal(f->layer->groups.count, 0);
    assert_int_equal(f->layer->queues.bytes, 0);
}

static void calls_that_wait_end_when_the_layer_does(void **state)
{
    (void)state;
    struct layer_fixture *f = fixture_open(CAPACITY_2, false);
    struct fixture_call calls[2];
    fixture_attach(f, 0);
    fixture_attach(f, 1);
    layer_send(fixture_client(f, 0), fixture_channel(f, 1), fixture_body(f, "x"),
               fixture_call(f, &calls[0], "send"));
    layer_send(fixture_client(f, 0), text("jobs"), fixture_body(f, "x"),
               fixture_call(f, &calls[1], "send"));
    fixture_close(f);
    for (unsigned i = 0; i < 2; i++)
        assert_int_equal(calls[i].ends, 1);
    free(f);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

/* The node before this one was killed: nobody here has a base of ours, and yet groups know us. */
static void our_mailbox_is_watched_for_clients_of_an_earlier_node(void **state)
{
    (void)state;
    const char old[] = "specific.0123456789abcdef0123456789abcdef!0123456789abd";
    const char old_mailbox[] = "specific.0123456789abcdef0123456789abcdef!";
    const struct slice base = slice_str(old);
    struct layer_fixture *f = fixture_open(CAPACITY_2, true);
    struct fixture_call join;
    struct err_text why;
    char want[256];
    fixture_attach(f, 0);
    snprintf(want, sizeof(want), "specific.%s! ", f->layer->node);
    assert_string_equal(f->backend.watched, want); /* once */
    fixture_detach(f, 0);

    f->backend.watched[0] = '\0';
    f->clients[1].fixture = f;
    struct layer_client *client = fixture_client(f, 1);
    client->ops = &fixture_client_ops;
    assert_int_equal(layer_attach(f->layer, client, &base, 1, &why), ERR_OK);
    f->clients[1].is_attached = true;
    layer_join(client, text("room"), fixture_call(f, &join, "join"));
    snprintf(want, sizeof(want), "%s specific.%s! ", old_mailbox, f->layer->node);
    assert_string_equal(f->backend.watched, want);
    fixture_told(f, "join(room) ");
    fixture_free(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(bases_are_of_one_node_and_of_different_peers),
        TEST(a_client_that_comes_again_has_its_old_bases),
        cmocka_unit_test(our_mailbox_is_watched_for_clients_of_an_earlier_node),
        TEST(bases_of_a_node_that_is_gone_are_taken_over),
        TEST(what_is_no_base_is_refused),
        TEST(prefixes_that_make_no_names_are_refused),
        TEST(a_send_ends_when_the_client_has_accepted),
        TEST(a_client_whose_channel_is_full_makes_the_send_fail),
        TEST(a_client_that_says_nothing_has_accepted_after_a_while),
        TEST(a_ticket_of_somebody_else_is_nothing),
        TEST(a_client_without_room_is_not_sent_to),
        TEST(a_channel_of_a_client_that_is_gone_takes_everything),
        TEST(names_that_clients_may_not_use_are_refused),
        TEST(bodies_that_not_everybody_can_read_are_refused),
        TEST(a_group_send_reaches_each_client_once_and_before_it_ends),
        TEST(clients_that_left_or_went_are_in_no_group),
        TEST(a_member_without_room_is_passed_over_and_counted),
        TEST(a_channel_of_another_client_is_added_and_taken_out_by_telling_it),
        TEST(single_channels_of_nobody_here_have_queues),
        TEST(groups_of_any_length_have_their_own_name),
        TEST(groups_are_listed_with_ours_as_one),
        TEST(a_flush_forgets_groups_and_messages_and_tells_everybody),
        cmocka_unit_test(calls_that_wait_end_when_the_layer_does),
        cmocka_unit_test(single_channels_are_forgotten_without_anybody_asking_for_them),
        cmocka_unit_test(adding_a_single_channel_again_begins_its_time_anew),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
