/* SPDX-License-Identifier: BSD-3-Clause */
#include "core/transcode.h"

#include "core/base64.h"
#include "core/mem.h"
#include "tests/support/unit.h"

#include <stdlib.h>
#include <string.h>

enum { CEILING = 1 << 20 };

/* Each body as Python's msgpack writes it, and the line for it; both directions. */
static const struct pair {
    const char *json;
    size_t len;
    const char *body;
} pairs[] = {
    {"{}", 1, "\x80"},
    {"{\"a\": null}", 4, "\x81\xa1\x61\xc0"},
    {"{\"a\": [true, false]}", 6, "\x81\xa1\x61\x92\xc3\xc2"},
    {"{\"a\": 127, \"b\": -32}", 7, "\x82\xa1\x61\x7f\xa1\x62\xe0"},
    {"{\"a\": 128}", 5, "\x81\xa1\x61\xcc\x80"},
    {"{\"a\": -33}", 5, "\x81\xa1\x61\xd0\xdf"},
    {"{\"a\": -129}", 6, "\x81\xa1\x61\xd1\xff\x7f"},
    {"{\"a\": -32769}", 8, "\x81\xa1\x61\xd2\xff\xff\x7f\xff"},
    {"{\"a\": -2147483649}", 12, "\x81\xa1\x61\xd3\xff\xff\xff\xff\x7f\xff\xff\xff"},
    {"{\"a\": 9223372036854775807}", 12, "\x81\xa1\x61\xcf\x7f\xff\xff\xff\xff\xff\xff\xff"},
    {"{\"a\": {\"__int__\": \"9223372036854775808\"}}", 12,
     "\x81\xa1\x61\xcf\x80\x00\x00\x00\x00\x00\x00\x00"},
    {"{\"a\": {\"__int__\": \"18446744073709551615\"}}", 12,
     "\x81\xa1\x61\xcf\xff\xff\xff\xff\xff\xff\xff\xff"},
    {"{\"a\": 1.0}", 12, "\x81\xa1\x61\xcb\x3f\xf0\x00\x00\x00\x00\x00\x00"},
    {"{\"a\": 0.1}", 12, "\x81\xa1\x61\xcb\x3f\xb9\x99\x99\x99\x99\x99\x9a"},
    {"{\"a\": -0.0}", 12, "\x81\xa1\x61\xcb\x80\x00\x00\x00\x00\x00\x00\x00"},
    {"{\"a\": {\"__float__\": \"NaN\"}}", 12, "\x81\xa1\x61\xcb\x7f\xf8\x00\x00\x00\x00\x00\x00"},
    {"{\"a\": {\"__float__\": \"-Infinity\"}}", 12,
     "\x81\xa1\x61\xcb\xff\xf0\x00\x00\x00\x00\x00\x00"},
    {"{\"a\": \"\\\"\\\\\\n\\u0000\\u001f\\u007f\xc3\xa9\"}", 12,
     "\x81\xa1\x61\xa8\"\\\n\x00\x1f\x7f\xc3\xa9"},
    {"{\"a\": {\"__bytes__\": \"\"}}", 5, "\x81\xa1\x61\xc4\x00"},
    {"{\"a\": {\"__bytes__\": \"AP8=\"}}", 7, "\x81\xa1\x61\xc4\x02\x00\xff"},
    {"{\"a\": {\"__ext__\": [-1, \"AAAAAA==\"]}}", 9, "\x81\xa1\x61\xd6\xff\x00\x00\x00\x00"},
    {"{\"a\": {\"__ext__\": [5, \"AQID\"]}}", 9, "\x81\xa1\x61\xc7\x03\x05\x01\x02\x03"},
    {"{\"a\": {\"__map__\": [[{\"__bytes__\": \"YQ==\"}, 1], [\"b\", 2]]}}", 11,
     "\x81\xa1\x61\x82\xc4\x01\x61\x01\xa1\x62\x02"},
    {"{\"__map__\": [[{\"__bytes__\": \"YQ==\"}, {}]]}", 5, "\x81\xc4\x01\x61\x80"},
    {"{\"__map__\": [[\"__bytes__\", \"x\"]]}", 13, "\x81\xa9__bytes__\xa1x"},
    {"{\"__bytes__\": 1, \"b\": 2}", 15, "\x82\xa9__bytes__\x01\xa1\x62\x02"},
    {"{\"__map__\": [[\"a\\u0000\", 1]]}", 5, "\x81\xa2\x61\x00\x01"},
};

