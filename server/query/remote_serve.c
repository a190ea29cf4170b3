/* SPDX-License-Identifier: Apache-2.0 */
/* query/remote_serve.c : pieces of this node's partitions for queries on other nodes. A session is the views of one
 * query of one node; its requests come one after the other, are read on the pool, and answered from the loop. */
#include "query/remote.h"
#include "base/limits.h"
#include "invoker/invoker.h"
#include "loop/exec.h"
#include "proto/scan.gen.h"
#include "worker/views.h"

#include <string.h>

struct session {
    struct list link;
    struct remote_server *s;
    struct node_id from;
    uint8_t id[REMOTE_QUERY_BYTES];
    struct worker_views *views;
    struct timer idle;
    bool working, ended; /* views on their way, or a job; ended: freed when that is over */
    /* the request */
    struct fabric_request *req;
    uint32_t partition;
    struct buf lower, upper;
    size_t max_rows;
    struct job job;
    /* the answer, made by the job */
    struct arena rows;
    struct qs_row list[REMOTE_MAX_ROWS];
    size_t n, bytes;
    bool more;
    struct buf out;
};

struct remote_server {
    struct loop *loop;
    struct fabric *fabric;
    struct worker *worker;
    struct exec *pool;
    struct fabric_service service;
    struct list sessions;
    unsigned n;
    bool closing;
    void (*closed)(void *arg);
    void *closed_arg;
};

static void close_now(void *arg) {
    struct remote_server *s = arg;
    void (*done)(void *) = s->closed;
    void *done_arg = s->closed_arg;

    free(s);
    done(done_arg);
}

static void free_session(struct session *e) {
    struct remote_server *s = e->s;

    timer_stop(s->loop, &e->idle);
    list_remove(&e->link);
    e->views = worker_views_free(e->views);
    buf_done(&e->lower);
    buf_done(&e->upper);
    buf_done(&e->out);
    arena_done(&e->rows);
    free(e);
    s->n--;
    if (s->closing && !s->n)
        loop_post(s->loop, close_now, s);
}

static void end_session(struct session *e) {
    e->ended = true;
    if (!e->working)
        free_session(e);
}

static void on_idle(void *arg) {
    end_session(arg);
}

/* ---- reading ---- */

static int take_row(void *arg, struct slice key, struct slice value) {
    struct session *e = arg;

    if (e->n == e->max_rows || (e->n && e->bytes + key.len + value.len > REMOTE_MAX_BYTES)) {
        e->more = true;
        return 1;
    }
    e->list[e->n++] = (struct qs_row){.key = arena_copy(&e->rows, key), .value = arena_copy(&e->rows, value)};
    e->bytes += key.len + value.len;
    return 0;
}

static void run(struct job *j) {
    struct session *e = CONTAINER_OF(j, struct session, job);
    struct err err = {0};
    struct qs_rows m = {0};
    int r;

    e->n = e->bytes = 0;
    e->more = false;
    arena_clear(&e->rows);
    buf_clear(&e->out);
    r = worker_views_scan(e->views, e->partition, buf_slice(&e->lower),
                          e->upper.len ? buf_slice(&e->upper) : SLICE_NULL, take_row, e, &err);
    if (r < 0) {
        m.code = (uint32_t)-r;
        m.message = slice_str(err.msg);
    } else {
        m.rows = e->list;
        m.n_rows = e->n;
        m.more = e->more;
    }
    qs_rows_encode(&m, &e->out);
}

static void ran(struct job *j) {
    struct session *e = CONTAINER_OF(j, struct session, job);
    struct bytes *part = bytes_take_buf(&e->out);

    fabric_reply(e->s->fabric, TAKE(e->req), SLICE_NULL, &part, part->len ? 1 : 0);
    (void)bytes_unref(part);
    e->working = false;
    if (e->ended)
        free_session(e);
    else
        timer_set(e->s->loop, &e->idle, REMOTE_IDLE_NS);
}

static void read_piece(struct session *e) {
    e->job = (struct job){.run = run, .done = ran};
    exec_submit(e->s->pool, e->s->loop, &e->job);
}

static void on_views(void *arg, int status, struct worker_views *take_views, const struct err *err) {
    struct session *e = arg;

    e->views = take_views;
    if (status == 0 && !e->ended) {
        read_piece(e);
        return;
    }
    fabric_reply_status(e->s->fabric, TAKE(e->req), RPC_DROPPED);
    free_session(e);
}

/* ---- requests ---- */

static struct session *find(struct remote_server *s, struct node_id from, struct slice id) {
    LIST_FOREACH (l, &s->sessions) {
        struct session *e = LIST_ENTRY(l, struct session, link);

        if (node_id_eq(e->from, from) && slice_eq(slice_of(e->id, sizeof e->id), id) && !e->ended)
            return e;
    }
    return NULL;
}

static struct session *new_session(struct remote_server *s, struct node_id from, struct slice id) {
    struct session *e = xnew(struct session);

    e->s = s;
    e->from = from;
    memcpy(e->id, id.data, sizeof e->id);
    timer_init(&e->idle, on_idle, e);
    list_push_back(&s->sessions, &e->link);
    s->n++;
    return e;
}

