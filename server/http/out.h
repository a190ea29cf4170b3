/* SPDX-License-Identifier: Apache-2.0 */
/* http/out.h : a queue of bytes to send, kept as a chain of references so that bodies are not copied. Small pieces are
 * joined in blocks. Used for the output of a connection and for the body of a stream. One loop, folder internal. */
#pragma once
#include <sys/uio.h>

#include "base/bytes.h"

struct http_io; /* what the connections of one server or client share */

enum { OUT_INLINE_SEGS = 4, OUT_BLOCK_BYTES = 16 << 10, OUT_COPY_BELOW = 1024 };

struct out_seg {
    struct bytes *ref;
    const uint8_t *data;
    size_t len;
};
struct http_out { /* zeroed: empty */
    size_t len;   /* bytes in all segments */
    unsigned first, n, cap;
    struct out_seg *seg; /* NULL: the inline ones */
    struct bytes *block; /* being filled; the last segment may end at its end */
    size_t used;         /* of @block */
    struct out_seg inl[OUT_INLINE_SEGS];
};

void http_out_done(struct http_out *o, struct http_io *io);
/* http_out_room() - a place for at least @need (≤ OUT_BLOCK_BYTES) bytes; http_out_commit() counts in what was written.
 */
uint8_t *http_out_room(struct http_out *o, struct http_io *io, size_t need);
void http_out_commit(struct http_out *o, size_t n);
void http_out_put(struct http_out *o, struct http_io *io, const void *data, size_t len); /* copies */
static inline void http_out_put_slice(struct http_out *o, struct http_io *io, struct slice s) {
    http_out_put(o, io, s.data, s.len);
}
void http_out_ref(struct http_out *o, struct http_io *io, struct bytes *take); /* by reference unless small */
/* http_out_move() - the first @n bytes of @from, by reference unless small. */
void http_out_move(struct http_out *to, struct http_out *from, struct http_io *io, size_t n);
int http_out_iov(const struct http_out *o, struct iovec *iov, int max);
void http_out_consume(struct http_out *o, struct http_io *io, size_t n);
/* http_decimal() - @v as text in @text; returns its length. */
size_t http_decimal(char text[20], uint64_t v);
