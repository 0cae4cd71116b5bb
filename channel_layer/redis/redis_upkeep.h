/* SPDX-License-Identifier: BSD-3-Clause
 *
 * redis_upkeep: a node's signs of life in one shard.
 *
 * Why: whoever sees that a node's beats have stopped claims it and sweeps what it left
 * (redis_sweep.h). What a node has in Redis lives only as long as somebody looks after it.
 *
 * How: a beat is one script: it writes the time of Redis, and answers whether this node was not
 * known (Redis was emptied, or somebody took us for gone: then all memberships are made again), how
 * many nodes live, and whom it claimed.
 *
 * Thread: the loop's.
 */
#ifndef CHANNEL_LAYER_REDIS_REDIS_UPKEEP_H
#define CHANNEL_LAYER_REDIS_REDIS_UPKEEP_H

#include <stdbool.h>
#include <stdint.h>

struct redis_shard;

enum {
    REDIS_BEAT_MS = 2000,
    REDIS_GONE_S = 30,        /* without a beat */
    REDIS_PEACE_S = 10,       /* after nobody could beat, before anybody is taken for gone */
    REDIS_KEEP_S = 24 * 3600, /* time to live of what a node has, at least */
};

struct redis_upkeep {
    /* private */
    uint64_t beat_ms;    /* when the next is due */
    uint64_t refresh_ms; /* when memberships are to be made again */
    uint64_t expire_ms;  /* when the node's keys get their time to live again */
    bool is_beating;
    bool has_beaten; /* this node was known once */
    bool is_leaving;
};

/* When the first refresh is due. */
void redis_upkeep_init(struct redis_shard *shard);
/* The link is up: a beat at once. */
void redis_upkeep_up(struct redis_shard *shard);
/* Redis may have been emptied: a beat at once, which tells. */
void redis_upkeep_beat_soon(struct redis_shard *shard);
/* The next tick beats: there may be another that is gone. */
void redis_upkeep_beat_next(struct redis_shard *shard);
/* Not all memberships could be told: once more in a second. */
void redis_upkeep_run_soon(struct redis_shard *shard);
void redis_upkeep_tick(struct redis_shard *shard, uint64_t now_ms);
/* Takes the node's own keys out, and the node, unless it has messages of normal channels yet: then
 * a neighbour, or a successor, sweeps it. redis_shard_left() follows. */
void redis_upkeep_leave(struct redis_shard *shard);
/* Seconds that the keys of a node live without a beat. */
unsigned redis_upkeep_keep_s(const struct redis_shard *shard);

#endif
