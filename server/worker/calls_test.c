/* SPDX-License-Identifier: Apache-2.0 */
/* Calls of ingress and admin to a leader here, and their records on the way to the log. */
#include <jansson.h>
#include <string.h>

#include "proto/trace_context.h"
#include "tracing/tracer.h"
#include "worker/worker_rig.h"

static void open_one(struct rig *r) {
    rig_init(r);
    r->partitions = 1;
    rig_open(r);
}

/* Invocation @n, running, pinned at @protocol. */
static struct invocation_id running(struct rig *r, uint64_t n, uint32_t protocol) {
    struct invocation_id id = rig_id(r, 0, n);
    struct rig_call c;

    rig_submit(r, &c, id, 0, FX_DAY_MS);
    assert_int_equal(c.reply.code, WORKER_OK);
    RIG_EFFECTS(r, id, fx_pinned(protocol));
    return id;
}

static struct invocation_id completed(struct rig *r, uint64_t n) {
    struct invocation_id id = running(r, n, 6);

    RIG_EFFECTS(r, id, fx_output(&r->fx, "42"), fx_end());
    return id;
}

/* ---- one operation each; the answer's code ---- */

static enum worker_reply_code answered(struct rig *r, struct rig_call *c) {
    rig_run(r);
    assert_int_equal(c->answers, 1);
    return c->reply.code;
}

static enum worker_reply_code output(struct rig *r, struct rig_call *c, struct invocation_id id) {
    rig_call_init(c);
    worker_call_attach(r->worker, &c->c, &id, false);
    return answered(r, c);
}

static enum worker_reply_code terminate(struct rig *r, struct invocation_id id, int flavor) {
    struct rig_call c;

    rig_call_init(&c);
    worker_call_terminate(r->worker, &c.c, &id, flavor);
    return answered(r, &c);
}

static enum worker_reply_code purge(struct rig *r, struct invocation_id id, bool journal_only) {
    struct rig_call c;

    rig_call_init(&c);
    worker_call_purge(r->worker, &c.c, &id, journal_only);
    return answered(r, &c);
}

static enum worker_reply_code pause_it(struct rig *r, struct invocation_id id) {
    struct rig_call c;

    rig_call_init(&c);
    worker_call_pause(r->worker, &c.c, &id);
    return answered(r, &c);
}

static enum worker_reply_code resume(struct rig *r, struct invocation_id id, struct slice deployment) {
    struct rig_call c;

    rig_call_init(&c);
    worker_call_resume(r->worker, &c.c, &id, deployment);
    return answered(r, &c);
}

static enum worker_reply_code restart(struct rig *r, struct rig_call *c, struct invocation_id id, uint32_t from,
                                      struct slice deployment) {
    rig_call_init(c);
    worker_call_restart(r->worker, &c->c, &id, from, deployment);
    return answered(r, c);
}

/* ---- invoke, attach, output ---- */

static void the_second_submit_of_an_invocation_finds_the_first(void **state) {
    struct rig r;
    struct rig_call c;
    uint64_t at;

    (void)state;
    open_one(&r);
    at = loop_wall_ns(r.net->loop) / 1000000 + 1000;
    rig_submit(&r, &c, rig_id(&r, 0, 5), at, FX_DAY_MS);
    assert_true(c.reply.is_new);
    assert_int_equal(c.reply.execution_time_ms, at);
    rig_submit(&r, &c, rig_id(&r, 0, 5), 0, FX_DAY_MS);
    assert_int_equal(c.reply.code, WORKER_OK);
    assert_false(c.reply.is_new);
    rig_close(&r);
}

