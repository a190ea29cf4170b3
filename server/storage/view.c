/* SPDX-License-Identifier: Apache-2.0 */
/* storage/view.c : points in time of the engine, for blocking readers. */
#include "storage/store_internal.h"

struct store_view {
    struct store *store;
    rs_view *rs;
};

struct store_view *view_wrap(struct store *s, rs_view *take) {
    struct store_view *v = xnew(struct store_view);

    store_ref(s);
    (void)__atomic_add_fetch(&s->rs_refs, 1, __ATOMIC_RELAXED);
    v->store = s;
    v->rs = take;
    return v;
}

int store_view_new(struct store *s, struct store_view **ret, struct err *err) {
    rs_error e = {.struct_size = sizeof e};
    rs_view *rs;
    int r = s->p.ops->view_new(s->rs, &rs, &e);

    if (r < 0)
        return store_error(s, r, &e, err, "cannot open a view");
    *ret = view_wrap(s, rs);
    return 0;
}

struct store_view *store_view_free(struct store_view *v) {
    if (v) {
        v->store->p.ops->view_free(v->rs);
        store_rs_unref(v->store);
        store_unref(v->store);
        free(v);
    }
    return NULL;
}

int store_view_get(struct store_view *v, struct store_table *t, struct slice key, struct buf *ret, struct err *err) {
    const rs_storage_ops *ops = v->store->p.ops;
    rs_error e = {.struct_size = sizeof e};
    rs_pin pin;
    int r = ops->get(v->rs, t->rs, rs_of(key), 0, &pin, &e);

    if (r == RS_ENOENT)
        return r;
    if (r < 0)
        return store_error(v->store, r, &e, err, "cannot read");
    buf_clear(ret);
    buf_put_slice(ret, slice_of_rs(pin.value));
    ops->unpin(&pin);
    return 0;
}

int store_view_scan(struct store_view *v, struct store_table *t, struct slice lower, struct slice upper, bool reverse,
                    store_each_fn each, void *arg, struct err *err) {
    const rs_storage_ops *ops = v->store->p.ops;
    rs_range range = {.struct_size = sizeof range,
                      .flags = (reverse ? RS_RANGE_REVERSE : 0u) | RS_READ_NO_FILL,
                      .lower = rs_of(lower),
                      .upper = rs_of(upper)};
    rs_error e = {.struct_size = sizeof e};
    rs_slice key, value;
    rs_iter *it;
    int r = ops->iter_new(v->rs, t->rs, &range, &it, &e);

    if (r < 0)
        return store_error(v->store, r, &e, err, "cannot scan");
    while ((r = ops->iter_next(it, &key, &value, &e)) > 0) {
        r = each(arg, slice_of_rs(key), slice_of_rs(value));
        if (r) {
            ops->iter_free(it);
            return r;
        }
    }
    ops->iter_free(it);
    return r < 0 ? store_error(v->store, r, &e, err, "cannot scan") : 0;
}
