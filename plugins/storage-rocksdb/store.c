/* SPDX-License-Identifier: Apache-2.0 */
/* storage-rocksdb: opening, closing and describing a store; its tables.
 *
 * All functions run on the store's writer thread (stats: any thread). Durability of what happens here: a table exists
 * durably when table_open() returns, since RocksDB syncs its manifest. The file "restate-store" is made after the first
 * successful open; where it exists an absent database is corruption, never a reason to start empty. */
#include "rocks.h"
#include <dirent.h>
#include <errno.h>
#include <pthread.h>
#include <restate/helper/store_dir.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static const char table_prefix[] = "t.";

int rocks_error(char *take_message, const char *what, uint32_t flags, rs_error *err) {
    static const struct {
        const char *prefix;
        int code;
    } kinds[] = {{"NotFound", RS_ENOENT},
                 {"Corruption", RS_ECORRUPT},
                 {"Not implemented", RS_EUNSUPPORTED},
                 {"Invalid argument", RS_EINVAL},
                 {"IO error: No space left", RS_ENOSPC},
                 {"Result incomplete", RS_EAGAIN},
                 {"Operation timed out", RS_ETIMEDOUT},
                 {"Shutdown in progress", RS_ECLOSED}};
    int code = RS_EIO;

    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
        if (strncmp(take_message, kinds[i].prefix, strlen(kinds[i].prefix)) == 0)
            code = kinds[i].code;
    }
    if (code == RS_EIO && strstr(take_message, "No space left on device") != NULL)
        code = RS_ENOSPC;
    (void)rs_fail(err, code, flags, 0, "%s: %s", what, take_message);
    rocksdb_free(take_message);
    return code;
}

int rocks_poison(rs_store *s, int code, const char *message, rs_error *err) {
    if (s->poison == 0) {
        s->poison = code;
        (void)snprintf(s->poison_msg, sizeof(s->poison_msg), "%s", message);
    }
    return rs_fail(err, code, RS_ERR_STICKY, 0, "%s", message);
}

/* This store's part of the write-buffer half of the budget. The C API of 7.8 has no write buffer manager to share, so
 * the shares are fixed at open: a quarter of the half, less when much is handed out already; the sum stays below the
 * half until the floor of 512 KiB is reached. */
static uint64_t take_write_buffer(struct instance *in) {
    uint64_t half = in->opt.memory_budget / 2, used = atomic_load(&in->write_buffers), share;

    if (in->opt.write_buffer_size != 0) {
        share = in->opt.write_buffer_size;
    } else {
        uint64_t left = used < half ? half - used : 0;
        share = half / 4 < left / 2 ? half / 4 : left / 2;
        if (share < (512u << 10))
            share = 512u << 10;
    }
    (void)atomic_fetch_add(&in->write_buffers, share);
    return share;
}

static void set_table_format(rocksdb_options_t *o, struct instance *in) {
    rocksdb_block_based_table_options_t *t = rocksdb_block_based_options_create();

    rocksdb_block_based_options_set_block_size(t, (size_t)in->opt.block_size);
    rocksdb_block_based_options_set_block_cache(t, in->cache);
    rocksdb_block_based_options_set_format_version(t, 5);
    rocksdb_block_based_options_set_cache_index_and_filter_blocks(t, 1); /* inside the budget, ... */
    rocksdb_block_based_options_set_cache_index_and_filter_blocks_with_high_priority(t, 1);
    rocksdb_block_based_options_set_pin_l0_filter_and_index_blocks_in_cache(t,
                                                                            1); /* ... but at hand for cached reads */
    if (in->opt.bloom_bits != 0)
        rocksdb_block_based_options_set_filter_policy(
            t, rocksdb_filterpolicy_create_bloom_full((double)in->opt.bloom_bits));
    rocksdb_options_set_block_based_table_factory(o, t);
    rocksdb_block_based_options_destroy(t);
}

