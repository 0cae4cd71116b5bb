/* SPDX-License-Identifier: BSD-3-Clause */
#include "channel_layer/pattern.h"

#include "tests/support/golden.h"

static void patterns_match_what_channels_redis_matches(void **state)
{
    json_t *file = golden_load("tests/golden/channels_redis/capacity_pattern_vectors.json");
    size_t i = 0;
    const json_t *row = NULL;

    (void)state;
    json_array_foreach(file, i, row)
    {
        const struct slice pattern = golden_slice(row, "pattern");
        const bool want = json_is_true(json_object_get(row, "matches"));
        if (pattern_matches(pattern, golden_slice(row, "channel")) != want)
            fail_msg("%s on %s", golden_text(row, "pattern"), golden_text(row, "channel"));
    }
    assert_int_equal(i, 15);
    json_decref(file);
}

/* What Python 3.11 answers. */
static void patterns_are_read_as_pythons_fnmatch_reads_them(void **state)
{
    static const struct {
        const char *pattern;
        const char *name;
        bool matches;
    } rows[] = {
        {"[c-a]x", "bx", false},
        {"[c-a]", "c", false},
        {"[!c-a]", "q", true},
        {"[^a]", "^", true},
        {"[^a]", "b", false},
        {"[!^a]", "b", true},
        {"[!^a]", "^", false},
        {"[a", "[a", true},
        {"[!", "[!", true},
        {"[]", "[]", true},
        {"[!]", "[!]", true},
        {"[]]", "]", true},
        {"[!]a]", "b", true},
        {"[!]a]", "]", false},
        {"[a-]", "-", true},
        {"[-a]", "-", true},
        {"[a-b-z]", "-", true},
        {"[a-b-z]", "c", false},
        {"[a-b-z]", "z", true},
        {"[a-c--e]", "d", true},
        {"[--a]", "A", true},
        {"[a--b]", "a", false},
        {"[a--b]", "b", true},
        {"[a\\]", "\\", true},
        {"\\*", "\\x", true},
        {"\\*", "*", false},
        {"[\\w]", "w", true},
        {"[\\w]", "a", false},
        {"[[:alpha:]]", "a", false},
        {"[[:alpha:]]", ":]", true},
        {"[a&&b]", "&", true},
        {"[a||b]", "|", true},
        {"[a~~b]", "~", true},
        {"**", "x", true},
        {"*a*b*c", "xxaxxbxxc", true},
        {"*a*b*c", "xxaxxbxxd", false},
        {"*?", "", false},
        {"?", "\303\251", true},
        {"?", "\360\237\230\200", true},
        {"[\303\251-\303\274]", "\303\266", true},
        {"[\303\251-\303\274]", "z", false},
        {"[!\303\251]", "e", true},
        {"a*", "a\012", true},
        {"a?", "a\012", true},
        {"a", "a\012", false},
        {"*.\303\251", "x.\303\251", true},
        {"a*a", "a", false},
        {"*", "", true},
        {"a**b", "ab", true},
        {"[!!a]", "!", false},
        {"[!!a]", "b", true},
        {"[z-ab]", "b", true},
        {"[z-a-c]", "-", true},
        {"[z-a-c]", "c", true},
        {"[z-a-c]", "b", false},
        {"a[b", "a[b", true},
        {"a[b", "ab", false},
        {"[[]", "[", true},
        {"[]-a]", "^", true},
        {"[]-a]", "b", false},
        {"{a,b}", "a", false},
        {"{a,b}", "{a,b}", true},
        {"a.c", "abc", false},
        {"(a)", "(a)", true},
        {"a+", "aa", false},
        {"$", "$", true},
    };
    (void)state;
    for (size_t i = 0; i < UNIT_ROWS(rows); i++) {
        if (pattern_matches(slice_str(rows[i].pattern), slice_str(rows[i].name)) != rows[i].matches)
            fail_msg("%s on %s", rows[i].pattern, rows[i].name);
    }
}

static void bytes_that_are_no_text_are_characters_too(void **state)
{
    (void)state;
    assert_true(pattern_matches(slice_str("?"), slice_str("\377")));
    assert_true(pattern_matches(slice_str("??"), slice_str("\303(")));
    assert_true(pattern_matches(slice_str("?"), slice_str("\303")));
    assert_false(pattern_matches(slice_str("[a-z]"), slice_str("\303")));
    assert_true(pattern_matches(slice_str("\355\240\200"), slice_str("\355\240\200")));
}

/* Each pattern is the worst of its kind; with backtracking of every star this would not end. */
static void no_pattern_takes_more_than_its_length_times_the_names(void **state)
{
    enum { SIZE = 2000 };
    static char pattern[SIZE];
    static char name[SIZE];

    (void)state;
    memset(name, 'a', sizeof(name));
    for (size_t i = 0; i < SIZE; i += 2)
        memcpy(pattern + i, "*a", 2);
    pattern[SIZE - 1] = 'b';
    assert_false(pattern_matches(slice_make(pattern, SIZE), slice_make(name, SIZE)));
    memset(pattern, '[', sizeof(pattern));
    pattern[0] = '*';
    memset(name, '[', sizeof(name));
    name[SIZE - 1] = 'x';
    assert_false(pattern_matches(slice_make(pattern, SIZE), slice_make(name, SIZE)));
}

static void the_first_pattern_that_matches_counts(void **state)
{
    char first[] = "chat.*";
    char second[] = "chat.room";
    char third[] = "*!*";
    struct pattern_entry entries[] = {{first, 1}, {second, 2}, {third, 3}};
    const struct pattern_table table = {.entries = entries, .count = 3};
    const struct pattern_table none = {0};

    (void)state;
    assert_int_equal(pattern_table_find(&table, slice_str("chat.room"), 9), 1);
    assert_int_equal(pattern_table_find(&table, slice_str("x!chat.room"), 9), 3);
    assert_int_equal(pattern_table_find(&table, slice_str("other"), 9), 9);
    assert_int_equal(pattern_table_find(&none, slice_str("chat.room"), 7), 7);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(patterns_match_what_channels_redis_matches),
        cmocka_unit_test(patterns_are_read_as_pythons_fnmatch_reads_them),
        cmocka_unit_test(bytes_that_are_no_text_are_characters_too),
        cmocka_unit_test(no_pattern_takes_more_than_its_length_times_the_names),
        cmocka_unit_test(the_first_pattern_that_matches_counts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
