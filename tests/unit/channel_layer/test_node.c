/* SPDX-License-Identifier: BSD-3-Clause
 *
 * A node on a real loop, with peers at the other end of socket pairs. What peers may say to it over
 * its path is tests/integration/test_layer_node.py.
 */
#include "channel_layer/node/node.h"

#include "channel_layer/node/node_listeners.h"
#include "channel_layer/node/node_socket.h"
#include "core/mem.h"

#include "tests/support/unit.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#define BYTES(literal) slice_make((literal), sizeof(literal) - 1)
#define GREETING           \
    "\x94\x00\x01\x05\xa6" \
    "client"               \
    "\x95\x01\x00\x00\xa0\x90"
#define JOIN_ROOM "\x94\x04\x00\x01\xa4room"

struct fixture {
    struct loop loop;
    struct node *node;
    unsigned closed;
};

static void on_closed(void *ctx)
{
    struct fixture *f = ctx;
    f->closed++;
    loop_close_handles(&f->loop);
}

static struct fixture *open_node(void)
{
    struct fixture *f = calloc(1, sizeof(*f));
    struct err_text why;
    assert_non_null(f);
    assert_int_equal(loop_open(&f->loop, 0, f), ERR_OK);
    assert_int_equal(node_open(&f->node, &f->loop, (struct slice){0}, &why), ERR_OK);
    return f;
}

static void close_node(struct fixture *f)
{
    node_close(f->node, on_closed, f);
    loop_run(&f->loop);
    assert_int_equal(f->closed, 1);
    loop_deinit(&f->loop); /* asserts that no handle is left */
    free(f);
}

static int attach(struct fixture *f)
{
    int fds[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds), 0);
    node_attach(f->node, fds[0], "test");
    return fds[1];
}

static void turn(struct fixture *f, unsigned turns)
{
    for (unsigned i = 0; i < turns; i++)
        uv_run(&f->loop.uv, UV_RUN_NOWAIT);
}

static void tell(struct fixture *f, int fd, struct slice bytes)
{
    assert_int_equal(send(fd, bytes.ptr, bytes.len, MSG_NOSIGNAL), bytes.len);
    turn(f, 3);
}

/* How much the node has sent, which is put at @out of 4096 bytes. */
static size_t hear(int fd, uint8_t *out)
{
    const ssize_t got = recv(fd, out, 4096, 0);
    assert_true(got > 0);
    return (size_t)got;
}

static bool is_cut(int fd)
{
    uint8_t out[4096];
    for (;;) {
        const ssize_t got = recv(fd, out, sizeof(out), 0);
        if (got == 0)
            return true;
        if (got < 0)
            return errno != EAGAIN;
    }
}

static void a_node_can_end_at_once(void **state)
{
    (void)state;
    close_node(open_node());
}

static void a_node_needs_settings_that_are_right(void **state)
{
    (void)state;
    struct fixture f = {.closed = 0};
    struct err_text why;
    assert_int_equal(loop_open(&f.loop, 0, &f), ERR_OK);
    assert_int_equal(node_open(&f.node, &f.loop, slice_str("{\"capacity\": -1}"), &why),
                     ERR_INVALID);
    assert_non_null(strstr(why.text, "capacity"));
    loop_close_handles(&f.loop);
    loop_run(&f.loop);
    loop_deinit(&f.loop);
}

static void records_may_come_one_byte_at_a_time(void **state)
{
    (void)state;
    struct fixture *f = open_node();
    const struct slice in = BYTES(GREETING JOIN_ROOM);
    uint8_t out[4096];
    const int fd = attach(f);
    for (size_t i = 0; i < in.len; i++)
        tell(f, fd, slice_make(in.ptr + i, 1));
    const size_t len = hear(fd, out);
    static const char end[] = "\x94\x02\x01\x00\xc0"; /* the answer to the JOIN */
    assert_memory_equal(out, "\x93\x00\x01", 3);
    assert_memory_equal(out + len - 5, end, 5);
    close(fd);
    close_node(f);
}

static void a_node_that_ends_cuts_peers_in_any_state(void **state)
{
    (void)state;
    const struct slice all = BYTES(GREETING JOIN_ROOM);
    const size_t said[] = {0, 1, sizeof(GREETING) - 1, all.len}; /* bytes of it */
    struct fixture *f = open_node();
    int fds[UNIT_ROWS(said)];
    for (size_t i = 0; i < UNIT_ROWS(said); i++) {
        fds[i] = attach(f);
        if (said[i] > 0)
            tell(f, fds[i], slice_make(all.ptr, said[i]));
    }
    close_node(f);
    for (size_t i = 0; i < UNIT_ROWS(said); i++) {
        assert_true(is_cut(fds[i]));
        close(fds[i]);
    }
}

