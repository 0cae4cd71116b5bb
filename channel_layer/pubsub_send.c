/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Publishing. One command for each message, however many receive it.
 *
 * A group_send to a group that clients of this node are in ends when Redis has answered and the
 * publication has come back on the other connection, whichever is later: what the sender does next
 * comes behind it everywhere. A publication is known again by the hash of its bytes; if another
 * node publishes the very same ones at that moment, the call ends with theirs. It is delivered all
 * the same: this is about the end of the call only.
 *
 * When a connection is lost:
 *   what is sent then     is held until all nodes are back (pubsub_nodes.h), to a channel as well:
 *                         others are to be there to get it; and then, to a group that clients of
 *                         this node are in, until Redis has confirmed the group's subscription
 *                         again; within the bounds of a link's queue, until the call's time is over
 *   what was not sent     alike
 *   what was published    can come back no more, and is delivered to the own members from here
 *   what is on its way    the same when Redis answers before it is asked for a new subscription;
 *                         otherwise it may come by that one, and when it does not, nobody knows
 */
#include "channel_layer/pubsub.h"

#include "core/mem.h"

#include <hiredis/hiredis.h>

#include <stdio.h>
#include <time.h>

/* ---- both ---- */

static uint64_t now_s(void)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (uint64_t)now.tv_sec;
}

/* Into b->sealed. False: the call ends. */
static bool seal(struct pubsub_backend *b, struct slice body, struct layer_call *call)
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

static enum err publish(struct pubsub_shard *shard, struct slice name, redis_link_done *done,
                        void *ctx, unsigned timeout_ms)
{
    const struct slice args[] = {slice_str("PUBLISH"), name, buf_slice(&shard->backend->sealed)};
    return redis_link_command(shard->link, done, ctx, timeout_ms, 3, args);
}

static void end_refused(struct pubsub_shard *shard, struct layer_call *call, enum err err)
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

static enum err outcome(enum err err, const redisReply *reply)
{
    return err == ERR_OK && reply->type == REDIS_REPLY_ERROR ? ERR_UNAVAILABLE : err;
}

/* Whether the link was lost before it sent what it was given, and there is time to do it again. */
static bool was_unsent(const struct pubsub_shard *shard, enum err err, const redisReply *reply,
                       uint64_t deadline_ms)
{
    return err == ERR_UNAVAILABLE && reply == NULL && !shard->backend->is_closing &&
           !pubsub_nodes_are_whole(shard) && uv_now(shard->backend->uv) < deadline_ms;
}

static unsigned left_ms(const struct pubsub_shard *shard, uint64_t deadline_ms)
{
    const uint64_t now_ms = uv_now(shard->backend->uv);
    return deadline_ms > now_ms ? (unsigned)(deadline_ms - now_ms) : 1;
}

/* ---- to a channel ---- */

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
    if (was_unsent(single->shard, err, reply, single->wait.deadline_ms)) {
        give_single(single);
        return;
    }
    mem_free(single);
    call->done(call, outcome(err, reply), why);
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
    const unsigned timeout_ms = left_ms(shard, single->wait.deadline_ms);
    enum err err = ERR_OK;
    if (!pubsub_nodes_are_whole(shard)) {
        err = pubsub_nodes_hold(shard, &single->wait, single->number);
    } else if (seal(shard->backend, body, single->call)) {
        err = publish(shard, channel, on_sent, single, timeout_ms);
    } else {
        mem_free(single);
        return;
    }
    if (err == ERR_OK)
        return;
    end_refused(shard, single->call, err);
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
        end_refused(shard, call, ERR_NOMEM);
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

/* ---- to a group ---- */

static bool must_return(const struct pubsub_group_send *send)
{
    return !dlist_is_empty(&send->link);
}

static size_t held_size(const struct pubsub_group_send *send)
{
    return sizeof(*send) + send->body.len;
}

static void forget(struct pubsub_group_send *send)
{
    if (send->is_held)
        send->shard->subscriber.held_bytes -= held_size(send);
    send->is_held = false;
    dlist_remove(&send->link);
    dlist_remove(&send->by_age);
}

static void finish(struct pubsub_group_send *send, enum err err, const char *why)
{
    struct layer_call *call = send->call;
    forget(send);
    mem_free(send);
    call->done(call, err, why);
}

/* It was published, and no connection brings it. */
static void finish_here(struct pubsub_group_send *send)
{
    forget(send); /* before others are told, who may do anything */
    layer_group_arrived(send->shard->backend->base.layer, send->group, send->body);
    finish(send, ERR_OK, "");
}

static void finish_unknown(struct pubsub_group_send *send)
{
    char why[ERR_TEXT_MAX];
    snprintf(why, sizeof(why),
             "%s: published, but it did not come back to this node in time: the connection that "
             "subscribes was lost",
             send->shard->host->text);
    finish(send, ERR_TIMEOUT, why);
}

