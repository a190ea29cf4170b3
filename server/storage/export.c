/* SPDX-License-Identifier: Apache-2.0 */
#include "storage/export.h"

#include "base/hash.h"
#include "base/limits.h"

enum {
    BLOCK_TABLE = 1,
    BLOCK_ROWS = 2,
    BLOCK_END = 3,
    HEAD_BYTES = 16,
    BLOCK_HEAD_BYTES = 9,
    ROW_HEAD_BYTES = 8,
    END_BYTES = 32,
    TABLE_NAME_MAX = 255,
    ATTRIBUTES_MAX = 64 << 10,
    BLOCK_MAX = EXPORT_BLOCK_BYTES + LIMIT_RECORD_BYTES + (1 << 20),
};
static const char magic[8] = {'R', 'S', 'T', 'A', 'B', 'L', 'E', 'S'};

static uint32_t block_crc(uint8_t type, struct slice payload) {
    return crc32c(crc32c(0, &type, 1), payload.data, payload.len);
}

/* ---- writing ---- */

struct export_writer {
    export_sink_fn sink;
    void *arg;
    struct buf block; /* payload of the open row block, behind room for its head */
    struct buf last;  /* last key of the table */
    bool started, in_table, has_last;
    size_t last_in_block;
    struct export_summary sum;
};

struct export_writer *export_writer_new(export_sink_fn sink, void *arg) {
    struct export_writer *w = xnew(struct export_writer);

    w->sink = sink;
    w->arg = arg;
    return w;
}

struct export_writer *export_writer_free(struct export_writer *w) {
    if (w) {
        buf_done(&w->block);
        buf_done(&w->last);
        free(w);
    }
    return NULL;
}

static int emit(struct export_writer *w, struct slice bytes, struct err *err) {
    return w->sink ? w->sink(w->arg, bytes, err) : 0;
}

static int start(struct export_writer *w, struct err *err) {
    uint8_t head[HEAD_BYTES];

    if (w->started)
        return 0;
    w->started = true;
    memcpy(head, magic, sizeof magic);
    put_u32le(head + 8, EXPORT_FORMAT);
    put_u32le(head + 12, crc32c(0, head, 12));
    return emit(w, slice_of(head, sizeof head), err);
}

static void chain_crc(struct export_summary *sum, uint32_t crc) {
    uint8_t b[4];

    put_u32le(b, crc);
    sum->crc = crc32c(sum->crc, b, 4);
}

static void open_block(struct export_writer *w) {
    buf_clear(&w->block);
    (void)buf_add(&w->block, BLOCK_HEAD_BYTES);
}

/* Sends w->block as a block of @type. */
static int send_block(struct export_writer *w, uint8_t type, struct err *err) {
    struct slice payload = slice_from(buf_slice(&w->block), BLOCK_HEAD_BYTES);
    uint32_t crc = block_crc(type, payload);
    int r = start(w, err);

    put_u32le(w->block.data, (uint32_t)payload.len);
    put_u32le(w->block.data + 4, crc);
    w->block.data[8] = type;
    if (r == 0)
        r = emit(w, buf_slice(&w->block), err);
    chain_crc(&w->sum, crc);
    buf_clear(&w->block);
    return r;
}

static int flush_rows(struct export_writer *w, struct err *err) {
    return w->block.len > BLOCK_HEAD_BYTES ? send_block(w, BLOCK_ROWS, err) : 0;
}

int export_table(struct export_writer *w, const char *name, struct err *err) {
    size_t len = strlen(name);
    int r = flush_rows(w, err);

    if (r)
        return r;
    if (len == 0 || len > TABLE_NAME_MAX)
        return err_set(err, RS_EINVAL, "bad table name '%.40s'", name);
    open_block(w);
    buf_put(&w->block, name, len);
    w->in_table = true;
    w->has_last = false;
    w->sum.tables++;
    return send_block(w, BLOCK_TABLE, err);
}

static size_t shared_prefix(struct slice a, struct slice b) {
    size_t n = MIN(a.len, b.len), i = 0;

    while (i < n && a.data[i] == b.data[i])
        i++;
    return i;
}

