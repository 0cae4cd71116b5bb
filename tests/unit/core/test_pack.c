/* SPDX-License-Identifier: BSD-3-Clause */
#include "core/pack.h"

#include "tests/support/unit.h"

#include <stdlib.h>
#include <string.h>

enum { NO_CEILING = 1 << 30 };

/* Copies to a block of exactly that size, which the sanitizer watches; the caller frees it. */
static uint8_t *exact(const void *in, size_t len)
{
    uint8_t *block = malloc(len > 0 ? len : 1);
    assert_non_null(block);
    if (len > 0)
        memcpy(block, in, len);
    return block;
}

static enum pack_scan scan(size_t *used, const void *in, size_t len, size_t max_bytes)
{
    uint8_t *block = exact(in, len);
    const enum pack_scan result = pack_scan(used, block, len, max_bytes);
    free(block);
    return result;
}

/* One value of each format of the spec. */
static const struct whole {
    const char *what;
    size_t len;
    uint8_t in[40];
} wholes[] = {
    {"positive fixint", 1, {0x7f}},
    {"negative fixint", 1, {0xe0}},
    {"nil", 1, {0xc0}},
    {"false", 1, {0xc2}},
    {"true", 1, {0xc3}},
    {"uint 8", 2, {0xcc, 0xff}},
    {"uint 16", 3, {0xcd, 1, 2}},
    {"uint 32", 5, {0xce, 1, 2, 3, 4}},
    {"uint 64", 9, {0xcf, 1, 2, 3, 4, 5, 6, 7, 8}},
    {"int 8", 2, {0xd0, 0x80}},
    {"int 16", 3, {0xd1, 1, 2}},
    {"int 32", 5, {0xd2, 1, 2, 3, 4}},
    {"int 64", 9, {0xd3, 1, 2, 3, 4, 5, 6, 7, 8}},
    {"float 32", 5, {0xca, 1, 2, 3, 4}},
    {"float 64", 9, {0xcb, 1, 2, 3, 4, 5, 6, 7, 8}},
    {"fixstr", 4, {0xa3, 'a', 'b', 'c'}},
    {"empty fixstr", 1, {0xa0}},
    {"str 8", 4, {0xd9, 2, 'a', 'b'}},
    {"str 16", 5, {0xda, 0, 2, 'a', 'b'}},
    {"str 32", 7, {0xdb, 0, 0, 0, 2, 'a', 'b'}},
    {"bin 8", 4, {0xc4, 2, 0xff, 0xc1}},
    {"bin 16", 5, {0xc5, 0, 2, 0xff, 0xc1}},
    {"bin 32", 7, {0xc6, 0, 0, 0, 2, 0xff, 0xc1}},
    {"fixarray", 4, {0x93, 1, 0xc0, 0xc3}},
    {"empty fixarray", 1, {0x90}},
    {"array 16", 5, {0xdc, 0, 2, 1, 2}},
    {"array 32", 7, {0xdd, 0, 0, 0, 2, 1, 2}},
    {"fixmap", 5, {0x82, 1, 2, 3, 0xc0}},
    {"map 16", 5, {0xde, 0, 1, 1, 2}},
    {"map 32", 7, {0xdf, 0, 0, 0, 1, 1, 2}},
    {"fixext 1", 3, {0xd4, 5, 1}},
    {"fixext 2", 4, {0xd5, 5, 1, 2}},
    {"fixext 4", 6, {0xd6, 5, 1, 2, 3, 4}},
    {"fixext 8", 10, {0xd7, 5, 1, 2, 3, 4, 5, 6, 7, 8}},
    {"fixext 16", 18, {0xd8, 5, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16}},
    {"ext 8", 5, {0xc7, 2, 5, 1, 2}},
    {"ext 16", 6, {0xc8, 0, 2, 5, 1, 2}},
    {"ext 32", 8, {0xc9, 0, 0, 0, 2, 5, 1, 2}},
    {"arrays in arrays", 9, {0x92, 0x93, 1, 2, 0x90, 0x91, 0xa1, 'x', 0xff}},
    {"eight arrays deep", 9, {0x91, 0x91, 0x91, 0x91, 0x91, 0x91, 0x91, 0x91, 7}},
};

static void scan_finds_the_end_of_every_format(void **state)
{
    (void)state;
    for (size_t i = 0; i < UNIT_ROWS(wholes); i++) {
        size_t used = 0;
        size_t len = wholes[i].len;
        if (i == UNIT_ROWS(wholes) - 2)
            len--; /* what follows a value is not looked at */
        if (scan(&used, wholes[i].in, wholes[i].len, NO_CEILING) != PACK_DONE || used != len)
            fail_msg("%s: used %zu of %zu", wholes[i].what, used, len);
    }
}

