/* SPDX-License-Identifier: Apache-2.0 */
/* storage-rocksdb: batches, writes, views, reads.
 *
 * Durability. A SYNC store has its write-ahead log on: a sync write is one log append and one fdatasync. A RELAXED
 * store writes without the log; what survives a crash is what the last atomic flush of all families made durable, so it
 * is always a prefix of the writes. sync() is such a flush. */
#include "rocks.h"
#include <errno.h>
#include <stdlib.h>
#include <sys/statvfs.h>

struct rs_batch {
    rs_store *store;
    rocksdb_writebatch_t *wb;
    size_t charged; /* bytes told to the host */
};

struct rs_view {
    rs_store *store;
    const rocksdb_snapshot_t *snapshot;
    rocksdb_readoptions_t *read[READ_VARIANTS]; /* made when first used */
};

enum cursor {
    CURSOR_UNSET,
    CURSOR_ON_NEXT,
    CURSOR_ON_LAST
}; /* not placed; on the row to return next; on the last returned */

struct rs_iter {
    rocksdb_iterator_t *it;
    rocksdb_readoptions_t *read;
    enum cursor cursor;
    bool reverse, empty;
    char bounds[]; /* lower, then upper; RocksDB keeps pointers to them */
};

/* A key longer than any key: the end of an unbounded range. */
static const unsigned char after_all[KEY_MAX + 1] = {[0 ... KEY_MAX] = 0xff};

/* ---- batches ---- */

rs_batch *rocks_batch_new(rs_store *s, size_t bytes_hint) {
    rs_batch *b = calloc(1, sizeof(*b));

    (void)bytes_hint; /* the C API cannot reserve */
    if (b == NULL)
        return NULL;
    b->store = s;
    b->wb = rocksdb_writebatch_create();
    return b;
}

static void batch_uncharge(rs_batch *b) {
    if (b->charged != 0)
        (void)b->store->in->host->mem_charge(b->store->in->host, -(int64_t)b->charged); /* giving back cannot fail */
    b->charged = 0;
}

void rocks_batch_free(rs_batch *b) {
    if (b == NULL)
        return;
    batch_uncharge(b);
    rocksdb_writebatch_destroy(b->wb);
    free(b);
}

void rocks_batch_clear(rs_batch *b) {
    rocksdb_writebatch_clear(b->wb);
    batch_uncharge(b);
}

size_t rocks_batch_bytes(const rs_batch *b) {
    size_t n;
    (void)rocksdb_writebatch_data(b->wb, &n);
    return n;
}

/* Makes room for add bytes in the accounts of the host. */
static int batch_reserve(rs_batch *b, size_t add) {
    const rs_host *host = b->store->in->host;
    size_t want = rocks_batch_bytes(b) + add + 32, step;

    if (want > BATCH_MAX)
        return RS_ETOOBIG;
    if (want <= b->charged || want <= 4096)
        return 0;
    step = (want - b->charged + CHARGE_STEP - 1) / CHARGE_STEP * CHARGE_STEP;
    if (host->mem_charge(host, (int64_t)step) < 0)
        return RS_ENOMEM;
    b->charged += step;
    return 0;
}

static int key_check(rs_slice key) {
    return key.len == 0 ? RS_EINVAL : key.len > KEY_MAX ? RS_ETOOBIG : 0;
}

int rocks_batch_put(rs_batch *b, rs_table *t, rs_slice key, const struct iovec *value, int n) {
    enum { STACK_PARTS = 16 };
    const char *parts_buf[STACK_PARTS], **parts = parts_buf, *key_data = key.data;
    size_t sizes_buf[STACK_PARTS], *sizes = sizes_buf, total = 0;
    int r = n < 0 ? RS_EINVAL : key_check(key);

    if (r < 0)
        return r;
    for (int i = 0; i < n; i++) {
        if (__builtin_add_overflow(total, value[i].iov_len, &total) || total > VALUE_MAX)
            return RS_ETOOBIG;
    }
    r = batch_reserve(b, key.len + total);
    if (r < 0)
        return r;
    if (n == 1) {
        rocksdb_writebatch_put_cf(b->wb, t->cf, key_data, key.len, value[0].iov_base, value[0].iov_len);
        return 0;
    }
    if (n > STACK_PARTS) {
        parts = malloc((size_t)n * sizeof(*parts));
        sizes = malloc((size_t)n * sizeof(*sizes));
    }
    if (parts == NULL || sizes == NULL) {
        r = RS_ENOMEM;
    } else {
        for (int i = 0; i < n; i++) {
            parts[i] = value[i].iov_base;
            sizes[i] = value[i].iov_len;
        }
        rocksdb_writebatch_putv_cf(b->wb, t->cf, 1, &key_data, &key.len, n, parts, sizes);
    }
    if (parts != parts_buf)
        free(parts);
    if (sizes != sizes_buf)
        free(sizes);
    return r;
}

