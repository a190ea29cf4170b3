/* SPDX-License-Identifier: Apache-2.0 */
/* What commands and notifications do (execution.md §9 to §11, §16 to §19). */
#include "unit.h"
#include "proto/trace_context.h"
#include "worker/sm_fixture.h"

#define R1 "request-0000-001"
#define CHECK(f)                                                                                                       \
    do {                                                                                                               \
        char why_[256];                                                                                                \
        const char *wrong_ = fixture_check((f), why_);                                                                 \
        if (wrong_)                                                                                                    \
            fail_msg("%s", wrong_);                                                                                    \
    } while (0)

static const struct sp_value one = {.content = {(const uint8_t *)"1", 1}};
static const uint32_t cancel_signal[] = {1};

/* An exclusive invocation of key @key with a pinned deployment, running. */
static struct slice running(struct fixture *f, const char *key, uint64_t n) {
    struct slice id = fx_id(f, key, n);

    assert_int_equal(
        fx_invoke(f, id, (struct fx_invoke){.key = key, .request = R1, .retention_ms = 1000, .journal_ms = 1000}), 0);
    assert_int_equal(FX_EFFECTS(f, id, fx_pinned(6)), 0);
    return id;
}

static struct sp_notification notification(struct fixture *f, const struct sm_action *a) {
    struct sp_notification n;

    assert_non_null(a);
    assert_int_equal(a->type, SM_ACTION_FORWARD_NOTIFICATION);
    assert_int_equal(sp_notification_decode(&n, a->forward.payload, &f->scratch, NULL), 0);
    return n;
}

static void state_commands_change_and_read_the_state_of_the_key(void **state) {
    struct fixture f;
    struct sp_notification n;
    struct slice id;

    (void)state;
    fixture_init(&f, 0, UINT64_MAX);
    id = running(&f, "k", 1);
    assert_int_equal(
        FX_EFFECTS(&f, id,
                   fx_command(SP_GET_LAZY_STATE,
                              SP_BYTES(&f, get_lazy_state, .key = SLICE_LIT("a"), .result_completion_id = 1)),
                   fx_command(SP_SET_STATE, SP_BYTES(&f, set_state, .key = SLICE_LIT("bb"),
                                                     .value = (struct sp_value *)(uintptr_t)&one)),
                   fx_command(SP_SET_STATE, SP_BYTES(&f, set_state, .key = SLICE_LIT("c"),
                                                     .value = (struct sp_value *)(uintptr_t)&one)),
                   fx_command(SP_SET_STATE, SP_BYTES(&f, set_state, .key = SLICE_LIT("a"),
                                                     .value = (struct sp_value *)(uintptr_t)&one)),
                   fx_command(SP_GET_LAZY_STATE,
                              SP_BYTES(&f, get_lazy_state, .key = SLICE_LIT("a"), .result_completion_id = 2)),
                   fx_command(SP_GET_LAZY_STATE_KEYS, SP_BYTES(&f, get_lazy_state_keys, .result_completion_id = 3)),
                   fx_command(SP_CLEAR_STATE, SP_BYTES(&f, clear_state, .key = SLICE_LIT("c")))),
        0);
    n = notification(&f, fixture_action(&f, SM_ACTION_FORWARD_NOTIFICATION, 0));
    assert_true(n.completion_id == 1 && n.none);
    n = notification(&f, fixture_action(&f, SM_ACTION_FORWARD_NOTIFICATION, 1));
    assert_true(n.completion_id == 2 && slice_eq_str(n.value->content, "1"));
    n = notification(&f, fixture_action(&f, SM_ACTION_FORWARD_NOTIFICATION, 2));
    assert_int_equal(n.state_keys->n_keys, 3);
    assert_true(slice_eq_str(n.state_keys->keys[1], "bb")); /* sorted as strings, not as rows */
    assert_string_equal(fx_journal(&f, id),
                        "Input GetLazyState ~GetLazyState SetState SetState SetState GetLazyState ~GetLazyState "
                        "GetLazyStateKeys ~GetLazyStateKeys ClearState");
    assert_int_equal(fx_rows(&f, T_STATE), 2);
    assert_int_equal(FX_EFFECTS(&f, id, fx_command(SP_CLEAR_ALL_STATE, SLICE_NULL)), 0);
    assert_int_equal(fx_rows(&f, T_STATE), 0);
    CHECK(&f);
    fixture_done(&f);
}

static void a_service_has_no_state(void **state) {
    struct fixture f;
    struct slice id;

    (void)state;
    fixture_init(&f, 0, UINT64_MAX);
    id = fx_id(&f, "k", 1);
    assert_int_equal(fx_invoke(&f, id, (struct fx_invoke){.type = TARGET_SERVICE}), 0);
    assert_int_equal(
        FX_EFFECTS(&f, id,
                   fx_command(SP_SET_STATE, SP_BYTES(&f, set_state, .key = SLICE_LIT("a"),
                                                     .value = (struct sp_value *)(uintptr_t)&one)),
                   fx_command(SP_GET_LAZY_STATE,
                              SP_BYTES(&f, get_lazy_state, .key = SLICE_LIT("a"), .result_completion_id = 1)),
                   fx_command(SP_GET_LAZY_STATE_KEYS, SP_BYTES(&f, get_lazy_state_keys, .result_completion_id = 2))),
        0);
    assert_non_null(notification(&f, fixture_action(&f, SM_ACTION_FORWARD_NOTIFICATION, 0)).none);
    assert_int_equal(notification(&f, fixture_action(&f, SM_ACTION_FORWARD_NOTIFICATION, 1)).state_keys->n_keys, 0);
    assert_int_equal(fx_rows(&f, T_STATE), 0);
    fixture_done(&f);
}