static void whoever_attaches_gets_the_result_with_whoever_called(void **state) {
    struct rig r;
    struct rig_call c, d, e;
    struct invocation_id id;

    (void)state;
    open_one(&r);
    id = rig_id(&r, 0, 5);
    rig_invoke(&r, &c, id);
    rig_call_init(&d);
    worker_call_attach(r.worker, &d.c, &id, true);
    rig_run(&r);
    rig_call_init(&e);
    worker_call_attach(r.worker, &e.c, &id, true);
    rig_run(&r);
    worker_call_drop(r.worker, &e.c); /* its client went away */
    worker_call_drop(r.worker, &e.c); /* a second time: nothing */
    RIG_EFFECTS(&r, id, fx_pinned(6), fx_output(&r.fx, "42"), fx_end());
    assert_int_equal(c.answers + d.answers, 2);
    assert_string_equal(c.value, "42");
    assert_string_equal(d.value, "42");
    assert_int_equal(e.answers, 0);
    rig_close(&r);
}

static void the_output_is_looked_up_and_never_waited_for(void **state) {
    struct rig r;
    struct rig_call c;
    struct invocation_id id;
    lsn_t n;

    (void)state;
    open_one(&r);
    assert_int_equal(output(&r, &c, rig_id(&r, 0, 5)), WORKER_NOT_FOUND);
    id = running(&r, 5, 6);
    n = r.logs.logs[0].n;
    assert_int_equal(output(&r, &c, id), WORKER_NOT_READY);
    assert_int_equal(r.logs.logs[0].n, n); /* without a record */
    RIG_EFFECTS(&r, id, fx_output(&r.fx, "42"), fx_end());
    assert_int_equal(output(&r, &c, id), WORKER_OK);
    assert_string_equal(c.value, "42");
    assert_int_equal(c.reply.expiry_ms, loop_wall_ns(r.net->loop) / 1000000 + FX_DAY_MS);
    rig_close(&r);
}

static void a_look_at_the_output_whose_caller_went_away_is_given_up(void **state) {
    struct rig r;
    struct rig_call c;
    struct invocation_id id;

    (void)state;
    open_one(&r);
    id = completed(&r, 5);
    rig_call_init(&c);
    worker_call_attach(r.worker, &c.c, &id, false);
    worker_call_drop(r.worker, &c.c);
    rig_run(&r);
    assert_int_equal(c.answers, 0);
    rig_close(&r);
}

static void a_result_that_cannot_be_read_fails_its_caller_only(void **state) {
    struct rig r;
    struct rig_call c;
    struct invocation_id id;

    (void)state;
    open_one(&r);
    id = completed(&r, 5);
    rig_stop(&r);
    rig_open(&r); /* its rows are on disk only */
    sim_disk_cold(r.disk, 1000000);
    assert_int_equal(output(&r, &c, id), WORKER_OK);
    rig_stop(&r);
    rig_open(&r);
    sim_disk_fault(r.disk, SIM_FAULT_READ_CORRUPT, NULL, 0, UINT64_MAX);
    assert_int_equal(output(&r, &c, id), WORKER_FAILED);
    assert_true(strlen(c.message) > 0);
    assert_int_equal(rig_role(&r, 0), PARTITION_LEADER);
    sim_disk_fault(r.disk, SIM_FAULT_NONE, NULL, 0, 0);
    rig_close(&r);
}

/* ---- signals and state ---- */

static void a_signal_is_answered_when_it_is_committed(void **state) {
    struct rig r;
    struct rig_call c, gone;
    struct invocation_id id;
    struct cmd_result ok = {.value = SLICE_LIT("x")};
    struct cmd_signal m = {.index = 17, .result = &ok};
    struct record_view record;

    (void)state;
    open_one(&r);
    id = running(&r, 5, 6);
    m.target = invocation_id_slice(&id);
    r.logs.logs[0].hold = true;
    rig_call_init(&c);
    worker_call_signal(r.worker, &c.c, &m);
    rig_run(&r);
    rig_call_init(&gone);
    worker_call_signal(r.worker, &gone.c, &m);
    rig_run(&r);
    worker_call_drop(r.worker, &gone.c);
    assert_int_equal(c.answers, 0);
    assert_int_equal(record_view(bytes_slice(r.logs.logs[0].records[r.logs.logs[0].n - 1]), &record, NULL), 0);
    assert_int_equal(record.header.dedup, RECORD_DEDUP_NONE); /* a new leader's epoch does not fence it */
    fake_log_commit(&r.logs, 0, 1);
    assert_int_equal(answered(&r, &c), WORKER_OK);
    fake_log_commit(&r.logs, 0, 1);
    rig_run(&r);
    assert_int_equal(gone.answers, 0);
    rig_close(&r);
}