int rocks_batch_del(rs_batch *b, rs_table *t, rs_slice key) {
    int r = key_check(key);

    if (r == 0)
        r = batch_reserve(b, key.len);
    if (r == 0)
        rocksdb_writebatch_delete_cf(b->wb, t->cf, key.data, key.len);
    return r;
}

int rocks_batch_del_range(rs_batch *b, rs_table *t, rs_slice lower, rs_slice upper) {
    int r;

    if (lower.data == NULL)
        lower = (rs_slice){"", 0};
    if (upper.data == NULL)
        upper = (rs_slice){after_all, sizeof(after_all)};
    else if (upper.len > KEY_MAX)
        return RS_ETOOBIG;
    if (lower.len > KEY_MAX)
        return RS_ETOOBIG;
    if (rs_slice_cmp(lower, upper) >= 0)
        return 0;
    r = batch_reserve(b, lower.len + upper.len);
    if (r == 0)
        rocksdb_writebatch_delete_range_cf(b->wb, t->cf, lower.data, lower.len, upper.data, upper.len);
    return r;
}

/* ---- writes ---- */

/* RocksDB does not survive a full disk while open, so it must not meet one: look first. */
static int space_check(rs_store *s, size_t bytes, rs_error *err) {
    struct statvfs fs;
    uint64_t avail, want = s->in->opt.min_free_space + 2 * (uint64_t)bytes;

    if (statvfs(s->dir, &fs) < 0)
        return rs_fail(err, RS_EIO, RS_ERR_RETRYABLE, errno, "statvfs %s: %s", s->dir, strerror(errno));
    avail = (uint64_t)fs.f_bavail * fs.f_frsize;
    if (avail < want)
        return rs_fail(err, RS_ENOSPC, RS_ERR_RETRYABLE, 0, "%s has %llu bytes left, %llu are needed", s->dir,
                       (unsigned long long)avail, (unsigned long long)want);
    return 0;
}

static int poisoned(rs_store *s, rs_error *err) {
    return rs_fail(err, s->poison, RS_ERR_STICKY, 0, "%s", s->poison_msg);
}

static int rocks_fail(rs_store *s, char *take_message, const char *what, rs_error *err) {
    rs_error tmp = {.struct_size = sizeof(tmp)};
    int code = rocks_error(take_message, what, 0, &tmp);
    return rocks_poison(s, code, tmp.msg, err);
}

static int memtables_empty(rs_store *s) {
    for (rs_table *t = s->tables; t != NULL; t = t->next) {
        uint64_t active = 1, frozen = 1;
        if (rocksdb_property_int_cf(s->db, t->cf, "rocksdb.num-entries-active-mem-table", &active) != 0 ||
            rocksdb_property_int_cf(s->db, t->cf, "rocksdb.num-immutable-mem-table", &frozen) != 0 || active != 0 ||
            frozen != 0)
            return 0;
    }
    return 1;
}

/* Flushes all families in one atomic step. The 7.8 C API can only flush one family at a time, which would break the
 * order of writes across tables. A compaction begins with an atomic flush of every family when atomic_flush is set, and
 * has nothing else to do for the default family, which is always empty. It does not report its outcome, but it leaves
 * no memtable behind exactly when the flush succeeded, since this thread is the only writer. */
static int rocks_flush_all(rs_store *s, rs_error *err) {
    if (!memtables_empty(s))
        rocksdb_compact_range_cf(s->db, s->default_cf, NULL, 0, NULL, 0);
    if (!memtables_empty(s))
        return rocks_poison(s, RS_EIO, "sync: flushing the write buffers failed", err);
    return 0;
}

int rocks_sync(rs_store *s, rs_error *err) {
    char *message = NULL;

    if (s->poison != 0)
        return poisoned(s, err);
    if (s->relaxed)
        return rocks_flush_all(s, err);
    rocksdb_flush_wal(s->db, 1, &message);
    return message != NULL ? rocks_fail(s, message, "sync", err) : 0;
}

