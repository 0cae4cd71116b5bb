/* SPDX-License-Identifier: BSD-3-Clause */
#include "channel_layer/wire/wire.h"

#include "core/pack.h"
#include "tests/support/golden.h"
#include "tests/support/wire_fixture.h"

#define GOLDEN "tests/golden/channels_redis/"

static int make(void **state)
{
    *state = wire_fixture_new(LAYER_MSGPACK);
    return 0;
}

static int release(void **state)
{
    wire_fixture_free(*state);
    return 0;
}

/* A member with @body behind a prefix of zeros; the caller frees it. */
static struct golden_bytes member_of(struct slice body)
{
    struct golden_bytes member = {.len = WIRE_PREFIX_BYTES + body.len};
    member.ptr = calloc(1, member.len);
    assert_non_null(member.ptr);
    if (body.len > 0)
        memcpy(member.ptr + WIRE_PREFIX_BYTES, body.ptr, body.len);
    return member;
}

static enum err open_body(struct wire_fixture *f, struct slice body)
{
    struct golden_bytes member = member_of(body);
    const enum err err = wire_fixture_open(f, golden_of(member));
    free(member.ptr);
    return err;
}

static const struct wire_to nobody = {.kind = WIRE_NO_NAMES};

static void what_python_packs_passes_and_comes_back_as_it_was(void **state)
{
    struct wire_fixture *f = *state;
    json_t *file = golden_load(GOLDEN "msgpack_vectors.json");
    size_t passed = 0;
    size_t refused = 0;
    size_t i = 0;
    const json_t *row = NULL;

    json_array_foreach(json_object_get(file, "vectors"), i, row)
    {
        const char *hex = golden_text(row, "hex");
        if (hex == NULL)
            continue; /* Python could not pack it, or it is long: other tests have those */
        struct golden_bytes body = golden_hex(hex);
        const bool is_good = golden_text(row, "decode_error") == NULL;
        if ((wire_fixture_check(f, golden_of(body)) == ERR_OK) != is_good ||
            (open_body(f, golden_of(body)) == ERR_OK) != is_good)
            fail_msg("%s: %s", golden_text(row, "python"), f->why.text);
        if (is_good) {
            assert_true(slice_eq(buf_slice(&f->body), golden_of(body)));
            assert_int_equal(f->message.kind, WIRE_NO_NAMES);
            assert_int_equal(wire_fixture_seal(f, golden_of(body), NULL), ERR_OK);
            assert_true(wire_fixture_holds(f, golden_of(body), &nobody));
        }
        passed += is_good;
        refused += !is_good;
        free(body.ptr);
    }
    assert_true(passed >= 60);
    assert_int_equal(refused, 3);
    json_decref(file);
}

/* What others send: taken if Python takes it as a dict; then also when we are to send it. */
static void foreign_encodings_are_taken_as_python_takes_them(void **state)
{
    struct wire_fixture *f = *state;
    json_t *file = golden_load(GOLDEN "msgpack_vectors.json");
    size_t compared = 0;
    size_t i = 0;
    const json_t *row = NULL;

    json_array_foreach(json_object_get(file, "foreign_decoder_inputs"), i, row)
    {
        const char *hex = golden_text(row, "hex");
        const char *what = golden_text(row, "case");
        const bool is_good = golden_text(row, "python_decodes")[0] == '{';
        const bool has_names = strstr(what, "__asgi_channel__") != NULL;
        if (strchr(hex, '.') != NULL)
            continue; /* cut by the recorder: test of nesting below */
        struct golden_bytes body = golden_hex(hex);
        if ((wire_fixture_check(f, golden_of(body)) == ERR_OK) != (is_good && !has_names) ||
            (open_body(f, golden_of(body)) == ERR_OK) != is_good)
            fail_msg("%s: %s", what, f->why.text);
        if (is_good && !has_names)
            assert_true(slice_eq(buf_slice(&f->body), golden_of(body)));
        compared++;
        free(body.ptr);
    }
    assert_int_equal(compared, 20);
    json_decref(file);
}

