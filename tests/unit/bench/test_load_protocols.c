/* SPDX-License-Identifier: BSD-3-Clause
 *
 * What the load generator believes of a server: answers, frames and messages.
 */
#include "bench/load/frame.h"
#include "bench/load/http_reply.h"
#include "bench/load/payload.h"
#include "bench/load/upgrade.h"
#include "core/mem.h"
#include "tests/support/unit.h"

#include <stdio.h>

#define HEAD "HTTP/1.1 200 OK\r\n"
#define CHUNKED "Transfer-Encoding: chunked\r\n\r\n"

static const struct {
    const char *why;
    const char *answer;
    enum http_reply_scan scan;
    unsigned status;
    bool has_body;
    bool keeps_open;
} replies[] = {
    {"a length", HEAD "content-length: 5\r\n\r\nhello", HTTP_REPLY_DONE, 200, true, true},
    {"chunks", HEAD CHUNKED "2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n", HTTP_REPLY_DONE, 200, true, true},
    {"a chunk with a note", HEAD CHUNKED "5;a=b\r\nhello\r\n0\r\n\r\n", HTTP_REPLY_DONE, 200, true,
     true},
    {"another body", HEAD "Content-Length: 5\r\n\r\nhallo", HTTP_REPLY_DONE, 200, false, true},
    {"a shorter body", HEAD "Content-Length: 4\r\n\r\nhell", HTTP_REPLY_DONE, 200, false, true},
    {"a shorter chunk", HEAD CHUNKED "4\r\nhell\r\n0\r\n\r\n", HTTP_REPLY_DONE, 200, false, true},
    {"a chunk too much", HEAD CHUNKED "5\r\nhello\r\n1\r\n!\r\n0\r\n\r\n", HTTP_REPLY_DONE, 200,
     false, true},
    {"an error", "HTTP/1.1 503 No\r\nContent-Length: 5\r\n\r\nhello", HTTP_REPLY_DONE, 503, true,
     true},
    {"the end", HEAD "Connection: close\r\nContent-Length: 5\r\n\r\nhello", HTTP_REPLY_DONE, 200,
     true, false},
    {"no length", HEAD "\r\nhello", HTTP_REPLY_BROKEN, 0, false, false},
    {"a length that is no number", HEAD "Content-Length: x\r\n\r\n", HTTP_REPLY_BROKEN, 0, false,
     false},
    {"a length over the ceiling", HEAD "Content-Length: 65537\r\n\r\n", HTTP_REPLY_BROKEN, 0, false,
     false},
    {"a chunk that is longer than it says", HEAD CHUNKED "4\r\nhello\r\n0\r\n\r\n",
     HTTP_REPLY_BROKEN, 0, false, false},
    {"another protocol", "SSH-2.0-OpenSSH_9.2 and more\r\n\r\n", HTTP_REPLY_BROKEN, 0, false,
     false},
    {"a field without a colon", HEAD "nonsense\r\n\r\n", HTTP_REPLY_BROKEN, 0, false, false},
};

static void replies_are_read(void **state)
{
    (void)state;
    for (size_t i = 0; i < UNIT_ROWS(replies); i++) {
        const struct slice in = slice_str(replies[i].answer);
        struct http_reply reply = {0};
        size_t used = 0;
        const enum http_reply_scan scan = http_reply_scan(&reply, &used, in, slice_str("hello"));
        if (scan != replies[i].scan)
            fail_msg("%s: %d", replies[i].why, (int)scan);
        if (scan != HTTP_REPLY_DONE)
            continue;
        if (used != in.len || reply.status != replies[i].status ||
            reply.has_body != replies[i].has_body || reply.keeps_open != replies[i].keeps_open)
            fail_msg("%s: read wrongly", replies[i].why);
    }
}

static void a_reply_asks_for_more_at_every_split(void **state)
{
    (void)state;
    for (size_t i = 0; i < UNIT_ROWS(replies); i++) {
        if (replies[i].scan != HTTP_REPLY_DONE)
            continue;
        const struct slice whole = slice_str(replies[i].answer);
        for (size_t len = 0; len < whole.len; len++) {
            struct http_reply reply = {0};
            size_t used = 0;
            const struct slice part = slice_make(whole.ptr, len);
            if (http_reply_scan(&reply, &used, part, slice_str("hello")) != HTTP_REPLY_MORE)
                fail_msg("%s: %zu bytes", replies[i].why, len);
        }
    }
}

