/* SPDX-License-Identifier: Apache-2.0 */
/* Calls between nodes: made to a leader elsewhere, and served for another node. */
#include <string.h>

#include "proto/pb.h"
#include "worker/worker_rig.h"

static void open_cluster(struct rig *r) {
    rig_init(r);
    rig_cluster(r);
    rig_open(r);
}

/* Partition 1 is led by node 2. */
static void open_led_elsewhere(struct rig *r) {
    open_cluster(r);
    rig_place(r, 1, (uint32_t[]){2, 3}, 2);
    worker_leader_hint(r->worker, 1, 3, RIG_PEER);
}

static struct pp_call asked(struct rig *r, const struct fabric_request *q) {
    struct pp_call m;

    assert_non_null(q);
    assert_int_equal(q->type, LEADER_CALL);
    assert_int_equal(pp_call_decode(&m, q->payload, &r->fx.scratch, NULL), 0);
    return m;
}

static struct slice value(struct rig *r, const char *text) {
    struct cmd_result m = {.value = slice_str(text)};
    _cleanup_buf_ struct buf b = {0};

    cmd_result_encode(&m, &b);
    return arena_copy(&r->fx.scratch, buf_slice(&b));
}

/* ---- asking ---- */

static void a_call_for_a_leader_elsewhere_is_answered_from_there(void **state) {
    struct rig r;
    struct rig_call c;
    struct fabric_request *q;
    struct invocation_id id;
    struct pp_call m;

    (void)state;
    open_led_elsewhere(&r);
    id = rig_id(&r, 1, 5);
    rig_invoke(&r, &c, id);
    q = rig_asked(&r);
    m = asked(&r, q);
    assert_int_equal(m.partition, 1);
    assert_int_equal(m.op, WORKER_OP_INVOKE);
    assert_int_equal(m.kind, CMD_INVOKE);
    assert_int_equal(m.partition_key, invocation_id_pk(&id));
    assert_memory_equal(m.request_id.data, c.c.request_id, 16);
    rig_reply(&r, q, (struct pp_reply){.code = WORKER_OK, .id = invocation_id_slice(&id), .result = value(&r, "42")});
    assert_int_equal(c.answers, 1);
    assert_string_equal(c.value, "42");
    assert_true(invocation_id_eq(&c.reply.id, &id));
    rig_close(&r);
}

static void an_answer_that_is_pending_is_asked_for_again_with_the_same_id(void **state) {
    struct rig r;
    struct rig_call c;
    struct fabric_request *q;
    struct pp_call m;

    (void)state;
    open_led_elsewhere(&r);
    rig_invoke(&r, &c, rig_id(&r, 1, 5));
    rig_reply(&r, rig_asked(&r), (struct pp_reply){.code = PEER_PENDING});
    q = rig_asked(&r);
    m = asked(&r, q);
    assert_memory_equal(m.request_id.data, c.c.request_id, 16);
    rig_reply(&r, q, (struct pp_reply){.code = WORKER_OK, .result = value(&r, "42")});
    assert_string_equal(c.value, "42");
    rig_close(&r);
}

static void not_leading(struct rig *r, epoch_t epoch, const char *leader) {
    rig_reply(r, rig_asked(r), (struct pp_reply){.code = PEER_NOT_LEADER, .epoch = epoch, .leader = slice_str(leader)});
}

static void who_does_not_lead_says_who_does(void **state) {
    struct rig r;
    struct rig_call c;

    (void)state;
    open_led_elsewhere(&r);
    rig_invoke(&r, &c, rig_id(&r, 1, 5));
    not_leading(&r, 4, "N3:1");
    assert_int_equal(rig_info(&r, 1).leader.id, 3);
    assert_null(rig_asked(&r)); /* nobody answers at the address of node 3 */
    rig_pass(&r, 1000);
    assert_memory_equal(asked(&r, rig_asked(&r)).request_id.data, c.c.request_id, 16); /* so the others are asked */
    assert_int_equal(c.answers, 0);
    rig_close(&r);
}

static void a_leader_that_does_not_lead_yet_is_asked_again(void **state) {
    struct rig r;
    struct rig_call c;

    (void)state;
    open_led_elsewhere(&r);
    rig_invoke(&r, &c, rig_id(&r, 1, 5));
    for (unsigned i = 0; i < 5; i++) { /* and nobody else is */
        not_leading(&r, 2, "N3:1");
        rig_pass(&r, 310);
        assert_memory_equal(asked(&r, r.asked[0]).request_id.data, c.c.request_id, 16);
    }
    not_leading(&r, 3, "N2:1");
    worker_leads_hint(r.worker, 1, 2); /* an older one */
    rig_run(&r);
    assert_null(rig_asked(&r));
    worker_leads_hint(r.worker, 1, 3); /* it leads by now: no wait */
    rig_run(&r);
    assert_non_null(rig_asked(&r));
    rig_close(&r);
}

