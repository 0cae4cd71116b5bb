/* SPDX-License-Identifier: BSD-3-Clause
 *
 * redis_tracking: being told by Redis that a key was written to.
 *
 * Why: whoever has found nothing under a key need not look again until there is something. Redis
 * tells it (client-side caching: the answer is "cached"), from version 6 on and by RESP3.
 *
 * Thread: the loop's.
 */
#ifndef CHANNEL_LAYER_REDIS_REDIS_TRACKING_H
#define CHANNEL_LAYER_REDIS_REDIS_TRACKING_H

#include <stdbool.h>

#include "channel_layer/redis/redis_link.h"

/* Asks for it, on a connection that has just been made; what the connection itself changes is no
 * news. False: it is not to be had, and @done is not called. */
bool redis_tracking_ask(struct redis_link *link, redis_link_done *done, void *ctx);

/* It was not answered, which leaves the connection half made: a new one, unless it is lost anyway.
 */
void redis_tracking_again(struct redis_link *link, const char *why);

/* Whether a push says that keys changed: *@keys is an array of them, or NULL: all did. */
bool redis_tracking_read(const struct redisReply *push, const struct redisReply **keys);

#endif
