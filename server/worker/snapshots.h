/* SPDX-License-Identifier: Apache-2.0 */
/* worker/snapshots.h : snapshots of partitions: made by leaders for the repository (snapshot_make.c), handed to other
 * nodes (snapshot_serve.c), taken over by processors whose log begins behind what they applied (fast_forward.c).
 *
 * A snapshot is the portable stream of the partition's table "p-<id>", read from the view of a barrier: its LSN is the
 * applied LSN in it. Files and repository are touched on params.snapshots.exec only. Whatever is under way is counted
 * in worker.snapshots.busy and ends soon after worker_stop(); worker_drain() waits for that. */
#pragma once
#include "worker/partition_internal.h"

enum {
    SNAPSHOTS_AT_ONCE = 4,      /* made, or served, at a time */
    SNAPSHOTS_WAITING = 256,    /* asked for and not begun; more are refused */
    SNAPSHOT_PIECE = 512 << 10, /* of a stream on its way to another node, and of one being imported */
};

static inline bool snapshots_stopped(const struct worker *w) {
    return __atomic_load_n(&w->snapshots.stop, __ATOMIC_RELAXED);
}
void snapshots_done_one(struct worker *w); /* one less under way */

/* snapshot_export() - on an executor: the table of @partition in @view to @fd. @ret: lsn, size, crc. RS_ENOENT: nothing
 * was applied yet. */
int snapshot_export(struct worker *w, struct store_view *view, struct store_table *table, uint32_t partition, int fd,
                    struct snapshot_info *ret, struct err *err) RS_WARN_UNUSED;
static inline void snapshot_table_name(uint32_t partition, char ret[16]) {
    (void)snprintf(ret, 16, "p-%u", partition);
}

/* snapshots_tick() - now and then while it leads: learn what the repository has, make one when the configuration says
 * it is time. */
void snapshots_tick(struct partition *p);

/* fast_forward_start() - replace the tables by a snapshot with an LSN >= @target: from the repository, else from
 * another replica. @target 0: what the repository has, or leave the (empty) tables as they are. Ends with
 * partition_fast_forwarded() or partition_break(), in a later turn, unless it is canceled. The partition must be
 * opening, without cold reads under way. */
void fast_forward_start(struct partition *p, lsn_t target);
void fast_forward_cancel(struct partition *p);
/* fast_forward_clear() - the table of an import that was cut short (rows, and no applied LSN) becomes empty. RS_EAGAIN:
 * cold. */
int fast_forward_clear(struct partition *p, struct err *err) RS_WARN_UNUSED;

/* snapshot_serve() - FETCH_SNAPSHOT of another node. */
void snapshot_serve(struct worker *w, struct fabric_request *take);
void snapshot_serve_stop(struct worker *w); /* no request is held afterwards */
