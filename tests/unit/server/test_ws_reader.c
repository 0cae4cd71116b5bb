/* SPDX-License-Identifier: BSD-3-Clause */
#include "server/websocket/ws_reader.h"

#include "tests/support/unit.h"
#include "tests/support/ws_trace.h"

#include <stdbool.h>
#include <string.h>

#define KEY "\0\0\0\0" /* a mask that leaves the payload readable */
#define WIRE(literal)                                   \
    {                                                   \
        (const uint8_t *)(literal), sizeof(literal) - 1 \
    }

static struct ws_trace split_trace;

static const struct ws_limits no_limits = {0};

/* Whole, at every split into two, one byte at a time. */
static void assert_reads(const struct ws_limits *limits, struct slice wire, const char *want,
                         const char *why)
{
    for (size_t first = 0; first <= wire.len; first++) {
        ws_trace_read(&split_trace, limits, wire,
                      (struct ws_trace_cut){.first = first, .rest = wire.len});
        ws_trace_assert(&split_trace, want, strlen(want), why);
    }
    ws_trace_read(&split_trace, limits, wire, (struct ws_trace_cut){.first = 1, .rest = 1});
    ws_trace_assert(&split_trace, want, strlen(want), why);
}

struct row {
    const char *why;
    struct slice in;
    const char *want;
};

static void assert_rows(const struct row *rows, size_t count)
{
    for (size_t i = 0; i < count; i++)
        assert_reads(&no_limits, rows[i].in, rows[i].want, rows[i].why);
}

static void messages_are_read_at_every_split(void **state)
{
    (void)state;
    static const struct row rows[] = {
        {"masked Hello of the rfc", WIRE("\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58"),
         "text{Hello}"},
        {"masked pong of the rfc", WIRE("\x8a\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58"),
         "pong(Hello)"},
        {"fragmented Hello of the rfc", WIRE("\x01\x83" KEY "Hel\x80\x82" KEY "lo"), "text{Hello}"},
        {"binary", WIRE("\x82\x83" KEY "\xff\xfe\xfd"), "binary{\xff\xfe\xfd}"},
        {"empty text", WIRE("\x81\x80" KEY), "text{}"},
        {"empty binary", WIRE("\x82\x80" KEY), "binary{}"},
        {"two messages", WIRE("\x81\x81" KEY "a\x82\x81" KEY "b"), "text{a}binary{b}"},
        {"empty fragments", WIRE("\x01\x80" KEY "\x00\x80" KEY "\x00\x81" KEY "a\x80\x80" KEY),
         "text{a}"},
        {"nothing but empty fragments", WIRE("\x01\x80" KEY "\x00\x80" KEY "\x80\x80" KEY),
         "text{}"},
        {"sequence of utf-8 over three frames",
         WIRE("\x01\x82" KEY "a\xe2\x00\x81" KEY "\x82\x80\x81" KEY "\xac"), "text{a\xe2\x82\xac}"},
        {"ping between two halves of a sequence",
         WIRE("\x01\x81" KEY "\xc3\x89\x82" KEY "hi\x80\x81" KEY "\xa9"), "text{\xc3ping(hi)\xa9}"},
        {"bytes that are no utf-8, in binary fragments",
         WIRE("\x02\x81" KEY "\xff\x80\x81" KEY "\xc0"), "binary{\xff\xc0}"},
        {"text after binary", WIRE("\x82\x81" KEY "\xe2\x81\x81" KEY "a"), "binary{\xe2}text{a}"},
    };
    assert_rows(rows, UNIT_ROWS(rows));
}

