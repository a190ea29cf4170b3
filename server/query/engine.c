/* SPDX-License-Identifier: Apache-2.0 */
/* query/engine.c : one statement: a private SQLite database in memory that holds nothing but the virtual tables. It may
 * only read: an authorizer refuses all else. Limits are checked while it runs. */
#include "query/query_internal.h"

#include <string.h>

enum {
    PROGRESS_OPS = 2000, /* between two looks at clock and cancel flag */
    MAX_SQL_BYTES = 1 << 20,
    MAX_VALUE_BYTES = 128 << 20, /* one text or blob */
    HEAP_BYTES = 256 << 20,      /* default of memory_bytes */
};

static int authorize(void *arg, int action, const char *a, const char *b, const char *db, const char *trigger) {
    const struct query_statement *q = arg;

    if (q->declaring)
        return SQLITE_OK;
    switch (action) {
    case SQLITE_SELECT:
    case SQLITE_RECURSIVE:
        return SQLITE_OK;
    case SQLITE_FUNCTION:
        return b && sqlite3_stricmp(b, "load_extension") == 0 ? SQLITE_DENY : SQLITE_OK;
    case SQLITE_READ:
        return a && sqlite3_strnicmp(a, "sqlite_", 7) == 0 ? SQLITE_DENY : SQLITE_OK;
    default:
        return SQLITE_DENY;
    }
}

static int progress(void *arg) {
    struct query_statement *q = arg;

    if (q->cancel && __atomic_load_n(q->cancel, __ATOMIC_RELAXED))
        return 1;
    if (q->deadline_ns && q->mono_ns && q->mono_ns(q->clock) > q->deadline_ns)
        q->timed_out = true;
    return q->timed_out;
}

static int open_db(struct query_statement *q, struct err *err) {
    int r;

    (void)sqlite3_hard_heap_limit64(q->memory_bytes ? (sqlite3_int64)q->memory_bytes : HEAP_BYTES);
    r = sqlite3_open_v2(":memory:", &q->db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_MEMORY, NULL);
    if (r == SQLITE_OK)
        r = sqlite3_exec(q->db, "PRAGMA case_sensitive_like=ON; PRAGMA temp_store=2", NULL, NULL, NULL);
    if (r == SQLITE_OK)
        r = query_functions(q->db, q);
    if (r == SQLITE_OK)
        r = query_vtabs(q);
    if (r != SQLITE_OK)
        return err_set(err, RS_EIO, "cannot start the query engine: %s", sqlite3_errstr(r));
    (void)sqlite3_db_config(q->db, SQLITE_DBCONFIG_DQS_DML, 0, NULL);
    (void)sqlite3_db_config(q->db, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL);
    (void)sqlite3_limit(q->db, SQLITE_LIMIT_SQL_LENGTH, MAX_SQL_BYTES * 2);
    (void)sqlite3_limit(q->db, SQLITE_LIMIT_LENGTH, MAX_VALUE_BYTES);
    (void)sqlite3_limit(q->db, SQLITE_LIMIT_ATTACHED, 0);
    (void)sqlite3_set_authorizer(q->db, authorize, q);
    sqlite3_progress_handler(q->db, PROGRESS_OPS, progress, q);
    return 0;
}

static bool only_space(const char *s) {
    return s[strspn(s, " \t\r\n;")] == 0;
}

int query_prepare(struct query_statement *q, struct slice sql, enum query_failure *ret_failure, struct err *err) {
    const char *tail = "";
    int r;

    *ret_failure = QUERY_INVALID;
    if (sql.len > MAX_SQL_BYTES)
        return err_set(err, RS_ETOOBIG, "the statement is longer than %d bytes", MAX_SQL_BYTES);
    if (memchr(sql.data, 0, sql.len))
        return err_set(err, RS_EINVAL, "the statement has a zero byte");
    r = query_rewrite(sql, &q->text, err);
    if (r < 0)
        return r;
    *ret_failure = QUERY_FAILED;
    r = open_db(q, err);
    if (r < 0)
        return r;
    r = sqlite3_prepare_v2(q->db, buf_cstr(&q->text.sql), (int)q->text.sql.len, &q->stmt, &tail);
    if (r != SQLITE_OK) {
        const char *why = sqlite3_errmsg(q->db);

        *ret_failure = strncmp(why, "no such table", 13) == 0 ? QUERY_FAILED : QUERY_INVALID;
        return err_set(err, RS_EINVAL, "%s",
                       r == SQLITE_AUTH && !strstr(why, "function")
                           ? "only queries are supported: SELECT and WITH … SELECT"
                           : why);
    }
    *ret_failure = QUERY_INVALID;
    if (!q->stmt)
        return err_set(err, RS_EINVAL, "there is no statement");
    if (!only_space(tail))
        return err_set(err, RS_EINVAL, "only one statement at a time is supported");
    if (!sqlite3_stmt_readonly(q->stmt) || !sqlite3_column_count(q->stmt))
        return err_set(err, RS_EINVAL, "only queries are supported: SELECT and WITH … SELECT");
    return 0;
}

int query_step(struct query_statement *q, enum query_failure *ret_failure, struct err *err) {
    int r = sqlite3_step(q->stmt);

    if (r == SQLITE_ROW)
        return 1;
    if (r == SQLITE_DONE)
        return 0;
    *ret_failure = QUERY_FAILED;
    if (q->err.code) {
        if (err)
            *err = q->err;
        return q->err.code;
    }
    if (q->timed_out)
        return err_set(err, RS_ETIMEDOUT, "the query took too long and was stopped");
    if (r == SQLITE_NOMEM)
        return err_set(err, RS_ENOMEM, "the query needs more memory than queries may use");
    return err_set(err, r == SQLITE_INTERRUPT ? RS_ECANCELED : RS_EIO, "%s", sqlite3_errmsg(q->db));
}

void query_finish(struct query_statement *q) {
    if (q->stmt)
        (void)sqlite3_finalize(q->stmt);
    if (q->db)
        (void)sqlite3_close(q->db);
    q->stmt = NULL;
    q->db = NULL;
    buf_done(&q->text.sql);
}

enum column_type query_column_type(const struct query_statement *q, int i, bool *ret_known) {
    enum column_type t = COL_I64;

    *ret_known = true;
    if (column_type_of_decl(sqlite3_column_decltype(q->stmt, i), &t))
        return t;
    if (query_text_is_bool(&q->text, i, sqlite3_column_count(q->stmt)))
        return COL_BOOL;
    *ret_known = false;
    return t;
}
