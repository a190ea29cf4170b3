/* SPDX-License-Identifier: Apache-2.0 */
/* storage/overlay.c : the generations of a RELAXED store: writes, freezing, what a cycle writes, point reads, marks,
 * barriers.
 *
 * Invariants: a key's newest value is in the active generation, else in the newest frozen one that has it, else in the
 * engine view, which holds every generation that was dropped. A generation is dropped only together with taking a view
 * made after its write. */
#include "base/limits.h"
#include "storage/store_internal.h"

static void on_age(void *arg);
static void on_sync_due(void *arg);
static void on_turn_end(void *arg);

/* ---- generations ---- */

static bool gen_empty(const struct generation *g) {
    return g->n_tables == 0;
}

static void gen_clear(struct generation *g) {
    for (size_t i = 0; i < g->n_tables; i++)
        g->tables[i]->trees[g->slot] = (struct tree){0};
    g->n_tables = 0;
    g->bytes = 0;
    arena_clear(&g->arena);
}

static void gen_start(struct store *s, uint64_t seq) {
    for (unsigned i = 0; i < GENERATIONS; i++) {
        struct generation *g = &s->gens[i];
        bool used = false;

        for (unsigned k = 0; k < s->n_frozen; k++)
            used |= s->frozen[k] == g;
        if (!used) {
            g->slot = i;
            g->seq = seq;
            s->active = g;
            return;
        }
    }
    UNREACHABLE("three generations, at most two frozen");
}

static void freeze(struct store *s) {
    s->active->mark = s->mark;
    s->frozen[s->n_frozen++] = s->active;
    s->age_due = false;
    timer_stop(s->p.loop, &s->age_timer);
    gen_start(s, s->active->seq + 1);
}

static bool somebody_waits(const struct store *s) {
    LIST_FOREACH (e, &s->waiters)
        if (LIST_ENTRY(e, struct waiter, link)->seq == s->active->seq)
            return true;
    return false;
}

void overlay_tick(struct store *s) {
    if (!gen_empty(s->active) && s->n_frozen < GENERATIONS - 1 &&
        (s->active->bytes >= s->p.write_out_bytes || s->age_due || somebody_waits(s)))
        freeze(s);
}

void overlay_freeze_all(struct store *s) {
    if (!gen_empty(s->active) && s->n_frozen < GENERATIONS - 1)
        freeze(s);
    s->sync_due = gen_empty(s->active) && s->n_frozen <= 1 && (s->n_frozen || s->unsynced_bytes);
}

int overlay_open(struct store *s, struct err *err) {
    rs_error e = {.struct_size = sizeof e};
    int r = s->p.ops->view_new(s->rs, &s->view, &e);

    if (r < 0)
        return store_error(s, r, &e, err, "cannot open a view");
    gen_start(s, 1);
    timer_init(&s->age_timer, on_age, s);
    timer_init(&s->sync_timer, on_sync_due, s);
    loop_hook_init(&s->turn_hook, on_turn_end, s);
    cold_open(s);
    return 0;
}

static void free_waiters(struct list *l) {
    for (struct list *e; (e = list_pop_front(l));) {
        struct waiter *w = LIST_ENTRY(e, struct waiter, link);

        (void)store_view_free(w->view);
        free(w);
    }
}

void overlay_close(struct store *s) {
    overlay_release_pins(s);
    free(s->pins);
    free_waiters(&s->waiters);
    free_waiters(&s->cycle.before);
    free_waiters(&s->cycle.after);
    if (s->cycle.view)
        s->p.ops->view_free(s->cycle.view);
    timer_stop(s->p.loop, &s->age_timer);
    timer_stop(s->p.loop, &s->sync_timer);
    loop_hook_disarm(&s->turn_hook);
    cold_forget(s); /* the struct stays for jobs that the executor still holds */
    for (unsigned i = 0; i < GENERATIONS; i++) {
        gen_clear(&s->gens[i]);
        arena_done(&s->gens[i].arena);
        free(s->gens[i].tables);
    }
    s->p.ops->view_free(s->view);
}

