/* SPDX-License-Identifier: Apache-2.0 */
#include "proto/ids.h"

#include <ctype.h>

#include "base/buf.h"
#include "base/hash.h"
#include "base/util.h"
#include "proto/command.h"

__extension__ typedef unsigned __int128 u128;

enum { CHARS_U64 = 11, CHARS_U128 = 22, AWAKEABLE_BYTES = 28 };

#define POW62_10 839299365868340224u /* 62^10 */

static const char digits[] = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
static const char base64_digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/* --- base62 --- */

static u128 number_of(const uint8_t *bytes, size_t n) { /* the byte order of the text form: little-endian */
    u128 v = 0;

    while (n-- > 0)
        v = v << 8 | bytes[n];
    return v;
}

static void put62(char *at, size_t n, uint64_t v) {
    while (n-- > 0) {
        at[n] = digits[v % 62];
        v /= 62;
    }
}

static void format_u64(const uint8_t bytes[8], char *at) {
    put62(at, CHARS_U64, get_u64le(bytes));
}

static void format_u128(const uint8_t bytes[16], char *at) {
    u128 v = number_of(bytes, 16);

    /* two wide divisions instead of one per digit */
    put62(at + 12, 10, (uint64_t)(v % POW62_10));
    v /= POW62_10;
    put62(at + 2, 10, (uint64_t)(v % POW62_10));
    put62(at, 2, (uint64_t)(v / POW62_10));
}

static int digit62(uint8_t c) {
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 10;
    if (c >= 'A' && c <= 'Z')
        return c - 'A' + 36;
    return -1;
}

/* @n bytes from @chars digits, in the byte order of ids. */
static bool parse62(const uint8_t *at, size_t chars, size_t n, uint8_t *ret) {
    u128 v = 0;

    for (size_t i = 0; i < chars; i++) {
        int d = digit62(at[i]);

        if (d < 0 || __builtin_mul_overflow(v, (u128)62, &v) || __builtin_add_overflow(v, (u128)(unsigned)d, &v))
            return false;
    }
    if (n < 16 && v >> (8 * n))
        return false;
    for (size_t i = 0; i < n; i++, v >>= 8)
        ret[i] = (uint8_t)v;
    return true;
}

/* --- text form --- */

/* Splits prefix and version off; @ret_payload is what follows. */
static int parse_head(struct slice text, const char *prefix, struct slice *ret_payload, struct err *err) {
    static const char *const known[] = {"inv", "dp", "sub", "snap", "mut", "vq", "sign", "prom", "part"};
    const uint8_t *sep;
    struct slice head;
    bool found = false;

    if (!text.len)
        return err_set(err, RS_EINVAL, "bad length");
    sep = memchr(text.data, '_', text.len);
    if (!sep)
        return err_set(err, RS_EINVAL, "bad format");
    head = slice_of(text.data, (size_t)(sep - text.data));
    for (size_t i = 0; i < ARRAY_SIZE(known); i++)
        found |= slice_eq_str(head, known[i]);
    if (!found)
        return err_set(err, RS_EINVAL, "unrecognized resource type: " SLICE_FMT, SLICE_ARG(slice_sub(head, 0, 100)));
    text = slice_from(text, head.len + 1);
    if (!text.len)
        return err_set(err, RS_EINVAL, "bad length");
    if (text.data[0] != '1')
        return err_set(err, RS_EINVAL, "unrecognized codec version");
    if (!slice_eq_str(head, prefix))
        return err_set(err, RS_EINVAL, "id doesn't match the expected type");
    *ret_payload = slice_from(text, 1);
    return 0;
}

static bool is_zero(const uint8_t *p, size_t n) {
    for (size_t i = 0; i < n; i++)
        if (p[i])
            return false;
    return true;
}

int invocation_id_from_raw(struct slice raw, struct invocation_id *ret, struct err *err) {
    if (raw.len != INVOCATION_ID_BYTES)
        return err_set(err, RS_EINVAL, "bad length");
    if (is_zero(raw.data + 8, 16))
        return err_set(err, RS_EINVAL, "bad format");
    memcpy(ret->raw, raw.data, INVOCATION_ID_BYTES);
    return 0;
}

void invocation_id_format(const struct invocation_id *id, char ret[INVOCATION_ID_CHARS + 1]) {
    memcpy(ret, "inv_1", 5);
    format_u64(id->raw, ret + 5);
    format_u128(id->raw + 8, ret + 5 + CHARS_U64);
    ret[INVOCATION_ID_CHARS] = 0;
}

