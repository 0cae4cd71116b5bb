/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Happy path of a name: OUT -> ENTERING (SUBSCRIBE) -> IN -> LEAVING (UNSUBSCRIBE) -> OUT, gone.
 *
 * What can come between, and what is done about it: what is wanted changes while a command is under
 * way (looked at again when it is answered); the answer does not come in time (DOUBT: the same
 * command again, at the next tick); Redis refuses (see refuse()); the connection is lost (all are
 * OUT; those that are wanted begin anew when it is up).
 */
#include "channel_layer/pubsub/pubsub.h"

#include "core/log.h"
#include "core/mem.h"

#include <hiredis/hiredis.h>

#include <assert.h>
#include <inttypes.h>

enum { COMMAND_NAMES = 128 }; /* of one command */

/* A command that is under way. */
struct pubsub_command {
    struct pubsub_shard *shard;
    struct dlist subs;
    size_t count;
    bool is_entering;
};

static struct strmap *map_of(struct pubsub_shard *shard, bool is_pattern)
{
    return is_pattern ? &shard->subscriber.patterns : &shard->subscriber.channels;
}

static struct pubsub_sub *sub_of(struct strmap_entry *entry)
{
    return entry == NULL ? NULL : CONTAINER_OF(entry, struct pubsub_sub, by_name);
}

static bool is_wanted(const struct pubsub_sub *sub)
{
    return sub->is_group || sub->is_base || sub->normal != NULL;
}

/* ---- names ---- */

struct pubsub_sub *pubsub_find_sub(const struct pubsub_shard *shard, struct slice name)
{
    return sub_of(strmap_find(&shard->subscriber.channels, name));
}

struct pubsub_sub *pubsub_make_sub(struct pubsub_shard *shard, struct slice name, bool is_pattern)
{
    struct strmap *map = map_of(shard, is_pattern);
    struct pubsub_sub *sub = sub_of(strmap_find(map, name));
    if (sub != NULL)
        return sub;
    sub = mem_alloc(sizeof(*sub) + name.len);
    sub->shard = shard;
    sub->is_pattern = is_pattern;
    memcpy(sub->name_bytes, name.ptr, name.len);
    sub->name = slice_make(sub->name_bytes, name.len);
    dlist_init(&sub->link);
    dlist_init(&sub->waits);
    dlist_init(&sub->held);
    dlist_init(&sub->returns);
    strmap_add(map, &sub->by_name, sub->name);
    return sub;
}

/* It is back, or will not be: nobody waits for it any more. */
static void stop_missing(struct pubsub_sub *sub)
{
    struct pubsub_shard *shard = sub->shard;
    if (!sub->is_missed)
        return;
    sub->is_missed = false;
    if (--shard->subscriber.missed == 0)
        pubsub_wake_turn(shard->backend);
}

static void free_sub(struct pubsub_sub *sub)
{
    assert(dlist_is_empty(&sub->waits) && dlist_is_empty(&sub->held));
    stop_missing(sub);
    pubsub_forget_returns(sub);
    strmap_remove(map_of(sub->shard, sub->is_pattern), &sub->by_name);
    dlist_remove(&sub->link);
    mem_free(sub);
}

bool pubsub_sub_is_away(const struct pubsub_sub *sub)
{
    return sub->is_group && sub->is_joined && sub->state != SUB_IN;
}

void pubsub_sub_changed(struct pubsub_sub *sub)
{
    struct pubsub_shard *shard = sub->shard;
    pubsub_release(sub);
    if (sub->state == SUB_ENTERING || sub->state == SUB_LEAVING)
        return; /* looked at again when that is answered */
    dlist_remove(&sub->link);
    if (!is_wanted(sub) && sub->state == SUB_OUT) {
        free_sub(sub);
    } else if (sub->state == SUB_DOUBT || is_wanted(sub) != (sub->state == SUB_IN)) {
        dlist_append(&shard->subscriber.changed, &sub->link);
        pubsub_wake_turn(shard->backend);
    }
}

static void defer(struct pubsub_sub *sub)
{
    pubsub_release(sub);
    stop_missing(sub);
    dlist_remove(&sub->link);
    if (!is_wanted(sub) && sub->state == SUB_OUT)
        free_sub(sub);
    else
        dlist_append(&sub->shard->subscriber.deferred, &sub->link);
}

/* ---- commands ---- */

/* Redis has refused. Names that were refused together are tried one by one; a single one is what is
 * wrong, which those who wait for it are told. */
