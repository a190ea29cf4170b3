/* SPDX-License-Identifier: Apache-2.0 */
/* The outbox on its way to other partitions. Partition 0 sends and is led here; 1 and 2 receive. */
#include "worker/worker_rig.h"

struct sender {
    struct rig r;
    struct rig_call c;
    struct invocation_id id;
    uint32_t completion;
};

static void sender_init(struct sender *s) {
    *s = (struct sender){0};
    rig_init(&s->r);
    rig_cluster(&s->r);
    s->r.partitions = 3;
    rig_open(&s->r);
    rig_lead(&s->r, 0);
    s->id = rig_id(&s->r, 0, 1);
    rig_submit(&s->r, &s->c, s->id, 0, FX_DAY_MS);
    RIG_EFFECTS(&s->r, s->id, fx_pinned(6));
}

/* One effect: a send of @bytes to invocation @n of partition @p. */
static struct cmd_effect send_of(struct sender *s, uint32_t p, uint64_t n, size_t bytes) {
    struct invocation_id id = rig_id(&s->r, p, n);
    struct slice callee = arena_copy(&s->r.fx.scratch, invocation_id_slice(&id));
    struct cmd_effect e = fx_call(&s->r.fx, SP_ONE_WAY_CALL, callee, TARGET_SERVICE, NULL, ++s->completion, 0, 0);

    if (bytes)
        e.payload =
            SP_BYTES(&s->r.fx, one_way_call, .service_name = SLICE_LIT("S"), .handler_name = SLICE_LIT("callee"),
                     .parameter = slice_of(arena_alloc(&s->r.fx.scratch, bytes), bytes),
                     .invocation_id_notification_idx = s->completion);
    return e;
}

static void send_to(struct sender *s, uint32_t p, uint64_t n) {
    RIG_EFFECTS(&s->r, s->id, send_of(s, p, n, 0));
}

static void leads_elsewhere(struct sender *s, uint32_t p, epoch_t epoch) {
    worker_leader_hint(s->r.worker, p, epoch, RIG_PEER);
}

static struct pp_ingest ingest(struct sender *s, const struct fabric_request *q) {
    struct pp_ingest m;

    assert_non_null(q);
    assert_int_equal(q->type, LEADER_INGEST);
    assert_int_equal(pp_ingest_decode(&m, q->payload, &s->r.fx.scratch, NULL), 0);
    return m;
}

static void confirm(struct sender *s, struct fabric_request *take, struct pp_ingested reply) {
    _cleanup_buf_ struct buf b = {0};

    pp_ingested_encode(&reply, &b);
    rig_answer(&s->r, take, buf_slice(&b));
}

/* The outbox of partition 0 is truncated up to this row, as the log has it; 0: not at all. */
static uint64_t truncated(struct sender *s) {
    struct fake_log *f = &s->r.logs.logs[0];
    uint64_t seq = 0;

    for (size_t i = 0; i < f->n; i++) {
        struct cmd_truncate_outbox m;
        struct record_view v;

        assert_int_equal(record_view(bytes_slice(f->records[i]), &v, NULL), 0);
        if (v.header.kind != CMD_TRUNCATE_OUTBOX)
            continue;
        assert_int_equal(cmd_truncate_outbox_decode(&m, v.payload, &s->r.fx.scratch, NULL), 0);
        assert_true(m.seq > seq);
        seq = m.seq;
    }
    return seq;
}

/* ---- to a leader here ---- */

static void a_row_for_a_leader_here_is_truncated_when_it_was_applied_there(void **state) {
    struct sender s;

    (void)state;
    sender_init(&s);
    rig_lead(&s.r, 1);
    s.r.logs.logs[1].hold = true;
    send_to(&s, 1, 7);
    assert_string_equal(rig_log(&s.r, 1, 1), "announce invoke");
    assert_int_equal(truncated(&s), 0);
    fake_log_commit(&s.r.logs, 1, 1);
    rig_run(&s.r);
    assert_int_equal(rig_status(&s.r, rig_id(&s.r, 1, 7)), INV_INVOKED);
    assert_int_equal(truncated(&s), 1);
    rig_close(&s.r);
}