int invocation_id_parse(struct slice text, struct invocation_id *ret, struct err *err) {
    uint8_t raw[INVOCATION_ID_BYTES];
    struct slice payload;
    int r = parse_head(text, "inv", &payload, err);

    if (r < 0)
        return r;
    if (payload.len != CHARS_U64 + CHARS_U128)
        return err_set(err, RS_EINVAL, "bad length");
    if (!parse62(payload.data, CHARS_U64, 8, raw) || !parse62(payload.data + CHARS_U64, CHARS_U128, 16, raw + 8))
        return err_set(err, RS_EINVAL, "base62 decode error");
    return invocation_id_from_raw(slice_of(raw, sizeof raw), ret, err);
}

uint64_t invocation_id_seed(const struct invocation_id *id) {
    uint8_t in[8 + INVOCATION_ID_BYTES];

    put_u64le(in, INVOCATION_ID_BYTES);
    memcpy(in + 8, id->raw, INVOCATION_ID_BYTES);
    return siphash13(in, sizeof in);
}

/* --- derivation --- */

static bool is_keyed(uint32_t type) {
    return type != TARGET_SERVICE;
}

static uint64_t bucket_key(struct slice service, unsigned bucket) {
    static const char tail[] = "\xff"
                               "unscoped/service\xff";
    uint8_t small[256], *p = small;
    _cleanup_buf_ struct buf large = {0};
    const size_t len = service.len + sizeof tail - 1 + 8;

    if (len > sizeof small)
        p = buf_add(&large, len);
    memcpy(p, service.data, service.len);
    memcpy(p + service.len, tail, sizeof tail - 1);
    put_u64le(p + len - 8, bucket);
    return hash64(slice_of(p, len));
}

bool id_is_scope(struct slice s) {
    for (size_t i = 0; i < s.len; i++)
        if (!isalnum(s.data[i]) && !memchr("_.-", s.data[i], 3))
            return false;
    return s.len > 0 && s.len <= 36;
}

uint64_t id_partition_key(const struct id_target *t, unsigned bucket) {
    if (t->scope.data)
        return hash_partition_key(t->scope);
    if (is_keyed(t->type))
        return hash_partition_key(t->key);
    if (t->idem_key.data)
        bucket = (unsigned)(hash_partition_key(t->idem_key) % ID_BUCKETS);
    return bucket_key(t->service, bucket);
}

bool invocation_id_derive(const struct id_target *t, uint64_t now_ms, const uint8_t random[ID_RANDOM_BYTES],
                          struct invocation_id *ret) {
    const bool run = t->type == TARGET_WORKFLOW_RUN;
    const unsigned bucket = (random[10] | (unsigned)random[11] << 8) % ID_BUCKETS;
    const struct slice comma = SLICE_LIT(",");
    struct slice parts[11];
    size_t n = 0;
    uint8_t sum[32];

    put_u64be(ret->raw, id_partition_key(t, bucket));
    if (!run && !t->idem_key.data) {
        ulid_make(now_ms, random, ret->raw + 8);
        return false;
    }
    parts[n++] = run ? SLICE_LIT("wf") : SLICE_LIT("ik");
    if (t->scope.data)
        parts[n++] = comma, parts[n++] = t->scope;
    parts[n++] = comma, parts[n++] = t->service;
    if (is_keyed(t->type))
        parts[n++] = comma, parts[n++] = t->key;
    if (!run) {
        parts[n++] = comma, parts[n++] = t->handler;
        parts[n++] = comma, parts[n++] = t->idem_key;
    }
    sha256(parts, n, sum);
    memcpy(ret->raw + 8, sum, 16);
    return true;
}

/* --- awakeables --- */

static void format_base64url(const uint8_t *in, size_t n, char *at) { /* without padding */
    uint32_t acc = 0;
    unsigned bits = 0;

    for (size_t i = 0; i < n; i++) {
        acc = acc << 8 | in[i];
        for (bits += 8; bits >= 6; bits -= 6)
            *at++ = base64_digits[acc >> (bits - 6) & 63];
    }
    if (bits)
        *at = base64_digits[acc << (6 - bits) & 63];
}

