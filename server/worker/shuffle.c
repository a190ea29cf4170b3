/* SPDX-License-Identifier: Apache-2.0 */
/* worker/shuffle.c : carries the outbox to other partitions: at least once, in order per destination, deduplicated
 * there by (partition, seq).
 *
 * A window of rows is looked at. Rows for a leader on this node are proposed there at once; rows for one on another
 * node go as batches, one under way per destination: the dedup keeps the highest number only, so a row must never
 * arrive behind a later one. A row is confirmed when its record was applied at the destination; the confirmed head is
 * truncated by a record of our own. */
#include "base/logging.h"
#include "worker/partition_internal.h"
#include "worker/peer_internal.h"

enum { RETRY_MIN_MS = 25, RETRY_MAX_MS = 1000, BATCH_BYTES = 1 << 20 };

struct delivery { /* of one row to a leader here */
    struct partition_waiter waiter;
    struct list link;
    struct partition *from; /* NULL: the sender no longer cares */
    uint64_t seq;
};

struct shuffle_batch { /* of rows to one leader elsewhere */
    struct list link;  /* of shuffle.batches */
    struct fabric_call f;
    struct partition *from;
    struct route *to;
    bool sent, full;
    size_t bytes;
    uint32_t n;
    uint64_t seqs[SHUFFLE_WINDOW];
    struct pp_row rows[SHUFFLE_WINDOW]; /* until it is sent: copies in the arena */
    struct arena arena;
};

static uint8_t *state_of(struct shuffle *s, uint64_t seq) {
    return &s->state[seq % SHUFFLE_WINDOW];
}

