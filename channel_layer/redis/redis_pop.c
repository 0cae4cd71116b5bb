/* SPDX-License-Identifier: BSD-3-Clause */
#include "channel_layer/redis/redis_pop.h"

#include "channel_layer/redis/redis_words.h"
#include "core/mem.h"

#include <hiredis/hiredis.h>

enum {
    POLL_MS = 5000, /* beside being told */
    REST_MS = 1000,
    WRONG_MS = 5000,
};

/* What goes with a pop, or a count, until it is answered. */
struct pop_ticket {
    struct normal_channel *c;
    struct redis_shard *shard;
    unsigned count; /* 0: nothing is popped */
    unsigned left;  /* answers */
    bool has_failed;
    bool is_refused; /* Redis said no: it will again */
    bool is_counted;
    bool has_more; /* what was counted */
};

static void hand_over(struct normal_channel *c, struct redis_shard *shard,
                      const struct redis_pair *pair)
{
    struct redis_backend *b = c->b;
    struct wire_message message;
    struct err_text why;
    uint64_t handle = 0;
    if (redis_taken_add(shard, c->name, pair->member, pair->score, &handle) != ERR_OK) {
        redis_taken_doubt(shard); /* which gives it back */
        return;
    }
    if (redis_is_late(shard, c->name, pair->score)) {
        redis_taken(&b->base, c->name, handle);
        return;
    }
    b->body.len = 0;
    const enum err err =
        wire_open(&b->wire, &message, &b->body, pair->member, (uint64_t)redis_now(), &why);
    if (err == ERR_NOMEM) {
        redis_put_back(&b->base, c->name, handle);
        return;
    }
    if (err != ERR_OK) {
        redis_report_undecodable(shard, "channel", c->name, why.text);
        redis_taken(&b->base, c->name, handle);
        return;
    }
    const unsigned asked = c->asked;
    if (b->state != REDIS_OPEN ||
        !layer_normal_arrived(b->base.layer, c->name, handle, buf_slice(&b->body)))
        redis_put_back(&b->base, c->name, handle);
    else if (c->asked == asked && c->wanted > 0)
        c->wanted--;
}

/* All that was asked is answered. */
static void end_asking(struct pop_ticket *ticket)
{
    struct normal_channel *c = ticket->c;
    const struct redis_normal_shard *s = &ticket->shard->normal;
    struct normal_place *place = &c->places[ticket->shard->index];
    const uint64_t now_ms = uv_now(c->b->uv);
    c->places_asked--;
    if (ticket->has_failed || !ticket->is_counted) {
        place->state = PLACE_WRONG;
        place->next_ms = now_ms + (ticket->is_refused ? WRONG_MS : REST_MS);
    } else {
        place->state = ticket->has_more ? PLACE_READY : PLACE_EMPTY;
        if (!ticket->has_more && place->is_dirty)
            place->state = PLACE_UNKNOWN;
        place->next_ms = now_ms + (s->can_track ? POLL_MS : REDIS_POP_POLL_MS);
    }
    mem_free(ticket);
    redis_normal_step(c);
}

static void on_counted(void *ctx, enum err err, const redisReply *reply, const char *why)
{
    struct pop_ticket *ticket = ctx;
    if (err == ERR_OK && reply->type == REDIS_REPLY_ERROR && !ticket->has_failed)
        redis_report_refused(ticket->shard->backend, why);
    ticket->is_refused = ticket->is_refused || (err == ERR_OK && reply->type == REDIS_REPLY_ERROR);
    ticket->is_counted = err == ERR_OK && reply->type == REDIS_REPLY_INTEGER;
    ticket->has_more = ticket->is_counted && reply->integer > 0;
    if (--ticket->left == 0)
        end_asking(ticket);
}

/* Whether waiting is in vain, and what for: a pop needs the channel and what is taken in one slot.
 */
static enum err hopelessness(const struct script_result *result)
{
    static const char *const words[] = {"CROSSSLOT", "MOVED"};
    if (!result->is_refused)
        return ERR_OK;
    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
        if (redis_is_error(result->reply, words[i]))
            return ERR_UNSUPPORTED;
    return redis_is_denied(result->reply) ? ERR_ACCESS : ERR_OK;
}

