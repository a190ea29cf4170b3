/* SPDX-License-Identifier: Apache-2.0 */
/* worker/snapshot_make.c : snapshots for the repository: because somebody asks, or because it is time. */
#include "base/hash.h"
#include "base/logging.h"
#include "snapshot/object_store.h"
#include "storage/export.h"
#include "worker/snapshots.h"

#include <unistd.h>

/* ---- the stream ---- */

struct exporting {
    const struct worker *w;
    int fd;
    struct snapshot_info *info;
};

static int on_bytes(void *arg, struct slice bytes, struct err *err) {
    struct exporting *e = arg;

    if (snapshots_stopped(e->w))
        return err_set(err, RS_ECANCELED, "stopping");
    e->info->size += bytes.len;
    e->info->crc = crc32c(e->info->crc, bytes.data, bytes.len);
    return write_all(e->fd, bytes, err);
}

static int applied_lsn(struct store_view *view, struct store_table *table, lsn_t *ret, struct err *err) {
    _cleanup_buf_ struct buf row = {0};
    struct fsm_hot fsm;
    struct table_key key;
    int r;

    key_fsm(&key, FSM_HOT);
    r = store_view_get(view, table, table_key_slice(&key), &row, err);
    if (r == RS_ENOENT)
        return err_set(err, r, "nothing was applied yet");
    if (r == 0)
        r = fsm_hot_decode(buf_slice(&row), &fsm, err);
    if (r == 0)
        *ret = fsm.applied_lsn;
    return r;
}

int snapshot_export(struct worker *w, struct store_view *view, struct store_table *table, uint32_t partition, int fd,
                    struct snapshot_info *ret, struct err *err) {
    struct exporting e = {w, fd, ret};
    struct export_writer *out;
    char name[16];
    int r;

    ret->size = ret->crc = 0;
    snapshot_table_name(partition, name);
    r = applied_lsn(view, table, &ret->lsn, err);
    if (r < 0)
        return r;
    out = export_writer_new(on_bytes, &e);
    r = export_view_table(out, view, table, name, err);
    if (r == 0)
        r = export_finish(out, SLICE_NULL, NULL, err);
    (void)export_writer_free(out);
    return r;
}

/* ---- one snapshot ---- */

struct making {
    struct job job;
    struct list link; /* of worker.snapshots.waiting */
    struct worker *w;
    struct partition *p;
    struct store_view *view;
    struct store_table *table;
    struct snapshot_info info;
    lsn_t archived;
    worker_snapshot_fn done;
    void *arg;
    int status;
    struct err err;
};

static void begin(struct making *m);

void snapshots_done_one(struct worker *w) {
    ASSERT(w->snapshots.busy > 0);
    if (--w->snapshots.busy == 0 && w->snapshots.drained)
        loop_post(w->params.loop, TAKE(w->snapshots.drained), w->snapshots.drained_arg);
}

static void run(struct job *j) {
    struct making *m = CONTAINER_OF(j, struct making, job);
    const struct worker_snapshots_params *sp = &m->w->params.snapshots;
    int fd, r = nameless_file(sp->tmp_dir, &fd, &m->err);

    if (r == 0) {
        r = snapshot_export(m->w, m->view, m->table, m->info.partition, fd, &m->info, &m->err);
        if (r == 0)
            r = repository_put(sp->repository, &m->info, fd, &m->archived, &m->err);
        (void)close(fd);
    }
    m->view = store_view_free(m->view);
    m->status = r;
}

static void finish(struct making *m) {
    struct partition *p = m->p;
    struct worker *w = m->w;

    p->snapshot.making = false;
    if (m->status == 0) {
        p->snapshot.lsn = MAX(p->snapshot.lsn, m->info.lsn);
        p->snapshot.made_ms = m->info.created_ms;
        p->snapshot.archived = MAX(p->snapshot.archived, m->archived);
        LOG_INFO("snapshot created", F_U64("partition", p->id), F_LSN("lsn", m->info.lsn), F_STR("id", m->info.id),
                 F_U64("bytes", m->info.size));
    } else if (m->status == RS_EEXIST) {
        p->snapshot.known = false; /* somebody else made one */
    }
    m->done(m->arg, m->status, &m->info, &m->err);
    free(m);
    w->snapshots.running--;
    if (!list_empty(&w->snapshots.waiting)) {
        struct making *next = LIST_ENTRY(list_pop_front(&w->snapshots.waiting), struct making, link);

        begin(next);
    }
    snapshots_done_one(w);
}

static void ran(struct job *j) {
    finish(CONTAINER_OF(j, struct making, job));
}

static void on_view(void *arg, int status, struct store_view *take_view, const struct err *err) {
    struct making *m = arg;

    if (status < 0) {
        m->status = status;
        if (err)
            m->err = *err;
        finish(m);
        return;
    }
    m->view = take_view;
    m->table = m->p->table;
    m->job = (struct job){.run = run, .done = ran};
    exec_submit(m->w->params.snapshots.exec, m->w->params.loop, &m->job);
}

static void canceled(void *arg) {
    finish(arg);
}

static void begin(struct making *m) {
    m->w->snapshots.running++;
    if (snapshots_stopped(m->w) || m->p->role != PARTITION_LEADER) {
        m->status = err_set(&m->err, RS_ECANCELED, "partition %u is not led here any more", m->p->id);
        loop_post(m->w->params.loop, canceled, m);
        return;
    }
    store_barrier(m->p->store, on_view, m);
}

