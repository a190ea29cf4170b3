/* SPDX-License-Identifier: Apache-2.0 */
/* The life of invocations (execution.md §7.2, §8, §12, §15), dedup and the commands about the partition. */
#include "unit.h"
#include "worker/sm_fixture.h"

#define R1 "request-0000-001"
#define R2 "request-0000-002"

#define CHECK(f)                                                                                                       \
    do {                                                                                                               \
        char why_[256];                                                                                                \
        const char *wrong_ = fixture_check((f), why_);                                                                 \
        if (wrong_)                                                                                                    \
            fail_msg("%s", wrong_);                                                                                    \
    } while (0)

static void start(struct fixture *f) {
    fixture_init(f, 0, UINT64_MAX);
}

static void end_with(struct fixture *f, struct slice id, const char *value) {
    assert_int_equal(FX_EFFECTS(f, id, fx_output(f, value), fx_end()), 0);
}

static void a_counter_call_takes_two_records(void **state) {
    struct fixture f;
    struct sp_value value = {.content = SLICE_LIT("1")};
    const struct sm_action *a;
    struct slice id;

    (void)state;
    start(&f);
    id = fx_id(&f, "k", 1);
    assert_int_equal(
        fx_invoke(&f, id, (struct fx_invoke){.key = "k", .request = R1, .retention_ms = 1000, .journal_ms = 1000}), 0);
    assert_string_equal(fx_actions(&f), "invoke");
    assert_true(f.a.items[0].lsn == fx_header(&f, id).start_lsn);
    assert_int_equal(f.w.n, 6 + 1); /* the partition's first record writes its format as well */
    CHECK(&f);
    assert_int_equal(
        FX_EFFECTS(&f, id, fx_pinned(6),
                   fx_command(SP_SET_STATE, SP_BYTES(&f, set_state, .key = SLICE_LIT("n"), .value = &value)),
                   fx_output(&f, "42"), fx_end()),
        0);
    assert_string_equal(fx_actions(&f), "ack-command ack-command ingress-response");
    assert_int_equal(f.a.items[1].ack.command_index, 2);
    assert_int_equal(f.w.n, 9);
    CHECK(&f);
    a = fixture_action(&f, SM_ACTION_INGRESS_RESPONSE, 0);
    assert_memory_equal(a->request_id, R1, 16);
    assert_true(slice_eq_str(a->response.result.value, "42"));
    assert_true(slice_eq_str(fx_state(&f, "k", "n"), "1"));
    assert_int_equal(fx_status(&f, id), INV_COMPLETED);
    assert_string_equal(fx_journal(&f, id), "Input SetState Output");
    assert_int_equal(fx_header(&f, id).protocol, 6);
    fixture_done(&f);
}

static void without_retention_nothing_but_state_is_left(void **state) {
    struct fixture f;
    struct slice id;

    (void)state;
    start(&f);
    id = fx_id(&f, "k", 1);
    assert_int_equal(fx_invoke(&f, id, (struct fx_invoke){.key = "k", .request = R1}), 0);
    end_with(&f, id, "x");
    assert_int_equal(fx_status(&f, id), INV_FREE);
    assert_int_equal(f.t.n, 2); /* the two rows of the partition itself */
    assert_non_null(fixture_action(&f, SM_ACTION_INGRESS_RESPONSE, 0));
    fixture_done(&f);
}

static void an_end_without_output_is_a_500(void **state) {
    struct fixture f;
    struct slice id;

    (void)state;
    start(&f);
    id = fx_id(&f, "k", 1);
    assert_int_equal(fx_invoke(&f, id, (struct fx_invoke){.key = "k", .request = R1}), 0);
    assert_int_equal(FX_EFFECTS(&f, id, fx_end()), 0);
    assert_int_equal(f.a.items[0].response.result.failure->code, 500);
    fixture_done(&f);
}

static void the_output_of_an_earlier_record_is_found(void **state) {
    struct fixture f;
    struct slice id;

    (void)state;
    start(&f);
    id = fx_id(&f, "k", 1);
    assert_int_equal(fx_invoke(&f, id, (struct fx_invoke){.key = "k", .request = R1}), 0);
    assert_int_equal(FX_EFFECTS(&f, id, fx_output(&f, "first"), fx_output(&f, "last")), 0);
    assert_int_equal(FX_EFFECTS(&f, id, fx_end()), 0);
    assert_true(slice_eq_str(f.a.items[0].response.result.value, "last"));
    fixture_done(&f);
}