static void an_unknown_outcome_is_repeated_where_that_has_the_effect_of_once(void **state) {
    struct rig r;
    struct rig_call c, d;
    struct invocation_id id;

    (void)state;
    open_led_elsewhere(&r);
    id = rig_id(&r, 1, 5);
    for (unsigned i = 0; i < 4; i++) {
        struct fabric_request *q;

        rig_invoke(&r, &c, id); /* is remembered by its id */
        rig_call_init(&d);
        worker_call_restart(r.worker, &d.c, &id, 0, SLICE_NULL); /* would start twice */
        rig_run(&r);
        for (unsigned k = 0; k < 2; k++) {
            q = rig_asked(&r);
            assert_non_null(q);
            if (i == 0)
                fabric_reply_status(r.peer, q, RPC_DROPPED);
            else if (i == 1)
                rig_answer(&r, q, SLICE_LIT("\xff"));
            else if (i == 2)
                rig_reply(&r, q, (struct pp_reply){.code = WORKER_LOST_LEADERSHIP});
            else
                rig_reply(&r, q, (struct pp_reply){.code = WORKER_SHUTDOWN});
            rig_run(&r);
        }
        assert_int_equal(d.answers, 1);
        assert_int_equal(d.reply.code, WORKER_LOST_LEADERSHIP);
        assert_int_equal(c.answers, 0);
        rig_pass(&r, 500);
        q = rig_asked(&r);
        assert_int_equal(asked(&r, q).op, WORKER_OP_INVOKE);
        rig_reply(&r, q, (struct pp_reply){.code = WORKER_OK, .result = value(&r, "42")});
        assert_int_equal(c.answers, 1);
    }
    rig_close(&r);
}

static void what_certainly_did_not_happen_is_repeated_in_any_case(void **state) {
    struct rig r;
    struct rig_call c;
    struct invocation_id id;
    struct fabric_request *q;

    (void)state;
    open_led_elsewhere(&r);
    id = rig_id(&r, 1, 5);
    rig_call_init(&c);
    worker_call_restart(r.worker, &c.c, &id, 0, SLICE_NULL);
    rig_run(&r);
    fabric_reply_status(r.peer, rig_asked(&r), RPC_LOAD_SHEDDING);
    rig_pass(&r, 2000); /* node 3, where nobody listens, may be asked in between */
    q = rig_asked(&r);
    assert_int_equal(asked(&r, q).op, WORKER_OP_RESTART);
    rig_reply(&r, q, (struct pp_reply){.code = WORKER_NOT_FOUND});
    assert_int_equal(c.reply.code, WORKER_NOT_FOUND);
    rig_close(&r);
}

static void a_node_that_says_nothing_is_asked_again_after_a_deadline(void **state) {
    struct rig r;
    struct rig_call c;

    (void)state;
    open_led_elsewhere(&r);
    rig_invoke(&r, &c, rig_id(&r, 1, 5));
    assert_non_null(r.asked[0]);
    rig_pass(&r, 14900);
    assert_int_equal(r.n_asked, 1);
    rig_pass(&r, 2200);
    assert_int_equal(r.n_asked, 2);
    rig_close(&r);
}

static void a_newer_leader_is_asked_although_the_old_one_says_nothing(void **state) {
    struct rig r;
    struct rig_call c, d;
    struct invocation_id id;

    (void)state;
    open_led_elsewhere(&r);
    id = rig_id(&r, 1, 5);
    rig_call_init(&d);
    worker_call_restart(r.worker, &d.c, &id, 0, SLICE_NULL); /* would start twice: it waits for the old one */
    rig_invoke(&r, &c, id);
    assert_int_equal(r.n_asked, 2);
    worker_leader_hint(r.worker, 1, 4, (struct node_id){3, 1});
    rig_pass(&r, 1000); /* nobody answers at the address of node 3, so node 2 is asked what it knows */
    assert_int_equal(r.n_asked, 3);
    assert_memory_equal(asked(&r, r.asked[2]).request_id.data, c.c.request_id, 16);
    assert_int_equal(c.answers + d.answers, 0);
    rig_close(&r);
}

