/* SPDX-License-Identifier: BSD-3-Clause */
#include "channel_layer/redis/redis_registry.h"

#include "channel_layer/redis/redis.h"

enum {
    NAMES_OF_COMMAND = 1000,
    NAMES_MAX = 64 * 1024 * 1024,
};

void redis_registry_init(struct redis_registry *registry)
{
    buf_init(&registry->registered, NAMES_MAX);
    buf_init(&registry->unregistered, NAMES_MAX);
}

void redis_registry_deinit(struct redis_registry *registry)
{
    buf_deinit(&registry->registered);
    buf_deinit(&registry->unregistered);
}

static void add_name(struct buf *names, struct slice group)
{
    const uint8_t len = (uint8_t)group.len;
    if (buf_reserve(names, group.len + 1) != ERR_OK)
        return;
    names->ptr[names->len] = len;
    memcpy(names->ptr + names->len + 1, group.ptr, group.len);
    names->len += (uint32_t)group.len + 1;
}

void redis_registry_note(struct redis_registry *registry, struct slice group, bool is_member)
{
    add_name(is_member ? &registry->registered : &registry->unregistered, group);
}

static void tell_names(struct redis_shard *shard, const char *command, struct buf *names)
{
    struct redis_backend *b = shard->backend;
    struct redis_key text;
    const struct slice key = redis_key(b, &text, ":channelsd:groups:", slice_str(b->node));
    uint32_t at = 0;
    while (at < names->len) {
        redis_argv_begin(&b->argv);
        redis_argv_add(&b->argv, slice_str(command));
        redis_argv_add(&b->argv, key);
        for (unsigned i = 0; i < NAMES_OF_COMMAND && at < names->len; i++) {
            redis_argv_add(&b->argv, slice_make(names->ptr + at + 1, names->ptr[at]));
            at += (uint32_t)names->ptr[at] + 1;
        }
        if (redis_argv_give(&b->argv, shard->link, 0, NULL, NULL) != ERR_OK)
            break;
    }
    buf_deinit(names);
}

void redis_registry_tell(struct redis_shard *shard)
{
    struct redis_backend *b = shard->backend;
    struct redis_registry *registry = &shard->members.registry;
    if (registry->unregistered.len > 0)
        tell_names(shard, "SREM", &registry->unregistered);
    if (registry->registered.len == 0)
        return;
    tell_names(shard, "SADD", &registry->registered);
    struct redis_key text;
    struct redis_number keep;
    const struct slice args[] = {
        slice_str("EXPIRE"),
        redis_key(b, &text, ":channelsd:groups:", slice_str(b->node)),
        redis_number(&keep, redis_upkeep_keep_s(shard)),
    };
    redis_tell(shard, 3, args);
}
