/* SPDX-License-Identifier: BSD-3-Clause
 *
 * A flush forgets every key of the layer, then tells the other nodes (redis_flush_nodes.c). The
 * list of nodes is therefore not among the keys that go; when the flush fails halfway it does go,
 * which makes all nodes join their groups again. That is also what happens after a flush of others
 * (DEL, FLUSHDB): nobody can tell it from a Redis that came back empty.
 */
#include "channel_layer/redis/redis_flush.h"

#include "core/mem.h"

enum { FORGET_MAX = 200 }; /* keys of one script */

/* Some groups are gone and nobody was told: the nodes that are not known any more heal them. */
static void undo_flush(const struct redis_scan *scan)
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

void redis_flush_end(struct redis_flush *flush)
{
    if (flush->scan.err != ERR_OK)
        undo_flush(&flush->scan);
    redis_scan_end(&flush->scan);
    buf_deinit(&flush->names);
    mem_free(flush->nodes);
    mem_free(flush);
}

/* ---- the keys ---- */

static void forget_next(struct redis_flush *flush);

static void on_forgotten(void *ctx, const struct script_result *result)
{
    struct redis_flush *flush = ctx;
    struct redis_scan *scan = &flush->scan;
    struct redis_shard *shard = redis_scan_shard(scan);
    if (result->is_refused && !shard->is_cluster && strstr(result->why, "CROSSSLOT") != NULL)
        shard->is_cluster = true; /* the same again, one by one */
    else if (result->err != ERR_OK)
        redis_scan_fail(scan, result->err, result->why);
    else
        flush->done += flush->left;
    forget_next(flush);
}

/* Gives the next keys of the batch to the script. */
static void forget_next(struct redis_flush *flush)
{
    struct redis_scan *scan = &flush->scan;
    struct redis_backend *b = scan->b;
    struct redis_shard *shard = redis_scan_shard(scan);
    const uint32_t most = shard->is_cluster ? 1 : FORGET_MAX;
    uint32_t count = scan->count - flush->done;
    if (count == 0 || scan->err != ERR_OK) {
        redis_scan_go_on(scan);
        return;
    }
    if (count > most)
        count = most;
    struct redis_key *keys = mem_alloc(count * sizeof(*keys));
    struct slice *args = mem_alloc(2 * (size_t)count * sizeof(*args));
    for (uint32_t i = 0; i < count; i++) {
        const uint32_t at = flush->done + i;
        args[i] = redis_key(b, &keys[i], "", redis_scan_name(scan, at));
        args[count + i] = slice_str(scan->list[at].is_sure ? "1" : "0");
    }
    const struct script_args run = {
        .script = SCRIPT_FORGET,
        .timeout_ms = b->config->timeout_ms,
        .key_count = count,
        .count = 2 * (size_t)count,
        .args = args,
    };
    flush->left = count;
    const enum err err = redis_run(shard, &run, on_forgotten, flush);
    mem_free(keys);
    mem_free(args);
    if (err != ERR_OK) {
        redis_scan_fail(scan, ERR_UNAVAILABLE, "too much waits for this Redis already");
        redis_scan_go_on(scan);
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

static struct redis_flush *flush_of(struct redis_scan *scan)
{
    return CONTAINER_OF(scan, struct redis_flush, scan);
}

static void on_batch(struct redis_scan *scan)
{
    struct redis_flush *flush = flush_of(scan);
    flush->done = 0;
    forget_next(flush);
}

static void on_scan_end(struct redis_scan *scan)
{
    if (scan->err == ERR_OK)
        redis_flush_tell(flush_of(scan));
    else
        redis_flush_end(flush_of(scan));
}

static const struct redis_scan_ops flush_ops = {
    .takes = is_layers,
    .batch = on_batch,
    .end = on_scan_end,
};

void redis_flush(struct backend *base, struct layer_call *call)
{
    struct redis_flush *flush = mem_alloc(sizeof(*flush));
    flush->scan.b = redis_of(base);
    flush->scan.ops = &flush_ops;
    flush->scan.call = call;
    dlist_init(&flush->link);
    if (redis_scan_begin(&flush->scan, "") != ERR_OK) { /* told when the caller has returned */
        redis_end_refused(redis_scan_shard(&flush->scan), call, ERR_UNAVAILABLE);
        mem_free(flush);
    }
}