static void who_is_called_is_in_the_trace_of_the_caller(void **state) {
    static const uint8_t context[TRACE_CONTEXT_BYTES] = {7, [TRACE_CONTEXT_BYTES - 1] = TRACE_FLAG_SAMPLED};
    struct trace_context c;
    struct fixture f;
    struct slice id, callee;
    struct invocation_id raw;
    uint8_t span[SPAN_ID_BYTES];
    const struct sm_action *a;

    (void)state;
    fixture_init(&f, 0, UINT64_MAX);
    id = fx_id(&f, "k", 1);
    callee = fx_id(&f, "l", 2);
    assert_int_equal(fx_invoke(&f, id, (struct fx_invoke){.key = "k", .trace = slice_of(context, sizeof context)}), 0);
    assert_string_equal(fx_actions(&f), "trace-start invoke");
    assert_true(slice_eq_str(f.a.items[0].trace.key, "k"));
    assert_int_equal(FX_EFFECTS(&f, id, fx_call(&f, SP_CALL, callee, TARGET_OBJECT_EXCLUSIVE, "l", 1, 2, 0)), 0);
    a = fixture_action(&f, SM_ACTION_TRACE_START, 0);
    assert_memory_equal(a->id.raw, callee.data, callee.len);
    assert_int_equal(trace_context_decode(a->trace.context, &c), 0);
    assert_int_equal(c.trace[0], 7);
    memcpy(raw.raw, id.data, id.len);
    trace_span_of(&raw, span);
    assert_memory_equal(c.span, span, sizeof span);
    assert_int_equal(FX_EFFECTS(&f, callee, fx_output(&f, "x"), fx_end()), 0);
    a = fixture_action(&f, SM_ACTION_TRACE_END, 0);
    assert_memory_equal(a->id.raw, callee.data, callee.len);
    assert_int_equal(a->trace.code, 0);
    assert_int_equal(fx_terminate(&f, id, 1), 0); /* a kill ends the trace as well */
    a = fixture_action(&f, SM_ACTION_TRACE_END, 0);
    assert_int_equal(a->trace.code, 409);
    CHECK(&f);
    fixture_done(&f);
}

static void a_call_within_the_partition_needs_no_second_record(void **state) {
    struct fixture f;
    struct slice id, callee;
    struct sp_notification n;
    char text[INVOCATION_ID_CHARS + 1];
    struct invocation_id callee_id;

    (void)state;
    fixture_init(&f, 0, UINT64_MAX);
    id = running(&f, "k", 1);
    callee = fx_id(&f, "l", 2);
    assert_int_equal(FX_EFFECTS(&f, id, fx_call(&f, SP_CALL, callee, TARGET_OBJECT_EXCLUSIVE, "l", 1, 2, 0)), 0);
    assert_string_equal(fx_actions(&f), "ack-command forward-notification invoke");
    n = notification(&f, &f.a.items[1]);
    memcpy(callee_id.raw, callee.data, 24);
    invocation_id_format(&callee_id, text);
    assert_true(n.completion_id == 1 && slice_eq_str(n.invocation_id, text));
    assert_int_equal(fx_rows(&f, T_OUTBOX), 0);
    CHECK(&f);
    assert_int_equal(FX_EFFECTS(&f, callee, fx_output(&f, "answer"), fx_end()), 0);
    assert_string_equal(fx_actions(&f), "ack-command forward-notification");
    n = notification(&f, &f.a.items[1]);
    assert_true(n.completion_id == 2 && slice_eq_str(n.value->content, "answer"));
    assert_int_equal(f.a.items[1].forward.type, SP_CALL_COMPLETION);
    assert_int_equal(f.a.items[1].forward.entry_index, 3);
    assert_string_equal(fx_journal(&f, id), "Input Call ~CallInvocationId ~Call");
    CHECK(&f);
    fixture_done(&f);
}

static void a_handler_that_runs_a_workflow_twice_is_refused_the_second_time(void **state) {
    struct fixture f;
    struct slice id, flow;

    (void)state;
    fixture_init(&f, 0, UINT64_MAX);
    id = running(&f, "k", 1);
    flow = fx_id(&f, "w", 3);
    assert_int_equal(FX_EFFECTS(&f, id, fx_call(&f, SP_CALL, flow, TARGET_WORKFLOW_RUN, "w", 1, 2, 0)), 0);
    assert_int_equal(FX_EFFECTS(&f, id, fx_call(&f, SP_CALL, flow, TARGET_WORKFLOW_RUN, "w", 3, 4, 0)), 0);
    assert_string_equal(fx_actions(&f), "ack-command forward-notification forward-notification");
    assert_int_equal(notification(&f, &f.a.items[2]).failure->code, 409);
    CHECK(&f);
    assert_int_equal(FX_EFFECTS(&f, flow, fx_output(&f, "answer"), fx_end()), 0);
    assert_string_equal(fx_actions(&f), "ack-command forward-notification"); /* the first only */
    assert_int_equal(notification(&f, &f.a.items[1]).completion_id, 2);
    fixture_done(&f);
}

