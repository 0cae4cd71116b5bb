/* SPDX-License-Identifier: BSD-3-Clause */
#include "core/json.h"

#include "core/mem.h"
#include "tests/support/unit.h"

#include <stdlib.h>
#include <string.h>

static const struct json_limits limits = {.max_bytes = 1000, .max_depth = 3};

static struct json_node *parse(const char *text)
{
    struct json_node *root = NULL;
    struct err_text why = {0};
    if (json_parse(&root, slice_str(text), &limits, &why) != ERR_OK)
        fail_msg("%s was refused: %s", text, why.text);
    return root;
}

static void every_kind_is_read(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        enum json_kind kind;
    } rows[] = {
        {"null", JSON_KIND_NULL}, {"true", JSON_KIND_BOOL},  {" -5 ", JSON_KIND_INT},
        {"1e2", JSON_KIND_REAL},  {"\"a\"", JSON_KIND_STR},  {"[]", JSON_KIND_ARRAY},
        {"{}", JSON_KIND_OBJECT}, {"false", JSON_KIND_BOOL},
    };
    for (size_t i = 0; i < UNIT_ROWS(rows); i++) {
        struct json_node *root = parse(rows[i].text);
        assert_int_equal(json_kind(root), rows[i].kind);
        json_discard(root);
    }
}

static void values_are_what_was_written(void **state)
{
    (void)state;
    struct json_node *root =
        parse("[true, -9223372036854775808, 2.5, 7, \"\\u00e9\\u0000\\ud83d\\ude00\", [1, 2]]");
    assert_int_equal(json_count(root), 6);
    assert_true(json_bool(json_item(root, 0)));
    assert_true(json_int(json_item(root, 1)) == INT64_MIN);
    assert_true(json_double(json_item(root, 2)) == 2.5);
    assert_true(json_double(json_item(root, 3)) == 7);
    const struct slice text = json_str(json_item(root, 4));
    assert_int_equal(text.len, 7);
    assert_memory_equal(text.ptr, "\xc3\xa9\0\xf0\x9f\x98\x80", 7);
    assert_int_equal(json_count(json_item(root, 5)), 2);
    json_discard(root);
}

static void members_come_in_the_order_of_the_text(void **state)
{
    (void)state;
    static const char *const keys[] = {"z", "a", "", "m"};
    struct json_node *root = parse("{\"z\": 0, \"a\": 1, \"\": 2, \"m\": 3}");
    struct json_cursor cursor = json_members(root);
    struct slice key;
    const struct json_node *value = NULL;
    int64_t i = 0;
    for (; json_next(&cursor, &key, &value); i++) {
        assert_true(slice_eq_str(key, keys[i]));
        assert_true(json_int(value) == i);
    }
    assert_int_equal(i, 4);
    assert_int_equal(json_count(root), 4);
    assert_true(json_int(json_member(root, "m")) == 3);
    assert_null(json_member(root, "b"));
    json_discard(root);
}

static void what_is_no_json_is_refused_with_its_position(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        enum err err;
        const char *reason;
    } rows[] = {
        {"", ERR_INVALID, "the JSON text is empty"},
        {"{", ERR_INVALID, "JSON: line 1, column 1: the text ends too early"},
        {"[\n[1, NaN]]", ERR_INVALID, "JSON: line 2, column 5: no JSON from here on"},
        {"{\"\xc3\xa4\": -Infinity}", ERR_INVALID, "JSON: line 1, column 7: no JSON from here on"},
        {"[Infinity", ERR_INVALID, "JSON: line 1, column 2: no JSON from here on"},
        {"nonsense", ERR_INVALID, "JSON: line 1, column 1: no JSON from here on"},
        {"[1 true]", ERR_INVALID, "JSON: line 1, column 4: no JSON from here on"},
        {"[1,\n 2,,]", ERR_INVALID, "JSON: line 2, column 4: no JSON from here on"},
        {"1 2", ERR_INVALID, "something follows behind the value"},
        {"\"\xff\"", ERR_INVALID, "the text is not UTF-8"},
        {"{\"a\": 1, \"a\": 2}", ERR_INVALID, "a key that the object has already"},
        {"9223372036854775808", ERR_INVALID, "a number that is too large"},
        {"1e999", ERR_INVALID, "a number that is too large"},
        {"{\"a\\u0000\": 1}", ERR_INVALID, "a NUL character in a key"},
        {"NaN", ERR_INVALID, "no JSON from here on"},
        {"'a'", ERR_INVALID, "no JSON from here on"},
        {"[[[[]]]]", ERR_TOO_BIG, "nests deeper than 3"},
        {"[\"\\\"\", [[[", ERR_TOO_BIG, "nests deeper than 3"},
    };
    for (size_t i = 0; i < UNIT_ROWS(rows); i++) {
        struct json_node *root = NULL;
        struct err_text why = {0};
        assert_int_equal(json_parse(&root, slice_str(rows[i].text), &limits, &why), rows[i].err);
        assert_null(root);
        assert_int_equal(why.code, rows[i].err);
        if (strstr(why.text, rows[i].reason) == NULL)
            fail_msg("%s was refused with %s", rows[i].text, why.text);
    }
}

static void brackets_in_strings_are_not_counted(void **state)
{
    (void)state;
    json_discard(parse("[[[\"[[[[\\\"[[\\\\\"]]]"));
}

static void the_ceiling_of_bytes_holds(void **state)
{
    (void)state;
    char text[1002];
    struct json_node *root = NULL;
    struct err_text why = {0};
    memset(text, ' ', sizeof(text));
    text[0] = '1';
    assert_int_equal(json_parse(&root, slice_make(text, 1000), &limits, &why), ERR_OK);
    json_discard(root);
    assert_int_equal(json_parse(&root, slice_make(text, 1001), &limits, &why), ERR_TOO_BIG);
}

static void a_failing_allocation_never_gives_a_part_of_the_text(void **state)
{
    (void)state;
    static const char text[] = "{\"a long key, longer than the first block\": "
                               "[\"a string that has to grow, and to grow once more\", 1.5]}";
    size_t failures = 0;
    for (long after = 0; after < 100; after++) {
        struct json_node *root = NULL;
        struct err_text why = {0};
        mem_fail_after(after);
        const enum err err = json_parse(&root, slice_str(text), &limits, &why);
        mem_fail_after(-1);
        if (err != ERR_OK) {
            assert_int_equal(err, ERR_NOMEM);
            assert_null(root);
            failures++;
            continue;
        }
        const struct json_node *list = json_member(root, "a long key, longer than the first block");
        assert_non_null(list);
        assert_int_equal(json_str(json_item(list, 0)).len, 48);
        json_discard(root);
    }
    assert_in_range(failures, 5, 99);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_kind_is_read),
        cmocka_unit_test(values_are_what_was_written),
        cmocka_unit_test(members_come_in_the_order_of_the_text),
        cmocka_unit_test(what_is_no_json_is_refused_with_its_position),
        cmocka_unit_test(brackets_in_strings_are_not_counted),
        cmocka_unit_test(the_ceiling_of_bytes_holds),
        cmocka_unit_test(a_failing_allocation_never_gives_a_part_of_the_text),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
