/* SPDX-License-Identifier: Apache-2.0 */
/* storage_memory.c : a complete storage plugin to start from: sorted rows in memory, one file of writes behind them.
 *
 * Every write appends one checked frame to the file "writes"; opening reads them again. Views are copies of the row
 * pointers, so a view costs its number of rows: simple before fast, and the file only grows. The clean length is kept
 * in a second file at close, which tells a damaged file from one that a power cut left with half a frame at its end. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <restate/helper.h>
#include <restate/helper/store_dir.h>
#include <restate/storage.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

enum { KEY_MAX = 1024, VALUE_MAX = 64 << 20, BATCH_MAX = 256 << 20, PATH = 4096 };
enum op {
    OP_PUT,
    OP_DEL,
    OP_DEL_RANGE,
    OP_DEL_FROM,
    OP_TABLE,
    OP_DROP
}; /* DEL_FROM: no upper bound; TABLE: key is a name */

struct row {
    atomic_uint refs;
    uint32_t key_len, value_len;
    char bytes[]; /* key, value */
};
struct rows {
    struct row **at;
    size_t n, cap;
};
struct op_head { /* then key and value, padded to 8 */
    uint32_t op, table, key_len, value_len;
};
struct frame { /* in the file; then len bytes of operations */
    uint32_t sum, len;
};
struct rs_table {
    struct rs_table *next;
    uint32_t id;
    bool dropped; /* no longer open; kept so that old views are safe */
    struct rows rows;
    char name[129];
};
struct rs_store {
    const rs_host *host;
    char dir[PATH];
    int fd, lock_fd, poison;
    uint64_t end; /* of the last whole frame */
    int64_t charged;
    uint32_t next_id;
    pthread_mutex_t lock; /* rows and tables: the writer changes them, view_new() copies them */
    struct rs_table *tables;
};
struct rs_batch {
    rs_store *store;
    char *data; /* a frame's head, then operations */
    size_t len, cap;
};
struct rs_view {
    uint32_t n_tables;
    struct rows tables[]; /* by id */
};
struct rs_iter {
    const struct rows *rows;
    size_t from, until, pos; /* pos: index of the next row; reverse: one after it */
    bool reverse;
};

/* ---- rows ---- */

static rs_slice row_key(const struct row *r) {
    return (rs_slice){r->bytes, r->key_len};
}
static rs_slice row_value(const struct row *r) {
    return (rs_slice){r->bytes + r->key_len, r->value_len};
}

static void row_unref(struct row *r) {
    if (atomic_fetch_sub(&r->refs, 1) == 1)
        free(r);
}