static void truncate_head(struct partition *p) {
    struct shuffle *s = &p->shuffle;
    struct cmd_truncate_outbox m;
    struct buf out = {0};

    while (s->head < s->next && *state_of(s, s->head) == ROW_CONFIRMED)
        s->head++;
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

static void delivered(struct partition *p, uint64_t seq, bool confirmed) {
    struct shuffle *s = &p->shuffle;

    if (seq < s->head || seq >= s->next)
        return;
    *state_of(s, seq) = confirmed ? ROW_CONFIRMED : ROW_WAITING;
    if (!confirmed)
        s->first_waiting = MIN(s->first_waiting, seq);
}

static void retry_later(struct partition *p) {
    struct shuffle *s = &p->shuffle;

    if (timer_armed(&s->retry))
        return;
    s->retry_ms = s->retry_ms ? MIN(s->retry_ms * 2, (uint64_t)RETRY_MAX_MS) : RETRY_MIN_MS;
    timer_set(worker_loop(p->w), &s->retry, s->retry_ms * 1000000);
}

/* ---- to a leader here ---- */

static void on_delivered(struct partition_waiter *w, int status) {
    struct delivery *d = CONTAINER_OF(w, struct delivery, waiter);
    struct partition *p = d->from;
    uint64_t seq = d->seq;

    list_remove(&d->link);
    free(d);
    if (!p)
        return;
    delivered(p, seq, status == 0); /* what arrived all the same is dropped there the second time */
    loop_hook_arm(worker_loop(p->w), &p->shuffle.hook);
}

static void deliver_here(struct partition *p, struct partition *to, uint64_t seq, uint64_t partition_key, uint16_t kind,
                         struct slice command) {
    struct delivery *d = xnew(struct delivery);

    d->from = p;
    d->seq = seq;
    d->waiter.done = on_delivered;
    list_push_back(&p->shuffle.in_flight, &d->link);
    partition_deliver(to, p->id, seq, kind, command, partition_key, &d->waiter);
}

/* ---- to a leader elsewhere ---- */

static void batch_free(struct shuffle_batch *b) {
    list_remove(&b->link);
    arena_done(&b->arena);
    free(b);
}

static void on_batch(struct fabric_call *f, enum rpc_status s, struct node_id from, struct slice reply,
                     struct bytes *frame, const struct err *why) {
    struct shuffle_batch *b = CONTAINER_OF(f, struct shuffle_batch, f);
    struct partition *p = b->from;
    struct pp_ingested m = {.code = WORKER_LOST_LEADERSHIP};
    struct arena a = {0};
    bool ok;

    (void)from;
    (void)frame;
    (void)why;
    if (s == RPC_OK && pp_ingested_decode(&m, reply, &a, NULL) < 0)
        m = (struct pp_ingested){.code = WORKER_LOST_LEADERSHIP};
    ok = s == RPC_OK && m.code == WORKER_OK;
    peer_take_hint(b->to, m.epoch, m.leader);
    for (uint32_t i = 0; i < b->n; i++)
        delivered(p, b->seqs[i], ok);
    batch_free(b);
    arena_done(&a);
    if (!ok) { /* not at once: calls to a dead node fail without a wait */
        retry_later(p);
        return;
    }
    p->shuffle.retry_ms = 0;
    loop_hook_arm(worker_loop(p->w), &p->shuffle.hook);
}

static struct shuffle_batch *batch_to(struct partition *p, const struct route *to) {
    LIST_FOREACH (e, &p->shuffle.batches)
        if (LIST_ENTRY(e, struct shuffle_batch, link)->to == to)
            return LIST_ENTRY(e, struct shuffle_batch, link);
    return NULL;
}

/* Returns whether it took the row. */
static bool add_to_batch(struct partition *p, struct route *to, uint64_t seq, uint64_t partition_key, uint16_t kind,
                         struct slice command) {
    struct shuffle_batch *b = batch_to(p, to);

    if (b && (b->full || b->n == SHUFFLE_WINDOW || b->bytes + command.len > BATCH_BYTES)) {
        b->full = true; /* nothing behind this row may overtake it */
        return false;
    }
    if (!b) {
        b = xnew(struct shuffle_batch);
        b->from = p;
        b->to = to;
        b->f.done = on_batch;
        list_push_back(&p->shuffle.batches, &b->link);
    }
    b->seqs[b->n] = seq;
    b->rows[b->n++] = (struct pp_row){
        .seq = seq, .kind = kind, .partition_key = partition_key, .command = arena_copy(&b->arena, command)};
    b->bytes += command.len;
    return true;
}

static void send_batch(struct partition *p, struct shuffle_batch *b) {
    struct pp_ingest m = {.partition = b->to->id, .from = p->id, .rows = b->rows, .n_rows = b->n};
    struct fabric_dest to = {.node = {.id = b->to->leader.id}};
    struct buf out = {0};
    struct bytes *body;

    b->sent = true;
    pp_ingest_encode(&m, &out);
    body = bytes_take_buf(&out);
    arena_done(&b->arena);
    fabric_call(p->w->params.fabric, &b->f, &to, LANE_INGRESS_DATA,
                &(struct fabric_message){.service = SERVICE_PARTITION_LEADER,
                                         .type = LEADER_INGEST,
                                         .has_sort_code = true,
                                         .sort_code = b->to->id,
                                         .parts = &body,
                                         .n_parts = 1},
                loop_now_ns(worker_loop(p->w)) + PEER_INGEST_TIMEOUT_NS);
    (void)bytes_unref(body);
}

/* ---- the window ---- */

static bool leads_elsewhere(const struct partition *p, const struct route *to) {
    return p->w->params.fabric && to->leader.id && to->leader.id != p->w->params.self.id;
}

/* Returns whether the row is on its way. */
static bool send_row(struct partition *p, uint64_t seq, uint64_t partition_key, uint16_t kind, struct slice command) {
    struct route *to = worker_route(p->w, partition_key);

    if (!to)
        return false;
    if (batch_to(p, to) && batch_to(p, to)->sent)
        return false; /* its answer comes back here */
    if (to->p && partition_role(to->p) == PARTITION_LEADER) {
        if (!partition_writable(to->p)) {
            retry_later(p);
            return false;
        }
        deliver_here(p, to->p, seq, partition_key, kind, command);
        return true;
    }
    if (leads_elsewhere(p, to))
        return add_to_batch(p, to, seq, partition_key, kind, command);
    retry_later(p);
    return false;
}

static int look_at_row(void *arg, uint64_t seq, uint64_t partition_key, uint16_t kind, struct slice command) {
    struct partition *p = arg;
    struct shuffle *s = &p->shuffle;

    if (s->next == s->head) /* nothing is known: numbers before it do not exist; after a restart it may be any */
        s->head = s->next = s->truncated = seq;
    if (seq < s->head)
        return 0; /* confirmed; its truncation is on its way */
    if (seq >= s->head + SHUFFLE_WINDOW)
        return 1;
    for (; s->next <= seq; s->next++) /* those between do not exist */
        *state_of(s, s->next) = s->next < seq ? ROW_CONFIRMED : ROW_WAITING;
    if (*state_of(s, seq) == ROW_WAITING && send_row(p, seq, partition_key, kind, command))
        *state_of(s, seq) = ROW_SENT;
    if (*state_of(s, seq) == ROW_WAITING)
        s->first_waiting = MIN(s->first_waiting, seq);
    return 0;
}

static void after_cold(void *arg, int status, const struct err *err) {
    struct partition *p = arg;

    if (p->role == PARTITION_LEADER)
        loop_hook_arm(worker_loop(p->w), &p->shuffle.hook);
}

static void pump(void *arg) {
    struct partition *p = arg;
    struct shuffle *s = &p->shuffle;
    uint64_t from;
    struct err err = {0};
    int r;

    if (p->role != PARTITION_LEADER)
        return;
    truncate_head(p);
    from = MIN(s->first_waiting, s->next);
    if (from >= s->tail)
        return;
    s->first_waiting = UINT64_MAX;
    r = tables_outbox(&p->rows, from, look_at_row, p, &err);
    if (r == RS_EAGAIN)
        s->first_waiting = MIN(from, s->first_waiting);
    LIST_FOREACH (e, &s->batches)
        if (!LIST_ENTRY(e, struct shuffle_batch, link)->sent)
            send_batch(p, LIST_ENTRY(e, struct shuffle_batch, link));
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
    list_init(&p->shuffle.batches);
    loop_hook_init(&p->shuffle.hook, pump, p);
    timer_init(&p->shuffle.retry, on_retry, p);
}

void shuffle_start(struct partition *p) {
    struct shuffle *s = &p->shuffle;

    s->next = s->head = s->truncated = s->retry_ms = 0;
    s->first_waiting = UINT64_MAX;
    s->tail = UINT64_MAX; /* the first scan tells what there is */
    loop_hook_arm(worker_loop(p->w), &s->hook);
}

void shuffle_stop(struct partition *p) {
    struct list *e;

    timer_stop(worker_loop(p->w), &p->shuffle.retry);
    loop_hook_disarm(&p->shuffle.hook);
    while ((e = list_pop_front(&p->shuffle.in_flight)))
        LIST_ENTRY(e, struct delivery, link)->from = NULL;
    while (!list_empty(&p->shuffle.batches)) {
        struct shuffle_batch *b = LIST_ENTRY(p->shuffle.batches.next, struct shuffle_batch, link);

        fabric_call_drop(p->w->params.fabric, &b->f);
        batch_free(b);
    }
}

void shuffle_added(struct partition *p, uint64_t seq) {
    if (p->shuffle.tail == UINT64_MAX || seq >= p->shuffle.tail)
        p->shuffle.tail = seq + 1;
    loop_hook_arm(worker_loop(p->w), &p->shuffle.hook);
}
