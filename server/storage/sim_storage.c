/* SPDX-License-Identifier: Apache-2.0 */
#include "storage/sim_storage.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include "base/buf.h"
#include "base/list.h"
#include "base/slice.h"
#include "storage/sim_rows.h"

struct dir {
    struct list link;
    struct sim_image *image;
    char *name;
};
struct sim_disk {
    pthread_mutex_t lock;
    struct list dirs;
    uint64_t random;
    enum sim_fault fault;
    char *fault_suffix;
    uint64_t fault_after, fault_times;
    uint32_t cold;
    struct sim_disk_stats stats;
};
struct rs_store {
    struct sim_disk *disk;
    struct sim_image *image;
    bool sticky;
    char *dir;
};
struct rs_batch {
    struct buf data; /* op headers, keys and values */
};
struct batch_op {
    rs_table *table;
    enum { OP_PUT, OP_DEL, OP_DEL_RANGE } kind;
    bool unbounded;
    size_t key_len, value_len;
};
struct rs_view {
    struct sim_view at;
    struct sim_disk *disk;
    struct sim_image *image;
    char *dir;
};
struct rs_iter {
    rs_view *view;
    rs_table *table;
    uint32_t flags;
    bool has_lower, has_upper, started;
    struct buf lower, upper, at;
};

/* ---- small things ---- */

static int fail(rs_error *e, int code, uint32_t flags, const char *what, const char *dir) {
    if (e) {
        e->code = code;
        e->flags = flags;
        e->native = 0;
        (void)snprintf(e->msg, sizeof e->msg, "%s: %s", dir, what);
    }
    return code;
}

static bool strikes(struct sim_disk *d, enum sim_fault f, const char *dir) {
    size_t n = strlen(dir), m = d->fault_suffix ? strlen(d->fault_suffix) : 0;

    if (d->fault != f || m > n || (m && memcmp(dir + n - m, d->fault_suffix, m) != 0))
        return false;
    if (d->fault_after) {
        d->fault_after--;
        return false;
    }
    if (d->fault_times != UINT64_MAX && d->fault_times-- == 1)
        d->fault = SIM_FAULT_NONE;
    return true;
}

static struct slice to_slice(rs_slice s) {
    return slice_of(s.data, s.len);
}

static struct dir *dir_find(struct sim_disk *d, const char *name) {
    LIST_FOREACH (e, &d->dirs) {
        struct dir *dir = LIST_ENTRY(e, struct dir, link);

        if (strcmp(dir->name, name) == 0)
            return dir;
    }
    return NULL;
}

static void dir_crash(struct dir *dir, uint64_t keep) {
    struct sim_image *old = dir->image;

    dir->image = sim_image_cut(old, MIN(old->synced + keep, old->seq));
    old->dead = true;
    sim_image_unref(old);
}

/* ---- the disk ---- */

struct sim_disk *sim_disk_new(uint64_t seed) {
    struct sim_disk *d = xnew(struct sim_disk);

    (void)pthread_mutex_init(&d->lock, NULL);
    list_init(&d->dirs);
    d->random = seed;
    return d;
}

struct sim_disk *sim_disk_free(struct sim_disk *d) {
    if (!d)
        return NULL;
    ASSERT(d->stats.stores_open == 0);
    for (struct list *e; (e = list_pop_front(&d->dirs));) {
        struct dir *dir = LIST_ENTRY(e, struct dir, link);

        sim_image_unref(dir->image);
        free(dir->name);
        free(dir);
    }
    (void)pthread_mutex_destroy(&d->lock);
    free(d->fault_suffix);
    free(d);
    return NULL;
}

void sim_disk_crash(struct sim_disk *d) {
    (void)pthread_mutex_lock(&d->lock);
    LIST_FOREACH (e, &d->dirs) {
        struct dir *dir = LIST_ENTRY(e, struct dir, link);
        uint64_t rest = dir->image->seq - dir->image->synced;

        dir_crash(dir, rest ? sim_draw(&d->random) % (rest + 1) : 0);
    }
    (void)pthread_mutex_unlock(&d->lock);
}

