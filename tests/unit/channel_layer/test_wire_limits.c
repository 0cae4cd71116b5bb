/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Depth, size, memory and prefixes of messages.
 */
#include "channel_layer/wire/wire.h"

#include "core/mem.h"
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

/* {"v": @depth containers}, the innermost empty, of arrays or of maps; the caller frees it. */
static struct golden_bytes nest(size_t depth, bool of_maps)
{
    const size_t step = of_maps ? 3 : 1;
    struct golden_bytes body = {.ptr = malloc(4 + depth * step)};
    assert_non_null(body.ptr);
    memcpy(body.ptr, "\x81\xa1v", 3);
    body.len = 3;
    for (size_t i = 1; i < depth; i++) {
        memcpy(body.ptr + body.len, of_maps ? "\x81\xa1v" : "\x91", step);
        body.len += step;
    }
    body.ptr[body.len++] = of_maps ? 0x80 : 0x90;
    return body;
}

static void nesting_ends_where_it_must(void **state)
{
    static const struct {
        size_t depth;
        bool is_sent;
        bool is_read;
    } rows[] = {
        {511, true, true},   {512, false, true},   {600, false, true},
        {1023, false, true}, {1024, false, false}, {1000000, false, false},
    };
    struct wire_fixture *f = *state;
    for (size_t i = 0; i < 2 * UNIT_ROWS(rows); i++) {
        const size_t row = i / 2;
        struct golden_bytes body = nest(rows[row].depth, i % 2 == 1);
        if ((wire_fixture_check(f, golden_of(body)) == ERR_OK) != rows[row].is_sent ||
            (open_body(f, golden_of(body)) == ERR_OK) != rows[row].is_read)
            fail_msg("%zu deep: %s", rows[row].depth, f->why.text);
        if (!rows[row].is_read)
            assert_non_null(strstr(f->why.text, "nested too deeply"));
        free(body.ptr);
    }
}

static void sizes_end_at_their_ceilings(void **state)
{
    struct wire_fixture *f = *state;
    struct buf body;
    const struct slice name = slice_str("a!b");
    const struct wire_to to = {.kind = WIRE_ONE_NAME, .names = &name, .count = 1};

    buf_init(&body, WIRE_MEMBER_MAX + 1);
    assert_int_equal(buf_reserve(&body, WIRE_MEMBER_MAX + 1), ERR_OK);
    memset(body.ptr, 'x', WIRE_MEMBER_MAX + 1);
    memcpy(body.ptr, "\x81\xa1k", 3);
    for (size_t more = 0; more < 2; more++) {
        const size_t len = WIRE_BODY_MAX + more;
        (void)pack_bin_header(body.ptr + 3, (uint32_t)(len - 8));
        const enum err want = more == 0 ? ERR_OK : ERR_TOO_BIG;
        assert_int_equal(wire_check(&f->wire, slice_make(body.ptr, len), &f->why), want);
    }
    f->config.random_prefix_length = 0;
    assert_int_equal(wire_fixture_open(f, slice_make(body.ptr, WIRE_BODY_MAX + 1)), ERR_TOO_BIG);
    assert_int_equal(wire_fixture_open(f, slice_make(body.ptr, WIRE_MEMBER_MAX + 1)), ERR_TOO_BIG);
    (void)pack_bin_header(body.ptr + 3, WIRE_BODY_MAX - 8);
    assert_int_equal(wire_fixture_seal(f, slice_make(body.ptr, WIRE_BODY_MAX), &to), ERR_OK);
    const struct slice most = slice_make(body.ptr, WIRE_MEMBER_MAX - 21);
    assert_int_equal(wire_fixture_seal(f, most, &to), ERR_OK); /* 17 for the key, 4 for the name */
    assert_int_equal(f->sealed.len, WIRE_MEMBER_MAX);
    const struct slice one_more = slice_make(body.ptr, WIRE_MEMBER_MAX - 20);
    assert_int_equal(wire_fixture_seal(f, one_more, &to), ERR_TOO_BIG);
    assert_int_equal(f->sealed.len, 0);
    buf_deinit(&body);
}

/* ---- the random prefix ---- */

