/* SPDX-License-Identifier: Apache-2.0 */
#include "log/sequencer.h"

#include <inttypes.h>
#include "log/log_server_internal.h"

#define RETRY_NS 10000000u
#define RETRY_MAX_NS 1000000000u
#define RELEASE_NS 5000000u /* peers learn a new tail this late when no store carries it */

struct append;
struct send { /* one store to one member */
    struct ls_store req;
    struct append *append;
    uint32_t member;
    uint64_t backoff_ns;
    struct timer retry;
    bool waiting; /* for an answer or for the timer */
};

struct append {
    struct list link;
    struct sequencer *seq;
    uint32_t first, n;
    uint64_t bytes;
    struct quorum_mask done;
    bool committed;
    uint32_t waiting; /* sends */
    uint32_t n_sends;
    struct send sends[];
};

struct sequencer {
    struct sequencer_params p;
    struct quorum quorum;
    struct record_ring *ring;
    struct list inflight; /* not committed, by offset */
    uint32_t next, committed;
    uint64_t records, bytes;              /* in flight */
    struct quorum_mask refused, disabled; /* members that are sealed or take no writes; the latter */
    struct timer release;
    bool full; /* somebody waits for `writable` */
    bool stopped, freed;
    uint32_t appends; /* alive, committed or not */
};

static void send_answered(struct ls_req *req, const struct ls_reply *reply);

/* ---- life ---- */

static void release_members(void *arg) {
    struct sequencer *s = arg;

    for (uint32_t i = 0; i < s->quorum.n; i++)
        log_router_release(s->p.router, s->quorum.members[i].node, s->p.loglet_id, s->committed);
}

struct sequencer *sequencer_new(const struct sequencer_params *p) {
    struct sequencer *s = xnew(struct sequencer);

    s->p = *p;
    s->quorum = *p->quorum;
    s->p.quorum = NULL;
    s->ring = record_ring_open(p->cache, p->loglet_id);
    list_init(&s->inflight);
    s->next = s->committed = 1;
    timer_init(&s->release, release_members, s);
    return s;
}

static void append_free(struct append *a) {
    struct sequencer *s = a->seq;

    list_remove(&a->link);
    free(a);
    s->appends--;
    if (s->freed && s->appends == 0)
        free(s);
}

struct sequencer *sequencer_free(struct sequencer *s) {
    if (!s)
        return NULL;
    s->freed = s->stopped = true;
    s->ring = record_ring_unref(s->ring);
    timer_stop(s->p.loop, &s->release);
    if (s->appends == 0) {
        free(s);
        return NULL;
    }
    s->appends++; /* a guard while sends that only wait for a timer are given up */
    LIST_FOREACH_SAFE (l, &s->inflight) {
        struct append *a = LIST_ENTRY(l, struct append, link);

        for (uint32_t i = 0; i < a->n_sends; i++) {
            if (!timer_armed(&a->sends[i].retry))
                continue;
            timer_stop(s->p.loop, &a->sends[i].retry);
            a->waiting--;
        }
        if (a->waiting == 0)
            append_free(a);
    }
    if (--s->appends == 0)
        free(s);
    return NULL;
}

/* ---- commit ---- */

static void stop(struct sequencer *s, int status, const struct err *why) {
    if (s->stopped)
        return;
    s->stopped = true;
    s->p.events->stopped(s->p.arg, status, why);
}

static void advance(struct sequencer *s) {
    uint32_t before = s->committed;

    while (!list_empty(&s->inflight)) {
        struct append *a = LIST_ENTRY(s->inflight.next, struct append, link);

        if (!quorum_is_write(&s->quorum, &a->done))
            break;
        a->committed = true;
        s->committed = a->first + a->n;
        s->records -= a->n;
        s->bytes -= a->bytes;
        list_remove(&a->link);
        if (a->waiting == 0)
            append_free(a);
    }
    if (s->committed == before || s->freed)
        return;
    record_ring_commit(s->ring, s->committed);
    log_router_release(s->p.router, s->p.self.id, s->p.loglet_id, s->committed);
    if (s->quorum.n > 1 && !timer_armed(&s->release))
        timer_set(s->p.loop, &s->release, RELEASE_NS);
    s->p.events->committed(s->p.arg, s->committed);
    if (!s->freed && s->full && sequencer_writable(s)) {
        s->full = false;
        s->p.events->writable(s->p.arg);
    }
}

/* A member will take no more stores: is a write quorum left? */
static void refuse(struct sequencer *s, uint32_t member, enum ls_status status) {
    struct quorum_mask left = {{0}};
    struct err why;
    bool disabled = false;

    quorum_mask_set(&s->refused, member);
    if (status == LS_DISABLED)
        quorum_mask_set(&s->disabled, member);
    for (uint32_t i = 0; i < s->quorum.n; i++) {
        if (!quorum_mask_has(&s->refused, i))
            quorum_mask_set(&left, i);
        disabled = disabled || quorum_mask_has(&s->disabled, i);
    }
    if (quorum_is_write(&s->quorum, &left))
        return;
    err_set(&why, disabled ? RS_EIO : RS_ECLOSED, "log %" PRIu32 ", segment %" PRIu32 ": %s",
            loglet_id_log(s->p.loglet_id), loglet_id_index(s->p.loglet_id),
            disabled ? "the log-servers do not accept writes any more" : "the segment was sealed");
    stop(s, why.code, &why);
}

