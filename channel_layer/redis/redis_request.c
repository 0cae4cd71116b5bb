/* SPDX-License-Identifier: BSD-3-Clause */
#include "channel_layer/redis/redis_request.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#include <hiredis/hiredis.h>

#include "channel_layer/redis/redis_words.h"
#include "core/mem.h"
#include "core/text.h"

/* Commands that are answered once for each of their arguments, as a push in RESP3. */
static const char *const confirming[] = {"subscribe",   "psubscribe",   "ssubscribe",
                                         "unsubscribe", "punsubscribe", "sunsubscribe"};

/* ---- the bytes of a command ---- */

static size_t digits(size_t number)
{
    size_t count = 1;
    for (; number >= 10; number /= 10)
        count++;
    return count;
}

size_t redis_command_size(size_t count, const struct slice *args)
{
    size_t size = 1 + digits(count) + 2;
    for (size_t i = 0; i < count; i++) {
        if (args[i].len > REDIS_COMMAND_MAX)
            return SIZE_MAX;
        size += 1 + digits(args[i].len) + 2 + args[i].len + 2;
        if (size > REDIS_COMMAND_MAX)
            return SIZE_MAX;
    }
    return size;
}

static uint8_t *write_number(uint8_t *out, char mark, size_t number)
{
    const size_t count = digits(number);
    *out = (uint8_t)mark;
    for (size_t i = count; i > 0; i--, number /= 10)
        out[i] = (uint8_t)('0' + number % 10);
    out[count + 1] = '\r';
    out[count + 2] = '\n';
    return out + count + 3;
}

/* Into room for redis_command_size() bytes. */
static void write_command(uint8_t *out, size_t count, const struct slice *args)
{
    out = write_number(out, '*', count);
    for (size_t i = 0; i < count; i++) {
        out = write_number(out, '$', args[i].len);
        if (args[i].len > 0)
            memcpy(out, args[i].ptr, args[i].len);
        out += args[i].len;
        *out++ = '\r';
        *out++ = '\n';
    }
}

enum err redis_command_append(struct buf *out, size_t count, const struct slice *args)
{
    const size_t size = redis_command_size(count, args);
    if (size == SIZE_MAX)
        return ERR_TOO_BIG;
    const enum err err = buf_reserve(out, size);
    if (err != ERR_OK)
        return err;
    write_command(out->ptr + out->len, count, args);
    out->len += (uint32_t)size;
    return ERR_OK;
}

/* ---- requests ---- */

static const char *confirms(size_t count, const struct slice *args)
{
    for (size_t i = 0; count > 0 && i < sizeof(confirming) / sizeof(confirming[0]); i++)
        if (text_eq_nocase(args[0], confirming[i]))
            return confirming[i];
    return NULL;
}

enum err redis_request_new(struct redis_request **out, size_t count, const struct slice *args)
{
    const size_t size = redis_command_size(count, args);
    const char *name = confirms(count, args);
    if (count == 0 || (name != NULL && count < 2))
        return ERR_INVALID;
    if (size == SIZE_MAX)
        return ERR_TOO_BIG;
    struct redis_request *req = mem_try(sizeof(*req) + size);
    if (req == NULL)
        return ERR_NOMEM;
    memset(req, 0, sizeof(*req));
    dlist_init(&req->link);
    dlist_init(&req->due);
    req->deadline_ms = UINT64_MAX;
    req->confirms = name;
    req->replies = name != NULL ? (uint32_t)(count - 1) : 1;
    req->len = (uint32_t)size;
    write_command(req->bytes, count, args);
    *out = req;
    return ERR_OK;
}

void redis_requests_init(struct redis_requests *r)
{
    dlist_init(&r->first);
    dlist_init(&r->waiting);
    dlist_init(&r->sent);
    dlist_init(&r->due);
    dlist_init(&r->ended);
    r->waiting_bytes = 0;
    r->sent_bytes = 0;
}

