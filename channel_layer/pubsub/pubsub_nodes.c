/* SPDX-License-Identifier: BSD-3-Clause */
#include "channel_layer/pubsub/pubsub.h"

#include "core/log.h"

#include <hiredis/hiredis.h>

#include <inttypes.h>
#include <stdio.h>

static uint64_t now_of(const struct pubsub_shard *shard)
{
    return uv_now(shard->backend->uv);
}

static struct slice nodes_name(const struct pubsub_shard *shard, struct pubsub_name *out)
{
    const int len =
        snprintf(out->text, sizeof(out->text), "%schannelsd:nodes", shard->backend->config->prefix);
    return slice_make(out->text, (size_t)len);
}

void pubsub_nodes_init(struct pubsub_shard *shard)
{
    shard->nodes = (struct pubsub_nodes){.state = NODES_LOST};
    redis_held_init(&shard->nodes.held);
}

void pubsub_nodes_deinit(const struct pubsub_shard *shard)
{
    redis_held_deinit(&shard->nodes.held);
}

bool pubsub_nodes_are_whole(const struct pubsub_shard *shard)
{
    return shard->nodes.state == NODES_WHOLE && redis_link_is_up(shard->link);
}

/* ---- what is held ---- */

/* A link for which something waits tries again sooner. */
static void hurry(struct pubsub_shard *shard)
{
    if (!redis_link_is_up(shard->link))
        pubsub_hurry(shard, shard->link);
    if (!redis_link_is_up(shard->subscriber.link))
        pubsub_hurry(shard, shard->subscriber.link);
}

enum err pubsub_nodes_hold(struct pubsub_shard *shard, struct redis_held *held, uint64_t number)
{
    struct pubsub_nodes *n = &shard->nodes;
    const bool is_first = redis_held_is_empty(&n->held);
    if (shard->backend->is_closing)
        return ERR_CLOSED;
    const enum err err = redis_held_add(&n->held, held, number);
    if (err == ERR_OK && is_first) {
        hurry(shard);
        pubsub_set_deadline(shard->backend);
    }
    return err;
}

static void expire(struct pubsub_shard *shard, uint64_t now_ms)
{
    enum { SAID_MAX = 400 };
    struct pubsub_nodes *n = &shard->nodes;
    char why[ERR_TEXT_MAX];
    const char *said = redis_link_why(shard->link);
    if (redis_held_due_ms(&n->held) > now_ms)
        return;
    if (said[0] == '\0')
        said = redis_link_why(shard->subscriber.link);
    if (said[0] != '\0')
        snprintf(why, sizeof(why), "%.*s; the message was not sent", SAID_MAX, said);
    else
        snprintf(why, sizeof(why),
                 "%s: Redis is back, but not all nodes have subscribed again yet; the message was "
                 "not sent",
                 shard->host->text);
    redis_held_expire(&n->held, now_ms, why);
}

/* ---- counting ---- */

static void look(struct pubsub_shard *shard);

/* Whether an answer that counts the nodes counts this one, too; false: that is not known. */
static bool is_own_known(const struct pubsub_nodes *n)
{
    return n->own == OWN_IN || n->own == OWN_REFUSED;
}

static void refused(struct pubsub_shard *shard, const char *why)
{
    struct pubsub_nodes *n = &shard->nodes;
    if (!n->is_refusal_told)
        log_event(
            LOG_WARN, "layer.pubsub.uncounted",
            "host=%s why=\"%s\" text=\"after a loss of Redis messages do not wait until other "
            "nodes are back\"",
            shard->host->text, why);
    n->is_refusal_told = true;
    n->is_uncounted = true;
    n->others = n->before = n->wanted = 0;
    look(shard);
}

static void counted(struct pubsub_shard *shard, long long count)
{
    struct pubsub_nodes *n = &shard->nodes;
    const unsigned own = n->own == OWN_IN ? 1 : 0;
    if (count < own)
        return; /* its connection is lost, as it will hear */
    const unsigned others = count < INT32_MAX ? (unsigned)count - own : INT32_MAX;
    if (n->state == NODES_WHOLE) {
        n->before = n->others;
        n->others = others;
    } else {
        n->returned = others;
        look(shard);
    }
}

static void on_count(void *ctx, enum err err, const redisReply *reply, const char *why)
{
    struct pubsub_shard *shard = ctx;
    struct pubsub_nodes *n = &shard->nodes;
    n->is_asking = false;
    if (err != ERR_OK || shard->backend->is_closing)
        return; /* it is asked again, or the time decides */
    if (reply->type != REDIS_REPLY_ARRAY || reply->elements != 2 ||
        reply->element[1]->type != REDIS_REPLY_INTEGER)
        refused(shard, reply->type == REDIS_REPLY_ERROR ? why : "PUBSUB NUMSUB gave no number");
    else if (n->asked_at == n->losses && is_own_known(n))
        counted(shard, reply->element[1]->integer);
}

static void ask(struct pubsub_shard *shard)
{
    struct pubsub_nodes *n = &shard->nodes;
    struct pubsub_name name;
    const struct slice args[] = {slice_str("PUBSUB"), slice_str("NUMSUB"),
                                 nodes_name(shard, &name)};
    n->poll_ms = now_of(shard) + REDIS_SETTLE_POLL_MS;
    if (n->is_asking || n->is_uncounted || !is_own_known(n) || !redis_link_is_up(shard->link))
        return;
    n->asked_at = n->losses;
    n->is_asking = redis_link_command(shard->link, on_count, shard, 0, 3, args) == ERR_OK;
}

/* ---- whole again ---- */