static void both_directions_agree_on_every_type(void **state)
{
    (void)state;
    for (size_t i = 0; i < UNIT_ROWS(pairs); i++) {
        const size_t len = pairs[i].len;
        struct buf out;
        struct err_text why = {0};
        buf_init(&out, CEILING);
        if (transcode_to_pack(&out, slice_str(pairs[i].json), &why) != ERR_OK)
            fail_msg("%s was refused: %s", pairs[i].json, why.text);
        if (!slice_eq(buf_slice(&out), slice_make(pairs[i].body, len)))
            fail_msg("%s became another body of %u bytes", pairs[i].json, out.len);
        buf_deinit(&out);
        if (transcode_to_json(&out, slice_make(pairs[i].body, len), &why) != ERR_OK)
            fail_msg("the body of %s was refused: %s", pairs[i].json, why.text);
        if (!slice_eq_str(buf_slice(&out), pairs[i].json))
            fail_msg("%s became %.*s", pairs[i].json, (int)out.len, (const char *)out.ptr);
        buf_deinit(&out);
    }
}

static void every_double_reads_back_as_itself(void **state)
{
    (void)state;
    uint64_t seed = 88172645463325252U;
    for (size_t round = 0; round < 20000; round++) {
        uint8_t body[12] = {0x81, 0xa1, 'a', 0xcb};
        for (size_t i = 4; i < sizeof(body); i++)
            body[i] = (uint8_t)unit_random(&seed);
        if ((body[4] & 0x7f) == 0x7f && body[5] >= 0xf0)
            continue; /* a NaN has more faces than one */
        struct buf json;
        struct buf back;
        struct err_text why = {0};
        buf_init(&json, CEILING);
        buf_init(&back, CEILING);
        assert_int_equal(transcode_to_json(&json, slice_make(body, sizeof(body)), &why), ERR_OK);
        assert_int_equal(transcode_to_pack(&back, buf_slice(&json), &why), ERR_OK);
        assert_int_equal(back.len, sizeof(body));
        assert_memory_equal(back.ptr, body, sizeof(body));
        buf_deinit(&json);
        buf_deinit(&back);
    }
}

static void lengths_take_their_shortest_headers(void **state)
{
    (void)state;
    static const size_t lens[] = {0, 1, 2, 3, 15, 16, 17, 31, 32, 255, 256, 65535, 65536};
    for (size_t i = 0; i < UNIT_ROWS(lens); i++) {
        struct buf body;
        struct buf json;
        struct buf back;
        struct err_text why = {0};
        buf_init(&body, CEILING);
        buf_init(&json, CEILING);
        buf_init(&back, CEILING);
        assert_int_equal(buf_append(&json, "{\"a\": [", 7), ERR_OK);
        for (size_t n = 0; n < lens[i]; n++)
            assert_int_equal(buf_append(&json, ", 1" + (n == 0 ? 2 : 0), n == 0 ? 1 : 3), ERR_OK);
        assert_int_equal(buf_append(&json, "]}", 2), ERR_OK);
        assert_int_equal(transcode_to_pack(&body, buf_slice(&json), &why), ERR_OK);
        assert_int_equal(body.len, 3 + lens[i] +
                                       (lens[i] <= 15           ? 1U
                                        : lens[i] <= UINT16_MAX ? 3U
                                                                : 5U));
        assert_int_equal(transcode_to_json(&back, buf_slice(&body), &why), ERR_OK);
        assert_true(slice_eq(buf_slice(&json), buf_slice(&back)));
        buf_deinit(&body);
        buf_deinit(&json);
        buf_deinit(&back);
    }
}

