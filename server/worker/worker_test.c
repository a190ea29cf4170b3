/* SPDX-License-Identifier: Apache-2.0 */
/* What runs here, what can be read here, and rows that are not in memory. */
#include <string.h>

#include "meta/partition_table.h"
#include "worker/views.h"
#include "worker/worker_rig.h"

/* ---- opening, placement ---- */

static void a_worker_without_its_role_runs_nothing_and_asks_others(void **state) {
    struct rig r;
    struct rig_call c;

    (void)state;
    rig_init(&r);
    rig_cluster(&r);
    r.params.ingress_only = true;
    rig_open(&r);
    rig_place(&r, 0, (uint32_t[]){1, 2}, 2);
    assert_null(rig_partition(&r, 0));
    assert_true(r.all_ready);
    rig_invoke(&r, &c, rig_id(&r, 0, 5));
    assert_non_null(rig_asked(&r)); /* a member of the replica set, as no leader is known */
    rig_close(&r);
}

static void metadata_that_cannot_be_read_is_no_start(void **state) {
    struct rig r;
    struct partition_table *table = partition_table_new(1, NULL);
    struct bytes *garbage = bytes_copy(SLICE_LIT("{"));
    struct worker *w;
    struct err err = {0};

    (void)state;
    rig_init(&r);
    meta_publish(&r.meta->m, EPOCH_KEY_PREFIX "0", 1, garbage);
    r.params.meta = &r.meta->m;
    r.params.partitions = table;
    assert_true(worker_open(&r.params, &w, &err) < 0);
    assert_true(strlen(err.msg) > 0);
    (void)bytes_unref(garbage);
    (void)partition_table_free(table);
    rig_close(&r);
}

static void placement_that_makes_no_sense_is_left_alone(void **state) {
    static const char *const keys[] = {EPOCH_KEY_PREFIX, EPOCH_KEY_PREFIX "0x", EPOCH_KEY_PREFIX "99",
                                       EPOCH_KEY_PREFIX "0"};
    struct rig r;
    struct epoch_metadata e = {.version = 1};
    struct bytes *garbage = bytes_copy(SLICE_LIT("{"));

    (void)state;
    rig_init(&r);
    rig_cluster(&r);
    rig_open(&r);
    rig_place(&r, 0, (uint32_t[]){1, 2}, 2);
    for (size_t i = 0; i < ARRAY_SIZE(keys); i++)
        meta_publish(&r.meta->m, keys[i], 7, garbage);
    rig_run(&r);
    worker_placement(r.worker, 0, &e); /* older than what is known */
    worker_placement(r.worker, 9, &e); /* no such partition */
    worker_control(r.worker, 9, WORKER_LEAD, 1);
    worker_leader_hint(r.worker, 9, 1, RIG_PEER);
    assert_int_equal(rig_role(&r, 0), PARTITION_FOLLOWER);
    assert_int_equal(rig_info(&r, 0).current_version, 1);
    (void)bytes_unref(garbage);
    rig_close(&r);
}

static void the_only_replica_leads_without_being_told_and_follows_when_there_are_two(void **state) {
    struct rig r;

    (void)state;
    rig_init(&r);
    rig_cluster(&r);
    rig_open(&r);
    rig_place(&r, 0, (uint32_t[]){1}, 1);
    assert_int_equal(rig_role(&r, 0), PARTITION_LEADER);
    rig_place(&r, 0, (uint32_t[]){1, 2}, 2);
    assert_int_equal(rig_role(&r, 0), PARTITION_FOLLOWER);
    rig_place(&r, 0, (uint32_t[]){1}, 1);
    fake_log_lose(&r.logs, 0, RS_ECLOSED, 9); /* taken away by somebody who is no replica: it takes it back */
    rig_run(&r);
    assert_int_equal(rig_role(&r, 0), PARTITION_LEADER);
    rig_close(&r);
}

static void a_placement_without_replica_sets_is_none(void **state) {
    struct rig r;
    struct epoch_metadata e = {.version = 5};

    (void)state;
    rig_init(&r);
    rig_open(&r);
    worker_placement(r.worker, 0, &e);
    rig_run(&r);
    assert_int_equal(rig_role(&r, 0), PARTITION_LEADER); /* a node alone runs what nobody placed */
    rig_close(&r);
    rig_init(&r);
    rig_cluster(&r);
    rig_open(&r);
    worker_placement(r.worker, 0, &e);
    rig_run(&r);
    assert_null(rig_partition(&r, 0));
    e = (struct epoch_metadata){.version = 6, .next = {.version = 1, .n = 2, .nodes = {1, 2}}};
    worker_placement(r.worker, 0, &e);
    rig_run(&r);
    assert_int_equal(rig_role(&r, 0), PARTITION_FOLLOWER); /* a member to be */
    rig_close(&r);
}

