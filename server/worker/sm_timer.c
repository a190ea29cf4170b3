/* SPDX-License-Identifier: Apache-2.0 */
/* worker/sm_timer.c : durable timers. The row goes when the Timer record of the leader is applied, not when it fires.
 */
#include "worker/sm_internal.h"

void timer_add(struct apply *ap, const struct sm_timer *t) {
    static const uint8_t version[] = {TABLE_VERSION};
    struct table_key k;

    key_timer(&k, t);
    stage_put(ap->w, table_key_slice(&k), slice_of(version, 1));
    act(ap, SM_ACTION_REGISTER_TIMER, &t->id)->timer = *t;
}

void timer_delete(struct apply *ap, const struct sm_timer *t) {
    struct table_key k;

    key_timer(&k, t);
    stage_del(ap->w, table_key_slice(&k));
    act(ap, SM_ACTION_DELETE_TIMER, &t->id)->timer = *t;
}

int apply_timer(struct apply *ap, const struct cmd_timer *m) {
    struct sm_timer t = {.time_ms = m->time_ms, .kind = m->kind, .completion_id = m->completion_id};
    struct table_key k;
    struct slice row;
    struct inv *inv;
    int r;

    if (!take_id(m->id, &t.id) || (m->kind != TIMER_SLEEP && m->kind != TIMER_DELAYED_INVOKE))
        return 0;
    key_timer(&k, &t);
    r = ap->through->get(ap->through->arg, table_key_slice(&k), &row, ap->err);
    if (r == RS_ENOENT)
        return 0; /* fired before, or cancelled */
    if (r < 0)
        return r;
    timer_delete(ap, &t);
    if ((r = inv_get(ap, &t.id, &inv)) < 0)
        return r;
    if (m->kind == TIMER_DELAYED_INVOKE)
        return inv->h.status == INV_SCHEDULED ? invoke_start_or_queue(ap, inv) : 0;
    if (!in_flight(inv))
        return 0;
    return journal_complete(ap, inv, SP_SLEEP_COMPLETION, m->completion_id, NULL);
}
