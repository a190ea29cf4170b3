/* SPDX-License-Identifier: Apache-2.0 */
#include "base/bytes.h"

struct bytes *bytes_new(size_t len) {
    struct bytes *b = xmalloc(sizeof *b + len);

    b->refs = 1;
    b->len = len;
    b->data = b->inl;
    return b;
}

struct bytes *bytes_copy(struct slice s) {
    struct bytes *b = bytes_new(s.len);

    if (s.len)
        memcpy(b->data, s.data, s.len);
    return b;
}

struct bytes *bytes_take_buf(struct buf *take) {
    struct bytes *b = xmalloc(sizeof *b);

    b->refs = 1;
    b->len = take->len;
    b->data = take->data;
    *take = (struct buf){0};
    return b;
}

struct bytes *bytes_unref(struct bytes *b) {
    if (b && __atomic_sub_fetch(&b->refs, 1, __ATOMIC_ACQ_REL) == 0) {
        if (b->data != b->inl)
            free(b->data);
        free(b);
    }
    return NULL;
}
