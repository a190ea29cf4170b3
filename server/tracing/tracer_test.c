/* SPDX-License-Identifier: Apache-2.0 */
#include "unit.h"

#include "tracing/spans.h"

/* A loop with a clock that the test moves, an executor that runs a job when the test says so, a sender that counts. */
struct world {
    struct exec exec;
    struct loop *loop;
    struct tracer *tracer;
    struct job *job; /* submitted, not run */
    uint64_t now_ns;
    unsigned sent, freed, closed, cancelled;
    int status;
    size_t bytes;
    struct buf last;
};

static uint64_t now(void *arg) {
    return ((struct world *)arg)->now_ns;
}

static void random_bytes(void *arg, void *buf, size_t len) {
    (void)arg;
    memset(buf, 0x5a, len);
}

static void submit(struct exec *e, struct job *j) {
    struct world *w = CONTAINER_OF(e, struct world, exec);

    assert_null(w->job); /* one batch at a time */
    w->job = j;
}

static void exec_nothing(struct exec *e) {
    (void)e;
}

static int count(void *self, struct slice request, struct err *err) {
    struct world *w = self;

    w->sent++;
    w->bytes += request.len;
    buf_clear(&w->last);
    buf_put_slice(&w->last, request);
    return w->status < 0 ? err_set(err, w->status, "the collector is away") : 0;
}

static void cancel(void *self) {
    ((struct world *)self)->cancelled++;
}

static void free_sender(void *self) {
    ((struct world *)self)->freed++;
}

static void on_closed(void *arg) {
    ((struct world *)arg)->closed++;
}

static void turn(struct world *w, uint64_t ns) {
    w->now_ns += ns;
    while (loop_turn(w->loop))
        ;
}

static void run_job(struct world *w) {
    struct job *j = w->job;

    assert_non_null(j);
    w->job = NULL;
    j->run(j);
    j->done(j);
}

static void setup(struct world *w) {
    static const struct exec_ops ops = {submit, exec_nothing};
    struct loop_env env = {now, now, random_bytes, w};
    struct tracer_params p;

    *w = (struct world){.exec = {&ops}, .now_ns = 1000000000};
    w->loop = loop_new_driven(&env);
    p = (struct tracer_params){
        .loop = w->loop, .exec = &w->exec, .sender = {.send = count, .cancel = cancel, .free = free_sender, .self = w}};
    w->tracer = tracer_new(&p);
}

static void done(struct world *w) {
    assert_int_equal(w->freed, 1);
    assert_int_equal(w->closed, 1);
    (void)loop_free(w->loop);
    buf_done(&w->last);
}

static void span(struct world *w) {
    struct otlp_span s = {.name = "x"};

    tracer_begin(w->tracer, &s.context);
    tracer_new_span(w->tracer, s.id);
    tracer_span(w->tracer, &s);
}

static void spans_go_out_together_after_a_while(void **state) {
    struct world w;

    (void)state;
    setup(&w);
    span(&w);
    span(&w);
    turn(&w, 0);
    assert_null(w.job);
    turn(&w, TRACER_INTERVAL_NS);
    run_job(&w);
    assert_int_equal(w.sent, 1);
    turn(&w, TRACER_INTERVAL_NS * 3);
    assert_null(w.job); /* nothing new, nothing to do */
    tracer_close(w.tracer, 0, on_closed, &w);
    turn(&w, 0);
    done(&w);
}

static void a_slow_collector_costs_spans_and_no_memory(void **state) {
    struct tracer_stats st;
    struct world w;
    unsigned n = 0;

    (void)state;
    setup(&w);
    for (st.dropped = 0; st.dropped < 10; n++) { /* the first batch is under way all the time */
        span(&w);
        tracer_stats(w.tracer, &st);
    }
    assert_int_equal(st.spans, n);
    assert_true(n < (TRACER_QUEUE_BYTES + TRACER_BATCH_BYTES) / 40 + 20);
    run_job(&w);
    assert_true(w.bytes >= TRACER_BATCH_BYTES && w.bytes < TRACER_BATCH_BYTES + 4096);
    run_job(&w); /* the queue follows at once */
    assert_true(w.bytes > TRACER_QUEUE_BYTES);
    tracer_close(w.tracer, 0, on_closed, &w);
    turn(&w, 0);
    done(&w);
}

static void a_batch_that_fails_is_counted_and_gone(void **state) {
    struct tracer_stats st;
    struct world w;

    (void)state;
    setup(&w);
    w.status = RS_EIO;
    span(&w);
    turn(&w, TRACER_INTERVAL_NS);
    run_job(&w);
    tracer_stats(w.tracer, &st);
    assert_int_equal(st.failed_batches, 1);
    assert_int_equal(st.dropped, 1);
    tracer_close(w.tracer, 0, on_closed, &w);
    turn(&w, 0);
    done(&w);
}

