/* SPDX-License-Identifier: BSD-3-Clause */
#include "channel_layer/redis/redis_members.h"

#include "channel_layer/redis/redis.h"
#include "core/log.h"
#include "core/mem.h"

#include <hiredis/hiredis.h>

#include <assert.h>
#include <stdio.h>

enum {
    BATCH_MAX = 1000, /* members of one command */
    RUN_CHUNK = 500,  /* groups of a run that are under way together */
    NAMES_MAX = 64 * 1024 * 1024,
    CALL_SIZE = sizeof(void *), /* struct layer_call *, in a buffer */
};

/* The node's own member of one group. */
struct redis_membership {
    struct strmap_entry entry;
    struct dlist link; /* m->order */
    bool is_wanted;    /* false: to be taken out */
    uint32_t changes;  /* joins and leaves so far: tells a late answer from one that counts */
    uint8_t group_len;
    char group[NAME_MAX_BYTES + 1];
};

/* What one turn adds to, or takes from, one group. */
struct redis_batch {
    struct strmap_entry entry;
    struct dlist link; /* batches->order, until it is told; batches->refused */
    struct redis_shard *shard;
    bool is_add;
    bool has_own;      /* the node's own member is among them */
    bool has_own_call; /* and one of the calls is for that */
    bool is_of_run;    /* and the shard's run waits for it */
    uint32_t changes;  /* of the membership, when has_own */
    unsigned left;     /* commands that are not answered */
    enum err err;      /* the first that went wrong */
    unsigned count;
    struct buf members; /* a length (uint16_t) and so many bytes, again and again */
    struct buf calls;   /* struct layer_call * */
    struct slice group;
    char why[ERR_TEXT_MAX];
    char group_bytes[];
};

void redis_members_init(struct redis_members *m)
{
    *m = (struct redis_members){0};
    strmap_init(&m->groups);
    dlist_init(&m->order);
    m->cursor = &m->order;
    redis_registry_init(&m->registry);
}

static void drop_membership(struct redis_members *m, struct redis_membership *ms)
{
    if (m->cursor == &ms->link)
        m->cursor = ms->link.next;
    strmap_remove(&m->groups, &ms->entry);
    dlist_remove(&ms->link);
    mem_free(ms);
}

void redis_members_deinit(struct redis_members *m)
{
    while (!dlist_is_empty(&m->order))
        drop_membership(m, CONTAINER_OF(m->order.next, struct redis_membership, link));
    strmap_deinit(&m->groups);
    redis_registry_deinit(&m->registry);
}

bool redis_members_has_any(const struct redis_shard *shard)
{
    return shard->members.groups.count > 0;
}

void redis_batches_init(struct redis_batches *batches)
{
    strmap_init(&batches->pending);
    dlist_init(&batches->order);
    dlist_init(&batches->refused);
}

void redis_batches_deinit(struct redis_batches *batches)
{
    assert(dlist_is_empty(&batches->order) && dlist_is_empty(&batches->refused));
    strmap_deinit(&batches->pending);
}

/* ---- memberships ---- */

static struct redis_membership *find_membership(struct redis_members *m, struct slice group)
{
    struct strmap_entry *entry = strmap_find(&m->groups, group);
    return entry == NULL ? NULL : CONTAINER_OF(entry, struct redis_membership, entry);
}

static struct redis_membership *want_membership(struct redis_members *m, struct slice group)
{
    struct redis_membership *ms = find_membership(m, group);
    if (ms == NULL) {
        assert(group.len > 0 && group.len <= NAME_MAX_CHARS);
        ms = mem_alloc(sizeof(*ms));
        memcpy(ms->group, group.ptr, group.len);
        ms->group_len = (uint8_t)group.len;
        strmap_add(&m->groups, &ms->entry, slice_make(ms->group, group.len));
        dlist_append(&m->order, &ms->link);
    }
    ms->is_wanted = true;
    return ms;
}

static void on_each_group(void *ctx, struct slice group)
{
    (void)want_membership(&redis_shard_of(ctx, group)->members, group);
}

void redis_members_recall(struct redis_backend *b)
{
    if (b->state == REDIS_OPEN)
        layer_each_group(b->base.layer, on_each_group, b);
}

