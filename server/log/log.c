/* SPDX-License-Identifier: Apache-2.0 */
/* Handles of the log layer, the pump of each log, and appending. */
#include "log/log.h"

#include <inttypes.h>
#include "base/limits.h"
#include "log/log_internal.h"

#define CACHE_DEFAULT_BYTES (16u << 20)
#define WATCH_RETRY_NS 1000000000u
#define POLL_NS 1000000000u
#define POLL_MAX_NS 8000000000u

/* ---- what is known about a log ---- */

const struct chain *log_chain(const struct log *l) {
    return l->node->chains.current ? logs_config_chain(l->node->chains.current, l->id) : NULL;
}

uint32_t log_open_tail(const struct log *l, const struct segment *tail) {
    uint32_t known = 1, trim_point;
    struct ls_reply reply;

    if (l->seq && l->loglet == tail->params.loglet_id)
        return sequencer_committed(l->seq);
    if (l->hint_loglet == tail->params.loglet_id)
        known = MAX(known, l->hint_tail);
    if (l->node->p.server) {
        log_server_peek(l->node->p.server, tail->params.loglet_id, &reply, &trim_point);
        known = MAX(known, reply.global_tail);
    }
    return known;
}

lsn_t log_committed_tail(const struct log *l) {
    const struct chain *c = log_chain(l);
    const struct segment *tail;
    lsn_t known;

    if (!c)
        return MAX(l->committed, LSN_OLDEST);
    tail = chain_tail(c);
    known = tail->kind == SEGMENT_SEALED ? tail->base : tail->base + log_open_tail(l, tail) - 1;
    return MAX(l->committed, known);
}

/* ---- being told of a tail that moves elsewhere ---- */

void log_tail_told(struct log *l, uint64_t loglet_id, uint32_t global_tail) {
    if (l->hint_loglet == loglet_id && l->hint_tail >= global_tail)
        return;
    if (loglet_id_index(loglet_id) < loglet_id_index(l->hint_loglet))
        return;
    l->hint_loglet = loglet_id;
    l->hint_tail = global_tail;
    if (l->node->p.server) /* it was away, or has just started */
        log_server_release(l->node->p.server, loglet_id, global_tail);
    log_touch(l);
}

/* A log-server that missed the news hears no more while nobody appends; who waits for it asks the sequencer's node now
 * and then. */
struct log_poll {
    struct ls_info req;
    struct log *log; /* NULL: closed meanwhile */
};

static void poll_answered(struct ls_req *req, const struct ls_reply *reply) {
    struct log_poll *p = CONTAINER_OF(CONTAINER_OF(req, struct ls_info, h), struct log_poll, req);
    struct log *l = p->log;

    if (l) {
        l->poll = NULL;
        if (reply->status == LS_OK)
            log_tail_told(l, req->loglet_id, reply->global_tail);
    }
    free(p);
}

/* The sequencer's, else another alive one; 0: there is nobody to ask. */
static uint32_t poll_node(const struct log *l, const struct segment_params *p) {
    uint32_t other = 0;

    for (uint32_t i = 0; i < p->n_nodes; i++) {
        if (p->nodes[i] == l->node->p.self.id || !log_router_alive(&l->node->router, p->nodes[i]))
            continue;
        if (p->nodes[i] == p->sequencer.id || !other)
            other = p->nodes[i];
    }
    return other;
}

static void poll_tail(void *arg) {
    struct log *l = arg;
    const struct chain *c = log_chain(l);
    const struct segment *tail = c ? chain_tail(c) : NULL;
    uint32_t node;

    if (!l->wait || !tail || tail->kind == SEGMENT_SEALED)
        return;
    node = poll_node(l, &tail->params);
    if (node && !l->poll) {
        struct log_poll *p = l->poll = xnew(struct log_poll);

        p->log = l;
        p->req.h = (struct ls_req){.kind = LS_INFO, .loglet_id = tail->params.loglet_id, .done = poll_answered};
        log_router_submit(&l->node->router, node, &p->req.h);
    }
    l->poll_ns = MIN(l->poll_ns * 2, (uint64_t)POLL_MAX_NS);
    timer_set(l->node->p.loop, &l->poll_timer, l->poll_ns);
}

struct log_wait {
    struct ls_wait req;
    struct log *log; /* NULL: not wanted any more */
    struct timer retry;
    bool parked;
    uint32_t node;
};

