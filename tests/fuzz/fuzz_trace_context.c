/* SPDX-License-Identifier: Apache-2.0 */
/* Trace contexts: what is read from headers can be written, and what was written reads back the same. */
#include "base/util.h"
#include "proto/trace_context.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct slice in = slice_of(data, size);
    struct slice parent = slice_sub(in, 0, TRACE_PARENT_CHARS), state = slice_from(in, TRACE_PARENT_CHARS);
    struct trace_context c, back;
    char text[TRACE_PARENT_CHARS + 1];
    _cleanup_buf_ struct buf b = {0};

    (void)!trace_context_parse(in, SLICE_NULL, &c);
    if (trace_context_parse(parent, state, &c) == 0) {
        trace_context_format(&c, text);
        ASSERT(trace_context_parse(slice_str(text), c.state, &back) == 0 && slice_eq(back.state, c.state));
        trace_context_encode(&c, &b);
        ASSERT(trace_context_decode(buf_slice(&b), &back) == 0 && slice_eq(back.state, c.state));
        ASSERT(memcmp(&c, &back, offsetof(struct trace_context, state)) == 0);
    }
    buf_clear(&b);
    if (trace_context_decode(in, &c) == 0) {
        trace_context_encode(&c, &b);
        ASSERT(slice_eq(buf_slice(&b), in));
    }
    return 0;
}