static void a_state_patch_is_answered_when_it_is_committed(void **state) {
    struct rig r;
    struct rig_call c;
    struct cmd_state_entry e = {.key = SLICE_LIT("n"), .value = SLICE_LIT("1")};
    struct cmd_patch_state m = {.service = SLICE_LIT("S"), .key = SLICE_LIT("k"), .entries = &e, .n_entries = 1};

    (void)state;
    open_one(&r);
    rig_call_init(&c);
    worker_call_patch_state(r.worker, &c.c, &m);
    assert_int_equal(answered(&r, &c), WORKER_OK);
    rig_close(&r);
}

/* ---- operations ---- */

static void each_outcome_of_an_operation_has_its_code(void **state) {
    struct rig r;
    struct invocation_id none, scheduled, run, done;
    struct rig_call c;

    (void)state;
    open_one(&r);
    none = rig_id(&r, 0, 99);
    scheduled = rig_id(&r, 0, 1);
    rig_submit(&r, &c, scheduled, UINT64_MAX / 2, FX_DAY_MS);
    run = running(&r, 2, 6);
    done = completed(&r, 3);

    assert_int_equal(terminate(&r, none, TERMINATE_CANCEL), WORKER_NOT_FOUND);
    assert_int_equal(terminate(&r, done, TERMINATE_KILL), WORKER_ALREADY_COMPLETED);
    assert_int_equal(terminate(&r, run, TERMINATE_CANCEL), WORKER_APPENDED);
    assert_int_equal(pause_it(&r, none), WORKER_NOT_FOUND);
    assert_int_equal(pause_it(&r, done), WORKER_NOT_RUNNING);
    assert_int_equal(resume(&r, scheduled, SLICE_NULL), WORKER_NOT_STARTED);
    assert_int_equal(resume(&r, done, SLICE_NULL), WORKER_ALREADY_COMPLETED);
    assert_int_equal(pause_it(&r, run), WORKER_OK);
    assert_int_equal(pause_it(&r, run), WORKER_ALREADY_PAUSED);
    assert_int_equal(resume(&r, run, SLICE_NULL), WORKER_OK);
    assert_int_equal(purge(&r, none, false), WORKER_NOT_FOUND);
    assert_int_equal(purge(&r, run, false), WORKER_NOT_COMPLETED);
    assert_int_equal(purge(&r, run, true), WORKER_NOT_COMPLETED);
    assert_int_equal(restart(&r, &c, run, 0, SLICE_NULL), WORKER_STILL_RUNNING);
    assert_int_equal(restart(&r, &c, done, 99, SLICE_NULL), WORKER_INDEX_OUT_OF_RANGE);
    assert_int_equal(restart(&r, &c, done, 0, SLICE_LIT("keep")), WORKER_OK);
    assert_int_equal(rig_status(&r, c.reply.id), INV_INVOKED);
    assert_int_equal(invocation_id_pk(&c.reply.id), invocation_id_pk(&done));
    assert_int_equal(restart(&r, &c, done, 0, SLICE_NULL), WORKER_DEPLOYMENT_NOT_FOUND); /* there is no "latest" */
    assert_int_equal(purge(&r, done, true), WORKER_OK);
    assert_int_equal(restart(&r, &c, done, 0, SLICE_LIT("keep")), WORKER_MISSING_INPUT);
    assert_int_equal(purge(&r, done, false), WORKER_OK);
    assert_int_equal(terminate(&r, scheduled, TERMINATE_CANCEL), WORKER_OK);
    rig_close(&r);
}