static void a_receiver_that_loses_its_lead_gets_the_row_again(void **state) {
    struct sender s;

    (void)state;
    sender_init(&s);
    rig_lead(&s.r, 1);
    s.r.logs.logs[1].hold = true;
    send_to(&s, 1, 7);
    fake_log_lose(&s.r.logs, 1, RS_ECLOSED, 1);
    s.r.logs.logs[1].hold = false;
    rig_pass(&s.r, 25);
    assert_string_equal(rig_log(&s.r, 1, 1), "announce announce invoke");
    assert_int_equal(truncated(&s), 1);
    rig_close(&s.r);
}

static void a_sender_that_starts_again_sends_again_and_the_receiver_drops_it(void **state) {
    struct sender s;

    (void)state;
    sender_init(&s);
    rig_lead(&s.r, 1);
    s.r.logs.logs[1].hold = true;
    send_to(&s, 1, 7);
    (void)rig_said(&s.r);
    fake_log_lose(&s.r.logs, 0, RS_ECLOSED, 1);
    rig_run(&s.r);
    assert_string_equal(rig_log(&s.r, 1, 1), "announce invoke invoke");
    assert_int_equal(truncated(&s), 0);
    fake_log_commit(&s.r.logs, 1, 1); /* of the first delivery nobody wants to know any more */
    rig_run(&s.r);
    assert_int_equal(truncated(&s), 0);
    fake_log_commit(&s.r.logs, 1, 1);
    rig_run(&s.r);
    assert_int_equal(truncated(&s), 1);
    assert_string_equal(rig_said(&s.r), "abort-all invoke 1@0 invoke 7@2"); /* once */
    rig_close(&s.r);
}

static void a_receiver_that_is_full_is_tried_again(void **state) {
    struct sender s;

    (void)state;
    sender_init(&s);
    rig_lead(&s.r, 1);
    worker_proposed(rig_partition(&s.r, 1)->w, LIMIT_PROPOSAL_QUEUE_BYTES);
    send_to(&s, 1, 7);
    rig_pass(&s.r, 24);
    assert_string_equal(rig_log(&s.r, 1, 1), "announce");
    worker_proposed(rig_partition(&s.r, 1)->w, -(int64_t)LIMIT_PROPOSAL_QUEUE_BYTES);
    rig_pass(&s.r, 1);
    assert_string_equal(rig_log(&s.r, 1, 1), "announce invoke");
    rig_close(&s.r);
}

/* ---- to a leader elsewhere ---- */

static void rows_for_a_leader_elsewhere_go_as_one_batch(void **state) {
    struct sender s;
    struct fabric_request *q;
    struct pp_ingest m;

    (void)state;
    sender_init(&s);
    leads_elsewhere(&s, 1, 3);
    RIG_EFFECTS(&s.r, s.id, send_of(&s, 1, 7, 0), send_of(&s, 1, 8, 0));
    q = rig_asked(&s.r);
    m = ingest(&s, q);
    assert_int_equal(m.partition, 1);
    assert_int_equal(m.from, 0);
    assert_int_equal(m.n_rows, 2);
    assert_int_equal(m.rows[0].seq, 1);
    assert_int_equal(m.rows[1].seq, 2);
    assert_int_equal(m.rows[0].kind, CMD_INVOKE);
    assert_int_equal(truncated(&s), 0);
    confirm(&s, q, (struct pp_ingested){.code = WORKER_OK});
    assert_int_equal(truncated(&s), 2);
    assert_null(rig_asked(&s.r));
    rig_close(&s.r);
}

static void truncation_is_in_order_whoever_confirms_first(void **state) {
    struct sender s;
    struct fabric_request *q;

    (void)state;
    sender_init(&s);
    leads_elsewhere(&s, 1, 3);
    rig_lead(&s.r, 2);
    RIG_EFFECTS(&s.r, s.id, send_of(&s, 1, 7, 0), send_of(&s, 2, 8, 0));
    assert_int_equal(rig_status(&s.r, rig_id(&s.r, 2, 8)), INV_INVOKED);
    assert_int_equal(truncated(&s), 0); /* the row before it is still needed */
    q = rig_asked(&s.r);
    confirm(&s, q, (struct pp_ingested){.code = WORKER_OK});
    assert_int_equal(truncated(&s), 2);
    rig_close(&s.r);
}

