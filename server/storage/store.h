/* SPDX-License-Identifier: Apache-2.0 */
/* storage/store.h : one plugin store, its writer thread, and for RELAXED stores the overlay that makes writes readable
 * at once.
 *
 * SYNC stores (log, meta): store_commit() hands a batch to the writer, which puts everything queued into one write and
 * one sync (group commit); @done runs on the loop when it is durable. Readers see only what the writer reported
 * durable. RELAXED stores (data-<n>): store_put()/store_del() on the owner loop go to the active generation of the
 * overlay and are readable at once; the writer turns frozen generations into batches in the background (architecture.md
 * §8). Nothing here waits.
 *
 * All functions belong to the owner loop unless they say otherwise. Keys are at most LIMIT_KEY_BYTES. */
#pragma once
#include <restate/storage.h>
#include "base/buf.h"
#include "base/bytes.h"
#include "base/err.h"
#include "loop/exec.h"
#include "loop/loop.h"

struct store;
struct store_table; /* a table of the plugin store, by name; valid until the store is closed */
struct store_view;  /* a point in time, readable from any one thread */

struct store_params {
    struct loop *loop;            /* owner */
    struct exec *writer;          /* one thread, or the simulator's; borrowed, outlives the store */
    struct exec *pool;            /* cold reads of a RELAXED store; NULL: @writer; borrowed, outlives the store */
    const rs_storage_ops *ops;    /* of a loaded plugin instance */
    void *self;                   /* its instance */
    uint64_t caps;                /* the plugin's caps: RS_STORAGE_* */
    const char *dir;              /* created when missing */
    const char *name;             /* "log", "meta", "data-0": for messages */
    uint32_t durability;          /* RS_STORE_SYNC or RS_STORE_RELAXED */
    uint64_t write_out_bytes;     /* a generation freezes at this size (default 1 MiB; 8 MiB where a write is dear) */
    uint64_t write_out_ns;        /* ... or at this age (50 ms; 500 ms) */
    uint64_t sync_bytes, sync_ns; /* RELAXED: sync at the latest after these (64 MiB; 16 MiB, 30 s) */
    uint64_t overlay_limit_bytes; /* at this total store_writable() turns false */
    void (*poisoned)(void *arg, const struct err *why); /* once; the store refuses writes from then on */
    void (*writable)(void *arg);                        /* store_writable() became true again */
    void (*durable)(void *arg);                         /* RELAXED: store_durable_mark() rose */
    void *arg;
};

/* store_open() - blocking; at start only. Errors name the directory. The plugin creates the last part of the path. */
int store_open(const struct store_params *p, struct store **ret, struct err *err) RS_WARN_UNUSED;
/* store_close() - write what is queued, flush the overlay and sync (RELAXED), wait for the writer, close the plugin
 * store. Blocking; at shutdown only; never from one of the store's callbacks. Outstanding callbacks run before it
 * returns (with the outcome, or RS_ECLOSED for what could not be written). Views should be freed before: the plugin
 * store closes with the last one. The executor still brings the store's last job back to the loop, so both outlive the
 * store by one turn. */
struct store *store_close(struct store *s);
/* store_abandon() - as if the process had died: nothing is written, no callback runs. For the simulator, and for a
 * poisoned store that is thrown away. Jobs that the executor still holds do nothing when they run. */
struct store *store_abandon(struct store *s);
/* store_table_open() - opens or creates; blocking (it waits for a write on its way); before the loop serves calls, or
 * when a partition is created. The same name gives the same table. */
int store_table_open(struct store *s, const char *name, struct store_table **ret, struct err *err) RS_WARN_UNUSED;
/* store_table_drop() - removes the table and what is queued for it; blocking. Handles of it must not be used for new
 * reads or writes. RS_ENOENT: was not opened. */
int store_table_drop(struct store *s, const char *name, struct err *err) RS_WARN_UNUSED;
bool store_is_poisoned(const struct store *s);

/* ---- SYNC stores ---- */

/* A set of writes, kept in order, that becomes durable as a whole. Values are referenced, not copied, when given as
 * bytes. */
struct store_batch;
struct store_batch *store_batch_new(void);
struct store_batch *store_batch_free(struct store_batch *b);
void store_batch_put(struct store_batch *b, struct store_table *t, struct slice key,
                     struct slice value); /* copies both */
/* Value in parts; each part's bytes are referenced until the batch is freed (parts[i] NULL: slices[i] is copied). */
enum { STORE_BATCH_PARTS = 4 }; /* n is at most this */
void store_batch_put_bytes(struct store_batch *b, struct store_table *t, struct slice key, struct bytes *const *parts,
                           const struct slice *slices, int n);
