/* SPDX-License-Identifier: Apache-2.0 */
/* tracing/spans.h : the spans of an invocation.
 *
 *     (caller's span) <- invocation-start <- invocation-attempt, one per attempt; its id goes to the deployment
 *                                         <- invocation-end, from acceptance to completion
 *                                         <- invocation-start of those it calls
 *
 * The first and the last are told by the leader that applied the record; after a change of leaders one may come twice,
 * invocation-start with the same id. */
#pragma once
#include "tracing/tracer.h"

struct trace_invocation {
    const struct invocation_id *id;
    struct slice service, key, handler; /* key.data NULL or len 0: none */
};

/* @context: as stored with the invocation; one that does not decode is not reported. */
void trace_invocation_start(struct tracer *t, struct slice context, const struct trace_invocation *i,
                            uint64_t created_ms);
/* @code: of the failure it ended with, 0: success */
void trace_invocation_end(struct tracer *t, struct slice context, const struct trace_invocation *i, uint64_t created_ms,
                          uint32_t code);

/* One attempt, while it runs. */
struct trace_attempt;
/* trace_attempt_new() - begins now; NULL: @context does not decode. */
struct trace_attempt *trace_attempt_new(struct tracer *t, struct slice context, const struct invocation_id *id);
/* trace_attempt_parent() - the traceparent and tracestate for the deployment; @ret_state borrowed, len 0: none. */
void trace_attempt_parent(const struct trace_attempt *a, char ret_parent[TRACE_PARENT_CHARS + 1],
                          struct slice *ret_state);
/* trace_attempt_end() - reports and frees it. @failure NULL: it did its work, by ending or suspending. */
void trace_attempt_end(struct tracer *t, struct trace_attempt *take, const struct trace_invocation *i,
                       const char *deployment, uint32_t protocol, const char *failure);
struct trace_attempt *trace_attempt_free(struct trace_attempt *a); /* without a report; NULL */
