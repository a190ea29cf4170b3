/* SPDX-License-Identifier: Apache-2.0 */
#include "tracing/spans.h"

#include <stdio.h>

struct trace_attempt {
    struct trace_context context; /* .span: the invocation's, .state: behind the struct */
    uint8_t id[SPAN_ID_BYTES];
    uint64_t start_ns;
    uint8_t state[];
};

enum { N_COMMON = 5 };

/* What all spans of an invocation say: rpc.* as the conventions of OpenTelemetry have them. */
struct common {
    struct otlp_attribute a[N_COMMON + 3];
    size_t n;
    char id[INVOCATION_ID_CHARS + 1];
    struct buf target; /* service/key/handler */
};

static void add(struct common *c, const char *key, struct slice value) {
    c->a[c->n++] = (struct otlp_attribute){key, value};
}

static void common_init(struct common *c, const struct trace_invocation *i) {
    c->n = 0;
    c->target = (struct buf){0};
    invocation_id_format(i->id, c->id);
    buf_put_slice(&c->target, i->service);
    if (i->key.len) {
        buf_put_u8(&c->target, '/');
        buf_put_slice(&c->target, i->key);
    }
    buf_put_u8(&c->target, '/');
    buf_put_slice(&c->target, i->handler);
    add(c, "restate.invocation.id", slice_str(c->id));
    add(c, "restate.invocation.target", buf_slice(&c->target));
    add(c, "rpc.system", SLICE_LIT("restate"));
    add(c, "rpc.service", i->service);
    add(c, "rpc.method", i->handler);
}

void trace_invocation_start(struct tracer *t, struct slice context, const struct trace_invocation *i,
                            uint64_t created_ms) {
    struct otlp_span s = {.name = "invocation-start", .start_ns = created_ms * 1000000, .end_ns = created_ms * 1000000};
    struct common c;

    if (trace_context_decode(context, &s.context) < 0)
        return;
    common_init(&c, i);
    trace_span_of(i->id, s.id);
    s.attributes = c.a;
    s.n_attributes = c.n;
    tracer_span(t, &s);
    buf_done(&c.target);
}

void trace_invocation_end(struct tracer *t, struct slice context, const struct trace_invocation *i, uint64_t created_ms,
                          uint32_t code) {
    struct otlp_span s = {.name = "invocation-end",
                          .start_ns = created_ms * 1000000,
                          .end_ns = MAX(tracer_wall_ns(t), created_ms * 1000000),
                          .failed = code != 0};
    struct common c;
    char text[16];

    if (trace_context_decode(context, &s.context) < 0)
        return;
    common_init(&c, i);
    (void)snprintf(text, sizeof text, "%u", code);
    add(&c, "restate.invocation.result", code ? SLICE_LIT("failure") : SLICE_LIT("success"));
    add(&c, "restate.invocation.error_code", code ? slice_str(text) : SLICE_NULL);
    trace_span_of(i->id, s.context.span);
    tracer_new_span(t, s.id);
    s.attributes = c.a;
    s.n_attributes = c.n;
    tracer_span(t, &s);
    buf_done(&c.target);
}

struct trace_attempt *trace_attempt_new(struct tracer *t, struct slice context, const struct invocation_id *id) {
    struct trace_context c;
    struct trace_attempt *a;

    if (trace_context_decode(context, &c) < 0)
        return NULL;
    a = xcalloc(1, sizeof *a + c.state.len); /* at most TRACE_STATE_MAX */
    a->context = c;
    if (c.state.len)
        memcpy(a->state, c.state.data, c.state.len);
    a->context.state = slice_of(a->state, c.state.len);
    trace_span_of(id, a->context.span);
    tracer_new_span(t, a->id);
    a->start_ns = tracer_wall_ns(t);
    return a;
}

void trace_attempt_parent(const struct trace_attempt *a, char ret_parent[TRACE_PARENT_CHARS + 1],
                          struct slice *ret_state) {
    struct trace_context mine = a->context;

    memcpy(mine.span, a->id, SPAN_ID_BYTES);
    trace_context_format(&mine, ret_parent);
    *ret_state = a->context.state;
}

void trace_attempt_end(struct tracer *t, struct trace_attempt *take, const struct trace_invocation *i,
                       const char *deployment, uint32_t protocol, const char *failure) {
    struct otlp_span s = {.context = take->context,
                          .name = "invocation-attempt",
                          .start_ns = take->start_ns,
                          .end_ns = MAX(tracer_wall_ns(t), take->start_ns),
                          .failed = failure != NULL,
                          .message = slice_str(failure)};
    struct common c;
    char text[16];

    common_init(&c, i);
    (void)snprintf(text, sizeof text, "%u", protocol);
    add(&c, "restate.deployment.id", slice_str(deployment));
    add(&c, "restate.deployment.service_protocol_version", slice_str(text));
    memcpy(s.id, take->id, SPAN_ID_BYTES);
    s.attributes = c.a;
    s.n_attributes = c.n;
    tracer_span(t, &s);
    buf_done(&c.target);
    free(take);
}

struct trace_attempt *trace_attempt_free(struct trace_attempt *a) {
    free(a);
    return NULL;
}