static void scan_of_every_prefix_asks_for_more(void **state)
{
    (void)state;
    for (size_t i = 0; i < UNIT_ROWS(wholes); i++) {
        size_t whole = 0;
        assert_int_equal(scan(&whole, wholes[i].in, wholes[i].len, NO_CEILING), PACK_DONE);
        for (size_t len = 0; len < whole; len++) {
            size_t used = 12345;
            if (scan(&used, wholes[i].in, len, NO_CEILING) != PACK_MORE || used != 12345)
                fail_msg("%s: %zu bytes", wholes[i].what, len);
        }
    }
}

static void scan_takes_a_value_of_the_ceiling_and_not_one_byte_more(void **state)
{
    (void)state;
    for (size_t i = 0; i < UNIT_ROWS(wholes); i++) {
        size_t used = 0;
        size_t whole = 0;
        const char *what = wholes[i].what;
        assert_int_equal(scan(&whole, wholes[i].in, wholes[i].len, NO_CEILING), PACK_DONE);
        if (scan(&used, wholes[i].in, wholes[i].len, whole) != PACK_DONE)
            fail_msg("%s: broken at its own length", what);
        if (scan(&used, wholes[i].in, wholes[i].len, whole - 1) != PACK_BROKEN)
            fail_msg("%s: passed a ceiling under its length", what);
    }
}

static void scan_refuses_what_cannot_become_a_value(void **state)
{
    (void)state;
    static const struct {
        const char *why;
        size_t max_bytes;
        size_t len;
        uint8_t in[48];
    } rows[] = {
        {"byte that is never used", NO_CEILING, 1, {0xc1}},
        {"never used inside", NO_CEILING, 3, {0x92, 1, 0xc1}},
        {"nine arrays deep", NO_CEILING, 9, {0x91, 0x91, 0x91, 0x91, 0x91, 0x91, 0x91, 0x91, 0x91}},
        {"empty array nine deep",
         NO_CEILING,
         9,
         {0x91, 0x91, 0x91, 0x91, 0x91, 0x91, 0x91, 0x91, 0x90}},
        {"nine maps deep",
         NO_CEILING,
         17,
         {0x81, 0, 0x81, 0, 0x81, 0, 0x81, 0, 0x81, 0, 0x81, 0, 0x81, 0, 0x81, 0, 0x81}},
        {"4 GiB str", NO_CEILING, 5, {0xdb, 0xff, 0xff, 0xff, 0xff}},
        {"4 GiB bin", NO_CEILING, 5, {0xc6, 0xff, 0xff, 0xff, 0xff}},
        {"4 GiB ext", NO_CEILING, 5, {0xc9, 0xff, 0xff, 0xff, 0xff}},
        {"array of 2^32 - 1", NO_CEILING, 5, {0xdd, 0xff, 0xff, 0xff, 0xff}},
        {"map of 2^32 - 1", NO_CEILING, 5, {0xdf, 0xff, 0xff, 0xff, 0xff}},
        {"map of 2^31 (twice that overflows 32 bits)", NO_CEILING, 5, {0xdf, 0x80, 0, 0, 0}},
        {"more items than bytes allowed", 10, 3, {0xdc, 0, 9}},
        {"ceiling counted over the outer array", 10, 5, {0x92, 0xdc, 0, 6, 0}},
        {"str of ten bytes under a ceiling of ten", 10, 1, {0xaa}},
        {"nothing at all allowed", 0, 1, {0xc0}},
    };
    for (size_t i = 0; i < UNIT_ROWS(rows); i++) {
        size_t used = 0;
        if (scan(&used, rows[i].in, rows[i].len, rows[i].max_bytes) != PACK_BROKEN)
            fail_msg("not broken: %s", rows[i].why);
    }
}

static void hostile_counts_under_a_huge_ceiling_just_ask_for_more(void **state)
{
    (void)state;
    /* Maps of 2^32 - 1 pairs, each the first key of the one before: 16 GiB owed and more. */
    uint8_t in[PACK_DEPTH_MAX * 5];
    size_t used = 0;
    for (size_t i = 0; i < sizeof(in); i += 5)
        memcpy(in + i, (const uint8_t[]){0xdf, 0xff, 0xff, 0xff, 0xff}, 5);
    assert_int_equal(scan(&used, in, sizeof(in), SIZE_MAX), PACK_MORE);
    assert_int_equal(scan(&used, in, 5, SIZE_MAX), PACK_MORE);
}

