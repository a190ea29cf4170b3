/* SPDX-License-Identifier: Apache-2.0 */
#include "storage.h"
#include <restate/helper.h>
#include <stdio.h>
#include <string.h>

int opened_open(struct check *c, void *self, const char *dir, uint32_t durability, struct opened *ret, rs_error *err) {
    const rs_storage_ops *ops = &c->ops.storage;
    rs_store_open params = {.struct_size = sizeof(params), .durability = durability, .dir = dir};
    struct opened o = {0};
    int r = ops->open(self, &params, &o.store, err);

    if (r < 0)
        return r;
    for (int i = 0; i < MODEL_TABLES; i++) {
        char name[8];
        (void)snprintf(name, sizeof(name), "t%d", i);
        r = ops->table_open(o.store, name, 0, &o.table[i], err);
        if (r < 0) {
            ops->close(o.store);
            return r;
        }
    }
    *ret = o;
    return 0;
}

void opened_close(struct check *c, struct opened *o) {
    if (o->store != NULL)
        c->ops.storage.close(o->store);
    *o = (struct opened){0};
}

const char *view_differs(struct check *c, rs_view *v, const struct opened *o, const struct model *m) {
    const rs_storage_ops *ops = &c->ops.storage;
    const rs_range all = {.struct_size = sizeof(all)};
    const char *problem = NULL;
    rs_error err = {.struct_size = sizeof(err)};

    for (int i = 0; i < MODEL_TABLES && problem == NULL; i++) {
        const struct model_table *t = &m->table[i];
        rs_slice key, value;
        rs_iter *it;
        size_t n = 0;
        int r = ops->iter_new(v, o->table[i], &all, &it, &err);
        if (r < 0)
            return "an iterator cannot be made";
        while (problem == NULL && (r = ops->iter_next(it, &key, &value, &err)) == 1) {
            if (n == t->n)
                problem = "there are rows too many";
            else if (rs_slice_cmp(key, row_key(t->rows[n])) != 0)
                problem = "a key differs";
            else if (rs_slice_cmp(value, row_value(t->rows[n])) != 0)
                problem = "a value differs";
            n++;
        }
        if (problem == NULL && r < 0)
            problem = "the iterator fails";
        if (problem == NULL && n < t->n)
            problem = "there are rows too few";
        ops->iter_free(it);
    }
    return problem;
}

const char *store_differs(struct check *c, const struct opened *o, const struct model *m) {
    rs_error err = {.struct_size = sizeof(err)};
    const char *problem;
    rs_view *v;

    if (c->ops.storage.view_new(o->store, &v, &err) < 0)
        return "a view cannot be made";
    problem = view_differs(c, v, o, m);
    c->ops.storage.view_free(v);
    return problem;
}

int put_one(struct check *c, const struct opened *o, const char *key, const char *value, uint32_t flags,
            rs_error *err) {
    const rs_storage_ops *ops = &c->ops.storage;
    const struct iovec iov = {(void *)(uintptr_t)value, strlen(value)};
    rs_batch *b = ops->batch_new(o->store, 0);
    int r;

    if (b == NULL)
        return RS_ENOMEM;
    r = ops->batch_put(b, o->table[0], (rs_slice){key, strlen(key)}, &iov, 1);
    if (r == 0)
        r = ops->write(o->store, b, flags, err);
    ops->batch_free(b);
    return r;
}

bool has_one(struct check *c, const struct opened *o, const char *key, const char *value) {
    const rs_storage_ops *ops = &c->ops.storage;
    rs_view *v;
    rs_pin pin;
    bool same;
    int r;

    if (ops->view_new(o->store, &v, NULL) < 0)
        return false;
    r = ops->get(v, o->table[0], (rs_slice){key, strlen(key)}, 0, &pin, NULL);
    same = value == NULL ? r == RS_ENOENT : r == 0 && rs_slice_cmp(pin.value, (rs_slice){value, strlen(value)}) == 0;
    if (r == 0)
        ops->unpin(&pin);
    ops->view_free(v);
    return same;
}