/* Node 2 was asked and says nothing; this node has claimed an epoch and does not lead yet. */
static void calls_wait_for_the_lead_that_this_node_has_claimed(void **state) {
    struct rig r;
    struct rig_call c, d;
    struct invocation_id id;

    (void)state;
    open_cluster(&r);
    id = rig_id(&r, 1, 5);
    rig_place(&r, 1, (uint32_t[]){1, 2}, 2);
    rig_invoke(&r, &c, id);
    assert_int_equal(r.n_asked, 1);
    r.logs.logs[1].hold_lead = true;
    worker_control(r.worker, 1, WORKER_LEAD, rig_info(&r, 1).current_version);
    rig_run(&r);
    assert_int_equal(rig_role(&r, 1), PARTITION_CANDIDATE);
    assert_int_equal(rig_info(&r, 1).leader.id, 1);
    rig_call_init(&d);
    worker_call_restart(r.worker, &d.c, &id, 0, SLICE_NULL); /* would start twice: never asked there again */
    rig_pass(&r, 1000);
    assert_int_equal(r.n_asked, 1);
    fake_log_answer_lead(&r.logs, 1, 0);
    rig_run(&r);
    assert_int_equal(rig_role(&r, 1), PARTITION_LEADER);
    assert_non_null(strstr(rig_log(&r, 1, 1), "invoke"));
    assert_int_equal(d.answers, 1);
    rig_close(&r);
}

static void an_answer_that_makes_no_sense_is_a_failure(void **state) {
    static const struct {
        struct pp_reply reply;
        const char *says;
    } rows[] = {
        {{.code = 99}, "another node gave an answer that is not valid"},
        {{.code = WORKER_OK, .id = SLICE_LIT("short")}, "another node gave an answer that is not valid"},
        {{.code = WORKER_OK, .result = SLICE_LIT("\xff")}, "another node gave an answer that is not valid"},
        {{.code = WORKER_OK}, "another node gave an answer without a result"},
        {{.code = WORKER_FAILED, .message = SLICE_LIT("it broke")}, "it broke"},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct rig r;
        struct rig_call c;

        open_led_elsewhere(&r);
        rig_invoke(&r, &c, rig_id(&r, 1, 5));
        rig_reply(&r, rig_asked(&r), rows[i].reply);
        assert_int_equal(c.answers, 1);
        assert_int_equal(c.reply.code, WORKER_FAILED);
        assert_string_equal(c.message, rows[i].says);
        rig_close(&r);
    }
}

static void a_call_waits_until_somebody_is_known_to_ask(void **state) {
    struct rig r;
    struct rig_call c, gone;

    (void)state;
    open_cluster(&r);
    rig_invoke(&r, &c, rig_id(&r, 1, 5));
    rig_invoke(&r, &gone, rig_id(&r, 1, 6));
    rig_pass(&r, 10000);
    assert_null(rig_asked(&r));
    worker_call_drop(r.worker, &gone.c);
    worker_leader_hint(r.worker, 1, 3, RIG_PEER);
    rig_run(&r);
    assert_memory_equal(asked(&r, rig_asked(&r)).request_id.data, c.c.request_id, 16);
    worker_call_drop(r.worker, &c.c); /* on its way */
    rig_pass(&r, 20000);
    assert_null(rig_asked(&r));
    assert_int_equal(c.answers + gone.answers, 0);
    rig_close(&r);
}

static void waiting_calls_have_a_bound(void **state) {
    struct rig r;
    struct rig_call c[2];
    struct cmd_target target = {.type = TARGET_SERVICE, .service = SLICE_LIT("S"), .handler = SLICE_LIT("h")};
    struct slice big = {xcalloc(1, 32 << 20), 32 << 20};

    (void)state;
    open_cluster(&r);
    for (unsigned i = 0; i < 2; i++) {
        struct invocation_id id = rig_id(&r, 1, i);
        struct cmd_invoke cmd = {.id = invocation_id_slice(&id), .target = &target, .argument = big};

        assert_true(worker_writable(r.worker));
        rig_call_init(&c[i]);
        worker_call_invoke(r.worker, &c[i].c, &cmd, true);
    }
    assert_false(worker_writable(r.worker));
    worker_call_drop(r.worker, &c[0].c);
    assert_true(worker_writable(r.worker));
    free((void *)(uintptr_t)big.data);
    rig_close(&r);
}

