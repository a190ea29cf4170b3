/* SPDX-License-Identifier: Apache-2.0 */
/* query/vtab.c : the tables as SQLite sees them. Each is an eponymous virtual table. A cursor reads stored rows in
 * chunks, one partition after the other, and decodes a row's columns when SQLite steps onto it; columns that the
 * statement does not use are not made. Access paths: by invocation id (one point), by object key or partition key (one
 * prefix of one partition), everything. SQLite checks the conditions itself in any case. */
#include "query/query_internal.h"

#include <stdio.h>
#include <string.h>

enum plan { PLAN_ALL = 0, PLAN_PK = 1, PLAN_KEY = 2, PLAN_ID = 3, PLAN_NOTHING = 4 };
enum { CHUNK_ROWS = 256, CHUNK_FIRST_ROWS = 8, CHUNK_BYTES = 256 << 10 };

struct vtab {
    sqlite3_vtab base;
    const struct query_table *table;
    struct query_statement *q;
};

struct chunk_row {
    size_t at, key_len, value_len; /* in bytes: key, then value */
};

struct cursor {
    sqlite3_vtab_cursor base;
    const struct query_table *table;
    struct query_statement *q;
    struct query_reader reader;
    struct query_row row;
    bool eof;
    int64_t rowid;
    /* rows in memory */
    size_t nth;
    bool only_one;
    /* stored rows */
    uint32_t partition, last_partition;
    struct table_key lower, upper;
    bool bounded;
    struct buf next_key; /* where the partition goes on; empty: at its beginning */
    struct buf bytes;
    struct chunk_row rows[CHUNK_ROWS];
    size_t n_rows, at_row, want_rows;
    bool more; /* in this partition */
};

/* ---- connecting ---- */

static int vt_connect(sqlite3 *db, void *aux, int argc, const char *const *argv, sqlite3_vtab **ret, char **err) {
    struct query_statement *q = aux;
    const struct query_table *t = NULL;
    struct vtab *v;
    struct buf sql = {0};
    int r;

    for (size_t i = 0; i < query_n_tables; i++)
        if (strcmp(query_tables[i].name, argv[0]) == 0)
            t = &query_tables[i];
    if (!t)
        return SQLITE_ERROR;
    buf_put_str(&sql, "CREATE TABLE x(");
    for (size_t i = 0; i < t->n_columns; i++)
        buf_putf(&sql, "%s\"%s\" %s", i ? ", " : "", t->columns[i].name, column_type_decl(t->columns[i].type));
    buf_put_str(&sql, ")");
    q->declaring = true;
    r = sqlite3_declare_vtab(db, buf_cstr(&sql));
    q->declaring = false;
    buf_done(&sql);
    if (r != SQLITE_OK)
        return r;
    v = sqlite3_malloc(sizeof *v);
    if (!v)
        return SQLITE_NOMEM;
    *v = (struct vtab){.table = t, .q = q};
    q->uses_rows |= t->code != 0;
    q->uses_attempts |= t->attempts;
    *ret = &v->base;
    return SQLITE_OK;
}

static int vt_disconnect(sqlite3_vtab *base) {
    sqlite3_free(base);
    return SQLITE_OK;
}

/* ---- planning ---- */

/* The one constraint "column = value" that can be used; -1: none. */
static int equal_on(const sqlite3_index_info *info, int column) {
    for (int i = 0; column >= 0 && i < info->nConstraint; i++)
        if (info->aConstraint[i].usable && info->aConstraint[i].iColumn == column &&
            info->aConstraint[i].op == SQLITE_INDEX_CONSTRAINT_EQ)
            return i;
    return -1;
}

static int vt_best_index(sqlite3_vtab *base, sqlite3_index_info *info) {
    const struct query_table *t = ((struct vtab *)base)->table;
    enum plan plan = PLAN_ALL;
    int use = -1;

    if ((use = equal_on(info, t->id_column)) >= 0)
        plan = PLAN_ID;
    else if ((use = equal_on(info, t->key_column)) >= 0)
        plan = PLAN_KEY;
    else if ((use = equal_on(info, t->pk_column)) >= 0)
        plan = PLAN_PK;
    if (use >= 0)
        info->aConstraintUsage[use].argvIndex = 1;
    info->idxNum = (int)plan;
    info->idxStr = sqlite3_mprintf("%llx", (unsigned long long)info->colUsed);
    if (!info->idxStr)
        return SQLITE_NOMEM;
    info->needToFreeIdxStr = 1;
    info->estimatedRows = plan == PLAN_ID ? (t->code == T_JOURNAL ? 20 : 1) : plan == PLAN_ALL ? 1000000 : 100;
    if (!t->code && plan != PLAN_ID)
        info->estimatedRows = 100;
    info->estimatedCost = (double)info->estimatedRows * (t->code ? 1.0 : 0.1);
    return SQLITE_OK;
}

