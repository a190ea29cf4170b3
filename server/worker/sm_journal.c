/* SPDX-License-Identifier: Apache-2.0 */
/* worker/sm_journal.c : the journal of an invocation: what running attempts append (InvokerEffect), and the completions
 * and signals that arrive from elsewhere. */
#include "worker/sm_internal.h"

/* ---- appending ---- */

static struct slice append(struct apply *ap, struct inv *inv, struct arena *where, struct journal_entry *e) {
    struct table_key k;
    struct slice payload;

    e->index = inv->h.journal_length++;
    e->appended_ms = ap->now_ms;
    key_journal_entry(&k, &inv->id, e->index);
    stage_put(ap->w, table_key_slice(&k), journal_entry_encode(e, where, &payload));
    inv_touch(ap, inv);
    return payload;
}

int journal_append_command(struct apply *ap, struct inv *inv, uint32_t type, const struct cmd_call *call,
                           struct slice payload) {
    struct journal_entry e = {.is_command = true, .type = (uint16_t)type, .payload = payload};

    if (call)
        e.side = SM_ENCODE(ap->a, cmd_call, call, 0);
    (void)append(ap, inv, &ap->w->arena, &e);
    inv->h.command_count++;
    if (type == SP_OUTPUT) {
        inv->h.output_index = e.index;
        inv->last_output = payload;
    }
    return 0;
}

void journal_index_completion(struct apply *ap, struct inv *inv, uint32_t completion_id, uint32_t index,
                              uint32_t type) {
    uint8_t *v = arena_alloc(&ap->w->arena, 7);
    struct table_key k;

    v[0] = TABLE_VERSION;
    put_u32le(v + 1, index);
    put_u16le(v + 5, (uint16_t)type);
    key_journal_completion(&k, &inv->id, completion_id);
    stage_put(ap->w, table_key_slice(&k), slice_of(v, 7));
}

struct notice { /* a notification about to be appended */
    enum notification_kind kind;
    uint32_t number;
    struct slice name;
    enum notification_variant variant;
};

static void index_notification(struct apply *ap, const struct table_key *k, const struct notice *n, uint32_t index) {
    size_t len = name_value_head(n->name) + 5;
    uint8_t *v = arena_alloc(&ap->w->arena, len), *p = name_value_put(v, n->name);

    put_u32le(p, index);
    p[4] = (uint8_t)n->variant;
    stage_put(ap->w, table_key_slice(k), slice_of(v, len));
}

void journal_paste_command(struct apply *ap, struct inv *inv, struct journal_entry *e) {
    (void)append(ap, inv, &ap->w->arena, e);
    inv->h.command_count++;
    if (e->type == SP_OUTPUT)
        inv->h.output_index = e->index;
}

void journal_paste_notification(struct apply *ap, struct inv *inv, struct journal_entry *e,
                                const struct sp_notification_id *id, enum sp_result_kind kind) {
    struct notice n = {
        .kind = id->kind == SP_ID_COMPLETION ? NOTIFICATION_COMPLETION
                : id->kind == SP_ID_SIGNAL   ? NOTIFICATION_SIGNAL
                                             : NOTIFICATION_NAME,
        .number = id->number,
        .name = id->name,
        .variant = (enum notification_variant)kind,
    };
    struct table_key k;

    (void)append(ap, inv, &ap->w->arena, e);
    key_journal_notification(&k, &inv->id, n.kind, n.number, n.name);
    if (!stage_find(ap->w, table_key_slice(&k)))
        index_notification(ap, &k, &n, e->index);
}

