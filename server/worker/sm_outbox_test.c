/* SPDX-License-Identifier: Apache-2.0 */
/* What leaves a partition: every kind of message through the outbox, its effect on the other side, and what travels
 * with calls and failures. */
#include "unit.h"
#include "worker/sm_fixture.h"

#define R1 "request-0000-001"
#define CHECK(f)                                                                                                       \
    do {                                                                                                               \
        char why_[256];                                                                                                \
        const char *wrong_ = fixture_check((f), why_);                                                                 \
        if (wrong_)                                                                                                    \
            fail_msg("%s", wrong_);                                                                                    \
    } while (0)

/* Two partitions of one key each: "k" and "l". */
struct pair {
    struct fixture f, g;
    struct slice id, other; /* running: key k number 1 in f, key l number 2 in g */
    char other_text[INVOCATION_ID_CHARS + 1];
};

static struct slice running(struct fixture *f, const char *key, uint64_t n) {
    struct slice id = fx_id(f, key, n);

    assert_int_equal(
        fx_invoke(f, id, (struct fx_invoke){.key = key, .request = R1, .retention_ms = 1000, .journal_ms = 1000}), 0);
    assert_int_equal(FX_EFFECTS(f, id, fx_pinned(6)), 0);
    return id;
}

static uint64_t pk_of(const char *key) {
    struct fixture f;
    uint64_t pk;

    fixture_init(&f, 0, UINT64_MAX);
    pk = get_u64be(fx_id(&f, key, 1).data);
    fixture_done(&f);
    return pk;
}

static void pair_init(struct pair *p) {
    struct invocation_id id;
    uint64_t k = pk_of("k"), l = pk_of("l");

    *p = (struct pair){0};
    fixture_init(&p->f, k, k);
    fixture_init(&p->g, l, l);
    p->id = running(&p->f, "k", 1);
    p->other = running(&p->g, "l", 2);
    memcpy(id.raw, p->other.data, 24);
    invocation_id_format(&id, p->other_text);
}

static void pair_done(struct pair *p) {
    CHECK(&p->f);
    CHECK(&p->g);
    fixture_done(&p->f);
    fixture_done(&p->g);
}

struct deliver {
    struct fixture *to;
    unsigned kinds[64];
    size_t n;
};

static int deliver_row(void *arg, uint64_t seq, uint64_t pk, uint16_t kind, struct slice command) {
    struct deliver *d = arg;
    struct record_header h = {.kind = kind, .dedup = RECORD_DEDUP_PARTITION, .dedup_partition = 3, .dedup_seq = seq};

    assert_int_equal(pk, d->to->first_key);
    assert_int_equal(fixture_apply_header(d->to, &h, command), 0);
    d->kinds[d->n++] = kind;
    return 0;
}

/* Everything in the outbox of @from goes to @to; returns how many messages that were, the last one of @kind. */
static size_t deliver(struct fixture *from, struct fixture *to, unsigned kind) {
    struct deliver d = {.to = to};

    assert_int_equal(tables_outbox(&from->t.reader, 0, deliver_row, &d, NULL), 0);
    if (d.n)
        assert_int_equal(d.kinds[d.n - 1], kind);
    return d.n;
}

static void a_signal_to_another_partition_arrives_there(void **state) {
    struct pair p;
    struct sp_value one = {.content = SLICE_LIT("1")};

    (void)state;
    pair_init(&p);
    assert_int_equal(FX_EFFECTS(&p.f, p.id,
                                fx_command(SP_SEND_SIGNAL,
                                           SP_BYTES(&p.f, send_signal, .target_invocation_id = slice_str(p.other_text),
                                                    .signal_name = SLICE_LIT("go"), .value = &one))),
                     0);
    assert_string_equal(fx_actions(&p.f), "ack-command new-outbox");
    assert_int_equal(deliver(&p.f, &p.g, CMD_SIGNAL), 1);
    assert_string_equal(fx_actions(&p.g), "forward-notification");
    assert_string_equal(fx_journal(&p.g, p.other), "Input ~Signal");
    pair_done(&p);
}

static void attaching_to_another_partition_is_answered_from_there(void **state) {
    struct pair p;

    (void)state;
    pair_init(&p);
    assert_int_equal(FX_EFFECTS(&p.f, p.id,
                                fx_command(SP_ATTACH_INVOCATION,
                                           SP_BYTES(&p.f, attach_invocation, .invocation_id = slice_str(p.other_text),
                                                    .result_completion_id = 1)),
                                fx_command(SP_GET_INVOCATION_OUTPUT,
                                           SP_BYTES(&p.f, attach_invocation, .invocation_id = slice_str(p.other_text),
                                                    .result_completion_id = 2))),
                     0);
    assert_int_equal(deliver(&p.f, &p.g, CMD_ATTACH), 2);
    assert_int_equal(FX(&p.f, CMD_TRUNCATE_OUTBOX, truncate_outbox, .seq = 2), 0);
    assert_int_equal(FX_EFFECTS(&p.g, p.other, fx_output(&p.g, "answer"), fx_end()), 0);
    assert_int_equal(deliver(&p.g, &p.f, CMD_RESPONSE), 2); /* "not ready", and the answer */
    assert_string_equal(fx_journal(&p.f, p.id),
                        "Input AttachInvocation GetInvocationOutput ~GetInvocationOutput ~AttachInvocation");
    pair_done(&p);
}

