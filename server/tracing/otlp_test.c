/* SPDX-License-Identifier: Apache-2.0 */
#include "unit.h"

#include "proto/pb.h"
#include "tracing/otlp.h"

/* A reader of what was written: field @number (the @nth of them) of the message @in; PB_LEN: its bytes, others: their
 * value in *ret_num. */
static struct slice field(struct slice in, uint32_t number, unsigned nth, uint64_t *ret_num) {
    const uint8_t *p = in.data, *end = in.data + in.len;
    struct pb_ctx c = {0};

    while (p < end) {
        uint64_t tag, v = 0;
        struct slice bytes = SLICE_NULL;

        p = pb_varint(p, end, &tag, &c);
        assert_non_null(p);
        if ((tag & 7) == PB_LEN) {
            p = pb_bytes(p, end, &bytes, &c);
        } else if ((tag & 7) == PB_FIXED64) {
            v = get_u64le(p);
            p += 8;
        } else {
            p = pb_varint(p, end, &v, &c);
        }
        assert_non_null(p);
        if (tag >> 3 == number && nth-- == 0) {
            if (ret_num)
                *ret_num = v;
            return bytes;
        }
    }
    return SLICE_NULL;
}

static uint64_t number(struct slice in, uint32_t f) {
    uint64_t v = UINT64_MAX;

    (void)field(in, f, 0, &v);
    return v;
}

static struct otlp_span sample(void) {
    struct otlp_span s = {.name = "invocation-attempt", .start_ns = 1000, .end_ns = 2500, .failed = true};

    memset(s.context.trace, 0x11, TRACE_ID_BYTES);
    memset(s.context.span, 0x22, SPAN_ID_BYTES);
    memset(s.id, 0x33, SPAN_ID_BYTES);
    s.context.state = SLICE_LIT("a=b");
    s.message = SLICE_LIT("no");
    return s;
}

static void a_span_has_its_fields(void **state) {
    struct otlp_attribute at[] = {{"k", SLICE_LIT("v")}, {"absent", SLICE_NULL}, {"k2", SLICE_LIT("")}};
    struct otlp_span s = sample();
    _cleanup_buf_ struct buf b = {0};
    struct slice span, kv;

    (void)state;
    s.attributes = at;
    s.n_attributes = ARRAY_SIZE(at);
    otlp_put_span(&b, &s);
    span = field(buf_slice(&b), 2, 0, NULL);
    assert_true(slice_eq(field(span, 1, 0, NULL), slice_of(s.context.trace, TRACE_ID_BYTES)));
    assert_true(slice_eq(field(span, 2, 0, NULL), slice_of(s.id, SPAN_ID_BYTES)));
    assert_true(slice_eq_str(field(span, 3, 0, NULL), "a=b"));
    assert_true(slice_eq(field(span, 4, 0, NULL), slice_of(s.context.span, SPAN_ID_BYTES)));
    assert_true(slice_eq_str(field(span, 5, 0, NULL), "invocation-attempt"));
    assert_int_equal(number(span, 7), 1000);
    assert_int_equal(number(span, 8), 2500);
    kv = field(span, 9, 0, NULL);
    assert_true(slice_eq_str(field(kv, 1, 0, NULL), "k"));
    assert_true(slice_eq_str(field(field(kv, 2, 0, NULL), 1, 0, NULL), "v"));
    kv = field(span, 9, 1, NULL);
    assert_true(slice_eq_str(field(kv, 1, 0, NULL), "k2"));
    assert_null(field(span, 9, 2, NULL).data);
    assert_true(slice_eq_str(field(field(span, 15, 0, NULL), 2, 0, NULL), "no"));
    assert_int_equal(number(field(span, 15, 0, NULL), 3), 2);
}

static void a_root_that_worked_has_neither_parent_nor_status(void **state) {
    struct otlp_span s = sample();
    _cleanup_buf_ struct buf b = {0};
    struct slice span;

    (void)state;
    memset(s.context.span, 0, SPAN_ID_BYTES);
    s.context.state = SLICE_NULL;
    s.failed = false;
    otlp_put_span(&b, &s);
    span = field(buf_slice(&b), 2, 0, NULL);
    assert_null(field(span, 3, 0, NULL).data);
    assert_null(field(span, 4, 0, NULL).data);
    assert_null(field(span, 15, 0, NULL).data);
}

static void long_and_broken_texts_are_cut_at_a_character(void **state) {
    char text[OTLP_TEXT_MAX + 8];
    struct otlp_attribute at[2] = {{"long", SLICE_NULL}, {"broken", SLICE_LIT("a\xff")}};
    struct otlp_span s = sample();
    _cleanup_buf_ struct buf b = {0};
    struct slice span, value;

    (void)state;
    memset(text, 'x', sizeof text);
    memcpy(text + OTLP_TEXT_MAX - 1, "\xc3\xa4", 2); /* its second byte would be the first one too many */
    at[0].value = slice_of(text, sizeof text);
    s.attributes = at;
    s.n_attributes = 2;
    otlp_put_span(&b, &s);
    span = field(buf_slice(&b), 2, 0, NULL);
    value = field(field(field(span, 9, 0, NULL), 2, 0, NULL), 1, 0, NULL);
    assert_int_equal(value.len, OTLP_TEXT_MAX - 1);
    value = field(field(field(span, 9, 1, NULL), 2, 0, NULL), 1, 0, NULL);
    assert_true(slice_eq_str(value, "(not UTF-8)"));
}

static void a_request_is_resource_scope_and_spans(void **state) {
    struct otlp_attribute resource[] = {{"service.name", SLICE_LIT("restate")}, {"x", SLICE_LIT("y")}};
    struct otlp_span s = sample();
    _cleanup_buf_ struct buf spans = {0}, out = {0};
    struct slice resource_spans, scope_spans, r;

    (void)state;
    for (int i = 0; i < 100; i++)
        otlp_put_span(&spans, &s);
    otlp_put_request(&out, resource, 2, buf_slice(&spans));
    resource_spans = field(buf_slice(&out), 1, 0, NULL);
    assert_ptr_equal(resource_spans.data + resource_spans.len, out.data + out.len);
    r = field(resource_spans, 1, 0, NULL);
    assert_true(slice_eq_str(field(field(r, 1, 0, NULL), 1, 0, NULL), "service.name"));
    assert_true(slice_eq_str(field(field(r, 1, 1, NULL), 1, 0, NULL), "x"));
    scope_spans = field(resource_spans, 2, 0, NULL);
    assert_ptr_equal(scope_spans.data + scope_spans.len, out.data + out.len);
    assert_true(slice_eq_str(field(field(scope_spans, 1, 0, NULL), 1, 0, NULL), "restate"));
    assert_non_null(field(scope_spans, 2, 99, NULL).data);
    assert_null(field(scope_spans, 2, 100, NULL).data);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(a_span_has_its_fields),
    cmocka_unit_test(a_root_that_worked_has_neither_parent_nor_status),
    cmocka_unit_test(long_and_broken_texts_are_cut_at_a_character),
    cmocka_unit_test(a_request_is_resource_scope_and_spans),
};
const struct unit_group otlp_test_group = UNIT_GROUP(tests);