static void a_prefix_has_the_length_of_the_settings(void **state)
{
    static const char *const recordings[] = {"0", "1", "12", "20"};
    struct wire_fixture *f = *state;
    json_t *file = golden_load(GOLDEN "fernet_vectors.json");
    const json_t *members = json_object_get(file, "core_random_prefix_length");

    for (size_t i = 0; i < UNIT_ROWS(recordings); i++) {
        struct golden_bytes member = golden_hex(golden_text(members, recordings[i]));
        f->config.random_prefix_length = (unsigned)strtoul(recordings[i], NULL, 10);
        assert_int_equal(wire_fixture_open(f, golden_of(member)), ERR_OK);
        assert_true(slice_eq_str(buf_slice(&f->body), "\x81\xa4type\xa1t"));
        free(member.ptr);
    }
    json_decref(file);
    for (unsigned len = 0; len <= 255; len++) {
        f->config.random_prefix_length = len;
        assert_int_equal(wire_fixture_seal(f, slice_str("\x80"), NULL), ERR_OK);
        assert_int_equal(f->sealed.len, len + 1);
        assert_true(wire_fixture_holds(f, slice_str("\x80"), &nobody));
    }
    f->config.backend = LAYER_PUBSUB;
    assert_int_equal(wire_fixture_seal(f, slice_str("\x80"), NULL), ERR_OK);
    assert_int_equal(f->sealed.len, 1);
}

static void equal_messages_differ_and_stay_in_order(void **state)
{
    static const unsigned lengths[] = {1, 2, 7, 8, 12, 255};
    struct wire_fixture *f = *state;
    uint8_t before[255] = {0};

    for (size_t row = 0; row < UNIT_ROWS(lengths); row++) {
        const size_t len = lengths[row];
        f->config.random_prefix_length = (unsigned)len;
        for (unsigned i = 0; i < 200; i++) {
            assert_int_equal(wire_fixture_seal(f, slice_str("\x80"), NULL), ERR_OK);
            const int order = i == 0 ? 1 : memcmp(f->sealed.ptr, before, len);
            assert_int_not_equal(order, 0);
            assert_true(len < 8 || order > 0);
            memcpy(before, f->sealed.ptr, len);
        }
    }
}

static void a_later_start_counts_on_from_above(void **state)
{
    struct wire_fixture *f = *state;
    struct wire_fixture *later = wire_fixture_new(LAYER_MSGPACK);
    const struct slice body = slice_str("\x80");

    for (unsigned i = 0; i < 1000; i++)
        assert_int_equal(wire_fixture_seal(f, body, NULL), ERR_OK);
    assert_int_equal(wire_seal(&later->wire, &later->sealed, body, NULL, WIRE_NOW_S + 1), ERR_OK);
    assert_true(memcmp(later->sealed.ptr, f->sealed.ptr, 8) > 0);
    wire_fixture_free(later);
}

static void a_member_shorter_than_its_prefix_is_refused(void **state)
{
    struct wire_fixture *f = *state;
    assert_int_equal(wire_fixture_open(f, slice_str("12345678901")), ERR_INVALID);
    assert_string_equal(f->why.text, "11 bytes: shorter than its random prefix of 12");
    assert_int_equal(wire_fixture_open(f, slice_str("123456789012")), ERR_INVALID);
    assert_int_equal(wire_fixture_open(f, (struct slice){0}), ERR_INVALID);
}

static void memory_that_runs_out_is_an_error_and_nothing_more(void **state)
{
    (void)state;
    for (int encrypted = 0; encrypted < 2; encrypted++) {
        struct layer_key key = {.sign = {1}, .encrypt = {2}};
        enum err err = ERR_NOMEM;
        long after = 0;
        for (; err == ERR_NOMEM && after < 100; after++) {
            struct wire_fixture *f = wire_fixture_new(LAYER_MSGPACK);
            f->config.keys = &key;
            f->config.key_count = (size_t)encrypted;
            mem_fail_after(after);
            err = wire_fixture_seal(f, slice_str("\x81\xa1k\x01"), NULL);
            assert_true(err == ERR_OK || f->sealed.len == 0);
            if (err == ERR_OK)
                err = wire_fixture_open(f, buf_slice(&f->sealed));
            mem_fail_after(-1);
            wire_fixture_free(f);
        }
        assert_int_equal(err, ERR_OK);
        assert_true(after >= 3); /* each of them was met */
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, make, release)
        TEST(nesting_ends_where_it_must),
        TEST(sizes_end_at_their_ceilings),
        TEST(a_prefix_has_the_length_of_the_settings),
        TEST(equal_messages_differ_and_stay_in_order),
        TEST(a_later_start_counts_on_from_above),
        TEST(a_member_shorter_than_its_prefix_is_refused),
        TEST(memory_that_runs_out_is_an_error_and_nothing_more),
#undef TEST
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
