/* SPDX-License-Identifier: BSD-3-Clause */
#include "channel_layer/redis_upkeep.h"

#include "channel_layer/redis.h"
#include "core/base64.h"
#include "core/digest.h"
#include "core/log.h"
#include "core/mem.h"

#include <hiredis/hiredis.h>

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>

enum {
    SWEEP_GROUPS = 100, /* of one step */
    SWEEP_TAKEN = 50,
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

/* ---- a sweep ---- */

static void sweep_groups(struct redis_shard *shard);
static void sweep_taken(struct redis_shard *shard);

/* "~" and the node: how a claimed one stands in the list of nodes. */
struct claim {
    char text[NODE_ID_CHARS + 2];
};

static struct slice claim_of(const struct redis_shard *shard, struct claim *out)
{
    const int len = snprintf(out->text, sizeof(out->text), "~%s", shard->upkeep.gone);
    return slice_make(out->text, (size_t)len);
}

static struct slice gone_of(const struct redis_shard *shard)
{
    return slice_str(shard->upkeep.gone);
}

/* The next beat looks for another that is gone; after a failure somebody claims this one again. */
static void end_sweep(struct redis_shard *shard, bool is_done)
{
    struct redis_upkeep *u = &shard->upkeep;
    u->is_sweeping = false;
    if (is_done) {
        log_event(LOG_INFO, "layer.node.swept", "host=%s node=%s", shard->host->text, u->gone);
        u->beat_ms = now_of(shard);
    }
}

/* The number that a step of the sweep answered; -1: the claim is lost, or something else is. */
static long long step_result(const struct redis_shard *shard, const struct script_result *result)
{
    if (shard->backend->state != REDIS_OPEN || result->err != ERR_OK ||
        result->reply->type != REDIS_REPLY_INTEGER)
        return -1;
    return result->reply->integer;
}

static enum err run_step(struct redis_shard *shard, enum redis_script script, size_t key_count,
                         script_done *done)
{
    const struct buf *argv = &shard->backend->argv;
    const struct script_args run = {
        .script = script,
        .timeout_ms = shard->backend->config->timeout_ms,
        .key_count = key_count,
        .count = argv->len / sizeof(struct slice),
        .args = (const struct slice *)(const void *)argv->ptr,
    };
    return redis_run(shard, &run, done, shard);
}

static void on_swept(void *ctx, const struct script_result *result)
{
    struct redis_shard *shard = ctx;
    end_sweep(shard, step_result(shard, result) >= 0);
}

/* All is done: takes the node's keys, and the node, out. Its messages stay, for a successor that
 * reads them, until they expire. */
static void sweep_end(struct redis_shard *shard)
{
    struct redis_backend *b = shard->backend;
    struct redis_key nodes;
    struct redis_key groups;
    struct redis_key taken;
    struct claim claim;
    b->argv.len = 0;
    redis_arg(b, redis_key(b, &nodes, ":channelsd:nodes", slice_str("")));
    redis_arg(b, redis_key(b, &groups, ":channelsd:groups:", gone_of(shard)));
    redis_arg(b, redis_key(b, &taken, ":channelsd:taken:", gone_of(shard)));
    redis_arg(b, claim_of(shard, &claim));
    if (run_step(shard, SCRIPT_SWEPT, 3, on_swept) != ERR_OK)
        end_sweep(shard, false);
}

static void on_given_back(void *ctx, const struct script_result *result)
{
    struct redis_shard *shard = ctx;
    const long long count = step_result(shard, result);
    if (count < 0) {
        end_sweep(shard, false);
        return;
    }
    layer_stats(shard->backend->base.layer)->restored += (uint64_t)count;
    sweep_taken(shard);
}

/* Gives back what the answer lists. False: nothing of it can be. */
static bool give_back(struct redis_shard *shard, const redisReply *reply)
{
    struct redis_backend *b = shard->backend;
    struct redis_key fixed[2];
    struct redis_number expiry;
    struct claim claim;
    struct redis_pair pairs[SWEEP_TAKEN];
    struct redis_key *keys = mem_alloc(SWEEP_TAKEN * sizeof(*keys));
    size_t count = 0;
    b->argv.len = 0;
    redis_arg(b, redis_key(b, &fixed[0], ":channelsd:nodes", slice_str("")));
    redis_arg(b, redis_key(b, &fixed[1], ":channelsd:taken:", gone_of(shard)));
    for (size_t at = 0; count < SWEEP_TAKEN && redis_next_pair(reply, &at, &pairs[count]);) {
        const struct slice named = pairs[count].member;
        const uint8_t *mark = memchr(named.ptr, ':', named.len);
        const size_t len = mark == NULL ? 0 : (size_t)(mark - named.ptr);
        if (!name_is_channel(slice_make(named.ptr, len)))
            continue; /* not written by a node */
        redis_arg(b, redis_key(b, &keys[count], "", slice_make(named.ptr, len)));
        count++;
    }
    redis_arg(b, claim_of(shard, &claim));
    redis_arg(b, redis_number(&expiry, b->config->expiry_s));
    for (size_t i = 0; i < count; i++) {
        const struct slice named = pairs[i].member;
        const uint8_t *member = (const uint8_t *)memchr(named.ptr, ':', named.len) + 1;
        redis_arg(b, named);
        redis_arg(b, pairs[i].score);
        redis_arg(b, slice_make(member, (size_t)(named.ptr + named.len - member)));
    }
    const bool is_given =
        count > 0 && run_step(shard, SCRIPT_GIVE_BACK, count + 2, on_given_back) == ERR_OK;
    mem_free(keys);
    return is_given;
}

static void on_taken(void *ctx, enum err err, const redisReply *reply, const char *why)
{
    struct redis_shard *shard = ctx;
    (void)why; /* the next claim has the same to say */
    if (err != ERR_OK || reply->type != REDIS_REPLY_ARRAY || shard->backend->state != REDIS_OPEN)
        end_sweep(shard, false);
    else if (reply->elements == 0 || !give_back(shard, reply))
        sweep_end(shard);
}

/* Reads the next messages that it had taken. */
static void sweep_taken(struct redis_shard *shard)
{
    struct redis_backend *b = shard->backend;
    struct redis_key key;
    struct redis_number last;
    const struct slice args[] = {
        slice_str("ZRANGE"),     redis_key(b, &key, ":channelsd:taken:", gone_of(shard)),
        slice_str("0"),          redis_number(&last, SWEEP_TAKEN - 1),
        slice_str("WITHSCORES"),
    };
    if (redis_link_command(shard->link, on_taken, shard, 0, 5, args) != ERR_OK)
        end_sweep(shard, false);
}

static void on_left(void *ctx, const struct script_result *result)
{
    struct redis_shard *shard = ctx;
    const long long count = step_result(shard, result);
    if (count < 0) {
        end_sweep(shard, false);
        return;
    }
    layer_stats(shard->backend->base.layer)->swept += (uint64_t)count;
    if (strcmp(shard->upkeep.cursor, "0") == 0)
        sweep_taken(shard);
    else
        sweep_groups(shard);
}

/* Takes the node's members out of the groups that the answer lists. */
static enum err leave_groups(struct redis_shard *shard, const redisReply *names)
{
    struct redis_backend *b = shard->backend;
    struct redis_key fixed[2];
    struct claim claim;
    struct redis_key *keys = mem_alloc(names->elements * sizeof(*keys));
    struct redis_aggregate *members = mem_alloc(names->elements * sizeof(*members));
    size_t count = 0;
    b->argv.len = 0;
    redis_arg(b, redis_key(b, &fixed[0], ":channelsd:nodes", slice_str("")));
    redis_arg(b, redis_key(b, &fixed[1], ":channelsd:groups:", gone_of(shard)));
    for (size_t i = 0; i < names->elements; i++) {
        const redisReply *name = names->element[i];
        if (name->type == REDIS_REPLY_STRING && name_is_group(slice_make(name->str, name->len)))
            redis_arg(b, redis_key(b, &keys[count++], ":group:", slice_make(name->str, name->len)));
    }
    redis_arg(b, claim_of(shard, &claim));
    count = 0;
    for (size_t i = 0; i < names->elements; i++) {
        const redisReply *name = names->element[i];
        const struct slice group = slice_make(name->str, name->len);
        if (name->type != REDIS_REPLY_STRING || !name_is_group(group))
            continue;
        redis_arg(b, group);
        redis_arg(b, redis_aggregate(&members[count++], shard->upkeep.gone, group));
    }
    const enum err err = run_step(shard, SCRIPT_SWEEP_GROUPS, count + 2, on_left);
    mem_free(keys);
    mem_free(members);
    return err;
}

static void on_groups(void *ctx, enum err err, const redisReply *reply, const char *why)
{
    enum { NAMES_MAX = 4000 }; /* Redis gives more than it was asked for, but never so many */
    struct redis_shard *shard = ctx;
    struct redis_upkeep *u = &shard->upkeep;
    (void)why; /* the next claim has the same to say */
    if (err != ERR_OK || shard->backend->state != REDIS_OPEN || reply->type != REDIS_REPLY_ARRAY ||
        reply->elements != 2 || reply->element[0]->type != REDIS_REPLY_STRING ||
        reply->element[0]->len >= sizeof(u->cursor) ||
        reply->element[1]->type != REDIS_REPLY_ARRAY || reply->element[1]->elements > NAMES_MAX) {
        end_sweep(shard, false);
        return;
    }
    memcpy(u->cursor, reply->element[0]->str, reply->element[0]->len + 1);
    if (leave_groups(shard, reply->element[1]) != ERR_OK)
        end_sweep(shard, false);
}

/* Reads the next of the groups that it was in. */
static void sweep_groups(struct redis_shard *shard)
{
    struct redis_backend *b = shard->backend;
    struct redis_key key;
    struct redis_number count;
    const struct slice args[] = {
        slice_str("SSCAN"),
        redis_key(b, &key, ":channelsd:groups:", gone_of(shard)),
        slice_str(shard->upkeep.cursor),
        slice_str("COUNT"),
        redis_number(&count, SWEEP_GROUPS),
    };
    if (redis_link_command(shard->link, on_groups, shard, 0, 5, args) != ERR_OK)
        end_sweep(shard, false);
}

static bool is_node(const redisReply *name)
{
    return name->type == REDIS_REPLY_STRING && name->len == NODE_ID_CHARS &&
           hex_is_lower(slice_make(name->str, name->len));
}

/* Begins with a node that the beat has claimed. One that is no node's name is taken out. */
static void begin_sweep(struct redis_shard *shard, const redisReply *name)
{
    struct redis_backend *b = shard->backend;
    struct redis_upkeep *u = &shard->upkeep;
    if (!is_node(name)) {
        char claim[64] = "~";
        struct redis_key key;
        const size_t len = name->type == REDIS_REPLY_STRING ? name->len : 0;
        if (len >= sizeof(claim) - 1)
            return;
        memcpy(claim + 1, name->str, len);
        const struct slice args[] = {slice_str("ZREM"),
                                     redis_key(b, &key, ":channelsd:nodes", slice_str("")),
                                     slice_make(claim, len + 1)};
        redis_tell(shard, 3, args);
        return;
    }
    memcpy(u->gone, name->str, NODE_ID_CHARS);
    memcpy(u->cursor, "0", 2);
    u->is_sweeping = true;
    sweep_groups(shard);
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
        if (result->is_refused && redis_notice(b, &b->key_notice, &held_back))
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
    if (reply->elements > 2 && !u->is_sweeping)
        begin_sweep(shard, reply->element[2]);
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
        redis_number(&gone, u->is_sweeping ? INT32_MAX : REDIS_GONE_S), /* one after the other */
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
    b->argv.len = 0;
    redis_arg(b, redis_key(b, &key, ":channelsd:nodes", slice_str("")));
    redis_arg(b, redis_key(b, &taken, ":channelsd:taken:", slice_str(b->node)));
    redis_arg(b, slice_str(b->node));
    if (run_step(shard, SCRIPT_LEAVE, 2, on_left_list) != ERR_OK)
        redis_shard_left(shard);
}
