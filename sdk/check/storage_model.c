/* SPDX-License-Identifier: Apache-2.0 */
/* Suite model: random batches go to a store and to a model in memory; what views, gets, ranges and seeks say must
 * agree, for the newest state and for views kept from earlier. */
#include "storage.h"
#include <restate/helper.h>
#include <stdio.h>
#include <string.h>

enum { VIEWS = 4, STEPS = 600 };

struct kept_view {
    rs_view *view;
    struct model model;
};

struct run {
    struct check *c;
    const rs_storage_ops *ops;
    void *self;
    const char *dir;
    uint32_t durability;
    struct rng rng;
    struct opened o;
    struct model model;
    struct kept_view views[VIEWS];
    const char *problem; /* the first one */
    char where[96];
};

static void problem(struct run *r, const char *text) {
    if (r->problem == NULL)
        r->problem = text;
}

static void check_get(struct run *r, const struct kept_view *kv) {
    unsigned char buf[MODEL_KEY_MAX];
    rs_slice key = {buf, random_key(&r->rng, buf, sizeof(buf))};
    int table = (int)rng_below(&r->rng, MODEL_TABLES);
    uint32_t flags = (uint32_t)rng_below(&r->rng, 4);
    const struct row *row = model_find(&kv->model, table, key);
    rs_pin pin = {0};
    int rc;

    if (!(r->c->plugin.caps & RS_STORAGE_CACHED_READ))
        flags &= ~(uint32_t)RS_READ_CACHED;
    rc = r->ops->get(kv->view, r->o.table[table], key, flags, &pin, NULL);
    if (rc == RS_EAGAIN && (flags & RS_READ_CACHED))
        rc = r->ops->get(kv->view, r->o.table[table], key, 0, &pin, NULL);
    if (rc == RS_ENOENT && row != NULL)
        problem(r, "get misses a row");
    else if (rc == 0 && row == NULL)
        problem(r, "get finds a row that is not there");
    else if (rc == 0 && rs_slice_cmp(pin.value, row_value(row)) != 0)
        problem(r, "get returns another value");
    else if (rc != 0 && rc != RS_ENOENT)
        problem(r, "get fails");
    if (rc == 0)
        r->ops->unpin(&pin);
}

static void check_multi_get(struct run *r, const struct kept_view *kv) {
    enum { KEYS = 40 };
    static unsigned char bufs[KEYS][MODEL_KEY_MAX];
    rs_slice keys[KEYS];
    rs_pin pins[KEYS];
    int status[KEYS], table = (int)rng_below(&r->rng, MODEL_TABLES);
    size_t n = 1 + (size_t)rng_below(&r->rng, KEYS);

    if (r->ops->multi_get == NULL)
        return;
    for (size_t i = 0; i < n; i++)
        keys[i] = (rs_slice){bufs[i], random_key(&r->rng, bufs[i], MODEL_KEY_MAX)};
    if (r->ops->multi_get(kv->view, r->o.table[table], n, keys, 0, pins, status, NULL) < 0) {
        problem(r, "multi_get fails");
        return;
    }
    for (size_t i = 0; i < n; i++) {
        const struct row *row = model_find(&kv->model, table, keys[i]);
        if (status[i] != (row != NULL ? 0 : RS_ENOENT))
            problem(r, "multi_get has a wrong status");
        else if (row != NULL && rs_slice_cmp(pins[i].value, row_value(row)) != 0)
            problem(r, "multi_get returns another value");
        if (status[i] == 0)
            r->ops->unpin(&pins[i]);
    }
}

/* Walks a few rows from index `at` of [from, until) in the model and compares. Return: the index after. */
static ptrdiff_t walk(struct run *r, const struct model_table *t, rs_iter *it, ptrdiff_t at, ptrdiff_t from,
                      ptrdiff_t until, bool reverse, uint64_t steps) {
    rs_slice key, value;

    for (uint64_t k = 0; k < steps; k++) {
        int rc = r->ops->iter_next(it, &key, &value, NULL);
        bool inside = at >= from && at < until;
        if (rc < 0)
            problem(r, "an iterator fails");
        else if (rc == 1 && !inside)
            problem(r, "an iterator goes past its range");
        else if (rc == 0 && inside)
            problem(r, "an iterator ends early");
        else if (rc == 1 &&
                 (rs_slice_cmp(key, row_key(t->rows[at])) != 0 || rs_slice_cmp(value, row_value(t->rows[at])) != 0))
            problem(r, "an iterator returns another row");
        if (rc != 1 || r->problem != NULL)
            break;
        at += reverse ? -1 : 1;
    }
    return at;
}