/* @payload: encoded. Drops it when a completion or an indexed signal with this id is there already: the first wins. */
static int notify(struct apply *ap, struct inv *inv, uint32_t type, const struct notice *n, struct slice payload,
                  bool run_completion) {
    struct journal_entry e = {.type = (uint16_t)type, .payload = payload};
    struct table_key k;
    struct slice stored;
    struct sm_action *a;
    int r;

    key_journal_notification(&k, &inv->id, n->kind, n->number, n->name);
    r = ap->through->get(ap->through->arg, table_key_slice(&k), &stored, ap->err);
    if (r < 0 && r != RS_ENOENT)
        return r;
    if (r == 0 && n->kind != NOTIFICATION_NAME)
        return 0;
    payload = append(ap, inv, inv->h.status == INV_INVOKED ? &ap->actions->arena : &ap->w->arena, &e);
    if (r == RS_ENOENT)
        index_notification(ap, &k, n, e.index);

    switch (inv->h.status) {
    case INV_INVOKED:
        a = act(ap, SM_ACTION_FORWARD_NOTIFICATION, &inv->id);
        a->forward.entry_index = e.index;
        a->forward.type = type;
        a->forward.payload = payload;
        a->forward.run_completion = run_completion;
        return 0;
    case INV_SUSPENDED:
        return inv_wake(ap, inv, n->kind, n->number, n->name, n->variant);
    case INV_PAUSED:
        return n->kind == NOTIFICATION_SIGNAL && n->number == SP_SIGNAL_CANCEL ? inv_invoke(ap, inv) : 0;
    default:
        return 0;
    }
}

int journal_notify(struct apply *ap, struct inv *inv, uint32_t type, const struct sp_notification *m) {
    struct notice n = {
        .kind = m->has_completion_id ? NOTIFICATION_COMPLETION
                : m->has_signal_idx  ? NOTIFICATION_SIGNAL
                                     : NOTIFICATION_NAME,
        .number = m->has_completion_id ? m->completion_id : m->signal_idx,
        .name = m->signal_name,
        .variant = m->none                 ? VARIANT_VOID
                   : m->value              ? VARIANT_VALUE
                   : m->failure            ? VARIANT_FAILURE
                   : m->invocation_id.data ? VARIANT_INVOCATION_ID
                   : m->state_keys         ? VARIANT_STATE_KEYS
                                           : VARIANT_UNKNOWN,
    };

    return notify(ap, inv, type, &n, SM_ENCODE(ap->a, sp_notification, m, 0), false);
}

static struct sp_failure *failure_of(struct apply *ap, const struct cmd_failure *f) {
    struct sp_failure *to = arena_new(ap->a, struct sp_failure);
    struct sp_header *metadata = f->n_metadata ? arena_newn(ap->a, struct sp_header, f->n_metadata) : NULL;

    for (size_t i = 0; i < f->n_metadata; i++) {
        metadata[i].key = f->metadata[i].key;
        metadata[i].value = f->metadata[i].value;
    }
    to->code = f->code;
    to->message = f->message;
    to->metadata = metadata;
    to->n_metadata = f->n_metadata;
    return to;
}

/* Which results a completion of @type may have: a void one becomes an empty value where the protocol has no void. */
static bool void_allowed(uint32_t type) {
    return type != SP_GET_PROMISE_COMPLETION && type != SP_CALL_COMPLETION && type != SP_RUN_COMPLETION &&
           type != SP_ATTACH_INVOCATION_COMPLETION;
}

void notification_set_result(struct apply *ap, struct sp_notification *n, uint32_t type,
                             const struct cmd_result *result) {
    if (result && result->failure) {
        n->failure = failure_of(ap, result->failure);
    } else if ((result && result->value.data) || !void_allowed(type)) {
        n->value = arena_new(ap->a, struct sp_value);
        n->value->content = result && result->value.data ? result->value : SLICE_EMPTY;
    } else {
        n->none = arena_new(ap->a, struct sp_empty);
    }
}

int journal_complete(struct apply *ap, struct inv *inv, uint32_t type, uint32_t completion_id,
                     const struct cmd_result *result) {
    struct sp_notification n = {.has_completion_id = true, .completion_id = completion_id};

    notification_set_result(ap, &n, type, result);
    return journal_notify(ap, inv, type, &n);
}

/* ---- what arrives from elsewhere ---- */

