/* SPDX-License-Identifier: Apache-2.0 */
/* worker/sm_complete.c : the end of an invocation, what is kept of it and for how long (execution.md §12). */
#include "worker/sm_internal.h"

/* The result is that of the last Output command. */
static int output_result(struct apply *ap, struct inv *inv, struct cmd_result *ret) {
    struct slice payload = inv->last_output;
    struct sp_output m;
    struct journal_entry e;
    struct cmd_header *metadata;
    struct cmd_failure *f;
    int r;

    *ret = (struct cmd_result){0};
    if (!payload.data && inv->h.output_index) {
        r = tables_journal_entry(ap->through, &inv->id, inv->h.output_index, &e, ap->err);
        if (r < 0)
            return r == RS_ENOENT ? row_corrupt(ap->err, "journal") : r;
        payload = e.payload;
    }
    if (!payload.data || sp_output_decode(&m, payload, ap->a, NULL) < 0) {
        *ret = *failure_result(ap, 500, "missing output");
        return 0;
    }
    if (!m.failure) {
        ret->value = m.value && m.value->content.data ? m.value->content : SLICE_EMPTY;
        return 0;
    }
    f = arena_new(ap->a, struct cmd_failure);
    metadata = m.failure->n_metadata ? arena_newn(ap->a, struct cmd_header, m.failure->n_metadata) : NULL;
    for (size_t i = 0; i < m.failure->n_metadata; i++) {
        metadata[i].key = m.failure->metadata[i].key;
        metadata[i].value = m.failure->metadata[i].value;
    }
    f->code = m.failure->code;
    f->message = m.failure->message;
    f->metadata = metadata;
    f->n_metadata = m.failure->n_metadata;
    ret->failure = f;
    return 0;
}

static void expiry_row(struct apply *ap, const struct inv *inv, enum expiry_kind kind, bool put) {
    static const uint8_t version[] = {TABLE_VERSION};
    uint64_t after = kind == EXPIRY_JOURNAL ? inv->h.journal_retention_ms : inv->h.completion_retention_ms;
    struct table_key k;

    /* A journal that lives as long as its invocation goes with it. */
    if (kind == EXPIRY_JOURNAL && (!after || after >= inv->h.completion_retention_ms))
        return;
    key_expiry(&k, add_ms(inv->h.completed_ms, after), kind, &inv->id);
    if (put)
        stage_put(ap->w, table_key_slice(&k), slice_of(version, 1));
    else
        stage_del(ap->w, table_key_slice(&k));
}

static void keep_completed(struct apply *ap, struct inv *inv, const struct cmd_result *result) {
    struct table_key k;

    key_of_id(&k, T_RESULT, &inv->id);
    stage_put(ap->w, table_key_slice(&k), SM_ROW(&ap->w->arena, cmd_result, result));
    inv->h.status = INV_COMPLETED;
    inv->h.completed_ms = inv->h.modified_ms;
    expiry_row(ap, inv, EXPIRY_INVOCATION, true);
    expiry_row(ap, inv, EXPIRY_JOURNAL, true);
}

int inv_complete(struct apply *ap, struct inv *inv, const struct cmd_result *override) {
    bool keep = inv->h.completion_retention_ms > 0, exclusive = inv->h.target_type == TARGET_OBJECT_EXCLUSIVE;
    struct cmd_result result = {0};
    int r;

    inv_touch(ap, inv);
    if ((exclusive || inv->h.traced) && (r = inv_body(ap, inv)) < 0)
        return r;
    if (keep || inv->h.n_sinks || inv->h.traced) {
        if (override)
            result = *override;
        else if ((r = output_result(ap, inv, &result)) < 0)
            return r;
        if ((r = inv_answer_all(ap, inv, &result)) < 0)
            return r;
        if (inv->h.traced)
            act_trace(ap, SM_ACTION_TRACE_END, inv, result.failure ? result.failure->code : 0);
    }
    if ((!keep || !inv->h.journal_retention_ms) && (r = journal_delete(ap, inv)) < 0)
        return r;
    inv->future = NULL;
    inv->future_changed = false;
    inv->last_output = SLICE_NULL;
    if (exclusive && (r = lock_release(ap, inv)) < 0)
        return r;
    if (keep)
        keep_completed(ap, inv, &result);
    else
        inv_free(ap, inv);
    return 0;
}

static int purge_workflow(struct apply *ap, struct inv *inv) {
    int r = inv_body(ap, inv);

    if (r < 0 || (r = state_clear(ap, &inv->object)) < 0)
        return r;
    return promise_delete_all(ap, &inv->object);
}

int apply_purge(struct apply *ap, const struct cmd_purge *m, bool journal_only) {
    enum sm_admin_op op = journal_only ? SM_OP_PURGE_JOURNAL : SM_OP_PURGE_INVOCATION;
    struct invocation_id id;
    struct inv *inv;
    int r;

    if (!take_id(m->id, &id)) {
        (void)act_admin(ap, m->request_id, op, SM_NOT_FOUND, NULL);
        return 0;
    }
    if ((r = inv_get(ap, &id, &inv)) < 0)
        return r;
    if (inv->h.status != INV_COMPLETED) {
        (void)act_admin(ap, m->request_id, op, inv->h.status == INV_FREE ? SM_NOT_FOUND : SM_NOT_COMPLETED, &id);
        return 0;
    }
    expiry_row(ap, inv, EXPIRY_JOURNAL, false);
    if ((inv->h.journal_length || inv->h.event_count) && (r = journal_delete(ap, inv)) < 0)
        return r;
    if (journal_only) {
        inv->dirty = true;
    } else {
        if (inv->h.target_type == TARGET_WORKFLOW_RUN && (r = purge_workflow(ap, inv)) < 0)
            return r;
        expiry_row(ap, inv, EXPIRY_INVOCATION, false);
        inv_free(ap, inv);
    }
    (void)act_admin(ap, m->request_id, op, SM_OK, &id);
    return 0;
}