static void exclusive_calls_of_one_key_run_one_after_the_other_in_log_order(void **state) {
    struct fixture f;
    struct slice id[4];

    (void)state;
    start(&f);
    for (uint64_t i = 0; i < 4; i++) {
        id[i] = fx_id(&f, "k", i + 1);
        assert_int_equal(fx_invoke(&f, id[i], (struct fx_invoke){.key = "k", .submit = R1}), 0);
        assert_int_equal(fx_status(&f, id[i]), i ? INV_INBOXED : INV_INVOKED);
        assert_int_equal(fixture_actions(&f, SM_ACTION_INVOKE), i == 0);
        assert_true(fixture_action(&f, SM_ACTION_INGRESS_SUBMITTED, 0)->submitted.is_new);
        CHECK(&f);
    }
    assert_int_equal(fx_terminate(&f, id[2], TERMINATE_CANCEL), 0); /* leaves a gap */
    CHECK(&f);
    for (uint64_t i = 0; i < 4; i++) {
        if (i == 2)
            continue;
        assert_int_equal(fx_status(&f, id[i]), INV_INVOKED);
        end_with(&f, id[i], "x");
        CHECK(&f);
    }
    assert_int_equal(fx_rows(&f, T_LOCK), 0);
    assert_int_equal(fx_rows(&f, T_INBOX), 0);
    fixture_done(&f);
}

static void shared_handlers_and_other_keys_do_not_wait(void **state) {
    struct fixture f;

    (void)state;
    start(&f);
    assert_int_equal(fx_invoke(&f, fx_id(&f, "k", 1), (struct fx_invoke){.key = "k"}), 0);
    assert_int_equal(fx_invoke(&f, fx_id(&f, "k", 2), (struct fx_invoke){.type = TARGET_OBJECT_SHARED, .key = "k"}), 0);
    assert_string_equal(fx_actions(&f), "invoke");
    assert_int_equal(fx_invoke(&f, fx_id(&f, "l", 3), (struct fx_invoke){.key = "l"}), 0);
    assert_string_equal(fx_actions(&f), "invoke");
    assert_int_equal(fx_rows(&f, T_INVOKED), 3);
    fixture_done(&f);
}

static void a_delayed_call_starts_or_queues_when_its_timer_fires(void **state) {
    struct fixture f;
    struct slice id;

    (void)state;
    start(&f);
    id = fx_id(&f, "k", 2);
    assert_int_equal(fx_invoke(&f, id, (struct fx_invoke){.key = "k", .at_ms = 5, .submit = R1}),
                     0); /* past: all the same */
    assert_string_equal(fx_actions(&f), "register-timer ingress-submitted");
    assert_int_equal(f.a.items[1].submitted.execution_time_ms, 5);
    assert_int_equal(fx_status(&f, id), INV_SCHEDULED);
    CHECK(&f);
    assert_int_equal(fx_invoke(&f, fx_id(&f, "k", 1), (struct fx_invoke){.key = "k"}), 0);
    assert_int_equal(FX(&f, CMD_TIMER, timer, .time_ms = 5, .kind = TIMER_DELAYED_INVOKE, .id = id), 0);
    assert_string_equal(fx_actions(&f), "delete-timer");
    assert_int_equal(fx_status(&f, id), INV_INBOXED);
    CHECK(&f);
    end_with(&f, fx_id(&f, "k", 1), "x");
    assert_int_equal(fx_status(&f, id), INV_INVOKED);
    assert_int_equal(FX(&f, CMD_TIMER, timer, .time_ms = 5, .kind = TIMER_DELAYED_INVOKE, .id = id), 0);
    assert_int_equal(f.a.n, 0);
    fixture_done(&f);
}

