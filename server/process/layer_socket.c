/* SPDX-License-Identifier: BSD-3-Clause */
#include "server/process/layer_socket.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static const char general[] = "layer.sock";

static bool is_folder(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

/* The first of docs/layer.md that is for us; the Python package has the same rule. */
static int write_default(char *out, size_t size)
{
    const char *runtime = getenv("XDG_RUNTIME_DIR");
    if (runtime != NULL && runtime[0] == '/')
        return snprintf(out, size, "%s/channelsd/%s", runtime, general);
    if (access(is_folder("/run/channelsd") ? "/run/channelsd" : "/run", W_OK) == 0)
        return snprintf(out, size, "/run/channelsd/%s", general);
    return snprintf(out, size, "/tmp/channelsd-%ld/%s", (long)getuid(), general);
}

static enum err listen_by_default(struct node_socket *out, int *fd, struct err_text *why)
{
    char path[NODE_SOCKET_PATH_MAX + 2]; /* one more, so that one that is too long is seen */
    if (write_default(path, sizeof(path)) > NODE_SOCKET_PATH_MAX)
        return err_fail(why, ERR_INVALID, "%s...: a unix socket's path has at most %d bytes", path,
                        NODE_SOCKET_PATH_MAX);
    return node_socket_listen_by_default(out, fd, path, why);
}

enum err layer_socket_listen(struct node_socket *out, int *fd, const char *path,
                             struct err_text *why)
{
    struct err_text inner = {.code = ERR_OK};
    const enum err err = path != NULL ? node_socket_listen(out, fd, path, &inner)
                                      : listen_by_default(out, fd, &inner);
    if (err == ERR_OK)
        return ERR_OK;
    return err_fail(why, err, "%s: %.400s", path != NULL ? "--layer-socket" : "default socket",
                    inner.text);
}
