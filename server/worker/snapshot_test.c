/* SPDX-License-Identifier: Apache-2.0 */
/* Snapshots: made for the repository, served to other nodes, taken over from either. The repository is a directory. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "snapshot/repository.h"
#include "worker/snapshots.h"
#include "worker/worker_rig.h"

struct place { /* where snapshots go */
    char dir[64], url[96];
    struct repository *repository;
};

static int setup(void **state) {
    struct place *p = xnew(struct place);
    struct repository_params rp = {
        .store = {.url = p->url}, .cluster_name = "c", .node_name = "n1", .fingerprint = 7, .retained = 1};
    struct err err = {0};

    (void)snprintf(p->dir, sizeof p->dir, "/tmp/snapshot_test-XXXXXX");
    assert_non_null(mkdtemp(p->dir));
    (void)snprintf(p->url, sizeof p->url, "file://%s", p->dir);
    if (repository_open(&rp, &p->repository, &err) < 0)
        fail_msg("%s", err.msg);
    *state = p;
    return 0;
}

static int teardown(void **state) {
    struct place *p = *state;
    char command[96];

    (void)repository_free(p->repository);
    (void)snprintf(command, sizeof command, "rm -rf %s", p->dir);
    assert_int_equal(system(command), 0); /* NOLINT(cert-env33-c): a test */
    free(p);
    return 0;
}

static void with_snapshots(struct rig *r, struct repository *repository) {
    r->params.snapshots =
        (struct worker_snapshots_params){.exec = &r->exec, .repository = repository, .tmp_dir = "/tmp"};
}

static void submit(struct rig *r, uint32_t p, uint64_t n) {
    struct rig_call c;

    rig_submit(r, &c, rig_id(r, p, n), 0, FX_DAY_MS);
    assert_int_equal(c.reply.code, WORKER_OK);
}

struct made {
    int calls, status;
    lsn_t lsn;
};
static void on_made(void *arg, int status, const struct snapshot_info *info, const struct err *err) {
    struct made *m = arg;

    m->calls++;
    m->status = status;
    m->lsn = info->lsn;
}

struct sum {
    int calls, status;
    lsn_t lsn;
    uint64_t sum;
};
static void on_sum(void *arg, int status, lsn_t lsn, uint64_t checksum) {
    struct sum *s = arg;

    *s = (struct sum){s->calls + 1, status, lsn, checksum};
}
static struct sum checksum(struct rig *r, uint32_t p) {
    struct sum s = {0};

    worker_checksum(r->worker, p, on_sum, &s);
    rig_run(r);
    assert_int_equal(s.calls, 1);
    return s;
}

/* ---- made ---- */

static void a_leader_puts_its_tables_into_the_repository(void **state) {
    struct place *at = *state;
    struct rig r;
    struct made m = {0};
    struct snapshot_info info;
    lsn_t archived;
    struct err err;

    rig_init(&r);
    with_snapshots(&r, at->repository);
    rig_open(&r);
    submit(&r, 0, 5);
    assert_int_equal(worker_snapshot_create(r.worker, 0, 2, on_made, &m, &err), 0);
    assert_int_equal(m.calls, 0);
    rig_run(&r);
    assert_int_equal(m.calls, 1);
    assert_int_equal(m.status, 0);
    assert_int_equal(m.lsn, 2);
    assert_int_equal(repository_latest(at->repository, 0, &info, &archived, &err), 0);
    assert_int_equal(info.lsn, 2);
    assert_int_equal(rig_info(&r, 0).archived, 2);
    rig_close(&r);
}