static bool parse_base64url(struct slice in, uint8_t *ret, size_t n) { /* exactly @n bytes, no padding */
    uint32_t acc = 0;
    unsigned bits = 0;
    size_t got = 0;

    for (size_t i = 0; i < in.len; i++) {
        const char *d = in.data[i] ? strchr(base64_digits, in.data[i]) : NULL;

        if (!d)
            return false;
        acc = acc << 6 | (uint32_t)(d - base64_digits);
        bits += 6;
        if (bits < 8)
            continue;
        if (got == n)
            return false;
        bits -= 8;
        ret[got++] = (uint8_t)(acc >> bits);
    }
    return got == n && bits < 6 && (acc & ((1u << bits) - 1)) == 0;
}

void awakeable_id_format(const struct awakeable_id *id, char ret[AWAKEABLE_ID_CHARS + 1]) {
    uint8_t raw[AWAKEABLE_BYTES];

    memcpy(raw, id->invocation.raw, INVOCATION_ID_BYTES);
    put_u32be(raw + INVOCATION_ID_BYTES, id->index);
    memcpy(ret, id->legacy ? "prom_1" : "sign_1", 6);
    format_base64url(raw, sizeof raw, ret + 6);
    ret[AWAKEABLE_ID_CHARS] = 0;
}

int awakeable_id_parse(struct slice text, struct awakeable_id *ret, struct err *err) {
    const bool legacy = slice_has_prefix(text, SLICE_LIT("prom_"));
    uint8_t raw[AWAKEABLE_BYTES];
    struct slice payload;
    int r = parse_head(text, legacy ? "prom" : "sign", &payload, err);

    if (r < 0)
        return r;
    if (payload.len == 40 && payload.data[38] == '=' && payload.data[39] == '=')
        payload.len = 38;
    if (payload.len != 38)
        return err_set(err, RS_EINVAL, "bad length");
    if (!parse_base64url(payload, raw, sizeof raw))
        return err_set(err, RS_EINVAL, "bad format");
    ret->index = get_u32be(raw + INVOCATION_ID_BYTES);
    ret->legacy = legacy;
    return invocation_id_from_raw(slice_of(raw, INVOCATION_ID_BYTES), &ret->invocation, err);
}

/* --- ULIDs --- */

static const char *const kind_prefix[] = {[ID_DEPLOYMENT] = "dp", [ID_SUBSCRIPTION] = "sub", [ID_SNAPSHOT] = "snap"};

void ulid_make(uint64_t now_ms, const uint8_t random[ULID_RANDOM_BYTES], uint8_t ret[ULID_BYTES]) {
    put_u64be(ret, now_ms << 16);
    memcpy(ret + 6, random, ULID_RANDOM_BYTES);
}

void resource_id_format(enum resource_id_kind kind, const uint8_t ulid[ULID_BYTES],
                        char ret[RESOURCE_ID_MAX_CHARS + 1]) {
    size_t n = strlen(kind_prefix[kind]);

    memcpy(ret, kind_prefix[kind], n);
    memcpy(ret + n, "_1", 2);
    format_u128(ulid, ret + n + 2);
    ret[n + 2 + CHARS_U128] = 0;
}

int resource_id_parse(enum resource_id_kind kind, struct slice text, uint8_t ret[ULID_BYTES], struct err *err) {
    uint8_t raw[ULID_BYTES];
    struct slice payload;
    int r = parse_head(text, kind_prefix[kind], &payload, err);

    if (r < 0)
        return r;
    if (payload.len != CHARS_U128)
        return err_set(err, RS_EINVAL, "bad length");
    if (!parse62(payload.data, CHARS_U128, sizeof raw, raw))
        return err_set(err, RS_EINVAL, "base62 decode error");
    memcpy(ret, raw, sizeof raw);
    return 0;
}

/* --- partitions --- */

static u128 range_start(unsigned i, unsigned n) { /* ceil(i * 2^64 / n) */
    return (((u128)i << 64) + n - 1) / n;
}

struct key_range partition_range(unsigned i, unsigned n) {
    ASSERT(i < n);
    return (struct key_range){(uint64_t)range_start(i, n), (uint64_t)(range_start(i + 1, n) - 1)};
}

unsigned partition_of_key(uint64_t key, unsigned n) {
    ASSERT(n > 0);
    return (unsigned)((u128)key * n >> 64); /* key >= ceil(i * 2^64 / n) exactly when key * n >= i * 2^64 */
}
