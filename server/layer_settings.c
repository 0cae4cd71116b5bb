/* SPDX-License-Identifier: BSD-3-Clause */
#include "server/layer_settings.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "channel_layer/config/config.h"
#include "core/buf.h"
#include "core/mem.h"

enum { CHUNK_BYTES = 4096, SHOWN = 200 };

static enum err read_all(struct buf *out, FILE *file)
{
    char chunk[CHUNK_BYTES];
    enum err err = ERR_OK;
    size_t len = 0;
    while (err == ERR_OK && (len = fread(chunk, 1, sizeof(chunk), file)) > 0)
        err = buf_append(out, chunk, len);
    return err == ERR_OK && ferror(file) != 0 ? err_from_errno(errno) : err;
}

static enum err read_file(struct buf *out, const char *path, struct err_text *why)
{
    FILE *file = fopen(path, "re");
    if (file == NULL)
        return err_fail(why, err_from_errno(errno), "%.*s: %s (settings themselves begin with '{')",
                        SHOWN, path, strerror(errno));
    errno = 0;
    const enum err err = read_all(out, file);
    const int errnum = errno;
    fclose(file);
    if (err == ERR_TOO_BIG)
        return err_fail(why, err, "%.*s: more than %d bytes", SHOWN, path, LAYER_SETTINGS_MAX);
    if (err != ERR_OK)
        return err_fail(why, err, "%.*s: %s", SHOWN, path,
                        errnum != 0 ? strerror(errnum) : err_str(err));
    return ERR_OK;
}

static enum err check(struct slice json, struct err_text *why)
{
    struct layer_config *config = NULL;
    if (json.len > 0 && memchr(json.ptr, '\0', json.len) != NULL)
        return err_fail(why, ERR_INVALID, "a byte 0 is in it");
    const enum err err = layer_config_parse(&config, json, why);
    if (err == ERR_OK)
        layer_config_free(config);
    return err;
}

enum err layer_settings_load(char **json, const char *value, struct err_text *why)
{
    struct buf text;
    struct err_text inner = {.code = ERR_OK};
    buf_init(&text, LAYER_SETTINGS_MAX);
    const bool is_json = value[0] == '{';
    enum err err = is_json ? buf_append(&text, value, strlen(value)) : read_file(&text, value, why);
    if (err != ERR_OK) {
        buf_deinit(&text);
        return is_json ? err_fail(why, err, "%s", err_str(err)) : err;
    }
    err = check(buf_slice(&text), &inner);
    if (err == ERR_OK)
        *json = mem_copy_str(text.ptr, text.len);
    else if (is_json)
        err_fail(why, err, "%s", inner.text);
    else
        err_fail(why, err, "%.*s: %.300s", SHOWN, value, inner.text);
    buf_deinit(&text);
    return err;
}