void sim_disk_crash_at(struct sim_disk *d, const char *name, size_t keep) {
    struct dir *dir;

    (void)pthread_mutex_lock(&d->lock);
    if ((dir = dir_find(d, name)))
        dir_crash(dir, keep);
    (void)pthread_mutex_unlock(&d->lock);
}

void sim_disk_fault(struct sim_disk *d, enum sim_fault f, const char *suffix, uint64_t after, uint64_t times) {
    (void)pthread_mutex_lock(&d->lock);
    d->fault = times ? f : SIM_FAULT_NONE;
    free(d->fault_suffix);
    d->fault_suffix = suffix ? xstrdup(suffix) : NULL;
    d->fault_after = after;
    d->fault_times = times;
    (void)pthread_mutex_unlock(&d->lock);
}

void sim_disk_cold(struct sim_disk *d, uint32_t per_million) {
    (void)pthread_mutex_lock(&d->lock);
    d->cold = per_million;
    (void)pthread_mutex_unlock(&d->lock);
}

struct sim_disk_stats sim_disk_stats(struct sim_disk *d) {
    struct sim_disk_stats r;

    (void)pthread_mutex_lock(&d->lock);
    r = d->stats;
    (void)pthread_mutex_unlock(&d->lock);
    return r;
}

bool sim_disk_peek(struct sim_disk *d, const char *dir, const char *table, struct slice key, struct slice *ret) {
    const struct sim_version *v = NULL;

    (void)pthread_mutex_lock(&d->lock);
    LIST_FOREACH (e, &d->dirs) {
        struct dir *at = LIST_ENTRY(e, struct dir, link);

        if (strcmp(at->name, dir) != 0)
            continue;
        LIST_FOREACH (l, &at->image->tables) {
            rs_table *t = LIST_ENTRY(l, rs_table, link);
            const struct sim_row *row = t->dropped || strcmp(t->name, table) != 0 ? NULL : sim_row_seek(t, key, NULL);

            if (row && slice_eq(sim_row_key(row), key))
                v = row->newest;
        }
    }
    (void)pthread_mutex_unlock(&d->lock);
    if (!v || v->deleted)
        return false;
    *ret = slice_of(v->data, v->len);
    return true;
}

size_t sim_disk_unsynced(struct sim_disk *d, const char *name) {
    struct dir *dir;
    size_t r = 0;

    (void)pthread_mutex_lock(&d->lock);
    if ((dir = dir_find(d, name)))
        r = dir->image->seq - dir->image->synced;
    (void)pthread_mutex_unlock(&d->lock);
    return r;
}

/* ---- the ABI: stores and tables ---- */

static int sim_open(void *self, const rs_store_open *o, rs_store **ret, rs_error *e) {
    struct sim_disk *d = self;
    struct dir *dir;
    rs_store *s;

    (void)pthread_mutex_lock(&d->lock);
    dir = dir_find(d, o->dir);
    if (!dir) {
        dir = xnew(struct dir);
        dir->name = xstrdup(o->dir);
        dir->image = sim_image_new(&d->random);
        list_push_back(&d->dirs, &dir->link);
    }
    if (dir->image->open) {
        (void)pthread_mutex_unlock(&d->lock);
        return fail(e, RS_EEXIST, 0, "already open", o->dir);
    }
    s = xnew(rs_store);
    s->disk = d;
    s->dir = xstrdup(o->dir);
    s->image = dir->image;
    s->image->open = true;
    s->image->refs++;
    d->stats.stores_open++;
    (void)pthread_mutex_unlock(&d->lock);
    *ret = s;
    return 0;
}

static void sim_close(rs_store *s) {
    struct sim_disk *d = s->disk;

    (void)pthread_mutex_lock(&d->lock);
    s->image->open = false;
    sim_image_unref(s->image);
    d->stats.stores_open--;
    (void)pthread_mutex_unlock(&d->lock);
    free(s->dir);
    free(s);
}

