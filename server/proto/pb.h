/* SPDX-License-Identifier: Apache-2.0 */
/* proto/pb.h : the parts that the generated codecs share: protobuf wire format on raw memory.
 *
 * gen.py turns NAME.def into NAME.gen.h and NAME.gen.c. Per message: `struct P_m`, and
 *     int    P_m_decode(struct P_m *ret, struct slice in, struct arena *a, struct err *err);
 *     size_t P_m_size(const struct P_m *m);
 *     void   P_m_encode(const struct P_m *m, struct buf *out);           appends
 *     extern const struct pb_message P_m_info;
 * and P_EACH_MESSAGE(X), which is X(m) for each message.
 *
 * Decoding is strict and copies nothing: slices are views into @in, valid as long as it is; only arrays and nested
 * messages come from @a. @ret is written in any case, but means something only on success. Errors, with the name of
 * the message and the field: RS_EINVAL for truncated or overlong varints, lengths past the end, wrong wire types,
 * groups, numbers that do not fit, invalid UTF-8; RS_ETOOBIG when messages are nested deeper than the file's `depth`
 * or the arrays would need more than PB_MEMORY_BASE + PB_MEMORY_FACTOR * in.len bytes. Of a singular field that
 * comes twice the last one counts; fields of a oneof are independent members (the reader checks).
 *
 * Presence: bytes and str are there when data != NULL (SLICE_EMPTY is there and empty), nested messages when the
 * pointer is not NULL, `opt` scalars when has_x, other scalars are left out when zero. Unknown fields are kept, in
 * their order, behind the known ones. */
#pragma once
#include "base/arena.h"
#include "base/buf.h"
#include "base/err.h"
#include "base/slice.h"

#define SLICE_EMPTY ((struct slice){(const uint8_t *)"", 0})

#define PB_MEMORY_BASE (64u << 20) /* bytes of arrays and nested messages one decode may make */
#define PB_MEMORY_FACTOR 4u
#define PB_DEPTH_DEFAULT 1100 /* nested messages; above the depth of service.def, whose futures get wrapped */

/* pb_utf8() - whether @s is valid UTF-8: no overlong forms, no surrogates, nothing above U+10FFFF. */
bool pb_utf8(struct slice s);

/* --- for generated code only ---------------------------------------------------------------------------------- */

enum pb_problem { PB_OK, PB_TRUNCATED, PB_WIRE_TYPE, PB_NOT_UTF8, PB_RANGE, PB_TOO_DEEP, PB_TOO_BIG };
enum pb_wire { PB_VARINT = 0, PB_FIXED64 = 1, PB_LEN = 2, PB_FIXED32 = 5 };

/* What a message is made of: for the texts of errors, and for tests that make messages up. */
enum pb_kind { PB_BYTES, PB_STR, PB_U32, PB_U64, PB_BOOL, PB_MSG };
enum pb_label { PB_PLAIN, PB_OPT, PB_REP };
struct pb_message;
struct pb_field {
    uint32_t number;
    const char *name;
    uint8_t kind, label;
    const struct pb_message *message; /* PB_MSG */
};
struct pb_message {
    const char *name;
    const struct pb_field *fields; /* in the order of the .def file */
    size_t n;
};

struct pb_ctx { /* of one decode */
    struct arena *a;
    struct err *err;
    size_t memory_left;
    unsigned depth_left;
    enum pb_problem problem;
};

/* The readers return the place behind what they read, NULL after setting c->problem. */
const uint8_t *pb_varint_slow(const uint8_t *p, const uint8_t *end, uint64_t *ret, struct pb_ctx *c);
const uint8_t *pb_skip(const uint8_t *p, const uint8_t *end, uint32_t tag, struct pb_ctx *c);
size_t pb_count(const uint8_t *field, const uint8_t *end, uint32_t number, bool varints);
void *pb_array(struct pb_ctx *c, size_t n, size_t size); /* not zeroed; NULL: problem set */
int pb_fail(struct pb_ctx *c, const struct pb_message *m, uint32_t tag);
bool pb_known(const struct pb_message *m, uint32_t tag);
bool pb_unknown(struct slice *unknown, uint8_t **copy, const uint8_t *field, const uint8_t *next, const uint8_t *end,
                struct pb_ctx *c);