static size_t rows_lower_bound(const struct rows *s, rs_slice key) {
    size_t lo = 0, hi = s->n;
    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        if (rs_slice_cmp(row_key(s->at[mid]), key) < 0)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

static bool rows_has(const struct rows *s, size_t i, rs_slice key) {
    return i < s->n && rs_slice_cmp(row_key(s->at[i]), key) == 0;
}

static void rows_remove(struct rows *s, size_t from, size_t until) {
    if (from >= until)
        return;
    for (size_t i = from; i < until; i++)
        row_unref(s->at[i]);
    memmove(s->at + from, s->at + until, (s->n - until) * sizeof(struct row *));
    s->n -= until - from;
}

static void rows_free(struct rows *s) {
    rows_remove(s, 0, s->n);
    free(s->at);
}

static int rows_put(struct rows *s, rs_slice key, rs_slice value) {
    size_t i = rows_lower_bound(s, key);
    struct row *r = malloc(sizeof(*r) + key.len + value.len);

    if (r == NULL)
        return RS_ENOMEM;
    atomic_init(&r->refs, 1);
    r->key_len = (uint32_t)key.len;
    r->value_len = (uint32_t)value.len;
    memcpy(r->bytes, key.data, key.len);
    memcpy(r->bytes + key.len, value.data, value.len);
    if (rows_has(s, i, key)) {
        row_unref(s->at[i]);
        s->at[i] = r;
        return 0;
    }
    if (s->n == s->cap) {
        size_t cap = s->cap != 0 ? s->cap * 2 : 64;
        struct row **at = realloc(s->at, cap * sizeof(struct row *));
        if (at == NULL) {
            free(r);
            return RS_ENOMEM;
        }
        s->at = at;
        s->cap = cap;
    }
    memmove(s->at + i + 1, s->at + i, (s->n - i) * sizeof(struct row *));
    s->at[i] = r;
    s->n++;
    return 0;
}

static struct rs_table *table_by_id(rs_store *s, uint32_t id) {
    struct rs_table *t = s->tables;
    while (t != NULL && (t->id != id || t->dropped))
        t = t->next;
    return t;
}

static int apply_table(rs_store *s, uint32_t id, rs_slice name) {
    struct rs_table *t = calloc(1, sizeof(*t));

    if (t == NULL || name.len >= sizeof(t->name)) {
        free(t);
        return RS_ECORRUPT;
    }
    memcpy(t->name, name.data, name.len);
    t->id = id;
    t->next = s->tables;
    s->tables = t;
    s->next_id = id + 1;
    return 0;
}

/* Applies the operations of a whole frame; lock held, or nobody else there yet. */
static int apply(rs_store *s, const char *p, size_t len) {
    int r = 0;

    for (size_t at = 0; at < len && r == 0;) {
        struct op_head h;
        if (len - at < sizeof(h))
            return RS_ECORRUPT;
        memcpy(&h, p + at, sizeof(h));
        uint64_t size = (sizeof(h) + (uint64_t)h.key_len + h.value_len + 7) & ~(uint64_t)7;
        if (size > len - at)
            return RS_ECORRUPT;
        rs_slice key = {p + at + sizeof(h), h.key_len}, value = {p + at + sizeof(h) + h.key_len, h.value_len};
        struct rs_table *t = table_by_id(s, h.table);
        if (h.op == OP_TABLE)
            r = apply_table(s, h.table, key);
        else if (t == NULL)
            r = RS_ECORRUPT;
        else if (h.op == OP_PUT)
            r = rows_put(&t->rows, key, value);
        else if (h.op == OP_DEL || h.op == OP_DEL_RANGE || h.op == OP_DEL_FROM) {
            size_t from = rows_lower_bound(&t->rows, key);
            rows_remove(&t->rows, from,
                        h.op == OP_DEL         ? from + rows_has(&t->rows, from, key)
                        : h.op == OP_DEL_RANGE ? rows_lower_bound(&t->rows, value)
                                               : t->rows.n);
        } else {
            rows_remove(&t->rows, 0, t->rows.n);
            t->dropped = true;
        }
        at += size;
    }
    return r;
}

/* ---- the file ---- */

static uint32_t checksum(const char *p, size_t len) { /* len is a multiple of 8 */
    uint64_t h = 0x9e3779b97f4a7c15u ^ len, w;
    for (size_t i = 0; i < len; i += 8) {
        memcpy(&w, p + i, 8);
        h = (h ^ w) * 0xff51afd7ed558ccdu;
        h ^= h >> 32;
    }
    return (uint32_t)h;
}

static int poison(rs_store *s, int code, const char *what, rs_error *err) {
    s->poison = code;
    return rs_fail(err, code, RS_ERR_STICKY, errno, "%s: %s", what, strerror(errno));
}

static int store_sync(rs_store *s, rs_error *err) {
    if (s->poison != 0)
        return rs_fail(err, s->poison, RS_ERR_STICKY, 0, "the store has failed before");
    return fdatasync(s->fd) < 0 ? poison(s, RS_EIO, "sync", err) : 0;
}

/* Appends a frame whose operations follow its head in the buffer, and applies it. */
static int append(rs_store *s, char *data, size_t len, uint32_t flags, rs_error *err) {
    struct frame f = {checksum(data + sizeof(f), len - sizeof(f)), (uint32_t)(len - sizeof(f))};
    int r;

    if (s->poison != 0)
        return rs_fail(err, s->poison, RS_ERR_STICKY, 0, "the store has failed before");
    if (s->host->mem_charge(s->host, (int64_t)len) < 0)
        return rs_fail(err, RS_ENOMEM, RS_ERR_RETRYABLE, 0, "the host has no memory for this write");
    s->charged += (int64_t)len; /* given back at close: what is written stays */
    memcpy(data, &f, sizeof(f));
    for (size_t done = 0; done < len;) {
        ssize_t n = pwrite(s->fd, data + done, len - done, (off_t)(s->end + done));
        if (n >= 0) {
            done += (size_t)n;
        } else if (errno == ENOSPC && ftruncate(s->fd, (off_t)s->end) == 0) {
            return rs_fail(err, RS_ENOSPC, RS_ERR_RETRYABLE, ENOSPC, "the disk is full");
        } else if (errno != EINTR) {
            return poison(s, RS_EIO, "write", err);
        }
    }
    if (flags & RS_WRITE_SYNC) {
        r = store_sync(s, err);
        if (r < 0)
            return r;
    }
    s->end += len;
    (void)pthread_mutex_lock(&s->lock);
    r = apply(s, data + sizeof(f), len - sizeof(f));
    (void)pthread_mutex_unlock(&s->lock);
    return r < 0 ? poison(s, r, "apply", err) : 0;
}

/* Reads all frames. Half a frame at the end, after the clean length, is what a power cut leaves: it is cut off. */
static int replay(rs_store *s, uint64_t clean, rs_error *err) {
    struct stat st;
    char *all;
    int r = 0;

    if (fstat(s->fd, &st) < 0 || (uint64_t)st.st_size < clean)
        return rs_fail(err, RS_ECORRUPT, 0, 0, "%s: writes are missing", s->dir);
    all = malloc((size_t)st.st_size + 1);
    if (all == NULL || pread(s->fd, all, (size_t)st.st_size, 0) != st.st_size)
        r = rs_fail(err, RS_EIO, 0, errno, "%s: cannot read", s->dir);
    while (r == 0 && s->end + sizeof(struct frame) <= (uint64_t)st.st_size) {
        struct frame f;
        memcpy(&f, all + s->end, sizeof(f));
        if (f.len % 8 != 0 || f.len == 0 || f.len > (uint64_t)st.st_size - s->end - sizeof(f) ||
            checksum(all + s->end + sizeof(f), f.len) != f.sum)
            break;
        r = apply(s, all + s->end + sizeof(f), f.len);
        s->end += sizeof(f) + f.len;
    }
    free(all);
    if (r < 0 || s->end < clean)
        return rs_fail(err, r < 0 ? r : RS_ECORRUPT, 0, 0, "%s: damaged before byte %llu", s->dir,
                       (unsigned long long)clean);
    if (s->end < (uint64_t)st.st_size && (ftruncate(s->fd, (off_t)s->end) < 0 || fdatasync(s->fd) < 0))
        return rs_fail(err, RS_EIO, 0, errno, "%s: cannot cut off half a frame", s->dir);
    return 0;
}

/* The clean length lives in a file of its own, replaced as a whole. */
static uint64_t clean_read(const char *dir) {
    char path[PATH + 8];
    uint64_t v = 0;
    (void)snprintf(path, sizeof(path), "%s/clean", dir);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd >= 0) {
        if (read(fd, &v, sizeof(v)) != sizeof(v))
            v = 0;
        (void)close(fd);
    }
    return v;
}