static void a_replica_is_the_only_one_when_nobody_else_is_to_come(void **state) {
    static const struct epoch_metadata rows[] = {
        {.version = 5, .current = {.version = 1, .n = 1, .nodes = {2}}, .next = {.version = 2, .n = 1, .nodes = {1}}},
        {.version = 5, .current = {.version = 1, .n = 1, .nodes = {1}}, .next = {.version = 2, .n = 1, .nodes = {2}}},
        {.version = 5, .current = {.version = 1, .n = 1, .nodes = {1}}},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct rig r;

        rig_init(&r);
        rig_cluster(&r);
        rig_open(&r);
        worker_placement(r.worker, 0, &rows[i]);
        rig_run(&r);
        assert_int_equal(rig_role(&r, 0), i == 2 ? PARTITION_LEADER : PARTITION_FOLLOWER);
        rig_close(&r);
    }
}

static void a_placement_with_a_newer_epoch_ends_the_lead_unless_it_is_its_own(void **state) {
    struct rig r;
    struct epoch_metadata e = {
        .version = 9, .epoch = 1, .leader = {1, 1}, .current = {.version = 2, .n = 2, .nodes = {1, 2}}};

    (void)state;
    rig_init(&r);
    rig_cluster(&r);
    rig_open(&r);
    rig_lead(&r, 0);
    worker_placement(r.worker, 0, &e);
    rig_run(&r);
    assert_int_equal(rig_role(&r, 0), PARTITION_LEADER);
    e.version = 10;
    e.epoch = 2;
    e.leader = RIG_PEER;
    worker_placement(r.worker, 0, &e);
    rig_run(&r);
    assert_int_equal(rig_role(&r, 0), PARTITION_FOLLOWER);
    rig_close(&r);
}

/* ---- rows that are not in memory ---- */

/* Everything that was written is on disk only, and every first read of it has to go there. */
static void make_cold(struct rig *r) {
    rig_stop(r);
    sim_disk_cold(r->disk, 1000000);
    rig_open(r);
}

static struct cmd_effect sleep_until(struct rig *r, uint64_t at_ms, uint32_t completion) {
    return fx_command(SP_SLEEP, SP_BYTES(&r->fx, sleep, .wake_up_time_ms = at_ms, .result_completion_id = completion));
}

static void a_leader_whose_rows_are_cold_does_the_same_a_little_later(void **state) {
    struct rig r;
    struct rig_call c;
    struct invocation_id run, done;
    uint64_t at;

    (void)state;
    rig_init(&r);
    r.partitions = 1;
    rig_open(&r);
    at = loop_wall_ns(r.net->loop) / 1000000 + 5000;
    run = rig_id(&r, 0, 5);
    done = rig_id(&r, 0, 6);
    rig_submit(&r, &c, run, 0, FX_DAY_MS);
    RIG_EFFECTS(&r, run, fx_pinned(6), sleep_until(&r, at, 1));
    rig_submit(&r, &c, done, 0, 100);
    RIG_EFFECTS(&r, done, fx_pinned(6), fx_output(&r.fx, "x"), fx_end());
    make_cold(&r);
    assert_int_equal(rig_role(&r, 0), PARTITION_LEADER);
    assert_string_equal(rig_said(&r), "invoke 5@0");
    rig_pass(&r, 5000);
    assert_string_equal(rig_said(&r), "notify 5"); /* the timer */
    rig_pass(&r, 12000);
    assert_int_equal(rig_status(&r, done), INV_FREE); /* the cleaner */
    rig_invoke(&r, &c, rig_id(&r, 0, 7));
    assert_memory_equal(rig_said(&r), "invoke 7@", 9);
    rig_close(&r);
}

static void an_outbox_that_is_cold_is_sent_a_little_later(void **state) {
    struct rig r;
    struct rig_call c;
    struct invocation_id id, to;

    (void)state;
    rig_init(&r);
    r.logs.logs[1].lead_fails = RS_EIO; /* nobody takes what is sent to partition 1 */
    rig_open(&r);
    id = rig_id(&r, 0, 5);
    to = rig_id(&r, 1, 6);
    rig_submit(&r, &c, id, 0, FX_DAY_MS);
    RIG_EFFECTS(&r, id, fx_pinned(6),
                fx_call(&r.fx, SP_ONE_WAY_CALL, invocation_id_slice(&to), TARGET_SERVICE, NULL, 1, 0, 0));
    make_cold(&r);
    r.logs.logs[1].lead_fails = 0;
    rig_pass(&r, 2000);
    assert_int_equal(rig_status(&r, to), INV_INVOKED);
    rig_close(&r);
}

