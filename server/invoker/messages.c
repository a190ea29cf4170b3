/* SPDX-License-Identifier: Apache-2.0 */
/* invoker/messages.c : what the SDK says on an attempt's stream becomes effects.
 *
 * Commands are stored verbatim. What needs the schema or randomness is resolved here, before the log: the callee's id,
 * type and retentions of a call (execution.md §9.4). A violated precondition fails the attempt; it never reaches the
 * state machine. */
#include "invoker/invoker_internal.h"

#include <stdarg.h>
#include <stdio.h>

static int fail(struct attempt *a, struct attempt_failure *f, uint32_t code, const char *doc, const char *fmt, ...)
    RS_PRINTF(5, 6);

/* The text lives in the invoker's arena, which is cleared with the next message. */
static int fail(struct attempt *a, struct attempt_failure *f, uint32_t code, const char *doc, const char *fmt, ...) {
    char text[512];
    va_list ap;

    va_start(ap, fmt);
    (void)vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    f->code = code;
    f->doc_code = doc;
    f->message = arena_copy(&a->inv->arena, slice_str(text));
    return RS_EINVAL;
}

static int malformed(struct attempt *a, struct attempt_failure *f, uint16_t type, const struct err *e) {
    if (e->code == RS_ETOOBIG) /* a future nested too deeply: no retry will make it smaller */
        f->behavior = SP_BEHAVIOR_PAUSE;
    return fail(a, f, 571, e->code == RS_ETOOBIG ? "RT0025" : "RT0012", "malformed %s message: %s", sp_type_name(type),
                e->msg);
}

void attempt_flush(struct attempt *a) {
    struct invoker *inv = a->inv;
    size_t n = inv->n_effects;

    inv->n_effects = 0;
    if (n && a->in)
        a->in->owner->effects(a->in->owner, &a->in->id, a->in->start_lsn, inv->effects, n);
}

static struct cmd_effect *push(struct attempt *a, uint32_t kind) {
    struct cmd_effect *e = &a->inv->effects[a->inv->n_effects++];

    *e = (struct cmd_effect){.kind = kind};
    return e;
}

/* What is pinned goes before the first thing the attempt leaves in the journal. */
static void pin(struct attempt *a) {
    struct cmd_effect *e;

    if (a->pinned)
        return;
    a->pinned = true;
    e = push(a, EFFECT_PINNED);
    e->deployment = slice_str(a->deployment);
    e->protocol = a->protocol;
}

/* ---- calls: resolve the callee ---- */

struct callee {
    struct slice service, handler, key, idempotency_key, scope, limit_key;
};

static void derive(struct attempt *a, const struct id_target *t, struct invocation_id *ret) {
    uint8_t random[ID_RANDOM_BYTES];

    loop_random(a->inv->loop, random, sizeof random);
    (void)invocation_id_derive(t, loop_wall_ns(a->inv->loop) / 1000000, random, ret);
}

static int check_scope(struct attempt *a, const struct callee *c, const struct service *s, struct attempt_failure *f) {
    if (c->limit_key.len)
        return fail(a, f, 400, "RT0024", c->scope.len ? "limit keys are not supported" : "a limit key needs a scope");
    if (!c->scope.len)
        return 0;
    if (!a->inv->params.scopes)
        return fail(a, f, 400, "RT0024", "scopes are not enabled on this server");
    if (s->type == SERVICE_OBJECT)
        return fail(a, f, 400, "RT0024", "virtual object " SLICE_FMT " cannot be called in a scope",
                    SLICE_ARG(c->service));
    if (!id_is_scope(c->scope))
        return fail(a, f, 400, "RT0024", "bad scope '" SLICE_FMT "': 1 to 36 letters, digits, '_', '.' and '-'",
                    SLICE_ARG(c->scope));
    return 0;
}

