/* SPDX-License-Identifier: Apache-2.0 */
/* meta/meta.h : the cluster's metadata: a small versioned key-value store with compare-and-swap (spec cluster.md §3).
 *
 * A value is (version, bytes); versions only rise; a missing key has version 0. Every node keeps local copies, which
 * may be old: decisions that matter are a CAS. What follows here is the same for every provider; a provider (struct
 * meta_ops: single member over the meta store, or the Raft client) carries out the CAS and publishes values that became
 * known.
 *
 * One loop. Callbacks never run inside the call that registered them. */
#pragma once
#include "base/bytes.h"
#include "base/err.h"
#include "base/list.h"
#include "base/map.h"
#include "loop/loop.h"
#include "meta/types.h"

struct store;

#define META_KEY_MAX 128u /* bytes */
#define META_KEY_NODES "nodes_config"
#define META_KEY_LOGS "bifrost_config"
#define META_KEY_PARTITIONS "partition_table"
#define META_KEY_SCHEMA "schema_registry"
#define META_KEY_RULES "rule_book"

struct meta;

/* @status 0: written, @version is the value's. RS_EEXIST: the precondition failed, @version is the current one (0:
 * absent); reread and try again. RS_ETIMEDOUT: the outcome is unknown; reread. RS_ETOOBIG, RS_EIO: not written. */
typedef void (*meta_cas_fn)(void *arg, int status, uint32_t version, const struct err *err);

/* meta_get() - the local copy. @ret is borrowed: valid until the loop turns; take a reference to keep it.
 * Return: 0, or RS_ENOENT when the key is not known. */
int meta_get(const struct meta *m, const char *key, uint32_t *ret_version, struct bytes **ret) RS_WARN_UNUSED;
uint32_t meta_version(const struct meta *m, const char *key); /* 0: not known */

#define META_VERSION_NEVER (UINT32_MAX - 1) /* no value gets this far */

/* meta_cas() - write @value with version @expected + 1 if the stored version is @expected (0: the key does not exist).
 * @value is copied, at most LIMIT_METADATA_VALUE_BYTES. @deadline_ns is monotonic, 0 waits for ever. @done runs once,
 * when the value is durable and meta_get() shows it; after RS_EEXIST meta_get() shows what is stored, at least as new
 * as at the time of the call, so a write with @expected META_VERSION_NEVER is a read of the current value. All writes
 * of one loop turn share one commit. */
void meta_cas(struct meta *m, const char *key, uint32_t expected, struct slice value, uint64_t deadline_ns,
              meta_cas_fn done, void *arg);

/* meta_cas_take() - the same; @take_arg is malloc'ed and is freed after @done returned, or by meta_free(). */
void meta_cas_take(struct meta *m, const char *key, uint32_t expected, struct slice value, uint64_t deadline_ns,
                   meta_cas_fn done, void *take_arg);

/* meta_update() - read, compute, write, again while somebody else was faster (RS_EEXIST) or the outcome is unknown.
 * @compute fills @out from the current value (NULL and version 0: absent) for version @version + 1 and returns 0; a
 * positive number ends the update without writing (@done gets status 0 and the current version); negative fails it. It
 * must recognise its own earlier success. */
typedef int (*meta_compute_fn)(void *arg, uint32_t version, struct slice current, struct buf *out, struct err *err);
void meta_update(struct meta *m, const char *key, uint64_t deadline_ns, meta_compute_fn compute, meta_cas_fn done,
                 void *arg);

/* meta_update_take() - the same; @take_arg is malloc'ed and is freed after @done returned, or by meta_free(). */
void meta_update_take(struct meta *m, const char *key, uint64_t deadline_ns, meta_compute_fn compute, meta_cas_fn done,
                      void *take_arg);

/* meta_watch() - @changed runs (in a later turn than the registration; once for the value already there) whenever the
 * local copy of a key that begins with @prefix moved to a higher version. The watch is linked until meta_unwatch(). */
struct meta_watch {
    struct list link;
    struct meta *meta;
    char prefix[META_KEY_MAX];
    void (*changed)(void *arg, const char *key, uint32_t version, struct bytes *value); /* @value borrowed */
    void *arg;
    bool primed;
};
void meta_watch(struct meta *m, struct meta_watch *w, const char *prefix);
void meta_unwatch(struct meta_watch *w);

/* meta_each() - every known key in order of key; for `restatectl metadata`. @each must not write. */
void meta_each(const struct meta *m, void (*each)(void *arg, const char *key, uint32_t version, struct bytes *value),
               void *arg);

/* meta_single_open() - the provider of a cluster with one metadata server: the `meta` store (SYNC) is all there is.
 * Blocking: reads every value. The store must outlive the handle. Errors: RS_ECORRUPT names the key. */
int meta_single_open(struct loop *loop, struct store *store, struct meta **ret, struct err *err) RS_WARN_UNUSED;
/* meta_free() - not from a watch's callback; no callback runs afterwards; writes that are under way still become
 * durable, nobody is told. NULL. */
struct meta *meta_free(struct meta *m);

/* For helpers that wait on behalf of somebody: meta_free() runs @fn first of all. Linked until list_remove(). */
struct meta_cleanup {
    struct list link;
    void (*fn)(void *arg);
    void *arg;
};
void meta_on_free(struct meta *m, struct meta_cleanup *c);

/* ---- for providers ---- */

/* One write on its way. The provider answers every request exactly once, in a later turn, with meta_cas_answer(). */
struct meta_cas_req {
    struct list link; /* the provider's while it has the request */
    struct meta *meta;
    char key[META_KEY_MAX];
    uint32_t expected;
    struct bytes *value;
    /* private to meta.c */
    struct list pending;
    struct timer timer;
    meta_cas_fn done;
    void *arg;
    bool own_arg;
};
struct meta_ops {
    void (*cas)(struct meta *m, struct meta_cas_req *req);
    /* found the cluster with its first nodes configuration; NULL: by a CAS like any other. @done: RS_EEXIST it was */
    void (*provision)(struct meta *m, struct slice nodes_config, meta_cas_fn done, void *arg);
    /* free the provider's part; requests it still holds go through meta_cas_drop() */
    void (*free)(struct meta *m);
};
struct meta { /* first member of a provider's struct */
    const struct meta_ops *ops;
    struct loop *loop;
    struct map values;
    struct list watches, pending, updates, cleanups;
    struct loop_hook prime;
    struct meta_watch *visiting, *next; /* while watches are being called */
};
void meta_init(struct meta *m, const struct meta_ops *ops, struct loop *loop);
void meta_done(struct meta *m);
/* meta_publish() - @value became known; ignored unless @version is higher than the local copy's. Fires the watches. */
void meta_publish(struct meta *m, const char *key, uint32_t version, struct bytes *value);
void meta_cas_answer(struct meta_cas_req *take, int status, uint32_t version, const struct err *err);
void meta_cas_drop(struct meta_cas_req *take); /* without telling anybody: at meta_free() */
