/* SPDX-License-Identifier: BSD-3-Clause */
#include "consumers/hosted/worker_link.h"

#include "core/mem.h"

#include "tests/support/link_peer.h"

#include <signal.h>

enum { CLIENTS = 4 };

/* What a test does when it is told. */
enum reaction { DO_NOTHING, DO_CLOSE };

struct fixture {
    struct loop loop;
    struct worker_link *link; /* NULL once it is lost */
    int worker;               /* the other end */
    unsigned ready;
    unsigned room;
    unsigned lost;
    const char *why;
    enum reaction on_ready;
    struct peer_client clients[CLIENTS];
};

static void on_ready(struct worker_link *link)
{
    struct fixture *f = link->ctx;
    f->ready++;
    if (f->on_ready == DO_CLOSE)
        worker_link_close(link, "the owner does not want it");
}

static void on_room(struct worker_link *link)
{
    struct fixture *f = link->ctx;
    f->room++;
}

static void on_lost(struct worker_link *link, const char *why)
{
    struct fixture *f = link->ctx;
    f->lost++;
    f->why = why;
    f->link = NULL;
    worker_link_close(link, "again"); /* is nothing */
}

static const struct worker_link_ops ops = {on_ready, on_room, on_lost};

#define READY "\x93\x00\x01\x07"
#define HELLO "\x93\x00\x01\x03"

static void open_link(struct fixture *f)
{
    int ours = -1;
    f->worker = peer_socket(&ours);
    assert_int_equal(worker_link_open(&f->link, &f->loop, ours, 9, worker_load_new(0), &ops),
                     ERR_OK);
    f->link->ctx = f;
}

static void engage(struct fixture *f, unsigned i, bool is_websocket)
{
    bool worn = true;
    peer_client_init(&f->clients[i], is_websocket);
    assert_int_equal(worker_link_engage(f->link, &f->clients[i].client, &worn), ERR_OK);
    assert_false(worn); /* there is no limit */
}

static uint64_t id_of(const struct fixture *f, unsigned i)
{
    return f->clients[i].client.consumer_id;
}

static int setup_empty(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    assert_non_null(f);
    f->worker = -1;
    assert_int_equal(loop_open(&f->loop, 3, f), ERR_OK);
    *state = f;
    return 0;
}

/* With a link that is ready, its HELLO read, an HTTP client 0 and a WebSocket 1. */
static int setup(void **state)
{
    (void)setup_empty(state);
    struct fixture *f = *state;
    open_link(f);
    peer_expect(&f->loop, f->worker, PEER_TEXT(HELLO));
    peer_send(&f->loop, f->worker, PEER_TEXT(READY));
    assert_int_equal(f->ready, 1);
    engage(f, 0, false);
    engage(f, 1, true);
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    mem_fail_after(-1);
    if (f->link != NULL)
        worker_link_close(f->link, "the test ends");
    loop_close_handles(&f->loop);
    loop_run(&f->loop);
    loop_deinit(&f->loop);
    if (f->worker >= 0)
        close(f->worker);
    free(f);
    return 0;
}

static void send_for(struct fixture *f, unsigned i, struct slice record)
{
    peer_send_for(&f->loop, f->worker, id_of(f, i), record);
}

#define SEND_FOR(f, i, literal) send_for((f), (i), PEER_TEXT(literal))
#define ID "#########"

static void assert_lost(struct fixture *f)
{
    for (unsigned turns = 0; f->lost == 0 && turns < 100; turns++)
        peer_turn(&f->loop);
    peer_turn(&f->loop);
    assert_int_equal(f->lost, 1);
    assert_non_null(f->why);
    for (unsigned i = 0; i < CLIENTS; i++)
        assert_true(f->clients[i].client.ops == NULL || f->clients[i].ends == 1);
}

/* ---- life ---- */

static void hello_is_the_first_record_and_ready_is_told_once(void **state)
{
    struct fixture *f = *state;
    open_link(f);
    assert_int_equal(f->link->state, WORKER_LINK_STARTING);
    peer_expect(&f->loop, f->worker, PEER_TEXT(HELLO));
    peer_send(&f->loop, f->worker, PEER_TEXT(READY READY));
    assert_int_equal(f->ready, 1);
    assert_int_equal(f->link->state, WORKER_LINK_READY);
    assert_int_equal(f->link->worker, 9);
}

