/* SPDX-License-Identifier: Apache-2.0 */
#include "base/buf.h"

#include <stdarg.h>
#include <stdio.h>

void buf_done(struct buf *b) {
    free(b->data);
    *b = (struct buf){0};
}

uint8_t *buf_reserve(struct buf *b, size_t more) {
    size_t need;

    ASSERT(!__builtin_add_overflow(b->len, more, &need));
    if (need > b->cap) {
        size_t cap = MAX(b->cap * 2, (size_t)64);

        cap = MAX(cap, need);
        b->data = xrealloc(b->data, cap);
        b->cap = cap;
    }
    return b->data + b->len;
}

uint8_t *buf_add(struct buf *b, size_t n) {
    uint8_t *p = buf_reserve(b, n);

    b->len += n;
    return p;
}

void buf_put(struct buf *b, const void *data, size_t len) {
    if (len)
        memcpy(buf_add(b, len), data, len);
}

void buf_putf(struct buf *b, const char *fmt, ...) {
    va_list ap, ap2;
    int n;

    va_start(ap, fmt);
    va_copy(ap2, ap);
    n = vsnprintf(NULL, 0, fmt, ap);
    va_end(ap);
    if (n > 0) {
        (void)vsnprintf((char *)buf_reserve(b, (size_t)n + 1), (size_t)n + 1, fmt, ap2);
        b->len += (size_t)n;
    }
    va_end(ap2);
}

void buf_consume(struct buf *b, size_t n) {
    ASSERT(n <= b->len);
    b->len -= n;
    if (b->len && n)
        memmove(b->data, b->data + n, b->len);
}

const char *buf_cstr(struct buf *b) {
    *buf_reserve(b, 1) = 0;
    return (const char *)b->data;
}
