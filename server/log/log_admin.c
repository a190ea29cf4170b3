/* SPDX-License-Identifier: Apache-2.0 */
/* Find-tail and trim: questions to all members of nodesets, gathered. */
#include <inttypes.h>
#include "log/log_internal.h"

enum ask_kind { ASK_TAIL, ASK_TRIM };
struct ask;
struct question { /* to one member about one segment */
    union {
        struct ls_req h;
        struct ls_info info;
        struct ls_trim trim;
    } u;
    struct ask *ask;
    uint32_t member;
};

struct ask {
    struct list link;
    struct log *log; /* NULL: closed meanwhile, or answered */
    enum ask_kind kind;
    uint32_t under_way;
    struct quorum quorum;
    struct quorum_mask answered;
    enum ls_status refused; /* what a member said that did not answer LS_OK */
    /* tail */
    uint32_t sequencer;
    lsn_t base, tail;
    log_tail_fn tail_done;
    /* trim */
    lsn_t upto;
    struct chain_op op;
    bool op_running;
    int status;
    struct err err;
    log_done_fn trim_done;
    void *arg;
    size_t n;
    struct question *questions;
};

static void ask_release(struct ask *a) {
    if (a->log || a->under_way)
        return;
    free(a->questions);
    free(a);
}

static void ask_close(struct ask *a) {
    list_remove(&a->link);
    if (a->op_running)
        chain_writer_cancel(&a->log->node->chains, &a->op);
    a->op_running = false;
    a->log = NULL;
}

void asks_drop(struct log *l) {
    LIST_FOREACH_SAFE (e, &l->asks) {
        struct ask *a = LIST_ENTRY(e, struct ask, link);

        ask_close(a);
        ask_release(a);
    }
}

static struct ask *ask_new(struct log *l, enum ask_kind kind, void *arg, size_t questions) {
    struct ask *a = xnew(struct ask);

    a->log = l;
    a->kind = kind;
    a->arg = arg;
    a->questions = xnewn(struct question, questions + 1);
    list_push_back(&l->asks, &a->link);
    return a;
}

/* ---- find tail ---- */

static void tail_finish(struct ask *a, int status, const struct err *err) {
    lsn_t tail = MAX(a->tail, a->log->committed);

    ask_close(a);
    a->tail_done(a->arg, status, status == 0 ? tail : 0, err);
    ask_release(a);
}

static void tail_known(void *arg) {
    struct ask *a = arg;

    a->under_way--;
    if (a->log)
        tail_finish(a, 0, NULL);
    else
        ask_release(a);
}

/* Its node knows best what is committed. */
static bool waits_for_sequencer(const struct ask *a) {
    const int i = quorum_index(&a->quorum, a->sequencer);

    return i >= 0 && a->under_way && !quorum_mask_has(&a->answered, (uint32_t)i) &&
           log_router_alive(&a->log->node->router, a->sequencer);
}

static void tail_answered(struct ls_req *req, const struct ls_reply *reply) {
    struct question *q = CONTAINER_OF(req, struct question, u.h);
    struct ask *a = q->ask;
    struct err err;

    a->under_way--;
    if (!a->log) {
        ask_release(a);
        return;
    }
    if (reply->status == LS_OK) {
        lsn_t seen = a->base + MAX(reply->local_tail, reply->global_tail) - 1;

        quorum_mask_set(&a->answered, q->member);
        a->tail = MAX(a->tail, seen);
        log_tail_told(a->log, req->loglet_id, reply->global_tail);
    }
    if (quorum_f_passes(quorum_f_majority(&a->quorum, &a->answered)) && !waits_for_sequencer(a)) {
        tail_finish(a, 0, NULL);
    } else if (a->under_way == 0) {
        err_set(&err, RS_EAGAIN, "log %" PRIu32 ": not enough log-servers answer to determine the tail", a->log->id);
        tail_finish(a, RS_EAGAIN, &err);
    }
}

void log_find_tail(struct log *l, log_tail_fn done, void *arg) {
    const struct chain *c = log_chain(l);
    const struct segment *tail = c ? chain_tail(c) : NULL;
    struct ask *a = ask_new(l, ASK_TAIL, arg, NODESET_MAX);

    a->tail_done = done;
    a->tail = LSN_OLDEST;
    if (!tail || tail->kind == SEGMENT_SEALED || (l->seq && l->loglet == tail->params.loglet_id)) {
        a->tail = log_committed_tail(l);
        a->under_way = 1;
        loop_post(l->node->p.loop, tail_known, a);
        return;
    }
    a->base = tail->base;
    a->sequencer = tail->params.sequencer.id;
    quorum_init(&a->quorum, l->node->nodes, tail->params.replication, tail->params.nodes, tail->params.n_nodes);
    a->under_way = tail->params.n_nodes;
    for (uint32_t i = 0; i < tail->params.n_nodes; i++) {
        struct question *q = &a->questions[i];

        q->ask = a;
        q->member = i;
        q->u.h = (struct ls_req){.kind = LS_INFO, .loglet_id = tail->params.loglet_id, .done = tail_answered};
    }
    for (uint32_t i = 0; i < a->quorum.n; i++)
        log_router_submit(&l->node->router, a->quorum.members[i].node, &a->questions[i].u.h);
}

