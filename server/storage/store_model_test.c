/* SPDX-License-Identifier: Apache-2.0 */
/* Random records against a plain array. Every record ends by writing its number to the row "applied", so that whatever
 * is found later (a view, a disk after a crash) says which prefix it must equal. */
#include "storage/store_engine_util.h"
#include "storage/store_test_util.h"

#include <dirent.h>
#include <unistd.h>

enum { KEYS = 200, RECORDS = 400, TABLES = 2, OPS = 4 };

struct op {
    int table, key;
    uint32_t version; /* 0: deletion */
};
struct record {
    struct op ops[OPS];
    int n;
};
struct model {
    struct rig *g;
    struct slice keys[KEYS]; /* in order */
    uint8_t bytes[KEYS][24];
    uint32_t now[TABLES][KEYS];
    struct record log[RECORDS + 1];
    uint32_t applied;
    uint64_t mark_of[RECORDS + 1];
    int cold_waits;
    bool cold_came;
    struct engine *engine; /* NULL: the sim */
};

static int by_bytes(const void *a, const void *b) {
    return slice_cmp(*(const struct slice *)a, *(const struct slice *)b);
}

static void make_keys(struct model *m) {
    for (int i = 0; i < KEYS; i++) { /* many common beginnings, some keys are prefixes of others */
        uint64_t r = rig_draw(m->g);
        size_t len = 1 + r % 5;

        memset(m->bytes[i], "ab\0\xff"[r / 8 % 4], 12);
        m->bytes[i][0] = "kx"[r / 64 % 2];
        m->bytes[i][len] = (uint8_t)(i / 2);
        m->bytes[i][len + 1] = (uint8_t)(i % 2);
        m->keys[i] = slice_of(m->bytes[i], i % 2 ? len + 2 + i % 8 : len + 1);
    }
    qsort(m->keys, KEYS, sizeof m->keys[0], by_bytes);
    for (int i = 1; i < KEYS; i++)
        if (slice_eq(m->keys[i], m->keys[i - 1])) { /* make it another one, behind all */
            m->bytes[0][23] = 0;
            memset((uint8_t *)(uintptr_t)m->keys[i].data, 'z', 23);
            ((uint8_t *)(uintptr_t)m->keys[i].data)[22] = (uint8_t)i;
            m->keys[i].len = 23;
        }
    qsort(m->keys, KEYS, sizeof m->keys[0], by_bytes);
}

static struct slice value_of(uint8_t buf[300], int key, uint32_t version) {
    size_t len = version % 7 == 0 ? 0 : 8 + version * 13 % 200;

    memset(buf, (int)version, 300);
    put_u32le(buf, version);
    put_u32le(buf + 4, (uint32_t)key);
    return slice_of(buf, len);
}
static const struct slice applied_key = SLICE_LIT("\xff\xff"
                                                  "applied");

static struct store_table *table_of(struct model *m, int i) {
    return i ? m->g->u : m->g->t;
}

static void replay(const struct model *m, uint32_t n, uint32_t ret[TABLES][KEYS]) {
    memset(ret, 0, sizeof m->now);
    for (uint32_t i = 1; i <= n; i++)
        for (int k = 0; k < m->log[i].n; k++)
            ret[m->log[i].ops[k].table][m->log[i].ops[k].key] = m->log[i].ops[k].version;
}

static void apply_record(struct model *m) {
    struct record *r = &m->log[++m->applied];
    uint8_t buf[300];

    r->n = 1 + (int)(rig_draw(m->g) % OPS);
    for (int i = 0; i < r->n; i++) {
        struct op *op = &r->ops[i];

        *op = (struct op){(int)(rig_draw(m->g) % TABLES), (int)(rig_draw(m->g) % KEYS), 0};
        op->version = rig_draw(m->g) % 3 ? m->applied * OPS + (uint32_t)i : 0;
        m->now[op->table][op->key] = op->version;
        if (op->version)
            store_put(m->g->store, table_of(m, op->table), m->keys[op->key], value_of(buf, op->key, op->version));
        else
            store_del(m->g->store, table_of(m, op->table), m->keys[op->key]);
    }
    put_u32le(buf, m->applied);
    store_put(m->g->store, m->g->t, applied_key, slice_of(buf, 4));
    m->mark_of[m->applied] = store_mark(m->g->store);
}

