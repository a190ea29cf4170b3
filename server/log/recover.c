/* SPDX-License-Identifier: Apache-2.0 */
#include "log/recover.h"

#include <inttypes.h>
#include "log/repair.h"

#define RETRY_NS 100000000u
#define RETRY_MAX_NS 2000000000u

struct ask { /* one member */
    struct ls_seal req;
    struct recover *r;
    uint32_t member;
    uint32_t local_tail;
    bool under_way;
};

struct recover {
    struct log_router *router;
    struct quorum quorum;
    uint64_t loglet_id;
    struct node_id sequencer;
    uint32_t global_tail;
    struct quorum_mask sealed, disabled;
    struct timer retry;
    uint64_t backoff_ns;
    uint32_t under_way;
    struct repair *repair; /* under way */
    uint32_t proposed;     /* the tail it is about */
    bool repair_later;     /* it failed: not before the timer */
    bool over;             /* cancelled or answered: lives only for the answers under way */
    recover_fn done;
    void *arg;
    struct ask asks[];
};

static void sealed(struct ls_req *req, const struct ls_reply *reply);
static void check(struct recover *r);

static void ask_all(struct recover *r) {
    for (uint32_t i = 0; i < r->quorum.n; i++) {
        struct ask *a = &r->asks[i];

        if (a->under_way || quorum_mask_has(&r->sealed, i) || quorum_mask_has(&r->disabled, i) ||
            !r->quorum.members[i].candidate)
            continue;
        a->req = (struct ls_seal){
            .h = {.kind = LS_SEAL, .loglet_id = r->loglet_id, .global_tail = r->global_tail, .done = sealed},
            .sequencer = r->sequencer};
        a->under_way = true;
        r->under_way++;
        log_router_submit(r->router, r->quorum.members[i].node, &a->req.h);
    }
}

/* Is an answer under way from somebody who is not said to be dead? */
static bool more_to_come(const struct recover *r) {
    for (uint32_t i = 0; i < r->quorum.n; i++)
        if (r->asks[i].under_way && log_router_alive(r->router, r->quorum.members[i].node))
            return true;
    return false;
}

static void retry(void *arg) {
    struct recover *r = arg;

    r->repair_later = false;
    ask_all(r);
    if (!more_to_come(r)) /* all members answered before: nothing is left but to repair again */
        check(r);
}

static void release(struct recover *r) {
    if (r->over && r->under_way == 0)
        free(r);
}

static void finish(struct recover *r, int status, uint32_t tail, const struct err *err) {
    r->over = true;
    r->repair = repair_cancel(r->repair);
    timer_stop(r->router->loop, &r->retry);
    r->done(r->arg, status, tail, err);
}

static void again_later(struct recover *r) {
    r->backoff_ns = r->backoff_ns ? r->backoff_ns * 2 : RETRY_NS;
    if (r->backoff_ns > RETRY_MAX_NS)
        r->backoff_ns = RETRY_MAX_NS;
    timer_set(r->router->loop, &r->retry, r->backoff_ns);
}

static void repaired(void *arg, int status) {
    struct recover *r = arg;

    r->repair = NULL;
    if (status == 0)
        finish(r, 0, r->proposed, NULL);
    else {
        r->repair_later = true;
        again_later(r);
    }
    release(r);
}

static void repair(struct recover *r, uint32_t tail) {
    if (r->repair || r->repair_later)
        return;
    timer_stop(r->router->loop, &r->retry);
    r->proposed = tail;
    r->repair = repair_start(&(struct repair_params){.router = r->router,
                                                     .quorum = &r->quorum,
                                                     .members = &r->sealed,
                                                     .loglet_id = r->loglet_id,
                                                     .sequencer = r->sequencer,
                                                     .from = r->global_tail,
                                                     .until = tail},
                             repaired, r);
}

