/* SPDX-License-Identifier: BSD-3-Clause */
#include "channel_layer/redis/redis_taken.h"

#include "channel_layer/redis/redis.h"
#include "channel_layer/redis/redis_words.h"
#include "core/mem.h"

#include <hiredis/hiredis.h>

#include <stdio.h>

enum {
    TELL_MAX = 200, /* messages of one command */
    TELL_BYTES = 1024 * 1024,
    RETRY_MS = 1000,
    COMPARES = 3, /* after a doubt: a command of the lost connection may be done late */
    COMPARE_FIRST_MS = 200,
    COMPARE_LATER_MS = 15000,
    COMPARE_PAGE = 200, /* messages looked at in one turn, or not many more */
    HANDLE_BITS = 32,
};
static const uint32_t no_slot = UINT32_MAX;

struct redis_taken {
    struct dlist link; /* one of the lists of its shard */
    /* One with these bytes is in the index. More of them come where messages have no random bytes,
     * or when one that went back was popped again before that was confirmed. */
    struct strmap_entry by_name;
    struct dlist twins;
    bool is_indexed;
    struct redis_shard *shard;
    uint32_t slot;
    uint32_t channel_len;
    uint32_t len; /* of bytes */
    char score[32];
    uint8_t bytes[]; /* channel, ':', member: as it stands in the zset */
};

struct taken_slot {
    struct redis_taken *taken; /* NULL: free */
    uint32_t generation;
    uint32_t next_free;
};

/* ---- the table ---- */

void redis_taken_init(struct redis_taken_table *table)
{
    *table = (struct redis_taken_table){.free_first = no_slot};
}

void redis_taken_deinit(struct redis_taken_table *table)
{
    mem_free(table->slots);
    redis_taken_init(table);
}

void redis_taken_lists_init(struct redis_taken_lists *lists)
{
    *lists = (struct redis_taken_lists){0};
    dlist_init(&lists->held);
    dlist_init(&lists->handled);
    dlist_init(&lists->returning);
    dlist_init(&lists->telling);
    strmap_init(&lists->by_name);
}

static struct redis_taken *taken_of(struct dlist *node)
{
    return CONTAINER_OF(node, struct redis_taken, link);
}

static struct slice named_of(const struct redis_taken *t)
{
    return slice_make(t->bytes, t->len);
}

static void index_taken(struct redis_taken_lists *lists, struct redis_taken *t)
{
    strmap_add(&lists->by_name, &t->by_name, named_of(t));
    t->is_indexed = true;
}

/* The first with its bytes is indexed, the others wait in a ring with it. */
static void note_taken(struct redis_taken_lists *lists, struct redis_taken *t)
{
    struct strmap_entry *entry = strmap_find(&lists->by_name, named_of(t));
    if (entry == NULL)
        index_taken(lists, t);
    else
        dlist_append(&CONTAINER_OF(entry, struct redis_taken, by_name)->twins, &t->twins);
}

static void free_taken(struct redis_taken_lists *lists, struct redis_taken *t)
{
    struct dlist *next = t->twins.next;
    dlist_remove(&t->twins);
    if (t->is_indexed) {
        strmap_remove(&lists->by_name, &t->by_name);
        if (next != &t->twins)
            index_taken(lists, CONTAINER_OF(next, struct redis_taken, twins));
    }
    mem_free(t);
}

static void free_list(struct redis_taken_lists *lists, struct dlist *list)
{
    struct dlist *node = NULL;
    while ((node = dlist_take_first(list)) != NULL)
        free_taken(lists, taken_of(node));
}

void redis_taken_lists_deinit(struct redis_taken_lists *lists)
{
    free_list(lists, &lists->held);
    free_list(lists, &lists->handled);
    free_list(lists, &lists->returning);
    free_list(lists, &lists->telling);
    strmap_deinit(&lists->by_name);
}

static enum err reserve_slot(struct redis_taken_table *table)
{
    if (table->free_first != no_slot)
        return ERR_OK;
    const uint32_t old = table->slot_count;
    const uint32_t count = old == 0 ? 16 : old * 2;
    if (count > UINT32_MAX / 4)
        return ERR_NOMEM;
    struct taken_slot *slots = mem_try_resize(table->slots, count * sizeof(*slots));
    if (slots == NULL)
        return ERR_NOMEM;
    table->slots = slots;
    table->slot_count = count;
    for (uint32_t i = old; i < count; i++) {
        slots[i] = (struct taken_slot){.generation = 1, .next_free = table->free_first};
        table->free_first = i;
    }
    return ERR_OK;
}

