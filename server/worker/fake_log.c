/* SPDX-License-Identifier: Apache-2.0 */
#include "worker/fake_log.h"

struct log_reader {
    struct log *l;
    lsn_t next;
    bool paused, failed;
    const struct log_reader_events *ev;
    void *arg;
};
struct log {
    struct fake_log *f;
    struct loop *loop;
    const struct log_events *ev;
    void *arg;
    struct log_reader *reader;
    struct timer turn; /* there is something to report */
    bool reporting;    /* log_close() leaves the memory to report() */
    bool leading, lost, writable;
    epoch_t tail_epoch;
    log_lead_fn lead;
    void *lead_arg;
    bool lead_due;
    int lead_status, lost_status;
    log_tail_fn tail;
    void *tail_arg;
    log_done_fn trim;
    void *trim_arg;
    lsn_t gap;
    enum log_gap gap_kind;
    struct err reader_error;
};

/* ---- reporting, one thing after the other, in a turn of its own ---- */

static void soon(struct log *l) {
    timer_set(l->loop, &l->turn, 0);
}

static void report_lead(struct log *l) {
    log_lead_fn done = TAKE(l->lead);
    struct err err = {0};

    l->lead_due = false;
    if (!done)
        return;
    l->leading = l->lead_status == 0;
    if (l->lead_status < 0)
        (void)err_set(&err, l->lead_status, "the log says no");
    done(l->lead_arg, l->lead_status, l->f->n + 1, l->lead_status < 0 ? &err : NULL);
}

static void report_lost(struct log *l) {
    struct err err;

    l->lost = false;
    (void)err_set(&err, l->lost_status, "sealed");
    l->ev->lost(l->arg, l->lost_status, l->tail_epoch, &err);
}

static void deliver(struct log *l) {
    struct log_reader *r = l->reader;
    size_t until = r->next, taken;

    if (l->f->stopped)
        return;
    while (until <= l->f->committed && l->f->records[until - 1])
        until++;
    if (until == r->next)
        return;
    taken = r->ev->deliver(r->arg, r->next, l->f->records + r->next - 1, until - r->next);
    if (l->reader != r)
        return; /* it was closed */
    r->paused = taken < until - r->next;
    r->next += taken;
}

static void report(void *arg) {
    struct log *l = arg;
    struct fake_log *f = l->f;

    l->reporting = true;
    if (l->lead_due)
        report_lead(l);
    if (f->open == l && l->tail) {
        log_tail_fn done = TAKE(l->tail);
        struct err err = {.code = f->tail_fails};

        done(l->tail_arg, f->tail_fails, f->tail ? f->tail : f->n + 1, f->tail_fails ? &err : NULL);
    }
    if (f->open == l && l->trim) {
        log_done_fn done = TAKE(l->trim);
        struct err err = {.code = f->trim_fails};

        done(l->trim_arg, f->trim_fails, f->trim_fails ? &err : NULL);
    }
    if (f->open == l && l->lost)
        report_lost(l);
    if (f->open == l && l->writable) {
        l->writable = false;
        l->ev->writable(l->arg);
    }
    if (f->open == l && l->gap && l->reader) {
        lsn_t to = l->gap;

        l->gap = 0;
        l->reader->next = MAX(l->reader->next, to + 1);
        l->reader->ev->gap(l->reader->arg, to, l->gap_kind);
    }
    if (f->open == l && l->reader_error.code && l->reader) {
        l->reader->failed = true;
        l->reader->ev->failed(l->reader->arg, l->reader_error.code, &l->reader_error);
    }
    if (f->open == l && l->reader && !l->reader->paused && !l->reader->failed)
        deliver(l);
    l->reporting = false;
    if (f->open != l)
        free(l); /* closed by what was reported */
}

/* ---- log.h ---- */

struct log *log_open(struct log_node *n, log_id_t id, const struct log_events *ev, void *arg) {
    struct log *l = xnew(struct log);

    ASSERT(id < FAKE_LOGS && !n->logs[id].open);
    *l = (struct log){.f = &n->logs[id], .loop = n->loop, .ev = ev, .arg = arg};
    timer_init(&l->turn, report, l);
    n->logs[id].open = l;
    return l;
}

static void never_happened(struct fake_log *f) {
    while (f->n > f->committed)
        (void)bytes_unref(f->records[--f->n]);
}

static void stop_leading(struct log *l) {
    if (l->leading)
        never_happened(l->f);
    l->leading = l->lost = l->lead_due = l->f->lead_wanted = false;
    l->lead = NULL;
}

struct log *log_close(struct log *l) {
    stop_leading(l);
    timer_stop(l->loop, &l->turn);
    l->f->open = NULL;
    ASSERT(!l->reader);
    if (!l->reporting)
        free(l);
    return NULL;
}

void log_lead(struct log *l, epoch_t epoch, log_lead_fn done, void *arg) {
    struct fake_log *f = l->f;

    f->leads++;
    l->tail_epoch = epoch;
    l->lead = done;
    l->lead_arg = arg;
    l->lead_status = f->lead_fails;
    f->lead_wanted = f->hold_lead;
    l->lead_due = !f->hold_lead;
    soon(l);
}

