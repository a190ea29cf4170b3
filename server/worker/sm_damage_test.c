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

/* ---- the readers of leader and SQL ---- */

static int on_id(void *arg, const struct invocation_id *id) {
    (void)id;
    ++*(unsigned *)arg;
    return 0;
}
static int on_entry(void *arg, const struct journal_entry *e) {
    (void)e;
    return on_id(arg, NULL);
}
static int on_event(void *arg, const struct journal_event *e) {
    (void)e;
    return on_id(arg, NULL);
}
static int on_timer(void *arg, const struct sm_timer *t) {
    (void)t;
    return on_id(arg, NULL);
}
static int on_outbox(void *arg, uint64_t seq, uint64_t partition_key, uint16_t kind, struct slice command) {
    (void)seq, (void)partition_key, (void)kind, (void)command;
    return on_id(arg, NULL);
}
static int on_expiry(void *arg, uint64_t time_ms, enum expiry_kind kind, const struct invocation_id *id) {
    (void)time_ms, (void)kind;
    return on_id(arg, id);
}
static int on_status(void *arg, const struct invocation_id *id, const struct inv_header *h) {
    (void)h;
    return on_id(arg, id);
}
static int on_state(void *arg, const struct object_key *o, struct slice state_key, struct slice value) {
    (void)o, (void)state_key, (void)value;
    return on_id(arg, NULL);
}
static int on_lock(void *arg, const struct object_key *o, const struct invocation_id *holder) {
    (void)o;
    return on_id(arg, holder);
}
static int on_inbox(void *arg, const struct object_key *o, uint64_t seq, const struct invocation_id *id) {
    (void)o, (void)seq;
    return on_id(arg, id);
}
static int on_promise(void *arg, const struct object_key *o, struct slice name, const struct cmd_result *result) {
    (void)o, (void)name, (void)result;
    return on_id(arg, NULL);
}

/* The reader that is to find the row with @key; 1: none of them reads such rows. @n: rows it handed out. */
static int read_row(struct sm_reader *r, struct slice key, unsigned *n, struct err *err) {
    _cleanup_arena_ struct arena a = {0};
    union {
        struct fsm_hot hot;
        struct fsm_format format;
        struct fsm_durable durable;
        struct fsm_leader leader;
        struct cmd_invocation_body body;
        struct cmd_result result;
    } row;
    struct invocation_id id = {0};
    uint64_t pk;
    uint16_t kind;
    struct slice command;

    if (key.len >= 1 + sizeof id.raw)
        memcpy(id.raw, key.data + 1, sizeof id.raw);
    switch (key.data[0]) {
    case T_FSM:
        return key.len < 2                 ? 1
               : key.data[1] == FSM_HOT    ? tables_fsm(r, &row.hot, err)
               : key.data[1] == FSM_FORMAT ? tables_format(r, &row.format, err)
               : key.data[1] == FSM_LEADER ? tables_leader(r, &row.leader, err)
                                           : tables_durable(r, &row.durable, err);
    case T_INVOKED:
        return tables_invoked(r, on_id, n, err);
    case T_EXPIRY:
        return tables_expired(r, UINT64_MAX, on_expiry, n, err);
    case T_TIMER:
        return tables_timers(r, NULL, on_timer, n, err);
    case T_OUTBOX:
        if (key.len == 9 && tables_outbox_get(r, get_u64be(key.data + 1), &pk, &kind, &command, err) == RS_ECORRUPT)
            return RS_ECORRUPT;
        return tables_outbox(r, 0, on_outbox, n, err);
    case T_STATUS:
        return tables_all_status(r, on_status, n, err);
    case T_BODY:
        return tables_body(r, &id, &a, &row.body, err);
    case T_RESULT:
        return tables_result(r, &id, &a, &row.result, err);
    case T_JOURNAL:
        if (key.len < 2 + sizeof id.raw)
            return 1;
        return key.data[1 + sizeof id.raw] == J_ENTRY   ? tables_journal(r, &id, 0, on_entry, n, err)
               : key.data[1 + sizeof id.raw] == J_EVENT ? tables_events(r, &id, on_event, n, err)
                                                        : 1;
    case T_LOCK:
        return tables_all_locks(r, on_lock, n, err);
    case T_INBOX:
        return tables_all_inbox(r, on_inbox, n, err);
    case T_STATE:
        return tables_all_state(r, on_state, n, err);
    case T_PROMISE:
        return tables_all_promises(r, on_promise, n, err);
    default:
        return 1;
    }
}

