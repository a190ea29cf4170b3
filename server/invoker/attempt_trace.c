/* SPDX-License-Identifier: Apache-2.0 */
/* invoker/attempt_trace.c : the span of an attempt. Without a tracer, and for invocations that are not traced, nothing
 * happens here. */
#include "invoker/invoker_internal.h"
#include "tracing/spans.h"

#include <stdio.h>

void attempt_trace_begin(struct attempt *a, struct slice context) {
    struct tracer *t = a->inv->params.tracer;

    if (t && context.len && !a->trace)
        a->trace = trace_attempt_new(t, context, &a->in->id);
}

size_t attempt_trace_headers(const struct attempt *a, char parent[TRACE_PARENT_CHARS + 1], struct http_header *h) {
    struct slice state;

    if (!a->trace)
        return 0;
    trace_attempt_parent(a->trace, parent, &state);
    h[0] = HTTP_HEADER("traceparent", slice_of(parent, TRACE_PARENT_CHARS));
    if (state.len)
        h[1] = HTTP_HEADER("tracestate", state);
    return state.len ? 2 : 1;
}

void attempt_trace_end(struct attempt *a, const struct invocation *in, const struct attempt_failure *f) {
    struct trace_invocation i = {.id = &in->id};
    char why[256];

    if (!a->trace)
        return;
    i.service = attempt_service(a);
    i.handler = attempt_handler(a);
    i.key = attempt_key(a);
    if (f)
        (void)snprintf(why, sizeof why, "[%u%s%s] " SLICE_FMT, f->code, f->doc_code ? " " : "",
                       f->doc_code ? f->doc_code : "", SLICE_ARG(slice_sub(f->message, 0, sizeof why - 32)));
    trace_attempt_end(a->inv->params.tracer, a->trace, &i, a->deployment, a->protocol, f ? why : NULL);
    a->trace = NULL;
}
