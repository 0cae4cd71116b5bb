/* SPDX-License-Identifier: BSD-3-Clause
 * Commands, deadlines and losses, against a real redis-server and against peers that misbehave.
 */
#include "tests/support/redis_link_rig.h"

static const char *const up_answers[] = {
    "%1\r\n$7\r\nversion\r\n$5\r\n7.2.1\r\n", /* HELLO */
    "+OK\r\n+PONG\r\n",                       /* CLIENT SETNAME, PING */
    NULL,
};

static int start_server(void **state)
{
    struct redis_daemon *p = calloc(1, sizeof(*p));
    assert_non_null(p);
    daemon_start(p, NULL);
    *state = p;
    return 0;
}

static int stop_server(void **state)
{
    daemon_remove(*state);
    free(*state);
    return 0;
}

/* ---- in good times ---- */

static void commands_are_answered_in_order(void **state)
{
    const struct redis_daemon *p = *state;
    struct rig rig;
    struct ask asks[3];
    rig_open_port(&rig, p->port, 2000);
    assert_false(redis_link_is_up(rig.link));
    assert_int_equal(redis_link_version(rig.link), 0);
    assert_true(strstr(redis_link_why(rig.link), "127.0.0.1:") != NULL);
    rig_ask(&rig, &asks[0], "SET key value"); /* waits for the connection */
    rig_ask(&rig, &asks[1], "GET key");
    rig_ask(&rig, &asks[2], "INCR key");
    RUN_UNTIL(&rig, asks[2].is_answered);
    assert_true(asks[0].is_answered && asks[1].is_answered);
    assert_string_equal(asks[0].text, "OK");
    assert_string_equal(asks[1].text, "value");
    assert_int_equal(asks[2].err, ERR_OK);
    assert_int_equal(asks[2].type, REDIS_REPLY_ERROR);
    assert_string_equal(asks[1].why, "");
    assert_true(strstr(asks[2].why, "not an integer") != NULL);
    assert_true(redis_link_is_up(rig.link));
    assert_int_equal(redis_link_has_push(rig.link), p->version >= 600);
    assert_int_equal(redis_link_version(rig.link), p->version / 100);
    assert_string_equal(redis_link_why(rig.link), "");
    assert_int_equal(rig.ups, 1);
    assert_int_equal(rig.firsts, 1);
    assert_int_equal(rig.downs, 0);
    rig_close(&rig);
}

static void large_values_pass_in_both_directions(void **state)
{
    const struct redis_daemon *p = *state;
    enum { SIZE = 16 * 1024 * 1024 };
    struct rig rig;
    struct ask ask = {.loop = &rig.loop};
    uint8_t *value = malloc(SIZE);
    assert_non_null(value);
    memset(value, 'v', SIZE);
    rig_open_port(&rig, p->port, 5000);
    const struct slice set[] = {slice_str("SET"), slice_str("large"), slice_make(value, SIZE)};
    assert_int_equal(redis_link_command(rig.link, rig_on_answer, &ask, 0, 3, set), ERR_OK);
    RUN_UNTIL(&rig, ask.is_answered);
    assert_int_equal(ask.err, ERR_OK);
    rig_ask(&rig, &ask, "GET large");
    RUN_UNTIL(&rig, ask.is_answered);
    assert_int_equal(ask.err, ERR_OK);
    assert_int_equal(ask.type, REDIS_REPLY_STRING);
    free(value);
    rig_close(&rig);
}

static void the_commands_of_a_turn_are_one_write(void **state)
{
    (void)state;
    struct rig rig;
    struct peer peer = {.answers = up_answers};
    const struct slice args[] = {slice_str("GET"), slice_str("key")};
    rig_open_peer(&rig, &peer, 2000);
    RUN_UNTIL(&rig, rig.ups == 1);
    peer.answers = NULL;
    peer.bytes = 0;
    const unsigned before = peer.reads;
    for (int i = 0; i < 100; i++)
        assert_int_equal(redis_link_command(rig.link, NULL, NULL, 0, 2, args), ERR_OK);
    RUN_UNTIL(&rig, peer.bytes == 100 * strlen("*2\r\n$3\r\nGET\r\n$3\r\nkey\r\n"));
    assert_int_equal(peer.reads, before + 1);
    peer_close(&peer);
    rig_close(&rig);
}

static void on_up_asks(struct rig *rig)
{
    rig_ask(rig, rig->extra, "SET order up");
}