/* Recorded from send() and group_send() of channels_redis: body, names, and what it stored. */
static const struct {
    const char *what;
    const char *body;
    struct wire_to to;
    const char *stored;
} recorded[] = {
    {"send to a specific channel",
     "82a474797065ac636861742e6d657373616765a474657874a668c3a96c6c6f",
     {WIRE_ONE_NAME,
      &(struct slice){(const uint8_t *)"specific.bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb!"
                                       "00000000000000000000000000000001",
                      74},
      1},
     "83a474797065ac636861742e6d657373616765a474657874a668c3a96c6c6fb05f5f617367695f6368616e6e65"
     "6c5f5fd94a73706563696669632e62626262626262626262626262626262626262626262626262626262626262"
     "62213030303030303030303030303030303030303030303030303030303030303031"},
    {"group_send to a normal channel",
     "82a474797065ac636861742e6d657373616765a474657874a26869",
     {WIRE_NAME_LIST, &(struct slice){(const uint8_t *)"plain.channel", 13}, 1},
     "83a474797065ac636861742e6d657373616765a474657874a26869b05f5f617367695f6368616e6e656c5f5f91ad7"
     "0"
     "6c61696e2e6368616e6e656c"},
    {"send to a normal channel",
     "84a474797065a76a6f622e72756ea2696407a4626c6f62c40200ffa26f6bc3",
     {.kind = WIRE_NO_NAMES},
     "84a474797065a76a6f622e72756ea2696407a4626c6f62c40200ffa26f6bc3"},
};

static void what_is_stored_is_what_channels_redis_stores(void **state)
{
    struct wire_fixture *f = *state;
    for (size_t i = 0; i < UNIT_ROWS(recorded); i++) {
        struct golden_bytes body = golden_hex(recorded[i].body);
        struct golden_bytes want = golden_hex(recorded[i].stored);
        assert_int_equal(wire_fixture_seal(f, golden_of(body), &recorded[i].to), ERR_OK);
        if (f->sealed.len != WIRE_PREFIX_BYTES + want.len ||
            memcmp(f->sealed.ptr + WIRE_PREFIX_BYTES, want.ptr, want.len) != 0)
            fail_msg("%s", recorded[i].what);
        assert_true(wire_fixture_holds(f, golden_of(body), &recorded[i].to));
        free(body.ptr);
        free(want.ptr);
    }
}

/* A map of @entries small ones; the caller frees it. */
static struct golden_bytes map_of(uint32_t entries)
{
    struct golden_bytes body = {.ptr = malloc(PACK_HEADER_MAX + (size_t)entries * 4)};
    assert_non_null(body.ptr);
    uint8_t *at = pack_map(body.ptr, entries);
    for (uint32_t i = 0; i < entries; i++) {
        memcpy(at, "\xa2xx\x07", 4);
        at += 4;
    }
    body.len = (size_t)(at - body.ptr);
    return body;
}

static void the_header_of_the_map_grows_and_shrinks_with_the_key(void **state)
{
    static const struct {
        uint32_t entries;
        const char *header;
        size_t len;
    } rows[] = {
        {0, "\x81", 1},
        {14, "\x8f", 1},
        {15, "\xde\x00\x10", 3},
        {16, "\xde\x00\x11", 3},
        {65534, "\xde\xff\xff", 3},
        {65535, "\xdf\x00\x01\x00\x00", 5},
    };
    struct wire_fixture *f = *state;
    const struct slice name = slice_str("a!b");
    const struct wire_to to = {.kind = WIRE_ONE_NAME, .names = &name, .count = 1};

    for (size_t i = 0; i < UNIT_ROWS(rows); i++) {
        struct golden_bytes body = map_of(rows[i].entries);
        assert_int_equal(wire_fixture_seal(f, golden_of(body), &to), ERR_OK);
        assert_memory_equal(f->sealed.ptr + WIRE_PREFIX_BYTES, rows[i].header, rows[i].len);
        assert_true(wire_fixture_holds(f, golden_of(body), &to));
        free(body.ptr);
    }
}

#define KEY "\xb0__asgi_channel__"
#define ROW(text) (const uint8_t *)(text), sizeof(text) - 1

