/* SPDX-License-Identifier: Apache-2.0 */
/* log/repair.h : bring the records of a sealed loglet that may or may not have been acknowledged to a write quorum
 * (spec cluster.md §10.3), so that the chain may close the segment behind them. Never raises an advertised tail
 * (§10.4). Own loop. */
#pragma once
#include "log/log_peers.h"
#include "meta/replication.h"

struct repair;
struct repair_params {
    struct log_router *router;
    const struct quorum *quorum;       /* copied */
    const struct quorum_mask *members; /* sealed members: all that take part; copied */
    uint64_t loglet_id;
    struct node_id sequencer;
    uint32_t from, until; /* offsets: known global tail; proposed tail */
};
/* @status 0: every offset of [from, until) is on a write quorum, or on all members that did not lose their records.
 * RS_EAGAIN: not now; try again, perhaps with more members. */
typedef void (*repair_fn)(void *arg, int status);
struct repair *repair_start(const struct repair_params *p, repair_fn done, void *arg);
struct repair *repair_cancel(struct repair *r); /* NULL */
