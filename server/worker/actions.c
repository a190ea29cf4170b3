/* SPDX-License-Identifier: Apache-2.0 */
/* worker/actions.c : what a leader does after records were applied, and how it starts from its tables. */
#include "worker/partition_internal.h"
#include "base/logging.h"
#include "meta/nodes_config.h"
#include "tracing/spans.h"

enum { JOURNAL_POINT_READS = 16, READ_ENOUGH = 100 };

static void after_cold(void *arg, int status, const struct err *err);

/* ---- answers ---- */

static void answer(struct partition *p, const uint8_t request_id[16], const struct worker_reply *r) {
    struct worker_call *c = worker_call_find(p->w, request_id);

    if (c)
        worker_call_answer(p->w, c, r);
}

static enum worker_reply_code code_of_outcome(enum sm_outcome o) {
    switch (o) {
    case SM_OK:
    case SM_DONE:
    case SM_ACCEPTED:
        return WORKER_OK;
    case SM_APPENDED:
        return WORKER_APPENDED;
    case SM_ALREADY_PAUSED:
        return WORKER_ALREADY_PAUSED;
    case SM_NOT_FOUND:
        return WORKER_NOT_FOUND;
    case SM_ALREADY_COMPLETED:
    case SM_COMPLETED:
        return WORKER_ALREADY_COMPLETED;
    case SM_NOT_COMPLETED:
        return WORKER_NOT_COMPLETED;
    case SM_NOT_RUNNING:
        return WORKER_NOT_RUNNING;
    case SM_NOT_STARTED:
        return WORKER_NOT_STARTED;
    case SM_STILL_RUNNING:
        return WORKER_STILL_RUNNING;
    case SM_DEPLOYMENT_NOT_FOUND:
        return WORKER_DEPLOYMENT_NOT_FOUND;
    case SM_INCOMPATIBLE_DEPLOYMENT:
        return WORKER_INCOMPATIBLE_DEPLOYMENT;
    case SM_CANNOT_CHANGE_DEPLOYMENT:
        return WORKER_CANNOT_CHANGE_DEPLOYMENT;
    case SM_MISSING_INPUT:
        return WORKER_MISSING_INPUT;
    case SM_JOURNAL_INDEX_OUT_OF_RANGE:
        return WORKER_INDEX_OUT_OF_RANGE;
    case SM_JOURNAL_COPY_RANGE_INVALID:
        return WORKER_PREFIX_INCOMPLETE;
    case SM_UNSUPPORTED:
        return WORKER_UNSUPPORTED;
    }
    return WORKER_FAILED;
}

/* ---- running actions ---- */

static void trace(struct partition *p, const struct sm_action *a) {
    struct tracer *t = worker_tracer(p->w);
    struct trace_invocation i = {&a->id, a->trace.service, a->trace.key, a->trace.handler};

    if (t && a->type == SM_ACTION_TRACE_START)
        trace_invocation_start(t, a->trace.context, &i, a->trace.created_ms);
    else if (t)
        trace_invocation_end(t, a->trace.context, &i, a->trace.created_ms, a->trace.code);
}

static void run_action(struct partition *p, const struct sm_action *a) {
    struct invoker *inv = worker_invoker(p->w);

    switch (a->type) {
    case SM_ACTION_INVOKE:
        invoker_invoke(inv, &p->owner, &a->id, a->lsn);
        break;
    case SM_ACTION_ABORT:
        invoker_abort(inv, &p->owner, &a->id);
        break;
    case SM_ACTION_RETRY_NOW:
        invoker_retry_now(inv, &p->owner, &a->id);
        break;
    case SM_ACTION_ACK_COMMAND:
        invoker_ack(inv, &p->owner, &a->id, a->ack.command_index);
        break;
    case SM_ACTION_FORWARD_NOTIFICATION:
        invoker_notify(inv, &p->owner, &a->id, a->forward.entry_index, (uint16_t)a->forward.type, a->forward.payload);
        break;
    case SM_ACTION_NEW_OUTBOX:
        shuffle_added(p, a->seq);
        break;
    case SM_ACTION_REGISTER_TIMER:
        leader_timers_added(p, &a->timer);
        break;
    case SM_ACTION_INGRESS_RESPONSE:
        answer(p, a->request_id,
               &(struct worker_reply){
                   .code = WORKER_OK, .id = a->id, .result = &a->response.result, .expiry_ms = a->response.expiry_ms});
        break;
    case SM_ACTION_INGRESS_SUBMITTED:
        answer(p, a->request_id,
               &(struct worker_reply){.code = WORKER_OK,
                                      .id = a->id,
                                      .is_new = a->submitted.is_new,
                                      .execution_time_ms = a->submitted.execution_time_ms});
        break;
    case SM_ACTION_ADMIN_RESPONSE:
        answer(p, a->request_id,
               &(struct worker_reply){.code = code_of_outcome(a->admin.outcome),
                                      .id = a->admin.op == SM_OP_RESTART ? a->admin.new_id : a->id});
        break;
    case SM_ACTION_DURABILITY:
        durability_applied(p, a->durability.lsn, a->durability.time_ms);
        break;
    case SM_ACTION_TRACE_START:
    case SM_ACTION_TRACE_END:
        trace(p, a);
        break;
    case SM_ACTION_LEADER_ANNOUNCED: /* handled before */
    case SM_ACTION_OUTBOX_TRUNCATED: /* the shuffle proposed it */
    case SM_ACTION_DELETE_TIMER:     /* the scan position is ahead of it */
    case SM_ACTION_VERSION_BARRIER:  /* nothing to start */
    case SM_ACTION_CHECKSUM:         /* compared between replicas: there is one */
        break;
    }
}

