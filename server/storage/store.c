/* SPDX-License-Identifier: Apache-2.0 */
/* storage/store.c : opening and closing, tables, the writer's cycle, group commit of SYNC stores. See store_internal.h
 * for the life of a cycle. The overlay of RELAXED stores is in overlay.c and cold.c. */
#include "base/limits.h"
#include "base/logging.h"
#include "storage/store_internal.h"

enum { RETRY_NS = 1000000000 };

static void cycle_job_run(struct job *j);
static void cycle_job_done(struct job *j);
static void start_next(struct store *s);

static bool is_sync(const struct store *s) {
    return s->p.durability == RS_STORE_SYNC;
}

int store_error(struct store *s, int code, const rs_error *e, struct err *err, const char *what) {
    (void)err_from_abi(err, code, e);
    return err_wrap(err, code, "store %s (%s): %s", s->name, s->p.dir, what);
}

/* ---- references ---- */

void store_ref(struct store *s) {
    (void)__atomic_add_fetch(&s->refs, 1, __ATOMIC_RELAXED);
}

void store_unref(struct store *s) {
    if (__atomic_sub_fetch(&s->refs, 1, __ATOMIC_ACQ_REL))
        return;
    (void)pthread_mutex_destroy(&s->plugin_lock);
    cold_free(s);
    for (struct list *e; (e = list_pop_front(&s->tables));)
        free(LIST_ENTRY(e, struct store_table, link));
    free((void *)(uintptr_t)s->p.dir);
    free(s->name);
    free(s);
}

void store_rs_unref(struct store *s) {
    if (__atomic_sub_fetch(&s->rs_refs, 1, __ATOMIC_ACQ_REL) == 0)
        s->p.ops->close(s->rs);
}

/* ---- open ---- */

static void on_kick(void *arg);
static void on_retry(void *arg);

static void set_defaults(struct store *s, const rs_limits *limits) {
    struct store_params *p = &s->p;
    bool slow = p->caps & RS_STORAGE_ALWAYS_SYNCED;

    if (!p->write_out_bytes)
        p->write_out_bytes = slow ? 8u << 20 : 1u << 20;
    if (!p->write_out_ns)
        p->write_out_ns = slow ? 500000000u : 50000000u;
    if (!p->sync_bytes)
        p->sync_bytes = slow ? 16u << 20 : 64u << 20;
    if (!p->sync_ns)
        p->sync_ns = 30000000000u;
    if (!p->overlay_limit_bytes)
        p->overlay_limit_bytes = 64u << 20;
    if (limits->batch_max)
        p->overlay_limit_bytes = MIN(p->overlay_limit_bytes, limits->batch_max); /* a generation is one batch */
    p->write_out_bytes = MIN(p->write_out_bytes, p->overlay_limit_bytes / 4);
}

static int check_limits(struct store *s, const rs_limits *limits, struct err *err) {
    if (limits->key_max < LIMIT_KEY_BYTES || (limits->value_max && limits->value_max < LIMIT_RECORD_BYTES))
        return err_set(err, RS_EUNSUPPORTED, "store %s (%s): the engine's limits are too small", s->name, s->p.dir);
    return 0;
}

int store_open(const struct store_params *p, struct store **ret, struct err *err) {
    struct store *s = xnew(struct store);
    rs_store_open o = {.struct_size = sizeof o, .durability = p->durability, .dir = p->dir};
    rs_error e = {.struct_size = sizeof e};
    rs_limits limits = {.struct_size = sizeof limits};
    int r;

    ASSERT(p->durability == RS_STORE_SYNC || p->durability == RS_STORE_RELAXED);
    s->p = *p;
    s->p.dir = xstrdup(p->dir);
    s->p.name = s->name = xstrdup(p->name);
    s->refs = s->rs_refs = 1;
    (void)pthread_mutex_init(&s->plugin_lock, NULL);
    list_init(&s->tables);
    list_init(&s->queue);
    list_init(&s->rejected);
    list_init(&s->waiters);
    list_init(&s->cycle.commits);
    list_init(&s->cycle.before);
    list_init(&s->cycle.after);
    s->job = (struct job){.run = cycle_job_run, .done = cycle_job_done};
    loop_hook_init(&s->start_hook, on_kick, s);
    timer_init(&s->retry_timer, on_retry, s);
    s->cached_reads = p->caps & RS_STORAGE_CACHED_READ;

    r = p->ops->open(p->self, &o, &s->rs, &e);
    if (r < 0) {
        r = store_error(s, r, &e, err, "cannot open");
        store_unref(s);
        return r;
    }
    p->ops->limits(s->rs, &limits);
    r = check_limits(s, &limits, err);
    set_defaults(s, &limits);
    if (r == 0 && !(s->rsb = p->ops->batch_new(s->rs, LIMIT_GROUP_COMMIT_BYTES / 4)))
        r = err_set(err, RS_ENOMEM, "store %s (%s): no memory for a batch", s->name, s->p.dir);
    if (r == 0 && !is_sync(s))
        r = overlay_open(s, err);
    if (r < 0) {
        if (s->rsb)
            p->ops->batch_free(s->rsb);
        store_rs_unref(s);
        store_unref(s);
        return r;
    }
    *ret = s;
    return 0;
}