static void want_none(struct redis_members *m)
{
    for (struct dlist *n = m->order.next; n != &m->order; n = n->next)
        CONTAINER_OF(n, struct redis_membership, link)->is_wanted = false;
}

/* What is under way for those that are not wanted counts no more. */
static void outdate_unwanted(struct redis_members *m)
{
    for (struct dlist *n = m->order.next; n != &m->order; n = n->next) {
        struct redis_membership *ms = CONTAINER_OF(n, struct redis_membership, link);
        if (!ms->is_wanted)
            ms->changes++;
    }
}

void redis_members_forget(struct redis_shard *shard)
{
    want_none(&shard->members);
    outdate_unwanted(&shard->members);
}

void redis_flushed(struct backend *base)
{
    struct redis_backend *b = redis_of(base);
    if (b->state != REDIS_OPEN)
        return;
    for (unsigned i = 0; i < b->shard_count; i++)
        want_none(&b->shards[i].members);
    redis_members_recall(b);
    for (unsigned i = 0; i < b->shard_count; i++) {
        struct redis_shard *shard = &b->shards[i];
        outdate_unwanted(&shard->members);
        if (redis_link_is_up(shard->link)) /* else when it is */
            redis_members_run(shard);
    }
}

/* ---- the end of a batch ---- */

static void go_on(struct redis_shard *shard);

static void settle_membership(struct redis_batch *batch)
{
    struct redis_members *m = &batch->shard->members;
    struct redis_membership *ms = find_membership(m, batch->group);
    if (!batch->has_own || ms == NULL || ms->changes != batch->changes)
        return;
    if (batch->is_add && batch->err != ERR_OK && batch->has_own_call)
        ms->is_wanted = false; /* the layer is told that it failed; it may be there */
    if (!batch->is_add && batch->err == ERR_OK)
        drop_membership(m, ms);
}

static void end_batch(struct redis_batch *batch)
{
    struct redis_shard *shard = batch->shard;
    settle_membership(batch);
    for (uint32_t at = 0; at < batch->calls.len; at += CALL_SIZE) {
        struct layer_call *call = NULL;
        memcpy(&call, batch->calls.ptr + at, CALL_SIZE);
        call->done(call, batch->err, batch->err == ERR_OK ? "" : batch->why);
    }
    const bool is_of_run = batch->is_of_run;
    const bool has_failed = batch->err != ERR_OK;
    buf_deinit(&batch->members);
    buf_deinit(&batch->calls);
    mem_free(batch);
    if (!is_of_run)
        return;
    shard->members.has_failed = shard->members.has_failed || has_failed;
    if (--shard->members.left == 0)
        go_on(shard);
}

static void fail_batch(struct redis_batch *batch, enum err err, const char *why)
{
    if (batch->err != ERR_OK)
        return;
    batch->err = err;
    snprintf(batch->why, sizeof(batch->why), "%s", why);
}

static void on_told(void *ctx, enum err err, const struct redisReply *reply, const char *why)
{
    struct redis_batch *batch = ctx;
    struct redis_key key;
    struct err_text text;
    if (err != ERR_OK)
        fail_batch(batch, err, why);
    else if (redis_refusal(reply, why,
                           redis_key(batch->shard->backend, &key, ":group:", batch->group),
                           &text) != ERR_OK)
        fail_batch(batch, text.code, text.text);
    if (--batch->left == 0)
        end_batch(batch);
}

/* ---- a batch on its way ---- */

static void tell_members(struct redis_batch *batch, struct slice key)
{
    struct redis_backend *b = batch->shard->backend;
    struct redis_number now;
    const struct slice score = redis_score(b, &now);
    redis_argv_begin(&b->argv);
    redis_argv_add(&b->argv, slice_str(batch->is_add ? "ZADD" : "ZREM"));
    redis_argv_add(&b->argv, key);
    for (uint32_t at = 0; at < batch->members.len;) {
        uint16_t len = 0;
        memcpy(&len, batch->members.ptr + at, sizeof(len));
        at += (uint32_t)sizeof(len);
        if (batch->is_add)
            redis_argv_add(&b->argv, score);
        redis_argv_add(&b->argv, slice_make(batch->members.ptr + at, len));
        at += len;
    }
    batch->left++;
    if (redis_argv_give(&b->argv, batch->shard->link, 0, on_told, batch) != ERR_OK) {
        batch->left--;
        fail_batch(batch, ERR_UNAVAILABLE, "too much waits for this Redis already");
    }
}

