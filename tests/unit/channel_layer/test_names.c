/* SPDX-License-Identifier: BSD-3-Clause */
#include "channel_layer/names.h"

#include "tests/support/golden.h"

#include <stdio.h>

/* Where we are stricter than Python: a newline at the end, digits outside ASCII before the '!'. */
static bool is_slip_of_python(struct slice name)
{
    return slice_eq_str(name, "a\n") || slice_eq_str(name, "a!b\n") ||
           slice_eq_str(name, "\xd9\xa3");
}

static void names_are_what_channels_takes_them_for(void **state)
{
    json_t *file = golden_load("tests/golden/channels_redis/name_vectors.json");
    size_t i = 0;
    const json_t *row = NULL;

    (void)state;
    json_array_foreach(file, i, row)
    {
        const struct slice name = golden_slice(row, "name");
        const bool is_slip = is_slip_of_python(name);
        const bool is_channel = !is_slip && strcmp(golden_text(row, "channel"), "ok") == 0;
        const bool is_group = !is_slip && strcmp(golden_text(row, "group"), "ok") == 0;
        if (name_is_channel(name) != is_channel || name_is_group(name) != is_group)
            fail_msg("%s", golden_text(row, "name"));
        assert_true(slice_eq(name_nonlocal(name), golden_slice(row, "non_local_name")));
        assert_false(is_channel && name_is_reserved(name));
    }
    assert_int_equal(i, 28);
    json_decref(file);
}

static void lengths_count_characters(void **state)
{
    char name[512];
    size_t len = 0;

    (void)state;
    memset(name, 'a', sizeof(name));
    assert_true(name_is_group(slice_make(name, 99)) && name_is_channel(slice_make(name, 99)));
    assert_false(name_is_group(slice_make(name, 100)) || name_is_channel(slice_make(name, 100)));
    name[1] = '!';
    for (len = 2; len < 2 + 97 * 4; len += 4) /* 97 characters of four bytes */
        memcpy(name + len, "\xf0\x9f\x98\x80", 4);
    assert_true(name_is_channel(slice_make(name, len)));
    name[len] = 'x';
    assert_false(name_is_channel(slice_make(name, len + 1)));
    memset(name + 2, '\x80', sizeof(name) - 2); /* continuation bytes alone */
    assert_false(name_is_channel(slice_make(name, 10)));
    assert_false(name_is_channel(slice_make(name, sizeof(name))));
}

static void what_no_python_takes_is_no_channel(void **state)
{
    static const char *const rows[] = {
        "a!\xff", "a!\xc3", "a!\xed\xa0\x80", "a! ", "a!\x7f", "a!\t", "a!/", "a!:", "\xc3\xa9!x",
    };
    (void)state;
    for (size_t i = 0; i < UNIT_ROWS(rows); i++) {
        if (name_is_channel(slice_str(rows[i])))
            fail_msg("row %zu", i);
    }
    assert_false(name_is_channel(slice_make("a\0b", 3)) || name_is_channel(slice_make("a!\0", 3)));
    assert_false(name_is_group((struct slice){0}) || name_is_channel((struct slice){0}));
}

static void a_name_splits_at_its_first_mark(void **state)
{
    (void)state;
    assert_true(slice_eq_str(name_nonlocal(slice_str("a!b!c")), "a!"));
    assert_true(slice_eq_str(name_local(slice_str("a!b!c")), "b!c"));
    assert_int_equal(name_local(slice_str("a!")).len, 0);
    assert_int_equal(name_local(slice_str("abc")).len, 0);
    assert_true(slice_eq_str(name_nonlocal(slice_str("abc")), "abc"));
    assert_true(name_is_specific(slice_str("a!")) && !name_is_specific(slice_str("abc")));
    assert_false(name_is_specific((struct slice){0}));
    assert_int_equal(name_nonlocal((struct slice){0}).len, 0);
}

static void identities_have_their_shape_and_differ(void **state)
{
    char node[2][NODE_ID_CHARS + 1];
    char peer[2][PEER_ID_CHARS + 1];

    (void)state;
    for (size_t i = 0; i < 2; i++) {
        name_make_node(node[i]);
        name_make_peer(peer[i]);
        assert_int_equal(strlen(node[i]), 32);
        assert_int_equal(strspn(node[i], "0123456789abcdef"), 32);
        assert_int_equal(node[i][12], '4');
        assert_non_null(strchr("89ab", node[i][16]));
        assert_int_equal(strlen(peer[i]), 13);
        assert_int_equal(strspn(peer[i], "0123456789abcdef"), 13);
        assert_int_equal(peer[i][12], 'd');
    }
    assert_string_not_equal(node[0], node[1]);
    assert_string_not_equal(peer[0], peer[1]);
}

static void only_our_own_channels_are_ours(void **state)
{
    static const char ours[] = "0123456789ab40123456789abcdef012";
    struct slice peer = {0};
    char name[33];

    (void)state;
    memcpy(name, ours, sizeof(name));
    assert_false(name_local_is_ours(slice_str(name), &peer)); /* the 13th is no d */
    name[12] = 'd';
    assert_true(name_local_is_ours(slice_str(name), &peer));
    assert_true(slice_eq_str(peer, "0123456789abd"));
    assert_false(name_local_is_ours(slice_make(name, 31), &peer));
    name[31] = 'A';
    assert_false(name_local_is_ours(slice_str(name), &peer));
    /* One of channels_redis: a version 4 UUID. */
    assert_false(name_local_is_ours(slice_str("9f2c1b7d0a3e4c5f8d6e7a1b2c3d4e5f"), &peer));
    assert_false(name_local_is_ours((struct slice){0}, &peer));
}

