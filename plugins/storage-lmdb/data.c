/* SPDX-License-Identifier: Apache-2.0 */
/* storage-lmdb: batches, writes, views, reads.
 *
 * A batch is a list of encoded operations, applied in order inside one write transaction. In a store opened as a synced
 * one, a write syncs its pages and then the meta page that makes them the store's state. In a relaxed one nothing is
 * synced until sync(), see savepoint.c. Reads point into the map: nothing is copied, a pin costs nothing. */
#include "lmdb_store.h"
#include <stdlib.h>

enum op { OP_PUT, OP_DEL, OP_DEL_RANGE };
enum { NO_UPPER = 1 }; /* flags of OP_DEL_RANGE */

/* Followed by key and value; of a range: lower and upper. Records start at multiples of eight. */
struct record {
    rs_table *table;
    uint64_t value_len;
    uint32_t key_len;
    uint16_t op, flags;
};

struct rs_batch {
    rs_store *store;
    char *data;
    size_t len, cap; /* bytes; cap is what the host was told */
    bool adds;       /* has a put */
};

struct rs_iter {
    MDB_cursor *cursor; /* NULL: the table is younger than the view, so it is empty */
    bool reverse, started, pending, done;
    MDB_val key, value; /* of a pending row found by a seek */
    size_t lower_len, upper_len;
    bool has_upper;
    char bounds[]; /* lower, then upper */
};

/* ---- batches ---- */

rs_batch *lm_batch_new(rs_store *s, size_t bytes_hint) {
    rs_batch *b = calloc(1, sizeof(*b));

    (void)bytes_hint; /* growth doubles; the memory is charged when it is needed */
    if (b != NULL)
        b->store = s;
    return b;
}

static void batch_drop_data(rs_batch *b) {
    const rs_host *host = b->store->in->host;

    free(b->data);
    if (b->cap != 0)
        (void)host->mem_charge(host, -(int64_t)b->cap); /* giving back cannot fail */
    b->data = NULL;
    b->len = b->cap = 0;
}

void lm_batch_free(rs_batch *b) {
    if (b == NULL)
        return;
    batch_drop_data(b);
    free(b);
}

void lm_batch_clear(rs_batch *b) {
    if (b->cap > CHARGE_STEP * 16)
        batch_drop_data(b);
    b->len = 0;
    b->adds = false;
}

size_t lm_batch_bytes(const rs_batch *b) {
    return b->len;
}

static int batch_grow(rs_batch *b, size_t want) {
    const rs_host *host = b->store->in->host;
    size_t cap = b->cap != 0 ? b->cap * 2 : 4096;
    char *data;

    if (cap < want)
        cap = (want + CHARGE_STEP - 1) / CHARGE_STEP * CHARGE_STEP;
    if (host->mem_charge(host, (int64_t)(cap - b->cap)) < 0)
        return RS_ENOMEM;
    data = realloc(b->data, cap);
    if (data == NULL) {
        (void)host->mem_charge(host, -(int64_t)(cap - b->cap)); /* giving back cannot fail */
        return RS_ENOMEM;
    }
    b->data = data;
    b->cap = cap;
    return 0;
}

/* Appends a record with its key. Return: 0, and where the value goes; or negative. */
static int batch_add(rs_batch *b, rs_table *t, enum op op, uint16_t flags, rs_slice key, size_t value_len,
                     char **ret_value) {
    size_t size = (sizeof(struct record) + key.len + value_len + 7) & ~(size_t)7;
    struct record *r;
    int rc;

    if (b->len + size > BATCH_MAX)
        return RS_ETOOBIG;
    if (b->len + size > b->cap) {
        rc = batch_grow(b, b->len + size);
        if (rc < 0)
            return rc;
    }
    r = (struct record *)(void *)(b->data + b->len);
    *r = (struct record){
        .table = t, .value_len = value_len, .key_len = (uint32_t)key.len, .op = (uint16_t)op, .flags = flags};
    if (key.len != 0)
        memcpy(r + 1, key.data, key.len);
    *ret_value = (char *)(r + 1) + key.len;
    b->len += size;
    return 0;
}