static void whoever_waits_when_the_worker_stops_is_told(void **state) {
    struct rig r;
    struct rig_call c, late;
    struct invocation_id id;
    struct epoch_metadata e = {.version = 9, .current = {.version = 2, .n = 2, .nodes = {1, 2}}};

    (void)state;
    open_cluster(&r);
    id = rig_id(&r, 1, 5);
    rig_invoke(&r, &c, id);
    worker_stop(r.worker);
    assert_int_equal(c.answers, 1);
    assert_int_equal(c.reply.code, WORKER_SHUTDOWN);
    rig_call_init(&late);
    worker_call_attach(r.worker, &late.c, &id, true);
    assert_int_equal(late.answers, 0);
    rig_run(&r);
    assert_int_equal(late.answers, 1);
    assert_int_equal(late.reply.code, WORKER_SHUTDOWN);
    worker_control(r.worker, 0, WORKER_LEAD, 1); /* words that still come change nothing */
    worker_leader_hint(r.worker, 0, 9, RIG_PEER);
    worker_applied_hint(r.worker, 0, 9);
    worker_placement(r.worker, 0, &e);
    assert_int_equal(rig_info(&r, 0).leader_epoch, 0);
    assert_null(rig_partition(&r, 0));
    rig_close(&r);
}

/* ---- serving ---- */

/* A call of node 2: an invocation @n of partition 0 that is waited for. */
static struct slice call_bytes(struct rig *r, const char id[16], uint64_t n) {
    struct invocation_id inv = rig_id(r, 0, n);
    struct cmd_target target = {.type = TARGET_SERVICE, .service = SLICE_LIT("S"), .handler = SLICE_LIT("h")};
    struct cmd_sink sink = {.request_id = slice_of(id, 16)};
    struct cmd_source source = {.type = SOURCE_INGRESS, .id = slice_of(id, 16)};
    struct cmd_invoke cmd = {.id = invocation_id_slice(&inv),
                             .target = &target,
                             .sink = &sink,
                             .source = &source,
                             .completion_retention_ms = FX_DAY_MS};
    _cleanup_buf_ struct buf command = {0}, b = {0};

    cmd_invoke_encode(&cmd, &command);
    pp_call_encode(&(struct pp_call){.request_id = slice_of(id, 16),
                                     .partition = 0,
                                     .op = WORKER_OP_INVOKE,
                                     .kind = CMD_INVOKE,
                                     .partition_key = invocation_id_pk(&inv),
                                     .command = buf_slice(&command)},
                   &b);
    return arena_copy(&r->fx.scratch, buf_slice(&b));
}

static void ask_leader(struct rig *r, struct rig_question *q, struct slice body) {
    rig_ask(r, q, SERVICE_PARTITION_LEADER, LEADER_CALL, body);
}

static struct pp_reply got(struct rig_question *q) {
    struct pp_reply m;

    assert_int_equal(q->answers, 1);
    assert_int_equal(q->status, RPC_OK);
    assert_int_equal(pp_reply_decode(&m, q->reply, &q->r->fx.scratch, NULL), 0);
    return m;
}

static void finish(struct rig *r, uint64_t n) {
    RIG_EFFECTS(r, rig_id(r, 0, n), fx_pinned(6), fx_output(&r->fx, "42"), fx_end());
}

static void assert_value(struct rig *r, struct pp_reply m, const char *text) {
    struct cmd_result result;

    assert_int_equal(m.code, WORKER_OK);
    assert_int_equal(cmd_result_decode(&result, m.result, &r->fx.scratch, NULL), 0);
    assert_true(slice_eq_str(result.value, text));
}

static void a_leader_serves_the_call_of_another_node(void **state) {
    struct rig r;
    struct rig_question q;
    struct pp_reply m;

    (void)state;
    open_cluster(&r);
    rig_lead(&r, 0);
    ask_leader(&r, &q, call_bytes(&r, "request-0000-001", 5));
    assert_string_equal(rig_said(&r), "invoke 5@2");
    assert_int_equal(q.answers, 0);
    finish(&r, 5);
    m = got(&q);
    assert_value(&r, m, "42");
    assert_int_equal(m.epoch, 1);
    assert_true(slice_eq_str(m.leader, "N1:1"));
    rig_close(&r);
}

/* The answer to a signal has no id; an id of zeros would be no valid one. */
static void an_answer_without_an_id_says_none(void **state) {
    struct rig r;
    struct rig_question q;
    struct invocation_id id;
    struct cmd_result value = {.value = SLICE_LIT("v")};
    struct cmd_signal cmd = {.index = 17, .result = &value};
    struct pp_call m = {.request_id = SLICE_LIT("request-0000-001"), .op = WORKER_OP_SIGNAL, .kind = CMD_SIGNAL};
    _cleanup_buf_ struct buf command = {0}, b = {0};

    (void)state;
    open_cluster(&r);
    rig_lead(&r, 0);
    id = rig_id(&r, 0, 5);
    cmd.target = invocation_id_slice(&id);
    cmd_signal_encode(&cmd, &command);
    m.partition_key = invocation_id_pk(&id);
    m.command = buf_slice(&command);
    pp_call_encode(&m, &b);
    ask_leader(&r, &q, buf_slice(&b));
    rig_run(&r);
    assert_int_equal(got(&q).code, WORKER_OK);
    assert_null(got(&q).id.data);
    rig_close(&r);
}