static void clean_write(const char *dir, uint64_t v) { /* best effort: without it the store is only less suspicious */
    char path[PATH + 8], fresh[PATH + 8];
    (void)snprintf(path, sizeof(path), "%s/clean", dir);
    (void)snprintf(fresh, sizeof(fresh), "%s/fresh", dir);
    int fd = open(fresh, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0)
        return;
    bool ok = write(fd, &v, sizeof(v)) == sizeof(v) && fsync(fd) == 0;
    (void)close(fd);
    if (ok && rename(fresh, path) == 0)
        (void)rs_dir_sync(dir, NULL);
}

/* ---- store and tables ---- */

static void store_close(rs_store *s) {
    if (s->fd >= 0 && s->poison == 0 && fdatasync(s->fd) == 0)
        clean_write(s->dir, s->end);
    for (struct rs_table *t = s->tables, *next; t != NULL; t = next) {
        next = t->next;
        rows_free(&t->rows);
        free(t);
    }
    if (s->fd >= 0)
        (void)close(s->fd);
    if (s->lock_fd >= 0)
        (void)close(s->lock_fd);
    (void)s->host->mem_charge(s->host, -s->charged);
    (void)pthread_mutex_destroy(&s->lock);
    free(s);
}

static int store_open(void *self, const rs_store_open *params, rs_store **ret, rs_error *err) {
    char path[PATH + 8];
    bool marker;
    rs_store *s;
    int r;

    if (params->durability != RS_STORE_SYNC && params->durability != RS_STORE_RELAXED)
        return rs_fail(err, RS_EINVAL, 0, 0, "unknown durability");
    r = rs_dir_make(params->dir, err);
    if (r < 0)
        return r;
    s = calloc(1, sizeof(*s));
    if (s == NULL)
        return rs_fail(err, RS_ENOMEM, 0, 0, "out of memory");
    s->host = self;
    s->fd = s->lock_fd = -1;
    (void)pthread_mutex_init(&s->lock, NULL);
    (void)snprintf(s->dir, sizeof(s->dir), "%s", params->dir);
    (void)snprintf(path, sizeof(path), "%s/writes", s->dir);
    r = rs_dir_lock(s->dir, &s->lock_fd, err);
    marker = rs_marker_exists(s->dir);
    if (r == 0) {
        s->fd = open(path, O_RDWR | O_CLOEXEC | (marker ? 0 : O_CREAT | O_TRUNC), 0600);
        if (s->fd < 0)
            r = rs_fail(err,
                        marker && errno == ENOENT ? RS_ECORRUPT
                        : errno == ENOSPC         ? RS_ENOSPC
                                                  : RS_EIO,
                        0, errno, "%s: %s", path, strerror(errno));
        else
            r = marker ? replay(s, clean_read(s->dir), err) : rs_marker_make(s->dir, "memory 1\n", err);
    }
    if (r < 0) {
        s->poison = r; /* nothing here may be called clean */
        store_close(s);
        return r;
    }
    *ret = s;
    return 0;
}

