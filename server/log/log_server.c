/* SPDX-License-Identifier: Apache-2.0 */
/* The log-server's state machine (spec cluster.md §8): every loglet of this node, one group commit per loop turn.
 *
 * A request is checked at once, in the order of arrival; its writes join the batch of the turn, its answer waits until
 * the batch is durable. Answers that need no write are given from a hook, so that `done` never runs inside the call. */
#include "log/log_server.h"

#include <inttypes.h>
#include "base/limits.h"
#include "log/log_server_internal.h"

#define CACHE_DEFAULT_BYTES (16u << 20)
#define GLOBAL_TAIL_SAVE_NS 10000000000u /* the stored hint may be this old */

static void batch_done(void *arg, int status, const struct err *err);

static const char *const status_words[] = {
    "unknown", "ok", "disabled", "dropped", "sealed", "sealing", "sequencer mismatch", "out of bounds", "malformed"};

const char *ls_status_str(enum ls_status s) {
    return (unsigned)s < ARRAY_SIZE(status_words) ? status_words[s] : "?";
}

/* ---- loglets ---- */

struct ls_loglet *ls_loglet_find(const struct log_server *s, uint64_t id) {
    for (struct map_node *n = map_first(&s->loglets, map_hash_u64(id)); n; n = map_next(n))
        if (MAP_ENTRY(n, struct ls_loglet, node)->id == id)
            return MAP_ENTRY(n, struct ls_loglet, node);
    return NULL;
}

struct ls_loglet *ls_loglet_get(struct log_server *s, uint64_t id) {
    struct ls_loglet *l = ls_loglet_find(s, id);

    if (l)
        return l;
    l = xnew(struct ls_loglet);
    l->id = id;
    l->local_tail = l->staging_tail = l->global_tail = l->global_tail_saved = 1;
    list_init(&l->parked);
    list_init(&l->waits);
    map_add(&s->loglets, &l->node, map_hash_u64(id));
    return l;
}

void ls_loglet_free(struct log_server *s, struct ls_loglet *l) {
    map_remove(&s->loglets, &l->node);
    l->ring = record_ring_unref(l->ring);
    free(l);
}

static struct ls_floor *find_floor(const struct log_server *s, log_id_t log) {
    for (struct map_node *n = map_first(&s->floors, map_hash_u64(log)); n; n = map_next(n))
        if (MAP_ENTRY(n, struct ls_floor, node)->log == log)
            return MAP_ENTRY(n, struct ls_floor, node);
    return NULL;
}

uint32_t ls_floor(const struct log_server *s, log_id_t log) {
    const struct ls_floor *f = find_floor(s, log);

    return f ? f->floor : 0;
}

void ls_floor_raise(struct log_server *s, log_id_t log, uint32_t floor) {
    struct ls_floor *f = find_floor(s, log);

    if (!f) {
        f = xnew(struct ls_floor);
        f->log = log;
        map_add(&s->floors, &f->node, map_hash_u64(log));
    }
    f->floor = MAX(f->floor, floor);
}

void ls_reply_fill(const struct ls_loglet *l, enum ls_status status, struct ls_reply *ret) {
    *ret = (struct ls_reply){.status = status, .local_tail = 1, .global_tail = 1};
    if (l) {
        ret->local_tail = l->local_tail;
        ret->global_tail = l->global_tail;
        ret->sealed = l->sealed;
    }
}

/* ---- answers ---- */

static void answer_later(struct log_server *s, struct ls_req *r, enum ls_status status) {
    r->status = status;
    list_push_back(&s->ready, &r->link);
    loop_hook_arm(s->loop, &s->answer);
}

static void answer_now(struct log_server *s, struct ls_req *r, enum ls_status status) {
    struct ls_reply reply;

    ls_reply_fill(ls_loglet_find(s, r->loglet_id), status, &reply);
    r->done(r, &reply);
}

static void answer_ready(void *arg) {
    struct log_server *s = arg;
    struct list *l;

    while ((l = list_pop_front(&s->ready))) {
        struct ls_req *r = LIST_ENTRY(l, struct ls_req, link);

        answer_now(s, r, r->status);
    }
}