static void who_does_not_lead_serves_nothing(void **state) {
    struct rig r;
    struct rig_question q;
    struct pp_reply m;

    (void)state;
    open_cluster(&r);
    ask_leader(&r, &q, call_bytes(&r, "request-0000-001", 5)); /* it does not even run here */
    m = got(&q);
    assert_int_equal(m.code, PEER_NOT_LEADER);
    assert_int_equal(m.epoch, 0);
    rig_place(&r, 0, (uint32_t[]){1, 2}, 2);
    worker_leader_hint(r.worker, 0, 6, RIG_PEER);
    ask_leader(&r, &q, call_bytes(&r, "request-0000-001", 5));
    m = got(&q);
    assert_int_equal(m.code, PEER_NOT_LEADER);
    assert_int_equal(m.epoch, 6);
    assert_true(slice_eq_str(m.leader, "N2:1"));
    rig_close(&r);
}

static void a_call_that_takes_long_is_held_in_leases(void **state) {
    struct rig r;
    struct rig_question q, again;

    (void)state;
    open_cluster(&r);
    rig_lead(&r, 0);
    ask_leader(&r, &q, call_bytes(&r, "request-0000-001", 5));
    rig_pass(&r, 9999);
    assert_int_equal(q.answers, 0);
    rig_pass(&r, 1);
    assert_int_equal(got(&q).code, PEER_PENDING);
    ask_leader(&r, &again, call_bytes(&r, "request-0000-001", 5));
    finish(&r, 5);
    assert_value(&r, got(&again), "42");
    assert_string_equal(rig_log(&r, 0, 1), "announce invoke effect"); /* proposed once */
    rig_close(&r);
}

static void a_call_that_is_made_again_with_its_id_replaces_the_one_that_waits(void **state) {
    struct rig r;
    struct rig_question q, again;

    (void)state;
    open_cluster(&r);
    rig_lead(&r, 0);
    ask_leader(&r, &q, call_bytes(&r, "request-0000-001", 5));
    ask_leader(&r, &again, call_bytes(&r, "request-0000-001", 5));
    assert_int_equal(q.answers, 1);
    assert_int_equal(q.status, RPC_DROPPED);
    finish(&r, 5);
    assert_int_equal(q.answers, 1);
    assert_value(&r, got(&again), "42");
    assert_string_equal(rig_log(&r, 0, 1), "announce invoke effect");
    rig_close(&r);
}

static void an_answer_that_nobody_waits_for_is_kept_for_a_while(void **state) {
    struct rig r;
    struct rig_question q;

    (void)state;
    open_cluster(&r);
    rig_lead(&r, 0);
    for (uint64_t n = 5; n <= 6; n++) {
        ask_leader(&r, &q, call_bytes(&r, "request-0000-001", n));
        rig_pass(&r, 10000);
        assert_int_equal(got(&q).code, PEER_PENDING);
        finish(&r, n);
        rig_pass(&r, 29999);
        assert_int_equal(r.worker->served.n, 1);
        if (n == 5) {
            ask_leader(&r, &q, call_bytes(&r, "request-0000-001", n));
            assert_value(&r, got(&q), "42");
        } else {
            rig_pass(&r, 1);
        }
        assert_int_equal(r.worker->served.n, 0);
    }
    rig_close(&r);
}

static void a_lead_that_is_lost_leaves_the_outcome_of_served_calls_unknown(void **state) {
    struct rig r;
    struct rig_question q;

    (void)state;
    open_cluster(&r);
    rig_lead(&r, 0);
    ask_leader(&r, &q, call_bytes(&r, "request-0000-001", 5));
    worker_leader_hint(r.worker, 0, 9, RIG_PEER);
    rig_run(&r);
    assert_int_equal(got(&q).code, WORKER_LOST_LEADERSHIP); /* whoever asked routes on, not this node */
    assert_null(rig_asked(&r));
    rig_close(&r);
}