static void store_limits(rs_store *s, rs_limits *ret) {
    (void)s;
    ret->key_max = KEY_MAX;
    ret->value_max = VALUE_MAX;
    ret->batch_max = BATCH_MAX;
}

static int append_one(rs_store *s, enum op op, uint32_t table, rs_slice key, rs_error *err) {
    char data[sizeof(struct frame) + sizeof(struct op_head) + 136] = {0};
    struct op_head h = {op, table, (uint32_t)key.len, 0};

    memcpy(data + sizeof(struct frame), &h, sizeof(h));
    memcpy(data + sizeof(struct frame) + sizeof(h), key.data, key.len);
    return append(s, data, sizeof(struct frame) + ((sizeof(h) + key.len + 7) & ~(size_t)7), RS_WRITE_SYNC, err);
}

static struct rs_table *table_find(rs_store *s, const char *name) {
    struct rs_table *t = s->tables;
    while (t != NULL && (t->dropped || strcmp(t->name, name) != 0))
        t = t->next;
    return t;
}

static int table_open(rs_store *s, const char *name, uint32_t flags, rs_table **ret, rs_error *err) {
    size_t n = strlen(name);

    if (n == 0 || n > 128 || flags != 0)
        return rs_fail(err, RS_EINVAL, 0, 0, "bad table name or flags");
    if (table_find(s, name) == NULL) {
        int r = append_one(s, OP_TABLE, s->next_id, (rs_slice){name, n}, err);
        if (r < 0)
            return r;
    }
    *ret = table_find(s, name);
    return 0;
}

static int table_drop(rs_store *s, const char *name, rs_error *err) {
    struct rs_table *t = table_find(s, name);
    return t == NULL ? rs_fail(err, RS_ENOENT, 0, 0, "no table %s", name)
                     : append_one(s, OP_DROP, t->id, (rs_slice){"", 0}, err);
}

/* ---- batches ---- */

static rs_batch *batch_new(rs_store *s, size_t bytes_hint) {
    rs_batch *b = calloc(1, sizeof(*b));
    (void)bytes_hint;
    if (b != NULL) {
        b->store = s;
        b->len = sizeof(struct frame);
    }
    return b;
}

static void batch_free(rs_batch *b) {
    if (b == NULL)
        return;
    (void)b->store->host->mem_charge(b->store->host, -(int64_t)b->cap);
    free(b->data);
    free(b);
}

static void batch_clear(rs_batch *b) {
    b->len = sizeof(struct frame);
}
static size_t batch_bytes(const rs_batch *b) {
    return b->len - sizeof(struct frame);
}

