/* SPDX-License-Identifier: BSD-3-Clause */
#include "server/http/trust_list.h"

#include "tests/support/unit.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>

static void make_peer(struct sockaddr_storage *out, const char *addr)
{
    struct sockaddr_in in = {.sin_family = AF_INET};
    struct sockaddr_in6 in6 = {.sin6_family = AF_INET6};
    memset(out, 0, sizeof(*out));
    if (strcmp(addr, "unix") == 0) {
        out->ss_family = AF_UNIX;
    } else if (inet_pton(AF_INET, addr, &in.sin_addr) == 1) {
        memcpy(out, &in, sizeof(in));
    } else {
        assert_int_equal(inet_pton(AF_INET6, addr, &in6.sin6_addr), 1);
        memcpy(out, &in6, sizeof(in6));
    }
}

static bool is_trusted(const char *text, const char *addr)
{
    struct trust_list list;
    struct err_text why = {0};
    struct sockaddr_storage peer;
    if (trust_list_parse(&list, slice_str(text), &why) != ERR_OK)
        fail_msg("%s: %s", text, why.text);
    make_peer(&peer, addr);
    return trust_list_has(&list, (const struct sockaddr *)&peer);
}

static void peers_of_the_list_are_trusted_and_no_others(void **state)
{
    (void)state;
    static const struct {
        const char *why;
        const char *list;
        const char *peer;
        bool want;
    } rows[] = {
        {"an address of the default", "127.0.0.1,::1,unix", "127.0.0.1", true},
        {"its neighbour", "127.0.0.1,::1,unix", "127.0.0.2", false},
        {"IPv6 of the default", "127.0.0.1,::1,unix", "::1", true},
        {"another IPv6", "127.0.0.1,::1,unix", "::2", false},
        {"a unix socket of the default", "127.0.0.1,::1,unix", "unix", true},
        {"a unix socket without the word", "127.0.0.1", "unix", false},
        {"everyone by IPv4", "*", "203.0.113.9", true},
        {"everyone by IPv6", "*", "2001:db8::9", true},
        {"everyone by unix socket", "*", "unix", true},
        {"nobody", "", "127.0.0.1", false},
        {"blanks and empty items", " , 10.0.0.1 ,, ", "10.0.0.1", true},
        {"first of a network", "10.0.0.0/8", "10.0.0.0", true},
        {"last of a network", "10.0.0.0/8", "10.255.255.255", true},
        {"first behind a network", "10.0.0.0/8", "11.0.0.0", false},
        {"a prefix inside a byte", "172.16.0.0/12", "172.31.255.255", true},
        {"one behind it", "172.16.0.0/12", "172.32.0.0", false},
        {"a prefix of 31", "192.0.2.2/31", "192.0.2.3", true},
        {"one behind it", "192.0.2.2/31", "192.0.2.4", false},
        {"all IPv4", "0.0.0.0/0", "203.0.113.9", true},
        {"all IPv4 is not IPv6", "0.0.0.0/0", "2001:db8::1", false},
        {"all IPv6", "::/0", "2001:db8::1", true},
        {"all IPv6 is not IPv4", "::/0", "203.0.113.9", false},
        {"all IPv6 is not mapped IPv4", "::/0", "::ffff:203.0.113.9", false},
        {"IPv6 network", "2001:db8::/33", "2001:db8:7fff::1", true},
        {"one behind it", "2001:db8::/33", "2001:db8:8000::1", false},
        {"a mapped peer is its IPv4", "10.0.0.0/8", "::ffff:10.1.2.3", true},
        {"a mapped address in the list", "::ffff:10.1.2.3", "10.1.2.3", true},
        {"a mapped network in the list", "::ffff:10.0.0.0/104", "10.9.9.9", true},
        {"one behind it", "::ffff:10.0.0.0/104", "11.0.0.0", false},
        {"mapped on both sides", "::ffff:10.1.2.3", "::ffff:10.1.2.3", true},
        {"IPv6 that begins like the IPv4", "1.2.3.4", "102:304::", false},
    };
    for (size_t i = 0; i < UNIT_ROWS(rows); i++) {
        if (is_trusted(rows[i].list, rows[i].peer) != rows[i].want)
            fail_msg("%s: \"%s\" and %s", rows[i].why, rows[i].list, rows[i].peer);
    }
}