static void who_cannot_make_a_snapshot_says_why(void **state) {
    struct place *at = *state;
    struct rig r;
    struct made m = {0};
    struct err err;

    rig_init(&r);
    rig_cluster(&r);
    rig_open(&r);
    assert_int_equal(worker_snapshot_create(r.worker, 0, 0, on_made, &m, &err), RS_EUNSUPPORTED);
    rig_close(&r);
    rig_init(&r);
    rig_cluster(&r);
    with_snapshots(&r, at->repository);
    rig_open(&r);
    assert_int_equal(worker_snapshot_create(r.worker, 2, 0, on_made, &m, &err), RS_ENOENT);
    assert_int_equal(worker_snapshot_create(r.worker, 0, 0, on_made, &m, &err), RS_EAGAIN);
    rig_place(&r, 0, (uint32_t[]){1, 2}, 2);
    assert_int_equal(worker_snapshot_create(r.worker, 0, 0, on_made, &m, &err), RS_EAGAIN);
    assert_string_equal(err.msg, "partition 0 is not led by this node");
    rig_lead(&r, 0);
    assert_int_equal(worker_snapshot_create(r.worker, 0, 2, on_made, &m, &err), RS_EAGAIN);
    assert_string_equal(err.msg, "partition 0 has applied LSN 1 only");
    rig_run(&r);
    assert_int_equal(m.calls, 0);
    rig_close(&r);
}

static void snapshots_wait_for_each_other_and_those_that_wait_have_a_bound(void **state) {
    struct place *at = *state;
    struct rig r;
    static struct made m[SNAPSHOTS_AT_ONCE + SNAPSHOTS_WAITING];
    struct err err;

    memset(m, 0, sizeof m);
    rig_init(&r);
    with_snapshots(&r, at->repository);
    rig_open(&r);
    for (size_t i = 0; i < ARRAY_SIZE(m); i++)
        assert_int_equal(worker_snapshot_create(r.worker, i > SNAPSHOTS_AT_ONCE, 0, on_made, &m[i], &err), 0);
    assert_int_equal(worker_snapshot_create(r.worker, 0, 0, on_made, &m[0], &err), RS_EAGAIN);
    assert_string_equal(err.msg, "too many snapshots wait");
    assert_int_equal(r.worker->snapshots.running, SNAPSHOTS_AT_ONCE);
    fake_log_lose(&r.logs, 1, RS_ECLOSED, 1);
    r.logs.logs[1].lead_fails = RS_EIO;
    rig_run(&r);
    for (size_t i = 0; i < ARRAY_SIZE(m); i++) {
        assert_int_equal(m[i].calls, 1);
        /* partition 1 was not led any more when its turn came */
        assert_int_equal(m[i].status, i > SNAPSHOTS_AT_ONCE ? RS_ECANCELED : 0);
    }
    assert_int_equal(r.worker->snapshots.busy, 0);
    rig_close(&r);
}

static void a_snapshot_behind_the_one_in_the_repository_is_not_kept(void **state) {
    struct place *at = *state;
    struct rig r, s;
    struct made m = {0};
    struct err err;

    rig_init(&r);
    with_snapshots(&r, at->repository);
    rig_open(&r);
    rig_init(&s); /* another replica, further on */
    with_snapshots(&s, at->repository);
    rig_open(&s);
    submit(&s, 0, 5);
    assert_int_equal(worker_snapshot_create(s.worker, 0, 0, on_made, &m, &err), 0);
    rig_run(&s);
    assert_int_equal(m.status, 0);
    assert_int_equal(worker_snapshot_create(r.worker, 0, 0, on_made, &m, &err), 0);
    rig_run(&r);
    assert_int_equal(m.status, RS_EEXIST);
    assert_int_equal(rig_info(&r, 0).archived, 0);
    rig_pass(&r, 5000); /* it looks for the newer one */
    assert_int_equal(rig_info(&r, 0).archived, 2);
    rig_close(&r);
    rig_close(&s);
}

static void snapshots_are_made_by_number_of_records_and_time(void **state) {
    static const struct {
        uint64_t records, ms;
        unsigned submits, after_ms; /* what has to happen besides the announcement */
    } rows[] = {{4, 0, 3, 0}, {0, 60000, 0, 60000}, {4, 60000, 3, 60000}};

    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct place *at = *state;
        struct rig r;

        rig_init(&r);
        r.partitions = 1;
        with_snapshots(&r, at->repository);
        r.params.snapshots.interval_records = rows[i].records;
        r.params.snapshots.interval_ns = rows[i].ms * RIG_MS;
        rig_open(&r);
        rig_partition(&r, 0)->snapshot.made_ms = loop_wall_ns(r.net->loop) / 1000000;
        for (unsigned k = 0; k + 1 < rows[i].submits; k++)
            submit(&r, 0, k);
        if (rows[i].after_ms > 5000)
            rig_pass(&r, rows[i].after_ms - 5000);
        rig_pass(&r, 4999);
        assert_int_equal(rig_info(&r, 0).archived, 0);
        if (rows[i].submits)
            submit(&r, 0, 99);
        rig_pass(&r, 5001);
        assert_true(rig_info(&r, 0).archived > 0);
        assert_int_equal(rig_info(&r, 0).archived, rig_partition(&r, 0)->snapshot.lsn);
        rig_close(&r);
        (void)teardown(state);
        (void)setup(state);
    }
}

