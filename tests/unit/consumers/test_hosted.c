/* SPDX-License-Identifier: BSD-3-Clause */
#include "consumers/hosted/hosted.h"

#include "consumers/hosted/link_proto.h"
#include "core/mem.h"

#include "tests/support/link_peer.h"

#include <signal.h>

enum { WORKERS = 3, CLIENTS = 9, HANG_MS = 3000 };

enum reaction { DO_NOTHING, DO_DETACH, DO_CLOSE };

struct fixture {
    struct loop loop;
    struct hosted h;
    int worker[WORKERS]; /* the other ends */
    unsigned ready[WORKERS];
    unsigned lost[WORKERS];
    unsigned hung[WORKERS];
    const char *why;
    enum reaction reaction; /* to anything that is told */
    uint64_t wheel_ms;
    struct peer_client clients[CLIENTS];
};

static void react(struct fixture *f, unsigned worker)
{
    if (f->reaction == DO_DETACH)
        hosted_detach(&f->h, worker, "the owner does not want it");
    if (f->reaction == DO_CLOSE)
        hosted_close(&f->h);
}

static void on_ready(struct hosted *h, unsigned worker)
{
    struct fixture *f = h->ctx;
    f->ready[worker]++;
    react(f, worker);
}

static void on_lost(struct hosted *h, unsigned worker, const char *why)
{
    struct fixture *f = h->ctx;
    f->lost[worker]++;
    f->why = why;
    react(f, worker);
}

static void on_hung(struct hosted *h, unsigned worker)
{
    struct fixture *f = h->ctx;
    f->hung[worker]++;
    react(f, worker);
}

static const struct hosted_ops ops = {on_ready, on_lost, on_hung};

#define HELLO "\x93\x00\x01\x03"
#define READY "\x93\x00\x01\x07"
#define ID "#########"

static void attach(struct fixture *f, unsigned worker)
{
    int ours = -1;
    f->worker[worker] = peer_socket(&ours);
    assert_int_equal(hosted_attach(&f->h, ours, worker), ERR_OK);
    peer_expect(&f->loop, f->worker[worker], PEER_TEXT(HELLO));
}

static void make_ready(struct fixture *f, unsigned worker)
{
    attach(f, worker);
    peer_send(&f->loop, f->worker[worker], PEER_TEXT(READY));
    assert_int_equal(f->ready[worker], 1);
}

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    assert_non_null(f);
    for (unsigned i = 0; i < WORKERS; i++)
        f->worker[i] = -1;
    assert_int_equal(loop_open(&f->loop, 3, f), ERR_OK);
    hosted_init(&f->h, &f->loop, HANG_MS, &ops);
    f->h.ctx = f;
    f->wheel_ms = loop_now_ms(&f->loop);
    *state = f;
    return 0;
}

static int setup_ready(void **state)
{
    (void)setup(state);
    make_ready(*state, 0);
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    mem_fail_after(-1);
    hosted_close(&f->h);
    loop_close_handles(&f->loop);
    loop_run(&f->loop);
    loop_deinit(&f->loop);
    for (unsigned i = 0; i < WORKERS; i++)
        if (f->worker[i] >= 0)
            close(f->worker[i]);
    free(f);
    return 0;
}

static struct client *client_of(struct fixture *f, unsigned i)
{
    return &f->clients[i].client;
}

static const struct scope http_scope = {
    .type = SCOPE_HTTP,
    .http_version = {(const uint8_t *)"1.1", 3},
    .method = {(const uint8_t *)"GET", 3},
    .scheme = {(const uint8_t *)"http", 4},
    .path = {(const uint8_t *)"/", 1},
    .raw_path = {(const uint8_t *)"/", 1},
};
static const struct scope ws_scope = {
    .type = SCOPE_WEBSOCKET,
    .http_version = {(const uint8_t *)"1.1", 3},
    .scheme = {(const uint8_t *)"ws", 2},
    .path = {(const uint8_t *)"/", 1},
    .raw_path = {(const uint8_t *)"/", 1},
};

static enum err open_client(struct fixture *f, unsigned i, const struct scope *scope,
                            struct slice body, bool more)
{
    peer_client_init(&f->clients[i], scope->type == SCOPE_WEBSOCKET);
    return hosted_kind.open(client_of(f, i), &f->h, scope, NULL, 0, body, more);
}

