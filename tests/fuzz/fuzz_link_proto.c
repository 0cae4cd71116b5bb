/* SPDX-License-Identifier: BSD-3-Clause
 *
 * fuzz_link_proto: what a broken worker may send. The input is a stream of records, read as
 * worker_link reads it; every answer must keep the promises of link_proto.h.
 */
#include "consumers/hosted/link_proto.h"

#include "tests/support/fuzz.h"

#include <stdlib.h>
#include <string.h>

static void require(bool promise)
{
    if (!promise)
        abort();
}

/* Reads every byte of @part, which lies in the record. */
static void look_at(struct slice part, const uint8_t *record, size_t len)
{
    size_t sum = 0;
    require(part.len == 0 || (part.ptr > record && part.ptr + part.len <= record + len));
    for (size_t i = 0; i < part.len; i++)
        sum += part.ptr[i];
    require(sum <= part.len * UINT8_MAX);
}

static void see(const struct link_answer *answer, const struct header *headers,
                const uint8_t *record, size_t len)
{
    look_at(answer->data, record, len);
    require((unsigned)answer->op < LINK_ANSWER_OPS);
    require(answer->data.len <= LINK_PAYLOAD_MAX);
    require(answer->header_count <= LINK_HEADERS_MAX);
    require(answer->header_count == 0 || answer->op == LINK_START || answer->op == LINK_ACCEPT);
    require(answer->id_count <= len);
    struct pack_reader ids = answer->ids;
    for (uint32_t i = 0; i < answer->id_count; i++)
        (void)pack_read_uint(&ids);
    require(answer->id_count == 0 || (!ids.failed && ids.at <= record + len));
    for (size_t i = 0; i < answer->header_count; i++) {
        look_at(headers[i].name, record, len);
        look_at(headers[i].value, record, len);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct header headers[LINK_HEADERS_MAX];
    size_t used = 0;
    for (size_t at = 0; at < size; at += used) {
        struct link_answer answer;
        if (pack_scan(&used, data + at, size - at, LINK_RECORD_MAX) != PACK_DONE)
            break;
        require(used > 0 && used <= size - at && used <= LINK_RECORD_MAX);
        uint8_t *record = malloc(used); /* of exactly that size: overreads are seen */
        require(record != NULL);
        memcpy(record, data + at, used);
        if (link_read_answer(&answer, headers, record, used) == ERR_OK)
            see(&answer, headers, record, used);
        free(record);
    }
    return 0;
}
