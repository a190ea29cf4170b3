/* SPDX-License-Identifier: Apache-2.0 */
#include "unit.h"

#include "proto/trace_context.h"

#define PARENT "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"

static void a_traceparent_reads_and_writes_the_same(void **state) {
    struct trace_context c;
    char text[TRACE_PARENT_CHARS + 1];

    (void)state;
    assert_int_equal(trace_context_parse(slice_str(PARENT), slice_str("a=1,b=2"), &c), 0);
    assert_int_equal(c.trace[0], 0x4b);
    assert_int_equal(c.span[7], 0xb7);
    assert_int_equal(c.flags, TRACE_FLAG_SAMPLED);
    assert_true(slice_eq_str(c.state, "a=1,b=2"));
    trace_context_format(&c, text);
    assert_string_equal(text, PARENT);
}

static void what_the_standard_refuses_is_refused(void **state) {
    static const char *const rows[] = {
        "",
        "00",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-0",
        "00-4BF92F3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", /* upper case */
        "00-4bf92f3577b34da6a3ce929d0e0e473g-00f067aa0ba902b7-01",
        "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
        "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more",
        "01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01x",
        "00_4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
    };
    struct trace_context c;

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
        assert_int_equal(trace_context_parse(slice_str(rows[i]), SLICE_NULL, &c), RS_EINVAL);
}

static void a_later_version_may_have_more_behind_it(void **state) {
    struct trace_context c;

    (void)state;
    assert_int_equal(trace_context_parse(slice_str("01" PARENT), SLICE_NULL, &c), RS_EINVAL);
    assert_int_equal(
        trace_context_parse(slice_str("01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-x"), SLICE_NULL, &c), 0);
}

static void a_tracestate_that_is_no_good_is_left_out(void **state) {
    char big[TRACE_STATE_MAX + 2];
    struct trace_context c;

    (void)state;
    memset(big, 'a', sizeof big);
    assert_int_equal(trace_context_parse(slice_str(PARENT), slice_of(big, sizeof big - 1), &c), 0);
    assert_int_equal(c.state.len, 0);
    assert_int_equal(trace_context_parse(slice_str(PARENT), slice_str("a=\x01"), &c), 0);
    assert_int_equal(c.state.len, 0);
}

static void the_stored_form_goes_round(void **state) {
    _cleanup_buf_ struct buf b = {0};
    struct trace_context c, d;

    (void)state;
    assert_int_equal(trace_context_parse(slice_str(PARENT), slice_str("k=v"), &c), 0);
    trace_context_encode(&c, &b);
    assert_int_equal(b.len, TRACE_CONTEXT_BYTES + 3);
    assert_int_equal(trace_context_decode(buf_slice(&b), &d), 0);
    assert_memory_equal(&c, &d, offsetof(struct trace_context, state));
    assert_true(slice_eq(c.state, d.state));
    assert_int_equal(trace_context_decode(slice_sub(buf_slice(&b), 0, TRACE_CONTEXT_BYTES - 1), &d), RS_ECORRUPT);
    memset(b.data, 0, TRACE_ID_BYTES);
    assert_int_equal(trace_context_decode(buf_slice(&b), &d), RS_ECORRUPT);
}

static void the_span_of_an_invocation_is_never_zero(void **state) {
    struct invocation_id id = {0};
    uint8_t span[SPAN_ID_BYTES];

    (void)state;
    trace_span_of(&id, span);
    assert_true(trace_has_span(span));
    id.raw[INVOCATION_ID_BYTES - 1] = 7;
    trace_span_of(&id, span);
    assert_int_equal(get_u64be(span), 7);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(a_traceparent_reads_and_writes_the_same),
    cmocka_unit_test(what_the_standard_refuses_is_refused),
    cmocka_unit_test(a_later_version_may_have_more_behind_it),
    cmocka_unit_test(a_tracestate_that_is_no_good_is_left_out),
    cmocka_unit_test(the_stored_form_goes_round),
    cmocka_unit_test(the_span_of_an_invocation_is_never_zero),
};
const struct unit_group trace_context_test_group = UNIT_GROUP(tests);