int rocks_write(rs_store *s, rs_batch *b, uint32_t flags, rs_error *err) {
    char *message = NULL;
    int r;

    if (s->poison != 0)
        return poisoned(s, err);
    r = space_check(s, rocks_batch_bytes(b), err);
    if (r < 0)
        return r;
    rocksdb_write(s->db, (flags & RS_WRITE_SYNC) && !s->relaxed ? s->write_sync : s->write_plain, b->wb, &message);
    if (message != NULL)
        return rocks_fail(s, message, "write", err);
    return (flags & RS_WRITE_SYNC) && s->relaxed ? rocks_flush_all(s, err) : 0;
}

/* ---- views ---- */

int rocks_view_new(rs_store *s, rs_view **ret, rs_error *err) {
    rs_view *v = calloc(1, sizeof(*v));

    if (v == NULL)
        return rs_fail(err, RS_ENOMEM, 0, 0, "out of memory");
    v->store = s;
    v->snapshot = rocksdb_create_snapshot(s->db);
    *ret = v;
    return 0;
}

void rocks_view_free(rs_view *v) {
    if (v == NULL)
        return;
    for (int i = 0; i < READ_VARIANTS; i++) {
        if (v->read[i] != NULL)
            rocksdb_readoptions_destroy(v->read[i]);
    }
    rocksdb_release_snapshot(v->store->db, v->snapshot);
    free(v);
}

static rocksdb_readoptions_t *read_options_new(rs_view *v, uint32_t flags) {
    rocksdb_readoptions_t *ro = rocksdb_readoptions_create();

    rocksdb_readoptions_set_snapshot(ro, v->snapshot);
    if (flags & RS_READ_CACHED)
        rocksdb_readoptions_set_read_tier(ro, 1); /* block cache tier */
    if (flags & RS_READ_NO_FILL)
        rocksdb_readoptions_set_fill_cache(ro, 0);
    return ro;
}

static rocksdb_readoptions_t *read_options(rs_view *v, uint32_t flags) {
    rocksdb_readoptions_t **ro = &v->read[flags & (RS_READ_CACHED | RS_READ_NO_FILL)];

    if (*ro == NULL)
        *ro = read_options_new(v, flags);
    return *ro;
}

/* Sorts out the answer of a cached read that found an empty value. When the table file itself is not open, 7.8 reports
 * success and an empty value; key_may_exist() is the call that tells this apart from a value that is empty. */
static int empty_is_real(rs_view *v, rs_table *t, rs_slice key, rocksdb_readoptions_t *ro) {
    char *value = NULL;
    size_t len = 0;
    unsigned char found = 0;
    unsigned char may =
        rocksdb_key_may_exist_cf(v->store->db, ro, t->cf, key.data, key.len, &value, &len, NULL, 0, &found);

    if (may && found)
        rocksdb_free(value);
    return may && found;
}

static int pin_result(rs_view *v, rs_table *t, rs_slice key, uint32_t flags, rocksdb_pinnableslice_t *ps, rs_pin *ret,
                      rs_error *err) {
    size_t len;
    const char *data = rocksdb_pinnableslice_value(ps, &len);

    if (len == 0 && (flags & RS_READ_CACHED) && !empty_is_real(v, t, key, read_options(v, flags))) {
        rocksdb_pinnableslice_destroy(ps);
        return rs_fail(err, RS_EAGAIN, 0, 0, "not in memory");
    }
    ret->value = (rs_slice){data, len};
    ret->owner = ps;
    return 0;
}

int rocks_get(rs_view *v, rs_table *t, rs_slice key, uint32_t flags, rs_pin *ret, rs_error *err) {
    char *message = NULL;
    rocksdb_pinnableslice_t *ps =
        rocksdb_get_pinned_cf(v->store->db, read_options(v, flags), t->cf, key.data, key.len, &message);

    if (message != NULL)
        return rocks_error(message, "get", 0, err);
    if (ps == NULL)
        return rs_absent(err);
    return pin_result(v, t, key, flags, ps, ret, err);
}

