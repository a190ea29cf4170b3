/* SPDX-License-Identifier: Apache-2.0 */
/* Snapshots that are made for the repository, and served to other nodes. */
#include "worker/snapshot_test_util.h"

/* ---- made ---- */

static void a_leader_puts_its_tables_into_the_repository(void **state) {
    struct place *at = *state;
    struct rig r;
    struct made m = {0};
    struct snapshot_info info;
    lsn_t archived;
    struct err err;

    rig_init(&r);
    with_snapshots(&r, at->repository);
    rig_open(&r);
    submit(&r, 0, 5);
    assert_int_equal(worker_snapshot_create(r.worker, 0, 2, on_made, &m, &err), 0);
    assert_int_equal(m.calls, 0);
    rig_run(&r);
    assert_int_equal(m.calls, 1);
    assert_int_equal(m.status, 0);
    assert_int_equal(m.lsn, 2);
    assert_int_equal(repository_latest(at->repository, 0, &info, &archived, &err), 0);
    assert_int_equal(info.lsn, 2);
    assert_int_equal(rig_info(&r, 0).archived, 2);
    rig_close(&r);
}

static void who_cannot_make_a_snapshot_says_why(void **state) {
    struct place *at = *state;
    struct rig r;
    struct made m = {0};
    struct err err;

    rig_init(&r);
    rig_cluster(&r);
    rig_open(&r);
    assert_int_equal(worker_snapshot_create(r.worker, 0, 0, on_made, &m, &err), RS_EUNSUPPORTED);
    rig_close(&r);
    rig_init(&r);
    rig_cluster(&r);
    with_snapshots(&r, at->repository);
    rig_open(&r);
    assert_int_equal(worker_snapshot_create(r.worker, 2, 0, on_made, &m, &err), RS_ENOENT);
    assert_int_equal(worker_snapshot_create(r.worker, 0, 0, on_made, &m, &err), RS_EAGAIN);
    rig_place(&r, 0, (uint32_t[]){1, 2}, 2);
    assert_int_equal(worker_snapshot_create(r.worker, 0, 0, on_made, &m, &err), RS_EAGAIN);
    assert_string_equal(err.msg, "partition 0 is not led by this node");
    rig_lead(&r, 0);
    assert_int_equal(worker_snapshot_create(r.worker, 0, 2, on_made, &m, &err), RS_EAGAIN);
    assert_string_equal(err.msg, "partition 0 has applied LSN 1 only");
    rig_run(&r);
    assert_int_equal(m.calls, 0);
    rig_close(&r);
}

static void snapshots_wait_for_each_other_and_those_that_wait_have_a_bound(void **state) {
    struct place *at = *state;
    struct rig r;
    static struct made m[SNAPSHOTS_AT_ONCE + SNAPSHOTS_WAITING];
    struct err err;

    memset(m, 0, sizeof m);
    rig_init(&r);
    with_snapshots(&r, at->repository);
    rig_open(&r);
    for (size_t i = 0; i < ARRAY_SIZE(m); i++)
        assert_int_equal(worker_snapshot_create(r.worker, i > SNAPSHOTS_AT_ONCE, 0, on_made, &m[i], &err), 0);
    assert_int_equal(worker_snapshot_create(r.worker, 0, 0, on_made, &m[0], &err), RS_EAGAIN);
    assert_string_equal(err.msg, "too many snapshots wait");
    assert_int_equal(r.worker->snapshots.running, SNAPSHOTS_AT_ONCE);
    fake_log_lose(&r.logs, 1, RS_ECLOSED, 1);
    r.logs.logs[1].lead_fails = RS_EIO;
    rig_run(&r);
    for (size_t i = 0; i < ARRAY_SIZE(m); i++) {
        assert_int_equal(m[i].calls, 1);
        /* partition 1 was not led any more when its turn came */
        assert_int_equal(m[i].status, i > SNAPSHOTS_AT_ONCE ? RS_ECANCELED : 0);
    }
    assert_int_equal(r.worker->snapshots.busy, 0);
    rig_close(&r);
}

