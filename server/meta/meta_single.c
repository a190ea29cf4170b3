/* SPDX-License-Identifier: Apache-2.0 */
/* The metadata provider of a cluster with one metadata server: the `meta` store is the truth, group commit per loop
 * turn.
 *
 * Row: key 'k' + metadata key; value u8 format = 1, u32 version (LE), the bytes, u32 crc32c of what precedes (LE). */
#include <inttypes.h>
#include <stdio.h>
#include "base/hash.h"
#include "meta/meta.h"
#include "storage/store.h"

#define ROW_FORMAT 1u
#define ROW_HEAD 5u
#define ROW_TAIL 4u

struct staged { /* the version a key will have once everything under way is durable */
    struct map_node node;
    uint32_t version;
    char key[META_KEY_MAX];
};

struct single;
struct group {            /* requests that share one commit */
    struct single *owner; /* NULL: the handle is gone */
    struct list link, reqs;
    struct store_batch *batch;
};

struct single {
    struct meta m;
    struct store *store;
    struct store_table *table;
    struct map staged;
    struct group *open;   /* of this turn, or NULL */
    struct list inflight; /* groups, oldest first */
    struct loop_hook commit;
};

static struct staged *staged_get(struct single *s, const char *key) {
    uint64_t hash = hash64(slice_str(key));
    struct staged *e;

    for (struct map_node *n = map_first(&s->staged, hash); n; n = map_next(n))
        if (strcmp(MAP_ENTRY(n, struct staged, node)->key, key) == 0)
            return MAP_ENTRY(n, struct staged, node);
    e = xnew(struct staged);
    snprintf(e->key, sizeof e->key, "%s", key);
    map_add(&s->staged, &e->node, hash);
    return e;
}

static void group_answer(struct single *s, struct group *g, int status, const struct err *err) {
    struct list *l;

    while ((l = list_pop_front(&g->reqs))) {
        struct meta_cas_req *r = LIST_ENTRY(l, struct meta_cas_req, link);
        bool mismatch = !r->value;

        if (!s) {
            meta_cas_drop(r);
        } else if (status < 0) {
            meta_cas_answer(r, status, 0, err);
        } else if (mismatch) {
            struct err e;

            err_set(&e, RS_EEXIST, "metadata key %s: another version was written", r->key);
            meta_cas_answer(r, RS_EEXIST, meta_version(&s->m, r->key), &e);
        } else {
            meta_publish(&s->m, r->key, r->expected + 1, r->value);
            meta_cas_answer(r, 0, r->expected + 1, NULL);
        }
        if (s && !g->owner) /* the callback freed the handle */
            s = NULL;
    }
}

static void group_free(struct group *g) {
    list_remove(&g->link);
    if (g->batch)
        (void)store_batch_free(g->batch);
    free(g);
}

static void group_done(void *arg, int status, const struct err *err) {
    struct group *g = arg;

    group_answer(g->owner, g, status, err);
    group_free(g);
}

static void commit_open(void *arg) {
    struct single *s = arg;
    struct group *g = TAKE(s->open);

    if (!g)
        return;
    if (g->batch) {
        list_push_back(&s->inflight, &g->link);
        store_commit(s->store, TAKE(g->batch), group_done, g);
    } else if (!list_empty(&s->inflight)) {
        /* Only refusals, because of writes that are still under way: they are answered together with those. */
        list_splice(&LIST_ENTRY(s->inflight.prev, struct group, link)->reqs, &g->reqs);
        group_free(g);
    } else {
        list_push_back(&s->inflight, &g->link);
        group_done(g, 0, NULL);
    }
}

static void put_row(struct single *s, struct store_batch *b, const struct meta_cas_req *r) {
    _cleanup_buf_ struct buf key = {0}, value = {0};

    buf_put_u8(&key, 'k');
    buf_put_str(&key, r->key);
    buf_put_u8(&value, ROW_FORMAT);
    buf_put_u32le(&value, r->expected + 1);
    buf_put_slice(&value, bytes_slice(r->value));
    buf_put_u32le(&value, crc32c(0, value.data, value.len));
    store_batch_put(b, s->table, buf_slice(&key), buf_slice(&value));
}

