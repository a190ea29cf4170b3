/* SPDX-License-Identifier: Apache-2.0 */
/* Statements over a table in memory that the state machine filled. */
#include "unit.h"
#include "query/query_internal.h"
#include "worker/sm_fixture.h"

#include <stdio.h>

enum { PARTITIONS = 4 };

struct world {
    struct fixture f;
    struct slice done, waiting, failed; /* invocation ids */
    struct query_attempt attempts[1];
    /* what a statement read */
    unsigned scans, rows, gets;
    uint32_t last_partition;
    int fail; /* what reads answer instead */
};

struct filter {
    struct world *w;
    uint32_t partition;
    sm_each_fn each;
    void *arg;
};

static int filter_each(void *arg, struct slice key, struct slice value) {
    struct filter *f = arg;

    if (partition_of_key(get_u64be(key.data + 1), PARTITIONS) != f->partition)
        return 0;
    f->w->rows++;
    return f->each(f->arg, key, value);
}

static int world_scan(void *arg, uint32_t partition, struct slice lower, struct slice upper, sm_each_fn each,
                      void *each_arg, struct err *err) {
    struct world *w = arg;
    struct filter f = {w, partition, each, each_arg};

    w->scans++;
    w->last_partition = partition;
    if (w->fail)
        return err_set(err, w->fail, "partition %u cannot be read", partition);
    return w->f.t.reader.scan(&w->f.t, lower, upper, false, filter_each, &f, err);
}

static int world_get(void *arg, uint32_t partition, struct slice key, struct buf *ret, struct err *err) {
    struct world *w = arg;
    struct slice v;
    int r = w->f.t.reader.get(&w->f.t, key, &v, err);

    w->gets++;
    if (r < 0)
        return r;
    buf_clear(ret);
    buf_put_slice(ret, v);
    return 0;
}

static void pin(struct world *w, struct slice id) {
    assert_int_equal(FX_EFFECTS(&w->f, id, fx_pinned(6)), 0);
}

static int world_new(void **state) {
    struct world *w = xnew(struct world);
    struct fixture *f = &w->f;
    struct sp_value value = {.content = SLICE_LIT("\x00\xff")};
    struct cmd_failure failure = {.code = 418, .message = SLICE_LIT("no \"tea\"")};

    fixture_init(f, 0, UINT64_MAX);
    w->done = slice_of(memcpy(xmalloc(24), fx_id(f, "k", 1).data, 24), 24);
    w->waiting = slice_of(memcpy(xmalloc(24), fx_id(f, "k", 2).data, 24), 24);
    w->failed = slice_of(memcpy(xmalloc(24), fx_id(f, "other", 3).data, 24), 24);
    assert_int_equal(fx_invoke(f, w->done,
                               (struct fx_invoke){.key = "k",
                                                  .request = "0123456789abcdef",
                                                  .idempotency_key = "idem",
                                                  .retention_ms = FX_DAY_MS,
                                                  .journal_ms = FX_DAY_MS}),
                     0);
    pin(w, w->done);
    assert_int_equal(FX_EFFECTS(f, w->done,
                                fx_command(SP_SET_STATE, SP_BYTES(f, set_state, .key = SLICE_LIT("s"), .value = &value,
                                                                  .name = SLICE_LIT("n")))),
                     0);
    assert_int_equal(FX_EFFECTS(f, w->done, fx_output(f, "42"), fx_end()), 0);
    assert_int_equal(fx_invoke(f, w->failed,
                               (struct fx_invoke){.key = "other",
                                                  .request = "0123456789abcdeg",
                                                  .idempotency_key = "i2",
                                                  .retention_ms = FX_DAY_MS}),
                     0);
    pin(w, w->failed);
    assert_int_equal(FX_EFFECTS(f, w->failed, (struct cmd_effect){.kind = EFFECT_FAILED, .failure = &failure}), 0);
    assert_int_equal(fx_invoke(f, w->waiting, (struct fx_invoke){.key = "k", .request = "0123456789abcdeh"}), 0);
    pin(w, w->waiting);
    assert_int_equal(fx_invoke(f, fx_id(f, "k", 4), (struct fx_invoke){.key = "k", .request = "0123456789abcdei"}), 0);
    memcpy(w->attempts[0].id.raw, w->waiting.data, 24);
    w->attempts[0].retry_count = 3;
    w->attempts[0].last_start_ms = 1795379385135;
    *state = w;
    return 0;
}

