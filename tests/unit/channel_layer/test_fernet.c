/* SPDX-License-Identifier: BSD-3-Clause */
#include "channel_layer/wire/fernet.h"

#include "channel_layer/wire/wire.h"
#include "core/base64.h"
#include "core/digest.h"
#include "tests/support/golden.h"
#include "tests/support/wire_fixture.h"

#define GOLDEN "tests/golden/channels_redis/fernet_vectors.json"

enum { RECORDED_S = 1795224837, DETERMINISTIC_S = 1700000000 };

static const struct fernet_rule any_time = {.has_limits = false};

static struct layer_key key_of(struct slice configured)
{
    struct layer_key key;
    uint8_t digest[DIGEST_SHA256_BYTES];
    digest_sha256(digest, configured);
    memcpy(key.sign, digest, sizeof(key.sign));
    memcpy(key.encrypt, digest + sizeof(key.sign), sizeof(key.encrypt));
    return key;
}

static struct fernet *fernet_of(const struct layer_key *keys, size_t count)
{
    struct fernet *f = NULL;
    assert_int_equal(fernet_new(&f, keys, count), ERR_OK);
    return f;
}

static enum err open_token(struct fernet *f, struct buf *space, struct slice *text,
                           struct slice token)
{
    struct err_text why;
    return fernet_open(f, text, space, token, &any_time, &why);
}

static void each_vector(const json_t *row, struct buf *space)
{
    struct golden_bytes configured = golden_hex(golden_text(row, "configured_key_utf8_hex"));
    struct golden_bytes plain = golden_hex(golden_text(row, "plaintext_hex"));
    struct golden_bytes iv = golden_hex("000102030405060708090a0b0c0d0e0f");
    struct golden_bytes sign = golden_hex(golden_text(row, "signing_key_hex"));
    const struct slice want = golden_slice(row, "deterministic_token_ascii");
    const struct layer_key key = key_of(golden_of(configured));
    struct fernet *f = fernet_of(&key, 1);
    uint8_t *token = malloc(want.len); /* exact: what is written behind it is seen */
    struct slice text = {0};

    assert_non_null(token);
    assert_memory_equal(key.sign, sign.ptr, sizeof(key.sign));
    assert_int_equal(fernet_token_size(plain.len), want.len);
    memcpy(fernet_text_place(token, plain.len), plain.ptr, plain.len);
    assert_int_equal(fernet_seal(f, token, plain.len, DETERMINISTIC_S, iv.ptr), ERR_OK);
    assert_memory_equal(token, want.ptr, want.len);
    assert_int_equal(open_token(f, space, &text, want), ERR_OK);
    assert_true(slice_eq(text, golden_of(plain)));
    assert_int_equal(open_token(f, space, &text, golden_slice(row, "layer_token_ascii")), ERR_OK);
    assert_true(slice_eq(text, golden_of(plain)));
    fernet_free(f);
    free(token);
    free(sign.ptr);
    free(iv.ptr);
    free(plain.ptr);
    free(configured.ptr);
}

static void tokens_are_those_of_python_both_ways(void **state)
{
    json_t *file = golden_load(GOLDEN);
    struct buf space;
    size_t i = 0;
    const json_t *row = NULL;

    (void)state;
    buf_init(&space, 4096);
    json_array_foreach(json_object_get(file, "vectors"), i, row) each_vector(row, &space);
    assert_int_equal(i, 8);
    buf_deinit(&space);
    json_decref(file);
}

/* A fixture whose layer has these keys, which stay the caller's. */
static struct wire_fixture *encrypting(struct layer_key *keys, size_t count)
{
    struct wire_fixture *f = wire_fixture_new(LAYER_MSGPACK);
    f->config.keys = keys;
    f->config.key_count = count;
    return f;
}

static enum err open_at(struct wire_fixture *f, struct slice member, uint64_t now_s)
{
    f->body.len = 0;
    return wire_open(&f->wire, &f->message, &f->body, member, now_s, &f->why);
}

static void members_of_python_are_opened_within_their_time(void **state)
{
    json_t *file = golden_load(GOLDEN);
    const json_t *row = json_array_get(json_object_get(file, "vectors"), 0);
    struct golden_bytes member = golden_hex(golden_text(row, "layer_member_hex"));
    struct layer_key key = key_of(slice_str("sekrit"));
    struct wire_fixture *f = encrypting(&key, 1);
    size_t i = 0;
    const json_t *trial = NULL;

    (void)state;
    assert_int_equal(open_at(f, golden_of(member), RECORDED_S), ERR_OK);
    assert_true(slice_eq_str(buf_slice(&f->body), "\x81\xa4type\xa1t"));
    json_array_foreach(json_object_get(file, "ttl_experiment_expiry60 [clock offset s, result]"), i,
                       trial)
    {
        /* The offset is that of the sender's clock. */
        const int64_t offset = json_integer_value(json_array_get(trial, 0));
        const bool is_good = strcmp(json_string_value(json_array_get(trial, 1)), "ok") == 0;
        if ((open_at(f, golden_of(member), (uint64_t)(RECORDED_S - offset)) == ERR_OK) != is_good)
            fail_msg("offset %d: %s", (int)offset, f->why.text);
    }
    assert_int_equal(i, 7);
    wire_fixture_free(f);
    free(member.ptr);
    json_decref(file);
}