static void a_leader_that_is_full_sheds_calls_and_rows(void **state) {
    struct rig r;
    struct rig_question q;
    struct pp_row row = {.seq = 1, .kind = CMD_INVOKE, .partition_key = 5, .command = SLICE_LIT("x")};
    _cleanup_buf_ struct buf b = {0};

    (void)state;
    open_cluster(&r);
    rig_lead(&r, 0);
    worker_proposed(rig_partition(&r, 0)->w, LIMIT_PROPOSAL_QUEUE_BYTES);
    ask_leader(&r, &q, call_bytes(&r, "request-0000-001", 5));
    assert_int_equal(q.status, RPC_LOAD_SHEDDING);
    pp_ingest_encode(&(struct pp_ingest){.partition = 0, .from = 1, .rows = &row, .n_rows = 1}, &b);
    rig_ask(&r, &q, SERVICE_PARTITION_LEADER, LEADER_INGEST, buf_slice(&b));
    assert_int_equal(q.status, RPC_LOAD_SHEDDING);
    worker_proposed(rig_partition(&r, 0)->w, -(int64_t)LIMIT_PROPOSAL_QUEUE_BYTES);
    rig_close(&r);
}

static void a_call_under_the_id_of_one_that_was_made_here_is_refused(void **state) {
    struct rig r;
    struct rig_call c;
    struct rig_question q;

    (void)state;
    open_cluster(&r);
    rig_lead(&r, 0);
    rig_invoke(&r, &c, rig_id(&r, 0, 5));
    ask_leader(&r, &q, call_bytes(&r, (const char *)c.c.request_id, 6));
    assert_int_equal(got(&q).code, PEER_NOT_LEADER);
    finish(&r, 5);
    assert_int_equal(c.answers, 1);
    rig_close(&r);
}

static void messages_that_are_none_are_refused(void **state) {
    struct rig r;
    struct rig_question q;
    struct slice id = SLICE_LIT("request-0000-001"), x = SLICE_LIT("x");
    const struct pp_call calls[] = {
        {.request_id = SLICE_LIT("short"), .op = WORKER_OP_INVOKE, .kind = CMD_INVOKE, .command = x},
        {.request_id = id, .partition = 2, .op = WORKER_OP_INVOKE, .kind = CMD_INVOKE, .command = x},
        {.request_id = id, .op = 99, .kind = 0, .command = x},
        {.request_id = id, .op = WORKER_OP_INVOKE, .kind = CMD_SIGNAL, .command = x},
        {.request_id = id, .op = WORKER_OP_INVOKE, .kind = CMD_INVOKE},
        {.request_id = id, .op = WORKER_OP_INVOKE, .kind = CMD_INVOKE, .command = x, .partition_key = UINT64_MAX},
    };
    struct pp_row rows[] = {{.seq = 2, .kind = CMD_INVOKE, .command = x}, {.seq = 2, .kind = CMD_INVOKE, .command = x}};
    struct pp_row no_kind = {.seq = 1, .command = x}, large_kind = {.seq = 1, .kind = 1 << 16, .command = x};
    struct pp_row other_key = {.seq = 1, .kind = CMD_INVOKE, .partition_key = UINT64_MAX, .command = x};
    struct pp_row low_key = {.seq = 1, .kind = CMD_INVOKE, .partition_key = 0, .command = x};
    const struct pp_ingest ingests[] = {
        {.from = 1},
        {.from = 1, .rows = rows, .n_rows = 2}, /* not in order */
        {.from = 1, .rows = &no_kind, .n_rows = 1},
        {.from = 1, .rows = &large_kind, .n_rows = 1},
        {.from = 1, .rows = &other_key, .n_rows = 1},
        {.from = 0, .partition = 1, .rows = &low_key, .n_rows = 1},
        {.from = 2, .rows = rows, .n_rows = 1},
        {.from = 1, .partition = 2, .rows = rows, .n_rows = 1},
    };
    static const struct {
        uint16_t service, type;
    } none[] = {{SERVICE_PARTITION_LEADER, LEADER_CALL},
                {SERVICE_PARTITION_LEADER, LEADER_INGEST},
                {SERVICE_PARTITION_LEADER, 99},
                {SERVICE_PARTITION_MANAGER, MANAGER_FETCH_SNAPSHOT},
                {SERVICE_PARTITION_MANAGER, MANAGER_CONTROL}, /* is one-way */
                {SERVICE_PARTITION_MANAGER, 99}};

    (void)state;
    open_cluster(&r);
    rig_lead(&r, 0);
    rig_lead(&r, 1);
    for (size_t i = 0; i < ARRAY_SIZE(calls) + ARRAY_SIZE(ingests); i++) {
        bool is_call = i < ARRAY_SIZE(calls);
        _cleanup_buf_ struct buf b = {0};

        if (is_call)
            pp_call_encode(&calls[i], &b);
        else
            pp_ingest_encode(&ingests[i - ARRAY_SIZE(calls)], &b);
        rig_ask(&r, &q, SERVICE_PARTITION_LEADER, is_call ? LEADER_CALL : LEADER_INGEST, buf_slice(&b));
        if (q.answers != 1 || q.status != RPC_MESSAGE_UNRECOGNIZED)
            fail_msg("row %zu: %s", i, rpc_status_str(q.status));
    }
    for (size_t i = 0; i < ARRAY_SIZE(none); i++) {
        rig_ask(&r, &q, none[i].service, none[i].type, SLICE_LIT("\xff\xff"));
        assert_int_equal(q.status, RPC_MESSAGE_UNRECOGNIZED);
    }
    assert_string_equal(rig_log(&r, 0, 1), "announce");
    rig_close(&r);
}