static void announced(struct partition *p, const struct sm_action *a) {
    struct node_id leader;

    if (a->leader.epoch == p->epoch && p->role == PARTITION_CANDIDATE && !p->claiming) {
        route_hint(p->route, p->epoch, worker_self(p->w));
        partition_lead(p);
        return;
    }
    partition_seen_epoch(p, a->leader.epoch);
    if (node_id_parse(a->leader.node, &leader) == 0)
        route_hint(p->route, a->leader.epoch, leader);
}

void partition_run_actions(struct partition *p) {
    size_t from = 0;

    for (size_t i = 0; i < p->actions.n; i++) {
        const struct sm_action *a = &p->actions.items[i];

        if (a->type != SM_ACTION_LEADER_ANNOUNCED)
            continue;
        from = i + 1; /* what came before is covered by the scan of the tables */
        announced(p, a);
    }
    if (p->role == PARTITION_LEADER)
        for (size_t i = from; i < p->actions.n; i++)
            run_action(p, &p->actions.items[i]);
    sm_actions_clear(&p->actions);
}

/* ---- the invoker's view of this partition ---- */

struct reading {
    uint32_t until;
    invoker_entry_fn entry;
    void *arg;
};

static int read_entry_row(void *arg, const struct journal_entry *e) {
    struct reading *rd = arg;

    if (e->index >= rd->until)
        return READ_ENOUGH;
    return rd->entry(rd->arg, e->index, e->type, e->payload);
}

/* Short journals, the common case, are in the overlay: point reads find them there, a scan would have to ask the engine
 * as well. */
static int read_journal(struct partition *p, const struct invocation_id *id, uint32_t from, struct reading *rd,
                        struct err *err) {
    int r = 0;

    if (rd->until - from > JOURNAL_POINT_READS) {
        r = tables_journal(&p->rows, id, from, read_entry_row, rd, err);
        return r == READ_ENOUGH ? 0 : r;
    }
    for (uint32_t i = from; r == 0 && i < rd->until; i++) {
        struct journal_entry e;

        r = tables_journal_entry(&p->rows, id, i, &e, err);
        if (r == 0)
            r = read_entry_row(rd, &e);
        else if (r == RS_ENOENT)
            r = err_set(err, RS_ECORRUPT, "journal entry %u of %u is missing", i, rd->until);
    }
    return r;
}

/* What a cold read was for, see after_cold(). */
struct cold_attempt {
    struct partition *p;
    struct invocation_id id;
};

static void after_cold(void *arg, int status, const struct err *err) {
    struct cold_attempt *c = arg;

    if (c->p->role == PARTITION_LEADER)
        invoker_read_again(worker_invoker(c->p->w), &c->p->owner, &c->id);
    free(c);
}

static int read_cold(struct partition *p, const struct invocation_id *id) {
    struct cold_attempt *c = xnew(struct cold_attempt);

    c->p = p;
    c->id = *id;
    partition_read_cold(p, after_cold, c);
    return RS_EAGAIN;
}

static int owner_entries(struct invoker_owner *o, const struct invocation_id *id, uint32_t from, uint32_t until,
                         invoker_entry_fn entry, void *arg, struct err *err) {
    struct partition *p = CONTAINER_OF(o, struct partition, owner);
    struct reading rd = {.until = until, .entry = entry, .arg = arg};
    int r = read_journal(p, id, from, &rd, err);

    return r == RS_EAGAIN ? read_cold(p, id) : r;
}