/* ---- sends ---- */

static void send_again(void *arg) {
    struct send *d = arg;
    struct append *a = d->append;
    struct sequencer *s = a->seq;
    struct bytes **records;

    if (a->committed || s->stopped) { /* the member learns of it through the next store, or from repair */
        a->waiting--;
        if (a->waiting == 0 && (a->committed || s->freed))
            append_free(a);
        return;
    }
    records = xnewn(struct bytes *, a->n);
    for (uint32_t i = 0; i < a->n; i++) {
        records[i] = record_ring_get(s->ring, a->first + i);
        ASSERT(records[i]); /* records in flight are never evicted */
    }
    d->req.h.global_tail = s->committed;
    d->req.records = records;
    log_router_submit(s->p.router, s->quorum.members[d->member].node, &d->req.h);
    free(records);
}

static void send_answered(struct ls_req *req, const struct ls_reply *reply) {
    struct send *d = CONTAINER_OF(CONTAINER_OF(req, struct ls_store, h), struct send, req);
    struct append *a = d->append;
    struct sequencer *s = a->seq;
    const uint32_t member = d->member;
    const enum ls_status status = reply->status;

    if (!a->committed && !s->stopped && status != LS_OK && status != LS_SEALED && status != LS_SEALING &&
        status != LS_DISABLED && status != LS_SEQUENCER_MISMATCH && status != LS_MALFORMED) {
        d->backoff_ns = MIN(MAX(d->backoff_ns * 2, (uint64_t)RETRY_NS), (uint64_t)RETRY_MAX_NS);
        timer_set(s->p.loop, &d->retry, d->backoff_ns);
        return;
    }
    a->waiting--;
    if (status == LS_OK)
        quorum_mask_set(&a->done, member);
    if (a->waiting == 0 && (a->committed || s->freed)) {
        append_free(a);
        return;
    }
    if (s->freed)
        return;
    if (status == LS_OK)
        advance(s);
    else if (!a->committed)
        refuse(s, member, status);
}

bool sequencer_writable(const struct sequencer *s) {
    return !s->stopped && s->records < s->p.window_records && s->bytes < s->p.window_bytes;
}

int sequencer_append(struct sequencer *s, struct bytes *const *records, uint32_t n, uint32_t *ret_first,
                     struct err *err) {
    struct append *a;

    ASSERT(n > 0);
    if (s->stopped || s->next > LS_OFFSET_MAX - n)
        return err_set(err, RS_ECLOSED, "log %" PRIu32 ": segment %" PRIu32 " takes no more records",
                       loglet_id_log(s->p.loglet_id), loglet_id_index(s->p.loglet_id));
    if (!sequencer_writable(s)) {
        s->full = true;
        return err_set(err, RS_EAGAIN, "log %" PRIu32 ": %" PRIu64 " records in flight", loglet_id_log(s->p.loglet_id),
                       s->records);
    }
    a = xcalloc(1, sizeof *a + s->quorum.n * sizeof a->sends[0]);
    a->seq = s;
    a->first = s->next;
    a->n = n;
    for (uint32_t i = 0; i < n; i++) {
        a->bytes += records[i]->len;
        record_ring_add(s->ring, s->next + i, records[i]);
    }
    s->next += n;
    s->records += n;
    s->bytes += a->bytes;
    s->appends++;
    list_push_back(&s->inflight, &a->link);
    for (uint32_t i = 0; i < s->quorum.n; i++) {
        struct send *d = &a->sends[a->n_sends];

        if (!s->quorum.members[i].candidate || quorum_mask_has(&s->refused, i))
            continue;
        a->n_sends++;
        a->waiting++;
        *d = (struct send){.append = a, .member = i};
        timer_init(&d->retry, send_again, d);
        d->req = (struct ls_store){
            .h = {.kind = LS_STORE, .loglet_id = s->p.loglet_id, .global_tail = s->committed, .done = send_answered},
            .first_offset = a->first,
            .sequencer = s->p.self,
            .from_sequencer = true,
            .records = records,
            .n = n};
    }
    for (uint32_t i = 0; i < a->n_sends; i++)
        log_router_submit(s->p.router, s->quorum.members[a->sends[i].member].node, &a->sends[i].req.h);
    *ret_first = a->first;
    return 0;
}

uint32_t sequencer_next(const struct sequencer *s) {
    return s->next;
}
uint32_t sequencer_committed(const struct sequencer *s) {
    return s->committed;
}
struct record_ring *sequencer_ring(const struct sequencer *s) {
    return s->ring;
}
void sequencer_inflight(const struct sequencer *s, uint64_t *ret_records, uint64_t *ret_bytes) {
    *ret_records = s->records;
    *ret_bytes = s->bytes;
}
