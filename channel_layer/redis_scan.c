/* SPDX-License-Identifier: BSD-3-Clause
 *
 * What goes through all keys of a layer: the list of groups, and flush.
 *
 * SCAN gives some keys, something is done with these, then the next are asked for; shard by shard.
 * A Redis with many other keys takes its time: the layer's timeout holds for each step. SCAN may
 * give a key twice while Redis moves its table: a group may be listed twice then.
 *
 * After a flush each other node is told by a message to its control channel, whatever else waits
 * there: it forgets its groups, tells its clients, and takes out what it joined meanwhile. The call
 * ends when the nodes that live have taken that message out, so that nothing that is done
 * afterwards is forgotten with the rest; one that does not in half a second is not waited for. The
 * list of nodes is therefore not among the keys that go; when the flush fails halfway it does go,
 * which makes all nodes join their groups again. That is also what happens after a flush of others
 * (DEL, FLUSHDB): nobody can tell it from a Redis that came back empty.
 */
#include "channel_layer/control.h"
#include "channel_layer/redis.h"
#include "core/base64.h"
#include "core/mem.h"
#include "core/text.h"

#include <hiredis/hiredis.h>

#include <assert.h>
#include <stdio.h>

enum {
    SCAN_COUNT = 500, /* keys that Redis looks at in one step */
    NAMES_MAX = 64 * 1024 * 1024,
    FORGET_MAX = 200, /* keys of one script */
    NODES_MAX = 4096, /* that are told of a flush */
    ALIVE_S = 6,      /* since its last beat: a node is waited for */
    HANDLED_MS = 500, /* at most */
    HANDLED_TICK_MS = 10,
};

struct scan_name {
    uint32_t at; /* in the scan's names; without the prefix of all of them */
    uint32_t len;
    uint64_t members;
    bool is_sure; /* no other name than a layer's looks like this; of a node: not waited for */
};

struct scan {
    struct redis_backend *b;
    struct layer_call *call;
    void (*visit)(void *ctx, struct slice group, uint64_t members); /* NULL: flush */
    void *ctx;
    unsigned shard;
    char cursor[24];
    struct slice front; /* all keys begin with it: a part of key */
    struct redis_key key;
    char pattern[2 * REDIS_PREFIX_MAX + 16];
    struct buf names;
    struct scan_name *list;
    uint32_t count;
    uint32_t done;             /* of flush */
    struct dlist link;         /* b->flushes: the nodes are given time */
    struct redis_number score; /* of what tells them */
    uint64_t deadline_ms;      /* until when they are waited for; 0: they are being told */
    unsigned left;             /* answers */
    enum err err;
    char why[ERR_TEXT_MAX];
};

static void next_step(struct scan *scan);
static void tell_nodes(struct scan *scan);

static struct redis_shard *shard_of_scan(const struct scan *scan)
{
    return &scan->b->shards[scan->shard];
}

static struct slice name_at(const struct scan *scan, uint32_t i)
{
    return slice_make(scan->names.ptr + scan->list[i].at, scan->list[i].len);
}

static void fail(struct scan *scan, enum err err, const char *why)
{
    if (scan->err != ERR_OK)
        return;
    scan->err = err;
    snprintf(scan->why, sizeof(scan->why), "%s", why);
}

/* Some groups are gone and nobody was told: the nodes that are not known any more heal them. */
static void undo_flush(struct scan *scan)
{
    struct redis_backend *b = scan->b;
    struct redis_key key;
    const struct slice args[] = {slice_str("DEL"),
                                 redis_key(b, &key, ":channelsd:nodes", slice_str(""))};
    for (unsigned i = 0; i < b->shard_count && b->state == REDIS_OPEN; i++) {
        redis_tell(&b->shards[i], 2, args);
        redis_upkeep_beat_soon(&b->shards[i]);
    }
}

static void end_scan(struct scan *scan)
{
    if (scan->visit == NULL && scan->err != ERR_OK)
        undo_flush(scan);
    scan->call->done(scan->call, scan->err, scan->err == ERR_OK ? "" : scan->why);
    buf_deinit(&scan->names);
    mem_free(scan->list);
    mem_free(scan);
}

/* Whether the names of this batch are done with; then the next are asked for. */
static void end_batch(struct scan *scan)
{
    if (scan->err == ERR_OK && strcmp(scan->cursor, "0") == 0) {
        scan->shard++;
        if (scan->shard == scan->b->shard_count) {
            if (scan->visit == NULL)
                tell_nodes(scan);
            else
                end_scan(scan);
            return;
        }
    }
    next_step(scan);
}