static void on_cold(void *arg, int status, const struct err *err) {
    assert_int_equal(status, 0);
    ((struct model *)arg)->cold_came = true;
}

static void wait_cold(struct model *m) {
    m->cold_waits++;
    m->cold_came = false;
    store_wait_cold(m->g->store, on_cold, m);
    assert_false(m->cold_came);
    for (int i = 0; !m->cold_came; i++) {
        if (!rig_run_job(m->g))
            rig_pass(m->g, 500000000); /* a full disk: the writer's turn may be far away, the pool's is not */
        rig_turn(m->g);
        assert_true(i < 1000);
    }
}

static void check_get(struct model *m) {
    int table = (int)(rig_draw(m->g) % TABLES), key = (int)(rig_draw(m->g) % KEYS), r;
    uint8_t buf[300];
    struct slice v;
    struct err err;

    for (int i = 0; (r = store_get(m->g->store, table_of(m, table), m->keys[key], &v, &err)) == RS_EAGAIN; i++) {
        wait_cold(m);
        assert_true(i < 3);
    }
    assert_int_equal(r, m->now[table][key] ? 0 : RS_ENOENT);
    if (r == 0)
        assert_true(slice_eq(v, value_of(buf, key, m->now[table][key])));
}

struct scan_check {
    const struct model *m;
    const uint32_t *want;
    int at, step, stop_after;
    uint32_t applied;
};

static int check_row(void *arg, struct slice key, struct slice value) {
    struct scan_check *c = arg;
    uint8_t buf[300];

    if (slice_eq(key, applied_key)) {
        assert_int_equal(value.len, 4);
        c->applied = get_u32le(value.data);
        return 0;
    }
    while (c->at >= 0 && c->at < KEYS && !c->want[c->at])
        c->at += c->step;
    assert_true(c->at >= 0 && c->at < KEYS);
    assert_true(slice_eq(key, c->m->keys[c->at]));
    assert_true(slice_eq(value, value_of(buf, c->at, c->want[c->at])));
    c->at += c->step;
    return --c->stop_after == 0 ? 77 : 0;
}

static void check_scan(struct model *m) {
    int table = (int)(rig_draw(m->g) % TABLES), from = (int)(rig_draw(m->g) % KEYS), until, r;
    bool reverse = rig_draw(m->g) % 2;
    struct slice lower = m->keys[from], upper;
    struct scan_check c;
    struct err err;
    int stop = rig_draw(m->g) % 3 ? 0 : 1 + (int)(rig_draw(m->g) % 5);

    until = from + (int)(rig_draw(m->g) % (uint64_t)(KEYS - from + 1));
    upper = until < KEYS ? m->keys[until] : SLICE_NULL;
    if (rig_draw(m->g) % 4 == 0) {
        lower = SLICE_NULL;
        from = 0;
    }
    for (int i = 0;; i++) {
        c = (struct scan_check){m, m->now[table], reverse ? until - 1 : from, reverse ? -1 : 1, stop, 0};
        r = store_scan(m->g->store, table_of(m, table), lower, upper, reverse, check_row, &c, &err);
        if (r != RS_EAGAIN)
            break;
        wait_cold(m);
        assert_true(i < 10);
    }
    if (r == 77)
        return;
    assert_int_equal(r, 0);
    for (; reverse ? c.at >= from : c.at < until; c.at += c.step)
        assert_int_equal(m->now[table][c.at], 0); /* nothing was left out */
}

