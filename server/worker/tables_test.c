/* SPDX-License-Identifier: Apache-2.0 */
#include "unit.h"
#include "worker/sm_fixture.h"
#include "worker/staged.h"
#include "worker/tables_internal.h"

static void header_row_keeps_every_field(void **state) {
    _cleanup_arena_ struct arena a = {0};
    struct inv_sink sinks[] = {
        {.type = SINK_INGRESS, .request_id = "0123456789abcde"},
        {.type = SINK_PARTITION, .caller = {{1, 2, 3}}, .completion_id = 77},
    };
    struct inv_header h =
                          {
                              .status = INV_SUSPENDED,
                              .target_type = TARGET_OBJECT_EXCLUSIVE,
                              .protocol = 7,
                              .has_random_seed = true,
                              .journal_length = 1,
                              .command_count = 2,
                              .event_count = 3,
                              .output_index = 4,
                              .created_ms = 5,
                              .modified_ms = 6,
                              .inboxed_ms = 7,
                              .scheduled_ms = 8,
                              .running_ms = 9,
                              .completed_ms = 10,
                              .execution_time_ms = 11,
                              .completion_retention_ms = 12,
                              .journal_retention_ms = 13,
                              .inbox_seq = 14,
                              .random_seed = UINT64_MAX,
                              .deployment = SLICE_LIT("dp_1"),
                              .future = SLICE_LIT("future"),
                              .sinks = sinks,
                              .n_sinks = 2,
                          },
                      back;
    struct slice row;

    (void)state;
    inv_header_encode(&h, &a, &row);
    assert_int_equal(inv_header_decode(row, &a, &back, NULL), 0);
    assert_memory_equal(back.sinks[0].request_id, sinks[0].request_id, 16);
    assert_memory_equal(back.sinks[1].caller.raw, sinks[1].caller.raw, 24);
    assert_int_equal(back.sinks[1].completion_id, 77);
    assert_true(slice_eq(back.deployment, h.deployment));
    assert_true(slice_eq(back.future, h.future));
    assert_int_equal(back.status, h.status);
    assert_int_equal(back.target_type, h.target_type);
    assert_int_equal(back.protocol, 7);
    assert_true(back.has_random_seed);
    assert_memory_equal(&back.journal_length, &h.journal_length, 4 * sizeof(uint32_t));
    assert_memory_equal(&back.created_ms, &h.created_ms, 11 * sizeof(uint64_t));
    /* Every shorter row is refused, and so is another version. */
    for (size_t n = 0; n < row.len; n++)
        assert_true(inv_header_decode(slice_sub(row, 0, n), &a, &back, NULL) < 0);
    *(uint8_t *)(uintptr_t)row.data = 2;
    assert_int_equal(inv_header_decode(row, &a, &back, NULL), RS_EUNSUPPORTED);
}

static int find_state(void *arg, const struct object_key *o, struct slice state_key, struct slice value) {
    const struct slice *want = arg; /* service, key, state key, value */

    return slice_eq(o->service, want[0]) && slice_eq(o->key, want[1]) && slice_eq(state_key, want[2]) &&
                   slice_eq(value, want[3])
               ? 1
               : 0;
}

static void long_strings_fit_into_keys_and_come_back_whole(void **state) {
    static const size_t lengths[] = {0, 1, 100, 101, 1000, 5000};
    uint8_t text[5000];
    struct mem_table t;
    _cleanup_arena_ struct arena a = {0};

    (void)state;
    memset(text, 'x', sizeof text);
    mem_table_init(&t);
    for (size_t i = 0; i < ARRAY_SIZE(lengths); i++)
        for (size_t j = 0; j < ARRAY_SIZE(lengths); j++) {
            struct object_key o = {42, SLICE_NULL, slice_of(text, lengths[i]), slice_of(text, lengths[j])};
            struct slice want[4] = {o.service, o.key, slice_of(text, lengths[(i + j) % 6]), SLICE_LIT("value")}, row,
                         got;
            struct table_key k;
            uint8_t *p = object_value_new(&a, &o, want[2], 5, &row);

            memcpy(p, "value", 5);
            key_object(&k, T_STATE, &o, want[2]);
            assert_true(k.len <= 480);
            mem_table_put(&t, table_key_slice(&k), row);
            assert_int_equal(tables_state_get(&t.reader, &o, want[2], &got, NULL), 0);
            assert_true(slice_eq_str(got, "value"));
            assert_int_equal(tables_all_state(&t.reader, find_state, want, NULL), 1);
        }
    assert_int_equal(t.n, ARRAY_SIZE(lengths) * ARRAY_SIZE(lengths));
    mem_table_done(&t);
}

