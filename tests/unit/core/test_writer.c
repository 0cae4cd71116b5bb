/* SPDX-License-Identifier: BSD-3-Clause */
#include "core/loop.h"
#include "core/writer.h"

#include "tests/support/unit.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
    MUCH_BYTES = 2 * 1024 * 1024, /* more than any socket buffer here */
    TURNS_MAX = 2000,
};

/* What happened; outlives the connection. */
struct seen {
    unsigned drained;
    unsigned failed;
    enum err failure;
    bool closed;
};

enum reaction { DO_NOTHING, DO_CLOSE, DO_APPEND };

/* A stream with a writer, freed in its close callback as a real connection is. */
struct conn {
    uv_pipe_t pipe;
    struct writer w;
    struct seen *seen;
    enum reaction on_drained;
};

struct fixture {
    struct loop loop;
    struct conn *conn;
    struct seen seen;
    int peer;
    uint8_t *pattern; /* MUCH_BYTES */
    size_t received;  /* bytes of the pattern */
};

static void on_closed(uv_handle_t *handle)
{
    struct conn *c = handle->data;
    writer_deinit(&c->w);
    c->seen->closed = true;
    free(c);
}

static void conn_close(struct conn *c)
{
    writer_stop(&c->w);
    uv_close((uv_handle_t *)&c->pipe, on_closed);
}

static void on_drained(struct writer *w)
{
    struct conn *c = CONTAINER_OF(w, struct conn, w);
    c->seen->drained++;
    if (c->on_drained == DO_APPEND)
        writer_append(w, slice_str("x"));
    if (c->on_drained == DO_CLOSE)
        conn_close(c);
}

static void on_failed(struct writer *w, enum err err)
{
    struct conn *c = CONTAINER_OF(w, struct conn, w);
    c->seen->failed++;
    c->seen->failure = err;
    conn_close(c);
}

static const struct writer_ops ops = {.drained = on_drained, .failed = on_failed};

static struct conn *conn_new(struct loop *loop, struct seen *seen, int *peer)
{
    int fds[2];
    struct conn *c = calloc(1, sizeof(*c));
    assert_non_null(c);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds), 0);
    assert_int_equal(uv_pipe_init(&loop->uv, &c->pipe, 0), 0);
    assert_int_equal(uv_pipe_open(&c->pipe, fds[0]), 0);
    c->pipe.data = c;
    c->seen = seen;
    writer_init(&c->w, loop, (uv_stream_t *)&c->pipe, &ops);
    *peer = fds[1];
    return c;
}

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    uint64_t seed = 5;
    assert_non_null(f);
    assert_int_equal(loop_open(&f->loop, 0, f), ERR_OK);
    f->conn = conn_new(&f->loop, &f->seen, &f->peer);
    f->pattern = malloc(MUCH_BYTES);
    assert_non_null(f->pattern);
    for (size_t i = 0; i < MUCH_BYTES; i += 4) {
        const uint32_t word = unit_random(&seed);
        memcpy(f->pattern + i, &word, sizeof(word));
    }
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    if (!f->seen.closed && !uv_is_closing((uv_handle_t *)&f->conn->pipe))
        conn_close(f->conn);
    loop_close_handles(&f->loop);
    loop_run(&f->loop);
    assert_true(f->seen.closed);
    loop_deinit(&f->loop);
    if (f->peer >= 0)
        close(f->peer);
    free(f->pattern);
    free(f);
    return 0;
}

static void turn(struct fixture *f)
{
    uv_run(&f->loop.uv, UV_RUN_NOWAIT);
}

/* Reads what is there; it must be what the pattern has next. */
static void receive(struct fixture *f)
{
    uint8_t got[65536];
    ssize_t len = 0;
    while ((len = read(f->peer, got, sizeof(got))) > 0) {
        assert_true(f->received + (size_t)len <= MUCH_BYTES);
        assert_memory_equal(got, f->pattern + f->received, (size_t)len);
        f->received += (size_t)len;
    }
    assert_true(len == 0 || errno == EAGAIN);
}

static void close_peer(struct fixture *f)
{
    close(f->peer);
    f->peer = -1;
}

/* Appends more than the socket takes and lets it become full. */
static void fill_socket(struct fixture *f)
{
    writer_append(&f->conn->w, slice_make(f->pattern, MUCH_BYTES));
    turn(f);
    assert_true(f->conn->w.out.bytes > 0);
    assert_int_equal(f->seen.drained, 1);
}

