/* SPDX-License-Identifier: BSD-3-Clause
 *
 * What a node does about peers that take places, and about a path that somebody takes away. The
 * clock is the tests': deadlines come when they say so.
 */
#include "channel_layer/node/node.h"
#include "channel_layer/node/node_listeners.h"
#include "channel_layer/node/node_socket.h"
#include "channel_layer/node/peer.h"

#include "tests/support/unit.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define GREETING           \
    "\x94\x00\x01\x05\xa6" \
    "client"

enum { FEW_FILES = 64, FOLDER_MAX = 64, PATH_MAX_LEN = 96 };

struct fixture {
    struct loop loop;
    struct node *node;
    int worker;
    char folder[FOLDER_MAX];
    char path[PATH_MAX_LEN];
    struct rlimit files; /* as it was */
    unsigned closed;
};

static void on_closed(void *ctx)
{
    struct fixture *f = ctx;
    f->closed++;
    loop_close_handles(&f->loop);
}

static void turn(struct fixture *f, unsigned turns)
{
    for (unsigned i = 0; i < turns; i++)
        uv_run(&f->loop.uv, UV_RUN_NOWAIT);
}

static void tell(struct fixture *f, int fd, const char *bytes, size_t len)
{
    assert_int_equal(send(fd, bytes, len, MSG_NOSIGNAL), len);
    turn(f, 3);
}

static void greet(struct fixture *f, int fd)
{
    tell(f, fd, GREETING, sizeof(GREETING) - 1);
}

static int attach(struct fixture *f)
{
    int fds[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds), 0);
    node_attach(f->node, fds[0], "test");
    return fds[1];
}

static int connect_to(struct fixture *f)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    memcpy(addr.sun_path, f->path, strlen(f->path));
    const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    if (connect(fd, (struct sockaddr *)&addr, sizeof(addr)) != 0) {
        close(fd);
        return -1;
    }
    turn(f, 3);
    return fd;
}

static bool is_cut(int fd)
{
    uint8_t out[4096];
    for (;;) {
        const ssize_t got = recv(fd, out, sizeof(out), 0);
        if (got <= 0)
            return got == 0 || errno != EAGAIN;
    }
}

/* A node that listens where its worker said. */
static struct fixture *open_node(void)
{
    struct fixture *f = calloc(1, sizeof(*f));
    struct err_text why;
    char record[PATH_MAX_LEN + 4] = "\x92\x13\xd9";
    assert_non_null(f);
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &f->files), 0);
    const struct rlimit few = {.rlim_cur = FEW_FILES, .rlim_max = f->files.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &few), 0);
    snprintf(f->folder, sizeof(f->folder), "/tmp/test_node_limits_XXXXXX");
    assert_non_null(mkdtemp(f->folder));
    snprintf(f->path, sizeof(f->path), "%s/inner/a.sock", f->folder);
    assert_int_equal(loop_open(&f->loop, 0, f), ERR_OK);
    assert_int_equal(node_open(&f->node, &f->loop, (struct slice){0}, &why), ERR_OK);
    f->worker = attach(f);
    greet(f, f->worker);
    const size_t len = strlen(f->path);
    record[3] = (char)len;
    memcpy(record + 4, f->path, len);
    tell(f, f->worker, record, 4 + len);
    return f;
}

static void drop_folder(struct fixture *f)
{
    char inner[PATH_MAX_LEN];
    snprintf(inner, sizeof(inner), "%s/inner", f->folder);
    assert_int_equal(rmdir(inner), 0); /* it is empty */
    assert_int_equal(rmdir(f->folder), 0);
}

static void close_node(struct fixture *f)
{
    node_close(f->node, on_closed, f);
    loop_run(&f->loop);
    assert_int_equal(f->closed, 1);
    loop_deinit(&f->loop); /* asserts that no handle is left */
    close(f->worker);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &f->files), 0);
    drop_folder(f);
    free(f);
}

/* ---- places ---- */

static void the_limit_of_peers_follows_the_limit_on_descriptors(void **state)
{
    (void)state;
    static const struct {
        rlim_t files;
        unsigned peers;
    } rows[] = {
        {16, NODE_PEERS_MIN}, {64, 8}, {68, 9}, {1024, 248}, {16415, 4095}, {16416, NODE_PEERS_MAX},
    };
    struct rlimit was;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &was), 0);
    for (size_t i = 0; i < UNIT_ROWS(rows); i++) {
        const struct rlimit limit = {.rlim_cur = rows[i].files, .rlim_max = was.rlim_max};
        if (rows[i].files > was.rlim_max)
            continue; /* not ours to have */
        assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
        assert_int_equal(node_peers_max(), rows[i].peers);
    }
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &was), 0);
}

