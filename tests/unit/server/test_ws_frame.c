/* SPDX-License-Identifier: BSD-3-Clause */
#include "server/websocket/ws_frame.h"

#include "tests/support/unit.h"

#include <stdbool.h>
#include <string.h>

static enum ws_scan scan(struct ws_header *out, const void *in, size_t len)
{
    const char *reason = NULL;
    return ws_header_scan(out, &reason, slice_make(in, len), 0);
}

static void header_scan_reads_the_examples_of_the_rfc(void **state)
{
    (void)state;
    static const struct {
        const char *why;
        uint8_t in[WS_HEADER_MAX];
        struct ws_header want;
    } rows[] = {
        {"unmasked Hello",
         {0x81, 0x05},
         {.header_len = 2, .fin = true, .opcode = WS_TEXT, .payload_len = 5}},
        {"masked Hello",
         {0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d},
         {.header_len = 6,
          .fin = true,
          .opcode = WS_TEXT,
          .payload_len = 5,
          .masked = true,
          .mask_key = {0x37, 0xfa, 0x21, 0x3d}}},
        {"first fragment", {0x01, 0x03}, {.header_len = 2, .opcode = WS_TEXT, .payload_len = 3}},
        {"last fragment", {0x80, 0x02}, {.header_len = 2, .fin = true, .payload_len = 2}},
        {"ping", {0x89, 0x05}, {.header_len = 2, .fin = true, .opcode = WS_PING, .payload_len = 5}},
        {"masked pong",
         {0x8a, 0x85, 0x37, 0xfa, 0x21, 0x3d},
         {.header_len = 6,
          .fin = true,
          .opcode = WS_PONG,
          .payload_len = 5,
          .masked = true,
          .mask_key = {0x37, 0xfa, 0x21, 0x3d}}},
        {"256 bytes of binary",
         {0x82, 0x7e, 0x01, 0x00},
         {.header_len = 4, .fin = true, .opcode = WS_BINARY, .payload_len = 256}},
        {"64 KiB of binary",
         {0x82, 0x7f, 0, 0, 0, 0, 0, 1, 0, 0},
         {.header_len = 10, .fin = true, .opcode = WS_BINARY, .payload_len = 65536}},
        {"longest of all, masked",
         {0x82, 0xff, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1, 2, 3, 4},
         {.header_len = 14,
          .fin = true,
          .opcode = WS_BINARY,
          .payload_len = INT64_MAX,
          .masked = true,
          .mask_key = {1, 2, 3, 4}}},
    };
    for (size_t i = 0; i < UNIT_ROWS(rows); i++) {
        struct ws_header h;
        for (size_t len = 0; len < rows[i].want.header_len; len++) {
            if (scan(&h, rows[i].in, len) != WS_SCAN_MORE)
                fail_msg("%s: content with %zu bytes", rows[i].why, len);
        }
        memset(&h, 0xee, sizeof(h));
        assert_int_equal(scan(&h, rows[i].in, sizeof(rows[i].in)), WS_SCAN_DONE);
        assert_int_equal(h.header_len, rows[i].want.header_len);
        assert_int_equal(h.opcode, rows[i].want.opcode);
        assert_int_equal(h.payload_len, rows[i].want.payload_len);
        assert_int_equal(h.fin, rows[i].want.fin);
        assert_int_equal(h.masked, rows[i].want.masked);
        assert_false(h.rsv1);
        assert_memory_equal(h.mask_key, rows[i].want.mask_key, 4);
    }
}

