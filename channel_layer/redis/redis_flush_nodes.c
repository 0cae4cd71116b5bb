/* SPDX-License-Identifier: BSD-3-Clause
 *
 * After a flush each other node is told by a message to its control channel, whatever else waits
 * there: it forgets its groups, tells its clients, and takes out what it joined meanwhile. The call
 * ends when the nodes that live have taken that message out, so that nothing that is done
 * afterwards is forgotten with the rest; one that does not in half a second is not waited for.
 */
#include "channel_layer/redis/redis_flush.h"

#include "channel_layer/control.h"
#include "channel_layer/redis/redis_words.h"
#include "core/base64.h"
#include "core/mem.h"
#include "core/text.h"

#include <hiredis/hiredis.h>

#include <stdio.h>

enum {
    NAMES_MAX = 64 * 1024 * 1024,
    NODES_MAX = 4096, /* that are told of a flush */
    ALIVE_S = 6,      /* since its last beat: a node is waited for */
    HANDLED_MS = 500, /* at most */
    HANDLED_TICK_MS = 10,
};

static struct slice mailbox_of(const struct redis_flush *flush, uint32_t i)
{
    return slice_make(flush->names.ptr + flush->nodes[i].at, flush->nodes[i].len);
}

static void ask_nodes(struct redis_flush *flush);

/* Has all of one round been answered? Then the next one, after a while; or it is enough. */
static void end_round(struct redis_flush *flush)
{
    struct redis_backend *b = flush->scan.b;
    bool is_handled = true;
    for (uint32_t i = 0; i < flush->node_count; i++)
        is_handled = is_handled && flush->nodes[i].is_handled;
    if (is_handled || flush->scan.err != ERR_OK || b->state != REDIS_OPEN ||
        (flush->deadline_ms != 0 && uv_now(b->uv) >= flush->deadline_ms)) {
        redis_flush_end(flush);
        return;
    }
    if (flush->deadline_ms == 0) {
        flush->deadline_ms = uv_now(b->uv) + HANDLED_MS;
        ask_nodes(flush);
        return;
    }
    dlist_append(&b->flushes, &flush->link);
    redis_set_tick(b, HANDLED_TICK_MS);
}

struct node_ticket {
    struct redis_flush *flush;
    uint32_t index;
};

static void on_asked(void *ctx, enum err err, const redisReply *reply, const char *why)
{
    struct node_ticket *ticket = ctx;
    struct redis_flush *flush = ticket->flush;
    (void)why; /* all is done: only when it is seen is not known */
    if (err != ERR_OK || reply->type != REDIS_REPLY_INTEGER || reply->integer == 0)
        flush->nodes[ticket->index].is_handled = true;
    mem_free(ticket);
    if (--flush->left == 0)
        end_round(flush);
}

/* Which of them have taken their message out. */
static void ask_nodes(struct redis_flush *flush)
{
    struct redis_backend *b = flush->scan.b;
    const struct slice score = slice_str(flush->score.text);
    flush->left = 1; /* this function */
    for (uint32_t i = 0; i < flush->node_count; i++) {
        struct redis_key key;
        if (flush->nodes[i].is_handled)
            continue;
        const struct slice name = mailbox_of(flush, i);
        const struct slice args[] = {slice_str("ZCOUNT"), redis_key(b, &key, "", name), score,
                                     score};
        struct node_ticket *ticket = mem_alloc(sizeof(*ticket));
        *ticket = (struct node_ticket){.flush = flush, .index = i};
        flush->left++;
        if (redis_link_command(redis_shard_of(b, name)->link, on_asked, ticket, 0, 4, args) ==
            ERR_OK)
            continue;
        mem_free(ticket);
        flush->left--;
        flush->nodes[i].is_handled = true;
    }
    if (--flush->left == 0)
        end_round(flush);
}

void redis_flush_tick(struct redis_backend *b)
{
    struct dlist now;
    struct dlist *node = NULL;
    dlist_init(&now);
    dlist_splice(&now, &b->flushes); /* what is asked again waits for the next tick */
    while ((node = dlist_take_first(&now)) != NULL)
        ask_nodes(CONTAINER_OF(node, struct redis_flush, link));
}

void redis_flush_leave(struct redis_backend *b)
{
    struct dlist *node = NULL;
    while ((node = dlist_take_first(&b->flushes)) != NULL)
        redis_flush_end(CONTAINER_OF(node, struct redis_flush, link));
}

/* ---- telling them ---- */

static void on_node_told(void *ctx, enum err err, const redisReply *reply, const char *why)
{
    struct redis_flush *flush = ctx;
    if (err != ERR_OK)
        redis_scan_fail(&flush->scan, err, why);
    else if (reply->type == REDIS_REPLY_ERROR)
        redis_scan_fail(&flush->scan, ERR_UNAVAILABLE, why);
    if (--flush->left == 0)
        end_round(flush);
}

/* A message to the control channel of @node, if @shard is where that node reads it. Not by the
 * script of a send: a node whose key is full has to know, too. */
