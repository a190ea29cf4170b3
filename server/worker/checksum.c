/* SPDX-License-Identifier: Apache-2.0 */
/* worker/checksum.c : a hash over a partition's tables at one LSN, from the view of a barrier, on the pool. */
#include "worker/partition_internal.h"
#include "worker/snapshots.h"

struct checksum {
    struct job job;
    struct worker *w;
    struct partition *p;
    struct store_view *view;
    struct buf row;
    worker_checksum_fn done;
    void *arg;
    int status;
    lsn_t lsn;
    uint64_t sum;
};

static int view_get(void *arg, struct slice key, struct slice *ret, struct err *err) {
    struct checksum *c = arg;
    int r;

    buf_clear(&c->row);
    r = store_view_get(c->view, c->p->table, key, &c->row, err);
    if (r == 0)
        *ret = buf_slice(&c->row);
    return r;
}

static int view_scan(void *arg, struct slice lower, struct slice upper, bool reverse, sm_each_fn each, void *each_arg,
                     struct err *err) {
    struct checksum *c = arg;

    return store_view_scan(c->view, c->p->table, lower, upper, reverse, each, each_arg, err);
}

static void run(struct job *j) {
    struct checksum *c = CONTAINER_OF(j, struct checksum, job);
    struct sm_reader reader = {.get = view_get, .scan = view_scan, .arg = c};
    struct fsm_hot fsm = {0};
    int r = tables_fsm(&reader, &fsm, NULL);

    if (r == RS_ENOENT)
        r = 0; /* nothing was applied yet */
    if (r == 0)
        r = tables_checksum(&reader, &c->sum, NULL);
    c->lsn = fsm.applied_lsn;
    c->status = r;
}

static void end(struct checksum *c) {
    struct worker *w = c->w;

    c->view = store_view_free(c->view);
    buf_done(&c->row);
    c->done(c->arg, c->status, c->lsn, c->sum);
    free(c);
    snapshots_done_one(w);
}

static void ran(struct job *j) {
    end(CONTAINER_OF(j, struct checksum, job));
}

static void refused(void *arg) {
    end(arg);
}

static void on_view(void *arg, int status, struct store_view *take_view, const struct err *err) {
    struct checksum *c = arg;

    c->status = status;
    c->view = take_view;
    if (status < 0)
        end(c);
    else
        exec_submit(c->w->params.pool, worker_loop(c->w), &c->job);
}

void worker_checksum(struct worker *w, uint32_t partition, worker_checksum_fn done, void *arg) {
    struct partition *p = partition < w->n ? w->routes[partition].p : NULL;
    struct checksum *c = xnew(struct checksum);

    w->snapshots.busy++; /* worker_drain() waits for it: it reads the partition's tables */
    *c = (struct checksum){.job = {.run = run, .done = ran}, .w = w, .p = p, .done = done, .arg = arg};
    c->status = !p || p->role == PARTITION_STOPPED ? RS_ENOENT : w->params.pool ? 0 : RS_EUNSUPPORTED;
    if (c->status < 0)
        loop_post(w->params.loop, refused, c);
    else
        store_barrier(p->store, on_view, c);
}
