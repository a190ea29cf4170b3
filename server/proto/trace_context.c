/* SPDX-License-Identifier: Apache-2.0 */
#include "proto/trace_context.h"

/* Lower case only, as the standard wants. */
static int hex_digit(uint8_t c) {
    return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static bool read_hex(const uint8_t *text, uint8_t *ret, size_t n) {
    for (size_t i = 0; i < n; i++) {
        int high = hex_digit(text[2 * i]), low = hex_digit(text[2 * i + 1]);

        if (high < 0 || low < 0)
            return false;
        ret[i] = (uint8_t)(high << 4 | low);
    }
    return true;
}

static char *write_hex(char *to, const uint8_t *v, size_t n) {
    static const char digits[] = "0123456789abcdef";

    for (size_t i = 0; i < n; i++) {
        *to++ = digits[v[i] >> 4];
        *to++ = digits[v[i] & 15];
    }
    return to;
}

static bool trace_is_set(const uint8_t trace[TRACE_ID_BYTES]) {
    return (get_u64be(trace) | get_u64be(trace + 8)) != 0;
}

static bool is_printable(struct slice s) {
    for (size_t i = 0; i < s.len; i++)
        if ((s.data[i] < ' ' && s.data[i] != '\t') || s.data[i] >= 0x7f)
            return false;
    return true;
}

int trace_context_parse(struct slice parent, struct slice state, struct trace_context *ret) {
    struct trace_context c = {0};
    const uint8_t *p = parent.data;
    uint8_t version;

    if (parent.len < TRACE_PARENT_CHARS || p[2] != '-' || p[35] != '-' || p[52] != '-' || !read_hex(p, &version, 1) ||
        !read_hex(p + 3, c.trace, TRACE_ID_BYTES) || !read_hex(p + 36, c.span, SPAN_ID_BYTES) ||
        !read_hex(p + 53, &c.flags, 1))
        return RS_EINVAL;
    if (version == 0xff || (version == 0 && parent.len != TRACE_PARENT_CHARS) ||
        (parent.len > TRACE_PARENT_CHARS && p[TRACE_PARENT_CHARS] != '-'))
        return RS_EINVAL;
    if (!trace_is_set(c.trace) || !trace_has_span(c.span))
        return RS_EINVAL;
    if (state.len <= TRACE_STATE_MAX && is_printable(state))
        c.state = state;
    *ret = c;
    return 0;
}

void trace_context_format(const struct trace_context *c, char ret[TRACE_PARENT_CHARS + 1]) {
    char *p = ret;

    *p++ = '0';
    *p++ = '0';
    *p++ = '-';
    p = write_hex(p, c->trace, TRACE_ID_BYTES);
    *p++ = '-';
    p = write_hex(p, c->span, SPAN_ID_BYTES);
    *p++ = '-';
    p = write_hex(p, &c->flags, 1);
    *p = 0;
}

void trace_context_encode(const struct trace_context *c, struct buf *out) {
    buf_put(out, c->trace, TRACE_ID_BYTES);
    buf_put(out, c->span, SPAN_ID_BYTES);
    buf_put_u8(out, c->flags);
    buf_put_slice(out, c->state);
}

int trace_context_decode(struct slice bytes, struct trace_context *ret) {
    struct trace_context c = {0};

    if (bytes.len < TRACE_CONTEXT_BYTES || bytes.len > TRACE_CONTEXT_BYTES + TRACE_STATE_MAX)
        return RS_ECORRUPT;
    memcpy(c.trace, bytes.data, TRACE_ID_BYTES);
    memcpy(c.span, bytes.data + TRACE_ID_BYTES, SPAN_ID_BYTES);
    c.flags = bytes.data[TRACE_ID_BYTES + SPAN_ID_BYTES];
    c.state = slice_from(bytes, TRACE_CONTEXT_BYTES);
    if (!trace_is_set(c.trace) || !is_printable(c.state))
        return RS_ECORRUPT;
    *ret = c;
    return 0;
}

void trace_span_of(const struct invocation_id *id, uint8_t ret[SPAN_ID_BYTES]) {
    memcpy(ret, id->raw + INVOCATION_ID_BYTES - SPAN_ID_BYTES, SPAN_ID_BYTES);
    if (!trace_has_span(ret))
        ret[SPAN_ID_BYTES - 1] = 1;
}
