/* SPDX-License-Identifier: Apache-2.0 */
/* Cancel, kill, pause, resume and restart: every row of execution.md §13 and §14. */
#include "unit.h"
#include "worker/sm_fixture.h"

#define R1 "request-0000-001"
#define ADMIN SLICE_LIT(FX_ADMIN)
#define CHECK(f)                                                                                                       \
    do {                                                                                                               \
        char why_[256];                                                                                                \
        const char *wrong_ = fixture_check((f), why_);                                                                 \
        if (wrong_)                                                                                                    \
            fail_msg("%s", wrong_);                                                                                    \
    } while (0)

static const uint32_t cancel_signal[] = {1}, completion[] = {1};

/* Brings a fresh invocation (exclusive, key k, number 1; R1 waits) into @status. INV_INBOXED: number 9 holds the lock.
 */
static struct slice make(struct fixture *f, enum inv_status status) {
    struct slice id = fx_id(f, "k", 1);
    struct fx_invoke o = {.key = "k", .request = R1, .retention_ms = 1000, .journal_ms = 1000};
    struct cmd_future waits = {.completions = completion, .n_completions = 1, .signals = cancel_signal, .n_signals = 1};

    if (status == INV_FREE)
        return id;
    if (status == INV_SCHEDULED)
        o.at_ms = 99;
    if (status == INV_INBOXED)
        assert_int_equal(fx_invoke(f, fx_id(f, "k", 9), (struct fx_invoke){.key = "k"}), 0);
    assert_int_equal(fx_invoke(f, id, o), 0);
    if (status == INV_SUSPENDED || status == INV_PAUSED || status == INV_INVOKED)
        assert_int_equal(
            FX_EFFECTS(f, id, fx_pinned(6),
                       fx_command(SP_SLEEP, SP_BYTES(f, sleep, .wake_up_time_ms = 50, .result_completion_id = 1))),
            0);
    if (status == INV_SUSPENDED)
        assert_int_equal(FX_EFFECTS(f, id, fx_suspend(&waits)), 0);
    if (status == INV_PAUSED)
        assert_int_equal(FX_EFFECTS(f, id, (struct cmd_effect){.kind = EFFECT_PAUSED}), 0);
    if (status == INV_COMPLETED)
        assert_int_equal(FX_EFFECTS(f, id, fx_pinned(6), fx_output(f, "x"), fx_end()), 0);
    assert_int_equal(fx_status(f, id), status);
    return id;
}

struct row {
    enum inv_status from, to;
    enum sm_outcome outcome;
    const char *actions;
};

static void each_row(const struct row *rows, size_t n, int (*doing)(struct fixture *f, struct slice id)) {
    for (size_t i = 0; i < n; i++) {
        struct fixture f;
        struct slice id;

        fixture_init(&f, 0, UINT64_MAX);
        id = make(&f, rows[i].from);
        assert_int_equal(doing(&f, id), 0);
        if (fx_outcome(&f) != rows[i].outcome || fx_status(&f, id) != rows[i].to)
            fail_msg("row %zu: %s, status %d", i, sm_outcome_name(fx_outcome(&f)), fx_status(&f, id));
        assert_string_equal(fx_actions(&f), rows[i].actions);
        CHECK(&f);
        fixture_done(&f);
    }
}

static int do_cancel(struct fixture *f, struct slice id) {
    return fx_terminate(f, id, TERMINATE_CANCEL);
}
static int do_kill(struct fixture *f, struct slice id) {
    return fx_terminate(f, id, TERMINATE_KILL);
}
static int do_pause(struct fixture *f, struct slice id) {
    return FX(f, CMD_PAUSE, pause, .id = id, .request_id = ADMIN);
}
static int do_resume(struct fixture *f, struct slice id) {
    return FX(f, CMD_RESUME, resume, .id = id, .request_id = ADMIN);
}
static int do_restart(struct fixture *f, struct slice id) {
    return FX(f, CMD_RESTART, restart, .id = id, .new_id = fx_id(f, "k", 2), .request_id = ADMIN);
}
static int do_purge(struct fixture *f, struct slice id) {
    return FX(f, CMD_PURGE_INVOCATION, purge, .id = id, .request_id = ADMIN);
}