static void wait_retry(void *arg) {
    struct log_wait *w = arg;
    struct log *l = w->log;

    l->wait = NULL;
    free(w);
    log_touch(l);
}

static void wait_answered(struct ls_req *req, const struct ls_reply *reply) {
    struct log_wait *w = CONTAINER_OF(CONTAINER_OF(req, struct ls_wait, h), struct log_wait, req);
    struct log *l = w->log;

    w->parked = false;
    if (!l) {
        free(w);
        return;
    }
    if (reply->status == LS_OK && reply->global_tail >= w->req.tail) {
        l->wait = NULL;
        log_tail_told(l, req->loglet_id, reply->global_tail);
        log_touch(l);
        free(w);
        return;
    }
    /* Sealed without a new tail, or no answer: the chain will change; look again in a while in any case. */
    if (reply->status != LS_OK)
        l->watch_turn++;
    else if (reply->sealed)
        log_seal_stuck(l, req->loglet_id);
    timer_set(l->node->p.loop, &w->retry, WATCH_RETRY_NS);
}

/* This node's own log-server, or the others in turn. */
static uint32_t watch_node(const struct log *l, const struct segment_params *p) {
    uint32_t node;

    for (uint32_t i = 0; i < p->n_nodes; i++)
        if (p->nodes[i] == l->node->p.self.id && l->node->p.server)
            return p->nodes[i];
    for (uint32_t i = 0; i < p->n_nodes; i++) {
        node = p->nodes[(l->watch_turn + i) % p->n_nodes];
        if (log_router_alive(&l->node->router, node))
            return node;
    }
    return p->nodes[l->watch_turn % p->n_nodes];
}

void log_watch_tail(struct log *l) {
    const struct chain *c = log_chain(l);
    const struct segment *tail = c ? chain_tail(c) : NULL;
    struct log_wait *w = l->wait;

    if (w && tail && w->req.h.loglet_id == tail->params.loglet_id)
        return;
    log_watch_stop(l);
    if (!tail || tail->kind == SEGMENT_SEALED || l->seq)
        return;
    w = l->wait = xnew(struct log_wait);
    w->log = l;
    w->req.what = LS_WAIT_GLOBAL;
    w->req.tail = log_open_tail(l, tail) + 1;
    w->req.h = (struct ls_req){.kind = LS_WAIT, .loglet_id = tail->params.loglet_id, .done = wait_answered};
    w->node = watch_node(l, &tail->params);
    timer_init(&w->retry, wait_retry, w);
    w->parked = true;
    l->poll_ns = POLL_NS;
    timer_set(l->node->p.loop, &l->poll_timer, POLL_NS);
    log_router_submit(&l->node->router, w->node, &w->req.h);
}

void log_watch_stop(struct log *l) {
    struct log_wait *w = TAKE(l->wait);

    timer_stop(l->node->p.loop, &l->poll_timer);
    if (!w)
        return;
    timer_stop(l->node->p.loop, &w->retry);
    w->log = NULL;
    if (w->parked && w->node == l->node->p.self.id && l->node->p.server) {
        log_server_wait_cancel(l->node->p.server, &w->req);
        w->parked = false;
    }
    if (!w->parked)
        free(w);
}

/* ---- the pump ---- */

void log_touch(struct log *l) {
    if (!l->closed)
        loop_hook_arm(l->node->p.loop, &l->pump);
}

static void log_destroy(struct log *l) {
    map_remove(&l->node->logs, &l->map_node);
    free(l);
}

static void tell_events(struct log *l) {
    if (l->tell_lost && !l->closed) {
        struct err why = l->lost_err;
        const struct chain *c = log_chain(l);
        epoch_t epoch = c ? chain_tail(c)->params.leader_epoch : 0;

        l->tell_lost = l->tell_writable = false;
        lead_stop(l);
        if (l->ev && l->ev->lost)
            l->ev->lost(l->arg, l->lost_status, epoch, &why);
    }
    if (l->tell_writable && !l->closed) {
        l->tell_writable = false;
        if (l->ev && l->ev->writable)
            l->ev->writable(l->arg);
    }
}

