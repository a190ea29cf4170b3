/* SPDX-License-Identifier: Apache-2.0 */
/* meta/logs_config.h : the logs configuration (spec cluster.md §3.3, §6.1): default provider and, per log, a chain of
 * segments.
 *
 * A parsed value has one owner and may be changed by it (log/chain.h); everybody else sees it const. */
#pragma once
#include "base/buf.h"
#include "base/err.h"
#include "base/map.h"
#include "meta/replication.h"
#include "meta/types.h"

enum segment_kind { SEGMENT_REPLICATED, SEGMENT_SEALED };

/* What a replicated segment needs to be opened. */
struct segment_params {
    uint64_t loglet_id;
    struct node_id sequencer;
    epoch_t leader_epoch;
    struct replication replication;
    uint32_t n_nodes;
    uint32_t *nodes; /* nodeset; owned */
};

struct segment { /* closed by the next entry's base */
    lsn_t base;
    uint32_t index;
    enum segment_kind kind;
    uint64_t created_at_ms;
    struct segment_params params; /* SEGMENT_SEALED: only leader_epoch, copied from the segment it closes */
    bool permanent;               /* SEGMENT_SEALED: never extended again */
    char *reason;                 /* SEGMENT_SEALED: why; NULL: not said */
};

struct chain {
    struct map_node node;
    log_id_t log_id;
    size_t n;
    struct segment *segments; /* by base; the last one is the tail segment; n >= 1 */
};

struct logs_config {
    uint32_t version;
    struct replication replication; /* of new segments */
    uint32_t target_nodeset_size;   /* 0: automatic */
    struct map chains;
};

struct logs_config *logs_config_new(void); /* version 0, replication 1, no logs */
int logs_config_parse(struct slice json, struct logs_config **ret, struct err *err) RS_WARN_UNUSED;
void logs_config_encode(const struct logs_config *c, struct buf *out);
struct logs_config *logs_config_copy(const struct logs_config *c);
struct logs_config *logs_config_free(struct logs_config *c);
DEFINE_CLEANUP(logs_config, logs_config_free)

/* logs_config_chain() - NULL when the log does not exist. */
struct chain *logs_config_chain(const struct logs_config *c, log_id_t log_id);
/* logs_config_add() - an empty chain (the caller adds its first segment at once); the log must not exist. */
struct chain *logs_config_add(struct logs_config *c, log_id_t log_id);
static inline struct segment *chain_tail(const struct chain *c) {
    return &c->segments[c->n - 1];
}
/* Segments own their nodeset and reason. */
void segment_done(struct segment *s);
struct segment segment_copy(const struct segment *s);