static void the_key_is_found_wherever_it_stands_and_the_last_one_counts(void **state)
{
    static const struct {
        const char *what;
        struct slice in;
        struct slice body;
        enum wire_names kind;
        uint32_t count;
        const char *last;
    } rows[] = {
        {"first",
         {ROW("\x82" KEY "\xa1x\xa1k\x01")},
         {ROW("\x81\xa1k\x01")},
         WIRE_ONE_NAME,
         1,
         "x"},
        {"between",
         {ROW("\x83\xa1k\x01" KEY "\x92\xa1x\xa1y\xa1l\x02")},
         {ROW("\x82\xa1k\x01\xa1l\x02")},
         WIRE_NAME_LIST,
         2,
         "y"},
        {"alone", {ROW("\x81" KEY "\xa1x")}, {ROW("\x80")}, WIRE_ONE_NAME, 1, "x"},
        {"an empty list", {ROW("\x81" KEY "\x90")}, {ROW("\x80")}, WIRE_NAME_LIST, 0, NULL},
        {"an empty name", {ROW("\x81" KEY "\xa0")}, {ROW("\x80")}, WIRE_ONE_NAME, 1, ""},
        {"twice, the second a list",
         {ROW("\x83" KEY "\xa1x\xa1k\x01" KEY "\x91\xa1z")},
         {ROW("\x81\xa1k\x01")},
         WIRE_NAME_LIST,
         1,
         "z"},
        {"twice, the first no name",
         {ROW("\x83" KEY "\x82\xa1x\x01\xa1y\x02" KEY "\xa1z\xa1k\x01")},
         {ROW("\x81\xa1k\x01")},
         WIRE_ONE_NAME,
         1,
         "z"},
        {"in long forms",
         {ROW("\xdf\0\0\0\2\xda\0\x10__asgi_channel__\xdd\0\0\0\1\xdb\0\0\0\1x\xd9\1k\xcd\0\1")},
         {ROW("\x81\xd9\1k\xcd\0\1")},
         WIRE_NAME_LIST,
         1,
         "x"},
        {"a bin of that name is another key",
         {ROW("\x81\xc4\x10__asgi_channel__\xa1x")},
         {ROW("\x81\xc4\x10__asgi_channel__\xa1x")},
         WIRE_NO_NAMES,
         0,
         NULL},
        {"further in it is another key",
         {ROW("\x81\xa1k\x81" KEY "\xa1x")},
         {ROW("\x81\xa1k\x81" KEY "\xa1x")},
         WIRE_NO_NAMES,
         0,
         NULL},
        {"without it a long header stays",
         {ROW("\xde\0\1\xa1k\1")},
         {ROW("\xde\0\1\xa1k\1")},
         WIRE_NO_NAMES,
         0,
         NULL},
    };
    struct wire_fixture *f = *state;

    for (size_t i = 0; i < UNIT_ROWS(rows); i++) {
        struct golden_bytes member = member_of(rows[i].in);
        struct slice name = {0};
        size_t at = 0;
        uint32_t count = 0;
        f->body.len = 0;
        if (wire_open(&f->wire, &f->message, &f->body, golden_of(member), WIRE_NOW_S, &f->why) !=
            ERR_OK)
            fail_msg("%s: %s", rows[i].what, f->why.text);
        while (wire_next_name(&f->message, &at, NULL, &name))
            count++;
        if (!slice_eq(buf_slice(&f->body), rows[i].body) || f->message.kind != rows[i].kind ||
            count != rows[i].count || f->message.name_count != count ||
            (count > 0 && !slice_eq_str(name, rows[i].last)))
            fail_msg("%s", rows[i].what);
        free(member.ptr);
    }
}

/* The key so often that the header becomes shorter by more than one step. */
static void many_of_the_key_leave_the_rest_whole(void **state)
{
    enum { TIMES = 70000, KEPT = 3 };
    struct wire_fixture *f = *state;
    struct golden_bytes kept = map_of(KEPT);
    struct buf in;

    buf_init(&in, WIRE_BODY_MAX);
    assert_int_equal(buf_reserve(&in, 12 + 8 + TIMES * 20 + KEPT * 4), ERR_OK);
    memset(in.ptr, 0, 12);
    uint8_t *at = pack_map(in.ptr + 12, TIMES + KEPT);
    for (size_t i = 0; i < TIMES; i++) {
        if (i == 0 || i == 1 || i == TIMES / 2) {
            memcpy(at, "\xa2xx\x07", 4);
            at += 4;
        }
        memcpy(at, KEY "\xa1x", 19);
        at += 19;
    }
    in.len = (uint32_t)(at - in.ptr);
    assert_int_equal(wire_fixture_open(f, buf_slice(&in)), ERR_OK);
    assert_true(slice_eq(buf_slice(&f->body), golden_of(kept)));
    buf_deinit(&in);
    free(kept.ptr);
}

