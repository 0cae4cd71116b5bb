/* SPDX-License-Identifier: BSD-3-Clause
 *
 * config_digest: the name of a layer's settings: two that mean the same have the same.
 *
 * Why: many processes open layers on a node; those with equal settings share one.
 *
 * How: SHA-256 over what was understood, defaults filled in, each value with its length; so neither
 * the order of keys nor the form of a host matters. Only what the backend heeds is in it.
 *
 * Thread: any.
 */
#ifndef CHANNEL_LAYER_CONFIG_CONFIG_DIGEST_H
#define CHANNEL_LAYER_CONFIG_CONFIG_DIGEST_H

#include "core/err.h"

struct layer_config;

/* Fills config->digest. Errors: ERR_NOMEM. */
enum err config_digest(struct layer_config *config) MUST_CHECK;

#endif
