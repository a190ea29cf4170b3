/* SPDX-License-Identifier: Apache-2.0 */
/* Nodes carry the first eight bytes of each key, so that most steps of a search compare integers without a cache miss.
 */
#include "storage/tree.h"

#include "base/limits.h"

enum { MAX_HEIGHT = 12 };

struct inner { /* child[i] holds keys >= key[i]; key[0] is never looked at */
    int n;
    uint64_t prefix[TREE_FANOUT];
    struct tree_entry *key[TREE_FANOUT];
    void *child[TREE_FANOUT];
};
struct path {
    struct inner *node;
    int i;
};

static uint64_t prefix_of(struct slice key) {
    uint8_t b[8] = {0};

    if (LIKELY(key.len >= 8))
        return get_u64be(key.data);
    if (key.len)
        memcpy(b, key.data, key.len);
    return get_u64be(b);
}

/* How many of the keys [from, n) are < @key (or <= @key with @or_equal), plus @from. */
static int rank(const uint64_t *prefix, struct tree_entry *const *keys, int from, int n, uint64_t p, struct slice key,
                bool or_equal) {
    int lo = from, hi = n;

    while (lo < hi) {
        int mid = (lo + hi) / 2;
        bool before = prefix[mid] < p;

        if (prefix[mid] == p) {
            int c = slice_cmp(tree_key(keys[mid]), key);

            before = c < 0 || (or_equal && c == 0);
        }
        if (before)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

static struct tree_leaf *descend(const struct tree *t, uint64_t p, struct slice key, struct path *path) {
    void *node = t->root;

    for (unsigned h = 0; h < t->height; h++) {
        struct inner *in = node;
        int i = rank(in->prefix, in->key, 1, in->n, p, key, true) - 1;

        if (path)
            path[h] = (struct path){in, i};
        node = in->child[i];
    }
    return node;
}

const struct tree_entry *tree_get(const struct tree *t, struct slice key) {
    uint64_t p = prefix_of(key);
    struct tree_leaf *l;
    int i;

    if (!t->root)
        return NULL;
    l = descend(t, p, key, NULL);
    i = rank(l->prefix, l->entry, 0, l->n, p, key, false);
    if (i == l->n || l->prefix[i] != p || !slice_eq(tree_key(l->entry[i]), key))
        return NULL;
    return l->entry[i];
}

struct tree_cursor tree_seek_ge(const struct tree *t, struct slice key) {
    uint64_t p = prefix_of(key);
    struct tree_cursor c = {0};

    if (!t->root)
        return c;
    c.leaf = descend(t, p, key, NULL);
    c.i = rank(c.leaf->prefix, c.leaf->entry, 0, c.leaf->n, p, key, false);
    if (c.i == c.leaf->n)
        c = (struct tree_cursor){c.leaf->next, 0};
    return c;
}

struct tree_cursor tree_seek_lt(const struct tree *t, struct slice key) {
    uint64_t p = prefix_of(key);
    struct tree_cursor c = {0};

    if (!t->root)
        return c;
    c.leaf = descend(t, p, key, NULL);
    c.i = rank(c.leaf->prefix, c.leaf->entry, 0, c.leaf->n, p, key, false);
    tree_prev(&c);
    return c;
}

/* ---- insertion ---- */

static void inner_insert(struct inner *in, int at, uint64_t prefix, struct tree_entry *key, void *child) {
    size_t move = (size_t)(in->n - at);

    memmove(in->prefix + at + 1, in->prefix + at, move * sizeof in->prefix[0]);
    memmove(in->key + at + 1, in->key + at, move * sizeof in->key[0]);
    memmove(in->child + at + 1, in->child + at, move * sizeof in->child[0]);
    in->prefix[at] = prefix;
    in->key[at] = key;
    in->child[at] = child;
    in->n++;
}

/* Puts the new right sibling @child, whose smallest key is @key, into the parents, from the lowest up. Returns bytes
 * used. */
static size_t add_to_parents(struct tree *t, struct arena *a, struct path *path, struct tree_entry *key, void *child) {
    size_t used = 0;
    struct inner *root;

    for (unsigned h = t->height; h-- > 0;) {
        struct inner *in = path[h].node, *right;
        int at = path[h].i + 1, keep;

        if (in->n < TREE_FANOUT) {
            inner_insert(in, at, prefix_of(tree_key(key)), key, child);
            return used;
        }
        right = arena_alloc(a, sizeof *right);
        used += sizeof *right;
        keep = at == in->n ? TREE_FANOUT - 1 : TREE_FANOUT / 2;
        right->n = in->n - keep;
        memcpy(right->prefix, in->prefix + keep, (size_t)right->n * sizeof in->prefix[0]);
        memcpy(right->key, in->key + keep, (size_t)right->n * sizeof in->key[0]);
        memcpy(right->child, in->child + keep, (size_t)right->n * sizeof in->child[0]);
        in->n = keep;
        if (keep == TREE_FANOUT / 2 && at <= keep)
            inner_insert(in, at, prefix_of(tree_key(key)), key, child);
        else
            inner_insert(right, at - keep, prefix_of(tree_key(key)), key, child);
        key = right->key[0];
        child = right;
    }
    ASSERT(t->height < MAX_HEIGHT);
    root = arena_alloc(a, sizeof *root);
    root->n = 1;
    root->prefix[0] = 0;
    root->key[0] = NULL;
    root->child[0] = t->root;
    inner_insert(root, 1, prefix_of(tree_key(key)), key, child);
    t->root = root;
    t->height++;
    return used + sizeof *root;
}

static struct tree_leaf *split_leaf(struct tree *t, struct arena *a, struct tree_leaf *l, int at) {
    struct tree_leaf *right = arena_alloc(a, sizeof *right);
    int keep = at == l->n && !l->next ? l->n : l->n / 2; /* rising keys fill leaves to the brim */

    right->n = l->n - keep;
    memcpy(right->prefix, l->prefix + keep, (size_t)right->n * sizeof l->prefix[0]);
    memcpy(right->entry, l->entry + keep, (size_t)right->n * sizeof l->entry[0]);
    l->n = keep;
    right->next = l->next;
    right->prev = l;
    if (l->next)
        l->next->prev = right;
    else
        t->last = right;
    l->next = right;
    return right;
}

static void leaf_insert(struct tree_leaf *l, int at, uint64_t prefix, struct tree_entry *e) {
    size_t move = (size_t)(l->n - at);

    memmove(l->prefix + at + 1, l->prefix + at, move * sizeof l->prefix[0]);
    memmove(l->entry + at + 1, l->entry + at, move * sizeof l->entry[0]);
    l->prefix[at] = prefix;
    l->entry[at] = e;
    l->n++;
}

static size_t entry_set(struct tree_entry *e, struct arena *a, struct slice value, bool deleted) {
    size_t used = 0;

    if (value.len > e->value_cap) {
        e->value = arena_alloc(a, value.len);
        e->value_cap = (uint32_t)value.len;
        used = value.len;
    }
    if (value.len)
        memmove(e->value, value.data, value.len); /* the caller may hold the old value of this very row */
    e->value_len = (uint32_t)value.len;
    e->deleted = deleted;
    return used;
}

static struct tree_entry *entry_new(struct arena *a, struct slice key, struct slice value, bool deleted) {
    struct tree_entry *e = arena_alloc(a, sizeof *e + key.len + value.len);

    e->key_len = (uint16_t)key.len;
    if (key.len)
        memcpy(e->key, key.data, key.len);
    e->value = e->key + key.len;
    e->value_cap = e->value_len = (uint32_t)value.len;
    e->deleted = deleted;
    if (value.len)
        memcpy(e->value, value.data, value.len);
    return e;
}

size_t tree_put(struct tree *t, struct arena *a, struct slice key, struct slice value, bool deleted) {
    struct path path[MAX_HEIGHT];
    uint64_t p = prefix_of(key);
    struct tree_leaf *l, *right = NULL;
    struct tree_entry *e;
    size_t used = 0;
    int i;

    ASSERT(key.len <= LIMIT_KEY_BYTES);
    ASSERT(value.len < UINT32_MAX);
    if (!t->root) {
        l = arena_alloc(a, sizeof *l);
        l->next = l->prev = NULL;
        l->n = 0;
        t->root = t->first = t->last = l;
        used += sizeof *l;
    }
    l = descend(t, p, key, path);
    i = rank(l->prefix, l->entry, 0, l->n, p, key, false);
    if (i < l->n && l->prefix[i] == p && slice_eq(tree_key(l->entry[i]), key))
        return entry_set(l->entry[i], a, value, deleted);
    e = entry_new(a, key, value, deleted);
    used += sizeof *e + key.len + value.len;
    t->n++;
    if (l->n < TREE_FANOUT) {
        leaf_insert(l, i, p, e);
        return used;
    }
    right = split_leaf(t, a, l, i);
    used += sizeof *right;
    if (i <= l->n && l->n < TREE_FANOUT)
        leaf_insert(l, i, p, e);
    else
        leaf_insert(right, i - l->n, p, e);
    return used + add_to_parents(t, a, path, right->entry[0], right);
}