static int vt_open(sqlite3_vtab *base, sqlite3_vtab_cursor **ret) {
    struct vtab *v = (struct vtab *)base;
    struct cursor *c = sqlite3_malloc(sizeof *c);

    if (!c)
        return SQLITE_NOMEM;
    memset(c, 0, sizeof *c);
    c->table = v->table;
    c->q = v->q;
    c->reader.data = &v->q->data;
    *ret = &c->base;
    return SQLITE_OK;
}

static int vt_close(sqlite3_vtab_cursor *base) {
    struct cursor *c = (struct cursor *)base;

    buf_done(&c->bytes);
    buf_done(&c->next_key);
    buf_done(&c->reader.value);
    buf_done(&c->reader.value2);
    arena_done(&c->reader.arena);
    arena_done(&c->row.arena);
    sqlite3_free(c);
    return SQLITE_OK;
}

/* ---- reading ---- */

static int chunk_each(void *arg, struct slice key, struct slice value) {
    struct cursor *c = arg;

    if (c->n_rows == c->want_rows || (c->n_rows && c->bytes.len >= CHUNK_BYTES)) {
        c->more = true;
        return 1;
    }
    c->rows[c->n_rows++] = (struct chunk_row){c->bytes.len, key.len, value.len};
    buf_put_slice(&c->bytes, key);
    buf_put_slice(&c->bytes, value);
    return 0;
}

/* 1: there are rows in the chunk; 0: no partition has more. */
static int next_chunk(struct cursor *c) {
    for (;;) {
        struct slice upper = c->bounded ? table_key_slice(&c->upper) : SLICE_NULL;
        int r;

        if (c->n_rows) { /* go on behind the last one */
            const struct chunk_row *last = &c->rows[c->n_rows - 1];

            buf_clear(&c->next_key);
            buf_put(&c->next_key, c->bytes.data + last->at, last->key_len);
            buf_put_u8(&c->next_key, 0);
            if (!c->more) {
                c->partition++;
                buf_clear(&c->next_key);
            }
        }
        if (c->partition > c->last_partition)
            return 0;
        c->n_rows = c->at_row = 0;
        c->more = false;
        buf_clear(&c->bytes);
        c->q->data.hint_rows = c->want_rows + 1; /* one more tells that there are more */
        r = c->q->data.scan(c->q->data.arg, c->partition,
                            c->next_key.len ? buf_slice(&c->next_key) : table_key_slice(&c->lower), upper, chunk_each,
                            c, &c->q->err);
        if (r < 0)
            return r;
        if (c->more)
            c->want_rows = MIN((size_t)CHUNK_ROWS, c->want_rows * 4);
        if (c->n_rows)
            return 1;
        c->partition++;
        buf_clear(&c->next_key);
    }
}

static int next_stored(struct cursor *c) {
    for (;;) {
        const struct chunk_row *row;
        int r;

        if (c->at_row == c->n_rows && (r = next_chunk(c)) <= 0)
            return r;
        row = &c->rows[c->at_row++];
        arena_clear(&c->reader.arena);
        arena_clear(&c->row.arena);
        memset(c->row.cells, 0, sizeof c->row.cells);
        c->reader.partition = c->partition;
        r = c->table->stored(&c->reader, slice_of(c->bytes.data + row->at, row->key_len),
                             slice_of(c->bytes.data + row->at + row->key_len, row->value_len), &c->row, &c->q->err);
        if (r != 0)
            return r;
        if (c->q->cancel && __atomic_load_n(c->q->cancel, __ATOMIC_RELAXED))
            return err_set(&c->q->err, RS_ECANCELED, "canceled");
    }
}

static int next_in_memory(struct cursor *c) {
    if (c->only_one && c->rowid)
        return 0;
    arena_clear(&c->row.arena);
    memset(c->row.cells, 0, sizeof c->row.cells);
    return c->table->nth(&c->reader, c->nth++, &c->row);
}

static int advance(struct cursor *c) {
    int r = c->table->code ? next_stored(c) : next_in_memory(c);

    c->eof = r == 0;
    c->rowid++;
    if (r >= 0)
        return SQLITE_OK;
    if (!c->q->err.code)
        (void)err_set(&c->q->err, r, "%s cannot be read", c->table->name);
    return SQLITE_ERROR;
}

/* ---- starting a scan ---- */

static void use_prefix(struct cursor *c) {
    c->bounded = key_after(&c->upper, table_key_slice(&c->lower));
}

static void at_partition_key(struct cursor *c, uint64_t pk) {
    c->lower.b[0] = (uint8_t)c->table->code;
    put_u64be(c->lower.b + 1, pk);
    c->lower.len = 9;
    c->partition = c->last_partition = partition_of_key(pk, (unsigned)c->q->data.n_partitions);
    use_prefix(c);
}

