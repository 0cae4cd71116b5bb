/* SPDX-License-Identifier: BSD-3-Clause
 *
 * layer_proto: the records between a node and its peers as bytes (docs/layer-protocol.md).
 * Sans-I/O.
 *
 * Why: what goes over such a socket is read and written in one place, against one page of
 * documentation, and can be tested and fuzzed without a socket.
 *
 * Thread: any (no state outside the arguments).
 */
#ifndef CHANNEL_LAYER_NODE_LAYER_PROTO_H
#define CHANNEL_LAYER_NODE_LAYER_PROTO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "channel_layer/layer.h"
#include "core/buf.h"
#include "core/err.h"
#include "core/pack.h"
#include "core/slice.h"

enum {
    LAYER_VERSION = 1,
    LAYER_BODY_MAX = 16 * 1024 * 1024,
    LAYER_RECORD_MAX = LAYER_BODY_MAX + 64 * 1024,
    LAYER_TEXT_MAX = 48 * 1024, /* bytes of a str: a name, or the settings of a layer */
    LAYER_NUMBER_MAX = 64,      /* layers of one connection */
    LAYER_BASES_MAX = 64,       /* bases in one OPEN */
    LAYER_HEAD_MAX = 40,        /* bytes of a record without its names and its body */
};

/* Peer to node. */
enum layer_op {
    LAYER_HELLO = 0,
    LAYER_OPEN = 1,
    LAYER_SEND = 2,
    LAYER_GROUP_SEND = 3,
    LAYER_JOIN = 4,
    LAYER_LEAVE = 5,
    LAYER_GROUP_ADD = 6,
    LAYER_GROUP_DISCARD = 7,
    LAYER_RECEIVE = 8,
    LAYER_CANCEL = 9,
    LAYER_TAKEN = 10,
    LAYER_RETURN = 11,
    LAYER_MAILBOX = 12,
    LAYER_ACCEPTED = 13,
    LAYER_DROPPED = 14,
    LAYER_FLUSH = 15,
    LAYER_PING = 16,
    LAYER_GROUPS = 17,
    LAYER_STATS = 18,
    LAYER_LISTEN = 19,
    LAYER_OPS
};

/* Node to peer. */
enum layer_told_op {
    LAYER_TOLD_HELLO = 0,
    LAYER_TOLD_OPENED = 1,
    LAYER_TOLD_REPLY = 2,
    LAYER_TOLD_DELIVER = 3,
    LAYER_TOLD_MESSAGE = 4,
    LAYER_TOLD_ADD = 5,
    LAYER_TOLD_DISCARD = 6,
    LAYER_TOLD_FLUSHED = 7,
};

/* A record of a peer. Slices point into the bytes it was read from. */
struct layer_record {
    enum layer_op op;
    uint32_t layer;
    uint64_t req;
    bool has_req;         /* false: GROUP_DISCARD that wants no answer */
    uint64_t number;      /* HELLO: version; ACCEPTED: ticket; DROPPED: count */
    uint64_t pid;         /* HELLO */
    struct slice name;    /* channel, group, prefix, path; HELLO: what; OPEN: settings;
                           * DROPPED */
    bool has_name;        /* false: DROPPED without a channel */
    struct slice channel; /* GROUP_ADD, GROUP_DISCARD */
    struct slice body;
    bool flag; /* ACCEPTED: full */
    struct slice bases[LAYER_BASES_MAX];
    size_t base_count;
};

/* Reads the record at the beginning of @in. PACK_DONE: *@used is its length. PACK_MORE: it is not
 * there as a whole; work is bounded by the number of its items, however often that is said.
 * PACK_BROKEN: it is not what the protocol allows; *@what names the item (static text). */
enum pack_scan layer_record_scan(struct layer_record *out, size_t *used, const char **what,
                                 const uint8_t *in, size_t len);

/* The code of a REPLY for @err. */
unsigned layer_reply_code(enum err err);

/* Each of these writes at @out, which has LAYER_HEAD_MAX bytes and those of the names, and returns
 * the byte behind. */
uint8_t *layer_write_hello(uint8_t *out, uint64_t pid);
/* Its value follows. */
uint8_t *layer_write_reply_head(uint8_t *out, uint64_t req, enum err err);
/* The body follows. */
uint8_t *layer_write_message_head(uint8_t *out, uint32_t layer, uint64_t req, size_t body_len);
uint8_t *layer_write_member(uint8_t *out, enum layer_told_op op, uint32_t layer, struct slice group,
                            struct slice channel);
uint8_t *layer_write_flushed(uint8_t *out, uint32_t layer);

/* DELIVER up to its body, which follows; and how many bytes that takes at most. */
size_t layer_deliver_bound(const struct layer_delivery *delivery);
uint8_t *layer_write_deliver_head(uint8_t *out, uint32_t layer,
                                  const struct layer_delivery *delivery);

/* Appends OPENED. Errors: those of buf_append(). */
enum err layer_append_opened(struct buf *out, uint32_t layer, uint64_t req, const char *base,
                             const struct layer_config *config) MUST_CHECK;

/* Appends one [name, number] pair, as in the values of GROUPS and STATS. */
enum err layer_append_pair(struct buf *out, struct slice name, uint64_t number) MUST_CHECK;

#endif
