/* SPDX-License-Identifier: Apache-2.0 */
#include "unit.h"
#include "query/query_internal.h"

static void what_clients_write_becomes_what_sqlite_reads(void **state) {
    static const struct {
        const char *in, *out;
    } cases[] = {
        {"SELECT ID, \"Key\" FROM T -- note\n WHERE a = 'It''s'", "select id, \"Key\" from t where a = 'It''s'"},
        {"select sj.index from sys_journal sj order by index",
         "select sj.\"index\" from sys_journal sj order by \"index\""},
        {"select 'index' , \"index\"", "select 'index' , \"index\""},
        {"select * from information_schema.columns", "select * from information_schema_columns"},
        {"select * from restate.public.state", "select * from state"},
        {"a ILIKE 'X%'", "a regexp 'X%'"},
        {"first_value(id ORDER BY created_at ASC)", "first_value_by(id , created_at )"},
        {"last_value(id ORDER BY x DESC)", "last_value_by(id , x , 'desc')"},
        {"first_value(id)", "first_value(id)"},
        {"now() - INTERVAL '1 hour'", "ts_minus(now(), interval_ms('1 hour'))"},
        {"completed_at - a.created_at", "ts_minus(completed_at, a.created_at)"},
        {"coalesce(completed_at, now()) - coalesce(x, created_at) as d",
         "ts_minus(coalesce(completed_at, now()), coalesce(x, created_at)) as d"},
        {"created_at + interval '1 s' + interval '2 s'",
         "ts_plus(ts_plus(created_at, interval_ms('1 s')), interval_ms('2 s'))"},
        {"a - b, -1, (x) - 1", "a - b, -1, (x) - 1"},
        {"date_bin(INTERVAL '1 h', x, TIMESTAMP '1970-01-01T00:00:00')",
         "date_bin( interval_ms('1 h'), x, ts_text('1970-01-01T00:00:00'))"},
        {"completed_at >= '2026-11-22T00:00:00Z'", "completed_at >= '2026-11-22T00:00:00.000Z'"},
        {"completed_at >= '2026-11-22T01:00:00+01:00'", "completed_at >= '2026-11-22T00:00:00.000Z'"},
        {"key = '2026-11-22T00:00:00Z'", "key = '2026-11-22T00:00:00Z'"},
        {"\"value\" = '7'", "\"value\" = cast('7' as blob)"},
        {"x::TEXT, f(y)::int", "cast(x as text), cast(f(y) as integer)"},
        {"cast(x as STRING)", "cast(x as text)"},
        {"partition_key = 18446744073709551615", "partition_key = (-1)"},
        {"partition_key = 9223372036854775807", "partition_key = 9223372036854775807"},
        {"select count(1) from (select * from sys_invocation inv limit 5) where inv.x = 1",
         "select count(1) from (select * from sys_invocation inv limit 5) inv where inv.x = 1"},
        {"select count(1) from (select * from state limit 5) q where q.x = 1",
         "select count(1) from (select * from state limit 5) q where q.x = 1"},
        {"SHOW TABLES", "select * from information_schema_tables"},
        {"EXPLAIN select 1", "explain query plan select 1"},
        {"", ""},
        {"((((", "(((("},
        {"))) - ((", "))) - (("},
        {"- - - interval 'x'", "- - - interval_ms('x')"},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct query_text t;

        assert_int_equal(query_rewrite(slice_str(cases[i].in), &t, NULL), 0);
        /* white space is not what is looked at */
        for (size_t k = 0; k + 1 < t.sql.len; k++)
            while (t.sql.data[k] == ' ' && k + 1 < t.sql.len && t.sql.data[k + 1] == ' ')
                memmove(t.sql.data + k, t.sql.data + k + 1, --t.sql.len - k);
        assert_string_equal(buf_cstr(&t.sql), cases[i].out);
        buf_done(&t.sql);
    }
}

static void quotes_without_an_end_are_refused(void **state) {
    static const char *const cases[] = {"select 'x", "select \"x", "'", "'a''"};

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct query_text t = {0};

        assert_int_equal(query_rewrite(slice_str(cases[i]), &t, NULL), RS_EINVAL);
        buf_done(&t.sql);
    }
}

static void conditions_of_the_select_list_are_found(void **state) {
    static const struct {
        const char *sql;
        int columns;
        const char *bools; /* a character per column */
    } cases[] = {
        {"select a, dp.id IS NOT NULL as there, b = 1, c from t where d = 1", 4, "-tt-"},
        {"select distinct not x, case when a = 1 then 2 end, (a > b) z from t", 3, "t-t"},
        {"select count(x = 1), true, f(a and b) from t", 3, "-t-"},
        {"select *, a is null from t", 5, "----t"},
        {"select a in (1, 2), * from t", 4, "t---"},
        {"with q as (select 1 = 1 as x) select x, x like 'a' from q", 2, "-t"},
        {"select a.*, b.*, x = 1 from t", 5, "-----"},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct query_text t;

        assert_int_equal(query_rewrite(slice_str(cases[i].sql), &t, NULL), 0);
        for (int k = 0; k < cases[i].columns; k++)
            assert_int_equal(query_text_is_bool(&t, k, cases[i].columns), cases[i].bools[k] == 't');
        buf_done(&t.sql);
    }
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(what_clients_write_becomes_what_sqlite_reads),
    cmocka_unit_test(quotes_without_an_end_are_refused),
    cmocka_unit_test(conditions_of_the_select_list_are_found),
};
const struct unit_group rewrite_test_group = UNIT_GROUP(tests);
