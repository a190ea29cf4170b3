/* SPDX-License-Identifier: Apache-2.0 */
/* Leadership owns the segment (spec cluster.md §11.2): seal the newest segment, find its tail, extend the chain with
 * myself. */
#include <inttypes.h>
#include "log/log_internal.h"

#define FOREIGN_SEAL_NS 200000000u

static void lost(struct log *l, int status, const struct err *why) {
    if (l->tell_lost)
        return;
    l->tell_lost = true;
    l->lost_status = status;
    l->lost_err = *why;
    log_touch(l);
}

static void finish(struct log *l, int status, lsn_t first, const struct err *err) {
    log_lead_fn done = TAKE(l->lead_done);

    l->lead = status == 0 ? LEAD_OWNED : LEAD_NONE;
    if (status < 0 && l->seq) /* a reign ends */
        lost(l, status == RS_EPERM ? RS_ECLOSED : status, err);
    else if (done)
        done(l->lead_arg, status, first, err);
}

/* ---- the sequencer of my segment ---- */

static void on_committed(void *arg, uint32_t tail) {
    log_touch(arg);
}

static void on_writable(void *arg) {
    struct log *l = arg;

    l->tell_writable = true;
    log_touch(l);
}

static void on_stopped(void *arg, int status, const struct err *why) {
    struct log *l = arg;

    if (l->lead != LEAD_OWNED)
        return; /* I am leaving it anyway */
    if (status != RS_ECLOSED)
        lost(l, status, why);
    else if (!timer_armed(&l->again)) /* a candidate speaks through the chain; if nobody does I go on */
        timer_set(l->node->p.loop, &l->again,
                  FOREIGN_SEAL_NS + loop_random_u64(l->node->p.loop) % (FOREIGN_SEAL_NS / 2));
}

static const struct sequencer_events seq_events = {
    .committed = on_committed, .writable = on_writable, .stopped = on_stopped};

static struct sequencer *open_sequencer(struct log *l, const struct segment *s) {
    struct quorum *q = xnew(struct quorum);
    struct log_node *n = l->node;
    struct sequencer *seq;

    quorum_init(q, n->nodes, s->params.replication, s->params.nodes, s->params.n_nodes);
    seq = sequencer_new(&(struct sequencer_params){.loop = n->p.loop,
                                                   .router = &n->router,
                                                   .cache = n->cache,
                                                   .self = n->p.self,
                                                   .loglet_id = s->params.loglet_id,
                                                   .quorum = q,
                                                   .window_records = n->p.window_records,
                                                   .window_bytes = n->p.window_bytes,
                                                   .events = &seq_events,
                                                   .arg = l});
    free(q);
    return seq;
}

/* @s is the open tail segment and mine. If I reigned before, it begins where my last segment was closed: what was in
 * flight behind that point is appended again, in the same order and so at the same LSNs. */
static void own(struct log *l, const struct segment *s) {
    struct sequencer *old = l->seq;
    struct log_node *n = l->node;
    struct err err;

    if (old && (s->base < l->base + sequencer_committed(old) - 1 || s->base > l->base + sequencer_next(old) - 1)) {
        err_set(&err, RS_EIO,
                "log %" PRIu32 ": segment %" PRIu32 " was closed at LSN %" PRIu64 ", outside of what was in flight",
                l->id, loglet_id_index(l->loglet), s->base);
        finish(l, RS_EIO, 0, &err);
        return;
    }
    log_watch_stop(l);
    timer_stop(l->node->p.loop, &l->again);
    l->seq = open_sequencer(l, s);
    if (old) {
        sequencer_adopt(l->seq, old, (uint32_t)(s->base - l->base + 1));
        l->tell_writable = true;
        log_touch(l);
    }
    (void)sequencer_free(old);
    l->base = s->base;
    l->loglet = s->params.loglet_id;
    l->wrote = true;
    finish(l, 0, s->base, NULL); /* @l may be closed by it */
    improve_soon(n);             /* the configuration may have changed on the way here */
}

/* An open segment with my exact generation and epoch that this process has not written to: the answer to its CAS was
 * lost. */
