/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Bytes by hand, from docs/layer-protocol.md and msgpack's page.
 */
#include "channel_layer/node/layer_proto.h"

#include "core/mem.h"

#include "tests/support/unit.h"

#include <stdio.h>
#include <stdlib.h>

#define BYTES(literal) slice_make((literal), sizeof(literal) - 1)

static enum pack_scan scan(struct layer_record *r, size_t *used, struct slice in)
{
    const char *what = "";
    return layer_record_scan(r, used, &what, in.ptr, in.len);
}

/* The record is read as a whole, from any split as MORE, and when more follows. */
static void read_record(struct layer_record *r, struct slice in)
{
    size_t used = 0;
    uint8_t *more = malloc(in.len + 1);
    assert_non_null(more);
    memcpy(more, in.ptr, in.len);
    more[in.len] = 0x91;
    for (size_t len = 0; len < in.len; len++) {
        uint8_t *part = malloc(len + 1); /* of its size, so that overreads are seen */
        assert_non_null(part);
        memcpy(part, in.ptr, len);
        if (scan(r, &used, slice_make(part, len)) != PACK_MORE)
            fail_msg("not MORE at %zu of %zu", len, in.len);
        free(part);
    }
    assert_int_equal(scan(r, &used, slice_make(more, in.len + 1)), PACK_DONE);
    assert_int_equal(used, in.len);
    free(more);
    assert_int_equal(scan(r, &used, in), PACK_DONE);
}

static void records_of_a_peer_are_read(void **state)
{
    (void)state;
    struct layer_record r;

    read_record(&r, BYTES("\x94\x00\x01\xcd\x12\x34\xa6worker"));
    assert_int_equal(r.op, LAYER_HELLO);
    assert_int_equal(r.number, 1);
    assert_int_equal(r.pid, 0x1234);
    assert_true(slice_eq_str(r.name, "worker"));

    read_record(&r, BYTES("\x95\x01\x02\x07\xa2{}\x92\xa1"
                          "a\xd9\x02"
                          "bc"));
    assert_int_equal(r.op, LAYER_OPEN);
    assert_int_equal(r.layer, 2);
    assert_int_equal(r.req, 7);
    assert_true(slice_eq_str(r.name, "{}"));
    assert_int_equal(r.base_count, 2);
    assert_true(slice_eq_str(r.bases[1], "bc"));

    read_record(&r, BYTES("\x95\x02\x00\xcf\xff\xff\xff\xff\xff\xff\xff\xff\xa1"
                          "c\xc4\x02\x80\x80"));
    assert_int_equal(r.op, LAYER_SEND);
    assert_true(r.req == UINT64_MAX && r.has_req);
    assert_int_equal(r.body.len, 2);

    read_record(&r, BYTES("\x95\x07\x00\xc0\xa1"
                          "g\xa1"
                          "c"));
    assert_int_equal(r.op, LAYER_GROUP_DISCARD);
    assert_false(r.has_req);
    assert_true(slice_eq_str(r.channel, "c"));

    read_record(&r, BYTES("\x94\x0d\x00\xcc\xc8\xc3"));
    assert_int_equal(r.op, LAYER_ACCEPTED);
    assert_int_equal(r.number, 200);
    assert_true(r.flag);

    read_record(&r, BYTES("\x94\x0e\x3f\x05\xc0"));
    assert_int_equal(r.op, LAYER_DROPPED);
    assert_int_equal(r.layer, 63);
    assert_false(r.has_name);

    read_record(&r, BYTES("\x92\x10\x05"));
    assert_int_equal(r.op, LAYER_PING);
    assert_int_equal(r.req, 5);
}

