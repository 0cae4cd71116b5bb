/* SPDX-License-Identifier: BSD-3-Clause
 * What errors of Redis mean, how a command is written, and how long to wait.
 */
#include "channel_layer/redis/redis_words.h"

#include "channel_layer/redis/redis_pause.h"
#include "channel_layer/redis/redis_request.h"
#include "core/mem.h"

#include "tests/support/unit.h"

#include <hiredis/hiredis.h>
#include <string.h>

#define SECRET "s3cret-pass"

static void a_command_is_an_array_of_strings(void **state)
{
    static const char expected[] = "*3\r\n$3\r\nSET\r\n$0\r\n\r\n$10\r\n0123\0"
                                   "56789\r\n";
    const struct slice args[] = {slice_str("SET"),
                                 {0},
                                 slice_make("0123\0"
                                            "56789",
                                            10)};
    struct buf out;
    (void)state;
    buf_init(&out, 64);
    assert_int_equal(redis_command_append(&out, 3, args), ERR_OK);
    assert_int_equal(redis_command_size(3, args), sizeof(expected) - 1);
    assert_int_equal(out.len, sizeof(expected) - 1);
    assert_memory_equal(out.ptr, expected, out.len);
    assert_int_equal(redis_command_append(&out, 3, args), ERR_TOO_BIG);
    assert_int_equal(out.len, sizeof(expected) - 1);
    buf_deinit(&out);
}

static void a_command_over_the_limit_is_refused(void **state)
{
    const struct slice most = slice_make("", REDIS_COMMAND_MAX);
    const struct slice args[] = {slice_str("SET"), most};
    struct redis_request *req = NULL;
    (void)state;
    assert_int_equal(redis_command_size(2, args), SIZE_MAX);
    assert_int_equal(redis_request_new(&req, 2, args), ERR_TOO_BIG);
    assert_int_equal(redis_request_new(&req, 0, args), ERR_INVALID);
    mem_fail_after(0);
    assert_int_equal(redis_request_new(&req, 1, args), ERR_NOMEM);
    mem_fail_after(-1);
}

static void deadlines_are_kept_in_order(void **state)
{
    static const uint64_t deadlines[] = {50, 10, UINT64_MAX, 30, 50, 20};
    static const uint64_t order[] = {10, 20, 30, 50, 50};
    struct redis_requests r;
    struct redis_request *req = NULL;
    const struct slice ping = slice_str("PING");
    (void)state;
    redis_requests_init(&r);
    for (size_t i = 0; i < UNIT_ROWS(deadlines); i++) {
        assert_int_equal(redis_request_new(&req, 1, &ping), ERR_OK);
        req->deadline_ms = deadlines[i];
        redis_requests_add(&r, &r.waiting, req);
    }
    for (size_t i = 0; i < UNIT_ROWS(order); i++) {
        req = redis_requests_due(&r);
        assert_int_equal(req->deadline_ms, order[i]);
        assert_false(redis_requests_expire(&r, req)); /* it was not sent */
        mem_free(req);
    }
    assert_null(redis_requests_due(&r));
    req = redis_requests_next(&r);
    assert_int_equal(r.waiting_bytes, req->len);
    redis_requests_end_all(&r, ERR_CLOSED);
    assert_int_equal(r.waiting_bytes, 0);
    assert_false(dlist_is_empty(&r.ended));
    mem_free(req);
}

