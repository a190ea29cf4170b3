/* SPDX-License-Identifier: Apache-2.0 */
#include "log/sequencer.h"

#include <inttypes.h>
#include "log/log_server_internal.h"

#define RETRY_NS 10000000u
#define RETRY_MAX_NS 250000000u
#define RELEASE_NS 5000000u /* peers learn a new tail this late when no store carries it */

struct append;
enum send_state {
    SEND_HELD, /* not sent, or in vain: goes when the member is back */
    SEND_UNDER_WAY,
    SEND_ANSWERED
};
struct send { /* one store to one member */
    struct ls_store req;
    struct append *append;
    uint32_t member;
    enum send_state state;
};

struct append {
    struct list link;
    struct sequencer *seq;
    uint32_t first, n;
    uint64_t bytes;
    struct quorum_mask done;
    bool committed;
    uint32_t waiting; /* sends under way */
    uint32_t n_sends;
    struct send sends[];
};

/* A member that fails gets one store at a time, the oldest it may still need, until it takes one; then all at once. */
struct member {
    struct sequencer *seq;
    bool behind;
    uint64_t backoff_ns;
    struct timer probe;
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
    struct member members[];
};

static void send_answered(struct ls_req *req, const struct ls_reply *reply);
static void probe(void *arg);

/* ---- life ---- */

static void release_members(void *arg) {
    struct sequencer *s = arg;

    for (uint32_t i = 0; i < s->quorum.n; i++)
        log_router_release(s->p.router, s->quorum.members[i].node, s->p.loglet_id, s->committed);
}

struct sequencer *sequencer_new(const struct sequencer_params *p) {
    struct sequencer *s = xcalloc(1, sizeof *s + p->quorum->n * sizeof s->members[0]);

