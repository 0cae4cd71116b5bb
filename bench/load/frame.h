/* SPDX-License-Identifier: BSD-3-Clause
 *
 * frame: WebSocket frames as a client writes and reads them (RFC 6455 section 5).
 *
 * Why: a reader and a writer of its own, so that the server is not measured with its own mistakes.
 * No extension is ever offered.
 *
 * Thread: any.
 */
#ifndef BENCH_LOAD_FRAME_H
#define BENCH_LOAD_FRAME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/buf.h"
#include "core/slice.h"

enum frame_opcode {
    FRAME_CONTINUATION = 0,
    FRAME_TEXT = 1,
    FRAME_BINARY = 2,
    FRAME_CLOSE = 8,
    FRAME_PING = 9,
    FRAME_PONG = 10,
};

struct frame {
    struct slice payload; /* borrowed from what was scanned */
    uint8_t opcode;
    bool is_final;
};

enum frame_scan {
    FRAME_SCAN_MORE,   /* the frame is not complete */
    FRAME_SCAN_DONE,   /* *out and *used are set */
    FRAME_SCAN_BROKEN, /* no frame that a server may send */
};

enum { FRAME_MAX_PAYLOAD_BYTES = 1 << 20 }; /* a longer one is broken: nothing so long is sent */

/* Reads one frame from the front of @in; *@used is its length with the header. */
enum frame_scan frame_scan(struct frame *out, size_t *used, struct slice in);

/* Appends a final frame, masked by @mask, to @out. Errors: of buf_reserve(); @out is unchanged. */
enum err frame_append(struct buf *out, enum frame_opcode opcode, struct slice payload,
                      uint32_t mask) MUST_CHECK;

#endif