int export_row(struct export_writer *w, struct slice key, struct slice value, struct err *err) {
    size_t shared = 0;

    ASSERT(w->in_table);
    if (key.len > LIMIT_KEY_BYTES || value.len > LIMIT_RECORD_BYTES)
        return err_set(err, RS_ETOOBIG, "a row is too large for the portable stream");
    if (w->has_last && slice_cmp(key, buf_slice(&w->last)) <= 0)
        return err_set(err, RS_ECORRUPT, "the rows of a table are not in order");
    if (w->block.len <= BLOCK_HEAD_BYTES)
        open_block(w);
    else
        shared = shared_prefix(key, buf_slice(&w->last));
    put_u16le(buf_add(&w->block, 2), (uint16_t)shared);
    put_u16le(buf_add(&w->block, 2), (uint16_t)(key.len - shared));
    buf_put_u32le(&w->block, (uint32_t)value.len);
    buf_put_slice(&w->block, slice_from(key, shared));
    buf_put_slice(&w->block, value);
    buf_clear(&w->last);
    buf_put_slice(&w->last, key);
    w->has_last = true;
    w->sum.rows++;
    w->sum.bytes += key.len + value.len;
    return w->block.len >= EXPORT_BLOCK_BYTES ? send_block(w, BLOCK_ROWS, err) : 0;
}

int export_finish(struct export_writer *w, struct slice attributes, struct export_summary *ret, struct err *err) {
    int r = flush_rows(w, err);

    if (r)
        return r;
    if (attributes.len > ATTRIBUTES_MAX)
        return err_set(err, RS_ETOOBIG, "the attributes are too large");
    if (ret)
        *ret = w->sum;
    open_block(w);
    buf_put_u32le(&w->block, EXPORT_FORMAT);
    buf_put_u32le(&w->block, w->sum.crc);
    buf_put_u64le(&w->block, w->sum.tables);
    buf_put_u64le(&w->block, w->sum.rows);
    buf_put_u64le(&w->block, w->sum.bytes);
    buf_put_slice(&w->block, attributes);
    return send_block(w, BLOCK_END, err);
}

struct view_row {
    struct export_writer *w;
    struct err *err;
};
static int on_view_row(void *arg, struct slice key, struct slice value) {
    struct view_row *v = arg;

    return export_row(v->w, key, value, v->err);
}

int export_view_table(struct export_writer *w, struct store_view *v, struct store_table *t, const char *name,
                      struct err *err) {
    struct view_row row = {w, err};
    int r = export_table(w, name, err);

    return r ? r : store_view_scan(v, t, SLICE_NULL, SLICE_NULL, false, on_view_row, &row, err);
}

/* ---- reading ---- */

struct import_reader {
    const struct import_events *ev;
    void *arg;
    struct buf in;   /* what is not yet a whole block */
    struct buf last; /* last key of the table */
    bool started, in_table, has_last, ended;
    int failed;
    struct export_summary sum;
};

struct import_reader *import_reader_new(const struct import_events *ev, void *arg) {
    struct import_reader *r = xnew(struct import_reader);

    r->ev = ev;
    r->arg = arg;
    return r;
}

struct import_reader *import_reader_free(struct import_reader *r) {
    if (r) {
        buf_done(&r->in);
        buf_done(&r->last);
        free(r);
    }
    return NULL;
}

static int corrupt(struct err *err, const char *what) {
    return err_set(err, RS_ECORRUPT, "portable stream: %s", what);
}

static int read_head(struct import_reader *r, const uint8_t *p, struct err *err) {
    if (memcmp(p, magic, sizeof magic) != 0)
        return corrupt(err, "this is none");
    if (get_u32le(p + 12) != crc32c(0, p, 12))
        return corrupt(err, "bad checksum of the head");
    if (get_u32le(p + 8) != EXPORT_FORMAT)
        return err_set(err, RS_EUNSUPPORTED, "portable stream: format %u is not known", get_u32le(p + 8));
    r->started = true;
    return 0;
}

static int read_table(struct import_reader *r, struct slice p, struct err *err) {
    if (p.len == 0 || p.len > TABLE_NAME_MAX || memchr(p.data, 0, p.len))
        return corrupt(err, "bad table name");
    r->in_table = true;
    r->has_last = false;
    r->sum.tables++;
    return r->ev->table(r->arg, p, err);
}