static void what_a_turn_appended_goes_out_at_its_end(void **state)
{
    struct fixture *f = *state;
    writer_append(&f->conn->w, slice_make(f->pattern, 10));
    writer_append(&f->conn->w, (struct slice){0});
    memcpy(writer_reserve(&f->conn->w, 50), f->pattern + 10, 20);
    writer_commit(&f->conn->w, 20);
    writer_append(&f->conn->w, slice_make(f->pattern + 30, 70));
    receive(f);
    assert_int_equal(f->received, 0);
    turn(f);
    receive(f);
    assert_int_equal(f->received, 100);
    assert_int_equal(f->seen.drained, 1);
    assert_int_equal(f->conn->w.out.bytes, 0);
    assert_null(f->conn->w.out.head);
    turn(f);
    assert_int_equal(f->seen.drained, 1);
}

static void more_blocks_than_one_system_call_takes_go_out_too(void **state)
{
    struct fixture *f = *state;
    for (size_t i = 0; i < 100; i++)
        writer_append(&f->conn->w, slice_make(f->pattern + i * 500, 500));
    turn(f);
    receive(f);
    assert_int_equal(f->received, 50000);
    assert_int_equal(f->conn->w.out.bytes, 0);
}

static void a_full_socket_gets_the_rest_in_order_as_the_peer_reads(void **state)
{
    struct fixture *f = *state;
    const size_t half = MUCH_BYTES / 2;
    writer_append(&f->conn->w, slice_make(f->pattern, half));
    turn(f);
    assert_true(f->conn->w.out.bytes > 0);
    /* Queues behind the pending write, partly in its last block. */
    for (size_t at = half; at < MUCH_BYTES; at += 4096)
        writer_append(&f->conn->w, slice_make(f->pattern + at, 4096));
    for (unsigned i = 0; i < TURNS_MAX && f->received < MUCH_BYTES; i++) {
        receive(f);
        turn(f);
    }
    assert_int_equal(f->received, MUCH_BYTES);
    turn(f);
    assert_int_equal(f->conn->w.out.bytes, 0);
    assert_null(f->conn->w.pending);
    assert_true(f->seen.drained >= 2);
    assert_int_equal(f->seen.failed, 0);
}

static void what_the_stream_has_taken_is_known_at_every_turn(void **state)
{
    struct fixture *f = *state;
    bool was_stuck = false;
    writer_append(&f->conn->w, slice_make(f->pattern, MUCH_BYTES));
    assert_int_equal(writer_taken(&f->conn->w), 0);
    for (unsigned i = 0; i < TURNS_MAX && f->received < MUCH_BYTES; i++) {
        int in_kernel = 0;
        turn(f);
        assert_int_equal(ioctl(f->peer, FIONREAD, &in_kernel), 0);
        assert_int_equal(writer_taken(&f->conn->w), f->received + (size_t)in_kernel);
        assert_int_equal(writer_appended(&f->conn->w), MUCH_BYTES);
        was_stuck = was_stuck || writer_stuck(&f->conn->w) > 0;
        receive(f);
    }
    turn(f);
    assert_true(was_stuck);
    assert_int_equal(writer_taken(&f->conn->w), MUCH_BYTES);
    assert_int_equal(writer_appended(&f->conn->w), MUCH_BYTES);
}

static void a_peer_that_is_gone_is_told_once_and_never_inside_append(void **state)
{
    struct fixture *f = *state;
    close_peer(f);
    writer_append(&f->conn->w, slice_make(f->pattern, 10));
    writer_append(&f->conn->w, slice_make(f->pattern, MUCH_BYTES));
    assert_int_equal(f->seen.failed, 0);
    turn(f);
    assert_int_equal(f->seen.failed, 1);
    assert_int_equal(f->seen.failure, ERR_CLOSED);
    assert_int_equal(f->seen.drained, 0);
    turn(f);
    assert_int_equal(f->seen.failed, 1);
}

static void a_peer_that_goes_while_a_write_is_pending_is_told_once(void **state)
{
    struct fixture *f = *state;
    fill_socket(f);
    close_peer(f);
    for (unsigned i = 0; i < 10; i++)
        turn(f);
    assert_int_equal(f->seen.failed, 1);
    assert_int_equal(f->seen.failure, ERR_CLOSED);
    assert_true(f->seen.closed);
}

static void the_owner_may_close_inside_drained(void **state)
{
    struct fixture *f = *state;
    f->conn->on_drained = DO_CLOSE;
    writer_append(&f->conn->w, slice_make(f->pattern, 10));
    turn(f);
    assert_true(f->seen.closed);
    assert_int_equal(f->seen.drained, 1);
    receive(f);
    assert_int_equal(f->received, 10);
}

