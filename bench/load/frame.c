/* SPDX-License-Identifier: BSD-3-Clause */
#include "bench/load/frame.h"

enum {
    FIN = 0x80,
    RESERVED = 0x70,
    OPCODE = 0x0f,
    MASKED = 0x80,
    LENGTH = 0x7f,
    LENGTH_16 = 126,
    LENGTH_64 = 127,
    HEADER_MAX = 14,
};

static uint64_t big_endian(const uint8_t *in, size_t bytes)
{
    uint64_t value = 0;

    for (size_t i = 0; i < bytes; i++)
        value = value << 8 | in[i];
    return value;
}

enum frame_scan frame_scan(struct frame *out, size_t *used, struct slice in)
{
    if (in.len < 2)
        return FRAME_SCAN_MORE;
    if ((in.ptr[0] & RESERVED) != 0 || (in.ptr[1] & MASKED) != 0)
        return FRAME_SCAN_BROKEN;
    uint64_t len = in.ptr[1] & LENGTH;
    size_t header = 2;
    if (len >= LENGTH_16) {
        const size_t bytes = len == LENGTH_16 ? 2 : 8;
        if (in.len < header + bytes)
            return FRAME_SCAN_MORE;
        len = big_endian(in.ptr + header, bytes);
        header += bytes;
    }
    if (len > FRAME_MAX_PAYLOAD_BYTES)
        return FRAME_SCAN_BROKEN;
    if (in.len - header < len)
        return FRAME_SCAN_MORE;
    out->payload = slice_make(in.ptr + header, len);
    out->opcode = in.ptr[0] & OPCODE;
    out->is_final = (in.ptr[0] & FIN) != 0;
    *used = header + len;
    return FRAME_SCAN_DONE;
}

static size_t write_header(uint8_t *out, enum frame_opcode opcode, size_t len)
{
    out[0] = (uint8_t)(FIN | opcode);
    if (len < LENGTH_16) {
        out[1] = (uint8_t)(MASKED | len);
        return 2;
    }
    const size_t bytes = len <= UINT16_MAX ? 2 : 8;
    out[1] = bytes == 2 ? MASKED | LENGTH_16 : MASKED | LENGTH_64;
    for (size_t i = 0; i < bytes; i++)
        out[2 + i] = (uint8_t)(len >> (8 * (bytes - 1 - i)));
    return 2 + bytes;
}

enum err frame_append(struct buf *out, enum frame_opcode opcode, struct slice payload,
                      uint32_t mask)
{
    const enum err err = buf_reserve(out, HEADER_MAX + payload.len);
    if (err != ERR_OK)
        return err;
    uint8_t *to = out->ptr + out->len;
    uint8_t key[4];
    memcpy(key, &mask, sizeof(key));
    const size_t header = write_header(to, opcode, payload.len);
    memcpy(to + header, key, sizeof(key));
    to += header + sizeof(key);
    for (size_t i = 0; i < payload.len; i++)
        to[i] = payload.ptr[i] ^ key[i & 3];
    out->len += (uint32_t)(header + sizeof(key) + payload.len);
    return ERR_OK;
}
