/* SPDX-License-Identifier: Apache-2.0 */
/* What a leader does by the clock: timers, retention, durability, trimming.
 *
 * Two behaviours that other implementations test have no counterpart here. Timers do not spill: one timer of the loop
 * stands for all of a partition, its rows are read when it fires (timers.c, docs/decisions/002), whatever
 * worker.num-timers-in-memory-limit says. Trims that wait are not merged: each has its own delay, and there are few. */
#include "worker/snapshot_test_util.h"

static uint64_t wall_ms(const struct rig *r) {
    return loop_wall_ns(r->net->loop) / 1000000;
}

static void open_one(struct rig *r) {
    rig_init(r);
    r->partitions = 1;
    rig_open(r);
}

static void submit_at(struct rig *r, uint64_t n, uint64_t at_ms) {
    struct rig_call c;

    rig_submit(r, &c, rig_id(r, 0, n), at_ms, FX_DAY_MS);
    assert_int_equal(c.answers, 1);
}

static struct cmd_effect sleep_until(struct rig *r, uint64_t at_ms, uint32_t completion) {
    return fx_command(SP_SLEEP, SP_BYTES(&r->fx, sleep, .wake_up_time_ms = at_ms, .result_completion_id = completion));
}

/* ---- timers ---- */

static void a_timer_that_is_due_before_all_others_fires_first(void **state) {
    struct rig r;

    (void)state;
    open_one(&r);
    submit_at(&r, 5, wall_ms(&r) + 1000);
    submit_at(&r, 6, wall_ms(&r) + 500);
    assert_string_equal(rig_said(&r), "");
    rig_pass(&r, 499);
    assert_string_equal(rig_said(&r), "");
    rig_pass(&r, 1);
    assert_string_equal(rig_said(&r), "invoke 6@4");
    rig_pass(&r, 499);
    assert_string_equal(rig_said(&r), "");
    rig_pass(&r, 1);
    assert_string_equal(rig_said(&r), "invoke 5@5");
    rig_close(&r);
}

static void a_timer_that_was_removed_does_not_fire_and_the_next_one_does(void **state) {
    struct rig r;
    struct rig_call c;
    struct invocation_id id;

    (void)state;
    open_one(&r);
    submit_at(&r, 5, wall_ms(&r) + 500);
    submit_at(&r, 6, wall_ms(&r) + 1000);
    id = rig_id(&r, 0, 5);
    rig_call_init(&c);
    worker_call_terminate(r.worker, &c.c, &id, TERMINATE_KILL);
    rig_run(&r);
    assert_int_equal(c.reply.code, WORKER_OK);
    rig_pass(&r, 999);
    assert_string_equal(rig_log(&r, 0, 1), "announce invoke invoke terminate");
    rig_pass(&r, 1);
    assert_string_equal(rig_said(&r), "invoke 6@5");
    rig_close(&r);
}

static void timers_of_the_same_moment_all_fire_each_of_its_kind(void **state) {
    struct rig r;
    uint64_t at;

    (void)state;
    open_one(&r);
    at = wall_ms(&r) + 500;
    submit_at(&r, 7, 0);
    submit_at(&r, 8, at);
    RIG_EFFECTS(&r, rig_id(&r, 0, 7), fx_pinned(6), sleep_until(&r, at, 1), sleep_until(&r, at, 2));
    (void)rig_said(&r);
    rig_pass(&r, 500);
    assert_string_equal(rig_log(&r, 0, 5), "timer timer timer");
    assert_string_equal(rig_said(&r), "notify 7 notify 7 invoke 8@7");
    rig_pass(&r, 5000);
    assert_int_equal(r.logs.logs[0].n, 7);
    rig_close(&r);
}