static void single_cas(struct meta *m, struct meta_cas_req *r) {
    struct single *s = CONTAINER_OF(m, struct single, m);
    struct staged *e = staged_get(s, r->key);

    if (!s->open) {
        s->open = xnew(struct group);
        s->open->owner = s;
        list_init(&s->open->reqs);
        loop_hook_arm(m->loop, &s->commit);
    }
    list_push_back(&s->open->reqs, &r->link);
    if (e->version != r->expected) {
        r->value = bytes_unref(r->value); /* marks the refusal */
        return;
    }
    e->version++;
    if (!s->open->batch)
        s->open->batch = store_batch_new();
    put_row(s, s->open->batch, r);
}

static void single_free(struct meta *m) {
    struct single *s = CONTAINER_OF(m, struct single, m);
    struct map_node *n;

    loop_hook_disarm(&s->commit);
    commit_open(s);
    LIST_FOREACH_SAFE (l, &s->inflight) {
        struct group *g = LIST_ENTRY(l, struct group, link);

        g->owner = NULL;
        list_remove(&g->link);
    }
    while ((n = map_iter(&s->staged, NULL))) {
        map_remove(&s->staged, n);
        free(MAP_ENTRY(n, struct staged, node));
    }
    map_done(&s->staged);
    meta_done(m);
    free(s);
}

static const struct meta_ops single_ops = {.cas = single_cas, .free = single_free};

struct load {
    struct single *s;
    struct err *err;
};

static int load_row(void *arg, struct slice key, struct slice value) {
    struct load *ld = arg;
    char name[META_KEY_MAX];
    struct bytes *b;
    uint32_t version;

    if (key.len < 2 || key.len > META_KEY_MAX)
        return err_set(ld->err, RS_ECORRUPT, "metadata store: a row key of %zu bytes", key.len);
    snprintf(name, sizeof name, SLICE_FMT, (int)(key.len - 1), (const char *)key.data + 1);
    if (value.len < ROW_HEAD + ROW_TAIL ||
        crc32c(0, value.data, value.len - ROW_TAIL) != get_u32le(value.data + value.len - ROW_TAIL))
        return err_set(ld->err, RS_ECORRUPT, "metadata store: the checksum of key %s does not match", name);
    if (value.data[0] != ROW_FORMAT)
        return err_set(ld->err, RS_ECORRUPT, "metadata store: key %s has format %u; this server knows %u", name,
                       value.data[0], ROW_FORMAT);
    version = get_u32le(value.data + 1);
    if (version == 0)
        return err_set(ld->err, RS_ECORRUPT, "metadata store: key %s has version 0", name);
    b = bytes_copy(slice_of(value.data + ROW_HEAD, value.len - ROW_HEAD - ROW_TAIL));
    staged_get(ld->s, name)->version = version;
    meta_publish(&ld->s->m, name, version, b);
    (void)bytes_unref(b);
    return 0;
}

int meta_single_open(struct loop *loop, struct store *store, struct meta **ret, struct err *err) {
    struct single *s = xnew(struct single);
    struct store_view *view = NULL;
    struct load ld = {s, err};
    int r;

    meta_init(&s->m, &single_ops, loop);
    s->store = store;
    list_init(&s->inflight);
    loop_hook_init(&s->commit, commit_open, s);
    r = store_table_open(store, "meta", &s->table, err);
    if (r == 0)
        r = store_view_new(store, &view, err);
    if (r == 0)
        r = store_view_scan(view, s->table, SLICE_LIT("k"), SLICE_LIT("l"), false, load_row, &ld, err);
    if (view)
        (void)store_view_free(view);
    if (r < 0) {
        (void)meta_free(&s->m);
        return r;
    }
    *ret = &s->m;
    return 0;
}
