/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Publishing. One command for each message, however many receive it.
 *
 * A group_send to a group that clients of this node are in ends when Redis has answered and the
 * publication has come back on the other connection, whichever is later: what the sender does next
 * comes behind it everywhere. A publication is known again by the hash of its bytes; if another
 * node publishes the very same ones at that moment, the call ends with theirs. It is delivered all
 * the same: this is about the end of the call only.
 */
#include "channel_layer/pubsub.h"

#include "core/mem.h"

#include <hiredis/hiredis.h>

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
                        void *ctx)
{
    const struct slice args[] = {slice_str("PUBLISH"), name, buf_slice(&shard->backend->sealed)};
    return redis_link_command(shard->link, done, ctx, 0, 3, args);
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
    const enum err err = publish(shard, channel, on_sent, call);
    if (err != ERR_OK)
        end_refused(shard, call, err);
}

/* ---- to a group ---- */

static bool must_return(const struct pubsub_group_send *send)
{
    return !dlist_is_empty(&send->link);
}

static void forget_return(struct pubsub_group_send *send)
{
    dlist_remove(&send->link);
    dlist_remove(&send->by_age);
}

static void finish(struct pubsub_group_send *send, enum err err, const char *why)
{
    struct layer_call *call = send->call;
    forget_return(send);
    mem_free(send);
    call->done(call, err, why);
}

/* It came back, or will not. */
static void returned(struct pubsub_group_send *send)
{
    forget_return(send);
    if (send->is_answered)
        finish(send, ERR_OK, "");
}

static void on_group_sent(void *ctx, enum err err, const redisReply *reply, const char *why)
{
    struct pubsub_group_send *send = ctx;
    err = outcome(err, reply);
    send->is_answered = true;
    if (err != ERR_OK)
        finish(send, err, why);
    else if (!must_return(send))
        finish(send, ERR_OK, "");
}

static uint64_t hash_of(const struct pubsub_backend *b, struct slice payload)
{
    return strmap_hash(b->seed, payload);
}

void pubsub_group_send(struct backend *base, struct slice group, struct slice body,
                       struct layer_call *call, struct backend_own *own)
{
    struct pubsub_backend *b = pubsub_of(base);
    struct pubsub_name text;
    (void)own; /* nobody is in a group singly */
    const struct slice name = pubsub_group_name(b, &text, group);
    struct pubsub_shard *shard = pubsub_shard_of(b, name);
    if (!seal(b, body, call))
        return;
    struct pubsub_group_send *send = mem_alloc(sizeof(*send));
    send->backend = b;
    send->call = call;
    dlist_init(&send->link);
    dlist_init(&send->by_age);
    const enum err err = publish(shard, name, on_group_sent, send);
    if (err != ERR_OK) {
        mem_free(send);
        end_refused(shard, call, err);
        return;
    }
    struct pubsub_sub *sub = pubsub_find_sub(shard, name);
    if (sub == NULL || !sub->is_group || sub->state != SUB_IN)
        return;
    send->body_hash = hash_of(b, buf_slice(&b->sealed));
    send->deadline_ms = uv_now(b->uv) + b->config->timeout_ms;
    dlist_append(&sub->returns, &send->link);
    dlist_append(&b->returning, &send->by_age);
    if (b->returning.next == &send->by_age)
        pubsub_set_deadline(b);
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
        returned(send);
        return;
    }
}

void pubsub_end_returns(struct dlist *sends)
{
    struct dlist *node = NULL;
    while ((node = dlist_take_first(sends)) != NULL)
        returned(CONTAINER_OF(node, struct pubsub_group_send, link));
}

void pubsub_expire_returns(struct pubsub_backend *b, uint64_t now_ms)
{
    while (!dlist_is_empty(&b->returning)) {
        struct pubsub_group_send *send =
            CONTAINER_OF(b->returning.next, struct pubsub_group_send, by_age);
        if (send->deadline_ms > now_ms)
            return;
        returned(send); /* it was published: that is what counts */
    }
}

/* Those that Redis has not answered yet end with the link. */
void pubsub_end_all_returns(struct pubsub_backend *b)
{
    while (!dlist_is_empty(&b->returning)) {
        struct pubsub_group_send *send =
            CONTAINER_OF(b->returning.next, struct pubsub_group_send, by_age);
        forget_return(send);
        if (!send->is_answered)
            continue;
        pubsub_end_later(b, send->call, ERR_OK, "%s", "");
        mem_free(send);
    }
}
