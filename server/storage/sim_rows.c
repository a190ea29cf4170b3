/* SPDX-License-Identifier: Apache-2.0 */
#include "storage/sim_rows.h"

#include <string.h>

struct tomb {         /* a deletion that may become the end of its row */
    struct list link; /* image.tombs, by seq */
    rs_table *table;
    uint64_t seq;
    size_t key_len;
    uint8_t key[];
};

uint64_t sim_draw(uint64_t *random) {
    uint64_t z = (*random += 0x9e3779b97f4a7c15u);

    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

/* ---- rows: a skip list per table ---- */

struct sim_row *sim_row_seek(rs_table *t, struct slice key, struct sim_row **before[SIM_LEVELS]) {
    struct sim_row **links = t->head;

    for (int l = SIM_LEVELS; l-- > 0;) {
        while (links[l] && slice_cmp(sim_row_key(links[l]), key) < 0)
            links = links[l]->next;
        if (before)
            before[l] = &links[l];
    }
    return links[0];
}

struct sim_row *sim_row_before(rs_table *t, struct slice key, bool bounded) {
    struct sim_row **links = t->head, *at = NULL;

    for (int l = SIM_LEVELS; l-- > 0;)
        while (links[l] && (!bounded || slice_cmp(sim_row_key(links[l]), key) < 0)) {
            at = links[l];
            links = at->next;
        }
    return at;
}

struct sim_row *sim_row_add(rs_table *t, struct slice key) {
    struct sim_row **before[SIM_LEVELS], *r = sim_row_seek(t, key, before);
    uint64_t bits;
    int levels = 1;

    if (r && slice_eq(sim_row_key(r), key))
        return r;
    for (bits = sim_draw(t->image->random); levels < SIM_LEVELS && (bits & 3) == 0; bits >>= 2)
        levels++;
    r = xcalloc(1, sizeof *r + (size_t)levels * sizeof(struct sim_row *));
    r->key = xmalloc(key.len + 1);
    memcpy(r->key, key.data, key.len);
    r->key_len = key.len;
    for (int l = 0; l < levels; l++) {
        r->next[l] = *before[l];
        *before[l] = r;
    }
    return r;
}

static void row_free(struct sim_row *r) {
    while (r->newest) {
        struct sim_version *v = r->newest;

        r->newest = v->older;
        free(v);
    }
    free(r->key);
    free(r);
}

static void row_remove(rs_table *t, struct sim_row *r) {
    struct sim_row **before[SIM_LEVELS];

    (void)sim_row_seek(t, sim_row_key(r), before);
    for (int l = 0; l < SIM_LEVELS && *before[l] == r; l++)
        *before[l] = r->next[l];
    row_free(r);
}

const struct sim_version *sim_row_visible(const struct sim_row *r, uint64_t seq) {
    const struct sim_version *v = r->newest;

    while (v && v->seq > seq)
        v = v->older;
    return v;
}

uint64_t sim_image_horizon(const struct sim_image *im) {
    uint64_t h = im->synced;

    LIST_FOREACH (e, &im->views)
        h = MIN(h, LIST_ENTRY(e, struct sim_view, link)->seq);
    return h;
}

static void prune(struct sim_row *r, uint64_t h) {
    struct sim_version *v = r->newest;

    while (v && v->seq > h)
        v = v->older;
    while (v && v->older) {
        struct sim_version *old = v->older;

        v->older = old->older;
        free(old);
    }
}

void sim_image_bury(struct sim_image *im) {
    uint64_t h = sim_image_horizon(im);

    while (!list_empty(&im->tombs)) {
        struct tomb *t = LIST_ENTRY(im->tombs.next, struct tomb, link);
        struct slice key = slice_of(t->key, t->key_len);
        struct sim_row *r;

        if (t->seq > h)
            break;
        list_remove(&t->link);
        r = t->table->dropped ? NULL : sim_row_seek(t->table, key, NULL);
        if (r && slice_eq(sim_row_key(r), key) && r->newest->deleted && r->newest->seq == t->seq)
            row_remove(t->table, r);
        free(t);
    }
}

void sim_row_put(rs_table *t, struct sim_row *r, uint64_t seq, bool deleted, struct slice value, uint64_t h) {
    struct sim_version *v;

    if (r->newest && r->newest->seq == seq) { /* twice in one batch */
        v = r->newest;
        r->newest = v->older;
        free(v);
    }
    v = xmalloc(sizeof *v + value.len);
    *v = (struct sim_version){.older = r->newest, .seq = seq, .deleted = deleted, .len = value.len};
    if (value.len)
        memcpy(v->data, value.data, value.len);
    r->newest = v;
    prune(r, h);
    if (deleted) {
        struct tomb *b = xmalloc(sizeof *b + r->key_len);

        *b = (struct tomb){.table = t, .seq = seq, .key_len = r->key_len};
        memcpy(b->key, r->key, r->key_len);
        list_push_back(&t->image->tombs, &b->link);
    }
}

/* ---- images ---- */

struct sim_image *sim_image_new(uint64_t *random) {
    struct sim_image *im = xnew(struct sim_image);

    im->refs = 1;
    im->random = random;
    list_init(&im->tables);
    list_init(&im->views);
    list_init(&im->tombs);
    return im;
}

static void table_clear(rs_table *t) {
    for (struct sim_row *r = t->head[0], *next; r; r = next) {
        next = r->next[0];
        row_free(r);
    }
    memset(t->head, 0, sizeof t->head);
}

void sim_image_unref(struct sim_image *im) {
    if (--im->refs)
        return;
    for (struct list *e; (e = list_pop_front(&im->tables));) {
        rs_table *t = LIST_ENTRY(e, rs_table, link);

        table_clear(t);
        free(t->name);
        free(t);
    }
    for (struct list *e; (e = list_pop_front(&im->tombs));)
        free(LIST_ENTRY(e, struct tomb, link));
    free(im);
}

rs_table *sim_table_find(struct sim_image *im, const char *name) {
    LIST_FOREACH (e, &im->tables) {
        rs_table *t = LIST_ENTRY(e, rs_table, link);

        if (!t->dropped && strcmp(t->name, name) == 0)
            return t;
    }
    return NULL;
}

rs_table *sim_table_add(struct sim_image *im, const char *name) {
    rs_table *t = xnew(rs_table);

    t->image = im;
    t->name = xstrdup(name);
    list_push_back(&im->tables, &t->link);
    return t;
}

struct sim_image *sim_image_cut(const struct sim_image *im, uint64_t seq) {
    struct sim_image *copy = sim_image_new(im->random);

    copy->seq = copy->synced = seq;
    LIST_FOREACH (e, &im->tables) {
        const rs_table *t = LIST_ENTRY(e, rs_table, link);
        rs_table *to;

        if (t->dropped)
            continue;
        to = sim_table_add(copy, t->name);
        for (const struct sim_row *r = t->head[0]; r; r = r->next[0]) {
            const struct sim_version *v = sim_row_visible(r, seq);

            if (v && !v->deleted)
                sim_row_put(to, sim_row_add(to, sim_row_key(r)), v->seq, false, slice_of(v->data, v->len), seq);
        }
    }
    return copy;
}
