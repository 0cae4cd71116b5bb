/* SPDX-License-Identifier: BSD-3-Clause */
#include "core/loop.h"
#include "core/mem.h"
#include "core/writer.h"

#include "tests/support/unit.h"

#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* What a test keeps on its loop: a deadline, and a stream that nobody reads. */
struct owner {
    struct loop loop;
    struct wheel_entry deadline;
    uv_pipe_t pipe;
    struct writer w;
    unsigned delivered;
    unsigned expired;
    bool closed;
};

static void on_stop(struct mail *mail, void *ctx)
{
    struct owner *o = ctx;
    o->delivered++;
    mem_free(mail);
    loop_close_handles(&o->loop);
    loop_close_handles(&o->loop); /* twice is harmless */
}

static void post_stop(struct owner *o)
{
    struct mail *mail = mem_alloc(sizeof(*mail));
    mail->deliver = on_stop;
    loop_post(&o->loop, mail);
}

static void on_deadline(struct wheel_entry *entry)
{
    struct owner *o = CONTAINER_OF(entry, struct owner, deadline);
    o->expired++;
    post_stop(o);
}

static void on_pipe_closed(uv_handle_t *handle)
{
    struct owner *o = handle->data;
    writer_deinit(&o->w);
    o->closed = true;
}

static void on_drained(struct writer *w)
{
    struct owner *o = CONTAINER_OF(w, struct owner, w);
    writer_stop(w);
    uv_close((uv_handle_t *)&o->pipe, on_pipe_closed);
}

static void on_failed(struct writer *w, enum err err)
{
    (void)w;
    fail_msg("write failed: %s", err_str(err));
}

static const struct writer_ops ops = {.drained = on_drained, .failed = on_failed};

static struct owner *owner_new(void)
{
    struct owner *o = calloc(1, sizeof(*o));
    assert_non_null(o);
    assert_int_equal(loop_open(&o->loop, 3, o), ERR_OK);
    return o;
}

static void owner_free(struct owner *o)
{
    loop_deinit(&o->loop);
    free(o);
}

static void a_loop_ends_when_its_handles_are_closed(void **state)
{
    (void)state;
    struct owner *o = owner_new();
    assert_int_equal(o->loop.index, 3);
    loop_close_handles(&o->loop);
    loop_run(&o->loop);
    owner_free(o);
}

static void mail_can_end_the_loop(void **state)
{
    (void)state;
    struct owner *o = owner_new();
    post_stop(o);
    loop_run(&o->loop);
    assert_int_equal(o->delivered, 1);
    owner_free(o);
}

/* Takes one tick of the wheel in real time. */
static void a_deadline_fires_when_nothing_else_happens(void **state)
{
    (void)state;
    struct owner *o = owner_new();
    wheel_entry_init(&o->deadline, on_deadline);
    wheel_set(&o->loop.wheel, &o->deadline, loop_now_ms(&o->loop));
    loop_run(&o->loop);
    assert_int_equal(o->expired, 1);
    assert_int_equal(o->delivered, 1);
    owner_free(o);
}

static void output_left_when_the_mailbox_closes_is_written(void **state)
{
    (void)state;
    struct owner *o = owner_new();
    int fds[2];
    char got[16];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
    assert_int_equal(uv_pipe_init(&o->loop.uv, &o->pipe, 0), 0);
    assert_int_equal(uv_pipe_open(&o->pipe, fds[0]), 0);
    o->pipe.data = o;
    writer_init(&o->w, &o->loop, (uv_stream_t *)&o->pipe, &ops);
    loop_close_handles(&o->loop);
    uv_run(&o->loop.uv, UV_RUN_DEFAULT); /* the stream is not active: libuv's loop ends */
    writer_append(&o->w, slice_str("bye"));
    loop_run(&o->loop);
    assert_true(o->closed);
    assert_int_equal(read(fds[1], got, sizeof(got)), 3);
    close(fds[1]);
    owner_free(o);
}

static void an_entry_that_is_still_set_does_not_keep_an_empty_loop(void **state)
{
    (void)state;
    struct owner *o = owner_new();
    wheel_entry_init(&o->deadline, on_deadline);
    wheel_set(&o->loop.wheel, &o->deadline, UINT64_MAX);
    loop_close_handles(&o->loop);
    loop_run(&o->loop);
    assert_int_equal(o->expired, 0);
    owner_free(o);
}

static void the_read_buffer_is_lent_whole(void **state)
{
    (void)state;
    struct owner *o = owner_new();
    uv_buf_t buf;
    loop_lend_read_buf((uv_handle_t *)&o->loop.tick, 1, &buf);
    assert_ptr_equal(buf.base, o->loop.read_buf);
    assert_int_equal(buf.len, LOOP_READ_BYTES);
    loop_close_handles(&o->loop);
    loop_run(&o->loop);
    owner_free(o);
}

static void without_memory_nothing_is_left_open(void **state)
{
    (void)state;
    struct loop loop;
    mem_fail_after(0);
    assert_int_equal(loop_open(&loop, 0, NULL), ERR_NOMEM);
    mem_fail_after(-1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_loop_ends_when_its_handles_are_closed),
        cmocka_unit_test(mail_can_end_the_loop),
        cmocka_unit_test(a_deadline_fires_when_nothing_else_happens),
        cmocka_unit_test(output_left_when_the_mailbox_closes_is_written),
        cmocka_unit_test(an_entry_that_is_still_set_does_not_keep_an_empty_loop),
        cmocka_unit_test(the_read_buffer_is_lent_whole),
        cmocka_unit_test(without_memory_nothing_is_left_open),
    };
    return cmocka_run_group_tests_name("loop", tests, NULL, NULL);
}