static void cancel_follows_its_table(void **state) {
    static const struct row rows[] = {
        {INV_FREE, INV_FREE, SM_NOT_FOUND, "abort admin-response"},
        {INV_SCHEDULED, INV_FREE, SM_DONE, "ingress-response delete-timer admin-response"},
        {INV_INBOXED, INV_FREE, SM_DONE, "ingress-response admin-response"},
        {INV_INVOKED, INV_INVOKED, SM_APPENDED, "forward-notification admin-response"},
        {INV_SUSPENDED, INV_INVOKED, SM_APPENDED, "invoke admin-response"},
        {INV_PAUSED, INV_INVOKED, SM_APPENDED, "invoke admin-response"},
        {INV_COMPLETED, INV_COMPLETED, SM_ALREADY_COMPLETED, "admin-response"},
    };

    (void)state;
    each_row(rows, ARRAY_SIZE(rows), do_cancel);
}

static void kill_follows_its_table(void **state) {
    static const struct row rows[] = {
        {INV_FREE, INV_FREE, SM_NOT_FOUND, "abort admin-response"},
        {INV_SCHEDULED, INV_FREE, SM_OK, "ingress-response delete-timer admin-response"},
        {INV_INBOXED, INV_FREE, SM_OK, "ingress-response admin-response"},
        {INV_INVOKED, INV_COMPLETED, SM_OK, "ingress-response abort admin-response"},
        {INV_SUSPENDED, INV_COMPLETED, SM_OK, "ingress-response abort admin-response"},
        {INV_PAUSED, INV_COMPLETED, SM_OK, "ingress-response abort admin-response"},
        {INV_COMPLETED, INV_COMPLETED, SM_ALREADY_COMPLETED, "admin-response"},
    };

    (void)state;
    each_row(rows, ARRAY_SIZE(rows), do_kill);
}

static void pause_follows_its_table(void **state) {
    static const struct row rows[] = {
        {INV_FREE, INV_FREE, SM_NOT_FOUND, "admin-response"},
        {INV_SCHEDULED, INV_SCHEDULED, SM_NOT_RUNNING, "admin-response"},
        {INV_INBOXED, INV_INBOXED, SM_NOT_RUNNING, "admin-response"},
        {INV_INVOKED, INV_PAUSED, SM_ACCEPTED, "abort admin-response"},
        {INV_SUSPENDED, INV_PAUSED, SM_ACCEPTED, "admin-response"},
        {INV_PAUSED, INV_PAUSED, SM_ALREADY_PAUSED, "admin-response"},
        {INV_COMPLETED, INV_COMPLETED, SM_NOT_RUNNING, "admin-response"},
    };

    (void)state;
    each_row(rows, ARRAY_SIZE(rows), do_pause);
}

static void resume_follows_its_table(void **state) {
    static const struct row rows[] = {
        {INV_FREE, INV_FREE, SM_NOT_FOUND, "admin-response"},
        {INV_SCHEDULED, INV_SCHEDULED, SM_NOT_STARTED, "admin-response"},
        {INV_INBOXED, INV_INBOXED, SM_NOT_STARTED, "admin-response"},
        {INV_INVOKED, INV_INVOKED, SM_OK, "retry-now admin-response"},
        {INV_SUSPENDED, INV_INVOKED, SM_OK, "invoke admin-response"},
        {INV_PAUSED, INV_INVOKED, SM_OK, "invoke admin-response"},
        {INV_COMPLETED, INV_COMPLETED, SM_COMPLETED, "admin-response"},
    };

    (void)state;
    each_row(rows, ARRAY_SIZE(rows), do_resume);
}

