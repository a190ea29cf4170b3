/* SPDX-License-Identifier: Apache-2.0 */
/* proto/trace_context.h : W3C trace context (traceparent, tracestate), and how an invocation keeps it.
 *
 * An invocation that is traced carries, in its Invoke record and its body row, the context it was called in:
 *
 *     0        16       24      25
 *     | trace  | parent | flags | tracestate ... |        parent all zero: the trace begins here
 *
 * No field: it is not traced. The invocation's own span id follows from its id, so that every leader, and those who are
 * called by it, know it without a word. */
#pragma once
#include "base/buf.h"
#include "base/err.h"
#include "base/slice.h"
#include "proto/ids.h"

enum {
    TRACE_ID_BYTES = 16,
    SPAN_ID_BYTES = 8,
    TRACE_CONTEXT_BYTES = TRACE_ID_BYTES + SPAN_ID_BYTES + 1,
    TRACE_STATE_MAX = 512,    /* longer ones are left out, as the standard allows */
    TRACE_PARENT_CHARS = 55,  /* "00-<32>-<16>-<2>" */
    TRACE_FLAG_SAMPLED = 0x01 /* not set: the context goes on, no spans are reported */
};

struct trace_context {
    uint8_t trace[TRACE_ID_BYTES], span[SPAN_ID_BYTES], flags;
    struct slice state; /* tracestate, borrowed; len 0: none */
};

/* trace_context_parse() - from the two headers (@state may be absent). RS_EINVAL: @parent is not a valid traceparent;
 * a @state that is too long or not printable counts as absent. Later versions are read as far as 00 goes. */
int trace_context_parse(struct slice parent, struct slice state, struct trace_context *ret) RS_WARN_UNUSED;
/* trace_context_format() - the traceparent, with a NUL. */
void trace_context_format(const struct trace_context *c, char ret[TRACE_PARENT_CHARS + 1]);
/* trace_context_encode() - appends the bytes drawn above. */
void trace_context_encode(const struct trace_context *c, struct buf *out);
/* trace_context_decode() - RS_ECORRUPT: too short, too long, or without a trace id. @ret->state is a view. */
int trace_context_decode(struct slice bytes, struct trace_context *ret) RS_WARN_UNUSED;
/* trace_span_of() - the span id of an invocation, never zero. */
void trace_span_of(const struct invocation_id *id, uint8_t ret[SPAN_ID_BYTES]);
static inline bool trace_has_span(const uint8_t span[SPAN_ID_BYTES]) {
    return get_u64be(span) != 0;
}
