/* SPDX-License-Identifier: BSD-3-Clause */
#include "server/process/worker_memory.h"

#include "tests/support/unit.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void the_second_number_is_what_is_resident(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        uint64_t pages;
    } rows[] = {
        {"2451 1893 1201 8 0 423 0\n", 1893},
        {"1 0 0 0 0 0 0\n", 0},
        {"1 18446744073709551615 0", UINT64_MAX},
    };
    for (size_t i = 0; i < UNIT_ROWS(rows); i++) {
        uint64_t pages = 7;
        assert_int_equal(worker_memory_scan(&pages, slice_str(rows[i].text)), ERR_OK);
        assert_true(pages == rows[i].pages);
    }
}

static void anything_else_is_refused(void **state)
{
    (void)state;
    static const char *const rows[] = {
        "", " ", "12", "12 ", "12 34", "12 x ", "12  34 ", "1 18446744073709551616 0", "1 -5 0",
    };
    for (size_t i = 0; i < UNIT_ROWS(rows); i++) {
        uint64_t pages = 7;
        if (worker_memory_scan(&pages, slice_str(rows[i])) != ERR_INVALID || pages != 7)
            fail_msg("accepted: \"%s\"", rows[i]);
    }
}

static void memory_that_is_touched_is_seen(void **state)
{
    (void)state;
    enum { MORE = 64 * 1024 * 1024 };
    uint64_t before = 0;
    uint64_t after = 0;
    assert_int_equal(worker_memory_read(&before, getpid()), ERR_OK);
    char *block = malloc(MORE);
    assert_non_null(block);
    memset(block, 1, MORE);
    assert_int_equal(worker_memory_read(&after, getpid()), ERR_OK);
    assert_int_equal(block[MORE - 1], 1);
    free(block);
    assert_true(after > before + MORE / 2);
}

static void a_process_that_is_not_there_is_an_error(void **state)
{
    (void)state;
    uint64_t bytes = 7;
    assert_int_not_equal(worker_memory_read(&bytes, 0), ERR_OK);
    assert_int_equal(bytes, 7);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_second_number_is_what_is_resident),
        cmocka_unit_test(anything_else_is_refused),
        cmocka_unit_test(memory_that_is_touched_is_seen),
        cmocka_unit_test(a_process_that_is_not_there_is_an_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
