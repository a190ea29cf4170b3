/* SPDX-License-Identifier: Apache-2.0 */
/* The same store with real threads: a writer, a pool for cold reads and views. Meant for ThreadSanitizer. */
#include "storage/store_test_util.h"

enum { ROUNDS = 300, PER_ROUND = 20 };

struct real {
    struct loop *loop;
    struct exec *writer, *pool;
    struct sim_disk *disk;
    struct store *store;
    struct store_table *t;
    struct timer tick;
    int round, pending, commits, barriers;
};

static void real_open(struct real *r, uint32_t durability) {
    struct store_params p = {.ops = &sim_storage_ops,
                             .caps = SIM_STORAGE_CAPS,
                             .dir = "d",
                             .name = "d",
                             .durability = durability,
                             .write_out_bytes = 4000,
                             .write_out_ns = 500000,
                             .sync_bytes = 20000};

    assert_int_equal(loop_new(&r->loop, NULL), 0);
    r->writer = exec_new_threads("writer", 1);
    r->pool = exec_new_threads("pool", 2);
    r->disk = sim_disk_new(7);
    p.loop = r->loop;
    p.writer = r->writer;
    p.pool = r->pool;
    p.self = r->disk;
    assert_int_equal(store_open(&p, &r->store, NULL), 0);
    assert_int_equal(store_table_open(r->store, "t", &r->t, NULL), 0);
}

static void real_close(struct real *r) {
    r->store = store_close(r->store);
    exec_free(r->writer);
    exec_free(r->pool);
    loop_free(r->loop);
    sim_disk_free(r->disk);
}

static void on_commit(void *arg, int status, const struct err *err) {
    struct real *r = arg;

    assert_int_equal(status, 0);
    r->commits++;
    r->pending--;
}

static void sync_tick(void *arg) {
    struct real *r = arg;

    for (int i = 0; i < PER_ROUND && r->round < ROUNDS; i++) {
        struct store_batch *b = store_batch_new();
        uint32_t key = (uint32_t)(r->round * PER_ROUND + i);

        store_batch_put(b, r->t, slice_of(&key, 4), slice_of(&key, 4));
        store_commit(r->store, b, on_commit, r);
        r->pending++;
    }
    if (r->round++ < ROUNDS)
        timer_set(r->loop, &r->tick, 20000);
    else if (r->pending)
        timer_set(r->loop, &r->tick, 1000000);
    else
        loop_stop(r->loop);
}

static void group_commit_with_a_writer_thread(void **state) {
    struct real r = {0};

    real_open(&r, RS_STORE_SYNC);
    timer_init(&r.tick, sync_tick, &r);
    timer_set(r.loop, &r.tick, 0);
    loop_run(r.loop);
    assert_int_equal(r.commits, ROUNDS * PER_ROUND);
    assert_true(sim_disk_stats(r.disk).writes <= ROUNDS + 1);
    real_close(&r);
}

struct view_job {
    struct job job;
    struct real *r;
    struct store_view *v;
    uint32_t at_least, found;
};
static int count_rows(void *arg, struct slice key, struct slice value) {
    (*(uint32_t *)arg)++;
    return 0;
}
static void view_run(struct job *j) {
    struct view_job *vj = CONTAINER_OF(j, struct view_job, job);

    (void)!store_view_scan(vj->v, vj->r->t, SLICE_NULL, SLICE_NULL, false, count_rows, &vj->found, NULL);
    vj->v = store_view_free(vj->v);
}
static void view_done(struct job *j) {
    struct view_job *vj = CONTAINER_OF(j, struct view_job, job);

    assert_true(vj->found >= vj->at_least);
    vj->r->pending--;
    vj->r->barriers++;
    free(vj);
}
static void on_view(void *arg, int status, struct store_view *take, const struct err *err) {
    struct view_job *vj = arg;

    assert_int_equal(status, 0);
    vj->v = take;
    vj->job = (struct job){.run = view_run, .done = view_done};
    exec_submit(vj->r->pool, vj->r->loop, &vj->job);
}

static void on_cold(void *arg, int status, const struct err *err) {
    assert_int_equal(status, 0);
    ((struct real *)arg)->pending--;
}

static void check_reads(struct real *r, uint32_t n) {
    for (uint32_t k = n > 200 ? n - 200 : 0; k < n; k += 13) {
        struct slice v;
        int c = store_get(r->store, r->t, slice_of(&k, 4), &v, NULL);

        if (c == RS_EAGAIN) {
            r->pending++;
            store_wait_cold(r->store, on_cold, r);
        } else {
            assert_int_equal(c, 0);
            assert_int_equal(get_u32le(v.data), k);
        }
    }
}

static void relaxed_tick(void *arg) {
    struct real *r = arg;
    uint32_t n = (uint32_t)(r->round * PER_ROUND);

    if (r->round < ROUNDS) {
        for (uint32_t i = 0; i < PER_ROUND; i++) {
            uint32_t key = n + i;

            store_put(r->store, r->t, slice_of(&key, 4), slice_of(&key, 4));
            (void)store_mark(r->store);
        }
        check_reads(r, n + PER_ROUND);
        if (r->round % 10 == 0) {
            struct view_job *vj = xnew(struct view_job);

            vj->r = r;
            vj->at_least = n + PER_ROUND;
            r->pending++;
            store_barrier(r->store, on_view, vj);
        }
    }
    if (r->round++ < ROUNDS)
        timer_set(r->loop, &r->tick, 50000);
    else if (r->pending)
        timer_set(r->loop, &r->tick, 1000000);
    else
        loop_stop(r->loop);
}

static void overlay_with_a_writer_and_readers_on_threads(void **state) {
    struct real r = {0};

    real_open(&r, RS_STORE_RELAXED);
    sim_disk_cold(r.disk, 50000);
    timer_init(&r.tick, relaxed_tick, &r);
    timer_set(r.loop, &r.tick, 0);
    loop_run(r.loop);
    assert_int_equal(r.barriers, ROUNDS / 10);
    real_close(&r);
}

static void stop_loop(void *arg) {
    loop_stop(arg);
}

static void close_waits_for_the_threads(void **state) {
    for (int i = 0; i < 50; i++) {
        struct real r = {0};

        real_open(&r, i % 2 ? RS_STORE_SYNC : RS_STORE_RELAXED);
        if (i % 2) {
            struct store_batch *b = store_batch_new();

            store_batch_put(b, r.t, SLICE_LIT("k"), SLICE_LIT("v"));
            r.pending++;
            store_commit(r.store, b, on_commit, &r);
        } else {
            store_put(r.store, r.t, SLICE_LIT("k"), SLICE_LIT("v"));
            store_sync(r.store, NULL, NULL);
        }
        timer_init(&r.tick, stop_loop, r.loop);
        timer_set(r.loop, &r.tick, 0);
        loop_run(r.loop); /* one turn: the writer is at it */
        real_close(&r);
        assert_int_equal(r.pending, 0);
    }
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(group_commit_with_a_writer_thread),
    cmocka_unit_test(overlay_with_a_writer_and_readers_on_threads),
    cmocka_unit_test(close_waits_for_the_threads),
};
const struct unit_group store_threads_test_group = UNIT_GROUP(tests);