static void give(struct pubsub_group_send *send);

static void on_group_sent(void *ctx, enum err err, const redisReply *reply, const char *why)
{
    struct pubsub_group_send *send = ctx;
    if (was_unsent(send->shard, err, reply, send->wait.deadline_ms)) {
        forget(send);
        give(send);
        return;
    }
    err = outcome(err, reply);
    send->is_answered = true;
    if (err != ERR_OK)
        finish(send, err, why);
    else if (send->is_lost && !must_return(send)) /* its time is over */
        finish_unknown(send);
    else if (send->is_lost && send->sub->state == SUB_OUT)
        finish_here(send);
    else if (!must_return(send))
        finish(send, ERR_OK, "");
}

static uint64_t hash_of(const struct pubsub_backend *b, struct slice payload)
{
    return strmap_hash(b->seed, payload);
}

/* False: the call ends, and @send is gone. */
static bool publish_to_group(struct pubsub_group_send *send, struct slice name)
{
    const unsigned timeout_ms = left_ms(send->shard, send->wait.deadline_ms);
    if (seal(send->shard->backend, send->body, send->call)) {
        const enum err err = publish(send->shard, name, on_group_sent, send, timeout_ms);
        if (err == ERR_OK)
            return true;
        end_refused(send->shard, send->call, err);
    }
    forget(send);
    mem_free(send);
    return false;
}

static struct pubsub_group_send *send_of(struct dlist *by_age)
{
    return CONTAINER_OF(by_age, struct pubsub_group_send, by_age);
}

/* Its place is nearly always the end. */
static void note_deadline(struct pubsub_group_send *send)
{
    struct pubsub_backend *b = send->shard->backend;
    struct dlist *before = b->returning.prev;
    dlist_remove(&send->by_age);
    while (before != &b->returning && send_of(before)->wait.deadline_ms > send->wait.deadline_ms)
        before = before->prev;
    dlist_append(before->next, &send->by_age);
    if (b->returning.next == &send->by_age)
        pubsub_set_deadline(b);
}

/* What was just published is in b->sealed. */
static void expect_back(struct pubsub_group_send *send, struct pubsub_sub *sub)
{
    send->sub = sub;
    send->body_hash = hash_of(send->shard->backend, buf_slice(&send->shard->backend->sealed));
    dlist_append(&sub->returns, &send->link);
}

static void hold(struct pubsub_group_send *send, struct pubsub_sub *sub)
{
    struct pubsub_shard *shard = send->shard;
    struct pubsub_subscriber *s = &shard->subscriber;
    if (s->held_bytes > 0 && s->held_bytes + held_size(send) > REDIS_LINK_QUEUE_BYTES) {
        pubsub_end_later(shard->backend, send->call, ERR_UNAVAILABLE,
                         "%s: subscriptions are not back yet, and too much waits for them already",
                         shard->host->text);
        mem_free(send);
        return;
    }
    if (s->held_bytes == 0)
        pubsub_hurry(shard, s->link);
    s->held_bytes += held_size(send);
    send->is_held = true;
    send->sub = sub;
    dlist_append(&sub->held, &send->link);
    note_deadline(send);
}

static void on_group_released(struct redis_held *held, enum err err, const char *why)
{
    struct pubsub_group_send *send = CONTAINER_OF(held, struct pubsub_group_send, wait);
    if (err == ERR_OK) {
        give(send);
        return;
    }
    pubsub_end_later(send->shard->backend, send->call, err, "%s", why);
    mem_free(send);
}

/* Until all nodes are back. */
static void hold_for_all(struct pubsub_group_send *send)
{
    dlist_remove(&send->by_age);
    const enum err err = pubsub_nodes_hold(send->shard, &send->wait, send->number);
    if (err == ERR_OK)
        return;
    end_refused(send->shard, send->call, err);
    mem_free(send);
}

/* To Redis, or to what is held; it is in no list but @by_age. */
static void give(struct pubsub_group_send *send)
{
    struct pubsub_shard *shard = send->shard;
    struct pubsub_name text;
    const struct slice name = pubsub_group_name(shard->backend, &text, send->group);
    struct pubsub_sub *sub = pubsub_find_sub(shard, name);
    if (!pubsub_nodes_are_whole(shard)) {
        hold_for_all(send);
    } else if (sub != NULL && pubsub_sub_is_away(sub)) {
        hold(send, sub);
    } else if (!publish_to_group(send, name)) {
        return;
    } else if (sub != NULL && sub->is_group && sub->state == SUB_IN) {
        expect_back(send, sub);
        note_deadline(send);
    } else {
        dlist_remove(&send->by_age); /* it has no members here, or no more */
    }
}