static void handle_scan(struct remote_server *s, struct fabric_request *take) {
    struct arena a = {0};
    struct qs_scan m;
    struct session *e = NULL;

    if (qs_scan_decode(&m, take->payload, &a, NULL) < 0 || m.query.len != REMOTE_QUERY_BYTES || !m.max_rows ||
        m.lower.len > LIMIT_KEY_BYTES * 2 || m.upper.len > LIMIT_KEY_BYTES * 2 ||
        m.partition >= worker_partitions(s->worker)) {
        fabric_reply_status(s->fabric, take, RPC_MESSAGE_UNRECOGNIZED);
    } else if (!(e = find(s, take->from, m.query)) && s->n >= LIMIT_QUERIES) {
        fabric_reply_status(s->fabric, take, RPC_LOAD_SHEDDING);
    } else if (e && e->working) {
        fabric_reply_status(s->fabric, take, RPC_MESSAGE_UNRECOGNIZED); /* one at a time */
    } else {
        if (!e)
            e = new_session(s, take->from, m.query);
        timer_stop(s->loop, &e->idle);
        e->working = true;
        e->req = take;
        e->partition = m.partition;
        e->max_rows = MIN(m.max_rows, (uint32_t)REMOTE_MAX_ROWS);
        buf_clear(&e->lower);
        buf_clear(&e->upper);
        buf_put_slice(&e->lower, m.lower);
        buf_put_slice(&e->upper, m.upper);
        if (e->views)
            read_piece(e);
        else
            worker_views_open(s->worker, on_views, e);
    }
    arena_done(&a);
}

struct attempt_list {
    struct arena a;
    struct qs_attempt *v;
    size_t n, cap;
};

static void add_attempt(void *arg, const struct invocation_id *id, const struct invoker_status *st) {
    struct attempt_list *l = arg;
    struct buf failure = {0};

    if (l->n == l->cap) {
        l->cap = l->cap ? l->cap * 2 : 64;
        l->v = xrealloc(l->v, l->cap * sizeof *l->v);
    }
    if (st->last_failure)
        cmd_event_encode(st->last_failure, &failure);
    l->v[l->n++] =
        (struct qs_attempt){.id = arena_copy(&l->a, invocation_id_slice(id)),
                            .in_flight = st->running,
                            .retry_count = st->started,
                            .last_start_ms = st->last_start_wall_ms,
                            .next_retry_ms = st->backing_off ? st->next_retry_wall_ms : 0,
                            .deployment = st->deployment ? slice_str(st->deployment) : SLICE_NULL,
                            .failure = st->last_failure ? arena_copy(&l->a, buf_slice(&failure)) : SLICE_NULL};
    buf_done(&failure);
}

static void handle_attempts(struct remote_server *s, struct fabric_request *take) {
    struct attempt_list l = {0};
    struct qs_attempts m;
    struct buf b = {0};
    struct bytes *part;

    if (worker_invoker(s->worker))
        invoker_each(worker_invoker(s->worker), add_attempt, &l);
    m = (struct qs_attempts){.attempts = l.v, .n_attempts = l.n};
    qs_attempts_encode(&m, &b);
    part = bytes_take_buf(&b);
    fabric_reply(s->fabric, take, SLICE_NULL, &part, part->len ? 1 : 0);
    (void)bytes_unref(part);
    free(l.v);
    arena_done(&l.a);
}

static void handle_end(struct remote_server *s, const struct fabric_request *r) {
    struct arena a = {0};
    struct qs_end m;
    struct session *e;

    if (qs_end_decode(&m, r->payload, &a, NULL) == 0 && (e = find(s, r->from, m.query)))
        end_session(e);
    arena_done(&a);
}

static void handle(void *arg, struct fabric_request *r) {
    struct remote_server *s = arg;

    if (r->type == REMOTE_END && !r->is_call)
        handle_end(s, r);
    else if (!r->is_call)
        return; /* not known: borrowed, nothing to answer */
    else if (!r->from.id)
        fabric_reply_status(s->fabric, r, RPC_MESSAGE_UNRECOGNIZED); /* nodes only */
    else if (r->type == REMOTE_SCAN)
        handle_scan(s, r);
    else if (r->type == REMOTE_ATTEMPTS)
        handle_attempts(s, r);
    else
        fabric_reply_status(s->fabric, r, RPC_MESSAGE_UNRECOGNIZED);
}

struct remote_server *remote_server_new(struct loop *l, struct fabric *f, struct worker *w, struct exec *pool) {
    struct remote_server *s = xnew(struct remote_server);

    *s = (struct remote_server){.loop = l,
                                .fabric = f,
                                .worker = w,
                                .pool = pool,
                                .service = {.id = SERVICE_REMOTE_SCAN, .handle = handle, .arg = s}};
    list_init(&s->sessions);
    fabric_serve(f, &s->service);
    return s;
}

void remote_server_close(struct remote_server *s, void (*done)(void *arg), void *arg) {
    fabric_unserve(s->fabric, &s->service);
    s->closing = true;
    s->closed = done;
    s->closed_arg = arg;
    LIST_FOREACH_SAFE (l, &s->sessions)
        end_session(LIST_ENTRY(l, struct session, link));
    if (!s->n && list_empty(&s->sessions)) /* else when the last session is gone */
        loop_post(s->loop, close_now, s);
}
