/* SPDX-License-Identifier: Apache-2.0 */
/* sdk/check/model.h : what a store should contain, in memory, and a generator of writes that goes to a store, to the
 * model, or to both. The generator is a function of its seed alone, so a parent process can work out what its child
 * wrote. */
#pragma once
#include <restate/storage.h>
#include <stdbool.h>

enum { MODEL_TABLES = 3, MODEL_KEY_MAX = 480 };

struct rng {
    uint64_t state;
};
uint64_t rng_next(struct rng *r);
uint64_t rng_below(struct rng *r, uint64_t n); /* 0..n-1; n = 0 gives 0 */

struct row { /* shared between copies of a model */
    unsigned refs;
    size_t key_len, value_len;
    unsigned char bytes[]; /* key, then value */
};

struct model {
    struct model_table {
        struct row **rows; /* by key */
        size_t n, cap;
    } table[MODEL_TABLES];
};

void model_clear(struct model *m);
void model_clear_table(struct model *m, int table);
void model_copy(const struct model *from, struct model *ret); /* *ret is empty before */
rs_slice row_key(const struct row *r);
rs_slice row_value(const struct row *r);
/* Index of the first row >= key. */
size_t model_lower_bound(const struct model *m, int table, rs_slice key);
const struct row *model_find(const struct model *m, int table, rs_slice key);
void model_put(struct model *m, int table, rs_slice key, rs_slice value);
void model_del_range(struct model *m, int table, rs_slice lower, rs_slice upper);

/* A random key of at most max bytes; most are short, over few letters, so that they meet again. Return: length. */
size_t random_key(struct rng *r, unsigned char *buf, size_t max);
/* Random bounds; each is unbounded (data NULL) with a quarter's chance. The buffers have MODEL_KEY_MAX bytes each. */
void random_range(struct rng *r, unsigned char *lower_buf, unsigned char *upper_buf, rs_slice *lower, rs_slice *upper);

struct workload {
    unsigned ops_max; /* per batch */
    size_t value_max; /* bytes; most values are far smaller */
    unsigned del_range_percent;
};
/* Generates the next batch. @ops, @b, @tables may be NULL: model only; @m may be NULL: store only.
 * Return: 0, or the first error of a batch operation. */
int workload_batch(struct rng *r, const struct workload *w, const rs_storage_ops *ops, rs_batch *b,
                   rs_table *const *tables, struct model *m);
