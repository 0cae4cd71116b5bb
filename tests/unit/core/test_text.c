/* SPDX-License-Identifier: BSD-3-Clause */
#include "core/text.h"

#include "tests/support/unit.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

/* How many bytes, fed one at a time, are taken before one is refused. */
static size_t bytes_taken(struct slice text)
{
    struct utf8 u = {0};
    size_t taken = 0;
    while (taken < text.len && utf8_feed(&u, text.ptr + taken, 1))
        taken++;
    return taken;
}

static void assert_slice(struct slice got, const char *want)
{
    if (!slice_eq_str(got, want))
        fail_msg("got \"%.*s\", want \"%s\"", (int)got.len, (const char *)got.ptr, want);
}

static const char *const valid_texts[] = {
    "",
    "plain",
    "\x7f",
    "\xc2\x80",
    "\xdf\xbf",
    "\xe0\xa0\x80",
    "\xe1\x80\x80",
    "\xec\xbf\xbf",
    "\xed\x9f\xbf", /* U+D7FF, below the surrogates */
    "\xee\x80\x80", /* U+E000, above them */
    "\xef\xbf\xbf",
    "\xf0\x90\x80\x80",
    "\xf1\x80\x80\x80",
    "\xf4\x8f\xbf\xbf", /* U+10FFFF */
    "\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5",
    "sixteen bytes ..\xf0\x9f\x98\x80 and then many more after it \xe2\x82\xac.",
};

static void valid_utf8_passes_at_every_split(void **state)
{
    (void)state;
    for (size_t i = 0; i < UNIT_ROWS(valid_texts); i++) {
        const struct slice text = slice_str(valid_texts[i]);
        assert_true(utf8_is_valid(text.ptr, text.len));
        for (size_t split = 0; split <= text.len; split++) {
            struct utf8 u = {0};
            assert_true(utf8_feed(&u, text.ptr, split));
            assert_true(utf8_feed(&u, text.ptr + split, text.len - split));
            assert_true(utf8_is_complete(&u));
        }
        assert_int_equal(bytes_taken(text), text.len);
    }
}

static void invalid_utf8_is_refused_at_the_earliest_byte(void **state)
{
    (void)state;
    static const struct {
        const char *why;
        const char *in;
        size_t taken; /* bytes before the one that tells */
    } rows[] = {
        {"continuation at the beginning", "\x80", 0},
        {"continuation after a letter", "a\xbf", 1},
        {"overlong slash in two bytes", "\xc0\xaf", 0},
        {"overlong U+007F in two bytes", "\xc1\xbf", 0},
        {"overlong slash in three bytes", "\xe0\x80\xaf", 1},
        {"overlong U+07FF in three bytes", "\xe0\x9f\xbf", 1},
        {"overlong slash in four bytes", "\xf0\x80\x80\xaf", 1},
        {"overlong U+FFFF in four bytes", "\xf0\x8f\xbf\xbf", 1},
        {"first surrogate", "\xed\xa0\x80", 1},
        {"last surrogate", "\xed\xbf\xbf", 1},
        {"U+110000", "\xf4\x90\x80\x80", 1},
        {"five byte form", "\xf8\x88\x80\x80\x80", 0},
        {"fe", "\xfe", 0},
        {"ff", "\xff", 0},
        {"letter inside two bytes", "\xc2z", 1},
        {"letter after two of three", "\xe2\x82z", 2},
        {"letter after three of four", "\xf0\x9f\x98z", 3},
        {"new sequence inside one", "\xe2\xe2\x82\xac", 1},
        {"behind a run of ascii", "0123456789abcdef0123456789abcdef\xc0", 32},
    };
    for (size_t i = 0; i < UNIT_ROWS(rows); i++) {
        const struct slice text = slice_str(rows[i].in);
        struct utf8 u = {0};
        if (utf8_is_valid(text.ptr, text.len) || utf8_feed(&u, text.ptr, text.len))
            fail_msg("accepted: %s", rows[i].why);
        if (bytes_taken(text) != rows[i].taken)
            fail_msg("%s: refused after %zu bytes", rows[i].why, bytes_taken(text));
    }
}

static void truncated_utf8_is_incomplete_at_every_position(void **state)
{
    (void)state;
    static const char *const rows[] = {"\xc2\x80", "\xe2\x82\xac", "\xed\x9f\xbf",
                                       "\xf0\x9f\x98\x80", "\xf4\x8f\xbf\xbf"};
    for (size_t i = 0; i < UNIT_ROWS(rows); i++) {
        const struct slice text = slice_str(rows[i]);
        for (size_t len = 1; len < text.len; len++) {
            struct utf8 u = {0};
            assert_true(utf8_feed(&u, text.ptr, len));
            assert_false(utf8_is_complete(&u));
            assert_false(utf8_is_valid(text.ptr, len));
        }
    }
}

