/* SPDX-License-Identifier: Apache-2.0 */
/* storage/scan.c : ordered scans of a RELAXED store: active, frozen and engine merged; the newest source of a key wins.
 */
#include "storage/store_internal.h"

enum { ENGINE = GENERATIONS, SOURCES = GENERATIONS + 1 };

struct merge {
    struct store *s;
    bool reverse;
    struct slice lower, upper;
    int n; /* trees, newest first, in slots [0, n); the engine is in ENGINE */
    struct tree_cursor cur[GENERATIONS];
    bool has[SOURCES];
    struct slice key[SOURCES];
    struct slice engine_value;
    rs_iter *it;             /* the engine's rows from its view ... */
    struct cold_cursor cold; /* ... or, when it is NULL, from what a cold scan brought */
};

static void tree_load(struct merge *m, int i) {
    const struct tree_entry *e = tree_at(&m->cur[i]);

    m->has[i] = false;
    if (!e)
        return;
    m->key[i] = tree_key(e);
    m->has[i] = m->reverse ? slice_cmp(m->key[i], m->lower) >= 0 : !m->upper.data || slice_cmp(m->key[i], m->upper) < 0;
}

static void add_tree(struct merge *m, const struct tree *t) {
    int i = m->n;

    if (!t->root)
        return;
    if (m->reverse)
        m->cur[i] = m->upper.data ? tree_seek_lt(t, m->upper) : tree_last(t);
    else
        m->cur[i] = m->lower.len ? tree_seek_ge(t, m->lower) : tree_first(t);
    tree_load(m, i);
    if (m->has[i])
        m->n++;
}

static int engine_load(struct merge *m, struct store_table *t, struct err *err) {
    rs_error e;
    rs_slice k, v;
    int r;

    m->has[ENGINE] = false;
    if (m->it) {
        e.struct_size = sizeof e;
        e.flags = 0;
        e.native = 0;
        e.msg[0] = 0;
        r = m->s->p.ops->iter_next(m->it, &k, &v, &e);
        if (r > 0) {
            m->key[ENGINE] = slice_of_rs(k);
            m->engine_value = slice_of_rs(v);
        } else if (r < 0 && r != RS_EAGAIN) {
            return store_error(m->s, r, &e, err, "cannot scan");
        }
    } else {
        r = cold_next(&m->cold, &m->key[ENGINE], &m->engine_value);
    }
    if (r == RS_EAGAIN)
        cold_missed_scan(m->s, t, m->lower, m->upper, m->reverse);
    m->has[ENGINE] = r > 0;
    return r < 0 ? r : 0;
}

static int engine_open(struct merge *m, struct store_table *t, struct err *err) {
    const struct cold_range *range = cold_find(m->s, t, m->lower, m->upper, m->reverse);
    rs_range rr = {.struct_size = sizeof rr,
                   .flags = RS_READ_CACHED | (m->reverse ? RS_RANGE_REVERSE : 0u),
                   .lower = rs_of(m->lower),
                   .upper = rs_of(m->upper)};
    rs_error e = {.struct_size = sizeof e};
    int r;

    if (range) {
        m->cold = cold_cursor(range, m->lower, m->upper, m->reverse);
        return engine_load(m, t, err);
    }
    r = m->s->cached_reads ? m->s->p.ops->iter_new(m->s->view, t->rs, &rr, &m->it, &e) : RS_EAGAIN;
    if (r == RS_EAGAIN) {
        cold_missed_scan(m->s, t, m->lower, m->upper, m->reverse);
        return r;
    }
    return r < 0 ? store_error(m->s, r, &e, err, "cannot scan") : engine_load(m, t, err);
}

/* The source of the next row, newest first among equal keys; -1: the end. */
static int pick(const struct merge *m) {
    int best = -1;

    for (int k = 0; k <= m->n; k++) {
        int i = k < m->n ? k : ENGINE, c;

        if (!m->has[i])
            continue;
        if (best < 0) {
            best = i;
            continue;
        }
        c = slice_cmp(m->key[i], m->key[best]);
        if (m->reverse ? c > 0 : c < 0)
            best = i;
    }
    return best;
}

static int merge_run(struct merge *m, struct store_table *t, store_each_fn each, void *arg, struct err *err) {
    int best;

    while ((best = pick(m)) >= 0) {
        struct slice key = m->key[best], value = m->engine_value;
        bool deleted = false;
        int r = 0;

        if (best != ENGINE) {
            const struct tree_entry *e = tree_at(&m->cur[best]);

            value = tree_value(e);
            deleted = e->deleted;
        }
        if (!deleted && (r = each(arg, key, value)) != 0)
            return r;
        for (int i = 0; i < m->n; i++) {
            if (i != best && !(m->has[i] && slice_eq(m->key[i], key)))
                continue;
            if (m->reverse)
                tree_prev(&m->cur[i]);
            else
                tree_next(&m->cur[i]);
            tree_load(m, i);
        }
        if (best == ENGINE || (m->has[ENGINE] && slice_eq(m->key[ENGINE], key))) /* last: @key may be the engine's */
            r = engine_load(m, t, err);
        if (r < 0)
            return r;
    }
    return 0;
}

int store_scan(struct store *s, struct store_table *t, struct slice lower, struct slice upper, bool reverse,
               store_each_fn each, void *arg, struct err *err) {
    struct merge m;
    int r;

    ASSERT_SLOW(loop_is_current(s->p.loop));
    if (UNLIKELY(s->poisoned))
        return err_set(err, RS_ECLOSED, "store %s is poisoned: %s", s->name, s->why.msg);
    if (upper.data && slice_cmp(lower, upper) >= 0)
        return 0;
    m.s = s;
    m.reverse = reverse;
    m.lower = lower;
    m.upper = upper;
    m.n = 0;
    m.it = NULL;
    add_tree(&m, &t->trees[s->active->slot]);
    for (unsigned i = s->n_frozen; i-- > 0;)
        add_tree(&m, &t->trees[s->frozen[i]->slot]);
    r = engine_open(&m, t, err);
    if (r == 0)
        r = merge_run(&m, t, each, arg, err);
    if (m.it)
        s->p.ops->iter_free(m.it);
    return r;
}