/* ---- groups ---- */

struct count_ticket {
    struct scan *scan;
    uint32_t index;
};

static void visit_all(struct scan *scan)
{
    for (uint32_t i = 0; i < scan->count && scan->err == ERR_OK; i++)
        if (scan->list[i].members > 0)
            scan->visit(scan->ctx, name_at(scan, i), scan->list[i].members);
    end_batch(scan);
}

static void on_counted(void *ctx, enum err err, const redisReply *reply, const char *why)
{
    struct count_ticket *ticket = ctx;
    struct scan *scan = ticket->scan;
    if (err != ERR_OK)
        fail(scan, err, why);
    else if (reply->type == REDIS_REPLY_INTEGER && reply->integer > 0) /* else: of another type */
        scan->list[ticket->index].members = (uint64_t)reply->integer;
    mem_free(ticket);
    if (--scan->left == 0)
        visit_all(scan);
}

static void count_all(struct scan *scan)
{
    scan->left = 1; /* this function */
    for (uint32_t i = 0; i < scan->count; i++) {
        struct redis_key key;
        struct count_ticket *ticket = mem_alloc(sizeof(*ticket));
        const struct slice args[] = {slice_str("ZCARD"),
                                     redis_key(scan->b, &key, ":group:", name_at(scan, i))};
        *ticket = (struct count_ticket){.scan = scan, .index = i};
        scan->left++;
        if (redis_link_command(shard_of_scan(scan)->link, on_counted, ticket, 0, 2, args) == ERR_OK)
            continue;
        mem_free(ticket);
        scan->left--;
        fail(scan, ERR_UNAVAILABLE, "too much waits for this Redis already");
        break;
    }
    if (--scan->left == 0)
        visit_all(scan);
}

/* ---- flush ---- */

static void forget_next(struct scan *scan);

static void on_forgotten(void *ctx, const struct script_result *result)
{
    struct scan *scan = ctx;
    struct redis_shard *shard = shard_of_scan(scan);
    if (result->is_refused && !shard->is_cluster && strstr(result->why, "CROSSSLOT") != NULL)
        shard->is_cluster = true; /* the same again, one by one */
    else if (result->err != ERR_OK)
        fail(scan, result->err, result->why);
    else
        scan->done += scan->left;
    forget_next(scan);
}

/* Gives the next keys of the batch to the script. */
static void forget_next(struct scan *scan)
{
    struct redis_backend *b = scan->b;
    struct redis_shard *shard = shard_of_scan(scan);
    const uint32_t most = shard->is_cluster ? 1 : FORGET_MAX;
    uint32_t count = scan->count - scan->done;
    if (count == 0 || scan->err != ERR_OK) {
        end_batch(scan);
        return;
    }
    if (count > most)
        count = most;
    struct redis_key *keys = mem_alloc(count * sizeof(*keys));
    struct slice *args = mem_alloc(2 * (size_t)count * sizeof(*args));
    for (uint32_t i = 0; i < count; i++) {
        const uint32_t at = scan->done + i;
        args[i] = redis_key(b, &keys[i], "", name_at(scan, at));
        args[count + i] = slice_str(scan->list[at].is_sure ? "1" : "0");
    }
    const struct script_args run = {
        .script = SCRIPT_FORGET,
        .timeout_ms = b->config->timeout_ms,
        .key_count = count,
        .count = 2 * (size_t)count,
        .args = args,
    };
    scan->left = count;
    const enum err err = redis_run(shard, &run, on_forgotten, scan);
    mem_free(keys);
    mem_free(args);
    if (err != ERR_OK) {
        fail(scan, ERR_UNAVAILABLE, "too much waits for this Redis already");
        end_batch(scan);
    }
}

static bool has_front(struct slice text, const char *front)
{
    const size_t len = strlen(front);
    return text.len >= len && memcmp(text.ptr, front, len) == 0;
}

/* Whether a key of this layer continues its prefix so; other programs' keys may begin alike. */
static bool is_layers(struct slice rest, bool *is_sure)
{
    static const char inflight[] = "$inflight";
    const size_t tail = sizeof(inflight) - 1;
    const size_t group_front = strlen(":group:");
    *is_sure = true;
    if (has_front(rest, ":channelsd:"))
        return !slice_eq_str(rest, ":channelsd:nodes");
    if (has_front(rest, ":group:"))
        return name_is_group(slice_make(rest.ptr + group_front, rest.len - group_front));
    if (rest.len > tail && memcmp(rest.ptr + rest.len - tail, inflight, tail) == 0)
        rest.len -= tail;
    else
        *is_sure = name_is_specific(rest);
    return name_is_channel(rest) && name_nonlocal(rest).len == rest.len;
}

