/* SPDX-License-Identifier: Apache-2.0 */
/* storage/convert.c : moves a store from one engine to another, on the plugin ABI itself: nobody else has it open. */
#include "base/limits.h"
#include "storage/export.h"

struct side {
    const struct convert_side *p;
    rs_store *rs;
    rs_batch *batch;
    rs_table **tables;
};

static int failed(const struct side *s, int code, const rs_error *e, struct err *err, const char *what) {
    (void)err_from_abi(err, code, e);
    return err_wrap(err, code, "%s: %s", s->p->dir, what);
}

static int side_open(struct side *s, const struct convert_side *p, uint32_t durability, const char *const *tables,
                     size_t n, struct err *err) {
    rs_store_open o = {.struct_size = sizeof o, .durability = durability, .dir = p->dir};
    rs_error e = {.struct_size = sizeof e};
    int r;

    s->p = p;
    s->tables = xnewn(rs_table *, n ? n : 1);
    r = p->ops->open(p->self, &o, &s->rs, &e);
    if (r < 0)
        return failed(s, r, &e, err, "cannot open");
    for (size_t i = 0; i < n; i++) {
        r = p->ops->table_open(s->rs, tables[i], 0, &s->tables[i], &e);
        if (r < 0)
            return failed(s, r, &e, err, "cannot open a table");
    }
    s->batch = p->ops->batch_new(s->rs, LIMIT_GROUP_COMMIT_BYTES);
    return s->batch ? 0 : err_set(err, RS_ENOMEM, "%s: no memory for a batch", p->dir);
}

static void side_close(struct side *s) {
    if (s->batch)
        s->p->ops->batch_free(s->batch);
    if (s->rs)
        s->p->ops->close(s->rs);
    free(s->tables);
}

typedef int (*row_fn)(void *arg, size_t table, rs_slice key, rs_slice value, struct err *err);

static int each_row(struct side *s, size_t table, row_fn fn, void *arg, struct err *err) {
    const rs_storage_ops *ops = s->p->ops;
    rs_range all = {.struct_size = sizeof all, .flags = RS_READ_NO_FILL};
    rs_error e = {.struct_size = sizeof e};
    rs_slice key, value;
    rs_view *v;
    rs_iter *it;
    int r = ops->view_new(s->rs, &v, &e);

    if (r < 0)
        return failed(s, r, &e, err, "cannot open a view");
    r = ops->iter_new(v, s->tables[table], &all, &it, &e);
    if (r < 0) {
        ops->view_free(v);
        return failed(s, r, &e, err, "cannot scan");
    }
    while ((r = ops->iter_next(it, &key, &value, &e)) > 0) {
        r = fn(arg, table, key, value, err);
        if (r < 0)
            break;
    }
    if (r < 0 && (!err || err->code == 0))
        r = failed(s, r, &e, err, "cannot scan");
    ops->iter_free(it);
    ops->view_free(v);
    return r;
}

struct copy {
    struct side *to;
    struct export_writer *sum;
};

static int write_batch(struct side *to, struct err *err) {
    rs_error e = {.struct_size = sizeof e};
    int r = to->p->ops->write(to->rs, to->batch, 0, &e);

    to->p->ops->batch_clear(to->batch);
    return r < 0 ? failed(to, r, &e, err, "cannot write") : 0;
}

static int sum_row(void *arg, size_t table, rs_slice key, rs_slice value, struct err *err) {
    return export_row(arg, slice_of(key.data, key.len), slice_of(value.data, value.len), err);
}

static int copy_row(void *arg, size_t table, rs_slice key, rs_slice value, struct err *err) {
    struct copy *c = arg;
    struct iovec iov = {(void *)(uintptr_t)value.data, value.len};
    int r = sum_row(c->sum, table, key, value, err);

    if (r < 0)
        return r;
    r = c->to->p->ops->batch_put(c->to->batch, c->to->tables[table], key, &iov, 1);
    if (r < 0)
        return err_set(err, r, "%s: cannot add to a batch", c->to->p->dir);
    return c->to->p->ops->batch_bytes(c->to->batch) >= LIMIT_GROUP_COMMIT_BYTES ? write_batch(c->to, err) : 0;
}

static int refuse_row(void *arg, size_t table, rs_slice key, rs_slice value, struct err *err) {
    return err_set(err, RS_EEXIST, "%s: the target is not empty", ((struct side *)arg)->p->dir);
}

static int copy_all(struct side *from, struct side *to, const char *const *tables, size_t n, struct export_summary *ret,
                    struct err *err) {
    struct copy c = {to, export_writer_new(NULL, NULL)};
    rs_error e = {.struct_size = sizeof e};
    int r = 0;

    for (size_t i = 0; i < n && r == 0; i++)
        r = each_row(to, i, refuse_row, to, err);
    for (size_t i = 0; i < n && r == 0; i++) {
        r = export_table(c.sum, tables[i], err);
        if (r == 0)
            r = each_row(from, i, copy_row, &c, err);
    }
    if (r == 0)
        r = write_batch(to, err);
    if (r == 0 && (r = to->p->ops->sync(to->rs, &e)) < 0)
        r = failed(to, r, &e, err, "cannot sync");
    if (r == 0)
        r = export_finish(c.sum, SLICE_NULL, ret, err);
    c.sum = export_writer_free(c.sum);
    return r;
}

static int sum_all(struct side *s, const char *const *tables, size_t n, struct export_summary *ret, struct err *err) {
    struct export_writer *w = export_writer_new(NULL, NULL);
    int r = 0;

    for (size_t i = 0; i < n && r == 0; i++) {
        r = export_table(w, tables[i], err);
        if (r == 0)
            r = each_row(s, i, sum_row, w, err);
    }
    if (r == 0)
        r = export_finish(w, SLICE_NULL, ret, err);
    export_writer_free(w);
    return r;
}

int convert_store(const struct convert_side *from, const struct convert_side *to, uint32_t durability,
                  const char *const *tables, size_t n_tables, struct export_summary *ret, struct err *err) {
    struct side a = {0}, b = {0};
    struct export_summary wrote, found;
    struct err own = {0};
    int r = side_open(&a, from, durability, tables, n_tables, &own);

    if (r == 0)
        r = side_open(&b, to, durability, tables, n_tables, &own);
    if (r == 0)
        r = copy_all(&a, &b, tables, n_tables, &wrote, &own);
    if (r == 0)
        r = sum_all(&b, tables, n_tables, &found, &own);
    if (r == 0 && (found.rows != wrote.rows || found.crc != wrote.crc))
        r = err_set(&own, RS_ECORRUPT, "%s: the copy does not read back as it was written", to->dir);
    side_close(&a);
    side_close(&b);
    if (r < 0 && err)
        *err = own;
    if (r == 0 && ret)
        *ret = wrote;
    return r;
}
