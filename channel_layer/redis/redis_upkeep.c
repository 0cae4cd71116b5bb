/* SPDX-License-Identifier: BSD-3-Clause */
#include "channel_layer/redis/redis_upkeep.h"

#include "channel_layer/redis/redis.h"
#include "core/digest.h"
#include "core/log.h"

#include <hiredis/hiredis.h>

#include <inttypes.h>

enum {
    EXPIRE_MS = 60 * 1000,
    REFRESH_MAX_MS = 3600 * 1000,
    RUN_SOON_MS = 1000,
    NODES_EXTRA_S = 600, /* that the list of nodes outlives what it leads to */
};

static uint64_t now_of(const struct redis_shard *shard)
{
    return uv_now(shard->backend->uv);
}

unsigned redis_upkeep_keep_s(const struct redis_shard *shard)
{
    const unsigned group_s = shard->backend->config->group_expiry_s;
    return group_s > REDIS_KEEP_S ? group_s : REDIS_KEEP_S;
}

/* ---- a beat ---- */

static void on_beat(void *ctx, const struct script_result *result)
{
    struct redis_shard *shard = ctx;
    struct redis_backend *b = shard->backend;
    struct redis_upkeep *u = &shard->upkeep;
    const redisReply *reply = result->reply;
    uint64_t held_back = 0;
    u->is_beating = false;
    if (b->state != REDIS_OPEN)
        return;
    if (result->err != ERR_OK) {
        if (result->is_refused && notice_is_due(&b->key_notice, uv_now(b->uv), &held_back))
            log_event(LOG_ERROR, "layer.redis.beat", "held_back=%" PRIu64 " text=\"%s\"", held_back,
                      result->why);
        return;
    }
    if (reply->type != REDIS_REPLY_ARRAY || reply->elements < 2 ||
        reply->element[0]->type != REDIS_REPLY_INTEGER ||
        reply->element[1]->type != REDIS_REPLY_INTEGER)
        return;
    if (reply->element[0]->integer == 1 && u->has_beaten) {
        log_event(LOG_WARN, "layer.redis.emptied",
                  "host=%s text=\"this node was not known any more; its groups are joined again\"",
                  shard->host->text);
        redis_settle_emptied(shard);
        redis_members_recall(b);
        redis_members_run(shard);
    }
    u->has_beaten = true;
    redis_settle_living(shard, (unsigned)reply->element[1]->integer);
    if (reply->elements > 2 && !redis_sweep_is_active(shard))
        redis_sweep_begin(shard, reply->element[2]);
}

static void beat(struct redis_shard *shard)
{
    struct redis_backend *b = shard->backend;
    struct redis_upkeep *u = &shard->upkeep;
    struct redis_key key;
    struct redis_number keep;
    struct redis_number gone;
    struct redis_number peace;
    const struct slice args[] = {
        redis_key(b, &key, ":channelsd:nodes", slice_str("")),
        slice_str(b->node),
        redis_number(&keep, (int64_t)redis_upkeep_keep_s(shard) + NODES_EXTRA_S),
        redis_number(&gone, redis_sweep_is_active(shard) ? INT32_MAX
                                                         : REDIS_GONE_S), /* one after the other */
        redis_number(&peace, REDIS_PEACE_S),
    };
    const struct script_args run = {
        .script = SCRIPT_BEAT,
        .timeout_ms = b->config->timeout_ms,
        .key_count = 1,
        .count = 5,
        .args = args,
    };
    u->beat_ms = now_of(shard) + REDIS_BEAT_MS;
    u->is_beating = redis_run(shard, &run, on_beat, shard) == ERR_OK;
}

/* Gives what the node has its time to live again. */
static void keep(struct redis_shard *shard)
{
    static const char *const keys[] = {":channelsd:groups:", ":channelsd:taken:"};
    struct redis_backend *b = shard->backend;
    shard->upkeep.expire_ms = now_of(shard) + EXPIRE_MS;
    for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
        struct redis_key key;
        struct redis_number keep_s;
        const struct slice args[] = {slice_str("EXPIRE"),
                                     redis_key(b, &key, keys[i], slice_str(b->node)),
                                     redis_number(&keep_s, redis_upkeep_keep_s(shard))};
        redis_tell(shard, 3, args);
    }
}

