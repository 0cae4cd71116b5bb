/* SPDX-License-Identifier: BSD-3-Clause
 *
 * One message to a group: two round trips, one when nobody else is in it.
 *
 * 1. The group's shard gives the members. Those of this node are told to the layer. While the shard
 *    has not settled after a loss the question waits (redis_settle.h), and one that was asked
 *    before is asked again: nothing was sent yet.
 * 2. The others are sorted by key (a key is one process, with many members). Each key is given the
 *    message once, with the names of its members; each shard all its keys in one script, or in
 *    several that follow each other when they are large.
 *
 * A member that is no name is skipped and counted, a key of another type too: neither keeps the
 * others from their message. What Redis refuses for other reasons ends the call with an error.
 */
#include "channel_layer/redis.h"
#include "channel_layer/redis_words.h"
#include "core/log.h"
#include "core/mem.h"
#include "core/text.h"

#include <hiredis/hiredis.h>

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

enum {
    CHUNK_KEYS = 256,          /* of one script */
    CHUNK_BYTES = 1024 * 1024, /* after which no further key is added */
    CHUNKS_UNDER_WAY = 4,      /* of one call */
    NAMES_MAX = 256 * 1024 * 1024,
};
static const uint32_t no_index = UINT32_MAX;

struct group_member {
    uint32_t at;  /* in the call's bytes */
    uint16_t len; /* of the name */
    uint16_t nonlocal_len;
    uint32_t next; /* of the same key */
};

/* What one key gets. */
struct group_target {
    uint32_t first; /* member */
    uint32_t last;
    uint32_t count;
    uint32_t shard;
    uint32_t chunk; /* in which it was given; 0: in none yet */
};

struct group_call {
    struct redis_backend *b;
    struct layer_call *call;
    struct backend_own *own;
    struct redis_shard *home; /* the group's */
    struct redis_held held;
    uint64_t number;
    uint64_t deadline_ms;
    uint32_t losses; /* of the shard when the members were asked for */
    uint64_t now_s;
    struct redis_number score;
    struct buf bytes; /* the group, the body, the names of members */
    uint32_t group_len;
    uint32_t body_len;
    struct group_member *members;
    struct group_target *targets;
    uint32_t member_count; /* foreign ones */
    uint32_t all_count;
    uint32_t nodes; /* others of channelsd */
    uint32_t target_count;
    uint32_t shard;  /* where the next chunk goes */
    uint32_t target; /* the first that it may take */
    uint32_t chunks; /* so far */
    unsigned chunks_under_way;
    uint32_t full;
    uint32_t sent;
    enum err err;
    char why[ERR_TEXT_MAX];
};

/* A chunk that is being made. */
struct group_chunk {
    struct slice *args;
    uint32_t keys;
    struct redis_key *key_texts;
    struct redis_number *capacities;
    uint32_t *ends; /* of each member in b->sealed */
};

static struct slice group_of(const struct group_call *g)
{
    return slice_make(g->bytes.ptr, g->group_len);
}

static struct slice name_of(const struct group_call *g, const struct group_member *member)
{
    return slice_make(g->bytes.ptr + member->at, member->len);
}

static void free_group_call(struct group_call *g)
{
    buf_deinit(&g->bytes);
    mem_free(g->members);
    mem_free(g->targets);
    mem_free(g);
}

static void fail(struct group_call *g, enum err err, const char *why)
{
    if (g->err != ERR_OK && g->err != ERR_UNAVAILABLE)
        return; /* not knowing is the worse of the two */
    g->err = err;
    snprintf(g->why, sizeof(g->why), "%s", why);
}

static void report_full(struct group_call *g)
{
    uint64_t held_back = 0;
    if (g->full == 0)
        return;
    layer_stats(g->b->base.layer)->group_full += g->full;
    if (redis_notice(g->b, &g->b->full_notice, &held_back))
        log_event(LOG_INFO, "layer.group.full",
                  "text=\"%" PRIu32 " of %" PRIu32 " channels over capacity in group %.*s\" "
                  "held_back=%" PRIu64,
                  g->full, g->all_count, (int)g->group_len, (const char *)g->bytes.ptr, held_back);
}

