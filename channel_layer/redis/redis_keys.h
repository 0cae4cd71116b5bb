/* SPDX-License-Identifier: BSD-3-Clause
 *
 * redis_keys: keys, members, scores and numbers as Redis has them: text.
 *
 * Why: they are channels_redis' own, to the byte; whoever writes one of them writes it here. Each
 * is made in a struct of the caller's.
 *
 * Thread: the loop's.
 */
#ifndef CHANNEL_LAYER_REDIS_REDIS_KEYS_H
#define CHANNEL_LAYER_REDIS_REDIS_KEYS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "channel_layer/names.h"
#include "core/slice.h"

enum {
    REDIS_PREFIX_MAX = 256,
    REDIS_MEMBER_MAX = 600, /* bytes of a name in a group: more than any name has */
    REDIS_KEY_MAX = REDIS_PREFIX_MAX + REDIS_MEMBER_MAX + 64,
};

struct redis_backend;

struct redis_key {
    size_t len;
    char text[REDIS_KEY_MAX];
};
/* The prefix, then @a and @name, which fit (REDIS_MEMBER_MAX and 64 bytes). */
struct slice redis_key(const struct redis_backend *b, struct redis_key *out, const char *a,
                       struct slice name);

struct redis_number {
    char text[32];
};
struct slice redis_number(struct redis_number *out, int64_t number);

/* A new score: the time as Python prints it, to the microsecond, later than every one before. */
struct slice redis_score(struct redis_backend *b, struct redis_number *out);
/* Unix time in seconds. */
double redis_now(void);

/* The time (@ago_s before now) up to which a trim takes out. */
struct slice redis_oldest(struct redis_number *out, unsigned ago_s);

/* Whether @nonlocal begins the names of this node's channels. */
bool redis_is_own(const struct redis_backend *b, struct slice nonlocal);

/* The name "specific.<node>!<aggregate of @group>" for any @node. */
struct redis_aggregate {
    size_t len;
    char text[9 + NODE_ID_CHARS + 1 + AGGREGATE_MAX + 1];
};
struct slice redis_aggregate(struct redis_aggregate *out, const char *node, struct slice group);

#endif
