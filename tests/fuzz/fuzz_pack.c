/* SPDX-License-Identifier: BSD-3-Clause
 *
 * fuzz_pack: msgpack from a worker that may say anything.
 *
 * The first byte of the input is the plan: the ceiling is plan * 64 bytes (0: none). The rest is
 * scanned whole and in every prefix, each in a block of its own size, and what is whole is read
 * with every reader.
 */
#include "core/pack.h"

#include "tests/support/fuzz.h"

#include <stdlib.h>
#include <string.h>

enum { CEILING_UNIT = 64, PREFIXES_MAX = 512 };

static void require(bool promise)
{
    if (!promise)
        abort();
}

static void require_inside(const struct pack_reader *r, const uint8_t *in, size_t len)
{
    require(r->at >= in && r->at <= in + len && r->end == in + len);
}

/* Walks over the value with the readers that its types ask for. */
static void read_typed(const uint8_t *in, size_t len)
{
    struct pack_reader r;
    pack_reader_init(&r, in, len);
    while (!r.failed && r.at < r.end) {
        struct pack_reader before = r;
        bool is_nil = false;
        const struct slice bytes = pack_read_bytes_or_nil(&r, &is_nil);
        if (!r.failed) {
            require(bytes.len == 0 || (bytes.ptr > in && bytes.ptr + bytes.len <= in + len));
            continue;
        }
        r = before;
        (void)pack_read_int(&r);
        if (r.failed) {
            r = before;
            (void)pack_read_uint(&r);
        }
        if (r.failed) {
            r = before;
            require(pack_read_array(&r) <= len);
        }
        if (r.failed) {
            r = before;
            (void)pack_read_bool(&r);
        }
        if (r.failed) {
            r = before;
            pack_skip(&r);
        }
        require_inside(&r, in, len);
        require(r.failed || r.at > before.at);
    }
}

static enum pack_scan scan_exact(size_t *used, const uint8_t *data, size_t len, size_t max_bytes)
{
    uint8_t *block = malloc(len > 0 ? len : 1);
    require(block != NULL);
    if (len > 0)
        memcpy(block, data, len);
    const enum pack_scan result = pack_scan(used, block, len, max_bytes);
    if (result == PACK_DONE) {
        struct pack_reader r;
        require(*used > 0 && *used <= len && *used <= max_bytes);
        pack_reader_init(&r, block, *used);
        pack_skip(&r);
        require(!r.failed && r.at == r.end);
    }
    read_typed(block, len);
    free(block);
    return result;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    const size_t max_bytes = data[0] == 0 ? SIZE_MAX : (size_t)data[0] * CEILING_UNIT;
    const uint8_t *in = data + 1;
    const size_t len = size - 1;
    size_t whole = 0;
    const enum pack_scan result = scan_exact(&whole, in, len, max_bytes);
    for (size_t prefix = 0; prefix < len && prefix < PREFIXES_MAX; prefix++) {
        size_t used = 0;
        const enum pack_scan found = scan_exact(&used, in, prefix, max_bytes);
        switch (found) {
        case PACK_MORE: /* then the whole has this much at least */
            require(result != PACK_DONE || prefix < whole);
            break;
        case PACK_DONE: /* more bytes change nothing */
            require(result == PACK_DONE && used == whole && prefix >= whole);
            break;
        case PACK_BROKEN:
            require(result == PACK_BROKEN);
            break;
        }
    }
    return 0;
}
