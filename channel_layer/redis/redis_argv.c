/* SPDX-License-Identifier: BSD-3-Clause */
#include "channel_layer/redis/redis_argv.h"

void redis_argv_init(struct redis_argv *argv, size_t max)
{
    buf_init(&argv->words, max * sizeof(struct slice));
}

void redis_argv_deinit(struct redis_argv *argv)
{
    buf_deinit(&argv->words);
}

void redis_argv_begin(struct redis_argv *argv)
{
    argv->words.len = 0;
}

enum err redis_argv_reserve(struct redis_argv *argv, size_t count)
{
    return buf_reserve(&argv->words, count * sizeof(struct slice));
}

size_t redis_argv_count(const struct redis_argv *argv)
{
    return argv->words.len / sizeof(struct slice);
}

const struct slice *redis_argv_words(const struct redis_argv *argv)
{
    return (const struct slice *)(const void *)argv->words.ptr;
}

enum err redis_argv_give(const struct redis_argv *argv, struct redis_link *link,
                         unsigned timeout_ms, redis_link_done *done, void *ctx)
{
    return redis_link_command(link, done, ctx, timeout_ms, redis_argv_count(argv),
                              redis_argv_words(argv));
}
