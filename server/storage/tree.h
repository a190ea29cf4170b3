/* SPDX-License-Identifier: Apache-2.0 */
/* storage/tree.h : an ordered map in arena memory, a B+tree that only grows: one table's rows of one overlay
 * generation.
 *
 * A deletion is a row of its own (tombstone). Memory belongs to the arena given to tree_put(); when that is cleared,
 * zero the tree. One writer; any number of readers once nobody writes. */
#pragma once
#include "base/arena.h"
#include "base/slice.h"

enum { TREE_FANOUT = 32 };

struct tree_entry {
    uint8_t *value;
    uint32_t value_len, value_cap; /* bytes; a value is replaced in place when it fits */
    uint16_t key_len;
    bool deleted;
    uint8_t key[];
};
struct tree_leaf;
struct tree { /* zeroed: empty */
    void *root;
    unsigned height; /* levels above the leaves */
    struct tree_leaf *first, *last;
    size_t n;
};
struct tree_cursor {
    struct tree_leaf *leaf; /* NULL: past either end */
    int i;
};
struct tree_leaf {
    struct tree_leaf *next, *prev;
    int n;
    uint64_t prefix[TREE_FANOUT]; /* first 8 key bytes, big-endian, padded with zeros */
    struct tree_entry *entry[TREE_FANOUT];
};

/* tree_put() - set the newest value of @key, or its deletion. Copies both. Values are below 4 GiB, keys at most
 * LIMIT_KEY_BYTES. Returns about how many bytes the arena gave. */
size_t tree_put(struct tree *t, struct arena *a, struct slice key, struct slice value, bool deleted);
/* tree_get() - NULL: no row, neither value nor deletion. */
const struct tree_entry *tree_get(const struct tree *t, struct slice key);

struct tree_cursor tree_seek_ge(const struct tree *t, struct slice key); /* first row >= key */
struct tree_cursor tree_seek_lt(const struct tree *t, struct slice key); /* last row < key */
static inline struct tree_cursor tree_first(const struct tree *t) {
    return (struct tree_cursor){t->first, 0};
}
static inline struct tree_cursor tree_last(const struct tree *t) {
    return (struct tree_cursor){t->last, t->last ? t->last->n - 1 : 0};
}
static inline struct tree_entry *tree_at(const struct tree_cursor *c) { /* NULL at the end */
    return c->leaf ? c->leaf->entry[c->i] : NULL;
}
static inline void tree_next(struct tree_cursor *c) {
    if (++c->i >= c->leaf->n)
        *c = (struct tree_cursor){c->leaf->next, 0};
}
static inline void tree_prev(struct tree_cursor *c) {
    if (--c->i < 0)
        *c = (struct tree_cursor){c->leaf->prev, c->leaf->prev ? c->leaf->prev->n - 1 : 0};
}
static inline struct slice tree_key(const struct tree_entry *e) {
    return slice_of(e->key, e->key_len);
}
static inline struct slice tree_value(const struct tree_entry *e) {
    return slice_of(e->value, e->value_len);
}