static void a_text_that_is_no_message_is_refused(void **state)
{
    (void)state;
    static const struct {
        const char *json;
        const char *reason;
    } rows[] = {
        {"[]", "a message is a JSON object"},
        {"1", "a message is a JSON object"},
        {"{\"__bytes__\": \"\"}", "a message is a JSON object"},
        {"{\"a\": 18446744073709551615}", "a number that is too large"},
        {"{\"a\": {\"__bytes__\": 1}}", "__bytes__ is not a string of base64"},
        {"{\"a\": {\"__bytes__\": \"YQ\"}}", "what is not base64 with its padding"},
        {"{\"a\": {\"__bytes__\": \"YR==\"}}", "what is not base64 with its padding"},
        {"{\"a\": {\"__float__\": \"nan\"}}", "__float__ is not"},
        {"{\"a\": {\"__float__\": 1}}", "__float__ is not"},
        {"{\"a\": {\"__int__\": \"18446744073709551616\"}}", "__int__ is not"},
        {"{\"a\": {\"__int__\": \"\"}}", "__int__ is not"},
        {"{\"a\": {\"__int__\": \"-1\"}}", "__int__ is not"},
        {"{\"a\": {\"__ext__\": [128, \"\"]}}", "__ext__ is not"},
        {"{\"a\": {\"__ext__\": [1]}}", "__ext__ is not"},
        {"{\"a\": {\"__map__\": [[1, 2]]}}", "__map__ is not"},
        {"{\"a\": {\"__map__\": [[\"a\"]]}}", "__map__ is not"},
        {"{\"a\": {\"__map__\": {}}}", "__map__ is not"},
    };
    for (size_t i = 0; i < UNIT_ROWS(rows); i++) {
        struct buf out;
        struct err_text why = {0};
        buf_init(&out, CEILING);
        assert_int_equal(transcode_to_pack(&out, slice_str(rows[i].json), &why), ERR_INVALID);
        if (strstr(why.text, rows[i].reason) == NULL)
            fail_msg("%s was refused with %s", rows[i].json, why.text);
        buf_deinit(&out);
    }
}

static void a_body_that_is_broken_is_refused(void **state)
{
    (void)state;
    static const struct {
        size_t len;
        const char *body;
        const char *reason;
    } rows[] = {
        {0, "", "it is cut off"},
        {1, "\xc0", "the body is no map"},
        {1, "\x90", "the body is no map"},
        {1, "\xc1", "a byte that begins no value"},
        {2, "\x81\xc1", "a byte that begins no value"},
        {3, "\x81\xa1\x61", "it is cut off"},
        {4, "\x81\xa2\x61\x61", "it is cut off"},
        {5, "\xdf\xff\xff\xff\xff", "it is cut off"},
        {8, "\x81\xa1\x61\xdd\xff\xff\xff\xff", "it is cut off"},
        {8, "\x81\xa1\x61\xc9\xff\xff\xff\xff", "it is cut off"},
        {4, "\x81\xa1\xff\x01", "a str is not UTF-8"},
        {2, "\x80\x80", "something follows behind the map"},
    };
    for (size_t i = 0; i < UNIT_ROWS(rows); i++) {
        struct buf out;
        struct err_text why = {0};
        uint8_t *exact = malloc(rows[i].len + 1);
        assert_non_null(exact);
        memcpy(exact + 1, rows[i].body, rows[i].len); /* so that the end is the block's */
        buf_init(&out, CEILING);
        assert_int_equal(transcode_to_json(&out, slice_make(exact + 1, rows[i].len), &why),
                         ERR_INVALID);
        if (strstr(why.text, rows[i].reason) == NULL)
            fail_msg("row %zu was refused with %s", i, why.text);
        buf_deinit(&out);
        free(exact);
    }
}

static enum err nest(unsigned depth, bool to_json)
{
    uint8_t *text = malloc(8 + 2 * (size_t)depth);
    struct buf out;
    struct err_text why = {0};
    assert_non_null(text);
    buf_init(&out, CEILING);
    size_t len = 0;
    memcpy(text, to_json ? "\x81\xa1\x61" : "{\"a\":", to_json ? 3 : 5);
    len = to_json ? 3 : 5;
    memset(text + len, to_json ? 0x91 : '[', depth - 1); /* the map is one */
    len += depth - 1;
    if (to_json) {
        text[len++] = 0xc0;
    } else {
        memset(text + len, ']', depth - 1);
        len += depth - 1;
        text[len++] = '}';
    }
    const enum err err = to_json ? transcode_to_json(&out, slice_make(text, len), &why)
                                 : transcode_to_pack(&out, slice_make(text, len), &why);
    buf_deinit(&out);
    free(text);
    return err;
}

