/* SPDX-License-Identifier: Apache-2.0 */
/* query/query_internal.h : shared by the parts of the query engine. All of it runs on the query's own thread.
 *
 *   rewrite.c   the DataFusion dialect, as far as clients use it, to SQLite's
 *   functions.c SQL functions that SQLite does not have
 *   tables.c    names, columns and types of the tables
 *   vtab.c      SQLite's virtual table interface: access paths, chunks of rows, columns
 *   rows.c, rows_invocation.c, rows_journal.c    from stored rows to columns
 *   engine.c    one statement from text to rows
 *   out_json.c, out_arrow.c    the answer
 *   query.c     the loop's side: views, jobs, flow control, limits
 *   remote.h    partitions of other nodes
 *
 * Times are TEXT of fixed width (2026-11-22T20:19:44.204Z), so that they compare with literals; durations are INTEGER
 * milliseconds; u64 are INTEGER with the same 64 bits. The declared type of a column says how it is printed. */
#pragma once
#include <sqlite3.h>
#include "base/arena.h"
#include "base/buf.h"
#include "meta/schema.h"
#include "proto/command.gen.h"
#include "proto/command.h"
#include "proto/ids.h"
#include "proto/service.h"
#include "query/query.h"
#include "worker/tables.h"

struct query_statement;

/* ---- where rows come from ---- */

struct query_attempt { /* what the invoker of the leader knows of an invocation */
    struct invocation_id id;
    bool in_flight;
    uint32_t retry_count;
    uint64_t last_start_ms, next_retry_ms; /* 0: none */
    struct slice deployment;               /* data NULL: none */
    bool has_failure;
    struct cmd_event failure;
};

struct query_data {
    size_t n_partitions; /* equal ranges of the key space: partition_of_key() */
    int (*get)(void *arg, uint32_t partition, struct slice key, struct buf *ret, struct err *err);
    int (*scan)(void *arg, uint32_t partition, struct slice lower, struct slice upper, sm_each_fn each, void *each_arg,
                struct err *err);
    void *arg;
    size_t hint_rows;                     /* of the scan that is made: more are not wanted at once */
    const struct query_attempt *attempts; /* sorted by id */
    size_t n_attempts;
    const struct schema *schema;
    uint64_t now_ms;
};
const struct query_attempt *query_attempt_find(const struct query_data *d, const struct invocation_id *id);

/* ---- tables ---- */

enum column_type { COL_TEXT, COL_BLOB, COL_BOOL, COL_U32, COL_U64, COL_TS, COL_DUR, COL_LIST, COL_I64, COL_F64 };
const char *column_type_decl(enum column_type t);
bool column_type_of_decl(const char *decl, enum column_type *ret); /* false: NULL or not one of ours */
struct column {
    const char *name;
    enum column_type type;
    unsigned slot; /* of the row where the value is put */
};
enum { QUERY_SLOTS = 64 };

struct cell {
    enum { CELL_NULL, CELL_INT, CELL_TEXT, CELL_BLOB } kind;
    int64_t i;
    struct slice s;
};
struct query_row {
    struct cell cells[QUERY_SLOTS];
    uint64_t wanted; /* bit per slot */
    struct arena arena;
};

struct query_reader; /* of one cursor: the data and its buffers */
struct query_table {
    const char *name;
    const struct column *columns;
    size_t n_columns;
    /* Tables over rows of partitions: logical table; 0: not one. */
    enum table_code code;
    int id_column, key_column, pk_column; /* index of the column a look-up may use; -1: none */
    /* 1: @row is filled; 0: this stored row is none of the table's; negative: failed. */
    int (*stored)(struct query_reader *r, struct slice key, struct slice value, struct query_row *row, struct err *err);
    /* Tables in memory: row number @n. 1, or 0 behind the last one. */
    int (*nth)(struct query_reader *r, size_t n, struct query_row *row);
    bool attempts; /* reads what the invoker knows */
};
extern const struct query_table query_tables[];
extern const size_t query_n_tables;

struct query_reader {
    const struct query_data *data;
    uint32_t partition; /* of the stored row */
    struct buf value, value2;
    struct arena arena; /* of decoded values of the row */
};

static inline bool row_wants(const struct query_row *row, unsigned slot) {
    return row->wanted >> slot & 1;
}
void row_text(struct query_row *row, unsigned slot, struct slice s); /* data NULL: null; copied when wanted */
void row_str(struct query_row *row, unsigned slot, const char *s);   /* static text or NULL */
void row_blob(struct query_row *row, unsigned slot, struct slice s);
void row_int(struct query_row *row, unsigned slot, uint64_t v);
void row_ts(struct query_row *row, unsigned slot, uint64_t ms); /* 0: null */
void row_id(struct query_row *row, unsigned slot, struct slice raw24);
/* Text of a time, into @ret of at least 25 bytes. */
enum { QUERY_TS_CHARS = 24 };
void query_ts_text(uint64_t ms, char ret[QUERY_TS_CHARS + 1]);
bool query_ts_parse(struct slice text, uint64_t *ret_ms);

/* rows.c, rows_invocation.c, rows_journal.c */
int rows_status(struct query_reader *r, struct slice key, struct slice value, struct query_row *row, struct err *err);
int rows_attempt(struct query_reader *r, size_t n, struct query_row *row);
int rows_idempotency(struct query_reader *r, struct slice key, struct slice value, struct query_row *row,
                     struct err *err);