static void add_words(struct group_call *g, const char *words)
{
    const size_t len = strlen(g->why);
    snprintf(g->why + len, sizeof(g->why) - len, "%s", words);
}

static void end_group_call(struct group_call *g)
{
    report_full(g);
    if (g->err == ERR_UNAVAILABLE && g->sent > 0) {
        g->err = ERR_TIMEOUT; /* it went to some: nobody may take it for unsent */
        add_words(g, " (sent to a part of the group)");
    }
    g->call->done(g->call, g->err, g->err == ERR_OK ? "" : g->why);
    free_group_call(g);
}

/* ---- 2: to the keys ---- */

static void give_chunks(struct group_call *g);

/* What goes with a chunk until it is answered. */
struct chunk_ticket {
    struct group_call *g;
    struct redis_shard *shard;
    uint32_t chunk;
    uint32_t keys;
};

/* The name that the @nth key (from 1) of the chunk has in its members. */
static struct slice target_name(const struct group_call *g, uint32_t chunk, long long nth)
{
    for (uint32_t i = 0; i < g->target_count; i++) {
        if (g->targets[i].chunk != chunk || --nth > 0)
            continue;
        const struct group_member *first = &g->members[g->targets[i].first];
        return slice_make(g->bytes.ptr + first->at, first->nonlocal_len);
    }
    return (struct slice){0};
}

/* One key of a chunk, or several, failed: @reply is the script's. */
static void report_key(struct group_call *g, const struct chunk_ticket *ticket,
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
        fail(g, ERR_UNAVAILABLE, why.text);
        return;
    }
    if (redis_notice(b, &b->key_notice, &held_back))
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

static void read_chunk_reply(struct group_call *g, const struct chunk_ticket *ticket,
                             const struct script_result *result)
{
    const redisReply *reply = result->reply;
    if (!is_chunk_reply(reply)) {
        fail(g, ERR_UNAVAILABLE, "Redis answered a group_send with something else");
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
static void split_chunk(struct group_call *g, const struct chunk_ticket *ticket)
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
    struct group_call *g = ticket->g;
    g->chunks_under_way--;
    if (result->err == ERR_OK) {
        read_chunk_reply(g, ticket, result);
    } else if (result->is_refused && strstr(result->why, "CROSSSLOT") != NULL && ticket->keys > 1) {
        split_chunk(g, ticket);
    } else {
        fail(g, result->err, result->why);
    }
    mem_free(ticket);
    give_chunks(g);
}

/* Adds one target: its key, capacity and sealed message. */
static enum err add_target(struct group_call *g, struct group_chunk *chunk,
                           struct group_target *target)
{
    struct redis_backend *b = g->b;
    const struct group_member *first = &g->members[target->first];
    struct slice *names = mem_try(target->count * sizeof(*names));
    if (names == NULL)
        return ERR_NOMEM;
    uint32_t at = target->first;
    for (uint32_t i = 0; i < target->count; i++, at = g->members[at].next)
        names[i] = name_of(g, &g->members[at]);
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
    (void)redis_number(&chunk->capacities[i], layer_config_capacity(b->config, name_of(g, first)));
    return ERR_OK;
}

/* Puts the arguments behind the keys and runs the script. */
static enum err give_chunk(struct group_call *g, struct group_chunk *chunk)
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
static bool next_chunk(struct group_call *g, struct group_chunk *chunk)
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
        fail(g, err == ERR_NOMEM ? ERR_UNAVAILABLE : ERR_INVALID,
             err == ERR_TOO_BIG ? "the message with the names of its members is too big"
                                : err_str(err));
        return true;
    }
    if (chunk->keys == 0)
        return false;
    err = give_chunk(g, chunk);
    if (err != ERR_OK)
        fail(g, ERR_UNAVAILABLE, "too much waits for this Redis already");
    return true;
}

/* Gives as many chunks as may be under way; ends the call when nothing is left. */
static void give_chunks(struct group_call *g)
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
        end_group_call(g);
}

/* ---- 1: the members ---- */