static void control_frames_are_told_in_their_place(void **state)
{
    (void)state;
    static const struct row rows[] = {
        {"empty ping", WIRE("\x89\x80" KEY), "ping()"},
        {"empty pong", WIRE("\x8a\x80" KEY), "pong()"},
        {"ping then text", WIRE("\x89\x81" KEY "p\x81\x81" KEY "t"), "ping(p)text{t}"},
        {"ping between fragments", WIRE("\x01\x81" KEY "a\x89\x81" KEY "p\x80\x81" KEY "b"),
         "text{aping(p)b}"},
        {"ping after an empty first fragment",
         WIRE("\x01\x80" KEY "\x89\x81" KEY "p\x80\x81" KEY "b"), "ping(p)text{b}"},
        {"two pings of different length", WIRE("\x89\x83" KEY "abc\x89\x81" KEY "d"),
         "ping(abc)ping(d)"},
        {"close between fragments", WIRE("\x01\x81" KEY "a\x88\x82" KEY "\x03\xe8\x80\x81" KEY "b"),
         "text{aclose(1000 )"},
    };
    assert_rows(rows, UNIT_ROWS(rows));
}

static void close_is_the_last_event(void **state)
{
    (void)state;
    static const struct row rows[] = {
        {"no payload", WIRE("\x88\x80" KEY), "close(1005 )"},
        {"code", WIRE("\x88\x82" KEY "\x03\xe9"), "close(1001 )"},
        {"code and reason",
         WIRE("\x88\x85" KEY "\x0f\xa0"
              "bye"),
         "close(4000 bye)"},
        {"reason that is not ascii", WIRE("\x88\x84" KEY "\x03\xe8\xc3\xa9"),
         "close(1000 \xc3\xa9)"},
        {"mask of the rfc", WIRE("\x88\x82\x37\xfa\x21\x3d\x34\x12"), "close(1000 )"},
        {"input after it", WIRE("\x88\x80" KEY "\x81\x81" KEY "a\xff\xff"), "close(1005 )"},
        {"half a code", WIRE("\x88\x81" KEY "\x03"),
         "violation(1002 close frame with half a code)"},
        {"code 0", WIRE("\x88\x82" KEY "\0\0"), "violation(1002 invalid close code)"},
        {"code 1005", WIRE("\x88\x82" KEY "\x03\xed"), "violation(1002 invalid close code)"},
        {"code 1006", WIRE("\x88\x82" KEY "\x03\xee"), "violation(1002 invalid close code)"},
        {"code 5000", WIRE("\x88\x82" KEY "\x13\x88"), "violation(1002 invalid close code)"},
        {"reason no utf-8", WIRE("\x88\x83" KEY "\x03\xe8\xff"),
         "violation(1007 close reason is not UTF-8)"},
        {"reason cut off", WIRE("\x88\x83" KEY "\x03\xe8\xc3"),
         "violation(1007 close reason is not UTF-8)"},
    };
    assert_rows(rows, UNIT_ROWS(rows));
}