void store_batch_del(struct store_batch *b, struct store_table *t, struct slice key);
void store_batch_del_range(struct store_batch *b, struct store_table *t, struct slice lower, struct slice upper);
size_t store_batch_bytes(const struct store_batch *b);

/* @status 0: durable. Negative: the store is poisoned or closed; RS_ECLOSED: not written; any other: it may or may not
 * be there after a restart. A full disk is not reported: the store keeps trying. Runs on the owner loop, in commit
 * order. */
typedef void (*store_done_fn)(void *arg, int status, const struct err *err);
/* store_commit() - queue @take for the next group commit, which starts at the end of this turn when the writer is idle.
 * Never blocks. @done (may be NULL) runs in a later turn. */
void store_commit(struct store *s, struct store_batch *take, store_done_fn done, void *arg);
uint64_t store_queued_bytes(const struct store *s); /* handed over and not yet durable; callers bound it */

/* ---- RELAXED stores: the overlay ---- */

void store_put(struct store *s, struct store_table *t, struct slice key, struct slice value); /* copies */
void store_del(struct store *s, struct store_table *t, struct slice key);
/* store_get() - the newest value: active, frozen, engine. 0 and *ret (borrowed until the next store_* call that writes
 * or turns the loop), RS_ENOENT, or RS_EAGAIN when the engine would have to touch the disk: use store_get_cold() (or
 * store_wait_cold()), then try again. RS_ENOENT and RS_EAGAIN are everyday answers and leave @err alone. RS_ECLOSED:
 * poisoned. */
int store_get(struct store *s, struct store_table *t, struct slice key, struct slice *ret,
              struct err *err) RS_WARN_UNUSED;
/* store_get_cold() - read the key on the pool and keep it at hand for a while (some generations long, or until it is
 * written); then call @done. The owner tries again from the start; each round brings at least one missing key, so it
 * comes to an end. */
void store_get_cold(struct store *s, struct store_table *t, struct slice key, store_done_fn done, void *arg);
/* store_scan() - rows with lower <= key < upper (upper NULL: no bound) in key order (or reverse), newest values,
 * deletions applied. @each returns 0 to go on, anything else stops and is returned; it must not write to the store. May
 * return RS_EAGAIN like store_get(). */
typedef int (*store_each_fn)(void *arg, struct slice key, struct slice value);
int store_scan(struct store *s, struct store_table *t, struct slice lower, struct slice upper, bool reverse,
               store_each_fn each, void *arg, struct err *err) RS_WARN_UNUSED;
/* store_scan_cold() - the same for a scan: reads up to 1 000 rows or 1 MiB of the range (in scan order, going on behind
 * what it already holds) on the pool; then call @done and scan again from the start. */
void store_scan_cold(struct store *s, struct store_table *t, struct slice lower, struct slice upper, bool reverse,
                     store_done_fn done, void *arg);
/* store_wait_cold() - store_get_cold() or store_scan_cold() of whatever the last RS_EAGAIN of this store missed. */
void store_wait_cold(struct store *s, store_done_fn done, void *arg);
/* store_writable() - false: the overlay is at its limit; stop applying until params.writable. Writes are still taken.
 */
bool store_writable(const struct store *s);

/* Every record applied gets a mark (a number that only rises, per store). store_mark() says "everything put so far
 * belongs to marks
 * <= the returned one"; store_durable_mark() is the newest mark that survived the last sync. So a partition's durable
 * LSN is the LSN it noted with the newest durable mark. */
uint64_t store_mark(struct store *s);
uint64_t store_durable_mark(const struct store *s);
/* A generation freezes only between turns or within store_mark(), store_sync() and store_barrier(): call these between
 * records. */
/* store_sync() - freeze, write, sync; then @done. */
void store_sync(struct store *s, store_done_fn done, void *arg);

/* store_barrier() - freeze, write, and open a view right after it: @done gets the view (owned by the receiver) on the
 * loop. The view may then be used by one job on a pool at a time. */
typedef void (*store_view_fn)(void *arg, int status, struct store_view *take_view, const struct err *err);
void store_barrier(struct store *s, store_view_fn done, void *arg);

/* ---- views: blocking reads, any thread, one at a time; SYNC stores make one at will (what is durable) ---- */
int store_view_new(struct store *s, struct store_view **ret,
                   struct err *err) RS_WARN_UNUSED; /* SYNC stores, any thread */
struct store_view *store_view_free(struct store_view *v);
int store_view_get(struct store_view *v, struct store_table *t, struct slice key, struct buf *ret,
                   struct err *err) RS_WARN_UNUSED;
int store_view_scan(struct store_view *v, struct store_table *t, struct slice lower, struct slice upper, bool reverse,
                    store_each_fn each, void *arg, struct err *err) RS_WARN_UNUSED;