static void pump(void *arg) {
    struct log *l = arg;
    bool waiting = false;

    l->pumping++;
    l->committed = log_committed_tail(l);
    if (l->lead == LEAD_WANTED)
        lead_step(l);
    tell_events(l);
    for (struct list *e = l->readers.next; e != &l->readers && !l->closed;) {
        struct log_reader *r = LIST_ENTRY(e, struct log_reader, link);

        reader_pump(r); /* keeps the reader in the list even when it was closed meanwhile */
        e = e->next;
        if (r->dead)
            reader_free(r);
        else
            waiting = waiting || (!r->paused && !r->stopped && !r->fetch);
    }
    l->pumping--;
    if (l->closed) {
        l->closed = false;
        (void)log_close(l);
    } else if (waiting && !l->seq && l->lead < LEAD_SEALING) {
        log_watch_tail(l);
    }
}

/* ---- appending ---- */

int log_append(struct log *l, struct bytes *const *records, size_t n, lsn_t *ret_first, struct err *err) {
    uint32_t first;
    int r;

    ASSERT(n > 0 && n <= LIMIT_BATCH_RECORDS);
    if (!log_is_leading(l))
        return err_set(err, RS_ECLOSED, "log %" PRIu32 " is not led by this process", l->id);
    if (l->lead != LEAD_OWNED || timer_armed(&l->again))
        return err_set(err, RS_EAGAIN, "log %" PRIu32 " is between two segments", l->id);
    r = sequencer_append(l->seq, records, (uint32_t)n, &first, err);
    if (r == RS_ECLOSED) { /* its offsets are used up */
        lead_again(l);
        return err_set(err, RS_EAGAIN, "log %" PRIu32 " is between two segments", l->id);
    }
    if (r == 0 && ret_first)
        *ret_first = l->base + first - 1;
    return r;
}

bool log_writable(const struct log *l) {
    return l->lead == LEAD_OWNED && !l->tell_lost && !timer_armed(&l->again) && sequencer_writable(l->seq);
}

bool log_is_leading(const struct log *l) {
    return l->seq && !l->tell_lost;
}

/* ---- handles ---- */

static void again(void *arg) {
    lead_again(arg);
}

struct log *log_open(struct log_node *n, log_id_t id, const struct log_events *ev, void *arg) {
    struct log *l = xnew(struct log);

    l->node = n;
    l->id = id;
    l->ev = ev;
    l->arg = arg;
    l->committed = LSN_OLDEST;
    list_init(&l->readers);
    list_init(&l->asks);
    list_init(&l->seals);
    loop_hook_init(&l->pump, pump, l);
    timer_init(&l->again, again, l);
    timer_init(&l->poll_timer, poll_tail, l);
    map_add(&n->logs, &l->map_node, map_hash_u64(id));
    return l;
}

struct log *log_close(struct log *l) {
    if (!l || l->closed)
        return NULL;
    if (l->pumping) {
        l->closed = true;
        return NULL;
    }
    loop_hook_disarm(&l->pump);
    l->lead_done = NULL;
    lead_stop(l);
    log_watch_stop(l);
    if (l->poll)
        l->poll->log = NULL;
    seals_drop(l);
    while (!list_empty(&l->readers))
        reader_free(LIST_ENTRY(l->readers.next, struct log_reader, link));
    asks_drop(l);
    log_destroy(l);
    return NULL;
}

void log_info(const struct log *l, struct log_info *ret) {
    const struct chain *c = log_chain(l);

    *ret = (struct log_info){.id = l->id, .exists = c, .leading = log_is_leading(l), .trim_point = log_trim_point(l)};
    ret->committed_tail = log_committed_tail(l);
    if (c) {
        const struct segment *tail = chain_tail(c);

        ret->sealed = tail->kind == SEGMENT_SEALED;
        ret->tail_epoch = tail->params.leader_epoch;
        ret->sequencer = tail->params.sequencer;
        ret->segments = (uint32_t)c->n;
        ret->tail_index = tail->index;
        ret->tail_base = tail->base;
    }
    if (l->seq) {
        const struct record_ring *ring = sequencer_ring(l->seq);

        ret->next = l->base + sequencer_next(l->seq) - 1;
        ret->cached_records = ring->next - ring->first;
        sequencer_inflight(l->seq, &ret->inflight_records, &ret->inflight_bytes);
    }
}

/* ---- the node ---- */

static void forget_one(void *arg, uint64_t loglet_id) {
    struct log_node *n = arg;
    const struct chain *c = logs_config_chain(n->chains.current, loglet_id_log(loglet_id));

    /* Only what the chain has moved past: a newer segment may be known to the log-server before its chain entry is
     * known here. */
    if (c && loglet_id_index(loglet_id) < chain_tail(c)->index && !chain_has(c, loglet_id_index(loglet_id)))
        log_server_forget(n->p.server, loglet_id);
}