static int world_free(void **state) {
    struct world *w = *state;

    free((void *)(uintptr_t)w->done.data);
    free((void *)(uintptr_t)w->waiting.data);
    free((void *)(uintptr_t)w->failed.data);
    fixture_done(&w->f);
    free(w);
    return 0;
}

static struct query_data data_of(struct world *w) {
    return (struct query_data){.n_partitions = PARTITIONS,
                               .get = world_get,
                               .scan = world_scan,
                               .arg = w,
                               .attempts = w->attempts,
                               .n_attempts = 1,
                               .now_ms = 1795379385135};
}

/* The answer as JSON, or the message. */
static struct buf ask_data(const struct query_data *data, const char *sql, enum query_failure *ret_failure) {
    struct query_statement q = {0};
    struct buf out = {0};
    struct err err = {0};
    int r = query_prepare(&q, slice_str(sql), ret_failure, &err);
    bool first = true;

    q.data = *data;
    out_json_begin(&out);
    while (r >= 0 && (r = query_step(&q, ret_failure, &err)) == 1) {
        out_json_row(&q, first, &out);
        first = false;
    }
    out_json_end(&out);
    if (r < 0) {
        buf_clear(&out);
        buf_put_str(&out, err.msg);
    } else {
        *ret_failure = 0;
    }
    query_finish(&q);
    return out;
}

static struct buf ask(struct world *w, const char *sql, enum query_failure *ret_failure) {
    struct query_data d = data_of(w);

    w->scans = w->rows = w->gets = 0;
    return ask_data(&d, sql, ret_failure);
}

static void expect(struct world *w, const char *sql, const char *answer) {
    enum query_failure f;
    struct buf b = ask(w, sql, &f);

    assert_string_equal(buf_cstr(&b), answer);
    assert_int_equal(f, 0);
    buf_done(&b);
}

static void expect_id(struct world *w, const char *sql, struct slice id, const char *answer) { /* %s in @sql */
    char text[INVOCATION_ID_CHARS + 1], full[600];
    struct invocation_id raw;

    memcpy(raw.raw, id.data, sizeof raw.raw);
    invocation_id_format(&raw, text);
    (void)snprintf(full, sizeof full, "%s'%s'", sql, text);
    expect(w, full, answer);
}

static void every_column_of_every_table_can_be_read(void **state) {
    struct world *w = *state;

    for (size_t i = 0; i < query_n_tables; i++) {
        char sql[100];
        enum query_failure f;
        struct buf b;

        (void)snprintf(sql, sizeof sql, "select * from %s", query_tables[i].name);
        b = ask(w, sql, &f);
        assert_int_equal(f, 0);
        buf_done(&b);
    }
    assert_int_equal(query_tables[0].n_columns, 51); /* sys_invocation, as the official server has it */
    assert_int_equal(query_tables[1].n_columns, 38);
    assert_int_equal(query_tables[2].n_columns, 17);
}

static void invocations_have_the_status_that_a_client_expects(void **state) {
    struct world *w = *state;

    expect(w, "select status, count(1) from sys_invocation group by status order by status",
           "{\"rows\":[{\"status\":\"backing-off\",\"count(1)\":1},{\"status\":\"completed\",\"count(1)\":2},"
           "{\"status\":\"pending\",\"count(1)\":1}]}");
    w->attempts[0].in_flight = true;
    expect(w, "select status, retry_count, last_start_at from sys_invocation where status = 'running'",
           "{\"rows\":[{\"status\":\"running\",\"retry_count\":3,\"last_start_at\":\"2026-11-22T20:29:45.135Z\"}]}");
    expect(w, "select in_flight from sys_invocation_state", "{\"rows\":[{\"in_flight\":true}]}");
    w->attempts[0].id.raw[20]++;
    expect(w, "select count(*) as n from sys_invocation where status = 'ready'", "{\"rows\":[{\"n\":1}]}");
    expect(w, "select status from sys_invocation_status group by status order by 1",
           "{\"rows\":[{\"status\":\"completed\"},{\"status\":\"inboxed\"},{\"status\":\"invoked\"}]}");
}

