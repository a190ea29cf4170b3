/* SPDX-License-Identifier: Apache-2.0 */
/* restate/storage.h : an ordered key-value store behind blocking calls.
 *
 * A store is one order of writes and one unit of atomicity; a table is an ordered map from keys to values inside it.
 * Keys are 1..key_max bytes, ordered bytewise, a prefix before what it is a prefix of. The host does the queues, the
 * group commit and the threads; a plugin is the plain calls.
 *
 * Crash contract, the most important paragraph. Writes of one store are ordered by the order of the write() calls.
 * After any crash, a power cut included, the store opens again as the result of some prefix of that order, batches
 * whole. The prefix holds every write that returned 0 with RS_WRITE_SYNC and everything before the last sync() that
 * returned 0. A store that cannot be opened says RS_ECORRUPT; it never starts empty in silence.
 *
 * Failures. A failed sync, in sync() or in a write, poisons the store: RS_ERR_STICKY, and every later write and sync
 * fails at once in the same way; views and reads go on. Never call fsync again for the same bytes: the system has
 * forgotten them. A write that fails without STICKY has changed nothing, and the host may try the same batch again
 * (RS_ENOSPC).
 *
 * Threads. "Writer": one thread at a time per store calls these, always with RS_ERR_STICKY kept in mind. "Any": from
 * any thread, at the same time as the writer. A view, its pins and iterators are used by one thread at a time, but may
 * move to another between calls. On an event loop the host reads only with RS_READ_CACHED. A batch belongs to one
 * thread at a time.
 *
 * Memory. Every storage plugin has the option memory-budget: bytes for the caches and write buffers of the instance,
 * all its stores together; the host fills it in. Stores of one instance share caches and threads through self. */
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
    RS_STORAGE_CACHED_READ =
        1, /* RS_READ_CACHED works; filters and indexes stay in memory, so that misses are answered */
    RS_STORAGE_NATIVE_EXPORT = 2, /* export_native() and import_native() are there */
    RS_STORAGE_COMPACT = 4,       /* compact() is there */
    RS_STORAGE_CHECKSUM = 8,      /* damaged bytes are found when they are read, and are RS_ECORRUPT */
    RS_STORAGE_ALWAYS_SYNCED = 16 /* a relaxed write is dear, as if synced: the host writes seldom and much */
};                                /* rs_plugin.caps */
enum {
    RS_STORE_SYNC = 1,      /* most writes are synced ones, and small: a log */
    RS_STORE_RELAXED = 2    /* writes are relaxed, sync() comes now and then: state that can be made again from a log */
};                          /* rs_store_open.durability; a hint for the layout, the crash contract is the same */
enum { RS_WRITE_SYNC = 1 }; /* durable when write() returns 0; absent: after the next sync() */
enum {
    RS_READ_CACHED = 1,  /* answer from memory, or RS_EAGAIN instead of touching the disk */
    RS_READ_NO_FILL = 2, /* a scan whose blocks shall not push others out of the cache */
    RS_RANGE_REVERSE = 4 /* of a range only: from upper down to lower */
};
typedef struct rs_limits {
    uint32_t struct_size, key_max; /* key_max >= 480 */
    uint64_t value_max, batch_max; /* value_max >= 64 MiB; batch_max: as counted by batch_bytes() */
} rs_limits;                       /* bytes */
typedef struct rs_pin {
    rs_slice value; /* valid until unpin() */
    void *owner;    /* the plugin's */
} rs_pin;           /* released with unpin(), before its view */
typedef struct rs_range {
    uint32_t struct_size, flags; /* RS_READ_* and RS_RANGE_* */
    rs_slice lower, upper;
} rs_range; /* [lower, upper) bytewise; data NULL: unbounded; empty when lower >= upper */
typedef struct rs_store_open {
    uint32_t struct_size, durability; /* RS_STORE_* */
    const char *dir;                  /* absolute; its parent exists; made when absent; nobody else writes in it */
} rs_store_open;
typedef struct rs_storage_ops {
    uint32_t struct_size, reserved;
    /* Opens the store in dir, or makes an empty one in an empty directory; what an interrupted creation left behind
     * counts as empty. Writer, may block. RS_EPERM: another process, or another handle of this one, has it open.
     * RS_ECORRUPT: there is a store and it cannot be read. RS_EIO, RS_ENOSPC, RS_ENOMEM. */
    int (*open)(void *self, const rs_store_open *, rs_store **ret, rs_error *);
    /* Writer. Batches, views, iterators and pins are gone before. Keeps what is synced; need not flush the rest. Tables
     * end with their store. */
    void (*close)(rs_store *);
    void (*limits)(rs_store *, rs_limits *ret); /* any thread; ret->struct_size is set by the caller */
    /* Finds or creates; flags 0. Durable when it returns. The same name gives the same handle, valid until table_drop()
     * or close(). name: 1..128 bytes of [A-Za-z0-9._-]. Writer. A view made before the table was created finds it
     * empty. */
    int (*table_open)(rs_store *, const char *name, uint32_t flags, rs_table **ret, rs_error *);
    /* Removes an open table with all rows; durable when it returns. The host has ended every read of it, and no
     * unwritten batch names it. Writer. RS_ENOENT: no such table is open. */
    int (*table_drop)(rs_store *, const char *name, rs_error *);
    /* A batch: operations on any tables of the store, applied in the order given, all or none. Memory that grows with
     * it is charged (rs_host.mem_charge). bytes_hint: expected size, 0 unknown. NULL: out of memory. Any thread. */
    rs_batch *(*batch_new)(rs_store *, size_t bytes_hint);
    void (*batch_free)(rs_batch *);  /* NULL is fine */
    void (*batch_clear)(rs_batch *); /* empty again; may keep its memory */
    /* Copies key and value (in n >= 0 parts). RS_EINVAL: empty key. RS_ETOOBIG, RS_ENOMEM: the batch is as it was. */
    int (*batch_put)(rs_batch *, rs_table *, rs_slice key, const struct iovec *value, int n);
    int (*batch_del)(rs_batch *, rs_table *, rs_slice key); /* an absent key is fine */
    /* Deletes [lower, upper); data NULL: unbounded; an empty range is fine. */
    int (*batch_del_range)(rs_batch *, rs_table *, rs_slice lower, rs_slice upper);
    size_t (*batch_bytes)(const rs_batch *); /* about what write() will have to write; near 0 when empty */
    /* Applies the batch, which stays as it is. flags: RS_WRITE_*. Blocks. Visible to views made after it returns, not
     * before. Writer. RS_ENOSPC without STICKY: nothing was written, try again later. See Failures above. */
    int (*write)(rs_store *, rs_batch *, uint32_t flags, rs_error *);
    int (*sync)(rs_store *, rs_error *); /* every write before it survives a power cut; writer, blocks */
    /* One point in time, over all tables, however long it lives. Any thread. RS_EAGAIN: too many views. */
    int (*view_new)(rs_store *, rs_view **ret, rs_error *);
    void (*view_free)(rs_view *); /* after its pins and iterators; NULL is fine */
    /* Any thread. RS_ENOENT: no such key, without a message. RS_EAGAIN with RS_READ_CACHED: not in memory. */
    int (*get)(rs_view *, rs_table *, rs_slice key, uint32_t flags, rs_pin *ret, rs_error *);
    /* Optional, may be NULL. status[i] is what get() would have returned; ret[i] is to be unpinned where it is 0. Fails
     * as a whole, with nothing pinned, only when no key could be looked up. */
    int (*multi_get)(rs_view *, rs_table *, size_t n, const rs_slice keys[], uint32_t flags, rs_pin ret[], int status[],
                     rs_error *);
    void (*unpin)(rs_pin *);
    /* An iterator before the first row of the range. The range and its bounds are borrowed for the call. */
    int (*iter_new)(rs_view *, rs_table *, const rs_range *, rs_iter **ret, rs_error *);
    /* 1 and a row, 0 at the end (again and again), negative on failure. The slices live until the next call on the
     * iterator. After RS_EAGAIN the iterator can only be freed: make another without RS_READ_CACHED and seek. */
    int (*iter_next)(rs_iter *, rs_slice *ret_key, rs_slice *ret_value, rs_error *);
    /* The next row is the first >= key, or with RS_RANGE_REVERSE the last <= key, inside the range. Any number of
     * times, also after the end; key may be outside the range and of any length. */
    int (*iter_seek)(rs_iter *, rs_slice key, rs_error *);
    void (*iter_free)(rs_iter *); /* NULL is fine */
    /* Optional. A copy of the store in the engine's own form, one point in time, into an empty directory. Writer. */
    int (*export_native)(rs_store *, const char *empty_dir, rs_error *);
    /* Optional. Makes the directory of a store from such a copy, before open(). The copy stays usable. */
    int (*import_native)(void *self, const char *dir, const char *store_dir, rs_error *);
    int (*compact)(rs_store *, rs_table *,
                   rs_error *); /* optional; gives back space of deleted rows; writer, may take long */
    /* Calls each with gauges of the engine, static names [a-z0-9_]+. Any thread; does not block. */
    int (*stats)(rs_store *, void (*each)(void *arg, const char *name, uint64_t value), void *arg);
} rs_storage_ops;

#ifdef __cplusplus
}
#endif

#endif