static int key_check(rs_slice key) {
    return key.len == 0 ? RS_EINVAL : key.len > KEY_MAX ? RS_ETOOBIG : 0;
}

int lm_batch_put(rs_batch *b, rs_table *t, rs_slice key, const struct iovec *value, int n) {
    size_t total = 0;
    char *to;
    int r = n < 0 ? RS_EINVAL : key_check(key);

    if (r < 0)
        return r;
    for (int i = 0; i < n; i++) {
        if (__builtin_add_overflow(total, value[i].iov_len, &total) || total > VALUE_MAX)
            return RS_ETOOBIG;
    }
    r = batch_add(b, t, OP_PUT, 0, key, total, &to);
    if (r < 0)
        return r;
    b->adds = true;
    for (int i = 0; i < n; i++) {
        if (value[i].iov_len != 0)
            memcpy(to, value[i].iov_base, value[i].iov_len);
        to += value[i].iov_len;
    }
    return 0;
}

int lm_batch_del(rs_batch *b, rs_table *t, rs_slice key) {
    char *unused;
    int r = key_check(key);
    return r < 0 ? r : batch_add(b, t, OP_DEL, 0, key, 0, &unused);
}

int lm_batch_del_range(rs_batch *b, rs_table *t, rs_slice lower, rs_slice upper) {
    bool no_upper = upper.data == NULL;
    char *to;
    int r;

    if (lower.data == NULL)
        lower = (rs_slice){"", 0};
    if (no_upper)
        upper = (rs_slice){"", 0};
    if (lower.len > KEY_MAX || upper.len > KEY_MAX)
        return RS_ETOOBIG;
    if (!no_upper && rs_slice_cmp(lower, upper) >= 0)
        return 0;
    r = batch_add(b, t, OP_DEL_RANGE, no_upper ? NO_UPPER : 0, lower, upper.len, &to);
    if (r == 0 && upper.len != 0)
        memcpy(to, upper.data, upper.len);
    return r;
}

/* ---- writes ---- */

static int apply_del_range(MDB_txn *txn, MDB_dbi dbi, rs_slice lower, rs_slice upper, bool no_upper) {
    MDB_cursor *cursor;
    MDB_val key = {lower.len, (void *)(uintptr_t)lower.data}, value;
    int rc;

    if (lower.len == 0 && no_upper)
        return mdb_drop(txn, dbi, 0);
    rc = mdb_cursor_open(txn, dbi, &cursor);
    if (rc != 0)
        return rc;
    rc = mdb_cursor_get(cursor, &key, &value, lower.len != 0 ? MDB_SET_RANGE : MDB_FIRST);
    while (rc == 0 && (no_upper || rs_slice_cmp((rs_slice){key.mv_data, key.mv_size}, upper) < 0)) {
        rc = mdb_cursor_del(cursor, 0);
        if (rc == 0)
            rc = mdb_cursor_get(cursor, &key, &value, MDB_NEXT);
    }
    mdb_cursor_close(cursor);
    return rc == MDB_NOTFOUND ? 0 : rc;
}

static int apply(MDB_txn *txn, const rs_batch *b) {
    int rc = 0;

    for (size_t at = 0; at < b->len && rc == 0;) {
        const struct record *r = (const struct record *)(const void *)(b->data + at);
        const char *bytes = (const char *)(r + 1);
        MDB_val key = {r->key_len, (void *)(uintptr_t)bytes},
                value = {r->value_len, (void *)(uintptr_t)(bytes + r->key_len)};
        switch ((enum op)r->op) {
        case OP_PUT:
            rc = mdb_put(txn, r->table->dbi, &key, &value, 0);
            break;
        case OP_DEL:
            rc = mdb_del(txn, r->table->dbi, &key, NULL);
            rc = rc == MDB_NOTFOUND ? 0 : rc;
            break;
        case OP_DEL_RANGE:
            rc = apply_del_range(txn, r->table->dbi, (rs_slice){key.mv_data, key.mv_size},
                                 (rs_slice){value.mv_data, value.mv_size}, (r->flags & NO_UPPER) != 0);
            break;
        }
        at += (sizeof(*r) + r->key_len + r->value_len + 7) & ~(size_t)7;
    }
    return rc;
}