static void restart_and_purge_want_a_completed_invocation(void **state) {
    static const struct row restart[] = {
        {INV_FREE, INV_FREE, SM_NOT_FOUND, "admin-response"},
        {INV_SCHEDULED, INV_SCHEDULED, SM_NOT_STARTED, "admin-response"},
        {INV_INBOXED, INV_INBOXED, SM_NOT_STARTED, "admin-response"},
        {INV_INVOKED, INV_INVOKED, SM_STILL_RUNNING, "admin-response"},
        {INV_SUSPENDED, INV_SUSPENDED, SM_STILL_RUNNING, "admin-response"},
        {INV_PAUSED, INV_PAUSED, SM_STILL_RUNNING, "admin-response"},
        {INV_COMPLETED, INV_COMPLETED, SM_OK, "invoke admin-response"},
    };
    static const struct row purge[] = {
        {INV_FREE, INV_FREE, SM_NOT_FOUND, "admin-response"},
        {INV_SCHEDULED, INV_SCHEDULED, SM_NOT_COMPLETED, "admin-response"},
        {INV_INBOXED, INV_INBOXED, SM_NOT_COMPLETED, "admin-response"},
        {INV_INVOKED, INV_INVOKED, SM_NOT_COMPLETED, "admin-response"},
        {INV_SUSPENDED, INV_SUSPENDED, SM_NOT_COMPLETED, "admin-response"},
        {INV_PAUSED, INV_PAUSED, SM_NOT_COMPLETED, "admin-response"},
        {INV_COMPLETED, INV_FREE, SM_OK, "admin-response"},
    };

    (void)state;
    each_row(restart, ARRAY_SIZE(restart), do_restart);
    each_row(purge, ARRAY_SIZE(purge), do_purge);
}

static void the_reason_of_the_end_reaches_the_caller(void **state) {
    static const struct {
        enum inv_status from;
        uint32_t flavor;
        const char *message;
    } rows[] = {
        {INV_INBOXED, TERMINATE_CANCEL, "canceled"},
        {INV_SCHEDULED, TERMINATE_KILL, "killed"},
        {INV_INVOKED, TERMINATE_KILL, "killed"},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct fixture f;
        struct slice id;
        const struct sm_action *a;

        fixture_init(&f, 0, UINT64_MAX);
        id = make(&f, rows[i].from);
        assert_int_equal(fx_terminate(&f, id, rows[i].flavor), 0);
        a = fixture_action(&f, SM_ACTION_INGRESS_RESPONSE, 0);
        assert_int_equal(a->response.result.failure->code, 409);
        assert_true(slice_eq_str(a->response.result.failure->message, rows[i].message));
        fixture_done(&f);
    }
}

static void a_paused_invocation_stores_notifications_but_wakes_only_for_cancel(void **state) {
    struct fixture f;
    struct slice id;

    (void)state;
    fixture_init(&f, 0, UINT64_MAX);
    id = make(&f, INV_PAUSED);
    assert_int_equal(FX(&f, CMD_TIMER, timer, .time_ms = 50, .kind = TIMER_SLEEP, .id = id, .completion_id = 1), 0);
    assert_string_equal(fx_actions(&f), "delete-timer");
    assert_int_equal(fx_signal(&f, id, 17, NULL, "x"), 0);
    assert_int_equal(fx_status(&f, id), INV_PAUSED);
    assert_string_equal(fx_journal(&f, id), "Input Sleep ~Sleep ~Signal");
    assert_int_equal(fx_signal(&f, id, 1, NULL, NULL), 0);
    assert_string_equal(fx_actions(&f), "invoke");
    CHECK(&f);
    fixture_done(&f);
}