static void violations_are_named_and_end_the_reading(void **state)
{
    (void)state;
    static const struct row rows[] = {
        {"not masked", WIRE("\x81\x05Hello"), "violation(1002 frame not masked)"},
        {"ping not masked", WIRE("\x89\x00"), "violation(1002 frame not masked)"},
        {"rsv1", WIRE("\xc1\x80" KEY), "violation(1002 reserved bit set)"},
        {"rsv2", WIRE("\xa1\x80" KEY), "violation(1002 reserved bit set)"},
        {"rsv3", WIRE("\x91\x80" KEY), "violation(1002 reserved bit set)"},
        {"opcode 3", WIRE("\x83\x80" KEY), "violation(1002 unknown opcode)"},
        {"opcode 11", WIRE("\x8b\x80" KEY), "violation(1002 unknown opcode)"},
        {"fragmented ping", WIRE("\x09\x80" KEY), "violation(1002 fragmented control frame)"},
        {"long ping", WIRE("\x89\xfe\x00\x7e" KEY),
         "violation(1002 control frame longer than 125 bytes)"},
        {"long way to say 1", WIRE("\x81\xfe\x00\x01" KEY "a"),
         "violation(1002 length not in its shortest form)"},
        {"top bit", WIRE("\x81\xff\x80\0\0\0\0\0\0\0" KEY),
         "violation(1002 top bit of the 64-bit length set)"},
        {"continuation first", WIRE("\x80\x80" KEY), "violation(1002 continuation of no message)"},
        {"continuation after the end", WIRE("\x81\x81" KEY "a\x00\x81" KEY "b"),
         "text{a}violation(1002 continuation of no message)"},
        {"text inside text", WIRE("\x01\x81" KEY "a\x81\x81" KEY "b"),
         "violation(1002 new message inside a fragmented one)"},
        {"binary inside an empty first fragment", WIRE("\x01\x80" KEY "\x02\x81" KEY "b"),
         "violation(1002 new message inside a fragmented one)"},
        {"input after it", WIRE("\x83\x80" KEY "\x81\x81" KEY "a"),
         "violation(1002 unknown opcode)"},
        {"overlong slash", WIRE("\x81\x82" KEY "\xc0\xaf"), "violation(1007 text is not UTF-8)"},
        {"bad byte behind ascii", WIRE("\x81\x94" KEY "0123456789abcdefgh\xffz"),
         "violation(1007 text is not UTF-8)"},
        {"bad byte in the second frame", WIRE("\x01\x82" KEY "a\xe2\x80\x81" KEY "b"),
         "violation(1007 text is not UTF-8)"},
        {"cut off at the end", WIRE("\x81\x83" KEY "a\xe2\x82"),
         "violation(1007 text ends inside a UTF-8 sequence)"},
        {"cut off, then an empty last frame", WIRE("\x01\x82" KEY "a\xe2\x80\x80" KEY),
         "violation(1007 text ends inside a UTF-8 sequence)"},
        {"good one first", WIRE("\x81\x82" KEY "\xc3\xa9\x81\x81" KEY "\xe9"),
         "text{\xc3\xa9}violation(1007 text ends inside a UTF-8 sequence)"},
    };
    assert_rows(rows, UNIT_ROWS(rows));
}

static void bad_utf8_is_told_before_the_frame_is_there(void **state)
{
    (void)state;
    static const uint8_t wire[] = "\x81\xfe\xff\xff" KEY "ab\xed\xa0";
    ws_trace_read(&split_trace, &no_limits, slice_make(wire, sizeof(wire) - 1),
                  (struct ws_trace_cut){.first = 1, .rest = 1});
    assert_string_equal(split_trace.text, "violation(1007 text is not UTF-8)");
}

static void ceilings_hold_at_n_and_break_at_n_plus_1(void **state)
{
    (void)state;
    static const struct {
        struct ws_limits limits; /* message, frame */
        struct row row;
    } rows[] = {
        {{0, 3}, {"frame of 3", WIRE("\x81\x83" KEY "abc"), "text{abc}"}},
        {{0, 3}, {"frame of 4", WIRE("\x81\x84" KEY), "violation(1009 frame too big)"}},
        {{0, 3}, {"2 frames of 3", WIRE("\x01\x83" KEY "abc\x80\x83" KEY "def"), "text{abcdef}"}},
        {{0, 3},
         {"second frame of 4", WIRE("\x01\x83" KEY "abc\x80\x84" KEY),
          "violation(1009 frame too big)"}},
        {{3, 0}, {"message of 3", WIRE("\x81\x83" KEY "abc"), "text{abc}"}},
        {{3, 0}, {"message of 4", WIRE("\x81\x84" KEY), "violation(1009 message too big)"}},
        {{3, 0}, {"message of 2 + 1", WIRE("\x01\x82" KEY "ab\x80\x81" KEY "c"), "text{abc}"}},
        {{3, 0},
         {"message of 2 + 2", WIRE("\x01\x82" KEY "ab\x00\x82" KEY),
          "violation(1009 message too big)"}},
        {{3, 0},
         {"each message counts for itself", WIRE("\x81\x83" KEY "abc\x82\x83" KEY "def"),
          "text{abc}binary{def}"}},
        {{3, 3}, {"control frames do not count", WIRE("\x89\x84" KEY "abcd"), "ping(abcd)"}},
        {{3, 0},
         {"empty frame at the ceiling", WIRE("\x01\x83" KEY "abc\x80\x80" KEY), "text{abc}"}},
        {{1 << 20, 1 << 20},
         {"greatest length", WIRE("\x82\xff\x7f\xff\xff\xff\xff\xff\xff\xff" KEY),
          "violation(1009 frame too big)"}},
        {{1 << 20, 0},
         {"1 + greatest length",
          WIRE("\x02\x81" KEY "a\x80\xff\x7f\xff\xff\xff\xff\xff\xff\xff" KEY),
          "violation(1009 message too big)"}},
    };
    for (size_t i = 0; i < UNIT_ROWS(rows); i++)
        assert_reads(&rows[i].limits, rows[i].row.in, rows[i].row.want, rows[i].row.why);
}