static int resolve(struct attempt *a, const struct callee *c, struct cmd_call **ret, struct attempt_failure *f) {
    const struct service *s = schema_service(a->inv->schema, c->service);
    const struct schema_handler *h = s ? service_handler(s, c->handler) : NULL;
    struct cmd_call *call;
    struct cmd_target *t;
    struct schema_retention keep;
    struct invocation_id id;
    int r;

    if (!h)
        return fail(a, f, 404, "RT0018", "cannot call " SLICE_FMT "/" SLICE_FMT ": no such %s is registered",
                    SLICE_ARG(c->service), SLICE_ARG(c->handler), s ? "handler" : "service");
    if (s->type == SERVICE_PLAIN && c->key.len)
        return fail(a, f, 400, "RT0017", "service " SLICE_FMT " takes no key", SLICE_ARG(c->service));
    if (c->idempotency_key.data && c->idempotency_key.len == 0)
        return fail(a, f, 400, "RT0017", "the idempotency key of a call to " SLICE_FMT " is empty",
                    SLICE_ARG(c->service));
    if ((r = check_scope(a, c, s, f)) < 0)
        return r;
    call = arena_new(&a->inv->arena, struct cmd_call);
    t = arena_new(&a->inv->arena, struct cmd_target);
    *t = (struct cmd_target){.type = (uint32_t)h->target_type, .service = c->service, .handler = c->handler};
    if (s->type != SERVICE_PLAIN)
        t->key = c->key.data ? c->key : SLICE_LIT("");
    t->scope = c->scope.len ? c->scope : SLICE_NULL;
    derive(a,
           &(struct id_target){.type = t->type,
                               .service = t->service,
                               .key = t->key,
                               .handler = t->handler,
                               .scope = t->scope,
                               .idem_key = c->idempotency_key},
           &id);
    keep = schema_retention(h, c->idempotency_key.len > 0);
    call->id = arena_copy(&a->inv->arena, slice_of(id.raw, sizeof id.raw));
    call->target = t;
    call->completion_retention_ms = keep.completion_ms;
    call->journal_retention_ms = keep.journal_ms;
    *ret = call;
    return 0;
}

/* Attach and get-output: only the id is needed. */
static int resolve_attach(struct attempt *a, const struct sp_attach_invocation *m, struct cmd_call **ret,
                          struct attempt_failure *f) {
    struct cmd_call *call = arena_new(&a->inv->arena, struct cmd_call);
    struct invocation_id id;
    struct err e = {0};

    if (m->invocation_id.data) {
        if (invocation_id_parse(m->invocation_id, &id, &e) < 0)
            return fail(a, f, 400, "RT0017", "bad invocation id '" SLICE_FMT "': %s", SLICE_ARG(m->invocation_id),
                        e.msg);
    } else if (m->workflow) {
        derive(a,
               &(struct id_target){.type = TARGET_WORKFLOW_RUN,
                                   .service = m->workflow->workflow_name,
                                   .key = m->workflow->workflow_key,
                                   .scope = m->workflow->scope,
                                   .handler = SLICE_LIT("run")},
               &id);
    } else if (m->idempotent) {
        derive(a,
               &(struct id_target){.type = m->idempotent->service_key.data ? TARGET_OBJECT_SHARED : TARGET_SERVICE,
                                   .service = m->idempotent->service_name,
                                   .key = m->idempotent->service_key,
                                   .handler = m->idempotent->handler_name,
                                   .scope = m->idempotent->scope,
                                   .idem_key = m->idempotent->idempotency_key},
               &id);
    } else {
        return fail(a, f, 571, "RT0012", "an attach command names no target");
    }
    call->id = arena_copy(&a->inv->arena, slice_of(id.raw, sizeof id.raw));
    *ret = call;
    return 0;
}

/* ---- preconditions by command (service-protocol.md §7) ---- */

static bool keyed(const struct attempt *a) {
    return a->target_type != TARGET_SERVICE;
}
static bool may_write(const struct attempt *a) {
    return a->target_type == TARGET_OBJECT_EXCLUSIVE || a->target_type == TARGET_WORKFLOW_RUN;
}
static bool is_workflow(const struct attempt *a) {
    return a->target_type == TARGET_WORKFLOW_RUN || a->target_type == TARGET_WORKFLOW_SHARED;
}

static int check_context(struct attempt *a, uint16_t type, struct attempt_failure *f) {
    switch (type) {
    case SP_GET_LAZY_STATE:
    case SP_GET_LAZY_STATE_KEYS:
    case SP_GET_EAGER_STATE:
    case SP_GET_EAGER_STATE_KEYS:
        return keyed(a) ? 0 : fail(a, f, 500, "RT0017", "%s in a handler without a key", sp_type_name(type));
    case SP_SET_STATE:
    case SP_CLEAR_STATE:
    case SP_CLEAR_ALL_STATE:
        return may_write(a) ? 0
                            : fail(a, f, 500, "RT0017", "%s in a handler that may not write state", sp_type_name(type));
    case SP_GET_PROMISE:
    case SP_PEEK_PROMISE:
    case SP_COMPLETE_PROMISE:
        return is_workflow(a) ? 0 : fail(a, f, 500, "RT0017", "%s outside of a workflow", sp_type_name(type));
    default:
        return 0;
    }
}

