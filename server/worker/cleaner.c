/* SPDX-License-Identifier: Apache-2.0 */
/* worker/cleaner.c : a leader's periodic duties: purge what outlived its retention, tell the log what is durable, trim
 * it. */
#include "worker/partition_internal.h"
#include "base/logging.h"
#include "worker/snapshots.h"

enum { PURGE_BATCH = 256 };
#define DURABILITY_INTERVAL_NS 5000000000ull
#define CHAIN_LONG 4u /* segments; then a new leader does not wait for the interval */

/* ---- retention ---- */

struct purging {
    struct partition *p;
    unsigned n;
};

static int purge_row(void *arg, uint64_t time_ms, enum expiry_kind kind, const struct invocation_id *id) {
    struct purging *pg = arg;
    struct cmd_purge m = {.id = invocation_id_slice(id)};
    struct buf out = {0};

    if (pg->n++ == PURGE_BATCH || !partition_writable(pg->p))
        return 1;
    cmd_purge_encode(&m, &out);
    partition_propose(pg->p,
                      &(struct propose){.kind = kind == EXPIRY_JOURNAL ? CMD_PURGE_JOURNAL : CMD_PURGE_INVOCATION,
                                        .mode = PROPOSE_SELF,
                                        .partition_key = invocation_id_pk(id),
                                        .payload = buf_slice(&out)});
    buf_done(&out);
    return 0;
}

static void clean(void *arg);

static void clean_again(void *arg, int status, const struct err *err) {
    struct partition *p = arg;

    if (p->role == PARTITION_LEADER)
        clean(p);
}

static void clean(void *arg) {
    struct partition *p = arg;
    struct purging pg = {.p = p};
    uint64_t interval = worker_settings(p->w)->cleanup_interval_ns;
    struct err err = {0};
    int r = tables_expired(&p->rows, loop_wall_ns(worker_loop(p->w)) / 1000000, purge_row, &pg, &err);

    if (r == RS_EAGAIN) {
        partition_read_cold(p, clean_again, p);
        return;
    }
    if (r < 0)
        LOG_WARN("cannot read expired invocations", F_U64("partition", p->id), F_STR("error", err.msg));
    /* a full batch: go on soon, when these are applied */
    timer_set(worker_loop(p->w), &p->cleaner, pg.n > PURGE_BATCH ? MIN(interval, (uint64_t)100000000) : interval);
}

void cleaner_start(struct partition *p) {
    timer_set(worker_loop(p->w), &p->cleaner, worker_settings(p->w)->cleanup_interval_ns / 5);
}
void cleaner_stop(struct partition *p) {
    timer_stop(worker_loop(p->w), &p->cleaner);
}

/* ---- durability: the LSN of the newest note whose mark survived a sync of the store ---- */

void durability_note(struct partition *p) {
    uint64_t mark = store_mark(p->store);
    lsn_t lsn = sm_applied(p->sm);

    if (p->marks_n && p->marks[p->marks_n - 1].mark == mark) {
        p->marks[p->marks_n - 1].lsn = lsn;
        return;
    }
    if (p->marks_n == ARRAY_SIZE(p->marks)) { /* thin out: every second note */
        for (unsigned i = 0; i < ARRAY_SIZE(p->marks) / 2; i++)
            p->marks[i] = p->marks[2 * i + 1];
        p->marks_n /= 2;
    }
    p->marks[p->marks_n].mark = mark;
    p->marks[p->marks_n++].lsn = lsn;
}

void partition_store_durable(struct partition *p) {
    uint64_t durable = store_durable_mark(p->store);
    unsigned n = 0;

    while (n < p->marks_n && p->marks[n].mark <= durable)
        p->durable = p->marks[n++].lsn;
    p->marks_n -= n;
    memmove(p->marks, p->marks + n, p->marks_n * sizeof p->marks[0]);
}

/* What all replicas have, and what at least one has, on their disks as far as they told. */
static void replicas_durable(const struct partition *p, lsn_t *ret_all, lsn_t *ret_any) {
    const struct route *r = p->route;
    const uint32_t self = worker_self(p->w).id;

    *ret_all = *ret_any = p->durable;
    for (uint32_t i = 0; i < r->current.n + r->next.n; i++) {
        bool next = i >= r->current.n;
        uint32_t k = next ? i - r->current.n : i;

        if ((next ? r->next.nodes[k] : r->current.nodes[k]) == self)
            continue;
        *ret_all = MIN(*ret_all, next ? r->next_durable[k] : r->durable[k]);
        *ret_any = MAX(*ret_any, next ? r->next_durable[k] : r->durable[k]);
    }
}

