/* SPDX-License-Identifier: Apache-2.0 */
/* base/buf.h : owned, growable bytes. One owner, one thread. A zeroed struct is an empty buffer. */
#pragma once
#include "base/slice.h"
#include "base/util.h"
#include "base/err.h"

struct buf {
    uint8_t *data;
    size_t len, cap; /* bytes */
};

void buf_done(struct buf *b); /* frees the memory; @b is empty again */
static inline void buf_clear(struct buf *b) {
    b->len = 0;
}
/* buf_reserve() - room for @more bytes after len; aborts when memory is out (callers bound @more by a limit). Returns
 * the place where they go; len is unchanged. */
uint8_t *buf_reserve(struct buf *b, size_t more);
uint8_t *buf_add(struct buf *b, size_t n); /* reserve @n and count them in; returns where they start */
void buf_put(struct buf *b, const void *data, size_t len);
static inline void buf_put_slice(struct buf *b, struct slice s) {
    buf_put(b, s.data, s.len);
}
static inline void buf_put_str(struct buf *b, const char *s) {
    buf_put(b, s, strlen(s));
}
static inline void buf_put_u8(struct buf *b, uint8_t v) {
    *buf_add(b, 1) = v;
}
static inline void buf_put_u16be(struct buf *b, uint16_t v) {
    put_u16be(buf_add(b, 2), v);
}
static inline void buf_put_u32be(struct buf *b, uint32_t v) {
    put_u32be(buf_add(b, 4), v);
}
static inline void buf_put_u64be(struct buf *b, uint64_t v) {
    put_u64be(buf_add(b, 8), v);
}
static inline void buf_put_u32le(struct buf *b, uint32_t v) {
    put_u32le(buf_add(b, 4), v);
}
static inline void buf_put_u64le(struct buf *b, uint64_t v) {
    put_u64le(buf_add(b, 8), v);
}
void buf_putf(struct buf *b, const char *fmt, ...) RS_PRINTF(2, 3);
void buf_consume(struct buf *b, size_t n); /* drops the first @n bytes */
const char *buf_cstr(struct buf *b);       /* NUL after the end (not counted); valid until the next change */
static inline struct slice buf_slice(const struct buf *b) {
    return slice_of(b->data, b->len);
}
static inline void buf_donep(struct buf *b) {
    buf_done(b);
}
#define _cleanup_buf_ _cleanup_(buf_donep)
