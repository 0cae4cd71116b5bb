/* SPDX-License-Identifier: BSD-3-Clause */
#include "channel_layer/redis/redis.h"

#include "core/log.h"

#include <hiredis/hiredis.h>

#include <assert.h>
#include <stdio.h>

/* One message to one channel: one script, one round trip. */

static void on_sent(void *ctx, const struct script_result *result)
{
    struct layer_call *call = ctx;
    if (result->err != ERR_OK) {
        call->done(call, result->err, result->why);
    } else if (result->reply->type != REDIS_REPLY_INTEGER) {
        call->done(call, ERR_UNAVAILABLE, "Redis answered a send with something else");
    } else if (result->reply->integer == 0) {
        struct err_text why;
        const int len = result->key.len > 256 ? 256 : (int)result->key.len;
        err_fail(&why, ERR_FULL, "%.*s is over capacity", len, (const char *)result->key.ptr);
        call->done(call, ERR_FULL, why.text);
    } else {
        call->done(call, ERR_OK, "");
    }
}

/* Specific channels lie where their reader reads; normal ones are spread in strict rotation,
 * because readers of channels_redis rotate too. */
static struct redis_shard *shard_for(struct redis_backend *b, struct slice channel)
{
    if (name_is_specific(channel))
        return redis_shard_of(b, name_nonlocal(channel));
    const unsigned index = b->rotation;
    b->rotation = (b->rotation + 1) % b->shard_count;
    return &b->shards[index];
}

void redis_send(struct backend *base, struct slice channel, struct slice body,
                struct layer_call *call)
{
    struct redis_backend *b = redis_of(base);
    const double now = redis_now();
    b->sealed.len = 0;
    const struct wire_to to = {.kind = WIRE_ONE_NAME, .names = &channel, .count = 1};
    enum err err = wire_seal(&b->wire, &b->sealed, body, name_is_specific(channel) ? &to : NULL,
                             (uint64_t)now);
    if (err != ERR_OK) {
        const bool is_body = err == ERR_TOO_BIG || err == ERR_INVALID;
        redis_end_later(b, call, is_body ? ERR_INVALID : ERR_UNAVAILABLE,
                        "message of %zu bytes: %s", body.len, err_str(err));
        return;
    }
    struct redis_shard *shard = shard_for(b, channel);
    struct redis_key key;
    struct redis_number oldest;
    struct redis_number capacity;
    struct redis_number score;
    struct redis_number expiry;
    const struct slice args[] = {
        redis_key(b, &key, "", name_nonlocal(channel)),
        redis_oldest(&oldest, b->config->expiry_s),
        redis_number(&capacity, layer_config_capacity(b->config, channel)),
        redis_score(b, &score),
        buf_slice(&b->sealed),
        redis_number(&expiry, b->config->expiry_s),
    };
    const struct script_args run = {
        .script = SCRIPT_SEND,
        .timeout_ms = b->config->timeout_ms,
        .key_count = 1,
        .count = sizeof(args) / sizeof(args[0]),
        .args = args,
    };
    err = redis_run(shard, &run, on_sent, call);
    if (err != ERR_OK)
        redis_end_refused(shard, call, err);
}