/* ---- the other nodes ---- */

static void ask_nodes(struct scan *scan);

/* Has all of one round been answered? Then the next one, after a while; or it is enough. */
static void end_round(struct scan *scan)
{
    struct redis_backend *b = scan->b;
    bool is_handled = true;
    for (uint32_t i = 0; i < scan->count; i++)
        is_handled = is_handled && scan->list[i].is_sure;
    if (is_handled || scan->err != ERR_OK || b->state != REDIS_OPEN ||
        (scan->deadline_ms != 0 && uv_now(b->uv) >= scan->deadline_ms)) {
        end_scan(scan);
        return;
    }
    if (scan->deadline_ms == 0) {
        scan->deadline_ms = uv_now(b->uv) + HANDLED_MS;
        ask_nodes(scan);
        return;
    }
    dlist_append(&b->flushes, &scan->link);
    redis_set_tick(b, HANDLED_TICK_MS);
}

static void on_asked(void *ctx, enum err err, const redisReply *reply, const char *why)
{
    struct count_ticket *ticket = ctx;
    struct scan *scan = ticket->scan;
    (void)why; /* all is done: only when it is seen is not known */
    if (err != ERR_OK || reply->type != REDIS_REPLY_INTEGER || reply->integer == 0)
        scan->list[ticket->index].is_sure = true;
    mem_free(ticket);
    if (--scan->left == 0)
        end_round(scan);
}

/* Which of them have taken their message out. */
static void ask_nodes(struct scan *scan)
{
    struct redis_backend *b = scan->b;
    const struct slice score = slice_str(scan->score.text);
    scan->left = 1; /* this function */
    for (uint32_t i = 0; i < scan->count; i++) {
        struct redis_key key;
        if (scan->list[i].is_sure)
            continue;
        const struct slice name = name_at(scan, i);
        const struct slice args[] = {slice_str("ZCOUNT"), redis_key(b, &key, "", name), score,
                                     score};
        struct count_ticket *ticket = mem_alloc(sizeof(*ticket));
        *ticket = (struct count_ticket){.scan = scan, .index = i};
        scan->left++;
        if (redis_link_command(redis_shard_of(b, name)->link, on_asked, ticket, 0, 4, args) ==
            ERR_OK)
            continue;
        mem_free(ticket);
        scan->left--;
        scan->list[i].is_sure = true;
    }
    if (--scan->left == 0)
        end_round(scan);
}

void redis_flush_tick(struct redis_backend *b)
{
    struct dlist now;
    struct dlist *node = NULL;
    dlist_init(&now);
    dlist_splice(&now, &b->flushes); /* what is asked again waits for the next tick */
    while ((node = dlist_take_first(&now)) != NULL)
        ask_nodes(CONTAINER_OF(node, struct scan, link));
}

void redis_flush_leave(struct redis_backend *b)
{
    struct dlist *node = NULL;
    while ((node = dlist_take_first(&b->flushes)) != NULL)
        end_scan(CONTAINER_OF(node, struct scan, link));
}

static void on_node_told(void *ctx, enum err err, const redisReply *reply, const char *why)
{
    struct scan *scan = ctx;
    if (err != ERR_OK)
        fail(scan, err, why);
    else if (reply->type == REDIS_REPLY_ERROR)
        fail(scan, ERR_UNAVAILABLE, why);
    if (--scan->left == 0)
        end_round(scan);
}

/* A message to the control channel of @node, if @shard is where that node reads it. Not by the
 * script of a send: a node whose key is full has to know, too. */
