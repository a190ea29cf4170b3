/* SPDX-License-Identifier: Apache-2.0 */
#include "proto/record.h"

#include "base/hash.h"
#include "base/limits.h"
#include "base/util.h"

static const uint8_t keys_bytes[] = {
    [RECORD_KEYS_NONE] = 0, [RECORD_KEYS_SINGLE] = 8, [RECORD_KEYS_PAIR] = 16, [RECORD_KEYS_RANGE] = 16};
static const uint8_t dedup_bytes[] = {
    [RECORD_DEDUP_NONE] = 0, [RECORD_DEDUP_SELF] = 16, [RECORD_DEDUP_PARTITION] = 16, [RECORD_DEDUP_PRODUCER] = 24};

size_t record_size(const struct record_header *h, size_t payload_len) {
    ASSERT(h->keys < ARRAY_SIZE(keys_bytes) && h->dedup < ARRAY_SIZE(dedup_bytes));
    return RECORD_FIXED_BYTES + (size_t)keys_bytes[h->keys] + dedup_bytes[h->dedup] + payload_len;
}

void record_put(const struct record_header *h, uint8_t *at, size_t payload_len) {
    const size_t head = record_size(h, 0), total = head + payload_len;
    uint8_t *p = at + RECORD_FIXED_BYTES;

    ASSERT(payload_len <= LIMIT_RECORD_BYTES - RECORD_HEADER_MAX_BYTES);
    put_u32le(at + 4, (uint32_t)total);
    at[8] = RECORD_FORMAT;
    at[9] = h->keys;
    at[10] = h->dedup;
    at[11] = 0;
    put_u16le(at + 12, h->kind);
    put_u16le(at + 14, (uint16_t)head);
    put_u64le(at + 16, h->created_at_ns);
    for (unsigned i = 0; i < keys_bytes[h->keys] / 8u; i++, p += 8)
        put_u64le(p, h->key[i]);
    if (h->dedup == RECORD_DEDUP_PRODUCER) {
        memcpy(p, h->dedup_producer, sizeof h->dedup_producer);
        p += sizeof h->dedup_producer;
    } else if (h->dedup != RECORD_DEDUP_NONE) {
        put_u64le(p, h->dedup == RECORD_DEDUP_SELF ? h->dedup_epoch : h->dedup_partition);
        p += 8;
    }
    if (h->dedup != RECORD_DEDUP_NONE)
        put_u64le(p, h->dedup_seq);
    put_u32le(at, crc32c(0, at + 4, total - 4));
}

struct bytes *record_new(const struct record_header *h, struct slice payload) {
    const size_t head = record_size(h, 0);
    struct bytes *b = bytes_new(head + payload.len);

    if (payload.len)
        memcpy(b->data + head, payload.data, payload.len);
    record_put(h, b->data, payload.len);
    return b;
}

int record_view(struct slice record, struct record_view *ret, struct err *err) {
    const uint8_t *d = record.data, *p = d + RECORD_FIXED_BYTES;
    struct record_header *h = &ret->header;

    if (record.len < RECORD_FIXED_BYTES || get_u32le(d + 4) != record.len)
        return err_set(err, RS_ECORRUPT, "a record's length does not fit its %zu bytes", record.len);
    if (d[8] != RECORD_FORMAT || d[11] != 0)
        return err_set(err, RS_EUNSUPPORTED, "record format %u with flags %u is not known", d[8], d[11]);
    if (d[9] >= ARRAY_SIZE(keys_bytes) || d[10] >= ARRAY_SIZE(dedup_bytes))
        return err_set(err, RS_EUNSUPPORTED, "record with keys %u and dedup %u is not known", d[9], d[10]);
    *h = (struct record_header){
        .kind = get_u16le(d + 12), .keys = d[9], .dedup = d[10], .created_at_ns = get_u64le(d + 16)};
    if (get_u16le(d + 14) != record_size(h, 0) || record.len < record_size(h, 0))
        return err_set(err, RS_ECORRUPT, "a record's header has a wrong length");
    for (unsigned i = 0; i < keys_bytes[h->keys] / 8u; i++, p += 8)
        h->key[i] = get_u64le(p);
    switch (h->dedup) {
    case RECORD_DEDUP_SELF:
        h->dedup_epoch = get_u64le(p);
        h->dedup_seq = get_u64le(p + 8);
        break;
    case RECORD_DEDUP_PARTITION:
        h->dedup_partition = get_u64le(p);
        h->dedup_seq = get_u64le(p + 8);
        break;
    case RECORD_DEDUP_PRODUCER:
        memcpy(h->dedup_producer, p, sizeof h->dedup_producer);
        h->dedup_seq = get_u64le(p + 16);
        break;
    default:
        break;
    }
    ret->payload = slice_from(record, record_size(h, 0));
    return 0;
}

int record_verify(struct slice record, struct err *err) {
    if (record.len < RECORD_FIXED_BYTES || get_u32le(record.data + 4) != record.len)
        return err_set(err, RS_ECORRUPT, "a record's length does not fit its %zu bytes", record.len);
    if (get_u32le(record.data) != crc32c(0, record.data + 4, record.len - 4))
        return err_set(err, RS_ECORRUPT, "a record of %zu bytes fails its checksum", record.len);
    return 0;
}

size_t record_length(const uint8_t first[8]) {
    const uint32_t n = get_u32le(first + 4);

    return n >= RECORD_FIXED_BYTES && n <= LIMIT_RECORD_BYTES ? n : 0;
}

bool record_touches(const struct record_header *h, uint64_t first, uint64_t last) {
    const uint64_t a = h->key[0], b = h->key[1];

    switch (h->keys) {
    case RECORD_KEYS_SINGLE:
        return a >= first && a <= last;
    case RECORD_KEYS_PAIR:
        return (a >= first && a <= last) || (b >= first && b <= last);
    case RECORD_KEYS_RANGE:
        return a <= last && b >= first;
    default:
        return true;
    }
}