static void a_snapshot_behind_the_one_in_the_repository_is_not_kept(void **state) {
    struct place *at = *state;
    struct rig r, s;
    struct made m = {0};
    struct err err;

    rig_init(&r);
    with_snapshots(&r, at->repository);
    rig_open(&r);
    rig_init(&s); /* another replica, further on */
    with_snapshots(&s, at->repository);
    rig_open(&s);
    submit(&s, 0, 5);
    assert_int_equal(worker_snapshot_create(s.worker, 0, 0, on_made, &m, &err), 0);
    rig_run(&s);
    assert_int_equal(m.status, 0);
    assert_int_equal(worker_snapshot_create(r.worker, 0, 0, on_made, &m, &err), 0);
    rig_run(&r);
    assert_int_equal(m.status, RS_EEXIST);
    assert_int_equal(rig_info(&r, 0).archived, 0);
    rig_pass(&r, 5000); /* it looks for the newer one */
    assert_int_equal(rig_info(&r, 0).archived, 2);
    rig_close(&r);
    rig_close(&s);
}

static void snapshots_are_made_by_number_of_records_and_time(void **state) {
    static const struct {
        uint64_t records, ms;
        unsigned submits, after_ms; /* what has to happen besides the announcement */
    } rows[] = {{4, 0, 3, 0}, {0, 60000, 0, 60000}, {4, 60000, 3, 60000}};

    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct place *at = *state;
        struct rig r;

        rig_init(&r);
        r.partitions = 1;
        with_snapshots(&r, at->repository);
        r.params.snapshots.interval_records = rows[i].records;
        r.params.snapshots.interval_ns = rows[i].ms * RIG_MS;
        rig_open(&r);
        rig_partition(&r, 0)->snapshot.made_ms = loop_wall_ns(r.net->loop) / 1000000;
        for (unsigned k = 0; k + 1 < rows[i].submits; k++)
            submit(&r, 0, k);
        if (rows[i].after_ms > 5000)
            rig_pass(&r, rows[i].after_ms - 5000);
        rig_pass(&r, rows[i].after_ms ? 4999 : 9999); /* it looks every 5 s */
        assert_int_equal(rig_info(&r, 0).archived, 0);
        if (rows[i].submits)
            submit(&r, 0, 99);
        rig_pass(&r, 5001);
        assert_true(rig_info(&r, 0).archived > 0);
        assert_int_equal(rig_info(&r, 0).archived, rig_partition(&r, 0)->snapshot.lsn);
        rig_close(&r);
        (void)teardown(state);
        (void)setup(state);
    }
}

static void a_repository_that_cannot_be_read_is_looked_at_again(void **state) {
    struct place *at = *state;
    struct rig r;
    struct made m = {0};
    char command[320];
    struct err err;

    rig_init(&r);
    with_snapshots(&r, at->repository);
    rig_open(&r);
    assert_int_equal(worker_snapshot_create(r.worker, 0, 0, on_made, &m, &err), 0);
    rig_run(&r);
    assert_int_equal(m.status, 0);
    rig_stop(&r);
    (void)snprintf(command, sizeof command, "cp %s/0/latest.json %s/kept && echo '{' >%s/0/latest.json", at->dir,
                   at->dir, at->dir);
    assert_int_equal(system(command), 0); /* NOLINT(cert-env33-c): a test */
    rig_open(&r);
    rig_pass(&r, 5000);
    assert_int_equal(rig_info(&r, 0).archived, 0);
    assert_int_equal(rig_role(&r, 0), PARTITION_LEADER);
    (void)snprintf(command, sizeof command, "cp %s/kept %s/0/latest.json", at->dir, at->dir);
    assert_int_equal(system(command), 0); /* NOLINT(cert-env33-c): a test */
    rig_pass(&r, 5000);
    assert_int_equal(rig_info(&r, 0).archived, 1);
    rig_close(&r);
}

static void a_snapshot_of_a_store_that_failed_is_none(void **state) {
    struct place *at = *state;
    struct rig r;
    struct made m = {0};
    struct err err;

    rig_init(&r);
    with_snapshots(&r, at->repository);
    rig_open(&r);
    sim_disk_fault(r.disk, SIM_FAULT_WRITE_EIO, NULL, 0, UINT64_MAX);
    assert_int_equal(worker_snapshot_create(r.worker, 0, 0, on_made, &m, &err), 0);
    rig_run(&r);
    assert_int_equal(m.calls, 1);
    assert_true(m.status < 0);
    sim_disk_fault(r.disk, SIM_FAULT_NONE, NULL, 0, 0);
    rig_close(&r);
}

