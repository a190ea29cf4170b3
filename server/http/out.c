/* SPDX-License-Identifier: Apache-2.0 */
#include "http/out.h"

#include "http/conn.h"

static struct out_seg *segs(struct http_out *o) {
    return o->seg ? o->seg : o->inl;
}

static struct bytes *block_get(struct http_io *io) {
    if (io->spare)
        return TAKE(io->spare);
    return bytes_new(OUT_BLOCK_BYTES);
}

static void block_put(struct http_io *io, struct bytes *b) {
    if (b && !io->spare && __atomic_load_n(&b->refs, __ATOMIC_ACQUIRE) == 1)
        io->spare = b;
    else
        (void)bytes_unref(b);
}

static struct out_seg *seg_add(struct http_out *o) {
    unsigned cap = o->seg ? o->cap : OUT_INLINE_SEGS;

    if (o->first + o->n == cap) {
        if (o->first >= cap / 2) {
            memmove(segs(o), segs(o) + o->first, o->n * sizeof(struct out_seg));
        } else {
            struct out_seg *v = xnewn(struct out_seg, (size_t)cap * 2);

            memcpy(v, segs(o) + o->first, o->n * sizeof *v);
            free(o->seg);
            o->seg = v;
            o->cap = cap * 2;
        }
        o->first = 0;
    }
    return &segs(o)[o->first + o->n++];
}

static void emptied(struct http_out *o, struct http_io *io) {
    o->first = o->n = 0;
    block_put(io, TAKE(o->block));
    o->used = 0;
    if (o->cap > 64) {
        free(o->seg);
        o->seg = NULL;
        o->cap = 0;
    }
}

void http_out_done(struct http_out *o, struct http_io *io) {
    for (unsigned i = 0; i < o->n; i++)
        (void)bytes_unref(segs(o)[o->first + i].ref);
    o->len = 0;
    emptied(o, io);
    free(o->seg);
    o->seg = NULL;
    o->cap = 0;
}

uint8_t *http_out_room(struct http_out *o, struct http_io *io, size_t need) {
    ASSERT(need <= OUT_BLOCK_BYTES);
    if (o->block && OUT_BLOCK_BYTES - o->used < need)
        o->block = bytes_unref(o->block);
    if (!o->block) {
        o->block = block_get(io);
        o->used = 0;
    }
    return o->block->data + o->used;
}

void http_out_commit(struct http_out *o, size_t n) {
    uint8_t *at = o->block->data + o->used;
    struct out_seg *last = o->n ? &segs(o)[o->first + o->n - 1] : NULL;

    if (n == 0)
        return;
    ASSERT(n <= OUT_BLOCK_BYTES - o->used);
    if (last && last->ref == o->block && last->data + last->len == at)
        last->len += n;
    else
        *seg_add(o) = (struct out_seg){bytes_ref(o->block), at, n};
    o->used += n;
    o->len += n;
}

void http_out_put(struct http_out *o, struct http_io *io, const void *data, size_t len) {
    const uint8_t *p = data;

    while (len) {
        size_t room = o->block ? OUT_BLOCK_BYTES - o->used : 0, n;

        n = MIN(len, room ? room : (size_t)OUT_BLOCK_BYTES);
        memcpy(http_out_room(o, io, n), p, n);
        http_out_commit(o, n);
        p += n;
        len -= n;
    }
}

static void add_ref(struct http_out *o, struct http_io *io, struct bytes *take, const uint8_t *data, size_t len) {
    if (len < OUT_COPY_BELOW) {
        http_out_put(o, io, data, len);
        (void)bytes_unref(take);
        return;
    }
    *seg_add(o) = (struct out_seg){take, data, len};
    o->len += len;
}

void http_out_ref(struct http_out *o, struct http_io *io, struct bytes *take) {
    if (take)
        add_ref(o, io, take, take->data, take->len);
}

void http_out_move(struct http_out *to, struct http_out *from, struct http_io *io, size_t n) {
    ASSERT(n <= from->len);
    from->len -= n;
    while (n) {
        struct out_seg *s = &segs(from)[from->first];
        size_t part = MIN(n, s->len);

        if (part == s->len) {
            add_ref(to, io, s->ref, s->data, part);
            from->first++;
            from->n--;
        } else {
            add_ref(to, io, bytes_ref(s->ref), s->data, part);
            s->data += part;
            s->len -= part;
        }
        n -= part;
    }
    if (from->n == 0)
        emptied(from, io);
}

int http_out_iov(const struct http_out *o, struct iovec *iov, int max) {
    const struct out_seg *s = (o->seg ? o->seg : o->inl) + o->first;
    int n = 0;

    for (; n < max && (unsigned)n < o->n; n++)
        iov[n] = (struct iovec){(void *)(uintptr_t)s[n].data, s[n].len};
    return n;
}

void http_out_consume(struct http_out *o, struct http_io *io, size_t n) {
    ASSERT(n <= o->len);
    o->len -= n;
    while (n) {
        struct out_seg *s = &segs(o)[o->first];
        size_t part = MIN(n, s->len);

        s->data += part;
        s->len -= part;
        n -= part;
        if (s->len == 0) {
            (void)bytes_unref(s->ref);
            o->first++;
            o->n--;
        }
    }
    if (o->n == 0)
        emptied(o, io);
}

size_t http_decimal(char text[20], uint64_t v) {
    char back[20];
    size_t n = 0;

    do {
        back[n++] = (char)('0' + v % 10);
        v /= 10;
    } while (v);
    for (size_t i = 0; i < n; i++)
        text[i] = back[n - 1 - i];
    return n;
}