static void what_is_given_in_up_goes_before_what_waited(void **state)
{
    const struct redis_daemon *p = *state;
    struct rig rig;
    struct ask ask;
    struct ask at_up = {0};
    rig_open_port(&rig, p->port, 2000);
    rig.on_up = on_up_asks;
    rig.extra = &at_up;
    rig_ask(&rig, &ask, "SET order waited");
    RUN_UNTIL(&rig, ask.is_answered);
    assert_true(at_up.is_answered);
    rig_expect(&rig, "GET order", "waited");
    rig_close(&rig);
}

/* ---- pushes ---- */

static void an_invalidation_is_a_push(void **state)
{
    const struct redis_daemon *p = *state;
    struct rig rig;
    daemon_need_version(600, "CLIENT TRACKING");
    rig_open_port(&rig, p->port, 2000);
    rig_expect(&rig, "SET watched 1", "OK");
    rig_expect(&rig, "CLIENT TRACKING ON", "OK");
    rig_expect(&rig, "GET watched", "1");
    daemon_do(p, "SET watched 2");
    RUN_UNTIL(&rig, rig.pushes == 1);
    assert_string_equal(rig.push, "invalidate watched");
    rig_expect(&rig, "GET watched", "2");
    rig_close(&rig);
}

static void subscribing_is_answered_once_and_messages_are_pushes(void **state)
{
    const struct redis_daemon *p = *state;
    struct rig rig;
    struct ask ask;
    const struct slice all[] = {slice_str("UNSUBSCRIBE")};
    rig_open_port(&rig, p->port, 2000);
    rig_expect(&rig, "SUBSCRIBE a b", "subscribe b 2");
    assert_int_equal(rig.pushes, 0);
    daemon_do(p, "PUBLISH b hello");
    RUN_UNTIL(&rig, rig.pushes == 1);
    assert_string_equal(rig.push, "message b hello");
    rig_expect(&rig, "PSUBSCRIBE a*", "psubscribe a* 3");
    daemon_do(p, "PUBLISH ab again");
    RUN_UNTIL(&rig, rig.pushes == 2);
    assert_string_equal(rig.push, "pmessage a* ab again");
    rig_expect(&rig, "UNSUBSCRIBE a b", "unsubscribe b 1");
    rig_ask(&rig, &ask, "SUBSCRIBE c");
    if (redis_link_has_push(rig.link)) /* other commands go beside it in RESP3 */
        rig_expect(&rig, "ECHO x", "x");
    RUN_UNTIL(&rig, ask.is_answered);
    assert_int_equal(redis_link_command(rig.link, NULL, NULL, 0, 1, all), ERR_INVALID);
    rig_close(&rig);
}

/* ---- away, killed, restarted ---- */

static void a_command_that_could_not_be_sent_says_so_at_its_deadline(void **state)
{
    (void)state;
    struct rig rig;
    struct ask ask;
    rig_open_port(&rig, daemon_free_port(), 300);
    rig_ask(&rig, &ask, "PING");
    RUN_UNTIL(&rig, ask.is_answered);
    assert_int_equal(ask.err, ERR_UNAVAILABLE);
    assert_true(ask.took_ms >= 300 && ask.took_ms < 600);
    assert_true(strstr(ask.why, "127.0.0.1:") != NULL && strstr(ask.why, "refused") != NULL);
    assert_int_equal(rig.downs, 1); /* for several attempts */
    assert_string_equal(rig.why, redis_link_why(rig.link));
    rig_close(&rig);
}

static void a_restart_fails_only_what_was_under_way(void **state)
{
    struct redis_daemon *p = *state;
    struct rig rig;
    struct ask blocked;
    struct ask asks[20];
    rig_open_port(&rig, p->port, 2000);
    RUN_UNTIL(&rig, rig.ups == 1);
    rig_ask_within(&rig, &blocked, UINT32_MAX, "BLPOP nothing 0");
    rig_sleep(&rig, 50);
    daemon_kill(p);
    RUN_UNTIL(&rig, blocked.is_answered);
    assert_int_equal(blocked.err, ERR_TIMEOUT);
    assert_true(strstr(blocked.why, "connection lost before the answer") != NULL);
    assert_int_equal(rig.downs, 1);
    for (size_t i = 0; i < UNIT_ROWS(asks); i++)
        rig_ask(&rig, &asks[i], "ECHO whole");
    rig_sleep(&rig, 1600);
    daemon_restart(p);
    RUN_UNTIL(&rig, asks[UNIT_ROWS(asks) - 1].is_answered);
    for (size_t i = 0; i < UNIT_ROWS(asks); i++) {
        assert_int_equal(asks[i].err, ERR_OK);
        assert_string_equal(asks[i].text, "whole");
    }
    assert_int_equal(rig.ups, 2);
    assert_int_equal(rig.firsts, 1);
    assert_int_equal(rig.downs, 1);
    rig_close(&rig);
}