static void results_retentions_and_keys_are_shown(void **state) {
    struct world *w = *state;

    expect_id(w,
              "select completion_result, completion_failure, idempotency_key, completion_retention, target, "
              "target_service_ty from sys_invocation where id = ",
              w->failed,
              "{\"rows\":[{\"completion_result\":\"failure\",\"completion_failure\":\"[418] no \\\"tea\\\"\","
              "\"idempotency_key\":\"i2\",\"completion_retention\":\"PT86400S\",\"target\":\"S/other/h\","
              "\"target_service_ty\":\"virtual_object\"}]}");
    expect(w, "select service_key, idempotency_key from sys_idempotency order by 1",
           "{\"rows\":[{\"service_key\":\"k\",\"idempotency_key\":\"idem\"},"
           "{\"service_key\":\"other\",\"idempotency_key\":\"i2\"}]}");
    expect(w, "select service_key, sequence_number from sys_inbox",
           "{\"rows\":[{\"service_key\":\"k\",\"sequence_number\":1}]}");
    expect(w, "select service_name, service_key from sys_keyed_service_status where invocation_id is not null",
           "{\"rows\":[{\"service_name\":\"S\",\"service_key\":\"k\"}]}");
    expect(w, "select key, value, value_utf8, value_length from state",
           "{\"rows\":[{\"key\":\"s\",\"value\":\"00ff\",\"value_length\":2}]}");
}

static void the_journal_is_shown_as_json(void **state) {
    struct world *w = *state;

    expect_id(w, "select index, entry_type, name, version, entry_lite_json from sys_journal where index = 1 and id = ",
              w->done,
              "{\"rows\":[{\"index\":1,\"entry_type\":\"Command: SetState\",\"name\":\"n\",\"version\":2,"
              "\"entry_lite_json\":\"{\\\"Command\\\":{\\\"SetState\\\":{\\\"key\\\":\\\"s\\\",\\\"name\\\":\\\"n\\\"}}"
              "}\"}]}");
    expect_id(
        w, "select entry_json from sys_journal where entry_type like '%SetState' and id = ", w->done,
        "{\"rows\":[{\"entry_json\":\"{\\\"Command\\\":{\\\"SetState\\\":{\\\"key\\\":\\\"s\\\",\\\"value\\\":[0,255],"
        "\\\"name\\\":\\\"n\\\"}}}\"}]}");
    expect_id(w,
              "select json_get_str(entry_json, 'Command', 'SetState', 'key') as k from sys_journal where name = 'n' "
              "and id = ",
              w->done, "{\"rows\":[{\"k\":\"s\"}]}");
}

static void a_look_up_reads_one_row_of_one_partition(void **state) {
    struct world *w = *state;
    const uint32_t of_k = partition_of_key(get_u64be(w->done.data), PARTITIONS);

    expect_id(w, "select status from sys_invocation_status where id = ", w->done,
              "{\"rows\":[{\"status\":\"completed\"}]}");
    assert_int_equal(w->scans, 1);
    assert_int_equal(w->rows, 1);
    assert_int_equal(w->gets, 0); /* neither target nor result are asked for */
    assert_int_equal(w->last_partition, of_k);
    expect(w, "select key from state where service_name = 'S' and service_key = 'k'", "{\"rows\":[{\"key\":\"s\"}]}");
    assert_int_equal(w->scans, 1);
    assert_int_equal(w->last_partition, of_k);
    expect(w, "select id from sys_invocation where id in ('x', 'inv_1', '')", "{\"rows\":[]}");
    assert_int_equal(w->scans, 0);
    expect(w, "select count(1) from sys_invocation where id is null or id = null", "{\"rows\":[{\"count(1)\":0}]}");
    expect(w, "select count(1) as n from sys_invocation", "{\"rows\":[{\"n\":4}]}");
    assert_int_equal(w->rows, 4);
}