static void refuse(const struct pubsub_command *command, struct pubsub_sub *sub, const char *why,
                   struct dlist *broken)
{
    struct pubsub_backend *b = sub->shard->backend;
    uint64_t held_back = 0;
    if (command->count > 1) {
        sub->is_alone = true;
        pubsub_sub_changed(sub);
        return;
    }
    if (notice_is_due(&b->refuse_notice, uv_now(b->uv), &held_back))
        log_event(LOG_WARN, "layer.pubsub.refused", "name=\"%.*s\" why=\"%s\" held_back=%" PRIu64,
                  (int)sub->name.len, (const char *)sub->name.ptr, why, held_back);
    if (!dlist_is_empty(&sub->waits))
        sub->is_group = false; /* one that could not be joined is none that this node is in */
    dlist_splice(broken, &sub->waits);
    defer(sub);
}

/* The state after an answer that is no refusal. */
static enum pubsub_state state_after(const struct pubsub_command *command, enum err err)
{
    if (err == ERR_OK)
        return command->is_entering ? SUB_IN : SUB_OUT;
    return redis_link_is_up(command->shard->subscriber.link) ? SUB_DOUBT : SUB_OUT;
}

static void answered(const struct pubsub_command *command, struct pubsub_sub *sub, enum err err,
                     const redisReply *reply, const char *why)
{
    struct dlist kept;
    struct dlist broken;
    struct dlist returns;
    const bool is_refused = err == ERR_OK && reply->type == REDIS_REPLY_ERROR;
    dlist_init(&kept);
    dlist_init(&broken);
    dlist_init(&returns);
    if (is_refused)
        sub->state = command->is_entering ? SUB_OUT : SUB_IN;
    else
        sub->state = state_after(command, err);
    if (sub->state == SUB_OUT)
        pubsub_lose_returns(sub, &returns);
    if (sub->state == SUB_IN && is_wanted(sub))
        dlist_splice(&kept, &sub->waits);
    if (sub->state == SUB_IN) {
        sub->is_alone = false;
        sub->is_joined = sub->is_group;
        stop_missing(sub);
    }
    if (is_refused)
        refuse(command, sub, why, &broken);
    else if (sub->state == SUB_DOUBT)
        defer(sub);
    else
        pubsub_sub_changed(sub);
    /* Last, because what the ends of calls bring about may be anything. */
    pubsub_keep_promises(&kept);
    pubsub_break_promises(&broken, ERR_UNAVAILABLE, why);
    pubsub_end_returns(&returns);
}

static void on_answered(void *ctx, enum err err, const redisReply *reply, const char *why)
{
    struct pubsub_command *command = ctx;
    struct dlist *node = NULL;
    while ((node = dlist_take_first(&command->subs)) != NULL)
        answered(command, CONTAINER_OF(node, struct pubsub_sub, link), err, reply, why);
    mem_free(command);
}

static const char *word(const struct pubsub_sub *sub, bool is_entering)
{
    if (sub->is_pattern)
        return is_entering ? "PSUBSCRIBE" : "PUNSUBSCRIBE";
    return is_entering ? "SUBSCRIBE" : "UNSUBSCRIBE";
}

/* A command for the first in @list and those behind it, as far as one has room. */
static void give(struct pubsub_shard *shard, struct dlist *list, bool is_entering)
{
    struct slice args[1 + COMMAND_NAMES];
    struct pubsub_command *command = mem_alloc(sizeof(*command));
    struct pubsub_sub *sub = CONTAINER_OF(list->next, struct pubsub_sub, link);
    command->shard = shard;
    command->is_entering = is_entering;
    dlist_init(&command->subs);
    args[0] = slice_str(word(sub, is_entering));
    while (!dlist_is_empty(list) && command->count < COMMAND_NAMES) {
        sub = CONTAINER_OF(list->next, struct pubsub_sub, link);
        if (sub->is_alone && command->count > 0)
            break;
        dlist_remove(&sub->link);
        dlist_append(&command->subs, &sub->link);
        args[++command->count] = sub->name;
        if (sub->is_alone)
            break;
    }
    struct dlist *node = NULL;
    if (redis_link_command(shard->subscriber.link, on_answered, command, 0, 1 + command->count,
                           args) == ERR_OK) {
        for (node = command->subs.next; node != &command->subs; node = node->next)
            CONTAINER_OF(node, struct pubsub_sub, link)->state =
                is_entering ? SUB_ENTERING : SUB_LEAVING;
        return;
    }
    while ((node = dlist_take_first(&command->subs)) != NULL)
        defer(CONTAINER_OF(node, struct pubsub_sub, link));
    mem_free(command);
}

