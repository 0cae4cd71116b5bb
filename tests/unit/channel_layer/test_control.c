/* SPDX-License-Identifier: BSD-3-Clause
 * Control messages: written, read, and what is none.
 */
#include "channel_layer/control.h"

#include "tests/support/unit.h"

#include <stdlib.h>
#include <string.h>

static const enum layer_serializer both[] = {LAYER_MSGPACK, LAYER_JSON};

static const struct control flush = {.kind = CONTROL_FLUSH};

static struct control discard(void)
{
    return (struct control){
        .kind = CONTROL_DISCARD, .group = slice_str("room"), .channel = slice_str("specific.x!y")};
}

static void what_was_written_is_read(void **state)
{
    (void)state;
    for (size_t i = 0; i < UNIT_ROWS(both); i++) {
        uint8_t bytes[CONTROL_MAX];
        struct control out;
        struct control in = discard();
        assert_true(control_read(&out, both[i], control_write(bytes, both[i], &flush)));
        assert_int_equal(out.kind, CONTROL_FLUSH);
        assert_true(control_read(&out, both[i], control_write(bytes, both[i], &in)));
        assert_int_equal(out.kind, CONTROL_DISCARD);
        assert_true(slice_eq(out.group, in.group));
        assert_true(slice_eq(out.channel, in.channel));
    }
}

static void the_longest_names_fit(void **state)
{
    char group[100];
    char channel[397];
    (void)state;
    memset(group, 'g', sizeof(group));
    memset(channel, 'c', sizeof(channel));
    const struct control in = {.kind = CONTROL_DISCARD,
                               .group = slice_make(group, 99),
                               .channel = slice_make(channel, 396)};
    for (size_t i = 0; i < UNIT_ROWS(both); i++) {
        uint8_t bytes[CONTROL_MAX];
        struct control out;
        const struct slice body = control_write(bytes, both[i], &in);
        assert_true(body.len < CONTROL_MAX);
        assert_true(control_read(&out, both[i], body));
        assert_true(slice_eq(out.channel, in.channel));
    }
}

/* Every beginning of a message, and every message with one more byte, is none; in memory that ends
 * with the bytes. */
static void what_is_cut_or_longer_is_none(void **state)
{
    (void)state;
    for (size_t i = 0; i < 2 * UNIT_ROWS(both); i++) {
        const enum layer_serializer serializer = both[i / 2];
        uint8_t bytes[CONTROL_MAX + 1];
        struct control out;
        struct control in = discard();
        const struct slice body = control_write(bytes, serializer, i % 2 == 0 ? &flush : &in);
        for (size_t len = 0; len < body.len; len++) {
            uint8_t *cut = malloc(len > 0 ? len : 1);
            assert_non_null(cut);
            memcpy(cut, body.ptr, len);
            assert_false(control_read(&out, serializer, slice_make(cut, len)));
            free(cut);
        }
        bytes[body.len] = ' ';
        assert_false(control_read(&out, serializer, slice_make(bytes, body.len + 1)));
    }
}

static void another_type_is_none(void **state)
{
    struct control out;
    (void)state;
    assert_false(control_read(&out, LAYER_JSON, slice_str("{\"type\":\"channelsd.flash\"}")));
    assert_false(control_read(&out, LAYER_MSGPACK,
                              slice_str("\x81\xa4type\xaf"
                                        "channelsd.flash")));
    assert_false(control_read(&out, LAYER_MSGPACK,
                              slice_str("\x81\xa4kind\xaf"
                                        "channelsd.flush")));
    assert_false(control_read(&out, LAYER_MSGPACK, (struct slice){0}));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_was_written_is_read),
        cmocka_unit_test(the_longest_names_fit),
        cmocka_unit_test(what_is_cut_or_longer_is_none),
        cmocka_unit_test(another_type_is_none),
    };
    return cmocka_run_group_tests_name("control", tests, NULL, NULL);
}
