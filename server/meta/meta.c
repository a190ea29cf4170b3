/* SPDX-License-Identifier: Apache-2.0 */
/* Local copies, watches, deadlines and the read-modify-write loop: what every metadata provider shares. */
#include "meta/meta.h"

#include <stdio.h>
#include "base/hash.h"
#include "base/limits.h"

#define UPDATE_RETRY_NS 10000000u /* when the local copy has not caught up with the winner of a race */
#define UPDATE_RETRY_MAX_NS 1000000000u

struct entry {
    struct map_node node;
    uint32_t version;
    struct bytes *value;
    char key[META_KEY_MAX];
};

struct update {
    struct list link;
    struct meta *meta; /* NULL: the handle is gone while a post is on its way */
    char key[META_KEY_MAX];
    uint64_t deadline_ns;
    unsigned attempts;
    struct timer timer;
    meta_compute_fn compute;
    meta_cas_fn done;
    void *arg;
    int status; /* of a result that is posted */
    uint32_t version;
    struct err err;
    bool posted, own_arg;
};

static void update_step(struct update *u);

static void prime_watches(void *arg);

static uint64_t key_hash(const char *key) {
    return hash64(slice_str(key));
}

static struct entry *entry_find(const struct meta *m, const char *key) {
    for (struct map_node *n = map_first(&m->values, key_hash(key)); n; n = map_next(n))
        if (strcmp(MAP_ENTRY(n, struct entry, node)->key, key) == 0)
            return MAP_ENTRY(n, struct entry, node);
    return NULL;
}

int meta_get(const struct meta *m, const char *key, uint32_t *ret_version, struct bytes **ret) {
    const struct entry *e = entry_find(m, key);

    if (!e)
        return RS_ENOENT;
    if (ret_version)
        *ret_version = e->version;
    if (ret)
        *ret = e->value;
    return 0;
}

uint32_t meta_version(const struct meta *m, const char *key) {
    const struct entry *e = entry_find(m, key);

    return e ? e->version : 0;
}

/* ---- writes ---- */

static void req_free(struct meta_cas_req *r) {
    list_remove(&r->pending);
    if (r->meta)
        timer_stop(r->meta->loop, &r->timer);
    (void)bytes_unref(r->value);
    if (r->own_arg)
        free(r->arg);
    free(r);
}

static void req_expired(void *arg) {
    struct meta_cas_req *r = arg;
    meta_cas_fn done = TAKE(r->done);
    struct err err;

    if (!done)
        return;
    err_set(&err, RS_ETIMEDOUT, "metadata key %s: no answer before the deadline", r->key);
    done(r->arg, RS_ETIMEDOUT, 0, &err);
}

static void req_too_big(void *arg) {
    struct meta_cas_req *r = arg;
    struct err err;

    err_set(&err, RS_ETOOBIG, "metadata key %s: a value of %zu bytes is larger than the limit of %u", r->key,
            r->value->len, LIMIT_METADATA_VALUE_BYTES);
    meta_cas_answer(r, RS_ETOOBIG, 0, &err);
}

static void cas_start(struct meta *m, const char *key, uint32_t expected, struct slice value, uint64_t deadline_ns,
                      meta_cas_fn done, void *arg, bool own_arg) {
    struct meta_cas_req *r = xnew(struct meta_cas_req);

    ASSERT(strlen(key) < META_KEY_MAX);
    r->meta = m;
    snprintf(r->key, sizeof r->key, "%s", key);
    r->expected = expected;
    r->value = bytes_copy(value);
    r->done = done;
    r->arg = arg;
    r->own_arg = own_arg;
    list_push_back(&m->pending, &r->pending);
    timer_init(&r->timer, req_expired, r);
    if (value.len > LIMIT_METADATA_VALUE_BYTES) {
        loop_post(m->loop, req_too_big, r);
        return;
    }
    if (deadline_ns)
        timer_set_at(m->loop, &r->timer, deadline_ns);
    m->ops->cas(m, r);
}

void meta_cas(struct meta *m, const char *key, uint32_t expected, struct slice value, uint64_t deadline_ns,
              meta_cas_fn done, void *arg) {
    cas_start(m, key, expected, value, deadline_ns, done, arg, false);
}

void meta_cas_take(struct meta *m, const char *key, uint32_t expected, struct slice value, uint64_t deadline_ns,
                   meta_cas_fn done, void *take_arg) {
    cas_start(m, key, expected, value, deadline_ns, done, take_arg, true);
}