static inline const uint8_t *pb_bad(struct pb_ctx *c, enum pb_problem problem) {
    c->problem = problem;
    return NULL;
}
static inline const uint8_t *pb_varint(const uint8_t *p, const uint8_t *end, uint64_t *ret, struct pb_ctx *c) {
    if (LIKELY(p < end && *p < 0x80)) {
        *ret = *p;
        return p + 1;
    }
    return pb_varint_slow(p, end, ret, c);
}
static inline const uint8_t *pb_u32(const uint8_t *p, const uint8_t *end, uint32_t *ret, struct pb_ctx *c) {
    uint64_t v = 0;

    p = pb_varint(p, end, &v, c);
    if (p && UNLIKELY(v > UINT32_MAX))
        return pb_bad(c, PB_RANGE);
    *ret = (uint32_t)v;
    return p;
}
static inline const uint8_t *pb_bool(const uint8_t *p, const uint8_t *end, bool *ret, struct pb_ctx *c) {
    uint64_t v = 0;

    p = pb_varint(p, end, &v, c);
    *ret = v != 0;
    return p;
}
static inline const uint8_t *pb_bytes(const uint8_t *p, const uint8_t *end, struct slice *ret, struct pb_ctx *c) {
    uint64_t n = 0;

    p = pb_varint(p, end, &n, c);
    if (UNLIKELY(!p))
        return NULL;
    if (UNLIKELY(n > (uint64_t)(end - p)))
        return pb_bad(c, PB_TRUNCATED);
    *ret = slice_of(p, (size_t)n);
    return p + n;
}
static inline const uint8_t *pb_str(const uint8_t *p, const uint8_t *end, struct slice *ret, struct pb_ctx *c) {
    p = pb_bytes(p, end, ret, c);
    if (p && UNLIKELY(!pb_utf8(*ret)))
        return pb_bad(c, PB_NOT_UTF8);
    return p;
}

/* Writing goes from the last byte to the first, so that the length of a nested message is known when it is due. */
static inline size_t pb_varint_size(uint64_t v) {
    return ((size_t)(64 - __builtin_clzll(v | 1)) + 6) / 7;
}
static inline uint8_t *pb_w_varint(uint8_t *e, uint64_t v) {
    uint8_t *p;

    if (LIKELY(v < 0x80)) {
        *--e = (uint8_t)v;
        return e;
    }
    e -= pb_varint_size(v);
    for (p = e; v >= 0x80; v >>= 7)
        *p++ = (uint8_t)(v | 0x80);
    *p = (uint8_t)v;
    return e;
}
static inline uint8_t *pb_w_raw(uint8_t *e, struct slice s) {
    if (s.len)
        memcpy(e -= s.len, s.data, s.len);
    return e;
}
static inline uint8_t *pb_w_bytes(uint8_t *e, uint32_t tag, struct slice s) {
    return pb_w_varint(pb_w_varint(pb_w_raw(e, s), s.len), tag);
}
static inline uint8_t *pb_w_num(uint8_t *e, uint32_t tag, uint64_t v) {
    return pb_w_varint(pb_w_varint(e, v), tag);
}
static inline size_t pb_len_size(size_t len) { /* of a length and its bytes */
    return pb_varint_size(len) + len;
}
static inline struct pb_ctx pb_start(struct slice in, unsigned depth, struct arena *a, struct err *err) {
    return (struct pb_ctx){
        .a = a, .err = err, .memory_left = PB_MEMORY_BASE + in.len * PB_MEMORY_FACTOR, .depth_left = depth};
}
static inline bool pb_enter(struct pb_ctx *c) {
    if (UNLIKELY(c->depth_left == 0)) {
        c->problem = PB_TOO_DEEP;
        return false;
    }
    c->depth_left--;
    return true;
}