static void killing_a_parent_kills_what_it_called_and_sent_to(void **state) {
    struct fixture f;
    struct slice id, called, sent, grandchild, waiting;

    (void)state;
    fixture_init(&f, 0, UINT64_MAX);
    id = make(&f, INV_INVOKED);
    called = fx_id(&f, "l", 2);
    sent = fx_id(&f, "m", 3);
    grandchild = fx_id(&f, "n", 4);
    waiting = fx_id(&f, "k", 5);
    assert_int_equal(FX_EFFECTS(&f, id, fx_call(&f, SP_CALL, called, TARGET_OBJECT_SHARED, "l", 11, 12, 0),
                                fx_call(&f, SP_ONE_WAY_CALL, sent, TARGET_OBJECT_SHARED, "m", 13, 0, 0)),
                     0);
    assert_int_equal(FX_EFFECTS(&f, called, fx_call(&f, SP_CALL, grandchild, TARGET_OBJECT_EXCLUSIVE, "n", 1, 2, 0)),
                     0);
    assert_int_equal(fx_invoke(&f, waiting, (struct fx_invoke){.key = "k"}), 0);
    assert_int_equal(fx_terminate(&f, id, TERMINATE_KILL), 0);
    assert_int_equal(fx_status(&f, called), INV_COMPLETED);
    assert_int_equal(fx_status(&f, sent), INV_COMPLETED);
    assert_int_equal(fx_status(&f, grandchild), INV_COMPLETED);
    assert_int_equal(fx_status(&f, waiting), INV_INVOKED); /* the lock went on */
    assert_int_equal(fixture_actions(&f, SM_ACTION_ABORT), 4);
    CHECK(&f);
    fixture_done(&f);
}

static void effects_of_a_run_that_was_started_over_are_dropped(void **state) {
    struct fixture f;
    struct slice id;
    struct cmd_effect old[1];
    uint64_t first, second;

    (void)state;
    fixture_init(&f, 0, UINT64_MAX);
    id = make(&f, INV_INVOKED);
    first = fx_header(&f, id).start_lsn;
    assert_int_not_equal(first, 0);
    assert_int_equal(FX(&f, CMD_PAUSE, pause, .id = id), 0);
    assert_int_equal(FX(&f, CMD_RESUME, resume, .id = id), 0);
    second = fx_header(&f, id).start_lsn;
    assert_true(second > first);
    old[0] = fx_output(&f, "of the old run");
    assert_int_equal(
        FX(&f, CMD_INVOKER_EFFECT, invoker_effect, .id = id, .effects = old, .n_effects = 1, .start_lsn = first), 0);
    assert_int_equal(fx_header(&f, id).output_index, 0);
    assert_int_equal(fixture_actions(&f, SM_ACTION_ABORT), 0); /* the new run goes on */
    assert_int_equal(
        FX(&f, CMD_INVOKER_EFFECT, invoker_effect, .id = id, .effects = old, .n_effects = 1, .start_lsn = second), 0);
    assert_int_not_equal(fx_header(&f, id).output_index, 0);
    CHECK(&f);
    fixture_done(&f);
}

static void resume_changes_the_deployment_only_within_its_protocols(void **state) {
    static const struct {
        enum inv_status from;
        struct cmd_deployment_patch patch;
        enum sm_outcome outcome;
        const char *deployment;
    } rows[] = {
        {INV_PAUSED, {.outcome = PATCH_KEEP}, SM_OK, "dp_one"},
        {INV_PAUSED,
         {.outcome = PATCH_USE, .deployment = SLICE_LIT("dp_two"), .min_protocol = 5, .max_protocol = 6},
         SM_OK,
         "dp_two"},
        {INV_SUSPENDED,
         {.outcome = PATCH_USE, .deployment = SLICE_LIT("dp_two"), .min_protocol = 7, .max_protocol = 7},
         SM_INCOMPATIBLE_DEPLOYMENT,
         "dp_one"},
        {INV_PAUSED, {.outcome = PATCH_INCOMPATIBLE}, SM_INCOMPATIBLE_DEPLOYMENT, "dp_one"},
        {INV_PAUSED, {.outcome = PATCH_NOT_FOUND}, SM_DEPLOYMENT_NOT_FOUND, "dp_one"},
        {INV_INVOKED,
         {.outcome = PATCH_USE, .deployment = SLICE_LIT("dp_two"), .min_protocol = 5, .max_protocol = 6},
         SM_CANNOT_CHANGE_DEPLOYMENT,
         "dp_one"},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct fixture f;
        struct cmd_deployment_patch patch = rows[i].patch;
        struct slice id;

        fixture_init(&f, 0, UINT64_MAX);
        id = make(&f, rows[i].from);
        assert_int_equal(FX(&f, CMD_RESUME, resume, .id = id, .patch = &patch, .request_id = ADMIN), 0);
        assert_int_equal(fx_outcome(&f), rows[i].outcome);
        assert_true(slice_eq_str(fx_header(&f, id).deployment, rows[i].deployment));
        assert_int_equal(fx_header(&f, id).protocol, 6);
        CHECK(&f);
        fixture_done(&f);
    }
}

