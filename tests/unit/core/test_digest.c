/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Expected bytes are those of the publications that define the algorithms.
 */
#include "core/digest.h"

#include "tests/support/golden.h"

static void require_bytes(const uint8_t *got, const char *hex)
{
    struct golden_bytes want = golden_hex(hex);
    assert_memory_equal(got, want.ptr, want.len);
    free(want.ptr);
}

static void hashes_are_those_of_fips_180(void **state)
{
    uint8_t out[DIGEST_SHA256_BYTES];
    (void)state;
    digest_sha1(out, slice_str("abc"));
    require_bytes(out, "a9993e364706816aba3e25717850c26c9cd0d89d");
    digest_sha1(out, (struct slice){0});
    require_bytes(out, "da39a3ee5e6b4b0d3255bfef95601890afd80709");
    digest_sha256(out, slice_str("abc"));
    require_bytes(out, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
}

static void one_key_authenticates_many_messages(void **state)
{
    struct digest_hmac hmac;
    uint8_t key[20];
    uint8_t out[DIGEST_SHA256_BYTES];

    (void)state;
    memset(key, 0x0b, sizeof(key)); /* RFC 4231, test case 1 */
    assert_int_equal(digest_hmac_init(&hmac, slice_make(key, sizeof(key))), ERR_OK);
    for (unsigned i = 0; i < 3; i++) {
        assert_int_equal(digest_hmac_run(&hmac, out, slice_str("Hi There")), ERR_OK);
        require_bytes(out, "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7");
    }
    digest_hmac_deinit(&hmac);
    assert_int_equal(digest_hmac_init(&hmac, slice_str("Jefe")), ERR_OK); /* test case 2 */
    assert_int_equal(digest_hmac_run(&hmac, out, slice_str("what do ya want for nothing?")),
                     ERR_OK);
    require_bytes(out, "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
    digest_hmac_deinit(&hmac);
    digest_hmac_deinit(&hmac); /* zeroed by the first */
}

/* NIST SP 800-38A, F.2.1 and F.2.2: the first two blocks. */
static void blocks_are_chained_as_nist_chains_them(void **state)
{
    struct golden_bytes key = golden_hex("2b7e151628aed2a6abf7158809cf4f3c");
    struct golden_bytes iv = golden_hex("000102030405060708090a0b0c0d0e0f");
    struct golden_bytes text =
        golden_hex("6bc1bee22e409f96e93d7e117393172aae2d8a571e03ac9c9eb76fac45af8e51");
    struct digest_aes seal;
    struct digest_aes open;

    (void)state;
    assert_int_equal(digest_aes_init(&seal, key.ptr, true), ERR_OK);
    assert_int_equal(digest_aes_init(&open, key.ptr, false), ERR_OK);
    for (unsigned i = 0; i < 2; i++) {
        assert_int_equal(digest_aes_run(&seal, iv.ptr, text.ptr, text.len), ERR_OK);
        require_bytes(text.ptr, "7649abac8119b246cee98e9b12e9197d5086cb9b507219ee95db113a917678b2");
        assert_int_equal(digest_aes_run(&open, iv.ptr, text.ptr, text.len), ERR_OK);
        require_bytes(text.ptr, "6bc1bee22e409f96e93d7e117393172aae2d8a571e03ac9c9eb76fac45af8e51");
    }
    digest_aes_deinit(&seal);
    digest_aes_deinit(&open);
    free(key.ptr);
    free(iv.ptr);
    free(text.ptr);
}

static void random_bytes_differ_and_fill_what_was_asked_for(void **state)
{
    uint8_t a[64] = {0};
    uint8_t b[64] = {0};
    (void)state;
    digest_random(a, sizeof(a) - 1);
    digest_random(b, sizeof(b) - 1);
    assert_false(digest_equal(a, b, sizeof(a)));
    assert_int_equal(a[63], 0);
    assert_true(digest_equal(a, a, sizeof(a)));
    digest_random(a, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(hashes_are_those_of_fips_180),
        cmocka_unit_test(one_key_authenticates_many_messages),
        cmocka_unit_test(blocks_are_chained_as_nist_chains_them),
        cmocka_unit_test(random_bytes_differ_and_fill_what_was_asked_for),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
