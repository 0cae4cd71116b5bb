/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Paths in a folder of the test's own.
 */
#include "channel_layer/node/node_socket.h"

#include "tests/support/unit.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

struct place {
    char folder[64];
    char path[96]; /* in a folder that is not there yet */
    char inner[80];
};

static int make_place(void **state)
{
    struct place *p = calloc(1, sizeof(*p));
    assert_non_null(p);
    memcpy(p->folder, "/tmp/node_socket.XXXXXX", 24);
    assert_non_null(mkdtemp(p->folder));
    snprintf(p->inner, sizeof(p->inner), "%s/in", p->folder);
    snprintf(p->path, sizeof(p->path), "%s/a.sock", p->inner);
    *state = p;
    return 0;
}

static int drop_place(void **state)
{
    struct place *p = *state;
    (void)unlink(p->path);
    (void)rmdir(p->inner);
    (void)unlink(p->inner); /* where it is a link */
    const int rc = rmdir(p->folder);
    free(p);
    return rc;
}

static unsigned mode_of(const char *path)
{
    struct stat st;
    assert_int_equal(lstat(path, &st), 0);
    return (unsigned)st.st_mode & 07777U;
}

static bool is_there(const char *path)
{
    struct stat st;
    return lstat(path, &st) == 0;
}

static int listen_at(struct node_socket *s, const char *path)
{
    struct err_text why;
    int fd = -1;
    if (node_socket_listen_by_default(s, &fd, path, &why) != ERR_OK)
        fail_msg("%s", why.text);
    assert_true(fd >= 0);
    return fd;
}

static void expect_refusal(const char *path, enum err want, const char *said)
{
    struct node_socket s;
    struct err_text why = {.code = ERR_OK};
    int fd = -1;
    assert_int_equal(node_socket_listen_by_default(&s, &fd, path, &why), want);
    assert_int_equal(fd, -1);
    if (strstr(why.text, said) == NULL || (strlen(path) < 100 && strstr(why.text, "/in") == NULL))
        fail_msg("it says: %s", why.text);
}

static int connect_to(const char *path)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    memcpy(addr.sun_path, path, strlen(path));
    const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
    return fd;
}

static void a_path_is_its_users_alone_whatever_the_mask(void **state)
{
    const struct place *p = *state;
    struct node_socket s;
    const mode_t mask = umask(0);
    const int fd = listen_at(&s, p->path);
    umask(mask);
    assert_int_equal(mode_of(p->path), 0600);
    assert_int_equal(mode_of(p->inner), 0700);
    assert_string_equal(s.path, p->path);
    close(connect_to(p->path)); /* it listens already */
    node_socket_unlink(&s);
    close(fd);
    assert_false(is_there(p->path));
}

static void what_a_dead_node_left_is_replaced(void **state)
{
    const struct place *p = *state;
    struct node_socket s;
    close(listen_at(&s, p->path));
    assert_true(is_there(p->path));
    const int fd = listen_at(&s, p->path);
    close(connect_to(p->path));
    node_socket_unlink(&s);
    close(fd);
}

static void a_live_node_is_left_alone_and_named(void **state)
{
    const struct place *p = *state;
    struct node_socket s;
    struct node_socket second;
    struct err_text why;
    int fd = -1;
    const int first = listen_at(&s, p->path);
    assert_int_equal(node_socket_listen_by_default(&second, &fd, p->path, &why), ERR_ADDR_IN_USE);
    assert_int_equal(second.holder, getpid());
    assert_non_null(strstr(why.text, "another process listens on"));
    close(connect_to(p->path));
    node_socket_unlink(&s);
    close(first);
}

static void only_its_own_socket_is_taken_away(void **state)
{
    const struct place *p = *state;
    struct node_socket a;
    struct node_socket b;
    const int first = listen_at(&a, p->path);
    assert_int_equal(unlink(p->path), 0);
    const int second = listen_at(&b, p->path);
    node_socket_unlink(&a);
    assert_true(is_there(p->path));
    node_socket_unlink(&b);
    assert_false(is_there(p->path));
    node_socket_unlink(&b); /* again does nothing */
    close(first);
    close(second);
}