static enum err tell_node(struct scan *scan, struct redis_shard *shard, struct slice node,
                          bool is_alive)
{
    struct redis_backend *b = scan->b;
    uint8_t bytes[CONTROL_MAX];
    char text[NAME_MAX_BYTES + 1];
    const struct control control = {.kind = CONTROL_FLUSH};
    const int len = snprintf(text, sizeof(text), "specific.%.*s!" NAME_CONTROL_LOCAL, (int)node.len,
                             (const char *)node.ptr);
    const struct slice name = slice_make(text, (size_t)len);
    const struct slice mailbox = name_nonlocal(name);
    const struct wire_to to = {.kind = WIRE_ONE_NAME, .names = &name, .count = 1};
    if (redis_shard_of(b, mailbox) != shard || scan->count == NODES_MAX)
        return ERR_OK;
    b->sealed.len = 0;
    enum err err =
        wire_seal(&b->wire, &b->sealed, control_write(bytes, b->config->serializer, &control), &to,
                  (uint64_t)redis_now());
    struct redis_key text_of_key;
    struct redis_number expiry;
    const uint32_t at = scan->names.len;
    const struct slice key = redis_key(b, &text_of_key, "", mailbox);
    const struct slice add[] = {slice_str("ZADD"), key, slice_str(scan->score.text),
                                buf_slice(&b->sealed)};
    const struct slice expire[] = {slice_str("EXPIRE"), key,
                                   redis_number(&expiry, b->config->expiry_s)};
    if (err == ERR_OK)
        err = buf_append(&scan->names, mailbox.ptr, mailbox.len);
    if (err == ERR_OK)
        err = redis_link_command(shard->link, on_node_told, scan, 0, 4, add);
    if (err != ERR_OK)
        return err;
    scan->list[scan->count++] =
        (struct scan_name){.at = at, .len = (uint32_t)mailbox.len, .is_sure = !is_alive};
    scan->left++;
    redis_tell(shard, 3, expire);
    return ERR_OK;
}

struct nodes_ticket {
    struct scan *scan;
    struct redis_shard *shard;
};

/* Those that beat as of late are waited for; the others may come back. */
static void tell_listed(struct scan *scan, struct redis_shard *shard, const redisReply *reply)
{
    const struct slice own = slice_str(scan->b->node);
    struct redis_pair pair;
    double newest = 0;
    for (size_t at = 0; scan->err == ERR_OK && redis_next_pair(reply, &at, &pair);) {
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
        if (tell_node(scan, shard, node, is_alive) != ERR_OK)
            fail(scan, ERR_UNAVAILABLE, "no memory, or too much waits for this Redis already");
    }
}

static void on_nodes(void *ctx, enum err err, const redisReply *reply, const char *why)
{
    struct nodes_ticket *ticket = ctx;
    struct scan *scan = ticket->scan;
    if (err != ERR_OK)
        fail(scan, err, why);
    else if (reply->type != REDIS_REPLY_ARRAY)
        fail(scan, ERR_UNAVAILABLE,
             reply->type == REDIS_REPLY_ERROR ? why : "Redis listed its nodes otherwise");
    else
        tell_listed(scan, ticket->shard, reply);
    mem_free(ticket);
    if (--scan->left == 0)
        end_round(scan);
}

/* Every key is gone: now the others are told, and get the time to hear of it. */
static void tell_nodes(struct scan *scan)
{
    struct redis_backend *b = scan->b;
    struct redis_key key;
    struct redis_number last;
    const struct slice args[] = {
        slice_str("ZREVRANGE"), redis_key(b, &key, ":channelsd:nodes", slice_str("")),
        slice_str("0"), redis_number(&last, NODES_MAX - 1), slice_str("WITHSCORES")};
    mem_free(scan->list);
    scan->list = mem_alloc(NODES_MAX * sizeof(*scan->list));
    scan->count = 0;
    scan->names.len = 0;
    (void)redis_score(b, &scan->score);
    scan->left = 1; /* this function */
    for (unsigned i = 0; i < b->shard_count && scan->err == ERR_OK; i++) {
        struct nodes_ticket *ticket = mem_alloc(sizeof(*ticket));
        *ticket = (struct nodes_ticket){.scan = scan, .shard = &b->shards[i]};
        scan->left++;
        if (redis_link_command(ticket->shard->link, on_nodes, ticket, 0, 5, args) == ERR_OK)
            continue;
        mem_free(ticket);
        scan->left--;
        fail(scan, ERR_UNAVAILABLE, "too much waits for this Redis already");
    }
    if (--scan->left == 0)
        end_round(scan);
}

/* ---- both ---- */

static enum err take_name(struct scan *scan, const redisReply *key)
{
    if (key->type != REDIS_REPLY_STRING || key->len <= scan->front.len ||
        key->len - scan->front.len > REDIS_MEMBER_MAX)
        return ERR_OK;
    bool is_sure = true;
    const struct slice rest = slice_make(key->str + scan->front.len, key->len - scan->front.len);
    if (scan->visit != NULL ? !name_is_group(rest) : !is_layers(rest, &is_sure))
        return ERR_OK;
    const uint32_t at = scan->names.len;
    const enum err err = buf_append(&scan->names, rest.ptr, rest.len);
    if (err == ERR_OK)
        scan->list[scan->count++] =
            (struct scan_name){.at = at, .len = (uint32_t)rest.len, .is_sure = is_sure};
    return err;
}

