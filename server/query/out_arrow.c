/* SPDX-License-Identifier: Apache-2.0 */
/* query/out_arrow.c : the answer as an Arrow IPC stream (spec sql.md §3): a schema message, record batches, an end
 * mark. No compression, no dictionaries.
 *
 *   message   FF FF FF FF | i32 length of the metadata, a multiple of 8 | metadata (FlatBuffers Message) | body
 *   body      the buffers of every column, each padded to 8 bytes: validity bits (empty: no nulls), then values, or for
 *             text and blobs i64 offsets and bytes
 *
 * A column whose type SQLite does not declare (an expression) takes the type of its value in the first row. Lists are
 * their JSON text. */
#include "query/query_internal.h"

#include <string.h>

enum { BATCH_ROWS = 1024, BATCH_BYTES = 128 << 10 };

struct arrow_column {
    enum column_type type;
    struct buf valid, offsets, data; /* valid: a byte per row until it is written */
    uint64_t nulls;
};
struct out_arrow {
    struct arrow_column *columns;
    int n;
    size_t rows; /* of the batch */
    size_t bytes;
};

/* ---- FlatBuffers, written forward: a table's children come after it ---- */

struct fb_field {
    uint8_t size; /* 0: absent; 1, 2, 4, 8 bytes */
    uint64_t value;
    size_t at; /* out: where it stands, for fb_link() */
};

static void fb_align(struct buf *b, size_t to, size_t then) { /* so that @then bytes later it is aligned */
    while ((b->len + then) % to)
        buf_put_u8(b, 0);
}

/* fb_table() - vtable, then the table, 8-aligned. Returns where the table is. */
static size_t fb_table(struct buf *b, struct fb_field *f, size_t n) {
    size_t vtable, table, size = 4;
    uint16_t at[8];

    for (size_t i = 0; i < n; i++) {
        at[i] = 0;
        if (!f[i].size)
            continue;
        size = (size + f[i].size - 1) / f[i].size * f[i].size;
        at[i] = (uint16_t)size;
        size += f[i].size;
    }
    fb_align(b, 8, 0);
    vtable = b->len;
    put_u16le(buf_add(b, 2), (uint16_t)(4 + 2 * n));
    put_u16le(buf_add(b, 2), (uint16_t)size);
    for (size_t i = 0; i < n; i++)
        put_u16le(buf_add(b, 2), at[i]);
    fb_align(b, 8, 0);
    table = b->len;
    memset(buf_add(b, size), 0, size);
    put_u32le(b->data + table, (uint32_t)(table - vtable));
    for (size_t i = 0; i < n; i++) {
        uint8_t *p = b->data + table + at[i];

        f[i].at = table + at[i];
        if (f[i].size == 1)
            *p = (uint8_t)f[i].value;
        else if (f[i].size == 2)
            put_u16le(p, (uint16_t)f[i].value);
        else if (f[i].size == 4)
            put_u32le(p, (uint32_t)f[i].value);
        else if (f[i].size == 8)
            put_u64le(p, f[i].value);
    }
    return table;
}

static void fb_link(struct buf *b, size_t field, size_t target) {
    put_u32le(b->data + field, (uint32_t)(target - field));
}

static size_t fb_string(struct buf *b, struct slice s) {
    size_t at;

    fb_align(b, 4, 0);
    at = b->len;
    buf_put_u32le(b, (uint32_t)s.len);
    buf_put_slice(b, s);
    buf_put_u8(b, 0);
    return at;
}

/* fb_vector() - room for @n elements of @size bytes, zeroed; the elements are aligned to their size, at most 8. */
static size_t fb_vector(struct buf *b, size_t n, size_t size) {
    size_t at;

    fb_align(b, size > 4 ? 8 : 4, 4);
    at = b->len;
    buf_put_u32le(b, (uint32_t)n);
    memset(buf_add(b, n * size), 0, n * size);
    return at;
}

/* ---- messages ---- */