static bool wait_over(const struct ls_loglet *l, const struct ls_wait *w) {
    bool local = l->local_tail >= w->tail, global = l->global_tail >= w->tail;

    return l->sealed || (w->what != LS_WAIT_GLOBAL && local) || (w->what != LS_WAIT_LOCAL && global);
}

/* Requests parked at a loglet whose state moved. */
static void progress(struct log_server *s, struct ls_loglet *l) {
    LIST_FOREACH_SAFE (e, &l->parked) {
        struct ls_req *r = LIST_ENTRY(e, struct ls_req, link);
        enum ls_status status = LS_UNKNOWN;

        if (r->kind == LS_SEAL) {
            status = l->sealed ? LS_OK : s->failsafe ? LS_DISABLED : LS_UNKNOWN;
        } else {
            const struct ls_store *st = CONTAINER_OF(r, struct ls_store, h);
            uint32_t end = st->first_offset + st->n;

            if (l->local_tail >= end || l->global_tail >= end)
                status = LS_OK;
            else if (l->sealed)
                status = LS_SEALED;
            else if (s->failsafe)
                status = LS_DISABLED;
        }
        if (status != LS_UNKNOWN) {
            list_remove(&r->link);
            answer_later(s, r, status);
        }
    }
    LIST_FOREACH_SAFE (e, &l->waits) {
        struct ls_wait *w = LIST_ENTRY(e, struct ls_wait, h.link);

        if (wait_over(l, w)) {
            list_remove(&w->h.link);
            answer_later(s, &w->h, LS_OK);
        }
    }
}

static void raise_global_tail(struct log_server *s, struct ls_loglet *l, uint32_t tail) {
    if (tail <= l->global_tail)
        return;
    l->global_tail = tail;
    if (l->ring)
        record_ring_commit(l->ring, tail);
    if (!list_empty(&l->waits) || !list_empty(&l->parked))
        progress(s, l);
}

/* ---- group commit ---- */

static struct ls_batch *open_batch(struct log_server *s) {
    if (!s->open) {
        s->open = xnew(struct ls_batch);
        s->open->server = s;
        s->open->writes = store_batch_new();
        list_init(&s->open->reqs);
    }
    loop_hook_arm(s->loop, &s->commit);
    return s->open;
}

static void commit_batch(void *arg) {
    struct log_server *s = arg;
    struct ls_batch *b = TAKE(s->open);

    if (!b)
        return;
    s->under_way++;
    store_commit(s->store, TAKE(b->writes), batch_done, b);
}

static void apply_done(struct log_server *s, struct ls_req *r) {
    struct ls_loglet *l = ls_loglet_find(s, r->loglet_id);

    if (l && r->kind == LS_STORE) {
        const struct ls_store *st = CONTAINER_OF(r, struct ls_store, h);

        l->local_tail = MAX(l->local_tail, st->first_offset + st->n);
    } else if (l && r->kind == LS_SEAL) {
        l->sealed = true;
        if (l->ring) /* nothing is in flight any more: all of it may be evicted */
            record_ring_commit(l->ring, l->ring->next);
    }
    if (l && (!list_empty(&l->parked) || !list_empty(&l->waits)))
        progress(s, l);
    answer_now(s, r, LS_OK);
}

/* The store will not take writes again: stores and seals are refused, reads go on. */
static void fail_safe(struct log_server *s) {
    s->failsafe = true;
    MAP_FOREACH (n, &s->loglets) {
        struct ls_loglet *l = MAP_ENTRY(n, struct ls_loglet, node);

        l->staging_tail = l->local_tail;
        l->seal_enqueued = l->sealed;
        progress(s, l);
    }
}

static void batch_done(void *arg, int status, const struct err *err) {
    struct ls_batch *b = arg;
    struct log_server *s = b->server;
    struct list *l;

    if (status < 0)
        fail_safe(s);
    while ((l = list_pop_front(&b->reqs))) {
        struct ls_req *r = LIST_ENTRY(l, struct ls_req, link);

        if (status < 0)
            answer_now(s, r, LS_DISABLED);
        else
            apply_done(s, r);
    }
    free(b);
    ls_work_done(s);
}

/* ---- store ---- */

