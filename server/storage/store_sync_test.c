/* SPDX-License-Identifier: Apache-2.0 */
#include "storage/store_test_util.h"

static void put(struct rig *g, const char *key, const char *value, struct outcome *o) {
    struct store_batch *b = store_batch_new();

    store_batch_put(b, g->t, slice_str(key), slice_str(value));
    store_commit(g->store, b, outcome_done, o);
}

static void expect_key(struct rig *g, const char *key, const char *value) {
    struct store_view *v;
    struct buf b = {0};
    int r;

    assert_int_equal(store_view_new(g->store, &v, NULL), 0);
    r = store_view_get(v, g->t, slice_str(key), &b, NULL);
    assert_int_equal(r, value ? 0 : RS_ENOENT);
    if (value)
        assert_true(slice_eq_str(buf_slice(&b), value));
    buf_done(&b);
    store_view_free(v);
}

static void commits_of_one_turn_share_one_write(void **state) {
    struct rig *g = rig_new(RS_STORE_SYNC, 1);
    struct outcome o[10] = {0};
    int clock = 0;

    rig_open(g);
    for (int i = 0; i < 10; i++) {
        o[i].clock = &clock;
        put(g, (char[]){(char)('a' + i), 0}, "1", &o[i]);
    }
    assert_int_equal(o[0].calls, 0);
    assert_true(store_queued_bytes(g->store) > 0);
    rig_settle(g);
    for (int i = 0; i < 10; i++) {
        assert_int_equal(o[i].calls, 1);
        assert_int_equal(o[i].status, 0);
        assert_int_equal(o[i].order, i + 1);
    }
    assert_int_equal(sim_disk_stats(g->disk).synced_writes, 1);
    assert_int_equal(sim_disk_unsynced(g->disk, g->params.dir), 0);
    assert_int_equal(store_queued_bytes(g->store), 0);
    rig_free(g);
}

static void commits_during_a_write_become_the_next_write(void **state) {
    struct rig *g = rig_new(RS_STORE_SYNC, 1);
    struct outcome a = {0}, b = {0}, c = {0};

    rig_open(g);
    put(g, "k", "1", &a);
    rig_turn(g); /* the writer has it */
    put(g, "k", "2", &b);
    rig_turn(g);
    put(g, "k", "3", &c);
    rig_turn(g);
    assert_true(rig_run_job(g));
    assert_int_equal(a.calls, 0); /* not before it is back on the loop */
    (void)loop_turn(g->loop);
    assert_int_equal(a.calls, 1);
    assert_int_equal(b.calls, 0);
    rig_settle(g);
    assert_int_equal(b.calls + c.calls, 2);
    assert_int_equal(sim_disk_stats(g->disk).synced_writes, 2);
    expect_key(g, "k", "3");
    rig_free(g);
}

static void a_group_is_bounded_but_a_single_large_batch_goes_whole(void **state) {
    struct rig *g = rig_new(RS_STORE_SYNC, 1);
    struct outcome o = {0};
    uint8_t *big = xcalloc(1, 3u << 20);

    rig_open(g);
    for (int i = 0; i < 5; i++) {
        struct store_batch *b = store_batch_new();

        store_batch_put(b, g->t, slice_of(&i, sizeof i), slice_of(big, i == 4 ? 3u << 20 : 1500000));
        if (i == 4)
            store_batch_put(b, g->t, slice_str("x"), slice_of(big, 3u << 20));
        store_commit(g->store, b, outcome_done, &o);
    }
    rig_settle(g);
    assert_int_equal(o.calls, 5);
    assert_int_equal(sim_disk_stats(g->disk).writes, 3); /* 2 + 2 of 1.5 MB, then 6 MiB alone */
    free(big);
    rig_free(g);
}