static void killing_a_parent_kills_its_callees_in_other_partitions(void **state) {
    struct pair p;
    struct slice callee;

    (void)state;
    pair_init(&p);
    callee = fx_id(&p.f, "l", 7);
    assert_int_equal(FX_EFFECTS(&p.f, p.id, fx_call(&p.f, SP_CALL, callee, TARGET_OBJECT_SHARED, "l", 1, 2, 0)), 0);
    assert_int_equal(deliver(&p.f, &p.g, CMD_INVOKE), 1);
    assert_int_equal(fx_status(&p.g, callee), INV_INVOKED);
    assert_int_equal(fx_terminate(&p.f, p.id, TERMINATE_KILL), 0);
    assert_int_equal(fx_status(&p.f, p.id), INV_COMPLETED);
    assert_int_equal(deliver(&p.f, &p.g, CMD_TERMINATE), 2); /* the call once more: deduplicated */
    assert_int_equal(fx_status(&p.g, callee), INV_COMPLETED);
    assert_string_equal(fx_actions(&p.g), "new-outbox abort");
    pair_done(&p);
}

static void the_outbox_is_truncated_in_order_and_only_so_far(void **state) {
    struct pair p;

    (void)state;
    pair_init(&p);
    for (uint32_t i = 0; i < 3; i++)
        assert_int_equal(FX_EFFECTS(&p.f, p.id,
                                    fx_call(&p.f, SP_ONE_WAY_CALL, fx_id(&p.f, "l", 10 + i), TARGET_OBJECT_SHARED, "l",
                                            1 + i, 0, 0)),
                         0);
    assert_int_equal(fx_rows(&p.f, T_OUTBOX), 3);
    assert_int_equal(FX(&p.f, CMD_TRUNCATE_OUTBOX, truncate_outbox, .seq = 2), 0);
    assert_int_equal(fx_rows(&p.f, T_OUTBOX), 1);
    assert_int_equal(FX(&p.f, CMD_TRUNCATE_OUTBOX, truncate_outbox, .seq = 1), 0); /* of an earlier leader */
    assert_int_equal(p.f.a.n, 0);
    assert_int_equal(FX(&p.f, CMD_TRUNCATE_OUTBOX, truncate_outbox, .seq = 3), 0);
    assert_int_equal(fx_rows(&p.f, T_OUTBOX), 0);
    pair_done(&p);
}

static void headers_travel_with_a_call_and_metadata_with_its_failure(void **state) {
    struct pair p;
    struct sp_header header = {.key = SLICE_LIT("h"), .value = SLICE_LIT("v")};
    struct sp_header meta = {.key = SLICE_LIT("why"), .value = SLICE_LIT("because")};
    struct sp_failure failure = {.code = 418, .message = SLICE_LIT("no"), .metadata = &meta, .n_metadata = 1};
    struct cmd_target target = {
        .type = TARGET_OBJECT_SHARED, .service = SLICE_LIT("S"), .key = SLICE_LIT("l"), .handler = SLICE_LIT("h")};
    struct cmd_call call = {.target = &target};
    struct cmd_effect e;
    struct sp_notification n;
    const struct sm_action *a;

    (void)state;
    pair_init(&p);
    call.id = fx_id(&p.f, "l", 7);
    e = fx_command(SP_CALL, SP_BYTES(&p.f, call, .service_name = SLICE_LIT("S"), .handler_name = SLICE_LIT("h"),
                                     .key = SLICE_LIT("l"), .parameter = SLICE_LIT("in"), .headers = &header,
                                     .n_headers = 1, .invocation_id_notification_idx = 1, .result_completion_id = 2));
    e.call = &call;
    assert_int_equal(fx_effects(&p.f, p.id, &e, 1), 0);
    assert_int_equal(deliver(&p.f, &p.g, CMD_INVOKE), 1);
    assert_string_equal(fx_journal(&p.g, call.id), "Input");
    assert_int_equal(FX(&p.f, CMD_TRUNCATE_OUTBOX, truncate_outbox, .seq = 1), 0);
    assert_int_equal(
        FX_EFFECTS(&p.g, call.id, fx_command(SP_OUTPUT, SP_BYTES(&p.g, output, .failure = &failure)), fx_end()), 0);
    assert_int_equal(deliver(&p.g, &p.f, CMD_RESPONSE), 1);
    a = fixture_action(&p.f, SM_ACTION_FORWARD_NOTIFICATION, 0);
    assert_non_null(a);
    assert_int_equal(sp_notification_decode(&n, a->forward.payload, &p.f.scratch, NULL), 0);
    assert_int_equal(n.failure->code, 418);
    assert_int_equal(n.failure->n_metadata, 1);
    assert_true(slice_eq_str(n.failure->metadata[0].value, "because"));
    pair_done(&p);
}

