/* SPDX-License-Identifier: Apache-2.0 */
/* Snapshots that are taken over instead of records that are not there any more: from the repository, from another
 * replica. */
#include "worker/snapshot_test_util.h"

static void piece_reply(struct rig *r, struct slice stream, size_t from, size_t n, bool last) {
    struct fabric_request *q = rig_asked(r);
    struct pp_fetch m;
    _cleanup_buf_ struct buf b = {0};

    assert_non_null(q);
    assert_int_equal(q->type, MANAGER_FETCH_SNAPSHOT);
    assert_int_equal(pp_fetch_decode(&m, q->payload, &r->fx.scratch, NULL), 0);
    assert_int_equal(m.offset, from);
    assert_int_equal(m.token, from ? 17 : 0);
    pp_piece_encode(&(struct pp_piece){.token = 17, .offset = from, .last = last, .data = slice_sub(stream, from, n)},
                    &b);
    rig_answer(r, q, buf_slice(&b));
}

/* A replica whose log begins behind LSN @to. */
static void open_behind(struct rig *r, struct repository *repository, lsn_t to) {
    rig_init(r);
    rig_cluster(r);
    with_snapshots(r, repository);
    rig_open(r);
    rig_place(r, 0, (uint32_t[]){1, 2}, 2);
    assert_int_equal(rig_role(r, 0), PARTITION_FOLLOWER);
    fake_log_gap(&r->logs, 0, to, LOG_GAP_TRIMMED);
    rig_run(r);
}

static void a_replica_takes_over_what_another_one_serves(void **state) {
    struct rig r, s;
    struct rig_sum a, b;
    _cleanup_buf_ struct buf out = {0};
    struct slice stream;
    size_t at = 0;

    (void)state;
    open_large(&r);
    stream = fetch(&r, &out);
    a = rig_checksum(&r, 0);
    open_behind(&s, NULL, 4);
    assert_int_equal(rig_role(&s, 0), PARTITION_OPENING);
    for (size_t n; at < stream.len; at += n) {
        n = MIN(stream.len - at, (size_t)500000);
        piece_reply(&s, stream, at, n, at + n == stream.len);
    }
    assert_int_equal(rig_role(&s, 0), PARTITION_FOLLOWER);
    assert_int_equal(rig_info(&s, 0).applied, 5);
    assert_int_equal(rig_info(&s, 0).durable, 5);
    b = rig_checksum(&s, 0);
    assert_int_equal(a.lsn, b.lsn);
    assert_true(a.sum == b.sum);
    rig_close(&r);
    rig_close(&s);
}

static void an_empty_replica_begins_with_what_the_repository_has(void **state) {
    struct place *at = *state;
    struct rig r, s;
    struct made m = {0};
    struct rig_sum a, b;
    struct err err;

    rig_init(&r);
    with_snapshots(&r, at->repository);
    rig_open(&r); /* looks, finds none, begins with the log */
    submit(&r, 0, 5);
    assert_int_equal(worker_snapshot_create(r.worker, 0, 0, on_made, &m, &err), 0);
    rig_run(&r);
    a = rig_checksum(&r, 0);
    rig_init(&s);
    rig_cluster(&s);
    with_snapshots(&s, at->repository);
    rig_open(&s);
    rig_place(&s, 0, (uint32_t[]){1, 2}, 2);
    assert_int_equal(rig_role(&s, 0), PARTITION_FOLLOWER);
    b = rig_checksum(&s, 0);
    assert_int_equal(b.lsn, 2);
    assert_true(a.sum == b.sum);
    assert_null(rig_asked(&s)); /* no other replica was needed */
    rig_close(&r);
    rig_close(&s);
}

static void without_a_snapshot_that_goes_far_enough_it_is_broken_and_tries_again(void **state) {
    struct place *at = *state;
    struct rig r;
    unsigned asked = 0;

    open_behind(&r, at->repository, 4);
    while (rig_role(&r, 0) == PARTITION_OPENING && asked++ < 5)
        rig_reply(&r, rig_asked(&r), (struct pp_reply){.code = PEER_NOT_FOUND});
    assert_int_equal(asked, 1);
    assert_int_equal(rig_role(&r, 0), PARTITION_BROKEN);
    assert_string_equal(rig_info(&r, 0).error,
                        "its log begins behind LSN 4, and there is no snapshot: node 2 has none that "
                        "goes up to LSN 4");
    rig_pass(&r, 1301);
    assert_non_null(rig_asked(&r)); /* again */
    rig_close(&r);
}