void redis_requests_add(struct redis_requests *r, struct dlist *list, struct redis_request *req)
{
    dlist_append(list, &req->link);
    r->waiting_bytes += req->len;
    if (req->deadline_ms == UINT64_MAX)
        return;
    /* Nearly all have the same time limit: the place is at the end. */
    struct dlist *before = r->due.prev;
    while (before != &r->due &&
           CONTAINER_OF(before, struct redis_request, due)->deadline_ms > req->deadline_ms)
        before = before->prev;
    dlist_append(before->next, &req->due);
}

static struct redis_request *first_of(const struct dlist *list)
{
    return dlist_is_empty(list) ? NULL : CONTAINER_OF(list->next, struct redis_request, link);
}

struct redis_request *redis_requests_next(const struct redis_requests *r)
{
    return first_of(dlist_is_empty(&r->first) ? &r->waiting : &r->first);
}

struct redis_request *redis_requests_head(const struct redis_requests *r)
{
    return first_of(&r->sent);
}

struct redis_request *redis_requests_due(const struct redis_requests *r)
{
    return dlist_is_empty(&r->due) ? NULL : CONTAINER_OF(r->due.next, struct redis_request, due);
}

static void move_to_sent(struct redis_requests *r, struct redis_request *req, uint64_t now_ms)
{
    dlist_remove(&req->link);
    dlist_append(&r->sent, &req->link);
    req->sent_ms = now_ms > 0 ? now_ms : 1; /* 0: not sent */
    r->waiting_bytes -= req->len;
    r->sent_bytes += req->len;
}

bool redis_requests_fill(struct redis_requests *r, struct buf *batch, const struct redis_room *room)
{
    struct redis_request *req = NULL;
    bool subscribes = false;
    while (batch->len < room->batch_bytes && r->sent_bytes < room->unanswered_bytes &&
           (req = redis_requests_next(r)) != NULL) {
        if (buf_append(batch, req->bytes, req->len) != ERR_OK)
            break;
        subscribes = subscribes || req->confirms != NULL;
        move_to_sent(r, req, room->now_ms);
    }
    return subscribes;
}

void redis_requests_take(struct redis_requests *r, struct redis_request *req)
{
    assert(req->sent_ms != 0);
    dlist_remove(&req->link);
    dlist_remove(&req->due);
    r->sent_bytes -= req->len;
}

bool redis_requests_expire(struct redis_requests *r, struct redis_request *req)
{
    dlist_remove(&req->due);
    if (req->sent_ms != 0)
        return true;
    dlist_remove(&req->link);
    r->waiting_bytes -= req->len;
    return false;
}

static void end_list(struct redis_requests *r, struct dlist *list, enum err outcome)
{
    struct dlist *node = NULL;
    while ((node = dlist_take_first(list)) != NULL) {
        struct redis_request *req = CONTAINER_OF(node, struct redis_request, link);
        dlist_remove(&req->due);
        if (req->sent_ms != 0)
            r->sent_bytes -= req->len;
        else
            r->waiting_bytes -= req->len;
        req->outcome = outcome;
        dlist_append(&r->ended, &req->link);
    }
}

void redis_requests_end_connection(struct redis_requests *r)
{
    end_list(r, &r->sent, ERR_TIMEOUT);
    end_list(r, &r->first, ERR_UNAVAILABLE);
}

void redis_requests_end_all(struct redis_requests *r, enum err outcome)
{
    end_list(r, &r->sent, outcome);
    end_list(r, &r->first, outcome);
    end_list(r, &r->waiting, outcome);
}

/* ---- answers of pub/sub ---- */

static bool is_list_for(const struct redisReply *reply, const char *name)
{
    return (reply->type == REDIS_REPLY_PUSH || reply->type == REDIS_REPLY_ARRAY) &&
           reply->elements >= 3 && redis_is_text(reply->element[0], name);
}

bool redis_request_is_confirmed(const struct redis_request *req, const struct redisReply *reply)
{
    return req->confirms != NULL && is_list_for(reply, req->confirms);
}

bool redis_is_message(const struct redisReply *reply)
{
    return is_list_for(reply, "message") || is_list_for(reply, "pmessage") ||
           is_list_for(reply, "smessage");
}
