/* SPDX-License-Identifier: BSD-3-Clause
 *
 * A chunk is one script: the keys of a shard, as many as fit, each with what it is to be given.
 */
#include "channel_layer/redis/redis_groups.h"

#include "channel_layer/redis/redis_words.h"
#include "core/log.h"
#include "core/mem.h"

#include <hiredis/hiredis.h>

#include <inttypes.h>

enum {
    CHUNK_KEYS = 256,          /* of one script */
    CHUNK_BYTES = 1024 * 1024, /* after which no further key is added */
    CHUNKS_UNDER_WAY = 4,      /* of one call */
};

/* A chunk that is being made. */
struct group_chunk {
    struct slice *args;
    uint32_t keys;
    struct redis_key *key_texts;
    struct redis_number *capacities;
    uint32_t *ends; /* of each member in b->sealed */
};

/* What goes with a chunk until it is answered. */
struct chunk_ticket {
    struct redis_group_call *g;
    struct redis_shard *shard;
    uint32_t chunk;
    uint32_t keys;
};

/* The name that the @nth key (from 1) of the chunk has in its members. */
static struct slice target_name(const struct redis_group_call *g, uint32_t chunk, long long nth)
{
    for (uint32_t i = 0; i < g->target_count; i++) {
        if (g->targets[i].chunk != chunk || --nth > 0)
            continue;
        const struct redis_group_member *first = &g->members[g->targets[i].first];
        return slice_make(g->bytes.ptr + first->at, first->nonlocal_len);
    }
    return (struct slice){0};
}

/* One key of a chunk, or several, failed: @reply is the script's. */
static void report_key(struct redis_group_call *g, const struct chunk_ticket *ticket,
                       const redisReply *reply)
{
    struct redis_backend *b = g->b;
    uint64_t held_back = 0;
    char words[ERR_TEXT_MAX];
    struct err_text why;
    struct redis_key key;
    const redisReply said = {
        .type = REDIS_REPLY_ERROR,
        .str = reply->element[4]->str,
        .len = reply->element[4]->len,
    };
    const struct slice name = target_name(g, ticket->chunk, reply->element[3]->integer);
    redis_error_words(words, sizeof(words), &said);
    (void)redis_refusal(&said, words, redis_key(b, &key, "", name), &why);
    if (reply->element[2]->integer > 0) {
        redis_group_fail(g, ERR_UNAVAILABLE, why.text);
        return;
    }
    if (notice_is_due(&b->key_notice, uv_now(b->uv), &held_back))
        log_event(LOG_WARN, "layer.redis.key", "host=%s group=%.*s text=\"%s\" held_back=%" PRIu64,
                  ticket->shard->host->text, (int)g->group_len, (const char *)g->bytes.ptr,
                  why.text, held_back);
}

static bool is_chunk_reply(const redisReply *reply)
{
    return reply->type == REDIS_REPLY_ARRAY && reply->elements == 5 &&
           reply->element[0]->type == REDIS_REPLY_INTEGER &&
           reply->element[1]->type == REDIS_REPLY_INTEGER &&
           reply->element[2]->type == REDIS_REPLY_INTEGER &&
           reply->element[3]->type == REDIS_REPLY_INTEGER &&
           reply->element[4]->type == REDIS_REPLY_STRING;
}

static void read_chunk_reply(struct redis_group_call *g, const struct chunk_ticket *ticket,
                             const struct script_result *result)
{
    const redisReply *reply = result->reply;
    if (!is_chunk_reply(reply)) {
        redis_group_fail(g, ERR_UNAVAILABLE, "Redis answered a group_send with something else");
        return;
    }
    const long long full = reply->element[0]->integer;
    const long long wrong = reply->element[1]->integer;
    const long long failed = reply->element[2]->integer;
    g->full += (uint32_t)full;
    g->sent += ticket->keys - (uint32_t)full - (uint32_t)wrong - (uint32_t)failed;
    layer_stats(g->b->base.layer)->group_skipped += (uint64_t)wrong;
    if (wrong > 0 || failed > 0)
        report_key(g, ticket, reply);
}

/* A cluster of one node takes single keys: the targets of this chunk, and all that follow, go one
 * by one. */
static void split_chunk(struct redis_group_call *g, const struct chunk_ticket *ticket)
{
    ticket->shard->is_cluster = true;
    for (uint32_t i = 0; i < g->target_count; i++)
        if (g->targets[i].chunk == ticket->chunk)
            g->targets[i].chunk = 0;
    if (g->shard >= ticket->shard->index) {
        g->shard = ticket->shard->index;
        g->target = 0;
    }
}

static void on_chunk(void *ctx, const struct script_result *result)
{
    struct chunk_ticket *ticket = ctx;
    struct redis_group_call *g = ticket->g;
    g->chunks_under_way--;
    if (result->err == ERR_OK) {
        read_chunk_reply(g, ticket, result);
    } else if (result->is_refused && strstr(result->why, "CROSSSLOT") != NULL && ticket->keys > 1) {
        split_chunk(g, ticket);
    } else {
        redis_group_fail(g, result->err, result->why);
    }
    mem_free(ticket);
    redis_group_give(g);
}