int partition_owner_read(struct invoker_owner *o, const struct invocation_id *id, const struct invoker_read_events *ev,
                         void *arg, struct err *err) {
    struct partition *p = CONTAINER_OF(o, struct partition, owner);
    struct cmd_invocation_body body;
    struct inv_header h;
    bool want_state = false;
    int r;

    arena_clear(&p->scratch);
    r = tables_status(&p->rows, id, &p->scratch, &h, err);
    if (r == 0 && h.status != INV_INVOKED)
        return RS_ENOENT;
    if (r == 0)
        r = tables_body(&p->rows, id, &p->scratch, &body, err);
    if (r == 0) {
        struct invoker_journal_head head = {.target = body.target,
                                            .deployment = h.protocol ? h.deployment : SLICE_NULL,
                                            .protocol = h.protocol,
                                            .entries = h.journal_length,
                                            .commands = h.command_count,
                                            .modified_ms = h.modified_ms,
                                            .random_seed = h.has_random_seed ? h.random_seed : invocation_id_seed(id),
                                            .idempotency_key = body.hidden_key ? SLICE_NULL : body.idempotency_key,
                                            .start_lsn = h.start_lsn,
                                            .trace = body.trace};

        r = ev->head(arg, &head, &want_state);
        if (r)
            return r;
        if (want_state) {
            struct object_key k = object_key_of(body.target, id);

            r = tables_state(&p->rows, &k, ev->state, arg, err);
            if (r > 0)
                r = 0;
        }
    }
    return r == RS_EAGAIN ? read_cold(p, id) : r;
}

static void owner_effects(struct invoker_owner *o, const struct invocation_id *id, uint64_t start_lsn,
                          const struct cmd_effect *effects, size_t n) {
    struct partition *p = CONTAINER_OF(o, struct partition, owner);
    struct cmd_invoker_effect m = {
        .id = invocation_id_slice(id), .effects = effects, .n_effects = n, .start_lsn = start_lsn};
    struct buf out = {0};

    (void)buf_reserve(&out, cmd_invoker_effect_size(&m)); /* once, and no more than that */
    cmd_invoker_effect_encode(&m, &out);
    partition_propose(p, &(struct propose){.kind = CMD_INVOKER_EFFECT,
                                           .mode = PROPOSE_SELF,
                                           .partition_key = invocation_id_pk(id),
                                           .payload = buf_slice(&out)});
    buf_done(&out);
}

static bool owner_writable(struct invoker_owner *o) {
    return worker_takes_effects(CONTAINER_OF(o, struct partition, owner)->w);
}

/* ---- leadership ---- */

void partition_init_leader(struct partition *p) {
    p->owner = (struct invoker_owner){
        .read = partition_owner_read, .entries = owner_entries, .effects = owner_effects, .writable = owner_writable};
    shuffle_init(p);
    cleaner_init(p);
    leader_timers_init(p);
}

static int invoke_again(void *arg, const struct invocation_id *id) {
    struct partition *p = arg;

    invoker_invoke(worker_invoker(p->w), &p->owner, id, 0);
    return 0;
}

static void scan_invoked(void *arg, int status, const struct err *cold_err) {
    struct partition *p = arg;
    struct err err = {0};
    int r;

    if (p->role != PARTITION_LEADER)
        return;
    r = tables_invoked(&p->rows, invoke_again, p, &err);
    if (r == RS_EAGAIN)
        partition_read_cold(p, scan_invoked, p);
    else if (r < 0)
        partition_break(p, "cannot scan its invocations: %s", err.msg);
}

void partition_lead(struct partition *p) {
    static void (*const starts[])(struct partition *) = {
        leader_timers_start, shuffle_start, cleaner_start, durability_start, stall_watch_start,
    };

    p->role = PARTITION_LEADER;
    LOG_DEBUG("leading", F_U64("partition", p->id), F_U64("epoch", p->epoch));
    scan_invoked(p, 0, NULL);
    for (size_t i = 0; i < ARRAY_SIZE(starts); i++)
        if (p->role == PARTITION_LEADER) /* a row that cannot be read ends it */
            starts[i](p);
    if (p->role != PARTITION_LEADER)
        return;
    route_leads_here(p->route);
    worker_partition_changed(p->w, p);
}

void partition_stop_leading(struct partition *p) {
    p->role = PARTITION_FOLLOWER;
    invoker_abort_all(worker_invoker(p->w), &p->owner);
    leader_timers_stop(p);
    shuffle_stop(p);
    cleaner_stop(p);
    durability_stop(p);
    stall_watch_stop(p);
    partition_drop_proposals(p);
    route_lost_here(p->route);
    worker_partition_changed(p->w, p);
}
