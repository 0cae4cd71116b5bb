/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The records that a client's life causes, through struct consumer_kind.
 */
#include "tests/support/hosted_fixture.h"

#include "consumers/hosted/link_proto.h"

#include <signal.h>

/* The worker's client got its id in its shortest form; here it is replaced by nine bytes. */
static void expect_for(struct fixture *f, unsigned i, struct slice want)
{
    const uint64_t id = client_of(f, i)->consumer_id;
    uint8_t got[512];
    uint8_t short_id[9];
    uint8_t expanded[512];
    size_t len = 0;
    size_t out = 0;
    peer_turn(&f->loop);
    const ssize_t count = recv(f->worker[0], got, sizeof(got), 0);
    assert_true(count > 0);
    len = (size_t)count;
    const size_t id_len = (size_t)(pack_uint(short_id, id) - short_id);
    for (size_t at = 0; at < len;) {
        if (at + id_len <= len && memcmp(got + at, short_id, id_len) == 0) {
            memcpy(expanded + out, ID, 9);
            out += 9;
            at += id_len;
        } else {
            expanded[out++] = got[at++];
        }
    }
    assert_int_equal(out, want.len);
    assert_memory_equal(expanded, want.ptr, want.len);
}

static void a_request_and_its_body_are_these_records(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(open_client(f, 0, &http_scope, slice_str("ab"), true), ERR_OK);
    expect_for(f, 0,
               PEER_TEXT("\x9e\x01" ID "\xa3"
                         "1.1\xa3GET\xa4http\xa1/\xc4\x01/\xc4\x00\xa0\x90\xc0\xc0\xc4\x02"
                         "ab\xc3"));
    hosted_kind.body(client_of(f, 0), slice_str("cd"), true);
    expect_for(f, 0,
               PEER_TEXT("\x94\x02" ID "\xc4\x02"
                         "cd\xc3"));
    hosted_kind.body(client_of(f, 0), slice_make(NULL, 0), false);
    expect_for(f, 0, PEER_TEXT("\x94\x02" ID "\xc4\x00\xc2"));
    hosted_kind.drained(client_of(f, 0), 300);
    expect_for(f, 0, PEER_TEXT("\x93\x07" ID "\xcd\x01\x2c"));
    const struct peer_client before = f->clients[0];
    hosted_kind.gone(client_of(f, 0), 0, slice_make(NULL, 0));
    assert_null(client_of(f, 0)->kind);
    client_of(f, 0)->consumer_id = before.client.consumer_id;
    expect_for(f, 0, PEER_TEXT("\x94\x06" ID "\xc0\xa0"));
}

static void a_websocket_and_its_messages_are_these_records(void **state)
{
    struct fixture *f = *state;
    static const struct slice subprotocols[] = {{(const uint8_t *)"chat", 4}};
    struct client *c = client_of(f, 0);
    peer_client_init(&f->clients[0], true);
    assert_int_equal(
        hosted_kind.open(c, &f->h, &ws_scope, subprotocols, 1, slice_make(NULL, 0), false), ERR_OK);
    expect_for(f, 0,
               PEER_TEXT("\x9c\x03" ID "\xa3"
                         "1.1\xa2ws\xa1/\xc4\x01/\xc4\x00\xa0\x90\xc0\xc0\x91\xa4"
                         "chat"));
    hosted_kind.receive(c, MESSAGE_TEXT, slice_str("hi"), true, true);
    expect_for(f, 0, PEER_TEXT("\x93\x04" ID "\xa2hi"));
    hosted_kind.receive(c, MESSAGE_BINARY, slice_make(NULL, 0), true, true);
    expect_for(f, 0, PEER_TEXT("\x93\x04" ID "\xc4\x00"));
    hosted_kind.receive(c, MESSAGE_TEXT, slice_str("a"), true, false);
    hosted_kind.receive(c, MESSAGE_TEXT, slice_str("b"), false, false);
    hosted_kind.receive(c, MESSAGE_TEXT, slice_make(NULL, 0), false, true);
    expect_for(f, 0,
               PEER_TEXT("\x95\x05" ID "\xc4\x01"
                         "a\xc3\xc2"
                         "\x95\x05" ID "\xc4\x01"
                         "b\xc3\xc2"
                         "\x95\x05" ID "\xc4\x00\xc3\xc3"));
    const uint64_t id = c->consumer_id;
    hosted_kind.gone(c, 1001, slice_str("bye"));
    c->consumer_id = id;
    expect_for(f, 0,
               PEER_TEXT("\x94\x06" ID "\xcd\x03\xe9\xa3"
                         "bye"));
}

