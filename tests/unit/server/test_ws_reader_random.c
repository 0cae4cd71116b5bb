/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Random programs of frames must be read in chunks as they are read whole, broken or not.
 */
#include "server/websocket/ws_reader.h"

#include "tests/support/unit.h"
#include "tests/support/ws_trace.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

/* A growing run of frames, and what a reader must tell of it. */
struct program {
    uint8_t wire[64 * 1024];
    size_t len;
    uint64_t *seed;
};

static void put_frame(struct program *p, uint8_t first_byte, struct slice payload)
{
    uint8_t key[4];
    uint8_t *out = p->wire + p->len;
    size_t at = 2;
    out[0] = first_byte;
    if (payload.len < 126) {
        out[1] = (uint8_t)(0x80 | payload.len);
    } else {
        out[1] = 0xfe;
        out[at++] = (uint8_t)(payload.len >> 8);
        out[at++] = (uint8_t)payload.len;
    }
    for (size_t i = 0; i < sizeof(key); i++)
        key[i] = out[at++] = (uint8_t)unit_random(p->seed);
    for (size_t i = 0; i < payload.len; i++)
        out[at++] = payload.ptr[i] ^ key[i % 4];
    p->len += at;
}

/* Fills @out with valid UTF-8 and returns its length. */
static size_t random_text(uint64_t *seed, uint8_t *out, size_t max)
{
    static const char *const letters[] = {"a", "Z", "\xc3\xa9", "\xe2\x82\xac", "\xf0\x9f\x98\x80"};
    const uint32_t kinds = unit_random(seed) % 3 == 0 ? 1 : UNIT_ROWS(letters);
    const size_t want = unit_random(seed) % max;
    size_t len = 0;
    while (len < want && len + 4 < max) {
        const struct slice letter = slice_str(letters[unit_random(seed) % kinds]);
        memcpy(out + len, letter.ptr, letter.len);
        len += letter.len;
    }
    return len;
}

static void put_random_control(struct program *p, struct ws_trace *want)
{
    uint8_t payload[WS_CONTROL_MAX];
    const bool ping = unit_random(p->seed) % 2 == 0;
    const size_t len = random_text(p->seed, payload, sizeof(payload));
    put_frame(p, ping ? 0x89 : 0x8a, slice_make(payload, len));
    ws_trace_put_control(want, ping ? "ping" : "pong", slice_make(payload, len));
}

static void put_random_message(struct program *p, struct ws_trace *want)
{
    uint8_t payload[600];
    const bool text = unit_random(p->seed) % 2 == 0;
    const size_t max = unit_random(p->seed) % 4 == 0 ? sizeof(payload) : 30;
    const size_t len = random_text(p->seed, payload, max);
    uint8_t opcode = text ? WS_TEXT : WS_BINARY;
    bool told = false;
    size_t at = 0;
    for (bool fin = false; !fin;) {
        fin = unit_random(p->seed) % 2 == 0;
        const size_t count = fin ? len - at : unit_random(p->seed) % (len - at + 1);
        put_frame(p, (uint8_t)((fin ? 0x80 : 0) | opcode), slice_make(payload + at, count));
        if (!told && (fin || count > 0)) {
            ws_trace_put_str(want, text ? "text{" : "binary{");
            told = true;
        }
        ws_trace_put(want, slice_make(payload + at, count));
        at += count;
        opcode = WS_CONTINUATION;
        if (!fin && unit_random(p->seed) % 4 == 0)
            put_random_control(p, want);
    }
    ws_trace_put_str(want, "}");
}

static struct ws_trace whole_trace;
static struct ws_trace split_trace;
static struct ws_trace want_trace;

static const struct ws_limits no_limits = {0};

static void random_programs_read_the_same_in_chunks_as_whole(void **state)
{
    (void)state;
    enum { PROGRAMS = 300 };
    static struct program p;
    for (uint64_t start = 1; start <= PROGRAMS; start++) {
        uint64_t seed = start * UINT64_C(0x9e3779b97f4a7c15);
        char why[64];
        snprintf(why, sizeof(why), "seed %u", (unsigned)start);
        p.len = 0;
        p.seed = &seed;
        ws_trace_init(&want_trace);
        for (uint32_t left = unit_random(&seed) % 12; left > 0; left--)
            put_random_message(&p, &want_trace);
        const struct slice wire = slice_make(p.wire, p.len);
        ws_trace_read(&whole_trace, &no_limits, wire, (struct ws_trace_cut){.first = p.len});
        ws_trace_assert(&whole_trace, want_trace.text, want_trace.len, why);
        ws_trace_read(&split_trace, &no_limits, wire, (struct ws_trace_cut){.seed = &seed});
        ws_trace_assert(&split_trace, want_trace.text, want_trace.len, why);

        for (uint32_t left = p.len == 0 ? 0 : 1 + unit_random(&seed) % 3; left > 0; left--)
            p.wire[unit_random(&seed) % p.len] ^= (uint8_t)(1U << unit_random(&seed) % 8);
        const struct ws_limits limits = {.max_message_bytes = 400, .max_frame_bytes = 300};
        ws_trace_read(&whole_trace, &limits, wire, (struct ws_trace_cut){.first = p.len});
        ws_trace_read(&split_trace, &limits, wire, (struct ws_trace_cut){.seed = &seed});
        ws_trace_assert(&split_trace, whole_trace.text, whole_trace.len, why);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_programs_read_the_same_in_chunks_as_whole),
    };
    return cmocka_run_group_tests_name("ws_reader_random", tests, NULL, NULL);
}