static void frames_of_a_server_are_read(void **state)
{
    static const uint8_t hello[] = {0x81, 0x05, 'H', 'e', 'l', 'l', 'o'}; /* RFC 6455 section 5.7 */
    struct frame frame;
    size_t used = 0;

    (void)state;
    for (size_t len = 0; len < sizeof(hello); len++)
        assert_int_equal(frame_scan(&frame, &used, slice_make(hello, len)), FRAME_SCAN_MORE);
    assert_int_equal(frame_scan(&frame, &used, slice_make(hello, sizeof(hello))), FRAME_SCAN_DONE);
    assert_int_equal(used, sizeof(hello));
    assert_int_equal(frame.opcode, FRAME_TEXT);
    assert_true(frame.is_final);
    assert_true(slice_eq_str(frame.payload, "Hello"));
}

static void frames_that_no_server_may_send_are_broken(void **state)
{
    static const struct {
        const char *why;
        uint8_t in[10];
    } rows[] = {
        {"masked", {0x81, 0x85, 1, 2, 3, 4, 0, 0, 0, 0}},
        {"compressed, which nobody offered", {0xc1, 0x01, 'x'}},
        {"over the ceiling", {0x82, 127, 0, 0, 0, 0, 0, 0x10, 0, 1}},
    };
    struct frame frame;
    size_t used = 0;

    (void)state;
    for (size_t i = 0; i < UNIT_ROWS(rows); i++) {
        const struct slice in = slice_make(rows[i].in, sizeof(rows[i].in));
        if (frame_scan(&frame, &used, in) != FRAME_SCAN_BROKEN)
            fail_msg("believed: %s", rows[i].why);
    }
}

static void a_frame_of_ours_is_masked(void **state)
{
    /* RFC 6455 section 5.7, with its key. */
    static const uint8_t hello[] = {0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d,
                                    0x7f, 0x9f, 0x4d, 0x51, 0x58};
    static const uint8_t key[] = {0x37, 0xfa, 0x21, 0x3d};
    uint32_t mask = 0;
    struct buf out;

    (void)state;
    memcpy(&mask, key, sizeof(mask));
    buf_init(&out, 4096);
    assert_int_equal(frame_append(&out, FRAME_TEXT, slice_str("Hello"), mask), ERR_OK);
    assert_true(slice_eq(buf_slice(&out), slice_make(hello, sizeof(hello))));
    buf_deinit(&out);
}

static void a_message_with_any_byte_changed_is_not_believed(void **state)
{
    static uint8_t text[PAYLOAD_MAX_BYTES];
    struct payload *p = mem_alloc(sizeof(*p));
    const struct stamp sent = {.sender = 7, .number = 4711, .sent_ns = 123456789};
    size_t believed = 0;

    (void)state;
    for (int is_json = 0; is_json < 2; is_json++) {
        struct stamp got;
        payload_init(p, 128, is_json != 0);
        const size_t size = payload_write(p, text, &sent);
        assert_int_equal(size, 128);
        assert_true(payload_read(p, &got, slice_make(text, size)));
        assert_memory_equal(&got, &sent, sizeof(got));
        assert_false(payload_read(p, &got, slice_make(text, size - 1)));
        for (size_t i = 0; i < size; i++) {
            text[i] ^= 1; /* a hexadecimal digit stays one mostly */
            believed += payload_read(p, &got, slice_make(text, size));
            text[i] ^= 1;
        }
    }
    assert_int_equal(believed, 0);
    mem_free(p);
}

static void only_the_right_accept_opens_a_websocket(void **state)
{
    struct upgrade u;
    char answer[256];
    size_t used = 0;

    (void)state;
    assert_int_equal(upgrade_init(&u, "127.0.0.1", 80, "/"), ERR_OK);
    const int size = snprintf(answer, sizeof(answer),
                              "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n"
                              "sec-websocket-accept:  %s \r\n\r\nrest",
                              u.accept);
    const size_t head = (size_t)size - 4;
    for (size_t len = 0; len < head; len++)
        assert_int_equal(upgrade_scan(&u, &used, slice_make(answer, len)), UPGRADE_MORE);
    assert_int_equal(upgrade_scan(&u, &used, slice_str(answer)), UPGRADE_DONE);
    assert_int_equal(used, head);
    u.accept[0] ^= 1;
    assert_int_equal(upgrade_scan(&u, &used, slice_str(answer)), UPGRADE_REFUSED);
    assert_int_equal(upgrade_scan(&u, &used, slice_str(HEAD "\r\n")), UPGRADE_REFUSED);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(replies_are_read),
        cmocka_unit_test(a_reply_asks_for_more_at_every_split),
        cmocka_unit_test(frames_of_a_server_are_read),
        cmocka_unit_test(frames_that_no_server_may_send_are_broken),
        cmocka_unit_test(a_frame_of_ours_is_masked),
        cmocka_unit_test(a_message_with_any_byte_changed_is_not_believed),
        cmocka_unit_test(only_the_right_accept_opens_a_websocket),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