static void sim_limits(rs_store *s, rs_limits *ret) {
    ret->key_max = 480;
    ret->value_max = 64u << 20;
    ret->batch_max = 1u << 30;
}

static int sim_table_open(rs_store *s, const char *name, uint32_t flags, rs_table **ret, rs_error *e) {
    rs_table *t = NULL;

    (void)pthread_mutex_lock(&s->disk->lock);
    if (!s->image->dead) {
        t = sim_table_find(s->image, name);
        if (!t)
            t = sim_table_add(s->image, name);
    }
    (void)pthread_mutex_unlock(&s->disk->lock);
    if (!t)
        return fail(e, RS_ECLOSED, RS_ERR_STICKY, "the power went", s->dir);
    *ret = t;
    return 0;
}

static int sim_table_drop(rs_store *s, const char *name, rs_error *e) {
    rs_table *t;
    int r = RS_OK;

    (void)pthread_mutex_lock(&s->disk->lock);
    t = sim_table_find(s->image, name);
    if (s->image->dead)
        r = RS_ECLOSED;
    else if (!t)
        r = RS_ENOENT;
    else
        t->dropped = true;
    (void)pthread_mutex_unlock(&s->disk->lock);
    return r < 0 ? fail(e, r, 0, "cannot drop the table", s->dir) : 0;
}

/* ---- batches ---- */

static rs_batch *sim_batch_new(rs_store *s, size_t hint) {
    return xnew(rs_batch);
}
static void sim_batch_free(rs_batch *b) {
    buf_done(&b->data);
    free(b);
}
static void sim_batch_clear(rs_batch *b) {
    buf_clear(&b->data);
}
static void put_op(rs_batch *b, struct batch_op op) {
    buf_put(&b->data, &op, sizeof op);
}
static int sim_batch_put(rs_batch *b, rs_table *t, rs_slice key, const struct iovec *value, int n) {
    struct batch_op op = {.table = t, .kind = OP_PUT, .key_len = key.len};

    for (int i = 0; i < n; i++)
        op.value_len += value[i].iov_len;
    put_op(b, op);
    buf_put(&b->data, key.data, key.len);
    for (int i = 0; i < n; i++)
        if (value[i].iov_len)
            buf_put(&b->data, value[i].iov_base, value[i].iov_len);
    return 0;
}
static int sim_batch_del(rs_batch *b, rs_table *t, rs_slice key) {
    put_op(b, (struct batch_op){.table = t, .kind = OP_DEL, .key_len = key.len});
    buf_put(&b->data, key.data, key.len);
    return 0;
}
static int sim_batch_del_range(rs_batch *b, rs_table *t, rs_slice lower, rs_slice upper) {
    put_op(b, (struct batch_op){.table = t,
                                .kind = OP_DEL_RANGE,
                                .unbounded = upper.data == NULL,
                                .key_len = lower.len,
                                .value_len = upper.len});
    buf_put_slice(&b->data, to_slice(lower));
    buf_put_slice(&b->data, to_slice(upper));
    return 0;
}
static size_t sim_batch_bytes(const rs_batch *b) {
    return b->data.len;
}

static void apply_op(const struct batch_op *op, struct slice key, struct slice value, uint64_t seq, uint64_t h) {
    if (op->table->dropped)
        return;
    if (op->kind == OP_PUT) {
        sim_row_put(op->table, sim_row_add(op->table, key), seq, false, value, h);
        return;
    }
    for (struct sim_row *r = sim_row_seek(op->table, key, NULL); r; r = r->next[0]) {
        if (op->kind == OP_DEL ? !slice_eq(sim_row_key(r), key)
                               : !op->unbounded && slice_cmp(sim_row_key(r), value) >= 0)
            break;
        if (!r->newest->deleted)
            sim_row_put(op->table, r, seq, true, SLICE_NULL, h);
        if (op->kind == OP_DEL)
            break;
    }
}

