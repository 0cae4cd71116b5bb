/* SPDX-License-Identifier: BSD-3-Clause */
#include "core/header.h"

#include "tests/support/unit.h"

#define FIELD(name, value)                              \
    {                                                   \
        {(const uint8_t *)(name), sizeof(name) - 1},    \
        {                                               \
            (const uint8_t *)(value), sizeof(value) - 1 \
        }                                               \
    }

static const struct header head[] = {
    FIELD("host", "example.org"), FIELD("connection", "keep-alive"),
    FIELD("cookie", "a=1"),       FIELD("connection", "Foo , UPGRADE"),
    FIELD("empty", ""),
};

static void find_gives_the_first_value(void **state)
{
    (void)state;
    assert_true(slice_eq_str(*header_find(head, UNIT_ROWS(head), "connection"), "keep-alive"));
    assert_true(slice_eq_str(*header_find(head, UNIT_ROWS(head), "empty"), ""));
    assert_null(header_find(head, UNIT_ROWS(head), "hos"));
    assert_null(header_find(head, UNIT_ROWS(head), "hostt"));
    assert_null(header_find(head, 1, "cookie"));
    assert_null(header_find(NULL, 0, "host"));
}

static void count_counts_all(void **state)
{
    (void)state;
    assert_int_equal(header_count(head, UNIT_ROWS(head), "connection"), 2);
    assert_int_equal(header_count(head, UNIT_ROWS(head), "host"), 1);
    assert_int_equal(header_count(head, UNIT_ROWS(head), "origin"), 0);
}

static void list_has_an_item_of_any_line_in_any_case(void **state)
{
    (void)state;
    assert_true(header_list_has(head, UNIT_ROWS(head), "connection", "upgrade"));
    assert_true(header_list_has(head, UNIT_ROWS(head), "connection", "foo"));
    assert_true(header_list_has(head, UNIT_ROWS(head), "connection", "keep-alive"));
    assert_false(header_list_has(head, UNIT_ROWS(head), "connection", "keep"));
    assert_false(header_list_has(head, UNIT_ROWS(head), "connection", ""));
    assert_false(header_list_has(head, UNIT_ROWS(head), "empty", ""));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(find_gives_the_first_value),
        cmocka_unit_test(count_counts_all),
        cmocka_unit_test(list_has_an_item_of_any_line_in_any_case),
    };
    return cmocka_run_group_tests_name("header", tests, NULL, NULL);
}