static void start(struct partition *p, worker_snapshot_fn done, void *arg) {
    struct worker *w = p->w;
    struct making *m = xnew(struct making);
    uint8_t random[ULID_RANDOM_BYTES], ulid[ULID_BYTES];
    char id[RESOURCE_ID_MAX_CHARS + 1];

    *m = (struct making){.w = w, .p = p, .done = done, .arg = arg};
    m->info = (struct snapshot_info){.partition = p->id,
                                     .log_id = p->id,
                                     .first_key = p->first_key,
                                     .last_key = p->last_key,
                                     .created_ms = loop_wall_ns(w->params.loop) / 1000000};
    loop_random(w->params.loop, random, sizeof random);
    ulid_make(m->info.created_ms, random, ulid);
    resource_id_format(ID_SNAPSHOT, ulid, id);
    (void)snprintf(m->info.id, sizeof m->info.id, "%s", id);
    w->snapshots.busy++;
    p->snapshot.making = true;
    if (w->snapshots.running >= SNAPSHOTS_AT_ONCE)
        list_push_back(&w->snapshots.waiting, &m->link);
    else
        begin(m);
}

static size_t waiting(const struct worker *w) {
    size_t n = 0;

    LIST_FOREACH (l, &w->snapshots.waiting)
        n++;
    return n;
}

int worker_snapshot_create(struct worker *w, uint32_t partition, lsn_t min_lsn, worker_snapshot_fn done, void *arg,
                           struct err *err) {
    struct partition *p = partition < w->n ? w->routes[partition].p : NULL;

    if (partition >= w->n)
        return err_set(err, RS_ENOENT, "there is no partition %u", partition);
    if (!w->params.snapshots.repository)
        return err_set(err, RS_EUNSUPPORTED,
                       "this node has no snapshot repository: worker.snapshots.destination is not set");
    if (w->stopping || !p || p->role != PARTITION_LEADER)
        return err_set(err, RS_EAGAIN, "partition %u is not led by this node", partition);
    if (sm_applied(p->sm) < min_lsn)
        return err_set(err, RS_EAGAIN, "partition %u has applied LSN %llu only", partition,
                       (unsigned long long)sm_applied(p->sm));
    if (waiting(w) >= SNAPSHOTS_WAITING)
        return err_set(err, RS_EAGAIN, "too many snapshots wait");
    start(p, done, arg);
    return 0;
}

/* ---- by itself ---- */

struct looking { /* what the repository has of a partition */
    struct job job;
    struct partition *p;
    struct snapshot_info newest;
    lsn_t archived;
    int status;
    struct err err;
};

static void look_run(struct job *j) {
    struct looking *l = CONTAINER_OF(j, struct looking, job);

    l->status = repository_latest(l->p->w->params.snapshots.repository, l->p->id, &l->newest, &l->archived, &l->err);
}

static void look_ran(struct job *j) {
    struct looking *l = CONTAINER_OF(j, struct looking, job);
    struct partition *p = l->p;

    p->snapshot.making = false;
    if (l->status == 0) {
        p->snapshot.lsn = MAX(p->snapshot.lsn, l->newest.lsn);
        p->snapshot.made_ms = MAX(p->snapshot.made_ms, l->newest.created_ms);
        p->snapshot.archived = MAX(p->snapshot.archived, l->archived);
    }
    p->snapshot.known = l->status == 0 || l->status == RS_ENOENT;
    if (!p->snapshot.known)
        LOG_WARN_ERR(&l->err, "cannot look for snapshots", F_U64("partition", p->id));
    free(l);
    snapshots_done_one(p->w);
}

static void on_made(void *arg, int status, const struct snapshot_info *info, const struct err *err) {
    struct partition *p = arg;

    if (status < 0 && status != RS_ECANCELED)
        LOG_WARN_ERR(err, "no snapshot was created", F_U64("partition", p->id));
}

static bool is_time(const struct partition *p) {
    const struct worker_snapshots_params *sp = &p->w->params.snapshots;
    uint64_t now_ms = loop_wall_ns(worker_loop(p->w)) / 1000000;
    lsn_t applied = sm_applied(p->sm);

    if ((!sp->interval_ns && !sp->interval_records) || applied <= p->snapshot.lsn)
        return false;
    if (sp->interval_records && applied - p->snapshot.lsn < sp->interval_records)
        return false;
    return !sp->interval_ns || now_ms >= p->snapshot.made_ms + sp->interval_ns / 1000000;
}

void snapshots_tick(struct partition *p) {
    struct worker *w = p->w;
    struct looking *l;

    if (!w->params.snapshots.repository || p->snapshot.making || w->stopping)
        return;
    if (p->snapshot.known) {
        if (is_time(p) && w->snapshots.running < SNAPSHOTS_AT_ONCE)
            start(p, on_made, p);
        return;
    }
    l = xnew(struct looking);
    *l = (struct looking){.job = {.run = look_run, .done = look_ran}, .p = p};
    p->snapshot.making = true;
    w->snapshots.busy++;
    exec_submit(w->params.snapshots.exec, w->params.loop, &l->job);
}
