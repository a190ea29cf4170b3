/* SPDX-License-Identifier: Apache-2.0 */
/* worker/sm_suspend.c : suspension and the way back (execution.md §11). */
#include "worker/future.h"
#include "worker/sm_internal.h"

struct stored {
    struct apply *ap;
    struct inv *inv;
};

/* Among all notifications of the journal: closes the race with one that was applied after the SDK gave up waiting. */
static int lookup_stored(void *arg, enum notification_kind kind, uint32_t number, struct slice name,
                         enum notification_variant *ret) {
    struct stored *s = arg;
    struct table_key k;
    struct slice row;
    size_t head = name_value_head(name);
    int r;

    key_journal_notification(&k, &s->inv->id, kind, number, name);
    r = s->ap->through->get(s->ap->through->arg, table_key_slice(&k), &row, s->ap->err);
    if (r == RS_ENOENT)
        return 0;
    if (r < 0 || (r = row_version(row, "notification", s->ap->err)) < 0)
        return r;
    if (row.len < head + 5)
        return row_corrupt(s->ap->err, "notification");
    *ret = row.data[head + 4];
    return 1;
}

int inv_suspend(struct apply *ap, struct inv *inv, const struct cmd_future *future) {
    static const struct cmd_future nothing;
    struct stored s = {ap, inv};
    struct cmd_future *rest = arena_new(ap->a, struct cmd_future);
    struct cmd_event event = {.type = EVENT_SUSPENDED};
    int r = future_eval(future ? future : &nothing, lookup_stored, &s, ap->a, rest);

    if (r < 0)
        return r;
    if (inv->h.protocol >= 7 && future) {
        struct cmd_future *copy = arena_new(ap->a, struct cmd_future);

        *copy = *future;
        event.future = copy;
        journal_event(ap, inv, &event);
    }
    if (r)
        return inv_invoke(ap, inv);
    inv_touch(ap, inv);
    inv->h.status = INV_SUSPENDED;
    inv->future = rest;
    inv->future_changed = true;
    return 0;
}

struct arrived {
    enum notification_kind kind;
    uint32_t number;
    struct slice name;
    enum notification_variant variant;
};

static int lookup_arrived(void *arg, enum notification_kind kind, uint32_t number, struct slice name,
                          enum notification_variant *ret) {
    const struct arrived *n = arg;

    if (kind != n->kind || (kind == NOTIFICATION_NAME ? !slice_eq(name, n->name) : number != n->number))
        return 0;
    *ret = n->variant;
    return 1;
}

int inv_wake(struct apply *ap, struct inv *inv, enum notification_kind kind, uint32_t number, struct slice name,
             enum notification_variant variant) {
    struct arrived n = {kind, number, name, variant};
    struct cmd_future *rest = arena_new(ap->a, struct cmd_future);
    int r;

    if (!inv->future) {
        struct cmd_future *f = arena_new(ap->a, struct cmd_future);

        if (cmd_future_decode(f, inv->h.future, ap->a, NULL) < 0)
            return row_corrupt(ap->err, "status");
        inv->future = f;
    }
    /* What is stored has been pruned: none of its leaves was there until now. */
    r = future_eval(inv->future, lookup_arrived, &n, ap->a, rest);
    if (r < 0)
        return r;
    if (r)
        return inv_invoke(ap, inv);
    inv->future = rest;
    inv->future_changed = true;
    return 0;
}