static void no_row_overtakes_one_that_is_on_its_way_to_the_same_partition(void **state) {
    struct sender s;
    struct fabric_request *q;

    (void)state;
    sender_init(&s);
    leads_elsewhere(&s, 1, 3);
    send_to(&s, 1, 7);
    q = rig_asked(&s.r);
    send_to(&s, 1, 8);
    rig_pass(&s.r, 5000);
    assert_null(rig_asked(&s.r));
    confirm(&s, q, (struct pp_ingested){.code = WORKER_OK});
    q = rig_asked(&s.r);
    assert_int_equal(ingest(&s, q).rows[0].seq, 2);
    assert_int_equal(truncated(&s), 1);
    confirm(&s, q, (struct pp_ingested){.code = WORKER_OK});
    assert_int_equal(truncated(&s), 2);
    rig_close(&s.r);
}

static void a_batch_that_is_not_confirmed_goes_again_after_a_rising_delay(void **state) {
    struct sender s;
    struct fabric_request *q;

    (void)state;
    sender_init(&s);
    leads_elsewhere(&s, 1, 3);
    send_to(&s, 1, 7);
    confirm(&s, rig_asked(&s.r),
            (struct pp_ingested){.code = PEER_NOT_LEADER, .epoch = 4, .leader = SLICE_LIT("N2:1")});
    assert_int_equal(rig_info(&s.r, 1).leader_epoch, 4); /* the hint is taken */
    rig_pass(&s.r, 24);
    assert_null(rig_asked(&s.r));
    rig_pass(&s.r, 1);
    q = rig_asked(&s.r);
    assert_int_equal(ingest(&s, q).rows[0].seq, 1);
    rig_answer(&s.r, q, SLICE_LIT("\xff not a message"));
    rig_pass(&s.r, 49);
    assert_null(rig_asked(&s.r));
    rig_pass(&s.r, 1);
    q = rig_asked(&s.r);
    assert_int_equal(ingest(&s, q).rows[0].seq, 1);
    fabric_reply_status(s.r.peer, q, RPC_LOAD_SHEDDING);
    rig_pass(&s.r, 100);
    q = rig_asked(&s.r);
    assert_int_equal(ingest(&s, q).rows[0].seq, 1);
    assert_int_equal(truncated(&s), 0);
    confirm(&s, q, (struct pp_ingested){.code = WORKER_OK});
    assert_int_equal(truncated(&s), 1);
    rig_close(&s.r);
}

static void a_sender_that_starts_again_sends_its_batch_again(void **state) {
    struct sender s;
    struct fabric_request *q, *again;

    (void)state;
    sender_init(&s);
    leads_elsewhere(&s, 1, 3);
    send_to(&s, 1, 7);
    q = rig_asked(&s.r);
    fake_log_lose(&s.r.logs, 0, RS_ECLOSED, 1);
    rig_run(&s.r);
    again = rig_asked(&s.r);
    assert_int_equal(ingest(&s, again).rows[0].seq, 1);
    confirm(&s, q, (struct pp_ingested){.code = WORKER_OK}); /* to the leader before: dropped */
    assert_int_equal(truncated(&s), 0);
    confirm(&s, again, (struct pp_ingested){.code = WORKER_OK});
    assert_int_equal(truncated(&s), 1);
    rig_close(&s.r);
}

static void rows_wait_until_somebody_leads(void **state) {
    struct sender s;

    (void)state;
    sender_init(&s);
    send_to(&s, 1, 7);
    rig_pass(&s.r, 10000);
    assert_null(rig_asked(&s.r));
    leads_elsewhere(&s, 1, 3);
    rig_pass(&s.r, 1000);
    assert_int_equal(ingest(&s, rig_asked(&s.r)).rows[0].seq, 1);
    rig_close(&s.r);
}

/* ---- windows, batches, gaps ---- */