static void a_repository_that_cannot_be_read_is_looked_at_again(void **state) {
    struct place *at = *state;
    struct rig r;
    struct made m = {0};
    char command[320];
    struct err err;

    rig_init(&r);
    with_snapshots(&r, at->repository);
    rig_open(&r);
    assert_int_equal(worker_snapshot_create(r.worker, 0, 0, on_made, &m, &err), 0);
    rig_run(&r);
    assert_int_equal(m.status, 0);
    rig_stop(&r);
    (void)snprintf(command, sizeof command, "cp %s/0/latest.json %s/kept && echo '{' >%s/0/latest.json", at->dir,
                   at->dir, at->dir);
    assert_int_equal(system(command), 0); /* NOLINT(cert-env33-c): a test */
    rig_open(&r);
    rig_pass(&r, 5000);
    assert_int_equal(rig_info(&r, 0).archived, 0);
    assert_int_equal(rig_role(&r, 0), PARTITION_LEADER);
    (void)snprintf(command, sizeof command, "cp %s/kept %s/0/latest.json", at->dir, at->dir);
    assert_int_equal(system(command), 0); /* NOLINT(cert-env33-c): a test */
    rig_pass(&r, 5000);
    assert_int_equal(rig_info(&r, 0).archived, 1);
    rig_close(&r);
}

static void a_snapshot_of_a_store_that_failed_is_none(void **state) {
    struct place *at = *state;
    struct rig r;
    struct made m = {0};
    struct err err;

    rig_init(&r);
    with_snapshots(&r, at->repository);
    rig_open(&r);
    sim_disk_fault(r.disk, SIM_FAULT_WRITE_EIO, NULL, 0, UINT64_MAX);
    assert_int_equal(worker_snapshot_create(r.worker, 0, 0, on_made, &m, &err), 0);
    rig_run(&r);
    assert_int_equal(m.calls, 1);
    assert_true(m.status < 0);
    sim_disk_fault(r.disk, SIM_FAULT_NONE, NULL, 0, 0);
    rig_close(&r);
}

static void a_worker_that_stops_waits_for_the_snapshot_that_is_being_made(void **state) {
    struct place *at = *state;
    struct rig r;
    struct made m = {0};
    struct err err;

    rig_init(&r);
    with_snapshots(&r, at->repository);
    rig_open(&r);
    assert_int_equal(worker_snapshot_create(r.worker, 0, 0, on_made, &m, &err), 0);
    rig_turns(&r);
    rig_stop(&r); /* asserts that it drains */
    assert_int_equal(m.calls, 1);
    assert_int_equal(m.status, RS_ECANCELED);
    rig_close(&r);
}

/* ---- served ---- */

static void ask_piece(struct rig *r, struct rig_question *q, struct pp_fetch m) {
    _cleanup_buf_ struct buf b = {0};

    pp_fetch_encode(&m, &b);
    rig_ask(r, q, SERVICE_PARTITION_MANAGER, MANAGER_FETCH_SNAPSHOT, buf_slice(&b));
}

static struct pp_piece piece(struct rig_question *q) {
    struct pp_piece m;

    assert_int_equal(q->answers, 1);
    assert_int_equal(q->status, RPC_OK);
    assert_int_equal(pp_piece_decode(&m, q->reply, &q->r->fx.scratch, NULL), 0);
    return m;
}

/* A cluster's node that leads partition 0 with more rows than fit one piece. */
static void open_large(struct rig *r) {
    struct slice big = {xcalloc(1, 400000), 400000};

    rig_init(r);
    rig_cluster(r);
    with_snapshots(r, NULL);
    rig_open(r);
    rig_lead(r, 0);
    submit(r, 0, 5);
    for (uint64_t n = 0; n < 3; n++) {
        struct sp_value v = {.content = big};

        RIG_EFFECTS(r, rig_id(r, 0, 5), fx_command(SP_OUTPUT, SP_BYTES(&r->fx, output, .value = &v)));
    }
    free((void *)(uintptr_t)big.data);
}