static void rows_that_cannot_be_read_break_their_partition_which_starts_again(void **state) {
    struct rig r;
    struct rig_call c;

    (void)state;
    rig_init(&r);
    r.partitions = 1;
    rig_open(&r);
    rig_submit(&r, &c, rig_id(&r, 0, 5), 0, FX_DAY_MS);
    rig_stop(&r);
    sim_disk_cold(r.disk, 1000000);
    sim_disk_fault(r.disk, SIM_FAULT_READ_EIO, NULL, 0, UINT64_MAX);
    rig_open(&r);
    assert_int_equal(rig_role(&r, 0), PARTITION_BROKEN);
    assert_non_null(strstr(rig_info(&r, 0).error, "its tables: "));
    assert_non_null(strstr(rig_info(&r, 0).error, "read failed (injected)"));
    sim_disk_fault(r.disk, SIM_FAULT_NONE, NULL, 0, 0);
    rig_pass(&r, 1301);
    assert_int_equal(rig_role(&r, 0), PARTITION_LEADER);
    assert_string_equal(rig_said(&r), "invoke 5@0");
    rig_close(&r);
}

/* Running invocations, a timer, an outbox row, a completed invocation: one kind of row after the other is not readable.
 */
static void whatever_row_cannot_be_read_the_partition_comes_back(void **state) {
    unsigned broken = 0;

    (void)state;
    for (uint64_t after = 0; after < 40; after++) {
        struct rig r;
        struct rig_call c;
        struct invocation_id id, to;
        uint64_t at;

        rig_init(&r);
        rig_open(&r);
        id = rig_id(&r, 0, 5);
        to = rig_id(&r, 1, 6);
        at = loop_wall_ns(r.net->loop) / 1000000 + 100;
        r.logs.logs[1].hold = true; /* the row stays in the outbox */
        rig_submit(&r, &c, id, 0, FX_DAY_MS);
        RIG_EFFECTS(&r, id, fx_pinned(6), sleep_until(&r, at, 1),
                    fx_call(&r.fx, SP_ONE_WAY_CALL, invocation_id_slice(&to), TARGET_SERVICE, NULL, 2, 0, 0));
        rig_stop(&r);
        r.logs.logs[1].hold = false;
        sim_disk_cold(r.disk, 1000000);
        sim_disk_fault(r.disk, SIM_FAULT_READ_EIO, NULL, after, 1);
        rig_open(&r);
        rig_pass(&r, 200);
        broken += rig_role(&r, 0) == PARTITION_BROKEN;
        rig_pass(&r, 20000);
        assert_int_equal(rig_role(&r, 0), PARTITION_LEADER);
        assert_int_equal(rig_status(&r, to), INV_INVOKED);
        assert_int_equal(rig_status(&r, id), INV_INVOKED);
        rig_close(&r);
    }
    assert_true(broken > 3);
}

static void a_partition_that_ends_while_it_reads_starts_again_when_that_is_over(void **state) {
    struct rig r;
    struct rig_call c;
    struct invocation_id id;

    (void)state;
    rig_init(&r);
    r.partitions = 1;
    rig_open(&r);
    id = rig_id(&r, 0, 5);
    rig_submit(&r, &c, id, 0, FX_DAY_MS);
    make_cold(&r);
    rig_call_init(&c);
    worker_call_terminate(r.worker, &c.c, &id, TERMINATE_KILL);
    rig_turns(&r);
    assert_true(rig_partition(&r, 0)->cold_reading); /* its row is being fetched */
    fake_log_fail_reader(&r.logs, 0, RS_ECORRUPT, "x");
    rig_turns(&r);
    assert_int_equal(rig_role(&r, 0), PARTITION_BROKEN);
    assert_int_equal(rig_partition(&r, 0)->cold_pending, 1);
    r.net->now_ns += 1301 * RIG_MS;
    rig_turns(&r);
    assert_int_equal(rig_role(&r, 0), PARTITION_OPENING); /* waits for the read of the life before */
    rig_run(&r);
    assert_int_equal(rig_role(&r, 0), PARTITION_LEADER);
    rig_close(&r);
}

