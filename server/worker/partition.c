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
#include "worker/snapshots.h"

#include <inttypes.h>
#include <stdio.h>

enum { RESTART_MIN_MS = 1000, RESTART_MAX_MS = 30000, STEADY_SECONDS = 60 };
#define FOR_GOOD UINT64_MAX

#define UNREADABLE_RETRY_NS 500000000u
#define STANDSTILL_NS 1000000000u /* behind a leader that others see ahead */

static void open_tables(void *arg, int status, const struct err *err);
static void claim(void *arg);

static void set_role(struct partition *p, enum partition_role role) {
    p->role = role;
    worker_partition_changed(p->w, p);
}

static bool is_running(const struct partition *p) {
    return p->role == PARTITION_FOLLOWER || p->role == PARTITION_CANDIDATE || p->role == PARTITION_LEADER;
}

/* ---- supervision ---- */

/* Nothing reads, appends or waits any more. */
static void shut(struct partition *p) {
    struct loop *loop = worker_loop(p->w);

    fast_forward_cancel(p);
    if (p->role == PARTITION_LEADER)
        partition_stop_leading(p);
    partition_drop_proposals(p);
    loop_hook_disarm(&p->flush);
    timer_stop(loop, &p->retry);
    timer_stop(loop, &p->find_tail);
    timer_stop(loop, &p->restart);
    p->cold_reading = p->active = p->start_again = false;
    p->target_tail = 0;
    if (p->reader)
        p->reader = log_reader_close(p->reader);
    if (p->log)
        p->log = log_close(p->log);
}

static uint64_t restart_delay_ms(struct partition *p) {
    struct loop *loop = worker_loop(p->w);
    uint64_t fixed = p->break_delay_ms;

    p->break_delay_ms = 0;
    if (fixed)
        return fixed;
    if (loop_now_ns(loop) - p->opened_ns > STEADY_SECONDS * 1000000000ull)
        p->restart_ms = 0;
    p->restart_ms = p->restart_ms ? MIN(p->restart_ms * 2, (uint64_t)RESTART_MAX_MS) : RESTART_MIN_MS;
    return p->restart_ms * (70 + loop_random_u64(loop) % 61) / 100;
}

void partition_break(struct partition *p, const char *fmt, ...) {
    uint64_t delay;
    va_list ap;

    if (p->role == PARTITION_BROKEN || p->role == PARTITION_STOPPED)
        return;
    va_start(ap, fmt);
    (void)vsnprintf(p->error, sizeof p->error, fmt, ap);
    va_end(ap);
    LOG_ERROR("partition stopped", F_U64("partition", p->id), F_STR("error", p->error));
    delay = restart_delay_ms(p);
    shut(p);
    set_role(p, PARTITION_BROKEN);
    route_broken_here(p->route);
    if (delay != FOR_GOOD)
        timer_set(worker_loop(p->w), &p->restart, delay * 1000000);
}

static void open_again(void *arg) {
    struct partition *p = arg;

    if (p->cold_pending) { /* it belongs to the life before */
        p->start_again = true;
        return;
    }
    p->start_again = false;
    p->opened_ns = loop_now_ns(worker_loop(p->w));
    if (p->sm)
        p->sm = sm_free(p->sm);
    sm_actions_clear(&p->actions);
    p->marks_n = 0;
    p->durability_proposed = p->trim_wanted = 0;
    if (p->fetch_target)
        fast_forward_start(p, p->fetch_target);
    else
        open_tables(p, 0, NULL);
}