static void a_duplicate_attaches_in_flight_and_is_answered_when_completed(void **state) {
    struct fixture f;
    struct fx_invoke o = {.key = "k", .request = R1, .retention_ms = 1000, .journal_ms = 1000, .submit = R1};
    struct slice id;

    (void)state;
    start(&f);
    id = fx_id(&f, "k", 1);
    assert_int_equal(fx_invoke(&f, id, o), 0);
    assert_int_equal(fx_invoke(&f, id, o), 0); /* the same request again */
    assert_string_equal(fx_actions(&f), "ingress-submitted");
    assert_true(f.a.items[0].submitted.is_new);
    assert_int_equal(fx_header(&f, id).n_sinks, 1);
    o.request = R2;
    assert_int_equal(fx_invoke(&f, id, o), 0);
    assert_false(f.a.items[0].submitted.is_new);
    assert_int_equal(fx_header(&f, id).n_sinks, 2);
    end_with(&f, id, "x");
    assert_int_equal(fixture_actions(&f, SM_ACTION_INGRESS_RESPONSE), 2);
    assert_memory_equal(fixture_action(&f, SM_ACTION_INGRESS_RESPONSE, 0)->request_id, R1, 16);
    assert_int_equal(fx_invoke(&f, id, o), 0);
    assert_string_equal(fx_actions(&f), "ingress-submitted ingress-response");
    assert_true(slice_eq_str(f.a.items[1].response.result.value, "x"));
    assert_int_equal(f.a.items[1].response.expiry_ms, f.now_ms + 1000);
    CHECK(&f);
    fixture_done(&f);
}

static void a_second_run_of_a_workflow_is_refused_but_its_retry_waits(void **state) {
    struct fixture f;
    struct fx_invoke o = {.type = TARGET_WORKFLOW_RUN, .key = "k", .request = R1, .retention_ms = 1000};
    struct slice id;

    (void)state;
    start(&f);
    id = fx_id(&f, "k", 1);
    assert_int_equal(fx_invoke(&f, id, o), 0);
    assert_int_equal(fx_invoke(&f, id, o), 0);
    assert_int_equal(f.a.n, 0);
    o.request = R2;
    assert_int_equal(fx_invoke(&f, id, o), 0);
    assert_int_equal(f.a.items[0].response.result.failure->code, 409);
    assert_true(slice_eq_str(f.a.items[0].response.result.failure->message, "the workflow method was already invoked"));
    assert_int_equal(fx_header(&f, id).n_sinks, 1);
    o.request = NULL;
    o.submit = R2;
    assert_int_equal(fx_invoke(&f, id, o), 0);
    assert_false(f.a.items[0].submitted.is_new);
    fixture_done(&f);
}

static void attach_follows_the_status(void **state) {
    struct fixture f;
    struct cmd_sink sink = {.request_id = SLICE_LIT(R2)};
    struct slice id;

    (void)state;
    start(&f);
    id = fx_id(&f, "k", 1);
    assert_int_equal(FX(&f, CMD_ATTACH, attach, .id = id, .block = true, .sink = &sink), 0);
    assert_int_equal(f.a.items[0].response.result.failure->code, 404);
    assert_int_equal(fx_invoke(&f, id, (struct fx_invoke){.key = "k", .retention_ms = 1000}), 0);
    assert_int_equal(FX(&f, CMD_ATTACH, attach, .id = id, .sink = &sink), 0);
    assert_int_equal(f.a.items[0].response.result.failure->code, 470);
    assert_int_equal(FX(&f, CMD_ATTACH, attach, .id = id, .block = true, .sink = &sink), 0);
    assert_int_equal(f.a.n, 0);
    end_with(&f, id, "x");
    assert_non_null(fixture_action(&f, SM_ACTION_INGRESS_RESPONSE, 0));
    assert_int_equal(FX(&f, CMD_ATTACH, attach, .id = id, .sink = &sink), 0);
    assert_true(slice_eq_str(f.a.items[0].response.result.value, "x"));
    fixture_done(&f);
}

static void whoever_attaches_to_a_workflow_gets_its_one_result(void **state) {
    struct fixture f;
    struct cmd_sink sink = {.request_id = SLICE_LIT(R2)};
    struct slice id;

    (void)state;
    start(&f);
    id = fx_id(&f, "k", 1);
    assert_int_equal(
        fx_invoke(&f, id,
                  (struct fx_invoke){.type = TARGET_WORKFLOW_RUN, .key = "k", .request = R1, .retention_ms = 1000}),
        0);
    assert_int_equal(FX(&f, CMD_ATTACH, attach, .id = id, .block = true, .sink = &sink), 0);
    assert_int_equal(f.a.n, 0);
    end_with(&f, id, "x");
    assert_int_equal(fixture_actions(&f, SM_ACTION_INGRESS_RESPONSE), 2);
    assert_memory_equal(fixture_action(&f, SM_ACTION_INGRESS_RESPONSE, 1)->request_id, R2, 16);
    assert_int_equal(FX(&f, CMD_ATTACH, attach, .id = id, .block = true, .sink = &sink), 0);
    assert_true(slice_eq_str(f.a.items[0].response.result.value, "x"));
    CHECK(&f);
    fixture_done(&f);
}