static void every_operation_has_its_items(void **state)
{
    (void)state;
    const struct {
        enum layer_op op;
        struct slice record;
    } rows[] = {
        {LAYER_GROUP_SEND, BYTES("\x95\x03\x00\x01\xa1g\xc4\x01\x80")},
        {LAYER_JOIN, BYTES("\x94\x04\x00\x01\xa1g")},
        {LAYER_LEAVE, BYTES("\x94\x05\x00\x01\xa1g")},
        {LAYER_GROUP_ADD, BYTES("\x95\x06\x00\x01\xa1g\xa1h")},
        {LAYER_RECEIVE, BYTES("\x94\x08\x00\x01\xa1g")},
        {LAYER_CANCEL, BYTES("\x93\x09\x00\x01")},
        {LAYER_TAKEN, BYTES("\x93\x0a\x00\x01")},
        {LAYER_RETURN, BYTES("\x93\x0b\x00\x01")},
        {LAYER_MAILBOX, BYTES("\x94\x0c\x00\x01\xa1g")},
        {LAYER_FLUSH, BYTES("\x93\x0f\x00\x01")},
        {LAYER_GROUPS, BYTES("\x93\x11\x00\x01")},
        {LAYER_STATS, BYTES("\x93\x12\x00\x01")},
        {LAYER_LISTEN, BYTES("\x92\x13\xa2/p")},
    };
    for (size_t i = 0; i < UNIT_ROWS(rows); i++) {
        struct layer_record r;
        read_record(&r, rows[i].record);
        assert_int_equal(r.op, rows[i].op);
    }
}

static void what_the_protocol_does_not_allow_is_broken(void **state)
{
    (void)state;
    const struct {
        const char *why;
        struct slice in;
        const char *what;
    } rows[] = {
        {"no array", BYTES("\x80"), "array"},
        {"array in a long form", BYTES("\xdc\x00\x02\x10\x05"), "array"},
        {"empty array", BYTES("\x90\x10"), "number of items"},
        {"unknown operation", BYTES("\x92\x14\x00"), "operation"},
        {"negative operation", BYTES("\x92\xff\x00"), "operation"},
        {"an item too few", BYTES("\x92\x09\x00"), "number of items"},
        {"an item too many", BYTES("\x93\x10\x05\x00"), "number of items"},
        {"layer 64", BYTES("\x93\x09\x40\x00"), "layer"},
        {"req is signed", BYTES("\x93\x09\x00\xff"), "req"},
        {"req is nil", BYTES("\x93\x09\x00\xc0"), "req"},
        {"req is float", BYTES("\x93\x09\x00\xca"), "req"},
        {"name is bin", BYTES("\x94\x04\x00\x01\xc4\x01g"), "text"},
        {"name is no UTF-8", BYTES("\x94\x04\x00\x01\xa1\xff"), "text"},
        {"channel is a surrogate", BYTES("\x95\x06\x00\x01\xa1g\xa3\xed\xa0\x80"), "channel"},
        {"name too long", BYTES("\x94\x04\x00\x01\xda\xc0\x01"), "text"},
        {"body is str", BYTES("\x95\x02\x00\x01\xa1g\xa1x"), "body"},
        {"body too long", BYTES("\x95\x02\x00\x01\xa1g\xc6\x01\x00\x00\x01"), "body"},
        {"body is ext", BYTES("\x95\x02\x00\x01\xa1g\xc7\x01\x00\x00"), "body"},
        {"path is bin", BYTES("\x92\x13\xc4\x02/p"), "text"},
        {"flag is a number", BYTES("\x94\x0d\x00\x01\x01"), "flag"},
        {"65 bases", BYTES("\x95\x01\x00\x01\xa0\xdc\x00\x41"), "bases"},
        {"bases of 2^32", BYTES("\x95\x01\x00\x01\xa0\xdd\xff\xff\xff\xff"), "bases"},
        {"a base is a number", BYTES("\x95\x01\x00\x01\xa0\x91\x01"), "bases"},
        {"bases is a map", BYTES("\x95\x01\x00\x01\xa0\x81\xa0\xa0"), "bases"},
    };
    for (size_t i = 0; i < UNIT_ROWS(rows); i++) {
        struct layer_record r;
        size_t used = 0;
        const char *what = "";
        if (layer_record_scan(&r, &used, &what, rows[i].in.ptr, rows[i].in.len) != PACK_BROKEN)
            fail_msg("accepted: %s", rows[i].why);
        if (strcmp(what, rows[i].what) != 0)
            fail_msg("%s: said to be in \"%s\"", rows[i].why, what);
    }
}

static void sizes_end_at_their_ceilings(void **state)
{
    (void)state;
    const size_t most = LAYER_BODY_MAX;
    static const uint8_t head[] = "\x95\x02\x00\x01\xa1g\xc6\x01\x00\x00\x00";
    const size_t head_len = sizeof(head) - 1;
    uint8_t *record = calloc(1, head_len + most);
    struct layer_record r;
    size_t used = 0;
    assert_non_null(record);
    memcpy(record, head, head_len);
    assert_int_equal(scan(&r, &used, slice_make(record, head_len + most - 1)), PACK_MORE);
    assert_int_equal(scan(&r, &used, slice_make(record, head_len + most)), PACK_DONE);
    assert_int_equal(r.body.len, most);
    free(record);
}