static void a_peer_may_go_before_its_send_is_answered(void **state)
{
    (void)state;
    struct fixture *f = open_node();
    uint8_t out[4096];
    const int a = attach(f);
    const int b = attach(f);
    tell(f, a, BYTES(GREETING));
    tell(f, b, BYTES(GREETING));
    /* HELLO, then OPENED with its base: 55 bytes behind 0xd9 and the length. */
    const size_t len = hear(b, out);
    uint8_t *base = memmem(out, len, "specific.", 9);
    assert_non_null(base);
    assert_int_equal(base[-1], 55);
    char send_to_b[128] = "\x95\x02\x00\x02\xd9\x4a"; /* of 74 bytes: the base and 19 digits */
    memcpy(send_to_b + 6, base, 55);
    memcpy(send_to_b + 61, "0123456789abcdef012", 19);
    memcpy(send_to_b + 80, "\xc4\x01\x80", 3);
    tell(f, a, slice_make(send_to_b, 83));
    assert_true(hear(b, out) > 74); /* DELIVER, with a ticket */
    close(a);
    turn(f, 3);
    close(b);
    turn(f, 3);
    close_node(f);
}

static void a_record_without_memory_costs_its_peer_only(void **state)
{
    (void)state;
    struct fixture *f = open_node();
    uint8_t out[4096];
    const int a = attach(f);
    const int b = attach(f);
    tell(f, a, BYTES(GREETING));
    tell(f, b, BYTES(GREETING));
    (void)hear(b, out);
    mem_fail_after(0);
    tell(f, a, BYTES("\x94\x04\x00")); /* the beginning of a record, to be kept */
    mem_fail_after(-1);
    assert_true(is_cut(a));
    tell(f, b, BYTES("\x92\x10\x09"));
    assert_int_equal(hear(b, out), 5);
    assert_memory_equal(out, "\x94\x02\x09\x00\xc0", 5);
    close(a);
    close(b);
    close_node(f);
}

/* ---- layers ---- */

static void on_walk_timers(uv_handle_t *handle, void *ctx)
{
    unsigned *timers = ctx;
    if (handle->type == UV_TIMER)
        ++*timers;
}

static unsigned count_timers(struct fixture *f)
{
    unsigned timers = 0;
    uv_walk(&f->loop.uv, on_walk_timers, &timers);
    return timers;
}

/* What the node's clock shows is @ms later: its timers for looking are called by hand. */
static void look_after(uv_handle_t *handle, void *ctx)
{
    const uint64_t *ms = ctx;
    uv_timer_t *timer = (uv_timer_t *)handle;
    if (handle->type != UV_TIMER || uv_timer_get_repeat(timer) != 60 * 1000)
        return;
    handle->loop->time += *ms;
    timer->timer_cb(timer);
}

static void a_layer_that_nobody_uses_closes_after_a_while(void **state)
{
    (void)state;
    const struct {
        const char *name;
        struct slice records;
        bool stays;
    } rows[] = {
        {"the node's own", BYTES(GREETING), true},
        {"nothing waits",
         BYTES("\x94\x00\x01\x05\xa6worker\x95\x01\x00\x00\xaf{\"capacity\": 7}\x90"), false},
        {"a message waits",
         BYTES("\x94\x00\x01\x05\xa6worker\x95\x01\x00\x00\xaf{\"capacity\": 7}\x90"
               "\x95\x02\x00\x01\xa4jobs\xc4\x01\x80"),
         true},
    };
    for (size_t i = 0; i < UNIT_ROWS(rows); i++) {
        struct fixture *f = open_node();
        uint64_t ms = 0;
        const unsigned before = count_timers(f);
        const int fd = attach(f);
        tell(f, fd, rows[i].records);
        const unsigned with = count_timers(f);
        assert_true(with > before);
        ms = 10 * NODE_IDLE_MS;
        uv_walk(&f->loop.uv, look_after, &ms); /* it is used */
        turn(f, 3);
        assert_int_equal(count_timers(f), with);
        close(fd);
        turn(f, 3);
        ms = 0;
        uv_walk(&f->loop.uv, look_after, &ms); /* idle from now on */
        ms = NODE_IDLE_MS / 2;
        uv_walk(&f->loop.uv, look_after, &ms);
        turn(f, 3);
        assert_int_equal(count_timers(f), with);
        ms = NODE_IDLE_MS * 2; /* uv_run() has set the clock right */
        uv_walk(&f->loop.uv, look_after, &ms);
        turn(f, 3);
        if (count_timers(f) != (rows[i].stays ? with : before))
            fail_msg("%s", rows[i].name);
        close_node(f);
    }
}