static void one_peer_too_many_is_closed_and_the_next_has_the_place_of_one_that_went(void **state)
{
    (void)state;
    struct fixture *f = open_node();
    int fds[NODE_PEERS_MIN];
    const int second_worker = attach(f); /* takes no place */
    for (unsigned i = 0; i < NODE_PEERS_MIN; i++) {
        fds[i] = connect_to(f);
        greet(f, fds[i]);
    }
    const int refused = connect_to(f);
    assert_true(is_cut(refused));
    const int third_worker = attach(f);
    turn(f, 3);
    for (unsigned i = 0; i < NODE_PEERS_MIN; i++)
        assert_false(is_cut(fds[i]));
    close(fds[0]);
    turn(f, 3);
    fds[0] = connect_to(f);
    greet(f, fds[0]);
    assert_false(is_cut(fds[0]));
    assert_false(is_cut(second_worker));
    assert_false(is_cut(third_worker));
    for (unsigned i = 0; i < NODE_PEERS_MIN; i++)
        close(fds[i]);
    close(refused);
    close(second_worker);
    close(third_worker);
    close_node(f);
}

static void who_does_not_say_hello_is_closed_in_time(void **state)
{
    (void)state;
    struct fixture *f = open_node();
    const int silent_worker = attach(f);
    const int silent = connect_to(f);
    const int half = connect_to(f);
    const int greeted = connect_to(f);
    tell(f, half, GREETING, sizeof(GREETING) - 2);
    greet(f, greeted);
    const uint64_t now_ms = loop_now_ms(&f->loop);
    wheel_advance(&f->loop.wheel, now_ms + PEER_GREETING_MS / 2);
    turn(f, 3);
    assert_false(is_cut(silent));
    assert_false(is_cut(half));
    wheel_advance(&f->loop.wheel, now_ms + PEER_GREETING_MS + WHEEL_TICK_MS);
    turn(f, 3);
    assert_true(is_cut(silent));
    assert_true(is_cut(half));
    assert_false(is_cut(greeted));
    assert_false(is_cut(silent_worker));
    close(silent);
    close(half);
    close(greeted);
    close(silent_worker);
    close_node(f);
}

/* ---- the path ---- */

static void fire_when_it_looks_at_paths(uv_handle_t *handle, void *ctx)
{
    unsigned *count = ctx;
    uv_timer_t *timer = (uv_timer_t *)handle;
    if (handle->type != UV_TIMER || uv_timer_get_repeat(timer) != NODE_RETRY_MS)
        return;
    assert_true(uv_is_active(handle));
    timer->timer_cb(timer);
    ++*count;
}

/* As if NODE_RETRY_MS had passed. */
static void hurry(struct fixture *f)
{
    unsigned count = 0;
    uv_walk(&f->loop.uv, fire_when_it_looks_at_paths, &count);
    assert_int_equal(count, 1);
    turn(f, 3);
}

static void a_path_that_is_taken_away_is_made_again(void **state)
{
    (void)state;
    struct fixture *f = open_node();
    const int before = connect_to(f);
    greet(f, before);
    for (unsigned i = 0; i < 2; i++) {
        assert_int_equal(unlink(f->path), 0);
        if (i == 1) { /* as a logout does */
            char inner[PATH_MAX_LEN];
            snprintf(inner, sizeof(inner), "%s/inner", f->folder);
            assert_int_equal(rmdir(inner), 0);
        }
        assert_int_equal(connect_to(f), -1);
        hurry(f);
        const int after = connect_to(f);
        assert_true(after >= 0);
        greet(f, after);
        assert_false(is_cut(after));
        close(after);
    }
    assert_false(is_cut(before));
    close(before);
    close_node(f);
}

static void a_path_that_is_there_is_left_as_it_is(void **state)
{
    (void)state;
    struct fixture *f = open_node();
    struct stat was;
    struct stat is;
    assert_int_equal(lstat(f->path, &was), 0);
    hurry(f);
    assert_int_equal(lstat(f->path, &is), 0);
    assert_true(was.st_ino == is.st_ino);
    close_node(f);
}

static void what_somebody_else_put_there_stays_and_the_node_waits(void **state)
{
    (void)state;
    struct fixture *f = open_node();
    assert_int_equal(unlink(f->path), 0);
    FILE *file = fopen(f->path, "w");
    assert_non_null(file);
    assert_int_equal(fclose(file), 0);
    struct stat st;
    hurry(f);
    assert_int_equal(lstat(f->path, &st), 0);
    assert_true(S_ISREG(st.st_mode));
    assert_int_equal(unlink(f->path), 0);
    hurry(f);
    const int client = connect_to(f);
    assert_true(client >= 0);
    close(client);
    close_node(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_limit_of_peers_follows_the_limit_on_descriptors),
        cmocka_unit_test(one_peer_too_many_is_closed_and_the_next_has_the_place_of_one_that_went),
        cmocka_unit_test(who_does_not_say_hello_is_closed_in_time),
        cmocka_unit_test(a_path_that_is_taken_away_is_made_again),
        cmocka_unit_test(a_path_that_is_there_is_left_as_it_is),
        cmocka_unit_test(what_somebody_else_put_there_stays_and_the_node_waits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