/* Up to where the log is not needed any more (cluster.md §18). */
static lsn_t durable_point(const struct partition *p) {
    enum worker_durability mode = worker_settings(p->w)->durability;
    bool alone = p->route->current.n + p->route->next.n <= 1;
    lsn_t archived = p->snapshot.archived, all, any;

    replicas_durable(p, &all, &any);
    if (mode == DURABILITY_DEFAULT)
        mode = p->w->params.snapshots.repository && !alone ? DURABILITY_BALANCED : DURABILITY_REPLICA_SET_ONLY;
    switch (mode) {
    case DURABILITY_BALANCED:
        return MIN(archived, any);
    case DURABILITY_REPLICA_SET_ONLY:
        return all;
    case DURABILITY_SNAPSHOT_ONLY:
        return archived;
    case DURABILITY_SNAPSHOT_AND_REPLICA_SET:
        return MIN(archived, all);
    default:
        return LSN_INVALID;
    }
}

static void on_durability(void *arg) {
    struct partition *p = arg;
    const lsn_t point = durable_point(p);
    struct cmd_partition_durability m = {.partition = p->id, .durable_lsn = point};
    struct buf out = {0};

    /* the record below moves the tail by one: an idle partition must not go on for ever because of it */
    if (point > MAX(p->durability_proposed, sm_durable_point(p->sm, NULL)) + 1) {
        p->durability_proposed = point;
        m.time_ms = loop_wall_ns(worker_loop(p->w)) / 1000000;
        cmd_partition_durability_encode(&m, &out);
        partition_propose(
            p, &(struct propose){
                   .kind = CMD_PARTITION_DURABILITY, .mode = PROPOSE_SELF, .no_key = true, .payload = buf_slice(&out)});
        buf_done(&out);
    }
    snapshots_tick(p);
    timer_set(worker_loop(p->w), &p->durability, DURABILITY_INTERVAL_NS);
}

static void on_trimmed(void *arg, int status, const struct err *err) {
    if (status < 0)
        LOG_WARN("cannot trim a log", F_STR("error", err ? err->msg : err_name(status)));
}

struct trim_later {
    struct timer timer;
    struct list link;
    struct partition *p;
    lsn_t lsn;
};

static void on_trim(void *arg) {
    struct trim_later *t = arg;

    if (t->p->role == PARTITION_LEADER)
        log_trim(t->p->log, t->lsn, on_trimmed, t->p);
    list_remove(&t->link);
    free(t);
}

void durability_applied(struct partition *p, lsn_t lsn, uint64_t noted_ms) {
    uint64_t delay = worker_settings(p->w)->trim_delay_ns, now_ms = loop_wall_ns(worker_loop(p->w)) / 1000000;
    uint64_t age = now_ms > noted_ms ? (now_ms - noted_ms) * 1000000 : 0;
    struct trim_later *t;

    if (lsn <= p->trim_wanted)
        return;
    p->trim_wanted = lsn;
    t = xnew(struct trim_later);
    t->p = p;
    t->lsn = lsn;
    timer_init(&t->timer, on_trim, t);
    list_push_back(&p->trims, &t->link);
    timer_set(worker_loop(p->w), &t->timer, age < delay ? delay - age : 0);
}

void cleaner_init(struct partition *p) {
    timer_init(&p->cleaner, clean, p);
    timer_init(&p->durability, on_durability, p);
    list_init(&p->trims);
}

/* What an earlier leader noted and did not live to trim is trimmed by this one; else leaders that follow each other
 * faster than the delay would trim nothing, and the chain grow with each of them. */
void durability_start(struct partition *p) {
    struct log_info log;
    uint64_t noted_ms;
    lsn_t noted = sm_durable_point(p->sm, &noted_ms);

    p->snapshot.known = false; /* others may have made some since it led last */
    snapshots_tick(p);
    if (noted)
        durability_applied(p, noted, noted_ms);
    log_info(p->log, &log);
    timer_set(worker_loop(p->w), &p->durability, log.segments > CHAIN_LONG ? 0 : DURABILITY_INTERVAL_NS);
}

void durability_stop(struct partition *p) {
    struct list *e;

    timer_stop(worker_loop(p->w), &p->durability);
    p->trim_wanted = 0;
    while ((e = list_pop_front(&p->trims))) {
        struct trim_later *t = LIST_ENTRY(e, struct trim_later, link);

        timer_stop(worker_loop(p->w), &t->timer);
        free(t);
    }
}