static int resolve_command(struct attempt *a, uint16_t type, struct slice payload, struct cmd_call **ret,
                           struct attempt_failure *f) {
    struct arena *ar = &a->inv->arena;
    struct err e = {0};

    switch (type) {
    case SP_CALL: {
        struct sp_call m;

        if (sp_call_decode(&m, payload, ar, &e) < 0)
            return malformed(a, f, type, &e);
        return resolve(a,
                       &(struct callee){m.service_name, m.handler_name, m.key, m.idempotency_key, m.scope, m.limit_key},
                       ret, f);
    }
    case SP_ONE_WAY_CALL: {
        struct sp_one_way_call m;

        if (sp_one_way_call_decode(&m, payload, ar, &e) < 0)
            return malformed(a, f, type, &e);
        return resolve(a,
                       &(struct callee){m.service_name, m.handler_name, m.key, m.idempotency_key, m.scope, m.limit_key},
                       ret, f);
    }
    case SP_ATTACH_INVOCATION:
    case SP_GET_INVOCATION_OUTPUT: {
        struct sp_attach_invocation m;

        if (sp_attach_invocation_decode(&m, payload, ar, &e) < 0)
            return malformed(a, f, type, &e);
        return resolve_attach(a, &m, ret, f);
    }
    case SP_SEND_SIGNAL: {
        struct sp_send_signal m;
        struct invocation_id id;

        if (sp_send_signal_decode(&m, payload, ar, &e) < 0)
            return malformed(a, f, type, &e);
        if (invocation_id_parse(m.target_invocation_id, &id, &e) < 0)
            return fail(a, f, 400, "RT0017", "bad invocation id '" SLICE_FMT "': %s", SLICE_ARG(m.target_invocation_id),
                        e.msg);
        return 0;
    }
    case SP_COMPLETE_AWAKEABLE: {
        struct sp_complete_awakeable m;
        struct awakeable_id id;

        if (sp_complete_awakeable_decode(&m, payload, ar, &e) < 0)
            return malformed(a, f, type, &e);
        if (awakeable_id_parse(m.awakeable_id, &id, &e) < 0)
            return fail(a, f, 400, "RT0017", "bad awakeable id '" SLICE_FMT "': %s", SLICE_ARG(m.awakeable_id), e.msg);
        return 0;
    }
    default:
        return sp_message_check(type, payload, ar, &e) < 0 ? malformed(a, f, type, &e) : 0;
    }
}

static int on_command(struct attempt *a, uint16_t type, uint16_t flags, struct slice payload,
                      struct attempt_failure *f) {
    struct invocation *in = a->in;
    struct cmd_call *call = NULL;
    struct cmd_effect *e;
    int r = check_context(a, type, f);

    if (r == 0)
        r = resolve_command(a, type, payload, &call, f);
    if (r < 0) {
        f->has_command = true;
        f->command_index = a->next_command;
        f->command_type = type;
        return r;
    }
    pin(a);
    e = push(a, EFFECT_COMMAND);
    e->type = type;
    e->payload = payload.data ? payload : SLICE_LIT("");
    e->call = call;
    if (flags & SP_FLAG_REQUESTED_ACK) {
        a->ack_wanted = true;
        a->ack_upto = a->next_command;
    }
    a->next_command++;
    in->commands_sent = a->next_command;
    in->retries_since_entry = 0;
    return 0;
}

static int on_run_completion(struct attempt *a, struct slice payload, struct attempt_failure *f) {
    struct arena *ar = &a->inv->arena;
    struct sp_propose_run_completion m;
    struct sp_notification *n = arena_new(ar, struct sp_notification);
    struct cmd_effect *e;
    struct buf out;
    struct err err = {0};

    if (sp_propose_run_completion_decode(&m, payload, ar, &err) < 0)
        return malformed(a, f, SP_PROPOSE_RUN_COMPLETION, &err);
    if (!m.value.data == !m.failure)
        return fail(a, f, 571, "RT0012", "a run completion has no result, or two");
    n->completion_id = m.result_completion_id;
    n->has_completion_id = true;
    n->failure = m.failure;
    if (m.value.data) {
        struct sp_value *v = arena_new(ar, struct sp_value);

        v->content = m.value;
        n->value = v;
    }
    out = (struct buf){.cap = sp_notification_size(n)}; /* exactly what comes: it stays in the arena */
    out.data = arena_alloc(ar, out.cap);
    sp_notification_encode(n, &out);
    pin(a);
    e = push(a, EFFECT_RUN_COMPLETION);
    e->type = SP_RUN_COMPLETION;
    e->payload = buf_slice(&out);
    a->in->runs_pending++;
    return 0;
}