static void tell_batch(struct redis_batch *batch)
{
    struct redis_backend *b = batch->shard->backend;
    struct redis_members *m = &batch->shard->members;
    strmap_remove(&b->batches.pending, &batch->entry);
    dlist_remove(&batch->link);
    struct redis_key text;
    struct redis_number expiry;
    const struct slice key = redis_key(b, &text, ":group:", batch->group);
    batch->left = 1; /* this function: no answer ends the batch before */
    tell_members(batch, key);
    if (batch->is_add && batch->err == ERR_OK) {
        const struct slice args[] = {slice_str("EXPIRE"), key,
                                     redis_number(&expiry, b->config->group_expiry_s)};
        batch->left++;
        if (redis_link_command(batch->shard->link, on_told, batch, 0, 3, args) != ERR_OK) {
            batch->left--;
            fail_batch(batch, ERR_UNAVAILABLE, "too much waits for this Redis already");
        }
    }
    if (batch->has_own && batch->err == ERR_OK)
        redis_registry_note(&m->registry, batch->group, batch->is_add);
    if (--batch->left > 0)
        return;
    /* Nothing of it was given. Who asks for something else may be our caller, and no call ends
     * inside another. */
    dlist_append(&b->batches.refused, &batch->link);
    redis_wake_turn(b);
}

static void flush_once(struct redis_backend *b)
{
    struct dlist refused;
    struct dlist *node = NULL;
    while (!dlist_is_empty(&b->batches.order))
        tell_batch(CONTAINER_OF(b->batches.order.next, struct redis_batch, link));
    for (unsigned i = 0; i < b->shard_count; i++)
        redis_registry_tell(&b->shards[i]);
    dlist_init(&refused);
    dlist_splice(&refused, &b->batches.refused);
    while ((node = dlist_take_first(&refused)) != NULL)
        end_batch(CONTAINER_OF(node, struct redis_batch, link));
}

void redis_batches_flush(struct redis_backend *b)
{
    /* What the end of one brings about is for the next turn, while there is one: who asks again
     * whenever it is refused does not stop the loop. */
    do
        flush_once(b);
    while (b->state != REDIS_OPEN && !dlist_is_empty(&b->batches.order));
}

/* ---- what goes into a batch ---- */

static struct redis_batch *find_batch(struct redis_shard *shard, struct slice group, bool is_add)
{
    struct redis_batches *batches = &shard->backend->batches;
    struct strmap_entry *entry = strmap_find(&batches->pending, group);
    if (entry != NULL) {
        struct redis_batch *batch = CONTAINER_OF(entry, struct redis_batch, entry);
        if (batch->is_add == is_add && batch->count < BATCH_MAX)
            return batch;
        tell_batch(batch); /* in the order in which they were asked for */
    }
    struct redis_batch *batch = mem_alloc(sizeof(*batch) + group.len);
    batch->shard = shard;
    batch->is_add = is_add;
    buf_init(&batch->members, BATCH_MAX * (REDIS_MEMBER_MAX + sizeof(uint16_t)));
    buf_init(&batch->calls, NAMES_MAX);
    memcpy(batch->group_bytes, group.ptr, group.len);
    batch->group = slice_make(batch->group_bytes, group.len);
    strmap_add(&batches->pending, &batch->entry, batch->group);
    dlist_append(&batches->order, &batch->link);
    redis_wake_turn(shard->backend);
    return batch;
}

