/* SPDX-License-Identifier: Apache-2.0 */
/* worker/sm_object.c : what belongs to one object key: the lock of exclusive handlers, the inbox of those that wait for
 * it, and the state. The lock row counts the inbox, so that an uncontended end needs no scan. */
#include <stdlib.h>
#include "base/hash.h"
#include "worker/sm_internal.h"

enum { INBOX_INVOCATION = 1, INBOX_PATCH = 2, LOCK_BYTES = INVOCATION_ID_BYTES + 4 };

/* ---- lock and inbox ---- */

static void lock_put(struct apply *ap, const struct object_key *o, const struct invocation_id *holder,
                     uint32_t waiting) {
    struct table_key k;
    struct slice row;
    uint8_t *p = object_value_new(&ap->w->arena, o, SLICE_NULL, LOCK_BYTES, &row);

    memcpy(p, holder->raw, INVOCATION_ID_BYTES);
    put_u32le(p + INVOCATION_ID_BYTES, waiting);
    key_object(&k, T_LOCK, o, SLICE_NULL);
    stage_put(ap->w, table_key_slice(&k), row);
}

static uint64_t inbox_put(struct apply *ap, const struct object_key *o, uint8_t kind, struct slice what) {
    uint64_t seq = ap->fsm.inbox_seq++;
    struct table_key k;
    struct slice row;
    uint8_t *p = object_value_new(&ap->w->arena, o, SLICE_NULL, 1 + what.len, &row);

    p[0] = kind;
    if (what.len)
        memcpy(p + 1, what.data, what.len);
    key_inbox(&k, o, seq);
    stage_put(ap->w, table_key_slice(&k), row);
    return seq;
}

int lock_acquire(struct apply *ap, struct inv *inv, bool *ret_acquired) {
    struct invocation_id holder;
    uint32_t waiting;
    int r = inv_body(ap, inv);

    if (r < 0)
        return r;
    r = tables_lock(ap->through, &inv->object, &holder, &waiting, ap->err);
    if (r == RS_ENOENT) {
        lock_put(ap, &inv->object, &inv->id, 0);
        *ret_acquired = true;
        return 0;
    }
    if (r < 0)
        return r;
    inv->h.inbox_seq = inbox_put(ap, &inv->object, INBOX_INVOCATION, invocation_id_slice(&inv->id));
    inv->h.status = INV_INBOXED;
    inv->h.inboxed_ms = inv->h.modified_ms;
    lock_put(ap, &inv->object, &holder, waiting + 1);
    *ret_acquired = false;
    return 0;
}

int inbox_remove(struct apply *ap, struct inv *inv) {
    struct invocation_id holder;
    struct table_key k;
    uint32_t waiting;
    int r = inv_body(ap, inv);

    if (r < 0)
        return r;
    key_inbox(&k, &inv->object, inv->h.inbox_seq);
    stage_del(ap->w, table_key_slice(&k));
    r = tables_lock(ap->through, &inv->object, &holder, &waiting, ap->err);
    if (r < 0)
        return r == RS_ENOENT ? row_corrupt(ap->err, "lock") : r;
    lock_put(ap, &inv->object, &holder, waiting ? waiting - 1 : 0);
    return 0;
}

struct next { /* the oldest entry of an inbox */
    struct apply *ap;
    bool found;
    struct slice key;
    uint8_t kind;
    struct slice what;
};

static int next_each(void *arg, struct slice key, struct slice value) {
    struct next *n = arg;
    struct object_key o;
    struct slice suffix, rest;
    int r = object_row_decode(key, value, "inbox", false, &o, NULL, &suffix, &rest, n->ap->err);

    if (r < 0)
        return r;
    if (!rest.len)
        return row_corrupt(n->ap->err, "inbox");
    n->found = true;
    n->key = arena_copy(n->ap->a, key);
    n->kind = rest.data[0];
    n->what = arena_copy(n->ap->a, slice_from(rest, 1));
    return 1;
}

static int apply_patch(struct apply *ap, const struct object_key *o, const struct cmd_patch_state *m);

static int queued_patch(struct apply *ap, const struct object_key *o, struct slice what) {
    struct cmd_patch_state m;

    if (cmd_patch_state_decode(&m, what, ap->a, NULL) < 0)
        return row_corrupt(ap->err, "inbox");
    return apply_patch(ap, o, &m);
}

int lock_release(struct apply *ap, struct inv *inv) {
    const struct object_key *o = &inv->object;
    struct table_key prefix, from, upper, lock;
    struct invocation_id id;
    uint32_t waiting = 0;
    int r = tables_lock(ap->through, o, &id, &waiting, ap->err);

    if (r < 0 && r != RS_ENOENT)
        return r;
    /* Everything in front of the holder's own place is gone: a scan from there does not wade through what was deleted.
     */
    key_object(&prefix, T_INBOX, o, SLICE_NULL);
    (void)key_after(&upper, table_key_slice(&prefix));
    key_inbox(&from, o, inv->h.inbox_seq);
    while (waiting) {
        struct next n = {.ap = ap};
        struct inv *heir;

        r = ap->through->scan(ap->through->arg, table_key_slice(&from), table_key_slice(&upper), false, next_each, &n,
                              ap->err);
        if (r < 0)
            return r;
        if (!n.found)
            break;
        stage_del(ap->w, n.key);
        waiting--;
        if (n.kind == INBOX_PATCH) {
            if ((r = queued_patch(ap, o, n.what)) < 0)
                return r;
            continue;
        }
        if (!take_id(n.what, &id))
            return row_corrupt(ap->err, "inbox");
        if ((r = inv_get(ap, &id, &heir)) < 0)
            return r;
        if (heir->h.status != INV_INBOXED)
            continue;
        lock_put(ap, o, &id, waiting);
        return inv_invoke(ap, heir);
    }
    key_object(&lock, T_LOCK, o, SLICE_NULL);
    stage_del(ap->w, table_key_slice(&lock));
    return 0;
}