static void more_timers_than_one_turn_takes_fire_in_several(void **state) {
    struct rig r;
    uint64_t at;

    (void)state;
    open_one(&r);
    at = wall_ms(&r) + 500;
    for (uint64_t n = 1; n <= 300; n++)
        submit_at(&r, n, at);
    rig_pass(&r, 500);
    assert_int_equal(r.logs.logs[0].n, 1 + 300 + 256);
    rig_pass(&r, 1);
    assert_int_equal(r.logs.logs[0].n, 1 + 300 + 300);
    for (uint64_t n = 1; n <= 300; n++)
        assert_int_equal(rig_status(&r, rig_id(&r, 0, n)), INV_INVOKED);
    rig_close(&r);
}

static void a_timer_that_is_set_behind_the_last_one_that_fired_fires_at_once(void **state) {
    struct rig r;

    (void)state;
    open_one(&r);
    submit_at(&r, 7, 0);
    submit_at(&r, 8, wall_ms(&r) + 500);
    rig_pass(&r, 500);
    (void)rig_said(&r);
    RIG_EFFECTS(&r, rig_id(&r, 0, 7), fx_pinned(6), sleep_until(&r, wall_ms(&r) - 1, 1));
    assert_string_equal(rig_said(&r), "ack 7 notify 7");
    rig_close(&r);
}

static void timers_wait_while_the_queue_is_full(void **state) {
    struct rig r;
    struct partition *p;

    (void)state;
    open_one(&r);
    p = rig_partition(&r, 0);
    submit_at(&r, 5, wall_ms(&r) + 500);
    worker_proposed(p->w, LIMIT_PROPOSAL_QUEUE_BYTES);
    rig_pass(&r, 600);
    assert_int_equal(r.logs.logs[0].n, 2);
    worker_proposed(p->w, -(int64_t)LIMIT_PROPOSAL_QUEUE_BYTES);
    rig_pass(&r, 10);
    assert_string_equal(rig_said(&r), "writable invoke 5@3");
    rig_close(&r);
}

static void a_new_leader_fires_what_the_old_one_did_not_get_into_the_log(void **state) {
    struct rig r;

    (void)state;
    open_one(&r);
    submit_at(&r, 5, wall_ms(&r) + 500);
    r.logs.logs[0].hold = true;
    rig_pass(&r, 500);
    assert_int_equal(r.logs.logs[0].n, 3);
    fake_log_lose(&r.logs, 0, RS_ECLOSED, 1);
    r.logs.logs[0].hold = false;
    rig_run(&r);
    assert_string_equal(rig_log(&r, 0, 1), "announce invoke announce timer");
    assert_string_equal(rig_said(&r), "abort-all invoke 5@4");
    rig_close(&r);
}

/* ---- retention ---- */

/* Submits and completes. */
static void complete(struct rig *r, uint64_t n, uint64_t completion_ms, uint64_t journal_ms) {
    struct invocation_id id = rig_id(r, 0, n);
    struct cmd_target target = {.type = TARGET_SERVICE, .service = SLICE_LIT("S"), .handler = SLICE_LIT("h")};
    struct cmd_invoke cmd = {.id = invocation_id_slice(&id),
                             .target = &target,
                             .completion_retention_ms = completion_ms,
                             .journal_retention_ms = journal_ms};
    struct rig_call c;

    rig_call_init(&c);
    worker_call_invoke(r->worker, &c.c, &cmd, false);
    rig_run(r);
    RIG_EFFECTS(r, id, fx_pinned(6), fx_output(&r->fx, "x"), fx_end());
    assert_int_equal(rig_status(r, id), INV_COMPLETED);
}

static void journal_and_result_go_when_their_retention_is_over_not_before(void **state) {
    struct rig r;

    (void)state;
    rig_init(&r);
    r.partitions = 1;
    r.params.settings.cleanup_interval_ns = RIG_MS; /* and 0.2 ms: it looks shortly after every millisecond */
    rig_open(&r);
    complete(&r, 5, 1000, 400);
    rig_pass(&r, 400);
    assert_string_equal(rig_log(&r, 0, 4), "");
    rig_pass(&r, 1);
    assert_string_equal(rig_log(&r, 0, 4), "purge-journal");
    assert_int_equal(rig_status(&r, rig_id(&r, 0, 5)), INV_COMPLETED); /* the row stays */
    rig_pass(&r, 599);
    assert_string_equal(rig_log(&r, 0, 4), "purge-journal");
    rig_pass(&r, 1);
    assert_string_equal(rig_log(&r, 0, 4), "purge-journal purge");
    assert_int_equal(rig_status(&r, rig_id(&r, 0, 5)), INV_FREE);
    rig_pass(&r, 1000);
    assert_int_equal(r.logs.logs[0].n, 5);
    rig_close(&r);
}