struct rows {
    uint64_t seq[8], pk[8];
    uint16_t kind[8];
    struct slice command[8];
    size_t n;
};

static int take_row(void *arg, uint64_t seq, uint64_t pk, uint16_t kind, struct slice command) {
    struct rows *r = arg;

    r->seq[r->n] = seq;
    r->pk[r->n] = pk;
    r->command[r->n] = command;
    r->kind[r->n++] = kind;
    return 0;
}

static void a_call_to_another_partition_goes_through_the_outbox(void **state) {
    struct fixture f, g;
    struct rows rows = {0}, back = {0};
    struct slice id, callee;
    uint64_t pk;
    struct record_header h = {
        .kind = CMD_INVOKE, .dedup = RECORD_DEDUP_PARTITION, .dedup_partition = 3, .dedup_seq = 1};

    (void)state;
    fixture_init(&f, 0, UINT64_MAX);
    pk = get_u64be(fx_id(&f, "k", 1).data);
    fixture_done(&f);
    fixture_init(&f, pk, pk); /* a partition of one key */
    fixture_init(&g, 0, UINT64_MAX);
    id = running(&f, "k", 1);
    callee = fx_id(&f, "l", 2);
    assert_int_equal(FX_EFFECTS(&f, id, fx_call(&f, SP_CALL, callee, TARGET_OBJECT_SHARED, "l", 1, 2, 0)), 0);
    assert_string_equal(fx_actions(&f), "ack-command new-outbox forward-notification");
    assert_int_equal(tables_outbox(&f.t.reader, 0, take_row, &rows, NULL), 0);
    assert_int_equal(rows.n, 1);
    assert_int_equal(rows.seq[0], 1);
    assert_int_equal(rows.kind[0], CMD_INVOKE);
    assert_int_equal(rows.pk[0], get_u64be(callee.data));
    CHECK(&f);

    assert_int_equal(fixture_apply_header(&g, &h, rows.command[0]), 0);
    assert_string_equal(fx_actions(&g), "invoke");
    assert_int_equal(fixture_apply_header(&g, &h, rows.command[0]), 0); /* sent again */
    assert_int_equal(g.a.n, 0);
    fixture_done(&g);
    fixture_init(&g, get_u64be(callee.data), get_u64be(callee.data));
    assert_int_equal(fixture_apply_header(&g, &h, rows.command[0]), 0);
    assert_int_equal(FX_EFFECTS(&g, callee, fx_output(&g, "answer"), fx_end()), 0);
    assert_int_equal(tables_outbox(&g.t.reader, 1, take_row, &back, NULL), 0);
    assert_int_equal(back.n, 1);
    assert_int_equal(back.kind[0], CMD_RESPONSE);

    assert_int_equal(FX(&f, CMD_TRUNCATE_OUTBOX, truncate_outbox, .seq = 1), 0);
    assert_int_equal(f.a.items[0].seq, 1);
    assert_int_equal(fx_rows(&f, T_OUTBOX), 0);
    h.kind = CMD_RESPONSE;
    assert_int_equal(fixture_apply_header(&f, &h, back.command[0]), 0);
    assert_string_equal(fx_actions(&f), "forward-notification");
    assert_string_equal(fx_journal(&f, id), "Input Call ~CallInvocationId ~Call");
    CHECK(&f);
    fixture_done(&f);
    fixture_done(&g);
}

static void too_many_direct_messages_overflow_into_the_outbox_and_keep_their_order(void **state) {
    enum { SENDS = 1200 };
    struct fixture f;
    struct cmd_effect *e = xnewn(struct cmd_effect, SENDS);
    struct fsm_hot fsm;
    struct slice id, late;

    (void)state;
    fixture_init(&f, 0, UINT64_MAX);
    id = running(&f, "k", 1);
    for (uint32_t i = 0; i < SENDS; i++)
        e[i] = fx_call(&f, SP_ONE_WAY_CALL, fx_id(&f, "l", i + 10), TARGET_OBJECT_EXCLUSIVE, "l", i + 1, 0, 0);
    assert_int_equal(fx_effects(&f, id, e, SENDS), 0);
    assert_int_equal(fx_rows(&f, T_OUTBOX), 200);
    assert_int_equal(fixture_actions(&f, SM_ACTION_NEW_OUTBOX), 200);
    assert_int_equal(fx_rows(&f, T_INBOX), 999);
    CHECK(&f);
    /* While local rows wait there, later ones queue up behind them. */
    late = fx_id(&f, "l", 5000);
    e[0] = fx_call(&f, SP_ONE_WAY_CALL, late, TARGET_OBJECT_EXCLUSIVE, "l", 2000, 0, 0);
    assert_int_equal(fx_effects(&f, id, e, 1), 0);
    assert_int_equal(fx_rows(&f, T_OUTBOX), 201);
    assert_int_equal(fx_status(&f, late), INV_FREE);
    assert_int_equal(FX(&f, CMD_TRUNCATE_OUTBOX, truncate_outbox, .seq = UINT64_MAX), 0);
    assert_int_equal(tables_fsm(&f.t.reader, &fsm, NULL), 0);
    assert_int_equal(fsm.outbox_local, 0);
    assert_int_equal(fsm.outbox_head, 202);
    assert_int_equal(fsm.outbox_tail, 202);
    e[0] = fx_call(&f, SP_ONE_WAY_CALL, late, TARGET_OBJECT_EXCLUSIVE, "l", 2001, 0, 0);
    assert_int_equal(fx_effects(&f, id, e, 1), 0);
    assert_int_equal(fx_status(&f, late), INV_INBOXED);
    CHECK(&f);
    free(e);
    fixture_done(&f);
}