void pubsub_group_send(struct backend *base, struct slice group, struct slice body,
                       struct layer_call *call, struct backend_own *own)
{
    struct pubsub_backend *b = pubsub_of(base);
    struct pubsub_name text;
    (void)own; /* nobody is in a group singly */
    struct pubsub_group_send *send = mem_alloc(sizeof(*send));
    send->shard = pubsub_shard_of(b, pubsub_group_name(b, &text, group));
    send->number = b->sends++;
    send->call = call;
    send->group = group;
    send->body = body;
    send->wait.deadline_ms = uv_now(b->uv) + b->config->timeout_ms;
    send->wait.bytes = held_size(send);
    send->wait.released = on_group_released;
    dlist_init(&send->link);
    dlist_init(&send->by_age);
    give(send);
}

void pubsub_release(struct pubsub_sub *sub)
{
    struct pubsub_subscriber *s = &sub->shard->subscriber;
    struct dlist *node = NULL;
    if (pubsub_sub_is_away(sub))
        return;
    while ((node = dlist_take_first(&sub->held)) != NULL) {
        struct pubsub_group_send *send = CONTAINER_OF(node, struct pubsub_group_send, link);
        s->held_bytes -= held_size(send);
        send->is_held = false;
        give(send);
    }
}

void pubsub_came_back(struct pubsub_sub *sub, struct slice payload)
{
    if (dlist_is_empty(&sub->returns))
        return;
    const uint64_t hash = hash_of(sub->shard->backend, payload);
    for (struct dlist *n = sub->returns.next; n != &sub->returns; n = n->next) {
        struct pubsub_group_send *send = CONTAINER_OF(n, struct pubsub_group_send, link);
        if (send->body_hash != hash)
            continue;
        send->is_lost = false;
        forget(send);
        if (send->is_answered)
            finish(send, ERR_OK, "");
        return;
    }
}

void pubsub_lose_returns(struct pubsub_sub *sub, struct dlist *ended)
{
    const bool is_ours = sub->is_group && sub->is_joined;
    struct dlist *next = NULL;
    for (struct dlist *n = sub->returns.next; n != &sub->returns; n = next) {
        struct pubsub_group_send *send = CONTAINER_OF(n, struct pubsub_group_send, link);
        next = n->next;
        send->is_lost = is_ours;
        if (is_ours && !send->is_answered)
            continue;
        dlist_remove(&send->link);
        dlist_append(ended, &send->link);
    }
}

void pubsub_end_returns(struct dlist *ended)
{
    while (!dlist_is_empty(ended)) {
        struct pubsub_group_send *send = CONTAINER_OF(ended->next, struct pubsub_group_send, link);
        if (!send->is_answered)
            forget(send);
        else if (send->is_lost)
            finish_here(send);
        else
            finish(send, ERR_OK, "");
    }
}

void pubsub_forget_returns(struct pubsub_sub *sub)
{
    while (!dlist_is_empty(&sub->returns)) {
        struct pubsub_group_send *send =
            CONTAINER_OF(sub->returns.next, struct pubsub_group_send, link);
        send->is_lost = false;
        forget(send);
    }
}

static void expire(struct pubsub_group_send *send)
{
    char why[ERR_TEXT_MAX];
    const char *reason = redis_link_why(send->shard->subscriber.link);
    if (send->is_held) {
        snprintf(why, sizeof(why), "subscriptions are not back yet: %s",
                 reason[0] != '\0' ? reason : send->shard->host->text);
        finish(send, ERR_UNAVAILABLE, why);
    } else if (!send->is_answered) {
        forget(send); /* ends with the command */
    } else if (send->is_lost) {
        finish_unknown(send);
    } else {
        finish(send, ERR_OK, ""); /* it was published, and will come */
    }
}

void pubsub_expire_returns(struct pubsub_backend *b, uint64_t now_ms)
{
    while (!dlist_is_empty(&b->returning)) {
        struct pubsub_group_send *send = send_of(b->returning.next);
        if (send->wait.deadline_ms > now_ms)
            return;
        expire(send);
    }
}

/* Those that Redis has not answered yet end with the link. */
void pubsub_end_all_returns(struct pubsub_backend *b)
{
    while (!dlist_is_empty(&b->returning)) {
        struct pubsub_group_send *send = send_of(b->returning.next);
        const bool was_held = send->is_held;
        send->is_lost = false;
        forget(send);
        if (was_held)
            pubsub_end_later(b, send->call, ERR_CLOSED, "the layer ends");
        else if (send->is_answered)
            pubsub_end_later(b, send->call, ERR_OK, "%s", "");
        else
            continue;
        mem_free(send);
    }
}