static void a_worker_of_another_version_is_not_used(void **state)
{
    struct fixture *f = *state;
    open_link(f);
    peer_send(&f->loop, f->worker, PEER_TEXT("\x93\x00\x02\x07"));
    assert_lost(f);
    assert_int_equal(f->ready, 0);
}

static void a_link_may_be_closed_at_once(void **state)
{
    struct fixture *f = *state;
    open_link(f);
    struct worker_link *link = f->link;
    worker_link_close(link, "at once");
    worker_link_close(link, "twice");
    assert_int_equal(f->lost, 1);
    assert_string_equal(f->why, "at once");
    peer_turn(&f->loop);
    assert_int_equal(f->lost, 1);
}

static void a_link_may_be_closed_when_it_is_told_ready(void **state)
{
    struct fixture *f = *state;
    open_link(f);
    engage(f, 0, true);
    f->on_ready = DO_CLOSE;
    peer_send_for(&f->loop, f->worker, id_of(f, 0),
                  PEER_TEXT(READY "\x93\x04" ID "\xa1x"
                                  "\x93"));
    assert_lost(f);
    peer_assert_told(&f->clients[0], "fail(lost)"); /* and nothing of what stood behind */
}

static void a_descriptor_that_is_none_is_an_error(void **state)
{
    struct fixture *f = *state;
    struct worker_link *link = NULL;
    assert_int_not_equal(worker_link_open(&link, &f->loop, -1, 9, worker_load_new(0), &ops),
                         ERR_OK);
    assert_null(link);
    peer_turn(&f->loop);
}

static void shutdown_is_said_once_and_ready_does_not_undo_it(void **state)
{
    struct fixture *f = *state;
    open_link(f);
    worker_link_shutdown(f->link, 7);
    worker_link_shutdown(f->link, 7);
    assert_int_equal(f->link->state, WORKER_LINK_DRAINING);
    peer_expect(&f->loop, f->worker, PEER_TEXT(HELLO "\x92\x09\x07"));
    peer_send(&f->loop, f->worker, PEER_TEXT(READY));
    assert_int_equal(f->link->state, WORKER_LINK_DRAINING);
    assert_int_equal(f->ready, 0);
}

static void clients_are_told_once_that_their_worker_is_gone(void **state)
{
    struct fixture *f = *state;
    close(f->worker);
    f->worker = -1;
    assert_lost(f);
    peer_assert_told(&f->clients[0], "fail(lost)");
    peer_assert_told(&f->clients[1], "fail(lost)");
}

static void what_the_worker_sent_before_it_ended_is_delivered(void **state)
{
    struct fixture *f = *state;
    uint8_t record[] = "\x94\x02" ID "\xc4\x02hi\xc2";
    peer_put_id(record + 2, id_of(f, 0));
    assert_int_equal(send(f->worker, record, sizeof(record) - 1, 0), sizeof(record) - 1);
    close(f->worker);
    f->worker = -1;
    assert_lost(f);
    peer_assert_told(&f->clients[0], "body( [hi] last)");
    peer_assert_told(&f->clients[1], "fail(lost)");
}

static void a_worker_that_is_gone_when_it_is_written_to_is_lost_once(void **state)
{
    struct fixture *f = *state;
    static uint8_t much[512 * 1024];
    worker_link_body(f->link, &f->clients[0].client, slice_make(much, sizeof(much)), true);
    peer_turn(&f->loop); /* the socket is full now */
    close(f->worker);
    f->worker = -1;
    worker_link_body(f->link, &f->clients[0].client, slice_make(much, sizeof(much)), true);
    assert_lost(f);
}

static void a_record_that_is_cut_off_by_the_end_is_nothing(void **state)
{
    struct fixture *f = *state;
    SEND_FOR(f, 0, "\x94\x02" ID "\xc4\x02h");
    peer_assert_told(&f->clients[0], "");
    close(f->worker);
    f->worker = -1;
    assert_lost(f);
    peer_assert_told(&f->clients[0], "fail(lost)");
}

