/* SPDX-License-Identifier: BSD-3-Clause */
#include "routing/table.h"

#include "tests/support/unit.h"

static const struct consumer_kind some_kind = {.name = "some"};

static void what_no_route_takes_goes_to_the_fallback(void **state)
{
    (void)state;
    static const struct {
        enum scope_type type;
        const char *path;
    } rows[] = {
        {SCOPE_HTTP, "/"}, {SCOPE_WEBSOCKET, "/ws/chat/"}, {SCOPE_HTTP, ""}, {SCOPE_HTTP, "*"}};
    int ctx = 0;
    const struct route_table table = {.fallback = {.kind = &some_kind, .ctx = &ctx}};
    for (size_t i = 0; i < UNIT_ROWS(rows); i++) {
        const struct scope scope = {.type = rows[i].type, .path = slice_str(rows[i].path)};
        struct route route = {0};
        assert_int_equal(route_table_find(&route, &table, &scope), ERR_OK);
        assert_ptr_equal(route.kind, &some_kind);
        assert_ptr_equal(route.ctx, &ctx);
    }
}

static void without_a_fallback_nothing_is_found(void **state)
{
    (void)state;
    int ctx = 0;
    const struct route_table table = {0};
    const struct scope scope = {.type = SCOPE_HTTP, .path = slice_str("/")};
    struct route route = {.kind = &some_kind, .ctx = &ctx};
    assert_int_equal(route_table_find(&route, &table, &scope), ERR_NOT_FOUND);
    assert_ptr_equal(route.kind, &some_kind); /* untouched */
    assert_ptr_equal(route.ctx, &ctx);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_no_route_takes_goes_to_the_fallback),
        cmocka_unit_test(without_a_fallback_nothing_is_found),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
