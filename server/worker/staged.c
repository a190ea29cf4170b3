/* SPDX-License-Identifier: Apache-2.0 */
/* worker/staged.c : few writes are found by comparing hashes one after the other; from STAGED_LINEAR on there are
 * chains. Scans are rare (inbox, state keys, deleting a journal): they sort what falls into their range. */
#include "worker/staged.h"
#include <stdlib.h>
#include "base/hash.h"

enum { STAGED_LINEAR = 16 };

void sm_writes_clear(struct sm_writes *w) {
    w->n = 0;
    w->mask = 0;
    arena_clear(&w->arena);
}

void sm_writes_done(struct sm_writes *w) {
    free(w->items);
    free(w->buckets);
    arena_done(&w->arena);
    *w = (struct sm_writes){0};
}

static void rebuild(struct sm_writes *w) {
    uint32_t cap = STAGED_LINEAR * 4;

    while (cap < w->cap)
        cap *= 2;
    if (cap > w->buckets_cap) {
        w->buckets = xrealloc(w->buckets, cap * sizeof *w->buckets);
        w->buckets_cap = cap;
    }
    memset(w->buckets, 0, cap * sizeof *w->buckets);
    w->mask = cap - 1;
    for (uint32_t i = 0; i < w->n; i++) {
        uint32_t *b = &w->buckets[w->items[i].hash & w->mask];

        w->items[i].next = *b;
        *b = i + 1;
    }
}

static struct sm_write *find(const struct sm_writes *w, struct slice key, uint64_t hash) {
    if (w->mask) {
        for (uint32_t i = w->buckets[hash & w->mask]; i; i = w->items[i - 1].next)
            if (w->items[i - 1].hash == hash && slice_eq(w->items[i - 1].key, key))
                return &w->items[i - 1];
        return NULL;
    }
    for (uint32_t i = 0; i < w->n; i++)
        if (w->items[i].hash == hash && slice_eq(w->items[i].key, key))
            return &w->items[i];
    return NULL;
}

static void stage(struct sm_writes *w, struct slice key, struct slice value) {
    uint64_t hash = hash64(key);
    struct sm_write *e = find(w, key, hash);

    if (e) {
        e->value = value;
        return;
    }
    if (w->n == w->cap) {
        w->cap = w->cap ? w->cap * 2 : STAGED_LINEAR * 2;
        w->items = xrealloc(w->items, w->cap * sizeof *w->items);
        if (w->mask)
            rebuild(w);
    }
    e = &w->items[w->n++];
    *e = (struct sm_write){.key = arena_copy(&w->arena, key), .value = value, .hash = hash};
    if (w->mask) {
        uint32_t *b = &w->buckets[hash & w->mask];

        e->next = *b;
        *b = w->n;
    } else if (w->n > STAGED_LINEAR) {
        rebuild(w);
    }
}

void stage_put(struct sm_writes *w, struct slice key, struct slice value) {
    ASSERT(value.data && key.len);
    stage(w, key, value);
}

void stage_del(struct sm_writes *w, struct slice key) {
    ASSERT(key.len);
    stage(w, key, SLICE_NULL);
}

const struct sm_write *stage_find(const struct sm_writes *w, struct slice key) {
    return w->n ? find(w, key, hash64(key)) : NULL;
}

static int staged_get(void *arg, struct slice key, struct slice *ret, struct err *err) {
    struct staged_reader *s = arg;
    const struct sm_write *e = stage_find(s->writes, key);

    if (!e)
        return s->base->get(s->base->arg, key, ret, err);
    if (!e->value.data)
        return RS_ENOENT;
    *ret = e->value;
    return 0;
}

struct merge {
    const struct sm_write **items; /* within the range, in the direction of the scan */
    size_t n, at;
    bool reverse;
    sm_each_fn each;
    void *each_arg;
};

static int merge_each(void *arg, struct slice key, struct slice value) {
    struct merge *m = arg;
    int r;

    for (; m->at < m->n; m->at++) {
        const struct sm_write *e = m->items[m->at];
        int c = slice_cmp(e->key, key);

        if (m->reverse ? c < 0 : c > 0)
            break;
        if (e->value.data) {
            r = m->each(m->each_arg, e->key, e->value);
            if (r)
                return r;
        }
        if (c == 0) { /* replaced or deleted */
            m->at++;
            return 0;
        }
    }
    return m->each(m->each_arg, key, value);
}

static int compare(const void *a, const void *b) {
    const struct sm_write *const *x = a, *const *y = b;

    return slice_cmp((*x)->key, (*y)->key);
}

static int staged_scan(void *arg, struct slice lower, struct slice upper, bool reverse, sm_each_fn each, void *each_arg,
                       struct err *err) {
    struct staged_reader *s = arg;
    const struct sm_writes *w = s->writes;
    struct merge m = {.reverse = reverse, .each = each, .each_arg = each_arg};
    int r;

    for (uint32_t i = 0; i < w->n; i++)
        m.n += slice_cmp(w->items[i].key, lower) >= 0 && (!upper.data || slice_cmp(w->items[i].key, upper) < 0);
    if (!m.n)
        return s->base->scan(s->base->arg, lower, upper, reverse, each, each_arg, err);

    m.items = arena_alloc(s->scratch, m.n * sizeof(struct sm_write *));
    m.n = 0;
    for (uint32_t i = 0; i < w->n; i++)
        if (slice_cmp(w->items[i].key, lower) >= 0 && (!upper.data || slice_cmp(w->items[i].key, upper) < 0))
            m.items[m.n++] = &w->items[i];
    qsort(m.items, m.n, sizeof(struct sm_write *), compare);
    for (size_t i = 0; reverse && i < m.n / 2; i++) {
        const struct sm_write *t = m.items[i];

        m.items[i] = m.items[m.n - 1 - i];
        m.items[m.n - 1 - i] = t;
    }
    r = s->base->scan(s->base->arg, lower, upper, reverse, merge_each, &m, err);
    for (; !r && m.at < m.n; m.at++)
        if (m.items[m.at]->value.data)
            r = each(each_arg, m.items[m.at]->key, m.items[m.at]->value);
    return r;
}

void staged_reader_init(struct staged_reader *s, struct sm_writes *writes, struct sm_reader *base,
                        struct arena *scratch) {
    *s = (struct staged_reader){.writes = writes, .base = base, .scratch = scratch};
    s->reader = (struct sm_reader){.get = staged_get, .scan = staged_scan, .arg = s};
}