static void on_age(void *arg) {
    struct store *s = arg;

    s->age_due = true;
    store_kick(s);
}

static void on_sync_due(void *arg) {
    struct store *s = arg;

    s->sync_due = true;
    store_kick(s);
}

static void on_turn_end(void *arg) {
    overlay_release_pins(arg);
}

/* ---- what the writer does ---- */

static void take_waiters(struct store *s, struct cycle *c, uint64_t covered) {
    LIST_FOREACH_SAFE (e, &s->waiters) {
        struct waiter *w = LIST_ENTRY(e, struct waiter, link);

        if (w->seq > covered)
            continue;
        list_remove(&w->link);
        list_push_back(w->barrier && w->seq <= s->seq_written ? &c->before : &c->after, &w->link);
        c->sync |= !w->barrier;
    }
}

bool overlay_next_cycle(struct store *s, struct cycle *c) {
    bool newest;

    overlay_tick(s);
    c->gen = s->n_frozen ? s->frozen[0] : NULL;
    newest = s->n_frozen <= 1 && gen_empty(s->active); /* nothing is in the overlay behind this cycle */
    c->mark = newest ? s->mark : c->gen ? c->gen->mark : s->mark_written;
    take_waiters(s, c, c->gen ? c->gen->seq : s->seq_written);
    c->sync |= s->sync_due || s->unsynced_bytes + (c->gen ? c->gen->bytes : 0) >= s->p.sync_bytes;
    return c->gen || c->sync || !list_empty(&c->before) || !list_empty(&c->after);
}

int overlay_build(struct store *s, const struct generation *g) {
    const rs_storage_ops *ops = s->p.ops;

    for (size_t i = 0; i < g->n_tables; i++) {
        const struct store_table *t = g->tables[i];

        if (t->dropped)
            continue;
        for (struct tree_cursor c = tree_first(&t->trees[g->slot]); c.leaf; tree_next(&c)) {
            const struct tree_entry *e = tree_at(&c);
            struct iovec iov = {e->value, e->value_len};
            int r = e->deleted ? ops->batch_del(s->rsb, t->rs, rs_of(tree_key(e)))
                               : ops->batch_put(s->rsb, t->rs, rs_of(tree_key(e)), &iov, 1);

            if (r < 0)
                return r;
        }
    }
    return 0;
}

void overlay_run_views(struct store *s, struct list *waiters) {
    LIST_FOREACH (l, waiters) {
        struct waiter *w = LIST_ENTRY(l, struct waiter, link);
        rs_error e = {.struct_size = sizeof e};
        rs_view *v;

        if (!w->barrier || w->view)
            continue;
        w->status = s->p.ops->view_new(s->rs, &v, &e);
        if (w->status < 0)
            (void)store_error(s, w->status, &e, &w->err, "cannot open a view");
        else
            w->view = view_wrap(s, v);
    }
}

static void drop_oldest(struct store *s) {
    struct generation *g = s->frozen[0];

    s->frozen[0] = s->frozen[1];
    s->frozen[1] = NULL;
    s->n_frozen--;
    s->overlay_bytes -= g->bytes;
    cold_written(s, g);
    gen_clear(g);
}

void overlay_written(struct store *s, struct cycle *c) {
    if (c->gen) {
        ASSERT(c->gen == s->frozen[0]);
        overlay_release_pins(s);
        s->p.ops->view_free(s->view);
        s->view = TAKE(c->view);
        s->seq_written = c->gen->seq;
        s->unsynced_bytes += c->bytes + 1;
        drop_oldest(s);
        if (!timer_armed(&s->sync_timer) && !s->closed)
            timer_set(s->p.loop, &s->sync_timer, s->p.sync_ns);
    }
    s->mark_written = c->mark;
    if (c->sync) {
        s->sync_due = false;
        s->unsynced_bytes = 0;
        timer_stop(s->p.loop, &s->sync_timer);
        if (c->mark > s->mark_durable) {
            s->mark_durable = c->mark;
            s->durable_rose = true;
        }
    }
}

