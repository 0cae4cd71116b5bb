/* SPDX-License-Identifier: BSD-3-Clause
 *
 * peer_answers: what a peer is answered, at once or when the layer is done.
 *
 * Why: a request that a layer answers later is a peer_call in peer->calls; when the peer goes
 * first, the call stays until the layer ends it, and the answer goes nowhere.
 *
 * Thread: the loop's.
 */
#ifndef CHANNEL_LAYER_NODE_PEER_ANSWERS_H
#define CHANNEL_LAYER_NODE_PEER_ANSWERS_H

#include <stdint.h>

#include "channel_layer/layer.h"
#include "channel_layer/names.h"
#include "channel_layer/node/peer.h"
#include "core/dlist.h"
#include "core/err.h"

struct peer_call {
    struct layer_call call;
    struct dlist link;
    struct peer *peer; /* NULL: it is gone */
    uint64_t req;
    char base[NAME_MAX_BYTES + 1]; /* the answer to MAILBOX; else "" */
};

/* What was written from @start, which writer_reserve() gave, to @end goes to the peer. */
void peer_commit(struct peer *peer, const uint8_t *start, const uint8_t *end);

void peer_reply_done(struct peer *peer, uint64_t req);
/* @why: "" for what @err says. */
void peer_reply_error(struct peer *peer, uint64_t req, enum err err, const char *why);

/* Puts @c, the first part of its owner's object, under way. It answers DONE, its base or the error;
 * who sets c->call.done answers otherwise, takes @c out of its list and frees it. */
void peer_call_start(struct peer_call *c, struct peer *peer, uint64_t req);
struct peer_call *peer_call_new(struct peer *peer, uint64_t req);

/* The peer is gone: nobody waits for its calls. */
void peer_calls_forget(struct peer *peer);

#endif
