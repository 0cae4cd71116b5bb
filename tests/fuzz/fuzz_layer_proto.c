/* SPDX-License-Identifier: BSD-3-Clause
 *
 * fuzz_layer_proto: what a broken process may send to a node. The input is a stream of records,
 * read as peer.c reads it; every record must keep the promises of layer_proto.h, and none may
 * become another one by coming in pieces.
 */
#include "channel_layer/node/layer_proto.h"

#include "core/text.h"

#include "tests/support/fuzz.h"

#include <stdlib.h>
#include <string.h>

static void require(bool promise)
{
    if (!promise)
        abort();
}

static void look_at(struct slice part, const uint8_t *record, size_t len, size_t most)
{
    size_t sum = 0;
    require(part.len <= most);
    require(part.len == 0 || (part.ptr > record && part.ptr + part.len <= record + len));
    for (size_t i = 0; i < part.len; i++)
        sum += part.ptr[i];
    require(sum <= part.len * UINT8_MAX);
}

static void see(const struct layer_record *r, const uint8_t *record, size_t len)
{
    require((unsigned)r->op < LAYER_OPS && r->layer < LAYER_NUMBER_MAX);
    look_at(r->name, record, len, LAYER_TEXT_MAX);
    look_at(r->channel, record, len, LAYER_TEXT_MAX);
    look_at(r->body, record, len, LAYER_BODY_MAX);
    require(utf8_is_valid(r->name.ptr, r->name.len));
    require(utf8_is_valid(r->channel.ptr, r->channel.len));
    require(r->base_count <= LAYER_BASES_MAX);
    require(r->base_count == 0 || r->op == LAYER_OPEN);
    for (size_t i = 0; i < r->base_count; i++) {
        look_at(r->bases[i], record, len, LAYER_TEXT_MAX);
        require(utf8_is_valid(r->bases[i].ptr, r->bases[i].len));
    }
    require(r->has_req || r->op == LAYER_HELLO || r->op == LAYER_GROUP_DISCARD ||
            r->op == LAYER_ACCEPTED || r->op == LAYER_DROPPED || r->op == LAYER_LISTEN);
}

static enum pack_scan scan(struct layer_record *r, size_t *used, const uint8_t *in, size_t len)
{
    const char *what = NULL;
    const enum pack_scan result = layer_record_scan(r, used, &what, in, len);
    require(what != NULL && what[0] != '\0');
    return result;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct layer_record r;
    size_t used = 0;
    for (size_t at = 0; at < size; at += used) {
        if (scan(&r, &used, data + at, size - at) != PACK_DONE)
            break;
        require(used > 0 && used <= size - at && used <= LAYER_RECORD_MAX);
        uint8_t *record = malloc(used); /* of exactly that size: overreads are seen */
        require(record != NULL);
        memcpy(record, data + at, used);
        size_t again = 0;
        require(scan(&r, &again, record, used) == PACK_DONE && again == used);
        see(&r, record, used);
        for (size_t len = 0; len < used && len < 64; len++)
            require(scan(&r, &again, record, len) == PACK_MORE);
        free(record);
    }
    return 0;
}
