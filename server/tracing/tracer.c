/* SPDX-License-Identifier: Apache-2.0 */
#include "tracing/tracer.h"
#include "base/logging.h"

struct tracer {
    struct tracer_params p;
    struct buf spans; /* not sent yet */
    struct buf request;
    struct timer timer;
    struct job job;
    bool sending, closing, cancelled, complained;
    int status; /* of the last batch */
    struct err err;
    struct tracer_stats stats;
    uint64_t in_batch; /* spans of the batch under way */
    uint64_t waiting;  /* spans in @spans */
    void (*closed)(void *arg);
    void *closed_arg;
};

static void run(struct job *j) {
    struct tracer *t = CONTAINER_OF(j, struct tracer, job);

    t->status = t->p.sender.send(t->p.sender.self, buf_slice(&t->request), &t->err);
}

static void send_batch(struct tracer *t);

static void finish(struct tracer *t) {
    void (*closed)(void *arg) = t->closed;
    void *arg = t->closed_arg;

    timer_stop(t->p.loop, &t->timer);
    t->p.sender.free(t->p.sender.self);
    buf_done(&t->spans);
    buf_done(&t->request);
    free(t);
    if (closed)
        closed(arg);
}

static void sent(struct job *j) {
    struct tracer *t = CONTAINER_OF(j, struct tracer, job);

    t->sending = false;
    t->stats.batches++;
    if (t->status < 0) {
        t->stats.failed_batches++;
        t->stats.dropped += t->in_batch;
        if (!t->complained) /* once: until it works again, the next ones fail for the same reason */
            LOG_WARN_ERR(&t->err, "traces cannot be delivered", F_U64("spans", t->in_batch));
    }
    t->complained = t->status < 0;
    if (t->cancelled || (t->closing && t->spans.len == 0))
        finish(t);
    else if (t->closing || t->spans.len >= TRACER_BATCH_BYTES)
        send_batch(t);
}

static void send_batch(struct tracer *t) {
    if (t->sending || t->spans.len == 0)
        return;
    if (!t->closing)
        timer_stop(t->p.loop, &t->timer);
    buf_clear(&t->request);
    otlp_put_request(&t->request, t->p.resource, t->p.n_resource, buf_slice(&t->spans));
    buf_clear(&t->spans);
    t->in_batch = t->waiting;
    t->waiting = 0;
    t->sending = true;
    exec_submit(t->p.exec, t->p.loop, &t->job);
}

static void on_timer(void *arg) {
    struct tracer *t = arg;

    if (t->closing) {
        t->cancelled = true;
        t->p.sender.cancel(t->p.sender.self);
    } else if (t->sending) { /* the next look is after another interval */
        timer_set(t->p.loop, &t->timer, TRACER_INTERVAL_NS);
    } else {
        send_batch(t);
    }
}

struct tracer *tracer_new(const struct tracer_params *p) {
    struct tracer *t = xnew(struct tracer);

    t->p = *p;
    t->job = (struct job){.run = run, .done = sent};
    timer_init(&t->timer, on_timer, t);
    return t;
}

static void finish_later(void *arg) {
    finish(arg);
}

void tracer_close(struct tracer *t, uint64_t grace_ns, void (*done)(void *arg), void *arg) {
    t->closing = true;
    t->closed = done;
    t->closed_arg = arg;
    send_batch(t);
    if (t->sending)
        timer_set(t->p.loop, &t->timer, grace_ns);
    else
        loop_post(t->p.loop, finish_later, t);
}

void tracer_span(struct tracer *t, const struct otlp_span *s) {
    ASSERT(loop_is_current(t->p.loop));
    if (!(s->context.flags & TRACE_FLAG_SAMPLED))
        return;
    t->stats.spans++;
    if (t->closing || t->spans.len >= TRACER_QUEUE_BYTES) {
        t->stats.dropped++;
        return;
    }
    otlp_put_span(&t->spans, s);
    t->waiting++;
    if (t->spans.len >= TRACER_BATCH_BYTES)
        send_batch(t);
    if (t->spans.len && !timer_armed(&t->timer))
        timer_set(t->p.loop, &t->timer, TRACER_INTERVAL_NS);
}

void tracer_new_span(struct tracer *t, uint8_t ret[SPAN_ID_BYTES]) {
    do
        loop_random(t->p.loop, ret, SPAN_ID_BYTES);
    while (!trace_has_span(ret));
}

void tracer_begin(struct tracer *t, struct trace_context *ret) {
    *ret = (struct trace_context){.flags = TRACE_FLAG_SAMPLED};
    loop_random(t->p.loop, ret->trace, TRACE_ID_BYTES);
    ret->trace[TRACE_ID_BYTES - 1] |= 1; /* never all zero */
}

uint64_t tracer_wall_ns(const struct tracer *t) {
    return loop_wall_ns(t->p.loop);
}

void tracer_stats(const struct tracer *t, struct tracer_stats *ret) {
    *ret = t->stats;
}
