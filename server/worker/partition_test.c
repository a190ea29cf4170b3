/* SPDX-License-Identifier: Apache-2.0 */
/* The life of a processor: leading, losing the lead, breaking, starting again. */
#include <string.h>

#include "worker/worker_rig.h"

static void a_node_alone_leads_all_and_serves(void **state) {
    struct rig r;
    struct rig_call c;
    struct invocation_id id;

    (void)state;
    rig_init(&r);
    rig_open(&r);
    assert_true(r.all_ready);
    assert_int_equal(rig_role(&r, 0), PARTITION_LEADER);
    assert_int_equal(rig_role(&r, 1), PARTITION_LEADER);
    id = rig_id(&r, 1, 5);
    rig_invoke(&r, &c, id);
    assert_string_equal(rig_said(&r), "invoke 5@2");
    assert_int_equal(c.answers, 0);
    RIG_EFFECTS(&r, id, fx_pinned(6), fx_output(&r.fx, "42"), fx_end());
    assert_int_equal(c.answers, 1);
    assert_int_equal(c.reply.code, WORKER_OK);
    assert_string_equal(c.value, "42");
    assert_string_equal(rig_log(&r, 1, 1), "announce invoke effect");
    rig_close(&r);
}

static void what_was_applied_before_a_restart_is_not_applied_again(void **state) {
    struct rig r;
    struct rig_call c;
    struct invocation_id id;

    (void)state;
    rig_init(&r);
    rig_open(&r);
    id = rig_id(&r, 0, 5);
    rig_submit(&r, &c, id, 0, FX_DAY_MS);
    assert_int_equal(c.answers, 1);
    assert_true(c.reply.is_new);
    rig_stop(&r);
    rig_open(&r);
    assert_string_equal(rig_said(&r), "invoke 5@0"); /* a leader takes over what runs, from its tables */
    assert_int_equal(rig_info(&r, 0).applied, 3);
    assert_int_equal(rig_info(&r, 0).epoch, 2);
    rig_close(&r);
}

/* ---- claiming ---- */

static void a_replica_follows_until_it_is_told_to_lead(void **state) {
    struct rig r;

    (void)state;
    rig_init(&r);
    rig_cluster(&r);
    rig_open(&r);
    assert_null(rig_partition(&r, 0));
    worker_control(r.worker, 0, WORKER_LEAD, 1); /* it does not run here */
    rig_run(&r);
    assert_null(rig_partition(&r, 0));
    rig_place(&r, 0, (uint32_t[]){1, 2}, 2);
    assert_int_equal(rig_role(&r, 0), PARTITION_FOLLOWER);
    assert_true(r.all_ready);
    worker_control(r.worker, 0, WORKER_LEAD, 0); /* of an older placement */
    rig_run(&r);
    assert_int_equal(rig_role(&r, 0), PARTITION_FOLLOWER);
    rig_lead(&r, 0);
    assert_int_equal(rig_info(&r, 0).leader.id, 1);
    worker_control(r.worker, 0, WORKER_FOLLOW, 2);
    rig_run(&r);
    assert_int_equal(rig_role(&r, 0), PARTITION_FOLLOWER);
    assert_int_equal(r.logs.logs[0].resigns, 1);
    assert_string_equal(rig_said(&r), "abort-all");
    rig_place(&r, 0, (uint32_t[]){2, 3}, 2);
    assert_int_equal(rig_role(&r, 0), PARTITION_STOPPED);
    rig_close(&r);
}

static void a_claim_that_is_not_wanted_any_more_comes_to_nothing(void **state) {
    struct rig r;

    (void)state;
    rig_init(&r);
    rig_cluster(&r);
    rig_open(&r);
    rig_place(&r, 0, (uint32_t[]){1, 2}, 2);
    r.meta->stuck = true;
    worker_control(r.worker, 0, WORKER_LEAD, 1);
    rig_run(&r);
    assert_int_equal(rig_role(&r, 0), PARTITION_CANDIDATE);
    assert_false(r.all_ready);
    worker_control(r.worker, 0, WORKER_FOLLOW, 1);
    rig_run(&r);
    assert_int_equal(rig_role(&r, 0), PARTITION_FOLLOWER);
    fake_meta_go_on(r.meta);
    rig_run(&r);
    assert_int_equal(rig_role(&r, 0), PARTITION_FOLLOWER);
    assert_int_equal(r.logs.logs[0].leads, 0);
    rig_close(&r);
}

