/* SPDX-License-Identifier: Apache-2.0 */
/* Rows that are cut short and reads that fail: the state machine says RS_ECORRUPT or passes the error on, leaves no
 * trace of the record, and never reads past what is there (the sanitizers watch). */
#include "unit.h"
#include "base/logging.h"
#include "worker/sm_random.h"

enum { SEEDS = 40, STEPS = 300 };
#define LAST_LOCAL (UINT64_MAX / 4 * 3)

/* A log that a random world wrote. */
static struct buf record(uint64_t seed) {
    struct sm_random r = {.state = seed * 0x9e3779b97f4a7c15u + 1, .last_key = LAST_LOCAL};
    struct fixture f;
    struct buf log;

    fixture_init(&f, 0, LAST_LOCAL);
    f.record = true;
    for (unsigned i = 0; i < STEPS; i++)
        assert_int_equal(sm_random_step(&r, &f), 0);
    log = f.recorded;
    f.recorded = (struct buf){0};
    fixture_done(&f);
    return log;
}

/* A reader whose n-th read fails, or whose n-th row comes back cut short; all others are as they should be. */
struct faulty {
    struct sm_reader inner;
    bool cut;
    unsigned left; /* until the fault */
    bool done;
    uint64_t random;
    sm_each_fn each; /* of the scan under way */
    void *arg;
};

static bool now(struct faulty *r) {
    if (r->done || r->left--)
        return false;
    r->done = true;
    return true;
}

static struct slice cut(struct faulty *r, struct slice value) {
    r->random = r->random * 6364136223846793005u + 1442695040888963407u;
    return slice_sub(value, 0, value.len ? (r->random >> 33) % value.len : 0);
}

static int faulty_get(void *arg, struct slice key, struct slice *ret, struct err *err) {
    struct faulty *r = arg;
    int rc;

    if (!r->cut && now(r))
        return err_set(err, RS_EIO, "the disk is gone");
    rc = r->inner.get(r->inner.arg, key, ret, err);
    if (rc == 0 && r->cut && now(r))
        *ret = cut(r, *ret);
    return rc;
}

static int faulty_row(void *arg, struct slice key, struct slice value) {
    struct faulty *r = arg;

    return r->each(r->arg, key, r->cut && now(r) ? cut(r, value) : value);
}

static int faulty_scan(void *arg, struct slice lower, struct slice upper, bool reverse, sm_each_fn each, void *each_arg,
                       struct err *err) {
    struct faulty *r = arg;

    if (!r->cut && now(r))
        return err_set(err, RS_EIO, "the disk is gone");
    r->each = each;
    r->arg = each_arg;
    return r->inner.scan(r->inner.arg, lower, upper, reverse, faulty_row, r, err);
}

/* Apply @record with a fault at its first read, at its second ... until it meets none. Returns how often it was
 * stopped;
 * @ret_swallowed: it was applied in spite of the fault (a value that is legal at any length): the tables may disagree.
 */
static size_t each_read_in_turn(struct fixture *f, struct slice record, bool cutting, bool *ret_swallowed) {
    uint64_t hash = fixture_hash(f);

    for (unsigned n = 0; n < 3000; n++) {
        struct faulty reader = {.inner = f->t.reader, .cut = cutting, .left = n, .random = f->lsn + n};
        int rc;

        f->t.reader = (struct sm_reader){faulty_get, faulty_scan, &reader};
        rc = fixture_apply_record(f, record);
        f->t.reader = reader.inner;
        if (rc == 0) {
            *ret_swallowed = reader.done;
            return n;
        }
        if (cutting ? rc != RS_ECORRUPT && rc != RS_EUNSUPPORTED : rc != RS_EIO)
            fail_msg("record %llu, read %u: code %d", (unsigned long long)f->lsn + 1, n, rc);
        assert_int_equal(f->a.n, 0);
        if (n < 3)
            assert_true(fixture_hash(f) == hash);
    }
    fail_msg("record %llu reads for ever", (unsigned long long)f->lsn + 1);
    return 0;
}

/* Returns how many faults were met until the log ended, or one was swallowed. */
static size_t replay(uint64_t seed, bool cutting) {
    struct buf log = record(seed);
    struct slice rest = buf_slice(&log);
    bool swallowed = false;
    struct fixture f;
    size_t stopped = 0;
    char why[256];

    fixture_init(&f, 0, LAST_LOCAL);
    /* damage begins somewhere in the middle: a fault that is swallowed ends the test of this log */
    for (size_t skip = cutting ? seed * 7 % STEPS : 0; rest.len >= 8 && !swallowed;) {
        struct slice one = slice_sub(rest, 0, record_length(rest.data));

        rest = slice_from(rest, one.len);
        if (skip && skip--)
            assert_int_equal(fixture_apply_record(&f, one), 0);
        else
            stopped += each_read_in_turn(&f, one, cutting, &swallowed);
    }
    if (!cutting) {
        const char *wrong = fixture_check(&f, why);

        assert_false(swallowed);
        if (wrong)
            fail_msg("seed %llu: %s", (unsigned long long)seed, wrong);
    }
    fixture_done(&f);
    buf_done(&log);
    return stopped;
}

static void a_row_that_is_cut_short_stops_the_record_that_reads_it(void **state) {
    size_t stopped = 0;

    (void)state;
    logging_set_level(RS_LOG_ERROR);
    for (uint64_t seed = 1; seed <= SEEDS; seed++)
        stopped += replay(seed, true);
    if (stopped < 200)
        fail_msg("only %zu records met a damaged row", stopped);
    logging_set_level(RS_LOG_INFO);
}

static void a_read_that_fails_leaves_no_trace_whichever_it_is(void **state) {
    size_t stopped = 0;

    (void)state;
    logging_set_level(RS_LOG_ERROR);
    for (uint64_t seed = 1; seed <= SEEDS / 10; seed++)
        stopped += replay(seed, false);
    assert_true(stopped > 1000);
    logging_set_level(RS_LOG_INFO);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(a_row_that_is_cut_short_stops_the_record_that_reads_it),
    cmocka_unit_test(a_read_that_fails_leaves_no_trace_whichever_it_is),
};
const struct unit_group sm_damage_test_group = UNIT_GROUP(tests);