static void open_ws(struct fixture *f, unsigned i)
{
    assert_int_equal(open_client(f, i, &ws_scope, slice_make(NULL, 0), false), ERR_OK);
    assert_ptr_equal(client_of(f, i)->kind, &hosted_kind);
}

/* Throws away what a worker has been sent. */
static void drain(struct fixture *f, unsigned worker)
{
    uint8_t got[4096];
    peer_turn(&f->loop);
    while (recv(f->worker[worker], got, sizeof(got), 0) > 0)
        continue;
}

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

/* ---- which worker ---- */

static void without_a_ready_worker_nothing_opens(void **state)
{
    struct fixture *f = *state;
    assert_false(hosted_kind.can_open(&f->h));
    assert_int_equal(open_client(f, 0, &http_scope, slice_make(NULL, 0), false), ERR_CLOSED);
    attach(f, 0);
    assert_false(hosted_kind.can_open(&f->h)); /* it has not said READY */
    assert_int_equal(open_client(f, 0, &http_scope, slice_make(NULL, 0), false), ERR_CLOSED);
    assert_null(client_of(f, 0)->kind);
    peer_send(&f->loop, f->worker[0], PEER_TEXT(READY));
    assert_true(hosted_kind.can_open(&f->h));
    assert_int_equal(open_client(f, 0, &http_scope, slice_make(NULL, 0), false), ERR_OK);
}

static void a_client_goes_to_the_worker_with_the_fewest(void **state)
{
    struct fixture *f = *state;
    unsigned count[WORKERS] = {0};
    void *links[WORKERS] = {NULL};
    for (unsigned i = 0; i < WORKERS; i++)
        make_ready(f, i);
    for (unsigned i = 0; i < CLIENTS; i++) {
        open_ws(f, i);
        const unsigned turn = i % WORKERS;
        if (i < WORKERS)
            links[turn] = client_of(f, i)->consumer;
        assert_ptr_equal(client_of(f, i)->consumer, links[turn]); /* equal ones take turns */
        count[turn]++;
    }
    assert_ptr_not_equal(links[0], links[1]);
    assert_ptr_not_equal(links[1], links[2]);
    for (unsigned i = 0; i < WORKERS; i++)
        assert_int_equal(count[i], CLIENTS / WORKERS);
    hosted_kind.gone(client_of(f, 4), 1000, slice_make(NULL, 0)); /* of worker 1 */
    assert_null(client_of(f, 4)->kind);
    open_ws(f, 4);
    assert_ptr_equal(client_of(f, 4)->consumer, links[1]);
}

static void a_retired_worker_keeps_its_clients_and_gets_no_new_ones(void **state)
{
    struct fixture *f = *state;
    make_ready(f, 0);
    make_ready(f, 1);
    open_ws(f, 0);
    void *retired = client_of(f, 0)->consumer;
    drain(f, 0);
    hosted_retire(&f->h, 0);
    hosted_retire(&f->h, 0);
    hosted_retire(&f->h, 77); /* there is none */
    peer_expect(&f->loop, f->worker[0], PEER_TEXT("\x91\x09"));
    for (unsigned i = 1; i < 4; i++) {
        open_ws(f, i);
        assert_ptr_not_equal(client_of(f, i)->consumer, retired);
    }
    peer_send_for(&f->loop, f->worker[0], client_of(f, 0)->consumer_id,
                  PEER_TEXT("\x93\x04" ID "\xa1x"));
    peer_assert_told(&f->clients[0], "send(text [x] first last)");
    hosted_retire(&f->h, 1);
    assert_false(hosted_kind.can_open(&f->h));
}

static void shutdown_is_said_to_every_worker(void **state)
{
    struct fixture *f = *state;
    make_ready(f, 0);
    attach(f, 1);
    hosted_shutdown(&f->h);
    hosted_shutdown(&f->h);
    peer_expect(&f->loop, f->worker[0], PEER_TEXT("\x91\x09"));
    peer_expect(&f->loop, f->worker[1], PEER_TEXT("\x91\x09"));
    assert_false(hosted_kind.can_open(&f->h));
    assert_int_equal(open_client(f, 0, &http_scope, slice_make(NULL, 0), false), ERR_CLOSED);
}

