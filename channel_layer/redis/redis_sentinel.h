/* SPDX-License-Identifier: BSD-3-Clause
 *
 * redis_sentinel: asks Redis Sentinel where the master is.
 *
 * Why: the address of a master that Sentinel watches changes with each failover; it is asked for
 * before every attempt to connect. The sentinels are asked one after the other, beginning with the
 * one that answered last; one that knows no such master does not end the search.
 *
 * Thread: the loop's.
 */
#ifndef CHANNEL_LAYER_REDIS_REDIS_SENTINEL_H
#define CHANNEL_LAYER_REDIS_REDIS_SENTINEL_H

#include <stdint.h>
#include <uv.h>

#include "channel_layer/config/config.h"

struct redis_sentinel;

struct redis_sentinel_ops {
    /* @name is NULL when none of them told an address: @why says what each of them said. Called
     * once, never inside redis_sentinel_ask() and not after redis_sentinel_close(). @index: which
     * of them answered. */
    void (*found)(void *ctx, const char *name, uint16_t port, size_t index, const char *why);
    void (*closed)(void *ctx); /* it is gone */
};

struct redis_sentinel_how {
    const struct redis_host *host; /* its master_name and sentinels; borrowed until closed */
    unsigned timeout_ms;           /* of which each sentinel has its share */
    size_t first;                  /* which is asked first */
};

/* @how is copied. */
void redis_sentinel_ask(struct redis_sentinel **out, uv_loop_t *uv,
                        const struct redis_sentinel_how *how, const struct redis_sentinel_ops *ops,
                        void *ctx);

void redis_sentinel_close(struct redis_sentinel *s);

#endif
