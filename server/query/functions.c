/* SPDX-License-Identifier: Apache-2.0 */
/* query/functions.c : functions of the official server's SQL that SQLite does not have. Times are the tables' text,
 * durations integer milliseconds. None of them fails on odd arguments: the answer is NULL then. */
#include "query/query_internal.h"
#include "base/text.h"

#include <ctype.h>
#include <stdio.h>

void query_ts_text(uint64_t ms, char ret[QUERY_TS_CHARS + 1]) {
    struct buf b = {0};

    text_put_rfc3339(&b, MIN(ms, UINT64_C(18446744073709)) * 1000000, 3, "Z");
    memset(ret, 0, QUERY_TS_CHARS + 1);
    memcpy(ret, b.data, MIN(b.len, (size_t)QUERY_TS_CHARS));
    buf_done(&b);
}

/* A time, with the seconds' fraction, the seconds and the zone as they like. */
bool query_ts_parse(struct slice text, uint64_t *ret_ms) {
    char full[48];
    uint64_t ns;
    size_t n = text.len;

    if (n < 10 || n > 36 || text.data[4] != '-' || text.data[7] != '-')
        return false;
    memcpy(full, text.data, n);
    full[n] = 0;
    if (n == 10)
        n += (size_t)snprintf(full + n, sizeof full - n, "T00:00:00Z");
    if (full[10] == ' ')
        full[10] = 'T';
    if (full[n - 1] != 'Z' && full[n - 1] != 'z' && !memchr(full + 11, '+', n - 11) && !memchr(full + 11, '-', n - 11))
        full[n++] = 'Z';
    if (text_parse_rfc3339(slice_of(full, n), &ns, NULL) < 0)
        return false;
    *ret_ms = ns / 1000000;
    return true;
}

static struct slice text_of(sqlite3_value *v) {
    const void *p = sqlite3_value_text(v);

    return slice_of(p, p ? (size_t)sqlite3_value_bytes(v) : 0);
}

static bool time_of(sqlite3_value *v, uint64_t *ret_ms) {
    return sqlite3_value_type(v) == SQLITE_TEXT && query_ts_parse(text_of(v), ret_ms);
}

static void result_time(sqlite3_context *c, int64_t ms) {
    char text[QUERY_TS_CHARS + 1];

    query_ts_text(ms < 0 ? 0 : (uint64_t)ms, text);
    sqlite3_result_text(c, text, QUERY_TS_CHARS, SQLITE_TRANSIENT);
}

static void f_now(sqlite3_context *c, int n, sqlite3_value **v) {
    const struct query_statement *q = sqlite3_user_data(c);

    result_time(c, (int64_t)q->data.now_ms);
}

static void f_ts_text(sqlite3_context *c, int n, sqlite3_value **v) {
    uint64_t ms;

    if (sqlite3_value_type(v[0]) == SQLITE_INTEGER)
        result_time(c, sqlite3_value_int64(v[0]) * 1000); /* to_timestamp(seconds) */
    else if (time_of(v[0], &ms))
        result_time(c, (int64_t)ms);
}

static bool interval_unit(struct slice word, uint64_t *ret_ms) {
    static const struct {
        const char *prefix;
        uint64_t ms;
    } units[] = {{"milli", 1},      {"ms", 1},           {"sec", 1000},       {"min", 60000},       {"hour", 3600000},
                 {"day", 86400000}, {"week", 604800000}, {"mon", 2592000000}, {"year", 31536000000}};

    for (size_t i = 0; i < ARRAY_SIZE(units); i++)
        if (slice_has_prefix(word, slice_str(units[i].prefix))) {
            *ret_ms = units[i].ms;
            return true;
        }
    return false;
}

