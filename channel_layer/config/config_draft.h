/* SPDX-License-Identifier: BSD-3-Clause
 *
 * config_draft: one entry of hosts while it is read, and the table of its settings by name.
 *
 * Why: the same names are keywords of an object and arguments of a URL; what each means and which
 * values it takes stands in one place, in a table.
 *
 * Thread: any.
 */
#ifndef CHANNEL_LAYER_CONFIG_CONFIG_DRAFT_H
#define CHANNEL_LAYER_CONFIG_CONFIG_DRAFT_H

#include <stdbool.h>

#include "channel_layer/config/config_url.h"
#include "core/err.h"
#include "core/slice.h"

struct json_node;
struct redis_host;

enum config_role {
    CONFIG_SERVER,
    CONFIG_SENTINEL,         /* its host and port */
    CONFIG_SENTINEL_SETTINGS /* sentinel_kwargs: not who it is, but how to talk to it */
};

enum { CONFIG_DIGITS_MAX = 10, CONFIG_WHERE_MAX = 96 };

struct config_draft {
    struct redis_host *host;
    enum config_role role;
    char where[CONFIG_WHERE_MAX]; /* "hosts[1]" */
    struct err_text *why;

    bool is_from_url;  /* what is set now */
    bool hides_values; /* what is unknown may be a part of a password */
    bool has_scheme;
    enum config_scheme scheme;
    bool has_ssl;
    bool is_ssl;
    const char *tls_setting; /* the first one given of those that make no sense without TLS */
    const struct json_node *address; /* a string; these three are borrowed, or NULL */
    const struct json_node *sentinels;
    const struct json_node *sentinel_settings;
};

/* A value as it was given: of an object, else (@node is NULL) the text of a URL. */
struct config_value {
    const struct json_node *node;
    struct slice text;
};

/* Sets what @name names. Errors: ERR_INVALID, ERR_NOMEM; the draft's why names the place. */
enum err config_draft_set(struct config_draft *d, struct slice name,
                          struct config_value value) MUST_CHECK;

/* Replaces *@field by a copy of @text. Errors: ERR_NOMEM. */
enum err config_draft_copy(const struct config_draft *d, char **field,
                           struct slice text) MUST_CHECK;

#endif
