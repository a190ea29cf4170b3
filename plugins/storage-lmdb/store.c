/* SPDX-License-Identifier: Apache-2.0 */
/* storage-lmdb: opening, closing and describing a store; its tables. On the store's writer thread (stats: any thread).
 */
#include "lmdb_store.h"
#include <errno.h>
#include <restate/helper/store_dir.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

int lm_error(int rc, const char *what, uint32_t flags, rs_error *err) {
    int code;

    switch (rc) {
    case MDB_NOTFOUND:
    case ENOENT:
        code = RS_ENOENT;
        break;
    case MDB_MAP_FULL:
    case ENOSPC:
    case EDQUOT:
        code = RS_ENOSPC;
        break;
    case MDB_PAGE_NOTFOUND:
    case MDB_CORRUPTED:
    case MDB_INVALID:
    case MDB_VERSION_MISMATCH:
        code = RS_ECORRUPT;
        break;
    case MDB_READERS_FULL:
        code = RS_EAGAIN;
        break;
    case MDB_TXN_FULL:
    case MDB_DBS_FULL:
    case MDB_BAD_VALSIZE:
        code = RS_ETOOBIG;
        break;
    case ENOMEM:
        code = RS_ENOMEM;
        break;
    case EACCES:
    case EPERM:
        code = RS_EPERM;
        break;
    default:
        code = RS_EIO;
    }
    return rs_fail(err, code, flags, rc, "%s: %s", what, mdb_strerror(rc));
}

int lm_poisoned(rs_store *s, rs_error *err) {
    return rs_fail(err, s->poison, RS_ERR_STICKY, 0, "%s", s->poison_msg);
}

int lm_poison(rs_store *s, int code, const char *what, const char *why, rs_error *err) {
    s->poison = code;
    (void)snprintf(s->poison_msg, sizeof(s->poison_msg), "%s: %s", what, why);
    return lm_poisoned(s, err);
}

int lm_free_pages(MDB_txn *txn, size_t *ret) {
    MDB_cursor *cursor;
    MDB_val key, value;
    size_t n = 0, count;
    int rc = mdb_cursor_open(txn, 0, &cursor); /* 0 is the database of free pages: lists headed by their length */

    if (rc != 0)
        return rc;
    while ((rc = mdb_cursor_get(cursor, &key, &value, MDB_NEXT)) == 0) {
        if (value.mv_size >= sizeof(count)) {
            memcpy(&count, value.mv_data, sizeof(count));
            n += count;
        }
    }
    mdb_cursor_close(cursor);
    if (rc != MDB_NOTFOUND)
        return rc;
    *ret = n;
    return 0;
}

/* Compares the file with what its meta page claims; a page that is not there would be a SIGBUS later. LMDB may leave
 * the file short of pages that were taken and given back in one transaction; those are on the free list. */
static int check_length(rs_store *s, const char *path, rs_error *err) {
    struct stat st;
    MDB_envinfo info;
    MDB_txn *txn;
    uint64_t want;
    size_t missing, n_free = 0;
    int rc = mdb_env_info(s->env, &info);

    if (rc != 0)
        return lm_error(rc, "cannot read store", 0, err);
    if (stat(path, &st) < 0)
        return lm_error(errno, "cannot read store", 0, err);
    want = ((uint64_t)info.me_last_pgno + 1) * s->page_size;
    if ((uint64_t)st.st_size >= want)
        return 0;
    missing = (size_t)((want - (uint64_t)st.st_size + s->page_size - 1) / s->page_size);
    if (truncate(path, (off_t)want) < 0)
        return lm_error(errno, "cannot extend store", 0, err);
    rc = mdb_txn_begin(s->env, NULL, MDB_RDONLY, &txn);
    if (rc == 0) {
        rc = lm_free_pages(txn, &n_free);
        mdb_txn_abort(txn);
    }
    if (rc != 0 || n_free < missing) {
        if (truncate(path, st.st_size) < 0)
            return lm_error(errno, "cannot restore the length of store", 0, err);
        return rs_fail(err, RS_ECORRUPT, 0, rc, "%s is %zu pages short", path, missing);
    }
    return 0;
}

static int open_env(rs_store *s, rs_error *err) {
    const struct options *o = &s->in->opt;
    MDB_stat st;
    int dead, rc = mdb_env_create(&s->env);

    if (rc == 0)
        rc = mdb_env_set_mapsize(s->env, (size_t)o->map_size);
    if (rc == 0)
        rc = mdb_env_set_maxdbs(s->env, (MDB_dbi)o->max_tables);
    if (rc == 0)
        rc = mdb_env_set_maxreaders(s->env, (unsigned)o->max_views + 1); /* and the savepoint's */
    if (rc == 0)
        rc = mdb_env_open(s->env, s->dir, MDB_NOTLS, 0600);
    if (rc == 0)
        rc = mdb_reader_check(s->env, &dead);
    if (rc == 0)
        rc = mdb_env_stat(s->env, &st);
    if (rc != 0) {
        mdb_env_close(s->env);
        s->env = NULL;
        return lm_error(rc, "cannot open store", 0, err);
    }
    s->page_size = st.ms_psize;
    return 0;
}