static void a_claim_that_is_answered_when_the_partition_left_comes_to_nothing(void **state) {
    struct rig r;

    (void)state;
    rig_init(&r);
    rig_cluster(&r);
    rig_open(&r);
    rig_place(&r, 0, (uint32_t[]){1, 2}, 2);
    r.meta->stuck = true;
    worker_control(r.worker, 0, WORKER_LEAD, 1);
    rig_run(&r);
    rig_place(&r, 0, (uint32_t[]){2, 3}, 2);
    fake_meta_go_on(r.meta);
    rig_run(&r);
    assert_int_equal(rig_role(&r, 0), PARTITION_STOPPED);
    assert_int_equal(r.logs.logs[0].leads, 0);
    rig_close(&r);
}

static void a_claim_on_its_way_is_used_by_whoever_wants_to_lead_again(void **state) {
    struct rig r;

    (void)state;
    rig_init(&r);
    rig_cluster(&r);
    rig_open(&r);
    rig_place(&r, 0, (uint32_t[]){1, 2}, 2);
    r.meta->stuck = true;
    worker_control(r.worker, 0, WORKER_LEAD, 1);
    worker_control(r.worker, 0, WORKER_FOLLOW, 1);
    worker_control(r.worker, 0, WORKER_LEAD, 1);
    rig_run(&r);
    fake_meta_go_on(r.meta);
    rig_run(&r);
    assert_int_equal(rig_role(&r, 0), PARTITION_LEADER);
    assert_int_equal(rig_info(&r, 0).epoch, 1); /* one claim, not two */
    rig_close(&r);
}

static void a_claim_that_fails_is_made_again(void **state) {
    struct rig r;

    (void)state;
    rig_init(&r);
    r.meta->refuse = RS_EIO;
    rig_open(&r);
    assert_int_equal(rig_role(&r, 0), PARTITION_CANDIDATE);
    r.meta->refuse = 0;
    rig_pass(&r, 49);
    assert_int_equal(rig_role(&r, 0), PARTITION_CANDIDATE);
    rig_pass(&r, 1);
    assert_int_equal(rig_role(&r, 0), PARTITION_LEADER);
    rig_close(&r);
}

static void a_lead_that_the_log_cannot_give_is_asked_for_again_with_another_epoch(void **state) {
    struct rig r;

    (void)state;
    rig_init(&r);
    r.logs.logs[0].lead_fails = RS_EIO;
    rig_open(&r);
    assert_int_equal(rig_role(&r, 0), PARTITION_CANDIDATE);
    assert_int_equal(rig_role(&r, 1), PARTITION_LEADER);
    rig_pass(&r, 60);
    assert_int_equal(r.logs.logs[0].leads, 2);
    r.logs.logs[0].lead_fails = 0;
    rig_pass(&r, 100);
    assert_int_equal(rig_role(&r, 0), PARTITION_LEADER);
    assert_int_equal(rig_info(&r, 0).epoch, 3);
    rig_close(&r);
}

static void a_log_that_a_newer_epoch_owns_ends_the_try(void **state) {
    struct rig r;

    (void)state;
    rig_init(&r);
    rig_cluster(&r);
    r.logs.logs[0].lead_fails = RS_EPERM;
    rig_open(&r);
    rig_place(&r, 0, (uint32_t[]){1, 2}, 2);
    worker_control(r.worker, 0, WORKER_LEAD, 1);
    rig_pass(&r, 5000);
    assert_int_equal(rig_role(&r, 0), PARTITION_FOLLOWER);
    assert_false(rig_info(&r, 0).lead_wanted);
    assert_int_equal(r.logs.logs[0].leads, 1);
    assert_string_equal(rig_info(&r, 0).error, "followed: somebody claimed the log after epoch 1");
    rig_close(&r);
}