static int batch_add(rs_batch *b, enum op op, uint32_t table, rs_slice key, const struct iovec *value, int n) {
    struct op_head h = {op, table, (uint32_t)key.len, 0};
    size_t total = 0, size, want, cap;
    char *p;

    for (int i = 0; i < n; i++) {
        if (__builtin_add_overflow(total, value[i].iov_len, &total) || total > VALUE_MAX)
            return RS_ETOOBIG;
    }
    h.value_len = (uint32_t)total;
    size = (sizeof(h) + key.len + total + 7) & ~(size_t)7;
    want = b->len + size;
    if (want > BATCH_MAX)
        return RS_ETOOBIG;
    if (want > b->cap) {
        cap = want < 2 * b->cap ? 2 * b->cap : want + 1024;
        if (b->store->host->mem_charge(b->store->host, (int64_t)(cap - b->cap)) < 0)
            return RS_ENOMEM;
        p = realloc(b->data, cap);
        if (p == NULL) {
            (void)b->store->host->mem_charge(b->store->host, -(int64_t)(cap - b->cap));
            return RS_ENOMEM;
        }
        b->data = p;
        b->cap = cap;
    }
    p = b->data + b->len;
    memset(p + size - 8, 0, 8); /* the padding */
    memcpy(p, &h, sizeof(h));
    memcpy(p + sizeof(h), key.data, key.len);
    p += sizeof(h) + key.len;
    for (int i = 0; i < n; p += value[i++].iov_len) {
        if (value[i].iov_len != 0)
            memcpy(p, value[i].iov_base, value[i].iov_len);
    }
    b->len = want;
    return 0;
}

static int key_check(rs_slice key) {
    return key.len == 0 ? RS_EINVAL : key.len > KEY_MAX ? RS_ETOOBIG : 0;
}

static int batch_put(rs_batch *b, rs_table *t, rs_slice key, const struct iovec *value, int n) {
    int r = n < 0 ? RS_EINVAL : key_check(key);
    return r < 0 ? r : batch_add(b, OP_PUT, t->id, key, value, n);
}

static int batch_del(rs_batch *b, rs_table *t, rs_slice key) {
    int r = key_check(key);
    return r < 0 ? r : batch_add(b, OP_DEL, t->id, key, NULL, 0);
}

static int batch_del_range(rs_batch *b, rs_table *t, rs_slice lower, rs_slice upper) {
    struct iovec value = {(void *)(uintptr_t)upper.data, upper.len};

    if (lower.data == NULL)
        lower = (rs_slice){"", 0};
    if (lower.len > KEY_MAX || upper.len > KEY_MAX)
        return RS_ETOOBIG;
    if (upper.data == NULL)
        return batch_add(b, OP_DEL_FROM, t->id, lower, NULL, 0);
    return rs_slice_cmp(lower, upper) >= 0 ? 0 : batch_add(b, OP_DEL_RANGE, t->id, lower, &value, 1);
}

static int store_write(rs_store *s, rs_batch *b, uint32_t flags, rs_error *err) {
    if (b->len == sizeof(struct frame))
        return (flags & RS_WRITE_SYNC) ? store_sync(s, err) : 0;
    return append(s, b->data, b->len, flags, err);
}

/* ---- views ---- */

static void view_free(rs_view *v) {
    for (uint32_t i = 0; v != NULL && i < v->n_tables; i++)
        rows_free(&v->tables[i]);
    free(v);
}

static int view_new(rs_store *s, rs_view **ret, rs_error *err) {
    rs_view *v;
    bool ok;

    (void)pthread_mutex_lock(&s->lock);
    v = calloc(1, sizeof(*v) + s->next_id * sizeof(struct rows));
    ok = v != NULL;
    if (ok)
        v->n_tables = s->next_id;
    for (struct rs_table *t = s->tables; ok && t != NULL; t = t->next) {
        struct rows *to = &v->tables[t->id];
        to->at = t->rows.n != 0 ? malloc(t->rows.n * sizeof(struct row *)) : NULL;
        ok = t->rows.n == 0 || to->at != NULL;
        for (; ok && to->n < t->rows.n; to->n++) {
            to->at[to->n] = t->rows.at[to->n];
            (void)atomic_fetch_add(&to->at[to->n]->refs, 1);
        }
    }
    (void)pthread_mutex_unlock(&s->lock);
    if (!ok) {
        view_free(v);
        return rs_fail(err, RS_ENOMEM, 0, 0, "out of memory");
    }
    *ret = v;
    return 0;
}

static const struct rows *view_rows(const rs_view *v, const rs_table *t) {
    static const struct rows none;
    return t->id < v->n_tables ? &v->tables[t->id] : &none;
}

static int view_get(rs_view *v, rs_table *t, rs_slice key, uint32_t flags, rs_pin *ret, rs_error *err) {
    const struct rows *rows = view_rows(v, t);
    size_t i = rows_lower_bound(rows, key);

    (void)flags; /* all is memory */
    if (!rows_has(rows, i, key))
        return rs_absent(err);
    *ret = (rs_pin){row_value(rows->at[i]), NULL}; /* the view holds the row */
    return 0;
}

static void unpin(rs_pin *pin) {
    (void)pin;
}