static void errors_say_what_to_do(void **state)
{
    static const struct {
        const char *says;
        enum redis_trouble trouble;
        const char *words;
    } rows[] = {
        {"MOVED 3999 127.0.0.1:6381", REDIS_TROUBLE_NONE, "hash tag, such as \"{asgi}\""},
        {"CROSSSLOT Keys in request", REDIS_TROUBLE_NONE, "Redis Cluster"},
        {"MISCONF Redis is configured to save", REDIS_TROUBLE_NONE, "could not save to disk"},
        {"OOM command not allowed", REDIS_TROUBLE_NONE, "maxmemory"},
        {"WRONGTYPE Operation", REDIS_TROUBLE_NONE, "another prefix"},
        {"LOADING Redis is loading", REDIS_TROUBLE_LOADING, "tried again"},
        {"READONLY You can't write", REDIS_TROUBLE_READONLY, "Sentinel"},
        {"READONLYX", REDIS_TROUBLE_NONE, "READONLYX"},
        {"MASTERDOWN Link with MASTER is down", REDIS_TROUBLE_READONLY, "MASTERDOWN"},
        {"ERR Error running script (call to f_1): @user_script: 1: -READONLY You can't write",
         REDIS_TROUBLE_READONLY, "READONLY You can't write (this Redis is a replica"},
        {"ERR Error running script (call to f_0aF): @user_script:1: -READONLY", REDIS_TROUBLE_NONE,
         "ERR Error running script (call to f_0aF)"},
        {"ERR Error running script (call to f_1): @user_script:1: WRONGTYPE Operation ",
         REDIS_TROUBLE_NONE, "WRONGTYPE Operation (another program"},
        {"ERR Error running script (call to f_1): @user_script:1: @user_script: 1: -OOM no more",
         REDIS_TROUBLE_NONE, "OOM no more (Redis has reached its maxmemory"},
        {"ERR Error running script (call to f_1): @user_script: 12: The user executing the script "
         "can't run this command or subcommand",
         REDIS_TROUBLE_NONE, "ACL must allow it"},
        {"ERR ACL failure in script: User app has no permissions to run the 'zadd' command",
         REDIS_TROUBLE_NONE, "ACL must allow it"},
        {"ERR Error running script (call to f_1): @user_script:", REDIS_TROUBLE_NONE, ""},
        {"ERR Error running script (call to f_", REDIS_TROUBLE_NONE, "ERR Error running script"},
        {"ERR unknown command `HELLO`, with args beginning with: `3`, `AUTH`, `" SECRET "`",
         REDIS_TROUBLE_NONE, "ERR unknown command `HELLO`"},
        {"ERR \x1b[31mred\n", REDIS_TROUBLE_NONE, "ERR ?[31mred?"},
    };
    (void)state;
    for (size_t i = 0; i < UNIT_ROWS(rows); i++) {
        char words[300];
        const struct redisReply reply = {.type = REDIS_REPLY_ERROR,
                                         .str = (char *)(uintptr_t)rows[i].says,
                                         .len = strlen(rows[i].says)};
        redis_error_words(words, sizeof(words), &reply);
        if (strstr(words, rows[i].words) == NULL || strstr(words, SECRET) != NULL)
            fail_msg("%s: %s", rows[i].says, words);
        assert_int_equal(redis_trouble_of(&reply), rows[i].trouble);
    }
}

static uint64_t pause_after(unsigned failures, bool is_eager, bool tls_failed)
{
    struct redis_pause pause = {.failures = failures, .tls_failed = tls_failed};
    const uint64_t ms = redis_pause_next_ms(&pause, is_eager);
    assert_int_equal(pause.failures, failures + 1);
    return ms;
}

static void pauses_grow_to_their_limit_and_differ(void **state)
{
    uint64_t least = UINT64_MAX;
    uint64_t most = 0;
    (void)state;
    for (int i = 0; i < 200; i++) {
        assert_in_range(pause_after(0, false, false), 25, 50);
        assert_in_range(pause_after(1, false, true), 50, 100);
        assert_in_range(pause_after(100, true, false), 100, 200);
        assert_in_range(pause_after(100, true, true), 1000, 2000);
        assert_in_range(pause_after(100, false, true), 1000, 2000);
        const uint64_t pause = pause_after(100, false, false);
        assert_in_range(pause, REDIS_PAUSE_MAX_MS / 2, REDIS_PAUSE_MAX_MS);
        least = pause < least ? pause : least;
        most = pause > most ? pause : most;
    }
    assert_true(most - least > 100);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_command_is_an_array_of_strings),
        cmocka_unit_test(a_command_over_the_limit_is_refused),
        cmocka_unit_test(deadlines_are_kept_in_order),
        cmocka_unit_test(errors_say_what_to_do),
        cmocka_unit_test(pauses_grow_to_their_limit_and_differ),
    };
    return cmocka_run_group_tests_name("redis_words", tests, NULL, NULL);
}