struct expiries {
    uint64_t invocation_ms, journal_ms;
};
static int note_expiry(void *arg, uint64_t time_ms, enum expiry_kind kind, const struct invocation_id *id) {
    struct expiries *e = arg;

    (void)id;
    *(kind == EXPIRY_JOURNAL ? &e->journal_ms : &e->invocation_ms) = time_ms;
    return 0;
}

static void what_is_kept_expires_so_long_after_its_end(void **state) {
    static const struct {
        uint64_t retention_ms, journal_ms, invocation_after, journal_after; /* 0: no row */
    } rows[] = {
        {1000, 400, 1000, 400},
        {1000, 1000, 1000, 0}, /* goes with the invocation */
        {1000, 5000, 1000, 0}, /* never outlives it */
        {1000, 0, 1000, 0},    /* gone at once */
        {UINT64_MAX, 0, UINT64_MAX, 0},
        {0, 400, 0, 0},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct fixture f;
        struct slice id;
        struct expiries e = {0};
        uint64_t end_ms;

        start(&f);
        id = fx_id(&f, "k", 1);
        assert_int_equal(
            fx_invoke(
                &f, id,
                (struct fx_invoke){.key = "k", .retention_ms = rows[i].retention_ms, .journal_ms = rows[i].journal_ms}),
            0);
        f.now_ms += 77; /* it counts from the end */
        end_with(&f, id, "x");
        end_ms = f.now_ms;
        assert_int_equal(tables_expired(&f.t.reader, UINT64_MAX, note_expiry, &e, NULL), 0);
        if (rows[i].retention_ms == UINT64_MAX)
            assert_true(e.invocation_ms == UINT64_MAX); /* does not wrap around */
        else
            assert_int_equal(e.invocation_ms, rows[i].invocation_after ? end_ms + rows[i].invocation_after : 0);
        assert_int_equal(e.journal_ms, rows[i].journal_after ? end_ms + rows[i].journal_after : 0);
        if (rows[i].journal_after) { /* due from that millisecond on */
            e = (struct expiries){0};
            assert_int_equal(tables_expired(&f.t.reader, end_ms + rows[i].journal_after - 1, note_expiry, &e, NULL), 0);
            assert_int_equal(e.journal_ms, 0);
            assert_int_equal(tables_expired(&f.t.reader, end_ms + rows[i].journal_after, note_expiry, &e, NULL), 0);
            assert_int_equal(e.journal_ms, end_ms + rows[i].journal_after);
            assert_int_equal(e.invocation_ms, 0);
        }
        fixture_done(&f);
    }
}

static void retention_decides_what_purging_finds(void **state) {
    struct fixture f;
    struct slice id, none;

    (void)state;
    start(&f);
    id = fx_id(&f, "k", 1);
    none = fx_id(&f, "k", 2);
    assert_int_equal(fx_invoke(&f, id, (struct fx_invoke){.key = "k", .retention_ms = 1000, .journal_ms = 500}), 0);
    assert_int_equal(FX(&f, CMD_PURGE_INVOCATION, purge, .id = id, .request_id = SLICE_LIT(FX_ADMIN)), 0);
    assert_int_equal(fx_outcome(&f), SM_NOT_COMPLETED);
    end_with(&f, id, "x");
    assert_int_equal(fx_rows(&f, T_EXPIRY), 2);
    assert_int_equal(FX(&f, CMD_PURGE_JOURNAL, purge, .id = none, .request_id = SLICE_LIT(FX_ADMIN)), 0);
    assert_int_equal(fx_outcome(&f), SM_NOT_FOUND);
    assert_int_equal(FX(&f, CMD_PURGE_JOURNAL, purge, .id = id, .request_id = SLICE_LIT(FX_ADMIN)), 0);
    assert_int_equal(fx_outcome(&f), SM_OK);
    assert_int_equal(fx_rows(&f, T_JOURNAL), 0);
    assert_int_equal(fx_rows(&f, T_EXPIRY), 1);
    assert_int_equal(fx_header(&f, id).journal_length, 0);
    CHECK(&f);
    assert_int_equal(FX(&f, CMD_PURGE_INVOCATION, purge, .id = id, .request_id = SLICE_LIT(FX_ADMIN)), 0);
    assert_int_equal(fx_outcome(&f), SM_OK);
    assert_int_equal(f.t.n, 2);
    fixture_done(&f);
}