/* ---- what the invoker reads ---- */

struct reading {
    struct buf text;
    bool state;
    int stop; /* head returns it */
    uint32_t entries;
};
static int on_head(void *arg, const struct invoker_journal_head *h, bool *ret_want_state) {
    struct reading *rd = arg;

    buf_putf(&rd->text, "%u/%u", h->commands, h->entries);
    *ret_want_state = rd->state;
    rd->entries = h->entries;
    return rd->stop;
}
static int on_state(void *arg, struct slice key, struct slice value) {
    buf_putf(&((struct reading *)arg)->text, " " SLICE_FMT "=" SLICE_FMT, SLICE_ARG(key), SLICE_ARG(value));
    return 1; /* enough */
}
static int on_entry(void *arg, uint32_t index, uint16_t type, struct slice payload) {
    buf_putf(&((struct reading *)arg)->text, " %s", sp_type_name(type));
    return 0;
}
static const struct invoker_read_events read_events = {on_head, on_state};

static int read_it(struct rig *r, struct reading *rd, struct invocation_id id) {
    struct invoker_owner *o = &rig_partition(r, 0)->owner;
    struct err err = {0};
    int status;

    buf_clear(&rd->text);
    status = o->read(o, &id, &read_events, rd, &err);
    return status ? status : o->entries(o, &id, 0, rd->entries, on_entry, rd, &err);
}

static void the_invoker_reads_head_state_and_journal_of_what_runs(void **state) {
    struct rig r;
    struct rig_call c;
    struct reading rd = {.state = true};
    struct cmd_target target = {
        .type = TARGET_OBJECT_EXCLUSIVE, .service = SLICE_LIT("S"), .key = SLICE_LIT("k"), .handler = SLICE_LIT("h")};
    struct invocation_id id;
    struct cmd_invoke cmd = {.target = &target, .argument = SLICE_LIT("in")};
    struct sp_value one = {.content = SLICE_LIT("1")};

    (void)state;
    rig_init(&r);
    r.partitions = 1;
    rig_open(&r);
    id = rig_id(&r, 0, 5);
    assert_int_equal(read_it(&r, &rd, id), RS_ENOENT);
    cmd.id = invocation_id_slice(&id);
    rig_call_init(&c);
    worker_call_invoke(r.worker, &c.c, &cmd, false);
    rig_run(&r);
    RIG_EFFECTS(&r, id, fx_pinned(6),
                fx_command(SP_SET_STATE, SP_BYTES(&r.fx, set_state, .key = SLICE_LIT("a"), .value = &one)),
                fx_command(SP_SET_STATE, SP_BYTES(&r.fx, set_state, .key = SLICE_LIT("b"), .value = &one)));
    assert_int_equal(read_it(&r, &rd, id), 0);
    assert_string_equal(buf_cstr(&rd.text), "3/3 a=1 Input SetState SetState");
    rd.state = false;
    for (unsigned i = 0; i < 20; i++) /* a long journal is scanned, a short one read entry by entry */
        RIG_EFFECTS(&r, id, fx_command(SP_SET_STATE, SP_BYTES(&r.fx, set_state, .key = SLICE_LIT("b"), .value = &one)));
    assert_int_equal(read_it(&r, &rd, id), 0);
    assert_memory_equal(buf_cstr(&rd.text), "23/23 Input SetState SetState", 29);
    rd.stop = 7;
    assert_int_equal(read_it(&r, &rd, id), 7);
    rig_call_init(&c);
    worker_call_pause(r.worker, &c.c, &id);
    rig_run(&r);
    assert_int_equal(read_it(&r, &rd, id), RS_ENOENT); /* it does not run any more */
    buf_done(&rd.text);
    rig_close(&r);
}

static void an_attempt_whose_rows_are_cold_is_told_when_they_are_there(void **state) {
    struct rig r;
    struct rig_call c;
    struct reading rd = {0};
    struct invocation_id id;
    unsigned rounds = 0;

    (void)state;
    rig_init(&r);
    r.partitions = 1;
    rig_open(&r);
    id = rig_id(&r, 0, 5);
    rig_submit(&r, &c, id, 0, FX_DAY_MS);
    make_cold(&r);
    (void)rig_said(&r);
    while (read_it(&r, &rd, id) == RS_EAGAIN && rounds++ < 10) {
        rig_run(&r);
        assert_string_equal(rig_said(&r), "read-again 5");
    }
    assert_in_range(rounds, 1, 9);
    assert_string_equal(buf_cstr(&rd.text), "1/1 Input");
    make_cold(&r);
    assert_int_equal(read_it(&r, &rd, id), RS_EAGAIN);
    fake_log_lose(&r.logs, 0, RS_EIO, 1);
    rig_run(&r);
    assert_string_equal(rig_said(&r), "invoke 5@0 abort-all"); /* and no "read again": it does not lead */
    buf_done(&rd.text);
    rig_close(&r);
}