static void the_cleaner_comes_soon_after_a_start_and_then_by_its_interval(void **state) {
    struct rig r;

    (void)state;
    open_one(&r); /* every minute */
    complete(&r, 5, 100, 0);
    rig_pass(&r, 11999);
    assert_string_equal(rig_log(&r, 0, 4), "");
    rig_pass(&r, 1);
    assert_string_equal(rig_log(&r, 0, 4), "purge");
    complete(&r, 6, 100, 0);
    rig_pass(&r, 59999);
    assert_int_equal(rig_status(&r, rig_id(&r, 0, 6)), INV_COMPLETED);
    rig_pass(&r, 1);
    assert_int_equal(rig_status(&r, rig_id(&r, 0, 6)), INV_FREE);
    rig_close(&r);
}

static void what_is_too_much_for_one_round_of_the_cleaner_is_done_soon_after(void **state) {
    struct rig r;
    lsn_t before;

    (void)state;
    open_one(&r);
    for (uint64_t n = 1; n <= 300; n++)
        complete(&r, n, 100, 0);
    before = r.logs.logs[0].n;
    rig_pass(&r, 12000);
    assert_int_equal(r.logs.logs[0].n - before, 256);
    rig_pass(&r, 99);
    assert_int_equal(r.logs.logs[0].n - before, 256);
    rig_pass(&r, 1);
    assert_int_equal(r.logs.logs[0].n - before, 300);
    rig_close(&r);
}

static void the_cleaner_stops_with_the_lead(void **state) {
    struct rig r;

    (void)state;
    rig_init(&r);
    rig_cluster(&r);
    rig_open(&r);
    rig_lead(&r, 0);
    complete(&r, 5, 100, 0);
    worker_control(r.worker, 0, WORKER_FOLLOW, 1);
    rig_pass(&r, 200000);
    assert_string_equal(rig_log(&r, 0, 1), "announce invoke effect");
    rig_close(&r);
}

/* ---- durability ---- */

/* Applies one more record; the store's jobs wait. */
static void apply_one_more(struct rig *r, struct rig_call *c, uint64_t n) {
    struct invocation_id id = rig_id(r, 0, n);
    struct cmd_target target = {.type = TARGET_SERVICE, .service = SLICE_LIT("S"), .handler = SLICE_LIT("h")};
    struct cmd_invoke cmd = {.id = invocation_id_slice(&id), .target = &target};

    rig_call_init(c);
    worker_call_invoke(r->worker, &c->c, &cmd, false);
    rig_turns(r);
    assert_int_equal(c->answers, 1);
}

static void later(struct rig *r, uint64_t ms) {
    r->net->now_ns += ms * RIG_MS;
    rig_turns(r);
}

/* Written, not synced: @notes records. Then a sync is due, and while it is under way more records are applied than
 * notes are kept. After @jobs of the store's jobs the power goes. Returns whether it said that something is durable. */
static bool durable_holds(unsigned notes, unsigned jobs) {
    struct rig r;
    struct rig_call c;
    lsn_t durable, first;
    uint64_t n = 0;

    open_one(&r);
    first = rig_info(&r, 0).durable;
    for (unsigned i = 0; i < notes; i++) {
        apply_one_more(&r, &c, n++);
        rig_pass(&r, 60);
    }
    assert_int_equal(rig_info(&r, 0).durable, first);
    later(&r, 30000);
    for (unsigned i = 0; i < ARRAY_SIZE(rig_partition(&r, 0)->marks) + jobs; i++) {
        apply_one_more(&r, &c, n++);
        if (i >= ARRAY_SIZE(rig_partition(&r, 0)->marks))
            (void)rig_step(&r);
    }
    assert_true(rig_partition(&r, 0)->marks_n <= ARRAY_SIZE(rig_partition(&r, 0)->marks));
    durable = rig_info(&r, 0).durable;
    sim_disk_crash_at(r.disk, "/n1/data-0", 0);
    r.logs.logs[0].stopped = true;
    rig_stop(&r);
    rig_open(&r);
    if (rig_info(&r, 0).applied < durable)
        fail_msg("%u notes, %u jobs: applied %llu, but %llu were said to be durable", notes, jobs,
                 (unsigned long long)rig_info(&r, 0).applied, (unsigned long long)durable);
    rig_close(&r);
    return durable > first;
}