/* The whole stream, as node 2 gets it. */
static struct slice fetch(struct rig *r, struct buf *out) {
    struct rig_question q;
    struct pp_piece m = {0};
    unsigned n = 0;

    while (!m.last) {
        ask_piece(r, &q, (struct pp_fetch){.min_lsn = 2, .token = m.token, .offset = out->len});
        m = piece(&q);
        assert_int_equal(m.code, 0);
        assert_int_equal(m.offset, out->len);
        buf_put_slice(out, m.data);
        n++;
    }
    assert_true(n > 2);
    return buf_slice(out);
}

static void a_snapshot_is_served_piece_by_piece(void **state) {
    struct rig r;
    struct rig_question q;
    _cleanup_buf_ struct buf stream = {0};

    (void)state;
    open_large(&r);
    (void)fetch(&r, &stream);
    assert_int_equal(r.worker->snapshots.n_serving, 0); /* with the last piece it is gone */
    ask_piece(&r, &q, (struct pp_fetch){.token = 4711});
    assert_int_equal(piece(&q).code, PEER_BEGIN_AGAIN);
    rig_close(&r);
}

static void who_cannot_serve_a_snapshot_says_so(void **state) {
    struct rig r;
    struct rig_question q;

    (void)state;
    rig_init(&r);
    rig_cluster(&r);
    rig_open(&r);
    rig_lead(&r, 0);
    ask_piece(&r, &q, (struct pp_fetch){.partition = 0});
    assert_int_equal(piece(&q).code, PEER_NOT_FOUND); /* no threads for it */
    rig_close(&r);
    open_large(&r);
    ask_piece(&r, &q, (struct pp_fetch){.partition = 0, .min_lsn = 99});
    assert_int_equal(piece(&q).code, PEER_NOT_FOUND);
    ask_piece(&r, &q, (struct pp_fetch){.partition = 1});
    assert_int_equal(piece(&q).code, PEER_NOT_FOUND); /* does not run here */
    ask_piece(&r, &q, (struct pp_fetch){.partition = 2});
    assert_int_equal(q.status, RPC_MESSAGE_UNRECOGNIZED);
    sim_disk_fault(r.disk, SIM_FAULT_READ_EIO, NULL, 0, UINT64_MAX);
    ask_piece(&r, &q, (struct pp_fetch){.partition = 0});
    assert_int_equal(piece(&q).code, PEER_NOT_FOUND);
    sim_disk_fault(r.disk, SIM_FAULT_NONE, NULL, 0, 0);
    assert_int_equal(r.worker->snapshots.n_serving, 0);
    sim_disk_fault(r.disk, SIM_FAULT_WRITE_EIO, NULL, 0, UINT64_MAX);
    ask_piece(&r, &q, (struct pp_fetch){.partition = 0});
    submit(&r, 0, 6);
    ask_piece(&r, &q, (struct pp_fetch){.partition = 0});
    assert_int_equal(piece(&q).code, PEER_NOT_FOUND);
    sim_disk_fault(r.disk, SIM_FAULT_NONE, NULL, 0, 0);
    rig_close(&r);
}

static void a_stream_that_nobody_goes_on_with_is_given_up(void **state) {
    struct rig r;
    struct rig_question q;
    struct pp_piece m;

    (void)state;
    open_large(&r);
    ask_piece(&r, &q, (struct pp_fetch){.partition = 0});
    m = piece(&q);
    assert_false(m.last);
    rig_pass(&r, 29000);
    ask_piece(&r, &q, (struct pp_fetch){.token = m.token, .offset = m.data.len});
    assert_int_equal(piece(&q).code, 0);
    ask_piece(&r, &q, (struct pp_fetch){.token = m.token, .offset = 1 << 30});
    assert_int_equal(piece(&q).code, PEER_BEGIN_AGAIN);
    rig_pass(&r, 30000);
    ask_piece(&r, &q, (struct pp_fetch){.token = m.token, .offset = m.data.len});
    assert_int_equal(piece(&q).code, PEER_BEGIN_AGAIN);
    assert_int_equal(r.worker->snapshots.n_serving, 0);
    rig_close(&r);
}