static void ceiling_lowered_inside_a_message_ends_it(void **state)
{
    (void)state;
    struct ws_limits limits = {.max_message_bytes = 10};
    struct ws_reader r;
    ws_reader_init(&r, &limits);
    ws_trace_init(&split_trace);
    ws_trace_feed(&r, &split_trace, (const uint8_t *)"\x01\x83" KEY "abc", 9);
    limits.max_message_bytes = 2;
    ws_trace_feed(&r, &split_trace, (const uint8_t *)"\x80\x80" KEY, 6);
    assert_string_equal(split_trace.text, "violation(1009 message too big)");
    ws_reader_deinit(&r);
}

static void whole_message_is_one_event_in_the_callers_buffer(void **state)
{
    (void)state;
    uint8_t wire[] = "\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58";
    uint8_t *in = wire;
    size_t len = sizeof(wire) - 1;
    struct ws_reader r;
    struct ws_event ev;
    ws_reader_init(&r, &no_limits);
    ws_reader_next(&r, &ev, &in, &len);
    assert_int_equal(ev.kind, WS_EVENT_DATA);
    assert_true(ev.first && ev.fin);
    assert_ptr_equal(ev.data.ptr, wire + 6);
    assert_int_equal(len, 0);
    ws_reader_next(&r, &ev, &in, &len);
    assert_int_equal(ev.kind, WS_EVENT_MORE);
    ws_reader_deinit(&r);
}

static void endless_frame_is_told_as_it_comes(void **state)
{
    (void)state;
    static const uint8_t head[] = "\x82\xff\x7f\xff\xff\xff\xff\xff\xff\xff" KEY;
    struct ws_reader r;
    ws_reader_init(&r, &no_limits);
    ws_trace_init(&split_trace);
    ws_trace_feed(&r, &split_trace, head, sizeof(head) - 1);
    for (size_t i = 0; i < 3; i++)
        ws_trace_feed(&r, &split_trace, (const uint8_t *)"abc", 3);
    assert_string_equal(split_trace.text, "binary{abcabcabc");
    ws_reader_deinit(&r);
}

static void reader_that_is_not_told_to_stop_holds_nothing(void **state)
{
    (void)state;
    struct ws_reader r; /* no deinit: the leak checker would tell */
    ws_reader_init(&r, &no_limits);
    ws_trace_init(&split_trace);
    for (const char *at = "\x89\x83\1\1\1\1`cb"; *at != '\0'; at++)
        ws_trace_feed(&r, &split_trace, (const uint8_t *)at, 1);
    assert_string_equal(split_trace.text, "ping(abc)");
}

static void deinit_inside_a_control_frame_frees_it(void **state)
{
    (void)state;
    struct ws_reader r;
    ws_reader_init(&r, &no_limits);
    ws_trace_init(&split_trace);
    ws_trace_feed(&r, &split_trace, (const uint8_t *)"\x89\x83" KEY "a", 7);
    assert_string_equal(split_trace.text, "");
    ws_reader_deinit(&r);
    ws_reader_deinit(&r);
}