/* Reads one record of the link's; returns the length of its payload and what stands behind it. */
static size_t receive_payload(struct fixture *f, unsigned op, uint8_t *tail, size_t tail_len)
{
    static uint8_t payload[LINK_PAYLOAD_MAX];
    uint8_t head[32];
    size_t len = 0;
    size_t count = 0;
    peer_receive(&f->loop, f->worker[0], head, 2);
    assert_int_equal(head[1], op);
    uint8_t id[9];
    peer_receive(&f->loop, f->worker[0], head,
                 (size_t)(pack_uint(id, client_of(f, 0)->consumer_id) - id));
    peer_receive(&f->loop, f->worker[0], head, 1);
    assert_true(head[0] >= 0xc4 && head[0] <= 0xc6); /* bin 8, 16, 32 */
    count = (size_t)1 << (head[0] - 0xc4);
    peer_receive(&f->loop, f->worker[0], head, count);
    for (size_t i = 0; i < count; i++)
        len = len << 8 | head[i];
    assert_true(len <= LINK_PAYLOAD_MAX);
    peer_receive(&f->loop, f->worker[0], payload, len);
    for (size_t i = 0; i < len; i++)
        assert_int_equal(payload[i], 'm');
    peer_receive(&f->loop, f->worker[0], tail, tail_len);
    return len;
}

static void large_payloads_are_cut_at_the_ceiling(void **state)
{
    struct fixture *f = *state;
    static const size_t lengths[] = {LINK_PAYLOAD_MAX - 1, LINK_PAYLOAD_MAX, LINK_PAYLOAD_MAX + 1,
                                     3 * LINK_PAYLOAD_MAX};
    static uint8_t message[3 * LINK_PAYLOAD_MAX];
    uint8_t tail[2];
    memset(message, 'm', sizeof(message));
    open_ws(f, 0);
    drain(f, 0);
    for (size_t i = 0; i < UNIT_ROWS(lengths); i++) {
        size_t left = lengths[i];
        hosted_kind.body(client_of(f, 0), slice_make(message, lengths[i]), false);
        while (left > 0) {
            const size_t got = receive_payload(f, LINK_BODY, tail, 1);
            assert_int_equal(got, left < LINK_PAYLOAD_MAX ? left : LINK_PAYLOAD_MAX);
            left -= got;
            assert_int_equal(tail[0], left > 0 ? 0xc3 : 0xc2);
        }
    }
    for (size_t i = 2; i < UNIT_ROWS(lengths); i++) {
        size_t left = lengths[i];
        hosted_kind.receive(client_of(f, 0), MESSAGE_TEXT, slice_make(message, lengths[i]), true,
                            true);
        while (left > 0) {
            left -= receive_payload(f, LINK_PART, tail, 2);
            assert_int_equal(tail[0], 0xc3);
            assert_int_equal(tail[1], left > 0 ? 0xc2 : 0xc3);
        }
    }
    peer_expect(&f->loop, f->worker[0], PEER_TEXT(""));
}

/* Reads records until there are two, and nothing behind them; returns the length of the first. */
static size_t receive_two(struct fixture *f, uint8_t *out, size_t size, size_t *len)
{
    size_t first = 0;
    size_t second = 0;
    *len = 0;
    while (pack_scan(&first, out, *len, LINK_RECORD_MAX) == PACK_MORE ||
           pack_scan(&second, out + first, *len - first, LINK_RECORD_MAX) == PACK_MORE) {
        const ssize_t count = recv(f->worker[0], out + *len, size - *len, 0);
        *len += count > 0 ? (size_t)count : 0;
        peer_turn(&f->loop);
    }
    assert_int_equal(first + second, *len);
    return first;
}