/* '3600 seconds', '1 day 2 hours', '1h 30m' */
static void f_interval(sqlite3_context *c, int n, sqlite3_value **v) {
    struct slice s = text_of(v[0]);
    double total = 0;
    uint64_t ns;

    if (text_parse_duration(s, &ns, NULL) == 0) {
        sqlite3_result_int64(c, (int64_t)(ns / 1000000));
        return;
    }
    while (s.len) {
        char number[40];
        size_t k = 0, w = 0;
        uint64_t ms;

        while (s.len && isspace(s.data[0]))
            s = slice_from(s, 1);
        while (k < s.len && k < sizeof number - 1 && (isdigit(s.data[k]) || s.data[k] == '.' || s.data[k] == '-'))
            number[k] = (char)s.data[k], k++;
        number[k] = 0;
        s = slice_from(s, k);
        while (s.len && isspace(s.data[0]))
            s = slice_from(s, 1);
        while (w < s.len && isalpha(s.data[w]))
            w++;
        if (!k || !interval_unit(slice_sub(s, 0, w), &ms))
            return;
        total += strtod(number, NULL) * (double)ms;
        s = slice_from(s, w);
    }
    if (total > -9e15 && total < 9e15)
        sqlite3_result_int64(c, (int64_t)total);
}

/* time - time: duration; time ± duration: time; anything else as integers. */
static void arithmetic(sqlite3_context *c, sqlite3_value **v, int sign) {
    uint64_t a, b;
    bool ta = time_of(v[0], &a), tb = time_of(v[1], &b);
    int64_t i;

    if (sqlite3_value_type(v[0]) == SQLITE_NULL || sqlite3_value_type(v[1]) == SQLITE_NULL)
        return;
    if (!ta)
        a = (uint64_t)sqlite3_value_int64(v[0]);
    if (!tb)
        b = (uint64_t)sqlite3_value_int64(v[1]);
    i = (int64_t)(sign < 0 ? a - b : a + b);
    if (ta != tb)
        result_time(c, i);
    else
        sqlite3_result_int64(c, i);
}
static void f_minus(sqlite3_context *c, int n, sqlite3_value **v) {
    arithmetic(c, v, -1);
}
static void f_plus(sqlite3_context *c, int n, sqlite3_value **v) {
    arithmetic(c, v, 1);
}

static void f_date_bin(sqlite3_context *c, int n, sqlite3_value **v) {
    int64_t width = sqlite3_value_int64(v[0]);
    uint64_t at, origin = 0;

    if (width <= 0 || !time_of(v[1], &at) || (n > 2 && !time_of(v[2], &origin)))
        return;
    result_time(c, (int64_t)(origin + (at - MIN(origin, at)) / (uint64_t)width * (uint64_t)width));
}

static void f_date_trunc(sqlite3_context *c, int n, sqlite3_value **v) {
    uint64_t at, width;

    if (time_of(v[1], &at) && interval_unit(text_of(v[0]), &width) && width <= 86400000)
        result_time(c, (int64_t)(at / width * width));
}

static void f_to_unixtime(sqlite3_context *c, int n, sqlite3_value **v) {
    uint64_t ms;

    if (time_of(v[0], &ms))
        sqlite3_result_int64(c, (int64_t)(ms / 1000));
    else if (sqlite3_value_type(v[0]) == SQLITE_INTEGER)
        sqlite3_result_value(c, v[0]);
}

static int compare(sqlite3_value *a, sqlite3_value *b) {
    int ta = sqlite3_value_type(a), tb = sqlite3_value_type(b);

    if ((ta == SQLITE_INTEGER || ta == SQLITE_FLOAT) && (tb == SQLITE_INTEGER || tb == SQLITE_FLOAT)) {
        double x = sqlite3_value_double(a), y = sqlite3_value_double(b);

        return (x > y) - (x < y);
    }
    return slice_cmp(text_of(a), text_of(b));
}

