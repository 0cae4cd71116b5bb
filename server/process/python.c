/* SPDX-License-Identifier: BSD-3-Clause */
#include "server/process/python.h"

#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/mem.h"

static bool is_executable(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 && S_ISREG(st.st_mode) && access(path, X_OK) == 0;
}

/* "@dir/@name" when that can be executed. */
static char *in_dir(const char *dir, size_t dir_len, const char *name)
{
    char path[PATH_MAX];
    const int len = snprintf(path, sizeof(path), "%.*s/%s", (int)dir_len, dir, name);
    if (len < 0 || len >= (int)sizeof(path) || !is_executable(path))
        return NULL;
    return mem_copy_str(path, (size_t)len);
}

static char *on_path(const char *name)
{
    const char *path = getenv("PATH");
    while (path != NULL && *path != '\0') {
        const size_t len = strcspn(path, ":");
        char *found = in_dir(len == 0 ? "." : path, len == 0 ? 1 : len, name);
        if (found != NULL)
            return found;
        path += path[len] == ':' ? len + 1 : len;
    }
    return NULL;
}

/* The folder of this program; false when the system does not tell. */
static bool own_dir(char *out, size_t size)
{
    const ssize_t len = readlink("/proc/self/exe", out, size - 1);
    if (len <= 0)
        return false;
    out[len] = '\0';
    char *slash = strrchr(out, '/');
    if (slash == NULL)
        return false;
    *slash = '\0';
    return true;
}

/* Beside the program when it was installed as a package of the system or runs from its build
 * folder; a virtual environment has the package among its own. */
static char *find_package_dir(const char *dir)
{
    static const char *const places[] = {"../share/channelsd/python", "../../python"};
    for (size_t i = 0; dir != NULL && i < sizeof(places) / sizeof(places[0]); i++) {
        char path[PATH_MAX];
        char real[PATH_MAX];
        struct stat st;
        const int len = snprintf(path, sizeof(path), "%s/%s/channelsd/worker.py", dir, places[i]);
        if (len < 0 || len >= (int)sizeof(path) || stat(path, &st) != 0)
            continue;
        snprintf(path, sizeof(path), "%s/%s", dir, places[i]);
        if (realpath(path, real) != NULL)
            return mem_copy_str(real, strlen(real));
    }
    return mem_copy_str("", 0);
}

static char *find_wanted(const char *wanted)
{
    if (strchr(wanted, '/') == NULL)
        return on_path(wanted);
    return is_executable(wanted) ? mem_copy_str(wanted, strlen(wanted)) : NULL;
}

enum err python_find(struct python *out, const char *wanted, struct err_text *why)
{
    char dir[PATH_MAX];
    const char *program_dir = own_dir(dir, sizeof(dir)) ? dir : NULL;
    const char *venv = getenv("VIRTUAL_ENV");
    *out = (struct python){0};
    if (wanted != NULL) {
        out->interpreter = find_wanted(wanted);
        out->origin = "--python";
        if (out->interpreter == NULL)
            return err_fail(why, ERR_NOT_FOUND, "--python %s: no such program that can be executed",
                            wanted);
    }
    if (out->interpreter == NULL && venv != NULL && venv[0] != '\0') {
        out->interpreter = in_dir(venv, strlen(venv), "bin/python");
        out->origin = "VIRTUAL_ENV";
    }
    if (out->interpreter == NULL && program_dir != NULL) {
        out->interpreter = in_dir(program_dir, strlen(program_dir), "python3");
        out->origin = "beside channelsd";
    }
    if (out->interpreter == NULL) {
        out->interpreter = on_path("python3");
        out->origin = "PATH";
    }
    if (out->interpreter == NULL)
        return err_fail(why, ERR_NOT_FOUND,
                        "no python3 found (VIRTUAL_ENV, the folder of channelsd, PATH); name one "
                        "with --python");
    out->package_dir = find_package_dir(program_dir);
    return ERR_OK;
}

void python_deinit(struct python *python)
{
    mem_free(python->interpreter);
    mem_free(python->package_dir);
    *python = (struct python){0};
}
