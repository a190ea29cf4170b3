/* SPDX-License-Identifier: Apache-2.0 */
/* tracing/otlp.h : spans in the protobuf form of OpenTelemetry (opentelemetry/proto/trace/v1, collector v1). Pure.
 *
 * A batch is built in two steps: each span is appended to a buffer as a field of its future ScopeSpans, and the request
 * around them is written when they are sent. */
#pragma once
#include "base/buf.h"
#include "base/slice.h"
#include "proto/trace_context.h"

enum { OTLP_TEXT_MAX = 512, OTLP_ATTRIBUTES_MAX = 16 }; /* longer values are cut at a character */

struct otlp_attribute {
    const char *key;
    struct slice value; /* data NULL: left out */
};
struct otlp_span {
    struct trace_context context; /* .span: the parent, zero: none; .state goes with the span */
    uint8_t id[SPAN_ID_BYTES];
    const char *name;
    uint64_t start_ns, end_ns; /* unix */
    const struct otlp_attribute *attributes;
    size_t n_attributes; /* at most OTLP_ATTRIBUTES_MAX */
    bool failed;
    struct slice message; /* when it failed */
};

/* otlp_put_span() - appends the span as field 2 of ScopeSpans. */
void otlp_put_span(struct buf *spans, const struct otlp_span *s);
/* otlp_put_request() - appends an ExportTraceServiceRequest with one resource and what otlp_put_span() made. */
void otlp_put_request(struct buf *out, const struct otlp_attribute *resource, size_t n, struct slice spans);