/* Small and quiet: a node keeps several stores with tens of tables each in a few tens of MiB when idle. */
enum { MEMTABLE_BLOOM_BYTES = 32 << 10 }; /* per table: some 26 000 keys at 10 bits */

static void set_bounds(rocksdb_options_t *o, const struct options *opt, uint64_t write_buffer, bool relaxed) {
    rocksdb_options_set_db_write_buffer_size(o, (size_t)write_buffer);
    rocksdb_options_set_write_buffer_size(o, (size_t)write_buffer);
    rocksdb_options_set_max_write_buffer_number(o, 2);
    rocksdb_options_set_arena_block_size(o, 32u << 10);
    rocksdb_options_set_writable_file_max_buffer_size(o, 256u << 10);
    rocksdb_options_set_manifest_preallocation_size(o, 16u << 10);
    rocksdb_options_set_max_manifest_file_size(o, 4u << 20);
    rocksdb_options_set_max_total_wal_size(o, write_buffer * 2);
    rocksdb_options_set_info_log_level(o, 2); /* warn */
    rocksdb_options_set_max_log_file_size(o, 1u << 20);
    rocksdb_options_set_keep_log_file_num(o, 2);
    rocksdb_options_set_stats_dump_period_sec(o, 0);
    rocksdb_options_set_stats_persist_period_sec(o, 0);
    rocksdb_options_set_skip_stats_update_on_db_open(o, 1);
    rocksdb_options_set_max_open_files(o, (int)opt->max_open_files);
    rocksdb_options_set_max_file_opening_threads(o, 1);
    rocksdb_options_set_table_cache_numshardbits(o, 2);
    rocksdb_options_set_max_background_jobs(o, (int)opt->background_jobs);
    rocksdb_options_set_max_bytes_for_level_base(o, write_buffer * 8 > (64u << 20) ? write_buffer * 8 : 64u << 20);
    rocksdb_options_set_target_file_size_base(o, 16u << 20);
    rocksdb_options_set_level_compaction_dynamic_level_bytes(o, 1);
    rocksdb_options_set_bytes_per_sync(o, 1u << 20);
    rocksdb_options_set_avoid_unnecessary_blocking_io(o, 1);   /* freeing a view or an iterator deletes no files */
    rocksdb_options_set_allow_concurrent_memtable_write(o, 0); /* the contract has one writer */
    rocksdb_options_set_enable_write_thread_adaptive_yield(o, 0);
    rocksdb_options_set_compression(o, opt->compression);
    rocksdb_options_set_atomic_flush(o, relaxed);
    if (relaxed) { /* most look-ups there are for ids that do not exist yet: the bloom answers before the skip list */
        rocksdb_options_set_memtable_prefix_bloom_size_ratio(o, MEMTABLE_BLOOM_BYTES / (double)write_buffer);
        rocksdb_options_set_memtable_whole_key_filtering(o, 1);
    }
}

/* A directory in memory for RocksDB's own text log. On the store's disk that log is a danger: the packaged library,
 * built with assertions, aborts the process at the line after one that could not be written, so a full disk would be a
 * crash at every start. Its errors reach the operator through rs_error. */
static bool scratch_log_dir(char *buf, size_t size) {
    struct stat st;

    (void)snprintf(buf, size, "/dev/shm/restate-rocksdb-%u", (unsigned)geteuid());
    if (mkdir(buf, 0700) < 0 && errno != EEXIST)
        return false;
    return lstat(buf, &st) == 0 && S_ISDIR(st.st_mode) && st.st_uid == geteuid() && (st.st_mode & 077) == 0;
}

/* RocksDB goes on writing to the open file, at most max_log_file_size; nothing is left behind in memory. */
static void scratch_log_unlink(void) {
    char dir[64];
    DIR *d;

    if (!scratch_log_dir(dir, sizeof(dir)))
        return;
    d = opendir(dir);
    if (d == NULL)
        return;
    for (struct dirent *e; (e = readdir(d)) != NULL;)
        (void)unlinkat(dirfd(d), e->d_name, 0); /* best effort; "." and ".." refuse */
    (void)closedir(d);
}