static void on_popped(void *ctx, const struct script_result *result)
{
    struct pop_ticket *ticket = ctx;
    struct normal_channel *c = ticket->c;
    struct redis_shard *shard = ticket->shard;
    unsigned left = ticket->count;
    ticket->has_failed = result->err != ERR_OK || result->reply->type != REDIS_REPLY_ARRAY;
    ticket->is_refused = ticket->is_refused || result->is_refused;
    shard->normal.pops--;
    if (result->is_refused)
        redis_report_refused(shard->backend, result->why);
    else if (ticket->has_failed)
        redis_taken_doubt(shard); /* it may have been done all the same */
    struct redis_pair pair;
    for (size_t at = 0; !ticket->has_failed && redis_next_pair(result->reply, &at, &pair);) {
        if (left > 0) {
            left--;
            c->coming--;
        }
        hand_over(c, shard, &pair);
    }
    c->coming -= left;
    /* Was counted before it was popped (the script had to be given again): counted again then. */
    if (ticket->is_counted)
        c->places[shard->index].is_dirty = true;
    const enum err hopeless = hopelessness(result);
    if (hopeless != ERR_OK)
        layer_normal_failed(c->b->base.layer, c->name, hopeless, result->why);
    if (--ticket->left == 0)
        end_asking(ticket);
}

static enum err give_pop(struct pop_ticket *ticket)
{
    struct redis_shard *shard = ticket->shard;
    struct redis_backend *b = shard->backend;
    struct redis_key key;
    struct redis_key own;
    struct redis_number count;
    struct redis_number keep;
    const struct slice args[] = {
        redis_key(b, &key, "", ticket->c->name),
        redis_key(b, &own, ":channelsd:taken:", slice_str(b->node)),
        redis_number(&count, ticket->count),
        ticket->c->name,
        redis_number(&keep, redis_upkeep_keep_s(shard)),
    };
    const struct script_args run = {
        .script = SCRIPT_POP,
        .timeout_ms = b->config->timeout_ms,
        .key_count = 2,
        .count = sizeof(args) / sizeof(args[0]),
        .args = args,
    };
    const enum err err = redis_script_run(&b->scripts, shard->normal.link, &run, on_popped, ticket);
    if (err == ERR_OK) {
        shard->normal.pops++;
        ticket->c->coming += ticket->count;
    }
    return err;
}

static void on_restored(void *ctx, const struct script_result *result)
{
    struct redis_shard *shard = ctx;
    if (result->err == ERR_OK && result->reply->type == REDIS_REPLY_INTEGER)
        layer_stats(shard->backend->base.layer)->restored += (uint64_t)result->reply->integer;
}

static void restore(struct normal_channel *c, struct redis_shard *shard)
{
    struct redis_backend *b = c->b;
    struct redis_key key;
    struct redis_key inflight;
    struct redis_number expiry;
    struct slice args[] = {
        redis_key(b, &key, "", c->name),
        redis_key(b, &inflight, "", c->name),
        redis_number(&expiry, b->config->expiry_s),
    };
    const struct slice tail = slice_str("$inflight");
    memcpy(inflight.text + inflight.len, tail.ptr, tail.len + 1);
    args[1].len += tail.len;
    const struct script_args run = {
        .script = SCRIPT_RESTORE,
        .timeout_ms = b->config->timeout_ms,
        .key_count = 2,
        .count = 3,
        .args = args,
    };
    if (redis_script_run(&b->scripts, shard->normal.link, &run, on_restored, shard) == ERR_OK)
        c->places[shard->index].is_restored = true;
}

void redis_pop_ask(struct normal_channel *c, struct redis_shard *shard, unsigned count)
{
    struct redis_key key;
    struct normal_place *place = &c->places[shard->index];
    struct pop_ticket *ticket = mem_alloc(sizeof(*ticket));
    *ticket = (struct pop_ticket){.c = c, .shard = shard, .count = count};
    place->is_dirty = false;
    if (!place->is_restored)
        restore(c, shard);
    place->state = PLACE_ASKED;
    c->places_asked++;
    ticket->left = 1; /* this function */
    enum err err = count > 0 ? give_pop(ticket) : ERR_OK;
    if (count > 0 && err == ERR_OK)
        ticket->left++;
    /* A plain read behind the script: it is this that Redis remembers for us. */
    const struct slice args[] = {slice_str("ZCARD"), redis_key(c->b, &key, "", c->name)};
    if (err == ERR_OK &&
        redis_link_command(shard->normal.link, on_counted, ticket, 0, 2, args) == ERR_OK)
        ticket->left++;
    if (--ticket->left == 0)
        end_asking(ticket);
}