static void purging_a_workflow_deletes_its_state(void **state) {
    struct fixture f;
    struct sp_value value = {.content = SLICE_LIT("1")};
    struct slice id;

    (void)state;
    start(&f);
    id = fx_id(&f, "k", 1);
    assert_int_equal(
        fx_invoke(&f, id, (struct fx_invoke){.type = TARGET_WORKFLOW_RUN, .key = "k", .retention_ms = 1000}), 0);
    assert_int_equal(
        FX_EFFECTS(&f, id, fx_command(SP_SET_STATE, SP_BYTES(&f, set_state, .key = SLICE_LIT("n"), .value = &value)),
                   fx_command(SP_COMPLETE_PROMISE, SP_BYTES(&f, complete_promise, .key = SLICE_LIT("p"),
                                                            .value = &value, .result_completion_id = 1)),
                   fx_output(&f, "x"), fx_end()),
        0);
    assert_int_equal(fx_rows(&f, T_STATE), 1);
    assert_int_equal(fx_rows(&f, T_PROMISE), 1);
    assert_int_equal(fx_rows(&f, T_JOURNAL), 0); /* journal retention is 0 */
    CHECK(&f);
    assert_int_equal(FX(&f, CMD_PURGE_INVOCATION, purge, .id = id), 0);
    assert_int_equal(f.t.n, 2);
    assert_int_equal(
        fx_invoke(&f, id, (struct fx_invoke){.type = TARGET_WORKFLOW_RUN, .key = "k", .retention_ms = 1000}), 0);
    assert_string_equal(fx_actions(&f), "invoke"); /* as if it never ran */
    fixture_done(&f);
}

static void records_without_a_number_are_never_duplicates(void **state) {
    struct fixture f;
    struct record_header h = {.kind = CMD_CHECKSUM, .dedup = RECORD_DEDUP_SELF, .dedup_epoch = 2, .dedup_seq = 5};

    (void)state;
    start(&f);
    assert_int_equal(fixture_apply_header(&f, &h, SLICE_NULL), 0);
    h = (struct record_header){.kind = CMD_CHECKSUM, .dedup = RECORD_DEDUP_NONE};
    for (int i = 0; i < 3; i++) {
        assert_int_equal(fixture_apply_header(&f, &h, SLICE_NULL), 0);
        assert_int_equal(f.a.n, 1);
    }
    assert_int_equal(fx_rows(&f, T_DEDUP), 0);
    assert_int_equal(sm_epoch(f.sm), 2); /* they say nothing of who leads */
    fixture_done(&f);
}

