/* SPDX-License-Identifier: Apache-2.0 */
#include "meta/raft_store.h"

#include <stdlib.h>
#include "base/hash.h"

#define ROW_FORMAT 1u

/* ---- writing ---- */

static void row_end(struct store_batch *b, struct store_table *t, struct slice key, struct buf *value) {
    buf_put_u32le(value, crc32c(0, value->data, value->len));
    store_batch_put(b, t, key, buf_slice(value));
    buf_done(value);
}

static void entry_key(uint8_t key[9], uint64_t index) {
    key[0] = 'e';
    put_u64be(key + 1, index);
}

static void put_hard(struct store_batch *b, struct store_table *t, const struct raft_hard *h) {
    struct buf v = {0};

    buf_put_u8(&v, ROW_FORMAT);
    buf_put_u64le(&v, h->term);
    buf_put_u64le(&v, h->commit);
    buf_put_u32le(&v, h->vote.id);
    buf_put_u64le(&v, h->vote.created_ms);
    row_end(b, t, SLICE_LIT("h"), &v);
}

static void put_entry(struct store_batch *b, struct store_table *t, const struct raft_entry *e) {
    uint8_t key[9];
    struct buf v = {0};

    entry_key(key, e->index);
    buf_put_u8(&v, ROW_FORMAT);
    buf_put_u64le(&v, e->term);
    buf_put_u8(&v, (uint8_t)e->kind);
    buf_put_slice(&v, bytes_slice(e->data));
    row_end(b, t, slice_of(key, sizeof key), &v);
}

static void put_snapshot(struct store_batch *b, struct store_table *t, const struct raft_snapshot *s) {
    _cleanup_buf_ struct buf config = {0};
    struct buf v = {0};

    raft_config_encode(&s->config, &config);
    buf_put_u8(&v, ROW_FORMAT);
    buf_put_u64le(&v, s->index);
    buf_put_u64le(&v, s->term);
    put_u16le(buf_add(&v, 2), (uint16_t)config.len);
    buf_put_slice(&v, buf_slice(&config));
    buf_put_slice(&v, bytes_slice(s->data));
    row_end(b, t, SLICE_LIT("s"), &v);
}

static void del_entries(struct store_batch *b, struct store_table *t, uint64_t from, uint64_t to) {
    uint8_t lower[9], upper[9];

    entry_key(lower, from);
    entry_key(upper, to);
    store_batch_del_range(b, t, slice_of(lower, 9), slice_of(upper, 9));
}

void raft_store_put(struct store_batch *b, struct store_table *t, const struct raft_ready *rd, uint64_t last) {
    if (rd->has_hard)
        put_hard(b, t, &rd->hard);
    if (rd->snapshot) {
        del_entries(b, t, 0, UINT64_MAX);
        put_snapshot(b, t, rd->snapshot);
    }
    for (size_t i = 0; i < rd->n_entries; i++)
        put_entry(b, t, &rd->entries[i]);
    if (rd->n_entries && !rd->snapshot && rd->entries[rd->n_entries - 1].index < last)
        del_entries(b, t, rd->entries[rd->n_entries - 1].index + 1, UINT64_MAX);
}

void raft_store_put_snapshot(struct store_batch *b, struct store_table *t, const struct raft_snapshot *s) {
    put_snapshot(b, t, s);
    del_entries(b, t, 0, s->index + 1);
}

void raft_store_put_marker(struct store_batch *b, struct store_table *t, const struct raft_marker *m) {
    struct buf v = {0};

    buf_put_u8(&v, ROW_FORMAT);
    buf_put_u32le(&v, m->self.id);
    buf_put_u64le(&v, m->self.created_ms);
    buf_put_u8(&v, m->member);
    row_end(b, t, SLICE_LIT("m"), &v);
}

void raft_store_clear(struct store_batch *b, struct store_table *t) {
    del_entries(b, t, 0, UINT64_MAX);
    store_batch_del(b, t, SLICE_LIT("h"));
    store_batch_del(b, t, SLICE_LIT("s"));
}

/* ---- reading ---- */

struct load {
    struct raft_loaded *to;
    struct err *err;
    size_t cap;
};