static void world_init(struct fixture *f, uint64_t seed) {
    struct buf log = record(seed);
    struct slice rest = buf_slice(&log);
    struct table_key k;

    fixture_init(f, 0, LAST_LOCAL);
    while (rest.len >= 8) {
        struct slice one = slice_sub(rest, 0, record_length(rest.data));

        rest = slice_from(rest, one.len);
        assert_int_equal(fixture_apply_record(f, one), 0);
    }
    buf_done(&log);
    key_outbox(&k, 1000); /* of others little is left at the end */
    mem_table_put(&f->t, table_key_slice(&k),
                  SLICE_LIT("\x01"
                            "kkpppppppp"
                            "command"));
}

/* Tables whose rows begin with a version, and those where something has to follow it. */
#define WITH_VERSION "\x01\x05\x06\x10\x11\x12\x13\x20\x21\x22\x23"
#define WITH_MORE "\x01\x06\x10\x12\x20\x21\x23"

static bool is_damage(int r) {
    return r == RS_ECORRUPT || r == RS_EUNSUPPORTED;
}

/* A row without its value, with its version only, with half of it, without its last byte; with a key that is a byte
 * short or long. */
static void a_damaged_row_is_told_of_by_its_reader(void **state) {
    bool seen[256] = {false};

    (void)state;
    for (uint64_t seed = 1; seed <= 6; seed++) {
        struct fixture f;

        world_init(&f, seed);
        for (size_t i = 0; i < f.t.n; i++) {
            struct bytes *key = bytes_ref(f.t.rows[i].key), *value = bytes_ref(f.t.rows[i].value);
            const size_t lengths[] = {0, 1, value->len / 2, value->len - 1};
            struct err err = {0};
            unsigned n = 0;
            int r = read_row(&f.t.reader, bytes_slice(key), &n, &err);
            bool is_read = r == 0;

            assert_true(r == 0 || r == 1);
            seen[key->data[0]] |= is_read;
            for (size_t k = 0; is_read && k < ARRAY_SIZE(lengths); k++) {
                mem_table_put(&f.t, bytes_slice(key), slice_sub(bytes_slice(value), 0, lengths[k]));
                r = read_row(&f.t.reader, bytes_slice(key), &n, &err);
                assert_true(r == 0 || is_damage(r));
                if (strchr(lengths[k] == 0 ? WITH_VERSION : WITH_MORE, key->data[0]) && lengths[k] < 2 && r == 0)
                    fail_msg("table %02x, %zu of %zu bytes", key->data[0], lengths[k], value->len);
            }
            mem_table_del(&f.t, bytes_slice(key));
            for (int longer = 0; longer < 2; longer++) {
                _cleanup_buf_ struct buf other = {0};

                buf_put(&other, key->data, key->len - !longer);
                if (longer)
                    buf_put_u8(&other, 0);
                mem_table_put(&f.t, buf_slice(&other), bytes_slice(value));
                r = read_row(&f.t.reader, buf_slice(&other), &n, &err);
                assert_true(r == 0 || r == 1 || r == RS_ENOENT || is_damage(r));
                mem_table_del(&f.t, buf_slice(&other));
            }
            mem_table_put(&f.t, bytes_slice(key), bytes_slice(value));
            (void)bytes_unref(key);
            (void)bytes_unref(value);
        }
        fixture_done(&f);
    }
    for (const char *t = WITH_VERSION; *t; t++)
        assert_true(seen[(uint8_t)*t]);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(a_row_that_is_cut_short_stops_the_record_that_reads_it),
    cmocka_unit_test(a_damaged_row_is_told_of_by_its_reader),
    cmocka_unit_test(a_read_that_fails_leaves_no_trace_whichever_it_is),
};
const struct unit_group sm_damage_test_group = UNIT_GROUP(tests);