/* ---- from the worker ---- */

/* Everything about client 0 (HTTP) and, told from it by the id, client 1. */
#define STORY_0                              \
    "\x96\x01" ID "\xcc\xc8\x91\x92\xc4\x01" \
    "a\xc4\x01"                              \
    "b\xc4\x02hi\xc3"                        \
    "\x94\x07" ID "\xcd\x80\x00\x02"         \
    "\x94\x02" ID "\xc4\x03one\xc3"          \
    "\x94\x02" ID "\xc4\x00\xc2"             \
    "\x94\x02" ID "\xc4\x04late\xc2"
#define TOLD_0 "respond(200 a=b [hi] more)consumed(32768 2)body( [one] more)body( [] last)"
#define STORY_1                       \
    "\x94\x03" ID "\xa4"              \
    "chat\x90"                        \
    "\x93\x04" ID "\xa2hi"            \
    "\x93\x04" ID "\xc4\x01x"         \
    "\x95\x05" ID "\xc4\x01"          \
    "a\xc3\xc2"                       \
    "\x95\x05" ID "\xc4\x01"          \
    "b\xc3\xc2"                       \
    "\x95\x05" ID "\xc4\x00\xc3\xc3"  \
    "\x95\x05" ID "\xc4\x01z\xc2\xc3" \
    "\x94\x06" ID "\xcd\x03\xe8\xa3"  \
    "bye"
#define TOLD_1                                                                           \
    "accept( [chat])send(text [hi] first last)send(binary [x] first last)send(text [a] " \
    "first)send(text [b])"                                                               \
    "send(text [] last)send(binary [z] first last)close(1000 [bye])"

static size_t write_story(uint8_t *out, const struct fixture *f)
{
    static const char story[] = STORY_0 STORY_1;
    memcpy(out, story, sizeof(story) - 1);
    for (size_t i = 0; i + 9 <= sizeof(story) - 1; i++)
        if (memcmp(story + i, ID, 9) == 0)
            peer_put_id(out + i, id_of(f, i < sizeof(STORY_0) - 1 ? 0 : 1));
    return sizeof(story) - 1;
}

static void renew_clients(struct fixture *f)
{
    if (f->clients[0].ends == 0)
        worker_link_release(f->link, &f->clients[0].client);
    worker_link_release(f->link, &f->clients[1].client);
    assert_int_equal(f->link->clients, 0);
    engage(f, 0, false);
    engage(f, 1, true);
}

static void records_arrive_whole_however_they_are_cut(void **state)
{
    struct fixture *f = *state;
    uint8_t story[1024];
    const size_t len = write_story(story, f);
    for (size_t cut = 1; cut <= len; cut++) {
        (void)write_story(story, f);
        peer_send(&f->loop, f->worker, slice_make(story, cut));
        if (cut < len)
            peer_send(&f->loop, f->worker, slice_make(story + cut, len - cut));
        peer_assert_told(&f->clients[0], TOLD_0);
        peer_assert_told(&f->clients[1], TOLD_1);
        renew_clients(f);
    }
    (void)write_story(story, f);
    for (size_t at = 0; at < len; at++)
        peer_send(&f->loop, f->worker, slice_make(story + at, 1));
    peer_assert_told(&f->clients[0], TOLD_0);
    peer_assert_told(&f->clients[1], TOLD_1);
    assert_int_equal(f->lost, 0);
}

static void a_response_ends_with_its_last_piece(void **state)
{
    struct fixture *f = *state;
    SEND_FOR(f, 0, "\x96\x01" ID "\xcc\xcc\x90\xc4\x00\xc2");
    peer_assert_told(&f->clients[0], "respond(204 [] last)");
    assert_int_equal(f->link->clients, 1);
    assert_null(f->clients[0].client.consumer);
    SEND_FOR(f, 0, "\x93\x09" ID "\xc3");
    peer_assert_told(&f->clients[0], "");
}