static void a_prefix_whose_completion_is_missing_cannot_be_restarted(void **state) {
    struct rig r;
    struct invocation_id id;
    struct rig_call c;

    (void)state;
    open_one(&r);
    id = running(&r, 2, 6);
    RIG_EFFECTS(
        &r, id,
        fx_command(SP_SLEEP, SP_BYTES(&r.fx, sleep, .wake_up_time_ms = UINT64_MAX / 2, .result_completion_id = 1)),
        fx_output(&r.fx, "x"), fx_end());
    assert_int_equal(restart(&r, &c, id, 1, SLICE_LIT("keep")), WORKER_PREFIX_INCOMPLETE);
    rig_close(&r);
}

static void the_attempt_is_cut_only_when_the_pause_is_committed(void **state) {
    struct rig r;
    struct rig_call c;
    struct invocation_id id;

    (void)state;
    open_one(&r);
    id = running(&r, 5, 6);
    (void)rig_said(&r);
    r.logs.logs[0].hold = true;
    rig_call_init(&c);
    worker_call_pause(r.worker, &c.c, &id);
    rig_run(&r);
    assert_string_equal(rig_said(&r), "");
    RIG_EFFECTS(&r, id, fx_output(&r.fx, "straggler"), fx_end()); /* behind the pause in the log */
    fake_log_lose(&r.logs, 0, RS_ECLOSED, 1);                     /* neither of them happened */
    r.logs.logs[0].hold = false;
    rig_run(&r);
    assert_string_equal(rig_said(&r), "abort-all invoke 5@0 abort 5"); /* the pause came again */
    assert_int_equal(rig_status(&r, id), INV_PAUSED);
    assert_int_equal(answered(&r, &c), WORKER_OK);
    RIG_EFFECTS(&r, id, fx_output(&r.fx, "straggler"), fx_end());
    assert_int_equal(rig_status(&r, id), INV_PAUSED);
    rig_close(&r);
}

/* ---- deployments of resume and restart ---- */

static const char manifest[] = "{\"protocolMode\":\"BIDI_STREAM\",\"minProtocolVersion\":6,\"maxProtocolVersion\":6,"
                               "\"services\":[{\"name\":\"S\",\"ty\":\"SERVICE\",\"handlers\":[{\"name\":\"h\"}]}]}";

/* Two, both with service "S": the second one is the latest. */
static void register_deployments(struct rig *r) {
    static const char *const ids[] = {"dp_10000000000000000000001", "dp_10000000000000000000002"};
    static const char *const uris[] = {"http://s1:9080/", "http://s2:9080/"};
    json_t *m = json_loads(manifest, 0, NULL);

    for (uint32_t i = 0; i < ARRAY_SIZE(ids); i++) {
        struct schema_registration reg = {.id = ids[i],
                                          .uri = uris[i],
                                          .created_at = "2026-11-22T00:00:00.000000000Z",
                                          .http = DEPLOYMENT_HTTP2,
                                          .sdk_version = "x/1",
                                          .manifest = m};
        struct schema_refusal why;
        struct bytes *value;
        struct err err = {0};
        json_t *root;
        char *text;

        if (schema_plan_register(worker_schema(r->worker), &reg, &root, &why, &err) < 0)
            fail_msg("%s", err.msg);
        text = json_dumps(root, JSON_COMPACT);
        value = bytes_copy(slice_str(text));
        meta_publish(&r->meta->m, META_KEY_SCHEMA, i + 1, value);
        (void)bytes_unref(value);
        free(text);
        json_decref(root);
        rig_run(r);
        assert_int_equal(r->invoker.schema_version, i + 1);
    }
    json_decref(m);
}