static uint64_t apply(struct sim_image *im, const rs_batch *b) {
    uint64_t seq = ++im->seq, h = sim_image_horizon(im), n = 0;

    for (size_t at = 0; at < b->data.len; n++) {
        struct batch_op op;
        struct slice key, value;

        memcpy(&op, b->data.data + at, sizeof op);
        at += sizeof op;
        key = slice_of(b->data.data + at, op.key_len);
        value = slice_of(b->data.data + at + op.key_len, op.value_len);
        at += op.key_len + op.value_len;
        apply_op(&op, key, value, seq, h);
    }
    return n;
}

static int refuse(rs_store *s, rs_error *e) {
    if (s->image->dead)
        return fail(e, RS_ECLOSED, RS_ERR_STICKY, "the power went", s->dir);
    if (s->sticky)
        return fail(e, RS_EIO, RS_ERR_STICKY, "an earlier write or sync failed", s->dir);
    return 0;
}

static int sync_locked(rs_store *s, rs_error *e) {
    if (strikes(s->disk, SIM_FAULT_SYNC, s->dir)) {
        s->sticky = true;
        return fail(e, RS_EIO, RS_ERR_STICKY, "sync failed (injected)", s->dir);
    }
    s->image->synced = s->image->seq;
    sim_image_bury(s->image);
    return 0;
}

static int write_locked(rs_store *s, const rs_batch *b, uint32_t flags, rs_error *e) {
    int r = refuse(s, e);

    if (r < 0)
        return r;
    if (strikes(s->disk, SIM_FAULT_WRITE_ENOSPC, s->dir))
        return fail(e, RS_ENOSPC, 0, "no space left (injected)", s->dir);
    if (strikes(s->disk, SIM_FAULT_WRITE_EIO, s->dir)) {
        s->sticky = true;
        return fail(e, RS_EIO, RS_ERR_STICKY, "write failed (injected)", s->dir);
    }
    s->disk->stats.ops += apply(s->image, b);
    s->disk->stats.writes++;
    s->disk->stats.synced_writes += flags & RS_WRITE_SYNC;
    return flags & RS_WRITE_SYNC ? sync_locked(s, e) : 0;
}

static int sim_write(rs_store *s, rs_batch *b, uint32_t flags, rs_error *e) {
    int r;

    (void)pthread_mutex_lock(&s->disk->lock);
    r = write_locked(s, b, flags, e);
    (void)pthread_mutex_unlock(&s->disk->lock);
    return r;
}

static int sim_sync(rs_store *s, rs_error *e) {
    int r;

    (void)pthread_mutex_lock(&s->disk->lock);
    r = refuse(s, e);
    if (r == 0) {
        s->disk->stats.syncs++;
        r = sync_locked(s, e);
    }
    (void)pthread_mutex_unlock(&s->disk->lock);
    return r;
}

/* ---- views ---- */

static int sim_view_new(rs_store *s, rs_view **ret, rs_error *e) {
    rs_view *v;

    (void)pthread_mutex_lock(&s->disk->lock);
    if (s->image->dead) {
        (void)pthread_mutex_unlock(&s->disk->lock);
        return fail(e, RS_ECLOSED, RS_ERR_STICKY, "the power went", s->dir);
    }
    v = xnew(rs_view);
    v->disk = s->disk;
    v->image = s->image;
    v->image->refs++;
    v->at.seq = s->image->seq;
    v->dir = xstrdup(s->dir);
    list_push_back(&s->image->views, &v->at.link);
    s->disk->stats.views_open++;
    (void)pthread_mutex_unlock(&s->disk->lock);
    *ret = v;
    return 0;
}

static void sim_view_free(rs_view *v) {
    struct sim_disk *d = v->disk;

    (void)pthread_mutex_lock(&d->lock);
    list_remove(&v->at.link);
    sim_image_bury(v->image);
    sim_image_unref(v->image);
    d->stats.views_open--;
    (void)pthread_mutex_unlock(&d->lock);
    free(v->dir);
    free(v);
}