static void a_scan_goes_on_where_the_chunk_ended(void **state) {
    struct world *w = *state;

    for (uint64_t i = 100; i < 1500; i++)
        assert_int_equal(
            fx_invoke(&w->f, fx_id(&w->f, i % 2 ? "k" : "other", i), (struct fx_invoke){.key = i % 2 ? "k" : "other"}),
            0);
    expect(w, "select count(distinct id) as n, count(1) as m from sys_invocation_status",
           "{\"rows\":[{\"n\":1404,\"m\":1404}]}");
    expect(w, "select count(1) as m from sys_inbox where service_key = 'k'", "{\"rows\":[{\"m\":701}]}");
    expect(w, "select 1 as one from sys_invocation_status limit 2", "{\"rows\":[{\"one\":1},{\"one\":1}]}");
    assert_true(w->rows < 30);
}

static void values_are_printed_by_their_type(void **state) {
    struct world *w = *state;

    expect(w,
           "select 18446744073709551615 as big, 1.5 as f, 2.0 as g, null as n, x'00ab' as b, 'a\"\\' || char(10) as t, "
           "1 is null as c, now() - interval '1 hour' as past",
           "{\"rows\":[{\"big\":-1,\"f\":1.5,\"g\":2.0,\"b\":\"00ab\",\"t\":\"a\\\"\\\\\\n\",\"c\":false,"
           "\"past\":\"2026-11-22T19:29:45.135Z\"}]}");
    expect(w, "select partition_key = 0 as z from sys_invocation_state", "{\"rows\":[{\"z\":false}]}");
    expect(w, "select greatest(1, null, 3) as g, least('b', 'a') as l, 'ABC' ilike 'a%' as i, 'ABC' like 'a%' as j",
           "{\"rows\":[{\"g\":3,\"l\":\"a\",\"i\":true,\"j\":false}]}");
    expect(
        w,
        "select first_value(x order by y desc) as f, last_value(x order by y) as l from (select 1 as x, 2 as y union "
        "select 3, 4)",
        "{\"rows\":[{\"f\":3,\"l\":3}]}");
    expect(w,
           "select count(*) from information_schema.columns where table_name = 'sys_journal' and column_name in "
           "('version', 'entry_json', 'appended_at')",
           "{\"rows\":[{\"count(*)\":3}]}");
    memset(w->attempts[0].id.raw, 0xff, 8);
    expect(w, "select partition_key from sys_invocation_state where partition_key = 18446744073709551615",
           "{\"rows\":[{\"partition_key\":18446744073709551615}]}");
}

static void only_reading_is_allowed(void **state) {
    static const struct {
        const char *sql;
        enum query_failure failure;
    } cases[] = {
        {"", QUERY_INVALID},
        {" -- nothing", QUERY_INVALID},
        {"delete from state", QUERY_INVALID},
        {"insert into state(key) values (1)", QUERY_INVALID},
        {"create table t(x)", QUERY_INVALID},
        {"create view v as select 1", QUERY_INVALID},
        {"attach ':memory:' as x", QUERY_INVALID},
        {"pragma user_version", QUERY_INVALID},
        {"begin", QUERY_INVALID},
        {"select 1; select 2", QUERY_INVALID},
        {"select * from sqlite_schema", QUERY_INVALID},
        {"select load_extension('x')", QUERY_INVALID},
        {"select nope from state", QUERY_INVALID},
        {"selec 1", QUERY_INVALID},
        {"select * from nope", QUERY_FAILED},
        {"select \"nope\" from state", QUERY_INVALID},
    };

    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        enum query_failure f;
        struct buf b = ask(*state, cases[i].sql, &f);

        if (f != cases[i].failure)
            print_error("%s: %s\n", cases[i].sql, buf_cstr(&b));
        assert_int_equal(f, cases[i].failure);
        assert_true(b.len > 0);
        buf_done(&b);
    }
}

