/* SPDX-License-Identifier: Apache-2.0 */
/* worker/views.c : read views of all partitions that run here. */
#include "worker/views.h"
#include "worker/partition_internal.h"

struct part {
    struct store_table *table; /* NULL: not readable here */
    unsigned store;
    struct node_id leader;
};

struct worker_views {
    struct part *parts;
    size_t n;
    struct store_view **views; /* one per data store, NULL: not needed */
    unsigned n_stores;
};

struct opening {
    struct worker_views *v;
    struct opening_store {
        struct opening *o;
        unsigned i;
    } * stores;
    unsigned waiting;
    int status;
    struct err err;
    worker_views_fn done;
    void *arg;
};

struct worker_views *worker_views_free(struct worker_views *v) {
    if (!v)
        return NULL;
    for (unsigned i = 0; i < v->n_stores; i++)
        if (v->views[i])
            v->views[i] = store_view_free(v->views[i]);
    free(v->views);
    free(v->parts);
    free(v);
    return NULL;
}

static void one_less(void *arg) {
    struct opening *o = arg;

    if (--o->waiting)
        return;
    if (o->status < 0)
        o->v = worker_views_free(o->v);
    o->done(o->arg, o->status, o->v, &o->err);
    free(o->stores);
    free(o);
}

static void on_view(void *arg, int status, struct store_view *take_view, const struct err *err) {
    struct opening_store *s = arg;

    if (status < 0) {
        s->o->status = status;
        if (err)
            s->o->err = *err;
    } else {
        s->o->v->views[s->i] = take_view;
    }
    one_less(s->o);
}

static bool readable(const struct partition *p) {
    return p->role == PARTITION_LEADER ||
           (p->active && (p->role == PARTITION_FOLLOWER || p->role == PARTITION_CANDIDATE));
}

void worker_views_open(struct worker *w, worker_views_fn done, void *arg) {
    struct opening *o = xnew(struct opening);
    struct worker_views *v = xnew(struct worker_views);
    struct store **of = xnewn(struct store *, w->params.n_stores + 1);

    v->n = w->n;
    v->parts = xnewn(struct part, w->n + 1);
    v->n_stores = w->params.n_stores;
    v->views = xnewn(struct store_view *, v->n_stores + 1);
    *o = (struct opening){.v = v, .stores = xnewn(struct opening_store, v->n_stores + 1), .done = done, .arg = arg};
    for (size_t i = 0; i < w->n; i++) {
        struct partition *p = w->routes[i].p;

        v->parts[i].leader = w->routes[i].leader;
        if (!p || !readable(p) || w->stopping)
            continue;
        v->parts[i].table = p->table;
        while (v->parts[i].store + 1 < v->n_stores && w->params.stores[v->parts[i].store] != p->store)
            v->parts[i].store++;
        of[v->parts[i].store] = p->store;
    }
    o->waiting = 1; /* the turn's own */
    for (unsigned i = 0; i < v->n_stores; i++)
        if (of[i]) {
            o->waiting++;
            o->stores[i] = (struct opening_store){o, i};
            store_barrier(of[i], on_view, &o->stores[i]);
        }
    free(of);
    loop_post(w->params.loop, one_less, o);
}

size_t worker_views_partitions(const struct worker_views *v) {
    return v->n;
}

bool worker_views_has(const struct worker_views *v, uint32_t partition) {
    return partition < v->n && v->parts[partition].table;
}

/* NULL: it cannot be read here; @err says why. */
static const struct part *part_of(const struct worker_views *v, uint32_t partition, struct err *err) {
    const struct part *p = partition < v->n ? &v->parts[partition] : NULL;

    if (!p)
        (void)err_set(err, RS_EUNSUPPORTED, "there is no partition %u", partition);
    else if (!p->table && p->leader.id)
        (void)err_set(err, RS_EUNSUPPORTED, "partition %u cannot be read on this node: its leader is " NODE_ID_FMT,
                      partition, NODE_ID_ARG(p->leader));
    else if (!p->table)
        (void)err_set(err, RS_EUNSUPPORTED, "partition %u cannot be read on this node: it has no leader", partition);
    return p && p->table ? p : NULL;
}

int worker_views_get(struct worker_views *v, uint32_t partition, struct slice key, struct buf *ret, struct err *err) {
    const struct part *p = part_of(v, partition, err);

    return p ? store_view_get(v->views[p->store], p->table, key, ret, err) : RS_EUNSUPPORTED;
}

int worker_views_scan(struct worker_views *v, uint32_t partition, struct slice lower, struct slice upper,
                      store_each_fn each, void *arg, struct err *err) {
    const struct part *p = part_of(v, partition, err);

    return p ? store_view_scan(v->views[p->store], p->table, lower, upper, false, each, arg, err) : RS_EUNSUPPORTED;
}