static void a_command_that_is_none_is_answered_as_unknown(void **state) {
    static const struct {
        uint32_t op, kind;
    } rows[] = {{WORKER_OP_RESUME, CMD_RESUME}, {WORKER_OP_RESTART, CMD_RESTART}, {WORKER_OP_OUTPUT, CMD_ATTACH}};
    struct rig r;

    (void)state;
    open_cluster(&r);
    rig_lead(&r, 0);
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct pp_call m = {.request_id = SLICE_LIT("request-0000-001"),
                            .op = rows[i].op,
                            .kind = rows[i].kind,
                            .command = SLICE_LIT("\xff\xff")};
        struct rig_question q;
        _cleanup_buf_ struct buf b = {0};

        pp_call_encode(&m, &b);
        ask_leader(&r, &q, buf_slice(&b));
        assert_int_equal(got(&q).code, WORKER_LOST_LEADERSHIP);
    }
    assert_int_equal(rig_role(&r, 0), PARTITION_LEADER);
    rig_close(&r);
}

static void a_worker_that_stops_drops_what_it_holds_for_others(void **state) {
    struct rig r;
    struct rig_question q, pending;
    struct slice late;

    (void)state;
    open_cluster(&r);
    rig_lead(&r, 0);
    late = call_bytes(&r, "request-0000-003", 7);
    ask_leader(&r, &pending, call_bytes(&r, "request-0000-001", 5));
    rig_pass(&r, 10000); /* nobody waits for it now */
    ask_leader(&r, &q, call_bytes(&r, "request-0000-002", 6));
    rig_stop(&r);
    assert_int_equal(q.answers, 1);
    assert_int_equal(got(&q).code, WORKER_LOST_LEADERSHIP);
    ask_leader(&r, &q, late);
    assert_int_equal(q.status, RPC_SERVICE_NOT_FOUND);
    rig_close(&r);
}

/* ---- rows of outboxes ---- */

static void ask_ingest(struct rig *r, struct rig_question *q, uint64_t seq, uint64_t n) {
    struct invocation_id id = rig_id(r, 0, n);
    struct cmd_target target = {.type = TARGET_SERVICE, .service = SLICE_LIT("S"), .handler = SLICE_LIT("h")};
    struct cmd_invoke cmd = {.id = invocation_id_slice(&id), .target = &target};
    _cleanup_buf_ struct buf command = {0}, b = {0};
    struct pp_row row = {.seq = seq, .kind = CMD_INVOKE, .partition_key = invocation_id_pk(&id)};

    cmd_invoke_encode(&cmd, &command);
    row.command = buf_slice(&command);
    pp_ingest_encode(&(struct pp_ingest){.partition = 0, .from = 1, .rows = &row, .n_rows = 1}, &b);
    rig_ask(r, q, SERVICE_PARTITION_LEADER, LEADER_INGEST, buf_slice(&b));
}

static struct pp_ingested ingested(struct rig_question *q) {
    struct pp_ingested m;

    assert_int_equal(q->answers, 1);
    assert_int_equal(q->status, RPC_OK);
    assert_int_equal(pp_ingested_decode(&m, q->reply, &q->r->fx.scratch, NULL), 0);
    return m;
}

static void rows_of_another_node_are_confirmed_when_they_are_applied_and_count_once(void **state) {
    struct rig r;
    struct rig_question q, again;

    (void)state;
    open_cluster(&r);
    ask_ingest(&r, &q, 7, 5);
    assert_int_equal(ingested(&q).code, PEER_NOT_LEADER);
    rig_lead(&r, 0);
    r.logs.logs[0].hold = true;
    ask_ingest(&r, &q, 7, 5);
    ask_ingest(&r, &again, 7, 5);
    assert_int_equal(q.answers, 0);
    fake_log_commit(&r.logs, 0, 2);
    rig_run(&r);
    assert_int_equal(ingested(&q).code, WORKER_OK);
    assert_int_equal(ingested(&again).code, WORKER_OK);
    assert_string_equal(rig_said(&r), "invoke 5@2");
    ask_ingest(&r, &q, 8, 6);
    fake_log_lose(&r.logs, 0, RS_ECLOSED, 9);
    rig_run(&r);
    assert_int_equal(ingested(&q).code, WORKER_LOST_LEADERSHIP);
    rig_close(&r);
}

