/* SPDX-License-Identifier: BSD-3-Clause
 *
 * ws_frame: what every WebSocket frame is made of (RFC 6455 section 5): header, mask, close code.
 *
 * Why: the reader, the senders and the tests share one definition of the bits on the wire.
 * Bytes in, struct out: no I/O, no heap.
 *
 * Thread: any.
 *
 *   byte 0   fin, rsv1, rsv2, rsv3 (one bit each), opcode (4 bits)
 *   byte 1   masked (1 bit), payload length (7 bits; 126: 2 more bytes, 127: 8 more bytes)
 *   then     those 2 or 8 bytes, most significant first; then 4 bytes of mask key if masked
 */
#ifndef SERVER_WEBSOCKET_WS_FRAME_H
#define SERVER_WEBSOCKET_WS_FRAME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/err.h"
#include "core/slice.h"

enum {
    WS_HEADER_MAX = 14,   /* bytes of the longest header: 64-bit length and mask key */
    WS_CONTROL_MAX = 125, /* bytes of payload that a control frame may have */
    WS_RSV1 = 0x40,       /* bit of byte 0: first frame of a deflated message (RFC 7692) */
};

enum ws_opcode {
    WS_CONTINUATION = 0x0,
    WS_TEXT = 0x1,
    WS_BINARY = 0x2,
    WS_CLOSE = 0x8,
    WS_PING = 0x9,
    WS_PONG = 0xa,
};

/* RFC 6455 section 7.4.1 and the IANA registry. */
enum ws_close_code {
    WS_CLOSE_NORMAL = 1000,
    WS_CLOSE_GOING_AWAY = 1001,
    WS_CLOSE_PROTOCOL_ERROR = 1002,
    WS_CLOSE_UNSUPPORTED_DATA = 1003,
    WS_CLOSE_NO_CODE = 1005,  /* never on the wire: the close frame had no code */
    WS_CLOSE_ABNORMAL = 1006, /* never on the wire: there was no close frame */
    WS_CLOSE_INVALID_DATA = 1007,
    WS_CLOSE_POLICY_VIOLATION = 1008,
    WS_CLOSE_TOO_BIG = 1009,
    WS_CLOSE_MISSING_EXTENSION = 1010,
    WS_CLOSE_INTERNAL_ERROR = 1011,
    WS_CLOSE_SERVICE_RESTART = 1012,
    WS_CLOSE_TRY_AGAIN_LATER = 1013,
    WS_CLOSE_BAD_GATEWAY = 1014,
};

struct ws_header {
    uint64_t payload_len; /* bytes */
    uint8_t mask_key[4];
    uint8_t header_len; /* bytes of the header itself */
    uint8_t opcode;     /* one of enum ws_opcode */
    bool fin;
    bool rsv1;
    bool masked;
};

enum ws_scan {
    WS_SCAN_MORE,      /* header incomplete: feed more bytes */
    WS_SCAN_DONE,      /* *out is set */
    WS_SCAN_VIOLATION, /* close with 1002; *reason is static text that names what is wrong */
};

/* Reads one frame header from the beginning of @in. @rsv_allowed is WS_RSV1 when deflate was
 * negotiated, else 0. Fails at the first byte that no continuation could mend. */
enum ws_scan ws_header_scan(struct ws_header *out, const char **reason, struct slice in,
                            uint8_t rsv_allowed) MUST_CHECK;

/* Writes the header of an unmasked frame, as a server sends it, and returns its length in bytes.
 * @opcode is one of enum ws_opcode; WS_RSV1 may be added to it. */
size_t ws_header_write(uint8_t out[WS_HEADER_MAX], uint8_t opcode, bool fin, uint64_t payload_len);

static inline bool ws_opcode_is_control(uint8_t opcode)
{
    return (opcode & 0x8U) != 0;
}

/* Removes (or puts on) the mask of the next @len payload bytes of a frame, in place, and turns
 * @key so that it fits the bytes that follow. Returns whether all resulting bytes are ASCII, which
 * spares most texts a second pass for UTF-8. */
bool ws_unmask(uint8_t *data, size_t len, uint8_t key[4]);

/* Whether a peer may send @code in a close frame (RFC 6455 section 7.4). */
bool ws_close_code_is_valid(uint16_t code);

#endif
