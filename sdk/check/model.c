/* SPDX-License-Identifier: Apache-2.0 */
#include "model.h"
#include <restate/helper.h>
#include <stdlib.h>
#include <string.h>

uint64_t rng_next(struct rng *r) {
    uint64_t z = (r->state += 0x9e3779b97f4a7c15u);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

uint64_t rng_below(struct rng *r, uint64_t n) {
    uint64_t v = rng_next(r);
    return n != 0 ? v % n : 0;
}

static void *must_alloc(void *p) {
    if (p == NULL)
        abort(); /* the kit itself does not survive without memory */
    return p;
}

static void row_unref(struct row *r) {
    if (--r->refs == 0)
        free(r);
}

void model_clear_table(struct model *m, int table) {
    struct model_table *t = &m->table[table];

    for (size_t i = 0; i < t->n; i++)
        row_unref(t->rows[i]);
    free(t->rows);
    *t = (struct model_table){0};
}

void model_clear(struct model *m) {
    for (int i = 0; i < MODEL_TABLES; i++)
        model_clear_table(m, i);
}

void model_copy(const struct model *from, struct model *ret) {
    for (int i = 0; i < MODEL_TABLES; i++) {
        const struct model_table *t = &from->table[i];
        ret->table[i] = (struct model_table){.n = t->n, .cap = t->n};
        if (t->n == 0)
            continue;
        ret->table[i].rows = must_alloc(malloc(t->n * sizeof(struct row *)));
        for (size_t k = 0; k < t->n; k++) {
            ret->table[i].rows[k] = t->rows[k];
            t->rows[k]->refs++;
        }
    }
}

rs_slice row_key(const struct row *r) {
    return (rs_slice){r->bytes, r->key_len};
}
rs_slice row_value(const struct row *r) {
    return (rs_slice){r->bytes + r->key_len, r->value_len};
}

size_t model_lower_bound(const struct model *m, int table, rs_slice key) {
    const struct model_table *t = &m->table[table];
    size_t lo = 0, hi = t->n;

    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        if (rs_slice_cmp(row_key(t->rows[mid]), key) < 0)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

const struct row *model_find(const struct model *m, int table, rs_slice key) {
    const struct model_table *t = &m->table[table];
    size_t i = model_lower_bound(m, table, key);
    return i < t->n && rs_slice_cmp(row_key(t->rows[i]), key) == 0 ? t->rows[i] : NULL;
}

static void remove_rows(struct model_table *t, size_t from, size_t until) {
    if (from >= until)
        return;
    for (size_t i = from; i < until; i++)
        row_unref(t->rows[i]);
    memmove(&t->rows[from], &t->rows[until], (t->n - until) * sizeof(struct row *));
    t->n -= until - from;
}

void model_put(struct model *m, int table, rs_slice key, rs_slice value) {
    struct model_table *t = &m->table[table];
    size_t i = model_lower_bound(m, table, key);
    struct row *r = must_alloc(malloc(sizeof(*r) + key.len + value.len));

    *r = (struct row){.refs = 1, .key_len = key.len, .value_len = value.len};
    memcpy(r->bytes, key.data, key.len);
    if (value.len != 0)
        memcpy(r->bytes + key.len, value.data, value.len);
    if (i < t->n && rs_slice_cmp(row_key(t->rows[i]), key) == 0) {
        row_unref(t->rows[i]);
        t->rows[i] = r;
        return;
    }
    if (t->n == t->cap) {
        t->cap = t->cap != 0 ? t->cap * 2 : 64;
        t->rows = must_alloc(realloc(t->rows, t->cap * sizeof(struct row *)));
    }
    memmove(&t->rows[i + 1], &t->rows[i], (t->n - i) * sizeof(struct row *));
    t->rows[i] = r;
    t->n++;
}

void model_del_range(struct model *m, int table, rs_slice lower, rs_slice upper) {
    size_t from = lower.data != NULL ? model_lower_bound(m, table, lower) : 0;
    size_t until = upper.data != NULL ? model_lower_bound(m, table, upper) : m->table[table].n;
    remove_rows(&m->table[table], from, until);
}

size_t random_key(struct rng *r, unsigned char *buf, size_t max) {
    static const unsigned char letters[] = {0x00, 0x01, 'a', 'b', 0x7f, 0x80, 0xfe, 0xff};
    uint64_t kind = rng_below(r, 20);
    size_t n = kind == 0   ? 1 + (size_t)rng_below(r, max)
               : kind < 10 ? 1 + (size_t)rng_below(r, 3)
                           : 3 + (size_t)rng_below(r, 4);

    if (n > max)
        n = max;
    for (size_t i = 0; i < n; i++)
        buf[i] = kind == 0 && i > 2 ? 'x' : letters[rng_below(r, sizeof(letters))];
    return n;
}

void random_range(struct rng *r, unsigned char *lower_buf, unsigned char *upper_buf, rs_slice *lower, rs_slice *upper) {
    size_t lower_len = random_key(r, lower_buf, MODEL_KEY_MAX), upper_len = random_key(r, upper_buf, MODEL_KEY_MAX);
    uint64_t open = rng_below(r, 16);

    *lower = (rs_slice){(open & 3) == 0 ? NULL : lower_buf, (open & 3) == 0 ? 0 : lower_len};
    *upper = (rs_slice){(open & 12) == 0 ? NULL : upper_buf, (open & 12) == 0 ? 0 : upper_len};
}

static size_t random_value_len(struct rng *r, size_t max) {
    uint64_t kind = rng_below(r, 32);
    return kind == 0 ? (size_t)rng_below(r, max + 1) : kind < 4 ? 0 : (size_t)rng_below(r, max < 200 ? max + 1 : 200);
}

static int batch_put(struct rng *r, const struct workload *w, const rs_storage_ops *ops, rs_batch *b,
                     rs_table *const *tables, struct model *m, int table, rs_slice key) {
    size_t len = random_value_len(r, w->value_max), cut = (size_t)rng_below(r, len + 1);
    struct rng content = {rng_next(r)};
    unsigned char *value = must_alloc(malloc(len + 8));
    int rc = 0;

    for (size_t i = 0; i < len; i += 8) {
        uint64_t v = rng_next(&content);
        memcpy(value + i, &v, 8);
    }
    if (b != NULL) {
        struct iovec parts[3] = {{value, cut}, {value + cut, 0}, {value + cut, len - cut}};
        int one = (int)(cut & 1);
        if (one)
            parts[0].iov_len = len;
        rc = ops->batch_put(b, tables[table], key, parts, one ? 1 : 3);
    }
    if (m != NULL)
        model_put(m, table, key, (rs_slice){value, len});
    free(value);
    return rc;
}

int workload_batch(struct rng *r, const struct workload *w, const rs_storage_ops *ops, rs_batch *b,
                   rs_table *const *tables, struct model *m) {
    unsigned char key_buf[MODEL_KEY_MAX], upper_buf[MODEL_KEY_MAX];
    uint64_t n = 1 + rng_below(r, w->ops_max);
    int rc = 0;

    for (uint64_t i = 0; i < n; i++) {
        int table = (int)rng_below(r, MODEL_TABLES), one = 0;
        rs_slice key = {key_buf, random_key(r, key_buf, MODEL_KEY_MAX)}, lower, upper;
        uint64_t kind = rng_below(r, 100);
        if (kind < w->del_range_percent) {
            random_range(r, key_buf, upper_buf, &lower, &upper);
            if (b != NULL)
                one = ops->batch_del_range(b, tables[table], lower, upper);
            if (m != NULL)
                model_del_range(m, table, lower, upper);
        } else if (kind < w->del_range_percent + 20) {
            if (b != NULL)
                one = ops->batch_del(b, tables[table], key);
            if (m != NULL && model_find(m, table, key) != NULL) {
                size_t at = model_lower_bound(m, table, key);
                remove_rows(&m->table[table], at, at + 1);
            }
        } else {
            one = batch_put(r, w, ops, b, tables, m, table, key);
        }
        if (rc == 0)
            rc = one;
    }
    return rc;
}
