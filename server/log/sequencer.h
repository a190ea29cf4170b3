/* SPDX-License-Identifier: Apache-2.0 */
/* log/sequencer.h : gives offsets to the records of one loglet and brings them to a write quorum (spec cluster.md §9).
 *
 * There is one per segment that this very process owns; it starts at offset 1 and is the only writer. Appends are
 * pipelined and become committed in the order of their offsets. Own loop; events never come from inside
 * sequencer_append(). */
#pragma once
#include "base/bytes.h"
#include "base/err.h"
#include "log/log_peers.h"
#include "log/record_cache.h"
#include "meta/replication.h"

struct sequencer;
struct sequencer_events {
    void (*committed)(void *arg,
                      uint32_t tail); /* offsets < @tail are on a write quorum, and so is everything before */
    void (*writable)(void *arg);      /* after RS_EAGAIN */
    /* No append can be acknowledged any more: RS_ECLOSED sealed, RS_EIO log-servers refuse writes. Once; the sequencer
     * stays until freed. */
    void (*stopped)(void *arg, int status, const struct err *why);
};
struct sequencer_params {
    struct loop *loop;
    struct log_router *router;
    struct record_cache *cache;
    struct node_id self;
    uint64_t loglet_id;
    const struct quorum *quorum; /* copied */
    uint32_t window_records;
    uint64_t window_bytes;
    const struct sequencer_events *events;
    void *arg;
};
struct sequencer *sequencer_new(const struct sequencer_params *p);
/* sequencer_free() - no event afterwards. Stores under way go on and keep the memory they need. NULL. */
struct sequencer *sequencer_free(struct sequencer *s);

/* sequencer_append() - see log_append(). A batch is taken as long as the window is not full, so up to one batch more
 * may be in flight. */
int sequencer_append(struct sequencer *s, struct bytes *const *records, uint32_t n, uint32_t *ret_first,
                     struct err *err) RS_WARN_UNUSED;
/* sequencer_adopt() - append what is in flight in @old from offset @from on, in the same batches, whatever the window
 * says: @old's segment is closed in front of @from, these records never happened. @s is fresh; offset @from becomes 1.
 */
void sequencer_adopt(struct sequencer *s, const struct sequencer *old, uint32_t from);
bool sequencer_writable(const struct sequencer *s);
uint32_t sequencer_next(const struct sequencer *s);      /* offset of the next record */
uint32_t sequencer_committed(const struct sequencer *s); /* global tail */
struct record_ring *sequencer_ring(const struct sequencer *s);
void sequencer_inflight(const struct sequencer *s, uint64_t *ret_records, uint64_t *ret_bytes);
