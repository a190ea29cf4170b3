/* SPDX-License-Identifier: Apache-2.0 */
/* worker/shuffle.c : carries the outbox to other partitions: in order, at least once, deduplicated there by (partition,
 * seq).
 *
 * Rows are sent in the order of their numbers; a destination that does not lead yet holds up those behind it. A row is
 * confirmed when its record was applied at the destination; the confirmed head is truncated by a record of our own. */
#include "worker/partition_internal.h"
#include "base/logging.h"

enum { RETRY_MIN_MS = 25, RETRY_MAX_MS = 1000 };

struct delivery {
    struct partition_waiter waiter;
    struct list link;
    struct partition *from; /* NULL: the sender no longer cares */
    uint64_t seq;
};

static void truncate_head(struct partition *p) {
    struct shuffle *s = &p->shuffle;
    struct cmd_truncate_outbox m;
    struct buf out = {0};

    while (s->head < s->next && s->confirmed[s->head % SHUFFLE_WINDOW]) {
        s->confirmed[s->head % SHUFFLE_WINDOW] = false;
        s->head++;
    }
    if (s->head == s->truncated)
        return;
    s->truncated = s->head;
    m = (struct cmd_truncate_outbox){.seq = s->head - 1};
    cmd_truncate_outbox_encode(&m, &out);
    partition_propose(
        p, &(struct propose){
               .kind = CMD_TRUNCATE_OUTBOX, .mode = PROPOSE_SELF, .no_key = true, .payload = buf_slice(&out)});
    buf_done(&out);
}

static void on_delivered(struct partition_waiter *w, int status) {
    struct delivery *d = CONTAINER_OF(w, struct delivery, waiter);
    struct partition *p = d->from;
    uint64_t seq = d->seq;

    list_remove(&d->link);
    free(d);
    if (!p)
        return;
    if (status == 0) {
        if (seq >= p->shuffle.head)
            p->shuffle.confirmed[seq % SHUFFLE_WINDOW] = true;
    } else if (seq < p->shuffle.next) {
        p->shuffle.next = MAX(seq, p->shuffle.head); /* send again from there; what arrived twice is dropped there */
    }
    loop_hook_arm(worker_loop(p->w), &p->shuffle.hook);
}

static int send_row(void *arg, uint64_t seq, uint64_t partition_key, uint16_t kind, struct slice command) {
    struct partition *p = arg, *to = worker_partition_of(p->w, partition_key);
    struct shuffle *s = &p->shuffle;
    struct delivery *d;

    if (s->next == s->head) /* nothing is under way: numbers before it do not exist; after a restart it may be any */
        s->head = s->next = s->truncated = seq;
    if (seq >= s->head + SHUFFLE_WINDOW)
        return 1;
    if (!to || partition_role(to) != PARTITION_LEADER || !partition_writable(to)) {
        s->retry_ms = s->retry_ms ? MIN(s->retry_ms * 2, (uint64_t)RETRY_MAX_MS) : RETRY_MIN_MS;
        timer_set(worker_loop(p->w), &s->retry, s->retry_ms * 1000000);
        return 1;
    }
    s->retry_ms = 0;
    for (uint64_t gap = s->next; gap < seq; gap++)
        s->confirmed[gap % SHUFFLE_WINDOW] = true;
    d = xnew(struct delivery);
    d->from = p;
    d->seq = seq;
    d->waiter.done = on_delivered;
    list_push_back(&s->in_flight, &d->link);
    s->confirmed[seq % SHUFFLE_WINDOW] = false;
    s->next = seq + 1;
    partition_deliver(to, p->id, seq, kind, command, partition_key, &d->waiter);
    return 0;
}

static void after_cold(void *arg, int status, const struct err *err) {
    struct partition *p = arg;

    if (p->role == PARTITION_LEADER)
        loop_hook_arm(worker_loop(p->w), &p->shuffle.hook);
}

static void pump(void *arg) {
    struct partition *p = arg;
    struct err err = {0};
    int r;

    if (p->role != PARTITION_LEADER)
        return;
    truncate_head(p);
    if (p->shuffle.next >= p->shuffle.tail || timer_armed(&p->shuffle.retry))
        return;
    r = tables_outbox(&p->rows, p->shuffle.next, send_row, p, &err);
    if (r == RS_EAGAIN)
        partition_read_cold(p, after_cold, p);
    else if (r < 0)
        partition_break(p, "cannot read its outbox: %s", err.msg);
}

static void on_retry(void *arg) {
    pump(arg);
}

void shuffle_init(struct partition *p) {
    list_init(&p->shuffle.in_flight);
    loop_hook_init(&p->shuffle.hook, pump, p);
    timer_init(&p->shuffle.retry, on_retry, p);
}

void shuffle_start(struct partition *p) {
    struct shuffle *s = &p->shuffle;

    s->next = s->head = s->truncated = 0;
    s->tail = UINT64_MAX; /* the first scan tells what there is */
    memset(s->confirmed, 0, sizeof s->confirmed);
    loop_hook_arm(worker_loop(p->w), &s->hook);
}

void shuffle_stop(struct partition *p) {
    struct list *e;

    timer_stop(worker_loop(p->w), &p->shuffle.retry);
    loop_hook_disarm(&p->shuffle.hook);
    while ((e = list_pop_front(&p->shuffle.in_flight)))
        LIST_ENTRY(e, struct delivery, link)->from = NULL;
}

void shuffle_added(struct partition *p, uint64_t seq) {
    if (p->shuffle.tail == UINT64_MAX || seq >= p->shuffle.tail)
        p->shuffle.tail = seq + 1;
    loop_hook_arm(worker_loop(p->w), &p->shuffle.hook);
}