static void each_ceiling_of_depth_holds(void **state)
{
    (void)state;
    assert_int_equal(nest(TRANSCODE_DEPTH_WRITE, false), ERR_OK);
    assert_int_equal(nest(TRANSCODE_DEPTH_WRITE + 1, false), ERR_TOO_BIG);
    assert_int_equal(nest(TRANSCODE_DEPTH_READ, true), ERR_OK);
    assert_int_equal(nest(TRANSCODE_DEPTH_READ + 1, true), ERR_TOO_BIG);
}

static void a_full_buffer_is_told(void **state)
{
    (void)state;
    for (size_t room = 0; room < 30; room++) {
        struct buf out;
        struct err_text why = {0};
        buf_init(&out, room);
        assert_int_equal(transcode_to_json(&out,
                                           slice_make("\x81\xa1\x61\x92\xcb\x3f\xf0\0\0\0\0\0\0"
                                                      "\xc4\x01\x61",
                                                      16),
                                           &why),
                         ERR_TOO_BIG);
        assert_int_equal(why.code, ERR_TOO_BIG);
        buf_deinit(&out);
        buf_init(&out, room / 2);
        assert_int_equal(
            transcode_to_pack(&out, slice_str("{\"a\": [1.5, {\"__bytes__\": \"YWFh\"}]}"), &why),
            ERR_TOO_BIG);
        buf_deinit(&out);
    }
}

static void failing_allocations_are_told(void **state)
{
    (void)state;
    size_t failures = 0;
    for (long after = 0; after < 60; after++) {
        struct buf out;
        struct err_text why = {0};
        buf_init(&out, CEILING);
        mem_fail_after(after);
        enum err err = transcode_to_pack(
            &out,
            slice_str("{\"a\": {\"__bytes__\": \"YQ==\"}, \"b\": {\"__ext__\": [1, \"YQ==\"]}}"),
            &why);
        if (err == ERR_OK) {
            struct buf json;
            buf_init(&json, CEILING);
            err = transcode_to_json(&json, buf_slice(&out), &why);
            buf_deinit(&json);
        }
        mem_fail_after(-1);
        assert_true(err == ERR_OK || (err == ERR_NOMEM && why.code == ERR_NOMEM));
        failures += err != ERR_OK ? 1 : 0;
        buf_deinit(&out);
    }
    assert_in_range(failures, 10, 59);
}

static void base64_takes_what_it_writes_and_nothing_else(void **state)
{
    (void)state;
    static const char *const wrong[] = {
        "A", "AA", "AAA", "AA=A", "A===", "====", "AB==", "AAB=", "AA\n=", "AA-_", "AA==AAAA"};
    uint8_t bytes[64];
    size_t len = 0;
    for (size_t i = 0; i < UNIT_ROWS(wrong); i++) {
        if (base64_decode(bytes, &len, slice_str(wrong[i]), BASE64_STANDARD))
            fail_msg("%s was taken", wrong[i]);
    }
    uint8_t text[64];
    base64_encode(text, slice_str("\xfb\xff"), BASE64_STANDARD);
    assert_memory_equal(text, "+/8=", 4);
    base64_encode(text, slice_str("\xfb\xff"), BASE64_URL);
    assert_memory_equal(text, "-_8=", 4);
    assert_true(base64_decode(bytes, &len, slice_str("-_8="), BASE64_URL));
    assert_int_equal(len, 2);
    assert_memory_equal(bytes, "\xfb\xff", 2);
    assert_true(base64_decode(bytes, &len, slice_str(""), BASE64_URL));
    assert_int_equal(len, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(both_directions_agree_on_every_type),
        cmocka_unit_test(every_double_reads_back_as_itself),
        cmocka_unit_test(lengths_take_their_shortest_headers),
        cmocka_unit_test(a_text_that_is_no_message_is_refused),
        cmocka_unit_test(a_body_that_is_broken_is_refused),
        cmocka_unit_test(each_ceiling_of_depth_holds),
        cmocka_unit_test(a_full_buffer_is_told),
        cmocka_unit_test(failing_allocations_are_told),
        cmocka_unit_test(base64_takes_what_it_writes_and_nothing_else),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