static void reconnecting_ends_what_is_under_way_and_comes_back(void **state)
{
    const struct redis_daemon *p = *state;
    struct rig rig;
    struct ask ask;
    rig_open_port(&rig, p->port, 2000);
    RUN_UNTIL(&rig, rig.ups == 1);
    rig_ask_within(&rig, &ask, UINT32_MAX, "BLPOP nothing 0");
    rig_sleep(&rig, 20);
    redis_link_reconnect(rig.link, "the scripts are gone");
    assert_false(ask.is_answered);
    RUN_UNTIL(&rig, rig.ups == 2);
    assert_int_equal(ask.err, ERR_TIMEOUT);
    assert_true(strstr(rig.why, "the scripts are gone") != NULL);
    rig_expect(&rig, "ECHO x", "x");
    rig_close(&rig);
}

/* ---- silence ---- */

static void a_stopped_server_keeps_its_connection_for_a_while(void **state)
{
    const struct redis_daemon *p = *state;
    struct rig rig;
    struct ask asks[3];
    rig_open_port(&rig, p->port, 200);
    RUN_UNTIL(&rig, rig.ups == 1);
    kill(p->pid, SIGSTOP);
    for (size_t i = 0; i < UNIT_ROWS(asks); i++)
        rig_ask(&rig, &asks[i], "ECHO late");
    RUN_UNTIL(&rig, asks[2].is_answered);
    for (size_t i = 0; i < UNIT_ROWS(asks); i++) {
        assert_int_equal(asks[i].err, ERR_TIMEOUT);
        assert_true(asks[i].took_ms >= 200 && asks[i].took_ms < 500);
        assert_true(strstr(asks[i].why, "no answer in time") != NULL);
    }
    assert_true(redis_link_is_up(rig.link));
    kill(p->pid, SIGCONT);
    rig_expect(&rig, "ECHO fresh", "fresh"); /* the late answers belong to the others */
    assert_int_equal(rig.ups, 1);
    assert_int_equal(rig.downs, 0);
    rig_close(&rig);
}

static void a_server_that_stays_silent_is_left(void **state)
{
    const struct redis_daemon *p = *state;
    struct rig rig;
    struct ask asks[5];
    rig_open_port(&rig, p->port, 150);
    RUN_UNTIL(&rig, rig.ups == 1);
    kill(p->pid, SIGSTOP);
    for (size_t i = 0; i < UNIT_ROWS(asks); i++)
        rig_ask(&rig, &asks[i], "PING");
    RUN_UNTIL(&rig, rig.downs == 1);
    assert_true(strstr(rig.why, "not even to PING") != NULL);
    /* The kernel accepts for a server that is stopped: the greeting is not answered. */
    rig_sleep(&rig, 400);
    assert_true(strstr(redis_link_why(rig.link), "timed out (the greeting)") != NULL);
    assert_int_equal(rig.downs, 1);
    kill(p->pid, SIGCONT);
    RUN_UNTIL(&rig, rig.ups == 2);
    rig_close(&rig);
}

static void a_command_that_blocks_is_no_silence(void **state)
{
    const struct redis_daemon *p = *state;
    struct rig rig;
    struct ask blocked;
    struct ask asks[6];
    rig_open_port(&rig, p->port, 50);
    RUN_UNTIL(&rig, rig.ups == 1);
    rig_ask_within(&rig, &blocked, UINT32_MAX, "BLPOP item 0");
    for (size_t i = 0; i < UNIT_ROWS(asks); i++)
        rig_ask(&rig, &asks[i], "PING"); /* have to wait behind it */
    RUN_UNTIL(&rig, asks[5].is_answered);
    rig_sleep(&rig, 150); /* a probe would be over by now */
    assert_int_equal(asks[5].err, ERR_TIMEOUT);
    assert_int_equal(rig.downs, 0);
    daemon_do(p, "RPUSH item one");
    RUN_UNTIL(&rig, blocked.is_answered);
    assert_string_equal(blocked.text, "item one");
    rig_close(&rig);
}