static int iter_new(rs_view *v, rs_table *t, const rs_range *range, rs_iter **ret, rs_error *err) {
    rs_iter *it = calloc(1, sizeof(*it));

    if (it == NULL)
        return rs_fail(err, RS_ENOMEM, 0, 0, "out of memory");
    it->rows = view_rows(v, t);
    it->reverse = (range->flags & RS_RANGE_REVERSE) != 0;
    it->from = range->lower.data != NULL ? rows_lower_bound(it->rows, range->lower) : 0;
    it->until = range->upper.data != NULL ? rows_lower_bound(it->rows, range->upper) : it->rows->n;
    if (it->until < it->from)
        it->until = it->from;
    it->pos = it->reverse ? it->until : it->from;
    *ret = it;
    return 0;
}

static int iter_next(rs_iter *it, rs_slice *ret_key, rs_slice *ret_value, rs_error *err) {
    const struct row *r;

    (void)err;
    if (it->reverse ? it->pos == it->from : it->pos == it->until)
        return 0;
    r = it->rows->at[it->reverse ? --it->pos : it->pos++];
    *ret_key = row_key(r);
    *ret_value = row_value(r);
    return 1;
}

static int iter_seek(rs_iter *it, rs_slice key, rs_error *err) {
    size_t i = rows_lower_bound(it->rows, key);

    (void)err;
    if (it->reverse)
        i += rows_has(it->rows, i, key);
    it->pos = i < it->from ? it->from : i > it->until ? it->until : i;
    return 0;
}

static void iter_free(rs_iter *it) {
    free(it);
}

static int store_stats(rs_store *s, void (*each)(void *arg, const char *name, uint64_t value), void *arg) {
    (void)pthread_mutex_lock(&s->lock);
    uint64_t tables = s->next_id;
    (void)pthread_mutex_unlock(&s->lock);
    each(arg, "tables", tables);
    return 0;
}

/* ---- the descriptor ---- */

static int check(const rs_host *host, const rs_node *config, rs_error *err) {
    uint64_t budget = 0;
    return rs_opt_u64(host, config, "memory-budget", RS_UNIT_BYTES, &budget, err);
}

static int init(const rs_host *host, const rs_node *config, void **ret_self, rs_error *err) {
    int r = check(host, config, err);
    if (r == 0)
        *ret_self = (void *)(uintptr_t)host; /* no state of its own: the host's table is all a store needs */
    return r;
}

static void stop(void *self, rs_done_fn done, void *arg) {
    (void)self;
    done(arg, 0, NULL);
}

static void fini(void *self) {
    (void)self;
}

static const rs_storage_ops ops = {.struct_size = sizeof(ops),
                                   .open = store_open,
                                   .close = store_close,
                                   .limits = store_limits,
                                   .table_open = table_open,
                                   .table_drop = table_drop,
                                   .batch_new = batch_new,
                                   .batch_free = batch_free,
                                   .batch_clear = batch_clear,
                                   .batch_put = batch_put,
                                   .batch_del = batch_del,
                                   .batch_del_range = batch_del_range,
                                   .batch_bytes = batch_bytes,
                                   .write = store_write,
                                   .sync = store_sync,
                                   .view_new = view_new,
                                   .view_free = view_free,
                                   .get = view_get,
                                   .unpin = unpin,
                                   .iter_new = iter_new,
                                   .iter_next = iter_next,
                                   .iter_seek = iter_seek,
                                   .iter_free = iter_free,
                                   .stats = store_stats};

static const rs_plugin plugin = {
    .magic = RS_ABI_MAGIC,
    .struct_size = sizeof(plugin),
    .abi_major = RS_ABI_MAJOR,
    .kind = RS_KIND_STORAGE,
    .caps = RS_STORAGE_CACHED_READ | RS_STORAGE_CHECKSUM,
    .name = "memory",
    .version = "1.0.0",
    .license = "Apache-2.0",
    .config_schema = "{\"type\":\"object\",\"additionalProperties\":false,\"properties\":{\"memory-budget\":{\"type\":"
                     "[\"integer\",\"string\"],\"format\":\"bytes\"}}}",
    .ops = &ops,
    .check = check,
    .init = init,
    .stop = stop,
    .fini = fini};

const rs_plugin *restate_plugin_v1(uint32_t host_major, uint32_t host_minor) {
    (void)host_minor;
    return host_major == RS_ABI_MAJOR ? &plugin : NULL;
}
