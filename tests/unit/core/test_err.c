/* SPDX-License-Identifier: BSD-3-Clause */
#include "core/err.h"

#include "tests/support/unit.h"

#include <errno.h>
#include <string.h>
#include <uv.h>

static void every_code_has_a_text_of_its_own(void **state)
{
    (void)state;
    for (int a = ERR_OK; a <= ERR_AGAIN; a++) {
        assert_string_not_equal(err_str((enum err)a), "unknown error");
        for (int b = ERR_OK; b < a; b++)
            assert_string_not_equal(err_str((enum err)a), err_str((enum err)b));
    }
    assert_string_equal(err_str((enum err)1000), "unknown error");
}

static void codes_of_libuv_and_errno_are_translated(void **state)
{
    (void)state;
    static const struct {
        int uv;
        int errnum;
        enum err want;
    } rows[] = {
        {0, 0, ERR_OK},
        {UV_EADDRINUSE, EADDRINUSE, ERR_ADDR_IN_USE},
        {UV_EACCES, EACCES, ERR_ACCESS},
        {UV_EMFILE, EMFILE, ERR_NO_FILES},
        {UV_ENOENT, ENOENT, ERR_NOT_FOUND},
        {UV_EAGAIN, EAGAIN, ERR_AGAIN},
        {UV_ECANCELED, ECANCELED, ERR_CLOSED},
        {UV_EPIPE, EPIPE, ERR_CLOSED},
        {UV_ENOSPC, ENOSPC, ERR_IO},
    };
    for (size_t i = 0; i < UNIT_ROWS(rows); i++) {
        assert_int_equal(err_from_uv(rows[i].uv), rows[i].want);
        assert_int_equal(err_from_errno(rows[i].errnum), rows[i].want);
    }
    assert_int_equal(err_from_uv(UV_EOF), ERR_CLOSED);
    assert_int_equal(err_from_uv(17), ERR_OK); /* a byte count */
}

static void fail_keeps_the_code_and_cuts_the_text(void **state)
{
    (void)state;
    char long_text[ERR_TEXT_MAX + 10];
    struct err_text why;
    memset(long_text, 'x', sizeof(long_text));
    long_text[sizeof(long_text) - 1] = '\0';
    assert_int_equal(err_fail(&why, ERR_INVALID, "port %d", 70000), ERR_INVALID);
    assert_int_equal(why.code, ERR_INVALID);
    assert_string_equal(why.text, "port 70000");
    assert_int_equal(err_fail(&why, ERR_IO, "%s", long_text), ERR_IO);
    assert_int_equal(strlen(why.text), ERR_TEXT_MAX - 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_code_has_a_text_of_its_own),
        cmocka_unit_test(codes_of_libuv_and_errno_are_translated),
        cmocka_unit_test(fail_keeps_the_code_and_cuts_the_text),
    };
    return cmocka_run_group_tests_name("err", tests, NULL, NULL);
}
