/* SPDX-License-Identifier: Apache-2.0 */
#include "worker/sm_random.h"

static const char *const keys[] = {"a", "b", "c", "d", "e", "f", "g", "h"};
enum { N_KEYS = 8, IDS_PER_KEY = 12 };

uint64_t sm_random_next(struct sm_random *r) {
    r->state ^= r->state << 13;
    r->state ^= r->state >> 7;
    r->state ^= r->state << 17;
    return r->state >> 11;
}

static uint32_t below(struct sm_random *r, uint32_t n) {
    return (uint32_t)(sm_random_next(r) % n);
}

static const char *local_key(struct sm_random *r, struct fixture *f) {
    for (;;) {
        const char *k = keys[below(r, N_KEYS)];

        if (get_u64be(fx_id(f, k, 1).data) <= r->last_key)
            return k;
    }
}

/* Numbers 1 and 2 of a key are workflow runs, so that their ids collide on purpose; the type follows from the number.
 */
static uint32_t type_of(uint64_t n) {
    static const uint32_t types[] = {TARGET_OBJECT_EXCLUSIVE, TARGET_WORKFLOW_RUN,  TARGET_WORKFLOW_RUN,
                                     TARGET_WORKFLOW_SHARED,  TARGET_OBJECT_SHARED, TARGET_SERVICE};

    return n < 6 ? types[n] : TARGET_OBJECT_EXCLUSIVE;
}

static struct slice any_id(struct sm_random *r, struct fixture *f, const char **key, uint64_t *n) {
    *key = local_key(r, f);
    *n = 1 + below(r, IDS_PER_KEY);
    return fx_id(f, *key, *n);
}

struct pick {
    struct invocation_id ids[64];
    size_t n;
};

static int pick_each(void *arg, const struct invocation_id *id) {
    struct pick *p = arg;

    p->ids[p->n++] = *id;
    return p->n == 64;
}

/* A running invocation, if there is one: that is where most records come from. */
static struct slice running_id(struct sm_random *r, struct fixture *f) {
    struct pick p = {0};
    const char *key;
    uint64_t n;

    if (tables_invoked(&f->t.reader, pick_each, &p, NULL) < 0 || !p.n || below(r, 20) == 0)
        return any_id(r, f, &key, &n);
    return arena_copy(&f->scratch, invocation_id_slice(&p.ids[below(r, (uint32_t)p.n)]));
}

static uint32_t completion(struct sm_random *r) {
    return below(r, 3) ? ++r->next_id : 1 + below(r, r->next_id + 1);
}

static struct cmd_future *future(struct sm_random *r, struct fixture *f, unsigned depth) {
    struct cmd_future *t = arena_new(&f->scratch, struct cmd_future);
    uint32_t *ids = arena_newn(&f->scratch, uint32_t, 4), *signals = arena_newn(&f->scratch, uint32_t, 2);
    static const struct slice names[] = {SLICE_LIT("n1"), SLICE_LIT("n2")};

    t->combinator = below(r, 5);
    t->n_completions = below(r, 4);
    for (size_t i = 0; i < t->n_completions; i++)
        ids[i] = 1 + below(r, r->next_id + 1);
    t->completions = ids;
    t->n_signals = below(r, 2);
    signals[0] = below(r, 2) ? 1 : 17;
    t->signals = signals;
    t->names = names;
    t->n_names = below(r, 8) == 0;
    if (depth && below(r, 2)) {
        struct cmd_future *nested = arena_newn(&f->scratch, struct cmd_future, 2);

        t->n_nested = 1 + below(r, 2);
        for (size_t i = 0; i < t->n_nested; i++)
            nested[i] = *future(r, f, depth - 1);
        t->nested = nested;
    }
    return t;
}

static const char *text_id(struct fixture *f, struct slice raw) {
    char *text = arena_alloc(&f->scratch, INVOCATION_ID_CHARS + 1);
    struct invocation_id id;

    memcpy(id.raw, raw.data, sizeof id.raw);
    invocation_id_format(&id, text);
    return text;
}

static struct cmd_effect call_effect(struct sm_random *r, struct fixture *f) {
    const char *key = keys[below(r, N_KEYS)];
    uint64_t n = 1 + below(r, IDS_PER_KEY);
    uint32_t type = below(r, 2) ? SP_CALL : SP_ONE_WAY_CALL, first = completion(r);

    return fx_call(f, type, fx_id(f, key, n), type_of(n), key, first, completion(r),
                   below(r, 4) ? 0 : f->now_ms + below(r, 5000));
}

static struct cmd_effect command_effect_of(struct sm_random *r, struct fixture *f) {
    struct sp_value *value = arena_new(&f->scratch, struct sp_value);
    struct sp_failure *failure = arena_new(&f->scratch, struct sp_failure);
    struct slice name = below(r, 2) ? SLICE_LIT("s1") : SLICE_LIT("s2");
    bool fails = below(r, 4) == 0;
    struct slice other = fx_id(f, keys[below(r, N_KEYS)], 1 + below(r, IDS_PER_KEY));
    const char *text = text_id(f, other);
    struct awakeable_id awakeable = {.index = 17 + below(r, 2)};
    char awakeable_text[AWAKEABLE_ID_CHARS + 1];

