/* SPDX-License-Identifier: Apache-2.0 */
#include "invoker/identity.h"
#include <inttypes.h>
#include <openssl/bio.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include "base/util.h"

enum { PUBLIC_KEY_BYTES = 32, SIGNATURE_BYTES = 64 };

struct request_identity {
    EVP_PKEY *key;
    uint64_t expiration_s;
    char name[sizeof "publickeyv1_" + 44]; /* 32 bytes are at most 44 digits of base 58 */
    struct buf head;                       /* the JOSE header, encoded, and the dot after it */
};

static void put_base58(struct buf *b, const uint8_t *data, size_t n) {
    static const char alphabet[] = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz";
    uint8_t digits[2 * PUBLIC_KEY_BYTES]; /* least significant first */
    size_t n_digits = 0, zeros = 0;

    while (zeros < n && data[zeros] == 0)
        zeros++;
    for (size_t i = zeros; i < n; i++) {
        unsigned carry = data[i];
        for (size_t j = 0; j < n_digits; j++) {
            carry += (unsigned)digits[j] << 8;
            digits[j] = (uint8_t)(carry % 58);
            carry /= 58;
        }
        for (; carry; carry /= 58)
            digits[n_digits++] = (uint8_t)(carry % 58);
    }
    for (size_t i = 0; i < zeros; i++)
        buf_put_u8(b, (uint8_t)alphabet[0]);
    while (n_digits > 0)
        buf_put_u8(b, (uint8_t)alphabet[digits[--n_digits]]);
}

/* url-safe, without padding */
static void put_base64(struct buf *b, struct slice s) {
    uint8_t *at = buf_reserve(b, (s.len + 2) / 3 * 4 + 1); /* it ends with a NUL */
    size_t n = (size_t)EVP_EncodeBlock(at, s.data, (int)s.len);

    while (n > 0 && at[n - 1] == '=')
        n--;
    for (size_t i = 0; i < n; i++)
        at[i] = at[i] == '+' ? '-' : at[i] == '/' ? '_' : at[i];
    b->len += n;
}

static void put_json_text(struct buf *b, struct slice s) {
    buf_put_u8(b, '"');
    for (size_t i = 0; i < s.len; i++) {
        if (s.data[i] == '"' || s.data[i] == '\\')
            buf_put_u8(b, '\\');
        if (s.data[i] < 0x20)
            buf_putf(b, "\\u%04x", s.data[i]);
        else
            buf_put_u8(b, s.data[i]);
    }
    buf_put_u8(b, '"');
}

int request_identity_new(struct slice pem, uint64_t expiration_s, struct request_identity **ret, struct err *err) {
    BIO *bio = pem.len > 0 && pem.len < 1 << 20 ? BIO_new_mem_buf(pem.data, (int)pem.len) : NULL;
    EVP_PKEY *key = bio ? PEM_read_bio_PrivateKey(bio, NULL, NULL, (void *)(uintptr_t) "") : NULL;
    _cleanup_buf_ struct buf name = {0}, head = {0};
    uint8_t public[PUBLIC_KEY_BYTES];
    size_t n = sizeof public;
    struct request_identity *id;

    BIO_free(bio);
    if (!key)
        return err_set(err, RS_EINVAL, "no private key in PEM (PKCS#8, not encrypted) in there");
    if (EVP_PKEY_get_base_id(key) != EVP_PKEY_ED25519 || EVP_PKEY_get_raw_public_key(key, public, &n) != 1 ||
        n != sizeof public) {
        EVP_PKEY_free(key);
        return err_set(err, RS_EINVAL, "the private key is not of the kind Ed25519");
    }
    id = xnew(struct request_identity);
    id->key = key;
    id->expiration_s = expiration_s;
    put_base58(&name, public, sizeof public);
    (void)snprintf(id->name, sizeof id->name, "publickeyv1_%s", buf_cstr(&name));
    buf_putf(&head, "{\"typ\":\"JWT\",\"alg\":\"EdDSA\",\"kid\":\"%s\"}", id->name);
    put_base64(&id->head, buf_slice(&head));
    buf_put_u8(&id->head, '.');
    *ret = id;
    return 0;
}

struct request_identity *request_identity_free(struct request_identity *id) {
    if (id) {
        EVP_PKEY_free(id->key);
        buf_done(&id->head);
        free(id);
    }
    return NULL;
}

const char *request_identity_key(const struct request_identity *id) {
    return id->name;
}

int request_identity_sign(const struct request_identity *id, struct slice path, uint64_t now_s, struct buf *ret,
                          struct err *err) {
    _cleanup_buf_ struct buf claims = {0};
    uint8_t signature[SIGNATURE_BYTES];
    size_t n = sizeof signature, begin = ret->len;
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    bool ok;

    buf_put_str(&claims, "{\"aud\":");
    put_json_text(&claims, path);
    buf_putf(&claims, ",\"exp\":%" PRIu64 ",\"iat\":%" PRIu64 ",\"nbf\":%" PRIu64 "}", now_s + id->expiration_s, now_s,
             now_s > id->expiration_s ? now_s - id->expiration_s : 0);
    buf_put_slice(ret, buf_slice(&id->head));
    put_base64(ret, buf_slice(&claims));
    ok = ctx && EVP_DigestSignInit(ctx, NULL, NULL, NULL, id->key) == 1 &&
         EVP_DigestSign(ctx, signature, &n, ret->data + begin, ret->len - begin) == 1;
    EVP_MD_CTX_free(ctx);
    if (!ok) {
        ret->len = begin;
        return err_set(err, RS_EIO, "the request could not be signed");
    }
    buf_put_u8(ret, '.');
    put_base64(ret, slice_of(signature, n));
    return 0;
}