static void the_fence_skips_duplicates_and_older_leaders(void **state) {
    struct fixture f;
    struct record_header h = {.kind = CMD_CHECKSUM, .dedup = RECORD_DEDUP_SELF, .dedup_epoch = 2, .dedup_seq = 5};
    uint64_t hash;

    (void)state;
    start(&f);
    assert_int_equal(fixture_apply_header(&f, &h, SLICE_NULL), 0);
    assert_string_equal(fx_actions(&f), "checksum");
    assert_int_equal(f.a.items[0].lsn, 1);
    assert_int_equal(sm_epoch(f.sm), 2);
    assert_int_equal(fixture_apply_header(&f, &h, SLICE_NULL), 0);
    assert_int_equal(f.a.n, 0);
    assert_int_equal(sm_applied(f.sm), 2);
    h.dedup_epoch = 1;
    h.dedup_seq = 100;
    assert_int_equal(fixture_apply_header(&f, &h, SLICE_NULL), 0);
    assert_int_equal(f.a.n, 0);
    h.dedup_epoch = 3;
    h.dedup_seq = 0;
    assert_int_equal(fixture_apply_header(&f, &h, SLICE_NULL), 0);
    assert_int_equal(f.a.n, 1);
    for (int i = 0; i < 3; i++) { /* from another partition, then a producer: gaps are fine, repeats are not */
        h = (struct record_header){
            .kind = CMD_CHECKSUM, .dedup = RECORD_DEDUP_PARTITION, .dedup_partition = 9, .dedup_seq = 10};
        h.dedup = i == 2 ? RECORD_DEDUP_PRODUCER : RECORD_DEDUP_PARTITION;
        h.dedup_partition += i == 1;
        assert_int_equal(fixture_apply_header(&f, &h, SLICE_NULL), 0);
        assert_int_equal(f.a.n, 1);
        assert_int_equal(fixture_apply_header(&f, &h, SLICE_NULL), 0);
        assert_int_equal(f.a.n, 0);
        h.dedup_seq = 20;
        assert_int_equal(fixture_apply_header(&f, &h, SLICE_NULL), 0);
        assert_int_equal(f.a.n, 1);
    }
    assert_int_equal(fx_rows(&f, T_DEDUP), 3);
    hash = fixture_hash(&f);
    assert_int_not_equal(hash, 0);
    fixture_done(&f);
}

static void records_for_other_keys_only_move_the_applied_lsn(void **state) {
    struct fixture f;
    struct record_header h = {.kind = CMD_CHECKSUM, .keys = RECORD_KEYS_SINGLE, .key = {5}};

    (void)state;
    fixture_init(&f, 100, 200);
    assert_int_equal(fixture_apply_header(&f, &h, SLICE_NULL), 0);
    assert_int_equal(f.a.n, 0);
    assert_int_equal(f.w.n, 1);
    sm_skip(f.sm, 9, &f.w);
    assert_int_equal(f.w.n, 1);
    assert_int_equal(sm_applied(f.sm), 9);
    fixture_done(&f);
}

static void the_format_is_written_even_when_the_log_begins_with_a_gap(void **state) {
    struct fixture f;
    struct fsm_format format;

    (void)state;
    start(&f);
    sm_skip(f.sm, 5, &f.w);
    f.lsn = 5;
    assert_int_equal(FX(&f, CMD_CHECKSUM, pause, .id = SLICE_NULL), 0);
    assert_int_equal(tables_format(&f.t.reader, &format, NULL), 0);
    assert_int_equal(format.features, SM_FEATURES_INITIAL);
    assert_int_equal(f.w.n, 2);
    assert_int_equal(FX(&f, CMD_CHECKSUM, pause, .id = SLICE_NULL), 0);
    assert_int_equal(f.w.n, 1);
    fixture_done(&f);
}

static void what_the_program_does_not_know_stops_the_partition(void **state) {
    struct fixture f;
    const uint32_t known[] = {SM_FEATURE_DIRECT_MESSAGES}, unknown[] = {63}, impossible[] = {64};
    struct record_header h = {.kind = 999};
    struct err err = {0};
    struct sm_params p = {.version = "1.2.2", .last_key = UINT64_MAX};
    struct sm *other = NULL;
    uint64_t hash;

    (void)state;
    start(&f);
    assert_int_equal(FX(&f, CMD_CHECKSUM, pause, .id = SLICE_NULL), 0);
    hash = fixture_hash(&f);
    assert_int_equal(fixture_apply_header(&f, &h, SLICE_NULL), RS_EUNSUPPORTED);
    h.kind = CMD_PROXY_THROUGH;
    assert_int_equal(fixture_apply_header(&f, &h, SLICE_NULL), RS_EUNSUPPORTED);
    assert_int_equal(FX(&f, CMD_VERSION_BARRIER, version_barrier, .features = unknown, .n_features = 1),
                     RS_EUNSUPPORTED);
    assert_int_equal(FX(&f, CMD_VERSION_BARRIER, version_barrier, .features = impossible, .n_features = 1),
                     RS_EUNSUPPORTED);
    assert_int_equal(FX(&f, CMD_VERSION_BARRIER, version_barrier, .min_version = SLICE_LIT("1.2.4")), RS_EUNSUPPORTED);
    assert_int_equal(fixture_hash(&f), hash);
    assert_int_equal(sm_applied(f.sm), 1);
    assert_int_equal(FX(&f, CMD_VERSION_BARRIER, version_barrier, .min_version = SLICE_LIT("1.2.3"), .features = known,
                        .n_features = 1),
                     0);
    assert_string_equal(fx_actions(&f), "version-barrier");
    /* An older program does not open the table any more. */
    assert_int_equal(sm_open(&p, &f.t.reader, &other, &err), RS_EUNSUPPORTED);
    p.version = "1.10.0";
    assert_int_equal(sm_open(&p, &f.t.reader, &other, &err), 0);
    assert_int_equal(sm_applied(other), 2);
    assert_int_equal(sm_features(other), SM_FEATURES_INITIAL);
    (void)sm_free(other);
    fixture_done(&f);
}