static void an_answer_of_the_log_that_comes_too_late_changes_nothing(void **state) {
    struct rig r;

    (void)state;
    rig_init(&r);
    rig_cluster(&r);
    r.logs.logs[0].hold_lead = true;
    rig_open(&r);
    rig_place(&r, 0, (uint32_t[]){1, 2}, 2);
    worker_control(r.worker, 0, WORKER_LEAD, 1);
    rig_run(&r);
    worker_leader_hint(r.worker, 0, 9, RIG_PEER); /* gossip was faster */
    rig_run(&r);
    assert_int_equal(rig_role(&r, 0), PARTITION_FOLLOWER);
    assert_int_equal(r.logs.logs[0].resigns, 1);
    assert_string_equal(rig_info(&r, 0).error, "followed: there is a newer leader, epoch 9");
    rig_close(&r);
}

static void who_could_not_read_its_past_does_not_lead_but_says_so(void **state) {
    struct rig r;

    (void)state;
    rig_init(&r);
    r.logs.logs[0].unreadable = true;
    rig_open(&r);
    assert_int_equal(rig_role(&r, 0), PARTITION_FOLLOWER);
    assert_int_equal(rig_info(&r, 0).epoch, 0);
    assert_string_equal(rig_info(&r, 0).error, "cannot lead: the log-servers that hold what follows LSN 0 are away");
    assert_false(rig_info(&r, 0).active);
    r.logs.logs[0].unreadable = false;
    rig_pass(&r, 500);
    assert_int_equal(rig_role(&r, 0), PARTITION_LEADER);
    assert_string_equal(rig_info(&r, 0).error, "");
    rig_close(&r);
}

static void tables_ahead_of_their_log_stay_broken(void **state) {
    struct rig r;
    struct rig_call c;

    (void)state;
    rig_init(&r);
    rig_open(&r);
    rig_submit(&r, &c, rig_id(&r, 0, 5), 0, 0);
    rig_stop(&r);
    r.logs.logs[0].committed = 1; /* the log lost its disk */
    while (r.logs.logs[0].n > 1)
        (void)bytes_unref(r.logs.logs[0].records[--r.logs.logs[0].n]);
    rig_open(&r);
    assert_int_equal(rig_role(&r, 0), PARTITION_BROKEN);
    assert_non_null(strstr(rig_info(&r, 0).error, "the log lost data"));
    rig_pass(&r, 3600000);
    assert_int_equal(rig_role(&r, 0), PARTITION_BROKEN);
    assert_int_equal(rig_role(&r, 1), PARTITION_LEADER);
    rig_close(&r);
}

/* ---- announcements ---- */

static void an_announcement_in_the_middle_of_a_batch_clears_the_actions_before_it(void **state) {
    struct rig r;
    struct cmd_target target = {.type = TARGET_SERVICE, .service = SLICE_LIT("S"), .handler = SLICE_LIT("h")};
    struct record_header h = {.kind = CMD_INVOKE, .keys = RECORD_KEYS_SINGLE, .created_at_ns = 1};

    (void)state;
    rig_init(&r);
    rig_cluster(&r);
    rig_open(&r);
    rig_place(&r, 0, (uint32_t[]){1, 2}, 2);
    r.logs.logs[0].stopped = true;
    for (uint64_t n = 5; n <= 6; n++) {
        struct invocation_id id = rig_id(&r, 0, n);
        struct cmd_invoke m = {.id = invocation_id_slice(&id), .target = &target};
        _cleanup_buf_ struct buf out = {0};

        cmd_invoke_encode(&m, &out);
        h.key[0] = invocation_id_pk(&id);
        (void)fake_log_put(&r.logs, 0, record_new(&h, buf_slice(&out)));
        worker_control(r.worker, 0, WORKER_LEAD, 1);
        rig_run(&r);
    }
    assert_string_equal(rig_log(&r, 0, 1), "invoke announce invoke");
    assert_int_equal(rig_role(&r, 0), PARTITION_CANDIDATE);
    fake_log_go_on(&r.logs, 0);
    rig_run(&r);
    assert_int_equal(rig_role(&r, 0), PARTITION_LEADER);
    /* the scan finds both; of the actions only what came behind the announcement is run */
    assert_string_equal(rig_said(&r), "invoke 5@0 invoke 6@0 invoke 6@3");
    rig_close(&r);
}