static void latest_changes_nothing_when_nothing_is_pinned(void **state) {
    struct cmd_deployment_patch patch = {
        .outcome = PATCH_USE, .deployment = SLICE_LIT("dp_two"), .min_protocol = 5, .max_protocol = 6};
    struct fixture f;
    struct slice id;

    (void)state;
    fixture_init(&f, 0, UINT64_MAX);
    id = fx_id(&f, "k", 1);
    assert_int_equal(fx_invoke(&f, id, (struct fx_invoke){.key = "k"}), 0);
    assert_int_equal(FX(&f, CMD_PAUSE, pause, .id = id), 0);
    assert_int_equal(FX(&f, CMD_RESUME, resume, .id = id, .patch = &patch, .request_id = ADMIN), 0);
    assert_int_equal(fx_outcome(&f), SM_CANNOT_CHANGE_DEPLOYMENT);
    patch.latest = true;
    assert_int_equal(FX(&f, CMD_RESUME, resume, .id = id, .patch = &patch, .request_id = ADMIN), 0);
    assert_int_equal(fx_outcome(&f), SM_OK);
    assert_int_equal(fx_header(&f, id).protocol, 0);
    fixture_done(&f);
}

static int restart_from(struct fixture *f, struct slice id, uint32_t from) {
    return FX(f, CMD_RESTART, restart, .id = id, .new_id = fx_id(f, "k", 2), .from = from, .request_id = ADMIN);
}

static void restart_copies_a_prefix_and_the_completions_it_needs(void **state) {
    struct fixture f;
    struct invocation_id old_id;
    struct inv_header h;
    struct slice id, fresh;
    struct cmd_future any = {.completions = completion, .n_completions = 1};

    (void)state;
    fixture_init(&f, 0, UINT64_MAX);
    id = make(&f, INV_INVOKED); /* Input Sleep */
    fresh = fx_id(&f, "k", 2);
    assert_int_equal(fx_signal(&f, id, 17, NULL, "x"), 0);
    assert_int_equal(FX_EFFECTS(&f, id, fx_call(&f, SP_CALL, fx_id(&f, "l", 3), TARGET_OBJECT_SHARED, "l", 2, 3, 0)),
                     0);
    assert_int_equal(FX(&f, CMD_TIMER, timer, .time_ms = 50, .kind = TIMER_SLEEP, .id = id, .completion_id = 1), 0);
    assert_int_equal(FX_EFFECTS(&f, id, fx_output(&f, "x"), fx_end()), 0);
    assert_string_equal(fx_journal(&f, id), "Input Sleep ~Signal Call ~CallInvocationId ~Sleep Output");

    assert_int_equal(restart_from(&f, id, 7), 0);
    assert_int_equal(fx_outcome(&f), SM_JOURNAL_INDEX_OUT_OF_RANGE);
    assert_int_equal(restart_from(&f, id, 3), 0); /* the call never completed */
    assert_int_equal(fx_outcome(&f), SM_JOURNAL_COPY_RANGE_INVALID);
    assert_int_equal(fx_status(&f, fresh), INV_FREE);
    CHECK(&f);
    assert_int_equal(restart_from(&f, id, 1), 0);
    assert_int_equal(fx_outcome(&f), SM_OK);
    assert_memory_equal(fixture_action(&f, SM_ACTION_ADMIN_RESPONSE, 0)->admin.new_id.raw, fresh.data, 24);
    assert_string_equal(fx_journal(&f, fresh), "Input Sleep ~Sleep");
    CHECK(&f);
    h = fx_header(&f, fresh);
    memcpy(old_id.raw, id.data, 24);
    assert_true(h.has_random_seed);
    assert_int_equal(h.random_seed, invocation_id_seed(&old_id));
    assert_true(slice_eq_str(h.deployment, "dp_one"));
    assert_int_equal(h.n_sinks, 0);
    assert_int_equal(fx_status(&f, id), INV_COMPLETED);
    /* The copied completion counts: suspending on it resumes at once. */
    assert_int_equal(FX_EFFECTS(&f, fresh, fx_suspend(&any)), 0);
    assert_string_equal(fx_actions(&f), "invoke");
    assert_int_equal(restart_from(&f, id, 1), 0); /* the same record again */
    assert_int_equal(fx_outcome(&f), SM_OK);
    assert_string_equal(fx_journal(&f, fresh), "Input Sleep ~Sleep");
    fixture_done(&f);
}

