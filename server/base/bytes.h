/* SPDX-License-Identifier: Apache-2.0 */
/* base/bytes.h : refcounted immutable bytes. The one type with an atomic count, so that a payload may pass from socket
 * to writer thread, cache and peers without a copy. The bytes are writable only by the maker, before the first share.
 */
#pragma once
#include "base/slice.h"
#include "base/util.h"
#include "base/buf.h"

struct bytes {
    uint32_t refs; /* atomic */
    size_t len;
    uint8_t *data; /* behind the struct, or a buffer taken over */
    uint8_t inl[];
};

struct bytes *bytes_new(size_t len); /* uninitialised, one reference */
struct bytes *bytes_copy(struct slice s);
struct bytes *bytes_take_buf(struct buf *take); /* takes the buffer's memory; @take is empty afterwards */
static inline struct bytes *bytes_ref(struct bytes *b) {
    (void)__atomic_add_fetch(&b->refs, 1, __ATOMIC_RELAXED);
    return b;
}
struct bytes *bytes_unref(struct bytes *b); /* always NULL; accepts NULL */
static inline struct slice bytes_slice(const struct bytes *b) {
    return b ? slice_of(b->data, b->len) : SLICE_NULL;
}
DEFINE_CLEANUP(bytes, bytes_unref)