/* ---- trim ---- */

static void trim_finish(struct ask *a) {
    struct err err = a->err;
    int status = a->status;

    ask_close(a);
    if (a->trim_done)
        a->trim_done(a->arg, status, status < 0 ? &err : NULL);
    ask_release(a);
}

static void chain_trimmed(struct chain_op *op, int status, const struct err *err) {
    struct ask *a = CONTAINER_OF(op, struct ask, op);

    a->op_running = false;
    if (status < 0 && status != RS_ENOENT) {
        a->status = status;
        a->err = *err;
    }
    trim_finish(a);
}

/* A write quorum confirmed: whole segments leave the chain. */
static void trim_chain(struct ask *a) {
    const struct chain *c = log_chain(a->log);

    if (a->status < 0 || !c || c->n < 2 || c->segments[1].base > a->upto + 1) {
        trim_finish(a);
        return;
    }
    a->op = (struct chain_op){.kind = CHAIN_TRIM, .log_id = a->log->id, .lsn = a->upto, .done = chain_trimmed};
    a->op_running = true;
    chain_writer_submit(&a->log->node->chains, &a->op);
}

static void trim_nothing(void *arg) {
    struct ask *a = arg;

    a->under_way--;
    if (a->log)
        trim_chain(a);
    else
        ask_release(a);
}

static void trim_answered(struct ls_req *req, const struct ls_reply *reply) {
    struct question *q = CONTAINER_OF(req, struct question, u.h);
    struct ask *a = q->ask;

    a->under_way--;
    if (reply->status == LS_OK)
        quorum_mask_set(&a->answered, q->member);
    else
        a->refused = reply->status;
    if (a->under_way)
        return;
    if (a->log && !quorum_is_write(&a->quorum, &a->answered)) /* the others are told by the next trim */
        a->status =
            err_set(&a->err, a->refused == LS_DISABLED ? RS_EIO : RS_EAGAIN,
                    "log %" PRIu32 ": a log-server answers %s to a trim", a->log->id, ls_status_str(a->refused));
    if (a->log)
        trim_chain(a);
    else
        ask_release(a);
}

/* The segment that keeps some of its records; those before it leave the chain, and log-servers forget what has no
 * chain, also those that cannot be asked now. NULL: no segment has to be trimmed. */
static const struct segment *trim_segment(const struct chain *c, lsn_t upto) {
    for (size_t i = 0; i < c->n; i++) {
        const struct segment *s = &c->segments[i];

        if (s->kind == SEGMENT_SEALED || s->base > upto)
            return NULL;
        if (i + 1 == c->n || s[1].base > upto + 1)
            return s;
    }
    return NULL;
}

static bool trim_needed(const struct log *l, const struct segment_params *p, uint32_t offset) {
    struct ls_reply reply;
    uint32_t trimmed;

    if (p->n_nodes > 1 || p->nodes[0] != l->node->p.self.id || !l->node->p.server)
        return true;
    log_server_peek(l->node->p.server, p->loglet_id, &reply, &trimmed);
    return offset > trimmed;
}

void log_trim(struct log *l, lsn_t upto, log_done_fn done, void *arg) {
    const struct chain *c = log_chain(l);
    struct ask *a = ask_new(l, ASK_TRIM, arg, NODESET_MAX);
    const struct segment *s;
    uint32_t offset = 0;

    a->trim_done = done;
    a->upto = MIN(upto, log_committed_tail(l) - 1);
    s = c ? trim_segment(c, a->upto) : NULL;
    if (s)
        offset = (uint32_t)(a->upto - s->base + 1);
    if (!s || !trim_needed(l, &s->params, offset)) {
        a->under_way = 1;
        loop_post(l->node->p.loop, trim_nothing, a);
        return;
    }
    quorum_init(&a->quorum, l->node->nodes, s->params.replication, s->params.nodes, s->params.n_nodes);
    a->n = a->quorum.n;
    a->under_way = (uint32_t)a->n;
    for (uint32_t i = 0; i < a->n; i++) {
        struct question *q = &a->questions[i];

        q->ask = a;
        q->member = i;
        q->u.trim = (struct ls_trim){.h = {.kind = LS_TRIM, .loglet_id = s->params.loglet_id, .done = trim_answered},
                                     .trim_point = offset};
        if (s == chain_tail(c))
            q->u.h.global_tail = (uint32_t)(log_committed_tail(l) - s->base + 1);
    }
    for (uint32_t i = 0; i < a->n; i++)
        log_router_submit(&l->node->router, a->quorum.members[i].node, &a->questions[i].u.h);
}

lsn_t log_trim_point(const struct log *l) {
    const struct chain *c = log_chain(l);
    lsn_t point;

    if (!c)
        return LSN_INVALID;
    point = c->segments[0].base - 1;
    for (size_t i = 0; i < c->n && l->node->p.server; i++) {
        struct ls_reply reply;
        uint32_t trimmed;

        if (c->segments[i].kind == SEGMENT_SEALED)
            break;
        log_server_peek(l->node->p.server, c->segments[i].params.loglet_id, &reply, &trimmed);
        if (trimmed)
            point = MAX(point, c->segments[i].base + trimmed - 1);
    }
    return point;
}