static void a_journal_with_a_hole_is_damage(void **state) {
    struct rig r;
    struct rig_call c;
    struct reading rd = {0};
    struct invocation_id id;
    struct partition *p;
    struct table_key k;

    (void)state;
    rig_init(&r);
    r.partitions = 1;
    rig_open(&r);
    id = rig_id(&r, 0, 5);
    rig_submit(&r, &c, id, 0, FX_DAY_MS);
    p = rig_partition(&r, 0);
    key_journal_entry(&k, &id, 0);
    store_del(p->store, p->table, table_key_slice(&k));
    assert_int_equal(read_it(&r, &rd, id), RS_ECORRUPT);
    buf_done(&rd.text);
    rig_close(&r);
}

/* ---- views ---- */

static void on_views(void *arg, int status, struct worker_views *take, const struct err *err) {
    *(struct worker_views **)arg = take;
}
static struct worker_views *views(struct rig *r) {
    struct worker_views *v = NULL;

    worker_views_open(r->worker, on_views, &v);
    rig_run(r);
    return v;
}
static int count(void *arg, struct slice key, struct slice value) {
    (*(unsigned *)arg)++;
    return 0;
}

static void views_show_what_is_led_here_and_what_has_caught_up(void **state) {
    struct rig r;
    struct rig_call c;
    struct worker_views *v;
    struct table_key hot;
    struct fsm_hot fsm;
    _cleanup_buf_ struct buf row = {0};
    struct err err;
    unsigned rows = 0;

    (void)state;
    rig_init(&r);
    rig_cluster(&r);
    r.partitions = 4;
    r.logs.logs[1].tail = 9; /* far behind */
    rig_open(&r);
    rig_lead(&r, 0);
    rig_place(&r, 1, (uint32_t[]){1, 2}, 2);
    worker_leader_hint(r.worker, 2, 3, RIG_PEER);
    rig_submit(&r, &c, rig_id(&r, 0, 5), 0, FX_DAY_MS);
    v = views(&r);
    assert_int_equal(worker_views_partitions(v), 4);
    assert_true(worker_views_has(v, 0));
    assert_false(worker_views_has(v, 1));
    assert_false(worker_views_has(v, 4));
    key_fsm(&hot, FSM_HOT);
    assert_int_equal(worker_views_get(v, 0, table_key_slice(&hot), &row, &err), 0);
    assert_int_equal(fsm_hot_decode(buf_slice(&row), &fsm, &err), 0);
    assert_int_equal(fsm.applied_lsn, 2);
    assert_int_equal(worker_views_scan(v, 0, SLICE_LIT("\x10"), SLICE_LIT("\x11"), count, &rows, &err), 0);
    assert_int_equal(rows, 1);
    assert_int_equal(worker_views_get(v, 2, table_key_slice(&hot), &row, &err), RS_EUNSUPPORTED);
    assert_string_equal(err.msg, "partition 2 cannot be read on this node: its leader is N2:1");
    assert_int_equal(worker_views_scan(v, 3, SLICE_NULL, SLICE_NULL, count, &rows, &err), RS_EUNSUPPORTED);
    assert_string_equal(err.msg, "partition 3 cannot be read on this node: it has no leader");
    assert_int_equal(worker_views_get(v, 4, table_key_slice(&hot), &row, &err), RS_EUNSUPPORTED);
    assert_string_equal(err.msg, "there is no partition 4");
    (void)worker_views_free(v);
    r.logs.logs[1].tail = 1;
    worker_applied_hint(r.worker, 1, 5);
    rig_pass(&r, 1001);
    worker_applied_hint(r.worker, 1, 5);
    rig_run(&r);
    v = views(&r);
    assert_true(worker_views_has(v, 1)); /* a follower, too */
    (void)worker_views_free(v);
    assert_null(worker_views_free(NULL));
    rig_close(&r);
}