void pubsub_settle(struct pubsub_shard *shard)
{
    struct dlist lists[2][2]; /* [is_pattern][is wanted] */
    struct dlist now;
    struct dlist *node = NULL;
    const bool is_up = redis_link_is_up(shard->subscriber.link);
    dlist_init(&now);
    dlist_splice(&now, &shard->subscriber.changed);
    for (unsigned i = 0; i < 4; i++)
        dlist_init(&lists[i / 2][i % 2]);
    while ((node = dlist_take_first(&now)) != NULL) {
        struct pubsub_sub *sub = CONTAINER_OF(node, struct pubsub_sub, link);
        const bool must_enter = is_wanted(sub);
        if (sub->state == SUB_DOUBT || must_enter != (sub->state == SUB_IN))
            dlist_append(&lists[sub->is_pattern][must_enter], &sub->link);
    }
    for (unsigned i = 0; i < 4; i++)
        while (!dlist_is_empty(&lists[i / 2][i % 2]))
            if (is_up)
                give(shard, &lists[i / 2][i % 2], i % 2 == 1);
            else
                (void)dlist_take_first(&lists[i / 2][i % 2]); /* all begin anew then */
    if (shard->subscriber.missed == 0)
        pubsub_nodes_announce(shard);
}

void pubsub_subs_tick(struct pubsub_shard *shard)
{
    struct pubsub_subscriber *s = &shard->subscriber;
    if (dlist_is_empty(&s->deferred))
        return;
    dlist_splice(&s->changed, &s->deferred);
    pubsub_wake_turn(shard->backend);
}

/* ---- the connection ---- */

static void enter_all(struct pubsub_subscriber *s, struct strmap *map)
{
    for (struct strmap_entry *e = strmap_next(map, NULL); e != NULL; e = strmap_next(map, e)) {
        struct pubsub_sub *sub = sub_of(e);
        if (sub->state != SUB_OUT)
            continue; /* its command has not ended yet */
        dlist_remove(&sub->link);
        dlist_append(&s->changed, &sub->link);
        s->missed += sub->is_missed ? 0 : 1;
        sub->is_missed = true;
    }
}

static void on_up(void *ctx, bool is_first)
{
    struct pubsub_shard *shard = ctx;
    struct pubsub_subscriber *s = &shard->subscriber;
    pubsub_nodes_subscriber_up(shard);
    if (is_first)
        pubsub_nodes_announce(shard); /* nobody waits for one that was not there before */
    enter_all(s, &s->channels);
    enter_all(s, &s->patterns);
    if (!is_first) {
        layer_stats(shard->backend->base.layer)->reconnects++;
        log_event(LOG_WARN, "layer.pubsub.gap",
                  "host=%s text=\"connected again: messages published meanwhile were lost\"",
                  shard->host->text);
    }
    pubsub_settle(shard);
    pubsub_hurry(shard, shard->link);
}

static void leave_all(struct strmap *map, struct dlist *returns)
{
    struct strmap_entry *next = NULL;
    for (struct strmap_entry *e = strmap_next(map, NULL); e != NULL; e = next) {
        struct pubsub_sub *sub = sub_of(e);
        next = strmap_next(map, e);
        if (sub->state == SUB_ENTERING || sub->state == SUB_LEAVING)
            continue; /* that command ends now */
        sub->state = SUB_OUT;
        pubsub_lose_returns(sub, returns);
        if (!is_wanted(sub))
            free_sub(sub);
    }
}

static void on_down(void *ctx, const char *why)
{
    struct pubsub_shard *shard = ctx;
    struct dlist returns;
    (void)why; /* the command link says it */
    dlist_init(&returns);
    leave_all(&shard->subscriber.channels, &returns);
    leave_all(&shard->subscriber.patterns, &returns);
    pubsub_nodes_subscriber_down(shard);
    pubsub_end_returns(&returns); /* last: what these bring about may be anything */
}

static void on_push(void *ctx, const redisReply *push)
{
    pubsub_arrived(ctx, push);
}

static const struct redis_link_ops subscriber_ops = {
    .ends_unsent = true, /* what was lost is subscribed to anew, in order */
    .up = on_up,
    .down = on_down,
    .push = on_push,
};