/* An f-majority is sealed: T is the largest local tail among them. Nothing of [global tail, T) may be lost if it was
 * acknowledged, so all of it must be on a write quorum before the chain says T; or where members lost their records for
 * good, on all others: waiting would not bring a copy back, and only a closed segment lets the log go on elsewhere. */
static void check(struct recover *r) {
    struct quorum_mask holders = {{0}}, possible = {{0}};
    uint32_t tail = r->global_tail;
    bool disabled = false;

    for (uint32_t i = 0; i < r->quorum.n; i++) {
        if (quorum_mask_has(&r->sealed, i))
            tail = MAX(tail, r->asks[i].local_tail);
        if (!quorum_mask_has(&r->disabled, i))
            quorum_mask_set(&possible, i);
        else
            disabled = true;
    }
    if (quorum_f_passes(quorum_f_majority(&r->quorum, &r->sealed))) {
        for (uint32_t i = 0; i < r->quorum.n; i++)
            if (quorum_mask_has(&r->sealed, i) && r->asks[i].local_tail >= tail)
                quorum_mask_set(&holders, i);
        if (tail <= r->global_tail || quorum_is_all_there_is(&r->quorum, &holders)) {
            finish(r, 0, tail, NULL);
            return;
        }
        if (!more_to_come(r))
            repair(r, tail);
        return;
    } else if (disabled && !quorum_f_passes(quorum_f_majority(&r->quorum, &possible))) {
        struct err err;

        err_set(&err, RS_EIO, "log %" PRIu32 ", segment %" PRIu32 ": its log-servers do not accept writes",
                loglet_id_log(r->loglet_id), loglet_id_index(r->loglet_id));
        finish(r, RS_EIO, 0, &err);
        return;
    }
    if (!timer_armed(&r->retry)) /* also while others keep me waiting: who failed may be back */
        again_later(r);
}

static void sealed(struct ls_req *req, const struct ls_reply *reply) {
    struct ask *a = CONTAINER_OF(CONTAINER_OF(req, struct ls_seal, h), struct ask, req);
    struct recover *r = a->r;

    a->under_way = false;
    r->under_way--;
    if (reply->status == LS_OK && reply->sealed) {
        quorum_mask_set(&r->sealed, a->member);
        a->local_tail = reply->local_tail;
        r->global_tail = MAX(r->global_tail, reply->global_tail);
    } else if (reply->status == LS_DISABLED) {
        quorum_mask_set(&r->disabled, a->member);
    }
    if (!r->over)
        check(r);
    release(r);
}

struct recover *recover_start(struct log_router *router, const struct quorum *quorum,
                              const struct segment_params *segment, uint32_t global_tail, recover_fn done, void *arg) {
    struct recover *r = xcalloc(1, sizeof *r + quorum->n * sizeof r->asks[0]);

    r->router = router;
    r->quorum = *quorum;
    r->loglet_id = segment->loglet_id;
    r->sequencer = segment->sequencer;
    r->global_tail = MAX(global_tail, 1u);
    r->done = done;
    r->arg = arg;
    timer_init(&r->retry, retry, r);
    for (uint32_t i = 0; i < quorum->n; i++) {
        r->asks[i].r = r;
        r->asks[i].member = i;
    }
    ask_all(r);
    return r;
}

void recover_nodes_changed(struct recover *r, const struct nodes_config *c) {
    uint32_t nodes[NODESET_MAX];

    for (uint32_t i = 0; i < r->quorum.n; i++)
        nodes[i] = r->quorum.members[i].node;
    quorum_init(&r->quorum, c, r->quorum.replication, nodes, r->quorum.n);
    if (!r->over)
        timer_set(r->router->loop, &r->retry, 0);
}

struct recover *recover_cancel(struct recover *r) {
    if (!r)
        return NULL;
    r->over = true;
    r->repair = repair_cancel(r->repair);
    timer_stop(r->router->loop, &r->retry);
    release(r);
    return NULL;
}