/* NULLs are left out. */
static void extreme(sqlite3_context *c, int n, sqlite3_value **v, int sign) {
    sqlite3_value *best = NULL;

    for (int i = 0; i < n; i++)
        if (sqlite3_value_type(v[i]) != SQLITE_NULL && (!best || compare(v[i], best) * sign > 0))
            best = v[i];
    if (best)
        sqlite3_result_value(c, best);
}
static void f_greatest(sqlite3_context *c, int n, sqlite3_value **v) {
    extreme(c, n, v, 1);
}
static void f_least(sqlite3_context *c, int n, sqlite3_value **v) {
    extreme(c, n, v, -1);
}

/* x ILIKE p, spelled regexp(p, x): LIKE without regard to case. */
static void f_ilike(sqlite3_context *c, int n, sqlite3_value **v) {
    const char *p = (const char *)sqlite3_value_text(v[0]), *x = (const char *)sqlite3_value_text(v[1]);

    if (p && x)
        sqlite3_result_int(c, sqlite3_strlike(p, x, '\\') == 0);
}

static void f_arrow_cast(sqlite3_context *c, int n, sqlite3_value **v) {
    struct slice type = text_of(v[1]);

    if (sqlite3_value_type(v[0]) == SQLITE_NULL)
        return;
    if (slice_has_prefix(type, SLICE_LIT("Int")) || slice_has_prefix(type, SLICE_LIT("UInt")))
        sqlite3_result_int64(c, sqlite3_value_int64(v[0]));
    else if (slice_has_prefix(type, SLICE_LIT("Float")))
        sqlite3_result_double(c, sqlite3_value_double(v[0]));
    else if (slice_eq_str(type, "Utf8") || slice_eq_str(type, "LargeUtf8") || slice_eq_str(type, "Utf8View"))
        sqlite3_result_text(c, (const char *)sqlite3_value_text(v[0]), sqlite3_value_bytes(v[0]), SQLITE_TRANSIENT);
    else
        sqlite3_result_value(c, v[0]);
}

static void f_starts_with(sqlite3_context *c, int n, sqlite3_value **v) {
    if (sqlite3_value_type(v[0]) != SQLITE_NULL)
        sqlite3_result_int(c, slice_has_prefix(text_of(v[0]), text_of(v[1])));
}

static void f_ends_with(sqlite3_context *c, int n, sqlite3_value **v) {
    struct slice s = text_of(v[0]), end = text_of(v[1]);

    if (sqlite3_value_type(v[0]) != SQLITE_NULL)
        sqlite3_result_int(c, s.len >= end.len && slice_eq(slice_from(s, s.len - end.len), end));
}

static void f_concat(sqlite3_context *c, int n, sqlite3_value **v) {
    struct buf b = {0};

    for (int i = 0; i < n; i++)
        buf_put_slice(&b, text_of(v[i]));
    sqlite3_result_text64(c, b.len ? (const char *)b.data : "", b.len, SQLITE_TRANSIENT, SQLITE_UTF8);
    buf_done(&b);
}

/* json_get*(text, key or index, …) */
static void f_json_get(sqlite3_context *c, int n, sqlite3_value **v) {
    struct slice s = n ? text_of(v[0]) : SLICE_NULL;
    json_t *root = s.data ? json_loadb((const char *)s.data, s.len, JSON_DECODE_ANY, NULL) : NULL;
    const json_t *j = root;
    char *text;

    for (int i = 1; j && i < n; i++)
        j = sqlite3_value_type(v[i]) == SQLITE_INTEGER ? json_array_get(j, (size_t)sqlite3_value_int64(v[i]))
                                                       : json_object_get(j, (const char *)sqlite3_value_text(v[i]));
    if (json_is_string(j))
        sqlite3_result_text(c, json_string_value(j), (int)json_string_length(j), SQLITE_TRANSIENT);
    else if (json_is_integer(j))
        sqlite3_result_int64(c, json_integer_value(j));
    else if (json_is_real(j))
        sqlite3_result_double(c, json_real_value(j));
    else if (json_is_boolean(j))
        sqlite3_result_int(c, json_is_true(j));
    else if (j && !json_is_null(j) && (text = json_dumps(j, JSON_COMPACT))) {
        sqlite3_result_text(c, text, -1, SQLITE_TRANSIENT);
        free(text);
    }
    json_decref(root);
}