static void a_refused_websocket_stays_until_the_server_lets_it_go(void **state)
{
    struct fixture *f = *state;
    SEND_FOR(f, 1, "\x96\x01" ID "\xcd\x01\x93\x90\xc4\x02no\xc2");
    peer_assert_told(&f->clients[1], "respond(403 [no] last)");
    assert_int_equal(f->link->clients, 2);
    worker_link_disconnect(f->link, &f->clients[1].client, true, 1006, slice_make(NULL, 0));
    worker_link_release(f->link, &f->clients[1].client);
    SEND_FOR(f, 1, "\x93\x09" ID "\xc3");
    peer_assert_told(&f->clients[1], "");
    assert_int_equal(f->link->clients, 1);
}

static void an_end_is_told_as_failure_and_is_the_last(void **state)
{
    struct fixture *f = *state;
    SEND_FOR(f, 0, "\x93\x09" ID "\xc3\x94\x02" ID "\xc4\x00\xc2");
    peer_assert_told(&f->clients[0], "fail(raised)");
    SEND_FOR(f, 1, "\x93\x09" ID "\xc2\x93\x09" ID "\xc2");
    peer_assert_told(&f->clients[1], "fail(returned)");
    assert_int_equal(f->link->clients, 0);
}

static void a_number_too_large_is_not_cut_to_another(void **state)
{
    struct fixture *f = *state;
    SEND_FOR(f, 0,
             "\x96\x01" ID "\xcf\x00\x00\x00\x01\x00\x00\x00\xc8\x90\xc4\x00\xc2"); /* 2^32 + 200 */
    peer_assert_told(&f->clients[0], "respond(65535 [] last)");
    SEND_FOR(f, 1, "\x94\x06" ID "\xce\x00\x01\x03\xe8\xa0"); /* 2^16 + 1000 */
    peer_assert_told(&f->clients[1], "close(65535 [])");
}

static void records_for_nobody_are_dropped(void **state)
{
    struct fixture *f = *state;
    static const uint64_t ids[] = {0,         1, 63, 64, 0xffffff, 0x1000000, UINT64_C(1) << 53,
                                   UINT64_MAX};
    for (size_t i = 0; i < UNIT_ROWS(ids); i++) {
        if (ids[i] == id_of(f, 0) || ids[i] == id_of(f, 1))
            continue;
        peer_send_for(&f->loop, f->worker, ids[i],
                      PEER_TEXT("\x93\x09" ID "\xc3"
                                "\x93\x04" ID "\xa0"));
    }
    assert_int_equal(f->lost, 0);
    peer_assert_told(&f->clients[0], "");
    peer_assert_told(&f->clients[1], "");
}

static void a_worker_that_breaks_the_protocol_is_lost(void **state)
{
    struct fixture *f = *state;
    static const struct {
        const char *why;
        struct slice in;
    } rows[] = {
        {"a byte that msgpack never uses", {(const uint8_t *)"\xc1", 1}},
        {"a number", {(const uint8_t *)"\x05", 1}},
        {"an unknown op", {(const uint8_t *)"\x92\x0b\x05", 3}},
        {"a bad id among good ones", {(const uint8_t *)"\x93\x0a\x92\x05\xc0\xa1x", 7}},
        {"another shape", {(const uint8_t *)"\x92\x09\x05", 3}},
        {"a nest without end",
         {(const uint8_t *)"\x91\x91\x91\x91\x91\x91\x91\x91\x91\x91\x91", 11}},
        {"a record over the ceiling", {(const uint8_t *)"\x94\x02\x05\xc6\x00\x04\x00\x00", 8}},
        {"an array of 4 G", {(const uint8_t *)"\xdd\xff\xff\xff\xff", 5}},
        {"a payload over its ceiling", {NULL, 0}},
    };
    static uint8_t body[LINK_PAYLOAD_MAX + 64] = "\x94\x02\x05\xc6\x00\x01\x00\x01";
    body[8 + LINK_PAYLOAD_MAX + 1] = 0xc2;
    for (size_t i = 0; i < UNIT_ROWS(rows); i++) {
        const struct slice in =
            rows[i].in.len > 0 ? rows[i].in : slice_make(body, 8 + LINK_PAYLOAD_MAX + 2);
        peer_send(&f->loop, f->worker, in);
        assert_lost(f);
        peer_assert_told(&f->clients[0], "fail(lost)");
        peer_assert_told(&f->clients[1], "fail(lost)");
        close(f->worker);
        f->lost = f->ready = 0;
        memset(f->clients, 0, sizeof(f->clients));
        open_link(f);
        peer_send(&f->loop, f->worker, PEER_TEXT(READY));
        engage(f, 0, false);
        engage(f, 1, true);
    }
}