int rocks_multi_get(rs_view *v, rs_table *t, size_t n, const rs_slice keys[], uint32_t flags, rs_pin ret[],
                    int status[], rs_error *err) {
    enum { STEP = 32 };
    const char *data[STEP];
    size_t len[STEP];
    char *message[STEP];
    rocksdb_pinnableslice_t *ps[STEP];

    (void)err; /* every key has its own status */
    for (size_t from = 0; from < n; from += STEP) {
        size_t m = n - from < STEP ? n - from : STEP;
        for (size_t i = 0; i < m; i++) {
            data[i] = keys[from + i].data;
            len[i] = keys[from + i].len;
        }
        rocksdb_batched_multi_get_cf(v->store->db, read_options(v, flags), t->cf, m, data, len, ps, message, false);
        for (size_t i = 0; i < m; i++) {
            if (message[i] != NULL)
                status[from + i] = rocks_error(message[i], "get", 0, NULL);
            else if (ps[i] == NULL)
                status[from + i] = RS_ENOENT;
            else
                status[from + i] = pin_result(v, t, keys[from + i], flags, ps[i], &ret[from + i], NULL);
        }
    }
    return 0;
}

void rocks_unpin(rs_pin *pin) {
    if (pin->owner != NULL)
        rocksdb_pinnableslice_destroy(pin->owner);
    *pin = (rs_pin){0};
}

/* ---- iterators ---- */

int rocks_iter_new(rs_view *v, rs_table *t, const rs_range *range, rs_iter **ret, rs_error *err) {
    rs_slice lower = range->lower, upper = range->upper;
    size_t lower_len = lower.data != NULL ? lower.len : 0, upper_len = upper.data != NULL ? upper.len : 0;
    rs_iter *it = calloc(1, sizeof(*it) + lower_len + upper_len + 1);

    if (it == NULL)
        return rs_fail(err, RS_ENOMEM, 0, 0, "out of memory");
    it->reverse = (range->flags & RS_RANGE_REVERSE) != 0;
    it->read = read_options_new(v, range->flags);
    if (lower.data != NULL && upper.data != NULL && rs_slice_cmp(lower, upper) >= 0)
        it->empty = true;
    if (lower_len != 0) {
        memcpy(it->bounds, lower.data, lower_len);
        rocksdb_readoptions_set_iterate_lower_bound(it->read, it->bounds, lower_len);
    }
    if (upper.data != NULL) {
        memcpy(it->bounds + lower_len, upper.data, upper_len);
        rocksdb_readoptions_set_iterate_upper_bound(it->read, it->bounds + lower_len, upper_len);
        it->empty |= upper_len == 0;
    }
    it->it = rocksdb_create_iterator_cf(v->store->db, it->read, t->cf);
    *ret = it;
    return 0;
}

static void iter_advance(rs_iter *it) {
    if (it->cursor == CURSOR_UNSET) {
        if (it->reverse)
            rocksdb_iter_seek_to_last(it->it);
        else
            rocksdb_iter_seek_to_first(it->it);
    } else if (it->cursor == CURSOR_ON_LAST && rocksdb_iter_valid(it->it)) {
        if (it->reverse)
            rocksdb_iter_prev(it->it);
        else
            rocksdb_iter_next(it->it);
    }
    it->cursor = CURSOR_ON_LAST;
}

int rocks_iter_next(rs_iter *it, rs_slice *ret_key, rs_slice *ret_value, rs_error *err) {
    size_t n;
    const char *p;
    char *message = NULL;

    if (it->empty)
        return 0;
    iter_advance(it);
    if (!rocksdb_iter_valid(it->it)) {
        rocksdb_iter_get_error(it->it, &message);
        return message != NULL ? rocks_error(message, "iterate", 0, err) : 0;
    }
    p = rocksdb_iter_key(it->it, &n);
    *ret_key = (rs_slice){p, n};
    p = rocksdb_iter_value(it->it, &n);
    *ret_value = (rs_slice){p, n};
    return 1;
}

int rocks_iter_seek(rs_iter *it, rs_slice key, rs_error *err) {
    (void)err; /* a failure is told by the next step */
    if (it->empty)
        return 0;
    if (it->reverse)
        rocksdb_iter_seek_for_prev(it->it, key.data, key.len);
    else
        rocksdb_iter_seek(it->it, key.data, key.len);
    it->cursor = CURSOR_ON_NEXT;
    return 0;
}

void rocks_iter_free(rs_iter *it) {
    if (it == NULL)
        return;
    rocksdb_iter_destroy(it->it);
    rocksdb_readoptions_destroy(it->read);
    free(it);
}