static rs_table *table_add(rs_store *s, const char *name, size_t len) {
    rs_table *t = calloc(1, sizeof(*t));

    if (t == NULL)
        return NULL;
    t->store = s;
    (void)snprintf(t->name, sizeof(t->name), "%.*s", (int)len, name);
    t->next = s->tables;
    s->tables = t;
    return t;
}

/* Opens the handles of all tables there are, before any view: a view knows only handles older than itself. */
static int open_tables(rs_store *s, rs_error *err) {
    MDB_txn *txn;
    MDB_cursor *cursor = NULL;
    MDB_dbi root;
    MDB_val key, value;
    int rc = mdb_txn_begin(s->env, NULL, 0, &txn);

    if (rc != 0)
        return lm_error(rc, "cannot read store", 0, err);
    rc = mdb_dbi_open(txn, NULL, 0, &root);
    if (rc == 0)
        rc = mdb_cursor_open(txn, root, &cursor);
    while (rc == 0 && (rc = mdb_cursor_get(cursor, &key, &value, MDB_NEXT)) == 0) {
        rs_table *t = key.mv_size <= TABLE_NAME_MAX ? table_add(s, key.mv_data, key.mv_size) : NULL;
        rc = t != NULL ? mdb_dbi_open(txn, t->name, 0, &t->dbi) : ENOMEM;
    }
    if (cursor != NULL)
        mdb_cursor_close(cursor);
    if (rc == MDB_NOTFOUND)
        rc = mdb_txn_commit(txn); /* keeps the handles */
    else
        mdb_txn_abort(txn);
    return rc != 0 ? lm_error(rc, "cannot open tables", 0, err) : 0;
}

/* For a store that was a relaxed one and is a synced one now. */
static int leave_savepoints(rs_store *s, const char *path, rs_error *err) {
    lm_savepoint_close(s);
    return unlink(path) < 0 ? lm_error(errno, "cannot remove the savepoint", 0, err) : rs_dir_sync(s->dir, err);
}

/* Opens or creates. A complete store has the marker; without it only what an interrupted creation can leave behind is
 * thrown away: a data file that holds no more than the two meta pages. */
static int open_files(rs_store *s, bool relaxed, rs_error *err) {
    char data[4096], lock[4096], savepoint[4096];
    bool marker = rs_marker_exists(s->dir);
    struct stat st = {0};
    int r = rs_path_join(data, sizeof(data), s->dir, "data.mdb", err);

    if (r == 0)
        r = rs_path_join(lock, sizeof(lock), s->dir, "lock.mdb", err);
    if (r == 0)
        r = rs_path_join(savepoint, sizeof(savepoint), s->dir, "savepoint", err);
    if (r < 0)
        return r;
    if (stat(data, &st) < 0 && errno != ENOENT)
        return lm_error(errno, "cannot read store", 0, err);
    if (marker && st.st_size == 0)
        return rs_fail(err, RS_ECORRUPT, 0, 0, "%s holds a store whose data is gone", s->dir);
    if (!marker && st.st_size <= 2 * sysconf(_SC_PAGESIZE)) {
        (void)unlink(data); /* absent is fine */
        (void)unlink(lock);
        (void)unlink(savepoint);
    }
    if (relaxed || access(savepoint, F_OK) == 0)
        r = lm_savepoint_restore(s, data, err);
    if (r == 0)
        r = open_env(s, err);
    if (r == 0)
        r = check_length(s, data, err);
    if (r == 0)
        r = open_tables(s, err);
    if (r == 0 && !marker) {
        int rc = mdb_env_sync(s->env, 1);
        r = rc != 0 ? lm_error(rc, "cannot sync the new store", 0, err) : rs_marker_make(s->dir, "lmdb 1\n", err);
    }
    if (r == 0 && relaxed)
        r = lm_savepoint_open(s, err);
    else if (r == 0 && s->savepoint_fd >= 0)
        r = leave_savepoints(s, savepoint, err);
    return r;
}