static void values_in_parts_and_range_deletes_arrive(void **state) {
    struct rig *g = rig_new(RS_STORE_SYNC, 1);
    struct bytes *body = bytes_copy(SLICE_LIT("headbodytail"));
    struct bytes *parts[] = {body, NULL, body};
    struct slice slices[] = {slice_sub(bytes_slice(body), 0, 4), SLICE_LIT("-"), slice_sub(bytes_slice(body), 8, 4)};
    struct store_batch *b = store_batch_new();

    rig_open(g);
    store_batch_put(b, g->t, SLICE_LIT("a"), SLICE_LIT("1"));
    store_batch_put(b, g->t, SLICE_LIT("b"), SLICE_LIT("1"));
    store_batch_put(b, g->t, SLICE_LIT("c"), SLICE_LIT("1"));
    store_batch_del_range(b, g->t, SLICE_LIT("a"), SLICE_LIT("c"));
    store_batch_put_bytes(b, g->t, SLICE_LIT("b"), parts, slices, 3);
    store_batch_del(b, g->t, SLICE_LIT("nothing"));
    assert_null(bytes_unref(body)); /* the batch holds its own */
    store_commit(g->store, b, NULL, NULL);
    rig_settle(g);
    expect_key(g, "a", NULL);
    expect_key(g, "b", "head-tail");
    expect_key(g, "c", "1");
    rig_free(g);
}

static void a_full_disk_is_tried_again_and_not_reported(void **state) {
    struct rig *g = rig_new(RS_STORE_SYNC, 1);
    struct outcome a = {0}, b = {0};

    rig_open(g);
    sim_disk_fault(g->disk, SIM_FAULT_WRITE_ENOSPC, "data-0", 0, 3);
    put(g, "k", "1", &a);
    rig_settle(g);
    put(g, "k", "2", &b);
    rig_pass(g, 1500000000);
    assert_int_equal(a.calls + b.calls, 0);
    rig_pass(g, 1000000000);
    assert_int_equal(a.calls, 0);
    rig_pass(g, 1000000000);
    assert_int_equal(a.calls, 1);
    assert_int_equal(b.calls, 1);
    assert_int_equal(a.status | b.status, 0);
    assert_int_equal(g->poisoned, 0);
    expect_key(g, "k", "2");
    rig_free(g);
}

static void a_failed_sync_is_final(void **state) {
    struct rig *g = rig_new(RS_STORE_SYNC, 1);
    struct outcome a = {0}, b = {0}, c = {0};

    rig_open(g);
    sim_disk_fault(g->disk, SIM_FAULT_SYNC, NULL, 0, 1); /* would succeed if it were tried again */
    put(g, "k", "1", &a);
    rig_turn(g);
    put(g, "k", "2", &b);
    rig_settle(g);
    assert_int_equal(g->poisoned, 1);
    assert_true(store_is_poisoned(g->store));
    assert_int_equal(a.status, RS_EIO);
    assert_int_equal(b.status, RS_ECLOSED);
    put(g, "k", "3", &c);
    assert_int_equal(c.calls, 0);
    rig_pass(g, 5000000000);
    assert_int_equal(c.calls, 1);
    assert_int_equal(c.status, RS_ECLOSED);
    assert_int_equal(g->poisoned, 1);
    rig_free(g);
}

static void close_writes_what_is_queued_and_calls_back(void **state) {
    struct rig *g = rig_new(RS_STORE_SYNC, 1);
    struct outcome a = {0}, b = {0}, c = {0};

    rig_open(g);
    put(g, "k", "1", &a);
    rig_turn(g);
    put(g, "k", "2", &b);
    put(g, "l", "2", &c);
    g->store = store_close(g->store);
    assert_int_equal(a.calls + b.calls + c.calls, 3);
    assert_int_equal(a.status | b.status | c.status, 0);
    rig_settle(g);
    assert_int_equal(a.calls, 1);
    rig_open(g);
    expect_key(g, "k", "2");
    rig_free(g);
}

