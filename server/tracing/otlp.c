/* SPDX-License-Identifier: Apache-2.0 */
#include "tracing/otlp.h"
#include "base/util.h"
#include "proto/pb.h"

#define TAG(number, wire) ((uint32_t)(number) << 3 | (wire))

enum { SPAN_FIXED_BYTES = 256, ATTRIBUTE_FIXED_BYTES = 32, STATUS_ERROR = 2, KIND_SERVER = 2 };

/* At most OTLP_TEXT_MAX bytes of @s, whole characters; bytes that are no UTF-8 would make the request invalid. */
static struct slice clean(struct slice s) {
    if (s.len > OTLP_TEXT_MAX) {
        s.len = OTLP_TEXT_MAX;
        while (s.len && (s.data[s.len] & 0xc0) == 0x80)
            s.len--;
    }
    return pb_utf8(s) ? s : SLICE_LIT("(not UTF-8)");
}

/* Writers go backwards, like those of proto/pb.h: @end is where the field ends, the result where it begins. */
static uint8_t *w_fixed64(uint8_t *e, uint32_t number, uint64_t v) {
    put_u64le(e -= 8, v);
    return pb_w_varint(e, TAG(number, PB_FIXED64));
}

/* Out of line: within a caller gcc 12 under UBSan follows the check for a wrapping pointer and takes the impossible
 * case for an overflow. */
__attribute__((noinline)) static uint8_t *w_id(uint8_t *e, uint32_t number, const uint8_t *id, size_t len) {
    return pb_w_bytes(e, TAG(number, PB_LEN), slice_of(id, len));
}

static uint8_t *w_around(uint8_t *begin, const uint8_t *end, uint32_t number) {
    return pb_w_varint(pb_w_varint(begin, (uint64_t)(end - begin)), TAG(number, PB_LEN));
}

/* KeyValue { key = 1, value = 2 { string_value = 1 } } as field @number; none when the value is absent. */
static uint8_t *w_attribute(uint8_t *end, uint32_t number, const struct otlp_attribute *a) {
    uint8_t *p;

    if (!a->value.data)
        return end;
    p = w_around(pb_w_bytes(end, TAG(1, PB_LEN), clean(a->value)), end, 2);
    p = pb_w_bytes(p, TAG(1, PB_LEN), slice_str(a->key));
    return w_around(p, end, number);
}

static size_t attributes_max(const struct otlp_attribute *a, size_t n) {
    size_t len = 0;

    for (size_t i = 0; i < n; i++)
        len += ATTRIBUTE_FIXED_BYTES + strlen(a[i].key) + MAX(MIN(a[i].value.len, (size_t)OTLP_TEXT_MAX), 16u);
    return len;
}

static uint8_t *w_status(uint8_t *end, const struct otlp_span *s) {
    uint8_t *p = end;

    if (!s->failed)
        return end;
    p = pb_w_num(p, TAG(3, PB_VARINT), STATUS_ERROR);
    if (s->message.len)
        p = pb_w_bytes(p, TAG(2, PB_LEN), clean(s->message));
    return w_around(p, end, 15);
}

void otlp_put_span(struct buf *spans, const struct otlp_span *s) {
    size_t max = SPAN_FIXED_BYTES + strlen(s->name) + s->context.state.len + OTLP_TEXT_MAX +
                 attributes_max(s->attributes, s->n_attributes);
    uint8_t *room = buf_reserve(spans, max), *end = room + max, *p = end;

    ASSERT(s->n_attributes <= OTLP_ATTRIBUTES_MAX);
    ASSERT(s->context.state.len <= TRACE_STATE_MAX);
    p = w_status(p, s);
    for (size_t i = s->n_attributes; i-- > 0;)
        p = w_attribute(p, 9, &s->attributes[i]);
    p = w_fixed64(p, 8, s->end_ns);
    p = w_fixed64(p, 7, s->start_ns);
    p = pb_w_num(p, TAG(6, PB_VARINT), KIND_SERVER);
    p = pb_w_bytes(p, TAG(5, PB_LEN), slice_str(s->name));
    if (trace_has_span(s->context.span))
        p = w_id(p, 4, s->context.span, SPAN_ID_BYTES);
    if (s->context.state.len)
        p = pb_w_bytes(p, TAG(3, PB_LEN), s->context.state);
    p = w_id(p, 2, s->id, SPAN_ID_BYTES);
    p = w_id(p, 1, s->context.trace, TRACE_ID_BYTES);
    p = w_around(p, end, 2);
    ASSERT(p >= room);
    memmove(room, p, (size_t)(end - p)); /* it was written at the end of the room */
    spans->len += (size_t)(end - p);
}

void otlp_put_request(struct buf *out, const struct otlp_attribute *resource, size_t n, struct slice spans) {
    static const char scope[] = "restate";
    size_t max = SPAN_FIXED_BYTES + attributes_max(resource, n);
    uint8_t *room = buf_reserve(out, max), *const last = room + max, *end = last, *p = end;
    size_t scope_len;

    /* before the spans: resource = 1, then scope_spans = 2 with its scope = 1 */
    p = w_around(pb_w_bytes(p, TAG(1, PB_LEN), slice_str(scope)), end, 1);
    scope_len = (size_t)(end - p) + spans.len;
    p = pb_w_varint(pb_w_varint(p, scope_len), TAG(2, PB_LEN));
    end = p;
    for (size_t i = n; i-- > 0;)
        p = w_attribute(p, 1, &resource[i]);
    p = w_around(p, end, 1);
    p = pb_w_varint(pb_w_varint(p, (size_t)(last - p) + spans.len), TAG(1, PB_LEN));
    ASSERT(p >= room);
    memmove(room, p, (size_t)(last - p));
    out->len += (size_t)(last - p);
    buf_put_slice(out, spans);
}