static void so_many_streams_are_served_at_a_time(void **state) {
    struct rig r;
    struct rig_question q[SNAPSHOTS_AT_ONCE + 1];

    (void)state;
    open_large(&r);
    for (unsigned i = 0; i < SNAPSHOTS_AT_ONCE; i++) {
        ask_piece(&r, &q[i], (struct pp_fetch){.partition = 0});
        assert_int_equal(piece(&q[i]).code, 0);
    }
    ask_piece(&r, &q[SNAPSHOTS_AT_ONCE], (struct pp_fetch){.partition = 0});
    assert_int_equal(q[SNAPSHOTS_AT_ONCE].status, RPC_LOAD_SHEDDING);
    rig_close(&r); /* with streams open */
}

/* ---- taken over ---- */

static void piece_reply(struct rig *r, struct slice stream, size_t from, size_t n, bool last) {
    struct fabric_request *q = rig_asked(r);
    struct pp_fetch m;
    _cleanup_buf_ struct buf b = {0};

    assert_non_null(q);
    assert_int_equal(q->type, MANAGER_FETCH_SNAPSHOT);
    assert_int_equal(pp_fetch_decode(&m, q->payload, &r->fx.scratch, NULL), 0);
    assert_int_equal(m.offset, from);
    assert_int_equal(m.token, from ? 17 : 0);
    pp_piece_encode(&(struct pp_piece){.token = 17, .offset = from, .last = last, .data = slice_sub(stream, from, n)},
                    &b);
    rig_answer(r, q, buf_slice(&b));
}

/* A replica whose log begins behind LSN @to. */
static void open_behind(struct rig *r, struct repository *repository, lsn_t to) {
    rig_init(r);
    rig_cluster(r);
    with_snapshots(r, repository);
    rig_open(r);
    rig_place(r, 0, (uint32_t[]){1, 2}, 2);
    assert_int_equal(rig_role(r, 0), PARTITION_FOLLOWER);
    fake_log_gap(&r->logs, 0, to, LOG_GAP_TRIMMED);
    rig_run(r);
}

static void a_replica_takes_over_what_another_one_serves(void **state) {
    struct rig r, s;
    struct sum a, b;
    _cleanup_buf_ struct buf out = {0};
    struct slice stream;
    size_t at = 0;

    (void)state;
    open_large(&r);
    stream = fetch(&r, &out);
    a = checksum(&r, 0);
    open_behind(&s, NULL, 4);
    assert_int_equal(rig_role(&s, 0), PARTITION_OPENING);
    for (size_t n; at < stream.len; at += n) {
        n = MIN(stream.len - at, (size_t)500000);
        piece_reply(&s, stream, at, n, at + n == stream.len);
    }
    assert_int_equal(rig_role(&s, 0), PARTITION_FOLLOWER);
    assert_int_equal(rig_info(&s, 0).applied, 5);
    assert_int_equal(rig_info(&s, 0).durable, 5);
    b = checksum(&s, 0);
    assert_int_equal(a.lsn, b.lsn);
    assert_true(a.sum == b.sum);
    rig_close(&r);
    rig_close(&s);
}

static void an_empty_replica_begins_with_what_the_repository_has(void **state) {
    struct place *at = *state;
    struct rig r, s;
    struct made m = {0};
    struct sum a, b;
    struct err err;

    rig_init(&r);
    with_snapshots(&r, at->repository);
    rig_open(&r); /* looks, finds none, begins with the log */
    submit(&r, 0, 5);
    assert_int_equal(worker_snapshot_create(r.worker, 0, 0, on_made, &m, &err), 0);
    rig_run(&r);
    a = checksum(&r, 0);
    rig_init(&s);
    rig_cluster(&s);
    with_snapshots(&s, at->repository);
    rig_open(&s);
    rig_place(&s, 0, (uint32_t[]){1, 2}, 2);
    assert_int_equal(rig_role(&s, 0), PARTITION_FOLLOWER);
    b = checksum(&s, 0);
    assert_int_equal(b.lsn, 2);
    assert_true(a.sum == b.sum);
    assert_null(rig_asked(&s)); /* no other replica was needed */
    rig_close(&r);
    rig_close(&s);
}

