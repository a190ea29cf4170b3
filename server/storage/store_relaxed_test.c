/* SPDX-License-Identifier: Apache-2.0 */
#include "storage/store_test_util.h"

static void put(struct rig *g, const char *key, const char *value) {
    store_put(g->store, g->t, slice_str(key), slice_str(value));
}

static void expect(struct rig *g, const char *key, const char *value) {
    struct slice v;
    int r = store_get(g->store, g->t, slice_str(key), &v, NULL);

    assert_int_equal(r, value ? 0 : RS_ENOENT);
    if (value)
        assert_true(slice_eq_str(v, value));
}

static void writes_are_readable_at_once_and_in_every_stage(void **state) {
    struct rig *g = rig_new(RS_STORE_RELAXED, 1);

    rig_open(g);
    put(g, "a", "1");
    expect(g, "a", "1");
    store_sync(g->store, NULL, NULL); /* frozen */
    expect(g, "a", "1");
    put(g, "a", "2");
    expect(g, "a", "2");
    rig_turn(g);
    (void)rig_run_job(g); /* written, not reported */
    expect(g, "a", "2");
    rig_settle(g);
    expect(g, "a", "2");
    rig_pass(g, 100000000);
    expect(g, "a", "2");
    assert_int_equal(sim_disk_stats(g->disk).writes, 2);
    store_del(g->store, g->t, SLICE_LIT("a"));
    expect(g, "a", NULL);
    rig_pass(g, 100000000);
    expect(g, "a", NULL);
    rig_free(g);
}

static void a_generation_is_written_when_it_is_old_and_when_it_is_large(void **state) {
    struct rig *g = rig_new(RS_STORE_RELAXED, 1);
    uint8_t big[70000] = {0};

    rig_open(g);
    put(g, "a", "1");
    rig_pass(g, 49000000);
    assert_int_equal(sim_disk_stats(g->disk).writes, 0);
    rig_pass(g, 1000000);
    assert_int_equal(sim_disk_stats(g->disk).writes, 1);
    for (int i = 0; i < 14; i++)
        store_put(g->store, g->t, slice_of(&i, sizeof i), slice_of(big, sizeof big));
    rig_settle(g);
    assert_int_equal(sim_disk_stats(g->disk).writes, 1);
    for (int i = 14; i < 16; i++)
        store_put(g->store, g->t, slice_of(&i, sizeof i), slice_of(big, sizeof big));
    rig_settle(g);
    assert_int_equal(sim_disk_stats(g->disk).writes, 2);
    assert_int_equal(sim_disk_stats(g->disk).syncs, 0);
    rig_free(g);
}

static void a_full_overlay_is_not_writable_until_the_writer_came_by(void **state) {
    struct rig *g = rig_new(RS_STORE_RELAXED, 1);
    uint8_t value[1000] = {0};
    int n = 0;

    g->params.write_out_bytes = 5000;
    g->params.overlay_limit_bytes = 50000;
    rig_open(g);
    while (store_writable(g->store) && n < 1000) {
        store_put(g->store, g->t, slice_of(&n, sizeof n), slice_of(value, sizeof value));
        (void)store_mark(g->store);
        rig_turn(g); /* jobs do not run */
        n++;
    }
    assert_in_range(n, 35, 50);
    put(g, "over", "1"); /* still taken */
    expect(g, "over", "1");
    assert_int_equal(g->writable, 0);
    rig_settle(g);
    assert_int_equal(g->writable, 1);
    assert_true(store_writable(g->store));
    for (int i = 0; i < n; i++) {
        struct slice v;
        assert_int_equal(store_get(g->store, g->t, slice_of(&i, sizeof i), &v, NULL), 0);
    }
    rig_free(g);
}

static void the_durable_mark_rises_only_with_a_sync(void **state) {
    struct rig *g = rig_new(RS_STORE_RELAXED, 1);
    struct outcome o = {0};
    uint64_t m1, m2, m3;

    rig_open(g);
    put(g, "a", "1");
    m1 = store_mark(g->store);
    rig_pass(g, 1000000000);
    assert_int_equal(sim_disk_stats(g->disk).writes, 1);
    assert_int_equal(store_durable_mark(g->store), 0);
    store_sync(g->store, outcome_done, &o);
    put(g, "a", "2");
    m2 = store_mark(g->store);
    assert_true(m2 > m1);
    assert_int_equal(o.calls, 0);
    rig_settle(g);
    assert_int_equal(o.calls, 1);
    assert_int_equal(store_durable_mark(g->store), m1);
    assert_int_equal(g->durable, 1);
    rig_pass(g, 31000000000); /* by itself, after sync_ns */
    assert_int_equal(store_durable_mark(g->store), m2);
    assert_int_equal(g->durable, 2);
    m3 = store_mark(g->store); /* a record that wrote nothing is durable with the next sync */
    store_sync(g->store, outcome_done, &o);
    rig_settle(g);
    assert_int_equal(store_durable_mark(g->store), m3);
    rig_free(g);
}