static bool at_id(struct cursor *c, struct slice text) {
    struct invocation_id id;
    const struct query_attempt *a;

    if (invocation_id_parse(text, &id, NULL) < 0)
        return false;
    if (!c->table->code) {
        a = query_attempt_find(&c->q->data, &id);
        c->nth = a ? (size_t)(a - c->q->data.attempts) : 0;
        c->only_one = true;
        return a != NULL;
    }
    at_partition_key(c, invocation_id_pk(&id));
    if (c->table->stored == rows_journal)
        key_journal(&c->lower, &id, J_ENTRY);
    else if (c->table->stored == rows_event)
        key_journal(&c->lower, &id, J_EVENT);
    else
        key_of_id(&c->lower, c->table->code, &id);
    use_prefix(c);
    return true;
}

static enum plan start(struct cursor *c, enum plan plan, sqlite3_value *v) {
    struct slice text = SLICE_NULL;

    if (v && sqlite3_value_type(v) == SQLITE_NULL)
        return PLAN_NOTHING; /* nothing equals NULL */
    if (v && plan != PLAN_PK) {
        text.data = sqlite3_value_text(v);
        text.len = (size_t)sqlite3_value_bytes(v);
        if (!text.data)
            return PLAN_NOTHING;
    }
    if (plan == PLAN_ID)
        return at_id(c, text) ? plan : PLAN_NOTHING;
    if (plan == PLAN_KEY) {
        const struct id_target t = {.type = TARGET_OBJECT_EXCLUSIVE, .key = text};

        at_partition_key(c, id_partition_key(&t, 0));
        return plan;
    }
    if (plan == PLAN_PK && sqlite3_value_type(v) == SQLITE_INTEGER) {
        at_partition_key(c, (uint64_t)sqlite3_value_int64(v));
        return plan;
    }
    if (c->table->code) {
        c->lower.b[0] = (uint8_t)c->table->code;
        c->lower.len = 1;
        use_prefix(c);
        c->partition = 0;
        c->last_partition = (uint32_t)c->q->data.n_partitions - 1;
    }
    return PLAN_ALL;
}

static int vt_filter(sqlite3_vtab_cursor *base, int idx, const char *str, int argc, sqlite3_value **argv) {
    struct cursor *c = (struct cursor *)base;
    uint64_t used = str ? strtoull(str, NULL, 16) : UINT64_MAX;
    enum plan plan;

    c->row.wanted = 0;
    for (size_t i = 0; i < c->table->n_columns; i++)
        if (used >> MIN(i, (size_t)63) & 1)
            c->row.wanted |= UINT64_C(1) << c->table->columns[i].slot;
    c->eof = false;
    c->rowid = 0;
    c->nth = 0;
    c->only_one = false;
    c->n_rows = c->at_row = 0;
    c->want_rows = CHUNK_FIRST_ROWS;
    c->more = false;
    buf_clear(&c->next_key);
    if (c->table->code && !c->q->data.n_partitions)
        plan = PLAN_NOTHING;
    else
        plan = start(c, (enum plan)idx, argc ? argv[0] : NULL);
    if (plan == PLAN_NOTHING) {
        c->eof = true;
        return SQLITE_OK;
    }
    return advance(c);
}

static int vt_next(sqlite3_vtab_cursor *base) {
    return advance((struct cursor *)base);
}

static int vt_eof(sqlite3_vtab_cursor *base) {
    return ((struct cursor *)base)->eof;
}

static int vt_column(sqlite3_vtab_cursor *base, sqlite3_context *ctx, int i) {
    struct cursor *c = (struct cursor *)base;
    const struct cell *cell = &c->row.cells[c->table->columns[i].slot];

    switch (cell->kind) {
    case CELL_INT:
        sqlite3_result_int64(ctx, cell->i);
        break;
    case CELL_TEXT:
        sqlite3_result_text64(ctx, (const char *)cell->s.data, cell->s.len, SQLITE_TRANSIENT, SQLITE_UTF8);
        break;
    case CELL_BLOB:
        sqlite3_result_blob64(ctx, cell->s.data, cell->s.len, SQLITE_TRANSIENT);
        break;
    case CELL_NULL:
        sqlite3_result_null(ctx);
        break;
    }
    return SQLITE_OK;
}

static int vt_rowid(sqlite3_vtab_cursor *base, sqlite3_int64 *ret) {
    *ret = ((struct cursor *)base)->rowid;
    return SQLITE_OK;
}

int query_vtabs(struct query_statement *q) {
    static const sqlite3_module module = {
        .iVersion = 0,
        .xConnect = vt_connect, /* no xCreate: the tables are there by their names alone */
        .xBestIndex = vt_best_index,
        .xDisconnect = vt_disconnect,
        .xOpen = vt_open,
        .xClose = vt_close,
        .xFilter = vt_filter,
        .xNext = vt_next,
        .xEof = vt_eof,
        .xColumn = vt_column,
        .xRowid = vt_rowid,
    };

    for (size_t i = 0; i < query_n_tables; i++) {
        int r = sqlite3_create_module_v2(q->db, query_tables[i].name, &module, q, NULL);

        if (r != SQLITE_OK)
            return r;
    }
    return SQLITE_OK;
}
