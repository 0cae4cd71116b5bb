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
 * When the connection that subscribes is lost:
 *   what is sent then     is held until Redis has confirmed the group's subscription again, within
 *                         the bounds of a link's queue, until the call's time is over
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

/* ---- to a channel ---- */

static void on_sent(void *ctx, enum err err, const redisReply *reply, const char *why)
{
    struct layer_call *call = ctx;
    call->done(call, outcome(err, reply), why);
}

void pubsub_send(struct backend *base, struct slice channel, struct slice body,
                 struct layer_call *call)
{
    struct pubsub_backend *b = pubsub_of(base);
    struct pubsub_shard *shard = pubsub_shard_of(b, channel);
    if (!seal(b, body, call))
        return;
    const enum err err = publish(shard, channel, on_sent, call, 0);
    if (err != ERR_OK)
        end_refused(shard, call, err);
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

static void on_group_sent(void *ctx, enum err err, const redisReply *reply, const char *why)
{
    struct pubsub_group_send *send = ctx;
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
    struct pubsub_backend *b = send->shard->backend;
    const uint64_t now_ms = uv_now(b->uv);
    const uint64_t left_ms = send->deadline_ms > now_ms ? send->deadline_ms - now_ms : 1;
    if (seal(b, send->body, send->call)) {
        const enum err err = publish(send->shard, name, on_group_sent, send, (unsigned)left_ms);
        if (err == ERR_OK)
            return true;
        end_refused(send->shard, send->call, err);
    }
    forget(send);
    mem_free(send);
    return false;
}

static void note_deadline(struct pubsub_group_send *send)
{
    struct pubsub_backend *b = send->shard->backend;
    dlist_append(&b->returning, &send->by_age);
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

void pubsub_group_send(struct backend *base, struct slice group, struct slice body,
                       struct layer_call *call, struct backend_own *own)
{
    struct pubsub_backend *b = pubsub_of(base);
    struct pubsub_name text;
    (void)own; /* nobody is in a group singly */
    const struct slice name = pubsub_group_name(b, &text, group);
    struct pubsub_shard *shard = pubsub_shard_of(b, name);
    struct pubsub_sub *sub = pubsub_find_sub(shard, name);
    struct pubsub_group_send *send = mem_alloc(sizeof(*send));
    send->shard = shard;
    send->call = call;
    send->group = group;
    send->body = body;
    send->deadline_ms = uv_now(b->uv) + b->config->timeout_ms;
    dlist_init(&send->link);
    dlist_init(&send->by_age);
    if (sub != NULL && pubsub_sub_is_away(sub)) {
        hold(send, sub);
        return;
    }
    if (!publish_to_group(send, name) || sub == NULL || !sub->is_group || sub->state != SUB_IN)
        return;
    expect_back(send, sub);
    note_deadline(send);
}

void pubsub_release(struct pubsub_sub *sub)
{
    struct pubsub_subscriber *s = &sub->shard->subscriber;
    struct dlist *node = NULL;
    if (pubsub_sub_is_away(sub))
        return;
    const bool is_back = sub->is_group && sub->state == SUB_IN;
    while ((node = dlist_take_first(&sub->held)) != NULL) {
        struct pubsub_group_send *send = CONTAINER_OF(node, struct pubsub_group_send, link);
        s->held_bytes -= held_size(send);
        send->is_held = false;
        if (!publish_to_group(send, sub->name))
            continue;
        if (is_back)
            expect_back(send, sub);
        else
            dlist_remove(&send->by_age); /* its members here have left */
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
        struct pubsub_group_send *send =
            CONTAINER_OF(b->returning.next, struct pubsub_group_send, by_age);
        if (send->deadline_ms > now_ms)
            return;
        expire(send);
    }
}

/* Those that Redis has not answered yet end with the link. */
void pubsub_end_all_returns(struct pubsub_backend *b)
{
    while (!dlist_is_empty(&b->returning)) {
        struct pubsub_group_send *send =
            CONTAINER_OF(b->returning.next, struct pubsub_group_send, by_age);
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
