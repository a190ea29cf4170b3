/* SPDX-License-Identifier: Apache-2.0 */
#include "unit.h"
#include <openssl/bio.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include "invoker/identity.h"

/* The key of RFC 8032, test 1; its public half is d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a. */
static const char pem[] = "-----BEGIN PRIVATE KEY-----\n"
                          "MC4CAQAwBQYDK2VwBCIEIJ1hsZ3v/VpgoptsUpwkSumqnqv/0sxeFpLO6YwcZpE9\n"
                          "-----END PRIVATE KEY-----\n";

static EVP_PKEY *private_key(void) {
    static const uint8_t seed[32] = {0x9d, 0x61, 0xb1, 0x9d, 0xef, 0xfd, 0x5a, 0x60, 0xba, 0x84, 0x4a,
                                     0xf4, 0x92, 0xec, 0x2c, 0xc4, 0x44, 0x49, 0xc5, 0x69, 0x7b, 0x32,
                                     0x69, 0x19, 0x70, 0x3b, 0xac, 0x03, 0x1c, 0xae, 0x7f, 0x60};
    return EVP_PKEY_new_raw_private_key(EVP_PKEY_ED25519, NULL, seed, sizeof seed);
}

static struct request_identity *identity_of(EVP_PKEY *key, uint64_t expiration_s) {
    BIO *bio = BIO_new(BIO_s_mem());
    struct request_identity *id = NULL;
    struct err err = {0};
    char *data;
    long n;

    assert_int_equal(PEM_write_bio_PrivateKey(bio, key, NULL, NULL, 0, NULL, NULL), 1);
    n = BIO_get_mem_data(bio, &data);
    assert_int_equal(request_identity_new(slice_of(data, (size_t)n), expiration_s, &id, &err), 0);
    BIO_free(bio);
    return id;
}

static void decode(struct slice text, uint8_t *ret, size_t *n) {
    char padded[512];
    size_t len = text.len;

    assert_true(len + 4 < sizeof padded);
    for (size_t i = 0; i < len; i++)
        padded[i] = text.data[i] == '-' ? '+' : text.data[i] == '_' ? '/' : (char)text.data[i];
    *n = len / 4 * 3 + (len % 4 ? len % 4 - 1 : 0);
    while (len % 4)
        padded[len++] = '=';
    assert_int_equal(EVP_DecodeBlock(ret, (uint8_t *)padded, (int)len), len / 4 * 3);
}

static void test_the_key_is_named_after_its_public_half(void **state) {
    EVP_PKEY *key = private_key();
    struct request_identity *id = identity_of(key, 60);

    (void)state;
    assert_string_equal(request_identity_key(id), "publickeyv1_FVen3X669xLzsi6N2V91DoiyzHzg1uAgqiT8jZ9nS96Z");
    request_identity_free(id);
    EVP_PKEY_free(key);
}

static void test_a_token_has_the_claims_and_a_good_signature(void **state) {
    EVP_PKEY *key = private_key();
    struct request_identity *id = identity_of(key, 60);
    _cleanup_buf_ struct buf token = {0};
    struct err err = {0};
    struct slice t;
    const uint8_t *dot, *dot2;
    uint8_t out[512];
    size_t n;
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();

    (void)state;
    assert_int_equal(request_identity_sign(id, SLICE_LIT("/invoke/Greeter/say\"it"), 1000, &token, &err), 0);
    t = buf_slice(&token);
    dot = memchr(t.data, '.', t.len);
    assert_non_null(dot);
    dot2 = memchr(dot + 1, '.', t.len - (size_t)(dot + 1 - t.data));
    assert_non_null(dot2);
    decode(slice_of(t.data, (size_t)(dot - t.data)), out, &n);
    out[n] = 0;
    assert_string_equal((char *)out, "{\"typ\":\"JWT\",\"alg\":\"EdDSA\",\"kid\":\"publickeyv1_"
                                     "FVen3X669xLzsi6N2V91DoiyzHzg1uAgqiT8jZ9nS96Z\"}");
    decode(slice_of(dot + 1, (size_t)(dot2 - dot - 1)), out, &n);
    out[n] = 0;
    assert_string_equal((char *)out, "{\"aud\":\"/invoke/Greeter/say\\\"it\",\"exp\":1060,\"iat\":1000,\"nbf\":940}");
    decode(slice_of(dot2 + 1, t.len - (size_t)(dot2 + 1 - t.data)), out, &n);
    assert_int_equal(n, 64);
    assert_int_equal(EVP_DigestVerifyInit(ctx, NULL, NULL, NULL, key), 1);
    assert_int_equal(EVP_DigestVerify(ctx, out, n, t.data, (size_t)(dot2 - t.data)), 1);
    EVP_MD_CTX_free(ctx);
    request_identity_free(id);
    EVP_PKEY_free(key);
}

static void test_other_keys_and_no_keys_are_refused(void **state) {
    struct request_identity *id = NULL;
    struct err err = {0};
    EVP_PKEY *other = EVP_PKEY_Q_keygen(NULL, NULL, "EC", "P-256");
    BIO *bio = BIO_new(BIO_s_mem());
    char *data;
    long n;

    (void)state;
    assert_int_equal(request_identity_new(SLICE_LIT(""), 60, &id, &err), RS_EINVAL);
    assert_int_equal(request_identity_new(SLICE_LIT("not a key"), 60, &id, &err), RS_EINVAL);
    assert_int_equal(request_identity_new(slice_of(pem, sizeof pem / 2), 60, &id, &err), RS_EINVAL);
    assert_int_equal(PEM_write_bio_PrivateKey(bio, other, NULL, NULL, 0, NULL, NULL), 1);
    n = BIO_get_mem_data(bio, &data);
    assert_int_equal(request_identity_new(slice_of(data, (size_t)n), 60, &id, &err), RS_EINVAL);
    assert_non_null(strstr(err.msg, "Ed25519"));
    assert_null(id);
    BIO_free(bio);
    EVP_PKEY_free(other);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(test_the_key_is_named_after_its_public_half),
    cmocka_unit_test(test_a_token_has_the_claims_and_a_good_signature),
    cmocka_unit_test(test_other_keys_and_no_keys_are_refused),
};
const struct unit_group identity_test_group = UNIT_GROUP(tests);
