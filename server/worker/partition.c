/* SPDX-License-Identifier: Apache-2.0 */
/* worker/partition.c : the life of a processor: open the tables, claim an epoch, own a segment of the log, apply what
 * is committed.
 *
 * A record is applied only when it is committed; its writes go to the overlay as a whole or not at all. Rows that are
 * not in memory stop the partition, not the loop: the key is read on the pool, then the same record is applied again.
 */
#include "worker/partition_internal.h"
#include "base/logging.h"
#include "meta/epoch_metadata.h"

#include <inttypes.h>
#include <stdio.h>

static void open_tables(void *arg, int status, const struct err *err);
static void claim(void *arg);

void partition_break(struct partition *p, const char *fmt, ...) {
    va_list ap;

    if (p->role == PARTITION_BROKEN)
        return;
    va_start(ap, fmt);
    (void)vsnprintf(p->error, sizeof p->error, fmt, ap);
    va_end(ap);
    LOG_ERROR("partition stopped", F_U64("partition", p->id), F_STR("error", p->error));
    if (p->role == PARTITION_LEADER)
        partition_stop_leading(p);
    p->role = PARTITION_BROKEN;
    partition_refuse_calls(p);
    worker_partition_changed(p->w, p);
}

/* ---- rows ---- */

static int row_get(void *arg, struct slice key, struct slice *ret, struct err *err) {
    struct partition *p = arg;

    return store_get(p->store, p->table, key, ret, err);
}

static int row_scan(void *arg, struct slice lower, struct slice upper, bool reverse, sm_each_fn each, void *each_arg,
                    struct err *err) {
    struct partition *p = arg;

    return store_scan(p->store, p->table, lower, upper, reverse, each, each_arg, err);
}

void partition_read_cold(struct partition *p, store_done_fn again, void *arg) {
    store_wait_cold(p->store, again, arg);
}

void partition_merge(struct partition *p) {
    for (uint32_t i = 0; i < p->writes.n; i++) {
        const struct sm_write *w = &p->writes.items[i];

        if (w->value.data)
            store_put(p->store, p->table, w->key, w->value);
        else
            store_del(p->store, p->table, w->key);
    }
}

/* ---- applying ---- */

static void resume_reader(void *arg) {
    struct partition *p = arg;

    if (p->reader && !p->cold_reading && p->role != PARTITION_BROKEN)
        log_reader_resume(p->reader);
}

static void row_is_warm(void *arg, int status, const struct err *err) {
    struct partition *p = arg;

    p->cold_reading = false;
    if (status < 0 && status != RS_ENOENT)
        partition_break(p, "cannot read a row: %s", err ? err->msg : err_name(status));
    else
        resume_reader(p);
}

static int apply_one(struct partition *p, lsn_t lsn, struct bytes *record) {
    struct record_view view;
    struct err err = {0};
    int r = record_view(bytes_slice(record), &view, &err);

    if (r == 0)
        r = sm_apply(p->sm, lsn, &view, &p->rows, &p->writes, &p->actions, &err);
    if (r == RS_EAGAIN) {
        p->cold_reading = true;
        partition_read_cold(p, row_is_warm, p);
        return r;
    }
    if (r < 0) {
        partition_break(p, "cannot apply LSN %llu: %s", (unsigned long long)lsn, err.msg);
        return r;
    }
    partition_merge(p);
    return 0;
}

static size_t on_deliver(void *arg, lsn_t first, struct bytes *const *records, size_t n) {
    struct partition *p = arg;
    struct loop *loop = worker_loop(p->w);
    uint64_t until = loop_mono_ns(loop) + LIMIT_APPLY_TURN_NS;
    size_t done = 0;

    if (p->role == PARTITION_BROKEN || p->cold_reading)
        return 0;
    while (done < n && apply_one(p, first + done, records[done]) == 0) {
        done++;
        if ((done & 31) == 0 && loop_mono_ns(loop) > until)
            break;
    }
    if (done) {
        durability_note(p);
        partition_run_actions(p); /* the records are borrowed until we return: actions may point into them */
        partition_applied_upto(p, first + done - 1);
    }
    if (done < n && !p->cold_reading && p->role != PARTITION_BROKEN)
        loop_post(loop, resume_reader, p); /* the rest in the next turn */
    return done;
}

static void on_gap(void *arg, lsn_t to, enum log_gap kind) {
    struct partition *p = arg;

    partition_break(p, "the log has a gap up to LSN %llu (%s): a snapshot would be needed", (unsigned long long)to,
                    kind == LOG_GAP_TRIMMED ? "trimmed" : "data loss");
}

static void on_read_failed(void *arg, int status, const struct err *why) {
    partition_break(arg, "cannot read the log: %s", why->msg);
}

/* ---- leading ---- */

static void try_again(struct partition *p, const char *what, const struct err *err) {
    LOG_WARN(what, F_U64("partition", p->id), F_STR("error", err ? err->msg : ""));
    p->retry_ms = p->retry_ms ? MIN(p->retry_ms * 2, (uint64_t)1000) : 50;
    timer_set(worker_loop(p->w), &p->retry, p->retry_ms * 1000000);
}

static void announce(struct partition *p) {
    char node[32];
    struct node_id self = worker_self(p->w);
    struct cmd_announce_leader m = {.epoch = p->epoch, .first_key = p->first_key, .last_key = p->last_key};
    struct buf out = {0};

    (void)snprintf(node, sizeof node, NODE_ID_FMT, NODE_ID_ARG(self));
    m.node = slice_str(node);
    cmd_announce_leader_encode(&m, &out);
    p->next_seq = 0;
    partition_propose(
        p, &(struct propose){
               .kind = CMD_ANNOUNCE_LEADER, .mode = PROPOSE_SELF, .no_key = true, .payload = buf_slice(&out)});
    buf_done(&out);
}

