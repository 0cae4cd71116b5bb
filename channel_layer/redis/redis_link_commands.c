/* SPDX-License-Identifier: BSD-3-Clause */
#include "channel_layer/redis/redis_link_parts.h"

#include <stdio.h>

#include <hiredis/hiredis.h>

#include "channel_layer/redis/redis_words.h"
#include "core/mem.h"

enum {
    SILENCE_MS = 10 * 1000,
    TIMEOUTS_IN_ROW = 5,
    UNANSWERED_BYTES = 32 * 1024 * 1024,
    WHERE_BYTES = 320,
};

/* ---- ends ---- */

static void finish(struct redis_request *req, enum err err, const struct redisReply *reply,
                   const char *why)
{
    redis_link_done *done = req->done;
    void *ctx = req->ctx;
    mem_free(req);
    if (done != NULL)
        done(ctx, err, reply, why);
}

void redis_link_tell(struct redis_link *link)
{
    char why[sizeof(link->why) + 64];
    if (link->is_down_to_tell) {
        link->is_down_to_tell = false;
        link->is_down_told = true;
        link->ops->down(link->ctx, link->why);
    }
    for (struct dlist *node; (node = dlist_take_first(&link->requests.ended)) != NULL;) {
        struct redis_request *req = CONTAINER_OF(node, struct redis_request, link);
        if (req->outcome == ERR_CLOSED)
            snprintf(why, sizeof(why), "%s: closed", redis_link_where(link));
        else if (req->outcome == ERR_UNAVAILABLE)
            snprintf(why, sizeof(why), "%s", link->why);
        else
            snprintf(why, sizeof(why), "%s (connection lost before the answer)", link->why);
        finish(req, req->outcome, NULL, why);
    }
}

/* ---- sending ---- */

void redis_link_flush(struct redis_link *link)
{
    const struct redis_room room = {.batch_bytes = REDIS_LINK_WRITE_BYTES,
                                    .unanswered_bytes = UNANSWERED_BYTES,
                                    .now_ms = uv_now(link->uv)};
    while (link->state == LINK_UP && !link->is_broken && !redis_conn_is_busy(link->conn)) {
        link->batch.len = 0;
        if (redis_requests_fill(&link->requests, &link->batch, &room))
            link->is_subscriber = true;
        if (link->batch.len == 0)
            break; /* nothing waits; or no memory for one: its deadline ends it */
        if (redis_conn_send(link->conn, buf_slice(&link->batch)) != ERR_OK) {
            link->is_broken = true;
            redis_link_next_turn(link);
        }
    }
    if (link->batch.cap > 4 * REDIS_LINK_WRITE_BYTES)
        buf_deinit(&link->batch);
}

enum err redis_link_command(struct redis_link *link, redis_link_done *done, void *ctx,
                            unsigned timeout_ms, size_t count, const struct slice *args)
{
    struct redis_requests *r = &link->requests;
    struct redis_request *req = NULL;
    if (link->state == LINK_CLOSED)
        return ERR_CLOSED;
    const enum err err = redis_request_new(&req, count, args);
    if (err != ERR_OK)
        return err;
    if (r->waiting_bytes > 0 && r->waiting_bytes + req->len > REDIS_LINK_QUEUE_BYTES) {
        mem_free(req);
        return ERR_TOO_BIG;
    }
    req->done = done;
    req->ctx = ctx;
    if (timeout_ms != UINT32_MAX)
        req->deadline_ms =
            redis_link_later_ms(link, timeout_ms != 0 ? timeout_ms : link->timeout_ms);
    redis_requests_add(r, link->is_adding_first ? &r->first : &r->waiting, req);
    redis_link_arm(link, req->deadline_ms);
    const uint64_t soon_ms = redis_link_later_ms(link, redis_pause_eager_ms(&link->pause));
    if (link->state == LINK_WAITING && link->state_due_ms > soon_ms) {
        link->state_due_ms = soon_ms;
        redis_link_arm(link, soon_ms);
    }
    if (link->state == LINK_UP) {
        redis_link_next_turn(link);
        if (r->waiting_bytes >= REDIS_LINK_WRITE_BYTES)
            redis_link_flush(link);
    }
    return ERR_OK;
}

