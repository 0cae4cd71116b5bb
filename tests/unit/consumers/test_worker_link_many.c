/* SPDX-License-Identifier: BSD-3-Clause
 *
 * SEND_MANY (docs/link-protocol.md): one message to many clients of a link.
 */
#include "consumers/hosted/worker_link.h"

#include "core/mem.h"

#include "tests/support/link_peer.h"

#include <signal.h>

enum { CLIENTS = 1000, ID_BYTES = 9, RECORD_HEAD = 7 };

struct fixture {
    struct loop loop;
    struct worker_link *link; /* NULL once it is lost */
    int worker;               /* the other end */
    unsigned lost;
    struct peer_client *clients;
};

static void on_ready(struct worker_link *link)
{
    (void)link;
}

static void on_lost(struct worker_link *link, const char *why)
{
    struct fixture *f = link->ctx;
    (void)why;
    f->lost++;
    f->link = NULL;
}

static const struct worker_link_ops ops = {on_ready, on_ready, on_lost};

static void engage(struct fixture *f, unsigned i, bool is_websocket)
{
    bool worn = false;
    peer_client_init(&f->clients[i], is_websocket);
    assert_int_equal(worker_link_engage(f->link, &f->clients[i].client, &worn), ERR_OK);
}

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    int ours = -1;
    assert_non_null(f);
    f->clients = calloc(CLIENTS, sizeof(*f->clients));
    assert_non_null(f->clients);
    assert_int_equal(loop_open(&f->loop, 3, f), ERR_OK);
    f->worker = peer_socket(&ours);
    assert_int_equal(worker_link_open(&f->link, &f->loop, ours, 9, worker_load_new(0), &ops),
                     ERR_OK);
    f->link->ctx = f;
    peer_send(&f->loop, f->worker, PEER_TEXT("\x93\x00\x01\x07"));
    for (unsigned i = 0; i < CLIENTS; i++)
        engage(f, i, true);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    if (f->link != NULL)
        worker_link_close(f->link, "the test ends");
    loop_close_handles(&f->loop);
    loop_run(&f->loop);
    loop_deinit(&f->loop);
    close(f->worker);
    free(f->clients);
    free(f);
    return 0;
}

/* [10, ids, the item in @message], at @out. Returns its length. */
static size_t write_send_many(uint8_t *out, const uint64_t *ids, uint32_t count,
                              struct slice message)
{
    memcpy(out, "\x93\x0a\xdd", 3);
    for (unsigned i = 0; i < 4; i++)
        out[3 + i] = (uint8_t)(count >> (24 - 8 * i));
    uint8_t *at = out + RECORD_HEAD;
    for (uint32_t i = 0; i < count; i++, at += ID_BYTES)
        peer_put_id(at, ids[i]);
    memcpy(at, message.ptr, message.len);
    return (size_t)(at - out) + message.len;
}

static void send_many(struct fixture *f, const uint64_t *ids, uint32_t count, struct slice message)
{
    const size_t most = RECORD_HEAD + (size_t)count * ID_BYTES + message.len;
    uint8_t *record = malloc(most);
    assert_non_null(record);
    peer_send(&f->loop, f->worker,
              slice_make(record, write_send_many(record, ids, count, message)));
    free(record);
}

static uint64_t id_of(const struct fixture *f, unsigned i)
{
    return f->clients[i].client.consumer_id;
}

static void each_client_gets_the_message_as_by_send(void **state)
{
    struct fixture *f = *state;
    static uint64_t ids[CLIENTS];
    for (unsigned i = 0; i < CLIENTS; i++)
        ids[i] = id_of(f, i);
    send_many(f, ids, CLIENTS, PEER_TEXT("\xa2hi"));
    for (unsigned i = 0; i < CLIENTS; i++)
        peer_assert_told(&f->clients[i], "send(text [hi] first last)");
    send_many(f, ids, CLIENTS, PEER_TEXT("\xc4\x01x"));
    for (unsigned i = 0; i < CLIENTS; i++)
        peer_assert_told(&f->clients[i], "send(binary [x] first last)");
    assert_int_equal(f->lost, 0);
}