/* Writes @code the way RFC 3629 says, also when it is no character. */
static size_t encode(uint8_t out[4], uint32_t code)
{
    if (code < 0x80) {
        out[0] = (uint8_t)code;
        return 1;
    }
    const size_t len = code < 0x800 ? 2 : code < 0x10000 ? 3 : 4;
    static const uint8_t marks[] = {0, 0, 0xc0, 0xe0, 0xf0};
    for (size_t i = len; i-- > 1; code >>= 6)
        out[i] = (uint8_t)(0x80 | (code & 0x3f));
    out[0] = (uint8_t)(marks[len] | code);
    return len;
}

static void every_code_point_is_valid_but_surrogates(void **state)
{
    (void)state;
    for (uint32_t code = 0; code < 0x120000; code++) {
        uint8_t bytes[4] = {0};
        const size_t len = encode(bytes, code);
        const bool want = code < 0x110000 && (code < 0xd800 || code > 0xdfff);
        if (utf8_is_valid(bytes, len) != want)
            fail_msg("U+%04X", code);
    }
}

static void bad_byte_is_found_at_every_position_of_a_long_text(void **state)
{
    (void)state;
    uint8_t text[70];
    for (size_t len = 1; len <= sizeof(text); len++) {
        for (size_t bad = 0; bad < len; bad++) {
            memset(text, 'x', len);
            assert_true(utf8_is_valid(text, len));
            text[bad] = 0xff;
            assert_false(utf8_is_valid(text, len));
        }
    }
}

static void percent_decode_does_as_python(void **state)
{
    (void)state;
    static const struct {
        const char *in;
        const char *want;
    } rows[] = {
        {"", ""},        {"plain", "plain"},   {"a%20b", "a b"},
        {"a+b", "a+b"},  {"%41%42%43", "ABC"}, {"%c3%A9", "\xc3\xa9"},
        {"%", "%"},      {"%4", "%4"},         {"%%41", "%A"},
        {"%zz", "%zz"},  {"%4g%41", "%4gA"},   {"%g4", "%g4"},
        {"a%", "a%"},    {"100%25", "100%"},   {"%2525", "%25"}, /* once only */
        {"%ff", "\xff"}, {"%+1", "%+1"},       {"% 1", "% 1"},
    };
    for (size_t i = 0; i < UNIT_ROWS(rows); i++) {
        uint8_t out[16];
        const struct slice in = slice_str(rows[i].in);
        assert_slice(slice_make(out, text_percent_decode(out, in.ptr, in.len)), rows[i].want);
        memcpy(out, in.ptr, in.len);
        assert_slice(slice_make(out, text_percent_decode(out, out, in.len)), rows[i].want);
    }
    uint8_t nul[3];
    assert_int_equal(text_percent_decode(nul, (const uint8_t *)"%00", 3), 1);
    assert_int_equal(nul[0], 0);
}

static void token_is_made_of_the_characters_of_rfc_9110(void **state)
{
    (void)state;
    static const char allowed[] = "!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyz"
                                  "ABCDEFGHIJKLMNOPQRSTUVWXYZ";
    for (unsigned byte = 0; byte < 256; byte++) {
        const uint8_t text[2] = {(uint8_t)byte, 'a'};
        const bool want = memchr(allowed, (int)byte, sizeof(allowed) - 1) != NULL;
        if (text_is_token(slice_make(text, 1)) != want ||
            text_is_token(slice_make(text, 2)) != want)
            fail_msg("byte %02x", byte);
    }
    assert_false(text_is_token(slice_str("")));
    assert_true(text_is_token(slice_str("graphql-transport-ws")));
}

static void comparing_ignores_case_of_ascii_letters_only(void **state)
{
    (void)state;
    assert_true(text_eq_nocase(slice_str("WebSocket"), "websocket"));
    assert_true(text_eq_nocase(slice_str(""), ""));
    assert_false(text_eq_nocase(slice_str("websocket "), "websocket"));
    assert_false(text_eq_nocase(slice_str("websocke"), "websocket"));
    assert_false(text_eq_nocase(slice_str("@["), "`{")); /* 0x20 apart, no letters */
    assert_false(text_eq_nocase(slice_str("\xc0"), "\xe0"));
}

static void trimming_takes_blanks_and_tabs_from_both_ends(void **state)
{
    (void)state;
    assert_slice(text_trim(slice_str(" \t a b\t ")), "a b");
    assert_slice(text_trim(slice_str("a")), "a");
    assert_slice(text_trim(slice_str(" \t ")), "");
    assert_slice(text_trim(slice_str("\na\r")), "\na\r");
    assert_int_equal(text_trim((struct slice){0}).len, 0);
}