/* What the view holds is the state after some record >= @at_least; returns which. */
static uint32_t check_view(struct model *m, struct store_view *v, uint32_t at_least) {
    uint32_t want[TABLES][KEYS];
    struct buf b = {0};
    uint32_t applied = 0;
    struct err err;

    if (store_view_get(v, m->g->t, applied_key, &b, &err) == 0)
        applied = get_u32le(b.data);
    buf_done(&b);
    assert_in_range(applied, at_least, m->applied);
    replay(m, applied, want);
    for (int t = 0; t < TABLES; t++)
        for (int reverse = 0; reverse < 2; reverse++) {
            struct scan_check c = {m, want[t], reverse ? KEYS - 1 : 0, reverse ? -1 : 1, 0, 0};

            assert_int_equal(store_view_scan(v, table_of(m, t), SLICE_NULL, SLICE_NULL, reverse, check_row, &c, &err),
                             0);
            for (; c.at >= 0 && c.at < KEYS; c.at += c.step)
                assert_int_equal(want[t][c.at], 0);
        }
    return applied;
}

struct barrier {
    struct model *m;
    bool pending;
    uint32_t at_least;
    struct store_view *view;
};
static void on_barrier(void *arg, int status, struct store_view *take, const struct err *err) {
    struct barrier *b = arg;

    assert_int_equal(status, 0);
    b->view = take;
}

static uint32_t durable_record(const struct model *m) {
    uint64_t mark = store_durable_mark(m->g->store);
    uint32_t n = 0;

    while (n < m->applied && m->mark_of[n + 1] <= mark)
        n++;
    return n;
}

static void crash_and_check(struct model *m) {
    uint32_t durable = durable_record(m), found;
    struct store_view *v;

    if (m->engine) { /* no power cut: close keeps everything */
        durable = m->applied;
        m->g->store = store_close(m->g->store);
    } else {
        m->g->store = store_abandon(m->g->store);
    }
    sim_disk_fault(m->g->disk, SIM_FAULT_NONE, NULL, 0, 0);
    sim_disk_crash(m->g->disk);
    rig_settle(m->g);
    rig_open(m->g);
    assert_int_equal(store_view_new(m->g->store, &v, NULL), 0);
    found = check_view(m, v, durable);
    store_view_free(v);
    m->applied = found; /* the rest is applied anew from the log */
    replay(m, found, m->now);
    for (uint32_t i = 0; i <= found; i++)
        m->mark_of[i] = 0;
}

static int run_model_on(const char *spec, const char *dir, uint64_t seed, bool cached, uint32_t cold, bool faults) {
    struct rig *g = rig_new(RS_STORE_RELAXED, seed);
    struct model *m = xnew(struct model);
    struct engine engine;
    struct barrier b = {.m = m};
    int waits;

    m->g = g;
    g->params.caps = cached ? RS_STORAGE_CACHED_READ : 0;
    g->params.write_out_bytes = 1000 + rig_draw(g) % 4000;
    g->params.overlay_limit_bytes = 40000;
    g->params.sync_bytes = 3000 + rig_draw(g) % 10000;
    sim_disk_cold(g->disk, cold);
    make_keys(m);
    if (spec) {
        struct err err;

        if (engine_open(&engine, spec, g->loop, &err) < 0)
            fail_msg("%s", err.msg);
        m->engine = &engine;
        g->params.ops = engine.ops;
        g->params.self = engine.self;
        g->params.caps = engine.caps;
        g->params.dir = dir;
    }
    rig_open(g);
    while (m->applied < RECORDS) {
        switch (rig_draw(g) % 16) {
        case 0:
            (void)rig_run_job(g);
            break;
        case 1:
            rig_pass(g, rig_draw(g) % 60000000);
            break;
        case 2:
            check_scan(m);
            break;
        case 3:
        case 4:
        case 5:
            check_get(m);
            break;
        case 6:
            if (rig_draw(g) % 4 == 0 && !b.pending) {
                b.pending = true;
                b.at_least = m->applied;
                store_barrier(g->store, on_barrier, &b);
            }
            break;
        case 7:
            if (rig_draw(g) % 4 == 0)
                store_sync(g->store, NULL, NULL);
            break;
        case 8:
            if (faults && rig_draw(g) % 4 == 0)
                sim_disk_fault(g->disk, SIM_FAULT_WRITE_ENOSPC, NULL, rig_draw(g) % 3, 1);
            break;
        case 9:
            if (faults && rig_draw(g) % 8 == 0 && !b.pending)
                crash_and_check(m);
            break;
        case 10:
            rig_turn(g);
            break;
        default:
            if (store_writable(g->store))
                apply_record(m);
            else
                rig_pass(g, 10000000);
        }
        if (b.view) {
            (void)check_view(m, b.view, b.at_least);
            b.view = store_view_free(b.view);
            b.pending = false;
        }
    }
    rig_pass(g, 3000000000);
    if (b.view)
        store_view_free(b.view);
    check_scan(m);
    crash_and_check(m);
    waits = m->cold_waits;
    g->store = store_close(g->store);
    rig_settle(g);
    if (spec)
        engine_close(&engine, g->loop, loop_turn);
    rig_free(g);
    free(m);
    return waits;
}

