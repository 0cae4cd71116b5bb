/* SPDX-License-Identifier: BSD-3-Clause
 *
 * fuzz_http_reader: requests from a stranger, whole and in chunks.
 *
 * The first byte of the input is the plan: bits 0-5 the size of the chunks (0: one byte, then the
 * rest), bit 6 sets small ceilings. The rest is what the socket reads. Both ways of reading must
 * tell the same events.
 */
#include "server/http/http_reader.h"

#include "tests/support/fuzz.h"
#include "tests/support/http_trace.h"

enum {
    PLAN_CHUNK = 0x3f,
    PLAN_CEILINGS = 0x40,
    INPUT_MAX =
        HTTP_TRACE_SIZE / 8, /* a trace is longer than its input: a line of text for each request */
};

static const struct http_limits usual = {
    .max_line_bytes = 8190, .max_header_bytes = 65536, .max_headers = 100};
static const struct http_limits small = {
    .max_line_bytes = 24, .max_header_bytes = 48, .max_headers = 3};

static bool are_same(const struct http_trace *a, const struct http_trace *b)
{
    if (strcmp(a->text, b->text) == 0)
        return true;
    return a->is_bad && b->is_bad && (a->status == 431) != (b->status == 431) &&
           a->bad_at == b->bad_at && memcmp(a->text, b->text, a->bad_at) == 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct http_trace whole;
    static struct http_trace parts;
    if (size < 2 || size > INPUT_MAX)
        return 0;
    const uint8_t plan = data[0];
    const struct http_limits *limits = (plan & PLAN_CEILINGS) != 0 ? &small : &usual;
    const struct slice wire = slice_make(data + 1, size - 1);
    const size_t chunk = plan & PLAN_CHUNK;
    http_trace_read(&whole, limits, wire, wire.len, wire.len);
    if (chunk == 0)
        http_trace_read(&parts, limits, wire, 1, wire.len);
    else
        http_trace_read(&parts, limits, wire, chunk, chunk);
    if (!are_same(&whole, &parts)) {
        fprintf(stderr, "whole:\n%s\nin chunks:\n%s\n", whole.text, parts.text);
        abort();
    }
    return 0;
}
