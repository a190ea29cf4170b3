/* SPDX-License-Identifier: Apache-2.0 */
/* Closing a chain without extending it: for operators, and for readers of a segment whose leader died while somebody
 * was sealing it (spec cluster.md §12): what it acknowledged last becomes readable only when the chain says where the
 * segment ends. */
#include <inttypes.h>
#include "log/log_internal.h"

#define STUCK_NS 5000000000u

struct seal {
    struct list link; /* of the log's seals; unlinked: its log is closed */
    struct log *log;
    struct recover *recover;
    uint64_t loglet_id; /* being recovered */
    struct chain_op op;
    bool op_running;
    bool permanent;
    char *reason;
    struct loop_task answer;
    bool answering;
    int status;
    lsn_t tail;
    log_tail_fn done;
    void *arg;
};

static void seal_free(struct seal *s) {
    free(s->reason);
    free(s);
}

static void seal_answer(void *arg) {
    struct seal *s = arg;
    struct err err = {0};

    if (s->log) {
        list_remove(&s->link);
        if (s->status < 0)
            err_set(&err, s->status, "log %" PRIu32 " cannot be sealed now: its chain changed, or does not exist",
                    s->log->id);
        if (s->done)
            s->done(s->arg, s->status, s->tail, s->status < 0 ? &err : NULL);
    }
    seal_free(s);
}

static void seal_finish(struct seal *s, int status, lsn_t tail) {
    s->status = status;
    s->tail = tail;
    s->answering = true;
    s->answer = (struct loop_task){.fn = seal_answer, .arg = s};
    loop_post_task(s->log->node->p.loop, &s->answer);
}

static void on_marked(struct chain_op *op, int status, const struct err *err) {
    struct seal *s = CONTAINER_OF(op, struct seal, op);

    s->op_running = false;
    chain_op_done(op);
    seal_finish(s, status, op->tail);
}

static void mark(struct seal *s, uint32_t index, lsn_t lsn) {
    struct chain_op *op = &s->op;

    *op =
        (struct chain_op){.kind = CHAIN_SEAL, .log_id = s->log->id, .last_index = index, .lsn = lsn, .done = on_marked};
    op->segment.created_at_ms = loop_wall_ns(s->log->node->p.loop) / 1000000u;
    op->segment.permanent = s->permanent;
    op->segment.reason = s->reason ? xstrdup(s->reason) : NULL;
    s->op_running = true;
    chain_writer_submit(&s->log->node->chains, op);
}

static void on_recovered(void *arg, int status, uint32_t tail, const struct err *err) {
    struct seal *s = arg;
    const struct chain *c = log_chain(s->log);

    s->recover = NULL;
    if (status < 0)
        seal_finish(s, status, LSN_INVALID);
    else if (!c || chain_tail(c)->kind != SEGMENT_REPLICATED || chain_tail(c)->params.loglet_id != s->loglet_id)
        seal_finish(s, RS_EAGAIN, LSN_INVALID);
    else
        mark(s, chain_tail(c)->index, chain_tail(c)->base + tail - 1);
}

void log_seal(struct log *l, bool permanent, const char *reason, log_tail_fn done, void *arg) {
    const struct chain *c = log_chain(l);
    const struct segment *tail = c ? chain_tail(c) : NULL;
    struct seal *s = xnew(struct seal);
    struct quorum *q;

    s->log = l;
    s->permanent = permanent;
    s->reason = reason ? xstrdup(reason) : NULL;
    s->done = done;
    s->arg = arg;
    list_push_back(&l->seals, &s->link);
    if (!tail) {
        seal_finish(s, RS_ENOENT, LSN_INVALID);
    } else if (tail->kind == SEGMENT_SEALED) {
        seal_finish(s, 0, tail->base);
    } else {
        q = xnew(struct quorum);
        quorum_init(q, l->node->nodes, tail->params.replication, tail->params.nodes, tail->params.n_nodes);
        s->loglet_id = tail->params.loglet_id;
        s->recover = recover_start(&l->node->router, q, &tail->params, log_open_tail(l, tail), on_recovered, s);
        free(q);
    }
}

void seals_chain_changed(struct log *l) {
    const struct chain *c = log_chain(l);
    const struct segment *tail = c ? chain_tail(c) : NULL;

    LIST_FOREACH (e, &l->seals) {
        struct seal *s = LIST_ENTRY(e, struct seal, link);

        if (!s->recover || (tail && tail->kind == SEGMENT_REPLICATED && tail->params.loglet_id == s->loglet_id))
            continue;
        s->recover = recover_cancel(s->recover);
        seal_finish(s, tail && tail->kind == SEGMENT_SEALED ? 0 : RS_EAGAIN, tail ? tail->base : LSN_INVALID);
    }
}

void seals_nodes_changed(struct log *l) {
    LIST_FOREACH (e, &l->seals) {
        struct seal *s = LIST_ENTRY(e, struct seal, link);

        if (s->recover)
            recover_nodes_changed(s->recover, l->node->nodes);
    }
}

void seals_drop(struct log *l) {
    LIST_FOREACH_SAFE (e, &l->seals) {
        struct seal *s = LIST_ENTRY(e, struct seal, link);

        s->recover = recover_cancel(s->recover);
        if (s->op_running) {
            chain_writer_cancel(&l->node->chains, &s->op);
            chain_op_done(&s->op);
        }
        list_remove(&s->link);
        s->log = NULL;
        if (!s->answering)
            seal_free(s);
    }
}

void log_seal_stuck(struct log *l, uint64_t loglet_id) {
    uint64_t now = loop_now_ns(l->node->p.loop);

    if (!l->stuck_until_ns || l->stuck_loglet != loglet_id) {
        l->stuck_loglet = loglet_id;
        l->stuck_until_ns = now + STUCK_NS / 2 + loop_random_u64(l->node->p.loop) % STUCK_NS;
    } else if (now >= l->stuck_until_ns && list_empty(&l->seals) && l->lead == LEAD_NONE) {
        log_seal(l, false, "a reader found the segment sealed and nobody leading", NULL, NULL);
    }
}
