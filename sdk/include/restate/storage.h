/* SPDX-License-Identifier: Apache-2.0 */
/* restate/storage.h : an ordered key-value store behind blocking calls. */
#ifndef RESTATE_STORAGE_H
#define RESTATE_STORAGE_H

#include <restate/plugin.h>
#include <sys/uio.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct rs_store rs_store;
typedef struct rs_table rs_table;
typedef struct rs_batch rs_batch;
typedef struct rs_view rs_view;
typedef struct rs_iter rs_iter;
enum {
    RS_STORAGE_CACHED_READ = 1,
    RS_STORAGE_NATIVE_EXPORT = 2,
    RS_STORAGE_COMPACT = 4,
    RS_STORAGE_CHECKSUM = 8,
    RS_STORAGE_ALWAYS_SYNCED = 16
};                                                /* caps; ALWAYS_SYNCED: a relaxed write costs a sync, pace it */
enum { RS_STORE_SYNC = 1, RS_STORE_RELAXED = 2 }; /* rs_store_open.durability */
enum { RS_WRITE_SYNC = 1 };                       /* absent: relaxed */
enum {
    RS_READ_CACHED = 1,
    RS_READ_NO_FILL = 2,
    RS_RANGE_REVERSE = 4
}; /* CACHED: RS_EAGAIN instead of touching the disk */
typedef struct rs_limits {
    uint32_t struct_size, key_max;
    uint64_t value_max, batch_max;
} rs_limits; /* bytes */
typedef struct rs_pin {
    rs_slice value;
    void *owner;
} rs_pin; /* released with unpin(), before its view */
typedef struct rs_range {
    uint32_t struct_size, flags;
    rs_slice lower, upper;
} rs_range; /* [lower, upper) bytewise; data NULL: unbounded */
typedef struct rs_store_open {
    uint32_t struct_size, durability;
    const char *dir;
} rs_store_open; /* durability: RS_STORE_* */
typedef struct rs_storage_ops {
    uint32_t struct_size, reserved;
    int (*open)(void *self, const rs_store_open *, rs_store **ret, rs_error *);
    void (*close)(rs_store *); /* keeps what is synced; need not flush the rest */
    void (*limits)(rs_store *, rs_limits *ret);
    int (*table_open)(rs_store *, const char *name, uint32_t flags, rs_table **ret, rs_error *); /* creates; flags 0 */
    int (*table_drop)(rs_store *, const char *name, rs_error *);
    rs_batch *(*batch_new)(rs_store *, size_t bytes_hint); /* NULL: out of memory */
    void (*batch_free)(rs_batch *);
    void (*batch_clear)(rs_batch *);
    int (*batch_put)(rs_batch *, rs_table *, rs_slice key, const struct iovec *value,
                     int n); /* copies; value in parts */
    int (*batch_del)(rs_batch *, rs_table *, rs_slice key);
    int (*batch_del_range)(rs_batch *, rs_table *, rs_slice lower, rs_slice upper);
    size_t (*batch_bytes)(const rs_batch *);
    int (*write)(rs_store *, rs_batch *, uint32_t flags,
                 rs_error *);            /* blocks; visible to views made after it returns */
    int (*sync)(rs_store *, rs_error *); /* every write before it survives a power cut */
    int (*view_new)(rs_store *, rs_view **ret, rs_error *);
    void (*view_free)(rs_view *);                                                             /* point in time */
    int (*get)(rs_view *, rs_table *, rs_slice key, uint32_t flags, rs_pin *ret, rs_error *); /* or RS_ENOENT */
    int (*multi_get)(rs_view *, rs_table *, size_t n, const rs_slice keys[], uint32_t flags, rs_pin ret[], int status[],
                     rs_error *); /* optional op */
    void (*unpin)(rs_pin *);
    int (*iter_new)(rs_view *, rs_table *, const rs_range *, rs_iter **ret, rs_error *);
    int (*iter_next)(rs_iter *, rs_slice *ret_key, rs_slice *ret_value,
                     rs_error *);                          /* 1 row, 0 end, <0; slices until the next call */
    int (*iter_seek)(rs_iter *, rs_slice key, rs_error *); /* next row is first >= key; REVERSE: last <= key */
    void (*iter_free)(rs_iter *);
    int (*export_native)(rs_store *, const char *empty_dir, rs_error *);                  /* optional */
    int (*import_native)(void *self, const char *dir, const char *store_dir, rs_error *); /* optional: before open() */
    int (*compact)(rs_store *, rs_table *, rs_error *);                                   /* optional */
    int (*stats)(rs_store *, void (*each)(void *arg, const char *name, uint64_t value), void *arg);
} rs_storage_ops;

#ifdef __cplusplus
}
#endif

#endif
