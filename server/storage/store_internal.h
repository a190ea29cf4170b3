/* SPDX-License-Identifier: Apache-2.0 */
/* storage/store_internal.h : the struct behind store.h, shared by the files of this folder only.
 *
 * A store has one job, sent to the writer and back: a *cycle*. The loop fills the cycle, cycle_run() executes it (on
 * the writer's thread), cycle_report() takes the result over on the loop. Between submit and report the loop touches
 * nothing that the cycle refers to. @plugin_lock serialises calls the plugin wants "one at a time": cycles, tables,
 * close.
 *
 * The lock is only ever waited for by store_close(), store_table_open() and store_table_drop(), which may block. */
#pragma once
#include <pthread.h>
#include "base/arena.h"
#include "base/list.h"
#include "base/map.h"
#include "storage/store.h"
#include "storage/tree.h"

enum { GENERATIONS = 3 }; /* one active, at most two frozen */
enum { BATCH_ROOM = 768 };

struct store_table {
    struct list link; /* store.tables */
    struct store *store;
    rs_table *rs;
    bool dropped;                   /* written under plugin_lock; its rows are not written any more */
    struct tree trees[GENERATIONS]; /* by generation slot; the memory is the generation's */
    char name[];
};

struct batch_part {
    struct slice slice;
    struct bytes *owner; /* NULL: in the batch's arena */
};
struct batch_op {
    struct batch_op *next;
    struct store_table *table;
    enum { BATCH_PUT, BATCH_DEL, BATCH_DEL_RANGE } kind;
    int n;
    struct slice key, upper;
    struct batch_part parts[];
};
struct store_batch {
    struct list link;
    struct arena arena;
    struct batch_op *first, **last;
    size_t bytes;
    store_done_fn done;
    void *arg;
    _Alignas(8) uint8_t room[BATCH_ROOM]; /* the arena begins here: a common batch is one allocation */
};
/* batch_to_rs() - append the operations to @to; those on dropped tables are left out. */
int batch_to_rs(const struct store_batch *b, const rs_storage_ops *ops, rs_batch *to) RS_WARN_UNUSED;
void batch_release(struct store_batch *b); /* frees what the operations refer to; the struct stays */

/* What is written as one batch. Slot i of every table's trees belongs to generation i. */
struct generation {
    unsigned slot;
    uint64_t seq;  /* 1, 2, ...: order of writing */
    uint64_t mark; /* newest mark it holds; set when frozen */
    size_t bytes;  /* taken from the arena, about */
    struct arena arena;
    struct store_table **tables; /* those with rows here */
    size_t n_tables, cap_tables;
};

/* A caller of store_sync() or store_barrier(). */
struct waiter {
    struct list link;
    uint64_t seq; /* generations up to this one must be written */
    bool barrier;
    store_done_fn done;
    store_view_fn view_done;
    void *arg;
    struct store_view *view;
    int status;
    struct err err;
};

struct cycle {
    struct list commits;       /* SYNC: struct store_batch */
    struct generation *gen;    /* RELAXED: may be NULL */
    struct list before, after; /* struct waiter: views to open before and after the write */
    bool sync;                 /* RELAXED: sync at the end */
    uint64_t mark;             /* RELAXED: what is durable when the sync succeeds */
    bool executed;             /* under plugin_lock */
    int status;
    bool final; /* the failure poisons */
    struct err err;
    rs_view *view; /* RELAXED: made after the write, the loop's next engine view */
    uint64_t bytes;
};

struct cold; /* cold.c */

struct store {
    struct store_params p;
    char *name;
    rs_store *rs;
    rs_batch *rsb; /* reused by every cycle; under plugin_lock */
    bool cached_reads;
    uint32_t refs;    /* atomic: the owner, jobs on their way, views */
    uint32_t rs_refs; /* atomic: the open store, views; the last one closes the plugin store */
    pthread_mutex_t plugin_lock;
    bool closed; /* under plugin_lock */
    struct list tables;

    struct job job;
    struct cycle cycle;
    bool busy; /* a cycle is between submit and report */
    struct loop_hook start_hook;
    struct timer retry_timer;
    bool stalled; /* the last cycle failed for now; retry_timer runs it again */
    bool poisoned;
    struct err why;