bool store_is_poisoned(const struct store *s) {
    return s->poisoned;
}

uint64_t store_queued_bytes(const struct store *s) {
    return s->queued_bytes;
}

/* ---- tables ---- */

static struct store_table *find_table(struct store *s, const char *name) {
    LIST_FOREACH (e, &s->tables) {
        struct store_table *t = LIST_ENTRY(e, struct store_table, link);

        if (!t->dropped && strcmp(t->name, name) == 0)
            return t;
    }
    return NULL;
}

int store_table_open(struct store *s, const char *name, struct store_table **ret, struct err *err) {
    struct store_table *t = find_table(s, name);
    rs_error e = {.struct_size = sizeof e};
    int r;

    if (t) {
        *ret = t;
        return 0;
    }
    if (s->poisoned)
        return err_set(err, RS_ECLOSED, "store %s (%s) is poisoned: %s", s->name, s->p.dir, s->why.msg);
    t = xcalloc(1, sizeof *t + strlen(name) + 1);
    t->store = s;
    (void)strcpy(t->name, name);
    (void)pthread_mutex_lock(&s->plugin_lock);
    r = s->p.ops->table_open(s->rs, name, 0, &t->rs, &e);
    (void)pthread_mutex_unlock(&s->plugin_lock);
    if (r < 0) {
        free(t);
        (void)store_error(s, r, &e, err, "cannot open table");
        return err_wrap(err, r, "table %s", name);
    }
    list_push_back(&s->tables, &t->link);
    if (!is_sync(s) && (r = overlay_renew_view(s, err)) < 0) /* a view may not know tables younger than itself */
        return r;
    *ret = t;
    return 0;
}

int store_table_drop(struct store *s, const char *name, struct err *err) {
    struct store_table *t = find_table(s, name);
    rs_error e = {.struct_size = sizeof e};
    int r;

    if (!t)
        return err_set(err, RS_ENOENT, "store %s: table %s is not open", s->name, name);
    if (!is_sync(s))
        overlay_drop_table(s, t);
    (void)pthread_mutex_lock(&s->plugin_lock);
    t->dropped = true;
    r = s->p.ops->table_drop(s->rs, name, &e);
    (void)pthread_mutex_unlock(&s->plugin_lock);
    if (r < 0) {
        (void)store_error(s, r, &e, err, "cannot drop table");
        return err_wrap(err, r, "table %s", name);
    }
    return is_sync(s) ? 0 : overlay_renew_view(s, err);
}

/* ---- the cycle, on the writer ---- */

static int cycle_fail(struct store *s, struct cycle *c, int code, const rs_error *e, const char *what, bool final) {
    c->status = store_error(s, code, e, &c->err, what);
    c->final = final || (e->flags & RS_ERR_STICKY) ||
               (code != RS_ENOSPC && code != RS_ENOMEM && code != RS_EAGAIN); /* these left the store as it was */
    return code;
}

static int cycle_build(struct store *s, struct cycle *c) {
    const rs_storage_ops *ops = s->p.ops;
    int r = 0;

    ops->batch_clear(s->rsb);
    LIST_FOREACH (e, &c->commits) {
        r = batch_to_rs(LIST_ENTRY(e, struct store_batch, link), ops, s->rsb);
        if (r < 0)
            return r;
    }
    return c->gen ? overlay_build(s, c->gen) : 0;
}

