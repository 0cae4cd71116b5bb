/* SPDX-License-Identifier: BSD-3-Clause
 *
 * layer: one channel layer on one loop: who is in which group here, and the way of a message.
 *
 * Why: everything that sends or receives on this node (workers, other processes of the host, the
 * command line, consumers in C) goes through one object, so that Redis sees one member and one
 * reader for all of them.
 *
 * How: clients (struct layer_client) are told what arrives. What is for clients of this node is
 * delivered here; the rest goes to the backend (backend.h): none (memory), channels_redis.core,
 * channels_redis.pubsub. A group_send goes to the backend first and is delivered here when that
 * succeeded, so that an error means "not sent". Normal channels without Redis are queues of this
 * object (queues.h), with capacity and expiry.
 *
 * Completion is always told by callback, and never before the call that asked for it returned.
 *
 * Thread: the loop's.
 */
#ifndef CHANNEL_LAYER_LAYER_H
#define CHANNEL_LAYER_LAYER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>

#include "channel_layer/config/config.h"
#include "channel_layer/names.h"
#include "core/dlist.h"
#include "core/err.h"
#include "core/slice.h"

struct layer;

/* A call under way. The caller owns it and keeps it until done(), which is called exactly once.
 * @err: ERR_OK; ERR_FULL (over capacity); ERR_INVALID (name or body); ERR_CLOSED (the layer ends);
 * ERR_UNAVAILABLE (the backend cannot be reached or refused; nothing was sent); ERR_TIMEOUT (not
 * known whether it was); ERR_UNSUPPORTED. @why: in words, naming the host or the name; "" with
 * ERR_OK. Borrowed. */
struct layer_call {
    void (*done)(struct layer_call *call, enum err err, const char *why);
};

/* What a client is given. Everything is borrowed. */
struct layer_delivery {
    uint64_t ticket;            /* not 0: layer_accepted() is to be called with it */
    const struct slice *groups; /* groups that the client has joined */
    size_t group_count;
    const struct slice *channels; /* full names of the client's own channels */
    size_t channel_count;
    struct slice body; /* without __asgi_channel__ */
};

struct layer_client;

/* None of these may call into the layer before it returned. */
struct layer_client_ops {
    void (*deliver)(struct layer_client *client, const struct layer_delivery *delivery);
    /* Answers layer_receive(): @token until layer_taken() or layer_put_back(). */
    void (*message)(struct layer_client *client, uint64_t token, struct slice channel,
                    struct slice body);
    /* Answers layer_receive() with an error: the token is none any more. NULL: it waits on. */
    void (*failed)(struct layer_client *client, uint64_t token, enum err err, const char *why);
    void (*add)(struct layer_client *client, struct slice group, struct slice channel);
    void (*discard)(struct layer_client *client, struct slice group, struct slice channel);
    void (*flushed)(struct layer_client *client);
    /* Whether it can take @bytes more; one that cannot misses the message (counted). */
    bool (*has_room)(struct layer_client *client, size_t bytes);
};

struct layer_client {
    const struct layer_client_ops *ops; /* the owner's */
    char base[NAME_MAX_BYTES + 1];      /* set by layer_attach(): see names.h */
    /* private */
    struct layer *layer;
    struct dlist link;    /* layer->clients */
    struct dlist bases;   /* struct layer_base: the names that it may make */
    struct dlist members; /* struct group_member, one for each group it is in */
    struct dlist waiting; /* struct layer_wait: its receives */
    struct dlist untaken; /* struct layer_wait: messages that it has and did not take yet */
    struct dlist touched; /* while one message is given out: see deliveries.h */
    size_t first_hit;
    size_t last_hit;
};

/* Opens a layer. Nothing is asked of Redis yet: a Redis that is away is no reason not to start.
 * Ownership: takes @config, also on error. Errors: ERR_IO, ERR_INVALID (text in @why). */
enum err layer_open(struct layer **out, uv_loop_t *uv, struct layer_config *config,
                    struct err_text *why) MUST_CHECK;

/* Ends it: calls under way end with ERR_CLOSED, memberships are taken out of Redis (for at most the
 * layer's timeout), then @closed is called and the object is gone. Clients are detached before. */
void layer_close(struct layer *layer, void (*closed)(void *ctx), void *ctx);

/* Whether nobody is attached, and nothing waits for somebody to come: without Redis, messages and
 * members of groups live here only. */
bool layer_is_idle(struct layer *layer);

const struct layer_config *layer_config(const struct layer *layer);

/* Makes @client known and fills client->base. @old_bases: those it had on an earlier connection,
 * all for one peer id; the first is its base again. Errors: ERR_INVALID (a base that is none). */
enum err layer_attach(struct layer *layer, struct layer_client *client,
                      const struct slice *old_bases, size_t count, struct err_text *why) MUST_CHECK;

/* Takes it out of all groups, gives its untaken messages back. No callback comes afterwards. */
void layer_detach(struct layer_client *client);

/* A base for channels with another prefix ("specific" is there from the start): written to @out
 * (NAME_MAX_BYTES + 1). @call ends when messages for it would arrive. */
void layer_mailbox(struct layer_client *client, struct slice prefix, char *out,
                   struct layer_call *call);

/* has_room() said no, and would say yes again: what its receives wait for may come. */
void layer_room(struct layer_client *client);

/* ---- what channels.layers.BaseChannelLayer has ---- */

/* @from: the sender; it may be the receiver too. */
void layer_send(struct layer_client *from, struct slice channel, struct slice body,
                struct layer_call *call);
void layer_group_send(struct layer_client *from, struct slice group, struct slice body,
                      struct layer_call *call);

/* The client itself is, or is no longer, in the group (for which of its channels is its business).
 */
void layer_join(struct layer_client *client, struct slice group, struct layer_call *call);
void layer_leave(struct layer_client *client, struct slice group, struct layer_call *call);

/* A single channel of somebody else, or one of the client's own added by somebody else. @call may
 * be NULL for the second. */
void layer_group_add(struct layer_client *client, struct slice group, struct slice channel,
                     struct layer_call *call);
void layer_group_discard(struct layer_client *client, struct slice group, struct slice channel,
                         struct layer_call *call);

/* The next message of a normal channel, told by ops->message(). Returns the token that it will
 * have, 0 with @why when the name is none. */
uint64_t layer_receive(struct layer_client *client, struct slice channel, struct err_text *why);
void layer_cancel(struct layer_client *client, uint64_t token); /* not delivered yet: forgotten */
void layer_taken(struct layer_client *client, uint64_t token);
void layer_put_back(struct layer_client *client, uint64_t token);

void layer_accepted(struct layer_client *client, uint64_t id, bool is_full);

void layer_flush(struct layer_client *client, struct layer_call *call);

/* ---- for people ---- */

/* Each group with its members, ours as one: @visit is called for each before @call ends. */
void layer_groups(struct layer *layer,
                  void (*visit)(void *ctx, struct slice group, uint64_t members), void *ctx,
                  struct layer_call *call);

/* Counters, by stable names: layer_stats.def. */
struct layer_stats {
#define STAT(name, help) uint64_t name;
#include "channel_layer/layer_stats.def"
#undef STAT
};
struct layer_stats *layer_stats(struct layer *layer);

#endif
