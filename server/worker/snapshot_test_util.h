/* SPDX-License-Identifier: Apache-2.0 */
/* worker/snapshot_test_util.h : (tests) a repository in a directory of its own, and the stream of a snapshot as another
 * node gets it. */
#pragma once
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

static inline int setup(void **state) {
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

static inline int teardown(void **state) {
    struct place *p = *state;
    char command[96];

    (void)repository_free(p->repository);
    (void)snprintf(command, sizeof command, "rm -rf %s", p->dir);
    assert_int_equal(system(command), 0); /* NOLINT(cert-env33-c): a test */
    free(p);
    return 0;
}

static inline void with_snapshots(struct rig *r, struct repository *repository) {
    r->params.snapshots =
        (struct worker_snapshots_params){.exec = &r->exec, .repository = repository, .tmp_dir = "/tmp"};
}

static inline void submit(struct rig *r, uint32_t p, uint64_t n) {
    struct rig_call c;

    rig_submit(r, &c, rig_id(r, p, n), 0, FX_DAY_MS);
    assert_int_equal(c.reply.code, WORKER_OK);
}

struct made {
    int calls, status;
    lsn_t lsn;
};
static inline void on_made(void *arg, int status, const struct snapshot_info *info, const struct err *err) {
    struct made *m = arg;

    m->calls++;
    m->status = status;
    m->lsn = info->lsn;
}

static inline void ask_piece(struct rig *r, struct rig_question *q, struct pp_fetch m) {
    _cleanup_buf_ struct buf b = {0};

    pp_fetch_encode(&m, &b);
    rig_ask(r, q, SERVICE_PARTITION_MANAGER, MANAGER_FETCH_SNAPSHOT, buf_slice(&b));
}

static inline struct pp_piece piece(struct rig_question *q) {
    struct pp_piece m;

    assert_int_equal(q->answers, 1);
    assert_int_equal(q->status, RPC_OK);
    assert_int_equal(pp_piece_decode(&m, q->reply, &q->r->fx.scratch, NULL), 0);
    return m;
}

/* A cluster's node that leads partition 0 with more rows than fit one piece. */
static inline void open_large(struct rig *r) {
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
static inline struct slice fetch(struct rig *r, struct buf *out) {
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
