/* SPDX-License-Identifier: Apache-2.0 */
#include "base/hash.h"
#include "base/util.h"

#define XXH_INLINE_ALL
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wconversion"
#pragma GCC diagnostic ignored "-Wcast-qual"
#pragma GCC diagnostic ignored "-Wundef"
#pragma GCC diagnostic ignored "-Wshadow"
#include <xxhash.h>
#pragma GCC diagnostic pop

uint64_t hash64(struct slice s) {
    return XXH3_64bits(s.data, s.len);
}
uint64_t hash64_seed(struct slice s, uint64_t seed) {
    return XXH3_64bits_withSeed(s.data, s.len, seed);
}

uint64_t hash_partition_key(struct slice s) {
    uint8_t small[512];
    XXH3_state_t state;

    if (s.len < sizeof small) {
        if (s.len)
            memcpy(small, s.data, s.len);
        small[s.len] = 0xff;
        return XXH3_64bits(small, s.len + 1);
    }
    (void)XXH3_64bits_reset(&state);
    (void)XXH3_64bits_update(&state, s.data, s.len);
    (void)XXH3_64bits_update(&state, "\xff", 1);
    return XXH3_64bits_digest(&state);
}

/* ---- CRC32C: the SSE4.2 instruction where there is one, otherwise bit by bit over each byte. ---- */
static uint32_t crc_table_entry(uint32_t i) {
    for (int k = 0; k < 8; k++)
        i = (i & 1) ? (i >> 1) ^ 0x82f63b78u : i >> 1;
    return i;
}

static uint32_t crc_soft(uint32_t c, const uint8_t *p, size_t len) {
    while (len--)
        c = crc_table_entry((c ^ *p++) & 0xff) ^ (c >> 8);
    return c;
}

#if defined(__x86_64__)
#include <nmmintrin.h>
__attribute__((target("sse4.2"))) static uint32_t crc_hard(uint32_t c, const uint8_t *p, size_t len) {
    uint64_t c64 = c;

    for (; len >= 8; len -= 8, p += 8) {
        uint64_t v;
        memcpy(&v, p, 8);
        c64 = _mm_crc32_u64(c64, v);
    }
    c = (uint32_t)c64;
    for (; len; len--)
        c = _mm_crc32_u8(c, *p++);
    return c;
}
#endif

uint32_t crc32c(uint32_t seed, const void *data, size_t len) {
    uint32_t c = ~seed;

#if defined(__x86_64__)
    if (__builtin_cpu_supports("sse4.2"))
        return ~crc_hard(c, data, len);
#endif
    return ~crc_soft(c, data, len);
}

/* ---- SipHash-1-3 ---- */
static uint64_t rotl(uint64_t x, int b) {
    return x << b | x >> (64 - b);
}

static void sip_round(uint64_t v[4]) {
    v[0] += v[1];
    v[1] = rotl(v[1], 13) ^ v[0];
    v[0] = rotl(v[0], 32);
    v[2] += v[3];
    v[3] = rotl(v[3], 16) ^ v[2];
    v[0] += v[3];
    v[3] = rotl(v[3], 21) ^ v[0];
    v[2] += v[1];
    v[1] = rotl(v[1], 17) ^ v[2];
    v[2] = rotl(v[2], 32);
}

uint64_t siphash13(const void *data, size_t len) {
    uint64_t v[4] = {0x736f6d6570736575u, 0x646f72616e646f6du, 0x6c7967656e657261u, 0x7465646279746573u};
    const uint8_t *p = data;
    uint64_t m = 0;
    size_t i;

    for (i = 0; i + 8 <= len; i += 8) {
        m = get_u64le(p + i);
        v[3] ^= m;
        sip_round(v);
        v[0] ^= m;
    }
    m = (uint64_t)len << 56;
    for (size_t k = 0; i + k < len; k++)
        m |= (uint64_t)p[i + k] << (8 * k);
    v[3] ^= m;
    sip_round(v);
    v[0] ^= m;
    v[2] ^= 0xff;
    for (int k = 0; k < 3; k++)
        sip_round(v);
    return v[0] ^ v[1] ^ v[2] ^ v[3];
}