static void the_owner_may_close_inside_drained_with_a_write_pending(void **state)
{
    struct fixture *f = *state;
    f->conn->on_drained = DO_CLOSE;
    writer_append(&f->conn->w, slice_make(f->pattern, MUCH_BYTES));
    turn(f);
    assert_true(f->seen.closed);
    assert_int_equal(f->seen.drained, 1);
    assert_int_equal(f->seen.failed, 0);
}

static void the_owner_may_close_inside_drained_of_a_pending_write(void **state)
{
    struct fixture *f = *state;
    fill_socket(f);
    f->conn->on_drained = DO_CLOSE;
    for (unsigned i = 0; i < TURNS_MAX && !f->seen.closed; i++) {
        receive(f);
        turn(f);
    }
    assert_true(f->seen.closed);
    assert_int_equal(f->seen.drained, 2);
    assert_int_equal(f->seen.failed, 0);
}

static void closing_with_a_write_pending_calls_nobody(void **state)
{
    struct fixture *f = *state;
    fill_socket(f);
    conn_close(f->conn);
    turn(f);
    assert_true(f->seen.closed);
    assert_int_equal(f->seen.drained, 1);
    assert_int_equal(f->seen.failed, 0);
}

static void a_stopped_writer_drops_what_is_appended(void **state)
{
    struct fixture *f = *state;
    writer_append(&f->conn->w, slice_make(f->pattern, 10));
    writer_stop(&f->conn->w);
    writer_stop(&f->conn->w);
    writer_append(&f->conn->w, slice_make(f->pattern, 10));
    memcpy(writer_reserve(&f->conn->w, 10), f->pattern, 10);
    writer_commit(&f->conn->w, 10);
    turn(f);
    assert_int_equal(f->conn->w.out.bytes, 0);
    receive(f);
    assert_int_equal(f->received, 0);
    assert_int_equal(f->seen.drained, 0);
}

static void writers_that_feed_themselves_do_not_hold_up_the_loop(void **state)
{
    struct fixture *f = *state;
    f->conn->on_drained = DO_APPEND;
    writer_append(&f->conn->w, slice_str("x"));
    turn(f);
    const unsigned first = f->seen.drained;
    assert_in_range(first, 2, 10);
    assert_false(dlist_is_empty(&f->loop.dirty));
    assert_int_equal(uv_backend_timeout(&f->loop.uv), 0); /* and it does not go to sleep */
    turn(f);
    assert_int_equal(f->seen.drained, 2 * first);
    f->conn->on_drained = DO_NOTHING;
    turn(f);
    turn(f);
    assert_int_not_equal(uv_backend_timeout(&f->loop.uv), 0);
}

static void a_flush_on_demand_does_not_wait_for_the_end_of_the_turn(void **state)
{
    struct fixture *f = *state;
    writer_flush(&f->conn->w);
    assert_int_equal(f->seen.drained, 0);
    writer_append(&f->conn->w, slice_make(f->pattern, 10));
    writer_flush(&f->conn->w);
    receive(f);
    assert_int_equal(f->received, 10);
    assert_int_equal(f->seen.drained, 1);
}

int main(void)
{
#define WRITER_TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        WRITER_TEST(what_a_turn_appended_goes_out_at_its_end),
        WRITER_TEST(more_blocks_than_one_system_call_takes_go_out_too),
        WRITER_TEST(a_full_socket_gets_the_rest_in_order_as_the_peer_reads),
        WRITER_TEST(what_the_stream_has_taken_is_known_at_every_turn),
        WRITER_TEST(a_peer_that_is_gone_is_told_once_and_never_inside_append),
        WRITER_TEST(a_peer_that_goes_while_a_write_is_pending_is_told_once),
        WRITER_TEST(the_owner_may_close_inside_drained),
        WRITER_TEST(the_owner_may_close_inside_drained_with_a_write_pending),
        WRITER_TEST(the_owner_may_close_inside_drained_of_a_pending_write),
        WRITER_TEST(closing_with_a_write_pending_calls_nobody),
        WRITER_TEST(a_stopped_writer_drops_what_is_appended),
        WRITER_TEST(writers_that_feed_themselves_do_not_hold_up_the_loop),
        WRITER_TEST(a_flush_on_demand_does_not_wait_for_the_end_of_the_turn),
    };
    signal(SIGPIPE, SIG_IGN); /* as the program does */
    return cmocka_run_group_tests_name("writer", tests, NULL, NULL);
}