/* Refuses to add data above the quota. The file never shrinks, so above it the free pages are counted. */
static int quota_check(rs_store *s, MDB_txn *txn, const rs_batch *b, rs_error *err) {
    MDB_envinfo info;
    uint64_t used, quota = s->in->opt.quota;
    size_t n_free = 0;
    int rc = mdb_env_info(s->env, &info);

    if (rc != 0)
        return lm_error(rc, "write", 0, err);
    used = ((uint64_t)info.me_last_pgno + 1) * s->page_size + b->len;
    if (!b->adds || used <= quota)
        return 0;
    rc = lm_free_pages(txn, &n_free);
    if (rc != 0)
        return lm_error(rc, "write", 0, err);
    if (used - n_free * s->page_size > quota)
        return rs_fail(err, RS_ENOSPC, RS_ERR_RETRYABLE, 0, "%s has reached its quota", s->dir);
    return 0;
}

/* Return: negative, or 0 and an LMDB code. */
static int commit(rs_store *s, const rs_batch *b, int *ret_rc, rs_error *err) {
    MDB_txn *txn;
    int r, rc = mdb_txn_begin(s->env, NULL, 0, &txn);

    if (rc == 0) {
        r = quota_check(s, txn, b, err);
        if (r < 0) {
            mdb_txn_abort(txn);
            return r;
        }
        rc = apply(txn, b);
        if (rc == 0)
            rc = mdb_txn_commit(txn);
        else
            mdb_txn_abort(txn);
    }
    *ret_rc = rc;
    return 0;
}

/* A transaction that did not commit left no trace, so a full disk may be tried again. Any other failure of the system
 * may be a failed sync. */
static int write_failed(rs_store *s, int rc, rs_error *err) {
    int r = lm_error(rc, "write", RS_ERR_RETRYABLE, err);

    if (r == RS_ENOSPC || r == RS_ENOMEM)
        return r;
    if (r == RS_ETOOBIG)
        return lm_error(rc, "write", 0, err);
    return lm_poison(s, r, "write", mdb_strerror(rc), err);
}

int lm_write(rs_store *s, rs_batch *b, uint32_t flags, rs_error *err) {
    bool relaxed = s->savepoint_fd >= 0;
    int rc, r;

    if (s->poison != 0)
        return lm_poisoned(s, err);
    if (b->len == 0)
        return 0;
    r = commit(s, b, &rc, err);
    if (r == 0 && rc == MDB_MAP_FULL && s->unsaved) { /* the last savepoint holds pages that a new one lets go */
        r = lm_sync(s, err);
        if (r == 0)
            r = commit(s, b, &rc, err);
    }
    if (r < 0)
        return r;
    if (rc != 0)
        return write_failed(s, rc, err);
    s->unsaved = relaxed;
    if (!relaxed)
        return 0;
    if (flags & RS_WRITE_SYNC)
        return lm_sync(s, err);
    rc = lm_savepoint_trickle(s);
    return rc != 0 ? lm_poison(s, RS_EIO, "write", mdb_strerror(rc), err) : 0;
}

int lm_sync(rs_store *s, rs_error *err) {
    rs_error why = {.struct_size = sizeof(why)};
    int r;

    if (s->poison != 0)
        return lm_poisoned(s, err);
    if (s->savepoint_fd < 0)
        return 0; /* every write was synced */
    r = lm_savepoint_take(s, &why);
    return r < 0 ? lm_poison(s, r, "sync", why.msg, err) : 0; /* for good: what it was to cover may be gone */
}