static void header_scan_refuses_at_the_first_byte_that_tells(void **state)
{
    (void)state;
    static const struct {
        const char *why;
        uint8_t in[10];
        size_t enough; /* bytes */
    } rows[] = {
        {"rsv1 not negotiated", {0xc1}, 1},
        {"rsv2 set", {0xa1}, 1},
        {"rsv3 set", {0x91}, 1},
        {"opcode 3", {0x83}, 1},
        {"opcode 7", {0x87}, 1},
        {"opcode 11", {0x8b}, 1},
        {"opcode 15", {0x8f}, 1},
        {"fragmented close", {0x08}, 1},
        {"fragmented ping", {0x09}, 1},
        {"fragmented pong", {0x0a}, 1},
        {"close longer than 125", {0x88, 0x7e}, 2},
        {"ping longer than 125", {0x89, 0xfe}, 2},
        {"pong longer than 65535", {0x8a, 0xff}, 2},
        {"16-bit form for 0 bytes", {0x81, 0x7e, 0x00, 0x00}, 4},
        {"16-bit form for 125 bytes", {0x81, 0xfe, 0x00, 0x7d}, 4},
        {"64-bit form for 65535 bytes", {0x81, 0x7f, 0, 0, 0, 0, 0, 0, 0xff, 0xff}, 10},
        {"64-bit length with top bit", {0x81, 0xff, 0x80, 0, 0, 0, 0, 0, 0, 0}, 10},
    };
    for (size_t i = 0; i < UNIT_ROWS(rows); i++) {
        for (size_t len = 0; len <= rows[i].enough; len++) {
            struct ws_header h;
            const char *reason = NULL;
            const enum ws_scan got = ws_header_scan(&h, &reason, slice_make(rows[i].in, len), 0);
            if (got != (len < rows[i].enough ? WS_SCAN_MORE : WS_SCAN_VIOLATION))
                fail_msg("%s: %d after %zu bytes", rows[i].why, (int)got, len);
            assert_int_equal(reason != NULL, got == WS_SCAN_VIOLATION);
        }
    }
}

static void rsv1_is_for_first_frames_of_messages_only(void **state)
{
    (void)state;
    static const struct {
        uint8_t first_byte;
        enum ws_scan want;
    } rows[] = {
        {0xc1, WS_SCAN_DONE},      {0xc2, WS_SCAN_DONE},      {0x41, WS_SCAN_DONE},
        {0xc0, WS_SCAN_VIOLATION}, {0x40, WS_SCAN_VIOLATION}, {0xc8, WS_SCAN_VIOLATION},
        {0xc9, WS_SCAN_VIOLATION}, {0xca, WS_SCAN_VIOLATION}, {0xe1, WS_SCAN_VIOLATION},
    };
    for (size_t i = 0; i < UNIT_ROWS(rows); i++) {
        const uint8_t in[2] = {rows[i].first_byte, 0};
        struct ws_header h = {0};
        const char *reason = NULL;
        assert_int_equal(ws_header_scan(&h, &reason, slice_make(in, 2), WS_RSV1), rows[i].want);
        assert_int_equal(h.rsv1, rows[i].want == WS_SCAN_DONE);
    }
}

static void header_write_uses_the_shortest_form(void **state)
{
    (void)state;
    static const struct {
        uint64_t payload_len;
        size_t want_len;
        uint8_t opcode;
        bool fin;
        uint8_t want[10];
    } rows[] = {
        {0, 2, WS_TEXT, true, {0x81, 0x00}},
        {5, 2, WS_TEXT, true, {0x81, 0x05}},
        {3, 2, WS_TEXT, false, {0x01, 0x03}},
        {2, 2, WS_CONTINUATION, true, {0x80, 0x02}},
        {125, 2, WS_PING, true, {0x89, 0x7d}},
        {2, 2, WS_CLOSE, true, {0x88, 0x02}},
        {125, 2, WS_BINARY, true, {0x82, 0x7d}},
        {126, 4, WS_BINARY, true, {0x82, 0x7e, 0x00, 0x7e}},
        {256, 4, WS_BINARY, true, {0x82, 0x7e, 0x01, 0x00}},
        {65535, 4, WS_BINARY, true, {0x82, 0x7e, 0xff, 0xff}},
        {65536, 10, WS_BINARY, true, {0x82, 0x7f, 0, 0, 0, 0, 0, 1, 0, 0}},
        {0x0102030405060708, 10, WS_BINARY, true, {0x82, 0x7f, 1, 2, 3, 4, 5, 6, 7, 8}},
        {7, 2, WS_TEXT | WS_RSV1, true, {0xc1, 0x07}},
    };
    for (size_t i = 0; i < UNIT_ROWS(rows); i++) {
        uint8_t out[WS_HEADER_MAX];
        const size_t len = ws_header_write(out, rows[i].opcode, rows[i].fin, rows[i].payload_len);
        assert_int_equal(len, rows[i].want_len);
        assert_memory_equal(out, rows[i].want, len);
    }
}

