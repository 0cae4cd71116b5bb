/* SPDX-License-Identifier: BSD-3-Clause */
#include "core/mem.h"

#include "tests/support/unit.h"

#include <string.h>

static int teardown(void **state)
{
    (void)state;
    mem_fail_after(-1);
    return 0;
}

static void small_memory_is_zeroed(void **state)
{
    (void)state;
    static const uint8_t zeros[4096];
    for (size_t size = 0; size <= sizeof(zeros); size = size * 4 + 1) {
        void *ptr = mem_try(size); /* so that the next is memory that was used */
        assert_non_null(ptr);
        memset(ptr, 0xaa, size);
        mem_free(ptr);
        ptr = mem_alloc(size);
        assert_memory_equal(ptr, zeros, size);
        mem_free(ptr);
    }
}

static void no_bytes_are_memory_too(void **state)
{
    (void)state;
    void *tried = mem_try(0);
    assert_non_null(tried);
    tried = mem_try_resize(tried, 0);
    assert_non_null(tried);
    mem_free(tried);
    mem_free(NULL);
}

static void resizing_keeps_the_content(void **state)
{
    (void)state;
    char *ptr = mem_try_resize(NULL, 4);
    assert_non_null(ptr);
    memcpy(ptr, "abc", 4);
    ptr = mem_try_resize(ptr, 100000);
    assert_non_null(ptr);
    assert_string_equal(ptr, "abc");
    mem_free(ptr);
}

static void a_copy_ends_with_nul(void **state)
{
    (void)state;
    static const char text[] = {'a', '\0', 'b'};
    char *copy = mem_copy_str(text, sizeof(text));
    assert_memory_equal(copy, "a\0b", 4);
    mem_free(copy);
    copy = mem_copy_str(NULL, 0);
    assert_string_equal(copy, "");
    mem_free(copy);
}

static void the_allocation_that_was_asked_for_fails_and_only_that(void **state)
{
    (void)state;
    for (long after = 0; after < 4; after++) {
        mem_fail_after(after);
        for (long i = 0; i < 6; i++) {
            void *ptr = i % 2 == 0 ? mem_try(8) : mem_try_resize(NULL, 8);
            assert_int_equal(ptr == NULL, i == after);
            mem_free(ptr);
        }
    }
    mem_fail_after(0);
    mem_fail_after(-1);
    void *ptr = mem_try(8);
    assert_non_null(ptr);
    mem_fail_after(0);
    assert_null(mem_try_resize(ptr, 16)); /* and leaves ptr as it was */
    mem_free(ptr);
}

static void small_memory_never_fails_for_a_test(void **state)
{
    (void)state;
    mem_fail_after(0);
    mem_free(mem_alloc(8));
    mem_free(mem_copy_str("abc", 3));
    assert_null(mem_try(8)); /* they were not counted */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(small_memory_is_zeroed),
        cmocka_unit_test(no_bytes_are_memory_too),
        cmocka_unit_test(resizing_keeps_the_content),
        cmocka_unit_test(a_copy_ends_with_nul),
        cmocka_unit_test_teardown(the_allocation_that_was_asked_for_fails_and_only_that, teardown),
        cmocka_unit_test_teardown(small_memory_never_fails_for_a_test, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
