/* SPDX-License-Identifier: Apache-2.0 */
/* Random commands: the invariants hold after every record, and every replica that applies the same log has the same
 * table, whatever rows were cold and whenever it was restarted. */
#include "unit.h"
#include <stdio.h>
#include "base/logging.h"
#include "worker/sm_random.h"

enum { SEEDS = 24, STEPS = 700 };
#define LAST_LOCAL (UINT64_MAX / 4 * 3)

static void grow(struct fixture *f, uint64_t seed, unsigned steps, bool check) {
    struct sm_random r = {.state = seed * 0x9e3779b97f4a7c15u + 1, .last_key = LAST_LOCAL};
    char why[256];

    fixture_init(f, 0, LAST_LOCAL);
    f->record = true;
    for (unsigned i = 0; i < steps; i++) {
        const char *wrong;
        int rc = sm_random_step(&r, f);

        if (rc < 0)
            fail_msg("seed %llu, step %u: code %d", (unsigned long long)seed, i, rc);
        wrong = check ? fixture_check(f, why) : NULL;
        if (wrong)
            fail_msg("seed %llu, step %u: %s", (unsigned long long)seed, i, wrong);
        if (f->lsn % 16 == 0)
            arena_clear(&f->scratch);
    }
}

static void restart(struct fixture *f) {
    struct sm_params p = {.partition = 3, .last_key = LAST_LOCAL, .version = "1.2.3"};
    unsigned cold = f->t.cold;

    f->t.cold = 0;
    f->sm = sm_free(f->sm);
    assert_int_equal(sm_open(&p, &f->t.reader, &f->sm, NULL), 0);
    f->t.cold = cold;
}

static void replay(struct fixture *f, struct slice log, unsigned cold, unsigned restarts) {
    fixture_init(f, 0, LAST_LOCAL);
    f->t.cold = cold;
    while (log.len >= 8) {
        size_t n = record_length(log.data);

        assert_true(n && n <= log.len);
        assert_int_equal(fixture_apply_record(f, slice_sub(log, 0, n)), 0);
        log = slice_from(log, n);
        if (restarts && f->lsn % restarts == 0)
            restart(f);
    }
}

static void invariants_hold_and_replicas_agree(void **state) {
    unsigned reruns = 0;

    (void)state;
    logging_set_level(RS_LOG_ERROR);
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        struct fixture leader, follower;
        size_t seen = 0;

        grow(&leader, seed, STEPS, true);
        replay(&follower, buf_slice(&leader.recorded), 40, 7);
        if (fixture_hash(&leader) != fixture_hash(&follower))
            fail_msg("seed %llu: the replicas differ", (unsigned long long)seed);
        assert_int_equal(leader.t.n, follower.t.n);
        reruns += follower.reruns;
        for (enum table_code t = T_FSM; t <= T_PROMISE; t++)
            seen += fx_rows(&leader, t) > 0;
        assert_true(seen >= 10); /* the world is not trivial */
        fixture_done(&leader);
        fixture_done(&follower);
    }
    if (reruns < 300)
        fail_msg("only %u reruns", reruns);
    logging_set_level(RS_LOG_INFO);
}

/* tests/data/sm_log_v1.hex: a log that grow() once made, one record per line, and the hash of its table. A build that
 * computes another table for it cannot share a partition with older ones: such a change belongs behind a feature.
 * To make a new file, for a new table format: RS_WRITE_GOLDEN=1. */
#define GOLDEN TEST_DATA_DIR "/sm_log_v1.hex"

static void write_golden(void) {
    struct fixture f;
    struct slice log;
    FILE *out = fopen(GOLDEN, "w");

    assert_non_null(out);
    grow(&f, 4711, 400, true);
    log = buf_slice(&f.recorded);
    while (log.len) {
        size_t n = record_length(log.data);

        for (size_t i = 0; i < n; i++)
            (void)fprintf(out, "%02x", log.data[i]);
        (void)fprintf(out, "\n");
        log = slice_from(log, n);
    }
    (void)fprintf(out, "hash %016llx\n", (unsigned long long)fixture_hash(&f));
    (void)fclose(out);
    fixture_done(&f);
}

static void a_recorded_log_yields_the_recorded_table(void **state) {
    struct fixture f;
    struct buf log = {0};
    unsigned long long want = 0;
    char *line = NULL;
    size_t cap = 0;
    FILE *in;

    (void)state;
    logging_set_level(RS_LOG_ERROR);
    if (getenv("RS_WRITE_GOLDEN"))
        write_golden();
    in = fopen(GOLDEN, "r");
    assert_non_null(in);
    while (getline(&line, &cap, in) > 0) {
        unsigned byte;

        if (sscanf(line, "hash %llx", &want) == 1)
            break;
        for (const char *p = line; sscanf(p, "%2x", &byte) == 1; p += 2)
            buf_put_u8(&log, (uint8_t)byte);
    }
    free(line);
    (void)fclose(in);
    replay(&f, buf_slice(&log), 0, 0);
    assert_true(f.lsn >= 400);
    if (fixture_hash(&f) != want)
        fail_msg("the table of the recorded log has hash %016llx, not %016llx", (unsigned long long)fixture_hash(&f),
                 want);
    fixture_done(&f);
    buf_done(&log);
    logging_set_level(RS_LOG_INFO);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(invariants_hold_and_replicas_agree),
    cmocka_unit_test(a_recorded_log_yields_the_recorded_table),
};
const struct unit_group sm_random_test_group = UNIT_GROUP(tests);