static void scan_of_nothing_asks_for_more(void **state)
{
    (void)state;
    size_t used = 0;
    assert_int_equal(pack_scan(&used, NULL, 0, 10), PACK_MORE);
}

static void writers_use_the_shortest_form(void **state)
{
    (void)state;
    static const struct {
        uint64_t value;
        size_t len;
        uint8_t want[9];
    } rows[] = {
        {0, 1, {0}},
        {127, 1, {0x7f}},
        {128, 2, {0xcc, 0x80}},
        {255, 2, {0xcc, 0xff}},
        {256, 3, {0xcd, 1, 0}},
        {65535, 3, {0xcd, 0xff, 0xff}},
        {65536, 5, {0xce, 0, 1, 0, 0}},
        {UINT32_MAX, 5, {0xce, 0xff, 0xff, 0xff, 0xff}},
        {UINT64_C(1) << 32, 9, {0xcf, 0, 0, 0, 1, 0, 0, 0, 0}},
        {UINT64_MAX, 9, {0xcf, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff}},
    };
    for (size_t i = 0; i < UNIT_ROWS(rows); i++) {
        uint8_t out[PACK_UINT_MAX];
        assert_int_equal(pack_uint(out, rows[i].value) - out, rows[i].len);
        assert_memory_equal(out, rows[i].want, rows[i].len);
    }
}

static void headers_use_the_shortest_form(void **state)
{
    (void)state;
    static const struct {
        uint8_t *(*write)(uint8_t *out, uint32_t count);
        uint32_t count;
        size_t len;
        uint8_t want[PACK_HEADER_MAX];
    } rows[] = {
        {pack_array, 0, 1, {0x90}},
        {pack_array, 15, 1, {0x9f}},
        {pack_array, 16, 3, {0xdc, 0, 16}},
        {pack_array, 65536, 5, {0xdd, 0, 1, 0, 0}},
        {pack_str_header, 31, 1, {0xbf}},
        {pack_str_header, 32, 2, {0xd9, 32}},
        {pack_str_header, 256, 3, {0xda, 1, 0}},
        {pack_str_header, 65536, 5, {0xdb, 0, 1, 0, 0}},
        {pack_bin_header, 0, 2, {0xc4, 0}},
        {pack_bin_header, 256, 3, {0xc5, 1, 0}},
        {pack_bin_header, 65536, 5, {0xc6, 0, 1, 0, 0}},
    };
    for (size_t i = 0; i < UNIT_ROWS(rows); i++) {
        uint8_t out[PACK_HEADER_MAX];
        assert_int_equal(rows[i].write(out, rows[i].count) - out, rows[i].len);
        assert_memory_equal(out, rows[i].want, rows[i].len);
    }
}

static void a_record_is_written_and_read_back(void **state)
{
    (void)state;
    static const uint8_t want[] = {0x96, 0xcc, 200,  0xa2, 'h',  'i', 0xc4,
                                   2,    0,    0xff, 0xc0, 0xc3, 0xa0};
    uint8_t out[64];
    uint8_t *end = pack_array(out, 6);
    end = pack_uint(end, 200);
    end = pack_str(end, slice_str("hi"));
    end = pack_bin(end, slice_make("\0\xff", 2));
    end = pack_nil(end);
    end = pack_bool(end, true);
    end = pack_str(end, (struct slice){0});
    assert_int_equal(end - out, sizeof(want));
    assert_memory_equal(out, want, sizeof(want));

    struct pack_reader r;
    bool is_nil = false;
    pack_reader_init(&r, want, sizeof(want));
    assert_int_equal(pack_read_array(&r), 6);
    assert_int_equal(pack_read_uint(&r), 200);
    assert_true(slice_eq_str(pack_read_bytes(&r), "hi"));
    assert_true(slice_eq(pack_read_bytes_or_nil(&r, &is_nil), slice_make("\0\xff", 2)));
    assert_false(is_nil);
    assert_int_equal(pack_read_bytes_or_nil(&r, &is_nil).len, 0);
    assert_true(is_nil);
    assert_true(pack_read_bool(&r));
    assert_int_equal(pack_read_bytes(&r).len, 0);
    assert_false(r.failed);
    assert_ptr_equal(r.at, r.end);
}

