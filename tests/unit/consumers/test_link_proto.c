/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Bytes by hand: docs/link-protocol.md for the records,
 * github.com/msgpack/msgpack/blob/master/spec.md for their form.
 */
#include "consumers/hosted/link_proto.h"

#include "tests/support/unit.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TEXT(literal)                                   \
    {                                                   \
        (const uint8_t *)(literal), sizeof(literal) - 1 \
    }

static void assert_bytes(const char *why, const uint8_t *got, size_t len, struct slice want)
{
    if (slice_eq(slice_make(got, len), want))
        return;
    fprintf(stderr, "%s:", why);
    for (size_t i = 0; i < len; i++)
        fprintf(stderr, " %02x", got[i]);
    fprintf(stderr, "\n");
    fail_msg("%s: %zu bytes, want %zu", why, len, want.len);
}

/* ---- edge to worker ---- */

static const uint64_t most_id = (UINT64_C(1) << 53) - 1;

static void small_records_are_these_bytes(void **state)
{
    (void)state;
    uint8_t out[LINK_SMALL_MAX];
#define WROTE(end, literal) \
    assert_bytes(#end, out, (size_t)((end)-out), (struct slice)TEXT(literal))
    WROTE(link_write_hello(out, 0), "\x93\x00\x01\x00");
    WROTE(link_write_hello(out, 200), "\x93\x00\x01\xcc\xc8");
    WROTE(link_write_disconnect_head(out, 5, false, 0, 0), "\x94\x06\x05\xc0\xa0");
    WROTE(link_write_disconnect_head(out, 5, true, 1000, 3), "\x94\x06\x05\xcd\x03\xe8\xa3");
    WROTE(link_write_disconnect_head(out, most_id, true, 4999, 123),
          "\x94\x06\xcf\x00\x1f\xff\xff\xff\xff\xff\xff\xcd\x13\x87\xd9\x7b");
    WROTE(link_write_credit(out, 1, 65536), "\x93\x07\x01\xce\x00\x01\x00\x00");
    WROTE(link_write_credit(out, most_id, UINT64_MAX),
          "\x93\x07\xcf\x00\x1f\xff\xff\xff\xff\xff\xff\xcf\xff\xff\xff\xff\xff\xff\xff\xff");
    WROTE(link_write_beat(out, 1), "\x92\x08\x01");
    WROTE(link_write_beat(out, 256), "\x92\x08\xcd\x01\x00");
    WROTE(link_write_shutdown(out, 7), "\x92\x09\x07");
    WROTE(link_write_body_head(out, 1, 0), "\x94\x02\x01\xc4\x00");
    WROTE(link_write_body_head(out, 1, 255), "\x94\x02\x01\xc4\xff");
    WROTE(link_write_body_head(out, 1, 256), "\x94\x02\x01\xc5\x01\x00");
    WROTE(link_write_body_head(out, most_id, LINK_PAYLOAD_MAX),
          "\x94\x02\xcf\x00\x1f\xff\xff\xff\xff\xff\xff\xc6\x00\x01\x00\x00");
    WROTE(link_write_body_tail(out, true), "\xc3");
    WROTE(link_write_body_tail(out, false), "\xc2");
    WROTE(link_write_receive_head(out, 127, true, 0), "\x93\x04\x7f\xa0");
    WROTE(link_write_receive_head(out, 128, true, 31), "\x93\x04\xcc\x80\xbf");
    WROTE(link_write_receive_head(out, 1, true, 32), "\x93\x04\x01\xd9\x20");
    WROTE(link_write_receive_head(out, 1, true, 256), "\x93\x04\x01\xda\x01\x00");
    WROTE(link_write_receive_head(out, 1, true, 65536), "\x93\x04\x01\xdb\x00\x01\x00\x00");
    WROTE(link_write_receive_head(out, 1, false, 0), "\x93\x04\x01\xc4\x00");
    WROTE(link_write_receive_head(out, 1, false, 65535), "\x93\x04\x01\xc5\xff\xff");
    WROTE(link_write_part_head(out, 1, 2), "\x95\x05\x01\xc4\x02");
    WROTE(link_write_part_tail(out, true, false), "\xc3\xc2");
    WROTE(link_write_part_tail(out, false, true), "\xc2\xc3");
#undef WROTE
}

/* Writes @scope into a block of exactly the bound, which the sanitizer watches. */
static void assert_open(const char *why, uint64_t id, const struct scope *scope,
                        const struct slice *subprotocols, size_t count, size_t body_len,
                        struct slice want)
{
    const size_t bound = link_open_bound(scope, subprotocols, count);
    uint8_t *out = malloc(bound);
    assert_non_null(out);
    const uint8_t *end = link_write_open(out, id, scope, subprotocols, count, body_len);
    assert_true((size_t)(end - out) <= bound);
    assert_bytes(why, out, (size_t)(end - out), want);
    free(out);
}

static void an_http_scope_is_these_bytes(void **state)
{
    (void)state;
    static const struct header headers[] = {{TEXT("host"), TEXT("h")}, {TEXT("x"), TEXT("\xff")}};
    struct scope scope = {
        .type = SCOPE_HTTP,
        .http_version = TEXT("1.1"),
        .method = TEXT("POST"),
        .scheme = TEXT("http"),
        .path = TEXT("/\xc3\xa9"),
        .raw_path = TEXT("/%C3%A9"),
        .query = TEXT("a=b"),
        .headers = headers,
        .header_count = 2,
        .client = {.host = TEXT("127.0.0.1"), .port = 40000, .has_port = true},
        .server = {.host = TEXT("::1"), .port = 80, .has_port = true},
    };
    assert_open("all fields", 7, &scope, NULL, 0, 300,
                (struct slice)TEXT("\x9e\x01\x07\xa3"
                                   "1.1\xa4"
                                   "POST\xa4http\xa3/\xc3\xa9\xc4\x07/%C3%A9\xc4\x03"
                                   "a=b\xa0"
                                   "\x92\x92\xc4\x04host\xc4\x01h\x92\xc4\x01x\xc4\x01\xff"
                                   "\x92\xa9"
                                   "127.0.0.1\xcd\x9c\x40"
                                   "\x92\xa3::1\x50"
                                   "\xc5\x01\x2c"));
    scope.path = (struct slice)TEXT("/\xff"); /* not UTF-8: a bin */
    scope.raw_path = (struct slice)TEXT("/%FF");
    scope.query = slice_make(NULL, 0);
    scope.root_path = (struct slice)TEXT("/r");
    scope.http_version = (struct slice)TEXT("1.0");
    scope.header_count = 0;
    scope.client = (struct scope_addr){0};
    scope.server = (struct scope_addr){.host = TEXT("/run/s"), .has_port = false};
    assert_open("the other forms", 7, &scope, NULL, 0, 0,
                (struct slice)TEXT("\x9e\x01\x07\xa3"
                                   "1.0\xa4POST\xa4http\xc4\x02/\xff\xc4\x04/%FF\xc4\x00\xa2/r"
                                   "\x90\xc0\x92\xa6/run/s\xc0\xc4\x00"));
}

static void a_websocket_scope_is_these_bytes(void **state)
{
    (void)state;
    static const struct header headers[] = {{TEXT("a"), TEXT("")}};
    static const struct slice subprotocols[] = {TEXT("chat"), TEXT("v2")};
    const struct scope scope = {
        .type = SCOPE_WEBSOCKET,
        .http_version = TEXT("1.1"),
        .method = TEXT("GET"), /* not in the record */
        .scheme = TEXT("wss"),
        .path = TEXT("/"),
        .raw_path = TEXT("/"),
        .headers = headers,
        .header_count = 1,
    };
    assert_open("with subprotocols", 300, &scope, subprotocols, 2, 0,
                (struct slice)TEXT("\x9c\x03\xcd\x01\x2c\xa3"
                                   "1.1\xa3wss\xa1/\xc4\x01/\xc4\x00\xa0\x91\x92\xc4\x01"
                                   "a\xc4\x00\xc0\xc0\x92\xa4"
                                   "chat\xa2v2"));
    assert_open("without", 300, &scope, NULL, 0, 0,
                (struct slice)TEXT("\x9c\x03\xcd\x01\x2c\xa3"
                                   "1.1\xa3wss\xa1/\xc4\x01/\xc4\x00\xa0\x91\x92\xc4\x01"
                                   "a\xc4\x00\xc0\xc0\x90"));
}

/* The longest forms of everything around the content. */
static void the_bound_holds_for_scopes_of_any_size(void **state)
{
    (void)state;
    enum { MANY = 400, LONG = 70000 };
    static uint8_t bytes[LONG];
    static struct header headers[MANY];
    static struct slice subprotocols[MANY];
    memset(bytes, 'x', sizeof(bytes));
    for (size_t len = 0; len <= LONG; len = len * 3 + 31) {
        const struct slice field = slice_make(bytes, len);
        for (size_t i = 0; i < MANY; i++) {
            headers[i] =
                (struct header){slice_make(bytes, len / MANY), slice_make(bytes, len / 100)};
            subprotocols[i] = slice_make(bytes, len / 100);
        }
        for (unsigned type = SCOPE_HTTP; type <= SCOPE_WEBSOCKET; type++) {
            const struct scope scope = {
                .type = (enum scope_type)type,
                .http_version = TEXT("1.1"),
                .method = field,
                .scheme = field,
                .path = field,
                .raw_path = field,
                .query = field,
                .root_path = field,
                .headers = headers,
                .header_count = MANY,
                .client = {field, 65535, true},
                .server = {field, 65535, true},
            };
            const size_t bound = link_open_bound(&scope, subprotocols, MANY);
            uint8_t *out = malloc(bound);
            size_t used = 0;
            assert_non_null(out);
            uint8_t *end = link_write_open(out, most_id, &scope, subprotocols, MANY, 0);
            if (type == SCOPE_HTTP)
                *end++ = 0xc2; /* more */
            assert_true((size_t)(end - out) <= bound);
            assert_int_equal(pack_scan(&used, out, (size_t)(end - out), bound), PACK_DONE);
            assert_int_equal(used, end - out);
            free(out);
        }
    }
}

/* ---- worker to edge ---- */

static struct header found[LINK_HEADERS_MAX];

/* From a block of exactly the record's size. */
static enum err read_answer(struct link_answer *out, struct slice record, uint8_t **block)
{
    *block = malloc(record.len > 0 ? record.len : 1);
    assert_non_null(*block);
    if (record.len > 0)
        memcpy(*block, record.ptr, record.len);
    return link_read_answer(out, found, *block, record.len);
}

struct good_row {
    const char *why;
    struct slice in;
    struct link_answer want;
};

static const struct good_row good_rows[] = {
    {"READY", TEXT("\x93\x00\x01\xcd\x30\x39"), {.op = LINK_READY, .id = 12345, .number = 1}},
    {"START",
     TEXT("\x96\x01\x05\xcc\xc8\x91\x92\xc4\x01"
          "a\xc4\x02"
          "bc\xc4\x02hi\xc3"),
     {.op = LINK_START,
      .id = 5,
      .number = 200,
      .data = TEXT("hi"),
      .flag = true,
      .header_count = 1}},
    {"START without anything",
     TEXT("\x96\x01\x05\xcc\xcc\x90\xc4\x00\xc2"),
     {.op = LINK_START, .id = 5, .number = 204}},
    {"BODY",
     TEXT("\x94\x02\x05\xc4\x03"
          "abc\xc3"),
     {.op = LINK_ANSWER_BODY, .id = 5, .data = TEXT("abc"), .flag = true}},
    {"the last BODY", TEXT("\x94\x02\x05\xc4\x00\xc2"), {.op = LINK_ANSWER_BODY, .id = 5}},
    {"ACCEPT", TEXT("\x94\x03\x05\xc0\x90"), {.op = LINK_ACCEPT, .id = 5}},
    {"ACCEPT with all",
     TEXT("\x94\x03\x05\xa4"
          "chat\x91\x92\xc4\x01"
          "a\xc4\x02"
          "bc"),
     {.op = LINK_ACCEPT, .id = 5, .data = TEXT("chat"), .header_count = 1}},
    {"SEND of text",
     TEXT("\x93\x04\x05\xa2hi"),
     {.op = LINK_SEND, .id = 5, .data = TEXT("hi"), .is_text = true}},
    {"SEND of long text",
     TEXT("\x93\x04\x05\xd9\x02hi"),
     {.op = LINK_SEND, .id = 5, .data = TEXT("hi"), .is_text = true}},
    {"SEND of empty text", TEXT("\x93\x04\x05\xa0"), {.op = LINK_SEND, .id = 5, .is_text = true}},
    {"SEND of bytes",
     TEXT("\x93\x04\x05\xc4\x02hi"),
     {.op = LINK_SEND, .id = 5, .data = TEXT("hi")}},
    {"PART",
     TEXT("\x95\x05\x05\xc4\x02hi\xc3\xc2"),
     {.op = LINK_ANSWER_PART, .id = 5, .data = TEXT("hi"), .is_text = true}},
    {"the last PART",
     TEXT("\x95\x05\x05\xc4\x00\xc2\xc3"),
     {.op = LINK_ANSWER_PART, .id = 5, .flag = true}},
    {"CLOSE",
     TEXT("\x94\x06\x05\xcd\x03\xe8\xa3"
          "bye"),
     {.op = LINK_CLOSE, .id = 5, .number = 1000, .data = TEXT("bye")}},
    {"CREDIT",
     TEXT("\x94\x07\x05\xcd\x80\x00\x40"),
     {.op = LINK_CONSUMED, .id = 5, .number = 32768, .count = 64}},
    {"BEAT", TEXT("\x92\x08\x07"), {.op = LINK_BEAT_ANSWER, .id = 7}},
    {"END", TEXT("\x93\x09\x05\xc3"), {.op = LINK_END, .id = 5, .flag = true}},
    {"END without failure", TEXT("\x93\x09\x05\xc2"), {.op = LINK_END, .id = 5}},
    {"SEND_MANY of text",
     TEXT("\x93\x0a\x93\x05\x06\xcd\x01\x00\xa2hi"),
     {.op = LINK_SEND_MANY, .id_count = 3, .data = TEXT("hi"), .is_text = true}},
    {"SEND_MANY of bytes",
     TEXT("\x93\x0a\xdc\x00\x01\x05\xc4\x02hi"),
     {.op = LINK_SEND_MANY, .id_count = 1, .data = TEXT("hi")}},
    {"SEND_MANY to nobody", TEXT("\x93\x0a\x90\xa0"), {.op = LINK_SEND_MANY, .is_text = true}},
    {"the largest id",
     TEXT("\x93\x09\xcf\x00\x1f\xff\xff\xff\xff\xff\xff\xc2"),
     {.op = LINK_END, .id = UINT64_C(0x1fffffffffffff)}},
    {"longer forms than need be",
     TEXT("\xdd\x00\x00\x00\x03\xcc\x09\xcf\x00\x00\x00\x00\x00\x00\x00\x05\xc2"),
     {.op = LINK_END, .id = 5}},
};

static void every_answer_is_read(void **state)
{
    (void)state;
    for (size_t i = 0; i < UNIT_ROWS(good_rows); i++) {
        struct link_answer got;
        const struct link_answer *want = &good_rows[i].want;
        uint8_t *block = NULL;
        size_t used = 0;
        assert_int_equal(
            pack_scan(&used, good_rows[i].in.ptr, good_rows[i].in.len, LINK_RECORD_MAX), PACK_DONE);
        assert_int_equal(used, good_rows[i].in.len);
        if (read_answer(&got, good_rows[i].in, &block) != ERR_OK)
            fail_msg("%s was refused", good_rows[i].why);
        if (got.op != want->op || got.id != want->id || got.number != want->number ||
            got.count != want->count || !slice_eq(got.data, want->data) ||
            got.is_text != want->is_text || got.flag != want->flag ||
            got.header_count != want->header_count || got.id_count != want->id_count)
            fail_msg("%s was read as something else", good_rows[i].why);
        if (got.header_count == 1)
            assert_true(slice_eq_str(found[0].name, "a") && slice_eq_str(found[0].value, "bc"));
        free(block);
    }
}

static void no_beginning_of_an_answer_is_an_answer(void **state)
{
    (void)state;
    for (size_t i = 0; i < UNIT_ROWS(good_rows); i++)
        for (size_t len = 0; len < good_rows[i].in.len; len++) {
            struct link_answer got;
            uint8_t *block = NULL;
            size_t used = 0;
            assert_int_equal(pack_scan(&used, good_rows[i].in.ptr, len, LINK_RECORD_MAX),
                             PACK_MORE);
            assert_int_equal(read_answer(&got, slice_make(good_rows[i].in.ptr, len), &block),
                             ERR_PROTO);
            free(block);
        }
}

static void what_the_protocol_does_not_allow_is_refused(void **state)
{
    (void)state;
    static const struct {
        const char *why;
        struct slice in;
    } rows[] = {
        {"no array", TEXT("\x05")},
        {"nil", TEXT("\xc0")},
        {"a str", TEXT("\xa3"
                       "abc")},
        {"a map", TEXT("\x81\x00\x01")},
        {"an empty array", TEXT("\x90")},
        {"an op that is a str", TEXT("\x93\xa1"
                                     "9\x05\xc2")},
        {"an op below zero", TEXT("\x93\xff\x05\xc2")},
        {"an op that is an array", TEXT("\x93\x91\x09\x05\xc2")},
        {"an unknown op", TEXT("\x92\x0b\x05")},
        {"the op behind the last", TEXT("\x93\x0b\x91\x05\xa0")},
        {"ids that are one number", TEXT("\x93\x0a\x05\xa0")},
        {"ids that are nil", TEXT("\x93\x0a\xc0\xa0")},
        {"ids that are a bin", TEXT("\x93\x0a\xc4\x01\x05\xa0")},
        {"ids that are a map", TEXT("\x93\x0a\x81\x05\x06\xa0")},
        {"an id among others that is nil", TEXT("\x93\x0a\x93\x05\xc0\x06\xa0")},
        {"an id among others below zero", TEXT("\x93\x0a\x92\x05\xff\xa0")},
        {"an id among others that is an array", TEXT("\x93\x0a\x92\x05\x91\x06\xa0")},
        {"more ids than bytes", TEXT("\x93\x0a\xdd\xff\xff\xff\xff\x05\xa0")},
        {"a message to many that is nil", TEXT("\x93\x0a\x91\x05\xc0")},
        {"a message to many that is an array", TEXT("\x93\x0a\x91\x05\x90")},
        {"an op of 2^32", TEXT("\x93\xcf\x00\x00\x00\x01\x00\x00\x00\x09\x05\xc2")},
        {"the largest op", TEXT("\x92\xcf\xff\xff\xff\xff\xff\xff\xff\xff\x05")},
        {"an item too few", TEXT("\x92\x09\x05")},
        {"an item too many", TEXT("\x94\x09\x05\xc2\xc0")},
        {"bytes behind the record", TEXT("\x93\x09\x05\xc2\xc0")},
        {"an id below zero", TEXT("\x93\x09\xff\xc2")},
        {"an id that is nil", TEXT("\x93\x09\xc0\xc2")},
        {"an id that is a float", TEXT("\x93\x09\xca\x40\xa0\x00\x00\xc2")},
        {"an id that is a str", TEXT("\x93\x09\xa1"
                                     "5\xc2")},
        {"an id that is an array", TEXT("\x93\x09\x91\x05\xc2")},
        {"a flag that is a number", TEXT("\x93\x09\x05\x01")},
        {"a flag that is nil", TEXT("\x93\x09\x05\xc0")},
        {"a status below zero", TEXT("\x96\x01\x05\xff\x90\xc4\x00\xc2")},
        {"a status that is a str", TEXT("\x96\x01\x05\xa3"
                                        "200\x90\xc4\x00\xc2")},
        {"headers that are nil", TEXT("\x96\x01\x05\xcc\xc8\xc0\xc4\x00\xc2")},
        {"headers that are a map", TEXT("\x96\x01\x05\xcc\xc8\x81\xc4\x01"
                                        "a\xc4\x01"
                                        "b\xc4\x00\xc2")},
        {"a header of one item", TEXT("\x96\x01\x05\xcc\xc8\x91\x91\xc4\x01"
                                      "a\xc4\x00\xc2")},
        {"a header of three items", TEXT("\x96\x01\x05\xcc\xc8\x91\x93\xc4\x01"
                                         "a\xc4\x01"
                                         "b\xc4\x01"
                                         "c\xc4\x00\xc2")},
        {"a header that is a bin", TEXT("\x96\x01\x05\xcc\xc8\x91\xc4\x01"
                                        "a\xc4\x00\xc2")},
        {"a name that is nil", TEXT("\x96\x01\x05\xcc\xc8\x91\x92\xc0\xc4\x01"
                                    "b\xc4\x00\xc2")},
        {"a value that is a number", TEXT("\x96\x01\x05\xcc\xc8\x91\x92\xc4\x01"
                                          "a\x07\xc4\x00\xc2")},
        {"a value that is an array", TEXT("\x94\x03\x05\xc0\x91\x92\xc4\x01"
                                          "a\x91\xc4\x01"
                                          "b")},
        {"more headers than bytes", TEXT("\x96\x01\x05\xcc\xc8\xdd\xff\xff\xff\xff\xc4\x00\xc2")},
        {"a body that is nil", TEXT("\x94\x02\x05\xc0\xc2")},
        {"a body that is an array", TEXT("\x94\x02\x05\x90\xc2")},
        {"a body longer than the record", TEXT("\x94\x02\x05\xc6\xff\xff\xff\xff\xc2")},
        {"a message that is nil", TEXT("\x93\x04\x05\xc0")},
        {"a message that is a number", TEXT("\x93\x04\x05\x07")},
        {"a message that is an ext", TEXT("\x93\x04\x05\xd4\x01\x02")},
        {"a code that is nil", TEXT("\x94\x06\x05\xc0\xa0")},
        {"a reason that is nil", TEXT("\x94\x06\x05\xcd\x03\xe8\xc0")},
        {"a credit below zero", TEXT("\x94\x07\x05\xff\x01")},
        {"a beat that is nil", TEXT("\x92\x08\xc0")},
        {"a version that is a str", TEXT("\x93\x00\xa1"
                                         "1\x05")},
        {"the edge's SHUTDOWN", TEXT("\x92\x09\x07")},
        {"the edge's HELLO without loop", TEXT("\x92\x00\x01")},
    };
    for (size_t i = 0; i < UNIT_ROWS(rows); i++) {
        struct link_answer got;
        uint8_t *block = NULL;
        if (read_answer(&got, rows[i].in, &block) != ERR_PROTO)
            fail_msg("%s was taken", rows[i].why);
        free(block);
    }
}

static uint8_t big[LINK_RECORD_MAX];

/* [2, 5, bin of @len bytes, false] */
static enum err read_body_of(size_t len)
{
    struct link_answer got;
    uint8_t *block = NULL;
    memcpy(big, "\x94\x02\x05\xc6", 4);
    for (unsigned i = 0; i < 4; i++)
        big[4 + i] = (uint8_t)(len >> (24 - 8 * i));
    memset(big + 8, 'b', len);
    big[8 + len] = 0xc2;
    const enum err err = read_answer(&got, slice_make(big, len + 9), &block);
    free(block);
    return err;
}

/* [3, 5, nil, @count of ["", ""]] */
static enum err read_headers_of(size_t count)
{
    struct link_answer got;
    uint8_t *block = NULL;
    size_t len = 7;
    memcpy(big, "\x94\x03\x05\xc0\xdc", 5);
    big[5] = (uint8_t)(count >> 8);
    big[6] = (uint8_t)count;
    for (size_t i = 0; i < count; i++, len += 5)
        memcpy(big + len, "\x92\xc4\x00\xc4\x00", 5);
    const enum err err = read_answer(&got, slice_make(big, len), &block);
    assert_true(err != ERR_OK || got.header_count == count);
    free(block);
    return err;
}

static void the_ceilings_hold_at_n_and_n_plus_1(void **state)
{
    (void)state;
    assert_int_equal(read_body_of(LINK_PAYLOAD_MAX), ERR_OK);
    assert_int_equal(read_body_of(LINK_PAYLOAD_MAX + 1), ERR_PROTO);
    assert_int_equal(read_headers_of(LINK_HEADERS_MAX), ERR_OK);
    assert_int_equal(read_headers_of(LINK_HEADERS_MAX + 1), ERR_PROTO);
}

static void the_ids_of_a_send_many_are_read_in_their_order(void **state)
{
    (void)state;
    struct link_answer got;
    uint8_t *block = NULL;
    static const struct slice record = TEXT("\x93\x0a\x94\x05\xcc\x80\x00"
                                            "\xcf\x00\x1f\xff\xff\xff\xff\xff\xff\xa1!");
    static const uint64_t want[] = {5, 128, 0, UINT64_C(0x1fffffffffffff)};
    assert_int_equal(read_answer(&got, record, &block), ERR_OK);
    assert_int_equal(got.id_count, UNIT_ROWS(want));
    for (size_t i = 0; i < UNIT_ROWS(want); i++)
        assert_true(pack_read_uint(&got.ids) == want[i]);
    assert_false(got.ids.failed);
    free(block);
}

/* [10, [5, ...], bin of @len bytes], with as many ids as fit in @size bytes. */
static enum err read_send_many_of(size_t size, size_t len)
{
    struct link_answer got;
    uint8_t *block = NULL;
    const size_t count = size - 7 - 5 - len;
    size_t at = 7;
    memcpy(big, "\x93\x0a\xdd", 3);
    for (unsigned i = 0; i < 4; i++)
        big[3 + i] = (uint8_t)(count >> (24 - 8 * i));
    memset(big + at, 5, count);
    at += count;
    big[at++] = 0xc6;
    for (unsigned i = 0; i < 4; i++)
        big[at++] = (uint8_t)(len >> (24 - 8 * i));
    memset(big + at, 'b', len);
    const enum err err = read_answer(&got, slice_make(big, size), &block);
    assert_true(err != ERR_OK || got.id_count == count);
    free(block);
    return err;
}

static void a_send_many_may_fill_its_record(void **state)
{
    (void)state;
    assert_int_equal(read_send_many_of(LINK_RECORD_MAX, 1), ERR_OK);
    assert_int_equal(read_send_many_of(LINK_RECORD_MAX, LINK_PAYLOAD_MAX), ERR_OK);
    assert_int_equal(read_send_many_of(LINK_RECORD_MAX, LINK_PAYLOAD_MAX + 1), ERR_PROTO);
}

static void changed_bytes_never_lead_out_of_the_record(void **state)
{
    (void)state;
    uint64_t seed = 3;
    for (unsigned round = 0; round < 100000; round++) {
        const struct good_row *row = &good_rows[unit_random(&seed) % UNIT_ROWS(good_rows)];
        uint8_t record[64];
        uint8_t *block = NULL;
        struct link_answer got;
        memcpy(record, row->in.ptr, row->in.len);
        for (unsigned n = 1 + unit_random(&seed) % 3; n > 0; n--)
            record[unit_random(&seed) % row->in.len] = (uint8_t)unit_random(&seed);
        if (read_answer(&got, slice_make(record, row->in.len), &block) == ERR_OK) {
            assert_true(got.data.len < row->in.len && got.header_count < row->in.len);
            assert_true(got.data.len == 0 || (got.data.ptr > block &&
                                              got.data.ptr + got.data.len <= block + row->in.len));
            assert_true(got.id_count < row->in.len);
            for (uint32_t i = 0; i < got.id_count; i++)
                (void)pack_read_uint(&got.ids);
            assert_false(got.id_count > 0 && got.ids.failed);
        }
        free(block);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(small_records_are_these_bytes),
        cmocka_unit_test(an_http_scope_is_these_bytes),
        cmocka_unit_test(a_websocket_scope_is_these_bytes),
        cmocka_unit_test(the_bound_holds_for_scopes_of_any_size),
        cmocka_unit_test(every_answer_is_read),
        cmocka_unit_test(no_beginning_of_an_answer_is_an_answer),
        cmocka_unit_test(what_the_protocol_does_not_allow_is_refused),
        cmocka_unit_test(the_ceilings_hold_at_n_and_n_plus_1),
        cmocka_unit_test(the_ids_of_a_send_many_are_read_in_their_order),
        cmocka_unit_test(a_send_many_may_fill_its_record),
        cmocka_unit_test(changed_bytes_never_lead_out_of_the_record),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
