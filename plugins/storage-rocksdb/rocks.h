/* SPDX-License-Identifier: Apache-2.0 */
/* plugins/storage-rocksdb/rocks.h : shared by the files of this plugin, included by nobody else.
 *
 * One instance (rs_plugin.init) owns the block cache and the budget that its stores share. One store is one RocksDB
 * database; one table is one column family named "t." + table name. The default column family is always empty:
 * rocks_flush_all() relies on that. */
#pragma once
#include <restate/helper.h>
#include <restate/plugin.h>
#include <restate/storage.h>
#include <rocksdb/c.h>
#include <stdatomic.h>
#include <stdbool.h>

enum {
    KEY_MAX = 1024,       /* bytes */
    TABLE_NAME_MAX = 128, /* bytes, without the prefix */
    CHARGE_STEP = 65536,  /* bytes; batches tell the host about their size in such steps */
    READ_VARIANTS = 4     /* RS_READ_CACHED | RS_READ_NO_FILL */
};
#define VALUE_MAX (512ull << 20)
#define BATCH_MAX (1024ull << 20)

struct options {
    uint64_t memory_budget, write_buffer_size, block_size, bloom_bits, max_open_files, background_jobs, min_free_space;
    char info_log_dir[256]; /* "": nowhere */
    int compression;        /* rocksdb_*_compression */
};

struct instance {
    const rs_host *host;
    struct options opt;
    rocksdb_env_t *env;
    rocksdb_cache_t *cache;
    atomic_uint_fast64_t write_buffers; /* bytes handed out to open stores */
};

struct rs_table {
    struct rs_table *next;
    rs_store *store;
    rocksdb_column_family_handle_t *cf;
    char name[TABLE_NAME_MAX + 1];
};

struct rs_store {
    struct instance *in;
    char *dir;
    bool relaxed;
    uint64_t write_buffer; /* this store's share, given back at close */
    rocksdb_t *db;
    rocksdb_options_t *options; /* for new column families */
    rocksdb_column_family_handle_t *default_cf;
    rocksdb_writeoptions_t *write_sync, *write_plain;
    struct rs_table *tables;
    int poison; /* RS_E* of the first lasting failure; writer thread only */
    char poison_msg[200];
};

int rocks_options_read(const rs_host *host, const rs_node *config, struct options *ret, rs_error *err);

/* Turns RocksDB's malloc'ed message into an error and frees it. @what is a prefix, lower case. Return: negative RS_E*.
 */
int rocks_error(char *take_message, const char *what, uint32_t flags, rs_error *err);
/* Marks the store as failed for good and fills err with RS_ERR_STICKY. Return: code. */
int rocks_poison(rs_store *s, int code, const char *message, rs_error *err);

int rocks_open(void *self, const rs_store_open *params, rs_store **ret, rs_error *err);
void rocks_close(rs_store *s);
int rocks_table_open(rs_store *s, const char *name, uint32_t flags, rs_table **ret, rs_error *err);
int rocks_table_drop(rs_store *s, const char *name, rs_error *err);
int rocks_stats(rs_store *s, void (*each)(void *arg, const char *name, uint64_t value), void *arg);
int rocks_compact(rs_store *s, rs_table *t, rs_error *err);

rs_batch *rocks_batch_new(rs_store *s, size_t bytes_hint);
void rocks_batch_free(rs_batch *b);
void rocks_batch_clear(rs_batch *b);
int rocks_batch_put(rs_batch *b, rs_table *t, rs_slice key, const struct iovec *value, int n);
int rocks_batch_del(rs_batch *b, rs_table *t, rs_slice key);
int rocks_batch_del_range(rs_batch *b, rs_table *t, rs_slice lower, rs_slice upper);
size_t rocks_batch_bytes(const rs_batch *b);
int rocks_write(rs_store *s, rs_batch *b, uint32_t flags, rs_error *err);
int rocks_sync(rs_store *s, rs_error *err);

int rocks_view_new(rs_store *s, rs_view **ret, rs_error *err);
void rocks_view_free(rs_view *v);
int rocks_get(rs_view *v, rs_table *t, rs_slice key, uint32_t flags, rs_pin *ret, rs_error *err);
int rocks_multi_get(rs_view *v, rs_table *t, size_t n, const rs_slice keys[], uint32_t flags, rs_pin ret[],
                    int status[], rs_error *err);
void rocks_unpin(rs_pin *pin);
int rocks_iter_new(rs_view *v, rs_table *t, const rs_range *range, rs_iter **ret, rs_error *err);
int rocks_iter_next(rs_iter *it, rs_slice *ret_key, rs_slice *ret_value, rs_error *err);
int rocks_iter_seek(rs_iter *it, rs_slice key, rs_error *err);
void rocks_iter_free(rs_iter *it);