/* ---- the end of a worker ---- */

static void the_clients_of_a_lost_worker_are_told_and_no_others(void **state)
{
    struct fixture *f = *state;
    make_ready(f, 0);
    make_ready(f, 1);
    open_ws(f, 0);
    open_ws(f, 1);
    close(f->worker[0]);
    f->worker[0] = -1;
    for (unsigned turns = 0; turns < 3; turns++)
        peer_turn(&f->loop);
    assert_int_equal(f->lost[0], 1);
    peer_assert_told(&f->clients[0], "fail(lost)");
    peer_assert_told(&f->clients[1], "");
    open_ws(f, 2);
    assert_ptr_equal(client_of(f, 2)->consumer, client_of(f, 1)->consumer);
}

static void a_detached_worker_is_lost_for_the_reason_given(void **state)
{
    struct fixture *f = *state;
    make_ready(f, 0);
    open_ws(f, 0);
    hosted_detach(&f->h, 1, "there is none");
    assert_int_equal(f->lost[0] + f->lost[1], 0);
    hosted_detach(&f->h, 0, "it was killed");
    hosted_detach(&f->h, 0, "twice");
    assert_int_equal(f->lost[0], 1);
    assert_string_equal(f->why, "it was killed");
    peer_assert_told(&f->clients[0], "fail(lost)");
    assert_false(hosted_kind.can_open(&f->h));
}

static void closing_tells_the_clients_and_not_the_owner(void **state)
{
    struct fixture *f = *state;
    make_ready(f, 0);
    make_ready(f, 1);
    open_ws(f, 0);
    open_ws(f, 1);
    hosted_close(&f->h);
    hosted_close(&f->h);
    peer_assert_told(&f->clients[0], "fail(lost)");
    peer_assert_told(&f->clients[1], "fail(lost)");
    assert_int_equal(f->lost[0] + f->lost[1], 0);
    assert_false(hosted_kind.can_open(&f->h));
}

static void an_attached_worker_may_be_closed_at_once(void **state)
{
    struct fixture *f = *state;
    int ours = -1;
    f->worker[0] = peer_socket(&ours);
    assert_int_equal(hosted_attach(&f->h, ours, 0), ERR_OK);
    hosted_close(&f->h);
    assert_int_equal(hosted_attach(&f->h, -1, 1) == ERR_OK, false);
}

static void the_owner_may_close_when_it_is_told_of_a_loss(void **state)
{
    struct fixture *f = *state;
    make_ready(f, 0);
    make_ready(f, 1);
    f->reaction = DO_CLOSE;
    hosted_detach(&f->h, 0, "it was killed");
    assert_int_equal(f->lost[0], 1);
    assert_int_equal(f->lost[1], 0);
}

static void the_owner_may_detach_a_worker_that_became_ready(void **state)
{
    struct fixture *f = *state;
    attach(f, 0);
    f->reaction = DO_DETACH;
    peer_send(&f->loop, f->worker[0], PEER_TEXT(READY "\x92\x08\x01"));
    assert_int_equal(f->ready[0], 1);
    assert_int_equal(f->lost[0], 1);
}

/* ---- beats ---- */

/* One pass over the links, without waiting for it. */
static void pass(struct fixture *f)
{
    f->wheel_ms += 2000;
    wheel_advance(&f->loop.wheel, f->wheel_ms);
}

static void a_worker_that_answers_is_asked_again(void **state)
{
    struct fixture *f = *state;
    for (unsigned i = 1; i <= 20; i++) {
        const uint8_t beat[] = {0x92, 0x08, (uint8_t)i};
        pass(f);
        peer_expect(&f->loop, f->worker[0], slice_make(beat, sizeof(beat)));
        if (i % 3 == 0)
            pass(f); /* late, but in time */
        peer_send(&f->loop, f->worker[0], slice_make(beat, sizeof(beat)));
    }
    assert_int_equal(f->hung[0], 0);
}