static void check_range(struct run *r, const struct kept_view *kv) {
    unsigned char lower_buf[MODEL_KEY_MAX], upper_buf[MODEL_KEY_MAX], seek_buf[MODEL_KEY_MAX];
    int table = (int)rng_below(&r->rng, MODEL_TABLES);
    const struct model_table *t = &kv->model.table[table];
    bool reverse = rng_below(&r->rng, 2) != 0;
    rs_range range = {.struct_size = sizeof(range), .flags = reverse ? RS_RANGE_REVERSE : 0};
    ptrdiff_t from, until, at;
    rs_iter *it;

    random_range(&r->rng, lower_buf, upper_buf, &range.lower, &range.upper);
    from = range.lower.data != NULL ? (ptrdiff_t)model_lower_bound(&kv->model, table, range.lower) : 0;
    until = range.upper.data != NULL ? (ptrdiff_t)model_lower_bound(&kv->model, table, range.upper) : (ptrdiff_t)t->n;
    if (r->ops->iter_new(kv->view, r->o.table[table], &range, &it, NULL) < 0) {
        problem(r, "iter_new fails");
        return;
    }
    memset(lower_buf, 0xaa, sizeof(lower_buf)); /* the bounds were only borrowed */
    memset(upper_buf, 0xaa, sizeof(upper_buf));
    at = reverse ? until - 1 : from;
    if (rng_below(&r->rng, 2) != 0)
        (void)walk(r, t, it, at, from, until, reverse, rng_below(&r->rng, 40));
    for (uint64_t seeks = rng_below(&r->rng, 4); seeks > 0 && r->problem == NULL; seeks--) {
        rs_slice key = {seek_buf, random_key(&r->rng, seek_buf, sizeof(seek_buf))};
        if (r->ops->iter_seek(it, key, NULL) < 0) {
            problem(r, "iter_seek fails");
            break;
        }
        at = (ptrdiff_t)model_lower_bound(&kv->model, table, key);
        if (reverse && !(at < (ptrdiff_t)t->n && rs_slice_cmp(row_key(t->rows[at]), key) == 0))
            at--;
        if (reverse && at >= until)
            at = until - 1;
        if (!reverse && at < from)
            at = from;
        (void)walk(r, t, it, at, from, until, reverse, 1 + rng_below(&r->rng, 20));
    }
    r->ops->iter_free(it);
}

static void drop_view(struct run *r, struct kept_view *kv) {
    if (kv->view != NULL)
        r->ops->view_free(kv->view);
    kv->view = NULL;
    model_clear(&kv->model);
}

static void step_write(struct run *r) {
    const struct workload w = {.ops_max = 24, .value_max = 70000, .del_range_percent = 3};
    rs_batch *b = r->ops->batch_new(r->o.store, 0);
    rs_error err = {.struct_size = sizeof(err)};

    if (b == NULL) {
        problem(r, "batch_new fails");
        return;
    }
    for (uint64_t again = rng_below(&r->rng, 8) == 0; again < 2; again++) { /* sometimes the batch is used twice */
        if (workload_batch(&r->rng, &w, r->ops, b, r->o.table, &r->model) < 0)
            problem(r, "a batch operation fails");
        if (r->ops->write(r->o.store, b, rng_below(&r->rng, 4) == 0 ? RS_WRITE_SYNC : 0, &err) < 0) {
            problem(r, "write fails");
            tap_diag("%s", err.msg);
        }
        r->ops->batch_clear(b);
        if (r->ops->batch_bytes(b) > 64)
            problem(r, "a cleared batch has bytes");
    }
    r->ops->batch_free(b);
}

static void step_view(struct run *r) {
    struct kept_view *kv = &r->views[rng_below(&r->rng, VIEWS)];

    drop_view(r, kv);
    if (r->ops->view_new(r->o.store, &kv->view, NULL) < 0) {
        problem(r, "view_new fails");
        return;
    }
    model_copy(&r->model, &kv->model);
}