static void replicas_that_are_busy_are_asked_again_and_one_that_is_away_is_left_out(void **state) {
    struct rig r, s;
    _cleanup_buf_ struct buf out = {0};
    struct slice stream;

    (void)state;
    open_large(&r);
    stream = fetch(&r, &out);
    rig_init(&s);
    rig_cluster(&s);
    with_snapshots(&s, NULL);
    rig_open(&s);
    worker_leader_hint(s.worker, 0, 3, (struct node_id){3, 1}); /* nobody listens there */
    rig_place(&s, 0, (uint32_t[]){1, 2}, 2);
    fake_log_gap(&s.logs, 0, 4, LOG_GAP_TRIMMED);
    rig_pass(&s, 1000);
    assert_int_equal(s.n_asked, 1);
    fabric_reply_status(s.peer, rig_asked(&s), RPC_LOAD_SHEDDING);
    rig_pass(&s, 299);
    assert_null(rig_asked(&s));
    assert_int_equal(rig_role(&s, 0), PARTITION_OPENING);
    rig_pass(&s, 1001);
    piece_reply(&s, stream, 0, stream.len, true);
    assert_int_equal(rig_role(&s, 0), PARTITION_FOLLOWER);
    rig_close(&r);
    rig_close(&s);
}

static void a_stream_that_is_not_what_it_should_be_is_not_taken(void **state) {
    static const struct {
        lsn_t target;
        size_t keep;      /* bytes of the stream; 0: all */
        size_t damage_at; /* 0: none */
        const char *says;
    } rows[] = {
        {9, 0, 0, "the snapshot stands at LSN 5, 9 is needed"},
        {4, 1000, 0, "the snapshot is cut off"},
        {4, 0, 700000, NULL},
    };
    struct rig r;
    _cleanup_buf_ struct buf out = {0};

    (void)state;
    open_large(&r);
    (void)fetch(&r, &out);
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct rig s;

        open_behind(&s, NULL, rows[i].target);
        out.data[rows[i].damage_at] ^= rows[i].damage_at != 0;
        piece_reply(&s, buf_slice(&out), 0, rows[i].keep ? rows[i].keep : out.len, true);
        assert_int_equal(rig_role(&s, 0), PARTITION_BROKEN);
        if (rows[i].says && !strstr(rig_info(&s, 0).error, rows[i].says))
            fail_msg("row %zu: %s", i, rig_info(&s, 0).error);
        /* what was imported by half is dropped before the next try */
        rig_pass(&s, 1301);
        out.data[rows[i].damage_at] ^= rows[i].damage_at != 0;
        if (rows[i].target == 4) {
            piece_reply(&s, buf_slice(&out), 0, out.len, true);
            assert_int_equal(rig_role(&s, 0), PARTITION_FOLLOWER);
            assert_true(rig_checksum(&s, 0).sum == rig_checksum(&r, 0).sum);
        }
        rig_close(&s);
    }
    rig_close(&r);
}

static void the_rest_of_an_import_that_was_cut_short_is_dropped(void **state) {
    struct rig r;
    struct partition *p;
    struct rig_sum empty;

    (void)state;
    rig_init(&r);
    rig_cluster(&r);
    rig_open(&r);
    rig_place(&r, 0, (uint32_t[]){1, 2}, 2);
    empty = rig_checksum(&r, 0);
    p = rig_partition(&r, 0);
    store_put(p->store, p->table, SLICE_LIT("\x22 a row"), SLICE_LIT("x")); /* and no applied LSN */
    rig_run(&r);
    assert_true(rig_checksum(&r, 0).sum != empty.sum);
    rig_stop(&r);
    rig_open(&r);
    assert_int_equal(rig_role(&r, 0), PARTITION_FOLLOWER);
    assert_true(rig_checksum(&r, 0).sum == empty.sum);
    rig_close(&r);
}

/* The partition leaves this node: while the repository is looked at, a replica is asked, it rests, and after each job
 * of an import. */
static void a_take_over_ends_with_its_partition(void **state) {
    enum { LOOKING, ASKING, RESTING, IMPORTING };
    struct place *at = *state;
    struct rig r;
    _cleanup_buf_ struct buf out = {0};
    bool over = false;

    open_large(&r);
    (void)fetch(&r, &out);
    for (unsigned when = LOOKING; !over; when++) {
        struct rig s;

        rig_init(&s);
        rig_cluster(&s);
        with_snapshots(&s, when == LOOKING ? at->repository : NULL);
        rig_open(&s);
        rig_place(&s, 0, (uint32_t[]){1, 2}, 2);
        fake_log_gap(&s.logs, 0, 4, LOG_GAP_TRIMMED);
        rig_turns(&s);
        if (when == RESTING) {
            fabric_reply_status(s.peer, rig_asked(&s), RPC_LOAD_SHEDDING);
            rig_turns(&s);
        }
        if (when >= IMPORTING) {
            _cleanup_buf_ struct buf b = {0};

            pp_piece_encode(&(struct pp_piece){.token = 17, .last = true, .data = buf_slice(&out)}, &b);
            fabric_reply(s.peer, rig_asked(&s), buf_slice(&b), NULL, 0);
            rig_turns(&s);
            for (unsigned k = IMPORTING; k < when; k++)
                assert_true(rig_step(&s));
        }
        over = rig_role(&s, 0) == PARTITION_FOLLOWER;
        assert_int_equal(rig_role(&s, 0), over ? PARTITION_FOLLOWER : PARTITION_OPENING);
        rig_place(&s, 0, (uint32_t[]){2, 3}, 2);
        assert_int_equal(rig_role(&s, 0), PARTITION_STOPPED);
        assert_int_equal(s.worker->snapshots.busy, 0);
        rig_close(&s);
    }
    rig_close(&r);
}