int rows_journal(struct query_reader *r, struct slice key, struct slice value, struct query_row *row, struct err *err);
int rows_event(struct query_reader *r, struct slice key, struct slice value, struct query_row *row, struct err *err);
int rows_state(struct query_reader *r, struct slice key, struct slice value, struct query_row *row, struct err *err);
int rows_promise(struct query_reader *r, struct slice key, struct slice value, struct query_row *row, struct err *err);
int rows_inbox(struct query_reader *r, struct slice key, struct slice value, struct query_row *row, struct err *err);
int rows_lock(struct query_reader *r, struct slice key, struct slice value, struct query_row *row, struct err *err);
int rows_deployment(struct query_reader *r, size_t n, struct query_row *row);
int rows_service(struct query_reader *r, size_t n, struct query_row *row);
int rows_info_columns(struct query_reader *r, size_t n, struct query_row *row);
int rows_info_tables(struct query_reader *r, size_t n, struct query_row *row);
int rows_none(struct query_reader *r, size_t n, struct query_row *row);
/* "Svc/handler" or "Obj/key/handler"; appended. */
void put_target(struct buf *out, const struct cmd_target *t);
void put_json_str(struct buf *out, struct slice s);   /* with the quotes; bytes that are not UTF-8 become U+FFFD */
void put_json_bytes(struct buf *out, struct slice s); /* [1,2,3] */
void put_future_json(struct buf *out, const struct cmd_future *f);
/* entry_json and entry_lite_json of a journal entry (spec sql.md §2.3), appended. */
void put_entry_json(struct buf *out, const struct journal_entry *e, bool lite, struct arena *a);

/* Slots that more than one file knows. */
enum slot_invocation {
    S_PK,
    S_ID,
    S_STORED_STATUS,
    S_RESULT,
    S_FAILURE,
    S_TARGET,
    S_SERVICE,
    S_KEY,
    S_HANDLER,
    S_TYPE,
    S_SCOPE,
    S_LIMIT_KEY,
    S_IDEMPOTENCY,
    S_BY,
    S_BY_ID,
    S_BY_SUBSCRIPTION,
    S_BY_SERVICE,
    S_BY_TARGET,
    S_RESTARTED,
    S_DEPLOYMENT,
    S_PROTOCOL,
    S_JOURNAL_SIZE,
    S_COMMANDS,
    S_CREATED,
    S_VERSION,
    S_MODIFIED,
    S_INBOXED,
    S_SCHEDULED,
    S_START,
    S_RUNNING,
    S_COMPLETED,
    S_RETENTION,
    S_JOURNAL_RETENTION,
    S_WAIT_COMPLETIONS,
    S_WAIT_SIGNALS,
    S_WAIT_FUTURE,
    S_STATUS,
    S_IN_FLIGHT,
    S_RETRY_COUNT,
    S_LAST_START,
    S_LAST_DEPLOYMENT,
    S_LAST_SERVER,
    S_NEXT_RETRY,
    S_LAST_FAILURE,
    S_LAST_CODE,
    S_LAST_INDEX,
    S_LAST_NAME,
    S_LAST_TYPE,
    S_AWAITING,
    S_TRACE,
    S_NULL, /* never has a value */
};
_Static_assert((int)S_NULL < (int)QUERY_SLOTS, "the slots fit a row");

/* ---- SQL ---- */

/* query_rewrite() - @sql to SQLite's dialect. RS_EINVAL: unbalanced quotes. */
enum { QUERY_BOOLS = 64 };
struct query_text {
    struct buf sql;
    /* The outermost select list: bit i: item i is a condition (true or false). */
    uint64_t bools;
    int n_items, star; /* star: the one item that is a "*", -1: none, -2: several */
};
int query_rewrite(struct slice sql, struct query_text *ret, struct err *err) RS_WARN_UNUSED;
bool query_text_is_bool(const struct query_text *t, int column, int n_columns);
int query_functions(sqlite3 *db, struct query_statement *q);

/* One statement. query_prepare() needs no data; rows are stepped when @data is set. */
struct query_statement {
    sqlite3 *db;
    sqlite3_stmt *stmt;
    struct query_text text;
    struct query_data data;
    bool uses_rows, uses_attempts; /* after prepare: what has to be in @data */
    struct err err;                /* of the rows */
    const uint32_t *cancel;        /* atomic; non-zero: stop soon; may be NULL */
    uint64_t (*mono_ns)(void *arg);
    void *clock;
    uint64_t deadline_ns;  /* 0: none */
    uint64_t memory_bytes; /* as of struct query_engine_params; of the process, so the last statement's holds */
    bool timed_out;
    bool declaring; /* a virtual table tells its columns: SQLite asks the authorizer for that, too */
};
int query_prepare(struct query_statement *q, struct slice sql, enum query_failure *ret_failure,
                  struct err *err) RS_WARN_UNUSED;
/* 1: a row is there; 0: the end; negative: failed. */
int query_step(struct query_statement *q, enum query_failure *ret_failure, struct err *err) RS_WARN_UNUSED;
void query_finish(struct query_statement *q);
int query_vtabs(struct query_statement *q);
/* How column @i of the current result is printed; COL_I64 when nothing is known of it (see the value). */
enum column_type query_column_type(const struct query_statement *q, int i, bool *ret_known);

/* ---- answers ---- */
void out_json_begin(struct buf *out);
void out_json_row(const struct query_statement *q, bool first, struct buf *out);
void out_json_end(struct buf *out);

struct out_arrow; /* collects a batch of rows */
struct out_arrow *out_arrow_new(void);
struct out_arrow *out_arrow_free(struct out_arrow *o);
void out_arrow_row(struct out_arrow *o, const struct query_statement *q, struct buf *out);
void out_arrow_end(struct out_arrow *o, const struct query_statement *q, struct buf *out);