static void a_record_may_be_as_long_as_its_ceiling(void **state)
{
    struct fixture *f = *state;
    static uint8_t record[LINK_RECORD_MAX];
    /* [1, id, 200, [["a", bin32]], "", true]: the value takes what is left of the ceiling. */
    const size_t value = LINK_RECORD_MAX - 11 - 2 - 2 - 3 - 5 - 2 - 1;
    memcpy(record,
           "\x96\x01" ID "\xcc\xc8\x91\x92\xc4\x01"
           "a\xc6",
           19);
    peer_put_id(record + 2, id_of(f, 0));
    for (unsigned i = 0; i < 4; i++)
        record[19 + i] = (uint8_t)(value >> (24 - 8 * i));
    memset(record + 23, 'v', value);
    memcpy(record + LINK_RECORD_MAX - 3, "\xc4\x00\xc3", 3);
    for (size_t at = 0; at < LINK_RECORD_MAX;) {
        const ssize_t sent = send(f->worker, record + at, LINK_RECORD_MAX - at, 0);
        assert_true(sent > 0 || errno == EAGAIN);
        at += sent > 0 ? (size_t)sent : 0;
        peer_turn(&f->loop);
    }
    peer_turn(&f->loop);
    peer_assert_told(&f->clients[0],
                     "respond(200 a= [] more)"); /* the peer writes no long values down */
    assert_int_equal(f->lost, 0);
}

/* ---- numbers ---- */

static void ids_are_never_used_again(void **state)
{
    struct fixture *f = *state;
    enum { ROUNDS = 1000 };
    static uint64_t seen[ROUNDS];
    for (unsigned i = 0; i < ROUNDS; i++) {
        engage(f, 2, true);
        seen[i] = id_of(f, 2);
        assert_true(seen[i] > 0 && seen[i] < UINT64_C(1) << 53);
        for (unsigned before = 0; before < i; before++)
            assert_true(seen[before] != seen[i]);
        worker_link_release(f->link, &f->clients[2].client);
    }
    engage(f, 2, true);
    for (unsigned i = 0; i < ROUNDS; i++)
        peer_send_for(&f->loop, f->worker, seen[i],
                      PEER_TEXT("\x93\x04" ID "\xa4"
                                "late"));
    for (unsigned i = 0; i < 3; i++)
        peer_assert_told(&f->clients[i], "");
    SEND_FOR(f, 2, "\x93\x04" ID "\xa3now");
    peer_assert_told(&f->clients[2], "send(text [now] first last)");
}

static void a_slot_forgets_the_message_of_the_client_before(void **state)
{
    struct fixture *f = *state;
    for (unsigned i = 0; i < 130; i++) { /* each slot twice */
        engage(f, 2, true);
        SEND_FOR(f, 2,
                 "\x95\x05" ID "\xc4\x01"
                 "a\xc3\xc2");
        peer_assert_told(&f->clients[2], "send(text [a] first)");
        worker_link_release(f->link, &f->clients[2].client);
    }
}

