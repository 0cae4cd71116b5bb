/* SPDX-License-Identifier: BSD-3-Clause
 * What is said to a Redis first: passwords, users, and servers and proxies that know no HELLO.
 */
#include "tests/support/redis_link_rig.h"

/* ---- passwords ---- */

static void passwords_are_checked_and_never_told(void **state)
{
    static const char *const with_hello[] = {"--requirepass", SECRET, NULL};
    static const char *const without[] = {"--requirepass", SECRET, "--rename-command",
                                          "HELLO",         "",     NULL};
    const bool is_old = daemon_version() < 600; /* knows no HELLO, and has other words */
    const char *const *const servers[] = {with_hello, is_old ? with_hello : without};
    (void)state;
    for (size_t i = 0; i < UNIT_ROWS(servers); i++) {
        struct redis_daemon p = {0};
        struct rig rig;
        daemon_start(&p, servers[i]);

        prepare(&rig, p.port);
        rig.host.password = text_of(SECRET);
        expect_up(&rig);

        prepare(&rig, p.port);
        rig.host.username = text_of("default");
        rig.host.password = text_of(SECRET);
        expect_up(&rig);

        prepare(&rig, p.port);
        rig.host.password = text_of(SECRET "-not");
        expect_down(&rig, is_old ? "invalid password" : "WRONGPASS");

        prepare(&rig, p.port);
        expect_down(&rig, "the host's settings need a password");
        daemon_remove(&p);
    }
}

static void users_of_an_acl_are_known(void **state)
{
    static const char *const users[] = {"--user", "app",   "on",       ">" SECRET, "~*",
                                        "&*",     "+@all", "--user",   "narrow",   "on",
                                        "~*",     "+echo", ">" SECRET, NULL};
    struct redis_daemon p = {0};
    struct rig rig;
    struct ask ask;
    (void)state;
    daemon_need_version(602, "rights for channels");
    daemon_start(&p, users);
    prepare(&rig, p.port);
    rig.host.username = text_of("app");
    rig.host.password = text_of(SECRET);
    expect_up(&rig);

    prepare(&rig, p.port); /* may neither HELLO nor PING, nor name itself */
    rig.host.username = text_of("narrow");
    rig.host.password = text_of(SECRET);
    rig_open(&rig, 2000);
    rig_expect(&rig, "ECHO x", "x");
    rig_ask(&rig, &ask, "GET key");
    RUN_UNTIL(&rig, ask.is_answered);
    assert_int_equal(ask.type, REDIS_REPLY_ERROR);
    assert_true(strstr(ask.why, "the user's ACL must allow it") != NULL);
    rig_close(&rig);

    prepare(&rig, p.port);
    rig.host.username = text_of("nobody");
    rig.host.password = text_of(SECRET);
    expect_down(&rig, "WRONGPASS");

    prepare(&rig, p.port); /* a password that is not needed */
    rig.host.password = text_of(SECRET);
    expect_up(&rig);
    daemon_remove(&p);
}

/* ---- old servers ---- */

static void a_server_without_hello_speaks_resp2(void **state)
{
    struct redis_daemon p = {0};
    struct rig rig;
    (void)state;
    daemon_start(&p, daemon_without_hello());
    prepare(&rig, p.port);
    rig_open(&rig, 2000);
    RUN_UNTIL(&rig, rig.ups == 1);
    assert_false(redis_link_has_push(rig.link));
    assert_true(redis_link_version(rig.link) >= 5); /* from INFO */
    rig_expect(&rig, "ECHO x", "x");
    rig_expect(&rig, "SUBSCRIBE a b", "subscribe b 2");
    daemon_do(&p, "PUBLISH a hello");
    RUN_UNTIL(&rig, rig.pushes == 1);
    assert_string_equal(rig.push, "message a hello");
    rig_expect(&rig, "PSUBSCRIBE a*", "psubscribe a* 3");
    rig_expect(&rig, "UNSUBSCRIBE a b", "unsubscribe b 1");
    daemon_do(&p, "PUBLISH ab more");
    RUN_UNTIL(&rig, rig.pushes == 2);
    assert_string_equal(rig.push, "pmessage a* ab more");
    rig_expect(&rig, "PUNSUBSCRIBE a*", "punsubscribe a* 0");
    rig_expect(&rig, "ECHO x", "x");
    rig_close(&rig);
    daemon_remove(&p);
}

