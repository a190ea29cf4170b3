/* SPDX-License-Identifier: Apache-2.0 */
/* storage/cold.c : reads of a RELAXED store that may touch the disk. They run on the pool with a view of their own;
 * what they bring is kept as rows (single keys) and ranges (parts of scans) until it is old or a generation that
 * changed it is dropped.
 *
 * Invariant: a row or range equals what the loop's engine view holds. A generation's keys shadow them while it is in
 * the overlay; when it is dropped, cold_written() forgets what it touched, and marks reads on their way as stale. */
#include "base/hash.h"
#include "base/limits.h"
#include "storage/store_internal.h"

enum {
    KEEP_DROPS = 16,      /* generations that a row or range lives */
    KEEP_BYTES = 8 << 20, /* all rows and ranges of a store; the newest always stays */
    CHUNK_ROWS = 1000,    /* of one cold scan */
    CHUNK_BYTES = 1 << 20,
};

struct cold_row {
    struct map_node node;
    struct list link; /* cold.rows, oldest first */
    struct store_table *table;
    uint64_t born;
    bool found;
    size_t key_len, value_len;
    uint8_t data[]; /* key, value */
};

/* All rows of [lower, upper) of one table, in the order they were read. */
struct cold_range {
    struct list link; /* cold.ranges, oldest first */
    struct store_table *table;
    uint64_t born;
    bool reverse;
    bool has_upper;
    struct buf lower, upper;
    struct buf data;
    struct cold_cell {
        size_t at;
        uint32_t key_len, value_len;
    } * cells;
    size_t n, cap;
};

struct cold_job {
    struct job job;
    struct list link; /* cold.jobs */
    struct store *store;
    struct store_table *table;
    bool scan, submitted, stale;
    bool detached; /* nobody waits any more */
    bool truncated;
    int status;
    struct err err;
    struct buf key; /* get */
    struct cold_row *row;
    struct cold_range *range;
    store_done_fn done;
    void *arg;
};

struct cold {
    struct map map;
    struct list rows, ranges, jobs;
    size_t bytes;
    uint64_t drops;
    struct { /* what the last RS_EAGAIN missed */
        struct store_table *table;
        bool scan, reverse, has_upper;
        struct buf lower, upper;
    } miss;
    pthread_mutex_t lock; /* guards the two below; only cold_stop() waits */
    pthread_cond_t idle;
    bool stopping;
    unsigned running;
};

static uint64_t row_hash(const struct store_table *t, struct slice key) {
    return hash64_seed(key, (uint64_t)(uintptr_t)t);
}
static struct slice row_key(const struct cold_row *r) {
    return slice_of(r->data, r->key_len);
}
static struct slice range_upper(const struct cold_range *r) {
    return r->has_upper ? slice_of(r->upper.data, r->upper.len) : SLICE_NULL;
}
static size_t range_bytes(const struct cold_range *r) {
    return r->data.cap + r->cap * sizeof r->cells[0] + r->lower.len + r->upper.len;
}
static size_t row_bytes(const struct cold_row *r) {
    return sizeof *r + r->key_len + r->value_len;
}

/* ---- what is kept ---- */

void cold_open(struct store *s) {
    struct cold *c = xnew(struct cold);

    list_init(&c->rows);
    list_init(&c->ranges);
    list_init(&c->jobs);
    (void)pthread_mutex_init(&c->lock, NULL);
    (void)pthread_cond_init(&c->idle, NULL);
    s->cold = c;
}

static void drop_row(struct cold *c, struct cold_row *r) {
    c->bytes -= row_bytes(r);
    map_remove(&c->map, &r->node);
    list_remove(&r->link);
    free(r);
}

static void range_free(struct cold_range *r) {
    if (!r)
        return;
    buf_done(&r->lower);
    buf_done(&r->upper);
    buf_done(&r->data);
    free(r->cells);
    free(r);
}

static void drop_range(struct cold *c, struct cold_range *r) {
    c->bytes -= range_bytes(r);
    list_remove(&r->link);
    range_free(r);
}