static void what_cannot_be_restarted_says_why(void **state) {
    struct fixture f;
    struct slice id, wf;

    (void)state;
    fixture_init(&f, 0, UINT64_MAX);
    id = make(&f, INV_COMPLETED);
    wf = fx_id(&f, "k", 7);
    assert_int_equal(fx_invoke(&f, wf,
                               (struct fx_invoke){
                                   .type = TARGET_WORKFLOW_RUN, .key = "k", .retention_ms = 1000, .journal_ms = 1000}),
                     0);
    assert_int_equal(FX_EFFECTS(&f, wf, fx_pinned(6), fx_output(&f, "x"), fx_end()), 0);
    assert_int_equal(do_restart(&f, wf), 0);
    assert_int_equal(fx_outcome(&f), SM_UNSUPPORTED);
    assert_int_equal(FX(&f, CMD_PURGE_JOURNAL, purge, .id = id), 0);
    assert_int_equal(do_restart(&f, id), 0);
    assert_int_equal(fx_outcome(&f), SM_MISSING_INPUT);
    CHECK(&f);
    fixture_done(&f);
}

static void a_restarted_exclusive_invocation_queues_like_any_other(void **state) {
    struct fixture f;
    struct slice id;

    (void)state;
    fixture_init(&f, 0, UINT64_MAX);
    id = make(&f, INV_COMPLETED);
    assert_int_equal(fx_invoke(&f, fx_id(&f, "k", 9), (struct fx_invoke){.key = "k"}), 0);
    assert_int_equal(do_restart(&f, id), 0);
    assert_int_equal(fx_outcome(&f), SM_OK);
    assert_int_equal(fx_status(&f, fx_id(&f, "k", 2)), INV_INBOXED);
    CHECK(&f);
    fixture_done(&f);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(cancel_follows_its_table),
    cmocka_unit_test(kill_follows_its_table),
    cmocka_unit_test(pause_follows_its_table),
    cmocka_unit_test(resume_follows_its_table),
    cmocka_unit_test(restart_and_purge_want_a_completed_invocation),
    cmocka_unit_test(the_reason_of_the_end_reaches_the_caller),
    cmocka_unit_test(a_paused_invocation_stores_notifications_but_wakes_only_for_cancel),
    cmocka_unit_test(killing_a_parent_kills_what_it_called_and_sent_to),
    cmocka_unit_test(effects_of_a_run_that_was_started_over_are_dropped),
    cmocka_unit_test(resume_changes_the_deployment_only_within_its_protocols),
    cmocka_unit_test(latest_changes_nothing_when_nothing_is_pinned),
    cmocka_unit_test(restart_copies_a_prefix_and_the_completions_it_needs),
    cmocka_unit_test(what_cannot_be_restarted_says_why),
    cmocka_unit_test(a_restarted_exclusive_invocation_queues_like_any_other),
};
const struct unit_group sm_admin_test_group = UNIT_GROUP(tests);