enum { HEADER_SCHEMA = 1, HEADER_RECORD_BATCH = 3, METADATA_V5 = 4 };

/* message_begin() - root and Message table; *ret_header is the field that the header table is linked to. */
static void message_begin(struct buf *b, uint8_t type, uint64_t body, size_t *ret_header) {
    struct fb_field f[] = {{2, METADATA_V5, 0}, {1, type, 0}, {4, 0, 0}, {8, body, 0}};
    size_t table;

    buf_put_u32le(b, 0); /* the root: linked below */
    table = fb_table(b, f, ARRAY_SIZE(f));
    fb_link(b, 0, table);
    *ret_header = f[2].at;
}

static void message_put(struct buf *out, struct buf *meta) {
    fb_align(meta, 8, 0);
    buf_put_u32le(out, 0xffffffff);
    buf_put_u32le(out, (uint32_t)meta->len);
    buf_put_slice(out, buf_slice(meta));
}

/* Type enum of the format, and the table with its details. Returns where that is; *ret_type is the enum. */
static size_t put_type(struct buf *b, enum column_type t, uint8_t *ret_type) {
    enum { INT = 2, FLOAT = 3, BOOL = 6, TIMESTAMP = 10, DURATION = 18, LARGE_BINARY = 19, LARGE_UTF8 = 20 };
    enum { DOUBLE = 2, MILLISECOND = 1 };
    struct fb_field f[2] = {{0}};
    size_t n = 0, table;

    switch (t) {
    case COL_U32:
    case COL_U64:
    case COL_I64:
        *ret_type = INT;
        f[n++] = (struct fb_field){4, t == COL_U32 ? 32 : 64, 0};
        f[n++] = (struct fb_field){1, t == COL_I64, 0};
        break;
    case COL_F64:
        *ret_type = FLOAT;
        f[n++] = (struct fb_field){2, DOUBLE, 0};
        break;
    case COL_BOOL:
        *ret_type = BOOL;
        break;
    case COL_TS:
        *ret_type = TIMESTAMP;
        f[n++] = (struct fb_field){2, MILLISECOND, 0};
        f[n++] = (struct fb_field){4, 0, 0};
        break;
    case COL_DUR:
        *ret_type = DURATION;
        f[n++] = (struct fb_field){2, MILLISECOND, 0};
        break;
    case COL_BLOB:
        *ret_type = LARGE_BINARY;
        break;
    case COL_TEXT:
    case COL_LIST:
        *ret_type = LARGE_UTF8;
        break;
    }
    table = fb_table(b, f, n);
    if (t == COL_TS)
        fb_link(b, f[1].at, fb_string(b, SLICE_LIT("+00:00")));
    return table;
}

static void put_schema(const struct out_arrow *o, const struct query_statement *q, struct buf *out) {
    struct fb_field f[] = {{2, 0, 0}, {4, 0, 0}}; /* endianness, fields */
    struct buf b = {0};
    size_t header, table, vector;

    message_begin(&b, HEADER_SCHEMA, 0, &header);
    table = fb_table(&b, f, ARRAY_SIZE(f));
    fb_link(&b, header, table);
    vector = fb_vector(&b, (size_t)o->n, 4);
    fb_link(&b, f[1].at, vector);
    for (int i = 0; i < o->n; i++) {
        /* name, nullable, type enum, type, dictionary, children */
        struct fb_field c[] = {{4, 0, 0}, {1, 1, 0}, {1, 0, 0}, {4, 0, 0}, {0, 0, 0}, {4, 0, 0}};
        size_t column = fb_table(&b, c, ARRAY_SIZE(c)), type;
        uint8_t kind = 0;

        fb_link(&b, vector + 4 + 4 * (size_t)i, column);
        fb_link(&b, c[0].at, fb_string(&b, slice_str(sqlite3_column_name(q->stmt, i))));
        type = put_type(&b, o->columns[i].type, &kind);
        fb_link(&b, c[3].at, type);
        b.data[c[2].at] = kind;
        fb_link(&b, c[5].at, fb_vector(&b, 0, 4));
    }
    message_put(out, &b);
    buf_done(&b);
}