void cold_forget(struct store *s) {
    struct cold *c = s->cold;

    LIST_FOREACH_SAFE (e, &c->rows)
        drop_row(c, LIST_ENTRY(e, struct cold_row, link));
    LIST_FOREACH_SAFE (e, &c->ranges)
        drop_range(c, LIST_ENTRY(e, struct cold_range, link));
    LIST_FOREACH (e, &c->jobs)
        LIST_ENTRY(e, struct cold_job, link)->stale = true;
}

void cold_free(struct store *s) {
    struct cold *c = s->cold;

    if (!c)
        return;
    cold_forget(s);
    map_done(&c->map);
    buf_done(&c->miss.lower);
    buf_done(&c->miss.upper);
    (void)pthread_mutex_destroy(&c->lock);
    (void)pthread_cond_destroy(&c->idle);
    free(c);
    s->cold = NULL;
}

/* Oldest first, of rows and ranges each; the newest entry stays however large it is. */
static void evict(struct cold *c, uint64_t born_before, size_t max_bytes, const struct list *keep) {
    LIST_FOREACH_SAFE (e, &c->rows) {
        struct cold_row *r = LIST_ENTRY(e, struct cold_row, link);

        if (e != keep && (r->born < born_before || c->bytes > max_bytes))
            drop_row(c, r);
        else
            break;
    }
    LIST_FOREACH_SAFE (e, &c->ranges) {
        struct cold_range *r = LIST_ENTRY(e, struct cold_range, link);

        if (e != keep && (r->born < born_before || c->bytes > max_bytes))
            drop_range(c, r);
        else
            break;
    }
}

static struct cold_row *find_row(struct cold *c, const struct store_table *t, struct slice key) {
    for (struct map_node *n = map_first(&c->map, row_hash(t, key)); n; n = map_next(n)) {
        struct cold_row *r = MAP_ENTRY(n, struct cold_row, node);

        if (r->table == t && slice_eq(row_key(r), key))
            return r;
    }
    return NULL;
}

int cold_get(struct store *s, struct store_table *t, struct slice key, struct slice *ret) {
    struct cold_row *r;

    if (LIKELY(list_empty(&s->cold->rows)))
        return RS_EAGAIN;
    r = find_row(s->cold, t, key);
    if (!r)
        return RS_EAGAIN;
    *ret = slice_of(r->data + r->key_len, r->value_len);
    return r->found;
}

/* Whether the generation changed a key in [lower, upper). */
static bool touches(const struct generation *g, const struct store_table *t, struct slice lower, struct slice upper) {
    struct tree_cursor c = tree_seek_ge(&t->trees[g->slot], lower);
    const struct tree_entry *e = tree_at(&c);

    return e && (!upper.data || slice_cmp(tree_key(e), upper) < 0);
}

void cold_written(struct store *s, const struct generation *g) {
    struct cold *c = s->cold;

    c->drops++;
    LIST_FOREACH_SAFE (e, &c->rows) {
        struct cold_row *r = LIST_ENTRY(e, struct cold_row, link);

        if (tree_get(&r->table->trees[g->slot], row_key(r)))
            drop_row(c, r);
    }
    LIST_FOREACH_SAFE (e, &c->ranges) {
        struct cold_range *r = LIST_ENTRY(e, struct cold_range, link);

        if (touches(g, r->table, buf_slice(&r->lower), range_upper(r)))
            drop_range(c, r);
    }
    LIST_FOREACH (e, &c->jobs) {
        struct cold_job *j = LIST_ENTRY(e, struct cold_job, link);

        /* The bounds of a scan on its way belong to the pool: any change of the table makes it stale. */
        j->stale |= j->scan ? j->table->trees[g->slot].root != NULL
                            : tree_get(&j->table->trees[g->slot], buf_slice(&j->key)) != NULL;
    }
    if (c->drops >= KEEP_DROPS)
        evict(c, c->drops - KEEP_DROPS, SIZE_MAX, NULL);
}

/* ---- scans over a kept range ---- */

const struct cold_range *cold_find(struct store *s, struct store_table *t, struct slice lower, struct slice upper,
                                   bool reverse) {
    LIST_FOREACH (e, &s->cold->ranges) {
        const struct cold_range *r = LIST_ENTRY(e, struct cold_range, link);
        struct slice hi = range_upper(r);

        if (r->table != t || r->reverse != reverse)
            continue;
        if (!reverse && slice_cmp(buf_slice(&r->lower), lower) <= 0 && (!hi.data || slice_cmp(lower, hi) < 0))
            return r;
        if (reverse && (!hi.data || (upper.data && slice_cmp(upper, hi) <= 0)) &&
            (!upper.data || slice_cmp(upper, buf_slice(&r->lower)) > 0))
            return r;
    }
    return NULL;
}