static void enough_written_bytes_are_synced(void **state) {
    struct rig *g = rig_new(RS_STORE_RELAXED, 1);
    uint8_t value[1000] = {0};

    g->params.write_out_bytes = 5000;
    g->params.sync_bytes = 20000;
    rig_open(g);
    for (int i = 0; i < 60; i++) {
        store_put(g->store, g->t, slice_of(&i, sizeof i), slice_of(value, sizeof value));
        (void)store_mark(g->store);
        rig_settle(g);
    }
    assert_in_range(sim_disk_stats(g->disk).syncs, 2, 4);
    assert_in_range(sim_disk_stats(g->disk).writes, 9, 14);
    rig_free(g);
}

static void a_barrier_shows_what_was_put_before_it_and_no_more(void **state) {
    struct rig *g = rig_new(RS_STORE_RELAXED, 1);
    struct outcome o[3] = {0};
    struct buf b = {0};

    rig_open(g);
    store_barrier(g->store, outcome_view, &o[0]); /* of the empty store */
    for (int i = 1; i < 3; i++) {
        put(g, "n", i == 1 ? "1" : "2");
        store_barrier(g->store, outcome_view, &o[i]);
        assert_int_equal(o[i].calls, 0);
    }
    put(g, "n", "3");
    rig_pass(g, 1000000000);
    expect(g, "n", "3");
    assert_int_equal(store_view_get(o[0].view, g->t, SLICE_LIT("n"), &b, NULL), RS_ENOENT);
    assert_int_equal(store_view_get(o[1].view, g->t, SLICE_LIT("n"), &b, NULL), 0);
    assert_true(slice_eq_str(buf_slice(&b), "1"));
    assert_int_equal(store_view_get(o[2].view, g->t, SLICE_LIT("n"), &b, NULL), 0);
    assert_true(slice_eq_str(buf_slice(&b), "2"));
    for (int i = 0; i < 3; i++)
        store_view_free(o[i].view);
    buf_done(&b);
    rig_free(g);
}

static void a_barrier_behind_a_full_queue_still_comes(void **state) {
    struct rig *g = rig_new(RS_STORE_RELAXED, 1);
    struct outcome o[5] = {0};

    rig_open(g);
    for (int i = 0; i < 5; i++) {
        put(g, "n", (char[]){(char)('0' + i), 0});
        store_barrier(g->store, outcome_view, &o[i]);
    }
    rig_settle(g);
    for (int i = 0; i < 5; i++) {
        struct buf b = {0};

        assert_int_equal(o[i].calls, 1);
        assert_int_equal(store_view_get(o[i].view, g->t, SLICE_LIT("n"), &b, NULL), 0);
        assert_int_equal(b.len, 1);
        assert_true(b.data[0] >= '0' + i);
        buf_done(&b);
        store_view_free(o[i].view);
    }
    rig_free(g);
}

static void a_sticky_write_error_throws_the_overlay_away(void **state) {
    struct rig *g = rig_new(RS_STORE_RELAXED, 1);
    struct outcome o[3] = {0};
    struct slice v;
    struct err err;

    rig_open(g);
    sim_disk_fault(g->disk, SIM_FAULT_WRITE_EIO, NULL, 0, 1);
    put(g, "a", "1");
    store_sync(g->store, outcome_done, &o[0]);
    store_barrier(g->store, outcome_view, &o[1]);
    rig_settle(g);
    assert_int_equal(g->poisoned, 1);
    assert_int_equal(o[0].status, RS_EIO);
    assert_int_equal(o[1].status, RS_EIO);
    assert_null(o[1].view);
    put(g, "b", "1");
    assert_int_equal(store_get(g->store, g->t, SLICE_LIT("b"), &v, &err), RS_ECLOSED);
    assert_false(store_writable(g->store));
    store_sync(g->store, outcome_done, &o[2]);
    rig_pass(g, 60000000000);
    assert_int_equal(o[2].calls, 1);
    assert_true(o[2].status < 0);
    assert_int_equal(store_durable_mark(g->store), 0);
    rig_free(g);
}

