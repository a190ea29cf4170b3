/* SPDX-License-Identifier: Apache-2.0 */
/* worker/sm_invocation.c : status rows of the invocations that a record touches, and those who wait for results. */
#include "worker/sm_internal.h"

static unsigned bucket_of(const struct invocation_id *id) {
    return id->raw[23] & (INV_BUCKETS - 1); /* the uuid's last bits: random or a hash */
}

int inv_get(struct apply *ap, const struct invocation_id *id, struct inv **ret) {
    struct inv **bucket = &ap->buckets[bucket_of(id)], *inv;
    int r;

    for (inv = *bucket; inv; inv = inv->chain)
        if (invocation_id_eq(&inv->id, id)) {
            *ret = inv;
            return 0;
        }
    inv = arena_new(ap->a, struct inv);
    inv->id = *id;
    r = tables_status(ap->through, id, ap->a, &inv->h, ap->err);
    if (r == RS_ENOENT)
        memset(&inv->h, 0, sizeof inv->h);
    else if (r < 0)
        return r;
    inv->stored = inv->h.status;
    inv->chain = *bucket;
    *bucket = inv;
    *ap->invs_tail = inv;
    ap->invs_tail = &inv->next;
    *ret = inv;
    return 0;
}

void inv_set_body(struct inv *inv, const struct cmd_invocation_body *body) {
    inv->body = *body;
    inv->object = object_key_of(body->target, &inv->id);
    inv->has_body = true;
}

int inv_body(struct apply *ap, struct inv *inv) {
    struct cmd_invocation_body body;
    int r;

    if (inv->has_body)
        return 0;
    r = tables_body(ap->through, &inv->id, ap->a, &body, ap->err);
    if (r == RS_ENOENT)
        return row_corrupt(ap->err, "body");
    if (r == 0)
        inv_set_body(inv, &body);
    return r;
}

void inv_touch(struct apply *ap, struct inv *inv) {
    inv->dirty = true;
    inv->h.modified_ms = MAX(inv->h.modified_ms, ap->now_ms);
}

void inv_free(struct apply *ap, struct inv *inv) {
    struct table_key k;

    key_of_id(&k, T_BODY, &inv->id);
    stage_del(ap->w, table_key_slice(&k));
    if (inv->h.status == INV_COMPLETED) {
        key_of_id(&k, T_RESULT, &inv->id);
        stage_del(ap->w, table_key_slice(&k));
    }
    memset(&inv->h, 0, sizeof inv->h); /* INV_FREE */
    inv->has_body = false;
    inv->future = NULL;
    inv->future_changed = false;
    inv->last_output = SLICE_NULL;
    inv->dirty = true;
}

static void flush_one(struct apply *ap, struct inv *inv) {
    static const uint8_t version[] = {TABLE_VERSION};
    struct table_key k;
    struct slice row;

    if (inv->h.status == INV_SUSPENDED && inv->future_changed)
        inv->h.future = SM_ENCODE(ap->a, cmd_future, inv->future, 0);
    else if (inv->h.status != INV_SUSPENDED)
        inv->h.future = SLICE_NULL;
    key_of_id(&k, T_STATUS, &inv->id);
    if (inv->h.status != INV_FREE) {
        inv_header_encode(&inv->h, &ap->w->arena, &row);
        stage_put(ap->w, table_key_slice(&k), row);
    } else if (inv->stored != INV_FREE) {
        stage_del(ap->w, table_key_slice(&k));
    }
    if ((inv->stored == INV_INVOKED) == (inv->h.status == INV_INVOKED))
        return;
    key_of_id(&k, T_INVOKED, &inv->id);
    if (inv->h.status == INV_INVOKED)
        stage_put(ap->w, table_key_slice(&k), slice_of(version, 1));
    else
        stage_del(ap->w, table_key_slice(&k));
}

void inv_flush(struct apply *ap) {
    for (struct inv *inv = ap->invs; inv; inv = inv->next)
        if (inv->dirty)
            flush_one(ap, inv);
}

int inv_invoke(struct apply *ap, struct inv *inv) {
    inv_touch(ap, inv);
    inv->h.status = INV_INVOKED;
    inv->h.start_lsn = ap->lsn;
    inv->future = NULL;
    inv->future_changed = false;
    if (!inv->h.running_ms)
        inv->h.running_ms = inv->h.modified_ms;
    act(ap, SM_ACTION_INVOKE, &inv->id)->lsn = ap->lsn;
    return 0;
}

