/* SPDX-License-Identifier: BSD-3-Clause
 *
 * One message to one channel. What is sent after a loss is held until all nodes are back
 * (pubsub_nodes.h): others are to be there to get it.
 */
#include "channel_layer/pubsub/pubsub_publish.h"

#include "core/mem.h"

#include <hiredis/hiredis.h>

/* A message to a channel on its way. */
struct pubsub_single {
    struct redis_held wait; /* shard->nodes */
    uint64_t number;
    struct pubsub_shard *shard;
    struct layer_call *call;
    size_t channel_len;
    size_t body_len;
    uint8_t bytes[]; /* the channel, the body */
};

static void give_single(struct pubsub_single *single);

static void on_sent(void *ctx, enum err err, const redisReply *reply, const char *why)
{
    struct pubsub_single *single = ctx;
    struct layer_call *call = single->call;
    if (pubsub_was_unsent(single->shard, err, reply, single->wait.deadline_ms)) {
        give_single(single);
        return;
    }
    mem_free(single);
    call->done(call, pubsub_outcome(err, reply), why);
}

static void on_single_released(struct redis_held *held, enum err err, const char *why)
{
    struct pubsub_single *single = CONTAINER_OF(held, struct pubsub_single, wait);
    if (err == ERR_OK) {
        give_single(single);
        return;
    }
    pubsub_end_later(single->shard->backend, single->call, err, "%s", why);
    mem_free(single);
}

/* To Redis, or to what is held. */
static void give_single(struct pubsub_single *single)
{
    struct pubsub_shard *shard = single->shard;
    const struct slice channel = slice_make(single->bytes, single->channel_len);
    const struct slice body = slice_make(single->bytes + channel.len, single->body_len);
    const unsigned timeout_ms = pubsub_left_ms(shard, single->wait.deadline_ms);
    enum err err = ERR_OK;
    if (!pubsub_nodes_are_whole(shard)) {
        err = pubsub_nodes_hold(shard, &single->wait, single->number);
    } else if (pubsub_seal(shard->backend, body, single->call)) {
        err = pubsub_publish(shard, channel, on_sent, single, timeout_ms);
    } else {
        mem_free(single);
        return;
    }
    if (err == ERR_OK)
        return;
    pubsub_end_refused(shard, single->call, err);
    mem_free(single);
}

void pubsub_send(struct backend *base, struct slice channel, struct slice body,
                 struct layer_call *call)
{
    struct pubsub_backend *b = pubsub_of(base);
    struct pubsub_shard *shard = pubsub_shard_of(b, channel);
    const size_t size = sizeof(struct pubsub_single) + channel.len + body.len;
    struct pubsub_single *single = mem_try(size);
    if (single == NULL) {
        pubsub_end_refused(shard, call, ERR_NOMEM);
        return;
    }
    *single = (struct pubsub_single){
        .wait = {.deadline_ms = uv_now(b->uv) + b->config->timeout_ms,
                 .bytes = size,
                 .released = on_single_released},
        .number = b->sends++,
        .shard = shard,
        .call = call,
        .channel_len = channel.len,
        .body_len = body.len,
    };
    memcpy(single->bytes, channel.ptr, channel.len);
    memcpy(single->bytes + channel.len, body.ptr, body.len);
    give_single(single);
}