static int read_fault(rs_view *v, uint32_t flags, rs_error *e) {
    struct sim_disk *d = v->disk;

    d->stats.reads++;
    if (v->image->dead)
        return fail(e, RS_ECLOSED, RS_ERR_STICKY, "the power went", v->dir);
    if (strikes(d, SIM_FAULT_READ_EIO, v->dir))
        return fail(e, RS_EIO, 0, "read failed (injected)", v->dir);
    if (strikes(d, SIM_FAULT_READ_CORRUPT, v->dir))
        return fail(e, RS_ECORRUPT, 0, "bad checksum (injected)", v->dir);
    if ((flags & RS_READ_CACHED) && d->cold && sim_draw(&d->random) % 1000000 < d->cold) {
        d->stats.cold_reads++;
        return RS_EAGAIN;
    }
    return 0;
}

static int sim_get(rs_view *v, rs_table *t, rs_slice key, uint32_t flags, rs_pin *ret, rs_error *e) {
    const struct sim_version *ver = NULL;
    struct sim_row *row;
    int r;

    (void)pthread_mutex_lock(&v->disk->lock);
    r = read_fault(v, flags, e);
    if (r == 0) {
        row = sim_row_seek(t, to_slice(key), NULL);
        if (row && slice_eq(sim_row_key(row), to_slice(key)))
            ver = sim_row_visible(row, v->at.seq);
        r = ver && !ver->deleted ? 0 : RS_ENOENT;
    }
    (void)pthread_mutex_unlock(&v->disk->lock);
    if (r == 0)
        *ret = (rs_pin){.value = {ver->data, ver->len}, .owner = v}; /* the view keeps the version */
    return r;
}

static void sim_unpin(rs_pin *p) {
    *p = (rs_pin){0};
}

static int sim_iter_new(rs_view *v, rs_table *t, const rs_range *range, rs_iter **ret, rs_error *e) {
    rs_iter *it = xnew(rs_iter);

    it->view = v;
    it->table = t;
    it->flags = range->flags;
    it->has_lower = range->lower.data != NULL;
    it->has_upper = range->upper.data != NULL;
    buf_put_slice(&it->lower, to_slice(range->lower));
    buf_put_slice(&it->upper, to_slice(range->upper));
    *ret = it;
    return 0;
}

static void sim_iter_free(rs_iter *it) {
    buf_done(&it->lower);
    buf_done(&it->upper);
    buf_done(&it->at);
    free(it);
}

static struct sim_row *iter_first(rs_iter *it) {
    if (it->flags & RS_RANGE_REVERSE)
        return sim_row_before(it->table, buf_slice(&it->upper), it->has_upper);
    return sim_row_seek(it->table, buf_slice(&it->lower), NULL);
}

static struct sim_row *iter_step(rs_iter *it, struct slice from) {
    struct sim_row *r;

    if (it->flags & RS_RANGE_REVERSE)
        return sim_row_before(it->table, from, true);
    r = sim_row_seek(it->table, from, NULL);
    return r && slice_eq(sim_row_key(r), from) ? r->next[0] : r;
}

static int iter_find(rs_iter *it, rs_slice *ret_key, rs_slice *ret_value) {
    struct sim_row *r = it->started ? iter_step(it, buf_slice(&it->at)) : iter_first(it);

    it->started = true;
    for (; r; r = iter_step(it, sim_row_key(r))) {
        const struct sim_version *v = sim_row_visible(r, it->view->at.seq);

        if (it->flags & RS_RANGE_REVERSE ? slice_cmp(sim_row_key(r), buf_slice(&it->lower)) < 0
                                         : it->has_upper && slice_cmp(sim_row_key(r), buf_slice(&it->upper)) >= 0)
            break;
        if (!v || v->deleted)
            continue;
        buf_clear(&it->at);
        buf_put_slice(&it->at, sim_row_key(r));
        *ret_key = (rs_slice){it->at.data, it->at.len};
        *ret_value = (rs_slice){v->data, v->len};
        return 1;
    }
    return 0;
}