/* ---- time ---- */

/* A quarter of the time that memberships live, an hour at most; between 3/4 and all of that, so
 * that nodes that began together do not stay together. */
static uint64_t refresh_pause_ms(const struct redis_shard *shard)
{
    uint32_t random = 0;
    uint64_t pause_ms = (uint64_t)shard->backend->config->group_expiry_s * 1000 / 4;
    if (pause_ms > REFRESH_MAX_MS)
        pause_ms = REFRESH_MAX_MS;
    digest_random((uint8_t *)&random, sizeof(random));
    return pause_ms - random % (pause_ms / 4 + 1);
}

void redis_upkeep_init(struct redis_shard *shard)
{
    shard->upkeep.refresh_ms = now_of(shard) + refresh_pause_ms(shard);
    shard->upkeep.expire_ms = now_of(shard) + EXPIRE_MS;
}

void redis_upkeep_up(struct redis_shard *shard)
{
    if (!shard->upkeep.is_beating)
        beat(shard);
}

void redis_upkeep_beat_soon(struct redis_shard *shard)
{
    if (redis_link_is_up(shard->link) && !shard->upkeep.is_beating)
        beat(shard);
}

void redis_upkeep_beat_next(struct redis_shard *shard)
{
    shard->upkeep.beat_ms = now_of(shard);
}

void redis_upkeep_run_soon(struct redis_shard *shard)
{
    shard->upkeep.refresh_ms = now_of(shard) + RUN_SOON_MS;
}

void redis_upkeep_tick(struct redis_shard *shard, uint64_t now_ms)
{
    struct redis_upkeep *u = &shard->upkeep;
    if (!redis_link_is_up(shard->link))
        return;
    if (now_ms >= u->beat_ms && !u->is_beating)
        beat(shard);
    if (now_ms >= u->expire_ms)
        keep(shard);
    if (now_ms >= u->refresh_ms) {
        u->refresh_ms = now_ms + refresh_pause_ms(shard);
        redis_members_recall(shard->backend);
        redis_members_run(shard);
    }
}

/* ---- the end ---- */

static void on_gone(void *ctx, enum err err, const redisReply *reply, const char *why)
{
    (void)err; /* a neighbour does it, when it was not done */
    (void)reply;
    (void)why;
    redis_shard_left(ctx);
}

static void take_node_out(struct redis_shard *shard)
{
    struct redis_key key;
    const struct slice args[] = {slice_str("ZREM"),
                                 redis_key(shard->backend, &key, ":channelsd:nodes", slice_str("")),
                                 slice_str(shard->backend->node)};
    if (redis_link_command(shard->link, on_gone, shard, 0, 3, args) != ERR_OK)
        redis_shard_left(shard);
}

static void on_left_list(void *ctx, const struct script_result *result)
{
    struct redis_shard *shard = ctx;
    /* Where it may not be asked (a cluster takes single keys) nothing could be taken, either. */
    if (result->is_refused)
        take_node_out(shard);
    else
        redis_shard_left(shard);
}

void redis_upkeep_leave(struct redis_shard *shard)
{
    struct redis_backend *b = shard->backend;
    struct redis_upkeep *u = &shard->upkeep;
    struct redis_key key;
    struct redis_key taken;
    if (u->is_leaving)
        return;
    u->is_leaving = true;
    if (redis_members_has_any(shard)) { /* some could not be told: a neighbour sweeps them */
        redis_shard_left(shard);
        return;
    }
    const struct slice groups[] = {slice_str("DEL"),
                                   redis_key(b, &key, ":channelsd:groups:", slice_str(b->node))};
    redis_tell(shard, 2, groups);
    redis_settle_forget(shard);
    const struct slice args[] = {
        redis_key(b, &key, ":channelsd:nodes", slice_str("")),
        redis_key(b, &taken, ":channelsd:taken:", slice_str(b->node)),
        slice_str(b->node),
    };
    const struct script_args run = {
        .script = SCRIPT_LEAVE,
        .timeout_ms = b->config->timeout_ms,
        .key_count = 2,
        .count = 3,
        .args = args,
    };
    if (redis_run(shard, &run, on_left_list, shard) != ERR_OK)
        redis_shard_left(shard);
}
