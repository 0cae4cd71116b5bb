/* SPDX-License-Identifier: BSD-3-Clause
 *
 * What could go wrong when two nodes want one path, and why it does not: bind() itself lets only
 * one of them make it. Only taking away what a dead node left is a step of its own; where nobody
 * but us can write, it is done under a lock of the folder, which is held until we listen, so that
 * no one takes a socket that is about to listen for a dead one.
 */
#include "channel_layer/node/node_socket.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

enum {
    BACKLOG = 1024,
    LOCK_TRIES = 50, /* others hold it for a few system calls */
    LOCK_PAUSE_MS = 2,
};

_Static_assert(sizeof(((struct sockaddr_un *)0)->sun_path) == NODE_SOCKET_PATH_MAX + 1,
               "the kernel's ceiling");

static enum err fail(struct err_text *why, const char *path, int errnum)
{
    return err_fail(why, err_from_errno(errnum), "Couldn't listen on %s: %s", path,
                    strerror(errnum));
}

static int open_socket(void)
{
    return socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
}

/* ---- what is there already ---- */

static pid_t listener_of(int fd)
{
    struct ucred peer = {.pid = 0};
    socklen_t len = sizeof(peer);
    return getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) == 0 ? peer.pid : 0;
}

/* Makes way where a socket is left over from a process that is gone. */
static enum err clear_path(const struct sockaddr_un *addr, pid_t *holder, struct err_text *why)
{
    struct stat st;
    if (lstat(addr->sun_path, &st) != 0)
        return errno == ENOENT ? ERR_OK : fail(why, addr->sun_path, errno);
    if (!S_ISSOCK(st.st_mode))
        return err_fail(why, ERR_ADDR_IN_USE,
                        "%s is there already, and is no socket: remove it, or name another path",
                        addr->sun_path);
    const int fd = open_socket();
    if (fd < 0)
        return fail(why, addr->sun_path, errno);
    const int rc = connect(fd, (const struct sockaddr *)addr, sizeof(*addr));
    const int errnum = rc == 0 ? 0 : errno;
    if (rc == 0)
        *holder = listener_of(fd);
    close(fd);
    if (errnum == ECONNREFUSED)
        return unlink(addr->sun_path) == 0 || errno == ENOENT ? ERR_OK
                                                              : fail(why, addr->sun_path, errno);
    if (errnum == ENOENT)
        return ERR_OK;
    if (errnum == EACCES || errnum == EPERM)
        return fail(why, addr->sun_path, errnum);
    if (*holder == 0) /* it does not keep up with those who connect */
        return err_fail(why, ERR_ADDR_IN_USE,
                        "another process listens on %s: end it, or name another path",
                        addr->sun_path);
    return err_fail(why, ERR_ADDR_IN_USE,
                    "another process listens on %s (pid %ld): end it, or name another path",
                    addr->sun_path, (long)*holder);
}

/* ---- making it ---- */

/* The socket's own mode is that of its path, so that it is never open to others; chmod() would come
 * too late, and umask() is for all threads. */
static enum err bind_private(struct node_socket *out, int fd, const struct sockaddr_un *addr,
                             struct err_text *why)
{
    struct stat st;
    if (fchmod(fd, S_IRUSR | S_IWUSR) != 0 ||
        bind(fd, (const struct sockaddr *)addr, sizeof(*addr)) != 0 ||
        lstat(addr->sun_path, &st) != 0)
        return fail(why, addr->sun_path, errno);
    memcpy(out->path, addr->sun_path, sizeof(out->path));
    out->dev = st.st_dev;
    out->ino = st.st_ino;
    if ((st.st_mode & (S_IRWXG | S_IRWXO)) != 0) {
        node_socket_unlink(out);
        return err_fail(why, ERR_ACCESS,
                        "Couldn't listen on %s: this file system makes sockets that are open to "
                        "other users: name another path",
                        addr->sun_path);
    }
    if (listen(fd, BACKLOG) == 0)
        return ERR_OK;
    const int errnum = errno;
    node_socket_unlink(out);
    return fail(why, addr->sun_path, errnum);
}