/* ---- views ---- */

int lm_view_new(rs_store *s, rs_view **ret, rs_error *err) {
    rs_view *v;
    int rc;

    (void)pthread_mutex_lock(&s->lock);
    v = s->unused;
    if (v != NULL)
        s->unused = v->next;
    (void)pthread_mutex_unlock(&s->lock);
    if (v != NULL) {
        rc = mdb_txn_renew(v->txn);
        if (rc != 0)
            mdb_txn_abort(v->txn);
    } else {
        v = calloc(1, sizeof(*v));
        if (v == NULL)
            return rs_fail(err, RS_ENOMEM, 0, 0, "out of memory");
        v->store = s;
        rc = mdb_txn_begin(s->env, NULL, MDB_RDONLY, &v->txn);
    }
    if (rc != 0) {
        free(v);
        return lm_error(rc, "view", rc == MDB_READERS_FULL ? RS_ERR_RETRYABLE : 0, err);
    }
    *ret = v;
    return 0;
}

void lm_view_free(rs_view *v) {
    rs_store *s;

    if (v == NULL)
        return;
    s = v->store;
    mdb_txn_reset(v->txn); /* lets go of the pages at once */
    (void)pthread_mutex_lock(&s->lock);
    v->next = s->unused;
    s->unused = v;
    (void)pthread_mutex_unlock(&s->lock);
}

static bool table_is_younger(const rs_view *v, const rs_table *t) {
    return mdb_txn_id(v->txn) < t->since;
}

int lm_get(rs_view *v, rs_table *t, rs_slice key, uint32_t flags, rs_pin *ret, rs_error *err) {
    MDB_val k = {key.len, (void *)(uintptr_t)key.data}, value;
    int rc = MDB_NOTFOUND;

    (void)flags; /* the map is the cache */
    if (key.len != 0 && key.len <= KEY_MAX && !table_is_younger(v, t))
        rc = mdb_get(v->txn, t->dbi, &k, &value);
    if (rc != 0)
        return rc == MDB_NOTFOUND ? rs_absent(err) : lm_error(rc, "get", 0, err);
    ret->value = (rs_slice){value.mv_data, value.mv_size};
    ret->owner = NULL;
    return 0;
}

void lm_unpin(rs_pin *pin) {
    *pin = (rs_pin){0};
}

/* ---- iterators ---- */

int lm_iter_new(rs_view *v, rs_table *t, const rs_range *range, rs_iter **ret, rs_error *err) {
    rs_slice lower = range->lower, upper = range->upper;
    size_t lower_len = lower.data != NULL ? lower.len : 0, upper_len = upper.data != NULL ? upper.len : 0;
    rs_iter *it = calloc(1, sizeof(*it) + lower_len + upper_len + 1);
    int rc;

    if (it == NULL)
        return rs_fail(err, RS_ENOMEM, 0, 0, "out of memory");
    it->reverse = (range->flags & RS_RANGE_REVERSE) != 0;
    it->lower_len = lower_len;
    it->upper_len = upper_len;
    it->has_upper = upper.data != NULL;
    if (lower_len != 0)
        memcpy(it->bounds, lower.data, lower_len);
    if (upper_len != 0)
        memcpy(it->bounds + lower_len, upper.data, upper_len);
    if (!table_is_younger(v, t)) {
        rc = mdb_cursor_open(v->txn, t->dbi, &it->cursor);
        if (rc != 0) {
            free(it);
            return lm_error(rc, "iterate", 0, err);
        }
    }
    *ret = it;
    return 0;
}

static rs_slice iter_lower(const rs_iter *it) {
    return (rs_slice){it->bounds, it->lower_len};
}
static rs_slice iter_upper(const rs_iter *it) {
    return (rs_slice){it->bounds + it->lower_len, it->upper_len};
}

