/* SPDX-License-Identifier: Apache-2.0 */
/* meta/replication.h : replication property, write quorum and f-majority, choice of nodesets (spec cluster.md §7).
 * Pure. */
#pragma once
#include "base/buf.h"
#include "base/err.h"
#include "meta/nodes_config.h"

#define NODESET_MAX 128u

enum scope { SCOPE_NODE, SCOPE_ZONE, SCOPE_REGION, SCOPE_N };
struct replication {
    uint8_t copies[SCOPE_N]; /* 0: the scope is not named; copies[SCOPE_NODE] >= 1 always */
};
#define REPLICATION_ONE ((struct replication){{1, 0, 0}})

/* "3", "{node: 3}", "{zone: 2, node: 3}"; any case, spaces free. RS_EINVAL: err says what is wrong. */
int replication_parse(struct slice text, struct replication *ret, struct err *err) RS_WARN_UNUSED;
void replication_format(struct replication r, struct buf *out); /* "{zone: 2, node: 3}", always with braces */
static inline bool replication_eq(struct replication a, struct replication b) {
    return memcmp(a.copies, b.copies, sizeof a.copies) == 0;
}

/* The members of a nodeset with what the checks need to know about them. Bit i of a mask is member i. */
struct quorum_member {
    uint32_t node;
    bool candidate;     /* not disabled, not removed */
    bool authoritative; /* not data-loss */
    bool writable;      /* read-write or read-only */
    bool lost;          /* removed, disabled, gone or data-loss: it will not hold a record again */
    uint16_t domain[SCOPE_N];
};
struct quorum {
    struct replication replication;
    uint32_t n;
    struct quorum_member members[NODESET_MAX];
};
struct quorum_mask {
    uint64_t bits[2];
};
static inline void quorum_mask_set(struct quorum_mask *m, uint32_t i) {
    m->bits[i / 64] |= 1ull << i % 64;
}
static inline bool quorum_mask_has(const struct quorum_mask *m, uint32_t i) {
    return m->bits[i / 64] >> i % 64 & 1;
}

/* quorum_init() - @c may be NULL or older than the nodeset: unknown nodes count as candidates in state provisioning. */
void quorum_init(struct quorum *q, const struct nodes_config *c, struct replication r, const uint32_t *nodes,
                 uint32_t n);
int quorum_index(const struct quorum *q, uint32_t node); /* -1: not a member */
bool quorum_is_write(const struct quorum *q, const struct quorum_mask *m);
/* quorum_is_all_there_is() - a write quorum; or, where so many members are lost that there cannot be one, all others.
 */
bool quorum_is_all_there_is(const struct quorum *q, const struct quorum_mask *m);
enum f_majority { F_NONE, F_BEST_EFFORT, F_WITH_RISK, F_SUCCESS };
enum f_majority quorum_f_majority(const struct quorum *q, const struct quorum_mask *m);
static inline bool quorum_f_passes(enum f_majority f) {
    return f >= F_WITH_RISK;
}

/* nodeset_select() - members for a new segment of log @log_id, own node first, then those of @preferred, then by hash.
 * @target: wanted size, 0 automatic. RS_EUNSUPPORTED: not enough nodes (read-write storage) for @r. */
struct nodeset_request {
    uint32_t log_id;
    uint32_t own_node; /* 0: none */
    struct replication replication;
    uint32_t target;
    const uint32_t *preferred;
    uint32_t n_preferred;
};
int nodeset_select(const struct nodes_config *c, const struct nodeset_request *req, uint32_t ret[NODESET_MAX],
                   uint32_t *ret_n, struct err *err) RS_WARN_UNUSED;
