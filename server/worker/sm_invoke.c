/* SPDX-License-Identifier: Apache-2.0 */
/* worker/sm_invoke.c : new invocations (deduplicate, journal the input, schedule, queue or start), and attaching to
 * existing ones. */
#include "worker/sm_internal.h"

static void submitted(struct apply *ap, const struct cmd_invoke *m, const struct inv *inv, bool is_new) {
    struct sm_action *a;

    if (m->submit_request_id.len != 16)
        return;
    a = act(ap, SM_ACTION_INGRESS_SUBMITTED, &inv->id);
    memcpy(a->request_id, m->submit_request_id.data, 16);
    a->submitted.execution_time_ms = inv->h.execution_time_ms;
    a->submitted.is_new = is_new;
}

static bool same_source(const struct cmd_source *a, const struct cmd_source *b) {
    return a && b && a->type == b->type && slice_eq(a->id, b->id);
}

static int completed_answer(struct apply *ap, struct inv *inv, const struct inv_sink *sink) {
    struct cmd_result *result = arena_new(ap->a, struct cmd_result);
    int r = tables_result(ap->through, &inv->id, ap->a, result, ap->err);

    if (r == RS_ENOENT)
        return row_corrupt(ap->err, "result");
    if (r < 0)
        return r;
    return inv_answer(ap, &inv->id, sink, result, false, add_ms(inv->h.completed_ms, inv->h.completion_retention_ms));
}

/* The id is taken: a retry, a second delivery, an idempotent call, or a second run of a workflow (§8.2). */
static int duplicate(struct apply *ap, struct inv *inv, const struct cmd_invoke *m) {
    struct inv_sink sink;
    bool same;
    int r = inv_body(ap, inv);

    if (r < 0)
        return r;
    same = same_source(m->source, inv->body.source);
    submitted(ap, m, inv, same);
    if (!sink_of(m->sink, &sink))
        return 0;
    /* The very same request sent again is not a second run: it waits for the first like any other retry. A handler
     * never asks again (messages between partitions are deduplicated): when it calls twice, these are two runs. */
    if (inv->h.target_type == TARGET_WORKFLOW_RUN && !(same && sink.type == SINK_INGRESS))
        return inv_answer(ap, &inv->id, &sink, failure_result(ap, 409, "the workflow method was already invoked"),
                          false, 0);
    if (inv->h.status == INV_COMPLETED)
        return completed_answer(ap, inv, &sink);
    inv_add_sink(ap, inv, &sink);
    return 0;
}

static struct slice input_payload(struct apply *ap, const struct cmd_invoke *m) {
    struct sp_header *headers = m->n_headers ? arena_newn(ap->a, struct sp_header, m->n_headers) : NULL;
    struct sp_value value = {.content = m->argument.data ? m->argument : SLICE_EMPTY};
    struct sp_input input = {.headers = headers, .n_headers = m->n_headers, .value = &value};

    for (size_t i = 0; i < m->n_headers; i++) {
        headers[i].key = m->headers[i].key;
        headers[i].value = m->headers[i].value;
    }
    return SM_ENCODE(ap->a, sp_input, &input, 0);
}

static bool target_valid(const struct cmd_target *t) {
    return t && t->type >= TARGET_SERVICE && t->type <= TARGET_WORKFLOW_SHARED && t->service.data && t->handler.data;
}

int invoke_start_or_queue(struct apply *ap, struct inv *inv) {
    bool acquired = true;
    int r = 0;

    inv_touch(ap, inv);
    if (inv->h.target_type == TARGET_OBJECT_EXCLUSIVE)
        r = lock_acquire(ap, inv, &acquired);
    if (r < 0 || !acquired)
        return r;
    return inv_invoke(ap, inv);
}

static void put_body(struct apply *ap, struct inv *inv, const struct cmd_invoke *m) {
    struct cmd_invocation_body body = {
        .target = m->target,
        .source = m->source,
        .idempotency_key = m->idempotency_key,
        .limit_key = m->limit_key,
        .version = m->version,
        .trace = m->trace,
        .hidden_key = m->hidden_key,
    };
    struct table_key k;

    key_of_id(&k, T_BODY, &inv->id);
    stage_put(ap->w, table_key_slice(&k), SM_ROW(&ap->w->arena, cmd_invocation_body, &body));
    inv_set_body(inv, &body);
}

int apply_invoke(struct apply *ap, const struct cmd_invoke *m) {
    struct invocation_id id;
    struct inv_sink sink;
    struct inv *inv;
    int r;

    if (!take_id(m->id, &id) || !target_valid(m->target)) {
        LOG_WARN("an invocation without id or target is skipped", F_LSN("lsn", ap->lsn));
        return 0;
    }
    if ((r = inv_get(ap, &id, &inv)) < 0)
        return r;
    if (inv->h.status != INV_FREE)
        return duplicate(ap, inv, m);

    inv->h = (struct inv_header){
        .target_type = (uint8_t)m->target->type,
        .created_ms = ap->now_ms,
        .execution_time_ms = m->execution_time_ms,
        .completion_retention_ms = m->completion_retention_ms,
        .journal_retention_ms = MIN(m->journal_retention_ms, m->completion_retention_ms),
        .traced = m->trace.len > 0,
    };
    inv_touch(ap, inv);
    put_body(ap, inv, m);
    if (inv->h.traced)
        act_trace(ap, SM_ACTION_TRACE_START, inv, 0);
    if (sink_of(m->sink, &sink))
        inv_add_sink(ap, inv, &sink);
    if ((r = journal_append_command(ap, inv, SP_INPUT, NULL, input_payload(ap, m))) < 0)
        return r;
    if (m->execution_time_ms) {
        inv->h.status = INV_SCHEDULED;
        inv->h.scheduled_ms = inv->h.modified_ms;
        timer_add(ap, &(struct sm_timer){.time_ms = m->execution_time_ms, .kind = TIMER_DELAYED_INVOKE, .id = id});
    } else if ((r = invoke_start_or_queue(ap, inv)) < 0) {
        return r;
    }
    submitted(ap, m, inv, true);
    return 0;
}

int apply_attach(struct apply *ap, const struct cmd_attach *m) {
    struct invocation_id id;
    struct inv_sink sink;
    struct inv *inv;
    int r;

    if (!sink_of(m->sink, &sink))
        return 0;
    if (!take_id(m->id, &id)) {
        memset(&id, 0, sizeof id);
        return inv_answer(ap, &id, &sink, failure_result(ap, 404, "not found"), false, 0);
    }
    if ((r = inv_get(ap, &id, &inv)) < 0)
        return r;
    switch (inv->h.status) {
    case INV_FREE:
        return inv_answer(ap, &id, &sink, failure_result(ap, 404, "not found"), false, 0);
    case INV_COMPLETED:
        return completed_answer(ap, inv, &sink);
    default:
        if (!m->block)
            return inv_answer(ap, &id, &sink, NULL, true, 0);
        inv_add_sink(ap, inv, &sink);
        return 0;
    }
}
