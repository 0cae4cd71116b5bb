/* SPDX-License-Identifier: BSD-3-Clause */
#include "channel_layer/redis/redis_sweep.h"

#include "channel_layer/redis/redis.h"
#include "channel_layer/redis/redis_words.h"
#include "core/base64.h"
#include "core/log.h"
#include "core/mem.h"

#include <hiredis/hiredis.h>

#include <stdio.h>

enum {
    SWEEP_GROUPS = 100, /* of one step */
    SWEEP_TAKEN = 50,
};

static void sweep_groups(struct redis_shard *shard);
static void sweep_taken(struct redis_shard *shard);

/* "~" and the node: how a claimed one stands in the list of nodes. */
struct claim {
    char text[NODE_ID_CHARS + 2];
};

bool redis_sweep_is_active(const struct redis_shard *shard)
{
    return shard->sweep.is_active;
}

static struct slice claim_of(const struct redis_shard *shard, struct claim *out)
{
    const int len = snprintf(out->text, sizeof(out->text), "~%s", shard->sweep.gone);
    return slice_make(out->text, (size_t)len);
}

static struct slice gone_of(const struct redis_shard *shard)
{
    return slice_str(shard->sweep.gone);
}

/* The next beat looks for another that is gone; after a failure somebody claims this one again. */
static void end_sweep(struct redis_shard *shard, bool is_done)
{
    struct redis_sweep *sweep = &shard->sweep;
    sweep->is_active = false;
    if (is_done) {
        log_event(LOG_INFO, "layer.node.swept", "host=%s node=%s", shard->host->text, sweep->gone);
        redis_upkeep_beat_next(shard);
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
    const struct redis_argv *argv = &shard->backend->argv;
    const struct script_args run = {
        .script = script,
        .timeout_ms = shard->backend->config->timeout_ms,
        .key_count = key_count,
        .count = redis_argv_count(argv),
        .args = redis_argv_words(argv),
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
    redis_argv_begin(&b->argv);
    redis_argv_add(&b->argv, redis_key(b, &nodes, ":channelsd:nodes", slice_str("")));
    redis_argv_add(&b->argv, redis_key(b, &groups, ":channelsd:groups:", gone_of(shard)));
    redis_argv_add(&b->argv, redis_key(b, &taken, ":channelsd:taken:", gone_of(shard)));
    redis_argv_add(&b->argv, claim_of(shard, &claim));
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
    redis_argv_begin(&b->argv);
    redis_argv_add(&b->argv, redis_key(b, &fixed[0], ":channelsd:nodes", slice_str("")));
    redis_argv_add(&b->argv, redis_key(b, &fixed[1], ":channelsd:taken:", gone_of(shard)));
    for (size_t at = 0; count < SWEEP_TAKEN && redis_next_pair(reply, &at, &pairs[count]);) {
        const struct slice named = pairs[count].member;
        const uint8_t *mark = memchr(named.ptr, ':', named.len);
        const size_t len = mark == NULL ? 0 : (size_t)(mark - named.ptr);
        if (!name_is_channel(slice_make(named.ptr, len)))
            continue; /* not written by a node */
        redis_argv_add(&b->argv, redis_key(b, &keys[count], "", slice_make(named.ptr, len)));
        count++;
    }
    redis_argv_add(&b->argv, claim_of(shard, &claim));
    redis_argv_add(&b->argv, redis_number(&expiry, b->config->expiry_s));
    for (size_t i = 0; i < count; i++) {
        const struct slice named = pairs[i].member;
        const uint8_t *member = (const uint8_t *)memchr(named.ptr, ':', named.len) + 1;
        redis_argv_add(&b->argv, named);
        redis_argv_add(&b->argv, pairs[i].score);
        redis_argv_add(&b->argv, slice_make(member, (size_t)(named.ptr + named.len - member)));
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
    if (strcmp(shard->sweep.cursor, "0") == 0)
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
    redis_argv_begin(&b->argv);
    redis_argv_add(&b->argv, redis_key(b, &fixed[0], ":channelsd:nodes", slice_str("")));
    redis_argv_add(&b->argv, redis_key(b, &fixed[1], ":channelsd:groups:", gone_of(shard)));
    for (size_t i = 0; i < names->elements; i++) {
        const redisReply *name = names->element[i];
        if (name->type == REDIS_REPLY_STRING && name_is_group(slice_make(name->str, name->len)))
            redis_argv_add(&b->argv, redis_key(b, &keys[count++],
                                               ":group:", slice_make(name->str, name->len)));
    }
    redis_argv_add(&b->argv, claim_of(shard, &claim));
    count = 0;
    for (size_t i = 0; i < names->elements; i++) {
        const redisReply *name = names->element[i];
        const struct slice group = slice_make(name->str, name->len);
        if (name->type != REDIS_REPLY_STRING || !name_is_group(group))
            continue;
        redis_argv_add(&b->argv, group);
        redis_argv_add(&b->argv, redis_aggregate(&members[count++], shard->sweep.gone, group));
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
    struct redis_sweep *sweep = &shard->sweep;
    (void)why; /* the next claim has the same to say */
    if (err != ERR_OK || shard->backend->state != REDIS_OPEN || reply->type != REDIS_REPLY_ARRAY ||
        reply->elements != 2 || reply->element[0]->type != REDIS_REPLY_STRING ||
        reply->element[0]->len >= sizeof(sweep->cursor) ||
        reply->element[1]->type != REDIS_REPLY_ARRAY || reply->element[1]->elements > NAMES_MAX) {
        end_sweep(shard, false);
        return;
    }
    memcpy(sweep->cursor, reply->element[0]->str, reply->element[0]->len + 1);
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
        slice_str(shard->sweep.cursor),
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

void redis_sweep_begin(struct redis_shard *shard, const redisReply *name)
{
    struct redis_backend *b = shard->backend;
    struct redis_sweep *sweep = &shard->sweep;
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
    memcpy(sweep->gone, name->str, NODE_ID_CHARS);
    memcpy(sweep->cursor, "0", 2);
    sweep->is_active = true;
    sweep_groups(shard);
}
