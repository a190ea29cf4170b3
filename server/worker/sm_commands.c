/* SPDX-License-Identifier: Apache-2.0 */
/* worker/sm_commands.c : what the commands of an SDK do, each in the step that stores it (execution.md §9.4). A message
 * that does not decode has no effect: the invoker checked it before it was proposed, and every replica sees the same.
 */
#include "worker/sm_internal.h"
#include "proto/trace_context.h"

struct command {
    struct apply *ap;
    struct inv *inv;
    uint32_t index; /* of the entry */
    uint32_t type;
    struct slice payload;
    const struct cmd_call *call;
};

#define DECODE(c, name, m) (sp_##name##_decode((m), (c)->payload, (c)->ap->a, NULL) == 0)

static int skipped(const struct command *c) {
    LOG_WARN("a command that does not decode has no effect", F_LSN("lsn", c->ap->lsn),
             F_STR("type", sp_type_name((uint16_t)c->type)));
    return 0;
}

static bool keyed(const struct command *c) {
    return target_keyed(c->inv->h.target_type);
}

static struct cmd_result *result_of(struct apply *ap, const struct sp_value *value, const struct sp_failure *failure) {
    struct cmd_result *r = arena_new(ap->a, struct cmd_result);
    struct cmd_header *metadata;
    struct cmd_failure *f;

    if (!failure) {
        if (value)
            r->value = value->content.data ? value->content : SLICE_EMPTY;
        return r;
    }
    f = arena_new(ap->a, struct cmd_failure);
    metadata = failure->n_metadata ? arena_newn(ap->a, struct cmd_header, failure->n_metadata) : NULL;
    for (size_t i = 0; i < failure->n_metadata; i++) {
        metadata[i].key = failure->metadata[i].key;
        metadata[i].value = failure->metadata[i].value;
    }
    f->code = failure->code;
    f->message = failure->message;
    f->metadata = metadata;
    f->n_metadata = failure->n_metadata;
    r->failure = f;
    return r;
}

/* ---- state ---- */

static int get_lazy_state(struct command *c) {
    struct sp_get_lazy_state m;
    struct slice value;
    int r = RS_ENOENT;

    if (!DECODE(c, get_lazy_state, &m))
        return skipped(c);
    if (keyed(c)) {
        if ((r = inv_body(c->ap, c->inv)) < 0)
            return r;
        r = tables_state_get(c->ap->through, &c->inv->object, m.key, &value, c->ap->err);
    }
    if (r < 0 && r != RS_ENOENT)
        return r;
    return journal_complete(c->ap, c->inv, SP_GET_LAZY_STATE_COMPLETION, m.result_completion_id,
                            r == 0 ? &(struct cmd_result){.value = value} : NULL);
}

static int get_lazy_state_keys(struct command *c) {
    struct sp_get_lazy_state_keys m;
    struct state_list l = {0};
    struct sp_state_keys keys = {0};
    struct sp_notification n;
    struct slice *list;
    int r;

    if (!DECODE(c, get_lazy_state_keys, &m))
        return skipped(c);
    if (keyed(c)) {
        if ((r = inv_body(c->ap, c->inv)) < 0 || (r = state_list(c->ap, &c->inv->object, false, &l)) < 0)
            return r;
    }
    list = l.n ? arena_newn(c->ap->a, struct slice, l.n) : NULL;
    for (size_t i = 0; i < l.n; i++)
        list[i] = l.items[i].key;
    keys.keys = list;
    keys.n_keys = l.n;
    n = (struct sp_notification){
        .has_completion_id = true, .completion_id = m.result_completion_id, .state_keys = &keys};
    return journal_notify(c->ap, c->inv, SP_GET_LAZY_STATE_KEYS_COMPLETION, &n);
}

static int change_state(struct command *c) {
    struct sp_set_state set;
    struct sp_clear_state clear;
    int r;

    if (!keyed(c))
        return 0;
    if ((r = inv_body(c->ap, c->inv)) < 0)
        return r;
    switch (c->type) {
    case SP_SET_STATE:
        if (!DECODE(c, set_state, &set))
            return skipped(c);
        state_put(c->ap, &c->inv->object, set.key, set.value ? set.value->content : SLICE_NULL);
        return 0;
    case SP_CLEAR_STATE:
        if (!DECODE(c, clear_state, &clear))
            return skipped(c);
        state_del(c->ap, &c->inv->object, clear.key);
        return 0;
    default:
        return state_clear(c->ap, &c->inv->object);
    }
}

/* ---- calls ---- */

static struct slice my_id(const struct command *c) {
    return arena_copy(c->ap->a, invocation_id_slice(&c->inv->id));
}