static void the_announcement_of_a_newer_epoch_ends_the_lead(void **state) {
    struct rig r;

    (void)state;
    rig_init(&r);
    rig_cluster(&r);
    rig_open(&r);
    rig_lead(&r, 0);
    rig_announce(&r, 0, 7, RIG_PEER);
    rig_run(&r);
    assert_int_equal(rig_role(&r, 0), PARTITION_FOLLOWER);
    assert_int_equal(rig_info(&r, 0).leader.id, 2);
    assert_int_equal(rig_info(&r, 0).leader_epoch, 7);
    rig_close(&r);
}

static void the_announcement_of_an_older_epoch_is_history(void **state) {
    struct rig r;

    (void)state;
    rig_init(&r);
    rig_cluster(&r);
    rig_open(&r);
    rig_lead(&r, 0);
    worker_control(r.worker, 0, WORKER_FOLLOW, 1);
    rig_run(&r);
    rig_lead(&r, 0);
    assert_int_equal(rig_info(&r, 0).epoch, 2);
    rig_announce(&r, 0, 1, RIG_PEER);
    rig_run(&r);
    assert_int_equal(rig_role(&r, 0), PARTITION_LEADER);
    assert_int_equal(rig_info(&r, 0).leader.id, 1);
    rig_close(&r);
}

/* ---- losing the lead ---- */

static void a_lead_lost_to_a_newer_epoch_ends_with_all_that_waits(void **state) {
    struct rig r;
    struct rig_call c, d;
    struct invocation_id id;
    struct cmd_result ok = {.value = SLICE_LIT("x")};
    struct cmd_signal signal = {.index = 17, .result = &ok};

    (void)state;
    rig_init(&r);
    rig_cluster(&r);
    rig_open(&r);
    rig_lead(&r, 0);
    id = rig_id(&r, 0, 5);
    rig_submit(&r, &d, id, 0, FX_DAY_MS);
    (void)rig_said(&r);
    r.logs.logs[0].hold = true;
    rig_call_init(&c);
    signal.target = invocation_id_slice(&id);
    worker_call_signal(r.worker, &c.c, &signal);
    rig_submit(&r, &d, rig_id(&r, 0, 6), 0, 0); /* nobody would remember it: not to be made again */
    assert_int_equal(c.answers + d.answers, 0);
    fake_log_lose(&r.logs, 0, RS_ECLOSED, 8);
    rig_run(&r);
    assert_int_equal(rig_role(&r, 0), PARTITION_FOLLOWER);
    assert_string_equal(rig_info(&r, 0).error, "followed: its log was taken over by epoch 8");
    assert_string_equal(rig_said(&r), "abort-all");
    assert_int_equal(d.answers, 1);
    assert_int_equal(d.reply.code, WORKER_LOST_LEADERSHIP);
    assert_int_equal(c.answers, 0);
    r.logs.logs[0].hold = false;
    rig_lead(&r, 0);
    assert_null(rig_asked(&r)); /* it waited for that */
    assert_int_equal(c.answers, 1);
    assert_int_equal(c.reply.code, WORKER_OK);
    rig_close(&r);
}

static void a_log_closed_by_nobody_who_leads_is_claimed_anew(void **state) {
    struct rig r;

    (void)state;
    rig_init(&r);
    rig_cluster(&r);
    rig_open(&r);
    rig_lead(&r, 0);
    fake_log_lose(&r.logs, 0, RS_ECLOSED, 1);
    rig_run(&r);
    assert_int_equal(rig_role(&r, 0), PARTITION_LEADER);
    assert_int_equal(rig_info(&r, 0).epoch, 2);
    rig_close(&r);
}

