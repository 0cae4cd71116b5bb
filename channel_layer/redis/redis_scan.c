/* SPDX-License-Identifier: BSD-3-Clause */
#include "channel_layer/redis/redis_scan.h"

#include "core/mem.h"

#include <hiredis/hiredis.h>

#include <assert.h>
#include <stdio.h>

enum {
    SCAN_COUNT = 500, /* keys that Redis looks at in one step */
    NAMES_MAX = 64 * 1024 * 1024,
};

struct redis_shard *redis_scan_shard(const struct redis_scan *scan)
{
    return &scan->b->shards[scan->shard];
}

struct slice redis_scan_name(const struct redis_scan *scan, uint32_t i)
{
    return slice_make(scan->names.ptr + scan->list[i].at, scan->list[i].len);
}

void redis_scan_fail(struct redis_scan *scan, enum err err, const char *why)
{
    if (scan->err != ERR_OK)
        return;
    scan->err = err;
    snprintf(scan->why, sizeof(scan->why), "%s", why);
}

static enum err take_name(struct redis_scan *scan, const redisReply *key)
{
    if (key->type != REDIS_REPLY_STRING || key->len <= scan->front.len ||
        key->len - scan->front.len > REDIS_MEMBER_MAX)
        return ERR_OK;
    bool is_sure = true;
    const struct slice rest = slice_make(key->str + scan->front.len, key->len - scan->front.len);
    if (!scan->ops->takes(rest, &is_sure))
        return ERR_OK;
    const uint32_t at = scan->names.len;
    const enum err err = buf_append(&scan->names, rest.ptr, rest.len);
    if (err == ERR_OK)
        scan->list[scan->count++] =
            (struct redis_scan_name){.at = at, .len = (uint32_t)rest.len, .is_sure = is_sure};
    return err;
}

static enum err take_names(struct redis_scan *scan, const redisReply *keys)
{
    scan->count = 0;
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
    struct redis_scan *scan = ctx;
    if (err != ERR_OK) {
        redis_scan_fail(scan, err, why);
    } else if (reply->type != REDIS_REPLY_ARRAY || reply->elements != 2 ||
               reply->element[0]->type != REDIS_REPLY_STRING ||
               reply->element[0]->len >= sizeof(scan->cursor) ||
               reply->element[1]->type != REDIS_REPLY_ARRAY) {
        redis_scan_fail(
            scan, ERR_UNAVAILABLE,
            reply->type == REDIS_REPLY_ERROR ? why : "Redis answered SCAN with something else");
    } else {
        memcpy(scan->cursor, reply->element[0]->str, reply->element[0]->len + 1);
        const enum err taken = take_names(scan, reply->element[1]);
        if (taken != ERR_OK)
            redis_scan_fail(scan, ERR_UNAVAILABLE, err_str(taken));
    }
    if (scan->err != ERR_OK)
        scan->ops->end(scan);
    else
        scan->ops->batch(scan);
}

static enum err give_scan(struct redis_scan *scan)
{
    struct redis_number count;
    const struct slice args[] = {
        slice_str("SCAN"),        slice_str(scan->cursor), slice_str("MATCH"),
        slice_str(scan->pattern), slice_str("COUNT"),      redis_number(&count, SCAN_COUNT),
    };
    return redis_link_command(redis_scan_shard(scan)->link, on_scanned, scan, 0, 6, args);
}

static void next_step(struct redis_scan *scan)
{
    if (scan->err == ERR_OK && give_scan(scan) != ERR_OK)
        redis_scan_fail(scan, ERR_UNAVAILABLE, "too much waits for this Redis already");
    if (scan->err != ERR_OK)
        scan->ops->end(scan);
}

void redis_scan_go_on(struct redis_scan *scan)
{
    if (scan->err == ERR_OK && strcmp(scan->cursor, "0") == 0) {
        scan->shard++;
        if (scan->shard == scan->b->shard_count) {
            scan->ops->end(scan);
            return;
        }
    }
    next_step(scan);
}

/* The front as a glob that stands for itself, and anything behind it. */
static void make_pattern(struct redis_scan *scan)
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

enum err redis_scan_begin(struct redis_scan *scan, const char *behind_prefix)
{
    scan->front = redis_key(scan->b, &scan->key, behind_prefix, slice_str(""));
    make_pattern(scan);
    memcpy(scan->cursor, "0", 2);
    buf_init(&scan->names, NAMES_MAX);
    return give_scan(scan);
}

void redis_scan_end(struct redis_scan *scan)
{
    scan->call->done(scan->call, scan->err, scan->err == ERR_OK ? "" : scan->why);
    buf_deinit(&scan->names);
    mem_free(scan->list);
}
