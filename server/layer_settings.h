/* SPDX-License-Identifier: BSD-3-Clause
 *
 * layer_settings: what --layer-config means: JSON, or the path of a file with it.
 *
 * Thread: any.
 */
#ifndef SERVER_LAYER_SETTINGS_H
#define SERVER_LAYER_SETTINGS_H

#include "core/err.h"

enum { LAYER_SETTINGS_MAX = 1024 * 1024 }; /* bytes of such a file */

/* Gives the JSON of @value: itself when it begins with '{', else what is in the file that it names.
 *
 * Ownership: the caller owns *@json (mem_free()).
 * Errors:    ERR_INVALID when it is not what a layer takes (@why names the key and never shows a
 *            password), ERR_NOT_FOUND, ERR_ACCESS, ERR_TOO_BIG, ERR_IO for the file. */
enum err layer_settings_load(char **json, const char *value, struct err_text *why) MUST_CHECK;

#endif
