/* SPDX-License-Identifier: Apache-2.0 */
#include "proto/pb.h"

bool pb_utf8(struct slice s) {
    const uint8_t *p = s.data, *end = s.data + s.len;

    while (p < end) {
        uint8_t c = *p;
        uint64_t eight;
        size_t more;
        uint32_t v, least;

        if (end - p >= 8 && (memcpy(&eight, p, 8), (eight & 0x8080808080808080u) == 0)) {
            p += 8;
            continue;
        }
        p++;
        if (c < 0x80)
            continue;
        if (c >= 0xc2 && c <= 0xdf)
            more = 1, least = 0x80, v = c & 0x1fu;
        else if (c >= 0xe0 && c <= 0xef)
            more = 2, least = 0x800, v = c & 0x0fu;
        else if (c >= 0xf0 && c <= 0xf4)
            more = 3, least = 0x10000, v = c & 0x07u;
        else
            return false;
        if ((size_t)(end - p) < more)
            return false;
        for (; more > 0; more--, p++) {
            if ((*p & 0xc0) != 0x80)
                return false;
            v = v << 6 | (*p & 0x3fu);
        }
        if (v < least || v > 0x10ffff || (v >= 0xd800 && v <= 0xdfff))
            return false;
    }
    return true;
}

const uint8_t *pb_varint_slow(const uint8_t *p, const uint8_t *end, uint64_t *ret, struct pb_ctx *c) {
    uint64_t v = 0;

    for (unsigned shift = 0; shift < 70; shift += 7) {
        uint8_t b;

        if (p >= end)
            break;
        b = *p++;
        if (shift == 63 && b > 1)
            return pb_bad(c, PB_RANGE);
        v |= (uint64_t)(b & 0x7f) << shift;
        if (b < 0x80) {
            *ret = v;
            return p;
        }
    }
    return pb_bad(c, PB_TRUNCATED);
}

const uint8_t *pb_skip(const uint8_t *p, const uint8_t *end, uint32_t tag, struct pb_ctx *c) {
    struct slice s;
    uint64_t v;
    size_t n;

    if (tag >> 3 == 0)
        return pb_bad(c, PB_RANGE);
    switch (tag & 7) {
    case PB_VARINT:
        return pb_varint(p, end, &v, c);
    case PB_LEN:
        return pb_bytes(p, end, &s, c);
    case PB_FIXED64:
    case PB_FIXED32:
        n = (tag & 7) == PB_FIXED64 ? 8 : 4;
        return (size_t)(end - p) < n ? pb_bad(c, PB_TRUNCATED) : p + n;
    default: /* groups, and what is not defined */
        return pb_bad(c, PB_WIRE_TYPE);
    }
}

static size_t count_varints(struct slice s) {
    size_t n = 0;

    for (size_t i = 0; i < s.len; i++)
        n += s.data[i] < 0x80;
    return n;
}

/* How many elements of a repeated field follow, from its first occurrence on. Broken input ends the count: the reader
 * stops at the same place. */
size_t pb_count(const uint8_t *field, const uint8_t *end, uint32_t number, bool varints) {
    struct pb_ctx c = {0};
    size_t n = 0;

    while (field && field < end) {
        const uint8_t *p;
        uint32_t tag;
        struct slice s;

        p = pb_u32(field, end, &tag, &c);
        if (!p)
            break;
        field = pb_skip(p, end, tag, &c);
        if (!field || tag >> 3 != number)
            continue;
        if (varints && (tag & 7) == PB_LEN)
            n += pb_bytes(p, end, &s, &c) ? count_varints(s) : 0;
        else
            n++;
    }
    return n;
}

void *pb_array(struct pb_ctx *c, size_t n, size_t size) {
    size_t total;

    if (__builtin_mul_overflow(n, size, &total) || total > c->memory_left) {
        c->problem = PB_TOO_BIG;
        return NULL;
    }
    c->memory_left -= total;
    return arena_alloc(c->a, total);
}

static const struct pb_field *find_field(const struct pb_message *m, uint32_t number) {
    for (size_t i = 0; i < m->n; i++)
        if (m->fields[i].number == number)
            return &m->fields[i];
    return NULL;
}

bool pb_known(const struct pb_message *m, uint32_t tag) {
    return find_field(m, tag >> 3) != NULL;
}

int pb_fail(struct pb_ctx *c, const struct pb_message *m, uint32_t tag) {
    static const char *const texts[] = {
        [PB_OK] = "truncated",
        [PB_TRUNCATED] = "truncated",
        [PB_WIRE_TYPE] = "wrong wire type",
        [PB_NOT_UTF8] = "not valid UTF-8",
        [PB_RANGE] = "number out of range",
        [PB_TOO_DEEP] = "nested too deeply",
        [PB_TOO_BIG] = "too many elements",
    };
    const struct pb_field *f = find_field(m, tag >> 3);
    int code = c->problem == PB_TOO_DEEP || c->problem == PB_TOO_BIG ? RS_ETOOBIG : RS_EINVAL;

    if (f)
        return err_set(c->err, code, "%s.%s: %s", m->name, f->name, texts[c->problem]);
    return err_set(c->err, code, "%s, field %u: %s", m->name, (unsigned)(tag >> 3), texts[c->problem]);
}

/* Adds [field, next) to @unknown: a view while the pieces touch, a copy from the first gap on. The copy gets room for
 * all that can follow, so that it is made once. */
bool pb_unknown(struct slice *unknown, uint8_t **copy, const uint8_t *field, const uint8_t *next, const uint8_t *end,
                struct pb_ctx *c) {
    size_t len = (size_t)(next - field);

    if (!unknown->data) {
        *unknown = slice_of(field, len);
        return true;
    }
    if (!*copy) {
        if (unknown->data + unknown->len == field) {
            unknown->len += len;
            return true;
        }
        *copy = pb_array(c, 1, unknown->len + (size_t)(end - field));
        if (!*copy)
            return false;
        memcpy(*copy, unknown->data, unknown->len);
    }
    memcpy(*copy + unknown->len, field, len);
    *unknown = slice_of(*copy, unknown->len + len);
    return true;
}
