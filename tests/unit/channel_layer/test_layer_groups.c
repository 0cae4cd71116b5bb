/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Memberships in the backend: the first client joins, the last one leaves, and everything that
 * comes while a command is under way; and what arrives from there.
 */
#include "channel_layer/backend.h"
#include "channel_layer/layer_groups.h"

#include "core/strmap.h"

#include "tests/support/layer_fixture.h"

static int setup(void **state)
{
    struct layer_fixture *f =
        fixture_open("{\"hosts\": [\"redis://localhost:6379/0\"], \"capacity\": 2}", true);
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

static struct fixture_call calls[8];

static void join(struct layer_fixture *f, unsigned i, const char *name)
{
    layer_join(fixture_client(f, i), text("room"), fixture_call(f, &calls[i], name));
    fixture_turn(f);
}

static void leave(struct layer_fixture *f, unsigned i, const char *name)
{
    layer_leave(fixture_client(f, i), text("room"), fixture_call(f, &calls[4 + i], name));
    fixture_turn(f);
}

/* ---- join and leave ---- */

static void the_first_join_waits_for_the_backend_and_later_ones_do_not_ask(void **state)
{
    struct layer_fixture *f = *state;
    join(f, 0, "a");
    fixture_told(f, "join(room) ");
    fixture_answer(f, ERR_OK);
    fixture_told(f, "a:ok ");
    join(f, 1, "b");
    fixture_told(f, "b:ok ");
    leave(f, 0, "a-");
    fixture_told(f, "a-:ok ");
    leave(f, 1, "b-");
    fixture_told(f, "leave(room) ");
    fixture_answer(f, ERR_OK);
    fixture_told(f, "b-:ok ");
    assert_int_equal(f->layer->groups.count, 0);
}

static void joins_that_come_meanwhile_wait_for_the_same_answer(void **state)
{
    struct layer_fixture *f = *state;
    join(f, 0, "a");
    join(f, 1, "b");
    layer_join(fixture_client(f, 1), text("room"), fixture_call(f, &calls[2], "b again"));
    fixture_told(f, "join(room) ");
    fixture_answer(f, ERR_OK);
    fixture_told(f, "a:ok b:ok b again:ok ");
}

static void a_join_that_fails_takes_everybody_out(void **state)
{
    struct layer_fixture *f = *state;
    join(f, 0, "a");
    join(f, 1, "b");
    fixture_answer(f, ERR_UNAVAILABLE);
    fixture_told(f, "join(room) a:not available b:not available ");
    assert_string_equal(calls[0].why, "the backend says no");
    assert_int_equal(f->layer->groups.count, 0);
    assert_int_equal(layer_stats(f->layer)->failed_unavailable, 1);
    join(f, 0, "a");
    fixture_told(f, "join(room) ");
    fixture_answer(f, ERR_OK);
    fixture_told(f, "a:ok ");
}

static void a_join_of_which_nobody_knows_is_taken_back(void **state)
{
    struct layer_fixture *f = *state;
    join(f, 0, "a");
    fixture_answer(f, ERR_TIMEOUT);
    fixture_told(f, "join(room) leave(room) a:timed out ");
    join(f, 1, "b"); /* behind the leave */
    fixture_told(f, "");
    fixture_answer(f, ERR_OK);
    fixture_told(f, "join(room) ");
    fixture_answer(f, ERR_OK);
    fixture_told(f, "b:ok ");
}

static void leaving_while_the_join_is_under_way_leaves_afterwards(void **state)
{
    struct layer_fixture *f = *state;
    join(f, 0, "a");
    leave(f, 0, "a-");
    fixture_told(f, "join(room) ");
    fixture_answer(f, ERR_OK);
    fixture_told(f, "leave(room) a:ok ");
    fixture_answer(f, ERR_OK);
    fixture_told(f, "a-:ok ");
    assert_int_equal(f->layer->groups.count, 0);
}

static void leaving_and_joining_again_while_the_join_is_under_way_stays_in(void **state)
{
    struct layer_fixture *f = *state;
    join(f, 0, "a");
    leave(f, 0, "a-");
    join(f, 1, "b");
    fixture_told(f, "join(room) ");
    fixture_answer(f, ERR_OK);
    fixture_told(f, "a:ok b:ok a-:ok ");
    leave(f, 1, "b-");
    fixture_told(f, "leave(room) ");
    fixture_answer(f, ERR_OK);
    fixture_told(f, "b-:ok ");
}

static void joining_while_the_leave_is_under_way_joins_afterwards(void **state)
{
    struct layer_fixture *f = *state;
    join(f, 0, "a");
    fixture_answer(f, ERR_OK);
    leave(f, 0, "a-");
    join(f, 1, "b");
    fixture_told(f, "join(room) a:ok leave(room) ");
    fixture_answer(f, ERR_OK);
    fixture_told(f, "join(room) a-:ok ");
    fixture_answer(f, ERR_OK);
    fixture_told(f, "b:ok ");
}

static void joining_and_leaving_while_the_leave_is_under_way_is_over_with_it(void **state)
{
    struct layer_fixture *f = *state;
    join(f, 0, "a");
    fixture_answer(f, ERR_OK);
    leave(f, 0, "a-");
    join(f, 1, "b");
    leave(f, 1, "b-");
    fixture_told(f, "join(room) a:ok leave(room) ");
    fixture_answer(f, ERR_OK);
    fixture_told(f, "a-:ok b-:ok b:ok ");
    assert_int_equal(f->backend.pending_count, 0);
    assert_int_equal(f->layer->groups.count, 0);
}

static void a_leave_that_fails_is_told_and_over(void **state)
{
    struct layer_fixture *f = *state;
    join(f, 0, "a");
    fixture_answer(f, ERR_OK);
    leave(f, 0, "a-");
    fixture_answer(f, ERR_TIMEOUT);
    fixture_told(f, "join(room) a:ok leave(room) a-:timed out ");
    assert_int_equal(f->layer->groups.count, 0);
}

static void a_client_that_goes_leaves(void **state)
{
    struct layer_fixture *f = *state;
    join(f, 0, "a");
    fixture_answer(f, ERR_OK);
    join(f, 1, "b");
    fixture_detach(f, 0);
    fixture_told(f, "join(room) a:ok b:ok ");
    fixture_detach(f, 1);
    fixture_told(f, "leave(room) ");
    fixture_answer(f, ERR_OK);
    assert_int_equal(f->layer->groups.count, 0);
}

static void a_layer_that_closes_ends_joins_that_wait(void **state)
{
    (void)state;
    struct layer_fixture *f = fixture_open("{}", true);
    fixture_attach(f, 0);
    join(f, 0, "a");
    fixture_close(f);
    fixture_told(f, "join(room) a:already closed ");
    assert_int_equal(calls[0].ends, 1);
    free(f);
}

/* Random joins, leaves, answers of the backend and failures; in the end who is in the group is who
 * said so last, and the backend has heard of it. */
static void whatever_happens_the_state_is_right_in_the_end(void **state)
{
    struct layer_fixture *f = *state;
    uint64_t seed = 20261121;
    for (unsigned round = 0; round < 200; round++) {
        struct fixture_call many[64];
        unsigned used = 0;
        bool is_in[3] = {false};
        bool knows = false; /* the backend, that we are in */
        while (used < UNIT_ROWS(many) || f->backend.pending_count > 0) {
            const uint32_t dice = unit_random(&seed);
            if (used < UNIT_ROWS(many) && dice % 3 != 0) {
                const unsigned i = dice / 3 % 3;
                is_in[i] = !is_in[i];
                if (is_in[i])
                    layer_join(fixture_client(f, i), text("room"),
                               fixture_call(f, &many[used++], "j"));
                else
                    layer_leave(fixture_client(f, i), text("room"),
                                fixture_call(f, &many[used++], "l"));
            } else if (f->backend.pending_count > 0) {
                knows = !knows; /* join and leave take turns, or it is wrong */
                fixture_answer(f, ERR_OK);
            }
        }
        for (unsigned n = 0; n < 4; n++)
            fixture_turn(f);
        for (unsigned i = 0; i < used; i++)
            assert_int_equal(many[i].ends, 1);
        const bool anybody = is_in[0] || is_in[1] || is_in[2];
        assert_int_equal(knows, anybody);
        const struct layer_group *group = layer_find_group(f->layer, text("room"));
        assert_int_equal(group != NULL, anybody);
        for (unsigned i = 0; i < 3; i++) /* and out again, for the next round */
            if (is_in[i])
                layer_leave(fixture_client(f, i), text("room"), NULL);
        while (f->backend.pending_count > 0)
            fixture_answer(f, ERR_OK);
        assert_null(layer_find_group(f->layer, text("room")));
        f->len = 0;
    }
}

/* ---- channels of others ---- */

static void a_channel_added_by_another_client_is_told_when_the_group_knows_us(void **state)
{
    struct layer_fixture *f = *state;
    layer_group_add(fixture_client(f, 0), text("room"), fixture_channel(f, 1),
                    fixture_call(f, &calls[0], "add"));
    fixture_turn(f);
    fixture_told(f, "join(room) ");
    leave(f, 1, "b-"); /* it does not know yet */
    fixture_answer(f, ERR_OK);
    fixture_told(f, "add(1 room #1) add:ok b-:ok ");
    leave(f, 1, "b-");
    fixture_told(f, "leave(room) ");
    fixture_answer(f, ERR_OK);
    fixture_told(f, "b-:ok ");
}

static void an_added_client_that_left_meanwhile_is_in_all_the_same(void **state)
{
    struct layer_fixture *f = *state;
    join(f, 1, "b");
    fixture_answer(f, ERR_OK);
    leave(f, 1, "b-");
    layer_group_add(fixture_client(f, 0), text("room"), fixture_channel(f, 1),
                    fixture_call(f, &calls[0], "add"));
    layer_leave(fixture_client(f, 1), text("room"), fixture_call(f, &calls[2], "b again-"));
    fixture_told(f, "join(room) b:ok leave(room) ");
    fixture_answer(f, ERR_OK);
    fixture_told(f, "join(room) b-:ok b again-:ok ");
    fixture_answer(f, ERR_OK);
    fixture_told(f, "add(1 room #1) add:ok ");
    assert_int_equal(layer_find_group(f->layer, text("room"))->count, 1);
}

static void an_added_client_that_is_gone_is_in_nothing(void **state)
{
    struct layer_fixture *f = *state;
    layer_group_add(fixture_client(f, 0), text("room"), fixture_channel(f, 1),
                    fixture_call(f, &calls[0], "add"));
    fixture_detach(f, 1);
    fixture_answer(f, ERR_OK);
    fixture_told(f, "join(room) leave(room) add:ok ");
    fixture_answer(f, ERR_OK);
    assert_int_equal(f->layer->groups.count, 0);
}

static void foreign_channels_are_the_backends_and_another_node_is_told(void **state)
{
    static const char ours[] =
        "specific.00112233445566778899aabbccddeeff!0123456789abd" FIXTURE_REST;
    static const char python[] =
        "specific.00112233445566778899aabbccddeeff!00112233445544778899aabbccddeeff";
    struct layer_fixture *f = *state;
    layer_group_add(fixture_client(f, 0), text("room"), text(ours),
                    fixture_call(f, &calls[0], "add"));
    fixture_answer(f, ERR_OK);
    f->len = 0;
    layer_group_discard(fixture_client(f, 0), text("room"), text(ours),
                        fixture_call(f, &calls[0], "discard"));
    fixture_told(f,
                 "discard(room specific.00112233445566778899aabbccddeeff!0123456789abd" FIXTURE_REST
                 ") control(specific.00112233445566778899aabbccddeeff!) ");
    fixture_answer(f, ERR_OK);
    fixture_told(f, "discard:ok ");
    fixture_answer(f, ERR_UNAVAILABLE); /* the control message: nobody waits for it */
    layer_group_discard(fixture_client(f, 0), text("room"), text(python),
                        fixture_call(f, &calls[0], "discard"));
    fixture_answer(f, ERR_OK);
    assert_null(strstr(f->trace, "control"));
    f->len = 0;
    layer_group_discard(fixture_client(f, 0), text("room"), text(ours), NULL);
    fixture_answer(f, ERR_OK); /* of the control message */
    fixture_told(f,
                 "discard(room specific.00112233445566778899aabbccddeeff!0123456789abd" FIXTURE_REST
                 ") control(specific.00112233445566778899aabbccddeeff!) ");
}

static void ones_own_channel_may_be_in_the_backend_singly(void **state)
{
    struct layer_fixture *f = *state;
    layer_group_discard(fixture_client(f, 1), text("room"), fixture_channel(f, 1), NULL);
    fixture_told(f, "discard(room #1) ");
    layer_group_discard(fixture_client(f, 0), text("room"), fixture_channel(f, 1),
                        fixture_call(f, &calls[0], "discard"));
    fixture_answer(f, ERR_OK);
    fixture_told(f, "discard(1 room #1) discard(room #1) discard:ok ");
}

/* ---- sends ---- */

static void sends_to_others_end_as_the_backend_says(void **state)
{
    static const enum err rows[] = {ERR_OK, ERR_FULL, ERR_UNAVAILABLE, ERR_TIMEOUT};
    struct layer_fixture *f = *state;
    for (size_t i = 0; i < UNIT_ROWS(rows); i++) {
        layer_send(fixture_client(f, 0), text("specific.other!x"), fixture_body(f, "x"),
                   fixture_call(f, &calls[0], "send"));
        fixture_answer(f, rows[i]);
        assert_int_equal(calls[0].err, rows[i]);
        assert_int_equal(calls[0].ends, 1);
    }
    const struct layer_stats *stats = layer_stats(f->layer);
    assert_int_equal(stats->sent, 1);
    assert_int_equal(stats->full, 1);
    assert_int_equal(stats->failed_unavailable, 1);
    assert_int_equal(stats->failed_timeout, 1);
    f->len = 0;
}

static void a_group_send_is_delivered_here_when_the_backend_has_it(void **state)
{
    struct layer_fixture *f = *state;
    char lost[NAME_MAX_BYTES + 64];
    join(f, 0, "a");
    fixture_answer(f, ERR_OK);
    f->len = 0;
    snprintf(lost, sizeof(lost), "specific.nobody!x");
    f->backend.found[0] = (const char *)fixture_channel(f, 0).ptr;
    f->backend.found[1] = (const char *)fixture_channel(f, 1).ptr;
    f->backend.found[2] = lost;
    layer_group_send(fixture_client(f, 2), text("room"), fixture_body(f, "x"),
                     fixture_call(f, &calls[0], "send"));
    fixture_turn(f);
    fixture_told(f, "group_send(room [x]) ");
    fixture_answer(f, ERR_OK);
    fixture_told(f, "deliver(0 groups=room channels=#0 [x]) deliver(1 channels=#1 [x]) send:ok ");
    assert_int_equal(layer_stats(f->layer)->dropped_unknown, 1);

    layer_group_send(fixture_client(f, 2), text("room"), fixture_body(f, "x"),
                     fixture_call(f, &calls[0], "send"));
    fixture_answer(f, ERR_TIMEOUT);
    fixture_told(f, "group_send(room [x]) send:timed out "); /* and nobody here has it */
}

static void a_sender_may_go_before_the_backend_answers(void **state)
{
    struct layer_fixture *f = *state;
    layer_group_send(fixture_client(f, 2), text("room"), fixture_body(f, "x"),
                     fixture_call(f, &calls[0], "send"));
    fixture_detach(f, 2);
    fixture_answer(f, ERR_OK);
    assert_int_equal(calls[0].ends, 1);
    f->len = 0;
}

static void a_flush_is_done_here_when_the_backend_has_done_it(void **state)
{
    struct layer_fixture *f = *state;
    join(f, 0, "a");
    fixture_answer(f, ERR_OK);
    f->len = 0;
    layer_flush(fixture_client(f, 1), fixture_call(f, &calls[0], "flush"));
    fixture_answer(f, ERR_TIMEOUT);
    fixture_told(f, "flush flush:timed out ");
    assert_int_equal(f->layer->groups.count, 1);
    layer_flush(fixture_client(f, 1), fixture_call(f, &calls[0], "flush"));
    fixture_answer(f, ERR_OK);
    fixture_told(f, "flush flushed(0) flushed(1) flushed(2) forgotten flush:ok ");
    assert_int_equal(f->layer->groups.count, 0);
}

/* ---- arrivals ---- */

struct some_names {
    struct backend_names names;
    struct slice list[8];
    size_t count;
    size_t at;
    char scratch[NAME_MAX_BYTES + 64]; /* each name is there only until the next one */
};

static bool next_name(struct backend_names *names, struct slice *name)
{
    struct some_names *n = CONTAINER_OF(names, struct some_names, names);
    if (n->at == n->count)
        return false;
    const struct slice from = n->list[n->at++];
    memset(n->scratch, '?', sizeof(n->scratch));
    memcpy(n->scratch, from.ptr, from.len);
    *name = slice_make(n->scratch, from.len);
    return true;
}

static void arrive(struct layer_fixture *f, const struct slice *list, size_t count,
                   struct slice body)
{
    struct some_names n = {.names = {next_name}, .count = count};
    memcpy(n.list, list, count * sizeof(*list));
    layer_arrived(f->layer, &n.names, body);
}

/* The aggregate of @group, in @out of 256 bytes. */
static struct slice aggregate(const struct layer_fixture *f, char *out, const char *group)
{
    char local[AGGREGATE_MAX + 1];
    name_aggregate(local, slice_str(group));
    snprintf(out, 256, "specific.%s!%s", f->layer->node, local);
    return slice_str(out);
}

static void what_arrives_reaches_each_client_once_with_all_its_names(void **state)
{
    static const char long_group[] =
        "a.group.whose.aggregate.has.a.digest.0123456789.0123456789.0123456789";
    struct layer_fixture *f = *state;
    char names[3][256];
    join(f, 0, "a");
    fixture_answer(f, ERR_OK);
    layer_join(fixture_client(f, 1), text(long_group), fixture_call(f, &calls[1], "b"));
    fixture_answer(f, ERR_OK);
    join(f, 1, "b");
    f->len = 0;
    const struct slice list[] = {
        fixture_channel(f, 1),
        aggregate(f, names[0], "room"),
        fixture_channel(f, 0),
        aggregate(f, names[1], long_group),
        fixture_channel(f, 2),
        aggregate(f, names[2], "nobody.is.in.it"),
        text("specific.00112233445566778899aabbccddeeff!g.room"), /* of another node */
    };
    arrive(f, list, UNIT_ROWS(list), fixture_body(f, "x"));
    fixture_told(f,
                 "deliver(1 groups=room,a.group.whose.aggregate.has.a.digest.0123456789.0123456789."
                 "0123456789 channels=#1 [x]) deliver(0 groups=room channels=#0 [x]) "
                 "deliver(2 channels=#2 [x]) ");
    assert_int_equal(layer_stats(f->layer)->received, 1);
    assert_int_equal(layer_stats(f->layer)->delivered, 3);
    assert_int_equal(layer_stats(f->layer)->dropped_unknown, 0);
}

static void what_nobody_has_is_counted(void **state)
{
    struct layer_fixture *f = *state;
    char bad_rest[NAME_MAX_BYTES + 64];
    snprintf(bad_rest, sizeof(bad_rest), "%s%.*s\xff", f->clients[0].client.base,
             CHANNEL_REST_CHARS - 1, FIXTURE_REST);
    const struct slice rows[] = {text(""), text("jobs"), text("specific.x!y"), text(bad_rest)};
    for (size_t i = 0; i < UNIT_ROWS(rows); i++)
        arrive(f, &rows[i], 1, fixture_body(f, "x"));
    arrive(f, rows, 0, fixture_body(f, "x")); /* without names */
    fixture_told(f, "");
    assert_int_equal(layer_stats(f->layer)->dropped_unknown, UNIT_ROWS(rows) + 1);
}

static void an_arrival_for_a_group_reaches_those_who_joined(void **state)
{
    struct layer_fixture *f = *state;
    join(f, 0, "a");
    fixture_answer(f, ERR_OK);
    f->len = 0;
    layer_group_arrived(f->layer, text("room"), fixture_body(f, "x"));
    layer_group_arrived(f->layer, text("hall"), fixture_body(f, "x"));
    fixture_told(f, "deliver(0 groups=room [x]) ");
    assert_int_equal(layer_stats(f->layer)->dropped_unknown, 1);
}

static void a_control_message_takes_a_channel_out(void **state)
{
    struct layer_fixture *f = *state;
    char name[256];
    uint8_t body[512];
    snprintf(name, sizeof(name), "specific.%s!ctl", f->layer->node);
    const struct slice ctl = slice_str(name);
    const struct slice channel = fixture_channel(f, 1);
    size_t len = 0;
    static const char head[] = "\x83\xa4type\xb1"
                               "channelsd.discard\xa5group\xa4room\xa7"
                               "channel\xd9";
    memcpy(body, head, sizeof(head) - 1);
    len = sizeof(head) - 1;
    body[len++] = (uint8_t)channel.len;
    memcpy(body + len, channel.ptr, channel.len);
    len += channel.len;
    arrive(f, &ctl, 1, slice_make(body, len));
    fixture_told(f, "discard(1 room #1) ");
    for (size_t cut = 0; cut < len; cut++) /* what is none does nothing */
        arrive(f, &ctl, 1, slice_make(body, cut));
    fixture_told(f, "");
    assert_int_equal(layer_stats(f->layer)->dropped_undecodable, len);
    body[8] = 'C';
    arrive(f, &ctl, 1, slice_make(body, len));
    fixture_told(f, "");
}

static void another_nodes_flush_forgets_the_groups_of_the_message_that_says_so(void **state)
{
    struct layer_fixture *f = *state;
    char name[2][256];
    snprintf(name[0], sizeof(name[0]), "specific.%s!ctl", f->layer->node);
    snprintf(name[1], sizeof(name[1]), "specific.%s!g.room", f->layer->node);
    const struct slice names[] = {slice_str(name[0]), slice_str(name[1])};
    join(f, 0, "a");
    fixture_answer(f, ERR_OK);
    arrive(f, names, 2,
           text("\x81\xa4type\xaf"
                "channelsd.flush"));
    fixture_told(f, "join(room) a:ok deliver(0 groups=room [pe\xaf"
                    "channelsd.flush]) flushed(0) flushed(1) flushed(2) forgotten ");
    assert_int_equal(f->layer->groups.count, 0);
}

static void visit_name(void *ctx, struct slice group)
{
    fixture_put(ctx, "%.*s ", (int)group.len, (const char *)group.ptr);
}

static void groups_that_were_joined_can_be_listed_for_the_backend(void **state)
{
    struct layer_fixture *f = *state;
    join(f, 0, "a");
    fixture_answer(f, ERR_OK);
    f->len = 0;
    layer_each_group(f->layer, visit_name, f);
    fixture_told(f, "room ");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(the_first_join_waits_for_the_backend_and_later_ones_do_not_ask),
        TEST(joins_that_come_meanwhile_wait_for_the_same_answer),
        TEST(a_join_that_fails_takes_everybody_out),
        TEST(a_join_of_which_nobody_knows_is_taken_back),
        TEST(leaving_while_the_join_is_under_way_leaves_afterwards),
        TEST(leaving_and_joining_again_while_the_join_is_under_way_stays_in),
        TEST(joining_while_the_leave_is_under_way_joins_afterwards),
        TEST(joining_and_leaving_while_the_leave_is_under_way_is_over_with_it),
        TEST(a_leave_that_fails_is_told_and_over),
        TEST(a_client_that_goes_leaves),
        cmocka_unit_test(a_layer_that_closes_ends_joins_that_wait),
        TEST(whatever_happens_the_state_is_right_in_the_end),
        TEST(a_channel_added_by_another_client_is_told_when_the_group_knows_us),
        TEST(an_added_client_that_left_meanwhile_is_in_all_the_same),
        TEST(an_added_client_that_is_gone_is_in_nothing),
        TEST(foreign_channels_are_the_backends_and_another_node_is_told),
        TEST(ones_own_channel_may_be_in_the_backend_singly),
        TEST(sends_to_others_end_as_the_backend_says),
        TEST(a_group_send_is_delivered_here_when_the_backend_has_it),
        TEST(a_sender_may_go_before_the_backend_answers),
        TEST(a_flush_is_done_here_when_the_backend_has_done_it),
        TEST(what_arrives_reaches_each_client_once_with_all_its_names),
        TEST(what_nobody_has_is_counted),
        TEST(an_arrival_for_a_group_reaches_those_who_joined),
        TEST(a_control_message_takes_a_channel_out),
        TEST(another_nodes_flush_forgets_the_groups_of_the_message_that_says_so),
        TEST(groups_that_were_joined_can_be_listed_for_the_backend),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
