/* SPDX-License-Identifier: BSD-3-Clause */
#include "channel_layer/pubsub/pubsub_publish.h"

#include <hiredis/hiredis.h>

#include <time.h>

static uint64_t now_s(void)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (uint64_t)now.tv_sec;
}

bool pubsub_seal(struct pubsub_backend *b, struct slice body, struct layer_call *call)
{
    b->sealed.len = 0;
    const enum err err = wire_seal(&b->wire, &b->sealed, body, NULL, now_s());
    if (err == ERR_OK)
        return true;
    const bool is_body = err == ERR_TOO_BIG || err == ERR_INVALID;
    pubsub_end_later(b, call, is_body ? ERR_INVALID : ERR_UNAVAILABLE, "message of %zu bytes: %s",
                     body.len, err_str(err));
    return false;
}

enum err pubsub_publish(struct pubsub_shard *shard, struct slice name, redis_link_done *done,
                        void *ctx, unsigned timeout_ms)
{
    const struct slice args[] = {slice_str("PUBLISH"), name, buf_slice(&shard->backend->sealed)};
    return redis_link_command(shard->link, done, ctx, timeout_ms, 3, args);
}

void pubsub_end_refused(struct pubsub_shard *shard, struct layer_call *call, enum err err)
{
    const char *why = redis_link_why(shard->link);
    if (err == ERR_NOMEM)
        pubsub_end_later(shard->backend, call, ERR_UNAVAILABLE, "out of memory");
    else if (why[0] != '\0')
        pubsub_end_later(shard->backend, call, ERR_UNAVAILABLE, "%s", why);
    else
        pubsub_end_later(shard->backend, call, ERR_UNAVAILABLE,
                         "%s: too much waits for this Redis already", shard->host->text);
}

enum err pubsub_outcome(enum err err, const redisReply *reply)
{
    return err == ERR_OK && reply->type == REDIS_REPLY_ERROR ? ERR_UNAVAILABLE : err;
}

bool pubsub_was_unsent(const struct pubsub_shard *shard, enum err err, const redisReply *reply,
                       uint64_t deadline_ms)
{
    return err == ERR_UNAVAILABLE && reply == NULL && !shard->backend->is_closing &&
           !pubsub_nodes_are_whole(shard) && uv_now(shard->backend->uv) < deadline_ms;
}

unsigned pubsub_left_ms(const struct pubsub_shard *shard, uint64_t deadline_ms)
{
    const uint64_t now_ms = uv_now(shard->backend->uv);
    return deadline_ms > now_ms ? (unsigned)(deadline_ms - now_ms) : 1;
}