static void durable_is_what_a_crash_leaves(void **state) {
    unsigned rose = 0;

    (void)state;
    for (unsigned notes = 20; notes < 30; notes++)
        for (unsigned jobs = 0; jobs < 6; jobs++)
            rose += durable_holds(notes, jobs);
    assert_true(rose > 20);
}

/* The LSN of the last durability record; 0: none since @from. */
static lsn_t proposed_since(struct rig *r, lsn_t from) {
    struct fake_log *f = &r->logs.logs[0];
    lsn_t found = 0;

    for (lsn_t lsn = from; lsn <= f->n; lsn++) {
        struct cmd_partition_durability m;
        struct record_view v;

        assert_int_equal(record_view(bytes_slice(f->records[lsn - 1]), &v, NULL), 0);
        if (v.header.kind != CMD_PARTITION_DURABILITY)
            continue;
        assert_int_equal(cmd_partition_durability_decode(&m, v.payload, &r->fx.scratch, NULL), 0);
        found = m.durable_lsn;
    }
    return found;
}

/* Own tables durable up to 100, those of the other replica up to 70, the oldest snapshot that is kept at 50. */
static void each_durability_mode_trims_up_to_what_it_promises_to_keep(void **state) {
    static const struct {
        enum worker_durability mode;
        bool alone, repository;
        lsn_t archived, point;
    } rows[] = {
        {DURABILITY_NONE, false, true, 50, 0},
        {DURABILITY_BALANCED, false, true, 50, 50},   /* one replica and a snapshot have it */
        {DURABILITY_BALANCED, false, true, 90, 90},   /* ... the other one can fetch the snapshot */
        {DURABILITY_BALANCED, false, true, 120, 100}, /* ... but a replica has to be there, too */
        {DURABILITY_REPLICA_SET_ONLY, false, true, 50, 70},
        {DURABILITY_SNAPSHOT_ONLY, false, true, 50, 50},
        {DURABILITY_SNAPSHOT_ONLY, false, true, 120, 120},
        {DURABILITY_SNAPSHOT_AND_REPLICA_SET, false, true, 50, 50},
        {DURABILITY_SNAPSHOT_AND_REPLICA_SET, false, true, 90, 70},
        {DURABILITY_DEFAULT, false, true, 90, 90}, /* balanced */
        {DURABILITY_DEFAULT, false, false, 0, 70}, /* replica-set-only */
        {DURABILITY_DEFAULT, true, true, 50, 100}, /* likewise: nobody would fetch a snapshot */
        {DURABILITY_DEFAULT, true, false, 0, 100},
        {DURABILITY_BALANCED, false, false, 0, 0}, /* no snapshot is ever made */
    };
    struct place *at = *state;

    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct rig r;
        struct partition *p;

        rig_init(&r);
        r.partitions = 1;
        r.params.settings.durability = rows[i].mode;
        if (rows[i].repository)
            with_snapshots(&r, at->repository);
        if (!rows[i].alone)
            rig_cluster(&r);
        rig_open(&r);
        if (!rows[i].alone)
            rig_lead(&r, 0);
        p = rig_partition(&r, 0);
        p->durable = 100;
        worker_durable_hint(r.worker, 0, 2, 70);
        worker_durable_hint(r.worker, 0, 2, 60); /* hints only rise */
        worker_durable_hint(r.worker, 0, 3, 20); /* not a replica */
        worker_durable_hint(r.worker, 9, 2, 20); /* not a partition */
        p->snapshot.archived = rows[i].archived;
        rig_pass(&r, 5000);
        if (proposed_since(&r, 1) != rows[i].point)
            fail_msg("row %zu: %llu", i, (unsigned long long)proposed_since(&r, 1));
        rig_pass(&r, 1000);
        assert_int_equal(r.logs.logs[0].trimmed, rows[i].point);
        rig_close(&r);
    }
}