static void restart(void *arg) {
    struct partition *p = arg;

    set_role(p, PARTITION_OPENING);
    open_again(p);
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

struct cold_read {
    struct partition *p;
    store_done_fn again;
    void *arg;
};

static void cold_read_done(void *arg, int status, const struct err *err) {
    struct cold_read c = *(struct cold_read *)arg;

    free(arg);
    c.p->cold_pending--;
    c.again(c.arg, status, err);
    if (c.p->start_again && c.p->cold_pending == 0 && c.p->role == PARTITION_OPENING)
        open_again(c.p);
}

void partition_read_cold(struct partition *p, store_done_fn again, void *arg) {
    struct cold_read *c = xnew(struct cold_read);

    *c = (struct cold_read){p, again, arg};
    p->cold_pending++;
    store_wait_cold(p->store, cold_read_done, c);
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

    if (p->reader && !p->cold_reading && is_running(p))
        log_reader_resume(p->reader);
}

static void row_is_warm(void *arg, int status, const struct err *err) {
    struct partition *p = arg;

    if (!p->cold_reading)
        return; /* it was stopped meanwhile */
    p->cold_reading = false;
    if (status < 0 && status != RS_ENOENT)
        partition_break(p, "cannot read a row: %s", err ? err->msg : err_name(status));
    else
        resume_reader(p);
}

/* The overlay is full: the log waits, partition_store_writable() goes on. A poisoned store takes nothing, ever: who
 * reads it gets to know. */
static bool is_overlay_full(const struct partition *p) {
    return !store_writable(p->store) && !store_is_poisoned(p->store);
}

void partition_store_writable(struct partition *p) {
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
        if (r == RS_EUNSUPPORTED) /* until the program is upgraded */
            p->break_delay_ms = RESTART_MAX_MS;
        partition_break(p, "cannot apply LSN %llu: %s", (unsigned long long)lsn, err.msg);
        return r;
    }
    partition_merge(p);
    if (p->w->params.applied)
        p->w->params.applied(p->w->params.arg, p->id, lsn, &view);
    return 0;
}

static void look_whether_active(struct partition *p);

static size_t on_deliver(void *arg, lsn_t first, struct bytes *const *records, size_t n) {
    struct partition *p = arg;
    struct loop *loop = worker_loop(p->w);
    uint64_t until = loop_mono_ns(loop) + LIMIT_APPLY_TURN_NS;
    size_t done = 0;

    if (!is_running(p) || p->cold_reading)
        return 0;
    while (done < n && !is_overlay_full(p) && apply_one(p, first + done, records[done]) == 0) {
        if (first + done >= p->led_from)
            partition_applied_bytes(p, records[done]->len);
        done++;
        if ((done & 31) == 0 && loop_mono_ns(loop) > until)
            break;
    }
    if (done) {
        durability_note(p);
        partition_run_actions(p); /* the records are borrowed until we return: actions may point into them */
        partition_applied_upto(p, first + done - 1);
        look_whether_active(p);
    }
    if (done < n && !p->cold_reading && is_running(p) && !is_overlay_full(p))
        loop_post(loop, resume_reader, p); /* the rest in the next turn */
    return done;
}

static void on_gap(void *arg, lsn_t to, enum log_gap kind) {
    struct partition *p = arg;

    if (kind != LOG_GAP_TRIMMED || !p->w->params.snapshots.exec) {
        partition_break(p, "the log has a gap up to LSN %llu (%s): a snapshot would be needed", (unsigned long long)to,
                        kind == LOG_GAP_TRIMMED ? "trimmed" : "data loss");
        return;
    }
    LOG_INFO("the log was trimmed behind what was applied", F_U64("partition", p->id),
             F_LSN("applied", sm_applied(p->sm)), F_LSN("trim_point", to));
    p->fetch_target = to;
    shut(p);
    route_lost_here(p->route);
    restart(p);
}

static void on_read_failed(void *arg, int status, const struct err *why) {
    partition_break(arg, "cannot read the log: %s", why->msg);
}

/* ---- leading ---- */

/* The lead is over. Applying goes on. */
static void step_down(struct partition *p) {
    if (p->role == PARTITION_LEADER)
        partition_stop_leading(p);
    else
        partition_drop_proposals(p);
    timer_stop(worker_loop(p->w), &p->retry);
    p->retry_ms = 0;
    if (p->log)
        log_resign(p->log);
    if (p->role != PARTITION_FOLLOWER)
        set_role(p, PARTITION_FOLLOWER);
}

static void lead_ended(struct partition *p, const char *why, epoch_t epoch) {
    LOG_INFO("partition follows", F_U64("partition", p->id), F_STR("reason", why), F_U64("epoch", epoch));
    (void)snprintf(p->error, sizeof p->error, "followed: %s %llu", why, (unsigned long long)epoch);
    p->lead_wanted = false;
    step_down(p);
    worker_lead_ended(p->w, p->id);
}

void partition_seen_epoch(struct partition *p, epoch_t epoch) {
    if (epoch > p->epoch && !p->claiming && (p->role == PARTITION_CANDIDATE || p->role == PARTITION_LEADER))
        lead_ended(p, "there is a newer leader, epoch", epoch);
}