static bool is_mine(const struct log *l, const struct segment *s) {
    return s->kind == SEGMENT_REPLICATED && node_id_eq(s->params.sequencer, l->node->p.self) &&
           s->params.leader_epoch == l->epoch && !(l->wrote && l->loglet == s->params.loglet_id);
}

/* ---- steps ---- */

static void op_done(struct chain_op *op, int status, const struct err *err) {
    struct log *l = CONTAINER_OF(op, struct log, op);
    const struct chain *c = log_chain(l);

    l->op_running = false;
    chain_op_done(op);
    if (status == 0 && c && is_mine(l, chain_tail(c))) {
        own(l, chain_tail(c));
    } else if (status == 0 || status == RS_EAGAIN || status == RS_EEXIST || status == RS_EINVAL) {
        l->lead = LEAD_WANTED; /* somebody changed the chain meanwhile: look again */
        log_touch(l);
    } else {
        finish(l, status, 0, err);
    }
}

static void start_op(struct log *l, enum chain_op_kind kind, uint32_t last_index, lsn_t lsn, const uint32_t *nodes,
                     uint32_t n) {
    struct chain_op *op = &l->op;

    *op = (struct chain_op){.kind = kind, .log_id = l->id, .last_index = last_index, .lsn = lsn, .done = op_done};
    op->segment.created_at_ms = loop_wall_ns(l->node->p.loop) / 1000000u;
    op->segment.params.sequencer = l->node->p.self;
    op->segment.params.leader_epoch = l->epoch;
    op->segment.params.replication = l->node->chains.current->replication;
    op->segment.params.nodes = xnewn(uint32_t, n);
    memcpy(op->segment.params.nodes, nodes, n * sizeof *nodes);
    op->segment.params.n_nodes = n;
    l->op_running = true;
    l->lead = LEAD_EXTENDING;
    chain_writer_submit(&l->node->chains, op);
}

int lead_choose_nodes(const struct log *l, const struct segment *tail, uint32_t nodes[NODESET_MAX], uint32_t *n,
                      struct err *err) {
    const struct logs_config *c = l->node->chains.current;
    struct nodeset_request req = {.log_id = l->id,
                                  .own_node = l->node->p.self.id,
                                  .replication = c->replication,
                                  .target = c->target_nodeset_size};

    if (!l->node->nodes)
        return err_set(err, RS_EUNSUPPORTED, "log %" PRIu32 ": the nodes configuration is not known", l->id);
    if (tail && tail->kind == SEGMENT_REPLICATED) {
        req.preferred = tail->params.nodes;
        req.n_preferred = tail->params.n_nodes;
    }
    return nodeset_select(l->node->nodes, &req, nodes, n, err);
}

static void extend_from(struct log *l, const struct segment *tail, lsn_t lsn) {
    uint32_t nodes[NODESET_MAX], n;
    struct err err;
    int r = lead_choose_nodes(l, tail, nodes, &n, &err);

    if (r < 0)
        finish(l, r, 0, &err);
    else
        start_op(l, CHAIN_EXTEND, tail->index, lsn, nodes, n);
}

static void recovered(void *arg, int status, uint32_t tail, const struct err *err) {
    struct log *l = arg;
    const uint32_t index = loglet_id_index(l->op.segment.params.loglet_id);
    const struct chain *c = log_chain(l);

    l->recover = NULL;
    if (status < 0)
        finish(l, status, 0, err);
    else if (!c || chain_tail(c)->kind != SEGMENT_REPLICATED || chain_tail(c)->index != index) {
        l->lead = LEAD_WANTED;
        log_touch(l);
    } else {
        extend_from(l, chain_tail(c), chain_tail(c)->base + tail - 1);
    }
}

static void seal_tail(struct log *l, const struct segment *tail) {
    uint32_t nodes[NODESET_MAX], n;
    struct quorum *q;
    struct err err;
    int r = lead_choose_nodes(l, tail, nodes, &n, &err); /* first make sure that there is somewhere to go, then seal */

    if (r < 0) {
        finish(l, r, 0, &err);
        return;
    }
    q = xnew(struct quorum);
    quorum_init(q, l->node->nodes, tail->params.replication, tail->params.nodes, tail->params.n_nodes);
    l->lead = LEAD_SEALING;
    l->op.segment.params.loglet_id = tail->params.loglet_id; /* which one is being sealed */
    l->recover = recover_start(&l->node->router, q, &tail->params, log_open_tail(l, tail), recovered, l);
    free(q);
}