static void a_family_that_is_unknown_is_not_trusted(void **state)
{
    (void)state;
    struct trust_list list;
    struct err_text why = {0};
    const struct sockaddr peer = {.sa_family = AF_UNSPEC};
    assert_int_equal(trust_list_parse(&list, slice_str("0.0.0.0/0,::/0,unix"), &why), ERR_OK);
    assert_false(trust_list_has(&list, &peer));
}

static void an_item_that_is_none_is_named(void **state)
{
    (void)state;
    static const struct {
        const char *why;
        const char *in;
        const char *named;
    } rows[] = {
        {"a host name", "127.0.0.1,proxy.local", "\"proxy.local\""},
        {"a port", "127.0.0.1:80", "\"127.0.0.1:80\""},
        {"brackets", "[::1]", "\"[::1]\""},
        {"three numbers", "10.0.0", "\"10.0.0\""},
        {"capitals of unix", "UNIX", "\"UNIX\""},
        {"a prefix that is too long", "10.0.0.0/33", "\"10.0.0.0/33\""},
        {"a prefix that is too long for IPv6", "::/129", "\"::/129\""},
        {"an empty prefix", "10.0.0.0/", "\"10.0.0.0/\""},
        {"a signed prefix", "10.0.0.0/+8", "\"10.0.0.0/+8\""},
        {"a prefix that would overflow", "10.0.0.0/4294967304", "\"10.0.0.0/4294967304\""},
        {"two prefixes", "10.0.0.0/8/8", "\"10.0.0.0/8/8\""},
        {"no address before the slash", "/8", "\"/8\""},
        {"bits behind the prefix", "10.0.0.1/8", "\"10.0.0.1/8\""},
        {"everyone with a prefix", "*/8", "\"*/8\""},
    };
    for (size_t i = 0; i < UNIT_ROWS(rows); i++) {
        struct trust_list list = {.count = 77};
        struct err_text why = {0};
        if (trust_list_parse(&list, slice_str(rows[i].in), &why) != ERR_INVALID)
            fail_msg("accepted: %s", rows[i].why);
        if (strstr(why.text, rows[i].named) == NULL)
            fail_msg("%s: not named: %s", rows[i].why, why.text);
        assert_int_equal(list.count, 77);
    }
}

static void a_nul_inside_an_item_does_not_end_it(void **state)
{
    (void)state;
    struct trust_list list;
    struct err_text why = {0};
    assert_int_equal(trust_list_parse(&list, slice_make("10.0.0.1\0x", 10), &why), ERR_INVALID);
}

static void a_very_long_item_is_refused(void **state)
{
    (void)state;
    char text[4096];
    struct trust_list list;
    struct err_text why = {0};
    memset(text, '1', sizeof(text));
    assert_int_equal(trust_list_parse(&list, slice_make(text, sizeof(text)), &why), ERR_INVALID);
    assert_in_range(strlen(why.text), 1, 200);
}

static void the_list_takes_as_many_networks_as_it_has_room_for(void **state)
{
    (void)state;
    char text[TRUST_LIST_MAX * 16 + 32] = "";
    size_t len = 0;
    struct trust_list list;
    struct err_text why = {0};
    for (int i = 0; i < TRUST_LIST_MAX; i++)
        len += (size_t)snprintf(text + len, sizeof(text) - len, "10.0.0.%d,", i);
    assert_int_equal(trust_list_parse(&list, slice_str(text), &why), ERR_OK);
    assert_int_equal(list.count, TRUST_LIST_MAX);

    (void)snprintf(text + len, sizeof(text) - len, "unix,10.0.1.0");
    assert_int_equal(trust_list_parse(&list, slice_str(text), &why), ERR_INVALID);
    assert_non_null(strstr(why.text, "64"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(peers_of_the_list_are_trusted_and_no_others),
        cmocka_unit_test(a_family_that_is_unknown_is_not_trusted),
        cmocka_unit_test(an_item_that_is_none_is_named),
        cmocka_unit_test(a_nul_inside_an_item_does_not_end_it),
        cmocka_unit_test(a_very_long_item_is_refused),
        cmocka_unit_test(the_list_takes_as_many_networks_as_it_has_room_for),
    };
    return cmocka_run_group_tests_name("trust_list", tests, NULL, NULL);
}