int lm_open(void *self, const rs_store_open *params, rs_store **ret, rs_error *err) {
    rs_store *s;
    int r;

    if (params->durability != RS_STORE_SYNC && params->durability != RS_STORE_RELAXED)
        return rs_fail(err, RS_EINVAL, 0, 0, "unknown durability %u", params->durability);
    r = rs_dir_make(params->dir, err);
    if (r < 0)
        return r;
    s = calloc(1, sizeof(*s));
    if (s == NULL)
        return rs_fail(err, RS_ENOMEM, 0, 0, "out of memory");
    s->in = self;
    s->lock_fd = s->savepoint_fd = -1;
    (void)pthread_mutex_init(&s->lock, NULL);
    s->dir = strdup(params->dir);
    r = s->dir == NULL ? rs_fail(err, RS_ENOMEM, 0, 0, "out of memory") : rs_dir_lock(s->dir, &s->lock_fd, err);
    if (r == 0)
        r = open_files(s, params->durability == RS_STORE_RELAXED, err);
    if (r < 0) {
        lm_close(s);
        return r;
    }
    *ret = s;
    return 0;
}

void lm_close(rs_store *s) {
    if (s == NULL)
        return;
    if (s->unsaved && s->poison == 0)
        (void)lm_savepoint_take(s, NULL); /* else the next open goes back to the last one */
    lm_savepoint_close(s);
    for (rs_view *v = s->unused, *next; v != NULL; v = next) {
        next = v->next;
        mdb_txn_abort(v->txn);
        free(v);
    }
    for (rs_table *t = s->tables, *next; t != NULL; t = next) {
        next = t->next;
        free(t);
    }
    if (s->env != NULL)
        mdb_env_close(s->env);
    if (s->lock_fd >= 0)
        (void)close(s->lock_fd); /* lets go of the lock */
    (void)pthread_mutex_destroy(&s->lock);
    free(s->dir);
    free(s);
}

static rs_table *table_find(rs_store *s, const char *name) {
    rs_table *t = s->tables;
    while (t != NULL && strcmp(t->name, name) != 0)
        t = t->next;
    return t;
}

/* A failed commit of table_open or table_drop: lasting, unless the disk was full. */
static int table_fail(rs_store *s, int rc, const char *what, rs_error *err) {
    int code = lm_error(rc, what, 0, err);

    return code != RS_EIO ? code : lm_poison(s, code, what, mdb_strerror(rc), err);
}

int lm_table_open(rs_store *s, const char *name, uint32_t flags, rs_table **ret, rs_error *err) {
    size_t n = strlen(name);
    rs_table *t;
    MDB_txn *txn;
    MDB_dbi dbi;
    size_t since = 0;
    int rc;

    if (n == 0 || n > TABLE_NAME_MAX || flags != 0)
        return rs_fail(err, RS_EINVAL, 0, 0, "table name of %zu bytes or flags %u", n, flags);
    t = table_find(s, name);
    if (t != NULL) {
        *ret = t;
        return 0;
    }
    if (s->poison != 0)
        return lm_poisoned(s, err);
    rc = mdb_txn_begin(s->env, NULL, 0, &txn);
    if (rc == 0) {
        rc = mdb_dbi_open(txn, name, MDB_CREATE, &dbi);
        since = mdb_txn_id(txn);
        if (rc == 0)
            rc = mdb_txn_commit(txn);
        else
            mdb_txn_abort(txn);
    }
    if (rc != 0)
        return table_fail(s, rc, "cannot create table", err);
    rc = lm_sync(s, err);
    if (rc < 0)
        return rc;
    t = table_add(s, name, n);
    if (t == NULL)
        return rs_fail(err, RS_ENOMEM, 0, 0, "out of memory");
    t->dbi = dbi;
    t->since = since;
    *ret = t;
    return 0;
}

int lm_table_drop(rs_store *s, const char *name, rs_error *err) {
    rs_table *t = table_find(s, name), **link = &s->tables;
    MDB_txn *txn;
    int rc;

    if (t == NULL)
        return rs_fail(err, RS_ENOENT, 0, 0, "no table %s", name);
    if (s->poison != 0)
        return lm_poisoned(s, err);
    rc = mdb_txn_begin(s->env, NULL, 0, &txn);
    if (rc == 0) {
        rc = mdb_drop(txn, t->dbi, 1);
        if (rc == 0)
            rc = mdb_txn_commit(txn);
        else
            mdb_txn_abort(txn);
    }
    if (rc != 0)
        return table_fail(s, rc, "cannot drop table", err);
    rc = lm_sync(s, err);
    if (rc < 0)
        return rc;
    while (*link != t)
        link = &(*link)->next;
    *link = t->next;
    free(t);
    return 0;
}

int lm_stats(rs_store *s, void (*each)(void *arg, const char *name, uint64_t value), void *arg) {
    MDB_envinfo info;

    if (mdb_env_info(s->env, &info) != 0)
        return RS_EIO;
    each(arg, "map_bytes", info.me_mapsize);
    each(arg, "used_bytes", ((uint64_t)info.me_last_pgno + 1) * s->page_size);
    each(arg, "view_slots", info.me_numreaders);
    each(arg, "transactions", info.me_last_txnid);
    return 0;
}
