/* SPDX-License-Identifier: BSD-3-Clause
 *
 * config_url: the URL of a Redis server taken apart: redis://, rediss:// and unix://.
 *
 * Why: the URLs in people's settings were written for redis-py, which reads them with Python's
 * urlparse() and parse_qs(); what those make of a URL is what is meant by it.
 *
 * How they read: blanks in front and tabs and newlines anywhere are dropped, the scheme is taken in
 * any case, the host in lower case; user, password, host, path and arguments are percent-decoded
 * ('+' is a blank in arguments only); of an argument that comes twice the first counts, one without
 * a value does not count; port 0 is the default; # begins what nobody reads.
 *
 * Thread: any.
 */
#ifndef CHANNEL_LAYER_CONFIG_CONFIG_URL_H
#define CHANNEL_LAYER_CONFIG_CONFIG_URL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/err.h"
#include "core/slice.h"

enum config_scheme { CONFIG_REDIS, CONFIG_REDISS, CONFIG_UNIX };

enum { CONFIG_URL_MAX = 8192, CONFIG_URL_ARGS_MAX = 64 };

struct config_argument {
    struct slice name;
    struct slice value; /* not empty */
};

struct config_url {
    enum config_scheme scheme;
    struct slice username; /* these four: empty when not given */
    struct slice password;
    struct slice host;
    struct slice path;
    uint16_t port; /* 0: not given */
    struct config_argument arguments[CONFIG_URL_ARGS_MAX];
    size_t argument_count;
    bool has_stray_at; /* an '@' behind the host: perhaps a password that was not encoded */
    /* private */
    uint8_t *memory;
    size_t memory_len;
};

/* Takes @text apart. The slices of @out are its own, until config_url_deinit(); @out needs none
 * after an error.
 * Errors: ERR_INVALID, ERR_NOMEM; @why begins with @where and quotes nothing of the URL. */
enum err config_url_parse(struct config_url *out, struct slice text, const char *where,
                          struct err_text *why) MUST_CHECK;
void config_url_deinit(struct config_url *url); /* wipes it: there is a password in it */

#endif