static void rows_that_cannot_be_read_end_the_query_and_say_why(void **state) {
    struct world *w = *state;
    enum query_failure f;
    struct buf b;

    w->fail = RS_EUNSUPPORTED;
    b = ask(w, "select * from state", &f);
    assert_int_equal(f, QUERY_FAILED);
    assert_string_equal(buf_cstr(&b), "partition 0 cannot be read");
    buf_done(&b);
    expect(w, "select count(1) as n from sys_service", "{\"rows\":[{\"n\":0}]}");
}

static uint64_t late(void *arg) {
    return 2;
}

static void a_query_that_takes_too_long_is_stopped(void **state) {
    struct query_statement q = {.mono_ns = late, .deadline_ns = 1};
    enum query_failure f;
    struct err err = {0};
    uint32_t cancel = 1;

    assert_int_equal(query_prepare(&q,
                                   SLICE_LIT("with recursive t(n) as (select 1 union all select n + 1 from t) "
                                             "select max(n) from t"),
                                   &f, &err),
                     0);
    assert_int_equal(query_step(&q, &f, &err), RS_ETIMEDOUT);
    assert_int_equal(f, QUERY_FAILED);
    query_finish(&q);
    q = (struct query_statement){.cancel = &cancel};
    assert_int_equal(query_prepare(&q,
                                   SLICE_LIT("with recursive t(n) as (select 1 union all select n + 1 from t) "
                                             "select max(n) from t"),
                                   &f, &err),
                     0);
    assert_int_equal(query_step(&q, &f, &err), RS_ECANCELED);
    query_finish(&q);
}

static void sorting_has_a_limit_of_memory(void **state) {
    static const char sql[] = "with recursive t(n) as (select 1 union all select n + 1 from t where n < 3000) "
                              "select n from t order by hex(zeroblob(1000)) || n limit 1 offset 2999";

    for (unsigned few = 0; few < 2; few++) {
        struct query_statement q = {.memory_bytes = few ? 2 << 20 : 0};
        enum query_failure f;
        struct err err = {0};

        assert_int_equal(query_prepare(&q, slice_str(sql), &f, &err), 0);
        assert_int_equal(query_step(&q, &f, &err) == 1, !few);
        if (few)
            assert_non_null(strstr(err.msg, "memory"));
        query_finish(&q);
    }
}

/* ---- Arrow ---- */

struct message {
    uint8_t type; /* 1 schema, 3 batch */
    struct slice body;
};

/* The next message of the stream; false: the end mark, with nothing behind it. */
static bool next_message(struct slice *in, struct message *ret) {
    uint32_t len, root, vtable, at;

    assert_true(in->len >= 8);
    assert_int_equal(get_u32le(in->data), 0xffffffff);
    len = get_u32le(in->data + 4);
    if (!len) {
        assert_int_equal(in->len, 8);
        return false;
    }
    assert_int_equal(len % 8, 0);
    *in = slice_from(*in, 8);
    root = get_u32le(in->data);
    vtable = root - get_u32le(in->data + root);
    assert_int_equal(get_u16le(in->data + vtable), 12); /* four fields */
    at = root + get_u16le(in->data + vtable + 6);
    ret->type = in->data[at];
    at = root + get_u16le(in->data + vtable + 10);
    assert_int_equal(at % 8, 0);
    ret->body = slice_sub(*in, len, (size_t)get_u64le(in->data + at));
    *in = slice_from(*in, len + ret->body.len);
    assert_int_equal(ret->body.len % 8, 0);
    return true;
}

static struct buf ask_arrow(struct world *w, const char *sql) {
    struct query_statement q = {0};
    struct out_arrow *o = out_arrow_new();
    struct buf out = {0};
    enum query_failure f;