/* Places the cursor on the first row >= from. Return: an LMDB code. */
static int place_at_or_after(rs_iter *it, rs_slice from) {
    it->key = (MDB_val){from.len, (void *)(uintptr_t)from.data};
    /* LMDB has no empty keys and none longer than its bound; a longer one sorts after its prefix of that length */
    if (from.len == 0)
        return mdb_cursor_get(it->cursor, &it->key, &it->value, MDB_FIRST);
    if (from.len <= KEY_MAX)
        return mdb_cursor_get(it->cursor, &it->key, &it->value, MDB_SET_RANGE);
    it->key.mv_size = KEY_MAX;
    int rc = mdb_cursor_get(it->cursor, &it->key, &it->value, MDB_SET_RANGE);
    if (rc == 0 && rs_slice_cmp((rs_slice){it->key.mv_data, it->key.mv_size}, from) < 0)
        rc = mdb_cursor_get(it->cursor, &it->key, &it->value, MDB_NEXT);
    return rc;
}

/* Places the cursor on the last row < before, or <= when inclusive; with no bound on the last row. */
static int place_before(rs_iter *it, rs_slice before, bool bounded, bool inclusive) {
    int rc = bounded ? place_at_or_after(it, before) : MDB_NOTFOUND;

    if (rc == MDB_NOTFOUND)
        return mdb_cursor_get(it->cursor, &it->key, &it->value, MDB_LAST);
    if (rc == 0 && !(inclusive && rs_slice_cmp((rs_slice){it->key.mv_data, it->key.mv_size}, before) == 0))
        rc = mdb_cursor_get(it->cursor, &it->key, &it->value, MDB_PREV);
    return rc;
}

static int iter_first(rs_iter *it) {
    return it->reverse ? place_before(it, iter_upper(it), it->has_upper, false) : place_at_or_after(it, iter_lower(it));
}

int lm_iter_next(rs_iter *it, rs_slice *ret_key, rs_slice *ret_value, rs_error *err) {
    rs_slice key;
    int rc = 0;

    if (it->cursor == NULL || it->done)
        return 0;
    if (!it->started)
        rc = iter_first(it);
    else if (!it->pending)
        rc = mdb_cursor_get(it->cursor, &it->key, &it->value, it->reverse ? MDB_PREV : MDB_NEXT);
    it->started = true;
    it->pending = false;
    if (rc != 0 && rc != MDB_NOTFOUND)
        return lm_error(rc, "iterate", 0, err);
    key = (rs_slice){it->key.mv_data, it->key.mv_size};
    if (rc == MDB_NOTFOUND || rs_slice_cmp(key, iter_lower(it)) < 0 ||
        (it->has_upper && rs_slice_cmp(key, iter_upper(it)) >= 0)) {
        it->done = true;
        return 0;
    }
    *ret_key = key;
    *ret_value = (rs_slice){it->value.mv_data, it->value.mv_size};
    return 1;
}

int lm_iter_seek(rs_iter *it, rs_slice key, rs_error *err) {
    int rc;

    if (it->cursor == NULL)
        return 0;
    if (it->reverse && it->has_upper && rs_slice_cmp(key, iter_upper(it)) >= 0)
        rc = iter_first(it);
    else if (it->reverse)
        rc = place_before(it, key, true, true);
    else
        rc = place_at_or_after(it, rs_slice_cmp(key, iter_lower(it)) < 0 ? iter_lower(it) : key);
    if (rc != 0 && rc != MDB_NOTFOUND)
        return lm_error(rc, "seek", 0, err);
    it->started = true;
    it->done = rc == MDB_NOTFOUND;
    it->pending = !it->done;
    return 0;
}

void lm_iter_free(rs_iter *it) {
    if (it == NULL)
        return;
    if (it->cursor != NULL)
        mdb_cursor_close(it->cursor);
    free(it);
}