void overlay_call(struct store *s, struct list *waiters, int status, const struct err *err) {
    for (struct list *l; (l = list_pop_front(waiters));) {
        struct waiter *w = LIST_ENTRY(l, struct waiter, link);

        if (status < 0) {
            w->view = store_view_free(w->view);
            w->status = status;
            w->err = *err;
        }
        if (w->barrier)
            w->view_done(w->arg, w->status, w->view, w->status < 0 ? &w->err : NULL);
        else if (w->done)
            w->done(w->arg, w->status, w->status < 0 ? &w->err : NULL);
        free(w);
    }
}

void overlay_announce(struct store *s) {
    if (s->durable_rose) {
        s->durable_rose = false;
        if (s->p.durable)
            s->p.durable(s->p.arg);
    }
    if (s->was_full && store_writable(s)) {
        s->was_full = false;
        if (s->p.writable)
            s->p.writable(s->p.arg);
    }
}

void overlay_discard(struct store *s, int status, const struct err *err) {
    struct list l = LIST_INIT(l);

    list_splice(&l, &s->cycle.before);
    list_splice(&l, &s->cycle.after);
    list_splice(&l, &s->waiters);
    overlay_release_pins(s);
    s->n_frozen = 0;
    for (unsigned i = 0; i < GENERATIONS; i++)
        gen_clear(&s->gens[i]);
    s->overlay_bytes = 0;
    timer_stop(s->p.loop, &s->age_timer);
    timer_stop(s->p.loop, &s->sync_timer);
    overlay_call(s, &l, status, err);
}

int overlay_renew_view(struct store *s, struct err *err) {
    rs_error e = {.struct_size = sizeof e};
    rs_view *v;
    int r = s->p.ops->view_new(s->rs, &v, &e);

    if (r < 0)
        return store_error(s, r, &e, err, "cannot open a view");
    overlay_release_pins(s);
    s->p.ops->view_free(s->view);
    s->view = v;
    return 0;
}

void overlay_drop_table(struct store *s, struct store_table *t) {
    overlay_release_pins(s);
    cold_forget(s);
}

/* ---- writes ---- */

static void note_table(struct generation *g, struct store_table *t) {
    if (g->n_tables == g->cap_tables) {
        g->cap_tables = g->cap_tables ? g->cap_tables * 2 : 16;
        g->tables = xrealloc(g->tables, g->cap_tables * sizeof(struct store_table *));
    }
    g->tables[g->n_tables++] = t;
}

static void write_row(struct store *s, struct store_table *t, struct slice key, struct slice value, bool deleted) {
    struct generation *g = s->active;
    struct tree *tree = &t->trees[g->slot];
    size_t used;

    ASSERT_SLOW(loop_is_current(s->p.loop));
    ASSERT_SLOW(!t->dropped);
    if (UNLIKELY(s->poisoned))
        return;
    if (UNLIKELY(!tree->root)) {
        if (gen_empty(g))
            timer_set(s->p.loop, &s->age_timer, s->p.write_out_ns);
        note_table(g, t);
    }
    used = tree_put(tree, &g->arena, key, value, deleted);
    overlay_release_pins(s); /* not before: @value may be one */
    g->bytes += used;
    s->overlay_bytes += used;
    if (UNLIKELY(g->bytes >= s->p.write_out_bytes))
        store_kick(s);
    if (UNLIKELY(s->overlay_bytes >= s->p.overlay_limit_bytes))
        s->was_full = true;
}

void store_put(struct store *s, struct store_table *t, struct slice key, struct slice value) {
    write_row(s, t, key, value, false);
}