static void cycle_run(struct store *s, struct cycle *c) {
    const rs_storage_ops *ops = s->p.ops;
    rs_error e = {.struct_size = sizeof e};
    int r;

    c->executed = true;
    c->status = 0;
    overlay_run_views(s, &c->before);
    if (c->gen || !list_empty(&c->commits)) {
        r = cycle_build(s, c);
        if (r == 0)
            r = ops->write(s->rs, s->rsb, is_sync(s) ? RS_WRITE_SYNC : 0, &e);
        if (r < 0) {
            (void)cycle_fail(s, c, r, &e, "write failed", false);
            return;
        }
        c->bytes = ops->batch_bytes(s->rsb);
        if (c->bytes > 4 * (uint64_t)LIMIT_GROUP_COMMIT_BYTES)
            ops->batch_clear(s->rsb); /* a very large batch shall not stay in memory until the next one */
    }
    LIST_FOREACH (l, &c->commits)
        batch_release(LIST_ENTRY(l, struct store_batch, link));
    if (c->gen) {
        r = ops->view_new(s->rs, &c->view, &e);
        if (r < 0) {
            (void)cycle_fail(s, c, r, &e, "cannot open a view", false);
            return;
        }
    }
    overlay_run_views(s, &c->after);
    if (c->sync && (r = ops->sync(s->rs, &e)) < 0)
        (void)cycle_fail(s, c, r, &e, "sync failed", true);
}

static void cycle_job_run(struct job *j) {
    struct store *s = CONTAINER_OF(j, struct store, job);

    (void)pthread_mutex_lock(&s->plugin_lock);
    if (!s->closed)
        cycle_run(s, &s->cycle);
    (void)pthread_mutex_unlock(&s->plugin_lock);
}

/* ---- the cycle, on the loop ---- */

static bool fill_commits(struct store *s, struct cycle *c) {
    size_t bytes = 0;

    while (!list_empty(&s->queue)) {
        struct store_batch *b = LIST_ENTRY(s->queue.next, struct store_batch, link);

        if (bytes && bytes + b->bytes > LIMIT_GROUP_COMMIT_BYTES)
            break;
        bytes += b->bytes + 1;
        list_remove(&b->link);
        list_push_back(&c->commits, &b->link);
    }
    return bytes > 0;
}

/* Prepares the next cycle; false: nothing to do. */
static bool fill_cycle(struct store *s) {
    struct cycle *c = &s->cycle;

    c->gen = NULL;
    c->view = NULL;
    c->sync = c->executed = c->final = false;
    c->status = 0;
    c->bytes = 0;
    return is_sync(s) ? fill_commits(s, c) : overlay_next_cycle(s, c);
}

static void submit(struct store *s) {
    s->busy = true;
    s->cycle.executed = false;
    store_ref(s);
    exec_submit(s->p.writer, s->p.loop, &s->job);
}

static void start_next(struct store *s) {
    if (!s->busy && !s->stalled && !s->poisoned && !s->closed && fill_cycle(s))
        submit(s);
}

static void finish_commits(struct list *l, int status, const struct err *err) {
    for (struct list *e; (e = list_pop_front(l));) {
        struct store_batch *b = LIST_ENTRY(e, struct store_batch, link);
        store_done_fn done = b->done;
        void *arg = b->arg;

        (void)store_batch_free(b);
        if (done)
            done(arg, status, status < 0 ? err : NULL);
    }
}

static void reject_queue(struct store *s) {
    struct list l = LIST_INIT(l);
    struct err err;

    (void)err_set(&err, RS_ECLOSED, "store %s is %s", s->name, s->poisoned ? "poisoned" : "closed");
    list_splice(&l, &s->queue);
    list_splice(&l, &s->rejected);
    s->queued_bytes = 0;
    finish_commits(&l, RS_ECLOSED, &err);
}

/* The end of everything: what was on its way gets the cause, what was queued RS_ECLOSED. */
static void poison(struct store *s, struct cycle *c) {
    struct list failed = LIST_INIT(failed);

    s->poisoned = true;
    s->why = c->err;
    list_splice(&failed, &c->commits);
    timer_stop(s->p.loop, &s->retry_timer);
    if (s->p.poisoned)
        s->p.poisoned(s->p.arg, &s->why);
    finish_commits(&failed, s->why.code, &s->why);
    reject_queue(s);
    if (!is_sync(s))
        overlay_discard(s, s->why.code, &s->why);
}