static void on_lead(void *arg, int status, lsn_t first, const struct err *err) {
    struct partition *p = arg;

    if (p->role == PARTITION_BROKEN)
        return;
    if (status < 0) {
        try_again(p, "cannot take the lead of a log", err);
        return;
    }
    if (sm_applied(p->sm) >= first) {
        partition_break(p, "its tables are ahead of its log (applied %llu, log ends before %llu): the log lost data",
                        (unsigned long long)sm_applied(p->sm), (unsigned long long)first);
        return;
    }
    p->retry_ms = 0;
    announce(p);
}

static void on_epoch(void *arg, int status, epoch_t epoch, const struct err *err) {
    struct partition *p = arg;

    if (p->role == PARTITION_BROKEN)
        return;
    if (status < 0) {
        try_again(p, "cannot claim a leader epoch", err);
        return;
    }
    p->epoch = epoch;
    log_lead(p->log, epoch, on_lead, p);
}

static void claim(void *arg) {
    struct partition *p = arg;

    p->role = PARTITION_CANDIDATE;
    epoch_claim(worker_meta(p->w), (partition_id_t)p->id, worker_self(p->w), 0, on_epoch, p);
}

static void on_writable(void *arg) {
    partition_flush(arg);
}

static void on_lost(void *arg, int status, epoch_t tail_epoch, const struct err *why) {
    struct partition *p = arg;

    if (p->role == PARTITION_BROKEN)
        return;
    LOG_WARN("lost the lead of a log", F_U64("partition", p->id), F_U64("epoch", p->epoch),
             F_STR("error", why ? why->msg : ""));
    if (p->role == PARTITION_LEADER)
        partition_stop_leading(p);
    else
        partition_drop_proposals(p);
    if (status == RS_EIO) {
        partition_break(p, "the log does not take writes any more: %s", why ? why->msg : "");
        return;
    }
    p->role = PARTITION_CANDIDATE;
    worker_partition_changed(p->w, p);
    timer_set(worker_loop(p->w), &p->retry, 0);
}

/* ---- opening ---- */

static const struct log_events log_events = {.writable = on_writable, .lost = on_lost};
static const struct log_reader_events reader_events = {.deliver = on_deliver, .gap = on_gap, .failed = on_read_failed};

static void open_tables(void *arg, int status, const struct err *cold_err) {
    struct partition *p = arg;
    struct sm_params sp = {.partition = p->id,
                           .first_key = p->first_key,
                           .last_key = p->last_key,
                           .version = worker_settings(p->w)->version};
    struct err err = {0};
    int r;

    if (p->role == PARTITION_BROKEN)
        return;
    if (status < 0 && status != RS_ENOENT) {
        partition_break(p, "cannot read its tables: %s", cold_err ? cold_err->msg : err_name(status));
        return;
    }
    r = sm_open(&sp, &p->rows, &p->sm, &err);
    if (r == RS_EAGAIN) {
        partition_read_cold(p, open_tables, p);
        return;
    }
    if (r < 0) {
        partition_break(p, "cannot open its tables: %s", err.msg);
        return;
    }
    p->durable = sm_applied(p->sm); /* what a fresh process finds was on disk */
    p->log = log_open(worker_log_node(p->w), p->id, &log_events, p);
    p->reader = log_read(p->log, sm_applied(p->sm) + 1, &reader_events, p);
    claim(p);
}

struct partition *partition_new(struct worker *w, uint32_t id, uint64_t first_key, uint64_t last_key,
                                struct store *store, struct store_table *table) {
    struct partition *p = xnew(struct partition);

    p->w = w;
    p->id = id;
    p->first_key = first_key;
    p->last_key = last_key;
    p->store = store;
    p->table = table;
    p->rows = (struct sm_reader){.get = row_get, .scan = row_scan, .arg = p};
    list_init(&p->proposals);
    list_init(&p->waiters);
    list_init(&p->calls);
    loop_hook_init(&p->flush, partition_flush, p);
    timer_init(&p->retry, claim, p);
    partition_init_leader(p);
    return p;
}

void partition_start(struct partition *p) {
    open_tables(p, 0, NULL);
}

void partition_stop(struct partition *p) {
    struct loop *loop = worker_loop(p->w);

    if (p->role == PARTITION_LEADER)
        partition_stop_leading(p);
    p->role = PARTITION_BROKEN;
    partition_drop_proposals(p);
    loop_hook_disarm(&p->flush);
    timer_stop(loop, &p->retry);
    if (p->reader)
        p->reader = log_reader_close(p->reader);
    if (p->log)
        p->log = log_close(p->log);
}

struct partition *partition_free(struct partition *p) {
    if (!p)
        return NULL;
    ASSERT(!p->log);
    if (p->sm)
        p->sm = sm_free(p->sm);
    sm_writes_done(&p->writes);
    sm_actions_done(&p->actions);
    arena_done(&p->scratch);
    free(p);
    return NULL;
}

enum partition_role partition_role(const struct partition *p) {
    return p->role;
}

void partition_info(const struct partition *p, struct partition_info *ret) {
    *ret = (struct partition_info){.id = p->id,
                                   .role = p->role,
                                   .first_key = p->first_key,
                                   .last_key = p->last_key,
                                   .epoch = p->epoch,
                                   .applied = p->sm ? sm_applied(p->sm) : 0,
                                   .durable = p->durable,
                                   .error = p->error};
}
