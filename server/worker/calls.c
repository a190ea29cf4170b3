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
    free(a); /* leadership lost: the routes know what to do */
}

static void look_again(struct partition *p, struct worker_call *c);

/* A call that waits for a row. */
struct look_again {
    struct partition *p;
    uint8_t request_id[16];
};

static void after_cold(void *arg, int status, const struct err *err) {
    struct look_again *l = arg;
    struct worker_call *c = worker_call_find(l->p->w, l->request_id);

    if (c && l->p->role == PARTITION_LEADER && c->where == CALL_LOCAL)
        look_again(l->p, c);
    free(l);
}

static struct look_again *look_again_new(struct partition *p, const struct worker_call *c) {
    struct look_again *l = xnew(struct look_again);

    l->p = p;
    memcpy(l->request_id, c->request_id, sizeof l->request_id);
    return l;
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
    if (r == 0)
        r = invocation_id_from_raw(m.id, &reply.id, &err);
    if (r == 0)
        r = tables_output(&p->rows, &reply.id, &p->scratch, &status, &result, &reply.expiry_ms, &err);
    if (r == RS_EAGAIN) {
        partition_read_cold(p, after_cold, look_again_new(p, c));
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

/* ---- the deployment of resume and restart: resolved against the leader's schema of now, before the log (§14.2) ----
 */

/* @service: of the invocation, for "latest"; data NULL: it has no row, the state machine will say so. */
static void resolve(const struct schema *schema, struct slice wanted, struct slice service,
                    struct cmd_deployment_patch *ret) {
    const struct deployment *d;

    *ret = (struct cmd_deployment_patch){.outcome = PATCH_KEEP};
    if (wanted.len == 0 || slice_eq_str(wanted, "keep") || slice_eq_str(wanted, "Keep"))
        return;
    if (slice_eq_str(wanted, "latest") || slice_eq_str(wanted, "Latest")) {
        const struct service *s = service.data ? schema_service(schema, service) : NULL;

        d = s ? s->deployment : NULL;
        ret->latest = true;
    } else {
        d = schema_deployment(schema, wanted);
    }
    ret->outcome = PATCH_NOT_FOUND;
    if (!d)
        return;
    ret->outcome = PATCH_USE;
    ret->deployment = slice_str(d->id);
    ret->min_protocol = d->min_protocol;
    ret->max_protocol = d->max_protocol;
}

static int resolve_for(struct partition *p, struct slice raw_id, const struct cmd_deployment_patch *wanted,
                       struct cmd_deployment_patch *ret) {
    struct cmd_invocation_body body = {0};
    struct invocation_id id;
    bool latest = slice_eq_str(wanted->deployment, "latest") || slice_eq_str(wanted->deployment, "Latest");
    int r = invocation_id_from_raw(raw_id, &id, NULL);

    if (r == 0 && latest)
        r = tables_body(&p->rows, &id, &p->scratch, &body, NULL);
    if (r == RS_EAGAIN)
        return r;
    resolve(worker_schema(p->w), wanted->deployment, r == 0 && body.target ? body.target->service : SLICE_NULL, ret);
    return 0;
}

/* The command as it goes to the log; RS_EAGAIN: a row is cold. */
static int resolved_command(struct partition *p, const struct worker_call *c, struct buf *out) {
    struct cmd_deployment_patch patch;
    struct cmd_resume resume;
    struct cmd_restart restart;
    int r;

    arena_clear(&p->scratch);
    if (c->op == WORKER_OP_RESUME) {
        r = cmd_resume_decode(&resume, buf_slice(&c->command), &p->scratch, NULL);
        if (r < 0 || !resume.patch)
            return RS_EINVAL;
        r = resolve_for(p, resume.id, resume.patch, &patch);
        resume.patch = &patch;
        if (r == 0)
            cmd_resume_encode(&resume, out);
        return r;
    }
    r = cmd_restart_decode(&restart, buf_slice(&c->command), &p->scratch, NULL);
    if (r < 0 || !restart.patch)
        return RS_EINVAL;
    r = resolve_for(p, restart.id, restart.patch, &patch);
    restart.patch = &patch;
    if (r == 0)
        cmd_restart_encode(&restart, out);
    return r;
}

static void look_later(void *arg) {
    after_cold(arg, 0, NULL);
}

/* @first: inside the call that asked, which must not be answered by it. */
static void propose_resolved(struct partition *p, struct worker_call *c, bool first) {
    struct propose what = {.kind = c->kind, .mode = PROPOSE_SELF, .partition_key = c->partition_key};
    struct buf out = {0};
    int r = resolved_command(p, c, &out);

    what.payload = buf_slice(&out);
    if (r == RS_EAGAIN)
        partition_read_cold(p, after_cold, look_again_new(p, c));
    else if (r == 0)
        partition_propose(p, &what);
    else if (first)
        loop_post(worker_loop(p->w), look_later, look_again_new(p, c));
    else
        worker_call_answer(p->w, c, &(struct worker_reply){.code = WORKER_FAILED, .message = "not a valid command"});
    buf_done(&out);
}

/* ---- proposing ---- */

static void look_again(struct partition *p, struct worker_call *c) {
    if (c->op == WORKER_OP_OUTPUT)
        look_at_output(p, c);
    else
        propose_resolved(p, c, false);
}

void partition_call(struct partition *p, struct worker_call *c) {
    struct propose what = {
        .kind = c->kind, .mode = PROPOSE_SELF, .partition_key = c->partition_key, .payload = buf_slice(&c->command)};

    if (c->op == WORKER_OP_RESUME || c->op == WORKER_OP_RESTART) {
        propose_resolved(p, c, true);
        return;
    }
    if (c->op == WORKER_OP_OUTPUT) { /* never answered inside the call that asked */
        loop_post(worker_loop(p->w), look_later, look_again_new(p, c));
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

void partition_refuse_calls(struct partition *p) {
    worker_refuse_calls(p->route, WORKER_FAILED, p->error);
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
