/* SPDX-License-Identifier: BSD-3-Clause
 *
 * pubsub_publish: one publication: sealed, given, answered.
 *
 * Why: a message to a channel (pubsub_send.c) and one to a group (pubsub_group_send.c) are waited
 * for differently, but published alike.
 *
 * Thread: the loop's.
 */
#ifndef CHANNEL_LAYER_PUBSUB_PUBSUB_PUBLISH_H
#define CHANNEL_LAYER_PUBSUB_PUBSUB_PUBLISH_H

#include <stdbool.h>
#include <stdint.h>

#include "channel_layer/pubsub/pubsub.h"

/* Seals @body into b->sealed. False: the call ends. */
bool pubsub_seal(struct pubsub_backend *b, struct slice body, struct layer_call *call);

/* Publishes b->sealed under @name. Errors: as redis_link_command(). */
enum err pubsub_publish(struct pubsub_shard *shard, struct slice name, redis_link_done *done,
                        void *ctx, unsigned timeout_ms) MUST_CHECK;

/* Ends @call, in the next turn, for what could not be given. */
void pubsub_end_refused(struct pubsub_shard *shard, struct layer_call *call, enum err err);

/* What the answer means: an error of Redis is ERR_UNAVAILABLE. */
enum err pubsub_outcome(enum err err, const struct redisReply *reply);

/* Whether the link was lost before it sent what it was given, and there is time to do it again. */
bool pubsub_was_unsent(const struct pubsub_shard *shard, enum err err,
                       const struct redisReply *reply, uint64_t deadline_ms);

/* At least 1. */
unsigned pubsub_left_ms(const struct pubsub_shard *shard, uint64_t deadline_ms);

#endif