static void a_log_that_fails_for_good_breaks_its_partition_which_starts_again(void **state) {
    struct rig r;
    struct rig_call c, d;

    (void)state;
    rig_init(&r);
    rig_open(&r);
    r.logs.logs[0].hold = true;
    rig_invoke(&r, &c, rig_id(&r, 0, 5));
    fake_log_lose(&r.logs, 0, RS_EIO, 1);
    rig_run(&r);
    assert_int_equal(rig_role(&r, 0), PARTITION_BROKEN);
    assert_false(r.all_ready);
    assert_int_equal(c.answers, 1); /* nobody else could serve it */
    assert_int_equal(c.reply.code, WORKER_FAILED);
    assert_string_equal(c.message, "the log does not take writes any more: sealed");
    rig_invoke(&r, &d, rig_id(&r, 0, 6));
    assert_int_equal(d.reply.code, WORKER_FAILED);
    r.logs.logs[0].hold = false;
    rig_pass(&r, 699);
    assert_int_equal(rig_role(&r, 0), PARTITION_BROKEN);
    rig_pass(&r, 602); /* 1 s, give or take 30 % */
    assert_int_equal(rig_role(&r, 0), PARTITION_LEADER);
    assert_true(r.all_ready);
    rig_close(&r);
}

static void restarts_come_later_and_later_until_it_ran_for_a_while(void **state) {
    static const unsigned at_most_ms[] = {1300, 2600, 5200, 10400, 20800, 39000, 39000};
    struct rig r;

    (void)state;
    rig_init(&r);
    rig_open(&r);
    for (unsigned i = 0; i < ARRAY_SIZE(at_most_ms); i++) {
        fake_log_lose(&r.logs, 0, RS_EIO, 1);
        rig_pass(&r, at_most_ms[i] * 7 / 13 - 2);
        assert_int_equal(rig_role(&r, 0), PARTITION_BROKEN);
        rig_pass(&r, at_most_ms[i] * 6 / 13 + 2);
        assert_int_equal(rig_role(&r, 0), PARTITION_LEADER);
    }
    rig_pass(&r, 61000);
    fake_log_lose(&r.logs, 0, RS_EIO, 1);
    rig_pass(&r, 1301);
    assert_int_equal(rig_role(&r, 0), PARTITION_LEADER);
    rig_close(&r);
}

/* ---- records that cannot be applied ---- */

static void put(struct rig *r, uint16_t kind, struct slice payload) {
    struct record_header h = {.kind = kind, .created_at_ns = 1};

    (void)fake_log_put(&r->logs, 0, record_new(&h, payload));
    rig_run(r);
}

static void a_record_of_a_newer_program_stops_the_partition_until_that_runs(void **state) {
    struct rig r;

    (void)state;
    rig_init(&r);
    rig_cluster(&r);
    rig_open(&r);
    rig_place(&r, 0, (uint32_t[]){1, 2}, 2);
    put(&r, 999, SLICE_LIT("?"));
    assert_int_equal(rig_role(&r, 0), PARTITION_BROKEN);
    assert_non_null(strstr(rig_info(&r, 0).error, "cannot apply LSN 1"));
    rig_pass(&r, 29999); /* no use to hurry */
    assert_int_equal(rig_info(&r, 0).role, PARTITION_BROKEN);
    assert_null(r.logs.logs[0].open);
    rig_pass(&r, 1);
    assert_int_equal(rig_role(&r, 0), PARTITION_BROKEN);
    assert_non_null(strstr(rig_info(&r, 0).error, "cannot apply LSN 1"));
    rig_close(&r);
}

