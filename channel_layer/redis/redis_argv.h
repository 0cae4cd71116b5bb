/* SPDX-License-Identifier: BSD-3-Clause
 *
 * redis_argv: a long command in the making, word by word.
 *
 * Why: how many words a command has is often known only at its end. The memory is used again for
 * the next one, and once there is room, adding a word cannot fail.
 *
 * Thread: owner only.
 */
#ifndef CHANNEL_LAYER_REDIS_REDIS_ARGV_H
#define CHANNEL_LAYER_REDIS_REDIS_ARGV_H

#include <stddef.h>
#include <stdlib.h>

#include "channel_layer/redis/redis_link.h"
#include "core/buf.h"
#include "core/err.h"
#include "core/slice.h"

struct redis_argv {
    struct buf words; /* private: struct slice */
};

/* No command has more than @max words. */
void redis_argv_init(struct redis_argv *argv, size_t max);
void redis_argv_deinit(struct redis_argv *argv);

/* Begins a command. */
void redis_argv_begin(struct redis_argv *argv);

/* Makes room for @count more words. Errors: ERR_TOO_BIG, ERR_NOMEM. */
enum err redis_argv_reserve(struct redis_argv *argv, size_t count) MUST_CHECK;

/* Adds a word, for which there is room; its bytes are borrowed until the command is given. */
static inline void redis_argv_add(struct redis_argv *argv, struct slice word)
{
    if (buf_append(&argv->words, &word, sizeof(word)) != ERR_OK)
        abort(); /* whoever adds has made room */
}

size_t redis_argv_count(const struct redis_argv *argv);
const struct slice *redis_argv_words(const struct redis_argv *argv);

/* Gives the command to @link: see redis_link_command(). */
enum err redis_argv_give(const struct redis_argv *argv, struct redis_link *link,
                         unsigned timeout_ms, redis_link_done *done, void *ctx) MUST_CHECK;

#endif