static struct redis_taken *new_taken(struct redis_shard *shard, struct slice named,
                                     size_t channel_len, struct slice score)
{
    if (named.len > UINT32_MAX / 2 || score.len >= sizeof(((struct redis_taken *)0)->score))
        return NULL;
    struct redis_taken *t = mem_try(sizeof(*t) + named.len);
    if (t == NULL)
        return NULL;
    dlist_init(&t->link);
    dlist_init(&t->twins);
    t->is_indexed = false;
    t->shard = shard;
    t->slot = no_slot;
    t->channel_len = (uint32_t)channel_len;
    t->len = (uint32_t)named.len;
    memcpy(t->score, score.ptr, score.len);
    t->score[score.len] = '\0';
    if (named.ptr != NULL)
        memcpy(t->bytes, named.ptr, named.len);
    return t;
}

enum err redis_taken_add(struct redis_shard *shard, struct slice channel, struct slice member,
                         struct slice score, uint64_t *handle)
{
    struct redis_taken_table *table = &shard->backend->normal.table;
    if (reserve_slot(table) != ERR_OK)
        return ERR_NOMEM;
    const struct slice room = slice_make(NULL, channel.len + 1 + member.len);
    struct redis_taken *t = new_taken(shard, room, channel.len, score);
    if (t == NULL)
        return ERR_NOMEM;
    memcpy(t->bytes, channel.ptr, channel.len);
    t->bytes[channel.len] = ':';
    if (member.len > 0)
        memcpy(t->bytes + channel.len + 1, member.ptr, member.len);
    note_taken(&shard->normal.taken, t);
    t->slot = table->free_first;
    struct taken_slot *slot = &table->slots[t->slot];
    table->free_first = slot->next_free;
    slot->taken = t;
    dlist_append(&shard->normal.taken.held, &t->link);
    *handle = (uint64_t)slot->generation << HANDLE_BITS | t->slot;
    return ERR_OK;
}

/* Takes it out of the table and puts it at the end of @list. */
static void move_to(struct redis_taken *t, struct dlist *list)
{
    struct redis_taken_table *table = &t->shard->backend->normal.table;
    if (t->slot != no_slot) {
        struct taken_slot *slot = &table->slots[t->slot];
        slot->taken = NULL;
        slot->generation++;
        slot->next_free = table->free_first;
        table->free_first = t->slot;
        t->slot = no_slot;
    }
    dlist_remove(&t->link);
    dlist_append(list, &t->link);
    redis_wake_turn(t->shard->backend);
}

static struct redis_taken *find_taken(struct redis_backend *b, uint64_t handle)
{
    const struct redis_taken_table *table = &b->normal.table;
    const uint32_t index = (uint32_t)handle;
    if (index >= table->slot_count || table->slots[index].generation != handle >> HANDLE_BITS)
        return NULL;
    return table->slots[index].taken;
}

void redis_taken(struct backend *base, struct slice channel, uint64_t handle)
{
    struct redis_taken *t = find_taken(redis_of(base), handle);
    (void)channel; /* the handle says it */
    if (t != NULL)
        move_to(t, &t->shard->normal.taken.handled);
}

void redis_put_back(struct backend *base, struct slice channel, uint64_t handle)
{
    struct redis_taken *t = find_taken(redis_of(base), handle);
    (void)channel;
    if (t != NULL)
        move_to(t, &t->shard->normal.taken.returning);
}

/* ---- telling ---- */

/* Moves as many of @list as one command takes to lists->telling. */
static size_t collect(struct redis_taken_lists *lists, struct dlist *list)
{
    size_t count = 0;
    size_t bytes = 0;
    while (!dlist_is_empty(list) && count < TELL_MAX && bytes < TELL_BYTES) {
        struct redis_taken *t = taken_of(dlist_take_first(list));
        dlist_append(&lists->telling, &t->link);
        bytes += t->len;
        count++;
    }
    return count;
}