/* Checks 1-8 of the specification. LS_UNKNOWN: take it. *ret_park: wait for what is under way instead of an answer. */
static enum ls_status check_store(const struct log_server *s, const struct ls_loglet *l, const struct ls_store *r,
                                  bool *ret_park) {
    const bool repair = r->flags & LS_IGNORE_SEAL;
    const uint32_t end = r->first_offset + r->n; /* no overflow: checked first */
    const uint32_t known = repair ? r->repair_floor : l->global_tail;
    const uint32_t next_ok = MAX(l->staging_tail, known);

    if (r->n == 0 || r->first_offset == 0 || r->n > LS_OFFSET_MAX || r->first_offset > LS_OFFSET_MAX - r->n + 1)
        return LS_MALFORMED;
    if (!repair && (l->sealed || loglet_id_index(l->id) < ls_floor(s, loglet_id_log(l->id))))
        return LS_SEALED;
    if (s->failsafe || s->closing)
        return LS_DISABLED;
    if (l->sequencer.id && !node_id_eq(l->sequencer, r->sequencer))
        return LS_SEQUENCER_MISMATCH;
    if (r->first_offset < next_ok && !repair && !r->from_sequencer)
        return LS_SEQUENCER_MISMATCH;
    if (r->first_offset > next_ok)
        return LS_OUT_OF_BOUNDS;
    if (r->timeout_at_ns && loop_now_ns(s->loop) >= r->timeout_at_ns)
        return LS_DROPPED;
    if (!repair && end <= l->local_tail)
        return LS_OK;
    if (!repair && end <= l->staging_tail) {
        *ret_park = true;
        return LS_OK;
    }
    if (l->seal_enqueued && !l->sealed) {
        *ret_park = !repair;
        return LS_SEALING;
    }
    return LS_UNKNOWN;
}

static void write_store(struct log_server *s, struct ls_loglet *l, struct ls_store *r) {
    struct ls_batch *b = open_batch(s);
    uint64_t now = loop_now_ns(s->loop);

    if (!l->sequencer.id) {
        l->sequencer = r->sequencer;
        ls_put_node(s, b->writes, l->id, r->sequencer);
    }
    if (l->global_tail > l->global_tail_saved && now - l->saved_ns >= GLOBAL_TAIL_SAVE_NS) {
        l->global_tail_saved = l->global_tail;
        l->saved_ns = now;
        ls_put_u32(s, b->writes, 'g', l->id, l->global_tail);
    }
    if (!l->ring)
        l->ring = record_ring_open(s->cache, l->id);
    for (uint32_t i = 0; i < r->n; i++) {
        uint8_t key[LS_KEY_BYTES];
        struct slice whole = bytes_slice(r->records[i]);

        store_batch_put_bytes(b->writes, s->table, ls_key_record(key, l->id, r->first_offset + i), &r->records[i],
                              &whole, 1);
        if (!(r->flags & LS_IGNORE_SEAL))
            record_ring_add(l->ring, r->first_offset + i, r->records[i]);
    }
    l->staging_tail = MAX(l->staging_tail, r->first_offset + r->n);
    list_push_back(&b->reqs, &r->h.link);
}

static void do_store(struct log_server *s, struct ls_loglet *l, struct ls_store *r) {
    bool park = false;
    enum ls_status status = check_store(s, l, r, &park);

    if (park)
        list_push_back(&l->parked, &r->h.link);
    else if (status != LS_UNKNOWN)
        answer_later(s, &r->h, status);
    else
        write_store(s, l, r);
}

/* ---- seal, trim, wait ---- */

static void do_seal(struct log_server *s, struct ls_loglet *l, struct ls_seal *r) {
    struct ls_batch *b;

    if (l->sealed) {
        answer_later(s, &r->h, LS_OK);
    } else if (s->failsafe || s->closing) {
        answer_later(s, &r->h, LS_DISABLED);
    } else if (l->seal_enqueued) {
        list_push_back(&l->parked, &r->h.link);
    } else {
        b = open_batch(s);
        l->seal_enqueued = true;
        ls_put_u64(s, b->writes, 'Z', l->id, loop_wall_ns(s->loop) / 1000000u);
        list_push_back(&b->reqs, &r->h.link);
    }
}

