/* SPDX-License-Identifier: BSD-3-Clause */
#include "channel_layer/redis/redis_report.h"

#include "channel_layer/redis/redis.h"
#include "core/log.h"
#include "core/text.h"

#include <inttypes.h>

void redis_report_refused(struct redis_backend *b, const char *why)
{
    uint64_t held_back = 0;
    if (notice_is_due(&b->key_notice, uv_now(b->uv), &held_back))
        log_event(LOG_ERROR, "layer.redis.key", "held_back=%" PRIu64 " text=\"%s\"", held_back,
                  why);
}

void redis_report_undecodable(const struct redis_shard *shard, const char *field, struct slice name,
                              const char *why)
{
    struct redis_backend *b = shard->backend;
    uint64_t held_back = 0;
    layer_stats(b->base.layer)->dropped_undecodable++;
    if (notice_is_due(&b->decode_notice, uv_now(b->uv), &held_back))
        log_event(LOG_WARN, "layer.message",
                  "host=%s %s=%.*s held_back=%" PRIu64 " text=\"a message was dropped: %s\"",
                  shard->host->text, field, (int)name.len, (const char *)name.ptr, held_back, why);
}

bool redis_is_late(const struct redis_shard *shard, struct slice key, struct slice score)
{
    struct redis_backend *b = shard->backend;
    uint64_t held_back = 0;
    double sent = 0;
    if (!text_read_decimal(&sent, score)) /* "inf" is no time */
        return false;
    const double age_s = redis_now() - sent;
    if (age_s <= (double)b->config->expiry_s + REDIS_LATE_S)
        return false;
    layer_stats(b->base.layer)->dropped_expired++;
    if (notice_is_due(&b->late_notice, uv_now(b->uv), &held_back))
        log_event(LOG_WARN, "layer.message",
                  "host=%s key=%.*s held_back=%" PRIu64
                  " text=\"a message was dropped: it is %.0f s old, if the clocks of this host and "
                  "of its sender are right, and the expiry is %u s\"",
                  shard->host->text, (int)key.len, (const char *)key.ptr, held_back, age_s,
                  b->config->expiry_s);
    return true;
}