static void integers_of_every_form_are_read(void **state)
{
    (void)state;
    static const struct {
        int64_t want;
        size_t len;
        uint8_t in[9];
    } rows[] = {
        {127, 1, {0x7f}},
        {-1, 1, {0xff}},
        {-32, 1, {0xe0}},
        {255, 2, {0xcc, 0xff}},
        {-128, 2, {0xd0, 0x80}},
        {127, 2, {0xd0, 0x7f}},
        {-32768, 3, {0xd1, 0x80, 0}},
        {-2, 5, {0xd2, 0xff, 0xff, 0xff, 0xfe}},
        {INT64_MIN, 9, {0xd3, 0x80, 0, 0, 0, 0, 0, 0, 0}},
        {INT64_MAX, 9, {0xcf, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff}},
    };
    for (size_t i = 0; i < UNIT_ROWS(rows); i++) {
        struct pack_reader r;
        pack_reader_init(&r, rows[i].in, rows[i].len);
        assert_true(pack_read_int(&r) == rows[i].want);
        assert_false(r.failed);
        assert_ptr_equal(r.at, r.end);
        pack_reader_init(&r, rows[i].in, rows[i].len);
        assert_true(pack_read_uint(&r) == (rows[i].want < 0 ? 0 : (uint64_t)rows[i].want));
        assert_int_equal(r.failed, rows[i].want < 0);
    }
}

static void a_number_over_the_signed_range_is_no_int(void **state)
{
    (void)state;
    static const uint8_t in[] = {0xcf, 0x80, 0, 0, 0, 0, 0, 0, 0};
    struct pack_reader r;
    pack_reader_init(&r, in, sizeof(in));
    assert_int_equal(pack_read_int(&r), 0);
    assert_true(r.failed);
}

static void the_wrong_type_fails_and_reading_on_gives_zeros(void **state)
{
    (void)state;
    static const uint8_t in[] = {0xa1, 'x', 0x07};
    struct pack_reader r;
    bool is_nil = true;
    pack_reader_init(&r, in, sizeof(in));
    assert_int_equal(pack_read_uint(&r), 0);
    assert_true(r.failed);
    assert_int_equal(pack_read_bytes(&r).len, 0);
    assert_int_equal(pack_read_bytes_or_nil(&r, &is_nil).len, 0);
    assert_false(is_nil);
    assert_int_equal(pack_read_array(&r), 0);
    assert_int_equal(pack_read_int(&r), 0);
    assert_false(pack_read_bool(&r));
    pack_skip(&r);
    assert_ptr_equal(r.at, in);
}

static void nil_is_no_bytes_where_it_is_not_allowed(void **state)
{
    (void)state;
    static const uint8_t in[] = {0xc0};
    struct pack_reader r;
    pack_reader_init(&r, in, sizeof(in));
    assert_int_equal(pack_read_bytes(&r).len, 0);
    assert_true(r.failed);
}

static void skip_steps_over_every_format(void **state)
{
    (void)state;
    for (size_t i = 0; i < UNIT_ROWS(wholes); i++) {
        struct pack_reader r;
        size_t used = 0;
        assert_int_equal(scan(&used, wholes[i].in, wholes[i].len, NO_CEILING), PACK_DONE);
        pack_reader_init(&r, wholes[i].in, wholes[i].len);
        pack_skip(&r);
        assert_false(r.failed);
        assert_int_equal(r.at - wholes[i].in, used);
    }
}

static void readers_stay_inside_bytes_that_were_never_scanned(void **state)
{
    (void)state;
    for (size_t i = 0; i < UNIT_ROWS(wholes); i++) {
        for (size_t len = 0; len < wholes[i].len; len++) {
            uint8_t *block = exact(wholes[i].in, len);
            struct pack_reader r;
            pack_reader_init(&r, block, len);
            (void)pack_read_bytes(&r);
            pack_reader_init(&r, block, len);
            (void)pack_read_int(&r);
            pack_reader_init(&r, block, len);
            assert_true(pack_read_array(&r) <= len);
            pack_reader_init(&r, block, len);
            pack_skip(&r);
            free(block);
        }
    }
}