/* ---- LISTEN ---- */

/* A folder that the test takes away again, and a path in one that is not there yet. */
struct place {
    char folder[64];
    char inner[80];
    char path[96];
};

static void make_place(struct place *p)
{
    memcpy(p->folder, "/tmp/test_node.XXXXXX", 22);
    assert_non_null(mkdtemp(p->folder));
    snprintf(p->inner, sizeof(p->inner), "%s/in", p->folder);
    snprintf(p->path, sizeof(p->path), "%s/a.sock", p->inner);
}

static void drop_place(const struct place *p)
{
    assert_int_equal(rmdir(p->inner), 0); /* it is empty */
    assert_int_equal(rmdir(p->folder), 0);
}

/* "\x92\x13" and the path. */
static void tell_to_listen(struct fixture *f, int fd, const char *path)
{
    char record[128] = "\x92\x13\xd9";
    const size_t len = strlen(path);
    record[3] = (char)len;
    memcpy(record + 4, path, len);
    tell(f, fd, slice_make(record, 4 + len));
}

static int connect_to(struct fixture *f, const char *path)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    memcpy(addr.sun_path, path, strlen(path));
    const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    if (connect(fd, (struct sockaddr *)&addr, sizeof(addr)) != 0) {
        close(fd);
        return -1;
    }
    turn(f, 3);
    return fd;
}

static void peers_come_by_the_path_that_a_worker_names(void **state)
{
    (void)state;
    struct fixture *f = open_node();
    struct place p = {{0}, {0}, {0}};
    uint8_t out[4096];
    make_place(&p);
    const int worker = attach(f);
    const int second = attach(f);
    tell(f, worker, BYTES(GREETING));
    tell(f, second, BYTES(GREETING));
    tell_to_listen(f, worker, p.path);
    tell_to_listen(f, second, p.path);
    tell_to_listen(f, worker, p.path);
    const int client = connect_to(f, p.path);
    tell(f, client, BYTES(GREETING JOIN_ROOM));
    const size_t len = hear(client, out);
    assert_memory_equal(out + len - 5, "\x94\x02\x01\x00\xc0", 5);
    close(worker); /* the path is the node's */
    turn(f, 3);
    close(connect_to(f, p.path));
    close_node(f);
    assert_true(is_cut(client));
    close(client);
    close(second);
    drop_place(&p);
}

static void a_process_that_is_no_worker_names_no_paths(void **state)
{
    (void)state;
    struct fixture *f = open_node();
    struct place p = {{0}, {0}, {0}};
    char other[112];
    make_place(&p);
    snprintf(other, sizeof(other), "%s.other", p.path);
    const int worker = attach(f);
    tell(f, worker, BYTES(GREETING));
    tell_to_listen(f, worker, p.path);
    const int client = connect_to(f, p.path);
    tell(f, client, BYTES(GREETING));
    tell_to_listen(f, client, other);
    assert_true(is_cut(client));
    assert_int_equal(connect_to(f, other), -1);
    close(client);
    close(worker);
    close_node(f);
    drop_place(&p);
}

static void hurry_retry(uv_handle_t *handle, void *ctx)
{
    unsigned *count = ctx;
    uv_timer_t *timer = (uv_timer_t *)handle;
    if (handle->type != UV_TIMER || uv_timer_get_repeat(timer) != NODE_RETRY_MS)
        return;
    uv_timer_set_repeat(timer, 1);
    uv_timer_again(timer);
    ++*count;
}

