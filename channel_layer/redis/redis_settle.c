/* SPDX-License-Identifier: BSD-3-Clause */
#include "channel_layer/redis/redis_settle.h"

#include "channel_layer/redis/redis.h"
#include "core/log.h"

#include <hiredis/hiredis.h>

#include <assert.h>
#include <ctype.h>
#include <inttypes.h>
#include <stdio.h>

enum { NOTE_S = 60 }; /* that a note lives: it is of use for a second */

static uint64_t now_of(const struct redis_shard *shard)
{
    return uv_now(shard->backend->uv);
}

void redis_settle_init(struct redis_shard *shard)
{
    shard->settle = (struct redis_settle){.state = SETTLE_WHOLE};
    redis_held_init(&shard->settle.held);
}

void redis_settle_deinit(struct redis_shard *shard)
{
    redis_held_deinit(&shard->settle.held);
}

bool redis_has_settled(const struct redis_shard *shard)
{
    return shard->settle.state == SETTLE_WHOLE;
}

uint32_t redis_settle_losses(const struct redis_shard *shard)
{
    return shard->settle.losses;
}

/* ---- what is held ---- */

static void hurry(struct redis_shard *shard)
{
    if (shard->backend->tick_ms > REDIS_SETTLE_POLL_MS)
        redis_set_tick(shard->backend, REDIS_SETTLE_POLL_MS);
}

static void on_poked(void *ctx, enum err err, const redisReply *reply, const char *why)
{
    struct redis_shard *shard = ctx;
    (void)err; /* the link tells by itself that it is up */
    (void)reply;
    (void)why;
    shard->settle.is_poking = false;
}

/* A link for which a command waits tries again sooner. */
static void poke(struct redis_shard *shard)
{
    struct redis_settle *s = &shard->settle;
    const struct slice ping = slice_str("PING");
    if (s->state == SETTLE_LOST && !s->is_poking)
        s->is_poking = redis_link_command(shard->link, on_poked, shard, 0, 1, &ping) == ERR_OK;
}

enum err redis_settle_hold(struct redis_shard *shard, struct redis_held *held, uint64_t number)
{
    struct redis_settle *s = &shard->settle;
    assert(s->state != SETTLE_WHOLE);
    if (shard->backend->state != REDIS_OPEN)
        return ERR_CLOSED;
    const enum err err = redis_held_add(&s->held, held, number);
    if (err != ERR_OK)
        return err;
    poke(shard);
    hurry(shard);
    return ERR_OK;
}

static void expire(struct redis_shard *shard, uint64_t now_ms)
{
    enum { SAID_MAX = 400 };
    char why[ERR_TEXT_MAX];
    const char *said = redis_link_why(shard->link);
    if (said[0] != '\0')
        snprintf(why, sizeof(why), "%.*s; the message was not sent", SAID_MAX, said);
    else
        snprintf(why, sizeof(why),
                 "%s: Redis is back, but not all nodes have joined their groups again yet; the "
                 "message was not sent",
                 shard->host->text);
    /* One that would be over before the next look is over now: nobody waits for too long. */
    redis_held_expire(&shard->settle.held, now_ms + REDIS_SETTLE_POLL_MS, why);
}

/* ---- settling ---- */

static void settle(struct redis_shard *shard)
{
    struct redis_settle *s = &shard->settle;
    const bool is_whole = s->returned >= s->wanted;
    log_event(is_whole ? LOG_INFO : LOG_WARN, "layer.redis.settled",
              "host=%s ms=%" PRIu64 " nodes=%u of=%u held=%" PRIu64 " failed=%" PRIu64,
              shard->host->text, now_of(shard) - s->up_ms, s->returned, s->wanted, s->held.held,
              s->held.failed);
    s->state = SETTLE_WHOLE;
    s->wanted = 0;
    s->held.held = 0;
    s->held.failed = 0;
    memcpy(s->whole_run, s->run, sizeof(s->run));
    redis_held_release(&s->held, ERR_OK, "");
}

static struct slice note_key(const struct redis_shard *shard, struct redis_key *out)
{
    return redis_key(shard->backend, out, ":channelsd:back:", slice_str(shard->settle.run));
}

static void on_count(void *ctx, enum err err, const redisReply *reply, const char *why)
{
    struct redis_shard *shard = ctx;
    struct redis_settle *s = &shard->settle;
    (void)why; /* then the time decides */
    s->is_asking = false;
    if (err != ERR_OK || s->state != SETTLE_JOINED || reply->type != REDIS_REPLY_INTEGER ||
        shard->backend->state != REDIS_OPEN)
        return;
    s->returned = reply->integer < INT32_MAX ? (unsigned)reply->integer : INT32_MAX;
    if (s->returned >= s->wanted)
        settle(shard);
}

static void ask(struct redis_shard *shard)
{
    struct redis_settle *s = &shard->settle;
    struct redis_key key;
    const struct slice args[] = {slice_str("SCARD"), note_key(shard, &key)};
    if (!s->is_asking)
        s->is_asking = redis_link_command(shard->link, on_count, shard, 0, 2, args) == ERR_OK;
}

/* Both are known, in either order: a node without groups has joined them at once. */
static void note(struct redis_shard *shard)
{
    struct redis_settle *s = &shard->settle;
    struct redis_key key;
    struct redis_number keep;
    if (!s->has_run || !s->has_joined || s->is_noted)
        return;
    const struct slice add[] = {slice_str("SADD"), note_key(shard, &key),
                                slice_str(shard->backend->node)};
    const struct slice live[] = {slice_str("EXPIRE"), add[1], redis_number(&keep, NOTE_S)};
    s->is_noted = true;
    redis_tell(shard, 3, add);
    redis_tell(shard, 3, live);
    if (s->state != SETTLE_BACK) /* others may wait for this one */
        return;
    s->state = SETTLE_JOINED;
    ask(shard);
}