static int count(void *arg, struct slice key, struct slice value) {
    struct buf *b = arg;

    (void)value;
    buf_put_slice(b, key);
    return 0;
}

static void scans_see_the_writes_of_the_record_over_the_table(void **state) {
    _cleanup_arena_ struct arena scratch = {0};
    struct sm_writes w = {0};
    struct staged_reader s;
    struct mem_table t;
    struct buf b = {0};

    (void)state;
    mem_table_init(&t);
    for (const char *c = "bdfh"; *c; c++)
        mem_table_put(&t, slice_of(c, 1), SLICE_LIT("old"));
    stage_put(&w, SLICE_LIT("a"), SLICE_LIT("new"));
    stage_put(&w, SLICE_LIT("d"), SLICE_LIT("new"));
    stage_del(&w, SLICE_LIT("f"));
    stage_del(&w, SLICE_LIT("g"));
    stage_put(&w, SLICE_LIT("i"), SLICE_LIT("new"));
    staged_reader_init(&s, &w, &t.reader, &scratch);
    assert_int_equal(s.reader.scan(s.reader.arg, SLICE_LIT("a"), SLICE_NULL, false, count, &b, NULL), 0);
    assert_string_equal(buf_cstr(&b), "abdhi");
    buf_clear(&b);
    assert_int_equal(s.reader.scan(s.reader.arg, SLICE_LIT("b"), SLICE_LIT("i"), true, count, &b, NULL), 0);
    assert_string_equal(buf_cstr(&b), "hdb");
    buf_done(&b);
    sm_writes_done(&w);
    mem_table_done(&t);
}

static void many_writes_are_found_by_key_and_the_last_one_counts(void **state) {
    struct sm_writes w = {0};
    uint8_t key[4];

    (void)state;
    for (int round = 0; round < 2; round++) {
        for (uint32_t i = 0; i < 5000; i++) {
            put_u32be(key, i % 2500);
            stage_put(&w, slice_of(key, 4), i < 2500 ? SLICE_LIT("first") : SLICE_LIT("second"));
        }
        assert_int_equal(w.n, 2500);
        for (uint32_t i = 0; i < 2500; i++) {
            put_u32be(key, i);
            assert_true(slice_eq_str(stage_find(&w, slice_of(key, 4))->value, "second"));
        }
        put_u32be(key, 2500);
        assert_null(stage_find(&w, slice_of(key, 4)));
        sm_writes_clear(&w);
        assert_null(stage_find(&w, slice_of(key, 4)));
    }
    sm_writes_done(&w);
}

static int take_timer(void *arg, const struct sm_timer *t) {
    uint64_t *times = arg;

    times[++times[0]] = t->time_ms;
    return 0;
}

static void timers_come_in_firing_order_behind_the_last_one_read(void **state) {
    static const uint64_t order[] = {300, 5, 1u << 20, 7};
    uint64_t times[8] = {0};
    struct mem_table t;
    struct table_key k;
    struct sm_timer timer = {.kind = TIMER_SLEEP, .id = {{9}}};

    (void)state;
    mem_table_init(&t);
    for (size_t i = 0; i < ARRAY_SIZE(order); i++) {
        timer.time_ms = order[i];
        key_timer(&k, &timer);
        mem_table_put(&t, table_key_slice(&k), SLICE_LIT("\1"));
    }
    assert_int_equal(tables_timers(&t.reader, NULL, take_timer, times, NULL), 0);
    assert_int_equal(times[0], 4);
    assert_int_equal(times[1], 5);
    assert_int_equal(times[4], 1u << 20);
    times[0] = 0;
    timer.time_ms = 7;
    assert_int_equal(tables_timers(&t.reader, &timer, take_timer, times, NULL), 0);
    assert_int_equal(times[0], 2);
    assert_int_equal(times[1], 300);
    mem_table_done(&t);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(header_row_keeps_every_field),
    cmocka_unit_test(long_strings_fit_into_keys_and_come_back_whole),
    cmocka_unit_test(scans_see_the_writes_of_the_record_over_the_table),
    cmocka_unit_test(many_writes_are_found_by_key_and_the_last_one_counts),
    cmocka_unit_test(timers_come_in_firing_order_behind_the_last_one_read),
};
const struct unit_group tables_test_group = UNIT_GROUP(tests);
