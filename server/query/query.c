/* SPDX-License-Identifier: Apache-2.0 */
/* query/query.c : the loop's side of a query. Its life: a job prepares the statement; the loop opens views and copies
 * the attempts, if it needs them; jobs make pieces of the answer, each when the one before it was taken; a last job
 * frees what SQLite holds. Between two jobs nothing runs: a client that does not read holds a view, not a thread, and
 * that only until the deadline. */
#include "query/query_internal.h"
#include "base/limits.h"
#include "base/list.h"
#include "base/logging.h"
#include "invoker/invoker.h"
#include "loop/exec.h"
#include "query/remote.h"
#include "worker/views.h"

#include <string.h>

enum query_state { Q_PREPARE, Q_ATTEMPTS, Q_OPEN, Q_STEP, Q_WAIT, Q_END };

struct query_engine {
    struct query_engine_params params;
    struct remote_server *server; /* NULL: no fabric */
    struct list queries;
    unsigned n;
    bool stopping, closing;
    void (*closed)(void *arg);
    void *closed_arg;
};

struct query {
    struct list link;
    struct job job;
    struct query_engine *e;
    struct query_events events;
    enum query_format format;
    enum query_state state;
    uint32_t cancel; /* atomic: the job's thread reads it */
    bool silent;     /* no event comes any more */
    bool working;    /* a job, or views on their way */
    bool begun;      /* a chunk was handed out */
    /* asked to end from outside; the job's own fields below are left alone, it may run */
    bool ended;
    enum query_failure end_failure;
    const char *end_why;
    struct timer deadline;
    char *sql;
    size_t sql_len;
    struct query_statement q;
    struct worker_views *views;
    struct remote *remote; /* NULL: every partition is read here */
    struct query_attempt *attempts;
    size_t n_attempts, cap_attempts;
    struct arena texts; /* of the attempts */
    struct schema *schema;
    /* from the last job */
    struct buf out;
    struct out_arrow *arrow;
    uint64_t rows, bytes;
    bool stepped, more;
    int status;
    enum query_failure failure;
    struct err err;
};

static void run(struct job *j);
static void ran(struct job *j);
static void go_on(struct query *q);

/* ---- what a query reads ---- */

/* The leader elsewhere cannot be reached: the replica here, if there is one, is the next best. */
static bool fall_back(struct query *q, uint32_t partition, int status) {
    if ((status != RS_EAGAIN && status != RS_EUNSUPPORTED) || !worker_views_has(q->views, partition))
        return false;
    remote_forget(q->remote, partition);
    return true;
}

static int data_get(void *arg, uint32_t partition, struct slice key, struct buf *ret, struct err *err) {
    struct query *q = arg;

    if (remote_has(q->remote, partition)) {
        int r = remote_get(q->remote, partition, key, ret, err);

        if (!fall_back(q, partition, r))
            return r;
    }
    return worker_views_get(q->views, partition, key, ret, err);
}

static int data_scan(void *arg, uint32_t partition, struct slice lower, struct slice upper, sm_each_fn each,
                     void *each_arg, struct err *err) {
    struct query *q = arg;

    if (remote_has(q->remote, partition)) {
        int r = remote_scan(q->remote, partition, lower, upper, q->q.data.hint_rows, each, each_arg, err);

        if (!fall_back(q, partition, r))
            return r;
    }
    return worker_views_scan(q->views, partition, lower, upper, each, each_arg, err);
}

static struct slice keep(struct query *q, struct slice s) {
    return s.data ? arena_copy(&q->texts, s) : SLICE_NULL;
}

static void add_attempt(void *arg, const struct query_attempt *from) {
    struct query *q = arg;
    struct query_attempt *a;

    if (q->n_attempts == q->cap_attempts) {
        q->cap_attempts = q->cap_attempts ? q->cap_attempts * 2 : 64;
        q->attempts = xrealloc(q->attempts, q->cap_attempts * sizeof *q->attempts);
    }
    a = &q->attempts[q->n_attempts++];
    *a = *from;
    a->deployment = keep(q, a->deployment);
    a->failure.message = keep(q, a->failure.message);
    a->failure.stacktrace = keep(q, a->failure.stacktrace);
    a->failure.doc_code = keep(q, a->failure.doc_code);
    a->failure.command_name = keep(q, a->failure.command_name);
    a->failure.future = NULL;
    a->failure.unknown = SLICE_NULL;
}

static void copy_attempt(void *arg, const struct invocation_id *id, const struct invoker_status *s) {
    struct query_attempt a = {.id = *id,
                              .in_flight = s->running,
                              .retry_count = s->started,
                              .last_start_ms = s->last_start_wall_ms,
                              .next_retry_ms = s->backing_off ? s->next_retry_wall_ms : 0,
                              .deployment = s->deployment ? slice_str(s->deployment) : SLICE_NULL,
                              .has_failure = s->last_failure != NULL};

    if (s->last_failure)
        a.failure = *s->last_failure;
    add_attempt(arg, &a);
}

