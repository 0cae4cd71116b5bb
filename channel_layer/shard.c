/* SPDX-License-Identifier: BSD-3-Clause */
#include "channel_layer/shard.h"

#include <assert.h>
#include <stdint.h>

enum { RING = 4096 };

/* CRC-32 of the IEEE (reflected 0xedb88320) of the 16 values of four bits. */
static const uint32_t crc_of_nibble[16] = {
    0x00000000, 0x1db71064, 0x3b6e20c8, 0x26d930ac, 0x76dc4190, 0x6b6b51f4, 0x4db26158, 0x5005713c,
    0xedb88320, 0xf00f9344, 0xd6d6a3e8, 0xcb61b38c, 0x9b64c2b0, 0x86d3d2d4, 0xa00ae278, 0xbdbdf21c,
};

static uint32_t crc32_of(struct slice bytes)
{
    uint32_t crc = UINT32_MAX;
    for (size_t i = 0; i < bytes.len; i++) {
        crc ^= bytes.ptr[i];
        crc = crc >> 4 ^ crc_of_nibble[crc & 0xf];
        crc = crc >> 4 ^ crc_of_nibble[crc & 0xf];
    }
    return ~crc;
}

unsigned shard_of(struct slice name, unsigned count)
{
    assert(count > 0);
    if (count == 1)
        return 0;
    /* In doubles as Python computes it: x * n / 4096 in integers differs for some x from n = 186
     * on. */
    const double place = (double)(crc32_of(name) % RING);
    return (unsigned)(place / ((double)RING / (double)count));
}