/* What a flush writes stays in the block cache. Otherwise everything written lately is cold after each flush, and a
 * cached read of it sends the caller to the disk. Takes @o over. */
static int keep_flushed(rocksdb_options_t *take_o, rocksdb_options_t **ret, rs_error *err) {
    rocksdb_options_t *o = rocksdb_options_create();
    char *message = NULL;

    rocksdb_get_options_from_string(take_o, "block_based_table_factory={prepopulate_block_cache=kFlushOnly;}", o,
                                    &message);
    rocksdb_options_destroy(take_o);
    if (message != NULL) {
        rocksdb_options_destroy(o);
        return rocks_error(message, "cannot set options", 0, err);
    }
    *ret = o;
    return 0;
}

static int make_options(struct instance *in, uint64_t write_buffer, bool relaxed, rocksdb_options_t **ret,
                        rs_error *err) {
    rocksdb_options_t *base = rocksdb_options_create(), *o = rocksdb_options_create();
    char *message = NULL, scratch[64];

    /* What the C API has no setter for. No resume: what failed to be flushed once stays failed (see rocks_sync()). */
    rocksdb_get_options_from_string(
        base, "allow_fallocate=false;avoid_flush_during_shutdown=true;max_bgerror_resume_count=0", o, &message);
    rocksdb_options_destroy(base);
    if (message != NULL) {
        rocksdb_options_destroy(o);
        return rocks_error(message, "cannot set options", 0, err);
    }
    rocksdb_options_set_env(o, in->env);
    if (in->opt.info_log_dir[0] != '\0' || scratch_log_dir(scratch, sizeof(scratch)))
        rocksdb_options_set_db_log_dir(o, in->opt.info_log_dir[0] != '\0' ? in->opt.info_log_dir : scratch);
    set_bounds(o, &in->opt, write_buffer, relaxed);
    set_table_format(o, in);
    if (relaxed)
        return keep_flushed(o, ret, err);
    *ret = o;
    return 0;
}

struct dir_state {
    bool marker, current, data; /* data: table files, which only a once complete store has */
};

static int look_at_dir(const char *dir, struct dir_state *ret, rs_error *err) {
    struct dir_state st = {.marker = rs_marker_exists(dir)};
    DIR *d = opendir(dir);

    if (d == NULL)
        return rs_fail(err, RS_EIO, 0, errno, "cannot read %s: %s", dir, strerror(errno));
    for (struct dirent *e; (e = readdir(d)) != NULL;) {
        size_t n = strlen(e->d_name);
        st.current |= strcmp(e->d_name, "CURRENT") == 0;
        st.data |= n > 4 && strcmp(e->d_name + n - 4, ".sst") == 0;
    }
    (void)closedir(d);
    if (!st.current && (st.marker || st.data))
        return rs_fail(err, RS_ECORRUPT, 0, 0, "%s holds a store without its CURRENT file", dir);
    *ret = st;
    return 0;
}

static rs_table *table_add(rs_store *s, const char *name, rocksdb_column_family_handle_t *cf) {
    rs_table *t = calloc(1, sizeof(*t));

    if (t == NULL)
        return NULL;
    t->store = s;
    t->cf = cf;
    (void)snprintf(t->name, sizeof(t->name), "%s", name);
    t->next = s->tables;
    s->tables = t;
    return t;
}