static void a_second_node_takes_the_path_when_the_first_has_ended(void **state)
{
    (void)state;
    struct fixture *f = open_node();
    struct place p = {{0}, {0}, {0}};
    struct node_socket other;
    struct err_text why;
    int fd = -1;
    make_place(&p);
    assert_int_equal(node_socket_listen_by_default(&other, &fd, p.path, &why), ERR_OK);
    /* A process of its own: who listens there must not be this one. */
    int ready[2];
    char byte = 0;
    assert_int_equal(pipe(ready), 0);
    const pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL); /* also when the test fails */
        if (listen(fd, 16) == 0 && write(ready[1], "r", 1) == 1)
            (void)pause();
        _exit(0);
    }
    close(fd);
    assert_int_equal(read(ready[0], &byte, 1), 1);
    close(ready[0]);
    close(ready[1]);
    const int worker = attach(f);
    tell(f, worker, BYTES(GREETING));
    struct node_socket probe;
    assert_int_equal(node_socket_listen_by_default(&probe, &fd, p.path, &why), ERR_ADDR_IN_USE);
    assert_int_equal(probe.holder, child);
    tell_to_listen(f, worker, p.path);
    assert_int_equal(kill(child, SIGKILL), 0);
    assert_int_equal(waitpid(child, NULL, 0), child);
    assert_int_equal(connect_to(f, p.path), -1);
    unsigned hurried = 0;
    uv_walk(&f->loop.uv, hurry_retry, &hurried);
    assert_int_equal(hurried, 1);
    int client = -1;
    while (client < 0) { /* ctest's timeout ends it */
        turn(f, 1);
        client = connect_to(f, p.path);
    }
    close(client);
    close(worker);
    close_node(f);
    drop_place(&p);
}

static void a_workers_bad_paths_cost_nobody_anything(void **state)
{
    (void)state;
    struct fixture *f = open_node();
    struct place p = {{0}, {0}, {0}};
    uint8_t out[4096];
    char path[128];
    make_place(&p);
    const int worker = attach(f);
    tell(f, worker, BYTES(GREETING));
    tell(f, worker, BYTES("\x92\x13\xa0"));
    tell(f, worker, BYTES("\x92\x13\xa3/\x00x"));
    tell_to_listen(f, worker, "relative/a.sock");
    memset(path, 'x', sizeof(path));
    path[0] = '/';
    path[120] = '\0';
    tell_to_listen(f, worker, path);
    for (unsigned i = 0; i < NODE_PATHS_MAX + 2; i++) {
        snprintf(path, sizeof(path), "%s/%u.sock", p.inner, i);
        tell_to_listen(f, worker, path);
    }
    close(connect_to(f, (snprintf(path, sizeof(path), "%s/0.sock", p.inner), path)));
    assert_int_equal(
        connect_to(f, (snprintf(path, sizeof(path), "%s/%d.sock", p.inner, NODE_PATHS_MAX), path)),
        -1);
    (void)hear(worker, out);
    tell(f, worker, BYTES("\x92\x10\x09"));
    assert_int_equal(hear(worker, out), 5);
    close(worker);
    close_node(f);
    drop_place(&p);
}

static void the_nodes_own_socket_is_nothing_new(void **state)
{
    (void)state;
    struct fixture *f = open_node();
    struct place p = {{0}, {0}, {0}};
    struct node_socket own;
    struct err_text why;
    struct stat st;
    int fd = -1;
    char alias[128];
    make_place(&p);
    snprintf(alias, sizeof(alias), "%s/./a.sock", p.inner);
    assert_int_equal(node_socket_listen_by_default(&own, &fd, p.path, &why), ERR_OK);
    assert_int_equal(node_listen(f->node, fd), ERR_OK);
    const int worker = attach(f);
    tell(f, worker, BYTES(GREETING));
    tell_to_listen(f, worker, p.path);
    tell_to_listen(f, worker, alias);
    close(connect_to(f, p.path));
    close(worker);
    node_close(f->node, on_closed, f);
    assert_int_equal(stat(p.path, &st), 0); /* it is not the node's to take away */
    node_socket_unlink(&own);
    loop_run(&f->loop);
    loop_deinit(&f->loop);
    free(f);
    drop_place(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_node_can_end_at_once),
        cmocka_unit_test(a_node_needs_settings_that_are_right),
        cmocka_unit_test(records_may_come_one_byte_at_a_time),
        cmocka_unit_test(a_node_that_ends_cuts_peers_in_any_state),
        cmocka_unit_test(a_peer_may_go_before_its_send_is_answered),
        cmocka_unit_test(a_record_without_memory_costs_its_peer_only),
        cmocka_unit_test(a_layer_that_nobody_uses_closes_after_a_while),
        cmocka_unit_test(peers_come_by_the_path_that_a_worker_names),
        cmocka_unit_test(a_process_that_is_no_worker_names_no_paths),
        cmocka_unit_test(a_second_node_takes_the_path_when_the_first_has_ended),
        cmocka_unit_test(a_workers_bad_paths_cost_nobody_anything),
        cmocka_unit_test(the_nodes_own_socket_is_nothing_new),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