static void many_clients_are_told_apart(void **state)
{
    struct fixture *f = *state;
    enum { MANY = 300 }; /* more than the first slots */
    bool worn = false;
    struct peer_client *many = calloc(MANY, sizeof(*many));
    assert_non_null(many);
    for (unsigned i = 0; i < MANY; i++) {
        peer_client_init(&many[i], true);
        assert_int_equal(worker_link_engage(f->link, &many[i].client, &worn), ERR_OK);
    }
    assert_int_equal(f->link->clients, MANY + 2);
    for (unsigned i = 0; i < MANY; i += 7) {
        peer_send_for(&f->loop, f->worker, many[i].client.consumer_id,
                      PEER_TEXT("\x93\x09" ID "\xc3"));
        peer_assert_told(&many[i], "fail(raised)");
    }
    worker_link_close(f->link, "the test ends");
    for (unsigned i = 0; i < MANY; i++)
        assert_int_equal(many[i].ends, 1);
    free(many);
}

/* ---- memory ---- */

static void without_memory_for_slots_no_client_is_engaged(void **state)
{
    struct fixture *f = *state;
    struct peer_client *many = calloc(64, sizeof(*many));
    bool worn = false;
    assert_non_null(many);
    for (unsigned i = 0; i < 62; i++) {
        peer_client_init(&many[i], true);
        assert_int_equal(worker_link_engage(f->link, &many[i].client, &worn), ERR_OK);
    }
    peer_client_init(&many[62], true);
    mem_fail_after(0);
    assert_int_equal(worker_link_engage(f->link, &many[62].client, &worn), ERR_NOMEM);
    assert_int_equal(f->link->clients, 64);
    assert_int_equal(worker_link_engage(f->link, &many[62].client, &worn), ERR_OK);
    worker_link_close(f->link, "the test ends");
    free(many);
}

static void without_memory_for_half_a_record_the_link_ends(void **state)
{
    struct fixture *f = *state;
    mem_fail_after(0);
    SEND_FOR(f, 0, "\x94\x02" ID "\xc4\x02h");
    mem_fail_after(-1);
    assert_lost(f);
    peer_assert_told(&f->clients[0], "fail(lost)");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(hello_is_the_first_record_and_ready_is_told_once,
                                        setup_empty, teardown),
        cmocka_unit_test_setup_teardown(a_worker_of_another_version_is_not_used, setup_empty,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_link_may_be_closed_at_once, setup_empty, teardown),
        cmocka_unit_test_setup_teardown(a_link_may_be_closed_when_it_is_told_ready, setup_empty,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_descriptor_that_is_none_is_an_error, setup_empty,
                                        teardown),
        cmocka_unit_test_setup_teardown(shutdown_is_said_once_and_ready_does_not_undo_it,
                                        setup_empty, teardown),
        cmocka_unit_test_setup_teardown(clients_are_told_once_that_their_worker_is_gone, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(what_the_worker_sent_before_it_ended_is_delivered, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_worker_that_is_gone_when_it_is_written_to_is_lost_once,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(a_record_that_is_cut_off_by_the_end_is_nothing, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(records_arrive_whole_however_they_are_cut, setup, teardown),
        cmocka_unit_test_setup_teardown(a_response_ends_with_its_last_piece, setup, teardown),
        cmocka_unit_test_setup_teardown(a_refused_websocket_stays_until_the_server_lets_it_go,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(an_end_is_told_as_failure_and_is_the_last, setup, teardown),
        cmocka_unit_test_setup_teardown(a_number_too_large_is_not_cut_to_another, setup, teardown),
        cmocka_unit_test_setup_teardown(records_for_nobody_are_dropped, setup, teardown),
        cmocka_unit_test_setup_teardown(a_worker_that_breaks_the_protocol_is_lost, setup, teardown),
        cmocka_unit_test_setup_teardown(a_record_may_be_as_long_as_its_ceiling, setup, teardown),
        cmocka_unit_test_setup_teardown(ids_are_never_used_again, setup, teardown),
        cmocka_unit_test_setup_teardown(a_slot_forgets_the_message_of_the_client_before, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(many_clients_are_told_apart, setup, teardown),
        cmocka_unit_test_setup_teardown(without_memory_for_slots_no_client_is_engaged, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(without_memory_for_half_a_record_the_link_ends, setup,
                                        teardown),
    };
    signal(SIGPIPE, SIG_IGN); /* as the program does */
    return cmocka_run_group_tests(tests, NULL, NULL);
}