/* Adds one target: its key, capacity and sealed message. */
static enum err add_target(struct redis_group_call *g, struct group_chunk *chunk,
                           struct redis_group_target *target)
{
    struct redis_backend *b = g->b;
    const struct redis_group_member *first = &g->members[target->first];
    struct slice *names = mem_try(target->count * sizeof(*names));
    if (names == NULL)
        return ERR_NOMEM;
    uint32_t at = target->first;
    for (uint32_t i = 0; i < target->count; i++, at = g->members[at].next)
        names[i] = redis_group_member_name(g, &g->members[at]);
    const struct slice body = slice_make(g->bytes.ptr + g->group_len, g->body_len);
    const struct wire_to to = {.kind = WIRE_NAME_LIST, .names = names, .count = target->count};
    const enum err err = wire_seal(&b->wire, &b->sealed, body, &to, g->now_s);
    mem_free(names);
    if (err != ERR_OK)
        return err;
    const uint32_t i = chunk->keys++;
    target->chunk = g->chunks;
    chunk->ends[i] = b->sealed.len;
    chunk->args[i] = redis_key(b, &chunk->key_texts[i], "",
                               slice_make(g->bytes.ptr + first->at, first->nonlocal_len));
    (void)redis_number(&chunk->capacities[i],
                       layer_config_capacity(b->config, redis_group_member_name(g, first)));
    return ERR_OK;
}

/* Puts the arguments behind the keys and runs the script. */
static enum err give_chunk(struct redis_group_call *g, struct group_chunk *chunk)
{
    struct redis_backend *b = g->b;
    struct redis_number oldest;
    struct redis_number expiry;
    struct slice *arg = chunk->args + chunk->keys;
    *arg++ = redis_oldest(&oldest, b->config->expiry_s);
    *arg++ = slice_str(g->score.text);
    *arg++ = redis_number(&expiry, b->config->expiry_s);
    uint32_t start = 0;
    for (uint32_t i = 0; i < chunk->keys; i++) {
        *arg++ = slice_str(chunk->capacities[i].text);
        *arg++ = slice_make(b->sealed.ptr + start, chunk->ends[i] - start);
        start = chunk->ends[i];
    }
    const uint64_t now_ms = uv_now(b->uv);
    const struct script_args run = {
        .script = SCRIPT_GROUP_SEND,
        .timeout_ms = now_ms < g->deadline_ms ? (unsigned)(g->deadline_ms - now_ms) : 1,
        .key_count = chunk->keys,
        .count = (size_t)(arg - chunk->args),
        .args = chunk->args,
    };
    struct chunk_ticket *ticket = mem_alloc(sizeof(*ticket));
    *ticket = (struct chunk_ticket){
        .g = g, .shard = &b->shards[g->shard], .chunk = g->chunks, .keys = chunk->keys};
    const enum err err = redis_run(ticket->shard, &run, on_chunk, ticket);
    if (err != ERR_OK)
        mem_free(ticket);
    else
        g->chunks_under_way++;
    return err;
}

/* Makes and gives the next chunk of the current shard. False: that shard has no target left. */
static bool next_chunk(struct redis_group_call *g, struct group_chunk *chunk)
{
    struct redis_backend *b = g->b;
    const uint32_t most = b->shards[g->shard].is_cluster ? 1 : CHUNK_KEYS;
    enum err err = ERR_OK;
    g->chunks++;
    chunk->keys = 0;
    b->sealed.len = 0;
    for (; g->target < g->target_count && err == ERR_OK; g->target++) {
        if (g->targets[g->target].shard != g->shard || g->targets[g->target].chunk != 0)
            continue;
        if (chunk->keys == most || b->sealed.len > CHUNK_BYTES)
            break;
        err = add_target(g, chunk, &g->targets[g->target]);
    }
    if (err != ERR_OK) {
        redis_group_fail(g, err == ERR_NOMEM ? ERR_UNAVAILABLE : ERR_INVALID,
                         err == ERR_TOO_BIG ? "the message with the names of its members is too big"
                                            : err_str(err));
        return true;
    }
    if (chunk->keys == 0)
        return false;
    err = give_chunk(g, chunk);
    if (err != ERR_OK)
        redis_group_fail(g, ERR_UNAVAILABLE, "too much waits for this Redis already");
    return true;
}

void redis_group_give(struct redis_group_call *g)
{
    const size_t keys = g->target_count < CHUNK_KEYS ? g->target_count : CHUNK_KEYS;
    struct group_chunk chunk = {
        .args = mem_alloc((3 * keys + 3) * sizeof(struct slice)),
        .key_texts = mem_alloc(keys * sizeof(struct redis_key)),
        .capacities = mem_alloc(keys * sizeof(struct redis_number)),
        .ends = mem_alloc(keys * sizeof(uint32_t)),
    };
    while (g->err == ERR_OK && g->shard < g->b->shard_count &&
           g->chunks_under_way < CHUNKS_UNDER_WAY) {
        if (next_chunk(g, &chunk))
            continue;
        g->shard++;
        g->target = 0;
    }
    mem_free(chunk.args);
    mem_free(chunk.key_texts);
    mem_free(chunk.capacities);
    mem_free(chunk.ends);
    if (g->chunks_under_way == 0)
        redis_group_end(g);
}