static void a_delayed_send_is_scheduled(void **state) {
    struct fixture f;
    struct slice id, callee;

    (void)state;
    fixture_init(&f, 0, UINT64_MAX);
    id = running(&f, "k", 1);
    callee = fx_id(&f, "l", 2);
    assert_int_equal(FX_EFFECTS(&f, id, fx_call(&f, SP_ONE_WAY_CALL, callee, TARGET_OBJECT_SHARED, "l", 1, 0, 777)), 0);
    assert_int_equal(fx_status(&f, callee), INV_SCHEDULED);
    assert_int_equal(fixture_action(&f, SM_ACTION_REGISTER_TIMER, 0)->timer.time_ms, 777);
    assert_int_equal(fx_header(&f, callee).n_sinks, 0);
    CHECK(&f);
    fixture_done(&f);
}

static void a_sleep_completes_once(void **state) {
    struct fixture f;
    struct slice id;

    (void)state;
    fixture_init(&f, 0, UINT64_MAX);
    id = running(&f, "k", 1);
    assert_int_equal(
        FX_EFFECTS(&f, id, fx_command(SP_SLEEP, SP_BYTES(&f, sleep, .wake_up_time_ms = 50, .result_completion_id = 3))),
        0);
    assert_string_equal(fx_actions(&f), "ack-command register-timer");
    assert_int_equal(f.a.items[1].timer.completion_id, 3);
    assert_int_equal(FX(&f, CMD_TIMER, timer, .time_ms = 50, .kind = TIMER_SLEEP, .id = id, .completion_id = 3), 0);
    assert_string_equal(fx_actions(&f), "delete-timer forward-notification");
    assert_non_null(notification(&f, &f.a.items[1]).none);
    assert_int_equal(FX(&f, CMD_TIMER, timer, .time_ms = 50, .kind = TIMER_SLEEP, .id = id, .completion_id = 3), 0);
    assert_int_equal(f.a.n, 0);
    assert_string_equal(fx_journal(&f, id), "Input Sleep ~Sleep");
    fixture_done(&f);
}

static void a_suspended_invocation_wakes_for_what_it_awaits(void **state) {
    struct fixture f;
    const uint32_t ids[] = {1, 2};
    struct cmd_future any = {.completions = ids, .n_completions = 2, .signals = cancel_signal, .n_signals = 1};
    struct slice id;

    (void)state;
    fixture_init(&f, 0, UINT64_MAX);
    id = running(&f, "k", 1);
    assert_int_equal(
        FX_EFFECTS(&f, id, fx_command(SP_SLEEP, SP_BYTES(&f, sleep, .wake_up_time_ms = 50, .result_completion_id = 1)),
                   fx_command(SP_RUN, SP_BYTES(&f, run, .result_completion_id = 2)), fx_suspend(&any)),
        0);
    assert_int_equal(fx_status(&f, id), INV_SUSPENDED);
    assert_int_equal(fx_rows(&f, T_INVOKED), 0);
    assert_int_equal(fx_rows(&f, T_LOCK), 1); /* kept */
    CHECK(&f);
    assert_int_equal(fx_signal(&f, id, 17, NULL, "x"), 0); /* not awaited: stored only */
    assert_int_equal(f.a.n, 0);
    assert_int_equal(fx_status(&f, id), INV_SUSPENDED);
    assert_int_equal(FX(&f, CMD_TIMER, timer, .time_ms = 50, .kind = TIMER_SLEEP, .id = id, .completion_id = 1), 0);
    assert_string_equal(fx_actions(&f), "delete-timer invoke");
    assert_int_equal(fx_status(&f, id), INV_INVOKED);
    CHECK(&f);
    /* Suspending again on what is there already goes straight back. */
    any.completions++;
    any.n_completions = 1;
    any.signals = (const uint32_t[]){17};
    assert_int_equal(FX_EFFECTS(&f, id, fx_suspend(&any)), 0);
    assert_string_equal(fx_actions(&f), "invoke");
    assert_int_equal(fx_status(&f, id), INV_INVOKED);
    CHECK(&f);
    fixture_done(&f);
}

