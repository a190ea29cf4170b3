/* SPDX-License-Identifier: Apache-2.0 */
/* base/arena.h : memory for one command or one request, freed at once. A zeroed struct is an empty arena. Blocks are
 * kept over arena_clear(), up to LIMIT_ARENA_KEEP_BYTES. One owner, one thread. */
#pragma once
#include "base/slice.h"
#include "base/util.h"

struct arena_block;
struct arena {
    struct arena_block *head;
    uint8_t *at, *end;
};

void arena_clear(struct arena *a);
void arena_done(struct arena *a);
void *arena_alloc_slow(struct arena *a, size_t size);
/* arena_alloc() - @size bytes, aligned to 8, not zeroed. Callers bound @size by a limit. */
static inline void *arena_alloc(struct arena *a, size_t size) {
    size_t n = (size + 7) & ~(size_t)7;

    if (LIKELY((size_t)(a->end - a->at) >= n && a->at)) {
        void *p = a->at;
        a->at += n;
        return p;
    }
    return arena_alloc_slow(a, n);
}
static inline void *arena_zalloc(struct arena *a, size_t size) {
    return memset(arena_alloc(a, size), 0, size);
}
#define arena_new(a, type) ((type *)arena_zalloc((a), sizeof(type)))
#define arena_newn(a, type, n) ((type *)arena_zalloc((a), sizeof(type) * (n)))
static inline struct slice arena_copy(struct arena *a, struct slice s) {
    uint8_t *p = arena_alloc(a, s.len ? s.len : 1);

    if (s.len)
        memcpy(p, s.data, s.len);
    return slice_of(p, s.len);
}
static inline char *arena_str(struct arena *a, struct slice s) { /* with a NUL */
    char *p = arena_alloc(a, s.len + 1);

    if (s.len)
        memcpy(p, s.data, s.len);
    p[s.len] = 0;
    return p;
}
static inline void arena_donep(struct arena *a) {
    arena_done(a);
}
#define _cleanup_arena_ _cleanup_(arena_donep)
