/* SPDX-License-Identifier: Apache-2.0 */
/* log/chain.h : operations on the chains of a logs configuration (spec cluster.md §6.1, §11.2). Pure: config in, config
 * out. */
#pragma once
#include "base/err.h"
#include "base/list.h"
#include "meta/logs_config.h"

enum chain_op_kind { CHAIN_ADD, CHAIN_EXTEND, CHAIN_SEAL, CHAIN_TRIM };
struct chain_op {
    enum chain_op_kind kind;
    log_id_t log_id;
    uint32_t last_index;    /* EXTEND, SEAL: index of the tail segment this is about */
    lsn_t lsn;              /* EXTEND: base of the new segment; SEAL: tail of the closed one; TRIM: trim point */
    struct segment segment; /* ADD, EXTEND: kind, created_at_ms, params; base, index and loglet id are filled in. SEAL:
                               created_at_ms, reason, permanent. Owned by the op; see chain_op_done() */
    /* answer */
    lsn_t tail; /* SEAL of a sealed chain: its tail */
    /* of the chain writer */
    void (*done)(struct chain_op *op, int status, const struct err *err);
    struct list link;
    int status;
    struct err err;
};
static inline void chain_op_done(struct chain_op *op) {
    segment_done(&op->segment);
}

/* chain_apply() - carry out @op. Return: 1 the configuration changed; 0 it says so already; RS_EEXIST (ADD) the log
 * exists; RS_ENOENT no such log; RS_EAGAIN the tail segment is another one (reread); RS_EPERM a newer leader epoch owns
 * the chain, or it is sealed for good; RS_EINVAL the LSN does not fit. */
int chain_apply(struct logs_config *c, struct chain_op *op, struct err *err) RS_WARN_UNUSED;
/* chain_find() - index in segments[] of the segment that holds @lsn; -1: trimmed, everything before the first base. */
int chain_find(const struct chain *c, lsn_t lsn);
/* chain_has() - is segment @index (not a marker) part of the chain? */
bool chain_has(const struct chain *c, uint32_t index);