static void a_command_that_does_not_decode_is_skipped(void **state) {
    struct fixture f;

    (void)state;
    start(&f);
    for (unsigned kind = 1; kind <= CMD_PAUSE; kind++) {
        if (kind == CMD_PROXY_THROUGH || kind == CMD_SCHEDULE_TIMER || kind == 18 || (kind >= 20 && kind <= 24))
            continue;
        assert_int_equal(fixture_apply(&f, kind, SLICE_LIT("\xff\xff\xff")), 0);
        assert_int_equal(f.a.n, 0);
        assert_int_equal(fixture_apply(&f, kind, SLICE_NULL), 0); /* and an empty one finds nothing */
    }
    CHECK(&f);
    fixture_done(&f);
}

static void partition_commands_are_remembered(void **state) {
    struct fixture f;
    struct fsm_leader leader;
    struct fsm_durable durable;

    (void)state;
    start(&f);
    f.epoch = 7;
    assert_int_equal(FX(&f, CMD_ANNOUNCE_LEADER, announce_leader, .epoch = 7, .node = SLICE_LIT("N1:2"), .last_key = 9),
                     0);
    assert_int_equal(f.a.items[0].leader.epoch, 7);
    assert_int_equal(tables_leader(&f.t.reader, &leader, NULL), 0);
    assert_true(slice_eq_str(leader.node, "N1:2"));
    assert_int_equal(leader.last_key, 9);
    assert_int_equal(FX(&f, CMD_PARTITION_DURABILITY, partition_durability, .partition = 4, .durable_lsn = 9), 0);
    assert_int_equal(f.a.n, 0);
    assert_int_equal(
        FX(&f, CMD_PARTITION_DURABILITY, partition_durability, .partition = 3, .durable_lsn = 9, .time_ms = 1), 0);
    assert_int_equal(f.a.items[0].durability.lsn, 9);
    assert_int_equal(FX(&f, CMD_PARTITION_DURABILITY, partition_durability, .partition = 3, .durable_lsn = 8), 0);
    assert_int_equal(f.a.n, 0);
    assert_int_equal(tables_durable(&f.t.reader, &durable, NULL), 0);
    assert_int_equal(durable.lsn, 9);
    assert_int_equal(sm_durable_point(f.sm, NULL), 9);
    fixture_done(&f);
}

static void a_cold_row_leaves_no_trace(void **state) {
    struct fixture f;
    struct record_view v;
    struct slice id;
    struct err err = {0};

    (void)state;
    start(&f);
    id = fx_id(&f, "k", 1);
    assert_int_equal(fx_invoke(&f, id, (struct fx_invoke){.key = "k"}), 0);
    v = (struct record_view){.header = {.kind = CMD_CHECKSUM, .dedup = RECORD_DEDUP_PARTITION, .dedup_seq = 1}};
    f.t.cold = 1; /* every read */
    assert_int_equal(sm_apply(f.sm, 2, &v, &f.t.reader, &f.w, &f.a, &err), RS_EAGAIN);
    assert_int_equal(f.w.n, 0);
    assert_int_equal(sm_applied(f.sm), 1);
    f.t.cold = 0;
    assert_int_equal(sm_apply(f.sm, 2, &v, &f.t.reader, &f.w, &f.a, &err), 0);
    assert_int_equal(sm_applied(f.sm), 2);
    fixture_done(&f);
}