/* Opens the database with all its families. On failure nothing of it stays open. */
static int open_db(rs_store *s, bool create, rs_error *err) {
    char *message = NULL, **names, *first = NULL;
    static char default_name[] = "default";
    size_t n = 0;
    const rocksdb_options_t **cf_options = NULL;
    rocksdb_column_family_handle_t **handles = NULL;
    sigset_t all, before;
    int r = 0;

    rocksdb_options_set_create_if_missing(s->options, create);
    names = create ? NULL : rocksdb_list_column_families(s->options, s->dir, &n, &message);
    if (message != NULL)
        return rocks_error(message, "cannot open store", 0, err);
    if (create) {
        first = default_name;
        n = 1;
    }
    cf_options = calloc(n, sizeof(*cf_options));
    handles = calloc(n, sizeof(*handles));
    if (cf_options == NULL || handles == NULL) {
        r = rs_fail(err, RS_ENOMEM, 0, 0, "out of memory");
        goto out;
    }
    for (size_t i = 0; i < n; i++)
        cf_options[i] = s->options;
    (void)sigfillset(&all);
    (void)pthread_sigmask(SIG_SETMASK, &all, &before); /* threads that start here take no signals */
    s->db = rocksdb_open_column_families(s->options, s->dir, (int)n, (const char *const *)(create ? &first : names),
                                         cf_options, handles, &message);
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (message != NULL) {
        if (strstr(message, "lock ") != NULL || strstr(message, "LOCK") != NULL) {
            rocksdb_free(message);
            r = rs_fail(err, RS_EPERM, 0, 0, "%s is in use by another process or store handle", s->dir);
        } else {
            r = rocks_error(message, "cannot open store", 0, err);
        }
        s->db = NULL;
        goto out;
    }
    for (size_t i = 0; i < n; i++) {
        const char *name = create ? first : names[i];
        if (strcmp(name, "default") == 0)
            s->default_cf = handles[i];
        else if (table_add(s, name + sizeof(table_prefix) - 1, handles[i]) == NULL) {
            rocksdb_column_family_handle_destroy(handles[i]);
            r = rs_fail(err, RS_ENOMEM, 0, 0, "out of memory");
        }
    }
out:
    if (names != NULL)
        rocksdb_list_column_families_destroy(names, n);
    free(cf_options);
    free(handles);
    return r;
}

int rocks_open(void *self, const rs_store_open *params, rs_store **ret, rs_error *err) {
    struct instance *in = self;
    struct dir_state st = {0};
    rs_store *s;
    int r;

    if (params->durability != RS_STORE_SYNC && params->durability != RS_STORE_RELAXED)
        return rs_fail(err, RS_EINVAL, 0, 0, "unknown durability %u", params->durability);
    r = rs_dir_make(params->dir, err);
    if (r == 0)
        r = look_at_dir(params->dir, &st, err);
    if (r < 0)
        return r;
    s = calloc(1, sizeof(*s));
    if (s == NULL)
        return rs_fail(err, RS_ENOMEM, 0, 0, "out of memory");
    s->in = in;
    s->relaxed = params->durability == RS_STORE_RELAXED;
    s->write_buffer = take_write_buffer(in);
    s->dir = strdup(params->dir);
    s->write_sync = rocksdb_writeoptions_create();
    s->write_plain = rocksdb_writeoptions_create();
    rocksdb_writeoptions_set_sync(s->write_sync, 1);
    rocksdb_writeoptions_disable_WAL(s->write_plain, s->relaxed);
    r = s->dir == NULL ? rs_fail(err, RS_ENOMEM, 0, 0, "out of memory")
                       : make_options(in, s->write_buffer, s->relaxed, &s->options, err);
    if (r == 0)
        r = open_db(s, !st.current, err);
    scratch_log_unlink();
    /* Where a store is known to be, a file that cannot be found is a lost file. */
    if ((r == RS_EINVAL || r == RS_ENOENT) && st.marker) {
        r = RS_ECORRUPT;
        if (err != NULL)
            err->code = r;
    }
    if (r == 0 && !st.marker)
        r = rs_marker_make(s->dir, "rocksdb 1\n", err);
    if (r < 0) {
        rocks_close(s);
        return r;
    }
    *ret = s;
    return 0;
}

