/* SPDX-License-Identifier: Apache-2.0 */
/* worker/calls.c : how a leader handles the calls of ingress and admin (execution.md §20). */
#include "worker/partition_internal.h"

/* Answered when the record is committed and applied; found again by request id, because the caller may have gone. */
struct commit_answer {
    struct partition_waiter waiter;
    struct partition *p;
    uint8_t request_id[16];
};

static void on_committed(struct partition_waiter *w, int status) {
    struct commit_answer *a = CONTAINER_OF(w, struct commit_answer, waiter);
    struct worker_call *c = worker_call_find(a->p->w, a->request_id);

    if (c && status == 0)
        worker_call_answer(a->p->w, c, &(struct worker_reply){.code = WORKER_OK});
    free(a); /* leadership lost: the call is proposed again by the next leader */
}

static void look_at_output(struct partition *p, struct worker_call *c);

struct look_again {
    struct partition *p;
    uint8_t request_id[16];
};

static void after_cold(void *arg, int status, const struct err *err) {
    struct look_again *l = arg;
    struct worker_call *c = worker_call_find(l->p->w, l->request_id);

    if (c && l->p->role == PARTITION_LEADER)
        look_at_output(l->p, c);
    free(l);
}

/* Only the leader answers, from its own tables: no stale answers. */
static void look_at_output(struct partition *p, struct worker_call *c) {
    struct cmd_attach m;
    struct worker_reply reply = {.code = WORKER_OK};
    struct cmd_result result;
    enum inv_status status;
    struct err err = {0};
    int r;

    arena_clear(&p->scratch);
    r = cmd_attach_decode(&m, buf_slice(&c->command), &p->scratch, &err);
    ASSERT(r == 0);
    r = invocation_id_from_raw(m.id, &reply.id, &err);
    if (r == 0)
        r = tables_output(&p->rows, &reply.id, &p->scratch, &status, &result, &reply.expiry_ms, &err);
    if (r == RS_EAGAIN) {
        struct look_again *l = xnew(struct look_again);

        l->p = p;
        memcpy(l->request_id, c->request_id, sizeof l->request_id);
        partition_read_cold(p, after_cold, l);
        return;
    }
    if (r == RS_ENOENT)
        reply.code = WORKER_NOT_FOUND;
    else if (r < 0)
        reply = (struct worker_reply){.code = WORKER_FAILED, .id = reply.id, .message = err.msg};
    else if (status != INV_COMPLETED)
        reply.code = WORKER_NOT_READY;
    else
        reply.result = &result;
    worker_call_answer(p->w, c, &reply);
}

static void look_later(void *arg) {
    struct look_again *l = arg;

    after_cold(l, 0, NULL);
}

static void propose_call(struct partition *p, struct worker_call *c) {
    struct propose what = {
        .kind = c->kind, .mode = PROPOSE_SELF, .partition_key = c->partition_key, .payload = buf_slice(&c->command)};

    if (c->op == WORKER_OP_OUTPUT) { /* never answered inside the call that asked */
        struct look_again *l = xnew(struct look_again);

        l->p = p;
        memcpy(l->request_id, c->request_id, sizeof l->request_id);
        loop_post(worker_loop(p->w), look_later, l);
        return;
    }
    if (c->op == WORKER_OP_SIGNAL || c->op == WORKER_OP_PATCH_STATE) {
        struct commit_answer *a = xnew(struct commit_answer);

        a->p = p;
        memcpy(a->request_id, c->request_id, sizeof a->request_id);
        a->waiter.done = on_committed;
        what.waiter = &a->waiter;
        what.mode = PROPOSE_NONE; /* must survive a change of leader between commit and apply (§4.6) */
    }
    partition_propose(p, &what);
}

static void refuse_later(void *arg) {
    struct partition *p = arg;

    partition_refuse_calls(p);
}

void partition_call(struct partition *p, struct worker_call *c) {
    list_push_back(&p->calls, &c->link); /* until it is answered: a new leader proposes it again */
    if (p->role == PARTITION_LEADER)
        propose_call(p, c);
    else if (p->role == PARTITION_BROKEN)
        loop_post(worker_loop(p->w), refuse_later, p);
}

void partition_refuse_calls(struct partition *p) {
    struct worker_reply r = {.code = worker_stopping(p->w) ? WORKER_SHUTDOWN : WORKER_FAILED, .message = p->error};

    LIST_FOREACH_SAFE (e, &p->calls)
        worker_call_answer(p->w, LIST_ENTRY(e, struct worker_call, link), &r);
}

/* Everything that waits, in the order in which it came. */
void partition_start_calls(struct partition *p) {
    LIST_FOREACH (e, &p->calls)
        propose_call(p, LIST_ENTRY(e, struct worker_call, link));
}

/* Leadership was lost: what must not happen twice is answered, the rest waits for the next leader. */
void partition_fail_calls(struct partition *p) {
    LIST_FOREACH_SAFE (e, &p->calls) {
        struct worker_call *c = LIST_ENTRY(e, struct worker_call, link);

        if (c->op == WORKER_OP_RESTART || c->op == WORKER_OP_PATCH_STATE)
            worker_call_answer(p->w, c, &(struct worker_reply){.code = WORKER_LOST_LEADERSHIP});
    }
}

void partition_deliver(struct partition *p, uint32_t from, uint64_t seq, uint16_t kind, struct slice payload,
                       uint64_t partition_key, struct partition_waiter *w) {
    partition_propose(p, &(struct propose){.kind = kind,
                                           .mode = PROPOSE_FOREIGN,
                                           .partition_key = partition_key,
                                           .payload = payload,
                                           .from = from,
                                           .seq = seq,
                                           .waiter = w});
}