static void a_worker_that_does_not_answer_is_reported_once(void **state)
{
    struct fixture *f = *state;
    pass(f);
    for (unsigned i = 0; i < HANG_MS / 1000 - 1; i++)
        pass(f);
    assert_int_equal(f->hung[0], 0);
    pass(f);
    assert_int_equal(f->hung[0], 1);
    for (unsigned i = 0; i < 10; i++)
        pass(f);
    assert_int_equal(f->hung[0], 1);
    peer_expect(&f->loop, f->worker[0], PEER_TEXT("\x92\x08\x01")); /* one beat at a time */
}

static void an_answer_with_another_number_is_none(void **state)
{
    struct fixture *f = *state;
    pass(f);
    peer_send(&f->loop, f->worker[0], PEER_TEXT("\x92\x08\x63"));
    for (unsigned i = 0; i < HANG_MS / 1000; i++)
        pass(f);
    assert_int_equal(f->hung[0], 1);
}

static void a_worker_that_still_starts_is_not_asked(void **state)
{
    struct fixture *f = *state;
    attach(f, 0);
    for (unsigned i = 0; i < 10; i++)
        pass(f);
    assert_int_equal(f->hung[0], 0);
    peer_expect(&f->loop, f->worker[0], PEER_TEXT(""));
}

static void the_owner_may_detach_hung_workers_when_it_is_told(void **state)
{
    struct fixture *f = *state;
    for (unsigned i = 0; i < WORKERS; i++)
        make_ready(f, i);
    f->reaction = DO_DETACH;
    for (unsigned i = 0; i < HANG_MS / 1000 + 1; i++)
        pass(f);
    for (unsigned i = 0; i < WORKERS; i++) {
        assert_int_equal(f->hung[i], 1);
        assert_int_equal(f->lost[i], 1);
    }
}

static void the_owner_may_close_when_it_is_told_of_a_hung_worker(void **state)
{
    struct fixture *f = *state;
    for (unsigned i = 0; i < WORKERS; i++)
        make_ready(f, i);
    f->reaction = DO_CLOSE;
    for (unsigned i = 0; i < 10; i++)
        pass(f);
    assert_int_equal(f->hung[0] + f->hung[1] + f->hung[2], 1);
    assert_int_equal(f->loop.wheel.count, 0);
}

/* ---- records ---- */

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
    assert_int_equal(open_client(f, 0, &scope, slice_str("b"), false), ERR_TOO_BIG);
    mem_fail_after(0);
    assert_int_equal(open_client(f, 0, &scope, slice_make(NULL, 0), false), ERR_NOMEM);
    assert_null(client_of(f, 0)->kind);
    assert_null(client_of(f, 0)->consumer);
    peer_expect(&f->loop, f->worker[0], PEER_TEXT(""));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(without_a_ready_worker_nothing_opens, setup, teardown),
        cmocka_unit_test_setup_teardown(a_client_goes_to_the_worker_with_the_fewest, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_retired_worker_keeps_its_clients_and_gets_no_new_ones,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(shutdown_is_said_to_every_worker, setup, teardown),
        cmocka_unit_test_setup_teardown(the_clients_of_a_lost_worker_are_told_and_no_others, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_detached_worker_is_lost_for_the_reason_given, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(closing_tells_the_clients_and_not_the_owner, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(an_attached_worker_may_be_closed_at_once, setup, teardown),
        cmocka_unit_test_setup_teardown(the_owner_may_close_when_it_is_told_of_a_loss, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(the_owner_may_detach_a_worker_that_became_ready, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_worker_that_answers_is_asked_again, setup_ready,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_worker_that_does_not_answer_is_reported_once, setup_ready,
                                        teardown),
        cmocka_unit_test_setup_teardown(an_answer_with_another_number_is_none, setup_ready,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_worker_that_still_starts_is_not_asked, setup, teardown),
        cmocka_unit_test_setup_teardown(the_owner_may_detach_hung_workers_when_it_is_told, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(the_owner_may_close_when_it_is_told_of_a_hung_worker, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_request_and_its_body_are_these_records, setup_ready,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_websocket_and_its_messages_are_these_records, setup_ready,
                                        teardown),
        cmocka_unit_test_setup_teardown(large_payloads_are_cut_at_the_ceiling, setup_ready,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_scope_of_any_length_goes_out_whole_or_not_at_all,
                                        setup_ready, teardown),
    };
    signal(SIGPIPE, SIG_IGN); /* as the program does */
    return cmocka_run_group_tests(tests, NULL, NULL);
}