static void what_came_before_the_suspension_wakes_at_once_and_the_same_again_does_not(void **state) {
    static const struct {
        bool signal, sleep; /* what came before */
        bool wakes;
    } rows[] = {{true, false, true}, {false, true, true}, {true, true, true}, {false, false, false}};
    const uint32_t completions[] = {1}, signals[] = {17};
    struct cmd_future any = {.completions = completions, .n_completions = 1, .signals = signals, .n_signals = 1};

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct fixture f;
        struct slice id;

        fixture_init(&f, 0, UINT64_MAX);
        id = running(&f, "k", 1);
        assert_int_equal(
            FX_EFFECTS(&f, id,
                       fx_command(SP_SLEEP, SP_BYTES(&f, sleep, .wake_up_time_ms = 50, .result_completion_id = 1))),
            0);
        if (rows[i].signal)
            assert_int_equal(fx_signal(&f, id, 17, NULL, "x"), 0);
        for (int again = 0; rows[i].sleep && again < 2; again++) /* the second time it is not there any more */
            assert_int_equal(FX(&f, CMD_TIMER, timer, .time_ms = 50, .kind = TIMER_SLEEP, .id = id, .completion_id = 1),
                             0);
        assert_int_equal(FX_EFFECTS(&f, id, fx_suspend(&any)), 0);
        assert_int_equal(fx_status(&f, id), rows[i].wakes ? INV_INVOKED : INV_SUSPENDED);
        assert_int_equal(fixture_actions(&f, SM_ACTION_INVOKE), rows[i].wakes);
        assert_int_equal(fx_header(&f, id).journal_length, 2 + rows[i].signal + rows[i].sleep);
        CHECK(&f);
        assert_int_equal(fx_signal(&f, id, 17, NULL, "y"), 0); /* wakes it now, unless it woke */
        assert_int_equal(fixture_actions(&f, SM_ACTION_INVOKE), !rows[i].wakes);
        fixture_done(&f);
    }
}

static void a_future_tree_is_pruned_as_its_parts_arrive(void **state) {
    struct fixture f;
    const uint32_t both[] = {1, 2};
    struct cmd_future all = {.completions = both, .n_completions = 2, .combinator = 2};
    struct cmd_future root = {.signals = cancel_signal, .n_signals = 1, .nested = &all, .n_nested = 1, .combinator = 1},
                      left;
    struct slice id;

    (void)state;
    fixture_init(&f, 0, UINT64_MAX);
    id = fx_id(&f, "k", 1);
    assert_int_equal(fx_invoke(&f, id, (struct fx_invoke){.key = "k"}), 0);
    assert_int_equal(
        FX_EFFECTS(&f, id, fx_pinned(7),
                   fx_command(SP_SLEEP, SP_BYTES(&f, sleep, .wake_up_time_ms = 50, .result_completion_id = 1)),
                   fx_command(SP_SLEEP, SP_BYTES(&f, sleep, .wake_up_time_ms = 60, .result_completion_id = 2)),
                   fx_suspend(&root)),
        0);
    assert_int_equal(fx_header(&f, id).event_count, 1); /* protocol 7 records what it waits for */
    assert_int_equal(FX(&f, CMD_TIMER, timer, .time_ms = 50, .kind = TIMER_SLEEP, .id = id, .completion_id = 1), 0);
    assert_int_equal(fx_status(&f, id), INV_SUSPENDED);
    assert_int_equal(cmd_future_decode(&left, fx_header(&f, id).future, &f.scratch, NULL), 0);
    assert_int_equal(left.nested[0].n_completions, 1);
    assert_int_equal(left.nested[0].completions[0], 2);
    CHECK(&f);
    assert_int_equal(FX(&f, CMD_TIMER, timer, .time_ms = 60, .kind = TIMER_SLEEP, .id = id, .completion_id = 2), 0);
    assert_string_equal(fx_actions(&f), "delete-timer invoke");
    CHECK(&f);
    fixture_done(&f);
}

static void the_first_of_an_indexed_signal_wins_and_named_ones_are_all_stored(void **state) {
    struct fixture f;
    struct cmd_result reject = {.failure = &(struct cmd_failure){.code = 500, .message = SLICE_LIT("no")}};
    struct slice id;

    (void)state;
    fixture_init(&f, 0, UINT64_MAX);
    id = running(&f, "k", 1);
    assert_int_equal(fx_signal(&f, id, 17, NULL, "first"), 0);
    assert_true(slice_eq_str(notification(&f, &f.a.items[0]).value->content, "first"));
    assert_int_equal(fx_signal(&f, id, 17, NULL, "second"), 0);
    assert_int_equal(f.a.n, 0);
    assert_int_equal(fx_signal(&f, id, 0, "name", "a"), 0);
    assert_int_equal(fx_signal(&f, id, 0, "name", "b"), 0);
    assert_true(slice_eq_str(notification(&f, &f.a.items[0]).signal_name, "name"));
    assert_int_equal(FX(&f, CMD_SIGNAL, signal, .target = id, .index = 18, .result = &reject), 0);
    assert_true(slice_eq_str(notification(&f, &f.a.items[0]).failure->message, "no"));
    assert_string_equal(fx_journal(&f, id), "Input ~Signal ~Signal ~Signal ~Signal");
    CHECK(&f);
    /* To whom does not run: dropped. */
    assert_int_equal(fx_signal(&f, fx_id(&f, "k", 9), 17, NULL, "x"), 0);
    assert_int_equal(fx_invoke(&f, fx_id(&f, "k", 2), (struct fx_invoke){.key = "k"}), 0);
    assert_int_equal(fx_signal(&f, fx_id(&f, "k", 2), 17, NULL, "x"), 0);
    assert_int_equal(f.a.n, 0);
    assert_string_equal(fx_journal(&f, fx_id(&f, "k", 2)), "Input");
    fixture_done(&f);
}