/* What an item is, and no more of it than its header: the rest of each row of the table. */
static void an_item_is_described_by_its_header(void **state)
{
    static const struct {
        const char *what;
        struct pack_item want;
        uint8_t in[6];
        size_t len;
    } rows[] = {
        {"nil", {PACK_NIL, 1, 0, 0}, {0xc0}, 1},
        {"true", {PACK_BOOL, 1, 0, 0}, {0xc3}, 1},
        {"fixint", {PACK_INT, 1, 0, 0}, {0x7f}, 1},
        {"negative fixint", {PACK_INT, 1, 0, 0}, {0xe0}, 1},
        {"int 64", {PACK_INT, 1, 8, 0}, {0xd3}, 1},
        {"uint 8", {PACK_INT, 1, 1, 0}, {0xcc}, 1},
        {"float 32", {PACK_FLOAT, 1, 4, 0}, {0xca}, 1},
        {"float 64", {PACK_FLOAT, 1, 8, 0}, {0xcb}, 1},
        {"fixstr", {PACK_STR, 1, 31, 0}, {0xbf}, 1},
        {"str 32", {PACK_STR, 5, UINT32_MAX, 0}, {0xdb, 0xff, 0xff, 0xff, 0xff}, 5},
        {"bin 16", {PACK_BIN, 3, 258, 0}, {0xc5, 1, 2}, 3},
        {"fixext 16", {PACK_EXT, 2, 16, 0}, {0xd8}, 1},
        {"ext 8", {PACK_EXT, 3, 7, 0}, {0xc7, 7}, 2},
        {"fixarray", {PACK_ARRAY, 1, 0, 15}, {0x9f}, 1},
        {"array 32", {PACK_ARRAY, 5, 0, UINT32_MAX}, {0xdd, 0xff, 0xff, 0xff, 0xff}, 5},
        {"fixmap", {PACK_MAP, 1, 0, 30}, {0x8f}, 1},
        {"map 32", {PACK_MAP, 5, 0, 2 * (uint64_t)UINT32_MAX}, {0xdf, 0xff, 0xff, 0xff, 0xff}, 5},
    };
    (void)state;
    for (size_t i = 0; i < UNIT_ROWS(rows); i++) {
        struct pack_item got = {0};
        uint8_t *block = exact(rows[i].in, rows[i].len);
        if (pack_scan_item(&got, block, rows[i].len) != PACK_DONE ||
            got.kind != rows[i].want.kind || got.header != rows[i].want.header ||
            got.content != rows[i].want.content || got.items != rows[i].want.items)
            fail_msg("%s", rows[i].what);
        assert_int_equal(pack_scan_item(&got, block, rows[i].len - 1), PACK_MORE);
        free(block);
    }
    assert_int_equal(pack_scan_item(&(struct pack_item){0}, (const uint8_t *)"\xc1", 1),
                     PACK_BROKEN);
}

static void a_map_is_written_in_its_shortest_form(void **state)
{
    static const struct {
        uint32_t count;
        size_t len;
        uint8_t want[5];
    } rows[] = {
        {0, 1, {0x80}},
        {15, 1, {0x8f}},
        {16, 3, {0xde, 0, 16}},
        {65535, 3, {0xde, 0xff, 0xff}},
        {65536, 5, {0xdf, 0, 1, 0, 0}},
        {UINT32_MAX, 5, {0xdf, 0xff, 0xff, 0xff, 0xff}},
    };
    (void)state;
    for (size_t i = 0; i < UNIT_ROWS(rows); i++) {
        uint8_t out[PACK_HEADER_MAX];
        assert_int_equal(pack_map(out, rows[i].count) - out, rows[i].len);
        assert_memory_equal(out, rows[i].want, rows[i].len);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(scan_finds_the_end_of_every_format),
        cmocka_unit_test(scan_of_every_prefix_asks_for_more),
        cmocka_unit_test(scan_takes_a_value_of_the_ceiling_and_not_one_byte_more),
        cmocka_unit_test(scan_refuses_what_cannot_become_a_value),
        cmocka_unit_test(hostile_counts_under_a_huge_ceiling_just_ask_for_more),
        cmocka_unit_test(scan_of_nothing_asks_for_more),
        cmocka_unit_test(writers_use_the_shortest_form),
        cmocka_unit_test(headers_use_the_shortest_form),
        cmocka_unit_test(a_record_is_written_and_read_back),
        cmocka_unit_test(integers_of_every_form_are_read),
        cmocka_unit_test(a_number_over_the_signed_range_is_no_int),
        cmocka_unit_test(the_wrong_type_fails_and_reading_on_gives_zeros),
        cmocka_unit_test(nil_is_no_bytes_where_it_is_not_allowed),
        cmocka_unit_test(skip_steps_over_every_format),
        cmocka_unit_test(readers_stay_inside_bytes_that_were_never_scanned),
        cmocka_unit_test(an_item_is_described_by_its_header),
        cmocka_unit_test(a_map_is_written_in_its_shortest_form),
    };
    return cmocka_run_group_tests_name("pack", tests, NULL, NULL);
}