static void skip_member(struct group_call *g, struct slice name)
{
    struct redis_backend *b = g->b;
    uint64_t held_back = 0;
    layer_stats(b->base.layer)->group_skipped++;
    if (redis_notice(b, &b->member_notice, &held_back))
        log_event(LOG_WARN, "layer.group.member",
                  "group=%.*s bytes=%zu held_back=%" PRIu64
                  " text=\"a member is no channel name; it is skipped\"",
                  (int)g->group_len, (const char *)g->bytes.ptr, name.len, held_back);
}

/* Puts the member behind those of its key; @slots is a table of targets by key. */
static void sort_member(struct group_call *g, uint32_t *slots, size_t mask, uint32_t index)
{
    struct redis_backend *b = g->b;
    struct group_member *member = &g->members[index];
    const struct slice nonlocal = slice_make(g->bytes.ptr + member->at, member->nonlocal_len);
    size_t slot = strmap_hash(b->seed, nonlocal) & mask;
    for (; slots[slot] != no_index; slot = (slot + 1) & mask) {
        struct group_target *target = &g->targets[slots[slot]];
        const struct group_member *first = &g->members[target->first];
        if (!slice_eq(nonlocal, slice_make(g->bytes.ptr + first->at, first->nonlocal_len)))
            continue;
        g->members[target->last].next = index;
        target->last = index;
        target->count++;
        return;
    }
    slots[slot] = g->target_count;
    g->targets[g->target_count++] = (struct group_target){
        .first = index,
        .last = index,
        .count = 1,
        .shard = redis_shard_of(b, nonlocal)->index,
    };
}

static enum err sort_members(struct group_call *g)
{
    size_t size = 4;
    while (size < 2 * (size_t)g->member_count)
        size *= 2;
    uint32_t *slots = mem_try(size * sizeof(*slots));
    g->targets = mem_try(g->member_count * sizeof(*g->targets));
    if (slots == NULL || g->targets == NULL) {
        mem_free(slots);
        return ERR_NOMEM;
    }
    for (size_t i = 0; i < size; i++)
        slots[i] = no_index;
    for (uint32_t i = 0; i < g->member_count; i++)
        sort_member(g, slots, size - 1, i);
    mem_free(slots);
    return ERR_OK;
}

/* Whether it is the aggregate of another node, of which ours is @aggregate: all but the node. */
static bool is_aggregate(struct slice name, struct slice aggregate)
{
    static const char front[] = "specific.";
    const size_t at = sizeof(front) - 1;
    const size_t rest = at + NODE_ID_CHARS;
    return name.len == aggregate.len && memcmp(name.ptr, front, at) == 0 &&
           memcmp(name.ptr + rest, aggregate.ptr + rest, name.len - rest) == 0;
}

/* A member of this node: the aggregate is the layer's own business, others are told. */
static void own_member(struct group_call *g, struct slice name, struct slice aggregate)
{
    if (!slice_eq(name, aggregate))
        g->own->found(g->own, name);
}

static enum err take_member(struct group_call *g, struct slice name, struct slice aggregate)
{
    if (name.len == 0 || name.len > REDIS_MEMBER_MAX || !utf8_is_valid(name.ptr, name.len)) {
        skip_member(g, name);
        return ERR_OK;
    }
    const struct slice nonlocal = name_nonlocal(name);
    if (redis_is_own(g->b, nonlocal)) {
        own_member(g, name, aggregate);
        return ERR_OK;
    }
    g->nodes += is_aggregate(name, aggregate);
    const uint32_t at = g->bytes.len;
    const enum err err = buf_append(&g->bytes, name.ptr, name.len);
    if (err != ERR_OK)
        return err;
    g->members[g->member_count++] = (struct group_member){
        .at = at,
        .len = (uint16_t)name.len,
        .nonlocal_len = (uint16_t)nonlocal.len,
        .next = no_index,
    };
    return ERR_OK;
}