static void without_a_snapshot_that_goes_far_enough_it_is_broken_and_tries_again(void **state) {
    struct place *at = *state;
    struct rig r;
    unsigned asked = 0;

    open_behind(&r, at->repository, 4);
    while (rig_role(&r, 0) == PARTITION_OPENING && asked++ < 5)
        rig_reply(&r, rig_asked(&r), (struct pp_reply){.code = PEER_NOT_FOUND});
    assert_int_equal(asked, 1);
    assert_int_equal(rig_role(&r, 0), PARTITION_BROKEN);
    assert_string_equal(rig_info(&r, 0).error,
                        "its log begins behind LSN 4, and there is no snapshot: node 2 has none that "
                        "goes up to LSN 4");
    rig_pass(&r, 1301);
    assert_non_null(rig_asked(&r)); /* again */
    rig_close(&r);
}

static void replicas_that_are_busy_are_asked_again_and_one_that_is_away_is_left_out(void **state) {
    struct rig r, s;
    _cleanup_buf_ struct buf out = {0};
    struct slice stream;

    (void)state;
    open_large(&r);
    stream = fetch(&r, &out);
    rig_init(&s);
    rig_cluster(&s);
    with_snapshots(&s, NULL);
    rig_open(&s);
    worker_leader_hint(s.worker, 0, 3, (struct node_id){3, 1}); /* nobody listens there */
    rig_place(&s, 0, (uint32_t[]){1, 2}, 2);
    fake_log_gap(&s.logs, 0, 4, LOG_GAP_TRIMMED);
    rig_pass(&s, 1000);
    assert_int_equal(s.n_asked, 1);
    fabric_reply_status(s.peer, rig_asked(&s), RPC_LOAD_SHEDDING);
    rig_pass(&s, 299);
    assert_null(rig_asked(&s));
    assert_int_equal(rig_role(&s, 0), PARTITION_OPENING);
    rig_pass(&s, 1001);
    piece_reply(&s, stream, 0, stream.len, true);
    assert_int_equal(rig_role(&s, 0), PARTITION_FOLLOWER);
    rig_close(&r);
    rig_close(&s);
}

static void a_stream_that_is_not_what_it_should_be_is_not_taken(void **state) {
    static const struct {
        lsn_t target;
        size_t keep;      /* bytes of the stream; 0: all */
        size_t damage_at; /* 0: none */
        const char *says;
    } rows[] = {
        {9, 0, 0, "the snapshot stands at LSN 5, 9 is needed"},
        {4, 1000, 0, "the snapshot is cut off"},
        {4, 0, 700000, NULL},
    };
    struct rig r;
    _cleanup_buf_ struct buf out = {0};

    (void)state;
    open_large(&r);
    (void)fetch(&r, &out);
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct rig s;

        open_behind(&s, NULL, rows[i].target);
        out.data[rows[i].damage_at] ^= rows[i].damage_at != 0;
        piece_reply(&s, buf_slice(&out), 0, rows[i].keep ? rows[i].keep : out.len, true);
        assert_int_equal(rig_role(&s, 0), PARTITION_BROKEN);
        if (rows[i].says && !strstr(rig_info(&s, 0).error, rows[i].says))
            fail_msg("row %zu: %s", i, rig_info(&s, 0).error);
        /* what was imported by half is dropped before the next try */
        rig_pass(&s, 1301);
        out.data[rows[i].damage_at] ^= rows[i].damage_at != 0;
        if (rows[i].target == 4) {
            piece_reply(&s, buf_slice(&out), 0, out.len, true);
            assert_int_equal(rig_role(&s, 0), PARTITION_FOLLOWER);
            assert_true(checksum(&s, 0).sum == checksum(&r, 0).sum);
        }
        rig_close(&s);
    }
    rig_close(&r);
}