static void what_would_break_a_receiver_is_refused_with_its_place(void **state)
{
    static const struct {
        const char *said;
        struct slice body;
    } rows[] = {
        {"msgpack at byte 0: empty", {NULL, 0}},
        {"msgpack at byte 0: no map", {ROW("\xc0")}},
        {"msgpack at byte 0: no map", {ROW("\x90")}},
        {"msgpack at byte 0: no map", {ROW("\xa1x")}},
        {"msgpack at byte 1: a map key that is neither str nor bin", {ROW("\x81\x01\x01")}},
        {"msgpack at byte 1: a map key that is neither str nor bin", {ROW("\x81\x80\x01")}},
        {"msgpack at byte 1: a map key that is neither str nor bin", {ROW("\x81\xd4\x05\x01\x01")}},
        {"msgpack at byte 5: a map key that is neither str nor bin",
         {ROW("\x81\xa1k\x91\x81\x01\x01")}},
        {"msgpack at byte 1: a str that is no valid UTF-8", {ROW("\x81\xa1\xff\x01")}},
        {"msgpack at byte 3: a str that is no valid UTF-8", {ROW("\x81\xa1k\xa3\xed\xa0\x80")}},
        {"msgpack at byte 3: a str that is no valid UTF-8", {ROW("\x81\xa1k\xa1\xc3")}},
        {"msgpack at byte 3: 0xc1, which msgpack never uses", {ROW("\x81\xa1k\xc1")}},
        {"msgpack at byte 4: something follows the message", {ROW("\x81\xa1k\x01\x00")}},
        {"msgpack at byte 3: cut short", {ROW("\x81\xa1k")}},
        {"msgpack at byte 0: cut short", {ROW("\x82\xa1k\x01")}},
        {"msgpack at byte 0: cut short", {ROW("\xdf\xff\xff\xff\xff")}},
        {"msgpack at byte 3: cut short", {ROW("\x81\xa1k\xdd\xff\xff\xff\xff\x01\x02")}},
        {"msgpack at byte 3: cut short", {ROW("\x81\xa1k\xc6\xff\xff\xff\xff\x01\x02")}},
        {"msgpack at byte 3: an ext type that Python refuses", {ROW("\x81\xa1k\xd4\x80z")}},
        {"msgpack at byte 3: an ext type that Python refuses", {ROW("\x81\xa1k\xd4\xffz")}},
        {"msgpack at byte 3: an ext type that Python refuses", {ROW("\x81\xa1k\xc7\x00\xff")}},
        {"msgpack at byte 3: an ext type that Python refuses",
         {ROW("\x81\xa1k\xd7\xff\xee\x6b\x28\x00\0\0\0\0")}},
        {"msgpack at byte 3: an ext type that Python refuses",
         {ROW("\x81\xa1k\xc7\x0c\xff\x3b\x9a\xca\x00\0\0\0\0\0\0\0\0")}},
        {"a message may not have the key __asgi_channel__", {ROW("\x81" KEY "\xa1x")}},
    };
    struct wire_fixture *f = *state;

    for (size_t i = 0; i < UNIT_ROWS(rows); i++) {
        if (wire_fixture_check(f, rows[i].body) != ERR_INVALID ||
            strcmp(f->why.text, rows[i].said) != 0)
            fail_msg("row %zu: %s", i, f->why.text);
        if (strstr(rows[i].said, "may not") == NULL && open_body(f, rows[i].body) != ERR_INVALID)
            fail_msg("row %zu was opened", i);
    }
}

static void ext_types_that_python_takes_pass(void **state)
{
    static const struct slice rows[] = {
        {ROW("\x81\xa1k\xd4\x00z")},
        {ROW("\x81\xa1k\xd4\x7fz")},
        {ROW("\x81\xa1k\xc7\x00\x05")},
        {ROW("\x81\xa1k\xd6\xff\x00\x00\x00\x01")},
        {ROW("\x81\xa1k\xd7\xff\xee\x6b\x27\xfc\0\0\0\0")},
        {ROW("\x81\xa1k\xc7\x0c\xff\x3b\x9a\xc9\xff\xff\xff\xff\xff\xff\xff\xff\xff")},
        {ROW("\x81\xa1k\xc7\x04\xff\x00\x00\x00\x01")},
    };
    struct wire_fixture *f = *state;
    for (size_t i = 0; i < UNIT_ROWS(rows); i++) {
        if (wire_fixture_check(f, rows[i]) != ERR_OK)
            fail_msg("row %zu: %s", i, f->why.text);
    }
}

