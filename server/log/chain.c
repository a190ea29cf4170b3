/* SPDX-License-Identifier: Apache-2.0 */
#include "log/chain.h"

#include <inttypes.h>

static struct segment *push(struct chain *c, struct segment s) {
    c->segments = xrealloc(c->segments, (c->n + 1) * sizeof *c->segments);
    c->segments[c->n] = s;
    return &c->segments[c->n++];
}

static struct segment new_segment(const struct chain_op *op, lsn_t base, uint32_t index) {
    struct segment s = segment_copy(&op->segment);

    s.base = base;
    s.index = index;
    s.kind = SEGMENT_REPLICATED;
    s.params.loglet_id = loglet_id_make(op->log_id, index);
    return s;
}

static bool same_owner(const struct segment *a, const struct segment *b) {
    return a->kind == SEGMENT_REPLICATED && b->kind == SEGMENT_REPLICATED &&
           a->params.leader_epoch == b->params.leader_epoch && node_id_eq(a->params.sequencer, b->params.sequencer);
}

static int add_log(struct logs_config *c, const struct chain_op *op, struct err *err) {
    struct chain *ch = logs_config_chain(c, op->log_id);

    if (ch && ch->n == 1 && ch->segments[0].index == 0 && same_owner(&ch->segments[0], &op->segment))
        return 0;
    if (ch)
        return err_set(err, RS_EEXIST, "log %" PRIu32 " exists already", op->log_id);
    ch = logs_config_add(c, op->log_id);
    (void)push(ch, new_segment(op, LSN_OLDEST, 0));
    return 1;
}

static int extend(struct chain *ch, const struct chain_op *op, struct err *err) {
    struct segment *tail = chain_tail(ch), s;
    const struct segment *n = &op->segment;

    if (tail->index == op->last_index + 1 && tail->base == op->lsn && same_owner(tail, n))
        return 0; /* an earlier attempt with unknown outcome did it */
    if (tail->params.leader_epoch > n->params.leader_epoch)
        return err_set(err, RS_EPERM, "log %" PRIu32 ": leader epoch %" PRIu64 " owns it, %" PRIu64 " is older",
                       op->log_id, tail->params.leader_epoch, n->params.leader_epoch);
    if (tail->index != op->last_index)
        return err_set(err, RS_EAGAIN, "log %" PRIu32 ": the tail segment is %" PRIu32 ", not %" PRIu32, op->log_id,
                       tail->index, op->last_index);
    if (tail->kind == SEGMENT_REPLICATED && tail->params.leader_epoch == n->params.leader_epoch &&
        !node_id_eq(tail->params.sequencer, n->params.sequencer))
        return err_set(err, RS_EPERM, "log %" PRIu32 ": leader epoch %" PRIu64 " belongs to another node", op->log_id,
                       n->params.leader_epoch);
    if (tail->kind == SEGMENT_SEALED && (tail->permanent || op->lsn != tail->base))
        return err_set(err, tail->permanent ? RS_EPERM : RS_EINVAL, "log %" PRIu32 " is sealed%s at LSN %" PRIu64,
                       op->log_id, tail->permanent ? " for good" : "", tail->base);
    if (op->lsn < tail->base)
        return err_set(err, RS_EINVAL, "log %" PRIu32 ": LSN %" PRIu64 " is below the tail segment's base %" PRIu64,
                       op->log_id, op->lsn, tail->base);
    s = new_segment(op, op->lsn, op->last_index + 1);
    if (op->lsn == tail->base) { /* an empty segment or a marker */
        segment_done(tail);
        *tail = s;
    } else {
        (void)push(ch, s);
    }
    return 1;
}

static int seal(struct chain *ch, struct chain_op *op, struct err *err) {
    struct segment *tail = chain_tail(ch), s;

    if (tail->kind == SEGMENT_SEALED) {
        op->tail = tail->base;
        return 0;
    }
    if (tail->index != op->last_index)
        return err_set(err, RS_EAGAIN, "log %" PRIu32 ": the tail segment is %" PRIu32 ", not %" PRIu32, op->log_id,
                       tail->index, op->last_index);
    if (op->lsn < tail->base)
        return err_set(err, RS_EINVAL, "log %" PRIu32 ": LSN %" PRIu64 " is below the tail segment's base %" PRIu64,
                       op->log_id, op->lsn, tail->base);
    s = segment_copy(&op->segment);
    s.base = op->lsn;
    s.index = tail->index;
    s.kind = SEGMENT_SEALED;
    s.params = (struct segment_params){.leader_epoch = tail->params.leader_epoch};
    op->tail = op->lsn;
    if (op->lsn == tail->base) {
        segment_done(tail);
        *tail = s;
    } else {
        (void)push(ch, s);
    }
    return 1;
}

static int trim_prefix(struct chain *ch, lsn_t lsn) {
    size_t drop = 0;

    while (drop + 1 < ch->n && ch->segments[drop + 1].base <= lsn + 1 && ch->segments[drop].kind != SEGMENT_SEALED)
        drop++;
    /* The segment that contains the point stays, unless the point is its last LSN: then it is wholly trimmed. */
    for (size_t i = 0; i < drop; i++)
        segment_done(&ch->segments[i]);
    ch->n -= drop;
    memmove(ch->segments, ch->segments + drop, ch->n * sizeof *ch->segments);
    return drop > 0;
}

int chain_apply(struct logs_config *c, struct chain_op *op, struct err *err) {
    struct chain *ch = logs_config_chain(c, op->log_id);

    if (op->kind == CHAIN_ADD)
        return add_log(c, op, err);
    if (!ch)
        return err_set(err, RS_ENOENT, "log %" PRIu32 " does not exist", op->log_id);
    switch (op->kind) {
    case CHAIN_EXTEND:
        return extend(ch, op, err);
    case CHAIN_SEAL:
        return seal(ch, op, err);
    case CHAIN_TRIM:
        return trim_prefix(ch, op->lsn);
    case CHAIN_ADD:
        break;
    }
    UNREACHABLE("kinds are listed");
}

int chain_find(const struct chain *c, lsn_t lsn) {
    size_t low = 0, high = c->n;

    while (low < high) { /* first entry with base > lsn */
        size_t mid = low + (high - low) / 2;

        if (c->segments[mid].base <= lsn)
            low = mid + 1;
        else
            high = mid;
    }
    return (int)low - 1;
}

bool chain_has(const struct chain *c, uint32_t index) {
    for (size_t i = 0; i < c->n; i++)
        if (c->segments[i].kind == SEGMENT_REPLICATED && c->segments[i].index == index)
            return true;
    return false;
}
