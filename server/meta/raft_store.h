/* SPDX-License-Identifier: Apache-2.0 */
/* meta/raft_store.h : what a metadata server keeps on disk: rows of one table of the `meta` store (SYNC). Every value
 * is u8 format = 1, its fields little-endian, u32 crc32c of what precedes.
 *
 *     "h"               hard state: u64 term, u64 commit, u32 vote, u64 its creation time
 *     "e" u64 BE index  entry: u64 term, u8 kind, data
 *     "s"               snapshot: u64 index, u64 term, u16 length of the configuration, configuration, data
 *     "m"               me: u32 plain id (0: not known yet), u64 creation time in ms, u8 member */
#pragma once
#include "meta/raft.h"
#include "storage/store.h"

struct raft_marker {
    struct raft_member self; /* created_ms 0: there is no marker yet */
    bool member;
};
struct raft_loaded { /* zeroed: a store without anything */
    struct raft_marker marker;
    struct raft_hard hard;
    struct raft_snapshot *snapshot;
    struct raft_entry *entries;
    size_t n;
};
/* raft_store_load() - blocking, at start. RS_ECORRUPT names the row. */
int raft_store_load(struct store *s, struct store_table *t, struct raft_loaded *ret, struct err *err) RS_WARN_UNUSED;
void raft_loaded_done(struct raft_loaded *l);

/* Everything a ready asks to store. @last: the last index there was before; larger ones that are void go. */
void raft_store_put(struct store_batch *b, struct store_table *t, const struct raft_ready *rd, uint64_t last);
/* A snapshot of my own: the entries it covers go. */
void raft_store_put_snapshot(struct store_batch *b, struct store_table *t, const struct raft_snapshot *s);
void raft_store_put_marker(struct store_batch *b, struct store_table *t, const struct raft_marker *m);
void raft_store_clear(struct store_batch *b, struct store_table *t); /* all but the marker */