static void do_trim(struct log_server *s, struct ls_loglet *l, struct ls_trim *r) {
    uint8_t lower[LS_KEY_BYTES], upper[LS_KEY_BYTES];
    uint32_t upto = MIN(r->trim_point, l->local_tail - 1);
    struct ls_batch *b;

    if (r->trim_point == 0 || r->trim_point >= MAX(l->local_tail, l->global_tail)) {
        answer_later(s, &r->h, LS_MALFORMED);
    } else if (s->failsafe || s->closing) {
        answer_later(s, &r->h, LS_DISABLED);
    } else if (upto == 0) {
        answer_later(s, &r->h, LS_OK); /* this server holds nothing of the loglet */
    } else {
        b = open_batch(s);
        l->trim_point = MAX(l->trim_point, upto); /* published at once: readers stop relying on what is being deleted */
        ls_put_u32(s, b->writes, 't', l->id, l->trim_point);
        ls_put_u32(s, b->writes, 'l', l->id, l->local_tail);
        store_batch_del_range(b->writes, s->table, ls_key_record(lower, l->id, 0),
                              ls_key_record(upper, l->id, l->trim_point + 1));
        list_push_back(&b->reqs, &r->h.link);
    }
}

static void do_wait(struct log_server *s, struct ls_loglet *l, struct ls_wait *r) {
    if (wait_over(l, r))
        answer_later(s, &r->h, LS_OK);
    else
        list_push_back(&l->waits, &r->h.link);
}

void log_server_submit(struct log_server *s, struct ls_req *r) {
    struct ls_loglet *l = ls_loglet_get(s, r->loglet_id);

    ASSERT(r->done);
    raise_global_tail(s, l, r->global_tail);
    switch (r->kind) {
    case LS_STORE:
        do_store(s, l, CONTAINER_OF(r, struct ls_store, h));
        break;
    case LS_SEAL:
        do_seal(s, l, CONTAINER_OF(r, struct ls_seal, h));
        break;
    case LS_INFO:
        CONTAINER_OF(r, struct ls_info, h)->trim_point = l->trim_point;
        answer_later(s, r, LS_OK);
        break;
    case LS_WAIT:
        do_wait(s, l, CONTAINER_OF(r, struct ls_wait, h));
        break;
    case LS_GET:
        ls_get_start(s, CONTAINER_OF(r, struct ls_get, h));
        break;
    case LS_DIGEST:
        ls_digest_start(s, CONTAINER_OF(r, struct ls_digest, h));
        break;
    case LS_TRIM:
        do_trim(s, l, CONTAINER_OF(r, struct ls_trim, h));
        break;
    case LS_FLUSH:
        UNREACHABLE("made by log_server_flush() only");
    }
}

void log_server_wait_cancel(struct log_server *s, struct ls_wait *r) {
    list_remove(&r->h.link);
}

void log_server_release(struct log_server *s, uint64_t loglet_id, uint32_t global_tail) {
    struct ls_loglet *l = ls_loglet_find(s, loglet_id);

    if (l)
        raise_global_tail(s, l, global_tail);
}

void log_server_peek(const struct log_server *s, uint64_t loglet_id, struct ls_reply *ret, uint32_t *ret_trim_point) {
    const struct ls_loglet *l = ls_loglet_find(s, loglet_id);

    ls_reply_fill(l, LS_OK, ret);
    *ret_trim_point = l ? l->trim_point : 0;
}

void log_server_forget(struct log_server *s, uint64_t loglet_id) {
    static const char kinds[] = {'s', 'Z', 't', 'g', 'l'};
    struct ls_loglet *l = ls_loglet_find(s, loglet_id);
    uint8_t lower[LS_KEY_BYTES], upper[LS_KEY_BYTES];
    const log_id_t log = loglet_id_log(loglet_id);
    struct store_batch *w;

    if (!l || s->failsafe || s->closing || !list_empty(&l->parked) || !list_empty(&l->waits) ||
        l->staging_tail != l->local_tail || l->seal_enqueued != l->sealed)
        return; /* in use; the next change of the chain comes back to it */
    w = open_batch(s)->writes;
    ls_floor_raise(s, log, loglet_id_index(loglet_id) + 1);
    ls_put_u32(s, w, 'f', loglet_id_make(log, 0), ls_floor(s, log));
    for (size_t i = 0; i < sizeof kinds; i++)
        store_batch_del(w, s->table, ls_key(lower, kinds[i], loglet_id));
    if (l->local_tail > l->trim_point + 1)
        store_batch_del_range(w, s->table, ls_key_record(lower, loglet_id, 0),
                              ls_key_record(upper, loglet_id, l->local_tail));
    ls_loglet_free(s, l);
}