/* The end of one telling: what was not done is to be told again. */
static void told(struct redis_shard *shard, bool is_done, struct dlist *back)
{
    struct redis_taken_lists *lists = &shard->normal.taken;
    lists->is_telling = false;
    if (is_done) {
        free_list(lists, &lists->telling);
    } else {
        dlist_splice(back, &lists->telling);
        lists->retry_ms = uv_now(shard->backend->uv) + RETRY_MS;
    }
    redis_wake_turn(shard->backend);
}

static void on_handled(void *ctx, enum err err, const redisReply *reply, const char *why)
{
    struct redis_shard *shard = ctx;
    const bool is_refused = err == ERR_OK && reply->type == REDIS_REPLY_ERROR;
    if (is_refused)
        redis_report_refused(shard->backend, why);
    told(shard, err == ERR_OK && !is_refused, &shard->normal.taken.handled);
}

static void on_returned(void *ctx, const struct script_result *result)
{
    struct redis_shard *shard = ctx;
    if (result->is_refused)
        redis_report_refused(shard->backend, result->why);
    told(shard, result->err == ERR_OK, &shard->normal.taken.returning);
}

static enum err tell_handled(struct redis_shard *shard)
{
    struct redis_backend *b = shard->backend;
    struct redis_taken_lists *lists = &shard->normal.taken;
    struct redis_key key;
    redis_argv_begin(&b->argv);
    redis_argv_add(&b->argv, slice_str("ZREM"));
    redis_argv_add(&b->argv, redis_key(b, &key, ":channelsd:taken:", slice_str(b->node)));
    for (struct dlist *n = lists->telling.next; n != &lists->telling; n = n->next)
        redis_argv_add(&b->argv, named_of(taken_of(n)));
    return redis_argv_give(&b->argv, shard->link, 0, on_handled, shard);
}

static enum err tell_returning(struct redis_shard *shard, size_t count)
{
    struct redis_backend *b = shard->backend;
    struct redis_taken_lists *lists = &shard->normal.taken;
    struct redis_key nodes;
    struct redis_key own;
    struct redis_number expiry;
    struct redis_key *keys = mem_alloc(count * sizeof(*keys));
    redis_argv_begin(&b->argv);
    redis_argv_add(&b->argv, redis_key(b, &nodes, ":channelsd:nodes", slice_str("")));
    redis_argv_add(&b->argv, redis_key(b, &own, ":channelsd:taken:", slice_str(b->node)));
    size_t i = 0;
    for (struct dlist *n = lists->telling.next; n != &lists->telling; n = n->next)
        redis_argv_add(
            &b->argv,
            redis_key(b, &keys[i++], "", slice_make(taken_of(n)->bytes, taken_of(n)->channel_len)));
    redis_argv_add(&b->argv, slice_str(""));
    redis_argv_add(&b->argv, redis_number(&expiry, b->config->expiry_s));
    for (struct dlist *n = lists->telling.next; n != &lists->telling; n = n->next) {
        const struct redis_taken *t = taken_of(n);
        redis_argv_add(&b->argv, named_of(t));
        redis_argv_add(&b->argv, slice_str(t->score));
        redis_argv_add(&b->argv,
                       slice_make(t->bytes + t->channel_len + 1, t->len - t->channel_len - 1));
    }
    const struct script_args run = {
        .script = SCRIPT_GIVE_BACK,
        .timeout_ms = b->config->timeout_ms,
        .key_count = count + 2,
        .count = redis_argv_count(&b->argv),
        .args = redis_argv_words(&b->argv),
    };
    const enum err err = redis_run(shard, &run, on_returned, shard);
    mem_free(keys);
    return err;
}

void redis_taken_flush(struct redis_shard *shard)
{
    struct redis_taken_lists *lists = &shard->normal.taken;
    if (lists->is_telling || !redis_link_is_up(shard->link) ||
        uv_now(shard->backend->uv) < lists->retry_ms)
        return;
    struct dlist *from = dlist_is_empty(&lists->handled) ? &lists->returning : &lists->handled;
    const size_t count = collect(lists, from);
    if (count == 0)
        return;
    lists->is_telling = true;
    const enum err err =
        from == &lists->handled ? tell_handled(shard) : tell_returning(shard, count);
    if (err != ERR_OK)
        told(shard, false, from);
}

