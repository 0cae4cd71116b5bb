/* SPDX-License-Identifier: BSD-3-Clause
 *
 * replay_main: the main() of a fuzz target where libFuzzer is not linked. It feeds the target the
 * empty input and every file of the folders (or the files) on the command line.
 *
 * Why: what fuzzing once found must stay mended on every compiler, not only where clang is.
 */
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "tests/support/fuzz.h"

enum { PATH_BYTES = 4096 };

static unsigned long replayed;

static void fail(const char *path, const char *what)
{
    fprintf(stderr, "%s: %s: %s\n", path, what, strerror(errno));
    exit(2);
}

/* The bytes go into a block of exactly their size, so that a read past the end is seen. */
static void replay_file(const char *path, size_t size)
{
    FILE *file = fopen(path, "rb");
    if (file == NULL)
        fail(path, "open");
    uint8_t *data = malloc(size > 0 ? size : 1);
    if (data == NULL)
        fail(path, "malloc");
    if (fread(data, 1, size, file) != size)
        fail(path, "read");
    fclose(file);
    fprintf(stderr, "%s\n", path); /* the last line before a crash names the input */
    LLVMFuzzerTestOneInput(data, size);
    free(data);
    replayed++;
}

static void replay_path(const char *path)
{
    struct stat info;
    if (stat(path, &info) != 0)
        fail(path, "stat");
    if (!S_ISDIR(info.st_mode)) {
        replay_file(path, (size_t)info.st_size);
        return;
    }
    DIR *folder = opendir(path);
    if (folder == NULL)
        fail(path, "opendir");
    for (const struct dirent *entry = readdir(folder); entry != NULL; entry = readdir(folder)) {
        char inner[PATH_BYTES];
        if (entry->d_name[0] == '.')
            continue;
        if (snprintf(inner, sizeof(inner), "%s/%s", path, entry->d_name) >= (int)sizeof(inner)) {
            errno = ENAMETOOLONG;
            fail(path, entry->d_name);
        }
        replay_path(inner);
    }
    closedir(folder);
}

int main(int argc, char **argv)
{
    const uint8_t none = 0;
    LLVMFuzzerTestOneInput(&none, 0);
    for (int i = 1; i < argc; i++)
        replay_path(argv[i]);
    printf("%lu inputs replayed\n", replayed);
    return 0;
}