static void signals_and_awakeables_of_a_handler_reach_their_invocation(void **state) {
    struct fixture f;
    struct awakeable_id awakeable = {.index = 17};
    char text[INVOCATION_ID_CHARS + 1], awakeable_text[AWAKEABLE_ID_CHARS + 1];
    struct slice id, other;

    (void)state;
    fixture_init(&f, 0, UINT64_MAX);
    id = running(&f, "k", 1);
    other = running(&f, "l", 2);
    memcpy(awakeable.invocation.raw, other.data, 24);
    invocation_id_format(&awakeable.invocation, text);
    awakeable_id_format(&awakeable, awakeable_text);
    assert_int_equal(
        FX_EFFECTS(
            &f, id,
            fx_command(SP_COMPLETE_AWAKEABLE,
                       SP_BYTES(&f, complete_awakeable, .awakeable_id = slice_str(awakeable_text),
                                .value = (struct sp_value *)(uintptr_t)&one)),
            fx_command(SP_SEND_SIGNAL,
                       SP_BYTES(&f, send_signal, .target_invocation_id = slice_str(text), .has_idx = true, .idx = 1,
                                .none = &(struct sp_empty){.unknown = SLICE_NULL})),
            fx_command(SP_SEND_SIGNAL, SP_BYTES(&f, send_signal, .target_invocation_id = SLICE_LIT("inv_1"),
                                                .has_idx = true, .idx = 1)),
            fx_command(SP_COMPLETE_AWAKEABLE, SP_BYTES(&f, complete_awakeable, .awakeable_id = SLICE_LIT("sign_1x")))),
        0);
    assert_int_equal(fixture_actions(&f, SM_ACTION_FORWARD_NOTIFICATION), 2);
    assert_string_equal(fx_journal(&f, other), "Input ~Signal ~Signal");
    CHECK(&f);
    fixture_done(&f);
}

static struct slice failure_text(struct fixture *f, size_t nth) {
    struct sp_notification n = notification(f, fixture_action(f, SM_ACTION_FORWARD_NOTIFICATION, nth));

    return n.failure ? n.failure->message : SLICE_NULL;
}

static void a_promise_is_completed_once_and_wakes_those_who_wait(void **state) {
    struct fixture f;
    struct slice run, shared;

    (void)state;
    fixture_init(&f, 0, UINT64_MAX);
    run = fx_id(&f, "k", 1);
    shared = fx_id(&f, "k", 2);
    assert_int_equal(fx_invoke(&f, run, (struct fx_invoke){.type = TARGET_WORKFLOW_RUN, .key = "k"}), 0);
    assert_int_equal(fx_invoke(&f, shared, (struct fx_invoke){.type = TARGET_WORKFLOW_SHARED, .key = "k"}), 0);
    assert_int_equal(
        FX_EFFECTS(
            &f, run,
            fx_command(SP_GET_PROMISE, SP_BYTES(&f, get_promise, .key = SLICE_LIT("p"), .result_completion_id = 1)),
            fx_command(SP_GET_PROMISE, SP_BYTES(&f, get_promise, .key = SLICE_LIT("p"), .result_completion_id = 2)),
            fx_command(SP_PEEK_PROMISE, SP_BYTES(&f, peek_promise, .key = SLICE_LIT("p"), .result_completion_id = 3))),
        0);
    assert_int_equal(fixture_actions(&f, SM_ACTION_FORWARD_NOTIFICATION), 1);
    assert_non_null(notification(&f, fixture_action(&f, SM_ACTION_FORWARD_NOTIFICATION, 0)).none);
    assert_int_equal(
        FX_EFFECTS(
            &f, shared,
            fx_command(SP_COMPLETE_PROMISE,
                       SP_BYTES(&f, complete_promise, .key = SLICE_LIT("p"),
                                .value = (struct sp_value *)(uintptr_t)&one, .result_completion_id = 1)),
            fx_command(SP_COMPLETE_PROMISE,
                       SP_BYTES(&f, complete_promise, .key = SLICE_LIT("p"),
                                .value = (struct sp_value *)(uintptr_t)&one, .result_completion_id = 2)),
            fx_command(SP_GET_PROMISE, SP_BYTES(&f, get_promise, .key = SLICE_LIT("p"), .result_completion_id = 3)),
            fx_command(SP_PEEK_PROMISE, SP_BYTES(&f, peek_promise, .key = SLICE_LIT("p"), .result_completion_id = 4))),
        0);
    assert_int_equal(fixture_actions(&f, SM_ACTION_FORWARD_NOTIFICATION), 6);
    assert_non_null(notification(&f, fixture_action(&f, SM_ACTION_FORWARD_NOTIFICATION, 0)).none);
    assert_true(slice_eq_str(failure_text(&f, 1), "promise was already completed"));
    assert_true(
        slice_eq_str(notification(&f, fixture_action(&f, SM_ACTION_FORWARD_NOTIFICATION, 2)).value->content, "1"));
    assert_true(
        slice_eq_str(notification(&f, fixture_action(&f, SM_ACTION_FORWARD_NOTIFICATION, 3)).value->content, "1"));
    assert_string_equal(fx_journal(&f, run),
                        "Input GetPromise GetPromise PeekPromise ~PeekPromise ~GetPromise ~GetPromise");
    CHECK(&f);
    fixture_done(&f);
}

