/* SPDX-License-Identifier: BSD-3-Clause
 *
 * link_proto: the records of a worker link as bytes (docs/link-protocol.md). Sans-I/O.
 *
 * Why: what goes over a link is written and read in one place, against one page of documentation,
 * and can be tested and fuzzed without a socket or a Python process.
 *
 * Thread: any (no state outside the arguments).
 */
#ifndef CONSUMERS_HOSTED_LINK_PROTO_H
#define CONSUMERS_HOSTED_LINK_PROTO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "consumers/scope.h"
#include "core/err.h"
#include "core/header.h"
#include "core/pack.h"
#include "core/slice.h"

enum {
    LINK_VERSION = 1,
    LINK_RECORD_MAX = 256 * 1024, /* bytes of one record */
    LINK_PAYLOAD_MAX = 64 * 1024, /* bytes of a body piece or message in a record */
    LINK_HEADERS_MAX = 512,       /* headers of a response */
    LINK_SMALL_MAX = 32, /* bytes of a record without payload, or of what stands around one */
};

/* Edge to worker. */
enum link_op {
    LINK_HELLO = 0,
    LINK_HTTP = 1,
    LINK_BODY = 2,
    LINK_WEBSOCKET = 3,
    LINK_RECEIVE = 4,
    LINK_PART = 5,
    LINK_DISCONNECT = 6,
    LINK_CREDIT = 7,
    LINK_BEAT = 8,
    LINK_SHUTDOWN = 9,
};

/* Worker to edge. */
enum link_answer_op {
    LINK_READY = 0,
    LINK_START = 1,
    LINK_ANSWER_BODY = 2,
    LINK_ACCEPT = 3,
    LINK_SEND = 4,
    LINK_ANSWER_PART = 5,
    LINK_CLOSE = 6,
    LINK_CONSUMED = 7,
    LINK_BEAT_ANSWER = 8,
    LINK_END = 9,
    LINK_SEND_MANY = 10,
    LINK_ANSWER_OPS
};

/* A record of the worker. Slices point into the bytes it was read from. */
struct link_answer {
    enum link_answer_op op;
    uint64_t id;         /* READY: the worker's process id; BEAT: the number */
    uint64_t number;     /* START: status; CLOSE: code; CONSUMED: bytes; READY: version */
    uint64_t count;      /* CONSUMED: messages */
    struct slice data;   /* body, message, subprotocol (empty: none), reason */
    bool is_text;        /* SEND, SEND_MANY, PART */
    bool flag;           /* START, BODY: more; PART: last; END: failed */
    size_t header_count; /* START, ACCEPT: entries filled in the caller's array */
    uint32_t id_count;   /* SEND_MANY */
    /* SEND_MANY: stands before the first of id_count ids, all of them readable; each
     * pack_read_uint() takes one. */
    struct pack_reader ids;
};

/* Each of these writes at @out, which has LINK_SMALL_MAX bytes, and returns the byte behind. */
uint8_t *link_write_hello(uint8_t *out, uint32_t loop_index);
uint8_t *link_write_disconnect_head(uint8_t *out, uint64_t id, bool has_code, uint16_t code,
                                    size_t reason_len);
uint8_t *link_write_credit(uint8_t *out, uint64_t id, uint64_t bytes);
uint8_t *link_write_beat(uint8_t *out, uint64_t number);
uint8_t *link_write_shutdown(uint8_t *out, uint64_t grace_ms);

/* What stands before the payload of BODY, RECEIVE and PART; the payload and, for BODY and PART, the
 * tail follow. */
uint8_t *link_write_body_head(uint8_t *out, uint64_t id, size_t len);
uint8_t *link_write_body_tail(uint8_t *out, bool more);
uint8_t *link_write_receive_head(uint8_t *out, uint64_t id, bool is_text, size_t len);
uint8_t *link_write_part_head(uint8_t *out, uint64_t id, size_t len);
uint8_t *link_write_part_tail(uint8_t *out, bool is_text, bool last);

/* Bytes that link_write_open() needs at most for @scope (HTTP: without the body). */
size_t link_open_bound(const struct scope *scope, const struct slice *subprotocols,
                       size_t subprotocol_count);

/* HTTP or WEBSOCKET, by scope->type. For HTTP it ends before the body: a bin of @body_len bytes and
 * link_write_body_tail() follow. */
uint8_t *link_write_open(uint8_t *out, uint64_t id, const struct scope *scope,
                         const struct slice *subprotocols, size_t subprotocol_count,
                         size_t body_len);

/* Reads the record of @len bytes at @in, which pack_scan() found whole. Up to LINK_HEADERS_MAX
 * headers of START and ACCEPT are stored in @headers. Errors: ERR_PROTO when it is not what the
 * protocol allows; @out is undefined then. */
enum err link_read_answer(struct link_answer *out, struct header *headers, const uint8_t *in,
                          size_t len) MUST_CHECK;

#endif
