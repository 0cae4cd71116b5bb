/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The list of groups: PUBSUB CHANNELS names those that somebody is subscribed to, PUBSUB NUMSUB
 * counts who; shard by shard. The layer's timeout holds for each step.
 */
#include "channel_layer/pubsub/pubsub.h"

#include "core/mem.h"

#include <hiredis/hiredis.h>

#include <stdio.h>

enum {
    COUNT_NAMES = 256, /* of one PUBSUB NUMSUB */
    NAMES_MAX = 64 * 1024 * 1024,
};

struct list {
    struct pubsub_backend *b;
    struct layer_call *call;
    void (*visit)(void *ctx, struct slice group, uint64_t members);
    void *ctx;
    unsigned shard;
    size_t front_len; /* of what all names begin with */
    struct pubsub_glob pattern;
    struct slice pattern_text;
    struct buf names;  /* of the shard's groups, each behind its length */
    uint32_t names_at; /* behind those that were asked for */
};

static void finish(struct list *list, enum err err, const char *why)
{
    list->call->done(list->call, err, why);
    buf_deinit(&list->names);
    mem_free(list);
}

static enum err ask(struct list *list, redis_link_done *done, size_t count,
                    const struct slice *args)
{
    const struct pubsub_shard *shard = &list->b->shards[list->shard];
    return redis_link_command(shard->link, done, list, 0, count, args);
}

/* Whether there is an array; ends the list when there is not. */
static bool is_list(struct list *list, enum err err, const redisReply *reply, const char *why)
{
    if (err == ERR_OK && reply->type == REDIS_REPLY_ARRAY)
        return true;
    if (err != ERR_OK)
        finish(list, err, why);
    else
        finish(list, ERR_UNAVAILABLE,
               reply->type == REDIS_REPLY_ERROR ? why
                                                : "Redis answered PUBSUB with something else");
    return false;
}

static enum err ask_names(struct list *list);
static void count_next(struct list *list);

static void on_counted(void *ctx, enum err err, const redisReply *reply, const char *why)
{
    struct list *list = ctx;
    if (!is_list(list, err, reply, why))
        return;
    for (size_t i = 0; i + 1 < reply->elements; i += 2) {
        const redisReply *name = reply->element[i];
        const redisReply *number = reply->element[i + 1];
        if (name->type == REDIS_REPLY_STRING && name->len > list->front_len &&
            number->type == REDIS_REPLY_INTEGER && number->integer > 0)
            list->visit(list->ctx,
                        slice_make(name->str + list->front_len, name->len - list->front_len),
                        (uint64_t)number->integer);
    }
    count_next(list);
}

/* Asks for the numbers of the next names; for the next shard behind the last. */
static void count_next(struct list *list)
{
    struct slice args[2 + COUNT_NAMES];
    size_t count = 0;
    args[count++] = slice_str("PUBSUB");
    args[count++] = slice_str("NUMSUB");
    while (list->names_at < list->names.len && count < 2 + COUNT_NAMES) {
        uint16_t len = 0;
        memcpy(&len, list->names.ptr + list->names_at, sizeof(len));
        args[count++] = slice_make(list->names.ptr + list->names_at + sizeof(len), len);
        list->names_at += (uint32_t)(sizeof(len) + len);
    }
    enum err err = ERR_OK;
    if (count > 2)
        err = ask(list, on_counted, count, args);
    else if (++list->shard < list->b->shard_count)
        err = ask_names(list);
    else
        finish(list, ERR_OK, "");
    if (err != ERR_OK)
        finish(list, ERR_UNAVAILABLE, "too much waits for this Redis already");
}

static bool take_name(struct list *list, const redisReply *name)
{
    if (name->type != REDIS_REPLY_STRING || name->len <= list->front_len ||
        !name_is_group(slice_make(name->str + list->front_len, name->len - list->front_len)))
        return true; /* somebody else's */
    const uint16_t len = (uint16_t)name->len;
    return buf_append(&list->names, &len, sizeof(len)) == ERR_OK &&
           buf_append(&list->names, name->str, len) == ERR_OK;
}

static void on_names(void *ctx, enum err err, const redisReply *reply, const char *why)
{
    struct list *list = ctx;
    if (!is_list(list, err, reply, why))
        return;
    list->names.len = 0;
    list->names_at = 0;
    for (size_t i = 0; i < reply->elements; i++)
        if (!take_name(list, reply->element[i])) {
            finish(list, ERR_UNAVAILABLE, "more groups than there is memory for");
            return;
        }
    count_next(list);
}

static enum err ask_names(struct list *list)
{
    const struct slice args[] = {slice_str("PUBSUB"), slice_str("CHANNELS"), list->pattern_text};
    return ask(list, on_names, 3, args);
}

void pubsub_groups(struct backend *base,
                   void (*visit)(void *ctx, struct slice group, uint64_t members), void *ctx,
                   struct layer_call *call)
{
    struct pubsub_backend *b = pubsub_of(base);
    struct pubsub_name text;
    struct list *list = mem_alloc(sizeof(*list));
    const struct slice front = pubsub_group_name(b, &text, (struct slice){0});
    list->b = b;
    list->call = call;
    list->visit = visit;
    list->ctx = ctx;
    list->front_len = front.len;
    list->pattern_text = pubsub_glob(&list->pattern, front);
    buf_init(&list->names, NAMES_MAX);
    if (ask_names(list) == ERR_OK)
        return;
    mem_free(list);
    pubsub_end_later(b, call, ERR_UNAVAILABLE, "too much waits for this Redis already");
}