/* ---- the same id again ---- */

static void after_a_purge_the_same_id_runs_again(void **state) {
    struct fixture f;
    struct fx_invoke o = {.key = "k", .request = R1, .retention_ms = 1000, .idempotency_key = "once"};
    struct slice id;

    (void)state;
    fixture_init(&f, 0, UINT64_MAX);
    id = fx_id(&f, "k", 1);
    assert_int_equal(fx_invoke(&f, id, o), 0);
    assert_int_equal(FX_EFFECTS(&f, id, fx_pinned(6), fx_output(&f, "first"), fx_end()), 0);
    assert_int_equal(fx_invoke(&f, id, o), 0);
    assert_string_equal(fx_actions(&f), "ingress-response"); /* the stored one */
    assert_int_equal(FX(&f, CMD_PURGE_INVOCATION, purge, .id = id), 0);
    assert_int_equal(fx_invoke(&f, id, o), 0);
    assert_string_equal(fx_actions(&f), "invoke");
    CHECK(&f);
    fixture_done(&f);
}

static void a_delayed_send_is_found_by_its_key_before_and_after_it_fires(void **state) {
    struct fixture f;
    struct fx_invoke o = {.key = "k", .submit = R1, .retention_ms = 1000, .idempotency_key = "once", .at_ms = 2000000};
    struct slice id;

    (void)state;
    fixture_init(&f, 0, UINT64_MAX);
    id = fx_id(&f, "k", 1);
    assert_int_equal(fx_invoke(&f, id, o), 0);
    assert_true(fixture_action(&f, SM_ACTION_INGRESS_SUBMITTED, 0)->submitted.is_new);
    o.submit = "request-0000-002";
    assert_int_equal(fx_invoke(&f, id, o), 0);
    assert_string_equal(fx_actions(&f), "ingress-submitted");
    assert_false(f.a.items[0].submitted.is_new);
    assert_int_equal(f.a.items[0].submitted.execution_time_ms, 2000000);
    assert_int_equal(FX(&f, CMD_TIMER, timer, .time_ms = 2000000, .kind = TIMER_DELAYED_INVOKE, .id = id), 0);
    assert_string_equal(fx_actions(&f), "delete-timer invoke");
    assert_int_equal(fx_invoke(&f, id, o), 0);
    assert_string_equal(fx_actions(&f), "ingress-submitted");
    assert_false(f.a.items[0].submitted.is_new);
    CHECK(&f);
    fixture_done(&f);
}

static void a_queue_of_invocations_and_state_changes_is_served_in_its_order(void **state) {
    struct fixture f;
    struct cmd_state_entry entry = {.key = SLICE_LIT("a"), .value = SLICE_LIT("1")};
    struct slice id[4];

    (void)state;
    fixture_init(&f, 0, UINT64_MAX);
    for (uint64_t i = 0; i < 4; i++) { /* 0 runs; waiting: 1, a change, 2, a change, 3 */
        id[i] = fx_id(&f, "k", i + 1);
        assert_int_equal(fx_invoke(&f, id[i], (struct fx_invoke){.key = "k"}), 0);
        if (i == 1 || i == 2) {
            entry.value = i == 1 ? SLICE_LIT("1") : SLICE_LIT("2");
            assert_int_equal(FX(&f, CMD_PATCH_STATE, patch_state, .service = SLICE_LIT("S"), .key = SLICE_LIT("k"),
                                .entries = &entry, .n_entries = 1),
                             0);
        }
    }
    assert_int_equal(fx_terminate(&f, id[2], TERMINATE_KILL), 0); /* out of the middle */
    CHECK(&f);
    assert_int_equal(fx_terminate(&f, id[0], TERMINATE_KILL), 0); /* the lock goes to 1, before any change */
    assert_int_equal(fx_status(&f, id[1]), INV_INVOKED);
    assert_null(fx_state(&f, "k", "a").data);
    assert_int_equal(FX_EFFECTS(&f, id[1], fx_output(&f, "x"), fx_end()), 0);
    assert_true(slice_eq_str(fx_state(&f, "k", "a"), "2"));
    assert_int_equal(fx_status(&f, id[3]), INV_INVOKED);
    assert_int_equal(fx_rows(&f, T_INBOX), 0);
    CHECK(&f);
    fixture_done(&f);
}

