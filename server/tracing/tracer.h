/* SPDX-License-Identifier: Apache-2.0 */
/* tracing/tracer.h : collects spans and hands them in batches to whoever sends them.
 *
 * Lives on one loop and never blocks it: sending is a job on an executor, one batch at a time. While a collector is
 * slow or away spans gather up to TRACER_QUEUE_BYTES; what comes beyond is dropped and counted. A batch that could not
 * be delivered is dropped as well: traces are a help for people, not a record. */
#pragma once
#include "loop/exec.h"
#include "tracing/otlp.h"

struct tracer;
struct err;

enum { TRACER_QUEUE_BYTES = 4 << 20, TRACER_BATCH_BYTES = 256 << 10 };
#define TRACER_INTERVAL_NS 500000000u

/* Where batches go. send() is called on a thread of the executor, never twice at the same time, and may block for as
 * long as its own timeouts allow; cancel() from the loop makes a running send() return soon. */
struct trace_sender {
    int (*send)(void *self, struct slice request, struct err *err);
    void (*cancel)(void *self);
    void (*free)(void *self);
    void *self;
};

struct tracer_params {
    struct loop *loop;
    struct exec *exec; /* of one thread; borrowed */
    struct trace_sender sender;
    const struct otlp_attribute *resource; /* borrowed until closed */
    size_t n_resource;
};
struct tracer *tracer_new(const struct tracer_params *p);
/* tracer_close() - sends what is there, cuts that off after @grace_ns; @done in a later turn, when all is freed. */
void tracer_close(struct tracer *t, uint64_t grace_ns, void (*done)(void *arg), void *arg);
void tracer_span(struct tracer *t, const struct otlp_span *s);
/* tracer_begin() - the context of a new trace. */
void tracer_begin(struct tracer *t, struct trace_context *ret);
void tracer_new_span(struct tracer *t, uint8_t ret[SPAN_ID_BYTES]);
uint64_t tracer_wall_ns(const struct tracer *t);

struct tracer_stats {
    uint64_t spans, dropped, batches, failed_batches;
};
void tracer_stats(const struct tracer *t, struct tracer_stats *ret);

/* tracer_curl.c: OTLP over HTTP. */
struct trace_http_params {
    const char *endpoint; /* "http://host:4318/v1/traces"; "otlp+" in front is taken off; without a path: /v1/traces */
    size_t n_headers;
    const char *const *names, *const *values;
};
/* trace_http_new() - RS_EINVAL: the endpoint is not one. */
int trace_http_new(const struct trace_http_params *p, struct trace_sender *ret, struct err *err) RS_WARN_UNUSED;