void log_resign(struct log *l) {
    l->f->resigns++;
    stop_leading(l);
}

bool log_is_leading(const struct log *l) {
    return l->leading;
}

bool log_readable(const struct log *l, lsn_t from) {
    return !l->f->unreadable;
}

lsn_t log_committed_tail(const struct log *l) {
    return l->f->committed + 1;
}

void log_info(const struct log *l, struct log_info *ret) {
    *ret = (struct log_info){.exists = true, .leading = l->leading, .segments = l->f->segments};
}

static void append_one(struct fake_log *f, struct bytes *take) {
    if (f->n == f->cap) {
        f->cap = f->cap ? 2 * f->cap : 64;
        f->records = xrealloc(f->records, f->cap * sizeof *f->records);
    }
    f->records[f->n++] = take;
}

int log_append(struct log *l, struct bytes *const *records, size_t n, lsn_t *ret_first, struct err *err) {
    struct fake_log *f = l->f;

    f->appends++;
    if (!l->leading)
        return err_set(err, RS_ECLOSED, "not leading");
    if (f->append_fails)
        return err_set(err, f->append_fails, "no append");
    if (f->append_max && n > f->append_max)
        return err_set(err, RS_EAGAIN, "the window is full");
    *ret_first = f->n + 1;
    for (size_t i = 0; i < n; i++)
        append_one(f, bytes_ref(records[i]));
    if (!f->hold)
        f->committed = f->n;
    soon(l);
    return 0;
}

struct log_reader *log_read(struct log *l, lsn_t from, const struct log_reader_events *ev, void *arg) {
    struct log_reader *r = xnew(struct log_reader);

    ASSERT(!l->reader && from >= 1);
    *r = (struct log_reader){.l = l, .next = from, .ev = ev, .arg = arg};
    l->reader = r;
    soon(l);
    return r;
}

void log_reader_resume(struct log_reader *r) {
    r->paused = false;
    soon(r->l);
}

struct log_reader *log_reader_close(struct log_reader *r) {
    r->l->reader = NULL;
    free(r);
    return NULL;
}

void log_find_tail(struct log *l, log_tail_fn done, void *arg) {
    l->f->tails++;
    l->tail = done;
    l->tail_arg = arg;
    soon(l);
}

void log_trim(struct log *l, lsn_t upto, log_done_fn done, void *arg) {
    l->f->trims++;
    l->f->trimmed = MAX(l->f->trimmed, upto);
    l->trim = done;
    l->trim_arg = arg;
    soon(l);
}

/* ---- the test's side ---- */

void fake_log_init(struct log_node *n, struct loop *loop) {
    *n = (struct log_node){.loop = loop};
}

void fake_log_done(struct log_node *n) {
    for (unsigned i = 0; i < FAKE_LOGS; i++) {
        struct fake_log *f = &n->logs[i];

        ASSERT(!f->open);
        for (size_t k = 0; k < f->n; k++)
            (void)bytes_unref(f->records[k]);
        free(f->records);
    }
}

lsn_t fake_log_put(struct log_node *n, uint32_t log, struct bytes *take) {
    struct fake_log *f = &n->logs[log];

    never_happened(f);
    append_one(f, take);
    f->committed = f->n;
    if (f->open)
        soon(f->open);
    return f->n;
}

void fake_log_go_on(struct log_node *n, uint32_t log) {
    n->logs[log].stopped = false;
    soon(n->logs[log].open);
}

void fake_log_commit(struct log_node *n, uint32_t log, size_t more) {
    struct fake_log *f = &n->logs[log];

    f->committed = MIN(f->committed + more, f->n);
    soon(f->open);
}

void fake_log_answer_lead(struct log_node *n, uint32_t log, int status) {
    struct log *l = n->logs[log].open;

    ASSERT(n->logs[log].lead_wanted && l->lead);
    n->logs[log].lead_wanted = false;
    l->lead_status = status;
    l->lead_due = true;
    soon(l);
}

void fake_log_lose(struct log_node *n, uint32_t log, int status, epoch_t tail_epoch) {
    struct log *l = n->logs[log].open;

    ASSERT(l->leading);
    stop_leading(l);
    l->lost = true;
    l->lost_status = status;
    l->tail_epoch = tail_epoch;
    soon(l);
}

void fake_log_writable(struct log_node *n, uint32_t log) {
    n->logs[log].open->writable = true;
    soon(n->logs[log].open);
}

void fake_log_gap(struct log_node *n, uint32_t log, lsn_t to, enum log_gap kind) {
    struct log *l = n->logs[log].open;

    l->gap = to;
    l->gap_kind = kind;
    soon(l);
}

void fake_log_fail_reader(struct log_node *n, uint32_t log, int status, const char *why) {
    struct log *l = n->logs[log].open;

    (void)err_set(&l->reader_error, status, "%s", why);
    soon(l);
}
