/* SPDX-License-Identifier: BSD-3-Clause
 *
 * hub: what the parts of a layer share, and nobody else sees.
 *
 * Why: layer.h is one interface; behind it layer.c (life, ends of calls), layer_clients.c (whose a
 * name is), layer_groups.c (who is in which group), layer_singles.c (single channels in groups),
 * layer_sends.c (the way of a message out), deliveries.c (the way of a message in) and queues.c
 * (normal channels) work on one object.
 *
 * Thread: the loop's.
 */
#ifndef CHANNEL_LAYER_HUB_H
#define CHANNEL_LAYER_HUB_H

#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

#include "channel_layer/backend.h"
#include "channel_layer/endings.h"
#include "channel_layer/layer.h"
#include "channel_layer/queues.h"
#include "channel_layer/wire/wire.h"
#include "core/dlist.h"
#include "core/strmap.h"

enum {
    LAYER_HANDLES = 4,     /* of libuv, that a layer has */
    LAYER_TICKET_MS = 200, /* after which a client that said nothing has accepted */
    LAYER_MAILBOXES_MAX = BACKEND_WATCHES_MAX, /* of one layer */
    LAYER_CLIENT_BASES_MAX = 64,               /* of one client */
};

struct layer {
    uv_loop_t *uv;
    struct layer_config *config;
    struct backend *backend; /* NULL: memory */
    struct wire wire;
    char node[NODE_ID_CHARS + 1];
    struct layer_stats stats;
    struct dlist clients;
    struct strmap bases;     /* struct layer_base */
    struct strmap mailboxes; /* struct layer_mailbox_watch */
    struct dlist mailbox_list;
    struct strmap groups;  /* struct layer_group, by name */
    struct strmap digests; /* those whose aggregate carries a digest, by that */
    struct dlist group_list;
    struct dlist singles;     /* struct group_single of all groups, the oldest first */
    uv_timer_t singles_timer; /* for the oldest of them */
    uint64_t deliveries;      /* so far: struct deliveries' numbers */
    struct queues queues;
    struct strmap tickets; /* struct layer_ticket */
    struct dlist ticket_list;
    uint64_t next_ticket;
    uv_timer_t ticket_timer;
    struct endings endings; /* calls that end in the next turn */
    uv_idle_t turn;         /* active while the next turn has something to do */
    bool is_closing;
    unsigned open_handles;
    void (*closed)(void *ctx);
    void *closed_ctx;
};

/* Opens a layer on the backend that @make_backend makes, layer_open()'s own or a test's: it sets
 * *@out, to NULL for none. */
enum err layer_open_with(struct layer **out, uv_loop_t *uv, struct layer_config *config,
                         enum err (*make_backend)(struct backend **out, struct layer *layer,
                                                  void *ctx, struct err_text *why),
                         void *ctx, struct err_text *why) MUST_CHECK;

uint64_t layer_now_ms(const struct layer *layer);

/* There is something for the next turn, which comes at once: endings, queues to be served. */
void layer_wake(struct layer *layer);

/* The layer was flushed, here or by another node: groups and messages are forgotten, the clients
 * told. */
void layer_forget_all(struct layer *layer);

/* ---- ends of calls ---- */

/* Ends @call (NULL: nobody waits) in the next turn. */
void layer_end(struct layer *layer, struct layer_call *call, enum err err, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
void layer_end_ok(struct layer *layer, struct layer_call *call);

/* A call to the backend on behalf of @outer (NULL: nobody waits). When it ended, its failure was
 * counted and after(), if there is one, was called, @outer ends alike and the object is freed.
 * after() that ends or keeps @outer otherwise sets it to NULL. */
struct layer_op {
    struct layer_call call; /* for the backend */
    struct layer *layer;
    struct layer_call *outer;
    void (*after)(struct layer_op *op, enum err err, const char *why);
    void *ctx;
};
struct layer_op *layer_op_new(struct layer *layer, struct layer_call *outer,
                              void (*after)(struct layer_op *op, enum err err, const char *why));
/* The same inside a larger object that @op begins. */
void layer_op_init(struct layer_op *op, struct layer *layer, struct layer_call *outer,
                   void (*after)(struct layer_op *op, enum err err, const char *why));

/* ---- whose a name is (layer_clients.c) ---- */

/* The client that made the channel; NULL when it is none of ours. */
struct layer_client *layer_client_of(const struct layer *layer, struct slice channel);
/* Whether the channel could only be a client's of this node. */
bool layer_is_mailbox_here(const struct layer *layer, struct slice channel);
void layer_clients_deinit(struct layer *layer);

/* ---- the way out (layer_sends.c) ---- */

/* Whether it is a name of a channel: as Channels has it, and with channels_redis.pubsub also behind
 * the layer's prefix, which may be anything. */
bool layer_is_channel_name(const struct layer *layer, struct slice name);

/* Accepts the name of a channel that a client gave. */
bool layer_check_channel(struct layer *layer, struct slice channel, struct layer_call *call);
bool layer_check_group(struct layer *layer, struct slice group, struct layer_call *call);

/* The client goes: nobody waits for its answers any more. */
void layer_drop_tickets(struct layer *layer, const struct layer_client *client);
void layer_tickets_deinit(struct layer *layer);

#endif
