/* SPDX-License-Identifier: Apache-2.0 */
#include "base/arena.h"
#include "base/limits.h"

struct arena_block {
    struct arena_block *next;
    size_t size;
    _Alignas(16) uint8_t data[];
};

enum { BLOCK_MIN = 4096 - sizeof(struct arena_block) };

void *arena_alloc_slow(struct arena *a, size_t size) {
    size_t want = MAX(size, a->head ? MIN(a->head->size * 2, (size_t)65536) : (size_t)BLOCK_MIN);
    struct arena_block *b = xmalloc(sizeof *b + want);

    b->size = want;
    b->next = a->head;
    a->head = b;
    a->at = b->data + size;
    a->end = b->data + want;
    return b->data;
}

void arena_clear(struct arena *a) {
    struct arena_block *keep = NULL;

    while (a->head) {
        struct arena_block *b = a->head;

        a->head = b->next;
        if (!keep && b->size <= LIMIT_ARENA_KEEP_BYTES)
            keep = b;
        else
            free(b);
    }
    a->head = keep;
    a->at = keep ? keep->data : NULL;
    a->end = keep ? keep->data + keep->size : NULL;
    if (keep)
        keep->next = NULL;
}

void arena_done(struct arena *a) {
    while (a->head) {
        struct arena_block *b = a->head;

        a->head = b->next;
        free(b);
    }
    *a = (struct arena){0};
}