void store_del(struct store *s, struct store_table *t, struct slice key) {
    write_row(s, t, key, SLICE_NULL, true);
}

bool store_writable(const struct store *s) {
    return s->overlay_bytes < s->p.overlay_limit_bytes && !s->poisoned;
}

/* ---- point reads ---- */

void overlay_release_pins(struct store *s) {
    for (size_t i = 0; i < s->n_pins; i++)
        s->p.ops->unpin(&s->pins[i]);
    s->n_pins = 0;
}

static int engine_get(struct store *s, struct store_table *t, struct slice key, struct slice *ret, struct err *err) {
    rs_error e;
    rs_pin pin;
    int r;

    e.struct_size = sizeof e;
    e.flags = 0;
    e.native = 0;
    e.msg[0] = 0;
    r = s->p.ops->get(s->view, t->rs, rs_of(key), RS_READ_CACHED, &pin, &e);
    if (r == RS_ENOENT)
        return r;
    if (r == RS_EAGAIN) {
        cold_missed(s, t, key);
        return r;
    }
    if (r < 0)
        return store_error(s, r, &e, err, "cannot read");
    if (s->n_pins == s->cap_pins) {
        s->cap_pins = s->cap_pins ? s->cap_pins * 2 : 64;
        s->pins = xrealloc(s->pins, s->cap_pins * sizeof(rs_pin));
    }
    if (s->n_pins == 0 && !s->closed)
        loop_hook_arm(s->p.loop, &s->turn_hook);
    s->pins[s->n_pins++] = pin;
    *ret = slice_of_rs(pin.value);
    return 0;
}

int store_get(struct store *s, struct store_table *t, struct slice key, struct slice *ret, struct err *err) {
    const struct tree_entry *e = tree_get(&t->trees[s->active->slot], key);
    int r;

    ASSERT_SLOW(loop_is_current(s->p.loop));
    for (unsigned i = s->n_frozen; !e && i-- > 0;)
        e = tree_get(&t->trees[s->frozen[i]->slot], key);
    if (e) {
        if (e->deleted)
            return RS_ENOENT;
        *ret = tree_value(e);
        return 0;
    }
    if (UNLIKELY(s->poisoned))
        return err_set(err, RS_ECLOSED, "store %s is poisoned: %s", s->name, s->why.msg);
    r = cold_get(s, t, key, ret);
    if (r != RS_EAGAIN)
        return r > 0 ? 0 : RS_ENOENT;
    if (!s->cached_reads) {
        cold_missed(s, t, key);
        return RS_EAGAIN;
    }
    return engine_get(s, t, key, ret, err);
}

/* ---- marks, sync, barrier ---- */

uint64_t store_mark(struct store *s) {
    s->mark++;
    if (UNLIKELY(s->active->bytes >= s->p.write_out_bytes))
        overlay_tick(s);
    return s->mark;
}

uint64_t store_durable_mark(const struct store *s) {
    return s->mark_durable;
}

static struct waiter *add_waiter(struct store *s, void *arg) {
    struct waiter *w = xnew(struct waiter);

    ASSERT_SLOW(loop_is_current(s->p.loop));
    w->arg = arg;
    if (!gen_empty(s->active))
        w->seq = s->active->seq;
    else
        w->seq = s->n_frozen ? s->frozen[s->n_frozen - 1]->seq : s->seq_written;
    list_push_back(&s->waiters, &w->link);
    return w;
}

void store_sync(struct store *s, store_done_fn done, void *arg) {
    struct waiter *w = add_waiter(s, arg);

    w->done = done;
    overlay_tick(s);
    store_kick(s);
}

void store_barrier(struct store *s, store_view_fn done, void *arg) {
    struct waiter *w = add_waiter(s, arg);

    w->barrier = true;
    w->view_done = done;
    overlay_tick(s);
    store_kick(s);
}