static void a_body_without_room_beside_its_head_follows_it(void **state)
{
    struct fixture *f = *state;
    static uint8_t value[LINK_RECORD_MAX];
    static uint8_t body[LINK_PAYLOAD_MAX];
    static uint8_t records[2 * LINK_RECORD_MAX];
    static const size_t lengths[] = {1, LINK_PAYLOAD_MAX};
    struct header header = {slice_str("a"), slice_make(value, 0)};
    struct scope scope = http_scope;
    scope.headers = &header;
    scope.header_count = 1;
    header.value.len = LINK_RECORD_MAX - link_open_bound(&scope, NULL, 0);
    memset(body, 'm', sizeof(body));
    for (size_t i = 0; i < 2 * UNIT_ROWS(lengths); i++) {
        const size_t body_len = lengths[i / 2];
        const bool more = i % 2 == 1;
        size_t len = 0;
        assert_int_equal(open_client(f, 0, &scope, slice_make(body, body_len), more), ERR_OK);
        const size_t first = receive_two(f, records, sizeof(records), &len);
        assert_memory_equal(records + first - 3, "\xc4\x00\xc3", 3); /* nothing, more follows */
        assert_int_equal(records[first + 1], LINK_BODY);
        assert_memory_equal(records + len - 1 - body_len, body, body_len);
        assert_int_equal(records[len - 1], more ? 0xc3 : 0xc2);
        hosted_kind.gone(client_of(f, 0), 0, slice_make(NULL, 0));
        drain(f, 0);
    }
}

static void a_scope_of_any_length_goes_out_whole_or_not_at_all(void **state)
{
    struct fixture *f = *state;
    static uint8_t value[LINK_RECORD_MAX];
    memset(value, 'v', sizeof(value));
    struct header header = {slice_str("a"), slice_make(value, 0)};
    struct scope scope = http_scope;
    scope.headers = &header;
    scope.header_count = 1;
    header.value.len = LINK_RECORD_MAX - link_open_bound(&scope, NULL, 0);
    static const size_t less[] = {LINK_RECORD_MAX - 1000, 100, 1, 0};
    for (size_t i = 0; i < UNIT_ROWS(less); i++) {
        const size_t most = header.value.len;
        header.value.len = most > less[i] ? most - less[i] : 500;
        assert_int_equal(open_client(f, 0, &scope, slice_make(NULL, 0), false), ERR_OK);
        static uint8_t record[LINK_RECORD_MAX];
        size_t len = 0;
        size_t used = 0;
        while (pack_scan(&used, record, len, LINK_RECORD_MAX) == PACK_MORE) {
            const ssize_t count = recv(f->worker[0], record + len, sizeof(record) - len, 0);
            len += count > 0 ? (size_t)count : 0;
            peer_turn(&f->loop);
        }
        assert_int_equal(used, len);
        assert_memory_equal(record + len - 6 - 8, "vvvvvvvv", 8); /* nil nil, an empty bin, false */
        hosted_kind.gone(client_of(f, 0), 0, slice_make(NULL, 0));
        drain(f, 0);
        header.value.len = most;
    }
    header.value.len++;
    assert_int_equal(open_client(f, 0, &scope, slice_make(NULL, 0), false), ERR_TOO_BIG);
    header.value.len--;
    mem_fail_after(0);
    assert_int_equal(open_client(f, 0, &scope, slice_make(NULL, 0), false), ERR_NOMEM);
    assert_null(client_of(f, 0)->kind);
    assert_null(client_of(f, 0)->consumer);
    peer_expect(&f->loop, f->worker[0], PEER_TEXT(""));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_request_and_its_body_are_these_records, setup_ready,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_websocket_and_its_messages_are_these_records, setup_ready,
                                        teardown),
        cmocka_unit_test_setup_teardown(large_payloads_are_cut_at_the_ceiling, setup_ready,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_body_without_room_beside_its_head_follows_it, setup_ready,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_scope_of_any_length_goes_out_whole_or_not_at_all,
                                        setup_ready, teardown),
    };
    signal(SIGPIPE, SIG_IGN); /* as the program does */
    return cmocka_run_group_tests(tests, NULL, NULL);
}