static int by_id(const void *a, const void *b) {
    return memcmp(((const struct query_attempt *)a)->id.raw, ((const struct query_attempt *)b)->id.raw,
                  INVOCATION_ID_BYTES);
}

/* ---- jobs ---- */

static void submit(struct query *q, enum query_state s) {
    q->state = s;
    q->working = true;
    q->job = (struct job){.run = run, .done = ran};
    exec_submit(q->e->params.exec, q->e->params.loop, &q->job);
}

static void begin(struct query *q) {
    if (q->attempts)
        qsort(q->attempts, q->n_attempts, sizeof *q->attempts, by_id);
    q->q.data.attempts = q->attempts;
    q->q.data.n_attempts = q->n_attempts;
    if (q->format == QUERY_ARROW)
        q->arrow = out_arrow_new();
    else
        out_json_begin(&q->out);
}

static void step(struct query *q) {
    q->more = true;
    if (!q->stepped)
        begin(q);
    q->stepped = true;
    while (q->out.len < LIMIT_QUERY_CHUNK_BYTES) {
        int r = query_step(&q->q, &q->failure, &q->err);

        if (r < 0) {
            q->status = r;
            return;
        }
        if (r == 0) {
            if (q->arrow)
                out_arrow_end(q->arrow, &q->q, &q->out);
            else
                out_json_end(&q->out);
            q->more = false;
            break;
        }
        if (q->arrow)
            out_arrow_row(q->arrow, &q->q, &q->out);
        else
            out_json_row(&q->q, q->rows == 0, &q->out);
        q->rows++;
    }
    q->bytes += q->out.len;
    if (q->bytes > LIMIT_QUERY_ANSWER_BYTES) {
        q->failure = QUERY_FAILED;
        q->status = err_set(&q->err, RS_ETOOBIG, "the answer is larger than %u bytes", LIMIT_QUERY_ANSWER_BYTES);
    }
}

static void run(struct job *j) {
    struct query *q = CONTAINER_OF(j, struct query, job);

    if (q->state == Q_PREPARE)
        q->status = query_prepare(&q->q, slice_of(q->sql, q->sql_len), &q->failure, &q->err);
    else if (q->state == Q_STEP)
        step(q);
    if (q->state == Q_END || q->status < 0)
        query_finish(&q->q);
}

static void free_query(struct query *q) {
    struct query_engine *e = q->e;

    timer_stop(e->params.loop, &q->deadline);
    list_remove(&q->link);
    e->n--;
    q->remote = remote_free(q->remote);
    q->views = worker_views_free(q->views);
    q->arrow = out_arrow_free(q->arrow);
    if (q->schema)
        q->schema = schema_unref(q->schema);
    arena_done(&q->texts);
    buf_done(&q->out);
    free(q->attempts);
    free(q->sql);
    free(q);
}

static void close_now(void *arg) {
    struct query_engine *e = arg;
    void (*done)(void *) = e->closed;
    void *done_arg = e->closed_arg;

    free(e);
    if (done)
        done(done_arg);
}

static void close_if_empty(struct query_engine *e) {
    if (e->closing && !e->n && !e->server)
        loop_post(e->params.loop, close_now, e);
}

static void on_server_closed(void *arg) {
    struct query_engine *e = arg;

    e->server = NULL;
    close_if_empty(e);
}

/* SQLite's part is closed already. */
static void finish(struct query *q) {
    struct query_engine *e = q->e;

    if (!q->silent && q->ended)
        q->events.failed(q->events.arg, q->end_failure, q->end_why, q->begun);
    else if (!q->silent && q->status < 0)
        q->events.failed(q->events.arg, q->failure, q->err.msg, q->begun);
    free_query(q);
    close_if_empty(e);
}

static void on_views(void *arg, int status, struct worker_views *take_views, const struct err *err) {
    struct query *q = arg;

    q->views = take_views;
    if (status < 0) {
        q->failure = QUERY_FAILED;
        q->err = *err;
        q->status = status;
        submit(q, Q_END);
        return;
    }
    q->q.data.n_partitions = worker_views_partitions(take_views);
    go_on(q);
}

static void open_views(struct query *q) {
    q->state = Q_OPEN;
    q->working = true;
    worker_views_open(q->e->params.worker, on_views, q);
}

static void on_attempts(void *arg) {
    go_on(arg);
}

static void prepared(struct query *q) {
    struct worker *w = q->e->params.worker;

    q->schema = schema_ref(worker_schema(w));
    q->q.data.schema = q->schema;
    q->q.data.arg = q;
    q->q.data.get = data_get;
    q->q.data.scan = data_scan;
    q->q.data.now_ms = loop_wall_ns(q->e->params.loop) / 1000000;
    if (q->q.uses_rows || q->q.uses_attempts)
        q->remote = remote_new(q->e->params.loop, q->e->params.fabric, w);
    if (q->q.uses_attempts && worker_invoker(w))
        invoker_each(worker_invoker(w), copy_attempt, q);
    if (q->q.uses_attempts && q->remote) {
        q->state = Q_ATTEMPTS;
        q->working = true;
        remote_attempts(q->remote, add_attempt, on_attempts, q);
    } else if (q->q.uses_rows) {
        open_views(q);
    } else {
        submit(q, Q_STEP);
    }
}