static void a_record_that_is_none_stops_the_partition(void **state) {
    struct rig r;
    struct bytes *b;

    (void)state;
    rig_init(&r);
    rig_cluster(&r);
    rig_open(&r);
    rig_place(&r, 0, (uint32_t[]){1, 2}, 2);
    b = bytes_copy(SLICE_LIT("not a record"));
    (void)fake_log_put(&r.logs, 0, b);
    rig_run(&r);
    assert_int_equal(rig_role(&r, 0), PARTITION_BROKEN);
    assert_non_null(strstr(rig_info(&r, 0).error, "cannot apply LSN 1"));
    rig_close(&r);
}

static void tables_of_a_newer_format_are_not_opened(void **state) {
    struct rig r;
    struct cmd_version_barrier m = {.min_version = SLICE_LIT("9.0.0")};
    _cleanup_buf_ struct buf out = {0};

    (void)state;
    rig_init(&r);
    rig_open(&r);
    cmd_version_barrier_encode(&m, &out);
    r.params.settings.version = "10.0.0";
    rig_stop(&r);
    rig_open(&r);
    put(&r, CMD_VERSION_BARRIER, buf_slice(&out));
    assert_int_equal(rig_role(&r, 0), PARTITION_LEADER);
    rig_stop(&r);
    r.params.settings.version = "1.2.3";
    rig_open(&r);
    assert_int_equal(rig_role(&r, 0), PARTITION_BROKEN);
    assert_non_null(strstr(rig_info(&r, 0).error, "cannot open its tables"));
    rig_pass(&r, 29999);
    assert_int_equal(rig_role(&r, 0), PARTITION_BROKEN);
    rig_close(&r);
}

static void a_log_that_cannot_be_read_breaks_its_partition(void **state) {
    struct rig r;

    (void)state;
    rig_init(&r);
    rig_open(&r);
    fake_log_fail_reader(&r.logs, 0, RS_ECORRUPT, "log 0, LSN 1: checksum");
    rig_run(&r);
    assert_int_equal(rig_role(&r, 0), PARTITION_BROKEN);
    assert_string_equal(rig_info(&r, 0).error, "cannot read the log: log 0, LSN 1: checksum");
    rig_close(&r);
}

static void a_gap_without_snapshots_breaks_its_partition(void **state) {
    static const struct {
        enum log_gap kind;
        const char *says;
    } rows[] = {
        {LOG_GAP_TRIMMED, "the log has a gap up to LSN 9 (trimmed): a snapshot would be needed"},
        {LOG_GAP_DATA_LOSS, "the log has a gap up to LSN 9 (data loss): a snapshot would be needed"},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct rig r;

        rig_init(&r);
        rig_open(&r);
        fake_log_gap(&r.logs, 0, 9, rows[i].kind);
        rig_run(&r);
        assert_int_equal(rig_role(&r, 0), PARTITION_BROKEN);
        assert_string_equal(rig_info(&r, 0).error, rows[i].says);
        rig_close(&r);
    }
}

/* ---- catching up ---- */

static void a_replica_is_active_when_it_reached_the_tail_of_the_start(void **state) {
    struct rig r;

    (void)state;
    rig_init(&r);
    rig_cluster(&r);
    r.logs.logs[0].tail_fails = RS_ETIMEDOUT;
    rig_open(&r);
    rig_place(&r, 0, (uint32_t[]){1, 2}, 2);
    assert_false(rig_info(&r, 0).active);
    assert_int_equal(rig_info(&r, 0).target_tail, 0);
    r.logs.logs[0].tail_fails = 0;
    r.logs.logs[0].tail = 3;
    rig_pass(&r, 1000); /* asked again */
    assert_int_equal(rig_info(&r, 0).target_tail, 3);
    assert_false(rig_info(&r, 0).active);
    rig_announce(&r, 0, 1, RIG_PEER);
    rig_run(&r);
    assert_false(rig_info(&r, 0).active);
    rig_announce(&r, 0, 2, RIG_PEER);
    rig_run(&r);
    assert_true(rig_info(&r, 0).active);
    r.logs.logs[0].unreadable = true; /* what comes next could not be read: not as caught up as it seems */
    assert_false(rig_info(&r, 0).active);
    rig_close(&r);
}