static void while_replicas_change_both_sets_count(void **state) {
    struct rig r;
    struct epoch_metadata e = {.version = 9, .current = {.version = 2, .n = 2, .nodes = {1, 2}}};

    (void)state;
    rig_init(&r);
    rig_cluster(&r);
    rig_open(&r);
    rig_lead(&r, 0);
    worker_durable_hint(r.worker, 0, 2, 70);
    replica_set_propose(&e, (uint32_t[]){2, 3}, 2, 1);
    worker_placement(r.worker, 0, &e);
    rig_run(&r);
    rig_partition(&r, 0)->durable = 100;
    worker_durable_hint(r.worker, 0, 3, 40);
    rig_pass(&r, 5000);
    assert_int_equal(proposed_since(&r, 1), 0); /* of node 2 in the next set nothing is known yet */
    worker_durable_hint(r.worker, 0, 2, 71);
    rig_pass(&r, 5000);
    assert_int_equal(proposed_since(&r, 1), 40);
    rig_close(&r);
}

static void trims_come_after_their_delay_and_only_forward(void **state) {
    struct rig r;
    struct fake_log *log = &r.logs.logs[0];
    lsn_t from;

    (void)state;
    open_one(&r);
    rig_partition(&r, 0)->durable = 100;
    rig_pass(&r, 5999);
    assert_int_equal(proposed_since(&r, 1), 100);
    assert_int_equal(log->trims, 0);
    rig_pass(&r, 1);
    assert_int_equal(log->trims, 1);
    assert_int_equal(log->trimmed, 100);
    from = log->n + 1;
    rig_partition(&r, 0)->durable = 101; /* the record before moved the tail by one */
    rig_pass(&r, 10000);
    rig_partition(&r, 0)->durable = 90;
    rig_pass(&r, 10000);
    assert_int_equal(proposed_since(&r, from), 0);
    log->trim_fails = RS_ETIMEDOUT; /* the next trim makes up for it */
    rig_partition(&r, 0)->durable = 102;
    rig_pass(&r, 10000);
    assert_int_equal(proposed_since(&r, from), 102);
    assert_int_equal(log->trims, 2);
    rig_close(&r);
}

static void put_durability(struct rig *r, lsn_t lsn) {
    struct cmd_partition_durability m = {.partition = 0, .durable_lsn = lsn, .time_ms = wall_ms(r)};
    struct record_header h = {.kind = CMD_PARTITION_DURABILITY, .created_at_ns = 1};
    _cleanup_buf_ struct buf out = {0};

    cmd_partition_durability_encode(&m, &out);
    (void)fake_log_put(&r->logs, 0, record_new(&h, buf_slice(&out)));
    rig_run(r);
}

static void of_two_durable_points_in_the_log_the_lower_one_trims_nothing(void **state) {
    struct rig r;

    (void)state;
    open_one(&r);
    put_durability(&r, 50);
    put_durability(&r, 40);
    put_durability(&r, 60);
    rig_pass(&r, 1000);
    assert_int_equal(r.logs.logs[0].trims, 2);
    assert_int_equal(r.logs.logs[0].trimmed, 60);
    rig_close(&r);
}

static void who_does_not_lead_any_more_trims_nothing(void **state) {
    struct rig r;

    (void)state;
    rig_init(&r);
    rig_cluster(&r);
    rig_open(&r);
    rig_lead(&r, 0);
    put_durability(&r, 50);
    worker_control(r.worker, 0, WORKER_FOLLOW, 1);
    rig_pass(&r, 5000);
    assert_int_equal(r.logs.logs[0].trims, 0);
    rig_close(&r);
}