void pubsub_subscriber_open(struct pubsub_shard *shard)
{
    struct pubsub_backend *b = shard->backend;
    struct pubsub_subscriber *s = &shard->subscriber;
    strmap_init(&s->channels);
    strmap_init(&s->patterns);
    dlist_init(&s->changed);
    dlist_init(&s->deferred);
    redis_link_open(&s->link, b->uv, shard->host, b->config->timeout_ms, &subscriber_ops, shard);
}

static void free_all(struct strmap *map)
{
    struct strmap_entry *entry = NULL;
    while ((entry = strmap_next(map, NULL)) != NULL)
        free_sub(sub_of(entry));
    strmap_deinit(map);
}

void pubsub_subscriber_deinit(struct pubsub_subscriber *s)
{
    free_all(&s->channels);
    free_all(&s->patterns);
}

/* ---- operations ---- */

void pubsub_join(struct backend *base, struct slice group, struct layer_call *call)
{
    struct pubsub_backend *b = pubsub_of(base);
    struct pubsub_name text;
    const struct slice name = pubsub_group_name(b, &text, group);
    struct pubsub_sub *sub = pubsub_make_sub(pubsub_shard_of(b, name), name, false);
    if (!sub->is_group)
        sub->is_joined = sub->state == SUB_IN;
    sub->is_group = true;
    pubsub_promise(b, &sub, 1, b->config->timeout_ms, call);
    pubsub_sub_changed(sub);
}

/* The messages do not interest any more: nobody needs to wait until Redis stops to send them. */
void pubsub_leave(struct backend *base, struct slice group, struct layer_call *call)
{
    struct pubsub_backend *b = pubsub_of(base);
    struct pubsub_name text;
    const struct slice name = pubsub_group_name(b, &text, group);
    struct pubsub_sub *sub = pubsub_find_sub(pubsub_shard_of(b, name), name);
    if (sub != NULL) {
        sub->is_group = false;
        pubsub_sub_changed(sub);
    }
    pubsub_end_later(b, call, ERR_OK, "%s", "");
}

void pubsub_watch(struct backend *base, struct slice name, struct layer_call *call)
{
    struct pubsub_backend *b = pubsub_of(base);
    struct pubsub_glob text;
    const struct slice pattern = pubsub_glob(&text, name);
    struct pubsub_sub **subs = mem_alloc(b->shard_count * sizeof(struct pubsub_sub *));
    for (unsigned i = 0; i < b->shard_count; i++) {
        subs[i] = pubsub_make_sub(&b->shards[i], pattern, true);
        subs[i]->is_base = true;
    }
    /* Sooner than whoever waits for the call gives up: the names are good all the same. */
    pubsub_promise(b, subs, b->shard_count, b->config->timeout_ms / 2, call);
    for (unsigned i = 0; i < b->shard_count; i++)
        pubsub_sub_changed(subs[i]);
    mem_free(subs);
}

void pubsub_unwatch(struct backend *base, struct slice name)
{
    struct pubsub_backend *b = pubsub_of(base);
    struct pubsub_glob text;
    const struct slice pattern = pubsub_glob(&text, name);
    for (unsigned i = 0; i < b->shard_count; i++) {
        struct pubsub_sub *sub = sub_of(strmap_find(&b->shards[i].subscriber.patterns, pattern));
        if (sub == NULL)
            continue;
        sub->is_base = false;
        pubsub_break_promises_later(&sub->waits, ERR_CLOSED, "its client is gone");
        pubsub_sub_changed(sub);
    }
}

static void keep_group(void *ctx, struct slice group)
{
    struct pubsub_backend *b = ctx;
    struct pubsub_name text;
    const struct slice name = pubsub_group_name(b, &text, group);
    struct pubsub_sub *sub = pubsub_find_sub(pubsub_shard_of(b, name), name);
    if (sub != NULL)
        sub->is_kept = true;
}

void pubsub_drop_groups(struct pubsub_backend *b)
{
    layer_each_group(b->base.layer, keep_group, b);
    for (unsigned i = 0; i < b->shard_count; i++) {
        const struct strmap *map = &b->shards[i].subscriber.channels;
        struct strmap_entry *next = NULL;
        for (struct strmap_entry *e = strmap_next(map, NULL); e != NULL; e = next) {
            struct pubsub_sub *sub = sub_of(e);
            next = strmap_next(map, e);
            if (!sub->is_kept && dlist_is_empty(&sub->waits))
                sub->is_group = false;
            sub->is_kept = false;
            pubsub_sub_changed(sub);
        }
    }
}