void meta_cas_answer(struct meta_cas_req *take, int status, uint32_t version, const struct err *err) {
    meta_cas_fn done = TAKE(take->done);

    list_remove(&take->pending);
    if (take->meta)
        timer_stop(take->meta->loop, &take->timer);
    take->meta = NULL; /* @done may free the handle */
    if (done)
        done(take->arg, status, version, err);
    req_free(take);
}

void meta_cas_drop(struct meta_cas_req *take) {
    req_free(take);
}

/* ---- read, compute, write ---- */

static void update_free(struct update *u) {
    if (u->own_arg)
        free(u->arg);
    free(u);
}

static void update_finish(struct update *u) {
    meta_cas_fn done = u->done;
    void *arg = u->arg;
    struct err err = u->err;
    int status = u->status;
    uint32_t version = u->version;

    list_remove(&u->link);
    if (u->meta)
        timer_stop(u->meta->loop, &u->timer);
    else
        done = NULL;
    if (done)
        done(arg, status, version, status < 0 ? &err : NULL);
    update_free(u);
}

static void update_posted(void *arg) {
    update_finish(arg);
}

static void update_written(void *arg, int status, uint32_t version, const struct err *err) {
    struct update *u = arg;
    uint64_t now = loop_now_ns(u->meta->loop), wait;

    u->status = status;
    u->version = version;
    if (err)
        u->err = *err;
    if (status != RS_EEXIST && status != RS_ETIMEDOUT) {
        update_finish(u);
        return;
    }
    if (u->deadline_ns && now >= u->deadline_ns) {
        u->status = err_set(&u->err, RS_ETIMEDOUT, "metadata key %s: not written before the deadline", u->key);
        update_finish(u);
        return;
    }
    if (meta_version(u->meta, u->key) == version) {
        update_step(u);
        return;
    }
    wait = UPDATE_RETRY_NS;
    for (unsigned i = 1; i < u->attempts && wait < UPDATE_RETRY_MAX_NS; i++)
        wait *= 2;
    for (unsigned i = 1; i < u->attempts && wait < UPDATE_RETRY_MAX_NS; i++)
        wait *= 2;
    timer_set(u->meta->loop, &u->timer, wait);
}

static void update_retry(void *arg) {
    update_step(arg);
}

static void update_step(struct update *u) {
    struct entry *e = entry_find(u->meta, u->key);
    uint32_t version = e ? e->version : 0;
    _cleanup_buf_ struct buf out = {0};
    int r;

    u->attempts++;
    r = u->compute(u->arg, version, e ? bytes_slice(e->value) : SLICE_NULL, &out, &u->err);
    if (r == 0) {
        meta_cas(u->meta, u->key, version, buf_slice(&out), u->deadline_ns, update_written, u);
        return;
    }
    u->status = MIN(r, 0);
    u->version = version;
    u->posted = true;
    loop_post(u->meta->loop, update_posted, u);
}

static struct update *update_new(struct meta *m, const char *key, uint64_t deadline_ns, meta_compute_fn compute,
                                 meta_cas_fn done, void *arg) {
    struct update *u = xnew(struct update);

    ASSERT(strlen(key) < META_KEY_MAX);
    u->meta = m;
    snprintf(u->key, sizeof u->key, "%s", key);
    u->deadline_ns = deadline_ns;
    u->compute = compute;
    u->done = done;
    u->arg = arg;
    timer_init(&u->timer, update_retry, u);
    list_push_back(&m->updates, &u->link);
    return u;
}

void meta_update(struct meta *m, const char *key, uint64_t deadline_ns, meta_compute_fn compute, meta_cas_fn done,
                 void *arg) {
    update_step(update_new(m, key, deadline_ns, compute, done, arg));
}

void meta_update_take(struct meta *m, const char *key, uint64_t deadline_ns, meta_compute_fn compute, meta_cas_fn done,
                      void *take_arg) {
    struct update *u = update_new(m, key, deadline_ns, compute, done, take_arg);

    u->own_arg = true;
    update_step(u);
}

/* ---- watches ---- */

static bool watch_matches(const struct meta_watch *w, const char *key) {
    return strncmp(key, w->prefix, strlen(w->prefix)) == 0;
}

static void prime_watches(void *arg) {
    struct meta *m = arg;
    struct list *l = m->watches.next;

    while (l != &m->watches) {
        struct meta_watch *w = LIST_ENTRY(l, struct meta_watch, link);

        if (w->primed) {
            l = l->next;
            continue;
        }
        w->primed = true;
        m->visiting = w;
        MAP_FOREACH (n, &m->values) {
            struct entry *e = MAP_ENTRY(n, struct entry, node);

            if (m->visiting && watch_matches(w, e->key))
                w->changed(w->arg, e->key, e->version, e->value);
        }
        m->visiting = NULL;
        l = m->watches.next; /* the callbacks may have taken any watch away */
    }
}