static void the_deployment_of_a_resume_is_looked_up_by_the_leader(void **state) {
    static const struct {
        const char *wanted, *deployment;
        enum worker_reply_code code;
        uint32_t protocol;
    } rows[] = {
        {"", "dp_one", WORKER_OK, 6},
        {"keep", "dp_one", WORKER_OK, 6},
        {"Keep", "dp_one", WORKER_OK, 6},
        {"latest", "dp_10000000000000000000002", WORKER_OK, 6},
        {"Latest", "dp_10000000000000000000002", WORKER_OK, 6},
        {"dp_10000000000000000000001", "dp_10000000000000000000001", WORKER_OK, 6},
        {"dp_1none", "dp_one", WORKER_DEPLOYMENT_NOT_FOUND, 6},
        {"\xff", "dp_one", WORKER_DEPLOYMENT_NOT_FOUND, 6},
        {"dp_10000000000000000000001", "dp_one", WORKER_INCOMPATIBLE_DEPLOYMENT, 5},
    };
    struct rig r;
    struct rig_call c;

    (void)state;
    open_one(&r);
    register_deployments(&r);
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct invocation_id id = running(&r, i, rows[i].protocol);
        struct inv_header h;
        struct partition *p = rig_partition(&r, 0);

        assert_int_equal(pause_it(&r, id), WORKER_OK);
        if (resume(&r, id, slice_str(rows[i].wanted)) != rows[i].code)
            fail_msg("row %zu", i);
        assert_int_equal(tables_status(&p->rows, &id, &r.fx.scratch, &h, NULL), 0);
        assert_true(slice_eq_str(h.deployment, rows[i].deployment));
    }
    assert_int_equal(resume(&r, rig_id(&r, 0, 99), SLICE_LIT("latest")), WORKER_NOT_FOUND);
    rig_submit(&r, &c, rig_id(&r, 0, 50), 0, FX_DAY_MS); /* not pinned yet: it takes the latest anyhow, and no other */
    assert_int_equal(pause_it(&r, rig_id(&r, 0, 50)), WORKER_OK);
    assert_int_equal(resume(&r, rig_id(&r, 0, 50), SLICE_LIT("dp_10000000000000000000001")),
                     WORKER_CANNOT_CHANGE_DEPLOYMENT);
    assert_int_equal(resume(&r, rig_id(&r, 0, 50), SLICE_LIT("latest")), WORKER_OK);
    rig_close(&r);
}

static void the_deployment_of_a_restart_is_looked_up_by_the_leader(void **state) {
    struct rig r;
    struct rig_call c;
    struct invocation_id id, run;

    (void)state;
    open_one(&r);
    register_deployments(&r);
    id = completed(&r, 5);
    assert_int_equal(restart(&r, &c, id, 0, SLICE_LIT("dp_10000000000000000000001")), WORKER_OK);
    assert_int_equal(restart(&r, &c, id, 0, SLICE_LIT("dp_1none")), WORKER_DEPLOYMENT_NOT_FOUND);
    run = running(&r, 6, 6);
    assert_int_equal(resume(&r, run, SLICE_LIT("dp_10000000000000000000001")), WORKER_CANNOT_CHANGE_DEPLOYMENT);
    rig_stop(&r);
    rig_open(&r);
    sim_disk_cold(r.disk, 1000000); /* the service is read from its row first */
    assert_int_equal(restart(&r, &c, id, 0, SLICE_LIT("latest")), WORKER_OK);
    rig_close(&r);
}

static void a_schema_that_cannot_be_read_leaves_the_one_before(void **state) {
    struct rig r;
    struct bytes *value = bytes_copy(SLICE_LIT("{"));

    (void)state;
    open_one(&r);
    register_deployments(&r);
    meta_publish(&r.meta->m, META_KEY_SCHEMA, 3, value);
    (void)bytes_unref(value);
    rig_run(&r);
    assert_int_equal(r.invoker.schema_version, 2);
    assert_int_equal(worker_schema(r.worker)->n_deployments, 2);
    rig_close(&r);
}

/* ---- tracing ---- */

static int send_nowhere(void *self, struct slice request, struct err *err) {
    return 0;
}
static void no_sender(void *self) {}
static void on_closed(void *arg) {
    *(bool *)arg = true;
}