struct collect {
    uint64_t *ids;
    size_t n, cap;
};

static void collect_one(void *arg, uint64_t loglet_id) {
    struct collect *c = arg;

    if (c->n == c->cap) {
        c->cap = c->cap ? c->cap * 2 : 64;
        c->ids = xrealloc(c->ids, c->cap * sizeof *c->ids);
    }
    c->ids[c->n++] = loglet_id;
}

static void forget_gone(void *arg) {
    struct log_node *n = arg;
    struct collect all = {0};

    if (!n->p.server || !n->chains.current)
        return;
    log_server_each(n->p.server, collect_one, &all);
    for (size_t i = 0; i < all.n; i++)
        forget_one(n, all.ids[i]);
    free(all.ids);
}

static void chains_changed(void *arg) {
    struct log_node *n = arg;

    MAP_FOREACH (e, &n->logs) {
        struct log *l = MAP_ENTRY(e, struct log, map_node);

        lead_chain_changed(l);
        seals_chain_changed(l);
        log_touch(l);
    }
    if (!replication_eq(n->improve_replication, n->chains.current->replication) ||
        n->improve_target != n->chains.current->target_nodeset_size)
        improve_soon(n);
    loop_hook_arm(n->p.loop, &n->forget);
}

static void nodes_changed(void *arg, const char *key, uint32_t version, struct bytes *value) {
    struct log_node *n = arg;
    struct nodes_config *c;

    if (strcmp(key, META_KEY_NODES) != 0 || nodes_config_parse(bytes_slice(value), &c, NULL) < 0)
        return;
    (void)nodes_config_free(n->nodes);
    n->nodes = c;
    MAP_FOREACH (e, &n->logs) {
        struct log *l = MAP_ENTRY(e, struct log, map_node);

        if (l->recover)
            recover_nodes_changed(l->recover, c);
        seals_nodes_changed(l);
        log_touch(l);
    }
    improve_soon(n);
}

void log_node_set_alive(struct log_node *n, log_alive_fn alive, void *arg) {
    n->router.alive = alive;
    n->router.alive_arg = arg;
}

int log_node_open(const struct log_node_params *p, struct log_node **ret, struct err *err) {
    struct log_node *n = xnew(struct log_node);
    struct bytes *value;
    int r = 0;

    n->p = *p;
    n->p.window_bytes = p->window_bytes ? p->window_bytes : LIMIT_WINDOW_BYTES;
    n->p.window_records = p->window_records ? p->window_records : LIMIT_WINDOW_RECORDS;
    if (!p->server)
        n->own_cache = record_cache_new(p->cache_bytes ? p->cache_bytes : CACHE_DEFAULT_BYTES);
    n->cache = p->server ? log_server_cache(p->server) : n->own_cache;
    log_router_init(&n->router, p->loop, p->self.id, p->server, p->peers);
    loop_hook_init(&n->forget, forget_gone, n);
    improve_init(n);
    chain_writer_init(&n->chains, p->loop, p->meta, chains_changed, n);
    n->nodes_watch = (struct meta_watch){.changed = nodes_changed, .arg = n};
    if (meta_get(p->meta, META_KEY_NODES, NULL, &value) == 0)
        r = nodes_config_parse(bytes_slice(value), &n->nodes, err);
    meta_watch(p->meta, &n->nodes_watch, META_KEY_NODES);
    if (r == 0 && !n->chains.current && meta_get(p->meta, META_KEY_LOGS, NULL, &value) == 0)
        r = logs_config_parse(bytes_slice(value), &n->chains.current, err); /* it failed before: now for the reason */
    if (r < 0) {
        (void)log_node_close(n);
        return r;
    }
    *ret = n;
    return 0;
}

struct log_node *log_node_close(struct log_node *n) {
    struct map_node *e;

    if (!n)
        return NULL;
    while ((e = map_iter(&n->logs, NULL)))
        (void)log_close(MAP_ENTRY(e, struct log, map_node));
    map_done(&n->logs);
    loop_hook_disarm(&n->forget);
    timer_stop(n->p.loop, &n->improve);
    meta_unwatch(&n->nodes_watch);
    chain_writer_done(&n->chains);
    log_router_done(&n->router);
    (void)nodes_config_free(n->nodes);
    n->own_cache = record_cache_free(n->own_cache);
    free(n);
    return NULL;
}