static void expect(const uint8_t *got, const uint8_t *end, struct slice want)
{
    assert_int_equal(end - got, want.len);
    assert_memory_equal(got, want.ptr, want.len);
}

static void records_of_the_node_are_written(void **state)
{
    (void)state;
    uint8_t out[256];
    expect(out, layer_write_hello(out, 300), BYTES("\x93\x00\x01\xcd\x01\x2c"));
    expect(out, pack_nil(layer_write_reply_head(out, 9, ERR_OK)), BYTES("\x94\x02\x09\x00\xc0"));
    expect(out, layer_write_message_head(out, 1, 9, 3), BYTES("\x94\x04\x01\x09\xc4\x03"));
    expect(out, layer_write_member(out, LAYER_TOLD_ADD, 0, slice_str("g"), slice_str("c")),
           BYTES("\x94\x05\x00\xa1g\xa1"
                 "c"));
    expect(out, layer_write_flushed(out, 2), BYTES("\x92\x07\x02"));

    const struct slice names[] = {slice_str("a"), slice_str("bc")};
    struct layer_delivery d = {
        .groups = names, .group_count = 2, .channels = names, .body = BYTES("\x80")};
    expect(out, layer_write_deliver_head(out, 0, &d),
           BYTES("\x96\x03\x00\xc0\x92\xa1"
                 "a\xa2"
                 "bc\x90\xc4\x01"));
    d = (struct layer_delivery){
        .ticket = 7, .channels = names, .channel_count = 1, .body = BYTES("\x80")};
    uint8_t *end = layer_write_deliver_head(out, 0, &d);
    expect(out, end,
           BYTES("\x96\x03\x00\x07\x90\x91\xa1"
                 "a\xc4\x01"));
    assert_true((size_t)(end - out) <= layer_deliver_bound(&d));
}

static void errors_have_codes(void **state)
{
    (void)state;
    static const struct {
        enum err err;
        unsigned code;
    } rows[] = {
        {ERR_OK, 0},          {ERR_FULL, 1},    {ERR_INVALID, 2}, {ERR_TOO_BIG, 2},
        {ERR_UNAVAILABLE, 3}, {ERR_TIMEOUT, 4}, {ERR_CLOSED, 5},  {ERR_UNSUPPORTED, 6},
        {ERR_NOMEM, 7},       {ERR_IO, 7},
    };
    for (size_t i = 0; i < UNIT_ROWS(rows); i++)
        assert_int_equal(layer_reply_code(rows[i].err), rows[i].code);
}

static void the_settings_of_a_layer_are_told(void **state)
{
    (void)state;
    struct layer_config *config = NULL;
    struct err_text why;
    struct buf out;
    buf_init(&out, 1024);
    assert_int_equal(layer_config_parse(&config,
                                        slice_str("{\"prefix\": \"p\", \"expiry\": 5, "
                                                  "\"group_expiry\": 6, \"capacity\": 7, "
                                                  "\"channel_capacity\": {\"a*\": 8}}"),
                                        &why),
                     ERR_OK);
    assert_int_equal(layer_append_opened(&out, 1, 2, "base", config), ERR_OK);
    const struct slice want = BYTES("\x95\x01\x01\x02\xa4"
                                    "base\x98\xa6memory\xa7msgpack\xa1p\x05\x06\x07\x91\x92\xa2"
                                    "a*\x08\xcd\x07\xd0");
    expect(out.ptr, out.ptr + out.len, want);

    buf_deinit(&out);
    for (size_t most = 0; most < want.len; most++) {
        buf_init(&out, most);
        assert_int_equal(layer_append_opened(&out, 1, 2, "base", config), ERR_TOO_BIG);
        buf_deinit(&out);
    }
    layer_config_free(config);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(records_of_a_peer_are_read),
        cmocka_unit_test(every_operation_has_its_items),
        cmocka_unit_test(what_the_protocol_does_not_allow_is_broken),
        cmocka_unit_test(sizes_end_at_their_ceilings),
        cmocka_unit_test(records_of_the_node_are_written),
        cmocka_unit_test(errors_have_codes),
        cmocka_unit_test(the_settings_of_a_layer_are_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