static void unmask_reads_hello_of_the_rfc(void **state)
{
    (void)state;
    uint8_t key[4] = {0x37, 0xfa, 0x21, 0x3d};
    uint8_t text[5] = {0x7f, 0x9f, 0x4d, 0x51, 0x58};
    assert_true(ws_unmask(text, sizeof(text), key));
    assert_memory_equal(text, "Hello", 5);
    assert_memory_equal(key, "\xfa\x21\x3d\x37", 4); /* five bytes on: turned by one */
}

static void unmask_goes_on_at_every_split_and_alignment(void **state)
{
    (void)state;
    static const uint8_t mask[4] = {0x12, 0xf4, 0x56, 0x98};
    uint8_t want[67];
    uint8_t masked[67];
    for (size_t i = 0; i < sizeof(want); i++) {
        want[i] = (uint8_t)(i * 7);
        masked[i] = want[i] ^ mask[i % 4];
    }
    for (size_t offset = 0; offset < 8; offset++) {
        for (size_t split = 0; split <= sizeof(want); split++) {
            uint8_t room[sizeof(want) + 8];
            uint8_t key[4];
            memcpy(key, mask, 4);
            memcpy(room + offset, masked, sizeof(masked));
            ws_unmask(room + offset, split, key);
            ws_unmask(room + offset + split, sizeof(want) - split, key);
            assert_memory_equal(room + offset, want, sizeof(want));
        }
    }
}

static void unmask_tells_ascii_from_the_rest_at_every_position(void **state)
{
    (void)state;
    static const uint8_t mask[4] = {0xff, 0x80, 0x01, 0xaa};
    for (size_t len = 0; len < 40; len++) {
        for (size_t high = 0; high <= len; high++) { /* at len: nowhere */
            uint8_t text[40];
            uint8_t key[4];
            memset(text, 0x7f, len);
            if (high < len)
                text[high] = 0x80;
            memcpy(key, mask, 4);
            ws_unmask(text, len, key);
            memcpy(key, mask, 4);
            assert_int_equal(ws_unmask(text, len, key), high == len);
        }
    }
}

static void close_codes_of_the_wire_are_valid_and_no_others(void **state)
{
    (void)state;
    for (unsigned code = 0; code <= UINT16_MAX; code++) {
        const bool want = (code >= 1000 && code <= 1003) || (code >= 1007 && code <= 1014) ||
                          (code >= 3000 && code <= 4999);
        if (ws_close_code_is_valid((uint16_t)code) != want)
            fail_msg("code %u", code);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(header_scan_reads_the_examples_of_the_rfc),
        cmocka_unit_test(header_scan_refuses_at_the_first_byte_that_tells),
        cmocka_unit_test(rsv1_is_for_first_frames_of_messages_only),
        cmocka_unit_test(header_write_uses_the_shortest_form),
        cmocka_unit_test(unmask_reads_hello_of_the_rfc),
        cmocka_unit_test(unmask_goes_on_at_every_split_and_alignment),
        cmocka_unit_test(unmask_tells_ascii_from_the_rest_at_every_position),
        cmocka_unit_test(close_codes_of_the_wire_are_valid_and_no_others),
    };
    return cmocka_run_group_tests_name("ws_frame", tests, NULL, NULL);
}