static void attach_and_output_of_a_handler_follow_the_other_invocation(void **state) {
    struct fixture f;
    struct slice id, other;
    char text[INVOCATION_ID_CHARS + 1];
    struct invocation_id other_id;

    (void)state;
    fixture_init(&f, 0, UINT64_MAX);
    id = running(&f, "k", 1);
    other = running(&f, "l", 2);
    memcpy(other_id.raw, other.data, 24);
    invocation_id_format(&other_id, text);
    assert_int_equal(
        FX_EFFECTS(
            &f, id,
            fx_command(SP_ATTACH_INVOCATION,
                       SP_BYTES(&f, attach_invocation, .invocation_id = slice_str(text), .result_completion_id = 1)),
            fx_command(SP_GET_INVOCATION_OUTPUT,
                       SP_BYTES(&f, attach_invocation, .invocation_id = slice_str(text), .result_completion_id = 2)),
            fx_command(SP_GET_INVOCATION_OUTPUT,
                       SP_BYTES(&f, attach_invocation, .invocation_id = SLICE_LIT("bad"), .result_completion_id = 3))),
        0);
    assert_string_equal(
        fx_journal(&f, id),
        "Input AttachInvocation GetInvocationOutput GetInvocationOutput ~GetInvocationOutput ~GetInvocationOutput");
    assert_int_equal(notification(&f, fixture_action(&f, SM_ACTION_FORWARD_NOTIFICATION, 0)).failure->code, 404);
    assert_non_null(notification(&f, fixture_action(&f, SM_ACTION_FORWARD_NOTIFICATION, 1)).none); /* not ready */
    assert_int_equal(FX_EFFECTS(&f, other, fx_output(&f, "x"), fx_end()), 0);
    assert_int_equal(fixture_action(&f, SM_ACTION_FORWARD_NOTIFICATION, 0)->forward.type,
                     SP_ATTACH_INVOCATION_COMPLETION);
    CHECK(&f);
    fixture_done(&f);
}

static void a_run_completion_is_stored_as_it_came_and_echoed(void **state) {
    struct fixture f;
    struct cmd_effect e = {.kind = EFFECT_RUN_COMPLETION, .type = SP_RUN_COMPLETION};
    struct slice id;

    (void)state;
    fixture_init(&f, 0, UINT64_MAX);
    id = running(&f, "k", 1);
    e.payload = SP_BYTES(&f, notification, .has_completion_id = true, .completion_id = 4,
                         .value = (struct sp_value *)(uintptr_t)&one);
    assert_int_equal(FX_EFFECTS(&f, id, fx_command(SP_RUN, SP_BYTES(&f, run, .result_completion_id = 4)), e, e), 0);
    assert_string_equal(fx_actions(&f), "ack-command forward-notification");
    assert_true(f.a.items[1].forward.run_completion);
    assert_true(slice_eq(f.a.items[1].forward.payload, e.payload));
    assert_string_equal(fx_journal(&f, id), "Input Run ~Run");
    fixture_done(&f);
}

static void effects_of_an_attempt_that_is_over_abort_it(void **state) {
    struct fixture f;
    struct slice id;

    (void)state;
    fixture_init(&f, 0, UINT64_MAX);
    id = fx_id(&f, "k", 1);
    assert_int_equal(FX_EFFECTS(&f, id, fx_output(&f, "x"), fx_end()), 0);
    assert_string_equal(fx_actions(&f), "abort");
    (void)running(&f, "k", 1);
    assert_int_equal(FX_EFFECTS(&f, id, fx_output(&f, "x"), fx_end(), fx_output(&f, "y")), 0);
    assert_string_equal(fx_actions(&f), "ack-command ingress-response");
    assert_int_equal(FX_EFFECTS(&f, id, fx_end()), 0);
    assert_string_equal(fx_actions(&f), "abort");
    fixture_done(&f);
}