static void settle(struct pubsub_shard *shard)
{
    struct pubsub_nodes *n = &shard->nodes;
    const bool is_whole = n->returned >= n->wanted;
    if (n->wanted > 0)
        log_event(is_whole ? LOG_INFO : LOG_WARN, "layer.pubsub.settled",
                  "host=%s ms=%" PRIu64 " nodes=%u of=%u held=%" PRIu64 " failed=%" PRIu64,
                  shard->host->text, now_of(shard) - n->since_ms, n->returned + 1, n->wanted + 1,
                  n->held.held, n->held.failed);
    n->state = NODES_WHOLE;
    n->others = n->returned;
    n->before = n->wanted; /* who comes a little later is waited for the next time */
    n->wanted = 0;
    n->held.held = 0;
    n->held.failed = 0;
    redis_held_release(&n->held, ERR_OK, "");
    ask(shard);
}

/* What has to be there is there, or is asked for. */
static void look(struct pubsub_shard *shard)
{
    struct pubsub_nodes *n = &shard->nodes;
    if (n->state != NODES_BACK || !redis_link_is_up(shard->link))
        return;
    if (n->was_subscribed && !is_own_known(n))
        return;
    if (n->is_uncounted || n->returned >= n->wanted)
        settle(shard);
}

static void come_back(struct pubsub_shard *shard)
{
    struct pubsub_nodes *n = &shard->nodes;
    n->state = NODES_BACK;
    n->since_ms = now_of(shard);
    look(shard);
    ask(shard);
    pubsub_set_deadline(shard->backend);
}

/* A link is lost. */
static void begin(struct pubsub_shard *shard)
{
    struct pubsub_nodes *n = &shard->nodes;
    if (n->state == NODES_WHOLE)
        n->wanted = n->others > n->before ? n->others : n->before;
    n->losses++;
    n->returned = 0;
}

void pubsub_nodes_command_up(struct pubsub_shard *shard)
{
    shard->nodes.is_uncounted = false;
    come_back(shard);
}

void pubsub_nodes_command_down(struct pubsub_shard *shard)
{
    begin(shard);
    shard->nodes.state = NODES_LOST;
}

void pubsub_nodes_subscriber_up(struct pubsub_shard *shard)
{
    shard->nodes.was_subscribed = true;
    shard->nodes.own = OWN_OUT;
}

void pubsub_nodes_subscriber_down(struct pubsub_shard *shard)
{
    struct pubsub_nodes *n = &shard->nodes;
    const bool was_whole = n->state == NODES_WHOLE;
    n->own = OWN_OUT;
    if (!n->was_subscribed)
        return;
    begin(shard);
    if (was_whole && redis_link_is_up(shard->link))
        come_back(shard);
    else if (was_whole)
        n->state = NODES_LOST;
}

static void on_announced(void *ctx, enum err err, const redisReply *reply, const char *why)
{
    struct pubsub_shard *shard = ctx;
    struct pubsub_nodes *n = &shard->nodes;
    struct pubsub_backend *b = shard->backend;
    struct pubsub_name name;
    uint64_t held_back = 0;
    if (n->own != OWN_ENTERING || b->is_closing)
        return; /* its connection is lost */
    if (err != ERR_OK)
        n->own = OWN_OUT; /* at the next tick again */
    else
        n->own = reply->type == REDIS_REPLY_ERROR ? OWN_REFUSED : OWN_IN;
    const struct slice text = nodes_name(shard, &name);
    if (n->own == OWN_REFUSED && notice_is_due(&b->refuse_notice, uv_now(b->uv), &held_back))
        log_event(LOG_WARN, "layer.pubsub.refused", "name=\"%.*s\" why=\"%s\" held_back=%" PRIu64,
                  (int)text.len, (const char *)text.ptr, why, held_back);
    look(shard);
    ask(shard);
    pubsub_set_deadline(b);
}

void pubsub_nodes_announce(struct pubsub_shard *shard)
{
    struct pubsub_nodes *n = &shard->nodes;
    struct redis_link *link = shard->subscriber.link;
    struct pubsub_name name;
    const struct slice args[] = {slice_str("SUBSCRIBE"), nodes_name(shard, &name)};
    if (n->own != OWN_OUT || !redis_link_is_up(link))
        return;
    if (redis_link_command(link, on_announced, shard, 0, 2, args) == ERR_OK)
        n->own = OWN_ENTERING; /* else at the next tick */
}

/* ---- time ---- */

uint64_t pubsub_nodes_due_ms(const struct pubsub_shard *shard)
{
    const struct pubsub_nodes *n = &shard->nodes;
    uint64_t due_ms = redis_held_due_ms(&n->held);
    if (n->state != NODES_BACK || !redis_link_is_up(shard->link))
        return due_ms;
    if (n->since_ms + REDIS_SETTLE_MS < due_ms)
        due_ms = n->since_ms + REDIS_SETTLE_MS;
    return is_own_known(n) && n->poll_ms < due_ms ? n->poll_ms : due_ms;
}

void pubsub_nodes_run(struct pubsub_shard *shard, uint64_t now_ms)
{
    struct pubsub_nodes *n = &shard->nodes;
    expire(shard, now_ms);
    if (n->state != NODES_BACK || !redis_link_is_up(shard->link))
        return;
    if (now_ms >= n->since_ms + REDIS_SETTLE_MS)
        settle(shard);
    else if (now_ms >= n->poll_ms)
        ask(shard);
}

void pubsub_nodes_tick(struct pubsub_shard *shard)
{
    struct pubsub_nodes *n = &shard->nodes;
    if (n->state == NODES_WHOLE)
        ask(shard);
    if (!redis_held_is_empty(&n->held))
        hurry(shard);
}

void pubsub_nodes_end(struct pubsub_shard *shard)
{
    redis_held_release(&shard->nodes.held, ERR_CLOSED, "the layer ends");
}