int apply_response(struct apply *ap, const struct cmd_response *m) {
    struct invocation_id caller;
    struct table_key k;
    struct slice row;
    struct inv *inv;
    uint16_t type;
    int r;

    if (!take_id(m->caller, &caller))
        return 0;
    if ((r = inv_get(ap, &caller, &inv)) < 0)
        return r;
    if (!in_flight(inv))
        return 0;
    key_journal_completion(&k, &caller, m->completion_id);
    r = ap->through->get(ap->through->arg, table_key_slice(&k), &row, ap->err);
    if (r == RS_ENOENT) {
        LOG_DEBUG("a response to no command is ignored", F_LSN("lsn", ap->lsn));
        return 0;
    }
    if (r < 0 || (r = row_version(row, "completion", ap->err)) < 0)
        return r;
    if (row.len < 7)
        return row_corrupt(ap->err, "completion");
    type = sp_type_result(get_u16le(row.data + 5));
    if (type != SP_CALL_COMPLETION && type != SP_ATTACH_INVOCATION_COMPLETION &&
        type != SP_GET_INVOCATION_OUTPUT_COMPLETION && type != SP_GET_PROMISE_COMPLETION && type != SP_SLEEP_COMPLETION)
        return 0;
    if (m->not_ready && type != SP_GET_INVOCATION_OUTPUT_COMPLETION)
        return 0;
    return journal_complete(ap, inv, type, m->completion_id,
                            m->not_ready ? NULL
                            : m->result  ? m->result
                                         : &(struct cmd_result){.value = SLICE_EMPTY});
}

/* ---- effects of a running attempt ---- */

static int effect_pinned(struct apply *ap, struct inv *inv, const struct cmd_effect *e) {
    if (inv->h.protocol || e->deployment.len > 255 || !e->deployment.len || !e->protocol || e->protocol > 255)
        return 0;
    inv->h.deployment = e->deployment;
    inv->h.protocol = (uint8_t)e->protocol;
    inv_touch(ap, inv);
    return 0;
}

static int effect_command(struct apply *ap, struct inv *inv, const struct cmd_effect *e) {
    struct sm_action *a;
    uint32_t index = inv->h.journal_length;
    int r;

    if (e->type > UINT16_MAX || !sp_type_is_command((uint16_t)e->type) || e->type == SP_INPUT) {
        LOG_WARN("an effect with a message that is no command is skipped", F_LSN("lsn", ap->lsn),
                 F_U64("type", e->type));
        return 0;
    }
    r = journal_append_command(ap, inv, e->type, e->call, e->payload);
    if (r < 0)
        return r;
    a = act(ap, SM_ACTION_ACK_COMMAND, &inv->id);
    a->ack.command_index = inv->h.command_count - 1;
    a->ack.entry_index = index;
    return command_effect(ap, inv, index, e);
}

static int effect_run_completion(struct apply *ap, struct inv *inv, const struct cmd_effect *e) {
    struct sp_notification_id id;
    enum sp_result_kind kind;
    struct notice n;

    if (sp_notification_id(e->payload, &id, &kind, NULL) < 0 || id.kind != SP_ID_COMPLETION) {
        LOG_WARN("a run completion that does not decode is skipped", F_LSN("lsn", ap->lsn));
        return 0;
    }
    n = (struct notice){
        .kind = NOTIFICATION_COMPLETION,
        .number = id.number,
        .variant = (enum notification_variant)kind,
    };
    return notify(ap, inv, SP_RUN_COMPLETION, &n, e->payload, true);
}