/* ---- state ---- */

static struct slice present(struct slice key) {
    return key.data ? key : SLICE_EMPTY;
}

void state_put(struct apply *ap, const struct object_key *o, struct slice key, struct slice value) {
    struct table_key k;
    struct slice row;
    uint8_t *p = object_value_new(&ap->w->arena, o, key, value.len, &row);

    if (value.len)
        memcpy(p, value.data, value.len);
    key_object(&k, T_STATE, o, present(key));
    stage_put(ap->w, table_key_slice(&k), row);
}

void state_del(struct apply *ap, const struct object_key *o, struct slice key) {
    struct table_key k;

    key_object(&k, T_STATE, o, present(key));
    stage_del(ap->w, table_key_slice(&k));
}

int state_clear(struct apply *ap, const struct object_key *o) {
    struct table_key prefix;

    key_object(&prefix, T_STATE, o, SLICE_NULL);
    return delete_prefix(ap, table_key_slice(&prefix));
}

struct listing {
    struct apply *ap;
    struct state_list *l;
    bool values;
};

static int list_each(void *arg, struct slice state_key, struct slice value) {
    struct listing *t = arg;
    struct state_list *l = t->l;
    struct arena *a = t->ap->a;

    if (l->n == l->cap) {
        struct cmd_state_entry *more = arena_alloc(a, (l->cap = l->cap ? l->cap * 2 : 16) * sizeof *more);

        if (l->n)
            memcpy(more, l->items, l->n * sizeof *more);
        l->items = more;
    }
    l->items[l->n++] = (struct cmd_state_entry){
        .key = arena_copy(a, state_key),
        .value = t->values ? arena_copy(a, value) : SLICE_NULL,
    };
    return 0;
}

static int by_key(const void *a, const void *b) {
    const struct cmd_state_entry *x = a, *y = b;

    return slice_cmp(x->key, y->key);
}

int state_list(struct apply *ap, const struct object_key *o, bool values, struct state_list *ret) {
    struct listing t = {ap, ret, values};
    int r = tables_state(ap->through, o, list_each, &t, ap->err);

    if (r < 0)
        return r;
    if (ret->n)
        qsort(ret->items, ret->n, sizeof *ret->items, by_key);
    return 0;
}

/* URL-safe base64 without padding of SHA-256 over index, 1, key, 2, value, 3 of every entry, sorted by key (§15.4). */
static void state_version(struct apply *ap, const struct state_list *l, char ret[44]) {
    static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    static const uint8_t marks[] = {1, 2, 3};
    struct slice *parts = arena_newn(ap->a, struct slice, l->n * 6 + 1);
    uint8_t digest[33];
    size_t n = 0, out = 0;

    for (size_t i = 0; i < l->n; i++) {
        uint8_t *index = arena_alloc(ap->a, 8);

        put_u64be(index, i);
        parts[n++] = slice_of(index, 8);
        parts[n++] = slice_of(&marks[0], 1);
        parts[n++] = l->items[i].key;
        parts[n++] = slice_of(&marks[1], 1);
        parts[n++] = l->items[i].value;
        parts[n++] = slice_of(&marks[2], 1);
    }
    sha256(parts, n, digest);
    digest[32] = 0;
    for (size_t i = 0; i < 33; i += 3) {
        uint32_t v = (uint32_t)digest[i] << 16 | (uint32_t)digest[i + 1] << 8 | digest[i + 2];

        for (int shift = 18; shift >= 0 && out < 43; shift -= 6)
            ret[out++] = alphabet[v >> shift & 63];
    }
    ret[43] = 0;
}

static int apply_patch(struct apply *ap, const struct object_key *o, const struct cmd_patch_state *m) {
    struct state_list now = {0};
    char version[44];
    int r;

    if (m->check_version) {
        if ((r = state_list(ap, o, true, &now)) < 0)
            return r;
        state_version(ap, &now, version);
        if (!slice_eq_str(m->version, version))
            return 0;
    }
    if ((r = state_clear(ap, o)) < 0)
        return r;
    for (size_t i = 0; i < m->n_entries; i++)
        state_put(ap, o, m->entries[i].key, m->entries[i].value);
    return 0;
}

int apply_patch_state(struct apply *ap, const struct cmd_patch_state *m, uint64_t partition_key) {
    struct object_key o = {.partition_key = partition_key, .service = m->service, .key = m->key};
    struct invocation_id holder;
    uint32_t waiting;
    int r = tables_lock(ap->through, &o, &holder, &waiting, ap->err);

    if (r == RS_ENOENT)
        return apply_patch(ap, &o, m);
    if (r < 0)
        return r;
    (void)inbox_put(ap, &o, INBOX_PATCH, ap->payload);
    lock_put(ap, &o, &holder, waiting + 1);
    return 0;
}