static void the_limits_of_time_are_exact_and_named(void **state)
{
    struct layer_key key = key_of(slice_str("k"));
    struct wire_fixture *f = encrypting(&key, 1);

    (void)state;
    assert_int_equal(wire_fixture_seal(f, slice_str("\x80"), NULL), ERR_OK);
    const struct slice member = buf_slice(&f->sealed);
    assert_int_equal(open_at(f, member, WIRE_NOW_S + 70), ERR_OK);
    assert_int_equal(open_at(f, member, WIRE_NOW_S + 71), ERR_INVALID);
    assert_string_equal(f->why.text, "encrypted 71 s ago, which is more than expiry and 10 s");
    assert_int_equal(open_at(f, member, WIRE_NOW_S - 60), ERR_OK);
    assert_int_equal(open_at(f, member, WIRE_NOW_S - 61), ERR_INVALID);
    assert_string_equal(f->why.text,
                        "encrypted 61 s in the future: the clock of the sender differs");
    assert_int_equal(open_at(f, member, 0), ERR_INVALID);
    assert_int_equal(open_at(f, member, UINT64_MAX), ERR_INVALID);
    wire_fixture_free(f);
}

static void publications_have_no_age(void **state)
{
    json_t *file = golden_load(GOLDEN);
    const json_t *payloads = json_object_get(file, "pubsub_payloads");
    const struct slice token =
        golden_slice(payloads, "encrypted_token_ascii (no random prefix, no ttl check)");
    struct golden_bytes plain = golden_hex(golden_text(payloads, "plain_msgpack_hex"));
    struct layer_key key = key_of(slice_str("sekrit"));
    struct wire_fixture *f = encrypting(&key, 1);

    (void)state;
    f->config.backend = LAYER_PUBSUB;
    assert_int_equal(open_at(f, token, 0), ERR_OK);
    assert_int_equal(open_at(f, token, UINT64_MAX), ERR_OK);
    assert_true(slice_eq(buf_slice(&f->body), golden_of(plain)));
    wire_fixture_free(f);
    free(plain.ptr);
    json_decref(file);
}

static void the_first_key_seals_and_each_one_opens(void **state)
{
    struct layer_key keys[] = {key_of(slice_str("new")), key_of(slice_str("old"))};
    struct wire_fixture *rotated = encrypting(keys, 2);
    struct wire_fixture *new_only = encrypting(keys, 1);
    struct wire_fixture *old_only = encrypting(keys + 1, 1);

    (void)state;
    assert_int_equal(wire_fixture_seal(old_only, slice_str("\x80"), NULL), ERR_OK);
    assert_int_equal(open_at(rotated, buf_slice(&old_only->sealed), WIRE_NOW_S), ERR_OK);
    assert_int_equal(wire_fixture_seal(rotated, slice_str("\x80"), NULL), ERR_OK);
    assert_int_equal(open_at(rotated, buf_slice(&rotated->sealed), WIRE_NOW_S), ERR_OK);
    assert_int_equal(open_at(new_only, buf_slice(&rotated->sealed), WIRE_NOW_S), ERR_OK);
    assert_int_equal(open_at(old_only, buf_slice(&rotated->sealed), WIRE_NOW_S), ERR_INVALID);
    assert_string_equal(
        old_only->why.text,
        "encrypted with a key that is not in symmetric_encryption_keys, or changed");
    wire_fixture_free(rotated);
    wire_fixture_free(new_only);
    wire_fixture_free(old_only);
}

static void what_is_not_encrypted_alike_is_refused(void **state)
{
    struct layer_key key = key_of(slice_str("k"));
    struct wire_fixture *f = encrypting(&key, 1);
    struct wire_fixture *plain = wire_fixture_new(LAYER_MSGPACK);

    (void)state;
    assert_int_equal(wire_fixture_seal(plain, slice_str("\x81\xa1k\x01"), NULL), ERR_OK);
    assert_int_equal(open_at(f, buf_slice(&plain->sealed), WIRE_NOW_S), ERR_INVALID);
    assert_string_equal(f->why.text, "not encrypted: no Fernet token (4 bytes)");
    assert_int_equal(wire_fixture_seal(f, slice_str("\x80"), NULL), ERR_OK);
    assert_int_equal(open_at(plain, buf_slice(&f->sealed), WIRE_NOW_S), ERR_INVALID);
    wire_fixture_free(f);
    wire_fixture_free(plain);
}