static void the_rest_of_an_import_that_was_cut_short_is_dropped(void **state) {
    struct rig r;
    struct partition *p;
    struct sum empty;

    (void)state;
    rig_init(&r);
    rig_cluster(&r);
    rig_open(&r);
    rig_place(&r, 0, (uint32_t[]){1, 2}, 2);
    empty = checksum(&r, 0);
    p = rig_partition(&r, 0);
    store_put(p->store, p->table, SLICE_LIT("\x22 a row"), SLICE_LIT("x")); /* and no applied LSN */
    rig_run(&r);
    assert_true(checksum(&r, 0).sum != empty.sum);
    rig_stop(&r);
    rig_open(&r);
    assert_int_equal(rig_role(&r, 0), PARTITION_FOLLOWER);
    assert_true(checksum(&r, 0).sum == empty.sum);
    rig_close(&r);
}

/* The partition leaves this node in every state of a take-over. */
static void a_take_over_ends_with_its_partition(void **state) {
    struct place *at = *state;
    struct rig r, s;
    _cleanup_buf_ struct buf out = {0};
    struct slice stream;

    open_large(&r);
    stream = fetch(&r, &out);
    for (unsigned when = 0; when < 6; when++) {
        open_behind(&s, when == 0 ? at->repository : NULL, 4);
        if (when == 0) { /* once more, while it looks into the repository */
            rig_reply(&s, rig_asked(&s), (struct pp_reply){.code = PEER_NOT_FOUND});
            rig_turns(&s);
        } else if (when == 2) { /* resting */
            fabric_reply_status(s.peer, rig_asked(&s), RPC_LOAD_SHEDDING);
            rig_run(&s);
        } else if (when > 2) { /* a piece is being written; 3 asked, then jobs one by one */
            struct fabric_request *q = rig_asked(&s);
            _cleanup_buf_ struct buf b = {0};

            pp_piece_encode(&(struct pp_piece){.token = 17, .last = when > 3, .data = stream}, &b);
            fabric_reply(s.peer, q, buf_slice(&b), NULL, 0);
            rig_turns(&s);
        }
        rig_place(&s, 0, (uint32_t[]){2, 3}, 2);
        assert_int_equal(rig_role(&s, 0), PARTITION_STOPPED);
        rig_run(&s);
        assert_int_equal(s.worker->snapshots.busy, 0);
        rig_close(&s);
    }
    rig_close(&r);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test_setup_teardown(a_leader_puts_its_tables_into_the_repository, setup, teardown),
    cmocka_unit_test_setup_teardown(who_cannot_make_a_snapshot_says_why, setup, teardown),
    cmocka_unit_test_setup_teardown(snapshots_wait_for_each_other_and_those_that_wait_have_a_bound, setup, teardown),
    cmocka_unit_test_setup_teardown(a_snapshot_behind_the_one_in_the_repository_is_not_kept, setup, teardown),
    cmocka_unit_test_setup_teardown(snapshots_are_made_by_number_of_records_and_time, setup, teardown),
    cmocka_unit_test_setup_teardown(a_repository_that_cannot_be_read_is_looked_at_again, setup, teardown),
    cmocka_unit_test_setup_teardown(a_snapshot_of_a_store_that_failed_is_none, setup, teardown),
    cmocka_unit_test_setup_teardown(a_worker_that_stops_waits_for_the_snapshot_that_is_being_made, setup, teardown),
    cmocka_unit_test(a_snapshot_is_served_piece_by_piece),
    cmocka_unit_test(who_cannot_serve_a_snapshot_says_so),
    cmocka_unit_test(a_stream_that_nobody_goes_on_with_is_given_up),
    cmocka_unit_test(so_many_streams_are_served_at_a_time),
    cmocka_unit_test(a_replica_takes_over_what_another_one_serves),
    cmocka_unit_test_setup_teardown(an_empty_replica_begins_with_what_the_repository_has, setup, teardown),
    cmocka_unit_test_setup_teardown(without_a_snapshot_that_goes_far_enough_it_is_broken_and_tries_again, setup,
                                    teardown),
    cmocka_unit_test(replicas_that_are_busy_are_asked_again_and_one_that_is_away_is_left_out),
    cmocka_unit_test(a_stream_that_is_not_what_it_should_be_is_not_taken),
    cmocka_unit_test(the_rest_of_an_import_that_was_cut_short_is_dropped),
    cmocka_unit_test_setup_teardown(a_take_over_ends_with_its_partition, setup, teardown),
};
const struct unit_group snapshot_test_group = UNIT_GROUP(tests);