static struct cmd_sink *result_sink(const struct command *c, uint32_t completion_id) {
    struct cmd_sink *s = arena_new(c->ap->a, struct cmd_sink);

    s->caller = my_id(c);
    s->completion_id = completion_id;
    return s;
}

static struct cmd_header *headers_of(const struct command *c, const struct sp_header *headers, size_t n) {
    struct cmd_header *to = n ? arena_newn(c->ap->a, struct cmd_header, n) : NULL;

    for (size_t i = 0; i < n; i++) {
        to[i].key = headers[i].key;
        to[i].value = headers[i].value;
    }
    return to;
}

/* The callee's trace context: in the trace of its caller, below the caller's span. */
static struct slice child_context(const struct command *c) {
    struct slice mine = c->inv->body.trace, theirs;

    if (mine.len < TRACE_CONTEXT_BYTES)
        return SLICE_NULL;
    theirs = arena_copy(c->ap->a, mine);
    trace_span_of(&c->inv->id, (uint8_t *)(uintptr_t)theirs.data + TRACE_ID_BYTES);
    return theirs;
}

/* The parts of the callee's Invoke that both sorts of calls have. @m is an sp_call or an sp_one_way_call. */
#define NEW_INVOKE(c, m)                                                                                               \
    ({                                                                                                                 \
        struct cmd_invoke *inv_ = arena_new((c)->ap->a, struct cmd_invoke);                                            \
        struct cmd_source *src_ = arena_new((c)->ap->a, struct cmd_source);                                            \
        src_->type = SOURCE_SERVICE;                                                                                   \
        src_->id = my_id(c);                                                                                           \
        src_->target = (c)->inv->body.target;                                                                          \
        inv_->id = (c)->call->id;                                                                                      \
        inv_->target = (c)->call->target;                                                                              \
        inv_->argument = (m)->parameter;                                                                               \
        inv_->headers = headers_of((c), (m)->headers, (m)->n_headers);                                                 \
        inv_->n_headers = (m)->n_headers;                                                                              \
        inv_->source = src_;                                                                                           \
        inv_->completion_retention_ms = (c)->call->completion_retention_ms;                                            \
        inv_->journal_retention_ms = (c)->call->journal_retention_ms;                                                  \
        inv_->idempotency_key = (m)->idempotency_key;                                                                  \
        inv_->limit_key = (m)->limit_key;                                                                              \
        inv_->trace = child_context(c);                                                                                \
        inv_->version = (c)->inv->body.version;                                                                        \
        inv_;                                                                                                          \
    })

static int complete_callee_id(struct command *c, const struct invocation_id *callee, uint32_t completion_id) {
    struct sp_notification n = {.has_completion_id = true, .completion_id = completion_id};
    char text[INVOCATION_ID_CHARS + 1];

    invocation_id_format(callee, text);
    n.invocation_id = slice_of(text, INVOCATION_ID_CHARS);
    return journal_notify(c->ap, c->inv, SP_CALL_INVOCATION_ID, &n);
}

static int call(struct command *c) {
    struct sp_call m;
    struct sp_one_way_call w;
    struct invocation_id callee;
    struct cmd_invoke *invoke;
    uint32_t id_completion;
    int r;

    if (!c->call || !c->call->target || !take_id(c->call->id, &callee)) {
        LOG_WARN("a call whose callee was not resolved has no effect", F_LSN("lsn", c->ap->lsn));
        return 0;
    }
    if ((r = inv_body(c->ap, c->inv)) < 0)
        return r;
    if (c->type == SP_CALL) {
        if (!DECODE(c, call, &m))
            return skipped(c);
        invoke = NEW_INVOKE(c, &m);
        invoke->sink = result_sink(c, m.result_completion_id);
        journal_index_completion(c->ap, c->inv, m.result_completion_id, c->index, c->type);
        id_completion = m.invocation_id_notification_idx;
    } else {
        if (!DECODE(c, one_way_call, &w))
            return skipped(c);
        invoke = NEW_INVOKE(c, &w);
        invoke->execution_time_ms = w.invoke_time_ms;
        id_completion = w.invocation_id_notification_idx;
    }
    send_invoke(c->ap, &callee, invoke);
    return complete_callee_id(c, &callee, id_completion);
}

static int attach(struct command *c) {
    struct sp_attach_invocation m;
    struct cmd_attach *a;
    struct invocation_id id;

    if (!DECODE(c, attach_invocation, &m))
        return skipped(c);
    journal_index_completion(c->ap, c->inv, m.result_completion_id, c->index, c->type);
    if (!(c->call && take_id(c->call->id, &id)) && invocation_id_parse(m.invocation_id, &id, NULL) < 0) {
        uint32_t type = sp_type_result((uint16_t)c->type);

        return journal_complete(c->ap, c->inv, type, m.result_completion_id, failure_result(c->ap, 404, "not found"));
    }
    a = arena_new(c->ap->a, struct cmd_attach);
    a->id = arena_copy(c->ap->a, invocation_id_slice(&id));
    a->block = c->type == SP_ATTACH_INVOCATION;
    a->sink = result_sink(c, m.result_completion_id);
    send_attach(c->ap, &id, a);
    return 0;
}

