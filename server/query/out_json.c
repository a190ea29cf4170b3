/* SPDX-License-Identifier: Apache-2.0 */
/* query/out_json.c : {"rows":[{…},…]}, null columns left out (spec sql.md §3). */
#include "query/query_internal.h"
#include "base/text.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

void out_json_begin(struct buf *out) {
    buf_put_str(out, "{\"rows\":[");
}

void out_json_end(struct buf *out) {
    buf_put_str(out, "]}");
}

static void put_integer(struct buf *out, int64_t v, enum column_type t) {
    if (t == COL_BOOL)
        buf_put_str(out, v ? "true" : "false");
    else if (t == COL_U64)
        buf_putf(out, "%llu", (unsigned long long)v);
    else if (t != COL_DUR)
        buf_putf(out, "%lld", (long long)v);
    else if (v % 1000)
        buf_putf(out, "\"PT%lld.%03lldS\"", (long long)(v / 1000), (long long)(v % 1000 < 0 ? -(v % 1000) : v % 1000));
    else
        buf_putf(out, "\"PT%lldS\"", (long long)(v / 1000));
}

static void put_real(struct buf *out, double v) {
    char text[40];

    if (!isfinite(v)) {
        buf_put_str(out, "null");
        return;
    }
    (void)snprintf(text, sizeof text, "%.15g", v);
    if (strtod(text, NULL) != v)
        (void)snprintf(text, sizeof text, "%.17g", v);
    buf_put_str(out, text);
    if (!strpbrk(text, ".e"))
        buf_put_str(out, ".0");
}

void out_json_row(const struct query_statement *q, bool first, struct buf *out) {
    int n = sqlite3_column_count(q->stmt);
    bool any = false, known;

    buf_put_str(out, first ? "{" : ",{");
    for (int i = 0; i < n; i++) {
        int type = sqlite3_column_type(q->stmt, i);
        const void *p;
        size_t len;

        if (type == SQLITE_NULL)
            continue;
        if (any)
            buf_put_u8(out, ',');
        any = true;
        put_json_str(out, slice_str(sqlite3_column_name(q->stmt, i)));
        buf_put_u8(out, ':');
        if (type == SQLITE_INTEGER) {
            put_integer(out, sqlite3_column_int64(q->stmt, i), query_column_type(q, i, &known));
            continue;
        }
        if (type == SQLITE_FLOAT) {
            put_real(out, sqlite3_column_double(q->stmt, i));
            continue;
        }
        p = type == SQLITE_TEXT ? (const void *)sqlite3_column_text(q->stmt, i) : sqlite3_column_blob(q->stmt, i);
        len = (size_t)sqlite3_column_bytes(q->stmt, i);
        if (type == SQLITE_BLOB) {
            buf_put_u8(out, '"');
            text_put_hex(out, slice_of(p, len));
            buf_put_u8(out, '"');
        } else if (query_column_type(q, i, &known) == COL_LIST) {
            buf_put(out, p, len);
        } else {
            put_json_str(out, slice_of(p, len));
        }
    }
    buf_put_u8(out, '}');
}