static int run_model(uint64_t seed, bool cached, uint32_t cold, bool faults) {
    return run_model_on(NULL, NULL, seed, cached, cold, faults);
}

static void remove_dir(const char *dir) {
    DIR *d = opendir(dir);
    struct dirent *e;
    char path[600];

    while (d && (e = readdir(d))) {
        (void)snprintf(path, sizeof path, "%s/%s", dir, e->d_name);
        if (e->d_name[0] != '.' || e->d_name[1])
            (void)!unlink(path);
    }
    if (d)
        (void)closedir(d);
    (void)!rmdir(dir);
}

/* Runs with RS_TEST_ENGINES="<plugins dir>:<name> ..."; without it there is nothing to test. */
static void real_engines_behave_as_the_model(void **state) {
    char *specs = xstrdup(getenv("RS_TEST_ENGINES") ? getenv("RS_TEST_ENGINES") : ""), *rest = specs, *spec;

    while ((spec = strsep(&rest, " ")))
        for (uint64_t seed = 500; *spec && seed < 505; seed++) {
            char top[] = "/tmp/store-model-XXXXXX", dir[64];

            assert_non_null(mkdtemp(top));
            (void)snprintf(dir, sizeof dir, "%s/data-0", top);
            (void)run_model_on(spec, dir, seed, true, 0, true);
            remove_dir(dir);
            remove_dir(top);
        }
    free(specs);
}

static void random_records_read_back_as_in_the_model(void **state) {
    for (uint64_t seed = 1; seed <= 30; seed++)
        (void)run_model(seed, true, 0, false);
}

static void random_cold_reads_change_nothing_but_time(void **state) {
    int waits = 0;

    for (uint64_t seed = 100; seed <= 130; seed++)
        waits += run_model(seed, true, seed % 2 ? 100000 : 5000, false);
    assert_true(waits > 100);
}

static void engines_without_cached_reads_work_too(void **state) {
    int waits = 0;

    for (uint64_t seed = 200; seed <= 220; seed++)
        waits += run_model(seed, false, 0, false);
    assert_true(waits > 1000);
}

static void a_crash_leaves_a_prefix_that_holds_everything_durable(void **state) {
    for (uint64_t seed = 300; seed <= 340; seed++)
        (void)run_model(seed, seed % 3, 20000, true);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(random_records_read_back_as_in_the_model),
    cmocka_unit_test(random_cold_reads_change_nothing_but_time),
    cmocka_unit_test(engines_without_cached_reads_work_too),
    cmocka_unit_test(a_crash_leaves_a_prefix_that_holds_everything_durable),
    cmocka_unit_test(real_engines_behave_as_the_model),
};
const struct unit_group store_model_test_group = UNIT_GROUP(tests);