void log_server_each(const struct log_server *s, void (*each)(void *arg, uint64_t loglet_id), void *arg) {
    MAP_FOREACH (n, &s->loglets)
        each(arg, MAP_ENTRY(n, struct ls_loglet, node)->id);
}

struct record_cache *log_server_cache(struct log_server *s) {
    return s->cache;
}
bool log_server_failsafe(const struct log_server *s) {
    return s->failsafe;
}
uint32_t log_server_node(const struct log_server *s) {
    return s->node_id;
}

/* ---- life ---- */

struct flush {
    struct ls_req h;
    void (*done)(void *arg, int status, const struct err *err);
    void *arg;
};

static void flushed(struct ls_req *req, const struct ls_reply *reply) {
    struct flush *f = CONTAINER_OF(req, struct flush, h);
    struct err err = {0};
    int status = 0;

    if (reply->status != LS_OK)
        status = err_set(&err, RS_EIO, "the log store does not accept writes");
    f->done(f->arg, status, status < 0 ? &err : NULL);
    free(f);
}

void log_server_flush(struct log_server *s, void (*done)(void *arg, int status, const struct err *err), void *arg) {
    struct flush *f = xnew(struct flush);

    *f = (struct flush){.h = {.kind = LS_FLUSH, .done = flushed}, .done = done, .arg = arg};
    if (s->failsafe || s->closing)
        answer_later(s, &f->h, LS_DISABLED);
    else
        list_push_back(&open_batch(s)->reqs, &f->h.link);
}

static void server_free(struct log_server *s) {
    struct map_node *n;

    loop_hook_disarm(&s->commit);
    loop_hook_disarm(&s->answer);
    while ((n = map_iter(&s->loglets, NULL)))
        ls_loglet_free(s, MAP_ENTRY(n, struct ls_loglet, node));
    map_done(&s->loglets);
    while ((n = map_iter(&s->floors, NULL))) {
        map_remove(&s->floors, n);
        free(MAP_ENTRY(n, struct ls_floor, node));
    }
    map_done(&s->floors);
    if (s->open) {
        (void)store_batch_free(s->open->writes);
        free(s->open);
    }
    s->cache = record_cache_free(s->cache);
    free(s);
}

static void close_finish(void *arg) {
    struct log_server *s = arg;
    void (*closed)(void *) = s->closed;
    void *closed_arg = s->closed_arg;

    answer_ready(s);
    server_free(s);
    if (closed)
        closed(closed_arg);
}

void ls_work_done(struct log_server *s) {
    ASSERT(s->under_way > 0);
    s->under_way--;
    if (s->closing && s->under_way == 0)
        loop_post(s->loop, close_finish, s);
}

void log_server_close(struct log_server *s, void (*closed)(void *arg), void *arg) {
    ASSERT(!s->closing);
    s->closed = closed;
    s->closed_arg = arg;
    loop_hook_disarm(&s->commit);
    commit_batch(s);
    s->closing = true;
    s->under_way++;
    ls_work_done(s);
}

int log_server_open(const struct log_server_params *p, struct log_server **ret, struct err *err) {
    struct log_server *s = xnew(struct log_server);
    int r;

    s->loop = p->loop;
    s->store = p->store;
    s->pool = p->pool;
    s->node_id = p->node_id;
    s->cache = record_cache_new(p->cache_bytes ? p->cache_bytes : CACHE_DEFAULT_BYTES);
    list_init(&s->ready);
    loop_hook_init(&s->commit, commit_batch, s);
    loop_hook_init(&s->answer, answer_ready, s);
    r = store_table_open(p->store, "log", &s->table, err);
    r = r < 0 ? r : ls_rows_load(s, p->expect_marker, err);
    if (r < 0) {
        server_free(s);
        return r;
    }
    *ret = s;
    return 0;
}
