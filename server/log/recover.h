/* SPDX-License-Identifier: Apache-2.0 */
/* log/recover.h : seal a segment and find its tail (spec cluster.md §10.5): what a claiming leader does before it
 * extends the chain. The result is a proposal for the chain's CAS and nothing else (§10.4): it is not advertised as a
 * tail. Own loop. */
#pragma once
#include "log/log_peers.h"
#include "meta/logs_config.h"
#include "meta/replication.h"

struct recover;
/* @tail: first offset that was never acknowledged and never will be. RS_EIO: log-servers of the nodeset do not accept
 * the seal. */
typedef void (*recover_fn)(void *arg, int status, uint32_t tail, const struct err *err);
/* recover_start() - runs until it succeeds (members that do not answer are asked again) or is cancelled. @done comes in
 * a later turn. */
struct recover *recover_start(struct log_router *router, const struct quorum *quorum,
                              const struct segment_params *segment, uint32_t global_tail, recover_fn done, void *arg);
/* recover_nodes_changed() - a member may have lost its records, or be removed. */
void recover_nodes_changed(struct recover *r, const struct nodes_config *c);
struct recover *recover_cancel(struct recover *r); /* @done does not run; NULL */