static void close_on_a_full_disk_refuses_the_queue(void **state) {
    struct rig *g = rig_new(RS_STORE_SYNC, 1);
    struct outcome a = {0}, b = {0};

    rig_open(g);
    sim_disk_fault(g->disk, SIM_FAULT_WRITE_ENOSPC, NULL, 0, UINT64_MAX);
    put(g, "k", "1", &a);
    rig_settle(g);
    put(g, "k", "2", &b);
    g->store = store_close(g->store);
    assert_int_equal(a.calls, 1);
    assert_int_equal(a.status, RS_ECLOSED);
    assert_int_equal(b.status, RS_ECLOSED);
    rig_free(g);
}

static void abandon_calls_nobody_and_a_crash_keeps_what_was_reported(void **state) {
    for (uint64_t seed = 1; seed < 30; seed++) {
        struct rig *g = rig_new(RS_STORE_SYNC, seed);
        struct outcome o[8] = {0};
        char key[2] = "a";

        rig_open(g);
        for (int i = 0; i < 8; i++) {
            key[0] = (char)('a' + i);
            put(g, key, "1", &o[i]);
            if (rig_draw(g) % 2)
                rig_turn(g);
            if (rig_draw(g) % 2)
                (void)rig_run_job(g);
        }
        g->store = store_abandon(g->store);
        sim_disk_crash(g->disk);
        rig_settle(g);
        rig_open(g);
        for (int i = 0; i < 8; i++) {
            key[0] = (char)('a' + i);
            assert_true(o[i].calls <= 1);
            if (o[i].calls)
                expect_key(g, key, "1");
        }
        rig_free(g);
    }
}

static void a_dropped_table_takes_its_queued_writes_along(void **state) {
    struct rig *g = rig_new(RS_STORE_SYNC, 1);
    struct outcome a = {0};

    rig_open(g);
    put(g, "k", "1", &a);
    assert_int_equal(store_table_drop(g->store, "t", NULL), 0);
    assert_int_equal(store_table_drop(g->store, "t", NULL), RS_ENOENT);
    assert_int_equal(store_table_open(g->store, "t", &g->t, NULL), 0);
    rig_settle(g);
    assert_int_equal(a.calls, 1);
    expect_key(g, "k", NULL);
    rig_free(g);
}

static void a_view_outlives_its_store(void **state) {
    struct rig *g = rig_new(RS_STORE_SYNC, 1);
    struct store_table *t;
    struct store_view *v;
    struct buf b = {0};

    rig_open(g);
    t = g->t;
    put(g, "k", "1", &(struct outcome){0});
    rig_settle(g);
    assert_int_equal(store_view_new(g->store, &v, NULL), 0);
    g->store = store_close(g->store);
    assert_int_equal(sim_disk_stats(g->disk).stores_open, 1);
    assert_int_equal(store_view_get(v, t, SLICE_LIT("k"), &b, NULL), 0);
    store_view_free(v);
    buf_done(&b);
    assert_int_equal(sim_disk_stats(g->disk).stores_open, 0);
    rig_free(g);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(commits_of_one_turn_share_one_write),
    cmocka_unit_test(commits_during_a_write_become_the_next_write),
    cmocka_unit_test(a_group_is_bounded_but_a_single_large_batch_goes_whole),
    cmocka_unit_test(values_in_parts_and_range_deletes_arrive),
    cmocka_unit_test(a_full_disk_is_tried_again_and_not_reported),
    cmocka_unit_test(a_failed_sync_is_final),
    cmocka_unit_test(close_writes_what_is_queued_and_calls_back),
    cmocka_unit_test(close_on_a_full_disk_refuses_the_queue),
    cmocka_unit_test(abandon_calls_nobody_and_a_crash_keeps_what_was_reported),
    cmocka_unit_test(a_dropped_table_takes_its_queued_writes_along),
    cmocka_unit_test(a_view_outlives_its_store),
};
const struct unit_group store_sync_test_group = UNIT_GROUP(tests);