void rocks_close(rs_store *s) {
    if (s == NULL)
        return;
    for (rs_table *t = s->tables, *next; t != NULL; t = next) {
        next = t->next;
        rocksdb_column_family_handle_destroy(t->cf);
        free(t);
    }
    if (s->default_cf != NULL)
        rocksdb_column_family_handle_destroy(s->default_cf);
    if (s->db != NULL)
        rocksdb_close(s->db);
    if (s->options != NULL)
        rocksdb_options_destroy(s->options);
    rocksdb_writeoptions_destroy(s->write_sync);
    rocksdb_writeoptions_destroy(s->write_plain);
    (void)atomic_fetch_sub(&s->in->write_buffers, s->write_buffer);
    free(s->dir);
    free(s);
}

static rs_table *table_find(rs_store *s, const char *name) {
    rs_table *t = s->tables;
    while (t != NULL && strcmp(t->name, name) != 0)
        t = t->next;
    return t;
}

int rocks_table_open(rs_store *s, const char *name, uint32_t flags, rs_table **ret, rs_error *err) {
    char cf_name[sizeof(table_prefix) + TABLE_NAME_MAX];
    rocksdb_column_family_handle_t *cf;
    char *message = NULL;
    rs_table *t;
    size_t n = strlen(name);

    if (n == 0 || n > TABLE_NAME_MAX || flags != 0)
        return rs_fail(err, RS_EINVAL, 0, 0, "table name of %zu bytes or flags %u", n, flags);
    t = table_find(s, name);
    if (t == NULL) {
        if (s->poison != 0)
            return rs_fail(err, s->poison, RS_ERR_STICKY, 0, "%s", s->poison_msg);
        (void)snprintf(cf_name, sizeof(cf_name), "%s%s", table_prefix, name);
        cf = rocksdb_create_column_family(s->db, s->options, cf_name, &message);
        if (message != NULL)
            return rocks_error(message, "cannot create table", 0, err);
        t = table_add(s, name, cf);
        if (t == NULL) {
            rocksdb_column_family_handle_destroy(cf);
            return rs_fail(err, RS_ENOMEM, 0, 0, "out of memory");
        }
    }
    *ret = t;
    return 0;
}

int rocks_table_drop(rs_store *s, const char *name, rs_error *err) {
    rs_table *t = table_find(s, name), **link = &s->tables;
    char *message = NULL;

    if (t == NULL)
        return rs_fail(err, RS_ENOENT, 0, 0, "no table %s", name);
    rocksdb_drop_column_family(s->db, t->cf, &message);
    if (message != NULL)
        return rocks_error(message, "cannot drop table", 0, err);
    while (*link != t)
        link = &(*link)->next;
    *link = t->next;
    rocksdb_column_family_handle_destroy(t->cf); /* the files go with the last reference */
    free(t);
    return 0;
}

int rocks_compact(rs_store *s, rs_table *t, rs_error *err) {
    (void)err; /* the C API does not report the outcome; a failure shows in the next write or sync */
    rocksdb_compact_range_cf(s->db, t->cf, NULL, 0, NULL, 0);
    return 0;
}

int rocks_stats(rs_store *s, void (*each)(void *arg, const char *name, uint64_t value), void *arg) {
    static const struct {
        const char *property, *name;
    } db_wide[] = {{"rocksdb.num-snapshots", "views"},
                   {"rocksdb.background-errors", "background_errors"},
                   {"rocksdb.block-cache-usage", "block_cache_bytes"},
                   {"rocksdb.block-cache-pinned-usage", "block_cache_pinned_bytes"},
                   {"rocksdb.is-write-stopped", "write_stopped"}};
    uint64_t v;

    for (size_t i = 0; i < sizeof(db_wide) / sizeof(db_wide[0]); i++) {
        if (rocksdb_property_int(s->db, db_wide[i].property, &v) == 0)
            each(arg, db_wide[i].name, v);
    }
    each(arg, "write_buffer_limit_bytes", s->write_buffer);
    return 0;
}