    value->content = below(r, 2) ? SLICE_LIT("v1") : SLICE_LIT("value number two");
    failure->code = 500;
    failure->message = SLICE_LIT("failed");
    memcpy(awakeable.invocation.raw, other.data, 24);
    awakeable_id_format(&awakeable, awakeable_text);
    switch (below(r, 18)) {
    case 0:
        return fx_command(SP_GET_LAZY_STATE,
                          SP_BYTES(f, get_lazy_state, .key = name, .result_completion_id = completion(r)));
    case 1:
        return fx_command(SP_GET_LAZY_STATE_KEYS,
                          SP_BYTES(f, get_lazy_state_keys, .result_completion_id = completion(r)));
    case 2:
    case 3:
        return fx_command(SP_SET_STATE, SP_BYTES(f, set_state, .key = name, .value = value));
    case 4:
        return fx_command(SP_CLEAR_STATE, SP_BYTES(f, clear_state, .key = name));
    case 5:
        return fx_command(below(r, 4) ? SP_RUN : SP_CLEAR_ALL_STATE,
                          SP_BYTES(f, run, .result_completion_id = completion(r)));
    case 6:
    case 7:
        return fx_command(SP_SLEEP, SP_BYTES(f, sleep, .wake_up_time_ms = f->now_ms + below(r, 2000),
                                             .result_completion_id = completion(r)));
    case 8:
        return fx_command(SP_SEND_SIGNAL,
                          SP_BYTES(f, send_signal, .target_invocation_id = slice_str(text), .has_idx = true,
                                   .idx = below(r, 3) ? 17 : 1, .value = fails ? NULL : value));
    case 9:
        return fx_command(SP_SEND_SIGNAL, SP_BYTES(f, send_signal, .target_invocation_id = slice_str(text),
                                                   .signal_name = SLICE_LIT("n1"), .failure = fails ? failure : NULL));
    case 10:
        return fx_command(SP_COMPLETE_AWAKEABLE,
                          SP_BYTES(f, complete_awakeable, .awakeable_id = slice_str(awakeable_text), .value = value));
    case 11:
        return fx_command(
            below(r, 2) ? SP_ATTACH_INVOCATION : SP_GET_INVOCATION_OUTPUT,
            SP_BYTES(f, attach_invocation, .invocation_id = slice_str(text), .result_completion_id = completion(r)));
    case 12:
        return fx_command(SP_GET_PROMISE, SP_BYTES(f, get_promise, .key = name, .result_completion_id = completion(r)));
    case 13:
        return fx_command(SP_COMPLETE_PROMISE,
                          SP_BYTES(f, complete_promise, .key = name, .value = fails ? NULL : value,
                                   .failure = fails ? failure : NULL, .result_completion_id = completion(r)));
    case 14:
        return fx_command(SP_PEEK_PROMISE,
                          SP_BYTES(f, peek_promise, .key = name, .result_completion_id = completion(r)));
    case 15:
        return fx_command(0x0400 + below(r, 24), SLICE_LIT("\xff\x01nonsense"));
    default:
        return call_effect(r, f);
    }
}

static int effects(struct sm_random *r, struct fixture *f) {
    struct cmd_effect e[8];
    struct cmd_failure failure = {.code = 571, .message = SLICE_LIT("bad")};
    struct cmd_event event = {.type = EVENT_TRANSIENT_ERROR, .code = 500, .message = SLICE_LIT("boom")};
    size_t n = 0, commands = below(r, 5);
    struct slice id = running_id(r, f);
    const struct sp_value value = {.content = SLICE_LIT("run")};

    e[n++] = fx_pinned(5 + below(r, 3));
    for (size_t i = 0; i < commands; i++)
        e[n++] = command_effect_of(r, f);
    switch (below(r, 12)) {
    case 0:
    case 1:
    case 2:
        e[n++] = fx_suspend(future(r, f, 3));
        break;
    case 3:
        e[n++] = (struct cmd_effect){.kind = EFFECT_FAILED, .failure = &failure};
        break;
    case 4:
        e[n++] = (struct cmd_effect){.kind = EFFECT_PAUSED, .event = &event};
        break;
    case 5:
        e[n++] = (struct cmd_effect){.kind = EFFECT_EVENT, .event = &event};
        break;
    case 6:
        e[n++] = (struct cmd_effect){.kind = EFFECT_RUN_COMPLETION,
                                     .payload = SP_BYTES(f, notification, .has_completion_id = true,
                                                         .completion_id = completion(r),
                                                         .value = (struct sp_value *)(uintptr_t)&value)};
        break;
    case 7:
        e[n++] = (struct cmd_effect){.kind = below(r, 12)};
        break;
    case 8:
    case 9:
        e[n++] = fx_output(f, "result");
        e[n++] = fx_end();
        break;
    default:
        break;
    }
    return fx_effects(f, id, e, n);
}

struct timers {
    struct sm_timer t[16];
    size_t n;
};

static int take_timer(void *arg, const struct sm_timer *t) {
    struct timers *ts = arg;

    ts->t[ts->n++] = *t;
    return ts->n == 16;
}