static void a_failed_sync_poisons_and_moves_no_mark(void **state) {
    struct rig *g = rig_new(RS_STORE_RELAXED, 1);
    struct outcome o[2] = {0};

    rig_open(g);
    put(g, "a", "1");
    (void)store_mark(g->store);
    sim_disk_fault(g->disk, SIM_FAULT_SYNC, NULL, 0, 1);
    store_barrier(g->store, outcome_view, &o[1]);
    store_sync(g->store, outcome_done, &o[0]);
    rig_settle(g);
    assert_int_equal(g->poisoned, 1);
    assert_int_equal(o[0].status, RS_EIO);
    assert_int_equal(o[1].status, RS_EIO);
    assert_int_equal(store_durable_mark(g->store), 0);
    rig_free(g);
}

static void a_full_disk_holds_the_generation_and_reads_go_on(void **state) {
    struct rig *g = rig_new(RS_STORE_RELAXED, 1);
    struct outcome o = {0};

    rig_open(g);
    sim_disk_fault(g->disk, SIM_FAULT_WRITE_ENOSPC, NULL, 0, 4);
    put(g, "a", "1");
    store_sync(g->store, outcome_done, &o);
    rig_pass(g, 3500000000);
    put(g, "b", "2");
    expect(g, "a", "1");
    assert_int_equal(o.calls, 0);
    rig_pass(g, 2000000000);
    assert_int_equal(o.calls, 1);
    assert_int_equal(o.status, 0);
    expect(g, "a", "1");
    expect(g, "b", "2");
    assert_int_equal(g->poisoned, 0);
    rig_free(g);
}

static void close_writes_and_syncs_everything(void **state) {
    struct rig *g = rig_new(RS_STORE_RELAXED, 1);
    struct outcome o[2] = {0};

    rig_open(g);
    for (int i = 0; i < 4; i++) { /* two frozen, one of them on its way, and an active one */
        put(g, (char[]){(char)('a' + i), 0}, "1");
        store_sync(g->store, i < 2 ? outcome_done : NULL, &o[i % 2]);
        if (i == 1)
            rig_turn(g);
    }
    g->store = store_close(g->store);
    assert_int_equal(o[0].calls, 1);
    assert_int_equal(o[1].calls, 1);
    sim_disk_crash_at(g->disk, g->params.dir, 0);
    rig_settle(g);
    rig_open(g);
    for (int i = 0; i < 4; i++)
        expect(g, (char[]){(char)('a' + i), 0}, "1");
    rig_free(g);
}

static void a_dropped_table_is_empty_when_it_comes_back(void **state) {
    struct rig *g = rig_new(RS_STORE_RELAXED, 1);

    rig_open(g);
    put(g, "old", "1");
    rig_pass(g, 100000000);
    put(g, "new", "1");
    assert_int_equal(store_table_drop(g->store, "t", NULL), 0);
    assert_int_equal(store_table_open(g->store, "t", &g->t, NULL), 0);
    expect(g, "old", NULL);
    expect(g, "new", NULL);
    put(g, "newer", "1");
    rig_pass(g, 100000000);
    expect(g, "new", NULL);
    expect(g, "newer", "1");
    rig_free(g);
}

/* A cold read is on its way while the key is written, the generation goes to the engine and is dropped. */
static void a_cold_read_that_was_overtaken_is_not_believed(void **state) {
    for (int scan = 0; scan < 2; scan++) {
        struct rig *g = rig_new(RS_STORE_RELAXED, 1), *pool = rig_new(RS_STORE_RELAXED, 1);
        struct outcome o = {0};
        struct slice v;
        struct list *e;
        struct job *j;

        pool->loop = loop_free(pool->loop);
        g->params.pool = &pool->exec;
        g->params.caps = 0;
        rig_open(g);
        put(g, "a", "old");
        rig_pass(g, 100000000);
        assert_int_equal(store_get(g->store, g->t, SLICE_LIT("a"), &v, NULL), RS_EAGAIN);
        if (scan)
            store_scan_cold(g->store, g->t, SLICE_NULL, SLICE_NULL, false, outcome_done, &o);
        else
            store_get_cold(g->store, g->t, SLICE_LIT("a"), outcome_done, &o);
        e = list_pop_front(&pool->jobs);
        j = LIST_ENTRY(e, struct job, link);
        j->run(j);
        put(g, "a", "new");
        rig_pass(g, 100000000); /* written and dropped */
        j->done(j);
        assert_int_equal(o.calls, 1);
        if (!scan)
            assert_int_equal(store_get(g->store, g->t, SLICE_LIT("a"), &v, NULL), RS_EAGAIN);
        store_scan_cold(g->store, g->t, SLICE_NULL, SLICE_NULL, false, outcome_done, &o);
        g->store = store_close(g->store); /* its job still waits */
        assert_int_equal(o.calls, 2);
        assert_int_equal(o.status, RS_ECLOSED);
        e = list_pop_front(&pool->jobs);
        j = LIST_ENTRY(e, struct job, link);
        j->run(j);
        j->done(j);
        rig_free(g);
        sim_disk_free(pool->disk);
        free(pool);
    }
}