/* ---- more than fits into the first allocation of a list ---- */

static void long_journals_are_restarted_and_killed_as_a_whole(void **state) {
    enum { CALLS = 40 };
    struct fixture f;
    struct slice id, fresh;
    struct cmd_effect calls[CALLS];

    (void)state;
    fixture_init(&f, 0, UINT64_MAX);
    id = running(&f, "k", 1);
    fresh = fx_id(&f, "k", 2);
    for (uint32_t i = 0; i < CALLS; i++)
        calls[i] = fx_call(&f, SP_CALL, fx_id(&f, "l", 100 + i), TARGET_OBJECT_SHARED, "l", 2 * i + 1, 2 * i + 2, 0);
    assert_int_equal(fx_effects(&f, id, calls, CALLS), 0);
    for (uint32_t i = 0; i < CALLS - 1; i++)
        assert_int_equal(FX_EFFECTS(&f, fx_id(&f, "l", 100 + i), fx_pinned(6), fx_output(&f, "x"), fx_end()), 0);
    assert_int_equal(fx_terminate(&f, id, TERMINATE_KILL), 0);
    assert_int_equal(fixture_actions(&f, SM_ACTION_ABORT), 2); /* it and the one that still ran */
    CHECK(&f);
    assert_int_equal(FX(&f, CMD_RESTART, restart, .id = id, .new_id = fresh, .from = 2 * CALLS - 3,
                        .request_id = SLICE_LIT(FX_ADMIN)),
                     0);
    assert_int_equal(fx_outcome(&f), SM_OK);
    assert_int_equal(fx_header(&f, fresh).journal_length, 1 + 3 * (CALLS - 1));
    CHECK(&f);
    fixture_done(&f);
}

static void what_is_no_message_has_no_effect(void **state) {
    struct fixture f;
    struct slice id;
    struct cmd_effect effects[] = {
        {.kind = EFFECT_COMMAND, .type = SP_INPUT},            /* not from an attempt */
        {.kind = EFFECT_COMMAND, .type = SP_SLEEP_COMPLETION}, /* no command */
        {.kind = EFFECT_COMMAND, .type = UINT32_MAX},
        {.kind = EFFECT_RUN_COMPLETION, .payload = SLICE_LIT("\xff")},
        {.kind = EFFECT_COMMAND, .type = SP_CALL, .payload = SLICE_LIT("")}, /* nobody resolved its callee */
        {.kind = 99},
        {.kind = EFFECT_PINNED, .deployment = SLICE_LIT("dp_two"), .protocol = 256},
    };

    (void)state;
    fixture_init(&f, 0, UINT64_MAX);
    id = running(&f, "k", 1);
    assert_int_equal(fx_effects(&f, id, effects, ARRAY_SIZE(effects)), 0);
    assert_true(slice_eq_str(fx_header(&f, id).deployment, "dp_one"));
    assert_int_equal(fixture_actions(&f, SM_ACTION_FORWARD_NOTIFICATION), 0);
    assert_int_equal(FX(&f, CMD_INVOKE, invoke, .id = SLICE_LIT("short")), 0);
    assert_int_equal(FX(&f, CMD_INVOKE, invoke, .id = fx_id(&f, "k", 5)), 0); /* without a target */
    assert_int_equal(fx_status(&f, fx_id(&f, "k", 5)), INV_FREE);
    assert_int_equal(FX(&f, CMD_TIMER, timer, .time_ms = 1, .kind = 2, .id = id), 0);
    assert_int_equal(FX(&f, CMD_ATTACH, attach, .id = SLICE_LIT("short")), 0);
    assert_int_equal(f.a.n, 0);
    CHECK(&f);
    fixture_done(&f);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(a_signal_to_another_partition_arrives_there),
    cmocka_unit_test(attaching_to_another_partition_is_answered_from_there),
    cmocka_unit_test(killing_a_parent_kills_its_callees_in_other_partitions),
    cmocka_unit_test(the_outbox_is_truncated_in_order_and_only_so_far),
    cmocka_unit_test(headers_travel_with_a_call_and_metadata_with_its_failure),
    cmocka_unit_test(after_a_purge_the_same_id_runs_again),
    cmocka_unit_test(a_delayed_send_is_found_by_its_key_before_and_after_it_fires),
    cmocka_unit_test(a_queue_of_invocations_and_state_changes_is_served_in_its_order),
    cmocka_unit_test(long_journals_are_restarted_and_killed_as_a_whole),
    cmocka_unit_test(what_is_no_message_has_no_effect),
};
const struct unit_group sm_outbox_test_group = UNIT_GROUP(tests);