static void state_patches_replace_now_or_when_the_lock_is_free(void **state) {
    struct fixture f;
    struct cmd_state_entry one = {SLICE_LIT("a"), SLICE_LIT("1"), SLICE_NULL},
                           two = {SLICE_LIT("b"), SLICE_LIT("2"), SLICE_NULL};
    struct slice id;

    (void)state;
    start(&f);
    id = fx_id(&f, "k", 1);
    assert_int_equal(FX(&f, CMD_PATCH_STATE, patch_state, .service = SLICE_LIT("S"), .key = SLICE_LIT("k"),
                        .entries = &one, .n_entries = 1),
                     0);
    assert_true(slice_eq_str(fx_state(&f, "k", "a"), "1"));
    assert_int_equal(fx_invoke(&f, id, (struct fx_invoke){.key = "k"}), 0);
    assert_int_equal(FX(&f, CMD_PATCH_STATE, patch_state, .service = SLICE_LIT("S"), .key = SLICE_LIT("k"),
                        .entries = &two, .n_entries = 1),
                     0);
    assert_int_equal(fx_invoke(&f, fx_id(&f, "k", 2), (struct fx_invoke){.key = "k"}), 0);
    assert_null(fx_state(&f, "k", "b").data);
    CHECK(&f);
    end_with(&f, id, "x");
    CHECK(&f);
    assert_true(slice_eq_str(fx_state(&f, "k", "b"), "2"));
    assert_null(fx_state(&f, "k", "a").data);
    assert_int_equal(fx_status(&f, fx_id(&f, "k", 2)), INV_INVOKED);
    end_with(&f, fx_id(&f, "k", 2), "x");
    /* A version that is not the current one changes nothing; the current one is the hash of b = 2. */
    assert_int_equal(FX(&f, CMD_PATCH_STATE, patch_state, .service = SLICE_LIT("S"), .key = SLICE_LIT("k"),
                        .check_version = true, .version = SLICE_LIT("x"), .entries = &one, .n_entries = 1),
                     0);
    assert_null(fx_state(&f, "k", "a").data);
    assert_int_equal(FX(&f, CMD_PATCH_STATE, patch_state, .service = SLICE_LIT("S"), .key = SLICE_LIT("k"),
                        .check_version = true, .version = SLICE_LIT("PfDM0GA8aUeU0NSrngL6P-PenH_FC0VRK2GLwRi_taw"),
                        .entries = &one, .n_entries = 1),
                     0);
    assert_true(slice_eq_str(fx_state(&f, "k", "a"), "1"));
    fixture_done(&f);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(a_counter_call_takes_two_records),
    cmocka_unit_test(without_retention_nothing_but_state_is_left),
    cmocka_unit_test(an_end_without_output_is_a_500),
    cmocka_unit_test(the_output_of_an_earlier_record_is_found),
    cmocka_unit_test(exclusive_calls_of_one_key_run_one_after_the_other_in_log_order),
    cmocka_unit_test(shared_handlers_and_other_keys_do_not_wait),
    cmocka_unit_test(a_delayed_call_starts_or_queues_when_its_timer_fires),
    cmocka_unit_test(a_duplicate_attaches_in_flight_and_is_answered_when_completed),
    cmocka_unit_test(a_second_run_of_a_workflow_is_refused_but_its_retry_waits),
    cmocka_unit_test(attach_follows_the_status),
    cmocka_unit_test(whoever_attaches_to_a_workflow_gets_its_one_result),
    cmocka_unit_test(what_is_kept_expires_so_long_after_its_end),
    cmocka_unit_test(retention_decides_what_purging_finds),
    cmocka_unit_test(purging_a_workflow_deletes_its_state),
    cmocka_unit_test(records_without_a_number_are_never_duplicates),
    cmocka_unit_test(the_fence_skips_duplicates_and_older_leaders),
    cmocka_unit_test(records_for_other_keys_only_move_the_applied_lsn),
    cmocka_unit_test(the_format_is_written_even_when_the_log_begins_with_a_gap),
    cmocka_unit_test(what_the_program_does_not_know_stops_the_partition),
    cmocka_unit_test(a_command_that_does_not_decode_is_skipped),
    cmocka_unit_test(partition_commands_are_remembered),
    cmocka_unit_test(a_cold_row_leaves_no_trace),
    cmocka_unit_test(state_patches_replace_now_or_when_the_lock_is_free),
};
const struct unit_group state_machine_test_group = UNIT_GROUP(tests);
