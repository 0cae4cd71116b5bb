/* SPDX-License-Identifier: BSD-3-Clause */
#include "channel_layer/redis/redis_tracking.h"

#include <hiredis/hiredis.h>

enum { TRACKING_SINCE = 6 };

bool redis_tracking_ask(struct redis_link *link, redis_link_done *done, void *ctx)
{
    const struct slice args[] = {slice_str("CLIENT"), slice_str("TRACKING"), slice_str("ON"),
                                 slice_str("NOLOOP")};
    return redis_link_has_push(link) && redis_link_version(link) >= TRACKING_SINCE &&
           redis_link_command(link, done, ctx, 0, 4, args) == ERR_OK;
}

void redis_tracking_again(struct redis_link *link, const char *why)
{
    if (redis_link_is_up(link))
        redis_link_reconnect(link, why);
}

bool redis_tracking_read(const struct redisReply *push, const struct redisReply **keys)
{
    if (push->elements != 2 || push->element[0]->type != REDIS_REPLY_STRING ||
        !slice_eq_str(slice_make(push->element[0]->str, push->element[0]->len), "invalidate"))
        return false;
    *keys = push->element[1]->type == REDIS_REPLY_ARRAY ? push->element[1] : NULL;
    return true;
}