void redis_settle_joined(struct redis_shard *shard, uint32_t losses)
{
    struct redis_settle *s = &shard->settle;
    if (losses != s->losses || s->state == SETTLE_LOST)
        return;
    s->has_joined = true;
    note(shard);
}

/* The run of which INFO tells; nothing when it does not. */
static void read_run(struct redis_settle *s, const redisReply *reply)
{
    static const char name[] = "run_id:";
    const size_t name_len = sizeof(name) - 1;
    if (reply->type != REDIS_REPLY_STRING && reply->type != REDIS_REPLY_VERB)
        return;
    const char *at = memmem(reply->str, reply->len, name, name_len);
    if (at == NULL)
        return;
    const char *const end = reply->str + reply->len;
    size_t len = 0;
    for (at += name_len; at + len < end && isalnum((unsigned char)at[len]); len++)
        if (len == REDIS_RUN_CHARS)
            return;
    memcpy(s->run, at, len);
    s->run[len] = '\0';
}

static void on_info(void *ctx, enum err err, const redisReply *reply, const char *why)
{
    struct redis_shard *shard = ctx;
    struct redis_settle *s = &shard->settle;
    (void)why; /* not allowed: a run without a name */
    if (err != ERR_OK || shard->backend->state != REDIS_OPEN)
        return;
    read_run(s, reply);
    s->has_run = true;
    if (s->state == SETTLE_WHOLE)
        memcpy(s->whole_run, s->run, sizeof(s->run));
    if (s->state != SETTLE_BACK) {
        note(shard);
        return;
    }
    const bool is_same = s->run[0] != '\0' && strcmp(s->run, s->whole_run) == 0;
    if (is_same)
        s->returned = s->wanted;
    else if (s->wanted <= 1)
        s->returned = 1;
    if (is_same || s->wanted <= 1)
        settle(shard);
    note(shard);
}

/* How many nodes there were of late, with this one. */
static unsigned nodes_of(const struct redis_settle *s)
{
    return s->living > s->seen ? s->living : s->seen;
}

static void begin(struct redis_settle *s, enum redis_settle_state state)
{
    const unsigned nodes = nodes_of(s);
    if (s->state == SETTLE_WHOLE && nodes > s->wanted)
        s->wanted = nodes;
    s->state = state;
    s->losses++;
    s->returned = 0;
    s->has_joined = false;
    s->is_noted = false;
}

void redis_settle_down(struct redis_shard *shard)
{
    struct redis_settle *s = &shard->settle;
    if (s->was_up)
        begin(s, SETTLE_LOST);
}

void redis_settle_up(struct redis_shard *shard, bool is_first)
{
    struct redis_settle *s = &shard->settle;
    const struct slice args[] = {slice_str("INFO"), slice_str("server")};
    s->was_up = true;
    s->has_run = false;
    s->run[0] = '\0';
    s->up_ms = now_of(shard);
    if (!is_first) {
        begin(s, SETTLE_BACK);
        hurry(shard);
    } else {
        s->is_noted = true; /* nobody waits for one that was not there before */
    }
    if (redis_link_command(shard->link, on_info, shard, 0, 2, args) != ERR_OK)
        s->has_run = true; /* no memory: one without a name */
}

void redis_settle_emptied(struct redis_shard *shard)
{
    struct redis_settle *s = &shard->settle;
    if (s->state != SETTLE_WHOLE || nodes_of(s) <= 1)
        return; /* it is known already, or nobody is waited for */
    begin(s, SETTLE_BACK);
    s->up_ms = now_of(shard);
    s->whole_run[0] = '\0';
    hurry(shard);
}

void redis_settle_living(struct redis_shard *shard, unsigned nodes)
{
    struct redis_settle *s = &shard->settle;
    if (s->state != SETTLE_WHOLE)
        return;
    s->living = nodes;
    s->seen = 0;
}

void redis_settle_seen(struct redis_shard *shard, unsigned nodes)
{
    struct redis_settle *s = &shard->settle;
    if (s->state == SETTLE_WHOLE && nodes > s->seen)
        s->seen = nodes;
}

/* ---- time ---- */

void redis_settle_tick(struct redis_shard *shard, uint64_t now_ms)
{
    struct redis_settle *s = &shard->settle;
    if (s->state == SETTLE_WHOLE)
        return;
    if (s->state == SETTLE_JOINED)
        ask(shard);
    if (s->state != SETTLE_LOST && now_ms >= s->up_ms + REDIS_SETTLE_MS) {
        settle(shard);
        return;
    }
    expire(shard, now_ms);
    if (!redis_held_is_empty(&s->held))
        poke(shard);
    if (!redis_held_is_empty(&s->held) || s->state != SETTLE_LOST)
        hurry(shard);
}

/* ---- the end ---- */

void redis_settle_leave(struct redis_shard *shard)
{
    char why[ERR_TEXT_MAX];
    snprintf(why, sizeof(why), "%s: closed", shard->host->text);
    redis_held_release(&shard->settle.held, ERR_CLOSED, why);
}

void redis_settle_forget(struct redis_shard *shard)
{
    struct redis_key key;
    const struct slice args[] = {slice_str("SREM"), note_key(shard, &key),
                                 slice_str(shard->backend->node)};
    if (shard->settle.was_up)
        redis_tell(shard, 3, args);
}