static void a_follower_that_stands_still_behind_a_leader_asks_for_the_tail(void **state) {
    struct rig r;
    unsigned tails;

    (void)state;
    rig_init(&r);
    rig_cluster(&r);
    rig_open(&r);
    rig_place(&r, 0, (uint32_t[]){1, 2}, 2);
    tails = r.logs.logs[0].tails;
    worker_applied_hint(r.worker, 0, 5);
    rig_pass(&r, 900);
    worker_applied_hint(r.worker, 0, 6); /* not for long enough */
    rig_run(&r);
    assert_int_equal(r.logs.logs[0].tails, tails);
    rig_announce(&r, 0, 1, RIG_PEER); /* it moved */
    rig_pass(&r, 200);
    worker_applied_hint(r.worker, 0, 6);
    rig_run(&r);
    assert_int_equal(r.logs.logs[0].tails, tails);
    rig_pass(&r, 1001);
    worker_applied_hint(r.worker, 0, 6);
    rig_run(&r);
    assert_int_equal(r.logs.logs[0].tails, tails + 1);
    worker_applied_hint(r.worker, 0, 1); /* it caught up */
    rig_pass(&r, 2000);
    worker_applied_hint(r.worker, 0, 6);
    rig_run(&r);
    assert_int_equal(r.logs.logs[0].tails, tails + 1);
    worker_applied_hint(r.worker, 99, 6); /* no such partition */
    rig_close(&r);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(a_node_alone_leads_all_and_serves),
    cmocka_unit_test(what_was_applied_before_a_restart_is_not_applied_again),
    cmocka_unit_test(a_replica_follows_until_it_is_told_to_lead),
    cmocka_unit_test(a_claim_that_is_not_wanted_any_more_comes_to_nothing),
    cmocka_unit_test(a_claim_that_is_answered_when_the_partition_left_comes_to_nothing),
    cmocka_unit_test(a_claim_on_its_way_is_used_by_whoever_wants_to_lead_again),
    cmocka_unit_test(a_claim_that_fails_is_made_again),
    cmocka_unit_test(a_lead_that_the_log_cannot_give_is_asked_for_again_with_another_epoch),
    cmocka_unit_test(a_log_that_a_newer_epoch_owns_ends_the_try),
    cmocka_unit_test(an_answer_of_the_log_that_comes_too_late_changes_nothing),
    cmocka_unit_test(who_could_not_read_its_past_does_not_lead_but_says_so),
    cmocka_unit_test(tables_ahead_of_their_log_stay_broken),
    cmocka_unit_test(an_announcement_in_the_middle_of_a_batch_clears_the_actions_before_it),
    cmocka_unit_test(the_announcement_of_a_newer_epoch_ends_the_lead),
    cmocka_unit_test(the_announcement_of_an_older_epoch_is_history),
    cmocka_unit_test(a_lead_lost_to_a_newer_epoch_ends_with_all_that_waits),
    cmocka_unit_test(a_log_closed_by_nobody_who_leads_is_claimed_anew),
    cmocka_unit_test(a_log_that_fails_for_good_breaks_its_partition_which_starts_again),
    cmocka_unit_test(restarts_come_later_and_later_until_it_ran_for_a_while),
    cmocka_unit_test(a_record_of_a_newer_program_stops_the_partition_until_that_runs),
    cmocka_unit_test(a_record_that_is_none_stops_the_partition),
    cmocka_unit_test(tables_of_a_newer_format_are_not_opened),
    cmocka_unit_test(a_log_that_cannot_be_read_breaks_its_partition),
    cmocka_unit_test(a_gap_without_snapshots_breaks_its_partition),
    cmocka_unit_test(a_replica_is_active_when_it_reached_the_tail_of_the_start),
    cmocka_unit_test(a_follower_that_stands_still_behind_a_leader_asks_for_the_tail),
};
const struct unit_group partition_test_group = UNIT_GROUP(tests);
