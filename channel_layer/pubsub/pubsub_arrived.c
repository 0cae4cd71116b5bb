/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Publications: for a group, for a channel that somebody receives, or for a client's channel, which
 * came by the pattern that stands for all of its names.
 */
#include "channel_layer/pubsub/pubsub.h"

#include "core/log.h"

#include <hiredis/hiredis.h>

#include <inttypes.h>
#include <time.h>

/* A body into b->body. */
static bool open_body(struct pubsub_shard *shard, struct slice name, struct slice payload)
{
    struct pubsub_backend *b = shard->backend;
    struct wire_message message;
    struct err_text why;
    uint64_t held_back = 0;
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    b->body.len = 0;
    if (wire_open(&b->wire, &message, &b->body, payload, (uint64_t)now.tv_sec, &why) == ERR_OK)
        return true;
    layer_stats(b->base.layer)->dropped_undecodable++;
    if (notice_is_due(&b->decode_notice, uv_now(b->uv), &held_back))
        log_event(LOG_WARN, "layer.pubsub.undecodable",
                  "host=%s name=\"%.*s\" bytes=%zu why=\"%s\" held_back=%" PRIu64,
                  shard->host->text, (int)(name.len < 200 ? name.len : 200), (const char *)name.ptr,
                  payload.len, why.text, held_back);
    return false;
}

static void message_arrived(struct pubsub_shard *shard, struct slice name, struct slice payload)
{
    struct pubsub_backend *b = shard->backend;
    struct pubsub_sub *sub = pubsub_find_sub(shard, name);
    struct pubsub_name empty;
    if (sub == NULL)
        return; /* published before UNSUBSCRIBE was done */
    if ((sub->is_group || sub->normal != NULL) && open_body(shard, name, payload)) {
        const size_t front = pubsub_group_name(b, &empty, (struct slice){0}).len;
        if (sub->is_group)
            layer_group_arrived(b->base.layer, slice_make(name.ptr + front, name.len - front),
                                buf_slice(&b->body));
        if (sub->normal != NULL)
            pubsub_normal_arrived(b, sub->normal, buf_slice(&b->body));
    }
    pubsub_came_back(sub, payload);
}

struct one_name {
    struct backend_names names;
    struct slice name;
    bool is_over;
};

static bool next_name(struct backend_names *names, struct slice *name)
{
    struct one_name *one = CONTAINER_OF(names, struct one_name, names);
    const bool was_over = one->is_over;
    *name = one->name;
    one->is_over = true;
    return !was_over;
}

/* A message to a channel of a client of ours. */
static void pattern_arrived(struct pubsub_shard *shard, struct slice channel, struct slice payload)
{
    struct pubsub_backend *b = shard->backend;
    struct one_name one = {.names = {next_name}, .name = channel};
    if (open_body(shard, channel, payload))
        layer_arrived(b->base.layer, &one.names, buf_slice(&b->body));
}

void pubsub_arrived(struct pubsub_shard *shard, const struct redisReply *push)
{
    struct slice items[4];
    if (shard->backend->is_closing || push->elements < 3 || push->elements > 4)
        return;
    for (size_t i = 0; i < push->elements; i++) {
        if (push->element[i]->type != REDIS_REPLY_STRING)
            return;
        items[i] = slice_make(push->element[i]->str, push->element[i]->len);
    }
    if (push->elements == 3 && slice_eq_str(items[0], "message"))
        message_arrived(shard, items[1], items[2]);
    else if (push->elements == 4 && slice_eq_str(items[0], "pmessage"))
        pattern_arrived(shard, items[2], items[3]);
}