static size_t padded(size_t n) {
    return (n + 7) / 8 * 8;
}

static bool is_bytes(enum column_type t) {
    return t == COL_TEXT || t == COL_BLOB || t == COL_LIST;
}

/* One bit per byte of @bytes, in place. */
static void pack_bits(struct buf *bytes) {
    size_t n = bytes->len;

    for (size_t i = 0; i < n; i++) {
        uint8_t v = bytes->data[i] != 0;

        if (i % 8 == 0)
            bytes->data[i / 8] = v;
        else
            bytes->data[i / 8] = (uint8_t)(bytes->data[i / 8] | v << (i % 8));
    }
    bytes->len = (n + 7) / 8;
}

static void put_batch(struct out_arrow *o, struct buf *out) {
    struct fb_field f[] = {{8, o->rows, 0}, {4, 0, 0}, {4, 0, 0}}; /* length, nodes, buffers */
    struct buf b = {0};
    size_t header, table, nodes, buffers, n_buffers = 0, body = 0, k = 0;

    for (int i = 0; i < o->n; i++) {
        struct arrow_column *c = &o->columns[i];

        if (c->nulls)
            pack_bits(&c->valid);
        else
            buf_clear(&c->valid);
        if (c->type == COL_BOOL)
            pack_bits(&c->data);
        n_buffers += is_bytes(c->type) ? 3 : 2;
        body += padded(c->valid.len) + padded(c->data.len) + (is_bytes(c->type) ? padded(c->offsets.len) : 0);
    }
    message_begin(&b, HEADER_RECORD_BATCH, body, &header);
    table = fb_table(&b, f, ARRAY_SIZE(f));
    fb_link(&b, header, table);
    nodes = fb_vector(&b, (size_t)o->n, 16);
    fb_link(&b, f[1].at, nodes);
    buffers = fb_vector(&b, n_buffers, 16);
    fb_link(&b, f[2].at, buffers);
    body = 0;
    for (int i = 0; i < o->n; i++) {
        struct arrow_column *c = &o->columns[i];
        const struct buf *parts[] = {&c->valid, is_bytes(c->type) ? &c->offsets : NULL, &c->data};

        put_u64le(b.data + nodes + 4 + 16 * (size_t)i, o->rows);
        put_u64le(b.data + nodes + 4 + 16 * (size_t)i + 8, c->nulls);
        for (size_t p = 0; p < ARRAY_SIZE(parts); p++)
            if (parts[p]) {
                put_u64le(b.data + buffers + 4 + 16 * k, body);
                put_u64le(b.data + buffers + 4 + 16 * k + 8, parts[p]->len);
                body += padded(parts[p]->len);
                k++;
            }
    }
    message_put(out, &b);
    buf_done(&b);
    for (int i = 0; i < o->n; i++) {
        struct arrow_column *c = &o->columns[i];
        struct buf *parts[] = {&c->valid, is_bytes(c->type) ? &c->offsets : NULL, &c->data};

        for (size_t p = 0; p < ARRAY_SIZE(parts); p++)
            if (parts[p]) {
                buf_put_slice(out, buf_slice(parts[p]));
                memset(buf_add(out, padded(parts[p]->len) - parts[p]->len), 0, padded(parts[p]->len) - parts[p]->len);
                buf_clear(parts[p]);
            }
        c->nulls = 0;
    }
    o->rows = 0;
    o->bytes = 0;
}

/* ---- rows ---- */

struct out_arrow *out_arrow_new(void) {
    return xnew(struct out_arrow);
}

struct out_arrow *out_arrow_free(struct out_arrow *o) {
    if (!o)
        return NULL;
    for (int i = 0; i < o->n; i++) {
        buf_done(&o->columns[i].valid);
        buf_done(&o->columns[i].offsets);
        buf_done(&o->columns[i].data);
    }
    free(o->columns);
    free(o);
    return NULL;
}