static void names_that_are_none_are_refused(void **state)
{
    static const struct {
        const char *said;
        struct slice body;
    } rows[] = {
        {"msgpack at byte 18: __asgi_channel__ is neither str nor array", {ROW("\x81" KEY "\xc0")}},
        {"msgpack at byte 18: __asgi_channel__ is neither str nor array", {ROW("\x81" KEY "\x80")}},
        {"msgpack at byte 18: __asgi_channel__ is neither str nor array",
         {ROW("\x81" KEY "\xc4\1x")}},
        {"msgpack at byte 21: __asgi_channel__ holds something that is no str",
         {ROW("\x81" KEY "\x92\xa1x\x01")}},
        {"msgpack at byte 19: __asgi_channel__ holds something that is no str",
         {ROW("\x81" KEY "\x91\x91\xa1x")}},
    };
    struct wire_fixture *f = *state;
    for (size_t i = 0; i < UNIT_ROWS(rows); i++) {
        if (open_body(f, rows[i].body) != ERR_INVALID || strcmp(f->why.text, rows[i].said) != 0)
            fail_msg("row %zu: %s", i, f->why.text);
    }
}

static void names_that_are_no_text_are_not_sealed(void **state)
{
    struct wire_fixture *f = *state;
    const struct slice names[] = {slice_str("a!b"), slice_str("a!\xff")};
    const struct wire_to to = {.kind = WIRE_NAME_LIST, .names = names, .count = 2};
    assert_int_equal(wire_fixture_seal(f, slice_str("\x80"), &to), ERR_INVALID);
    assert_int_equal(
        wire_fixture_seal(f, slice_str("\xc0"),
                          &(struct wire_to){.kind = WIRE_ONE_NAME, .names = names, .count = 1}),
        ERR_INVALID);
    assert_int_equal(wire_fixture_seal(f, (struct slice){0}, NULL), ERR_INVALID);
    assert_int_equal(f->sealed.len, 0);
}

/* ---- what is not as it should be ---- */

static void no_beginning_of_a_message_is_one(void **state)
{
    struct wire_fixture *f = *state;
    for (size_t i = 0; i < UNIT_ROWS(recorded); i++) {
        struct golden_bytes stored = golden_hex(recorded[i].stored);
        for (size_t len = 0; len < stored.len; len++) {
            assert_int_equal(open_body(f, slice_make(stored.ptr, len)), ERR_INVALID);
            assert_int_equal(wire_fixture_check(f, slice_make(stored.ptr, len)), ERR_INVALID);
        }
        free(stored.ptr);
    }
}

static void changed_bytes_do_no_harm(void **state)
{
    struct wire_fixture *f = *state;
    size_t opened = 0;
    for (size_t i = 0; i < UNIT_ROWS(recorded); i++) {
        struct golden_bytes stored = golden_hex(recorded[i].stored);
        for (size_t at = 0; at < stored.len; at++) {
            const uint8_t was = stored.ptr[at];
            for (unsigned value = 0; value < 256; value++) {
                stored.ptr[at] = (uint8_t)value;
                (void)wire_fixture_check(f, golden_of(stored));
                if (open_body(f, golden_of(stored)) != ERR_OK)
                    continue;
                opened++;
                assert_true(f->body.len <= stored.len);
                assert_int_equal(wire_fixture_check(f, buf_slice(&f->body)), ERR_OK);
            }
            stored.ptr[at] = was;
        }
        free(stored.ptr);
    }
    assert_true(opened > 1000); /* names and texts have many other values */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, make, release)
        TEST(what_python_packs_passes_and_comes_back_as_it_was),
        TEST(foreign_encodings_are_taken_as_python_takes_them),
        TEST(what_is_stored_is_what_channels_redis_stores),
        TEST(the_header_of_the_map_grows_and_shrinks_with_the_key),
        TEST(the_key_is_found_wherever_it_stands_and_the_last_one_counts),
        TEST(many_of_the_key_leave_the_rest_whole),
        TEST(what_would_break_a_receiver_is_refused_with_its_place),
        TEST(ext_types_that_python_takes_pass),
        TEST(names_that_are_none_are_refused),
        TEST(names_that_are_no_text_are_not_sealed),
        TEST(no_beginning_of_a_message_is_one),
        TEST(changed_bytes_do_no_harm),
#undef TEST
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