/* ---- a leader that does not move ---- */

static void a_leader_that_applies_nothing_of_what_is_committed_steps_down(void **state) {
    struct rig r;
    struct rig_call c;

    (void)state;
    rig_init(&r);
    rig_cluster(&r);
    r.params.settings.stall_timeout_ns = 30000 * RIG_MS;
    rig_open(&r);
    rig_lead(&r, 0);
    rig_pass(&r, 100000); /* nothing to apply is no stall */
    r.logs.logs[0].hold = true;
    rig_submit(&r, &c, rig_id(&r, 0, 5), 0, FX_DAY_MS);
    rig_pass(&r, 100000); /* nor is what is not committed */
    assert_int_equal(rig_role(&r, 0), PARTITION_LEADER);
    r.logs.logs[0].stopped = true;
    fake_log_commit(&r.logs, 0, 1);
    rig_pass(&r, 29999);
    assert_int_equal(rig_role(&r, 0), PARTITION_LEADER);
    rig_pass(&r, 7501);
    assert_int_equal(rig_role(&r, 0), PARTITION_FOLLOWER);
    assert_string_equal(rig_info(&r, 0).error, "followed: nothing was applied for worker.stall-timeout, epoch 1");
    assert_false(rig_info(&r, 0).lead_wanted);
    rig_close(&r);
}

static void a_leader_that_is_slow_but_moves_goes_on_leading(void **state) {
    struct rig r;
    struct rig_call c[10];

    (void)state;
    rig_init(&r);
    rig_cluster(&r);
    r.params.settings.stall_timeout_ns = 30000 * RIG_MS;
    rig_open(&r);
    rig_lead(&r, 0);
    for (unsigned i = 0; i < 10; i++) {
        r.logs.logs[0].stopped = true;
        rig_submit(&r, &c[i], rig_id(&r, 0, 5 + i), 0, FX_DAY_MS);
        rig_pass(&r, 20000);
        fake_log_go_on(&r.logs, 0);
        rig_pass(&r, 2000);
        assert_int_equal(rig_role(&r, 0), PARTITION_LEADER);
    }
    rig_close(&r);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(a_timer_that_is_due_before_all_others_fires_first),
    cmocka_unit_test(a_timer_that_was_removed_does_not_fire_and_the_next_one_does),
    cmocka_unit_test(timers_of_the_same_moment_all_fire_each_of_its_kind),
    cmocka_unit_test(more_timers_than_one_turn_takes_fire_in_several),
    cmocka_unit_test(a_timer_that_is_set_behind_the_last_one_that_fired_fires_at_once),
    cmocka_unit_test(timers_wait_while_the_queue_is_full),
    cmocka_unit_test(a_new_leader_fires_what_the_old_one_did_not_get_into_the_log),
    cmocka_unit_test(journal_and_result_go_when_their_retention_is_over_not_before),
    cmocka_unit_test(the_cleaner_comes_soon_after_a_start_and_then_by_its_interval),
    cmocka_unit_test(what_is_too_much_for_one_round_of_the_cleaner_is_done_soon_after),
    cmocka_unit_test(the_cleaner_stops_with_the_lead),
    cmocka_unit_test(durable_is_what_a_crash_leaves),
    cmocka_unit_test_setup_teardown(each_durability_mode_trims_up_to_what_it_promises_to_keep, setup, teardown),
    cmocka_unit_test(while_replicas_change_both_sets_count),
    cmocka_unit_test(trims_come_after_their_delay_and_only_forward),
    cmocka_unit_test(of_two_durable_points_in_the_log_the_lower_one_trims_nothing),
    cmocka_unit_test(who_does_not_lead_any_more_trims_nothing),
    cmocka_unit_test(a_leader_that_applies_nothing_of_what_is_committed_steps_down),
    cmocka_unit_test(a_leader_that_is_slow_but_moves_goes_on_leading),
};
const struct unit_group leader_test_group = UNIT_GROUP(tests);
