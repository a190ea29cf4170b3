/* SPDX-License-Identifier: Apache-2.0 */
/* The read stream of a log (spec cluster.md §12): history from a log-server, then live records from memory, each LSN
 * exactly once.
 *
 * A reader only moves inside the log's pump. Where it stands (`next`) decides everything: the segment, whether the
 * record is in memory, what to fetch; so nothing has to be handed over between history and live. */
#include <inttypes.h>
#include "log/log_internal.h"

#define DELIVER_MAX 256u
#define FETCH_BYTES (1u << 20)
#define RETRY_NS 50000000u
#define RETRY_MAX_NS 1000000000u

struct log_fetch {
    struct ls_get get;
    struct log_reader *reader; /* NULL: closed meanwhile */
    lsn_t base;                /* of the segment */
    bool arrived;
    uint32_t node;
    size_t pos; /* entries taken */
};

static void fetch_free(struct log_fetch *f) {
    ls_get_done(&f->get);
    free(f);
}

static void fail(struct log_reader *r, int status, const struct err *why) {
    r->stopped = true;
    r->in_callback = true;
    r->ev->failed(r->arg, status, why);
    r->in_callback = false;
}

/* Returns false when the receiver took less. */
static bool deliver(struct log_reader *r, struct bytes *const *records, size_t n) {
    size_t taken;

    r->resumed = false;
    r->in_callback = true;
    taken = r->ev->deliver(r->arg, r->next, records, n);
    r->in_callback = false;
    ASSERT(taken <= n);
    r->next += taken;
    r->tries = 0;
    if (taken == n)
        return true;
    r->paused = !r->resumed;
    if (r->resumed && !r->dead)
        log_touch(r->log);
    return false;
}

static void gap(struct log_reader *r, lsn_t to, enum log_gap kind) {
    r->next = to + 1;
    r->tries = 0;
    r->in_callback = true;
    r->ev->gap(r->arg, to, kind);
    r->in_callback = false;
}

/* ---- fetching ---- */

static void fetch_arrived(struct ls_req *req, const struct ls_reply *reply) {
    struct log_fetch *f = CONTAINER_OF(CONTAINER_OF(req, struct ls_get, h), struct log_fetch, get);
    struct log_reader *r = f->reader;

    if (!r) {
        fetch_free(f);
        return;
    }
    f->arrived = true;
    if (reply->status != LS_OK && f->get.error == 0)
        f->get.error = err_set(&f->get.err, RS_EAGAIN, "log %" PRIu32 ": N%" PRIu32 " answers %s", r->log->id, f->node,
                               ls_status_str(reply->status));
    log_touch(r->log);
}

/* The member to ask: this node first, then the others in turn; those said to be dead only when all are. */
static uint32_t fetch_node(const struct log_reader *r, const struct segment_params *p) {
    const struct log_node *n = r->log->node;
    uint32_t first = 0;
    const uint32_t turn = r->tries;

    for (uint32_t i = 0; i < p->n_nodes; i++)
        if (p->nodes[i] == n->p.self.id)
            first = i;
    for (uint32_t i = 0; i < p->n_nodes; i++) {
        uint32_t node = p->nodes[(first + turn + i) % p->n_nodes];

        if (log_router_alive(&n->router, node))
            return node;
    }
    return p->nodes[(first + turn) % p->n_nodes];
}

static void fetch_start(struct log_reader *r, const struct segment *s, uint32_t to) {
    struct log_fetch *f = r->fetch = xnew(struct log_fetch);

    f->reader = r;
    f->base = s->base;
    f->node = fetch_node(r, &s->params);
    f->get.h = (struct ls_req){.kind = LS_GET, .loglet_id = s->params.loglet_id, .done = fetch_arrived};
    f->get.from = (uint32_t)(r->next - s->base + 1);
    f->get.to = to;
    f->get.limit_bytes = FETCH_BYTES;
    log_router_submit(&r->log->node->router, f->node, &f->get.h);
}

/* Nothing usable came: another member, or later again; a lone member that lacks or damaged a committed record is the
 * end. */
static void fetch_failed(struct log_reader *r, struct log_fetch *f, const struct segment *s) {
    uint32_t members = s->params.n_nodes;
    uint64_t wait = RETRY_NS;
    struct err err = f->get.err;
    int error = f->get.error;

    r->tries++;
    if (error == 0)
        error = err_set(&err, RS_ECORRUPT, "log %" PRIu32 ": the record is missing", r->log->id);
    if (members == 1 && error != RS_EAGAIN) {
        err_wrap(&err, error, "log %" PRIu32 ", LSN %" PRIu64, r->log->id, r->next);
        fail(r, error, &err);
        return;
    }
    if (r->tries % members != 0) {
        log_touch(r->log);
        return;
    }
    for (uint32_t i = members; i < r->tries && wait < RETRY_MAX_NS; i += members)
        wait *= 2;
    timer_set(r->log->node->p.loop, &r->retry, wait);
}

