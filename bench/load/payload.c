/* SPDX-License-Identifier: BSD-3-Clause */
#include "bench/load/payload.h"

#include <assert.h>

static const char json_head[] = "{\"message\": \"";
static const char json_tail[] = "\"}";

static size_t head_size(const struct payload *p)
{
    return p->is_json ? sizeof(json_head) - 1 : 0;
}

static size_t tail_size(const struct payload *p)
{
    return p->is_json ? sizeof(json_tail) - 1 : 0;
}

static void put_hex(uint8_t *out, uint64_t value, unsigned digits)
{
    for (unsigned i = digits; i-- > 0; value >>= 4)
        out[i] = (uint8_t) "0123456789abcdef"[value & 15];
}

static bool get_hex(uint64_t *out, const uint8_t *in, unsigned digits)
{
    uint64_t value = 0;

    for (unsigned i = 0; i < digits; i++) {
        if (in[i] >= '0' && in[i] <= '9')
            value = value << 4 | (uint64_t)(in[i] - '0');
        else if (in[i] >= 'a' && in[i] <= 'f')
            value = value << 4 | (uint64_t)(in[i] - 'a' + 10);
        else
            return false;
    }
    *out = value;
    return true;
}

static const char *filler_of(const struct payload *p, const struct stamp *stamp)
{
    return p->filler +
           ((uint64_t)stamp->sender * 7 + stamp->number + stamp->sent_ns) % PAYLOAD_PHASES;
}

void payload_init(struct payload *p, size_t size, bool is_json)
{
    uint32_t state = 12345;

    assert(size >= PAYLOAD_MIN_BYTES && size <= PAYLOAD_MAX_BYTES);
    p->size = size;
    p->is_json = is_json;
    for (size_t i = 0; i < sizeof(p->filler); i++) {
        state =
            state * 1664525U + 1013904223U; /* letters without a period that a shift would hide */
        p->filler[i] = (char)('a' + (state >> 16) % 26);
    }
}

size_t payload_write(const struct payload *p, uint8_t *out, const struct stamp *stamp)
{
    const size_t head = head_size(p);
    const size_t tail = tail_size(p);

    memcpy(out, json_head, head);
    put_hex(out + head, stamp->sender, 8);
    put_hex(out + head + 8, stamp->number, 8);
    put_hex(out + head + 16, stamp->sent_ns, 16);
    memcpy(out + head + PAYLOAD_STAMP_BYTES, filler_of(p, stamp),
           p->size - head - tail - PAYLOAD_STAMP_BYTES);
    memcpy(out + p->size - tail, json_tail, tail);
    return p->size;
}

bool payload_read(const struct payload *p, struct stamp *out, struct slice text)
{
    const size_t head = head_size(p);
    const size_t tail = tail_size(p);
    uint64_t sender = 0;
    uint64_t number = 0;

    if (text.len != p->size || memcmp(text.ptr, json_head, head) != 0 ||
        memcmp(text.ptr + p->size - tail, json_tail, tail) != 0)
        return false;
    if (!get_hex(&sender, text.ptr + head, 8) || !get_hex(&number, text.ptr + head + 8, 8) ||
        !get_hex(&out->sent_ns, text.ptr + head + 16, 16))
        return false;
    out->sender = (uint32_t)sender;
    out->number = (uint32_t)number;
    return memcmp(text.ptr + head + PAYLOAD_STAMP_BYTES, filler_of(p, out),
                  p->size - head - tail - PAYLOAD_STAMP_BYTES) == 0;
}