static void a_worker_that_stops_waits_for_the_snapshot_that_is_being_made(void **state) {
    struct place *at = *state;
    struct rig r;
    struct made m = {0};
    struct err err;

    rig_init(&r);
    with_snapshots(&r, at->repository);
    rig_open(&r);
    assert_int_equal(worker_snapshot_create(r.worker, 0, 0, on_made, &m, &err), 0);
    rig_turns(&r);
    rig_stop(&r); /* asserts that it drains */
    assert_int_equal(m.calls, 1);
    assert_int_equal(m.status, RS_ECANCELED);
    rig_close(&r);
}

/* ---- served ---- */

static void a_snapshot_is_served_piece_by_piece(void **state) {
    struct rig r;
    struct rig_question q;
    _cleanup_buf_ struct buf stream = {0};

    (void)state;
    open_large(&r);
    (void)fetch(&r, &stream);
    assert_int_equal(r.worker->snapshots.n_serving, 0); /* with the last piece it is gone */
    ask_piece(&r, &q, (struct pp_fetch){.token = 4711});
    assert_int_equal(piece(&q).code, PEER_BEGIN_AGAIN);
    rig_close(&r);
}

static void who_cannot_serve_a_snapshot_says_so(void **state) {
    struct rig r;
    struct rig_question q;

    (void)state;
    rig_init(&r);
    rig_cluster(&r);
    rig_open(&r);
    rig_lead(&r, 0);
    ask_piece(&r, &q, (struct pp_fetch){.partition = 0});
    assert_int_equal(piece(&q).code, PEER_NOT_FOUND); /* no threads for it */
    rig_close(&r);
    open_large(&r);
    ask_piece(&r, &q, (struct pp_fetch){.partition = 0, .min_lsn = 99});
    assert_int_equal(piece(&q).code, PEER_NOT_FOUND);
    ask_piece(&r, &q, (struct pp_fetch){.partition = 1});
    assert_int_equal(piece(&q).code, PEER_NOT_FOUND); /* does not run here */
    ask_piece(&r, &q, (struct pp_fetch){.partition = 2});
    assert_int_equal(q.status, RPC_MESSAGE_UNRECOGNIZED);
    sim_disk_fault(r.disk, SIM_FAULT_READ_EIO, NULL, 0, UINT64_MAX);
    ask_piece(&r, &q, (struct pp_fetch){.partition = 0});
    assert_int_equal(piece(&q).code, PEER_NOT_FOUND);
    sim_disk_fault(r.disk, SIM_FAULT_NONE, NULL, 0, 0);
    assert_int_equal(r.worker->snapshots.n_serving, 0);
    sim_disk_fault(r.disk, SIM_FAULT_WRITE_EIO, NULL, 0, UINT64_MAX);
    ask_piece(&r, &q, (struct pp_fetch){.partition = 0});
    submit(&r, 0, 6);
    ask_piece(&r, &q, (struct pp_fetch){.partition = 0});
    assert_int_equal(piece(&q).code, PEER_NOT_FOUND);
    sim_disk_fault(r.disk, SIM_FAULT_NONE, NULL, 0, 0);
    rig_close(&r);
}

static void a_stream_that_nobody_goes_on_with_is_given_up(void **state) {
    struct rig r;
    struct rig_question q;
    struct pp_piece m;

    (void)state;
    open_large(&r);
    ask_piece(&r, &q, (struct pp_fetch){.partition = 0});
    m = piece(&q);
    assert_false(m.last);
    rig_pass(&r, 29000);
    ask_piece(&r, &q, (struct pp_fetch){.token = m.token, .offset = m.data.len});
    assert_int_equal(piece(&q).code, 0);
    ask_piece(&r, &q, (struct pp_fetch){.token = m.token, .offset = 1 << 30});
    assert_int_equal(piece(&q).code, PEER_BEGIN_AGAIN);
    rig_pass(&r, 30000);
    ask_piece(&r, &q, (struct pp_fetch){.token = m.token, .offset = m.data.len});
    assert_int_equal(piece(&q).code, PEER_BEGIN_AGAIN);
    assert_int_equal(r.worker->snapshots.n_serving, 0);
    rig_close(&r);
}