    /* SYNC */
    struct list queue;    /* struct store_batch, not yet in a cycle */
    struct list rejected; /* struct store_batch, to be told RS_ECLOSED */
    uint64_t queued_bytes;

    /* RELAXED */
    struct generation gens[GENERATIONS];
    struct generation *active;
    struct generation *frozen[GENERATIONS - 1]; /* oldest first */
    unsigned n_frozen;
    uint64_t seq_written, seq_synced;
    uint64_t mark, mark_written, mark_durable;
    size_t overlay_bytes;
    bool was_full, durable_rose;
    bool age_due; /* the active generation is old enough */
    struct timer age_timer, sync_timer;
    uint64_t unsynced_bytes;
    bool sync_due;
    struct list waiters;        /* struct waiter not yet in a cycle */
    struct loop_hook turn_hook; /* releases the pins */
    rs_view *view;              /* the loop's engine view */
    rs_pin *pins;               /* behind slices handed out by store_get() */
    size_t n_pins, cap_pins;
    struct cold *cold;
};

/* store.c */
void store_ref(struct store *s);
void store_unref(struct store *s);
void store_rs_unref(struct store *s);
void store_kick(struct store *s); /* there may be work for the writer: look at the end of this turn */
int store_error(struct store *s, int code, const rs_error *e, struct err *err, const char *what);

/* overlay.c: generations */
int overlay_open(struct store *s, struct err *err) RS_WARN_UNUSED;
void overlay_close(struct store *s);                                           /* frees, calls nobody */
void overlay_tick(struct store *s);                                            /* freezes when due */
bool overlay_next_cycle(struct store *s, struct cycle *c);                     /* false: nothing to do */
int overlay_build(struct store *s, const struct generation *g) RS_WARN_UNUSED; /* writer thread */
void overlay_run_views(struct store *s, struct list *waiters);                 /* writer thread */
void overlay_written(struct store *s, struct cycle *c); /* after a successful cycle, on the loop */
void overlay_call(struct store *s, struct list *waiters, int status, const struct err *err); /* callbacks of @waiters */
void overlay_announce(struct store *s);                                                      /* durable, writable */
void overlay_discard(struct store *s, int status, const struct err *err);
void overlay_freeze_all(struct store *s); /* at close */
void overlay_release_pins(struct store *s);
int overlay_renew_view(struct store *s, struct err *err) RS_WARN_UNUSED;
void overlay_drop_table(struct store *s, struct store_table *t);

/* cold.c: reads that may touch the disk, and what they brought */
struct cold_range;
void cold_open(struct store *s);
void cold_stop(struct store *s, bool call); /* no job uses the plugin afterwards; @call: callbacks get RS_ECLOSED */
void cold_free(struct store *s);
void cold_written(struct store *s, const struct generation *g); /* @g goes away: forget what it changed */
void cold_forget(struct store *s);
/* cold_get() - 1 and *ret, 0: known to be absent, RS_EAGAIN: not known. */
int cold_get(struct store *s, struct store_table *t, struct slice key, struct slice *ret);
void cold_missed(struct store *s, struct store_table *t, struct slice key);
void cold_missed_scan(struct store *s, struct store_table *t, struct slice lower, struct slice upper, bool reverse);
/* cold_find() - rows that hold the beginning of this scan, or NULL. */
const struct cold_range *cold_find(struct store *s, struct store_table *t, struct slice lower, struct slice upper,
                                   bool reverse);
struct cold_cursor {
    const struct cold_range *range;
    size_t i;       /* next row, when left is not 0 */
    size_t left;    /* rows left in scan order */
    bool truncated; /* after them: RS_EAGAIN, not the end */
    bool reverse;
};
struct cold_cursor cold_cursor(const struct cold_range *r, struct slice lower, struct slice upper, bool reverse);
int cold_next(struct cold_cursor *c, struct slice *ret_key, struct slice *ret_value); /* 1 row, 0 end, RS_EAGAIN */

/* view.c */
struct store_view *view_wrap(struct store *s, rs_view *take);

static inline rs_slice rs_of(struct slice s) {
    return (rs_slice){s.data, s.len};
}
static inline struct slice slice_of_rs(rs_slice s) {
    return slice_of(s.data, s.len);
}
