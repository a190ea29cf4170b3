/* SPDX-License-Identifier: Apache-2.0 */
/* base/slice.h : borrowed bytes, and little/big-endian access to raw memory. A slice never owns anything. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct slice {
    const uint8_t *data; /* NULL and len 0: absent, where presence matters */
    size_t len;          /* bytes */
};

#define SLICE_NULL ((struct slice){NULL, 0})
#define SLICE_LIT(s) ((struct slice){(const uint8_t *)(s), sizeof(s) - 1})
#define SLICE_FMT "%.*s"
#define SLICE_ARG(s) (int)(s).len, (const char *)(s).data

static inline struct slice slice_of(const void *data, size_t len) {
    return (struct slice){(const uint8_t *)data, len};
}
static inline struct slice slice_str(const char *s) {
    return (struct slice){(const uint8_t *)s, s ? strlen(s) : 0};
}
static inline bool slice_eq(struct slice a, struct slice b) {
    return a.len == b.len && (a.len == 0 || memcmp(a.data, b.data, a.len) == 0);
}
static inline bool slice_eq_str(struct slice a, const char *s) {
    return slice_eq(a, slice_str(s));
}
/* Bytewise order, the order of every store. */
static inline int slice_cmp(struct slice a, struct slice b) {
    size_t n = a.len < b.len ? a.len : b.len;
    int c = n ? memcmp(a.data, b.data, n) : 0;

    return c ? c : (a.len > b.len) - (a.len < b.len);
}
static inline bool slice_has_prefix(struct slice s, struct slice prefix) {
    return s.len >= prefix.len && (prefix.len == 0 || memcmp(s.data, prefix.data, prefix.len) == 0);
}
static inline struct slice slice_from(struct slice s, size_t from) {
    return from >= s.len ? slice_of(s.data ? s.data + s.len : NULL, 0) : slice_of(s.data + from, s.len - from);
}
static inline struct slice slice_sub(struct slice s, size_t from, size_t len) {
    s = slice_from(s, from);
    return slice_of(s.data, len < s.len ? len : s.len);
}

static inline void put_u16le(uint8_t *p, uint16_t v) {
    p[0] = (uint8_t)v;
    p[1] = (uint8_t)(v >> 8);
}
static inline void put_u32le(uint8_t *p, uint32_t v) {
    put_u16le(p, (uint16_t)v);
    put_u16le(p + 2, (uint16_t)(v >> 16));
}
static inline void put_u64le(uint8_t *p, uint64_t v) {
    put_u32le(p, (uint32_t)v);
    put_u32le(p + 4, (uint32_t)(v >> 32));
}
static inline uint16_t get_u16le(const uint8_t *p) {
    return (uint16_t)(p[0] | p[1] << 8);
}
static inline uint32_t get_u32le(const uint8_t *p) {
    return get_u16le(p) | (uint32_t)get_u16le(p + 2) << 16;
}
static inline uint64_t get_u64le(const uint8_t *p) {
    return get_u32le(p) | (uint64_t)get_u32le(p + 4) << 32;
}
static inline void put_u16be(uint8_t *p, uint16_t v) {
    p[0] = (uint8_t)(v >> 8);
    p[1] = (uint8_t)v;
}
static inline void put_u32be(uint8_t *p, uint32_t v) {
    put_u16be(p, (uint16_t)(v >> 16));
    put_u16be(p + 2, (uint16_t)v);
}
static inline void put_u64be(uint8_t *p, uint64_t v) {
    put_u32be(p, (uint32_t)(v >> 32));
    put_u32be(p + 4, (uint32_t)v);
}
static inline uint16_t get_u16be(const uint8_t *p) {
    return (uint16_t)(p[0] << 8 | p[1]);
}
static inline uint32_t get_u32be(const uint8_t *p) {
    return (uint32_t)get_u16be(p) << 16 | get_u16be(p + 2);
}
static inline uint64_t get_u64be(const uint8_t *p) {
    return (uint64_t)get_u32be(p) << 32 | get_u32be(p + 4);
}