static void a_deployment_is_pinned_once(void **state) {
    struct fixture f;
    struct cmd_effect again = fx_pinned(5);
    struct slice id;

    (void)state;
    fixture_init(&f, 0, UINT64_MAX);
    id = running(&f, "k", 1);
    again.deployment = SLICE_LIT("dp_two");
    assert_int_equal(FX_EFFECTS(&f, id, again), 0);
    assert_true(slice_eq_str(fx_header(&f, id).deployment, "dp_one"));
    assert_int_equal(fx_header(&f, id).protocol, 6);
    fixture_done(&f);
}

static int take_event(void *arg, const struct journal_event *e) {
    *(struct journal_event *)arg = *e;
    return 0;
}

static void failures_end_pauses_wait_and_events_are_kept(void **state) {
    struct fixture f;
    struct cmd_event event = {.type = EVENT_TRANSIENT_ERROR, .code = 500, .message = SLICE_LIT("boom")};
    struct cmd_failure failure = {.code = 571, .message = SLICE_LIT("bad")};
    struct journal_event got = {0};
    struct cmd_event decoded;
    struct invocation_id i;
    struct slice id;

    (void)state;
    fixture_init(&f, 0, UINT64_MAX);
    id = running(&f, "k", 1);
    assert_int_equal(FX_EFFECTS(&f, id, (struct cmd_effect){.kind = EFFECT_EVENT, .event = &event}), 0);
    memcpy(i.raw, id.data, 24);
    assert_int_equal(tables_events(&f.t.reader, &i, take_event, &got, NULL), 0);
    assert_int_equal(got.lsn, f.lsn);
    assert_int_equal(got.after, 0);
    assert_int_equal(cmd_event_decode(&decoded, got.event, &f.scratch, NULL), 0);
    assert_true(slice_eq_str(decoded.message, "boom"));
    assert_int_equal(FX_EFFECTS(&f, id, (struct cmd_effect){.kind = EFFECT_PAUSED}), 0);
    assert_int_equal(fx_status(&f, id), INV_PAUSED);
    CHECK(&f);
    assert_int_equal(FX(&f, CMD_RESUME, resume, .id = id), 0);
    assert_string_equal(fx_actions(&f), "invoke");
    assert_int_equal(FX_EFFECTS(&f, id, (struct cmd_effect){.kind = EFFECT_FAILED, .failure = &failure}), 0);
    assert_int_equal(f.a.items[0].response.result.failure->code, 571);
    assert_int_equal(fx_status(&f, id), INV_COMPLETED);
    CHECK(&f);
    fixture_done(&f);
}

static void responses_that_nobody_waits_for_are_ignored(void **state) {
    struct fixture f;
    struct slice id;

    (void)state;
    fixture_init(&f, 0, UINT64_MAX);
    id = running(&f, "k", 1);
    assert_int_equal(FX(&f, CMD_RESPONSE, response, .caller = id, .completion_id = 9), 0);
    assert_int_equal(FX(&f, CMD_RESPONSE, response, .caller = fx_id(&f, "k", 7), .completion_id = 9), 0);
    assert_int_equal(FX_EFFECTS(&f, id, fx_command(SP_RUN, SP_BYTES(&f, run, .result_completion_id = 9))), 0);
    assert_int_equal(FX(&f, CMD_RESPONSE, response, .caller = id, .completion_id = 9), 0); /* not of that sort */
    assert_int_equal(f.a.n, 0);
    assert_string_equal(fx_journal(&f, id), "Input Run");
    fixture_done(&f);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(state_commands_change_and_read_the_state_of_the_key),
    cmocka_unit_test(a_service_has_no_state),
    cmocka_unit_test(who_is_called_is_in_the_trace_of_the_caller),
    cmocka_unit_test(a_call_within_the_partition_needs_no_second_record),
    cmocka_unit_test(a_handler_that_runs_a_workflow_twice_is_refused_the_second_time),
    cmocka_unit_test(a_call_to_another_partition_goes_through_the_outbox),
    cmocka_unit_test(too_many_direct_messages_overflow_into_the_outbox_and_keep_their_order),
    cmocka_unit_test(a_delayed_send_is_scheduled),
    cmocka_unit_test(a_sleep_completes_once),
    cmocka_unit_test(a_suspended_invocation_wakes_for_what_it_awaits),
    cmocka_unit_test(what_came_before_the_suspension_wakes_at_once_and_the_same_again_does_not),
    cmocka_unit_test(a_future_tree_is_pruned_as_its_parts_arrive),
    cmocka_unit_test(the_first_of_an_indexed_signal_wins_and_named_ones_are_all_stored),
    cmocka_unit_test(signals_and_awakeables_of_a_handler_reach_their_invocation),
    cmocka_unit_test(a_promise_is_completed_once_and_wakes_those_who_wait),
    cmocka_unit_test(attach_and_output_of_a_handler_follow_the_other_invocation),
    cmocka_unit_test(a_run_completion_is_stored_as_it_came_and_echoed),
    cmocka_unit_test(effects_of_an_attempt_that_is_over_abort_it),
    cmocka_unit_test(a_deployment_is_pinned_once),
    cmocka_unit_test(failures_end_pauses_wait_and_events_are_kept),
    cmocka_unit_test(responses_that_nobody_waits_for_are_ignored),
};
const struct unit_group sm_journal_test_group = UNIT_GROUP(tests);