static enum err take_members(struct group_call *g, const redisReply *reply)
{
    struct redis_aggregate text;
    if (reply->type != REDIS_REPLY_ARRAY || reply->elements > UINT32_MAX / 4)
        return ERR_PROTO;
    if (reply->elements == 0)
        return ERR_OK;
    const struct slice aggregate = redis_aggregate(&text, g->b->node, group_of(g));
    g->all_count = (uint32_t)reply->elements;
    g->members = mem_try(reply->elements * sizeof(*g->members));
    enum err err = g->members == NULL ? ERR_NOMEM : ERR_OK;
    for (size_t i = 0; i < reply->elements && err == ERR_OK; i++) {
        const redisReply *member = reply->element[i];
        err = member->type != REDIS_REPLY_STRING
                  ? ERR_PROTO
                  : take_member(g, slice_make(member->str, member->len), aggregate);
    }
    redis_settle_seen(g->home, g->nodes + 1);
    return err == ERR_OK && g->member_count > 0 ? sort_members(g) : err;
}

static void ask_when_settled(struct group_call *g);

static void on_members(void *ctx, const struct script_result *result)
{
    struct group_call *g = ctx;
    if (g->losses != redis_settle_losses(g->home) && g->b->state == REDIS_OPEN &&
        uv_now(g->b->uv) < g->deadline_ms) {
        ask_when_settled(g);
        return;
    }
    if (result->err != ERR_OK) { /* without an answer, too: it was a question only */
        fail(g, result->err == ERR_TIMEOUT ? ERR_UNAVAILABLE : result->err, result->why);
        if (result->err == ERR_TIMEOUT)
            add_words(g, "; the message was not sent");
        end_group_call(g);
        return;
    }
    const enum err err = take_members(g, result->reply);
    if (err != ERR_OK)
        fail(g, ERR_UNAVAILABLE, err_str(err));
    if (err != ERR_OK || g->target_count == 0) {
        end_group_call(g);
        return;
    }
    g->now_s = (uint64_t)redis_now();
    (void)redis_score(g->b, &g->score);
    give_chunks(g);
}

static void end_refused(struct group_call *g, enum err err)
{
    redis_end_refused(g->home, g->call, err);
    free_group_call(g);
}

static void ask_members(struct group_call *g)
{
    struct redis_backend *b = g->b;
    struct redis_key key;
    struct redis_number oldest;
    const uint64_t now_ms = uv_now(b->uv);
    const struct slice args[] = {
        redis_key(b, &key, ":group:", group_of(g)),
        redis_oldest(&oldest, b->config->group_expiry_s),
    };
    const struct script_args run = {
        .script = SCRIPT_MEMBERS,
        .timeout_ms = now_ms < g->deadline_ms ? (unsigned)(g->deadline_ms - now_ms) : 1,
        .key_count = 1,
        .count = 2,
        .args = args,
    };
    g->losses = redis_settle_losses(g->home);
    const enum err err = redis_run(g->home, &run, on_members, g);
    if (err != ERR_OK)
        end_refused(g, err);
}

static void on_released(struct redis_held *held, enum err err, const char *why)
{
    struct group_call *g = CONTAINER_OF(held, struct group_call, held);
    if (err == ERR_OK) {
        ask_members(g);
        return;
    }
    redis_end_later(g->b, g->call, err, "%s", why);
    free_group_call(g);
}

static void ask_when_settled(struct group_call *g)
{
    if (redis_has_settled(g->home)) {
        ask_members(g);
        return;
    }
    g->held.released = on_released;
    g->held.deadline_ms = g->deadline_ms;
    g->held.bytes = sizeof(*g) + g->bytes.len;
    const enum err err = redis_settle_hold(g->home, &g->held, g->number);
    if (err != ERR_OK)
        end_refused(g, err);
}

void redis_group_send(struct backend *base, struct slice group, struct slice body,
                      struct layer_call *call, struct backend_own *own)
{
    struct redis_backend *b = redis_of(base);
    struct group_call *g = mem_alloc(sizeof(*g));
    g->b = b;
    g->home = redis_shard_of(b, group);
    g->call = call;
    g->own = own;
    g->number = b->group_sends++;
    g->deadline_ms = uv_now(b->uv) + b->config->timeout_ms;
    g->group_len = (uint32_t)group.len;
    g->body_len = (uint32_t)body.len;
    buf_init(&g->bytes, NAMES_MAX);
    enum err err = buf_append(&g->bytes, group.ptr, group.len);
    if (err == ERR_OK)
        err = buf_append(&g->bytes, body.ptr, body.len);
    if (err == ERR_OK)
        ask_when_settled(g);
    else
        end_refused(g, err);
}