static void so_many_streams_are_served_at_a_time(void **state) {
    struct rig r;
    struct rig_question q[SNAPSHOTS_AT_ONCE + 1];

    (void)state;
    open_large(&r);
    for (unsigned i = 0; i < SNAPSHOTS_AT_ONCE; i++) {
        ask_piece(&r, &q[i], (struct pp_fetch){.partition = 0});
        assert_int_equal(piece(&q[i]).code, 0);
    }
    ask_piece(&r, &q[SNAPSHOTS_AT_ONCE], (struct pp_fetch){.partition = 0});
    assert_int_equal(q[SNAPSHOTS_AT_ONCE].status, RPC_LOAD_SHEDDING);
    rig_close(&r); /* with streams open */
}

static void a_follower_serves_what_it_applied(void **state) {
    struct rig r;
    struct rig_question q;

    (void)state;
    rig_init(&r);
    rig_cluster(&r);
    with_snapshots(&r, NULL);
    rig_open(&r);
    rig_place(&r, 0, (uint32_t[]){1, 2}, 2);
    ask_piece(&r, &q, (struct pp_fetch){.partition = 0});
    assert_int_equal(piece(&q).code, PEER_NOT_FOUND); /* nothing */
    rig_announce(&r, 0, 1, RIG_PEER);
    rig_run(&r);
    ask_piece(&r, &q, (struct pp_fetch){.partition = 0});
    assert_int_equal(piece(&q).code, 0);
    assert_true(piece(&q).last);
    rig_close(&r);
}

/* After each job of what it takes to answer. */
static void a_worker_that_stops_answers_whoever_waits_for_a_piece(void **state) {
    bool answered = false;

    (void)state;
    for (unsigned jobs = 0; !answered; jobs++) {
        struct rig r;
        struct rig_question q = {0};
        _cleanup_buf_ struct buf b = {0};
        struct fabric_dest d = {.node = {.id = 1}};

        open_large(&r);
        pp_fetch_encode(&(struct pp_fetch){.partition = 0}, &b);
        q = (struct rig_question){.call = {.done = rig_on_reply}, .r = &r};
        fabric_call(r.peer, &q.call, &d, LANE_GENERAL,
                    &(struct fabric_message){
                        .service = SERVICE_PARTITION_MANAGER, .type = MANAGER_FETCH_SNAPSHOT, .head = buf_slice(&b)},
                    loop_now_ns(r.net->loop) + 60000 * RIG_MS);
        rig_turns(&r);
        for (unsigned k = 0; k < jobs; k++)
            assert_true(rig_step(&r));
        answered = q.answers;
        rig_stop(&r); /* asserts that it drains */
        assert_int_equal(q.answers, 1);
        assert_int_equal(q.status, answered ? RPC_OK : RPC_SERVICE_STOPPED);
        rig_close(&r);
    }
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test_setup_teardown(a_leader_puts_its_tables_into_the_repository, setup, teardown),
    cmocka_unit_test_setup_teardown(who_cannot_make_a_snapshot_says_why, setup, teardown),
    cmocka_unit_test_setup_teardown(snapshots_wait_for_each_other_and_those_that_wait_have_a_bound, setup, teardown),
    cmocka_unit_test_setup_teardown(a_snapshot_behind_the_one_in_the_repository_is_not_kept, setup, teardown),
    cmocka_unit_test_setup_teardown(snapshots_are_made_by_number_of_records_and_time, setup, teardown),
    cmocka_unit_test_setup_teardown(a_repository_that_cannot_be_read_is_looked_at_again, setup, teardown),
    cmocka_unit_test_setup_teardown(a_snapshot_of_a_store_that_failed_is_none, setup, teardown),
    cmocka_unit_test_setup_teardown(a_worker_that_stops_waits_for_the_snapshot_that_is_being_made, setup, teardown),
    cmocka_unit_test(a_snapshot_is_served_piece_by_piece),
    cmocka_unit_test(who_cannot_serve_a_snapshot_says_so),
    cmocka_unit_test(a_stream_that_nobody_goes_on_with_is_given_up),
    cmocka_unit_test(so_many_streams_are_served_at_a_time),
    cmocka_unit_test(a_follower_serves_what_it_applied),
    cmocka_unit_test(a_worker_that_stops_answers_whoever_waits_for_a_piece),
};
const struct unit_group snapshot_test_group = UNIT_GROUP(tests);
