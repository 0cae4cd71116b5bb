/* SPDX-License-Identifier: BSD-3-Clause
 *
 * One message to a group: one command, however many receive it.
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
#include "channel_layer/pubsub/pubsub_publish.h"

#include "core/mem.h"

#include <hiredis/hiredis.h>

#include <stdio.h>

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
    if (pubsub_was_unsent(send->shard, err, reply, send->wait.deadline_ms)) {
        forget(send);
        give(send);
        return;
    }
    err = pubsub_outcome(err, reply);
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
    const unsigned timeout_ms = pubsub_left_ms(send->shard, send->wait.deadline_ms);
    if (pubsub_seal(send->shard->backend, send->body, send->call)) {
        const enum err err = pubsub_publish(send->shard, name, on_group_sent, send, timeout_ms);
        if (err == ERR_OK)
            return true;
        pubsub_end_refused(send->shard, send->call, err);
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
    pubsub_end_refused(send->shard, send->call, err);
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
