/* SPDX-License-Identifier: Apache-2.0 */
/* worker/sm_terminate.c : kill, cancel, and signals (execution.md §13, §17). */
#include "worker/sm_internal.h"

/* It has not started: answer those who wait, then nothing of it is left, whatever its retention. */
static int drop_not_started(struct apply *ap, struct inv *inv, const char *why) {
    struct sm_timer t = {.time_ms = inv->h.execution_time_ms, .kind = TIMER_DELAYED_INVOKE, .id = inv->id};
    int r;

    if ((r = inv_answer_all(ap, inv, failure_result(ap, 409, why))) < 0)
        return r;
    if (inv->h.status == INV_SCHEDULED)
        timer_delete(ap, &t);
    else if ((r = inbox_remove(ap, inv)) < 0)
        return r;
    if ((r = journal_delete(ap, inv)) < 0)
        return r;
    inv_free(ap, inv);
    return 0;
}

static int append_signal(struct apply *ap, struct inv *inv, uint32_t index, struct slice name,
                         const struct cmd_result *result) {
    struct sp_notification n = {
        .has_signal_idx = !name.data,
        .signal_idx = name.data ? 0 : index,
        .signal_name = name,
    };

    notification_set_result(ap, &n, SP_SIGNAL, result);
    return journal_notify(ap, inv, SP_SIGNAL, &n);
}

static int cancel(struct apply *ap, struct inv *inv, enum sm_outcome *ret) {
    switch (inv->h.status) {
    case INV_INVOKED:
    case INV_SUSPENDED:
    case INV_PAUSED:
        *ret = SM_APPENDED;
        return append_signal(ap, inv, SP_SIGNAL_CANCEL, SLICE_NULL, NULL);
    case INV_SCHEDULED:
    case INV_INBOXED:
        *ret = SM_DONE;
        return drop_not_started(ap, inv, "canceled");
    case INV_COMPLETED:
        *ret = SM_ALREADY_COMPLETED;
        return 0;
    case INV_FREE:
        break;
    }
    act(ap, SM_ACTION_ABORT, &inv->id);
    *ret = SM_NOT_FOUND;
    return 0;
}

struct kill {
    struct apply *ap;
    struct slice *sides; /* of the calls, copied: sending writes, which a scan does not allow */
    size_t n, cap;
};

static int collect_call(void *arg, const struct journal_entry *e) {
    struct kill *k = arg;

    if (!e->is_command || (e->type != SP_CALL && e->type != SP_ONE_WAY_CALL) || !e->side.len)
        return 0;
    if (k->n == k->cap) {
        struct slice *more = arena_alloc(k->ap->a, (k->cap = k->cap ? k->cap * 2 : 16) * sizeof *more);

        if (k->n)
            memcpy(more, k->sides, k->n * sizeof *more);
        k->sides = more;
    }
    k->sides[k->n++] = arena_copy(k->ap->a, e->side);
    return 0;
}

static int kill_callee(struct apply *ap, struct slice side) {
    struct cmd_terminate *m;
    struct cmd_call callee;
    struct invocation_id id;

    if (cmd_call_decode(&callee, side, ap->a, NULL) < 0 || !take_id(callee.id, &id))
        return 0; /* it had no effect when it was stored either */
    m = arena_new(ap->a, struct cmd_terminate);
    m->id = callee.id;
    m->flavor = TERMINATE_KILL;
    send_terminate(ap, &id, m);
    return 0;
}

static int kill_running(struct apply *ap, struct inv *inv) {
    struct kill k = {.ap = ap};
    int r = 0;

    if (inv->h.command_count > 1)
        r = tables_journal(ap->through, &inv->id, 1, collect_call, &k, ap->err);
    for (size_t i = 0; i < k.n && r >= 0; i++)
        r = kill_callee(ap, k.sides[i]);
    if (r < 0 || (r = inv_complete(ap, inv, failure_result(ap, 409, "killed"))) < 0)
        return r;
    act(ap, SM_ACTION_ABORT, &inv->id);
    return 0;
}

static int kill_invocation(struct apply *ap, struct inv *inv, enum sm_outcome *ret) {
    *ret = SM_OK;
    switch (inv->h.status) {
    case INV_INVOKED:
    case INV_SUSPENDED:
    case INV_PAUSED:
        return kill_running(ap, inv);
    case INV_SCHEDULED:
    case INV_INBOXED:
        return drop_not_started(ap, inv, "killed");
    case INV_COMPLETED:
        *ret = SM_ALREADY_COMPLETED;
        return 0;
    case INV_FREE:
        break;
    }
    act(ap, SM_ACTION_ABORT, &inv->id);
    *ret = SM_NOT_FOUND;
    return 0;
}

int apply_terminate(struct apply *ap, const struct cmd_terminate *m) {
    enum sm_admin_op op = m->flavor == TERMINATE_KILL ? SM_OP_KILL : SM_OP_CANCEL;
    enum sm_outcome outcome = SM_NOT_FOUND;
    struct invocation_id id;
    struct inv *inv;
    int r;

    if (!take_id(m->id, &id)) {
        (void)act_admin(ap, m->request_id, op, SM_NOT_FOUND, NULL);
        return 0;
    }
    if ((r = inv_get(ap, &id, &inv)) < 0)
        return r;
    r = op == SM_OP_KILL ? kill_invocation(ap, inv, &outcome) : cancel(ap, inv, &outcome);
    if (r < 0)
        return r;
    (void)act_admin(ap, m->request_id, op, outcome, &id);
    return 0;
}

int apply_signal(struct apply *ap, const struct cmd_signal *m) {
    enum sm_outcome outcome;
    struct invocation_id id;
    struct inv *inv;
    int r;

    if (!take_id(m->target, &id))
        return 0;
    if ((r = inv_get(ap, &id, &inv)) < 0)
        return r;
    if (!m->name.data && m->index == SP_SIGNAL_CANCEL)
        return cancel(ap, inv, &outcome);
    return in_flight(inv) ? append_signal(ap, inv, m->index, m->name, m->result) : 0;
}