static enum column_type type_of_value(int sqlite_type) {
    switch (sqlite_type) {
    case SQLITE_INTEGER:
        return COL_I64;
    case SQLITE_FLOAT:
        return COL_F64;
    case SQLITE_BLOB:
        return COL_BLOB;
    default:
        return COL_TEXT;
    }
}

static void begin(struct out_arrow *o, const struct query_statement *q, bool has_row, struct buf *out) {
    o->n = sqlite3_column_count(q->stmt);
    o->columns = xnewn(struct arrow_column, (size_t)o->n + 1);
    for (int i = 0; i < o->n; i++) {
        bool known;

        o->columns[i].type = query_column_type(q, i, &known);
        if (!known)
            o->columns[i].type = has_row ? type_of_value(sqlite3_column_type(q->stmt, i)) : COL_TEXT;
    }
    put_schema(o, q, out);
}

static void put_bytes(struct arrow_column *c, sqlite3_stmt *stmt, int i) {
    const void *p = c->type == COL_BLOB ? sqlite3_column_blob(stmt, i) : (const void *)sqlite3_column_text(stmt, i);
    int len = sqlite3_column_bytes(stmt, i);

    if (p && len > 0)
        buf_put(&c->data, p, (size_t)len);
}

static bool put_value(struct arrow_column *c, sqlite3_stmt *stmt, int i) {
    uint64_t v = 0;
    double d;

    switch (c->type) {
    case COL_TS: {
        const void *p = sqlite3_column_text(stmt, i);

        if (!p || !query_ts_parse(slice_of(p, (size_t)sqlite3_column_bytes(stmt, i)), &v))
            return false;
        break;
    }
    case COL_F64:
        d = sqlite3_column_double(stmt, i);
        memcpy(&v, &d, sizeof v);
        break;
    case COL_TEXT:
    case COL_LIST:
    case COL_BLOB:
        put_bytes(c, stmt, i);
        return true;
    default:
        v = (uint64_t)sqlite3_column_int64(stmt, i);
    }
    if (c->type == COL_BOOL)
        buf_put_u8(&c->data, v != 0);
    else if (c->type == COL_U32)
        buf_put_u32le(&c->data, (uint32_t)v);
    else
        buf_put_u64le(&c->data, v);
    return true;
}

static void put_null(struct arrow_column *c) {
    if (c->type == COL_BOOL)
        buf_put_u8(&c->data, 0);
    else if (c->type == COL_U32)
        buf_put_u32le(&c->data, 0);
    else if (!is_bytes(c->type))
        buf_put_u64le(&c->data, 0);
    c->nulls++;
}

void out_arrow_row(struct out_arrow *o, const struct query_statement *q, struct buf *out) {
    if (!o->columns)
        begin(o, q, true, out);
    o->bytes = 0;
    for (int i = 0; i < o->n; i++) {
        struct arrow_column *c = &o->columns[i];
        bool valid;

        if (o->rows == 0 && is_bytes(c->type))
            buf_put_u64le(&c->offsets, 0);
        valid = sqlite3_column_type(q->stmt, i) != SQLITE_NULL && put_value(c, q->stmt, i);
        if (!valid)
            put_null(c);
        buf_put_u8(&c->valid, valid);
        if (is_bytes(c->type))
            buf_put_u64le(&c->offsets, c->data.len);
        o->bytes += c->data.len;
    }
    if (++o->rows == BATCH_ROWS || o->bytes >= BATCH_BYTES)
        put_batch(o, out);
}

void out_arrow_end(struct out_arrow *o, const struct query_statement *q, struct buf *out) {
    if (!o->columns)
        begin(o, q, false, out);
    if (o->rows)
        put_batch(o, out);
    buf_put_u32le(out, 0xffffffff);
    buf_put_u32le(out, 0);
}