static struct slice cell_key(const struct cold_range *r, size_t i) {
    return slice_of(r->data.data + r->cells[i].at, r->cells[i].key_len);
}

/* How many cells lie before @bound in scan order: forward, those < bound; reverse, those >= bound. */
static size_t cells_before(const struct cold_range *r, struct slice bound) {
    size_t lo = 0, hi = r->n;

    while (lo < hi) {
        size_t mid = (lo + hi) / 2;
        bool less = slice_cmp(cell_key(r, mid), bound) < 0;

        if (less != r->reverse)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

struct cold_cursor cold_cursor(const struct cold_range *r, struct slice lower, struct slice upper, bool reverse) {
    struct slice hi = range_upper(r);
    size_t from, until;
    bool truncated;

    if (reverse) {
        from = upper.data ? cells_before(r, upper) : 0;
        until = cells_before(r, lower);
        truncated = slice_cmp(lower, buf_slice(&r->lower)) < 0;
    } else {
        from = cells_before(r, lower);
        until = upper.data ? cells_before(r, upper) : r->n;
        truncated = hi.data && (!upper.data || slice_cmp(upper, hi) > 0);
    }
    return (struct cold_cursor){
        .range = r, .i = from, .left = until - from, .truncated = truncated, .reverse = reverse};
}

int cold_next(struct cold_cursor *c, struct slice *ret_key, struct slice *ret_value) {
    const struct cold_cell *cell;

    if (c->left == 0)
        return c->truncated ? RS_EAGAIN : 0;
    cell = &c->range->cells[c->i++];
    c->left--;
    *ret_key = slice_of(c->range->data.data + cell->at, cell->key_len);
    *ret_value = slice_of(c->range->data.data + cell->at + cell->key_len, cell->value_len);
    return 1;
}

/* ---- jobs ---- */

static void read_key(struct cold_job *j, rs_view *v, rs_error *e) {
    const rs_storage_ops *ops = j->store->p.ops;
    struct slice key = buf_slice(&j->key);
    rs_pin pin = {0};
    int r = ops->get(v, j->table->rs, rs_of(key), 0, &pin, e);

    if (r < 0 && r != RS_ENOENT) {
        j->status = store_error(j->store, r, e, &j->err, "cannot read");
        return;
    }
    j->row = xmalloc(sizeof *j->row + key.len + pin.value.len);
    *j->row = (struct cold_row){.table = j->table, .found = r == 0, .key_len = key.len, .value_len = pin.value.len};
    memcpy(j->row->data, key.data, key.len);
    if (r == 0) {
        if (pin.value.len)
            memcpy(j->row->data + key.len, pin.value.data, pin.value.len);
        ops->unpin(&pin);
    }
}

static void add_cell(struct cold_range *r, struct slice key, struct slice value) {
    if (r->n == r->cap) {
        r->cap = r->cap ? r->cap * 2 : 32;
        r->cells = xrealloc(r->cells, r->cap * sizeof r->cells[0]);
    }
    r->cells[r->n++] = (struct cold_cell){r->data.len, (uint32_t)key.len, (uint32_t)value.len};
    buf_put_slice(&r->data, key);
    buf_put_slice(&r->data, value);
}

/* The range ends with the last row that was read. */
static void cut_range(struct cold_range *r) {
    struct slice last = cell_key(r, r->n - 1);

    if (r->reverse) {
        buf_clear(&r->lower);
        buf_put_slice(&r->lower, last);
    } else {
        buf_clear(&r->upper);
        buf_put_slice(&r->upper, last);
        buf_put_u8(&r->upper, 0); /* the smallest key after it */
        r->has_upper = true;
    }
}

static void read_range(struct cold_job *j, rs_view *v, rs_error *e) {
    const rs_storage_ops *ops = j->store->p.ops;
    struct cold_range *r = j->range;
    rs_range range = {.struct_size = sizeof range,
                      .flags = r->reverse ? RS_RANGE_REVERSE : 0u,
                      .lower = rs_of(buf_slice(&r->lower)),
                      .upper = rs_of(range_upper(r))};
    rs_slice key, value;
    rs_iter *it;
    int n = ops->iter_new(v, j->table->rs, &range, &it, e);

    if (n >= 0) {
        while ((n = ops->iter_next(it, &key, &value, e)) > 0) {
            add_cell(r, slice_of_rs(key), slice_of_rs(value));
            if (r->n >= CHUNK_ROWS || r->data.len >= CHUNK_BYTES)
                break;
        }
        ops->iter_free(it);
    }
    if (n > 0)
        cut_range(r);
    if (n < 0)
        j->status = store_error(j->store, n, e, &j->err, "cannot scan");
}

static void cold_run(struct job *job) {
    struct cold_job *j = CONTAINER_OF(job, struct cold_job, job);
    struct cold *c = j->store->cold;
    const rs_storage_ops *ops = j->store->p.ops;
    rs_error e = {.struct_size = sizeof e};
    rs_view *v;
    bool go;
    int r;

    (void)pthread_mutex_lock(&c->lock);
    go = !c->stopping;
    c->running += go;
    (void)pthread_mutex_unlock(&c->lock);
    if (!go)
        return;
    r = ops->view_new(j->store->rs, &v, &e);
    if (r < 0) {
        j->status = store_error(j->store, r, &e, &j->err, "cannot open a view");
    } else {
        if (j->scan)
            read_range(j, v, &e);
        else
            read_key(j, v, &e);
        ops->view_free(v);
    }
    (void)pthread_mutex_lock(&c->lock);
    if (--c->running == 0)
        (void)pthread_cond_broadcast(&c->idle);
    (void)pthread_mutex_unlock(&c->lock);
}

static void job_free(struct cold_job *j) {
    struct store *s = j->store;

    buf_done(&j->key);
    free(j->row);
    range_free(j->range);
    free(j);
    store_unref(s);
}

static void keep_row(struct cold *c, struct cold_row *take) {
    struct cold_row *old = find_row(c, take->table, row_key(take));

    if (old)
        drop_row(c, old);
    take->born = c->drops;
    map_add(&c->map, &take->node, row_hash(take->table, row_key(take)));
    list_push_back(&c->rows, &take->link);
    c->bytes += row_bytes(take);
    evict(c, 0, KEEP_BYTES, &take->link);
}

/* Joins @r to the range it continues, if that is still there. */
static struct cold_range *joined(struct cold *c, struct cold_range *r) {
    LIST_FOREACH (e, &c->ranges) {
        struct cold_range *o = LIST_ENTRY(e, struct cold_range, link);

        if (o->table != r->table || o->reverse != r->reverse ||
            !(r->reverse ? r->has_upper && slice_eq(buf_slice(&o->lower), range_upper(r))
                         : o->has_upper && slice_eq(range_upper(o), buf_slice(&r->lower))))
            continue;
        c->bytes -= range_bytes(o);
        list_remove(&o->link);
        for (size_t i = 0; i < r->n; i++)
            add_cell(o, cell_key(r, i),
                     slice_of(r->data.data + r->cells[i].at + r->cells[i].key_len, r->cells[i].value_len));
        if (r->reverse) {
            buf_clear(&o->lower);
            buf_put_slice(&o->lower, buf_slice(&r->lower));
        } else {
            buf_clear(&o->upper);
            buf_put_slice(&o->upper, buf_slice(&r->upper));
            o->has_upper = r->has_upper;
        }
        range_free(r);
        return o;
    }
    return r;
}

static void keep_range(struct cold *c, struct cold_range *take) {
    struct cold_range *r = joined(c, take);

    r->born = c->drops;
    list_push_back(&c->ranges, &r->link);
    c->bytes += range_bytes(r);
    evict(c, 0, KEEP_BYTES, &r->link);
}

static void cold_done(struct job *job) {
    struct cold_job *j = CONTAINER_OF(job, struct cold_job, job);

    if (!j->detached) {
        struct cold *c = j->store->cold;

        list_remove(&j->link);
        overlay_release_pins(j->store);
        if (j->status == 0 && !j->stale && j->row)
            keep_row(c, TAKE(j->row));
        if (j->status == 0 && !j->stale && j->scan)
            keep_range(c, TAKE(j->range));
        j->done(j->arg, j->status, j->status < 0 ? &j->err : NULL);
    }
    job_free(j);
}

static struct cold_job *job_new(struct store *s, struct store_table *t, store_done_fn done, void *arg) {
    struct cold_job *j = xnew(struct cold_job);

    ASSERT_SLOW(loop_is_current(s->p.loop));
    store_ref(s);
    j->store = s;
    j->table = t;
    j->job = (struct job){.run = cold_run, .done = cold_done};
    j->done = done;
    j->arg = arg;
    list_push_back(&s->cold->jobs, &j->link);
    return j;
}

static void job_submit(struct store *s, struct cold_job *j) {
    if (s->cold->stopping) /* cold_stop() calls it */
        return;
    j->submitted = true;
    exec_submit(s->p.pool ? s->p.pool : s->p.writer, s->p.loop, &j->job);
}

void store_get_cold(struct store *s, struct store_table *t, struct slice key, store_done_fn done, void *arg) {
    struct cold_job *j = job_new(s, t, done, arg);

    buf_put_slice(&j->key, key);
    job_submit(s, j);
}

void store_scan_cold(struct store *s, struct store_table *t, struct slice lower, struct slice upper, bool reverse,
                     store_done_fn done, void *arg) {
    const struct cold_range *have = cold_find(s, t, lower, upper, reverse);
    struct cold_job *j = job_new(s, t, done, arg);
    struct cold_range *r = j->range = xnew(struct cold_range);

    j->scan = true;
    r->table = t;
    r->reverse = reverse;
    if (have && reverse)
        upper = buf_slice(&have->lower);
    if (have && !reverse && have->has_upper)
        lower = range_upper(have);
    r->has_upper = upper.data != NULL;
    buf_put_slice(&r->lower, lower);
    buf_put_slice(&r->upper, upper);
    job_submit(s, j);
}

/* ---- the last miss ---- */

static void note_miss(struct store *s, struct store_table *t, struct slice lower, struct slice upper) {
    struct cold *c = s->cold;

    c->miss.table = t;
    buf_clear(&c->miss.lower);
    buf_put_slice(&c->miss.lower, lower);
    buf_clear(&c->miss.upper);
    buf_put_slice(&c->miss.upper, upper);
    c->miss.has_upper = upper.data != NULL;
}

void cold_missed(struct store *s, struct store_table *t, struct slice key) {
    note_miss(s, t, key, SLICE_NULL);
    s->cold->miss.scan = false;
}

void cold_missed_scan(struct store *s, struct store_table *t, struct slice lower, struct slice upper, bool reverse) {
    note_miss(s, t, lower, upper);
    s->cold->miss.scan = true;
    s->cold->miss.reverse = reverse;
}

void store_wait_cold(struct store *s, store_done_fn done, void *arg) {
    struct cold *c = s->cold;
    struct slice lower = buf_slice(&c->miss.lower);

    ASSERT(c->miss.table);
    if (c->miss.scan)
        store_scan_cold(s, c->miss.table, lower, c->miss.has_upper ? buf_slice(&c->miss.upper) : SLICE_NULL,
                        c->miss.reverse, done, arg);
    else
        store_get_cold(s, c->miss.table, lower, done, arg);
}

/* ---- the end ---- */

void cold_stop(struct store *s, bool call) {
    struct cold *c = s->cold;
    struct err err;

    (void)pthread_mutex_lock(&c->lock);
    c->stopping = true;
    while (c->running)
        (void)pthread_cond_wait(&c->idle, &c->lock);
    (void)pthread_mutex_unlock(&c->lock);
    (void)err_set(&err, RS_ECLOSED, "store %s is closed", s->name);
    for (struct list *e; (e = list_pop_front(&c->jobs));) {
        struct cold_job *j = LIST_ENTRY(e, struct cold_job, link);
        store_done_fn done = j->done;
        void *arg = j->arg;

        if (j->submitted)
            j->detached = true; /* its done() frees it */
        else
            job_free(j);
        if (call)
            done(arg, RS_ECLOSED, &err);
    }
}