void lead_step(struct log *l) {
    uint32_t nodes[NODESET_MAX], n;
    const struct chain *c = log_chain(l);
    const struct segment *tail = c ? chain_tail(c) : NULL;
    struct err err;
    int r;

    if (!l->node->chains.current || !l->node->nodes)
        return; /* the change of either comes back here */
    if (!tail) {
        r = lead_choose_nodes(l, NULL, nodes, &n, &err);
        if (r < 0)
            finish(l, r, 0, &err);
        else
            start_op(l, CHAIN_ADD, 0, LSN_OLDEST, nodes, n);
        return;
    }
    if (tail->params.leader_epoch > l->epoch ||
        (tail->params.leader_epoch == l->epoch && tail->kind == SEGMENT_REPLICATED &&
         !node_id_eq(tail->params.sequencer, l->node->p.self))) {
        err_set(&err, RS_EPERM, "log %" PRIu32 ": leader epoch %" PRIu64 " owns it, %" PRIu64 " was asked for", l->id,
                tail->params.leader_epoch, l->epoch);
        finish(l, RS_EPERM, 0, &err);
    } else if (is_mine(l, tail)) {
        own(l, tail);
    } else if (tail->kind == SEGMENT_SEALED) {
        extend_from(l, tail, tail->base);
    } else {
        seal_tail(l, tail);
    }
}

void lead_again(struct log *l) {
    if (l->lead != LEAD_OWNED || l->tell_lost)
        return;
    timer_stop(l->node->p.loop, &l->again);
    l->lead = LEAD_WANTED;
    log_touch(l);
}

void lead_chain_changed(struct log *l) {
    const struct chain *c = log_chain(l);
    const struct segment *tail = c ? chain_tail(c) : NULL;

    if (!tail)
        return;
    if (l->lead == LEAD_SEALING &&
        !(tail->kind == SEGMENT_REPLICATED && tail->params.loglet_id == l->op.segment.params.loglet_id)) {
        l->recover = recover_cancel(l->recover); /* somebody else closed it */
        l->lead = LEAD_WANTED;
        log_touch(l);
    } else if (!(tail->kind == SEGMENT_REPLICATED && tail->params.loglet_id == l->loglet)) {
        lead_again(l); /* finds out whether the chain is still mine */
    }
}

void lead_stop(struct log *l) {
    l->recover = recover_cancel(l->recover);
    if (l->op_running) {
        chain_writer_cancel(&l->node->chains, &l->op);
        chain_op_done(&l->op);
        l->op_running = false;
    }
    if (l->seq) {
        l->hint_loglet = l->loglet;
        l->hint_tail = sequencer_committed(l->seq);
    }
    l->seq = sequencer_free(l->seq);
    timer_stop(l->node->p.loop, &l->again);
    l->lead = LEAD_NONE;
    l->tell_lost = l->tell_writable = false;
}

/* ---- public ---- */

void log_lead(struct log *l, epoch_t epoch, log_lead_fn done, void *arg) {
    ASSERT(done);
    ASSERT(!l->lead_done);
    ASSERT(epoch > 0);
    lead_stop(l);
    l->epoch = epoch;
    l->lead_done = done;
    l->lead_arg = arg;
    l->lead = LEAD_WANTED;
    log_touch(l);
}

struct canceled {
    log_lead_fn done;
    void *arg;
};

static void tell_canceled(void *arg) {
    struct canceled c = *(struct canceled *)arg;
    struct err err;

    free(arg);
    err_set(&err, RS_ECANCELED, "the lead was given up");
    c.done(c.arg, RS_ECANCELED, 0, &err);
}

void log_resign(struct log *l) {
    log_lead_fn done = TAKE(l->lead_done);

    lead_stop(l);
    if (done) {
        struct canceled *c = xnew(struct canceled);

        *c = (struct canceled){done, l->lead_arg};
        loop_post(l->node->p.loop, tell_canceled, c);
    }
    log_touch(l);
}