void partition_want_lead(struct partition *p, bool lead) {
    if (p->lead_wanted == lead)
        return;
    p->lead_wanted = lead;
    if (lead && p->role == PARTITION_FOLLOWER)
        claim(p);
    else if (!lead && (p->role == PARTITION_CANDIDATE || p->role == PARTITION_LEADER))
        step_down(p);
    else
        worker_partition_changed(p->w, p);
}

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

    if (p->role != PARTITION_CANDIDATE || status == RS_ECANCELED)
        return;
    if (status == RS_EPERM) {
        lead_ended(p, "somebody claimed the log after epoch", p->epoch);
        return;
    }
    if (status < 0) {
        try_again(p, "cannot take the lead of a log", err);
        return;
    }
    if (sm_applied(p->sm) >= first) {
        p->break_delay_ms = FOR_GOOD;
        partition_break(p, "its tables are ahead of its log (applied %llu, log ends before %llu): the log lost data",
                        (unsigned long long)sm_applied(p->sm), (unsigned long long)first);
        return;
    }
    p->retry_ms = 0;
    p->led_from = first;
    announce(p);
}

static void on_epoch(void *arg, int status, epoch_t epoch, const struct err *err) {
    struct partition *p = arg;

    p->claiming = false;
    if (p->role != PARTITION_CANDIDATE && p->role != PARTITION_FOLLOWER)
        return;
    if (!p->lead_wanted) {
        if (p->role == PARTITION_CANDIDATE)
            set_role(p, PARTITION_FOLLOWER);
        return;
    }
    if (p->role == PARTITION_FOLLOWER)
        set_role(p, PARTITION_CANDIDATE);
    if (status == RS_EEXIST) {
        lead_ended(p, "somebody else claimed an epoch meanwhile, after epoch", p->epoch);
        return;
    }
    if (status < 0) {
        try_again(p, "cannot claim a leader epoch", err);
        return;
    }
    p->epoch = epoch;
    log_lead(p->log, epoch, on_lead, p);
}

static void claim(void *arg) {
    struct partition *p = arg;

    if (!p->lead_wanted || (p->role != PARTITION_FOLLOWER && p->role != PARTITION_CANDIDATE))
        return;
    if (!log_readable(p->log, sm_applied(p->sm) + 1)) { /* I would lead and never get to know what I decided before */
        (void)snprintf(p->error, sizeof p->error,
                       "cannot lead: the log-servers that hold what follows LSN %llu are away",
                       (unsigned long long)sm_applied(p->sm));
        timer_set(worker_loop(p->w), &p->retry, UNREADABLE_RETRY_NS);
        return;
    }
    p->error[0] = 0;
    if (p->role != PARTITION_CANDIDATE)
        set_role(p, PARTITION_CANDIDATE);
    if (p->claiming)
        return; /* its answer goes on */
    p->claiming = true;
    epoch_claim(worker_meta(p->w), (partition_id_t)p->id, worker_self(p->w), 0, on_epoch, p);
}

static void on_writable(void *arg) {
    partition_flush(arg);
}

static void on_lost(void *arg, int status, epoch_t tail_epoch, const struct err *why) {
    struct partition *p = arg;

    if (!is_running(p))
        return;
    LOG_WARN("lost the lead of a log", F_U64("partition", p->id), F_U64("epoch", p->epoch),
             F_STR("error", why ? why->msg : ""));
    if (status == RS_EIO) {
        partition_break(p, "the log does not take writes any more: %s", why ? why->msg : "");
        return;
    }
    if (tail_epoch > p->epoch && !p->claiming) {
        lead_ended(p, "its log was taken over by epoch", tail_epoch);
        return;
    }
    step_down(p); /* closed by somebody who does not lead: claim anew */
    timer_set(worker_loop(p->w), &p->retry, 0);
}

/* ---- a leader that does not move ---- */

/* It looks several times within the timeout, so that it acts at most a quarter of it too late. */
static void look_for_stall(void *arg) {
    struct partition *p = arg;
    uint64_t now = loop_now_ns(worker_loop(p->w)), timeout = worker_settings(p->w)->stall_timeout_ns;
    lsn_t applied = sm_applied(p->sm);

    if (log_committed_tail(p->log) <= applied + 1) {
        p->stall.since_ns = 0;
    } else if (!p->stall.since_ns || applied != p->stall.applied) {
        p->stall.since_ns = now;
        p->stall.applied = applied;
    } else if (now - p->stall.since_ns >= timeout) {
        lead_ended(p, "nothing was applied for worker.stall-timeout, epoch", p->epoch);
        return;
    }
    timer_set(worker_loop(p->w), &p->stall.timer, timeout / 4);
}