static int timer(struct sm_random *r, struct fixture *f) {
    struct timers ts = {0};
    const struct sm_timer *t;

    if (tables_timers(&f->t.reader, NULL, take_timer, &ts, NULL) < 0 || !ts.n)
        return effects(r, f);
    t = &ts.t[below(r, (uint32_t)ts.n)];
    return FX(f, CMD_TIMER, timer, .time_ms = t->time_ms, .kind = t->kind,
              .id = arena_copy(&f->scratch, invocation_id_slice(&t->id)),
              .completion_id = t->completion_id + (below(r, 20) == 0));
}

static int invoke(struct sm_random *r, struct fixture *f) {
    static const char *const requests[] = {"request-0000-001", "request-0000-002", "request-0000-003"};
    struct fx_invoke o = {0};
    const char *key;
    uint64_t n;
    struct slice id = any_id(r, f, &key, &n);

    o.type = type_of(n);
    o.key = key;
    o.request = below(r, 2) ? requests[below(r, 3)] : NULL;
    o.submit = below(r, 3) ? NULL : requests[below(r, 3)];
    o.at_ms = below(r, 6) ? 0 : f->now_ms + below(r, 1000);
    o.retention_ms = below(r, 3) * 500;
    o.journal_ms = below(r, 3) * 400;
    return fx_invoke(f, id, o);
}

static int patch(struct sm_random *r, struct fixture *f) {
    struct cmd_state_entry entries[2] = {{SLICE_LIT("s1"), SLICE_LIT("p1"), SLICE_NULL},
                                         {SLICE_LIT("s9"), SLICE_LIT("p9"), SLICE_NULL}};

    return FX(f, CMD_PATCH_STATE, patch_state, .service = SLICE_LIT("S"), .key = slice_str(local_key(r, f)),
              .entries = entries, .n_entries = below(r, 3), .check_version = below(r, 4) == 0,
              .version = SLICE_LIT("x"));
}

static int administration(struct sm_random *r, struct fixture *f) {
    struct cmd_deployment_patch patched = {
        .outcome = below(r, 5), .deployment = SLICE_LIT("dp_two"), .min_protocol = 5, .max_protocol = 5 + below(r, 3)};
    struct cmd_sink sink = {.request_id = SLICE_LIT("request-0000-009")};
    const char *key;
    uint64_t n;
    struct slice id = any_id(r, f, &key, &n), admin = SLICE_LIT(FX_ADMIN);

    switch (below(r, 10)) {
    case 0:
        return fx_terminate(f, id, TERMINATE_KILL);
    case 1:
        return fx_terminate(f, id, TERMINATE_CANCEL);
    case 2:
        return FX(f, CMD_PAUSE, pause, .id = id, .request_id = admin);
    case 3:
        return FX(f, CMD_RESUME, resume, .id = id, .patch = below(r, 2) ? &patched : NULL, .request_id = admin);
    case 4:
        return FX(f, CMD_RESTART, restart, .id = id, .new_id = fx_id(f, key, 1 + below(r, IDS_PER_KEY)),
                  .from = below(r, 4), .patch = below(r, 3) ? NULL : &patched, .request_id = admin);
    case 5:
    case 6:
        return FX(f, CMD_PURGE_INVOCATION, purge, .id = id, .request_id = admin);
    case 7:
        return FX(f, CMD_PURGE_JOURNAL, purge, .id = id, .request_id = admin);
    case 8:
        return FX(f, CMD_ATTACH, attach, .id = id, .block = below(r, 2), .sink = &sink);
    default:
        return patch(r, f);
    }
}

int sm_random_step(struct sm_random *r, struct fixture *f) {
    struct cmd_result result = {.value = SLICE_LIT("answer")};
    struct fsm_hot fsm = {0};

    f->now_ms += below(r, 100);
    switch (below(r, 24)) {
    case 0:
    case 1:
    case 2:
    case 3:
    case 4:
        return invoke(r, f);
    case 5:
    case 6:
        return timer(r, f);
    case 7:
        return fx_signal(f, running_id(r, f), below(r, 2) ? 17 : 1, below(r, 3) ? NULL : "n2", "x");
    case 8:
    case 9:
    case 10:
        return administration(r, f);
    case 11: /* the answer of a call to another partition */
        return FX(f, CMD_RESPONSE, response, .caller = running_id(r, f), .completion_id = 1 + below(r, r->next_id + 1),
                  .result = &result, .not_ready = below(r, 8) == 0);
    case 12:
        if (tables_fsm(&f->t.reader, &fsm, NULL) < 0)
            fsm.outbox_head = 1;
        return FX(f, CMD_TRUNCATE_OUTBOX, truncate_outbox, .seq = fsm.outbox_head + below(r, 3));
    case 13:
        if (below(r, 10))
            return effects(r, f);
        f->epoch++;
        f->seq = 0;
        return FX(f, CMD_ANNOUNCE_LEADER, announce_leader, .epoch = f->epoch, .node = SLICE_LIT("N1:1"));
    default:
        return effects(r, f);
    }
}