static void rows_beyond_the_window_are_found_when_it_moves(void **state) {
    struct sender s;
    struct fabric_request *q;
    struct pp_ingest m;

    (void)state;
    sender_init(&s);
    for (uint64_t n = 1; n <= 300; n++) /* nobody leads: the window fills, and the hints of 44 rows come to nothing */
        send_to(&s, 1, n);
    leads_elsewhere(&s, 1, 3);
    rig_pass(&s.r, 1000);
    q = rig_asked(&s.r);
    m = ingest(&s, q);
    assert_int_equal(m.n_rows, SHUFFLE_WINDOW);
    confirm(&s, q, (struct pp_ingested){.code = WORKER_OK});
    assert_int_equal(truncated(&s), SHUFFLE_WINDOW);
    q = rig_asked(&s.r);
    m = ingest(&s, q);
    assert_int_equal(m.n_rows, 300 - SHUFFLE_WINDOW);
    assert_int_equal(m.rows[0].seq, SHUFFLE_WINDOW + 1);
    confirm(&s, q, (struct pp_ingested){.code = WORKER_OK});
    assert_int_equal(truncated(&s), 300);
    rig_close(&s.r);
}

static void a_leader_that_knows_no_hint_scans_for_what_there_is(void **state) {
    struct sender s;
    struct fabric_request *q;

    (void)state;
    sender_init(&s);
    leads_elsewhere(&s, 1, 3);
    send_to(&s, 1, 7);
    confirm(&s, rig_asked(&s.r), (struct pp_ingested){.code = WORKER_OK});
    send_to(&s, 1, 8); /* row 2 is the first one that is left */
    rig_stop(&s.r);
    while ((q = rig_asked(&s.r)))
        fabric_reply_status(s.r.peer, q, RPC_DROPPED);
    rig_open(&s.r);
    rig_lead(&s.r, 0);
    leads_elsewhere(&s, 1, 3);
    rig_pass(&s.r, 25);
    q = rig_asked(&s.r);
    assert_int_equal(ingest(&s, q).n_rows, 1);
    confirm(&s, q, (struct pp_ingested){.code = WORKER_OK});
    assert_int_equal(truncated(&s), 2);
    rig_close(&s.r);
}

static void a_batch_has_a_bound_and_the_next_one_waits_for_it(void **state) {
    struct sender s;
    struct fabric_request *q;

    (void)state;
    sender_init(&s);
    leads_elsewhere(&s, 1, 3);
    RIG_EFFECTS(&s.r, s.id, send_of(&s, 1, 7, 600000), send_of(&s, 1, 8, 600000), send_of(&s, 1, 9, 0));
    q = rig_asked(&s.r);
    assert_int_equal(ingest(&s, q).n_rows, 1);
    assert_null(rig_asked(&s.r)); /* the small one does not overtake the second */
    confirm(&s, q, (struct pp_ingested){.code = WORKER_OK});
    q = rig_asked(&s.r);
    assert_int_equal(ingest(&s, q).n_rows, 2);
    assert_int_equal(ingest(&s, q).rows[0].seq, 2);
    rig_answer(&s.r, q, SLICE_NULL); /* no code is WORKER_OK */
    assert_int_equal(truncated(&s), 3);
    rig_close(&s.r);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(a_row_for_a_leader_here_is_truncated_when_it_was_applied_there),
    cmocka_unit_test(a_receiver_that_loses_its_lead_gets_the_row_again),
    cmocka_unit_test(a_sender_that_starts_again_sends_again_and_the_receiver_drops_it),
    cmocka_unit_test(a_receiver_that_is_full_is_tried_again),
    cmocka_unit_test(rows_for_a_leader_elsewhere_go_as_one_batch),
    cmocka_unit_test(truncation_is_in_order_whoever_confirms_first),
    cmocka_unit_test(no_row_overtakes_one_that_is_on_its_way_to_the_same_partition),
    cmocka_unit_test(a_batch_that_is_not_confirmed_goes_again_after_a_rising_delay),
    cmocka_unit_test(a_sender_that_starts_again_sends_its_batch_again),
    cmocka_unit_test(rows_wait_until_somebody_leads),
    cmocka_unit_test(rows_beyond_the_window_are_found_when_it_moves),
    cmocka_unit_test(a_leader_that_knows_no_hint_scans_for_what_there_is),
    cmocka_unit_test(a_batch_has_a_bound_and_the_next_one_waits_for_it),
};
const struct unit_group shuffle_test_group = UNIT_GROUP(tests);