static void the_leader_reports_start_and_end_of_what_is_traced(void **state) {
    struct rig r;
    struct rig_call c;
    struct tracer_params tp;
    struct tracer *tracer;
    struct tracer_stats stats;
    struct trace_context context;
    struct cmd_target target = {.type = TARGET_SERVICE, .service = SLICE_LIT("S"), .handler = SLICE_LIT("h")};
    _cleanup_buf_ struct buf trace = {0};
    bool closed = false;

    (void)state;
    rig_init(&r);
    tp = (struct tracer_params){
        .loop = r.net->loop, .exec = &r.exec, .sender = {.send = send_nowhere, .cancel = no_sender, .free = no_sender}};
    tracer = tracer_new(&tp);
    tracer_begin(tracer, &context);
    trace_context_encode(&context, &trace);
    for (unsigned with = 0; with < 2; with++) {
        struct invocation_id id;
        struct cmd_invoke cmd = {.target = &target};

        r.params.tracer = with ? tracer : NULL;
        rig_open(&r);
        for (unsigned traced = 0; traced < 2; traced++) {
            id = rig_id(&r, 0, 10 * with + traced);
            cmd.id = invocation_id_slice(&id);
            cmd.trace = traced ? buf_slice(&trace) : SLICE_NULL;
            rig_call_init(&c);
            worker_call_invoke(r.worker, &c.c, &cmd, false);
            rig_run(&r);
            tracer_stats(tracer, &stats);
            assert_int_equal(stats.spans, with && traced ? 1 : 0);
            RIG_EFFECTS(&r, id, fx_pinned(6), fx_output(&r.fx, "x"), fx_end());
            tracer_stats(tracer, &stats);
            assert_int_equal(stats.spans, with && traced ? 2 : 0);
        }
        rig_stop(&r);
    }
    tracer_close(tracer, 0, on_closed, &closed);
    rig_run(&r);
    assert_true(closed);
    rig_close(&r);
}

/* ---- records on their way to the log ---- */

static void all_that_is_proposed_in_one_turn_is_one_append(void **state) {
    struct rig r;
    struct rig_call c[3];
    struct cmd_target target = {.type = TARGET_SERVICE, .service = SLICE_LIT("S"), .handler = SLICE_LIT("h")};
    unsigned before;
    uint64_t last = 0;

    (void)state;
    open_one(&r);
    before = r.logs.logs[0].appends;
    for (uint64_t n = 0; n < 3; n++) {
        struct invocation_id id = rig_id(&r, 0, n);
        struct cmd_invoke cmd = {.id = invocation_id_slice(&id), .target = &target};

        rig_call_init(&c[n]);
        worker_call_invoke(r.worker, &c[n].c, &cmd, false);
    }
    rig_run(&r);
    assert_int_equal(r.logs.logs[0].appends - before, 1);
    assert_string_equal(rig_log(&r, 0, 1), "announce invoke invoke invoke");
    for (size_t i = 0; i < 4; i++) { /* the clock stands still, their times do not */
        struct record_view v;

        assert_int_equal(record_view(bytes_slice(r.logs.logs[0].records[i]), &v, NULL), 0);
        assert_true(v.header.created_at_ns > last);
        last = v.header.created_at_ns;
    }
    rig_close(&r);
}

static void effects_of(struct rig *r, size_t bytes, unsigned n) {
    struct invoker_owner *o = &rig_partition(r, 0)->owner;
    struct invocation_id id = rig_id(r, 0, 5);
    uint8_t *big = xcalloc(1, bytes);

    for (unsigned i = 0; i < n; i++)
        o->effects(o, &id, 0, &(struct cmd_effect){.kind = EFFECT_COMMAND, .payload = slice_of(big, bytes)}, 1);
    free(big);
}