static void every_length_of_text_comes_back(void **state)
{
    struct layer_key key = key_of(slice_str("k"));
    struct wire_fixture *f = encrypting(&key, 1);
    uint8_t body[70] = "\x81\xa1k\xd9";

    (void)state;
    memset(body + 5, 'x', sizeof(body) - 5);
    for (size_t len = 5; len <= sizeof(body); len++) {
        body[4] = (uint8_t)(len - 5);
        assert_int_equal(wire_fixture_seal(f, slice_make(body, len), NULL), ERR_OK);
        assert_int_equal(wire_fixture_open(f, buf_slice(&f->sealed)), ERR_OK);
        assert_true(slice_eq(buf_slice(&f->body), slice_make(body, len)));
    }
    wire_fixture_free(f);
}

/* No character of a token can be another, and none can be missing. */
static void a_token_that_was_changed_or_cut_is_refused(void **state)
{
    struct layer_key key = key_of(slice_str("k"));
    struct fernet *f = fernet_of(&key, 1);
    const uint8_t iv[FERNET_IV_BYTES] = {1};
    struct slice text = {0};
    struct buf space;

    (void)state;
    const size_t size = fernet_token_size(20);
    uint8_t *token = malloc(size);
    assert_non_null(token);
    memset(fernet_text_place(token, 20), 'x', 20);
    assert_int_equal(fernet_seal(f, token, 20, DETERMINISTIC_S, iv), ERR_OK);
    buf_init(&space, 4096);
    for (size_t at = 0; at < size; at++) {
        const uint8_t was = token[at];
        for (unsigned value = 0; value < 256; value++) {
            token[at] = (uint8_t)value;
            const enum err err = open_token(f, &space, &text, slice_make(token, size));
            if ((err == ERR_OK) != (value == was))
                fail_msg("character %zu as 0x%02x", at, value);
        }
        token[at] = was;
    }
    for (size_t len = 0; len < size; len++) {
        uint8_t *cut = wire_exact(slice_make(token, len));
        assert_int_equal(open_token(f, &space, &text, slice_make(cut, len)), ERR_INVALID);
        free(cut);
    }
    buf_deinit(&space);
    fernet_free(f);
    free(token);
}

/* Signed as it should be, by somebody who has the key and pads wrongly. */
static void a_signed_text_with_wrong_padding_is_refused(void **state)
{
    static const struct {
        const char *why;
        uint8_t end[16];
    } rows[] = {
        {"of no byte", {[15] = 0}},
        {"of more than a block", {[15] = 17}},
        {"of unequal bytes", {[13] = 3, [14] = 2, [15] = 3}},
    };
    struct layer_key key = key_of(slice_str("k"));
    struct fernet *f = fernet_of(&key, 1);
    struct buf space;

    (void)state;
    buf_init(&space, 4096);
    for (size_t i = 0; i < UNIT_ROWS(rows); i++) {
        uint8_t bytes[1 + 8 + 16 + 16 + 32] = {0x80};
        uint8_t token[104];
        struct digest_aes aes;
        struct digest_hmac hmac;
        struct slice text;
        struct err_text why;
        memcpy(bytes + 25, rows[i].end, 16);
        assert_int_equal(digest_aes_init(&aes, key.encrypt, true), ERR_OK);
        assert_int_equal(digest_aes_run(&aes, bytes + 9, bytes + 25, 16), ERR_OK);
        assert_int_equal(digest_hmac_init(&hmac, slice_make(key.sign, 16)), ERR_OK);
        assert_int_equal(digest_hmac_run(&hmac, bytes + 41, slice_make(bytes, 41)), ERR_OK);
        const size_t len = base64_text_len(sizeof(bytes));
        assert_true(len <= sizeof(token));
        base64_encode(token, slice_make(bytes, sizeof(bytes)), BASE64_URL);
        if (fernet_open(f, &text, &space, slice_make(token, len), &any_time, &why) != ERR_INVALID ||
            strcmp(why.text, "does not decrypt: wrong padding") != 0)
            fail_msg("%s", rows[i].why);
        digest_aes_deinit(&aes);
        digest_hmac_deinit(&hmac);
    }
    buf_deinit(&space);
    fernet_free(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tokens_are_those_of_python_both_ways),
        cmocka_unit_test(members_of_python_are_opened_within_their_time),
        cmocka_unit_test(the_limits_of_time_are_exact_and_named),
        cmocka_unit_test(publications_have_no_age),
        cmocka_unit_test(the_first_key_seals_and_each_one_opens),
        cmocka_unit_test(what_is_not_encrypted_alike_is_refused),
        cmocka_unit_test(every_length_of_text_comes_back),
        cmocka_unit_test(a_token_that_was_changed_or_cut_is_refused),
        cmocka_unit_test(a_signed_text_with_wrong_padding_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