enum err node_socket_listen(struct node_socket *out, int *fd, const char *path,
                            struct err_text *why)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    const size_t len = strlen(path);
    *out = (struct node_socket){.holder = 0};
    if (len == 0 || len > NODE_SOCKET_PATH_MAX)
        return err_fail(why, ERR_INVALID, "%.200s: a unix socket's path has 1 to %d bytes", path,
                        NODE_SOCKET_PATH_MAX);
    memcpy(addr.sun_path, path, len + 1);
    enum err err = clear_path(&addr, &out->holder, why);
    if (err != ERR_OK)
        return err;
    const int sock = open_socket();
    if (sock < 0)
        return fail(why, path, errno);
    err = bind_private(out, sock, &addr, why);
    if (err != ERR_OK) {
        close(sock);
        return err;
    }
    *fd = sock;
    return ERR_OK;
}

bool node_socket_is_gone(const struct node_socket *socket)
{
    struct stat st;
    if (lstat(socket->path, &st) != 0)
        return errno == ENOENT || errno == ENOTDIR;
    return st.st_dev != socket->dev || st.st_ino != socket->ino;
}

void node_socket_unlink(const struct node_socket *socket)
{
    struct stat st;
    if (lstat(socket->path, &st) == 0 && S_ISSOCK(st.st_mode) && st.st_dev == socket->dev &&
        st.st_ino == socket->ino)
        (void)unlink(socket->path); /* gone already is as well */
}

/* ---- its folder ---- */

static bool is_trusted(uid_t uid)
{
    return uid == 0 || uid == geteuid();
}

/* A link counts as what it leads to when it is ours or root's, too. */
static enum err open_folder(int *fd, const char *folder, struct err_text *why)
{
    struct stat at_name;
    struct stat st;
    if (mkdir(folder, S_IRWXU) != 0 && errno != EEXIST)
        return err_fail(why, err_from_errno(errno), "Couldn't make the folder %s: %s", folder,
                        strerror(errno));
    const int opened = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (opened < 0 || fstat(opened, &st) != 0 || lstat(folder, &at_name) != 0) {
        const int errnum = errno;
        if (opened >= 0)
            close(opened);
        return err_fail(why, err_from_errno(errnum), "Couldn't open the folder %s: %s", folder,
                        strerror(errnum));
    }
    if (!is_trusted(at_name.st_uid) || !is_trusted(st.st_uid) ||
        (st.st_mode & (S_IWGRP | S_IWOTH)) != 0) {
        close(opened);
        return err_fail(why, ERR_ACCESS,
                        "the folder %s belongs to, or can be written by, another user", folder);
    }
    *fd = opened;
    return ERR_OK;
}

static enum err lock_folder(int fd, const char *folder, struct err_text *why)
{
    for (unsigned i = 0; flock(fd, LOCK_EX | LOCK_NB) != 0; i++) {
        if (errno != EWOULDBLOCK && errno != EINTR)
            return err_fail(why, err_from_errno(errno), "Couldn't lock the folder %s: %s", folder,
                            strerror(errno));
        if (i == LOCK_TRIES)
            return err_fail(why, ERR_AGAIN, "another process holds a lock of the folder %s",
                            folder);
        (void)poll(NULL, 0, LOCK_PAUSE_MS);
    }
    return ERR_OK;
}

enum err node_socket_listen_by_default(struct node_socket *out, int *fd, const char *path,
                                       struct err_text *why)
{
    char folder[NODE_SOCKET_PATH_MAX + 1];
    const char *slash = strrchr(path, '/');
    int folder_fd = -1;
    *out = (struct node_socket){.holder = 0};
    if (path[0] != '/' || slash == path || strlen(path) > NODE_SOCKET_PATH_MAX)
        return err_fail(why, ERR_INVALID,
                        "%.200s: expected an absolute path with a folder, of at most %d bytes",
                        path, NODE_SOCKET_PATH_MAX);
    memcpy(folder, path, (size_t)(slash - path));
    folder[slash - path] = '\0';
    enum err err = open_folder(&folder_fd, folder, why);
    if (err != ERR_OK)
        return err;
    err = lock_folder(folder_fd, folder, why);
    if (err == ERR_OK)
        err = node_socket_listen(out, fd, path, why);
    close(folder_fd); /* and the lock with it */
    return err;
}
