/* SPDX-License-Identifier: BSD-3-Clause
 *
 * redis_scan: a walk through all keys of a layer.
 *
 * Why: a list of groups and a flush need every key that begins alike. SCAN gives some, something is
 * done with these, then the next are asked for; shard by shard. A Redis with many other keys takes
 * its time: the layer's timeout holds for each step. SCAN may give a key twice while Redis moves
 * its table.
 *
 * Life: redis_scan_begin(), then batch() -> redis_scan_go_on() again and again, then end().
 *
 * Thread: the loop's.
 */
#ifndef CHANNEL_LAYER_REDIS_REDIS_SCAN_H
#define CHANNEL_LAYER_REDIS_REDIS_SCAN_H

#include <stdbool.h>
#include <stdint.h>

#include "channel_layer/redis/redis.h"

struct redis_scan;

struct redis_scan_ops {
    /* Whether a key that goes on with @rest is meant; @is_sure: no other name than a layer's looks
     * like this. */
    bool (*takes)(struct slice rest, bool *is_sure);
    /* Some keys are there; redis_scan_go_on() follows, at once or later. */
    void (*batch)(struct redis_scan *scan);
    /* All were there, or it failed; redis_scan_end() follows. */
    void (*end)(struct redis_scan *scan);
};

struct redis_scan_name {
    uint32_t at; /* in the scan's names; without the prefix of all of them */
    uint32_t len;
    bool is_sure;
    uint64_t members; /* for who counts them; 0 at the beginning */
};

/* A part of its owner's object, which sets the first three. */
struct redis_scan {
    struct redis_backend *b;
    const struct redis_scan_ops *ops;
    struct layer_call *call;
    struct redis_scan_name *list; /* this batch */
    uint32_t count;
    enum err err;
    /* private */
    unsigned shard;
    char cursor[24];
    struct slice front; /* all keys begin with it: a part of key */
    struct redis_key key;
    char pattern[2 * REDIS_PREFIX_MAX + 16];
    struct buf names;
    char why[ERR_TEXT_MAX];
};

/* All keys that begin with the prefix and @behind_prefix. Errors: as redis_link_command(): nothing
 * has begun. */
enum err redis_scan_begin(struct redis_scan *scan, const char *behind_prefix) MUST_CHECK;

/* The batch is done with: the next, or the end. */
void redis_scan_go_on(struct redis_scan *scan);

/* It will end so, unless it failed before. */
void redis_scan_fail(struct redis_scan *scan, enum err err, const char *why);

/* Ends the call and frees what the scan holds; its owner frees the object. */
void redis_scan_end(struct redis_scan *scan);

/* Where the names of this batch lie. */
struct redis_shard *redis_scan_shard(const struct redis_scan *scan);
struct slice redis_scan_name(const struct redis_scan *scan, uint32_t i);

#endif