struct collect {
    char text[4000];
};
static int collect_row(void *arg, struct slice key, struct slice value) {
    struct collect *c = arg;
    size_t n = strlen(c->text);

    (void)snprintf(c->text + n, sizeof c->text - n, SLICE_FMT "=" SLICE_FMT " ", SLICE_ARG(key), SLICE_ARG(value));
    return 0;
}

static void a_scan_sees_the_newest_of_all_stages(void **state) {
    struct rig *g = rig_new(RS_STORE_RELAXED, 1);
    struct collect c = {0};

    rig_open(g);
    put(g, "a", "engine");
    put(g, "b", "engine");
    put(g, "c", "engine");
    put(g, "e", "engine");
    rig_pass(g, 100000000);
    put(g, "b", "frozen");
    put(g, "d", "frozen");
    store_del(g->store, g->t, SLICE_LIT("c"));
    store_sync(g->store, NULL, NULL);
    put(g, "d", "active");
    store_del(g->store, g->t, SLICE_LIT("e"));
    put(g, "c", "back");
    assert_int_equal(store_scan(g->store, g->t, SLICE_NULL, SLICE_NULL, false, collect_row, &c, NULL), 0);
    assert_string_equal(c.text, "a=engine b=frozen c=back d=active ");
    c.text[0] = 0;
    assert_int_equal(store_scan(g->store, g->t, SLICE_LIT("b"), SLICE_LIT("d"), true, collect_row, &c, NULL), 0);
    assert_string_equal(c.text, "c=back b=frozen ");
    c.text[0] = 0;
    assert_int_equal(store_scan(g->store, g->u, SLICE_NULL, SLICE_NULL, true, collect_row, &c, NULL), 0);
    assert_string_equal(c.text, "");
    rig_free(g);
}

static void slices_of_several_reads_stay_until_the_next_write(void **state) {
    struct rig *g = rig_new(RS_STORE_RELAXED, 1);
    struct slice a, b;

    rig_open(g);
    put(g, "a", "1");
    put(g, "b", "2");
    rig_pass(g, 100000000);
    assert_int_equal(store_get(g->store, g->t, SLICE_LIT("a"), &a, NULL), 0);
    assert_int_equal(store_get(g->store, g->t, SLICE_LIT("b"), &b, NULL), 0);
    assert_true(slice_eq_str(a, "1"));
    store_put(g->store, g->t, SLICE_LIT("c"), b); /* a borrowed value may be written back */
    expect(g, "c", "2");
    rig_free(g);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(writes_are_readable_at_once_and_in_every_stage),
    cmocka_unit_test(a_generation_is_written_when_it_is_old_and_when_it_is_large),
    cmocka_unit_test(a_full_overlay_is_not_writable_until_the_writer_came_by),
    cmocka_unit_test(the_durable_mark_rises_only_with_a_sync),
    cmocka_unit_test(enough_written_bytes_are_synced),
    cmocka_unit_test(a_barrier_shows_what_was_put_before_it_and_no_more),
    cmocka_unit_test(a_barrier_behind_a_full_queue_still_comes),
    cmocka_unit_test(a_sticky_write_error_throws_the_overlay_away),
    cmocka_unit_test(a_failed_sync_poisons_and_moves_no_mark),
    cmocka_unit_test(a_full_disk_holds_the_generation_and_reads_go_on),
    cmocka_unit_test(close_writes_and_syncs_everything),
    cmocka_unit_test(a_dropped_table_is_empty_when_it_comes_back),
    cmocka_unit_test(a_cold_read_that_was_overtaken_is_not_believed),
    cmocka_unit_test(a_scan_sees_the_newest_of_all_stages),
    cmocka_unit_test(slices_of_several_reads_stay_until_the_next_write),
};
const struct unit_group store_relaxed_test_group = UNIT_GROUP(tests);
