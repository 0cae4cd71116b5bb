/* SPDX-License-Identifier: BSD-3-Clause */
#include "server/websocket/ws_frame.h"

#include <assert.h>
#include <string.h>

enum {
    BIT_FIN = 0x80,
    BITS_RSV = 0x70,
    BITS_OPCODE = 0x0f,
    BIT_MASKED = 0x80,
    BITS_LEN = 0x7f,
    LEN_IN_16_BITS = 126,
    LEN_IN_64_BITS = 127,
};

static const uint64_t HIGH_BITS = 0x8080808080808080U;

static uint64_t read_be(const uint8_t *in, size_t len)
{
    uint64_t value = 0;
    for (size_t i = 0; i < len; i++)
        value = (value << 8) | in[i];
    return value;
}

static bool opcode_is_known(uint8_t opcode)
{
    return opcode <= WS_BINARY || (opcode >= WS_CLOSE && opcode <= WS_PONG);
}

/* NULL when the first byte of a header is fine. */
static const char *first_byte_fault(uint8_t byte, uint8_t rsv_allowed)
{
    const uint8_t opcode = byte & BITS_OPCODE;
    if ((byte & BITS_RSV & ~rsv_allowed) != 0)
        return "reserved bit set";
    if (!opcode_is_known(opcode))
        return "unknown opcode";
    if (ws_opcode_is_control(opcode) && (byte & BIT_FIN) == 0)
        return "fragmented control frame";
    if ((byte & WS_RSV1) != 0 && opcode != WS_TEXT && opcode != WS_BINARY)
        return "rsv1 elsewhere than on the first frame of a message";
    return NULL;
}

/* NULL when @value, in a field of @len bytes, is written as RFC 6455 section 5.2 wants it. */
static const char *length_fault(uint64_t value, size_t len)
{
    if (value > INT64_MAX)
        return "top bit of the 64-bit length set";
    if (value < (len == 2 ? LEN_IN_16_BITS : UINT64_C(65536)))
        return "length not in its shortest form";
    return NULL;
}

enum ws_scan ws_header_scan(struct ws_header *out, const char **reason, struct slice in,
                            uint8_t rsv_allowed)
{
    if (in.len == 0)
        return WS_SCAN_MORE;
    const char *fault = first_byte_fault(in.ptr[0], rsv_allowed);
    if (fault == NULL && in.len == 1)
        return WS_SCAN_MORE;
    if (fault != NULL) {
        *reason = fault;
        return WS_SCAN_VIOLATION;
    }
    struct ws_header h = {
        .fin = (in.ptr[0] & BIT_FIN) != 0,
        .rsv1 = (in.ptr[0] & WS_RSV1) != 0,
        .opcode = in.ptr[0] & BITS_OPCODE,
        .masked = (in.ptr[1] & BIT_MASKED) != 0,
        .payload_len = in.ptr[1] & BITS_LEN,
    };
    if (ws_opcode_is_control(h.opcode) && h.payload_len > WS_CONTROL_MAX) {
        *reason = "control frame longer than 125 bytes";
        return WS_SCAN_VIOLATION;
    }
    size_t used = 2;
    if (h.payload_len >= LEN_IN_16_BITS) {
        const size_t field = h.payload_len == LEN_IN_16_BITS ? 2 : 8;
        if (in.len < used + field)
            return WS_SCAN_MORE;
        h.payload_len = read_be(in.ptr + used, field);
        fault = length_fault(h.payload_len, field);
        if (fault != NULL) {
            *reason = fault;
            return WS_SCAN_VIOLATION;
        }
        used += field;
    }
    if (h.masked) {
        if (in.len < used + sizeof(h.mask_key))
            return WS_SCAN_MORE;
        memcpy(h.mask_key, in.ptr + used, sizeof(h.mask_key));
        used += sizeof(h.mask_key);
    }
    h.header_len = (uint8_t)used;
    *out = h;
    return WS_SCAN_DONE;
}

size_t ws_header_write(uint8_t out[WS_HEADER_MAX], uint8_t opcode, bool fin, uint64_t payload_len)
{
    assert(payload_len <= INT64_MAX);
    assert(!ws_opcode_is_control(opcode) || (fin && payload_len <= WS_CONTROL_MAX));
    out[0] = (uint8_t)((fin ? BIT_FIN : 0) | opcode);
    size_t field = 0;
    if (payload_len < LEN_IN_16_BITS) {
        out[1] = (uint8_t)payload_len;
    } else if (payload_len <= UINT16_MAX) {
        out[1] = LEN_IN_16_BITS;
        field = 2;
    } else {
        out[1] = LEN_IN_64_BITS;
        field = 8;
    }
    for (size_t i = 0; i < field; i++)
        out[2 + i] = (uint8_t)(payload_len >> (8 * (field - 1 - i)));
    return 2 + field;
}

bool ws_unmask(uint8_t *data, size_t len, uint8_t key[4])
{
    const uint8_t twice[8] = {key[0], key[1], key[2], key[3], key[0], key[1], key[2], key[3]};
    uint64_t wide_key = 0;
    memcpy(&wide_key, twice, sizeof(wide_key));
    uint64_t seen = 0;
    size_t i = 0;
    for (; len - i >= sizeof(wide_key); i += sizeof(wide_key)) {
        uint64_t word = 0;
        memcpy(&word, data + i, sizeof(word));
        word ^= wide_key;
        seen |= word;
        memcpy(data + i, &word, sizeof(word));
    }
    for (; i < len; i++) {
        data[i] ^= twice[i % 4];
        seen |= data[i];
    }
    for (size_t k = 0; k < 4; k++)
        key[k] = twice[k + len % 4];
    return (seen & HIGH_BITS) == 0;
}

bool ws_close_code_is_valid(uint16_t code)
{
    if (code >= 3000)
        return code <= 4999;
    return (code >= WS_CLOSE_NORMAL && code <= WS_CLOSE_UNSUPPORTED_DATA) ||
           (code >= WS_CLOSE_INVALID_DATA && code <= WS_CLOSE_BAD_GATEWAY);
}
