/* SPDX-License-Identifier: BSD-3-Clause
 *
 * config_keys: the setting symmetric_encryption_keys: what messages are encrypted with.
 *
 * Why: secrets are derived, kept and wiped here, and nowhere else among the settings.
 *
 * Forms of a key: a string, or bytes as {"base64": "..."}.
 *
 * Thread: any.
 */
#ifndef CHANNEL_LAYER_CONFIG_CONFIG_KEYS_H
#define CHANNEL_LAYER_CONFIG_CONFIG_KEYS_H

#include <stddef.h>

#include "core/err.h"

struct json_node;
struct layer_key;

/* Reads the value of symmetric_encryption_keys. Without keys *@out is untouched.
 *
 * Ownership: the caller owns *@out, to be given to config_keys_free().
 * Errors:    ERR_INVALID, ERR_NOMEM; @why names the place and quotes no secret. */
enum err config_keys_read(struct layer_key **out, size_t *count, const struct json_node *list,
                          struct err_text *why) MUST_CHECK;
void config_keys_free(struct layer_key *keys, size_t count); /* wipes them; NULL is allowed */

#endif