/* The fields of a row, without format and checksum. */
static int row_fields(struct slice key, struct slice value, struct slice *ret, struct err *err) {
    if (value.len < 5 || crc32c(0, value.data, value.len - 4) != get_u32le(value.data + value.len - 4))
        return err_set(err, RS_ECORRUPT, "metadata log: the checksum of row '%c' does not match",
                       key.len ? key.data[0] : '?');
    if (value.data[0] != ROW_FORMAT)
        return err_set(err, RS_ECORRUPT, "metadata log: row '%c' has format %u, this server knows %u",
                       key.len ? key.data[0] : '?', value.data[0], ROW_FORMAT);
    *ret = slice_of(value.data + 1, value.len - 5);
    return 0;
}

static int load_entry(struct load *ld, struct slice key, struct slice v) {
    struct raft_loaded *l = ld->to;
    const uint8_t *p = v.data;

    if (key.len != 9 || v.len < 9 || p[8] > RAFT_CONFIG)
        return err_set(ld->err, RS_ECORRUPT, "metadata log: a damaged entry");
    if (l->n == ld->cap) {
        ld->cap = ld->cap ? ld->cap * 2 : 64;
        l->entries = xrealloc(l->entries, ld->cap * sizeof *l->entries);
    }
    l->entries[l->n++] = (struct raft_entry){.index = get_u64be(key.data + 1),
                                             .term = get_u64le(p),
                                             .kind = (enum raft_entry_kind)p[8],
                                             .data = p[8] == RAFT_EMPTY ? NULL : bytes_copy(slice_from(v, 9))};
    return 0;
}

static int load_snapshot(struct load *ld, struct slice v) {
    struct raft_snapshot *s;
    size_t config;
    int r;

    config = v.len >= 18 ? get_u16le(v.data + 16) : 0;
    if (v.len < 18 + config)
        return err_set(ld->err, RS_ECORRUPT, "metadata log: a damaged snapshot");
    s = ld->to->snapshot = xnew(struct raft_snapshot);
    s->index = get_u64le(v.data);
    s->term = get_u64le(v.data + 8);
    r = raft_config_decode(slice_sub(v, 18, config), &s->config, NULL, ld->err);
    if (r == 0)
        s->data = bytes_copy(slice_from(v, 18 + config));
    return r;
}

static int load_row(void *arg, struct slice key, struct slice value) {
    struct load *ld = arg;
    struct slice v = SLICE_NULL;
    int r = row_fields(key, value, &v, ld->err);

    if (r < 0)
        return r;
    if (key.data[0] == 'e')
        return load_entry(ld, key, v);
    if (key.data[0] == 's')
        return load_snapshot(ld, v);
    if (key.data[0] == 'h' && v.len == 28) {
        ld->to->hard = (struct raft_hard){.term = get_u64le(v.data),
                                          .commit = get_u64le(v.data + 8),
                                          .vote = {get_u32le(v.data + 16), get_u64le(v.data + 20)}};
        return 0;
    }
    if (key.data[0] == 'm' && v.len == 13) {
        ld->to->marker = (struct raft_marker){{get_u32le(v.data), get_u64le(v.data + 4)}, v.data[12] != 0};
        return 0;
    }
    return err_set(ld->err, RS_ECORRUPT, "metadata log: a damaged row '%c'", key.data[0]);
}

int raft_store_load(struct store *s, struct store_table *t, struct raft_loaded *ret, struct err *err) {
    struct raft_loaded l = {0};
    struct load ld = {&l, err, 0};
    struct store_view *view = NULL;
    size_t drop = 0;
    int r = store_view_new(s, &view, err);

    r = r < 0 ? r : store_view_scan(view, t, SLICE_LIT("a"), SLICE_LIT("z"), false, load_row, &ld, err);
    if (view)
        (void)store_view_free(view);
    if (r < 0) {
        raft_loaded_done(&l);
        return r;
    }
    while (l.snapshot && drop < l.n && l.entries[drop].index <= l.snapshot->index) /* covered by the snapshot */
        (void)bytes_unref(l.entries[drop++].data);
    memmove(l.entries, l.entries + drop, (l.n - drop) * sizeof *l.entries);
    l.n -= drop;
    *ret = l;
    return 0;
}

void raft_loaded_done(struct raft_loaded *l) {
    for (size_t i = 0; i < l->n; i++)
        (void)bytes_unref(l->entries[i].data);
    free(l->entries);
    (void)raft_snapshot_free(l->snapshot);
    *l = (struct raft_loaded){0};
}