static void the_queue_has_a_ceiling(void **state)
{
    (void)state;
    struct rig rig;
    const size_t size = 1024 * 1024;
    uint8_t *value = calloc(1, size);
    size_t taken = 0;
    const struct slice args[] = {slice_str("SET"), slice_str("k"), slice_make(value, size)};
    rig_open_port(&rig, daemon_free_port(), 100);
    while (redis_link_command(rig.link, NULL, NULL, UINT32_MAX, 3, args) == ERR_OK)
        taken++;
    assert_int_equal(taken, REDIS_LINK_QUEUE_BYTES / size - 1);
    assert_int_equal(redis_link_command(rig.link, NULL, NULL, 0, 3, args), ERR_TOO_BIG);
    free(value);
    rig_close(&rig);
}

static void a_peer_that_takes_nothing_fills_the_queue_only(void **state)
{
    (void)state;
    struct rig rig;
    struct ask ask;
    struct peer peer = {.answers = up_answers};
    const size_t size = 512 * 1024;
    uint8_t *value = calloc(1, size);
    size_t taken = 0;
    const struct slice args[] = {slice_str("SET"), slice_str("k"), slice_make(value, size)};
    rig_open_peer(&rig, &peer, 300);
    RUN_UNTIL(&rig, rig.ups == 1);
    uv_read_stop((uv_stream_t *)&peer.conn);
    while (redis_link_command(rig.link, NULL, NULL, 0, 3, args) == ERR_OK)
        taken++;
    assert_true(taken * size >= REDIS_LINK_QUEUE_BYTES - size);
    assert_true(taken * size < 4 * (size_t)REDIS_LINK_QUEUE_BYTES); /* the rest: kernel's buffers */
    RUN_UNTIL(&rig, rig.downs == 1);
    free(value);
    peer_close(&peer);
    rig_ask(&rig, &ask, "PING");
    RUN_UNTIL(&rig, ask.is_answered);
    assert_int_equal(ask.err, ERR_UNAVAILABLE);
    rig_close(&rig);
}

/* ---- peers that are no Redis ---- */

static void nonsense_is_named(void **state)
{
    (void)state;
    static const struct {
        const char *says;
        const char *why;
    } rows[] = {
        {"HTTP/1.1 400 Bad Request\r\n\r\n", "does not speak as Redis does"},
        {"$3\r\nabc\r\n", "answers HELLO as no Redis does"},
        {"*4294967295\r\n", "does not speak as Redis does"},
        {"-ERR max number of clients reached\r\n", "max number of clients reached"},
        {"-DENIED protected mode\r\n", "set a password there"},
        {"%1\r\n$7\r\nversion\r\n$5\r\n7.2.1\r\n+1\r\n+2\r\n+3\r\n+4\r\n+5\r\n", "not asked"},
    };
    for (size_t i = 0; i < UNIT_ROWS(rows); i++) {
        struct rig rig;
        const char *const answers[] = {rows[i].says, NULL};
        struct peer peer = {.answers = answers};
        rig_open_peer(&rig, &peer, 2000);
        RUN_UNTIL(&rig, rig.downs == 1);
        if (strstr(rig.why, rows[i].why) == NULL)
            fail_msg("%s: %s", rows[i].says, rig.why);
        peer_close(&peer);
        rig_close(&rig);
    }
}

static void what_was_not_asked_ends_the_connection(void **state)
{
    (void)state;
    struct rig rig;
    struct ask ask;
    struct peer peer = {.answers = up_answers};
    rig_open_peer(&rig, &peer, 2000);
    RUN_UNTIL(&rig, rig.ups == 1);
    peer.answers = NULL;
    rig_ask(&rig, &ask, "GET key");
    rig_sleep(&rig, 20);
    peer_say(&peer, "$1\r\nv\r\n>2\r\n+hello\r\n+push\r\n:7\r\n");
    RUN_UNTIL(&rig, rig.downs == 1);
    assert_string_equal(ask.text, "v");
    assert_string_equal(rig.push, "hello push");
    assert_true(strstr(rig.why, "not asked") != NULL);
    peer_close(&peer);
    rig_close(&rig);
}

static void a_silent_peer_costs_the_time_limit(void **state)
{
    (void)state;
    struct rig rig;
    struct peer peer = {.is_deaf = true};
    rig_open_peer(&rig, &peer, 150);
    const uint64_t start_ms = uv_now(&rig.loop);
    RUN_UNTIL(&rig, rig.downs == 1);
    assert_true(uv_now(&rig.loop) - start_ms >= 150);
    assert_true(strstr(rig.why, "timed out (the greeting)") != NULL);
    peer_close(&peer);
    rig_close(&rig);
}