static void others_get_nothing(void **state)
{
    struct fixture *f = *state;
    const uint64_t ids[] = {id_of(f, 4), id_of(f, 2)};
    send_many(f, ids, 2, PEER_TEXT("\xa1x"));
    send_many(f, NULL, 0, PEER_TEXT("\xa1y"));
    for (unsigned i = 0; i < CLIENTS; i++)
        peer_assert_told(&f->clients[i], i == 2 || i == 4 ? "send(text [x] first last)" : "");
}

static void an_id_that_stands_twice_is_two_messages(void **state)
{
    struct fixture *f = *state;
    const uint64_t ids[] = {id_of(f, 1), id_of(f, 1)};
    send_many(f, ids, 2, PEER_TEXT("\xa0"));
    peer_assert_told(&f->clients[1], "send(text [] first last)send(text [] first last)");
}

static void ids_that_are_gone_or_never_were_are_passed_over(void **state)
{
    struct fixture *f = *state;
    const uint64_t gone = id_of(f, 3);
    worker_link_release(f->link, &f->clients[3].client);
    engage(f, 3, true); /* perhaps in the same slot */
    const uint64_t ids[] = {gone,        0,         UINT64_MAX, UINT64_C(9) << 24,
                            id_of(f, 5), 0xffffffU, 1,          id_of(f, 6)};
    send_many(f, ids, UNIT_ROWS(ids), PEER_TEXT("\xa1x"));
    for (unsigned i = 0; i < CLIENTS; i++)
        peer_assert_told(&f->clients[i], i == 5 || i == 6 ? "send(text [x] first last)" : "");
    assert_int_equal(f->lost, 0);
}

static void it_stands_between_the_sends_before_and_behind(void **state)
{
    struct fixture *f = *state;
    uint8_t stream[128];
    const uint64_t ids[] = {id_of(f, 0), id_of(f, 7)};
    size_t len = 0;
    memcpy(stream,
           "\x93\x04#########\xa1"
           "a",
           13);
    peer_put_id(stream + 2, ids[1]);
    len += 13;
    len += write_send_many(stream + len, ids, 2,
                           PEER_TEXT("\xa1"
                                     "b"));
    memcpy(stream + len,
           "\x93\x04#########\xa1"
           "c",
           13);
    peer_put_id(stream + len + 2, ids[1]);
    len += 13;
    /* However the stream is cut. */
    for (size_t cut = 1; cut < len; cut++) {
        peer_send(&f->loop, f->worker, slice_make(stream, cut));
        peer_send(&f->loop, f->worker, slice_make(stream + cut, len - cut));
        peer_assert_told(&f->clients[0], "send(text [b] first last)");
        peer_assert_told(&f->clients[7], "send(text [a] first last)send(text [b] first last)"
                                         "send(text [c] first last)");
    }
}

static void a_bad_record_reaches_nobody(void **state)
{
    struct fixture *f = *state;
    uint8_t record[64];
    const uint64_t ids[] = {id_of(f, 0), id_of(f, 1)};
    const size_t len = write_send_many(record, ids, 2, PEER_TEXT("\xa1x"));
    record[RECORD_HEAD + ID_BYTES] = 0xd3; /* the second id is a signed number below zero */
    record[RECORD_HEAD + ID_BYTES + 1] = 0xff;
    peer_send(&f->loop, f->worker, slice_make(record, len));
    assert_int_equal(f->lost, 1);
    peer_assert_told(&f->clients[0], "fail(lost)");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(each_client_gets_the_message_as_by_send, setup, teardown),
        cmocka_unit_test_setup_teardown(others_get_nothing, setup, teardown),
        cmocka_unit_test_setup_teardown(an_id_that_stands_twice_is_two_messages, setup, teardown),
        cmocka_unit_test_setup_teardown(ids_that_are_gone_or_never_were_are_passed_over, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(it_stands_between_the_sends_before_and_behind, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_bad_record_reaches_nobody, setup, teardown),
    };
    signal(SIGPIPE, SIG_IGN); /* as the program does */
    return cmocka_run_group_tests(tests, NULL, NULL);
}