static void what_is_no_socket_stays(void **state)
{
    const struct place *p = *state;
    assert_int_equal(mkdir(p->inner, 0700), 0);
    FILE *file = fopen(p->path, "w");
    assert_non_null(file);
    fclose(file);
    expect_refusal(p->path, ERR_ADDR_IN_USE, "is no socket");
    assert_true(is_there(p->path));
    assert_int_equal(unlink(p->path), 0);
    assert_int_equal(symlink("/nonexistent/elsewhere", p->path), 0);
    expect_refusal(p->path, ERR_ADDR_IN_USE, "is no socket");
}

static void a_folder_that_others_can_write_to_is_not_used(void **state)
{
    const struct place *p = *state;
    static const mode_t modes[] = {0720, 0702, 01777};
    assert_int_equal(mkdir(p->inner, 0700), 0);
    for (size_t i = 0; i < UNIT_ROWS(modes); i++) {
        assert_int_equal(chmod(p->inner, modes[i]), 0);
        expect_refusal(p->path, ERR_ACCESS, "can be written by, another user");
    }
    assert_int_equal(chmod(p->inner, 0755), 0); /* others may see it */
    struct node_socket s;
    const int fd = listen_at(&s, p->path);
    node_socket_unlink(&s);
    close(fd);
}

static void a_folder_of_another_user_is_not_used(void **state)
{
    const struct place *p = *state;
    if (geteuid() != 0)
        skip(); /* only root can make one */
    assert_int_equal(mkdir(p->inner, 0700), 0);
    assert_int_equal(chown(p->inner, 4321, 4321), 0);
    expect_refusal(p->path, ERR_ACCESS, "another user");
    assert_int_equal(rmdir(p->inner), 0);
    /* Nor by a link that is another's. */
    assert_int_equal(symlink(".", p->inner), 0);
    assert_int_equal(lchown(p->inner, 4321, 4321), 0);
    expect_refusal(p->path, ERR_ACCESS, "another user");
}

static void a_folder_that_is_none_or_cannot_be_made_is_told(void **state)
{
    const struct place *p = *state;
    FILE *file = fopen(p->inner, "w");
    assert_non_null(file);
    fclose(file);
    expect_refusal(p->path, ERR_NOT_FOUND, "Couldn't open the folder");
    expect_refusal("/nonexistent/in/a.sock", ERR_NOT_FOUND, "Couldn't make the folder");
}

static void paths_that_cannot_be_are_refused(void **state)
{
    (void)state;
    struct node_socket s;
    struct err_text why;
    int fd = -1;
    char longest[NODE_SOCKET_PATH_MAX + 2];
    memset(longest, 'x', sizeof(longest) - 1);
    longest[0] = longest[5] = '/';
    longest[sizeof(longest) - 1] = '\0';
    const char *paths[] = {"", "a.sock", "in/a.sock", "/a.sock", longest};
    for (size_t i = 0; i < UNIT_ROWS(paths); i++) {
        assert_int_equal(node_socket_listen_by_default(&s, &fd, paths[i], &why), ERR_INVALID);
        assert_non_null(strstr(why.text, "107"));
    }
    assert_int_equal(node_socket_listen(&s, &fd, longest, &why), ERR_INVALID);
    assert_int_equal(fd, -1);
}

static void a_folder_whose_lock_is_held_is_not_waited_for_long(void **state)
{
    const struct place *p = *state;
    assert_int_equal(mkdir(p->inner, 0700), 0);
    FILE *folder = fopen(p->inner, "r");
    assert_non_null(folder);
    assert_int_equal(flock(fileno(folder), LOCK_EX), 0);
    expect_refusal(p->path, ERR_AGAIN, "lock");
    fclose(folder);
    struct node_socket s;
    const int fd = listen_at(&s, p->path);
    node_socket_unlink(&s);
    close(fd);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, make_place, drop_place)
    const struct CMUnitTest tests[] = {
        TEST(a_path_is_its_users_alone_whatever_the_mask),
        TEST(what_a_dead_node_left_is_replaced),
        TEST(a_live_node_is_left_alone_and_named),
        TEST(only_its_own_socket_is_taken_away),
        TEST(what_is_no_socket_stays),
        TEST(a_folder_that_others_can_write_to_is_not_used),
        TEST(a_folder_of_another_user_is_not_used),
        TEST(a_folder_that_is_none_or_cannot_be_made_is_told),
        TEST(paths_that_cannot_be_are_refused),
        TEST(a_folder_whose_lock_is_held_is_not_waited_for_long),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