/* ---- answers ---- */

static void answer(struct redis_link *link, struct redis_request *req,
                   const struct redisReply *reply)
{
    char words[ERR_TEXT_MAX];
    char why[ERR_TEXT_MAX + WHERE_BYTES] = "";
    redis_requests_take(&link->requests, req);
    if (reply->type == REDIS_REPLY_ERROR) {
        redis_error_words(words, sizeof(words), reply);
        snprintf(why, sizeof(why), "%s: %s", redis_link_where(link), words);
    }
    if (redis_trouble_of(reply) == REDIS_TROUBLE_NONE) {
        finish(req, ERR_OK, reply, why);
        return;
    }
    redis_link_leave(link, words);
    finish(req, ERR_UNAVAILABLE, NULL, why);
}

void redis_link_on_reply(void *ctx, const struct redisReply *reply)
{
    struct redis_link *link = ctx;
    struct redis_request *head = redis_requests_head(&link->requests);
    if (reply->type == REDIS_REPLY_ATTR)
        return; /* says something about the answer behind it */
    if (head != NULL && redis_request_is_confirmed(head, reply)) {
        if (--head->replies == 0)
            answer(link, head, reply);
        return;
    }
    if (reply->type == REDIS_REPLY_PUSH ||
        (!redis_conn_is_resp3(link->conn) && link->is_subscriber && redis_is_message(reply))) {
        link->ops->push(link->ctx, reply);
        return;
    }
    if (head == NULL || (head->confirms != NULL && reply->type != REDIS_REPLY_ERROR)) {
        redis_link_lost(link, "answers what it was not asked");
        return;
    }
    answer(link, head, reply);
    if (link->state != LINK_LEAVING)
        return;
    head = redis_requests_head(&link->requests);
    if (head == NULL || head->deadline_ms == UINT64_MAX)
        redis_link_lost(link, link->why);
}

/* ---- deadlines ---- */

void redis_link_expire(struct redis_link *link)
{
    const uint64_t now_ms = uv_now(link->uv);
    struct redis_request *req = NULL;
    char why[sizeof(link->why) + 64];
    while ((req = redis_requests_due(&link->requests)) != NULL && req->deadline_ms <= now_ms) {
        const struct redis_request *head = redis_requests_head(&link->requests);
        if (!redis_requests_expire(&link->requests, req)) {
            const bool is_up = link->state == LINK_UP;
            snprintf(why, sizeof(why), "%s%s", is_up ? redis_link_where(link) : link->why,
                     is_up ? ": takes no more commands" : "");
            finish(req, ERR_UNAVAILABLE, NULL, why);
            continue;
        }
        if (head->deadline_ms != UINT64_MAX)
            link->timeouts_in_row++;
        redis_link_done *done = req->done;
        req->done = NULL; /* keeps its place until its answer comes */
        snprintf(why, sizeof(why), "%s: no answer in time", redis_link_where(link));
        if (done != NULL)
            done(req->ctx, ERR_TIMEOUT, NULL, why);
    }
}

uint64_t redis_link_silence_due_ms(const struct redis_link *link)
{
    const struct redis_request *head = redis_requests_head(&link->requests);
    if (link->state != LINK_UP || link->is_probing || head == NULL ||
        head->deadline_ms == UINT64_MAX)
        return UINT64_MAX;
    if (link->timeouts_in_row >= TIMEOUTS_IN_ROW)
        return 0;
    return (head->sent_ms > link->heard_ms ? head->sent_ms : link->heard_ms) + SILENCE_MS;
}

void redis_link_probe(struct redis_link *link)
{
    const struct slice ping = slice_str("PING");
    struct redis_request *req = NULL;
    link->is_probing = true;
    link->state_due_ms = redis_link_later_ms(link, link->timeout_ms);
    if (redis_request_new(&req, 1, &ping) != ERR_OK)
        return;
    req->deadline_ms = link->state_due_ms;
    redis_requests_add(&link->requests, &link->requests.first, req);
    redis_link_next_turn(link);
}