static void rows_that_did_not_get_into_the_log_are_answered_when_the_lead_is_lost(void **state) {
    struct rig r;
    struct rig_question q;

    (void)state;
    open_cluster(&r);
    rig_lead(&r, 0);
    r.logs.logs[0].append_fails = RS_EAGAIN;
    ask_ingest(&r, &q, 7, 5);
    assert_int_equal(q.answers, 0);
    fake_log_lose(&r.logs, 0, RS_ECLOSED, 9);
    rig_run(&r);
    assert_int_equal(ingested(&q).code, WORKER_LOST_LEADERSHIP);
    assert_string_equal(rig_log(&r, 0, 1), "announce");
    rig_close(&r);
}

/* ---- the controller's words ---- */

static void words_of_the_controller_come_over_the_fabric(void **state) {
    struct rig r;
    struct worker_control_word words[] = {{0, (enum worker_command)9, 1}, {0, WORKER_LEAD, 1}, {7, WORKER_LEAD, 1}};

    (void)state;
    open_cluster(&r);
    rig_place(&r, 0, (uint32_t[]){1, 2}, 2);
    worker_control_send(r.peer, RIG_SELF, words, 1); /* no word that is known */
    rig_run(&r);
    assert_int_equal(rig_role(&r, 0), PARTITION_FOLLOWER);
    worker_control_send(r.peer, RIG_SELF, words, ARRAY_SIZE(words));
    rig_run(&r);
    assert_int_equal(rig_role(&r, 0), PARTITION_LEADER);
    worker_control_send(r.fabric, RIG_PEER, words, 1);
    rig_run(&r);
    assert_int_equal(r.words, 1);
    rig_close(&r);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(a_call_for_a_leader_elsewhere_is_answered_from_there),
    cmocka_unit_test(an_answer_that_is_pending_is_asked_for_again_with_the_same_id),
    cmocka_unit_test(who_does_not_lead_says_who_does),
    cmocka_unit_test(a_leader_that_does_not_lead_yet_is_asked_again),
    cmocka_unit_test(an_unknown_outcome_is_repeated_where_that_has_the_effect_of_once),
    cmocka_unit_test(what_certainly_did_not_happen_is_repeated_in_any_case),
    cmocka_unit_test(a_node_that_says_nothing_is_asked_again_after_a_deadline),
    cmocka_unit_test(a_newer_leader_is_asked_although_the_old_one_says_nothing),
    cmocka_unit_test(calls_wait_for_the_lead_that_this_node_has_claimed),
    cmocka_unit_test(an_answer_that_makes_no_sense_is_a_failure),
    cmocka_unit_test(a_call_waits_until_somebody_is_known_to_ask),
    cmocka_unit_test(waiting_calls_have_a_bound),
    cmocka_unit_test(whoever_waits_when_the_worker_stops_is_told),
    cmocka_unit_test(a_leader_serves_the_call_of_another_node),
    cmocka_unit_test(an_answer_without_an_id_says_none),
    cmocka_unit_test(who_does_not_lead_serves_nothing),
    cmocka_unit_test(a_call_that_takes_long_is_held_in_leases),
    cmocka_unit_test(a_call_that_is_made_again_with_its_id_replaces_the_one_that_waits),
    cmocka_unit_test(an_answer_that_nobody_waits_for_is_kept_for_a_while),
    cmocka_unit_test(a_lead_that_is_lost_leaves_the_outcome_of_served_calls_unknown),
    cmocka_unit_test(a_leader_that_is_full_sheds_calls_and_rows),
    cmocka_unit_test(a_call_under_the_id_of_one_that_was_made_here_is_refused),
    cmocka_unit_test(messages_that_are_none_are_refused),
    cmocka_unit_test(a_command_that_is_none_is_answered_as_unknown),
    cmocka_unit_test(a_worker_that_stops_drops_what_it_holds_for_others),
    cmocka_unit_test(rows_of_another_node_are_confirmed_when_they_are_applied_and_count_once),
    cmocka_unit_test(rows_that_did_not_get_into_the_log_are_answered_when_the_lead_is_lost),
    cmocka_unit_test(words_of_the_controller_come_over_the_fabric),
};
const struct unit_group peer_test_group = UNIT_GROUP(tests);
