/* SPDX-License-Identifier: Apache-2.0 */
/* storage/sim_storage.h : a storage plugin in memory, for tests and the simulator: the whole contract of
 * restate/storage.h with faults that a seed decides.
 *
 * A sim_disk is a machine's disk: it outlives stores and holds any number of them by directory name. It keeps every
 * write since the last sync apart, so that sim_disk_crash() can fall back to any state the contract allows: all that is
 * synced and a random prefix of what came after, batches whole. Give it as @self of store_params with sim_storage_ops,
 * or register the descriptor.
 *
 * Threads: a mutex per disk; views may be read anywhere. In the simulator everything happens in one thread. */
#pragma once
#include <restate/storage.h>
#include "base/slice.h"
#include "base/util.h"

struct sim_disk;

struct sim_disk *sim_disk_new(uint64_t seed);
/* sim_disk_free() - every store of it must be closed. NULL. */
struct sim_disk *sim_disk_free(struct sim_disk *d);

/* sim_disk_crash() - the power goes: each store keeps what is synced and a prefix, drawn from the seed, of the rest.
 * Handles that are still open answer RS_ECLOSED from now on and must still be closed. Stores can be opened anew at
 * once. */
void sim_disk_crash(struct sim_disk *d);
/* sim_disk_crash_at() - the same for one directory, keeping exactly @keep unsynced writes (at most what there is). */
void sim_disk_crash_at(struct sim_disk *d, const char *dir, size_t keep);

enum sim_fault {
    SIM_FAULT_NONE,
    SIM_FAULT_WRITE_EIO,    /* write fails, nothing is written, sticky */
    SIM_FAULT_WRITE_ENOSPC, /* write fails, nothing is written, not sticky */
    SIM_FAULT_SYNC,         /* a synced write or a sync fails, sticky; what was to be synced may be lost in a crash */
    SIM_FAULT_READ_EIO,     /* reads fail */
    SIM_FAULT_READ_CORRUPT, /* reads answer RS_ECORRUPT */
};
/* sim_disk_fault() - from the @after-th such call on (0: the next), for @times calls (UINT64_MAX: for ever), the fault
 * happens in every store whose directory ends with @suffix (NULL: all). One fault at a time; NONE ends it. After a
 * sticky fault the handle fails for good; a new open works. */
void sim_disk_fault(struct sim_disk *d, enum sim_fault f, const char *suffix, uint64_t after, uint64_t times);
/* sim_disk_cold() - out of a million reads with RS_READ_CACHED so many answer RS_EAGAIN; each is drawn anew. */
void sim_disk_cold(struct sim_disk *d, uint32_t per_million);

struct sim_disk_stats {
    uint64_t writes, synced_writes, syncs, ops, reads, cold_reads, views_open, stores_open;
};
struct sim_disk_stats sim_disk_stats(struct sim_disk *d);
/* sim_disk_peek() - what a row holds, synced or not, whether the store is open or not; for checkers. False: there is no
 * such row. *ret is borrowed until the next write. */
bool sim_disk_peek(struct sim_disk *d, const char *dir, const char *table, struct slice key, struct slice *ret);
size_t sim_disk_unsynced(struct sim_disk *d, const char *dir); /* writes a crash may lose */

/* ops for store_params; self is the struct sim_disk. caps: sim_storage_caps, optionally without RS_STORAGE_CACHED_READ.
 */
extern const rs_storage_ops sim_storage_ops;
enum { SIM_STORAGE_CAPS = RS_STORAGE_CACHED_READ };
/* The descriptor for rs_plugin_register(): every init() makes a disk of its own, seeded by host->random. */
extern const rs_plugin sim_storage_plugin;