static int read_rows(struct import_reader *r, struct slice p, struct err *err) {
    uint8_t key[LIMIT_KEY_BYTES];
    size_t key_len = 0;

    if (!r->in_table || p.len == 0)
        return corrupt(err, "rows without a table");
    while (p.len) {
        size_t shared, own, value_len;
        int c;

        if (p.len < ROW_HEAD_BYTES)
            return corrupt(err, "a row is cut off");
        shared = get_u16le(p.data);
        own = get_u16le(p.data + 2);
        value_len = get_u32le(p.data + 4);
        p = slice_from(p, ROW_HEAD_BYTES);
        if (shared > key_len || shared + own > sizeof key || value_len > LIMIT_RECORD_BYTES || own + value_len > p.len)
            return corrupt(err, "bad lengths in a row");
        if (own)
            memcpy(key + shared, p.data, own);
        key_len = shared + own;
        if (r->has_last && slice_cmp(slice_of(key, key_len), buf_slice(&r->last)) <= 0)
            return corrupt(err, "rows are out of order");
        buf_clear(&r->last);
        buf_put(&r->last, key, key_len);
        r->has_last = true;
        r->sum.rows++;
        r->sum.bytes += key_len + value_len;
        c = r->ev->row(r->arg, buf_slice(&r->last), slice_sub(p, own, value_len), err);
        if (c)
            return c;
        p = slice_from(p, own + value_len);
    }
    return 0;
}

static int read_end(struct import_reader *r, struct slice p, struct err *err) {
    if (p.len < END_BYTES || p.len > END_BYTES + ATTRIBUTES_MAX)
        return corrupt(err, "bad end");
    if (get_u32le(p.data) != EXPORT_FORMAT || get_u32le(p.data + 4) != r->sum.crc ||
        get_u64le(p.data + 8) != r->sum.tables || get_u64le(p.data + 16) != r->sum.rows ||
        get_u64le(p.data + 24) != r->sum.bytes)
        return corrupt(err, "the end does not fit what came before");
    r->ended = true;
    return r->ev->end(r->arg, slice_from(p, END_BYTES), &r->sum, err);
}

/* Takes one block from the front of @s; returns its size, 0 when it is not yet whole. */
static int64_t read_block(struct import_reader *r, struct slice s, struct err *err) {
    struct slice payload;
    size_t len;
    int c;

    if (s.len < BLOCK_HEAD_BYTES)
        return 0;
    len = get_u32le(s.data);
    if (len > BLOCK_MAX)
        return corrupt(err, "a block is too large");
    if (s.len < BLOCK_HEAD_BYTES + len)
        return 0;
    payload = slice_sub(s, BLOCK_HEAD_BYTES, len);
    if (block_crc(s.data[8], payload) != get_u32le(s.data + 4))
        return corrupt(err, "bad checksum of a block");
    switch (s.data[8]) {
    case BLOCK_TABLE:
        c = read_table(r, payload, err);
        break;
    case BLOCK_ROWS:
        c = read_rows(r, payload, err);
        break;
    case BLOCK_END:
        c = read_end(r, payload, err);
        break;
    default:
        return corrupt(err, "unknown kind of block");
    }
    chain_crc(&r->sum, get_u32le(s.data + 4));
    if (c > 0)
        return err_set(err, RS_ECANCELED, "portable stream: stopped by the receiver");
    return c ? c : (int64_t)(BLOCK_HEAD_BYTES + len);
}

static int64_t read_some(struct import_reader *r, struct slice s, struct err *err) {
    size_t at = 0;

    if (!r->started) {
        int c;

        if (s.len < HEAD_BYTES)
            return 0;
        c = read_head(r, s.data, err);
        if (c < 0)
            return c;
        at = HEAD_BYTES;
    }
    while (!r->ended) {
        int64_t n = read_block(r, slice_from(s, at), err);

        if (n < 0)
            return n;
        if (n == 0)
            break;
        at += (size_t)n;
    }
    return r->ended && at < s.len ? corrupt(err, "bytes after the end") : (int64_t)at;
}

int import_feed(struct import_reader *r, struct slice bytes, struct err *err) {
    struct slice s = bytes;
    int64_t n;

    if (r->failed)
        return err_set(err, r->failed, "portable stream: it failed before");
    if (r->ended)
        return bytes.len ? corrupt(err, "bytes after the end") : 1;
    if (r->in.len) {
        buf_put_slice(&r->in, bytes);
        s = buf_slice(&r->in);
    }
    n = read_some(r, s, err);
    if (n < 0) {
        r->failed = (int)n;
        return (int)n;
    }
    if (r->in.len)
        buf_consume(&r->in, (size_t)n);
    else
        buf_put_slice(&r->in, slice_from(bytes, (size_t)n));
    return r->ended;
}