static void longest_control_frame_is_read_one_byte_at_a_time(void **state)
{
    (void)state;
    uint8_t wire[6 + WS_CONTROL_MAX] = "\x89\xfd" KEY;
    memset(wire + 6, 'x', WS_CONTROL_MAX);
    char want[WS_CONTROL_MAX + 8] = "ping(";
    memset(want + 5, 'x', WS_CONTROL_MAX);
    want[5 + WS_CONTROL_MAX] = ')';
    assert_reads(&no_limits, slice_make(wire, sizeof(wire)), want, "ping of 125 bytes");
}

static void empty_continuations_are_passed_over(void **state)
{
    (void)state;
    enum { FRAMES = 1000, ROUNDS = 200 };
    static const uint8_t frame[] = {0x00, 0x80, 0, 0, 0, 0};
    static uint8_t wire[FRAMES * sizeof(frame)];
    for (size_t i = 0; i < FRAMES; i++)
        memcpy(wire + i * sizeof(frame), frame, sizeof(frame));
    struct ws_reader r; /* no deinit: the leak checker would tell */
    ws_reader_init(&r, &no_limits);
    ws_trace_init(&split_trace);
    ws_trace_feed(&r, &split_trace, (const uint8_t *)"\x01\x80" KEY, 6);
    for (size_t i = 0; i < ROUNDS; i++)
        ws_trace_feed(&r, &split_trace, wire, sizeof(wire));
    assert_int_equal(split_trace.events, ROUNDS + 1); /* MORE of each feed */
    ws_trace_feed(&r, &split_trace, (const uint8_t *)"\x80\x81" KEY "z", 7);
    assert_string_equal(split_trace.text, "text{z}");
}

static void deflated_messages_are_marked_and_not_checked_for_utf8(void **state)
{
    (void)state;
    static const uint8_t wire[] =
        "\x41\x81" KEY "\xff\x80\x81" KEY "\xfe\x81\x81" KEY "a\xc2\x80" KEY "\x81\x81" KEY "\xff";
    struct ws_reader r;
    ws_reader_init(&r, &no_limits);
    ws_reader_allow_deflate(&r);
    ws_trace_init(&split_trace);
    for (size_t i = 0; i < sizeof(wire) - 1; i++)
        ws_trace_feed(&r, &split_trace, wire + i, 1);
    assert_string_equal(split_trace.text, "deflated text{\xff\xfe}text{a}deflated binary{}"
                                          "violation(1007 text is not UTF-8)");
    ws_reader_deinit(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(messages_are_read_at_every_split),
        cmocka_unit_test(control_frames_are_told_in_their_place),
        cmocka_unit_test(close_is_the_last_event),
        cmocka_unit_test(violations_are_named_and_end_the_reading),
        cmocka_unit_test(bad_utf8_is_told_before_the_frame_is_there),
        cmocka_unit_test(ceilings_hold_at_n_and_break_at_n_plus_1),
        cmocka_unit_test(ceiling_lowered_inside_a_message_ends_it),
        cmocka_unit_test(whole_message_is_one_event_in_the_callers_buffer),
        cmocka_unit_test(endless_frame_is_told_as_it_comes),
        cmocka_unit_test(reader_that_is_not_told_to_stop_holds_nothing),
        cmocka_unit_test(deinit_inside_a_control_frame_frees_it),
        cmocka_unit_test(longest_control_frame_is_read_one_byte_at_a_time),
        cmocka_unit_test(empty_continuations_are_passed_over),
        cmocka_unit_test(deflated_messages_are_marked_and_not_checked_for_utf8),
    };
    return cmocka_run_group_tests_name("ws_reader", tests, NULL, NULL);
}
