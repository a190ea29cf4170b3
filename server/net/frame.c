/* SPDX-License-Identifier: Apache-2.0 */
#include "net/frame.h"
#include "base/hash.h"

static void put_prefix(uint8_t *p, enum frame_kind kind, size_t len) {
    put_u32le(p, (uint32_t)len);
    p[4] = (uint8_t)kind;
    p[5] = p[6] = p[7] = 0;
}

void frame_encode(struct buf *out, enum frame_kind kind, const struct frame_head *h, struct slice head,
                  struct bytes *const *parts, size_t n_parts) {
    size_t fixed = kind == FRAME_REPLY ? FRAME_REPLY_BYTES : FRAME_CALL_BYTES, len = fixed + head.len;
    uint32_t crc;
    uint8_t *p;

    for (size_t i = 0; i < n_parts; i++)
        len += parts[i]->len;
    buf_clear(out);
    p = buf_add(out, FRAME_PREFIX_BYTES + fixed);
    put_prefix(p, kind, len);
    p += FRAME_PREFIX_BYTES;
    for (int i = 0; i < 4; i++)
        put_u32le(p + i * 4, h->versions[i]);
    put_u64le(p + 16, h->id);
    if (kind == FRAME_REPLY) {
        put_u16le(p + 24, h->status);
        put_u16le(p + 26, 0);
    } else {
        put_u16le(p + 24, h->service);
        put_u16le(p + 26, h->type);
        put_u16le(p + 28, h->flags);
        put_u16le(p + 30, 0);
        put_u64le(p + 32, h->sort_code);
    }
    buf_put_slice(out, head);
    crc = crc32c(0, out->data, 8);
    crc = crc32c(crc, out->data + FRAME_PREFIX_BYTES, out->len - FRAME_PREFIX_BYTES);
    for (size_t i = 0; i < n_parts; i++)
        crc = crc32c(crc, parts[i]->data, parts[i]->len);
    put_u32le(out->data + 8, crc);
}

void frame_encode_raw(struct buf *out, enum frame_kind kind, struct slice body) {
    uint8_t *p = buf_add(out, FRAME_PREFIX_BYTES);

    put_prefix(p, kind, body.len);
    put_u32le(p + 8, crc32c(crc32c(0, p, 8), body.data, body.len));
    buf_put_slice(out, body);
}

int frame_prefix(const uint8_t p[FRAME_PREFIX_BYTES], size_t max, enum frame_kind *ret_kind, size_t *ret_len,
                 struct err *err) {
    size_t len = get_u32le(p);

    if (p[5] || p[6] || p[7])
        return err_set(err, RS_ECORRUPT, "a frame's prefix is damaged");
    if (len > max)
        return err_set(err, RS_ETOOBIG, "a frame of %zu bytes, at most %zu are taken", len, max);
    *ret_kind = (enum frame_kind)p[4];
    *ret_len = len;
    return 0;
}

int frame_check(const uint8_t p[FRAME_PREFIX_BYTES], struct slice body, struct err *err) {
    if (crc32c(crc32c(0, p, 8), body.data, body.len) != get_u32le(p + 8))
        return err_set(err, RS_ECORRUPT, "a frame's checksum does not match");
    return 0;
}

int frame_head(enum frame_kind kind, struct slice body, struct frame_head *ret, struct slice *ret_payload,
               struct err *err) {
    size_t fixed = kind == FRAME_REPLY ? FRAME_REPLY_BYTES : FRAME_CALL_BYTES, ext;
    const uint8_t *p = body.data;
    struct frame_head h = {0};

    if (body.len < fixed)
        return err_set(err, RS_ECORRUPT, "a frame of kind %d is too short", (int)kind);
    for (int i = 0; i < 4; i++)
        h.versions[i] = get_u32le(p + i * 4);
    h.id = get_u64le(p + 16);
    if (kind == FRAME_REPLY) {
        h.status = get_u16le(p + 24);
        ext = get_u16le(p + 26);
    } else {
        h.service = get_u16le(p + 24);
        h.type = get_u16le(p + 26);
        h.flags = get_u16le(p + 28);
        ext = get_u16le(p + 30);
        h.sort_code = get_u64le(p + 32);
    }
    if (ext > body.len - fixed)
        return err_set(err, RS_ECORRUPT, "a frame's extensions are longer than the frame");
    *ret = h;
    *ret_payload = slice_from(body, fixed + ext);
    return 0;
}
