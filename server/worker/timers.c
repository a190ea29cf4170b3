/* SPDX-License-Identifier: Apache-2.0 */
/* worker/timers.c : durable timers of a leader. Rows are the truth; in memory there is one wheel entry for the earliest
 * and the last row that was proposed in this term. A row goes when its Timer record is applied (execution.md §18). */
#include "worker/partition_internal.h"

enum { FIRE_BATCH = 256, MORE_MS = 1, RETRY_MS = 10 };

static uint64_t wall_ms(const struct partition *p) {
    return loop_wall_ns(worker_loop(p->w)) / 1000000;
}

static int compare(const struct sm_timer *a, const struct sm_timer *b) {
    struct table_key x, y;

    key_timer(&x, a);
    key_timer(&y, b);
    return slice_cmp(table_key_slice(&x), table_key_slice(&y));
}

static void propose_fired(struct partition *p, const struct sm_timer *t) {
    struct cmd_timer m = {
        .time_ms = t->time_ms, .kind = t->kind, .id = invocation_id_slice(&t->id), .completion_id = t->completion_id};
    struct buf out = {0};

    cmd_timer_encode(&m, &out);
    partition_propose(p, &(struct propose){.kind = CMD_TIMER,
                                           .mode = PROPOSE_SELF,
                                           .partition_key = invocation_id_pk(&t->id),
                                           .payload = buf_slice(&out)});
    buf_done(&out);
}

static void arm(struct partition *p, uint64_t time_ms) {
    uint64_t now = wall_ms(p);

    p->timers.armed_ms = time_ms;
    timer_set(worker_loop(p->w), &p->timers.timer, time_ms > now ? (time_ms - now) * 1000000 : 0);
}

struct firing {
    struct partition *p;
    uint64_t now;
    unsigned n;
    uint64_t next_ms;
};

static int fire_row(void *arg, const struct sm_timer *t) {
    struct firing *f = arg;

    if (t->time_ms > f->now || f->n == FIRE_BATCH || !partition_writable(f->p)) {
        f->next_ms = t->time_ms;
        return 1;
    }
    propose_fired(f->p, t);
    f->p->timers.fired = *t;
    f->p->timers.any_fired = true;
    f->n++;
    return 0;
}

static void fire(struct partition *p);

static void fire_again(void *arg, int status, const struct err *err) {
    struct partition *p = arg;

    if (p->role == PARTITION_LEADER)
        fire(p);
}

static void fire(struct partition *p) {
    struct firing f = {.p = p, .now = wall_ms(p), .next_ms = UINT64_MAX};
    struct err err = {0};
    int r = tables_timers(&p->rows, p->timers.any_fired ? &p->timers.fired : NULL, fire_row, &f, &err);

    if (r == RS_EAGAIN) {
        partition_read_cold(p, fire_again, p);
        return;
    }
    if (r < 0) {
        partition_break(p, "cannot read its timers: %s", err.msg);
        return;
    }
    p->timers.armed_ms = UINT64_MAX;
    if (f.next_ms <= f.now) /* more is due than one turn takes; a timer without delay would fire in this one */
        arm(p, f.now + (partition_writable(p) ? MORE_MS : RETRY_MS));
    else if (f.next_ms != UINT64_MAX)
        arm(p, f.next_ms);
}

static void on_timer(void *arg) {
    fire(arg);
}

void leader_timers_init(struct partition *p) {
    timer_init(&p->timers.timer, on_timer, p);
}

void leader_timers_start(struct partition *p) {
    p->timers.any_fired = false;
    p->timers.armed_ms = UINT64_MAX;
    fire(p);
}

void leader_timers_stop(struct partition *p) {
    timer_stop(worker_loop(p->w), &p->timers.timer);
}

void leader_timers_added(struct partition *p, const struct sm_timer *t) {
    if (p->timers.any_fired && compare(t, &p->timers.fired) <= 0)
        propose_fired(p, t); /* behind the scan: it would never be seen */
    else if (t->time_ms < p->timers.armed_ms)
        arm(p, t->time_ms);
}