void stall_watch_start(struct partition *p) {
    p->stall.since_ns = 0;
    if (worker_settings(p->w)->stall_timeout_ns)
        look_for_stall(p);
}

void stall_watch_stop(struct partition *p) {
    timer_stop(worker_loop(p->w), &p->stall.timer);
}

/* ---- catching up ---- */

static void look_whether_active(struct partition *p) {
    if (!p->active && p->target_tail && sm_applied(p->sm) + 1 >= p->target_tail) {
        p->active = true;
        worker_partition_changed(p->w, p);
    }
}

static void on_tail(void *arg, int status, lsn_t tail, const struct err *err) {
    struct partition *p = arg;

    if (!is_running(p))
        return;
    if (status < 0) {
        timer_set(worker_loop(p->w), &p->find_tail, 1000000000);
        return;
    }
    p->target_tail = tail;
    look_whether_active(p);
}

static void find_tail(void *arg) {
    struct partition *p = arg;

    log_find_tail(p->log, on_tail, p);
}

void partition_seen_applied(struct partition *p, lsn_t applied) {
    uint64_t now = loop_now_ns(worker_loop(p->w));

    if (p->role != PARTITION_FOLLOWER || !p->log || applied <= sm_applied(p->sm)) {
        p->behind_ns = 0;
    } else if (!p->behind_ns || p->behind_at != sm_applied(p->sm)) {
        p->behind_ns = now;
        p->behind_at = sm_applied(p->sm);
    } else if (now - p->behind_ns > STANDSTILL_NS) {
        p->behind_ns = now;
        find_tail(p);
    }
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
    struct fsm_hot hot = {0};
    struct err err = {0};
    int r;

    if (p->role != PARTITION_OPENING)
        return;
    if (status < 0 && status != RS_ENOENT) {
        partition_break(p, "cannot read its tables: %s", cold_err ? cold_err->msg : err_name(status));
        return;
    }
    r = tables_fsm(&p->rows, &hot, &err);
    if (r == RS_ENOENT)
        r = fast_forward_clear(p, &err);
    if (r == 0 && !hot.applied_lsn && !p->looked && p->w->params.snapshots.repository) {
        p->looked = true; /* records that a snapshot holds need not be applied again */
        fast_forward_start(p, 0);
        return;
    }
    if (r == 0)
        r = sm_open(&sp, &p->rows, &p->sm, &err);
    if (r == RS_EAGAIN) {
        partition_read_cold(p, open_tables, p);
        return;
    }
    if (r < 0) {
        if (r == RS_EUNSUPPORTED)
            p->break_delay_ms = RESTART_MAX_MS;
        partition_break(p, "cannot open its tables: %s", err.msg);
        return;
    }
    if (!p->durable)
        p->durable = sm_applied(p->sm); /* what a fresh process finds was on disk */
    p->log = log_open(worker_log_node(p->w), p->id, &log_events, p);
    p->reader = log_read(p->log, sm_applied(p->sm) + 1, &reader_events, p);
    p->error[0] = 0;
    set_role(p, PARTITION_FOLLOWER);
    find_tail(p);
    claim(p);
}

void partition_fast_forwarded(struct partition *p, lsn_t lsn) {
    if (lsn)
        p->durable = lsn;
    p->fetch_target = 0;
    open_tables(p, 0, NULL);
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
    loop_hook_init(&p->flush, partition_flush, p);
    timer_init(&p->retry, claim, p);
    timer_init(&p->restart, restart, p);
    timer_init(&p->find_tail, find_tail, p);
    timer_init(&p->stall.timer, look_for_stall, p);
    p->route = worker_route_of(w, id);
    partition_init_leader(p);
    return p;
}

void partition_start(struct partition *p) {
    ASSERT(p->role == PARTITION_STOPPED);
    p->error[0] = 0;
    restart(p);
}

void partition_stop(struct partition *p) {
    shut(p);
    p->lead_wanted = false;
    if (p->role != PARTITION_STOPPED)
        set_role(p, PARTITION_STOPPED);
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
    ret->role = p->role;
    ret->lead_wanted = p->lead_wanted;
    ret->active = p->role == PARTITION_LEADER || (p->active && p->sm && log_readable(p->log, sm_applied(p->sm) + 1));
    ret->epoch = p->epoch;
    ret->applied = p->sm ? sm_applied(p->sm) : 0;
    ret->durable = p->durable;
    ret->archived = p->snapshot.archived;
    ret->target_tail = p->target_tail;
    ret->error = p->error;
}