    assert_int_equal(query_prepare(&q, slice_str(sql), &f, NULL), 0);
    q.data = data_of(w);
    while (query_step(&q, &f, NULL) == 1)
        out_arrow_row(o, &q, &out);
    out_arrow_end(o, &q, &out);
    (void)out_arrow_free(o);
    query_finish(&q);
    return out;
}

static void arrow_answers_have_a_schema_batches_and_an_end(void **state) {
    struct buf b = ask_arrow(*state, "select count(1) from sys_invocation");
    struct slice in = buf_slice(&b);
    struct message m;

    assert_true(next_message(&in, &m));
    assert_int_equal(m.type, 1);
    assert_int_equal(m.body.len, 0);
    assert_true(next_message(&in, &m));
    assert_int_equal(m.type, 3);
    assert_int_equal(m.body.len, 8);
    assert_int_equal(get_u64le(m.body.data), 4);
    assert_false(next_message(&in, &m));
    buf_done(&b);
    b = ask_arrow(*state, "select * from state where key = 'none'");
    in = buf_slice(&b);
    assert_true(next_message(&in, &m));
    assert_int_equal(m.type, 1);
    assert_false(next_message(&in, &m));
    buf_done(&b);
}

static void arrow_columns_have_validity_offsets_and_values(void **state) {
    struct buf b = ask_arrow(*state, "select 'ab' as t union all select null union all select 'c'");
    struct slice in = buf_slice(&b);
    struct message m;

    assert_true(next_message(&in, &m));
    assert_true(next_message(&in, &m));
    assert_int_equal(m.body.len, 8 + 32 + 8);
    assert_int_equal(m.body.data[0], 5); /* the second is null */
    assert_int_equal(get_u64le(m.body.data + 8), 0);
    assert_int_equal(get_u64le(m.body.data + 16), 2);
    assert_int_equal(get_u64le(m.body.data + 24), 2);
    assert_int_equal(get_u64le(m.body.data + 32), 3);
    assert_memory_equal(m.body.data + 40, "abc", 3);
    assert_false(next_message(&in, &m));
    buf_done(&b);
}

static void long_arrow_answers_have_several_batches(void **state) {
    struct buf b = ask_arrow(*state, "with recursive t(n) as (select 1 union all select n + 1 from t where n < 2500) "
                                     "select n, n % 2 = 0 as even from t");
    struct slice in = buf_slice(&b);
    struct message m;
    uint64_t n = 0;

    assert_true(next_message(&in, &m));
    while (next_message(&in, &m))
        for (size_t i = 0; i < 1024 && n < 2500; i++)
            assert_int_equal(get_u64le(m.body.data + 8 * i), ++n);
    assert_int_equal(n, 2500);
    buf_done(&b);
}

#define WORLD_TEST(t) cmocka_unit_test_setup_teardown(t, world_new, world_free)
static const struct CMUnitTest tests[] = {
    WORLD_TEST(every_column_of_every_table_can_be_read),
    WORLD_TEST(invocations_have_the_status_that_a_client_expects),
    WORLD_TEST(results_retentions_and_keys_are_shown),
    WORLD_TEST(the_journal_is_shown_as_json),
    WORLD_TEST(a_look_up_reads_one_row_of_one_partition),
    WORLD_TEST(a_scan_goes_on_where_the_chunk_ended),
    WORLD_TEST(values_are_printed_by_their_type),
    WORLD_TEST(only_reading_is_allowed),
    WORLD_TEST(rows_that_cannot_be_read_end_the_query_and_say_why),
    WORLD_TEST(a_query_that_takes_too_long_is_stopped),
    WORLD_TEST(sorting_has_a_limit_of_memory),
    WORLD_TEST(arrow_answers_have_a_schema_batches_and_an_end),
    WORLD_TEST(arrow_columns_have_validity_offsets_and_values),
    WORLD_TEST(long_arrow_answers_have_several_batches),
};
const struct unit_group engine_test_group = UNIT_GROUP(tests);
