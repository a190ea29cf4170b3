/* SPDX-License-Identifier: Apache-2.0 */
/* First every member is asked for what it has of the range, then those that lack something get the missing end of it in
 * one store that passes the seal. The range is what was in flight when the sequencer died, so its window bounds it. */
#include "log/repair.h"

struct copy { /* one member */
    struct ls_get get;
    struct ls_store store;
    struct repair *r;
    uint32_t member;
    bool asked, answered, complete;
};

struct repair {
    struct repair_params p;
    struct quorum quorum;
    struct quorum_mask members, holders;
    struct bytes **records; /* by offset - from; references */
    uint32_t under_way;
    bool storing, over;
    repair_fn done;
    void *arg;
    struct copy copies[];
};

static void release(struct repair *r) {
    if (!r->over || r->under_way)
        return;
    for (uint32_t i = 0; i < r->quorum.n; i++)
        ls_get_done(&r->copies[i].get);
    for (uint32_t o = r->p.from; o < r->p.until; o++)
        (void)bytes_unref(r->records[o - r->p.from]);
    free(r->records);
    free(r);
}

static void finish(struct repair *r, int status) {
    if (r->over)
        return;
    r->over = true;
    r->done(r->arg, status);
}

static void stored(struct ls_req *req, const struct ls_reply *reply) {
    struct copy *c = CONTAINER_OF(CONTAINER_OF(req, struct ls_store, h), struct copy, store);
    struct repair *r = c->r;

    r->under_way--;
    if (reply->status == LS_OK)
        quorum_mask_set(&r->holders, c->member);
    if (quorum_is_all_there_is(&r->quorum, &r->holders))
        finish(r, 0);
    else if (r->under_way == 0)
        finish(r, RS_EAGAIN);
    release(r);
}

/* The first offset that somebody may still need: what one member trimmed no other needs to have. */
static uint32_t first_needed(const struct repair *r) {
    uint32_t first = r->p.from;

    for (uint32_t i = 0; i < r->quorum.n; i++)
        for (size_t k = 0; k < r->copies[i].get.n; k++) {
            const struct ls_entry *e = &r->copies[i].get.entries[k];

            if (e->kind == LS_TRIM_GAP && e->to >= first)
                first = e->to + 1;
        }
    return MIN(first, r->p.until);
}

/* First offset of the range that the member lacks; until: it has all. */
static uint32_t first_missing(const struct repair *r, const struct copy *c, uint32_t needed) {
    uint32_t next = needed;

    for (size_t i = 0; i < c->get.n; i++) {
        const struct ls_entry *e = &c->get.entries[i];

        if (e->kind == LS_DATA && e->offset == next)
            next++;
    }
    return next < r->p.until ? next : r->p.until;
}

static void store_missing(struct repair *r) {
    uint32_t from[NODESET_MAX], needed = first_needed(r);

    r->storing = true;
    for (uint32_t i = 0; i < r->quorum.n; i++) {
        struct copy *c = &r->copies[i];

        from[i] = r->p.until;
        if (!c->answered)
            continue;
        from[i] = first_missing(r, c, needed);
        if (from[i] == r->p.until)
            quorum_mask_set(&r->holders, i);
        for (uint32_t o = from[i]; o < r->p.until; o++)
            if (!r->records[o - r->p.from])
                from[i] = r->p.until; /* nobody who answered has it: this member cannot be completed now */
    }
    if (quorum_is_all_there_is(&r->quorum, &r->holders)) {
        finish(r, 0);
        return;
    }
    for (uint32_t i = 0; i < r->quorum.n; i++) {
        struct copy *c = &r->copies[i];

        if (from[i] == r->p.until)
            continue;
        c->store = (struct ls_store){.h = {.kind = LS_STORE, .loglet_id = r->p.loglet_id, .done = stored},
                                     .flags = LS_IGNORE_SEAL,
                                     .first_offset = from[i],
                                     .repair_floor =
                                         from[i], /* everything below is there: on this member, or known committed */
                                     .sequencer = r->p.sequencer,
                                     .records = r->records + (from[i] - r->p.from),
                                     .n = r->p.until - from[i]};
        r->under_way++;
        log_router_submit(r->p.router, r->quorum.members[i].node, &c->store.h);
    }
    if (r->under_way == 0)
        finish(r, RS_EAGAIN);
}

static void gathered(struct ls_req *req, const struct ls_reply *reply) {
    struct copy *c = CONTAINER_OF(CONTAINER_OF(req, struct ls_get, h), struct copy, get);
    struct repair *r = c->r;

    r->under_way--;
    if (reply->status == LS_OK && c->get.error == 0) {
        c->answered = true;
        for (size_t i = 0; i < c->get.n; i++) {
            const struct ls_entry *e = &c->get.entries[i];
            struct bytes **slot = &r->records[e->offset - r->p.from];

            if (e->kind == LS_DATA && !*slot)
                *slot = bytes_ref(e->record);
        }
    }
    if (r->under_way == 0 && !r->over)
        store_missing(r);
    release(r);
}

struct repair *repair_start(const struct repair_params *p, repair_fn done, void *arg) {
    struct repair *r = xcalloc(1, sizeof *r + p->quorum->n * sizeof r->copies[0]);

    ASSERT(p->from < p->until);
    r->p = *p;
    r->quorum = *p->quorum;
    r->members = *p->members;
    r->records = xnewn(struct bytes *, p->until - p->from);
    r->done = done;
    r->arg = arg;
    for (uint32_t i = 0; i < r->quorum.n; i++) {
        struct copy *c = &r->copies[i];

        if (!quorum_mask_has(&r->members, i))
            continue;
        c->r = r;
        c->member = i;
        c->get.h = (struct ls_req){.kind = LS_GET, .loglet_id = p->loglet_id, .done = gathered};
        c->get.from = p->from;
        c->get.to = p->until - 1;
        c->asked = true;
        r->under_way++;
    }
    ASSERT(r->under_way > 0);
    for (uint32_t i = 0; i < r->quorum.n; i++)
        if (r->copies[i].asked)
            log_router_submit(r->p.router, r->quorum.members[i].node, &r->copies[i].get.h);
    return r;
}

struct repair *repair_cancel(struct repair *r) {
    if (r) {
        r->over = true;
        release(r);
    }
    return NULL;
}