void meta_watch(struct meta *m, struct meta_watch *w, const char *prefix) {
    ASSERT(strlen(prefix) < META_KEY_MAX);
    ASSERT(w->changed);
    w->meta = m;
    w->primed = false;
    snprintf(w->prefix, sizeof w->prefix, "%s", prefix);
    list_push_back(&m->watches, &w->link);
    loop_hook_arm(m->loop, &m->prime);
}

void meta_unwatch(struct meta_watch *w) {
    struct meta *m = w->meta;

    if (!m)
        return;
    if (m->visiting == w)
        m->visiting = NULL;
    if (m->next == w)
        m->next = w->link.next == &m->watches ? NULL : LIST_ENTRY(w->link.next, struct meta_watch, link);
    list_remove(&w->link);
    w->meta = NULL;
}

void meta_publish(struct meta *m, const char *key, uint32_t version, struct bytes *value) {
    struct entry *e = entry_find(m, key);
    struct bytes *old;

    if (e && e->version >= version)
        return;
    if (!e) {
        e = xnew(struct entry);
        snprintf(e->key, sizeof e->key, "%s", key);
        map_add(&m->values, &e->node, key_hash(key));
    }
    old = e->value;
    e->value = bytes_ref(value);
    e->version = version;
    (void)bytes_unref(old);
    m->next = list_empty(&m->watches) ? NULL : LIST_ENTRY(m->watches.next, struct meta_watch, link);
    while (m->next) {
        struct meta_watch *w = m->next;

        m->next = w->link.next == &m->watches ? NULL : LIST_ENTRY(w->link.next, struct meta_watch, link);
        if (w->primed && watch_matches(w, key))
            w->changed(w->arg, e->key, e->version, e->value);
    }
}

static int entry_order(const void *a, const void *b) {
    return strcmp((*(struct entry *const *)a)->key, (*(struct entry *const *)b)->key);
}

void meta_each(const struct meta *m, void (*each)(void *arg, const char *key, uint32_t version, struct bytes *value),
               void *arg) {
    struct entry **all = xnewn(struct entry *, m->values.n + 1);
    size_t n = 0;

    MAP_FOREACH (node, &m->values)
        all[n++] = MAP_ENTRY(node, struct entry, node);
    qsort(all, n, sizeof *all, entry_order);
    for (size_t i = 0; i < n; i++)
        each(arg, all[i]->key, all[i]->version, all[i]->value);
    free(all);
}

/* ---- life ---- */

void meta_init(struct meta *m, const struct meta_ops *ops, struct loop *loop) {
    m->ops = ops;
    m->loop = loop;
    list_init(&m->watches);
    list_init(&m->pending);
    list_init(&m->updates);
    list_init(&m->cleanups);
    loop_hook_init(&m->prime, prime_watches, m);
}

void meta_done(struct meta *m) {
    struct map_node *n;

    loop_hook_disarm(&m->prime);
    LIST_FOREACH_SAFE (l, &m->watches) {
        struct meta_watch *w = LIST_ENTRY(l, struct meta_watch, link);

        list_remove(&w->link);
        w->meta = NULL;
    }
    while ((n = map_iter(&m->values, NULL))) {
        struct entry *e = MAP_ENTRY(n, struct entry, node);

        map_remove(&m->values, n);
        (void)bytes_unref(e->value);
        free(e);
    }
    map_done(&m->values);
}

void meta_on_free(struct meta *m, struct meta_cleanup *c) {
    list_push_back(&m->cleanups, &c->link);
}

struct meta *meta_free(struct meta *m) {
    struct list *e;

    if (!m)
        return NULL;
    while ((e = list_pop_front(&m->cleanups))) {
        struct meta_cleanup *c = LIST_ENTRY(e, struct meta_cleanup, link);

        c->fn(c->arg);
    }
    LIST_FOREACH_SAFE (l, &m->pending) {
        struct meta_cas_req *r = LIST_ENTRY(l, struct meta_cas_req, pending);

        timer_stop(m->loop, &r->timer);
        list_remove(&r->pending);
        r->done = NULL;
        r->meta = NULL;
    }
    LIST_FOREACH_SAFE (l, &m->updates) {
        struct update *u = LIST_ENTRY(l, struct update, link);

        timer_stop(m->loop, &u->timer);
        list_remove(&u->link);
        u->meta = NULL;
        if (!u->posted)
            update_free(u);
    }
    m->ops->free(m);
    return NULL;
}
