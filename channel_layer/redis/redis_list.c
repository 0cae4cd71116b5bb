/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The groups of a layer, for people: each is counted. A group may be listed twice (redis_scan.h).
 */
#include "channel_layer/redis/redis_scan.h"

#include "core/mem.h"

#include <hiredis/hiredis.h>

struct group_list {
    struct redis_scan scan;
    void (*visit)(void *ctx, struct slice group, uint64_t members);
    void *ctx;
    unsigned left; /* answers */
};

struct count_ticket {
    struct group_list *list;
    uint32_t index;
};

static struct group_list *list_of(struct redis_scan *scan)
{
    return CONTAINER_OF(scan, struct group_list, scan);
}

static void visit_all(struct group_list *list)
{
    struct redis_scan *scan = &list->scan;
    for (uint32_t i = 0; i < scan->count && scan->err == ERR_OK; i++)
        if (scan->list[i].members > 0)
            list->visit(list->ctx, redis_scan_name(scan, i), scan->list[i].members);
    redis_scan_go_on(scan);
}

static void on_counted(void *ctx, enum err err, const redisReply *reply, const char *why)
{
    struct count_ticket *ticket = ctx;
    struct group_list *list = ticket->list;
    if (err != ERR_OK)
        redis_scan_fail(&list->scan, err, why);
    else if (reply->type == REDIS_REPLY_INTEGER && reply->integer > 0) /* else: of another type */
        list->scan.list[ticket->index].members = (uint64_t)reply->integer;
    mem_free(ticket);
    if (--list->left == 0)
        visit_all(list);
}

static void count_all(struct redis_scan *scan)
{
    struct group_list *list = list_of(scan);
    struct redis_link *link = redis_scan_shard(scan)->link;
    list->left = 1; /* this function */
    for (uint32_t i = 0; i < scan->count; i++) {
        struct redis_key key;
        struct count_ticket *ticket = mem_alloc(sizeof(*ticket));
        const struct slice args[] = {slice_str("ZCARD"),
                                     redis_key(scan->b, &key, ":group:", redis_scan_name(scan, i))};
        *ticket = (struct count_ticket){.list = list, .index = i};
        list->left++;
        if (redis_link_command(link, on_counted, ticket, 0, 2, args) == ERR_OK)
            continue;
        mem_free(ticket);
        list->left--;
        redis_scan_fail(scan, ERR_UNAVAILABLE, "too much waits for this Redis already");
        break;
    }
    if (--list->left == 0)
        visit_all(list);
}

static bool takes(struct slice rest, bool *is_sure)
{
    (void)is_sure;
    return name_is_group(rest);
}

static void end(struct redis_scan *scan)
{
    redis_scan_end(scan);
    mem_free(list_of(scan));
}

static const struct redis_scan_ops list_ops = {.takes = takes, .batch = count_all, .end = end};

void redis_groups(struct backend *base,
                  void (*visit)(void *ctx, struct slice group, uint64_t members), void *ctx,
                  struct layer_call *call)
{
    struct group_list *list = mem_alloc(sizeof(*list));
    list->scan.b = redis_of(base);
    list->scan.ops = &list_ops;
    list->scan.call = call;
    list->visit = visit;
    list->ctx = ctx;
    if (redis_scan_begin(&list->scan, ":group:") !=
        ERR_OK) { /* told when the caller has returned */
        redis_end_refused(redis_scan_shard(&list->scan), call, ERR_UNAVAILABLE);
        mem_free(list);
    }
}