static void list_gives_its_items_trimmed_and_skips_empty_ones(void **state)
{
    (void)state;
    static const struct {
        const char *in;
        const char *want; /* every item followed by '|' */
    } rows[] = {
        {"", ""},
        {"a", "a|"},
        {"a,b", "a|b|"},
        {" a , b\t,c ", "a|b|c|"},
        {",", ""},
        {" , ,\t,", ""},
        {",a,,b,", "a|b|"},
        {"a b,c", "a b|c|"},
        {"keep-alive, Upgrade", "keep-alive|Upgrade|"},
    };
    for (size_t i = 0; i < UNIT_ROWS(rows); i++) {
        char got[64] = "";
        size_t len = 0;
        struct slice rest = slice_str(rows[i].in);
        struct slice item = {0};
        while (text_list_next(&item, &rest))
            len += (size_t)snprintf(got + len, sizeof(got) - len, "%.*s|", (int)item.len,
                                    (const char *)item.ptr);
        assert_string_equal(got, rows[i].want);
        assert_false(text_list_next(&item, &rest));
    }
}

static void decimals_are_read_as_they_are_written(void **state)
{
    (void)state;
    static const struct {
        const char *in;
        double want;
    } rows[] = {
        {"0", 0},
        {"7", 7},
        {"1.5", 1.5},
        {".5", 0.5},
        {"5.", 5},
        {" \t1.5 ", 1.5},
        {"-1.5", -1.5},
        {"+1.5", 1.5},
        {"1e3", 1000},
        {"1E+3", 1000},
        {"25e-1", 2.5},
        {"1795224375.2596722", 1795224375.2596722},
        {"1.7952243752596722E9", 1795224375.2596722},
        {"0000000000000000000000000000001.5", 1.5},
        {"123456789012345678901234567890", 123456789012345678901234567890.0},
        {"0.1000000000000000000000000000001", 0.1},
        {"1.7976931348623157e308", 1.7976931348623157e308},
        {"1e-400", 0},
        {"0e999999999999999999999", 0},
        {"1e-999999999999999999999", 0},
    };
    for (size_t i = 0; i < UNIT_ROWS(rows); i++) {
        double got = 1e99;
        assert_true(text_read_decimal(&got, slice_str(rows[i].in)));
        const double most = rows[i].want < 0 ? -rows[i].want : rows[i].want;
        assert_true(got - rows[i].want <= most * 1e-15 && rows[i].want - got <= most * 1e-15);
    }
}

static void what_is_no_decimal_is_refused(void **state)
{
    (void)state;
    static const char *const rows[] = {
        "",        ".",   "-",    "+-1", "1,5",  "1.5.2", "1e",    "e5",  "1e+",
        "1e5x",    "inf", "-inf", "nan", "0x10", "1 2",   "1e400", "--1", "1e999999999999999999999",
        "\xd9\xa1"};
    for (size_t i = 0; i < UNIT_ROWS(rows); i++) {
        double got = 7;
        assert_false(text_read_decimal(&got, slice_str(rows[i])));
        assert_true(got == 7);
    }
    double got = 7;
    assert_false(text_read_decimal(&got, slice_make("1\0", 2)));
    assert_false(text_read_decimal(&got, slice_make("1e5\0", 4)));
}

static void nothing_at_all_is_an_empty_text(void **state)
{
    (void)state;
    struct slice rest = {0};
    struct slice item = {0};
    assert_true(utf8_is_valid(NULL, 0));
    assert_int_equal(text_percent_decode(NULL, NULL, 0), 0);
    assert_false(text_list_next(&item, &rest));
    double number = 0;
    assert_false(text_read_decimal(&number, (struct slice){0}));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(valid_utf8_passes_at_every_split),
        cmocka_unit_test(invalid_utf8_is_refused_at_the_earliest_byte),
        cmocka_unit_test(truncated_utf8_is_incomplete_at_every_position),
        cmocka_unit_test(every_code_point_is_valid_but_surrogates),
        cmocka_unit_test(bad_byte_is_found_at_every_position_of_a_long_text),
        cmocka_unit_test(percent_decode_does_as_python),
        cmocka_unit_test(token_is_made_of_the_characters_of_rfc_9110),
        cmocka_unit_test(comparing_ignores_case_of_ascii_letters_only),
        cmocka_unit_test(trimming_takes_blanks_and_tabs_from_both_ends),
        cmocka_unit_test(list_gives_its_items_trimmed_and_skips_empty_ones),
        cmocka_unit_test(decimals_are_read_as_they_are_written),
        cmocka_unit_test(what_is_no_decimal_is_refused),
        cmocka_unit_test(nothing_at_all_is_an_empty_text),
    };
    return cmocka_run_group_tests_name("text", tests, NULL, NULL);
}