/* Hand out what arrived. Returns false when the reader must stop for now. */
static bool fetch_deliver(struct log_reader *r, const struct segment *s) {
    struct log_fetch *f = r->fetch;
    struct bytes *batch[DELIVER_MAX];
    const lsn_t before = r->next;
    bool more = true;

    while (more && !r->dead && f->pos < f->get.n) {
        const struct ls_entry *e = &f->get.entries[f->pos];
        size_t n = 0;

        if (e->kind == LS_TRIM_GAP) {
            f->pos++;
            if (f->base + e->to - 1 >= r->next)
                gap(r, f->base + e->to - 1, LOG_GAP_TRIMMED);
            continue;
        }
        while (n < DELIVER_MAX && f->pos + n < f->get.n && e[n].kind == LS_DATA &&
               f->base + e[n].offset - 1 == r->next + n) {
            batch[n] = e[n].record;
            n++;
        }
        if (n == 0)
            break; /* a hole */
        more = deliver(r, batch, n);
        f->pos += (size_t)(r->next - (f->base + e->offset - 1));
    }
    if (r->dead || !more)
        return false;
    r->fetch = NULL;
    if (r->next == before)
        fetch_failed(r, f, s);
    more = r->next != before;
    fetch_free(f);
    return more && !r->dead;
}

/* ---- the stream ---- */

/* Deliver what is in memory. Returns false when the reader must stop for now; *ret_n is how many were there. */
static bool ring_deliver(struct log_reader *r, const struct segment *s, lsn_t end, bool *ret_any) {
    const struct record_ring *ring = record_ring_find(r->log->node->cache, s->params.loglet_id);
    struct bytes *batch[DELIVER_MAX];
    uint32_t offset = (uint32_t)(r->next - s->base + 1);
    size_t n = 0;
    bool more;

    while (ring && n < DELIVER_MAX && r->next + n < end && (batch[n] = record_ring_get(ring, offset + (uint32_t)n)))
        n++;
    *ret_any = n > 0;
    if (n == 0)
        return true;
    record_cache_hold(r->log->node->cache); /* the batch is borrowed from the ring */
    more = deliver(r, batch, n);
    record_cache_release(r->log->node->cache);
    return more;
}

/* One step. Returns false when there is nothing to do now. */
static bool step(struct log_reader *r) {
    const struct chain *c = log_chain(r->log);
    const struct segment *s;
    const struct record_ring *ring;
    lsn_t end;
    uint32_t to;
    bool any;
    int i;

    if (!c || r->dead || r->stopped || r->paused || timer_armed(&r->retry) || (r->fetch && !r->fetch->arrived))
        return false;
    i = chain_find(c, r->next);
    if (i < 0) {
        gap(r, c->segments[0].base - 1, LOG_GAP_TRIMMED);
        return true;
    }
    s = &c->segments[i];
    if (s->kind == SEGMENT_SEALED)
        return false;
    if (r->fetch && r->fetch->base == s->base && r->fetch->get.h.loglet_id == s->params.loglet_id)
        return fetch_deliver(r, s);
    if (r->fetch) { /* of a segment that is not there any more */
        fetch_free(TAKE(r->fetch));
    }
    end = i + 1 < (int)c->n ? s[1].base : s->base + log_open_tail(r->log, s) - 1;
    if (r->next >= end)
        return false; /* an open segment: chain_find() never gives a closed one here */
    if (!ring_deliver(r, s, end, &any))
        return false;
    if (any)
        return true;
    to = (uint32_t)(end - s->base);
    ring = record_ring_find(r->log->node->cache, s->params.loglet_id);
    if (ring && ring->first > r->next - s->base + 1 && ring->first <= to)
        to = ring->first - 1;
    fetch_start(r, s, to);
    return false;
}

void reader_pump(struct log_reader *r) {
    while (!r->log->closed && step(r)) {
    }
}

void reader_free(struct log_reader *r) {
    list_remove(&r->link);
    timer_stop(r->log->node->p.loop, &r->retry);
    if (r->fetch && r->fetch->arrived)
        fetch_free(r->fetch);
    else if (r->fetch)
        r->fetch->reader = NULL;
    free(r);
}

static void retry(void *arg) {
    const struct log_reader *r = arg;

    log_touch(r->log);
}

struct log_reader *log_read(struct log *l, lsn_t from, const struct log_reader_events *ev, void *arg) {
    struct log_reader *r = xnew(struct log_reader);

    ASSERT(from >= LSN_OLDEST);
    r->log = l;
    r->next = from;
    r->ev = ev;
    r->arg = arg;
    timer_init(&r->retry, retry, r);
    list_push_back(&l->readers, &r->link);
    log_touch(l);
    return r;
}

void log_reader_resume(struct log_reader *r) {
    r->resumed = true;
    r->paused = false;
    log_touch(r->log);
}

struct log_reader *log_reader_close(struct log_reader *r) {
    if (!r)
        return NULL;
    if (r->log->pumping) {
        r->dead = true; /* the pump frees it */
        log_touch(r->log);
    } else {
        reader_free(r);
    }
    return NULL;
}

lsn_t log_reader_next(const struct log_reader *r) {
    return r->next;
}

bool log_readable(const struct log *l, lsn_t from) {
    const struct chain *c = log_chain(l);
    int first = c ? chain_find(c, from) : 0;

    for (size_t i = (size_t)MAX(first, 0); c && i < c->n; i++) {
        const struct segment_params *p = &c->segments[i].params;
        bool alive = c->segments[i].kind == SEGMENT_SEALED;

        for (uint32_t k = 0; k < p->n_nodes && !alive; k++)
            alive = log_router_alive(&l->node->router, p->nodes[k]);
        if (!alive)
            return false;
    }
    return true;
}