    s->p = *p;
    s->quorum = *p->quorum;
    s->p.quorum = NULL;
    s->ring = record_ring_open(p->cache, p->loglet_id);
    list_init(&s->inflight);
    s->next = s->committed = 1;
    timer_init(&s->release, release_members, s);
    for (uint32_t i = 0; i < s->quorum.n; i++) {
        s->members[i].seq = s;
        timer_init(&s->members[i].probe, probe, &s->members[i]);
    }
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
    for (uint32_t i = 0; i < s->quorum.n; i++)
        timer_stop(s->p.loop, &s->members[i].probe);
    s->appends++; /* a guard while appends with nothing under way go */
    LIST_FOREACH_SAFE (l, &s->inflight) {
        struct append *a = LIST_ENTRY(l, struct append, link);

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

static void send_start(struct send *d, struct bytes *const *records) {
    struct append *a = d->append;
    const struct sequencer *s = a->seq;

    d->state = SEND_UNDER_WAY;
    a->waiting++;
    d->req.h.global_tail = s->committed;
    d->req.records = records;
    log_router_submit(s->p.router, s->quorum.members[d->member].node, &d->req.h);
}

static void send_again(struct send *d) {
    const struct append *a = d->append;
    struct bytes **records = xnewn(struct bytes *, a->n);

    for (uint32_t i = 0; i < a->n; i++) {
        records[i] = record_ring_get(a->seq->ring, a->first + i);
        ASSERT(records[i]); /* records in flight are never evicted */
    }
    send_start(d, records);
    free(records);
}

static struct send *held_send(struct append *a, uint32_t member) {
    for (uint32_t i = 0; i < a->n_sends; i++)
        if (a->sends[i].member == member)
            return a->sends[i].state == SEND_HELD ? &a->sends[i] : NULL;
    return NULL;
}

/* @all: everything that is held back for the member, in order; else only the oldest. Returns whether there was any. */
static bool send_held(struct sequencer *s, uint32_t member, bool all) {
    bool any = false;

    LIST_FOREACH (l, &s->inflight) {
        struct send *d = held_send(LIST_ENTRY(l, struct append, link), member);

        if (!d)
            continue;
        send_again(d);
        any = true;
        if (!all)
            break;
    }
    return any;
}

static void probe(void *arg) {
    struct member *m = arg;
    struct sequencer *s = m->seq;
    const uint32_t i = (uint32_t)(m - s->members);

    if (s->stopped || quorum_mask_has(&s->refused, i) || !send_held(s, i, false))
        m->behind = false; /* the next append finds out */
}

static void hold(struct sequencer *s, uint32_t member) {
    struct member *m = &s->members[member];

    m->behind = true;
    if (timer_armed(&m->probe))
        return;
    m->backoff_ns = MIN(MAX(m->backoff_ns * 2, (uint64_t)RETRY_NS), (uint64_t)RETRY_MAX_NS);
    timer_set(s->p.loop, &m->probe, m->backoff_ns);
}

static void caught(struct sequencer *s, uint32_t member) {
    struct member *m = &s->members[member];

    m->backoff_ns = 0;
    if (!m->behind)
        return;
    m->behind = false;
    timer_stop(s->p.loop, &m->probe);
    (void)send_held(s, member, true);
}

static bool is_final(enum ls_status s) {
    return s == LS_SEALED || s == LS_SEALING || s == LS_DISABLED || s == LS_SEQUENCER_MISMATCH || s == LS_MALFORMED;
}

static void send_answered(struct ls_req *req, const struct ls_reply *reply) {
    struct send *d = CONTAINER_OF(CONTAINER_OF(req, struct ls_store, h), struct send, req);
    struct append *a = d->append;
    struct sequencer *s = a->seq;
    const uint32_t member = d->member;
    const enum ls_status status = reply->status;
    const bool committed = a->committed;

    d->state = SEND_ANSWERED;
    a->waiting--;
    if (status == LS_OK)
        quorum_mask_set(&a->done, member);
    else if (!is_final(status))
        d->state = SEND_HELD;
    if (a->waiting == 0 && (committed || s->freed)) {
        const bool freed = s->freed;

        append_free(a); /* with the last one of a freed sequencer goes the sequencer */
        if (freed)
            return;
    }
    if (s->freed)
        return;
    if (status == LS_OK) {
        if (!s->stopped)
            caught(s, member);
        advance(s);
    } else if (!is_final(status)) {
        if (!s->stopped)
            hold(s, member);
    } else if (!committed) {
        refuse(s, member, status);
    }
}

bool sequencer_writable(const struct sequencer *s) {
    return !s->stopped && s->records < s->p.window_records && s->bytes < s->p.window_bytes;
}

/* To all members but those that are behind and those that are said to be dead; who is held back is asked again and
 * again while the append is not committed. What is said does not count when it leaves no write quorum. */
static void spread(struct sequencer *s, struct append *a, struct bytes *const *records) {
    struct quorum_mask alive = {{0}};
    bool enough;

    for (uint32_t i = 0; i < a->n_sends; i++)
        if (log_router_alive(s->p.router, s->quorum.members[a->sends[i].member].node))
            quorum_mask_set(&alive, a->sends[i].member);
    enough = quorum_is_write(&s->quorum, &alive);
    for (uint32_t i = 0; i < a->n_sends; i++) {
        struct send *d = &a->sends[i];

        if (s->members[d->member].behind || (enough && !quorum_mask_has(&alive, d->member)))
            hold(s, d->member);
        else
            send_start(d, records);
    }
}

static void append(struct sequencer *s, struct bytes *const *records, uint32_t n) {
    struct append *a = xcalloc(1, sizeof *a + s->quorum.n * sizeof a->sends[0]);

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
        *d = (struct send){.append = a, .member = i};
        d->req = (struct ls_store){.h = {.kind = LS_STORE, .loglet_id = s->p.loglet_id, .done = send_answered},
                                   .first_offset = a->first,
                                   .sequencer = s->p.self,
                                   .from_sequencer = true,
                                   .n = n};
    }
    spread(s, a, records);
}

int sequencer_append(struct sequencer *s, struct bytes *const *records, uint32_t n, uint32_t *ret_first,
                     struct err *err) {
    ASSERT(n > 0);
    if (s->stopped || s->next > LS_OFFSET_MAX - n)
        return err_set(err, RS_ECLOSED, "log %" PRIu32 ": segment %" PRIu32 " takes no more records",
                       loglet_id_log(s->p.loglet_id), loglet_id_index(s->p.loglet_id));
    if (!sequencer_writable(s)) {
        s->full = true;
        return err_set(err, RS_EAGAIN, "log %" PRIu32 ": %" PRIu64 " records in flight", loglet_id_log(s->p.loglet_id),
                       s->records);
    }
    *ret_first = s->next;
    append(s, records, n);
    return 0;
}

void sequencer_adopt(struct sequencer *s, const struct sequencer *old, uint32_t from) {
    ASSERT(s->next == 1 && from >= old->committed && from <= old->next);
    LIST_FOREACH (l, &old->inflight) {
        const struct append *a = LIST_ENTRY(l, struct append, link);
        uint32_t first = MAX(a->first, from), n = 0;
        struct bytes **records;

        if (a->first + a->n <= from)
            continue;
        records = xnewn(struct bytes *, a->n);
        for (uint32_t o = first; o < a->first + a->n; o++) {
            records[n] = record_ring_get(old->ring, o);
            ASSERT(records[n]); /* records in flight are never evicted */
            n++;
        }
        append(s, records, n);
        free(records);
    }
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