static void deliver(struct query *q) {
    struct slice s = buf_slice(&q->out);
    bool more = q->more;

    q->begun = true;
    if (!more) { /* the answer is complete: what is left is to close */
        if (!q->silent)
            (void)q->events.chunk(q->events.arg, bytes_copy(s), true);
        q->silent = true;
        submit(q, Q_END);
        return;
    }
    q->state = Q_WAIT;
    q->working = false;
    if (!q->events.chunk(q->events.arg, bytes_copy(s), false) || q->state != Q_WAIT)
        return; /* until query_resume(), or it was canceled meanwhile */
    buf_clear(&q->out);
    submit(q, Q_STEP);
}

/* On the loop, after a job or when the views are there. */
static void go_on(struct query *q) {
    q->working = false;
    if (q->state == Q_END || q->status < 0)
        finish(q);
    else if (q->ended)
        submit(q, Q_END);
    else if (q->state == Q_PREPARE)
        prepared(q);
    else if (q->state == Q_ATTEMPTS && q->q.uses_rows)
        open_views(q);
    else if (q->state == Q_ATTEMPTS || q->state == Q_OPEN)
        submit(q, Q_STEP);
    else
        deliver(q);
}

static void ran(struct job *j) {
    go_on(CONTAINER_OF(j, struct query, job));
}

/* ---- from outside ---- */

static void give_up(struct query *q, enum query_failure f, const char *why) {
    if (q->ended)
        return;
    q->ended = true;
    q->end_failure = f;
    q->end_why = why;
    __atomic_store_n(&q->cancel, 1, __ATOMIC_RELAXED);
    remote_cancel(q->remote); /* a job may wait for another node */
    if (!q->working)
        submit(q, Q_END);
}

/* While a job runs it looks at the clock itself. */
static void on_deadline(void *arg) {
    struct query *q = arg;

    if (!q->working)
        give_up(q, QUERY_FAILED, "the query took too long and was stopped");
}

struct query_engine *query_engine_new(const struct query_engine_params *p) {
    struct query_engine *e = xnew(struct query_engine);

    e->params = *p;
    list_init(&e->queries);
    if (p->fabric)
        e->server = remote_server_new(p->loop, p->fabric, p->worker, p->pool);
    return e;
}

static void start(void *arg) {
    struct query *q = arg;

    if (q->status < 0 || q->ended)
        finish(q);
    else
        submit(q, Q_PREPARE);
}

static uint64_t clock_ns(void *arg) {
    return loop_mono_ns(arg);
}

struct query *query_start(struct query_engine *e, struct slice sql, enum query_format format,
                          const struct query_events *events) {
    struct query *q = xnew(struct query);

    q->e = e;
    q->events = *events;
    q->format = format;
    q->sql = xstrndup(sql.data, sql.len);
    q->sql_len = sql.len;
    q->working = true;
    q->q.cancel = &q->cancel;
    q->q.mono_ns = clock_ns;
    q->q.clock = e->params.loop;
    q->q.deadline_ns = loop_mono_ns(e->params.loop) + LIMIT_QUERY_NS;
    q->q.memory_bytes = e->params.memory_bytes;
    timer_init(&q->deadline, on_deadline, q);
    timer_set(e->params.loop, &q->deadline, LIMIT_QUERY_NS);
    if (e->stopping) {
        q->failure = QUERY_STOPPING;
        q->status = err_set(&q->err, RS_ECLOSED, "this node is stopping");
    } else if (e->n >= LIMIT_QUERIES) {
        q->failure = QUERY_BUSY;
        q->status = err_set(&q->err, RS_EAGAIN, "too many queries at once");
    }
    list_push_back(&e->queries, &q->link);
    e->n++;
    loop_post(e->params.loop, start, q);
    return q;
}

void query_resume(struct query *q) {
    if (q->state != Q_WAIT || q->working)
        return;
    buf_clear(&q->out);
    submit(q, Q_STEP);
}

void query_cancel(struct query *q) {
    q->silent = true;
    give_up(q, QUERY_FAILED, "canceled");
}

void query_engine_stop(struct query_engine *e) {
    e->stopping = true;
    LIST_FOREACH (l, &e->queries)
        give_up(LIST_ENTRY(l, struct query, link), QUERY_STOPPING, "this node is stopping");
}

void query_engine_close(struct query_engine *e, void (*done)(void *arg), void *arg) {
    query_engine_stop(e);
    e->closing = true;
    e->closed = done;
    e->closed_arg = arg;
    if (e->server)
        remote_server_close(e->server, on_server_closed, e);
    else
        close_if_empty(e);
}