static struct redis_batch *put_member(struct redis_shard *shard, struct slice group, bool is_add,
                                      struct slice member, struct layer_call *call)
{
    struct redis_batch *batch = find_batch(shard, group, is_add);
    const uint16_t len = (uint16_t)member.len;
    assert(member.len <= REDIS_MEMBER_MAX);
    enum err err = buf_reserve(&batch->members, sizeof(len) + member.len);
    if (err == ERR_OK && call != NULL)
        err = buf_append(&batch->calls, &call, CALL_SIZE);
    if (err != ERR_OK) {
        if (call != NULL)
            redis_end_later(shard->backend, call, ERR_UNAVAILABLE, "out of memory");
        return NULL;
    }
    memcpy(batch->members.ptr + batch->members.len, &len, sizeof(len));
    memcpy(batch->members.ptr + batch->members.len + sizeof(len), member.ptr, member.len);
    batch->members.len += (uint32_t)(sizeof(len) + member.len);
    batch->count++;
    return batch;
}

static struct redis_batch *put_own(struct redis_shard *shard, const struct redis_membership *ms,
                                   struct layer_call *call)
{
    struct redis_aggregate member;
    const struct slice group = slice_make(ms->group, ms->group_len);
    struct redis_batch *batch = put_member(
        shard, group, ms->is_wanted, redis_aggregate(&member, shard->backend->node, group), call);
    if (batch != NULL) {
        batch->has_own = true;
        batch->has_own_call = batch->has_own_call || call != NULL;
        batch->changes = ms->changes;
    }
    return batch;
}

void redis_join(struct backend *base, struct slice group, struct layer_call *call)
{
    struct redis_shard *shard = redis_shard_of(redis_of(base), group);
    struct redis_membership *ms = want_membership(&shard->members, group);
    ms->changes++;
    if (put_own(shard, ms, call) == NULL)
        ms->is_wanted = false; /* the layer is told that it failed */
}

void redis_leave(struct backend *base, struct slice group, struct layer_call *call)
{
    struct redis_shard *shard = redis_shard_of(redis_of(base), group);
    struct redis_membership *ms = want_membership(&shard->members, group);
    ms->is_wanted = false;
    ms->changes++;
    (void)put_own(shard, ms, call);
}

void redis_add(struct backend *base, struct slice group, struct slice channel,
               struct layer_call *call)
{
    (void)put_member(redis_shard_of(redis_of(base), group), group, true, channel, call);
}

void redis_discard(struct backend *base, struct slice group, struct slice channel,
                   struct layer_call *call)
{
    (void)put_member(redis_shard_of(redis_of(base), group), group, false, channel, call);
}

/* ---- runs ---- */

static void end_run(struct redis_shard *shard)
{
    struct redis_members *m = &shard->members;
    m->is_running = false;
    if (m->has_failed && shard->backend->state == REDIS_OPEN) {
        log_event(LOG_WARN, "layer.redis.groups",
                  "host=%s text=\"not all groups could be told to Redis; they will be again\"",
                  shard->host->text);
        redis_upkeep_run_soon(shard);
    }
    if (!m->has_failed && shard->backend->state == REDIS_OPEN)
        redis_settle_joined(shard, m->losses);
    if (m->is_asked_again && redis_link_is_up(shard->link))
        redis_members_run(shard);
}

/* Gives the next chunk; called again when all of it is answered. */
static void go_on(struct redis_shard *shard)
{
    struct redis_members *m = &shard->members;
    m->left = 1; /* this function */
    for (unsigned i = 0; i < RUN_CHUNK && m->cursor != &m->order && !m->has_failed; i++) {
        const struct redis_membership *ms = CONTAINER_OF(m->cursor, struct redis_membership, link);
        m->cursor = m->cursor->next;
        struct redis_batch *batch = put_own(shard, ms, NULL);
        if (batch == NULL) {
            m->has_failed = true;
        } else if (!batch->is_of_run) {
            batch->is_of_run = true;
            m->left++;
        }
    }
    if (--m->left == 0) /* nothing was left to do */
        end_run(shard);
}

void redis_members_run(struct redis_shard *shard)
{
    struct redis_members *m = &shard->members;
    if (m->is_running) {
        m->is_asked_again = true;
        return;
    }
    m->is_running = true;
    m->is_asked_again = false;
    m->has_failed = false;
    m->losses = redis_settle_losses(shard);
    m->cursor = m->order.next;
    go_on(shard);
}
