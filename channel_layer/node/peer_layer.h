/* SPDX-License-Identifier: BSD-3-Clause
 *
 * peer_layer: one layer that a peer has opened: the layer's client on this side, records on the
 * other.
 *
 * Why: messages, and who receives one of a normal channel, belong to the peer and the layer both,
 * and end with either.
 *
 * Thread: the loop's.
 */
#ifndef CHANNEL_LAYER_NODE_PEER_LAYER_H
#define CHANNEL_LAYER_NODE_PEER_LAYER_H

#include <stdbool.h>
#include <stdint.h>

#include "channel_layer/layer.h"
#include "channel_layer/node/layer_proto.h"
#include "channel_layer/node/peer.h"
#include "channel_layer/notice.h"
#include "core/err.h"
#include "core/strmap.h"

/* One layer that the peer has opened. */
struct peer_layer {
    struct layer_client client;
    struct peer *peer;
    struct strmap by_req;   /* struct peer_receive */
    struct strmap by_token; /* the same */
    uint32_t number;
    struct notice full_notice;
    uint64_t full_untold; /* messages that were dropped since the log was told */
};

/* Attaches @peer to @layer under the number and with the bases of @r. Errors: as layer_attach(). */
enum err peer_layer_open(struct peer *peer, struct layer *layer, const struct layer_record *r,
                         struct err_text *why) MUST_CHECK;
/* Detaches it, and frees it. */
void peer_layer_close(struct peer_layer *l);

/* ---- records; false: the peer was closed ---- */

bool peer_layer_receive(struct peer_layer *l, const struct layer_record *r);
/* TAKEN or RETURN. */
bool peer_layer_receipt(struct peer_layer *l, const struct layer_record *r);
/* One that was answered meanwhile is given back by the peer when it sees that. */
void peer_layer_cancel(struct peer_layer *l, const struct layer_record *r);

#endif