static void an_aggregate_says_its_group_or_its_digest(void **state)
{
    char out[AGGREGATE_MAX + 1];
    char group[100];

    (void)state;
    assert_int_equal(name_aggregate(out, slice_str("room")), 6);
    assert_string_equal(out, "g.room");
    memset(group, 'x', sizeof(group));
    assert_int_equal(name_aggregate(out, slice_make(group, 55)), 57);
    assert_int_equal(strspn(out + 2, "x"), 55);
    assert_int_equal(name_aggregate(out, slice_make(group, 56)), 42);
    /* printf 'x%.0s' {1..56} | sha1sum */
    assert_string_equal(out, "G.901305367c259952f4e7af8323f480d59f81335b");
}

static void a_local_part_says_what_it_stands_for(void **state)
{
    static const struct {
        const char *local;
        enum name_kind kind;
        const char *rest;
    } rows[] = {
        {"g.room", NAME_GROUP, "room"},
        {"g.a.b-c_D", NAME_GROUP, "a.b-c_D"},
        {"G.0123456789abcdef0123456789abcdef01234567", NAME_GROUP_DIGEST,
         "0123456789abcdef0123456789abcdef01234567"},
        {"ctl", NAME_CONTROL, ""},
        {"ctl2", NAME_CHANNEL, ""},
        {"", NAME_CHANNEL, ""},
        {"g.", NAME_CHANNEL, ""},
        {"G.", NAME_CHANNEL, ""},
        {"g.a!b", NAME_CHANNEL, ""},
        {"G.0123456789ABCDEF0123456789abcdef01234567", NAME_CHANNEL, ""},
        {"G.0123456789abcdef0123456789abcdef0123456", NAME_CHANNEL, ""},
        {"h.room", NAME_CHANNEL, ""},
        {"g.xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx", NAME_CHANNEL, ""},
        {"9f2c1b7d0a3e4c5f8d6e7a1b2c3d4e5f", NAME_CHANNEL, ""},
    };
    (void)state;
    for (size_t i = 0; i < UNIT_ROWS(rows); i++) {
        struct slice rest;
        if (name_local_kind(slice_str(rows[i].local), &rest) != rows[i].kind ||
            !slice_eq_str(rest, rows[i].rest))
            fail_msg("%s", rows[i].local);
    }
}

static void only_behind_a_node_is_a_name_reserved(void **state)
{
#define NODE "00112233445566778899aabbccddeeff"
    static const struct {
        const char *name;
        bool is_reserved;
    } rows[] = {
        {"specific." NODE "!g.room", true},
        {"other." NODE "!ctl", true},
        {NODE "!G.0123456789abcdef0123456789abcdef01234567", true},
        {"specific." NODE "!room", false},
        {"specific." NODE, false},
        {"specific.x!g.room", false},
        {"x!ctl", false},
        {"specific.00112233445566778899AABBCCDDEEFF!g.room", false},
        {"0112233445566778899aabbccddeeff!g.room", false},
    };
#undef NODE
    (void)state;
    for (size_t i = 0; i < UNIT_ROWS(rows); i++)
        if (name_is_reserved(slice_str(rows[i].name)) != rows[i].is_reserved)
            fail_msg("%s", rows[i].name);
}

static void every_aggregate_is_read_as_what_it_was_made_from(void **state)
{
    char group[NAME_MAX_CHARS];

    (void)state;
    memset(group, 'r', sizeof(group));
    for (size_t len = 1; len <= sizeof(group); len++) {
        char out[AGGREGATE_MAX + 1];
        char whole[9 + NODE_ID_CHARS + 1 + AGGREGATE_MAX + 1];
        struct slice rest;
        const size_t size = name_aggregate(out, slice_make(group, len));
        const enum name_kind kind = name_local_kind(slice_make(out, size), &rest);
        assert_int_equal(kind, len <= GROUP_PLAIN_MAX ? NAME_GROUP : NAME_GROUP_DIGEST);
        assert_true(kind == NAME_GROUP_DIGEST || slice_eq(rest, slice_make(group, len)));
        (void)snprintf(whole, sizeof(whole), "specific.%032d!%s", 0, out);
        assert_true(name_is_channel(slice_str(whole))); /* Python may add and discard it */
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_are_what_channels_takes_them_for),
        cmocka_unit_test(lengths_count_characters),
        cmocka_unit_test(what_no_python_takes_is_no_channel),
        cmocka_unit_test(a_name_splits_at_its_first_mark),
        cmocka_unit_test(identities_have_their_shape_and_differ),
        cmocka_unit_test(only_our_own_channels_are_ours),
        cmocka_unit_test(an_aggregate_says_its_group_or_its_digest),
        cmocka_unit_test(a_local_part_says_what_it_stands_for),
        cmocka_unit_test(only_behind_a_node_is_a_name_reserved),
        cmocka_unit_test(every_aggregate_is_read_as_what_it_was_made_from),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