static enum err tell_node(struct redis_flush *flush, struct redis_shard *shard, struct slice node,
                          bool is_alive)
{
    struct redis_backend *b = flush->scan.b;
    uint8_t bytes[CONTROL_MAX];
    char text[NAME_MAX_BYTES + 1];
    const struct control control = {.kind = CONTROL_FLUSH};
    const int len = snprintf(text, sizeof(text), "specific.%.*s!" NAME_CONTROL_LOCAL, (int)node.len,
                             (const char *)node.ptr);
    const struct slice name = slice_make(text, (size_t)len);
    const struct slice mailbox = name_nonlocal(name);
    const struct wire_to to = {.kind = WIRE_ONE_NAME, .names = &name, .count = 1};
    if (redis_shard_of(b, mailbox) != shard || flush->node_count == NODES_MAX)
        return ERR_OK;
    b->sealed.len = 0;
    enum err err =
        wire_seal(&b->wire, &b->sealed, control_write(bytes, b->config->serializer, &control), &to,
                  (uint64_t)redis_now());
    struct redis_key text_of_key;
    struct redis_number expiry;
    const uint32_t at = flush->names.len;
    const struct slice key = redis_key(b, &text_of_key, "", mailbox);
    const struct slice add[] = {slice_str("ZADD"), key, slice_str(flush->score.text),
                                buf_slice(&b->sealed)};
    const struct slice expire[] = {slice_str("EXPIRE"), key,
                                   redis_number(&expiry, b->config->expiry_s)};
    if (err == ERR_OK)
        err = buf_append(&flush->names, mailbox.ptr, mailbox.len);
    if (err == ERR_OK)
        err = redis_link_command(shard->link, on_node_told, flush, 0, 4, add);
    if (err != ERR_OK)
        return err;
    flush->nodes[flush->node_count++] =
        (struct redis_flush_node){.at = at, .len = (uint32_t)mailbox.len, .is_handled = !is_alive};
    flush->left++;
    redis_tell(shard, 3, expire);
    return ERR_OK;
}

/* Those that beat as of late are waited for; the others may come back. */
static void tell_listed(struct redis_flush *flush, struct redis_shard *shard,
                        const redisReply *reply)
{
    const struct slice own = slice_str(flush->scan.b->node);
    struct redis_pair pair;
    double newest = 0;
    for (size_t at = 0; flush->scan.err == ERR_OK && redis_next_pair(reply, &at, &pair);) {
        struct slice node = pair.member;
        double beat = 0;
        if (!text_read_decimal(&beat, pair.score))
            beat = 0; /* no time: not waited for */
        const bool is_claimed = node.len > 0 && node.ptr[0] == '~';
        if (is_claimed)
            node = slice_make(node.ptr + 1, node.len - 1);
        else if (beat > newest)
            newest = beat;
        if (node.len != NODE_ID_CHARS || !hex_is_lower(node) || slice_eq(node, own))
            continue;
        const bool is_alive = !is_claimed && beat >= newest - ALIVE_S;
        if (tell_node(flush, shard, node, is_alive) != ERR_OK)
            redis_scan_fail(&flush->scan, ERR_UNAVAILABLE,
                            "no memory, or too much waits for this Redis already");
    }
}

struct list_ticket {
    struct redis_flush *flush;
    struct redis_shard *shard;
};

static void on_nodes(void *ctx, enum err err, const redisReply *reply, const char *why)
{
    struct list_ticket *ticket = ctx;
    struct redis_flush *flush = ticket->flush;
    if (err != ERR_OK)
        redis_scan_fail(&flush->scan, err, why);
    else if (reply->type != REDIS_REPLY_ARRAY)
        redis_scan_fail(&flush->scan, ERR_UNAVAILABLE,
                        reply->type == REDIS_REPLY_ERROR ? why
                                                         : "Redis listed its nodes otherwise");
    else
        tell_listed(flush, ticket->shard, reply);
    mem_free(ticket);
    if (--flush->left == 0)
        end_round(flush);
}

void redis_flush_tell(struct redis_flush *flush)
{
    struct redis_backend *b = flush->scan.b;
    struct redis_key key;
    struct redis_number last;
    const struct slice args[] = {
        slice_str("ZREVRANGE"), redis_key(b, &key, ":channelsd:nodes", slice_str("")),
        slice_str("0"), redis_number(&last, NODES_MAX - 1), slice_str("WITHSCORES")};
    flush->nodes = mem_alloc(NODES_MAX * sizeof(*flush->nodes));
    buf_init(&flush->names, NAMES_MAX);
    (void)redis_score(b, &flush->score);
    flush->left = 1; /* this function */
    for (unsigned i = 0; i < b->shard_count && flush->scan.err == ERR_OK; i++) {
        struct list_ticket *ticket = mem_alloc(sizeof(*ticket));
        *ticket = (struct list_ticket){.flush = flush, .shard = &b->shards[i]};
        flush->left++;
        if (redis_link_command(ticket->shard->link, on_nodes, ticket, 0, 5, args) == ERR_OK)
            continue;
        mem_free(ticket);
        flush->left--;
        redis_scan_fail(&flush->scan, ERR_UNAVAILABLE, "too much waits for this Redis already");
    }
    if (--flush->left == 0)
        end_round(flush);
}