/* As redis-py: the same settings are good for old servers and new ones. */
static void where_there_are_no_users_the_password_is_enough(void **state)
{
    static const char unknown[] =
        "-ERR unknown command `HELLO`, with args beginning with: `3`, \r\n";
    static const char no_users[] = "-ERR wrong number of arguments for 'auth' command\r\n"
                                   "-NOAUTH Authentication required.\r\n"
                                   "-NOAUTH Authentication required.\r\n"
                                   "-NOAUTH Authentication required.\r\n"
                                   "-NOAUTH Authentication required.\r\n";
    static const char *const rows[][4] = {
        {unknown, no_users, "+OK\r\n+OK\r\n+OK\r\n$21\r\nredis_version:5.0.14\n\r\n+PONG\r\n",
         NULL},
        {unknown, no_users, "-ERR invalid password\r\n", NULL},
        {unknown, no_users, no_users, NULL},
    };
    static const char *const fails[] = {NULL, "the password is refused: ERR invalid password",
                                        "the password is refused: ERR wrong number"};
    (void)state;
    for (size_t i = 0; i < UNIT_ROWS(rows); i++) {
        struct peer peer = {.answers = rows[i]};
        struct rig rig;
        rig_init(&rig);
        peer_open(&peer, &rig);
        rig.host.text = strdup("old");
        rig.host.host = text_of("127.0.0.1");
        rig.host.port = (uint16_t)peer.port;
        rig.host.username = text_of("app");
        rig.host.password = text_of(SECRET);
        rig.host.db = 2;
        rig_open(&rig, 2000);
        RUN_UNTIL(&rig, rig.ups + rig.downs > 0);
        assert_int_equal(rig.ups, fails[i] == NULL);
        if (fails[i] == NULL) /* the last that was said */
            assert_non_null(
                strstr(peer.in, "*2\r\n$4\r\nAUTH\r\n$11\r\n" SECRET "\r\n*2\r\n$6\r\nSELECT"));
        else
            assert_non_null(strstr(rig.why, fails[i]));
        assert_null(strstr(rig.why, SECRET));
        peer_close(&peer);
        rig_close(&rig);
    }
}

static void a_server_before_6_takes_the_password_of_a_user(void **state)
{
    static const char *const args[] = {"--requirepass", SECRET, NULL};
    struct redis_daemon p = {0};
    struct rig rig;
    (void)state;
    daemon_start(&p, args);
    prepare(&rig, p.port);
    rig.host.username = text_of("app");
    rig.host.password = text_of(SECRET);
    if (p.version < 600)
        expect_up(&rig);
    else
        expect_down(&rig, "WRONGPASS");
    daemon_remove(&p);
}

static void a_proxy_that_closes_on_hello_is_greeted_without(void **state)
{
    static const char *const answers[] = {"+OK\r\n$21\r\nredis_version:5.0.14\n\r\n+PONG\r\n",
                                          NULL};
    struct peer peer = {.answers = answers, .closes_on = "HELLO"};
    struct rig rig;
    (void)state;
    rig_open_peer(&rig, &peer, 2000);
    RUN_UNTIL(&rig, rig.ups == 1);
    assert_int_equal(redis_link_version(rig.link), 5);
    assert_true(peer.conns >= 3);
    peer_close(&peer);
    rig_close(&rig);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(passwords_are_checked_and_never_told),
        cmocka_unit_test(users_of_an_acl_are_known),
        cmocka_unit_test(a_server_without_hello_speaks_resp2),
        cmocka_unit_test(where_there_are_no_users_the_password_is_enough),
        cmocka_unit_test(a_server_before_6_takes_the_password_of_a_user),
        cmocka_unit_test(a_proxy_that_closes_on_hello_is_greeted_without),
    };
    return cmocka_run_group_tests_name("redis_greeting", tests, NULL, NULL);
}