/* ---- closing ---- */

static void on_answer_closes(void *ctx, enum err err, const struct redisReply *reply,
                             const char *why)
{
    struct rig *rig = ctx;
    (void)err;
    (void)reply;
    (void)why;
    if (rig->closed == 0 && rig->extra == NULL) {
        rig->extra = rig;
        redis_link_close(rig->link, rig_on_closed, rig);
    }
}

static void a_link_may_be_closed_at_any_turn(void **state)
{
    const struct redis_daemon *p = *state;
    const unsigned ports[] = {p->port, daemon_free_port()};
    for (size_t which = 0; which < UNIT_ROWS(ports); which++)
        for (int turns = 0; turns < 16; turns++) {
            struct rig rig;
            struct ask asks[2];
            rig_open_port(&rig, ports[which], 2000);
            rig_ask(&rig, &asks[0], "PING");
            rig_ask_within(&rig, &asks[1], UINT32_MAX, "BLPOP nothing 0");
            for (int i = 0; i < turns; i++)
                uv_run(&rig.loop, UV_RUN_NOWAIT);
            redis_link_close(rig.link, rig_on_closed, &rig);
            assert_false(asks[1].is_answered);
            assert_int_equal(redis_link_command(rig.link, NULL, NULL, 0, 1,
                                                &(const struct slice){(const uint8_t *)"X", 1}),
                             ERR_CLOSED);
            RUN_UNTIL(&rig, rig.closed == 1);
            assert_true(asks[0].is_answered);
            assert_int_equal(asks[1].err, ERR_CLOSED);
            rig_close(&rig);
        }
}

static void a_link_may_be_closed_by_an_answer(void **state)
{
    const struct redis_daemon *p = *state;
    const unsigned ports[] = {p->port, daemon_free_port()};
    for (size_t which = 0; which < UNIT_ROWS(ports); which++) {
        struct rig rig;
        const struct slice ping = slice_str("PING");
        rig_open_port(&rig, ports[which], 100);
        for (int i = 0; i < 3; i++)
            assert_int_equal(redis_link_command(rig.link, on_answer_closes, &rig, 0, 1, &ping),
                             ERR_OK);
        RUN_UNTIL(&rig, rig.closed == 1);
        rig_close(&rig);
    }
}

static void a_link_may_be_closed_when_it_comes_up(struct rig *rig)
{
    redis_link_close(rig->link, rig_on_closed, rig);
}

static void a_link_may_be_closed_in_up(void **state)
{
    const struct redis_daemon *p = *state;
    struct rig rig;
    struct ask ask;
    rig_open_port(&rig, p->port, 2000);
    rig.on_up = a_link_may_be_closed_when_it_comes_up;
    rig_ask(&rig, &ask, "PING");
    RUN_UNTIL(&rig, rig.closed == 1);
    assert_int_equal(ask.err, ERR_CLOSED);
    rig_close(&rig);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(commands_are_answered_in_order),
        cmocka_unit_test(large_values_pass_in_both_directions),
        cmocka_unit_test(the_commands_of_a_turn_are_one_write),
        cmocka_unit_test(what_is_given_in_up_goes_before_what_waited),
        cmocka_unit_test(an_invalidation_is_a_push),
        cmocka_unit_test(subscribing_is_answered_once_and_messages_are_pushes),
        cmocka_unit_test(a_command_that_could_not_be_sent_says_so_at_its_deadline),
        cmocka_unit_test(a_restart_fails_only_what_was_under_way),
        cmocka_unit_test(reconnecting_ends_what_is_under_way_and_comes_back),
        cmocka_unit_test(a_stopped_server_keeps_its_connection_for_a_while),
        cmocka_unit_test(a_server_that_stays_silent_is_left),
        cmocka_unit_test(a_command_that_blocks_is_no_silence),
        cmocka_unit_test(the_queue_has_a_ceiling),
        cmocka_unit_test(a_peer_that_takes_nothing_fills_the_queue_only),
        cmocka_unit_test(nonsense_is_named),
        cmocka_unit_test(what_was_not_asked_ends_the_connection),
        cmocka_unit_test(a_silent_peer_costs_the_time_limit),
        cmocka_unit_test(a_link_may_be_closed_at_any_turn),
        cmocka_unit_test(a_link_may_be_closed_by_an_answer),
        cmocka_unit_test(a_link_may_be_closed_in_up),
    };
    return cmocka_run_group_tests_name("redis_link", tests, start_server, stop_server);
}