/* ---- aggregates: first_value(x), first_value_by(x, y [, 'desc']) and the same for last ---- */

struct picked {
    sqlite3_value *value, *by;
};

static void pick(sqlite3_context *c, int n, sqlite3_value **v, bool last) {
    struct picked *p = sqlite3_aggregate_context(c, sizeof *p);
    bool better;

    if (!p)
        return;
    if (n > 2)
        last = !last; /* the first of a falling order is the last of a rising one */
    if (!p->value)
        better = true;
    else if (n == 1)
        better = last;
    else
        better = compare(v[1], p->by) * (last ? 1 : -1) > 0;
    if (!better)
        return;
    sqlite3_value_free(p->value);
    sqlite3_value_free(p->by);
    p->value = sqlite3_value_dup(v[0]);
    p->by = n > 1 ? sqlite3_value_dup(v[1]) : NULL;
}
static void f_first(sqlite3_context *c, int n, sqlite3_value **v) {
    pick(c, n, v, false);
}
static void f_last(sqlite3_context *c, int n, sqlite3_value **v) {
    pick(c, n, v, true);
}
static void f_picked(sqlite3_context *c) {
    struct picked *p = sqlite3_aggregate_context(c, 0);

    if (!p)
        return;
    if (p->value)
        sqlite3_result_value(c, p->value);
    sqlite3_value_free(p->value);
    sqlite3_value_free(p->by);
    *p = (struct picked){0};
}

int query_functions(sqlite3 *db, struct query_statement *q) {
    static const struct {
        const char *name;
        int args;
        void (*fn)(sqlite3_context *, int, sqlite3_value **);
        bool aggregate;
    } all[] = {
        {"now", 0, f_now, false},
        {"ts_text", 1, f_ts_text, false},
        {"to_timestamp", 1, f_ts_text, false},
        {"interval_ms", 1, f_interval, false},
        {"ts_minus", 2, f_minus, false},
        {"ts_plus", 2, f_plus, false},
        {"date_bin", 2, f_date_bin, false},
        {"date_bin", 3, f_date_bin, false},
        {"date_trunc", 2, f_date_trunc, false},
        {"to_unixtime", 1, f_to_unixtime, false},
        {"greatest", -1, f_greatest, false},
        {"least", -1, f_least, false},
        {"regexp", 2, f_ilike, false},
        {"arrow_cast", 2, f_arrow_cast, false},
        {"starts_with", 2, f_starts_with, false},
        {"ends_with", 2, f_ends_with, false},
        {"concat", -1, f_concat, false},
        {"json_get", -1, f_json_get, false},
        {"json_get_str", -1, f_json_get, false},
        {"json_get_int", -1, f_json_get, false},
        {"json_get_float", -1, f_json_get, false},
        {"json_get_bool", -1, f_json_get, false},
        {"json_get_json", -1, f_json_get, false},
        {"json_as_text", -1, f_json_get, false},
        {"first_value", 1, f_first, true},
        {"first_value_by", 2, f_first, true},
        {"first_value_by", 3, f_first, true},
        {"last_value", 1, f_last, true},
        {"last_value_by", 2, f_last, true},
        {"last_value_by", 3, f_last, true},
    };

    for (size_t i = 0; i < ARRAY_SIZE(all); i++) {
        int r = sqlite3_create_function_v2(db, all[i].name, all[i].args, SQLITE_UTF8, q,
                                           all[i].aggregate ? NULL : all[i].fn, all[i].aggregate ? all[i].fn : NULL,
                                           all[i].aggregate ? f_picked : NULL, NULL);

        if (r != SQLITE_OK)
            return r;
    }
    return SQLITE_OK;
}