/* ---- comparing ---- */

static void compare(struct redis_shard *shard, struct slice named, struct slice score)
{
    struct redis_taken_lists *lists = &shard->normal.taken;
    const uint8_t *mark = memchr(named.ptr, ':', named.len);
    if (mark == NULL || strmap_find(&lists->by_name, named) != NULL)
        return;
    struct redis_taken *t = new_taken(shard, named, (size_t)(mark - named.ptr), score);
    if (t == NULL)
        return;
    note_taken(lists, t);
    dlist_append(&lists->returning, &t->link);
    redis_wake_turn(shard->backend);
}

static void compare_page(struct redis_shard *shard);

/* Where the next page begins; false: this was the last, or is no page. */
static bool take_cursor(struct redis_taken_lists *lists, const redisReply *reply)
{
    if (reply->type != REDIS_REPLY_ARRAY || reply->elements != 2 ||
        reply->element[0]->type != REDIS_REPLY_STRING ||
        reply->element[0]->len >= sizeof(lists->cursor))
        return false;
    memcpy(lists->cursor, reply->element[0]->str, reply->element[0]->len + 1);
    return strcmp(lists->cursor, "0") != 0;
}

static void on_compared(void *ctx, enum err err, const redisReply *reply, const char *why)
{
    struct redis_shard *shard = ctx;
    struct redis_taken_lists *lists = &shard->normal.taken;
    lists->is_comparing = false;
    if (err != ERR_OK) {
        lists->compares++; /* it was none */
        return;
    }
    if (reply->type == REDIS_REPLY_ERROR)
        redis_report_refused(shard->backend, why);
    const bool has_more = take_cursor(lists, reply);
    struct redis_pair pair;
    for (size_t at = 0; reply->elements == 2 && redis_next_pair(reply->element[1], &at, &pair);)
        compare(shard, pair.member, pair.score);
    if (has_more && shard->backend->state == REDIS_OPEN)
        compare_page(shard);
}

/* On the link of the pops: what they bring is known before this answer comes. What is in the zset
 * all the time is on one page at least, whatever comes and goes beside it. */
static void compare_page(struct redis_shard *shard)
{
    struct redis_backend *b = shard->backend;
    struct redis_taken_lists *lists = &shard->normal.taken;
    struct redis_key key;
    struct redis_number count;
    const struct slice args[] = {
        slice_str("ZSCAN"),
        redis_key(b, &key, ":channelsd:taken:", slice_str(b->node)),
        slice_str(lists->cursor),
        slice_str("COUNT"),
        redis_number(&count, COMPARE_PAGE),
    };
    lists->is_comparing =
        redis_link_command(shard->normal.link, on_compared, shard, 0, 5, args) == ERR_OK;
    if (!lists->is_comparing)
        lists->compares++;
}

void redis_taken_doubt(struct redis_shard *shard)
{
    struct redis_taken_lists *lists = &shard->normal.taken;
    lists->compares = COMPARES;
    lists->compare_ms = uv_now(shard->backend->uv) + COMPARE_FIRST_MS;
}

void redis_taken_tick(struct redis_shard *shard, uint64_t now_ms)
{
    struct redis_taken_lists *lists = &shard->normal.taken;
    redis_taken_flush(shard);
    if (lists->compares == 0 || lists->is_comparing || now_ms < lists->compare_ms ||
        shard->normal.link == NULL || !redis_link_is_up(shard->normal.link))
        return;
    lists->compares--;
    lists->compare_ms = now_ms + COMPARE_LATER_MS;
    snprintf(lists->cursor, sizeof(lists->cursor), "0");
    compare_page(shard);
}

/* ---- the end ---- */

void redis_taken_leave(struct redis_shard *shard)
{
    struct redis_taken_lists *lists = &shard->normal.taken;
    while (!dlist_is_empty(&lists->held))
        move_to(taken_of(lists->held.next), &lists->returning);
    lists->retry_ms = 0;
}

bool redis_taken_is_told(const struct redis_shard *shard)
{
    const struct redis_taken_lists *lists = &shard->normal.taken;
    return !lists->is_telling && dlist_is_empty(&lists->handled) &&
           dlist_is_empty(&lists->returning);
}