static int apply_effect(struct apply *ap, struct inv *inv, const struct cmd_effect *e) {
    struct cmd_result failed = {.failure = e->failure};
    struct cmd_event paused = {.type = EVENT_PAUSED};

    switch (e->kind) {
    case EFFECT_PINNED:
        return effect_pinned(ap, inv, e);
    case EFFECT_COMMAND:
        return effect_command(ap, inv, e);
    case EFFECT_RUN_COMPLETION:
        return effect_run_completion(ap, inv, e);
    case EFFECT_SUSPENDED:
        return inv_suspend(ap, inv, e->future);
    case EFFECT_END:
        return inv_complete(ap, inv, NULL);
    case EFFECT_FAILED:
        return inv_complete(ap, inv, e->failure ? &failed : failure_result(ap, 500, "the invocation failed"));
    case EFFECT_PAUSED:
        journal_event(ap, inv, e->event ? e->event : &paused);
        inv->h.status = INV_PAUSED;
        return 0;
    case EFFECT_EVENT:
        if (e->event)
            journal_event(ap, inv, e->event);
        return 0;
    default:
        LOG_WARN("an effect of unknown kind is skipped", F_LSN("lsn", ap->lsn), F_U64("kind", e->kind));
        return 0;
    }
}

int apply_invoker_effect(struct apply *ap, const struct cmd_invoker_effect *m) {
    struct invocation_id id;
    struct inv *inv;
    int r;

    if (!take_id(m->id, &id))
        return 0;
    if ((r = inv_get(ap, &id, &inv)) < 0)
        return r;
    if (inv->h.status == INV_INVOKED && m->start_lsn && m->start_lsn != inv->h.start_lsn)
        return 0; /* of a run that was aborted and started over while they were on their way */
    for (size_t i = 0; i < m->n_effects; i++) {
        if (inv->h.status != INV_INVOKED) {
            /* Behind a terminal effect of this list nobody runs any more, and the attempt has ended by itself. */
            if (i == 0)
                act(ap, SM_ACTION_ABORT, &id);
            return 0;
        }
        if ((r = apply_effect(ap, inv, &m->effects[i])) < 0)
            return r;
    }
    return 0;
}

/* ---- events ---- */

void journal_event(struct apply *ap, struct inv *inv, const struct cmd_event *event) {
    struct slice row = SM_ENCODE(&ap->w->arena, cmd_event, event, 13);
    uint8_t *p = (uint8_t *)(uintptr_t)row.data;
    struct table_key k;

    if (ap->n_events == UINT16_MAX)
        return; /* the key has no room for more; a record of the leader has at most 256 */
    p[0] = TABLE_VERSION;
    put_u32le(p + 1, inv->h.journal_length ? inv->h.journal_length - 1 : 0);
    put_u64le(p + 5, ap->now_ms);
    key_journal_event(&k, &inv->id, ap->lsn, ap->n_events++);
    stage_put(ap->w, table_key_slice(&k), row);
    inv->h.event_count++;
    inv_touch(ap, inv);
}

/* ---- deleting ---- */

struct doomed {
    struct apply *ap;
    struct slice *keys;
    size_t n, cap;
};

static int doomed_each(void *arg, struct slice key, struct slice value) {
    struct doomed *d = arg;

    (void)value;
    if (d->n == d->cap) {
        struct slice *more;

        d->cap = d->cap ? d->cap * 2 : 32;
        more = arena_alloc(d->ap->a, d->cap * sizeof *more);
        if (d->n)
            memcpy(more, d->keys, d->n * sizeof *more);
        d->keys = more;
    }
    d->keys[d->n++] = arena_copy(d->ap->a, key);
    return 0;
}

int delete_prefix(struct apply *ap, struct slice prefix) {
    struct doomed d = {.ap = ap};
    int r = scan_prefix(ap->through, prefix, false, doomed_each, &d, ap->err);

    if (r < 0)
        return r;
    for (size_t i = 0; i < d.n; i++)
        stage_del(ap->w, d.keys[i]);
    return 0;
}

int journal_delete(struct apply *ap, struct inv *inv) {
    struct table_key prefix;

    inv->h.journal_length = inv->h.command_count = inv->h.event_count = inv->h.output_index = 0;
    key_of_id(&prefix, T_JOURNAL, &inv->id);
    return delete_prefix(ap, table_key_slice(&prefix));
}