static void step_read(struct run *r) {
    const struct kept_view *kv = &r->views[rng_below(&r->rng, VIEWS)];

    if (kv->view == NULL)
        return;
    for (int i = 0; i < 20 && r->problem == NULL; i++)
        check_get(r, kv);
    for (int i = 0; i < 6 && r->problem == NULL; i++)
        check_range(r, kv);
    check_multi_get(r, kv);
}

static void step_reopen(struct run *r) {
    rs_error err = {.struct_size = sizeof(err)};

    for (int i = 0; i < VIEWS; i++)
        drop_view(r, &r->views[i]);
    if (r->ops->sync(r->o.store, &err) < 0)
        problem(r, "sync fails");
    opened_close(r->c, &r->o);
    if (opened_open(r->c, r->self, r->dir, r->durability, &r->o, &err) < 0) {
        problem(r, "the store cannot be opened again");
        tap_diag("%s", err.msg);
    } else if (r->problem == NULL) {
        problem(r, store_differs(r->c, &r->o, &r->model));
    }
}

static void step_drop_table(struct run *r) {
    int table = (int)rng_below(&r->rng, MODEL_TABLES);
    char name[8];

    for (int i = 0; i < VIEWS; i++)
        drop_view(r, &r->views[i]);
    (void)snprintf(name, sizeof(name), "t%d", table);
    if (r->ops->table_drop(r->o.store, name, NULL) < 0 ||
        r->ops->table_open(r->o.store, name, 0, &r->o.table[table], NULL) < 0)
        problem(r, "a table cannot be dropped and made again");
    model_clear_table(&r->model, table);
}

static void step_maintenance(struct run *r) {
    if (rng_below(&r->rng, 2) == 0 && r->ops->sync(r->o.store, NULL) < 0)
        problem(r, "sync fails");
    if ((r->c->plugin.caps & RS_STORAGE_COMPACT) &&
        r->ops->compact(r->o.store, r->o.table[rng_below(&r->rng, MODEL_TABLES)], NULL) < 0)
        problem(r, "compact fails");
}

static void run_model(struct run *r) {
    for (int i = 0; i < STEPS && r->problem == NULL; i++) {
        uint64_t kind = rng_below(&r->rng, 100);
        (void)snprintf(r->where, sizeof(r->where), "step %d of seed %llu", i, (unsigned long long)r->c->seed);
        if (kind < 45)
            step_write(r);
        else if (kind < 60)
            step_view(r);
        else if (kind < 94)
            step_read(r);
        else if (kind < 97)
            step_maintenance(r);
        else if (kind < 99)
            step_reopen(r);
        else
            step_drop_table(r);
    }
    for (int i = 0; i < VIEWS; i++) {
        if (r->problem == NULL && r->views[i].view != NULL)
            problem(r, view_differs(r->c, r->views[i].view, &r->o, &r->views[i].model));
    }
}

int suite_model(struct check *c) {
    static const struct {
        const char *name;
        uint32_t durability;
    } modes[] = {{"sync", RS_STORE_SYNC}, {"relaxed", RS_STORE_RELAXED}};
    void *self = check_init(c);

    if (self == NULL)
        return 0;
    for (int i = 0; i < 2; i++) {
        struct run r = {.c = c, .ops = &c->ops.storage, .self = self, .durability = modes[i].durability};
        rs_error err = {.struct_size = sizeof(err)};
        char dir[512];

        (void)snprintf(dir, sizeof(dir), "%s/%s", c->dir, modes[i].name);
        r.dir = dir;
        r.rng.state = c->seed * 2 + (uint64_t)i;
        if (opened_open(c, self, dir, r.durability, &r.o, &err) < 0) {
            (void)tap_ok(c->tap, false, "model: a %s store can be created", modes[i].name);
            tap_diag("%s", err.msg);
            continue;
        }
        run_model(&r);
        if (!tap_ok(c->tap, r.problem == NULL, "model: a %s store agrees with the model", modes[i].name))
            tap_diag("%s: %s", r.where, r.problem);
        for (int k = 0; k < VIEWS; k++)
            drop_view(&r, &r.views[k]);
        opened_close(c, &r.o);
        model_clear(&r.model);
    }
    (void)tap_ok(c->tap, check_fini(c, self), "model: the instance ends");
    (void)tap_ok(c->tap, host_mem_used(c->host) == 0, "model: all charged memory is given back");
    return 0;
}