static enum err take_names(struct scan *scan, const redisReply *keys)
{
    scan->count = 0;
    scan->done = 0;
    scan->names.len = 0;
    mem_free(scan->list);
    scan->list = NULL;
    if (keys->elements == 0)
        return ERR_OK;
    if (keys->elements > NAMES_MAX / sizeof(*scan->list))
        return ERR_TOO_BIG;
    scan->list = mem_try(keys->elements * sizeof(*scan->list));
    if (scan->list == NULL)
        return ERR_NOMEM;
    enum err err = ERR_OK;
    for (size_t i = 0; i < keys->elements && err == ERR_OK; i++)
        err = take_name(scan, keys->element[i]);
    return err;
}

static void on_scanned(void *ctx, enum err err, const redisReply *reply, const char *why)
{
    struct scan *scan = ctx;
    if (err != ERR_OK) {
        fail(scan, err, why);
    } else if (reply->type != REDIS_REPLY_ARRAY || reply->elements != 2 ||
               reply->element[0]->type != REDIS_REPLY_STRING ||
               reply->element[0]->len >= sizeof(scan->cursor) ||
               reply->element[1]->type != REDIS_REPLY_ARRAY) {
        fail(scan, ERR_UNAVAILABLE,
             reply->type == REDIS_REPLY_ERROR ? why : "Redis answered SCAN with something else");
    } else {
        memcpy(scan->cursor, reply->element[0]->str, reply->element[0]->len + 1);
        const enum err taken = take_names(scan, reply->element[1]);
        if (taken != ERR_OK)
            fail(scan, ERR_UNAVAILABLE, err_str(taken));
    }
    if (scan->err != ERR_OK)
        end_scan(scan);
    else if (scan->visit != NULL)
        count_all(scan);
    else
        forget_next(scan);
}

static enum err give_scan(struct scan *scan)
{
    struct redis_number count;
    const struct slice args[] = {
        slice_str("SCAN"),        slice_str(scan->cursor), slice_str("MATCH"),
        slice_str(scan->pattern), slice_str("COUNT"),      redis_number(&count, SCAN_COUNT),
    };
    return redis_link_command(shard_of_scan(scan)->link, on_scanned, scan, 0, 6, args);
}

static void next_step(struct scan *scan)
{
    if (scan->err == ERR_OK && give_scan(scan) != ERR_OK)
        fail(scan, ERR_UNAVAILABLE, "too much waits for this Redis already");
    if (scan->err != ERR_OK)
        end_scan(scan);
}

/* The front as a glob that stands for itself, and anything behind it. */
static void make_pattern(struct scan *scan)
{
    size_t len = 0;
    for (size_t i = 0; i < scan->front.len; i++) {
        const char c = (char)scan->front.ptr[i];
        if (strchr("*?[]\\", c) != NULL)
            scan->pattern[len++] = '\\';
        scan->pattern[len++] = c;
    }
    scan->pattern[len++] = '*';
    scan->pattern[len] = '\0';
    assert(len < sizeof(scan->pattern));
}

static void begin_scan(struct scan *scan, const char *behind_prefix)
{
    scan->front = redis_key(scan->b, &scan->key, behind_prefix, slice_str(""));
    make_pattern(scan);
    memcpy(scan->cursor, "0", 2);
    buf_init(&scan->names, NAMES_MAX);
    struct redis_shard *shard = shard_of_scan(scan);
    if (give_scan(scan) != ERR_OK) { /* not told before the caller has returned */
        redis_end_refused(shard, scan->call, ERR_UNAVAILABLE);
        mem_free(scan);
    }
}

static struct scan *new_scan(struct redis_backend *b, struct layer_call *call)
{
    struct scan *scan = mem_alloc(sizeof(*scan));
    scan->b = b;
    scan->call = call;
    dlist_init(&scan->link);
    return scan;
}

void redis_groups(struct backend *base,
                  void (*visit)(void *ctx, struct slice group, uint64_t members), void *ctx,
                  struct layer_call *call)
{
    struct scan *scan = new_scan(redis_of(base), call);
    scan->visit = visit;
    scan->ctx = ctx;
    begin_scan(scan, ":group:");
}

void redis_flush(struct backend *base, struct layer_call *call)
{
    begin_scan(new_scan(redis_of(base), call), "");
}