static void an_append_has_bounds_in_records_and_bytes(void **state) {
    struct rig r;
    unsigned before;

    (void)state;
    open_one(&r);
    before = r.logs.logs[0].appends;
    effects_of(&r, 10, LIMIT_BATCH_RECORDS + 1);
    rig_run(&r);
    assert_int_equal(r.logs.logs[0].appends - before, 2);
    before = r.logs.logs[0].appends;
    effects_of(&r, LIMIT_BATCH_BYTES * 2, 1); /* a larger one goes alone */
    effects_of(&r, 10, 1);
    rig_run(&r);
    assert_int_equal(r.logs.logs[0].appends - before, 2);
    before = r.logs.logs[0].appends;
    effects_of(&r, LIMIT_BATCH_BYTES / 2, 3);
    rig_run(&r);
    assert_int_equal(r.logs.logs[0].appends - before, 3); /* a header each is too much for two */
    rig_close(&r);
}

static void what_a_full_log_refuses_goes_when_it_has_room_in_the_same_order(void **state) {
    struct rig r;
    struct rig_call c, d;

    (void)state;
    open_one(&r);
    r.logs.logs[0].append_fails = RS_EAGAIN;
    rig_submit(&r, &c, rig_id(&r, 0, 5), 0, 0);
    rig_submit(&r, &d, rig_id(&r, 0, 6), 0, 0);
    assert_int_equal(r.logs.logs[0].n, 1);
    r.logs.logs[0].append_fails = 0;
    fake_log_writable(&r.logs, 0);
    rig_run(&r);
    assert_string_equal(rig_said(&r), "invoke 5@2 invoke 6@3");
    rig_close(&r);
}

static void a_full_queue_stops_its_sources_until_most_of_it_is_gone(void **state) {
    struct rig r;
    struct invoker_owner *o;

    (void)state;
    open_one(&r);
    o = &rig_partition(&r, 0)->owner;
    assert_true(o->writable(o));
    r.logs.logs[0].append_fails = RS_EAGAIN;
    effects_of(&r, 16 << 20, 4);
    rig_run(&r);
    assert_false(o->writable(o));
    assert_false(worker_writable(r.worker));
    assert_string_equal(rig_said(&r), "");
    r.logs.logs[0].append_fails = 0;
    fake_log_writable(&r.logs, 0);
    rig_run(&r);
    assert_true(worker_writable(r.worker));
    assert_string_equal(rig_said(&r), "abort 5 abort 5 abort 5 abort 5 writable"); /* there is no such invocation */
    rig_close(&r);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(the_second_submit_of_an_invocation_finds_the_first),
    cmocka_unit_test(whoever_attaches_gets_the_result_with_whoever_called),
    cmocka_unit_test(the_output_is_looked_up_and_never_waited_for),
    cmocka_unit_test(a_look_at_the_output_whose_caller_went_away_is_given_up),
    cmocka_unit_test(a_result_that_cannot_be_read_fails_its_caller_only),
    cmocka_unit_test(a_signal_is_answered_when_it_is_committed),
    cmocka_unit_test(a_state_patch_is_answered_when_it_is_committed),
    cmocka_unit_test(each_outcome_of_an_operation_has_its_code),
    cmocka_unit_test(a_prefix_whose_completion_is_missing_cannot_be_restarted),
    cmocka_unit_test(the_attempt_is_cut_only_when_the_pause_is_committed),
    cmocka_unit_test(the_deployment_of_a_resume_is_looked_up_by_the_leader),
    cmocka_unit_test(the_deployment_of_a_restart_is_looked_up_by_the_leader),
    cmocka_unit_test(a_schema_that_cannot_be_read_leaves_the_one_before),
    cmocka_unit_test(the_leader_reports_start_and_end_of_what_is_traced),
    cmocka_unit_test(all_that_is_proposed_in_one_turn_is_one_append),
    cmocka_unit_test(an_append_has_bounds_in_records_and_bytes),
    cmocka_unit_test(what_a_full_log_refuses_goes_when_it_has_room_in_the_same_order),
    cmocka_unit_test(a_full_queue_stops_its_sources_until_most_of_it_is_gone),
};
const struct unit_group calls_test_group = UNIT_GROUP(tests);