static void views_of_a_store_that_failed_are_none(void **state) {
    struct rig r;
    struct rig_call c;

    (void)state;
    rig_init(&r);
    rig_open(&r);
    sim_disk_fault(r.disk, SIM_FAULT_WRITE_EIO, NULL, 0, UINT64_MAX);
    rig_submit(&r, &c, rig_id(&r, 0, 5), 0, FX_DAY_MS);
    assert_null(views(&r));
    assert_null(views(&r));
    sim_disk_fault(r.disk, SIM_FAULT_NONE, NULL, 0, 0);
    rig_close(&r);
}

/* ---- checksums ---- */

static void replicas_at_the_same_lsn_have_the_same_checksum(void **state) {
    struct rig r, s;
    struct rig_sum a, b;
    struct rig_call c;

    (void)state;
    rig_init(&r);
    rig_cluster(&r);
    rig_open(&r);
    assert_int_equal(rig_checksum(&r, 0).status, RS_ENOENT);
    assert_int_equal(rig_checksum(&r, 9).status, RS_ENOENT);
    rig_place(&r, 0, (uint32_t[]){1, 2}, 2);
    a = rig_checksum(&r, 0);
    assert_int_equal(a.status, 0);
    assert_int_equal(a.lsn, 0); /* nothing was applied yet */
    rig_lead(&r, 0);
    rig_submit(&r, &c, rig_id(&r, 0, 5), 0, FX_DAY_MS);
    b = rig_checksum(&r, 0);
    assert_int_equal(b.lsn, 2);
    assert_true(a.sum != b.sum);
    rig_init(&s); /* another node reads the same log */
    rig_cluster(&s);
    rig_open(&s);
    rig_place(&s, 0, (uint32_t[]){1, 2}, 2);
    for (size_t i = 0; i < 2; i++)
        (void)fake_log_put(&s.logs, 0, bytes_ref(r.logs.logs[0].records[i]));
    rig_run(&s);
    a = rig_checksum(&s, 0);
    assert_int_equal(a.lsn, 2);
    assert_true(a.sum == b.sum);
    rig_close(&r);
    s.params.pool = NULL;
    rig_stop(&s);
    rig_open(&s);
    assert_int_equal(rig_checksum(&s, 0).status, RS_EUNSUPPORTED);
    rig_close(&s);
}

static void the_checksum_of_a_store_that_failed_is_none(void **state) {
    struct rig r;
    struct rig_call c;

    (void)state;
    rig_init(&r);
    rig_open(&r);
    sim_disk_fault(r.disk, SIM_FAULT_WRITE_EIO, NULL, 0, UINT64_MAX);
    rig_submit(&r, &c, rig_id(&r, 0, 5), 0, FX_DAY_MS);
    assert_true(rig_checksum(&r, 0).status < 0);
    sim_disk_fault(r.disk, SIM_FAULT_NONE, NULL, 0, 0);
    rig_close(&r);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(a_worker_without_its_role_runs_nothing_and_asks_others),
    cmocka_unit_test(metadata_that_cannot_be_read_is_no_start),
    cmocka_unit_test(placement_that_makes_no_sense_is_left_alone),
    cmocka_unit_test(the_only_replica_leads_without_being_told_and_follows_when_there_are_two),
    cmocka_unit_test(a_placement_without_replica_sets_is_none),
    cmocka_unit_test(a_replica_is_the_only_one_when_nobody_else_is_to_come),
    cmocka_unit_test(a_placement_with_a_newer_epoch_ends_the_lead_unless_it_is_its_own),
    cmocka_unit_test(a_leader_whose_rows_are_cold_does_the_same_a_little_later),
    cmocka_unit_test(an_outbox_that_is_cold_is_sent_a_little_later),
    cmocka_unit_test(rows_that_cannot_be_read_break_their_partition_which_starts_again),
    cmocka_unit_test(whatever_row_cannot_be_read_the_partition_comes_back),
    cmocka_unit_test(a_partition_that_ends_while_it_reads_starts_again_when_that_is_over),
    cmocka_unit_test(the_invoker_reads_head_state_and_journal_of_what_runs),
    cmocka_unit_test(an_attempt_whose_rows_are_cold_is_told_when_they_are_there),
    cmocka_unit_test(a_journal_with_a_hole_is_damage),
    cmocka_unit_test(views_show_what_is_led_here_and_what_has_caught_up),
    cmocka_unit_test(views_of_a_store_that_failed_are_none),
    cmocka_unit_test(replicas_at_the_same_lsn_have_the_same_checksum),
    cmocka_unit_test(the_checksum_of_a_store_that_failed_is_none),
};
const struct unit_group worker_test_group = UNIT_GROUP(tests);
