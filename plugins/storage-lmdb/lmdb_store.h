/* SPDX-License-Identifier: Apache-2.0 */
/* plugins/storage-lmdb/lmdb_store.h : shared by the files of this plugin, included by nobody else.
 *
 * One store is one LMDB environment (data.mdb, lock.mdb) in the store's directory, with the file savepoint where writes
 * are relaxed; one table is one named database.
 * Views are read transactions with MDB_NOTLS, kept for reuse when freed. Every write is one write transaction. */
#pragma once
#include <lmdb.h>
#include <pthread.h>
#include <restate/helper.h>
#include <restate/plugin.h>
#include <restate/storage.h>
#include <stdbool.h>

enum {
    KEY_MAX = 511,        /* bytes; LMDB's own bound */
    TABLE_NAME_MAX = 128, /* bytes */
    CHARGE_STEP = 65536   /* bytes; batches grow and tell the host about it in such steps */
};
#define VALUE_MAX (128ull << 20)
#define BATCH_MAX (256ull << 20)

struct options {
    uint64_t map_size, quota, max_tables, max_views;
};

struct instance {
    const rs_host *host;
    struct options opt;
};

struct rs_table {
    struct rs_table *next;
    rs_store *store;
    MDB_dbi dbi;
    size_t
        since; /* transaction that created it, 0: before open(); older views do not know the handle and find it empty */
    char name[TABLE_NAME_MAX + 1];
};

struct rs_view {
    struct rs_view *next; /* while unused */
    rs_store *store;
    MDB_txn *txn;
};

struct rs_store {
    struct instance *in;
    char *dir;
    int lock_fd;
    MDB_env *env;
    size_t page_size;
    struct rs_table *tables;
    int savepoint_fd;          /* of a relaxed store, else -1; see savepoint.c */
    uint64_t savepoint_number; /* of the last one */
    MDB_txn *held;             /* keeps the pages of the state of the last one */
    bool unsaved;              /* something was written since */
    int poison;                /* RS_E* of the first lasting failure; writer thread only */
    char poison_msg[320];
    pthread_mutex_t lock; /* the list below */
    rs_view *unused;
};

/* Maps an LMDB or errno code to an error. Return: negative RS_E*. */
int lm_error(int rc, const char *what, uint32_t flags, rs_error *err);
int lm_poisoned(rs_store *s, rs_error *err);
/* A lasting failure: every later write and sync is answered with it. Return: @code. */
int lm_poison(rs_store *s, int code, const char *what, const char *why, rs_error *err);

int lm_open(void *self, const rs_store_open *params, rs_store **ret, rs_error *err);
void lm_close(rs_store *s);
int lm_table_open(rs_store *s, const char *name, uint32_t flags, rs_table **ret, rs_error *err);
int lm_table_drop(rs_store *s, const char *name, rs_error *err);
int lm_stats(rs_store *s, void (*each)(void *arg, const char *name, uint64_t value), void *arg);
/* Pages on free lists, as seen by @txn. Return: an LMDB code. */
int lm_free_pages(MDB_txn *txn, size_t *ret);

/* Before the environment is opened: goes back to the savepoint when there is one and something was written after it. */
int lm_savepoint_restore(rs_store *s, const char *data, rs_error *err);
/* The first one of this process. Where it cannot be had, the store has no savepoints (savepoint_fd is -1). */
int lm_savepoint_open(rs_store *s, rs_error *err);
/* Makes everything durable, and its state the one to come back to. A failure is for good. */
int lm_savepoint_take(rs_store *s, rs_error *err);
/* Brings what was written to the disk, little at a time, so that a log beside it is not kept waiting, and the next
 * savepoint has little to do. Return: 0 or an errno, which counts as a failed sync. */
int lm_savepoint_trickle(rs_store *s);
void lm_savepoint_close(rs_store *s);

rs_batch *lm_batch_new(rs_store *s, size_t bytes_hint);
void lm_batch_free(rs_batch *b);
void lm_batch_clear(rs_batch *b);
int lm_batch_put(rs_batch *b, rs_table *t, rs_slice key, const struct iovec *value, int n);
int lm_batch_del(rs_batch *b, rs_table *t, rs_slice key);
int lm_batch_del_range(rs_batch *b, rs_table *t, rs_slice lower, rs_slice upper);
size_t lm_batch_bytes(const rs_batch *b);
int lm_write(rs_store *s, rs_batch *b, uint32_t flags, rs_error *err);
int lm_sync(rs_store *s, rs_error *err);

int lm_view_new(rs_store *s, rs_view **ret, rs_error *err);
void lm_view_free(rs_view *v);
int lm_get(rs_view *v, rs_table *t, rs_slice key, uint32_t flags, rs_pin *ret, rs_error *err);
void lm_unpin(rs_pin *pin);
int lm_iter_new(rs_view *v, rs_table *t, const rs_range *range, rs_iter **ret, rs_error *err);
int lm_iter_next(rs_iter *it, rs_slice *ret_key, rs_slice *ret_value, rs_error *err);
int lm_iter_seek(rs_iter *it, rs_slice key, rs_error *err);
void lm_iter_free(rs_iter *it);
