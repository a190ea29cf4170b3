/* SPDX-License-Identifier: Apache-2.0 */
/* worker/propose.c : records on their way to the log. All that is proposed in one loop turn is appended at its end.
 *
 * What all partitions have proposed and not applied yet shares the worker's budget: worker.proposed_bytes. Producers
 * ask partition_writable() before they make more. */
#include "worker/partition_internal.h"

struct proposal {
    struct list link;
    struct bytes *record;
    struct partition_waiter *waiter;
};

/* The leader's clock: unix ns, never going back within its term. */
static uint64_t created_at(struct partition *p) {
    uint64_t now = loop_wall_ns(worker_loop(p->w));

    if (now <= p->last_created_ns)
        now = p->last_created_ns + 1;
    p->last_created_ns = now;
    return now;
}

void partition_propose(struct partition *p, const struct propose *what) {
    struct record_header h = {.kind = what->kind, .created_at_ns = created_at(p)};
    struct proposal *pr = xnew(struct proposal);

    if (what->no_key) {
        h.keys = RECORD_KEYS_NONE;
    } else {
        h.keys = RECORD_KEYS_SINGLE;
        h.key[0] = what->partition_key;
    }
    if (what->mode == PROPOSE_SELF) {
        h.dedup = RECORD_DEDUP_SELF;
        h.dedup_epoch = p->epoch;
        h.dedup_seq = p->next_seq++;
    } else if (what->mode == PROPOSE_FOREIGN) {
        h.dedup = RECORD_DEDUP_PARTITION;
        h.dedup_partition = what->from;
        h.dedup_seq = what->seq;
    } else {
        h.dedup = RECORD_DEDUP_NONE;
    }
    pr->record = record_new(&h, what->payload);
    pr->waiter = what->waiter;
    if (pr->waiter)
        pr->waiter->lsn = 0;
    p->proposed_bytes += pr->record->len;
    worker_proposed(p->w, (int64_t)pr->record->len);
    list_push_back(&p->proposals, &pr->link);
    loop_hook_arm(worker_loop(p->w), &p->flush);
}

bool partition_writable(const struct partition *p) {
    return p->w->proposed_bytes < p->w->params.proposal_limit_bytes;
}

/* One append: as many proposals as fit a batch. */
static int append_batch(struct partition *p) {
    struct bytes *records[LIMIT_BATCH_RECORDS];
    size_t n = 0, size = 0;
    struct err err = {0};
    lsn_t first;
    int r;

    LIST_FOREACH (e, &p->proposals) {
        struct proposal *pr = LIST_ENTRY(e, struct proposal, link);

        if (n == LIMIT_BATCH_RECORDS || (n && size + pr->record->len > LIMIT_BATCH_BYTES))
            break;
        records[n++] = pr->record;
        size += pr->record->len;
    }
    if (n == 0)
        return 0;
    r = log_append(p->log, records, n, &first, &err);
    if (r < 0)
        return r;
    for (size_t i = 0; i < n; i++) {
        struct proposal *pr = LIST_ENTRY(list_pop_front(&p->proposals), struct proposal, link);

        if (pr->waiter) {
            pr->waiter->lsn = first + i;
            list_push_back(&p->waiters, &pr->waiter->link);
        }
        (void)bytes_unref(pr->record);
        free(pr);
    }
    return 0;
}

void partition_flush(void *arg) {
    struct partition *p = arg;

    while (!list_empty(&p->proposals) && log_is_leading(p->log)) {
        if (append_batch(p) < 0) /* full: the log's writable event; lost: its lost event */
            break;
    }
}

void partition_applied_bytes(struct partition *p, size_t n) {
    n = MIN(n, p->proposed_bytes);
    p->proposed_bytes -= n;
    worker_proposed(p->w, -(int64_t)n);
}

void partition_applied_upto(struct partition *p, lsn_t lsn) {
    while (!list_empty(&p->waiters)) {
        struct partition_waiter *w = LIST_ENTRY(p->waiters.next, struct partition_waiter, link);

        if (w->lsn > lsn)
            break;
        list_remove(&w->link);
        w->done(w, 0);
    }
}

void partition_drop_proposals(struct partition *p) {
    struct list waiters, proposals;
    struct list *e;

    list_init(&waiters);
    list_init(&proposals);
    list_splice(&waiters, &p->waiters);
    list_splice(&proposals, &p->proposals);
    partition_applied_bytes(p, p->proposed_bytes);
    while ((e = list_pop_front(&proposals))) {
        struct proposal *pr = LIST_ENTRY(e, struct proposal, link);

        if (pr->waiter)
            list_push_back(&waiters, &pr->waiter->link);
        (void)bytes_unref(pr->record);
        free(pr);
    }
    while ((e = list_pop_front(&waiters))) {
        struct partition_waiter *w = LIST_ENTRY(e, struct partition_waiter, link);

        w->done(w, RS_ECLOSED);
    }
}