static void cycle_report(struct store *s) {
    struct cycle *c = &s->cycle;
    struct list commits = LIST_INIT(commits), ready = LIST_INIT(ready);
    bool was_stalled = s->stalled, written = false;
    bool final = c->status < 0 && c->final;

    s->busy = s->stalled = false;
    list_splice(&ready, &c->before);
    if (c->status == 0) {
        LIST_FOREACH (e, &c->commits)
            s->queued_bytes -= LIST_ENTRY(e, struct store_batch, link)->bytes;
        list_splice(&commits, &c->commits);
        list_splice(&ready, &c->after);
        written = !is_sync(s);
        if (written)
            overlay_written(s, c);
        if (was_stalled)
            LOG_INFO("store writes again", F_STR("store", s->name));
        start_next(s); /* from here on @c may be the writer's again */
    } else if (!final) {
        s->stalled = true;
        if (!was_stalled)
            LOG_WARN_ERR(&c->err, "store cannot write and tries again", F_STR("store", s->name));
        if (!s->closed)
            timer_set(s->p.loop, &s->retry_timer, RETRY_NS);
    }
    finish_commits(&commits, 0, NULL);
    overlay_call(s, &ready, 0, NULL);
    if (written)
        overlay_announce(s);
    if (final)
        poison(s, c);
}

static void cycle_job_done(struct job *j) {
    struct store *s = CONTAINER_OF(j, struct store, job);

    if (!s->closed)
        cycle_report(s);
    store_unref(s);
}

static void on_retry(void *arg) {
    struct store *s = arg;

    if (s->stalled && !s->busy && !s->poisoned)
        submit(s); /* the same cycle again; s->stalled stays until it is reported */
}

static void on_kick(void *arg) {
    struct store *s = arg;

    if (s->poisoned) {
        reject_queue(s);
        if (!is_sync(s))
            overlay_discard(s, RS_ECLOSED, &s->why);
    } else {
        if (!is_sync(s))
            overlay_tick(s);
        start_next(s);
    }
}

void store_kick(struct store *s) {
    if (!s->closed)
        loop_hook_arm(s->p.loop, &s->start_hook);
}

void store_commit(struct store *s, struct store_batch *take, store_done_fn done, void *arg) {
    ASSERT(is_sync(s));
    ASSERT_SLOW(loop_is_current(s->p.loop));
    take->done = done;
    take->arg = arg;
    if (s->poisoned || s->closed) {
        list_push_back(&s->rejected, &take->link);
    } else {
        s->queued_bytes += take->bytes;
        list_push_back(&s->queue, &take->link);
        if (s->busy || s->stalled)
            return; /* the report of the cycle on its way starts the next one */
    }
    store_kick(s);
}

/* ---- close ---- */

static void free_commits(struct list *l) {
    for (struct list *e; (e = list_pop_front(l));)
        (void)store_batch_free(LIST_ENTRY(e, struct store_batch, link));
}

/* From here the writer's job does nothing and brings nothing. Returns whether a cycle waits to be run or reported. */
static bool detach(struct store *s, bool call) {
    bool busy = s->busy || s->stalled;

    (void)pthread_mutex_lock(&s->plugin_lock);
    s->closed = true;
    (void)pthread_mutex_unlock(&s->plugin_lock);
    loop_hook_disarm(&s->start_hook);
    timer_stop(s->p.loop, &s->retry_timer);
    if (s->cold)
        cold_stop(s, call);
    return busy;
}

static void run_here(struct store *s, bool report_only) {
    (void)pthread_mutex_lock(&s->plugin_lock);
    if (!report_only)
        cycle_run(s, &s->cycle);
    (void)pthread_mutex_unlock(&s->plugin_lock);
    cycle_report(s);
}

static void release(struct store *s) {
    if (!is_sync(s))
        overlay_close(s);
    s->p.ops->batch_free(s->rsb);
    s->rsb = NULL;
    store_rs_unref(s);
    store_unref(s);
}

struct store *store_close(struct store *s) {
    struct err err;

    if (!s)
        return NULL;
    if (detach(s, true))
        run_here(s, s->busy && s->cycle.executed);
    while (!s->poisoned && !s->stalled) {
        if (!is_sync(s))
            overlay_freeze_all(s);
        if (!fill_cycle(s))
            break;
        run_here(s, false);
    }
    finish_commits(&s->cycle.commits, RS_ECLOSED, &s->cycle.err); /* only when the disk is full */
    reject_queue(s);
    free_commits(&s->rejected);
    if (!is_sync(s)) {
        (void)err_set(&err, RS_ECLOSED, "store %s is closed", s->name);
        overlay_discard(s, RS_ECLOSED, &err);
    }
    release(s);
    return NULL;
}

struct store *store_abandon(struct store *s) {
    if (!s)
        return NULL;
    (void)detach(s, false);
    free_commits(&s->cycle.commits);
    free_commits(&s->queue);
    free_commits(&s->rejected);
    release(s);
    return NULL;
}