/* ---- signals, sleep, promises ---- */

static int send_signal_command(struct command *c) {
    struct sp_send_signal m;
    struct cmd_signal *s;
    struct invocation_id id;

    if (!DECODE(c, send_signal, &m) || invocation_id_parse(m.target_invocation_id, &id, NULL) < 0)
        return skipped(c);
    s = arena_new(c->ap->a, struct cmd_signal);
    s->target = arena_copy(c->ap->a, invocation_id_slice(&id));
    s->index = m.idx;
    s->name = m.has_idx ? SLICE_NULL : m.signal_name;
    s->result = result_of(c->ap, m.value, m.failure);
    send_signal(c->ap, &id, s);
    return 0;
}

static int complete_awakeable(struct command *c) {
    struct sp_complete_awakeable m;
    struct awakeable_id awakeable;
    struct cmd_signal *s;

    if (!DECODE(c, complete_awakeable, &m) || awakeable_id_parse(m.awakeable_id, &awakeable, NULL) < 0)
        return skipped(c);
    if (awakeable.legacy) /* nobody waits for it */
        return 0;
    s = arena_new(c->ap->a, struct cmd_signal);
    s->target = arena_copy(c->ap->a, invocation_id_slice(&awakeable.invocation));
    s->index = awakeable.index;
    s->result = result_of(c->ap, m.value, m.failure);
    send_signal(c->ap, &awakeable.invocation, s);
    return 0;
}

static int sleep_command(struct command *c) {
    struct sp_sleep m;

    if (!DECODE(c, sleep, &m))
        return skipped(c);
    journal_index_completion(c->ap, c->inv, m.result_completion_id, c->index, c->type);
    timer_add(c->ap, &(struct sm_timer){.time_ms = m.wake_up_time_ms,
                                        .kind = TIMER_SLEEP,
                                        .id = c->inv->id,
                                        .completion_id = m.result_completion_id});
    return 0;
}

static int promise(struct command *c) {
    struct sp_get_promise get;
    struct sp_peek_promise peek;
    struct sp_complete_promise complete;
    int r;

    if (!keyed(c))
        return 0;
    if ((r = inv_body(c->ap, c->inv)) < 0)
        return r;
    switch (c->type) {
    case SP_GET_PROMISE:
        if (!DECODE(c, get_promise, &get))
            return skipped(c);
        journal_index_completion(c->ap, c->inv, get.result_completion_id, c->index, c->type);
        return promise_get(c->ap, c->inv, get.key, get.result_completion_id);
    case SP_PEEK_PROMISE:
        if (!DECODE(c, peek_promise, &peek))
            return skipped(c);
        return promise_peek(c->ap, c->inv, peek.key, peek.result_completion_id);
    default:
        if (!DECODE(c, complete_promise, &complete))
            return skipped(c);
        return promise_complete(c->ap, c->inv, complete.key, result_of(c->ap, complete.value, complete.failure),
                                complete.result_completion_id);
    }
}

int command_effect(struct apply *ap, struct inv *inv, uint32_t index, const struct cmd_effect *e) {
    struct command c = {.ap = ap, .inv = inv, .index = index, .type = e->type, .payload = e->payload, .call = e->call};

    switch (e->type) {
    case SP_GET_LAZY_STATE:
        return get_lazy_state(&c);
    case SP_GET_LAZY_STATE_KEYS:
        return get_lazy_state_keys(&c);
    case SP_SET_STATE:
    case SP_CLEAR_STATE:
    case SP_CLEAR_ALL_STATE:
        return change_state(&c);
    case SP_SLEEP:
        return sleep_command(&c);
    case SP_CALL:
    case SP_ONE_WAY_CALL:
        return call(&c);
    case SP_SEND_SIGNAL:
        return send_signal_command(&c);
    case SP_COMPLETE_AWAKEABLE:
        return complete_awakeable(&c);
    case SP_ATTACH_INVOCATION:
    case SP_GET_INVOCATION_OUTPUT:
        return attach(&c);
    case SP_GET_PROMISE:
    case SP_PEEK_PROMISE:
    case SP_COMPLETE_PROMISE:
        return promise(&c);
    default: /* Output, Run, eager reads, and what newer protocols may add: stored only */
        return 0;
    }
}