static void a_take_over_that_cannot_be_written_breaks_its_partition(void **state) {
    struct rig r;
    _cleanup_buf_ struct buf out = {0};

    (void)state;
    open_large(&r);
    (void)fetch(&r, &out);
    for (unsigned i = 0; i < 3; i++) {
        struct rig s;

        open_behind(&s, NULL, 4);
        if (i == 0)
            s.worker->params.snapshots.tmp_dir = "/does/not/exist";
        else
            sim_disk_fault(s.disk, i == 1 ? SIM_FAULT_WRITE_EIO : SIM_FAULT_SYNC, NULL, 0, UINT64_MAX);
        piece_reply(&s, buf_slice(&out), 0, out.len, true);
        assert_int_equal(rig_role(&s, 0), PARTITION_BROKEN);
        assert_int_equal(s.worker->snapshots.busy, 0);
        sim_disk_fault(s.disk, SIM_FAULT_NONE, NULL, 0, 0);
        rig_close(&s);
    }
    rig_close(&r);
}

static void a_snapshot_in_the_repository_has_to_fit(void **state) {
    struct place *at = *state;
    struct rig r, s;
    struct made m = {0};
    struct err err;

    rig_init(&r);
    r.partitions = 1; /* of another cut of the key space */
    with_snapshots(&r, at->repository);
    rig_open(&r);
    submit(&r, 0, 5);
    assert_int_equal(worker_snapshot_create(r.worker, 0, 0, on_made, &m, &err), 0);
    rig_run(&r);
    assert_int_equal(m.status, 0);
    rig_close(&r);
    open_behind(&s, at->repository, 2); /* did not take it when it opened, and does not now */
    assert_int_equal(rig_role(&s, 0), PARTITION_OPENING);
    assert_int_equal(s.n_asked, 1); /* a replica may have one */
    rig_close(&s);
    rig_init(&r);
    with_snapshots(&r, NULL);
    rig_open(&r);
    r.worker->params.snapshots.repository = at->repository;
    submit(&r, 0, 5);
    submit(&r, 0, 6);
    assert_int_equal(worker_snapshot_create(r.worker, 0, 0, on_made, &m, &err), 0);
    rig_run(&r);
    assert_int_equal(m.status, 0);
    assert_int_equal(m.lsn, 3);
    rig_close(&r);
    open_behind(&s, at->repository, 9); /* it took the one that stands at LSN 3 */
    assert_int_equal(rig_role(&s, 0), PARTITION_OPENING);
    assert_int_equal(s.n_asked, 1);
    rig_close(&s);
}

static void members_of_both_replica_sets_are_asked_each_once(void **state) {
    struct rig r;
    struct epoch_metadata e = {.version = 9, .current = {.version = 2, .n = 2, .nodes = {1, 2}}};
    unsigned asked = 0;

    (void)state;
    rig_init(&r);
    rig_cluster(&r);
    with_snapshots(&r, NULL);
    rig_open(&r);
    rig_place(&r, 0, (uint32_t[]){1, 2}, 2);
    worker_leader_hint(r.worker, 0, 3, RIG_PEER);
    replica_set_propose(&e, (uint32_t[]){1, 2, 3}, 3, 1); /* nobody listens at 3 */
    worker_placement(r.worker, 0, &e);
    fake_log_gap(&r.logs, 0, 4, LOG_GAP_TRIMMED);
    rig_pass(&r, 1);
    while (r.n_asked && ++asked < 5)
        rig_reply(&r, rig_asked(&r), (struct pp_reply){.code = PEER_NOT_FOUND});
    assert_int_equal(asked, 1);
    rig_pass(&r, 125000);
    assert_non_null(strstr(rig_info(&r, 0).error, "node 3"));
    rig_close(&r);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(a_replica_takes_over_what_another_one_serves),
    cmocka_unit_test_setup_teardown(an_empty_replica_begins_with_what_the_repository_has, setup, teardown),
    cmocka_unit_test_setup_teardown(without_a_snapshot_that_goes_far_enough_it_is_broken_and_tries_again, setup,
                                    teardown),
    cmocka_unit_test(replicas_that_are_busy_are_asked_again_and_one_that_is_away_is_left_out),
    cmocka_unit_test(a_stream_that_is_not_what_it_should_be_is_not_taken),
    cmocka_unit_test(the_rest_of_an_import_that_was_cut_short_is_dropped),
    cmocka_unit_test_setup_teardown(a_take_over_ends_with_its_partition, setup, teardown),
    cmocka_unit_test(a_take_over_that_cannot_be_written_breaks_its_partition),
    cmocka_unit_test_setup_teardown(a_snapshot_in_the_repository_has_to_fit, setup, teardown),
    cmocka_unit_test(members_of_both_replica_sets_are_asked_each_once),
};
const struct unit_group fast_forward_test_group = UNIT_GROUP(tests);
