/* SPDX-License-Identifier: Apache-2.0 */
/* worker/state_machine.h : the replicated partition state machine: (tables, record) -> (writes, actions).
 *
 * A pure function: no I/O, no clock ("now" is the record's created_at), no randomness, no schema. Leader and followers
 * call the same sm_apply() in LSN order and end up with equal tables. The caller merges the writes of a record into its
 * store only when sm_apply() returned 0, and before it applies the next record. One thread. */
#pragma once
#include "base/arena.h"
#include "base/err.h"
#include "base/slice.h"
#include "proto/ids.h"
#include "worker/actions.h"

struct record_view; /* proto/record.h */
typedef uint64_t lsn_t;

/* How rows are read. Slices are borrowed until sm_apply() returns.
 * @get: 0, RS_ENOENT, RS_EAGAIN (cold: the row is on disk; discard, read it, apply the record again), or another error.
 * @scan: rows with lower <= key < upper in key order (or reverse); @each returns 0 to go on, anything else stops the
 * scan and is returned by it. RS_EAGAIN as above. */
typedef int (*sm_each_fn)(void *arg, struct slice key, struct slice value);
struct sm_reader {
    int (*get)(void *arg, struct slice key, struct slice *ret, struct err *err);
    int (*scan)(void *arg, struct slice lower, struct slice upper, bool reverse, sm_each_fn each, void *each_arg,
                struct err *err);
    void *arg;
};

/* The writes of one record, one per key, in the order in which the keys were first written. */
struct sm_write {
    struct slice key;
    struct slice value; /* data NULL: delete */
    uint64_t hash;
    uint32_t next; /* index + 1 in the hash chain; internal */
};
struct sm_writes { /* zeroed: empty */
    struct sm_write *items;
    uint32_t n, cap;
    uint32_t *buckets; /* only beyond STAGED_LINEAR writes */
    uint32_t mask, buckets_cap;
    struct arena arena; /* of keys and small values; slices live until sm_writes_clear() */
};
void sm_writes_clear(struct sm_writes *w); /* keeps the memory */
void sm_writes_done(struct sm_writes *w);

/* What apply does beyond the first version, switched on by a VersionBarrier (execution.md §25). Numbers are on disk. */
enum sm_feature {
    SM_FEATURE_DIRECT_MESSAGES =
        0, /* messages to the own partition are applied in the same step; on from the first record */
};
#define SM_FEATURES_INITIAL (UINT64_C(1) << SM_FEATURE_DIRECT_MESSAGES) /* of a new partition; fixed for ever */
#define SM_FEATURES_KNOWN SM_FEATURES_INITIAL
#define SM_FORMAT_VERSION 1u

struct sm_params {
    uint32_t partition;
    uint64_t first_key, last_key; /* partition keys, inclusive */
    const char *version;          /* of this program, "1.2.3": a barrier above it stops the partition; borrowed */
};

struct sm;
/* sm_open() - read the partition's variables. RS_EUNSUPPORTED: the table was written by a newer program (the message
 * says what it needs). RS_EAGAIN: cold, try again after a cold read. Other errors: of the reader, RS_ECORRUPT. */
int sm_open(const struct sm_params *params, struct sm_reader *reader, struct sm **ret, struct err *err) RS_WARN_UNUSED;
struct sm *sm_free(struct sm *sm);
lsn_t sm_applied(const struct sm *sm);     /* 0: nothing yet */
uint64_t sm_features(const struct sm *sm); /* bitmap of enum sm_feature */
/* sm_epoch() - the newest leader epoch that was applied; every self-proposal of an older one is skipped. */
uint64_t sm_epoch(const struct sm *sm);
/* sm_durable_point() - of the newest UpdatePartitionDurability applied; 0: none. *ret_time_ms: when it was noted, unix;
 * may be NULL. */
lsn_t sm_durable_point(const struct sm *sm, uint64_t *ret_time_ms);

/* sm_apply() - apply one record.
 * @lsn:     must be above sm_applied(); gaps (trimmed or filtered LSNs) are fine
 * @record:  verified (checksum); its bytes stay where they are until @writes are merged and @actions have run
 * @writes:  cleared, then filled: the caller merges them when 0 is returned, else ignores them
 * @actions: appended to; unchanged unless 0 is returned
 *
 * Duplicates, records of a fenced leader, commands for things that do not exist and commands that do not decode change
 * nothing but the applied LSN (and the dedup row).
 * Return: 0 applied. RS_EAGAIN: a row is cold; nothing happened, apply the same record again after the cold read.
 * RS_EUNSUPPORTED: unknown kind, barrier or feature: the partition must stop before this record until the program is
 * upgraded. RS_ECORRUPT: a row does not decode. Everything else comes from the reader. After any failure @sm is as
 * before. */
int sm_apply(struct sm *sm, lsn_t lsn, const struct record_view *record, struct sm_reader *reader,
             struct sm_writes *writes, struct sm_actions *actions, struct err *err) RS_WARN_UNUSED;
/* sm_skip() - a gap up to and including @lsn: writes only the applied LSN. */
void sm_skip(struct sm *sm, lsn_t lsn, struct sm_writes *writes);
