/* SPDX-License-Identifier: BSD-3-Clause
 *
 * One message to a group: two round trips, one when nobody else is in it.
 *
 * 1. The group's shard gives the members. Those of this node are told to the layer. While the shard
 *    has not settled after a loss the question waits (redis_settle.h), and one that was asked
 *    before is asked again: nothing was sent yet.
 * 2. The others are sorted by key (a key is one process, with many members). Each key is given the
 *    message once, with the names of its members; each shard all its keys in one script, or in
 *    several that follow each other when they are large.
 *
 * A member that is no name is skipped and counted, a key of another type too: neither keeps the
 * others from their message. What Redis refuses for other reasons ends the call with an error.
 */
#include "channel_layer/redis/redis_groups.h"

#include "core/log.h"
#include "core/mem.h"

#include <inttypes.h>
#include <stdio.h>

enum { NAMES_MAX = 256 * 1024 * 1024 }; /* bytes of a call */

static void free_group_call(struct redis_group_call *g)
{
    buf_deinit(&g->bytes);
    mem_free(g->members);
    mem_free(g->targets);
    mem_free(g);
}

static void report_full(struct redis_group_call *g)
{
    uint64_t held_back = 0;
    if (g->full == 0)
        return;
    layer_stats(g->b->base.layer)->group_full += g->full;
    if (notice_is_due(&g->b->full_notice, uv_now(g->b->uv), &held_back))
        log_event(LOG_INFO, "layer.group.full",
                  "text=\"%" PRIu32 " of %" PRIu32 " channels over capacity in group %.*s\" "
                  "held_back=%" PRIu64,
                  g->full, g->all_count, (int)g->group_len, (const char *)g->bytes.ptr, held_back);
}

static void add_words(struct redis_group_call *g, const char *words)
{
    const size_t len = strlen(g->why);
    snprintf(g->why + len, sizeof(g->why) - len, "%s", words);
}

void redis_group_fail(struct redis_group_call *g, enum err err, const char *why)
{
    if (g->err != ERR_OK && g->err != ERR_UNAVAILABLE)
        return; /* not knowing is the worse of the two */
    g->err = err;
    snprintf(g->why, sizeof(g->why), "%s", why);
}

void redis_group_end(struct redis_group_call *g)
{
    report_full(g);
    if (g->err == ERR_UNAVAILABLE && g->sent > 0) {
        g->err = ERR_TIMEOUT; /* it went to some: nobody may take it for unsent */
        add_words(g, " (sent to a part of the group)");
    }
    g->call->done(g->call, g->err, g->err == ERR_OK ? "" : g->why);
    free_group_call(g);
}

/* ---- the members ---- */

static void ask_when_settled(struct redis_group_call *g);

static void on_members(void *ctx, const struct script_result *result)
{
    struct redis_group_call *g = ctx;
    if (g->losses != redis_settle_losses(g->home) && g->b->state == REDIS_OPEN &&
        uv_now(g->b->uv) < g->deadline_ms) {
        ask_when_settled(g);
        return;
    }
    if (result->err != ERR_OK) { /* without an answer, too: it was a question only */
        redis_group_fail(g, result->err == ERR_TIMEOUT ? ERR_UNAVAILABLE : result->err,
                         result->why);
        if (result->err == ERR_TIMEOUT)
            add_words(g, "; the message was not sent");
        redis_group_end(g);
        return;
    }
    const enum err err = redis_group_take_members(g, result->reply);
    if (err != ERR_OK)
        redis_group_fail(g, ERR_UNAVAILABLE, err_str(err));
    if (err != ERR_OK || g->target_count == 0) {
        redis_group_end(g);
        return;
    }
    g->now_s = (uint64_t)redis_now();
    (void)redis_score(g->b, &g->score);
    redis_group_give(g);
}

static void end_refused(struct redis_group_call *g, enum err err)
{
    redis_end_refused(g->home, g->call, err);
    free_group_call(g);
}

static void ask_members(struct redis_group_call *g)
{
    struct redis_backend *b = g->b;
    struct redis_key key;
    struct redis_number oldest;
    const uint64_t now_ms = uv_now(b->uv);
    const struct slice args[] = {
        redis_key(b, &key, ":group:", redis_group_name(g)),
        redis_oldest(&oldest, b->config->group_expiry_s),
    };
    const struct script_args run = {
        .script = SCRIPT_MEMBERS,
        .timeout_ms = now_ms < g->deadline_ms ? (unsigned)(g->deadline_ms - now_ms) : 1,
        .key_count = 1,
        .count = 2,
        .args = args,
    };
    g->losses = redis_settle_losses(g->home);
    const enum err err = redis_run(g->home, &run, on_members, g);
    if (err != ERR_OK)
        end_refused(g, err);
}

static void on_released(struct redis_held *held, enum err err, const char *why)
{
    struct redis_group_call *g = CONTAINER_OF(held, struct redis_group_call, held);
    if (err == ERR_OK) {
        ask_members(g);
        return;
    }
    redis_end_later(g->b, g->call, err, "%s", why);
    free_group_call(g);
}

static void ask_when_settled(struct redis_group_call *g)
{
    if (redis_has_settled(g->home)) {
        ask_members(g);
        return;
    }
    g->held.released = on_released;
    g->held.deadline_ms = g->deadline_ms;
    g->held.bytes = sizeof(*g) + g->bytes.len;
    const enum err err = redis_settle_hold(g->home, &g->held, g->number);
    if (err != ERR_OK)
        end_refused(g, err);
}

void redis_group_send(struct backend *base, struct slice group, struct slice body,
                      struct layer_call *call, struct backend_own *own)
{
    struct redis_backend *b = redis_of(base);
    struct redis_group_call *g = mem_alloc(sizeof(*g));
    g->b = b;
    g->home = redis_shard_of(b, group);
    g->call = call;
    g->own = own;
    g->number = b->group_sends++;
    g->deadline_ms = uv_now(b->uv) + b->config->timeout_ms;
    g->group_len = (uint32_t)group.len;
    g->body_len = (uint32_t)body.len;
    buf_init(&g->bytes, NAMES_MAX);
    enum err err = buf_append(&g->bytes, group.ptr, group.len);
    if (err == ERR_OK)
        err = buf_append(&g->bytes, body.ptr, body.len);
    if (err == ERR_OK)
        ask_when_settled(g);
    else
        end_refused(g, err);
}