/* The same tree in the log's encoding; the members have the same shape. */
static struct cmd_future *future_of(struct arena *ar, const struct sp_future *f) {
    struct cmd_future *c = arena_new(ar, struct cmd_future);
    struct cmd_future *nested = arena_newn(ar, struct cmd_future, f->n_nested + 1);

    for (size_t i = 0; i < f->n_nested; i++)
        nested[i] = *future_of(ar, &f->nested[i]);
    *c = (struct cmd_future){.completions = f->waiting_completions,
                             .n_completions = f->n_waiting_completions,
                             .signals = f->waiting_signals,
                             .n_signals = f->n_waiting_signals,
                             .names = f->waiting_named_signals,
                             .n_names = f->n_waiting_named_signals,
                             .nested = nested,
                             .n_nested = f->n_nested,
                             .combinator = f->combinator};
    return c;
}

static bool has_leaf(const struct cmd_future *f) {
    if (f->n_completions || f->n_signals || f->n_names)
        return true;
    for (size_t i = 0; i < f->n_nested; i++)
        if (has_leaf(&f->nested[i]))
            return true;
    return false;
}

static int on_suspension(struct attempt *a, struct slice payload, struct attempt_failure *f) {
    struct arena *ar = &a->inv->arena;
    struct sp_suspension m;
    struct cmd_effect *e;
    struct cmd_future *future;
    struct err err = {0};

    if (sp_suspension_decode(&m, payload, ar, &err) < 0)
        return malformed(a, f, SP_SUSPENSION, &err);
    if (m.awaiting_on) {
        future = future_of(ar, m.awaiting_on);
    } else {
        struct sp_future flat = {.waiting_completions = m.waiting_completions,
                                 .n_waiting_completions = m.n_waiting_completions,
                                 .waiting_signals = m.waiting_signals,
                                 .n_waiting_signals = m.n_waiting_signals,
                                 .waiting_named_signals = m.waiting_named_signals,
                                 .n_waiting_named_signals = m.n_waiting_named_signals};

        future = future_of(ar, &flat);
    }
    if (!has_leaf(future))
        return fail(a, f, 571, "RT0012", "the suspension waits for nothing");
    e = push(a, EFFECT_SUSPENDED);
    e->future = future;
    a->terminal = true;
    return 0;
}

static int on_error(struct attempt *a, struct slice payload, struct attempt_failure *f) {
    struct sp_error m;
    struct err err = {0};

    if (sp_error_decode(&m, payload, &a->inv->arena, &err) < 0)
        return malformed(a, f, SP_ERROR, &err);
    a->terminal = true;
    f->code = m.code > 65535 || m.code == 0 ? 500 : m.code;
    f->doc_code = m.code == 570 ? "RT0016" : m.code == 571 ? "RT0012" : "RT0007";
    f->message = m.message;
    f->stack = m.stacktrace;
    f->has_command = m.has_related_command_index;
    f->command_index = m.related_command_index;
    f->command_name = m.related_command_name;
    f->command_type = m.related_command_type;
    f->has_delay = m.has_next_retry_delay_ms;
    f->delay_ms = m.next_retry_delay_ms;
    f->behavior = a->protocol >= 7 ? (int)m.behavior : SP_BEHAVIOR_RETRY;
    return RS_EINVAL;
}

int attempt_message(struct attempt *a, uint16_t type, uint16_t flags, struct slice payload, struct attempt_failure *f) {
    if (!sp_type_allowed_from_sdk(type))
        return fail(a, f, 571, "RT0012", "the SDK must not send a %s message", sp_type_name(type));
    if (a->inv->n_effects + 2 > ARRAY_SIZE(a->inv->effects))
        attempt_flush(a);
    switch (type) {
    case SP_SUSPENSION:
        return on_suspension(a, payload, f);
    case SP_ERROR:
        return on_error(a, payload, f);
    case SP_END:
        a->terminal = true;
        pin(a);
        (void)push(a, EFFECT_END);
        return 0;
    case SP_PROPOSE_RUN_COMPLETION:
        return on_run_completion(a, payload, f);
    case SP_AWAITING_ON: /* a hint for displays */
        return 0;
    default:
        return on_command(a, type, flags, payload, f);
    }
}