static void closing_sends_what_is_there_but_not_for_ever(void **state) {
    struct world w;

    (void)state;
    setup(&w);
    span(&w);
    tracer_close(w.tracer, 1000, on_closed, &w);
    turn(&w, 500);
    assert_int_equal(w.cancelled, 0);
    turn(&w, 501);
    assert_int_equal(w.cancelled, 1);
    assert_int_equal(w.closed, 0); /* until the sender returns */
    run_job(&w);
    done(&w);
}

static void contexts_that_are_not_sampled_are_not_reported(void **state) {
    struct otlp_span s = {.name = "x"};
    struct tracer_stats st;
    struct world w;

    (void)state;
    setup(&w);
    tracer_begin(w.tracer, &s.context);
    s.context.flags = 0;
    tracer_span(w.tracer, &s);
    tracer_stats(w.tracer, &st);
    assert_int_equal(st.spans, 0);
    tracer_close(w.tracer, 0, on_closed, &w);
    turn(&w, 0);
    done(&w);
}

static bool contains(const struct buf *b, const char *text) {
    return memmem(b->data, b->len, text, strlen(text)) != NULL;
}

static void an_invocation_has_three_kinds_of_spans(void **state) {
    struct invocation_id id = {{1, 2, 3}};
    struct trace_invocation i = {&id, SLICE_LIT("Counter"), SLICE_LIT("k"), SLICE_LIT("add")};
    char parent[TRACE_PARENT_CHARS + 1], id_text[INVOCATION_ID_CHARS + 1];
    _cleanup_buf_ struct buf context = {0};
    struct trace_context c = {.trace = {0xab}, .flags = 1, .state = SLICE_LIT("v=1")};
    struct trace_attempt *a;
    struct slice ts;
    struct world w;

    (void)state;
    setup(&w);
    trace_context_encode(&c, &context);
    trace_invocation_start(w.tracer, buf_slice(&context), &i, 7);
    a = trace_attempt_new(w.tracer, buf_slice(&context), &id);
    trace_attempt_parent(a, parent, &ts);
    assert_string_equal(parent, "00-ab000000000000000000000000000000-5a5a5a5a5a5a5a5a-01");
    assert_true(slice_eq_str(ts, "v=1"));
    trace_attempt_end(w.tracer, a, &i, "dp_1", 6, "[500] it broke");
    trace_invocation_end(w.tracer, buf_slice(&context), &i, 7, 404);
    trace_invocation_start(w.tracer, SLICE_LIT("short"), &i, 7); /* not a context: nothing */
    assert_null(trace_attempt_new(w.tracer, SLICE_LIT("short"), &id));
    tracer_close(w.tracer, 0, on_closed, &w);
    turn(&w, 0);
    run_job(&w);
    invocation_id_format(&id, id_text);
    assert_true(contains(&w.last, "invocation-start"));
    assert_true(contains(&w.last, "invocation-attempt"));
    assert_true(contains(&w.last, "invocation-end"));
    assert_true(contains(&w.last, "Counter/k/add"));
    assert_true(contains(&w.last, id_text));
    assert_true(contains(&w.last, "dp_1"));
    assert_true(contains(&w.last, "[500] it broke"));
    assert_true(contains(&w.last, "404"));
    done(&w);
}

static void endpoints_are_checked(void **state) {
    static const struct {
        const char *endpoint;
        int status;
    } rows[] = {{"otlp+http://c:4318/v1/traces", 0}, {"http://c:4318", 0},           {"https://c/", 0},
                {"otlp+http://", RS_EINVAL},         {"otlp+http:///v1", RS_EINVAL}, {"c:4318", RS_EINVAL}};

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct trace_http_params p = {.endpoint = rows[i].endpoint};
        struct trace_sender s;

        assert_int_equal(trace_http_new(&p, &s, NULL), rows[i].status);
        if (rows[i].status == 0)
            s.free(s.self);
    }
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(spans_go_out_together_after_a_while),
    cmocka_unit_test(a_slow_collector_costs_spans_and_no_memory),
    cmocka_unit_test(a_batch_that_fails_is_counted_and_gone),
    cmocka_unit_test(closing_sends_what_is_there_but_not_for_ever),
    cmocka_unit_test(contexts_that_are_not_sampled_are_not_reported),
    cmocka_unit_test(an_invocation_has_three_kinds_of_spans),
    cmocka_unit_test(endpoints_are_checked),
};
const struct unit_group tracer_test_group = UNIT_GROUP(tests);