/* ---- who waits ---- */

bool sink_of(const struct cmd_sink *sink, struct inv_sink *ret) {
    *ret = (struct inv_sink){0};
    if (!sink)
        return false;
    if (sink->request_id.len == 16) {
        ret->type = SINK_INGRESS;
        memcpy(ret->request_id, sink->request_id.data, 16);
        return true;
    }
    ret->type = SINK_PARTITION;
    ret->completion_id = sink->completion_id;
    return take_id(sink->caller, &ret->caller);
}

void inv_add_sink(struct apply *ap, struct inv *inv, const struct inv_sink *sink) {
    struct inv_sink *all;

    for (uint32_t i = 0; i < inv->h.n_sinks; i++) {
        const struct inv_sink *s = &inv->h.sinks[i];

        if (s->type == sink->type && memcmp(s->request_id, sink->request_id, 16) == 0 &&
            invocation_id_eq(&s->caller, &sink->caller) && s->completion_id == sink->completion_id)
            return;
    }
    all = arena_alloc(ap->a, (inv->h.n_sinks + 1) * sizeof *all);
    if (inv->h.n_sinks)
        memcpy(all, inv->h.sinks, inv->h.n_sinks * sizeof *all);
    all[inv->h.n_sinks++] = *sink;
    inv->h.sinks = all;
    inv->dirty = true;
}

struct cmd_result *failure_result(struct apply *ap, uint32_t code, const char *message) {
    struct cmd_result *r = arena_new(ap->a, struct cmd_result);
    struct cmd_failure *f = arena_new(ap->a, struct cmd_failure);

    f->code = code;
    f->message = slice_str(message);
    r->failure = f;
    return r;
}

static struct cmd_result keep_result(struct apply *ap, const struct cmd_result *result) {
    struct cmd_result kept = {.value = act_keep(ap, result->value)};
    struct arena *a = &ap->actions->arena;
    const struct cmd_failure *from = result->failure;
    struct cmd_header *metadata;
    struct cmd_failure *to;

    if (!from)
        return kept;
    to = arena_new(a, struct cmd_failure);
    metadata = from->n_metadata ? arena_newn(a, struct cmd_header, from->n_metadata) : NULL;
    for (size_t i = 0; i < from->n_metadata; i++) {
        metadata[i].key = act_keep(ap, from->metadata[i].key);
        metadata[i].value = act_keep(ap, from->metadata[i].value);
    }
    to->code = from->code;
    to->message = act_keep(ap, from->message);
    to->metadata = metadata;
    to->n_metadata = from->n_metadata;
    kept.failure = to;
    return kept;
}

int inv_answer(struct apply *ap, const struct invocation_id *id, const struct inv_sink *sink,
               const struct cmd_result *result, bool not_ready, uint64_t expiry_ms) {
    struct cmd_response *m;
    struct sm_action *a;

    if (sink->type == SINK_INGRESS) {
        struct cmd_result kept =
            keep_result(ap, not_ready ? failure_result(ap, 470, "the response is not ready yet") : result);

        a = act(ap, SM_ACTION_INGRESS_RESPONSE, id);
        memcpy(a->request_id, sink->request_id, 16);
        a->response.result = kept;
        a->response.expiry_ms = expiry_ms;
        return 0;
    }
    m = arena_new(ap->a, struct cmd_response);
    m->caller = arena_copy(ap->a, invocation_id_slice(&sink->caller));
    m->completion_id = sink->completion_id;
    m->not_ready = not_ready;
    if (result) {
        struct cmd_result *copy = arena_new(ap->a, struct cmd_result);

        *copy = *result;
        m->result = copy;
    }
    send_response(ap, &sink->caller, m);
    return 0;
}

int inv_answer_all(struct apply *ap, struct inv *inv, const struct cmd_result *result) {
    int r = 0;

    for (uint32_t i = 0; i < inv->h.n_sinks && r == 0; i++)
        r = inv_answer(ap, &inv->id, &inv->h.sinks[i], result, false, 0);
    inv->h.sinks = NULL;
    inv->h.n_sinks = 0;
    return r;
}