static int sim_iter_next(rs_iter *it, rs_slice *ret_key, rs_slice *ret_value, rs_error *e) {
    struct sim_disk *d = it->view->disk;
    int r;

    (void)pthread_mutex_lock(&d->lock);
    r = read_fault(it->view, it->flags, e);
    if (r == 0)
        r = iter_find(it, ret_key, ret_value);
    (void)pthread_mutex_unlock(&d->lock);
    return r;
}

static int sim_iter_seek(rs_iter *it, rs_slice key, rs_error *e) {
    buf_clear(&it->at);
    buf_put_slice(&it->at, to_slice(key));
    if (it->flags & RS_RANGE_REVERSE) {
        buf_put_u8(&it->at, 0); /* the next row is the last one before the smallest key after @key */
        if (it->has_upper && slice_cmp(buf_slice(&it->at), buf_slice(&it->upper)) > 0) {
            buf_clear(&it->at);
            buf_put_slice(&it->at, buf_slice(&it->upper));
        }
        it->started = true;
        return 0;
    }
    if (!it->has_lower || slice_cmp(to_slice(key), buf_slice(&it->lower)) > 0) {
        buf_clear(&it->lower); /* going back before the range is not possible, going back within it is not needed */
        buf_put_slice(&it->lower, to_slice(key));
        it->has_lower = true;
    }
    it->started = false;
    return 0;
}

static int sim_stats(rs_store *s, void (*each)(void *arg, const char *name, uint64_t value), void *arg) {
    struct sim_disk_stats st = sim_disk_stats(s->disk);

    each(arg, "writes", st.writes);
    each(arg, "syncs", st.syncs + st.synced_writes);
    return 0;
}

const rs_storage_ops sim_storage_ops = {
    .struct_size = sizeof sim_storage_ops,
    .open = sim_open,
    .close = sim_close,
    .limits = sim_limits,
    .table_open = sim_table_open,
    .table_drop = sim_table_drop,
    .batch_new = sim_batch_new,
    .batch_free = sim_batch_free,
    .batch_clear = sim_batch_clear,
    .batch_put = sim_batch_put,
    .batch_del = sim_batch_del,
    .batch_del_range = sim_batch_del_range,
    .batch_bytes = sim_batch_bytes,
    .write = sim_write,
    .sync = sim_sync,
    .view_new = sim_view_new,
    .view_free = sim_view_free,
    .get = sim_get,
    .unpin = sim_unpin,
    .iter_new = sim_iter_new,
    .iter_next = sim_iter_next,
    .iter_seek = sim_iter_seek,
    .iter_free = sim_iter_free,
    .stats = sim_stats,
};

/* ---- the descriptor ---- */

static int plugin_check(const rs_host *host, const rs_node *config, rs_error *e) {
    return 0;
}
static int plugin_init(const rs_host *host, const rs_node *config, void **ret_self, rs_error *e) {
    uint64_t seed;

    host->random(host, &seed, sizeof seed);
    *ret_self = sim_disk_new(seed);
    return 0;
}
static void plugin_stop(void *self, rs_done_fn done, void *arg) {
    done(arg, 0, NULL);
}
static void plugin_fini(void *self) {
    (void)sim_disk_free(self);
}

const rs_plugin sim_storage_plugin = {
    .magic = RS_ABI_MAGIC,
    .struct_size = sizeof sim_storage_plugin,
    .abi_major = RS_ABI_MAJOR,
    .kind = RS_KIND_STORAGE,
    .caps = SIM_STORAGE_CAPS,
    .name = "sim",
    .version = "1",
    .license = "Apache-2.0",
    .config_schema = "{\"type\":\"object\"}",
    .ops = &sim_storage_ops,
    .check = plugin_check,
    .init = plugin_init,
    .stop = plugin_stop,
    .fini = plugin_fini,
};
